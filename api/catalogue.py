"""What the reference says of each document's route, by the route's name."""

from __future__ import annotations

from typing import Any

_FLOW, _ZERO = "/v1/flow/{}/{{symbol:path}}", "/v1/flow/zero-dte/{}/{{symbol:path}}"

CATALOGUE: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        name: (_ZERO.format(name), {"tags": ["0DTE flow"]})
        for name in ("hedge-flow", "snapshot", "heatmap", "strike-flow", "sessions")
    },
    "leaderboard": ("/v1/flow/zero-dte/leaderboard", {"tags": ["0DTE flow"]}),
    "exposure": ("/v1/exposure/zero-dte/{symbol:path}", {"tags": ["0DTE flow"]}),
    **{
        name: (_FLOW.format(name), {"tags": ["Live"], "operation_id": name})
        for name in ("levels", "pin-risk", "gex", "dex", "summary", "dealer-risk", "oi", "live")
    },
}
