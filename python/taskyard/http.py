"""Starlette's requests and responses, under the name that the documents use."""

from __future__ import annotations

try:
    from starlette.datastructures import State
    from starlette.requests import HTTPConnection, Request
    from starlette.responses import JSONResponse, Response
except ImportError as error:  # pragma: no cover - depends on what is installed
    raise ImportError("taskyard.http is Starlette's: pip install starlette (FastAPI brings it)") from error

__all__ = ["HTTPConnection", "JSONResponse", "Request", "Response", "State"]
