"""Task classes: their stored form, their representation, and their execution by ordinary workers."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.project import Project
from support.waiting import eventually_async
from taskyard import QueuedTasks, RetryPolicy, register_serializer, task
from taskyard._worker import Embedded
from taskyard.errors import FunctionRefused, InvalidArgument, NotSerializable, OverLimit, WrongState
from taskyard.progress import ProgressTracker
from taskyard.queued_task import get_current_task
from taskyard.tasks import BackgroundTask, Fail, Retry, Snooze, Task, TaskError, TaskQueue, TaskStatus


class Email(Task):
    """A task class that does not call the base's ``__init__``."""

    def __init__(self, to: str, attachments: list[Any] | None = None) -> None:
        self.to = to
        self.attachments = attachments or []

    async def execute(self) -> dict[str, Any]:
        return {"to": self.to, "attachments": self.attachments}


class Counting(Task):
    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.progress = ProgressTracker()

    async def execute(self) -> str:
        self.progress.set_total(self.steps)
        for step in range(self.steps):
            await gates["step"].wait() if step == 2 else await asyncio.sleep(0)
            self.progress.advance(1)
            self.progress.set_message(f"step {step + 1}/{self.steps}")
        return "completed"


gates: dict[str, asyncio.Event] = {}


@pytest.fixture
async def queue(database: str) -> AsyncIterator[TaskQueue]:
    async with TaskQueue(url=database) as queue:
        yield queue


@pytest.fixture
async def served(queue: TaskQueue) -> AsyncIterator[TaskQueue]:
    """A queue with an ordinary worker in this process."""
    async with Embedded(queue.tasks):
        yield queue


async def ended(queue: TaskQueue, id: str) -> Task:
    async def look() -> Task | None:
        found = await queue.get_task(id)
        assert found is not None and found.status is not None
        return found if found.status.is_terminal else None

    found = await eventually_async(look)
    assert found is not None
    return found


# --------------------------------------------------------------------------------------------------------------- status


def test_statuses_are_words_in_any_case() -> None:
    assert json.dumps({"status": TaskStatus.QUEUED}) == '{"status": "queued"}'
    assert TaskStatus.PENDING is TaskStatus.QUEUED and TaskStatus.DEAD is TaskStatus.FAILED
    for text in ("completed", "COMPLETED", "Completed", " completed "):
        assert TaskStatus(text) is TaskStatus.COMPLETED
    assert TaskStatus("pending") is TaskStatus.QUEUED and TaskStatus("Dead") is TaskStatus.FAILED
    assert str(TaskStatus.RUNNING) == "running" == TaskStatus.RUNNING and f"{TaskStatus.RUNNING}" == "running"
    with pytest.raises(ValueError):
        TaskStatus("nothing")
    over = {status for status in TaskStatus if status.is_terminal}
    assert over == {
        TaskStatus.COMPLETED,
        TaskStatus.FAILED,
        TaskStatus.CANCELLED,
        TaskStatus.STOPPED,
        TaskStatus.EXPIRED,
    }


def test_an_error_is_true_even_without_words() -> None:
    error = TaskError("", "ValueError")
    assert error and str(error) == "" and error.to_dict()["type"] == "ValueError"
    assert str(TaskError("broken", "ValueError")) == "broken"


# --------------------------------------------------------------------------------------------------------------- objects


def test_trap_01_no_base_init() -> None:
    task = Email("ada")
    assert (task.id, task.status, task.result, task.error, task.errors) == (None, None, None, None, [])
    assert (task.start_time, task.created_at, task.finished_at, task.attempt) == (None, None, None, 0)
    assert (task.max_attempts, task.queue, task.priority, task.worker) == (None, None, None, None)
    assert vars(task) == {"to": "ada", "attachments": []}
    assert "not queued" in repr(task)


def test_trap_03_no_tracker_no_attribute() -> None:
    assert not hasattr(Email("ada"), "progress") and hasattr(Counting(1), "progress")


def test_what_the_queue_tells_cannot_be_set() -> None:
    with pytest.raises(AttributeError, match="`status` is set by the queue"):
        Email("ada").status = TaskStatus.COMPLETED  # type: ignore[misc]
    with pytest.raises(TypeError, match="`priority`"):

        class Wrong(Task):
            priority = 5  # type: ignore[assignment]

    with pytest.raises(InvalidArgument, match="`colour`"):

        class Unknown(Task, colour="red"):
            pass


