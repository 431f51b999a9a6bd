"""The routes of the documents, of a moment, of a window and of stored sessions."""

from __future__ import annotations

from fastapi import FastAPI

from api.openapi.catalogue import DOCUMENTS
from api.routes import moments, stored, windows
from api.routes.admission import add_routes


def add_document_routes(app: FastAPI) -> None:
    """Add the documents' routes to an application.

    Parameters
    ----------
    app : the application.
    """
    handlers = {**windows.HANDLERS, **moments.HANDLERS, **stored.HANDLERS}
    # In the order of the reference.
    add_routes(app, DOCUMENTS, {name: handlers[name] for name in DOCUMENTS})
