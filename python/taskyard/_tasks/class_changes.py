"""Adapts stored tasks to newer versions of their classes: the names that a class declared are stored with its tasks,
and compared with those that it declares now.

A class declares its annotations, the parameters of its ``__init__``, and its slots. A stored attribute that was
declared and no longer is raises an error that names it, unless an alias exists. For new parameters of ``__init__`` the
class is called with the stored attributes, which then keep their stored values. Other attributes are set as stored; a
task whose class declares the same names is rebuilt without calling the class. A class with its own ``to_payload`` or
``from_payload`` handles all this itself, and new fields of dataclasses are set by ``from_payload`` (``_dataclasses``).
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import weakref
from typing import Any, NamedTuple

from .. import _classes, _hints, _resolve, _restore, _signatures
from ..errors import InvalidArgument
from .base import Task, attributes_of, slots_of

__all__ = ["current", "with_declared"]


class _Declared(NamedTuple):
    """The names that a task class declares."""

    names: frozenset[str]
    #: The names as they are stored.
    listed: list[str]
    #: The names as the end of a payload's JSON.
    end: bytes
    #: Whether the class handles changes itself.
    has_own_payload: bool


_declared: weakref.WeakKeyDictionary[Any, _Declared] = weakref.WeakKeyDictionary()


def _of(cls: type[Task]) -> _Declared:
    found = _declared.get(cls)
    if found is None:
        names = frozenset({*_hints.of_class(cls), *_parameters(cls), *slots_of(cls)} - {*_hints.of_class(Task)})
        listed, is_own = sorted(names), has_own_payload(cls)
        text = json.dumps(listed, ensure_ascii=False, separators=(",", ":"))
        end = "}" if is_own else f',"fields":{text}}}'
        found = _declared[cls] = _Declared(names, listed, end.encode(), is_own)
    return found


def with_declared(cls: type[Task], payload: bytes) -> bytes:
    """Appends the names that the class declares to a payload, a JSON object that is not empty. Offsets in it stay
    valid."""
    return payload[:-1] + _of(cls).end


def _parameters(cls: type[Task]) -> dict[str, inspect.Parameter]:
    """Returns the named parameters of a class's ``__init__``."""
    try:
        _, *parameters = _hints.signature(cls.__init__).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {each.name: each for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)}


def has_own_payload(cls: type[Task]) -> bool:
    """Whether a class overrides what is stored of its tasks, or how they are created from it."""
    if cls.to_payload is not Task.to_payload:
        return True
    # A static method has no `__func__`.
    return getattr(cls.from_payload, "__func__", None) is not Task.from_payload.__func__  # type: ignore[attr-defined]


def current(cls: type[Task], stored: dict[str, Any], recorded: list[str] | None) -> dict[str, Any]:
    """Returns stored attributes under the names that the class has now.

    ``recorded`` are the names that it declared when they were stored; None for tasks without that record. Raises
    ``InvalidArgument`` for an attribute that was removed, or for a new one that the class requires.
    """
    names, listed, _, is_own = _of(cls)
    is_same = recorded == listed
    if is_own or (is_same and stored.keys() <= names):
        return stored
    renamed = _restore.renamed(cls)
    found: dict[str, Any] = {}
    for name, value in stored.items():
        if name in names:
            found[name] = value
        elif name in renamed:
            found.setdefault(renamed[name], value)
        elif name in (recorded or ()) and not hasattr(cls, name):
            raise InvalidArgument(
                f"a stored `{_classes.class_name(cls)}` has the attribute `{name}`, which its class no longer declares",
                hint=f"annotate it in the class if it still has it, or {_restore.ALIAS}",
            )
        else:
            found[name] = value
    if is_same or recorded is None or dataclasses.is_dataclass(cls):
        return found
    return {**_added(cls, found, recorded), **found}


def _added(cls: type[Task], stored: dict[str, Any], recorded: list[str]) -> dict[str, Any]:
    """Returns the attributes of an object that the class creates from the stored ones, if its ``__init__`` has new
    parameters."""
    parameters = _parameters(cls)
    new = [name for name in parameters if name not in recorded and name not in stored]
    if not new:
        return {}
    lacking = [name for name, each in parameters.items() if _signatures.is_required(each) and name not in stored]
    for name in lacking:
        if name in new:
            raise _restore.missing(_classes.class_name(cls), name)
    if lacking or _resolve.injected(cls.__init__):
        # The class stores its arguments under other names, or has injected parameters: it cannot be called with the
        # stored attributes.
        return {}
    try:
        return attributes_of(cls(**{name: stored[name] for name in parameters if name in stored}))
    except Exception as error:
        raise InvalidArgument(
            f"a stored `{_classes.class_name(cls)}` has no attribute {', '.join(f'`{name}`' for name in new)}, and its class "
            f"cannot be made of those it has: {type(error).__name__}: {error}",
            hint="give new parameters defaults, or override to_payload and from_payload in the class",
        ) from error
