"""Waits that time out, are cancelled or are dropped are withdrawn, and leave nothing behind, here or in a worker."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket

import pytest
from support.project import Project
from support.waiting import eventually_async
from taskyard import QueuedTasks, TaskRemoved, WaitTimeout, _core
from taskyard.errors import ShutDown

COUNT = 300


def nothing() -> None: ...


async def test_waits_of_an_event_loop_are_withdrawn(database: str) -> None:
    async with QueuedTasks(database=database) as tasks:
        never = tasks.add_task(nothing, delay=3600)
        await never.get_task_id()
        before = _core.open_questions()

        async def late() -> None:
            with pytest.raises(WaitTimeout):
                await never.wait(0.01)

        await asyncio.gather(*(late() for _ in range(COUNT)))
        waits = [asyncio.ensure_future(never.wait()) for _ in range(COUNT)]
        await asyncio.sleep(0)
        assert _core.open_questions() >= before + COUNT
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        del waits
        gc.collect()
        assert _core.open_questions() == before
        # The waits of a thread as well.
        with pytest.raises(WaitTimeout):
            await asyncio.to_thread(never.result, 0.01)
        gc.collect()
        assert _core.open_questions() == before


async def test_waits_for_a_database_that_is_away_are_withdrawn() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        tasks = QueuedTasks(database=f"postgresql://postgres@127.0.0.1:{free.getsockname()[1]}/none")
    before = _core.open_questions()

    async def late() -> None:
        with pytest.raises(WaitTimeout):
            await tasks.get("01890000-0000-7000-8000-000000000000").wait(0.001)

    # Concurrently, because each looks up the task's state for up to a second.
    await asyncio.gather(*(late() for _ in range(COUNT)))
    gc.collect()
    assert _core.open_questions() == before
    with contextlib.suppress(ShutDown):
        await asyncio.to_thread(tasks.close, 0.1)


APP = """
    import asyncio, gc
    from taskyard import QueuedTasks, WaitTimeout, _core

    async def waits_in_vain(id, count):
        never = QueuedTasks().get(id)
        before = _core.open_questions()

        async def late():
            try:
                await never.wait(0.01)
            except WaitTimeout:
                return 1

        late = sum(await asyncio.gather(*(late() for _ in range(count))))
        waits = [asyncio.ensure_future(never.wait()) for _ in range(count)]
        clock = asyncio.get_running_loop().time
        bound = clock() + 60
        while _core.open_questions() - before < count and clock() < bound:
            await asyncio.sleep(0.01)
        # All requests so far have been processed when the server replies to a later one.
        await never.get_state()
        opened = _core.open_questions() - before
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        del waits
        gc.collect()
        # The server has processed all that when it replies to a later request.
        assert await never.get_state() == "waiting"
        return [late, opened, _core.open_questions() - before]

    def nothing(): ...
"""


def test_waits_in_a_body_are_withdrawn(project: Project) -> None:
    project.write("app.py", APP)
    project.server("--workers=1", app="app")
    (never,) = project.add("app.nothing, delay=3600")
    (id,) = project.add(f"app.waits_in_vain, {never!r}, {COUNT}")
    found = project.ended(id)
    assert found["result"] == [COUNT, COUNT, 0], found


async def test_a_task_that_is_removed_while_it_is_waited_for_is_an_error(postgres: str) -> None:
    import psycopg

    async with QueuedTasks(database=postgres, fallback_polling_interval=0.2, polling_interval=0.2) as tasks:
        gone = tasks.add_task(nothing, delay=3600)
        id = await gone.get_task_id()
        before = _core.open_questions()
        waits = [asyncio.ensure_future(gone.wait()), asyncio.ensure_future(tasks.get(id).wait())]

        async def both_wait() -> bool:
            return _core.open_questions() >= before + 2

        await eventually_async(both_wait)
        assert not any(wait.done() for wait in waits)
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute("delete from taskyard.task where id = %s", (id,))
        for wait in waits:
            with pytest.raises(TaskRemoved, match=id):
                await asyncio.wait_for(wait, 20)
