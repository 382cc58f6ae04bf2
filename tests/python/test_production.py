"""The statements of `docs/production.md`, with its own units, images and commands, on a real database. Paths, ports and
addresses in its files are replaced by those of the test."""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator

import httpx
import psycopg
import pytest
from support import documents
from support.ports import free_port
from support.postgres import Cluster, binaries
from support.project import COMMAND, Project
from support.waiting import eventually
from test_quickstart import answers, quickstart

UNITS = ["taskyard-web.service", "taskyard-worker.service"]
SECRET = "a secret of the tests, long enough"


def application() -> str:
    """Returns the quickstart of the README with the checks of the page, and an endpoint that runs until its client
    leaves."""
    (checks,) = documents.blocks(documents.section(documents.PRODUCTION, "Health checks"), "python")
    waits = "@app.get('/waits')\nasync def waits():\n    import asyncio\n    await asyncio.sleep(600)\n"
    return f"{quickstart()}\n\n{checks}\n\n{waits}"


@pytest.fixture
def shop(tmp_path: pathlib.Path, postgres: str) -> Iterator[Project]:
    """The page's application on PostgreSQL, with the variables of its file."""
    with Project(tmp_path, postgres) as project:
        project.write("app.py", application())
        project.env |= documents.environment("taskyard.env") | {
            "TASKYARD_DATABASE_URL": postgres,
            "TASKYARD_SECRET": SECRET,
        }
        yield project


def arguments(command: list[str], port: int) -> list[str]:
    """Returns the arguments of ``taskyard``, with another port."""
    assert pathlib.PurePath(command[0]).name == "taskyard", command
    return [word.replace("8000", str(port)) for word in command[1:]]


def check_together(shop: Project, web: list[str], worker: list[str], seconds: dict[str, float]) -> None:
    """Starts both commands, runs a task through them, and stops them."""
    port = free_port()
    # The services do not migrate, so the worker refuses to start before a migration.
    assert "db migrate" in shop.run(*worker, code=3)
    shop.run("db", "migrate")
    runs = shop.start(*worker)
    serves = shop.start(*arguments(["taskyard", *web], port))
    runs.says("the server runs")
    eventually(lambda: answers(port, "/healthz"), 60, "the web application")
    assert httpx.get(f"http://127.0.0.1:{port}/readyz").json() == {"status": "ready"}
    id = httpx.post(f"http://127.0.0.1:{port}/users", params={"email": "ada@example.org"}).json()["task"]
    assert shop.ended(id)["state"] == "done"
    assert serves.stop(seconds["web"]) == 0, serves.output
    assert runs.stop(seconds["worker"]) == 0, runs.output


def test_units_run_the_application(shop: Project) -> None:
    found = {name: documents.unit(name) for name in UNITS}
    web, worker = ([COMMAND, *shlex.split(found[name]["ExecStart"])[1:]] for name in UNITS)
    seconds = {"web": float(found[UNITS[0]]["TimeoutStopSec"]), "worker": float(found[UNITS[1]]["TimeoutStopSec"])}
    check_together(shop, web[1:], worker[1:], seconds)


def test_images_run_the_application(shop: Project) -> None:
    found = documents.images()
    web, worker = found["web"]["CMD"], found["worker"]["CMD"]
    assert web[web.index("--host") + 1] == "0.0.0.0"
    check_together(shop, web[1:], worker[1:], {"web": 45, "worker": 45})


def test_times_to_stop_fit_those_of_the_supervisors() -> None:
    shown = documents.settings()
    # Open requests and the queue's last writes.
    web = int(shown["shutdown_grace"][1])
    # The last writes and the worker's sign-off take two seconds beyond the grace period at most.
    worker = web + 2
    for command in (shlex.split(documents.unit("taskyard-web.service")["ExecStart"]), documents.images()["web"]["CMD"]):
        assert "--timeout-graceful-shutdown" not in command
    assert int(documents.unit("taskyard-worker.service")["TimeoutStopSec"]) > worker
    assert int(documents.unit("taskyard-web.service")["TimeoutStopSec"]) > web
    compose = (documents.FILES / "compose.yaml").read_text()
    kubernetes = documents.section(documents.PRODUCTION, "Containers")
    for text, name in ((compose, "stop_grace_period"), (kubernetes, "terminationGracePeriodSeconds")):
        (period,) = re.findall(rf"{name}: (\d+)", text)
        assert int(period) > max(worker, 5 + web), name
    (rows,) = documents.tables(documents.PRODUCTION.read_text().split("\n## ")[0])
    assert [row[2] for row in rows] == [f"{web} s", f"{worker} s"]


