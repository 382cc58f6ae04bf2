# The real signature of `add_task` cannot be expressed: PEP 612 allows no keyword parameter between `*args: P.args` and
# `**kwargs: P.kwargs`. Instead there are overloads, each for calls of a function that is async or sync:
#
# - the function's own arguments, by position and by name, without options (all of them are checked);
# - arguments by position, and options (all of them are checked); a reference may stand for any of the first four;
# - up to two arguments by position, some by name, and at least one option: the arguments by position and that one
#   option are checked. Requiring an option keeps a misspelt name, or a missing argument, in calls without options from
#   matching. One overload for each option, since no type says "one of these keywords".
#
# There is no overload for any callable with any arguments: it would accept the wrong calls. `tasks.using(queue="x")`
# takes the options of calls that match none, and leaves everything checked; a reference by name needs an option beside
# it.

import builtins
import datetime as dt
import os
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar, overload

from typing_extensions import Self, TypeVarTuple, Unpack

from . import _port, _request
from ._calls import Call as Call
from ._create_hooks import NewTask as NewTask
from ._graphs import Group as Group
from ._loops import Answer
from ._options import OnParentFailure, Options, Runtime, Seconds, Serializer
from ._options import RetryPolicy as RetryPolicy
from ._options import Unique as Unique
from ._refs import Outcome as Outcome
from ._refs import QueuedTaskRef as QueuedTaskRef
from ._task import Task
from ._uncommitted import Unbound
from .dead import Dead
from .queues import Queues
from .records import TaskRecord
from .schedules import Schedules
from .watching import Watch

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
Ts = TypeVarTuple("Ts")

#: An argument, or a reference to the task whose result is the argument.
Arg: TypeAlias = A | QueuedTaskRef[A]
#: Functions of exactly this number of parameters (By), and of at least this number (Key).
AsyncBy1: TypeAlias = Callable[[A], Coroutine[Any, Any, R]]
SyncBy1: TypeAlias = Callable[[A], R]
AsyncBy2: TypeAlias = Callable[[A, B], Coroutine[Any, Any, R]]
SyncBy2: TypeAlias = Callable[[A, B], R]
AsyncBy3: TypeAlias = Callable[[A, B, C], Coroutine[Any, Any, R]]
SyncBy3: TypeAlias = Callable[[A, B, C], R]
AsyncBy4: TypeAlias = Callable[[A, B, C, D], Coroutine[Any, Any, R]]
SyncBy4: TypeAlias = Callable[[A, B, C, D], R]
AsyncKey1: TypeAlias = Callable[Concatenate[A, ...], Coroutine[Any, Any, R]]
SyncKey1: TypeAlias = Callable[Concatenate[A, ...], R]
AsyncKey2: TypeAlias = Callable[Concatenate[A, B, ...], Coroutine[Any, Any, R]]
SyncKey2: TypeAlias = Callable[Concatenate[A, B, ...], R]
AsyncList: TypeAlias = Callable[[list[A]], Coroutine[Any, Any, R]]
SyncList: TypeAlias = Callable[[list[A]], R]

