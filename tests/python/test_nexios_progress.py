"""``ProgressTracker``: its counts, its estimates, and the values that it stores from inside a task."""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import math
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from support.waiting import eventually_async
from taskyard import QueuedTasks, Retry, RetryPolicy
from taskyard._rate import stalled
from taskyard._worker import Embedded
from taskyard.errors import InvalidArgument, OverLimit
from taskyard.fastapi import router, task_router
from taskyard.progress import Progress, ProgressTracker, StoredProgress
from taskyard.queued_task import set_context


class Clock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_tracker_counts_without_a_task() -> None:
    progress = ProgressTracker()
    assert (progress.current, progress.total, progress.percentage, progress.message) == (0, None, 0.0, None)
    assert progress.indeterminate and progress.rate is None and progress.eta_seconds is None and progress.updated_at is None
    progress.set_total(10)
    progress.advance()
    progress.advance(2)
    progress.set_message("three")
    assert (progress.current, progress.total, progress.percentage, progress.message) == (3, 10, 30.0, "three")
    assert not progress.indeterminate and progress.elapsed >= 0
    found = json.loads(json.dumps(progress.to_dict()))
    assert (
        found["completed"] == found["current"] == 3
        and found["total"] == 10
        and found["percentage"] == 30.0
        and found["message"] == "three"
    )
    assert set(found) == {
        "completed", "current", "total", "percentage", "message", "indeterminate", "rate", "elapsed", "eta_seconds",
        "updated_at", "attempt",
    }  # fmt: skip
    assert "3/10" in repr(progress)


def test_the_percentage_is_clamped_and_the_count_is_kept() -> None:
    progress = ProgressTracker(total=4)
    progress.update(7)
    assert (progress.current, progress.percentage) == (7, 100.0)
    progress.update(1)
    assert (progress.current, progress.percentage) == (1, 25.0)
    progress.set_total(0)
    assert progress.percentage == 100.0
    progress.set_total(None)
    assert progress.percentage == 0.0 and progress.indeterminate
    progress.set_total(0.5)
    progress.update(0.25)
    assert progress.percentage == 50.0
    huge = ProgressTracker(total=10**400)
    huge.update(10**399)
    assert math.isclose(huge.percentage, 10.0)
    huge.update(2.5)
    assert 0.0 <= huge.percentage <= 100.0
    huge.set_total(1e308)
    huge.update(10**400)
    assert huge.percentage == 100.0


