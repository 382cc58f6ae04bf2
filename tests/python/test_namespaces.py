"""Namespaces separate applications on one database and queue whose modules share a name."""

from __future__ import annotations

import pathlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from support.project import Project
from support.waiting import eventually
from taskyard import QueuedTasks, on_pre_create
from taskyard._hooks import clear
from taskyard._worker import Embedded
from taskyard.errors import TaskyardError
from taskyard.scheduler import Scheduler
from taskyard.tasks import Task, TaskQueue
from taskyard.testing import assert_enqueued, refute_enqueued

#: A module with the same name in each application, with different results.
APP = """
    import pathlib
    from taskyard import QueuedTasks, on_death, task
    from taskyard.tasks import Task

    NAME = "{name}"
    queue = QueuedTasks()

    async def report(x):
        return [NAME, x]

    def blocks(x):
        return [NAME, x]

    @task
    async def declared(x):
        return [NAME, x]

    class Job(Task):
        def __init__(self, x):
            self.x = x

        async def execute(self):
            return [NAME, self.x]

    async def adds(x):
        return await queue.add_task(report, x).wait()

    def local():
        name = NAME
        return lambda: name

    async def fails():
        raise ValueError(NAME)

    @on_death
    def dies(dead):
        with pathlib.Path(f"{{NAME}}.deaths").open("a") as file:
            file.write(f"{{dead['kind']}}\\n")
"""


@pytest.fixture
def application(tmp_path: pathlib.Path, database: str) -> Iterator[Callable[..., Project]]:
    """Yields a function that creates an application in a directory of its own."""
    made: list[Project] = []

    def make(name: str, namespace: str | None) -> Project:
        directory = tmp_path / name
        directory.mkdir()
        project = Project(directory, database)
        made.append(project)
        project.write("app.py", APP.format(name=name))
        if namespace is not None:
            project.write("taskyard.toml", f'namespace = "{namespace}"\n')
        return project

    yield make
    for project in made:
        project.__exit__()


def results(project: Project, ids: list[str]) -> list[Any]:
    return [project.ended(id)["result"] for id in ids]


CALLS = (
    "app.report, 1",
    "app.blocks, 2",
    "app.declared, 3",
    "app.Job(4)",
    "app.local()",
    "app.adds, 5",
    "'app:report', 6",
)


def test_two_applications_of_one_module_run_their_own(application: Callable[..., Project]) -> None:
    shop, bank = application("shop", "shop"), application("bank", "bank")
    shop.run("db", "migrate")
    for project in (shop, bank):
        # Each signs with its own secret, as two applications do.
        project.server("--workers=2", app="app")
    ids = {project: project.add(*CALLS) for project in (shop, bank)}
    for project, name in ((shop, "shop"), (bank, "bank")):
        found = results(project, ids[project])
        assert found == [[name, 1], [name, 2], [name, 3], [name, 4], name, [name, 5], [name, 6]]
        kinds = [project.task(id)["kind"] for id in ids[project]]
        assert kinds[:4] == [f"{name}/app:{each}" for each in ("report", "blocks", "declared", "Job")]
        assert all(kind.startswith(f"{name}/") for kind in kinds)
        assert [project.task(id)["attempt"] for id in ids[project]] == [1] * len(CALLS)
    # A kind that is given as a text may name the other namespace.
    assert results(shop, shop.add("'bank/app:report', 7")) == [["bank", 7]]
    assert results(shop, [shop.printed("task", "add", "app:report", "--args=[8]").strip()]) == [["shop", 8]]
    assert results(shop, [shop.printed("task", "add", "bank/app:report", "--args=[9]").strip()]) == [["bank", 9]]
    # Filters refer to the own namespace, unless they name another one.
    shown = shop.json("task", "list", "--kind=app:report")
    assert {task["kind"] for task in shown} == {"shop/app:report"} and len(shown) == 4
    assert len(shop.json("task", "list", "--kind=bank/app:report")) == 5
    # Schedules, and hooks on death.
    shop.run("schedule", "add", "nightly", "0 3 * * *", "app:report", "--args=[10]")
    assert shop.json("schedule", "show", "nightly")["kind"] == "shop/app:report"
    assert results(shop, [shop.run("schedule", "run", "nightly").split()[-1]]) == [["shop", 10]]
    for project, name in ((shop, "shop"), (bank, "bank")):
        (id,) = project.add("app.fails, max_retries=0")
        assert project.ended(id)["state"] == "failed"
        deaths = project.directory / f"{name}.deaths"
        eventually(lambda deaths=deaths: deaths.exists() and deaths.read_text() == f"{name}/app:fails\n", 10)
        (letter,) = project.json("dead", "list", "--kind=app:fails")
        assert letter["kind"] == f"{name}/app:fails"


