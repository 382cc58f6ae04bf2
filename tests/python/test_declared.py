"""Names refer to the current object of a module; declared functions, injected parameters and signed values cannot be
replaced by a payload."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
import taskyard
from support.project import Project
from support.waiting import eventually
from taskyard import QueuedTasks
from taskyard._worker import Embedded
from test_allowed_functions import APP, Rows, add_row, local_task

GUARDED = """
    import asyncio, functools, pathlib
    from taskyard import task

    def guard(function):
        @functools.wraps(function)
        async def guarded(*args, **kwargs):
            raise PermissionError("not for you")

        return guarded

    def around(function):
        @functools.wraps(function)
        def outer(*args, **kwargs):
            return ["around", asyncio.run(function(*args, **kwargs))]

        return outer

    @guard
    @task(queue="guarded", max_retries=0)
    async def charge():
        pathlib.Path("charged").touch()

    @task(max_retries=0)
    @guard
    @task
    async def twice():
        pathlib.Path("charged").touch()

    @around
    @task
    async def asynchronous(x):
        return x

    @around
    async def undeclared(x):
        return x
"""


def test_what_stands_around_a_declared_function_is_what_runs(project: Project) -> None:
    project.write("app.py", GUARDED)
    project.run("db", "migrate")
    by_function = project.add("app.charge", "app.twice", "app.asynchronous, 1", "app.undeclared, 2")
    by_name = [add_row(project, kind, args) for kind, args in (("app:charge", []), ("app:twice", []))]
    outer = add_row(project, "app:asynchronous", [3])
    # The declared options apply to the name, even if a wrapper surrounds the function.
    assert project.task(by_function[0])["queue"] == "guarded"
    server = project.server("--workers=1", app="app")
    for id in (*by_function[:2], *by_name):
        found = eventually(lambda id=id: (found := project.task(id))["error"] is not None and found)  # type: ignore[misc]
        assert found["error"]["type"] == "PermissionError", found
    assert project.ended(by_function[2])["result"] == ["around", 1]
    assert project.ended(by_function[3])["result"] == ["around", 2]
    assert project.ended(outer)["result"] == ["around", 3]
    assert not (project.directory / "charged").exists()
    assert server.stop() == 0


BORROWED = """
    import functools, subprocess
    from taskyard import task

    def guard(function):
        @functools.wraps(function)
        def guarded(*args, **kwargs):
            raise PermissionError("not for you")

        return guarded

    def admin():
        return "as it stands"

    # The wrapper copies the function's name, but that name still refers to the function itself.
    run = task(guard(subprocess.getoutput))
    safe = task(queue="slow", max_retries=9)(guard(admin))

    @task
    def replaced():
        return "declared"

    def replaced():
        return "undeclared"

    @task
    def changed():
        return "changed"

    changed = changed.using(max_retries=7)
