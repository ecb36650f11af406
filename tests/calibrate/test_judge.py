"""What a step shows of the harness, and when it shows nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.calibrate.conclude import FULL, StepEvidence, dead, judge
from bench.simulator.served import LATE_MS

GOOD = StepEvidence(
    turns=1000,
    failed=0,
    unjoined=0,
    sessions=100,
    open=100,
    valid=True,
    broken="",
    worst=("ttfa", 0.2),
    late_p99=0.1,
    harness=0.5,
    simulator=0.5,
    died=False,
    others=0.0,
)


def test_a_valid_run_whose_figures_are_within_a_millisecond_is_good() -> None:
    assert judge(GOOD) == ("good", "")


@pytest.mark.parametrize(
    ("evidence", "why"),
    [
        (replace(GOOD, worst=("ttfa", 1.5)), "ttfa wrong by 1.5 ms"),
        (replace(GOOD, valid=False, broken="invalid: send_lag 6 ms > 5 ms"), "invalid: send_lag 6 ms > 5 ms"),
        (replace(GOOD, valid=None), "the run was not judged"),
        (replace(GOOD, failed=11), "11 of 1000 turns failed or were lost"),
        (replace(GOOD, unjoined=11), "11 of 1000 turns could not be compared with the truth"),
        (replace(GOOD, open=98), "only 98 of 100 sessions were open"),
        (replace(GOOD, worst=None), "no turn could be compared with the truth"),
    ],
)
def test_what_is_not_good_says_why(evidence: StepEvidence, why: str) -> None:
    assert judge(evidence) == ("bad", why)


def test_one_in_a_hundred_may_be_missing() -> None:
    assert judge(replace(GOOD, failed=10, unjoined=10, open=99)) == ("good", "")


@pytest.mark.parametrize("wrong", [{}, {"worst": ("ttfa", 20.0)}, {"valid": False}])
def test_a_simulator_that_was_late_judges_nobody(wrong: dict[str, object]) -> None:
    late = judge(replace(GOOD, late_p99=LATE_MS + 0.2, **wrong))  # type: ignore[arg-type]
    full = judge(replace(GOOD, simulator=0.99, **wrong))  # type: ignore[arg-type]

    assert late == ("late", "the simulator was late: p99 1.2 ms")
    assert full == ("late", "the simulator had no time left: 99% of its cores")
    assert judge(replace(GOOD, late_p99=LATE_MS)) == ("good", "")


@pytest.mark.parametrize("simulator", [{"late_p99": 5.0}, {"simulator": 0.99}, {"others": 0.5}])
def test_a_harness_without_time_left_is_to_blame_itself_for_what_is_wrong(simulator: dict[str, object]) -> None:
    full = replace(GOOD, harness=FULL, **simulator)  # type: ignore[arg-type]

    assert judge(replace(full, worst=("ttfa", 9.0))) == ("bad", "ttfa wrong by 9 ms; the harness had no time left")
    assert judge(full)[0] != "bad"
    assert judge(replace(full, harness=0.9, worst=("ttfa", 9.0)))[0] != "bad"


def test_a_simulator_that_died_judges_nobody_whatever_was_wrong() -> None:
    died = replace(GOOD, died=True, harness=1.0, others=0.9, failed=900, open=3)

    assert judge(died) == ("late", "the simulator died")
    assert dead("the run ended with status -9", simulator_died=True) == ("late", "the simulator died")


def test_a_run_that_did_not_come_to_its_end_was_too_much() -> None:
    assert dead("the run ended with status -9", simulator_died=False) == ("bad", "the run ended with status -9")


def test_a_simulator_that_knows_the_truth_of_no_turn_judges_nobody() -> None:
    why = "the simulator could not tell the truth of any turn"

    assert judge(replace(GOOD, worst=None, unjoined=1000)) == ("late", why)


def test_other_programs_are_blamed_for_what_is_not_good_alone() -> None:
    busy = replace(GOOD, others=0.5)

    assert judge(busy) == ("good", "")
    assert judge(replace(busy, worst=("ttfa", 2.0))) == (
        "busy", "other programs took 50% of a core (ttfa wrong by 2 ms)"
    )  # fmt: skip
    assert judge(replace(busy, late_p99=3.0))[0] == "busy"


def test_what_the_system_does_not_tell_blames_nobody() -> None:
    unknown = replace(GOOD, late_p99=None, harness=None, simulator=None, others=None)

    assert judge(unknown) == ("good", "")
    assert judge(replace(unknown, valid=False))[0] == "bad"
