"""Planned turns that were not started. Every output format and every breakdown counts them in
the same way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rtbench
from bench.record.histograms import MAX_STEPS
from reports.analysis.summary.group_keys import KEYS
from reports.analysis.summary.groups import GroupedLatency
from reports.analysis.summary.summary import Summary, summarise
from reports.data.runs import load_for_report
from reports.data.turns import not_started_of, turns_not_started
from reports.pages.run_report.document import summary_data
from reports.text.sentences import run_essentials, run_second
from tests.reports import shared, synthetic
from tests.reports.edited import Row, edit, edited
from tests.reports.forms import run_forms, run_text
from tests.reports.shared import write_summary
from tests.reports.synthetic import MS, Plan

NBSP = "\u00a0"
Change = Callable[[Row], Row | None]
PAIRED = Plan(sessions=80, turns=4, targets=("a", "dead"), paired=True)


def plain(text: str) -> str:
    """Return the text on one line. No-break spaces become plain spaces."""
    return " ".join(text.replace(NBSP, " ").split())


@lru_cache(8)
def build(
    plan: Plan, dead: str = "", *, interleaved: bool | None = None, turns: Change | None = None
) -> Summary:
    """Return the summary of a run. All sessions of the targets in `dead` were refused before they
    opened.

    `turns` is a change of the turns. If a session has no turns after the change, it is removed.
    """
    folder = synthetic.write(
        shared.folder(), plan, **({} if interleaved is None else {"interleaved": interleaved})
    )
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
    never = {"opened_at_ns": None, "session_created_at_ns": None, "update_sent_at_ns": None}
    return (
        row
        | never
        | {
            "outcome": "connect_failed:tcp",
            "turns_started": 0,
            "turns_not_started": row["turns_planned"],
        }
    )


FAILED = {"outcome": "timeout:response"}


def test_failed_turns_and_turns_not_started_form_one_rate_in_every_form() -> None:
    summary = build(Plan(sessions=60, turns=4, refused=10, failed=0.1, abandoned=2))
    found, data = summary.endings, summary_data(summary)
    (of_target,) = found.targets
    bad, wanted = of_target.turns_failed + 40, 240 - 2 + 40
    rate = f"{bad} of {wanted}"

    assert (
        of_target.failure_rate
        == bad / wanted
        == pytest.approx(data["outcomes"]["sim"]["failure_rate"], rel=1e-5)
    )
    assert (data["results"][0]["turns_not_started"], data["results"][0]["turns_planned"]) == (
        40,
        wanted,
    )
    assert rate in run_text(summary)
    assert all(rate in plain(form) for form in run_forms(summary))
    assert plain(run_second(summary)).startswith(f"{rate} planned turns failed")
    assert f"{rate} planned failed" in plain(run_essentials(summary))


def test_turns_not_started_are_infinite_latencies_of_their_session() -> None:
    summary = build(Plan(sessions=60, refused=30))
    answer, data = summary.results[0], summary_data(summary)
    sample = summary.samples["ttfa"].of(0, summary.turns.pools[0].steps)
    infinite = np.isinf(sample.values)

    assert (answer.turns, answer.turns_planned, answer.turns_not_started) == (240, 360, 120)
    assert (answer.n, answer.failed, answer.not_started) == (360, 120, 120)
    assert np.unique(sample.sessions[infinite]).size == 30
    assert not np.isin(sample.sessions[infinite], sample.sessions[~infinite]).any()
    assert answer.at(0.5).reported
    assert answer.at(0.95).status == "in_failures"
    assert (data["results"][0]["not_started"], data["results"][0]["completed_share"]) == (
        120,
        0.666667,
    )
    assert {row["completed_share"] for row in data["turn_metrics"] if row["metric"] == "ttfa"} == {
        0.666667
    }


@given(st.data())
def test_every_turn_not_started_has_one_step_of_its_target_and_session(data: st.DataObject) -> None:
    some = st.integers(0, 4)
    scripts = st.sampled_from(["x", "y", None])
    turns = data.draw(
        st.lists(st.tuples(st.integers(0, 1), scripts, some, some), min_size=1, max_size=20)
    )
    rows = data.draw(
        st.lists(st.tuples(scripts, some, some, st.booleans(), st.integers(0, 1)), max_size=10)
    )
    begun = pd.DataFrame(turns, columns=["target", "script", "turn", "step"]).astype(
        {"script": "category"}
    )
    names = ["script", "turns_started", "turns_not_started", "cut", "target"]
    sessions = (
        pd.DataFrame(rows, columns=names).astype({"script": "category"}).assign(renewed=False)
    )
    sessions["outcome_class"] = np.where(sessions["cut"], "unfinished", "failed")
    target, session = sessions["target"].to_numpy(dtype=np.int64), np.arange(len(sessions))
    found = turns_not_started(
        begun, sessions.assign(start_utc_ns=5, ended_at_ns=None), target, session
    )

    assert (
        np.bincount(found.session, minlength=session.size).tolist()
        == not_started_of(sessions).tolist()
    )
    assert found.target.tolist() == target[found.session].tolist()
    assert set(found.step) <= set(begun["step"])
    assert sessions["turns_not_started"].to_numpy()[found.position].all()
    assert set(found.at_utc_ns) <= {5}


def test_a_turn_not_started_has_the_step_its_own_target_had_at_that_number() -> None:
    begun = pd.DataFrame(
        [(0, "x", 2, 0)] * 3 + [(1, "x", 2, 1)], columns=["target", "script", "turn", "step"]
    ).astype({"script": "category"})
    sessions = _sessions([("a", 0, 1, 1), ("b", 1, 1, 1), ("c", 1, 2, 1)])
    found = turns_not_started(begun, sessions, np.array([0, 0, 1]), np.array([7, 8, 9]))

    assert list(zip(found.session, found.target, found.step, strict=True)) == [
        # The first turn did not start in any session of the target, so it gets the commonest step.
        (7, 0, 0),
        (8, 0, 0),
        (9, 1, 1),
        (9, 1, 1),  # The third turn did not start in any session either.
    ]
    assert found.number.tolist() == [1, 2, 2, 3]
    assert found.position.tolist() == [0, 1, 2, 2]


def test_turns_not_started_of_a_renewed_session_follow_those_of_its_call() -> None:
    begun = pd.DataFrame(
        [(0, "x", n, n) for n in (1, 2, 3)], columns=["target", "script", "turn", "step"]
    )
    rows = [("w0-0", 2, 0, 0), ("w0-0.2", 0, 1, 1)]
    again = [("w0-0", 2, 0, 0), ("w0-0.2", 1, 1, 1)]
    for sessions in (
        _sessions(rows).assign(renewed=[True, False], turns_repeated=0),
        _sessions(again).assign(renewed=[True, False], turns_repeated=[0, 1]),
    ):
        assert turns_not_started(
            begun.astype({"script": "category"}), sessions, np.zeros(2, int), np.arange(2)
        ).step == [3]


def _sessions(rows: list[tuple[str, int, int, int]]) -> pd.DataFrame:
    """Return sessions of the script x. A row is (session ID, turns started, turns not started,
    start).
    """
    frame = pd.DataFrame(
        rows, columns=["session_id", "turns_started", "turns_not_started", "start_utc_ns"]
    )
    frame = frame.assign(script="x", renewed=False, outcome_class="failed", ended_at_ns=100)
    return frame.astype({"script": "category"})


GREETED = [
    {"step": "turn_1", "measured_from": "speech_end", "greeting": True},
    {"step": "opening_hours", "measured_from": "speech_end", "greeting": False},
    {"step": "late_parcel", "measured_from": "speech_end", "greeting": False},
]
NEVER = {"measured_from": None, "speech_end_at_ns": None, "first_audible_at_ns": None}


def greeted(folder: Path, dialect: str, *, started: int, outcome: str = "ok") -> Summary:
    """Return a run of 20 calls that wait for a greeting, and then have two spoken turns.

    Each call ended after `started` turns. `outcome` is that of the greeting.
    """
    plan = Plan(sessions=20, turns=3, kinds=("vad",))
    made = synthetic.write(folder, plan)
    document = json.loads((made / "run.json").read_text(encoding="utf-8"))
    document["targets"][0] |= {"dialect": dialect, "full_duplex": True}
    document["scripts"][0] |= {"plan": GREETED}
    (made / "run.json").write_text(json.dumps(document), encoding="utf-8")

    def turn(_: int, row: Row) -> Row | None:
        if row["turn"] > started:
            return None
        step = {"step": GREETED[row["turn"] - 1]["step"], "first_audio_at_ns": None}
        return row | step | (NEVER | {"outcome": outcome} if row["turn"] == 1 else {})

    ended = {"outcome": "closed:1006", "turns_started": started, "turns_not_started": 3 - started}
    audible = {"greeting_audible_at_ns": 900 * MS if outcome == "ok" else None}
    return summarise(
        load_for_report(
            edit(edit(made, "turns", turn), "sessions", lambda _, row: row | ended | audible)
        )
    )


@pytest.mark.parametrize("dialect", ["sip", "twilio"])
@pytest.mark.parametrize(
    ("outcome", "started", "greeting", "voice"),
    [
        ("timeout:first_delta", 1, "100 % (20 of these 20)", "100 % (40 of 40 planned)"),
        ("ok", 1, "0 % (0 of these 20)", "100 % (40 of 40 planned)"),
        ("ok", 2, "0 % (0 of these 20)", "50 % (20 of 40 planned)"),
    ],
)
def test_a_planned_turn_counts_in_the_row_of_its_kind(
    dialect: str, outcome: str, started: int, greeting: str, voice: str, tmp_path: Path
) -> None:
    summary = greeted(tmp_path, dialect, started=started, outcome=outcome)
    text = plain(run_text(summary))
    rows = re.findall(
        r"(voice_to_voice|greeting) \(from (end of speech|start of connecting), .*? (\S+ % \(\d+ of"
        r" (?:these \d+|\d+ planned)\))",
        text,
    )

    assert rows == [
        ("voice_to_voice", "end of speech", voice),
        ("greeting", "start of connecting", greeting),
    ]
    assert "from request sent" not in text
    assert summary.endings.not_started == 20 * (3 - started)


def test_a_run_that_only_waits_for_greetings_has_no_row_of_voice_to_voice(tmp_path: Path) -> None:
    def session(_: int, row: Row) -> Row:
        return row | {
            "turns_planned": 1,
            "turns_started": 1,
            "turns_not_started": 0,
            "greeting_audible_at_ns": 9 * MS,
        }

    greeted(tmp_path, "sip", started=1)
    text = plain(run_text(edited(tmp_path, session, "sessions")))

    assert "greeting (from start of connecting" in text
    assert "voice_to_voice (from" not in text


def test_planned_turns_that_never_started_add_a_limited_number_of_steps(tmp_path: Path) -> None:
    made = synthetic.write(tmp_path, Plan(sessions=10, turns=2))
    document = json.loads((made / "run.json").read_text(encoding="utf-8"))
    steps = [
        {"step": f"s{n}", "measured_from": "speech_end", "greeting": False} for n in range(1000)
    ]
    document["scripts"][0] |= {"plan": steps}
    (made / "run.json").write_text(json.dumps(document), encoding="utf-8")
    cut = {
        "turns_planned": 1000,
        "turns_started": 2,
        "turns_not_started": 998,
        "outcome": "closed:1006",
    }
    summary = edited(made, lambda _, row: row | cut, "sessions")

    assert len(summary.turns.steps) == MAX_STEPS
    assert summary.turns.not_started_by_group.sum() == summary.endings.not_started == 9_980


PLAN = Plan(turns=10, usage=True, seconds=120, stages=((60, 4), (60, 16)))
BEGUN = 2
"""The number of turns that each session on host blue starts.

