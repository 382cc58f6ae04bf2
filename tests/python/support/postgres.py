"""A PostgreSQL cluster in a temporary directory, on a free port of the loopback."""

from __future__ import annotations

import contextlib
import glob
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile
from typing import Any

from .ports import free_port


def binaries() -> pathlib.Path:
    """Returns the directory of the server's programs. Raises if PostgreSQL is missing: tests are not skipped then."""
    given = os.environ.get("TASKYARD_TEST_POSTGRES_BIN")
    places = [given] if given else [*os.environ["PATH"].split(os.pathsep), *sorted(glob.glob("/usr/lib/postgresql/*/bin"))]
    for place in places:
        if all((pathlib.Path(place) / name).is_file() for name in ("initdb", "postgres")):
            return pathlib.Path(place)
    raise RuntimeError("PostgreSQL's programs are missing: `cargo dev test` installs them")


def _place() -> str:
    """Returns a parent directory, in memory if there is room: on a disk, removing hundreds of databases of a thousand
    files takes a minute."""
    memory = pathlib.Path("/dev/shm")
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > 8 << 30 else "/tmp"


class Cluster:
    """A server in a temporary directory, which is removed with its databases."""

    def __init__(self, _: pathlib.Path) -> None:
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="taskyard-pg-", dir=_place()))
        self.user = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def _as_user(self) -> dict[str, Any]:
        if self.user is None:
            return {}
        return {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}

    def __enter__(self) -> Cluster:
        if self.user is not None:
            os.chown(self.home, self.user.pw_uid, self.user.pw_gid)
        data = self.home / "data"
        subprocess.run(
            [binaries() / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.home,
            **self._as_user(),
        )
        self.start()
        return self

    def start(self) -> None:
        """Starts the server, and waits until it accepts connections."""
        self.log = open(self.home / "log", "ab")
        self.process = subprocess.Popen(
            [
                binaries() / "postgres",
                "-D",
                self.home / "data",
                "-p",
                str(self.port),
                "-h",
                "127.0.0.1",
                "-k",
                self.home,
                "-c",
                "fsync=off",
                "-c",
                "max_connections=200",
            ],
            stdout=self.log,
            stderr=self.log,
            cwd=self.home,
            **self._as_user(),
        )
        from .waiting import eventually

        eventually(self._answers, 30, "PostgreSQL to answer")

    def stop(self, how: int = signal.SIGQUIT) -> None:
        """Stops the server by a signal."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(30)
            self.process = None
            self.log.close()

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.address("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            assert self.process is not None and self.process.poll() is None, (self.home / "log").read_text()
            return False
        return True

    def address(self, name: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def create(self, name: str) -> str:
        """Creates a database, and returns its address."""
        import psycopg

        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')  # type: ignore[call-overload]
        return self.address(name)

    def drop(self, name: str) -> None:
        """Removes a database, if the server is still running."""
        import psycopg

        with contextlib.suppress(psycopg.OperationalError):
            with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
                connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')  # type: ignore[call-overload]

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)
