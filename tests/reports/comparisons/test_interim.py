"""Interim analyses on the page of a comparison: estimates, the bounds that decide, and why the run ended."""

from __future__ import annotations

from dataclasses import replace

from reports.comparisons.interim import end_reason, interim_analyses, verdict_lines
from reports.looks.decision import Decision
from reports.looks.sequence import by_se, untestable
from reports.statistics.verdicts import BECAUSE_OF, NOT_AFTER_HOLM
from tests.reports.comparisons.invented import RULINGS, decision, look

NBSP = "\u00a0"


def cells(made: Decision) -> list[list[str]]:
    """The texts of the table, a row for each analysis."""
    table = interim_analyses(made)
    assert table is not None
    return [[f"{cell.text} {cell.below}".strip().replace(NBSP, " ") for cell in row.cells] for row in table.rows]


def test_each_analysis_has_the_estimate_of_each_metric_and_the_one_that_decided_has_its_verdict() -> None:
    rows = cells(decision())

    assert [row[:2] for row in rows] == [["1 of 5", "50"], ["2 of 5", "100"], ["3 of 5", "150"]]
    assert [row[2].endswith("✕ slower") for row in rows] == [False, False, True]
    assert [row[3].endswith("✓ not worse") for row in rows] == [False, True, False]
    assert rows[0][3].startswith("+0.10 points (")


def test_the_bounds_are_those_that_decide_and_few_pairs_widen_them() -> None:
    """At c = 1.645 and many degrees of freedom they are those of one test at 5 %: ln 1.35 ∓ 0.164."""
    rate = by_se(0.0, -0.01, 0.01, 49.0)
    many, few = (
        cells(decision(looks=(look(0, by_se(0.3, 0.2, 0.1, df), rate, c=1.6449), look(1), look(2))))[0][2]
        for df in (1e9, 5.0)
    )

    assert many == "+35 % (+15 to +59 %)"
    assert few == "+35 % (+10 to +65 %)"


def test_an_analysis_without_an_estimate_has_a_dash() -> None:
    absent, untested = untestable(BECAUSE_OF["drift"]), untestable(BECAUSE_OF["drift"], 0.3)
    made = decision(looks=(look(0, absent, look(0).seen[1]), look(1, untested, look(1).seen[1]), look(2)))

    assert [row[2] for row in cells(made)][:2] == ["–", "–"]
    assert interim_analyses(decision(looks=())) is None


def test_a_sentence_for_each_metric_has_its_verdict_its_estimate_and_the_correction() -> None:
    lines = [line.replace(NBSP, " ") for line in verdict_lines(decision())]
    undecided = replace(RULINGS[0], word="inconclusive", reason=NOT_AFTER_HOLM)

    assert lines == [
        "✕ ttfa p95 slower at 150 pairs: +47 %, corrected for the early stop +45 %; the margin is 20 %.",
        "✓ failure_rate not worse at 100 pairs: +0.10 points, corrected for the early stop +0.10 points; "
        "the margin is 1 point.",
    ]
    first = verdict_lines(decision(rulings=(undecided, RULINGS[1])))[0]
    assert first.startswith(
        "? ttfa p95 inconclusive (beyond the margin on its own, not after Holm’s correction) at 150"
    )
    assert "corrected" not in first


def test_why_it_ended_is_a_sentence() -> None:
    assert end_reason(decision()).replace(NBSP, " ") == (
        "Stopped at analysis 3 of 5, at 150 pairs. A primary metric is worse than its margin allows. "
        "7 whole pairs after that analysis are not in the verdict."
    )
    assert end_reason(decision(reason="pending", pairs=150)) == "The run goes on."
