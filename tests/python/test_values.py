"""Values of applications as arguments and as results, from one process to another."""

from __future__ import annotations

import dataclasses
import datetime as dt
import ipaddress
import json
import pathlib
from typing import Any, Generic, TypeVar

import pydantic
import pydantic_core
import pytest
from support.project import Project
from taskyard import NotSerializable, QueuedTasks
from taskyard._codec import decode_call, encode_call, encode_result

MODELS = """
    import dataclasses, functools
    from typing import Generic, TypeVar

    T = TypeVar("T")
    made = []

    @dataclasses.dataclass
    class Box(Generic[T]):
        value: T

    @dataclasses.dataclass
    class Order:
        lines: list[int]

        @functools.cached_property
        def total(self):
            made.append(self)
            return sum(self.lines)

    def describe(value):
        return [type(value).__qualname__, repr(value), repr(getattr(value, "__orig_class__", None)), len(made)]

    def give(value):
        return value
"""


def test_generic_dataclasses_and_cached_properties(project: Project) -> None:
    project.write("models.py", MODELS)
    project.run("db", "migrate")
    project.server("--workers=1", app="models")
    out = project.python(
        """
        import asyncio, json, models
        from models import Box, Order
        from taskyard import QueuedTasks

        async def main():
            order = Order([1, 2])
            assert order.total == 3
            async with QueuedTasks() as tasks:
                for value in (Box[int](1), Box[list[Order]]([Order([1])]), Box("plain"), order):
                    print(json.dumps(await tasks.add_task(models.describe, value).wait(30)))
                    back = await tasks.add_task(models.give, value).wait(30)
                    assert back == value and vars(back) == vars(value), vars(back)
                assert back.total == 3 and models.made == [order]
        asyncio.run(main())
        """
    )
    assert [json.loads(line) for line in out.splitlines()] == [
        ["Box", "Box(value=1)", "models.Box[int]", 0],
        ["Box", "Box(value=[Order(lines=[1])])", "models.Box[list[models.Order]]", 0],
        ["Box", "Box(value='plain')", "None", 0],
        ["Order", "Order(lines=[1, 2])", "None", 0],
    ]


@pytest.fixture
def tasks(tmp_path: pathlib.Path) -> QueuedTasks:
    return QueuedTasks(database=str(tmp_path / "q.db"))


def takes(value: Any) -> None: ...


T = TypeVar("T")


@dataclasses.dataclass
class Holder(Generic[T]):
    value: Any


def test_a_generic_dataclass_of_a_local_class_is_refused_with_the_reason(tasks: QueuedTasks) -> None:
    class Local: ...

    with pytest.raises(NotSerializable, match=r"a worker could not find by its name(.|\n)*without brackets"):
        tasks.add_task(takes, Holder[Local](1))


FASTAPI = """
    import datetime as dt
    from typing import Annotated, Generic, TypeVar

    from fastapi import Depends, FastAPI
    from pydantic import AnyUrl, BaseModel, ByteSize, HttpUrl, IPvAnyAddress, IPvAnyNetwork, PostgresDsn, SecretStr
    from taskyard import QueuedTasks
    from taskyard.fastapi import TasksDep

    T = TypeVar("T")

    class Order(BaseModel):
        at: dt.datetime
        opens: dt.time | None = None
        site: HttpUrl | None = None
        other: AnyUrl | None = None
        database: PostgresDsn | None = None
        address: IPvAnyAddress | None = None
        network: IPvAnyNetwork | None = None
        size: ByteSize | None = None
        token: SecretStr | None = None

    class Page(BaseModel, Generic[T]):
        items: list[T]

    queue = QueuedTasks()
    app = FastAPI(lifespan=queue.lifespan())

    def give(value, *further):
        return [value, *further]

    def describe(value):
        return repr(value)

    @app.post("/orders")
    async def orders(order: Order, tasks: TasksDep):
        back = await tasks.add_task(give, order).wait(30)
        assert back == [order] and repr(back) == repr([order]), back
        return await tasks.add_task(describe, order).wait(30)

    @app.get("/at")
    async def at(at: dt.datetime, tasks: TasksDep, opens: dt.time | None = None):
        back = await tasks.add_task(give, at, opens).wait(30)
        assert repr(back) == repr([at, opens]), back
        return [await tasks.add_task(describe, at).wait(30), repr(at)]

    @app.post("/pages")
    async def pages(page: Page[Order], tasks: TasksDep):
        back = await tasks.add_task(give, page).wait(30)
        assert back == [page] and type(back[0]) is Page[Order], back
        return await tasks.add_task(describe, page).wait(30)
"""

