"""Tasks that were stored before their class changed are rebuilt by the class's own rules, or refused with the
attribute's name."""

from __future__ import annotations

import dataclasses
from typing import Any

import pydantic
import pydantic.dataclasses
import pytest
from support.project import Project
from taskyard import InvalidArgument, _dataclasses, _restore, register_aliases
from taskyard._codec import decode_call
from taskyard._tasks import class_changes
from taskyard._tasks.task_codec import encode
from taskyard._worker import _validation
from taskyard.tasks import Task


def test_a_class_of_tasks_with_a_new_field() -> None:
    @dataclasses.dataclass
    class T(Task):
        a: int
        b: list[int] = dataclasses.field(default_factory=list)
        c: int = 3

    found = T.from_payload({"a": 1})
    assert (found.a, found.b, found.c) == (1, [], 3)

    @pydantic.dataclasses.dataclass
    class P(Task):
        a: int
        x: int = pydantic.Field(default=3)
        total: int = dataclasses.field(init=False)

        def __post_init__(self) -> None:
            self.total = self.a + self.x

    made = P.from_payload({"a": 1, "further": 2})
    assert (made.a, made.x, made.total, made.further) == (1, 3, 4, 2)


class Mail(Task):
    """The class at the time when its tasks were stored."""

    def __init__(self, to: str, cc: str = "") -> None:
        self.to, self.cc = to, cc
        self.folder = f"of {to}"


def as_now(cls: type[Task], task: Task) -> dict[str, Any]:
    """Returns the attributes of a stored task as a worker passes them to a newer class."""
    data, _ = encode(task, 64, False)
    return vars(cls.from_payload(_validation.class_attributes(cls, decode_call(data, {}))))


def test_a_class_of_tasks_whose_init_changed() -> None:
    stored = {"to": "ada", "cc": "bob", "folder": "of ada"}
    assert as_now(Mail, Mail("ada", "bob")) == stored

    class Same(Task):
        def __init__(self, to: str, cc: str) -> None:
            raise AssertionError("it declares what it did, and is not called")

    assert as_now(Same, Mail("ada", "bob")) == stored

    class Further(Task):
        def __init__(self, to: str, cc: str = "", tags: list[str] | None = None) -> None:
            self.to, self.cc, self.tags = to, "", tags or [to]
            self.retries = 3

    assert as_now(Further, Mail("ada", "bob")) == {**stored, "tags": ["ada"], "retries": 3}

    class Fewer(Task):
        def __init__(self, to: str) -> None: ...

    with pytest.raises(InvalidArgument, match="`cc`, which its class no longer declares"):
        as_now(Fewer, Mail("ada", "bob"))
    register_aliases(Fewer, {"cc": "copy"})
    assert as_now(Fewer, Mail("ada", "bob")) == {"to": "ada", "copy": "bob", "folder": "of ada"}

    class Kept(Task):
        cc: str

        def __init__(self, to: str) -> None: ...

    assert as_now(Kept, Mail("ada", "bob")) == stored

    class Wanting(Task):
        def __init__(self, to: str, cc: str, sender: str) -> None: ...

    with pytest.raises(InvalidArgument, match="no field `sender`"):
        as_now(Wanting, Mail("ada"))

    class Refusing(Task):
        def __init__(self, to: str, cc: str, sender: str = "") -> None:
            raise LookupError("no such sender")

    with pytest.raises(InvalidArgument, match="`sender`.*LookupError: no such sender"):
        as_now(Refusing, Mail("ada"))

    class Own(Task):
        def __init__(self, to: str, sender: str) -> None: ...

        @classmethod
        def from_payload(cls, payload: dict[str, Any]) -> Own:
            made = object.__new__(cls)
            made.__dict__.update(payload, sender="me")
            return made

    assert as_now(Own, Mail("ada", "bob")) == {**stored, "sender": "me"}


class Static(Task):
    """A class whose ``from_payload`` is a static method."""

    def __init__(self, to: str) -> None:
        self.to = to

    @staticmethod
    def from_payload(payload: dict[str, Any]) -> Static:
        return Static(payload["to"].upper())


def test_a_class_that_makes_its_tasks_by_a_static_method() -> None:
    data, _ = encode(Static("ada"), 64, False)
    assert b"fields" not in data
    assert as_now(Static, Static("ada")) == {"to": "ADA"}


@dataclasses.dataclass
class Point:
    x: int
    y: int


class Model(pydantic.BaseModel):
    x: int
    point: Point


def test_a_class_that_is_what_it_was_is_not_examined_with_each_value(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Mail("ada", "bob")
    del task.folder
    task.cc = Model(x=1, point=Point(2, 3))  # type: ignore[assignment]
    first = as_now(Mail, task)
    looks: list[str] = []

    def noted(module: Any, name: str) -> None:
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args: (looks.append(name), real(*args))[1])

    for module, name in (
        (class_changes, "_parameters"),
        (_restore, "renamed"),
        (_restore, "_fields"),
        (_dataclasses, "_made"),
    ):
        noted(module, name)
    assert as_now(Mail, task) == first == {"to": "ada", "cc": Model(x=1, point=Point(2, 3))}
    assert not looks
    fields = dataclasses.fields
    monkeypatch.setattr(dataclasses, "fields", lambda cls: (looks.append("fields"), fields(cls))[1])
    data, _ = encode(Mail("ada", Point(1, 2)), 64, False)  # type: ignore[arg-type]
    looks.clear()
    decode_call(data, {})
    assert looks == ["fields"], "once"


def test_a_dataclass_of_tasks_whose_field_went() -> None:
    @dataclasses.dataclass
    class Before(Task):
        to: str
        cc: str = ""

    task = Before("ada", "bob")
    task.note = "an attribute that is not a field"  # type: ignore[attr-defined]

    @dataclasses.dataclass
    class Gone(Task):
        to: str

    with pytest.raises(InvalidArgument, match="`cc`, which its class no longer declares"):
        as_now(Gone, task)

    @dataclasses.dataclass
    class Renamed(Task):
        to: str
        copy: str = dataclasses.field(metadata={"alias": "cc"})

    assert as_now(Renamed, task) == {"to": "ada", "copy": "bob", "note": "an attribute that is not a field"}


BEFORE = """
    import dataclasses
    from taskyard.tasks import Task

    @dataclasses.dataclass
    class Report(Task):
        price: int
        old: int = 1

        def execute(self):
            return vars(self)
"""
WITH_MORE = BEFORE.replace(
    "old: int = 1",
    """old: int = 1
        new: int = 5
        total: int = 0

        def __post_init__(self):
            self.total = self.price * self.new""",
)
WITH_LESS = BEFORE.replace("old: int = 1", "")


def test_tasks_that_wait_for_a_newer_class(sqlite_project: Project) -> None:
    project = sqlite_project
    project.run("db", "migrate")

    def runs_by(deployed: str) -> dict[str, Any]:
        project.write("app.py", BEFORE)
        id = project.python(
            """
            import app
            from taskyard import QueuedTasks
            with QueuedTasks() as tasks:
                ref = tasks.add_task(app.Report(2))
                tasks.flush()
                print(ref.id)
            """
        ).split()[-1]
        project.write("app.py", deployed)
        server = project.server("--workers=1", app="app")
        found = project.ended(id)
        assert server.stop() == 0
        return found

    assert runs_by(WITH_MORE)["result"] == {"price": 2, "old": 1, "new": 5, "total": 10}
    found = runs_by(WITH_LESS)
    assert (found["state"], found["attempt"]) == ("failed", 1)
    assert "`old`, which its class no longer declares" in found["error"]["message"], found