In the last of these turns, the session's connection breaks.
"""
ENDED_NS = 3_000 * MS
SILENT = (
    "response_created_at_ns",
    "first_audio_at_ns",
    "first_audible_at_ns",
    "response_done_at_ns",
)


def is_blue(session: str) -> bool:
    return int(session.removeprefix("s")) % 2 == 0


def host_and_region(session: str) -> dict[str, str]:
    return (
        {"host": "blue", "region": "East US 2"}
        if is_blue(session)
        else {"host": "red", "region": "Sweden Central"}
    )


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
    row |= {
        "host": host_and_region(row["session_id"])["host"],
        "context_tokens": 1_500 * row["turn"],
    }
    if not is_blue(row["session_id"]) or row["turn"] < BEGUN:
        return row
    return (
        row | {"outcome": "closed:1006"} | dict.fromkeys(SILENT) if row["turn"] == BEGUN else None
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run on two hosts. On host blue, the connection of every session breaks in the
    second of ten turns.
    """
    made = synthetic.write(
        tmp_path_factory.mktemp("broken") / "run",
        PLAN,
        hosts=[{"name": "blue"}, {"name": "red"}],
        stages=[{"duration_s": 120.0, "from": 4.0, "to": 16.0}],
    )
    return edit(edit(made, "sessions", broken_session), "turns", broken_turn)


