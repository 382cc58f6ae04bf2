"""``Task``: the base of classes whose objects are units of work. The queue's record of an object is stored beside its
attributes."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, overload

from .. import _classes, _dataclasses, _identity, _resolve
from .._options import check_names
from ..errors import FunctionRefused
from .status import TaskError, TaskStatus

if TYPE_CHECKING:
    from .claim import Claim

__all__ = ["Known", "Task", "attributes_of", "is_task_class", "kind_of", "known_of", "slots_of"]

T = TypeVar("T")


class Known:
    """The queue's record of one task object."""

    __slots__ = (
        "attempt",
        "cancel_reason",
        "claim",
        "created_at",
        "error",
        "errors",
        "finished_at",
        "id",
        "is_queued",
        "max_attempts",
        "priority",
        "queue",
        "result",
        "start_time",
        "status",
        "worker",
    )

    def __init__(self) -> None:
        self.id: str | None = None
        self.status: TaskStatus | None = None
        self.result: Any = None
        self.error: TaskError | None = None
        self.cancel_reason: str | None = None
        self.errors: list[TaskError] = []
        self.start_time: float | None = None
        self.created_at: float | None = None
        self.finished_at: float | None = None
        self.attempt = 0
        self.max_attempts: int | None = None
        self.queue: str | None = None
        self.priority: int | None = None
        self.worker: str | None = None
        #: Whether the object was added or is being added. One object is one task.
        self.is_queued = False
        #: The lease under which this process runs it.
        self.claim: Claim | None = None


class _Told(Generic[T]):
    """A read-only attribute from the queue's record. It works whether or not a base ``__init__`` ran."""

    def __init__(self, doc: str) -> None:
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, task: None, owner: type | None = None) -> _Told[T]: ...

    @overload
    def __get__(self, task: Task, owner: type | None = None) -> T: ...

    def __get__(self, task: Task | None, owner: type | None = None) -> _Told[T] | T:
        if task is None:
            return self
        found: T = getattr(known_of(task), self.name)
        return found

    def __set__(self, task: Task, value: NoReturn) -> None:
        raise AttributeError(
            f"`{self.name}` is set by the queue on a {type(task).__qualname__} and cannot be assigned: "
            "use another name for your attribute, or pass an option to enqueue(...)"
        )


class Task(_identity.TaskClass):
    """A unit of work: attributes, and ``execute``.

        class EmailTask(Task, queue="mail", max_retries=5):
            def __init__(self, to: str) -> None:
                self.to = to

            async def execute(self) -> str:
                return f"sent to {self.to}"

    A subclass is defined at the top of a module of the application. Its attributes are its payload: they are stored
    exactly, or ``enqueue`` raises with the name of the one that cannot be. Where the task runs, the object is rebuilt
    without calling ``__init__``, unless that has new parameters since, or a dataclass new fields: these are set by the
    class itself. A stored attribute that was removed from the class is an error. ``ProgressTracker`` attributes start
    over. Keywords of the class are defaults of its options.

    ``execute`` may be async, or sync: then it runs on a thread. The value that it returns is the result; an exception
    fails the attempt, and ``Retry``, ``Fail`` and ``Snooze`` decide what happens next. ``super().__init__()`` need not
    be called.
    """

    __slots__ = ("__dict__", "__weakref__", "_taskyard")
    _taskyard: Known
    __taskyard_options__: Mapping[str, Any] = {}

    id = _Told["str | None"]("The id (UUIDv7); None before it was added.")
    status = _Told["TaskStatus | None"]("The status; None before it was added.")
    result = _Told[Any]("The result of ``execute``; None unless the task is COMPLETED.")
    error = _Told["TaskError | None"]("The last error; None if there was none, or a later attempt succeeded.")
    cancel_reason = _Told["str | None"]("The reason of its cancellation, if one was given.")
    errors = _Told["list[TaskError]"]("The errors of its failed attempts, oldest first.")
    start_time = _Told["float | None"]("When the current attempt began, in seconds since 1970 by the host's clock.")
    created_at = _Told["float | None"]("When it was added, in seconds since 1970.")
    finished_at = _Told["float | None"]("When it ended, in seconds since 1970.")
    attempt = _Told[int]("The number of the current or last attempt, from 1; 0 before the first.")
    max_attempts = _Told["int | None"]("The number of attempts after which the task has failed: its retries and one.")
    queue = _Told["str | None"]("The queue to which it was added.")
    priority = _Told["int | None"]("The priority: higher first.")
    worker = _Told["str | None"]("The id of the server that runs it, or ran it last.")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__()
        check_names(options, f"class {cls.__qualname__}: ")
        _refuse_marked(cls)
        taken = KNOWN & (set(cls.__dict__) | set(cls.__dict__.get("__annotations__", ())))
        if taken:
            raise TypeError(
                f"class {cls.__qualname__} defines {', '.join(f'`{name}`' for name in sorted(taken))}, which the queue sets "
                f"on every task: use another name, or pass an option as a keyword of the class: "
                f"class {cls.__name__}(Task, queue=...)"
            )
        inherited: dict[str, Any] = {}
        for base in reversed(cls.__mro__):
            inherited.update(base.__dict__.get("__taskyard_options__", {}))
        cls.__taskyard_options__ = {**inherited, **options}
        if "<" not in cls.__qualname__ and cls.__module__ != "__main__":
            # The definition of the class declares it, as `@task` declares a function.
            _identity.FUNCTIONS.declare(cls, cls)

    def execute(self) -> Any:
        """Does the work and returns the result. Subclasses override it, as ``async def`` or ``def``."""
        raise NotImplementedError(f"{type(self).__qualname__} has no `execute`")

    def to_payload(self) -> dict[str, Any]:
        """Returns the payload to be stored, a dict with string keys: by default all attributes. Override it together
        with :meth:`from_payload`."""
        return attributes_of(self)

    @classmethod
    def from_payload(cls, payload: dict[str, Any]) -> Any:
        """Creates an object from a payload of :meth:`to_payload`, without calling ``__init__``. A dataclass that has
        new fields is called with the stored ones, and sets the new ones itself."""
        fields: dict[str, Any] = {}
        if dataclasses.is_dataclass(cls):
            fields = {field.name: field for field in dataclasses.fields(cls)}
        if fields.keys() <= payload.keys():
            task = object.__new__(cls)
        else:
            stored = {name: value for name, value in payload.items() if name in fields}
            task = _dataclasses.restored(cls, _classes.class_name(cls), stored, fields)
            payload = {name: value for name, value in payload.items() if name not in fields}
        for name, value in payload.items():
            object.__setattr__(task, name, value)
        return task

    def __repr__(self) -> str:
        known = known_of(self)
        return f"<{type(self).__qualname__} {known.id or 'not queued'}{f' {known.status}' if known.status else ''}>"


