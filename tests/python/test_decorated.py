"""Forms of functions: decorated, as objects of a class, static, with dependencies behind a wrapper."""

from __future__ import annotations

import functools
import inspect
import pathlib
import re
from typing import Annotated, Any

import pytest
from support.project import Project
from taskyard import INJECTED, FunctionRefused, Inject, QueuedTasks, task
from taskyard._worker import Embedded
from taskyard.errors import OptionConflict
from taskyard.tasks import Task
from test_allowed_functions import add_row

APP = """
    import asyncio, functools, threading

    def on_main_thread():
        return threading.current_thread() is threading.main_thread()

    def around(function):
        @functools.wraps(function)
        def outer(*args, **kwargs):
            return [on_main_thread(), asyncio.run(function(*args, **kwargs))]

        return outer

    @around
    async def runs_a_loop(x):
        return x

    def traced(function):
        @functools.wraps(function)
        def outer(trace_id: str, *args, **kwargs):
            return [trace_id, function(*args, **kwargs)]

        return outer

    @traced
    def adds(x: int, y: int = 0):
        return [x, y]

    def fixed(function):
        @functools.wraps(function)
        def outer(x):
            return function(x, "provided")

        return outer

    @fixed
    def removes(x: int, session):
        return [x, session]

    def with_session(function):
        @functools.wraps(function)
        async def outer(*args, **kwargs):
            return await function("session", *args, **kwargs)

        return outer

    @with_session
    async def provided(session, x: int, note: str = ""):
        return [session, x, note]

    class Timed:
        def __init__(self, function):
            functools.update_wrapper(self, function)
            self.function = function

        def __call__(self, *args, **kwargs):
            return [on_main_thread(), self.function(*args, **kwargs)]

    @Timed
    def timed(x: int):
        return x

    class TimedAsync(Timed):
        async def __call__(self, *args, **kwargs):
            return [on_main_thread(), await self.function(*args, **kwargs)]

    @TimedAsync
    async def timed_async(x: int):
        return x

    @functools.lru_cache
    def cached(x: int):
        return x

    @functools.singledispatch
    def dispatched(x):
        return "any"

    @dispatched.register
    def _(x: int):
        return "an int"

    class Mails:
        @staticmethod
        @around
        async def inside(x: int):
            return x

        @around
        @staticmethod
        async def outside(x: int):
            return x

    class Letters(Mails):
        pass
"""

CALLS = {
    "app.runs_a_loop, 1": [False, 1],
    "app.adds, 'id', 1, y=2": ["id", [1, 2]],
    "app.adds, trace_id='id', x=1": ["id", [1, 0]],
    "app.removes, 1": [1, "provided"],
    "app.provided, 1, note='a'": ["session", 1, "a"],
    "app.provided, x=1": ["session", 1, ""],
    "app.timed, 1": [False, 1],
    "app.timed_async, x=1": [True, 1],
    "app.cached, 1": 1,
    "app.dispatched, 1": "an int",
    "app.Mails.inside, 1": [False, 1],
    "app.Mails.outside, 1": [False, 1],
    "app.Letters.inside, 1": [False, 1],
}


def test_decorated_functions_run_by_their_own_signatures(project: Project) -> None:
    project.write("app.py", APP)
    project.run("db", "migrate")
    ids = project.add(*CALLS)
    plain = {
        add_row(project, "app:adds", ["id", "1", "2"]): ["id", [1, 2]],
        add_row(project, "app:removes", ["1"]): [1, "provided"],
        add_row(project, "app:timed", ["1"]): [False, 1],
    }
    project.server("--workers=1", app="app")
    for id, (call, result) in zip(ids, CALLS.items(), strict=True):
        found = project.ended(id)
        assert found["result"] == result, (call, found)
    for id, result in plain.items():
        assert project.ended(id)["result"] == result


@pytest.fixture
def tasks(tmp_path: pathlib.Path) -> QueuedTasks:
    return QueuedTasks(database=str(tmp_path / "q.db"))