async def test_execute_is_to_be_written() -> None:
    class Empty(Task):
        pass

    with pytest.raises(NotImplementedError, match="Empty"):
        Empty().execute()
    assert await Email("ada").execute() == {"to": "ada", "attachments": []}


# --------------------------------------------------------------------------------------------------------------- adding


@dataclasses.dataclass
class Order(Task):
    number: int
    when: dt.datetime
    parts: tuple[str, ...] = ()

    async def execute(self) -> Any:
        return [self.number, self.when, self.parts]


@dataclasses.dataclass(slots=True)
class Slotted(Task):
    a: int
    b: set[int]

    def execute(self) -> Any:
        return (self.a, self.b, threading.current_thread() is threading.main_thread())


class Handle:
    """An object that JSON cannot represent."""


class Holding(Task):
    def __init__(self) -> None:
        self.name = "x"
        self.handle = Handle()

    async def execute(self) -> None:
        pass


class Keyed(Task):
    """Stores an id in place of an attribute that cannot be stored."""

    loaded = 0

    def __init__(self, key: str) -> None:
        self.key = key
        self.handle = Handle()

    def to_payload(self) -> dict[str, Any]:
        return {"key": self.key}

    @classmethod
    def from_payload(cls, payload: dict[str, Any]) -> Keyed:
        made = cls.__new__(cls)
        made.key, made.handle = payload["key"], Handle()
        return made

    async def execute(self) -> str:
        assert isinstance(self.handle, Handle)
        return self.key


async def test_enqueue_and_look(queue: TaskQueue) -> None:
    task = Email("ada", [1, "two"])
    id = await queue.enqueue(task)
    assert task.id == id and task.status is TaskStatus.QUEUED and task.queue == "default"
    found = await queue.get_task(id)
    assert isinstance(found, Email) and (found.to, found.attachments) == ("ada", [1, "two"])
    assert found.status is TaskStatus.QUEUED and found.result is None and found.error is None and found.attempt == 0
    assert found.created_at is not None and found.max_attempts == 4 and found.finished_at is None
    # Newer ids are greater.
    assert await queue.enqueue(Email("bob")) > id


@pytest.mark.parametrize("id", ["", "nothing", None, 5, "0" * 400, "01890000-0000-7000-8000-000000000000", "\x00", b"x"])
async def test_what_is_not_a_task_is_none(queue: TaskQueue, id: Any) -> None:
    assert await queue.get_task(id) is None
    assert await queue.complete_task(id, 1) is False
    assert await queue.fail_task(id, "x") is False
    assert await queue.requeue_task(id) is False
    assert await queue.cancel_task(id) is False


async def test_options_come_from_the_call_the_class_and_the_queue(database: str) -> None:
    class Local(Task):
        pass

    async with TaskQueue("mail", url=database, priority=1, max_retries=7, timeout=5) as queue:
        record = await queue.tasks.get(await queue.enqueue(Urgent())).record()
        assert (record["queue"], record["priority"], record["retry"]["max_retries"]) == ("urgent", 9, 7)
        assert record["timeout_ms"] == 5_000 and record["tags"] == ["loud"]
        record = await queue.tasks.get(await queue.enqueue(Urgent(), queue="x", priority=2, timeout=0)).record()
        assert (record["queue"], record["priority"], record["timeout_ms"]) == ("x", 2, None)
        delayed = Email("later")
        id = await queue.enqueue(delayed, delay=dt.timedelta(hours=1), expires=7200, tags=["a"], name="n", unique="k")
        assert delayed.status is TaskStatus.SCHEDULED
        found = await queue.get_task(id)
        assert found is not None and found.status is TaskStatus.SCHEDULED and found.queue == "mail"
        # A second task with the key leads to the first one.
        assert await queue.enqueue(Email("again"), unique="k") == id
        with pytest.raises(InvalidArgument):
            await queue.enqueue(Email("x"), delay=-1)
        with pytest.raises(FunctionRefused, match="does not lead back"):
            await queue.enqueue(Local())


class Urgent(Task, queue="urgent", priority=9, tags=["loud"]):
    async def execute(self) -> None:
        pass


