"""The records of tasks: dicts with typed attributes, in every use that a dict has."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pydantic
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from taskyard import NotSerializable, QueuedTasks, QueuedTaskState
from taskyard._worker import Embedded
from taskyard.queued_task import getLogger, on_death, set_context
from taskyard.records import Attempt, DeadLetter, Failure, LogLine, Record, TaskRecord, _Field
from taskyard.testing import ManualTasks, assert_enqueued, enqueued


async def fails(text: str) -> None:
    getLogger().warning("about to fail", extra={"text": text})
    raise ValueError(text)


async def returns(given: Any) -> Any:
    assert type(given) is dict
    return TaskRecord(given)


async def stores(given: Any) -> None:
    set_context("record", given)
    set_context("record.state", "changed")


@pytest.fixture
async def tasks(tmp_path: Any) -> AsyncIterator[QueuedTasks]:
    async with QueuedTasks(database=str(tmp_path / "q.db")) as tasks, Embedded(tasks):
        yield tasks


@pytest.fixture
async def record(tasks: QueuedTasks) -> TaskRecord:
    ref = tasks.add_task(fails, "no", max_retries=0, tags=["a"], timeout=5)
    await ref.outcome(20)
    return await ref.record()


async def test_every_field_is_an_attribute(tasks: QueuedTasks, record: TaskRecord) -> None:
    ref = tasks.get(record.id)
    [line], [attempt], shown = await ref.get_logs(), await ref.get_attempts(), await tasks.dead.show(record.id)
    assert record.error is not None
    found: list[Record] = [record, line, attempt, shown, record.error]
    assert [type(one) for one in found] == [TaskRecord, LogLine, Attempt, DeadLetter, Failure]
    for one in found:
        fields = {name for name, value in vars(type(one)).items() if isinstance(value, _Field)}
        assert fields == one.keys(), "the engine and the class differ"
        assert all(getattr(one, name) is one[name] for name in one)
    assert (record.state, record.tags, record.timeout_ms) == ("failed", ["a"], 5000)
    assert record.state == QueuedTaskState.failed
    assert (record.error.type, record.error.message) == ("ValueError", "no")
    assert (line.message, line.level, line.fields) == ("about to fail", 30, {"text": "no"})
    assert attempt.error is not None and (attempt.number, attempt.error.type) == (1, "ValueError")
    assert (shown.task, shown.attempts) == (record, [attempt])


async def test_lists_contain_records(tasks: QueuedTasks, record: TaskRecord) -> None:
    assert [type(one) for one in (await tasks.list()) + (await tasks.dead.list())] == [TaskRecord, TaskRecord]
    assert await tasks.list() == await tasks.dead.list() == [record]


async def test_a_record_is_a_dict(record: TaskRecord) -> None:
    plain = json.loads(json.dumps(record))
    assert type(plain) is dict
    assert isinstance(record, Mapping)
    assert record == plain and plain == record and dict(record) == plain and {**record} == plain
    assert (lambda **fields: fields)(**record) == plain
    assert repr(record) == repr(dict(record))
    assert json.dumps(record, indent=1, sort_keys=True) == json.dumps(plain, indent=1, sort_keys=True)
    assert record.get("nothing", 7) == 7 and "state" in record and list(record) == list(plain)
    match record:
        case {"state": state, "error": {"type": name}}:
            assert (state, name) == ("failed", "ValueError")
    record["label"] = "mine"
    assert {**plain, "label": "mine"} == record


async def test_a_record_can_be_copied_and_pickled(record: TaskRecord) -> None:
    copies = [copy.copy(record), copy.deepcopy(record), TaskRecord(record)]
    copies += [pickle.loads(pickle.dumps(record, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for made in copies:
        assert type(made) is TaskRecord and made == record and made is not record
        assert type(made.error) is Failure and made.error.message == "no"


async def test_attributes_are_read_only_and_known(record: TaskRecord) -> None:
    with pytest.raises(AttributeError, match="read-only"):
        record.state = "done"  # type: ignore[misc, assignment]
    with pytest.raises(AttributeError):
        record.colour = "red"  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        record.nothing  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match="this TaskRecord has no field 'state'"):
        TaskRecord().state  # noqa: B018
    assert getattr(TaskRecord(), "state", None) is None and not hasattr(TaskRecord(), "error")


async def test_an_endpoint_returns_a_record(record: TaskRecord) -> None:
    app = FastAPI()

    class Shown(pydantic.BaseModel):
        id: str
        state: QueuedTaskState
        attempt: int

    @app.get("/bare")
    async def bare():  # type: ignore[no-untyped-def]
        return record

    @app.get("/dict")
    async def as_dict() -> dict[str, Any]:
        return record

    async def as_record() -> TaskRecord:
        return record

    as_record.__annotations__["return"] = TaskRecord
    app.get("/record")(as_record)

    @app.get("/list", response_model=list[dict[str, Any]])
    async def listed():  # type: ignore[no-untyped-def]
        return [record]

    @app.get("/model", response_model=Shown)
    async def model():  # type: ignore[no-untyped-def]
        return record

    client, plain = TestClient(app), json.loads(json.dumps(record))
    for path, expected in {
        "/bare": plain,
        "/dict": plain,
        "/record": plain,
        "/list": [plain],
        "/model": {"id": record.id, "state": "failed", "attempt": 1},
    }.items():
        answer = client.get(path)
        assert (answer.status_code, answer.json()) == (200, expected), path
    assert app.openapi()["paths"]["/record"]


async def test_pydantic_reads_a_record(record: TaskRecord) -> None:
    class Error(pydantic.BaseModel):
        type: str
        message: str

    class Shown(pydantic.BaseModel):
        state: QueuedTaskState
        error: Error | None

    class Holds(pydantic.BaseModel):
        record: TaskRecord

    for shown in (Shown.model_validate(record), Shown(**record), Shown.model_validate(record, from_attributes=True)):
        assert shown == Shown(state=QueuedTaskState.failed, error=Error(type="ValueError", message="no"))
    held = Holds.model_validate({"record": json.loads(json.dumps(record))})
    assert type(held.record) is TaskRecord and held.record.error is not None and held.record.error.type == "ValueError"
    assert json.loads(held.model_dump_json()) == {"record": record}


async def test_tasks_take_and_return_records_as_plain_dicts(tasks: QueuedTasks, record: TaskRecord) -> None:
    ref = tasks.add_task(returns, record)
    result = await ref.wait(20)
    assert type(result) is dict and result == record
    stored = (await ref.record()).payload
    assert stored["args"] == [json.loads(json.dumps(record))]
    other = tasks.add_task("rust::function", record, runtime="rust")
    assert (await other.record()).payload["args"] == stored["args"]

    class Own(dict[str, Any]):
        pass

    with pytest.raises(NotSerializable):
        tasks.add_task(returns, Own(record))


async def test_a_context_holds_a_record(tasks: QueuedTasks, record: TaskRecord) -> None:
    ref = tasks.add_task(stores, record)
    await ref.wait(20)
    assert (await ref.get_context())["record"] == {**record, "state": "changed"}


async def test_hooks_on_death_take_a_record(tasks: QueuedTasks) -> None:
    from support.waiting import eventually_async

    dead: list[TaskRecord] = []

    async def hook(record: TaskRecord) -> None:
        dead.append(record)

    from taskyard import _hooks

    on_death(hook)
    try:
        async with Embedded(tasks):
            ref = tasks.add_task(fails, "no", max_retries=0)

            async def is_told() -> bool:
                return any(one.id == ref.id for one in dead)

            await eventually_async(is_told)
    finally:
        _hooks.death.remove(hook)
    [told] = [one for one in dead if one.id == ref.id]
    assert type(told) is TaskRecord and told == await ref.record()


def test_assertions_return_records(tmp_path: Any) -> None:
    with ManualTasks(database=str(tmp_path / "q.db")) as tasks:
        tasks.add_task(fails, "x", queue="mail")
        assert assert_enqueued(fails, "x", tasks=tasks).queue == "mail"
        assert [type(one) for one in enqueued(tasks=tasks)] == [TaskRecord]