def pays(amount: int, note: str = "") -> None: ...


def passing(function: Any) -> Any:
    @functools.wraps(function)
    def passes(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return passes


def test_calls_that_no_wrapper_takes_are_refused(tasks: QueuedTasks) -> None:
    passes = passing(pays)
    for args, kwargs in [((1, "a", 2), {}), ((1,), {"other": 1}), ((1,), {"amount": 2})]:
        with pytest.raises(TypeError, match=r"pays: .*names the arguments that it takes itself"):
            tasks.add_task(passes, *args, **kwargs)

    @functools.wraps(pays)
    def takes_less(amount: int) -> None: ...

    for args, kwargs in [((), {}), ((1, "a"), {}), ((1,), {"note": "a"})]:
        with pytest.raises(TypeError, match="pays"):
            tasks.add_task(takes_less, *args, **kwargs)

    @functools.wraps(pays)
    def takes_more(token: str, *args: Any, **kwargs: Any) -> None: ...

    with pytest.raises(TypeError, match="token"):
        tasks.add_task(takes_more, amount=1)

    # Around a wrapper with a signature of its own: copied attributes do not describe the outer wrapper.
    says_so: Any = passing(pays)
    says_so.__signature__ = inspect.signature(lambda token: None)
    with pytest.raises(TypeError, match="too many"):
        tasks.add_task(says_so, 1, "a")

    @functools.wraps(says_so)
    def outer(amount: int, note: str) -> None: ...

    tasks.add_task(outer, 1, "a")


async def test_names_that_a_wrapper_has_too(tasks: QueuedTasks) -> None:
    def takes(args: int, kwargs: int) -> Any:
        return [args, kwargs]

    def covers(x: int, **data: int) -> Any:
        return [x, data]

    @functools.wraps(covers)
    def adds(data: int, *args: Any, **kwargs: Any) -> Any:
        return [data, covers(*args, **kwargs)]

    async with tasks, Embedded(tasks):
        assert await tasks.add_task(passing(takes), 1, kwargs=2).wait(20) == [1, 2]
        assert await tasks.add_task(adds, 1, 2, y=3).wait(20) == [1, [2, {"y": 3}]]
        with pytest.raises(OptionConflict, match=r"\*\*_?data"):
            tasks.add_task(adds, 1, 2, name=3)


class Bare:
    def __call__(self, x: int) -> int:
        return x


class Mails:
    @classmethod
    def of_class(cls, x: int) -> None: ...

    def of_object(self, x: int) -> None: ...

    @staticmethod
    def static(x: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (Bare(), "an object of the class `Bare`.*update_wrapper"),
        (Mails.of_class, "a class method"),
        (Mails().of_object, "a bound method"),
        (Mails.__dict__["static"], "a static method.*the function of the class"),
        (functools.partial(pays, 1), "a partial"),
        (functools.update_wrapper(functools.partial(pays, 1), pays), "a partial"),
    ],
)
def test_what_cannot_be_a_task_is_refused_with_the_true_reason(tasks: QueuedTasks, function: Any, reason: str) -> None:
    with pytest.raises(FunctionRefused) as refused:
        tasks.add_task(function, 1)
    assert re.search(reason, str(refused.value).replace("\n", " ")), refused.value


# ------------------------------------------------------------------------------------------------------ dependencies


def user() -> str:
    return "ada"


def greets(greeting: str, who: Annotated[str, Inject(user)] = INJECTED) -> str:
    return f"{greeting}, {who}"


def test_a_wrapper_that_does_not_take_a_dependency_is_refused(tasks: QueuedTasks) -> None:
    @functools.wraps(greets)
    def keeps(greeting: str) -> str:
        return greets(greeting)

    with pytest.raises(FunctionRefused, match="does not take `who`"):
        tasks.add_task(keeps, "hello")
    tasks.add_task(passing(greets), "hello")


