"""The success of an attempt is stored once what its body has added without awaiting it is: in real servers, with their workers."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import signal
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from support.project import Process, Project
from support.waiting import eventually
from taskyard import QueuedTasks, _hooks
from taskyard._tasks.base import known_of
from taskyard.tasks import BackgroundTask, TaskQueue

APP = """
import asyncio, contextvars, pathlib, threading, time
from taskyard import QueuedTasks, Snooze, on_post_run, on_pre_create
from taskyard.queued_task import get_current_task

queue = QueuedTasks()
other = QueuedTasks(database="other.db")

def child(value=None): pass

def refused(value=None): pass

def say(word):
    pathlib.Path(word).touch()

def wait(word):
    while not pathlib.Path(word).exists():
        time.sleep(0.01)

async def parent():
    say("began")
    await asyncio.to_thread(wait, "go")
    queue.add_task(child)
    say("added")
    return 7

def sync_parent():
    say("began")
    wait("go")
    queue.add_task(child)
    say("added")
    return 7

async def adds_elsewhere(number, fails=False):
    other.add_task(child, number)
    say(f"added {number}")
    if fails:
        raise ValueError("on purpose")
    return 7

def sync_adds_elsewhere(number):
    other.add_task(child, number)
    say(f"added {number}")
    return 7

async def adds():
    queue.add_task(refused)

def sync_adds():
    QueuedTasks().add_task(refused)

async def adds_on_a_thread():
    await asyncio.to_thread(queue.add_task, refused)

def adds_on_a_thread_of_its_own():
    context = contextvars.copy_context()
    thread = threading.Thread(target=lambda: context.run(queue.add_task, refused))
    thread.start()
    thread.join()

async def adds_in_a_subtask():
    async with asyncio.timeout(10):
        await asyncio.create_task(sub())

async def sub():
    queue.add_task(refused)

async def adds_many():
    for number in range(300):
        queue.add_task(child, number)
    queue.add_fan_in([(refused, 1), (child, 2)], child)

async def snoozes():
    queue.add_task(refused)
    raise Snooze(0.01)

async def adds_behind_a_hook():
    queue.add_task(refused, "waits")

def adds_on_a_loop_of_its_own():
    async def main():
        queue.add_task(refused, "waits long")
    asyncio.run(main())

@on_pre_create
async def before(task):
    if task.kind == "app:refused" and get_current_task().kind == "app:adds_behind_a_hook":
        await asyncio.sleep(0.2)
    if task.kind == "app:refused" and get_current_task().kind == "app:adds_on_a_loop_of_its_own":
        await asyncio.sleep(3600)

@on_post_run
def after(task):
    if task.kind == "app:leaves_it_to_a_hook":
        queue.add_task(refused)

async def leaves_it_to_a_hook(): pass

async def fails():
    queue.add_task(refused)
    raise ValueError("on purpose")

async def looks():
    try:
        await queue.add_task(refused).get_task_id()
    except Exception as error:
        return str(error)

async def adds_keyed(number):
    queue.add_task(child, number, unique="held")
    say(f"added {number}")
    return 7

def sync_adds_keyed(number):
    queue.add_task(child, number, unique="held")
    say(f"added {number}")
    return 7

async def unrelated(): pass

def sync_unrelated(): pass

async def spawns():
    asyncio.get_running_loop().call_later(0.2, lambda: queue.add_task(refused))
    return 7
