"""Invented sessions whose numbers of turns are very unequal."""

from __future__ import annotations

import numpy as np

from reports.statistics.counting import Integers
from reports.statistics.quantiles import Sample, sample


def sampled(lengths: Integers, slope: float, seed: int = 0) -> Sample:
    """Return the latencies of sessions. `lengths` contains the number of turns of each session.

    If a session has ten times as many turns, the logarithm of its latencies is larger by `slope`.
    """
    rng = np.random.default_rng(seed)
    own = slope * np.log10(lengths) + rng.normal(0, 0.2, lengths.size)
    return sample(
        600 * np.exp(np.repeat(own, lengths) + rng.normal(0, 0.3, lengths.sum())), codes(lengths)
    )


def codes(lengths: Integers) -> Integers:
    return np.repeat(np.arange(lengths.size), lengths)


def heavy(sessions: int = 100, seed: int = 1) -> Integers:
    """Return the numbers of turns of sessions, from a Pareto distribution with index 1.3.

    A tenth of the sessions has more than half of all turns.
    """
    found: Integers = (4 * np.random.default_rng(seed).random(sessions) ** (-1 / 1.3)).astype(
        np.int64
    )
    return found
