"""Managing queues at run time: limits, rates, ageing, priorities, pausing, draining, purging."""

from __future__ import annotations

from typing import Any

from taskyard import QueuedTasks


async def send(to: str) -> str:
    return to


async def manage(tasks: QueuedTasks) -> dict[str, Any]:
    queues = tasks.queues
    await queues.limit("mail", 5)  # at most five tasks at once, over all servers
    await queues.rate("mail", "100/m")  # at most a hundred starts per minute
    await queues.ageing("mail", every=600)  # priorities rise by one every ten minutes
    await queues.pause("mail")
    slow = [tasks.using(queue="mail").add_task(send, f"{name}@example.org") for name in ("ada", "bob", "eve")]
    await slow[2].set_priority(10)  # runs first when the queue is resumed
    [mail] = [queue for queue in await queues.list() if queue.name == "mail"]
    await queues.resume("mail")
    sent = [await ref.wait(20) for ref in slow]
    drained = await queues.drain("mail", timeout=20)  # pauses the queue and waits for running tasks
    purged = await queues.purge("mail")  # deletes done and cancelled tasks
    return {"enqueued": mail.enqueued, "rate": mail.rate, "sent": sent, "drained": drained, "purged": purged}
