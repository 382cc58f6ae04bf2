"""How far a task is: ``ProgressTracker``, readable from any process while the task runs.

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

In a plain function ``ProgressTracker.of_task()`` is the running task's. Outside of a task a tracker counts all the same.
"""

from __future__ import annotations

import datetime as dt
import math
import numbers
import threading
import time
from collections.abc import Callable
from typing import Any

from . import _codec, _progress, _rate, _running
from ._progress import PLACE, Progress
from .errors import InvalidArgument, OverLimit

#: The shortest time between two samples of the rate, and between two writes of one tracker, in seconds.
EVERY = 0.1
#: The longest message, in characters.
MESSAGE_MAX = 10_000
#: In a stored progress: nothing new for so many seconds is a stall.
STALL = 1.0

_INF = math.inf


def _amount(what: str, value: Any) -> int | float:
    """The number that was given; raises what it is not."""
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

    ``total`` is what is known up front: a number from 0 up, or None. ``resume=True`` goes on in the next attempt of a
    task where the last one stopped, as far as it was stored; otherwise each attempt begins anew. ``clock`` answers
    seconds that never go back.

    All methods may be called from any thread and cost well under a microsecond; what a task's tracker says is stored
    about ten times a second at most, and the last of it before the task's end is. Amounts are ints or floats from 0 up:
    anything else raises ``TypeError``, and a negative, infinite or undefined number ``ValueError``.
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
        # Its owner is asked within the lock by a signal handler, too.
        self._lock = threading.RLock()
        self._clock = clock
        self._given = None if total is None else _amount("total", total)
        self._resume = bool(resume)
        self._running: _running.Running | None = None
        #: In a task: nothing was said since the last write, so the next word has to ask for one.
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
        #: When it was last changed, if another process or attempt said so.
        self._wall: dt.datetime | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy begins anew: what a tracker has counted belongs to one run."""
        return (_made, ({"total": self._given, "resume": self._resume},))

    def __repr__(self) -> str:
        total = "?" if self._total is None else self._total
        return f"<progress {self._current}/{total}{f' {self._message}' if self._message else ''}>"

    # ------------------------------------------------------------------------------------------------------ counting

    def advance(self, n: float = 1) -> None:
        """Adds ``n`` units (default 1). It may go beyond the total."""
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
        """Stands at ``n`` units now; fewer than before is legal."""
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
        """What 100 % is; it may change at any time. None: unknown."""
        if total is not None and (type(total) is not int or total < 0):
            total = _amount("set_total", total)
        with self._lock:
            self._total = total
            self._last = self._clock()
        if self._is_quiet:
            self._wake()

    def set_message(self, message: str | None) -> None:
        """What it does now, in words (at most 10,000 characters)."""
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
        """Units done, as they were counted: it may be more than ``total``."""
        return self._current

    @property
    def current(self) -> int | float:
        """The same as ``completed``."""
        return self._current

    @property
    def total(self) -> int | float | None:
        """Units that are 100 %; None while that is unknown."""
        return self._total

    @property
    def message(self) -> str | None:
        """What it does now, in words."""
        return self._message

    @property
    def percentage(self) -> float:
        """From 0.0 to 100.0: 0.0 while the total is unknown, 100.0 of a total of 0."""
        with self._lock:
            return _rate.percentage(self._current, self._total)

    @property
    def indeterminate(self) -> bool:
        """Whether the total is unknown."""
        return self._total is None

    @property
    def elapsed(self) -> float:
        """Seconds since the attempt began, or since it was made."""
        return max(0.0, self._clock() - self._rate.started)

    @property
    def rate(self) -> float | None:
        """Units per second, the last quarter of a minute counting most; None before there is anything to tell."""
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
        """All of it as it stands now, in the record that every reader of a task's progress gets."""
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
        """The same as JSON takes it; see :meth:`Progress.to_dict`."""
        return self.record().to_dict()

    # ----------------------------------------------------------------------------------------------------- in a task

    @classmethod
    def of_task(cls, *, resume: bool = False) -> ProgressTracker:
        """The running task's tracker, the same at every call; outside of a task one of its own, that counts for itself.

        ``resume`` counts at the first call: go on where the last attempt stopped.
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
        """Writes into this attempt's context from now on."""
        stored = running.get(place)
        with self._lock:
            self._begin()
            self._running, self._attempt = running, running.attempt
            if isinstance(stored, dict) and self._resume:
                self._load(stored)
            # What an earlier attempt left is this one's only if it goes on from there.
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
        """What is to be stored, if something was said since the last call."""
        with self._lock:
            if self._is_told:
                return None
            # Before it is read: what is said from here on asks for another write.
            self._is_quiet, self._is_told = True, True
            found = self.to_dict()
        del found["current"]
        return found


class StoredProgress(ProgressTracker):
    """How far a task had come when it last said so; to be read only. Of a running task that has said nothing for a
    second or more the rate falls, and the estimate rises, as time goes on."""

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
        """Seconds for which a running task has said nothing; 0.0 if that is no stall."""
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


# A tracker among arguments or attributes begins anew where the task runs: only how it was made travels.
_codec.register_serializer(
    ProgressTracker,
    lambda tracker: {"total": tracker._given, "resume": tracker._resume},
    _made,
    name="taskyard.progress:ProgressTracker",
)

__all__ = ["Progress", "ProgressTracker", "StoredProgress"]
