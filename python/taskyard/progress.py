"""``ProgressTracker``: the progress of a task, readable from any process while the task runs.

    class Import(Task):
        def __init__(self, path: str) -> None:
            self.path = path
            self.progress = ProgressTracker()

        async def execute(self) -> int:
            rows = await read(self.path)
            self.progress.set_total(len(rows))
            for row in rows:
                await store(row)
                self.progress.advance()
            return len(rows)

In a plain function ``ProgressTracker.of_task()`` returns the running task's tracker. Outside of a task a tracker counts
as well, without storing anything.
"""

from __future__ import annotations

import datetime as dt
import math
import numbers
import threading
import time
from collections.abc import Callable
from typing import Any

from . import _progress, _rate, _running, _serializers
from ._progress import PLACE, Progress
from .errors import InvalidArgument, OverLimit

#: Minimum time between two samples of the rate, and between two writes of one tracker, in seconds.
EVERY = 0.1
#: Maximum length of a message, in characters.
MESSAGE_MAX = 10_000
#: Seconds without news after which a stored progress counts as stalled.
STALL = 1.0

_INF = math.inf


def _amount(what: str, value: Any) -> int | float:
    """Checks an amount. Raises ``TypeError`` for anything but a number, ``InvalidArgument`` for a number that is
    negative, infinite or undefined."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{what}: {value!r} is not a number: give an int or a float")
    number = int(value) if isinstance(value, numbers.Integral) else float(value)
    if isinstance(number, float) and not math.isfinite(number):
        raise InvalidArgument(f"{what}: {number} is not an amount", hint="give a finite number, 0 or more")
    if number < 0:
        raise InvalidArgument(f"{what}: {number} is below 0", hint="update(n) sets a smaller value")
    return number


class ProgressTracker:
    """Counts towards a total.

    ``total`` is the total if it is known: a number from 0 up, or None. With ``resume=True`` the next attempt of a task
    continues where the last one stopped, as far as it was stored; otherwise each attempt starts at 0. ``clock`` returns
    seconds that never go back.

    All methods may be called from any thread and cost well under a microsecond. The values of a task's tracker are
    stored about ten times a second at most, and the last ones before the task's end. Amounts are ints or floats from 0
    up: anything else raises ``TypeError``, and a negative, infinite or undefined number ``ValueError``.

    Example::

        def import_all(rows: list[str]) -> None:
            progress = ProgressTracker.of_task()
            progress.set_total(len(rows))
            for row in rows:
                progress.set_message(row)
                progress.advance()

        ref = tasks.add_task(import_all, ["one", "two"])
        await tasks.drain()
        progress = await ref.get_progress()
        assert (progress.total, progress.message) == (2, "two")
    """

    __slots__ = (
        "__weakref__",
        "_attempt",
        "_clock",
        "_current",
        "_due",
        "_given",
        "_is_quiet",
        "_is_told",
        "_last",
        "_lock",
        "_message",
        "_rate",
        "_resume",
        "_running",
        "_total",
        "_wall",
    )

    def __init__(
        self,
        total: float | None = None,
        *,
        resume: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # Reentrant: a signal handler may use the tracker while its thread holds the lock.
        self._lock = threading.RLock()
        self._clock = clock
        self._given = None if total is None else _amount("total", total)
        self._resume = bool(resume)
        self._running: _running.Running | None = None
        #: In a task: nothing has changed since the last write, so that the next change has to request one.
        self._is_quiet = False
        self._is_told = True
        self._attempt: int | None = None
        self._begin()

    def _begin(self) -> None:
        now = self._clock()
        self._current: int | float = 0
        self._total: int | float | None = self._given
        self._message: str | None = None
        self._rate = _rate.Rate(now)
        self._due = now + EVERY
        self._last: float | None = None
        #: When it was last changed by another process or attempt.
        self._wall: dt.datetime | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies start at 0: a tracker's count belongs to one run."""
        return (_made, ({"total": self._given, "resume": self._resume},))

    def __repr__(self) -> str:
        total = "?" if self._total is None else self._total
        return f"<progress {self._current}/{total}{f' {self._message}' if self._message else ''}>"

    # ------------------------------------------------------------------------------------------------------ counting

    def advance(self, n: float = 1) -> None:
        """Adds ``n`` units (default 1). The sum may exceed the total."""
        if type(n) is not int or n < 0:
            n = _amount("advance", n)
        with self._lock:
            try:
                current = self._current + n
            except OverflowError:
                current = _INF
            if current == _INF:
                raise InvalidArgument("advance: the sum is too large for a float", hint="count in larger units")
            self._current = current
            self._last = now = self._clock()
            if now >= self._due:
                self._rate.sample(now, current)
                self._due = now + EVERY
        if self._is_quiet:
            self._wake()

    def update(self, n: float) -> None:
        """Sets the count to ``n`` units, which may be fewer than before."""
        if type(n) is not int or n < 0:
            n = _amount("update", n)
        with self._lock:
            self._current = n
            self._last = now = self._clock()
            if now >= self._due:
                self._rate.sample(now, n)
                self._due = now + EVERY
        if self._is_quiet:
            self._wake()

    def set_total(self, total: float | None) -> None:
        """Sets the number of units that are 100 %, which may change at any time. None: unknown."""
        if total is not None and (type(total) is not int or total < 0):
            total = _amount("set_total", total)
        with self._lock:
            self._total = total
            self._last = self._clock()
        if self._is_quiet:
            self._wake()

    def set_message(self, message: str | None) -> None:
        """Sets a description of the current step (at most 10,000 characters). Raises ``OverLimit`` for a longer one."""
        if message is not None:
            if not isinstance(message, str):
                raise TypeError(f"set_message: {message!r} is not text")
            if len(message) > MESSAGE_MAX:
                raise OverLimit(f"set_message: {len(message)} characters are more than {MESSAGE_MAX}")
            if not message.isascii():
                _check_text(message)
        with self._lock:
            self._message = message
            self._last = self._clock()
        if self._is_quiet:
            self._wake()

    # ------------------------------------------------------------------------------------------------------- reading

    @property
    def completed(self) -> int | float:
        """Units done, as counted. May exceed ``total``."""
        return self._current

    @property
    def current(self) -> int | float:
        """Alias of ``completed``."""
        return self._current

    @property
    def total(self) -> int | float | None:
        """Units that are 100 %; None while that is unknown."""
        return self._total

    @property
    def message(self) -> str | None:
        """A description of the current step."""
        return self._message

    @property
    def percentage(self) -> float:
        """Percent done, from 0.0 to 100.0: 0.0 while the total is unknown, 100.0 for a total of 0."""
        with self._lock:
            return _rate.percentage(self._current, self._total)

    @property
    def indeterminate(self) -> bool:
        """Whether the total is unknown."""
        return self._total is None

    @property
    def elapsed(self) -> float:
        """Seconds since the attempt began, or since the tracker was created."""
        return max(0.0, self._clock() - self._rate.started)

    @property
    def rate(self) -> float | None:
        """Units per second, the last quarter of a minute counting most; None before the first sample."""
        with self._lock:
            return self._rate.per_second(self._clock(), self._current)

    @property
    def eta_seconds(self) -> float | None:
        """Seconds that are left at this rate; None before two samples and one second, or without a total."""
        with self._lock:
            now = self._clock()
            if not self._rate.is_known(now):
                return None
            return _rate.remaining(self._rate.per_second(now, self._current), self._current, self._total)

    @property
    def updated_at(self) -> dt.datetime | None:
        """When it was last changed (UTC); None if it never was."""
        last = self._last
        if last is None:
            return self._wall
        return dt.datetime.now(dt.timezone.utc) - dt.timedelta(seconds=max(0.0, self._clock() - last))

    def record(self) -> Progress:
        """Returns the current values as the record that every reader of a task's progress gets."""
        with self._lock:
            return Progress(
                completed=self._current,
                total=self._total,
                percentage=self.percentage,
                message=self._message,
                rate=self.rate,
                eta_seconds=self.eta_seconds,
                elapsed=self.elapsed,
                indeterminate=self._total is None,
                updated_at=self.updated_at,
                attempt=self._attempt,
            )

    def to_dict(self) -> dict[str, Any]:
        """Returns the current values as a dict for JSON; see :meth:`Progress.to_dict`."""
        return self.record().to_dict()

    # ----------------------------------------------------------------------------------------------------- in a task

    @classmethod
    def of_task(cls, *, resume: bool = False) -> ProgressTracker:
        """Returns the running task's tracker, the same one at every call. Outside of a task, returns a new tracker that
        stores nothing.

        ``resume`` (first call only) continues where the last attempt stopped.
        """
        running = _running.current.get()
        if running is None:
            return cls(resume=resume)
        found: ProgressTracker | None = running.trackers.get(PLACE)
        if found is None:
            found = cls(resume=resume)
            found._attach(running, PLACE)
        return found

    def _attach(self, running: _running.Running, place: str) -> None:
        """Attaches the tracker to an attempt, into whose context it writes from now on."""
        stored = running.get(place)
        with self._lock:
            self._begin()
            self._running, self._attempt = running, running.attempt
            if isinstance(stored, dict) and self._resume:
                self._load(stored)
            # Stored values of an earlier attempt are current only if this one resumes.
            self._is_told = not isinstance(stored, dict) or self._resume
            self._is_quiet = True
        running.trackers[place] = self
        if not self._is_told:
            self._wake()

    def _detach(self) -> None:
        self._is_quiet, self._running = False, None

    def _load(self, stored: dict[str, Any]) -> None:
        for name in ("completed", "total"):
            value = stored.get(name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0 or value == _INF:
                continue
            if name == "total":
                self._total = value
            else:
                self._current = value
                self._rate = _rate.Rate(self._rate.started, value)
        message = stored.get("message")
        if isinstance(message, str):
            self._message = message

    def _wake(self) -> None:
        running = self._running
        if running is not None:
            self._is_quiet, self._is_told = False, False
            running.wants_progress()

    def _to_store(self) -> dict[str, Any] | None:
        """Returns the values to store, or None if nothing has changed since the last call."""
        with self._lock:
            if self._is_told:
                return None
            # Set before the values are read: later changes request another write.
            self._is_quiet, self._is_told = True, True
            found = self.to_dict()
        del found["current"]
        return found


class StoredProgress(ProgressTracker):
    """A task's stored progress, read-only. While a running task has reported nothing for a second or more, the rate
    falls and the remaining time grows with time."""

    __slots__ = ("_eta", "_is_live", "_stored_elapsed", "_stored_rate")

    def __init__(self, stored: Any, *, given: ProgressTracker | None = None, is_live: bool = False) -> None:
        super().__init__(given._given if given is not None else None)
        stored = stored if isinstance(stored, dict) else {}
        self._load(stored)
        self._is_live = is_live
        self._stored_rate = _number(stored.get("rate"))
        self._stored_elapsed = _number(stored.get("elapsed")) or 0.0
        self._eta = _number(stored.get("eta_seconds"))
        attempt = stored.get("attempt")
        self._attempt = attempt if isinstance(attempt, int) else None
        self._wall = _progress.instant(stored.get("updated_at"))

    def _quiet(self) -> float:
        """Returns the seconds since a running task last reported; 0.0 if it does not count as stalled."""
        if not self._is_live or self._wall is None:
            return 0.0
        quiet = (dt.datetime.now(dt.timezone.utc) - self._wall).total_seconds()
        return quiet if quiet >= STALL else 0.0

    @property
    def elapsed(self) -> float:
        return self._stored_elapsed + self._quiet()

    @property
    def rate(self) -> float | None:
        rate, quiet = self._stored_rate, self._quiet()
        return rate if rate is None or quiet == 0.0 else _rate.stalled(rate, self._stored_elapsed, quiet)

    @property
    def eta_seconds(self) -> float | None:
        return (
            self._eta if self._eta is None or self._quiet() == 0.0 else _rate.remaining(self.rate, self.current, self.total)
        )

    def advance(self, n: float = 1) -> None:
        raise _read_only()

    def update(self, n: float) -> None:
        raise _read_only()

    def set_total(self, total: float | None) -> None:
        raise _read_only()

    def set_message(self, message: str | None) -> None:
        raise _read_only()


def _read_only() -> InvalidArgument:
    return InvalidArgument("this progress was read from the queue: only the running task can change it")


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _INF:
        return None
    return min(value, _rate.LARGEST)


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"set_message: half of a surrogate pair at {error.start} is not text") from None


def _made(stored: dict[str, Any]) -> ProgressTracker:
    return ProgressTracker(stored.get("total"), resume=bool(stored.get("resume")))


# A tracker among arguments or attributes starts at 0 where the task runs: only its constructor's arguments are stored.
_serializers.register_serializer(
    ProgressTracker,
    lambda tracker: {"total": tracker._given, "resume": tracker._resume},
    _made,
    name="taskyard.progress:ProgressTracker",
)

__all__ = ["Progress", "ProgressTracker", "StoredProgress"]
