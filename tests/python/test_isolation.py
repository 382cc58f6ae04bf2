"""Bodies beside one that exits, interrupts or cancels in code that it has started are not affected."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.project import Project
from support.waiting import eventually

APP = """
    import asyncio, os, pathlib, sys, threading
    {install}

    HERE = pathlib.Path(__file__).parent

    async def innocent(name):
        with open(HERE / f"began-{name}", "a") as file:
            file.write(f"{os.getpid()}\\n")
        while not (HERE / "go").exists():
            await asyncio.sleep(0.01)
        return name

    async def raises(error):
        await asyncio.sleep(0.05)
        raise error

    def errors():
        return {"exit": SystemExit(3), "interrupt": KeyboardInterrupt(), "close": GeneratorExit(), "base": BaseException("b")}

    async def gathers(kind):
        await asyncio.gather(raises(errors()[kind]), asyncio.sleep(30))

    async def spawns(kind):
        child = asyncio.create_task(raises(errors()[kind]))
        await asyncio.sleep(0.3)
        return "went on"

    async def calls_back(kind):
        def back():
            raise errors()[kind]
        loop = asyncio.get_running_loop()
        loop.call_soon(back)
        loop.call_later(0.05, back)
        loop.call_soon_threadsafe(back)
        future = loop.create_future()
        future.add_done_callback(lambda _: back())
        future.set_result(None)
        await asyncio.sleep(0.3)
        return "went on"

    async def threads(kind):
        def body():
            raise errors()[kind]
        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        await asyncio.to_thread(body)

    def in_a_thread(kind):
        raise errors()[kind]

    async def stops_the_loop(kind):
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0.1)
        return "went on"

    async def interrupts_main(kind):
        import _thread
        _thread.interrupt_main()
        await asyncio.sleep(0.1)
        return "went on"

    async def cancels_all(kind):
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()
        await asyncio.sleep(0.1)
        return "went on"

    async def cancels_itself(kind):
        with open(HERE / "cancels", "a") as file:
            file.write("x")
        asyncio.current_task().cancel()
        await asyncio.sleep(30)

    async def lets_its_own_task_be_cancelled(kind):
        child = asyncio.create_task(asyncio.sleep(30))
        child.cancel()
        await child
"""

#: The expected end: a result, or an error's type.
CASES: list[tuple[str, str, str]] = [
    *(("gathers", kind, error) for kind, error in [("exit", "SystemExit"), ("interrupt", "KeyboardInterrupt")]),
    *(("gathers", kind, error) for kind, error in [("close", "GeneratorExit"), ("base", "BaseException")]),
    *(("spawns", kind, "went on") for kind in ("exit", "interrupt", "close")),
    *(("calls_back", kind, "went on") for kind in ("exit", "interrupt", "close")),
    *(("threads", kind, error) for kind, error in [("exit", "SystemExit"), ("interrupt", "KeyboardInterrupt")]),
    *(("in_a_thread", kind, error) for kind, error in [("interrupt", "KeyboardInterrupt"), ("close", "GeneratorExit")]),
    ("stops_the_loop", "", "went on"),
    ("interrupts_main", "", "went on"),
]


def add(project: Project, install: str) -> list[str]:
    project.write("app.py", APP.replace("{install}", install))
    return project.add(*(f"app.innocent, {number}" for number in range(3)))


def began(project: Project, number: int) -> list[str]:
    path = project.directory / f"began-{number}"
    return path.read_text().split() if path.exists() else []


def outcomes(project: Project, ids: list[str]) -> list[str]:
    """Returns the result of each task, or its error's type."""
    program = f"""
        import asyncio, json
        from taskyard import QueuedTasks

        async def main():
            async with QueuedTasks() as tasks:
                ends = [await tasks.get(id).outcome(30) for id in {ids!r}]
            print(json.dumps([end.result if end.ok else end.error.error_type for end in ends]))

        asyncio.run(main())
    """
    found: list[str] = json.loads(project.python(program))
    return found


def counts(task: Any) -> dict[str, int]:
    return {name: task[name] for name in ("failures", "crashes", "lost")}


NOTHING = {"failures": 0, "crashes": 0, "lost": 0}


@pytest.mark.parametrize("install", ["", "import uvloop; uvloop.install()"], ids=["asyncio", "uvloop"])
def test_an_exit_in_what_a_body_has_started_ends_no_other_task(project: Project, install: str) -> None:
    innocents = add(project, install)
    server = project.server("--workers=1", "--concurrency=30", app="app")
    eventually(lambda: all(began(project, number) for number in range(3)), 60, "the innocents to begin")
    worker = server.worker()
    ids = project.add(*(f"app.{name}, {kind!r}, max_retries=0" for name, kind, _ in CASES))
    for found, (name, kind, expected) in zip(outcomes(project, ids), CASES, strict=True):
        assert found == expected, (name, kind, server.output)
    assert worker.is_running() and server.worker().pid == worker.pid, server.output
    (project.directory / "go").touch()
    for number, id in enumerate(innocents):
        task = project.ended(id)
        assert (task["result"], task["attempt"], counts(task)) == (number, 1, NOTHING), task
        assert began(project, number) == [str(worker.pid)]
    assert server.stop() == 0, server.output


