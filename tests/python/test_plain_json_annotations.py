"""Plain JSON is checked by the annotations of a function, and values that cannot be checked are refused by name."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import inspect
import json
import pathlib
import sys
import typing
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Optional, TypedDict

import psycopg
import pydantic
import pytest
import typing_extensions
from fastapi import Depends
from pydantic import Field, StringConstraints
from support.plain_json import fitted, refused
from support.project import Project
from taskyard import (
    INJECTED,
    FunctionRefused,
    Inject,
    InvalidArgument,
    QueuedTasks,
    TaskFailed,
    _hints,
    _identity,
    _resolve,
)
from taskyard._codec import Payload, decode_call
from taskyard._worker import Embedded, _validation

if TYPE_CHECKING:
    from elsewhere import CurrentUser, Missing

HERE = __name__
Positive = Annotated[int, Field(ge=1)]


class Order(pydantic.BaseModel):
    amount: Positive
    lines: list[Annotated[str, StringConstraints(min_length=2)]] = []


class Options(TypedDict, total=False):
    size: Positive
    name: typing_extensions.Required[str]


def user() -> str:
    return "nobody"


def one(value: Any) -> Any: ...


def test_names_and_positions() -> None:
    def only(first: int, /, second: str, *rest: bool, third: float, **first_: bytes) -> None: ...
    def hidden(first: int, /, **further: str) -> None: ...

    assert fitted(only, "1", "b", True, third=1, x="YQ==") == ([1, "b", True], {"third": 1.0, "x": b"a"})
    # The name of a positional-only parameter is free for ``**kwargs``.
    assert fitted(hidden, 1, first="a") == ([1], {"first": "a"})
    refused("argument `first`", hidden, 1, first=2)
    for wrong in (("missing", only, 1), ("`?zz'?|unexpected", one, 1), ("multiple|unexpected", one, 1)):
        with pytest.raises(InvalidArgument, match=wrong[0]):
            fitted(wrong[1], *wrong[2:], **({"zz": 1} if wrong[1] is one else {}))


def test_what_kwargs_are_unpacked_from() -> None:
    unpack = getattr(typing, "Unpack", None)
    if unpack is None:
        pytest.skip("Python 3.10 has no Unpack")

    def named(**options: Any) -> None: ...
    def placed(first: int, *rest: Any) -> None: ...

    named.__annotations__ = {"options": unpack[Options]}
    placed.__annotations__ = {"first": int, "rest": unpack[tuple[Positive, str]]}
    assert fitted(named, name="a", size="1") == ([], {"name": "a", "size": 1})
    refused("zz", named, name="a", zz=1)
    refused("options", named, name="a", size=0)
    assert fitted(placed, 1, 2, "a") == ([1, 2, "a"], {})
    refused("rest", placed, 1, 0, "a")


def test_a_class_is_a_scope_of_its_own() -> None:
    assert fitted(Holder.static, {"size": 1}) == ([Holder.Options(size=1)], {})
    refused("options", Holder.static, {"size": 0})


def test_a_partial_and_what_is_wrapped() -> None:
    def pays(amount: Positive, note: str) -> None: ...

    @functools.wraps(pays)
    def wrapped(*args: Any, **kwargs: Any) -> None: ...

    refused("amount", wrapped, 0, "a")
    refused("amount", functools.partial(pays, note="a"), 0)
    refused("note", functools.partial(pays, note="a"), 1, note=2)


def test_a_wrapper_is_called_by_the_arguments_of_the_function() -> None:
    def pays(amount: Positive, note: str = "") -> None: ...

    @functools.wraps(pays)
    def any_call(*args: Any, **kwargs: Any) -> None: ...

    @functools.wraps(pays)
    def takes_more(token: str, *args: Any, **kwargs: Any) -> None: ...

    assert fitted(any_call, 1, note="a") == ([1], {"note": "a"})
    with pytest.raises(InvalidArgument, match="__signature__"):
        fitted(any_call, "token", amount=1)
    with pytest.raises(InvalidArgument, match="token"):
        fitted(any_call, token="token", note="a")
    assert fitted(takes_more, "token", amount="1") == (["token"], {"amount": 1})
    assert fitted(takes_more, "token", "1", note="a") == (["token", 1], {"note": "a"})
    assert fitted(takes_more, token="token", amount=1) == ([], {"token": "token", "amount": 1})
    refused("amount", takes_more, "token", 0)
    refused("amount", takes_more, token="token", amount=0)
    refused("other", takes_more, "token", 1, other=1)

    def shown(token: str, amount: Positive) -> None: ...

    @functools.wraps(pays)
    def says_so(token: str, *args: Any, **kwargs: Any) -> None: ...

    says_so.__signature__ = inspect.signature(shown)  # type: ignore[attr-defined]
    assert fitted(says_so, "token", amount="1") == (["token"], {"amount": 1})
    refused("amount", says_so, "token", 0)


def test_a_wrapper_may_provide_arguments() -> None:
    def pays(amount: Positive, session: int, note: str = "") -> None: ...

    @functools.wraps(pays)
    def provides(*args: Any, **kwargs: Any) -> None: ...

    @functools.wraps(pays)
    def takes_less(amount, note=""): ...  # type: ignore[no-untyped-def]

    assert fitted(provides, amount="1") == ([], {"amount": 1})
    refused("amount", provides, amount=0)
    # Which of the two parameters is meant is ambiguous.
    refused("session.*\n.*by name", provides, 1)
    assert fitted(takes_less, "1") == ([1], {})
    refused("amount", takes_less, 0)
    refused("session", takes_less, 1, session=1)
    refused("too many", takes_less, 1, "a", 2)


class Line(NamedTuple):
    name: str
    order: Any


@dataclasses.dataclass
class Cart:
    order: Order
    days: Any = None


def test_results_of_plain_json_that_stand_in_objects() -> None:
    results = {"good": {"amount": "2"}, "bad": {"amount": 0}, "day": "2026-01-02"}

    def given(function: Any, value: Any) -> Any:
        encoded = json.dumps({"args": [value], "kwargs": {}, "lang": "python"}).encode()
        read = {id: functools.partial(lambda found: found, found) for id, found in results.items()}
        payload = decode_call(encoded, {}, read, frozenset(results))
        return _validation.arguments(function, payload)[0][0]

    def by_number(value: dict[int, Order]) -> None: ...
    def by_pair(value: dict[tuple[int, int], list[dt.date]]) -> None: ...
    def several(value: set[dt.date]) -> None: ...
    def cart(value: Cart) -> None: ...
    def anything(value) -> None: ...  # type: ignore[no-untyped-def]
    def lines(value: list[Line]) -> None: ...

    good, bad, day = ({"$result": id} for id in results)
    assert given(
        by_number, {"$dict": [[1, good], [2, {"$pydantic": [f"{HERE}:Order", {"amount": 1, "lines": []}, []]}]]}
    ) == {
        1: Order(amount=2),
        2: Order(amount=1),
    }
    pair = {"$tuple": [1, 2]}
    assert given(by_pair, {"$dict": [[pair, [day]]]}) == {(1, 2): [dt.date(2026, 1, 2)]}
    for tag, cls in (("$set", set), ("$frozenset", frozenset)):
        assert given(several, {tag: [day, {"$date": "2026-01-03"}]}) == cls([dt.date(2026, 1, 2), dt.date(2026, 1, 3)])
    of_cart = {"$dataclass": [f"{HERE}:Cart", {"order": good, "days": {"$dict": [[1, day]]}}]}
    for function in (cart, anything):
        assert given(function, of_cart) == Cart(Order(amount=2), {1: "2026-01-02"})
    for names in ([], [["name", "order"]]):
        line = {"$namedtuple": [f"{HERE}:Line", [day, of_cart], *names]}
        found = given(lines, [line])
        assert type(found[0]) is Line and found == [("2026-01-02", Cart(Order(amount=2), {1: "2026-01-02"}))]
    for function, value, place in (
        (by_number, {"$dict": [[1, bad]]}, r"`value`\[1\] does not fit"),
        (anything, {"$dataclass": [f"{HERE}:Cart", {"order": bad}]}, r"argument 1\.order does not fit"),
        (several, {"$set": ["x", day]}, "an item of argument `value` does not fit"),
    ):
        with pytest.raises(InvalidArgument, match=place):
            given(function, value)


called: list[Any] = []


def check(value: Any) -> Any:
    called.append(value)
    return value


class Checked(pydantic.BaseModel):
    size: check  # type: ignore[valid-type]


class Point(NamedTuple):
    x: int


def test_a_function_is_not_a_type(monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(value: check) -> None: ...  # type: ignore[valid-type]
    def within(value: dict[str, list[check]]) -> None: ...  # type: ignore[valid-type]
    def optional(value: Optional[check]) -> None: ...  # type: ignore[valid-type]  # noqa: UP045
    def partial(value: functools.partial(check)) -> None: ...  # type: ignore[valid-type]
    def bound(value: called.append) -> None: ...  # type: ignore[name-defined]
    def of_model(value: Checked) -> None: ...

    for function in (plain, within, optional, partial, bound, of_model):
        for value in ([1], {"a": [[1]]}, {"size": [1]}, None):
            refused("`value` does not fit", function, value)
    refused("is a function, not a type", plain, 1)
    assert not called

    def checked(value: Annotated[int, pydantic.AfterValidator(check)], point: Point = Point(1)) -> None: ...

    assert fitted(checked, "1", [2]) == ([1, Point(2)], {}) and called == [1]
    called.clear()
    # As if pydantic were not installed.
    monkeypatch.setattr(_validation, "_known", _hints.Cache(_validation._places))
    monkeypatch.setitem(sys.modules, "pydantic", None)
    for function in (plain, within):
        refused("not a type that can be checked", function, {"a": [1]})
    assert not called


# ------------------------------------------------------------------------------------------------ what has no meaning


def unclear(amount: Positive, other: Missing, *, limited: Annotated[int, Field(ge=1)] = 1, third: Nonsens = None) -> Any:  # type: ignore[name-defined]  # noqa: F821
    return [amount, str(other), limited]


def returns(amount: Positive) -> Missing:
    return [amount]  # type: ignore[return-value]


def inner(value: dict[str, Missing]) -> None: ...


def test_one_annotation_that_has_no_meaning_takes_nothing_from_the_others() -> None:
    refused("argument `amount` does not fit", unclear, 0, 1)
    refused("argument `limited` does not fit", unclear, 1, limited=0, other=1)
    refused(r"argument `other` cannot be checked: its annotation `Missing` cannot be resolved .*NameError", unclear, 1, 2)
    refused("argument `third` cannot be checked", unclear, 1, third=2, other=1)
    refused("argument `value` cannot be checked", inner, {})
    assert fitted(returns, "1") == ([1], {})
    # Values that the client encoded are exact.
    payload = Payload([1, 2], {}, True, None)
    assert _validation.arguments(unclear, payload) == ([1, 2], {})


def by_words(x: int, who: Annotated[Missing, Depends(user)] = "caller") -> None: ...
def by_security(x: int, who: Annotated[Missing, Security(user)] = "caller") -> None: ...  # type: ignore[name-defined]  # noqa: F821
def by_inject(x: int, who: Annotated[Missing, Inject(user)] = "caller") -> None: ...


AUTH = Depends(user)
D = Depends
Who = Annotated[str, Depends(user)]


def by_object(x: int, who: Annotated[Missing, AUTH] = "caller") -> None: ...
def by_other_name(x: int, who: Annotated[Missing, D(user)] = "caller") -> None: ...
def by_alias(x: int, who: Who | Missing = "caller") -> None: ...
def by_default(x: int, who: CurrentUser = INJECTED) -> None: ...
def within(x: int, who: Who | None = None) -> None: ...
def within_a_list(x: int, who: list[Who] = []) -> None: ...  # noqa: B006
def of_nothing(x: int, who: Missing = Depends()) -> None: ...
def by_position(who: Annotated[str, Depends(user)], /, **further: Any) -> None: ...
def as_further(x: int, **who: Annotated[str, Depends(user)]) -> None: ...


REFUSED = [
    by_words,
    by_security,
    by_inject,
    by_object,
    by_other_name,
    by_alias,
    by_default,
    within,
    within_a_list,
    of_nothing,
    by_position,
    as_further,
]


@pytest.mark.parametrize("function", REFUSED, ids=lambda function: function.__name__)
def test_what_may_have_been_meant_as_a_dependency_is_refused(function: Any, tmp_path: pathlib.Path) -> None:
    name = "who"
    with pytest.raises(FunctionRefused, match=name):
        _resolve.dependencies(function)
    with pytest.raises(FunctionRefused, match=name):
        fitted(function, 1, who="root")
    with QueuedTasks(database=str(tmp_path / "queue.db")) as tasks:
        with pytest.raises(FunctionRefused, match=name):
            tasks.add_task(function, 1)
        with pytest.raises(FunctionRefused, match=name):
            tasks.schedules.add("s", "@every 1h", tasks.call(function, 1))


def clear(x: Positive, who: Annotated[str, Depends(user)], other: Missing = None) -> Any:
    return [x, who, other]


def first(who: Annotated[str, Depends(user)], x: Positive, *, note: Missing = None) -> Any:
    return [who, x]


async def before(who: Annotated[str, Depends(user)], x: Positive, **further: int) -> Any:
    return [who, x, further]


async def amid(x: Positive, /, who: Annotated[str, Depends(user)], *rest: Positive, note: str = "") -> Any:
    return [x, who, rest, note]


class Holder:
    class Options(pydantic.BaseModel):
        size: Positive

    @staticmethod
    def static(options: Options) -> Any: ...

    @classmethod
    def of_class(cls, x: int) -> Any:
        return [cls, x]


class MyDepends(type(Depends(user))):  # type: ignore[misc]
    pass


def derived(x: int, who: Annotated[str, MyDepends(user)] = INJECTED) -> Any:
    return [x, who]


class Provider:
    def __init__(self, who: Annotated[str, Depends(user)] = "caller") -> None:
        self.who = who


def by_class(x: Positive, provider: Annotated[Provider, Depends()] = INJECTED) -> Any:
    return [x, provider.who]


def test_injection_does_not_depend_on_other_annotations() -> None:
    assert _resolve.injected(clear) == ("who",)

    def by_object(x: int, who: Any = INJECTED) -> None: ...

    # The type cannot be resolved, but its provider is known.
    by_object.__annotations__["who"] = Annotated["Missing", Depends(user)]
    assert _resolve.injected(by_object) == ("who",)
    refused("`who`: the worker provides it", clear, 1, who="root")
    refused("other", clear, 1, other=2)
    # Positions are those of a caller, which does not pass injected parameters.
    assert fitted(first, "5") == ([5], {})
    refused("argument `x`", first, 0)
    refused("`who`", derived, 1, who="root")


def test_names_that_come_later_are_found(tmp_path: pathlib.Path) -> None:
    source = "from __future__ import annotations\ndef f(x: int, who: Later = 'caller'): ...\ndef g(x: Later): ...\n"
    names: dict[str, Any] = {"__name__": "later"}
    exec(source, names)
    assert _resolve.dependencies(names["f"]) == ()
    refused("`x` cannot be checked", names["g"], 1)
    names["Later"] = Who
    assert _resolve.injected(names["f"]) == ("who",)
    refused("the worker provides it", names["f"], 1, who="root")


def test_hooks_and_execute_are_not_injected_into() -> None:
    from taskyard.queued_task import on_pre_run
    from taskyard.tasks import Task

    with pytest.raises(FunctionRefused, match="`who`"):

        @on_pre_run
        def hook(task: Any, who: str = Depends(user)) -> None: ...

    class Injects(Task):
        def execute(self, who: str = Depends(user)) -> None: ...  # type: ignore[override]

    with pytest.raises(FunctionRefused, match="`who`"):
        _validation.class_attributes(Injects, Payload([], {}, False, None))


# ------------------------------------------------------------------------------------------------------- in a database


@pytest.fixture
async def tasks(database: str) -> AsyncIterator[QueuedTasks]:
    async with QueuedTasks(database=database) as tasks, Embedded(tasks):
        yield tasks


async def fails(ref: Any, words: str) -> None:
    with pytest.raises(TaskFailed, match=words):
        await ref.wait(20)
    record = await ref.record()
    assert record["attempt"] == 1, "no retry would help"


def test_a_class_is_nothing_that_a_caller_gives() -> None:
    functions = _identity.Functions(include=[HERE])
    assert functions.find(f"{HERE}:before") is before
    assert functions.find(f"{HERE}:Holder.of_class") is None


async def test_a_stranger_is_held_to_the_annotations(tasks: QueuedTasks) -> None:
    assert await tasks.add_task(f"{HERE}:clear", 3).wait(20) == [3, "nobody", None]
    assert await tasks.add_task(f"{HERE}:first", 3).wait(20) == ["nobody", 3]
    assert await tasks.add_task(f"{HERE}:derived", 3).wait(20) == [3, "nobody"]
    assert await tasks.add_task(f"{HERE}:by_class", 3).wait(20) == [3, "nobody"]
    assert await tasks.add_task(f"{HERE}:before", 3, a=1).wait(20) == ["nobody", 3, {"a": 1}]
    assert await tasks.add_task(before, x=3).wait(20) == ["nobody", 3, {}]
    assert await tasks.add_task(f"{HERE}:amid", 3, 4, 5, note="n").wait(20) == [3, "nobody", (4, 5), "n"]
    assert await tasks.add_task(amid, 3).wait(20) == [3, "nobody", (), ""]
    await fails(tasks.add_task(f"{HERE}:before", 3, "root"), "too many")
    await fails(tasks.add_task(f"{HERE}:clear", 0), "`x`")
    await fails(tasks.add_task(f"{HERE}:clear", 1, who="root"), "`who`")
    await fails(tasks.add_task(f"{HERE}:by_words", 1, who="root"), "`who`")
    await fails(tasks.add_task(f"{HERE}:by_words", 1), "`who`")
    await fails(tasks.add_task(f"{HERE}:unclear", 1, 2), "`other` cannot be checked")
    await fails(tasks.add_task(f"{HERE}:clear", 1, zz=2), "zz")
    await tasks.schedules.add("s", "@every 1h", tasks.call(f"{HERE}:clear", 0))
    await fails(tasks.get(await tasks.schedules.run("s")), "`x`")
    # Values of the client are exact.
    assert await tasks.add_task(clear, 0, other=1).wait(20) == [0, "nobody", 1]


async def gives(value: Any) -> Any:
    return value


async def pays(order: Order, *others: Order, many: list[Order] | None = None, note: Missing = None) -> Any:
    assert all(isinstance(each, Order) for each in (order, *others, *(many or ())))
    return [each.amount for each in (order, *others, *(many or ()))]


async def test_results_from_elsewhere_are_fitted_too(postgres: str) -> None:
    async with QueuedTasks(database=postgres) as tasks, Embedded(tasks):

        async def ended(value: Any) -> Any:
            ref = tasks.add_task(f"{HERE}:ends_itself", postgres, value)
            await ref.wait(20)
            return ref

        good, bad = await ended({"amount": 2}), await ended({"amount": -2})
        own = tasks.add_task(gives, Order(amount=1))
        assert await tasks.add_task(pays, good).wait(20) == [2]
        assert await tasks.add_task(pays, own, good, many=[own, good]).wait(20) == [1, 2, 1, 2]
        assert await tasks.add_task(pays, own, many=(good,)).wait(20) == [1, 2]
        await fails(tasks.add_task(pays, bad), "`order`")
        await fails(tasks.add_task(pays, own, bad), "`others`")
        await fails(tasks.add_task(pays, own, many=[own, bad]), r"`many`\[1\]")
        await fails(tasks.add_task(pays, own, note=good), "`note`")
        assert await tasks.add_task(gives, bad).wait(20) == {"amount": -2}


async def ends_itself(address: str, value: Any) -> None:
    from taskyard import _loops, get_current_task

    task = get_current_task()
    async with await psycopg.AsyncConnection.connect(address) as connection:
        token = await _loops.answer(task.worker.channel.token(task.slot))
        await connection.execute("SELECT taskyard.complete_in(%s, %s, %s::json)", (task.id, token, json.dumps(value)))


APP = """
    from __future__ import annotations
    from typing import TYPE_CHECKING, Annotated, Any, ClassVar
    from fastapi import Depends
    from pydantic import Field
    from taskyard import Inject, QueuedTasks
    from taskyard.tasks import Task

    if TYPE_CHECKING:
        from elsewhere import Missing

    def user():
        return "nobody"

    async def deletes(id: Annotated[int, Field(ge=1)], note: Missing = None, who: Annotated[str, Depends(user)] = "caller"):
        return [id, who]
