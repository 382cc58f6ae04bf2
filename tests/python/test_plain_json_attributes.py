"""Plain JSON sets only those attributes of a task object that its class annotates or its ``__init__`` takes."""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

import pytest
from fastapi import Depends
from pydantic import Field
from support.project import Project
from taskyard import FunctionRefused, InvalidArgument, _identity
from taskyard._codec import Payload
from taskyard._tasks.task_codec import looked_at
from taskyard._worker import _validation
from taskyard.tasks import BackgroundTask, Task

if TYPE_CHECKING:
    from elsewhere import Missing

ran: list[str] = []


class Descriptor:
    def __get__(self, task: Any, owner: Any = None) -> Any:
        return self

    def __set__(self, task: Any, value: Any) -> None:
        ran.append("descriptor")


class Base(Task):
    #: The addresses to which reports may be sent.
    ALLOWED: ClassVar[list[str]] = ["internal"]
    LIMIT = 5
    FIXED: Final = 1
    FIXED_TOO: Final[int] = 1
    inherited: Annotated[int, Field(ge=1)] = 1

    def execute(self) -> Any:
        return sorted(self.__dict__)


class Mail(Base):
    to: Annotated[str, Field(min_length=2)]
    size: int = 0
    open: Missing
    described: Any = Descriptor()
    helper = staticmethod(print)
    later: Annotated[int, ClassVar[int]]  # type: ignore[valid-type]

    def __init__(
        self,
        to: str,
        *args: Any,
        count: Annotated[int, Field(ge=1)] = 1,
        untyped=None,  # type: ignore[no-untyped-def]
        who: Any = Depends(print),
        **further: Any,
    ) -> None:
        self.to = to

    @property
    def secret(self) -> str:
        return "secret"

    @secret.setter
    def secret(self, value: str) -> None:
        ran.append("property")

    @functools.cached_property
    def kept(self) -> int:
        return 1

    def check(self) -> bool:
        return True

    _private: int
    __mangled: int


class Slots(Task):
    __slots__ = ("to",)
    to: int


@dataclasses.dataclass(slots=True)
class Slotted(Task):
    to: str
    size: int = 1


class Injected(Task):
    to: str
    who: Annotated[str, Depends(print)]
    other: str = Depends(print)


@dataclasses.dataclass
class Data(Task):
    to: str
    size: Annotated[int, Field(ge=1)] = 1
    at: dataclasses.InitVar[int] = 0
    own: int = dataclasses.field(default=7, init=False)
    many: list[int] = dataclasses.field(default_factory=list)


def given(cls: Any, **attributes: Any) -> dict[str, Any]:
    return _validation.class_attributes(cls, Payload([], attributes, False, None))


def test_annotated_names_and_parameters_are_given() -> None:
    assert given(Mail, to="ada", size="5", count=2, untyped={"a": 1}, inherited=3) == {
        "to": "ada",
        "size": 5,
        "count": 2,
        "untyped": {"a": 1},
        "inherited": 3,
    }
    assert given(Slots, to="3") == {"to": 3}
    assert Slots.from_payload(given(Slots, to="3")).to == 3
    assert Slotted.from_payload(given(Slotted, to="a")).size == 1
    assert given(Data, to="a", size=2, many=["1"]) == {"to": "a", "size": 2, "many": [1]}


@pytest.mark.parametrize("name", ["to", "size", "count", "inherited"])
def test_their_limits_hold(name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"attribute `{name}` does not fit"):
        given(Mail, **{name: "" if name == "to" else 0 if name != "size" else "x"})


def test_a_limit_at_either_place_holds() -> None:
    class Both(Task):
        size: int
        other: Annotated[int, Field(le=5)]

        def __init__(self, size: Annotated[int, Field(ge=1)], other: Annotated[int, Field(ge=1)]) -> None: ...

    assert given(Both, size="1", other=5) == {"size": 1, "other": 5}
    for wrong in ({"size": 0}, {"other": 0}, {"other": 6}):
        with pytest.raises(InvalidArgument, match="does not fit"):
            given(Both, **wrong)


OWN = [
    (Mail, name)
    for name in (
        *("ALLOWED", "LIMIT", "FIXED", "FIXED_TOO", "described", "helper", "who", "secret", "kept", "check", "execute"),
        *("_private", "_Mail__mangled", "__class__", "__dict__", "_taskyard", "id", "status", "to_payload", "from_payload"),
        *("args", "further", "self", "unknown", "open"),
    )
] + [(Data, "at"), (Data, "own"), (Slots, "other"), (Base, "to"), (Injected, "who"), (Injected, "other")]


@pytest.mark.parametrize(("cls", "name"), OWN, ids=lambda value: value if isinstance(value, str) else value.__name__)
def test_nothing_else_is(cls: Any, name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"`{name}`"):
        given(cls, **{"to": "ada"} if cls is Data else {}, **{name: 1})
    record = {
        "state": "done",
        "kind": f"{cls.__module__}:{cls.__qualname__}",
        "runtime": "python",
        "payload": {"args": [], "kwargs": {name: 1}},
        "payload_encoded": False,
    }
    # Nor when the task is read.
    shown = looked_at(record, None, None)
    assert type(shown) is cls and not vars(shown) and not ran


