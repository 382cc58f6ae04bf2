"""Schedules: rules that enqueue a task at times. They are rows of the database, so that every server follows a change
at once.

    schedules = tasks.schedules
    await schedules.add("nightly", "0 3 * * *", report, zone="Europe/Berlin")
    await schedules.add("sweep", every=timedelta(minutes=5), call=tasks.call(sweep, "tmp", queue="low"))
    await schedules.pause("nightly")

Every method returns an answer that is awaited or, in code without an event loop, waited for with ``.result()``.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _core
from ._calls import Call, prepare
from ._core import ClientRequest
from ._loops import Answer
from ._options import EPOCH, count, instant, merge, optional_seconds, seconds, text
from .errors import InvalidArgument

if TYPE_CHECKING:
    from .queued_tasks import QueuedTasks

__all__ = ["Added", "Run", "Schedule", "Schedules", "check", "next_times"]

#: Policies for a run that is due while an earlier one has not ended.
OVERLAP = ("skip", "allow", "queue_one", "queue_all", "cancel_running")
#: Policies for runs whose time passed while no server was running.
CATCH_UP = ("skip", "one", "all")


@dataclasses.dataclass(frozen=True)
class Run:
    """The outcome of one time of a schedule, or of several that were missed together.

    ``outcome`` is ``enqueued``, ``held`` (it waits for the run before it), ``skipped`` or ``missed``; ``state`` is the
    final state of its task, None while the run is going on.
    """

    fire_at: dt.datetime
    outcome: str
    manual: bool
    task_id: str | None
    state: str | None
    error: str | None
    finished_at: dt.datetime | None
    #: Number of times that it covers; 10,000 means that many or more.
    count: int
    #: The last of several times.
    until: dt.datetime | None


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The definition and state of a schedule. Times are aware, in UTC."""

    name: str
    rule: str
    zone: str
    kind: str
    queue: str
    priority: int
    overlap: str
    catch_up: str
    #: ``active``, ``paused``, ``ended``, or ``broken``, with the reason in ``problem``.
    state: str
    problem: str | None
    next_at: dt.datetime | None
    last_at: dt.datetime | None
    #: The final state of the task of the last run that ended.
    last_state: str | None
    #: Number of tasks that it has enqueued.
    runs: int
    #: Number of failed runs since the last one that was done.
    failures: int
    created_at: dt.datetime
    #: The next times; only in results of ``get``.
    upcoming: tuple[dt.datetime, ...] = ()
    #: The runs, newest first; only in results of ``get``.
    history: tuple[Run, ...] = ()


@dataclasses.dataclass(frozen=True)
class Added:
    """The result of adding a schedule: ``put`` is ``added``, ``kept`` or ``replaced``."""

    name: str
    put: str
    next_at: dt.datetime | None
    #: Parts of its rule that are probably mistakes.
    warnings: tuple[str, ...]