async def test_the_same_object_twice_is_an_error(queue: TaskQueue) -> None:
    task = Email("ada")
    both = await asyncio.gather(queue.enqueue(task), queue.enqueue(task), return_exceptions=True)
    assert [type(each) for each in both] == [str, WrongState]
    with pytest.raises(WrongState):
        await queue.enqueue(task)
    found = await queue.get_task(task.id)
    with pytest.raises(WrongState):
        await queue.enqueue(found)
    # In every way of adding it.
    other = Email("bob")
    ref = queue.tasks.add_task(other)
    assert other.id == ref.id
    for add in (queue.tasks.add_task, lambda task: queue.tasks.add_tasks([queue.tasks.call(task)])):
        with pytest.raises(WrongState, match=ref.id):
            add(other)
    with pytest.raises(WrongState):
        await queue.enqueue(other)
    third = Email("eve")
    with pytest.raises(WrongState):
        queue.tasks.add_tasks([queue.tasks.call(third), queue.tasks.call(third)])
    assert third.id is None and await queue.enqueue(third), "nothing of that was added"


async def test_what_cannot_be_stored_is_refused_by_its_attribute(queue: TaskQueue) -> None:
    task = Holding()
    with pytest.raises(TypeError, match="attribute `handle` of Holding is a .*Handle") as raised:
        await queue.enqueue(task)
    assert isinstance(raised.value, NotSerializable) and "to_payload" in str(raised.value)
    # The object was not added, so it can be added once it is valid.
    task.handle = None  # type: ignore[assignment]
    assert await queue.enqueue(task)
    with pytest.raises(NotSerializable, match="attribute `to` of Email is a task itself"):
        await queue.enqueue(Email(Email("x")))  # type: ignore[arg-type]
    with pytest.raises(OverLimit):
        await queue.enqueue(Email("x" * 2_000_000))
    for wrong in (Task(), Email, 5, "text", None):
        with pytest.raises(InvalidArgument):
            await queue.enqueue(wrong)


async def test_parents(served: TaskQueue) -> None:
    first = Email("first")
    await served.enqueue(first, delay=0.3)
    child = Email("child")
    id = await served.enqueue(child, parents=[first])
    assert child.status is TaskStatus.WAITING
    found = await served.get_task(id)
    assert found is not None and found.status is TaskStatus.WAITING
    assert (await ended(served, id)).status is TaskStatus.COMPLETED
    with pytest.raises(InvalidArgument, match="not added yet"):
        await served.enqueue(Email("x"), parents=[Email("y")])


# ------------------------------------------------------------------------------------------------ run by ordinary workers


async def test_workers_rebuild_objects_exactly(served: TaskQueue) -> None:
    when = dt.datetime(2026, 1, 2, 3, tzinfo=dt.timezone.utc)
    id = await served.enqueue(Order(7, when, ("a", "b")))
    found = await ended(served, id)
    assert found.result == [7, when, ("a", "b")] and isinstance(found, Order) and found.parts == ("a", "b")
    assert found.status == "completed" and found.attempt == 1 and found.worker is not None
    assert found.start_time is not None and found.finished_at is not None and found.finished_at >= found.start_time
    # A sync one runs on a thread.
    found = await ended(served, await served.enqueue(Slotted(1, {2, 3})))
    assert found.result == (1, {2, 3}, False)
    found = await ended(served, await served.enqueue(Keyed("k")))
    assert found.result == "k" and isinstance(found, Keyed) and isinstance(found.handle, Handle)


async def test_progress_is_seen_while_it_runs(served: TaskQueue) -> None:
    gates["step"] = asyncio.Event()
    id = await served.enqueue(Counting(5))
    found = await served.get_task(id)
    assert found is not None and found.progress.current == 0 and found.progress.total is None  # type: ignore[attr-defined]

    async def at_two() -> Any:
        task: Any = await served.get_task(id)
        return task if task.progress.current == 2 else None

    task = await eventually_async(at_two)
    assert (task.status, task.progress.total, task.progress.percentage) == (TaskStatus.RUNNING, 5, 40.0)
    assert task.progress.message == "step 2/5" and task.progress.to_dict()["attempt"] == 1
    gates["step"].set()
    done: Any = await ended(served, id)
    assert (done.progress.current, done.progress.percentage, done.result) == (5, 100.0, "completed")
    with pytest.raises(InvalidArgument):
        done.progress.advance(1)


class TwoTrackers(Task):
    def __init__(self) -> None:
        self.download = ProgressTracker(total=10)
        self.unpack = ProgressTracker(total=20)

    async def execute(self) -> None:
        self.download.update(5)
        self.unpack.update(5)


async def test_a_task_may_have_several_trackers(served: TaskQueue) -> None:
    id = await served.enqueue(TwoTrackers())
    task: Any = await ended(served, id)
    assert (task.download.percentage, task.unpack.percentage) == (50.0, 25.0)
    # All readers of progress use the first one.
    found = await served.tasks.get(id).get_progress()
    assert found is not None and found.total == 10


