"""The errors of the jitter of packets with known delays."""

from __future__ import annotations

import random

from bench.base.units import NS_PER_MS
from bench.protocols.rtp.jitter import Frame
from tests.transport.media.path import HOLD_NS, Path, number_of

EARLY_NS = HOLD_NS // 5_000
SETTLED = 200
"""The frames of the first 4 s."""


def uniform(chance: random.Random) -> float:
    return chance.random() * 20 * NS_PER_MS


def errors(path: Path, frames: list[Frame]) -> list[tuple[int, int]]:
    """Return (error, uncertainty) of each frame that was received."""
    numbers = [(frame, number_of(frame)) for frame in frames]
    return [
        (f.at_ns - path.sent_ns(number), f.uncertainty_ns)
        for f, number in numbers
        if number is not None
    ]
