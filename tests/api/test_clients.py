"""The published clients against a running server: every method, every typed key, every refusal."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import typing
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import flashalpha
import httpx
import pytest
from flashalpha import types

from api.access.gate import PLANS, Admission, Usage, quota_exceeded, tier_restricted, unauthorized
from api.access.gate import Caller as Person
from tests.api import contract
from tests.api.conftest import ROOT
from tests.api.serving import served

NOON = datetime(2026, 11, 27, 17, 0, 3, tzinfo=UTC)
#: What only answers of another kind have: not required where the answer is in full.
OTHERWISE = {"no_zero_dte", "message", "next_zero_dte_expiry", "session_closed", "last_session"}
ONLY_SOMETIMES = OTHERWISE | {"warnings", "note"}


@pytest.fixture(scope="module")
def address(sessions_database: str) -> Iterator[str]:
    """A server on the synthetic session, at noon."""
    with served(sessions_database, "synthetic", NOON) as (url, _):
        yield url


def check(value: Any, kind: Any, where: str, faults: list[str]) -> None:
    """Compare a value with a type hint of the client's, all the way down."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return
    if origin is typing.Union:
        if value is None and type(None) in inner:
            return
        (kind,) = [item for item in inner if item is not type(None)]
        check(value, kind, where, faults)
    elif origin is typing.Literal:
        if value not in inner:
            faults.append(f"{where}: {value!r} is none of {inner}")
    elif origin is list:
        if not isinstance(value, list):
            faults.append(f"{where}: {value!r} is no list")
            return
        for index, item in enumerate(value[:3]):
            check(item, inner[0], f"{where}[{index}]", faults)
    elif typing.is_typeddict(kind):
        if not isinstance(value, dict):
            faults.append(f"{where}: {value!r} is no object")
            return
        for name, hint in typing.get_type_hints(kind).items():
            if name in value:
                check(value[name], hint, f"{where}.{name}", faults)
            elif name not in ONLY_SOMETIMES:
                faults.append(f"{where}.{name} is missing")
    else:
        # An integer is a float's value too, never the other way round; True is no number.
        fits = {float: (int, float), int: (int,), str: (str,), bool: (bool,)}[kind]
        if not isinstance(value, fits) or (isinstance(value, bool) and kind is not bool):
            faults.append(f"{where}: {value!r} is no {kind.__name__}")


CALLS: list[tuple[str, dict[str, Any], Any]] = [
    ("zero_dte", {}, types.ZeroDteResponse),
    ("zero_dte", {"strike_range": 0.01, "expiry": "2026-11-27"}, types.ZeroDteResponse),
    ("flow_zero_dte_snapshot", {}, types.FlowZeroDteSnapshotResponse),
    ("flow_zero_dte_snapshot", {"expiry": "2026-11-27"}, types.FlowZeroDteSnapshotResponse),
    ("flow_zero_dte_series", {}, types.FlowZeroDteSeriesResponse),
    ("flow_zero_dte_series", {"bar": "5m", "minutes": 120}, types.FlowZeroDteSeriesResponse),
    ("flow_zero_dte_hedge_flow", {}, types.FlowZeroDteHedgeFlowResponse),
    *(
        (
            "flow_zero_dte_hedge_flow",
            {"side": side, "bar": "1m"},
            types.FlowZeroDteHedgeFlowResponse,
        )
        for side in ("all", "calls", "puts")
    ),
    ("flow_zero_dte_heatmap", {}, types.FlowZeroDteHeatmapResponse),
    *(
        (
            "flow_zero_dte_heatmap",
            {"metric": metric, "mode": mode, "bar": "1m", "minutes": 5},
            types.FlowZeroDteHeatmapResponse,
        )
        for metric in ("gex", "dex", "vex", "chex", "oi", "signed_flow", "volume")
        for mode in ("raw", "delta", "since_open")
    ),
    ("flow_zero_dte_strike_flow", {}, types.FlowZeroDteStrikeFlowResponse),
    ("flow_zero_dte_strike_flow", {"bar": "1m", "minutes": 5}, types.FlowZeroDteStrikeFlowResponse),
    ("flow_zero_dte_leaderboard", {}, types.FlowZeroDteLeaderboardResponse),
    *(
        ("flow_zero_dte_leaderboard", {"metric": m, "n": 5}, types.FlowZeroDteLeaderboardResponse)
        for m in ("heat", "pin_risk", "abs_flow", "charm_intensity")
    ),
    *(
        (f"flow_{name}", query, getattr(types, f"Flow{kind}Response"))
        for name, kind in (
            ("levels", "Levels"),
            ("pin_risk", "PinRisk"),
            ("summary", "Summary"),
            ("oi", "Oi"),
            ("gex", "Gex"),
            ("dex", "Dex"),
            ("dealer_risk", "DealerRisk"),
            ("live", "Live"),
        )
        for query in ({}, {"expiry": "2026-11-27"})
    ),
    ("symbols", {}, types.SymbolsResponse),
]


