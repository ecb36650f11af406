"""The benchmark of profiles: its statistics, and that each preset gives the latency of its
source.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rtbench_simulator.profile import PRESETS, load_profile
from tools.benchmarks.simulated_profiles import between_share, is_assumed, observe

SOURCED = [
    name for name in PRESETS if "p50" in load_profile(Path(name)).published.voice_to_voice_ms
]


@pytest.mark.parametrize("name", SOURCED)
def test_a_preset_gives_the_voice_to_voice_of_its_source(name: str) -> None:
    """With 20 turns, the standard error of the median is 5 %, so the limit is wider than the
    benchmark's.
    """
    profile = load_profile(Path(name))
    waits_ms = [
        wait_ms for waits in observe(profile, 5, interrupts=False).waits_ms for wait_ms in waits
    ]

    assert np.median(waits_ms) == pytest.approx(
        profile.published.voice_to_voice_ms["p50"], rel=0.15
    )


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_the_share_between_groups_is_that_of_their_variance(share: float) -> None:
    rng = np.random.default_rng(1)
    between = rng.normal(size=2_000)
    groups = [
        np.sqrt(share) * own + np.sqrt(1 - share) * rng.normal(size=size)
        for own, size in zip(between, rng.integers(2, 6, between.size), strict=True)
    ]

    assert between_share(groups) == pytest.approx(share, abs=0.05)


def test_a_value_that_its_file_calls_assumed_is_shown_as_assumed() -> None:
    assert is_assumed(load_profile(Path("telephone-agent")), "cut_in_share")
    assert not is_assumed(load_profile(Path("gpt-realtime")), "cut_in_share")
