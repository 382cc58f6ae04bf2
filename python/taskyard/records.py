"""The records that are returned of tasks, attempts, log lines and dead letters: dicts whose fields are attributes, too.

``record["state"]`` and ``record.state`` are the same stored value, typed for type checkers. A record is a ``dict``:
``json.dumps(record)``, ``dict(record)``, ``**record`` and a comparison with a dict work as for any other. As an argument
or a result of a task it is stored as a plain dict, and comes back as one. Times are strings in ISO 8601, in UTC.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar, overload

if TYPE_CHECKING:
    from typing_extensions import Never, Self

__all__ = ["Attempt", "DeadLetter", "Failure", "LogLine", "Record", "TaskRecord"]

T = TypeVar("T")


class _Field(Generic[T]):
    """An attribute that reads the item of its name."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, record: None, owner: type) -> Self: ...
    @overload
    def __get__(self, record: Record, owner: type) -> T: ...
    def __get__(self, record: Record | None, owner: type) -> Any:
        if record is None:
            return self
        try:
            return record[self._name]
        except KeyError:
            raise AttributeError(
                f"this {owner.__name__} has no field {self._name!r}", name=self._name, obj=record
            ) from None

    if TYPE_CHECKING:

        def __set__(self, record: Record, value: Never) -> None:
            """Makes assignments an error of type checkers. Python itself refuses them, because records have slots."""


