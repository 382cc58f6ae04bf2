"""The HTTP request that the calling code serves, for queues that were not made by a dependency of it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._refs import QueuedTaskRef

#: The references that must be settled before the request's response begins.
current: ContextVar[list[QueuedTaskRef[Any]] | None] = ContextVar("taskyard_request", default=None)
