"""JSON: how every answer is encoded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

_JSON = orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS | orjson.OPT_SERIALIZE_NUMPY


def encode_json(value: Any) -> bytes:
    """Encode a value: times in UTC with a Z, whole seconds; numpy arrays as lists.

    Parameters
    ----------
    value : plain values, times and numpy arrays.

    Returns
    -------
    bytes
        JSON in UTF-8.
    """
    return orjson.dumps(value, option=_JSON)


def json_response(
    body: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Make a response whose body is a value as JSON.

    Parameters
    ----------
    body : the value.
    status : the HTTP status.
    headers : more headers.

    Returns
    -------
    Response
        The response.
    """
    # A browser must not take an answer for a page or a script, whatever stands in it.
    sent = {"X-Content-Type-Options": "nosniff", **(headers or {})}
    return Response(encode_json(body), status, sent, "application/json")
