"""Every way to stop a server and its workers: real processes and real signals, to one of them and to all."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import Any

import psutil
import pytest
from support.project import COMMAND, Process, Project
from support.waiting import eventually

APP = """
    import asyncio, multiprocessing, os, pathlib, signal, subprocess, time

    HERE = pathlib.Path(__file__).parent

    def note(name):
        with open(HERE / name, "a") as file:
            file.write(f"{os.getpid()}\\n")

    async def until(name, seconds=60):
        note(f"began-{name}")
        for _ in range(seconds * 100):
            if (HERE / name).exists():
                return name
            await asyncio.sleep(0.01)

    def until_sync(name, seconds=60):
        note(f"began-{name}")
        for _ in range(seconds * 100):
            if (HERE / name).exists():
                return name
            time.sleep(0.01)

    async def heeds(name):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        return await until(name)

    async def dies(number):
        await asyncio.sleep(0.2)
        os.kill(os.getpid(), number)
        await asyncio.sleep(60)

    def ends_what_it_starts():
        shell = subprocess.Popen(["sleep", "60"])
        shell.terminate()
        forked = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        forked.start()
        forked.terminate()
        forked.join(20)
        return [shell.wait(20), forked.exitcode]

    signal.signal(signal.SIGTERM, lambda *_: os._exit(9))
