"""What the reference says of each document's route, by the route's name.

Examples are in ``examples/``: real answers of the synthetic market, their lists cut short.
"""

from __future__ import annotations

import inspect
import json
from importlib.resources import files
from typing import Any

from pydantic import BaseModel

from api import errors
from api.documents.query import LEADERBOARD_METRICS, METRICS, MODES, SIDES
from api.documents.siblings import SIBLINGS
from api.openapi import chain, reference, siblings, windows

_ZERO, _FLOW = "/v1/flow/zero-dte/", "/v1/flow/"


def _parameter(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _word(name: str, description: str, allowed: tuple[str, ...]) -> dict[str, Any]:
    return _parameter(name, description, type="string", enum=list(allowed), default=allowed[0])


def _bar(default: str) -> dict[str, Any]:
    return _parameter(
        "bar",
        "Size of a bar. Its `t` is the start of the bucket; buckets align to the clock.",
        type="string",
        enum=["30s", "1m", "5m", "15m"],
        default=default,
    )


_MINUTES = _parameter(
    "minutes",
    "Length of the window; clamped to 1-390. 60 if left out, 390 with `date`.",
    type="integer",
    default=60,
)
_DATE = _parameter("date", "A stored session, a day in New York.", type="string", format="date")
_EXPIRY = _parameter(
    "expiry", "The expiry to answer for; it must be stored.", type="string", format="date"
)
_AT = _parameter(
    "at",
    "Nothing that was quoted later than this moment: ISO 8601 with an offset, or a New York wall"
    " time without one.",
    type="string",
    examples=["2026-08-19T14:30:00Z"],
)
_STRIKE_RANGE = _parameter(
    "strike_range",
    "Part of spot that `strikes` and the two quality scores reach to either side; clamped to"
    " 0.001-0.10.",
    type="number",
    default=0.03,
)
_N = _parameter("n", "How many symbols; clamped to 1-100.", type="integer", default=20)

_IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The `ETag` of an earlier answer: 304 if nothing changed since.",
    "schema": {"type": "string"},
}

_ABSENT = errors.documented_response(
    errors.Problem,
    {"error": "symbol_not_found", "message": "No data for XYZ."},
    "Nothing was ever sampled of the symbol, or of the expiry.",
)


def _invalid(*names: str) -> dict[str, Any]:
    words = [f"`invalid_{name}`" for name in names]
    example = {"error": "invalid_date", "message": "date must be YYYY-MM-DD"}
    return errors.documented_response(errors.Problem, example, f"{', '.join(words)}.")


def _restricted(plan: str) -> dict[str, Any]:
    below = {"Growth": "Basic", "Alpha": "Growth"}[plan]
    example = {
        "status": "ERROR",
        "error": "tier_restricted",
        "message": f"This endpoint requires the {plan} plan or higher.",
        "current_plan": below,
        "required_plan": plan,
    }
    return errors.documented_response(errors.TierRestricted, example)


def example(name: str) -> Any:
    """An answer of a route."""
    return json.loads(files("api.openapi").joinpath("examples", f"{name}.json").read_text())


def _route(
    name: str,
    path: str,
    model: Any,
    summary: str,
    *parameters: dict[str, Any],
    plan: str | None = "Growth",
    tag: str = "0DTE flow",
    absent: bool = True,
) -> tuple[str, dict[str, Any]]:
    invalid = ["symbol"] if "{" in path else []
    invalid += [p["name"] for p in parameters if p["in"] == "query"]
    responses: dict[int | str, Any] = {
        200: {"model": model, "description": "The answer.", **_shown(name)},
        400: _invalid(*invalid),
        **errors.DENIED,
        503: errors.UNAVAILABLE,
        "default": errors.UNFORESEEN,
    }
    if _IF_NONE_MATCH in parameters:
        responses[304] = {"description": "Nothing changed since the `ETag` in `If-None-Match`."}
    if plan is not None:
        responses[403] = _restricted(plan)
    if absent:
        responses[404] = _ABSENT
    told = {"description": inspect.getdoc(SIBLINGS[name])} if name in SIBLINGS else {}
    return path, {
        **told,
        "tags": [tag],
        "summary": summary,
        "operation_id": name.replace("-", "_"),
        "openapi_extra": {"parameters": list(parameters)},
        "responses": responses,
    }


