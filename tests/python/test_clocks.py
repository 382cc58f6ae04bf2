"""A host's clock that jumps by an hour, forwards and backwards, while its server runs tasks. The processes are real: a
library that is loaded into them shifts the wall clock, and no other clock."""

from __future__ import annotations

import os
import pathlib
import struct
import subprocess
import sys
import time
from typing import Any

import pytest
from support.project import Project
from support.waiting import eventually

HOUR = 3_600
SOURCE = pathlib.Path(__file__).parent / "support" / "shifted.c"
FAST = {"TASKYARD_LEASE": "3", "TASKYARD_HEARTBEAT_INTERVAL": "0.5", "TASKYARD_RESCUE_INTERVAL": "0.5"}

APP = """
    import asyncio, pathlib, time
    from taskyard import QueuedTasks

    tasks = QueuedTasks()

    async def hold(path: str) -> float:
        begun = time.time()
        while not pathlib.Path(path).exists():
            await asyncio.sleep(0.02)
        return time.time() - begun

    def quick(number: int) -> int:
        return number
"""


class Shift:
    """The wall clock of some processes."""

    def __init__(self, directory: pathlib.Path) -> None:
        library = directory / "shifted.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True, timeout=60)
        self._file = directory / "shift"
        self.by(0)
        self.env = {"LD_PRELOAD": str(library), "SHIFTED_BY": str(self._file)}
        self.by(HOUR)
        told = subprocess.run(
            [sys.executable, "-c", "import time; print(time.time())"],
            env={**os.environ, **self.env},
            stdout=subprocess.PIPE,
        )
        assert abs(float(told.stdout) - time.time() - HOUR) < 60, "the clock is not moved"
        self.by(0)

    def by(self, seconds: int) -> None:
        # Written in place, so that processes that have the file open see the change at once.
        with open(self._file, "r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("q", seconds))


@pytest.fixture
def shift(tmp_path: pathlib.Path) -> Shift:
    directory = tmp_path / "shifted"
    directory.mkdir()
    return Shift(directory)


def test_a_jump_of_an_hour_costs_no_running_task(project: Project, shift: Shift) -> None:
    """The clock of one server's host jumps, and the other's does not. On SQLite all processes share the host's clock,
    so all of them jump."""
    project.write("app.py", APP)
    if not str(project.database).startswith("postgres"):
        project.env.update(shift.env)
    jumping = project.server("--workers=1", app="app:tasks", **FAST, **shift.env)
    gate = project.directory / "gate"
    [held] = project.add(f"hold, {str(gate)!r}")
    eventually(lambda: project.task(held)["state"] == "doing", what="it runs")
    project.server("--workers=1", app="app:tasks", **FAST)
    server = project.task(held)["server"]
    for jump in (HOUR, 0, -HOUR, 0):
        shift.by(jump)
        # Twice the time for which a silent server counts as alive.
        until = time.monotonic() + 2 * float(FAST["TASKYARD_LEASE"])
        number = 0
        while time.monotonic() < until:
            number += 1
            [quick] = project.add(f"quick, {number}")
            assert project.ended(quick)["result"] == number
            found: dict[str, Any] = project.task(held)
            assert (found["state"], found["attempt"], found["lost"], found["server"]) == ("doing", 1, 0, server)
    gate.touch()
    done = project.ended(held)
    assert (done["state"], done["attempt"], done["lost"]) == ("done", 1, 0)
    assert jumping.process.poll() is None


def test_a_delay_is_the_databases_and_not_the_workers(postgres: str, tmp_path: pathlib.Path, shift: Shift) -> None:
    with Project(tmp_path, postgres) as project:
        follows_the_database(project, shift)


def follows_the_database(project: Project, shift: Shift) -> None:
    project.write("app.py", APP)
    project.server("--workers=1", app="app:tasks", **FAST, **shift.env)
    [later] = project.add("quick, 1, delay=3000")
    shift.by(HOUR)
    [now] = project.add("quick, 2")
    assert project.ended(now)["result"] == 2
    [soon] = project.add("quick, 3, delay=1")
    assert project.ended(soon)["result"] == 3
    assert project.task(later)["state"] == "waiting"
    shift.by(-HOUR)
    [again] = project.add("quick, 4, delay=1")
    assert project.ended(again)["result"] == 4
