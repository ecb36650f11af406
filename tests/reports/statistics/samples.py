"""Invented samples for tests of statistics of two samples.

The level of the latencies differs between sessions, some turns stall, and all values are whole
milliseconds.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from reports.statistics.quantiles import Sample, sample

TURNS = 10
ICC = 0.3
Floats = npt.NDArray[np.float64]


def waits(
    rng: np.random.Generator,
    sessions: int,
    *,
    turns: int = TURNS,
    icc: float = ICC,
    stalled: float = 0.03,
) -> Floats:
    """Return latencies in ms. Each row is a session. They are log-normal with a median of 600 ms
    and a sigma of 0.5.

    The share `icc` of the variance of the logarithms is between sessions. A turn stalls with the
    probability `stalled`, and then takes another 1 to 5 s.
    """
    between = rng.normal(0, math.sqrt(icc), (sessions, 1))
    logs = between + rng.normal(0, math.sqrt(1 - icc), (sessions, turns))
    added_ms = (rng.random((sessions, turns)) < stalled) * rng.uniform(
        1000, 5000, (sessions, turns)
    )
    values: Floats = np.round(600 * np.exp(0.5 * logs) + added_ms)
    return values


def failures(
    rng: np.random.Generator,
    sessions: int,
    rate: float,
    *,
    turns: int = TURNS,
    correlation: float = 0.2,
) -> npt.NDArray[np.bool_]:
    """Return, for each turn, whether the turn failed. Each row is a session.

    `correlation` is the correlation of failures within a session.
    """
    spread = 1 / correlation - 1
    own = rng.beta(rate * spread, (1 - rate) * spread, (sessions, 1))
    failed: npt.NDArray[np.bool_] = rng.random((sessions, turns)) < own
    return failed


def sample_of(values: Floats) -> Sample:
    """Return the sample of these values. Each row of `values` is a session."""
    return sample(values.ravel(), np.repeat(np.arange(len(values)), values.shape[1]))
