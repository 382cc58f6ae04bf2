"""Executor calls of a body (``to_thread`` and ``run_in_executor``): none of them runs beside the next attempt."""

from __future__ import annotations

import datetime as dt
import json
import pathlib
from typing import Any

import pytest
from support.project import Project
from support.waiting import eventually

APP = """
    import asyncio, concurrent.futures, contextvars, json, os, pathlib, socket, threading, time
    {install}

    HERE = pathlib.Path(__file__).parent
    POOL = concurrent.futures.ThreadPoolExecutor(2)

    def note(name, what, **more):
        with open(HERE / f"{name}.log", "a") as file:
            file.write(json.dumps({"what": what, "pid": os.getpid(), **more}) + "\\n")

    def charge(name, seconds, others=()):
        note(name, "begin", alive=[pid for pid in others if os.path.exists(f"/proc/{pid}")])
        time.sleep(seconds)
        note(name, "end")
        return name

    def before(name):
        path = HERE / f"{name}.log"
        lines = path.read_text().splitlines() if path.exists() else []
        return sorted({json.loads(line)["pid"] for line in lines} - {os.getpid()})

    async def by_thread(name, first):
        others = before(name)
        return await asyncio.to_thread(charge, name, 0 if others else first, others)

    async def by_loop(name, first):
        others = before(name)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, charge, name, 0 if others else first, others)

    async def by_pool(name, first):
        others = before(name)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(POOL, charge, name, 0 if others else first, others)

    async def by_child(name, first):
        others = before(name)
        return (await asyncio.gather(asyncio.to_thread(charge, name, 0 if others else first, others)))[0]

    async def gives_up_itself(name, first):
        others = before(name)
        return await asyncio.wait_for(asyncio.to_thread(charge, name, 0 if others else first, others), 0.3)

    async def by_library(name, first):
        # Threads outside of executors, which the worker does not track.
        others = before(name)
        done = asyncio.Event()
        loop = asyncio.get_running_loop()
        threading.Thread(target=lambda: (charge(name, 1), loop.call_soon_threadsafe(done.set)), daemon=True).start()
        await done.wait()

    async def within_the_grace(name, first):
        lines = (HERE / f"{name}.log").read_text() if (HERE / f"{name}.log").exists() else ""
        return await asyncio.to_thread(charge, name, 0 if lines else first)

    async def leaves_a_subtask(name, first):
        # Calls once the attempt is over; the test signals its end by a file.
        async def later():
            while not (HERE / "over").exists():
                await asyncio.sleep(0.01)
            try:
                await asyncio.to_thread(charge, name, 0)
            except Exception as error:
                note(name, "refused", error=f"{type(error).__name__}: {error}")
                raise
        KEPT.append(asyncio.create_task(later()))
        if first:
            await asyncio.sleep(first)
        return "done"

    async def leaves_a_thread(name):
        # A thread in the attempt's context, without a loop.
        loop = asyncio.get_running_loop()
        def later():
            while not (HERE / "over").exists():
                time.sleep(0.01)
            for _ in range(2):
                try:
                    loop.run_in_executor(None, charge, name, 0)
                except Exception as error:
                    note(name, "refused", error=f"{type(error).__name__}: {error}")
        threading.Thread(target=contextvars.copy_context().run, args=(later,), daemon=True).start()
        raise ValueError("a failure")

    async def uses_a_writer(name, first):
        # The writer is created on first use, for the whole process.
        if not WRITERS:
            WRITERS.append(asyncio.Queue())
            KEPT.append(asyncio.create_task(writes(WRITERS[0])))
        done = asyncio.get_running_loop().create_future()
        WRITERS[0].put_nowait((name, done))
        await done
        if first:
            raise ValueError("a failure")

    async def writes(queue):
        while True:
            name, done = await queue.get()
            try:
                done.set_result(await asyncio.to_thread(charge, name, 0))
            except Exception as error:
                done.set_exception(error)

    KEPT, WRITERS = [], []

    async def leaves_one(name, first):
        asyncio.get_running_loop().run_in_executor(None, charge, name, first)
        return "done"

    async def looks_up(name, first):
        def slow(*_, **__):
            time.sleep(first)
            return []
        socket.getaddrinfo = slow
        await asyncio.get_running_loop().getaddrinfo("taskyard.example", 80)

    async def neighbour(name):
        note(name, "begin")
        await asyncio.sleep(4)
        note(name, "end")
        return name
"""


