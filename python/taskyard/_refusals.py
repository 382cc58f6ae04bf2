"""Values that cannot be arguments of a task, and what to pass instead.

Values that belong to the process (locks, files, sockets) or would be stored in clear (secrets) are refused in every
form, even where dill could copy them. For others (requests, database sessions, mapped objects) the error says what to
do.
"""

from __future__ import annotations

import functools
import sys
import types
import weakref
from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["SECRET", "Captured", "captured", "is_secret", "of"]


class Refusal(NamedTuple):
    """Why values of a class are refused."""

    #: The end of a sentence that begins with the name of the value.
    why: str
    #: The hint of the error.
    hint: str
    #: Whether serialising by dill is refused, too.
    always: bool


#: Hint for a secret.
SECRET = (
    "read it in the task, from the settings for example; what may be stored in clear is given as value.get_secret_value(), or by "
    "a serializer of yours (taskyard.register_serializer)"
)
_IN_TASK = "make it in the task, or at the top of a module, where each process has its own"

_DATABASE = "open one in the task; of an object to work on, pass its id (connection=... adds a task in a transaction)"
_REQUEST = "pass what the task needs of it, such as a user's id or the bytes of a body; of an object, pass its id"
_MAPPED = "pass its id, and load it in the task"

#: Classes whose objects belong to the process that created them, by the package that defines them (`_io` is `io`), with
#: hints.
_OF_PROCESS: dict[str, tuple[dict[str, str], str]] = {
    "thread": ({"lock": "a lock", "RLock": "a lock", "_local": "local to a thread"}, _IN_TASK),
    "threading": (
        {
            **dict.fromkeys(("Condition", "Semaphore", "Event", "Barrier", "_RLock"), "a lock"),
            "Thread": "a thread",
            "local": "local to a thread",
        },
        _IN_TASK,
    ),
    "asyncio": (
        {
            **dict.fromkeys(("Lock", "Condition", "Semaphore", "Event"), "a lock"),
            "Queue": "a queue",
            "Future": "a pending result",
            "AbstractEventLoop": "an event loop",
        },
        _IN_TASK,
    ),
    "multiprocessing": (
        {"SemLock": "a lock", "Queue": "a queue", "SimpleQueue": "a queue", "BaseProcess": "a process", "Pool": "a pool"},
        _IN_TASK,
    ),
    "concurrent": ({"Executor": "a pool", "Future": "a pending result"}, _IN_TASK),
    "queue": ({"Queue": "a queue", "SimpleQueue": "a queue"}, _IN_TASK),
    "io": ({"_IOBase": "an open file"}, _IN_TASK),
    "tempfile": ({"_TemporaryFileWrapper": "an open file", "SpooledTemporaryFile": "an open file"}, _IN_TASK),
    "mmap": ({"mmap": "an open file"}, _IN_TASK),
    "socket": ({"socket": "a socket"}, _IN_TASK),
    "ssl": ({"SSLContext": "a TLS context", "_SSLContext": "a TLS context", "SSLObject": "a socket"}, _IN_TASK),
    "subprocess": ({"Popen": "a process"}, _IN_TASK),
    "builtins": (
        {
            "generator": "a running generator",
            "async_generator": "a running generator",
            "coroutine": "a running coroutine",
        },
        "pass a function with its arguments, or a list",
    ),
    "starlette": (
        {
            "HTTPConnection": "a request",
            "Response": "a response",
            "BackgroundTask": "a background task of a response",
            "UploadFile": "an uploaded file",
        },
        _REQUEST,
    ),
    "nexios": ({"HTTPConnection": "a request", "BaseResponse": "a response", "UploadedFile": "an uploaded file"}, _REQUEST),
    "litestar": ({"ASGIConnection": "a request"}, _REQUEST),
    "werkzeug": ({"Request": "a request"}, _REQUEST),
    "django": ({"HttpRequest": "a request"}, _REQUEST),
    "sqlalchemy": (
        {
            **dict.fromkeys(("Session", "AsyncSession", "scoped_session", "async_scoped_session"), "a database session"),
            **dict.fromkeys(("Connection", "AsyncConnection"), "a database connection"),
            **dict.fromkeys(("Engine", "AsyncEngine"), "a database engine"),
        },
        _DATABASE,
    ),
    "psycopg": ({"BaseConnection": "a database connection", "BaseCursor": "a database cursor"}, _DATABASE),
    "psycopg_pool": ({"BasePool": "a database pool"}, _DATABASE),
    "asyncpg": (
        {"Connection": "a database connection", "PoolConnectionProxy": "a database connection", "Pool": "a database pool"},
        _DATABASE,
    ),
    "sqlite3": ({"Connection": "a database connection", "Cursor": "a database cursor"}, _DATABASE),
    "aiosqlite": ({"Connection": "a database connection", "Cursor": "a database cursor"}, _DATABASE),
}
#: Files in memory, which have no state outside.
_IN_MEMORY = {("io", "BytesIO"), ("io", "StringIO")}
#: Bases of mapped classes. SQLAlchemy's mapped classes have no common base.
_MODELS = {("django", "Model"), ("tortoise", "Model"), ("peewee", "Model")}

