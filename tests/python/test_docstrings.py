"""The examples of docstrings: each block after `Example::` runs as it is written, on a queue of its own.

An example is the body of a module, with `await`. It may use every public name of the package, the queue `tasks`, whose tasks run at
`await tasks.drain()`, its clock `queue_clock`, and the functions of this file.
"""

from __future__ import annotations

import ast
import datetime as dt
import importlib
import inspect
import pathlib
import re
import sys
import types
from typing import Any

import pytest
import taskyard
from taskyard.progress import ProgressTracker
from taskyard.testing import Clock, ManualTasks

PACKAGE = pathlib.Path(taskyard.__file__).parent
MARK = "Example::"
BLOCK = re.compile(rf"^( *){MARK}\n\n((?:\1    .*\n|\n)+)", re.MULTILINE)
#: Modules whose public names the examples use.
MODULES = tuple(f"taskyard{below}" for below in ("", ".batches", ".progress", ".queued_task", ".schedules", ".testing"))
#: Fewer examples than this mean that they are not found.
EXAMPLES_MIN = 60


def send_welcome(to: str) -> str:
    return f"sent to {to}"


def add(left: int, right: int) -> int:
    return left + right


def total(parts: list[int]) -> int:
    return sum(parts)


def divide(left: int, right: int) -> int:
    return left // right


def report() -> str:
    return "42 sold"


def import_rows(count: int) -> None:
    taskyard.getLogger("rows").info("%d rows", count)
    progress = ProgressTracker.of_task()
    progress.set_total(count)
    progress.advance(count)


def examples() -> list[Any]:
    """Returns the examples of the installed package, each as a parameter with the name of what it belongs to."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        below: list[tuple[str, ast.AST]] = [(path.stem, ast.parse(text))] if MARK in text else []
        while below:
            name, node = below.pop()
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                for _, block in BLOCK.findall((ast.get_docstring(node) or "") + "\n"):
                    found.append(pytest.param(inspect.cleandoc(block), id=name))
                below += [(f"{name}.{getattr(child, 'name', '')}", child) for child in ast.iter_child_nodes(node)]
    return found


def names() -> dict[str, Any]:
    """Returns the names that every example can use."""
    known: dict[str, Any] = {"dt": dt}
    for module in map(importlib.import_module, MODULES):
        public = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
        known |= {name: getattr(module, name) for name in public if name != "__version__"}
    return known | {one.__name__: one for one in (send_welcome, add, total, divide, report, import_rows)}


EXAMPLES = examples()


@pytest.mark.parametrize("source", EXAMPLES)
async def test_an_example_runs(
    source: str,
    task_queue: ManualTasks,
    queue_clock: Clock,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    # A module, because tasks refer to their functions by module and name.
    module = types.ModuleType(f"example_{tmp_path.name}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    vars(module).update(names(), tasks=task_queue, queue_clock=queue_clock)
    code = compile(source, "<example>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    running = eval(code, vars(module))
    if inspect.iscoroutine(running):
        await running


def test_the_examples_are_found() -> None:
    assert len(EXAMPLES) >= EXAMPLES_MIN
