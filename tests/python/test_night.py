"""The example that uses all features at once: a night in a shop, with a crash in it."""

from __future__ import annotations

import collections
import datetime as dt
import pathlib
import re
import shutil
import signal
import sqlite3
import threading
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import psutil
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from support.ports import free_port
from support.project import Project
from support.waiting import eventually
from taskyard import QueuedTasks
from test_quickstart import answers

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "python" / "night" / "app.py"
ITEMS = 100_000


class Post:
    """The state of a mail server: whose mails it refuses, how often, and the mails that have arrived."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.arrived: collections.Counter[str] = collections.Counter()
        self.refused: collections.Counter[str] = collections.Counter()
        self.unknown = {"customer-3@example.org"}

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        with self.lock:
            if address in self.unknown:
                self.refused[address] += 1
                return "550 no such user here"
            if address == "customer-5@example.org" and self.refused[address] < 2:
                self.refused[address] += 1
                return "451 come again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        with self.lock:
            self.arrived.update(envelope.rcpt_tos)
        return "250 OK"


@pytest.fixture
def post() -> Iterator[tuple[Post, str]]:
    mind = Post()
    port = free_port()
    controller = Controller(mind, hostname="127.0.0.1", port=port)
    controller.start()
    yield mind, f"127.0.0.1:{port}"
    controller.stop()


def test_a_night_with_a_crash_in_it(project: Project, post: tuple[Post, str], tmp_path: pathlib.Path) -> None:
    mind, address = post
    shutil.copy(EXAMPLE, tmp_path / "app.py")
    shop = tmp_path / "shop.db"
    env = {"SHOP_DB": str(shop), "SHOP_SMTP": address, "TASKYARD_LEASE": "2", "TASKYARD_HEARTBEAT_INTERVAL": "0.4"}
    env["TASKYARD_RESCUE_INTERVAL"] = "0.5"

    def rows(query: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(shop, timeout=30) as connection:
            return connection.execute(query).fetchall()

    port = free_port()
    project.start("serve", "app:app", "--port", str(port), **env)
    eventually(lambda: answers(port, "/docs"), 60, "the shop")

    def ask(path: str, method: str = "GET") -> Any:
        return httpx.request(method, f"http://127.0.0.1:{port}{path}", timeout=30).raise_for_status().json()

    first = project.server("--workers", "2", app="app:app", **env)
    ids = ask(f"/night?items={ITEMS}", "POST")

    # The server and its workers die during the import.
    def is_amid() -> bool:
        progress = ask(f"/tasks/{ids['import']}")["progress"] or {}
        return 5_000 <= (progress.get("completed") or 0) <= ITEMS - 20_000

    eventually(is_amid, 60, "the import is under way")
    workers = first.children()
    first.kill()
    for worker in workers:
        worker.send_signal(signal.SIGKILL)
    first.wait()
    psutil.wait_procs(workers, 10)
    told_before = len(rows("select task from alarm"))
    saved = project.task(ids["import"])["context"]["cursors"]["items"]
    assert 0 < saved < ITEMS
    project.server("--workers", "2", app="app:app", **env)

    done = project.ended(ids["import"], 90)
    assert (done["state"], done["result"], done["lost"]) == ("done", ITEMS, 1)
    assert rows("select count(*), min(id), max(id) from item") == [(ITEMS, 0, ITEMS - 1)]
    assert rows("select min(first) from ranges where attempt > 1") == [(saved,)], "it went on where it was"
    assert ask(f"/tasks/{ids['import']}")["progress"]["completed"] == ITEMS
    expected = sum(id * 7 % 1_000 for id in range(ITEMS))
    assert project.ended(ids["report"])["result"] == {"parts": 5, "cents": expected}

    # Mails: one came after two refusals, one is a dead letter until its address is known.
    mails = [project.ended(id) for id in ids["mails"]]
    assert [mail["state"] for mail in mails] == ["failed" if n == 3 else "done" for n in range(20)]
    # An attempt that died with its server after its mail was refused counts as lost.
    assert mind.refused["customer-5@example.org"] == 2 <= mails[5]["failures"] + mails[5]["lost"]
    assert "550 no such user" in mails[3]["error"]["message"]
    [dead] = project.json("dead", "list")
    # A lost attempt may have died before or after its mail was refused.
    assert dead["id"] == ids["mails"][3] and 1 <= mind.refused["customer-3@example.org"] <= 1 + mails[3]["lost"]
    # A hook has notified the shop.
    eventually(lambda: rows("select task from alarm"), what="the alarm")
    mind.unknown.clear()
    project.run("dead", "retry", dead["id"])
    again = project.ended(dead["id"], 60)
    assert again["state"] == "done", again
    assert set(mind.arrived) == {f"customer-{n}@example.org" for n in range(20)}
    # An attempt that was killed after sending and before recording it sends once more, with the same Message-ID.
    assert sum(mind.arrived.values()) <= 20 + sum(mail["lost"] for mail in mails)

    # Three in the morning in Berlin: once.
    berlin = ZoneInfo("Europe/Berlin")
    with QueuedTasks(database=project.database or str(tmp_path / ".taskyard" / "queue.db")) as tasks:
        now = dt.datetime.now(berlin)
        at = now.replace(hour=3, minute=0, second=0, microsecond=0)
        at = at if at > now else (at + dt.timedelta(days=1)).replace(hour=3)
        ahead = (at.astimezone(dt.timezone.utc) - now.astimezone(dt.timezone.utc)).total_seconds()
        tasks._via.core().set_clock(ahead + 5).block(20)  # type: ignore[attr-defined]
        eventually(lambda: rows("select night from report") != [], 60, "the report is written")
        job = project.json("schedule", "show", "nightly report")
        assert [run["fire_at"] for run in job["history"]] == [at.astimezone(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")]
        eventually(lambda: project.json("schedule", "show", "nightly report")["last_state"] == "done", 60)
        assert rows("select items from report") == [(ITEMS,)]

    # Once, or twice if the first server died after the hook and before recording it.
    alarms = rows("select task from alarm")
    assert set(alarms) == {(dead["id"],)} and len(alarms) <= 1 + told_before, (alarms, told_before)
    # Counts by SQL equal those of the command.
    counted = project.json("db", "query", "select state, count(*) as count from queued_tasks group by state")
    by_state = {row["state"]: row["count"] for row in counted}
    told = re.search(r"all queues: (.*)", project.run("queue", "stats"))
    assert told is not None
    stats = {state: int(count.replace(",", "")) for count, state in re.findall(r"(\d[\d,]*) (\w+)", told[1])}
    assert {state: count for state, count in stats.items() if count} == by_state == {"done": 28}
