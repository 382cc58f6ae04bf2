"""FastAPI: three ways to declare the dependency, no success before the tasks are durable, contexts of concurrent
requests kept apart."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import uuid
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Annotated, Any
from unittest.mock import AsyncMock, create_autospec

import httpx
import psycopg
import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, Request, WebSocket
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from support.postgres import Cluster
from taskyard import (
    INJECTED,
    FunctionRefused,
    Inject,
    QueuedTaskRef,
    QueuedTasks,
    TasksDep,
    _hooks,
    _request,
    errors,
    events,
    get_service,
    on_post_create,
    on_pre_create,
)
from taskyard import fastapi as taskyard_fastapi
from taskyard.dependencies import register_service, unregister_service


async def echo(value: Any) -> Any:
    return value


router = APIRouter()


@router.post("/annotated")
async def annotated(tasks: Annotated[QueuedTasks, Depends()]) -> str:
    return tasks.add_task(echo, "annotated").id


@router.post("/inject")
async def inject(tasks: QueuedTasks = Inject(QueuedTasks)) -> str:
    return tasks.add_task(echo, "inject").id


@router.post("/dep")
async def dep(tasks: TasksDep) -> str:
    return tasks.add_task(echo, "dep").id


@router.post("/sync")
def sync(tasks: TasksDep) -> str:
    return tasks.add_task(echo, "sync").id


@router.post("/nowait")
async def nowait(tasks: TasksDep) -> str:
    return tasks.nowait.add_task(echo, "nowait", parent=str(uuid.uuid4())).id


@router.post("/unknown-parent")
async def unknown_parent(tasks: TasksDep) -> str:
    return tasks.add_task(echo, "orphan", parent=str(uuid.uuid4())).id


@router.get("/state/{id}")
async def state(id: str, tasks: TasksDep) -> Any:
    return await tasks.get(id).wait(20)


@router.websocket("/socket")
async def socket(socket: WebSocket, tasks: TasksDep) -> None:
    await socket.accept()
    await socket.send_text(await tasks.add_task(echo, "socket").get_task_id())
    await socket.close()


def application(queue: QueuedTasks, **options: Any) -> FastAPI:
    app = FastAPI(lifespan=queue.lifespan(**options))
    app.include_router(router)
    return app


def test_three_spellings_wait_until_the_tasks_are_durable(queue: QueuedTasks) -> None:
    app = application(queue, workers=1)
    with TestClient(app) as client:
        for path in ("annotated", "inject", "dep", "sync"):
            answer = client.post(f"/{path}")
            assert answer.status_code == 200, answer.text
            # The task exists: another handle reads it from the database.
            assert client.get(f"/state/{answer.json()}").json() == path
        with client.websocket_connect("/socket") as connection:
            assert uuid.UUID(connection.receive_text())


def test_nothing_leaks_into_openapi(queue: QueuedTasks) -> None:
    paths = application(queue).openapi()["paths"]
    for path in ("/annotated", "/inject", "/dep", "/sync"):
        assert "parameters" not in paths[path]["post"] and "requestBody" not in paths[path]["post"]


def test_what_cannot_be_stored_is_a_503_with_its_cause(queue: QueuedTasks) -> None:
    with TestClient(application(queue)) as client:
        answer = client.post("/unknown-parent")
        assert answer.status_code == 503
        assert "names a parent that does not exist" in answer.json()["detail"]
        assert client.post("/nowait").status_code == 200


def test_a_database_that_is_away_is_a_503_and_nothing_runs_later(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from taskyard import _port

    monkeypatch.setattr(_request, "WAIT_MAX", 0.5)
    with Cluster(tmp_path_factory.mktemp("away")) as cluster:
        queue = QueuedTasks(database=cluster.create("away"))
        before = _port.use(queue._own)
        try:
            with TestClient(application(queue)) as client:
                assert client.post("/dep").status_code == 200
                cluster.stop()
                answer = client.post("/dep")
                assert answer.status_code == 503 and "has not answered" in answer.json()["detail"]
                cluster.start()
                refused = client.portal.call(queue.list) if client.portal else []  # type: ignore[misc]
                states = sorted(task["state"] for task in refused)
                assert states in (["cancelled", "enqueued"], ["enqueued"]), states
        finally:
            _port.use(before)


who: ContextVar[str] = ContextVar("who", default="nobody")


async def test_concurrent_requests_store_their_own_identity(queue: QueuedTasks) -> None:
    app = application(queue)

    @app.middleware("http")
    async def identify(request: Request, call_next: Any) -> Any:
        who.set(request.headers["x-user"])
        return await call_next(request)

    seen: list[tuple[str, str]] = []

    @on_pre_create
    async def waits(task: Any) -> None:
        await asyncio.sleep(0.01 if who.get() != "user-2" else 0)
        task.context["user"] = who.get()

    @on_pre_create
    def plain(task: Any) -> None:
        task.context["second"] = who.get()

    @on_post_create
    async def stored(task: Any) -> None:
        seen.append((task.id, who.get()))

    try:
        async with queue, httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            answers = await asyncio.gather(
                *(client.post("/dep", headers={"x-user": f"user-{number}"}) for number in range(8))
            )
            for number, answer in enumerate(answers):
                assert answer.status_code == 200, answer.text
                context = await queue.get(answer.json()).get_context()
                assert context == {"user": f"user-{number}", "second": f"user-{number}"}
        assert len(seen) == 8 and {user for _, user in seen} == {f"user-{number}" for number in range(8)}
    finally:
        _hooks.clear()


async def test_a_failing_pre_create_hook_refuses_the_task(queue: QueuedTasks) -> None:
    @on_pre_create
    def refuses(task: Any) -> None:
        raise PermissionError("not you")

    try:
        with pytest.raises(PermissionError, match="not you"):
            queue.add_task(echo, 1)
        _hooks.clear()

        @on_pre_create
        async def refuses_later(task: Any) -> None:
            await asyncio.sleep(0)
            raise PermissionError("not you either")

        async with queue:
            ref = queue.add_task(echo, 1)
            child = queue.add_task(echo, 2, parent=ref)
            with pytest.raises(PermissionError):
                await ref.get_task_id()
            with pytest.raises(Exception, match="not you either|does not exist"):
                await child.get_task_id()
            assert await queue.list() == []
    finally:
        _hooks.clear()


class Session:
    opened = 0
    closed = 0

    def __init__(self, name: str) -> None:
        self.name = name


def settings_of() -> dict[str, str]:
    return {"name": "real"}


def get_session(settings: Annotated[dict[str, str], Depends(settings_of)]) -> Iterator[Session]:
    Session.opened += 1
    yield Session(settings["name"])
    Session.closed += 1


async def get_async(session: Session = Depends(get_session)) -> AsyncIterator[str]:
    try:
        yield f"async {session.name}"
    finally:
        Session.closed += 10


async def uses_dependencies(
    value: int,
    session: Session = Depends(get_session),
    other: Annotated[str, Depends(get_async)] = INJECTED,
    tasks: QueuedTasks = Inject(QueuedTasks),
) -> list[Any]:
    further = tasks.add_task(echo, "from within")
    return [value, session.name, other, await further.wait(20)]


def test_dependencies_of_tasks_are_resolved_by_the_worker(queue: QueuedTasks) -> None:
    Session.opened = Session.closed = 0
    app = application(queue, workers=1)

    @app.post("/use")
    async def use(tasks: TasksDep) -> Any:
        return await tasks.add_task(uses_dependencies, 5).wait(20)

    with TestClient(app) as client:
        answer = client.post("/use")
        assert answer.json() == [5, "real", "async real", "from within"]
        assert (Session.opened, Session.closed) == (1, 11), "cached for the attempt, and closed"
        app.dependency_overrides[settings_of] = lambda: {"name": "overridden"}
        assert client.post("/use").json()[1:3] == ["overridden", "async overridden"]


def needs_a_request(request: Request) -> str:
    return str(request.url)


def needs_a_header(token: Annotated[str, Header()]) -> str:
    return token


def nested(url: str = Depends(needs_a_request)) -> str:
    return url


async def wants_a_request(url: str = Depends(nested)) -> None: ...


async def wants_a_header(token: str = Depends(needs_a_header)) -> None: ...


async def test_what_only_a_request_has_is_refused_with_its_path(queue: QueuedTasks) -> None:
    for function, path in [(wants_a_request, "url -> url"), (wants_a_header, "token")]:
        with pytest.raises(FunctionRefused, match=path):
            queue.add_task(function)


def test_lifespan_composes_and_mounted_applications_see_the_queue(queue: QueuedTasks) -> None:
    order = []

    @contextlib.asynccontextmanager
    async def mine(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        order.append("begin")
        yield {"mine": "yes"}
        order.append("end")

    app = FastAPI(lifespan=queue.lifespan(mine))
    below = FastAPI()

    @below.get("/")
    async def look(request: Request) -> list[Any]:
        return [request.state.mine, isinstance(request.state.tasks, QueuedTasks)]

    app.mount("/below", below)
    with TestClient(app) as client:
        assert client.get("/below/").json() == ["yes", True]
        assert isinstance(app.state.tasks, QueuedTasks)
    assert order == ["begin", "end"]


def test_the_lifespans_queue_is_what_endpoints_get(database: str) -> None:
    queue = QueuedTasks(database=database, max_retries=7)
    with TestClient(application(queue, workers=1)) as client:
        id = client.post("/dep").json()
        assert client.get(f"/state/{id}").json() == "dep"
        record = client.portal.call(queue.get(id).record) if client.portal else {}  # type: ignore[misc]
        assert record["retry"]["max_retries"] == 7


def test_the_router(queue: QueuedTasks) -> None:
    app = application(queue, workers=1)
    app.include_router(taskyard_fastapi.router(allow_anyone=True), prefix="/tasks")
    with TestClient(app) as client:
        id = client.post("/dep").json()
        client.get(f"/state/{id}")
        shown = client.get(f"/tasks/{id}").json()
        assert (shown["id"], shown["state"]) == (id, "done")
        assert client.get(f"/tasks/{id}/logs").json() == []
        assert client.post(f"/tasks/{id}/cancel").status_code == 409
        assert client.get(f"/tasks/{uuid.uuid4()}").status_code == 404
        assert client.get("/tasks/nonsense").status_code == 404
        assert client.get(f"/tasks/{uuid.uuid4()}/logs").status_code == 404


@pytest.mark.parametrize("spelling", ["{}", "%20{}", "{}%0A", "{}%20", "%7B{}%7D", "urn:uuid:{}", "{}%00", "%09{}"])
def test_a_task_that_is_refused_is_refused_however_its_id_is_spelled(queue: QueuedTasks, spelling: str) -> None:
    app = application(queue)
    secret = ""

    def may_see(_: Any, id: str) -> bool:
        return id != secret

    app.include_router(taskyard_fastapi.router(allow=may_see), prefix="/tasks")
    app.include_router(taskyard_fastapi.task_router(allow=may_see))
    with TestClient(app) as client:
        secret, other = client.post("/dep").json(), client.post("/dep").json()
        assert client.get(f"/tasks/{other}").status_code == client.get(f"/task/{other}").status_code == 200
        for text in (secret, secret.upper(), secret.replace("-", "")):
            asked = spelling.format(text)
            for path in (f"/tasks/{asked}", f"/tasks/{asked}/logs", f"/task/{asked}", f"/tasks/events?ids={asked}"):
                assert client.get(path).status_code in (403, 404), path
            for path in (f"/tasks/{asked}/cancel", f"/task/{asked}/cancel"):
                assert client.post(path).status_code in (403, 404), path


@pytest.mark.filterwarnings("ignore:coroutine .sleep. was never awaited")
@pytest.mark.parametrize("answer", ["no", (False, "no"), JSONResponse("no", 403), NotImplemented])
def test_only_true_allows(queue: QueuedTasks, answer: Any) -> None:
    async def forgets_to_await(_: Any, id: str) -> Any:
        return asyncio.sleep(0, False)

    for allow in (lambda _, id: answer, forgets_to_await):
        app = application(queue)
        app.include_router(taskyard_fastapi.router(allow=allow), prefix="/tasks")
        app.include_router(taskyard_fastapi.task_router(allow=allow))
        with TestClient(app, raise_server_exceptions=False) as client:
            id = client.post("/dep").json()
            for path in (f"/tasks/{id}", f"/task/{id}"):
                assert client.get(path).status_code == 500, path
    app = application(queue)
    app.include_router(taskyard_fastapi.task_router(allow=lambda _, id: None))  # type: ignore[arg-type, return-value]
    with TestClient(app) as client:
        assert client.get(f"/task/{client.post('/dep').json()}").status_code == 403


def test_what_allow_raises_of_the_queue_is_answered(queue: QueuedTasks) -> None:
    app = application(queue)

    async def may_see(_: Any, id: str) -> bool:
        return bool((await queue.get(id).get_context()).get("owner"))

    app.include_router(taskyard_fastapi.router(allow=may_see), prefix="/tasks")
    app.include_router(taskyard_fastapi.task_router(allow=may_see))
    with TestClient(app) as client:
        for id in (str(uuid.uuid4()), "nonsense"):
            for path in (f"/tasks/{id}", f"/task/{id}"):
                assert client.get(path).status_code == 404, path
        assert client.get(f"/tasks/{client.post('/dep').json()}").status_code == 403


def test_a_database_that_fails_is_not_a_fault_of_the_client() -> None:
    for error in (errors.QueueUnavailable(), errors.DatabaseError(), errors.ShutDown()):
        assert events.status_of(error) == 503
    assert (events.status_of(errors.WrongState()), events.status_of(errors.TaskNotFound())) == (409, 404)
    assert events.status_of(errors.SettingError()) == 500


def test_plain_starlette_waits_by_a_middleware(queue: QueuedTasks) -> None:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def good(request: Request) -> JSONResponse:
        return JSONResponse(QueuedTasks(connection=request).add_task(echo, 1).id)

    async def bad(request: Request) -> JSONResponse:
        return JSONResponse(QueuedTasks(connection=request).add_task(echo, 1, parent=str(uuid.uuid4())).id)

    app = Starlette(
        routes=[Route("/good", good), Route("/bad", bad)],
        lifespan=queue.lifespan(),
        middleware=[Middleware(taskyard_fastapi.FlushMiddleware)],
    )
    with TestClient(app) as client:
        id = client.get("/good").json()
        assert client.portal is not None
        assert client.portal.call(queue.get(id).record)["id"] == id  # type: ignore[arg-type]
        answer = client.get("/bad")
        assert answer.status_code == 503 and "does not exist" in answer.json()["detail"]


def test_a_registered_double_is_what_every_spelling_gets(queue: QueuedTasks) -> None:
    double = AsyncMock()
    double.add_task.return_value.id = "test-123"
    register_service(double, QueuedTasks, force=True)
    try:
        client = TestClient(application(queue))
        for path in ("annotated", "inject", "dep", "sync"):
            assert client.post(f"/{path}").json() == "test-123"
        assert double.add_task.call_count == 4
    finally:
        unregister_service(QueuedTasks)


@pytest.mark.parametrize(
    "double",
    [AsyncMock(), AsyncMock(spec=QueuedTasks), create_autospec(QueuedTasks, instance=True)],
    ids=["bare", "spec", "auto"],
)
async def test_a_double_answers_what_is_awaited_and_what_is_not(double: Any) -> None:
    register_service(double, QueuedTasks, force=True)
    try:
        tasks = get_service(QueuedTasks)
        double.list.return_value = [{"id": "1"}]
        assert await tasks.list(limit=5) == [{"id": "1"}]
        double.add_task.return_value = create_autospec(QueuedTaskRef, instance=True)
        ref = tasks.add_task(echo, 1)
        double.add_task.return_value.get_state.return_value = "done"
        double.add_task.return_value.wait.return_value = 5
        assert await ref.get_state() == "done" and await ref.wait(5) == 5
    finally:
        unregister_service(QueuedTasks)


def test_services() -> None:
    class Mailer:
        pass

    mailer = Mailer()
    register_service(mailer)
    assert get_service(Mailer) is mailer
    with pytest.raises(Exception, match="registered"):
        register_service(Mailer())
    register_service(Mailer, Mailer, force=True)
    assert get_service(Mailer) is get_service(Mailer) and get_service(Mailer) is not mailer
    unregister_service(Mailer)
    with pytest.raises(LookupError, match="Mailer"):
        get_service(Mailer)
    unregister_service(Mailer)

    app = FastAPI()

    @app.get("/")
    async def look(service: Mailer = Inject(Mailer)) -> bool:
        return service is mailer

    register_service(mailer, Mailer)
    try:
        assert TestClient(app).get("/").json() is True
    finally:
        unregister_service(Mailer)


async def test_a_long_request_keeps_only_references_that_are_not_settled(postgres: str) -> None:
    """A websocket, and an endpoint, that add without end, in the application's own transactions and outside."""
    queue = QueuedTasks(database=postgres)
    app = FastAPI(lifespan=queue.lifespan())

    def kept() -> int:
        gc.collect()
        return sum(isinstance(each, QueuedTaskRef) for each in gc.get_objects())

    @app.websocket("/add/{how}")
    async def add_by_socket(how: str, socket: WebSocket, tasks: TasksDep) -> None:
        await socket.accept()
        engine = create_async_engine(postgres.replace("postgresql:", "postgresql+psycopg:"))
        async with await psycopg.AsyncConnection.connect(postgres) as connection, AsyncSession(engine) as session:
            before = kept()
            async for text in socket.iter_text():
                if how == "outside":
                    await tasks.add_task(echo, text).get_task_id()
                elif how == "psycopg":
                    await tasks.add_task(echo, text, connection=connection)
                    await connection.commit()
                elif how == "session":
                    await tasks.add_task(echo, text, connection=session)
                    await session.commit()
                else:
                    # Not awaited: the commit writes it.
                    tasks.add_task(echo, text, connection=session)
                    await session.commit()
                await socket.send_text(str(kept() - before))
        await engine.dispose()

    @app.post("/many")
    async def add_many(tasks: TasksDep) -> int:
        before = kept()
        for number in range(50):
            await tasks.add_task(echo, str(number)).get_task_id()
        return kept() - before

    with TestClient(app) as client:
        for how in ("outside", "psycopg", "session", "commit"):
            with client.websocket_connect(f"/add/{how}") as socket:
                most = 0
                for number in range(50):
                    socket.send_text(str(number))
                    most = max(most, int(socket.receive_text()))
            assert most <= 2, f"{how}: {most} of 50 are kept"
        assert client.post("/many").json() <= 2
    assert len(await queue.list(limit=1000)) == 250
