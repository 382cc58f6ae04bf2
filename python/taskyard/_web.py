"""``python -m taskyard._web APP ...``: uvicorn, started by ``taskyard serve`` and ended with it, whatever ends that."""

from __future__ import annotations

import logging
import signal
import sys

from . import _core, _escape, _trust

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
    if not any(argument.startswith(_LOG_OPTIONS) for argument in sys.argv):
        from uvicorn.config import LOGGING_CONFIG

        for formatter in ("default", "access"):
            LOGGING_CONFIG["formatters"][formatter] = {"()": "taskyard._escape.Formatter"}


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
    sys.argv[0] = "uvicorn"
    # Of a group that is stopped, uvicorn ends by SIGTERM, which lets it answer what it has begun.
    signal.signal(signal.SIGHUP, lambda *_: None)
    main()
