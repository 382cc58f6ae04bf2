"""Starlette's requests and responses, re-exported. Requires Starlette."""

from __future__ import annotations

from typing import Any

try:
    from starlette.datastructures import State
    from starlette.requests import HTTPConnection
    from starlette.requests import Request as _Request
    from starlette.responses import JSONResponse, Response
except ImportError as error:  # pragma: no cover - depends on what is installed
    raise ImportError("taskyard.http needs Starlette: pip install starlette (FastAPI includes it)") from error

__all__ = ["HTTPConnection", "JSONResponse", "Request", "Response", "State"]


class Request(_Request):
    """Starlette's request with a ``state`` that can be set, so that hooks can create a request for a task."""

    @property
    def state(self) -> Any:
        return super().state

    @state.setter
    def state(self, state: Any) -> None:
        self._state = state
