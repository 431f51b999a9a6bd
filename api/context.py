"""What handlers share: the parts of one application, and what is known of one request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import HTTPConnection
from starlette.types import Scope

from api.access.gate import Access, Admission, Caller
from api.http.compression import CompressedBodies
from api.prometheus import ApiMetrics
from api.readiness import Readiness
from api.series.earlier import EarlierSessions
from api.series.files import TableFiles
from api.series.frozen_scores import FrozenScores
from api.series.sessions import SessionCache
from api.series.stream import StreamHub
from storage.market.clock import Clock
from storage.notify.rules_file import RulesFile
from storage.postgres.store import Store
from storage.redis.channel import LiveChannel

#: Where a request's context stands in its ASGI scope.
_REQUEST = "flow.request"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppContext:
    """The parts of one application. Whoever opened the store and the channel closes them."""

    store: Store
    live: LiveChannel
    clock: Clock
    #: ``live`` or ``synthetic``.
    dataset: str
    #: Name of this machine, which each answer carries.
    node: str
    access: Access
    #: Origins whose pages may read the answers; ``*`` is any.
    origins: tuple[str, ...]
    #: Names that a request's ``Host`` may have; ``*`` is any.
    hosts: frozenset[str]
    metrics: ApiMetrics
    readiness: Readiness
    sessions: SessionCache
    hub: StreamHub
    #: Bodies of the series, and of the windowed documents.
    bodies: CompressedBodies
    documents: CompressedBodies
    #: Stored sessions that others are compared with.
    earlier: EarlierSessions
    #: Tables that are read in pieces.
    files: TableFiles
    #: The symbols that are sampled, in the order of their setting.
    symbols: tuple[str, ...]
    #: How frozen forecasts came out, by symbol.
    frozen_scores: FrozenScores
    #: The rules of market events.
    rules: RulesFile
    #: How far a sampler of this machine is with compiling the formulas; None if none compiles.
    formulas: Callable[[], dict[str, int] | None]

    @property
    def is_simulated(self) -> bool:
        """Whether the market is a simulated one."""
        return self.dataset == "synthetic"


@dataclass(slots=True)
class RequestContext:
    """What handlers find out about one request; the access log reads it when the answer ends."""

    #: Set when the caller was admitted. A request that has one is not counted again.
    admission: Admission | None = None
    #: A caller whose key is known and who was refused all the same.
    refused: Caller | None = None
    #: False for a HEAD request: its answer ends after the headers.
    wants_body: bool = True
    #: Path of the route, where a handler in front of the framework answers.
    route: str | None = None


def app_context(request: HTTPConnection) -> AppContext:
    """Return the parts of the application that answers a request.

    Parameters
    ----------
    request : the request.

    Returns
    -------
    AppContext
        The parts.
    """
    context: AppContext = request.app.context
    return context


def request_context(scope: Scope) -> RequestContext:
    """Return the context of a request, made when somebody first asks for it.

    Parameters
    ----------
    scope : the request, as ASGI passes it.

    Returns
    -------
    RequestContext
        What is known of the request so far.
    """
    context: RequestContext | None = scope.get(_REQUEST)
    if context is None:
        context = scope[_REQUEST] = RequestContext()
    return context
