"""Invented sessions of very unequal length for tests."""

from __future__ import annotations

import numpy as np

from reports.statistics.counting import Integers
from reports.statistics.quantiles import Sample, sample


def sampled(lengths: Integers, slope: float, seed: int = 0) -> Sample:
    """Return latencies of sessions of these lengths.

    The log of a latency grows by `slope` with each factor of ten of the length.
    """
    rng = np.random.default_rng(seed)
    own = slope * np.log10(lengths) + rng.normal(0, 0.2, lengths.size)
    return sample(600 * np.exp(np.repeat(own, lengths) + rng.normal(0, 0.3, lengths.sum())), codes(lengths))


def codes(lengths: Integers) -> Integers:
    return np.repeat(np.arange(lengths.size), lengths)


def heavy(sessions: int = 100, seed: int = 1) -> Integers:
    """Return lengths from a Pareto distribution of index 1.3.

    A tenth of the sessions has more than half of the turns.
    """
    found: Integers = (4 * np.random.default_rng(seed).random(sessions) ** (-1 / 1.3)).astype(np.int64)
    return found
