"""What a step shows of the harness, and when it shows nothing."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bench.calibrate.ladder import FULL, outcome_of
from bench.run.calibration import LoadStep, Spread
from bench.simulator.served import LATE_MS


def wrong_by(p99_ms: float) -> dict[str, Spread]:
    """The errors of a step that is so wrong at most."""
    return {
        "ttfa": Spread(n=1000, p50=p99_ms / 2, p99=p99_ms, p999=p99_ms, high=p99_ms),
        "response_total": Spread(n=1000, p50=0.01, p99=0.1, p999=0.1, high=0.1),
    }


GOOD = LoadStep(
    kind="listening",
    sessions=100,
    outcome="good",
    why="",
    turns=1000,
    open=100,
    valid=True,
    errors=wrong_by(0.2),
    simulator_late_p99_ms=0.1,
    cpu=0.5,
    simulator_cpu=0.5,
    background=0.0,
)


def test_a_valid_run_whose_figures_are_within_a_millisecond_is_good() -> None:
    assert outcome_of(GOOD) == ("good", "")


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (replace(GOOD, errors=wrong_by(1.5)), "ttfa wrong by 1.5 ms"),
        (replace(GOOD, valid=None), "the run was not judged"),
        (replace(GOOD, failed=11), "11 of 1000 turns failed or were lost"),
        (replace(GOOD, unjoined=11), "11 of 1000 turns could not be compared with the truth"),
        (replace(GOOD, open=98), "only 98 of 100 sessions were open"),
        (replace(GOOD, errors={}), "no turn could be compared with the truth"),
    ],
)
def test_what_is_not_good_says_why(step: LoadStep, why: str) -> None:
    assert outcome_of(step) == ("bad", why)


def test_a_run_that_is_invalid_says_which_rule_it_broke() -> None:
    broken = "invalid: send_lag 6 ms > 5 ms"

    assert outcome_of(replace(GOOD, valid=False), broken=broken) == ("bad", broken)
    assert outcome_of(GOOD, broken=broken) == ("good", "")


def test_a_simulator_has_a_core_for_each_of_its_processes() -> None:
    assert outcome_of(replace(GOOD, simulator_cpu=1.9), workers=4) == ("good", "")
    assert outcome_of(replace(GOOD, simulator_cpu=3.9), workers=4)[0] == "late"


def test_one_in_a_hundred_may_be_missing() -> None:
    assert outcome_of(replace(GOOD, failed=10, unjoined=10, open=99)) == ("good", "")


@pytest.mark.parametrize("wrong", [{}, {"errors": wrong_by(20.0)}, {"valid": False}])
def test_a_simulator_that_was_late_judges_nobody(wrong: dict[str, object]) -> None:
    late = outcome_of(replace(GOOD, simulator_late_p99_ms=LATE_MS + 0.2, **wrong))
    full = outcome_of(replace(GOOD, simulator_cpu=0.99, **wrong))

    assert late == ("late", "the simulator was late: p99 1.2 ms")
    assert full == ("late", "the simulator had no time left: 99% of its cores")
    assert outcome_of(replace(GOOD, simulator_late_p99_ms=LATE_MS)) == ("good", "")


@pytest.mark.parametrize("simulator", [{"simulator_late_p99_ms": 5.0}, {"simulator_cpu": 0.99}, {"background": 0.5}])
def test_a_harness_without_time_left_is_to_blame_itself_for_what_is_wrong(simulator: dict[str, object]) -> None:
    full = replace(GOOD, cpu=FULL, **simulator)

    why = "ttfa wrong by 9 ms; the harness had no time left"
    assert outcome_of(replace(full, errors=wrong_by(9.0))) == ("bad", why)
    assert outcome_of(full)[0] != "bad"
    assert outcome_of(replace(full, cpu=0.9, errors=wrong_by(9.0)))[0] != "bad"


def test_a_simulator_that_died_judges_nobody_whatever_was_wrong() -> None:
    died = replace(GOOD, cpu=1.0, background=0.9, failed=900, open=3)

    assert outcome_of(died, died=True) == ("late", "the simulator died")


def test_a_simulator_that_knows_the_truth_of_no_turn_judges_nobody() -> None:
    why = "the simulator could not tell the truth of any turn"

    assert outcome_of(replace(GOOD, errors={}, unjoined=1000)) == ("late", why)


def test_other_programs_are_blamed_for_what_is_not_good_alone() -> None:
    busy = replace(GOOD, background=0.5)

    assert outcome_of(busy) == ("good", "")
    assert outcome_of(replace(busy, errors=wrong_by(2.0))) == (
        "busy", "other programs took 50% of a core (ttfa wrong by 2 ms)"
    )  # fmt: skip
    assert outcome_of(replace(busy, simulator_late_p99_ms=3.0))[0] == "busy"


def test_what_the_system_does_not_tell_blames_nobody() -> None:
    unknown = replace(GOOD, simulator_late_p99_ms=None, cpu=None, simulator_cpu=None, background=None)

    assert outcome_of(unknown) == ("good", "")
    assert outcome_of(replace(unknown, valid=False))[0] == "bad"
