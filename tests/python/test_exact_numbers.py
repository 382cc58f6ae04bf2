"""Numbers of any size are output exactly as stored, by every interface."""

from __future__ import annotations

import json
from typing import Any

from support.project import Project
from taskyard import Fail, QueuedTasks
from taskyard._worker import Embedded
from taskyard.queued_task import getLogger, set_context
from taskyard.tasks import TaskQueue

LARGE = 10**30
EXACT = 1234567890123456789012345678901234567890


async def gives(number: int) -> int:
    set_context("number", number)
    getLogger("exact").info("a number", extra={"number": number})
    return number


async def fails(number: int) -> None:
    raise Fail


async def test_records_and_views(database: str) -> None:
    async with QueuedTasks(database=database) as tasks, Embedded(tasks):
        ref = tasks.add_task(gives, LARGE, context={"given": EXACT})
        assert await ref.wait(20) == LARGE
        record = await ref.record()
        assert record["payload"]["args"] == [LARGE] and record["result"] == LARGE
        assert await ref.get_context() == {"given": EXACT, "number": LARGE}
        (line,) = await ref.get_logs()
        assert line["fields"] == {"number": LARGE}
        seen: Any = await TaskQueue(tasks=tasks).get_task(ref.id)
        assert seen.result == LARGE and seen.args == (LARGE,)
        assert [each["result"] for each in await tasks.list()] == [LARGE]
        dead = tasks.add_task(fails, EXACT)
        await dead.outcome(20)
        shown = await tasks.dead.show(dead.id)
        assert shown["task"]["payload"]["args"] == [EXACT]
        await tasks.schedules.add("s", "@every 1h", tasks.call(gives, EXACT).using(context={"given": LARGE}))
        run = tasks.get(await tasks.schedules.run("s"))
        assert await run.wait(20) == EXACT
        context = await run.get_context()
        assert context["given"] == LARGE and context["schedule"]["name"] == "s"


def test_the_command(project: Project) -> None:
    project.write(
        "app.py",
        """
        from taskyard.queued_task import getLogger, set_context
        def gives(number, real):
            set_context("number", number)
            getLogger("exact").info("a number", extra={"number": number})
            return number
        """,
    )
    project.run("db", "migrate")
    arguments = f"[{EXACT},1.00000000000000000001]"
    id = project.printed("task", "add", "app:gives", "--args", arguments).split()[-1]
    project.run("schedule", "add", "s", "@every 1h", "app:gives", "--args", arguments)
    project.server("--workers=1", app="app")
    found = project.ended(id)
    assert found["payload"]["args"][0] == EXACT and found["result"] == EXACT
    assert found["context"]["number"] == EXACT and found["logs"][0]["fields"]["number"] == EXACT
    # Compared as text, before Python parses it.
    assert arguments in project.run("--json", "task", "show", id)
    assert arguments in project.run("--json", "task", "list")
    assert arguments in project.run("--json", "schedule", "show", "s")
    assert arguments in project.run("--json", "schedule", "list")
    assert json.loads(project.run("task", "wait", id)) == EXACT
    query = "select args, result from queued_tasks"
    for shown in (project.run("db", "query", query), project.run("--json", "db", "query", query)):
        assert shown.count(str(EXACT)) == 2 and "1.00000000000000000001" in shown


#: More digits than Python converts.
DIGITS = "9" * 4301

ADDS = """
    import sys, app
    from taskyard import QueuedTasks

    sys.set_int_max_str_digits(0)
    LARGE = int({digits!r})
    with QueuedTasks() as tasks:
        large = tasks.using(max_retries=0).add_task(app.gives, LARGE, 7)
        child = tasks.using(parents=[large], max_retries=0).add_task(app.gives)
        given = {{"number": "DIGITS", "progress": {{"completed": 1, "total": "DIGITS"}}}}
        context = tasks.using(context=given, max_retries=0).add_task(app.gives)
        given = {{"progress": {{"completed": "HUGE", "total": 1}}}}
        progress = tasks.using(context=given).add_task(app.gives)
        tasks.flush()
    for ref in (large, child, context, progress):
        print(ref.id)
"""

VIEWS = """
    import asyncio, json, app
    from taskyard import QueuedTasks, on_death
    from taskyard.tasks import TaskQueue

    DIGITS = {digits!r}
    ID, CHILD, CONTEXT, PROGRESS = {ids!r}
    told = []

    @on_death
    def died(dead):
        told.append((dead["id"], dead["payload"]["args"]))

    def show(value):
        # A view can be printed and written as JSON again.
        assert DIGITS in repr(value) and DIGITS in json.dumps(value)
        return value

    async def main():
        async with QueuedTasks() as tasks:
            ref = tasks.get(ID)
            assert await ref.get_state() == "enqueued"
            assert show(await ref.record())["payload"]["args"] == [DIGITS, 7]
            assert sorted(each["id"] for each in show(await tasks.list())) == sorted({ids!r})
            (schedule,) = await tasks.schedules.list()
            assert schedule.name == "s"
            assert show(await tasks.get(CONTEXT).get_context())["number"] == DIGITS
            assert (await tasks.get(CONTEXT).get_progress()).total is None
            progress = await tasks.get(PROGRESS).get_progress()
            assert progress.completed == 10**400 and progress.percentage is None
            assert (await anext(aiter(tasks.get(PROGRESS).watch()))).type == "snapshot"
            assert (await anext(aiter(tasks.get(CONTEXT).watch()))).type == "snapshot"
            async with tasks.lifespan(workers=1)(None):
                for id in (ID, CONTEXT):
                    outcome = await tasks.get(id).outcome(30)
                    assert outcome.error.error_type == "taskyard.errors.InvalidArgument", outcome.error
                    assert "4301 digits" in str(outcome.error)
                assert (await tasks.get(CHILD).outcome(30)).error.error_type == "ParentTaskFailed"
                assert await tasks.get(PROGRESS).wait(30) == 1
                assert (await TaskQueue(tasks=tasks).get_task(ID)).args == (DIGITS, 7)
                while (ID, [DIGITS, 7]) not in told:
                    await asyncio.sleep(0.05)
            show(await tasks.dead.list())
            show(await tasks.dead.show(ID))

    asyncio.run(asyncio.wait_for(main(), 50))
"""


def replace_in_contexts(database: str, text: str, number: str) -> None:
    """Replaces a text in stored contexts by a number."""
    if database.startswith("postgres"):
        import psycopg

        with psycopg.connect(database) as connection:
            connection.execute(
                "update taskyard.task_context set context = "
                "convert_to(replace(convert_from(context, 'UTF8'), %s, %s), 'UTF8')",
                [f'"{text}"', number],
            )
    else:
        import sqlite3

        with sqlite3.connect(database) as connection:
            connection.execute(
                "update ty_task_context set context = cast(replace(cast(context as text), ?, ?) as blob)",
                [f'"{text}"', number],
            )


def test_an_integer_that_python_does_not_convert_breaks_no_view(project: Project) -> None:
    project.write("app.py", "def gives(*numbers):\n    return 1\n")
    project.run("db", "migrate")

    ids = project.python(ADDS.format(digits=DIGITS)).split()
    # No client stores such a context, but other programs may write it.
    replace_in_contexts(project.database, "DIGITS", DIGITS)
    replace_in_contexts(project.database, "HUGE", "1" + "0" * 400)
    project.run("schedule", "add", "s", "@every 1h", "app:gives", "--args", f"[{DIGITS}]")
    project.python(VIEWS.format(digits=DIGITS, ids=ids))
