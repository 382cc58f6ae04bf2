"""The example project `bookings`: installed by pip, tested by its own tests, and run by the command lines of its two
containers."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.environment import Environment, run
from support.ports import free_port
from support.project import Process
from support.waiting import eventually

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "python" / "bookings"
#: The port that the containers publish; each run uses another one.
PORT = "8000"


class Deployment:
    """The project, installed in an environment of its own, with directories for its web process and its worker."""

    def __init__(self, directory: pathlib.Path, database: str) -> None:
        self.source = directory / "bookings"
        shutil.copytree(
            EXAMPLE, self.source, ignore=shutil.ignore_patterns("__pycache__", ".*", "build", "*.egg-info", "*.db")
        )
        self.environment = Environment(directory / "venv", shared=True)
        self.environment.install_alone(self.source)
        self.port = free_port()
        self.env = dict(self.environment.env)
        if database.startswith("postgresql"):
            # As on two machines: they share the database and the environment.
            self.env["DATABASE_URL"] = database.replace("postgresql", "postgresql+asyncpg", 1)
            self.env["TASKYARD_SECRET"] = "aGVyZSBhcmUgdGhpcnR5LXR3byBieXRlcywgbm8gbGVzcw=="
            self.directories = {name: directory / name for name in ("web", "worker")}
            for each in self.directories.values():
                each.mkdir()
        else:
            # As on one machine: the queue is in the default file of the project that contains both directories.
            self.env["DATABASE_URL"] = f"sqlite+aiosqlite:///{directory}/bookings.db"
            self.directories = {name: self.source / "deploy" / name for name in ("web", "worker")}
        self.processes: list[Process] = []

    def line(self, name: str, instruction: str) -> list[str]:
        """Returns a command line of a container file, with this run's port."""
        text = (self.source / "deploy" / name / "Containerfile").read_text()
        (found,) = re.findall(rf"^{instruction} (\[.*\])$", text, re.MULTILINE)
        return [argument.replace(PORT, str(self.port)) for argument in json.loads(found)]

    def start(self, name: str) -> Process:
        process = Process(self.line(name, "CMD"), self.directories[name], self.env)
        self.processes.append(process)
        return process

    def check_health(self, name: str) -> bool:
        """Runs the container's health check."""
        return self._succeeds(self.line(name, "HEALTHCHECK CMD"), name)

    def check_queue(self) -> bool:
        """Runs the check of the whole queue, as a monitor does."""
        return self._succeeds(["taskyard", "queue", "status"], "web")

    def _succeeds(self, command: list[str], name: str) -> bool:
        try:
            run(command, self.directories[name], self.env)
        except AssertionError:
            return False
        return True

    def book(self, guest: str) -> dict[str, Any]:
        response = httpx.post(self.url("/bookings"), json={"guest": guest, "nights": 2}, timeout=30)
        response.raise_for_status()
        found: dict[str, Any] = response.json()
        return found

    def state(self, booking: int) -> str:
        found: str = httpx.get(self.url(f"/bookings/{booking}"), timeout=30).json()["state"]
        return found

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@pytest.fixture
def deployment(tmp_path: pathlib.Path, database: str) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path, database)
    yield deployment
    for process in deployment.processes:
        if process.process.poll() is None:
            process.kill()
            process.wait(10)


class Guests:
    """Books repeatedly until the web process is gone; ``booked`` holds the acknowledged bookings."""

    def __init__(self, deployment: Deployment) -> None:
        self.booked: list[dict[str, Any]] = []
        self._deployment = deployment
        self._thread = threading.Thread(target=self._book)
        self._thread.start()

    def _book(self) -> None:
        while True:
            try:
                self.booked.append(self._deployment.book(f"guest {len(self.booked)}"))
            except httpx.TransportError:
                return

    def join(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()


def test_web_and_worker_are_deployed_apart(deployment: Deployment) -> None:
    run(["bookings-schema"], deployment.directories["web"], deployment.env)
    web = deployment.start("web")
    eventually(lambda: deployment.check_health("web"), 60, "the web process")
    # The web container is healthy while no worker runs; the queue as a whole is not.
    assert not deployment.check_queue()
    worker = deployment.start("worker")
    eventually(deployment.check_queue, 60, "the worker")

    first = deployment.book("ada@example.org")
    eventually(lambda: deployment.state(first["id"]) == "confirmed", 60, "the first booking to be confirmed")
    assert re.search(rf"INFO \[\d+\] bookings.tasks: booking {first['id']} is confirmed", worker.output), worker.output

    # Both are stopped while bookings come in.
    guests = Guests(deployment)
    eventually(lambda: len(guests.booked) >= 20, 60, "bookings")
    assert worker.stop() == 0, worker.output
    assert not deployment.check_queue(), "the worker has gone"
    assert deployment.check_health("web")
    before = len(guests.booked)
    eventually(lambda: len(guests.booked) >= before + 20, 60, "bookings without a worker")
    assert web.stop() == 0, web.output
    guests.join()

    web, worker = deployment.start("web"), deployment.start("worker")
    eventually(lambda: deployment.check_health("web"), 60, "the web process")
    for booked in guests.booked:
        eventually(lambda id=booked["id"]: deployment.state(id) == "confirmed", 60, f"{booked} to be confirmed")  # type: ignore[misc]
    # One task for each booking, including one whose response was cut off.
    count = "select count(*) as count from queued_tasks"
    (row,) = json.loads(run(["taskyard", "--json", "db", "query", count], deployment.directories["worker"], deployment.env))
    bookings = len(guests.booked) + 1
    while httpx.get(deployment.url(f"/bookings/{bookings + 1}"), timeout=30).status_code == 200:
        bookings += 1
    assert row["count"] == bookings
    assert (web.stop(), worker.stop()) == (0, 0), f"{web.output}\n{worker.output}"


def test_no_container_is_judged_by_what_it_cannot_help() -> None:
    """Health checks of containers must not fail for a backlog, a parked task or a database that is away, which a
    restart cannot repair."""
    web, worker = ((EXAMPLE / "deploy" / name / "Containerfile").read_text() for name in ("web", "worker"))
    assert re.findall(r"^HEALTHCHECK .*/(\w+)'", web, re.MULTILINE) == ["healthz"]
    assert "HEALTHCHECK" not in worker


def test_the_projects_own_tests(tmp_path: pathlib.Path) -> None:
    deployment = Deployment(tmp_path, "sqlite")
    said = run(
        [deployment.environment.python, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        deployment.source,
        deployment.environment.env,
    )
    assert re.search(r"^\d+ passed", said, re.MULTILINE), said
