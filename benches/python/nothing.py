"""The task that `benches/versions.py` drains."""

from __future__ import annotations


async def nothing(number: int) -> None:
    pass
