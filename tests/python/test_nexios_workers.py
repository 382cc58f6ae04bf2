"""``Worker`` and ``WorkerPool``: they run the tasks of a queue, end in time, and leave nothing behind."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.project import Process, Project
from support.waiting import eventually, eventually_async
from taskyard import RetryPolicy
from taskyard.errors import InvalidArgument, QueueUnavailable, TaskyardError, WrongState
from taskyard.tasks import Task, TaskQueue, TaskStatus
from taskyard.workers import Worker, WorkerPool


class Add(Task):
    def __init__(self, a: int, b: int) -> None:
        self.a, self.b = a, b

    async def execute(self) -> int:
        return self.a + self.b


class Held(Task):
    """Runs until the gate opens; several may run at once."""

    def __init__(self, number: int = 0) -> None:
        self.number = number

    async def execute(self) -> str:
        started.append(self.number)
        await gate.event.wait()
        return "went"


class Gate:
    event: asyncio.Event


gate = Gate()
started: list[int] = []


@pytest.fixture
async def queue(database: str) -> AsyncIterator[TaskQueue]:
    gate.event = asyncio.Event()
    started.clear()
    async with TaskQueue(url=database) as queue:
        yield queue


async def status(queue: TaskQueue, id: str) -> TaskStatus | None:
    found = await queue.get_task(id)
    return found.status if found is not None else None


async def is_status(queue: TaskQueue, ids: list[str], wanted: TaskStatus) -> None:
    async def look() -> bool:
        return all([await status(queue, id) is wanted for id in ids])

    await eventually_async(look)


async def have_started(count: int) -> None:
    async def look() -> bool:
        return len(started) >= count

    await eventually_async(look)


# --------------------------------------------------------------------------------------------------------------- a worker


async def test_a_worker_runs_tasks_until_it_is_stopped(queue: TaskQueue) -> None:
    worker = Worker(queue)
    running = asyncio.ensure_future(worker.start())
    ids = [await queue.enqueue(Add(1, number)) for number in range(5)]
    await is_status(queue, ids, TaskStatus.COMPLETED)
    found = await queue.get_task(ids[4])
    assert found is not None and found.result == 5
    loop = asyncio.get_running_loop()
    began = loop.time()
    await worker.stop()
    # The worker was waiting for a task, and has ended.
    assert loop.time() - began < 0.9 and running.done() and worker.current_task is None
    assert running.exception() is None


class Bare(Worker):
    """A worker that does not call the base's ``__init__``, has its own loop, and passes the text of an error."""

    def __init__(self, queue: TaskQueue) -> None:
        self.queue = queue
        self.running = True
        self.current_task: Task | None = None

    async def start(self) -> None:
        assert self.queue is not None
        while self.running:
            try:
                task = await self.queue.dequeue()
                if not task:
                    await asyncio.sleep(0.02)
                    continue
                self.current_task = task
                try:
                    result = await task.execute()
                    await self.queue.complete_task(task.id, result)
                except Exception as error:
                    await self.queue.fail_task(task.id, str(error))
                self.current_task = None
            except Exception:
                await asyncio.sleep(0.02)


class NoInit(Worker):
    def __init__(self, queue: TaskQueue) -> None:
        self.queue = queue


@pytest.mark.parametrize("worker_class", [Worker, Bare, NoInit])
async def test_trap_01_no_base_init_of_workers(queue: TaskQueue, worker_class: Any) -> None:
    worker = worker_class(queue)
    running = asyncio.ensure_future(worker.start())
    id = await queue.enqueue(Add(2, 2))
    await is_status(queue, [id], TaskStatus.COMPLETED)
    await worker.stop()
    await asyncio.wait_for(running, 20)


class Failing(Task):
    async def execute(self) -> None:
        raise ValueError("broken")


class Odd(Task):
    async def execute(self) -> object:
        return object()


class Exits(Task):
    async def execute(self) -> None:
        sys.exit(3)


class ExitsInPart(Task):
    async def execute(self) -> None:
        async def part() -> None:
            sys.exit(3)

        asyncio.get_running_loop().call_soon(sys.exit, 3)
        await asyncio.gather(part())


