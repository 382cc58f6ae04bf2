"""The README's first screen: a program of each language, with the commands that run it."""

from __future__ import annotations

import json
import re
import shlex

import httpx
from support import documents
from support.ports import free_port
from support.project import Project
from support.waiting import eventually
from test_quickstart import answers

TEXT = (documents.ROOT / "README.md").read_text().split("\n## ")[0]


def test_both_languages_stand_there_in_a_few_lines() -> None:
    for language, longest in (("python", 10), ("rust", 15)):
        (sample,) = documents.blocks(TEXT, language)
        assert len([line for line in sample.splitlines() if line.strip()]) <= longest
    assert [len(block.splitlines()) for block in documents.blocks(TEXT, "sh")] == [3, 2]
    (rows,) = documents.tables(TEXT)
    assert [(row[0], "pip install taskyard" in row[2] or "cargo add taskyard" in row[2]) for row in rows] == [
        ("Python", True),
        ("Rust", True),
    ]


def test_the_python_program_runs_by_its_commands(project: Project) -> None:
    (sample,) = documents.blocks(TEXT, "python")
    project.write("app.py", sample)
    serve, curl, show = (shlex.split(line, comments=True) for line in documents.blocks(TEXT, "sh")[0].splitlines())
    port = free_port()
    web = project.start(*serve[1:], "--port", str(port))
    eventually(lambda: answers(port, "/docs"), 60, "the web application")
    assert curl[:3] == ["curl", "-X", "POST"]
    url = curl[3].replace("localhost:8000/", f"http://127.0.0.1:{port}/")
    id = json.loads(httpx.post(url).raise_for_status().text)["task"]
    assert project.ended(id)["result"] == "welcomed ada@example.org"
    assert show == ["taskyard", "task", "show", "ID"]
    shown = project.run(*show[1:3], id)
    assert "done" in shown and "welcomed ada@example.org" in shown, shown
    assert web.stop() == 0, web.output


def test_the_rust_program_is_an_example_that_is_compiled() -> None:
    (sample,) = documents.blocks(TEXT, "rust")
    path = documents.ROOT / "crates/taskyard/examples/welcome.rs"
    assert re.sub(r"^//!.*\n+", "", path.read_text()) == sample
