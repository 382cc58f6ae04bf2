"""Who is asking: the request, the workspace and the user of the running code, as context variables.

A web application sets them for each request; hooks carry them into tasks: put what identifies them into ``task.context``
in an ``on_pre_create`` hook, and set them again in ``on_pre_run``. They start empty in every task.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

_request: ContextVar[Any] = ContextVar("taskyard_request", default=None)
_workspace: ContextVar[Any] = ContextVar("taskyard_workspace", default=None)
_user: ContextVar[Any] = ContextVar("taskyard_user", default=None)


def get_request() -> Any:
    """The current request, or None."""
    return _request.get()


def set_request(request: Any) -> None:
    """Makes this the current request of the running code and of what it starts."""
    _request.set(request)


def get_workspace() -> Any:
    """The current workspace, or None."""
    return _workspace.get()


def set_workspace(workspace: Any) -> None:
    """Makes this the current workspace of the running code and of what it starts."""
    _workspace.set(workspace)


def get_user() -> Any:
    """The current user, or None."""
    return _user.get()


def set_user(user: Any) -> None:
    """Makes this the current user of the running code and of what it starts."""
    _user.set(user)
