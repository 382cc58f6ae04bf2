"""The public names of the package are a committed list, so that a change of the interface shows in a diff."""

from __future__ import annotations

import importlib
import inspect
import os
import pathlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import taskyard

LIST = pathlib.Path(__file__).parent / "public_names.txt"
#: Set to write the list instead of comparing it. The tests clear the variables of Taskyard itself.
WRITE = "WRITE_PUBLIC_NAMES"


def modules() -> Iterator[ModuleType]:
    """Returns the public modules; those that run programs when they are imported have no names."""
    yield taskyard
    for found in pkgutil.walk_packages(taskyard.__path__, "taskyard."):
        if not any(part.startswith("_") for part in found.name.split(".")):
            yield importlib.import_module(found.name)


def members(owner: type) -> Iterator[str]:
    """Returns the public attributes that this class or a class of this package gives it."""
    for name in dir(owner):
        if name.startswith("_"):
            continue
        giver = next((base for base in owner.__mro__ if name in vars(base)), None)
        if giver is not None and giver.__module__.startswith("taskyard"):
            yield name
    if not issubclass(owner, BaseException):
        yield from (name for name in getattr(owner, "__dataclass_fields__", {}) if not name.startswith("_"))


def public_names() -> list[str]:
    names: set[str] = set()
    for module in modules():
        for name in module.__all__:
            path = f"{module.__name__}.{name}"
            names.add(path)
            value = getattr(module, name)
            if inspect.isclass(value) and value.__module__.startswith("taskyard"):
                names |= {f"{path}.{member}" for member in members(value)}
    return sorted(names)


def test_public_names_change_with_the_list_only() -> None:
    names = public_names()
    if os.environ.get(WRITE):
        LIST.write_text("".join(f"{name}\n" for name in names))
    listed = LIST.read_text().splitlines()
    changes = [f"+ {name}" for name in names if name not in listed] + [f"- {name}" for name in listed if name not in names]
    assert not changes, f"if that is meant, run with {WRITE}=1: " + ", ".join(changes)
