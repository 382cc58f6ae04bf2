"""The table of options (``taskyard._options.TABLE``), and all that repeats it: stubs, signatures and documentation."""

from __future__ import annotations

import inspect
import os
import pathlib
import re
from collections.abc import Callable

import pytest
from taskyard._options import OPTIONS, TABLE
from taskyard.records import TaskRecord
from taskyard.tasks import TaskQueue

ROOT = pathlib.Path(__file__).parents[2]
#: Set to write the generated parts instead of comparing them. The tests clear the variables of Taskyard itself.
WRITE = "WRITE_OPTIONS"
#: The longest line of the stubs.
WIDTH = 124


def typed_dict() -> str:
    return "".join(f"    {name}: {TABLE[name].type}\n" for name in sorted(TABLE))


def overloads() -> str:
    """Returns the overloads of ``add_task`` for calls with one option, formatted as by ruff."""
    made = ""
    for name in sorted(TABLE):
        for count, arguments in (("1", "a: Arg[A] = ..."), ("2", "a: Arg[A], b: Arg[B]")):
            for kind in ("Async", "Sync"):
                types = "A, R" if count == "1" else "A, B, R"
                given = f"self, f: {kind}Key{count}[{types}], {arguments}, /, *, {name}: {TABLE[name].type}, **own: Any"
                line = f"    def add_task({given}) -> QueuedTaskRef[R]: ...\n"
                if len(line) > WIDTH + 1:
                    line = f"    def add_task(\n        {given}\n    ) -> QueuedTaskRef[R]: ...\n"
                made += f"    @overload\n{line}"
    return made


def docstring() -> str:
    return "".join(f"        - ``{name}``: {option.meaning}\n" for name, option in TABLE.items())


def page() -> str:
    return "".join(f"- ``{name}``: {option.meaning}\n" for name, option in TABLE.items()).replace("``", "`")


#: The generated parts: their file, a pattern before them, that of their text, and what writes it.
PARTS: list[tuple[str, str, str, Callable[[], str]]] = [
    ("python/taskyard/_options.pyi", r"class Options\(.*\n.*\n", r"(?:    \w+: .*\n)+", typed_dict),
    ("python/taskyard/queued_tasks.pyi", r"    # From here on written by .*\n", r"(?:.*\n)+?(?=    # To here)", overloads),
    ("python/taskyard/queued_tasks.py", r"the options. They are\n\n", r"(?:        - ``.*\n)+", docstring),
    ("docs/python.md", r"## Options\n\n", r"(?:- `.*\n)+", page),
]


@pytest.mark.parametrize(("file", "before", "text", "written"), PARTS, ids=[file for file, *_ in PARTS])
def test_generated_parts_are_those_of_the_table(file: str, before: str, text: str, written: Callable[[], str]) -> None:
    path = ROOT / file
    source = path.read_text(encoding="utf-8")
    [found] = re.findall(f"{before}({text})", source)
    if os.environ.get(WRITE):
        path.write_text(source.replace(found, written()), encoding="utf-8")
    else:
        assert found == written(), f"run with {WRITE}=1 to write {file}"


def test_task_queues_take_every_option() -> None:
    found = set(inspect.signature(TaskQueue.enqueue).parameters) - {"self", "task"}
    assert found == OPTIONS - {"connection", "parent", "runtime"}


def test_records_show_every_extra_option() -> None:
    assert {name for name, option in TABLE.items() if option.goes_to == "extra"} <= vars(TaskRecord).keys()
