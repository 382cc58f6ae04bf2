"""Describes the error of a body for the server: the names of its type, one line, the traceback, and what happens next."""

from __future__ import annotations

import asyncio
import traceback
from types import TracebackType
from typing import Any

from .._options import error_name
from ..errors import PAUSE_MAX, Fail, InvalidArgument, OverLimit, Retry, SignatureInvalid, Snooze
from ..errors import seconds as seconds_of

__all__ = ["MESSAGE_MAX", "clean", "describe", "own_trace", "timed_out_settling"]

#: Maximum lengths in characters. The middle of longer texts is replaced by a note.
MESSAGE_MAX = 4_000
TRACEBACK_MAX = 48_000


def describe(error: BaseException, stage: str, cancelled: bool = False) -> tuple[Any, ...]:
    """Returns ``(type, further types, message, traceback, directive, seconds)`` for the channel.

    ``stage`` is where the error occurred: ``reading`` the task, ``running`` it, or storing its ``result``. Only errors
    while it ran are retried. ``cancelled``: a ``CancelledError`` is neither a request to the task nor yet its own
    failure. Never raises: an exception that cannot be described becomes a plain failure that names the second error.
    """
    try:
        return _describe(error, stage, cancelled)
    except BaseException as second:
        name, other = (clean(type(one).__name__, MESSAGE_MAX) for one in (error, second))
        message = f"(this {name} cannot be described: {other} was raised meanwhile)"
        return name, [], message, None, "policy" if stage == "running" else "never", 0.0


def _describe(error: BaseException, stage: str, cancelled: bool) -> tuple[Any, ...]:
    directive, seconds = "policy", 0.0
    name = error_name(type(error))
    bases = [cls for cls in type(error).__mro__[1:] if cls is not object and issubclass(cls, BaseException)]
    also = [clean(error_name(cls), MESSAGE_MAX) for cls in bases]
    try:
        pause = _pause(error)
    except InvalidArgument as wrong:
        # An invalid value was set after the exception was created. Reported as its constructor would have done.
        wrong.__cause__ = error
        return _describe(wrong, stage, cancelled)
    if cancelled and isinstance(error, asyncio.CancelledError):
        directive = "cancelled"
    elif isinstance(error, Retry):
        name = "Retry"
        if pause is not None:
            directive, seconds = "after", pause
    elif isinstance(error, Snooze):
        name, directive, seconds = "Snooze", "snooze", pause or 0.0
    elif isinstance(error, Fail):
        name, directive = "Fail", "never"
    elif isinstance(error, SignatureInvalid):
        name, directive = "SignatureInvalid", "never"
    elif stage != "running":
        directive = "never"
        if stage == "result" and isinstance(error, OverLimit):
            name = "ResultTooLarge"
    return clean(name, MESSAGE_MAX), also, _message(error), _traceback(error), directive, seconds


def _pause(error: BaseException) -> float | None:
    """Returns the seconds after which the task is to run again, or None."""
    if isinstance(error, Snooze):
        return seconds_of("Snooze(...)", _attribute(error, "seconds"), PAUSE_MAX)
    if isinstance(error, Retry) and (after := _attribute(error, "after")) is not None:
        return seconds_of("Retry(after=...)", after, PAUSE_MAX)
    return None


def _attribute(error: BaseException, name: str) -> Any:
    """Returns an attribute, or None if a subclass's ``__init__`` never set it."""
    try:
        return getattr(error, name, None)
    except BaseException as second:
        cls = type(error).__name__
        raise InvalidArgument(f"`{name}` of the raised {cls} cannot be read: {type(second).__name__}") from second


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except BaseException as second:
        return f"(its text cannot be shown: __str__ raised {type(second).__name__})"
    if isinstance(error, SystemExit):
        return clean(f"the task called sys.exit({text})", MESSAGE_MAX)
    if not text and isinstance(error, asyncio.CancelledError):
        return "the task's code was cancelled from within"
    return clean(text, MESSAGE_MAX)


def _traceback(error: BaseException) -> str:
    try:
        text = "".join(traceback.format_exception(type(error), error, own_trace(error)))
    except BaseException as second:
        text = f"{type(error).__name__} (its traceback cannot be shown: {type(second).__name__})"
    return clean(text, TRACEBACK_MAX)


def timed_out_settling(limit: float) -> tuple[Any, ...]:
    """Returns, as ``describe`` does, the failure of an attempt whose body had ended, but not the wait for its additions."""
    message = (
        f"the task did not end within its timeout of {limit:g} s: its body had ended, and tasks that it added were not "
        "stored by then"
    )
    return "TimeoutError", [], message, None, "policy", 0.0


def own_trace(error: BaseException) -> TracebackType | None:
    """Returns the traceback without the frames of the worker."""
    trace = error.__traceback__
    while trace is not None and _is_ours(trace):
        trace = trace.tb_next
    return trace


def _is_ours(trace: TracebackType) -> bool:
    # The program's own file has no package.
    return (trace.tb_frame.f_globals.get("__package__") or "").startswith(("taskyard._worker", "taskyard._tasks"))


def clean(text: str, most: int) -> str:
    """Returns a text that can be stored, of at most about ``most`` characters."""
    text = text.encode(errors="replace").decode()
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"
