"""A comparison on the terminal, as a comment, and for programs."""

from __future__ import annotations

import json
import re

import pytest

from reports.comparisons.comparison import Comparison
from reports.comparisons.forest_rows import finding_row
from reports.comparisons.outputs import comparison_json, comparison_text
from reports.finding import RESULT_OF_STATUS
from reports.numbers import NBSP
from reports.sides import fairness
from reports.sides.fairness import FairnessCheck
from reports.sides.side import sides_of
from reports.wording.validity import Cause
from reports.wording.verdicts import figure
from tests.reports import synthetic
from tests.reports.comparisons.build import PAIRED, RUN, quick, run, targets, two
from tests.reports.comparisons.invented import comparison, finding, ratio
from tests.reports.forms import comparison_markdown
from tests.reports.synthetic import Plan

THROTTLED = Cause("throttled", "gateway: 2.1 % was throttled", "lower the load")
UNFAIR = FairnessCheck(fairness.THROTTLED, ("0 %", "more"), "fail", (THROTTLED,))
LABELS = ("gateway", "a_very_long_label_of_a_target.with_a_variant_that_is_long_too_and_longer")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[Comparison]:
    """Real ones of every sort, and invented ones."""
    tmp_path = tmp_path_factory.mktemp("many")
    three = Plan(sessions=30, turns=4, targets=("a", "b", "c"), paired=True, kinds=("vad", "manual"))
    killed = synthetic.write_killed(tmp_path / "killed", Plan(sessions=6, turns=4))
    return [
        quick(targets(PAIRED)),
        quick(targets(three)),
        quick(two(RUN, Plan(sessions=30, turns=4, failed=0.6, refused=2))),
        quick(two(RUN, Plan(sessions=0, refused=2))),
        quick(two(Plan(sessions=0))),
        quick(sides_of([run(tmp_path / "one"), killed])),
        comparison(*LABELS, checks=()),
        comparison("gateway", checks=(UNFAIR,)),
        comparison("gateway", findings=()),
    ]


@pytest.mark.parametrize("width", [140, 100, 80, 60])
def test_a_terminal_shows_both_values_and_the_interval_of_each_figure_however_narrow_it_is(
    many: list[Comparison], width: int
) -> None:
    for found in many:
        lines = comparison_text(found, width).splitlines()
        for row in (finding_row(one, found) for one in found.findings):
            values = [value.replace(NBSP, " ") for value in (*row.values, row.told)]
            begins = [
                at for at, line in enumerate(lines) if f"{line} ".startswith(f"  {figure(row.finding.question)} ")
            ]
            shown = (" ".join(lines[at : at + 3]) for at in begins)
            assert any(all(value in text for value in values) for text in shown)


@pytest.mark.parametrize("width", [140, 100, 80, 60])
def test_lines_are_no_longer_than_the_terminal(many: list[Comparison], width: int) -> None:
    for found in many:
        for line in comparison_text(found, width).splitlines():
            assert len(line) <= width


def test_colour_is_there_where_it_is_wanted_and_changes_no_letter() -> None:
    found = comparison("gateway")
    inked = comparison_text(found, colour=True)

    assert "\x1b[" in inked
    assert re.sub(r"\x1b\[\d+m", "", inked) == comparison_text(found)


def test_a_comment_has_the_verdict_first_and_at_most_ten_lines_of_table() -> None:
    figures = tuple(finding("ttfa", 0.95, "equivalent", ratio(1000, 1000, 0.99, 1.01), primary=True) for _ in range(12))
    worst = finding("ttfa", 0.5, "regressed", ratio(1000, 2000, 1.9, 2.1), primary=True)
    lines = comparison_markdown(comparison("gateway", findings=(*figures, worst))).splitlines()
    head = next(place for place, line in enumerate(lines) if line.startswith("| metric | direct"))
    table = [line for line in lines[head + 2 : lines.index("", head)] if line.startswith("|")]

    assert lines[0].startswith("### ✕ gateway regressed: ")
    assert len(table) == 10
    assert "✕ regressed" in table[0]
    assert any("3 more primary metrics" in line for line in lines)


def test_the_document_of_each_comparison_has_its_status_and_all_of_its_findings(many: list[Comparison]) -> None:
    for found in many:
        data = json.loads(comparison_json(found))
        assert (data["result"], len(data["comparisons"])) == (RESULT_OF_STATUS[found.exit_status], len(found.findings))


def test_the_document_has_the_numbers_of_a_finding() -> None:
    data = json.loads(comparison_json(comparison("gateway")))
    first = data["comparisons"][0]

    told = [first[key] for key in ("title", "verdict", "primary", "passes")]
    assert told == ["ttfa p95", "regressed", True, False]
    assert first["difference"]["baseline"] == 1600
    assert first["turns"] == {"baseline": 2000, "candidate": 2000}
    endless = next(one for one in data["comparisons"] if one["metric"] == "input_transcript")
    assert endless["difference"]["candidate"] is None
    assert endless["difference"]["candidate_in_failures"] is True


def test_figures_of_two_origins_are_told_apart_however_narrow_the_terminal(many: list[Comparison]) -> None:
    for width in (100, 70, 60):
        lines = comparison_text(many[1], width).splitlines()
        names = [line[2:].split("  ")[0] for line in lines if line.startswith("  voice_to_")]
        assert len(names) == 8  # p50 and p95 of two origins on two candidates
        assert len(set(names)) == 4
