"""Jobs that run at times: ``@scheduler.schedule(cron="0 0 * * *")``, and ``CronJob`` objects that are added at run
time.

    from taskyard.scheduler import CronJob, Scheduler

    scheduler = Scheduler(timezone="Europe/Berlin")

    @scheduler.schedule(cron="0 3 * * *")
    async def nightly() -> None: ...

    app = FastAPI(lifespan=scheduler.lifespan)

A job is a schedule of the queue (``tasks.schedules``, ``taskyard schedule``), that is a row: each of its times runs
once even if several processes declare it, and a restart neither repeats nor loses one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from . import _core, _identity, _port
from ._calls import Call
from ._options import OPTIONS, check_names
from ._worker import Embedded
from .errors import InvalidArgument, UnknownSchedule, seconds
from .queued_tasks import QueuedTasks
from .schedules import Run, Schedule, check, rule_text
from .tasks import Task, TaskQueue, TaskStatus

F = TypeVar("F", bound=Callable[..., Any])

#: Options of a schedule that a job takes in addition to those of its task.
SCHEDULE_OPTIONS = frozenset(
    {"overlap", "catch_up", "catch_up_window", "jitter", "starts_at", "ends_at", "runs_max", "pause_after_failures"}
)
_STATUS = {
    "done": TaskStatus.COMPLETED,
    "failed": TaskStatus.FAILED,
    "cancelled": TaskStatus.CANCELLED,
    "stopped": TaskStatus.STOPPED,
}


@dataclasses.dataclass(frozen=True)
class Job:
    """The state of a job."""

    id: str
    #: The rule: a cron expression, ``@every 90s``, ``@at ...``, ``@after 1h``.
    schedule: str
    timezone: str
    #: The function or class that it runs, as ``module:name``.
    kind: str
    #: ``active``, ``paused``, ``ended``, or ``broken``, with the reason in ``problem``.
    state: str
    problem: str | None
    next_run: dt.datetime | None
    last_run: dt.datetime | None
    last_status: TaskStatus | None
    run_count: int
    #: Number of failed runs since the last completed one.
    failures: int
    #: The runs, newest first; only in results of ``get_job``.
    history: tuple[Run, ...] = ()


def _job(found: Schedule) -> Job:
    return Job(
        id=found.name,
        schedule=found.rule,
        timezone=found.zone,
        kind=found.kind,
        state=found.state,
        problem=found.problem,
        next_run=found.next_at,
        last_run=found.last_at,
        last_status=None if found.last_state is None else _STATUS.get(found.last_state),
        run_count=found.runs,
        failures=found.failures,
        history=found.history,
    )


#: The last known state of the jobs of this process's objects.
_seen: weakref.WeakKeyDictionary[CronJob, Job] = weakref.WeakKeyDictionary()


class _OfJob:
    """An attribute from the job's state, unless the object has an attribute of that name itself."""

    def __init__(self, doc: str) -> None:
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, job: CronJob | None, owner: type | None = None) -> Any:
        if job is None:
            return self
        found = _seen.get(job)
        return None if found is None else getattr(found, self._name)


class CronJob(Task):
    """A task that runs at times: like every ``Task``, attributes and ``execute``.

    For the object that was passed to ``add_job``, ``id`` is the job's, and the attributes below have the values from
    when it was added. In ``execute`` the object is rebuilt, and ``id`` is that of the run.
    """

    schedule = _OfJob("The rule.")
    timezone = _OfJob("The time zone of the rule.")
    next_run = _OfJob("The next run: an aware datetime, or None.")
    last_run = _OfJob("The last time of the rule that was run, skipped or missed, or None.")
    last_status = _OfJob("The final status of the last run: a ``TaskStatus``, or None.")
    run_count = _OfJob("The number of runs.")


@dataclasses.dataclass(frozen=True)
class _Declared:
    call: Any
    rule: str
    zone: str
    options: dict[str, Any]
    task_options: dict[str, Any]


