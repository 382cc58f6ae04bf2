"""What the worker makes of plain JSON, without a database."""

from __future__ import annotations

from typing import Any

import pytest
from taskyard import InvalidArgument
from taskyard._codec import Payload
from taskyard.worker import _fit


def fitted(function: Any, *args: Any, **kwargs: Any) -> Any:
    """What the worker makes of plain JSON."""
    return _fit.arguments(function, Payload(list(args), kwargs, False, None))


def refused(match: str, function: Any, *args: Any, **kwargs: Any) -> None:
    with pytest.raises(InvalidArgument, match=match):
        fitted(function, *args, **kwargs)
