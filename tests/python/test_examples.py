"""The examples run: the shop with real HTTP, a real server process and real pictures, on both databases; and each short
sample."""

from __future__ import annotations

import asyncio
import importlib
import pathlib
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from PIL import Image
from support.ports import free_port
from support.project import Project
from support.waiting import eventually
from taskyard import QueuedTasks, _hooks, _port, context, get_service
from taskyard._worker import Embedded
from taskyard.dependencies import unregister_service
from taskyard.queued_task import QueuedTaskConfig
from test_quickstart import answers

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples" / "python"


@pytest.mark.parametrize("apart", [False, True])
def test_the_shop(project: Project, apart: bool) -> None:
    for path in (EXAMPLES / "shop").glob("*.py"):
        shutil.copy(path, project.directory)
    (project.directory / "gallery").mkdir()
    for number in range(8):
        picture = Image.effect_noise((400, 300 + number), 50)
        picture.save(project.directory / "gallery" / f"{number}.png")
    port = free_port()
    if apart:
        project.start("serve", "app:app", "--port", str(port))
        project.server("--workers=2", app="app:app")
    else:
        project.start("serve", "app:app", "--workers", "2", "--port", str(port))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        eventually(lambda: answers(port, "/docs"), 60, "the shop")

        order = client.post("/orders", json={"id": 7, "quantity": 40})
        assert order.status_code == 202, order.text
        seen: set[Any] = set()

        def polled() -> Any:
            found = client.get(f"/tasks/{order.json()['order']}").json()
            if found["progress"]:
                seen.add(found["progress"]["completed"])
            return found if found["state"] == "done" else None

        assert eventually(polled)["result"] == {"order_id": 7, "packed": 40}
        assert len(seen) >= 2, f"progress was seen on the way: {seen}"
        confirmation = f"/tasks/{order.json()['confirmation']}"
        found = eventually(lambda: (found := client.get(confirmation).json())["state"] == "done" and found)
        assert found["result"] == "order 7 with 40 pieces is on its way"

        gallery = client.post("/gallery", params={"size": 64}).json()
        assert gallery["pictures"] == 8
        report = f"/tasks/{gallery['report']}"
        found = eventually(lambda: (found := client.get(report).json())["state"] == "done" and found, 60)
        assert found["result"]["pictures"] == 8 and found["result"]["bytes"] > 0
        with Image.open(project.directory / "gallery" / "3.thumbnail.jpg") as thumbnail:
            assert max(thumbnail.size) == 64

        slow = client.post("/orders", json={"id": 8, "quantity": 10_000}).json()
        eventually(lambda: client.get(f"/tasks/{slow['order']}").json()["state"] == "doing")
        assert client.delete(f"/tasks/{slow['order']}").status_code == 202
        for task in slow.values():
            eventually(lambda task=task: client.get(f"/tasks/{task}").json()["state"] == "cancelled")  # type: ignore[misc]
        assert client.get("/tasks/00000000-0000-7000-8000-000000000000").status_code == 404


@pytest.fixture
def samples() -> Iterator[None]:
    sys.path.insert(0, str(EXAMPLES / "samples"))
    yield
    sys.path.pop(0)
    _hooks.clear()


@pytest.fixture
async def tasks(database: str, samples: None) -> AsyncIterator[QueuedTasks]:
    tasks = QueuedTasks(database=database)
    before = _port.use(tasks._own)
    async with tasks, Embedded(tasks):
        yield tasks
    _port.use(before)


async def test_creating(database: str, samples: None) -> None:
    tasks = QueuedTasks(database=database)
    before = _port.use(tasks._own)
    try:
        await importlib.import_module("creating").main()
        async with tasks, Embedded(tasks):
            wanted = 100 + 8
            until = asyncio.get_running_loop().time() + 30
            while len(await tasks.list(states=["done"], limit=500)) < wanted:
                assert asyncio.get_running_loop().time() < until, await tasks.list(limit=500)
                await asyncio.sleep(0.02)
            assert len(await tasks.list(states=["waiting"])) == 1, "tomorrow's"
    finally:
        _port.use(before)