class Wishing(Task):
    def __init__(self, wish: str) -> None:
        self.wish = wish

    async def execute(self) -> Any:
        if self.attempt > 1 or (self.wish == "snooze" and get_current_task().context.get("seen")):
            return self.attempt
        get_current_task().context["seen"] = True
        raise {"retry": Retry(after=0), "fail": Fail("for good"), "snooze": Snooze(0.01), "": ValueError()}[self.wish]


async def test_retry_fail_and_snooze(served: TaskQueue) -> None:
    found = await ended(served, await served.enqueue(Wishing("retry")))
    assert (found.status, found.result, found.error) == (TaskStatus.COMPLETED, 2, None)
    # The task succeeded in the end; earlier errors are still stored.
    assert [(error.type, error.attempt) for error in found.errors] == [("Retry", 1)]
    found = await ended(served, await served.enqueue(Wishing("fail")))
    assert found.status is TaskStatus.FAILED and str(found.error) == "for good" and found.attempt == 1
    found = await ended(served, await served.enqueue(Wishing("snooze")))
    assert found.status is TaskStatus.COMPLETED and found.errors == []


async def test_trap_04_an_error_without_a_text(served: TaskQueue) -> None:
    id = await served.enqueue(Wishing(""), max_retries=0)
    found = await ended(served, id)
    assert (
        found.error
        and str(found.error) == ""
        and found.error.type == "ValueError"
        and "ValueError" in (found.error.traceback or "")
    )
    answer = {"error": str(found.error) if found.error else None}
    assert answer == {"error": ""}


async def test_retrying_is_shown(served: TaskQueue) -> None:
    id = await served.enqueue(Wishing(""), retry=RetryPolicy(backoff=300, jitter=False))

    async def look() -> Task | None:
        found = await served.get_task(id)
        return found if found is not None and found.status is TaskStatus.RETRYING else None

    found = await eventually_async(look)
    assert found is not None and found.error and len(found.errors) == 1
    assert await served.cancel_task(id, "not needed") is True
    found = await served.get_task(id)
    assert found is not None and found.status is TaskStatus.CANCELLED and found.cancel_reason == "not needed"
    with pytest.raises(OverLimit, match="reason"):
        await served.cancel_task(id, "x" * 70_000)
    assert await served.cancel_task(id) is False
    # A requested replay: the same task, with its counters at zero.
    assert await served.requeue_task(id) is True


async def test_a_filter_may_name_a_class_or_a_declared_function(queue: TaskQueue) -> None:
    await queue.enqueue(Email("ada"))
    queue.tasks.add_task(declared)
    await queue.tasks.flush()
    assert [found["kind"] for found in await queue.tasks.list(function=Email)] == [f"{__name__}:Email"]
    assert [found["kind"] for found in await queue.tasks.list(function=declared)] == [f"{__name__}:declared"]
    assert await queue.tasks.dead.count(function=Email) == await queue.tasks.dead.count(function=declared) == 0


@task(queue="mail")
def declared() -> None:
    """A function with declared options."""


async def test_expired_is_shown(queue: TaskQueue) -> None:
    id = await queue.enqueue(Email("late"), expires=0)
    async with Embedded(queue.tasks):
        found = await ended(queue, id)
    assert found.status is TaskStatus.EXPIRED


async def test_cancel_of_a_running_one(served: TaskQueue) -> None:
    gates["step"] = asyncio.Event()
    id = await served.enqueue(Counting(5))

    async def runs() -> bool:
        found = await served.get_task(id)
        return found is not None and found.status is TaskStatus.RUNNING

    await eventually_async(runs)
    assert await served.cancel_task(id, "while it runs") is True
    found = await ended(served, id)
    assert found.status is TaskStatus.CANCELLED and found.cancel_reason == "while it runs"


async def test_trap_02_a_status_goes_into_json(queue: TaskQueue) -> None:
    found = await queue.get_task(await queue.enqueue(Email("ada")))
    assert found is not None
    answer = {
        "status": found.status,
        "result": found.result if found.status == TaskStatus.COMPLETED else None,
        "error": str(found.error) if found.error else None,
    }
    assert json.loads(json.dumps(answer)) == {"status": "queued", "result": None, "error": None}


# ------------------------------------------------------------------------------------------------------------- functions


async def greet(name: str, *, loud: bool = False) -> str:
    return name.upper() if loud else name


def greet_sync(name: str) -> tuple[str, bool]:
    return name, threading.current_thread() is threading.main_thread()


async def counted_function() -> None:
    ProgressTracker.of_task().update(3)


