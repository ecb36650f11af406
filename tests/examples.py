"""Numbers of examples for properties that need more or fewer than the default, and of repetitions for statistics."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

from hypothesis import settings

T = TypeVar("T")
thorough = settings(max_examples=max(100, settings.default.max_examples))
"""The settings for the wire, frames and turns with a VAD. Only rare examples have found their defects."""
few = settings(max_examples=settings.default.max_examples // 3, deadline=None)
"""The settings for properties that write several run folders in each example, or that are tested for many cases."""


def trials(quick: int, most: int) -> int:
    """Return the number of repetitions for an estimate of an error rate: `most` with `EXAMPLES=all`, else `quick`."""
    return most if os.environ.get("EXAMPLES") == "all" else quick


def some(cases: Sequence[T], quick: int, first: int = 0) -> Sequence[T]:
    """Return about `quick` evenly spaced cases; `first` moves the start. With `EXAMPLES=all` return all cases."""
    apart = -(-len(cases) // trials(quick, len(cases))) if cases else 1
    return cases[first % apart :: apart]
