"""The browser that the page is tried in: Debian's Chromium, told to keep to itself."""

from __future__ import annotations

import os

import pytest
from playwright.async_api import Browser, Error, Playwright

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Each new window loads these parts of the address bar, some 400 requests in two processes of their
    # own, just while a test's page is loading.
    "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup,WebUIOmniboxFullPopup",
]


async def launch(play: Playwright) -> Browser:
    """A running browser; without one the test is skipped, or fails where CI says so."""
    try:
        return await play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
    except Error as error:
        reason = f"no browser at {CHROMIUM}: {error.message.splitlines()[0]}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