"""


def test_a_server_serves_what_it_can_and_refuses_the_rest(project: Project) -> None:
    project.write(
        "app.py", APP + "\n    async def guarded(id: int, who: Annotated[Missing, Depends(user)] = 'caller'): ...\n"
    )
    project.run("db", "migrate")

    def add(kind: str, **kwargs: Any) -> str:
        return project.printed("task", "add", kind, "--kwargs", json.dumps(kwargs)).split()[-1]

    good = add("app:deletes", id=1)
    wrong = [add("app:deletes", id=0), add("app:deletes", id=1, note=1), add("app:deletes", id=1, who="root")]
    guarded = [add("app:guarded", id=1), add("app:guarded", id=1, who="root")]
    server = project.server("--workers=1", app="app")
    assert project.ended(good)["result"] == [1, "nobody"]
    for id, name in zip(wrong, ("id", "note", "who"), strict=True):
        found = project.ended(id)
        assert (found["state"], found["attempt"]) == ("failed", 1) and f"`{name}`" in found["error"]["message"], found
    for id in guarded:
        found = project.ended(id)
        assert (found["state"], found["attempt"]) == ("failed", 1), found
        assert found["error"]["type"] == "taskyard.errors.FunctionRefused" and "`who`" in found["error"]["message"], found
    assert server.stop() == 0


PROGRAM = """
    from __future__ import annotations
    from typing import Annotated
    from fastapi import Depends
    from taskyard import QueuedTasks

    def user():
        return "nobody"

    def make(by_whom):
        async def local(x: int, *, who: Annotated[str, Depends(user)] = "caller", note: str = "none"):
            return [x, who, note, by_whom]
        return local

    if __name__ == "__main__":
        with QueuedTasks() as tasks:
            print(tasks.add_task(make("program"), 1, note="a").id)
