"""``python -m taskyard._web APP ...``: uvicorn, started by ``taskyard serve`` and ended with it, whatever ends that.

With ``--workers N`` or ``--reload`` uvicorn answers in processes that ``multiprocessing`` spawns. Each of them executes this module
as ``__mp_main__``, and gets the same log lines, checks and end.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import sys
import threading

from . import _core, _escape, _exit_code, _port, _trust

#: uvicorn's options for the format of its lines, which it then keeps.
_LOG_OPTIONS = ("--log-config", "--use-colors", "--no-use-colors")


def _look_like_workers() -> None:
    """Gives this process's lines the format of the command's and the workers', where neither the application nor an option of
    uvicorn configures them."""
    last = logging.StreamHandler()
    last.setLevel(logging.WARNING)
    last.setFormatter(_escape.Formatter())
    # For loggers without any handler, as the one that it replaces.
    logging.lastResort = last


def _format_uvicorns_lines() -> None:
    """The same for uvicorn's own lines; it passes this configuration on to the processes that it spawns."""
    if not any(argument.startswith(_LOG_OPTIONS) for argument in sys.argv):
        from uvicorn.config import LOGGING_CONFIG

        for formatter in ("default", "access"):
            LOGGING_CONFIG["formatters"][formatter] = {"()": "taskyard._escape.Formatter"}


def _graceful_seconds() -> int:
    """How long open requests may go on at a stop: with the queue's last writes it fits into the server's ``shutdown_grace``."""
    grace: float = _core.Queue().settings()["shutdown_grace"]
    return max(1, int(grace - _port.CLOSE_MAX))


def _end_with_parent() -> None:
    """Ends this process by SIGTERM when the one that spawned it ends, as a killed one cannot.

    The system's death signal (``die_with_parent``) follows the thread that spawned, and the application may spawn from any.
    """
    if not hasattr(os, "pidfd_open"):
        return
    with contextlib.suppress(OSError):
        parent = os.pidfd_open(os.getppid())

        def wait() -> None:
            select.select([parent], [], [])
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=wait, name="taskyard-parent", daemon=True).start()


def _end(*_: object) -> None:
    """uvicorn has stopped, and raises the signal again that stopped it. The process ends here, with the exit code that says whether
    tasks were lost; the signal's own end would say nothing."""
    # Whatever the application holds: the command waits for this process.
    threading.Timer(2 * _port.CLOSE_MAX, os._exit, [1]).start()
    with contextlib.suppress(Exception):
        _port.close_engines()
        _port.flush_logs()
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    os._exit(_exit_code.LOST if _exit_code.may_be_lost() else 0)


#: Names the process whose children are uvicorn's own; the application may spawn others.
_SUPERVISOR = "TASKYARD_WEB_SUPERVISOR"

if __name__ == "__mp_main__" and os.environ.get(_SUPERVISOR) == str(os.getppid()):
    _trust.install()
    _look_like_workers()
    _end_with_parent()

if __name__ == "__main__":
    _core.die_with_parent()
    try:
        from uvicorn.main import main
    except ImportError:
        sys.exit("taskyard serve: uvicorn is not installed: pip install uvicorn")
    # The application is imported from the working directory, as uvicorn's own command does.
    sys.path.insert(0, "")
    _trust.install()
    _look_like_workers()
    _format_uvicorns_lines()
    sys.argv[0] = "uvicorn"
    # Of a group that is stopped, uvicorn ends by SIGTERM, which lets it answer what it has begun.
    signal.signal(signal.SIGHUP, lambda *_: None)
    signal.signal(signal.SIGTERM, _end)
    os.environ[_SUPERVISOR] = str(os.getpid())
    # Without a limit uvicorn waits for open requests for ever. An option or variable of uvicorn's own (UVICORN_…) comes first.
    main(prog_name="uvicorn", default_map={"timeout_graceful_shutdown": _graceful_seconds()})