@pytest.fixture(scope="module")
def broken_run(folder: Path) -> Summary:
    return summarise(load_for_report(folder))


def only_waits(summary: Summary, by: str) -> GroupedLatency:
    ((waits,),) = summary.latency_by(by)
    return waits


def sessions_of_blue(summary: Summary) -> int:
    return sum(map(is_blue, summary.run.sessions["session_id"].astype(str)))


@pytest.mark.parametrize("by", KEYS)
def test_every_turn_not_started_is_in_one_group_or_counted_as_unplaced(
    broken_run: Summary, by: str
) -> None:
    waits, (answer,) = only_waits(broken_run, by), broken_run.results
    not_started = sum(group.lost for group in waits.groups)

    assert answer.turns_not_started == sessions_of_blue(broken_run) * (PLAN.turns - BEGUN) > 0
    assert not_started + waits.unplaced == answer.turns_not_started
    assert bool(waits.unplaced) is (by == "context")
    assert (
        sum(group.failed.events for group in waits.groups) + waits.unplaced
        >= answer.turns_not_started
    )
    for group in waits.groups:
        assert group.failed.n == group.turns + group.lost


def test_a_host_with_most_turns_not_started_has_an_infinite_median(
    broken_run: Summary, folder: Path
) -> None:
    blue, red = only_waits(broken_run, "host").groups
    frame = rtbench.load(folder).quantiles("ttfa", p=0.5, by="host").set_index("host")

    assert blue.p50.value == frame["value"]["blue"] == np.inf
    assert red.p50.value == frame["value"]["red"] < np.inf
    assert (blue.failed.value, red.failed.value) == (0.9, 0.0)
    assert (blue.n, blue.lost, blue.sessions) == (
        frame["n"]["blue"],
        frame["not_started"]["blue"],
        sessions_of_blue(broken_run),
    )