#: Names of the attributes from the queue's record.
KNOWN = frozenset(name for name, value in Task.__dict__.items() if isinstance(value, _Told))


def known_of(task: Task) -> Known:
    """Returns the queue's record of an object."""
    try:
        return task._taskyard
    except AttributeError:
        found = Known()
        object.__setattr__(task, "_taskyard", found)
        return found


def slots_of(cls: type) -> Iterator[str]:
    """Yields the names of a class's slots, mangled as attribute names are."""
    for base in cls.__mro__:
        if base is Task:
            continue
        given = base.__dict__.get("__slots__", ())
        for name in (given,) if isinstance(given, str) else given:
            if name not in ("__dict__", "__weakref__"):
                yield name if not name.startswith("__") else f"_{base.__name__.lstrip('_')}{name}"


def attributes_of(task: Task) -> dict[str, Any]:
    """Returns an object's own attributes by name."""
    found = {name: getattr(task, name) for name in slots_of(type(task)) if hasattr(task, name)}
    found.update(task.__dict__)
    # Set by a claim in front of the method of this name.
    found.pop("execute", None)
    return found


def _refuse_marked(cls: type) -> None:
    """Raises ``FunctionRefused`` for a default ``INJECTED``: nothing is injected into an object's attributes."""
    init: Any = cls.__dict__.get("__init__")
    defaults = [*cls.__dict__.values(), *(getattr(init, "__defaults__", None) or ())]
    defaults += (getattr(init, "__kwdefaults__", None) or {}).values()
    if any(default is _resolve.INJECTED for default in defaults):
        raise FunctionRefused(
            f"class {cls.__qualname__}: a default of it is INJECTED, and nothing is injected into a task's object",
            hint="call taskyard.dependencies.get_service(...) within execute",
        )


def is_task_class(value: Any) -> bool:
    """Whether a value is a task class other than the base itself."""
    return inspect.isclass(value) and issubclass(value, Task) and value is not Task


def kind_of(cls: type[Task]) -> str:
    """Returns the name under which a worker finds the class. Raises ``FunctionRefused`` if a worker could not find it."""
    module, qualname = cls.__module__, cls.__qualname__
    shown = _identity.main_module() if module == "__main__" else module
    if shown is None:
        raise FunctionRefused(
            f"{qualname} is defined in a program that no worker can import", hint="define it in a module's file"
        )
    _resolve.refuse_injection(cls.execute, f"{qualname}.execute")
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    if found is not cls:
        raise FunctionRefused(
            f"{module}.{qualname} does not lead back to this class, so that no worker could find it",
            hint="define the class at the top of a module, under the name that it has there",
        )
    return f"{shown}:{qualname}"
