"""Implements ``python -m taskyard._web APP ...``: uvicorn, started by ``taskyard serve`` and ended with it, however
that ends.

With ``--workers N`` or ``--reload`` uvicorn serves requests in processes that ``multiprocessing`` spawns. Each of them
executes this module as ``__mp_main__``, and has the same log format, checks and end.
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

__all__: list[str] = []

#: uvicorn's options for its log format, which take precedence.
_LOG_OPTIONS = ("--log-config", "--use-colors", "--no-use-colors")


def _look_like_workers() -> None:
    """Formats log lines of this process as those of the command and the workers, where neither the application nor an
    option of uvicorn configures them."""
    last = logging.StreamHandler()
    last.setLevel(logging.WARNING)
    last.setFormatter(_escape.Formatter())
    # Used for loggers without any handler, as the default that it replaces.
    logging.lastResort = last


def _format_uvicorns_lines() -> None:
    """Formats uvicorn's own lines likewise. uvicorn passes this configuration on to the processes that it spawns."""
    if not any(argument.startswith(_LOG_OPTIONS) for argument in sys.argv):
        from uvicorn.config import LOGGING_CONFIG

        for formatter in ("default", "access"):
            LOGGING_CONFIG["formatters"][formatter] = {"()": "taskyard._escape.Formatter"}


def _graceful_seconds() -> int:
    """Returns the seconds that open requests have at a stop: with the queue's last writes they fit into the server's
    ``shutdown_grace``."""
    grace: float = _core.Queue().settings()["shutdown_grace"]
    return max(1, int(grace - _port.CLOSE_MAX))


def _end_with_parent() -> None:
    """Ends this process by SIGTERM when its parent ends, because a killed parent cannot do so."""
    if not hasattr(os, "pidfd_open"):
        return
    with contextlib.suppress(OSError):
        parent = os.pidfd_open(os.getppid())

        def wait() -> None:
            select.select([parent], [], [])
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=wait, name="taskyard-parent", daemon=True).start()


def _end(*_: object) -> None:
    """Handles the signal that uvicorn raises again after it has stopped. Ends the process with the exit code that says
    whether tasks were lost, which the signal's default action would not."""
    # A time limit, whatever the application's threads do: the command waits for this process.
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
    # If the process group is stopped, uvicorn ends by SIGTERM, so that it can finish open requests.
    signal.signal(signal.SIGHUP, lambda *_: None)
    signal.signal(signal.SIGTERM, _end)
    os.environ[_SUPERVISOR] = str(os.getpid())
    # Without a limit uvicorn waits indefinitely for open requests. An option or variable of uvicorn's own (UVICORN_…)
    # takes precedence.
    main(prog_name="uvicorn", default_map={"timeout_graceful_shutdown": _graceful_seconds()})
