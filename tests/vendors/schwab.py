"""Schwab's format: a frame as its answer, and the token file of its login tool."""

from __future__ import annotations

import json
import math
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np

from sampler.chain import Frame
from tests.vendors.server import Answer, Request, VendorServer

APP_KEY, APP_SECRET = "app-key-1", "app-secret-1"
NUMBERS = {
    "bid": "bid",
    "ask": "ask",
    "last": "last",
    "open_interest": "openInterest",
    "volume": "totalVolume",
}


def schwab_contract(
    root: str, day: str, right: int, strike: float, *, quoted_at: int, **fields: Any
) -> dict[str, Any]:
    """One contract as Schwab writes it, quoted at an epoch millisecond."""
    year, month, number = day.split("-")
    letter = "C" if right > 0 else "P"
    return {
        "putCall": "CALL" if right > 0 else "PUT",
        "symbol": f"{root:6}{year[2:]}{month}{number}{letter}{round(strike * 1000):08d}",
        "exchangeName": "OPR",
        "bid": 0,
        "ask": 0,
        "last": 0,
        "bidSize": 10,
        "askSize": 10,
        "totalVolume": 0,
        "openInterest": 0,
        "tradeTimeInLong": 0,
        "quoteTimeInLong": quoted_at,
        "volatility": -999.0,
        "delta": -999.0,
        "strikePrice": strike,
        "expirationDate": f"{day}T20:00:00.000+00:00",
        "expirationType": "W",
        "multiplier": 100,
        "settlementType": "P",
        "optionRoot": root,
        "nonStandard": False,
        "mini": False,
        **fields,
    }


def schwab_json(
    symbol: str, spot: float | None, contracts: list[dict[str, Any]], **fields: Any
) -> dict[str, Any]:
    """A whole answer. A contract without a price of the underlying has 0 there."""
    maps: dict[str, dict[str, Any]] = {"callExpDateMap": {}, "putExpDateMap": {}}
    for contract in contracts:
        side = maps["callExpDateMap" if contract["putCall"] == "CALL" else "putExpDateMap"]
        day = side.setdefault(f"{contract['expirationDate'][:10]}:0", {})
        day.setdefault(str(float(contract["strikePrice"])), []).append(contract)
    return {
        "symbol": symbol,
        "status": "SUCCESS",
        "strategy": "SINGLE",
        "interval": 0,
        "isDelayed": False,
        "isIndex": symbol.startswith("$"),
        "underlyingPrice": spot or 0,
        "volatility": 29,
        "daysToExpiration": 0,
        "numberOfContracts": len(contracts),
        "isChainTruncated": False,
        **maps,
        **fields,
    }


def schwab_answer(frame: Frame, day: str = "") -> dict[str, Any]:
    """An answer that parses to the frame's contracts of a day (its own), but for what it has no room for."""
    quoted_at = round(frame.quoted_at.timestamp() * 1000)
    contracts = []
    for i in np.flatnonzero(frame.expiry == np.datetime64(day or str(frame.quoted_at.date()))):
        numbers = {field: getattr(frame, name)[i] for name, field in NUMBERS.items()}
        traded = frame.last_at[i]
        contract = schwab_contract(
            str(frame.root[i]) or frame.symbol,
            str(frame.expiry[i]),
            int(frame.right[i]),
            float(frame.strike[i]),
            quoted_at=quoted_at,
            tradeTimeInLong=round(traded * 1000) if math.isfinite(traded) else 0,
            **{field: float(n) if math.isfinite(n) else -999.0 for field, n in numbers.items()},
        )
        contracts.append(contract)
    return schwab_json(
        f"${frame.symbol}" if _is_index(frame) else frame.symbol,
        float(frame.spot) if math.isfinite(frame.spot) else None,
        contracts,
    )


class SchwabVendor(VendorServer):
    """One chain a request, of one day, for the access token that it gave last.

    Every renewal gives the next of ``access-1``, ``access-2``, …; a login that has ended is refused
    as Schwab refuses it.
    """

    base_path = "/marketdata/v1"

    def __init__(self) -> None:
        super().__init__()
        self.access, self.refresh = "access-1", "refresh-1"
        self.login_ended = False
        self.renewals = 0

    def respond(self, request: Request) -> Answer:
        if request.path == "/v1/oauth/token":
            return self._renewal(request)
        if request.headers.get("authorization") != f"Bearer {self.access}":
            return _json(401, {"errors": [{"status": 401, "title": "Unauthorized"}]})
        if request.path not in ("/chains", "/expirationchain"):
            return _json(404, {})
        query = request.query
        chain = request.path == "/chains"
        if chain and ("fromDate" not in query or query["fromDate"] != query.get("toDate")):
            fault = {"errorcode": "protocol.http.TooBigBody"}
            return _json(502, {"fault": {"faultstring": "Body buffer overflow", "detail": fault}})
        name = query["symbol"]
        frame = self.newest(name.removeprefix("$"))
        if frame is None or name.startswith("$") != _is_index(frame):
            return _json(400, {"errors": [{"status": "400", "title": "Bad Request"}]})
        if not chain:
            days = [{"expirationDate": str(day), "standard": True} for day in frame.expirations]
            return _json(200, {"status": "SUCCESS", "expirationList": days})
        return _json(200, schwab_answer(frame, query["fromDate"]))

    def _renewal(self, request: Request) -> Answer:
        self.renewals += 1
        pair = b64encode(f"{APP_KEY}:{APP_SECRET}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {pair}":
            return _json(401, {"error": "invalid_client"})
        form = parse_qs(request.body.decode())
        good = form == {"grant_type": ["refresh_token"], "refresh_token": [self.refresh]}
        if self.login_ended or not good:
            return _json(400, {"error": "unsupported_token_type"})
        self.access = f"access-{self.renewals + 1}"
        tokens = {"access_token": self.access, "refresh_token": self.refresh, "id_token": "id-2"}
        return _json(200, {"expires_in": 1800, "token_type": "Bearer", "scope": "api", **tokens})


def _json(status: int, document: Any) -> Answer:
    return Answer(status, {"Content-Type": "application/json"}, json.dumps(document).encode())


def _is_index(frame: Frame) -> bool:
    return frame.symbol in {"SPX", "NDX", "RUT", "VIX", "XSP"}


def write_token_file(
    path: Path,
    *,
    login_at: float,
    ends_at: float,
    access: str = "access-1",
    refresh: str = "refresh-1",
) -> Path:
    """A token file as schwab-py writes it."""
    token = {
        "expires_in": 1800,
        "token_type": "Bearer",
        "scope": "api",
        "refresh_token": refresh,
        "access_token": access,
        "id_token": "id-1",
        "expires_at": int(ends_at),
    }
    path.write_text(json.dumps({"creation_timestamp": int(login_at), "token": token}))
    return path