def test_no_image_is_judged_by_the_queue_as_a_whole() -> None:
    assert "HEALTHCHECK" not in documents.images()["worker"]
    assert "/healthz" in documents.images()["web"]["HEALTHCHECK"][-1]


@pytest.mark.parametrize("name", UNITS)
def test_systemd_takes_the_units(name: str, tmp_path: pathlib.Path) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed")
    text = (documents.FILES / name).read_text()
    assert text.count("ExecStart=/srv/shop/venv/bin/taskyard ") == 1
    unit = tmp_path / name
    unit.write_text(text.replace("/srv/shop/venv/bin/taskyard", COMMAND))
    done = subprocess.run([tool, "verify", "--man=no", unit], capture_output=True, text=True, timeout=60)
    said = [line for line in (done.stdout + done.stderr).splitlines() if name in line]
    assert not said and done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", UNITS)
def test_systemd_ends_and_starts_the_services_as_the_page_says(name: str) -> None:
    found = documents.unit(name)
    assert found["KillMode"] == "mixed" and found["Restart"] == "always" and found["StartLimitIntervalSec"] == "0"
    assert found["RestartPreventExitStatus"] == "2"


def test_a_wrong_setting_is_exit_code_2_and_a_missing_database_is_3(shop: Project) -> None:
    worker = shlex.split(documents.unit("taskyard-worker.service")["ExecStart"])[1:]
    shop.run(*worker, code=3, TASKYARD_DATABASE_URL=f"{shop.env['TASKYARD_DATABASE_URL']}_missing")
    shop.run(*worker, code=2, TASKYARD_LEASE="soon")
    shop.run("db", "migrate")
    # The file's own secret is to be replaced.
    said = shop.run("--set", f"secret={documents.environment('taskyard.env')['TASKYARD_SECRET']}", *worker, code=2)
    assert "secret" in said
    shop.run("--set", "app=missing:app", "queue", "start", code=1)


def test_a_database_that_is_away_is_waited_for(shop: Project) -> None:
    nowhere = f"postgresql://shop@127.0.0.1:{free_port()}/shop"
    for command in (["queue", "start"], ["serve", "app:app", "--workers", "1", "--port", str(free_port())]):
        waiting = shop.start(*command, TASKYARD_DATABASE_URL=nowhere)
        waiting.says("waiting for the database")
        assert waiting.stop() == 0, waiting.output


def test_the_health_checks_of_the_web_application(shop: Project) -> None:
    port = free_port()
    check = [word.replace("8000", str(port)) for word in documents.images()["web"]["HEALTHCHECK"]]
    assert check[0] == "python"

    def healthy() -> bool:
        done = subprocess.run([sys.executable, *check[1:]], capture_output=True, timeout=30)
        return done.returncode == 0

    assert not healthy()
    nowhere = f"postgresql://shop@127.0.0.1:{free_port()}/shop"
    web = shop.start("serve", "app:app", "--port", str(port), TASKYARD_DATABASE_URL=nowhere)
    eventually(healthy, 60, "the web application without a database")
    assert httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=30).status_code == 503
    assert web.stop() == 0, web.output
    assert not healthy()


def test_the_exit_codes_of_queue_status(shop: Project) -> None:
    (line,) = documents.blocks(documents.section(documents.PRODUCTION, "Health checks"), "sh")
    (name, *status) = shlex.split(line)
    assert name == "taskyard"
    shop.run("db", "migrate")
    assert "no server is alive" in shop.run(*status, code=1)
    shop.run(*status, code=3, TASKYARD_DATABASE_URL=f"postgresql://shop@127.0.0.1:{free_port()}/shop")
    shop.server("--workers=1")
    shop.run(*status)
    shop.run("task", "add", "app:gone")
    eventually(lambda: shop.json("task", "list")[0]["wait_reason"] == "parked", 60, "the task to be parked")
    assert "app:gone" in shop.run(*status, code=1)


def test_a_request_that_does_not_end_does_not_hold_the_web_application(shop: Project) -> None:
    shop.run("db", "migrate")
    port = free_port()
    web = shop.start("serve", "app:app", "--port", str(port), "--", "--timeout-graceful-shutdown", "1")
    eventually(lambda: answers(port, "/healthz"), 60, "the web application")
    asked = threading.Event()

    def ask() -> None:
        client = httpx.Client(event_hooks={"request": [lambda _: asked.set()]}, timeout=60)
        with client, pytest.raises(httpx.HTTPError):
            client.get(f"http://127.0.0.1:{port}/waits").raise_for_status()

    asking = threading.Thread(target=ask)
    asking.start()
    assert asked.wait(30)
    # The request was read before this one was.
    assert answers(port, "/healthz")
    assert web.stop(20) == 0, web.output
    asking.join(20)
    assert not asking.is_alive()


