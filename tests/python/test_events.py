"""Tasks over real HTTP: streams, resuming, polling, cancelling; in FastAPI, as an ASGI application, and in Nexios."""

from __future__ import annotations

import asyncio
import json
import pathlib
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.ports import free_port
from support.project import Process, Project
from support.waiting import eventually
from taskyard import QueuedTasks
from taskyard.events import TaskRoutes, _may_be_removed, frame, last_event_id
from test_quickstart import answers

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples" / "python"

APP = """
    import asyncio, pathlib
    from fastapi import FastAPI, Request
    from taskyard import QueuedTasks, TasksDep, get_current_task
    from taskyard.events import TaskRoutes
    from taskyard.fastapi import task_router
    from taskyard.queued_task import set_context

    tasks = QueuedTasks()
    app = FastAPI(lifespan=tasks.lifespan())

    async def allow(request: Request, id: str) -> bool:
        return request.headers.get("x-user") != "mallory"

    app.include_router(task_router(tasks, allow=allow, ping=0.5))
    app.mount("/mounted", TaskRoutes(tasks, allow_anyone=True))

    async def until(path: str) -> str:
        number = 0
        while not pathlib.Path(path).exists():
            number += 1
            set_context("progress", {"completed": number, "total": 1000, "elapsed": number * 0.05})
            await asyncio.sleep(0.05)
        return "through"

    async def thrice(path: str) -> int:
        attempt = get_current_task().attempt
        while not pathlib.Path(path + str(attempt)).exists():
            await asyncio.sleep(0.01)
        if attempt < 3:
            raise ValueError(f"attempt {attempt}")
        return attempt

    @app.post("/until", status_code=202)
    async def add(path: str, tasks: TasksDep) -> dict[str, str]:
        return {"task_id": tasks.add_task(until, path).id, "status": "queued"}

    @app.post("/thrice", status_code=202)
    async def add_thrice(path: str, tasks: TasksDep) -> dict[str, str]:
        return {"task_id": tasks.using(retry=RETRY).add_task(thrice, path).id, "status": "queued"}

    from taskyard import RetryPolicy
    RETRY = RetryPolicy(backoff=0.05, jitter=False)
"""


