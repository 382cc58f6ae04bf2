"""Runs tasks in a Python process for a server that claims them; also embedded in a web process or a test.

Read next: ``_loop_worker.py``.
"""

from ._embedded import Embedded
from ._loop_worker import Worker
from ._target import load

__all__ = ["Embedded", "Worker", "load"]