def test_a_turn_not_started_is_assigned_to_the_load_and_age_at_its_session_s_end(
    broken_run: Summary,
) -> None:
    load, age = only_waits(broken_run, "calls"), only_waits(broken_run, "age")
    ended_s = ENDED_NS / 1e9

    (where,) = (group.bin for group in age.groups if group.lost)
    assert where.start <= ended_s < where.end
    sessions = broken_run.run.sessions
    starts_ns = sessions["start_utc_ns"].to_numpy(dtype=np.int64)
    ends_ns = starts_ns + sessions["ended_at_ns"].to_numpy(dtype=np.int64)
    blue = [is_blue(name) for name in sessions["session_id"].astype(str)]
    calls = np.array([np.sum((starts_ns < end) & (ends_ns >= end)) for end in ends_ns[blue]])
    for group in load.groups:
        assert group.lost == 8 * np.sum((calls >= group.bin.start) & (calls <= group.bin.end))
    assert load.groups[-1].lost


def test_summary_json_counts_the_turns_not_started_in_each_group(broken_run: Summary) -> None:
    rows = summary_data(broken_run)["groups"]
    not_started = broken_run.results[0].turns_not_started

    for by in KEYS:
        mine = [row for row in rows if row["group"]["by"] == by]
        failures, started = (
            [row for row in mine if row["metric"] == name] for name in ("failure_rate", "turns")
        )
        unplaced = next(row["n"] for row in mine if row["metric"] == "not_started_unplaced")
        assert sum(row["not_started"] for row in failures) + unplaced == not_started
        assert [row["n"] for row in failures] == [
            row["n"] + of["not_started"] for row, of in zip(started, failures, strict=True)
        ]
    blue = {row["statistic"]: row["value"] for row in rows if row["group"]["name"] == "blue"}
    assert (blue["p50"], blue["rate"]) == (None, 0.9)


