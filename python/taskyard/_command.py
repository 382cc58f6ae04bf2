"""The ``taskyard`` command: the engine's, with this interpreter for workers and the web application."""

from __future__ import annotations

import os
import signal
import sys

from . import _core


def main() -> None:
    """Runs the command line of this process, and ends it."""
    # The engine hears these itself; Python would act on them only when it is back.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    code = _core.run(["taskyard", *sys.argv[1:]], sys.executable)
    sys.stdout.flush()
    # No finalisation: threads of the engine may still be at work.
    os._exit(code)


if __name__ == "__main__":
    main()