def test_what_was_added_before_there_was_a_namespace_waits_for_a_server_without_one(
    application: Callable[..., Project],
) -> None:
    shop = application("shop", None)
    shop.run("db", "migrate")
    (old,) = shop.add("app.report, 1")
    named = shop.server("--workers=1", app="app", TASKYARD_NAMESPACE="shop")
    eventually(lambda: shop.task(old)["waiting_for"] == "kind `app:report`", 60)
    named.says("whose namespace is `shop`, has no function `app:report`")
    new = shop.printed("task", "add", "app:report", "--args=[2]", TASKYARD_NAMESPACE="shop").strip()
    assert shop.ended(new)["result"] == ["shop", 2]
    # A rolling deployment: the older servers continue until none of their tasks is left.
    plain = shop.server("--workers=1", app="app")
    assert shop.ended(old)["result"] == ["shop", 1]
    text = shop.printed("task", "add", "/app:report", "--args=[3]", TASKYARD_NAMESPACE="shop").strip()
    assert shop.ended(text)["result"] == ["shop", 3]
    named.stop()
    # A server without a namespace does not run tasks of one, including local functions.
    (local,) = shop.python(
        """
        import app
        from taskyard import QueuedTasks

        with QueuedTasks(namespace="shop") as tasks:
            print(tasks.add_task(app.local()).id)
        """
    ).split()
    eventually(lambda: shop.task(local)["waiting_for"] is not None, 60)
    assert shop.task(local)["waiting_for"].startswith("kind `shop/")
    plain.stop()


@pytest.mark.parametrize(
    ("value", "part"),
    [("", "empty"), ("a/b", "`/`"), ("a:b", "`:`"), ("a b", "` `"), ("a\x1bb", "u{1b}"), ("n" * 64, "limit of 63")],
)
def test_what_would_not_keep_them_apart_is_refused(sqlite_project: Project, value: str, part: str) -> None:
    for arguments, env in ((("--set", f"namespace={value}"), {}), ((), {"TASKYARD_NAMESPACE": value})):
        said = sqlite_project.run("queue", "status", *arguments, code=2, **env)
        assert "namespace" in said.lower() and part in said, said
    with pytest.raises(TaskyardError, match="namespace") as refused:
        QueuedTasks(database="unused.db", namespace=value)
    assert part in str(refused.value)


# ------------------------------------------------------------------------------------------------- within one process


@pytest.fixture
async def tasks(database: str) -> AsyncIterator[QueuedTasks]:
    async with QueuedTasks(database=database, namespace="shop") as tasks, Embedded(tasks):
        yield tasks
    clear()


async def double(x: int) -> int:
    return 2 * x


class Doubles(Task):
    def __init__(self, x: int) -> None:
        self.x = x

    async def execute(self) -> int:
        return 2 * self.x


async def test_what_is_shown_is_the_stored_kind(tasks: QueuedTasks) -> None:
    seen: list[str] = []
    on_pre_create(lambda task: seen.append(task.kind))
    ref = tasks.add_task(double, 2)
    assert await ref.wait() == 4
    kind = f"shop/{__name__}:double"
    assert seen == [kind]
    assert (await ref.record())["kind"] == kind
    for function in (double, f"{__name__}:double", kind):
        assert [task["id"] for task in await tasks.list(function=function)] == [ref.id]
    assert await tasks.list(function=f"/{__name__}:double") == []
    assert_enqueued(double, 2, tasks=tasks, kind=kind)
    refute_enqueued(f"bank/{__name__}:double", tasks=tasks)
    added = await tasks.schedules.add("doubles", "0 3 * * *", tasks.call(double, 3))
    assert (await tasks.schedules.get(added.name)).kind == kind
    assert await tasks.get(await tasks.schedules.run("doubles")).wait() == 6
    scheduler = Scheduler(tasks=tasks, workers=0)
    job = await scheduler.add_job(tasks.call(double, 1), "0 4 * * *")
    assert (await scheduler.get_job(job)).kind == kind
    assert await tasks.queues.purge("default", function=double) == 2


async def test_a_program_that_takes_tasks_takes_its_own(database: str) -> None:
    async with TaskQueue("jobs", url=database, namespace="shop") as shop, TaskQueue("jobs", url=database) as plain:
        theirs, ours = await plain.enqueue(Doubles(2)), await shop.enqueue(Doubles(1))
        task = await shop.dequeue(timeout=5)
        assert isinstance(task, Doubles) and (task.id, task.x) == (ours, 1)
        assert await shop.complete_task(task, await task.execute())
        shown = await shop.get_task(ours)
        assert isinstance(shown, Doubles) and shown.result == 2
        seen = await shop.get_task(theirs)
        assert seen is not None and not isinstance(seen, Doubles), "a class of another application's"
        task = await plain.dequeue(timeout=5)
        assert task is not None and task.id == theirs
        assert await plain.complete_task(task, 4)
