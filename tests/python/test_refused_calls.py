"""Wrong arguments are refused at the call, by an error that names them."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, PostgresDsn
from sqlalchemy import URL
from taskyard import InvalidArgument, QueuedTasks, Unique, on_death, on_worker_start, task
from taskyard.errors import FunctionRefused


async def double(number: int) -> int:
    return number * 2


@pytest.fixture
def tasks(tmp_path: pathlib.Path) -> QueuedTasks:
    return QueuedTasks(database=tmp_path / "queue.db")


#: Parts of the error, and the call that raises it.
WRONG: list[tuple[str, Callable[[Any], Any]]] = [
    ("limit: -1 is", lambda tasks: tasks.list(limit=-1)),
    ("limit: 'many' is", lambda tasks: tasks.list(limit="many")),
    ("queue: 5 is", lambda tasks: tasks.list(queue=5)),
    ("limit: -1 is", lambda tasks: tasks.dead.list(limit=-1)),
    ("queue: 5 is", lambda tasks: tasks.dead.count(queue=5)),
    ("tag: 5 is", lambda tasks: tasks.dead.purge(tag=5)),
    ("message: 5 is", lambda tasks: tasks.dead.list(message=5)),
    ("error: 5 is", lambda tasks: tasks.dead.list(error=5)),
    ("unique: 5 is", lambda tasks: tasks.add_task(double, 1, unique=Unique(5))),  # type: ignore[arg-type]
    ("workers: -1 is", lambda tasks: tasks.lifespan(workers=-1)),
    ("workers: '2' is", lambda tasks: tasks.lifespan(workers="2")),
    ("concurrency: 0 is", lambda tasks: tasks.lifespan(workers=1, concurrency=0)),
    ("lifespan: 5 is not a function", lambda tasks: tasks.lifespan(5)),
    ("5 is not callable", lambda _: on_death(5)),  # type: ignore[type-var]
    ("None is not callable", lambda _: on_worker_start(None)),  # type: ignore[type-var]
]


@pytest.mark.parametrize(("words", "call"), WRONG)
def test_a_wrong_argument_is_named(tasks: QueuedTasks, words: str, call: Callable[[Any], Any]) -> None:
    with pytest.raises(InvalidArgument) as refused:
        call(tasks)
    assert words in str(refused.value)


@pytest.mark.parametrize("options", [{}, {"max_retries": 1}], ids=["plain", "with options"])
@pytest.mark.parametrize("what", [None, 5, "coroutine"])
def test_what_is_not_a_function_is_refused_with_and_without_options(tasks: Any, what: Any, options: dict[str, Any]) -> None:
    function = double(1) if what == "coroutine" else what
    with pytest.raises(FunctionRefused, match="it is a coroutine" if what == "coroutine" else "it is not callable"):
        tasks.add_task(function, **options)
    if what == "coroutine":
        function.close()


def test_options_of_the_decorator_are_given_by_name() -> None:
    with pytest.raises(FunctionRefused, match=r"""'mail' cannot be a task(.|\n)*@task\(queue="mail"\)"""):
        task("mail")  # type: ignore[call-overload]


def test_one_state_may_be_given_as_a_text(tasks: QueuedTasks) -> None:
    with tasks:
        ref = tasks.add_task(double, 1)
        tasks.flush().result()
        assert [found["id"] for found in tasks.list(states="enqueued").result()] == [ref.id]


def test_a_path_is_a_database(tmp_path: pathlib.Path) -> None:
    with QueuedTasks(database=tmp_path / "other.db") as tasks:
        tasks.add_task(double, 1)
    assert (tmp_path / "other.db").exists()


class Settings(BaseModel):
    database: PostgresDsn


@pytest.mark.parametrize(
    "database",
    [
        "",
        "  ",
        5,
        URL.create("postgresql", "shop", "a password", "db"),
        Settings.model_validate({"database": "postgresql://shop:password@db/shop"}).database,
    ],
    ids=["empty", "blank", "number", "sqlalchemy", "pydantic"],
)
def test_what_is_not_an_address_is_refused_without_its_password(database: Any) -> None:
    with pytest.raises(InvalidArgument, match="database: it is") as refused:
        QueuedTasks(database=database)
    assert "password@" not in str(refused.value) and "a password" not in str(refused.value)
