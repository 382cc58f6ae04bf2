"""The examples with task classes run: in FastAPI, in a real Nexios application, beside worker processes."""

from __future__ import annotations

import importlib.util
import pathlib
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from support.ports import free_port
from support.project import Process, Project
from support.waiting import eventually, eventually_async
from taskyard.tasks import Task, TaskQueue, TaskStatus
from test_quickstart import answers

SAMPLES = pathlib.Path(__file__).parents[2] / "examples" / "python" / "nexios"


class Site:
    """A running application and its process."""

    def __init__(self, project: Project, app: str, *, workers: int | None = None) -> None:
        self.port = free_port()
        if workers is None:
            command = [sys.executable, "-m", "uvicorn", app, "--port", str(self.port), "--log-level", "warning"]
            self.process = Process(command, project.directory, project.env)
            project._started.append(self.process)
        else:
            self.process = project.start("serve", app, "--workers", str(workers), "--port", str(self.port))
        eventually(lambda: answers(self.port, "/docs"), 60, "the application")
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)

    def post(self, path: str, **options: Any) -> Any:
        answer = self.client.post(path, **options)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def get(self, path: str) -> Any:
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ended(self, path: str, seconds: float = 30) -> Any:
        def look() -> Any:
            found = self.get(path)
            return found if found["status"] in ("completed", "failed", "cancelled") else None

        return eventually(look, seconds, f"the end of {path}")


@pytest.fixture
def samples(project: Project) -> Iterator[Project]:
    for path in SAMPLES.glob("*.py"):
        shutil.copy(path, project.directory)
    yield project


def test_mail_with_worker_processes(samples: Project) -> None:
    site = Site(samples, "mail:app", workers=1)
    sent = site.client.post("/send-email", params={"to": "a@b", "subject": "s", "body": "b"})
    task_id = sent.json()["task_id"]
    assert sent.json()["status"] == "queued" and sent.headers["location"] == f"/task/{task_id}"
    found = site.ended(f"/task/{task_id}")
    assert found["status"] == "completed" and found["result"]["to"] == "a@b" and found["error"] is None
    assert samples.task(task_id)["queue"] == "mail"


def test_trap_14_what_is_not_there_is_a_404(samples: Project) -> None:
    site = Site(samples, "mail:app", workers=1)
    for id in ("nothing", "01890000-0000-7000-8000-000000000000"):
        assert site.client.get(f"/task/{id}").status_code == 404
        assert site.client.post(f"/task/{id}/cancel").status_code == 409


def test_a_crew_of_its_own(samples: Project) -> None:
    crew = Process([sys.executable, "crew.py"], samples.directory, samples.env)
    samples._started.append(crew)
    crew.says("the crew takes")
    ids = samples.python("""
        import asyncio
        from mail import EmailTask, queue
        async def main():
            async with queue:
                for to in ("a@b", "c@d"):
                    print(await queue.enqueue(EmailTask(to, "s", "b")))
                print(await queue.enqueue(EmailTask("nobody", "s", "b"), max_retries=0))
        asyncio.run(main())
    """).split()
    eventually(lambda: [samples.task(id)["state"] for id in ids] == ["done", "done", "failed"], 60, "the mails")
    crew.says("EmailTask completed, attempt 1")
    assert crew.stop() == 0
    crew.says("the crew has done {'EmailTask': 3}")


def test_trap_13_files_with_progress_and_no_name_of_the_clients(samples: Project) -> None:
    site = Site(samples, "files:app")
    body = bytes(range(256)) * 4_000
    processed = site.post("/process-file", files={"file": ("../../escaped.bin", body)})["task_id"]
    steps = site.post("/steps")["task_id"]
    seen: set[Any] = set()

    def polled() -> Any:
        found = site.get(f"/task/{steps}/progress")
        seen.add(found["progress"]["current"])
        return found if found["status"] == "completed" else None

    found = eventually(polled, 60, "ten steps")
    assert found["progress"]["percentage"] == 100.0 and found["progress"]["message"] == "Processing step 10/10"
    assert len(seen) >= 3, f"progress was seen on the way: {seen}"
    found = site.ended(f"/task/{processed}/progress")
    assert found["result"] == {"bytes_processed": len(body), "checksum": sum(body) % 65_536}
    assert (found["progress"]["current"], found["progress"]["total"]) == (len(body), len(body))
    assert "bytes/sec" in found["progress"]["message"]
    assert not list(samples.directory.parent.glob("**/escaped.bin"))
    mail = samples.python("""
        import asyncio
        from mail import EmailTask, queue
        async def main():
            async with queue:
                print(await queue.enqueue(EmailTask("a", "b", "c")))
        asyncio.run(main())
    """).strip()
    assert site.client.get(f"/task/{mail}/progress").status_code == 409
    assert site.client.get("/task/nothing/progress").status_code == 404


