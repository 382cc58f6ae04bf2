"""Stored tasks meet newer classes: what a class declared is stored with its tasks, and compared with what it declares now.

A class declares what it annotates, the parameters of its ``__init__``, and its slots. An attribute that was declared and is
not any more is an error that names it, or goes by an alias. For new parameters of ``__init__`` the class is called with what was
stored, and the stored attributes stay what they were. Other attributes are set as they were stored; a task whose class
declares what it did is rebuilt without a call of the class. A class with its own ``to_payload`` or ``from_payload`` sees to all
this itself, and new fields of dataclasses are set by ``from_payload`` (``_dataclasses``).
"""

from __future__ import annotations

import dataclasses
import inspect
import weakref
from typing import Any

from .. import _codec, _hints, _resolve, _restore
from ..errors import InvalidArgument
from .base import Task, attributes_of, slots_of

_declared: weakref.WeakKeyDictionary[Any, tuple[str, ...]] = weakref.WeakKeyDictionary()


def declared(cls: type[Task]) -> tuple[str, ...]:
    """The names that a class of tasks declares."""
    found = _declared.get(cls)
    if found is None:
        names = {*_hints.of_class(cls), *_parameters(cls), *slots_of(cls)} - {*_hints.of_class(Task)}
        found = _declared[cls] = tuple(sorted(names))
    return found


def _parameters(cls: type[Task]) -> dict[str, inspect.Parameter]:
    """The parameters of its ``__init__`` that have names."""
    try:
        _, *parameters = _hints.signature(cls.__init__).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {each.name: each for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)}


def has_own_payload(cls: type[Task]) -> bool:
    """Whether a class says itself what is stored of its tasks, or how they are made of it."""
    return cls.to_payload is not Task.to_payload or cls.from_payload.__func__ is not Task.from_payload.__func__  # type: ignore[attr-defined]


def current(cls: type[Task], stored: dict[str, Any], recorded: list[str] | None) -> dict[str, Any]:
    """Stored attributes as the class has them now; ``recorded`` is what it declared when they were stored, None of tasks with
    which that was not stored. Raises ``InvalidArgument`` for one that is gone, or that the class wants and does not get."""
    if has_own_payload(cls):
        return stored
    names, renamed = declared(cls), _restore.renamed(cls)
    found: dict[str, Any] = {}
    for name, value in stored.items():
        if name in names:
            found[name] = value
        elif name in renamed:
            found.setdefault(renamed[name], value)
        elif name in (recorded or ()) and not hasattr(cls, name):
            raise InvalidArgument(
                f"a stored `{_codec.class_name(cls)}` has the attribute `{name}`, which its class declares no more",
                hint=f"annotate it in the class if it still has it, or {_restore.ALIAS}",
            )
        else:
            found[name] = value
    if recorded is None or dataclasses.is_dataclass(cls):
        return found
    return {**_added(cls, found, recorded), **found}


def _added(cls: type[Task], stored: dict[str, Any], recorded: list[str]) -> dict[str, Any]:
    """The attributes of an object that the class makes of stored ones, if its ``__init__`` has parameters that are new."""
    parameters = _parameters(cls)
    new = [name for name in parameters if name not in recorded and name not in stored]
    if not new:
        return {}
    lacking = [name for name, each in parameters.items() if each.default is each.empty and name not in stored]
    for name in lacking:
        if name in new:
            raise _restore.missing(_codec.class_name(cls), name)
    if lacking or _resolve.injected(cls.__init__):
        # The class stores its arguments under other names, or is injected into: it cannot be called with what was stored.
        return {}
    try:
        return attributes_of(cls(**{name: stored[name] for name in parameters if name in stored}))
    except Exception as error:
        raise InvalidArgument(
            f"a stored `{_codec.class_name(cls)}` has no attribute {', '.join(f'`{name}`' for name in new)}, and its class "
            f"cannot be made of those it has: {type(error).__name__}: {error}",
            hint="give new parameters defaults, or override to_payload and from_payload in the class",
        ) from error
