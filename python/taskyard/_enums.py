"""Stores members of enums by their names, so that a later deployment may change their values.

A combination of flags has no name of its own and is stored as the names of its flags, with the bits that no flag has,
if its class keeps such bits. Combinations that older versions stored by their number are read as that number.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

from . import _restore
from .errors import InvalidArgument

__all__ = ["restored", "stored"]


def stored(value: enum.Enum, encode: Callable[[Any], Any]) -> Any:
    """Returns the stored form of a member: its name, the ``names`` of a combination of flags, or the ``value`` of a
    member without a name."""
    if value.name is not None and type(value).__members__.get(value.name) is value:
        return value.name
    # Before Python 3.11 an inverted `IntFlag` is a negative number, which is not a set of flags.
    if not isinstance(value, enum.Flag) or value.value < 0:
        return {"value": encode(value.value)}
    names, rest = _flags(value)
    return {"names": names, "value": rest} if rest else {"names": names}


def _flags(value: enum.Flag) -> tuple[list[str], int]:
    """Returns the names of the flags in a combination, and the bits that no flag has."""
    members = [(name, each.value) for name, each in type(value).__members__.items() if each.name == name and each.value > 0]
    names, rest = [], value.value
    # Flags with one bit first: one with several bits is only needed for bits that no other flag has.
    for name, bits in sorted(members, key=lambda member: member[1].bit_count()):
        if bits & rest and not bits & ~value.value:
            names.append(name)
            rest &= ~bits
    return names, rest


def restored(cls: Any, name: str, item: Any, decode: Callable[[Any], Any]) -> Any:
    """Returns the member that was stored. Raises ``InvalidArgument`` with the name of a member that the class no longer
    has."""
    if not isinstance(item, dict):
        return _member(cls, name, item)
    if "names" not in item:
        return cls(decode(item["value"]))
    rest = item.get("value", 0)
    number = rest
    for each in item["names"]:
        number |= _member(cls, name, each).value
    try:
        found = cls(number)
    except ValueError:
        found = None
    # A class may ignore unknown bits, or return a plain number.
    if not isinstance(found, cls) or found.value != number:
        raise InvalidArgument(
            f"a stored value of the enum `{name}` has the bits {rest:#x}, which none of its members has",
            hint="give the class members for them, or boundary=enum.KEEP",
        )
    return found


def _member(cls: Any, name: str, stored_name: str) -> Any:
    current = _restore.aliases_of(cls).get(stored_name, stored_name)
    if current not in cls.__members__:
        raise InvalidArgument(
            f"a stored value is `{stored_name}` of the enum `{name}`, which has no such member", hint=_restore.ALIAS
        )
    return cls[current]
