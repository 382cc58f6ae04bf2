"""A shop's nightly work: a scheduled report, an import that survives a crash, mails with retries and dead letters, and a sum
of parts. ``taskyard serve app:app`` and ``taskyard queue start --app app:app --workers 2`` run it; ``POST /night`` starts it.

The shop's own rows are stored in ``SHOP_DB`` (default ``shop.db``), its mails are sent to ``SHOP_SMTP`` (default ``127.0.0.1:2525``).
"""

from __future__ import annotations

import asyncio
import os
import smtplib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from typing import Any

from fastapi import FastAPI, HTTPException
from taskyard import Fail, QueuedTasks, RetryPolicy, TasksDep, task
from taskyard.batches import Cursor, id_ranges
from taskyard.progress import ProgressTracker
from taskyard.queued_task import get_context, get_current_task, getLogger, on_death
from taskyard.scheduler import Scheduler

queue = QueuedTasks()
# This process only declares the jobs; the workers that run tasks run them, too.
scheduler = Scheduler("Europe/Berlin", tasks=queue, workers=0)
app = FastAPI(lifespan=queue.lifespan(scheduler.lifespan))
log = getLogger("shop")


@contextmanager
def shop() -> Iterator[sqlite3.Connection]:
    """Opens the shop's own database in a transaction."""
    connection = sqlite3.connect(os.environ.get("SHOP_DB", "shop.db"), timeout=30)
    try:
        connection.executescript(
            "create table if not exists item (id integer primary key, region integer not null, cents integer not null);"
            "create table if not exists ranges (attempt integer, first integer, stop integer);"
            "create table if not exists report (night text, items integer);"
            "create table if not exists alarm (task text, words text);"
        )
        with connection:
            yield connection
    finally:
        connection.close()


# ------------------------------------------------------------------------------------------------------------ the import


def store(attempt: int, first: int, stop: int) -> None:
    """Stores a range of items. Idempotent, because the last range may be stored twice after a crash."""
    with shop() as connection:
        rows = ((id, id % 10, id * 7 % 1_000) for id in range(first, stop))
        connection.executemany("insert or ignore into item values (?, ?, ?)", rows)
        connection.execute("insert into ranges values (?, ?, ?)", (attempt, first, stop))


async def import_items(count: int, size: int = 1_000) -> int:
    """Imports items by ranges of ids; resumes after a crash."""
    progress = ProgressTracker.of_task(resume=True)
    progress.set_total(count)
    async for first, stop in Cursor("items").ranges(0, count, size):
        await asyncio.to_thread(store, get_current_task().attempt, first, stop)
        progress.update(stop)
        progress.set_message(f"item {stop} of {count}")
    return count


# ------------------------------------------------------------------------------------------------------------- the mails


@task(queue="mail", retry=RetryPolicy(max_retries=8, backoff=0.1, cap=2))
def send_mail(to: str, subject: str) -> str:
    """Sends a mail. Retries a temporary refusal of the mail server; a permanent refusal makes the task a dead letter."""
    host, _, port = os.environ.get("SHOP_SMTP", "127.0.0.1:2525").partition(":")
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "shop@example.org", to, subject
    # The same in every attempt, so that a recipient can detect a duplicate.
    message["Message-ID"] = f"<{get_current_task().idempotency_key}@shop.example.org>"
    message.set_content("Thank you for your order.")
    with smtplib.SMTP(host, int(port), timeout=10) as smtp:
        try:
            smtp.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            code, words = error.recipients[to]
            if code >= 500:
                raise Fail(f"{to}: {code} {words.decode(errors='replace')}") from error
            raise
    log.info("mailed %s", to)
    return to


@on_death
def alarm(dead: dict[str, Any]) -> None:
    """Records an alarm, once for each dead letter."""
    with shop() as connection:
        connection.execute("insert into alarm values (?, ?)", (dead["id"], dead["error"]["message"]))


# ----------------------------------------------------------------------------------------------------------- the reports


def total(first: int, stop: int) -> int:
    """Returns the total price of the items of some regions, in cents."""
    with shop() as connection:
        query = "select coalesce(sum(cents), 0) from item where region >= ? and region < ?"
        found: int = connection.execute(query, (first, stop)).fetchone()[0]
        return found


def summary(_: int, totals: list[int]) -> dict[str, Any]:
    """Adds up the totals of the parts."""
    return {"parts": len(totals), "cents": sum(totals)}


@scheduler.schedule(cron="0 3 * * *", id="nightly report", overlap="queue_one")
def nightly_report() -> int:
    """Stores the number of items, every night at three in Berlin."""
    with shop() as connection:
        items: int = connection.execute("select count(*) from item").fetchone()[0]
        connection.execute("insert into report values (?, ?)", (get_context("schedule.fire_at"), items))
        return items


# ----------------------------------------------------------------------------------------------------------------- HTTP


@app.post("/night", status_code=202)
async def night(tasks: TasksDep, items: int = 100_000, customers: int = 20) -> dict[str, Any]:
    """Adds the night's tasks: the import, then the sum of its parts; and the mails."""
    load = tasks.call(import_items, items)
    parts = [tasks.call(total, first, stop, parent=load) for first, stop in id_ranges(0, 10, 2)]
    # The arguments are replaced by results: of the import, and of the parts.
    report = tasks.call(summary, load, parts)
    refs = tasks.add_tasks([load, *parts, report])
    mails = [tasks.add_task(send_mail, f"customer-{n}@example.org", "Your order") for n in range(customers)]
    return {"import": refs[0].id, "report": refs[-1].id, "mails": [mail.id for mail in mails]}


@app.get("/tasks/{id}")
async def show(id: str, tasks: TasksDep) -> dict[str, Any]:
    """Returns a task's state and progress."""
    ref = tasks.get(id)
    try:
        return {"state": await ref.get_state(), "progress": await ref.get_progress()}
    except LookupError:
        raise HTTPException(404, "there is no such task") from None
