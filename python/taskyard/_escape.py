"""Text from elsewhere made fit for a terminal, as the command does: controls, escape sequences and bidirectional marks."""

from __future__ import annotations

import datetime as dt
import logging
import re
from types import TracebackType
from typing import TypeAlias

_ExcInfo: TypeAlias = "tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]"

_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _shown(match: re.Match[str]) -> str:
    letter = match.group()
    return _SHORT.get(letter) or f"\\u{{{ord(letter):x}}}"


def line(text: str) -> str:
    """One line: a line feed becomes ``\\n`` in words, ESC ``\\u{1b}``."""
    return _UNSAFE.sub(_shown, text)


def lines(text: str) -> str:
    """Several lines, indented, so that none of them looks like one of the log's own; the line feeds stay."""
    return "\n".join(f"  {line(part)}" for part in text.rstrip("\n").split("\n"))


#: Loggers whose messages have several lines: the traceback of an application that cannot start, what an event loop gave up.
_OF_SEVERAL_LINES = frozenset({"uvicorn.error", "asyncio"})


class Formatter(logging.Formatter):
    """A record is one line, whatever its message holds; a traceback has its own lines below it, indented, as have further lines of
    uvicorn's and asyncio's messages.

    It looks like a line of the command's own log.
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
        # A text that another handler's formatter has kept is not escaped.
        kept, record.exc_text = record.exc_text, None
        try:
            return super().format(record)
        finally:
            record.exc_text = kept