@pytest.mark.parametrize(
    ("method", "query", "kind"),
    CALLS,
    ids=[f"{m}-{'-'.join(map(str, g.values()))}" for m, g, _ in CALLS],
)
def test_python_client(address: str, method: str, query: dict[str, Any], kind: Any) -> None:
    """Every method's answer has every key that its type names, of that type, null only where it may."""
    client = flashalpha.FlashAlpha("any key", base_url=address)
    wants_symbol = "leaderboard" not in method and method != "symbols"
    answer = getattr(client, method)(*(["spx"] if wants_symbol else []), **query)
    faults: list[str] = []
    check(answer, kind, method, faults)
    assert faults == []
    assert answer["endpoint_version"]
    check(answer["data_as_of"], types.DataAsOf, "data_as_of", faults)
    # The newest sample is of the last minute, which has no charm to rank by.
    charmless = query.get("metric") == "charm_intensity"
    for name in ("bars", "strikes", "strikes_grid", "entries", "symbols"):
        assert (answer.get(name, ["absent"]) == []) == (name == "entries" and charmless), name
    for name in ("side", "metric", "mode"):
        if name in query:
            assert answer[name] == query[name]
    if "bar" in query:
        assert answer["bar_size"] == query["bar"]
    assert faults == []


def test_python_client_asks_for_health(address: str) -> None:
    """The one answer that is nothing but its word."""
    assert flashalpha.FlashAlpha("", base_url=address).health() == {"status": "Healthy"}


def test_python_client_reads_its_account(address: str) -> None:
    """On an open server too every field has the type that the published clients declare."""
    account = flashalpha.FlashAlpha("any key", base_url=address).account()
    kinds = {
        "user_id": str,
        "email": str,
        "plan": str,
        "daily_limit": str,
        "usage_today": int,
        "remaining": str,
        "resets_at": str,
    }
    assert kinds == {name: type(account[name]) for name in kinds}


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/flow/zero-dte/snapshot/SPX",
        "/v1/exposure/zero-dte/SPX?strike_range=0.05",
        "/v1/flow/gex/SPX",
        "/v1/flow/dex/SPX",
    ],
)
def test_documents_are_compressed(address: str, path: str, coding: str) -> None:
    """A caller who takes a coding gets it, and reads the same document."""
    plain, packed = (
        httpx.get(f"{address}{path}", headers={"Accept-Encoding": taken}, timeout=10)
        for taken in ("identity", coding)
    )
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == coding
    assert "Accept-Encoding" in packed.headers["Vary"]
    assert int(packed.headers["Content-Length"]) * 2 < int(plain.headers["Content-Length"])
    expected, actual = plain.json(), packed.json()
    assert expected.pop("as_of") <= actual.pop("as_of")
    # They count from the quotes' age, which goes on.
    for body in (expected, actual):
        body.get("metadata", {}).pop("snapshot_age_seconds", None)
    assert expected == actual


