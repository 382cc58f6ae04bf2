"""Measures the cost of a call of ``ProgressTracker``: ``python benches/python/progress_tracker.py``.

The tracker is measured unattached and attached to a running attempt that requests a write as often as allowed. A bare
method call and a clock call, which make up most of the cost, are measured for comparison.
"""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable
from typing import Any

from taskyard import _running
from taskyard.progress import ProgressTracker

CALLS = 500_000
ROUNDS = 5


class Bare:
    """A counter without anything else, as the lower bound."""

    def __init__(self) -> None:
        self.current = 0

    def advance(self, n: int = 1) -> None:
        self.current += n


def attached() -> ProgressTracker:
    """Returns a tracker of an attempt whose worker accepts progress at once."""

    class Loop:
        time = staticmethod(time.monotonic)

    class Channel:
        def note(self, *_: Any) -> None:
            pass

    class Worker:
        settings = _running.DEFAULT_LIMITS
        loop = Loop()
        channel = Channel()

        def wants_progress(self, running: _running.Running) -> None:
            if running.progressed_at + _running.PROGRESS_EVERY <= time.monotonic():
                running.note()

    run = (1, "id", "kind", None, "default", b"{}", None, 1, None, False, {})
    running = _running.Running(Worker(), run)  # type: ignore[arg-type]
    token = _running.current.set(running)
    try:
        return ProgressTracker.of_task()
    finally:
        _running.current.reset(token)


def nanoseconds(call: Callable[[], Any]) -> float:
    """Returns the cost of a call in nanoseconds, the best of several rounds."""
    return min(timeit.repeat(call, number=CALLS, repeat=ROUNDS)) / CALLS * 1e9


def main() -> None:
    alone, inside = ProgressTracker(total=10**9), attached()
    for name, call in (
        ("an empty loop turn", lambda: None),
        ("time.monotonic()", time.monotonic),
        ("a bare method", Bare().advance),
        ("advance()", alone.advance),
        ("advance(1)", lambda: alone.advance(1)),
        ("update(7)", lambda: alone.update(7)),
        ("set_message(...)", lambda: alone.set_message("reading")),
        ("advance(1) in a task", lambda: inside.advance(1)),
        ("update(7) in a task", lambda: inside.update(7)),
    ):
        print(f"{name:24} {nanoseconds(call):7.0f} ns")


if __name__ == "__main__":
    main()
