"""Escapes text for terminals as the command does: control characters, escape sequences and bidirectional marks."""

from __future__ import annotations

import datetime as dt
import logging
import re
from types import TracebackType
from typing import TypeAlias

__all__ = ["Formatter", "line", "lines"]

_ExcInfo: TypeAlias = "tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]"

_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _shown(match: re.Match[str]) -> str:
    letter = match.group()
    return _SHORT.get(letter) or f"\\u{{{ord(letter):x}}}"


def line(text: str) -> str:
    r"""Escapes a text into one line: a line feed becomes ``\n`` in words, ESC ``\u{1b}``."""
    return _UNSAFE.sub(_shown, text)


def lines(text: str) -> str:
    """Escapes several lines and indents them, so that none of them looks like a line of the log. Line feeds are kept."""
    return "\n".join(f"  {line(part)}" for part in text.rstrip("\n").split("\n"))


#: Loggers whose messages have several lines: the traceback of an application that cannot start, errors that an event
#: loop reports.
_OF_SEVERAL_LINES = frozenset({"uvicorn.error", "asyncio"})


class Formatter(logging.Formatter):
    """Formats a record as one line in the format of the command's own log, whatever its message contains.

    Tracebacks, and further lines of the messages of uvicorn and asyncio, follow on indented lines of their own.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)5s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return f"{dt.datetime.fromtimestamp(record.created, dt.timezone.utc):%Y-%m-%dT%H:%M:%S.%fZ}"

    def formatMessage(self, record: logging.LogRecord) -> str:
        # uvicorn ends some of its messages with a line feed.
        text = super().formatMessage(record).rstrip("\n")
        if record.name in _OF_SEVERAL_LINES:
            first, _, others = text.partition("\n")
            return f"{line(first)}\n{lines(others)}" if others else line(first)
        return line(text)

    def formatException(self, ei: _ExcInfo) -> str:
        return lines(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:
        return lines(super().formatStack(stack_info))

    def format(self, record: logging.LogRecord) -> str:
        # The traceback that another handler's formatter has cached is not escaped.
        kept, record.exc_text = record.exc_text, None
        try:
            return super().format(record)
        finally:
            record.exc_text = kept
