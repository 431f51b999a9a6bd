"""Recorded chains of tests/data as plain contracts, for the independent program, and as frames.

``tests/data/README.md`` says where each file comes from and under which licence. These readers
share no code with the product's sources. ``frame`` makes of the same contracts what a source
delivers, so that both programs are given the same numbers.
"""

from __future__ import annotations

import csv
import io
import json
import lzma
import math
import random
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from sampler.chain import Frame
from tests.independent import CALL, NAN, PUT, YEAR, Contract, Sample, without_morning_twins

DATA = Path(__file__).with_name("data")
#: Recorded chains without a licence, beside the checkout: an extra. Tests reach it by the fixture
#: ``shared``, which skips where it is absent.
EXTRA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
NEW_YORK = ZoneInfo("America/New_York")
FULL_DAY = 6.5 * 3600
#: Days of LEAN's minutes on which four of its contracts expire.
LEAN_DAYS = (date(2021, 1, 4), date(2021, 1, 6), date(2021, 1, 8))


def spx_tick(price: float) -> float:
    """SPX options move by a nickel below $3, by a dime from there on."""
    return 0.10 if price >= 3 else 0.05


@dataclass(frozen=True, kw_only=True)
class RealChain:
    """One recorded chain, all its expiries."""

    name: str
    symbol: str
    #: New York.
    quoted_at: datetime
    spot: float
    contracts: Sequence[Contract]
    #: Of the contracts; empty where the feed drops it.
    root: str = "SPXW"

    @property
    def today(self) -> list[Contract]:
        """The contracts that expire on its day."""
        day = self.quoted_at.date().isoformat()
        return without_morning_twins([c for c in self.contracts if c.expiry == day])

    @property
    def sample(self) -> Sample:
        """Its 0DTE contracts, for the independent program; a full day, closing at 16:00."""
        return self.sample_of(self.today, self.close)

    @property
    def close(self) -> datetime:
        """16:00 of its day; its funds' options trade until 16:15."""
        return self.quoted_at.replace(hour=16, minute=0, second=0, microsecond=0)

    def sample_of(self, contracts: Sequence[Contract], close: datetime) -> Sample:
        """Some contracts of it that stop trading with a session's close."""
        late = timedelta(minutes=15 if self.symbol in {"SPY", "QQQ", "IWM", "DIA"} else 0)
        gone = self.quoted_at - self.quoted_at.replace(hour=9, minute=30, second=0, microsecond=0)
        return Sample(
            contracts=contracts,
            spot=self.spot,
            quoted_at=self.quoted_at.timestamp(),
            seconds_left=(close + late - self.quoted_at).total_seconds(),
            seconds_gone=gone.total_seconds(),
            session_seconds=FULL_DAY,
            tick=spx_tick if self.symbol == "SPX" else lambda price: 0.01,
        )

    @property
    def frame(self) -> Frame:
        """The same as a source would deliver it."""
        columns = {
            "strike": [c.strike for c in self.contracts],
            "right": [c.right for c in self.contracts],
            "expiry": [c.expiry for c in self.contracts],
            "root": [self.root for _ in self.contracts],
            "bid": [c.bid for c in self.contracts],
            "ask": [c.ask for c in self.contracts],
            "last": [c.last for c in self.contracts],
            "last_at": [c.last_at for c in self.contracts],
            "open_interest": [c.open_interest for c in self.contracts],
            "volume": [c.volume for c in self.contracts],
        }
        if any(c.multi_leg == c.multi_leg for c in self.contracts):
            columns["multi_leg_volume"] = [c.multi_leg for c in self.contracts]
        return Frame.of(
            symbol=self.symbol,
            source="test",
            delay_seconds=0,
            quoted_at=self.quoted_at,
            fetched_at=self.quoted_at + timedelta(seconds=1),
            spot=self.spot,
            columns=columns,
        )

    def retold(self, expiry: str, hour: int, *, seed: int | None = None) -> RealChain:
        """The contracts of a later expiry, read as if they expired on the day of the quotes.

        The quotes are real and the clock is made up: 15 minutes past ``hour``. A real smile of many
        strikes, at any time of the day. With ``seed`` the open interest is dealt out anew.
        """
        day = self.quoted_at.date().isoformat()
        contracts = [c for c in self.contracts if c.expiry == expiry]
        held = [c.open_interest for c in contracts]
        if seed is not None:
            random.Random(seed).shuffle(held)
        return replace(
            self,
            name=f"{self.name} {expiry} {hour}:15",
            quoted_at=self.quoted_at.replace(hour=hour, minute=15),
            contracts=[
                c._replace(expiry=day, open_interest=oi)
                for c, oi in zip(contracts, held, strict=True)
            ],
        )

    def compact(self) -> dict[str, object]:
        """The chain in the compact format that ``recorded:PATH`` reads."""
        wall = self.quoted_at.replace(tzinfo=None)
        return {
            "sym": self.symbol,
            "spot": self.spot,
            "asof": wall.isoformat(),
            "fetched": (self.quoted_at + timedelta(minutes=15)).astimezone(UTC).isoformat(),
            "o": [
                {
                    "e": int(datetime.fromisoformat(f"{c.expiry}T20:00:00+00:00").timestamp()),
                    "t": "C" if c.right == CALL else "P",
                    "k": c.strike,
                    "iv": 0,
                    "oi": c.open_interest,
                    "v": c.volume,
                    "b": c.bid,
                    "a": c.ask,
                    "l": 0 if math.isnan(c.last) else c.last,
                }
                for c in self.contracts
            ],
        }


