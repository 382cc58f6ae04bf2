"""Hooks around tasks and workers: registered by decorators, called in the order of registration, sync or async.

Owns the registries and the calls of hooks. Callers: ``_create_hooks.py`` (creation), ``_worker/_attempts.py`` (attempts,
workers, dead letters).
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import logging
import sys
from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

from . import _hints, _json, _resolve
from .errors import InvalidArgument
from .records import TaskRecord

__all__ = [
    "begin",
    "death",
    "lifespans",
    "on_death",
    "on_post_create",
    "on_post_run",
    "on_pre_create",
    "on_pre_run",
    "on_worker_start",
    "on_worker_stop",
    "post_create",
    "post_run",
    "pre_create",
    "pre_run",
    "run",
    "run_after",
    "run_death",
    "run_worker_start",
    "run_worker_stop",
]

log = logging.getLogger("queued_task")

Hook = TypeVar("Hook", bound=Callable[..., Any])

pre_create: list[Callable[..., Any]] = []
post_create: list[Callable[..., Any]] = []
pre_run: list[Callable[..., Any]] = []
post_run: list[Callable[..., Any]] = []
death: list[Callable[..., Any]] = []
worker_start: list[Callable[..., Any]] = []
worker_stop: list[Callable[..., Any]] = []
#: In a worker process, the application's lifespans that run there, each with its queue. None elsewhere, where none are
#: collected.
lifespans: list[tuple[Any, Callable[..., Any]]] | None = None


def _register(hooks: list[Callable[..., Any]], hook: Hook) -> Hook:
    if not callable(hook):
        raise InvalidArgument(f"a hook is a function, and {hook!r} is not callable")
    _resolve.refuse_injection(hook, f"the hook {getattr(hook, '__qualname__', hook)}")
    if hook not in hooks:
        hooks.append(hook)
    return hook


def on_pre_create(hook: Hook) -> Hook:
    """Registers ``hook(task)`` to run in the caller's context before a task is stored. It may change ``task.context``.

    If it raises, the task is refused: ``add_task`` raises the error or, if an async hook had to wait, ``get_task_id()``
    does::

        @on_pre_create
        def tag_request(task):
            task.context["request_id"] = request_id.get()
    """
    return _register(pre_create, hook)


def on_post_create(hook: Hook) -> Hook:
    """Registers ``hook(task)`` to run in the caller's context once the task is durable. An error that it raises is
    logged.

    Not called for a task that is added in a caller's transaction (``connection=``), because only the caller knows
    whether the transaction commits::

        @on_post_create
        def count_added(task):
            added.labels(task.queue).inc()
    """
    return _register(post_create, hook)


def on_pre_run(hook: Hook) -> Hook:
    """Registers ``hook(task)`` to run before the body, in the body's context: contextvars that it sets are visible to
    the body.

    If it raises, the attempt fails as if the body had raised::

        @on_pre_run
        def restore_request(task):
            request_id.set(task.context.get("request_id"))
    """
    return _register(pre_run, hook)


def on_post_run(hook: Hook) -> Hook:
    """Registers ``hook(task, result=None, error=None)`` to run once after each attempt. It may take fewer of these
    parameters.

    ``error`` is the exception of a failed attempt, else None. An error that the hook raises is logged and changes
    nothing::

        @on_post_run
        def count_failures(task, error=None):
            if error is not None:
                failures.labels(task.name).inc()
    """
    return _register(post_run, hook)


def on_death(hook: Hook) -> Hook:
    """Registers ``hook(dead)`` to run when a Python task has become a dead letter (state ``failed``), for any reason
    and in any process.

    ``dead`` is the task's record (:class:`taskyard.records.TaskRecord`), as returned by ``tasks.dead.list()``. A worker of a server that serves the
    task's queue calls the hook once, usually within a second. It is called twice if that worker or server dies during
    the call, and not at all if no such server runs for a day, if the dead letter is retried or removed before, or if
    three workers died in the call. Dead letters are processed one after another, each with one minute for its hooks; a
    worker that needs longer is replaced. Sync hooks run on a thread. Errors are logged. For longer work, add a task in
    the hook. Register the hook where the application is loaded::

        @on_death
        async def alert(dead):
            await page(dead["kind"], dead["error"]["message"])
    """
    return _register(death, hook)


def on_worker_start(hook: Hook) -> Hook:
    """Registers ``hook()`` to run in each worker before its first task, on its event loop, for example to open a pool
    that the tasks share. Contextvars that it sets are visible to every task.

    If it raises, the worker process ends without having run a task, and the server starts another one, with pauses that
    grow to 30 seconds. The start of a worker may take a minute. Workers inside the application's process
    (``lifespan(workers=1)``, the pytest plugin) call the hook once for all of them; if it raises there, the application
    does not start::

        @on_worker_start
        async def open_pool():
            app.pool = await asyncpg.create_pool(DSN)
    """
    return _register(worker_start, _without_arguments(hook, "on_worker_start"))


def on_worker_stop(hook: Hook) -> Hook:
    """Registers ``hook()`` to run in each worker after its last task, when its server stops or the worker is replaced
    or idle. Errors are logged.

    It has ten seconds, and at most the remainder of the server's ``shutdown_grace``. A worker that is killed, or that
    still runs a task when the grace period is over, does not call it::

        @on_worker_stop
        async def close_pool():
            await app.pool.close()
    """
    return _register(worker_stop, _without_arguments(hook, "on_worker_stop"))


def _without_arguments(hook: Hook, what: str) -> Hook:
    try:
        parameters = _hints.signature(hook).parameters.values()
    except (TypeError, ValueError):
        return hook
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if needed:
        name = getattr(hook, "__qualname__", hook)
        raise InvalidArgument(f"{what}: {name} takes {', '.join(needed)}; a hook of a worker is called without arguments")
    return hook


def clear() -> None:
    """Removes all hooks. For tests."""
    for hooks in (pre_create, post_create, pre_run, post_run, death, worker_start, worker_stop):
        hooks.clear()


class _Resumed:
    """Continues a coroutine that was started by hand and waits for something."""

    def __init__(self, coroutine: Any, first: Any) -> None:
        self.coroutine = coroutine
        self.first = first

    def __await__(self) -> Generator[Any, Any, Any]:
        waits_for, given = self.first, None
        while True:
            try:
                sent = yield waits_for
            except BaseException as error:
                go_on, given = self.coroutine.throw, error
            else:
                go_on, given = self.coroutine.send, sent
            try:
                waits_for = go_on(given)
            except StopIteration as end:
                return end.value


def begin(hooks: list[Callable[..., Any]], task: Any) -> Any:
    """Runs hooks in the caller's context up to the first one that waits.

    Returns None if all have finished, else an awaitable for the rest. Without an event loop all of them are run to
    their end here.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        if any(inspect.iscoroutinefunction(hook) for hook in hooks):
            asyncio.run(run(hooks, task))
        else:
            for hook in hooks:
                hook(task)
        return None
    return _begin(hooks, task, loop)


