"""Cboe DataShop's interval files, written from frames: plain, .gz or .zip."""

from __future__ import annotations

import gzip
import io
import math
import zipfile
from collections.abc import Iterable
from pathlib import Path
from zoneinfo import ZoneInfo

from sampler.chain import Frame

COLUMNS = [
    "underlying_symbol", "quote_datetime", "root", "expiration", "strike", "option_type", "open",
    "high", "low", "close", "trade_volume", "bid_size", "bid", "ask_size", "ask",
    "underlying_bid", "underlying_ask", "implied_underlying_price", "active_underlying_price",
    "implied_volatility", "delta", "open_interest",
]  # fmt: skip


def datashop_line(**fields: object) -> dict[str, object]:
    """One line of a file; what is not given is 0, as where nothing was quoted or traded."""
    return {name: fields.get(name, 0) for name in COLUMNS}


def datashop_lines(frames: Iterable[Frame]) -> list[dict[str, object]]:
    """Lines of some frames in order: a frame's volume less the one before, its last price if traded."""
    lines = []
    volume: dict[tuple[str, float, int], float] = {}
    for frame in frames:
        wall = frame.quoted_at.astimezone(ZoneInfo("America/New_York"))
        for i in range(len(frame.strike)):
            root = str(frame.root[i]) or frame.symbol
            key = (root, float(frame.strike[i]), int(frame.right[i]))
            total = _number(frame.volume[i])
            traded = total - volume.get(key, 0.0)
            volume[key] = total
            index = frame.symbol in {"SPX", "NDX", "RUT", "VIX", "XSP"}
            lines.append(
                datashop_line(
                    underlying_symbol=f"^{frame.symbol}" if index else frame.symbol,
                    quote_datetime=wall.strftime("%Y-%m-%d %H:%M:%S"),
                    root=root,
                    expiration=str(frame.expiry[i]),
                    strike=f"{frame.strike[i]:.3f}",
                    option_type="C" if frame.right[i] > 0 else "P",
                    close=_number(frame.last[i]) if traded > 0 else 0,
                    trade_volume=f"{traded:g}",
                    bid_size=0 if math.isnan(frame.bid[i]) else 5,
                    bid=_number(frame.bid[i]),
                    ask_size=0 if math.isnan(frame.ask[i]) else 5,
                    ask=_number(frame.ask[i]),
                    underlying_bid=_number(frame.spot),
                    underlying_ask=_number(frame.spot),
                    open_interest=_number(frame.open_interest[i]),
                )
            )
    return lines


def datashop_csv(lines: Iterable[dict[str, object]], columns: list[str] | None = None) -> bytes:
    """A file's text, with a header."""
    names = columns or COLUMNS
    rows = [",".join(names), *(",".join(str(line[n]) for n in names) for line in lines)]
    return ("\r\n".join(rows) + "\r\n").encode()


def write_datashop(path: Path, text: bytes) -> Path:
    """Write a text, packed as the name's ending says."""
    if path.suffix == ".zip":
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{path.stem}.csv", text)
        text = packed.getvalue()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def _number(value: float) -> float:
    return float(value) if math.isfinite(value) else 0.0
