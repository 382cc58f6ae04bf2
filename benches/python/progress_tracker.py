"""What one call of a ``ProgressTracker`` costs: ``python benches/python/progress_tracker.py``.

Measured unattached, attached to a running attempt that asks for a write whenever it may, and beside a bare method call
and a clock call, which are most of it.
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
    """The least that counting can cost."""

    def __init__(self) -> None:
        self.current = 0

    def advance(self, n: int = 1) -> None:
        self.current += n


def attached() -> ProgressTracker:
    """A tracker in an attempt whose worker takes what there is at once."""

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
    """The cost of one call: the best of some rounds."""
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