"""


def test_a_borrowed_name_declares_nothing(project: Project) -> None:
    project.write("app.py", BORROWED)
    project.run("db", "migrate")
    kinds = ("subprocess:getoutput", "app:admin", "app:replaced", "app:changed")
    opened, admin, replaced, changed = (add_row(project, kind, ["id"] if ":get" in kind else []) for kind in kinds)
    (called,) = project.add("app.admin")
    assert project.task(called)["queue"] == "default"
    server = project.server("--workers=1", app="app", TASKYARD_ONLY_DECLARED="true")
    assert project.ended(changed)["result"] == "changed"
    for id, words in ((opened, "subprocess:getoutput"), (admin, "@task"), (replaced, "@task"), (called, "@task")):
        found = eventually(lambda id=id: (found := project.task(id))["wait_reason"] == "parked" and found)  # type: ignore[misc]
        assert words in found["waiting_for"], found
    assert server.stop() == 0
    project.server("--workers=1", app="app")
    assert project.ended(admin)["result"] == "as it stands"
    assert project.ended(replaced)["result"] == "undeclared"
    assert project.task(opened)["wait_reason"] == "parked"


def test_a_copied_mark_says_nothing() -> None:
    import functools

    from taskyard import _codec, _identity, _resolve, task
    from taskyard._calls import declared_options
    from taskyard.dependencies import _provider
    from taskyard.queued_tasks import QueuedTasks

    @task(priority=7)
    def declared() -> None: ...

    @functools.wraps(declared)
    def around() -> None: ...

    assert _identity.unwrap(declared) is declared.function and _identity.unwrap(around) is around  # type: ignore[attr-defined]
    assert declared_options(declared, None) == {"priority": 7} and declared_options(around, "kind") == {}

    class Pretends:
        __taskyard_reference__ = __taskyard_task_class__ = True
        options = {"priority": 9}

        def __call__(self) -> None: ...

    assert not _codec.is_reference(Pretends()) and not _identity.is_task_class(Pretends)
    assert declared_options(Pretends(), None) == {}

    provide = _provider(QueuedTasks)

    @functools.wraps(provide)
    def guarded() -> None: ...

    assert _resolve._service(provide) is QueuedTasks and _resolve._service(guarded) is None


class Traced(taskyard.Task):  # type: ignore[type-arg]
    """A ``@task`` object with its own ``__call__``."""

    def __call__(self, name: str) -> Any:
        return super().__call__(f"traced {name}")


async def greets(name: str) -> str:
    return f"hello, {name}"


greets = Traced(greets, {"priority": 7})  # type: ignore[assignment]


async def test_the_call_of_a_subclass_is_what_runs(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with QueuedTasks(database=database) as tasks, Embedded(tasks):
        monkeypatch.setattr("taskyard.dependencies.get_service", lambda _: tasks)
        first: Any = greets
        for ref, priority in (
            (tasks.add_task(first, "a"), 7),
            (tasks.add_task(first.using(priority=1), "a"), 1),
            (first.enqueue("a"), 7),
            (first.using(priority=1).enqueue("a"), 1),
            (tasks.add_task(f"{__name__}:greets", "a"), 0),
        ):
            assert await ref.wait(20) == "hello, traced a"
            assert (await ref.record())["priority"] == priority
        with pytest.raises(TypeError):
            tasks.add_task(first, 1, 2)


def test_a_local_kind_runs_its_signed_function_and_nothing_else(project: Project) -> None:
    project.write("app.py", APP)
    project.run("db", "migrate")
    rows = Rows(project)
    given: list[Any] = [
        None,
        {"$object": ["app:Nested", 1]},
        {"$enum": ["enum:Enum", "x"]},
        {"$tuple": []},
        "app:fine",
    ]
    ids = [local_task(project) for _ in given]
    for id, fn in zip(ids, given, strict=True):
        rows.rewrite(id, lambda payload, fn=fn: payload.update(fn=fn))
    beside = local_task(project)
    rows.rewrite(beside, lambda payload: payload["fn"].update(further=1))
    # Signed as version 1, whose bytes could be moved.
    import base64

    def older(payload: dict[str, Any]) -> None:
        envelope = bytearray(base64.b64decode(payload["fn"]["$dill"]))
        assert envelope[:3] == b"TY\x02"
        envelope[2] = 1
        payload["fn"]["$dill"] = base64.b64encode(envelope).decode()

    old = local_task(project)
    rows.rewrite(old, older)
    server = project.server("--workers=1", app="app")
    for id in (*ids, beside):
        found = project.ended(id)
        assert (found["state"], found["error"]["type"]) == ("failed", "taskyard.errors.InvalidArgument"), found
    found = eventually(lambda: (found := project.task(old))["wait_reason"] == "parked" and found)
    assert "version 1" in found["waiting_for"], found
    assert not (project.directory / "ran").exists()
    assert server.stop() == 0


INJECTS = """
    from typing import Annotated
    from fastapi import Depends
    from taskyard import INJECTED, Inject, QueuedTasks

    def user():
        return "nobody"

    async def by_default(x, who=Depends(user)):
        return [x, who]

    async def by_annotation(x, who: Annotated[str, Depends(user)] = INJECTED, **further):
        return [x, who]

    def service(tasks: QueuedTasks = Inject(QueuedTasks)):
        return type(tasks).__name__
