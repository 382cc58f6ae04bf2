"""Implements ``python -m taskyard.worker``, another name of ``python -m taskyard._worker``."""

from .._worker.__main__ import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
