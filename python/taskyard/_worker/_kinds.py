"""The kinds of tasks that a worker can run, and the reasons for which it parks the others."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from .. import _identity
from ._target import LOCAL, Target, target_of

if TYPE_CHECKING:
    from ._loop_worker import Worker

__all__ = ["Kinds"]

log = logging.getLogger("queued_task")

#: Ends of the reasons for which tasks of functions that are not declared are parked.
BY_ROLE = ", which a database role that may only add tasks added, carries no @task"
BY_SETTING = " carries no @task, and only such functions run here (setting only_declared)"

PYTHON = f"python {sys.version_info[0]}.{sys.version_info[1]}"


class Kinds:
    """Finds the functions of one worker's tasks by their kinds."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._targets: dict[str, Target] = {}
        #: Kinds of local functions that were reported as sync.
        self._singles: set[str] = set()

    def is_found(self, kind: str) -> bool:
        return kind in self._targets

    def find(self, run: tuple[Any, ...]) -> Target | str:
        """Returns the function to run, or the reason why it cannot run here."""
        kind: str = run[2]
        target = self._targets.get(kind)
        if target is not None and not run[10] and not run[11] and not self._worker.settings.get("only_declared"):
            return target
        for python, _ in run[10].values():
            if python != sys.version_info[:2]:
                return f"python {python[0]}.{python[1]}"
        name = self.name(kind)
        if name is None:
            return f"kind `{kind}`"
        if (why := self._undeclared(kind, run[11])) is not None:
            return why
        if target is not None:
            return target
        if "<" in kind:
            return LOCAL
        try:
            function = self._worker.functions.find(name)
        except Exception:
            # Any object under this name that raises is not a function to be run.
            log.exception("looking for `%s` failed", kind)
            function = None
        if function is None:
            return f"kind `{kind}`"
        target = self._targets[kind] = target_of(function)
        if target.is_sync:
            self._worker._runs_singly(kind)
        return target

    def name(self, kind: str) -> str | None:
        """Returns the name of a kind in this application; None if it belongs to another namespace."""
        return _identity.name_in(self._worker.settings.get("namespace"), kind)

    def note_local(self, kind: str) -> None:
        """Reports a kind of local functions that turned out to be sync."""
        if kind not in self._singles:
            self._singles.add(kind)
            self._worker.channel.singles([kind])

    def not_parked(self, reasons: list[str]) -> list[str]:
        """Returns those of the reasons for parking that do not apply here."""

        def holds_not(reason: str) -> bool:
            if reason.startswith("kind `"):
                name = self.name(reason[6:-1])
                return name is not None and ("<" in name or self._worker.functions.find(name) is not None)
            for end, restricted in ((BY_ROLE, True), (BY_SETTING, False)):
                if reason.startswith("`") and reason.endswith(end):
                    return self._undeclared(reason[1 : -len(end) - 1], restricted) is None
            return reason == PYTHON

        return [reason for reason in reasons if holds_not(reason)]

    def _undeclared(self, kind: str, restricted: bool) -> str | None:
        """Returns why a kind must not run here although there is such a function, which is the reason for parking its
        tasks."""
        if not (restricted or self._worker.settings.get("only_declared")) or self._worker.functions.is_declared(
            self.name(kind) or ""
        ):
            return None
        return f"`{kind}`{BY_ROLE if restricted else BY_SETTING}"
