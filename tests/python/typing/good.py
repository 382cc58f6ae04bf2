"""Calls that both type checkers accept, with the types that they infer."""

import datetime as dt
from typing import Annotated, Any

from fastapi import Depends
from taskyard import INJECTED, Inject, Progress, QueuedTaskRef, QueuedTasks, QueuedTaskState, RetryPolicy, task
from taskyard.progress import ProgressTracker
from taskyard.records import Attempt, DeadLetter, Failure, LogLine, TaskRecord
from taskyard.tasks import BackgroundTask, Task, TaskError, TaskQueue, TaskStatus
from taskyard.workers import Worker, WorkerPool
from typing_extensions import assert_type


class Session: ...


def get_session() -> Session:
    return Session()


async def mail(to: str, subject: str, urgent: bool = False) -> int:
    return len(to)


def report(year: int) -> str:
    return str(year)


async def injected(value: int, session: Session = Depends(get_session), tasks: QueuedTasks = Inject(QueuedTasks)) -> bytes:
    return b""


async def annotated(value: int, session: Annotated[Session, Depends(get_session)] = INJECTED) -> bytes:
    return b""


@task
async def declared(n: int) -> float:
    return n / 2


@task(queue="mail", max_retries=5)
def declared_sync(n: int) -> str:
    return str(n)


def add(a: int, b: int) -> int:
    return a + b


def total(values: list[int]) -> int:
    return sum(values)


def wide(a: int | None, b: float, *, exact: bool = False) -> str:
    return ""


async def own_keywords_and_options(tasks: QueuedTasks) -> None:
    one = tasks.add_task(add, 1, 2)
    assert_type(tasks.add_task(add, 1, b=2, queue="x"), QueuedTaskRef[int])
    assert_type(tasks.add_task(add, a=1, b=2, priority=5, tags=["a"]), QueuedTaskRef[int])
    assert_type(tasks.add_task(mail, "ada", subject="hello", parent=one, delay=dt.timedelta(hours=1)), QueuedTaskRef[int])
    assert_type(tasks.add_task(mail, "ada", "hello", urgent=True, unique="ada"), QueuedTaskRef[int])
    assert_type(tasks.add_task(wide, None, b=2, timeout=None), QueuedTaskRef[str])
    assert_type(tasks.add_task(report, year=2026, retry=RetryPolicy(), context={"a": 1}), QueuedTaskRef[str])
    assert_type(tasks.using(queue="x").add_task(add, 1, b=2), QueuedTaskRef[int])


async def references_as_arguments(tasks: QueuedTasks) -> None:
    one, text = tasks.add_task(add, 1, 2), tasks.add_task(report, 2026)
    assert_type(tasks.add_task(report, one), QueuedTaskRef[str])
    assert_type(tasks.add_task(add, one, 2), QueuedTaskRef[int])
    assert_type(tasks.add_task(add, one, one, queue="x"), QueuedTaskRef[int])
    assert_type(tasks.add_task(mail, text, "hello", True), QueuedTaskRef[int])
    assert_type(tasks.add_task(wide, one, one), QueuedTaskRef[str])
    assert_type(tasks.add_task(add, one, b=one, queue="x"), QueuedTaskRef[int])
    assert_type(tasks.add_task(total, [one, one]), QueuedTaskRef[int])
    assert_type(tasks.using(priority=1).add_task(add, 1, one), QueuedTaskRef[int])


def without_a_loop(tasks: QueuedTasks) -> None:
    ref = tasks.add_task(report, 2026)
    assert_type(ref.get_task_id().result(5), str)
    assert_type(ref.get_state().result(dt.timedelta(seconds=5)), QueuedTaskState)
    assert_type(ref.get_progress().result(), Progress | None)
    assert_type(ref.outcome().result().result, str | None)
    assert_type(ref.wait().result(), str)
    assert_type(tasks.list().result(), list[TaskRecord])
    tasks.flush().result()


