"""The interface of a running task: context, log, parents, identity, and its isolation from other tasks."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from support.waiting import eventually_async
from taskyard import (
    Fail,
    Inject,
    NotSerializable,
    Progress,
    QueuedTasks,
    Retry,
    RetryPolicy,
    Snooze,
    TaskFailed,
    get_current_task,
)
from taskyard._codec import instant
from taskyard._worker import Embedded
from taskyard.errors import InvalidArgument, NotInTask, OverLimit
from taskyard.queued_task import (
    TaskContext,
    clear_context,
    get_context,
    get_full_context,
    get_parent_results,
    getLogger,
    save_context,
    set_context,
    set_full_context,
)


@pytest.fixture
async def tasks(database: str) -> AsyncIterator[QueuedTasks]:
    """A queue with a worker in this process."""
    async with QueuedTasks(database=database) as tasks, Embedded(tasks):
        yield tasks


async def contexts() -> dict[str, Any]:
    set_context("progress", 10)
    set_context("progress.total", 4)
    set_context("progress.completed", 1)
    set_context("a.b.c", [1, {"d": None}])
    set_context("when", (1, 2))
    assert get_context("a.b") == {"c": [1, {"d": None}]}
    assert get_context("nothing.here", "default") == "default"
    context = TaskContext()
    context["x.y"] = "z"
    assert "x.y" in context and context["x.y"] == "z" and "x.z" not in context
    with pytest.raises(KeyError):
        context["x.z"]
    return get_full_context()


async def test_context_is_nested_and_read_back(tasks: QueuedTasks) -> None:
    ref = tasks.add_task(contexts)
    expected = {
        "progress": {"total": 4, "completed": 1},
        "a": {"b": {"c": [1, {"d": None}]}},
        "when": (1, 2),
        "x": {"y": "z"},
    }
    assert await ref.wait(20) == expected
    assert await ref.get_context() == expected
    assert await ref.get_progress() == Progress(completed=1, total=4, percentage=25.0)


gates: dict[str, asyncio.Event] = {}


async def gated() -> None:
    set_context("step", "begun")
    await save_context()
    gates["saved"].set()
    await gates["go"].wait()


async def test_context_is_readable_while_the_task_runs(tasks: QueuedTasks) -> None:
    gates.update(saved=asyncio.Event(), go=asyncio.Event())
    ref = tasks.add_task(gated)
    await asyncio.wait_for(gates["saved"].wait(), 20)
    assert await ref.get_context() == {"step": "begun"}
    gates["go"].set()
    await ref.wait(20)


async def spoils() -> dict[str, Any]:
    set_context("good", 1)
    for bad in (object(), threading.Lock(), {1, object()}, "\ud800"):
        with pytest.raises(NotSerializable):
            set_context("bad", bad)
    for path in ("", "a.", ".a", "a..b", "$tuple", 5):
        with pytest.raises(InvalidArgument):
            set_context(path, 1)  # type: ignore[arg-type]
    with pytest.raises(OverLimit, match="context_bytes_max"):
        set_context("large", "x" * 300_000)
    deep: Any = 1
    for _ in range(70):
        deep = [deep]
    with pytest.raises(OverLimit, match="nesting_max"):
        set_context("deep", deep)
    set_context("later", 2)
    return get_full_context()


async def test_a_bad_value_raises_at_the_call_and_spoils_nothing_else(tasks: QueuedTasks) -> None:
    ref = tasks.add_task(spoils)
    assert await ref.wait(20) == {"good": 1, "later": 2}
    assert await ref.get_context() == {"good": 1, "later": 2}


async def branches() -> None:
    async def branch(number: int) -> None:
        set_context(f"branch.{number}", number)
        await asyncio.sleep(0)
        set_context(f"branch.{number}", number * 10)

    await asyncio.gather(*(branch(number) for number in range(20)))


async def test_gather_branches_lose_nothing(tasks: QueuedTasks) -> None:
    ref = tasks.add_task(branches)
    await ref.wait(20)
    assert await ref.get_context() == {"branch": {str(number): number * 10 for number in range(20)}}


def on_a_thread(value: int) -> str:
    set_context("thread", value)
    getLogger("thread").warning("on a thread")
    assert threading.current_thread() is not threading.main_thread()
    return get_current_task().id


async def test_sync_functions_have_context_and_log(tasks: QueuedTasks) -> None:
    ref = tasks.add_task(on_a_thread, 5)
    assert await ref.wait(20) == ref.id
    assert await ref.get_context() == {"thread": 5}
    (line,) = await ref.get_logs()
    assert (line["level"], line["logger"], line["message"]) == (30, "thread", "on a thread")


async def replaces() -> None:
    set_context("a", 1)
    set_full_context({"b": 2})
    assert get_full_context() == {"b": 2}
    clear_context()
    assert get_full_context() == {}
    set_context("late", 1, auto_commit=False)


async def test_replacing_and_clearing(tasks: QueuedTasks) -> None:
    ref = tasks.using(context={"first": (1,)}).add_task(replaces)
    await ref.wait(20)
    assert await ref.get_context() == {"late": 1}, "what was not committed is stored with the end"


async def fails_once() -> Any:
    seen = get_context("attempts", 0)
    set_context("attempts", seen + 1)
    if get_current_task().attempt == 1:
        raise ValueError("first")
    return seen


async def test_context_is_kept_across_retries(tasks: QueuedTasks) -> None:
    ref = tasks.using(retry=RetryPolicy(backoff=0)).add_task(fails_once)
    assert await ref.wait(20) == 1
    assert await ref.get_context() == {"attempts": 2}


leaked: contextvars.ContextVar[str] = contextvars.ContextVar("leaked", default="clean")


async def sets_a_variable() -> str:
    before = leaked.get()
    leaked.set("dirty")
    return before


async def test_contextvars_start_clean(tasks: QueuedTasks) -> None:
    leaked.set("the test's")
    refs = [tasks.add_task(sets_a_variable) for _ in range(20)]
    assert {await ref.wait(20) for ref in refs} == {"clean"}


async def logs() -> None:
    logger = getLogger("app.data")
    logger.debug("not kept")
    logger.info("kept %d", 1)
    logger.error("failed", extra={"context": {"step": "validation"}, "user": 7})
    try:
        raise KeyError("missing")
    except KeyError:
        logger.exception("caught")
    logging.getLogger("app.data.below").info("a child's, through its parent")


async def test_log_lines_are_kept_with_fields_and_tracebacks(tasks: QueuedTasks) -> None:
    ref = tasks.add_task(logs)
    await ref.wait(20)
    lines = await ref.get_logs()
    assert [(line["level"], line["message"]) for line in lines] == [
        (20, "kept 1"),
        (40, "failed"),
        (40, "caught"),
        (20, "a child's, through its parent"),
    ]
    assert lines[1]["fields"] == {"context": {"step": "validation"}, "user": 7}
    assert "KeyError: 'missing'" in lines[2]["traceback"]


async def test_getlogger_outside_of_a_task_is_only_a_logger(caplog: pytest.LogCaptureFixture) -> None:
    getLogger("outside").info("to the console")
    assert "to the console" in caplog.text
    for call in (get_current_task, lambda: set_context("a", 1), lambda: get_context("a")):
        with pytest.raises(NotInTask):
            call()


async def three() -> int:
    return 3


def four() -> int:
    return 4


async def boom() -> None:
    raise ValueError("boom")


async def adds_parents() -> Any:
    return await get_parent_results()


def adds_parents_sync() -> Any:
    return get_parent_results()


async def test_parent_results(tasks: QueuedTasks) -> None:
    parents = [tasks.add_task(three), tasks.add_task(four)]
    child = tasks.add_task(adds_parents, parents=parents)
    sync_child = tasks.add_task(adds_parents_sync, parents=parents, parent=None)
    assert await child.wait(20) == [3, 4]
    assert await sync_child.wait(20) == [3, 4]
    assert await tasks.add_task(adds_parents).wait(20) == []


async def kinds_of_parents() -> list[str]:
    return [type(result).__name__ for result in await get_parent_results()]


async def test_a_failed_parent_is_seen_by_who_runs_all_the_same(tasks: QueuedTasks) -> None:
    failed = tasks.add_task(boom, max_retries=0)
    child = tasks.add_task(kinds_of_parents, parent=failed, on_parent_failure="run")
    assert await child.wait(20) == ["TaskFailed"]


async def adds_a_task(tasks_id: str) -> Any:
    inner = QueuedTasks(database=tasks_id).add_task(three)
    return await inner.wait(20)


def raises(how: str) -> Any:
    attempt = get_current_task().attempt
    if how == "fail":
        raise Fail("for good")
    if how == "retry" and attempt == 1:
        raise Retry(after=0)
    if how == "snooze" and attempt <= 2:
        raise Snooze(0)
    return attempt


async def test_what_a_body_may_wish(tasks: QueuedTasks) -> None:
    with pytest.raises(TaskFailed, match="for good"):
        await tasks.add_task(raises, "fail").wait(20)
    assert await tasks.add_task(raises, "retry").wait(20) == 2
    ref = tasks.add_task(raises, "snooze")
    assert await ref.wait(20) == 3
    assert (await ref.record())["failures"] == 0


def returns(how: str) -> Any:
    attempt = get_current_task().attempt
    if how == "fail":
        return Fail("for good")
    if attempt == 1:
        return Retry(after=0) if how == "retry" else Snooze(0)
    return attempt


async def asks_again(seconds: float) -> None:
    raise Retry("not now", after=seconds)


def asks_for_later(seconds: float) -> None:
    raise Snooze(seconds)


async def test_a_pause_is_as_long_as_was_asked_for(tasks: QueuedTasks) -> None:
    for function, seconds, failures in ((asks_again, 300, 1), (asks_for_later, 900, 0)):
        ref = tasks.add_task(function, seconds)

        async def waits(ref: Any = ref) -> dict[str, Any] | None:
            found: dict[str, Any] = await ref.record()
            return found if found["wait_reason"] == "retry" else None

        found = await eventually_async(waits)
        [attempt] = await ref.get_attempts()
        assert found is not None and (found["state"], found["failures"]) == ("waiting", failures)
        pause = instant(found["run_at"]) - instant(attempt["ended_at"])
        assert abs(pause.total_seconds() - seconds) < 1, pause


async def test_returning_a_wish_is_raising_it(tasks: QueuedTasks) -> None:
    with pytest.raises(TaskFailed, match="for good"):
        await tasks.add_task(returns, "fail").wait(20)
    assert await tasks.add_task(returns, "retry").wait(20) == 2
    assert await tasks.add_task(returns, "snooze").wait(20) == 2


class Flaky(ConnectionError):
    """A subclass of a connection error."""


def raises_flaky() -> None:
    raise Flaky("no route")


async def test_policies_mean_subclasses(tasks: QueuedTasks) -> None:
    for policy, attempts in [
        (RetryPolicy(max_retries=2, backoff=0, on=(OSError,)), 3),
        (RetryPolicy(max_retries=2, backoff=0, on=(ValueError,)), 1),
        (RetryPolicy(max_retries=2, backoff=0, never=(ConnectionError,)), 1),
        (RetryPolicy(max_retries=2, backoff=0, on=(Flaky,), never=(OSError,)), 3),
    ]:
        ref = tasks.using(retry=policy).add_task(raises_flaky)
        outcome = await ref.outcome(20)
        assert isinstance(outcome.error, TaskFailed) and outcome.error.error_type == f"{__name__}.Flaky"
        assert (await ref.record())["failures"] == attempts, policy


async def failing_deeply() -> None:
    def inner() -> None:
        raise LookupError("deep down")

    inner()


async def test_a_failure_carries_type_message_and_traceback(tasks: QueuedTasks) -> None:
    with pytest.raises(TaskFailed) as failed:
        await tasks.add_task(failing_deeply, max_retries=0).wait(20)
    error = failed.value
    assert (error.error_type, error.error) == ("LookupError", "deep down")
    assert error.remote_traceback is not None
    assert "in inner" in error.remote_traceback and "taskyard/worker" not in error.remote_traceback


async def identity() -> list[Any]:
    task = get_current_task()
    return [task.id, task.attempt, task.idempotency_key, task.name, task.queue, task.context]


async def test_who_it_is(tasks: QueuedTasks) -> None:
    ref = tasks.add_task(identity, queue="special", name="a label", context={"by": "me"})
    assert await ref.wait(20) == [ref.id, 1, ref.id, "a label", "special", {"by": "me"}]


def test_contexts_that_could_not_be_read_back_are_refused(tmp_path: Any) -> None:
    with pytest.raises(InvalidArgument, match="reserved for stored types"):
        QueuedTasks(database=str(tmp_path / "q.db")).add_task(three, context={"$x": 1})


async def test_a_context_that_this_process_cannot_read_fails_its_task_alone(postgres: str) -> None:
    import json

    import psycopg

    async with QueuedTasks(database=postgres) as tasks, Embedded(tasks):
        neighbours = [tasks.add_task(three) for _ in range(5)]
        with psycopg.connect(postgres) as connection:
            row = connection.execute(
                "SELECT taskyard.enqueue(%s, runtime => 'python', context => %s::json)",
                (f"{__name__}:three", json.dumps({"a": {"$enum": ["nowhere:Colour", "RED"]}})),
            ).fetchone()
            assert row is not None
            # As if the client had encoded it; values that SQL inserts are data.
            connection.execute("UPDATE taskyard.task_context SET plain = false WHERE task_id = %s", row)
        outcome = await tasks.get(row[0]).outcome(20)
        assert isinstance(outcome.error, TaskFailed) and "nowhere:Colour" in str(outcome.error)
        assert [await ref.wait(20) for ref in neighbours] == [3] * 5


class Rolled:
    back = False


def swallowing() -> Any:
    try:
        yield "session"
    except Exception:
        Rolled.back = True


async def fails_with_a_dependency(session: str = Inject(swallowing)) -> None:
    raise ValueError("the body's")


def injected_first(session: Annotated[str, Inject(swallowing)], order: int, note: str = "none") -> Any:
    return [session, order, note]


async def test_a_dependency_that_handles_the_error_does_not_make_a_success(tasks: QueuedTasks) -> None:
    with pytest.raises(TaskFailed, match="the body's"):
        await tasks.add_task(fails_with_a_dependency, max_retries=0).wait(20)
    assert Rolled.back
    assert await tasks.add_task(injected_first, 5, note="n").wait(20) == ["session", 5, "n"]  # type: ignore[arg-type,call-arg]


async def test_a_line_that_cannot_be_encoded_spoils_no_other(tasks: QueuedTasks) -> None:
    ref = tasks.add_task(logs_odd_bytes)
    await ref.wait(20)
    assert [line["message"] for line in await ref.get_logs()] == ["before", "odd", "after"]
    assert await ref.get_context() == {"a": 1}


async def logs_odd_bytes() -> None:
    import os

    logger = getLogger("odd")
    logger.info("before")
    set_context("a", 1)
    logger.info("odd", extra={"path": os.fsdecode(b"\xff")})
    logger.info("after")


async def test_an_interruption_before_the_first_step_is_told(tmp_path: Any) -> None:
    import socket

    from taskyard import _core, _identity
    from taskyard._worker import Worker

    ours, theirs = socket.socketpair()
    worker = Worker(_core.Channel(theirs.detach()), _identity.FUNCTIONS)
    run = (1, "id", f"{__name__}:three", None, "default", b'{"args":[],"kwargs":{}}', None, 1, None, False, {}, False)
    _identity.FUNCTIONS.known[f"{__name__}:three"] = three
    # In one iteration of the loop, like two messages that arrive together.
    worker._on_run([run])
    worker._on_interrupt([(1, "asked")])
    ours.setblocking(False)
    said = b""
    while b"Interrupted" not in said and b"Returned" not in said:
        said += await asyncio.wait_for(asyncio.get_running_loop().sock_recv(ours, 4096), 10)
    worker._end()
    ours.close()
