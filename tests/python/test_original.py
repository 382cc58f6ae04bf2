"""Defects that task queues often have: a test for each shows that it does not occur here.

Related tests are elsewhere, by subject: cancel, and a task that kills its process: `test_workers`, `test_poison_tasks`;
identities of concurrent requests: `test_fastapi`; contextvars, context writes, tracebacks: `test_task_context`; a local
function with a module's name: `test_allowed_functions`; a failing hook: `test_hooks`; commands and settings:
`test_commands`. The cost of a claim beside 100,000 blocked children is a test of the stores, which counts blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import signal
import sqlite3
import time
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from support.project import Process, Project
from support.waiting import eventually
from taskyard import ParentTaskFailed, QueuedTasks, TaskCancelled
from taskyard._worker import Embedded
from taskyard.testing import Clock


@pytest.fixture
async def tasks(database: str) -> AsyncIterator[QueuedTasks]:
    async with QueuedTasks(database=database) as tasks, Embedded(tasks):
        yield tasks


async def gives(value: Any) -> Any:
    return value


def gives_a_coroutine(value: Any) -> Any:
    return gives(value)


async def breaks() -> None:
    raise ValueError("broken")


async def takes(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "whole"


async def test_wait_returns_the_result(tasks: QueuedTasks) -> None:
    assert await tasks.add_task(gives, {"a": (1, 2)}).wait(20) == {"a": (1, 2)}


async def test_a_sync_callable_that_returns_a_coroutine_is_run(tasks: QueuedTasks) -> None:
    assert await tasks.add_task(gives_a_coroutine, 5).wait(20) == 5
    assert await tasks.add_task(lambda: gives(6)).wait(20) == 6


async def test_children_of_a_failed_parent_fail_at_once(tasks: QueuedTasks) -> None:
    parent = tasks.add_task(breaks, max_retries=0)
    child = tasks.add_task(gives, 1, parent=parent)
    grandchild = tasks.add_task(gives, 2, parent=child)
    with pytest.raises(ParentTaskFailed) as failed:
        await grandchild.wait(20)
    assert parent.id in str(failed.value)
    cancelled = tasks.add_task(gives, 1, delay=60)
    below = tasks.add_task(gives, 2, parent=cancelled)
    cancelled.cancel()
    with pytest.raises(TaskCancelled):
        await below.wait(20)


async def test_a_chain_of_ten_thousand_falls_with_its_head(tasks: QueuedTasks) -> None:
    calls = [tasks.call(breaks).using(max_retries=0)]
    for number in range(9_999):
        calls.append(tasks.call(gives, number).using(parent=calls[-1]))
    refs = tasks.add_tasks(calls)
    outcome = await refs[-1].outcome(60)
    assert isinstance(outcome.error, ParentTaskFailed) and refs[0].id in str(outcome.error)


async def test_a_delay_is_kept(tasks: QueuedTasks) -> None:
    ref = tasks.add_task(gives, 1, delay=dt.timedelta(seconds=1))
    await ref.wait(20)
    record = await ref.record()
    late = dt.datetime.fromisoformat(record["started_at"][:26].rstrip("Z")) - dt.datetime.fromisoformat(
        record["run_at"][:26].rstrip("Z")
    )
    assert dt.timedelta(0) <= late < dt.timedelta(seconds=1), late


async def test_an_application_whose_clock_is_ahead_waits_no_longer(tasks: QueuedTasks) -> None:
    clock = Clock(tasks)
    try:
        clock.advance(-30)
        began = time.monotonic()
        assert await tasks.add_task(gives, 1).wait(20) == 1
        assert await tasks.add_task(gives, 2, delay=0.2).wait(20) == 2
        assert time.monotonic() - began < 10
    finally:
        clock.reset()


async def test_no_timeout_means_no_timeout(tasks: QueuedTasks) -> None:
    ref = tasks.add_task(takes, 2.5, timeout=0)
    assert await ref.wait(20) == "whole"
    assert (await ref.record())["attempt"] == 1


APP = """
    import asyncio, os, pathlib
    from taskyard import get_current_task

    async def until(path):
        with open(path + ".runs", "a") as runs:
            runs.write(f"{get_current_task().attempt} {os.getppid()}\\n")
        while not pathlib.Path(path).exists():
            await asyncio.sleep(0.005)
        return get_current_task().attempt
