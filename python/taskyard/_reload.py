"""``python -m taskyard._reload DIRECTORY``: prints which Python files below a directory change, for ``--reload``.

Started by the ``taskyard`` command. The first line is printed once no later change can be missed; each other one names changed
files.
"""

from __future__ import annotations

import contextlib
import os
import sys

from . import _core, _escape

#: ``watchfiles`` is not installed; the command knows this code.
EXIT_MISSING = 5
#: Between two looks while nothing changes, in milliseconds.
LOOK_MS = 200
#: So many files are named at most.
NAMED_MAX = 3


def main(directory: str) -> None:
    _core.die_with_parent()
    # Where `python -m` looks first; what is imported here is installed.
    with contextlib.suppress(ValueError):
        sys.path.remove(os.getcwd())
    try:
        from watchfiles import PythonFilter, watch
    except ImportError:
        sys.exit(EXIT_MISSING)

    class Own(PythonFilter):
        """The project's files, and not those of packages that are installed below it."""

        ignore_dirs = (*PythonFilter.ignore_dirs, "venv", "site-packages")

    is_watching = False
    for changes in watch(directory, watch_filter=Own(), rust_timeout=LOOK_MS, yield_on_timeout=True):
        if not is_watching:
            print("watching", flush=True)
            is_watching = True
        if changes:
            print(_escape.line(_named(directory, sorted(path for _, path in changes))), flush=True)


def _named(directory: str, paths: list[str]) -> str:
    named = ", ".join(os.path.relpath(path, directory) for path in paths[:NAMED_MAX])
    more = len(paths) - NAMED_MAX
    return named if more <= 0 else f"{named} and {more} more"


if __name__ == "__main__":
    main(sys.argv[1])
