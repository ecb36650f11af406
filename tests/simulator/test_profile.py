"""A profile is read completely, and an error in it is reported with its line."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import rtbench_simulator
from rtbench_simulator.delay import DelayDrift, LogNormal
from rtbench_simulator.faults.kinds import Fault, IndexRange
from rtbench_simulator.profile import (
    PRESETS,
    TurnTakingSettings,
    load_profile,
    quiet_profile,
    usual_profile,
)
from rtbench_simulator.quota import QuotaLimits


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_loaded_by_name_and_states_its_assumptions(name: str) -> None:
    written = (Path(rtbench_simulator.__file__).parent / "profiles" / f"{name}.yaml").read_text(
        encoding="utf-8"
    )

    assert load_profile(Path(name)).name == name
    assert "SIMULATED" in written
    assert "assumed" in written.replace("assumption", "assumed")


def test_a_simulator_without_a_profile_has_that_of_a_named_service() -> None:
    assert usual_profile() == load_profile(Path("gpt-realtime"))
    assert usual_profile().turn_taking.no_reply_share > 0


def test_a_file_with_the_name_of_the_usual_profile_does_not_replace_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gpt-realtime").mkdir()

    assert usual_profile().name == "gpt-realtime"


def test_the_profile_for_tests_of_clients_has_no_cut_in_and_no_missing_reply() -> None:
    assert quiet_profile() == load_profile(Path("quiet"))
    assert quiet_profile().turn_taking == TurnTakingSettings()


@pytest.mark.parametrize(
    "name", [name for name in PRESETS if load_profile(Path(name)).published.voice_to_voice_ms]
)
def test_each_value_of_a_real_service_has_its_source_or_is_assumed(name: str) -> None:
    written = (Path(rtbench_simulator.__file__).parent / "profiles" / f"{name}.yaml").read_text(
        encoding="utf-8"
    )
    settings = written[written.index("turn_taking:") : written.index("published:")].splitlines()[1:]

    assert re.search(r"Sources?: [\w-]+[ /]", written.replace("\n# ", " "))
    assert [line for line in settings if "#" not in line] == []


def test_a_profile_sets_faults_limits_quota_and_drift(tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(
        "faults: [{kind: throttled, sessions: 2-6, share: 0.5}]\nmax_session_s: 2.5\nquota:"
        " {tokens_per_minute: 6000}\ndrift: {sd: 0.2, time_constant_s: 30, seed: 4}\n"
    )

    profile = load_profile(path)

    assert profile.faults == (Fault("throttled", "upgrade", share=0.5, sessions=IndexRange(2, 6)),)
    assert profile.max_session_s == 2.5
    assert profile.quota == QuotaLimits(tokens_per_minute=6000)
    assert profile.drift == DelayDrift(0.2, 30, 4)


def test_faults_of_the_command_line_are_added_to_the_profile() -> None:
    profile = replace(quiet_profile(), faults=(Fault("reset", "tcp"),)).adjusted(
        faults=[Fault("close", "done")]
    )

    assert [fault.kind for fault in profile.faults] == ["reset", "close"]


def test_another_median_keeps_the_ratio_of_p95_and_p50() -> None:
    assert quiet_profile().adjusted(ttfa_p50_ms=100).delays.first_audio == LogNormal(100, 200)


@pytest.mark.parametrize("name", PRESETS)
def test_the_first_audio_of_each_preset_can_have_another_median(name: str) -> None:
    """`busy` has a mixture, in which one turn in fifty stalls."""
    delay = load_profile(Path(name)).adjusted(ttfa_p50_ms=100).delays.first_audio
    rng = np.random.default_rng(1)

    assert np.median([delay.draw_ms(rng) for _ in range(4_001)]) == pytest.approx(100, rel=0.05)


def test_a_capacity_makes_responses_slower_per_session_above_it() -> None:
    profile = usual_profile().adjusted(capacity=20)

    assert [round(profile.slowness(0, sessions), 9) for sessions in (1, 20, 21, 30)] == [
        1,
        1,
        1.1,
        2,
    ]
