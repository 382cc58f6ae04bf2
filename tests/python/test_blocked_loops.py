"""Bodies that block their worker's event loop: they are logged, and do not delay tasks that have not begun."""

from __future__ import annotations

import asyncio
import time

import pytest
from support.project import Process, Project
from support.waiting import eventually
from taskyard import QueuedTasks
from taskyard._worker import Embedded

APP = """
    import asyncio, ctypes, os, pathlib, subprocess, time

    HERE = pathlib.Path(__file__).parent

    def note(name):
        with open(HERE / name, "a") as file:
            file.write(f"{os.getpid()}\\n")

    async def quick(number):
        note(f"quick-{number}")

    async def until(name):
        note(f"began-{name}")
        while not (HERE / name).exists():
            await asyncio.sleep(0.01)
        return name

    def block(seconds):
        time.sleep(seconds)  # here

    async def blocks(seconds):
        note("began-blocks")
        block(seconds)

    async def holds_interpreter(seconds):
        note("began-blocks")
        ctypes.PyDLL(None).sleep(seconds)

    async def in_library():
        subprocess.run(["sleep", "2.5"])

    async def in_sub_task():
        await asyncio.gather(asyncio.sleep(0), asyncio.create_task(blocks(2.5)))

    async def in_callback():
        asyncio.get_running_loop().call_soon(block, 2.5)
        await asyncio.sleep(0.1)

    async def short():
        for _ in range(30):
            time.sleep(0.1)
            await asyncio.sleep(0)

    def on_thread():
        time.sleep(2.5)
"""


def warnings(server: Process) -> list[str]:
    return [line for line in server.output.splitlines() if "event loop" in line]


def line_of(project: Project, text: str) -> int:
    lines = (project.directory / "app.py").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


@pytest.mark.parametrize(
    ("kind", "place", "mark"),
    [
        ("blocks, 2.5", "in block: use await", "# here"),
        ("in_sub_task", "in block: use await", "# here"),
        ("in_callback", "in block: use await", "# here"),
        ("in_library", "in in_library: use await", 'subprocess.run(["sleep"'),
    ],
)
def test_the_task_that_blocks_is_named_once_with_the_line(
    sqlite_project: Project, kind: str, place: str, mark: str
) -> None:
    sqlite_project.write("app.py", APP)
    (neighbour,) = sqlite_project.add("app.until, 'open'")
    server = sqlite_project.server("--workers=1", "--concurrency=4", app="app")
    eventually((sqlite_project.directory / "began-open").exists)
    (id,) = sqlite_project.add(f"app.{kind}")
    assert sqlite_project.ended(id)["state"] == "done"
    (sqlite_project.directory / "open").touch()
    sqlite_project.ended(neighbour)
    (line,) = warnings(server)
    name = kind.partition(",")[0]
    assert line.partition(" ")[2].startswith(
        f"WARNING queued_task: task {id} (app:{name}) has blocked its worker's event loop for over a second"
    )
    assert f"at {sqlite_project.directory}/app.py:{line_of(sqlite_project, mark)} {place}" in line
    assert ("subprocess.py:" in line) == (kind == "in_library")


def test_pieces_that_yield_and_functions_on_threads_block_nothing(sqlite_project: Project) -> None:
    sqlite_project.write("app.py", APP)
    ids = sqlite_project.add("app.short", "app.on_thread")
    server = sqlite_project.server("--workers=1", app="app")
    for id in ids:
        assert sqlite_project.ended(id)["state"] == "done"
    assert warnings(server) == []


@pytest.mark.parametrize("kind", ["blocks", "holds_interpreter"])
def test_what_a_blocked_worker_has_not_begun_runs_in_another_one_at_once(project: Project, kind: str) -> None:
    project.write("app.py", APP)
    # The server learns that these are quick, and assigns more to each worker than it begins.
    first = project.add(*(f"app.quick, {number}" for number in range(300)))
    server = project.server("--workers=2", "--concurrency=2", app="app")
    for id in (first[0], first[-1]):
        project.ended(id)
    calls = ["app.until, 'open', priority=1", f"app.{kind}, 15, timeout=1, max_retries=0, priority=1"]
    ids = project.add(*calls, *(f"app.quick, {number}" for number in range(300, 900)))
    eventually((project.directory / "began-blocks").exists)
    began = time.monotonic()
    eventually(
        lambda: all((project.directory / f"quick-{number}").exists() for number in range(900)), 12, "all quick tasks"
    )
    assert time.monotonic() - began < 12
    (project.directory / "open").touch()
    # The other task had its full time, and the blocking one was ended by its time limit.
    assert project.ended(ids[1])["error"]["type"] == "TimeoutError"
    found = project.python(
        f"""
        import asyncio
        from taskyard import QueuedTasks

        async def main():
            async with QueuedTasks() as tasks:
                for id in {[*first, ids[0], *ids[2:]]!r}:
                    await tasks.get(id).wait(timeout=30)
                    record = await tasks.get(id).record()
                    print(record["attempt"], record["crashes"], record["failures"])

        asyncio.run(main())
        """
    )
    assert set(found.splitlines()) == {"1 0 0"}
    for number in range(900):
        assert len((project.directory / f"quick-{number}").read_text().splitlines()) == 1
    assert server.stop() == 0


def test_a_worker_that_goes_on_takes_tasks_again(sqlite_project: Project) -> None:
    project = sqlite_project
    project.write("app.py", APP)
    first = project.add(*(f"app.quick, {number}" for number in range(200)))
    server = project.server("--workers=1", "--concurrency=2", app="app")
    project.ended(first[-1])
    ids = project.add("app.blocks, 4, priority=1", *(f"app.quick, {number}" for number in range(200, 400)))
    for id in (ids[0], ids[-1]):
        assert project.ended(id)["state"] == "done"
    eventually(
        lambda: all((project.directory / f"quick-{number}").exists() for number in range(400)), 30, "all quick tasks"
    )
    for number in range(400):
        assert len((project.directory / f"quick-{number}").read_text().splitlines()) == 1
    assert len(warnings(server)) == 1
    assert len(server.children()) == 1
    assert server.stop() == 0


async def blocks_here() -> None:
    time.sleep(2.5)


async def waits_here() -> str:
    await asyncio.sleep(0.1)
    return "done"


async def test_a_task_is_named_and_the_application_is_not(queue: QueuedTasks, caplog: pytest.LogCaptureFixture) -> None:
    async with Embedded(queue):
        waiting = queue.add_task(waits_here)
        await waiting.get_task_id()
        time.sleep(2.5)
        assert await waiting.wait(timeout=30) == "done"
        blocking = queue.add_task(blocks_here)
        await blocking.wait(timeout=30)
    (record,) = [record for record in caplog.records if "event loop" in record.getMessage()]
    assert blocking.id in record.getMessage() and "in blocks_here: use await" in record.getMessage()
