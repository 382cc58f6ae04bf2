"""One running attempt in this process: what it may say about itself, and what it wants stored."""

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

if TYPE_CHECKING:
    from ._additions import Addition
    from ._refs import QueuedTaskRef
    from ._transaction import PendingRef
    from .progress import ProgressTracker
    from .worker import Worker

log = logging.getLogger("queued_task")

#: The shortest time between two notes of one task's progress, in seconds; its server groups further.
PROGRESS_EVERY = 0.1

current: ContextVar[Running | None] = ContextVar("taskyard_task", default=None)


class Running:
    """A running attempt; what ``get_current_task()`` and hooks see.

    ``context`` is the task's own dict: what is changed in it is stored with the next ``set_context`` or the end.
    """

    def __init__(self, worker: Worker | None, run: tuple[Any, ...]) -> None:
        (self.slot, self.id, self.kind, name, self.queue, self.payload, context, self.attempt, self.timeout) = run[:9]
        self.has_parents: bool = run[9]
        self.opened: _codec.Opened = run[10]
        #: What was answered about its parents, until its payload is read: a list, an error, or none.
        self.parents: Any = None
        self.name: str = name or self.kind
        self.worker = worker
        self.limits = worker.settings if worker is not None else DEFAULT_LIMITS
        self.context: dict[str, Any] = {}
        self.state = "doing"
        self._stored = context or b"{}"
        self._bound = len(self._stored)
        #: Names that it came with: those from elsewhere may begin with anything.
        self._given: frozenset[str] = frozenset()
        self._lock = threading.RLock()
        self._dirty = False
        self._lines: list[tuple[int, str, str, str | None, str | None]] = []
        #: Progress trackers that write into the context, by their place in it.
        self.trackers: dict[str, ProgressTracker] = {}
        #: When one of them was last read, by the loop's clock.
        self.progressed_at = 0.0
        #: Why it is to end: asked, release or timeout.
        self.interrupted: str | None = None
        self.task: asyncio.Task[Any] | None = None
        self.over = False
        #: When it ended without a success (`time.monotonic`).
        self.failed_at: float | None = None
        #: This is a process that its body has forked.
        self.is_forked = False
        #: Its coroutine has taken its first step. Cancelled before, it would end without a word.
        self.has_begun = False
        #: A thread runs its code now, which cannot be interrupted.
        self.on_thread = False
        #: It has one of the few places for sync functions.
        self.has_seat = False
        #: It left one to wait.
        self.had_seat = False
        #: Its executor calls that have not ended.
        self.calls: set[concurrent.futures.Future[Any]] = set()
        #: How often its asyncio task was cancelled by its worker.
        self.interrupts = 0
        #: How many tasks it waits for.
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
        """Reads the stored context; raises if it holds what this process cannot read."""
        if self._stored != b"{}":
            self.context = {name: _codec.decode(value) for name, value in _json.loads(self._stored).items()}
            self._given = frozenset(self.context)

    @property
    def idempotency_key(self) -> str:
        """The same text in every attempt of this task: for effects elsewhere that must happen once."""
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
            # A copy: what the caller does with its value later is not the context's.
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
                hint="store large data elsewhere and keep its place in the context, or raise the setting",
            )
        self._bound = size

    def get(self, path: str, default: Any = None) -> Any:
        segments = _segments(path)
        found: Any = self.context
        with self._lock:
            if path in self.context:
                # Given so, with its dots, when the task was added.
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
        """The context is to be stored soon."""
        with self._lock:
            self._dirty = True
        if self.worker is not None and not self.over:
            self.worker.wants_note(self)

    def wants_progress(self) -> None:
        """A tracker has something to store; any thread."""
        if self.worker is not None and not self.over:
            self.worker.wants_progress(self)

    def _take_progress(self) -> None:
        for place, tracker in list(self.trackers.items()):
            told = tracker._to_store()
            if told is None:
                continue
            # Beside what else the task has put there.
            there = self.get(place)
            _put(self.context, place.split("."), {**there, **told} if isinstance(there, dict) else told)
            self._dirty = True
            if self.worker is not None:
                self.progressed_at = self.worker.loop.time()

    def _encoded(self) -> bytes:
        """The context's JSON. What a direct change put there that cannot be stored is left out, loudly."""
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
        """Hands what is to be stored to the channel."""
        if self.worker is None:
            return
        with self._lock:
            self._take_progress()
            # Also without a word from `set`: hooks and bodies may change the dict itself.
            encoded = self._encoded()
            context = encoded if encoded != self._stored else None
            if context is not None or self._lines:
                self.worker.channel.note(self.slot, context, self._lines)
            self._stored, self._lines, self._dirty = encoded, [], False

    def touched(self) -> bool:
        """Whether there may be something to store: the context was ever looked at, or something was logged."""
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
                message = f"a log line of {size} bytes was refused: over the limit of {most} (setting log_line_bytes_max)"
                logger, fields, trace = logger[:100], None, None
        with self._lock:
            texts = (None if text is None else _clean(text) for text in (logger, message, fields, trace))
            self._lines.append((level, *texts))  # type: ignore[arg-type]
        if self.worker is not None:
            self.worker.wants_note(self)

    # ---------------------------------------------------------------------------------------------------- ending

    def can_be_cancelled(self) -> bool:
        """Whether its asyncio task may be cancelled now; otherwise it sees at its next step that it was interrupted."""
        return self.task is not None and self.has_begun and not self.on_thread

    def interrupt(self, why: str) -> None:
        """The body is to end: by one ``CancelledError`` at its next step, or, on a thread, when it asks. The server repeats
        the request; what the body cleans up is not interrupted again."""
        if self.interrupted is None:
            self.interrupted = why
            if self.can_be_cancelled():
                self.cancel()

    def cancel(self) -> None:
        if self.task is not None:
            self.interrupts += 1
            self.task.cancel()

    def settled(self, ref: QueuedTaskRef[Any]) -> None:
        """Nothing is left to be checked of this one."""
        self.bound.pop(id(ref), None)

    async def check_bound(self) -> None:
        """Raises ``NotAwaited`` for a task that the body added on an async connection and left out of its transaction."""
        bound = list(self.bound.values())
        await _uncommitted.reported(bound)
        for ref in bound:
            ref._before_end()

    def forget(self) -> None:
        """In a process that its body has forked: nothing of the attempt is that process's."""
        self.is_forked = self.over = True
        self.worker = None
        # Another thread of the parent may have held it.
        self._lock = threading.RLock()

    def require_worker(self) -> None:
        """Raises ``NotInTask`` in a process that its body has forked, which has no worker to ask."""
        if self.is_forked:
            raise NotInTask(
                "this process was forked by a task's body, and cannot speak for the task",
                hint="do it in the body itself",
            )

    # ---------------------------------------------------------------------------------------------------- asking

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
    """Refuses what is no context: its names are texts, and none begins as stored types do."""
    if not isinstance(context, dict) or any(type(name) is not str for name in context):
        raise InvalidArgument("the context is a dict whose keys are texts")
    marked = [name for name in context if name.startswith("$")]
    if marked:
        raise InvalidArgument(f"the context's name {marked[0]!r} begins with `$`, which is kept for stored types")