def test_the_client_gives_what_it_stored() -> None:
    assert _validation.class_attributes(Mail, Payload([], {"unknown": (1,)}, True, None)) == {"unknown": (1,)}
    for payload in (Payload([1], {}, False, None), Payload([1], {}, True, None)):
        with pytest.raises(InvalidArgument, match="arguments without names"):
            _validation.class_attributes(Mail, payload)


def test_a_dataclass_wants_its_fields() -> None:
    with pytest.raises(InvalidArgument, match="`to`"):
        given(Data, size=1)


def test_an_init_that_is_injected_into_and_cannot_be() -> None:
    class Unclear(Task):
        def __init__(self, to: str, who: Annotated[Missing, Depends(print)] = "caller") -> None: ...

    with pytest.raises(FunctionRefused, match="`who`"):
        given(Unclear, to="a", who="root")


async def pays(amount: Annotated[int, Field(ge=1)], who: Annotated[str, Depends(print)] = "caller") -> Any:
    return [amount, who]


async def test_a_function_that_is_looked_at_runs_with_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_identity.FUNCTIONS.known, f"{__name__}:pays", pays)
    monkeypatch.setitem(_identity.FUNCTIONS.known, f"{__name__}:plain", plain)

    def shown(name: str, **kwargs: Any) -> Any:
        payload = {"args": [], "kwargs": kwargs}
        kind = f"{__name__}:{name}"
        return looked_at(
            {"state": "done", "kind": kind, "runtime": "python", "payload": payload, "payload_encoded": False}, None, None
        )

    for wrong in ({"amount": 0}, {"amount": 1, "who": "root"}):
        task = shown("pays", **wrong)
        assert task.kwargs == wrong
        with pytest.raises(InvalidArgument):
            await task.execute()
        with pytest.raises(InvalidArgument):
            await task()
    # Nothing is injected when a task is executed by hand, and a function that requires it does not run.
    with pytest.raises(FunctionRefused, match="`who`"):
        await shown("pays", amount=1).execute()
    with pytest.raises(FunctionRefused, match="`who`"):
        await BackgroundTask(pays, 1).execute()
    assert await BackgroundTask(pays, 1, who="mine").execute() == [1, "mine"]
    assert await shown("plain", amount="1").execute() == 1


def test_what_is_looked_at_is_of_the_class_that_stands_in_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    def shown() -> type:
        payload = {"args": [], "kwargs": {"to": "ada"}}
        kind = f"{__name__}:Mail"
        record = {"state": "done", "kind": kind, "runtime": "python", "payload": payload, "payload_encoded": True}
        return type(looked_at(record, None, None))

    functions = _identity.Functions()
    monkeypatch.setattr(_identity, "FUNCTIONS", functions)
    assert shown() is Mail
    other = type("Mail", (Task,), {"__module__": __name__, "__qualname__": "Mail", "execute": print})
    # The other class was declared under the name of the current one.
    assert functions.known[f"{__name__}:Mail"] is other and shown() is Task
    functions.declare(Mail, Mail)
    assert shown() is Mail
    # Another class has replaced it, which runs only if its module belongs to the application.
    monkeypatch.setitem(globals(), "Mail", other)
    assert shown() is Task
    functions.include = (__name__,)
    assert shown() is other


async def plain(amount: Annotated[int, Field(ge=1)]) -> int:
    return amount


APP = """
    from typing import ClassVar
    from taskyard.tasks import BackgroundTask, Task

    class Report(Task):
        FOLDER: ClassVar[str] = "reports"
        LIMIT = 5
        to: str

        @property
        def hook(self):
            return 1

        @hook.setter
        def hook(self, value):
            open("ran", "w").close()

        def execute(self):
            return [self.FOLDER, self.LIMIT, self.to]
"""


def test_a_server_keeps_what_is_the_classs_own(project: Project) -> None:
    project.write("app.py", APP)
    project.run("db", "migrate")

    def add(*args: Any, **kwargs: Any) -> str:
        given = ["--args", json.dumps(args)] if args else []
        return project.printed("task", "add", "app:Report", *given, "--kwargs", json.dumps(kwargs)).split()[-1]

    good = add(to="ada")
    wrong = {name: add(to="ada", **{name: "/etc"}) for name in ("FOLDER", "LIMIT", "hook", "execute", "_taskyard", "other")}
    placed = add("ada")
    server = project.server("--workers=1", app="app")
    assert project.ended(good)["result"] == ["reports", 5, "ada"]
    for name, id in {**wrong, "arguments without names": placed}.items():
        found = project.ended(id)
        assert (found["state"], found["attempt"]) == ("failed", 1), found
        assert name in found["error"]["message"], found
    assert not (project.directory / "ran").exists()
    assert server.stop() == 0
