"""The rules for what may run, each with an attack. Rows are written as a client with write access could."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

import psycopg
from support.project import Project
from support.waiting import eventually

APP = """
    import os, pathlib, shutil
    from os import system
    from taskyard import QueuedTasks

    async def fine(x=None):
        return x

    def writes(path):
        pathlib.Path(path).touch()

    class Nested:
        @staticmethod
        def static():
            return "static"

        def method(self):
            return "method"

    alias = fine
    instance = Nested()
"""

#: Names that a row must not be able to run.
ATTACKS = [
    "os:system",
    "posix:system",
    "app:system",
    "app:os.system",
    "builtins:eval",
    "builtins:exec",
    "app:__builtins__.eval",
    "app:fine.__globals__",
    "app:fine.__call__",
    "app:Nested.__init__",
    "app:Nested",
    "app:instance.method",
    "app:alias",
    "app:nothing",
    "app:pathlib.Path",
    "shutil:rmtree",
    "subprocess:run",
    "pickle:loads",
    "taskyard._worker:load",
    "taskyard.worker:load",
    "antigravity:geohash",
    "app",
    "app:",
    ":fine",
    "app:fine:fine",
    "../app:fine",
    "app:fine()",
]


def add_row(project: Project, kind: str, args: list[Any]) -> str:
    """Inserts a task of any kind, with SQL alone."""
    assert project.database is not None
    if project.database.startswith("postgresql"):
        with psycopg.connect(project.database) as connection:
            row = connection.execute(
                "SELECT taskyard.enqueue(%s, args => %s::json, runtime => 'python')", (kind, json.dumps(args))
            ).fetchone()
            assert row is not None
            return str(row[0])
    (id,) = project.python(
        f"""
        from taskyard import QueuedTasks
        with QueuedTasks() as tasks:
            ref = tasks.using(runtime="python").add_task({kind!r}, *{args!r})
            tasks.flush()
            print(ref.id)
        """
    ).split()
    return id


def test_a_name_runs_only_a_function_of_the_application(project: Project) -> None:
    project.write("app.py", APP)
    project.run("db", "migrate")
    marker = project.directory / "hacked"
    ids = {kind: add_row(project, kind, [f"touch {marker}"]) for kind in ATTACKS}
    good = add_row(project, "app:fine", [5])
    static = add_row(project, "app:Nested.static", [])
    method = add_row(project, "app:Nested.method", [1])
    server = project.server("--workers=1", app="app")
    assert project.ended(good)["result"] == 5
    assert project.ended(static)["result"] == "static"
    assert project.ended(method)["result"] == "method"
    for kind, id in ids.items():
        found = eventually(lambda id=id: (found := project.task(id))["state"] != "enqueued" and found)  # type: ignore[misc]
        assert (found["state"], found["wait_reason"]) == ("waiting", "parked"), (kind, found)
    assert not marker.exists()
    assert server.stop() == 0


def test_a_row_never_causes_an_import(project: Project) -> None:
    project.write("app.py", APP)
    project.write("elsewhere.py", "import pathlib\npathlib.Path('imported').touch()\ndef run():\n    return 1\n")
    project.run("db", "migrate")
    id = add_row(project, "elsewhere:run", [])
    server = project.server("--workers=1", app="app")
    eventually(lambda: project.task(id)["wait_reason"] == "parked")
    assert not (project.directory / "imported").exists()
    assert server.stop() == 0
    # A module that is listed is loaded at the start, and its function runs.
    project.server("--workers=1", app="app", TASKYARD_INCLUDE="elsewhere")
    assert project.ended(id)["result"] == 1


def local_task(project: Project, **env: str) -> str:
    """Adds a task with a local function, which writes `ran`."""
    (id,) = project.python(
        """
        from taskyard import QueuedTasks

        def make():
            def local(name):
                import pathlib
                pathlib.Path(name).touch()
                return name
            return local

        import app
        make.__module__ = "app"
        with QueuedTasks() as tasks:
            local = make()
            local.__module__ = "app"
            ref = tasks.add_task(local, "ran")
            tasks.flush()
            print(ref.id)
        """,
        **env,
    ).split()
    return id


class Rows:
    """Direct access to a task's payload."""

    def __init__(self, project: Project) -> None:
        assert project.database is not None
        self.address = project.database
        self.is_postgres = self.address.startswith("postgresql")

    def payload(self, id: str) -> dict[str, Any]:
        return dict(json.loads(self._run("SELECT payload FROM {task} WHERE id = {id}", id)))

    def rewrite(self, id: str, change: Callable[[dict[str, Any]], Any]) -> None:
        payload = self.payload(id)
        changed = change(payload)
        self.put(id, json.dumps(payload if changed is None else changed).encode())

    def put(self, id: str, payload: bytes) -> None:
        self._run("UPDATE {task} SET payload = {value} WHERE id = {id}", id, payload)

    def rename(self, id: str, kind: str) -> None:
        self._run("UPDATE {task} SET kind = {value} WHERE id = {id}", id, kind)

    def _run(self, statement: str, id: str, value: Any = None) -> Any:
        import uuid

        with psycopg.connect(self.address) if self.is_postgres else sqlite3.connect(self.address) as connection:
            mark, table = ("%s", "taskyard.task") if self.is_postgres else ("?", "ty_task")
            text = statement.replace("{task}", table).replace("{value}", mark).replace("{id}", mark)
            key: Any = uuid.UUID(id) if self.is_postgres else uuid.UUID(id).bytes
            cursor = connection.execute(text, (key,) if value is None else (value, key))  # type: ignore[arg-type]
            assert cursor.rowcount in (1, -1)
            if statement.startswith("SELECT"):
                found = cursor.fetchone()
                assert found is not None
                return bytes(found[0])
            return None


