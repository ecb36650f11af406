"""Turns of different traits: what is never pooled, how it is named, and that plain runs have nothing of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.metrics import TURN_TYPES
from bench.run.folder import row_reader
from bench.run.histograms import Histograms, Key
from bench.run.measured import record_rows
from reports import question
from reports.question import Stratum, in_order
from reports.summary.summary import Summary
from reports.summary.trust import noticed
from reports.text.terminal import report_text
from reports.turns import turns_of
from reports.wording.notices import notices, run_notices
from reports.wording.sentences import run_headline
from tests.reports import synthetic
from tests.reports.edited import Row, edited
from tests.reports.forms import run_forms
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan

PLAN = Plan(sessions=40, turns=5, targets=("west", "east"))
SLOWER_NS = 1_000_000_000


def with_calls(_: int, row: Row) -> Row:
    """Turns of `order_status` call functions in every other session, and take a second longer."""
    if row["step"] != "order_status" or int(row["session_id"][1:]) % 4 > 1:
        return row
    later = {name: row[name] and row[name] + SLOWER_NS for name in ("first_audio_at_ns", "first_audible_at_ns")}
    return row | later | {"turn_type": "function_calls"}


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return edited(synthetic.write(tmp_path_factory.mktemp("strata"), PLAN), with_calls)


def test_every_trait_has_words() -> None:
    assert list(question.TURN_TYPES) == list(TURN_TYPES)


def test_plain_turns_come_first_and_several_traits_after_the_first_of_them() -> None:
    assert in_order({"filler", "function_calls+filler", "new", "", "function_calls"}) == (
        "",
        "function_calls",
        "function_calls+filler",
        "filler",
        "new",
    )


def test_a_label_with_turns_of_two_traits_is_two_steps_named_apart(summary: Summary) -> None:
    steps = summary.turns.steps

    assert [step for step in steps if "order" in step] == ["order_status, regular", "order_status, with function calls"]
    assert [label for label in summary.turns.labels if "order" in label] == ["order_status"] * 2
    assert len(steps) == 6


def test_turns_too_few_for_a_median_are_told_by_what_sets_them_apart(tmp_path: Path) -> None:
    synthetic.write(tmp_path, Plan(sessions=40, turns=2))
    summary = edited(
        tmp_path, lambda i, row: row | ({"turn_type": "function_calls"} if i < 8 and row["turn"] == 2 else {})
    )

    said = run_headline(summary).replace("\N{NO-BREAK SPACE}", " ")
    assert "Too few sessions for a median (4 turns with function calls in 4 sessions; it takes 6 sessions)" in said


def test_each_trait_has_figures_of_its_own(summary: Summary) -> None:
    waits = {(f.target, f.stratum.turn_type): f for f in summary.metrics if (f.metric, f.step) == ("ttfa", "all")}

    assert {key: wait.n for key, wait in waits.items()} == {
        ("west", ""): 90, ("west", "function_calls"): 10, ("east", ""): 90, ("east", "function_calls"): 10,
    }  # fmt: skip
    assert waits["west", "function_calls"].at(0.5).value > waits["west", ""].at(0.5).value + 900
    assert {answer.stratum for answer in summary.answers} == {
        Stratum("speech_end"),
        Stratum("speech_end", "function_calls"),
    }


def test_a_failed_turn_is_taken_for_what_the_good_turns_of_its_label_are(tmp_path: Path) -> None:
    """It ended before it could call a function."""
    synthetic.write(tmp_path, Plan(sessions=10, turns=5))

    def change(index: int, row: Row) -> Row:
        if row["step"] != "order_status":
            return row
        failed = index < 20
        return (
            row
            | {"turn_type": None if failed else "function_calls"}
            | ({"outcome": "timeout:first_delta"} if failed else {})
        )

    answers = {answer.stratum.turn_type: answer for answer in edited(tmp_path, change).answers}
    assert (answers["function_calls"].turns, answers["function_calls"].failed) == (10, 4)
    assert (answers[""].turns, answers[""].failed) == (40, 0)


def test_histograms_are_told_apart(summary: Summary) -> None:
    histograms = Histograms()
    record_rows(row_reader(summary.run.folder), histograms)

    steps = ("voice_turns.order_status.speech_end", "voice_turns.order_status.function_calls.speech_end")
    found = [histograms.get(Key("ttfa", "west", step)) for step in steps]
    assert [histogram and histogram.get_total_count() for histogram in found] == [10, 10]


def with_fillers(_: int, row: Row) -> Row:
    """The sessions of `east` may speak fillers, and one turn of these calls functions, too."""
    if row["target"] != "east":
        return row
    return row | {"turn_type": "function_calls+filler" if (row["session_id"], row["turn"]) == ("s1", 2) else "filler"}


def test_turns_that_may_have_fillers_are_named_before_any_figure_and_never_compared_with_plain_ones(
    tmp_path: Path,
) -> None:
    synthetic.write(tmp_path, PLAN)
    summary = edited(tmp_path, with_fillers)
    (notice,) = [notice for notice in notices(summary) if "fillers" in notice]

    assert notice.startswith("100 turns are of sessions with fillers on (interim_response): the first sound")
    assert summary.differences == ()
    for text in (report_text(summary), *run_forms(summary)):
        assert "with fillers on" in " ".join(text.split())


@pytest.mark.parametrize(("heard_alone", "whose"), [((), None), (("west",), "west: "), (("west", "east"), "")])
def test_a_service_that_tells_nothing_of_turns_is_named_in_one_line(
    heard_alone: tuple[str, ...], whose: str | None
) -> None:
    run = summary_of(PLAN).run
    targets = [t | {"full_duplex": t["name"] in heard_alone} for t in run.metadata["targets"]]
    told = replace(run, metadata=run.metadata | {"targets": targets})
    said = [
        notice
        for notice in run_notices(told, noticed(told, turns_of(told), told.sessions))
        if "events for turns" in notice
    ]

    unread = [line for line in run_notices(told, noticed(told, turns_of(told), told.sessions)) if "ignored" in line]
    assert [line.endswith("were ignored: conversation.item.added 3.") for line in unread] == [True] * len(said)
    begun = [line.startswith(f"{whose}The protocol has no events for turns:") for line in said]
    assert begun == [True] * (whose is not None)
