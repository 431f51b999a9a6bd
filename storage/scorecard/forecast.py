"""What a row forecasts, as it is frozen: a text, and the digest of the text.

The text is JSON with sorted keys and no spaces. Anybody can compute its SHA-256 again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Self

import orjson

from storage.market.calendar import Session, new_york_time
from storage.record.figures import DetailFigures

#: The times of day at which forecasts are frozen, New York.
FREEZE_TIMES = (time(10), time(12), time(14), time(15), time(15, 30))
#: The row of a freeze is the last one at or before its time, and at most so much older.
FREEZE_REACH = timedelta(minutes=2)
#: A forecast that is frozen or written later than so long after its time, and the feed's delay, is
#: late.
ON_TIME = timedelta(minutes=2)
#: The hedge flow that is frozen is that of so long before the freeze, and since the open.
FLOW_SPAN = timedelta(minutes=30)

#: The columns of a row that a forecast is made of.
FORECAST_COLUMNS = (
    "symbol",
    "expiration",
    "source",
    "slot",
    "quoted_at",
    "delay_seconds",
    "definitions",
    "spot",
    "forward",
    "years_to_expiry",
    "atm_iv",
    "remaining_1sd",
    "net_gex",
    "gross_gex",
    "gamma_flip",
    "gamma_flip_status",
    "flip_out_of_reach",
    "regime",
    "regime_confidence",
    "call_wall",
    "put_wall",
    "magnet",
    "magnet_gex",
    "pin_score",
    "pin_probability_pct",
    "charm_dollars_per_hour",
    "charm_horizon_seconds",
    "hedge_flow_cumulative_all",
    "hedge_flow_se",
    "flags",
    "detail",
)


def freeze_moments(session: Session) -> list[datetime]:
    """Return when forecasts of a session are frozen.

    Parameters
    ----------
    session : the session.

    Returns
    -------
    list of datetime
        The set times before its close, UTC, ascending.
    """
    moments = [new_york_time(session.day, t.hour, t.minute) for t in FREEZE_TIMES]
    return [moment for moment in moments if moment < session.close]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenForecast:
    """What is frozen for one time: a forecast, or why there is none."""

    symbol: str
    expiration: date
    source: str
    #: The set time, UTC.
    freeze_time: datetime
    #: When the content was fixed, by the market clock of the process that froze it.
    frozen_at: datetime
    slot: datetime | None = None
    definitions: str | None = None
    #: The forecast as JSON with sorted keys; None if there is none.
    content: str | None = None
    #: SHA-256 of the content, in hexadecimal digits.
    digest: str | None = None
    #: Why there is none.
    missed: str | None = None

    def as_line(self) -> bytes:
        """The forecast as a line of JSON, for a file."""
        return orjson.dumps(
            {name: getattr(self, name) for name in self.__slots__}, option=orjson.OPT_UTC_Z
        )

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """Read what ``as_line`` wrote.

        Parameters
        ----------
        line : the line.

        Returns
        -------
        FrozenForecast
            The forecast.

        Raises
        ------
        ValueError
            If the line is not whole, or its content does not have its digest.
        """
        try:
            values = orjson.loads(line)
            values["expiration"] = date.fromisoformat(values["expiration"])
            for name in ("freeze_time", "frozen_at", "slot"):
                if values[name] is not None:
                    values[name] = datetime.fromisoformat(values[name])
            forecast = cls(**values)
        except (KeyError, TypeError) as error:
            raise ValueError(f"no frozen forecast: {error}") from None
        if forecast.content is not None and digest_of(forecast.content) != forecast.digest:
            raise ValueError("the content does not have its digest")
        return forecast


def digest_of(content: str) -> str:
    """Return the SHA-256 of a text in UTF-8.

    Parameters
    ----------
    content : the text.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    return hashlib.sha256(content.encode()).hexdigest()


def freeze(
    row: Mapping[str, Any],
    freeze_time: datetime,
    *,
    frozen_at: datetime,
    simulated: bool,
    flow_before: float | None,
) -> FrozenForecast:
    """Freeze what a row forecasts.

    Parameters
    ----------
    row : its columns, as ``FORECAST_COLUMNS`` names them; ``detail`` as a JSON object.
    freeze_time : the set time, UTC.
    frozen_at : the market's time now, UTC.
    simulated : whether the market is made up.
    flow_before : the hedge flow since the open as it was ``FLOW_SPAN`` before; None where it is not
        known. [$]

    Returns
    -------
    FrozenForecast
        The forecast with its digest.
    """
    content = forecast_text(row, freeze_time, simulated=simulated, flow_before=flow_before)
    return FrozenForecast(
        symbol=row["symbol"],
        expiration=row["expiration"],
        source=row["source"],
        freeze_time=freeze_time,
        frozen_at=frozen_at,
        slot=row["slot"],
        definitions=row["definitions"],
        content=content,
        digest=digest_of(content),
    )


def forecast_text(
    row: Mapping[str, Any], freeze_time: datetime, *, simulated: bool, flow_before: float | None
) -> str:
    """Return the text of a row's forecast.

    Parameters
    ----------
    row, freeze_time, simulated, flow_before : as for ``freeze``.

    Returns
    -------
    str
        JSON with sorted keys.
    """
    detail = DetailFigures.from_json(row["detail"])
    values = {name: row[name] for name in FORECAST_COLUMNS if name != "detail"}
    values["flags"] = list(row["flags"])
    values["freeze_time"] = freeze_time
    values["simulated"] = simulated
    values["pin_lower"], values["pin_upper"] = detail.pin_lower, detail.pin_upper
    spot, deviation = row["spot"], row["remaining_1sd"]
    for name, times in (("range_1sigma", 1), ("range_2sigma", 2)):
        values[name] = (
            None
            if deviation is None
            else [round(spot - times * deviation, 6), round(spot + times * deviation, 6)]
        )
    flow = row["hedge_flow_cumulative_all"]
    values["hedge_flow_30m"] = None if flow_before is None else round(flow - flow_before, 2)
    return orjson.dumps(values, option=orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z).decode()