class Served:
    """The web application and a server of its tasks as separate processes, so that either can be killed."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.port = free_port()
        project.write("app.py", APP)
        self.web = self.serve()
        project.server("--workers=1", app="app:app")
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)

    def serve(self) -> Process:
        web = self.project.start("serve", "app:app", "--port", str(self.port))
        eventually(lambda: answers(self.port, "/docs"), 60, "the web application")
        return web

    def add(self, path: str) -> tuple[str, pathlib.Path]:
        gate = self.project.directory / f"gate-{uuid.uuid4().hex}"
        answer = self.client.post(path, params={"path": str(gate)})
        assert answer.status_code == 202, answer.text
        return answer.json()["task_id"], gate


@pytest.fixture
def served(project: Project) -> Iterator[Served]:
    yield Served(project)


class Stream:
    """The events of a stream so far, read by a thread."""

    def __init__(self, served: Served, id: str, since: int | str | None = None, path: str = "/task/{}/events") -> None:
        self.events: list[dict[str, Any]] = []
        self.last = ""
        self.pings = 0
        self.retries = 0
        self.status = 0
        self.headers: httpx.Headers = httpx.Headers()
        self.first_after = 0.0
        self.broke: Exception | None = None
        self._url = f"http://127.0.0.1:{served.port}" + path.format(id)
        self._since = since
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        begun = time.monotonic()
        headers = {} if self._since is None else {"Last-Event-ID": str(self._since)}
        try:
            with httpx.stream("GET", self._url, headers=headers, timeout=30) as answer:
                self.status, self.headers = answer.status_code, answer.headers
                fields: dict[str, str] = {}
                for line in answer.iter_lines():
                    self.first_after = self.first_after or time.monotonic() - begun
                    name, _, value = line.partition(": ")
                    if line.startswith(":"):
                        self.pings += 1
                    elif line:
                        fields[name] = value
                    elif "data" in fields:
                        data = json.loads(fields["data"])
                        assert data["type"] == fields["event"] and str(data["seq"]) in fields["id"].split(".")
                        self.last = fields["id"]
                        self.events.append(data)
                        fields = {}
                    else:
                        self.retries += "retry" in fields
                        fields = {}
        except httpx.TransportError as error:
            self.broke = error

    def has(self, what: Any, seconds: float = 20.0) -> dict[str, Any]:
        """Waits for an event."""
        found = eventually(lambda: next((event for event in self.events if what(event)), None), seconds, f"{self.events}")
        assert found is not None
        return found

    def end(self) -> list[dict[str, Any]]:
        self.thread.join(30)
        assert not self.thread.is_alive(), self.events
        return self.events


def test_a_stream_from_its_first_byte_to_the_end(served: Served) -> None:
    id, gate = served.add("/until")
    Stream(served, id).has(lambda event: event["type"] == "progress")
    stream = Stream(served, id)
    stream.has(lambda event: event["type"] == "progress")
    assert stream.status == 200 and stream.headers["content-type"].startswith("text/event-stream")
    assert stream.headers["cache-control"] == "no-store" and stream.headers["x-accel-buffering"] == "no"
    assert "content-encoding" not in stream.headers
    # 100 ms on a machine of its own.
    assert stream.first_after < 1.0
    print(f"first byte after {stream.first_after * 1000:.0f} ms")
    gate.touch()
    events = stream.end()
    assert stream.retries == 1 and events[0]["type"] == "snapshot" and events[-1]["type"] == "completed"
    progress = events[-1]["progress"]
    assert progress["total"] == 1000 and progress["current"] > 0 and progress["percentage"] is not None
    assert [event["seq"] for event in events] == sorted({event["seq"] for event in events})
    # After the end: a snapshot and the end for a new client, nothing for one that has the end.
    assert [event["type"] for event in Stream(served, id).end()] == ["snapshot", "completed"]
    again = Stream(served, id, events[-1]["seq"])
    assert again.end() == [] and again.status == 204
    # Like the route, as a mounted ASGI application.
    mounted = Stream(served, id, path="/mounted/task/{}/events")
    assert [event["type"] for event in mounted.end()] == ["snapshot", "completed"] and mounted.status == 200


def test_a_silent_stream_pings_and_one_who_leaves_cancels_nothing(served: Served) -> None:
    id, gate = served.add("/thrice")
    stream = Stream(served, id)
    eventually(lambda: stream.pings >= 2, 60, "pings")
    with httpx.stream("GET", f"http://127.0.0.1:{served.port}/task/{id}/events", timeout=10) as answer:
        next(answer.iter_raw())
    for attempt in (1, 2, 3):
        gate.with_name(gate.name + str(attempt)).touch()
    assert stream.end()[-1]["type"] == "completed"


def test_a_killed_web_process_loses_no_state_change(served: Served) -> None:
    id, gate = served.add("/thrice")
    stream = Stream(served, id)
    stream.has(lambda event: event["status"] == "running" and event["attempt"] == 1)
    served.web.kill()
    served.web.wait()
    stream.thread.join(20)
    assert stream.broke is not None
    # While no web process runs, two attempts end.
    for attempt in (1, 2):
        gate.with_name(gate.name + str(attempt)).touch()
    eventually(lambda: served.project.task(id)["attempt"] == 3, 60, "the third attempt")
    served.serve()
    resumed = Stream(served, id, stream.events[-1]["seq"])
    resumed.has(lambda event: event["status"] == "running" and event["attempt"] == 3)
    gate.with_name(gate.name + "3").touch()
    told = [(event["type"], event["attempt"]) for event in resumed.end() if event["status"] != "queued"]
    assert told == [("retry", 1), ("status", 2), ("retry", 2), ("status", 3), ("completed", 3)]
    assert [event["error"]["message"] for event in resumed.events if event["type"] == "retry"] == ["attempt 1", "attempt 2"]
    seqs = [event["seq"] for event in stream.events + resumed.events]
    assert seqs == sorted(set(seqs))


def test_several_tasks_in_one_stream(served: Served) -> None:
    added = [served.add("/thrice") for _ in range(3)]
    ids = [id for id, _ in added]
    for gate in (gate for _, gate in added):
        gate.with_name(gate.name + "1").touch()
    path = "/tasks/events?ids={}"
    stream = Stream(served, ",".join(ids), path=path)
    for id in ids:
        stream.has(lambda event, id=id: event["task_id"] == id and event["attempt"] == 2)
    # The first task ends; then the web process dies, and the second task continues meanwhile.
    _, gate = added[0]
    gate.with_name(gate.name + "2").touch()
    gate.with_name(gate.name + "3").touch()
    stream.has(lambda event: event["task_id"] == ids[0] and event["type"] == "completed")
    served.web.kill()
    served.web.wait()
    stream.thread.join(20)
    _, gate = added[1]
    gate.with_name(gate.name + "2").touch()
    eventually(lambda: served.project.task(ids[1])["attempt"] == 3, 60, "the third attempt")
    served.serve()
    resumed = Stream(served, ",".join(ids), stream.last, path=path)
    resumed.has(lambda event: event["task_id"] == ids[1] and event["status"] == "running" and event["attempt"] == 3)
    for _, gate in added[1:]:
        gate.with_name(gate.name + "2").touch()
        gate.with_name(gate.name + "3").touch()
    told = [(event["type"], event["attempt"]) for event in resumed.end() if event["task_id"] == ids[1]]
    assert [each for each in told if each[0] != "status" or each[1] == 3][-2:] == [("status", 3), ("completed", 3)]
    assert ("retry", 2) in told
    ends = [event["task_id"] for event in resumed.events if event["type"] == "completed"]
    assert set(ids[1:]) <= set(ends)
    for id in ids:
        seqs = [event["seq"] for event in stream.events + resumed.events if event["task_id"] == id]
        assert seqs[:-1] == sorted(seqs[:-1])
    again = Stream(served, ",".join(ids), resumed.last, path=path)
    assert again.end() == [] and again.status == 204
    mounted = Stream(served, ",".join(ids), path="/mounted" + path)
    assert {event["task_id"] for event in mounted.end()} == set(ids)


def test_a_server_that_stops_ends_its_streams(served: Served) -> None:
    id, gate = served.add("/until")
    stream = Stream(served, id)
    stream.has(lambda event: event["type"] == "progress")
    assert served.web.stop(20) == 0, served.web.output
    stream.end()
    assert stream.broke is None and stream.retries == 2, "cleanly, with when to come back"
    assert served.project.task(id)["state"] == "doing"
    gate.touch()


def test_polling_with_tags_and_waiting(served: Served) -> None:
    id, gate = served.add("/until")
    first = served.client.get(f"/task/{id}")
    assert first.status_code == 200
    body = first.json()
    assert body["task_id"] == id and body["status"] in ("queued", "running") and body["result"] is body["error"] is None
    assert first.headers["etag"] == f'"{body["seq"]}"'
    # Waits for the next event, and no longer.
    seen = body["seq"]
    for _ in range(5):
        begun = time.monotonic()
        news = served.client.get(f"/task/{id}", params={"wait": 20, "since": seen}).json()
        assert news["seq"] > seen and time.monotonic() - begun < 10
        seen = news["seq"]
    progress = served.client.get(f"/task/{id}/progress").json()
    assert progress["progress"]["current"] > 0 and progress["progress"]["eta_seconds"] is None
    gate.touch()
    done = eventually(lambda: (found := served.client.get(f"/task/{id}")).json()["status"] == "completed" and found)
    assert done.json()["result"] == "through"
    tag = done.headers["etag"]
    assert served.client.get(f"/task/{id}", headers={"If-None-Match": tag}).status_code == 304
    begun = time.monotonic()
    same = served.client.get(f"/task/{id}", params={"wait": 10, "since": done.json()["seq"]})
    assert same.json()["status"] == "completed" and time.monotonic() - begun < 5, "nothing more will come"


def test_refusals(served: Served) -> None:
    id, gate = served.add("/until")
    unknown = uuid.UUID(int=(int(time.time() * 1000) << 80) | (7 << 76) | (2 << 62) | 12345)
    for path in (f"/task/{unknown}", f"/task/{unknown}/progress", f"/task/{unknown}/events", "/task/nonsense"):
        assert served.client.get(path).status_code == 404, path
    assert served.client.get("/task/01890000-0000-7000-8000-000000000000").status_code == 410, "old enough"
    mallory = {"X-User": "mallory"}
    for path in (f"/task/{id}", f"/task/{id}/progress", f"/task/{id}/events"):
        assert served.client.get(path, headers=mallory).status_code == 403
    assert served.client.post(f"/task/{id}/cancel", headers=mallory).status_code == 403
    assert served.client.get(f"/tasks/events?ids={id}", headers=mallory).status_code == 403
    several = served.client.get(f"/tasks/events?ids={id},{unknown}")
    assert (several.status_code, several.json()["task_id"]) == (404, str(unknown))
    for ids in ("", "?ids=", "?ids=" + ",".join(str(uuid.uuid4()) for _ in range(51))):
        assert served.client.get(f"/tasks/events{ids}").status_code == 422
    eventually(lambda: served.client.get(f"/task/{id}").json()["status"] == "running")
    stream = Stream(served, id)
    asked = served.client.post(f"/task/{id}/cancel")
    assert (asked.status_code, asked.json()) == (202, {"cancelled": True, "status": "cancelling"})
    assert stream.end()[-1]["type"] == "cancelled"
    late = served.client.post(f"/task/{id}/cancel")
    assert (late.status_code, late.json()) == (409, {"cancelled": False, "status": "cancelled"})


def test_a_stream_says_that_its_task_was_removed(served: Served) -> None:
    removed, _ = served.add("/until")
    kept, gate = served.add("/until")
    for id in (removed, kept):
        eventually(lambda id=id: served.client.get(f"/task/{id}").json()["status"] == "running")
    one, both = Stream(served, removed), Stream(served, f"{removed},{kept}", path="/tasks/events?ids={}")
    eventually(lambda: one.events and len({event["task_id"] for event in both.events}) == 2)
    remove(served.project.database, removed)
    # `end` expects an unbroken stream.
    last = one.end()[-1]
    assert last == {"type": "removed", "task_id": removed, "seq": one.events[-2]["seq"], "status": "removed"}
    both.has(lambda event: event["type"] == "removed")
    gate.touch()
    ends = [(event["type"], event["task_id"]) for event in both.end() if event["type"] in ("removed", "completed")]
    assert ends == [("removed", removed), ("completed", kept)]
    # A client that reconnects receives a 204.
    assert Stream(served, removed, one.last).end() == []
    assert served.client.get(f"/task/{removed}/events", headers={"Last-Event-ID": one.last}).status_code in (404, 410)
    assert "Traceback" not in served.web.output


def remove(database: str, id: str) -> None:
    """Deletes a task's row, which otherwise only a purge of ended tasks does."""
    if database.startswith("postgres"):
        import psycopg

        with psycopg.connect(database) as connection:
            connection.execute("delete from taskyard.task where id = %s", [id])
    else:
        import sqlite3

        with sqlite3.connect(database) as connection:
            connection.execute("delete from ty_task where id = ?", [uuid.UUID(id).bytes])