@pytest.mark.parametrize("value", [-1, -0.5, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("method", ["advance", "update", "set_total"])
def test_what_is_not_an_amount_is_a_value_error_and_changes_nothing(method: str, value: float) -> None:
    progress = ProgressTracker(total=5)
    progress.update(2)
    with pytest.raises(ValueError, match=method):
        getattr(progress, method)(value)
    assert (progress.current, progress.total) == (2, 5)


@pytest.mark.parametrize("value", [True, "3", None, 1j, object()])
@pytest.mark.parametrize("method", ["advance", "update", "set_total"])
def test_what_is_not_a_number_is_a_type_error(method: str, value: Any) -> None:
    if method == "set_total" and value is None:
        return
    with pytest.raises(TypeError, match=method):
        getattr(ProgressTracker(), method)(value)


def test_a_sum_that_no_float_holds_is_refused() -> None:
    progress = ProgressTracker()
    progress.update(1.7e308)
    with pytest.raises(ValueError, match="larger units"):
        progress.advance(1.7e308)
    assert progress.current == 1.7e308


def test_messages_are_texts_of_bounded_length() -> None:
    progress = ProgressTracker()
    with pytest.raises(TypeError):
        progress.set_message(3)  # type: ignore[arg-type]
    with pytest.raises(OverLimit):
        progress.set_message("x" * 10_001)
    with pytest.raises(InvalidArgument):
        progress.set_message("\ud800")
    progress.set_message("grüße")
    assert progress.message == "grüße"
    progress.set_message(None)
    assert progress.message is None


# ------------------------------------------------------------------------------------------------------------ estimates


def test_a_constant_rate_is_met_after_ten_samples() -> None:
    for step, units in ((1.0, 1), (0.1, 5), (7.0, 3), (120.0, 1)):
        clock = Clock()
        progress = ProgressTracker(total=1_000, clock=clock)
        for _ in range(10):
            clock.now += step
            progress.advance(units)
        rate = units / step
        assert progress.rate is not None and math.isclose(progress.rate, rate, rel_tol=0.05)
        assert progress.eta_seconds is not None
        assert math.isclose(progress.eta_seconds, (1_000 - 10 * units) / rate, rel_tol=0.05)


def test_there_is_no_estimate_before_two_samples_and_a_second() -> None:
    clock = Clock()
    progress = ProgressTracker(total=10, clock=clock)
    clock.now += 5
    progress.advance()
    assert progress.eta_seconds is None
    clock = Clock()
    progress = ProgressTracker(total=10, clock=clock)
    for _ in range(3):
        clock.now += 0.2
        progress.advance()
    assert progress.eta_seconds is None
    clock.now += 1
    progress.advance()
    assert progress.eta_seconds is not None
    progress.set_total(None)
    assert progress.eta_seconds is None


def test_a_stall_raises_the_estimate() -> None:
    clock = Clock()
    progress = ProgressTracker(total=100, clock=clock)
    for _ in range(20):
        clock.now += 1
        progress.advance()
    seen = [progress.eta_seconds]
    for _ in range(30):
        clock.now += 10
        seen.append(progress.eta_seconds)
    values = [value for value in seen if value is not None]
    assert len(values) == len(seen) and values == sorted(values) and values[-1] > 10 * values[0]
    # And the estimate recovers with the speed.
    for _ in range(60):
        clock.now += 1
        progress.advance()
    assert progress.eta_seconds is not None and progress.eta_seconds < 60


def test_a_change_of_speed_is_followed() -> None:
    clock = Clock()
    progress = ProgressTracker(total=10_000, clock=clock)
    for _ in range(120):
        clock.now += 1
        progress.advance(1)
    for _ in range(120):
        clock.now += 1
        progress.advance(10)
    assert progress.rate is not None and 9.5 <= progress.rate <= 10.0


def test_figures_are_never_negative_infinite_or_undefined() -> None:
    amounts = [0, 1, 5e-324, 1e-9, 3, 10**30, 10**400, 1.7e308]
    for step, first, second, total in itertools.product([0.0, 1e-9, 0.05, 3.0, 1e9], amounts, amounts, [None, *amounts]):
        clock = Clock()
        progress = ProgressTracker(total=total, clock=clock)
        for value in (first, second, 0, second, first):
            clock.now += step
            progress.update(value)
        clock.now += step
        for figure in (progress.rate, progress.eta_seconds, progress.elapsed, progress.percentage):
            assert figure is None or (math.isfinite(figure) and figure >= 0), (step, first, second, total, figure)


def test_a_clock_that_goes_back_does_no_harm() -> None:
    clock = Clock()
    progress = ProgressTracker(total=10, clock=clock)
    for move in (5, -3, 1, 1, -100, 1, 1):
        clock.now += move
        progress.advance()
        assert progress.elapsed >= 0 and (progress.rate or 0) >= 0 and (progress.eta_seconds or 0) >= 0


def test_trap_06_totals_that_shift() -> None:
    clock = Clock()
    progress = ProgressTracker(clock=clock)
    total = done = 0
    for _ in range(50):
        clock.now += 0.2
        total += 8192
        progress.set_total(total)
        done += 8192
        progress.update(done)
        # The total is set to the number of rows that were read.
        assert progress.percentage == 100.0
        assert progress.eta_seconds in (None, 0.0)
    right = ProgressTracker(total=total, clock=clock)
    right.update(total // 2)
    assert right.percentage == 50.0


def test_many_threads_lose_nothing() -> None:
    progress = ProgressTracker(total=80_000)
    gate = threading.Barrier(8)

    def count() -> None:
        gate.wait()
        for _ in range(10_000):
            progress.advance()

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert progress.current == 80_000 and progress.percentage == 100.0


def test_a_copy_begins_anew() -> None:
    progress = ProgressTracker(total=3)
    progress.advance(2)
    again = copy.deepcopy(progress)
    assert (again.current, again.total) == (0, 3)


def test_what_was_stored_is_read_only_and_ages_while_the_task_runs() -> None:
    clock = Clock()
    progress = ProgressTracker(total=100, clock=clock)
    for _ in range(20):
        clock.now += 1
        progress.advance()
    told = progress.to_dict()
    told["completed"] = told.pop("current")
    ended = StoredProgress(told)
    assert (ended.current, ended.total, ended.percentage) == (20, 100, 20.0)
    assert ended.rate == told["rate"] and ended.eta_seconds == told["eta_seconds"] and ended.elapsed == told["elapsed"]
    told["updated_at"] = "2020-01-01T00:00:00+00:00"
    live = StoredProgress(told, is_live=True)
    assert live.rate is not None and live.rate < told["rate"] / 2
    assert live.eta_seconds is None or live.eta_seconds > told["eta_seconds"]
    assert 0 < stalled(1.0, 20.0, 5.0) < 1.0
    with pytest.raises(InvalidArgument):
        live.advance(1)
    # For any stored value.
    for strange in (None, 3, [], {"completed": "x", "total": True, "rate": -1, "elapsed": None, "updated_at": 5}):
        assert StoredProgress(strange).to_dict()["current"] == 0


# --------------------------------------------------------------------------------------------------------- inside a task


@pytest.fixture
async def tasks(database: str) -> AsyncIterator[QueuedTasks]:
    """A queue with a worker in this process."""
    async with QueuedTasks(database=database) as tasks, Embedded(tasks):
        yield tasks


gates: dict[str, asyncio.Event] = {}


async def counted() -> str:
    set_context("progress.stage", "own")
    progress = ProgressTracker.of_task()
    assert ProgressTracker.of_task() is progress
    progress.set_total(4)
    progress.advance()
    progress.set_message("one")
    await gates["go"].wait()
    for _ in range(100):
        progress.advance(0)
    progress.advance(2)
    progress.set_message("three")
    return "done"


async def test_a_function_shows_its_progress_while_it_runs(tasks: QueuedTasks) -> None:
    gates["go"] = asyncio.Event()
    ref = tasks.add_task(counted)

    async def is_shown() -> bool:
        found = await ref.get_progress()
        return found is not None and (found.completed, found.total, found.percentage, found.message) == (1, 4, 25.0, "one")

    await eventually_async(is_shown)
    gates["go"].set()
    await ref.wait(20)
    # The last value is stored, and so are the keys that the task itself has set.
    found = (await ref.get_context())["progress"]
    assert found["completed"] == 3 and found["message"] == "three" and found["percentage"] == 75.0
    assert found["attempt"] == 1 and found["stage"] == "own" and found["indeterminate"] is False
    assert {"rate", "elapsed", "eta_seconds", "updated_at"} <= set(found)


async def saying(entry: Any) -> None:
    set_context("progress", entry)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (50, Progress(percentage=50.0)),
        ({"completed": 1, "total": 4}, Progress(completed=1, total=4, percentage=25.0)),
        ({"completed": 1.5, "message": "packing"}, Progress(completed=1.5, message="packing", indeterminate=True)),
        ({"total": "four", "message": 4, "attempt": "1", "updated_at": "now"}, Progress(indeterminate=True)),
        ("half", None),
    ],
)
async def test_every_reader_gets_the_same_record(tasks: QueuedTasks, entry: Any, expected: Progress | None) -> None:
    ref = tasks.add_task(saying, entry)
    await ref.wait(20)
    assert await ref.get_progress() == expected
    assert [event.progress for event in [event async for event in ref.watch()]] == [expected, expected]


async def test_what_a_tracker_says_is_the_same_everywhere(tasks: QueuedTasks) -> None:
    gates["go"] = asyncio.Event()
    gates["go"].set()
    ref = tasks.add_task(counted)
    await ref.wait(20)
    found = await ref.get_progress()
    assert found is not None and (found.completed, found.total, found.percentage, found.message) == (3, 4, 75.0, "three")
    assert found.attempt == 1 and not found.indeterminate and found.elapsed is not None
    assert found.updated_at is not None and found.updated_at.utcoffset() is not None
    assert [event.progress async for event in ref.watch()] == [found, found]
    # The routes and a tracker's `to_dict` return it as JSON, with the same names.
    shown = json.loads(json.dumps(found.to_dict()))
    assert shown["completed"] == shown["current"] == 3 and set(shown) == set(ProgressTracker().to_dict())
    app = FastAPI()
    app.include_router(router(tasks, allow_anyone=True), prefix="/tasks")
    app.include_router(task_router(tasks, allow_anyone=True))

    @app.get("/own")
    async def own() -> dict[str, Any]:
        return {"progress": await ref.get_progress()}

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as client:
        for path in (f"/tasks/{ref.id}", f"/task/{ref.id}/progress"):
            assert (await client.get(path)).json()["progress"] == shown
        returned = (await client.get("/own")).json()["progress"]
        assert set(shown) - set(returned) == {"current"} and returned["completed"] == 3


def on_a_thread() -> int:
    progress = ProgressTracker.of_task()
    progress.set_total(10_000)
    for _ in range(10_000):
        progress.advance()
    return 1


async def test_a_sync_function_counts_on_its_thread(tasks: QueuedTasks) -> None:
    ref = tasks.add_task(on_a_thread)
    assert await ref.wait(20) == 1
    found = await ref.get_progress()
    assert found is not None and found.completed == 10_000 and found.percentage == 100.0


async def failing() -> None:
    ProgressTracker.of_task().update(5)
    raise ValueError("broken")


async def test_the_last_value_is_stored_before_a_failure(tasks: QueuedTasks) -> None:
    ref = tasks.add_task(failing, max_retries=0)
    await ref.outcome(20)
    found = await ref.get_progress()
    assert found is not None and found.completed == 5


async def second(resume: bool) -> float:
    progress = ProgressTracker.of_task(resume=resume)
    before = progress.current
    progress.set_total(10)
    progress.advance(3)
    if progress._attempt == 1:
        raise Retry(after=0)
    return before


@pytest.mark.parametrize("resume", [False, True])
async def test_each_attempt_begins_anew_unless_told_otherwise(tasks: QueuedTasks, resume: bool) -> None:
    ref = tasks.add_task(second, resume, retry=RetryPolicy(max_retries=1))
    assert await ref.wait(20) == (3 if resume else 0)
    found = (await ref.get_context())["progress"]
    assert found["completed"] == (6 if resume else 3) and found["attempt"] == 2


async def silent() -> None:
    progress = ProgressTracker.of_task()
    if progress._attempt == 1:
        progress.advance(9)
        raise Retry(after=0)


async def test_what_an_earlier_attempt_left_is_not_shown_as_this_ones(tasks: QueuedTasks) -> None:
    ref = tasks.add_task(silent, retry=RetryPolicy(max_retries=1))
    await ref.wait(20)
    found = (await ref.get_context())["progress"]
    assert (found["completed"], found["attempt"]) == (0, 2)


async def busy(seconds: float) -> int:
    progress, loop = ProgressTracker.of_task(), asyncio.get_running_loop()
    end, count = loop.time() + seconds, 0
    while loop.time() < end:
        for _ in range(200):
            count += 1
            progress.update(count)
        await asyncio.sleep(0)
    return count


async def test_a_million_updates_are_some_ten_writes_a_second(tasks: QueuedTasks, monkeypatch: pytest.MonkeyPatch) -> None:
    from taskyard import _running

    written: list[Any] = []
    before = ProgressTracker._to_store

    def counted(self: ProgressTracker) -> Any:
        told = before(self)
        if told is not None:
            written.append(told)
        return told

    monkeypatch.setattr(ProgressTracker, "_to_store", counted)
    ref = tasks.add_task(busy, 1.0)
    count = await ref.wait(20)
    found = await ref.get_progress()
    assert found is not None and found.completed == count and count > 1_000
    assert 2 <= len(written) <= 1.0 / _running.PROGRESS_EVERY + 5


def test_outside_of_a_task_it_counts_for_itself() -> None:
    progress = ProgressTracker.of_task()
    progress.advance(2)
    assert progress.current == 2 and ProgressTracker.of_task() is not progress


def test_whole_numbers_beyond_a_float_do_not_mix_with_floats() -> None:
    progress = ProgressTracker()
    progress.update(10**400)
    progress.advance(1)
    assert progress.current == 10**400 + 1
    with pytest.raises(ValueError, match="larger units"):
        progress.advance(0.5)
