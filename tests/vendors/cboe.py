"""Cboe's delayed quotes on loopback: one JSON answer a symbol, at ``/<symbol>.json``."""

from __future__ import annotations

import zlib

import orjson
from cboe_server import INDEXES, from_frame

from tests.vendors.server import Answer, Request, VendorServer


class CboeVendor(VendorServer):
    """Answers with an ETag; what it does not have is a 403, as in Cboe's file store."""

    base_path = "/api/global/delayed_quotes/options"

    def respond(self, request: Request) -> Answer:
        name = request.path.removeprefix("/").removesuffix(".json")
        symbol = name.removeprefix("_")
        frame = self.newest(symbol)
        if frame is None or name.startswith("_") != (symbol in INDEXES):
            return Answer(403, {"Content-Type": "application/xml"}, b"<Error>AccessDenied</Error>")
        body = orjson.dumps(from_frame(frame))
        headers = {"Content-Type": "application/json", "ETag": f'"{zlib.crc32(body):08x}"'}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Answer(304, headers)
        return Answer(200, headers, body)
