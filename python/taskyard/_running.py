"""A running attempt in this process: its context, its log lines, its interruption, and the limits that apply to it.

Does not send anything itself: the worker (``_worker/_loop_worker.py``) passes the recorded changes to the server in batches.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import logging
import threading
import traceback
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from . import _codec, _escape, _json, _loggers, _uncommitted
from .errors import InvalidArgument, NotInTask, OverLimit, TaskCancelled, TaskFailed, TaskyardError
from .records import Record

if TYPE_CHECKING:
    from ._additions import Addition
    from ._refs import QueuedTaskRef
    from ._transaction import PendingRef
    from ._worker._loop_worker import Worker
    from .progress import ProgressTracker

__all__ = [
    "DEFAULT_LIMITS",
    "HANDLER",
    "PROGRESS_EVERY",
    "Filled",
    "Running",
    "check_names",
    "current",
    "parent_result",
    "released_slot",
    "require",
]

log = logging.getLogger("queued_task")

#: Minimum time between two stored updates of one task's progress, in seconds; its server batches further.
PROGRESS_EVERY = 0.1

current: ContextVar[Running | None] = ContextVar("taskyard_task", default=None)


class Running:
    """A running attempt, as returned by ``get_current_task()`` and passed to hooks.

    ``context`` is the task's own dict: direct changes to it are stored with the next ``set_context`` or at the end.
    """

    def __init__(self, worker: Worker | None, run: tuple[Any, ...]) -> None:
        (self.slot, self.id, self.kind, name, self.queue, self.payload, context, self.attempt, self.timeout) = run[:9]
        self.has_parents: bool = run[9]
        self.opened: _codec.Opened = run[10]
        #: The reply about its parents until its payload is decoded: a list, an error, or None.
        self.parents: Any = None
        self.name: str = name or self.kind
        self.worker = worker
        self.limits = worker.settings if worker is not None else DEFAULT_LIMITS
        self.context: dict[str, Any] = {}
        self.state = "doing"
        self._stored = context or b"{}"
        self._bound = len(self._stored)
        #: Names that the context had before this attempt, which may begin with any character.
        self._given: frozenset[str] = frozenset()
        self._lock = threading.RLock()
        self._dirty = False
        self._lines: list[tuple[int, str, str, str | None, str | None]] = []
        #: Progress trackers that write into the context, by their path in it.
        self.trackers: dict[str, ProgressTracker] = {}
        #: When one of them was last read, by the loop's clock.
        self.progressed_at = 0.0
        #: Why it was interrupted: asked, release or timeout.
        self.interrupted: str | None = None
        self.task: asyncio.Task[Any] | None = None
        self.over = False
        #: When it failed (`time.monotonic`).
        self.failed_at: float | None = None
        #: Whether this is a process that its body has forked.
        self.is_forked = False
        #: Whether its coroutine has taken its first step. A coroutine that is cancelled before that ends without
        #: running.
        self.has_begun = False
        #: Whether a thread runs its code now, which cannot be interrupted.
        self.on_thread = False
        #: Whether it occupies one of the worker's slots for sync functions.
        self.has_seat = False
        #: Whether it released such a slot in order to wait.
        self.had_seat = False
        #: Executor calls that have not ended.
        self.calls: set[concurrent.futures.Future[Any]] = set()
        #: Number of times that its worker cancelled its asyncio task.
        self.interrupts = 0
        #: Number of its current waits for other tasks.
        self.rests = 0
        #: Additions of its body that are not known to be stored; None if it has added nothing. Kept by ``_additions``.
        self.additions: list[Addition] | None = None
        #: How many of them are kept before those that are stored are forgotten.
        self.additions_most = 0
        #: Its body has ended: later additions of its sub-tasks are not waited for.
        self.has_returned = False
        #: Tasks that its body added on async connections.
        self.bound: dict[int, PendingRef] = {}

    def load_context(self) -> None:
        """Decodes the stored context. Raises if it contains a value that this process cannot decode."""
        if self._stored != b"{}":
            self.context = {name: _codec.decode(value) for name, value in _json.loads(self._stored).items()}
            self._given = frozenset(self.context)

    @property
    def idempotency_key(self) -> str:
        """A string that is the same in every attempt of this task, for external effects that must happen once."""
        return str(self.id)

    def __repr__(self) -> str:
        return f"<task {self.id} {self.name}, attempt {self.attempt}>"

    # ---------------------------------------------------------------------------------------------------- context

    def set(self, path: str, value: Any, auto_commit: bool = True) -> None:
        segments = _segments(path)
        encoder = _codec.Encoder("the context of a task", nesting_max=self.limits["nesting_max"] - len(segments))
        encoded = encoder.value(value, f"context `{path}`")
        size = len(json.dumps(encoded, ensure_ascii=False)) * 2 + len(path) * 6 + 16
        with self._lock:
            if self._bound + size > self.limits["context_bytes_max"]:
                self._check_size(segments, encoded)
            else:
                self._bound += size
            # A copy, so that later changes to the caller's value do not affect the context.
            _put(self.context, segments, _codec.decode(encoded))
        if auto_commit:
            self.changed()

    def _check_size(self, segments: list[str], encoded: Any) -> None:
        whole = json.loads(self._encoded())
        _put(whole, segments, encoded)
        size, most = len(_dumps(whole)), self.limits["context_bytes_max"]
        if size > most:
            raise OverLimit(
                f"the context would take {size} bytes, over the limit of {most} (setting context_bytes_max)",
                hint="store large data elsewhere and store its location in the context, or raise the setting",
            )
        self._bound = size

    def get(self, path: str, default: Any = None) -> Any:
        segments = _segments(path)
        found: Any = self.context
        with self._lock:
            if path in self.context:
                # The name, including its dots, was given when the task was added.
                return self.context[path]
            for segment in segments:
                if not isinstance(found, dict) or segment not in found:
                    return default
                found = found[segment]
            return found

    def replace(self, context: dict[str, Any], auto_commit: bool = True) -> None:
        check_names(context)
        encoder = _codec.Encoder("the context of a task", nesting_max=self.limits["nesting_max"])
        encoded = {name: encoder.value(value, f"context `{name}`", 1) for name, value in context.items()}
        size, most = len(_dumps(encoded)), self.limits["context_bytes_max"]
        if size > most:
            raise OverLimit(f"the context takes {size} bytes, over the limit of {most} (setting context_bytes_max)")
        with self._lock:
            copy = _codec.decode(encoded) if encoded else {}
            self.context.clear()
            self.context.update(copy)
            self._bound = size
        if auto_commit:
            self.changed()

    def changed(self) -> None:
        """Requests that the context is stored soon."""
        with self._lock:
            self._dirty = True
        if self.worker is not None and not self.over:
            self.worker.notes.request(self)

    def wants_progress(self) -> None:
        """Requests that the progress of its trackers is stored. May be called from any thread."""
        if self.worker is not None and not self.over:
            self.worker.notes.request_progress(self)

    def _take_progress(self) -> None:
        for place, tracker in list(self.trackers.items()):
            told = tracker._to_store()
            if told is None:
                continue
            # Other keys that the task has set there are retained.
            there = self.get(place)
            _put(self.context, place.split("."), {**there, **told} if isinstance(there, dict) else told)
            self._dirty = True
            if self.worker is not None:
                self.progressed_at = self.worker.loop.time()

    def _encoded(self) -> bytes:
        """Encodes the context. Values that a direct change put there and that cannot be stored are removed, with an
        error in the log."""
        encoder = _codec.Encoder("the context of a task", nesting_max=self.limits["nesting_max"])
        encoded = {}
        for name, value in list(self.context.items()):
            try:
                if name not in self._given:
                    check_names({name: value})
                encoded[name] = encoder.value(value, f"context `{name}`", 1)
            except TaskyardError as error:
                log.error("task %s: `%s` was put into the context and cannot be stored: %s", self.id, name, error)
                del self.context[name]
        return _dumps(encoded)

    def note(self) -> None:
        """Passes changes of the context and log lines to the channel."""
        if self.worker is None:
            return
        with self._lock:
            self._take_progress()
            # Encoded even without a call of `set`: hooks and bodies may change the dict itself.
            encoded = self._encoded()
            context = encoded if encoded != self._stored else None
            if context is not None or self._lines:
                self.worker.channel.note(self.slot, context, self._lines)
            self._stored, self._lines, self._dirty = encoded, [], False

    def touched(self) -> bool:
        """Whether there may be something to store: a context, a progress tracker, or a log line."""
        return self._dirty or bool(self._lines or self.context or self.trackers) or self._stored != b"{}"

    # ------------------------------------------------------------------------------------------------------- log

    def push_line(self, level: int, logger: str, message: str, fields: str | None, trace: str | None) -> None:
        if self.over:
            return
        size = len(logger) + len(message) + len(fields or "") + len(trace or "")
        most = self.limits["log_line_bytes_max"]
        if size * 4 > most:
            size = sum(len(part.encode(errors="replace")) for part in (logger, message, fields or "", trace or ""))
            if size > most:
                message = f"a log line of {size} bytes was dropped: over the limit of {most} (setting log_line_bytes_max)"
                logger, fields, trace = logger[:100], None, None
        with self._lock:
            texts = (None if text is None else _clean(text) for text in (logger, message, fields, trace))
            self._lines.append((level, *texts))  # type: ignore[arg-type]
        if self.worker is not None:
            self.worker.notes.request(self)

    # ---------------------------------------------------------------------------------------------------- ending

    def can_be_cancelled(self) -> bool:
        """Whether its asyncio task may be cancelled now. Otherwise it notices the interruption at its next step."""
        return self.task is not None and self.has_begun and not self.on_thread

    def interrupt(self, why: str) -> None:
        """Interrupts the body: by one ``CancelledError`` at its next step or, on a thread, when it checks.

        The server repeats its request; code that cleans up is not interrupted again.
        """
        if self.interrupted is None:
            self.interrupted = why
            if self.can_be_cancelled():
                self.cancel()

    def cancel(self) -> None:
        if self.task is not None:
            self.interrupts += 1
            self.task.cancel()

    def settled(self, ref: QueuedTaskRef[Any]) -> None:
        """Removes a reference that needs no further check."""
        self.bound.pop(id(ref), None)

    async def check_bound(self) -> None:
        """Raises ``NotAwaited`` for a task that the body added on an async connection and whose statement did not run
        in its transaction."""
        bound = list(self.bound.values())
        await _uncommitted.reported(bound)
        for ref in bound:
            ref._before_end()

    def forget(self) -> None:
        """Detaches the attempt in a process that its body has forked."""
        self.is_forked = self.over = True
        self.worker = None
        # Another thread of the parent may have held the lock.
        self._lock = threading.RLock()

    def require_worker(self) -> None:
        """Raises ``NotInTask`` in a process that its body has forked, which has no worker."""
        if self.is_forked:
            raise NotInTask(
                "this process was forked by a task's body, and cannot act for the task",
                hint="do it in the body itself",
            )

    # ---------------------------------------------------------------------------------------------- interruption

    def is_cancelled(self) -> bool:
        return self.interrupted is not None

    def check_cancelled(self) -> None:
        if self.interrupted is not None:
            raise TaskCancelled(self.id)


DEFAULT_LIMITS: dict[str, Any] = {
    "nesting_max": _codec.DEFAULT_NESTING,
    "context_bytes_max": 256 << 10,
    "log_line_bytes_max": 64 << 10,
    "result_bytes_max": 1 << 20,
    "arguments_bytes_max": 1 << 20,
    "arguments_filled_bytes_max": 16 << 20,
    "max_retries": 3,
    "task_timeout": 300.0,
    "concurrency": 10,
}


def _clean(text: str) -> str:
    return text if text.isascii() else text.encode(errors="replace").decode()


def _dumps(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def check_names(context: Any) -> None:
    """Checks a context: a dict whose keys are strings that do not begin with ``$``, which marks stored types. Raises
    ``InvalidArgument``."""
    if not isinstance(context, dict) or any(type(name) is not str for name in context):
        raise InvalidArgument("the context must be a dict with strings as keys")
    marked = [name for name in context if name.startswith("$")]
    if marked:
        raise InvalidArgument(f"the context's name {marked[0]!r} begins with `$`, which is reserved for stored types")


def _segments(path: str) -> list[str]:
    if type(path) is not str:
        raise InvalidArgument(f"a context path is a string such as 'progress.total', not {path!r}")
    segments = path.split(".")
    if "" in segments:
        raise InvalidArgument(f"the context path {path!r} has an empty segment")
    if any(segment.startswith("$") for segment in segments):
        raise InvalidArgument(f"in the context path {path!r} a segment begins with `$`, which is reserved for stored types")
    return segments


def _put(root: dict[str, Any], segments: list[str], value: Any) -> None:
    at = root
    for segment in segments[:-1]:
        below = at.get(segment)
        if type(below) is not dict and not isinstance(below, Record):
            below = at[segment] = {}
        at = below
    at[segments[-1]] = value


def require() -> Running:
    """Returns the running attempt. Raises ``NotInTask`` outside of a task."""
    running = current.get()
    if running is None:
        raise NotInTask("this works inside a task only", hint="call it from the task's function or what it calls")
    return running


class released_slot:
    """Context manager that releases the slot of a task in its worker while its body waits for other tasks."""

    def __enter__(self) -> None:
        self._running = running = current.get()
        if running is not None and running.worker is not None and not running.over:
            running.worker.slots.release(running)
        else:
            self._running = None

    def __exit__(self, *_: object) -> None:
        if self._running is not None and self._running.worker is not None:
            self._running.worker.slots.resume(self._running)


# ---------------------------------------------------------------------------------------------------------------- log

_STANDARD = frozenset(logging.LogRecord("", 0, "", 0, "", None, None).__dict__) | {"message", "asctime", "taskName"}


class Console(logging.Handler):
    """Prints records to the console if the application's logging has no handler for them."""

    def emit(self, record: logging.LogRecord) -> None:
        if not _has_console(record.name):
            _CONSOLE.handle(record)


