"""Tasks that a program takes and ends by itself: one holder, one end, and nothing is lost when the holder goes."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.project import Process, Project
from support.waiting import eventually, eventually_async
from taskyard import Fail, Inject, Retry, Snooze, queued_task
from taskyard._tasks import claim as claims
from taskyard.errors import InvalidArgument, NotSerializable, OverLimit, TaskInterrupted, WrongState
from taskyard.progress import ProgressTracker
from taskyard.queued_task import get_current_task, getLogger, set_context
from taskyard.tasks import BackgroundTask, Task, TaskQueue, TaskStatus
from taskyard.worker import Embedded


class Echo(Task):
    def __init__(self, value: Any = None) -> None:
        self.value = value

    async def execute(self) -> Any:
        return self.value


class Raising(Task):
    def __init__(self, what: str) -> None:
        self.what = what

    async def execute(self) -> Any:
        raise {
            "text": ValueError("broken"),
            "empty": ValueError(),
            "fail": Fail("for good"),
            "retry": Retry(after=300),
            "snooze": Snooze(300),
            "exit": SystemExit(3),
            "cancelled": asyncio.CancelledError(),
        }[self.what]


class Waiting(Task):
    """Runs until it is ended; says in its context that it began, and how it ended."""

    def __init__(self) -> None:
        self.progress = ProgressTracker(total=2)

    async def execute(self) -> str:
        self.progress.advance()
        set_context("began", True)
        try:
            await gates["go"].wait()
        finally:
            gates["cleaned"].set()
        return "went"


gates: dict[str, asyncio.Event] = {}


@pytest.fixture
async def queue(database: str) -> AsyncIterator[TaskQueue]:
    gates.update(go=asyncio.Event(), cleaned=asyncio.Event())
    async with TaskQueue(url=database) as queue:
        yield queue


async def seen(queue: TaskQueue, id: str | None) -> Task:
    found = await queue.get_task(id)
    assert found is not None
    return found


async def test_a_task_is_taken_run_and_completed(queue: TaskQueue) -> None:
    assert await queue.dequeue() is None
    id = await queue.enqueue(Echo({"a": (1, 2)}))
    task = await queue.dequeue()
    assert isinstance(task, Echo) and task.id == id and task.status is TaskStatus.RUNNING and task.attempt == 1
    assert task.priority == 0 and task.max_attempts == 4 and task.created_at is not None and task.worker is not None
    assert (await seen(queue, id)).status is TaskStatus.RUNNING
    assert await queue.dequeue() is None
    result = await task.execute()
    assert await queue.complete_task(task.id, result) is True
    done = await seen(queue, id)
    assert done.status is TaskStatus.COMPLETED and done.result == {"a": (1, 2)} and done.worker == task.worker
    assert task.status is TaskStatus.COMPLETED and task.result == {"a": (1, 2)}
    # Said again it is as true; anything else comes too late.
    assert await queue.complete_task(id, "other") is True
    assert await queue.fail_task(id, "x") is False and await queue.requeue_task(id) is False
    assert (await seen(queue, id)).result == {"a": (1, 2)}


async def test_trap_05_the_start_time_is_there_in_execute(queue: TaskQueue) -> None:
    class_task = Rate()
    await queue.enqueue(class_task)
    before = time.time()
    task = await queue.dequeue()
    assert task is not None and task.start_time is not None and before <= task.start_time <= time.time()
    assert isinstance(await task.execute(), float)


class Rate(Task):
    async def execute(self) -> float:
        assert self.start_time is not None
        return 1.0 / (time.time() - self.start_time + 1e-9)


async def test_priority_then_age_then_queues(queue: TaskQueue) -> None:
    for value, priority in ((1, 0), (2, 0), (3, 5)):
        await queue.enqueue(Echo(value), priority=priority)
    await queue.enqueue(Echo(4), queue="mail")
    await queue.enqueue(Echo(5), queue="mail")
    only = await queue.dequeue(queues=["mail"])
    assert isinstance(only, Echo) and only.value == 4 and only.queue == "mail"
    rest = await queue.dequeue(count=10)
    assert [task.value for task in rest if isinstance(task, Echo)] == [3, 1, 2, 5]
    assert await queue.dequeue(count=2) == []
    for wrong in (0, -1, True, 1.5):
        with pytest.raises(InvalidArgument):
            await queue.dequeue(count=wrong)  # type: ignore[call-overload]
    with pytest.raises(InvalidArgument):
        await queue.dequeue(timeout=-1)


async def test_trap_12_nobody_needs_to_poll(queue: TaskQueue, database: str) -> None:
    loop = asyncio.get_running_loop()
    assert await queue.dequeue() is None
    began = loop.time()
    for _ in range(5):
        assert await queue.dequeue() is None
    assert loop.time() - began < 5.0, "it does not wait"
    began = loop.time()
    assert await queue.dequeue(timeout=0.2) is None
    assert loop.time() - began >= 0.2
    # Whoever waits is woken by the addition, also by that of another process's engine.
    async with TaskQueue(url=database) as other:
        taking = asyncio.ensure_future(queue.dequeue(timeout=30))
        await asyncio.sleep(0)
        began = loop.time()
        await other.enqueue(Echo(1))
        task = await taking
        assert isinstance(task, Echo) and loop.time() - began < 10.0


async def test_each_task_has_one_taker(queue: TaskQueue, database: str) -> None:
    async with TaskQueue(url=database) as other:
        for value in range(40):
            await queue.enqueue(Echo(value))

        async def drain(mine: TaskQueue) -> list[Any]:
            got = []
            while (task := await mine.dequeue()) is not None:
                assert isinstance(task, Echo)
                got.append(task.value)
                assert await mine.complete_task(task.id, await task.execute()) is True
            return got

        parts = await asyncio.gather(*(drain(mine) for mine in (queue, other, queue, other)))
        assert sorted(sum(parts, [])) == list(range(40))


async def test_an_abandoned_wait_takes_nothing_with_it(queue: TaskQueue) -> None:
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(queue.dequeue(timeout=30), 0.1)
    id = await queue.enqueue(Echo(1))

    async def got() -> Task | None:
        return await queue.dequeue()

    task = await eventually_async(got)
    assert task is not None and task.id == id and task.attempt == 1


# ----------------------------------------------------------------------------------------------------------------- ends


async def run(queue: TaskQueue, task: Task, **options: Any) -> Task:
    """As the document's worker does it: the error's text only."""
    id = await queue.enqueue(task, **options)
    got = await queue.dequeue()
    assert got is not None and got.id == id
    try:
        result = await got.execute()
        await queue.complete_task(got.id, result)
    except Exception as error:
        assert await queue.fail_task(got.id, str(error)) is True
    return await seen(queue, id)


async def test_errors_keep_their_type_and_traceback_by_their_text(queue: TaskQueue) -> None:
    found = await run(queue, Raising("text"), max_retries=0)
    assert found.status is TaskStatus.FAILED and found.error and found.error.type == "ValueError"
    assert str(found.error) == "broken" and "raise {" in (found.error.traceback or "")
    assert "_tasks" not in (found.error.traceback or "")
    found = await run(queue, Raising("empty"), max_retries=0)
    assert found.error and str(found.error) == "" and found.error.type == "ValueError"
    found = await run(queue, Raising("text"))
    assert found.status is TaskStatus.RETRYING and found.error and len(found.errors) == 1


async def test_wishes_survive_the_text(queue: TaskQueue) -> None:
    found = await run(queue, Raising("fail"))
    assert found.status is TaskStatus.FAILED and found.error and found.error.type == "Fail"
    found = await run(queue, Raising("snooze"))
    assert found.errors == [] and found.attempt == 1 and found.status is TaskStatus.SCHEDULED
    found = await run(queue, Raising("retry"))
    assert [error.type for error in found.errors] == ["Retry"] and found.status is TaskStatus.RETRYING


async def test_no_error_of_a_body_ends_its_worker(queue: TaskQueue) -> None:
    found = await run(queue, Raising("exit"), max_retries=0)
    assert found.status is TaskStatus.FAILED and found.error and found.error.type == "SystemExit"
    found = await run(queue, Raising("cancelled"), max_retries=0)
    assert found.status is TaskStatus.FAILED and found.error and found.error.type == "asyncio.exceptions.CancelledError"


async def test_fail_with_a_text_or_an_exception_of_the_callers_own(queue: TaskQueue) -> None:
    ids = [await queue.enqueue(Echo(number)) for number in range(3)]
    tasks = await queue.dequeue(count=3)
    assert await queue.fail_task(ids[0], "my words \ud800" + "x" * 10_000, retry=False) is True
    assert await queue.fail_task(tasks[1], KeyError("k"), retry=False) is True
    assert await queue.fail_task(ids[2], Fail("no")) is True
    found = [await seen(queue, id) for id in ids]
    assert all(task.status is TaskStatus.FAILED for task in found)
    assert str(found[0].error).startswith("my words ?xxx") and len(str(found[0].error)) < 5_000
    assert [str(task.error) for task in found[1:]] == ["'k'", "no"]
    assert found[1].error is not None and found[1].error.type == "KeyError"
    with pytest.raises(InvalidArgument):
        await queue.fail_task(ids[0], 5)  # type: ignore[arg-type]


async def test_trap_10_a_result_that_cannot_be_stored_raises(queue: TaskQueue) -> None:
    found = await run(queue, Echo(None))
    assert found.status is TaskStatus.COMPLETED
    id = await queue.enqueue(Echo(1))
    task = await queue.dequeue()
    assert task is not None
    with pytest.raises(NotSerializable) as raised:
        await queue.complete_task(task.id, object())
    # It still runs, and the text of that error means it: no retry would mend it.
    assert (await seen(queue, id)).status is TaskStatus.RUNNING
    assert await queue.fail_task(task.id, str(raised.value)) is True
    found = await seen(queue, id)
    assert found.status is TaskStatus.FAILED and found.error and "NotSerializable" in found.error.type
    id = await queue.enqueue(Echo(1))
    task = await queue.dequeue()
    with pytest.raises(OverLimit):
        await queue.complete_task(id, "x" * 2_000_000)
    assert await queue.complete_task(id, "short") is True


async def test_trap_07_a_requeued_task_is_not_completed_by_its_old_run(queue: TaskQueue) -> None:
    id = await queue.enqueue(Waiting())
    await queue.enqueue(Echo("behind"))

    async def worker() -> tuple[str, bool]:
        task = await queue.dequeue()
        assert task is not None
        try:
            result = await task.execute()
            return "complete", await queue.complete_task(task.id, result)
        except Exception as error:
            return "fail", await queue.fail_task(task.id, str(error))

    first = asyncio.ensure_future(worker())
    await eventually_async(lambda: begun(queue, id))
    # The handler of a signal knows the id only, and runs in a context of its own.
    given = contextvars.Context().run(asyncio.ensure_future, queue.requeue_task(id))
    assert await given is True
    assert gates["cleaned"].is_set()
    verb, answer = await first
    assert (verb, answer) == ("fail", False)
    found = await seen(queue, id)
    assert found.status is TaskStatus.QUEUED and found.attempt == 0 and found.errors == []
    # In front of what came later, and as a first attempt again.
    again = await queue.dequeue()
    assert again is not None and again.id == id and again.attempt == 1
    gates["go"].set()
    result = await again.execute()
    # The old holder, who knows the id only, has no word in the new run.
    assert await queue.complete_task(id, result) is True
    assert (await seen(queue, id)).result == "went"


async def begun(queue: TaskQueue, id: str) -> bool:
    return bool((await queue.tasks.get(id).get_context()).get("began"))


async def test_the_end_of_an_older_claim_does_not_touch_a_newer_one(queue: TaskQueue) -> None:
    id = await queue.enqueue(Echo(1))
    told: list[Any] = []
    go = asyncio.Event()

    async def old() -> None:
        task = await queue.dequeue()
        assert task is not None
        assert await queue.requeue_task(id) is True
        told.append("back")
        await go.wait()
        # The id is the same, and the newer claim is in this very process.
        told.append(await queue.complete_task(id, "old"))
        told.append(await queue.fail_task(task, "old"))

    first = asyncio.ensure_future(old())
    await eventually_async(lambda: _true(told))
    task = await queue.dequeue()
    assert task is not None and task.id == id
    go.set()
    await first
    assert told == ["back", False, False]
    assert (await seen(queue, id)).status is TaskStatus.RUNNING
    assert await queue.complete_task(task, "new") is True
    assert (await seen(queue, id)).result == "new"


async def _true(value: Any) -> bool:
    return bool(value)


async def test_only_the_holder_ends_a_task(queue: TaskQueue, database: str) -> None:
    id = await queue.enqueue(Echo(1))
    async with TaskQueue(url=database) as other:
        task = await queue.dequeue()
        assert task is not None
        assert await other.complete_task(id, 2) is False and await other.fail_task(id, "x") is False
        assert await other.requeue_task(id) is False
        assert (await seen(other, id)).status is TaskStatus.RUNNING
        assert await queue.complete_task(id, 1) is True


async def test_execute_runs_once_at_a_time(queue: TaskQueue) -> None:
    await queue.enqueue(Waiting())
    task = await queue.dequeue()
    assert task is not None
    first = asyncio.ensure_future(task.execute())
    await asyncio.sleep(0)
    with pytest.raises(WrongState, match="already"):
        await task.execute()
    gates["go"].set()
    assert await first == "went"


# -------------------------------------------------------------------------------------------------- cancelling, stopping


async def test_a_cancel_from_elsewhere_interrupts_within_a_second(queue: TaskQueue, database: str) -> None:
    id = await queue.enqueue(Waiting())
    task = await queue.dequeue()
    assert task is not None
    running = asyncio.ensure_future(task.execute())
    await eventually_async(lambda: begun(queue, id))
    async with TaskQueue(url=database) as other:
        loop = asyncio.get_running_loop()
        asked = loop.time()
        assert await other.cancel_task(id) is True
        with pytest.raises(TaskInterrupted, match="cancelled"):
            await running
        assert loop.time() - asked < 1.0
        assert gates["cleaned"].is_set()
        # As the document's worker goes on: it says that the attempt failed. Nothing is retried.
        assert await queue.fail_task(id, "whatever") is True
        found = await seen(other, id)
        assert found.status is TaskStatus.CANCELLED
        progress: Any = found
        assert progress.progress.current == 1
        assert await other.cancel_task(id) is False


async def test_a_cancel_beats_a_completion_that_was_not_written(queue: TaskQueue) -> None:
    id = await queue.enqueue(Echo(1))
    task = await queue.dequeue()
    assert task is not None
    result = await task.execute()
    assert await queue.cancel_task(id) is True

    async def is_known() -> bool:
        return get_running(task) is not None

    await eventually_async(is_known)
    assert await queue.complete_task(id, result) is False
    assert (await seen(queue, id)).status is TaskStatus.CANCELLED


def get_running(task: Task) -> str | None:
    claim = task._taskyard.claim
    assert claim is not None
    return claim.running.interrupted


async def test_a_time_limit_interrupts(queue: TaskQueue) -> None:
    found = await run(queue, Waiting(), timeout=0.2, max_retries=0)
    assert found.status is TaskStatus.FAILED and found.error and found.error.type == "TimeoutError"
    assert gates["cleaned"].is_set()


class OnThread(Task):
    def execute(self) -> Any:
        begun_on_thread.set()
        while not queued_task.is_cancelled():
            time.sleep(0.005)
        queued_task.check_cancelled()


begun_on_thread = threading.Event()


async def test_a_sync_body_is_asked(queue: TaskQueue) -> None:
    begun_on_thread.clear()
    id = await queue.enqueue(OnThread())
    task = await queue.dequeue()
    assert task is not None
    running = asyncio.ensure_future(task.execute())
    await eventually_async(lambda: _true(begun_on_thread.is_set()))
    await queue.cancel_task(id)
    with pytest.raises(TaskInterrupted):
        await running
    assert await queue.fail_task(id, "") is True
    assert (await seen(queue, id)).status is TaskStatus.CANCELLED


# --------------------------------------------------------------------------------------------------- holders that vanish


async def test_trap_09_a_cancelled_worker_leaves_nothing_behind(queue: TaskQueue) -> None:
    id = await queue.enqueue(Waiting())

    async def worker() -> None:
        while True:
            task = await queue.dequeue()
            assert task is not None
            try:
                await task.execute()
            except Exception as error:
                await queue.fail_task(task.id, str(error))

    running = asyncio.ensure_future(worker())
    await eventually_async(lambda: begun(queue, id))
    running.cancel()
    await asyncio.wait({running})

    async def is_back() -> bool:
        return (await seen(queue, id)).status is TaskStatus.QUEUED

    await eventually_async(is_back)
    assert (await seen(queue, id)).attempt == 0


async def test_a_worker_that_breaks_fails_its_attempt(queue: TaskQueue) -> None:
    id = await queue.enqueue(Echo(1), max_retries=0)

    async def worker() -> None:
        await queue.dequeue()
        raise RuntimeError("a bug of the worker")

    running = asyncio.ensure_future(worker())
    await asyncio.wait({running})

    async def has_failed() -> bool:
        return (await seen(queue, id)).status is TaskStatus.FAILED

    await eventually_async(has_failed)
    assert str((await seen(queue, id)).error) == "a bug of the worker"
    assert isinstance(running.exception(), RuntimeError)


async def test_one_may_take_and_another_end(queue: TaskQueue) -> None:
    """As requests do that hand tasks out and take results in."""
    id = await queue.enqueue(Echo(1))

    async def hand_out() -> str | None:
        task = await queue.dequeue()
        return task.id if task is not None else None

    assert await asyncio.ensure_future(hand_out()) == id
    await asyncio.sleep(0.05)
    assert (await seen(queue, id)).status is TaskStatus.RUNNING
    assert await asyncio.ensure_future(queue.complete_task(id, "r")) is True


def test_the_end_of_a_loop_gives_back(database: str) -> None:
    async def leave() -> str:
        gates.update(go=asyncio.Event(), cleaned=asyncio.Event())
        queue = TaskQueue(url=database)
        id = await queue.enqueue(Waiting())
        task = await queue.dequeue()
        assert task is not None
        running = asyncio.ensure_future(task.execute())
        await eventually_async(lambda: begun(queue, id))
        assert not running.done()
        return id

    id = asyncio.run(leave())

    async def look() -> Any:
        async with TaskQueue(url=database) as queue:
            task = await seen(queue, id)
            return task.status, task.attempt

    assert asyncio.run(look()) == (TaskStatus.QUEUED, 0)


HOLDER = """
    import asyncio
    from taskyard.tasks import Task, TaskQueue

    class Long(Task):
        async def execute(self):
            print("begun", flush=True)
            await asyncio.sleep(600)

    class Quick(Task):
        async def execute(self):
            return self.attempt

    async def main():
        queue = TaskQueue()
        task = await queue.dequeue(timeout=30)
        try:
            await task.execute()
        except Exception as error:
            print("interrupted:", type(error).__name__, flush=True)
            print("written:", await queue.fail_task(task.id, str(error)), flush=True)

    if __name__ == "__main__":
        asyncio.run(main())
