"""Run every check, one after the other, and go on where one of them cannot be run."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from pathlib import Path

from storage.config.settings import Settings
from storage.config.source_url import is_simulated
from storage.doctor import channel, database, machine, ports, product
from storage.doctor.finding import Finding, State, fail, ok, warn
from storage.errors import FlowError
from storage.market.clock import Clock
from storage.opening import (
    REAL,
    SYNTHETIC,
    connect,
    product_clock,
    product_dataset,
    running_product,
    server_urls,
)
from storage.postgres import retention
from storage.postgres.migrate import KEPT_TABLES, migrate

#: The folder of the package that keeps its compiled formulas beside it, if it may.
_SAMPLER = Path(__file__).resolve().parents[2] / "sampler"


async def examine(
    settings: Settings, environment: Mapping[str, str], *, source: bool = True
) -> AsyncGenerator[Finding, None]:
    """Yield the findings of all checks, in the order in which a user would mend them.

    Parameters
    ----------
    settings : the product's settings.
    environment : the process's environment.
    source : whether to ask the source for a chain.

    Yields
    ------
    Finding
        One a check.
    """
    yield machine.check_python()
    yield _settings(settings)
    yield machine.check_files()
    yield machine.check_cache(environment, _SAMPLER)
    yield machine.check_calendar(Clock().now(), len(settings.calendar_overrides))
    yield await product.check_rules(settings.alert_rules)
    yield product.check_targets(settings)
    dataset = product_dataset(settings)
    growth: float | None = None
    try:
        async with server_urls(settings) as (database_url, redis_url):
            if not settings.database_url:
                await migrate(database_url, dataset)
            findings = await database.check_database(database_url, dataset)
            for finding in findings:
                yield finding
            identity = await database.identify(database_url, dataset)
            yield await channel.check_channel(redis_url, dataset, identity)
            if not any(finding.state is State.FAIL for finding in findings):
                growth = await retention.bytes_a_session(database_url, dataset)
                async for finding in _stored(settings, dataset, database_url):
                    yield finding
    except FlowError as error:
        advice = "read the sentence; set FLOW_DATABASE_URL and FLOW_REDIS_URL to use other servers"
        yield fail("servers", str(error), advice)
    yield machine.check_disk(settings.spool_dir or settings.data_dir, growth)
    if settings.spool_dir and not settings.database_url:
        yield machine.check_disk(settings.data_dir, growth)
    for finding in ports.check_ports(settings, running_product(settings)):
        yield finding
    today = Clock().now().date()
    embedded = not settings.database_url
    yield machine.check_backups(settings.backup_dir, today, embedded=embedded)
    if source:
        yield await product.check_source(settings, environment)


def _settings(settings: Settings) -> Finding:
    if settings.unknown:
        names = ", ".join(settings.unknown)
        return warn(
            "settings",
            f"{names}: not a setting of this release, and ignored",
            "correct the name, or install the release that has it; deploy/flow.env.example has all",
        )
    own = SYNTHETIC if is_simulated(settings.source) else REAL
    if settings.source not in ("", "auto") and settings.dataset not in ("", own):
        sentence = f"FLOW_DATASET is {settings.dataset}: rows of FLOW_SOURCE belong to {own} alone"
        return fail("settings", sentence, "leave FLOW_DATASET empty, or correct FLOW_SOURCE")
    return ok("settings", "every FLOW_* name is a setting, and every value can be read")


async def _stored(settings: Settings, dataset: str, url: str) -> AsyncGenerator[Finding, None]:
    keep = {table: getattr(settings, f"keep_{table}") for table in KEPT_TABLES}
    async with connect(settings, dataset, live=False) as connections:
        required = settings.access == "keys" or not _loopback(settings.host)
        yield await product.check_keys(connections.store, Clock().now(), required=required)
        now = product_clock(settings).now()
        yield await product.check_coverage(connections.store, settings, now)
    reports = await retention.prune(url, dataset, keep, dry=True)
    yield product.check_retention(reports, await retention.overdue_tables(url, dataset, keep))


def _loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