"""

QUICK = {"TASKYARD_LEASE": "2", "TASKYARD_HEARTBEAT_INTERVAL": "0.5", "TASKYARD_RESCUE_INTERVAL": "0.5"}


def runs(project: Project, name: str) -> list[str]:
    path = project.directory / f"{name}.runs"
    return path.read_text().split("\n")[:-1] if path.exists() else []


def test_two_servers_of_one_name_leave_each_other_alone(project: Project) -> None:
    project.write("app.py", APP)
    ids = project.add(*(f"app.until, 'go', name='{number}'" for number in range(6)))
    servers = [project.server("--workers=1", "--concurrency=3", "--name=same", app="app", **QUICK) for _ in range(2)]
    eventually(lambda: len(runs(project, "go")) == 6, 60, "all to run")
    # Both have renewed their leases, and have looked for others that are over.
    over = dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=2 + 2 * 0.5)

    def have_outlasted_a_lease() -> bool:
        found = [server["last_heartbeat_at"] for server in project.json("queue", "servers") if server["is_running"]]
        return len(found) == 2 and min(found) > f"{over:%Y-%m-%dT%H:%M:%S.%f}"

    eventually(have_outlasted_a_lease, 60, "heartbeats after the lease")
    assert len(runs(project, "go")) == 6, "nothing was stolen"
    (project.directory / "go").touch()
    for id in ids:
        assert project.ended(id)["attempt"] == 1
    for server in servers:
        assert server.stop() == 0


def test_tasks_of_a_killed_server_resume_under_the_same_name(project: Project) -> None:
    project.write("app.py", APP)
    (id,) = project.add("app.until, 'go'")
    first = project.server("--workers=1", "--name=same", app="app", **QUICK)
    eventually(lambda: len(runs(project, "go")) == 1)
    first.kill()
    project.server("--workers=1", "--name=same", app="app", **QUICK)
    eventually(lambda: len(runs(project, "go")) == 2, 60, "the second run")
    (project.directory / "go").touch()
    assert project.ended(id)["result"] == 2


def freeze(server: Process, project: Project) -> None:
    """Suspends a server between two transactions: on SQLite an open one would block every other writer."""

    def look() -> bool:
        server.signal(signal.SIGSTOP)
        if is_writable(str(project.database)):
            return True
        server.signal(signal.SIGCONT)
        return False

    eventually(look, 60, "a moment between two transactions")


def is_writable(database: str) -> bool:
    if database.startswith("postgres"):
        return True
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=0.2, isolation_level=None)) as connection:
            connection.execute("begin immediate")
            connection.execute("rollback")
    except sqlite3.OperationalError:
        return False
    return True


def test_a_zombie_does_not_overwrite_the_newer_run(project: Project) -> None:
    project.write("app.py", APP)
    (id,) = project.add("app.until, 'go'")
    zombie = project.server("--workers=1", app="app", **QUICK)
    eventually(lambda: len(runs(project, "go")) == 1)
    worker = zombie.worker()
    worker.suspend()
    freeze(zombie, project)
    project.server("--workers=1", app="app", **QUICK)
    eventually(lambda: len(runs(project, "go")) == 2, 60, "the second run")
    zombie.signal(signal.SIGCONT)
    worker.resume()

    def has_entered_again() -> bool:
        return sum(server["is_running"] for server in project.json("queue", "servers")) == 2

    eventually(has_entered_again, 60, "the zombie's new entry")
    (project.directory / "go").touch()
    found = project.ended(id)
    assert (found["state"], found["result"]) == ("done", 2), found
    assert zombie.process.poll() is None, "it goes on"


def test_a_task_costs_few_transactions(postgres: str, tmp_path: Any) -> None:
    with Project(tmp_path, postgres) as project:
        project.write("app.py", "async def gives(value):\n    return value\n")
        project.run("db", "migrate")
        with psycopg.connect(postgres, autocommit=True) as connection:

            def transactions() -> int:
                connection.execute("SELECT pg_stat_clear_snapshot(), pg_stat_force_next_flush()")
                row = connection.execute(
                    "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
                ).fetchone()
                assert row is not None
                return int(row[0])

            project.python(
                """
                import app
                from taskyard import QueuedTasks
                with QueuedTasks() as tasks:
                    tasks.add_tasks([(app.gives, n) for n in range(2000)])
                """
            )
            before = transactions()
            server = project.server("--workers=1", app="app")
            done = "SELECT count(*) FROM queued_tasks WHERE state = 'done'"
            eventually(lambda: connection.execute(done).fetchone() == (2000,), 60, "all to be done")
            assert server.stop() == 0
            # The transactions of this test's own checks are included.
            assert transactions() - before < 2000, "less than one transaction for each task"
