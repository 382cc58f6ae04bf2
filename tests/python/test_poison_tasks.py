"""Fourteen poison pills: the server survives, each ends as a dead letter with its reason, and other tasks are not
affected."""

from __future__ import annotations

import functools
import os
import time
from typing import Any

import psutil
from support.pids import join, limited
from support.project import COMMAND, Process, Project
from support.waiting import eventually

APP = """
    import asyncio, ctypes, os, re, signal, socket, sys, threading, time

    async def neighbour(n):
        await asyncio.sleep(0.05)
        return n

    def segfault():
        ctypes.string_at(0)

    def exit_quietly():
        os._exit(0)

    def exit_by_sys():
        sys.exit("enough")

    async def exit_by_sys_async():
        sys.exit(3)

    def abort():
        os.abort()

    def overflow():
        import faulthandler
        faulthandler._stack_overflow()

    def loops():
        while True:
            pass

    async def loops_async():
        while True:
            pass

    def eats_memory():
        kept = []
        while True:
            kept.append(bytearray(64 << 20))

    def forks():
        # Each of them would run forever.
        for _ in range(60):
            if os.fork() == 0:
                while True:
                    time.sleep(60)
        while True:
            time.sleep(60)

    def leaves_threads():
        for _ in range(5):
            threading.Thread(target=lambda: [time.sleep(60) for _ in range(1000)]).start()
        return "done"

    def writes_to_the_socket():
        for name in os.listdir("/proc/self/fd"):
            try:
                if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                    os.write(int(name), b"print('hello')\\n" * 100)
            except OSError:
                pass
        time.sleep(60)

    class Unpicklable(Exception):
        def __init__(self):
            super().__init__("has a lock")
            self.lock = threading.Lock()

    def raises_unpicklable():
        raise Unpicklable()

    def returns_too_much():
        return "x" * (100 << 20)

    class Unspeakable(Exception):
        def __str__(self):
            raise RuntimeError("no words")

    async def raises_unspeakable():
        raise Unspeakable()

    def holds_the_lock():
        re.match(r"(a|a)*$", "a" * 60 + "b")
"""

DIED = "WorkerDied"
#: The pill, its options, the type of its error, and a part of the message.
PILLS: list[tuple[str, str, str, str]] = [
    ("segfault", "", DIED, "signal: 11"),
    ("exit_quietly", "", DIED, "exit status: 0"),
    ("exit_by_sys", "max_retries=0", "SystemExit", "enough"),
    ("exit_by_sys_async", "max_retries=0", "SystemExit", "3"),
    ("abort", "", DIED, "signal: 6"),
    ("overflow", "", DIED, "signal: 11"),
    ("loops", "max_retries=0, timeout=1", "TimeoutError", "timeout of 1"),
    ("loops_async", "max_retries=0, timeout=1", "TimeoutError", "timeout of 1"),
    ("eats_memory", "max_retries=0, timeout=20", "MemoryError", ""),
    ("forks", "max_retries=0, timeout=1", "TimeoutError", "timeout of 1"),
    ("writes_to_the_socket", "", DIED, "signal: 9"),
    ("raises_unpicklable", "max_retries=0", "app.Unpicklable", "has a lock"),
    ("returns_too_much", "", "ResultTooLarge", "result_bytes_max"),
    ("raises_unspeakable", "max_retries=0", "app.Unspeakable", "__str__ raised RuntimeError"),
    ("holds_the_lock", "max_retries=0, timeout=1", "TimeoutError", "timeout of 1"),
]


