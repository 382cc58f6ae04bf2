"""Compares two builds of Taskyard on one PostgreSQL in interleaved rounds. Absolute figures depend on the machine, so each
round runs both builds in turn, and the result is the median of the rounds' ratios. Run nothing else at the same time.

usage: benches/versions.py URL BEFORE NOW [--rounds 10] [--tasks 200000] [--samples 1000] [--only bulk,drain,pickup,python]

URL     a server on which databases may be created, without a database name: postgresql://user@127.0.0.1:5432
BEFORE, NOW  virtual environments with a release wheel of each build, and asyncpg
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
#: Names of the measurements, each with whether a higher value is better.
MEASURES = {"bulk": True, "drain": True, "pickup": False, "python": True}


def sql(url: str, text: str) -> None:
    subprocess.run(["psql", "--no-psqlrc", "--quiet", f"{url}/postgres", "-c", text], check=True, stderr=subprocess.DEVNULL)


def fresh(url: str) -> str:
    sql(url, "drop database if exists versions")
    sql(url, "create database versions")
    sql(url, "checkpoint")
    return f"{url}/versions"


def bench(url: str, build: Path, parts: list[str], tasks: int, samples: int) -> dict[str, float]:
    command = [
        build / "bin/taskyard",
        "bench",
        "--json",
        "--tasks",
        str(tasks),
        "--samples",
        str(samples),
        "--only",
        ",".join(parts),
    ]
    command += ["--database", fresh(url)]
    figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {part: figures[part]["p50_ms" if part == "pickup" else "per_second"] for part in parts}


def python(url: str, build: Path, tasks: int) -> float:
    command = [build / "bin/python", "drain.py", fresh(url), str(tasks)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, cwd=HERE / "python").stdout)


def measured(url: str, build: Path, wanted: list[str], tasks: int, samples: int) -> dict[str, float]:
    parts = [part for part in wanted if part != "python"]
    figures = bench(url, build, parts, tasks, samples) if parts else {}
    if "python" in wanted:
        figures["python"] = python(url, build, tasks // 2)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("before", type=Path)
    parser.add_argument("now", type=Path)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--tasks", type=int, default=200_000)
    parser.add_argument("--samples", type=int, default=1_000)
    parser.add_argument("--only", default=",".join(MEASURES))
    given = parser.parse_args()
    wanted = given.only.split(",")
    ratios: dict[str, list[float]] = {name: [] for name in wanted}
    for number in range(1, given.rounds + 1):
        builds = [("before", given.before.absolute()), ("now", given.now.absolute())]
        # The builds take turns in running first.
        order = builds if number % 2 else builds[::-1]
        figures = {name: measured(given.url, build, wanted, given.tasks, given.samples) for name, build in order}
        shown = []
        for name in wanted:
            before, now = figures["before"][name], figures["now"][name]
            ratios[name].append(now / before if MEASURES[name] else before / now)
            shown.append(f"{name} {before:,.2f} -> {now:,.2f}")
        print(f"round {number}: {', '.join(shown)}", flush=True)
    for name, of_rounds in ratios.items():
        middle = statistics.median(of_rounds)
        print(
            f"{name}: median {middle:.3f}, from {min(of_rounds):.3f} to {max(of_rounds):.3f} (over 1: the newer is better)"
        )


if __name__ == "__main__":
    main()
