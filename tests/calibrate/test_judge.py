"""What a step shows of the harness, and when it shows nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.calibrate.judge import Evidence, judge

GOOD = Evidence(
    turns=1000, failed=0, valid=True, broken="", worst=("ttfa", 0.2), late_p99=0.1, simulator=0.5, others=0.0
)


def test_a_valid_run_whose_figures_are_within_a_millisecond_is_good() -> None:
    assert judge(GOOD) == ("good", "")


@pytest.mark.parametrize(
    ("evidence", "why"),
    [
        (replace(GOOD, worst=("ttfa", 1.5)), "ttfa wrong by 1.5 ms"),
        (replace(GOOD, valid=False, broken="invalid: send_lag 6 ms > 5 ms"), "invalid: send_lag 6 ms > 5 ms"),
        (replace(GOOD, valid=None), "the run was not judged"),
        (replace(GOOD, failed=11), "11 of 1000 turns failed"),
        (replace(GOOD, worst=None), "no turn could be compared with the truth"),
    ],
)
def test_what_is_not_good_says_why(evidence: Evidence, why: str) -> None:
    assert judge(evidence) == ("bad", why)


@pytest.mark.parametrize("wrong", [{}, {"worst": ("ttfa", 20.0)}, {"valid": False}])
def test_a_simulator_that_was_late_judges_nobody(wrong: dict[str, object]) -> None:
    late = judge(replace(GOOD, late_p99=0.7, **wrong))  # type: ignore[arg-type]
    full = judge(replace(GOOD, simulator=0.99, **wrong))  # type: ignore[arg-type]

    assert late == ("late", "the simulator was late: p99 0.7 ms")
    assert full == ("late", "the simulator had no time left: 99% of its cores")


def test_other_programs_are_blamed_for_what_is_not_good_alone() -> None:
    busy = replace(GOOD, others=0.5)

    assert judge(busy) == ("good", "")
    assert judge(replace(busy, worst=("ttfa", 2.0))) == (
        "busy", "other programs took 50% of a core (ttfa wrong by 2 ms)"
    )  # fmt: skip
    assert judge(replace(busy, late_p99=3.0))[0] == "busy"


def test_what_the_system_does_not_tell_blames_nobody() -> None:
    unknown = replace(GOOD, late_p99=None, simulator=None, others=None)

    assert judge(unknown) == ("good", "")
    assert judge(replace(unknown, valid=False))[0] == "bad"
