"""The end of an attempt waits for the tasks that its body has added without awaiting them.

``note`` is called with every addition. Those of a body, of its sub-tasks and of threads that carry its context are kept with the
attempt (``Running.additions``) until the body has returned. Then the worker waits for those that are not stored (``outcome``): within
the attempt's time limit, or for ``FAILED_MAX`` seconds if the body has failed. The slot of the body is free meanwhile. An interrupted
attempt does not wait. Additions that are not stored by then are logged.

Not covered: additions that a sub-task makes after the body's end, and those in a transaction of the caller's (``connection=``), which
``_commits.py`` and ``_uncommitted.py`` look after. Read next: ``_worker/_attempts.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from typing import TYPE_CHECKING, Any

from . import _loops, _running
from .errors import Snooze, TaskyardError

if TYPE_CHECKING:
    from ._refs import QueuedTaskRef

__all__ = ["Addition", "forked", "note", "outcome"]

log = logging.getLogger("queued_task")

#: How long a failed attempt waits for its additions, in seconds.
FAILED_MAX = 5.0
#: The number of kept additions from which on those that are stored are forgotten.
FORGET_FROM = 64
#: Additions that are named in one line of the log.
NAMES_MAX = 20


class Addition:
    """One call that adds one task or several."""

    __slots__ = ("_kind", "_refs")

    def __init__(self, refs: list[QueuedTaskRef[Any]], kind: str) -> None:
        self._refs = tuple(refs)
        self._kind = kind

    def __str__(self) -> str:
        more = f" and {len(self._refs) - 1} more" if len(self._refs) > 1 else ""
        return f"task {self._refs[0]._id} ({self._kind}){more}"

    def is_pending(self) -> bool:
        """Whether it is undecided."""
        if any(ref._known or ref._withdrawn is not None for ref in self._refs):
            return False
        ref = self._refs[0]
        if ref._addition is None:
            return ref._pending is not None and not ref._pending.done()
        return not ref._addition.reply().done()

    def is_open(self) -> bool:
        """Whether it is undecided, or was refused and the body does not know."""
        return self.is_pending() or self.refusal() is not None

    def refusal(self, *, learn: bool = False) -> BaseException | None:
        """Why it was refused; None if it was not, or if the body knows. ``learn`` marks the refusal as reported."""
        if any(ref._known or ref._withdrawn is not None or ref._is_reported for ref in self._refs):
            return None
        ref = self._refs[0]
        if ref._addition is not None:
            return ref._addition.refusal(learn)
        pending = ref._pending
        if pending is None or not pending.done() or pending.cancelled():
            return RuntimeError("the event loop that called its hooks has ended")
        return pending.exception()

    async def decided(self) -> None:
        """Returns once it is stored or refused."""
        ref = self._refs[0]
        if ref._pending is not None:
            await _done(ref._pending)
        if ref._addition is not None:
            reply = ref._addition.reply()
            if not reply.done():
                await _loops.box().wait(reply)


#: Held while what an attempt has added is changed.
_lock = threading.Lock()


def note(refs: list[QueuedTaskRef[Any]], kind: str) -> None:
    """Keeps an addition with the attempt whose body makes it, if one does; any thread."""
    running = _running.current.get()
    if running is None or running.has_returned or running.worker is None:
        return
    with _lock:
        additions = running.additions
        if additions is None:
            additions = running.additions = []
            running.additions_most = FORGET_FROM
        elif len(additions) >= running.additions_most:
            additions[:] = [addition for addition in additions if addition.is_open()]
            running.additions_most = max(FORGET_FROM, 2 * len(additions))
        additions.append(Addition(refs, kind))


def forked() -> None:
    """Renews the lock in a process that was forked: another thread of the parent may have held it."""
    global _lock
    _lock = threading.Lock()


def _take(running: _running.Running) -> list[Addition]:
    with _lock:
        additions, running.additions = running.additions or [], None
    return [addition for addition in additions if addition.is_open()]


async def outcome(running: _running.Running, error: BaseException | None) -> BaseException | None:
    """Returns what an attempt ends with, once the additions of its body so far are stored.

    ``error`` is what the body raised. A failure of the body stands; otherwise the refusal of an addition of which the body does not know
    replaces its success, and so does ``CancelledError`` if the attempt is interrupted.
    """
    try:
        await _settled(running, error)
    except BaseException as raised:
        if error is None or isinstance(error, Snooze):
            return raised
    return error


async def _settled(running: _running.Running, error: BaseException | None) -> None:
    """Returns once the additions of the body so far are stored.

    If the body succeeded, raises the refusal of an addition of which the body does not know, and ``CancelledError`` if the attempt is
    interrupted.
    """
    additions = _take(running)
    if not additions:
        return
    has_failed = error is not None and not isinstance(error, Snooze)
    try:
        if running.interrupted is None:
            waiting = _all_decided(additions)
            # Other tasks may use its slot, as while a body waits for another task: what blocks an addition may last.
            with contextlib.suppress(asyncio.TimeoutError), _running.released_slot():
                await (asyncio.wait_for(waiting, FAILED_MAX) if has_failed else waiting)
    finally:
        _log_left(running, [addition for addition in additions if addition.is_pending()])
    if not has_failed and any(addition.is_pending() for addition in additions):
        raise asyncio.CancelledError
    refused = [_named(addition, why) for addition in additions if (why := addition.refusal(learn=True)) is not None]
    for other in refused if has_failed else refused[1:]:
        log.error("task %s (%s), attempt %d: %s", running.id, running.kind, running.attempt, other)
    if refused and not has_failed:
        raise refused[0]


async def _all_decided(additions: list[Addition]) -> None:
    for addition in additions:
        await addition.decided()


def _log_left(running: _running.Running, left: list[Addition]) -> None:
    if left:
        names = ", ".join(str(addition) for addition in left[:NAMES_MAX])
        more = f", and {len(left) - NAMES_MAX} further additions" if len(left) > NAMES_MAX else ""
        log.warning("task %s (%s): its attempt %d ends before what its body added is stored: %s%s",
                    running.id, running.kind, running.attempt, names, more)  # fmt: skip


def _named(addition: Addition, error: BaseException) -> BaseException:
    what = f"{addition}, which this task's body added, was not stored"
    if isinstance(error, TaskyardError):
        # Of the type that awaiting it would have raised.
        error.message = f"{what}: {error.message}"
        return error
    named = RuntimeError(f"{what}: {type(error).__name__}: {error}")
    named.__cause__ = error
    return named


async def _done(pending: asyncio.Task[None]) -> None:
    """Returns once a task of any loop has ended, or its loop has."""
    loop, other = asyncio.get_running_loop(), pending.get_loop()
    if pending.done():
        return
    if other is loop:
        await asyncio.wait([pending])
        return
    ended: asyncio.Future[None] = loop.create_future()

    def settle(_: Any) -> None:
        with contextlib.suppress(RuntimeError):  # this loop is closed
            loop.call_soon_threadsafe(lambda: None if ended.done() else ended.set_result(None))

    try:
        other.call_soon_threadsafe(pending.add_done_callback, settle)
    except RuntimeError:
        return
    await ended
