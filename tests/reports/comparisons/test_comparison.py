"""Whole comparisons of invented runs: what is found, how it is judged, what status it has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import UsageError
from reports.comparisons.comparison import Comparison, drift_notices
from reports.finding import Arm, Finding, Measured
from reports.question import Question, margin_of
from reports.runs import load_for_report
from reports.sides.fairness import FairnessCheck
from reports.sides.side import Side, among, sample_of, sides_of, targets_of
from reports.statistics.baselines import RUN_SD
from reports.statistics.differences import Margin
from reports.statistics.quantiles import quantile
from tests.reports import synthetic
from tests.reports.comparisons.build import quick, run, targets, two
from tests.reports.comparisons.invented import ratio
from tests.reports.edited import Row, edit
from tests.reports.synthetic import Plan

RUN = Plan(sessions=60, turns=10)
PAIRED = Plan(sessions=120, turns=10, targets=("west", "east"), paired=True)
TTFA = Question("ttfa", "quantile", margin_of(0.5), 0.5, primary=True)
FAILURES = Question("failure_rate", "rate", Margin(points=0.01), primary=True)
GATES = [TTFA, replace(TTFA, p=0.95, margin=margin_of(0.95)), FAILURES]


def of(comparison: Comparison, name: str, candidate: str = "") -> Finding:
    return next(
        finding
        for finding in comparison.findings
        if finding.question.name == name and finding.candidate == (candidate or finding.candidate)
    )


def test_figures_are_those_of_the_arms() -> None:
    sides = two(RUN, Plan(sessions=60, turns=10, median_ms=900))
    found = of(quick(sides, questions=[replace(TTFA, p=0.95)]), "ttfa p95").difference

    assert found is not None
    for side, value in zip(sides, (found.baseline, found.candidate), strict=True):
        assert value == quantile(sample_of(side, replace(TTFA, p=0.95)).values, 0.95)
    assert found.d == pytest.approx(np.log(found.candidate / found.baseline))
    assert found.low < found.d < found.high


SLOW = replace(RUN, median_ms=1200)
GATED = ("ttfa p50", "ttfa p95", "failure_rate")
JUDGED: dict[str, tuple[Plan, Plan, list[Question] | None, dict[str, str], int]] = {
    # (two runs, questions; words of primary metrics, status)
    "a service that became twice as slow regressed":
        (RUN, SLOW, None, dict(zip(GATED, ("regressed", "regressed", "inconclusive"), strict=True)), 1),
    "one that became twice as fast improved":
        (SLOW, replace(RUN, seed=8), GATES, dict(zip(GATED, ("improved", "improved", "inconclusive"), strict=True)), 3),
    "a side all of whose turns failed regressed":
        (RUN, replace(RUN, failed=1.0), GATES, dict.fromkeys(GATED, "regressed"), 4),
    "two sides without turns are invalid":
        (Plan(sessions=0), Plan(sessions=0, seed=8), GATES, dict.fromkeys(GATED, "inconclusive"), 4),
    "a gate that no origin can answer is not passed":
        (RUN, replace(RUN, kinds=("manual",)), [TTFA], {"ttfa p50": "inconclusive"}, 4),
    "no gate at all is never green": (RUN, replace(RUN, seed=8), [], {}, 4),
    "nor is one of a step that there is not":
        (RUN, replace(RUN, seed=8), [replace(TTFA, step="none")], {"ttfa none p50": "inconclusive"}, 3),
}  # fmt: skip


@pytest.mark.parametrize(("first", "second", "asked", "words", "status"), JUDGED.values(), ids=JUDGED)
def test_two_runs_come_to_words_and_a_status(
    first: Plan, second: Plan, asked: list[Question] | None, words: dict[str, str], status: int
) -> None:
    comparison = quick(two(first, second), **({} if asked is None else {"questions": asked}))

    assert {finding.question.name: finding.verdict.word for finding in comparison.primary} == words
    assert comparison.exit_status == status


def test_failures_regress_by_points() -> None:
    sides = two(RUN, Plan(sessions=60, turns=10, failed=0.2))
    finding = of(quick(sides, questions=[FAILURES]), "failure_rate")

    assert finding.verdict.word == "regressed"
    assert finding.difference is not None
    assert finding.difference.scale == "points"
    assert finding.difference.d == pytest.approx(finding.failed[1] / finding.turns[1])


def test_two_runs_are_provisional_with_an_assumed_spread() -> None:
    sides = two(RUN)
    comparison, without = quick(sides), quick(sides, questions=[TTFA], run_sd=0.0)
    wide, narrow = of(comparison, "ttfa p50").difference, of(without, "ttfa p50").difference

    assert comparison.method.run_sd == RUN_SD
    assert all(finding.verdict.provisional for finding in comparison.findings)
    assert wide is not None
    assert narrow is not None
    assert wide.high - wide.low > narrow.high - narrow.low


def test_targets_of_one_run_are_paired_and_not_provisional() -> None:
    comparison = quick(targets(PAIRED))

    assert (comparison.method.design, comparison.method.unit, comparison.method.run_sd) == ("pairs", 60, 0.0)
    assert not any(
        one.verdict.provisional and not (one.difference and one.difference.order) for one in comparison.findings
    )
    assert of(comparison, "ttfa p50").sessions == (60, 60)


def test_each_candidate_is_set_against_the_first_side_and_holm_is_over_all() -> None:
    comparison = quick(targets(Plan(sessions=180, turns=10, targets=("a", "b", "c"), paired=True)))

    assert [finding.candidate for finding in comparison.primary] == ["b"] * 3 + ["c"] * 3
    assert comparison.method.holm == 6
    primary = [finding.question.primary for finding in comparison.findings]
    assert primary == sorted(primary, reverse=True)


def test_a_candidate_is_compared_as_it_would_be_alone_with_the_baseline() -> None:
    sides = among([targets(replace(RUN, seed=seed), f"run{seed}")[0] for seed in (7, 8, 9)])
    together = quick(sides, questions=[TTFA, FAILURES])

    for side, found in zip(sides[1:], ("run8", "run9"), strict=True):
        alone = of(quick(among([sides[0], side]), questions=[TTFA]), "ttfa p50")
        assert alone.difference in [
            one.difference for one in together.findings if found in one.candidate and one.question == alone.question
        ]


def test_pairs_that_a_third_target_lacks_are_not_missed_by_the_second(tmp_path: Path) -> None:
    folder = run(tmp_path, Plan(sessions=180, turns=5, targets=("a", "b", "c"), paired=True))
    edit(tmp_path, "sessions", lambda _, row: None if row["target"] == "c" and row["pair"] % 2 else row)
    sides = sides_of([folder])
    alone, together = quick(among(sides[:2]), questions=[TTFA]), quick(sides, questions=GATES)

    assert [finding.sessions for finding in together.primary] == [(60, 60)] * 3 + [(30, 30)] * 3
    assert of(together, "ttfa p50").difference == of(alone, "ttfa p50").difference
    assert (together.method.design, together.method.unit) == ("pairs", 30)


def failing(sides: tuple[Side, ...]) -> list[FairnessCheck]:
    return [one for one in quick(sides, questions=[TTFA]).checks if one.name == "sessions with a failed turn"]


def test_sessions_with_a_failed_turn_are_told_beside_the_rate_of_turns(tmp_path: Path) -> None:
    run(tmp_path, PAIRED)
    edit(tmp_path, "turns", lambda _, row: row | ({"outcome": "failed:no_audio"} if _clustered(row) else {}))
    (check,) = failing(sides_of([tmp_path]))

    assert failing(targets(PAIRED)) == []
    assert check.result == "informational"
    assert [text.replace("\u00a0", " ") for text in check.texts] == ["0 %", "10 % (+3.59 to +18.2 points)"]


def _clustered(row: Any) -> bool:
    """All turns of six of the 60 sessions of the candidate."""
    return bool(row["target"] == "east" and row["pair"] < 6)


def test_a_comparison_is_the_same_each_time_and_whatever_else_is_asked() -> None:
    sides = two(RUN)
    first, again, alone = quick(sides), quick(sides), quick(sides, questions=[TTFA])

    assert first.findings == again.findings
    assert alone.findings[0].difference == of(first, "ttfa p50").difference
    assert alone.method.seed == first.method.seed


def test_a_killed_run_and_a_small_one_are_compared_and_not_green(tmp_path: Path) -> None:
    killed = synthetic.write_killed(tmp_path / "killed", RUN)
    old = Path(synthetic.__file__).parent / "stored"

    one, cut, stored = targets(RUN)[0], *(targets_of(load_for_report(folder))[0] for folder in (killed, old))

    assert quick(among([one, cut]), questions=GATES).exit_status == 4
    assert quick(among([stored, one])).exit_status == 4


def test_questions_of_ones_own_are_answered_in_their_order() -> None:
    asked = [
        Question("failure_rate", "rate", Margin(points=0.05), primary=True),
        Question("ttfa", "quantile", Margin(ratio=0.2, plus=30), 0.75, primary=True, step="greeting"),
        Question("audio_speed", "mean", Margin(ratio=0.1), primary=True),
    ]
    comparison = quick(two(RUN), questions=asked)

    assert [finding.question for finding in comparison.findings] == asked
    assert [finding.turns for finding in comparison.findings] == [(600, 600), (120, 120), (600, 600)]


def test_what_is_neither_better_nor_worse_is_refused() -> None:
    with pytest.raises(UsageError, match="session_duration cannot be compared"):
        quick(two(RUN), questions=[replace(TTFA, metric="session_duration")])


def test_a_drift_of_one_arms_own_is_found_and_makes_verdicts_provisional(tmp_path: Path) -> None:
    run(tmp_path, PAIRED)
    late = {f"s{at:05d}": round(3e6 * at) for at in range(1, 120, 2)}
    edit(tmp_path, "turns", lambda _, row: _later(row, late.get(row["session_id"], 0)))
    calm, own = (quick(sides, questions=[TTFA, FAILURES]) for sides in (targets(PAIRED), sides_of([tmp_path])))

    assert not of(calm, "ttfa p50").verdict.provisional
    assert of(own, "ttfa p50").verdict.provisional
    assert not of(own, "failure_rate").verdict.provisional
    assert any(notice.startswith("Latency of one target drifted (ttfa") for notice in own.notices)
    assert not any("drifted" in notice for notice in calm.notices)


def _later(row: Row, by_ns: int) -> Row:
    first = row["first_audio_at_ns"]
    return row | {"first_audio_at_ns": None if first is None else first + by_ns}


def test_a_drift_of_what_is_not_gated_stands_at_its_row_alone() -> None:
    apart = replace(ratio(100, 101, 0.98, 1.02), order="drift")
    asked = Question("audio_received", "quantile", Margin(0.1), 0.5)
    arms = Arm(80, 80, 0), Arm(80, 80, 0)
    informs, gates = (Measured(replace(asked, primary=primary), "new", apart, arms) for primary in (False, True))

    assert list(drift_notices([informs])) == []
    assert len(list(drift_notices([informs, gates]))) == 1
