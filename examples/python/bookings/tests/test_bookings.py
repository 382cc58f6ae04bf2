from __future__ import annotations

from bookings.tasks import confirm
from httpx import AsyncClient
from taskyard.testing import ManualTasks, assert_enqueued, refute_enqueued


async def test_a_booking_is_confirmed_in_the_background(client: AsyncClient, task_queue: ManualTasks) -> None:
    response = await client.post("/bookings", json={"guest": "ada@example.org", "nights": 2})
    assert response.status_code == 202
    booking = response.json()["id"]
    assert (await client.get(f"/bookings/{booking}")).json()["state"] == "received"
    assert_enqueued(confirm, booking)
    assert await task_queue.drain() == 1
    assert (await client.get(f"/bookings/{booking}")).json()["state"] == "confirmed"


async def test_a_booking_of_no_night_is_refused(client: AsyncClient) -> None:
    response = await client.post("/bookings", json={"guest": "ada@example.org", "nights": 0})
    assert response.status_code == 422
    refute_enqueued(confirm)


async def test_an_unknown_booking_is_not_found(client: AsyncClient) -> None:
    assert (await client.get("/bookings/7")).status_code == 404


async def test_the_health_checks(client: AsyncClient) -> None:
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert (await client.get("/readyz")).json() == {"status": "ready"}
