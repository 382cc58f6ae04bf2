"""Converts plain JSON as a worker does, without a database."""

from __future__ import annotations

from typing import Any

import pytest
from taskyard import InvalidArgument
from taskyard._codec import Payload
from taskyard._worker import _validation


def fitted(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Returns the result of a function that is called with plain JSON as a worker calls it."""
    return _validation.arguments(function, Payload(list(args), kwargs, False, None))


def refused(match: str, function: Any, *args: Any, **kwargs: Any) -> None:
    with pytest.raises(InvalidArgument, match=match):
        fitted(function, *args, **kwargs)
