"""Additions that need a lock that another transaction holds, and more additions at once than the database accepts."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from support.project import Project
from taskyard import QueuedTasks, QueueUnavailable, TaskyardError


async def echo(value: Any) -> Any:
    return value


def is_postgres(database: str) -> bool:
    return database.startswith("postgres")


async def test_a_tight_loop_is_taken_whole(database: str) -> None:
    async with QueuedTasks(database=database) as tasks:
        await tasks.add_task(echo, "first").get_task_id()
        refs = [tasks.add_task(echo, number) for number in range(50_000)]
        await tasks.flush()
        assert await refs[-1].get_task_id() == refs[-1].id


async def test_a_tight_loop_waits_while_the_database_is_being_opened(postgres: str) -> None:
    async with QueuedTasks(database=postgres) as tasks:
        await tasks.add_task(echo, "first").get_task_id()
    with psycopg.connect(postgres) as other:
        other.execute("lock table taskyard.migration in access exclusive mode")
        refs: list[Any] = []

        def release() -> None:
            while len(refs) < 64 and not over.is_set():
                time.sleep(0.001)
            other.commit()

        over = threading.Event()
        released = threading.Thread(target=release)
        released.start()
        # The first addition opens the queue.
        tasks = QueuedTasks(database=postgres)
        try:
            # Up to 64 MiB may wait. The loop does not await, so the rest blocks its thread.
            for _ in range(80):
                refs.append(tasks.add_task(echo, "x" * 1_040_000))
        finally:
            over.set()
            released.join()
        async with tasks:
            await tasks.flush()
            assert await refs[-1].get_task_id() == refs[-1].id


async def test_others_go_on_while_a_key_is_held(postgres: str) -> None:
    async with QueuedTasks(database=postgres) as tasks:
        await tasks.add_task(echo, "first").get_task_id()
        with psycopg.connect(postgres) as other:
            (holder,) = other.execute("select taskyard.enqueue('k', unique_key => 'k')::text").fetchone()  # type: ignore[misc]
            behind = tasks.add_task(echo, "behind", unique="k")
            child = tasks.add_task(echo, "child", parent=behind)
            for number in range(5):
                began = time.monotonic()
                await tasks.add_task(echo, number, unique=f"own {number}").get_task_id()
                assert time.monotonic() - began < 2
            waiting = asyncio.ensure_future(behind.get_task_id())
            await asyncio.sleep(0)
            assert not waiting.done()
            other.commit()
        assert await asyncio.wait_for(waiting, 10) == holder
        assert (await child.record())["parents"] == [holder]


HOLD = """
import sqlite3, sys
other = sqlite3.connect(sys.argv[1], isolation_level=None)
other.execute("begin immediate")
print("locked", flush=True)
sys.stdin.read()
other.execute("rollback")
"""


@contextlib.contextmanager
def lock(database: str) -> Iterator[None]:
    """Holds another program's transaction, which prevents an addition with the key `k` from being written."""
    if is_postgres(database):
        with psycopg.connect(database) as other:
            other.execute("select taskyard.enqueue('k', unique_key => 'k')")
            yield
            other.rollback()
        return
    # A process of its own: locks of a file do not exclude two copies of SQLite in one process.
    command = [sys.executable, "-c", HOLD, database]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"locked\n"
        yield


async def test_what_waits_is_bounded(database: str) -> None:
    async with QueuedTasks(database=database) as tasks:
        await tasks.add_task(echo, "first").get_task_id()
        with lock(database):
            refs = []
            began = time.monotonic()
            with pytest.raises(QueueUnavailable, match="wait in memory"):
                for number in range(20_000):
                    refs.append(tasks.add_task(echo, number, unique="k"))
            assert len(refs) <= 10_000
            assert time.monotonic() - began < 20
            # The queue has noticed that nothing is written: the event loop is not blocked again.
            began = time.monotonic()
            with pytest.raises(QueueUnavailable):
                tasks.add_task(echo, "more")
            assert time.monotonic() - began < 1
        ids = {await asyncio.wait_for(ref.get_task_id(), 30) for ref in refs}
        assert len(ids) == 1
        await asyncio.wait_for(tasks.add_task(echo, "more").get_task_id(), 30)


async def refused(value: Any) -> Any:
    return value


TRIGGER = """
create function public.refuse() returns trigger language plpgsql as
$$ begin raise exception 'not stored here' using errcode = '53100'; end $$;
create trigger refuse before insert on taskyard.task for each row when (new.kind like '%refused')
execute function public.refuse()
"""


async def test_one_that_is_refused_like_by_a_full_disk_holds_up_no_other(postgres: str) -> None:
    async with QueuedTasks(database=postgres) as tasks:
        await tasks.add_task(echo, "first").get_task_id()
        with psycopg.connect(postgres) as other:
            other.execute(TRIGGER)
        bad = tasks.add_task(refused, 1)
        for number in range(20):
            began = time.monotonic()
            await tasks.add_task(echo, number).get_task_id()
            assert time.monotonic() - began < 2
        with pytest.raises(TaskyardError, match="not stored here"):
            await asyncio.wait_for(bad.get_task_id(), 5)


def test_a_body_that_adds_many(project: Project) -> None:
    project.write(
        "app.py",
        """
        from taskyard import QueuedTasks

        async def leaf(number):
            return number

        async def root():
            tasks = QueuedTasks()
            refs = [tasks.add_task(leaf, number, delay=3600) for number in range(50_000)]
            await tasks.flush()
            return refs[-1].id == await refs[-1].get_task_id()
        """,
    )
    project.server("--workers=1", app="app")
    (id,) = project.add("app.root")
    assert project.ended(id, 120)["result"] is True
