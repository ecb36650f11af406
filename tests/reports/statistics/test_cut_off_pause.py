from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from bench.plan.random_choices import SessionChoices
from reports.statistics import cut_off_pause as module
from reports.statistics.cut_off_pause import cut_off_pause
from tests.examples import trials

LADDER_MS = np.arange(300, 2_021, 40.0)
EXCESS_MS = [0, 120, 160, 240, 320, 400, 440, 520, 600, 720, 840, 960, 1_120, 1_520]
CUT_OFF = [1, 1, 0.96, 0.84, 0.72, 0.49, 0.39, 0.36, 0.48, 0.59, 0.78, 0.85, 0.92, 0.97]
"""The share of turns that a simulated telephone agent cut off audibly, by how much their pause
exceeded its silence: of 4,500 turns with a median latency of 450 ms. An agent that is faster by a
factor divides the excess by this factor."""


@pytest.mark.parametrize(
    ("vad_ms", "pause_ms"),
    [(500.0, 520.0), (1_230.0, 1_240.0), (100.0, -math.inf), (3e3, math.inf)],
)
def test_the_cut_off_pause_is_between_the_longest_tolerated_pause_and_the_next(
    vad_ms: float, pause_ms: float
) -> None:
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
    rng, covered, runs = np.random.default_rng(3), 0, trials(20, 60)
    sessions = np.repeat(np.arange(40), 6)
    for _ in range(runs):
        pause_ms = rng.uniform(600, 1_500)
        pauses = rng.choice(LADDER_MS, sessions.size)
        own = (
            pause_ms + rng.normal(0, between_ms, 40)[sessions] + rng.normal(0, sd_ms, sessions.size)
        )
        found = cut_off_pause(pauses, (pauses > own).astype(float), sessions)
        covered += found.low <= pause_ms <= found.high
    assert covered >= 0.95 * runs - 1.8 * math.sqrt(0.05 * 0.95 * runs)


@pytest.mark.parametrize(
    ("sessions", "faster", "false_share"), [(20, 1.0, 0.0), (60, 2.5, 0.0), (60, 1.0, 0.05)]
)
def test_the_edge_is_found_within_20_ms_although_some_cut_offs_are_inaudible_or_false(
    sessions: int, faster: float, false_share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DRAWS", 200)
    near, covered, runs = 0, 0, trials(40, 100)
    for run in range(runs):
        rng = np.random.default_rng([run, sessions])
        vad_ms = rng.uniform(400, 1_400)
        pauses = drawn_pauses_ms(run % 10, sessions)
        excess_ms = (pauses - vad_ms) * faster
        share = np.where(excess_ms < 0, false_share, np.interp(excess_ms, EXCESS_MS, CUT_OFF))
        cut = (rng.random(pauses.size) < share).astype(float)
        found = cut_off_pause(pauses, cut, np.repeat(np.arange(sessions), 3))
        near += abs(found.value - vad_ms) <= 20
        covered += found.low <= vad_ms <= found.high

    assert near >= 0.99 * runs
    assert covered >= 0.95 * runs


@cache
def drawn_pauses_ms(seed: int, sessions: int) -> np.ndarray:
    """Return the pauses of three turns of each session."""
    drawn = (SessionChoices(seed, number) for number in range(sessions))
    return LADDER_MS[[choices.speech_pause(LADDER_MS.size) for choices in drawn for _ in range(3)]]
