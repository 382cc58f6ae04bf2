"""Implements ``python -m taskyard._worker``: one worker process, started by a server with its socket as standard input.

Owns the start and the exit codes of the process, its signals and its limits. Read next: ``_life.py``.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import contextlib
import logging
import os
import pathlib
import resource
import signal
import sys
import threading
import traceback
from types import ModuleType

from .. import _config, _core, _escape, _identity, _loops, _port, _trust
from . import _blocked, _databases, _life
from ._target import load

__all__ = ["main"]

#: The application cannot be loaded, and a start hook or lifespan of it failed. The server depends on both.
EXIT_APP = 3
EXIT_START = 4
#: The application adds its tasks to another database than the one that is served.
EXIT_OTHER_DATABASE = 5
#: The application has no function of the requested name.
EXIT_UNKNOWN = 6
#: Why settings of servers have no effect in a worker process.
ITS_SERVER = "the server of this worker is a process of its own"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m taskyard._worker", description="A worker; started by its server.")
    parser.add_argument("--app", help="the application: module:attribute")
    parser.add_argument("--include", action="append", default=[], help="a further module whose functions may run")
    parser.add_argument("--check", action="store_true", help="only load the application")
    parser.add_argument("--knows", help="with --check: only say whether there is a function of this name")
    parser.add_argument("--memory-limit", type=int, default=0, help="most bytes of memory that it can allocate")
    arguments = parser.parse_args()
    _limit(arguments.memory_limit)
    descriptor = -1
    if not arguments.check:
        _core.die_with_parent()
        descriptor = _take_socket()
    _leave_stops_to_server()
    _log_without_handlers()
    functions = _identity.FUNCTIONS
    functions.__init__(arguments.app, arguments.include)  # type: ignore[misc]
    sys.path.insert(0, os.getcwd())
    _trust.install()
    _life.collect()
    _databases.collect()
    app = _load(arguments.app, arguments.include)
    if arguments.knows:
        sys.exit(0 if functions.find(arguments.knows) is not None else EXIT_UNKNOWN)
    if arguments.check:
        _check_databases()
        # Once for the server, not in each of its workers.
        _config.have_no_effect(ITS_SERVER)
        return
    _config.changed.clear()
    _config.have_no_effect(ITS_SERVER)
    _port.made = None
    _show_info()
    # Replaces signal handlers that the application has set.
    _leave_stops_to_server()
    os.register_at_fork(before=_hold_stops, after_in_parent=_let_stops_come, after_in_child=_heed_stops)
    _leave(_loops.run(_live(descriptor, app)))


log = logging.getLogger("queued_task")

#: Signals by which supervisors and terminals stop a whole process group.
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def _leave_stops_to_server() -> None:
    """Ignores stop signals: the server stops this process, and gives running tasks time to end.

    A handler and not ``SIG_IGN``, which programs that a task starts would inherit, so that they could not be stopped by
    these signals.
    """
    for number in _STOPS:
        signal.signal(number, _nothing)


def _nothing(*_: object) -> None:
    pass


_held = threading.local()


def _hold_stops() -> None:
    """Blocks signals before a fork, so that those for the new process are delivered when it has set its handlers."""
    _held.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)


def _let_stops_come() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _held.mask)


def _heed_stops() -> None:
    """Restores the default signal handlers in a process that a task has forked."""
    for number in _STOPS:
        if signal.getsignal(number) is _nothing:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    _let_stops_come()


def _limit(memory: int) -> None:
    """Disables core files, and limits the memory of this process (bytes; 0: no limit)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if memory > 0:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _log_without_handlers() -> None:
    """Prints log lines where the application has not configured logging.

    The root logger gets no handler: whenever the application configures logging, as it is loaded or later, its own
    ``basicConfig`` or ``dictConfig`` applies, and no line is printed twice.
    """
    console = logging.StreamHandler()
    console.setFormatter(_escape.Formatter())
    logging.lastResort = console


def _show_info() -> None:
    """Sets the level INFO, unless the application has configured logging."""
    root = logging.getLogger()
    if not root.handlers and root.level == logging.WARNING:
        root.setLevel(logging.INFO)


def _take_socket() -> int:
    """Moves the socket away from standard input, which a task may read or close. Returns the new descriptor."""
    descriptor = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return descriptor


def _load(app: str | None, include: list[str]) -> object:
    try:
        for name in include:
            load(name.removesuffix(".*"))
        found = load(app) if app else None
        _life.check(found, app)
    except BaseException as error:
        if not isinstance(error, Exception) and not isinstance(error, SystemExit):
            raise
        print(_escape.lines(traceback.format_exc()), file=sys.stderr)
        said = _escape.line(f"taskyard: the application {app or include} cannot be loaded: {error}")
        print(said, file=sys.stderr, flush=True)
        os._exit(EXIT_APP)
    for loaded in (app or "", *include):
        module = sys.modules.get(loaded.partition(":")[0].removesuffix(".*"))
        if module is not None and getattr(module, "__file__", None):
            _identity.FUNCTIONS.add_root(_root_of(module))
    return found


def _check_databases() -> None:
    try:
        _databases.check()
    except _databases.OtherDatabase as error:
        print(f"taskyard: {_escape.line(error.message)}", file=sys.stderr)
        print(f"  hint: {_escape.line(error.hint or '')}", file=sys.stderr, flush=True)
        os._exit(EXIT_OTHER_DATABASE)


def _root_of(module: ModuleType) -> str:
    """Returns the directory that contains the module's top package."""
    file = os.path.realpath(module.__file__ or "")
    above = module.__name__.count(".") + (os.path.basename(file) == "__init__.py")
    return os.path.dirname(file) if above == 0 else str(pathlib.Path(file).parents[above])


async def _live(descriptor: int, app: object) -> int:
    """Runs the worker until it ends, and returns the exit code of the process."""
    over, life = asyncio.Event(), _life.Life(app)
    worker = _life.ProcessWorker(_core.Channel(descriptor), app, over.set)
    _blocked.watch(worker)
    _port.use(worker.port)
    _port.in_worker = True
    await _until(worker.has_begun)
    try:
        await life.start()
    except BaseException as error:
        said = f"{type(error).__name__}: {error}"
        log.critical("this worker ends without having run a task: its start failed: %s", said, exc_info=error)
        return EXIT_START
    worker.come_up()
    await _until(over)
    # Without the server, hooks could neither add tasks nor send requests.
    if not worker.is_cut_off:
        await life.stop()
        worker.end()
    return 0


async def _until(event: asyncio.Event) -> None:
    while not event.is_set():
        # A body may cancel all asyncio tasks of the loop; this one must go on.
        with contextlib.suppress(asyncio.CancelledError):
            await event.wait()


def _leave(code: int) -> None:
    """Ends this process even if a task has left threads behind."""
    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