CALLS = """
    import main
    from fastapi.testclient import TestClient
    from taskyard import NotSerializable

    order = {
        "at": "2026-01-01T10:00:00+05:45",
        "opens": "08:30:00Z",
        "site": "https://example.com/a?b=1",
        "other": "ftp://example.com/c",
        "database": "postgresql://user@one:1,two:2/name",
        "address": "::1",
        "network": "10.0.0.0/8",
        "size": "2KiB",
    }
    with TestClient(main.app) as client:
        def ok(response):
            assert response.status_code == 200, response.text
            return response.json()

        shown = ok(client.post("/orders", json=order))
        for part in ("TzInfo(20700)", "HttpUrl('https", "AnyUrl('ftp", "PostgresDsn(", "IPv6Address('::1')", "2048"):
            assert part in shown, (part, shown)
        for at in ("2026-01-01T10:00:00Z", "2026-01-01T10:00:00-03:00", "1700000000", "2026-01-01T10:00:00"):
            there, here = ok(client.get("/at", params={"at": at, "opens": "10:00:00+01:00"}))
            assert there == here, (there, here)
        ok(client.post("/pages", json={"items": [order]}))
        try:
            client.post("/orders", json={**order, "token": "hunter2"})
        except NotSerializable as error:
            words = str(error)
            assert "`value`.token" in words and "stored in clear" in words and "hunter2" not in words, words
            print("refused")
"""


def test_what_fastapi_hands_over(project: Project) -> None:
    project.write("main.py", FASTAPI)
    project.run("db", "migrate")
    project.server("--workers=1", app="main")
    assert project.python(CALLS) == "refused\n"


SECRETS: list[Any] = [pydantic.SecretStr("hunter2"), pydantic.SecretBytes(b"hunter2"), pydantic.Secret[int](7)]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("serializer", ["json", "dill"])
def test_a_secret_is_refused_by_name(tasks: QueuedTasks, secret: Any, serializer: Any) -> None:
    class Login(pydantic.BaseModel):
        password: Any

    named = tasks.using(serializer=serializer)
    with pytest.raises(NotSerializable, match=r"argument `value`\['key'\] .*a secret, which would be stored in clear"):
        named.add_task(takes, {"key": secret})
    # Inside values that dill stores as a whole, too.
    with pytest.raises(NotSerializable, match="stored in clear"):
        tasks.using(serializer="dill").add_task(takes, Login(password=secret))
    with pytest.raises(NotSerializable, match="result.*stored in clear"):
        encode_result([secret], bytes_max=1000)


def test_a_secret_may_be_stored_by_a_serializer_of_the_application(project: Project) -> None:
    project.write(
        "app.py",
        """
        import taskyard
        from pydantic import SecretStr

        taskyard.register_serializer(SecretStr, SecretStr.get_secret_value, SecretStr)

        def reads(secret):
            return secret.get_secret_value()

        def captures():
            secret = SecretStr("captured")
            return lambda: reads(secret)
        """,
    )
    project.run("db", "migrate")
    ids = project.add("app.reads, app.SecretStr('low')", "app.captures()")
    project.server("--workers=1", app="app")
    assert [project.ended(id)["result"] for id in ids] == ["low", "captured"]


ADDRESSES = [
    ipaddress.ip_address("1.2.3.4"),
    ipaddress.ip_address("fe80::1%eth0"),
    ipaddress.ip_network("10.0.0.0/8"),
    ipaddress.ip_network("2001:db8::/32"),
    ipaddress.ip_interface("10.0.0.1/8"),
    ipaddress.ip_interface("::1/64"),
    pydantic.HttpUrl("http://bücher.example/ä?q=1#x"),
    pydantic.RedisDsn("redis://localhost:6379/0"),
    pydantic_core.Url("https://example.com"),
    pydantic_core.MultiHostUrl("postgresql://one,two/name"),
    pydantic.ByteSize(5),
]


@pytest.mark.parametrize("value", ADDRESSES)
def test_addresses_come_back_as_they_were(value: Any) -> None:
    payload, _, _ = encode_call((value,), {"by": {value: [value]}}, ())
    read = decode_call(payload, {})
    assert read.args == [value] and read.kwargs == {"by": {value: [value]}}
    assert type(read.args[0]) is type(value) and str(read.args[0]) == str(value)


@pytest.mark.parametrize("seconds", [0, 3600, -12600, 45296])
def test_times_with_a_zone_of_pydantic_come_back_as_they_were(seconds: int) -> None:
    zone = pydantic_core.TzInfo(seconds)
    values = [dt.datetime(2026, 1, 1, 2, 30, 0, 5, zone, fold=1), dt.time(2, 30, tzinfo=zone)]
    payload, _, _ = encode_call((values,), {}, ())
    assert repr(decode_call(payload, {}).args) == repr([values])


def test_a_url_that_its_text_does_not_make_again_is_refused(tasks: QueuedTasks) -> None:
    class Site(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(url_preserve_empty_path=True)
        url: pydantic.HttpUrl

    class Local(pydantic.AnyUrl): ...

    for value in (Site.model_validate({"url": "https://example.com"}).url, Local("https://example.com")):
        with pytest.raises(NotSerializable, match=r"argument `value` is a .*(.|\n)*str\(url\)"):
            tasks.add_task(takes, value)