class Scheduler:
    """Runs jobs at their times. Can be created without an event loop.

    :param timezone: the zone of cron rules that name none: an IANA name or a ``ZoneInfo`` (default UTC).
    :param queue: a ``TaskQueue``, or a queue's name, to which runs are added (default: the project's, ``default``).
    :param tasks: a ``QueuedTasks`` whose database it shares; instead of a ``TaskQueue``.
    :param workers: workers within this process, between ``start`` and ``stop`` (default 1). With 0 another process runs
        the jobs: ``taskyard queue start --app main:app``.
    """

    def __init__(
        self,
        timezone: str | ZoneInfo = "UTC",
        queue: TaskQueue | str | None = None,
        *,
        tasks: QueuedTasks | None = None,
        workers: int = 1,
    ) -> None:
        self.timezone = _zone(timezone)
        if isinstance(queue, TaskQueue):
            if tasks is not None:
                raise InvalidArgument("Scheduler: the queue has a database already: leave out tasks=")
            tasks, self._queue = queue.tasks, queue.name
        else:
            self._queue = queue
        check("@daily", self.timezone)
        self._tasks = tasks if tasks is not None else QueuedTasks()
        self._workers = workers
        self._declared: dict[str, _Declared] = {}
        self._embedded: Embedded | None = None
        self._is_started = False

    def __repr__(self) -> str:
        return f"<Scheduler of {len(self._declared)} declared jobs, {'started' if self._is_started else 'not started'}>"

    # ----------------------------------------------------------------------------------------------------- declaring

    def schedule(
        self,
        *,
        cron: str | None = None,
        delay: float | dt.timedelta | None = None,
        every: float | dt.timedelta | None = None,
        at: dt.datetime | None = None,
        id: str | None = None,
        timezone: str | ZoneInfo | None = None,
        **options: Any,
    ) -> Callable[[F], F]:
        """Declares a function as a job that runs by exactly one of ``cron``, ``every``, ``at`` (an aware datetime;
        once) and ``delay`` (once, counted from when the job was first started). Times are seconds or timedeltas. The
        function is returned unchanged, with the attribute ``job_id``.

        Further keywords are options of the schedule (``overlap``, ``catch_up``, ``jitter``, ``runs_max``,
        ``pause_after_failures``, ...; see ``tasks.schedules.add``) and of the task (``queue``, ``priority``,
        ``max_retries``, ``timeout``, ...).

        Raises ``CronError`` for an invalid rule, ``TypeError`` for none or several rules, and ``InvalidArgument`` for
        an unknown option or an id that is declared twice::

            @scheduler.schedule(every=300, overlap="skip")
            async def sweep() -> None: ...
        """
        rule = rule_text(cron, every=every, at=at, after=delay)
        zone = self.timezone if timezone is None else _zone(timezone)

        def declare(function: F) -> F:
            job_id = id if id is not None else _name_of(function)
            check(rule, zone, job_id)
            if job_id in self._declared:
                raise InvalidArgument(f"job {job_id!r} is declared twice", hint="give one of them another id=")
            self._declared[job_id] = self._declaration(function, rule, zone, options)
            function.job_id = job_id  # type: ignore[attr-defined]
            if self._is_started:
                self._put(job_id, self._declared[job_id], "replace")
            return function

        return declare

    def _declaration(self, call: Any, rule: str, zone: str, options: dict[str, Any]) -> _Declared:
        check_names(options, known=SCHEDULE_OPTIONS | OPTIONS, of=" of a job")
        own = {name: value for name, value in options.items() if name in SCHEDULE_OPTIONS}
        task = {name: value for name, value in options.items() if name in OPTIONS}
        if self._queue is not None:
            task.setdefault("queue", self._queue)
        return _Declared(call, rule, zone, own, task)

    def _put(self, job_id: str, job: _Declared, on_conflict: str) -> Any:
        made = job.call if isinstance(job.call, Call) else Call(job.call, (), {})
        call = Call(made.function, made.args, made.kwargs, {**made.options, **job.task_options})
        schedules = self._tasks.schedules
        return schedules.add(job_id, job.rule, call, zone=job.zone, on_conflict=on_conflict, **job.options)

    # ----------------------------------------------------------------------------------------------------- lifecycle

    async def start(self) -> None:
        """Stores the declared jobs and starts this process's workers; returns once they run. A second call does
        nothing.

        Raises errors of the declared functions and of the database.
        """
        if self._is_started:
            return
        self._is_started = True
        try:
            for job_id, job in self._declared.items():
                await self._put(job_id, job, "replace")
            if self._workers > 0 and not _port.in_worker:
                self._embedded = Embedded(self._tasks, self._workers)
                await self._embedded.__aenter__()
        except BaseException:
            self._is_started, self._embedded = False, None
            raise

    async def stop(self, timeout: float | dt.timedelta = 25.0) -> None:
        """Stops this process's workers. Running tasks have ``timeout`` (seconds or timedelta, default 25) to end; the
        rest runs again elsewhere, or after the next start. The jobs remain stored. A second call does nothing."""
        timeout = seconds("timeout", timeout)
        self._is_started = False
        embedded, self._embedded = self._embedded, None
        if embedded is not None:
            embedded.grace = timeout
            await embedded.__aexit__()

    async def __aenter__(self) -> Scheduler:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Any = None) -> AsyncIterator[None]:
        """The scheduler as a lifespan: ``FastAPI(lifespan=scheduler.lifespan)``."""
        async with self:
            yield

    # ---------------------------------------------------------------------------------------------------------- jobs

    async def add_job(
        self,
        job: Any,
        cron: str | dt.timedelta | dt.datetime | None = None,
        *,
        delay: float | dt.timedelta | None = None,
        every: float | dt.timedelta | None = None,
        at: dt.datetime | None = None,
        id: str | None = None,
        replace: bool = False,
        timezone: str | ZoneInfo | None = None,
        **options: Any,
    ) -> str:
        """Adds a job at once, whether the scheduler is started or not, and returns its id.

        ``job`` is a ``CronJob``, a function without arguments, or ``tasks.call(f, 1)``. The time is given by a cron
        expression, by a timedelta (an interval) or an aware datetime (once) in its place, or by one of the keywords.
        ``id`` defaults to the function's ``module:name``; each ``CronJob`` object is a job of its own.

        Raises ``CronError``, ``DuplicateSchedule`` unless ``replace`` is set, and as ``add_task`` for a task that
        cannot be stored::

            await scheduler.add_job(report, "0 6 * * 1", id="weekly")
        """
        if isinstance(cron, dt.timedelta):
            every, cron = (cron if every is None else every), None
        elif isinstance(cron, dt.datetime):
            at, cron = (cron if at is None else at), None
        rule = rule_text(cron, every=every, at=at, after=delay)
        zone = self.timezone if timezone is None else _zone(timezone)
        job_id = id if id is not None else _default_id(job)
        declared = self._declaration(job, rule, zone, options)
        added = await self._put(job_id, declared, "replace" if replace else "refuse")
        if isinstance(job, CronJob):
            _know(job, await self._tasks.schedules.get(job_id))
        return str(added.name)

    async def remove_job(self, job_id: Any, cancel_running: bool = False) -> bool:
        """Removes a job, and returns whether it existed. A run of it continues, unless ``cancel_running`` is set."""
        if not isinstance(job_id, str):
            return False
        self._declared.pop(job_id, None)
        runs: list[str] = []
        if cancel_running:
            try:
                found = await self._tasks.schedules.get(job_id, runs=1_000)
                runs = [run.task_id for run in found.history if run.task_id is not None and run.state is None]
            except UnknownSchedule:
                return False
        removed = await self._tasks.schedules.remove(job_id)
        for task_id in runs:
            self._tasks.get(task_id).cancel()
        return removed

    async def get_job(self, job_id: str) -> Job | None:
        """Returns the state of a job with its history, or None if it does not exist."""
        try:
            return _job(await self._tasks.schedules.get(job_id, runs=100))
        except UnknownSchedule:
            return None

    async def list_jobs(self) -> list[Job]:
        """Returns all jobs of the database, by id."""
        return [_job(found) for found in await self._tasks.schedules.list()]

    async def pause_job(self, job_id: str) -> bool:
        """Pauses a job, and returns whether it exists. Times that pass meanwhile are skipped."""
        return await self._tasks.schedules.pause(job_id)

    async def resume_job(self, job_id: str) -> bool:
        """Resumes a job from now on, and returns whether it exists."""
        return await self._tasks.schedules.resume(job_id)

    async def reschedule_job(
        self,
        job_id: str,
        cron: str | None = None,
        *,
        delay: float | dt.timedelta | None = None,
        every: float | dt.timedelta | None = None,
        at: dt.datetime | None = None,
        timezone: str | ZoneInfo | None = None,
    ) -> dt.datetime | None:
        """Changes the rule of a job, and returns its next run. Raises ``UnknownSchedule``, ``CronError``."""
        zone = None if timezone is None else _zone(timezone)
        added = await self._tasks.schedules.reschedule(job_id, cron, every=every, at=at, after=delay, zone=zone)
        return added.next_at

    async def trigger_job(self, job_id: str) -> str:
        """Runs a job now, regardless of its rule and of other runs, and returns the id of the task. Raises
        ``UnknownSchedule``."""
        return await self._tasks.schedules.run(job_id)

    async def next_runs(self, job_id: str, n: int = 10) -> list[dt.datetime]:
        """Returns the next ``n`` times of a job; none if it is paused or over. Raises ``UnknownSchedule``."""
        return list((await self._tasks.schedules.get(job_id, upcoming=n, runs=0)).upcoming)