async def test_no_task_ends_its_worker(queue: TaskQueue) -> None:
    worker = Worker(queue)
    running = asyncio.ensure_future(worker.start())
    bad = [await queue.enqueue(cls(), max_retries=0) for cls in (Failing, Odd, Exits, ExitsInPart)]
    good = await queue.enqueue(Add(1, 1))
    await is_status(queue, [good], TaskStatus.COMPLETED)
    await is_status(queue, bad, TaskStatus.FAILED)
    assert not running.done()
    with pytest.raises(WrongState):
        await worker.start()
    await worker.stop()


async def test_a_cancelled_task_leaves_the_worker_alive(queue: TaskQueue) -> None:
    worker = Bare(queue)
    running = asyncio.ensure_future(worker.start())
    id = await queue.enqueue(Held())
    await have_started(1)
    assert worker.current_task is not None and worker.current_task.id == id
    assert await queue.cancel_task(id) is True
    await is_status(queue, [id], TaskStatus.CANCELLED)
    await is_status(queue, [await queue.enqueue(Add(1, 1))], TaskStatus.COMPLETED)
    worker.running = False
    await asyncio.wait_for(running, 20)


async def test_stop_gives_back_what_does_not_end(queue: TaskQueue) -> None:
    worker = Worker(queue)
    running = asyncio.ensure_future(worker.start())
    id = await queue.enqueue(Held())
    await have_started(1)
    await worker.stop(timeout=0.1)
    assert running.done()
    found = await queue.get_task(id)
    assert found is not None and found.status is TaskStatus.QUEUED and found.attempt == 0


async def test_handle_shutdown_drains_and_then_hastens(queue: TaskQueue) -> None:
    worker = Worker(queue)
    running = asyncio.ensure_future(worker.start())
    first = await queue.enqueue(Held())
    await have_started(1)
    worker.handle_shutdown(signal.SIGTERM, None)
    assert worker.running is False and not running.done()
    gate.event.set()
    await asyncio.wait_for(running, 20)
    assert await status(queue, first) is TaskStatus.COMPLETED

    gate.event.clear()
    worker = Worker(queue)
    running = asyncio.ensure_future(worker.start())
    second = await queue.enqueue(Held())
    await have_started(2)
    worker.handle_shutdown(signal.SIGTERM, None)
    worker.handle_shutdown(signal.SIGTERM, None)
    await asyncio.wait_for(running, 20)
    assert await status(queue, second) is TaskStatus.QUEUED
    # Without effect before the worker ever ran.
    Worker(queue).handle_shutdown(signal.SIGTERM, None)


# ----------------------------------------------------------------------------------------------------------------- pools


@pytest.mark.parametrize("worker_class", [Worker, Bare])
async def test_a_pool_runs_several_at_once(queue: TaskQueue, worker_class: Any) -> None:
    pool = WorkerPool(queue, num_workers=4, worker_class=worker_class)
    await pool.start()
    await pool.start()
    assert len(pool.workers) == 4 and all(isinstance(worker, worker_class) for worker in pool.workers)
    ids = [await queue.enqueue(Held(number)) for number in range(6)]
    await have_started(4)
    assert len(started) == 4
    gate.event.set()
    await is_status(queue, ids, TaskStatus.COMPLETED)
    assert await pool.stop() == 0 and await pool.stop() == 0
    # A task that is added now waits.
    assert await status(queue, await queue.enqueue(Add(1, 1))) is TaskStatus.QUEUED
    # The pool can be started again.
    async with pool:
        await is_status(queue, [await queue.enqueue(Add(1, 1))], TaskStatus.COMPLETED)


@pytest.mark.parametrize("worker_class", [Worker, Bare])
async def test_trap_11_stop_waits_and_gives_back_what_is_left(queue: TaskQueue, worker_class: Any) -> None:
    pool = WorkerPool(queue, 3, worker_class)
    await pool.start()
    ids = [await queue.enqueue(Held(number)) for number in range(3)]
    await have_started(3)
    assert await pool.stop(timeout=0.1) == 3
    for id in ids:
        found = await queue.get_task(id)
        assert found is not None and found.status is TaskStatus.QUEUED and found.attempt == 0
    # Tasks that end in time may do so.
    started.clear()
    await pool.start()
    await have_started(3)
    stopping = asyncio.ensure_future(pool.stop(timeout=30))
    # A later request is answered.
    assert await status(queue, ids[0]) is TaskStatus.RUNNING
    assert not stopping.done()
    gate.event.set()
    assert await stopping == 0
    await is_status(queue, ids, TaskStatus.COMPLETED)


