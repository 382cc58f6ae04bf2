"""Loggers that the application's ``logging.config`` configures but does not silence.

``dictConfig`` and ``fileConfig`` disable every logger that they do not name (``disable_existing_loggers``, on by
default), and remove the handlers of those that they name, and of their children. A logger created before that, as at
the top of a module, would no longer write the task's log to the database. Levels, other handlers and propagation follow
the configuration; ``logger.disabled = True`` elsewhere works as usual.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

__all__ = ["keep"]

_classes: dict[type[logging.Logger], type[logging.Logger]] = {}


def keep(logger: logging.Logger, handler: logging.Handler | None = None) -> logging.Logger:
    """Protects a logger and, if one is given, adds and protects its handler."""
    cls = type(logger)
    if not issubclass(cls, _Kept):
        if cls not in _classes:
            _classes[cls] = type(f"Kept{cls.__name__}", (_Kept, cls), {})
        before = dict(disabled=logger.disabled, handlers=logger.handlers)
        # The class of the same object is changed, so that existing references are covered.
        logger.__class__ = _classes[cls]
        for name, value in before.items():
            logger.__dict__[f"_taskyard_{name}"] = value
    if handler is not None:
        logger.__dict__["_taskyard_handler"] = handler
        logger.addHandler(handler)
    return logger


def _is_configuring() -> bool:
    """Whether the caller's caller is the standard library's configuration."""
    return sys._getframe(2).f_globals.get("__name__") == "logging.config"


class _Kept(logging.Logger):
    @property
    def disabled(self) -> bool:
        return bool(self.__dict__["_taskyard_disabled"])

    @disabled.setter
    def disabled(self, value: bool) -> None:
        if not (value and _is_configuring()):
            self.__dict__["_taskyard_disabled"] = value

    @property
    def handlers(self) -> list[logging.Handler]:
        found: list[logging.Handler] = self.__dict__["_taskyard_handlers"]
        return found

    @handlers.setter
    def handlers(self, value: list[logging.Handler]) -> None:
        kept = self._kept_handler()
        if kept is not None and kept not in value and _is_configuring():
            value = [kept, *value]
        self.__dict__["_taskyard_handlers"] = value

    def removeHandler(self, hdlr: logging.Handler) -> None:
        if hdlr is not self._kept_handler() or not _is_configuring():
            super().removeHandler(hdlr)

    def _kept_handler(self) -> Any:
        return self.__dict__.get("_taskyard_handler")
