"""Worker processes really die, and nothing is lost."""

from __future__ import annotations

import signal
import time

import psutil
from support.project import Project
from support.waiting import eventually

APP = """
    import asyncio, os, pathlib, signal, sys, threading, time
    from taskyard import get_current_task
    from taskyard.queued_task import set_context, is_cancelled, check_cancelled, getLogger

    async def echo(value):
        return value

    def who():
        return os.getpid()

    async def until(path):
        pathlib.Path(path + ".began").touch()
        while not pathlib.Path(path).exists():
            await asyncio.sleep(0.005)
        return get_current_task().attempt

    def block_until(path):
        pathlib.Path(path + ".began").touch()
        while not pathlib.Path(path).exists():
            time.sleep(0.005)
        return get_current_task().attempt

    async def stubborn(path):
        pathlib.Path(path + ".began").touch()
        while not pathlib.Path(path).exists():
            try:
                await asyncio.sleep(0.005)
            except asyncio.CancelledError:
                pass
        return "went on"

    async def clean(path):
        try:
            pathlib.Path(path + ".began").touch()
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            pathlib.Path(path + ".cleaned").touch()
"""


def began(project: Project, name: str) -> None:
    eventually((project.directory / f"{name}.began").exists, 60, f"{name} to begin")


def test_tasks_run_in_children_that_start_on_demand_and_leave_when_idle(project: Project) -> None:
    project.write("app.py", APP)
    server = project.server("--workers=2", app="app", QUEUE_WORKER_IDLE_TIMEOUT="1")
    assert server.children() == [], "no worker runs while there is nothing to do"
    (id,) = project.add("app.who")
    found = project.ended(id)
    assert found["state"] == "done" and found["result"] != server.pid
    eventually(lambda: not server.children(), 60, "the idle worker to leave")
    (id,) = project.add("app.echo, 'again'")
    assert project.ended(id)["result"] == "again"
    assert server.stop() == 0, server.output


def test_a_killed_worker_is_replaced_within_a_second(project: Project) -> None:
    project.write("app.py", APP)
    server = project.server("--workers=1", app="app")
    (id,) = project.add("app.until, 'go'")
    began(project, "go")
    worker = server.worker()
    worker.kill()
    killed = time.monotonic()
    eventually(lambda: server.children() and server.worker().pid != worker.pid, 60, "another worker")
    # Bounded loosely here; the figure itself is measured by the benchmark.
    assert time.monotonic() - killed < 5
    (project.directory / "go").touch()
    found = project.ended(id)
    assert (found["state"], found["crashes"], found["failures"]) == ("done", 1, 0), found
    assert [attempt["outcome"] for attempt in found["attempts"]] == ["crashed", "done"]
    assert server.stop() == 0, server.output


def test_no_worker_outlives_its_server(project: Project) -> None:
    project.write("app.py", APP)
    server = project.server("--workers=2", app="app")
    ids = project.add("app.until, 'a'", "app.block_until, 'b'")
    began(project, "a")
    began(project, "b")
    workers = server.children()
    assert workers
    server.kill()
    killed = time.monotonic()
    eventually(lambda: not any(alive(worker) for worker in workers), 10, "the workers to end")
    assert time.monotonic() - killed < 2, "no orphan after two seconds"
    # Their tasks are not lost: another server rescues them once the lease is over.
    for name in "ab":
        (project.directory / name).touch()
    another = project.server("--workers=2", app="app", TASKYARD_LEASE="2", TASKYARD_HEARTBEAT_INTERVAL="0.5")
    for id in ids:
        found = project.ended(id, 60)
        assert (found["state"], found["lost"], found["failures"]) == ("done", 1, 0), found
    assert another.stop() == 0


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_a_graceful_stop_lets_tasks_end_and_gives_back_the_rest(project: Project) -> None:
    project.write("app.py", APP)
    server = project.server("--workers=1", app="app", TASKYARD_SHUTDOWN_GRACE="2")
    ending, staying = project.add("app.until, 'ending'", "app.until, 'staying'")
    began(project, "ending")
    began(project, "staying")
    server.signal(signal.SIGTERM)
    server.says("claims nothing more")
    (project.directory / "ending").touch()
    assert server.wait() == 0, server.output
    assert project.task(ending)["state"] == "done"
    found = project.task(staying)
    assert (found["state"], found["failures"], found["lost"], found["crashes"]) == ("enqueued", 0, 0, 0), found


