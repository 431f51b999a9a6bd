"""What several commands of the sampler share: settings, the source, and the value of ``--at``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sampler.compiling import load_formulas
from sampler.sources import SOURCES, Source, open_source
from sampler.sources.by_symbol import BySymbol, source_for
from sampler.sources.polling import PolledSource
from storage.config.settings import Settings
from storage.config.source_url import OTHERS, urls_by_symbol
from storage.errors import UsageError
from storage.market.calendar import (
    from_new_york,
    last_session,
    market_day,
    next_session,
    session_on,
    to_new_york,
)
from storage.market.zero_dte import listed_today
from storage.opening import REAL, SYNTHETIC

_TIME_OF_DAY = re.compile(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?")
#: Settings of every command that opens the database.
DATABASE_SETTINGS = ("database_url", "redis_url", "data_dir", "dataset", "log", "log_level")
#: Settings of every command that measures chains of a source.
SOURCE_SETTINGS = ("symbols", "source", "oi_confidence")


def open_configured_source(settings: Settings, load: Callable[[], None] = load_formulas) -> Source:
    """Open the source that the settings name, and load the compiled formulas.

    Parameters
    ----------
    settings : the command's settings.
    load : loads the formulas, or compiles them.

    Returns
    -------
    Source
        The source; the caller closes it.

    Raises
    ------
    UsageError
        If no source is named, a simulated clock would drive a live vendor, or FLOW_DATASET is not
        the source's.
    """
    if settings.source in ("", "auto"):
        known = ", ".join(f"{name}:" for name in SOURCES)
        why = "auto is for make run only" if settings.source else "no source is named"
        raise UsageError(f"FLOW_SOURCE: {why}; name one of {known}")
    source = open_source(settings.source, settings.keys)
    if isinstance(source, BySymbol):
        source.require(settings.symbols)
    if settings.clock.simulated and source.remote:
        raise UsageError("FLOW_CLOCK: a live vendor needs the real clock, not a simulated one")
    # Before the formulas are compiled, for minutes.
    dataset_of(settings, source)
    load()
    return source


def open_fallback(settings: Settings, source: Source) -> tuple[Source, list[str]] | None:
    """Open the second source that the settings name.

    Parameters
    ----------
    settings : the command's settings.
    source : the first source.

    Returns
    -------
    tuple of Source and list of str, or None
        The source, which the caller closes, and the symbols that have it; None without one.

    Raises
    ------
    UsageError
        If it cannot be opened, is of another dataset, or is the first source of a symbol.
    """
    if not settings.fallback:
        return None
    if settings.fallback_after < 1:
        raise UsageError("FLOW_FALLBACK_AFTER: 1 slot or more")
    second = open_source(settings.fallback, settings.keys)
    urls = urls_by_symbol(settings.fallback)
    symbols = [s for s in settings.symbols if s in urls or OTHERS in urls]
    if second.synthetic != source.synthetic:
        raise UsageError("FLOW_FALLBACK: simulated and real quotes cannot stand in for each other")
    if settings.clock.simulated and second.remote:
        raise UsageError("FLOW_CLOCK: a live vendor needs the real clock, not a simulated one")
    for symbol in symbols:
        name = source_for(second, symbol).name
        if name == source_for(source, symbol).name:
            raise UsageError(f"FLOW_FALLBACK: {symbol} comes from {name} already")
    return second, symbols


def describe_polling(source: Source, symbols: Sequence[str]) -> list[tuple[str, bool]]:
    """Say how many requests the symbols take of each vendor that is polled.

    Parameters
    ----------
    source : where the chains come from.
    symbols : what is sampled.

    Returns
    -------
    list of (str, bool)
        For each vendor a sentence, and whether the symbols fit into its plan and pace.
    """
    groups: dict[int, tuple[Source, int]] = {}
    for symbol in symbols:
        own = source_for(source, symbol)
        groups[id(own)] = own, groups.get(id(own), (own, 0))[1] + 1
    return [
        (own.polling.sentence(own.name, count), count <= own.polling.most_symbols)
        for own, count in groups.values()
        if isinstance(own, PolledSource)
    ]


def describe_expiries(symbols: Sequence[str], now: datetime) -> str:
    """Say of which symbols something surely expires on the day's session, or on the next one.

    Parameters
    ----------
    symbols : what is sampled.
    now : the time, UTC.

    Returns
    -------
    str
        A sentence, with the symbols of which the feed alone can tell.
    """
    return listed_today(symbols, next_session(market_day(now) - timedelta(days=1)).day)


def dataset_of(settings: Settings, source: Source) -> str:
    """Return the dataset that the source's rows belong to.

    Parameters
    ----------
    settings : the command's settings.
    source : where the rows come from.

    Returns
    -------
    str
        ``live`` or ``synthetic``.

    Raises
    ------
    UsageError
        If the settings name another dataset.
    """
    own = SYNTHETIC if source.synthetic else REAL
    if settings.dataset not in ("", own):
        raise UsageError(f"FLOW_DATASET: {source.name} rows belong to {own} alone")
    return own


def parse_moment(text: str, now: datetime) -> datetime:
    """Parse the value of ``--at``: an ISO time, New York unless it has an offset.

    A time of day alone, such as ``10:30``, is of the newest session that has opened by ``now``:
    today's while the market is open.

    Parameters
    ----------
    text : the option's value.
    now : the time of the clock, UTC.

    Returns
    -------
    datetime
        The moment, with an offset from UTC.

    Raises
    ------
    UsageError
        If it is no such time, or its day has no session.
    """
    if _TIME_OF_DAY.fullmatch(text):
        hour, _, rest = text.partition(":")
        text = f"{last_session(now).day}T{int(hour):02}:{rest}"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--at: {error}") from error
    if moment.tzinfo is None:
        moment = from_new_york(moment)
    if session_on(to_new_york(moment).date()) is None:
        raise UsageError(f"--at: {to_new_york(moment).date()} has no session")
    return moment