"""

REFUSED = [
    "adds", "sync_adds", "adds_on_a_thread", "adds_on_a_thread_of_its_own", "adds_in_a_subtask", "adds_many", "snoozes",
    "adds_behind_a_hook", "leaves_it_to_a_hook",
]  # fmt: skip


def is_postgres(project: Project) -> bool:
    assert project.database is not None
    return project.database.startswith("postgres")


def tasks(project: Project) -> list[tuple[str, str]]:
    """Kind and state of every task, in one look."""
    assert project.database is not None
    if is_postgres(project):
        with psycopg.connect(project.database) as connection:
            rows: Any = connection.execute("select kind, state from taskyard.task").fetchall()
    else:
        with contextlib.closing(sqlite3.connect(project.database, timeout=30)) as connection:
            rows = connection.execute("select kind, state from ty_task").fetchall()
    names = {0: "waiting", 1: "enqueued", 2: "doing", 3: "stopped", 4: "done"}
    return [(kind, names.get(state, "other")) for kind, state in rows]


@contextlib.contextmanager
def held_up(project: Project) -> Iterator[None]:
    """No addition of ``child`` is stored meanwhile."""
    assert project.database is not None
    if is_postgres(project):
        with psycopg.connect(project.database, autocommit=True) as connection:
            connection.execute(
                """create or replace function public.hold() returns trigger language plpgsql as $$
                   begin perform pg_advisory_xact_lock_shared(4242); return new; end $$""",
            )
            connection.execute(
                "create or replace trigger hold before insert on taskyard.task for each row "
                "when (new.kind = 'app:child') execute function public.hold()"
            )
            connection.execute("select pg_advisory_lock(4242)")
            yield
    else:
        with locked(pathlib.Path(project.database)):
            yield


@contextlib.contextmanager
def locked(file: pathlib.Path) -> Iterator[None]:
    """Nothing is written into this file meanwhile."""
    with contextlib.closing(sqlite3.connect(file, timeout=30, isolation_level=None)) as connection:
        connection.execute("begin immediate")
        yield
        connection.execute("rollback")


def later_tasks_end(project: Project) -> None:
    """Runs later tasks to their end while :func:`held_up`: an end that did not wait is stored by then."""
    if is_postgres(project):
        with QueuedTasks(database=project.database) as tasks:
            for ref in [tasks.add_task(f"app:{kind}") for kind in ("unrelated", "sync_unrelated")]:
                ref.result(60)
    else:
        # Nothing can be stored while the file is locked, so only time shows that the body's end has reached the server.
        time.sleep(0.3)


def appears(project: Project, word: str) -> None:
    eventually((project.directory / word).exists, 60, word)


def refuse(project: Project) -> None:
    """Refuses every addition of ``refused``."""
    assert project.database is not None
    if is_postgres(project):
        with psycopg.connect(project.database) as connection:
            connection.execute(
                """create function public.refuse() returns trigger language plpgsql as $$
                   begin raise exception 'not this one' using errcode = '23514'; end $$""",
            )
            connection.execute(
                "create trigger refuse before insert on taskyard.task for each row "
                "when (new.kind = 'app:refused') execute function public.refuse()"
            )
    else:
        with contextlib.closing(sqlite3.connect(project.database, timeout=30)) as connection:
            connection.execute(
                "create trigger refuse before insert on ty_task when new.kind = 'app:refused' "
                "begin select raise(abort, 'not this one'); end"
            )


@pytest.fixture
def app(project: Project) -> Project:
    project.write("app.py", APP)
    return project


@pytest.mark.parametrize("parent", ["parent", "sync_parent"])
def test_a_server_that_is_killed_before_the_child_is_stored_has_not_stored_its_parents_end(
    app: Project, parent: str
) -> None:
    server = app.server(app="app", TASKYARD_LEASE="2", TASKYARD_HEARTBEAT_INTERVAL="0.4", TASKYARD_RESCUE_INTERVAL="0.5")
    (id,) = app.add(parent)
    appears(app, "began")
    with held_up(app):
        (app.directory / "go").touch()
        appears(app, "added")
        later_tasks_end(app)
        assert dict(tasks(app))[f"app:{parent}"] == "doing"
        server.kill()
        server.wait()
        assert dict(tasks(app))[f"app:{parent}"] == "doing" and "app:child" not in dict(tasks(app))
    server = app.server(app="app", TASKYARD_LEASE="2", TASKYARD_HEARTBEAT_INTERVAL="0.4", TASKYARD_RESCUE_INTERVAL="0.5")
    found = app.ended(id)
    assert (found["state"], found["attempt"], found["result"]) == ("done", 2, 7)
    assert "app:child" in dict(tasks(app))
    assert server.stop() == 0


@pytest.mark.parametrize("parent", ["parent", "sync_parent"])
def test_the_child_is_there_as_soon_as_its_parent_is_done(app: Project, parent: str) -> None:
    app.server(app="app")
    (id,) = app.add(parent)
    appears(app, "began")
    with held_up(app):
        (app.directory / "go").touch()
        appears(app, "added")
        later_tasks_end(app)
    while dict(found := tasks(app))[f"app:{parent}"] == "doing":
        pass
    assert dict(found)[f"app:{parent}"] == "done" and "app:child" in dict(found)
    assert app.ended(id)["attempt"] == 1


def test_a_refused_addition_fails_the_attempt_by_its_name(app: Project) -> None:
    server = app.server(app="app")
    refuse(app)
    names = [*REFUSED, "fails", "looks", "spawns", "adds_on_a_loop_of_its_own"]
    ids = dict(zip(names, app.add(*(f"{name}, max_retries=0" for name in names)), strict=True))
    for name in REFUSED:
        found = app.ended(ids[name])
        assert found["state"] == "failed", name
        message = found["error"]["message"]
        named = "(app:refused) and 2 more" if name == "adds_many" else "(app:refused)"
        assert f"{named}, which this task's body added, was not stored" in message, (name, message)
        assert "not this one" in message, (name, message)
        assert found["error"]["type"].startswith("taskyard.errors."), (name, found["error"])
    assert app.ended(ids["fails"])["error"]["message"] == "on purpose"
    server.says(f"task {ids['fails']} (app:fails), attempt 1: task ")
    assert "not this one" in app.ended(ids["looks"])["result"]
    assert app.ended(ids["spawns"])["result"] == 7
    message = app.ended(ids["adds_on_a_loop_of_its_own"])["error"]["message"]
    assert "the event loop that called its hooks has ended" in message
    assert server.stop() == 0


def test_one_that_is_refused_is_retried_as_its_policy_says(app: Project) -> None:
    app.server(app="app")
    refuse(app)
    (id,) = app.add("adds, retry=RetryPolicy(max_retries=2, backoff=0.01)")
    assert app.ended(id)["attempt"] == 3


@pytest.fixture
def elsewhere(sqlite_project: Project) -> Project:
    """An application whose tasks add to another database, by an engine of their worker's own."""
    sqlite_project.write("app.py", APP)
    sqlite_project.python("import app\nwith app.other as tasks: tasks.add_task(app.child, 'first')")
    return sqlite_project