def test_cancelling_interrupts_async_code_and_its_clean_up_runs(project: Project) -> None:
    project.write("app.py", APP)
    project.server("--workers=1", app="app")
    (id,) = project.add("app.clean, 'c'")
    began(project, "c")
    project.run("task", "cancel", id)
    found = project.ended(id)
    assert found["state"] == "cancelled", found
    assert (project.directory / "c.cleaned").exists()


def test_a_body_that_returns_after_it_was_cancelled_does_not_win(project: Project) -> None:
    project.write(
        "app.py",
        APP
        + """
    async def swallows(path):
        pathlib.Path(path + ".began").touch()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
        return "swallowed"

    def gives_up(path):
        pathlib.Path(path + ".began").touch()
        while not is_cancelled():
            time.sleep(0.005)
        return "gave up"
""",
    )
    project.server("--workers=2", app="app")
    swallows, gives_up = project.add("app.swallows, 'a'", "app.gives_up, 'b'")
    began(project, "a")
    began(project, "b")
    project.run("task", "cancel", swallows)
    project.run("task", "stop", gives_up)
    assert project.ended(swallows)["state"] == "cancelled"
    assert project.ended(gives_up)["state"] == "stopped"


def test_a_body_that_does_not_yield_ends_with_its_process_and_its_neighbours_first(project: Project) -> None:
    project.write("app.py", APP)
    server = project.server("--workers=1", app="app", TASKYARD_CANCEL_GRACE="5")
    stubborn, neighbour = project.add("app.stubborn, 's'", "app.until, 'n'")
    began(project, "s")
    began(project, "n")
    worker = server.worker()
    project.run("task", "cancel", stubborn)
    eventually(lambda: project.task(stubborn)["cancel_requested"] or project.task(stubborn)["state"] != "doing")
    (project.directory / "n").touch()
    assert project.ended(neighbour)["state"] == "done"
    found = project.ended(stubborn, 60)
    assert found["state"] == "cancelled", found
    eventually(lambda: not alive(worker), 10, "its process to be ended")
    found = project.task(neighbour)
    assert (found["attempt"], found["crashes"]) == (1, 0), found


def test_a_time_limit_ends_what_blocks(project: Project) -> None:
    project.write("app.py", APP)
    server = project.server("--workers=1", app="app", TASKYARD_CANCEL_GRACE="2")
    blocking, waiting = project.add(
        "app.block_until, 'never', timeout=1, max_retries=0", "app.clean, 'w', timeout=1, max_retries=0"
    )
    for id in (waiting, blocking):
        found = project.ended(id, 60)
        assert found["state"] == "failed" and found["error"]["type"] == "TimeoutError", found
    assert (project.directory / "w.cleaned").exists(), "async code could clean up"
    (id,) = project.add("app.echo, 1")
    assert project.ended(id)["state"] == "done"
    assert server.stop() == 0


def test_workers_are_replaced_after_so_many_tasks(project: Project) -> None:
    project.write("app.py", APP)
    project.server("--workers=1", "--concurrency=1", app="app", TASKYARD_WORKER_TASKS_MAX="3")
    pids = []
    for _ in range(7):
        (id,) = project.add("app.who")
        pids.append(project.ended(id)["result"])
    assert 2 <= len(set(pids)) <= 4, pids


def test_workers_are_replaced_when_they_have_grown(project: Project) -> None:
    project.write(
        "app.py",
        """
        import os
        kept = []
        def grow(megabytes):
            kept.append(bytearray(os.urandom(1) * (megabytes << 20)))
            return os.getpid()
        """,
    )
    project.server("--workers=1", app="app", TASKYARD_WORKER_MEMORY_MAX=str(250 << 20))
    (first,) = project.add("app.grow, 300")
    grown = project.ended(first)["result"]
    eventually(lambda: not psutil.pid_exists(grown), 60, "the grown worker to leave")
    (second,) = project.add("app.grow, 1")
    assert project.ended(second)["result"] != grown


def test_an_application_that_cannot_be_loaded_is_said_at_the_start(sqlite_project: Project) -> None:
    project = sqlite_project
    project.write("broken.py", "import json\nraise RuntimeError('no database password')\n")
    project.write("empty.py", "")
    for app, words in [
        ("broken:app", "no database password"),
        ("nowhere:app", "No module named 'nowhere'"),
        ("empty:app", "has no `app`"),
    ]:
        said = project.run("queue", "start", "--app", app, code=1)
        assert words in said and "the application cannot be loaded" in said, said
    assert "there is no application" in project.run("queue", "start", code=2)


