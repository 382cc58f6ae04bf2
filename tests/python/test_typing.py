"""Both type checkers accept the good calls, infer their types, and refuse each bad one; the stub matches the binary."""

from __future__ import annotations

import inspect
import json
import pathlib
import re
import subprocess
import sys

import pytest
from taskyard import _core
from taskyard._options import OPTIONS

HERE = pathlib.Path(__file__).parent / "typing"
BIN = pathlib.Path(sys.executable).parent


def bad_lines() -> set[int]:
    lines = (HERE / "bad.py").read_text().splitlines()
    return {number for number, line in enumerate(lines, 1) if "# bad:" in line}


def mypy(name: str) -> set[int]:
    done = subprocess.run(
        [BIN / "mypy", "--strict", "--no-error-summary", "--config-file=", str(HERE / name)], capture_output=True, text=True
    )
    return {int(line) for line in re.findall(rf"{name}:(\d+): error", done.stdout)} or _nothing(done)


def pyright(name: str) -> set[int]:
    done = subprocess.run(
        [BIN / "pyright", "--outputjson", "--pythonpath", sys.executable, str(HERE / name)], capture_output=True, text=True
    )
    found = json.loads(done.stdout)["generalDiagnostics"]
    return {each["range"]["start"]["line"] + 1 for each in found if each["severity"] == "error"}


def _nothing(done: subprocess.CompletedProcess[str]) -> set[int]:
    assert done.returncode == 0, done.stdout + done.stderr
    return set()


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_good_calls_are_accepted_and_bad_ones_refused(checker: object) -> None:
    assert callable(checker)
    assert checker("good.py") == set()
    assert checker("bad.py") == bad_lines()


def test_the_stub_of_the_module_fits_the_binary() -> None:
    stub = (pathlib.Path(_core.__file__).parent / "_core.pyi").read_text()
    classes = {
        name: set(re.findall(r"^    def (\w+)\(", body, re.M)) - {"__new__"}
        for name, body in re.findall(r"^class (\w+):\n((?:    .*\n|\n)+)", stub, re.M)
    }
    functions = set(re.findall(r"^def (\w+)\(", stub, re.M))
    real = {name for name in dir(_core) if not name.startswith("_")}
    assert real == set(classes) | functions
    for name, methods in classes.items():
        assert methods == {each for each in vars(getattr(_core, name)) if not each.startswith("_")}, name
    assert inspect.ismodule(_core)


def test_every_option_goes_beside_the_functions_own_keywords() -> None:
    stub = (pathlib.Path(_core.__file__).parent / "queued_tasks.pyi").read_text()
    assert set(re.findall(r"\*, (\w+): .*, \*\*own", stub)) == OPTIONS
