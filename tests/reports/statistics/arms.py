"""Arms made up for tests of the statistics of two arms: sessions that differ, a few stall_count, whole milliseconds."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from reports.statistics.quantiles import Sample, sample

TURNS = 10
ICC = 0.3
Floats = npt.NDArray[np.float64]


def waits(
    rng: np.random.Generator, sessions: int, *, turns: int = TURNS, icc: float = ICC, stalled: float = 0.03
) -> Floats:
    """Waits in ms, a row for each session: log-normal, median 600 ms, sigma 0.5, of whose square `icc` lies between
    sessions; a share of the turns stall_count for a further 1 to 5 s.
    """
    between = rng.normal(0, math.sqrt(icc), (sessions, 1))
    logs = between + rng.normal(0, math.sqrt(1 - icc), (sessions, turns))
    stall_count = (rng.random((sessions, turns)) < stalled) * rng.uniform(1000, 5000, (sessions, turns))
    values: Floats = np.round(600 * np.exp(0.5 * logs) + stall_count)
    return values


def failures(
    rng: np.random.Generator, sessions: int, rate: float, *, turns: int = TURNS, correlation: float = 0.2
) -> npt.NDArray[np.bool_]:
    """Which turns failed, a row for each session; failures of a session come together by this correlation."""
    spread = 1 / correlation - 1
    own = rng.beta(rate * spread, (1 - rate) * spread, (sessions, 1))
    failed: npt.NDArray[np.bool_] = rng.random((sessions, turns)) < own
    return failed


def arm(values: Floats) -> Sample:
    """Rows of turns, a row for each session, as a sample."""
    return sample(values.ravel(), np.repeat(np.arange(len(values)), values.shape[1]))