def _zone(given: str | ZoneInfo) -> str:
    if isinstance(given, ZoneInfo):
        if given.key is None:
            raise InvalidArgument("timezone: a ZoneInfo without a name cannot be stored; give its IANA name")
        return given.key
    if not isinstance(given, str):
        raise InvalidArgument(f"timezone: {given!r} is neither an IANA name such as Europe/Berlin nor a ZoneInfo")
    return given


def _default_id(job: Any) -> str:
    if isinstance(job, Task):
        return f"{type(job).__module__}:{type(job).__qualname__}:{_core.new_id()}"
    function = job.function if isinstance(job, Call) else job
    return function if isinstance(function, str) else _name_of(function)


def _name_of(function: Any) -> str:
    """Returns ``module:qualname``. Does not look the name up: while a function is being decorated, its module does not
    have it yet."""
    plain = _identity.unwrap(function)
    module = getattr(plain, "__module__", None)
    shown = _identity.main_module() if module == "__main__" else module
    if shown is None or not hasattr(plain, "__qualname__"):
        raise InvalidArgument(f"{function!r} has no name that a worker could find", hint="define it with def in a module")
    return f"{shown}:{plain.__qualname__}"


def _know(job: CronJob, found: Schedule) -> None:
    from ._tasks.base import known_of

    _seen[job] = _job(found)
    known_of(job).id = found.name


__all__ = ["CronJob", "Job", "Scheduler"]
