"""Failures: which are retried and when, which are final, and how to correct dead letters."""

from __future__ import annotations

import asyncio
from typing import Any

from taskyard import Fail, QueuedTasks, Retry, RetryPolicy, Snooze, task
from taskyard.queued_task import get_current_task


class Refused(Exception):
    """An error that a retry cannot solve."""


#: Three retries after about 0.1 s, 0.2 s and 0.4 s; none for ``Refused``.
POLITE = RetryPolicy(max_retries=3, backoff=0.1, cap=5, never=(Refused,))


@task(retry=POLITE)
async def call_partner(answer: int) -> str:
    """Maps the status code of a partner's service to a retry, a delay or a final failure."""
    if get_current_task().attempt == 1 and answer == 429:
        raise Retry("too many requests", after=0.05)  # as its Retry-After says
    if get_current_task().attempt == 1 and answer == 503:
        raise Snooze(0.05)  # in maintenance: run later, without using a retry
    if answer == 410:
        raise Fail("it is gone for good")  # final, even if retries are left
    if answer == 403:
        raise Refused("not for us")
    return f"attempt {get_current_task().attempt}"


async def try_all(tasks: QueuedTasks) -> list[Any]:
    refs = [tasks.add_task(call_partner, answer) for answer in (200, 429, 503, 410, 403)]
    ended = [await ref.outcome() for ref in refs]
    return [outcome.result if outcome.ok else type(outcome.error).__name__ for outcome in ended]


async def put_right(tasks: QueuedTasks) -> dict[str, Any]:
    """Lists, shows, edits and retries dead letters."""
    dead = tasks.dead
    found = await dead.list(function=call_partner, error=Refused)
    shown = await dead.show(found[0]["id"])
    await dead.retry(found[0]["id"], args=[200])  # this one, with other arguments
    again = await tasks.get(found[0]["id"]).wait(20)
    left = await dead.count()
    purged = await dead.purge(function=call_partner)
    return {"attempts": len(shown["attempts"]), "again": again, "left": left, "purged": purged}


if __name__ == "__main__":

    async def main() -> None:
        async with QueuedTasks() as tasks:
            print(await try_all(tasks), await put_right(tasks))

    asyncio.run(main())
