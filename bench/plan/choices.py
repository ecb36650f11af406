"""Draws what differs between the sessions of a script: by the run's seed and the session's number, and nothing else."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from bench.plan.think_times import ThinkTime
from bench.units import NS_PER_S

PAUSES, DELAYS = 2, 3
"""One more word of the seed each, so that they change no other choice; 1 is that of `bench.load.playing.pairs`."""


class Choices:
    """The choices of session `number` (from 0, over all processes), drawn one after another as its steps come."""

    def __init__(self, seed: int, number: int) -> None:
        self._seed, self._number = seed, number

    def recording(self) -> int:
        """Draw which recording a turn plays, modulo how many it has; drawn for turns of every kind."""
        return int(self._recordings.integers(1 << 30))

    def pause_ns(self, length: ThinkTime) -> int:
        """Draw how long a pause lasts."""
        return round(length.draw_s(self._pauses) * NS_PER_S)

    def delay_ns(self, delay: float | ThinkTime) -> int:
        """How long a function takes: as it says in seconds, or drawn."""
        seconds = delay if isinstance(delay, float | int) else delay.draw_s(self._delays)
        return round(seconds * NS_PER_S)

    @cached_property
    def _delays(self) -> np.random.Generator:
        return np.random.default_rng([self._seed, self._number, DELAYS])

    @cached_property
    def _recordings(self) -> np.random.Generator:
        return np.random.default_rng([self._seed, self._number])

    @cached_property
    def _pauses(self) -> np.random.Generator:
        return np.random.default_rng([self._seed, self._number, PAUSES])
