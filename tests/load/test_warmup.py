"""How much of a run's beginning is kept apart."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.load.planning.planned import MOST_OF_RUN, ramp_up_s, session_s, warmup_s
from bench.plan.script import load_script
from tests.load.actors import tone

TIMES = st.floats(0, 1e5)


@pytest.mark.parametrize(
    ("given_s", "run_time_s", "ramp_s", "longest_s", "cut_s"),
    [
        (None, 599, 30, 10, 0),
        (None, None, 30, 10, 0),
        (None, 600, 30, 10, 60),
        (None, 600, 90, 20, 110),
        (None, 600, 3_000, 20, 300),
        (0, 3_600, 30, 10, 0),
        (5, 60, 30, 10, 5),
        (5, None, 30, 10, 5),
    ],
)
def test_a_long_run_cuts_its_ramp_up_and_a_session_and_a_short_one_nothing(
    given_s: float | None, run_time_s: float | None, ramp_s: float, longest_s: float, cut_s: float
) -> None:
    assert warmup_s(given_s, run_time_s, ramp_s, longest_s) == cut_s


@given(st.none() | TIMES, TIMES, TIMES)
def test_what_nobody_asked_for_never_takes_most_of_a_run(
    run_time_s: float | None, ramp_s: float, longest_s: float
) -> None:
    assert 0 <= warmup_s(None, run_time_s, ramp_s, longest_s) <= MOST_OF_RUN * (run_time_s or 0)


def test_a_ramp_up_lasts_until_the_slowest_arm_has_opened_a_session_for_every_user() -> None:
    assert ramp_up_s(60, 2.0, [None, None]) == 30
    assert ramp_up_s(60, 2.0, [None, 30.0]) == 120
    assert ramp_up_s(60, 2.0, [600.0, 30.0]) == 120


def test_a_session_lasts_as_long_as_the_longest_script_speaks_and_is_silent(tmp_path: Path) -> None:
    for name, seconds in (("short", 0.5), ("long", 1.5)):
        tone(tmp_path / f"{name}.wav", seconds)
    (tmp_path / "spoken.yaml").write_text("steps:\n  - audio: [short.wav, long.wav]\n  - pause: 2\n  - text: Thanks\n")
    (tmp_path / "typed.yaml").write_text("steps:\n  - text: Hello\n")
    scripts = [load_script(tmp_path / f"{name}.yaml") for name in ("spoken", "typed")]

    assert session_s(scripts) == pytest.approx(3.5, abs=0.01)
    (tmp_path / "typed.yaml").write_text("steps:\n  - text: Hello\n  - pause: {median: 4, sigma: 0.5}\n")
    assert session_s([*scripts, load_script(tmp_path / "typed.yaml")]) == pytest.approx(4 * math.exp(0.125))
    (tmp_path / "typed.yaml").write_text(
        "session: {turn_detection: server_vad}\nsteps:\n"
        "  - sound: {audio: long.wav, kind: talking_to_others, during: silence}\n"
        "  - text: Hello\n  - sound: {audio: long.wav, kind: talking_to_others}\n"
    )
    assert session_s([load_script(tmp_path / "typed.yaml")]) == pytest.approx(1.5 + 2, abs=0.01)
    assert session_s(scripts[1:]) == session_s([]) == 0
