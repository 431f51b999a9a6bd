"""JSON as every answer has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

_JSON = orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS | orjson.OPT_SERIALIZE_NUMPY


def encode_json(value: Any) -> bytes:
    """A value as the JSON of every answer."""
    return orjson.dumps(value, option=_JSON)


def json_response(
    body: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A response of JSON."""
    return Response(encode_json(body), status, headers, "application/json")
