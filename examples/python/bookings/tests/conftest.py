from __future__ import annotations

import pathlib
from collections.abc import AsyncIterator

import pytest
from bookings.app import create_app
from bookings.database import create_schema
from httpx import ASGITransport, AsyncClient
from taskyard.testing import ManualTasks


@pytest.fixture
async def client(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, task_queue: ManualTasks
) -> AsyncIterator[AsyncClient]:
    """A client of an application on an empty database, whose tasks run at ``await task_queue.drain()``."""
    monkeypatch.setenv("DATABASE_URL", f"sqlite+aiosqlite:///{tmp_path}/bookings.db")
    await create_schema()
    app = create_app()
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=ASGITransport(app), base_url="http://bookings") as client,
    ):
        yield client
