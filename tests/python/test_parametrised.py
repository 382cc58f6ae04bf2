"""Parametrised pydantic models, defined anywhere, are stored by their origin and arguments, and parametrised again."""

from __future__ import annotations

import collections.abc
import enum
import pathlib
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Generic, Literal, TypeVar

import pydantic
import pytest
from taskyard import InvalidArgument, NotSerializable, QueuedTasks, _classes
from taskyard._codec import Decoder, Encoder
from taskyard._worker import Embedded
from typing_extensions import TypeAliasType

T = TypeVar("T")
U = TypeVar("U")


class Item(pydantic.BaseModel):
    name: str


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]
    next: int | None = None


class Both(pydantic.BaseModel, Generic[T, U]):
    first: T
    second: U


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"


UserId = typing.NewType("UserId", int)
OrderId = typing.NewType("OrderId", int)
Alias = TypeAliasType("Alias", int)
Gone = typing.NewType("Gone", int)

#: Arguments that have names, or parts with names.
FOUND: list[Any] = [
    UserId,
    Page[UserId],
    list[UserId],
    Alias,
    typing.Callable[[int, UserId], str],
    typing.Callable[..., str],
    collections.abc.Callable[[Item], str],
]


class Positive(Page[Annotated[int, pydantic.Field(gt=0)]]):
    pass


#: Parametrised at the top of a module, with metadata, which pydantic's names leave out or shorten.
REFUSED: list[Any] = [
    Page[Annotated[int, pydantic.Field(gt=0)]],
    Page[list[Annotated[int, "note"]]],
    Page[Page[Annotated[int, "note"]]],
    Page[typing.Callable[[Annotated[int, "note"]], str]],
    Page[Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]],
]
#: Types of ``typing`` without arguments.
BARE: list[Any] = [
    getattr(typing, name) for name in ("List", "Dict", "Type", "Sequence", "Pattern", "Callable", "Hashable")
]


def stored(value: Any) -> Any:
    return Encoder("a test").value(value, "it")


def restored(encoded: Any) -> Any:
    return Decoder().value(encoded)


def made() -> Iterator[Any]:
    yield Page[Item](items=[Item(name="a")])
    yield Page[int](items=[1])
    yield Page[list[Item]](items=[[Item(name="a")]])
    yield Page[typing.List[Item]](items=[])  # noqa: UP006
    yield Page[Page[Item]](items=[Page[Item](items=[])])
    yield Both[int | None, dict[str, Item]](first=None, second={})
    yield Both[typing.Optional[str], tuple[int, ...]](first="x", second=(1, 2))  # noqa: UP045
    yield Both[Literal["a", 1], Any](first="a", second=None)


@pytest.mark.parametrize("place", range(8))
def test_it_comes_back_as_it_was(place: int) -> None:
    value = list(made())[place]
    found = restored(stored(value))
    assert type(found) is type(value) and found == value


def test_no_name_that_stands_in_a_module_by_chance_is_stored() -> None:
    value = Page[Item](items=[])
    assert stored(value)["$pydantic"][0] == {"origin": f"{__name__}:Page", "args": [f"{__name__}:Item"]}
    # Payloads with such a name can be decoded.
    globals()["Page[Item]"] = type(value)
    try:
        assert restored({"$pydantic": [_classes.class_name(type(value)), {"items": [], "next": None}, ["items"]]}) == value
    finally:
        del globals()["Page[Item]"]


@pytest.mark.parametrize("argument", FOUND, ids=str)
def test_arguments_with_names(argument: Any) -> None:
    value = Page[argument](items=[])
    found = restored(stored(value))
    assert type(found) is type(value) and found == value


def test_models_of_the_same_name_are_not_taken_for_each_other() -> None:
    first, second = Page[UserId], Page[OrderId]
    assert first.__name__ == second.__name__ and first is not second
    for cls in (first, second):
        assert type(restored(stored(cls(items=[])))) is cls


@pytest.mark.parametrize("cls", REFUSED, ids=lambda cls: cls.__name__)
def test_metadata_is_refused_and_a_subclass_is_not(cls: Any) -> None:
    with pytest.raises(NotSerializable, match=r"(?s)has no name to be found by.*class MyPage\(Page\[...\]\): "):
        stored(cls(items=[]))
    found = restored(stored(Positive(items=[1])))
    assert type(found) is Positive and found.items == [1]


