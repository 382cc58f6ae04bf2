"""Implements ``python -m taskyard._reload DIRECTORY``: prints the Python files below a directory that change, for
``--reload``.

Started by the ``taskyard`` command. The first line is printed once no later change can be missed; each further line
names changed files.
"""

from __future__ import annotations

import contextlib
import os
import sys

from . import _core, _escape

__all__ = ["main"]

#: Exit code if ``watchfiles`` is not installed. The command depends on it.
EXIT_MISSING = 5
#: Interval at which the watch returns while nothing changes, in milliseconds.
LOOK_MS = 200
#: Number of files that a line names at most.
NAMED_MAX = 3


def main(directory: str) -> None:
    _core.die_with_parent()
    # `python -m` puts the working directory first; only installed packages are imported here.
    with contextlib.suppress(ValueError):
        sys.path.remove(os.getcwd())
    try:
        from watchfiles import PythonFilter, watch
    except ImportError:
        sys.exit(EXIT_MISSING)

    class Own(PythonFilter):
        """Matches the project's files, without those of packages that are installed below it."""

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
