"""Schedules: rules that enqueue a task at times. They are rows; what one process changes, every server follows at once.

    schedules = tasks.schedules
    await schedules.add("nightly", "0 3 * * *", report, zone="Europe/Berlin")
    await schedules.add("sweep", every=timedelta(minutes=5), call=tasks.call(sweep, "tmp", queue="low"))
    await schedules.pause("nightly")

Every method answers something that is awaited, or, in code without an event loop, asked with ``.result()``.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _core
from ._calls import Call, prepare
from ._loops import Answer
from ._options import EPOCH, count, instant, merge, seconds, text
from .errors import InvalidArgument

if TYPE_CHECKING:
    from .queued_tasks import QueuedTasks

#: What happens to a run that is due while an earlier one has not ended.
OVERLAP = ("skip", "allow", "queue_one", "queue_all", "cancel_running")
#: What happens to runs whose time passed while no server was there.
CATCH_UP = ("skip", "one", "all")


@dataclasses.dataclass(frozen=True)
class Run:
    """What became of one time of a schedule, or of several that were missed together.

    ``outcome`` is ``enqueued``, ``held`` (it waits for the one before it), ``skipped`` or ``missed``; ``state`` is how
    its task ended, None while the run goes on.
    """

    fire_at: dt.datetime
    outcome: str
    manual: bool
    task_id: str | None
    state: str | None
    error: str | None
    finished_at: dt.datetime | None
    #: How many times it stands for; 10,000 means so many or more.
    count: int
    #: The last of several.
    until: dt.datetime | None


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A schedule as it stands. Times are aware, in UTC."""

    name: str
    rule: str
    zone: str
    kind: str
    queue: str
    priority: int
    overlap: str
    catch_up: str
    #: ``active``, ``paused``, ``ended``, or ``broken``: then ``problem`` says why.
    state: str
    problem: str | None
    next_at: dt.datetime | None
    last_at: dt.datetime | None
    #: How the last run that ended did: a state of its task.
    last_state: str | None
    #: Tasks enqueued by it.
    runs: int
    #: Failed runs since the last one that was done.
    failures: int
    created_at: dt.datetime
    #: Its next times; only of ``get``.
    upcoming: tuple[dt.datetime, ...] = ()
    #: Its runs, newest first; only of ``get``.
    history: tuple[Run, ...] = ()


@dataclasses.dataclass(frozen=True)
class Added:
    """What adding a schedule did: ``put`` is ``added``, ``kept`` or ``replaced``."""

    name: str
    put: str
    next_at: dt.datetime | None
    #: What is probably not meant in its rule.
    warnings: tuple[str, ...]


def rule_text(
    rule: str | None = None,
    *,
    every: float | dt.timedelta | None = None,
    at: dt.datetime | None = None,
    after: float | dt.timedelta | None = None,
) -> str:
    """The text of a rule, from exactly one way of saying it.

    Raises ``TypeError`` for none or several, ``InvalidArgument`` for a naive time or a negative interval.
    """
    given = [name for name, value in (("rule", rule), ("every", every), ("at", at), ("after", after)) if value is not None]
    if len(given) != 1:
        raise TypeError(f"give exactly one of rule, every, at and after, not {', '.join(given) or 'none'}")
    if every is not None:
        return f"@every {seconds('every', every):.6f}s"
    if after is not None:
        return f"@after {seconds('after', after):.6f}s"
    if at is not None:
        return f"@at {(EPOCH + dt.timedelta(microseconds=instant('at', at))).isoformat()}"
    return text("rule", rule)


def check(rule: str, zone: str = "UTC", name: str = "schedule") -> tuple[str, ...]:
    """Reads a rule without storing anything; answers what is probably not meant in it.

    Raises ``CronError`` with the place of what is wrong, ``InvalidArgument`` for an unknown zone.
    """
    return tuple(_core.check_rule(text("rule", rule), text("zone", zone), text("name", name)))


