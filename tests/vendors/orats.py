"""ORATS's one-minute chains on loopback: a line of CSV for each expiry and strike."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from sampler.chain import Frame
from storage.market.calendar import from_new_york
from tests.vendors.server import Answer, Request, VendorServer

TOKEN = "canary-4Jd8Wq1x-orats"
#: The header of the vendor's documentation.
HEADER = (
    "ticker,tradeDate,expirDate,dte,strike,stockPrice,callVolume,callOpenInterest,callBidSize,"
    "callAskSize,putVolume,putOpenInterest,putBidSize,putAskSize,callBidPrice,callValue,"
    "callAskPrice,putBidPrice,putValue,putAskPrice,callBidIv,callMidIv,callAskIv,smvVol,putBidIv,"
    "putMidIv,putAskIv,residualRate,delta,gamma,theta,vega,rho,phi,driftlessTheta,callSmvVol,"
    "putSmvVol,extSmvVol,extCallValue,extPutValue,spotPrice,quoteDate,updatedAt,snapShotEstTime,"
    "snapShotDate,expiryTod,tickerId,monthId"
)


def orats_csv(frame: Frame) -> bytes:
    """A frame as an answer. A strike of which one side is missing has empty cells for it.

    A contract that stands twice is in another line of its strike.
    """
    strikes: dict[tuple[object, str, float], list[dict[int, int]]] = {}
    for i in range(len(frame.strike)):
        key = (frame.expiry[i].item(), str(frame.root[i]), float(frame.strike[i]))
        right, lines_of_strike = int(frame.right[i]), strikes.setdefault(key, [{}])
        if right in lines_of_strike[-1]:
            lines_of_strike.append({})
        lines_of_strike[-1][right] = i
    moment = frame.quoted_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    lines = [HEADER]
    every = [(key, sides) for key, lines_of_strike in strikes.items() for sides in lines_of_strike]
    for (expiry, root, strike), sides in every:
        cells = dict.fromkeys(HEADER.split(","), "0")
        cells |= {"ticker": frame.symbol, "expirDate": str(expiry), "strike": _text(strike)}
        cells |= {"tradeDate": moment[:10], "stockPrice": _text(frame.spot), "quoteDate": moment}
        cells["expiryTod"] = "am" if root == frame.symbol == "SPX" else "pm"
        for right, side in ((1, "call"), (-1, "put")):
            i = sides.get(right)
            for name, column in (
                ("BidPrice", frame.bid), ("AskPrice", frame.ask), ("Volume", frame.volume),
                ("OpenInterest", frame.open_interest), ("MidIv", frame.source_iv),
            ):  # fmt: skip
                cells[side + name] = "" if i is None else _text(float(column[i]))
        lines.append(",".join(cells.values()))
    return ("\n".join(lines) + "\n").encode()


class OratsVendor(VendorServer):
    """Wants its token in the query; a past minute has the newest frame by its time."""

    base_path = "/datav2"

    def respond(self, request: Request) -> Answer:
        if request.query.get("token") != TOKEN:
            return Answer(401, {"Content-Type": "application/json"}, b'{"message":"Unauthorized"}')
        symbol = request.query["ticker"]
        if request.path == "/live/one-minute/strikes/chain":
            frame = self.newest(symbol)
        else:
            assert request.path == "/historical/one-minute/strikes/chain", request.path
            wall = datetime.strptime(request.query["tradeDate"], "%Y%m%d%H%M")
            until = from_new_york(wall)
            frames = [
                f
                for f in self.frames.get(symbol, [])
                if until - timedelta(minutes=1) < f.quoted_at <= until
            ]
            frame = frames[-1] if frames else None
        if frame is None:
            return Answer(404, {"Content-Type": "application/json"}, b'{"message":"Not found."}')
        return Answer(200, {"Content-Type": "text/csv"}, orats_csv(frame))


def _text(value: float) -> str:
    return repr(float(value)) if math.isfinite(value) else ""
