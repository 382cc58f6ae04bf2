"""Tasks that depend on each other: results as arguments, chains, groups, ranges of ids, and cursors."""

from __future__ import annotations

import pathlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.project import Project
from taskyard import InvalidArgument, ParentTaskFailed, QueuedTasks, Retry, TaskFailed
from taskyard._worker import Embedded
from taskyard.batches import Cursor, id_ranges
from taskyard.queued_task import get_current_task


async def add(left: Any, right: Any) -> Any:
    return left + right


def total(parts: list[int], label: str = "total") -> str:
    return f"{label}: {sum(parts)}"


async def breaks(*_: Any) -> int:
    raise ValueError("broken")


async def count_ended(parts: list[Any]) -> tuple[int, list[str]]:
    failed = [part.error for part in parts if isinstance(part, TaskFailed)]
    return len(parts), failed


async def kind_of(value: Any) -> str:
    return type(value).__name__


async def into(things: dict[str, Any]) -> list[Any]:
    return [things["a"][0], things["b"]]


@pytest.fixture
async def tasks(database: str) -> AsyncIterator[QueuedTasks]:
    async with QueuedTasks(database=database, max_retries=0) as tasks:
        async with Embedded(tasks, 1, 10):
            yield tasks


async def test_a_reference_as_an_argument_is_its_result(tasks: QueuedTasks) -> None:
    first = tasks.add_task(add, 1, 2)
    second = tasks.add_task(add, left=first, right=10)
    assert await tasks.add_task(add, first, second) == 16
    assert (await second.record())["parents"] == [first.id]
    assert await tasks.add_task(into, {"a": [first], "b": second}) == [3, 13]
    # As exact as any other value, also from a task that ended long ago.
    exact = tasks.add_task(add, (1, b"x"), (2,))
    assert await exact == (1, b"x", 2)
    assert await tasks.add_task(kind_of, exact) == "tuple"
    # Calls of one addition may name each other, in any order.
    one = tasks.call(add, 1, 1)
    two = tasks.call(add, one, one)
    refs = tasks.add_tasks([tasks.call(add, two, one), two, one])
    assert await refs[0] == 6
    fallen = tasks.add_task(breaks)
    with pytest.raises(ParentTaskFailed):
        await tasks.add_task(add, fallen, 1)
    assert await tasks.add_task(kind_of, fallen, on_parent_failure="run") == "TaskFailed"


async def test_what_is_not_a_parent_is_not_an_argument(tasks: QueuedTasks) -> None:
    with pytest.raises(InvalidArgument):
        tasks.add_tasks([123])
    text = '{"$result": "00000000-0000-0000-0000-000000000000"}'
    assert await tasks.add_task(kind_of, text) == "str"
    assert await tasks.add_task(kind_of, {"$result": "x"}) == "dict"


async def test_chains_hand_on_and_fall_together(tasks: QueuedTasks) -> None:
    refs = tasks.add_chain([(add, 1, 1), *[(add, 1)] * 20])
    assert await refs[-1] == 22
    broken = tasks.add_chain([(add, 1, 1), breaks, (add, 1)])
    with pytest.raises(ParentTaskFailed):
        await broken[2]
    assert tasks.add_chain([]) == []


async def test_a_groups_callback_runs_once_when_all_have_ended(tasks: QueuedTasks) -> None:
    group = tasks.add_fan_in([(add, n, n) for n in range(300)], tasks.call(total, label="sum"))
    assert await group == "sum: 89700"
    assert len(await group.then.get_attempts()) == 1
    assert await tasks.add_group([(add, 1, 1), breaks, (add, 2, 2)], count_ended) == (3, ["broken"])
    with pytest.raises(ParentTaskFailed):
        await tasks.add_fan_in([(add, 1, 1), breaks], total)
    assert await tasks.add_group([], count_ended) == (0, [])
    with pytest.raises(TypeError):
        tasks.add_group([(add, 1, 1)], tasks.call(add, 1, 2))


seen: list[tuple[int, int, int]] = []


async def import_rows(rows: int) -> int:
    cursor, found = Cursor("rows"), 0
    async for first, stop in cursor.ranges(0, rows, 10):
        attempt = get_current_task().attempt
        seen.append((attempt, first, stop))
        if attempt == 1 and first == 10:
            raise Retry("the power failed", after=0)
        found += stop - first
    return found


def import_sync(rows: int) -> list[Any]:
    cursor = Cursor("rows")
    return [*cursor.ranges_sync(0, rows, 10), cursor.position]


