"""A database that does not answer: no request waits for it for long, a task whose caller received an error does not
run, and the application ends."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import httpx
import psutil
import pytest
from fastapi import BackgroundTasks, FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from starlette.middleware.base import BaseHTTPMiddleware
from support.postgres import Cluster
from support.project import COMMAND, Process, Project
from support.waiting import eventually
from taskyard import QueuedTasks, QueueUnavailable, TasksDep, _port, _request
from taskyard import fastapi as taskyard_fastapi
from taskyard.events import sse


async def echo(value: Any) -> Any:
    return value


@pytest.fixture(scope="module")
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that may be stopped."""
    with Cluster(tmp_path_factory.mktemp("away")) as cluster:
        yield cluster


async def is_known(_: Any, id: str) -> bool:
    await QueuedTasks().get(id).get_context()
    return True


@contextlib.contextmanager
def away(cluster: Cluster, how: str) -> Iterator[None]:
    """Makes the database refuse connections (`stopped`), or accept them and never answer (`frozen`)."""
    if how == "stopped":
        cluster.stop()
        try:
            yield
        finally:
            cluster.start()
        return
    assert cluster.process is not None
    processes = [psutil.Process(cluster.process.pid), *psutil.Process(cluster.process.pid).children()]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


def application(queue: QueuedTasks) -> FastAPI:
    app = FastAPI(lifespan=queue.lifespan())
    app.include_router(taskyard_fastapi.task_router(allow_anyone=True))
    app.include_router(taskyard_fastapi.router(allow_anyone=True), prefix="/tasks")
    app.include_router(taskyard_fastapi.router(allow=is_known), prefix="/known")
    app.include_router(taskyard_fastapi.task_router(allow=is_known), prefix="/known")

    @app.post("/id")
    async def by_dependency(tasks: TasksDep) -> str:
        return await tasks.add_task(echo, "id").get_task_id()

    @app.post("/id-of-several")
    async def several(tasks: TasksDep) -> str:
        refs = tasks.add_tasks([(echo, number) for number in range(3)])
        return await refs[1].get_task_id()

    @app.post("/module")
    async def by_module() -> str:
        return await queue.add_task(echo, "module").get_task_id()

    @app.post("/thread")
    def in_a_thread() -> Any:
        return queue.add_task(echo, "thread", delay=3600).cancel().result()

    @app.post("/no-wait")
    async def no_wait(tasks: TasksDep) -> str:
        return tasks.add_task(echo, "no wait").id

    @app.get("/state/{id}")
    async def state(id: str, tasks: TasksDep) -> str:
        return await tasks.get(id).get_state()

    @app.get("/wait/{id}")
    async def wait(id: str, tasks: TasksDep) -> Any:
        return await tasks.get(id).wait()

    @app.get("/watch/{id}")
    async def watch(id: str, tasks: TasksDep) -> Any:
        async for event in tasks.get(id).watch():
            return event.type

    @app.get("/result/{id}")
    def result(id: str) -> Any:
        return queue.get(id).result()

    @app.get("/list")
    async def listed(tasks: TasksDep) -> int:
        return len(await tasks.list())

    @app.post("/pause")
    async def pause(tasks: TasksDep) -> None:
        await tasks.queues.pause("mail")

    @app.post("/flush")
    async def flush() -> None:
        await queue.flush()

    @app.get("/handled")
    async def handled(tasks: TasksDep) -> str:
        try:
            return await tasks.add_task(echo, "handled").get_task_id()
        except QueueUnavailable as error:
            return f"handled: {error.message}"

    @app.websocket("/socket-later")
    async def later(socket: WebSocket, tasks: TasksDep) -> None:
        await socket.accept()
        ids = [tasks.add_task(echo, "later").id for _ in range(3)]
        await socket.send_json(ids)
        await socket.close()

    @app.websocket("/socket")
    async def socket(socket: WebSocket) -> None:
        await socket.accept()
        try:
            await queue.add_task(echo, "socket").get_task_id()
        except QueueUnavailable as error:
            await socket.send_text(error.message)
        await socket.close()

    return app


