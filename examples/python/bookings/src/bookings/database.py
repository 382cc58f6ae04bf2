"""The table of bookings, and sessions on its database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from .settings import Settings


class Base(DeclarativeBase):
    pass


class Booking(Base):
    __tablename__ = "booking"

    id: Mapped[int] = mapped_column(primary_key=True)
    guest: Mapped[str]
    nights: Mapped[int]
    state: Mapped[str] = mapped_column(default="received")


#: Bound to the database by ``lifespan``: once in the web process, and once in each worker.
sessions = async_sessionmaker(expire_on_commit=False)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Opens the database for endpoints and tasks."""
    engine = create_async_engine(Settings().database_url)
    sessions.configure(bind=engine)
    try:
        yield
    finally:
        await engine.dispose()


async def get_session() -> AsyncIterator[AsyncSession]:
    async with sessions() as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(get_session)]


async def create_schema() -> None:
    """Creates the tables that are missing."""
    engine = create_async_engine(Settings().database_url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await engine.dispose()


def main() -> None:
    """Runs the command ``bookings-schema``, once before the application starts."""
    asyncio.run(create_schema())