def test_numbers_of_clients() -> None:
    assert last_event_id({"Last-Event-ID": "17"}) == 17
    assert last_event_id({"last-event-id": b"17"}, {"last_event_id": "18"}) == 17
    assert last_event_id({}, {"last_event_id": "18"}) == 18
    for bad in ("", "x", "-1", "1.5", "9" * 21, str(1 << 64), "²"):
        assert last_event_id({"Last-Event-ID": bad}) is None
    assert not _may_be_removed("nonsense") and not _may_be_removed(str(uuid.uuid4()))


def test_a_router_asks_who_may() -> None:
    from taskyard import InvalidArgument
    from taskyard.fastapi import task_router

    def allow(request: Any, id: str) -> bool:
        return True

    for wrong in ({}, {"allow": allow, "allow_anyone": True}, {"allow_anyone": "yes"}):
        with pytest.raises(InvalidArgument):
            task_router(QueuedTasks(), **wrong)
    task_router(QueuedTasks(), allow_anyone=True)
    task_router(QueuedTasks(), allow=allow)


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({}, False),
        ({"sec-fetch-site": "same-origin", "origin": "http://testserver"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"origin": "http://testserver"}, False),
        ({"origin": "http://testserver:80"}, False),
        ({"sec-fetch-site": "cross-site", "origin": "https://app.example.com"}, False),
        ({"origin": "https://app.example.com"}, False),
        ({"sec-fetch-site": "cross-site"}, True),
        ({"sec-fetch-site": "same-site", "origin": "http://other.testserver"}, True),
        ({"Sec-Fetch-Site": "cross-site", "origin": "http://testserver"}, True),
        ({"origin": "http://evil.example"}, True),
        ({"origin": "null"}, True),
        ({"origin": "http://testserver.evil.example"}, True),
        ({"origin": "http://evil.example?http://testserver"}, True),
        ({"origin": "http://[::1"}, True),
        ({"origin": "http://[testserver]"}, True),
        ({"origin": "://testserver"}, True),
        ({"origin": "HTTP://TestServer:80"}, False),
    ],
)
def test_a_page_of_another_origin_changes_nothing(tmp_path: pathlib.Path, headers: dict[str, str], refused: bool) -> None:
    from fastapi import FastAPI
    from fastapi.testclient import TestClient
    from taskyard import fastapi as taskyard_fastapi

    queue = QueuedTasks(database=str(tmp_path / "queue.db"))
    app = FastAPI(lifespan=queue.lifespan())
    app.include_router(
        taskyard_fastapi.task_router(queue, allow_anyone=True, origins=["https://app.example.com"]), prefix="/own"
    )
    app.include_router(taskyard_fastapi.router(queue, allow_anyone=True), prefix="/plain")
    app.mount("/mounted", TaskRoutes(queue, allow_anyone=True, origins=["https://app.example.com"]))
    with TestClient(app) as client:
        for path, retried in (
            ("/own/task/{}/cancel", False),
            ("/mounted/task/{}/cancel", False),
            ("/plain/{}/cancel", True),
        ):
            if "app.example.com" in headers.get("origin", "") and retried:
                continue  # this application accepts no further origins
            ref = queue.add_task("nowhere:f", delay=600)
            queue.flush()
            answer = client.post(path.format(ref.id), headers=headers)
            assert (answer.status_code == 403) is refused, answer.text
            shown = client.get(f"/own/task/{ref.id}").json()["status"]
            assert (shown != "cancelled") is refused, shown
            if retried and not refused:
                assert client.post(f"/plain/{ref.id}/retry", headers=headers).status_code == 200