def next_times(
    rule: str, count: int = 10, *, zone: str = "UTC", after: dt.datetime | None = None, name: str = "schedule"
) -> list[dt.datetime]:
    """The next ``count`` times of a rule after an instant (default: now). ``H`` is drawn from ``name``.

    Raises as :func:`check`.
    """
    start = None if after is None else instant("after", after)
    times = _core.next_times(text("rule", rule), text("zone", zone), text("name", name), start, count)
    return [EPOCH + dt.timedelta(microseconds=time) for time in times]


class Schedules:
    """The schedules of a queue: ``tasks.schedules``."""

    def __init__(self, tasks: QueuedTasks) -> None:
        self._tasks = tasks

    def add(
        self,
        name: str,
        rule: str | None = None,
        call: Call | Callable[..., Any] | str | None = None,
        *,
        every: float | dt.timedelta | None = None,
        at: dt.datetime | None = None,
        after: float | dt.timedelta | None = None,
        zone: str = "UTC",
        overlap: str = "skip",
        catch_up: str = "one",
        catch_up_window: float | dt.timedelta | None = None,
        jitter: float | dt.timedelta | None = None,
        starts_at: dt.datetime | None = None,
        ends_at: dt.datetime | None = None,
        runs_max: int | None = None,
        pause_after_failures: int | None = None,
        on_conflict: str = "replace",
    ) -> Answer[Added]:
        """Adds a schedule, or brings the one of this name to this definition; an equal one changes nothing.

        ``call`` is a function without arguments, or ``tasks.call(f, 1, queue="low")``. When is said by one of ``rule``
        (a cron expression, ``@daily``, ``@every 5m``, ``@at ...``, ``@after 2h``, ``@reboot``), ``every``, ``at`` (an aware
        datetime; once) and ``after`` (once, counted from when it was first added).

        ``zone`` is the time zone of a cron rule. ``overlap``: when an earlier run has not ended, ``skip`` (default),
        ``allow``, ``queue_one``, ``queue_all`` or ``cancel_running``. ``catch_up``: of times that were missed, ``one`` run
        for all of them (default), ``all`` or ``skip``; within ``catch_up_window`` (default a day). ``jitter``: each run
        starts up to so much later. ``pause_after_failures``: so many failed runs in a row. ``on_conflict``: ``replace``,
        ``keep`` or ``refuse``. Times are seconds or timedeltas.

        Raises ``CronError``, ``InvalidArgument`` and what ``add_task`` raises at the call, ``DuplicateSchedule`` with the
        answer.
        """
        given: dict[str, Any] = {
            "name": text("name", name),
            "rule": rule_text(rule, every=every, at=at, after=after),
            "zone": text("zone", zone),
            "task": self._draft(call),
            "overlap": _one_of("overlap", overlap, OVERLAP),
            "catch_up": _one_of("catch_up", catch_up, CATCH_UP),
            "on_conflict": _one_of("on_conflict", on_conflict, ("replace", "keep", "refuse")),
        }
        for key, span in (("catch_up_window", catch_up_window), ("jitter", jitter)):
            if span is not None:
                given[key] = seconds(key, span)
        for key, time in (("starts_at", starts_at), ("ends_at", ends_at)):
            if time is not None:
                given[key] = instant(key, time)
        for key, number in (("runs_max", runs_max), ("pause_after_failures", pause_after_failures)):
            if number is not None:
                given[key] = count(key, number, 1)
        check(given["rule"], zone, name)
        return Answer(self._tasks._via.ask("schedule_put", None, given), _added, port=self._tasks._via)

    def _draft(self, call: Any) -> dict[str, Any]:
        if call is None:
            raise TypeError("a schedule needs something to run: a function, or tasks.call(f, ...)")
        made = call.copy() if isinstance(call, Call) else Call(call, (), {})
        made.options = merge(self._tasks._defaults, made.options)
        if "connection" in made.options:
            raise InvalidArgument("a schedule cannot be added in a transaction: leave out the connection")
        draft = prepare(self._tasks._via, made)
        del draft["id"]
        return draft

    def list(self) -> Answer[list[Schedule]]:
        """All schedules, by name."""
        return Answer(
            self._tasks._via.ask("schedules"), lambda found: [_schedule(one) for one in found], port=self._tasks._via
        )

    def get(self, name: str, *, upcoming: int = 5, runs: int = 20) -> Answer[Schedule]:
        """One schedule with its next times and its history. Raises ``UnknownSchedule``."""
        counts = {"upcoming": upcoming, "runs": runs}
        return Answer(self._tasks._via.ask("schedule", text("name", name), counts), _schedule, port=self._tasks._via)

    def reschedule(
        self,
        name: str,
        rule: str | None = None,
        *,
        every: float | dt.timedelta | None = None,
        at: dt.datetime | None = None,
        after: float | dt.timedelta | None = None,
        zone: str | None = None,
    ) -> Answer[Added]:
        """Gives it another rule, and another zone if one is given; all else stays. Raises ``CronError`` at the call,
        ``UnknownSchedule`` with the answer."""
        new = rule_text(rule, every=every, at=at, after=after)
        check(new, zone or "UTC", text("name", name))
        return Answer(
            self._tasks._via.ask("schedule_rule", name, {"rule": new, "zone": zone}), _added, port=self._tasks._via
        )

    def remove(self, name: str) -> Answer[bool]:
        """Removes it with its history; tasks that it enqueued go on. Whether it was there."""
        return Answer(self._tasks._via.ask("schedule_remove", text("name", name)), bool, port=self._tasks._via)

    def pause(self, name: str) -> Answer[bool]:
        """Pauses it: times that pass meanwhile do not count. Whether it is there."""
        return Answer(self._tasks._via.ask("schedule_pause", text("name", name)), bool, port=self._tasks._via)

    def resume(self, name: str) -> Answer[bool]:
        """Goes on from now. Whether it is there."""
        return Answer(self._tasks._via.ask("schedule_resume", text("name", name)), bool, port=self._tasks._via)

    def run(self, name: str) -> Answer[str]:
        """Runs its task now, whatever its rule says and whatever runs; the id of the task. Raises ``UnknownSchedule``."""
        return Answer(self._tasks._via.ask("schedule_run", text("name", name)), str, port=self._tasks._via)


