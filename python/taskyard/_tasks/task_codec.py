"""Encodes task objects into payloads, and rebuilds them where they run or are displayed."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import Any

from .. import _classes, _codec, _identity, _running
from .._progress import PLACE
from ..errors import InvalidArgument, NotSerializable
from ..progress import ProgressTracker, StoredProgress
from . import class_changes
from .base import Task, attributes_of, is_task_class, kind_of, known_of
from .status import TaskStatus

__all__ = ["bind", "describe", "looked_at", "rebuilt", "runner"]


def encode(task: Task, nesting_max: int, dill: bool) -> tuple[bytes, list[_codec.Blob]]:
    """Encodes an object's payload. Raises ``NotSerializable`` with the name of an attribute that cannot be stored
    exactly."""
    name = type(task).__qualname__
    payload = task.to_payload()
    if not isinstance(payload, dict) or any(type(key) is not str for key in payload):
        raise InvalidArgument(f"{name}.to_payload() did not return a dict with strings as keys, but {payload!r}")
    encoder = _codec.Encoder("the attributes of a task", nesting_max=nesting_max, dill=dill)
    encoder.otherwise = (
        f', or store what it is made from: override to_payload and from_payload in {name}; dill by serializer="dill"'
    )
    encoded = {}
    for key, value in payload.items():
        if isinstance(value, Task):
            raise NotSerializable(
                f"attribute `{key}` of {name} is a task itself, which cannot be stored within another",
                hint="store its id, or give it as a parent: enqueue(task, parents=[other])",
            )
        encoded[key] = encoder.value(value, f"attribute `{key}` of {name}", 1)
    data, blobs = encoder.finish({"args": [], "kwargs": encoded, "lang": "python"})
    return class_changes.with_declared(type(task), data), blobs


def describe(task: Task, defaults: dict[str, Any], options: dict[str, Any]) -> tuple[str, bytes, list[_codec.Blob]]:
    """Returns the kind and the encoded payload of a task object that is about to be added."""
    cls = type(task)
    if cls is Task:
        raise InvalidArgument("Task itself has no `execute`", hint="enqueue an object of a subclass")
    kind = kind_of(cls)
    # A process with embedded workers may run the tasks that it queues itself.
    _identity.FUNCTIONS.known[kind] = cls
    return kind, *encode(task, defaults["nesting_max"], options.get("serializer") == "dill")


def rebuilt(cls: type[Task], attributes: dict[str, Any]) -> Task:
    """Creates an object of a class from its payload."""
    task = cls.from_payload(attributes)
    if not isinstance(task, cls):
        raise InvalidArgument(f"{cls.__qualname__}.from_payload() returned {task!r}, which is not a {cls.__qualname__}")
    return task


def trackers_of(task: Task) -> dict[str, tuple[str, ProgressTracker]]:
    """Returns the trackers of an object by attribute, each with its path in the context. The one called ``progress``,
    else the first one, has the path that every reader of progress uses."""
    found = {name: value for name, value in attributes_of(task).items() if isinstance(value, ProgressTracker)}
    main = PLACE if PLACE in found else next(iter(found), None)
    return {name: (PLACE if name == main else f"{PLACE}_of.{name}", tracker) for name, tracker in found.items()}


def bind(task: Task, running: _running.Running) -> None:
    """Sets the record of a rebuilt object that starts to run, and attaches its trackers."""
    known = known_of(task)
    known.id, known.attempt, known.queue = running.id, running.attempt, running.queue
    known.status, known.is_queued, known.start_time = TaskStatus.RUNNING, True, time.time()
    for place, tracker in trackers_of(task).values():
        tracker._attach(running, place)


def runner(cls: type[Task]) -> Callable[..., Any]:
    """Returns the function that a worker runs for a task of this class: async or sync as its ``execute`` is."""

    def begin(attributes: dict[str, Any]) -> Task:
        task = rebuilt(cls, attributes)
        bind(task, _running.require())
        return task

    if inspect.iscoroutinefunction(cls.execute):

        async def run_async(**attributes: Any) -> Any:
            return await begin(attributes).execute()

        return run_async

    def run(**attributes: Any) -> Any:
        return begin(attributes).execute()

    return run


# ------------------------------------------------------------------------------------------------------------ display


def looked_at(record: dict[str, Any], context: dict[str, Any] | None, namespace: str | None) -> Task:
    """Returns an object that represents a stored task: of its class, if that is loaded here and can be created from the
    payload."""
    from .background import BackgroundTask

    is_live = record["state"] == "doing"
    stored: dict[str, Any] = context or {}
    name = _identity.name_in(namespace, record["kind"]) or ""
    cls = _loaded_class(name)
    attributes, args = _decoded(record["payload"], record["payload_encoded"])
    task: Task
    if cls is None and record["runtime"] == "python" and (function := _identity.FUNCTIONS.find(name)) is not None:
        seen = BackgroundTask.seen if record["payload_encoded"] else BackgroundTask.seen_plain
        task = seen(function, args, attributes)
    elif cls is None:
        task = Task.from_payload({name: value for name, value in attributes.items() if _is_free(name)})
    else:
        try:
            # Attributes that a worker would refuse are left out of the object that is returned.
            encoded = record["payload_encoded"]
            task = rebuilt(cls, class_changes.current(cls, attributes, None) if encoded else _fitted(cls, attributes))
        except Exception:
            # The attributes are unknown; the state is not.
            task = object.__new__(cls)
    found = trackers_of(task)
    for name, (place, tracker) in found.items():
        object.__setattr__(task, name, StoredProgress(_at(stored, place), given=tracker, is_live=is_live))
    if not found and PLACE in stored and (cls is None or isinstance(task, BackgroundTask)):
        # A function's task has no attribute for its progress.
        object.__setattr__(task, PLACE, StoredProgress(stored[PLACE], is_live=is_live))
    return task


def _fitted(cls: type[Task], attributes: dict[str, Any]) -> dict[str, Any]:
    from .._worker import _validation

    return _validation.attributes(cls, attributes)


def _is_free(name: str) -> bool:
    return not hasattr(Task, name)


def _at(stored: dict[str, Any], place: str) -> Any:
    found: Any = stored
    for part in place.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _loaded_class(kind: str) -> type[Task] | None:
    """Returns the class that a worker would run for this name, or one that is loaded here. The class that its module
    has now counts: a class that was declared under the name of another one is a different class."""
    found: Any = _identity.FUNCTIONS.find(kind)
    if found is None and kind not in _identity.FUNCTIONS.known:
        found = _classes.find_class(kind)
        if found is None and kind.partition(":")[0] == _identity.main_module():
            found = _classes.find_class(f"__main__:{kind.partition(':')[2]}")
    return found if is_task_class(found) else None


def _decoded(payload: Any, encoded: bool) -> tuple[dict[str, Any], list[Any]]:
    """Decodes arguments by name and by position. Those that cannot be decoded here are left out."""
    if not isinstance(payload, dict):
        return {}, []
    named, placed = {}, []
    kwargs, args = payload.get("kwargs"), payload.get("args")
    for name, value in kwargs.items() if isinstance(kwargs, dict) else ():
        try:
            named[name] = _codec.shown(value, encoded)
        except Exception:
            continue
    try:
        placed = [_codec.shown(value, encoded) for value in args] if isinstance(args, list) else []
    except Exception:
        placed = []
    return named, placed