def test_the_routes_stand_before_those_of_the_application(tmp_path: pathlib.Path) -> None:
    from fastapi import FastAPI
    from fastapi.testclient import TestClient
    from taskyard import fastapi as taskyard_fastapi

    queue = QueuedTasks(database=tmp_path / "queue.db")
    app = FastAPI(lifespan=queue.lifespan())
    app.include_router(taskyard_fastapi.task_router(queue, allow_anyone=True))

    @app.get("/tasks/{id}")
    async def show(id: str) -> str:
        return f"the application shows {id}"

    with TestClient(app) as client:
        ref = queue.add_task("nowhere:f", delay=600)
        ref.cancel().result()
        assert "event: cancelled" in client.get("/tasks/events", params={"ids": ref.id}).text
        assert client.get(f"/tasks/{ref.id}").json() == f"the application shows {ref.id}"


def test_every_door_asks_who_may(tmp_path: pathlib.Path) -> None:
    from fastapi import Depends, FastAPI, HTTPException
    from fastapi.testclient import TestClient
    from taskyard import InvalidArgument
    from taskyard import fastapi as taskyard_fastapi

    queue = QueuedTasks(database=str(tmp_path / "queue.db"))
    for door in (taskyard_fastapi.task_router, taskyard_fastapi.router, TaskRoutes):
        for given in ({}, {"allow": lambda *_: True, "allow_anyone": True}):
            with pytest.raises(InvalidArgument, match="specify who may see and cancel tasks"):
                door(queue, **given)
    asked = []

    async def may_see(request: Any, id: str) -> bool:
        asked.append(id)
        return (b"key", b"1") in list(request["headers"])

    def refuse() -> None:
        raise HTTPException(401)

    app = FastAPI(lifespan=queue.lifespan())
    app.include_router(taskyard_fastapi.task_router(queue, allow=may_see), prefix="/own")
    app.include_router(taskyard_fastapi.router(queue, allow=may_see), prefix="/plain")
    app.include_router(taskyard_fastapi.router(queue, dependencies=[Depends(refuse)]), prefix="/guarded")
    app.mount("/mounted", TaskRoutes(queue, allow=may_see))
    with TestClient(app) as client:
        ref = queue.add_task("nowhere:f", delay=600)
        queue.flush()
        shown = ref.id.upper()
        for path in (f"/own/task/{shown}", f"/plain/{shown}", f"/plain/{shown}/logs", f"/mounted/task/{shown}"):
            assert client.get(path).status_code == 403, path
            assert client.get(path, headers={"key": "1"}).status_code == 200, path
        for path in (
            f"/own/task/{shown}/cancel",
            f"/plain/{shown}/cancel",
            f"/plain/{shown}/retry",
            f"/mounted/task/{shown}/cancel",
        ):
            assert client.post(path).status_code == 403, path
        assert client.get(f"/guarded/{shown}").status_code == 401
    assert set(asked) == {ref.id}, "whatever the path spells"


