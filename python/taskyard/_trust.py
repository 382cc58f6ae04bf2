"""Refuses to import modules of the project that are writable by everybody.

The command checks the project's root and the application's file before it starts this process. This module checks what
the application imports from below the working directory: a module's source, its directory, and the bytecode that would
be loaded in its place. ``TASKYARD_ROOT`` (``--root DIR``) names a directory below which nothing is checked.
"""

from __future__ import annotations

import importlib.machinery
import os
import stat
import sys
from collections.abc import Sequence
from types import ModuleType

__all__ = ["install"]


class Untrusted(Exception):
    """Raised for a module that is writable by everybody. Not an ``ImportError``, so that code that tries an import does
    not continue without it."""


def install() -> None:
    """Installs a finder that checks modules below the working directory before they are loaded."""
    here = os.path.realpath(os.getcwd())
    root = os.environ.get("TASKYARD_ROOT")
    if root and (here + os.sep).startswith(os.path.realpath(root).rstrip(os.sep) + os.sep):
        return
    finders: list[object] = sys.meta_path  # type: ignore[assignment]
    place = finders.index(importlib.machinery.PathFinder) if importlib.machinery.PathFinder in finders else len(finders)
    finders.insert(place, _Finder(here))


class _Finder:
    def __init__(self, here: str) -> None:
        self._below = here.rstrip(os.sep) + os.sep

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        found = importlib.machinery.PathFinder.find_spec(name, path, target)
        if found is not None and found.has_location and found.origin:
            origin = os.path.abspath(found.origin)
            if origin.startswith(self._below):
                paths = [origin, os.path.dirname(origin)]
                if found.cached:
                    paths += [found.cached, os.path.dirname(found.cached)]
                for looked in paths:
                    self._check(name, looked)
        return found

    def _check(self, name: str, path: str) -> None:
        try:
            mode = os.stat(path).st_mode
        except OSError:
            return
        if mode & stat.S_IWOTH:
            root = self._below.rstrip(os.sep)
            raise Untrusted(
                f"module {name}: {path}: everybody may write to it; chmod o-w {path}, or, if you trust the files there, add "
                f"--root {root} (or TASKYARD_ROOT={root} in the environment)"
            )
