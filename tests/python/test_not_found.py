"""A request for a task that does not exist leads to a 404 where the application does not handle the error."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.responses import JSONResponse as Plain
from starlette.routing import Route
from taskyard import QueuedTasks, TaskNotFound, TasksDep

NO_IDS = [str(uuid.uuid4()), "nonsense", "1", "%00", "٣", str(uuid.uuid4())[:-1], "a" * 3000]

#: Requests that an endpoint may make, by name.
QUESTIONS = {
    "state": lambda ref: ref.get_state(),
    "progress": lambda ref: ref.get_progress(),
    "context": lambda ref: ref.get_context(),
    "logs": lambda ref: ref.get_logs(),
    "attempts": lambda ref: ref.get_attempts(),
    "record": lambda ref: ref.record(),
    "wait": lambda ref: ref.wait(timeout=10),
    "cancel": lambda ref: ref.cancel(),
    "retry": lambda ref: ref.retry(),
}


def application(queue: QueuedTasks, has_lifespan: bool = True) -> FastAPI:
    app = FastAPI(lifespan=queue.lifespan() if has_lifespan else None)

    @app.get("/{what}/{id}")
    async def ask(what: str, id: str, tasks: TasksDep) -> Any:
        return await QUESTIONS[what](tasks.get(id))

    @app.get("/{what}/{id}/by_module")
    async def ask_by_module(what: str, id: str) -> Any:
        return await QUESTIONS[what](queue.get(id))

    @app.get("/{what}/{id}/in_thread")
    def ask_in_thread(what: str, id: str, tasks: TasksDep) -> Any:
        return QUESTIONS[what](tasks.get(id)).result(10)

    @app.websocket("/socket/{id}")
    async def socket(id: str, websocket: WebSocket, tasks: TasksDep) -> None:
        await websocket.accept()
        try:
            await tasks.get(id).get_state()
        except TaskNotFound as error:
            await websocket.send_text(error.message)
        await websocket.close()

    return app


@pytest.mark.parametrize("what", QUESTIONS)
@pytest.mark.parametrize("has_lifespan", [True, False])
def test_a_task_that_does_not_exist_is_a_404(queue: QueuedTasks, what: str, has_lifespan: bool) -> None:
    with TestClient(application(queue, has_lifespan)) as client:
        for id in NO_IDS:
            answer = client.get(f"/{what}/{id}")
            assert (answer.status_code, "task" in answer.json()["detail"]) == (404, True), (id, answer.text)
            if has_lifespan:
                assert client.get(f"/{what}/{id}/by_module").status_code == 404
            assert client.get(f"/{what}/{id}/in_thread").status_code == 404


def test_a_handler_of_the_application_goes_first(queue: QueuedTasks) -> None:
    app = application(queue)

    @app.exception_handler(TaskNotFound)
    async def gone(request: Request, error: TaskNotFound) -> JSONResponse:
        return JSONResponse({"gone": error.message}, 410)

    with TestClient(app) as client:
        for id in NO_IDS:
            assert client.get(f"/state/{id}").status_code == 410


def test_a_websocket_has_the_error_itself(queue: QueuedTasks) -> None:
    with TestClient(application(queue)) as client, client.websocket_connect("/socket/nonsense") as socket:
        assert "task" in socket.receive_text()


def test_starlette_answers_it_too(queue: QueuedTasks) -> None:
    async def state(request: Any) -> Plain:
        return Plain(await queue.get(request.path_params["id"]).get_state())

    with TestClient(Starlette(routes=[Route("/{id}", state)], lifespan=queue.lifespan())) as client:
        for id in NO_IDS:
            assert client.get(f"/{id}").status_code == 404


async def test_outside_of_a_request_it_is_the_plain_error(queue: QueuedTasks) -> None:
    for id in NO_IDS:
        with pytest.raises(TaskNotFound) as raised:
            await queue.get(id).get_state()
        assert not hasattr(raised.value, "status_code")
