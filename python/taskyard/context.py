"""Context variables for the request, the workspace and the user of the running code.

A web application sets them for each request. Hooks carry them into tasks: store what identifies them in
``task.context`` in an ``on_pre_create`` hook, and set them again in ``on_pre_run``. They are empty at the start of
every task.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

__all__ = ["get_request", "get_user", "get_workspace", "set_request", "set_user", "set_workspace"]

_request: ContextVar[Any] = ContextVar("taskyard_request", default=None)
_workspace: ContextVar[Any] = ContextVar("taskyard_workspace", default=None)
_user: ContextVar[Any] = ContextVar("taskyard_user", default=None)


def get_request() -> Any:
    """Returns the current request, or None."""
    return _request.get()


def set_request(request: Any) -> None:
    """Sets the current request of the running code and of what it starts."""
    _request.set(request)


def get_workspace() -> Any:
    """Returns the current workspace, or None."""
    return _workspace.get()


def set_workspace(workspace: Any) -> None:
    """Sets the current workspace of the running code and of what it starts."""
    _workspace.set(workspace)


def get_user() -> Any:
    """Returns the current user, or None."""
    return _user.get()


def set_user(user: Any) -> None:
    """Sets the current user of the running code and of what it starts."""
    _user.set(user)
