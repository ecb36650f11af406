"""Direct current in audio: the offset that analog adapters, sound cards and some exchanges add. It
is no sound. Pure.

A block of 5 ms is flat if all its samples are within `AUDIBLE` of each other. If two blocks in
sequence have nearly the same mean, and the second one is flat, that mean is the direct current
until the next such pair. A deep voice or a hum has no such blocks, because its mean changes from
block to block.
"""

# An offset would make silence audible, and so every start of a reply early. A usual high-pass
# filter does not help: it answers the first sample of a stream with an offset by a decaying wave,
# which is audible itself. Therefore the offset is measured where nothing else is, and subtracted.

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.catalogue.metrics import AUDIBLE
from bench.wire.audio import Samples

MIN_OFFSET = 64
"""The minimum direct current that is subtracted from samples: 0.2 %. Smaller means are also
those of a deep voice."""
SAME_OFFSET = 16
"""The maximum change of the mean from one block to the next at which it is direct current, and
no deep noise."""
BLOCKS_PER_S = 200
UNKNOWN = 1 << 20
"""The offset of blocks before the first flat one."""


class DirectCurrent(NamedTuple):
    """The mean of the last block, and the direct current in it."""

    mean: int
    offset: int


def offsets_of(
    blocks: NDArray[np.int64], before: DirectCurrent
) -> tuple[NDArray[np.int64], DirectCurrent]:
    """Return the direct current in each block, and what the last block leaves.

    `blocks` has the shape blocks × samples. `before` is what the blocks before them have left.
    """
    size = blocks.shape[1]
    are_flat = blocks.max(axis=1) - blocks.min(axis=1) < AUDIBLE
    totals = blocks.sum(axis=1)
    means = np.sign(totals) * (np.abs(totals) // size)
    are_large = np.abs(totals) >= MIN_OFFSET * size
    changes = np.abs(np.diff(means, prepend=before.mean))
    are_known = are_flat & (changes <= SAME_OFFSET)
    places = np.maximum.accumulate(np.where(are_known, np.arange(len(blocks)), -1))
    found = np.where(are_large, means, 0)[np.maximum(places, 0)]
    offsets = np.where(places < 0, before.offset, found)
    return offsets, DirectCurrent(int(means[-1]), int(offsets[-1]))


def without_direct_current(samples: Samples, rate_hz: int) -> Samples:
    """Return a recording without its direct current.

    Before its first flat block, the recording has the direct current of that block. If no block is
    flat, because of noise, all of it has that of its median sample.
    """
    size = rate_hz // BLOCKS_PER_S
    count = len(samples) // size
    if not count:
        return samples
    blocks = samples[: count * size].reshape(count, size).astype(np.int64)
    first = DirectCurrent(int(blocks[0].mean()), UNKNOWN)
    offsets, _ = offsets_of(blocks, first)
    known = offsets[offsets != UNKNOWN]
    median = int(np.median(samples))
    before = int(known[0]) if len(known) else median if abs(median) >= MIN_OFFSET else 0
    offsets = np.where(offsets == UNKNOWN, before, offsets)
    if not offsets.any():
        return samples
    each = np.append(np.repeat(offsets, size), np.full(len(samples) - count * size, offsets[-1]))
    rest: Samples = np.clip(samples - each, -32_768, 32_767).astype(np.int16)
    return rest


def constant_offset(parts: Iterable[Samples]) -> int:
    """Return the direct current of a whole recording in parts: its median; 0 if that is small.

    A hum, and a voice in one half of a call, do not change the median.
    """
    counts = np.zeros(1 << 16, np.int64)
    for part in parts:
        counts += np.bincount(part.astype(np.int64) + 32_768, minlength=1 << 16)
    median = int(np.searchsorted(np.cumsum(counts), counts.sum() / 2)) - 32_768
    return median if abs(median) >= MIN_OFFSET and counts.any() else 0
