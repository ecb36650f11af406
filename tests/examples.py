"""How many examples a property takes that needs more of them than others, or fewer, and a statistic."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

from hypothesis import settings

T = TypeVar("T")
thorough = settings(max_examples=max(100, settings.default.max_examples))
"""For the wire, frames and turns by a VAD: what was wrong there was found by rare examples."""
few = settings(max_examples=settings.default.max_examples // 3, deadline=None)
"""For what makes several folders of runs in each example, or is tried again in each of many cases."""


def trials(quick: int, most: int) -> int:
    """How often chance is tried where a share of wrong answers is counted: `most` times with `EXAMPLES=all`."""
    return most if os.environ.get("EXAMPLES") == "all" else quick


def some(cases: Sequence[T], quick: int, first: int = 0) -> Sequence[T]:
    """So many of the cases, spread evenly from one of the first on; with `EXAMPLES=all` all of them."""
    apart = -(-len(cases) // trials(quick, len(cases))) if cases else 1
    return cases[first % apart :: apart]