async def test_a_frame_is_one_line_whatever_the_message(tmp_path: pathlib.Path) -> None:
    async with QueuedTasks(database=str(tmp_path / "queue.db")) as tasks:
        ref = tasks.add_task("nowhere:f", context={"progress": {"message": "a\nb\r\n\nevent: x", "completed": 1}})
        event = await asyncio.wait_for(ref.watch().__anext__(), 20)
        lines = frame(event).decode().split("\n")
        assert [line.partition(":")[0] for line in lines] == ["id", "event", "data", "", ""]
        assert "\r" not in lines[2] and json.loads(lines[2][6:])["progress"]["message"] == "a\nb\r\n\nevent: x"
        assert TaskRoutes(tasks, allow_anyone=True).allow is None


@pytest.fixture
def nexios(sqlite_project: Project) -> Iterator[Served]:
    pytest.importorskip("nexios")
    shutil.copy(EXAMPLES / "samples" / "nexios_progress.py", sqlite_project.directory)
    served = Served.__new__(Served)
    served.project, served.port = sqlite_project, free_port()
    arguments = ("serve", "nexios_progress:app", "--workers", "1", "--port", str(served.port))
    # The command ends the web application when its tasks have ended, or their time is over.
    served.web = sqlite_project.start(*arguments, TASKYARD_SHUTDOWN_GRACE="1")
    served.client = httpx.Client(base_url=f"http://127.0.0.1:{served.port}", timeout=30)
    eventually(lambda: answers(served.port, "/task/x/events"), 60, "the web application")
    yield served