"""


def test_a_local_function_travels_with_its_dependencies(sqlite_project: Project) -> None:
    project = sqlite_project
    project.write("app.py", "")
    project.write("program.py", PROGRAM)
    program = project.program("program.py")
    assert program.wait() == 0, program.output
    server = project.server("--workers=1", app="app")
    assert project.ended(program.output.strip())["result"] == [1, "nobody", "a", "program"]
    assert server.stop() == 0


BARE = """
    def typed(count: int, every: float = 1.0, *, data: bytes = b"", **further: list[int]):
        return [count, every, data.decode(), further]

    def untyped(count, every=1.0):
        return [count, every]
"""


def test_an_application_that_does_not_use_pydantic(sqlite_project: Project) -> None:
    # Pydantic is installed but not loaded, or only its first module is.
    project = sqlite_project
    project.write("app.py", BARE)
    project.write("half.py", BARE + "\n    import pydantic\n")
    for module in ("app", "half"):
        kwargs = ("--kwargs", '{"data": "YQ==", "x": ["1"]}')
        good = project.printed("task", "add", f"{module}:typed", "--args", '["3", 1]', *kwargs).split()[-1]
        wrong = project.printed("task", "add", f"{module}:typed", "--args", '["x"]').split()[-1]
        plain = project.printed("task", "add", f"{module}:untyped", "--args", '["3"]').split()[-1]
        server = project.server("--workers=1", app=module)
        assert project.ended(good)["result"] == [3, 1.0, "a", {"x": [1]}]
        assert project.ended(plain)["result"] == ["3", 1.0]
        assert "`count` does not fit" in project.ended(wrong)["error"]["message"]
        assert server.stop() == 0
