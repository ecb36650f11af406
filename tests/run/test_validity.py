"""The rules of validity at their limits."""

from __future__ import annotations

from typing import Any

import pytest

from bench.run.validity import Evidence, FirstDeltas, judge

BEST: dict[str, Any] = {
    "user_stamps_share": 0.0,
    "hub_delay_p99": 0.0,
    "send_lag_p99": 0.0,
    "chunk": 100.0,
    "paced_audio": True,
}


def verdict(*first_deltas: FirstDeltas, error_p99: float | None = 0.0, p50: float | None = 50.0, **changes: Any) -> Any:
    """By the first deltas of several targets, or of one."""
    return judge(Evidence(first_deltas or (FirstDeltas("one", error_p99, p50),), **BEST | changes))


def passed(**changes: Any) -> dict[str, bool | None]:
    return {rule["rule"]: rule["passed"] for rule in verdict(**changes)["rules"]}


def test_a_run_in_which_nothing_was_late_is_valid() -> None:
    assert verdict()["valid"] is True
    assert passed() == {"a": True, "b": None, "c": True, "d": None}


@pytest.mark.parametrize(
    ("rule", "changes", "ok"),
    [
        ("a", {"error_p99": 1.0}, True),
        ("a", {"error_p99": 1.001}, False),
        ("a", {"error_p99": 1.001, "p50": 100.0}, False),
        ("a", {"error_p99": 5.0, "p50": 500.0}, True),
        ("a", {"error_p99": 5.01, "p50": 500.0}, False),
        ("a", {"error_p99": 1.001, "p50": None}, False),
        ("a", {"error_p99": None}, None),
        ("b", {"user_stamps_share": 0.01, "hub_delay_p99": 900.0}, None),
        ("b", {"user_stamps_share": 0.011, "hub_delay_p99": 5.0}, True),
        ("b", {"user_stamps_share": 0.011, "hub_delay_p99": 5.001}, False),
        ("b", {"user_stamps_share": 1.0, "hub_delay_p99": 25.0, "p50": 500.0}, True),
        ("b", {"user_stamps_share": 1.0, "hub_delay_p99": 25.01, "p50": 500.0}, False),
        ("b", {"user_stamps_share": None, "hub_delay_p99": 900.0}, None),
        ("b", {"user_stamps_share": 1.0, "hub_delay_p99": None}, None),
        ("c", {"send_lag_p99": 10.0}, True),
        ("c", {"send_lag_p99": 10.001}, False),
        ("c", {"send_lag_p99": 3.0, "chunk": 20.0}, False),
        ("c", {"send_lag_p99": 900.0, "chunk": None, "paced_audio": False}, None),
        ("c", {"send_lag_p99": None, "paced_audio": False}, None),
        ("c", {"send_lag_p99": float("nan")}, None),
    ],
)
def test_a_rule_holds_up_to_its_limit(rule: str, changes: dict[str, Any], ok: bool | None) -> None:
    assert passed(**changes)[rule] is ok
    assert verdict(**changes)["valid"] is (None if changes.get("error_p99", 0) is None else ok is not False)


def test_a_run_without_a_measured_turn_is_not_judged() -> None:
    found = judge(Evidence((), **dict.fromkeys(BEST) | {"paced_audio": False}))

    assert found["valid"] is None
    assert {rule["passed"] for rule in found["rules"]} == {None}


def test_a_run_whose_paced_audio_left_no_count_is_not_judged() -> None:
    assert verdict(send_lag_p99=None)["valid"] is None
    assert verdict(send_lag_p99=None, error_p99=9.0)["valid"] is False


def test_a_rule_that_was_broken_condemns_even_a_run_without_a_measured_turn() -> None:
    assert verdict(error_p99=None, send_lag_p99=99.0)["valid"] is False


def test_the_verdict_names_the_figure_its_limit_and_the_remedy() -> None:
    (rule,) = [rule for rule in verdict(error_p99=7.5)["rules"] if rule["passed"] is False]

    assert (rule["rule"], rule["measure"], rule["figure"], rule["limit"]) == ("a", "stamp_error", 7.5, 1.0)
    assert rule["unit"] == "ms"
    assert rule["remedy"]


# Several targets.


def rule_a(*first_deltas: FirstDeltas) -> Any:
    return verdict(*first_deltas)["rules"][0]


FAST, SLOW = FirstDeltas("fast", 3.0, 200.0), FirstDeltas("slow", 6.0, 1_000.0)


@pytest.mark.parametrize("targets", [(FAST, SLOW), (SLOW, FAST)])
def test_a_slow_target_does_not_lend_its_limit_to_a_fast_one(targets: tuple[FirstDeltas, ...]) -> None:
    rule = rule_a(*targets)

    assert (rule["figure"], rule["limit"], rule["passed"]) == (3.0, 2.0, False)
    assert rule["note"] == "p99 of the first deltas, of fast"
    assert verdict(*targets)["valid"] is False


def test_the_target_that_is_nearest_to_its_limit_is_named_where_all_keep_it() -> None:
    rule = rule_a(FirstDeltas("fast", 0.5, 200.0), SLOW, FirstDeltas("silent", None, None))

    assert (rule["figure"], rule["limit"], rule["passed"]) == (6.0, 10.0, True)
    assert "slow" in rule["note"]


def test_a_single_target_is_not_named() -> None:
    assert rule_a(SLOW)["note"] == "p99 of the first deltas"


@pytest.mark.parametrize(("delay_ms", "ok"), [(10.0, True), (10.01, False)])
def test_the_process_must_keep_up_with_the_fastest_target(delay_ms: float, ok: bool) -> None:
    targets = FirstDeltas("fast", 0.0, 200.0), FirstDeltas("slow", 0.0, 1_000.0), FirstDeltas("silent", None, None)

    assert verdict(*targets, user_stamps_share=1.0, hub_delay_p99=delay_ms)["rules"][1]["passed"] is ok


def test_targets_that_are_all_silent_are_not_judged() -> None:
    assert verdict(FirstDeltas("a", None, None), FirstDeltas("b", None, None))["valid"] is None