def test_a_renamed_function_is_parked_and_released_by_who_knows_it(project: Project) -> None:
    project.write("app.py", "async def old(x):\n    return x\n")
    (id,) = project.add("app.old, 5")
    project.write("app.py", "async def new(x):\n    return x\n")
    server = project.server("--workers=1", app="app")
    parked = eventually(lambda: (found := project.task(id))["state"] == "waiting" and found)
    assert parked["wait_reason"] == "parked" and "app:old" in parked["waiting_for"], parked
    assert "app:old" in server.output
    assert server.stop() == 0
    project.write("app.py", "async def new(x):\n    return x\n\nasync def old(x):\n    return x + 1\n")
    project.server("--workers=1", app="app")
    assert project.ended(id)["result"] == 6


def test_children_that_do_not_come_up_lose_nothing(project: Project) -> None:
    project.write(
        "app.py",
        """
        import os, sys
        if os.path.exists("bad") and "taskyard._worker" in " ".join(sys.orig_argv) and "--check" not in sys.argv:
            raise RuntimeError("the password has expired")

        async def echo(value):
            return value
        """,
    )
    server = project.server("--workers=1", app="app")
    (project.directory / "bad").touch()
    (id,) = project.add("app.echo, 1")
    server.says("the password has expired")
    server.says("a child process did not start")
    assert project.task(id)["failures"] == 0
    (project.directory / "bad").unlink()
    assert project.ended(id, 60)["result"] == 1


def test_a_worker_at_rest_is_small(sqlite_project: Project) -> None:
    project = sqlite_project
    project.write("app.py", "def nothing():\n    pass\n")
    server = project.server("--workers=1", app="app")
    (id,) = project.add("app.nothing")
    assert project.ended(id)["state"] == "done"
    resident = server.worker().memory_info().rss
    assert resident < 60 << 20, f"{resident >> 20} MiB"


GRACES = """
    import asyncio, os, pathlib, time

    async def cleans(path):
        pathlib.Path(path + ".began").touch()
        try:
            await asyncio.sleep(60)
        finally:
            # Longer than the other grace period, and than the heartbeat interval, at which the request is repeated.
            await asyncio.sleep(6)
            pathlib.Path(path + ".cleaned").touch()

    def blocks(path):
        pathlib.Path(path + ".began").touch()
        time.sleep(100)
"""


def seconds_until_ended(project: Project, id: str) -> float:
    began = time.monotonic()
    project.ended(id, 60)
    return time.monotonic() - began


def test_a_cancelled_body_has_the_grace_of_cancels(sqlite_project: Project) -> None:
    project = sqlite_project
    project.write("app.py", GRACES)
    server = project.server("--workers=2", app="app")
    cleans, late = project.add("app.cleans, 'c'", "app.blocks, 'b', timeout=1, max_retries=0")
    for name in ("c", "b"):
        began(project, name)
    project.run("task", "cancel", cleans)
    assert project.ended(late)["error"]["type"] == "TimeoutError"
    assert project.ended(cleans)["state"] == "cancelled"
    # 30 seconds by default, not the 2 of a time limit; and repeated requests do not interrupt it.
    assert (project.directory / "c.cleaned").exists(), server.output
    server.stop()
    # A body that ignores its cancellation is ended when that time is over.
    project.server("--workers=1", app="app", TASKYARD_CANCEL_GRACE="0.5", TASKYARD_TIMEOUT_GRACE="60")
    (blocks,) = project.add("app.blocks, 'again'")
    began(project, "again")
    project.run("task", "cancel", blocks)
    assert seconds_until_ended(project, blocks) < 20
    assert project.task(blocks)["state"] == "cancelled"


def test_a_late_body_has_the_grace_of_time_limits(sqlite_project: Project) -> None:
    project = sqlite_project
    project.write("app.py", GRACES)
    project.server("--workers=1", app="app", TASKYARD_TIMEOUT_GRACE="30", TASKYARD_CANCEL_GRACE="0.5")
    (cleans,) = project.add("app.cleans, 'c', timeout=1, max_retries=0")
    found = project.ended(cleans)
    assert (found["state"], found["error"]["type"]) == ("failed", "TimeoutError"), found
    assert (project.directory / "c.cleaned").exists()