def test_a_cancellation_that_was_not_requested_is_not_the_bodys_fault(project: Project) -> None:
    innocents = add(project, "")
    server = project.server("--workers=1", "--concurrency=10", app="app")
    eventually(lambda: all(began(project, number) for number in range(3)), 60, "the innocents to begin")
    worker = server.worker()
    (culprit,) = project.add("app.cancels_all, ''")
    assert project.ended(culprit)["result"] == "went on"
    (project.directory / "go").touch()
    for number, id in enumerate(innocents):
        task = project.ended(id, 60)
        assert (task["state"], task["result"], counts(task)) == ("done", number, NOTHING), task
        assert len(began(project, number)) == 2, "once more, with nothing beside it"
    # A task that is cancelled again when nothing runs beside it has caused it itself.
    (own,) = project.add("app.cancels_itself, '', max_retries=1")
    task = project.ended(own, 60)
    assert (task["state"], task["error"]["type"]) == ("failed", "asyncio.exceptions.CancelledError"), task
    assert (project.directory / "cancels").read_text() == "xxx"
    # Likewise if an asyncio task that it awaits was cancelled: the cause cannot be determined beside others.
    (awaits,) = project.add("app.lets_its_own_task_be_cancelled, '', max_retries=0")
    task = project.ended(awaits, 60)
    assert (task["state"], task["error"]["type"]) == ("failed", "asyncio.exceptions.CancelledError"), task
    assert server.worker().pid == worker.pid
    assert server.stop() == 0, server.output


def test_a_neighbour_that_is_cancelled_before_its_first_step_runs_once_more(project: Project) -> None:
    project.write(
        "app.py",
        """
        import asyncio

        async def cancels_all():
            for task in asyncio.all_tasks():
                if task is not asyncio.current_task():
                    task.cancel()
            return "went on"

        async def innocent(number):
            return number
        """,
    )
    culprit, *innocents = project.add(
        "app.cancels_all", *(f"app.innocent, {number}, max_retries=0, timeout=0" for number in range(4))
    )
    server = project.server("--workers=1", "--concurrency=10", app="app")
    assert project.ended(culprit)["result"] == "went on"
    for number, id in enumerate(innocents):
        task = project.ended(id)
        assert (task["state"], task["result"], counts(task)) == ("done", number, NOTHING), task
    assert server.stop() == 0, server.output


#: In the application's own process, stopping or interrupting its loop on purpose is left to the application.
EMBEDDED = [case for case in CASES if case[0] not in ("stops_the_loop", "interrupts_main")]

APPLICATION = """
    import asyncio, json, app
    from taskyard import QueuedTasks

    IDS = {ids!r}

    async def main():
        tasks = QueuedTasks()
        async with tasks.lifespan(workers=1, concurrency=30)(None):
            ends = [await tasks.get(id).outcome(30) for id in IDS]
            (app.HERE / "go").touch()
            went_on = (await tasks.get({innocent!r}).outcome(30)).result
        print(json.dumps([[end.result if end.ok else end.error.error_type for end in ends], went_on]))

    asyncio.run(main())
"""


@pytest.mark.parametrize("install", ["", "import uvloop; uvloop.install()"], ids=["asyncio", "uvloop"])
def test_an_exit_in_what_a_body_has_started_does_not_end_the_application(project: Project, install: str) -> None:
    (innocent,) = add(project, install)[:1]
    ids = project.add(*(f"app.{name}, {kind!r}, max_retries=0" for name, kind, _ in EMBEDDED))
    said = project.python(APPLICATION.format(ids=ids, innocent=innocent))
    found, went_on = json.loads(said.splitlines()[-1])
    for end, (name, kind, expected) in zip(found, EMBEDDED, strict=True):
        assert end == expected, (name, kind)
    assert went_on == 0
    for id in ids:
        assert project.ended(id)["attempt"] == 1
    assert (project.ended(innocent)["attempt"], counts(project.ended(innocent))) == (1, NOTHING)


def test_an_exit_of_the_application_itself_ends_it_and_gives_back_what_ran(project: Project) -> None:
    (innocent,) = add(project, "")[:1]
    said = project.python("""
        import asyncio, app
        from taskyard import QueuedTasks

        async def main():
            async with QueuedTasks().lifespan(workers=1, concurrency=10)(None):
                while not (app.HERE / "began-0").exists():
                    await asyncio.sleep(0.01)
                asyncio.get_running_loop().call_soon(exit, 3)
                await asyncio.create_task(app.raises(SystemExit(4)))

        try:
            asyncio.run(main())
        except SystemExit as error:
            print("exit", error.code)
    """)
    assert said.strip() == "exit 3"
    (project.directory / "go").touch()
    server = project.server("--workers=1", app="app")
    task = project.ended(innocent)
    assert (task["result"], counts(task)) == (0, NOTHING), task
    assert server.stop() == 0, server.output