"""

#: The counters of a task without a charged attempt.
CLEAN = {"failures": 0, "crashes": 0, "lost": 0, "alone": False}


def counts(task: Any) -> dict[str, Any]:
    return {name: task[name] for name in CLEAN}


def start(project: Project, *names: str, **env: str) -> tuple[Process, list[str]]:
    """Starts a server that runs ``until(name)`` for each name; names that begin with `sync` run sync functions."""
    project.write("app.py", APP)
    calls = [f"app.until{'_sync' if name.startswith('sync') else ''}, {name!r}" for name in names]
    ids = project.add(*calls) if calls else []
    server = project.server("--workers=2", "--concurrency=4", app="app", **env)
    for name in names:
        eventually((project.directory / f"began-{name}").exists, 60, f"{name} to begin")
    return server, ids


def everybody(server: Process) -> list[int]:
    """Returns the server and all its descendants, as a supervisor finds them by control group."""
    return [server.pid, *(child.pid for child in psutil.Process(server.pid).children(recursive=True))]


def signal_all(server: Process, number: int) -> None:
    for pid in everybody(server):
        os.kill(pid, number)


def allow(project: Project, *names: str) -> None:
    for name in names:
        (project.directory / name).touch()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_of_the_whole_group_lets_what_runs_end(project: Project, number: int) -> None:
    server, ids = start(project, "one", "two", "sync")
    signal_all(server, number)
    server.says("stopping")
    allow(project, "one", "two", "sync")
    assert server.wait() == 0, server.output
    for id in ids:
        task = project.task(id)
        assert (task["state"], task["attempt"]) == ("done", 1), task
        assert counts(task) == CLEAN


def test_what_outlasts_the_grace_is_released_unless_it_may_run_only_once(project: Project) -> None:
    project.write("app.py", APP)
    ids = project.add(
        "app.until, 'long'",
        "app.until, 'once', at_most_once=True",
        "app.until_sync, 'sync', at_most_once=True",
        "app.until, 'unstarted', at_most_once=True",
    )
    server = project.server("--workers=1", "--concurrency=3", app="app", TASKYARD_SHUTDOWN_GRACE="1")
    for name in ("long", "once", "sync"):
        eventually((project.directory / f"began-{name}").exists, 60, f"{name} to begin")
    signal_all(server, signal.SIGTERM)
    assert server.wait() == 0, server.output
    released, once, sync, unstarted = (project.task(id) for id in ids)
    for task in (released, unstarted):
        assert (task["state"], task["attempt"], task["attempts"]) == ("enqueued", 0, []), task
        assert counts(task) == CLEAN
    for task in (once, sync):
        assert (task["state"], task["error"]["type"], task["attempt"]) == ("failed", "CutShort", 1), task
        assert counts(task) == CLEAN
    assert not (project.directory / "began-unstarted").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_that_dies_while_its_server_stops_costs_nothing(project: Project, number: int) -> None:
    server, ids = start(project, "one")
    ids += project.add("app.until, 'once', at_most_once=True")
    eventually((project.directory / "began-once").exists, 60, "the second to begin")
    server.signal(signal.SIGTERM)
    server.says("stopping")
    for child in server.children():
        child.send_signal(number)
    assert server.wait() == 0, server.output
    released, once = (project.task(id) for id in ids)
    assert (released["state"], released["attempt"], released["attempts"]) == ("enqueued", 0, []), released
    assert counts(released) == CLEAN
    assert (once["state"], once["error"]["type"]) == ("failed", "CutShort"), once


def test_a_body_that_heeds_the_signal_dies_before_its_server_hears_it(project: Project) -> None:
    project.write("app.py", APP)
    (id,) = project.add("app.heeds, 'heeds'")
    server = project.server("--workers=1", app="app")
    eventually((project.directory / "began-heeds").exists, 60, "it to begin")
    worker = server.worker()
    worker.send_signal(signal.SIGTERM)
    worker.wait(10)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0, server.output
    task = project.task(id)
    assert (task["state"], task["attempt"]) == ("enqueued", 0), task
    assert counts(task) == CLEAN


def test_outside_of_a_stop_a_death_counts_as_ever(project: Project) -> None:
    project.write("app.py", APP)
    killed, once = project.add("app.dies, 9", "app.dies, 9, at_most_once=True")
    server = project.server("--workers=1", "--concurrency=1", app="app")
    dead = project.ended(killed, 60)
    assert (dead["state"], dead["error"]["type"], dead["crashes"]) == ("failed", "WorkerDied", 3), dead
    dead = project.ended(once, 60)
    assert (dead["state"], dead["error"]["type"], dead["crashes"]) == ("failed", "WorkerDied", 1), dead
    # A task that has restored the signal's handler is ended by it, and charged; nothing else stops.
    (heeds,) = project.add("app.heeds, 'x'")
    eventually((project.directory / "began-x").exists, 60, "it to begin")
    server.worker().send_signal(signal.SIGTERM)
    eventually(lambda: project.task(heeds)["crashes"] == 1, 60, "the crash to be counted")
    allow(project, "x")
    assert server.stop() == 0


def test_signals_to_a_worker_alone_are_its_servers(project: Project) -> None:
    server, ids = start(project, "one", "sync")
    workers = {child.pid for child in server.children()}
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        for pid in workers:
            os.kill(pid, number)
    (ended,) = project.add("app.ends_what_it_starts")
    ids += project.add("app.dies, 15, timeout=1, max_retries=0")
    assert project.ended(ended)["result"] == [-signal.SIGTERM, -signal.SIGTERM]
    late = project.ended(ids.pop())
    assert (late["error"]["type"], late["crashes"]) == ("TimeoutError", 0), late
    assert workers <= {child.pid for child in server.children()}
    allow(project, "one", "sync")
    for id in ids:
        assert project.ended(id)["state"] == "done"
    assert server.stop() == 0


def test_a_second_signal_and_sigquit_hasten_the_stop(project: Project) -> None:
    for last in (signal.SIGTERM, signal.SIGQUIT):
        server, ids = start(project, f"long{last}")
        if last == signal.SIGTERM:
            signal_all(server, signal.SIGTERM)
            server.says("stopping")
        began = time.monotonic()
        signal_all(server, last)
        assert server.wait(20) == 0, server.output
        assert time.monotonic() - began < 8
        task = project.task(ids[0])
        assert (task["state"], task["attempt"]) == ("enqueued", 0), task
        allow(project, f"long{last}")


def test_nohup_outlives_its_terminal(sqlite_project: Project) -> None:
    project = sqlite_project
    project.write("app.py", APP)

    def nohup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    server = Process([COMMAND, "queue", "start", "--app", "app", "--workers=1"], project.directory, project.env, nohup)
    project._started.append(server)
    server.says("the server runs")
    (id,) = project.add("app.until, 'one'")
    eventually((project.directory / "began-one").exists, 60, "it to begin")
    signal_all(server, signal.SIGHUP)
    allow(project, "one")
    assert project.ended(id)["state"] == "done"
    assert server.process.poll() is None
    assert server.stop() == 0


WEB = """
    import asyncio, pathlib
    from fastapi import FastAPI
    from taskyard import QueuedTasks
    from app import until

    queue = QueuedTasks()
    web = FastAPI(lifespan=queue.lifespan({options}))

    @web.get("/slow")
    async def slow():
        await until("slow")
        return "answered"
