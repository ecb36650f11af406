"""The decision about a run that has a plan of interim analyses.

The tests check the pairs that count, the analysis that decides, and the files and texts of the
decision.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pyarrow as pa
import pytest
import typer
from msgspec import structs

from bench.base.errors import UsageError
from bench.record.document import GIVEN_UP, INTERRUPTED, KILLED
from bench.record.folder import SCHEMAS
from bench.record.spool import path_of, rows_of
from reports.analysis.check.check import check_of
from reports.analysis.sequential.analysis import AnalysisSchedule, SequentialResult, run_analyses
from reports.analysis.sequential.decide import Decision, decision_of, end_of
from reports.data.runs import load_for_report
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.statistic_types.quantile import Quantile
from reports.pages.comparisons.__main__ import analyse
from reports.pages.comparisons.interim import analyse_pairs
from reports.results.value import Reason
from reports.statistics.group_sequential import (
    InterimStatistic,
    by_se,
)
from reports.text.check_sentences import against_text
from reports.text.decision_sentences import decision_sentence
from reports.text.notices import decision_notice
from rtbench.cli.verdicts import check
from tests.examples import some
from tests.reports import synthetic
from tests.reports.comparisons.invented import CHECKS, UNFAIR, comparison
from tests.reports.edited import Row, edit
from tests.reports.forms import comparison_html
from tests.reports.planned import LOOSE, TIGHT, TWO, UNDECIDED, planned, planned_run
from tests.reports.shared import frames_of
from tests.reports.synthetic import Plan
from tools.schemas import schemas


def decided(primary: dict[str, list[str]], plan: Plan = TWO, **changes: Any) -> Decision:
    """Return the decision about a loaded run. All tests share the rows of a plan."""
    return decision_of(
        frames_of(
            plan, **(synthetic.target_keys(plan) | {"sequential_plan": planned(primary)} | changes)
        )
    )


def without(pair: int, target: str = "west") -> Callable[[int, Row], Row | None]:
    """Return a change that removes one session of a pair, as if this session had not ended."""
    return lambda _, row: None if (row["pair"], row["target"]) == (pair, target) else row


def analysed_pairs(decision: Decision) -> list[int]:
    return [analysis.pairs for analysis in decision.analyses]


RUNNING, ENDED = {"state": "running"}, dict[str, Any]()


def changed(change: dict[str, Any], of: Callable[[Row], bool]) -> Callable[[int, Row], Row | None]:
    return lambda _, row: row | (change if of(row) else {})


COUNTED: dict[
    str,
    tuple[dict[str, list[str]], dict[str, Any], Callable[[int, Row], Row | None], int, list[int]],
] = {
    # (primary metrics, changes to run.json, change to sessions, pairs that count, interim analyses
    # that are done)
    **{
        f"an analysis waits for its slowest pair, {slow}": (TIGHT, RUNNING, without(slow), slow, [])
        for slow in (0, 17, 39)
    },
    "later analyses wait and earlier ones take place": (
        UNDECIDED,
        RUNNING,
        without(41, "east"),
        41,
        [40],
    ),
    "an analysis waits for a call that continues in another session": (
        TIGHT,
        RUNNING,
        changed({"renewed": True}, lambda row: (row["pair"], row["target"]) == (5, "west")),
        5,
        [],
    ),
    "an analysis waits for several incomplete pairs": (
        TIGHT,
        RUNNING,
        lambda _, row: None if row["pair"] == 5 else row,
        5,
        [],
    ),
    "a pair that never started is skipped when the run has ended": (
        UNDECIDED,
        ENDED,
        lambda _, row: None if row["pair"] == 5 else row,
        119,
        [40, 80],
    ),
    "the analyses end at a pair with one session at the run's end": (
        UNDECIDED,
        ENDED,
        without(50),
        50,
        [40],
    ),
    "the analyses end at a pair that the run's end cut": (
        UNDECIDED,
        ENDED,
        changed({"outcome": "unfinished"}, lambda row: row["pair"] == 50),
        50,
        [40],
    ),
    "pairs of the warm-up are not counted": (
        UNDECIDED,
        RUNNING,
        changed({"phase": "warmup"}, lambda row: row["pair"] < 30),
        90,
        [40, 80],
    ),
}


@pytest.mark.parametrize(
    ("primary", "document", "change", "pairs", "done"), COUNTED.values(), ids=COUNTED
)
def test_an_interim_analysis_takes_place_when_its_pairs_are_complete(
    tmp_path: Path, primary: Any, document: dict[str, Any], change: Any, pairs: int, done: list[int]
) -> None:
    found = analyse_pairs(edit(planned_run(tmp_path, primary, **document), "sessions", change))

    assert (found.pairs_ended, analysed_pairs(found)) == (pairs, done)
    if document == RUNNING:
        assert (found.stopped, found.exit_status) == (False, 3)
        assert done or "No interim analysis yet" in decision_sentence(found)


def test_an_interim_analysis_uses_the_first_pairs_by_number(tmp_path: Path) -> None:
    whole = decided(UNDECIDED)
    part = planned_run(tmp_path / "part", UNDECIDED, state="running")
    found = analyse_pairs(
        edit(part, "sessions", lambda _, row: None if 40 <= row["pair"] < 100 else row)
    )

    assert analysed_pairs(found) == [40]
    assert found.analyses[0].primary_metrics[0].z == whole.analyses[0].primary_metrics[0].z


def test_a_growing_spool_is_analysed(tmp_path: Path) -> None:
    folder = planned_run(tmp_path, UNDECIDED, state="running")
    (folder / "spool").mkdir()
    for name, table in synthetic.rows(TWO).items():
        (folder / f"{name}.parquet").unlink()
        with pa.ipc.new_stream(path_of(folder, 0, rows_of(name)), SCHEMAS[name]) as stream:
            stream.write_table(table)

    assert analysed_pairs(analyse_pairs(folder)) == analysed_pairs(decided(UNDECIDED))


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({"state": "running"}, ""),
        ({"state": "closing"}, ""),
        ({"state": "killed"}, "by hand"),
        ({"stop_reason": "interrupted"}, "by hand"),
        ({"stop_reason": "its time was over, or its users were stopped"}, "blind"),
        ({"stop_reason": "all sessions are done"}, "blind"),
    ],
)
def test_the_end_of_a_run_is_known_from_its_document(changes: dict[str, Any], end: str) -> None:
    assert end_of({"state": "ended", "stop_reason": ""} | changes) == end


def test_a_run_that_ended_before_its_first_interim_analysis_is_inconclusive() -> None:
    found = decided(
        TIGHT,
        stop_reason="the budget is spent",
        sequential_plan=planned(TIGHT, analyses=[121], pairs=121),
    )

    assert (found.stopped, found.exit_status) == (True, 3)
    assert "ended before its first interim analysis, with 120 of 121 pairs" in decision_sentence(
        found
    )


EMPTY = Plan(sessions=0, targets=("east", "west"), paired=True)
LATE = "the load generator was overloaded for 12 pairs in a row"
INVALID: dict[str, tuple[dict[str, list[str]], Plan, dict[str, Any], str]] = {
    # (primary metrics, plan of the run, changes to run.json, part of the sentence)
    "an invalid run": (LOOSE, TWO, {"validity": {"status": "invalid"}}, "INVALID"),
    "a run without a verdict": (LOOSE, TWO, {"validity": {"status": "no_verdict"}}, "no verdict"),
    "a run without sessions": (
        LOOSE,
        EMPTY,
        {},
        "Do not use these results: no pair of sessions ended",
    ),
    "throttled targets": (
        {"failure_rate": ["rate<+50pt"]},
        replace(TWO, failed=0.1),
        {},
        "were throttled",
    ),
    "a run that was stopped, whatever its verdict": (
        UNDECIDED,
        TWO,
        {"aborted_because": LATE},
        f"Do not use these results: {LATE}.",
    ),
}


@pytest.mark.parametrize(("primary", "plan", "document", "sentence"), INVALID.values(), ids=INVALID)
def test_a_run_without_usable_results_is_invalid(
    primary: dict[str, list[str]], plan: Plan, document: dict[str, Any], sentence: str
) -> None:
    found = decided(primary, plan, **document)

    assert (found.stopped, found.exit_status) == (True, 4)
    assert (
        decision_sentence(found) == sentence
        if sentence.endswith("row")
        else sentence in decision_sentence(found)
    )


ENDS: dict[str, tuple[dict[str, Any], bool, str, str]] = {
    # (changes to run.json, whether an analysis ended the run, part of the sentence, part of the
    # baseline of the check)
    "an analysis": (
        {"stop_reason": "west is slower", "interim_analyses": {"made": 2, "stopped": True}},
        True,
        "Stopped at interim analysis 2 of 3, 80 pairs over 2 min 49 s.",
        "stopped at interim analysis 2 of 3",
    ),
    "an overload": (
        {
            "stop_reason": GIVEN_UP + LATE,
            "aborted_because": LATE,
            "interim_analyses": {"made": 0, "stopped": False},
        },
        False,
        "The run ended at 120 of 120 pairs; 0 of 3 interim analyses took place.",
        "0 of 3 interim analyses took place",
    ),
    "an overload that an old version recorded": (
        {"stop_reason": GIVEN_UP + LATE, "aborted_because": LATE},
        False,
        "The run ended at 120 of 120 pairs.",
        "their number is unknown",
    ),
    "an invalid run after an analysis": (
        {
            "validity": {"status": "invalid"},
            "stop_reason": "west is slower",
            "interim_analyses": {"made": 2, "stopped": True},
        },
        False,
        (
            "The run ended at 120 of 120 pairs (an interim analysis stopped it); 2 of 3 interim"
            " analyses took place."
        ),
        "2 of 3 interim analyses took place",
    ),
    **{
        reason: (
            {"stop_reason": reason, "interim_analyses": {"made": 1, "stopped": False}} | more,
            False,
            (
                f"The run ended at 120 of 120 pairs ({reason}); its last analysis was interim"
                " analysis 2 of 3"
            ),
            "the last one is interim analysis 2 of 3, 80 pairs",
        )
        for reason, more in some(
            (
                ("the budget of 1 USD is spent", {}),
                (INTERRUPTED, {}),
                ("the services are down", {}),
                (KILLED, {"state": "killed"}),
                ("its time was over, or its users were stopped", {}),
                ("all sessions are done", {}),
                ("no worker is left", {}),
            ),
            3,
        )
    },
}


@pytest.mark.parametrize(("document", "by_analysis", "words", "baseline"), ENDS.values(), ids=ENDS)
def test_all_outputs_state_what_ended_a_run_and_how_many_analyses_took_place(
    tmp_path: Path, document: dict[str, Any], by_analysis: bool, words: str, baseline: str
) -> None:
    found = analyse_pairs(planned_run(tmp_path, TIGHT, **document))
    written = json.loads((tmp_path / "decision.json").read_text())
    compared = comparison_html(replace(comparison(), decision=found)).replace("\u00a0", " ")
    checked = check_of(tmp_path)

    jsonschema.validate(written, schemas()["decision"])
    assert written["stopped_by_analysis"] is by_analysis
    assert words in written["sentence"].replace("\u00a0", " ")
    assert baseline in against_text(checked).replace("\u00a0", " ")
    assert words in compared
    for text in (written["sentence"], against_text(checked), compared):
        assert ("topped at interim" in text) is by_analysis
    if found.invalid:
        assert "worse than its margin" not in compared
        unfair = comparison_html(replace(comparison(checks=(UNFAIR, *CHECKS[1:])), decision=found))
        assert words in unfair.replace("\u00a0", " ")
    if document.get("aborted_because"):
        assert (written["stop_reason"], LATE in written["sentence"]) == (LATE, True)


def test_a_report_has_the_decision_of_a_real_run(tmp_path: Path) -> None:
    analyse_pairs(planned_run(tmp_path, TIGHT, interim_analyses={"made": 2, "stopped": True}))
    notice = decision_notice(load_for_report(tmp_path)).replace("\u00a0", " ")

    assert notice.startswith(
        "Decided by interim analysis 2 of 3, 80 pairs. west is slower than east"
    )


def throttling(folder: Path, after: int, before: int = 120) -> Path:
    """Set the outcome of the candidate's turns to throttled, from pair `after` until before pair
    `before`.

    Return the folder of the run.
    """
    chosen = lambda row: row["target"] == "west" and after <= row["pair"] < before  # noqa: E731
    return edit(
        folder,
        "turns",
        lambda _, row: row | ({"outcome": "throttled:response"} if chosen(row) else {}),
    )


def test_an_interim_analysis_of_a_throttled_run_ends_the_run_at_once(tmp_path: Path) -> None:
    folder = throttling(planned_run(tmp_path, UNDECIDED, state="running", validity=None), 30, 33)
    found = analyse_pairs(folder)
    written = json.loads((folder / "decision.json").read_text())

    assert (analysed_pairs(found), found.stopped, found.exit_status) == ([40], True, 4)
    assert (written["stopped"], written["end"], written["exit_status"]) == (True, "invalid", 4)
    assert decision_sentence(found).startswith("Do not use these results: west: ")
    assert decision_sentence(found).endswith(
        " Stopped at interim analysis\u00a01 of 3, 40\u00a0pairs over 92\u00a0s."
    )
    jsonschema.validate(written, schemas()["decision"])


def test_a_run_that_an_interim_analysis_found_invalid_stays_invalid(tmp_path: Path) -> None:
    """Five turns of the candidate are throttled.

    At the first analysis, they are 1.25 % of the candidate's turns. At the end of the run, they are
    only 0.4 %.
    """
    chosen = lambda row: (row["target"], row["turn"]) == ("west", 1) and row["pair"] < 5  # noqa: E731
    throttled = {"outcome": "throttled:response"}
    found = analyse_pairs(
        edit(
            planned_run(tmp_path, UNDECIDED),
            "turns",
            lambda _, row: row | (throttled if chosen(row) else {}),
        )
    )

    assert (found.end, found.exit_status, analysed_pairs(found)) == ("invalid", 4, [40])


def test_throttling_after_the_decision_is_found_at_the_end(tmp_path: Path) -> None:
    found = analyse_pairs(throttling(planned_run(tmp_path, LOOSE), 100))

    assert (found.end, found.exit_status) == ("not_regressed", 4)
    assert "Stopped at" not in decision_sentence(found)


@pytest.mark.parametrize(
    ("target", "why"), [("east", "east is the baseline"), ("north", "there is no target north")]
)
def test_a_primary_metric_for_another_target_than_the_candidate_is_refused(
    target: str, why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        decided({f"ttfa{{target:{target}}}": ["p(50)<+60%"]})


def test_degrees_of_freedom_count_only_pairs_with_a_value(tmp_path: Path) -> None:
    folder = edit(
        planned_run(tmp_path, UNDECIDED), "turns", lambda _, row: row if row["pair"] >= 10 else None
    )

    assert analyse_pairs(folder).analyses[0].primary_metrics[0].df == 29


def test_primary_metrics_may_be_means_or_higher_is_better() -> None:
    found = decided({"audio_speed": ["avg>-20%", "p(50)>-20%"]})

    assert (found.exit_status, [one.spec.name for one in found.comparisons]) == (
        0,
        ["audio_speed mean", "audio_speed p50"],
    )
    differences = [one.difference for one in found.comparisons if one.difference]
    assert len(differences) == len(found.comparisons)
    assert all(abs(of.d) < 0.05 and of.low < of.d < of.high for of in differences)


def test_the_load_process_learns_whether_the_run_may_end(tmp_path: Path) -> None:
    answer = analyse(str(planned_run(tmp_path, TIGHT)))

    assert (answer["stopped"], answer["pairs"]) == (True, 40 * answer["analysis"])
    assert answer["sentence"].startswith("west is slower than east")


def test_an_undecided_unfinished_run_is_inconclusive_despite_on_inconclusive(
    tmp_path: Path,
) -> None:
    waiting = edit(
        planned_run(tmp_path, UNDECIDED, state="running", validity=None),
        "sessions",
        lambda _, row: first(50, row),
    )

    assert analyse_pairs(waiting).end == "pending"
    assert exit_status(waiting) == exit_status(waiting, on_inconclusive="pass") == 3


def first(pairs: int, row: Row) -> Row | None:
    return row if row["pair"] < pairs else None


def exit_status(folder: Path, **options: Any) -> int:
    """Return the exit status of `rtbench check` for a run folder."""
    try:
        check(str(folder), **options)
    except typer.Exit as exited:
        return exited.exit_code
    return 0


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"sequential_plan": None}, "start a run with --until-decided"),
        ({"interleaved": False}, "is not an interleaved run of two targets"),
        ({"sequential_plan": {"pairs": 5}}, "cannot be read"),
        (
            {"sequential_plan": planned(LOOSE, analyses=[40, 30])},
            "its interim analyses must increase",
        ),
        ({"sequential_plan": planned({})}, "has no primary metrics"),
        ({"sequential_plan": planned(LOOSE, spending="pocock")}, "supports only a t\\^2"),
        ({"sequential_plan": planned({"ttfa": ["p(95)<800"]})}, "is not relative"),
        ({"sequential_plan": planned({"ttfb": ["p(95)<+20%"]})}, "there is no metric"),
    ],
)
def test_a_plan_that_cannot_be_followed_is_refused_in_one_line(
    changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UsageError, match=problem) as raised:
        decided(LOOSE, **changes)

    assert "\n" not in str(raised.value)


P95 = MetricSpec("ttfa", Quantile(0.95), primary=True)
SIZES = tuple(range(50, 550, 50))
MARGIN = 0.1
DF = 10_000_000
"""The degrees of freedom. They are so many that t is normal, and `z` is the excess in standard
errors."""


def at(z: float, *, se: float = 0.05, better: int = 1) -> InterimStatistic:
    """Return a statistic that exceeds the margin of 0.1 by `z` standard errors."""
    excess = z * se
    return by_se(better * (MARGIN + excess), excess, se, DF, better)


def course(
    statistics: Sequence[Sequence[InterimStatistic]],
    *,
    end: str = "",
    sizes: tuple[int, ...] = SIZES,
) -> SequentialResult:
    schedule = AnalysisSchedule(sizes[-1], sizes, (P95,) * len(statistics[0]))
    return run_analyses(
        schedule,
        lambda pairs: statistics[sizes.index(pairs)],
        len(statistics),
        end,  # type: ignore[arg-type]
    )


def test_a_run_passes_when_every_metric_has_passed_at_any_analysis() -> None:
    found = course([[at(-3.5), at(-1.0)], [at(-1.0), at(-3.5)]])

    assert (found.reason, len(found.analyses)) == ("not_regressed", 2)
    assert [ruling.analysis for ruling in found.decisions] == [1, 2]
    assert found.analyses[1].primary_metrics[0].z == pytest.approx(-1.0)


def test_a_run_stops_for_futility_if_it_would_stay_inconclusive() -> None:
    found = course([[at(0.0)] for _ in range(9)])

    assert found.reason == "futility"
    assert 2 <= len(found.analyses) < 9
    assert found.decisions[0].reason == Reason("would_stay_inconclusive", {"needed": 500})


def test_an_end_independent_of_the_data_gives_the_last_analysis_the_remaining_error() -> None:
    near = [[at(0.0)], [at(-0.5)], [at(-1.9)]]

    assert course(near).reason == "pending"
    assert course(near, end="by hand").reason == "stopped_by_user"
    assert course(near, end="blind").reason == "not_regressed"


@pytest.mark.parametrize("better", [1, -1])
@pytest.mark.parametrize("seed", range(20))
def test_the_printed_interval_agrees_with_the_verdict(seed: int, better: int) -> None:
    drift = np.random.default_rng(seed).normal(0, 6)
    steps = np.random.default_rng([seed, 1]).normal(drift / 10, math.sqrt(0.1), 10)
    z = np.cumsum(steps) / np.sqrt(np.arange(1, 11) / 10)
    found = course([[at(float(one), better=better)] for one in z]).decisions[0]
    difference = found.difference
    assert difference is not None
    bad_side = difference.low if better == 1 else -difference.high
    good_side = difference.high if better == 1 else -difference.low

    assert (found.verdict.name == "regressed") == (bad_side > MARGIN)
    assert (found.verdict.name == "not_regressed") == (good_side < MARGIN)
    assert difference.low <= difference.d <= difference.high
    assert difference.low <= found.corrected <= difference.high


def test_a_rate_that_can_no_longer_pass_stops_for_futility_even_without_failures() -> None:
    """If there are no failures, the standard error is 0.

    With 50 pairs, the upper bound at a level of 50 % is up to 1.4 %. The margin is 1 percentage
    point.
    """
    none = structs.replace(
        by_se(0.0, -0.01, 0.0, 49.0), upper=lambda c: 1 - 0.5 ** ((1 + c) / 50) - 0.01
    )

    found = course([[none]], sizes=(50, 100))
    assert (found.reason, found.decisions[0].verdict.name) == ("futility", "inconclusive")
    assert course([[none]]).reason == "pending"


def test_the_upper_bound_of_a_rate_decides_whether_it_passes() -> None:
    few = structs.replace(by_se(0.0, -0.01, 0.0, 49.0), upper=lambda c: 0.002)
    enough = structs.replace(by_se(0.0, -0.01, 0.0, 49.0), upper=lambda c: -0.002)

    assert course([[few]]).reason == "pending"
    found = course([[few], [enough]])
    assert found.reason == "not_regressed"
    difference = found.decisions[0].difference
    assert difference is not None
    assert (difference.low, difference.high) == pytest.approx((0.0, 0.008))
    assert found.decisions[0].corrected == 0.0


def test_a_drift_of_one_target_prevents_futility() -> None:
    drifting = structs.replace(at(0.0), order="drift")
    found = course([[drifting] for _ in range(9)])

    assert (found.reason, len(found.analyses)) == ("pending", 9)


def test_failures_of_only_one_target_fail_the_run(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    chosen = lambda row: row["target"] == "west" and rng.random() < 0.15  # noqa: E731
    folder = planned_run(tmp_path, {"failure_rate": ["rate<+1pt"]})
    found = analyse_pairs(
        edit(
            folder,
            "turns",
            lambda _, row: row | ({"outcome": "error:server"} if chosen(row) else {}),
        )
    )

    assert (found.exit_status, found.pairs) == (1, 40)
    assert decision_sentence(found).startswith("west is worse than east: 1")
