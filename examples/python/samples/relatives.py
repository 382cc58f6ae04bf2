"""Tasks that use each other's results: references, chains, groups, fan-in, ranges of ids."""

from __future__ import annotations

from typing import Any

from taskyard import QueuedTasks
from taskyard.batches import id_ranges


def load(name: str) -> list[int]:
    return [len(name), 7]


def merge(left: list[int], right: list[int]) -> list[int]:
    return [*left, *right]


def double(numbers: list[int]) -> list[int]:
    return [number * 2 for number in numbers]


def total(first: int, past: int) -> int:
    return sum(range(first, past))


def report(parts: list[int]) -> dict[str, int]:
    return {"parts": len(parts), "sum": sum(parts)}


async def relate(tasks: QueuedTasks) -> list[Any]:
    # A reference as an argument makes the task a parent and is replaced by its result.
    merged = tasks.add_task(merge, tasks.add_task(load, "a.csv"), tasks.add_task(load, "long.csv"))
    # Each runs when the previous one is done, with its result as the first argument.
    chained = tasks.add_chain([tasks.call(load, "b.csv"), double, double])
    # Ranges of ids in parallel, and a task after all of them; all are added or none.
    summed = tasks.add_fan_in([tasks.call(total, first, past) for first, past in id_ranges(0, 1_000, 300)], report)
    return [await merged.wait(20), await chained[-1].wait(20), await summed.then.wait(20)]