@pytest.fixture(scope="module")
def target_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of two targets in pairs. At target b, the connection of every session breaks
    in its second turn.
    """
    plan = replace(PLAN, stages=(), sessions=160, targets=("a", "b"), paired=True)
    made = synthetic.write(tmp_path_factory.mktemp("arms") / "run", plan, interleaved=True)
    odd = {
        name
        for name in load_for_report(made).sessions["session_id"].astype(str)
        if not is_blue(name)
    }
    broke = {
        "outcome": "closed:1006",
        "turns_started": BEGUN,
        "turns_not_started": PLAN.turns - BEGUN,
    }

    def turn(_: int, row: Row) -> Row | None:
        if row["session_id"] not in odd or row["turn"] < BEGUN:
            return row
        return (
            row | {"outcome": "closed:1006"} | dict.fromkeys((*SILENT, "audio_speed"))
            if row["turn"] == BEGUN
            else None
        )

    edit(made, "sessions", lambda _, row: row | (broke if row["session_id"] in odd else {}))
    edit(made, "turns", turn)
    write_summary(made)
    return made


def test_turns_not_started_count_in_every_verdict(target_runs: Path) -> None:
    """Each target has 800 planned turns. At target b, only 80 of them succeed."""
    compared = rtbench.compare(target_runs).to_frame().set_index("title")
    limits = {
        "ttfa": "p(50)<800",
        "ttfa{step:refund_policy}": "p(50)<800",
        "audio_speed": "avg>1",
        "failure_rate": "rate<0.5",
    }
    checked = (
        rtbench.check(target_runs, limits).to_frame().query('target == "b"').set_index("threshold")
    )
    trend = rtbench.trend(target_runs).to_frame().set_index(["target", "title"])

    assert compared["failed"]["ttfa p50"] == compared["failed"]["audio_speed mean"] == 720
    assert compared["value"]["ttfa p50"] == np.inf
    assert compared["turns"]["audio_speed mean"] == 80
    assert checked["result"].tolist() == ["fail", "fail", "pass", "fail"]
    assert checked["failed"].tolist() == [720, 160, 720, 720]
    assert checked["completed_share"].tolist()[:3] == [0.1, 0.0, 0.1]
    assert trend["value"]["b", "ttfa p50"] == np.inf
    assert trend["n"]["b", "ttfa p50"] == 800
