"""What is asked by default, and of what apart."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from reports.question import Question, Stratum, margin_of
from reports.runs import load_for_report
from reports.sides.questions import by_stratum, default_questions
from reports.sides.side import Side, among, sample_of, sides_of, targets_of
from reports.statistics.differences import Margin
from tests.reports.comparisons.build import PAIRED, RUN, quick, run, targets, two
from tests.reports.edited import edit
from tests.reports.shared import folder as shared_folder
from tests.reports.synthetic import Plan

REQUESTED, SPEECH_END = Stratum("request_sent"), Stratum("speech_end")
MIXED = Plan(sessions=40, turns=5, targets=("west", "east"), kinds=("vad", "manual", "typed"), paired=True)


def test_margins_are_those_of_the_quantile_or_the_next_higher_one() -> None:
    assert [margin_of(p).ratio for p in (0.05, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)] == [
        0.1,
        0.1,
        0.15,
        0.15,
        0.2,
        0.3,
        0.3,
    ]


def test_gated_are_the_median_the_tail_and_the_failures() -> None:
    asked = default_questions(two())
    primary = [(one.name, one.margin.ratio, one.margin.points) for one in asked if one.primary]

    assert primary == [("ttfa p50", 0.1, 0), ("ttfa p95", 0.2, 0), ("failure_rate", 0, 0.01)]
    assert [one.primary for one in asked] == sorted((one.primary for one in asked), reverse=True)
    assert not any(one.stratum for one in asked)


def test_what_one_side_alone_has_is_not_asked() -> None:
    asked = default_questions(two(RUN, Plan(sessions=20, turns=5, kinds=("typed",))))

    assert not any(one.metric == "input_transcript" for one in asked)


def test_throttling_is_asked_for_where_there_was_any() -> None:
    asked = default_questions(two(RUN, Plan(sessions=40, turns=5, failed=0.2)))

    assert "throttle_rate" in [one.name for one in asked]


def test_turns_of_several_origins_have_questions_of_their_own() -> None:
    asked = default_questions(targets(MIXED))
    of_main = {(one.p, one.stratum, one.primary) for one in asked if one.metric == "ttfa"}

    assert {(0.5, REQUESTED, True), (0.95, REQUESTED, True), (0.5, SPEECH_END, False)} <= of_main
    assert {one.stratum for one in asked if one.metric == "response_total"} == {REQUESTED, SPEECH_END}
    assert {one.stratum for one in asked if one.metric in ("input_transcript", "connect_total", "failure_rate")} == {
        None
    }


def test_sides_without_a_common_origin_are_gated_by_what_callers_hear() -> None:
    vad, manual = Plan(sessions=20, turns=5), Plan(sessions=20, turns=5, kinds=("manual",))
    asked = default_questions(two(vad, manual))

    assert [one.name for one in asked if one.primary] == ["voice_to_voice p50", "voice_to_voice p95", "failure_rate"]
    assert not any(one.metric in ("ttfa", "response_total") for one in asked)


def test_a_question_is_taken_apart_only_where_there_are_several_origins() -> None:
    mixed, plain = targets(MIXED), targets(PAIRED)
    wait, rate = (
        Question("ttfa", "quantile", margin_of(0.5), 0.5),
        Question("failure_rate", "rate", Margin(points=0.01)),
    )

    assert [one.stratum for one in by_stratum(wait, mixed)] == [REQUESTED, SPEECH_END]
    assert by_stratum(wait, plain) == [wait]
    assert by_stratum(rate, mixed) == [rate]


def test_what_is_gated_keeps_the_origins_of_the_baseline() -> None:
    both, vad = Plan(sessions=20, turns=5, kinds=("vad", "manual")), Plan(sessions=20, turns=5)
    sides = two(both, vad)
    wait = Question("ttfa", "quantile", margin_of(0.5), 0.5)
    primary = [(one.p, one.stratum) for one in default_questions(sides) if one.primary and one.metric == "ttfa"]

    assert [one.stratum for one in by_stratum(replace(wait, primary=True), sides)] == [SPEECH_END, REQUESTED]
    assert [one.stratum for one in by_stratum(wait, sides)] == [SPEECH_END]
    assert primary == [(0.5, SPEECH_END), (0.95, SPEECH_END), (0.5, REQUESTED), (0.95, REQUESTED)]


def test_a_step_has_the_origins_of_its_own_turns() -> None:
    sides = targets(MIXED)
    asked = Question("ttfa", "quantile", margin_of(0.5), 0.5, primary=True, step="greeting")

    assert by_stratum(asked, sides) == [asked]


PLAIN, CALLS = Stratum(), Stratum(turn_type="function_calls")


def with_traits(folder: Path, *turns: int) -> None:
    edit(folder, "turns", lambda _, row: row | ({"turn_type": "function_calls"} if row["turn"] in turns else {}))


@cache
def side_with_traits(name: str, *turns: int) -> Side:
    """One of the sides of two runs, with a trait of these turns."""
    folder = shared_folder() / name
    run(folder, RUN if name == "one" else replace(RUN, seed=8))
    with_traits(folder, *turns)
    return targets_of(load_for_report(folder))[0]


def two_with_traits(*names: str, turns: tuple[int, ...] = (3,)) -> tuple[Side, ...]:
    """Two sides, of which those named have turns with a trait."""
    return among([side_with_traits(side.run.folder.name, *turns) if side.run.folder.name in names else side
                  for side in two()])  # fmt: skip


def test_traits_have_questions_of_their_own_without_the_origin_that_all_have() -> None:
    asked = default_questions(two_with_traits("one", "other"))

    assert [(q.metric, q.stratum, q.primary) for q in asked if q.metric == "ttfa" and q.p == 0.5] == [
        ("ttfa", PLAIN, True), ("ttfa", CALLS, False),
    ]  # fmt: skip
    assert {q.stratum for q in asked if q.metric in ("voice_to_voice", "audio_speed")} == {PLAIN, CALLS}
    assert {q.stratum for q in asked if q.metric in ("failure_rate", "connect_total", "stall_rate")} == {None}


def test_a_trait_that_the_candidate_lacks_does_not_make_a_gate_vanish() -> None:
    sides = two_with_traits("one")
    wait = Question("ttfa", "quantile", margin_of(0.5), 0.5)

    assert [one.stratum for one in by_stratum(replace(wait, primary=True), sides)] == [PLAIN, CALLS]
    assert [one.stratum for one in by_stratum(wait, sides)] == [PLAIN]
    primary = [one.stratum for one in default_questions(sides) if one.primary and one.p == 0.95]
    assert primary == [PLAIN, CALLS]
    words = {f.question.stratum: f.verdict.word for f in quick(sides).primary if f.question.p == 0.95}
    assert words[CALLS] == "inconclusive"


def test_a_trait_that_a_baseline_had_in_few_turns_gates_nothing(tmp_path: Path) -> None:
    run(tmp_path)
    edit(tmp_path, "turns", lambda i, row: row | ({"turn_type": "after_truncation"} if i < 39 else {}))
    asked = default_questions(among([*targets_of(load_for_report(tmp_path)), two()[1]]))

    assert {question.stratum for question in asked if question.primary and question.kind == "quantile"} == {PLAIN}


def test_sides_with_no_trait_in_common_are_never_pooled() -> None:
    sides = two_with_traits("one", turns=(1, 2, 3, 4, 5))
    heard = Question("voice_to_voice", "quantile", margin_of(0.5), 0.5, primary=True)

    assert [one.stratum for one in by_stratum(heard, sides)] == [CALLS]
    assert not sample_of(sides[1], replace(heard, stratum=CALLS)).n


def test_a_question_of_a_trait_is_asked_of_each_origin(tmp_path: Path) -> None:
    run(tmp_path, MIXED)
    edit(tmp_path, "turns", lambda _, row: row | ({"turn_type": "function_calls"} if row["turn"] < 3 else {}))
    sides = sides_of([tmp_path])
    asked = Question("ttfa", "quantile", margin_of(0.5), 0.5, stratum=CALLS)

    assert [one.stratum for one in by_stratum(asked, sides)] == [
        Stratum("request_sent", "function_calls"), Stratum("speech_end", "function_calls"),
    ]  # fmt: skip
    assert by_stratum(replace(asked, stratum=Stratum("request_sent", "function_calls")), sides)[0].stratum == Stratum(
        "request_sent", "function_calls"
    )


def test_a_step_of_two_traits_is_asked_for_by_its_label(tmp_path: Path) -> None:
    run(tmp_path, PAIRED)
    edit(
        tmp_path,
        "turns",
        lambda i, row: row | ({"turn_type": "function_calls"} if row["turn"] == 3 and i // 10 % 2 else {}),
    )
    side = sides_of([tmp_path])[0]
    step = Question("ttfa", "quantile", margin_of(0.5), 0.5, step="order_status")

    apart = by_stratum(step, [side])
    assert {one.stratum for one in apart} == {PLAIN, CALLS}
    assert sum(sample_of(side, one).n for one in apart) == sample_of(side, step).n == 40
