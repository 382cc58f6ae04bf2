"""Requests about tasks, awaited and without an event loop: the same calls, the same values."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support.project import Project
from taskyard import QueuedTasks, TaskCancelled, TaskFailed, TaskNotFound, WaitTimeout

APP = """
    from taskyard.progress import ProgressTracker
    from taskyard.queued_task import getLogger, set_context

    def pack(boxes: int) -> int:
        progress = ProgressTracker.of_task()
        progress.set_total(boxes)
        for _ in range(boxes):
            progress.advance()
        getLogger("packing").info("packed %d", boxes)
        set_context("label", "fragile")
        return boxes

    def fail() -> None:
        raise ValueError("broken")
"""

#: Sends each request in both ways, and prints the differences.
PROGRAM = """
    import asyncio
    import app
    from taskyard import QueuedTasks, TaskFailed

    QUESTIONS = {
        "get_task_id": lambda tasks, ref: ref.get_task_id(),
        "record": lambda tasks, ref: ref.record(),
        "get_state": lambda tasks, ref: ref.get_state(),
        "get_context": lambda tasks, ref: ref.get_context(),
        "get_progress": lambda tasks, ref: ref.get_progress(),
        "get_logs": lambda tasks, ref: ref.get_logs(),
        "get_attempts": lambda tasks, ref: ref.get_attempts(),
        "wait": lambda tasks, ref: ref.wait(30),
        "outcome": lambda tasks, ref: ref.outcome(30),
        "list": lambda tasks, ref: tasks.list(states=["done"], limit=5),
    }

    def plain(value):
        return vars(value) if hasattr(value, "ok") else value

    with QueuedTasks() as tasks:
        ref = tasks.add_task(app.pack, 4)
        # Before anything else: the id once it is stored.
        assert ref.get_task_id().result(30) == ref.id
        assert ref.result(60) == 4
        sync = {name: plain(ask(tasks, ref).result(30)) for name, ask in QUESTIONS.items()}
        assert sync["get_state"] == "done" and sync["wait"] == 4 and sync["outcome"]["result"] == 4
        assert sync["get_progress"].completed == 4 and sync["get_context"]["label"] == "fragile"
        assert [line["message"] for line in sync["get_logs"]] == ["packed 4"] and len(sync["get_attempts"]) == 1
        assert [each["id"] for each in sync["list"]] == [ref.id] == [sync["record"]["id"]]
        # As coroutines, each in a loop of its own.
        for name, ask in QUESTIONS.items():
            assert plain(asyncio.run(ask(tasks, ref))) == sync[name], name
        failed = tasks.add_task(app.fail, max_retries=0)
        assert "broken" in str(failed.outcome().result(60).error)
        try:
            failed.wait().result()
        except TaskFailed as error:
            print(error.error_type)

    async def main():
        async with QueuedTasks() as tasks:
            again = tasks.get(ref.id)
            for name, ask in QUESTIONS.items():
                assert plain(await ask(tasks, again)) == sync[name], name
            # Concurrently, and as asyncio tasks.
            found = await asyncio.gather(*(ask(tasks, again) for ask in QUESTIONS.values()))
            assert [plain(each) for each in found] == list(sync.values())
            assert plain(await asyncio.create_task(again.outcome(5))) == sync["outcome"]
            question = again.get_state()
            assert await question == await question == "done"
            try:
                again.get_state().result()
            except RuntimeError as error:
                print(error)
            assert await asyncio.to_thread(again.get_state().result, 30) == "done"

    asyncio.run(main())
"""


def test_every_question_is_awaited_or_asked_in_a_thread(project: Project) -> None:
    project.write("app.py", APP)
    project.server("--workers=1", app="app")
    said = project.python(PROGRAM).splitlines()
    assert said[0] == "ValueError" and "await it here" in said[1]


def test_a_bound_that_passes_is_a_wait_timeout(queue: QueuedTasks) -> None:
    with queue:
        ref = queue.add_task("app:never")
        for ask in (ref.wait(0.05), ref.outcome(0.05)):
            with pytest.raises(WaitTimeout):
                ask.result()
        for late in (ref.wait(60), ref.outcome()):
            with pytest.raises(WaitTimeout):
                late.result(0.05)
        missing = queue.get("00000000-0000-7000-8000-000000000000")
        for question in (missing.record(), missing.get_state(), missing.get_progress(), missing.get_logs()):
            with pytest.raises(TaskNotFound):
                question.result(30)


async def test_a_request_that_is_not_awaited_is_warned_about(queue: QueuedTasks) -> None:
    async with queue:
        ref = queue.add_task("app:never")
        asks: dict[str, Callable[[], Any]] = {
            "get_state()": ref.get_state, "get_task_id()": ref.get_task_id, "wait()": ref.wait, "outcome()": ref.outcome,
        }  # fmt: skip
        for name, ask in asks.items():
            with pytest.warns(RuntimeWarning, match="never awaited") as warned:
                ask()
                gc.collect()
            assert str(warned[0].message).startswith(name)
        await ref.get_task_id()


async def test_a_task_on_an_async_connection_is_awaited_first(postgres: str) -> None:
    import psycopg

    async with QueuedTasks(database=postgres) as tasks, await psycopg.AsyncConnection.connect(postgres) as connection:
        ref = tasks.add_task("app:mail", connection=connection)
        failed: list[Exception] = []

        def ask() -> None:
            try:
                ref.get_state().result(10)
            except Exception as error:
                failed.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert "never awaited" in str(failed[0])
        await ref
        await connection.commit()
        assert await asyncio.to_thread(ref.get_state().result, 10) == "enqueued"


def test_failures_are_raised_as_they_are_awaited(queue: QueuedTasks) -> None:
    with queue:
        ref = queue.add_task("app:never")
        ref.cancel("no more").result(30)
        assert ref.record().result(30)["cancel_reason"] == "no more"
        assert ref.outcome().result(30).error is not None
        with pytest.raises(asyncio.CancelledError):
            ref.wait().result(30)
        assert not isinstance(ref.outcome().result(30).error, TaskFailed)


async def test_an_answer_is_awaited_as_often_as_one_likes(queue: QueuedTasks) -> None:
    async with queue:
        ref = queue.add_task("app:never", delay=3600)
        for ask in (ref.get_task_id, ref.get_state, ref.get_logs, ref.record, queue.list, queue.queues.list):
            answer = ask()
            # Awaited by two asyncio tasks at once, each of which drives it as a coroutine, by others after them, and
            # directly.
            first, second = await asyncio.gather(asyncio.create_task(answer), asyncio.create_task(answer))
            third = await asyncio.wait_for(answer, 30)
            assert first == second == third == await answer == await asyncio.create_task(answer)
        missing = queue.get("00000000-0000-7000-8000-000000000000").get_state()
        failed = await asyncio.gather(*(asyncio.create_task(missing) for _ in range(2)), return_exceptions=True)
        assert [type(error) for error in failed] == [TaskNotFound] * 2
        with pytest.raises(TaskNotFound):
            await missing
        # Giving up one wait does not end the other.
        wait = ref.wait()
        given_up, waits = asyncio.create_task(wait), asyncio.create_task(wait)
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait([given_up])
        await ref.cancel()
        with pytest.raises(TaskCancelled):
            await waits
