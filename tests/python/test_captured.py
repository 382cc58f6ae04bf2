"""Values that belong to the process, or would be stored in clear, are refused by name: captured by a local function, or
as an argument."""

import asyncio
import io
import pathlib
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

import fastapi
import psycopg
import pydantic
import pytest
import sqlalchemy
from fastapi.testclient import TestClient
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import AsyncSession
from support.project import Project
from taskyard import NotSerializable, QueuedTasks


@pytest.fixture
def tasks(tmp_path: pathlib.Path) -> QueuedTasks:
    return QueuedTasks(database=str(tmp_path / "q.db"))


def captures(value: Any) -> Callable[[], Any]:
    def local() -> Any:
        return value

    return local


def captures_within(value: Any) -> Callable[[], Any]:
    values = [{"key": (1, value)}]

    def helper() -> Any:
        return values

    def local() -> Any:
        return helper()

    return local


def has_default(value: Any) -> Callable[[], Any]:
    def local(value: Any = value, *, other: Any = 1) -> Any:
        return value, other

    return local


def takes(value: Any) -> None: ...


@pytest.fixture(params=["lock", "event", "file", "temporary", "socket", "thread", "asyncio", "generator", "executor"])
def of_process(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[Any]:
    if request.param == "file":
        with (tmp_path / "a.txt").open("w") as file:
            yield file
    elif request.param == "temporary":
        with tempfile.NamedTemporaryFile() as temporary:
            yield temporary
    elif request.param == "socket":
        with socket.socket() as end:
            yield end
    else:
        from concurrent.futures import ThreadPoolExecutor

        yield {
            "lock": threading.Lock,
            "event": threading.Event,
            "thread": threading.Thread,
            "asyncio": asyncio.Lock,
            "generator": lambda: (each for each in "ab"),
            "executor": ThreadPoolExecutor,
        }[request.param]()


def test_what_belongs_to_the_process_is_refused_by_name(tasks: QueuedTasks, of_process: Any) -> None:
    for function, name in (
        (captures(of_process), "`value`"),
        (captures_within(of_process), r"`values\[0\]\['key'\]\[1\]` of `helper`"),
        (has_default(of_process), "`value`"),
    ):
        with pytest.raises(NotSerializable, match=f"captures {name}, which is an? .* belongs to this process"):
            tasks.add_task(function)
    for named in (tasks, tasks.using(serializer="dill")):
        with pytest.raises(NotSerializable, match=r"argument `value`\['key'\] .* belongs to this process"):
            named.add_task(takes, {"key": of_process})


async def test_what_is_whole_in_memory_travels(tmp_path: pathlib.Path) -> None:
    from taskyard._worker import Embedded

    def reads(file: Any, given: Any = io.BytesIO(b"given")) -> Any:
        return file.read() + given.read() + captured.read()

    captured = io.BytesIO(b"captured")
    async with QueuedTasks(database=str(tmp_path / "q.db")) as tasks, Embedded(tasks):
        ref = tasks.using(serializer="dill").add_task(reads, io.BytesIO(b"a"))
        assert await ref.wait(20) == b"agivencaptured"


class Settings(pydantic.BaseModel):
    password: pydantic.SecretStr


def test_a_captured_secret_is_refused_by_name(tasks: QueuedTasks) -> None:
    secret = pydantic.SecretStr("hunter2")
    for function, name in (
        (captures(secret), "`value`"),
        (captures(Settings(password=secret)), "`value`"),
        (captures_within(secret), r"`values\[0\]\['key'\]\[1\]` of `helper`"),
    ):
        with pytest.raises(NotSerializable, match=f"captures,? {name}.*stored in clear") as refused:
            tasks.add_task(function)
        assert "hunter2" not in str(refused.value)


def test_what_the_programs_own_file_uses_is_refused_by_name(project: Project) -> None:
    project.write(
        "program.py",
        """
        import threading
        from taskyard import NotSerializable, QueuedTasks

        lock = threading.Lock()
        other = threading.Lock()

        class Holder:
            other = 1

        def helper():
            return [lock for _ in "a"]

        def make(uses):
            def local():
                return helper() if uses else Holder.other
            def harmless():
                return Holder.other
            return local if uses else harmless

        with QueuedTasks() as tasks:
            try:
                tasks.add_task(make(True))
            except NotSerializable as error:
                print(error)
            tasks.add_task(make(False))
        """,
    )
    program = project.program("program.py")
    assert program.wait() == 0, program.output
    assert "captures `lock` of `helper`, which is a lock" in program.output, program.output


class Base(orm.DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "user"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)


class Whole(orm.MappedAsDataclass, Base):
    __tablename__ = "whole"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)


def test_requests_sessions_and_mapped_objects_say_what_to_pass(tasks: QueuedTasks, postgres: str) -> None:
    engine = sqlalchemy.create_engine("sqlite://")
    with orm.Session(engine) as session, psycopg.connect(postgres) as connection, engine.connect() as core:
        values = [session, AsyncSession(), engine, core, connection, User(id=1), Whole(id=1)]
        for value in values:
            with pytest.raises(NotSerializable, match="pass its id"):
                tasks.add_task(takes, value)
        for value in values[:-2]:
            with pytest.raises(NotSerializable, match=r"captures `value`(.|\n)*pass its id"):
                tasks.add_task(captures(value))


def test_a_request_says_what_to_pass(tasks: QueuedTasks) -> None:
    app = fastapi.FastAPI()

    @app.post("/")
    async def endpoint(request: fastapi.Request, background: fastapi.BackgroundTasks, file: fastapi.UploadFile) -> str:
        for value in (request, background, file):
            for refused in (
                lambda value=value: tasks.add_task(takes, value),
                lambda value=value: tasks.add_task(captures(value)),
            ):
                with pytest.raises(NotSerializable, match="pass its id"):
                    refused()
        return "refused"

    with TestClient(app) as client:
        assert client.post("/", files={"file": b"content"}).json() == "refused"
