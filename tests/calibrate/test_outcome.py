"""The verdict of a step on the load generator, and the steps that have none."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from bench.run.calibration import LoadStep, Percentiles
from bench.simulator.ground_truth_log import LATE_MS
from rtbench.calibrate.load_step_search import FULL, outcome_of


def spread_with_p99(p99_ms: float) -> dict[str, Percentiles]:
    """Return the errors of a step whose largest error is `p99_ms`."""
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


UNKNOWN = {"simulator_late_p99_ms": None, "cpu": None, "simulator_cpu": None, "background": None}
FAILED = "invalid: send_delay 6 ms > 5 ms"
OUTCOMES: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[str, str]]] = {
    # (differences from a good step, further arguments, the result and its reason)
    "a valid run with errors within 1 ms": ({}, {}, ("pass", "")),
    "errors above 1 ms": ({"errors": spread_with_p99(1.5)}, {}, ("fail", "ttfa wrong by 1.5 ms")),
    "not evaluated": ({"validity": "no_verdict"}, {}, ("fail", "the run has no verdict")),
    "failed turns": ({"failed": 11}, {}, ("fail", "11 of 1000 turns failed or did not start")),
    "unmatched turns": ({"unmatched": 11}, {}, ("fail", "11 of 1000 turns could not be compared with the truth")),
    "sessions that did not open": ({"open": 98}, {}, ("fail", "only 98 of 100 sessions were open")),
    "no turn with a true value": ({"errors": {}}, {}, ("fail", "no turn could be compared with the truth")),
    "one percent may be missing": ({"failed": 10, "unmatched": 10, "open": 99}, {}, ("pass", "")),
    "an invalid run names its failed check": ({"validity": "invalid"}, {"failed": FAILED}, ("fail", FAILED)),
    "a valid run has no failed check": ({}, {"failed": FAILED}, ("pass", "")),
    "the simulator has one core per process": ({"simulator_cpu": 1.9}, {"workers": 4}, ("pass", "")),
    "the simulator exceeds its cores": ({"simulator_cpu": 3.9}, {"workers": 4},
                    ("simulator_late", "the simulator had no time left: 98% of its cores")),
    "a dead simulator gives no other result":
        ({"cpu": 1.0, "background": 0.9, "failed": 900, "open": 3}, {"died": True},
         ("simulator_late", "the simulator died")),
    "a simulator without any true value gives no other result":
        ({"errors": {}, "unmatched": 1000}, {}, ("simulator_late", "the simulator could not tell the truth of any "
                                                                   "turn")),
    "unknown CPU usage is not blamed": (UNKNOWN, {}, ("pass", "")),
    "errors fail with unknown CPU usage": (UNKNOWN | {"validity": "invalid"}, {}, ("fail", "the run has no verdict")),
}  # fmt: skip


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
    assert full == ("simulator_late", "the simulator had no time left: 99% of its cores")
    assert outcome_of(replace(GOOD, simulator_late_p99_ms=LATE_MS)) == ("pass", "")


@pytest.mark.parametrize("simulator", [{"simulator_late_p99_ms": 5.0}, {"simulator_cpu": 0.99}, {"background": 0.5}])
def test_a_load_generator_at_full_cpu_is_blamed_before_simulator_and_machine(simulator: dict[str, object]) -> None:
    full = replace(GOOD, cpu=FULL, **simulator)

    why = "ttfa wrong by 9 ms; the load generator had no time left"
    assert outcome_of(replace(full, errors=spread_with_p99(9.0))) == ("fail", why)
    assert outcome_of(full)[0] != "fail"
    assert outcome_of(replace(full, cpu=0.9, errors=spread_with_p99(9.0)))[0] != "fail"


def test_a_busy_machine_is_blamed_only_if_a_step_does_not_pass() -> None:
    busy = replace(GOOD, background=0.5)

    assert outcome_of(busy) == ("pass", "")
    assert outcome_of(replace(busy, errors=spread_with_p99(2.0))) == (
        "machine_busy", "other programs took 50% of a core (ttfa wrong by 2 ms)"
    )  # fmt: skip
    assert outcome_of(replace(busy, simulator_late_p99_ms=3.0))[0] == "machine_busy"
