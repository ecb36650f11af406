"""The decision of a run folder with a plan: the pairs that count, the analysis that decides, files and texts."""

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
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.run.folder import SCHEMAS
from bench.run.spool import path_of
from bench.run.worker_part import rows_of
from reports.looks.__main__ import look
from reports.looks.analysis import AnalysisSchedule, SequentialResult, run_looks
from reports.looks.decide import decision_of, end_of, look_at
from reports.looks.decision import Decision, decision_sentence
from reports.statistics.group_sequential import critical_values, distance, spread_of_level
from reports.statistics.interim import InterimStatistic, by_se, untestable
from reports.statistics.verdicts import NOT_AFTER_HOLM, InconclusiveReason, too_few
from reports.strata import Stratum
from rtbench.cli.verdicts import OnInconclusive, check
from tests.docs.schemas import schemas
from tests.reports import synthetic
from tests.reports.edited import Row, edit
from tests.reports.planned import LOOSE, TIGHT, TWO, UNDECIDED, planned, planned_run
from tests.reports.shared import frames_of
from tests.reports.synthetic import Plan

SCHEMA = schemas()["decision"]


def decided(gates: dict[str, list[str]], plan: Plan = TWO, **changes: Any) -> Decision:
    """Return the decision of a loaded run. All tests with the same plan share its rows."""
    return decision_of(frames_of(plan, **(synthetic.told(plan) | {"sequential_plan": planned(gates)} | changes)))


def without(pair: int, target: str = "west") -> Callable[[int, Row], Row | None]:
    """Return a change that removes one session of a pair, as if it had not ended."""
    return lambda _, row: None if (row["pair"], row["target"]) == (pair, target) else row


def held(decision: Decision) -> list[int]:
    return [look.pairs for look in decision.course.looks]


RUNNING, ENDED = {"state": "running"}, dict[str, Any]()


def changed(change: dict[str, Any], of: Callable[[Row], bool]) -> Callable[[int, Row], Row | None]:
    return lambda _, row: row | (change if of(row) else {})