async def test_background_tasks(served: TaskQueue) -> None:
    task = BackgroundTask(greet, "ada", loud=True)
    assert await task() == "ADA" and await task.execute() == "ADA"
    assert await BackgroundTask(greet_sync, "bob")() == ("bob", False)
    id = await served.enqueue(task)
    found = await ended(served, id)
    assert found.result == "ADA" and isinstance(found, BackgroundTask)
    assert (found.func, found.args, found.kwargs) == (greet, ("ada",), {"loud": True})
    assert (await ended(served, await served.enqueue(BackgroundTask(lambda: 3)))).result == 3
    assert not hasattr(found, "progress")
    counted: Any = await ended(served, await served.enqueue(counted_function))
    assert counted.progress.current == 3
    with pytest.raises(InvalidArgument):
        BackgroundTask(3)  # type: ignore[arg-type]


async def test_add_task_takes_objects_too(served: TaskQueue) -> None:
    tasks: QueuedTasks = served.tasks
    ref = tasks.add_task(Email("ada"), priority=3)
    assert await ref.wait(20) == {"to": "ada", "attachments": []}
    assert (await ref.record())["priority"] == 3
    assert len(await tasks.list(function=Email)) == 1


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents


async def test_registered_classes_travel_in_attributes(served: TaskQueue) -> None:
    register_serializer(Money, lambda money: money.cents, Money)
    found = await ended(served, await served.enqueue(Email("ada", [Money(5)]), max_retries=0))
    assert isinstance(found, Email) and found.attachments[0].cents == 5


# -------------------------------------------------------------------------------------------------------------- processes

APP = """
    import asyncio
    from taskyard.tasks import Task, TaskQueue
    from taskyard.progress import ProgressTracker

    queue = TaskQueue()

    class Count(Task):
        def __init__(self, steps):
            self.steps = steps
            self.progress = ProgressTracker()

        async def execute(self):
            self.progress.set_total(self.steps)
            for _ in range(self.steps):
                self.progress.advance()
            return type(self).__name__

    class Stuck(Task):
        async def execute(self):
            try:
                await asyncio.sleep(600)
            finally:
                print("cleaned up", flush=True)
"""


def test_worker_processes_run_task_objects(project: Project) -> None:
    project.write("app.py", APP)
    server = project.server("--workers=1", app="app")
    out = project.python("""
        import asyncio, app
        async def main():
            async with app.queue as queue:
                id = await queue.enqueue(app.Count(1000))
                while not (task := await queue.get_task(id)).status.is_terminal:
                    await asyncio.sleep(0.02)
                print(task.status, task.result, task.progress.current, task.progress.percentage)
                stuck = await queue.enqueue(app.Stuck())
                while (await queue.get_task(stuck)).status != "running":
                    await asyncio.sleep(0.02)
                print(await queue.cancel_task(stuck))
                while not (task := await queue.get_task(stuck)).status.is_terminal:
                    await asyncio.sleep(0.02)
                print(task.status)
        asyncio.run(main())
    """)
    assert out.split("\n")[:3] == ["completed Count 1000 100.0", "True", "cancelled"]
    server.says("cleaned up")


def test_a_row_causes_no_import(project: Project) -> None:
    project.write("app.py", "from taskyard.tasks import Task\nclass Known(Task):\n    async def execute(self): return 1\n")
    project.write("other.py", "print('imported', flush=True)\n" + "class T:\n    pass\n")
    project.write(
        "third.py", "from taskyard.tasks import Task\nclass Unknown(Task):\n    async def execute(self): return 1\n"
    )
    server = project.server("--workers=1", app="app")
    out = project.python("""
        import asyncio, third, app
        from taskyard.tasks import TaskQueue
        async def main():
            async with TaskQueue() as queue:
                unknown = await queue.enqueue(third.Unknown())
                plain = [queue.tasks.add_task(kind).id for kind in ("other:T", "app:Task", "taskyard.tasks:Task", "app:Known")]
                await queue.tasks.flush()
                await queue.tasks.get(plain[-1]).wait(20)
                while (record := await queue.tasks.get(unknown).record())["wait_reason"] != "parked":
                    await asyncio.sleep(0.02)
                print(record["waiting_for"])
                # These kinds cannot run in any process, and are shown as waiting.
                for id in plain[:3]:
                    while (await queue.get_task(id)).status != "waiting":
                        await asyncio.sleep(0.02)
                print("all parked")
        asyncio.run(main())
    """)
    assert "third:Unknown" in out and "all parked" in out
    assert "imported" not in server.output