"""


def hold(project: Project) -> tuple[str, Process]:
    """A task that a process of its own has taken and runs."""
    import sys

    project.write("holder.py", HOLDER)
    id = project.python("""
        import asyncio, holder
        async def main():
            async with holder.TaskQueue() as queue:
                print(await queue.enqueue(holder.Long()))
        asyncio.run(main())
    """).strip()
    env = {**project.env, "TASKYARD_LEASE": "3", "TASKYARD_HEARTBEAT_INTERVAL": "1", "TASKYARD_RESCUE_INTERVAL": "0.5"}
    process = Process([sys.executable, "holder.py"], project.directory, env)
    project._started.append(process)
    process.says("begun")
    return id, process


def test_kill_9_of_the_holder_runs_it_elsewhere(project: Project) -> None:
    id, holder = hold(project)
    assert project.task(id)["state"] == "doing"
    holder.signal(signal.SIGKILL)
    holder.wait()
    fast = {"TASKYARD_LEASE": "3", "TASKYARD_HEARTBEAT_INTERVAL": "1", "TASKYARD_RESCUE_INTERVAL": "0.5"}
    server = project.server("--workers=1", app="holder", **fast)
    server.says("begun", 30)
    found = project.task(id)
    assert (found["state"], found["attempt"], found["lost"]) == ("doing", 2, 1)


def test_a_cancel_from_another_process_is_there_within_a_second(project: Project) -> None:
    id, holder = hold(project)
    project.run("task", "cancel", id)
    asked = time.monotonic()
    holder.says("interrupted: TaskInterrupted", 10)
    assert time.monotonic() - asked < 1.0
    holder.says("written: True")
    assert holder.wait() == 0
    assert project.task(id)["state"] == "cancelled"


def test_sigint_of_the_holder_gives_back_at_once(project: Project) -> None:
    id, holder = hold(project)
    holder.signal(signal.SIGINT)
    holder.wait()
    found = project.task(id)
    assert (found["state"], found["attempt"], found["lost"]) == ("enqueued", 0, 0)


async def test_a_lost_lease_ends_the_run_and_refuses_its_end(
    database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    gates.update(go=asyncio.Event(), cleaned=asyncio.Event())
    for name, value in (("TASKYARD_LEASE", "3"), ("TASKYARD_HEARTBEAT_INTERVAL", "1")):
        monkeypatch.setenv(name, value)
    async with TaskQueue(url=database) as queue:
        id = await queue.enqueue(Waiting())
        task = await queue.dequeue()
        assert task is not None
        running = asyncio.ensure_future(task.execute())
        await eventually_async(lambda: begun(queue, id))
        # Somebody retries it as if its server were dead: the row has another token, or none.
        await steal(database, id)
        gates["go"].set()
        result = await running
        assert await queue.complete_task(id, result) is False
        assert (await seen(queue, id)).status is TaskStatus.RUNNING


async def steal(database: str, id: str) -> None:
    """Another token on the row, as after a rescue and another claim."""
    if database.startswith("postgres"):
        import psycopg

        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            await connection.execute("update taskyard.task set token = gen_random_uuid() where id = %s", [id])
    else:
        import sqlite3
        import uuid

        # A foreign handle is unsupported in general; a test may do it while nothing else writes.
        with sqlite3.connect(database) as connection:
            connection.execute("update ty_task set token = ? where id = ?", [os.urandom(16), uuid.UUID(id).bytes])


# --------------------------------------------------------------------------------------------------- as in other workers


async def test_functions_are_taken_too(queue: TaskQueue) -> None:
    ref = queue.tasks.add_task(double, 4)
    await ref.get_task_id()
    task = await queue.dequeue()
    assert isinstance(task, BackgroundTask) and task.func is double and task.args == (4,)
    assert await queue.complete_task(task.id, await task.execute()) is True
    assert await ref.wait(20) == 8
    ref = queue.tasks.add_task(lambda: "local")
    await ref.get_task_id()
    task = await queue.dequeue()
    assert task is not None
    assert await queue.complete_task(task.id, await task.execute()) is True
    assert await ref.wait(20) == "local"


def double(number: int) -> int:
    return number * 2


class Talking(Task):
    async def execute(self) -> Any:
        leaked = leaking.get()
        leaking.set("set by a task")
        getLogger("talking").info("hello")
        set_context("a.b", 1)
        current = get_current_task()
        return [current.id == self.id, current.attempt, leaked]


leaking: contextvars.ContextVar[str] = contextvars.ContextVar("leaking", default="clean")


async def test_inside_it_is_as_in_a_worker(queue: TaskQueue) -> None:
    leaking.set("of the worker")
    told: list[Any] = []

    async def after(task: Any, result: Any = None, error: Any = None) -> None:
        told.append((task.id, result))

    queued_task.on_post_run(after)
    try:
        found = await run(queue, Talking())
    finally:
        from taskyard import _hooks

        _hooks.clear()
    assert found.result == [True, 1, "clean"] and leaking.get() == "of the worker"
    ref = queue.tasks.get(found.id)
    assert [line["message"] for line in await ref.get_logs()] == ["hello"]
    assert await ref.get_context() == {"a": {"b": 1}}
    assert told == [(found.id, [True, 1, "clean"])]


async def test_what_is_not_known_here_is_parked_and_what_is_behind_it_comes(queue: TaskQueue) -> None:
    unknown = queue.tasks.add_task("elsewhere:Nothing")
    await unknown.get_task_id()
    id = await queue.enqueue(Echo(1))
    task = await queue.dequeue()
    assert task is not None and task.id == id

    async def is_parked() -> bool:
        return (await unknown.record())["wait_reason"] == "parked"

    await eventually_async(is_parked)


async def test_what_cannot_be_read_fails_for_good(queue: TaskQueue) -> None:
    bad = queue.tasks.add_task(f"{Strict.__module__}:Strict")
    await bad.get_task_id()
    id = await queue.enqueue(Echo(1))
    task = await queue.dequeue()
    assert task is not None and task.id == id
    outcome = await bad.outcome(20)
    assert outcome.state == "failed" and "needs" in str(outcome.error)


class Strict(Task):
    @classmethod
    def from_payload(cls, payload: dict[str, Any]) -> Strict:
        raise ValueError("it needs more")

    async def execute(self) -> None:
        pass


async def test_beside_ordinary_workers(queue: TaskQueue) -> None:
    async with Embedded(queue.tasks):
        ids = [await queue.enqueue(Echo(number)) for number in range(20)]
        while (task := await queue.dequeue()) is not None:
            await queue.complete_task(task.id, await task.execute())

        async def are_done() -> bool:
            return all([(await seen(queue, id)).status is TaskStatus.COMPLETED for id in ids])

        await eventually_async(are_done)


async def test_a_queue_may_be_used_from_several_loops(queue: TaskQueue) -> None:
    await queue.enqueue(Echo("there"))

    def elsewhere() -> Any:
        async def take() -> Any:
            task = await queue.dequeue(timeout=5)
            assert task is not None
            return await queue.complete_task(task.id, await task.execute())

        return asyncio.run(take())

    assert await asyncio.to_thread(elsewhere) is True
    # A claim may be ended from another loop than the one that holds it.
    id = await queue.enqueue(Echo("here"))
    task = await queue.dequeue()
    assert task is not None
    assert await asyncio.to_thread(lambda: asyncio.run(queue.complete_task(task, 1))) is True
    assert (await seen(queue, id)).status is TaskStatus.COMPLETED


def test_not_within_a_worker_process(project: Project) -> None:
    project.write(
        "app.py",
        """
        from taskyard.tasks import Task, TaskQueue
        class Taking(Task):
            async def execute(self):
                return await TaskQueue().dequeue()
        """,
    )
    project.server("--workers=1", app="app")
    out = project.python("""
        import asyncio, app
        async def main():
            async with app.TaskQueue() as queue:
                id = await queue.enqueue(app.Taking(), max_retries=0)
                while not (task := await queue.get_task(id)).status.is_terminal:
                    await asyncio.sleep(0.02)
                print(task.error)
        asyncio.run(main())
    """)
    assert "takes nothing by itself" in out
    assert eventually(lambda: True)


class Supplied:
    """What a function gets from outside."""

    word = "supplied"


def provide_supplied() -> Supplied:
    return Supplied()


async def injected(number: int, supplied: Supplied = Inject(provide_supplied)) -> str:
    return f"{supplied.word} {number}"


async def test_functions_that_are_taken_get_their_dependencies(queue: TaskQueue) -> None:
    ref = queue.tasks.add_task(injected, 3)
    await ref.get_task_id()
    task = await queue.dequeue()
    assert task is not None
    assert await queue.complete_task(task.id, await task.execute()) is True
    assert await ref.wait(20) == "supplied 3"


def asked_on_a_thread() -> None:
    begun_on_thread.set()
    while not queued_task.is_cancelled():
        time.sleep(0.005)
    ended_on_thread.set()


ended_on_thread = threading.Event()


async def test_the_end_of_a_taken_sync_function_waits_for_its_thread(queue: TaskQueue) -> None:
    begun_on_thread.clear()
    ended_on_thread.clear()
    ref = queue.tasks.add_task(asked_on_a_thread)
    await ref.get_task_id()
    task = await queue.dequeue()
    assert task is not None
    running = asyncio.ensure_future(task.execute())
    await eventually_async(lambda: _true(begun_on_thread.is_set()))
    assert await queue.requeue_task(task.id) is True
    assert ended_on_thread.is_set()
    await asyncio.wait({running})


async def test_a_holder_remembers_only_what_it_holds(queue: TaskQueue) -> None:
    for number in range(20):
        await queue.enqueue(Echo(number))
    first = await queue.dequeue()
    assert first is not None
    while (task := await queue.dequeue()) is not None:
        await queue.complete_task(task.id, await task.execute())
    held = first._taskyard.claim.hand.held  # type: ignore[union-attr]
    assert sum(len(owned) for owned in held._owned.values()) <= 2 and len(claims.taken.get()) <= 2
    assert len(held.hand.claims) == 1 and not held.hand.arrived  # type: ignore[union-attr]


async def test_a_cancel_right_at_the_claim_is_not_lost(queue: TaskQueue) -> None:
    for _ in range(10):
        id = await queue.enqueue(Waiting())
        taking = asyncio.ensure_future(queue.dequeue(timeout=0.5))
        await asyncio.sleep(0)
        assert await queue.cancel_task(id) is True
        task = await taking
        if task is None:
            assert (await seen(queue, id)).status is TaskStatus.CANCELLED
            continue
        assert task.id == id
        with pytest.raises(TaskInterrupted):
            await asyncio.wait_for(task.execute(), 10)
        assert await queue.fail_task(id, "") is True
        assert (await seen(queue, id)).status is TaskStatus.CANCELLED


async def test_a_stop_keeps_the_task_for_a_retry(queue: TaskQueue) -> None:
    id = await queue.enqueue(Waiting())
    task = await queue.dequeue()
    assert task is not None
    running = asyncio.ensure_future(task.execute())
    await eventually_async(lambda: begun(queue, id))
    stopping = queue.tasks.get(id).stop()
    with pytest.raises(TaskInterrupted):
        await running
    assert await queue.fail_task(id, "") is True
    assert await stopping == "stopped"
    assert (await seen(queue, id)).status is TaskStatus.STOPPED
    assert await queue.requeue_task(id) is True
    again = await queue.dequeue()
    assert again is not None and again.id == id


def test_closing_without_a_loop_gives_back(database: str) -> None:
    queue = TaskQueue(url=database)
    loop = asyncio.new_event_loop()

    async def take() -> str:
        id = await queue.enqueue(Echo(1))
        assert await queue.dequeue() is not None
        return id

    id = loop.run_until_complete(take())
    # Nobody cancels what is left on it.
    queue.tasks.close()

    async def look() -> Any:
        async with TaskQueue(url=database) as other:
            return (await seen(other, id)).status

    assert asyncio.run(look()) is TaskStatus.QUEUED
    loop.close()


def test_a_loop_that_was_just_closed_is_noticed(database: str) -> None:
    queue = TaskQueue(url=database)
    loop = asyncio.new_event_loop()

    async def take() -> str:
        id = await queue.enqueue(Echo(1))
        assert await queue.dequeue() is not None
        return id

    id = loop.run_until_complete(take())
    loop.close()

    async def again() -> Any:
        task = await queue.dequeue(timeout=10)
        assert task is not None
        return task.id, task.attempt, await queue.complete_task(task, 1)

    assert asyncio.run(again()) == (id, 1, True)