def test_every_zero_dte_method_is_called() -> None:
    """The list above has all that the client knows of zero-DTE, and the eight siblings."""
    known = {
        name
        for name in dir(flashalpha.FlashAlpha)
        if "zero_dte" in name and not name.startswith("strategy_")
    }
    assert {method for method, *_ in CALLS} >= known
    assert len(known) == 7


def test_python_client_reads_degraded_answers(sessions_database: str) -> None:
    """A closed market is an answer with its flag, an unknown symbol an error."""
    with served(sessions_database, "synthetic", NOON + timedelta(days=1)) as (url, _):
        client = flashalpha.FlashAlpha("any key", base_url=url)
        closed = client.flow_zero_dte_snapshot("SPX")
        assert closed["session_closed"] is True
        assert closed["last_session"] == "2026-11-27"
        assert client.zero_dte("SPX")["market_open"] is False
        assert client.flow_zero_dte_series("SPX")["bars"] == []
        assert client.flow_zero_dte_heatmap("SPX")["strikes_grid"] == []
        with pytest.raises(flashalpha.NotFoundError) as missing:
            client.flow_zero_dte_snapshot("NOPE")
        assert missing.value.status_code == 404
        assert str(missing.value) == "No data for NOPE."
        assert missing.value.response == {
            "error": "symbol_not_found",
            "message": "No data for NOPE.",
        }
        with pytest.raises(flashalpha.FlashAlphaError) as refused:
            client.flow_gex("SPX", expiry="soon")
        assert (refused.value.status_code, refused.value.response["error"]) == (
            400,
            "invalid_expiry",
        )


class Plans:
    """Keys by their plans: ``key-Basic`` is a Basic key, ``spent`` one that has none left."""

    async def admit(self, key: str | None, plan: str, *, count: bool = True) -> Admission:
        """See ``Access``."""
        reset = datetime(2026, 11, 28, tzinfo=UTC)
        if key == "spent":
            usage = Usage(5, 6, reset)
            quotas = dict(zip(PLANS, (2500, 5, 250, 2500, None, None), strict=True))
            raise quota_exceeded(Person("Free"), usage, quotas, NOON)  # type: ignore[arg-type]
        if key not in {f"key-{p}" for p in PLANS}:
            raise unauthorized()
        person = Person(key.removeprefix("key-"))
        usage = Usage(250, 1, reset)
        if not person.may(plan):
            raise tier_restricted(person, plan, usage)
        return Admission(person, usage, usage.headers)

    def knows(self, caller: Person) -> bool:
        """See ``Access``."""
        return True


def test_python_client_raises_what_it_documents(sessions_database: str) -> None:
    """401, 403 and 429 become its exceptions, with the attributes that callers look at."""
    with served(sessions_database, "synthetic", NOON, access=Plans()) as (url, _):

        def client_of(key: str) -> flashalpha.FlashAlpha:
            return flashalpha.FlashAlpha(key, base_url=url)

        with pytest.raises(flashalpha.AuthenticationError) as unknown:
            client_of("stolen").flow_zero_dte_series("SPX")
        assert (unknown.value.status_code, str(unknown.value)) == (401, "Invalid API key.")
        growth = [name for name, (plan, _) in PLANS_OF.items() if plan == "Growth"]
        alpha = [name for name, (plan, _) in PLANS_OF.items() if plan == "Alpha"]
        for key, methods, required in (
            ("key-Basic", growth, "Growth"),
            ("key-Growth", alpha, "Alpha"),
        ):
            for name in methods:
                with pytest.raises(flashalpha.TierRestrictedError) as low:
                    getattr(client_of(key), name)(*PLANS_OF[name][1])
                assert low.value.status_code == 403
                assert low.value.current_plan == key.removeprefix("key-")
                assert low.value.required_plan == required, name
        for name in growth:
            assert getattr(client_of("key-Growth"), name)(*PLANS_OF[name][1])
        for name in alpha:
            assert getattr(client_of("key-Alpha"), name)(*PLANS_OF[name][1])
        with pytest.raises(flashalpha.RateLimitError) as spent:
            client_of("spent").flow_zero_dte_series("SPX")
        assert spent.value.status_code == 429
        assert isinstance(spent.value.retry_after, int)
        assert 6 * 3600 < spent.value.retry_after <= 7 * 3600
        assert spent.value.response["reset_at"] == "2026-11-28T00:00:00Z"
        assert spent.value.response["upgrade_to"] == "Basic"


