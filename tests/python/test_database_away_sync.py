"""Programs without an event loop whose database does not answer: they wait for a limited time, receive the error about
unstored tasks, and have an exit code other than 0 if tasks may be lost at their end."""

from __future__ import annotations

import contextlib
import pathlib
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator

import httpx
import pytest
from support.ports import free_port
from support.postgres import Cluster
from support.project import COMMAND, Process, Project
from test_database_away import away

APP = """
    async def echo(value):
        return value
"""

#: Adds a task, waits until the database is away if it was reachable, and then does what its argument selects.
PROGRAM = """
    import asyncio, atexit, logging, pathlib, sys, time
    import app
    from taskyard import QueuedTasks, QueueUnavailable

    logging.basicConfig(format="%(levelname)s %(message)s")
    what, database, is_there = sys.argv[1], sys.argv[2], sys.argv[3] == "there"
    tasks = QueuedTasks(database=database)

    def wait_until_away():
        print("ready", flush=True)
        while not pathlib.Path("away").exists():
            time.sleep(0.01)

    def add():
        ref = tasks.add_task(app.echo, "second")
        # In one write, because another thread writes the log.
        print(f"added {ref.id}\\n", end="", flush=True)
        return ref

    if is_there:
        first = tasks.add_task(app.echo, "first", delay=3600)
        first.get_task_id().result()
        wait_until_away()

    async def open():
        async with tasks:
            pass

    def waits():
        match what:
            case "with":
                with tasks:
                    pass
            case "async with":
                asyncio.run(open())
            case "id":
                add().get_task_id().result()
            case "flush":
                tasks.add_task(app.echo, "second")
                tasks.flush()
            case "list":
                tasks.list().result()
            case "state":
                first.get_state().result()
            case "end":
                first.result()
            case "cancel":
                first.cancel().result()
            case _:
                return False
        return True

    began = time.monotonic()
    try:
        if waits():
            print("stored" if what == "id" else "answered")
            sys.exit()
    except QueueUnavailable as error:
        print(f"after {time.monotonic() - began:.1f} s: {error.message}")
        sys.exit(7)

    @atexit.register
    def last():
        print("the program's own end")

    if what == "raises in with":
        try:
            with tasks:
                tasks.add_task(app.echo, "first").get_task_id().result()
                wait_until_away()
                add()
                raise ValueError("the program's own error")
        except ValueError as error:
            print("caught", error)
            sys.exit()
    add()
    exec(what)
"""


@pytest.fixture(scope="module")
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that may be stopped."""
    with Cluster(tmp_path_factory.mktemp("away")) as cluster:
        yield cluster


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that accepts connections and sends nothing."""
    with socket.create_server(("127.0.0.1", free_port()), backlog=100) as server:
        yield f"postgresql://postgres@127.0.0.1:{server.getsockname()[1]}/queue"


@pytest.fixture
def refused() -> str:
    """An address without a listener."""
    return f"postgresql://postgres@127.0.0.1:{free_port()}/queue"


@pytest.fixture
def programs(tmp_path: pathlib.Path) -> Iterator[Project]:
    with Project(tmp_path, None) as project:
        project.write("app.py", APP)
        project.write("program.py", PROGRAM)
        yield project


def start(project: Project, what: str, database: str, is_there: bool = False) -> Process:
    return project.program("program.py", what, database, "there" if is_there else "away")


def check_ends(what: str, program: Process, database: str) -> None:
    """Checks that a program received the error about an unknown outcome within its time limit."""
    # 120 where the outcome of what was sent before is not known.
    assert program.wait(60) in (7, 120), f"{what}:\n{program.output}"
    (said,) = [line for line in program.lines if line.startswith("after ")]
    seconds = float(said.split()[1])
    assert 29 < seconds < 40, (what, said)
    # The engine has the same bound for single statements on a database that it has reached.
    away = f"the queue's database has not answered for 30 s ({database}): "
    assert away in said or said.endswith(f"cannot reach the database: {database}: no answer in time"), (what, said)
    if what == "id":
        (id,) = [line.split()[1] for line in program.lines if line.startswith("added")]
        assert said.endswith(f"task {id} is not known to be stored, and is withdrawn")
    elif "with" in what:
        assert said.endswith("the queue was not opened")


def test_a_wait_ends_if_the_database_is_never_reached(programs: Project, silent: str, refused: str) -> None:
    waits = [("with", refused), ("async with", refused), ("id", refused), ("flush", refused), ("list", refused)]
    waits += [("with", silent), ("id", silent)]
    started = [(what, start(programs, what, database), database) for what, database in waits]
    for what, program, database in started:
        check_ends(what, program, database)


def test_a_wait_ends_if_the_database_goes_away_while_it_is_in_use(programs: Project, own_cluster: Cluster) -> None:
    database = own_cluster.create("goes_away")
    started = [(what, start(programs, what, database, True)) for what in ("id", "state", "end", "cancel")]
    for _, program in started:
        program.says("ready")
    with away(own_cluster, "frozen"):
        (programs.directory / "away").touch()
        for what, program in started:
            check_ends(what, program, database)


