"""Kinds of processes: without a loop, with uvloop, after a fork, preloaded, ended; and with a database that is away."""

from __future__ import annotations

import asyncio
import json
import pathlib
import subprocess
import sys
import textwrap
from typing import Any

import psycopg
import pytest
import uvloop
from support.postgres import Cluster
from support.project import Project
from support.waiting import eventually_async
from taskyard import QueuedTasks, QueueUnavailable, TaskCancelled, TaskFailed, WaitTimeout
from taskyard.errors import SettingError, TaskyardError, WrongState
from taskyard.testing import WorkerThread

APP = """
    import asyncio, os, time
    async def echo(value):
        return value
    async def sleeps():
        await asyncio.sleep(60)
    def breaks():
        raise ValueError("broken")
"""


def echo(value: Any) -> Any:
    return value


def breaks() -> None:
    raise ValueError("broken")


async def sleeps() -> None:
    await asyncio.sleep(60)


def test_without_a_loop(database: str) -> None:
    with QueuedTasks(database=database) as tasks:
        worker = WorkerThread(tasks)
        worker.start()
        try:
            ref = tasks.add_task(echo, 5)
            tasks.flush()
            assert ref.result(20) == 5
            with pytest.raises(TaskFailed, match="broken"):
                tasks.add_task(breaks, max_retries=0).result(20)
            sleeping = tasks.add_task(sleeps)
            with pytest.raises(WaitTimeout):
                sleeping.result(0.2)
            sleeping.cancel()
            with pytest.raises(asyncio.CancelledError):
                sleeping.result(20)
            with pytest.raises(WrongState):
                ref.cancel().result(20)
        finally:
            worker.stop()


async def test_blocking_in_a_loop_is_refused(database: str) -> None:
    async with QueuedTasks(database=database) as tasks:
        with pytest.raises(RuntimeError, match=r"await ref.wait\(\)"):
            tasks.add_task(echo, 1).result()


async def test_awaiting_a_cancel_gives_what_came_of_it(database: str) -> None:
    from taskyard._worker import Embedded

    async with QueuedTasks(database=database) as tasks, Embedded(tasks):
        cancelled, stopped = tasks.add_task(sleeps), tasks.add_task(sleeps)

        async def both_run() -> bool:
            return await cancelled.get_state() == await stopped.get_state() == "doing"

        await eventually_async(both_run)
        assert await cancelled.cancel() == "cancelled"
        assert await stopped.stop() == "stopped"
        assert await tasks.add_task(sleeps, delay=60).cancel() == "cancelled"


def test_debug_mode_of_the_documents_shows_what_is_added(sqlite_project: Project) -> None:
    project = sqlite_project
    project.write("app.py", APP)
    project.write(
        "debug.py",
        """
        import logging, app
        from taskyard import QueuedTasks
        logging.getLogger('queued_task').setLevel(logging.DEBUG)
        with QueuedTasks() as tasks:
            tasks.add_task(app.echo, 1)
        """,
    )
    done = subprocess.run(
        [sys.executable, "debug.py"], cwd=project.directory, env=project.env, capture_output=True, text=True, check=True
    )
    assert "DEBUG queued_task: added task" in done.stderr


async def test_cancel_without_await_and_in_order(database: str) -> None:
    async with QueuedTasks(database=database) as tasks:
        refs = [tasks.add_task(echo, number) for number in range(50)]
        for ref in refs:
            ref.cancel()
        for ref in refs:
            with pytest.raises(TaskCancelled):
                await ref.wait(20)
            assert (await ref.outcome()).state == "cancelled"
        assert await refs[0].retry() == "enqueued"


async def test_a_refusal_that_is_not_awaited_is_logged(database: str, caplog: pytest.LogCaptureFixture) -> None:
    import uuid

    async with QueuedTasks(database=database) as tasks:
        tasks.add_task(echo, 1, parent=str(uuid.uuid4()))
        await tasks.flush()
        tasks.add_task(echo, 2).stop()
        await tasks.flush()
        until = asyncio.get_running_loop().time() + 10
        while not ("does not exist" in caplog.text and "only a running task" in caplog.text):
            assert asyncio.get_running_loop().time() < until, caplog.text
            await asyncio.sleep(0.01)