#: The plan of each method by the contract's sections, and its arguments.
PLANS_OF: dict[str, tuple[str, list[str]]] = {
    **{
        name: ("Growth", ["SPX"])
        for name in (
            "zero_dte",
            "flow_zero_dte_snapshot",
            "flow_zero_dte_series",
            "flow_zero_dte_hedge_flow",
            "flow_levels",
            "flow_pin_risk",
            "flow_gex",
            "flow_dex",
            "flow_summary",
            "flow_dealer_risk",
            "flow_oi",
            "flow_live",
        )
    },
    "flow_zero_dte_heatmap": ("Alpha", ["SPX"]),
    "flow_zero_dte_strike_flow": ("Alpha", ["SPX"]),
    "flow_zero_dte_leaderboard": ("Alpha", []),
}


# JavaScript.


def node(script: str, *arguments: str, cwd: Path | None = None) -> str:
    """What a script prints."""
    if shutil.which("node") is None:
        pytest.skip("Node.js is not installed")
    done = subprocess.run(
        ["node", "--input-type=commonjs", "-e", script, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the published JavaScript client in it."""
    if shutil.which("npm") is None:
        # Where CI has Node.js without npm, the fetch example below still runs.
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("npm")
    done = subprocess.run(
        ["npm", "install", "flashalpha", "--no-audit", "--no-fund", "--ignore-scripts"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"npm_config_update_notifier": "false"},
    )
    if done.returncode != 0:
        pytest.skip(f"the registry does not answer: {done.stderr.strip().splitlines()[-1:]}")
    return folder


def test_javascript_client(address: str, package: Path) -> None:
    """Its one zero-DTE method reads our exposure, and its error class our refusals."""
    script = """
    const { FlashAlpha } = require("flashalpha");
    const client = new FlashAlpha("any key", { baseUrl: process.argv[1] });
    (async () => {
      const full = await client.zeroDte("SPX", { strikeRange: 0.01 });
      let status = null;
      try { await client.zeroDte("NOPE"); } catch (error) { status = error.statusCode; }
      console.log(JSON.stringify({ full, status }));
    })();
    """
    answers = json.loads(node(script, address, cwd=package))
    contract.Exposure.model_validate_json(json.dumps(answers["full"]))
    assert answers["status"] == 404


def test_documented_fetch(address: str) -> None:
    """Every JavaScript example of docs/api.md runs as it stands, against this server."""
    text = (ROOT / "docs/api.md").read_text()
    scripts = re.findall(r"```js\n(.*?)```", text, re.DOTALL)
    examples = [example for example in scripts if "EventSource" not in example]
    assert len(examples) >= 18
    # One after the other in one process, each a function of its own.
    steps = [f"await (async () => {{ {e} }})(); console.log('//');" for e in examples]
    script = "\n".join(steps).replace("http://127.0.0.1:8000", address)
    output = node(f"(async () => {{ {script} }})().catch((e) => {{ throw e; }});")
    parts = [printed.strip() for printed in output.split("//\n")]
    assert parts.pop() == ""
    assert len(parts) == len(examples)
    for example, printed in zip(examples, parts, strict=True):
        assert printed, example
        assert "undefined" not in printed, example
