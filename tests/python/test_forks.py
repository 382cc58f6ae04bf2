"""Processes that a task's body forks, with ``os.fork`` and with ``multiprocessing``: none of them acts for the worker."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import pathlib
import pickle
import sqlite3
import threading
from typing import Any

import pytest
from support.project import Project
from support.waiting import eventually
from taskyard import QueuedTasks, _port
from taskyard._worker import Embedded

APP = """
    import asyncio, concurrent.futures, multiprocessing, os, subprocess, sys
    from taskyard import QueuedTasks
    from taskyard.queued_task import set_context
    {install}

    tasks = QueuedTasks()

    def wait(pid):
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    async def exits(code):
        if (pid := os.fork()) == 0:
            sys.exit(code)
        return await asyncio.to_thread(wait, pid)

    async def returns():
        if (pid := os.fork()) == 0:
            set_context("of", "the child")
            return "the child's"
        return await asyncio.to_thread(wait, pid)

    async def raises():
        if (pid := os.fork()) == 0:
            raise ValueError("in the child")
        return await asyncio.to_thread(wait, pid)

    async def awaits():
        given = asyncio.get_running_loop().create_future()
        if (pid := os.fork()) == 0:
            await given
        return await asyncio.to_thread(wait, pid)

    async def within():
        async def sub():
            if (pid := os.fork()) == 0:
                sys.exit(5)
            return await asyncio.to_thread(wait, pid)
        return await asyncio.create_task(sub())

    def in_thread(code):
        if (pid := os.fork()) == 0:
            sys.exit(code)
        return wait(pid)

    async def in_executor(code):
        return await asyncio.to_thread(in_thread, code)

    async def adds(name):
        if (pid := os.fork()) == 0:
            tasks.add_task(echo, name)
            return
        return await asyncio.to_thread(wait, pid)

    def adds_by(method, name):
        child = multiprocessing.get_context(method).Process(target=tasks.add_task, args=(echo, name))
        child.start()
        child.join()
        return child.exitcode

    def loops(value):
        async def late():
            await asyncio.sleep(0.01)
            return value
        return asyncio.run(late())

    async def in_pool():
        loop = asyncio.get_running_loop()
        with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
            return sum(await asyncio.gather(*(loop.run_in_executor(pool, loops, n) for n in range(4))))

    async def runs_a_program():
        program = await asyncio.create_subprocess_exec(sys.executable, "-c", "raise SystemExit(9)")
        return await program.wait(), subprocess.run(["true"], preexec_fn=lambda: None).returncode

    async def innocent(number):
        await asyncio.sleep(0)
        return number

    async def echo(name):
        return name
"""

#: Bodies that fork, and their results if only the parent's body continues.
FORKS: list[tuple[str, Any]] = [
    ("exits, 0", 0),
    ("exits, 7", 7),
    ("returns", 0),
    ("raises", 1),
    ("awaits", 1),
    ("in_thread, 3", 3),
    ("in_executor, 6", 6),
    ("adds_by, 'forkserver', 'by a fork server'", 0),
    ("in_pool", 6),
    ("runs_a_program", (9, 0)),
]
ADD = [("adds, 'by a fork'", 0), ("adds_by, 'fork', 'by multiprocessing'", 0)]
#: uvloop may run others before it ends by the exit of a sub-task, which leads to another exit code.
WITHIN = [("within", 5)]


def check(project: Project, forks: list[tuple[str, Any]], ids: list[str]) -> None:
    asyncio.run(_check(project, forks, ids))


async def _check(project: Project, forks: list[tuple[str, Any]], ids: list[str]) -> None:
    async with QueuedTasks(database=project.database) as tasks:
        for place, id in enumerate(ids):
            outcome = await tasks.get(id).outcome(60)
            record = await tasks.get(id).record()
            call, result = forks[place] if place < len(forks) else ("innocent", place - len(forks))
            assert (outcome.ok, outcome.result) == (True, result), (call, outcome.error)
            assert [record[name] for name in ("attempt", "failures", "crashes", "lost")] == [1, 0, 0, 0], (call, record)
            assert await tasks.get(id).get_context() == {}, call
        added = await tasks.list(function="app:echo")
        names = sorted([await tasks.get(task["id"]).wait(60) for task in added])
        assert names == sorted(call.split("'")[-2] for call, _ in forks if call.startswith("adds"))


@pytest.mark.parametrize("install", ["", "import uvloop; uvloop.install()"], ids=["asyncio", "uvloop"])
def test_a_forked_process_is_not_a_worker(project: Project, install: str) -> None:
    project.write("app.py", APP.replace("{install}", install))
    server = project.server("--workers=1", app="app")
    forks = [*FORKS, *ADD, *(WITHIN if not install else [])]
    calls = [f"app.{call}, max_retries=0" for call, _ in forks]
    check(project, forks, project.add(*calls, *(f"app.innocent, {number}, max_retries=0" for number in range(30))))
    assert "in the child" in server.output and "awaits on the event loop of its parent" in server.output
    assert server.stop() == 0


EMBEDDED = """
    import asyncio, json, app
    from taskyard._worker import Embedded

    async def main():
        async with app.tasks, Embedded(app.tasks):
            refs = [%s, *(app.tasks.add_task(app.innocent, number, max_retries=0) for number in range(30))]
            for ref in refs:
                await ref.outcome(60)
            while await app.tasks.list(function=app.echo, states=["enqueued", "doing"]):
                await asyncio.sleep(0)
            print("ids", json.dumps([ref.id for ref in refs]))

    asyncio.run(main())
