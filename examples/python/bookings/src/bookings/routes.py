"""The HTTP interface."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy import select
from taskyard import TasksDep

from .database import Booking, SessionDep
from .tasks import confirm

router = APIRouter()


class NewBooking(BaseModel):
    guest: str
    nights: int = Field(ge=1)


@router.post("/bookings", status_code=202)
async def book(new: NewBooking, session: SessionDep, tasks: TasksDep) -> dict[str, int | str]:
    """Stores a booking, and the task that confirms it."""
    booking = Booking(guest=new.guest, nights=new.nights)
    session.add(booking)
    await session.flush()
    if session.get_bind().dialect.name == "postgresql":
        # In one transaction: both are stored, or neither is.
        task = await tasks.add_task(confirm, booking.id, connection=session)
        await session.commit()
    else:
        # The queue is in another file, so the task is added after the booking is committed.
        await session.commit()
        task = tasks.add_task(confirm, booking.id)
    return {"id": booking.id, "task": task.id}


@router.get("/bookings/{id}")
async def show(id: int, session: SessionDep) -> dict[str, int | str]:
    booking = await session.get(Booking, id)
    if booking is None:
        raise HTTPException(404, "there is no such booking")
    return {"id": booking.id, "guest": booking.guest, "nights": booking.nights, "state": booking.state}


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Returns 200 without a query, because a new process would not help if the database is down."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(session: SessionDep, tasks: TasksDep) -> dict[str, str]:
    """Returns 200 if the application's database and the queue can be reached."""
    await session.execute(select(1))
    await tasks.list(limit=1)
    return {"status": "ready"}
