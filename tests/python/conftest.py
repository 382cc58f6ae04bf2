"""Fixtures of all tests: a database of each kind, a project directory, and the command in real processes."""

from __future__ import annotations

import os
import pathlib
import signal
import uuid
from collections.abc import Generator, Iterator

import pytest
from support.postgres import Cluster
from support.project import Project
from taskyard import QueuedTasks, _port

# Ignored signals are inherited: a parent that ignores some (`nohup`, a shell's background job) would pass that on to
# the servers that these tests start and signal.
for _number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

# Settings in the environment of the test run must have no effect.
for name in list(os.environ):
    if name.startswith(("TASKYARD_", "QUEUE_", "DATABASE_URL")) and not name.startswith("TASKYARD_TEST_"):
        del os.environ[name]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Replaces lone surrogates in captured output, which xdist cannot transfer: the logged error of a task may contain
    some."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A PostgreSQL cluster for this run."""
    with Cluster(tmp_path_factory.mktemp("postgres")) as cluster:
        yield cluster


@pytest.fixture
def postgres(cluster: Cluster) -> Iterator[str]:
    """The address of a fresh database."""
    name = f"t{uuid.uuid4().hex[:12]}"
    yield cluster.create(name)
    cluster.drop(name)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> str:
    """The address of a fresh database of each kind."""
    if request.param == "sqlite":
        return str(tmp_path / "queue.db")
    address: str = request.getfixturevalue("postgres")
    return address


@pytest.fixture
def queue(database: str) -> Iterator[QueuedTasks]:
    """A queue as the process's default, on each kind of database."""
    queue = QueuedTasks(database=database)
    before = _port.use(queue._own)
    yield queue
    _port.use(before)


@pytest.fixture
def project(tmp_path: pathlib.Path, database: str) -> Iterator[Project]:
    """A directory with an application, on each kind of database."""
    with Project(tmp_path, database) as project:
        yield project


@pytest.fixture
def sqlite_project(tmp_path: pathlib.Path) -> Iterator[Project]:
    """A directory with an application, on the embedded default."""
    with Project(tmp_path, None) as project:
        yield project
