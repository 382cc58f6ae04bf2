"""Stores small values as frameworks pass them: network addresses, and pydantic's URLs, sizes and time zones.

Each is stored with a text or number from which its class creates an equal object. pydantic is never imported to store a
value; where it is not installed, its time zones are restored as those of the standard library.
"""

from __future__ import annotations

import datetime as dt
import functools
import ipaddress
import sys
import zoneinfo
from collections.abc import Callable
from typing import Any

from . import _classes
from .errors import InvalidArgument, NotSerializable

__all__ = ["ADDRESSES", "moment", "of_pydantic", "restored_address", "restored_moment", "restored_size", "restored_url"]

_ADDRESSES: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        ipaddress.IPv4Address,
        ipaddress.IPv4Interface,
        ipaddress.IPv4Network,
        ipaddress.IPv6Address,
        ipaddress.IPv6Interface,
        ipaddress.IPv6Network,
    )
}


def address(value: Any, _: str) -> Any:
    return {"$ip": [type(value).__name__, str(value)]}


def restored_address(item: Any) -> Any:
    return _ADDRESSES[item[0]](item[1])


#: Encoders of network addresses by class.
ADDRESSES = dict.fromkeys(_ADDRESSES.values(), address)


def of_pydantic(value: Any, cls: Any, path: str) -> Any:
    """Encodes a URL or a size in bytes of pydantic; returns None for anything else."""
    if "pydantic" not in sys.modules:
        return None
    if cls is _byte_size():
        return {"$bytesize": int(value)}
    if not issubclass(cls, _urls()):
        return None
    text, name = str(value), _classes.class_name(cls)
    try:
        is_same = (made := cls(text)) == value and str(made) == text
    except (ValueError, TypeError):
        is_same = False
    if not is_same or _classes.find_class(name) is not cls:
        raise NotSerializable(
            f"{path} is a {cls.__qualname__} that its text does not reproduce exactly",
            hint="pass str(url), or register it with taskyard.register_serializer(cls, encode, decode)",
        )
    return {"$url": [name, text]}


def restored_url(item: Any) -> Any:
    cls: Any = _classes.find_class(item[0])
    if cls is None or "pydantic" not in sys.modules or not issubclass(cls, _urls()):
        raise InvalidArgument(
            f"a stored value is of the class of URLs `{item[0]}`, which is not loaded in this process",
            hint="import its module in the application",
        )
    return cls(item[1])


def restored_size(item: Any) -> Any:
    if "pydantic" not in sys.modules:
        raise InvalidArgument("a stored value is a ByteSize of pydantic, which is not loaded in this process")
    return _byte_size()(item)


@functools.cache
def _byte_size() -> Any:
    import pydantic

    return pydantic.ByteSize


@functools.cache
def _urls() -> tuple[type, ...]:
    """Returns the bases of pydantic's URL classes."""
    import pydantic_core
    from pydantic import networks

    # Before pydantic 2.10 all of them were classes of its core.
    own = (getattr(networks, name, None) for name in ("_BaseUrl", "_BaseMultiHostUrl"))
    return (pydantic_core.Url, pydantic_core.MultiHostUrl, *(cls for cls in own if cls is not None))


# --------------------------------------------------------------------------------------------------- times with a zone


def moment(tag: str) -> Callable[[Any, str], Any]:
    """Returns an encoder of datetimes or times of day: as text, or as a list if the text does not identify the zone."""

    def encode(value: Any, path: str) -> Any:
        zone = _zone(value.tzinfo, path)
        text = value.replace(tzinfo=None).isoformat() if type(zone) is str else value.isoformat()
        return {tag: text if zone is None and not value.fold else [text, zone, value.fold]}

    return encode


def _zone(zone: dt.tzinfo | None, path: str) -> Any:
    """Returns None for a zone that the text itself identifies, else the value by which it is found."""
    if zone is None:
        return None
    if type(zone) is zoneinfo.ZoneInfo and zone.key:
        return zone.key
    if type(zone) is dt.timezone and zone.tzname(None) == dt.timezone(zone.utcoffset(None)).tzname(None):
        return None
    core = sys.modules.get("pydantic_core")
    if core is not None and type(zone) is getattr(core, "TzInfo", None):
        return {"pydantic": zone.utcoffset(None) // dt.timedelta(seconds=1)}  # type: ignore[operator]
    raise NotSerializable(
        f"{path} has a time zone of the class {_classes.class_name(type(zone)).replace(':', '.')}, which would be lost",
        hint="use zoneinfo.ZoneInfo, or convert it: value.astimezone(datetime.timezone.utc)",
    )


def restored_moment(item: Any, cls: Any) -> Any:
    if isinstance(item, str):
        return cls.fromisoformat(item)
    text, zone, fold = item
    made = cls.fromisoformat(text)
    if type(zone) is dict:
        return made.replace(tzinfo=_of_pydantic(zone["pydantic"]), fold=fold)
    return made.replace(tzinfo=zoneinfo.ZoneInfo(zone) if zone else made.tzinfo, fold=fold)


def _of_pydantic(seconds: int) -> dt.tzinfo:
    """Returns a pydantic zone, as pydantic creates them when it parses, or one of the standard library where it is not
    installed."""
    try:
        from pydantic_core import TzInfo
    except ImportError:
        return dt.timezone(dt.timedelta(seconds=seconds))
    return TzInfo(seconds)
