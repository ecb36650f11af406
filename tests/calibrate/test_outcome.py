"""The verdict of a step about the load generator. Some steps have no verdict."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from bench.record.calibration import LoadStep, Outcome, Percentiles
from reports.results.value import Reason
from rtbench.calibrate.load_step_search import FULL
from rtbench.calibrate.load_step_search import outcome_of as coded_outcome
from rtbench.calibrate.text import reason_text
from rtbench_simulator.ground_truth_log import LATE_MS


def spread_with_p99(p99_ms: float) -> dict[str, Percentiles]:
    """Return the errors of a step. The largest error has a p99 of `p99_ms`."""
    return {
        "ttfa": Percentiles(n=1000, p50=p99_ms / 2, p99=p99_ms, p999=p99_ms, high=p99_ms),
        "response_total": Percentiles(n=1000, p50=0.01, p99=0.1, p999=0.1, high=0.1),
    }


GOOD = LoadStep(
    kind="text",
    sessions=100,
    result="pass",
    why="",
    turns=1000,
    open=100,
    validity="valid",
    errors=spread_with_p99(0.2),
    simulator_late_p99_ms=0.1,
    cpu=0.5,
    simulator_cpu=0.5,
    background=0.0,
)


def outcome_of(step: LoadStep, **known: Any) -> tuple[Outcome, str]:
    """Return the outcome of a step, with the reason as a text."""
    outcome, reason = coded_outcome(step, **known)
    return outcome, reason_text(reason)


UNKNOWN = {"simulator_late_p99_ms": None, "cpu": None, "simulator_cpu": None, "background": None}
FAILED_CHECK = Reason(
    "check_failed", {"name": "send_delay", "value": 6.0, "unit": "ms", "limit": 5.0}
)
FAILED = "invalid: send_delay 6 ms > 5 ms"
OUTCOMES: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[str, str]]] = {
    # (differences from a good step, further arguments, the result and its reason)
    "a valid run whose figures are within a millisecond": ({}, {}, ("pass", "")),
    "wrong by more": (
        {"errors": spread_with_p99(1.5)},
        {},
        ("fail", "the error (p99) of ttfa is 1.5 ms"),
    ),
    "not evaluated": ({"validity": "no_verdict"}, {}, ("fail", "the run has no verdict")),
    "turns that failed": ({"failed": 11}, {}, ("fail", "11 of 1000 turns failed or did not start")),
    "turns without a truth": (
        {"unmatched": 11},
        {},
        ("fail", "11 of 1000 turns could not be compared with the ground truth"),
    ),
    "sessions that did not open": ({"open": 98}, {}, ("fail", "only 98 of 100 sessions were open")),
    "no turn with a truth": (
        {"errors": {}},
        {},
        ("fail", "no turn could be compared with the ground truth"),
    ),
    "one in a hundred may be missing": (
        {"failed": 10, "unmatched": 10, "open": 99},
        {},
        ("pass", ""),
    ),
    "an invalid run says which rule it broke": (
        {"validity": "invalid"},
        {"failed": FAILED_CHECK},
        ("fail", FAILED),
    ),
    "a valid one broke none": ({}, {"failed": FAILED_CHECK}, ("pass", "")),
    "a simulator has a core for each of its processes": (
        {"simulator_cpu": 1.9},
        {"workers": 4},
        ("pass", ""),
    ),
    "and no more": (
        {"simulator_cpu": 3.9},
        {"workers": 4},
        ("simulator_late", "the simulator was overloaded: it used 98% of its cores"),
    ),
    "a simulator that died gives no result whatever was wrong": (
        {"cpu": 1.0, "background": 0.9, "failed": 900, "open": 3},
        {"died": True},
        ("simulator_late", "the simulator died"),
    ),
    "a simulator that knows the truth of no turn gives no result": (
        {"errors": {}, "unmatched": 1000},
        {},
        ("simulator_late", "the simulator has no ground truth for any turn"),
    ),
    "what the system does not tell blames no program": (UNKNOWN, {}, ("pass", "")),
    "what is wrong is wrong even so": (
        UNKNOWN | {"validity": "invalid"},
        {},
        ("fail", "the run has no verdict"),
    ),
}


@pytest.mark.parametrize(("changes", "known", "outcome"), OUTCOMES.values(), ids=OUTCOMES)
def test_a_step_that_does_not_pass_has_a_reason(
    changes: dict[str, Any], known: dict[str, Any], outcome: tuple[str, str]
) -> None:
    assert outcome_of(replace(GOOD, **changes), **known) == outcome


@pytest.mark.parametrize("wrong", [{}, {"errors": spread_with_p99(20.0)}, {"validity": "invalid"}])
def test_a_step_with_a_late_simulator_has_no_other_result(wrong: dict[str, object]) -> None:
    late = outcome_of(replace(GOOD, simulator_late_p99_ms=LATE_MS + 0.2, **wrong))
    full = outcome_of(replace(GOOD, simulator_cpu=0.99, **wrong))

    assert late == ("simulator_late", "the simulator was late: p99 1.2 ms")
    assert full == ("simulator_late", "the simulator was overloaded: it used 99% of its cores")
    assert outcome_of(replace(GOOD, simulator_late_p99_ms=LATE_MS)) == ("pass", "")


@pytest.mark.parametrize(
    "simulator", [{"simulator_late_p99_ms": 5.0}, {"simulator_cpu": 0.99}, {"background": 0.5}]
)
def test_a_load_generator_at_full_cpu_is_blamed_before_simulator_and_machine(
    simulator: dict[str, object],
) -> None:
    full = replace(GOOD, cpu=FULL, **simulator)

    why = "the error (p99) of ttfa is 9 ms; the load generator used all of its CPU time"
    assert outcome_of(replace(full, errors=spread_with_p99(9.0))) == ("fail", why)
    assert outcome_of(full)[0] != "fail"
    assert outcome_of(replace(full, cpu=0.9, errors=spread_with_p99(9.0)))[0] != "fail"


def test_a_busy_machine_is_blamed_only_if_a_step_does_not_pass() -> None:
    busy = replace(GOOD, background=0.5)

    assert outcome_of(busy) == ("pass", "")
    assert outcome_of(replace(busy, errors=spread_with_p99(2.0))) == (
        "machine_busy",
        "other programs used 50% of a core (the error (p99) of ttfa is 2 ms)",
    )
    assert outcome_of(replace(busy, simulator_late_p99_ms=3.0))[0] == "machine_busy"