def volkit() -> RealChain:
    """Every SPXW contract on 2019-06-26 at 15:45, a quarter of an hour before 322 of them expire."""
    text = lzma.decompress((DATA / "volkit/spxw20190626.csv.xz").read_bytes()).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    return RealChain(
        name="volkit",
        symbol="SPX",
        quoted_at=datetime(2019, 6, 26, 15, 45, tzinfo=NEW_YORK),
        spot=(float(rows[0]["underlying_bid_1545"]) + float(rows[0]["underlying_ask_1545"])) / 2,
        contracts=[
            Contract(
                strike=float(row["strike"]),
                right=CALL if row["option_type"] == "C" else PUT,
                bid=float(row["bid_1545"]),
                ask=float(row["ask_1545"]),
                open_interest=float(row["open_interest"]),
                volume=float(row["trade_volume"]),
                expiry=row["expiration"],
            )
            for row in rows
        ],
    )


def schwab() -> RealChain:
    """Ten calls and ten puts of SPXW around spot, 2024-10-15 at 11:15:56, on their last day."""
    body = lzma.decompress((DATA / "schwab/chains_SPX_0dte_2024-10-15.json.xz").read_bytes())
    answer = json.loads(body)
    quotes = [
        quote
        for side in ("callExpDateMap", "putExpDateMap")
        for strikes in answer[side].values()
        for listed in strikes.values()
        for quote in listed
    ]
    newest = max(quote["quoteTimeInLong"] for quote in quotes) // 1000
    return RealChain(
        name="schwab",
        symbol="SPX",
        quoted_at=datetime.fromtimestamp(newest, NEW_YORK),
        spot=answer["underlyingPrice"],
        contracts=[
            Contract(
                strike=quote["strikePrice"],
                right=CALL if quote["putCall"] == "CALL" else PUT,
                bid=quote["bid"],
                ask=quote["ask"],
                last=quote["last"],
                last_at=quote["tradeTimeInLong"] / 1000,
                open_interest=quote["openInterest"],
                volume=quote["totalVolume"],
                expiry=quote["expirationDate"][:10],
            )
            for quote in quotes
        ],
    )


