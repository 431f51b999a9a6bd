"""The page in a browser behind nginx, with TLS and under a path."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.page import market
from tests.page.conftest import Site
from tests.page.market import TUESDAY, slot_time
from tests.page.test_live import fresh, settled
from tests.reverse_proxy import reverse_proxy

__all__ = ["fresh"]
pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_page_under_a_path(fresh: Site, tabs: Any, tmp_path: Path) -> None:
    """Everything that the page asks for goes through the proxy; rows arrive by the stream."""
    rows = market.day(TUESDAY, until=62)
    await fresh.put(rows[:60])
    await fresh.start(
        slot_time(TUESDAY, 62), FLOW_ROOT_PATH="/flow", FLOW_ALLOWED_HOSTS="localhost"
    )
    with reverse_proxy("nginx", tmp_path, fresh.port) as url:
        tab = await tabs(ignore_https_errors=True)
        tab.home = f"{url}/flow"
        await tab.open("bar=30s")
        await tab.shows("#link", "Live")
        await tab.shows(".tile[data-field=spot] b", re.compile(r"\d"))
        await fresh.put([rows[60]])
        await settled(tab, (await fresh.bars(bar="30s"))[-1])
        assert {address.startswith(f"{url}/flow/") for address in tab.requested} == {True}
        await tab.page.goto(f"{url}/flow/tour")
        await tab.shows("#tour-words", "as this server sampled it")
        await tab.page.keyboard.press("Escape")
        assert tab.page.url.startswith(f"{url}/flow/#")
        assert {address.startswith(f"{url}/flow/") for address in tab.requested} == {True}
        await tab.page.goto(f"{url}/flow/docs")
        await tab.page.locator(".swagger-ui .opblock").first.wait_for(state="visible")
        tab.away = True
