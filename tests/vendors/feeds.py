"""Every live source with its own loopback server: what the conformance suite runs over.

A new source has one entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sampler.sources import Source, open_source
from storage.config.vendor_keys import NO_KEYS, VendorKeys
from storage.record.row import Reason
from tests.vendors import dxlink, massive, orats, schwab, tradier
from tests.vendors.cboe import CboeVendor
from tests.vendors.dxlink import DxlinkVendor
from tests.vendors.massive import MassiveVendor
from tests.vendors.orats import OratsVendor
from tests.vendors.schwab import SchwabVendor
from tests.vendors.server import VendorServer
from tests.vendors.theta import ThetaVendor
from tests.vendors.tradier import TradierVendor

DOWN = Reason.SOURCE_DOWN
#: What HTTP's own statuses come to, whoever sends them.
HTTP_STATUSES = dict.fromkeys((400, 401, 403, 404, 429, 500, 502, 503, 504), DOWN)


def _no_settings(folder: Path, moment: datetime) -> dict[str, str]:
    return {}


PATIENT = "pace=0&timeout=10&budget=10"
#: The same without requests beside the slots, which come whenever they come.
SLOTS_ALONE = f"{PATIENT}&expiries=0"


@dataclass(frozen=True, kw_only=True)
class Feed:
    """A live source, its server, and what its vendor documents."""

    scheme: str
    server: type[VendorServer]
    #: What tells it from other feeds of its scheme.
    variant: str = ""
    #: Options that need its server's address.
    addressed: Callable[[VendorServer], str] = lambda server: ""
    #: Without waits of politeness, and time for a machine that is busy.
    options: str = PATIENT
    #: How far its quotes lie behind. [s]
    delay: int = 0
    #: FLOW_* settings that its server accepts at a moment; files go to the folder.
    settings: Callable[[Path, datetime], dict[str, str]] = _no_settings
    #: The settings that it cannot do without.
    needs: tuple[str, ...] = ()
    #: The setting that is changed to make its server refuse, and to what.
    refused: tuple[str, str] | None = None
    #: Everything that its settings and their files hold and nobody may see.
    secrets: tuple[str, ...] = ()
    #: Status → the reason that a gap has.
    statuses: Mapping[int, Reason] = field(default_factory=lambda: HTTP_STATUSES)

    def open(self, server: VendorServer, keys: VendorKeys = NO_KEYS, options: str = "") -> Source:
        """The source, on its server."""
        more = self.addressed(server)
        return open_source(f"{self.scheme}:{server.url}?{options or self.options}{more}", keys)

    def keys(self, folder: Path, moment: datetime) -> VendorKeys:
        """Keys that the server accepts."""
        return VendorKeys.read(self.settings(folder, moment))


def _schwab_settings(folder: Path, moment: datetime) -> dict[str, str]:
    issued = moment.timestamp()
    path = schwab.write_token_file(
        folder / "token.json", login_at=issued - 86_400, ends_at=issued + 1500
    )
    return {
        "FLOW_SCHWAB_TOKEN_FILE": str(path),
        "FLOW_SCHWAB_APP_KEY": schwab.APP_KEY,
        "FLOW_SCHWAB_APP_SECRET": schwab.APP_SECRET,
    }


FEEDS: dict[str, Feed] = {
    f"{feed.scheme}{feed.variant}": feed
    for feed in (
        Feed(scheme="cboe", server=CboeVendor, delay=900),
        Feed(
            scheme="tradier",
            server=TradierVendor,
            options=SLOTS_ALONE,
            settings=lambda folder, moment: {"FLOW_TRADIER_TOKEN": tradier.TOKEN},
            needs=("FLOW_TRADIER_TOKEN",),
            refused=("FLOW_TRADIER_TOKEN", "another"),
            secrets=(tradier.TOKEN,),
        ),
        Feed(
            scheme="tradier",
            variant=" with its stream",
            server=TradierVendor,
            addressed=lambda server: "&stream=yes",
            settings=lambda folder, moment: {"FLOW_TRADIER_TOKEN": tradier.TOKEN},
            needs=("FLOW_TRADIER_TOKEN",),
            refused=("FLOW_TRADIER_TOKEN", "another"),
            secrets=(tradier.TOKEN, tradier.SESSION),
        ),
        Feed(
            scheme="massive",
            server=MassiveVendor,
            options=SLOTS_ALONE,
            settings=lambda folder, moment: {"FLOW_MASSIVE_KEY": massive.KEY},
            needs=("FLOW_MASSIVE_KEY",),
            refused=("FLOW_MASSIVE_KEY", "another"),
            secrets=(massive.KEY,),
            statuses=HTTP_STATUSES | dict.fromkeys((413, 499), DOWN),
        ),
        Feed(
            scheme="schwab",
            server=SchwabVendor,
            options=SLOTS_ALONE,
            settings=_schwab_settings,
            needs=("FLOW_SCHWAB_TOKEN_FILE", "FLOW_SCHWAB_APP_KEY", "FLOW_SCHWAB_APP_SECRET"),
            secrets=(schwab.APP_KEY, schwab.APP_SECRET, "refresh-1", "access-1", "access-2"),
        ),
        Feed(
            scheme="dxlink",
            server=DxlinkVendor,
            settings=lambda folder, moment: {
                "FLOW_TASTYTRADE_CLIENT_SECRET": dxlink.SECRET,
                "FLOW_TASTYTRADE_REFRESH_TOKEN": dxlink.REFRESH,
            },
            needs=("FLOW_TASTYTRADE_CLIENT_SECRET", "FLOW_TASTYTRADE_REFRESH_TOKEN"),
            refused=("FLOW_TASTYTRADE_CLIENT_SECRET", "another"),
            secrets=(dxlink.SECRET, dxlink.REFRESH, dxlink.ACCESS, dxlink.STREAM_TOKEN),
        ),
        Feed(
            scheme="orats",
            server=OratsVendor,
            settings=lambda folder, moment: {"FLOW_ORATS_TOKEN": orats.TOKEN},
            needs=("FLOW_ORATS_TOKEN",),
            refused=("FLOW_ORATS_TOKEN", "another"),
            secrets=(orats.TOKEN,),
        ),
        Feed(
            scheme="theta",
            server=ThetaVendor,
            options=SLOTS_ALONE,
            statuses=HTTP_STATUSES | dict.fromkeys((410, 470, 471, 473, 474, 476, 570, 571), DOWN),
        ),
        Feed(
            scheme="theta",
            variant=" with its stream",
            server=ThetaVendor,
            addressed=lambda server: (
                f"&plan=pro&stream=ws{server.url.removeprefix('http').removesuffix('/v3')}/v1/events"
            ),
            statuses={471: DOWN, 503: DOWN},
        ),
    )
}
