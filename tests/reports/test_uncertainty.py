"""Uncertain metrics, and runs that cannot be used.

The commands compare, check and decide report them in the same way.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from scipy.stats import binomtest

from bench.base.errors import UsageError
from bench.record.folder import TableName
from bench.record.validity import EARLY_REPLIES, EarlyReplies, uncertain_metrics
from bench.record.validity_data import early_replies
from reports.analysis.check.baselines import baseline_of
from reports.analysis.check.check import check_of
from reports.analysis.check.results import CheckResult
from reports.analysis.comparisons.comparison import Comparison, compare_targets
from reports.analysis.sample_size import power_spec, sample_size
from reports.analysis.summary.summary import summarise
from reports.analysis.targets.named import parse_targets
from reports.data.runs import load_for_report
from reports.data.uncertainty import UncertainMetric
from reports.engine.judge import Judged
from reports.formatting import NBSP, change, format_number, ms
from reports.pages.check.report import check_page
from reports.pages.comparisons.interim import analyse_pairs
from reports.pages.comparisons.page import comparison_page
from reports.statistics.differences import Difference
from reports.text import check_sentences, verdicts
from reports.text import comparison_sentences as compare_sentences
from reports.text.check_sentences import inconclusive_text, why
from reports.text.notices import uncertain_line
from reports.text.phrases import interval
from reports.text.reasons import reason_text
from tests.reports import shared, synthetic
from tests.reports.check.examples import ENOUGH, flat, read, run, store, targets_of_plan, thresholds
from tests.reports.comparisons.build import quick, two
from tests.reports.edited import edit
from tests.reports.forms import comparison_notices, comparison_text, run_text
from tests.reports.planned import TWO, planned_run
from tests.reports.shared import frames_of
from tests.reports.synthetic import Plan, write

LATE = Plan(sessions=60, turns=10, inexact=("response_total",))


def test_a_notice_names_the_uncertainty_of_the_first_main_metric() -> None:
    run = read(ENOUGH)
    entries = {"ttft": (24.0, 1.0), "voice_to_voice": (30.0, 20.0)}
    run.__dict__["uncertain_metrics"] = tuple(
        UncertainMetric("sim", metric, *numbers, "ms") for metric, numbers in entries.items()
    )

    first = plain(uncertain_line(run, ["voice_to_voice", "ttft"]))
    assert "for voice_to_voice and ttft" in first
    assert "voice_to_voice may be off by 30 ms (p99; limit 20 ms)" in first
    assert "ttft may be off by 24 ms" in plain(uncertain_line(run))


WHY = "uncertain in this run: it may be off by 31 ms (p99; limit 20 ms)"


def off_by(folder: Path, milliseconds: int) -> Path:
    """Set the uncertainty of the end of each response. All other instants stay exact. Return the
    folder of the run.
    """
    bounds = {"response_done_uncertainty_ns": milliseconds * 1_000_000}
    exact = dict.fromkeys(("request_sent_uncertainty_ns", "speech_end_uncertainty_ns"), 0)
    return edit(folder, "uncertainty", lambda _, row: row | exact | bounds)


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def test_a_comparison_of_an_uncertain_metric_is_inconclusive_with_the_reason() -> None:
    comparison = quick(two(Plan(sessions=60, turns=10), replace(LATE, median_ms=1_200, seed=8)))
    found = next(one for one in comparison.comparisons if one.spec.metric == "response_total")

    assert (found.verdict.name, found.difference) == ("inconclusive", None)
    assert plain(reason_text(found.verdict.reason)) == f"{WHY} on sim (other)"
    assert comparison.exit_status == 1  # ttfa is exact and has regressed


def test_an_uncertain_rate_is_not_compared() -> None:
    late = replace(LATE, inexact=("stall_duration",))
    comparison = quick(two(Plan(sessions=60, turns=10), late))
    found = next(one for one in comparison.comparisons if one.spec.metric == "stall_rate")

    assert (found.verdict.name, found.difference) == ("inconclusive", None)


def pair_off_by(folder: Path, milliseconds: int) -> tuple[Judged, Comparison]:
    """Return the comparison of the p50 of response_total, and that of all metrics, of two
    targets of one run.
    """
    plan = Plan(sessions=60, turns=10, targets=("a", "b"), paired=True, inexact=("response_total",))
    made = off_by(synthetic.write(folder, plan, interleaved=True), milliseconds)
    comparison = compare_targets(parse_targets([str(made)]), draws=300)
    wanted = ("response_total", 0.5)
    return (
        next(f for f in comparison.comparisons if (f.spec.metric, f.spec.p) == wanted),
        comparison,
    )


def test_the_bounds_of_a_difference_are_widened_by_a_known_uncertainty(tmp_path: Path) -> None:
    (exact, _), (found, comparison) = (
        pair_off_by(tmp_path / "exact", 0),
        pair_off_by(tmp_path / "off", 40),
    )
    known, wide = exact.difference, found.difference
    assert known is not None
    assert wide is not None
    widest = math.log((known.candidate + 40) / known.candidate) - math.log(1 - 40 / known.baseline)

    assert (wide.baseline, wide.candidate, wide.d) == (known.baseline, known.candidate, known.d)
    assert known.high < wide.high <= known.high + 1.2 * widest
    assert known.low - 1.2 * widest <= wide.low < known.low
    assert wide.worse.p >= known.worse.p
    text = (
        "Intervals of response_total allow for the uncertainty of each value: up to 40 ms on a and"
        " up to 40 ms on b"
    )
    assert text in " ".join(" ".join(comparison_notices(comparison)).split())


def test_a_difference_is_not_compared_if_the_uncertainty_is_as_large_as_a_value(
    tmp_path: Path,
) -> None:
    found, comparison = pair_off_by(tmp_path / "off", 60_000)

    assert (found.verdict.name, found.difference) == ("inconclusive", None)
    assert re.search(
        r"response_total p50\s+–\s+–\s+n/a\s+uncertain in this run", comparison_text(comparison)
    )


@pytest.mark.parametrize("limit", ["med<9s", "med<1ms"])
def test_a_threshold_on_an_uncertain_metric_is_inconclusive(tmp_path: Path, limit: str) -> None:
    found = check_of(
        run(tmp_path, replace(ENOUGH, inexact=("response_total",))),
        thresholds(f"response_total: {limit}"),
    )

    (item,) = found.thresholds
    row = flat(item)
    assert (row.result, row.value, row.low, row.high) == ("inconclusive", None, None, None)
    assert plain(inconclusive_text(item)) == f"response_total p50 of sim: {WHY}"
    assert found.exit_status == 3


def test_the_bounds_of_a_threshold_are_widened_by_a_known_uncertainty(tmp_path: Path) -> None:
    exact = (
        check_of(run(tmp_path / "exact"), thresholds("response_total: med<9s"))
        .thresholds[0]
        .estimate
    )
    assert exact is not None
    limits = ("med<9s", "med<1ms", f"med<{exact.upper + 20:.0f}")
    folder = off_by(run(tmp_path / "off", replace(ENOUGH, inexact=("response_total",))), 40)
    found = check_of(
        folder, thresholds(*(f"response_total: {limit}" for limit in limits))
    ).thresholds

    assert [item.result for item in found] == ["pass", "fail", "inconclusive"]
    for item in found:
        assert item.estimate is not None
        assert (item.estimate.value, item.estimate.low, item.estimate.high) == (
            exact.value,
            exact.low,
            exact.high,
        )
        ends = item.estimate.lower, item.estimate.upper
        assert ends == (pytest.approx(exact.lower - 40), pytest.approx(exact.upper + 40))
        assert "the bounds allow for the uncertainty of each value: up to 40 ms" in plain(why(item))


def test_uncertain_metrics_are_not_stored_and_not_compared_with_stored_runs(tmp_path: Path) -> None:
    exact = replace(ENOUGH, turns=2)
    late = replace(exact, inexact=("response_total",))
    stored = [baseline_of(side) for side in targets_of_plan(late)]
    assert "response_total" not in {one.metric for baseline in stored for one in baseline.quantiles}

    found = check_of(
        read(late), thresholds("response_total: med<+60%"), str(store(tmp_path, 5, plan=exact))
    )

    assert (found.thresholds[0].result, plain(why(found.thresholds[0]))) == ("inconclusive", WHY)


def test_an_interim_analysis_does_not_decide_by_an_uncertain_metric(tmp_path: Path) -> None:
    primary = {"response_total": ["p(50)<+0.1%"]}
    late = replace(TWO, inexact=("response_total",))

    assert analyse_pairs(planned_run(tmp_path / "exact", primary)).exit_status == 1
    found = analyse_pairs(planned_run(tmp_path / "late", primary, late))
    assert (found.exit_status, found.comparisons[0].verdict.name) == (3, "inconclusive")
    assert WHY in plain(reason_text(found.comparisons[0].reason))


def test_no_sample_size_is_planned_with_an_uncertain_metric(tmp_path: Path) -> None:
    late = Plan(sessions=120, turns=8, seconds=600, inexact=("response_total",))

    with pytest.raises(UsageError, match="response_total p50 is uncertain in this run"):
        sample_size(write(tmp_path, late), power_spec("response_total:p50", None, None, 0.9))
    assert sample_size(tmp_path, power_spec("ttfa:p50", None, None, 0.9)).sessions > 0


SPOKEN = Plan(sessions=60, turns=10, kinds=("vad",))


ENTRY = {
    "target": "sim",
    "metric": "voice_to_voice",
    "value": 4.25,
    "limit": 1.0,
    "unit": "%",
    "reason": EARLY_REPLIES,
}


VERDICT: dict[str, Any] = {"status": "valid", "uncertain_metrics": [ENTRY]}


def plain_of_early_replies(text: str) -> str:
    return " ".join(text.replace("\u00a0", " ").split())


def rows_of(cut_off: list[bool], *, early: list[bool] | None = None) -> Any:
    """Return a function that reads rows of turns.

    The speech of each turn ends at 1,000 ns. Its reply is audible at 1,500 ns, or at 900 ns if its
    entry in `early` is True. If `early` is None, `cut_off` takes its place.
    """
    n = len(cut_off)
    turns = pa.table(
        {
            "target": ["agent"] * n,
            "session_id": [*map(str, range(n))],
            "host": ["h"] * n,
            "phase": ["measurement"] * n,
            "outcome": ["ok"] * n,
            "measured_from": ["speech_end"] * n,
            "cut_off": cut_off,
            "speech_end_at_ns": [1_000] * n,
            "first_audible_at_ns": [900 if each else 1_500 for each in early or cut_off],
        }
    )

    def read(_: TableName, columns: list[str]) -> pa.Table:
        missing = {
            name: pa.nulls(n, pa.int64()) for name in columns if name not in turns.column_names
        }
        whole = turns
        for name, column in missing.items():
            whole = whole.append_column(name, column)
        return whole.select(columns)

    return read


@pytest.mark.parametrize(
    ("duplex", "early"), [(True, [False, False]), (False, [True, False]), (False, None)]
)
def test_early_replies_are_counted_by_target(duplex: bool, early: list[bool] | None) -> None:
    document = {"targets": [{"name": "agent", "full_duplex": duplex}]}

    assert list(early_replies(rows_of([True, False], early=early), document)) == [
        EarlyReplies("agent", 1, 2, 1, 2, ("voice_to_voice",))
    ]


ASKS, GREETS = {"greeting": False}, {"greeting": True}


@pytest.mark.parametrize(
    ("plans", "count"),
    [([[ASKS]], 0), ([[GREETS, ASKS]], 0), ([[ASKS], [ASKS, ASKS]], 1), ([None], 1)],
)
def test_in_calls_of_one_question_no_reply_belongs_to_a_question_before(
    plans: list[Any], count: int
) -> None:
    document = {
        "targets": [{"name": "agent", "full_duplex": True}],
        "scripts": [{"target": "agent", "plan": each} for each in plans],
    }

    assert len(list(early_replies(rows_of([True]), document))) == count


@pytest.mark.parametrize(
    ("early", "replies", "is_certain"),
    [(1, 18, False), (2, 24, True), (1, 100, False), (30, 1_000, True), (15, 1_000, False)],
)
def test_latencies_are_uncertain_only_if_certainly_too_many_replies_were_early(
    early: int, replies: int, is_certain: bool
) -> None:
    found = EarlyReplies("agent", early, replies, early, replies, ("voice_to_voice",))
    known = binomtest(early, replies).proportion_ci(method="wilsoncc")

    assert found.interval == pytest.approx((100 * known.low, 100 * known.high))
    assert bool(uncertain_metrics([], [found])) is is_certain


def test_the_calls_whose_latencies_few_early_replies_may_change_are_counted(tmp_path: Path) -> None:
    plan = Plan(sessions=6, turns=3)
    made = edit(
        write(tmp_path, plan),
        "turns",
        lambda index, row: (
            row
            | {"cut_off": False}
            | ({"speech_end_at_ns": row["first_audible_at_ns"] + 1} if index == 4 else {})
        ),
    )
    text = plain_of_early_replies(run_text(summarise(load_for_report(made))))

    assert (
        "1 of 18 replies started before the question had ended (5.6 %; 95 % interval: 0.29 to"
        " 29.4 %; not known to be above 1 %), so latencies of 1 of 6 calls may belong to the"
        " previous question."
    ) in text
    assert "uncertain in this run" not in text


@pytest.mark.parametrize("limit", ["med<9s", "med<1ms"])
def test_no_threshold_on_an_uncertain_voice_to_voice_passes_or_fails(
    tmp_path: Path, limit: str
) -> None:
    found = check_of(
        write(tmp_path, SPOKEN, validity=VERDICT),
        thresholds(f"voice_to_voice: {limit}", "ttfa: med<9s"),
    )

    assert [item.result for item in found.thresholds] == ["inconclusive", "pass"]
    assert "started before their question had ended" in plain_of_early_replies(
        why(found.thresholds[0])
    )
    assert found.exit_status == 3


def test_answer_voice_to_voice_has_its_own_row() -> None:
    document = frames_of(SPOKEN).metadata
    scripts = [script | {"answer_min_ms": 700.0} for script in document["scripts"]]
    frames = frames_of(SPOKEN, scripts=scripts)
    frames.turns["answer_audible_at_ns"] = frames.turns["first_audible_at_ns"] + 2_000_000_000
    text = plain_of_early_replies(run_text(summarise(frames)))

    assert re.search(r"sample of the answer, .*? 600( \(60 sessions\))? +2,\d+ \(", text)
    assert "answer_voice_to_voice" in text


PAIRS = Plan(sessions=80, turns=5, targets=("old", "new"), paired=True)


UNUSABLE_LATE = "audio was sent late (send_delay p99 14.2 ms, limit 10 ms"


RULE = f"Do not use these results: the run is INVALID: {UNUSABLE_LATE}"


@cache
def comparison_and_check(plan: Plan) -> tuple[Comparison, CheckResult]:
    """Return a comparison of the targets of one run, and a check of these targets."""
    folder = synthetic.write(shared.folder(), plan, interleaved=True)
    return compare_targets(parse_targets([folder])), check_of(folder)


@pytest.mark.parametrize(
    ("changes", "begins", "mark"),
    [
        ({"valid": False}, RULE, "✕ INVALID"),
        ({"valid": None}, "Do not use these results: the run has no verdict: ", "? NO VERDICT"),
        (
            {"valid": None, "warmup_s": 60.0},
            (
                "Do not use these results: the run has no verdict: the warm-up of 1 min contains"
                " all 400 turns"
            ),
            "? NO VERDICT",
        ),
    ],
)
def test_compare_and_check_report_an_unusable_run_in_the_same_words(
    changes: dict[str, Any], begins: str, mark: str
) -> None:
    comparison, check = comparison_and_check(replace(PAIRS, **changes))
    reason = compare_sentences.comparison_headline(comparison).rstrip(".")
    headline = check_sentences.check_headline(check)

    assert reason.replace(NBSP, " ").startswith(begins)
    assert headline.startswith(reason)
    assert [
        f"{page.badges[0].marker} {page.badges[0].text}"
        for page in (check_page(check), comparison_page(comparison))
    ] == [mark] * 2
    assert (comparison.exit_status, check.exit_status) == (4, 4)


OPEN = math.inf


def plain_of_words_of_differences(text: str) -> str:
    return text.replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("low", "high", "write", "text"),
    [
        (969.2, 1010, format_number, "969 to 1,010"),
        (640, 1240, ms, "640 ms to 1.24 s"),
        (-math.inf, 501, ms, "up to 501 ms"),
        (462, None, ms, "from 462 ms, no upper bound"),
        (0.93, 1.18, change, "−7 to +18 %"),
    ],
)
def test_an_interval_has_its_unit_once_and_names_missing_bounds(
    low: float | None, high: float | None, write: Callable[[float], str], text: str
) -> None:
    assert plain_of_words_of_differences(interval(low, high, write)) == text


def test_a_latency_of_zero_and_an_infinite_baseline_are_printed_differently() -> None:
    gone = Difference("ratio", 120.0, 0.0, -math.inf, -math.inf, -math.inf)
    ended = Difference("ratio", math.inf, 300.0, -math.inf, -math.inf, -math.inf)

    assert plain_of_words_of_differences(verdicts.difference(gone)) == "−100 %"
    assert plain_of_words_of_differences(verdicts.difference(ended)) == "was ∞"