def test_a_direct_call_of_a_task_gives_what_is_injected() -> None:
    declared: Any = task(greets)
    with pytest.raises(TypeError, match="`who`"):
        declared("hello")
    assert declared("hello", "eve") == declared("hello", who="eve") == "hello, eve"


def test_nothing_is_injected_into_the_object_of_a_task() -> None:
    with pytest.raises(FunctionRefused, match="INJECTED"):

        class ByInit(Task):  # type: ignore[type-arg]
            def __init__(self, who: Annotated[str, Inject(user)] = INJECTED) -> None: ...

    with pytest.raises(FunctionRefused, match="INJECTED"):

        class ByField(Task):  # type: ignore[type-arg]
            who: str = INJECTED


# ------------------------------------------------------------------------------------------------------- annotations

TYPES = """
    from __future__ import annotations

    import datetime as dt
    import functools
    from typing import TYPE_CHECKING, Annotated

    from fastapi import Depends
    from taskyard import INJECTED

    if TYPE_CHECKING:
        from elsewhere import Session, User

    def shown(values):
        return [[type(value).__name__, str(value)] for value in values]

    def covers(count: int, user: User | None = None, *sizes: int, **days: dt.date) -> User:
        return shown([count, user, *sizes, *days.values()])

    def passing(function):
        @functools.wraps(function)
        def passes(*args, **kwargs):
            return function(*args, **kwargs)

        return passes

    @passing
    def around(count: int, user: User | None = None, *sizes: int, **days: dt.date) -> User:
        return covers(count, user, *sizes, **days)

    def get_session(user: User | None = None):
        return "session"

    def by_default(count: int, session: Session = Depends(get_session)):
        return shown([count, session])

    def by_annotation(count: int, session: Annotated[Session, Depends(get_session)] = INJECTED):
        return shown([count, session])
"""

REFUSED = """
    import app
    from taskyard import FunctionRefused, QueuedTasks

    with QueuedTasks() as tasks:
        try:
            tasks.add_task(app.by_annotation, 1)
        except FunctionRefused as error:
            assert "`session`" in str(error) and "TYPE_CHECKING" in str(error), error
            print("refused")
"""


def test_an_annotation_for_type_checkers_concerns_its_parameter_alone(sqlite_project: Project) -> None:
    project = sqlite_project
    project.write("app.py", TYPES)
    project.run("db", "migrate")
    assert project.python(REFUSED) == "refused\n"
    exact = project.add("app.covers, 1, 'any', 2, on=3", "app.around, 1, user='any'", "app.by_default, 1")

    def plain(kind: str, args: str, kwargs: str = "{}") -> str:
        return project.printed("task", "add", kind, "--args", args, "--kwargs", kwargs).split()[-1]

    fitted = [plain(f"app:{name}", '["1"]', '{"on": "2026-01-02", "to": "2026-01-03"}') for name in ("covers", "around")]
    unknown = [plain(f"app:{name}", '[1, "any", "2"]') for name in ("covers", "around")]
    uncovered = plain("app:covers", '[1, null, "two"]')
    injected = plain("app:by_annotation", "[1]")
    project.server("--workers=1", app="app")
    assert [project.ended(id)["result"] for id in exact] == [
        [["int", "1"], ["str", "any"], ["int", "2"], ["int", "3"]],
        [["int", "1"], ["str", "any"]],
        [["int", "1"], ["str", "session"]],
    ]
    for id in fitted:
        days = [["date", "2026-01-02"], ["date", "2026-01-03"]]
        assert project.ended(id)["result"] == [["int", "1"], ["NoneType", "None"], *days]
    for id, words in ((unknown[0], "`user`"), (unknown[1], "`user`"), (uncovered, "`user`"), (injected, "`session`")):
        error = project.ended(id)["error"]
        assert words in error["message"] and "cannot be resolved" in error["message"], error
        assert error["type"] in ("taskyard.errors.InvalidArgument", "taskyard.errors.FunctionRefused"), error