async def test_a_cursor_goes_on_where_the_last_attempt_was(tasks: QueuedTasks) -> None:
    seen.clear()
    ref = tasks.add_task(import_rows, 35, max_retries=2)
    assert await ref == 25
    assert seen == [(1, 0, 10), (1, 10, 20), (2, 10, 20), (2, 20, 30), (2, 30, 35)]
    assert (await ref.get_context())["cursors"] == {"rows": 35}
    assert await tasks.add_task(import_sync, 25) == [(0, 10), (10, 20), (20, 25), 25]
    for name in ("", "a.b", "$x"):
        with pytest.raises(InvalidArgument):
            Cursor(name)


def test_ranges_of_ids_cover_all_and_never_overlap() -> None:
    assert list(id_ranges(0, 10, 4)) == [(0, 4), (4, 8), (8, 10)]
    assert list(id_ranges(5, 5, 1)) == []
    assert sum(stop - first for first, stop in id_ranges(-7, 100_000, 1_000)) == 100_007
    with pytest.raises(InvalidArgument):
        id_ranges(0, 10, 0)


def test_results_cross_languages_and_processes(project: Project) -> None:
    project.write(
        "app.py",
        """
        async def add(left, right):
            return left + right
        """,
    )
    ids = project.python(
        """
        from app import add
        from taskyard import QueuedTasks
        with QueuedTasks() as tasks:
            first = tasks.add_task(add, 1, 2)
            rust = tasks.add_task("some::rust", first, {"b": [first]})
            last = tasks.add_task(add, first, 10)
            tasks.flush()
            print(first.id, rust.id, last.id)
        """
    ).split()
    project.server("--workers", "1", app="app")
    assert project.ended(ids[2])["result"] == 13
    other = project.task(ids[1])
    assert other["parents"] == [ids[0]] and other["payload"]["args"][0] == {"$result": ids[0]}


NESTS = """
    from taskyard import QueuedTasks
    tasks = QueuedTasks()

    async def nest(depth, width):
        if depth == 0:
            return 1
        refs = [tasks.add_task(nest, depth - 1, width) for _ in range(width)]
        return 1 + sum([await ref for ref in refs])

    def nest_sync(depth):
        return 1 if depth == 0 else 1 + tasks.add_task(nest_sync, depth - 1).result()

    running = 0

    def one_at_a_time(depth):
        global running
        running += 1
        seen = running
        if depth:
            running -= 1
            tasks.add_task(one_at_a_time, depth - 1).result()
            running += 1
            seen = max(seen, running)
        running -= 1
        return seen
"""


def test_nested_waits_never_take_all_places(project: Project) -> None:
    project.write("app.py", NESTS)
    project.server("--workers", "1", "--concurrency", "2", app="app")
    ids = project.add("nest, 20, 1", "nest, 4, 4", "nest_sync, 20", "one_at_a_time, 5", "one_at_a_time, 5")
    results = [project.ended(id, 60)["result"] for id in ids]
    assert results == [21, 341, 21, 1, 1]


LARGE = """
    def large():
        return "x" * 1_000_000

    async def lengths(parts):
        return sum(len(part) for part in parts)
"""


def test_results_that_make_arguments_too_large_are_refused_before_they_are_filled(project: Project) -> None:
    project.write("app.py", LARGE)
    server = project.server("--workers=1", app="app")
    add = """
        import app
        from taskyard import QueuedTasks
        with QueuedTasks(max_retries=0) as tasks:
            parents = [tasks.add_task(app.large) for _ in range(70)]
            tasks.flush()
            few = tasks.add_task(app.lengths, [parents[0]] * 10)
            often = tasks.add_task(app.lengths, [parents[0]] * 900)
            many = tasks.add_task(app.lengths, parents)
            tasks.flush()
            print(few.id, often.id, many.id)
    """
    few, often, many = (project.ended(id, 90) for id in project.python(add).split())
    assert few["result"] == 10_000_000
    assert (often["state"], often["error"]["type"]) == ("failed", "taskyard.errors.OverLimit"), often
    assert "arguments_filled_bytes_max" in often["error"]["message"]
    assert (many["state"], many["error"]["type"]) == ("failed", "taskyard.errors.OverLimit"), many
    for process in (server.pid, server.worker().pid):
        assert _most_memory(process) < 450 << 20
    assert server.stop() == 0


def _most_memory(pid: int) -> int:
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) << 10
