"""Lengths of time are seconds or a timedelta everywhere, with a clear error for anything else."""

from __future__ import annotations

import datetime as dt
import decimal
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from taskyard import (
    InvalidArgument,
    QueuedTasks,
    Retry,
    RetryPolicy,
    Snooze,
    Unique,
    _port,
    events,
    get_current_task,
    get_service,
)
from taskyard._worker import Embedded
from taskyard.dependencies import Inject  # noqa: F401
from taskyard.errors import SettingError
from taskyard.queued_task import QueuedTaskConfig
from taskyard.scheduler import Scheduler
from taskyard.tasks import TaskQueue
from taskyard.testing import ManualTasks
from taskyard.workers import Worker, WorkerPool

NO_TIMES: list[Any] = [True, float("nan"), float("inf"), -1, -0.5, "5", "PT5M", [5], decimal.Decimal(5), 10**400]
NO_TIMES += [dt.timedelta(seconds=-1)]


@pytest.fixture
async def tasks(tmp_path: Any) -> AsyncIterator[QueuedTasks]:
    async with QueuedTasks(database=str(tmp_path / "queue.db")) as tasks, Embedded(tasks):
        yield tasks


async def nothing() -> None:
    pass


async def snoozes(value: Any) -> int:
    if get_current_task().attempt == 1:
        raise Snooze(value)
    return get_current_task().attempt


async def retries(value: Any) -> int:
    if get_current_task().attempt == 1:
        raise Retry(after=value)
    return get_current_task().attempt


async def changes_its_mind(value: Any) -> None:
    asked = Snooze(5)
    asked.seconds = value
    raise asked


async def answers(value: Any) -> Any:
    return Snooze(value)


@pytest.mark.parametrize("function", [snoozes, retries, answers])
async def test_a_pause_as_timedelta_is_that_long(tasks: QueuedTasks, function: Any) -> None:
    ref = tasks.add_task(function, dt.timedelta(minutes=5))
    await ref.get_task_id()
    while (record := await ref.record())["state"] != "waiting":
        assert record["state"] in ("enqueued", "doing")
    at = dt.datetime.fromisoformat(record["run_at"].rstrip("Z")[:26])
    started = dt.datetime.fromisoformat(record["started_at"].rstrip("Z")[:26])
    assert dt.timedelta(minutes=5) <= at - started < dt.timedelta(minutes=6)
    await ref.cancel()


@pytest.mark.parametrize("function", [snoozes, retries, answers, changes_its_mind])
async def test_a_pause_that_is_none_fails_the_attempt(tasks: QueuedTasks, function: Any) -> None:
    for value in ("five minutes", -1, float("nan"), True, dt.timedelta(days=40_000)):
        outcome = await tasks.using(max_retries=0).add_task(function, value).outcome(20)
        assert outcome.state == "failed"
        assert "InvalidArgument" in str(outcome.error)
        record = await tasks.get(outcome.id).record()
        assert record["attempt"] == 1


def test_pauses_say_what_they_are() -> None:
    assert Snooze(dt.timedelta(minutes=5)).seconds == 300
    assert Retry(after=dt.timedelta(milliseconds=500)).after == 0.5
    assert Retry().after is None and Snooze(0).seconds == 0
    for value in [*NO_TIMES, None]:
        with pytest.raises(InvalidArgument):
            Snooze(value)
    for value in NO_TIMES:
        with pytest.raises(InvalidArgument):
            Retry(after=value)


#: Calls of everything that takes a length of time.
TAKERS: dict[str, Callable[[QueuedTasks, Any], Any]] = {
    "delay": lambda tasks, time: tasks.add_task(nothing, delay=time).get_task_id(),
    "expires": lambda tasks, time: tasks.add_task(nothing, expires=time).get_task_id(),
    "timeout": lambda tasks, time: tasks.add_task(nothing, timeout=time).get_task_id(),
    "unique": lambda tasks, time: tasks.add_task(nothing, unique=Unique("k", _time(time))).get_task_id(),
    "backoff": lambda tasks, time: RetryPolicy(backoff=time).to_json(),
    "cap": lambda tasks, time: RetryPolicy(cap=time).to_json(),
    "wait": lambda tasks, time: tasks.add_task(nothing).wait(time),
    "outcome": lambda tasks, time: tasks.add_task(nothing).outcome(time),
    "flush": lambda tasks, time: tasks.flush(time),
    "ageing": lambda tasks, time: tasks.queues.ageing("q", time),
    "drain": lambda tasks, time: _drain(tasks, time),
    "every": lambda tasks, time: tasks.schedules.add("every", call=nothing, every=time),
    "after": lambda tasks, time: tasks.schedules.add("after", call=nothing, after=time),
    "jitter": lambda tasks, time: tasks.schedules.add("jitter", "@every 1h", nothing, jitter=time),
    "catch_up_window": lambda tasks, time: tasks.schedules.add("window", "@every 1h", nothing, catch_up_window=time),
    "dequeue": lambda tasks, time: TaskQueue(tasks=tasks, name="empty").dequeue(time),
    "worker.stop": lambda tasks, time: Worker(TaskQueue(tasks=tasks)).stop(time),
    "pool.stop": lambda tasks, time: WorkerPool(TaskQueue(tasks=tasks), 1).stop(time),
    "scheduler.stop": lambda tasks, time: Scheduler(tasks=tasks).stop(time),
    "task_timeout": lambda tasks, time: setattr(get_service(QueuedTaskConfig), "task_timeout", time),
    "polling_interval": lambda tasks, time: setattr(get_service(QueuedTaskConfig), "polling_interval", time),
    "sse": lambda tasks, time: _first(events.sse(tasks, NO_TASK, ping=time)),
    "sse_many": lambda tasks, time: _first(events.sse_many(tasks, [NO_TASK], ping=time)),
}
NO_TASK = "00000000-0000-7000-8000-000000000000"


