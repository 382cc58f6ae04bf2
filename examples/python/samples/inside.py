"""The functions that a task can call while it runs: context, progress, logging, cancellation."""

from __future__ import annotations

from taskyard.queued_task import get_context, get_current_task, getLogger, is_cancelled, save_context, set_context


async def complex_data_processing(dataset_id: int, rows: int) -> dict[str, object]:
    logger = getLogger("data.processing")
    set_context("dataset.id", dataset_id)
    set_context("step", "validation")
    logger.info("starting with dataset %d, attempt %d", dataset_id, get_current_task().attempt)

    set_context("progress.total", rows)
    for row in range(rows):
        # Without a commit, many small changes become few writes; the last one is always stored.
        set_context("progress.completed", row + 1, auto_commit=False)
        if is_cancelled():
            break
    await save_context()

    set_context("step", "completed")
    logger.warning("a warning with fields", extra={"context": {"rows": rows}})
    return {"success": True, "records": get_context("progress.completed", 0)}
