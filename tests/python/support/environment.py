"""Virtual environments for tests."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sysconfig
import venv

from .project import COMMAND

ROOT = pathlib.Path(__file__).parents[3]
#: Constraints for pip as well.
PINNED = ROOT / "tests" / "python" / "requirements.txt"


class Environment:
    """A virtual environment that contains only pip, or, with ``shared``, everything that the tests use."""

    def __init__(self, directory: pathlib.Path, *, shared: bool = False) -> None:
        self.bin = directory / "bin"
        self.env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.env["PATH"] = f"{self.bin}{os.pathsep}{self.env['PATH']}"
        self.env["PYTHONUNBUFFERED"] = "1"
        venv.create(directory, with_pip=not shared)
        if shared:
            (packages,) = directory.glob("lib/python*/site-packages")
            (packages / "tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
            # The command as pip would install it, for the interpreter of this environment.
            _, _, script = pathlib.Path(COMMAND).read_text().partition("\n")
            command = self.bin / "taskyard"
            command.write_text(f"#!{self.python}\n{script}")
            command.chmod(0o755)

    @property
    def python(self) -> pathlib.Path:
        return self.bin / "python"

    def install(self, *packages: str | pathlib.Path) -> None:
        """Installs packages with their dependencies."""
        self._pip("--constraint", PINNED, *packages)

    def install_alone(self, project: pathlib.Path) -> None:
        """Installs a project whose dependencies are already installed, without a network."""
        self._pip("--no-deps", "--no-build-isolation", project)

    def _pip(self, *arguments: str | pathlib.Path) -> None:
        options = ["--quiet", "--disable-pip-version-check"]
        run([self.python, "-m", "pip", "install", *options, *arguments], self.bin, self.env)


def wheel() -> pathlib.Path:
    """Returns the wheel under test."""
    found = list((ROOT / "target" / "python" / "wheels").glob("taskyard-*.whl"))
    assert len(found) == 1, f"no wheel, or several: {found}; `cargo dev test --only python` builds it"
    return found[0]


def run(command: list[str | pathlib.Path], cwd: pathlib.Path, env: dict[str, str]) -> str:
    """Runs a program to its end, and returns its output."""
    done = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"exit code {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout
