"""Interim analyses on the page of a comparison: estimates, the bounds that decide, and why the run ended."""

from __future__ import annotations

from reports.comparisons.interim import interim_analyses
from reports.looks.decision import Decision
from reports.looks.sequence import by_se, untestable
from reports.statistics.verdicts import BECAUSE_OF
from tests.reports.comparisons.invented import decision, look

NBSP = "\u00a0"


def cells(made: Decision) -> list[list[str]]:
    """The texts of the table, a row for each analysis."""
    table = interim_analyses(made)
    assert table is not None
    return [[f"{cell.text} {cell.below}".strip().replace(NBSP, " ") for cell in row.cells] for row in table.rows]


def test_the_bounds_are_those_that_decide_and_few_pairs_widen_them() -> None:
    """At c = 1.645 and many degrees of freedom they are those of one test at 5 %: ln 1.35 ∓ 0.164."""
    rate = by_se(0.0, -0.01, 0.01, 49.0)
    many, few = (
        cells(decision(looks=(look(0, by_se(0.3, 0.2, 0.1, df), rate, c=1.6449), look(1), look(2))))[0][2]
        for df in (1e9, 5.0)
    )

    assert many == "+35 % (+15 % to +59 %)"
    assert few == "+35 % (+10 % to +65 %)"


def test_an_analysis_without_an_estimate_has_a_dash() -> None:
    absent, untested = untestable(BECAUSE_OF["drift"]), untestable(BECAUSE_OF["drift"], 0.3)
    made = decision(looks=(look(0, absent, look(0).seen[1]), look(1, untested, look(1).seen[1]), look(2)))

    assert [row[2] for row in cells(made)][:2] == ["–", "–"]
    assert interim_analyses(decision(looks=())) is None