async def check(tasks: QueuedTasks) -> None:
    first = tasks.add_task(mail, "ada", "hello")
    assert_type(first, QueuedTaskRef[int])
    assert_type(tasks.add_task(mail, "ada", subject="hello", urgent=True), QueuedTaskRef[int])
    assert_type(tasks.add_task(report, 2026), QueuedTaskRef[str])
    assert_type(tasks.add_task(report, 2026, parent=first, delay=5, queue="reports"), QueuedTaskRef[str])
    assert_type(tasks.add_task(mail, "ada", "hello", True, run_at=dt.datetime.now(dt.timezone.utc)), QueuedTaskRef[int])
    assert_type(tasks.add_task(injected, 5), QueuedTaskRef[bytes])
    assert_type(tasks.add_task(annotated, 5), QueuedTaskRef[bytes])
    assert_type(tasks.add_task(declared, 5), QueuedTaskRef[float])
    assert_type(
        tasks.using(parent=first, retry=RetryPolicy(max_retries=2)).add_task(mail, "a", subject="b"), QueuedTaskRef[int]
    )
    assert_type(declared.enqueue(5), QueuedTaskRef[float])
    assert_type(declared_sync.using(priority=3).enqueue(n=5), QueuedTaskRef[str])
    assert_type(await first.wait(), int)
    assert_type(await first, int)
    assert_type(await first.get_task_id(), str)
    assert_type((await first.outcome()).result, int | None)
    progress = await first.get_progress()
    if progress is not None:
        assert_type(progress.completed, int | float | None)
        assert_type(progress.eta_seconds, float | None)
    async for event in first.watch():
        assert_type(event.progress, Progress | None)
    first.cancel()


class Import(Task, queue="files", max_retries=5):
    def __init__(self, path: str) -> None:
        self.path = path
        self.progress = ProgressTracker(total=10)

    async def execute(self) -> int:
        self.progress.advance(1)
        return 1


class OwnWorker(Worker):
    def __init__(self, queue: TaskQueue) -> None:
        self.queue = queue
        self.running = True
        self.current_task: Task | None = None


async def objects(queue: TaskQueue) -> None:
    task = Import("a")
    assert_type(await queue.enqueue(task, priority=3, delay=dt.timedelta(hours=1), parents=["id", task]), str)
    assert_type(await queue.enqueue(BackgroundTask(mail, "ada", subject="hello")), str)
    assert_type(await queue.get_task("id"), Task | None)
    assert_type(await queue.dequeue(timeout=5), Task | None)
    assert_type(await queue.dequeue(count=5, queues=["files"]), list[Task])
    assert_type(task.status, TaskStatus | None)
    assert_type(task.error, TaskError | None)
    assert_type(task.attempt, int)
    assert_type(task.start_time, float | None)
    assert_type(task.progress.percentage, float)
    assert_type(task.progress.eta_seconds, float | None)
    assert_type(await queue.complete_task(task, 5), bool)
    assert_type(await queue.fail_task("id", ValueError("x"), retry=False), bool)
    pool = WorkerPool(queue, 4, OwnWorker)
    assert_type(await pool.stop(timeout=5), int)


async def records(tasks: QueuedTasks) -> None:
    ref = tasks.add_task(report, 2024)
    record = await ref.record()
    assert_type(record, TaskRecord)
    assert_type(record.state, str)
    assert_type(record["state"], str)
    assert_type(record.attempt + record["attempt"], int)
    assert_type(record["tags"], list[str])
    assert_type(record.finished_at, str | None)
    assert_type(record["finished_at"], str | None)
    assert_type(record.alone, bool)
    assert_type(record["alone"], bool)
    assert_type(record.error, Failure | None)
    assert_type(record["error"], Failure | None)
    if record.error is not None:
        assert_type(record.error.message, str)
        assert_type(record.error["traceback"], str | None)
    plain: dict[str, Any] = record
    plain["label"] = dict(record)
    assert_type(await tasks.list(limit=5), list[TaskRecord])
    assert_type(await tasks.dead.list(), list[TaskRecord])
    assert_type(await ref.get_logs(), list[LogLine])
    assert_type(await ref.get_attempts(), list[Attempt])
    assert_type(ref.get_attempts().result()[0].outcome, str)
    dead = await tasks.dead.show("id")
    assert_type(dead, DeadLetter)
    assert_type(dead.task.queue, str)
    assert_type(dead["attempts"], list[Attempt])