_known: weakref.WeakKeyDictionary[type, Refusal | None] = weakref.WeakKeyDictionary()


def of(cls: type) -> Refusal | None:
    """Returns why values of a class are refused; None if there is no such reason."""
    try:
        return _known[cls]
    except KeyError:
        found = _known[cls] = _of(cls)
        return found


def is_secret(cls: type) -> bool:
    """Whether a class is one of pydantic's secret types."""
    return "pydantic" in sys.modules and issubclass(cls, _secrets())


def _of(cls: type) -> Refusal | None:
    if is_secret(cls):
        return Refusal("a secret, which would be stored in clear", SECRET, True)
    bases = [(base.__module__.split(".")[0].lstrip("_"), base.__name__) for base in cls.__mro__]
    if hasattr(cls, "_sa_class_manager") or not _MODELS.isdisjoint(bases):
        return Refusal("a mapped object of a database session", _MAPPED, False)
    if not _IN_MEMORY.isdisjoint(bases):
        return None
    for package, name in bases:
        names, hint = _OF_PROCESS.get(package, ({}, ""))
        if name in names:
            return Refusal(f"{names[name]}, and belongs to this process", hint, True)
    return None


@functools.cache
def _secrets() -> tuple[type, ...]:
    import pydantic

    found = (getattr(pydantic, name, None) for name in ("SecretStr", "SecretBytes", "Secret"))
    return tuple(cls for cls in found if cls is not None)


# ------------------------------------------------------------------------------------------- what local functions capture


class Captured(NamedTuple):
    """A value that is serialised together with a local function."""

    #: The name, with its path: `` `lock` ``, `` `locks[0]` ``, `` `limit` of `helper` ``.
    name: str
    value: Any


def captured(function: types.FunctionType, with_globals: bool) -> list[Captured]:
    """Returns the values that are serialised together with a local function: those of its closure, its defaults and,
    ``with_globals``, the names of its module that it uses; also those inside lists, tuples, sets and dicts, and those
    of functions among them."""
    found: list[Captured] = []
    _collect(function, "", with_globals, found, set())
    return found


def _collect(function: types.FunctionType, at: str, with_globals: bool, found: list[Captured], seen: set[int]) -> None:
    for name, value in _names_of(function, with_globals):
        _spread(f"`{name}", value, at, with_globals, found, seen)


def _names_of(function: types.FunctionType, with_globals: bool) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield name, cell.cell_contents
        except ValueError:
            continue  # not set yet
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    defaults = function.__defaults__ or ()
    yield from zip(names[len(names) - len(defaults) :], defaults, strict=False)
    yield from (function.__kwdefaults__ or {}).items()
    if with_globals:
        for name in _used(function.__code__):
            if name in function.__globals__:
                yield name, function.__globals__[name]


def _used(code: types.CodeType) -> Iterator[str]:
    """Yields the global names that code uses, including code of functions within it."""
    import dis

    for instruction in dis.get_instructions(code):
        if instruction.opname == "LOAD_GLOBAL":
            yield instruction.argval
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield from _used(each)


def _spread(name: str, value: Any, at: str, with_globals: bool, found: list[Captured], seen: set[int]) -> None:
    if id(value) in seen:
        return
    seen.add(id(value))
    found.append(Captured(f"{name}`{at}", value))
    if type(value) in (list, tuple, set, frozenset):
        for place, item in enumerate(value):
            _spread(f"{name}[{place}]", item, at, with_globals, found, seen)
    elif type(value) is dict:
        for key, item in value.items():
            _spread(f"{name}[{key!r}]", item, at, with_globals, found, seen)
    elif isinstance(value, types.FunctionType) and ("<" in value.__qualname__ or value.__module__ == "__main__"):
        # This function is serialised, too.
        _collect(value, f" of `{value.__name__}`{at}", value.__module__ == "__main__", found, seen)
