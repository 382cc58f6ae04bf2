"""The pytest plugin as a project uses it: by its fixtures, and in a separate run."""

from __future__ import annotations

import asyncio
import pathlib
import threading
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from taskyard import (
    InvalidArgument,
    QueuedTasks,
    QueuedTaskState,
    TaskFailed,
    TasksDep,
    _hooks,
    on_pre_create,
    task,
)
from taskyard.testing import Clock, ManualTasks, as_default, assert_enqueued, enqueued, refute_enqueued

pytest_plugins = ["pytester"]
ran: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


async def work(value: Any, twice: bool = False) -> Any:
    await asyncio.sleep(0)
    ran.append(value)
    if twice:
        QueuedTasks().add_task(work, f"{value} again")
    return value


async def work_with_a_rest(value: Any) -> Any:
    """Leaves an addition to its event loop, which makes it after the end of the body."""
    ran.append(value)
    asyncio.get_running_loop().call_soon(QueuedTasks().add_task, work, f"{value} again")


def sync_work(value: Any) -> Any:
    ran.append(value)
    return value


async def breaks() -> None:
    raise ValueError("broken")


@task(queue="mail", priority=3)
async def declared(to: str) -> str:
    return to


app = FastAPI()


@app.post("/work")
async def endpoint(tasks: TasksDep) -> dict[str, str]:
    return {"id": tasks.add_task(work, "from an endpoint").id}


async def test_inline_tasks_have_run_when_they_are_stored(queued_tasks: QueuedTasks) -> None:
    ref = QueuedTasks().add_task(work, 1, twice=True)
    await ref.get_task_id()
    assert 1 in ran and await ref.get_state() == QueuedTaskState.done
    failing = queued_tasks.add_task(breaks, max_retries=0)
    await failing.get_task_id()
    with pytest.raises(TaskFailed, match="broken"):
        await failing.wait()


def test_inline_in_a_sync_test(queued_tasks: QueuedTasks) -> None:
    assert queued_tasks.add_task(sync_work, 5).result(20) == 5
    assert queued_tasks.add_task(work, 6).result(20) == 6
    assert threading.current_thread() is threading.main_thread()


def test_inline_with_an_application(queued_tasks: QueuedTasks) -> None:
    with TestClient(app) as client:
        assert client.post("/work").status_code == 200
    assert ran == ["from an endpoint"]


@pytest.mark.queue(mode="manual")
def test_assertions_by_marker() -> None:
    with TestClient(app) as client:
        client.post("/work")
    assert ran == []
    found = assert_enqueued(work, "from an endpoint", queue="default", state="enqueued")
    assert found["kind"].endswith(":work")
    refute_enqueued(work, "something else")
    refute_enqueued(sync_work)
    with pytest.raises(AssertionError, match="from an endpoint"):
        assert_enqueued(sync_work)
    with pytest.raises(AssertionError, match="1 tasks"):
        refute_enqueued(work)
    declared.using(priority=9).enqueue("ada")
    assert_enqueued(declared, "ada", queue="mail", priority=9)
    assert len(enqueued()) == 2


async def test_manual_tasks_run_when_drained(task_queue: ManualTasks) -> None:
    task_queue.add_task(work, 1, twice=True)
    await task_queue.flush()
    assert ran == []
    assert await task_queue.drain() == 2, "and what it added"
    assert ran == [1, "1 again"]
    assert await task_queue.drain() == 0


async def test_a_drain_runs_what_is_stored_only_after_the_task_that_added_it(task_queue: ManualTasks) -> None:
    @on_pre_create
    async def is_late(new: Any) -> None:
        while ran and (await parent.get_state()) != "done":
            await asyncio.sleep(0.01)

    try:
        parent = task_queue.add_task(work_with_a_rest, 1)
        assert await task_queue.drain() == 2 and ran == [1, "1 again"]
    finally:
        _hooks.clear()


def test_manual_tasks_in_a_sync_test(task_queue: ManualTasks) -> None:
    task_queue.add_task(sync_work, 1)
    assert task_queue.drain() == 1 and ran == [1]


async def test_the_clock_brings_delayed_tasks_due(task_queue: ManualTasks, queue_clock: Clock) -> None:
    task_queue.add_task(work, "in a day", delay=86_400)
    assert await task_queue.drain() == 0 and ran == []
    queue_clock.advance(86_401)
    assert await task_queue.drain() == 1 and ran == ["in a day"]


def test_a_real_worker(queue_worker: QueuedTasks) -> None:
    assert queue_worker.add_task(work, 3).result(20) == 3
    with pytest.raises(TaskFailed):
        queue_worker.add_task(breaks, max_retries=0).result(20)


