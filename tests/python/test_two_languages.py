"""Two languages on one queue: each server claims its own tasks, each language adds the other's tasks and waits for
them."""

from __future__ import annotations

import os
import pathlib
from typing import Any

from support.project import Process, Project

MIXED = os.environ.get("TASKYARD_TEST_MIXED") or str(pathlib.Path(__file__).parents[2] / "target/debug/mixed-example")

APP = """
    from taskyard import QueuedTasks, get_current_task
    from taskyard.queued_task import get_parent_results

    async def double(number: int) -> int:
        return number * 2

    async def ask_rust(number):
        return await QueuedTasks().add_task("mixed_example::square", number).wait(30)

    async def of_parents():
        return await get_parent_results()
"""


def rust_server(project: Project) -> Process:
    server = Process([MIXED, "queue", "start", "--name", "rust"], project.directory, project.env)
    project._started.append(server)
    server.says("the server runs")
    return server


def test_each_language_asks_the_other(project: Project) -> None:
    project.write("app.py", APP)
    rust = rust_server(project)
    python = project.server("--workers=1", app="app")
    out: list[Any] = project.python(
        """
        import asyncio, json, app
        from taskyard import QueuedTasks, TaskFailed

        async def main():
            async with QueuedTasks() as tasks:
                results = [await tasks.add_task("mixed_example::square", 7).wait(30)]
                results.append(await tasks.add_task("mixed_example::ask_python", "app:double", 21).wait(30))
                results.append(await tasks.add_task(app.ask_rust, 9).wait(30))
                results.append(await tasks.add_task("app:double", 4).wait(30))
                # Children of one language wait for parents of the other.
                parents = [tasks.add_task(app.double, 1), tasks.add_task("mixed_example::square", 3)]
                results.append(await tasks.add_task("mixed_example::sum_of_parents", parents=parents).wait(30))
                results.append(await tasks.add_task(app.of_parents, parents=parents).wait(30))
                try:
                    await tasks.using(max_retries=0).add_task("mixed_example::square", "no number").wait(30)
                except TaskFailed as error:
                    results.append("number" in str(error) or "i64" in str(error))
                print(json.dumps(results))
        asyncio.run(main())
        """
    ).splitlines()
    import json

    assert json.loads(out[-1]) == [49, 42, 81, 8, 11, [2, 9], True]
    # Neither server has parked tasks of the other.
    for line in (rust.output, python.output):
        assert "wait for a server" not in line, line
    tasks = project.json("task", "list")
    assert {task["state"] for task in tasks} == {"done", "failed"}
    assert rust.stop() == 0 and python.stop() == 0
