"""Limits the number of processes by a control group, where this machine allows creating one."""

from __future__ import annotations

import contextlib
import os
import pathlib
import uuid
from collections.abc import Iterator

#: Mount points of the controller: version 1, and version 2.
PLACES = ("/sys/fs/cgroup/pids", "/sys/fs/cgroup")


@contextlib.contextmanager
def limited(most: int) -> Iterator[pathlib.Path | None]:
    """Yields the group's directory; None if none can be created here."""
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
    """Moves the calling process into the group, with all processes that it starts."""
    (group / "cgroup.procs").write_text(str(os.getpid()))