def has_child(project: Project, number: int) -> bool:
    with contextlib.closing(sqlite3.connect(project.directory / "other.db")) as connection:
        rows = connection.execute("select payload from ty_task").fetchall()
    return any(f"[{number}]" in bytes(payload).decode() for (payload,) in rows)


def state(project: Project, id: str) -> str:
    found: str = project.task(id)["state"]
    return found


def test_a_queue_on_another_database_is_waited_for(elsewhere: Project) -> None:
    server = elsewhere.server(app="app")
    names = ["adds_elsewhere, 1", "sync_adds_elsewhere, 2", "adds_elsewhere, 3, True, max_retries=0"]
    with locked(elsewhere.directory / "other.db"):
        ids = elsewhere.add(*names)
        for number in (1, 2, 3):
            appears(elsewhere, f"added {number}")
        # The one that fails first: it waits for five seconds at most.
        assert [state(elsewhere, id) for id in reversed(ids)] == ["doing"] * 3
    for number, (id, end) in enumerate(zip(ids, ["done", "done", "failed"], strict=True), 1):
        assert elsewhere.ended(id)["state"] == end
        assert has_child(elsewhere, number)
    assert server.stop() == 0


def test_the_time_limit_and_a_cancel_end_the_wait(elsewhere: Project) -> None:
    server = elsewhere.server(app="app")
    with locked(elsewhere.directory / "other.db"):
        late = elsewhere.add(
            "adds_elsewhere, 1, timeout=1, max_retries=0", "sync_adds_elsewhere, 2, timeout=1, max_retries=0"
        )
        for id in late:
            found = elsewhere.ended(id)
            assert (found["state"], found["error"]["type"]) == ("failed", "TimeoutError")
            assert (
                "timeout of 1 s: its body had ended, and tasks that it added were not stored" in found["error"]["message"]
            )
        server.says("its attempt 1 ends before what its body added is stored: task ")
        asked = elsewhere.add("adds_elsewhere, 3", "sync_adds_elsewhere, 4")
        for number, id in enumerate(asked, 3):
            appears(elsewhere, f"added {number}")
            elsewhere.run("task", "cancel", id)
            assert elsewhere.ended(id)["state"] == "cancelled"
        pids = {worker.pid for worker in server.children()}
        # One that has failed waits for a while.
        (failed,) = elsewhere.add("adds_elsewhere, 5, True, max_retries=0")
        assert elsewhere.ended(failed)["error"]["message"] == "on purpose"
    # No worker was killed for it.
    assert {worker.pid for worker in server.children()} == pids and len(pids) == 1
    eventually(lambda: all(has_child(elsewhere, number) for number in range(1, 6)), 30, "the additions")
    assert server.stop() == 0