def test_poison_tasks(project: Project) -> None:
    project.write("app.py", APP)
    calls = []
    for number, (name, options, _, _) in enumerate(PILLS):
        calls.append(f"app.neighbour, {number}")
        calls.append(f"app.{name}" + (f", {options}" if options else ""))
        calls.append(f"app.neighbour, {number}")
    calls.append("app.leaves_threads")
    ids = project.add(*calls)
    server = project.server(
        "--workers=2",
        "--concurrency=4",
        app="app",
        TASKYARD_CANCEL_GRACE="2",
        TASKYARD_WORKER_MEMORY_LIMIT=str(2 << 30),
        QUEUE_WORKER_IDLE_TIMEOUT="2",
    )
    pid = server.pid
    ended: dict[str, Any] = {}

    def look() -> bool:
        for id in ids:
            if id not in ended:
                found = project.task(id)
                if found["state"] in ("done", "failed", "cancelled"):
                    ended[id] = found
        return len(ended) == len(ids)

    eventually(look, 240, "all to end")
    assert psutil.pid_exists(pid) and server.process.poll() is None, "the server survives"
    for (name, _, error_type, words), id in zip(PILLS, ids[1::3], strict=False):
        found = ended[id]
        assert found["state"] == "failed", (name, found)
        assert found["error"]["type"] == error_type, (name, found["error"])
        if error_type == DIED:
            assert (found["crashes"], found["error"]["message"]) == (3, "worker died 3 times"), (name, found)
            reasons = [attempt["error"]["message"] for attempt in found["attempts"] if attempt["error"]]
            assert any(words in reason for reason in reasons), (name, reasons)
        else:
            assert words in found["error"]["message"], (name, found["error"])
    for id in [id for place, id in enumerate(ids[:-1]) if place % 3 != 1]:
        found = ended[id]
        assert found["state"] == "done", found
        assert (found["failures"], found["crashes"], found["lost"]) == (0, 0, 0), found
    assert ended[ids[-1]]["result"] == "done"
    eventually(lambda: not server.children(), 60, "the workers to leave, whatever threads are left in them")
    left = [process for process in psutil.process_iter(["pid", "cwd"]) if _is_left(process, project, pid)]
    assert not left, f"what a pill started is gone with its worker: {left}"
    (id,) = project.add("app.neighbour, 'after'")
    assert project.ended(id)["result"] == "after"
    assert server.stop() == 0, server.output


def _is_left(process: psutil.Process, project: Project, server: int) -> bool:
    try:
        here = process.info["cwd"] == str(project.directory) and process.pid not in (server, os.getpid())
        return here and process.status() != psutil.STATUS_ZOMBIE and time.time() - process.create_time() > 1
    except psutil.Error:
        return False


BOMB = """
    import os, time

    def bomb():
        if "LIMITED" not in os.environ:
            raise RuntimeError("nothing limits it here")
        while True:
            try:
                os.fork()
            except OSError:
                time.sleep(0.01)

    async def neighbour(n):
        return n
"""


def test_a_fork_bomb_under_a_limit_of_processes(sqlite_project: Project) -> None:
    project = sqlite_project
    project.write("app.py", BOMB)
    with limited(150) as group:
        if group is not None:
            project.env["LIMITED"] = "yes"
        server = Process(
            [COMMAND, "queue", "start", "--app", "app", "--workers=2"],
            project.directory,
            {**project.env, "TASKYARD_CANCEL_GRACE": "2"},
            None if group is None else functools.partial(join, group),
        )
        project._started.append(server)
        server.says("the server runs")
        first, bomb, second = project.add("app.neighbour, 1", "app.bomb, timeout=1, max_retries=0", "app.neighbour, 2")
        found = project.ended(bomb, 60)
        assert found["state"] == "failed" and found["crashes"] == 0, found
        if group is not None:
            assert found["error"]["type"] == "TimeoutError", found
            eventually(lambda: len((group / "cgroup.procs").read_text().split()) < 10, 60, "the bomb to be gone")
        for id, result in ((first, 1), (second, 2)):
            found = project.ended(id)
            assert (found["result"], found["failures"], found["crashes"], found["lost"]) == (result, 0, 0, 0), found
        (after,) = project.add("app.neighbour, 3")
        assert project.ended(after)["result"] == 3
        assert server.stop() == 0, server.output
