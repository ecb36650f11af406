"""How often chance alone is called a change: a quick look, seeded; `make benchmark PARTS=statistics` looks longer."""

from __future__ import annotations

import numpy as np
import pytest

from reports.statistics.arms import Arms
from reports.statistics.differences import Inference, Margin, quantile_differences
from reports.statistics.rates import ArmSums, rate_difference
from tests.examples import trials
from tests.reports.statistics.arms import TURNS, arm, failures, waits

PAIRS, COUNTED = trials(150, 300), trials(500, 2000)


@pytest.mark.parametrize("paired", [False, True])
def test_two_arms_alike_seldom_differ(paired: bool) -> None:
    rng = np.random.default_rng(20261120)
    worse = np.zeros(2)
    for _ in range(PAIRS):
        found = quantile_differences(
            Arms(arm(waits(rng, 60)), arm(waits(rng, 60)), (60, 60), paired=paired),
            [(0.5, Margin()), (0.95, Margin())],
            "lower",
            Inference(draws=150, seed=rng),
        )
        worse += [difference.worse_low > 0 for difference in found]

    assert (worse / PAIRS >= 0.015).all()
    assert (worse / PAIRS <= 0.085).all()


def test_clustered_failures_alike_seldom_differ() -> None:
    rng = np.random.default_rng(20261121)
    turns = np.full(60, float(TURNS))
    worse = 0
    for _ in range(COUNTED):
        base, cand = ((failures(rng, 60, 0.03).sum(axis=1), turns) for _ in range(2))
        worse += rate_difference(ArmSums(base, cand, paired=False), Margin()).worse_low > 0

    assert 0.025 <= worse / COUNTED <= 0.075
