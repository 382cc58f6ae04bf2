"""The output of a server and its workers cannot move a terminal's cursor or forge a line, whatever data a task has."""

from __future__ import annotations

from support.project import Project

APP = """
    import logging

    log = logging.getLogger("app")

    def says(text):
        log.warning("said %s", text)
        raise ValueError(text)
"""

EVIL = "\x1b[2J\x9b31m\u202ex\nforged: line"


def is_raw(text: str) -> bool:
    return any(letter in text for letter in "\x1b\x9b\u202e") or any(
        line.startswith("forged") for line in text.splitlines()
    )


def test_what_tasks_log_is_escaped(sqlite_project: Project) -> None:
    sqlite_project.write("app.py", APP)
    server = sqlite_project.server("--workers=1", app="app")
    (id,) = sqlite_project.add(f"app.says, {EVIL!r}, max_retries=0")
    # The stored data is unchanged.
    assert sqlite_project.ended(id)["error"]["message"] == EVIL
    server.says("said \\u{1b}[2J")
    assert server.stop() == 0
    assert not is_raw(server.output), server.output


def test_an_application_that_cannot_be_loaded_says_so_escaped(sqlite_project: Project) -> None:
    sqlite_project.write("app.py", f"raise RuntimeError({EVIL!r})\n")
    said = sqlite_project.run("queue", "start", "--app", "app", code=1)
    assert "cannot be loaded: \\u{1b}[2J" in said
    assert not is_raw(said), said
