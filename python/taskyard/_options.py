"""The options of a task: their names, their validation, and their form in the draft for the engine."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Callable, Iterable
from typing import Any

from .errors import InvalidArgument, seconds

__all__ = [
    "EPOCH",
    "OPTIONS",
    "RetryPolicy",
    "Unique",
    "alike",
    "check_names",
    "count",
    "describe",
    "error_name",
    "instant",
    "merge",
    "optional_seconds",
    "optional_text",
    "priority_number",
    "seconds",
    "text",
]

#: Names that ``add_task`` takes in addition to the function's own arguments.
OPTIONS = frozenset(
    {
        "at_most_once",
        "auto_remove",
        "connection",
        "context",
        "delay",
        "expires",
        "max_retries",
        "name",
        "on_parent_failure",
        "parent",
        "parents",
        "priority",
        "queue",
        "retry",
        "run_at",
        "runtime",
        "serializer",
        "tags",
        "timeout",
        "unique",
    }
)


@dataclasses.dataclass(frozen=True)
class RetryPolicy:
    """Decides whether and when a failed attempt runs again.

    The pause before retry *n* (from 1) is drawn evenly from 0 to ``min(cap, backoff * factor ** (n - 1))`` seconds
    (full jitter: Brooker, "Exponential Backoff And Jitter", AWS 2015); with ``jitter=False`` it is exactly that time.
    ``backoff`` (default 2) and ``cap`` (default 600) are seconds or timedeltas. ``max_retries`` defaults to that of the
    task.

    ``on`` are exception classes (or their names) that are retried (default: all), ``never`` those that are not, each
    with its subclasses; for an exception that both match, the closer class decides.

    Example::

        @task(retry=RetryPolicy(max_retries=5, backoff=10, never=(ValueError,)))
        async def charge(order_id: int) -> None: ...
    """

    max_retries: int | None = None
    backoff: float | dt.timedelta = 2.0
    factor: float = 2.0
    cap: float | dt.timedelta = 600.0
    jitter: bool = True
    on: tuple[type[BaseException] | str, ...] = ()
    never: tuple[type[BaseException] | str, ...] = ()

    def to_json(self) -> str:
        policy: dict[str, Any] = {
            "backoff_ms": _milliseconds("backoff", self.backoff),
            "factor": _factor(self.factor),
            "cap_ms": _milliseconds("cap", self.cap),
            "jitter": bool(self.jitter),
            "only": [error_name(error) for error in _several(self.on)],
            "never": [error_name(error) for error in _several(self.never)],
        }
        if self.max_retries is not None:
            policy["max_retries"] = count("max_retries", self.max_retries)
        return json.dumps(policy)


@dataclasses.dataclass(frozen=True)
class Unique:
    """Allows at most one task at a time with this key. Adding a second one returns a reference to the existing task.

    ``hold`` says how long the key is held: ``"until_finished"`` (default), ``"until_started"``, or a time from the
    addition on (seconds or timedelta).

    Example::

        unique = Unique("welcome:ada", hold=60)
        first = tasks.add_task(send_welcome, "ada@example.org", unique=unique)
        second = tasks.add_task(send_welcome, "ada@example.org", unique=unique)
        assert await second.get_task_id() == await first.get_task_id()
        assert second.existing
    """

    key: str
    hold: str | float | dt.timedelta = "until_finished"


def alike(name: str, known: Iterable[str]) -> str:
    """Returns the end of an error message about an unknown name: the name that may have been meant, if there is a
    similar one."""
    import difflib

    found = difflib.get_close_matches(name, sorted(known), 1, 0.75)
    return f"; did you mean `{found[0]}`?" if found else ""


def check_names(given: Iterable[str], where: str = "", known: Iterable[str] = OPTIONS, of: str = "") -> None:
    """Raises ``InvalidArgument`` for names that are not options."""
    unknown = sorted(set(given) - set(known))
    if unknown:
        names = ", ".join(f"`{name}`" for name in unknown)
        raise InvalidArgument(f"{where}there is no option {names}{of}{alike(unknown[0], known)}")


def error_name(error: type[BaseException] | str, what: str = "retry") -> str:
    """Returns the name of an exception class as stored with failures: ``ValueError``, or ``app.mails.SmtpError``."""
    if isinstance(error, str):
        return error
    if not (isinstance(error, type) and issubclass(error, BaseException)):
        raise InvalidArgument(f"{what}: {error!r} is not an exception class")
    return error.__qualname__ if error.__module__ == "builtins" else f"{error.__module__}.{error.__qualname__}"


def optional_text(what: str, value: Any) -> str | None:
    """Like :func:`text`, but returns None for None."""
    return None if value is None else text(what, value)


def _several(value: Any) -> Iterable[Any]:
    return value if isinstance(value, (list, tuple, set, frozenset)) else (value,)


def _factor(value: Any) -> float:
    if isinstance(value, dt.timedelta):
        raise InvalidArgument(f"factor: {value!r} is not a number")
    return seconds("factor", value)


def optional_seconds(what: str, value: Any) -> float | None:
    """Like :func:`seconds`, but returns None for None."""
    return None if value is None else seconds(what, value)


def _milliseconds(what: str, value: Any) -> int:
    given = seconds(what, value) * 1_000
    return max(round(given), 1) if given > 0 else 0


def count(what: str, value: Any, least: int = 0, most: int = 2**31 - 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidArgument(f"{what}: {value!r} is not a whole number from {least} to {most}")
    return value


def text(what: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidArgument(f"{what}: {value!r} is not a string")
    return value


EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


def instant(what: str, value: Any) -> int:
    """Returns the microseconds since the Unix epoch of an aware datetime. Raises ``InvalidArgument`` for anything else."""
    if not isinstance(value, dt.datetime):
        raise InvalidArgument(f"{what}: {value!r} is not a datetime", hint="for a time from now on use delay=seconds")
    if value.tzinfo is None or value.utcoffset() is None:
        raise InvalidArgument(
            f"{what}: {value!r} has no time zone, so it could mean another instant elsewhere",
            hint="use datetime.now(timezone.utc) + ..., or delay=seconds",
        )
    return (value - EPOCH) // dt.timedelta(microseconds=1)


def priority_number(value: Any) -> int:
    """Checks a priority, a 32-bit integer. Higher ones run first; negative ones are allowed."""
    return count("priority", value, -(2**31))


def merge(first: dict[str, Any], then: dict[str, Any]) -> dict[str, Any]:
    """Returns options overridden by further ones. Tags add up."""
    if not first or not then:
        return then or first
    merged = {**first, **then}
    if "tags" in first and "tags" in then:
        merged["tags"] = [*_several(first["tags"]), *_several(then["tags"])]
    return merged


def describe(draft: dict[str, Any], options: dict[str, Any], parents: list[Any], id_of: Callable[[Any], str]) -> None:
    """Writes options into a draft for the engine. Raises ``InvalidArgument`` for an option that can never be right."""
    if "delay" in options and "run_at" in options:
        raise InvalidArgument("delay and run_at both set the start time: give one of them")
    if parents:
        draft["parents"] = [id_of(parent) for parent in parents]
    for name, value in options.items():
        if value is None and name not in ("timeout",):
            continue
        if name == "priority":
            draft[name] = priority_number(value)
        elif name == "max_retries":
            draft[name] = count(name, value)
        elif name in ("queue", "name", "runtime", "on_parent_failure"):
            draft[name] = text(name, value)
        elif name in ("delay", "expires", "timeout"):
            draft[name] = None if value is None else seconds(name, value)
        elif name == "run_at":
            draft[name] = instant(name, value)
        elif name in ("auto_remove", "at_most_once"):
            if not isinstance(value, bool):
                raise InvalidArgument(f"{name}: {value!r} is neither True nor False")
            draft[name] = value
        elif name == "tags":
            draft[name] = [text("tags", tag) for tag in _several(value)]
        elif name == "unique":
            unique = value if isinstance(value, Unique) else Unique(value)
            draft["unique"] = text("unique", unique.key)
            hold = unique.hold
            draft["unique_hold"] = hold if isinstance(hold, str) else seconds("unique", hold)
        elif name == "serializer":
            if value not in ("json", "dill"):
                raise InvalidArgument(f"serializer: {value!r} is neither 'json' nor 'dill'")
        elif name == "retry":
            if not isinstance(value, RetryPolicy):
                raise InvalidArgument(f"retry: {value!r} is not a RetryPolicy", hint="taskyard.RetryPolicy(max_retries=5)")
    # After max_retries, in any order of the options: a policy without a number does not change it.
    if options.get("retry") is not None:
        if options["retry"].max_retries is not None and "max_retries" not in options:
            draft["max_retries"] = options["retry"].max_retries
        draft["retry"] = dataclasses.replace(options["retry"], max_retries=draft["max_retries"]).to_json()
