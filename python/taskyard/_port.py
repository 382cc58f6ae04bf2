"""Where requests go: to the engine in this process or, in a worker process, to the server through its socket.

Both kinds of port have ``add(tasks)`` and ``ask(request)``. The default port of a process is opened on first
use, and dropped after a fork. Also owns the end of the process: ``atexit`` writes the additions of all engines, in
bounded time. Read next: ``_loops.py``, ``_request.py``.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime as dt
import logging
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from . import _core, _exit_code, _json, _loggers, _loops, _request, _unserved
from .errors import SECONDS_MIN, QueueUnavailable, ShutDown, TaskyardError

if TYPE_CHECKING:
    from ._request import Request
    from .queued_tasks import QueuedTasks

__all__ = [
    "CLOSE_MAX",
    "CLOSE_SLACK",
    "Engine",
    "Port",
    "Requested",
    "before_exit",
    "close_engines",
    "default",
    "flush_logs",
    "in_namespace",
    "in_worker",
    "made",
    "of_tests",
    "plain",
    "use",
]

log = _loggers.keep(logging.getLogger("taskyard"))


#: The longest that closing a queue waits, in seconds.
CLOSE_MAX = 5.0


class Port(Protocol):
    """Adds tasks and sends requests about them."""

    defaults: dict[str, Any]

    def add(self, tasks: list[dict[str, Any]]) -> _core.Addition: ...

    def ask(self, request: _core.ClientRequest) -> _core.Reply: ...


class Engine:
    """The engine in this process, on one database."""

    def __init__(self, database: str | None = None, settings: dict[str, Any] | None = None) -> None:
        self._given = (database, [(name, _text(value)) for name, value in (settings or {}).items() if value is not None])
        self._process = -1
        #: Whether it may hold additions that are not written yet.
        self._has_added = False
        #: Number of tasks that were added since the last close, and of those whose caller has received the error that
        #: they are not stored.
        self._added = self._withdrawn = 0
        self._core: _core.Queue
        self.defaults: dict[str, Any] = {}
        #: For tests (inline mode): a task counts as stored only when it has ended.
        self.inline = False
        #: For tests: offset of the database's clock, in seconds.
        self.clock = 0.0
        #: Functions to await on a loop before it closes this engine.
        self.before_close: list[Callable[[Engine], Awaitable[None]]] = []
        #: Functions to call before code without a loop closes this engine.
        self.before_close_now: list[Callable[[Engine], None]] = []
        self.core()

    def core(self) -> _core.Queue:
        """Returns the engine's queue of this process, which is opened anew after a fork."""
        process = os.getpid()
        if self._process != process:
            _start_logging()
            self._core = _core.Queue(*self._given)
            self._process = process
            self._added = self._withdrawn = 0
            self.defaults = self._core.settings()
            _engines.append(self)
            _close_with_multiprocessing()
        return self._core

    def add(self, tasks: list[dict[str, Any]]) -> _core.Addition:
        if not self._has_added:
            self._has_added = True
            if not of_tests:
                _unserved.look_later(self)
        addition = self.core().add(tasks)
        # Set again: a fork in another thread may have cleared it for earlier additions.
        self._has_added = True
        self._added += len(tasks)
        return addition

    def withdrew(self) -> None:
        """Counts a task whose addition was withdrawn and whose caller has received the error."""
        self._withdrawn += 1

    def probe(self) -> _core.Reply:
        """Sends a cheap request to find out whether the database answers."""
        return self.core().ask(_core.ClientRequest.attempts(_NOBODY))

    def ask(self, request: _core.ClientRequest) -> _core.Reply:
        with _request.answering(None):
            return self.core().ask(request)

    def __reduce__(self) -> NoReturn:
        # The database's address may hold a password, and a pickle may be stored.
        raise TypeError(
            "a queue with a database or settings of its own cannot be pickled; make it in the process that uses it, for "
            "example at the top level of a module"
        )

    def close(self, bound: float = CLOSE_MAX) -> _core.Reply:
        """Writes pending additions, for ``bound`` seconds at most. The engine opens again on the next use. Pass the
        reply to :meth:`closed`."""
        self._has_added = False
        return self.core().close(bound)

    def give_up(self, opening: _core.Reply) -> None:
        """Stops trying to open the database, unless additions wait to be written."""
        if self._added > self._withdrawn:
            return
        for reply in (self.core().close(0.0), opening):
            # Taken, so that neither is logged as an unhandled error.
            if reply.block(1.0):
                with contextlib.suppress(TaskyardError):
                    reply.take()

    def closed(self, reply: _core.Reply) -> None:
        """Takes the reply of :meth:`close`. Raises ``QueueUnavailable`` if additions may be lost."""
        has_unwritten, self._added, self._withdrawn = self._added > self._withdrawn, 0, 0
        try:
            if reply.done():
                _json.loads(reply.take())
                return
            why = "closing it took too long"
        except ShutDown:
            # Closed before it was open: nothing was written.
            if not has_unwritten:
                return
            why = "it was never reached"
        except QueueUnavailable as error:
            why = error.message
        raise QueueUnavailable(
            f"added tasks are not stored, or not known to be stored, in the queue's database {self.defaults['database']}: {why}",
            hint="an error in the log names each task; add them again once the database is back",
        )

    def is_of_server(self) -> bool:
        """Whether this process is a worker and the database is its server's, which a worker never accesses directly."""
        return in_worker and self.names_served()

    def names_served(self) -> bool:
        """Whether its address is that of the server that started this worker process, or is not set."""
        database = self._given[0]
        served = os.environ.get("TASKYARD_DATABASE_URL", "")
        return database is None or database == served or os.path.abspath(database) == os.path.abspath(served)


