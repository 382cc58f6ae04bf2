"""Estimates rates from counts and times. Pure arithmetic on the times that are passed in.

The rate is an exponential mean over time whose half-life is :data:`HALF_LIFE` seconds, corrected for the bias of its
start (its weights are divided by their sum), and blended with the mean over everything while there are few samples. A
stall is a sample without progress: it lowers the rate each time the rate is computed, so that the remaining time grows
instead of standing still.
"""

from __future__ import annotations

import math
from typing import Any

__all__ = ["LARGEST", "Rate", "percentage", "remaining", "stalled"]

#: Seconds after which a measurement counts half.
HALF_LIFE = 15.0
#: Samples and seconds that an estimate needs.
SAMPLES_MIN = 2
SECONDS_MIN = 1.0
#: Limit of all figures, so that arithmetic on them stays finite.
LARGEST = 1e290


def _figure(value: Any) -> float:
    """The value as a float that further arithmetic keeps finite."""
    try:
        return min(float(value), LARGEST)
    except OverflowError:
        return LARGEST


def _gap(above: Any, below: Any) -> float:
    """Returns the difference, or 0 if it is negative. Either may be an integer that exceeds the range of a float."""
    try:
        return _figure(max(above - below, 0))
    except OverflowError:
        return max(_figure(above) - _figure(below), 0.0)


class Rate:
    """The rate of one count. Times are seconds of any clock that does not go back."""

    __slots__ = ("_average", "_done", "_seen", "_seen_at", "_weight", "samples", "started")

    def __init__(self, started: float, seen: Any = 0) -> None:
        self.started = started
        self.samples = 0
        self._seen_at = started
        self._seen = seen
        #: Sum of all increases; decreases of the count do not lower it.
        self._done = 0.0
        self._average = 0.0
        self._weight = 0.0

    def _folded(self, now: float, count: Any) -> tuple[float, float, float]:
        """Returns the sum of increases, the mean and the sum of its weights, including the time since the last sample."""
        passed = now - self._seen_at
        gained = _gap(count, self._seen)
        if passed <= 0:
            return self._done, self._average, self._weight
        share = 1.0 - 0.5 ** (passed / HALF_LIFE)
        average = self._average + share * (min(gained / passed, LARGEST) - self._average)
        return min(self._done + gained, LARGEST), average, self._weight + share * (1.0 - self._weight)

    def sample(self, now: float, count: Any) -> None:
        """Records that the count is ``count`` at the time ``now``."""
        if now <= self._seen_at:
            # A clock that stands still or goes back yields no rate; the next sample includes this count.
            self._seen_at = now
            return
        self._done, self._average, self._weight = self._folded(now, count)
        self._seen, self._seen_at = count, now
        self.samples += 1

    def per_second(self, now: float, count: Any) -> float | None:
        """Returns units per second; None before the first sample."""
        done, average, weight = self._folded(now, count)
        elapsed = now - self.started
        if self.samples == 0 or elapsed <= 0 or weight <= 0:
            return None
        return weight * (average / weight) + (1.0 - weight) * (done / elapsed)

    def is_known(self, now: float) -> bool:
        """Whether there is enough for an estimate."""
        return self.samples >= SAMPLES_MIN and now - self.started >= SECONDS_MIN


def remaining(rate: float | None, count: Any, total: Any) -> float | None:
    """Returns the seconds until ``total`` at this rate; None if it is unknown."""
    if total is None or rate is None:
        return None
    if count >= total:
        return 0.0
    if rate <= 0:
        return None
    seconds = _gap(total, count) / rate
    return seconds if math.isfinite(seconds) else None


def stalled(rate: float, elapsed: float, quiet: float) -> float:
    """Returns a rate that was recorded ``quiet`` seconds ago, after ``elapsed`` seconds, as it is now if no progress
    was made since."""
    young: float = 0.5 ** (elapsed / HALF_LIFE)
    faded: float = rate * 0.5 ** (quiet / HALF_LIFE)
    diluted = rate * elapsed / (elapsed + quiet) if elapsed + quiet > 0 else rate
    return (1.0 - young) * faded + young * diluted


def percentage(count: Any, total: Any) -> float:
    """Returns a percentage from 0 to 100: 0 while the total is unknown, 100 for a total of 0 and beyond the total."""
    if total is None:
        return 0.0
    if count >= total:
        return 100.0
    try:
        return min(100.0, float(count / total) * 100.0)
    except OverflowError:
        # At least one operand is an integer that exceeds the range of a float.
        return min(100.0, _figure(count) / _figure(total) * 100.0)
