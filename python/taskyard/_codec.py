"""Encodes arguments, results and contexts as JSON that people and other languages can read: exactly, or not at all.

A value that JSON lacks is an object with one key that begins with ``$``: ``{"$tuple": [1, 2]}``, ``{"$datetime":
"..."}``. A dict whose own keys begin so, or are not strings, is written as ``{"$dict": [[key, value], ..]}``. Nothing
is converted silently: a value that would come back different raises ``NotSerializable`` with its path, its class and a
hint. Decoding imports no module and opens serialised values only after the engine has verified their signatures. Read
next: ``_restore.py``, ``_references.py``.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import pathlib
import sys
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any, NamedTuple

from . import _classes, _dataclasses, _dill, _enums, _json, _refusals, _restore, _serializers, _values
from ._classes import class_name
from ._references import Step, is_reference, places, reference
from .errors import InvalidArgument, NotSerializable, OverLimit, SignatureInvalid, TaskyardError
from .records import Record

__all__ = [
    "DEFAULT_NESTING",
    "Blob",
    "Decoder",
    "Encoder",
    "Opened",
    "Payload",
    "decode",
    "decode_call",
    "encode_call",
    "encode_plain",
    "encode_result",
    "instant",
    "may_refer",
    "shown",
]

DEFAULT_NESTING = 64
_PLAIN = frozenset({str, int, bool, type(None)})
_PATH = type(pathlib.Path())


class Blob(NamedTuple):
    """Bytes that dill made. The engine signs them and inserts them into the JSON at ``at``."""

    at: int
    python: tuple[int, int]
    body: bytes


# ---------------------------------------------------------------------------------------------------------- encoding


class Encoder:
    """Encodes one payload.

    ``what`` names the payload in errors. With ``dill``, objects that JSON cannot hold are serialised by dill and
    signed. With ``refers``, a task (a reference or a call) stands for its result and is appended to ``references``.
    """

    def __init__(self, what: str, *, nesting_max: int = DEFAULT_NESTING, dill: bool = False, refers: bool = False) -> None:
        self.what = what
        self.nesting_max = nesting_max
        self.dill = dill
        self.refers = refers
        self.references: list[Any] = []
        self.otherwise = ""
        self.blobs: list[bytes] = []
        self._mark = ""

    def value(self, value: Any, path: str, depth: int = 0) -> Any:
        """Returns the value in a form that the ``json`` module writes exactly."""
        cls = type(value)
        if cls in _PLAIN:
            if cls is str and not value.isascii():
                self._check_text(value, path)
            return value
        if cls is float:
            return value if math.isfinite(value) else {"$float": repr(value)}
        if depth >= self.nesting_max:
            raise OverLimit(
                f"{path} is nested deeper than {self.nesting_max} levels (setting nesting_max), or contains itself",
                hint="store large data elsewhere and pass its location, or raise the setting",
            )
        if cls is list:
            return [self.value(item, f"{path}[{place}]", depth + 1) for place, item in enumerate(value)]
        if cls is dict:
            return self._dict(value, path, depth)
        if cls is tuple:
            return {"$tuple": [self.value(item, f"{path}[{place}]", depth + 1) for place, item in enumerate(value)]}
        if issubclass(cls, Record):
            return self._dict(value, path, depth)
        return self._other(value, cls, path, depth)

    def _check_text(self, text: str, path: str) -> None:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise NotSerializable(
                f"{path} holds half of a surrogate pair at {error.start}, which no UTF-8 text can hold",
                hint="decode the bytes it came from with errors='replace', or pass them as bytes",
            ) from None

    def _dict(self, value: dict[Any, Any], path: str, depth: int) -> Any:
        if all(type(key) is str and not key.startswith("$") for key in value):
            for key in value:
                if not key.isascii():
                    self._check_text(key, f"a key of {path}")
            return {key: self.value(item, f"{path}[{key!r}]", depth + 1) for key, item in value.items()}
        return {
            "$dict": [
                [self.value(key, f"a key of {path}", depth + 2), self.value(item, f"{path}[{key!r}]", depth + 2)]
                for key, item in value.items()
            ]
        }

    def _other(self, value: Any, cls: type, path: str, depth: int) -> Any:
        if self.refers and is_reference(value):
            self.references.append(value)
            return reference(value)
        serializer = _serializers.by_class.get(cls)
        if serializer is not None:
            return {"$object": [serializer.name, self.value(serializer.encode(value), path, depth + 2)]}
        simple = _SIMPLE.get(cls)
        if simple is not None:
            return simple(value, path)
        if cls is set or cls is frozenset:
            return {f"${cls.__name__}": [self.value(item, f"an item of {path}", depth + 1) for item in value]}
        if isinstance(value, enum.Enum):
            return {"$enum": [self._findable(cls, path), _enums.stored(value, lambda number: self.value(number, path, 1))]}
        if (refusal := _refusals.of(cls)) is not None and (refusal.always or not self.dill):
            raise NotSerializable(f"{path} is a {class_name(cls).replace(':', '.')}: {refusal.why}", hint=refusal.hint)
        if isinstance(value, tuple) and hasattr(cls, "_fields") and cls.__bases__ == (tuple,):
            items = [self.value(item, f"{path}.{field}", depth + 2) for field, item in zip(cls._fields, value, strict=True)]
            return {"$namedtuple": [self._findable(cls, path), items, list(cls._fields)]}
        if dataclasses.is_dataclass(cls) and (not self.dill or _dataclasses.is_whole(cls)):
            return self._dataclass(value, cls, path, depth)
        if _is_pydantic(cls):
            return self._pydantic(value, cls, path, depth)
        if (found := _values.of_pydantic(value, cls, path)) is not None:
            return found
        if isinstance(value, zoneinfo.ZoneInfo) and cls is zoneinfo.ZoneInfo and value.key:
            return {"$zone": value.key}
        if self.dill:
            return self._dill(value, path)
        raise NotSerializable(
            f"{path} is a {class_name(cls).replace(':', '.')}, which {self.what} cannot hold exactly",
            hint=f"register it with taskyard.register_serializer(cls, encode, decode){self.otherwise}",
        )

    def _dataclass(self, value: Any, cls: type, path: str, depth: int) -> Any:
        if not _dataclasses.is_whole(cls):
            raise NotSerializable(
                f"{path} is a {class_name(cls).replace(':', '.')}, a dataclass derived from a built-in class, whose own "
                "contents would be lost",
                hint=f"register it with taskyard.register_serializer(cls, encode, decode){self.otherwise}",
            )
        names = [field.name for field in dataclasses.fields(value)]
        held = dict(getattr(value, "__dict__", ()))
        parametrised = held.pop("__orig_class__", None)
        cached = [name for name in held if name not in names and _restore.is_cached(cls, name)]
        further = held.keys() - {*names, *cached}
        if further:
            raise NotSerializable(f"{path} has attributes that are not fields of its class: {', '.join(sorted(further))}")
        fields = {name: self.value(getattr(value, name), f"{path}.{name}", depth + 2) for name in (*names, *cached)}
        made = [self._findable(cls, path), fields]
        return {"$dataclass": made if parametrised is None else [*made, self._parametrised(parametrised, cls, path)]}

    def _parametrised(self, hint: Any, cls: type, path: str) -> Any:
        """Returns the stored form of the type that created an object of a generic dataclass, such as ``Box[int]``."""
        try:
            return _classes.stored_type(hint)
        except _classes.NotFindable as error:
            raise NotSerializable(
                f"{path} is a {hint!r}: an argument of its type is {error}",
                hint=f"create it without brackets, {cls.__qualname__}(...), or define their arguments at the top of a module",
            ) from None

    def _pydantic(self, value: Any, cls: type, path: str, depth: int) -> Any:
        if getattr(value, "__pydantic_private__", None):
            raise NotSerializable(
                f"{path} has private attributes, which would be lost",
                hint="register the class with taskyard.register_serializer(cls, encode, decode)",
            )
        fields, extra = (
            {name: self.value(item, f"{path}.{name}", depth + 2) for name, item in (given or {}).items()}
            for given in (value.__dict__, value.__pydantic_extra__)
        )
        made = [self._findable(cls, path), fields, sorted(value.__pydantic_fields_set__)]
        return {"$pydantic": made if value.__pydantic_extra__ is None else [*made, extra]}

    def _findable(self, cls: type, path: str) -> Any:
        try:
            return _classes.stored(cls)
        except _classes.NotFindable as error:
            raise NotSerializable(f"{path} is a {class_name(cls).replace(':', '.')}, {error}", hint=error.hint) from None

    def _dill(self, value: Any, path: str) -> Any:
        try:
            body = _dill.dumps(value)
        except ImportError:
            raise NotSerializable(f"{path}: dill is not installed", hint="pip install dill") from None
        except NotSerializable as error:
            raise NotSerializable(f"{path} cannot be serialised by dill: {error.message}", hint=error.hint) from None
        except Exception as error:
            raise NotSerializable(f"{path} cannot be serialised by dill: {error}") from error
        return self.blob(body)

    def blob(self, body: bytes) -> Any:
        """Records bytes for the engine to sign, and returns the object that marks where they go."""
        if not self._mark:
            self._mark = f"blob-{uuid.uuid4().hex}-"
        self.blobs.append(body)
        return {"$dill": f"{self._mark}{len(self.blobs) - 1}"}

    def finish(self, value: Any) -> tuple[bytes, list[Blob]]:
        """Returns the JSON without the blobs, and the blobs with the offsets at which they are inserted."""
        data = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        blobs = []
        for number, body in enumerate(self.blobs):
            mark = f'"{self._mark}{number}"'.encode()
            at = data.index(mark)
            data = data[: at + 1] + data[at + len(mark) - 1 :]
            blobs.append(Blob(at + 1, sys.version_info[:2], body))
        return data, blobs


def _simple(tag: str, text: Callable[[Any], Any]) -> Callable[[Any, str], Any]:
    return lambda value, path: {tag: text(value)}


_SIMPLE: dict[type, Callable[[Any, str], Any]] = {
    bytes: _simple("$bytes", lambda value: base64.b64encode(value).decode()),
    bytearray: _simple("$bytearray", lambda value: base64.b64encode(value).decode()),
    dt.datetime: _values.moment("$datetime"),
    dt.time: _values.moment("$time"),
    dt.date: _simple("$date", dt.date.isoformat),
    dt.timedelta: _simple("$timedelta", lambda value: [value.days, value.seconds, value.microseconds]),
    uuid.UUID: _simple("$uuid", str),
    decimal.Decimal: _simple("$decimal", str),
    complex: _simple("$complex", lambda value: [repr(value.real), repr(value.imag)]),
    range: _simple("$range", lambda value: [value.start, value.stop, value.step]),
    _PATH: _simple("$path", str),
    pathlib.PurePosixPath: _simple("$purepath", str),
    **_values.ADDRESSES,
}


def _parametrised(stored: Any, name: str) -> Any:
    try:
        found = _classes.restored_type(stored)
    except _classes.NotRestorable as error:
        raise InvalidArgument(
            f"a stored `{name}` was made with parameters that its class no longer has: {error}"
        ) from error
    if found is None:
        raise InvalidArgument(
            f"a stored `{name}` was made with parameters that are not loaded in this process: {stored}",
            hint="import their modules in the application",
        )
    return found


def _name(stored: Any) -> str:
    """Returns the name of a stored class for an error message."""
    return stored if isinstance(stored, str) else f"{_name(stored.get('origin'))}[...]" if isinstance(stored, dict) else "?"


def _is_pydantic(cls: type) -> bool:
    base = sys.modules.get("pydantic")
    return base is not None and isinstance(cls, type) and issubclass(cls, base.BaseModel)


# ---------------------------------------------------------------------------------------------------------- decoding


#: Verified values, by the text that stands for them: the version of Python and dill's bytes.
Opened = dict[str, tuple[tuple[int, int], bytes]]


class Decoder:
    """Decodes values that an :class:`Encoder` made.

    ``opened`` holds the verified dill values; no others are opened. ``results`` maps the ids of the task's parents to
    functions that return their results. Integers with more digits than this process converts raise ``InvalidArgument``,
    unless the value is only displayed (``is_shown``).
    """

    def __init__(self, opened: Opened | None = None, results: dict[str, Any] | None = None, is_shown: bool = False) -> None:
        self.opened = opened or {}
        self.results = results or {}
        self.is_shown = is_shown

    def value(self, value: Any) -> Any:
        if type(value) is list:
            return [self.value(item) for item in value]
        if type(value) is not dict:
            if type(value) is _json.IntegerText and not self.is_shown:
                raise InvalidArgument(
                    f"a stored integer of {len(value.lstrip('-'))} digits is longer than this process converts",
                    hint="call sys.set_int_max_str_digits",
                )
            return value
        if len(value) == 1:
            (tag, item) = next(iter(value.items()))
            if tag.startswith("$"):
                decode = _TAGS.get(tag)
                if decode is None:
                    raise InvalidArgument(f"a stored value has the unknown tag `{tag}`")
                return decode(self, item)
        return {key: self.value(item) for key, item in value.items()}

    def _class(self, name: Any, test: Callable[[type], bool], what: str) -> Any:
        try:
            cls = _classes.restored(name) if isinstance(name, (str, dict)) else None
        except _classes.NotRestorable as error:
            raise InvalidArgument(
                f"a stored value is of the {what} `{_name(name)}`, which cannot be parametrised as it was stored: {error}",
                hint="keep the parameters of a class until no stored value refers to it",
            ) from error
        if cls is None or not test(cls):
            raise InvalidArgument(
                f"a stored value is of the {what} `{_name(name)}`, which is not loaded in this process",
                hint="import its module in the application",
            )
        return cls

    def _enum(self, item: Any) -> Any:
        cls = self._class(item[0], lambda cls: issubclass(cls, enum.Enum), "enum")
        return _enums.restored(cls, item[0], item[1], self.value)

    def _namedtuple(self, item: Any) -> Any:
        cls = self._class(item[0], lambda cls: issubclass(cls, tuple) and hasattr(cls, "_fields"), "named tuple")
        return _restore.named_tuple(cls, item[0], [self.value(each) for each in item[1]], item[2:])

    def _dataclass(self, item: Any) -> Any:
        cls = self._class(item[0], dataclasses.is_dataclass, "dataclass")
        given = {name: self.value(each) for name, each in item[1].items()}
        fields = {field.name: field for field in dataclasses.fields(cls)}
        cached = {name: given.pop(name) for name in list(given) if name not in fields and _restore.is_cached(cls, name)}
        made = _dataclasses.restored(cls, item[0], _restore.by_field(cls, item[0], given, fields), fields)
        if cached:
            made.__dict__.update(cached)
        if len(item) > 2:
            object.__setattr__(made, "__orig_class__", _parametrised(item[2], item[0]))
        return made

    def _pydantic(self, item: Any) -> Any:
        cls = self._class(item[0], _is_pydantic, "model")
        extra = {name: self.value(each) for name, each in item[3].items()} if len(item) > 3 else {}
        given = {name: self.value(each) for name, each in item[1].items()}
        return _restore.restored_model(cls, _name(item[0]), given, extra, set(item[2]))

    def _object(self, item: Any) -> Any:
        return _serializers.serializer_named(item[0]).decode(self.value(item[1]))

    def _result(self, id: Any) -> Any:
        if id not in self.results:
            raise InvalidArgument(f"an argument is the result of task {id}, which is not a parent of this one")
        return self.results[id]()

    def _dill(self, text: Any) -> Any:
        found = self.opened.get(text) if isinstance(text, str) else None
        if found is None:
            raise SignatureInvalid("a serialised value that was not verified is not opened")
        return _dill.loads(found[1])


_TAGS: dict[str, Callable[[Decoder, Any], Any]] = {
    "$tuple": lambda self, item: tuple(self.value(each) for each in item),
    "$set": lambda self, item: {self.value(each) for each in item},
    "$frozenset": lambda self, item: frozenset(self.value(each) for each in item),
    "$dict": lambda self, item: {self.value(key): self.value(each) for key, each in item},
    "$float": lambda self, item: float(item),
    "$bytes": lambda self, item: base64.b64decode(item, validate=True),
    "$bytearray": lambda self, item: bytearray(base64.b64decode(item, validate=True)),
    "$datetime": lambda self, item: _values.restored_moment(item, dt.datetime),
    "$time": lambda self, item: _values.restored_moment(item, dt.time),
    "$date": lambda self, item: dt.date.fromisoformat(item),
    "$timedelta": lambda self, item: dt.timedelta(item[0], item[1], item[2]),
    "$zone": lambda self, item: zoneinfo.ZoneInfo(item),
    "$uuid": lambda self, item: uuid.UUID(item),
    "$decimal": lambda self, item: decimal.Decimal(item),
    "$complex": lambda self, item: complex(float(item[0]), float(item[1])),
    "$range": lambda self, item: range(*item),
    "$path": lambda self, item: pathlib.Path(item),
    "$purepath": lambda self, item: pathlib.PurePosixPath(item),
    "$ip": lambda self, item: _values.restored_address(item),
    "$url": lambda self, item: _values.restored_url(item),
    "$bytesize": lambda self, item: _values.restored_size(item),
    "$enum": Decoder._enum,
    "$namedtuple": Decoder._namedtuple,
    "$dataclass": Decoder._dataclass,
    "$pydantic": Decoder._pydantic,
    "$object": Decoder._object,
    "$dill": Decoder._dill,
    "$result": Decoder._result,
}


def instant(text: str) -> dt.datetime:
    """Parses an instant as the engine writes it. (Python 3.10 reads neither a Z nor fractions of other than 3 or 6
    digits.)"""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return dt.datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}+00:00")


# ---------------------------------------------------------------------------------------------------------- payloads


def encode_call(
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    names: tuple[str, ...],
    *,
    nesting_max: int = DEFAULT_NESTING,
    dill: bool = False,
    function: bytes | None = None,
) -> tuple[bytes, list[Blob], list[Any]]:
    """Returns a call's payload with its blobs, and the tasks whose results are arguments of it.

    ``names`` are the names of the function's parameters, for errors; ``function`` is a serialised local function.
    """
    encoder = Encoder("the arguments of a task", nesting_max=nesting_max, dill=dill, refers=True)
    encoder.otherwise = ', or have dill serialise it, signed: tasks.using(serializer="dill").add_task(...)'
    payload: dict[str, Any] = {
        "args": [
            encoder.value(value, f"argument `{names[place]}`" if place < len(names) else f"argument {place + 1}", 1)
            for place, value in enumerate(args)
        ],
        "kwargs": {name: encoder.value(value, f"argument `{name}`", 1) for name, value in kwargs.items()},
        "lang": "python",
    }
    if function is not None:
        payload["fn"] = encoder.blob(function)
    return (*encoder.finish(payload), encoder.references)


def encode_plain(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, list[Any]]:
    """Returns the payload for a function in another language, and the tasks whose results are arguments of it. Raises
    ``NotSerializable`` for a value that plain JSON lacks."""
    references: list[Any] = []
    #: Ids in the data that look like a reference, with their paths.
    alike: dict[str, str] = {}

    def refer(value: Any) -> dict[str, str]:
        references.append(value)
        return reference(value)

    for place, value in enumerate(args):
        _check_plain(value, f"argument {place + 1}", alike)
    for name, value in kwargs.items():
        _check_plain(value, f"argument `{name}`", alike)
    payload = {"args": list(args), "kwargs": kwargs}
    data = json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=refer)
    if references:
        # Only these ids are references; any other value that looks like one is data.
        results = list(dict.fromkeys(value.id for value in references))
        for id in results:
            if id in alike:
                raise NotSerializable(
                    f"{alike[id]} is the text that marks the result of task {id}, which is another argument",
                    hint="pass the reference itself in both places",
                )
        data = f'{data[:-1]},"results":{json.dumps(results)}}}'
    return data.encode(), references


def _check_plain(value: Any, path: str, alike: dict[str, str]) -> None:
    cls = type(value)
    if cls is list:
        for place, item in enumerate(value):
            _check_plain(item, f"{path}[{place}]", alike)
    elif cls is dict or issubclass(cls, Record):
        if list(value) == ["$result"] and type(value["$result"]) is str:
            alike[value["$result"]] = path
        for key, item in value.items():
            if type(key) is not str:
                raise NotSerializable(f"a key of {path} is not text, and a function in another language takes JSON")
            _check_plain(item, f"{path}[{key!r}]", alike)
    elif cls not in _PLAIN and not (cls is float and math.isfinite(value)) and not is_reference(value):
        raise NotSerializable(
            f"{path} is a {class_name(cls).replace(':', '.')}, and a function in another language takes plain JSON",
            hint="pass text, numbers, true, false, null, lists and objects",
        )


class Payload(NamedTuple):
    """A decoded payload."""

    args: list[Any]
    kwargs: dict[str, Any]
    #: Encoded by this package, so that values are exact. Otherwise plain JSON, to be converted by the function's
    #: annotations.
    ours: bool
    #: A serialised local function.
    function: Any
    #: Paths in ``args`` and ``kwargs`` of results that are plain JSON, to be converted by the annotations as well.
    foreign: tuple[tuple[Step, ...], ...] = ()
    #: The fields that the task's class declared when it was stored; None if that was not stored.
    fields: list[str] | None = None


def may_refer(data: bytes) -> bool:
    """Whether a payload may name results of parents."""
    return b'"$result"' in data


def decode_call(
    data: bytes, opened: Opened, results: dict[str, Any] | None = None, plain: frozenset[str] = frozenset()
) -> Payload:
    """Decodes a payload in this package's encoding. (The server has escaped plain JSON before it arrives here.)
    ``plain`` are the ids of parents whose results are plain JSON. Raises ``InvalidArgument`` for a payload that cannot
    be read."""
    try:
        payload = _json.loads(str(data, "utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"the payload is not JSON: {error}") from None
    if not isinstance(payload, dict):
        raise InvalidArgument("the payload is not an object with `args` and `kwargs`")
    args, kwargs = payload.get("args") or [], payload.get("kwargs") or {}
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise InvalidArgument("in the payload `args` must be a list and `kwargs` an object")
    fields = payload.get("fields")
    if fields is not None and not isinstance(fields, list):
        raise InvalidArgument("in the payload `fields` must be a list of names")
    decoder = Decoder(opened, results)
    try:
        return Payload(
            [decoder.value(item) for item in args],
            {name: decoder.value(item) for name, item in kwargs.items()},
            payload.get("lang") == "python",
            payload.get("fn"),
            (*places(args, plain), *places(kwargs, plain)) if plain else (),
            fields,
        )
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, binascii.Error) as error:
        if isinstance(error, TaskyardError):
            raise
        raise InvalidArgument(f"the payload's arguments cannot be read: {type(error).__name__}: {error}") from error


def encode_result(value: Any, *, bytes_max: int, nesting_max: int = DEFAULT_NESTING) -> bytes:
    """Encodes a result. Raises ``OverLimit`` if it takes more than ``bytes_max`` bytes."""
    encoder = Encoder("a result", nesting_max=nesting_max)
    data, _ = encoder.finish(encoder.value(value, "the result"))
    if len(data) > bytes_max:
        raise OverLimit(
            f"the result takes {len(data)} bytes, over the limit of {bytes_max} (setting result_bytes_max)",
            hint="store it elsewhere and return its location, or raise the setting",
        )
    return data


def decode(value: Any, encoded: bool = True) -> Any:
    """Decodes a result, an argument or a context that was read as JSON. A value that is not ``encoded`` is returned
    unchanged."""
    return Decoder().value(value) if encoded else value


def shown(value: Any, encoded: bool = True) -> Any:
    """Like :func:`decode`, for display: an integer with too many digits becomes an ``IntegerText``."""
    return Decoder(is_shown=True).value(value) if encoded else value