"""


def test_a_forked_process_is_not_an_embedded_worker(tmp_path: pathlib.Path) -> None:
    with Project(tmp_path, str(tmp_path / "queue.db")) as project:
        project.write("app.py", APP.replace("{install}", ""))
        # A process whose engine has an SQLite file open should not fork one that opens it, too.
        forks = [*FORKS, *WITHIN]
        calls = ", ".join(f"app.tasks.add_task(app.{call}, max_retries=0)" for call, _ in forks)
        output = project.python(EMBEDDED % calls)
        (ids,) = (line for line in output.splitlines() if line.startswith("ids "))
        check(project, forks, json.loads(ids.removeprefix("ids ")))


SIBLINGS = """
    import asyncio, gc, multiprocessing, os, pathlib
    from taskyard import QueuedTasks

    tasks = QueuedTasks()
    LEFT = pathlib.Path(__file__).parent / "left"
    waiting = set()

    class Resource:
        # Records which process releases it.
        def __init__(self, name):
            self.name = name

        def __enter__(self):
            waiting.add(self.name)

        def __exit__(self, *_):
            with open(LEFT, "a") as file:
                print(self.name, os.getpid(), file=file)

    async def waits(name):
        with Resource(name):
            while waiting:
                if name == "loop":
                    await asyncio.sleep(0)
                elif name == "timer":
                    await asyncio.sleep(0.01)
                elif name == "thread":
                    await asyncio.to_thread(lambda: None)
                else:
                    await tasks.list()
        return os.getpid()

    def collects():
        gc.collect()
        gc.collect()

    async def forks(names):
        while not waiting.issuperset(names):
            await asyncio.sleep(0)
        child = multiprocessing.get_context("fork").Process(target=collects)
        child.start()
        child.join()
        if (pid := os.fork()) == 0:
            collects()
            return
        forked = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        waiting.clear()
        return [child.exitcode, forked, os.getpid()]
