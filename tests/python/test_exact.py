"""Numbers of any size, as they are shown: every way out gives what was stored."""

from __future__ import annotations

import json
from typing import Any

from support.project import Project
from taskyard import Fail, QueuedTasks
from taskyard.queued_task import getLogger, set_context
from taskyard.tasks import TaskQueue
from taskyard.worker import Embedded

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
    id = project.run("task", "add", "app:gives", "--args", arguments).split()[-1]
    project.run("schedule", "add", "s", "@every 1h", "app:gives", "--args", arguments)
    project.server("--workers=1", app="app")
    found = project.ended(id)
    assert found["payload"]["args"][0] == EXACT and found["result"] == EXACT
    assert found["context"]["number"] == EXACT and found["logs"][0]["fields"]["number"] == EXACT
    # As text: what Python makes of it is its own.
    assert arguments in project.run("--json", "task", "show", id)
    assert arguments in project.run("--json", "task", "list")
    assert arguments in project.run("--json", "schedule", "show", "s")
    assert arguments in project.run("--json", "schedule", "list")
    assert json.loads(project.run("task", "wait", id)) == EXACT
