"""The blocks of 5 ms of a stream: their energies, their levels, and the samples of the last
ones. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.base.compiled import twin

if TYPE_CHECKING:
    from bench.sound._blocks import Blocks, continue_sounds
else:
    _TWIN = twin("bench.sound._blocks", "bench.sound._blocks_interpreted")
    Blocks = _TWIN.Blocks
    continue_sounds = _TWIN.continue_sounds

__all__ = ["Blocks", "continue_sounds", "end_of_even", "is_even"]


def is_even(levels: Sequence[int], ratio: tuple[int, int]) -> bool:
    """Return whether the ratio of the highest to the lowest level is at most `ratio`, as
    (numerator, denominator).
    """
    return max(levels) * ratio[1] <= min(levels) * ratio[0]


def end_of_even(levels: Sequence[int], count: int, ratio: tuple[int, int]) -> int | None:
    """Return the end of the last `count` even levels; None if there are none."""
    ends = range(len(levels), count - 1, -1)
    return next((end for end in ends if is_even(levels[end - count : end], ratio)), None)
