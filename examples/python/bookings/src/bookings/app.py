"""The application factory. The web process and each worker call it once."""

from __future__ import annotations

from fastapi import FastAPI
from taskyard import QueuedTasks

from . import logs
from .database import lifespan
from .routes import router
from .settings import Settings


def create_app() -> FastAPI:
    """Creates the application."""
    logs.configure(Settings().log_level)
    queue = QueuedTasks()
    app = FastAPI(title="Bookings", lifespan=queue.lifespan(lifespan, in_workers=True))
    app.include_router(router)
    return app