def flip(payload: dict[str, Any]) -> None:
    text = payload["fn"]["$dill"]
    middle = len(text) // 2
    payload["fn"]["$dill"] = text[:middle] + ("A" if text[middle] != "A" else "B") + text[middle + 1 :]


def test_signed_functions_run_and_forged_ones_do_not(project: Project) -> None:
    project.write("app.py", APP)
    project.run("db", "migrate")
    rows = Rows(project)
    good, altered, moved, renamed, stripped, escaped = (local_task(project) for _ in range(6))
    rows.rewrite(altered, flip)
    rows.rewrite(moved, lambda payload: payload.update(fn=rows.payload(good)["fn"]))
    rows.rename(renamed, "app:make.<locals>.other")
    rows.rewrite(stripped, lambda payload: payload.update(fn={"$dill": "gASVAAA="}))
    # Under another spelling of its name, which a text search for the tag would miss.
    text = json.dumps(rows.payload(good)).replace('"$dill"', '"\\u0024dill"').encode()
    rows.put(escaped, text)
    server = project.server("--workers=1", app="app")
    for id in (altered, moved, renamed, stripped, escaped):
        found = project.ended(id)
        assert (found["state"], found["error"]["type"]) == ("failed", "SignatureInvalid"), found
        assert found["failures"] <= 1 and found["attempt"] == 1
    assert project.ended(good)["result"] == "ran"
    assert server.stop() == 0


def test_unsigned_pickle_in_arguments_is_not_opened(project: Project) -> None:
    import base64
    import pickle

    class Evil:
        def __reduce__(self) -> Any:
            return (__import__("os").system, (f"touch {project.directory}/hacked",))

    project.write("app.py", APP)
    project.run("db", "migrate")
    bomb = base64.b64encode(pickle.dumps(Evil())).decode()
    arguments = ({"$dill": bomb}, {"deep": [{"$dill": bomb}]})
    # Added by SQL, or by a name, it is plain data.
    ids = [add_row(project, "app:fine", [argument]) for argument in arguments]
    # In a payload that a client encoded, it was inserted by an attacker.
    ours = project.add("app.fine, 1", "app.fine, 2")
    rows = Rows(project)
    for id, argument in zip(ours, arguments, strict=True):
        rows.rewrite(id, lambda payload, argument=argument: payload.update(args=[argument]))
    project.server("--workers=1", app="app")
    for id in ids:
        assert project.ended(id)["state"] == "done"
    for id in ours:
        assert project.ended(id)["error"]["type"] == "SignatureInvalid"
    assert not (project.directory / "hacked").exists()


def test_another_key_and_no_key_park_the_task_until_a_server_has_it(project: Project) -> None:
    project.write("app.py", APP)
    project.run("db", "migrate")
    id = local_task(project, TASKYARD_SECRET="the secret of the web process")
    other = project.server("--workers=1", app="app", TASKYARD_SECRET="quite another secret")
    found = eventually(lambda: (found := project.task(id))["wait_reason"] == "parked" and found)
    assert "TASKYARD_SECRET" in found["waiting_for"] and "key " in found["waiting_for"], found
    assert other.stop() == 0
    none = project.server("--workers=1", app="app")
    eventually(lambda: project.task(id)["state"] == "waiting")
    assert none.stop() == 0
    assert not (project.directory / "ran").exists()
    # After a rotation the former secret is still accepted.
    project.server(
        "--workers=1",
        app="app",
        TASKYARD_SECRET="quite another secret",
        TASKYARD_SECRETS_ACCEPTED="the secret of the web process",
    )
    assert project.ended(id)["result"] == "ran"


