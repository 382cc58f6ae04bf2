"""Schedules from Python: added, changed, run and removed while a worker runs, and refused values."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from support.project import Project
from support.waiting import eventually, eventually_async
from taskyard import CronError, DuplicateSchedule, InvalidArgument, NotSerializable, QueuedTasks, UnknownSchedule
from taskyard._worker import Embedded
from taskyard.queued_task import get_context
from taskyard.schedules import check, next_times

UTC = dt.timezone.utc


async def report(day: str = "today") -> str:
    """Returns the time for which it runs."""
    return f"{day} at {get_context('schedule.fire_at')} by {get_context('schedule.name')}"


async def breaks() -> None:
    raise ValueError("broken")


@pytest.fixture
async def tasks(database: str) -> AsyncIterator[QueuedTasks]:
    async with QueuedTasks(database=database) as tasks:
        yield tasks


async def test_a_schedule_runs_its_task_with_its_time(tasks: QueuedTasks) -> None:
    async with Embedded(tasks, 1, 10):
        added = await tasks.schedules.add("often", every=1, call=tasks.call(report, "today", queue="reports"))
        assert (added.put, added.name, added.warnings) == ("added", "often", ())
        assert added.next_at is not None and added.next_at.tzinfo is not None

        async def has_ended() -> bool:
            return (await tasks.schedules.get("often")).last_state == "done"

        await eventually_async(has_ended)
        found = await tasks.schedules.get("often", upcoming=3, runs=100)
        first = found.history[-1]
        assert (first.fire_at, first.outcome, first.manual) == (added.next_at, "enqueued", False)
        assert first.task_id is not None
        time = first.fire_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
        result = await tasks.get(first.task_id)
        assert result.startswith(f"today at {time}") and result.endswith("by often")
        assert (found.queue, found.rule, found.state, found.runs) == ("reports", "@every 1s", "active", len(found.history))
        assert [later - earlier for earlier, later in zip(found.upcoming, found.upcoming[1:], strict=False)] == [
            dt.timedelta(seconds=1)
        ] * 2
        assert await tasks.schedules.remove("often") and not await tasks.schedules.remove("often")


async def test_it_is_changed_paused_and_run_by_hand(tasks: QueuedTasks) -> None:
    async with Embedded(tasks, 1, 10):
        schedules = tasks.schedules
        first = await schedules.add("nightly", "0 3 * * *", report, zone="Europe/Berlin", overlap="queue_one")
        assert first.next_at is not None and first.next_at.astimezone(ZoneInfo("Europe/Berlin")).hour == 3
        assert (
            await schedules.add("nightly", "0 3 * * *", report, zone="Europe/Berlin", overlap="queue_one")
        ).put == "kept"
        assert (await schedules.add("nightly", "@daily", report, on_conflict="keep")).put == "kept"
        with pytest.raises(DuplicateSchedule, match="nightly"):
            await schedules.add("nightly", "@daily", report, on_conflict="refuse")
        assert (await schedules.add("nightly", "@yearly", report)).put == "replaced"
        assert await schedules.pause("nightly")
        assert [(one.name, one.state, one.next_at) for one in await schedules.list()] == [("nightly", "paused", None)]
        result = await tasks.get(await schedules.run("nightly"))
        assert result.endswith("by nightly")
        assert await schedules.resume("nightly")
        shown = await schedules.get("nightly")
        assert shown.state == "active" and shown.history[0].manual
        assert not await schedules.pause("nothing") and not await schedules.resume("nothing")
        for answer in (schedules.run("nothing"), schedules.get("nothing")):
            with pytest.raises(UnknownSchedule, match="nothing"):
                await answer


async def test_one_that_fails_goes_on(tasks: QueuedTasks) -> None:
    async with Embedded(tasks, 1, 10):
        await tasks.schedules.add("breaks", every=1, call=tasks.call(breaks, max_retries=0), pause_after_failures=2)

        async def is_paused() -> bool:
            return (await tasks.schedules.get("breaks")).state == "paused"

        await eventually_async(is_paused)
        found = await tasks.schedules.get("breaks")
        assert found.failures == 2 and found.last_state == "failed"
        assert found.history[0].error == "ValueError: broken"


async def test_what_is_refused_is_refused_at_the_call(tasks: QueuedTasks) -> None:
    def nested() -> None: ...

    add = tasks.schedules.add
    cases: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (CronError, "61", {"rule": "61 * * * *", "call": report}),
        (CronError, "field", {"rule": ",", "call": report}),
        (CronError, "February", {"rule": "0 0 30 2 *", "call": report}),
        (CronError, "shortest", {"every": 0.5, "call": report}),
        (InvalidArgument, "every", {"every": -1, "call": report}),
        (CronError, "hundred years", {"after": dt.timedelta(days=40_000), "call": report}),
        (InvalidArgument, "no time zone", {"at": dt.datetime(2030, 1, 1), "call": report}),
        (InvalidArgument, "Mars/Base", {"rule": "@daily", "call": report, "zone": "Mars/Base"}),
        (InvalidArgument, "overlap", {"rule": "@daily", "call": report, "overlap": "never"}),
        (InvalidArgument, "runs_max", {"rule": "@daily", "call": report, "runs_max": 0}),
        (TypeError, "exactly one", {"rule": "@daily", "every": 5, "call": report}),
        (TypeError, "exactly one", {"call": report}),
        (TypeError, "something to run", {"rule": "@daily"}),
        (NotSerializable, "object", {"rule": "@daily", "call": tasks.call(report, object())}),
        (InvalidArgument, "nested", {"rule": "@daily", "call": nested}),
        (InvalidArgument, "delay", {"rule": "@daily", "call": tasks.call(report, delay=5)}),
        (InvalidArgument, "priority", {"rule": "@daily", "call": tasks.call(report, priority=2**40)}),
    ]
    for error, words, arguments in cases:
        with pytest.raises(error, match=words):
            await add("a", **arguments)
    with pytest.raises(InvalidArgument):
        await add("", "@daily", report)
    assert await tasks.schedules.list() == []
    assert issubclass(CronError, ValueError)


def test_without_a_loop(database: str) -> None:
    with QueuedTasks(database=database) as tasks:
        tasks.schedules.add("once", after=dt.timedelta(hours=1), call=report).result(20)
        found = tasks.schedules.get("once").result(20)
        assert found.rule == "@after 1h" and found.upcoming == (found.next_at,)
        assert found.created_at + dt.timedelta(hours=1) == found.next_at


def test_a_rule_is_tried_out_without_a_database() -> None:
    after = dt.datetime(2026, 3, 7, 20, tzinfo=UTC)
    times = next_times("0 2,14 * * *", 3, zone="America/New_York", after=after)
    assert [time.isoformat() for time in times] == [
        "2026-03-08T07:00:00+00:00",
        "2026-03-08T18:00:00+00:00",
        "2026-03-09T06:00:00+00:00",
    ]
    assert check("0 3 * * *", "Europe/Berlin") == ()
    assert "7" in check("*/7 * * * *")[0]
    with pytest.raises(CronError, match="character 1"):
        check("61 * * * *")


def test_tasks_and_the_command_manage_them_too(project: Project) -> None:
    project.write(
        "app.py",
        """
        from taskyard import QueuedTasks

        async def tick():
            return "tick"

        async def plans():
            tasks = QueuedTasks()
            await tasks.schedules.add("from a task", every=1, call=tick)
            return (await tasks.schedules.get("from a task")).state
        """,
    )
    project.server("--workers", "1", app="app")
    [id] = project.add("plans")
    assert project.ended(id)["result"] == "active"

    def shown() -> Any:
        return project.json("schedule", "show", "from a task")

    eventually(lambda: shown()["last_state"] == "done", 60, "a run that is done")
    project.run("schedule", "pause", "from a task")
    assert shown()["state"] == "paused"
    asked = project.run("schedule", "run", "from a task").strip()
    assert project.ended(asked)["result"] == "tick"
    project.run("schedule", "remove", "from a task", "--yes")
    # A schedule of a Python function, added by the command.
    project.run("schedule", "add", "by hand", "@after 0.1s", "app:tick")
    eventually(lambda: project.json("schedule", "show", "by hand")["last_state"] == "done", 60, "the one-off")
