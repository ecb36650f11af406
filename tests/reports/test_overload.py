"""A run with a peak of load: its values, its section, its thresholds, and what is missing."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from bench.base.errors import UsageError
from bench.record.folder import read_document, write_document
from reports.analysis.check.check import check_of
from reports.analysis.overload import PARTS, overload_values
from reports.analysis.summary.summary import Summary, summarise
from reports.data.runs import load_for_report
from reports.data.samples import samples_of
from reports.formatting import NBSP
from reports.metrics.thresholds import parse
from reports.pages.run_report.report import main_results
from reports.pages.run_report.sections.overload import overload
from reports.results.value import Value
from reports.text.reasons import reason_text
from reports.text.sentences import run_essentials, run_headline
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
            refused["cause"] = "HTTP 429: too many calls"
            return row | refused | {"start_utc_ns": BEGAN_NS + (PEAK_S + index) * S}
        dropped = {"outcome": "closed:1013"} if not index else {}
        ended_ns = (PEAK_S + 10 if not index else END_S) * S
        return (
            row | dropped | {"start_utc_ns": BEGAN_NS, "script": "Probe", "ended_at_ns": ended_ns}
        )

    edit(folder, "turns", turn)
    return edit(folder, "sessions", call)


def changed(summary: Summary, folder: Path) -> Summary:
    """Return the summary with the peak of the run in the folder."""
    run = load_for_report(folder)
    samples = samples_of(run)
    values = tuple(overload_values(run, samples))
    return structs.replace(summary, run=run, samples=samples, overload=values)


def value(summary: Summary, metric: str, group: str = "") -> Value:
    return next(
        each
        for each in summary.overload
        if each.metric == metric and (each.group.name if each.group else "") == group
    )


@pytest.fixture(scope="module")
def peak(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(tmp_path_factory.mktemp("peak"))


@pytest.fixture(scope="module")
def summary(peak: Path) -> Summary:
    return summarise(load_for_report(peak))


def test_calls_are_counted_in_the_part_in_which_they_began_or_ended(
    summary: Summary,
) -> None:
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
    summary: Summary,
) -> None:
    assert value(summary, "calls_refused", "HTTP 429").value == 10
    assert value(summary, "retry_after", "HTTP 429").value == 2000
    assert value(summary, "refused_share").value == 1


def test_the_recovery_time_and_the_harm_are_those_of_the_service(
    summary: Summary,
) -> None:
    recovery = value(summary, "recovery_time")
    harm = value(summary, "harm")

    assert recovery.low <= 1000 * RECOVERY_S <= recovery.high < 1000 * (END_S - AFTER_S)
    assert recovery.value == pytest.approx(1000 * RECOVERY_S, abs=4000)
    assert harm.low < 100 < harm.high
    change = next(each for each in summary.overload if each.statistic == "change" and each.group)
    assert change.low < 2 < change.high


def test_a_check_judges_the_peak_and_decides_nothing_by_a_share_of_few_calls(peak: Path) -> None:
    expected = {
        ("recovery_time", "value<120s"): "pass",
        ("recovery_time", "value<20s"): "fail",
        ("recovery_time", "value<42s"): "inconclusive",
        ("harm", "p(95)<+200%"): "pass",
        ("harm", "p(95)<+20%"): "fail",
        ("refused_share", "rate<0.2"): "inconclusive",
    }
    judged = check_of(peak, [parse(*threshold) for threshold in expected]).thresholds

    assert [each.result for each in judged] == list(expected.values())


INF = float("inf")


@pytest.mark.parametrize(
    ("changes", "cause", "result"),
    [
        ({"reached_utc_ns": BEGAN_NS + (AFTER_S + 5) * S}, "callers too late", "not_evaluated"),
        ({"after_utc_ns": INF}, "ended in the peak", "inconclusive"),
        ({"peak_utc_ns": INF, "after_utc_ns": INF}, "before the peak", "inconclusive"),
    ],
    ids=["behind", "ended-in-peak", "ended-before"],
)
def test_a_missing_peak_is_named_and_the_part_before_it_stays(
    summary: Summary, peak: Path, tmp_path: Path, changes: dict[str, Any], cause: str, result: str
) -> None:
    known = {key: each for key, each in (PEAK | changes).items() if each != float("inf")}
    folder = shutil.copytree(peak, tmp_path / "run")
    write_document(folder, read_document(folder) | {"overload": known})
    found = changed(summary, folder)
    recovery = value(found, "recovery_time")

    assert np.isnan(recovery.value)
    assert cause in reason_text(recovery.reason)
    assert value(found, "ttfa", "before").value == pytest.approx(500, rel=0.05)
    (judged,) = check_of(folder, [parse("recovery_time", "value<30s")]).thresholds
    assert judged.result == result
    assert list(overload(found))


@pytest.mark.parametrize(
    "changes",
    [
        {"margin": -1},
        {"margin": None},
        {"spacing_s": "2"},
        {"probes": 1},
        {"begun_utc_ns": None},
        {"begun_utc_ns": 1e308},
        {"after_utc_ns": -1},
        {"peak": []},
    ],
)
def test_a_damaged_peak_is_refused_in_one_line(
    peak: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    folder = shutil.copytree(peak, tmp_path / "run")
    known = {key: each for key, each in (PEAK | changes).items() if each is not None}
    write_document(folder, read_document(folder) | {"overload": known})

    with pytest.raises(UsageError, match=r"overload.* is damaged|is damaged: .*overload"):
        check_of(folder, [parse("recovery_time", "value<30s")])


def test_probe_callers_without_a_spacing_show_no_error(
    summary: Summary, peak: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(peak, tmp_path / "run")
    write_document(folder, read_document(folder) | {"overload": PEAK | {"spacing_s": 0}})

    assert value(changed(summary, folder), "calls_offered", "peak").value == 10


def test_the_headline_is_what_happened_in_the_peak(summary: Summary) -> None:
    headline = run_headline(summary).replace(NBSP, " ")

    assert re.fullmatch(
        r"The peak: 100 % of calls refused, others 105 % slower, recovery after 40 s\.", headline
    )
    assert headline.rstrip(".") in run_essentials(summary).replace(NBSP, " ")
    assert "before, in and after the peak" in str(main_results(summary))


def test_the_section_names_each_result(summary: Summary) -> None:
    (section,) = overload(summary)
    text = str(section)

    assert "recovery time" in text
    assert "10 HTTP 429, Retry-After 2" in text
    assert "end of the peak" in text


def test_a_run_without_a_peak_has_no_values_and_its_threshold_is_not_evaluated(
    summary: Summary,
    tmp_path: Path,
) -> None:
    folder = write(tmp_path, Plan())
    found = changed(summary, folder)
    (judged,) = check_of(folder, [parse("recovery_time", "value<30s")]).thresholds

    assert found.overload == ()
    assert list(overload(found)) == []
    assert judged.result == "not_evaluated"


def edited(peak: Path, folder: Path, table: str, part: int, **changes: Any) -> Path:
    """Return a copy of the run in which the rows of a part, given by its index, are changed."""
    copy = shutil.copytree(peak, folder / "run")

    def change(index: int, row: Row) -> Row:
        if table == "uncertainty":
            at_ns = BEGAN_NS + SPACING_S * (row["turn"] - 1) * S
        else:
            at_ns = row["second"] * S if table == "seconds" else row["start_utc_ns"]
        edges = (PEAK["peak_utc_ns"], PEAK["after_utc_ns"])
        return row | changes if sum(at_ns >= edge for edge in edges) == part else row

    return edit(copy, table, change)


UNCERTAIN = {
    f"{instant}_uncertainty_ns": S // 10
    for instant in ("first_audio", "request_sent", "speech_end")
}
NEEDED = {"recovery_time": (0, 1, 2), "refused_share": (1,), "harm": (0, 1)}


@pytest.mark.parametrize(
    ("part", "table", "changes", "cause"),
    [
        (0, "seconds", {"cpu": 0.97}, "before the peak: the load generator used all of a core"),
        (1, "seconds", {"cpu": 0.97}, "for the peak: the load generator used all of a core"),
        (2, "seconds", {"cpu": 0.97}, "after the peak: the load generator used all of a core"),
        (1, "seconds", {"event_loop_delay_max_ns": 5 * S}, "the load generator stood still"),
        (1, "uncertainty", UNCERTAIN, "timestamps are too uncertain"),
        (1, "sessions", {"outcome": "exhausted:files"}, "the load generator was the limit"),
    ],
)
def test_a_fault_of_the_load_generator_voids_only_the_values_of_its_part(
    summary: Summary,
    peak: Path,
    tmp_path: Path,
    part: int,
    table: str,
    changes: dict[str, Any],
    cause: str,
) -> None:
    found = changed(summary, edited(peak, tmp_path, table, part, **changes))

    for metric, parts in NEEDED.items():
        is_void = part in parts and (table, metric) != ("uncertainty", "refused_share")
        assert (cause in reason_text(value(found, metric).reason)) == is_void, metric
    usable = [PARTS[each] for each in range(3) if each != part]
    assert all(value(found, "ttfa", name).reason is None for name in usable)
    (section,) = overload(found)
    assert f"usable parts of the run: {' and '.join(usable)}" in str(section)


def invalid(folder: Path, name: str) -> None:
    check = {"name": name, "result": "fail", "value": 9.0, "limit": 1.0, "note": "", "remedy": ""}
    validity = {"status": "invalid", "reasons": [name], "checks": [check]}
    write_document(folder, read_document(folder) | {"validity": validity})


def test_a_check_judges_the_values_of_parts_that_are_usable(peak: Path, tmp_path: Path) -> None:
    folder = edited(peak, tmp_path, "seconds", 2, cpu=0.97)
    invalid(folder, "timestamp_uncertainty")
    thresholds = [parse("harm", "p(95)<+20%"), parse("recovery_time", "value<30s")]
    checked = check_of(folder, thresholds)

    assert [each.result for each in checked.thresholds] == ["fail", "not_evaluated"]
    assert checked.exit_status == 4
    assert "INVALID after the peak" in reason_text(checked.thresholds[1].reason)
    assert check_of(folder, thresholds[:1]).exit_status == 1
    other = parse("failure_rate", "rate<0.5")
    assert check_of(folder, [*thresholds[:1], other]).causes


def test_a_void_run_shows_what_was_measured_in_each_part(
    summary: Summary, peak: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(peak, tmp_path / "run")
    invalid(folder, "missing_data")
    found = changed(summary, folder)
    (section,) = overload(found)

    assert str(section).count("'INVALID'") == 6  # three parts, on the page and in short
    assert "INVALID before the peak: data is missing" in str(section)
    assert "usable parts of the run: none" in str(section)
    assert value(found, "ttfa", "before").value == pytest.approx(500, rel=0.05)


def test_turns_without_a_latency_decide_no_recovery(tmp_path: Path) -> None:
    run = edit(
        run_of(tmp_path / "run"),
        "turns",
        lambda index, row: row | ({} if index % 100 else {"first_audio_at_ns": None}),
    )
    limits = {"recovery_time": "value<300s", "harm": "p(95)<+900%"}
    found = check_of(run, [parse(*each) for each in limits.items()])

    for one in found.thresholds:
        assert one.result == "inconclusive"
        assert reason_text(one.reason).startswith("24 of 2,400")
