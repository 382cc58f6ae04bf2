"""Data from other sources stays data: only values that the Python client itself encoded are decoded into objects."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import pathlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pydantic
import pytest
from support.project import Project
from taskyard import NotSerializable, QueuedTasks, Retry, TaskFailed, _loops, get_current_task, register_serializer
from taskyard._worker import Embedded
from taskyard.queued_task import get_context, get_full_context, set_context

HERE = __name__


class Order(pydantic.BaseModel):
    amount: int = pydantic.Field(gt=0)


@dataclasses.dataclass
class Job:
    script: str


class Custom:
    made = 0

    @classmethod
    def decode(cls, value: Any) -> Custom:
        Custom.made += 1
        return cls()


register_serializer(Custom, lambda value: 1, Custom.decode, name="custom")

#: Data that a user of an application may send, each of which the client's own encoding would decode as an object.
TAGGED: list[Any] = [
    {"$pydantic": [f"{HERE}:Order", {"amount": -5}, ["amount"]]},
    {"$dataclass": [f"{HERE}:Job", {"script": "rm"}]},
    {"$path": "/etc/passwd"},
    {"$tuple": [1, 2]},
    {"$object": ["custom", 1]},
    {"$dill": "VFkB"},
    {"$result": str(uuid.uuid4())},
    {"$oid": "507f1f77bcf86cd799439011"},
    {"$dict": [["a", 1]]},
    {"$date": "2026-01-01", "b": {"$float": "nan"}},
    {"deep": [{"$uuid": "x"}, {"$": None}, {"plain": {"$set": [1]}}]},
]


async def echo(*values: Any, **named: Any) -> Any:
    return json.dumps([values, named])


async def kinds(*values: Any) -> list[str]:
    return [type(value).__name__ for value in values]


async def pays(order: Order) -> int:
    return order.amount


async def days(first: dt.date, data: dict[str, Any]) -> str:
    return f"{first + dt.timedelta(1)} {json.dumps(data)}"


async def says_twice() -> Any:
    found = json.dumps([get_context("given"), list(get_context("mine") or ()), get_full_context().get("$schema")])
    set_context("mine", (1, {"$path": "/"}))
    if get_current_task().attempt == 1:
        raise Retry(after=0)
    return found, type(get_context("mine")).__name__


@pytest.fixture
async def tasks(database: str) -> AsyncIterator[QueuedTasks]:
    async with QueuedTasks(database=database) as tasks, Embedded(tasks):
        yield tasks


async def same(ref: Any, values: list[Any]) -> None:
    assert json.loads(await ref.wait(20)) == [values, {}]


async def test_what_a_caller_passes_is_data(tasks: QueuedTasks) -> None:
    made = Custom.made
    await same(tasks.add_task(f"{HERE}:echo", *TAGGED), TAGGED)
    await same(tasks.add_task(echo, *TAGGED), TAGGED)
    assert json.loads(await tasks.add_task(f"{HERE}:echo", value=TAGGED).wait(20)) == [[], {"value": TAGGED}]
    for name, function in (("by-name", f"{HERE}:echo"), ("by-function", echo)):
        await tasks.schedules.add(name, "@every 1h", tasks.call(function, *TAGGED))
        await same(tasks.get(await tasks.schedules.run(name)), TAGGED)
    assert Custom.made == made


async def test_annotations_convert_and_validate(tasks: QueuedTasks) -> None:
    assert await tasks.add_task(f"{HERE}:pays", {"amount": 5}).wait(20) == 5
    for refused in ({"amount": -5}, TAGGED[0]):
        with pytest.raises(TaskFailed) as caught:
            await tasks.add_task(f"{HERE}:pays", refused).wait(20)
        assert "InvalidArgument" in caught.value.error_type
    data = {"$path": "/", "a": [{"$oid": "1"}]}
    found = await tasks.add_task(f"{HERE}:days", "2026-02-28", data).wait(20)
    assert found == f"2026-03-01 {json.dumps(data)}"


async def test_only_declared_results_are_put_in(tasks: QueuedTasks) -> None:
    parent = tasks.add_task(kinds, (1, 2))
    alike = {"$result": parent.id}
    # A parent is not automatically an argument: data that looks like a reference stays data.
    await same(tasks.add_task(f"{HERE}:echo", alike, parent=parent), [alike])
    await same(tasks.using(parent=parent).add_task(echo, alike), [alike])
    await same(tasks.add_task(f"{HERE}:echo", parent, {"$result": "x"}), [["tuple"], {"$result": "x"}])
    with pytest.raises(NotSerializable, match="result"):
        tasks.add_task(f"{HERE}:echo", parent, [alike])


async def test_a_context_from_elsewhere_is_data_until_the_body_writes_its_own(postgres: str) -> None:
    async with QueuedTasks(database=postgres) as tasks, Embedded(tasks):
        given = {"given": {"$path": "/"}, "$schema": {"$tuple": [1]}}
        with psycopg.connect(postgres) as connection:
            row = connection.execute(
                "SELECT taskyard.enqueue(%s, runtime => 'python', context => %s::json)",
                (f"{HERE}:says_twice", json.dumps(given)),
            ).fetchone()
        assert row is not None
        ref = tasks.get(str(row[0]))
        found, kind = await ref.wait(30)
        assert json.loads(found) == [{"$path": "/"}, [1, {"$path": "/"}], {"$tuple": [1]}]
        assert kind == "tuple"
        context = await ref.get_context()
        assert context == {**given, "mine": (1, {"$path": "/"})}
        with psycopg.connect(postgres) as connection:
            row = connection.execute(
                "SELECT taskyard.enqueue('nobody:knows', runtime => 'python', context => %s::json)", (json.dumps(given),)
            ).fetchone()
        assert row is not None
        assert await tasks.get(str(row[0])).get_context() == given


async def test_sql_adds_data(postgres: str) -> None:
    async with QueuedTasks(database=postgres) as tasks, Embedded(tasks):
        parent = await tasks.add_task(kinds, 1).get_task_id()
        values = [*TAGGED, {"$result": parent}]
        with psycopg.connect(postgres) as connection:
            rows = [
                connection.execute(
                    "SELECT taskyard.enqueue(%s, %s::json, parents => ARRAY[%s::uuid], runtime => 'python')",
                    (f"{HERE}:echo", json.dumps(values), parent),
                ).fetchone(),
                connection.execute(
                    "SELECT taskyard.enqueue(%s, %s::json, runtime => 'python')",
                    # Escaped spellings are the same text.
                    (f"{HERE}:echo", json.dumps(values).replace("$", "\\u0024")),
                ).fetchone(),
            ]
            connection.execute(
                "SELECT taskyard.schedule_add('s', '@every 1h', %s, %s::json, runtime => 'python')",
                (f"{HERE}:echo", json.dumps(values)),
            )
            rows.append(connection.execute("SELECT taskyard.schedule_run_now('s')").fetchone())
            # The client marks its own encoded values here, too.
            ours = [
                tasks.add_task(f"{HERE}:echo", *TAGGED, connection=connection),
                tasks.bind(connection).add_task(echo, *TAGGED),
            ]
            exact = tasks.add_task(kinds, (1,), pathlib.Path("/"), connection=connection)
        for row in rows:
            assert row is not None
            await same(tasks.get(str(row[0])), values)
        for ref in ours:
            await same(ref, TAGGED)
        assert await exact.wait(20) == ["tuple", "PosixPath"]


async def ends_itself(address: str) -> None:
    task = get_current_task()
    async with await psycopg.AsyncConnection.connect(address) as connection:
        token = await _loops.answer(task.worker.channel.token(task.slot))
        await connection.execute(
            "SELECT taskyard.complete_in(%s, %s, %s::json)", (task.id, token, json.dumps({"$path": "/", "x": TAGGED}))
        )


async def test_results_from_elsewhere_are_data(postgres: str) -> None:
    async with QueuedTasks(database=postgres) as tasks, Embedded(tasks):
        ref = tasks.add_task(ends_itself, postgres)
        expected = {"$path": "/", "x": TAGGED}
        assert await ref.wait(20) == expected
        assert await tasks.add_task(kinds, ref).wait(20) == ["dict"]
        await same(tasks.add_task(echo, ref), [expected])


def test_the_command_adds_data(project: Project) -> None:
    project.write("app.py", "def echo(*values):\n    import json\n    return json.dumps(values)\n")
    project.run("db", "migrate")
    id = project.printed("task", "add", "app:echo", "--args", json.dumps(TAGGED)).split()[-1]
    server = project.server("--workers=1", app="app")
    assert json.loads(project.ended(id)["result"]) == TAGGED
    assert server.stop() == 0