class _Asked:
    """A reply with the request that waits for it."""

    def __init__(self, reply: _core.Reply, request: Request) -> None:
        self._reply = reply
        self.request = request

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reply, name)


class _Addition:
    """An addition whose reply refers to its request."""

    def __init__(self, addition: _core.Addition, request: Request) -> None:
        self._addition = addition
        self._request = request

    def reply(self) -> Any:
        return _Asked(self._addition.reply(), self._request)

    def withdraw(self) -> None:
        self._addition.withdraw()

    def refusal(self, learn: bool) -> Exception | None:
        return self._addition.refusal(learn)


class Requested:
    """The port of a queue that was made for one request: every wait has the request's time limit."""

    def __init__(self, port: Port, request: Request) -> None:
        self.port = port
        self.request = request

    @property
    def defaults(self) -> dict[str, Any]:
        return self.port.defaults

    def add(self, tasks: list[dict[str, Any]]) -> Any:
        return _Addition(self.port.add(tasks), self.request)

    def ask(self, request: _core.ClientRequest) -> Any:
        with _request.answering(self.request):
            return _Asked(self.port.ask(request), self.request)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.port, name)


class InNamespace:
    """A port with a namespace that differs from its settings."""

    def __init__(self, port: Port, namespace: str | None) -> None:
        self.port = port
        self.defaults: dict[str, Any] = {**port.defaults, "namespace": namespace}

    def add(self, tasks: list[dict[str, Any]]) -> Any:
        return self.port.add(tasks)

    def ask(self, request: _core.ClientRequest) -> Any:
        return self.port.ask(request)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.port, name)


def in_namespace(port: Port, namespace: str | None) -> Port:
    """Returns the port with this namespace."""
    return port if port.defaults.get("namespace") == namespace else InNamespace(port, namespace)


def plain(port: Port) -> Port:
    """Returns the port without its request."""
    return port.port if isinstance(port, Requested) else port