def _segments(path: str) -> list[str]:
    if type(path) is not str:
        raise InvalidArgument(f"a context path is a text such as 'progress.total', not {path!r}")
    segments = path.split(".")
    if "" in segments:
        raise InvalidArgument(f"the context path {path!r} has an empty segment")
    if any(segment.startswith("$") for segment in segments):
        raise InvalidArgument(f"in the context path {path!r} a segment begins with `$`, which is kept for stored types")
    return segments


def _put(root: dict[str, Any], segments: list[str], value: Any) -> None:
    at = root
    for segment in segments[:-1]:
        below = at.get(segment)
        if type(below) is not dict:
            below = at[segment] = {}
        at = below
    at[segments[-1]] = value


def require() -> Running:
    """The running attempt; raises outside of a task."""
    running = current.get()
    if running is None:
        raise NotInTask("this works inside a task only", hint="call it from the task's function or what it calls")
    return running


class resting:
    """While a task's body waits for other tasks, its place in the worker is theirs."""

    def __enter__(self) -> None:
        self._running = running = current.get()
        if running is not None and running.worker is not None and not running.over:
            running.worker.rest(running)
        else:
            self._running = None

    def __exit__(self, *_: object) -> None:
        if self._running is not None and self._running.worker is not None:
            self._running.worker.resume(self._running)


# ---------------------------------------------------------------------------------------------------------------- log

_STANDARD = frozenset(logging.LogRecord("", 0, "", 0, "", None, None).__dict__) | {"message", "asctime", "taskName"}


class Console(logging.Handler):
    """Shows lines on the console if the application's logging takes them nowhere."""

    def emit(self, record: logging.LogRecord) -> None:
        if not _has_console(record.name):
            _CONSOLE.handle(record)


class TaskLogHandler(Console):
    """Puts the lines of a task's code into the task's log; outside of a task it is the console's only."""

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        running = current.get()
        if running is None or getattr(record, "_taskyard", None) == running.slot:
            return
        # Two loggers of a family may both have the handler.
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
# The engine's own words, too: `logging.getLogger("queued_task").setLevel(logging.DEBUG)` is all that it takes.
_loggers.keep(log, Console())
_CONSOLE.setFormatter(_escape.Formatter())


def _has_console(name: str) -> bool:
    """Whether the application's logging takes the line somewhere; if not, the console would stay silent."""
    logger: logging.Logger | None = logging.getLogger(name)
    while logger is not None:
        if any(not isinstance(handler, Console) for handler in logger.handlers):
            return True
        # The first of ours on the way speaks for all: a line is shown once.
        logger = logger.parent if logger.propagate else None
    return False


# ------------------------------------------------------------------------------------------------------------ parents


def parent_result(parent: dict[str, Any]) -> Any:
    """A parent's result, or the ``TaskFailed`` that it would raise."""
    if parent["state"] == "done":
        return _codec.decode(parent["result"])
    error = parent["error"] or {"type": parent["state"], "message": f"the parent is {parent['state']}", "traceback": None}
    return TaskFailed(parent["id"], error["type"], error["message"], error["traceback"])


class Filled:
    """Arguments into which results of parents are put: counts their bytes, and refuses what becomes too large."""

    def __init__(self, size: int, most: int) -> None:
        self._size = size
        self._most = most

    def result(self, parent: dict[str, Any]) -> Any:
        """A parent's result, once more; raises ``OverLimit`` before it is read."""
        self._size += parent["size"]
        if self._size > self._most:
            raise OverLimit(
                f"the arguments with their parents' results take more than {self._most} bytes (setting "
                "arguments_filled_bytes_max)",
                hint="store large results elsewhere and return their places, or raise the setting",
            )
        return parent_result(parent)
