"""Ways to create tasks: simple ones, dependent ones, many at once, later ones, unique ones, with options of any name."""

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
        # Fire and forget: it is written in the background; the end of the block waits for it.
        tasks.add_task(send_email, "ada@example.org", "Welcome")

        # The id at once, or once the task is durable.
        mail = tasks.add_task(send_email, "bob@example.org", "Welcome")
        assert mail.id == await mail.get_task_id()

        # One waits for another, or for several.
        order = tasks.add_task(process_order, 7)
        confirmation = tasks.add_task(send_confirmation, 7, parent=order)
        both = tasks.add_task(send_email, "boss@example.org", "All done", parents=[mail, confirmation])

        # All or none, in one write.
        bulk = tasks.add_tasks([(process_order, number) for number in range(100)])

        # Later, with other retries, at most once at a time.
        tomorrow = dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=1)
        later = tasks.add_task(process_order, 8, run_at=tomorrow)
        careful = tasks.add_task(
            process_order, 9, retry=RetryPolicy(max_retries=10, backoff=1, never=(ValueError,)), timeout=30
        )
        once = tasks.add_task(process_order, 10, unique=Unique("order-10", hold=3600))
        again = tasks.add_task(process_order, 10, unique=Unique("order-10", hold=3600))
        assert await again.get_task_id() == once.id and again.existing

        # A function whose parameter is called like an option.
        urgent = tasks.using(priority=5).add_task(send_email, "eve@example.org", "Hurry", priority="high")

        # Defaults by a decorator.
        yearly = report.using(delay=0.01).enqueue(2026)

        print(both.id, later.id, careful.id, urgent.id, yearly.id, len(bulk))


if __name__ == "__main__":
    asyncio.run(main())
