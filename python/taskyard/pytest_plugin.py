"""The pytest plugin: gives each test a queue of its own, in a temporary SQLite file, as the process's queue while the
test runs.

Fixtures: ``queued_tasks`` (tasks run at once), ``task_queue`` (tasks run at ``drain()``), ``queue_worker`` (a real
worker in a thread), ``queue_clock``. For code under test that uses the process's queue there is a marker:
``@pytest.mark.queue(mode="inline" | "manual" | "worker")``.

While a test has a queue, it replaces every other queue of the process, also one that the application created with a
database of its own: nothing reaches another database::

    async def test_registering(queued_tasks):
        ref = queued_tasks.add_task(send_welcome, "ada@example.org")
        assert await ref.wait() == {"welcomed": "ada@example.org"}
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from . import _exit_code

if TYPE_CHECKING:
    from .queued_tasks import QueuedTasks
    from .testing import Clock, InlineTasks, ManualTasks

__all__ = ["pytest_configure", "queue_clock", "queue_worker", "queued_tasks", "task_queue"]

_FIXTURES = {"inline": "queued_tasks", "manual": "task_queue", "worker": "queue_worker"}


def pytest_configure(config: pytest.Config) -> None:
    _exit_code.ignore()
    config.addinivalue_line("markers", 'queue(mode="inline"): gives the test a queue: inline, manual or worker')


@pytest.fixture(autouse=True)
def _taskyard_queue(request: pytest.FixtureRequest) -> None:
    """Sets up the queue that a marker requests. Raises ``pytest.UsageError`` for an unknown mode."""
    marker = request.node.get_closest_marker("queue")
    if marker is None:
        return
    mode = marker.kwargs.get("mode", marker.args[0] if marker.args else "inline")
    if mode not in _FIXTURES:
        raise pytest.UsageError(f"@pytest.mark.queue(mode={mode!r}): it is not one of {', '.join(_FIXTURES)}")
    request.getfixturevalue(_FIXTURES[mode])


def _file(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("taskyard") / "queue.db")


@pytest.fixture
def queued_tasks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InlineTasks]:
    """A queue whose tasks run at once, in a worker in this process; see :class:`taskyard.testing.InlineTasks`."""
    from .testing import InlineTasks, WorkerThread, as_default

    with as_default(InlineTasks(_file(tmp_path_factory))) as tasks:
        worker = WorkerThread(tasks)
        worker.start()
        try:
            yield tasks  # type: ignore[misc]
        finally:
            worker.stop()


@pytest.fixture
def task_queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManualTasks]:
    """A queue whose tasks run at ``await task_queue.drain()``, on the test's own event loop; see
    :class:`taskyard.testing.ManualTasks`."""
    from .testing import ManualTasks, as_default

    with as_default(ManualTasks(database=_file(tmp_path_factory))) as tasks:
        yield tasks  # type: ignore[misc]


@pytest.fixture
def queue_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueuedTasks]:
    """A queue with a worker that runs beside the test, in a thread with an event loop of its own."""
    from .queued_tasks import QueuedTasks
    from .testing import WorkerThread, as_default

    with as_default(QueuedTasks(database=_file(tmp_path_factory))) as tasks:
        worker = WorkerThread(tasks)
        worker.start()
        try:
            yield tasks
        finally:
            worker.stop()


@pytest.fixture
def queue_clock(request: pytest.FixtureRequest) -> Iterator[Clock]:
    """The database clock of the test's queue (of the fixture or marker that it uses; else of a manual one), reset after
    the test."""
    from .testing import Clock

    names = [name for name in _FIXTURES.values() if name in request.fixturenames]
    marker = request.node.get_closest_marker("queue")
    if not names and marker is not None:
        names = [_FIXTURES[marker.kwargs.get("mode", marker.args[0] if marker.args else "inline")]]
    tasks: Any = request.getfixturevalue(names[0] if names else "task_queue")
    clock = Clock(tasks)
    yield clock
    clock.reset()
