"""Logging, the same in the web process and in workers."""

from __future__ import annotations

from logging.config import dictConfig


def configure(level: str) -> None:
    """Writes records of this level and above to stderr."""
    dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"format": "%(asctime)s %(levelname)s [%(process)d] %(name)s: %(message)s"}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"level": level, "handlers": ["stderr"]},
        }
    )