"""


def web(project: Project, options: str, *command: str, **env: str) -> Process:
    project.write("app.py", APP)
    project.write("web.py", WEB.replace("{options}", options))
    process = Process(list(command), project.directory, {**project.env, **env})
    project._started.append(process)
    process.says("Uvicorn running")
    return process


def test_serve_with_workers_is_stopped_as_a_whole(project: Project) -> None:
    arguments = ("serve", "web:web", "--workers=1", "--port=0")
    server = web(project, "", COMMAND, *arguments, TASKYARD_INCLUDE="app")
    server.says("the server runs")
    (id,) = project.add("app.until, 'one'")
    eventually((project.directory / "began-one").exists, 60, "it to begin")
    signal_all(server, signal.SIGTERM)
    server.says("stopping")
    allow(project, "one")
    assert server.wait() == 0, server.output
    task = project.task(id)
    assert (task["state"], counts(task)) == ("done", CLEAN), task


def embedded(project: Project, **env: str) -> tuple[Process, list[str]]:
    arguments = ("-m", "uvicorn", "web:web", "--port=0")
    python = os.path.join(os.path.dirname(COMMAND), "python")
    server = web(project, "workers=1", python, *arguments, TASKYARD_INCLUDE="app", **env)
    ids = project.add("app.until, 'one'", "app.until, 'once', at_most_once=True")
    for name in ("one", "once"):
        eventually((project.directory / f"began-{name}").exists, 60, f"{name} to begin")
    return server, ids


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_workers_within_uvicorn_end_with_it(project: Project, number: int) -> None:
    server, ids = embedded(project)
    server.signal(number)
    server.says("Waiting for application shutdown")
    allow(project, "one", "once")
    server.wait()
    for id in ids:
        task = project.task(id)
        assert (task["state"], counts(task)) == ("done", CLEAN), (task, server.output)


def test_a_second_ctrl_c_hastens_workers_within_uvicorn(project: Project) -> None:
    server, (id, once) = embedded(project)
    server.signal(signal.SIGINT)
    server.says("Waiting for application shutdown")
    began = time.monotonic()
    server.signal(signal.SIGINT)
    server.wait(20)
    assert time.monotonic() - began < 10
    task = project.task(id)
    assert (task["state"], task["attempt"], counts(task)) == ("enqueued", 0, CLEAN), (task, server.output)
    task = project.task(once)
    assert (task["state"], task["error"]["type"], counts(task)) == ("failed", "CutShort", CLEAN), task


def test_a_forced_end_of_uvicorn_gives_back_what_ran(project: Project) -> None:
    """The loop is closed without the end of the lifespan: an open response delayed it, and a second Ctrl-C came."""
    server, (id, _) = embedded(project)
    port = next(line for line in server.lines if "Uvicorn running" in line).split(":")[-1].split()[0]
    client = subprocess.Popen(["curl", "-s", f"http://127.0.0.1:{port}/slow"], stdout=subprocess.DEVNULL)
    try:
        eventually((project.directory / "began-slow").exists, 60, "the request")
        server.signal(signal.SIGINT)
        server.says("Waiting for connections to close")
        server.signal(signal.SIGINT)
        server.wait(20)
    finally:
        client.kill()
        client.wait()
    task = project.task(id)
    assert task["state"] == "enqueued", (task, server.output)
    assert {**counts(task), "alone": False} == CLEAN, task
