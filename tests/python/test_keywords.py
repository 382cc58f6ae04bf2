"""Options and a function's own keywords in one call are never confused, and errors for misspelt ones suggest a name."""

import functools
import pathlib
from collections.abc import AsyncIterator
from typing import Any, TypedDict

import pytest
from support.project import Project
from taskyard import InvalidArgument, QueuedTasks, task
from taskyard._worker import Embedded
from taskyard.errors import OptionConflict
from taskyard.tasks import Task
from typing_extensions import Unpack

APP = """
    import functools

    def render(template, **data):
        return [template, data]

    def passing(function):
        @functools.wraps(function)
        def passes(*args, **kwargs):
            return function(*args, **kwargs)

        return passes

    @passing
    def plain(template):
        return template

    @passing
    def wrapped(template, **data):
        return [template, data]

    def named(template, priority="normal"):
        return [template, priority]
"""

ADDS = """
    import app
    from taskyard import QueuedTasks
    from taskyard.errors import OptionConflict

    with QueuedTasks() as tasks:
        for function in (app.render, app.wrapped, app.named):
            try:
                tasks.add_task(function, "t", priority=5, **({} if function is app.named else {"name": "x", "tags": ["a"]}))
                raise AssertionError(function)
            except OptionConflict as error:
                assert "`priority`" in str(error), error
                assert "tasks.using().add_task(f" in str(error) and "tasks.using(" in str(error), error
        refs = [
            tasks.add_task(app.render, "t", colour="red"),
            tasks.using(queue="slow").add_task(app.render, "t", name="x", tags=["a"], colour="red"),
            tasks.using().add_task(app.wrapped, "t", priority=5),
            tasks.using(priority=3).add_task(app.named, "t", priority="high"),
            tasks.add_task(app.plain, "t", name="a name", tags=["a"], queue="slow"),
            tasks.using(queue="slow", runtime="python").add_task("app:render", "t", name="x"),
        ]
        tasks.flush()
        print("\\n".join(ref.id for ref in refs))
"""


def test_keywords_reach_what_they_are_for(project: Project) -> None:
    project.write("app.py", APP)
    project.run("db", "migrate")
    ids = project.python(ADDS).split()
    project.server("--workers=1", app="app")
    wanted: list[tuple[Any, str]] = [
        (["t", {"colour": "red"}], "default"),
        (["t", {"name": "x", "tags": ["a"], "colour": "red"}], "slow"),
        (["t", {"priority": 5}], "default"),
        (["t", "high"], "default"),
        ("t", "slow"),
        (["t", {"name": "x"}], "slow"),
    ]
    for id, (result, queue) in zip(ids, wanted, strict=True):
        found = project.ended(id)
        assert (found["result"], found["queue"]) == (result, queue), found
    assert project.task(ids[4])["name"] == "a name" and project.task(ids[4])["tags"] == ["a"]
    assert project.task(ids[3])["priority"] == 3


@pytest.fixture
async def tasks(tmp_path: pathlib.Path) -> AsyncIterator[QueuedTasks]:
    async with QueuedTasks(database=str(tmp_path / "q.db")) as tasks, Embedded(tasks):
        yield tasks


class Further(TypedDict, total=False):
    name: str
    colour: str


def unpacks(template: str, **further: Unpack[Further]) -> Any:
    return [template, dict(further)]


def sends(to: str, subject: str = "") -> str:
    return f"{to}: {subject}"


@functools.wraps(sends)
def around(*args: Any, **kwargs: Any) -> Any:
    return sends(*args, **kwargs)


async def test_unpacked_keywords_are_those_that_are_named(tasks: QueuedTasks) -> None:
    with pytest.raises(OptionConflict, match="`name`"):
        tasks.add_task(unpacks, "t", name="x")
    ref = tasks.add_task(unpacks, "t", colour="red", priority=5)
    assert await ref.wait(20) == ["t", {"colour": "red"}]
    assert (await ref.record())["priority"] == 5


@pytest.mark.parametrize("function", [sends, around, task(sends)])
async def test_a_misspelt_keyword_says_what_was_meant(tasks: QueuedTasks, function: Any) -> None:
    for kwargs, meant in (({"prority": 5}, "priority"), ({"max_retry": 5}, "max_retries"), ({"subjct": "a"}, "subject")):
        with pytest.raises(TypeError, match=f"sends: .*did you mean `{meant}`"):
            tasks.add_task(function, "ada", **kwargs)
        with pytest.raises(TypeError, match=f"did you mean `{meant}`"):
            tasks.add_tasks([tasks.call(function, "ada", **kwargs)])
    with pytest.raises(TypeError) as refused:
        tasks.add_task(function, "ada", colour="red")
    assert "did you mean" not in str(refused.value)


async def test_an_option_behind_using_is_refused_with_what_to_do(tasks: QueuedTasks) -> None:
    with pytest.raises(TypeError, match=r"'queue'.*using\(queue=\.\.\.\)"):
        tasks.using(priority=5).add_task(sends, "ada", queue="mail")


def test_misspelt_options_elsewhere() -> None:
    with pytest.raises(InvalidArgument, match="`prority`; did you mean `priority`"):
        QueuedTasks().using(prority=5)  # type: ignore[call-arg]
    with pytest.raises(InvalidArgument, match="@task: .*did you mean `max_retries`"):
        task(max_retrys=5)  # type: ignore[call-overload]
    with pytest.raises(InvalidArgument, match="Misspelt: .*did you mean `queue`"):

        class Misspelt(Task, queu="mail"):  # type: ignore[call-arg, type-arg]
            pass
