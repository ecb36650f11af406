"""The rules of validity at their limits."""

from __future__ import annotations

from typing import Any

import pytest

from bench.run.validity import Evidence, judge

BEST: dict[str, Any] = {
    "first_delta_error_p99": 0.0,
    "first_delta_p50": 50.0,
    "user_stamps_share": 0.0,
    "hub_delay_p99": 0.0,
    "send_lag_p99": 0.0,
    "chunk": 100.0,
    "paced_audio": True,
}


def verdict(**changes: Any) -> dict[str, Any]:
    return judge(Evidence(**BEST | changes))


def passed(**changes: Any) -> dict[str, bool | None]:
    return {rule["rule"]: rule["passed"] for rule in verdict(**changes)["rules"]}


def test_a_run_in_which_nothing_was_late_is_valid() -> None:
    assert verdict()["valid"] is True
    assert passed() == {"a": True, "b": None, "c": True, "d": None}


@pytest.mark.parametrize(
    ("rule", "changes", "ok"),
    [
        ("a", {"first_delta_error_p99": 1.0}, True),
        ("a", {"first_delta_error_p99": 1.001}, False),
        ("a", {"first_delta_error_p99": 1.001, "first_delta_p50": 100.0}, False),
        ("a", {"first_delta_error_p99": 5.0, "first_delta_p50": 500.0}, True),
        ("a", {"first_delta_error_p99": 5.01, "first_delta_p50": 500.0}, False),
        ("a", {"first_delta_error_p99": 1.001, "first_delta_p50": None}, False),
        ("a", {"first_delta_error_p99": None}, None),
        ("b", {"user_stamps_share": 0.01, "hub_delay_p99": 900.0}, None),
        ("b", {"user_stamps_share": 0.011, "hub_delay_p99": 5.0}, True),
        ("b", {"user_stamps_share": 0.011, "hub_delay_p99": 5.001}, False),
        ("b", {"user_stamps_share": 1.0, "hub_delay_p99": 25.0, "first_delta_p50": 500.0}, True),
        ("b", {"user_stamps_share": 1.0, "hub_delay_p99": 25.01, "first_delta_p50": 500.0}, False),
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
    assert verdict(**changes)["valid"] is (None if changes.get("first_delta_error_p99", 0) is None else ok is not False)


def test_a_run_without_a_measured_turn_is_not_judged() -> None:
    nothing: dict[str, Any] = dict.fromkeys(BEST) | {"paced_audio": False}

    assert judge(Evidence(**nothing))["valid"] is None
    assert {rule["passed"] for rule in judge(Evidence(**nothing))["rules"]} == {None}


def test_a_run_whose_paced_audio_left_no_count_is_not_judged() -> None:
    assert verdict(send_lag_p99=None)["valid"] is None
    assert verdict(send_lag_p99=None, first_delta_error_p99=9.0)["valid"] is False


def test_a_rule_that_was_broken_condemns_even_a_run_without_a_measured_turn() -> None:
    assert verdict(first_delta_error_p99=None, send_lag_p99=99.0)["valid"] is False


def test_the_verdict_names_the_figure_its_limit_and_the_remedy() -> None:
    (rule,) = [rule for rule in verdict(first_delta_error_p99=7.5)["rules"] if rule["passed"] is False]

    assert (rule["rule"], rule["measure"], rule["figure"], rule["limit"]) == ("a", "stamp_error", 7.5, 1.0)
    assert rule["unit"] == "ms"
    assert rule["remedy"]
