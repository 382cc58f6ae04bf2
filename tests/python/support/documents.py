"""The repository's pages for users: their code blocks, tables and texts."""

from __future__ import annotations

import functools
import json
import pathlib
import re
import shlex
import subprocess

from .project import COMMAND

ROOT = pathlib.Path(__file__).parents[3]
PRODUCTION = ROOT / "docs" / "production.md"
#: The files that `docs/production.md` refers to.
FILES = ROOT / "docs" / "production"


def pages() -> list[pathlib.Path]:
    """Returns all pages except the changelog, which also names removed features."""
    found = [
        page for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "crates/*/*.md") for page in ROOT.glob(pattern)
    ]
    return sorted(page for page in found if page.name != "CHANGELOG.md")


def section(page: pathlib.Path, heading: str) -> str:
    """Returns the text below a heading, up to the next one of its level."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{page.name} has no section {heading!r}"
    return found[1]


def blocks(text: str, language: str) -> list[str]:
    """Returns the code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def tables(text: str) -> list[list[list[str]]]:
    """Returns the rows of each table, without its head."""
    found = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [
        [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()[2:]]
        for table in found
    ]


def unit(name: str) -> dict[str, str]:
    """Returns the settings of a systemd unit, each of which occurs once."""
    lines = [line for line in (FILES / name).read_text().splitlines() if "=" in line and not line.startswith("#")]
    found = dict(line.split("=", 1) for line in lines)
    assert len(found) == len(lines), f"{name} sets something twice"
    return found


def environment(name: str) -> dict[str, str]:
    """Returns the variables of a file for systemd's ``EnvironmentFile``."""
    lines = [line for line in (FILES / name).read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def images() -> dict[str, dict[str, list[str]]]:
    """Returns the command and the health check of each image in the container file."""
    found: dict[str, dict[str, list[str]]] = {}
    target = ""
    for line in (FILES / "Containerfile").read_text().splitlines():
        if start := re.match(r"FROM \S+ AS (\w+)$", line):
            target = start[1]
            found[target] = {}
        elif command := re.match(r"(HEALTHCHECK|CMD) .*?(\[.*\])$", line):
            found[target][command[1]] = json.loads(command[2])
    return found


@functools.cache
def help_of(*command: str) -> str:
    """Returns the output of ``--help`` of a command."""
    done = subprocess.run([COMMAND, *command, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"there is no `taskyard {' '.join(command)}`:\n{done.stderr}"
    return done.stdout


def settings() -> dict[str, tuple[str, str]]:
    """Returns the variable and the default of each setting, as listed by ``--help``."""
    text = help_of().split("\nSETTINGS\n")[1].split("\nDATABASE\n")[0]
    found = {}
    for name, variable, words in re.findall(r"^  (\w+) +([A-Z_]+)\n((?:      .*\n)*)", text, re.MULTILINE):
        default = re.search(r"\[default:\s+(.*?)\]", " ".join(words.split()))
        found[name] = (variable, default[1] if default else "")
    return found


def command_lines(text: str) -> list[list[str]]:
    """Returns the calls of ``taskyard`` in shell blocks and in sentences, as lists of arguments."""
    text = re.sub(r"\\\n\s*", " ", text)
    shell = [part for block in blocks(text, "sh") for line in block.splitlines() for part in re.split(r"&&|\|| \$\(", line)]
    inline = [part for part in re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))]
    found = []
    for line in [*shell, *inline]:
        line = line.split("#")[0].strip()
        if line.startswith("taskyard ") and "…" not in line.split("taskyard ", 1)[1].split()[0]:
            found.append(shlex.split(line.replace("…", ""))[1:])
    return found
