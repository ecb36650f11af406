"""Turns that were wanted and never begun: counted in every form, by one definition, and endless waits."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.runs import load_for_report
from reports.summary.summary import Summary, summarise
from reports.text.document import summary_data
from reports.text.terminal import report_text
from reports.turns import lost_of, turns_not_started
from reports.wording.sentences import run_essentials, run_headline, run_second
from tests.reports import shared, synthetic
from tests.reports.edited import Row, edit
from tests.reports.forms import run_forms
from tests.reports.synthetic import Plan

NBSP = "\u00a0"
Change = Callable[[Row], Row | None]
PAIRED = Plan(sessions=80, turns=4, targets=("a", "dead"), paired=True)


def plain(text: str) -> str:
    """Without no-break spaces, in one line."""
    return " ".join(text.replace(NBSP, " ").split())


@lru_cache(8)
def build(plan: Plan, dead: str = "", *, interleaved: bool | None = None, turns: Change | None = None) -> Summary:
    """A run; the sessions of these targets were refused before they opened. A session all of whose turns go is none."""
    folder = synthetic.write(shared.folder(), plan, **({} if interleaved is None else {"interleaved": interleaved}))
    gone = dead.split()
    if gone:
        edit(folder, "turns", lambda _, row: None if row["target"] in gone else row)
        edit(folder, "sessions", lambda _, row: _refused(row) if row["target"] in gone else row)
    if turns:
        edit(folder, "turns", lambda _, row: turns(row))
        left = set(pq.read_table(folder / "turns.parquet")["session_id"].to_pylist())
        edit(folder, "sessions", lambda _, row: row if row["session_id"] in left else None)
    return summarise(load_for_report(folder))


def _refused(row: Row) -> Row:
    never = {"upgrade_done_at_ns": None, "session_created_at_ns": None, "update_sent_at_ns": None}
    return (
        row | never | {"outcome": "connect_failed:tcp", "turns_started": 0, "turns_not_started": row["turns_planned"]}
    )


FAILED = {"outcome": "timeout:response"}
THREE = Plan(sessions=120, targets=("a", "b", "c"), paired=True)


def failing(of: Callable[[Row], bool]) -> Change:
    return lambda row: row | (FAILED if of(row) else {})


def only(row: Row, change: dict[str, dict[str, Any]]) -> Row | None:
    """Of target dead only these sessions, with what is other in their turns."""
    return row if row["target"] == "a" else row | change[row["session_id"]] if row["session_id"] in change else None


SOME = {f"s{number:05d}" for number in range(5, 80, 2)}
BAD = {("s00001", 1), ("s00001", 2), ("s00003", 3)}
MEDIAN = r"Callers hear the reply \S+ m?s on a after they stop speaking .*"
SAID: dict[str, tuple[Plan, str, Change | None, str, str]] = {
    # (a run, targets whose sessions were refused, what is other in turns, the headline, the sentence after it)
    "an arm without a turn":
        (PAIRED, "dead", None, MEDIAN + r"dead: none of its 160 turns started \(connect_failed:tcp\)\.", ".*"),
    "lost turns are told by arm":
        (PAIRED, "dead", None, ".*", r"160 of 320 planned turns failed \(50 %; 160 of 160 on dead\): 160 not "
                                     r"started.*"),
    "an arm all of whose turns failed":
        (PAIRED, "", failing(lambda row: row["target"] == "dead"),
         r".*dead: all of its 160 turns failed \(timeout:response\)\.", ".*"),
    "a single turn that never began is no plural":
        (Plan(sessions=2, turns=1, targets=("a", "dead"), paired=True), "dead", None,
         r".*dead: its only turn did not start \(connect_failed:tcp\)\.", ".*"),
    "an arm without a median is named beside one that has one":
        (PAIRED, "", failing(lambda row: row["session_id"] in SOME),
         r"Callers hear .* m?s on a after .* On dead 152 of 160 turns failed: too many for a median\.", ".*"),
    "an arm with too few turns for a median says so":
        (PAIRED, "", lambda row: only(row, {"s00001": FAILED, "s00003": {}}),
         r".*On dead 8 turns of 2 sessions are too few for a median, which takes 6 sessions "
         r"\(4 of 8 planned failed\)\.", ".*"),
    "arms without a turn are told together":
        (THREE, "b c", None, r".*b and c: none of their 320 turns started \(connect_failed:tcp\)\.", ".*"),
    "how many of the turns wanted never began":
        (Plan(sessions=71, refused=29), "", None, r".*29 % of the planned turns did not start\.", ".*"),
    "failures are told by arm":
        (PAIRED, "", failing(lambda row: (row["session_id"], row["turn"]) in BAD), ".*",
         r"3 of 320 turns failed \(0.94 %; 3 of 160 on dead\), as timeout:response\..*"),
}  # fmt: skip


@pytest.mark.parametrize(("plan", "dead", "turns", "headline", "second"), SAID.values(), ids=SAID)
def test_what_failed_or_never_began_is_said_of_its_arm(
    plan: Plan, dead: str, turns: Change | None, headline: str, second: str
) -> None:
    summary = build(plan, dead=dead, turns=turns)

    assert re.fullmatch(headline, plain(run_headline(summary)))
    assert re.fullmatch(second, plain(run_second(summary)))


def test_failed_and_turns_not_started_are_one_rate_in_every_form() -> None:
    summary = build(Plan(sessions=60, turns=4, refused=10, failed=0.1, abandoned=2))
    found, data = summary.outcomes, summary_data(summary)
    bad, wanted = found.failed[0] + 40, 240 - 2 + 40
    rate = f"{bad} of {wanted}"

    assert found.failures(0) == bad / wanted == pytest.approx(data["outcomes"]["sim"]["failure_rate"], rel=1e-5)
    assert (data["results"][0]["turns_not_started"], data["results"][0]["turns_planned"]) == (40, wanted)
    assert rate in report_text(summary)
    assert all(rate in plain(form) for form in run_forms(summary))
    assert plain(run_second(summary)).startswith(f"{rate} planned turns failed")
    assert f"{rate} planned failed" in plain(run_essentials(summary))


def test_turns_not_started_are_endless_waits_of_their_session() -> None:
    summary = build(Plan(sessions=60, refused=30))
    answer, data = summary.answers[0], summary_data(summary)
    sample = summary.samples["ttfa"].of(0, summary.turns.pools[0].steps)
    lost = np.isinf(sample.values)

    assert (answer.turns, answer.wanted, answer.lost) == (240, 360, 120)
    assert (answer.figures.n, answer.figures.failed, answer.figures.not_started) == (360, 120, 120)
    assert np.unique(sample.sessions[lost]).size == 30
    assert not np.isin(sample.sessions[lost], sample.sessions[~lost]).any()
    assert answer.figures.at(0.5).reported
    assert answer.figures.at(0.95).status == "in_failures"
    assert (data["results"][0]["not_started"], data["results"][0]["completed_share"]) == (120, 0.666667)
    assert {row["completed_share"] for row in data["turn_metrics"] if row["metric"] == "ttfa"} == {0.666667}


def test_turns_not_started_count_where_turns_of_their_number_count_from() -> None:
    """Sessions wanted a spoken turn and a typed one in turn."""
    plan = Plan(sessions=60, turns=4, kinds=("vad", "typed"), targets=("a", "dead"), paired=True)
    summary = build(plan, dead="dead")
    lost = {(answer.target, answer.stratum.measured_from): answer.lost for answer in summary.answers}

    assert lost == {
        ("a", "request_sent"): 0,
        ("a", "speech_end"): 0,
        ("dead", "request_sent"): 60,
        ("dead", "speech_end"): 60,
    }
    assert [answer.lost for answer in summary.heard if answer.target == "dead"] == [60]


def test_turns_that_no_session_ever_began_are_those_of_the_commonest_step(tmp_path: Path) -> None:
    synthetic.write(tmp_path, Plan(sessions=60, turns=4, kinds=("vad", "typed")))
    cut = {"turns_planned": 5, "turns_not_started": 1, "outcome": "closed:1006"}
    edit(tmp_path, "sessions", lambda _, row: row | cut)
    summary = summarise(load_for_report(tmp_path))

    assert sum(answer.lost for answer in summary.answers) == summary.outcomes.lost[0] == 60


@given(st.data())
def test_every_lost_turn_is_of_one_step_of_its_target_and_session(data: st.DataObject) -> None:
    some = st.integers(0, 4)
    scripts = st.sampled_from(["x", "y", None])
    turns = data.draw(st.lists(st.tuples(st.integers(0, 1), scripts, some, some), min_size=1, max_size=20))
    rows = data.draw(st.lists(st.tuples(scripts, some, some, st.booleans(), st.integers(0, 1)), max_size=10))
    begun = pd.DataFrame(turns, columns=["target", "script", "turn", "step"]).astype({"script": "category"})
    names = ["script", "turns_started", "turns_not_started", "cut", "target"]
    sessions = pd.DataFrame(rows, columns=names).astype({"script": "category"}).assign(renewed=False)
    sessions["outcome_class"] = np.where(sessions["cut"], "unfinished", "failed")
    target, session = sessions["target"].to_numpy(dtype=np.int64), np.arange(len(sessions))
    found = turns_not_started(begun, sessions.assign(start_utc_ns=5, ended_at_ns=None), target, session)

    assert np.bincount(found.session, minlength=session.size).tolist() == lost_of(sessions).tolist()
    assert found.target.tolist() == target[found.session].tolist()
    assert set(found.step) <= set(begun["step"])
    assert sessions["turns_not_started"].to_numpy()[found.place].all()
    assert set(found.at_utc_ns) <= {5}


def test_a_lost_turn_has_the_step_that_its_own_target_began_at_its_place() -> None:
    begun = pd.DataFrame([(0, "x", 2, 0)] * 3 + [(1, "x", 2, 1)], columns=["target", "script", "turn", "step"]).astype(
        {"script": "category"}
    )
    sessions = _sessions([("a", 0, 1, 1), ("b", 1, 1, 1), ("c", 1, 2, 1)])
    found = turns_not_started(begun, sessions, np.array([0, 0, 1]), np.array([7, 8, 9]))

    assert list(zip(found.session, found.target, found.step, strict=True)) == [
        (7, 0, 0),  # its first turn, which nobody began: the commonest of its target's script
        (8, 0, 0),
        (9, 1, 1),
        (9, 1, 1),  # its third turn, which nobody began either
    ]
    assert found.number.tolist() == [1, 2, 2, 3]
    assert found.place.tolist() == [0, 1, 2, 2]


def test_turns_lost_by_a_session_that_took_the_place_of_another_follow_those_of_its_call() -> None:
    begun = pd.DataFrame([(0, "x", n, n) for n in (1, 2, 3)], columns=["target", "script", "turn", "step"])
    sessions = _sessions([("w0-0", 2, 0, 0), ("w0-0.2", 0, 1, 1)]).assign(renewed=[True, False])

    assert turns_not_started(begun.astype({"script": "category"}), sessions, np.zeros(2, int), np.arange(2)).step == [3]


def _sessions(rows: list[tuple[str, int, int, int]]) -> pd.DataFrame:
    """Sessions of the script x: (id, turns begun, lost turns, start)."""
    frame = pd.DataFrame(rows, columns=["session_id", "turns_started", "turns_not_started", "start_utc_ns"])
    frame = frame.assign(script="x", renewed=False, outcome_class="failed", ended_at_ns=100)
    return frame.astype({"script": "category"})