def test_a_new_type_that_is_gone_or_another_thing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = stored(Page[Gone](items=[1]))
    monkeypatch.setitem(globals(), "Gone", int)
    with pytest.raises(InvalidArgument, match="Gone` is not a NewType"):
        restored(encoded)
    monkeypatch.delitem(globals(), "Gone")
    with pytest.raises(InvalidArgument, match="which is not loaded"):
        restored(encoded)
    with pytest.raises(NotSerializable, match="Gone.* could not find by its name"):
        stored(Page[typing.NewType("Gone", int)](items=[]))


@pytest.mark.parametrize("argument", BARE, ids=str)
def test_types_without_arguments(argument: Any) -> None:
    value = Page[argument](items=[])
    found = restored(stored(value))
    assert type(found) is type(value) and found == value


def test_what_no_worker_could_find_is_refused_with_the_reason() -> None:
    class Local(pydantic.BaseModel):
        pass

    class LocalPage(pydantic.BaseModel, Generic[T]):
        items: list[T]

    for value, why in (
        (Page[Local](items=[]), "parametrised `Page`: .* a class that a worker could not find by its name"),
        (LocalPage[int](items=[]), "LocalPage` or an argument of it is a class that a worker could not find"),
        (Page[typing.NewType("Made", int)](items=[]), "Made.* which a worker could not find by its name"),
        (Page[Annotated[int, pydantic.Field(gt=1)]](items=[]), "Annotated.* has no name to be found by"),
    ):
        with pytest.raises(NotSerializable, match=why):
            stored(value)


def test_an_origin_or_argument_that_is_gone_is_named() -> None:
    for name in (
        {"origin": "nowhere:Page", "args": ["builtins:int"]},
        {"origin": f"{__name__}:Page", "args": ["nowhere:Item"]},
    ):
        with pytest.raises(InvalidArgument, match="of the model `.*Page\\[...\\]`, which is not loaded"):
            restored({"$pydantic": [name, {"items": [], "next": None}, ["items"]]})


class Plain(pydantic.BaseModel):
    items: list[int] = []


class Colour(enum.Enum):
    RED = 1


class Bracketed:
    taken: list[Any] = []

    def __class_getitem__(cls, item: Any) -> Any:
        cls.taken.append(item)
        return cls


PAGE, INT = f"{__name__}:Page", "builtins:int"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ({"origin": f"{__name__}:Plain", "args": [INT]}, "Plain.*cannot be parametrised as it was stored"),
        ({"origin": PAGE, "args": [INT, INT]}, "Page.*cannot be parametrised as it was stored"),
        ({"origin": f"{__name__}:Both", "args": [INT]}, "Both.*cannot be parametrised as it was stored"),
        ({"origin": f"{__name__}:Colour", "args": [INT]}, "Colour` is not a model of pydantic"),
        ({"origin": f"{__name__}:Bracketed", "args": [INT]}, "Bracketed` is not a model of pydantic"),
        ({"origin": PAGE, "args": [{"origin": f"{__name__}:Bracketed", "args": [INT]}]}, "Bracketed` has no parameters"),
        ({"origin": PAGE, "args": [{"typing": "sys"}]}, "typing.sys` does not exist"),
        ({"origin": PAGE, "args": [{"typing": "Nothing", "args": []}]}, "typing.Nothing` does not exist"),
        ({"origin": PAGE, "args": [{"typing": "List", "args": []}]}, "cannot be parametrised"),
        ({"origin": PAGE, "args": [{}]}, "cannot be parametrised"),
        ({"origin": PAGE}, "cannot be parametrised"),
        ({}, "cannot be parametrised"),
    ],
)
def test_a_model_that_does_not_take_the_stored_arguments(name: Any, why: str) -> None:
    with pytest.raises(InvalidArgument, match=why):
        restored({"$pydantic": [name, {"items": []}, ["items"]]})
    assert Bracketed.taken == []


def test_a_model_that_has_changed_since(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = stored(Page[int](items=[1]))

    class Newer(pydantic.BaseModel, Generic[T]):
        items: list[T]
        next: int | None = None
        total: int = 7

    Newer.__name__ = Newer.__qualname__ = "Page"
    monkeypatch.setitem(globals(), "Page", Newer)
    found = restored(encoded)
    assert isinstance(found, Newer) and (found.items, found.total) == ([1], 7)


async def names(page: Page[Item]) -> Page[str]:
    return Page[str](items=[item.name for item in page.items])


async def test_as_argument_and_result(tmp_path: pathlib.Path) -> None:
    async with QueuedTasks(database=str(tmp_path / "queue.db")) as tasks, Embedded(tasks):
        found = await tasks.add_task(names, Page[Item](items=[Item(name="a")])).wait(20)
    assert type(found) is Page[str] and found.items == ["a"]