def rule_text(
    rule: str | None = None,
    *,
    every: float | dt.timedelta | None = None,
    at: dt.datetime | None = None,
    after: float | dt.timedelta | None = None,
) -> str:
    """Returns the text of a rule from exactly one of its forms.

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
    """Parses a rule without storing anything, and returns warnings about parts that are probably mistakes.

    Raises ``CronError`` with the position of an error, ``InvalidArgument`` for an unknown zone.
    """
    return tuple(_core.check_rule(text("rule", rule), text("zone", zone), text("name", name)))


def next_times(
    rule: str, count: int = 10, *, zone: str = "UTC", after: dt.datetime | None = None, name: str = "schedule"
) -> list[dt.datetime]:
    """Returns the next ``count`` times of a rule after an instant (an aware datetime; default: now). ``H`` is drawn
    from ``name``.

    Raises as :func:`check`.

    Example::

        new_year = dt.datetime(2030, 1, 1, tzinfo=dt.timezone.utc)
        times = next_times("0 3 * * *", 2, zone="Europe/Berlin", after=new_year)
        assert [time.isoformat() for time in times] == ["2030-01-01T02:00:00+00:00", "2030-01-02T02:00:00+00:00"]
    """
    start = None if after is None else instant("after", after)
    times = _core.next_times(text("rule", rule), text("zone", zone), text("name", name), start, count)
    return [EPOCH + dt.timedelta(microseconds=time) for time in times]


class Schedules:
    """The schedules of a database: ``tasks.schedules``."""

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
        """Adds a schedule, or changes the one of this name to this definition; an equal definition changes nothing.

        ``call`` is a function without arguments, or ``tasks.call(f, 1, queue="low")``. The times are given by one of
        ``rule`` (a cron expression, ``@daily``, ``@every 5m``, ``@at ...``, ``@after 2h``, ``@reboot``), ``every``,
        ``at`` (an aware datetime; once) and ``after`` (once, counted from when it was first added). Lengths of time are
        seconds or timedeltas.

        - ``zone``: the time zone of a cron rule (default UTC)
        - ``overlap``: when an earlier run has not ended, ``skip`` (default), ``allow``, ``queue_one``, ``queue_all`` or
          ``cancel_running``
        - ``catch_up``: of missed times, ``one`` run for all of them (default), ``all`` or ``skip``; within
          ``catch_up_window`` (default a day)
        - ``jitter``: the longest random delay of each run
        - ``starts_at``, ``ends_at`` (aware datetimes), ``runs_max``: when the schedule is in force
        - ``pause_after_failures``: pauses the schedule after this number of failed runs in a row
        - ``on_conflict``: ``replace`` (default), ``keep`` or ``refuse`` an existing schedule of this name

        The call raises ``CronError``, ``InvalidArgument`` and as ``add_task``; the answer raises
        ``DuplicateSchedule``.

        Example::

            await tasks.schedules.add("nightly", "0 3 * * *", report, zone="Europe/Berlin")
        """
        name = text("name", name)
        new = rule_text(rule, every=every, at=at, after=after)
        request = ClientRequest.put_schedule(
            name=name,
            rule=new,
            zone=text("zone", zone),
            task=self._draft(call),
            overlap=_one_of("overlap", overlap, OVERLAP),
            catch_up=_one_of("catch_up", catch_up, CATCH_UP),
            on_conflict=_one_of("on_conflict", on_conflict, ("replace", "keep", "refuse")),
            catch_up_window=optional_seconds("catch_up_window", catch_up_window),
            jitter=optional_seconds("jitter", jitter),
            starts_at=None if starts_at is None else instant("starts_at", starts_at),
            ends_at=None if ends_at is None else instant("ends_at", ends_at),
            runs_max=None if runs_max is None else count("runs_max", runs_max, 1),
            pause_after_failures=(
                None if pause_after_failures is None else count("pause_after_failures", pause_after_failures, 1)
            ),
        )
        check(new, zone, name)
        return Answer(self._tasks._via.ask(request), _added, port=self._tasks._via)

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
        """Returns all schedules, by name.

        Example::

            await tasks.schedules.add("report", "@daily", report)
            for schedule in await tasks.schedules.list():
                print(schedule.name, schedule.next_at)
        """
        return Answer(
            self._tasks._via.ask(ClientRequest.list_schedules()),
            lambda found: [_schedule(one) for one in found],
            port=self._tasks._via,
        )

    def get(self, name: str, *, upcoming: int = 5, runs: int = 20) -> Answer[Schedule]:
        """Returns a schedule with its next ``upcoming`` times and its last ``runs`` runs. Raises ``UnknownSchedule``.

        Example::

            await tasks.schedules.add("report", "0 3 * * *", report)
            schedule = await tasks.schedules.get("report", upcoming=2)
            assert [time.hour for time in schedule.upcoming] == [3, 3]
        """
        request = ClientRequest.show_schedule(text("name", name), count("upcoming", upcoming), count("runs", runs))
        return Answer(self._tasks._via.ask(request), _schedule, port=self._tasks._via)

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
        """Changes the rule of a schedule, and its zone if one is given. The call raises ``CronError``, the answer
        ``UnknownSchedule``.

        Example::

            await tasks.schedules.add("report", "0 3 * * *", report)
            await tasks.schedules.reschedule("report", "30 4 * * 1-5", zone="Europe/Berlin")
            assert (await tasks.schedules.get("report")).zone == "Europe/Berlin"
        """
        new = rule_text(rule, every=every, at=at, after=after)
        check(new, zone or "UTC", text("name", name))
        return Answer(self._tasks._via.ask(ClientRequest.reschedule(name, new, zone)), _added, port=self._tasks._via)

    def remove(self, name: str) -> Answer[bool]:
        """Removes a schedule with its history, and returns whether it existed. Tasks that it has enqueued continue.

        Example::

            await tasks.schedules.add("report", every=300, call=report)
            assert await tasks.schedules.remove("report")
        """
        return Answer(self._tasks._via.ask(ClientRequest.remove_schedule(text("name", name))), bool, port=self._tasks._via)

    def pause(self, name: str) -> Answer[bool]:
        """Pauses a schedule, and returns whether it exists. Times that pass meanwhile are skipped.

        Example::

            await tasks.schedules.add("report", every=300, call=report)
            await tasks.schedules.pause("report")
            assert (await tasks.schedules.get("report")).state == "paused"
            await tasks.schedules.resume("report")
        """
        return Answer(self._tasks._via.ask(ClientRequest.pause_schedule(text("name", name))), bool, port=self._tasks._via)

    def resume(self, name: str) -> Answer[bool]:
        """Resumes a schedule from now on, and returns whether it exists."""
        return Answer(self._tasks._via.ask(ClientRequest.resume_schedule(text("name", name))), bool, port=self._tasks._via)

    def run(self, name: str) -> Answer[str]:
        """Runs a schedule's task now, regardless of its rule and of other runs, and returns the id of the task. Raises
        ``UnknownSchedule``.

        Example::

            await tasks.schedules.add("report", "@daily", report)
            ref = tasks.get(await tasks.schedules.run("report"))
            await tasks.drain()
            assert await ref == "42 sold"
        """
        return Answer(self._tasks._via.ask(ClientRequest.run_schedule(text("name", name))), str, port=self._tasks._via)


def _one_of(what: str, value: Any, known: tuple[str, ...]) -> str:
    if value not in known:
        raise InvalidArgument(f"{what}: {value!r} is not one of {', '.join(known)}")
    return str(value)


def _time(found: str | None) -> dt.datetime | None:
    if found is None:
        return None
    # Python 3.10 reads neither `Z` nor fractions of lengths other than three and six digits.
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
