"""The options of a task: their names, their validation, and their form in the draft for the engine."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

from .errors import InvalidArgument, seconds

__all__ = [
    "EPOCH",
    "OPTIONS",
    "TABLE",
    "Option",
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


def check_names(given: Iterable[str], where: str = "", known: Iterable[str] | None = None, of: str = "") -> None:
    """Raises ``InvalidArgument`` for names that are not options."""
    known = OPTIONS if known is None else known
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


def _priority(_: str, value: Any) -> int:
    return priority_number(value)


def _flag(what: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidArgument(f"{what}: {value!r} is neither True nor False")
    return value


def _tags(what: str, value: Any) -> list[str]:
    return [text(what, tag) for tag in _several(value)]


def _serializer(what: str, value: Any) -> Any:
    if value not in ("json", "dill"):
        raise InvalidArgument(f"{what}: {value!r} is neither 'json' nor 'dill'")
    return value


class Option(NamedTuple):
    """A row of the table of options. The stubs, the docstring of ``add_task`` and ``docs/python.md`` are written from it
    by ``tests/python/test_options.py``."""

    #: Its type in the stubs.
    type: str
    #: Its meaning, in one line of the documentation.
    meaning: str
    #: Returns the value as the draft holds it, or raises ``InvalidArgument``. None for options that are treated apart.
    check: Callable[[str, Any], Any] | None = None
    #: Where the value goes: a key of the draft, one of the engine's extra options (``ExtraOptions``), or nowhere.
    goes_to: Literal["draft", "extra", "nowhere"] = "draft"


#: The options, in the order of the documentation.
TABLE: dict[str, Option] = {
    "queue": Option("str", 'the queue (default ``"default"``)', text),
    "priority": Option("int", "higher first (default 0)", _priority),
    "delay": Option("Seconds", "the earliest start, from now on", seconds),
    "run_at": Option("dt.datetime", "the earliest start, an aware datetime", instant),
    "expires": Option("Seconds", "cancels the task if it has not started this long after it was added", seconds),
    "max_retries": Option("int", "retries after the first failure (default: the setting, 3)", count),
    "retry": Option("RetryPolicy", "the pauses between retries, and which errors are retried"),
    "timeout": Option(
        "Seconds | None", "the longest an attempt may take (default: the setting, 300 s; 0 = no limit)", optional_seconds
    ),
    "unique": Option(
        "str | Unique", "a key; while it is held, adding another task with it returns a reference to the existing one"
    ),
    "parent": Option("Any", "a task that must be done first: a reference, a call or an id"),
    "parents": Option("Iterable[Any]", "several of them"),
    "on_parent_failure": Option("OnParentFailure", '``"fail"`` (default), ``"run"`` or ``"wait"``', text),
    "at_most_once": Option("bool", "makes the first crash or loss a dead letter instead of another run", _flag),
    "auto_remove": Option("bool", "deletes the task 60 s after it finished and its children ended", _flag),
    "context": Option("dict[str, Any]", "the initial context"),
    "name": Option("str", "a label for users (default: the name of the function)", text),
    "tags": Option("Iterable[str]", "labels to filter by", _tags),
    "serializer": Option(
        "Serializer", '``"dill"`` stores arguments that JSON cannot hold, too (default ``"json"``)', _serializer, "nowhere"
    ),
    "runtime": Option("Runtime", '``"python"`` or ``"rust"``, for a function that is given by its name', text),
    "connection": Option("Any", "adds the task in the transaction of this connection or session (see ``bind``)"),
}

#: Names that ``add_task`` takes in addition to the function's own arguments.
OPTIONS = frozenset(TABLE)


def describe(draft: dict[str, Any], options: dict[str, Any], parents: list[Any], id_of: Callable[[Any], str]) -> None:
    """Writes options into a draft for the engine. Raises ``InvalidArgument`` for an option that can never be right."""
    if "delay" in options and "run_at" in options:
        raise InvalidArgument("delay and run_at both set the start time: give one of them")
    if parents:
        draft["parents"] = [id_of(parent) for parent in parents]
    extra: dict[str, Any] = {}
    for name, value in options.items():
        option = TABLE.get(name)
        if option is None or option.check is None or (value is None and name != "timeout"):
            continue
        checked = option.check(name, value)
        if option.goes_to == "draft":
            draft[name] = checked
        elif option.goes_to == "extra":
            extra[name] = checked
    if extra:
        draft["extra"] = json.dumps(extra)
    if (unique := options.get("unique")) is not None:
        unique = unique if isinstance(unique, Unique) else Unique(unique)
        draft["unique"] = text("unique", unique.key)
        draft["unique_hold"] = unique.hold if isinstance(unique.hold, str) else seconds("unique", unique.hold)
    # After max_retries, in any order of the options: a policy without a number does not change it.
    if (retry := options.get("retry")) is not None:
        if not isinstance(retry, RetryPolicy):
            raise InvalidArgument(f"retry: {retry!r} is not a RetryPolicy", hint="taskyard.RetryPolicy(max_retries=5)")
        if retry.max_retries is not None and "max_retries" not in options:
            draft["max_retries"] = retry.max_retries
        draft["retry"] = dataclasses.replace(retry, max_retries=draft["max_retries"]).to_json()
