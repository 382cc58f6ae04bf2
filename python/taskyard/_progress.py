"""The progress of a task: one record for every reader, made of the entry ``progress`` of the task's context.

References (``get_progress()``), events and routes return the same record. The code that counts and writes the entry is
in ``progress.py``. A task may also write the entry itself (``set_context("progress", 50)``,
``set_context("progress.total", 10)``), so that any value of it may be missing or of another type: such a value is None
here.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from typing import Any

from . import _codec

__all__ = ["PLACE", "Progress", "instant", "of_entry"]

#: Key of a task's progress in its context.
PLACE = "progress"


@dataclasses.dataclass(frozen=True)
class Progress:
    """A task's progress as the task last recorded it."""

    #: Units done; it may be more than ``total``.
    completed: int | float | None = None
    #: Units that are 100 %; None while that is unknown.
    total: int | float | None = None
    #: Percent done.
    percentage: float | None = None
    #: The current step, in words.
    message: str | None = None
    #: Units per second, the last quarter of a minute counting most.
    rate: float | None = None
    #: Seconds that are left at this rate.
    eta_seconds: float | None = None
    #: Seconds since the attempt began.
    elapsed: float | None = None
    #: Whether it is unknown how much is left.
    indeterminate: bool = False
    #: When it was last changed (UTC).
    updated_at: dt.datetime | None = None
    #: The attempt that recorded it, from 1.
    attempt: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns a dict for JSON. ``current`` repeats ``completed``: a :class:`ProgressTracker` has both names."""
        updated_at = None if self.updated_at is None else self.updated_at.isoformat()
        return {**dataclasses.asdict(self), "current": self.completed, "updated_at": updated_at}


def of_entry(entry: Any) -> Progress | None:
    """Converts an entry of a context: a number is a percentage. Returns None for anything but numbers and dicts."""
    if not isinstance(entry, dict):
        percentage = _float(entry)
        return None if percentage is None else Progress(percentage=percentage)
    completed, total = number(entry.get("completed")), number(entry.get("total"))
    percentage = _float(entry.get("percentage"))
    if percentage is None and completed is not None and total is not None and total > 0:
        percentage = _quotient(completed, total)
    message, indeterminate, attempt = entry.get("message"), entry.get("indeterminate"), entry.get("attempt")
    return Progress(
        completed=completed,
        total=total,
        percentage=percentage,
        message=message if isinstance(message, str) else None,
        rate=_float(entry.get("rate")),
        eta_seconds=_float(entry.get("eta_seconds")),
        elapsed=_float(entry.get("elapsed")),
        indeterminate=indeterminate if isinstance(indeterminate, bool) else total is None and percentage is None,
        updated_at=instant(entry.get("updated_at")),
        attempt=attempt if isinstance(attempt, int) and not isinstance(attempt, bool) else None,
    )


def number(value: Any) -> int | float | None:
    """Returns a finite number, an integral one as an int; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, int):
        return value
    return None if not math.isfinite(value) else int(value) if value.is_integer() else value


def instant(value: Any) -> dt.datetime | None:
    """Parses an instant as Python or the engine writes it; None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        try:
            found = dt.datetime.fromisoformat(value)
        except ValueError:
            # Python 3.10 does not read what a Rust task writes.
            found = _codec.instant(value)
        return found.astimezone(dt.timezone.utc) if found.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _float(value: Any) -> float | None:
    found = number(value)
    try:
        return None if found is None else float(found)
    except OverflowError:
        return None


def _quotient(completed: float, total: float) -> float | None:
    try:
        percentage = completed / total * 100.0
    except OverflowError:
        # The quotient of integers may exceed the range of a float.
        return None
    return percentage if math.isfinite(percentage) else None
