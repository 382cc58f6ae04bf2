"""The tasks of the benchmark, which only record that they ran."""

from __future__ import annotations

from harness import hit


async def noop(number: int) -> None:
    hit(number)


def noop_sync(number: int) -> None:
    hit(number)
