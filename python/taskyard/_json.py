"""Reads the JSON that comes from the engine.

Stored numbers have any size, and Python refuses to convert integers of more digits than ``sys.set_int_max_str_digits``
allows (4,300). One task with such a number must not break a view of many tasks: the number is returned as its digits,
an :class:`IntegerText`. It stays a string because an int of that size could neither be printed nor written as JSON
again. Where a value is passed to code (arguments, results, a context) ``_codec.Decoder`` raises instead.
"""

from __future__ import annotations

import json
from typing import Any

__all__ = ["IntegerText", "loads"]


class IntegerText(str):
    """The digits of a stored integer that this process does not convert."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"IntegerText({super().__repr__()})"


def loads(data: str | bytes) -> Any:
    """Parses a JSON text."""
    try:
        return json.loads(data)
    except json.JSONDecodeError:
        raise
    except ValueError:
        # Only on the second try: calling a function for each integer takes time.
        return json.loads(data, parse_int=_integer)


def _integer(digits: str) -> int | IntegerText:
    try:
        return int(digits)
    except ValueError:
        return IntegerText(digits)