async def test_inside(tasks: QueuedTasks) -> None:
    inside = importlib.import_module("inside")
    ref = tasks.add_task(inside.complex_data_processing, 4, 50)
    assert await ref.wait(20) == {"success": True, "records": 50}
    assert (await ref.get_context())["step"] == "completed"
    assert [line["level"] for line in await ref.get_logs()] == [20, 30]


async def test_local_functions(tasks: QueuedTasks) -> None:
    local_functions = importlib.import_module("local_functions")
    refs = local_functions.add_dynamic_tasks(tasks, True)
    assert [await ref.wait(20) for ref in refs] == [[1000, 2000, 3000], "from a lambda"]


async def test_hooks(tasks: QueuedTasks) -> None:
    sys.modules.pop("hooks", None)
    hooks = importlib.import_module("hooks")
    context.set_user("ada")
    ref = tasks.add_task(hooks.who_am_i)
    assert await ref.wait(20) == "ada"
    assert [line["message"] for line in await ref.get_logs()] == [f"{ref.id and 'hooks:who_am_i'} of ada: done"]


async def test_control(tasks: QueuedTasks) -> None:
    control = importlib.import_module("control")
    assert await control.manage(tasks) == [
        "whole",
        "done",
        "still at it",
        "cancelled",
        "LookupError: nothing there",
        ("cancelled", False),
    ]


async def test_services(tasks: QueuedTasks) -> None:
    sys.modules.pop("services", None)
    services = importlib.import_module("services")
    try:
        assert await tasks.add_task(services.send, "ada").wait(20) == "ada by localhost"
        services.configure()
        assert get_service(QueuedTaskConfig).max_workers == 8
    finally:
        unregister_service(services.Mailer)
        unregister_service(QueuedTaskConfig)


async def test_failing(tasks: QueuedTasks) -> None:
    failing = importlib.import_module("failing")
    assert await failing.try_all(tasks) == ["attempt 1", "attempt 2", "attempt 2", "TaskFailed", "TaskFailed"]
    assert await failing.put_right(tasks) == {"attempts": 1, "again": "attempt 2", "left": 1, "purged": 1}


async def test_managing(tasks: QueuedTasks) -> None:
    managing = importlib.import_module("managing")
    sent = [f"{name}@example.org" for name in ("ada", "bob", "eve")]
    assert await managing.manage(tasks) == {
        "enqueued": 3,
        "rate": "100/m",
        "sent": sent,
        "drained": True,
        "purged": 3,
    }


async def test_relatives(tasks: QueuedTasks) -> None:
    relatives = importlib.import_module("relatives")
    expected = [[5, 7, 8, 7], [20, 28], {"parts": 4, "sum": 499_500}]
    assert await relatives.relate(tasks) == expected


async def test_following(tasks: QueuedTasks) -> None:
    following = importlib.import_module("following")
    seen = await following.follow(tasks, 10)
    assert seen[0] == "snapshot" and seen[-1] == "completed" and "progress" in seen


def test_following_over_http(project: Project) -> None:
    shutil.copy(EXAMPLES / "samples" / "following.py", project.directory)
    port = free_port()
    project.start("serve", "following:app", "--workers", "1", "--port", str(port))
    eventually(lambda: answers(port, "/docs"), 60, "the page")
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        id = client.post("/counts", params={"number": 8}).json()["task_id"]
        assert client.get(f"/task/{id}", headers={"x-user": "nobody"}).status_code == 403
        lines = client.get(f"/task/{id}/events").text.splitlines()
        assert lines[0] == "retry: 3000" and [line for line in lines if line.startswith("event:")][-1] == "event: completed"
        assert client.get(f"/task/{id}").json()["result"] == 8
