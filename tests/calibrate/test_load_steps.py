"""The runs of a step of a calibration, and the order in which a calibration tries loads."""

from __future__ import annotations

import site
from pathlib import Path

import pytest

from bench.base.errors import UsageError
from bench.plan.script import load_script
from bench.record.calibration import AGENTS, KINDS, Outcome, SessionKind
from bench.services.names import DialectName
from rtbench.calibrate import load_steps as climbing
from rtbench.calibrate.load_search import LoadGrid
from rtbench.calibrate.load_step_search import max_duration
from rtbench.calibrate.load_steps import LoadStepTiming, pace_of, plan_of, run_load_steps
from rtbench_simulator.profile import load_profile
from tests.calibrate.builders import build_step


@pytest.mark.parametrize(
    ("kind", "sessions", "steady_s"),
    [("voice", 400, 12), ("voice", 200, 23), ("voice", 5, 40), ("text", 30, 20), ("text", 100, 10)],
)
def test_the_duration_of_a_step_allows_a_p99_within_a_limit(
    kind: SessionKind, sessions: int, steady_s: int
) -> None:
    assert pace_of(plan_of(1600, quick=False), kind, sessions) == LoadStepTiming(5, steady_s)


def test_a_quick_step_has_a_fixed_duration() -> None:
    assert pace_of(plan_of(1600, quick=True), "voice", 5) == LoadStepTiming(3, 8)


def test_a_calibration_takes_at_most_ten_minutes() -> None:
    assert 5 < plan_of(1600, quick=False).minutes_at_most < 10
    assert plan_of(1600, quick=True).minutes_at_most < 3


@pytest.mark.parametrize(
    ("outcomes", "loads"),
    [
        (["pass", "pass", "fail", "fail"], [100, 200, 400, 400]),
        (["pass", "machine_busy", "pass", "simulator_late", "pass"], [100, 200, 200, 400, 400]),
        (["simulator_late", "simulator_late", "pass", "pass", "pass"], [100, 100, 50, 71, 84]),
        (["machine_busy", "machine_busy"], [100, 100]),
        (["fail", "machine_busy", "machine_busy", "machine_busy"], [100, 100, 50]),
        (["machine_busy", "fail", "fail", "fail", "pass"], [100, 100, 50, 50, 25]),
    ],
)
def test_a_load_that_does_not_pass_is_tried_again_and_two_busy_steps_end_the_search(
    outcomes: list[Outcome], loads: list[int]
) -> None:
    given = iter(outcomes)
    steps = run_load_steps(
        "text",
        LoadGrid(100, 400, precision=0.25),
        lambda kind, n: build_step(n, next(given), kind=kind),
    )

    assert [step.sessions for _, step in zip(loads, steps, strict=False)] == loads
    if outcomes.count("machine_busy") > 1:
        assert next(steps, None) is None


def test_the_maximum_duration_of_the_steps_is_computed_before_they_run() -> None:
    assert max_duration(LoadGrid(100, 1600, precision=0.25), lambda _: 10) == 100
    assert max_duration(LoadGrid(100, 1600, precision=3.0, factor=4), float) == 100 + 400 + 2 * 1600
    assert max_duration(LoadGrid(100, 40), lambda sessions: sessions / 2) == 20


@pytest.mark.parametrize("kind", [*KINDS, *AGENTS])
def test_each_kind_of_session_has_a_valid_script(kind: SessionKind, tmp_path: Path) -> None:
    climbing._write_scenario(kind, tmp_path)
    script = load_script(tmp_path / "script.yaml")

    assert len(script.steps) == climbing.STEPS + (kind in AGENTS)
    assert (script.session.turn_detection is not None) == (kind != "text")
    assert load_profile(tmp_path / "profile.yaml").generation_speed == 6.0


def test_each_dialect_is_called_by_its_own_url(tmp_path: Path) -> None:
    names: dict[DialectName, str] = {"ga": "ga", "voice-live": "voice_live", "sip": "agent_sip"}
    for dialect, name in names.items():
        ready = {"urls": {name: "ws://its-own", "gemini": "ws://another"}, "ca": None}
        words = climbing._arguments(
            dialect, tmp_path / "scenario.py", tmp_path, 10, LoadStepTiming(5, 10), ready
        )

        assert words[words.index("--url") : words.index("--url") + 4] == [
            "--url",
            "ws://its-own",
            "--dialect",
            dialect,
        ]


def test_a_dialect_without_ground_truth_of_turns_is_refused() -> None:
    for dialect in ("gpt-live", "stepfun"):
        with pytest.raises(
            UsageError, match=f"cannot call --dialect {dialect}: use one of ga, preview, .*gemini"
        ):
            climbing.refuse_without_truth(dialect)


def test_a_telephone_is_called_over_tls_if_the_simulator_uses_it(tmp_path: Path) -> None:
    ready = {
        "urls": {"agent_sip": "sip:agent@here", "agent_sips": "sips:agent@here"},
        "ca": "ca.pem",
    }
    words = climbing._arguments(
        "sip", tmp_path / "scenario.py", tmp_path, 10, LoadStepTiming(5, 10), ready
    )

    assert words[words.index("--url") + 1] == "sips:agent@here"


def test_locust_and_proxy_variables_are_not_passed_to_a_step() -> None:
    given = {"LOCUST_USERS": "9", "https_proxy": "http://proxy", "ALL_PROXY": "x", "PATH": "/bin"}
    kept = climbing._environment(given, Path("/scratch"))

    assert kept.keys() == {"PATH", "HOME", "PYTHONUSERBASE"}
    assert kept["PATH"] == "/bin"


def test_the_home_folder_is_not_passed_to_a_step_but_its_packages_are(tmp_path: Path) -> None:
    given = {
        "HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path),
    }
    kept = climbing._environment(given, Path("/scratch"))

    assert kept == {"HOME": "/scratch", "PYTHONUSERBASE": site.getuserbase()}


def test_the_simulator_has_one_worker_per_core(tmp_path: Path) -> None:
    alone, four = (
        climbing._simulated(tmp_path, tmp_path / "truth.jsonl", n, tls=n == 4) for n in (1, 4)
    )

    assert "--workers" not in alone
    assert four[-3:] == ["--workers", "4", "--tls"]
