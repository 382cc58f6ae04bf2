"""Schedules by SQL alone, while a server runs."""

from __future__ import annotations

import pathlib

import psycopg
from support.project import Project
from support.waiting import eventually

APP = """
    import time
    from taskyard import QueuedTasks

    tasks = QueuedTasks()

    def note(word: str) -> str:
        with open("noted", "a") as file:
            print(word, time.time(), file=file)
        return word
"""


def test_sql_is_in_force_at_once(postgres: str, tmp_path: pathlib.Path) -> None:
    with Project(tmp_path, postgres) as project, psycopg.connect(postgres, autocommit=True) as sql:
        project.write("app.py", APP)
        project.server("--workers=1", app="app:tasks")
        noted = project.directory / "noted"

        def said(word: str) -> int:
            return noted.read_text().count(f"{word} ") if noted.exists() else 0

        # A worker is running, so that the test waits for the schedule only.
        [first] = project.add("note, 'first'")
        project.ended(first)
        sql.execute(
            "select taskyard.schedule_add('tick', '@every 1s', 'app:note', args => '[\"tick\"]', runtime => 'python')"
        )
        eventually(lambda: said("tick") >= 2, 10, "it runs every second")
        sql.execute("update taskyard.schedule set rule = '@every 1h' where name = 'tick'")
        before = project.json("schedule", "show", "tick")
        assert before["rule"] == "@every 1h" and before["state"] == "active"
        eventually(lambda: project.json("schedule", "show", "tick")["next_at"] > before["last_at"], 10, "the new rule")
        ticks = said("tick")
        sql.execute("select taskyard.schedule_run_now('tick')")
        eventually(lambda: said("tick") > ticks, 10, "it is run now")
        # An invalid rule breaks only its own schedule, which states the problem.
        sql.execute("update taskyard.schedule set rule = '61 * * * *' where name = 'tick'")
        shown = eventually(lambda: (found := project.json("schedule", "show", "tick"))["problem"] and found, 10)
        assert "61" in shown["problem"] and shown["next_at"] is None
        sql.execute(
            "select taskyard.schedule_add('tock', '@every 1s', 'app:note', args => '[\"tock\"]', runtime => 'python')"
        )
        eventually(lambda: said("tock") >= 1, 10, "another one goes on")
        sql.execute("delete from taskyard.schedule where name = 'tock'")
        assert [each["name"] for each in project.json("schedule", "list")] == ["tick"]