def test_workers_do_not_see_the_secret(project: Project) -> None:
    project.write(
        "app.py",
        "import os\ndef seen():\n    return [n for n in os.environ if 'SECRET' in n], os.environ['HOME_OF_MINE']\n",
    )
    project.server("--workers=1", app="app", TASKYARD_SECRET="the secret of the server", HOME_OF_MINE="kept")
    (id,) = project.add("app.seen")
    assert project.ended(id)["result"] == {"$tuple": [[], "kept"]}


def test_local_functions_are_bound_to_the_python_version(project: Project) -> None:
    project.write("app.py", APP)
    project.write(
        "other.py",
        """
        import sys
        from taskyard import QueuedTasks, _codec
        def local_of_another_python():
            _codec.sys = type("sys", (), {"version_info": (3, 8), "modules": sys.modules})
            def local():
                return 1
            with QueuedTasks() as tasks:
                ref = tasks.add_task(local)
                tasks.flush()
                print(ref.id)
        """,
    )
    (id,) = project.python("import other\nother.local_of_another_python()").split()
    project.server("--workers=1", app="app")
    found = eventually(lambda: (found := project.task(id))["wait_reason"] == "parked" and found)
    assert found["waiting_for"] == "python 3.8", found


def test_a_function_of_the_program_itself_is_found_under_its_modules_name(project: Project) -> None:
    path = project.write(
        "main.py",
        """
        from taskyard import QueuedTasks

        def work(x):
            return x * 2

        if __name__ == "__main__":
            with QueuedTasks() as tasks:
                ref = tasks.add_task(work, 21)
                other = tasks.add_task(lambda: work(4))
                tasks.flush()
                print(ref.id, other.id)
        """,
    )
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, str(path)], cwd=project.directory, env=project.env, capture_output=True, text=True, check=True
    )
    work, other = done.stdout.split()
    assert project.json("task", "show", work)["task"]["kind"] == "main:work"
    project.server("--workers=1", app="main")
    assert project.ended(work)["result"] == 42
    assert project.ended(other)["result"] == 8
    refused = subprocess.run(
        [sys.executable, "-c", "from taskyard import QueuedTasks\ndef f(): ...\nQueuedTasks().add_task(f)"],
        cwd=project.directory,
        env=project.env,
        capture_output=True,
        text=True,
    )
    assert "no worker can import" in refused.stderr


def test_identity_decides_and_not_the_name(project: Project) -> None:
    project.write(
        "app.py",
        """
        from taskyard import QueuedTasks

        def work():
            return "the module's"

        def add_local():
            def work():
                return "the local one"
            work.__qualname__ = "work"
            return work
        """,
    )
    outer, inner = project.add("app.work", "app.add_local()")
    project.server("--workers=1", app="app")
    assert project.ended(outer)["result"] == "the module's"
    assert project.ended(inner)["result"] == "the local one"


def test_what_a_worker_starts_makes_no_secret_of_its_own(project: Project) -> None:
    project.write(
        "app.py",
        """
        import os
        from taskyard import QueuedTasks

        tasks = QueuedTasks()

        def of_module():
            return "of a module"

        def make():
            def local():
                return "local"
            return local

        def refuses(add):
            try:
                add().result(20)
            except Exception as error:
                return f"{type(error).__name__}: {error}"

        async def forks():
            read, write = os.pipe()
            if (pid := os.fork()) == 0:
                told = refuses(lambda: tasks.add_task(make()))
                os.write(write, f"{tasks.add_task(of_module).id} {told}".encode())
                return
            os.close(write)
            with open(read) as said:
                of_module_id, told = said.read().split(" ", 1)
            os.waitpid(pid, 0)
            return told, of_module_id, tasks.add_task(make()).id
        """,
    )
    server = project.server("--workers=1", app="app", TASKYARD_SECRET="the secret of the server")
    (id,) = project.add("app.forks, max_retries=0")
    forked = project.ended(id)
    assert forked["error"] is None, server.output
    told, of_module, local = forked["result"]["$tuple"]
    assert told.startswith("SettingError: ") and "add the task in the body itself" in told, told
    assert project.ended(local)["result"] == "local"
    assert project.ended(of_module)["result"] == "of a module"
    assert not list(project.directory.glob("**/secret*"))
