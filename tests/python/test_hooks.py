"""Hooks around tasks: their order, their arguments and changes, and the effect of their errors."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from support.waiting import eventually
from taskyard import QueuedTasks, RetryPolicy, TaskFailed, _hooks, on_post_create, on_post_run, on_pre_create, on_pre_run
from taskyard import context as who
from taskyard._worker import Embedded
from taskyard.errors import InvalidArgument
from taskyard.http import Request, State

order: list[Any] = []
tenant: ContextVar[str] = ContextVar("tenant", default="none")


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    order.clear()
    yield
    _hooks.clear()


@pytest.fixture
async def tasks(database: str) -> AsyncIterator[QueuedTasks]:
    async with QueuedTasks(database=database) as tasks, Embedded(tasks):
        yield tasks


async def body(value: Any) -> Any:
    order.append(("body", tenant.get()))
    return value


def sync_body() -> str:
    return tenant.get()


async def breaks() -> None:
    raise ValueError("broken")


async def test_all_four_in_order_sync_and_async(tasks: QueuedTasks) -> None:
    @on_pre_create
    def first(task: Any) -> None:
        order.append(("pre_create", task.name))
        task.context["tenant"] = "blue"

    @on_pre_create
    async def second(task: Any) -> None:
        order.append("pre_create 2")

    @on_post_create
    async def created(task: Any) -> None:
        order.append(("post_create", (await tasks.get(task.id).record())["id"] == task.id))

    @on_pre_run
    async def before(task: Any) -> None:
        order.append(("pre_run", task.attempt))
        tenant.set(task.context["tenant"])
        task.context["seen"] = True

    @on_pre_run
    def before_too(task: Any) -> None:
        order.append("pre_run 2")

    @on_post_run
    def after(task: Any, result: Any = None, error: Any = None) -> None:
        order.append(("post_run", result, error))

    ref = tasks.add_task(body, 5)
    assert await ref.wait(20) == 5
    await asyncio.sleep(0)
    runs = [each for each in order if each not in (("post_create", True),)]
    assert runs == [
        ("pre_create", f"{__name__}:body"),
        "pre_create 2",
        ("pre_run", 1),
        "pre_run 2",
        ("body", "blue"),
        ("post_run", 5, None),
    ]
    assert ("post_create", True) in order
    assert await ref.get_context() == {"tenant": "blue", "seen": True}
    assert tenant.get() == "none", "nothing comes back to the caller"
    order.clear()
    assert await tasks.add_task(sync_body).wait(20) == "blue", "threads see it too"


async def test_a_failing_pre_run_hook_fails_the_attempt_and_the_body_does_not_run(tasks: QueuedTasks) -> None:
    @on_pre_run
    def refuses(task: Any) -> None:
        if task.attempt == 1:
            raise PermissionError("not now")

    @on_post_run
    async def after(task: Any, result: Any = None, error: Any = None) -> None:
        order.append((task.attempt, result, type(error).__name__))

    ref = tasks.using(retry=RetryPolicy(backoff=0)).add_task(body, 1)
    assert await ref.wait(20) == 1, "retried as any failure"
    assert order == [(1, None, "PermissionError"), ("body", "none"), (2, 1, "NoneType")]
    once = tasks.add_task(body, 1, max_retries=0)
    with pytest.raises(TaskFailed, match="not now"):
        await once.wait(20)


async def test_post_run_takes_what_it_names_and_its_errors_are_logged(
    tasks: QueuedTasks, caplog: pytest.LogCaptureFixture
) -> None:
    @on_post_run
    def fails(task: Any) -> None:
        raise RuntimeError("in the hook")

    @on_post_run
    async def only_error(task: Any, error: Any) -> None:
        order.append(str(error))

    @on_post_run
    async def anything(task: Any, **kwargs: Any) -> None:
        order.append(sorted(kwargs))

    assert await tasks.add_task(sync_body).wait(20) == "none"
    with pytest.raises(TaskFailed, match="broken"):
        await tasks.add_task(breaks, max_retries=0).wait(20)
    assert order == ["None", ["error", "result"], "broken", ["error", "result"]]
    assert "in the hook" in caplog.text


async def test_the_documents_hooks_carry_a_workspace_into_the_task(tasks: QueuedTasks) -> None:
    class Workspace:
        def __init__(self, id: int) -> None:
            self.id = id

    @on_pre_create
    async def capture(task: Any) -> None:
        workspace = who.get_workspace()
        task.context.update({"workspace_id": workspace.id if workspace else None})

    @on_pre_run
    async def restore(task: Any) -> None:
        workspace_id = task.context.get("workspace_id")
        if workspace_id:
            request = Request({"type": "http", "method": "POST", "path": "/task"})
            request.state = State()
            who.set_request(request)
            who.set_workspace(Workspace(workspace_id))

    @on_post_run
    async def clean_up(task: Any, result: Any = None, error: Any = None) -> None:
        who.set_request(None)

    assert await tasks.add_task(current_workspace).wait(20) == [None, False]
    who.set_workspace(Workspace(7))
    assert await tasks.add_task(current_workspace).wait(20) == [7, True]
    who.set_workspace(None)


async def current_workspace() -> Any:
    workspace = who.get_workspace()
    return [workspace and workspace.id, who.get_request() is not None]


async def test_the_engines_log_shows_a_tasks_way(tasks: QueuedTasks, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "queued_task")
    ref = tasks.add_task(body, 1)
    await ref.wait(20)
    lines = [
        record.getMessage() for record in caplog.records if record.name == "queued_task" and ref.id in record.getMessage()
    ]
    assert [line.split()[0] for line in lines] == ["added", "claimed", "started", "finished"], lines


async def test_flush_and_the_end_wait_for_additions_behind_hooks(database: str) -> None:
    begun, gate = asyncio.Event(), asyncio.Event()

    @on_pre_create
    async def waits(task: Any) -> None:
        begun.set()
        await gate.wait()

    async with QueuedTasks(database=database) as tasks:
        tasks.add_task(body, 1)
        flushing = asyncio.ensure_future(tasks.flush())
        await asyncio.wait_for(begun.wait(), 30)
        # A later request is answered.
        assert await tasks.list() == []
        assert not flushing.done()
        gate.set()
        await flushing
        assert len(await tasks.list()) == 1
        gate.clear()
        tasks.add_task(body, 2)
        asyncio.get_running_loop().call_later(0.05, gate.set)
    async with QueuedTasks(database=database) as tasks:
        assert len(await tasks.list()) == 2


def test_async_hooks_without_a_loop(database: str) -> None:
    created: list[str] = []

    @on_pre_create
    async def waits(task: Any) -> None:
        await asyncio.sleep(0.001)
        task.context["by"] = tenant.get()

    @on_post_create
    async def after(task: Any) -> None:
        created.append(task.id)

    tenant.set("sync")
    with QueuedTasks(database=database) as tasks:
        ref = tasks.add_task(body, 1)
        tasks.flush()
        eventually(lambda: created == [ref.id])
        assert asyncio.run(ref.get_context()) == {"by": "sync"}
    tenant.set("none")


async def test_a_hooks_time_limit_is_its_own(database: str) -> None:
    @on_pre_create
    async def limited(task: Any) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.sleep(10), 0.01)

    async with QueuedTasks(database=database) as tasks:
        await asyncio.gather(*(tasks.add_task(body, number).get_task_id() for number in range(5)))
        assert len(await tasks.list()) == 5


async def test_hooks_in_a_transaction(postgres: str) -> None:
    import asyncpg
    import psycopg

    @on_pre_create
    async def identity(task: Any) -> None:
        await asyncio.sleep(0)
        task.context["by"] = tenant.get()

    tenant.set("blue")
    async with QueuedTasks(database=postgres) as tasks:
        connection = await asyncpg.connect(postgres)
        async with connection.transaction():
            ref = await tasks.add_task(body, 1, connection=connection)
        await connection.close()
        assert await ref.get_context() == {"by": "blue"}
        with psycopg.connect(postgres) as sync, pytest.raises(InvalidArgument, match="sync connection"):
            tasks.add_task(body, 1, connection=sync)
    tenant.set("none")
