"""A run with a peak of load: its values, its section, its thresholds, and what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.base.errors import UsageError
from bench.record.folder import read_document, write_document
from reports.analysis.check.check import check_of
from reports.analysis.summary.summary import Summary, summarise
from reports.data.runs import load_for_report
from reports.metrics.thresholds import parse
from reports.pages.run_report.sections.overload import overload
from reports.results.value import Value
from reports.text.reasons import reason_text
from tests.reports.edited import Row, edit
from tests.reports.synthetic import BEGAN_NS, Plan, write

S = 10**9
PROBES, TURNS, SPACING_S = 24, 100, 4
PEAK_S, AFTER_S, END_S = 150, 190, 400
RECOVERY_S = 40
LATENCY_NS = 500_000_000
PEAK: dict[str, Any] = {
    "load": 30,
    "peak": 60,
    "margin": 0.25,
    "spacing_s": SPACING_S,
    "probes": ["Probe"],
    "begun_utc_ns": BEGAN_NS,
    "peak_utc_ns": BEGAN_NS + PEAK_S * S,
    "reached_utc_ns": BEGAN_NS + (PEAK_S + 1) * S,
    "after_utc_ns": BEGAN_NS + AFTER_S * S,
}


def run_of(
    folder: Path, *, times: float = 2.0, recovery_s: float = RECOVERY_S, **changes: Any
) -> Path:
    """Write a run of probe callers, which are slower by `times` from the peak until the recovery.
    Ten more calls of the peak are refused, and one call is dropped in it.
    """
    rng = np.random.default_rng(3)
    write(folder, Plan(PROBES, TURNS, seconds=float(END_S), refused=10), overload=PEAK | changes)

    def turn(index: int, row: Row) -> Row:
        at_s = SPACING_S * (row["turn"] - 1)
        slow = times if PEAK_S <= at_s < AFTER_S + recovery_s else 1.0
        latency_ns = round(LATENCY_NS * slow * float(np.exp(0.1 * rng.standard_normal())))
        return row | {
            "start_utc_ns": BEGAN_NS + at_s * S,
            "step": "probe",
            "script": "Probe",
            "first_audio_at_ns": row["speech_end_at_ns"] + latency_ns,
        }

    def call(index: int, row: Row) -> Row:
        if row["outcome"] != "ok":
            refused = {"outcome": "throttled:handshake", "retry_after_ns": 2 * S}
            return row | refused | {"start_utc_ns": BEGAN_NS + (PEAK_S + index) * S}
        dropped = {"outcome": "closed:1013"} if not index else {}
        ended_ns = (PEAK_S + 10 if not index else END_S) * S
        return (
            row | dropped | {"start_utc_ns": BEGAN_NS, "script": "Probe", "ended_at_ns": ended_ns}
        )

    edit(folder, "turns", turn)
    return edit(folder, "sessions", call)


def summary_of(folder: Path) -> Summary:
    return summarise(load_for_report(folder))


def value(summary: Summary, metric: str, group: str = "") -> Value:
    return next(
        each
        for each in summary.overload
        if each.metric == metric and (each.group.name if each.group else "") == group
    )


@pytest.fixture(scope="module")
def peak(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(tmp_path_factory.mktemp("peak"))


def test_calls_are_counted_in_the_part_in_which_they_began_or_ended(peak: Path) -> None:
    summary = summary_of(peak)
    counts = {
        (part, name): value(summary, f"calls_{name}", part).value
        for part in ("before", "peak", "after")
        for name in ("offered", "opened", "refused", "dropped", "failed")
    }

    assert counts == dict.fromkeys(counts, 0) | {
        ("before", "offered"): PROBES,
        ("before", "opened"): PROBES,
        ("peak", "offered"): 10,
        ("peak", "refused"): 10,
        ("peak", "dropped"): 1,
    }


def test_refused_calls_have_their_outcome_and_the_delay_that_the_service_requested(
    peak: Path,
) -> None:
    summary = summary_of(peak)

    assert value(summary, "calls_refused", "throttled:handshake").value == 10
    assert value(summary, "retry_after", "throttled:handshake").value == 2000
    assert value(summary, "refused_share").value == 1


def test_the_recovery_time_and_the_harm_are_those_of_the_service(peak: Path) -> None:
    summary = summary_of(peak)
    recovery = value(summary, "recovery_time")
    harm = value(summary, "harm")

    assert recovery.low <= 1000 * RECOVERY_S <= recovery.high < 1000 * (END_S - AFTER_S)
    assert recovery.value == pytest.approx(1000 * RECOVERY_S, abs=4000)
    assert harm.low < 100 < harm.high
    change = next(each for each in summary.overload if each.statistic == "change" and each.group)
    assert change.low < 2 < change.high


@pytest.mark.parametrize(
    ("metric", "threshold", "result"),
    [
        ("recovery_time", "value<120s", "pass"),
        ("recovery_time", "value<20s", "fail"),
        ("recovery_time", "value<42s", "inconclusive"),
        ("harm", "p(95)<+200%", "pass"),
        ("harm", "p(95)<+20%", "fail"),
    ],
)
def test_a_check_judges_the_peak(peak: Path, metric: str, threshold: str, result: str) -> None:
    (judged,) = check_of(peak, [parse(metric, threshold)]).thresholds

    assert judged.result == result


def test_a_share_of_few_calls_decides_nothing(peak: Path) -> None:
    (judged,) = check_of(peak, [parse("refused_share", "rate<0.2")]).thresholds

    assert judged.result == "inconclusive"


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"reached_utc_ns": BEGAN_NS + (AFTER_S + 5) * S}, "too late"),
        ({"after_utc_ns": float("inf")}, "ended in the peak"),
        ({"peak_utc_ns": float("inf"), "after_utc_ns": float("inf")}, "before the peak"),
    ],
    ids=["behind", "ended-in-peak", "ended-before"],
)
def test_a_missing_peak_is_named_and_the_part_before_it_stays(
    tmp_path: Path, changes: dict[str, Any], cause: str
) -> None:
    known = {key: each for key, each in (PEAK | changes).items() if each != float("inf")}
    folder = run_of(tmp_path)
    write_document(folder, read_document(folder) | {"overload": known})
    summary = summary_of(folder)
    recovery = value(summary, "recovery_time")

    assert np.isnan(recovery.value)
    assert cause in reason_text(recovery.reason)
    assert value(summary, "ttfa", "before").value == pytest.approx(500, rel=0.05)
    (judged,) = check_of(folder, [parse("recovery_time", "value<30s")]).thresholds
    assert judged.result == "inconclusive"
    assert list(overload(summary))


def test_the_section_names_each_result(peak: Path) -> None:
    (section,) = overload(summary_of(peak))
    text = str(section)

    assert "recovery time" in text
    assert "throttled:handshake 10, Retry-After 2" in text
    assert "end of the peak" in text


def test_a_run_without_a_peak_has_no_values_and_its_threshold_is_not_evaluated(
    tmp_path: Path,
) -> None:
    folder = write(tmp_path, Plan())
    summary = summary_of(folder)
    (judged,) = check_of(folder, [parse("recovery_time", "value<30s")]).thresholds

    assert summary.overload == ()
    assert list(overload(summary)) == []
    assert judged.result == "not_evaluated"


@pytest.mark.parametrize(
    ("metric", "text", "problem"),
    [
        ("recovery_time", "p(95)<30s", "allowed: value"),
        ("recovery_time", "value>30s", "less of it is better"),
        ("harm", "rate<0.1", "allowed: p(95)"),
        ("refused_share", "rate<20s", "a rate is from 0 to 1|is not a limit"),
        ("recovery_time{step:hello}", "value<30s", "which have no step"),
    ],
)
def test_a_wrong_threshold_of_a_peak_is_one_line(metric: str, text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem.replace("(", r"\(").replace(")", r"\)")):
        parse(metric, text)


@pytest.mark.parametrize(
    ("column", "number", "cause"),
    [("event_loop_delay_max_ns", 5 * S, "stood still"), ("cpu", 0.97, "used all of a core")],
)
def test_the_limit_of_the_load_generator_is_not_that_of_the_service(
    tmp_path: Path, column: str, number: float, cause: str
) -> None:
    folder = edit(run_of(tmp_path), "seconds", lambda _, row: row | {column: number})
    summary = summary_of(folder)

    assert cause in reason_text(value(summary, "recovery_time").reason)
    assert value(summary, "ttfa", "before").value == pytest.approx(500, rel=0.05)
