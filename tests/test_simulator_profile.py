"""The conversion of a run to a profile of the simulator. The profile has the delays that the run
measured.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import rtbench
from bench.base.errors import UsageError
from rtbench.simulator_profile import simulator_profile
from rtbench_simulator.delay import Empirical
from tests.reports import synthetic
from tests.reports.synthetic import Plan

PLAN = Plan(sessions=40, turns=3, targets=("west", "east"), failed=0.1, kinds=("typed",))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.write(tmp_path_factory.mktemp("run"), PLAN)


def test_the_profile_has_the_first_audio_delays_of_the_target_s_successful_turns(
    folder: Path,
) -> None:
    run = rtbench.load(folder)
    good = run.turns[(run.turns["target"] == "west") & (run.turns["outcome"] == "ok")]
    took_ms = (good["first_audio_at_ns"] - good["request_sent_at_ns"]).to_numpy(dtype=float) / 1e6

    delay = simulator_profile(run, "west").delays.first_audio
    assert isinstance(delay, Empirical)
    assert delay.quantiles_ms[0] == pytest.approx(took_ms.min(), abs=0.001)
    assert delay.quantiles_ms[-1] == pytest.approx(took_ms.max(), abs=0.001)
    rng = np.random.default_rng(1)
    drawn = [delay.draw_ms(rng) for _ in range(5_000)]
    assert np.median(drawn) == pytest.approx(np.median(took_ms), rel=0.02)


def test_a_profile_can_be_limited_to_the_turns_of_one_step(folder: Path) -> None:
    run = rtbench.load(folder)
    steps = sorted(run.turns["step"].unique())
    each = [simulator_profile(run, "west", step).delays.first_audio for step in steps]

    assert len(set(each)) == 3


@pytest.mark.parametrize(
    ("target", "step", "message"),
    [
        (None, None, "has several targets: name one"),
        ("north", None, "has no target north: it has west, east"),
        ("west", "nowhere", "has 0 successful turns of nowhere, but --from-run needs 5"),
    ],
)
def test_a_run_that_makes_no_profile_is_refused_in_one_line(
    folder: Path, target: str | None, step: str | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        simulator_profile(rtbench.load(folder), target, step)
