"""Settings: environment variables, or lines of ``.env`` in the working directory."""

from __future__ import annotations

from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_file=".env", extra="ignore")

    #: Taskyard reads the same variable: the queue is in this database if it is PostgreSQL, otherwise in a file of its own.
    database_url: str = "sqlite+aiosqlite:///bookings.db"
    log_level: str = "INFO"