def _text(value: Any) -> str:
    """Formats a setting for the engine: a timedelta as a decimal number of seconds, and a positive one never as 0."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dt.timedelta):
        micros = value // dt.timedelta(microseconds=1)
        return f"{'-' if micros < 0 else ''}{abs(micros) // 1_000_000}.{abs(micros) % 1_000_000:06}"
    if isinstance(value, float) and 0 < value < 1:
        # Without an exponent.
        return f"{max(value, SECONDS_MIN):.9f}"
    return ",".join(value) if isinstance(value, (list, tuple)) else str(value)


#: The id of no task.
_NOBODY = "00000000-0000-7000-8000-000000000000"
#: Seconds that closing a queue may take in addition to its own limit.
CLOSE_SLACK = 1.5

#: True in a worker process.
in_worker = False
#: In a worker process, the queues that the application made when it was loaded. None elsewhere, where none are
#: collected.
made: list[QueuedTasks] | None = None
#: The engines of the running test's queues, the latest last. Every other queue uses the latest one.
of_tests: list[Engine] = []
_engines: list[Engine] = []
#: Functions to call at the end of the process before the engines are closed.
before_exit: list[Callable[[], None]] = []
_default: Port | None = None
_lock = threading.Lock()


def default() -> Port:
    """Returns the port of this process: a worker's server, or the engine on the project's database."""
    global _default
    found = _default
    if found is None:
        with _lock:
            found = _default
            if found is None:
                found = _default = Engine()
    return found


def use(port: Port | None) -> Port | None:
    """Makes this the port of the process, and returns the previous one."""
    global _default
    before, _default = _default, port
    return before


# ------------------------------------------------------------------------------------------------------------ the log

_logging: threading.Thread | None = None
#: Held while lines are passed to ``logging``.
_writing = threading.Lock()


def _start_logging() -> None:
    """Starts a thread that passes the engine's log lines to ``logging``, so that no thread of the engine ever waits for
    the interpreter."""
    global _logging
    if _logging is None:
        _logging = threading.Thread(target=_log, name="taskyard-log", daemon=True)
        _logging.start()


def _log() -> None:
    while (lines := _core.next_logs(3600.0)) is not None:
        with _writing:
            _write(lines)


def _write(lines: list[tuple[int, str, str]]) -> None:
    for level, logger, text in lines:
        logging.getLogger(logger).log(level, "%s", text)


def flush_logs() -> None:
    """Passes pending log lines of the engine to ``logging``, for a process that may end without ``atexit``, as under
    uvicorn, which repeats the signal that stopped it."""
    # The thread may just have taken lines: it needs the interpreter for a moment before it has the lock.
    time.sleep(0.005)
    if _writing.acquire(timeout=1.0):
        try:
            _write(_core.next_logs(0.0) or [])
        finally:
            _writing.release()


def close_engines() -> None:
    """Writes the pending additions of this process's engines, in bounded time. Each opens again on its next use."""
    process = os.getpid()
    while _engines:
        engine = _engines.pop()
        if engine._process == process:
            try:
                reply = engine.close()
                reply.block(CLOSE_MAX + CLOSE_SLACK)
                engine.closed(reply)
            except Exception as error:  # the process ends in any case
                if isinstance(error, TaskyardError):
                    _exit_code.fail()
                log.error("closing the queue failed: %s", getattr(error, "message", error))
            engine._process = -1


def _close_all() -> None:
    """Writes the pending additions and log lines at the end of the process, in bounded time."""
    for first in before_exit:
        first()
    close_engines()
    _core.end_logs()
    if _logging is not None and _logging.is_alive():
        _logging.join(1.0)
    _exit_code.apply()


atexit.register(_close_all)


def _close_with_multiprocessing() -> None:
    """Registers :func:`_close_all` with ``multiprocessing``: a forked child of it ends by ``os._exit`` without
    ``atexit``, and runs only these finalizers. They are not inherited by a child's child, which opens an engine of its
    own."""
    process, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None:
        # After those of the application and of multiprocessing's own queues (-5).
        util.Finalize(None, _close_all, exitpriority=-100)


#: Seconds that a fork waits for earlier additions to be written.
FORK_MAX = 1.0


def _before_fork() -> None:
    """Waits until pending additions are written: a thread of the engine that is writing may hold locks of SQLite and of
    the allocator, which nothing in the new process would ever release."""
    process = os.getpid()
    for engine in _engines:
        if engine._process == process and engine._has_added:
            # Cleared before the request: additions of another thread from here on belong to the next fork.
            engine._has_added = False
            is_written = False
            try:
                is_written = engine.core().ask(_core.ClientRequest.flush()).block(FORK_MAX)
            except Exception as error:  # the fork must not fail
                log.debug("before a fork: %s", error)
            if not is_written:
                engine._has_added = True


def _forked() -> None:
    global _logging, _lock, _writing
    _lock, _writing = threading.Lock(), threading.Lock()
    _logging = None
    _loops.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_forked)
