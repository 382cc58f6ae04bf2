"""A shop: orders with a dependent confirmation, and a gallery whose pictures become thumbnails in parallel.

Run it with ``taskyard serve app:app --workers 2``; the pictures are in ``gallery/``.
"""

from __future__ import annotations

import pathlib

from fastapi import FastAPI, HTTPException
from tasks import confirm_order, make_thumbnail, process_order, report_gallery
from taskyard import QueuedTasks, TaskNotFound, TasksDep

queue = QueuedTasks()
app = FastAPI(title="Shop", lifespan=queue.lifespan())
GALLERY = pathlib.Path("gallery")


@app.post("/orders", status_code=202)
async def create_order(order: dict[str, int], tasks: TasksDep) -> dict[str, str]:
    """Adds the order and its confirmation; the response is sent once both are stored."""
    process = tasks.add_task(process_order, order["id"], order["quantity"])
    confirm = tasks.add_task(confirm_order, order["id"], parent=process, queue="mail")
    return {"order": process.id, "confirmation": confirm.id}


@app.post("/gallery", status_code=202)
async def process_gallery(tasks: TasksDep, size: int = 128) -> dict[str, object]:
    """Adds a task for each picture, and a report that waits for all of them."""
    pictures = sorted(str(path) for path in GALLERY.glob("*.png"))
    if not pictures:
        raise HTTPException(404, "there are no pictures")
    calls = [tasks.call(make_thumbnail, picture, size, tags=["gallery"]) for picture in pictures]
    report = tasks.call(report_gallery, parents=calls)
    refs = tasks.add_tasks([*calls, report])
    return {"pictures": len(pictures), "thumbnails": [ref.id for ref in refs[:-1]], "report": refs[-1].id}


@app.get("/tasks/{id}")
async def show(id: str, tasks: TasksDep) -> dict[str, object]:
    """Returns state, progress and result, for clients that poll."""
    task = tasks.get(id)
    try:
        state = await task.get_state()
    except TaskNotFound:
        raise HTTPException(404, "there is no such task") from None
    found: dict[str, object] = {"state": state, "progress": await task.get_progress()}
    if state == "done":
        found["result"] = await task.wait()
    return found


@app.delete("/tasks/{id}", status_code=202)
async def cancel(id: str, tasks: TasksDep) -> None:
    """Requests the cancellation of a task without waiting for it."""
    tasks.get(id).cancel()
