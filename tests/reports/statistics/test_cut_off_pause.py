from __future__ import annotations

import math

import numpy as np
import pytest

from reports.statistics.cut_off_pause import cut_off_pause

LADDER_MS = np.arange(300, 2_021, 40.0)


@pytest.mark.parametrize(
    ("vad_ms", "pause_ms"), [(500.0, 520.0), (1_230.0, 1_240.0), (100.0, -math.inf), (3e3, math.inf)]
)
def test_the_cut_off_pause_is_between_the_longest_tolerated_pause_and_the_next(vad_ms: float, pause_ms: float) -> None:
    pauses = np.tile(LADDER_MS, 6)
    sessions = np.repeat(np.arange(66), 4)

    found = cut_off_pause(pauses, (pauses > vad_ms).astype(float), sessions)

    assert found.value == pytest.approx(pause_ms)
    assert found.low <= vad_ms <= found.high
    if math.isfinite(pause_ms):
        assert abs(found.value - vad_ms) <= 20
        assert found.high - found.low <= 200


@pytest.mark.parametrize(("sd_ms", "between_ms"), [(20.0, 0.0), (60.0, 60.0), (300.0, 0.0)])
def test_the_interval_of_a_random_cut_off_pause_covers_it_in_at_least_95_percent_of_runs(
    sd_ms: float, between_ms: float
) -> None:
    rng, covered, runs = np.random.default_rng(3), 0, 60
    sessions = np.repeat(np.arange(40), 6)
    for _ in range(runs):
        pause_ms = rng.uniform(600, 1_500)
        pauses = rng.choice(LADDER_MS, sessions.size)
        own = pause_ms + rng.normal(0, between_ms, 40)[sessions] + rng.normal(0, sd_ms, sessions.size)
        found = cut_off_pause(pauses, (pauses > own).astype(float), sessions)
        covered += found.low <= pause_ms <= found.high
    assert covered >= 54  # 57 of 60, less 1.8 standard errors