class Record(dict[str, Any]):
    """A dict whose fields can be read as attributes."""

    __slots__ = ()

    #: The classes of fields that are records themselves.
    _inner: ClassVar[dict[str, Callable[[Any], Any]]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, made_of in self._inner.items():
            if self.get(name) is not None:
                self[name] = made_of(self[name])

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Makes the class a type of fields and endpoints. Any dict is accepted."""
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(cls, core_schema.dict_schema(core_schema.str_schema()))


class Failure(Record):
    """The error of a task or an attempt."""

    __slots__ = ()

    #: The name of the exception's class, or ``TimeoutError``, ``ParentTaskFailed``, ``WorkerDied``, ``ServerLost``,
    #: ``ResultTooLarge``, ``Expired`` and such by the engine.
    type: _Field[str] = _Field()
    message: _Field[str] = _Field()
    traceback: _Field[str | None] = _Field()

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, name: Literal["type", "message"], /) -> str: ...
        @overload
        def __getitem__(self, name: Literal["traceback"], /) -> str | None: ...
        @overload
        def __getitem__(self, name: str, /) -> Any: ...
        def __getitem__(self, name: str, /) -> Any: ...


class Attempt(Record):
    """One run of a task."""

    __slots__ = ()

    _inner = {"error": Failure}

    #: From 1.
    number: _Field[int] = _Field()
    #: The id of the server that ran it.
    server: _Field[str | None] = _Field()
    started_at: _Field[str | None] = _Field()
    ended_at: _Field[str | None] = _Field()
    #: ``doing``, ``done``, ``failed``, ``lost``, ``crashed``, ``snoozed``, ``stopped`` or ``cancelled``.
    outcome: _Field[str] = _Field()
    error: _Field[Failure | None] = _Field()

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, name: Literal["number"], /) -> int: ...
        @overload
        def __getitem__(self, name: Literal["server", "started_at", "ended_at"], /) -> str | None: ...
        @overload
        def __getitem__(self, name: Literal["outcome"], /) -> str: ...
        @overload
        def __getitem__(self, name: Literal["error"], /) -> Failure | None: ...
        @overload
        def __getitem__(self, name: str, /) -> Any: ...
        def __getitem__(self, name: str, /) -> Any: ...


class LogLine(Record):
    """A log line of a task."""

    __slots__ = ()

    #: Increases with every line in the database.
    sequence: _Field[int] = _Field()
    #: The attempt that wrote it.
    attempt: _Field[int] = _Field()
    created_at: _Field[str] = _Field()
    #: 10 debug, 20 info, 30 warning, 40 error, 50 critical.
    level: _Field[int] = _Field()
    logger: _Field[str] = _Field()
    message: _Field[str] = _Field()
    #: The values that were logged with ``extra=``.
    fields: _Field[dict[str, Any] | None] = _Field()
    traceback: _Field[str | None] = _Field()

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, name: Literal["sequence", "attempt", "level"], /) -> int: ...
        @overload
        def __getitem__(self, name: Literal["created_at", "logger", "message"], /) -> str: ...
        @overload
        def __getitem__(self, name: Literal["fields"], /) -> dict[str, Any] | None: ...
        @overload
        def __getitem__(self, name: Literal["traceback"], /) -> str | None: ...
        @overload
        def __getitem__(self, name: str, /) -> Any: ...
        def __getitem__(self, name: str, /) -> Any: ...


class TaskRecord(Record):
    """Everything that is stored of a task but its context, its log lines and its attempts."""

    __slots__ = ()

    _inner = {"error": Failure}

    id: _Field[str] = _Field()
    #: The name of the function, ``module:name`` in Python.
    kind: _Field[str] = _Field()
    #: ``python`` or ``rust``.
    runtime: _Field[str] = _Field()
    #: The option ``name``; the kind if none was given.
    name: _Field[str] = _Field()
    queue: _Field[str] = _Field()
    priority: _Field[int] = _Field()
    #: The value of a :class:`taskyard.QueuedTaskState`, which it equals.
    state: _Field[str] = _Field()
    #: Why it waits; None in other states than ``waiting``.
    wait_reason: _Field[str | None] = _Field()
    #: What it waits for: the unknown kind, the state of a parent.
    waiting_for: _Field[str | None] = _Field()
    #: Number of claims, not counting those that were given back.
    attempt: _Field[int] = _Field()
    #: Number of attempts in which the body failed.
    failures: _Field[int] = _Field()
    #: Number of attempts that were lost with their server.
    lost: _Field[int] = _Field()
    #: Number of deaths of a worker that ran nothing else.
    crashes: _Field[int] = _Field()
    #: Whether its next attempt runs with no other task in its worker.
    alone: _Field[bool] = _Field()
    cancel_requested: _Field[bool] = _Field()
    cancel_reason: _Field[str | None] = _Field()
    stop_requested: _Field[bool] = _Field()
    #: The stored arguments.
    payload: _Field[Any] = _Field()
    #: Whether ``$`` tags in the payload are values that Python encoded, in the result, and in the context.
    payload_encoded: _Field[bool] = _Field()
    result_encoded: _Field[bool] = _Field()
    context_encoded: _Field[bool] = _Field()
    #: The stored result; None before ``done``, too.
    result: _Field[Any] = _Field()
    #: The last error.
    error: _Field[Failure | None] = _Field()
    #: The ids of its parents, in the order given.
    parents: _Field[list[str]] = _Field()
    #: ``fail``, ``run`` or ``wait``.
    on_parent_failure: _Field[str] = _Field()
    #: The id of the ancestor whose failure or cancellation ended this task.
    fallen_from: _Field[str | None] = _Field()
    retry: _Field[dict[str, Any]] = _Field()
    #: Milliseconds that an attempt may take; None = no limit.
    timeout_ms: _Field[int | None] = _Field()
    tags: _Field[list[str]] = _Field()
    auto_remove: _Field[bool] = _Field()
    at_most_once: _Field[bool] = _Field()
    unique_key: _Field[str | None] = _Field()
    created_at: _Field[str] = _Field()
    #: Its earliest start.
    run_at: _Field[str | None] = _Field()
    expires_at: _Field[str | None] = _Field()
    #: When its last attempt was claimed.
    started_at: _Field[str | None] = _Field()
    finished_at: _Field[str | None] = _Field()
    #: The id of the server that runs it or ran it last.
    server: _Field[str | None] = _Field()

    if TYPE_CHECKING:

        @overload
        def __getitem__(
            self,
            name: Literal["id", "kind", "runtime", "name", "queue", "state", "on_parent_failure", "created_at"],
            /,
        ) -> str: ...
        @overload
        def __getitem__(self, name: Literal["priority", "attempt", "failures", "lost", "crashes"], /) -> int: ...
        @overload
        def __getitem__(
            self,
            name: Literal[
                "alone",
                "cancel_requested",
                "stop_requested",
                "payload_encoded",
                "result_encoded",
                "context_encoded",
                "auto_remove",
                "at_most_once",
            ],
            /,
        ) -> bool: ...
        @overload
        def __getitem__(
            self,
            name: Literal[
                "wait_reason",
                "waiting_for",
                "cancel_reason",
                "fallen_from",
                "unique_key",
                "run_at",
                "expires_at",
                "started_at",
                "finished_at",
                "server",
            ],
            /,
        ) -> str | None: ...
        @overload
        def __getitem__(self, name: Literal["timeout_ms"], /) -> int | None: ...
        @overload
        def __getitem__(self, name: Literal["error"], /) -> Failure | None: ...
        @overload
        def __getitem__(self, name: Literal["parents", "tags"], /) -> list[str]: ...
        @overload
        def __getitem__(self, name: Literal["retry"], /) -> dict[str, Any]: ...
        @overload
        def __getitem__(self, name: str, /) -> Any: ...
        def __getitem__(self, name: str, /) -> Any: ...


def _attempts(found: list[Any]) -> list[Attempt]:
    return [Attempt(one) for one in found]


class DeadLetter(Record):
    """A dead letter with all its attempts."""

    __slots__ = ()

    _inner = {"task": TaskRecord, "attempts": _attempts}

    task: _Field[TaskRecord] = _Field()
    #: Oldest first.
    attempts: _Field[list[Attempt]] = _Field()

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, name: Literal["task"], /) -> TaskRecord: ...
        @overload
        def __getitem__(self, name: Literal["attempts"], /) -> list[Attempt]: ...
        @overload
        def __getitem__(self, name: str, /) -> Any: ...
        def __getitem__(self, name: str, /) -> Any: ...
