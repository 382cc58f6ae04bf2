"""Starlette's requests and responses, under the name that the documents use."""

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
    """Starlette's request, whose ``state`` may be set: hooks make one for a task as they find none."""

    @property
    def state(self) -> Any:
        return super().state

    @state.setter
    def state(self, state: Any) -> None:
        self._state = state