def test_in_nexios(nexios: Served) -> None:
    answer = nexios.client.post("/process", params={"steps": 20})
    assert answer.status_code == 202, answer.text
    id = answer.json()["task_id"]
    assert answer.headers["location"] == f"/task/{id}"
    stream = Stream(nexios, id)
    events = stream.end()
    assert stream.status == 200 and stream.headers["content-type"].startswith("text/event-stream"), stream.headers
    # Nexios repeats the header.
    assert set(stream.headers["cache-control"].split(", ")) == {"no-store"}
    assert events[0]["type"] == "snapshot" and events[-1]["type"] == "completed"
    assert len([event for event in events if event["type"] == "progress"]) >= 3
    assert events[-1]["progress"]["current"] == 20
    assert nexios.client.get(f"/task/{uuid.uuid4()}/events").status_code == 404
    slow = nexios.client.post("/process", params={"steps": 10_000}).json()["task_id"]
    following = Stream(nexios, slow)
    following.has(lambda event: event["type"] == "progress")
    assert nexios.client.post(f"/task/{slow}/cancel").status_code == 202
    assert following.end()[-1]["type"] == "cancelled"
    open = Stream(nexios, nexios.client.post("/process", params={"steps": 10_000}).json()["task_id"])
    open.has(lambda event: event["type"] == "progress")
    nexios.web.signal(signal.SIGTERM)
    open.end()
    assert nexios.web.wait(40) == 0, nexios.web.output
