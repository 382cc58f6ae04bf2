"""Applications that know different functions on one database and queue: each runs its own tasks."""

from __future__ import annotations

import time

from support.project import Project
from support.waiting import eventually

ONE = """
    async def one(x):
        return x
"""

TWO = """
    async def two(x):
        return x
"""


def add_both(project: Project, count: int) -> list[str]:
    """Adds ``count`` tasks of each application in turn, and returns their ids."""
    return project.python(
        f"""
        import one, two
        from taskyard import QueuedTasks

        with QueuedTasks() as tasks:
            for number in range({count}):
                print(tasks.add_task(one.one, number).id)
                print(tasks.add_task(two.two, number).id)
            tasks.flush()
        """
    ).split()


def all_done(project: Project, ids: list[str]) -> bool:
    return all(project.task(id)["state"] == "done" for id in ids)


def test_two_applications_on_one_queue_run_their_own_tasks(project: Project) -> None:
    project.write("one.py", ONE)
    project.write("two.py", TWO)
    project.run("db", "migrate")
    project.server("--workers=1", app="one")
    project.server("--workers=1", app="two")
    ids = add_both(project, 10)
    began = time.monotonic()
    eventually(lambda: all_done(project, ids), 60)
    assert time.monotonic() - began < 25
    for id in ids:
        task = project.task(id)
        assert (task["attempt"], task["failures"]) == (1, 0)


def test_what_no_application_knows_is_parked_until_one_comes(project: Project) -> None:
    project.write("one.py", ONE)
    project.write("two.py", TWO)
    project.run("db", "migrate")
    project.server("--workers=1", app="one")
    first = add_both(project, 1)
    eventually(lambda: project.task(first[0])["state"] == "done", 60)
    eventually(lambda: project.task(first[1])["waiting_for"] == "kind `two:two`", 60)
    second = add_both(project, 1)
    eventually(lambda: project.task(second[0])["state"] == "done", 60)
    eventually(lambda: project.task(second[1])["waiting_for"] == "kind `two:two`", 60)
    project.server("--workers=1", app="two")
    eventually(lambda: all_done(project, [first[1], second[1]]), 60)


def test_an_application_that_has_learned_a_function_runs_what_it_had_refused(project: Project) -> None:
    path = project.write("one.py", ONE)
    project.write("two.py", TWO)
    project.run("db", "migrate")
    server = project.server("--workers=1", app="one")
    ids = add_both(project, 1)
    eventually(lambda: project.task(ids[1])["waiting_for"] == "kind `two:two`", 60)
    path.write_text(path.read_text() + "\nimport two\n")
    server.stop()
    project.server("--workers=1", app="one")
    eventually(lambda: all_done(project, ids), 60)
