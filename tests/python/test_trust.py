"""Files of other users in a directory have no effect: no settings, no database, no code."""

from __future__ import annotations

import os
import pathlib

import pytest
from support.project import Project

PLANTED = """
    import pathlib
    pathlib.Path("ran").touch()
    app = None
"""


def make_foreign(path: pathlib.Path) -> None:
    """Makes a path belong to another user, which requires root; otherwise makes it writable by everybody, which counts
    the same."""
    if os.geteuid() == 0:
        os.chown(path, 65534, -1)
    else:
        path.chmod(0o777 if path.is_dir() else 0o666)


def make_own(path: pathlib.Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, 0, -1)
    path.chmod(0o700 if path.is_dir() else 0o600)


@pytest.mark.parametrize("command", [("queue", "start"), ("queue", "start", "--app", "main:app"), ("serve",)])
def test_code_in_a_directory_of_another_user_is_not_run(
    sqlite_project: Project, command: tuple[str, ...], tmp_path: pathlib.Path
) -> None:
    sqlite_project.write("main.py", PLANTED)
    make_foreign(tmp_path)
    try:
        said = sqlite_project.run(*command, code=2)
        assert f"{tmp_path}: " in said and f"--root {tmp_path} " in said
        assert not (tmp_path / "ran").exists()
        # A directory without a project is not imported from either, even if the database is named.
        (tmp_path / "pyproject.toml").unlink()
        said = sqlite_project.run(*command, "--database", str(tmp_path / "named.db"), code=2)
        assert f"--root {tmp_path} " in said
        assert not (tmp_path / "ran").exists()
    finally:
        make_own(tmp_path)


def test_an_application_that_another_user_planted_is_not_found(sqlite_project: Project, tmp_path: pathlib.Path) -> None:
    make_foreign(sqlite_project.write("main.py", PLANTED))
    said = sqlite_project.run("queue", "start", code=2)
    assert f"{tmp_path / 'main.py'}: " in said
    assert not (tmp_path / "ran").exists()
    # Naming the root overrides the check, in the workers, too.
    server = sqlite_project.server("--root", str(tmp_path))
    assert (tmp_path / "ran").exists()
    assert server.stop() == 0


def test_a_program_in_a_directory_of_another_user_says_so(sqlite_project: Project, tmp_path: pathlib.Path) -> None:
    program = """
        from taskyard import QueuedTasks, TaskyardError
        try:
            with QueuedTasks() as tasks:
                tasks.add_task("app:f")
                tasks.flush()
        except TaskyardError as error:
            print("refused:", error)
    """
    sqlite_project.write("taskyard.toml", "max_workers = 1")
    make_foreign(tmp_path)
    try:
        said = sqlite_project.python(program)
        assert "refused:" in said and f"--root {tmp_path} " in said and "TASKYARD_ROOT=" in said
        assert "refused:" not in sqlite_project.python(program, TASKYARD_ROOT=str(tmp_path))
    finally:
        make_own(tmp_path)


@pytest.mark.parametrize("planted", ["web/app.py", "web/__init__.py", "web"])
def test_an_application_that_another_user_planted_is_not_used_though_it_is_named(
    sqlite_project: Project, planted: str, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web/__init__.py").touch()
    sqlite_project.write("web/app.py", PLANTED)
    make_foreign(tmp_path / planted)
    for option in ("--app=web.app:app", "--set=include=web.app"):
        said = sqlite_project.run("queue", "start", option, code=2)
        assert f"{tmp_path / planted}: " in said and f"--root {tmp_path} " in said
    assert not (tmp_path / "ran").exists()
    make_own(tmp_path / planted)


@pytest.mark.parametrize("planted", ["helper.py", "parts/__init__.py", "parts", "__pycache__"])
def test_what_everybody_may_write_to_is_not_imported(sqlite_project: Project, planted: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/__init__.py").touch()
    (tmp_path / "__pycache__").mkdir()
    sqlite_project.write("helper.py", PLANTED)
    sqlite_project.write("app.py", "import parts\nimport helper\napp = None\n")
    path = tmp_path / planted
    path.chmod(path.stat().st_mode | 0o002)
    said = sqlite_project.run("queue", "start", "--app", "app:app", code=1)
    assert f"{path}: everybody may write to it" in said and f"--root {tmp_path} " in said
    assert not (tmp_path / "ran").exists()
    server = sqlite_project.server("--root", str(tmp_path), app="app:app")
    assert (tmp_path / "ran").exists()
    assert server.stop() == 0