ADD = ["/id", "/id-of-several", "/module", "/thread", "/no-wait"]
ASK = [
    "/state/{id}",
    "/wait/{id}",
    "/watch/{id}",
    "/result/{id}",
    "/list",
    "/task/{id}",
    "/task/{id}/progress",
    "/tasks/{id}",
    "/known/{id}",
    "/known/task/{id}",
]


@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_every_request_is_answered(own_cluster: Cluster, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr(_request, "WAIT_MAX", 0.5)
    queue = QueuedTasks(database=own_cluster.create(f"every_{how}"))
    before = _port.use(queue._own)
    try:
        with TestClient(application(queue)) as client:
            first, asked = client.post("/id").json(), client.post("/id").json()
            with away(own_cluster, how):
                for path in [*ADD, "/pause", "/flush", "/task/{id}/cancel"]:
                    check_unavailable(client, "POST", path.format(id=asked))
                for path in ASK:
                    check_unavailable(client, "GET", path.format(id=first))
                assert client.get("/handled").json() == "handled: the queue's database has not answered within 0.5 s"
                with client.websocket_connect("/socket") as connection:
                    assert "has not answered" in connection.receive_text()
            # Each request is repeated until it succeeds, as clients do.
            for path in ADD[:3]:
                eventually(lambda path=path: client.post(path).status_code == 200, 60, f"{path} to succeed")
            # By the order of calls, everything before it is decided now.
            eventually(lambda: client.post("/flush").status_code == 200, 60, "all to be written")
            assert client.portal is not None
            tasks = client.portal.call(queue.list)
            # A cancel may be carried out late, without harm.
            open_ = [task for task in tasks if task["state"] != "cancelled" and task["id"] != asked]
            assert len(open_) == 6, [(task["id"], task["state"], task["kind"]) for task in tasks]
    finally:
        _port.use(before)


def test_what_a_websocket_has_added_waits_for_the_database(own_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A websocket has no response that could report a failure."""
    monkeypatch.setattr(_request, "WAIT_MAX", 0.5)
    queue = QueuedTasks(database=own_cluster.create("websocket"))
    before = _port.use(queue._own)
    try:
        with TestClient(application(queue)) as client:
            client.post("/id").raise_for_status()
            with away(own_cluster, "stopped"):
                with client.websocket_connect("/socket-later") as connection:
                    ids = connection.receive_json()
            assert client.portal is not None
            client.portal.call(queue.flush)
            tasks = {task["id"]: task["state"] for task in client.portal.call(queue.list)}
            assert [tasks[id] for id in ids] == ["enqueued"] * 3
    finally:
        _port.use(before)


def check_unavailable(client: TestClient, method: str, path: str) -> None:
    began = time.monotonic()
    answer = client.request(method, path)
    assert answer.status_code == 503, (path, answer.text)
    assert answer.json()["detail"], path
    assert time.monotonic() - began < 5, path


def test_a_duplicate_that_is_withdrawn_leaves_its_twin_alone(own_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_request, "WAIT_MAX", 0.5)
    queue = QueuedTasks(database=own_cluster.create("twins"))
    app = FastAPI(lifespan=queue.lifespan())

    @app.post("/add")
    async def add() -> str:
        return await queue.add_task(echo, 1, unique="one").get_task_id()

    with TestClient(app) as client:
        id = client.post("/add").json()
        with away(own_cluster, "frozen"):
            assert client.post("/add").status_code == 503
        eventually(lambda: client.post("/add").status_code == 200, 60, "the database")
        assert client.portal is not None
        client.portal.call(queue.flush)
        assert [(task["id"], task["state"]) for task in client.portal.call(queue.list)] == [(id, "enqueued")]


class AddsInAsgi:
    """A middleware that adds tasks."""

    queue: QueuedTasks

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/asgi":
            await self.queue.add_task(echo, "asgi").get_task_id()
        await self.app(scope, receive, send)


def application_with_middleware(queue: QueuedTasks, entered: bool) -> FastAPI:
    """Creates an application, with the queue's lifespan or its middleware, that raises outside of an endpoint, or
    raises an exception group."""
    app = FastAPI(lifespan=queue.lifespan() if entered else None)
    below = FastAPI()
    app.mount("/below", below)

    async def add_within(request: Any, call_next: Any) -> Any:
        if request.url.path.endswith("/base"):
            await queue.add_task(echo, "base").get_task_id()
        return await call_next(request)

    for each in (app, below):
        each.add_middleware(BaseHTTPMiddleware, dispatch=add_within)
    AddsInAsgi.queue = queue
    app.add_middleware(AddsInAsgi)
    if not entered:
        for each in (app, below):
            each.add_middleware(taskyard_fastapi.FlushMiddleware)

    async def group(tasks: QueuedTasks) -> None:
        async with anyio.create_task_group() as outer, anyio.create_task_group() as inner:
            outer.start_soon(tasks.add_task(echo, "outer").get_task_id)
            inner.start_soon(tasks.add_task(echo, "inner").get_task_id)

    @app.post("/group")
    @below.post("/group")
    async def by_module() -> None:
        await group(queue)

    @app.post("/group-of-dependency")
    async def by_dependency(tasks: TasksDep) -> None:
        await group(tasks)

    @app.post("/mixed")
    async def mixed() -> None:
        async with anyio.create_task_group() as outer:
            outer.start_soon(queue.add_task(echo, "mixed").get_task_id)
            try:
                await anyio.sleep(30)
            finally:
                raise ZeroDivisionError

    return app


@pytest.mark.parametrize("entered", [True, False], ids=["lifespan", "middleware"])
def test_what_is_raised_outside_of_an_endpoint_is_answered(
    own_cluster: Cluster, monkeypatch: pytest.MonkeyPatch, entered: bool
) -> None:
    monkeypatch.setattr(_request, "WAIT_MAX", 0.5)
    queue = QueuedTasks(database=own_cluster.create(f"outside_{entered}"))
    before = _port.use(queue._own)
    try:
        client = TestClient(application_with_middleware(queue, entered), raise_server_exceptions=False)
        with client if entered else contextlib.nullcontext():
            assert client.post("/group").status_code == 200
            with away(own_cluster, "frozen"):
                for path in ("/base", "/asgi", "/group", "/group-of-dependency", "/below/group", "/below/base"):
                    check_unavailable(client, "POST", path)
                assert client.post("/mixed").status_code == 500, "a fault of the application's own stays one"
    finally:
        _port.use(before)


def application_that_waits(queue: QueuedTasks) -> FastAPI:
    app = FastAPI(lifespan=queue.lifespan())
    app.include_router(taskyard_fastapi.task_router(allow_anyone=True))

    @app.post("/delayed")
    async def delayed(tasks: TasksDep) -> str:
        return await tasks.add_task(echo, "delayed", delay=3600).get_task_id()

    @app.get("/wait/{id}")
    async def wait(id: str, tasks: TasksDep) -> str:
        return (await tasks.get(id).outcome(30)).state

    @app.get("/result/{id}")
    def result(id: str) -> Any:
        return queue.get(id).result(30)

    @app.get("/watch/{id}")
    def watch(id: str) -> list[str]:
        return [event.type for event in queue.get(id).watch()]

    @app.get("/watch-since/{id}")
    def watch_since(id: str, seq: int, tasks: TasksDep) -> list[str]:
        return [event.type for event in tasks.get(id).watch(seq)]

    @app.post("/drain")
    async def drain(tasks: TasksDep) -> bool:
        return await tasks.queues.drain("default")

    return app


def test_what_waits_for_long_waits_no_longer_for_the_database(
    own_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is away before the request, or goes away while it waits for a task."""
    monkeypatch.setattr(_request, "WAIT_MAX", 3.0)
    queue = QueuedTasks(database=own_cluster.create("long"))
    before = _port.use(queue._own)
    try:
        with (
            TestClient(application_that_waits(queue)) as client,
            concurrent.futures.ThreadPoolExecutor(16) as threads,
            contextlib.ExitStack() as at_end,
        ):
            id = client.post("/delayed").json()
            # So that nothing continues to wait if this fails.
            at_end.callback(lambda: queue.get(id).cancel().result(60))
            seq = client.get(f"/task/{id}").json()["seq"]
            paths = [
                f"/wait/{id}",
                f"/result/{id}",
                f"/watch/{id}",
                f"/watch-since/{id}?seq={seq}",
                f"/task/{id}?wait=30&since={seq}",
                f"/task/{id}?wait=2.5&since={seq}",
            ]

            def ask(path: str) -> tuple[str, int, float]:
                status = client.get(path).status_code
                return path, status, time.monotonic()

            waiting = [threads.submit(ask, path) for path in paths[:-1]]
            # Longer than the limit for a database that is away.
            time.sleep(4)
            assert not any(each.done() for each in waiting), "the database answers"
            with away(own_cluster, "frozen"):
                began = time.monotonic()
                waiting += [threads.submit(ask, path) for path in paths]
                waiting.append(threads.submit(lambda: ("drain", client.post("/drain").status_code, time.monotonic())))
                for each in waiting:
                    path, status, ended = each.result(30)
                    assert (status, ended - began < 4.8) == (503, True), (path, ended - began)
    finally:
        _port.use(before)


def test_a_request_waits_for_a_task_as_long_as_the_database_answers(
    own_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_request, "WAIT_MAX", 0.5)
    queue = QueuedTasks(database=own_cluster.create("answers"))
    before = _port.use(queue._own)
    try:
        with (
            TestClient(application_that_waits(queue)) as client,
            concurrent.futures.ThreadPoolExecutor(4) as threads,
            contextlib.ExitStack() as at_end,
        ):
            id = client.post("/delayed").json()
            at_end.callback(lambda: client.post(f"/task/{id}/cancel"))
            seq = client.get(f"/task/{id}").json()["seq"]
            paths = [f"/wait/{id}", f"/watch/{id}", f"/task/{id}?wait=30&since={seq}"]
            waiting = [threads.submit(client.get, path) for path in paths]
            # Longer than the limit for a database that is away.
            time.sleep(2)
            assert not any(each.done() for each in waiting)
            assert client.post(f"/task/{id}/cancel").status_code == 202
            outcome, events, shown = [each.result(30).json() for each in waiting]
            assert (outcome, events[-1], shown["status"]) == ("cancelled", "cancelled", "cancelled")
    finally:
        _port.use(before)


@pytest.mark.parametrize("entered", [True, False], ids=["lifespan", "alone"])
def test_what_follows_the_response_waits_for_the_database(
    own_cluster: Cluster, monkeypatch: pytest.MonkeyPatch, entered: bool
) -> None:
    """A stream cannot change its status any more, and a background task has no response."""
    monkeypatch.setattr(_request, "WAIT_MAX", 0.5)
    queue = QueuedTasks(database=own_cluster.create(f"follows_{entered}"))
    before = _port.use(queue._own)
    app = FastAPI(lifespan=queue.lifespan() if entered else None)
    sending, streaming, adding, behind = (threading.Event() for _ in range(4))
    ids: list[str] = []

    @app.get("/sse/{id}")
    async def by_sse(id: str, tasks: TasksDep) -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            async for piece in sse(tasks, id):
                sending.set()
                yield piece

        return StreamingResponse(pieces())

    @app.get("/watch/{id}")
    async def by_watch(id: str, tasks: TasksDep) -> StreamingResponse:
        async def pieces() -> AsyncIterator[str]:
            async for event in tasks.get(id).watch():
                streaming.set()
                yield event.type

        return StreamingResponse(pieces())

    @app.post("/background")
    async def background(tasks: TasksDep, later: BackgroundTasks) -> None:
        async def add() -> None:
            adding.set()
            await anyio.to_thread.run_sync(behind.wait)
            ids.append(await tasks.add_task(echo, "later").get_task_id())

        later.add_task(add)

    try:
        client = TestClient(app)
        with client if entered else contextlib.nullcontext(), concurrent.futures.ThreadPoolExecutor(4) as threads:
            id = asyncio.run(add_delayed(queue))
            waiting = [threads.submit(client.get, f"/{how}/{id}") for how in ("sse", "watch")]
            waiting.append(threads.submit(client.post, "/background"))
            assert all(begun.wait(30) for begun in (sending, streaming, adding))
            with away(own_cluster, "frozen"):
                behind.set()
                # Longer than the limit for a request.
                time.sleep(2)
                assert not any(each.done() for each in waiting)
            queue.get(id).cancel().result(60)
            followed, watched, added = [each.result(60) for each in waiting]
            assert "event: cancelled" in followed.text and watched.text.endswith("cancelled")
            assert added.status_code == 200 and len(ids) == 1
    finally:
        behind.set()
        _port.use(before)


async def add_delayed(queue: QueuedTasks) -> str:
    return await queue.add_task(echo, "delayed", delay=3600).get_task_id()


WEB = """
    from fastapi import FastAPI
    from taskyard import QueuedTasks, TasksDep

    queue = QueuedTasks()
    web = FastAPI(lifespan=queue.lifespan(workers=1))

    async def echo(value):
        return value

    @web.get("/watch/{id}")
    async def watch(id: str, tasks: TasksDep):
        async for event in tasks.get(id).watch():
            print("watching", event.type, flush=True)

    @web.get("/wait/{id}")
    async def wait(id: str, tasks: TasksDep):
        print("waiting", flush=True)
        return await tasks.get(id).wait()

    @web.get("/result/{id}")
    def result(id: str):
        print("waiting", flush=True)
        return queue.get(id).result()

    @web.get("/watch-in-a-thread/{id}")
    def watch_in_a_thread(id: str):
        for event in queue.get(id).watch():
            print("waiting", flush=True)

    @web.post("/delayed")
    async def delayed(tasks: TasksDep):
        return await tasks.add_task(echo, 1, delay=3600).get_task_id()

    @web.post("/add")
    async def add(tasks: TasksDep):
        return await tasks.add_task(echo, 1).get_task_id()
"""


@pytest.mark.parametrize("when", ["at-start", "later"])
def test_uvicorn_ends_while_the_database_is_away(
    own_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, when: str
) -> None:
    database = own_cluster.create(f"ends_{when.replace('-', '_')}")
    with Project(tmp_path_factory.mktemp("web"), database) as project:
        project.write("web.py", WEB)
        project.env["TASKYARD_SHUTDOWN_GRACE"] = "1"
        python = os.path.join(os.path.dirname(COMMAND), "python")
        with contextlib.ExitStack() as stack:
            if when == "at-start":
                stack.enter_context(away(own_cluster, "frozen"))
            command = [python, "-m", "uvicorn", "web:web", "--port=0"]
            server = Process(command, project.directory, project.env)
            project._started.append(server)
            server.says("Uvicorn running", 40)
            port = next(line for line in server.lines if "Uvicorn running" in line).split(":")[-1].split()[0]
            if when == "later":
                answer = httpx.post(f"http://127.0.0.1:{port}/add", timeout=20)
                assert answer.status_code == 200, answer.text
                id = httpx.post(f"http://127.0.0.1:{port}/delayed", timeout=20).json()
                follower = stack.enter_context(concurrent.futures.ThreadPoolExecutor(1))
                watched = follower.submit(httpx.get, f"http://127.0.0.1:{port}/watch/{id}", timeout=60)
                server.says("watching snapshot", 60)
                stack.enter_context(away(own_cluster, "frozen"))
            began = time.monotonic()
            answer = httpx.post(f"http://127.0.0.1:{port}/add", timeout=20)
            assert (answer.status_code, time.monotonic() - began < 10) == (503, True), answer.text
            began = time.monotonic()
            server.signal(signal.SIGTERM)
            server.wait(30)
            assert time.monotonic() - began < 20, server.output
            if when == "later":
                assert watched.result(10).status_code == 503


@pytest.mark.parametrize("how", ["wait", "result", "watch-in-a-thread"])
def test_uvicorn_ends_while_a_request_waits_for_a_task(sqlite_project: Project, how: str) -> None:
    sqlite_project.write("web.py", WEB)
    python = os.path.join(os.path.dirname(COMMAND), "python")
    server = Process([python, "-m", "uvicorn", "web:web", "--port=0"], sqlite_project.directory, sqlite_project.env)
    sqlite_project._started.append(server)
    server.says("Uvicorn running", 40)
    port = next(line for line in server.lines if "Uvicorn running" in line).split(":")[-1].split()[0]
    id = httpx.post(f"http://127.0.0.1:{port}/delayed", timeout=20).json()
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(httpx.get, f"http://127.0.0.1:{port}/{how}/{id}", timeout=60)
        server.says("waiting", 60)
        server.signal(signal.SIGTERM)
        server.wait(30)
        assert waiting.result(10).status_code == 503
