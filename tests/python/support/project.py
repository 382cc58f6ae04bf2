"""An application in a directory, and the ``taskyard`` command on it, in real processes that end with the test."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from typing import Any

import psutil

from .waiting import eventually

#: The command, as the wheel installs it.
COMMAND = str(pathlib.Path(sys.executable).parent / "taskyard")


class Process:
    """A process whose output is read continuously."""

    def __init__(
        self, arguments: list[str], cwd: pathlib.Path, env: dict[str, str], before: Callable[[], None] | None = None
    ) -> None:
        self.process = subprocess.Popen(
            arguments,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            preexec_fn=before,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def says(self, text: str, seconds: float = 60.0) -> None:
        """Waits until the output contains a text."""

        def look() -> bool:
            if text in self.output:
                return True
            if self.process.poll() is not None:
                self._reader.join(2)
                assert text in self.output, f"it ended ({self.process.returncode}) without {text!r}:\n{self.output}"
                return True
            return False

        try:
            eventually(look, seconds)
        except AssertionError:
            raise AssertionError(f"it did not say {text!r} within {seconds} s:\n{self.output}") from None

    def children(self) -> list[psutil.Process]:
        """Returns the server's worker processes."""
        try:
            below = psutil.Process(self.pid).children()
        except psutil.NoSuchProcess:
            return []
        return [child for child in below if _is_worker(child)]

    def worker(self) -> psutil.Process:
        """Returns the server's only worker process, once there is one."""
        return eventually(self.children, 60, "a worker process")[0]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()

    def wait(self, seconds: float = 40.0) -> int:
        """Waits for the end of the process, and returns the exit code."""
        code = self.process.wait(seconds)
        self._reader.join(2)
        return code

    def stop(self, seconds: float = 40.0) -> int:
        """Sends SIGTERM, and returns the exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait(seconds)


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "taskyard._worker" in process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


class Project:
    """A directory with an application. Without a database it uses the project's own file."""

    def __init__(self, directory: pathlib.Path, database: str | None) -> None:
        self.directory = directory
        self.database = database
        self.env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.env["PYTHONUNBUFFERED"] = "1"
        if "TASKYARD_TEST_PYTHONPATH" in os.environ:
            self.env["PYTHONPATH"] = os.environ["TASKYARD_TEST_PYTHONPATH"]
        if database is not None:
            self.env["TASKYARD_DATABASE_URL"] = database
        (directory / "pyproject.toml").touch()
        self._started: list[Process] = []

    def __enter__(self) -> Project:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            if process.process.poll() is None:
                process.kill()
                process.wait(10)

    def write(self, name: str, text: str) -> pathlib.Path:
        """Writes a file of the application."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def start(self, *arguments: str, **env: str) -> Process:
        """Starts the command as a process that ends with the test."""
        process = Process([COMMAND, *arguments], self.directory, {**self.env, **env})
        self._started.append(process)
        return process

    def program(self, name: str, *arguments: str, **env: str) -> Process:
        """Starts one of the project's programs as a process that ends with the test."""
        process = Process([sys.executable, name, *arguments], self.directory, {**self.env, **env})
        self._started.append(process)
        return process

    def server(self, *arguments: str, app: str | None = None, **env: str) -> Process:
        """Starts a server, and waits until it runs."""
        chosen = ["--app", app] if app else []
        server = self.start("queue", "start", *chosen, *arguments, **env)
        server.says("the server runs")
        return server

    def _command(self, *arguments: str, code: int, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [COMMAND, *arguments],
            cwd=self.directory,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == code, f"exit code {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done

    def run(self, *arguments: str, code: int = 0, **env: str) -> str:
        """Runs the command to its end, and returns its output."""
        done = self._command(*arguments, code=code, env=env)
        return done.stdout + done.stderr

    def printed(self, *arguments: str, code: int = 0, **env: str) -> str:
        """Runs the command to its end, and returns its standard output, without remarks."""
        return self._command(*arguments, code=code, env=env).stdout

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Returns the parsed output of the command with ``--json``."""
        return json.loads(self._command("--json", *arguments, code=code, env={}).stdout)

    def python(self, text: str, code: int = 0, **env: str) -> str:
        """Runs a program in the project, and returns its output."""
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(text)],
            cwd=self.directory,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == code, f"exit code {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def add(self, *calls: str, module: str = "app") -> list[str]:
        """Adds tasks, each given as the arguments of ``add_task``, and returns their ids."""
        lines = "\n".join(f"refs.append(tasks.add_task({call}))" for call in calls)
        text = (
            f"import {module} as app\nfrom {module} import *\nfrom taskyard import QueuedTasks, RetryPolicy\n"
            f"refs = []\nwith QueuedTasks() as tasks:\n"
            + textwrap.indent(lines, "    ")
            + "\n    tasks.flush()\nprint('\\n'.join(ref.id for ref in refs))\n"
        )
        return self.python(text).split()

    def task(self, id: str) -> Any:
        """Returns everything about a task, in one dict."""
        found = self.json("task", "show", id)
        return {**found.pop("task"), **found}

    def ended(self, id: str, seconds: float = 60.0) -> Any:
        """Waits until a task is in a final state, and returns it."""

        def look() -> Any:
            found = self.task(id)
            return found if found["state"] in ("done", "failed", "cancelled", "stopped") else None

        return eventually(look, seconds, f"the end of task {id}")
