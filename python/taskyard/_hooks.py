"""Hooks around tasks: registered by decorating, called in that order, sync or async."""

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

log = logging.getLogger("queued_task")

Hook = TypeVar("Hook", bound=Callable[..., Any])

pre_create: list[Callable[..., Any]] = []
post_create: list[Callable[..., Any]] = []
pre_run: list[Callable[..., Any]] = []
post_run: list[Callable[..., Any]] = []
death: list[Callable[..., Any]] = []
worker_start: list[Callable[..., Any]] = []
worker_stop: list[Callable[..., Any]] = []
#: In a worker process, the application's lifespans that run there, each with its queue; elsewhere None: nothing is collected.
lifespans: list[tuple[Any, Callable[..., Any]]] | None = None


def _register(hooks: list[Callable[..., Any]], hook: Hook) -> Hook:
    if not callable(hook):
        raise InvalidArgument(f"a hook is a function, and {hook!r} is not callable")
    _resolve.refuse_injection(hook, f"the hook {getattr(hook, '__qualname__', hook)}")
    if hook not in hooks:
        hooks.append(hook)
    return hook


def on_pre_create(hook: Hook) -> Hook:
    """``hook(task)`` runs in the caller's own context before a task is stored, and may change ``task.context``.

    If it raises, the task is refused: ``add_task`` raises, or (of a hook that had to wait) ``get_task_id()``.
    """
    return _register(pre_create, hook)


def on_post_create(hook: Hook) -> Hook:
    """``hook(task)`` runs in the caller's own context once the task is durable. Its error is logged.

    For a task that is added in a caller's transaction (``connection=``) it does not run: only the caller knows whether
    that commits.
    """
    return _register(post_create, hook)


def on_pre_run(hook: Hook) -> Hook:
    """``hook(task)`` runs before the body, in its context: contextvars that it sets are seen there.

    If it raises, the attempt has failed as if the body had raised.
    """
    return _register(pre_run, hook)


def on_post_run(hook: Hook) -> Hook:
    """``hook(task, result=None, error=None)`` runs once after each attempt; it may take fewer of these.

    Its own error is logged and changes nothing.
    """
    return _register(post_run, hook)


def on_death(hook: Hook) -> Hook:
    """``hook(dead)`` runs when a Python task has become a dead letter (state ``failed``), by whatever way and in whatever process.

    ``dead`` is its record, a dict as ``tasks.dead.list()`` gives them. A worker of a server that serves the task's queue calls
    it, once, as a rule within a second; twice, if that worker or server dies amid it; not at all if no such server is there for
    a day, if the letter is retried or removed before, or if three workers died of it. One dead letter after the other, each
    with a minute for its hooks: a worker that needs longer is replaced. Sync hooks run on a thread. What one raises is logged.
    Whoever has much to do there adds a task for it. Register it where the application is loaded.
    """
    return _register(death, hook)


def on_worker_start(hook: Hook) -> Hook:
    """``hook()`` runs in each worker before its first task, on its event loop: it opens what the tasks share, for example a
    pool. Contextvars that it sets are seen by every task.

    If it raises, the worker process ends without having run a task, and the server starts another one, with pauses that
    grow to 30 seconds. A start may take a minute. Workers within the application's process (``lifespan(workers=1)``, the
    pytest plugin) call it once for all of them; if it raises there, the application does not start.
    """
    return _register(worker_start, _without_arguments(hook, "on_worker_start"))


def on_worker_stop(hook: Hook) -> Hook:
    """``hook()`` runs in each worker after its last task, when its server stops or the worker is replaced or idle. What it
    raises is logged.

    It has ten seconds, and no more than what is left of the server's ``shutdown_grace``. A worker that is killed, or that
    still runs a task when the grace period is over, calls none.
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
    """Forgets all hooks; for tests."""
    for hooks in (pre_create, post_create, pre_run, post_run, death, worker_start, worker_stop):
        hooks.clear()


class _Resumed:
    """Goes on with a coroutine that was begun by hand and waits for something."""

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
    """Runs hooks as far as they go without waiting, in the caller's context. None if that was to their end, else an
    awaitable for the rest. Without an event loop they run to their end here."""
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
        # Wholly within a task of their own, so that their time limits and scopes are theirs.
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
    """Runs hooks; the first error ends it."""
    for hook in hooks:
        called = hook(task)
        if inspect.isawaitable(called):
            await called


async def run_worker_start() -> None:
    """Runs the hooks on a worker's start; the first error ends it."""
    for hook in list(worker_start):
        try:
            called = hook()
            if inspect.isawaitable(called):
                await called
        except BaseException:
            log.error("the hook %r failed on the start of a worker", getattr(hook, "__qualname__", hook))
            raise


async def run_worker_stop(is_process: bool = False) -> None:
    """Runs the hooks on a worker's stop; what they raise is logged. ``is_process``: nobody cancels the caller."""
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
    """Runs the hooks after an attempt; what they raise is logged."""
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
    """Runs the hooks on death; what they raise is logged."""
    id = _json.loads(dead)["id"]
    for hook in list(death):
        record = _json.loads(dead)
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
    """Whether the running task itself is to end, and not something that it waited for. Python 3.10 cannot tell."""
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