"""


def test_injected_values_are_not_passed_by_callers(project: Project) -> None:

    project.write("app.py", INJECTS)
    project.run("db", "migrate")
    good = project.add("app.by_default, 1", "app.by_annotation, 2", "app.service")
    out = project.python(
        """
        import app
        from taskyard import QueuedTasks
        with QueuedTasks() as tasks:
            for function in (app.by_default, app.by_annotation, app.service):
                name = "tasks" if function is app.service else "who"
                try:
                    tasks.add_task(function, **({name: "root"} if name == "tasks" else {"x": 1, name: "root"}))
                except TypeError as error:
                    print("refused", name in str(error))
            for kind, given in (("app:by_default", {"x": 1, "who": "root"}), ("app:by_annotation", {"x": 1, "who": "root"}),
                                ("app:service", {"tasks": 1})):
                ref = tasks.add_task(kind, **given)
                tasks.flush()
                print(ref.id)
        """
    ).splitlines()
    assert out[:3] == ["refused True"] * 3
    project.server("--workers=1", app="app")
    assert [project.ended(id)["result"] for id in good] == [[1, "nobody"], [2, "nobody"], "QueuedTasks"]
    for id in out[3:]:
        found = project.ended(id)
        assert (found["state"], found["attempt"]) == ("failed", 1)
        assert "the worker provides it" in found["error"]["message"]


CLASSES = """
    from taskyard import task
    from taskyard.tasks import Task

    class Mail(Task):
        to: str
        size: int = 0

        async def execute(self):
            return [self.to, self.size, type(self.size).__name__]

    @task
    def declared():
        return "declared"

    def undeclared():
        return "undeclared"
"""


def test_plain_json_for_a_class_fits_its_annotations(project: Project) -> None:
    project.write("app.py", CLASSES)
    project.run("db", "migrate")
    out = project.python(
        """
        from taskyard import QueuedTasks
        with QueuedTasks() as tasks:
            for given in ({"to": "ada", "size": "5"}, {"to": 3}, {"to": "a", "execute": 1}, {"to": "a", "__dict__": {}}):
                ref = tasks.add_task("app:Mail", **given)
                tasks.flush()
                print(ref.id)
        """
    ).split()
    project.server("--workers=1", app="app")
    assert project.ended(out[0])["result"] == ["ada", 5, "int"]
    for id, name in zip(out[1:], ("to", "execute", "__dict__"), strict=True):
        found = project.ended(id)
        assert found["state"] == "failed" and f"`{name}`" in found["error"]["message"], found


def test_only_what_is_declared_runs_if_it_is_to(project: Project) -> None:
    project.write("app.py", CLASSES)
    project.run("db", "migrate")
    ids = [add_row(project, kind, []) for kind in ("app:declared", "app:undeclared")]
    mail = project.printed("task", "add", "app:Mail", "--kwargs", '{"to": "ada"}').split()[-1]
    local = local_task(project)
    server = project.server("--workers=1", app="app", TASKYARD_ONLY_DECLARED="true")
    assert project.ended(ids[0])["result"] == "declared"
    assert project.ended(mail)["result"] == ["ada", 0, "int"]
    for id in (ids[1], local):
        found = eventually(lambda id=id: (found := project.task(id))["wait_reason"] == "parked" and found)  # type: ignore[misc]
        assert "@task" in found["waiting_for"] and "only_declared" in found["waiting_for"], found
    assert server.stop() == 0
    project.server("--workers=1", app="app")
    assert project.ended(ids[1])["result"] == "undeclared"
    assert project.ended(local)["result"] == "ran"


def test_a_role_that_may_only_add_runs_only_what_is_declared(postgres: str, tmp_path: Any) -> None:
    with Project(tmp_path, postgres) as project:
        project.write("app.py", CLASSES)
        project.run("db", "migrate")
        ids = {}
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(
                """DO $$ BEGIN CREATE ROLE only_adds; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
                GRANT USAGE ON SCHEMA taskyard TO only_adds;
                GRANT EXECUTE ON FUNCTION taskyard.enqueue TO only_adds;
                SET ROLE only_adds"""
            )
            for kind in ("app:declared", "app:undeclared"):
                row = connection.execute("SELECT taskyard.enqueue(%s, runtime => 'python')", (kind,)).fetchone()
                assert row is not None
                ids[kind] = str(row[0])
            row = connection.execute(
                "SELECT taskyard.enqueue('app:Mail', kwargs => '{\"to\": \"ada\"}', runtime => 'python')"
            ).fetchone()
            assert row is not None
            connection.execute("RESET ROLE")
        project.server("--workers=1", app="app")
        assert project.ended(ids["app:declared"])["result"] == "declared"
        assert project.ended(str(row[0]))["result"] == ["ada", 0, "int"]
        found = eventually(lambda: (found := project.task(ids["app:undeclared"]))["wait_reason"] == "parked" and found)
        assert "@task" in found["waiting_for"] and "role" in found["waiting_for"], found
        # A row that the application's own role has added runs.
        assert project.ended(add_row(project, "app:undeclared", []))["result"] == "undeclared"
