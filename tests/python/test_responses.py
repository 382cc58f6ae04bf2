"""The tasks that a response waits for, and the errors that lead to a 503: in applications with the queue's lifespan,
its middleware, or neither."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import uuid
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from taskyard import InvalidArgument, QueuedTaskRef, QueuedTasks, TasksDep, _port, _response, errors
from taskyard import fastapi as taskyard_fastapi


async def echo(value: Any) -> Any:
    return value


async def orphan(tasks: QueuedTasks, fails: int = 0) -> str:
    refs = tasks.add_tasks([tasks.call(echo, number, parent=str(uuid.uuid4())) for number in range(2)])
    if fails:
        raise HTTPException(fails, "fails")
    return await refs[1].get_task_id()


@pytest.mark.parametrize("entered", [True, False], ids=["lifespan", "alone"])
def test_an_error_that_the_endpoint_has_heard_of_is_its_own(queue: QueuedTasks, entered: bool) -> None:
    app = FastAPI(lifespan=queue.lifespan() if entered else None)

    @app.post("/raised")
    async def raised(tasks: TasksDep, fails: int = 0) -> str:
        return await orphan(tasks, fails)

    @app.post("/caught")
    async def caught(tasks: TasksDep) -> str:
        try:
            return await orphan(tasks)
        except errors.UnknownParent as error:
            return f"caught: {error.message}"

    client = TestClient(app)
    with client if entered else contextlib.nullcontext():
        with pytest.raises(errors.UnknownParent):
            client.post("/raised")
        assert "does not exist" in client.post("/caught").json()
        assert client.post("/raised?fails=404").status_code == 404, "the response reports an error as it is"

    @app.exception_handler(errors.UnknownParent)
    async def answers(_: Any, error: errors.UnknownParent) -> JSONResponse:
        return JSONResponse(error.message, 422)

    app.middleware_stack = None
    with client if entered else contextlib.nullcontext():
        assert client.post("/raised").status_code == 422


@pytest.mark.parametrize("entered", [True, False], ids=["lifespan", "alone"])
def test_a_database_that_fails_is_a_503(postgres: str, entered: bool) -> None:
    queue = QueuedTasks(database=postgres)
    before = _port.use(queue._own)
    app = FastAPI(lifespan=queue.lifespan() if entered else None)

    @app.get("/list")
    async def listed(tasks: TasksDep) -> int:
        return len(await tasks.list())

    @app.get("/caught")
    async def caught(tasks: TasksDep) -> str:
        try:
            await tasks.list()
        except errors.DatabaseError as error:
            return error.code
        return ""

    client = TestClient(app)
    try:
        with client if entered else contextlib.nullcontext():
            assert client.get("/list").json() == 0
            with psycopg.connect(postgres, autocommit=True) as connection:
                connection.execute("DROP SCHEMA taskyard CASCADE")
            answer = client.get("/list")
            assert answer.status_code == 503 and "schema" in answer.json()["detail"], answer.text
            assert client.get("/caught").json() == "schema_too_old"
    finally:
        _port.use(before)


class Late(Exception):
    """An exception whose handler adds a task and responds with a success."""


def application_that_adds_late(queue: QueuedTasks, **options: Any) -> FastAPI:
    """An application that adds tasks after FastAPI's dependencies have ended."""
    app = FastAPI(**options)

    @app.post("/handler")
    async def raises() -> None:
        raise Late

    @app.post("/used-and-handler")
    async def uses_and_raises(tasks: TasksDep) -> None:
        tasks.add_task(echo, "used")
        raise Late

    @app.post("/call-next")
    @app.post("/early")
    async def adds(tasks: TasksDep) -> None:
        tasks.add_task(echo, "used")

    @app.exception_handler(Late)
    async def handler(request: Request, _: Late) -> JSONResponse:
        return JSONResponse(QueuedTasks(connection=request).add_task(echo, "handler").id)

    @app.middleware("http")
    async def behind(request: Request, call_next: Any) -> Any:
        early = QueuedTasks(connection=request)
        answer = await call_next(request)
        if request.url.path.endswith("/call-next"):
            return JSONResponse(QueuedTasks(connection=request).add_task(echo, "behind").id)
        if request.url.path.endswith("/early"):
            return JSONResponse(early.add_task(echo, "behind").id)
        return answer

    return app


LATE = ("/handler", "/used-and-handler", "/call-next", "/early")