def _shown(name: str) -> dict[str, Any]:
    return {"content": {"application/json": {"example": example(name)}}}


def _of(symbol_path: str) -> str:
    return symbol_path + "/{symbol:path}"


_SNAPSHOT: Any = chain.Snapshot | chain.NoZeroDte | chain.SessionClosed
_EXPOSURE: Any = chain.Exposure | chain.ExposureNoZeroDte | chain.ExposureSessionClosed
_WINDOW = (_MINUTES, _DATE, _IF_NONE_MATCH)
_MOMENT = (_EXPIRY, _DATE, _AT)
_SIBLINGS: dict[str, tuple[type[BaseModel], str]] = {
    "levels": (siblings.Levels, "Levels"),
    "pin-risk": (siblings.PinRisk, "Pin risk"),
    "gex": (siblings.Gex, "Gamma by strike"),
    "dex": (siblings.Dex, "Delta by strike"),
    "summary": (siblings.Summary, "Summary"),
    "dealer-risk": (siblings.DealerRisk, "Dealer risk"),
    "oi": (siblings.Oi, "Open interest"),
    "live": (siblings.Everything, "Everything live"),
}

#: Path and FastAPI's arguments of each route.
CATALOGUE: dict[str, tuple[str, dict[str, Any]]] = {
    "hedge-flow": _route(
        "hedge-flow",
        _of(f"{_ZERO}hedge-flow"),
        windows.HedgeFlow,
        "Hedge flow",
        _word("side", "Whose contracts.", SIDES),
        _bar("30s"),
        *_WINDOW,
        absent=False,
    ),
    "snapshot": _route("snapshot", _of(f"{_ZERO}snapshot"), _SNAPSHOT, "Snapshot", *_MOMENT),
    "exposure": _route(
        "exposure",
        _of("/v1/exposure/zero-dte"),
        _EXPOSURE,
        "Exposure",
        _STRIKE_RANGE,
        *_MOMENT,
    ),
    "heatmap": _route(
        "heatmap",
        _of(f"{_ZERO}heatmap"),
        windows.Heatmap,
        "Heatmap",
        _word("metric", "What is shown.", METRICS),
        _word("mode", "As it stands, or its change from bar to bar (the first raw).", MODES),
        _bar("1m"),
        *_WINDOW,
        plan="Alpha",
        absent=False,
    ),
    "strike-flow": _route(
        "strike-flow",
        _of(f"{_ZERO}strike-flow"),
        windows.StrikeFlow,
        "Strike flow",
        _bar("1m"),
        *_WINDOW,
        plan="Alpha",
        absent=False,
    ),
    "leaderboard": _route(
        "leaderboard",
        f"{_ZERO}leaderboard",
        windows.Leaderboard,
        "Leaderboard",
        _word("metric", "What is ranked.", LEADERBOARD_METRICS),
        _N,
        _DATE,
        plan="Alpha",
        absent=False,
    ),
    "sessions": _route(
        "sessions", _of(f"{_ZERO}sessions"), windows.Sessions, "Stored sessions", plan=None
    ),
    **{
        name: _route(name, _of(f"{_FLOW}{name}"), model, summary, *_MOMENT, tag="Live")
        for name, (model, summary) in _SIBLINGS.items()
    },
}


def with_examples(document: dict[str, Any]) -> dict[str, Any]:
    """Put the examples of all answers into an OpenAPI document, with their nulls.

    FastAPI leaves the nulls of an example out.
    """
    examples = reference.EXAMPLES | {
        path.replace(":path", ""): example(name) for name, (path, _) in CATALOGUE.items()
    }
    for path, answer in examples.items():
        answers = document["paths"][path]["get"]["responses"]
        answers["200"]["content"]["application/json"]["example"] = answer
    return document
