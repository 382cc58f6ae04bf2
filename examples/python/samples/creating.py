"""Ways to add tasks: single, dependent, in bulk, delayed, unique, and with options that share a parameter's name."""

from __future__ import annotations

import asyncio
import datetime as dt

from taskyard import QueuedTasks, RetryPolicy, Unique, task


async def send_email(recipient: str, subject: str, priority: str = "normal") -> dict[str, object]:
    return {"sent": True, "recipient": recipient, "priority": priority}


async def process_order(order_id: int) -> dict[str, object]:
    return {"order_id": order_id, "status": "processed"}


def send_confirmation(order_id: int) -> dict[str, bool]:
    return {"confirmation_sent": True}


@task(queue="reports", max_retries=5)
async def report(year: int) -> str:
    return f"report of {year}"


async def main() -> None:
    async with QueuedTasks() as tasks:
        # Fire and forget: written in the background; the end of the block waits for it.
        tasks.add_task(send_email, "ada@example.org", "Welcome")

        # The id is known at once; `get_task_id` waits until the task is durable.
        mail = tasks.add_task(send_email, "bob@example.org", "Welcome")
        assert mail.id == await mail.get_task_id()

        # Dependent tasks wait for a parent, or for several.
        order = tasks.add_task(process_order, 7)
        confirmation = tasks.add_task(send_confirmation, 7, parent=order)
        both = tasks.add_task(send_email, "boss@example.org", "All done", parents=[mail, confirmation])

        # In bulk: all are stored or none, in one write.
        bulk = tasks.add_tasks([(process_order, number) for number in range(100)])

        # Delayed, with a retry policy of its own, and unique.
        tomorrow = dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=1)
        later = tasks.add_task(process_order, 8, run_at=tomorrow)
        careful = tasks.add_task(
            process_order, 9, retry=RetryPolicy(max_retries=10, backoff=1, never=(ValueError,)), timeout=30
        )
        once = tasks.add_task(process_order, 10, unique=Unique("order-10", hold=3600))
        again = tasks.add_task(process_order, 10, unique=Unique("order-10", hold=3600))
        assert await again.get_task_id() == once.id and again.existing

        # A function whose parameter has the name of an option.
        urgent = tasks.using(priority=5).add_task(send_email, "eve@example.org", "Hurry", priority="high")

        # Defaults by a decorator.
        yearly = report.using(delay=0.01).enqueue(2026)

        print(both.id, later.id, careful.id, urgent.id, yearly.id, len(bulk))


if __name__ == "__main__":
    asyncio.run(main())