class QueuedTasks:
    _own: _port.Port | None
    _has_lifespan: bool
    _is_of_task_queue: bool
    def __init__(
        self,
        *,
        connection: Any = None,
        database: str | os.PathLike[str] | None = None,
        namespace: str | None = None,
        **settings: Any,
    ) -> None: ...
    @property
    def _via(self) -> _port.Port: ...
    _request: _request.Request | None
    _unbound: Unbound
    @property
    def nowait(self) -> Self: ...
    @property
    def schedules(self) -> Schedules: ...
    @property
    def queues(self) -> Queues: ...
    @property
    def dead(self) -> Dead: ...
    @property
    def _defaults(self) -> dict[str, Any]: ...
    def using(self, **options: Unpack[Options]) -> Self: ...
    def bind(self, connection: Any) -> Self: ...
    @overload
    def add_task(self, function: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, function: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, function: Callable[[Unpack[Ts]], Coroutine[Any, Any, R]], /, *args: Unpack[Ts], **options: Unpack[Options]
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, function: Callable[[Unpack[Ts]], R], /, *args: Unpack[Ts], **options: Unpack[Options]
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: AsyncBy1[A, R], a: Arg[A], /, **options: Unpack[Options]) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: SyncBy1[A, R], a: Arg[A], /, **options: Unpack[Options]) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: AsyncBy2[A, B, R], a: Arg[A], b: Arg[B], /, **options: Unpack[Options]) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: SyncBy2[A, B, R], a: Arg[A], b: Arg[B], /, **options: Unpack[Options]) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: AsyncBy3[A, B, C, R], a: Arg[A], b: Arg[B], c: Arg[C], /, **options: Unpack[Options]
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: SyncBy3[A, B, C, R], a: Arg[A], b: Arg[B], c: Arg[C], /, **options: Unpack[Options]
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: AsyncBy4[A, B, C, D, R], a: Arg[A], b: Arg[B], c: Arg[C], d: Arg[D], /, **options: Unpack[Options]
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: SyncBy4[A, B, C, D, R], a: Arg[A], b: Arg[B], c: Arg[C], d: Arg[D], /, **options: Unpack[Options]
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: AsyncList[A, R], a: list[QueuedTaskRef[A]], /, **options: Unpack[Options]
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: SyncList[A, R], a: list[QueuedTaskRef[A]], /, **options: Unpack[Options]) -> QueuedTaskRef[R]: ...
    # From here on written by tests/python/test_options.py.
    @overload
    def add_task(self, f: AsyncKey1[A, R], a: Arg[A] = ..., /, *, at_most_once: bool, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: SyncKey1[A, R], a: Arg[A] = ..., /, *, at_most_once: bool, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: AsyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, at_most_once: bool, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: SyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, at_most_once: bool, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: AsyncKey1[A, R], a: Arg[A] = ..., /, *, auto_remove: bool, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: SyncKey1[A, R], a: Arg[A] = ..., /, *, auto_remove: bool, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: AsyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, auto_remove: bool, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: SyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, auto_remove: bool, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: AsyncKey1[A, R], a: Arg[A] = ..., /, *, connection: Any, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: SyncKey1[A, R], a: Arg[A] = ..., /, *, connection: Any, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: AsyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, connection: Any, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: SyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, connection: Any, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: AsyncKey1[A, R], a: Arg[A] = ..., /, *, context: dict[str, Any], **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: SyncKey1[A, R], a: Arg[A] = ..., /, *, context: dict[str, Any], **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: AsyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, context: dict[str, Any], **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: SyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, context: dict[str, Any], **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: AsyncKey1[A, R], a: Arg[A] = ..., /, *, delay: Seconds, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: SyncKey1[A, R], a: Arg[A] = ..., /, *, delay: Seconds, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: AsyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, delay: Seconds, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: SyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, delay: Seconds, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: AsyncKey1[A, R], a: Arg[A] = ..., /, *, expires: Seconds, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: SyncKey1[A, R], a: Arg[A] = ..., /, *, expires: Seconds, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: AsyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, expires: Seconds, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: SyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, expires: Seconds, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: AsyncKey1[A, R], a: Arg[A] = ..., /, *, max_retries: int, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: SyncKey1[A, R], a: Arg[A] = ..., /, *, max_retries: int, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: AsyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, max_retries: int, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: SyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, max_retries: int, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: AsyncKey1[A, R], a: Arg[A] = ..., /, *, name: str, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: SyncKey1[A, R], a: Arg[A] = ..., /, *, name: str, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: AsyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, name: str, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: SyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, name: str, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: AsyncKey1[A, R], a: Arg[A] = ..., /, *, on_parent_failure: OnParentFailure, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: SyncKey1[A, R], a: Arg[A] = ..., /, *, on_parent_failure: OnParentFailure, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: AsyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, on_parent_failure: OnParentFailure, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: SyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, on_parent_failure: OnParentFailure, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: AsyncKey1[A, R], a: Arg[A] = ..., /, *, parent: Any, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: SyncKey1[A, R], a: Arg[A] = ..., /, *, parent: Any, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: AsyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, parent: Any, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: SyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, parent: Any, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: AsyncKey1[A, R], a: Arg[A] = ..., /, *, parents: Iterable[Any], **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: SyncKey1[A, R], a: Arg[A] = ..., /, *, parents: Iterable[Any], **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: AsyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, parents: Iterable[Any], **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: SyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, parents: Iterable[Any], **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: AsyncKey1[A, R], a: Arg[A] = ..., /, *, priority: int, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: SyncKey1[A, R], a: Arg[A] = ..., /, *, priority: int, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: AsyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, priority: int, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: SyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, priority: int, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: AsyncKey1[A, R], a: Arg[A] = ..., /, *, queue: str, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: SyncKey1[A, R], a: Arg[A] = ..., /, *, queue: str, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: AsyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, queue: str, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: SyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, queue: str, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: AsyncKey1[A, R], a: Arg[A] = ..., /, *, retry: RetryPolicy, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: SyncKey1[A, R], a: Arg[A] = ..., /, *, retry: RetryPolicy, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: AsyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, retry: RetryPolicy, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: SyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, retry: RetryPolicy, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: AsyncKey1[A, R], a: Arg[A] = ..., /, *, run_at: dt.datetime, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: SyncKey1[A, R], a: Arg[A] = ..., /, *, run_at: dt.datetime, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: AsyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, run_at: dt.datetime, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: SyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, run_at: dt.datetime, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: AsyncKey1[A, R], a: Arg[A] = ..., /, *, runtime: Runtime, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: SyncKey1[A, R], a: Arg[A] = ..., /, *, runtime: Runtime, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: AsyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, runtime: Runtime, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: SyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, runtime: Runtime, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: AsyncKey1[A, R], a: Arg[A] = ..., /, *, serializer: Serializer, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: SyncKey1[A, R], a: Arg[A] = ..., /, *, serializer: Serializer, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: AsyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, serializer: Serializer, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: SyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, serializer: Serializer, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: AsyncKey1[A, R], a: Arg[A] = ..., /, *, tags: Iterable[str], **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: SyncKey1[A, R], a: Arg[A] = ..., /, *, tags: Iterable[str], **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: AsyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, tags: Iterable[str], **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: SyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, tags: Iterable[str], **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: AsyncKey1[A, R], a: Arg[A] = ..., /, *, timeout: Seconds | None, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: SyncKey1[A, R], a: Arg[A] = ..., /, *, timeout: Seconds | None, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: AsyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, timeout: Seconds | None, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: SyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, timeout: Seconds | None, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: AsyncKey1[A, R], a: Arg[A] = ..., /, *, unique: str | Unique, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(self, f: SyncKey1[A, R], a: Arg[A] = ..., /, *, unique: str | Unique, **own: Any) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: AsyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, unique: str | Unique, **own: Any
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self, f: SyncKey2[A, B, R], a: Arg[A], b: Arg[B], /, *, unique: str | Unique, **own: Any
    ) -> QueuedTaskRef[R]: ...
    # To here.
    @overload
    def add_task(self, function: str, /, *args: Any, **kwargs: Any) -> QueuedTaskRef[Any]: ...
    def _push(self, calls: list[Any]) -> list[QueuedTaskRef[Any]]: ...
    def add_tasks(self, calls: Iterable[Call | tuple[Any, ...]]) -> list[QueuedTaskRef[Any]]: ...
    def add_group(self, calls: Iterable[Call | tuple[Any, ...] | Callable[..., Any]], then: Any) -> Group[Any]: ...
    def add_fan_in(self, calls: Iterable[Call | tuple[Any, ...] | Callable[..., Any]], then: Any) -> Group[Any]: ...
    def add_chain(self, calls: Iterable[Call | tuple[Any, ...] | Callable[..., Any]]) -> list[QueuedTaskRef[Any]]: ...
    def call(self, function: Any, /, *args: Any, **kwargs: Any) -> Call: ...
    def get(self, id: Any) -> QueuedTaskRef[Any]: ...
    def watch(self, id: Any, since: int | None = None) -> Watch: ...
    def list(
        self, *, states: Iterable[str] = ..., queue: str | None = ..., function: Any = ..., limit: int = ...
    ) -> Answer[builtins.list[TaskRecord]]: ...
    def flush(self, timeout: float | dt.timedelta | None = None) -> Answer[None]: ...
    async def _open(self) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def close(self, timeout: float | dt.timedelta = 5.0) -> None: ...
    def lifespan(
        self, inner: Any = None, *, workers: int = 0, concurrency: int | None = None, in_workers: bool = False
    ) -> Any: ...
