"""Direct current in audio: the offset that analog adapters, sound cards and some exchanges add. It
is no sound. Pure.

A block of 5 ms is flat if all its samples are within `AUDIBLE` of each other. If two blocks in
sequence have nearly the same mean, and the second one is flat, that mean is the direct current
until the next such pair. A deep voice or a hum has no such blocks, because its mean changes from
block to block.

Direct current that changes is no sound, either: a codec or a capacitor turns the first sample of an
offset into a wave that decays for up to 0.5 s, and the breath of a speaker moves a microphone. Such
a block has at least `MIN_SHARE` of its energy in its mean, and the mean is similar to that of the
block before it. No voice and no hum of the mains is so low. The direct current of this block is its
mean, and the next block does not inherit it.
"""

# An offset would make silence audible, and so every start of a reply early. A usual high-pass
# filter does not help: it answers the first sample of a stream with an offset by a decaying wave,
# which is audible itself. Therefore the offset is measured where nothing else is, and subtracted.

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
MIN_SHARE = 15, 16
"""The minimum share of the energy of a block in its mean, as (numerator, denominator), of direct
current that changes. It is above that of a hum of 50 Hz whose half period is two blocks."""
SIMILAR = 3
"""The mean of such a block differs by at most this part of it from that of the block before, with
and without the constant direct current: that one may be wrong, because a voice over a hum may have
two flat blocks, and the hum would then have such a block in each period."""
BLOCKS_PER_S = 200
UNKNOWN = 1 << 20
"""The offset of blocks before the first flat one."""


class DirectCurrent(NamedTuple):
    """The mean of the last block, and the constant direct current in it."""

    mean: int
    offset: int


def offsets_of(
    blocks: NDArray[np.int64], before: DirectCurrent
) -> tuple[NDArray[np.int64], DirectCurrent]:
    """Return the direct current in each block, and what the last block leaves.

    `blocks` has the shape blocks × samples. `before` is what the blocks before them have left.
    """
    offsets, after = constant_offsets(blocks, before)
    size = blocks.shape[1]
    rest = blocks - offsets[:, None]
    means = block_means(blocks)
    own = np.abs(means - offsets)
    changes = np.abs(np.diff(means, prepend=before.mean))
    are_changing = (
        (own >= MIN_OFFSET)
        & (SIMILAR * changes <= np.minimum(own, np.abs(means)))
        & (MIN_SHARE[1] * rest.sum(axis=1) ** 2 >= MIN_SHARE[0] * size * (rest**2).sum(axis=1))
    )
    return np.where(are_changing, means, offsets), after


def block_means(blocks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the mean of each block, rounded towards 0."""
    totals = blocks.sum(axis=1)
    means: NDArray[np.int64] = np.sign(totals) * (np.abs(totals) // blocks.shape[1])
    return means


def constant_offsets(
    blocks: NDArray[np.int64], before: DirectCurrent
) -> tuple[NDArray[np.int64], DirectCurrent]:
    """Return what `offsets_of` does, of direct current that does not change."""
    are_flat = blocks.max(axis=1) - blocks.min(axis=1) < AUDIBLE
    means = block_means(blocks)
    are_large = np.abs(means) >= MIN_OFFSET
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
    blocks = samples[: count * size].reshape(count, size).astype(int)
    first = DirectCurrent(int(blocks[0].mean()), UNKNOWN)
    constant, _ = constant_offsets(blocks, first)
    known = constant[constant != UNKNOWN]
    median = int(np.median(samples))
    before = int(known[0]) if len(known) else median if abs(median) >= MIN_OFFSET else 0
    offsets, _ = offsets_of(blocks, first._replace(offset=before))
    if not offsets.any():
        return samples
    each = np.append(np.repeat(offsets, size), np.full(len(samples) - count * size, offsets[-1]))
    rest: Samples = np.clip(samples - each, -32_768, 32_767).astype(np.int16)
    return rest


def constant_offset(parts: Iterable[Samples]) -> int:
    """Return the direct current of a whole recording in parts: its median; 0 if that is small.

    A hum, and a voice in one half of a call, do not change the median.
    """
    counts = np.zeros(1 << 16, int)
    for part in parts:
        counts += np.bincount(part.astype(int) + 32_768, minlength=1 << 16)
    median = int(np.searchsorted(np.cumsum(counts), counts.sum() / 2)) - 32_768
    return median if abs(median) >= MIN_OFFSET and counts.any() else 0