def test_in_a_nexios_application(samples: Project) -> None:
    assert importlib.util.find_spec("nexios") is not None, "nexios is among the tests' requirements"
    site = Site(samples, "nexios_app:app")
    sent = site.post("/send-email", json={"to": "a@b", "subject": "s", "body": "b"})
    assert sent["status"] == "queued"
    found = site.ended(f"/task/{sent['task_id']}")
    assert found["result"]["to"] == "a@b" and found["error"] is None
    failing = site.post("/send-email", json={"to": "nobody", "subject": "s", "body": "b"})

    def has_error() -> Any:
        found = site.get(f"/task/{failing['task_id']}")
        return found if found["error"] else None

    assert eventually(has_error, 60, "the error")["error"] == "'nobody' is not an address"
    steps = site.post("/steps")["task_id"]
    found = site.ended(f"/task/{steps}/progress")
    assert found["progress"]["current"] == 10 and found["progress"]["percentage"] == 100.0
    assert site.client.get("/task/nothing").status_code == 404
    assert site.client.get(f"/task/{sent['task_id']}/progress").status_code == 404
    job = site.post("/schedule-backup", json={"path": "/data", "schedule": "@every 1s"})
    eventually(lambda: samples.json("schedule", "show", job["job_id"])["last_state"] == "done", 60, "a backup")
    assert site.client.delete(f"/jobs/{job['job_id']}").status_code == 200
    assert site.client.delete(f"/jobs/{job['job_id']}").status_code == 404
    refused = site.client.post("/schedule-backup", json={"path": "/data", "schedule": "61 * * * *"})
    assert refused.status_code == 422 and "character 1" in refused.json()["error"]
    # Tasks that are running when the application ends may finish, or are given back.
    last = site.post("/steps")["task_id"]
    site.process.stop()
    assert samples.task(last)["state"] in ("done", "enqueued")


def test_jobs_in_fastapi(samples: Project) -> None:
    site = Site(samples, "jobs:app")
    once = eventually(lambda: (found := site.get("/jobs/jobs:cleanup_old_files"))["run_count"] == 1 and found)
    assert once["next_run"] is None
    assert site.get("/jobs/jobs:daily_report")["next_run"] is not None
    job = site.client.post("/schedule-backup", params={"path": "/data", "schedule": "*/5 * * * *"}).json()
    asked = samples.run("schedule", "run", job["job_id"]).strip()
    assert samples.ended(asked)["result"] == "saved /data"
    eventually(lambda: site.get(f"/jobs/{job['job_id']}")["last_status"] == "completed", 60, "its end is known")
    assert site.client.delete(f"/jobs/{job['job_id']}").status_code == 200
    assert site.client.get(f"/jobs/{job['job_id']}").status_code == 404
    bad = site.client.post("/schedule-backup", params={"path": "/data", "schedule": "0 0 30 2 *"})
    assert bad.status_code == 422 and "February" in bad.json()["detail"]


class Greeting(Task):
    def __init__(self, name: str) -> None:
        self.name = name

    async def execute(self) -> str:
        return f"hello {self.name}"


async def test_workers_of_the_lifespan(database: str) -> None:
    queue = TaskQueue(url=database)
    app = FastAPI(lifespan=queue.tasks.lifespan(workers=1))

    @app.post("/greet")
    async def greet(name: str) -> dict[str, str]:
        return {"task_id": await queue.enqueue(Greeting(name))}

    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            task_id = (await client.post("/greet", params={"name": "ada"})).json()["task_id"]

        async def result() -> Any:
            task = await queue.get_task(task_id)
            return task.result if task is not None and task.status is TaskStatus.COMPLETED else None

        assert await eventually_async(result) == "hello ada"


def test_a_task_may_add_and_look_at_others(project: Project) -> None:
    project.write(
        "app.py",
        """
        from taskyard.tasks import Task, TaskQueue

        queue = TaskQueue()

        class Child(Task):
            def __init__(self, number):
                self.number = number

            async def execute(self):
                return self.number

        class Parent(Task):
            async def execute(self):
                id = await queue.enqueue(Child(7))
                assert await queue.tasks.get(id).wait(20) == 7
                child = await queue.get_task(id)
                return [child.number, child.status, child.result]
        """,
    )
    project.server("--workers=1", app="app")
    out = project.python("""
        import asyncio, app
        async def main():
            async with app.queue as queue:
                id = await queue.enqueue(app.Parent())
                while not (task := await queue.get_task(id)).status.is_terminal:
                    await asyncio.sleep(0.02)
                print(task.status, task.result, task.error)
        asyncio.run(main())
    """)
    assert out.startswith("completed [7, ") and "completed" in out.partition("[")[2]
