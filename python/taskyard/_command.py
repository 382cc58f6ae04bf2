"""The ``taskyard`` command: the engine's command line, with this interpreter for workers and the web application."""

from __future__ import annotations

import os
import signal
import sys

from . import _core

__all__ = ["main"]


def main() -> None:
    """Runs the command line of this process, and ends the process with its exit code."""
    # The engine handles these signals itself; Python would act on them only after it has returned.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    code = _core.run(["taskyard", *sys.argv[1:]], sys.executable)
    sys.stdout.flush()
    # No finalisation: threads of the engine may still be running.
    os._exit(code)


if __name__ == "__main__":
    main()
