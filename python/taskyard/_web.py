"""``python -m taskyard._web APP ...``: uvicorn, started by ``taskyard serve`` and ended with it, whatever ends that."""

from __future__ import annotations

import signal
import sys

from . import _core, _trust

if __name__ == "__main__":
    _core.die_with_parent()
    try:
        from uvicorn.main import main
    except ImportError:
        sys.exit("taskyard serve: uvicorn is not installed: pip install uvicorn")
    # The application is imported from the working directory, as uvicorn's own command does.
    sys.path.insert(0, "")
    _trust.install()
    sys.argv[0] = "uvicorn"
    # Of a group that is stopped, uvicorn ends by SIGTERM, which lets it answer what it has begun.
    signal.signal(signal.SIGHUP, lambda *_: None)
    main()
