"""A virtual environment of a test's own, in which everything that the tests use is installed, and the test's project besides."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sysconfig
import venv

from .project import COMMAND


class Environment:
    """A virtual environment that sees the packages of the one that runs the tests."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.bin = directory / "bin"
        venv.create(directory, with_pip=False)
        (packages,) = directory.glob("lib/python*/site-packages")
        (packages / "tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
        # The command as pip would install it: for this environment's interpreter.
        _, _, script = pathlib.Path(COMMAND).read_text().partition("\n")
        command = self.bin / "taskyard"
        command.write_text(f"#!{self.python}\n{script}")
        command.chmod(0o755)
        self.env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.env["PATH"] = f"{self.bin}{os.pathsep}{self.env['PATH']}"
        self.env["PYTHONUNBUFFERED"] = "1"

    @property
    def python(self) -> pathlib.Path:
        return self.bin / "python"

    def install(self, project: pathlib.Path) -> None:
        """Installs a project whose dependencies are there."""
        options = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
        run([self.python, "-m", "pip", "install", *options, project], project, self.env)


def run(command: list[str | pathlib.Path], cwd: pathlib.Path, env: dict[str, str]) -> str:
    """Runs a program to its end; its output."""
    done = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"exit code {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout
