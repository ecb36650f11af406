"""The number of examples for properties that need more or fewer than the default, and of
repetitions for statistics.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

from hypothesis import settings

T = TypeVar("T")
thorough = settings(max_examples=max(50, settings.default.max_examples))
"""The settings for properties of the wire, of frames, and of turns with a VAD.

In these parts of the code, only rare examples have revealed defects.
"""
few = settings(max_examples=settings.default.max_examples // 3, deadline=None)
"""The settings for a property that writes several run folders per example, or that is tested for
many parameters."""


def trials(quick: int, most: int) -> int:
    """Return the number of repetitions for the estimate of an error rate.

    It is `most` if `EXAMPLES=all`, otherwise `quick`.
    """
    return most if os.environ.get("EXAMPLES") == "all" else quick


def some(cases: Sequence[T], quick: int, first: int = 0) -> Sequence[T]:
    """Return about `quick` of the cases, at equal distances. `first` shifts the selection.

    If `EXAMPLES=all`, return all cases.
    """
    apart = -(-len(cases) // trials(quick, len(cases))) if cases else 1
    return cases[first % apart :: apart]


def with_or_without_tls(cases: Sequence[T]) -> Sequence[tuple[T, bool]]:
    """Return each case with False (without TLS) or True (with TLS), in turns. If `EXAMPLES=all`,
    each has both.
    """
    ways = [
        (case, (number + turn) % 2 == 1) for number, case in enumerate(cases) for turn in (0, 1)
    ]
    return some(ways, len(cases))
