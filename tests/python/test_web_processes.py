"""The web processes of ``serve``: their stop, their log lines, and the processes that uvicorn spawns for ``--workers
N``."""

from __future__ import annotations

import contextlib
import pathlib
import re
import signal
import threading

import httpx
import psutil
import psycopg
import pytest
from support.ports import free_port
from support.postgres import Cluster
from support.project import Process, Project
from support.waiting import eventually

APP = """
    import asyncio
    import logging
    import pathlib

    from fastapi import FastAPI
    from fastapi.responses import StreamingResponse
    from taskyard import QueuedTasks, TasksDep

    queue = QueuedTasks()
    app = FastAPI(lifespan=queue.lifespan())
    logging.getLogger("shop").warning("the application is imported")

    async def echo(value: int) -> int:
        return value

    @app.get("/up")
    async def up() -> str:
        return "up"

    @app.get("/add")
    async def add(tasks: TasksDep) -> str:
        return tasks.add_task(echo, 1).id

    @app.get("/events")
    async def events() -> StreamingResponse:
        async def pulses():
            while True:
                yield b"data: pulse\\n\\n"
                await asyncio.sleep(0.05)

        return StreamingResponse(pulses(), media_type="text/event-stream")

    @app.get("/slow")
    async def slow() -> str:
        pathlib.Path("asked").touch()
        while not pathlib.Path("go").exists():
            await asyncio.sleep(0.02)
        return "slow"
"""

#: A port without a listener.
NOWHERE = "postgresql://shop@127.0.0.1:1/shop"

several = pytest.mark.parametrize("processes", [1, 2])


@pytest.fixture
def port() -> int:
    return free_port()


def serve(project: Project, port: int, processes: int, **env: str) -> Process:
    project.write("app.py", APP)
    web = project.start("serve", "app:app", "--port", str(port), "--", "--workers", str(processes), **env)
    eventually(lambda: is_up(port), 60, "the web application")
    return web


def is_up(port: int) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/up", timeout=5).status_code == 200
    return False


@several
def test_a_stop_ends_open_events_within_the_grace_period(sqlite_project: Project, port: int, processes: int) -> None:
    # Five of these seconds are for the queue's last writes.
    web = serve(sqlite_project, port, processes, TASKYARD_SHUTDOWN_GRACE="6")
    with httpx.stream("GET", f"http://127.0.0.1:{port}/events", timeout=60) as response:
        pulses = response.iter_lines()
        assert next(pulses) == "data: pulse"
        assert web.stop(15) == 0, web.output
    assert "timeout graceful shutdown exceeded" in web.output, web.output


def test_a_request_that_ends_within_the_grace_period_is_answered(sqlite_project: Project, port: int) -> None:
    web = serve(sqlite_project, port, 1)
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(httpx.get(f"http://127.0.0.1:{port}/slow", timeout=60)))
    asking.start()
    eventually((sqlite_project.directory / "asked").exists, 30, "the request")
    web.signal(signal.SIGTERM)
    web.says("Shutting down")
    (sqlite_project.directory / "go").touch()
    asking.join(30)
    assert web.wait(20) == 0, web.output
    assert [answer.json() for answer in answers] == ["slow"]


@pytest.mark.parametrize("how", ["option", "variable"])
def test_the_users_own_limit_for_open_requests_counts(sqlite_project: Project, port: int, how: str) -> None:
    sqlite_project.write("app.py", APP)
    option = ["--", "--timeout-graceful-shutdown", "1"] if how == "option" else []
    env = {"UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN": "1"} if how == "variable" else {}
    web = sqlite_project.start("serve", "app:app", "--port", str(port), *option, TASKYARD_SHUTDOWN_GRACE="600", **env)
    eventually(lambda: is_up(port), 60, "the web application")
    with httpx.stream("GET", f"http://127.0.0.1:{port}/events", timeout=60) as response:
        assert next(response.iter_lines()) == "data: pulse"
        assert web.stop(20) == 0, web.output


@several
def test_each_line_of_a_web_process_has_its_time_and_level(tmp_path: pathlib.Path, port: int, processes: int) -> None:
    with Project(tmp_path, NOWHERE) as project:
        web = serve(project, port, processes)
        web.says("tasks wait in memory")
        assert web.stop() == 0, web.output
    form = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z +(INFO|WARNING|ERROR) [\w.:]+: ")
    assert [line for line in web.lines if not form.match(line)] == []
    assert web.output.count(" WARNING shop: the application is imported") == processes


