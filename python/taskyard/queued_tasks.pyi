# `add_task` cannot be written with its real signature: PEP 612 allows no keyword parameter between `*args: P.args` and
# `**kwargs: P.kwargs`. So a call either names the function's own parameters (1 to 3), or gives them by place and adds
# options (4 and 5). There is no overload for any callable with any arguments: it would accept the wrong calls.

import datetime as dt
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Literal, ParamSpec, TypeVar, overload

from typing_extensions import Self, TypeVarTuple, Unpack

from . import _port, _request
from ._calls import Call as Call
from ._families import Group as Group
from ._options import Options
from ._options import RetryPolicy as RetryPolicy
from ._options import Unique as Unique
from ._refs import Outcome as Outcome
from ._refs import QueuedTaskRef as QueuedTaskRef
from ._task import Task
from ._uncommitted import Unbound
from .dead import Dead
from .queues import Queues
from .schedules import Schedules
from .watching import Watch

P = ParamSpec("P")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")

class NewTask:
    id: str
    kind: str
    name: str
    queue: str
    context: dict[str, Any]
    function: Any
    attempt: int
    def __init__(self, id: str, kind: str, name: str | None, options: dict[str, Any], function: Any) -> None: ...

class QueuedTasks:
    _own: _port.Port | None
    _has_lifespan: bool
    _is_of_task_queue: bool
    def __init__(
        self, *, connection: Any = None, database: str | None = None, namespace: str | None = None, **settings: Any
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
        self,
        function: Callable[[Unpack[Ts]], Coroutine[Any, Any, R]],
        /,
        *args: Unpack[Ts],
        at_most_once: bool = ...,
        auto_remove: bool = ...,
        connection: Any = ...,
        context: dict[str, Any] = ...,
        delay: float | dt.timedelta = ...,
        expires: float | dt.timedelta = ...,
        max_retries: int = ...,
        name: str = ...,
        on_parent_failure: Literal["fail", "run", "wait"] = ...,
        parent: Any = ...,
        parents: Iterable[Any] = ...,
        priority: int = ...,
        queue: str = ...,
        retry: RetryPolicy = ...,
        run_at: dt.datetime = ...,
        serializer: Literal["json", "dill"] = ...,
        tags: Iterable[str] = ...,
        timeout: float | dt.timedelta | None = ...,
        unique: str | Unique = ...,
    ) -> QueuedTaskRef[R]: ...
    @overload
    def add_task(
        self,
        function: Callable[[Unpack[Ts]], R],
        /,
        *args: Unpack[Ts],
        at_most_once: bool = ...,
        auto_remove: bool = ...,
        connection: Any = ...,
        context: dict[str, Any] = ...,
        delay: float | dt.timedelta = ...,
        expires: float | dt.timedelta = ...,
        max_retries: int = ...,
        name: str = ...,
        on_parent_failure: Literal["fail", "run", "wait"] = ...,
        parent: Any = ...,
        parents: Iterable[Any] = ...,
        priority: int = ...,
        queue: str = ...,
        retry: RetryPolicy = ...,
        run_at: dt.datetime = ...,
        serializer: Literal["json", "dill"] = ...,
        tags: Iterable[str] = ...,
        timeout: float | dt.timedelta | None = ...,
        unique: str | Unique = ...,
    ) -> QueuedTaskRef[R]: ...
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
    async def list(
        self, *, states: Iterable[str] = ..., queue: str | None = ..., function: Any = ..., limit: int = ...
    ) -> list[dict[str, Any]]: ...
    def flush(self, timeout: float | dt.timedelta | None = None) -> Awaitable[None]: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def close(self, timeout: float | dt.timedelta = 5.0) -> None: ...
    def lifespan(
        self, inner: Any = None, *, workers: int = 0, concurrency: int | None = None, in_workers: bool = False
    ) -> Any: ...
