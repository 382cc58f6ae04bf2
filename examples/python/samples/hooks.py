"""Hooks that carry the current user from the request into the task. Importing this module registers them."""

from __future__ import annotations

from typing import Any

from taskyard import context
from taskyard.queued_task import getLogger, on_death, on_post_run, on_pre_create, on_pre_run


@on_pre_create
async def capture_user(task: Any) -> None:
    """Runs in the caller's context, before the task is stored."""
    task.context.update({"user": context.get_user()})


@on_pre_run
async def restore_user(task: Any) -> None:
    """Runs in the task's context, before its body."""
    context.set_user(task.context.get("user"))


@on_post_run
async def after(task: Any, result: Any = None, error: Any = None) -> None:
    """Runs once after each attempt."""
    getLogger("audit").info("%s of %s: %s", task.name, context.get_user(), "failed" if error else "done")


@on_death
def died(dead: dict[str, Any]) -> None:
    """Runs once for each dead letter, in one of the workers."""
    getLogger("audit").error("%s of %s is dead: %s", dead["kind"], dead["id"], dead["error"]["message"])


async def who_am_i() -> Any:
    return context.get_user()