@several
def test_a_stop_without_a_database_names_what_is_lost_and_nothing_else(
    tmp_path: pathlib.Path, port: int, processes: int
) -> None:
    with Project(tmp_path, NOWHERE) as project:
        web = serve(project, port, processes)
        assert httpx.get(f"http://127.0.0.1:{port}/add", timeout=30).status_code == 503
        assert web.stop() == 0, web.output
    errors = [line.partition(" ERROR ")[2] for line in web.lines if " ERROR " in line]
    assert errors == ["taskyard: the queue is closed before its database was reached additions=1"], web.output


def test_a_database_that_comes_back_and_cannot_be_used_is_an_error(tmp_path: pathlib.Path, port: int) -> None:
    with Cluster(tmp_path) as cluster, Project(tmp_path, cluster.create("newer")) as project:
        project.run("db", "migrate")
        with psycopg.connect(project.env["TASKYARD_DATABASE_URL"], autocommit=True) as connection:
            columns = "SELECT max(version) + 1, 'later', '' FROM taskyard.migration"
            connection.execute(f"INSERT INTO taskyard.migration (version, name, checksum) {columns}")
        cluster.stop()
        web = serve(project, port, 1)
        web.says("tasks wait in memory")
        cluster.start()
        web.says("ERROR taskyard: the queue's database could not be opened: ")
        assert "this program supports up to" in web.output
        assert web.stop() == 0, web.output
        assert "never retrieved" not in web.output


def test_a_program_that_ends_without_a_database_says_once_what_is_lost(tmp_path: pathlib.Path) -> None:
    with Project(tmp_path, NOWHERE) as project:
        project.write("app.py", APP)
        project.write(
            "adds.py", "import app\nfrom taskyard import QueuedTasks\nprint(QueuedTasks().add_task(app.echo, 1).id)\n"
        )
        adds = project.program("adds.py")
        adds.wait()
    (id,) = re.findall(r"^[0-9a-f-]{36}$", adds.output, re.MULTILINE)
    assert f"a task was not written task={id}" in adds.output
    assert "closing the queue failed, and its result was not awaited" not in adds.output


def test_spawned_web_processes_import_nothing_that_everybody_may_write(sqlite_project: Project, port: int) -> None:
    sqlite_project.write("prices.py", "").chmod(0o666)
    sqlite_project.write("app.py", "    import prices\n" + APP)
    web = sqlite_project.start("serve", "app:app", "--port", str(port), "--", "--workers", "2")
    web.says("prices.py: everybody may write to it")
    assert not is_up(port)
    web.stop()


def test_web_processes_end_with_a_command_that_is_killed(sqlite_project: Project, port: int) -> None:
    web = serve(sqlite_project, port, 2)
    processes = psutil.Process(web.pid).children(recursive=True)
    assert len(processes) >= 3
    web.kill()
    assert psutil.wait_procs(processes, 20)[1] == []
    assert not is_up(port)


def test_a_start_that_fails_shows_its_traceback_below_one_line(sqlite_project: Project, port: int) -> None:
    sqlite_project.write(
        "app.py",
        """
        import contextlib
        from fastapi import FastAPI

        @contextlib.asynccontextmanager
        async def life(app):
            raise RuntimeError("no pool\\n2026-01-01T00:00:00Z INFO forged: line")
            yield

        app = FastAPI(lifespan=life)
        """,
    )
    web = sqlite_project.start("serve", "app:app", "--port", str(port))
    assert web.wait() == 3
    first = [line.endswith("ERROR uvicorn.error: Traceback (most recent call last):") for line in web.lines].index(True)
    below = web.lines[first + 1 :]
    last = below.index("  RuntimeError: no pool")
    assert '    raise RuntimeError("no pool' in web.output
    # No part of it looks like a line of the log.
    assert below[last + 1] == "  2026-01-01T00:00:00Z INFO forged: line"
    assert all(line.startswith("  ") for line in below[: last + 1])


def test_a_wrong_option_of_uvicorn_is_said_by_uvicorn(sqlite_project: Project, port: int) -> None:
    sqlite_project.write("app.py", APP)
    web = sqlite_project.start("serve", "app:app", "--port", str(port), "--", "--nonsense")
    assert web.wait() == 2
    assert "Try 'uvicorn --help'" in web.output and "No such option" in web.output
