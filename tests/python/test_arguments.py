"""Arguments and results are restored exactly, or refused at the call."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import math
import pathlib
import threading
import uuid
import zoneinfo
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from taskyard import (
    FunctionRefused,
    InvalidArgument,
    NotSerializable,
    OverLimit,
    QueuedTasks,
    RetryPolicy,
    TaskFailed,
    TaskyardError,
    Unique,
    _identity,
    register_serializer,
)
from taskyard._codec import decode_call, encode_call, encode_result
from taskyard._worker import Embedded
from taskyard.errors import OptionConflict


class Colour(enum.Enum):
    RED = "red"
    BLUE = ("b", 1)


class Size(enum.IntEnum):
    SMALL = 1


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: Any


@dataclasses.dataclass
class Order:
    id: int
    lines: tuple[Any, ...] = ()
    made: dt.datetime | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Money:
    amount: decimal.Decimal
    calls: int = dataclasses.field(default=0, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "calls", self.calls + 1)


class User(pydantic.BaseModel):
    name: str
    born: dt.date | None = None
    extra: dict[str, Any] = {}


class Growing(pydantic.BaseModel):
    model_config = {"extra": "allow"}
    numbers: list[int]

    def model_post_init(self, _: Any) -> None:
        self.numbers.append(1)


async def test_models_come_back_without_running_anything_again(tasks: QueuedTasks) -> None:
    model = Growing(numbers=[5], further="kept")
    assert model.numbers == [5, 1]
    assert await tasks.add_task(takes_value, model).wait(20) == model


class Plain:
    def __init__(self, value: int) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plain) and other.value == self.value

    def __hash__(self) -> int:
        return self.value


def same(first: Any, second: Any) -> bool:
    """Whether two values are equal in value and type at every depth; NaN equals itself, and 0.0 differs from -0.0."""
    if type(first) is not type(second):
        return False
    if isinstance(first, float):
        return (math.isnan(first) and math.isnan(second)) or (
            first == second and math.copysign(1, first) == math.copysign(1, second)
        )
    if isinstance(first, decimal.Decimal):
        return str(first) == str(second)
    if isinstance(first, complex):
        return same(first.real, second.real) and same(first.imag, second.imag)
    if isinstance(first, dict):
        return len(first) == len(second) and all(
            same(a, b) and same(first[a], second[b]) for a, b in zip(first, second, strict=True)
        )
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(same(a, b) for a, b in zip(first, second, strict=True))
    if isinstance(first, (dt.datetime, dt.time)):
        return first == second and first.fold == second.fold and first.tzinfo == second.tzinfo
    if dataclasses.is_dataclass(first):
        return all(same(getattr(first, f.name), getattr(second, f.name)) for f in dataclasses.fields(first))
    return bool(first == second)


zones = st.sampled_from(
    [None, dt.timezone.utc, dt.timezone(dt.timedelta(hours=5, minutes=45)), zoneinfo.ZoneInfo("Europe/Paris")]
)
text = st.text(st.characters(exclude_categories=["Cs"]))
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    text,
    st.binary(),
    st.binary().map(bytearray),
    st.datetimes(timezones=zones, allow_imaginary=True),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.uuids(),
    st.decimals(),
    st.complex_numbers(),
    st.sampled_from([*Colour, *Size, Rights.READ, Rights.READ | Rights.WRITE, Rights(0)]),
    text.filter(lambda value: "\0" not in value).map(pathlib.Path),
    st.builds(range, st.integers(-5, 5), st.integers(-5, 5), st.integers(1, 3)),
    st.builds(User, name=text, born=st.none() | st.dates()),
    st.builds(Money, st.decimals(allow_nan=False)),
)
keys = st.one_of(text, st.just("$tuple"), st.integers(), st.none(), st.booleans(), st.tuples(st.integers(), text))
hashable = st.one_of(st.integers(), text, st.dates())
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
        st.sets(hashable, max_size=4),
        st.frozensets(hashable, max_size=4),
        st.builds(Point, st.integers(), inner),
        st.builds(Order, st.integers(), st.lists(inner, max_size=2).map(tuple)),
    ),
    max_leaves=15,
)


@settings(max_examples=400, deadline=None)
@given(st.lists(values, max_size=3), st.dictionaries(st.sampled_from(["a", "b", "ß"]), values))
def test_anything_that_is_accepted_comes_back_as_it_was(args: list[Any], kwargs: dict[str, Any]) -> None:
    payload, blobs, references = encode_call(tuple(args), kwargs, ())
    assert blobs == references == []
    read = decode_call(payload, {})
    assert read.ours and read.function is None
    assert same(read.args, args), payload
    assert same(read.kwargs, kwargs), payload


async def give_back(*args: Any, **kwargs: Any) -> Any:
    return [list(args), kwargs]


@pytest.fixture
async def tasks(database: str) -> AsyncIterator[QueuedTasks]:
    async with QueuedTasks(database=database) as tasks, Embedded(tasks):
        yield tasks


async def test_through_both_databases_and_back_as_a_result(tasks: QueuedTasks) -> None:
    args = [
        (1, "x\0\u2028", b"\0\xff"),
        {1: "one", None: (), "$dict": [1]},
        float("nan"),
        -0.0,
        2**200,
        [Colour.BLUE, Size.SMALL, Rights.READ | Rights.WRITE],
        dt.datetime(2026, 10, 25, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Paris"), fold=1),
        Order(1, (Money(decimal.Decimal("1.10")),), dt.datetime(2026, 1, 1)),
        User(name="ada", born=dt.date(1815, 12, 10)),
        uuid.UUID(int=5),
        {frozenset({1}), 2},
    ]
    result = await tasks.add_task(give_back, *args, key=args).wait(20)
    assert same(result, [args, {"key": args}])


class Text(str):
    pass


@dataclasses.dataclass
class Loose:
    a: int


def loose() -> Loose:
    made = Loose(1)
    made.further = 2  # type: ignore[attr-defined]
    return made


class Private(pydantic.BaseModel):
    _hidden: int = 1


def cyclic() -> list[Any]:
    made: list[Any] = []
    made.append(made)
    return made


class Odd(dt.tzinfo):
    def utcoffset(self, _: Any) -> dt.timedelta:
        return dt.timedelta(0)

    def tzname(self, _: Any) -> str:
        return "odd"

    def dst(self, _: Any) -> None:
        return None


@pytest.mark.parametrize(
    "value",
    [
        object(),
        Plain(1),
        threading.Lock(),
        (n for n in range(3)),
        lambda: 1,
        Text("a str of another class"),
        collections.OrderedDict(a=1),
        collections.defaultdict(list),
        memoryview(b"x"),
        "\ud800",
        loose(),
        Private(),
        dt.datetime(2026, 1, 1, tzinfo=Odd()),
        dt.datetime(2026, 1, 1, tzinfo=dt.timezone(dt.timedelta(0), "named")),
        [{"deep": [Plain(2)]}],
        int,
        NotImplemented,
    ],
)
def test_what_would_change_is_refused_at_the_call(value: Any, tmp_path: pathlib.Path) -> None:
    tasks = QueuedTasks(database=str(tmp_path / "q.db"))
    with pytest.raises(NotSerializable, match="argument `value`"):
        tasks.add_task(takes_value, value)


async def takes_value(value: Any) -> Any:
    return value


def test_the_refusal_names_argument_class_and_both_ways(tmp_path: pathlib.Path) -> None:
    with pytest.raises(NotSerializable) as refused:
        QueuedTasks(database=str(tmp_path / "q.db")).add_task(takes_value, {"key": [Plain(1)]})
    words = str(refused.value)
    for part in ("argument `value`['key'][0]", "test_arguments.Plain", "register_serializer", 'serializer="dill"'):
        assert part in words, words


def test_limits_name_themselves(tmp_path: pathlib.Path) -> None:
    tasks = QueuedTasks(database=str(tmp_path / "q.db"))
    with pytest.raises(OverLimit, match="nesting_max"):
        tasks.add_task(takes_value, cyclic())
    with pytest.raises(OverLimit, match="arguments_bytes_max"):
        tasks.add_task(takes_value, "x" * 2_000_000)
    with pytest.raises(OverLimit, match="name_bytes_max"):
        tasks.add_task(takes_value, 1, queue="q" * 300)


def test_calls_that_do_not_fit_are_refused(tmp_path: pathlib.Path) -> None:
    tasks = QueuedTasks(database=str(tmp_path / "q.db"))
    for args, kwargs in [((), {}), ((1, 2), {}), ((1,), {"value": 2}), ((1,), {"other": 2})]:
        with pytest.raises(TypeError, match="takes_value"):
            tasks.add_task(takes_value, *args, **kwargs)


async def has_priority(to: str, priority: str = "normal") -> str:
    return f"{to} {priority}"


async def test_an_option_that_is_a_parameter_too(tasks: QueuedTasks) -> None:
    with pytest.raises(OptionConflict, match="priority"):
        tasks.add_task(has_priority, "ada", priority="high")
    ref = tasks.using(priority=5).add_task(has_priority, "ada", priority="high")
    assert await ref.wait(20) == "ada high"
    assert (await ref.record())["priority"] == 5
    with pytest.raises(InvalidArgument, match="dealy"):
        tasks.using(dealy=5)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "options",
    [
        {"delay": -1},
        {"delay": "5"},
        {"delay": True},
        {"delay": 5, "run_at": dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)},
        {"run_at": dt.datetime(2026, 1, 1)},
        {"run_at": 5},
        {"delay": 10.0**12},
        {"priority": 2**40},
        {"priority": "high"},
        {"max_retries": -1},
        {"queue": ""},
        {"queue": "a\nb"},
        {"tags": 5},
        {"unique": 5},
        {"context": [1]},
        {"context": {1: 2}},
        {"serializer": "pickle"},
        {"retry": 3},
        {"on_parent_failure": "explode"},
        {"parent": "no id"},
        {"timeout": float("nan")},
        {"delay": float("inf")},
        {"auto_remove": "no"},
        {"at_most_once": 1},
        {"retry": RetryPolicy(factor=-1)},
        {"retry": RetryPolicy(backoff="2")},  # type: ignore[arg-type]
        {"unique": Unique("key", hold="for ever")},
    ],
)
def test_options_that_can_never_be_right(options: dict[str, Any], tmp_path: pathlib.Path) -> None:
    with pytest.raises(TaskyardError):
        QueuedTasks(database=str(tmp_path / "q.db")).add_task(takes_value, 1, **options)


class Bound:
    def method(self) -> None: ...

    @staticmethod
    def static() -> str:
        return "static"


def generator() -> Any:
    yield 1


@pytest.mark.parametrize("function", [Bound().method, Bound, 5, "".join, generator, print, None])
def test_what_cannot_be_a_task_is_refused_with_what_to_do(function: Any, tmp_path: pathlib.Path) -> None:
    with pytest.raises(FunctionRefused) as refused:
        QueuedTasks(database=str(tmp_path / "q.db")).add_task(function)
    assert refused.value.hint


async def test_a_static_method_is_a_function(tasks: QueuedTasks) -> None:
    assert await tasks.add_task(Bound.static).wait(20) == "static"


async def test_classes_of_yours_by_a_serializer(tasks: QueuedTasks) -> None:
    register_serializer(Plain, lambda plain: plain.value, Plain)
    try:
        assert await tasks.add_task(takes_value, [Plain(7)]).wait(20) == [Plain(7)]
    finally:
        from taskyard import _serializers

        # Only this serializer: others were registered when their modules were imported.
        del _serializers.by_name[_serializers.by_class.pop(Plain).name]


async def test_signed_dill_by_opt_in(tasks: QueuedTasks, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taskyard.toml").touch()
    async with QueuedTasks(database=str(tmp_path / "signed.db")) as tasks, Embedded(tasks):
        assert await tasks.using(serializer="dill").add_task(plain_value, Plain(3), [Plain(4)]).wait(20) == 7
    assert (tmp_path / ".taskyard" / "secret").stat().st_mode & 0o777 == 0o600


def plain_value(first: Plain, rest: list[Plain]) -> int:
    return first.value + sum(each.value for each in rest)


async def returns_something(kind: str) -> Any:
    if kind == "large":
        return "x" * (100 << 20)
    return Plain(1)


async def test_a_result_that_cannot_be_stored_fails_the_task_with_that_reason(tasks: QueuedTasks) -> None:
    for kind, error_type in [("large", "ResultTooLarge"), ("plain", "taskyard.errors.NotSerializable")]:
        ref = tasks.add_task(returns_something, kind)
        outcome = await ref.outcome(30)
        assert isinstance(outcome.error, TaskFailed) and outcome.error.error_type == error_type, outcome.error
        assert (await ref.record())["failures"] == 1, "no retry would help"


async def annotated(
    when: dt.datetime,
    order: Order,
    colour: Colour,
    pair: tuple[int, str],
    names: set[str],
    id: uuid.UUID,
    ratio: float = 0.5,
) -> str:
    assert isinstance(when, dt.datetime) and isinstance(order, Order) and isinstance(colour, Colour)
    assert isinstance(pair, tuple) and isinstance(names, set) and isinstance(id, uuid.UUID) and isinstance(ratio, float)
    return f"{when:%Y} {order.id} {colour.name} {pair} {sorted(names)} {id.int} {ratio}"


PLAIN_ARGS = '["2026-11-20T10:00:00+00:00", {"id": 3}, "red", [1, "a"], ["x", "y"]]'
PLAIN_KWARGS = '{"id": "00000000-0000-0000-0000-000000000005", "ratio": 2}'


async def test_plain_json_from_sql_is_fitted_to_the_annotations(postgres: str) -> None:
    import psycopg

    async with QueuedTasks(database=postgres) as tasks, Embedded(tasks):
        kind = f"{annotated.__module__}:{annotated.__qualname__}"
        _identity.FUNCTIONS.add_root(pathlib.Path(__file__).parent)
        with psycopg.connect(postgres) as connection:
            row = connection.execute(
                "SELECT taskyard.enqueue(%s, args => %s::json, kwargs => %s::json, runtime => 'python')",
                (kind, PLAIN_ARGS, PLAIN_KWARGS),
            ).fetchone()
        assert row is not None
        assert await tasks.get(row[0]).wait(20) == "2026 3 RED (1, 'a') ['x', 'y'] 5 2.0"


def test_results_are_bounded() -> None:
    with pytest.raises(OverLimit, match="result_bytes_max"):
        encode_result("x" * 100, bytes_max=50)
