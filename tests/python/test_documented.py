"""The pages for users name only existing commands, options, settings, files, and lines of the log."""

from __future__ import annotations

import functools
import pathlib
import re

import pytest
from support import documents

#: Variables that are not settings, as documented by `--help` or a page.
OTHER_VARIABLES = {
    "TASKYARD_LOG",
    "TASKYARD_ROOT",
    "TASKYARD_FAILPOINT",
    "TASKYARD_LOSE",
    "TASKYARD_WRITE_SCHEMA",
    "TASKYARD_WRITE_NAMES",
    "TASKYARD_WRITE_STDERR",
}
#: Commands with subcommands.
GROUPS = {"queue", "task", "dead", "schedule", "db"}

by_page = pytest.mark.parametrize("page", documents.pages(), ids=lambda page: str(page.relative_to(documents.ROOT)))


def command_of(words: list[str]) -> list[str]:
    """Returns the command and its subcommand, which options of all commands may precede."""
    command: list[str] = []
    rest = iter(words)
    for word in rest:
        if word in ("--database", "--root", "--set"):
            next(rest)
        elif not word.startswith("-"):
            command.append(word)
            if len(command) == 2 or word not in GROUPS:
                break
    return command


@by_page
def test_commands_and_their_options_exist(page: pathlib.Path) -> None:
    for line in documents.command_lines(page.read_text()):
        ours = line[: line.index("--")] if "--" in line else line
        command = command_of(ours)
        text = documents.help_of(*command)
        for option in (word.split("=")[0] for word in ours if word.startswith("--")):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", text), f"`taskyard {' '.join(line)}`: no option {option}"


@by_page
def test_variables_are_settings(page: pathlib.Path) -> None:
    known = {variable for variable, _ in documents.settings().values()} | OTHER_VARIABLES
    named = set(re.findall(r"\b(?:TASKYARD|QUEUE)_[A-Z_]+\b", page.read_text()))
    assert named <= known, f"there is no setting {named - known}"


@by_page
def test_files_that_are_linked_exist(page: pathlib.Path) -> None:
    text = page.read_text()
    headings = {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(
            r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE
        )
    }
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        assert not path or (page.parent / path).exists(), f"{link} is not there"
        assert path or anchor in headings, f"there is no heading for {link}"


def test_settings_of_the_page_about_production_have_its_defaults() -> None:
    known = documents.settings()
    assert known["shutdown_grace"] == ("TASKYARD_SHUTDOWN_GRACE", "25"), "the table of --help is read"
    (rows,) = documents.tables(documents.section(documents.PRODUCTION, "Sizes"))
    assert len(rows) > 10
    for name, variable, default, _ in rows:
        assert known[name.strip("`")] == (variable.strip("`"), default), name
    text = documents.PRODUCTION.read_text()
    said = re.findall(r"`(\w+)`\s+\((\d+)\s+(s|minutes)\)", text) + re.findall(r"\(`(\w+)`,\s+(\d+)\s+(s|minutes)\)", text)
    assert {name for name, _, _ in said} >= {"shutdown_grace", "lease", "polling_interval", "unhealthy_age"}
    for name, number, unit in said:
        assert known[name][1] == (f"{number}m" if unit == "minutes" else number), f"{name}: {known[name][1]}"


@functools.cache
def sources() -> str:
    """Returns the program's source texts, with continued lines joined as the compiler does."""
    files = [
        *documents.ROOT.glob("crates/*/src/**/*.rs"),
        *documents.ROOT.glob("python/taskyard/**/*.py"),
    ]
    return re.sub(r"\\\n\s*", "", "\n".join(file.read_text() for file in files))


def test_lines_of_the_log_are_logged() -> None:
    rows = documents.tables(documents.section(documents.PRODUCTION, "Health checks"))[-1]
    texts = [text for _, cell, _ in rows for text in re.findall(r"`([^`]+)`", cell) if text != "queued_task"]
    texts += re.findall(r"`(the server runs|this program supports up\s+to)`", documents.PRODUCTION.read_text())
    assert len(texts) > 8
    for text in texts:
        assert re.sub(r"\s+", " ", text) in sources(), text
