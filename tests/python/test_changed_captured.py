"""Values that local functions captured and dill stored are restored by the rules of their classes, which have changed
since."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import pathlib
from typing import Any, Generic, NamedTuple, TypeVar

import attr
import attrs
import dill
import pydantic
import pytest
import sqlalchemy
from sqlalchemy import orm
from taskyard import InvalidArgument, QueuedTasks, _calls, _dill, register_aliases, register_serializer
from taskyard._codec import Encoder
from taskyard._worker import Embedded


def redefine(cls: Any) -> Any:
    """Defines a class as this deployment has it."""
    globals()[cls.__name__] = cls
    cls.__qualname__ = cls.__name__
    return cls


class Model(pydantic.BaseModel):
    a: int
    _kept: str = pydantic.PrivateAttr(default="default")


@dataclasses.dataclass
class Data:
    a: int


@dataclasses.dataclass(frozen=True)
class Slotted:
    a: int


@attrs.define
class Attrs:
    a: int
    _own: int = 2


@attr.s(auto_attribs=True, hash=True, cache_hash=True, slots=False)
class OldAttrs:
    a: int


class Pair(NamedTuple):
    a: int


class Colour(enum.Enum):
    RED = 1


class Plain:
    def __init__(self, held: Any) -> None:
        self.held = held


FIRST = {cls.__name__: cls for cls in (Model, Data, Slotted, Attrs, OldAttrs, Pair, Colour)}


@pytest.fixture(autouse=True)
def first() -> Any:
    for cls in FIRST.values():
        redefine(cls)
    yield
    for cls in FIRST.values():
        redefine(cls)


def second() -> None:
    """The next deployment: each class has a new field, and the enum has new values."""

    @redefine
    class Model(pydantic.BaseModel):
        a: int
        b: int = 5
        _kept: str = pydantic.PrivateAttr(default="default")

    @redefine
    @dataclasses.dataclass
    class Data:
        a: int
        b: int = 5

    @dataclasses.dataclass(frozen=True, slots=True)
    class Slotted:
        a: int
        b: int = dataclasses.field(default_factory=lambda: 5)

    Slotted.__module__ = __name__
    redefine(Slotted)

    @attrs.define
    class Attrs:
        a: int
        _own: int = 2
        b: int = attrs.field(default=5)
        c: int = attrs.field(init=False)

        @c.default
        def _(self) -> int:
            return self.a + 1

        def __attrs_post_init__(self) -> None:
            self.a = -1

    redefine(Attrs)

    @redefine
    @attr.s(auto_attribs=True, hash=True, cache_hash=True, slots=False)
    class OldAttrs:
        a: int
        b: int = 5

    @redefine
    class Pair(NamedTuple):
        a: int
        b: int = 5

    @redefine
    class Colour(enum.Enum):
        GREEN = 1
        RED = 2


KINDS = ["Model", "Data", "Slotted", "Attrs", "OldAttrs", "Pair"]


def make(name: str) -> Any:
    return globals()[name](a=1)


def captured(value: Any) -> Any:
    def body() -> Any:
        return value

    return body


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("way", ["closure", "default", "in a plain object", "in a list"])
def test_a_new_field_is_set_by_the_class(name: str, way: str) -> None:
    value = make(name)
    if way == "closure":
        body = _calls.serialize_function(captured(value))
        second()
        found = _dill.loads(body)()
    elif way == "default":
        body = _calls.serialize_function(lambda given=value: given)
        second()
        found = _dill.loads(body)()
    else:
        body = _dill.dumps(Plain(value) if way == "in a plain object" else [value])
        second()
        found = _dill.loads(body)
        found = found.held if isinstance(found, Plain) else found[0]
    assert type(found) is globals()[name]
    assert (found.a, found.b) == (1, 5)
    if name == "OldAttrs":
        assert hash(found) == hash(globals()[name](1))


def test_what_a_class_of_attrs_sets_itself() -> None:
    body = _dill.dumps(Attrs(a=3, own=4))  # type: ignore[call-arg]
    second()
    found: Any = _dill.loads(body)
    assert (found.a, found._own, found.b, found.c) == (3, 4, 5, 4)


def test_a_member_is_known_by_its_name() -> None:
    body = _dill.dumps([Colour.RED])
    second()
    assert _dill.loads(body)[0].name == "RED"


def test_a_field_that_is_gone_is_named() -> None:
    bodies = {name: _dill.dumps(make(name)) for name in KINDS}

    @redefine
    class Model(pydantic.BaseModel):
        z: int = 1

    @redefine
    @dataclasses.dataclass
    class Data:
        z: int = 1

    @redefine
    @attrs.define
    class Attrs:
        z: int = 1

    @redefine
    class Pair(NamedTuple):
        z: int = 1

    for name in ("Model", "Data", "Attrs", "Pair"):
        with pytest.raises(InvalidArgument, match=f"{name}` has the field `a`"):
            _dill.loads(bodies[name])
    for name in ("Model", "Data", "Attrs", "Pair"):
        register_aliases(globals()[name], {"a": "z"})
    for name in ("Model", "Data", "Attrs", "Pair"):
        if name == "Attrs":
            with pytest.raises(InvalidArgument, match="has the field `_own`"):
                _dill.loads(bodies[name])
            continue
        assert _dill.loads(bodies[name]).z == 1


def test_a_new_field_without_a_default_is_named() -> None:
    body = _dill.dumps(Attrs(a=1))

    @redefine
    @attrs.define
    class Attrs2:
        a: int
        c: int
        _own: int = 2

    Attrs2.__name__ = "Attrs"
    redefine(Attrs2)
    with pytest.raises(InvalidArgument, match="has no field `c`"):
        _dill.loads(body)


def test_nothing_else_changes() -> None:
    """Private attributes, additional attributes, cycles, and classes with their own pickling are left to dill."""
    model = Model(a=1)
    model._kept = "changed"
    found = _dill.loads(_dill.dumps(model))
    assert (found, found._kept, found.model_fields_set) == (model, "changed", {"a"})

    data: Any = Data(1)
    data.a, data.further = [data], "more"
    found = _dill.loads(_dill.dumps(data))
    assert found.a[0] is found and found.further == "more"

    own: Any = Own(1)
    assert _dill.loads(_dill.dumps(own)).a == "by itself"
    assert _dill.loads(_dill.dumps({Slotted(1), Pair(1), Colour.RED})) == {Slotted(1), Pair(1), Colour.RED}
    partial = Model.model_construct()
    assert _dill.loads(_dill.dumps(partial)).__dict__ == {}

    @dataclasses.dataclass
    class Local:
        a: Any

    assert _dill.loads(_dill.dumps(Local([Data(1)]))).a == [Data(1)]


class Base(orm.MappedAsDataclass, orm.DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "row"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(default="a")


@pytest.mark.parametrize("state", ["new", "loaded", "expired"])
def test_a_mapped_object_keeps_its_state(state: str) -> None:
    row, engine = Row(id=1), sqlalchemy.create_engine("sqlite://")
    if state != "new":
        Base.metadata.create_all(engine)
        with orm.Session(engine, expire_on_commit=state == "expired") as session:
            session.add(row)
            session.commit()
    found = _dill.loads(_dill.dumps([row]))[0]
    with orm.Session(engine) as session:
        session.add(found)
        assert (found.id, found.name) == (1, "a")
        assert sqlalchemy.inspect(found).persistent is (state != "new")


class Instrumented:
    """A field whose value is in a state object of another library."""

    def __get__(self, made: Any, owner: type) -> Any:
        return 1 if made is None else made._state["a"]

    def __set__(self, made: Any, value: Any) -> None:
        made._state["a"] = value


@dataclasses.dataclass
class Described:
    a: Any = Instrumented()

    def __new__(cls, *_: Any) -> Any:
        made = super().__new__(cls)
        made.__dict__["_state"] = {}
        return made


def test_an_object_with_instrumented_fields_keeps_its_state() -> None:
    assert _dill.loads(_dill.dumps([Described(3)]))[0].a == 3


@dataclasses.dataclass
class Own:
    a: Any

    def __reduce__(self) -> Any:
        return Own, ("by itself",)


@pytest.mark.parametrize("name", KINDS)
def test_older_payloads_are_read(name: str) -> None:
    value = make(name)
    assert _dill.loads(dill.dumps(captured(value)))() == value


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents


def test_a_registered_serializer_is_used() -> None:
    register_serializer(Money, lambda money: {"cents": money.cents}, lambda data: Money(data["cents"] * 1))
    body = _dill.dumps(captured(Money(5)))
    register_serializer(Money, lambda money: {"cents": money.cents}, lambda data: Money(data["cents"] * 100))
    assert _dill.loads(body)().cents == 500


T = TypeVar("T")


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]


class Item(pydantic.BaseModel):
    at: dt.date | None = None


def page(cls: Any) -> Any:
    # Defined within a function, so that no name refers to it.
    return Page[cls](items=[])


def test_a_parametrised_model_is_captured() -> None:
    found = _dill.loads(_dill.dumps(captured([page(Item), Page[list[Item]]])))()
    assert type(found[0]) is Page[Item] and found[1] is Page[list[Item]]


async def show(value: Any) -> str:
    return repr((value.a, value.b))


async def test_a_task_that_waits_for_a_deployment(tmp_path: pathlib.Path) -> None:
    async with QueuedTasks(database=str(tmp_path / "queue.db"), secret="s" * 32) as tasks:
        model, data = Model(a=1), Data(2)

        async def body() -> list[Any]:
            return [model.a, getattr(model, "b", None), data.a, getattr(data, "b", None)]

        refs = [tasks.add_task(body), tasks.using(serializer="dill").add_task(show, Attrs(3))]
        await tasks.flush()
        second()
        async with Embedded(tasks):
            assert await refs[0].wait(20) == [1, 5, 2, 5]
            assert await refs[1].wait(20) == "(3, 5)"


def test_the_codec_writes_plain_names_as_before() -> None:
    assert Encoder("a test").value(Data(1), "it") == {"$dataclass": [f"{__name__}:Data", {"a": 1}]}