if sys.version_info >= (3, 12):

    def _begin(hooks: list[Callable[..., Any]], task: Any, loop: asyncio.AbstractEventLoop) -> Any:
        # Entirely within a task of their own, so that their time limits and cancel scopes are not the caller's.
        running = asyncio.Task(run(hooks, task), loop=loop, context=contextvars.copy_context(), eager_start=True)
        if not running.done():
            return running
        running.result()
        return None

else:

    def _begin(hooks: list[Callable[..., Any]], task: Any, loop: asyncio.AbstractEventLoop) -> Any:
        for place, hook in enumerate(hooks):
            called = hook(task)
            if not inspect.isawaitable(called):
                continue
            coroutine = called if inspect.iscoroutine(called) else _awaiting(called)
            try:
                first = coroutine.send(None)
            except StopIteration:
                continue
            return _rest(_Resumed(coroutine, first), hooks[place + 1 :], task)
        return None


async def _awaiting(awaitable: Any) -> Any:
    return await awaitable


async def _rest(resumed: _Resumed, hooks: list[Callable[..., Any]], task: Any) -> None:
    await resumed
    await run(hooks, task)


async def run(hooks: list[Callable[..., Any]], task: Any) -> None:
    """Runs hooks one after another. The first error is raised and ends the run."""
    for hook in hooks:
        called = hook(task)
        if inspect.isawaitable(called):
            await called


async def run_worker_start() -> None:
    """Runs the ``on_worker_start`` hooks. The first error is logged, raised, and ends the run."""
    for hook in list(worker_start):
        try:
            called = hook()
            if inspect.isawaitable(called):
                await called
        except BaseException:
            log.error("the hook %r failed on the start of a worker", getattr(hook, "__qualname__", hook))
            raise


async def run_worker_stop(is_process: bool = False) -> None:
    """Runs the ``on_worker_stop`` hooks. Errors are logged. ``is_process``: the caller is a process of its own and is
    never cancelled."""
    for hook in list(worker_stop):
        try:
            called = hook()
            if inspect.isawaitable(called):
                await called
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and not is_process and _is_cancelled():
                raise
            log.exception("the hook %r failed on the stop of the worker", getattr(hook, "__qualname__", hook))


async def run_after(task: Any, result: Any, error: BaseException | None) -> None:
    """Runs the ``on_post_run`` hooks. Errors are logged."""
    for hook in list(post_run):
        try:
            called = hook(task, **_wanted(hook, {"result": result, "error": error}))
            if inspect.isawaitable(called):
                await called
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("the hook %r failed after task %s", getattr(hook, "__qualname__", hook), task.id)


async def run_death(dead: bytes, on_thread: Callable[[Callable[[], Any]], Awaitable[Any]]) -> None:
    """Runs the ``on_death`` hooks with a dead letter's JSON. Errors are logged."""
    id = _json.loads(dead)["id"]
    for hook in list(death):
        record = TaskRecord(_json.loads(dead))
        try:
            if inspect.iscoroutinefunction(hook):
                await hook(record)
                continue
            called = await on_thread(functools.partial(hook, record))
            if inspect.isawaitable(called):
                await called
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            log.exception("the hook %r failed on the death of %s", getattr(hook, "__qualname__", hook), id)


def _is_cancelled() -> bool:
    """Whether the running asyncio task itself is cancelled, and not something that it awaited. Python 3.10 cannot
    distinguish the two."""
    running = asyncio.current_task()
    return running is None or not hasattr(running, "cancelling") or running.cancelling() > 0


def _wanted(hook: Callable[..., Any], values: dict[str, Any]) -> dict[str, Any]:
    try:
        parameters = _hints.signature(hook).parameters
    except (TypeError, ValueError):
        return values
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return values
    return {name: value for name, value in values.items() if name in parameters}
