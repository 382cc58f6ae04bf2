"""The background tasks."""

from __future__ import annotations

import logging

from taskyard import task

from .database import Booking, sessions

log = logging.getLogger(__name__)


@task(max_retries=5)
async def confirm(booking_id: int) -> str:
    """Confirms a booking. Idempotent, because a task may run more than once."""
    async with sessions.begin() as session:
        booking = await session.get_one(Booking, booking_id)
        booking.state = "confirmed"
    log.info("booking %d is confirmed", booking_id)
    return booking.guest
