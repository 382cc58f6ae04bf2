"""Limits apply at every depth of an annotation, with and without pydantic."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar

import annotated_types
import pydantic
import pytest
import typing_extensions
from pydantic import Field, StringConstraints
from support.plain_json import fitted, refused
from taskyard._worker import _convert

Positive = Annotated[int, Field(ge=1)]
T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"


class Order(pydantic.BaseModel):
    amount: Positive
    lines: list[Annotated[str, StringConstraints(min_length=2)]] = []


@dataclasses.dataclass
class Job:
    size: Positive
    name: str = ""


class Point(NamedTuple):
    x: Positive
    y: int = 0


class Options(TypedDict, total=False):
    size: Positive
    name: typing_extensions.Required[str]


class Closed(TypedDict):
    __pydantic_config__ = pydantic.ConfigDict(extra="forbid")  # type: ignore[misc]
    size: Positive
    data: bytes


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]


class Arbitrary:
    pass


LIMITED: list[tuple[Any, Any, Any, list[Any]]] = [
    # A type, a value that fits, its converted value, and values that do not fit.
    (Positive, 3, 3, [0, -1, "x", None]),
    (Annotated[str, StringConstraints(pattern="^a", max_length=2)], "ab", "ab", ["b", "abc", 1]),
    (Annotated[int, annotated_types.Interval(gt=0, lt=5)], 4, 4, [0, 5]),
    (Annotated[list[Positive], Field(max_length=2)], [1, 2], [1, 2], [[0], [1, 2, 3]]),
    (list[Annotated[Positive, Field(lt=5)]], [1, 4], [1, 4], [[5], [0]]),
    (dict[str, Positive], {"a": 1}, {"a": 1}, [{"a": 0}]),
    (tuple[Positive, ...], [1, 2], (1, 2), [[0]]),
    (Positive | None, None, None, [0]),
    (typing.Optional[Annotated[str, StringConstraints(min_length=2)]], "ab", "ab", ["a"]),  # noqa: UP045
    (Sequence[Positive], [1], [1], [[0]]),
    (Iterable[Positive], [1], [1], [[0], 1]),
    (Mapping[str, Positive], {"a": 1}, {"a": 1}, [{"a": 0}]),
    (Order, {"amount": 1, "lines": ["ab"]}, Order(amount=1, lines=["ab"]), [{"amount": 0}, {"amount": 1, "lines": ["a"]}]),
    (Job, {"size": 1}, Job(1), [{"size": 0}, {"name": "a"}, 1]),
    (Point, [1, 2], Point(1, 2), [[0, 2], {"x": 0}]),
    (Options, {"name": "a", "size": 1}, {"name": "a", "size": 1}, [{"name": "a", "size": 0}, {"size": 1}]),
    (Closed, {"size": 1, "data": "a"}, {"size": 1, "data": b"a"}, [{"size": 1, "data": "a", "more": 1}]),
    (list[Options], [{"name": "a"}], [{"name": "a"}], [[{"size": 0, "name": "a"}]]),
    (Page[Positive], {"items": [1]}, Page[Positive](items=[1]), [{"items": [0]}]),
    (Literal["a", "b"], "a", "a", ["c"]),
    (list[Literal[1]], [1], [1], [[2]]),
    (Colour, "red", Colour.RED, ["blue"]),
    (Annotated[bytes, Field(max_length=2)], "YWI=", b"ab", ["YWJj", "é"]),
    (bytes | None, "YWI=", b"ab", ["a"]),
    (list[bytes], ["YWI="], [b"ab"], [["a"]]),
    (NewType("Blob", bytes), "YWI=", b"ab", ["a"]),
    (
        typing_extensions.TypeAliasType("Alias", Annotated[list[bytes], Field(max_length=1)]),
        ["YWI="],
        [b"ab"],
        [["a"], ["", ""]],
    ),
    (dt.datetime, "2026-01-01T00:00:00", dt.datetime(2026, 1, 1), ["x"]),
    (pydantic.Base64Bytes, "YWI=", b"ab", []),
    (pydantic.PositiveInt, 1, 1, [0]),
    (type[int], int, int, ["int"]),
    (Callable[[], None], print, print, ["print"]),
    (Arbitrary, Arbitrary, None, [1, {}]),
    (list[Arbitrary], [], [], [[1]]),
    (5, None, None, [5, 6]),
    (Any, {"a": 1}, {"a": 1}, []),
    (object, {"a": 1}, {"a": 1}, []),
]


@pytest.mark.parametrize(("hint", "good", "expected", "bad"), LIMITED, ids=lambda value: None)
def test_limits_hold_wherever_they_stand(hint: Any, good: Any, expected: Any, bad: list[Any]) -> None:
    def takes(value: Any, *, named: Any = None, **further: Any) -> None: ...

    def covers(*values: Any, **named: Any) -> None: ...

    takes.__annotations__ = {"value": hint, "named": hint, "further": hint}
    covers.__annotations__ = {"values": hint, "named": hint}
    if expected is not None or good is None:
        if bad != [5, 6]:
            assert fitted(takes, good, named=good, x=good) == ([expected], {"named": expected, "x": expected})
            assert fitted(covers, good, x=good) == ([expected], {"x": expected})
    for value in bad:
        refused("argument `value` does not fit", takes, value)
        refused("argument `value` does not fit", takes, value=value)
        refused("argument `values` does not fit", covers, *([good] if expected is not None else []), value)
        refused("argument `x`", covers, x=value)


@pytest.mark.parametrize(("hint", "good", "expected", "bad"), LIMITED, ids=lambda value: None)
def test_without_pydantic_nothing_passes_unchecked(hint: Any, good: Any, expected: Any, bad: list[Any]) -> None:
    of_pydantic = (Order, Page[Positive], Job, Point, Options, Closed, list[Options])
    if hint in of_pydantic or any(
        word in str(getattr(hint, "__value__", hint)) for word in ("pydantic", "Field", "String")
    ):
        return  # there are no such types then
    if expected is not None:
        try:
            found = _convert.convert(hint, good)
        except TypeError as error:
            assert "cannot be checked" in str(error) or "is not a type" in str(error)
        else:
            assert found == expected
    for value in bad:
        with pytest.raises((TypeError, ValueError)):
            _convert.convert(hint, value)


def test_limits_of_annotated_types_hold_without_pydantic() -> None:
    limits: list[tuple[Any, Any, Any]] = [
        (Annotated[int, annotated_types.Ge(1)], 1, 0),
        (Annotated[int, annotated_types.Interval(gt=0, lt=5)], 4, 5),
        (Annotated[str, annotated_types.Len(1, 2)], "ab", "abc"),
        (Annotated[str, annotated_types.MinLen(1)], "a", ""),
        (Annotated[int, annotated_types.MultipleOf(2)], 4, 3),
        (Annotated[str, annotated_types.Predicate(str.islower)], "a", "A"),
        (list[Annotated[int, annotated_types.Ge(1)]], [1], [0]),
        (Annotated[dt.datetime, annotated_types.Timezone(None)], None, "2026-01-01T00:00:00"),
    ]
    for hint, good, bad in limits:
        if good is not None:
            assert _convert.convert(hint, good) == good
        with pytest.raises((TypeError, ValueError)):
            _convert.convert(hint, bad)


def test_classes_of_fields_without_pydantic() -> None:
    least = Annotated[int, annotated_types.Ge(1)]
    of_data = dataclasses.make_dataclass("OfData", [("size", least), ("name", str, dataclasses.field(default=""))])
    of_tuple = NamedTuple("of_tuple", [("size", least), ("name", str)])  # noqa: UP014
    of_dict = TypedDict("of_dict", {"size": least, "name": typing_extensions.NotRequired[str]})  # type: ignore[misc]  # noqa: UP013
    for hint in (of_data, of_tuple, of_dict):
        assert _convert.convert(hint, {"size": 1, "name": "a"}) in (of_data(1, "a"), (1, "a"), {"size": 1, "name": "a"})
        for bad in (
            {"size": 0, "name": "a"},
            {"name": "a"},
            {"size": 1, "name": 1},
            {"size": 1, "name": "", "more": 1},
            [0],
            1,
        ):
            with pytest.raises((TypeError, ValueError)):
                _convert.convert(hint, bad)


def test_limits_in_a_default_and_defaults() -> None:
    def pays(amount: int = Field(default=5, ge=1), note: str = "none") -> None: ...

    assert fitted(pays, "3") == ([3], {})
    assert fitted(pays) == ([], {})
    refused("amount", pays, 0)
    refused("note", pays, 1, 2)
