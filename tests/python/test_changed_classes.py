"""Values that were stored before their classes changed are restored by the class's own rules, or refused by name."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import functools
from typing import Annotated, Any, NamedTuple

import pydantic
import pydantic.dataclasses
import pytest
from taskyard import InvalidArgument, NotSerializable, register_aliases
from taskyard._codec import Decoder, Encoder


def redefine(cls: type) -> None:
    """Defines a class as a later deployment has it."""
    globals()[cls.__name__] = cls
    cls.__qualname__ = cls.__name__


def stored(value: Any) -> Any:
    return Encoder("a test").value(value, "it")


def restored(encoded: Any) -> Any:
    return Decoder().value(encoded)


def define(name: str) -> Any:
    def decorate(cls: type) -> type:
        redefine(cls)
        assert cls.__name__ == name
        return cls

    return decorate


def test_a_model_with_a_new_field() -> None:
    @define("M")
    class M(pydantic.BaseModel):
        a: int

    encoded = stored(M(a=1))

    @define("M")
    class M(pydantic.BaseModel):  # type: ignore[no-redef]
        a: int
        b: int = 5
        c: list[int] = pydantic.Field(default_factory=list)
        _kept: int = pydantic.PrivateAttr(default=7)

    found = restored(encoded)
    assert (type(found), found.a, found.b, found.c, found._kept) == (M, 1, 5, [], 7)  # type: ignore[attr-defined]
    assert found.model_fields_set == {"a"}
    found.c.append(1)
    assert restored(encoded).c == []

    @define("M")
    class M(pydantic.BaseModel):  # type: ignore[no-redef]
        a: int
        wanted: str

    with pytest.raises(InvalidArgument, match="wanted"):
        restored(encoded)


def test_a_model_whose_field_went_or_changed() -> None:
    @define("M")
    class M(pydantic.BaseModel):
        old: int
        when: int = 0

    encoded = stored(M(old=3))
    for alias in (pydantic.Field(alias="old"), pydantic.Field(validation_alias=pydantic.AliasChoices("new", "old"))):

        @define("M")
        class M(pydantic.BaseModel):  # type: ignore[no-redef]
            new: int = alias
            when: float = 0

        found = restored(encoded)
        assert (found.new, found.when, type(found.when)) == (3, 0.0, float)  # type: ignore[attr-defined]
        assert found.model_fields_set == {"new"}

    @define("M")
    class M(pydantic.BaseModel):  # type: ignore[no-redef]
        model_config = pydantic.ConfigDict(extra="allow")
        new: int = 0

    with pytest.raises(InvalidArgument, match="`old`"):
        restored(encoded)
    register_aliases(M, {"old": "new", "when": "new"})
    assert restored(encoded).new == 3  # type: ignore[attr-defined]

    @define("M")
    class M(pydantic.BaseModel):  # type: ignore[no-redef]
        old: int = pydantic.Field(gt=10)
        when: int = 0

    with pytest.raises(InvalidArgument, match="greater than 10"):
        restored(encoded)


def test_a_model_that_did_not_change_is_put_back_exactly() -> None:
    @define("M")
    class M(pydantic.BaseModel):
        secret: str
        tags: tuple[str, ...] = ()

        @pydantic.field_validator("secret", mode="before")
        @classmethod
        def hashed(cls, value: str) -> str:
            return f"#{value}"

        @functools.cached_property
        def shown(self) -> str:
            return self.secret * 2

    value = M(secret="x")
    assert value.shown == "#x#x"
    found = restored(stored(value))
    assert found == value and found.__dict__ == value.__dict__ and found.model_fields_set == {"secret"}

    @define("M")
    class M(pydantic.BaseModel):  # type: ignore[no-redef]
        model_config = pydantic.ConfigDict(extra="allow")
        a: int = 0

    more = M(further="kept")  # type: ignore[call-arg]
    again = restored(stored(more))
    assert again == more and again.model_fields_set == {"further"} and again.model_extra == {"further": "kept"}
    Roots = pydantic.RootModel[list[int]]
    Roots.__name__ = Roots.__qualname__ = "Roots"
    Roots.__module__ = __name__
    redefine(Roots)
    assert restored(stored(Roots([1, 2]))) == Roots([1, 2])


def test_validators_that_take_only_the_input_do_not_see_stored_values() -> None:
    @define("M")
    class M(pydantic.BaseModel):
        tags: Annotated[list[str], pydantic.BeforeValidator(lambda text: text.split(","))]
        data: pydantic.Json[dict[str, Any]]
        coded: pydantic.Base64Str
        several: list[pydantic.Json[Any]]
        at: pydantic.FutureDatetime
        doubled: Annotated[str, pydantic.StringConstraints(max_length=3), pydantic.AfterValidator(lambda text: text * 2)]
        plain: Annotated[int, pydantic.PlainValidator(lambda text: text.encode())]
        number: int
        unset: int = None  # type: ignore[assignment]
        parts: dict[str, Annotated[int, pydantic.Field(gt=0)]] = {}

        @pydantic.field_validator("number", mode="before")
        @classmethod
        def of_text(cls, value: Any) -> int:
            if not isinstance(value, str):
                raise ValueError("a text is wanted")
            return int(value)

    value = M(
        tags="a,b",  # type: ignore[arg-type]
        data='{"a": 1}',  # type: ignore[arg-type]
        coded="aGVsbG8=",
        several=["[1]"],
        at=dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=1),
        doubled="abc",
        plain="x",  # type: ignore[arg-type]
        number="3",  # type: ignore[arg-type]
        parts={"a": 1},
    )
    encoded = stored(value)
    encoded["$pydantic"][1]["at"]["$datetime"] = "2020-01-01T00:00:00+00:00"  # its time is in the past now
    found = restored(encoded)
    value.at = dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)
    assert found == value and found.model_fields_set == value.model_fields_set
    assert (found.tags, found.data, found.coded, found.number) == (["a", "b"], {"a": 1}, "hello", 3)

    @define("M")
    class M(pydantic.BaseModel):  # type: ignore[no-redef]
        model_config = pydantic.ConfigDict(extra="ignore")
        tags: Annotated[list[str], pydantic.BeforeValidator(lambda text: text.split(","))]
        number: int
        new: str = "as the class says"

    encoded["$pydantic"][1] = {"tags": ["a", "b"], "number": "7"}
    found = restored(encoded)
    assert (found.tags, found.number, found.new) == (["a", "b"], 7, "as the class says")  # type: ignore[attr-defined]


def test_dataclasses() -> None:
    @define("D")
    @dataclasses.dataclass
    class D:
        a: int
        gone: int = 1

        def __post_init__(self) -> None:
            self.a += 1

    encoded = stored(D(1, 2))
    assert restored(encoded) == D(1, 2)

    @define("D")
    @dataclasses.dataclass(frozen=True)
    class D:  # type: ignore[no-redef]
        a: int
        gone: int = 1
        new: list[int] = dataclasses.field(default_factory=list)
        made: str = dataclasses.field(init=False)
        plain: str = "x"

        def __post_init__(self) -> None:
            object.__setattr__(self, "made", f"of {self.a}")

    found = restored(encoded)
    assert (found.a, found.gone, found.new, found.made, found.plain) == (2, 2, [], "of 2", "x")  # type: ignore[attr-defined]

    @define("D")
    @dataclasses.dataclass
    class D:  # type: ignore[no-redef]
        a: int
        renamed: int = dataclasses.field(metadata={"alias": "gone"})

    assert (restored(encoded).a, restored(encoded).renamed) == (2, 2)

    @define("D")
    @dataclasses.dataclass
    class D:  # type: ignore[no-redef]
        a: int

    with pytest.raises(InvalidArgument, match="`gone`"):
        restored(encoded)

    @define("D")
    @dataclasses.dataclass
    class D:  # type: ignore[no-redef]
        a: int
        gone: int
        wanted: int

    with pytest.raises(InvalidArgument, match="`wanted`"):
        restored(encoded)


def test_a_new_field_that_the_class_computes() -> None:
    @define("D")
    @dataclasses.dataclass
    class D:
        price: int
        made: str = dataclasses.field(default="", init=False)

    value = D(2)
    value.made = "as it was"
    encoded = stored(value)

    @define("D")
    @dataclasses.dataclass(slots=True)
    class D:  # type: ignore[no-redef]
        price: int
        made: str = dataclasses.field(default="", init=False)
        rate: int = 3
        total: int = dataclasses.field(default=0, init=False)
        tax: int | None = None
        factor: dataclasses.InitVar[int] = 10

        def __post_init__(self, factor: int) -> None:
            self.made = "anew"
            self.total = self.price * self.rate
            self.tax = self.total * factor
            self.price = 0

    found = restored(encoded)
    assert (found.price, found.made, found.rate, found.total, found.tax) == (2, "as it was", 3, 6, 60)  # type: ignore[attr-defined]
    # A value that the new class has stored is restored without running these rules again.
    found.total = 5  # type: ignore[attr-defined]
    assert restored(stored(found)) == found

    @define("D")
    @dataclasses.dataclass
    class D:  # type: ignore[no-redef]
        price: int
        made: str = ""
        new: int = 1
        factor: dataclasses.InitVar[int] = dataclasses.field(kw_only=True)

        def __post_init__(self, factor: int) -> None: ...

    with pytest.raises(InvalidArgument, match="`new`.*factor"):
        restored(encoded)

    @define("D")
    @dataclasses.dataclass(init=False)
    class D:  # type: ignore[no-redef]
        price: int
        made: str
        total: int
        several: list[int] = dataclasses.field(default_factory=list)

        def __init__(self, price: int) -> None:
            self.price, self.total = price, price + 1

    found = restored(encoded)
    assert (found.price, found.made, found.total, found.several) == (2, "as it was", 3, [])  # type: ignore[attr-defined]

    @define("D")
    @dataclasses.dataclass
    class D:  # type: ignore[no-redef]
        price: int
        made: str
        unset: int = dataclasses.field(init=False)

    with pytest.raises(InvalidArgument, match="`unset`"):
        restored(encoded)


def test_a_dataclass_of_pydantic_with_new_fields() -> None:
    @define("P")
    @pydantic.dataclasses.dataclass
    class P:
        data: pydantic.Json[dict[str, Any]]
        size: int = 1
        kids: list[P] = dataclasses.field(default_factory=list)

    encoded = stored(P(data='{"a": 1}', kids=[P(data="{}")]))  # type: ignore[arg-type]
    assert restored(encoded).data == {"a": 1}

    @define("P")
    @pydantic.dataclasses.dataclass
    class P:  # type: ignore[no-redef]
        data: pydantic.Json[dict[str, Any]]
        size: float = 1
        kids: list[P] = dataclasses.field(default_factory=list)
        x: int = pydantic.Field(default=3)
        many: list[int] = pydantic.Field(default_factory=list)
        total: int = dataclasses.field(default=0, init=False)

        def __post_init__(self) -> None:
            self.total = self.x + 1

    found = restored(encoded)
    assert (found.data, found.x, found.many, found.total) == ({"a": 1}, 3, [], 4)  # type: ignore[attr-defined]
    assert (found.size, type(found.size), found.kids[0].total) == (1.0, float, 4)  # type: ignore[attr-defined]

    @define("P")
    @pydantic.dataclasses.dataclass
    class P:  # type: ignore[no-redef]
        data: pydantic.Json[dict[str, Any]]
        size: int
        kids: list[Any]
        wanted: int = pydantic.Field(gt=1)

    with pytest.raises(InvalidArgument, match="wanted"):
        restored(encoded)


def test_a_new_field_that_a_model_computes() -> None:
    @define("M")
    class M(pydantic.BaseModel):
        data: pydantic.Json[dict[str, Any]]
        price: int
        kids: list[M] = []

    encoded = stored(M(data='{"a": 1}', price=2, kids=[M(data="{}", price=1)]))  # type: ignore[arg-type]

    @define("M")
    class M(pydantic.BaseModel):  # type: ignore[no-redef]
        model_config = pydantic.ConfigDict(frozen=True, extra="allow")
        data: pydantic.Json[dict[str, Any]]
        price: int
        kids: list[M] = []
        total: int = 0
        tax: int = 0
        named: str = ""
        _kept: int = 0

        @pydantic.model_validator(mode="before")
        @classmethod
        def names(cls, values: dict[str, Any]) -> dict[str, Any]:
            return {**values, "named": f"for {values['price']}"}

        @pydantic.model_validator(mode="after")
        def sums(self) -> M:
            self.__dict__.update(tax=self.total * 10, price=0)
            return self

        def model_post_init(self, context: Any) -> None:
            self.__dict__["total"] = self.price + 1
            self._kept = 7

    found = restored(encoded)
    assert (found.data, found.price, found.total, found.tax) == ({"a": 1}, 2, 3, 30)  # type: ignore[attr-defined]
    assert (found.named, found._kept, found.kids[0].tax) == ("for 2", 7, 20)  # type: ignore[attr-defined]
    assert found.model_fields_set == {"data", "price", "kids", "named"}

    @define("M")
    class M(pydantic.BaseModel):  # type: ignore[no-redef]
        data: Any
        price: int
        kids: list[Any]
        new: int = 0

        def __init__(self, **values: Any) -> None:
            super().__init__(**{"new": values["price"] + 5, **values})

    assert restored(encoded).new == 7  # type: ignore[attr-defined]

    @define("M")
    class M(pydantic.BaseModel):  # type: ignore[no-redef]
        data: Any
        price: int
        kids: list[Any]
        new: int = 0

        @pydantic.model_validator(mode="after")
        def refuses(self) -> M:
            raise ValueError("`new` is to be more than 0")

    with pytest.raises(InvalidArgument, match="more than 0"):
        restored(encoded)


def test_named_tuples() -> None:
    @define("N")
    class N(NamedTuple):
        a: int
        b: str

    encoded = stored(N(1, "x"))
    without_names = {"$namedtuple": encoded["$namedtuple"][:2]}

    @define("N")
    class N(NamedTuple):  # type: ignore[no-redef]
        b: str
        a: int
        c: tuple[int, ...] = ()

    assert restored(encoded) == N(b="x", a=1)

    @define("N")
    class N(NamedTuple):  # type: ignore[no-redef]
        a: int
        b: str
        c: int = 9

    # As stored by versions that stored no names.
    assert restored(without_names) == restored(encoded) == (1, "x", 9)

    @define("N")
    class N(NamedTuple):  # type: ignore[no-redef]
        a: int
        wanted: int

    with pytest.raises(InvalidArgument, match="`b`"):
        restored(encoded)
    register_aliases(N, {"b": "wanted"})
    assert restored(encoded) == (1, "x")

    @define("N")
    class N(NamedTuple):  # type: ignore[no-redef]
        a: int
        b: str
        wanted: int

    for each in (encoded, without_names):
        with pytest.raises(InvalidArgument, match="`wanted`"):
            restored(each)


def test_enums() -> None:
    @define("E")
    class E(enum.Enum):
        OLD = 1

    encoded = stored(E.OLD)

    @define("E")
    class E(enum.Enum):  # type: ignore[no-redef]
        NEW = 1

    with pytest.raises(InvalidArgument, match="`OLD`"):
        restored(encoded)
    register_aliases(E, {"OLD": "NEW"})
    assert restored(encoded) is E.NEW


def test_combinations_of_flags_are_stored_by_name() -> None:
    @define("F")
    class F(enum.Flag):
        READ = 1
        WRITE = 2
        RUN = 4
        BOTH = 3

    values = {"two": F.READ | F.RUN, "none": F(0), "named": F.READ | F.WRITE, "all": ~F(0)}
    encoded = stored(values)
    assert encoded["two"] == {"$enum": [f"{__name__}:F", {"names": ["READ", "RUN"]}]}
    assert restored(encoded) == values
    by_number = {"$enum": [f"{__name__}:F", {"value": 5}]}
    assert restored(by_number) == F.READ | F.RUN

    @define("F")
    class F(enum.Flag):  # type: ignore[no-redef]
        RUN = 1
        LIST = 2
        WRITE = 4
        READ = 8
        BOTH = 12

    assert restored(encoded) == {
        "two": F.READ | F.RUN,
        "none": F(0),
        "named": F.READ | F.WRITE,
        "all": F.READ | F.WRITE | F.RUN,
    }

    @define("F")
    class F(enum.Flag):  # type: ignore[no-redef]
        READ = 1
        EXECUTE = 2

    with pytest.raises(InvalidArgument, match="`RUN`"):
        restored(encoded["two"])
    register_aliases(F, {"RUN": "EXECUTE"})
    assert restored(encoded["two"]) == F.READ | F.EXECUTE


def test_bits_of_flags_that_have_no_name() -> None:
    @define("I")
    class I(enum.IntFlag):  # noqa: E742
        READ = 1
        WRITE = 6

    for value in (I(8), I.READ | 8, I.WRITE | 32, I(4), I.READ | I.WRITE):
        found = restored(stored(value))
        assert found == value and type(found) is I
    encoded = stored(I.READ | 8)

    @define("I")
    class I(enum.IntFlag):  # type: ignore[no-redef]  # noqa: E742
        READ = 2
        WRITE = 1

    assert restored(encoded) == I.READ | 8

    @define("I")
    class I(enum.Flag):  # type: ignore[no-redef]  # noqa: E742
        READ = 2

    with pytest.raises(InvalidArgument, match="the bits 0x8"):
        restored(encoded)


@dataclasses.dataclass
class Mapped(dict[str, int]):
    a: int = 1


@dataclasses.dataclass
class Listed(list[int]):
    a: int = 1


@dataclasses.dataclass
class Raised(Exception):
    a: int = 1


@pytest.mark.parametrize("cls", [Mapped, Listed, Raised])
def test_a_dataclass_that_holds_more_than_its_fields(cls: type) -> None:
    with pytest.raises(NotSerializable, match=f"(?s){cls.__name__}, a dataclass derived from a built-in class.*register_"):
        stored({"it": cls()})
