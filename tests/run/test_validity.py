"""The rules of validity at their limits."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from bench.metrics import HEADLINE
from bench.run.document import Check
from bench.run.evidence import _starved_share
from bench.run.validity import MORE_PROCESSES, Evidence, Exactness, judge

STATUS = {True: "valid", False: "invalid", None: "no_verdict"}
RESULT = {True: "pass", False: "fail", None: "not_evaluated"}

BEST: dict[str, Any] = {
    "user_stamps_share": 0.0,
    "event_loop_delay_p99": 0.0,
    "send_delay_p99": 0.0,
    "chunk": 100.0,
    "paced_audio": True,
}


def verdict(*metrics: Exactness, error_p99: float | None = 0.0, p50: float | None = 50.0, **changes: Any) -> Any:
    """By metrics of several targets, or by the ttfa of one."""
    return judge(Evidence(metrics or (Exactness("one", "ttfa", error_p99, p50),), **BEST | changes))


def results(**changes: Any) -> dict[str, str]:
    return {check.name: check.result for check in verdict(**changes).checks}


def test_a_run_in_which_nothing_was_late_is_valid() -> None:
    assert verdict().status == "valid"
    assert results() == {
        "timestamp_uncertainty": "pass",
        "event_loop_delay": "not_evaluated",
        "send_delay": "pass",
        "start_delay": "not_evaluated",
    }


@pytest.mark.parametrize(
    ("check", "changes", "ok"),
    [
        ("timestamp_uncertainty", {"error_p99": 1.0}, True),
        ("timestamp_uncertainty", {"error_p99": 1.001}, False),
        ("timestamp_uncertainty", {"error_p99": 1.001, "p50": 100.0}, False),
        ("timestamp_uncertainty", {"error_p99": 5.0, "p50": 500.0}, True),
        ("timestamp_uncertainty", {"error_p99": 5.01, "p50": 500.0}, False),
        ("timestamp_uncertainty", {"error_p99": 1.001, "p50": None}, False),
        ("timestamp_uncertainty", {"error_p99": None}, None),
        ("event_loop_delay", {"user_stamps_share": 0.01, "event_loop_delay_p99": 900.0}, None),
        ("event_loop_delay", {"user_stamps_share": 0.011, "event_loop_delay_p99": 5.0}, True),
        ("event_loop_delay", {"user_stamps_share": 0.011, "event_loop_delay_p99": 5.001}, False),
        ("event_loop_delay", {"user_stamps_share": 1.0, "event_loop_delay_p99": 25.0, "p50": 500.0}, True),
        ("event_loop_delay", {"user_stamps_share": 1.0, "event_loop_delay_p99": 25.01, "p50": 500.0}, False),
        ("event_loop_delay", {"user_stamps_share": None, "event_loop_delay_p99": 900.0}, None),
        ("event_loop_delay", {"user_stamps_share": 1.0, "event_loop_delay_p99": None}, None),
        ("send_delay", {"send_delay_p99": 10.0}, True),
        ("send_delay", {"send_delay_p99": 10.001}, False),
        ("send_delay", {"send_delay_p99": 3.0, "chunk": 20.0}, False),
        ("send_delay", {"send_delay_p99": 900.0, "chunk": None, "paced_audio": False}, None),
        ("send_delay", {"send_delay_p99": None, "paced_audio": False}, None),
        ("send_delay", {"send_delay_p99": float("nan")}, None),
    ],
)
def test_a_rule_holds_up_to_its_limit(check: str, changes: dict[str, Any], ok: bool | None) -> None:
    assert results(**changes)[check] == RESULT[ok]
    assert verdict(**changes).status == STATUS[None if changes.get("error_p99", 0) is None else ok is not False]


VALID: dict[str, tuple[list[Exactness], dict[str, Any], bool | None]] = {
    "a run whose paced audio left no count is not judged": ([], {"send_delay_p99": None}, None),
    "unless another check was broken": ([], {"send_delay_p99": None, "error_p99": 9.0}, False),
    "a check that was broken condemns even a run without a measured turn":
        ([], {"error_p99": None, "send_delay_p99": 99.0}, False),
    "targets that are all silent are not judged":
        ([Exactness("a", "ttfa", None, None), Exactness("b", "ttfa", None, None)], {}, None),
    **{f"{name} is judged": ([Exactness("sim", name, 30.0, 400.0)], {}, False) for name in HEADLINE},
}  # fmt: skip


@pytest.mark.parametrize(("metrics", "changes", "valid"), VALID.values(), ids=VALID)
def test_a_run_is_valid_where_no_rule_was_broken_and_judged_where_all_is_known(
    metrics: list[Exactness], changes: dict[str, Any], valid: bool | None
) -> None:
    assert verdict(*metrics, **changes).status == STATUS[valid]


def test_a_run_without_a_measured_turn_is_not_judged() -> None:
    unknown: dict[str, Any] = dict.fromkeys(BEST) | {"paced_audio": False}
    found = judge(Evidence((), **unknown))

    assert found.status == "no_verdict"
    assert {check.result for check in found.checks} == {"not_evaluated"}


def test_where_others_had_the_cores_the_remedy_is_not_to_lower_the_load() -> None:
    (broken,) = [check for check in verdict(send_delay_p99=99.0, filled_by="end them").checks if check.result == "fail"]

    assert broken.remedy == "end them"


def test_the_verdict_names_the_figure_its_limit_and_the_remedy() -> None:
    (check,) = [check for check in verdict(error_p99=7.5).checks if check.result == "fail"]

    assert (check.name, check.value, check.limit) == ("timestamp_uncertainty", 7.5, 1.0)
    assert check.unit == "ms"
    assert check.remedy


# Several targets.


def rule_a(*metrics: Exactness) -> Any:
    return verdict(*metrics).checks[0]


FAST, SLOW = Exactness("fast", "ttfa", 3.0, 200.0), Exactness("slow", "ttfa", 6.0, 1_000.0)


@pytest.mark.parametrize("targets", [(FAST, SLOW), (SLOW, FAST)])
def test_a_slow_target_does_not_lend_its_limit_to_a_fast_one(targets: tuple[Exactness, ...]) -> None:
    check = rule_a(*targets)

    assert (check.value, check.limit, check.result) == (3.0, 2.0, "fail")
    assert check.note == "ttfa of fast"
    assert verdict(*targets).status == "invalid"


def test_the_target_that_is_nearest_to_its_limit_is_named_where_all_keep_it() -> None:
    check = rule_a(Exactness("fast", "ttfa", 0.5, 200.0), SLOW, Exactness("silent", "ttfa", None, None))

    assert (check.value, check.limit, check.result) == (6.0, 10.0, "pass")
    assert "slow" in check.note
    assert rule_a(SLOW).note == "ttfa", "a single target is not named"


@pytest.mark.parametrize(("delay_ms", "ok"), [(10.0, True), (10.01, False)])
def test_the_process_must_keep_up_with_the_fastest_target(delay_ms: float, ok: bool) -> None:
    waits = {"fast": 200.0, "slow": 1_000.0, "silent": None}
    targets = [Exactness(name, "ttfa", None if p50 is None else 0.0, p50) for name, p50 in waits.items()]

    assert verdict(*targets, user_stamps_share=1.0, event_loop_delay_p99=delay_ms).checks[1].result == RESULT[ok]


def test_turns_that_count_from_another_instant_do_not_lend_their_limit() -> None:
    typed, spoken = (
        Exactness("one", "ttfa", 3.0, 200.0, measured_from="request_sent"),
        Exactness("one", "ttfa", 3.0, 900.0, measured_from="speech_end"),
    )
    found = verdict(typed, spoken)

    assert (found.checks[0].limit, found.checks[0].result) == (2.0, "fail")
    assert found.checks[0].note == "ttfa from request_sent"
    assert [(entry["metric"], entry["limit"]) for entry in found.uncertain_metrics] == [("ttfa", 2.0)]


# Several metrics.


def test_a_run_is_invalid_by_its_transcript_latency_however_exact_its_audio_is() -> None:
    found = verdict(Exactness("sim", "ttfa", 0.0, 500.0), Exactness("sim", "transcript_first", 30.0, 400.0))

    assert found.status == "invalid"
    assert (found.checks[0].value, found.checks[0].limit) == (30.0, 4.0)
    assert found.checks[0].note == "transcript_first"


WELL = Exactness("sim", "ttfa", 0.0, 500.0)
INEXACT: dict[str, tuple[list[Exactness], bool, list[tuple[str, float | None, float]]]] = {
    # (measures, whether the run is valid, what is listed as not exact: measure, figure, limit)
    "a headline metric": ([Exactness("sim", "ttfa", 9.0, 500.0)], False, [("ttfa", 9.0, 5.0)]),
    "a metric beside the headline leaves the run valid":
        ([WELL, Exactness("sim", "response_total", 30.0, 2_000.0), Exactness("sim", "end_of_turn_delay", 1.0, 40.0)],
         True, [("response_total", 30.0, 20.0)]),
    "a speed without an end to its bound has no figure":
        ([WELL, Exactness("sim", "audio_speed", float("inf"), 2.0, "×")], True, [("audio_speed", None, 0.02)]),
    "what nobody knows is not called wrong": ([WELL, Exactness("sim", "stall_duration", None, 0.0)], True, []),
}  # fmt: skip


@pytest.mark.parametrize(("metrics", "valid", "listed"), INEXACT.values(), ids=INEXACT)
def test_what_is_not_exact_is_listed(
    metrics: list[Exactness], valid: bool, listed: list[tuple[str, float | None, float]]
) -> None:
    found = verdict(*metrics)

    assert found.status == STATUS[valid]
    assert [(entry["metric"], entry["value"], entry["limit"]) for entry in found.uncertain_metrics] == listed


def test_an_entry_of_what_is_not_exact_names_its_target_and_unit() -> None:
    (entry,) = verdict(Exactness("sim", "ttfa", 9.0, 500.0)).uncertain_metrics

    assert entry == {"target": "sim", "metric": "ttfa", "value": 9.0, "limit": 5.0, "unit": "ms"}


@pytest.mark.parametrize(("bound", "exact"), [(0.02, True), (0.021, False), (float("inf"), False)])
def test_a_speed_is_exact_to_one_percent(bound: float, exact: bool) -> None:
    assert Exactness("sim", "audio_speed", bound, 2.0, "×").exact is exact


def test_calls_that_start_late_by_the_harness_make_a_run_invalid() -> None:
    on_time = verdict(start_delay_p99=4.9, service_time_p50=60.0)
    slow_service = verdict(start_delay_p99=40.0, service_time_p50=900.0)
    late = verdict(start_delay_p99=5.1, service_time_p50=60.0)

    assert (on_time.status, slow_service.status, late.status) == ("valid", "valid", "invalid")
    (check,) = [check for check in late.checks if check.result == "fail"]
    assert (check.name, check.value, check.limit) == ("start_delay", 5.1, 5.0)


def test_a_closed_loop_has_no_start_that_could_be_late() -> None:
    (check,) = [check for check in verdict().checks if check.name == "start_delay"]

    assert check.result == "not_evaluated"
    assert check.note.startswith("closed loop")


# Several hosts, and parts of a merged run.


def of_host(host: str, error_p99: float = 0.0, **changes: Any) -> Evidence:
    return Evidence((Exactness("one", "ttfa", error_p99, 50.0, host=host),), **BEST | {"host": host} | changes)


def test_each_rule_is_that_of_the_host_that_breaks_it() -> None:
    verdict = judge(of_host(""), of_host("red", error_p99=3.0), of_host("blue", send_delay_p99=11.0))
    broken = {check.name: check.note for check in verdict.checks if check.result == "fail"}
    assert broken == {"timestamp_uncertainty": "ttfa, on red", "send_delay": "a tenth of a chunk, on blue"}
    assert verdict.status == "invalid"
    assert [entry["host"] for entry in verdict.uncertain_metrics] == ["red"]


def test_hosts_that_keep_the_rules_leave_the_verdict_as_it_is() -> None:
    assert judge(of_host(""), of_host("red"), of_host("blue")) == judge(of_host(""))


def test_a_host_whose_send_delay_is_not_known_leaves_a_run_of_paced_audio_unjudged() -> None:
    assert judge(of_host(""), of_host("red", send_delay_p99=None)).status == "no_verdict"


def test_a_rule_that_a_part_broke_is_broken() -> None:
    check = Check("send_delay", 12.0, 10.0, "fail", "p99, in the part x on red", "")
    verdict = judge(of_host("", failed=(check,)))
    assert [check.note for check in verdict.checks if check.result == "fail"] == ["p99, in the part x on red"]
    assert verdict.status == "invalid"


STARVED_ONES: dict[str, tuple[dict[str, float], float, bool, str]] = {
    "a hundredth may be": ({"starved_share": 0.01}, 1.0, True, MORE_PROCESSES),
    "more are too many": ({"starved_share": 0.0101}, 1.01, False, MORE_PROCESSES),
    "those that are missing are added": ({"starved_share": 0.006, "missing_share": 0.006}, 1.2, False,
                                         f"merge what is missing once it is there, or run it again; {MORE_PROCESSES}"),
}  # fmt: skip


@pytest.mark.parametrize(("shares", "figure", "valid", "remedy"), STARVED_ONES.values(), ids=STARVED_ONES)
def test_turns_of_which_nobody_knows_how_they_ended_are_missing(
    shares: dict[str, float], figure: float, valid: bool, remedy: str
) -> None:
    verdict = judge(of_host("", **shares))
    (check,) = (check for check in verdict.checks if check.name == "missing_data")
    assert (check.value, check.result, check.remedy) == (figure, RESULT[valid], remedy)
    assert verdict.status == STATUS[valid]


def test_starved_turns_of_the_warm_up_are_not_counted() -> None:
    rows = pa.table({
        "phase": ["warmup", "measurement", None, "measurement", "measurement"],
        "outcome": ["starved", "starved", "ok", "unfinished", None],
    })  # fmt: skip
    assert _starved_share(lambda table, columns: rows.select(columns)) == 0.25
    assert _starved_share(lambda table, columns: rows.select(columns).slice(0, 0)) == 0.0


@pytest.mark.parametrize(
    ("share", "figure", "valid"), [(0.01, 1.0, True), (0.0101, 1.01, False), (float("nan"), None, False)]
)
def test_what_is_missing_may_be_a_hundredth(share: float, figure: float | None, valid: bool) -> None:
    verdict = judge(of_host("", missing_share=share))
    assert [(check.value, check.result) for check in verdict.checks if check.name == "missing_data"] == [
        (figure, RESULT[valid])
    ]
    assert verdict.status == STATUS[valid]


def test_what_the_user_has_to_mend_first_is_the_remedy_of_missing_parts() -> None:
    refused = "this worker is rtbench 1.0, and its master is 1.1: install the same version on both"
    verdict = judge(of_host("", missing_share=0.5, refused=refused))

    (check,) = (check for check in verdict.checks if check.name == "missing_data")
    assert check.remedy == f"{refused}; then run it again"