def compact(path: Path) -> RealChain:
    """A file in the compact format: ``{sym, spot, asof, fetched, o: [{e, t, k, oi, v, b, a, l}]}``."""
    answer = json.loads(path.read_text())
    return RealChain(
        name=path.stem,
        symbol=answer["sym"],
        quoted_at=datetime.fromisoformat(answer["asof"]).replace(tzinfo=NEW_YORK),
        spot=answer["spot"],
        root="",
        contracts=[
            Contract(
                strike=o["k"],
                right=CALL if o["t"] == "C" else PUT,
                bid=o["b"],
                ask=o["a"],
                last=o["l"],
                open_interest=o["oi"],
                volume=o["v"],
                expiry=datetime.fromtimestamp(o["e"], UTC).date().isoformat(),
            )
            for o in answer["o"]
        ],
    )


def lean_minutes(day: date) -> Iterator[RealChain]:
    """SPXW of 3700 and 3800 on their last day, minute by minute from 09:46 on.

    Quotes and prints are those at a minute's end, volume is summed from the open. Spot is the SPX's
    minute where it is recorded (2021-01-04), else what the options' parity implies.
    """
    quotes, trades = (_lean_bars(day, kind) for kind in ("quote", "trade"))
    index = _lean_index() if day == LEAN_DAYS[0] else {}
    volume: dict[tuple[float, int], float] = defaultdict(float)
    last: dict[tuple[float, int], float] = {}
    held: dict[tuple[float, int], tuple[float, float]] = {}
    midnight = datetime.combine(day, datetime.min.time(), NEW_YORK)
    for minute in range(9 * 60 + 30, 16 * 60 - 1):
        for key in quotes:
            if (bar := quotes[key].get(minute)) is not None:
                held[key] = (bar[3] / 1e4, bar[8] / 1e4)
            if (bar := trades[key].get(minute)) is not None:
                last[key] = bar[3] / 1e4
                volume[key] += bar[4]
        if minute < 9 * 60 + 45:
            continue
        contracts = [
            Contract(
                strike=strike,
                right=right,
                bid=held[strike, right][0],
                ask=held[strike, right][1],
                last=last.get((strike, right), NAN),
                open_interest=1000 + 7 * strike % 400,
                volume=volume[strike, right],
                expiry=day.isoformat(),
            )
            for strike, right in sorted(held)
        ]
        spot = index.get(minute) or _parity(contracts)
        yield RealChain(
            name=f"lean {day} {minute}",
            symbol="SPX",
            quoted_at=midnight + timedelta(minutes=minute + 1),
            spot=spot,
            contracts=contracts,
        )


def _parity(contracts: Sequence[Contract]) -> float:
    """Mean of K + C − P."""
    strikes = {c.strike for c in contracts}
    price = {(c.strike, c.right): (c.bid + c.ask) / 2 for c in contracts}
    return sum(k + price[k, CALL] - price[k, PUT] for k in strikes) / len(strikes)


def _lean_bars(day: date, kind: str) -> dict[tuple[float, int], dict[int, list[float]]]:
    """Bars of the contracts that expire on a day, by minute of the day: numbers after the time."""
    stamp, bars = day.strftime("%Y%m%d"), {}
    with zipfile.ZipFile(DATA / f"lean/{stamp}_{kind}_european.zip") as archive:
        for name in archive.namelist():
            right, strike, expiry = name.removesuffix(".csv").split("_")[-3:]
            if expiry == stamp:
                key = (int(strike) / 1e4, CALL if right == "call" else PUT)
                bars[key] = _bars_of(archive.read(name))
    return bars


def _bars_of(text: bytes) -> dict[int, list[float]]:
    bars = {}
    for line in text.decode().split():
        millis, *numbers = line.split(",")
        bars[int(millis) // 60_000] = [float(number or "nan") for number in numbers]
    return bars


def _lean_index() -> dict[int, float]:
    """The SPX's close of each minute. Its file is in Chicago's time, an hour behind New York's."""
    with zipfile.ZipFile(DATA / "lean/spx-minute-20210104_trade.zip") as archive:
        bars = _bars_of(archive.read(archive.namelist()[0]))
    return {minute + 60: bar[3] for minute, bar in bars.items()}


__all__ = [
    "DATA",
    "EXTRA",
    "LEAN_DAYS",
    "YEAR",
    "RealChain",
    "compact",
    "lean_minutes",
    "schwab",
    "volkit",
]
