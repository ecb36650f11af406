"""A run folder with a plan → its decision: which pairs count, what ends the looks, what is written and said."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow as pa
import pytest
import typer

from bench.cli.verdicts import OnInconclusive, check
from bench.errors import UsageError
from bench.run.folder import SCHEMAS
from bench.run.part import rows_of
from bench.run.spool import path_of
from reports.looks import decide as plan_decide
from reports.looks.__main__ import look
from reports.looks.decide import decision_of, end_of, look_at
from reports.looks.decision import Decision, decision_sentence
from reports.question import Stratum
from tests.reports import synthetic
from tests.reports.edited import Row, edit
from tests.reports.planned import LOOSE, TIGHT, TWO, UNDECIDED, planned, planned_run
from tests.reports.shared import frames_of
from tests.reports.synthetic import Plan

SCHEMA = json.loads((Path(plan_decide.__file__).parent / "decision.schema.json").read_text())


def decided(gates: dict[str, list[str]], plan: Plan = TWO, **changes: Any) -> Decision:
    """The decision of a run that was read; its rows are those of all tests with the same plan."""
    return decision_of(frames_of(plan, **(synthetic.told(plan) | {"sequential_plan": planned(gates)} | changes)))


def without(pair: int, target: str = "west") -> Callable[[int, Row], Row | None]:
    """One session of a pair has not ended."""
    return lambda _, row: None if (row["pair"], row["target"]) == (pair, target) else row


def held(decision: Decision) -> list[int]:
    return [look.pairs for look in decision.course.looks]


RUNNING, ENDED = {"state": "running"}, dict[str, Any]()


def changed(change: dict[str, Any], of: Callable[[Row], bool]) -> Callable[[int, Row], Row | None]:
    return lambda _, row: row | (change if of(row) else {})


COUNTED: dict[str, tuple[dict[str, list[str]], dict[str, Any], Callable[[int, Row], Row | None], int, list[int]]] = {
    # (gates, what is other in run.json, what is other in sessions; pairs that count, looks that are held)
    **{f"a look waits for its slowest pair, {slow}": (TIGHT, RUNNING, without(slow), slow, []) for slow in (0, 17, 39)},
    "later looks wait as well and earlier ones are held": (UNDECIDED, RUNNING, without(41, "east"), 41, [40]),
    "a look waits for a call that goes on in another session":
        (TIGHT, RUNNING, changed({"renewed": True}, lambda row: (row["pair"], row["target"]) == (5, "west")), 5, []),
    "pairs that both wait are waited for too":
        (TIGHT, RUNNING, lambda _, row: None if row["pair"] == 5 else row, 5, []),
    "a number that never started is passed over once the run has ended":
        (UNDECIDED, ENDED, lambda _, row: None if row["pair"] == 5 else row, 119, [40, 80]),
    "a pair of which the end left one session is where the looks end": (UNDECIDED, ENDED, without(50), 50, [40]),
    "and one that it cut":
        (UNDECIDED, ENDED, changed({"outcome": "unfinished"}, lambda row: row["pair"] == 50), 50, [40]),
    "pairs of the warm-up are not counted":
        (UNDECIDED, RUNNING, changed({"phase": "warmup"}, lambda row: row["pair"] < 30), 90, [40, 80]),
}  # fmt: skip


@pytest.mark.parametrize(("gates", "document", "change", "pairs", "looks"), COUNTED.values(), ids=COUNTED)
def test_a_look_is_held_once_its_pairs_are_there(
    tmp_path: Path, gates: Any, document: dict[str, Any], change: Any, pairs: int, looks: list[int]
) -> None:
    found = look_at(edit(planned_run(tmp_path, gates, **document), "sessions", change))

    assert (found.pairs, held(found)) == (pairs, looks)
    if document == RUNNING:
        assert (found.stopped, found.exit_status) == (False, 3)
        assert looks or "No interim analysis yet" in decision_sentence(found)


def test_a_look_sees_the_first_pairs_by_number_whoever_else_has_ended(tmp_path: Path) -> None:
    whole = decided(UNDECIDED)
    part = planned_run(tmp_path / "part", UNDECIDED, state="running")
    found = look_at(edit(part, "sessions", lambda _, row: None if 40 <= row["pair"] < 100 else row))

    assert held(found) == [40]
    assert found.course.looks[0].seen[0].z == whole.course.looks[0].seen[0].z


def test_a_spool_that_grows_is_read_as_it_is(tmp_path: Path) -> None:
    folder = planned_run(tmp_path, UNDECIDED, state="running")
    (folder / "spool").mkdir()
    for name, table in synthetic.rows(TWO).items():
        (folder / f"{name}.parquet").unlink()
        with pa.ipc.new_stream(path_of(folder, 0, rows_of(name)), SCHEMAS[name]) as stream:
            stream.write_table(table)

    assert held(look_at(folder)) == held(decided(UNDECIDED))


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({"state": "running"}, ""),
        ({"state": "closing"}, ""),
        ({"state": "killed"}, "by hand"),
        ({"stop_reason": "interrupted"}, "by hand"),
        ({"stop_reason": "its time was over, or its users were stopped"}, "blind"),
        ({"stop_reason": "the budget of 2 USD is spent"}, "blind"),
        ({"stop_reason": "all sessions are done"}, "blind"),
    ],
)
def test_who_ended_a_run_is_told_by_its_document(changes: dict[str, Any], end: str) -> None:
    assert end_of({"state": "ended", "stop_reason": ""} | changes) == end


def test_a_budget_that_ends_a_run_makes_its_last_look_the_final_one() -> None:
    plan = planned(UNDECIDED, pairs=400, analyses=[100, 200, 300, 400])
    budget = decided({}, stop_reason="the budget is spent", sequential_plan=plan)
    hand = decided({}, stop_reason="interrupted", sequential_plan=plan)

    assert held(budget) == held(hand) == [100]
    assert (budget.course.reason, hand.course.reason) == ("final_analysis", "stopped_by_user")
    assert budget.course.looks[0].c == pytest.approx(1.645, abs=0.001)
    assert hand.course.looks[0].c > 2.7
    assert "The run ended at 120 of 400 pairs" in decision_sentence(budget)


def test_a_run_that_ended_before_its_first_look_is_inconclusive() -> None:
    found = decided(TIGHT, stop_reason="the budget is spent", sequential_plan=planned(TIGHT, analyses=[121], pairs=121))

    assert (found.stopped, found.exit_status) == (True, 3)
    assert "ended before its first interim analysis, with 120 of 121 pairs" in decision_sentence(found)


EMPTY = Plan(sessions=0, targets=("east", "west"), paired=True)
LATE = "the load generator was overloaded for 12 pairs in a row"
INVALID: dict[str, tuple[dict[str, list[str]], Plan, dict[str, Any], str]] = {
    # (gates, the run, what is other in run.json, the sentence up to its first semicolon or colon)
    "an invalid run": (LOOSE, TWO, {"validity": {"status": "invalid"}}, "INVALID"),
    "one that was not judged": (LOOSE, TWO, {"validity": {"status": "no_verdict"}}, "no verdict"),
    "a run without sessions": (LOOSE, EMPTY, {},
                               "Do not use these results: no pair of sessions ended"),
    "throttled arms": ({"failure_rate": ["rate<+50pt"]}, replace(TWO, failed=0.1), {}, "was throttled"),
    "a run that was given up, whatever its verdict":
        (UNDECIDED, TWO, {"aborted_because": LATE}, f"Do not use these results: {LATE}."),
}  # fmt: skip


@pytest.mark.parametrize(("gates", "plan", "document", "said"), INVALID.values(), ids=INVALID)
def test_what_says_nothing_decides_nothing(
    gates: dict[str, list[str]], plan: Plan, document: dict[str, Any], said: str
) -> None:
    found = decided(gates, plan, **document)

    assert (found.stopped, found.exit_status) == (True, 4)
    assert decision_sentence(found) == said if said.endswith("row") else said in decision_sentence(found)


def throttling(folder: Path, after: int, before: int = 120) -> Path:
    """The turns of the candidate are throttled in some pairs."""
    chosen = lambda row: row["target"] == "west" and after <= row["pair"] < before  # noqa: E731
    return edit(folder, "turns", lambda _, row: row | ({"outcome": "throttled:response"} if chosen(row) else {}))


def test_a_look_at_throttled_arms_ends_the_run_at_once(tmp_path: Path) -> None:
    folder = throttling(planned_run(tmp_path, UNDECIDED, state="running", validity=None), 30, 33)
    found = look_at(folder)
    written = json.loads((folder / "decision.json").read_text())

    assert (held(found), found.stopped, found.exit_status) == ([40], True, 4)
    assert (written["stopped"], written["reason"], written["exit_status"]) == (True, "invalid", 4)
    assert decision_sentence(found).startswith("Do not use these results: west: ")
    assert decision_sentence(found).endswith(" Stopped at interim analysis\u00a01 of 3, 40\u00a0pairs.")
    jsonschema.validate(written, SCHEMA)


def test_a_run_that_a_look_found_invalid_stays_so_whatever_ended_after_it(tmp_path: Path) -> None:
    """Five turns of the candidate: 1.25 % of those of the first look, 0.4 % of all."""
    chosen = lambda row: (row["target"], row["turn"]) == ("west", 1) and row["pair"] < 5  # noqa: E731
    throttled = {"outcome": "throttled:response"}
    found = look_at(
        edit(planned_run(tmp_path, UNDECIDED), "turns", lambda _, row: row | (throttled if chosen(row) else {}))
    )

    assert (found.course.reason, found.exit_status, held(found)) == ("invalid", 4, [40])


def test_throttling_after_the_decision_is_found_at_the_end(tmp_path: Path) -> None:
    found = look_at(throttling(planned_run(tmp_path, LOOSE), 100))

    assert (found.course.reason, found.exit_status) == ("not_regressed", 4)
    assert "Stopped at" not in decision_sentence(found)


def test_arms_that_were_given_different_work_end_the_run_at_the_first_look() -> None:
    scripts = [{"name": "talk", "target": name, "digest": f"sha256:{name}"} for name in TWO.targets]
    found = decided(UNDECIDED, state="running", validity=None, scripts=scripts)

    assert (held(found), found.exit_status) == ([40], 4)
    assert "script and audio" in decision_sentence(found)


def test_a_run_under_way_is_not_invalid_because_nobody_has_judged_it_yet() -> None:
    found = decided(LOOSE, state="running", validity=None)

    assert (found.course.reason, found.exit_status, found.invalid) == ("not_regressed", 0, ())


@pytest.mark.parametrize(("target", "why"), [("east", "east is the baseline"), ("north", "there is no target north")])
def test_a_gate_of_another_target_than_the_candidate_is_never_taken_for_the_candidates(target: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        decided({f"ttfa{{target:{target}}}": ["p(50)<+60%"]})


def test_degrees_of_freedom_are_by_the_pairs_that_have_a_value(tmp_path: Path) -> None:
    folder = edit(planned_run(tmp_path, UNDECIDED), "turns", lambda _, row: row if row["pair"] >= 10 else None)

    assert look_at(folder).course.looks[0].seen[0].df == 29


def test_gates_of_means_and_of_what_is_better_when_larger_are_tested() -> None:
    found = decided({"audio_speed": ["avg>-20%", "p(50)>-20%"]})

    assert (found.exit_status, [gate.name for gate in found.gates]) == (0, ["audio_speed mean", "audio_speed p50"])
    assert all(abs(ruling.d) < 0.05 and ruling.low < ruling.d < ruling.high for ruling in found.course.rulings)


def test_turns_of_two_origins_are_two_gates() -> None:
    found = decided({"ttfa": ["p(50)<+60%"]}, Plan(**(vars(TWO) | {"kinds": ("vad", "typed")})))

    assert [gate.stratum for gate in found.gates] == [Stratum("speech_end"), Stratum("request_sent")]


def test_the_process_that_runs_the_load_is_told_whether_the_run_may_end(tmp_path: Path) -> None:
    answer = look(str(planned_run(tmp_path, TIGHT)))

    assert (answer["stopped"], answer["pairs"]) == (True, 40 * answer["analysis"])
    assert answer["sentence"].startswith("west is slower than east")


def test_a_run_under_way_that_is_not_decided_is_inconclusive_whatever_that_means_later(tmp_path: Path) -> None:
    waiting = edit(
        planned_run(tmp_path, UNDECIDED, state="running", validity=None), "sessions", lambda _, row: first(50, row)
    )

    assert look_at(waiting).course.reason == "pending"
    assert exit_status(waiting) == exit_status(waiting, on_inconclusive=OnInconclusive.PASS) == 3


def first(pairs: int, row: Row) -> Row | None:
    return row if row["pair"] < pairs else None


def exit_status(folder: Path, **options: Any) -> int:
    """That of `rtbench check`."""
    try:
        check(str(folder), **options)
    except typer.Exit as exited:
        return exited.exit_code
    return 0


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"sequential_plan": None}, "start one with --until-decided"),
        ({"interleaved": False}, "is no run of two targets in pairs"),
        ({"sequential_plan": {"pairs": 5}}, "cannot be read"),
        ({"sequential_plan": planned(LOOSE, analyses=[40, 30])}, "its interim analyses must rise"),
        ({"sequential_plan": planned(LOOSE, pairs=60)}, "its interim analyses must rise"),
        ({"sequential_plan": planned({})}, "has no gates"),
        ({"sequential_plan": planned(LOOSE, spending="pocock")}, "knows a t\\^2 alone"),
        ({"sequential_plan": planned({"ttfa": ["p(95)<800"]})}, "is no margin"),
        ({"sequential_plan": planned({"ttfb": ["p(95)<+20%"]})}, "there is no metric"),
    ],
)
def test_a_plan_that_cannot_be_followed_is_said_in_a_line(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as raised:
        decided(LOOSE, **changes)

    assert "\n" not in str(raised.value)


def test_a_margin_of_two_parts_must_be_exceeded_in_both() -> None:
    found = decided({"ttfa": ["p(50)<+5% and +400ms"]})

    assert found.exit_status == 0  # 13 % slower, and by 80 ms alone
    assert "margin of 5 % and 400 ms" in decision_sentence(found).replace("\u00a0", " ")


def test_the_same_gate_written_twice_is_seen_once_and_counted_twice() -> None:
    found = decided({"ttfa": ["p(50)<+60%", "med<+60%"]})

    assert [ruling.word for ruling in found.course.rulings] == ["not_regressed"] * 2
    assert found.course.looks[0].seen[0] is found.course.looks[0].seen[1]