@pytest.mark.queue("worker")
async def test_a_real_worker_by_marker() -> None:
    assert await QueuedTasks().add_task(work, 4).wait(20) == 4


def test_in_a_run_of_its_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_users="""
        import pytest
        from taskyard import QueuedTasks
        from taskyard.testing import assert_enqueued

        async def mail(to):
            return to

        def test_inline(queued_tasks):
            assert queued_tasks.add_task(mail, "a").result(20) == "a"

        @pytest.mark.queue(mode="manual")
        def test_manual():
            QueuedTasks().add_task(mail, "b")
            assert_enqueued(mail, "b")

        @pytest.mark.queue(mode="sometimes")
        def test_wrong_mode():
            pass
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*not one of inline, manual, worker*"])


def test_nothing_reaches_another_database_than_the_tests(pytester: pytest.Pytester, tmp_path: pathlib.Path) -> None:
    other = tmp_path / "production.db"
    pytester.makepyfile(
        shop=f"""
        from fastapi import FastAPI
        from taskyard import QueuedTasks, TasksDep
        from taskyard.tasks import TaskQueue

        queue = QueuedTasks(database={str(other)!r}, namespace="shop")
        jobs = TaskQueue(url={str(other)!r})

        async def mail(to):
            return to

        def create_app():
            own = QueuedTasks(database={str(other)!r}, max_retries=1)
            app = FastAPI(lifespan=own.lifespan())

            @app.post("/users")
            async def register(to: str, tasks: TasksDep):
                return [await tasks.add_task(mail, to).wait(20), await own.add_task(mail, to).wait(20)]

            return app
        """,
        test_shop="""
        import pytest
        from fastapi.testclient import TestClient
        from shop import create_app, jobs, mail, queue
        from taskyard import QueuedTasks
        from taskyard.testing import assert_enqueued

        def test_inline(queued_tasks):
            assert queue.add_task(mail, "a").result(20) == "a"
            with TestClient(create_app()) as client:
                assert client.post("/users?to=b").json() == ["b", "b"]
            assert queued_tasks.add_task(mail, "c").result(20) == "c"

        @pytest.mark.queue(mode="manual")
        def test_manual():
            queue.add_task(mail, "d")
            QueuedTasks().add_task(mail, "e")
            assert_enqueued(mail, "d")
            assert_enqueued(mail, "e")

        def test_two_queues_of_a_test(queued_tasks, task_queue):
            task_queue.add_task(mail, "f")
            assert queued_tasks.add_task(mail, "g").result(20) == "g"
            assert task_queue.drain() == 1

        async def test_taking(queue_worker):
            assert await jobs.dequeue(timeout=0.1) is None
        """,
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-o", "asyncio_mode=auto")
    result.assert_outcomes(passed=4)
    assert not other.exists()


def application_with_transactions(address: str) -> FastAPI:
    """An application that adds a task in a transaction of a database, and commits it on request."""
    engine = create_async_engine(address.replace("postgresql", "postgresql+asyncpg", 1), poolclass=sa.NullPool)
    app = FastAPI(lifespan=QueuedTasks().lifespan())

    @app.post("/")
    async def add(commits: bool, tasks: TasksDep) -> str:
        async with AsyncSession(engine) as session:
            task = await tasks.add_task(work, 7, connection=session)
            await (session.commit() if commits else session.rollback())
            return task.id

    return app


def test_a_transaction_of_another_database_than_the_tests_is_refused(task_queue: ManualTasks, postgres: str) -> None:
    with TestClient(application_with_transactions(postgres)) as client:
        with pytest.raises(InvalidArgument, match=r"this queue is the SQLite file .*\n.*as_default\(ManualTasks"):
            client.post("/", params={"commits": True})
    refute_enqueued(work)
    with psycopg.connect(postgres) as connection:
        assert connection.execute("select to_regnamespace('taskyard')").fetchone() == (None,)


def test_a_test_may_have_its_queue_in_the_applications_database(postgres: str) -> None:
    with as_default(ManualTasks(database=postgres)) as task_queue:
        with TestClient(application_with_transactions(postgres)) as client:
            client.post("/", params={"commits": False}).raise_for_status()
            refute_enqueued(work)
            id = client.post("/", params={"commits": True}).raise_for_status().json()
        assert assert_enqueued(work, 7)["id"] == id
        assert task_queue.drain() == 1


async def test_a_queue_in_a_file_has_no_transactions_of_postgresql(tmp_path: pathlib.Path, postgres: str) -> None:
    tasks = QueuedTasks(database=str(tmp_path / "queue.db"))
    with psycopg.connect(postgres) as connection:
        with pytest.raises(InvalidArgument, match=r"this queue is the SQLite file .*queue.db\n.*TASKYARD_DATABASE_URL"):
            tasks.add_task(work, 7, connection=connection)
