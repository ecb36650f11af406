"""How waits grow with the conversation: bins of tokens, slopes and what was cached, in every report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reports
from bench.errors import UsageError
from reports.gate.baselines import baseline_of
from reports.gate.by_limit import limit_results
from reports.looks.plan import planned
from reports.page import calls
from reports.runs import load_for_report
from reports.sample_size import size_question
from reports.sides.side import sides_of
from reports.summary.summary import Summary
from reports.text.document import summary_data
from reports.thresholds import parse
from tests.reports import synthetic
from tests.reports.comparisons.build import quick, run
from tests.reports.edited import Row, edit, edited
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan

pytestmark = pytest.mark.usefixtures("few_draws")

PLAN = Plan(sessions=80, turns=10, targets=("west", "east"), paired=True)
STEEP = 120
"""Of `east`, ms with each 1,000 tokens."""


def growing(tokens: int = 1_000, *, slope: float = STEEP) -> Any:
    """Each turn reads so many tokens more, half of them cached; `east` takes so much longer for it."""

    def change(_: int, row: Row) -> Row:
        read = 300 + tokens * (row["turn"] - 1)
        later_ns = int(slope * read / 1000 * 1e6) if row["target"] == "east" else 0
        moved = {name: row[name] and row[name] + later_ns for name in ("first_audio_at_ns", "first_audible_at_ns")}
        return row | moved | {"context_tokens": read, "context_cached_tokens": read // 2}

    return change


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("growing")
    run(path, PLAN)
    edit(path, "turns", growing())
    return path


@pytest.fixture(scope="module")
def summary(folder: Path) -> Summary:
    from reports.summary.summary import summarise

    return summarise(load_for_report(folder))


def slope(summary: Summary, target: str) -> float:
    return next(f for f in summary.slopes if (f.metric, f.target) == ("latency_slope", target)).at(0.5).value


def test_the_slope_is_what_the_wait_grows_by(summary: Summary) -> None:
    assert slope(summary, "east") - slope(summary, "west") == pytest.approx(STEEP, abs=15)


def test_by_uncached_tokens_it_is_twice_as_steep_where_half_are_cached(summary: Summary) -> None:
    of = {f.target: f for f in summary.slopes if f.metric == "latency_slope_uncached"}

    assert of["east"].at(0.5).value == pytest.approx(2 * slope(summary, "east"), rel=0.05)


def test_turns_stand_in_the_bins_of_their_tokens(summary: Summary) -> None:
    rows = [row for row in summary_data(summary)["groups"] if (row["by"], row["target"]) == ("context", "west")]

    assert [(row["from"], row["to"], row["n"]) for row in rows] == [
        (0, 2000, 80), (2000, 4000, 80), (4000, 8000, 160), (8000, 16000, 80),
    ]  # fmt: skip


def test_the_first_turn_has_no_cached_share(summary: Summary) -> None:
    (west, _) = [f for f in summary.metrics if (f.metric, f.step) == ("cached_share", "all")]

    assert (west.unit, west.n) == ("%", 40 * 9)
    assert west.at(0.5).value == pytest.approx(50, abs=0.1)


def test_a_run_of_short_conversations_says_nothing_of_it(tmp_path: Path) -> None:
    synthetic.write(tmp_path, Plan(sessions=20, turns=5))
    short = edited(tmp_path, growing(50))

    assert short.slopes == ()
    assert "context" not in {waits.by for waits in short.waits}
    for summary in (short, summary_of(Plan(sessions=20, turns=5))):
        assert calls.context(summary) is None


def test_quantiles_in_python_are_those_of_the_report(folder: Path, summary: Summary) -> None:
    frame = reports.load(folder).quantiles("latency_slope").set_index(["target", "p"])

    assert frame.loc[("east", 0.5), "value"] == slope(summary, "east")
    assert np.isfinite(frame["low"][("east", 0.5)])


def test_a_steeper_candidate_regresses(folder: Path) -> None:
    finding = next(f for f in quick(sides_of([folder])).findings if f.question.metric == "latency_slope")

    assert finding.verdict.word == "regressed"
    assert finding.difference is not None
    assert finding.difference.d == pytest.approx(STEEP, abs=15)


def test_limits_and_margins_are_in_ms_of_a_thousand_tokens(folder: Path) -> None:
    west, east = sides_of([folder])

    assert [item.result for side in (west, east) for item in limit_results(parse("latency_slope", "med<80"), side)] == [
        "pass", "fail",
    ]  # fmt: skip
    margin = parse("latency_slope", "med<+10ms").margin
    assert margin is not None
    assert (margin.plus, margin.ratio) == (10, 0)


@pytest.mark.parametrize("text", ["med<+10%", "avg<20", "med>10"])
def test_what_cannot_be_asked_of_a_slope_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse("latency_slope", text)


def test_what_has_no_logarithm_is_neither_stored_nor_planned_with(folder: Path, tmp_path: Path) -> None:
    stored = baseline_of(sides_of([folder])[0])
    assert not any("slope" in row.metric for row in stored.quantiles)
    with pytest.raises(UsageError, match="is a slope"):
        size_question("latency_slope", None, None, 0.8)
    file = tmp_path / "gates.yaml"
    file.write_text('latency_slope: ["med<+10ms"]\n')
    with pytest.raises(UsageError, match="interim analyses decide nothing by a slope"):
        planned({"thresholds": str(file), "metric": "ttfa", "pairs": 100, "every": 20, "scripts": []})