"""
#: The events that the siblings of a forking body wait for.
WAITS = ["loop", "timer", "thread", "engine"]
CALLS = [*(f"app.waits, {name!r}" for name in WAITS), f"app.forks, {WAITS}"]


def check_left(project: Project, results: list[Any], others: tuple[str, ...] = ()) -> None:
    *waited, (by_multiprocessing, by_fork, process) = results
    assert (by_multiprocessing, by_fork, waited) == (0, 0, [process] * len(WAITS))
    left = (project.directory / "left").read_text().splitlines()
    assert sorted(left) == sorted(f"{name} {process}" for name in (*WAITS, *others))


@pytest.mark.parametrize("install", ["", "import uvloop; uvloop.install()"], ids=["asyncio", "uvloop"])
def test_a_forked_process_collects_no_sibling(sqlite_project: Project, install: str) -> None:
    sqlite_project.write("app.py", SIBLINGS + f"    {install}\n")
    server = sqlite_project.server("--workers=1", app="app")
    ids = sqlite_project.add(*(f"{call}, max_retries=0" for call in CALLS))
    tasks = [sqlite_project.ended(id) for id in ids]
    assert [task["error"] for task in tasks] == [None] * len(tasks), server.output
    check_left(sqlite_project, [task["result"] for task in tasks])
    assert server.stop() == 0


def test_a_forked_process_collects_nothing_of_an_application(sqlite_project: Project) -> None:
    sqlite_project.write("app.py", SIBLINGS)
    calls = ", ".join(f"app.tasks.add_task({call}, max_retries=0)" for call in CALLS)
    text = f"""
        import asyncio, json, app
        from taskyard._worker import Embedded

        async def main():
            async with app.tasks, Embedded(app.tasks):
                of_application = asyncio.create_task(app.waits("loop"))
                results = [await ref.wait(60) for ref in [{calls}]]
                await of_application
                print("results", json.dumps(results))

        asyncio.run(main())
    """
    (results,) = (line for line in sqlite_project.python(text).splitlines() if line.startswith("results "))
    check_left(sqlite_project, json.loads(results.removeprefix("results ")), ("loop",))


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_what_a_child_of_multiprocessing_adds_is_stored(project: Project, method: str) -> None:
    project.write("app.py", APP.replace("{install}", ""))
    text = f"""
        import app
        if __name__ == "__main__":
            print("exit code", app.adds_by({method!r}, "the child's"))
    """
    project.write("program.py", text)
    program = project.program("program.py")
    assert program.wait() == 0
    program.says("exit code 0")
    found = project.json("task", "list")
    assert len(found) == 1, found


async def echo(value: Any) -> Any:
    return value


def test_a_fork_waits_for_what_was_added_before(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_port, "FORK_MAX", 30.0)
    with QueuedTasks(database=str(tmp_path / "queue.db")) as tasks:
        tasks.add_task(echo, 1)
        _port._before_fork()
        with sqlite3.connect(tmp_path / "queue.db") as file:
            assert file.execute("SELECT count(*) FROM ty_task").fetchone() == (1,)


def test_a_fork_waits_for_what_was_added_while_another_one_waited(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_port, "FORK_MAX", 30.0)
    with QueuedTasks(database=str(tmp_path / "queue.db")) as tasks:
        assert tasks._own is not None
        tasks.add_task(echo, 1)._id_now()
        with contextlib.closing(sqlite3.connect(tmp_path / "queue.db", isolation_level=None)) as locking:
            locking.execute("BEGIN IMMEDIATE")
            tasks.add_task(echo, 2)
            forking = threading.Thread(target=_port._before_fork)
            forking.start()
            eventually(lambda: not tasks._own._has_added, 20)
            tasks.add_task(echo, 3)
            locking.execute("ROLLBACK")
            forking.join()
            assert tasks._own._has_added
            _port._before_fork()
            assert locking.execute("SELECT count(*) FROM ty_task").fetchone() == (3,)
            assert not tasks._own._has_added


def test_a_queue_is_pickled_without_its_database() -> None:
    copied = pickle.loads(pickle.dumps(QueuedTasks().using(max_retries=7)))
    assert copied._defaults == {"max_retries": 7}
    copied._unbound.check(False)
    with pytest.raises(TypeError, match="make it in the process that uses it"):
        pickle.dumps(QueuedTasks(database="postgresql://user:password@localhost/app"))


def test_a_copy_of_a_queue_waits_for_the_same_request() -> None:
    bound = QueuedTasks()._like(_request=object(), _waits=object())
    for copied in (copy.copy(bound), copy.deepcopy({"queue": bound})["queue"]):
        assert copied is not bound
        assert copied._request is bound._request and copied._waits is bound._waits and copied._unbound is bound._unbound


async def test_closing_at_the_end_leaves_the_engine_usable(tmp_path: Any) -> None:
    tasks = QueuedTasks(database=str(tmp_path / "queue.db"))
    await asyncio.to_thread(tasks.add_task(echo, 1)._id_now)
    others = [engine for engine in _port._engines if engine is not tasks._own]
    _port._engines[:] = [tasks._own]  # type: ignore[list-item]
    try:
        await asyncio.to_thread(_port.close_engines)
        async with tasks, Embedded(tasks):
            assert await tasks.add_task(echo, 2).wait(20) == 2
        assert tasks._own in _port._engines
    finally:
        _port._engines.extend(others)
