"""The shop's background tasks, as plain functions."""

from __future__ import annotations

import asyncio
import pathlib
from typing import Any

from PIL import Image
from taskyard.queued_task import get_parent_results, getLogger, set_context


async def process_order(order_id: int, quantity: int) -> dict[str, Any]:
    """Packs the pieces one by one and reports progress."""
    log = getLogger("shop.orders")
    log.info("order %d: %d pieces", order_id, quantity)
    set_context("progress.total", quantity)
    for packed in range(1, quantity + 1):
        await asyncio.sleep(0.01)
        set_context("progress.completed", packed)
    return {"order_id": order_id, "packed": quantity}


async def confirm_order(order_id: int) -> str:
    """Runs after the order is processed, with its result."""
    (order,) = await get_parent_results()
    getLogger("shop.mail").info("confirming order %d", order_id)
    return f"order {order['order_id']} with {order['packed']} pieces is on its way"


def make_thumbnail(picture: str, size: int) -> dict[str, Any]:
    """Runs on a thread of a worker process, because it is a sync function; several processes run several in parallel."""
    source = pathlib.Path(picture)
    target = source.with_suffix(".thumbnail.jpg")
    with Image.open(source) as image:
        thumbnail = image.convert("RGB")
        thumbnail.thumbnail((size, size))
        thumbnail.save(target)
    return {"picture": source.name, "size": list(thumbnail.size), "bytes": target.stat().st_size}


def report_gallery() -> dict[str, Any]:
    """Adds up the results of its parents."""
    thumbnails = get_parent_results()
    return {"pictures": len(thumbnails), "bytes": sum(each["bytes"] for each in thumbnails)}