class TaskLogHandler(Console):
    """Appends records of a task's code to the task's log. Outside of a task, only prints them as its base does."""

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        running = current.get()
        if running is None or getattr(record, "_taskyard", None) == running.slot:
            return
        # A logger and its parent may both have the handler.
        record._taskyard = running.slot
        try:
            extra = {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
            extra.pop("_taskyard", None)
            fields = json.dumps(extra, ensure_ascii=False, default=str) if extra else None
            trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else None
            running.push_line(record.levelno, record.name, record.getMessage(), fields, trace)
        except Exception:
            self.handleError(record)


HANDLER = TaskLogHandler()
_CONSOLE = logging.StreamHandler()
# Covers the engine's own lines, too: `logging.getLogger("queued_task").setLevel(logging.DEBUG)` shows them all.
_loggers.keep(log, Console())
_CONSOLE.setFormatter(_escape.Formatter())


def _has_console(name: str) -> bool:
    """Whether a handler of the application's logging receives the line. If none does, it would not be printed at all."""
    logger: logging.Logger | None = logging.getLogger(name)
    while logger is not None:
        if any(not isinstance(handler, Console) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


# ------------------------------------------------------------------------------------------------------------ parents


def parent_result(parent: dict[str, Any]) -> Any:
    """Returns a parent's result, or the ``TaskFailed`` that awaiting it would raise."""
    if parent["state"] == "done":
        return _codec.decode(parent["result"])
    error = parent["error"] or {"type": parent["state"], "message": f"the parent is {parent['state']}", "traceback": None}
    return TaskFailed(parent["id"], error["type"], error["message"], error["traceback"])


class Filled:
    """Counts the bytes of arguments with the results of parents in them, and refuses those that become too large."""

    def __init__(self, size: int, most: int) -> None:
        self._size = size
        self._most = most

    def result(self, parent: dict[str, Any]) -> Any:
        """Returns a parent's result and counts it. Raises ``OverLimit``, before decoding it, if the sum is over the
        limit."""
        self._size += parent["size"]
        if self._size > self._most:
            raise OverLimit(
                f"the arguments with their parents' results take more than {self._most} bytes (setting "
                "arguments_filled_bytes_max)",
                hint="store large results elsewhere and return their locations, or raise the setting",
            )
        return parent_result(parent)