COUNTED: dict[str, tuple[dict[str, list[str]], dict[str, Any], Callable[[int, Row], Row | None], int, list[int]]] = {
    # (primary metrics, changes to run.json, change to sessions, pairs that count, interim analyses that are done)
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
    # (primary metrics, plan of the run, changes to run.json, part of the sentence)
    "an invalid run": (LOOSE, TWO, {"validity": {"status": "invalid"}}, "INVALID"),
    "one that was not judged": (LOOSE, TWO, {"validity": {"status": "no_verdict"}}, "no verdict"),
    "a run without sessions": (LOOSE, EMPTY, {},
                               "Do not use these results: no pair of sessions ended"),
    "throttled arms": ({"failure_rate": ["rate<+50pt"]}, replace(TWO, failed=0.1), {}, "were throttled"),
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
    """Throttle the candidate's turns in some pairs. Return the folder."""
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
    """Five turns of the candidate are throttled: 1.25 % at the first analysis, 0.4 % of all."""
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
    """Return the exit status of `rtbench check`."""
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
        ({"sequential_plan": planned(LOOSE, analyses=[40, 30])}, "its interim analyses must increase"),
        ({"sequential_plan": planned({})}, "has no gates"),
        ({"sequential_plan": planned(LOOSE, spending="pocock")}, "supports only a t\\^2"),
        ({"sequential_plan": planned({"ttfa": ["p(95)<800"]})}, "is not relative"),
        ({"sequential_plan": planned({"ttfb": ["p(95)<+20%"]})}, "there is no metric"),
    ],
)
def test_a_plan_that_cannot_be_followed_is_said_in_a_line(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as raised:
        decided(LOOSE, **changes)

    assert "\n" not in str(raised.value)


def test_a_margin_of_two_parts_must_be_exceeded_in_both() -> None:
    found = decided({"ttfa": ["p(50)<+5% and +400ms"]})

    assert found.exit_status == 0  # 13 % slower, but only by 80 ms
    assert "margin of 5 % and 400 ms" in decision_sentence(found).replace("\u00a0", " ")


def test_the_same_gate_written_twice_is_seen_once_and_counted_twice() -> None:
    found = decided({"ttfa": ["p(50)<+60%", "med<+60%"]})

    assert [ruling.verdict for ruling in found.course.rulings] == ["not_regressed"] * 2
    assert found.course.looks[0].seen[0] is found.course.looks[0].seen[1]


SIZES = tuple(range(50, 550, 50))
MARGIN = 0.1
DF = 10_000_000
"""The degrees of freedom. There are so many that t is normal, and z is the excess in standard errors."""


def at(z: float, *, se: float = 0.05, better: int = 1) -> InterimStatistic:
    """Return a statistic that exceeds its margin of 0.1 by `z` standard errors."""
    excess = z * se
    return by_se(better * (MARGIN + excess), excess, se, DF, better)


def course(
    looks: Sequence[Sequence[InterimStatistic]], *, end: str = "", sizes: tuple[int, ...] = SIZES
) -> SequentialResult:
    schedule = AnalysisSchedule(sizes[-1], sizes, len(looks[0]))
    return run_looks(schedule, lambda pairs: looks[sizes.index(pairs)], len(looks), end)  # type: ignore[arg-type]


def critical(k: int, gates: int = 1) -> float:
    """Return the critical value of interim analysis `k`, counted from 1."""
    return critical_values([size / 500 for size in SIZES], 0.05 / gates)[k - 1]


def test_a_gate_far_beyond_its_margin_ends_the_run_at_once() -> None:
    found = course([[at(4.0), at(0.0)], [at(9.0), at(9.0)]])

    assert (found.reason, len(found.looks), found.stopped) == ("regressed", 1, True)
    assert [ruling.verdict for ruling in found.rulings] == ["regressed", "inconclusive"]


def test_the_first_gate_to_be_called_worse_must_reach_the_bound_of_all_of_them() -> None:
    between = (critical(1) + critical(1, 3)) / 2
    found = course([[at(between), at(0.0), at(0.0)]], end="by hand")

    assert found.reason == "stopped_by_user"
    assert found.rulings[0].reason == NOT_AFTER_HOLM


def test_the_others_are_labelled_by_holms_step_down() -> None:
    second, third = critical(1, 2) + 0.01, critical(1) - 0.01
    found = course([[at(third), at(second), at(5.0)]])

    assert [ruling.verdict for ruling in found.rulings] == ["inconclusive", "regressed", "regressed"]


def test_the_corrected_estimate_of_a_gate_that_is_worse_allows_for_the_bound_that_would_have_ended_the_run() -> None:
    """With three primary metrics that is the bound of all of them. It is larger than the bound of one."""
    z, shares = critical(2, 3) + 0.1, [0.1, 0.2]
    found = course([[at(1.0), at(0.0), at(0.0)], [at(z), at(0.0), at(0.0)]])
    (regressed, *_) = found.rulings
    family, alone = ([critical(k, gates) for k in (1, 2)] for gates in (3, 1))

    assert regressed.verdict == "regressed"
    assert regressed.corrected == pytest.approx(MARGIN + distance(z, 0.05, shares, family))
    assert regressed.corrected > MARGIN + distance(z, 0.05, shares, alone) + 1e-4


def test_a_run_is_green_once_every_gate_has_passed_and_a_pass_is_kept() -> None:
    found = course([[at(-3.5), at(-1.0)], [at(-1.0), at(-3.5)]])

    assert (found.reason, len(found.looks)) == ("not_regressed", 2)
    assert [ruling.look for ruling in found.rulings] == [0, 1]
    assert found.looks[1].seen[0].z == pytest.approx(-1.0)


def test_a_pass_does_not_hide_what_is_seen_later() -> None:
    found = course([[at(-3.5), at(0.0)], [at(6.0), at(0.0)]])

    assert found.reason == "regressed"
    assert (found.rulings[0].verdict, found.rulings[0].look) == ("regressed", 1)


@pytest.mark.parametrize("z", [9.0, 0.0, -9.0])
def test_a_look_at_arms_that_may_not_be_compared_ends_the_run_whatever_its_gates_say(z: float) -> None:
    asked: list[int] = []

    def unfit(pairs: int) -> bool:
        asked.append(pairs)
        return pairs == 100

    found = run_looks(AnalysisSchedule(500, SIZES, 1), lambda pairs: [at(z if pairs == 100 else 0.0)], 3, unfit=unfit)

    assert (found.reason, found.stopped, [look.pairs for look in found.looks]) == ("invalid", True, [50, 100])
    assert asked == [50, 100]


def test_a_run_that_was_decided_is_not_looked_at_again() -> None:
    assert (
        run_looks(AnalysisSchedule(500, SIZES, 1), lambda _: [at(9.0)], 3, unfit=lambda pairs: pairs > 50).reason
        == "regressed"
    )


def test_a_run_goes_on_while_nothing_is_certain() -> None:
    found = course([[at(0.0)], [at(-1.5)]])

    assert (found.reason, found.stopped) == ("pending", False)
    assert course_of_nothing().reason == "pending"


def course_of_nothing(end: str = "") -> SequentialResult:
    return run_looks(AnalysisSchedule(500, SIZES, 1), lambda pairs: [], 0, end)  # type: ignore[arg-type]


def test_a_run_that_ended_before_its_first_look_says_nothing() -> None:
    assert course_of_nothing("blind").reason == "no_analysis"
    assert course_of_nothing("blind").stopped


def test_a_run_gives_up_where_it_would_stay_inconclusive() -> None:
    found = course([[at(0.0)] for _ in range(9)])

    assert found.reason == "futility"
    assert 2 <= len(found.looks) < 9
    assert found.rulings[0].reason == InconclusiveReason("would_stay_inconclusive", needed=500)


def test_a_gate_that_cannot_be_tested_yet_is_waited_for() -> None:
    few = untestable(too_few("turn", 400, (100, 100), p=0.95))
    found = course([[at(-5.0), few]] * 4)

    assert found.reason == "pending"
    assert found.rulings[1].verdict == "inconclusive"
    assert found.rulings[1].reason == few.untested
    assert math.isinf(found.rulings[1].low)


def test_the_last_look_ends_in_any_case() -> None:
    found = course([[at(-1.0)], [at(-1.5)]], sizes=(250, 500))

    assert (found.reason, found.rulings[0].verdict) == ("final_analysis", "inconclusive")


def test_an_end_that_nobody_chose_gives_the_last_complete_look_all_that_is_left() -> None:
    near = [[at(0.0)], [at(-0.5)], [at(-1.9)]]

    assert course(near).reason == "pending"
    assert course(near, end="by hand").reason == "stopped_by_user"
    assert course(near, end="blind").reason == "not_regressed"


def test_what_ended_a_run_by_its_figures_gains_nothing_by_the_end() -> None:
    looks = [[at(-1.0)], [at(-0.6)], [at(-0.2)]]
    while course(looks).reason == "pending":
        looks.append([at(0.0)])

    assert course(looks).reason == "futility"
    assert course(looks, end="blind") == course(looks)


@pytest.mark.parametrize("better", [1, -1])
@pytest.mark.parametrize("seed", range(20))
def test_the_interval_that_is_printed_agrees_with_the_verdict(seed: int, better: int) -> None:
    drift = np.random.default_rng(seed).normal(0, 6)
    steps = np.random.default_rng([seed, 1]).normal(drift / 10, math.sqrt(0.1), 10)
    z = np.cumsum(steps) / np.sqrt(np.arange(1, 11) / 10)
    found = course([[at(float(one), better=better)] for one in z]).rulings[0]
    bad_side = found.low if better == 1 else -found.high
    good_side = found.high if better == 1 else -found.low

    assert (found.verdict == "regressed") == (bad_side > MARGIN)
    assert (found.verdict == "not_regressed") == (good_side < MARGIN)
    assert found.low <= found.d <= found.high
    assert found.low <= found.corrected <= found.high


@given(st.floats(-5, 5), st.floats(0.001, 2), st.integers(19, 400), st.sampled_from([1, -1]))
def test_at_the_first_look_nothing_is_corrected(d: float, se: float, df: int, better: int) -> None:
    found = run_looks(AnalysisSchedule(500, SIZES, 1), lambda _: [by_se(d, better * d - MARGIN, se, df, better)], 1)

    assert found.rulings[0].corrected == pytest.approx(d, abs=1e-9)


def test_a_first_look_at_twenty_pairs_says_what_it_saw() -> None:
    """With few pairs t is wider than normal, and its normal deviate is not the distance in standard errors."""
    double, margin = math.log(2.0), math.log(1.1)
    found = run_looks(
        AnalysisSchedule(200, (20, 200), 1), lambda _: [by_se(double, double - margin, 0.08, 19)], 1
    ).rulings[0]

    assert found.verdict == "regressed"
    assert math.expm1(found.corrected) == pytest.approx(1.0)


def test_a_rate_that_passes_by_a_wider_bound_than_its_standard_errors_is_not_corrected() -> None:
    waits = by_se(0.0, -0.01, 0.002, DF)
    rate = InterimStatistic(0.0, -0.01, 0.002, DF, lambda c: -0.01 + 0.004 * c)
    open_ = [by_se(0.0, -0.01, 0.01, DF)]
    moved, kept = (course([open_, open_, [one]], sizes=(50, 100, 150)).rulings[0] for one in (waits, rate))

    assert (moved.verdict, kept.verdict) == ("not_regressed", "not_regressed")
    assert moved.corrected > 0.0
    assert kept.corrected == 0.0


@given(
    st.lists(st.floats(-9, 9), min_size=1, max_size=10),
    st.floats(0.001, 1),
    st.integers(19, 400),
    st.sampled_from([1, -1]),
    st.sampled_from(["", "blind", "by hand"]),
)
def test_a_corrected_estimate_lies_in_its_interval(
    excesses: list[float], se: float, df: int, better: int, end: str
) -> None:
    """The excesses are in standard errors. Their sequence may be very unlikely."""
    seen = [[by_se(better * (MARGIN + one * se), one * se, se, df, better)] for one in excesses]
    found = course(seen, end=end).rulings[0]

    assert found.low - 1e-9 <= found.corrected <= found.high + 1e-9


@pytest.mark.parametrize("drift", [-6.0, -3.0, 0.0, 3.0, 6.0])
def test_half_of_the_corrected_estimates_lie_above_the_truth_though_the_error_is_estimated(drift: float) -> None:
    """Each analysis adds 25 pairs and estimates the standard error. 30 is three standard errors of 400 coin tosses."""
    rng, sizes, above = np.random.default_rng(11), (25, 50, 75, 100), 0
    for _ in range(400):
        pairs = rng.normal(drift / 10, 1, 100)

        def see(size: int, pairs: object = pairs) -> list[InterimStatistic]:
            mine = np.asarray(pairs)[:size]
            excess, se = float(mine.mean()), float(mine.std(ddof=1)) / math.sqrt(size)
            return [by_se(MARGIN + excess, excess, se, size - 1)]

        above += run_looks(AnalysisSchedule(100, sizes, 1), see, 4).rulings[0].corrected > MARGIN + drift / 10

    assert abs(above - 200) <= 30


def test_a_gate_that_ends_on_its_margin_has_not_passed() -> None:
    on_it = InterimStatistic(0.1, 0.0, 0.0, 49.0, lambda c: 0.0)

    assert course([[on_it]]).reason != "not_regressed"


def test_a_rate_that_can_no_longer_pass_gives_up_though_nothing_fails() -> None:
    """Without a failure the standard error is 0. At even odds 50 pairs leave up to 1.4 %; the margin is 1 point."""
    none = InterimStatistic(0.0, -0.01, 0.0, 49.0, lambda c: 1 - 0.5 ** ((1 + c) / 50) - 0.01)

    found = course([[none]], sizes=(50, 100))
    assert (found.reason, found.rulings[0].verdict) == ("futility", "inconclusive")
    assert course([[none]]).reason == "pending"


def test_a_rates_own_upper_bound_decides_whether_it_passes() -> None:
    few = InterimStatistic(0.0, -0.01, 0.0, 49.0, lambda c: 0.002)
    enough = InterimStatistic(0.0, -0.01, 0.0, 49.0, lambda c: -0.002)

    assert course([[few]]).reason == "pending"
    found = course([[few], [enough]])
    assert found.reason == "not_regressed"
    assert (found.rulings[0].low, found.rulings[0].high) == pytest.approx((0.0, 0.008))
    assert found.rulings[0].corrected == 0.0


def test_bounds_stand_at_the_critical_value_of_their_look() -> None:
    found = course([[at(-1.0)], [at(-3.2)]])
    half = spread_of_level(critical(2), DF) * 0.05

    assert found.rulings[0].high == pytest.approx(MARGIN - 3.2 * 0.05 + half)
    assert found.rulings[0].corrected > found.rulings[0].d  # towards the margin


def test_a_look_at_which_an_arm_drifts_by_itself_gives_nothing_up_and_is_provisional() -> None:
    drifting = replace(at(0.0), order="drift")
    found = course([[drifting] for _ in range(9)])

    assert (found.reason, len(found.looks)) == ("pending", 9)
    assert found.rulings[0].provisional
    assert course([[drifting], [at(9.0)]]).rulings[0].provisional
    assert not course([[at(9.0)]]).rulings[0].provisional


def test_failures_that_only_one_arm_has_turn_the_run_red(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    chosen = lambda row: row["target"] == "west" and rng.random() < 0.15  # noqa: E731
    folder = planned_run(tmp_path, {"failure_rate": ["rate<+1pt"]})
    found = look_at(edit(folder, "turns", lambda _, row: row | ({"outcome": "error:server"} if chosen(row) else {})))

    assert (found.exit_status, found.used) == (1, 40)
    assert decision_sentence(found).startswith("west is worse than east: 1")