def test_several_web_processes(shop: Project) -> None:
    shop.run("db", "migrate")
    port = free_port()
    web = shop.start("serve", "app:app", "--port", str(port), "--", "--workers", "2")
    eventually(lambda: answers(port, "/readyz"), 60, "the web application")
    id = httpx.post(f"http://127.0.0.1:{port}/users", params={"email": "ada@example.org"}).json()["task"]
    assert shop.task(id)["state"] == "enqueued"
    assert web.stop() == 0, web.output


def test_connections_of_a_server_and_of_a_process_that_adds(shop: Project, postgres: str) -> None:
    shop.run("db", "migrate")
    shop.write(
        "adds.py",
        """
        import sys
        from app import send_welcome
        from taskyard import QueuedTasks

        with QueuedTasks() as tasks:
            ref = tasks.add_task(send_welcome, "ada@example.org")
            tasks.flush().result()
            print("added", flush=True)
            sys.stdin.readline()
            ref.result(60)
            print("ended", flush=True)
            sys.stdin.readline()
        """,
    )

    def connections() -> int:
        with psycopg.connect(postgres) as connection:
            sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            return int(connection.execute(sql).fetchall()[0][0])

    adds = subprocess.Popen(
        [sys.executable, "adds.py"],
        cwd=shop.directory,
        env=shop.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with adds:
        assert adds.stdout and adds.stdin
        assert adds.stdout.readline() == "added\n"
        assert connections() == 1
        server = shop.server("--workers=3")
        adds.stdin.write("\n")
        adds.stdin.flush()
        assert adds.stdout.readline() == "ended\n"
        eventually(lambda: connections() == 5 + 2, 30, "a server's connections and the client's")
        adds.stdin.close()
    assert adds.returncode == 0
    assert server.stop() == 0


def test_the_grants_are_what_a_role_needs(shop: Project, cluster: Cluster, postgres: str, tmp_path: pathlib.Path) -> None:
    owner, role = f"owner_{uuid.uuid4().hex[:8]}", f"role_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"CREATE ROLE {owner} LOGIN; CREATE ROLE {role} LOGIN")
        connection.execute(f'GRANT CREATE ON DATABASE "{name}" TO {owner}; GRANT CREATE ON SCHEMA public TO {owner}')
    (commands,) = documents.blocks(documents.section(documents.PRODUCTION, "Database role, and connections"), "sh")
    copied = tmp_path / "docs" / "production" / "grants.sql"
    copied.parent.mkdir(parents=True)
    text = (documents.FILES / "grants.sql").read_text()
    assert "TO shop;" in text
    copied.write_text(text.replace("TO shop;", f"TO {role};"))
    shell(shop, commands, OWNER_URL=postgres.replace("postgres@", f"{owner}@"))
    shop.env["TASKYARD_DATABASE_URL"] = postgres.replace("postgres@", f"{role}@")
    server = shop.server("--workers=1")
    (id,) = shop.add("send_welcome, 'ada@example.org'")
    assert shop.ended(id)["state"] == "done"
    shop.run("queue", "status")
    shop.run("queue", "purge", "--yes")
    assert server.stop() == 0 and "permission denied" not in server.output, server.output


def test_a_server_goes_on_after_a_migration_to_a_newer_schema(shop: Project, postgres: str) -> None:
    commands = documents.blocks(documents.section(documents.PRODUCTION, "Upgrades"), "sh")[0].splitlines()
    migrate, status = (shlex.split(line, comments=True)[1:] for line in commands)
    shop.run(*status, code=1)
    shop.run(*migrate)
    shop.run(*status)
    server = shop.server("--workers=1")
    with psycopg.connect(postgres, autocommit=True) as connection:
        sql = "INSERT INTO taskyard.migration (version, name, checksum) SELECT max(version) + 1, 'later', '' FROM taskyard.migration"
        connection.execute(sql)
        id = connection.execute(
            "SELECT taskyard.enqueue('app:send_welcome', args => '[\"ada\"]', runtime => 'python')"
        ).fetchall()[0][0]

        def state() -> str:
            found = connection.execute("SELECT state FROM queued_tasks WHERE id = %s", [id]).fetchall()
            return str(found[0][0])

        eventually(lambda: state() == "done", 60, "the task's end on a server of the older version")
    assert "this program supports up to" in shop.run("queue", "start", code=3)
    shop.run("queue", "status", code=3)
    assert server.stop() == 0, server.output


@pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="pgbouncer is not installed")
def test_transaction_pooling_by_pgbouncer(
    shop: Project, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    direct = shop.env["TASKYARD_DATABASE_URL"]
    port, home = free_port(), pathlib.Path(cluster.home) / f"pgbouncer-{uuid.uuid4().hex[:8]}"
    home.mkdir()
    (home / "pgbouncer.ini").write_text(
        f"[databases]\n* = host=127.0.0.1 port={cluster.port} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nauth_type = any\npool_mode = transaction\nunix_socket_dir =\n"
    )
    pooler = subprocess.Popen(
        ["pgbouncer", "-q", home / "pgbouncer.ini"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **cluster._as_user(),
    )
    try:
        pooled = direct.replace(f":{cluster.port}/", f":{port}/")
        eventually(lambda: reached(pooled), 30, "pgbouncer")
        (exported, without) = documents.blocks(documents.section(documents.PRODUCTION, "pgbouncer"), "sh") + [""]
        names = re.findall(r"^export (\w+)=", exported, re.MULTILINE)
        assert names == ["TASKYARD_DATABASE_URL", "TASKYARD_LISTEN_URL"] and not without
        shop.env["TASKYARD_DATABASE_URL"] = pooled
        shop.run("db", "migrate")
        alone = shop.server("--workers=1")
        alone.says("notifications are not received, polling continues")
        (id,) = shop.add("send_welcome, 'ada@example.org'")
        assert shop.ended(id)["state"] == "done"
        # So many that a direct connection would run them as named statements, which would be those of other clients here.
        for id in shop.python(MANY_ADDITIONS).split():
            assert shop.ended(id)["state"] == "done"
        assert alone.stop() == 0, alone.output
        shop.env["TASKYARD_LISTEN_URL"] = direct
        heard = shop.server("--workers=1", QUEUE_POLLING_INTERVAL="600", QUEUE_FALLBACK_POLLING_INTERVAL="600")
        (id,) = shop.add("send_welcome, 'ada@example.org'")
        assert shop.ended(id)["state"] == "done"
        assert heard.stop() == 0 and "are not received" not in heard.output, heard.output
    finally:
        pooler.send_signal(signal.SIGINT)
        pooler.wait(30)


MANY_ADDITIONS = """
import threading
from app import *
from taskyard import QueuedTasks

def add():
    with QueuedTasks() as tasks:
        for _ in range(20):
            ref = tasks.add_task(send_welcome, "ada@example.org")
            tasks.flush()
    print(ref.id)

threads = [threading.Thread(target=add) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


def reached(address: str) -> bool:
    try:
        psycopg.connect(address, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def shell(project: Project, commands: str, **env: str) -> str:
    """Runs lines of a page as a shell does, and returns their output."""
    path = os.pathsep.join([str(pathlib.Path(COMMAND).parent), str(binaries()), project.env["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=project.directory,
        env={**project.env, **env, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"exit code {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_secret_is_made_as_the_page_says(sqlite_project: Project) -> None:
    (command,) = documents.blocks(documents.section(documents.PRODUCTION, "The secret"), "sh")
    assert len(shell(sqlite_project, command).strip()) == 44


def test_all_commands_of_the_page_are_run_here() -> None:
    found = [heading for heading in re.findall(r"^## (.*)$", documents.PRODUCTION.read_text(), re.MULTILINE)]
    assert [heading for heading in found if documents.blocks(documents.section(documents.PRODUCTION, heading), "sh")] == [
        "The secret",
        "Health checks",
        "Database role, and connections",
        "pgbouncer",
        "Upgrades",
        "Backup and restore",
    ]


def test_the_compose_file_names_what_the_container_file_makes(shop: Project, cluster: Cluster) -> None:
    text = (documents.FILES / "compose.yaml").read_text()
    assert set(re.findall(r"target: (\w+)", text)) <= set(documents.images())
    (migrate,) = re.findall(r"^ +command: \[(.*)\]$", text, re.MULTILINE)
    name, *words = shlex.split(migrate.replace(",", ""))
    assert name == "taskyard"
    # The address names another host, so that TLS is left out only because the address requests it.
    (address,) = re.findall(r"TASKYARD_DATABASE_URL: (\S+)$", text, re.MULTILINE)
    with psycopg.connect(shop.env["TASKYARD_DATABASE_URL"]) as connection:
        database = connection.info.dbname
    address = address.replace(
        "shop:${DATABASE_PASSWORD:?}@database:5432/shop", f"postgres:any@database:{cluster.port}/{database}"
    )
    assert "TLS" in shop.run(*words, code=3, TASKYARD_DATABASE_URL=f"{address.split('?')[0]}?hostaddr=127.0.0.1")
    shop.run(*words, TASKYARD_DATABASE_URL=f"{address}&hostaddr=127.0.0.1")
    (check,) = re.findall(r"^ +test: \[\"CMD\", (.*)\]$", text, re.MULTILINE)
    shell(shop, check.replace(",", ""), PGHOST="127.0.0.1", PGPORT=str(cluster.port))