def test_uvloop(database: str) -> None:
    from taskyard._worker import Embedded

    async def main() -> Any:
        async with QueuedTasks(database=database) as tasks, Embedded(tasks):
            refs = [tasks.add_task(echo, number) for number in range(100)]
            return [await ref.wait(20) for ref in refs]

    loop = uvloop.new_event_loop()
    try:
        assert loop.run_until_complete(main()) == list(range(100))
    finally:
        loop.close()


def test_fork_with_threads_of_the_engine_running(project: Project) -> None:
    project.write("app.py", APP)
    out = project.python(
        """
        import os, app
        from taskyard import QueuedTasks
        tasks = QueuedTasks()
        first = tasks.add_task(app.echo, "parent")
        tasks.flush()
        pids = []
        for number in range(3):
            pid = os.fork()
            if pid == 0:
                ref = QueuedTasks().add_task(app.echo, f"child {number}")
                QueuedTasks().flush()
                # In one write, because the others write, too.
                os.write(1, f"{ref.id}\\n".encode())
                os._exit(0)
            pids.append(pid)
        for pid in pids:
            assert os.waitpid(pid, 0)[1] == 0
        again = tasks.add_task(app.echo, "parent again")
        tasks.flush()
        print(first.id, again.id)
        """
    )
    assert len(out.split()) == 5
    project.server("--workers=1", app="app")
    for id in out.split():
        assert project.ended(id)["state"] == "done"


def test_multiprocessing_by_fork_ends(project: Project) -> None:
    project.write("app.py", APP)
    project.python(
        """
        import multiprocessing, app
        from taskyard import QueuedTasks
        tasks = QueuedTasks()

        def work(number):
            QueuedTasks().add_task(app.echo, number)
            QueuedTasks().flush()
            return number

        tasks.add_task(app.echo, "before")
        tasks.flush()
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map(work, range(6)) == list(range(6))
        """
    )
    assert project.json("queue", "stats")[0]["enqueued"] == 7


def test_what_was_added_is_written_at_the_end_of_the_process(project: Project) -> None:
    project.write("app.py", APP)
    out = project.python(
        """
        import app
        from taskyard import QueuedTasks
        tasks = QueuedTasks()
        for number in range(2000):
            tasks.add_task(app.echo, number)
        """
    )
    assert out == ""
    assert project.json("queue", "stats")[0]["enqueued"] == 2000