def log(project: Project, name: str) -> list[dict[str, Any]]:
    path = pathlib.Path(project.directory / f"{name}.log")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


WAYS = ["by_thread", "by_loop", "by_pool", "by_child"]
OPTIONS = "max_retries=1, retry=RetryPolicy(backoff=0.1, jitter=False), timeout=1"


def start(project: Project, install: str = "", **env: str) -> Any:
    project.write("app.py", APP.replace("{install}", install))
    return project.server("--workers=3", "--concurrency=8", app="app", **env)


@pytest.mark.parametrize("install", ["", "import uvloop; uvloop.install()"], ids=["asyncio", "uvloop"])
def test_what_outlasts_the_grace_ends_with_its_process(project: Project, install: str) -> None:
    server = start(project, install)
    (neighbour,) = project.add("app.neighbour, 'neighbour'")
    ids = project.add(*(f"app.{way}, {way!r}, 60, {OPTIONS}" for way in WAYS))
    for way, id in zip(WAYS, ids, strict=True):
        task = project.ended(id, 60)
        assert (task["state"], task["result"], task["attempt"]) == ("done", way, 2), (task, server.output)
        assert (task["failures"], task["crashes"], task["lost"]) == (1, 0, 0), task
        assert task["attempts"][0]["error"]["type"] == "TimeoutError", task
        first, second, end = log(project, way)
        assert [line["what"] for line in (first, second, end)] == ["begin", "begin", "end"], way
        assert second["alive"] == [], "the first attempt's process is gone before the second begins"
    task = project.ended(neighbour)
    assert (task["result"], task["attempt"], task["crashes"]) == ("neighbour", 1, 0), task
    assert server.stop() == 0


def test_what_ends_within_the_grace_costs_no_process(project: Project) -> None:
    server = start(project)
    ids = project.add(
        f"app.within_the_grace, 'grace', 2, {OPTIONS}",
        f"app.gives_up_itself, 'itself', 60, {OPTIONS.replace('timeout=1', 'timeout=2')}",
        "app.by_library, 'library', 0, max_retries=0, timeout=0.5",
        "app.leaves_one, 'leaves', 30, max_retries=0, timeout=50",
        "app.looks_up, 'looks', 60, max_retries=0, timeout=0.5",
    )
    grace, itself, library, leaves, looks = (project.ended(id, 60) for id in ids)
    assert (grace["state"], grace["attempt"], grace["crashes"]) == ("done", 2, 0), grace
    assert [line["what"] for line in log(project, "grace")] == ["begin", "end", "begin", "end"]
    assert len({line["pid"] for line in log(project, "grace")}) == 1
    # The body's own time limit leaves a call behind, which belongs to the attempt until the call ends or the attempt's
    # time is over.
    assert (itself["state"], itself["attempt"]) == ("done", 2), itself
    assert log(project, "itself")[1]["alive"] == []
    assert (library["state"], library["error"]["type"]) == ("failed", "TimeoutError"), library
    began, finished = (dt.datetime.fromisoformat(leaves[at].rstrip("Z")[:19]) for at in ("started_at", "finished_at"))
    assert leaves["result"] == "done" and finished - began < dt.timedelta(seconds=20), "a success waits for nothing"
    assert (looks["state"], looks["error"]["type"]) == ("failed", "TimeoutError"), looks
    assert server.stop() == 0