async def _first(stream: Any) -> None:
    async for _ in stream:
        pass


def _time(time: Any) -> Any:
    # A text has a meaning of its own there.
    return [time] if isinstance(time, str) else time


async def _drain(tasks: QueuedTasks, time: Any) -> None:
    await tasks.queues.pause("q")
    await tasks.queues.drain("q", time)


async def _take(taker: Callable[[QueuedTasks, Any], Any], tasks: QueuedTasks, time: Any) -> None:
    found = taker(tasks, time)
    if inspect.isawaitable(found) or hasattr(found, "__await__"):
        await found


@pytest.mark.parametrize("name", sorted(TAKERS))
async def test_seconds_and_timedeltas_are_taken_and_nothing_else(tasks: QueuedTasks, name: str) -> None:
    taker = TAKERS[name]
    for good in (2, 1.5, dt.timedelta(seconds=1, milliseconds=500)):
        await _take(taker, tasks, good)
    for wrong in NO_TIMES:
        with pytest.raises(InvalidArgument):
            await _take(taker, tasks, wrong)


def test_waiting_in_a_thread(tmp_path: Any) -> None:
    with QueuedTasks(database=str(tmp_path / "queue.db")) as tasks:
        ref = tasks.add_task(nothing)
        cancelled = ref.cancel()
        for waits in (ref.result, cancelled.result, tasks.queues.list().result, tasks.flush, tasks.close):
            for wrong in NO_TIMES:
                with pytest.raises(InvalidArgument):
                    waits(wrong)
        assert cancelled.result(dt.timedelta(seconds=10)) == "cancelled"
        tasks.flush(dt.timedelta(seconds=10))


async def test_tools_for_tests(tmp_path: Any) -> None:
    manual = ManualTasks(database=str(tmp_path / "queue.db"))
    manual.add_task(nothing)
    for wrong in NO_TIMES:
        with pytest.raises(InvalidArgument):
            manual.drain(wrong)
    assert await manual.drain(dt.timedelta(seconds=20)) == 1


#: Every setting that is a length of time, with the settings that a second and a half needs beside it.
SETTINGS: dict[str, dict[str, Any]] = {
    "cancel_grace": {},
    "fallback_polling_interval": {},
    "heartbeat_interval": {},
    "lease": {"heartbeat_interval": 0.5},
    "polling_interval": {},
    "rescue_interval": {},
    "retention_done": {},
    "retention_failed": {},
    "shutdown_grace": {},
    "task_timeout": {},
    "timeout_grace": {},
    "unhealthy_age": {},
    "worker_idle_timeout": {},
}


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_a_setting_is_seconds_or_a_timedelta(tmp_path: Any, name: str) -> None:
    found = []
    for good in (1.5, dt.timedelta(seconds=1, milliseconds=500)):
        tasks = QueuedTasks(database=str(tmp_path / "queue.db"), **SETTINGS[name], **{name: good})
        found.append(tasks._via.defaults.get(name, 1.5))
    assert found == [1.5, 1.5]
    for wrong in (dt.timedelta(seconds=-1), dt.timedelta(days=40_000), True, float("nan")):
        with pytest.raises(SettingError):
            QueuedTasks(database=str(tmp_path / "queue.db"), **{name: wrong})


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (dt.timedelta(seconds=20), "20.000000"),
        (dt.timedelta(microseconds=1), "0.000001"),
        (dt.timedelta(days=36_500, microseconds=999_999), "3153600000.999999"),
        (1e-12, "0.000001000"),
        (0.00001, "0.000010000"),
        (0.0, "0.0"),
    ],
)
def test_a_setting_is_told_as_decimal_seconds(time: Any, text: str) -> None:
    assert _port._text(time) == text


TINY = [1e-12, 1e-7, 4.9e-324]


@pytest.mark.parametrize("time", TINY)
async def test_a_positive_time_is_never_none(tmp_path: Any, time: float) -> None:
    assert 0 < Snooze(time).seconds and 0 < (Retry(after=time).after or 0)
    assert '"backoff_ms": 1,' in RetryPolicy(backoff=time).to_json() and '"cap_ms": 1,' in RetryPolicy(cap=time).to_json()
    config = QueuedTaskConfig({"task_timeout": 300.0})
    config.task_timeout = time
    assert 0 < config.task_timeout <= 1e-6
    async with QueuedTasks(database=str(tmp_path / "queue.db")) as tasks:
        record = await tasks.add_task(nothing, timeout=time, delay=time, expires=60).record()
        assert record["timeout_ms"] == 1, record
    async with QueuedTasks(database=str(tmp_path / "other.db"), task_timeout=time) as tasks:
        record = await tasks.add_task(nothing).record()
        assert record["timeout_ms"] == 1, record