def test_no_response_overtakes_what_was_added_late(queue: QueuedTasks, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    async def is_stored(ref: Any, failed: bool) -> None:
        await stored(ref, failed)
        seen.append(ref._id)

    stored = QueuedTaskRef._before_response
    monkeypatch.setattr(QueuedTaskRef, "_before_response", is_stored)
    entered, flushed = application_that_adds_late(queue, lifespan=queue.lifespan()), application_that_adds_late(queue)
    flushed.add_middleware(taskyard_fastapi.FlushMiddleware)
    with TestClient(entered) as client:
        for path in LATE:
            assert client.post(path).json() in seen, path
    client = TestClient(flushed)
    for path in LATE:
        assert client.post(path).json() in seen, path


@pytest.mark.parametrize("entered", [True, False], ids=["lifespan", "alone"])
def test_what_is_added_while_a_response_waits_is_stored_before_it(
    queue: QueuedTasks, monkeypatch: pytest.MonkeyPatch, entered: bool
) -> None:
    app = FastAPI(lifespan=queue.lifespan() if entered else None)
    stored: list[Any] = []
    before_response = QueuedTaskRef._before_response

    @app.post("/")
    async def add(tasks: TasksDep) -> None:
        async def settled(ref: Any, failed: bool) -> None:
            if not stored:
                tasks.add_task(echo, "meanwhile")
            await before_response(ref, failed)
            stored.append(ref)

        monkeypatch.setattr(QueuedTaskRef, "_before_response", settled)
        tasks.add_task(echo, "first")

    client = TestClient(app)
    with client if entered else contextlib.nullcontext():
        assert client.post("/").status_code == 200
        assert len(stored) == 2


def test_what_no_response_would_wait_for_is_refused(queue: QueuedTasks) -> None:
    client = TestClient(application_that_adds_late(queue))
    for path in LATE:
        with pytest.raises(InvalidArgument, match=r"TasksDep.*FlushMiddleware"):
            client.post(path)


@pytest.mark.parametrize("entered", [True, False], ids=["lifespan", "alone"])
def test_a_dependency_may_add_when_its_endpoint_fails(queue: QueuedTasks, entered: bool) -> None:
    app = FastAPI(lifespan=queue.lifespan() if entered else None)
    added: list[QueuedTaskRef[Any]] = []

    async def audit(tasks: TasksDep) -> AsyncIterator[None]:
        try:
            yield
        finally:
            added.append(tasks.add_task(echo, "seen"))

    @app.post("/", dependencies=[Depends(audit)])
    async def fails(number: int) -> None:
        raise HTTPException(404, "fails")

    client = TestClient(app)
    with client if entered else contextlib.nullcontext():
        for path, status in (("/?number=1", 404), ("/", 422)):
            assert client.post(path).status_code == status
            assert added[-1]._known, "the response waited for it"


def test_an_endpoint_may_start_a_task_that_adds_without_end(queue: QueuedTasks) -> None:
    app = FastAPI(lifespan=queue.lifespan())
    ended = False
    adding: list[Any] = []

    @app.post("/")
    async def starts(tasks: TasksDep) -> None:
        async def add() -> None:
            while not ended:
                tasks.add_task(echo, "more")
                await asyncio.sleep(0)

        adding.append(asyncio.create_task(add()))
        await asyncio.sleep(0)

    with TestClient(app) as client:
        answer = client.post("/")
        ended = True
        assert answer.status_code == 200, answer.text


def test_what_is_mounted_may_have_applications_without_end(queue: QueuedTasks) -> None:
    class Endless:
        @property
        def app(self) -> Endless:
            assert len(made) < 10_000
            made.append(Endless())
            return made[-1]

    made: list[Endless] = []
    app = FastAPI(lifespan=queue.lifespan())
    app.mount("/mock", Endless())  # type: ignore[arg-type]
    with TestClient(app) as client:
        assert client.get("/openapi.json").status_code == 200


class Silent:
    """A reference that is never stored."""

    _is_reported = _known = False
    is_withdrawn = False

    def _source(self) -> int:
        return id(self)

    async def _before_response(self, failed: bool) -> None:
        await asyncio.sleep(60)

    def _withdraw(self, error: BaseException) -> None:
        self.is_withdrawn = True


def test_a_wait_that_is_given_up_logs_no_error_of_asyncio() -> None:
    logged: list[Any] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
        ref: Any = Silent()
        with pytest.raises(errors.QueueUnavailable):
            await _response.flush([ref], timeout=0.01)
        assert ref.is_withdrawn
        await asyncio.sleep(0.01)
        gc.collect()

    asyncio.run(main())
    assert not logged