def test_a_cancelled_one_and_a_stop(project: Project) -> None:
    server = start(project, TASKYARD_SHUTDOWN_GRACE="1", TASKYARD_CANCEL_GRACE="2")
    cancelled = project.add("app.by_thread, 'cancelled', 60")[0]
    eventually(lambda: log(project, "cancelled"), 60, "the first one to begin")
    pid = log(project, "cancelled")[0]["pid"]
    project.run("task", "cancel", cancelled)
    assert project.ended(cancelled, 60)["state"] == "cancelled"
    assert not pathlib.Path(f"/proc/{pid}").exists() or pid not in {child.pid for child in server.children()}
    released = project.add("app.by_thread, 'released', 60")[0]
    eventually(lambda: log(project, "released"), 60, "the second one to begin")
    assert server.stop() == 0
    task = project.task(released)
    assert (task["state"], task["attempt"], task["crashes"]) == ("enqueued", 0, 0), task
    assert [line["what"] for line in log(project, "released")] == ["begin"]


def test_a_call_of_a_failed_attempt_is_refused(project: Project) -> None:
    server = start(project)
    failed, done = project.add(
        "app.leaves_a_subtask, 'failed', 60, max_retries=0, timeout=0.5",
        "app.leaves_a_subtask, 'done', 0, max_retries=0",
    )
    assert project.ended(failed)["state"] == "failed" and project.ended(done)["state"] == "done"
    project.write("over", "")
    found = eventually(lambda: log(project, "failed") and log(project, "done")[1:] and log(project, "failed"))
    assert [line["what"] for line in found] == ["refused"]
    assert found[0]["error"].startswith(f"WrongState: task {failed}: its attempt 1 has failed"), found
    server.says(f"task {failed}: its attempt 1 has failed, and an executor call of a sub-task that it left is refused")
    # Calls that a successful attempt leaves behind continue.
    assert [line["what"] for line in log(project, "done")] == ["begin", "end"]
    assert server.stop() == 0


def test_a_failed_attempt_refuses_one_call_of_a_thread_that_it_left(project: Project) -> None:
    server = start(project)
    (failed,) = project.add("app.leaves_a_thread, 'left', max_retries=0")
    assert project.ended(failed)["error"]["message"] == "a failure"
    project.write("over", "")
    found = eventually(lambda: log(project, "left")[2:] and log(project, "left"))
    assert [line["what"] for line in found] == ["refused", "begin", "end"]
    assert found[0]["error"].startswith(f"WrongState: task {failed}: its attempt 1 has failed"), found
    assert server.stop() == 0


def test_a_failed_attempt_refuses_one_call_of_what_is_for_the_whole_process(project: Project) -> None:
    project.write("app.py", APP.replace("{install}", ""))
    server = project.server("--workers=1", app="app")

    def uses(name: str, fails: bool) -> Any:
        (id,) = project.add(f"app.uses_a_writer, {name!r}, {int(fails)}, max_retries=0")
        return project.ended(id)["error"]

    assert uses("maker", True)["message"] == "a failure"
    assert uses("next", False)["type"].endswith("WrongState")
    assert [uses(name, False) for name in ("third", "fourth")] == [None, None], server.output
    assert [line["what"] for line in log(project, "fourth")] == ["begin", "end"]
    assert server.stop() == 0


def test_a_failed_attempt_refuses_nothing_later(project: Project) -> None:
    project.write("app.py", APP.replace("{install}", "from taskyard._worker import _executor; _executor.REFUSE_MAX = 0.0"))
    server = project.server("--workers=1", app="app")
    (maker,) = project.add("app.uses_a_writer, 'maker', 1, max_retries=0")
    assert project.ended(maker)["error"]["message"] == "a failure"
    (id,) = project.add("app.uses_a_writer, 'next', 0, max_retries=0")
    assert project.ended(id)["error"] is None, server.output
    assert server.stop() == 0