def test_a_wait_outlasts_a_pause_of_the_database(programs: Project, own_cluster: Cluster) -> None:
    database = own_cluster.create("pauses")
    started = [start(programs, what, database, True) for what in ("id", "flush", "end")]
    for program in started:
        program.says("ready")
    with away(own_cluster, "stopped"):
        (programs.directory / "away").touch()
        # Longer than the wait goes without a request of its own, which only time shows.
        time.sleep(10)
        assert all(program.process.poll() is None for program in started)
    stored, flushed, waits = started
    assert stored.wait(60) == 0 and "stored" in stored.output, stored.output
    assert flushed.wait(60) == 0, flushed.output
    assert waits.process.poll() is None, "its task has not ended"
    waits.kill()


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ("pass", 120),
        ("sys.exit()", 120),
        ("sys.exit(0)", 120),
        ("sys.exit(3)", 120),
        ("sys.exit('no')", 120),
        ("raise ValueError(3)", 1),
    ],
)
def test_what_is_lost_at_the_end_of_a_program_makes_it_fail(programs: Project, refused: str, ends: str, code: int) -> None:
    program = start(programs, ends, refused)
    assert program.wait(30) == code, program.output
    (id,) = re.findall("^added (.*)$", program.output, re.MULTILINE)
    assert re.search(rf"ERROR a task was not written .*{id}.*app:echo", program.output), program.output
    assert "ERROR closing the queue failed: added tasks are not stored" in program.output
    # Everything else at the end runs, and the output is complete.
    assert "the program's own end" in program.output
    assert "Exception ignored" not in program.output, program.output


def test_a_program_that_was_told_of_the_loss_ends_as_it_likes(programs: Project, refused: str) -> None:
    """The program has received the error that its task is withdrawn, and may have handled it."""
    programs.write(
        "told.py",
        """
        import sys
        import app
        from taskyard import QueuedTasks, QueueUnavailable, _loops

        _loops.AWAY_MAX = 1.0
        try:
            QueuedTasks(database=sys.argv[1]).add_task(app.echo, 1).result()
        except QueueUnavailable:
            print("told")
        """,
    )
    program = programs.program("told.py", refused)
    assert program.wait(30) == 0, program.output
    assert "told" in program.output and "was not written" not in program.output


def test_a_program_whose_tasks_are_stored_ends_as_it_likes(programs: Project, own_cluster: Cluster) -> None:
    database = own_cluster.create("stored")
    (programs.directory / "away").touch()
    for ends, code in (("pass", 0), ("sys.exit()", 0), ("sys.exit(3)", 3)):
        program = start(programs, ends, database, True)
        assert program.wait(30) == code, program.output
    assert len(programs.json("--database", database, "task", "list")) == 6


def test_an_error_of_the_program_is_not_replaced_by_the_loss(programs: Project, own_cluster: Cluster) -> None:
    """The program's error is raised; the possible loss of tasks is logged, and determines the exit code."""
    program = start(programs, "raises in with", own_cluster.create("in_flight"))
    program.says("ready")
    with away(own_cluster, "frozen"):
        (programs.directory / "away").touch()
        assert program.wait(30) == 120, program.output
    assert "caught the program's own error" in program.output
    assert "ERROR closing the queue failed: added tasks are not stored, or not known to be stored" in program.output


@pytest.mark.parametrize("server", ["uvicorn", "serve"])
def test_a_web_process_that_loses_tasks_at_its_end_fails(programs: Project, own_cluster: Cluster, server: str) -> None:
    programs.write(
        "web.py",
        """
        import logging
        from fastapi import FastAPI
        from taskyard import QueuedTasks, TasksDep
        import app

        logging.basicConfig()
        queue = QueuedTasks()
        web = FastAPI(lifespan=queue.lifespan())

        @web.post("/")
        async def add(tasks: TasksDep) -> None:
            tasks.nowait.add_task(app.echo, 1)
        """,
    )
    programs.env["TASKYARD_DATABASE_URL"] = own_cluster.create(f"web_{server}")
    for is_away in (False, True):
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", "web:web", f"--port={port}"]
        if server == "serve":
            command = [COMMAND, "serve", "web:web", "--port", str(port)]
        web = Process(command, programs.directory, programs.env)
        with contextlib.ExitStack() as stack:
            stack.callback(web.kill)
            web.says("Uvicorn running")
            if is_away:
                stack.enter_context(away(own_cluster, "frozen"))
            httpx.post(f"http://127.0.0.1:{port}/", timeout=30).raise_for_status()
            # uvicorn ends normally on SIGINT, without an exit code of its own.
            web.signal(signal.SIGINT if server == "uvicorn" else signal.SIGTERM)
            assert web.wait(30) == (120 if is_away else 0), web.output
            assert is_away == ("closing the queue failed: added tasks are not stored" in web.output)