async def test_a_database_that_is_away(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Cluster(tmp_path_factory.mktemp("away")) as cluster:
        address = cluster.create("away")
        async with QueuedTasks(database=address) as tasks:
            await tasks.add_task(echo, -1).get_task_id()
            cluster.stop()
            refs = [tasks.add_task(echo, 0)]
            # Known to be away once the first write has failed.
            until = asyncio.get_running_loop().time() + 20
            with pytest.raises(QueueUnavailable, match="wait in memory"):
                while asyncio.get_running_loop().time() < until:
                    refs.append(tasks.add_task(echo, len(refs)))
                    if len(refs) % 1000 == 0:
                        await asyncio.sleep(0.01)
            assert 10_000 <= len(refs) <= 200_000
            cluster.start()
            await asyncio.wait_for(tasks.flush(), 60)
            assert await refs[-1].get_task_id() == refs[-1].id
            with psycopg.connect(address) as connection:
                rows = connection.execute("select payload from taskyard.task order by order_number").fetchall()
            values = [json.loads(payload)["args"][0] for (payload,) in rows]
            assert values == [-1, *range(len(refs))], "nothing dropped, in order"


async def test_the_loop_starts_while_the_database_is_away(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Cluster(tmp_path_factory.mktemp("late")) as cluster:
        address = cluster.create("late")
        cluster.stop()
        tasks = QueuedTasks(database=address)
        ref = tasks.add_task(echo, 1)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(ref.get_task_id(), 0.3)
        cluster.start()
        assert await asyncio.wait_for(ref.get_task_id(), 30) == ref.id
        await tasks.__aexit__()


def test_wrong_addresses_and_settings_are_said() -> None:
    with pytest.raises(TaskyardError, match="neither postgresql nor sqlite"):
        QueuedTasks(database="mysql://localhost/x")
    with pytest.raises(SettingError, match="max_retries"):
        QueuedTasks(max_retries="many")
    with pytest.raises(
        SettingError, match=r"^setting max_retires \(passed by the program\): there is no such setting\n  hint: "
    ):
        QueuedTasks(max_retires=3)


def test_a_setting_that_is_none_is_not_given(tmp_path: pathlib.Path) -> None:
    with QueuedTasks(database=str(tmp_path / "queue.db"), secret=None, max_retries=None, task_timeout=None) as tasks:
        tasks.add_task(echo, 1)
        tasks.flush()


def test_a_worker_is_a_client_of_its_server(project: Project) -> None:
    project.write(
        "app.py",
        """
        import asyncio, os
        from taskyard import QueuedTasks, TaskCancelled, get_current_task

        async def leaf(n):
            return n * 10

        def sync_leaf(n):
            return QueuedTasks().add_task(leaf, n).result(20)

        async def sleeps():
            await asyncio.sleep(60)

        async def root():
            tasks = QueuedTasks()
            async def local(n):
                return n + 1
            refs = [tasks.add_task(leaf, 1), tasks.add_task(sync_leaf, 2), tasks.add_task(local, 3)]
            refs += tasks.add_tasks([(leaf, 4), (leaf, 5)])
            results = [await ref.wait(20) for ref in refs]
            sleeping = tasks.add_task(sleeps)
            while await sleeping.get_state() != "doing":
                await asyncio.sleep(0.01)
            await sleeping.cancel()
            try:
                await sleeping.wait(20)
            except asyncio.CancelledError:
                results.append("cancelled")
            return results
        """,
    )
    project.server("--workers=2", app="app")
    (id,) = project.add("app.root")
    found = project.ended(id)
    assert found["result"] == [10, 20, 4, 40, 50, "cancelled"], found


GUNICORN = textwrap.dedent(
    """
    import app
    from taskyard import QueuedTasks

    tasks = QueuedTasks()
    tasks.add_task(app.echo, "before the fork")
    tasks.flush()

    def application(environ, start):
        ref = tasks.add_task(app.echo, "in a worker")
        tasks.flush()
        start("200 OK", [("content-type", "text/plain")])
        return [ref.id.encode()]
    """
)


def test_gunicorn_with_preload(project: Project) -> None:
    import httpx
    from support.ports import free_port
    from support.project import Process
    from support.waiting import eventually
    from test_quickstart import answers

    project.write("app.py", APP)
    (project.directory / "web.py").write_text(GUNICORN)
    port = free_port()
    web = Process(
        [sys.executable, "-m", "gunicorn", "--preload", "-w", "2", "-b", f"127.0.0.1:{port}", "web:application"],
        project.directory,
        project.env,
    )
    try:
        eventually(lambda: answers(port, "/"), 60, web.output)
        ids = {httpx.get(f"http://127.0.0.1:{port}/").text for _ in range(6)}
        assert len(ids) == 6
    finally:
        assert web.stop() == 0, web.output
    project.server("--workers=1", app="app")
    for id in ids:
        assert project.ended(id)["result"] == "in a worker"


def test_a_worker_reaches_its_servers_database_through_it_alone(project: Project) -> None:
    project.write(
        "app.py",
        """
        import os, psutil
        from taskyard import QueuedTasks
        queue = QueuedTasks(database=os.environ["QUEUE_OF_MINE"])

        async def leaf():
            return "leaf"

        async def root():
            result = await queue.add_task(leaf).wait(20)
            files = [file.path for file in psutil.Process().open_files() if ".db" in file.path]
            return [result, files, len(psutil.Process().net_connections("tcp"))]
        """,
    )
    assert project.database is not None
    project.env["QUEUE_OF_MINE"] = project.database
    project.server("--workers=1", app="app")
    (id,) = project.add("app.root")
    found = project.ended(id)
    assert found["result"] == ["leaf", [], 0], found["error"]
