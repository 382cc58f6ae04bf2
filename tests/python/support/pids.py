"""A limit on how many processes may be: a control group of its own, where this machine allows one to be made."""

from __future__ import annotations

import contextlib
import os
import pathlib
import uuid
from collections.abc import Iterator

#: The controller's places: version 1, and version 2.
PLACES = ("/sys/fs/cgroup/pids", "/sys/fs/cgroup")


@contextlib.contextmanager
def limited(most: int) -> Iterator[pathlib.Path | None]:
    """The group's directory; None if none can be made here."""
    group = _make(most)
    try:
        yield group
    finally:
        if group is not None:
            with contextlib.suppress(OSError):
                group.rmdir()


def _make(most: int) -> pathlib.Path | None:
    for place in PLACES:
        group = pathlib.Path(place) / f"taskyard-{uuid.uuid4().hex[:8]}"
        with contextlib.suppress(OSError):
            group.mkdir()
            try:
                (group / "pids.max").write_text(str(most))
                return group
            except OSError:
                group.rmdir()
    return None


def join(group: pathlib.Path) -> None:
    """Puts the calling process into the group; what it starts is in it, too."""
    (group / "cgroup.procs").write_text(str(os.getpid()))