def _one_of(what: str, value: Any, known: tuple[str, ...]) -> str:
    if value not in known:
        raise InvalidArgument(f"{what}: {value!r} is not one of {', '.join(known)}")
    return str(value)


def _time(found: str | None) -> dt.datetime | None:
    if found is None:
        return None
    # Python 3.10 knows neither `Z` nor fractions of other lengths than three and six digits.
    whole, _, fraction = found.removesuffix("Z").partition(".")
    return dt.datetime.fromisoformat(f"{whole}.{fraction:0<6}+00:00")


def _times(found: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: _time(found[name]) for name in names}


def _added(found: dict[str, Any]) -> Added:
    return Added(found["name"], found["put"], _time(found["next_at"]), tuple(found["warnings"]))


def _run(found: dict[str, Any]) -> Run:
    error = found["error"]
    return Run(
        outcome=found["outcome"],
        manual=found["manual"],
        task_id=found["task"],
        state=found["state"],
        error=None if error is None else f"{error['type']}: {error['message']}",
        count=found["count"],
        **_times(found, "fire_at", "finished_at", "until"),
    )


_PLAIN = (
    "name", "rule", "zone", "kind", "queue", "priority", "overlap", "catch_up", "state", "problem", "last_state", "runs",
    "failures",
)  # fmt: skip


def _schedule(found: dict[str, Any]) -> Schedule:
    return Schedule(
        **{name: found[name] for name in _PLAIN},
        **_times(found, "next_at", "last_at", "created_at"),
        upcoming=tuple(time for time in map(_time, found.get("upcoming", ())) if time is not None),
        history=tuple(_run(run) for run in found.get("history", ())),
    )
