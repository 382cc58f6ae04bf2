"""Backup and restore with the commands of `docs/production.md`."""

from __future__ import annotations

import pathlib
import stat

import psycopg
import pytest
from support import documents
from support.postgres import Cluster
from support.project import Project
from support.waiting import eventually
from test_production import shell

SECTION = "Backup and restore"

APP = """
    import asyncio, pathlib

    HERE = pathlib.Path(__file__).parent

    async def add(a, b):
        return a + b

    async def until(name):
        (HERE / f"began-{name}").touch()
        while not (HERE / name).exists():
            await asyncio.sleep(0.01)
        return name
"""

#: A lost server is noticed quickly.
QUICK = {"TASKYARD_LEASE": "2", "TASKYARD_HEARTBEAT_INTERVAL": "0.5", "TASKYARD_RESCUE_INTERVAL": "0.5"}


def commands() -> list[str]:
    """Returns the commands for PostgreSQL and for SQLite."""
    found = documents.blocks(documents.section(documents.PRODUCTION, SECTION), "sh")
    assert len(found) == 4
    return found


@pytest.mark.parametrize("rights", ["", " --no-acl"], ids=["as the page says", "without rights"])
def test_a_dump_is_restored(tmp_path: pathlib.Path, cluster: Cluster, postgres: str, rights: str) -> None:
    restored = cluster.address("shop_restored")
    addresses = {"ADMIN_URL": cluster.address("postgres"), "RESTORED_URL": restored}
    with Project(tmp_path, postgres) as project:
        project.write("app.py", APP)
        project.env |= QUICK
        server = project.server("--workers=1")
        (done,) = project.add("add, 1, 2")
        assert project.ended(done)["result"] == 3
        (later, runs, once) = project.add(
            "add, 3, 4, delay=3600", "until, 'first'", "until, 'second', at_most_once=True, max_retries=0"
        )
        for name in ("first", "second"):
            eventually((project.directory / f"began-{name}").exists, 60, "the body to begin")
        dump, restore, *_ = commands()
        shell(project, dump, **addresses)
        # Additions from here on are not in the backup.
        (lost,) = project.add("add, 5, 6")
        assert project.ended(lost)["result"] == 11
        try:
            assert "pg_restore --exit-on-error" in restore
            shell(project, restore.replace("pg_restore", f"pg_restore{rights}"), **addresses)
            server.kill()
            project.env["TASKYARD_DATABASE_URL"] = restored
            project.run("db", "status")
            assert [project.task(id)["state"] for id in (done, later, runs, once)] == ["done", "waiting", "doing", "doing"]
            project.run("task", "show", lost, code=4)
            (project.directory / "first").touch()
            again = project.server("--workers=1")
            found = project.ended(runs)
            assert found["state"] == "done" and found["attempt"] == 2 and found["failures"] == 0, found
            assert project.ended(once)["state"] == "failed"
            assert project.ended(once)["error"]["type"] == "ServerLost"
            project.run("queue", "status")
            assert again.stop() == 0, again.output
            with psycopg.connect(restored) as connection:
                open_to_all = connection.execute(
                    "SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
                    " WHERE n.nspname = 'taskyard' AND p.proname = 'enqueue' AND has_function_privilege('public', p.oid, 'execute')"
                ).fetchall()
            assert open_to_all == [(0,)]
        finally:
            cluster.drop("shop_restored")


def test_a_file_is_copied_while_it_is_served_and_put_back(sqlite_project: Project) -> None:
    project = sqlite_project
    project.write("app.py", APP)
    project.env |= QUICK
    server = project.server("--workers=1")
    (done,) = project.add("add, 1, 2")
    assert project.ended(done)["result"] == 3
    (runs,) = project.add("until, 'first'")
    eventually((project.directory / "began-first").exists, 60, "the body to begin")
    *_, copy, restore = commands()
    shell(project, copy)
    assert stat.S_IMODE((project.directory / "queue-backup.db").stat().st_mode) == 0o600
    (lost,) = project.add("add, 5, 6")
    assert project.ended(lost)["result"] == 11
    (project.directory / "first").touch()
    assert project.ended(runs)["state"] == "done"
    assert server.stop() == 0, server.output
    shell(project, restore)
    assert stat.S_IMODE((project.directory / ".taskyard" / "queue.db").stat().st_mode) == 0o600
    assert [project.task(id)["state"] for id in (done, runs)] == ["done", "doing"]
    project.run("task", "show", lost, code=4)
    again = project.server("--workers=1")
    found = project.ended(runs)
    assert found["state"] == "done" and found["attempt"] == 2, found
    (new,) = project.add("add, 7, 8")
    assert project.ended(new)["result"] == 15
    project.run("db", "check")
    project.run("queue", "status")
    assert again.stop() == 0, again.output
