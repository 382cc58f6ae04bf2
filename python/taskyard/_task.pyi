from collections.abc import Callable, Coroutine
from typing import Any, Generic, ParamSpec, TypeVar, overload

from typing_extensions import Unpack

from ._options import Options
from ._refs import QueuedTaskRef

P = ParamSpec("P")
R = TypeVar("R")

class Task(Generic[P, R]):
    __taskyard_function__: Callable[P, Any]
    __qualname__: str
    options: dict[str, Any]
    def __init__(self, function: Callable[P, Any], options: dict[str, Any]) -> None: ...
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any: ...
    def using(self, **options: Unpack[Options]) -> Task[P, R]: ...
    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> QueuedTaskRef[R]: ...

class _Declare:
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]]) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R]) -> Task[P, R]: ...

@overload
def task(function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(**options: Unpack[Options]) -> _Declare: ...
