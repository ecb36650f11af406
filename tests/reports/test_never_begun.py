"""Turns that were wanted and not started, in every breakdown: endless waits of their group, or counted beside all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import rtbench
from reports.runs import load_for_report
from reports.summary.groups import KEYS, Waits
from reports.summary.over_time import courses, over_time, steps_over_time
from reports.summary.summary import Summary, summarise
from reports.text.document import summary_data
from tests.reports import synthetic
from tests.reports.edited import Row, edit
from tests.reports.shared import write_summary
from tests.reports.synthetic import MS, Plan

PLAN = Plan(turns=10, usage=True, seconds=120, stages=((60, 4), (60, 16)))
BEGUN = 2
"""Turns that a session of blue begins; its connection breaks in the last of them."""
ENDED_NS = 3_000 * MS
SILENT = ("response_created_at_ns", "first_audio_at_ns", "first_audible_at_ns", "response_done_at_ns")


def is_blue(session: str) -> bool:
    return int(session.removeprefix("s")) % 2 == 0


def host_and_region(session: str) -> dict[str, str]:
    return {"host": "blue", "region": "East US 2"} if is_blue(session) else {"host": "red", "region": "Sweden Central"}


def broken_session(_: int, row: Row) -> Row:
    row |= host_and_region(row["session_id"])
    if not is_blue(row["session_id"]):
        return row
    broke = {
        "outcome": "closed:1006",
        "turns_started": BEGUN,
        "turns_not_started": PLAN.turns - BEGUN,
        "ended_at_ns": ENDED_NS,
    }
    return row | broke


def broken_turn(_: int, row: Row) -> Row | None:
    row |= {"host": host_and_region(row["session_id"])["host"], "context_tokens": 1_500 * row["turn"]}
    if not is_blue(row["session_id"]) or row["turn"] < BEGUN:
        return row
    return row | {"outcome": "closed:1006"} | dict.fromkeys(SILENT) if row["turn"] == BEGUN else None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two hosts: on blue the connection breaks in the second of ten turns of every session."""
    made = synthetic.write(
        tmp_path_factory.mktemp("broken") / "run",
        PLAN,
        hosts=[{"name": "blue"}, {"name": "red"}],
        stages=[{"duration_s": 120.0, "from": 4.0, "to": 16.0}],
    )
    return edit(edit(made, "sessions", broken_session), "turns", broken_turn)


@pytest.fixture(scope="module")
def broken(folder: Path) -> Summary:
    return summarise(load_for_report(folder))


def only(summary: Summary, by: str) -> Waits:
    ((waits,),) = summary.waits_by(by)
    return waits


def sessions_of_blue(summary: Summary) -> int:
    return sum(map(is_blue, summary.run.sessions["session_id"].astype(str)))


@pytest.mark.parametrize("by", KEYS)
def test_every_lost_turn_is_in_one_group_or_counted_beside_them(broken: Summary, by: str) -> None:
    waits, (answer,) = only(broken, by), broken.answers
    lost = sum(group.lost for group in waits.groups)

    assert answer.lost == sessions_of_blue(broken) * (PLAN.turns - BEGUN) > 0
    assert lost + waits.unplaced == answer.lost
    assert bool(waits.unplaced) is (by == "context")
    assert sum(group.failed.count for group in waits.groups) + waits.unplaced >= answer.lost
    for group in waits.groups:
        assert group.failed.total == group.turns + group.lost


def test_a_host_that_loses_most_of_its_turns_has_no_finite_median(broken: Summary, folder: Path) -> None:
    blue, red = only(broken, "host").groups
    frame = rtbench.load(folder).quantiles("ttfa", p=0.5, by="host").set_index("host")

    assert blue.p50.value == frame["value"]["blue"] == np.inf
    assert red.p50.value == frame["value"]["red"] < np.inf
    assert (blue.failed.share, red.failed.share) == (0.9, 0.0)
    assert (blue.n, blue.lost, blue.sessions) == (
        frame["n"]["blue"],
        frame["not_started"]["blue"],
        sessions_of_blue(broken),
    )


def test_a_lost_turn_is_at_the_load_and_the_age_at_which_its_session_ended(broken: Summary) -> None:
    load, age = only(broken, "calls"), only(broken, "age")
    ended_s = ENDED_NS / 1e9

    (where,) = (group.place for group in age.groups if group.lost)
    assert where.low <= ended_s < where.high
    sessions = broken.run.sessions
    starts_ns = sessions["start_utc_ns"].to_numpy(dtype=np.int64)
    ends_ns = starts_ns + sessions["ended_at_ns"].to_numpy(dtype=np.int64)
    blue = [is_blue(name) for name in sessions["session_id"].astype(str)]
    calls = np.array([np.sum((starts_ns < end) & (ends_ns >= end)) for end in ends_ns[blue]])
    for group in load.groups:
        assert group.lost == 8 * np.sum((calls >= group.place.low) & (calls <= group.place.high))
    assert load.groups[-1].lost


