"""The modules of the package: each declares its names, and the former name of the worker package goes on working."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import pathlib
import subprocess
import sys

import pytest
import taskyard

ROOT = pathlib.Path(taskyard.__file__).parent
#: By path, because the import of a program runs it.
FILES = sorted(ROOT.rglob("*.py"))


def declared(path: pathlib.Path) -> list[str] | None:
    """Returns the value of a module's ``__all__``, or None if it has none."""
    for node in ast.parse(path.read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            names: list[str] = ast.literal_eval(node.value)  # type: ignore[union-attr, arg-type]
            return names
    return None


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES])
def test_a_module_declares_its_names(path: pathlib.Path) -> None:
    names = declared(path)
    assert names is not None, "it has no __all__"
    assert len(names) == len(set(names))
    if path.name in ("__main__.py", "_web.py"):
        return
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    module = importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    assert [name for name in names if not hasattr(module, name)] == []


def test_names_of_private_modules_are_not_private() -> None:
    private = {
        str(path.relative_to(ROOT)): [name for name in declared(path) or [] if name.startswith("_")] for path in FILES
    }
    assert {path: names for path, names in private.items() if names and names != ["__version__"]} == {}


def test_the_errors_are_public() -> None:
    from taskyard import errors

    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, BaseException)]
    assert {each.__name__ for each in classes if each.__module__ == errors.__name__} - set(errors.__all__) == set()


def test_the_worker_package_has_an_alias(tmp_path: pathlib.Path) -> None:
    from taskyard import _worker, worker

    assert all(getattr(worker, name) is getattr(_worker, name) for name in _worker.__all__)
    assert worker.__all__ == _worker.__all__
    (tmp_path / "app.py").write_text("async def f(): ...\n")
    command = [sys.executable, "-m", "taskyard.worker", "--check", "--app", "app", "--knows"]
    assert subprocess.run([*command, "app:f"], cwd=tmp_path).returncode == 0
    assert subprocess.run([*command, "app:g"], cwd=tmp_path).returncode == 6