class Fragile(Worker):
    """Fails at its first task, in a given way."""

    broken = 0

    async def process(self, task: Task) -> None:
        if type(self).broken < 2:
            type(self).broken += 1
            raise [RuntimeError("a bug"), asyncio.CancelledError()][type(self).broken - 1]
        await super().process(task)


async def test_workers_that_break_are_replaced(queue: TaskQueue) -> None:
    Fragile.broken = 0
    pool = WorkerPool(queue, 1, Fragile)
    async with pool:
        before = pool.workers[0]
        id = await queue.enqueue(Add(3, 4), retry=RetryPolicy(backoff=0.01))
        await is_status(queue, [id], TaskStatus.COMPLETED)
        assert pool.restarts == 2 and pool.workers[0] is not before
    found = await queue.get_task(id)
    # The task of the failed worker had a failed attempt: a task that breaks workers must not do so forever. The task of
    # the cancelled worker was given back.
    assert found is not None and found.attempt == 2 and [error.type for error in found.errors] == ["RuntimeError"]


async def test_arguments_of_a_pool_are_checked(queue: TaskQueue) -> None:
    for wrong in (0, -1, True, 2.5):
        with pytest.raises(InvalidArgument):
            WorkerPool(queue, wrong)  # type: ignore[arg-type]


async def test_a_database_that_cannot_be_had_is_told_at_the_start() -> None:
    pool = WorkerPool(TaskQueue(url="/proc/nowhere/queue.db"), 1)
    with pytest.raises((TaskyardError, QueueUnavailable)):
        await pool.start()
    assert await pool.stop() == 0


def test_signals_only_on_the_main_thread(tmp_path: Any) -> None:
    raised: list[BaseException] = []

    def live() -> None:
        async def start() -> None:
            await WorkerPool(TaskQueue(url=str(tmp_path / "q.db")), 1, handle_signals=True).start()

        try:
            asyncio.run(start())
        except WrongState as error:
            raised.append(error)

    thread = threading.Thread(target=live)
    thread.start()
    thread.join()
    assert raised and "main thread" in str(raised[0])


async def test_trap_08_no_signal_handler_unless_asked_and_one_for_all(queue: TaskQueue) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    async with WorkerPool(queue, 4):
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    first, second = (WorkerPool(queue, 2, handle_signals=True) for _ in range(2))
    await first.start()
    one = signal.getsignal(signal.SIGTERM)
    await second.start()
    assert signal.getsignal(signal.SIGTERM) == one != before[0]
    id = await queue.enqueue(Held())
    await have_started(1)
    signal.raise_signal(signal.SIGTERM)
    await eventually_async(lambda: _stops(first, second))
    gate.event.set()

    async def are_over() -> bool:
        return not first._keepers and not second._keepers

    await eventually_async(are_over)
    assert await status(queue, id) is TaskStatus.COMPLETED
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


async def _stops(*pools: WorkerPool) -> bool:
    return all(pool._is_stopping for pool in pools)


PROGRAM = """
    import asyncio
    from taskyard.tasks import Task, TaskQueue
    from taskyard.workers import WorkerPool

    class Slow(Task):
        def __init__(self, seconds):
            self.seconds = seconds

        async def execute(self):
            print("begun", flush=True)
            await asyncio.sleep(self.seconds)
            return "slept"

    queue = TaskQueue()

    async def main():
        pool = WorkerPool(queue, 2)
        print("ready", flush=True)
        await pool.run()
        print("over", flush=True)

    if __name__ == "__main__":
        asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_program_of_workers_ends_in_order(project: Project, number: int) -> None:
    project.write("crew.py", PROGRAM)
    ids = project.python("""
        import asyncio, crew
        async def main():
            async with crew.queue as queue:
                print(await queue.enqueue(crew.Slow(1.0)), await queue.enqueue(crew.Slow(600)))
        asyncio.run(main())
    """).split()
    process = Process([sys.executable, "crew.py"], project.directory, project.env)
    project._started.append(process)
    eventually(lambda: process.output.count("begun") == 2, 60, "both tasks")
    process.signal(number)
    eventually(lambda: project.task(ids[0])["state"] == "done", 60, "the first task")
    assert process.process.poll() is None
    process.signal(number)
    assert process.wait() == 0
    assert "over" in process.output
    found = project.task(ids[1])
    assert (found["state"], found["attempt"]) == ("enqueued", 0)
