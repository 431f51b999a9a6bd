"""Databento's historical service on loopback: prices, sizes, and files as its client asks for them."""

from __future__ import annotations

import base64
import struct
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import orjson
import zstandard

from tests.vendors.databento import dbn_file, nanoseconds
from tests.vendors.server import Answer, Request, VendorServer

KEY = "db-canary7Qk2Wm9ZxVt4"
#: Where a record of a schema has the time of its receipt. [bytes]
RECEIVED = {"definition": 16, "statistics": 16}


class DatabentoService(VendorServer):
    """Has records of one symbol by schema; a byte of each costs ``dollars_per_byte``."""

    base_path = "/v0"

    def __init__(self, parent: str = "SPXW.OPT") -> None:
        super().__init__()
        self.packed = False
        self.parent = parent
        self.dollars_per_byte = 1e-6
        self.records: dict[str, list[bytes]] = {}
        #: The files of each schema that were sent, with what was asked for.
        self.sold: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        """The client adds the version itself."""
        return super().url.removesuffix(self.base_path)

    def load(self, folder: Path) -> None:
        """Take the records of files, such as ``x.trades.dbn.zst``."""
        for path in sorted(folder.glob("*.dbn.zst")):
            content = zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())
            offset = 8 + struct.unpack_from("<I", content, 4)[0]
            records = self.records.setdefault(path.name.split(".")[-3], [])
            while offset < len(content):
                records.append(content[offset : offset + 4 * content[offset]])
                offset += 4 * content[offset]

    def respond(self, request: Request) -> Answer:
        key = base64.b64encode(f"{KEY}:".encode()).decode()
        if request.headers.get("authorization") != f"Basic {key}":
            return _error(401, "auth_invalid_username_in_basic_auth")
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        if form["dataset"] != "OPRA.PILLAR" or form["stype_out"] != "instrument_id":
            return _error(422, "data_dataset_not_found")
        chosen = self._chosen(form)
        if chosen is None:
            return _error(422, "symbology_invalid_request")
        size = sum(map(len, chosen))
        if request.path == "/metadata.get_cost":
            return _json(size * self.dollars_per_byte)
        if request.path == "/metadata.get_billable_size":
            return _json(size)
        assert request.path == "/timeseries.get_range", request.path
        assert (form["encoding"], form["compression"]) == ("dbn", "zstd")
        self.sold.append(form)
        start, end = (datetime.fromisoformat(form[name]) for name in ("start", "end"))
        content = dbn_file(form["schema"], start.date(), chosen, end=nanoseconds(end))
        content = _starting(content, nanoseconds(start))
        return Answer(
            200, {"Content-Type": "application/octet-stream"}, zstandard.compress(content)
        )

    def _chosen(self, form: dict[str, str]) -> list[bytes] | None:
        """The records that a request is of; None for a symbol that is not there."""
        start, end = (nanoseconds(datetime.fromisoformat(form[n])) for n in ("start", "end"))
        offset = RECEIVED.get(form["schema"], 32)
        some = [
            record
            for record in self.records.get(form["schema"], [])
            if start <= struct.unpack_from("<Q", record, offset)[0] < end
        ]
        if form["stype_in"] == "parent":
            return some if form["symbols"] == self.parent else None
        ids = set(map(int, form["symbols"].split(",")))
        assert len(ids) <= 2000
        return [record for record in some if struct.unpack_from("<I", record, 4)[0] in ids]


def _starting(content: bytes, start: int) -> bytes:
    """A file whose header has another beginning."""
    return content[:26] + struct.pack("<Q", start) + content[34:]


def _json(value: Any) -> Answer:
    return Answer(200, {"Content-Type": "application/json"}, orjson.dumps(value))


def _error(code: int, case: str) -> Answer:
    body = {"detail": {"case": case, "message": f"your key {KEY} is odd", "docs": ""}}
    return Answer(code, {"Content-Type": "application/json"}, orjson.dumps(body))
