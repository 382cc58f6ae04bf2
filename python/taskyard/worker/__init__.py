"""An alias of the private package ``taskyard._worker``."""

from .._worker import Embedded, Worker, load

__all__ = ["Embedded", "Worker", "load"]
