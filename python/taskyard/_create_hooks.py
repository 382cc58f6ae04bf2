"""Adds tasks with their ``on_pre_create`` and ``on_post_create`` hooks, which may be async.

Owns the additions that wait for hooks, or for the additions of their parents. Read next: ``_hooks.py``.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from typing import Any

from . import _additions, _core, _graphs, _hooks, _loops, _port
from ._calls import Call, encode_context, prepare
from ._refs import QueuedTaskRef

__all__ = ["NewTask", "created", "creating", "pending_of", "push"]

log = logging.getLogger("queued_task")


class NewTask:
    """A task that is about to be stored, as passed to the create hooks. ``on_pre_create`` may change its ``context``."""

    def __init__(self, id: str, kind: str, name: str | None, options: dict[str, Any], function: Any) -> None:
        self.id = id
        self.kind = kind
        self.name = name or kind
        self.queue: str = options.get("queue", "default")
        self.context: dict[str, Any] = dict(options.get("context") or {})
        self.function = function
        self.attempt = 0


def push(port: _port.Port, calls: list[Call]) -> list[QueuedTaskRef[Any]]:
    """Adds tasks between their hooks, and returns references to them. An addition that must wait for a hook, or for the
    addition of a parent, continues in an asyncio task."""
    # Tasks that can never be stored are refused before any hook has an effect.
    drafts = [prepare(port, call) for call in calls]
    seen = [
        NewTask(call.id, draft["kind"], draft.get("name"), call.options, call.function)
        for call, draft in zip(calls, drafts, strict=True)
    ]

    def store() -> _core.Addition:
        for draft, task in zip(drafts, seen, strict=True):
            if task.context:
                draft["context"] = encode_context(port, task.context)
        return port.add(drafts)

    rest = None
    for task in seen:
        if rest is None:
            rest = _hooks.begin(_hooks.pre_create, task)
            unbegun: list[NewTask] = []
        else:
            unbegun.append(task)
    before = [pending for call in calls for pending in pending_of(call)]
    if rest is None and not before:
        addition = store()
        refs: list[QueuedTaskRef[Any]] = [QueuedTaskRef(port, call.id, addition, place) for place, call in enumerate(calls)]
        _additions.note(refs, seen[0].kind)
        _after_create(refs, seen)
        return refs

    refs = [QueuedTaskRef(port, call.id, None, place) for place, call in enumerate(calls)]
    for ref in refs:
        ref._known = False

    async def finish() -> None:
        if rest is not None:
            await rest
            for task in unbegun:
                await _hooks.run(_hooks.pre_create, task)
        for pending in before:
            await asyncio.wait([pending])
        addition = store()
        for ref in refs:
            ref._addition = addition
        _after_create(refs, seen)

    pending = _spawn(finish())
    creating.add(pending)
    pending.add_done_callback(creating.discard)
    for ref in refs:
        ref._pending = pending
    _additions.note(refs, seen[0].kind)
    return refs


def _after_create(refs: list[QueuedTaskRef[Any]], seen: list[NewTask]) -> None:
    """Calls the ``on_post_create`` hooks once the tasks are durable."""
    if not _hooks.post_create:
        return

    async def after() -> None:
        for ref, task in zip(refs, seen, strict=True):
            try:
                await ref._stored()
                task.id = ref._id
                await _hooks.run(_hooks.post_create, task)
            except Exception:
                log.exception("an on_post_create hook failed for task %s", task.id)

    if _loops.is_in_loop():
        _spawn(after())
    else:
        # Adding does not wait, but the hooks are called when the task is durable.
        context = contextvars.copy_context()
        threading.Thread(target=lambda: context.run(asyncio.run, after()), name="taskyard-hooks", daemon=True).start()


async def created() -> None:
    """Returns once the additions of this loop that wait for their hooks have been made."""
    loop = asyncio.get_running_loop()
    waiting = [task for task in creating if task.get_loop() is loop and task is not asyncio.current_task()]
    if waiting:
        await asyncio.wait(waiting)


#: Additions that wait for hooks.
creating: set[asyncio.Task[None]] = set()
_spawned: set[asyncio.Task[None]] = set()


def _spawn(coroutine: Any) -> asyncio.Task[None]:
    """Runs a coroutine in a copy of the caller's context. asyncio logs an error that is not awaited."""
    task: asyncio.Task[None] = contextvars.copy_context().run(asyncio.get_running_loop().create_task, coroutine)
    _spawned.add(task)
    task.add_done_callback(_spawned.discard)
    return task


def pending_of(call: Call) -> list[asyncio.Task[None]]:
    """Returns the unfinished additions of a call's parents."""
    return [
        parent._pending
        for parent in _graphs.arguments_of(call)
        if isinstance(parent, QueuedTaskRef) and parent._pending is not None and not parent._pending.done()
    ]