def test_a_shutdown_gives_back_what_still_waits(elsewhere: Project) -> None:
    server: Process = elsewhere.server(app="app", TASKYARD_SHUTDOWN_GRACE="1")
    with locked(elsewhere.directory / "other.db"):
        ids = elsewhere.add("adds_elsewhere, 1", "sync_adds_elsewhere, 2")
        for number in (1, 2):
            appears(elsewhere, f"added {number}")
        server.signal(signal.SIGTERM)
        assert server.wait() in (0, 1)
        assert [state(elsewhere, id) for id in ids] == ["enqueued"] * 2
    elsewhere.server(app="app")
    assert [elsewhere.ended(id)["state"] for id in ids] == ["done", "done"]


@pytest.mark.parametrize("adds", ["adds_keyed", "sync_adds_keyed"])
def test_others_run_while_a_body_waits_for_a_key_that_another_transaction_holds(
    tmp_path: pathlib.Path, postgres: str, adds: str
) -> None:
    with Project(tmp_path, postgres) as project:
        project.write("app.py", APP)
        others_run(project, postgres, adds)


def others_run(project: Project, database: str, adds: str) -> None:
    server = project.server("--workers=1", "--concurrency=1", app="app")
    with psycopg.connect(database) as other:
        other.execute("select taskyard.enqueue('app:child', unique_key => 'held')")
        ids = project.add(f"{adds}, 1", f"{adds}, 2")
        for number in (1, 2):
            appears(project, f"added {number}")
        for id in project.add("unrelated", "sync_unrelated"):
            assert project.ended(id)["state"] == "done"
        assert [state(project, id) for id in ids] == ["doing"] * 2
        other.rollback()
    assert [project.ended(id)["state"] for id in ids] == ["done", "done"]
    assert [project.ended(id)["state"] for id in project.add("unrelated", "sync_unrelated")] == ["done", "done"]
    assert server.stop() == 0


async def refused() -> None: ...


async def adds_refused() -> None:
    QueuedTasks().add_task(refused)


async def refuse_late(task: Any) -> None:
    await asyncio.sleep(0.05)
    if task.kind.endswith(":refused"):
        raise ValueError("not this one")


async def test_one_that_was_dequeued_hears_of_it_where_it_is_executed(queue: QueuedTasks) -> None:
    _hooks.pre_create.append(refuse_late)
    try:
        async with TaskQueue(tasks=queue) as taken:
            id = await taken.enqueue(BackgroundTask(adds_refused))
            task = await taken.dequeue(10)
            assert task is not None
            why = "which this task's body added, was not stored: ValueError: not this one"
            with pytest.raises(RuntimeError, match=why) as raised:
                await task.execute()
            assert await taken.fail_task(id, raised.value)
    finally:
        _hooks.clear()


async def adds_refused_and_fails() -> None:
    QueuedTasks().add_task(refused)
    raise ValueError("on purpose")


async def test_one_that_was_dequeued_and_failed_keeps_its_error_if_its_wait_is_interrupted(queue: QueuedTasks) -> None:
    gate = asyncio.Event()

    async def hold(task: Any) -> None:
        if task.kind.endswith(":refused"):
            await gate.wait()

    _hooks.pre_create.append(hold)
    try:
        async with TaskQueue(tasks=queue) as taken:
            await taken.enqueue(BackgroundTask(adds_refused_and_fails))
            task = await taken.dequeue(10)
            assert task is not None
            executed = asyncio.ensure_future(task.execute())
            claim = known_of(task).claim
            assert claim is not None
            until = time.monotonic() + 30
            while not claim.running.rests and time.monotonic() < until:
                await asyncio.sleep(0.01)
            assert claim.running.rests == 1
            claim.interrupt("asked")
            with pytest.raises(ValueError, match="on purpose"):
                await executed
            gate.set()
    finally:
        _hooks.clear()


async def does_nothing() -> None: ...


async def test_one_that_was_dequeued_waits_for_what_a_hook_after_it_adds(queue: QueuedTasks) -> None:
    _hooks.pre_create.append(refuse_late)
    _hooks.post_run.append(lambda task: None if task.kind.endswith(":refused") else queue.add_task(refused) and None)
    try:
        async with TaskQueue(tasks=queue) as taken:
            await taken.enqueue(BackgroundTask(does_nothing))
            task = await taken.dequeue(10)
            assert task is not None
            with pytest.raises(RuntimeError, match="which this task's body added, was not stored"):
                await task.execute()
    finally:
        _hooks.clear()
