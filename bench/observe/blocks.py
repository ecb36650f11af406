"""The blocks of 5 ms of a stream: their energies, their levels, and the samples of the last ones. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np

from bench.wire.audio import Samples, measured_blocks

BLOCK_MS = 5
SMOOTHED = 4
"""The number of blocks in a moving average. A block's level is the mean energy of the last `SMOOTHED` blocks."""
GROUP = 10
"""The number of blocks in a group."""
STEADY = 4
"""The ratio of levels from which on they are not steady: a background does not exceed it, and a voice may."""

Block = tuple[int, int, int, int]
"""Energy, level, position of the first audible sample, and position after the last one; both -1 if silent."""
NO_BLOCK: Block = (0, 0, -1, -1)


class Blocks:
    """The blocks of a stream at `rate_hz`.

    The last `count` blocks are stored, and the samples of `retained` blocks before those that were received last. The
    subclass stores each block, because a call for each block takes 3 % of the detection of sounds.
    """

    __slots__ = ("_blocks", "_energies", "_lag", "_left", "_number", "_received", "_received_end", "_retained", "_size")

    def __init__(self, rate_hz: int, count: int, retained: int) -> None:
        self._size = rate_hz * BLOCK_MS // 1_000
        self._lag = max(1, rate_hz // 8_000)  # the filter is that of 8 kHz at every rate
        self._left: Samples = np.zeros(0, np.int16)
        """The samples after the last complete block."""
        self._retained = retained * self._size
        self._received: Samples = np.zeros(self._retained, np.int16)
        """The samples of the last received blocks, and the stored samples before them."""
        self._received_end = 0
        self._number = 0
        """The number of the next block."""
        self._energies = (0, 0, 0)
        self._blocks: deque[Block] = deque(maxlen=count)

    def _cut(self, samples: Samples) -> Iterable[tuple[int, int, int]]:
        """Add samples to the stream. Return the result of `measured_blocks` for all blocks that are now complete."""
        stream = np.concatenate((self._left, samples)) if len(self._left) else samples
        complete = len(stream) - len(stream) % self._size
        self._left = stream[complete:]
        if not complete:
            return ()
        self._received = received = np.concatenate((self._received[-self._retained :], stream[:complete]))
        self._received_end += complete
        return measured_blocks(received[-complete - self._lag :], self._lag, self._size)

    def _at(self, number: int) -> Block:
        index = number - self._number
        return self._blocks[index] if number >= 0 and -len(self._blocks) <= index < 0 else NO_BLOCK

    def _levels(self, first: int, last: int) -> list[int]:
        return [self._at(block)[1] for block in range(first, last + 1)]

    def _samples(self, block: int, count: int = GROUP) -> Samples:
        """Return the samples of the blocks from this block on, resampled to 8 kHz."""
        start = len(self._received) + block * self._size - self._received_end
        return self._received[max(0, start) : start + count * self._size : self._lag]


def is_even(levels: Sequence[int], ratio: tuple[int, int]) -> bool:
    """Return whether the ratio of the highest to the lowest level is at most `ratio`, as (numerator, denominator)."""
    return max(levels) * ratio[1] <= min(levels) * ratio[0]


def rise_in(levels: Sequence[int]) -> int | None:
    """Return the place at which the level last rises by more than `STEADY`, as above noise; None if it does not."""
    rises = range(len(levels) - 1, SMOOTHED - 1, -1)
    above = (at for at in rises if levels[at] > STEADY * max(levels[: at - SMOOTHED + 1]))
    return next(above, None)


def end_of_even(levels: Sequence[int], count: int, ratio: tuple[int, int]) -> int | None:
    """Return the end of the last `count` even levels; None if there are none."""
    ends = range(len(levels), count - 1, -1)
    return next((end for end in ends if is_even(levels[end - count : end], ratio)), None)