def test_the_region_of_a_session_that_never_opened_is_not_known(tmp_path: Path) -> None:
    made = synthetic.write(tmp_path, Plan(sessions=60, turns=4, refused=10))

    def region(number: int, row: Row) -> Row:
        return row | {"region": None if row["outcome"] != "ok" else ("East US 2", "Sweden Central")[number % 2]}

    waits = only(summarise(load_for_report(edit(made, "sessions", region))), "region")
    assert [(group.place.name, group.lost) for group in waits.groups] == [("East US 2", 0), ("Sweden Central", 0)]
    assert waits.unplaced == 40


def test_turns_not_started_are_failures_over_the_time_of_the_run(broken: Summary) -> None:
    frame, (answer,) = over_time(broken), broken.answers
    assert frame is not None
    (panel,) = frame.panels

    assert (panel.turns, panel.failed, panel.lost) == (answer.wanted, answer.unmet, answer.lost)
    assert sum(bin_.turns for bin_ in panel.bins) == answer.wanted
    assert sum(bin_.failed for bin_ in panel.bins) == answer.unmet
    by_step = steps_over_time(broken, broken.turns.strata[0])
    assert by_step is not None
    assert sum(bin_.turns for course in by_step.courses for bin_ in course.bins) > answer.turns
    assert [course.values.size for course in courses(broken)] in ([], [answer.figures.n])


def test_a_half_of_a_run_that_loses_its_turns_has_no_finite_median_to_drift_from(tmp_path: Path) -> None:
    """Whatever began after the middle breaks off in the second turn."""
    plan = Plan(sessions=120, turns=10, seconds=120)
    middle_ns = synthetic.BEGAN_NS + 48 * 10**9

    def session(_: int, row: Row) -> Row:
        late = row["start_utc_ns"] > middle_ns
        return row | ({"outcome": "closed:1006", "turns_started": 1, "turns_not_started": 9} if late else {})

    made = edit(synthetic.write(tmp_path, plan), "sessions", session)
    late = {row["session_id"] for row in load_for_report(made).sessions.to_dict("records") if row["turns_not_started"]}
    edit(made, "turns", lambda _, row: None if row["session_id"] in late and row["turn"] > 1 else row)

    assert len(late) > 40
    assert summarise(load_for_report(made)).drifts == ()


def test_summary_json_counts_the_turns_that_never_began_in_each_group(broken: Summary) -> None:
    rows = summary_data(broken)["groups"]
    lost = broken.answers[0].lost

    for by in KEYS:
        mine = [row for row in rows if row["by"] == by]
        assert sum(row["not_started"] for row in mine) + mine[0]["not_started_unplaced"] == lost
        assert all(row["turns_failed"]["total"] == row["turns"] + row["not_started"] for row in mine)
    (blue,) = (row for row in rows if row["name"] == "blue")
    assert (blue["p50"]["value"], blue["turns_failed"]["share"]) == (None, 0.9)


@pytest.fixture(scope="module")
def arms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two targets in pairs: at b the connection breaks in the second turn of every session."""
    plan = replace(PLAN, stages=(), sessions=160, targets=("a", "b"), paired=True)
    made = synthetic.write(tmp_path_factory.mktemp("arms") / "run", plan, interleaved=True)
    odd = {name for name in load_for_report(made).sessions["session_id"].astype(str) if not is_blue(name)}
    broke = {"outcome": "closed:1006", "turns_started": BEGUN, "turns_not_started": PLAN.turns - BEGUN}

    def turn(_: int, row: Row) -> Row | None:
        if row["session_id"] not in odd or row["turn"] < BEGUN:
            return row
        return (
            row | {"outcome": "closed:1006"} | dict.fromkeys((*SILENT, "audio_speed")) if row["turn"] == BEGUN else None
        )

    edit(made, "sessions", lambda _, row: row | (broke if row["session_id"] in odd else {}))
    edit(made, "turns", turn)
    write_summary(made)
    return made


@pytest.mark.usefixtures("few_draws")
def test_no_verdict_stands_on_the_turns_that_began_alone(arms: Path) -> None:
    """Of 800 turns wanted of each target, b has 80."""
    compared = rtbench.compare(arms).to_frame().set_index("title")
    limits = {
        "ttfa": "p(50)<800",
        "ttfa{step:refund_policy}": "p(50)<800",
        "audio_speed": "avg>1",
        "failure_rate": "rate<0.5",
    }
    checked = rtbench.check(arms, limits).to_frame().query('target == "b"').set_index("threshold")
    trend = rtbench.trend(arms).to_frame().set_index(["target", "title"])

    assert compared["failed"]["ttfa p50"] == compared["failed"]["audio_speed mean"] == 720
    assert compared["value"]["ttfa p50"] == np.inf
    assert compared["turns"]["audio_speed mean"] == 80
    assert checked["result"].tolist() == ["fail", "fail", "pass", "fail"]
    assert checked["failed"].tolist() == [720, 160, 720, 720]
    assert checked["completed_share"].tolist()[:3] == [0.1, 0.0, 0.1]
    assert trend["value"]["b", "ttfa p50"] == np.inf
    assert trend["n"]["b", "ttfa p50"] == 800
