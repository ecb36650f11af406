"""Turn-taking in the report of a run and in comparisons: values, texts, and what is unknown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reports.analysis.comparisons.measurements import measured
from reports.analysis.summary.summary import Summary
from reports.analysis.summary.turn_taking import ALL_PAUSES, CUT_OFF_PAUSE
from reports.analysis.targets.named import matched_to_the_first, parse_targets
from reports.metrics.metric_spec import POINTS, MetricSpec
from reports.metrics.statistic_types.rate import Rate
from reports.pages.comparisons.document import comparison_data
from reports.pages.run_report.document import summary_data
from reports.results.value import RATE, BaselineFinding, Value
from reports.statistics.differences import Inference, Margin
from tests.helpers import MS
from tests.reports import synthetic
from tests.reports.comparisons.build import quick, run
from tests.reports.edited import Row, edit, edited
from tests.reports.forms import comparison_html, comparison_text, run_text
from tests.reports.pauses import ONE, PLAN, turn_taking


def plain(text: str) -> str:
    return " ".join(text.replace("\u00a0", " ").split())


def of_pauses(values: Iterable[Value], statistic: str = RATE) -> dict[str, Value]:
    """Return the value of all turns with a pause, by target."""
    found = [
        value for value in values if value.group is not None and value.group.name == ALL_PAUSES
    ]
    return {value.target: value for value in found if value.statistic == statistic}


def of_step(summary: Summary, step: str, event: str, target: str = "sim") -> Value:
    return next(
        value
        for value in summary.turn_taking
        if (value.step, value.metric, value.target) == (step, event, target)
    )


@pytest.fixture
def one(tmp_path: Path) -> Callable[..., Summary]:
    """Return the summary of a run of one target in which `change` also changes the rows."""

    def make(change: Callable[[Row], dict[str, Any]] = lambda row: {}) -> Summary:
        synthetic.write(tmp_path, ONE)
        return edited(tmp_path, lambda index, row: (made := turn_taking(index, row)) | change(made))

    return make


def test_the_section_states_the_cut_off_pause_and_the_shares_of_each_step(tmp_path: Path) -> None:
    summary = edited(synthetic.write(tmp_path, PLAN), turn_taking)
    pauses = {
        target: found.value
        for target, found in of_pauses(summary.turn_taking, CUT_OFF_PAUSE).items()
    }
    text = plain(run_text(summary, 160))

    assert pauses == {"west": 720, "east": 880}
    assert "west: half of the turns are cut off in a pause of 720 ms (95 %: " in text
    assert "; 80 turns with 300 ms to 1.02 s)" in text
    assert of_step(summary, "opening_hours", "false_reply_rate", "east").value == 0.5
    assert of_step(summary, "order_status", "yield_rate", "east").value == 0.5
    assert of_step(summary, "refund_policy", "no_answer", "east").count == 40
    assert of_step(summary, "opening_hours", "false_reply_rate", "west").count == 0
    assert of_step(summary, "goodbye", "yield_rate", "west").n == 0


def test_a_run_without_pauses_in_speech_has_no_turn_taking(tmp_path: Path) -> None:
    name = run(tmp_path, PLAN)
    comparison = quick(parse_targets([name]))

    assert [
        comparison_data(comparison)[key] for key in ("turn_taking", "turn_taking_findings")
    ] == [[], []]
    assert "Turn-taking" not in comparison_html(comparison)


def test_a_turn_whose_speech_never_ended_is_cut_off_if_the_service_ended_it_and_otherwise_unknown(
    one: Callable[..., Summary],
) -> None:
    def change(row: Row) -> dict[str, Any]:
        if row["turn"] != 1:
            return {}
        is_cut = row["speech_pause_ns"] > 700 * MS
        return (
            {"cut_off": None, "outcome": "cancelled:turn_detected"} if is_cut else {"cut_off": None}
        )

    found = of_pauses(one(change).turn_taking)["sim"]

    assert found.count == found.n > 0
    assert found.n < ONE.sessions


def test_turns_without_a_reported_end_of_the_turn_are_counted_without_its_delay(
    one: Callable[..., Summary],
) -> None:
    summary = one(lambda row: {"speech_stopped_at_ns": None, "committed_at_ns": None})

    delays = [
        value
        for value in summary_data(summary)["turn_taking"]
        if value["metric"] == "end_of_turn_delay"
    ]

    assert of_pauses(summary.turn_taking)["sim"].n == ONE.sessions
    assert delays
    assert all((delay["value"], delay["n"]) == (None, 0) for delay in delays)


def test_a_turn_that_the_end_of_the_run_interrupted_has_no_event(
    one: Callable[..., Summary],
) -> None:
    summary = one(lambda row: {"outcome": "unfinished"} if row["turn"] == 1 else {})

    assert of_pauses(summary.turn_taking) == {}
    assert of_step(summary, "greeting", "no_answer").n == 0


def test_the_cut_off_pause_is_unknown_if_each_pause_or_none_is_cut_off(
    one: Callable[..., Summary],
) -> None:
    summary = one(lambda row: {"cut_off": True} if row["turn"] == 1 else {})

    assert math.isnan(of_pauses(summary.turn_taking, CUT_OFF_PAUSE)["sim"].value)
    assert "more than half of the turns are cut off with each pause (40 turns with " in plain(
        run_text(summary)
    )


def difference(
    rows: tuple[BaselineFinding, ...], step: str, event: str, candidate: str = "east"
) -> BaselineFinding:
    return next(
        row
        for row in rows
        if (row.value.step, row.value.metric, row.value.target) == (step, event, candidate)
    )


def test_a_comparison_has_the_shares_of_each_step_with_the_difference_that_a_rate_would_have(
    tmp_path: Path,
) -> None:
    folder = Path(run(tmp_path, PLAN))
    sides = parse_targets([edit(folder, "turns", turn_taking)])
    comparison = quick(sides)
    rows, method = comparison.turn_taking, comparison.method
    how = Inference(method.level, rate_run_sd=method.rate_run_sd)

    for label, rate in (("opening_hours", "false_reply_rate"), ("order_status", "yield_rate")):
        row = difference(rows, label, rate)
        spec = MetricSpec(rate, Rate(), Margin(points=POINTS), step=label)
        found = measured(*matched_to_the_first(sides)[0], [spec], how)[0].difference
        assert found is not None
        assert (row.difference, row.low, row.high) == (found.d, found.low, found.high)
        assert row.low < row.difference < row.high
    pooled = difference(rows, "", "cut_off")
    assert pooled.against.n == pooled.value.n == 80
    assert pooled.high < 0
    assert difference(rows, "refund_policy", "no_answer").difference == 0.5
    assert not any(row.value.metric == "yield_rate" for row in rows if row.value.step == "goodbye")


def test_the_table_of_a_comparison_names_both_shares_their_difference_and_the_cut_off_pauses(
    tmp_path: Path,
) -> None:
    comparison = quick(parse_targets([edit(Path(run(tmp_path, PLAN)), "turns", turn_taking)]))
    text, document = plain(comparison_text(comparison, 140)), comparison_data(comparison)

    assert "east: half of the turns are cut off in a pause of 880 ms" in text
    assert "order_status stopped by an interruption 100 %" in text
    assert "−50.0 points" in text
    assert [of["value"] for of in document["turn_taking"] if of["statistic"] == CUT_OFF_PAUSE] == [
        720,
        880,
    ]
    assert "step" not in document["turn_taking_findings"][0]["value"]
    assert "Which target cuts callers off?" in comparison_html(comparison)


def test_two_runs_are_compared_with_the_variation_between_runs(tmp_path: Path) -> None:
    paired = Path(run(tmp_path / "both", PLAN))
    of_pairs = quick(parse_targets([edit(paired, "turns", turn_taking)])).turn_taking
    folders = [
        Path(run(tmp_path / name, replace(PLAN, seed=seed)))
        for name, seed in (("one", 7), ("other", 8))
    ]
    one, other = (edit(folder, "turns", turn_taking) for folder in folders)
    rows = quick(parse_targets([f"{one}:west", f"{other}:east"])).turn_taking
    row, alone = difference(rows, "", "cut_off"), difference(of_pairs, "", "cut_off")

    assert row.difference == pytest.approx(alone.difference)
    assert row.high - row.low > alone.high - alone.low


def test_fewer_than_ten_turns_of_a_target_are_counted_without_a_difference(tmp_path: Path) -> None:
    def change(index: int, row: Row) -> Row:
        made = turn_taking(index, row)
        is_rare = row["turn"] == 3 and row["target"] == "east" and index >= 90
        return made | ({"yielded": None} if is_rare else {})

    comparison = quick(parse_targets([edit(Path(run(tmp_path, PLAN)), "turns", change)]))
    row = difference(comparison.turn_taking, "order_status", "yield_rate")

    assert 0 < row.value.n < 10
    assert math.isnan(row.difference)
    assert f"{row.value.count} of {row.value.n} n/a" in plain(comparison_text(comparison, 140))


def test_each_candidate_is_compared_with_the_first_target(tmp_path: Path) -> None:
    plan = replace(PLAN, sessions=90, targets=("west", "mid", "east"))
    folder = Path(run(tmp_path, plan))
    comparison = quick(parse_targets([edit(folder, "turns", turn_taking)]))
    rows = comparison.turn_taking

    assert [*of_pauses(comparison.pauses)] == ["west", "mid", "east"]
    assert {row.value.target for row in rows} == {"mid", "east"}
    assert difference(rows, "order_status", "yield_rate", "mid").value.n == 30
