import dataclasses
import datetime as dt
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypedDict

OPTIONS: frozenset[str]
EPOCH: dt.datetime

Seconds = float | dt.timedelta
OnParentFailure = Literal["fail", "run", "wait"]
Runtime = Literal["python", "rust"]
Serializer = Literal["json", "dill"]

class Options(TypedDict, total=False):
    at_most_once: bool
    auto_remove: bool
    connection: Any
    context: dict[str, Any]
    delay: Seconds
    expires: Seconds
    max_retries: int
    name: str
    on_parent_failure: OnParentFailure
    parent: Any
    parents: Iterable[Any]
    priority: int
    queue: str
    retry: RetryPolicy
    run_at: dt.datetime
    runtime: Runtime
    serializer: Serializer
    tags: Iterable[str]
    timeout: Seconds | None
    unique: str | Unique

@dataclasses.dataclass(frozen=True)
class RetryPolicy:
    max_retries: int | None = ...
    backoff: Seconds = ...
    factor: float = ...
    cap: Seconds = ...
    jitter: bool = ...
    on: type[BaseException] | str | tuple[type[BaseException] | str, ...] = ...
    never: type[BaseException] | str | tuple[type[BaseException] | str, ...] = ...
    def to_json(self) -> str: ...

@dataclasses.dataclass(frozen=True)
class Unique:
    key: str
    hold: str | float | dt.timedelta = ...

def error_name(error: type[BaseException] | str) -> str: ...
def count(what: str, value: Any, least: int = 0, most: int = ...) -> int: ...
def instant(what: str, value: Any) -> int: ...
def text(what: str, value: Any) -> str: ...
def seconds(what: str, value: Any, most: float | None = None) -> float: ...
def optional_seconds(what: str, value: Any) -> float | None: ...
def priority_number(value: Any) -> int: ...
def merge(first: dict[str, Any], then: dict[str, Any]) -> dict[str, Any]: ...
def describe(draft: dict[str, Any], options: dict[str, Any], parents: list[Any], id_of: Callable[[Any], str]) -> None: ...
