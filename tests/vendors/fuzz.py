"""JSON answers with something wrong at random: bytes changed, cut or doubled, values that are odd."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

ODD: tuple[Any, ...] = (
    None, "", "x", 0, -1, 1e308, -1e308, 1e-320, 2**70, float("nan"), float("inf"), True, [], {},
    [1], {"a": 1}, "9" * 400, "2026-13-45", "0001-01-01", "9999-12-31", 253402300800000, -(2**63),
)  # fmt: skip


def mutated_json(body: bytes, rng: random.Random) -> bytes:
    """A body with a piece missing, added or doubled, or, more often, with some odd values."""
    kind, index = rng.randrange(8), rng.randrange(len(body))
    if kind == 0:
        return body[:index]
    if kind == 1:
        return body[:index] + rng.randbytes(rng.randrange(1, 9)) + body[index:]
    if kind == 2:
        return body[:index] + body[index + rng.randrange(1, 200) :]
    if kind == 3:
        return body[: index + rng.randrange(1, 300)] + body[index:]
    answer = json.loads(body)
    for _ in range(rng.randrange(1, 6)):
        _replace_a_value(answer, rng)
    return json.dumps(answer).encode()


def _replace_a_value(node: Any, rng: random.Random) -> None:
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = rng.choice(keys)
        child = node[key]
        if isinstance(child, dict | list) and child and rng.random() < 0.95:
            node = child
            continue
        if isinstance(node, dict) and rng.random() < 0.2:
            del node[key]
        else:
            node[key] = copy.deepcopy(rng.choice(ODD))
        return
