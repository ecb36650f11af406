"""What is said of calls that arrived: what was offered, what became of it, how long their callers waited first."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import reports
from bench.run.folder import SCHEMAS
from reports.page import sections
from reports.runs import load_for_report
from reports.samples import session_sample
from reports.summary.load import call_bins
from reports.summary.summary import Summary, summarise
from reports.wording.remarks import divided, lines, rate
from tests.reports import synthetic
from tests.reports.edited import Row, edit, edited
from tests.reports.forms import section_html
from tests.reports.synthetic import BEGAN_NS, Plan

NBSP = "\u00a0"
PLAN = Plan(sessions=120, turns=2, seconds=100)
ARRIVALS = {
    "pattern": "poisson",
    "per_s": 1.5,
    "stages": None,
    "digest": None,
    "max_concurrent": 20,
    "started_utc_ns": BEGAN_NS + 10**9,
    "duration_s": None,
}


def build(folder: Path, plan: Plan = PLAN, blocked: int = 0, **changes: Any) -> Summary:
    """A run whose sessions are calls, of which each was begun 40 ms after it had arrived; `blocked` others were not."""
    synthetic.write(folder, plan, **{"arrivals": ARRIVALS} | changes)
    called = {"call_arrival_at_ns": -40_000_000, "connect_start_at_ns": 0, "auth_wait_ns": 0}
    begun = called | {"intended_start_at_ns": -3_000_000}
    answered = {"first_reply_at_ns": 900_000_000, "caller_time_ns": 400_000_000}
    edit(folder, "sessions", lambda _, row: row | begun | (answered if row["outcome"] == "ok" else {}))
    began = pq.read_table(folder / "sessions.parquet", columns=["target", "start_utc_ns"]).to_pylist()
    calls = Counter((row["target"], row["start_utc_ns"] // 10**9) for row in began)
    middle = pq.read_metadata(folder / "seconds.parquet").num_rows // 2

    def counted(place: int, row: Row) -> Row:
        mine, extra = calls[row["target"], row["second"]], blocked if place == middle else 0
        return row | {"calls_offered": mine + extra, "calls_blocked": extra, "calls_delayed": min(1, mine)}

    return edited(folder, counted, "seconds")


def text(words: str) -> str:
    return " ".join(words.replace(NBSP, " ").split())


def test_calls_are_counted_by_what_became_of_them(tmp_path: Path) -> None:
    summary = build(tmp_path, Plan(sessions=120, turns=2, seconds=100, refused=5), blocked=9)
    assert summary.arriving is not None
    (one,) = summary.arriving.targets

    assert (one.offered, one.blocked, one.started, one.connect_failed) == (one.started + 9, 9, 125, 5)
    assert one.completed == 120
    bins = call_bins(summary.run)
    assert (bins.calls.sum(), bins.blocked.sum()) == (one.offered, 9)
    assert one.start_delay_p50_ms == pytest.approx(3.0)
    said = text(lines(summary)[0])
    assert said.startswith("134 calls arrived, 125 started, 9 blocked (6.7 %), ")
    assert said.endswith("5 refused, 120 completed")


def test_a_call_that_goes_on_in_another_session_is_one_call(tmp_path: Path) -> None:
    whole = build(tmp_path / "whole").arriving
    build(tmp_path / "halves")
    sessions = pq.read_table(tmp_path / "halves" / "sessions.parquet").to_pylist()
    halves = []
    for row in sessions:
        half_ns = row["ended_at_ns"] // 2
        halves.append(row | {"ended_at_ns": half_ns, "renewed": True, "outcome": "renewed"})
        started = {"start_ns": row["start_ns"] + half_ns, "start_utc_ns": row["start_utc_ns"] + half_ns}
        rest = {"call_arrival_at_ns": None, "ended_at_ns": row["ended_at_ns"] - half_ns}
        halves.append(row | started | rest | {"session_id": f"{row['session_id']}.2"})
    pq.write_table(pa.Table.from_pylist(halves, SCHEMAS["sessions"]), tmp_path / "halves" / "sessions.parquet")
    found = summarise(load_for_report(tmp_path / "halves")).arriving

    assert whole is not None
    assert found is not None
    (one,), (two,) = whole.targets, found.targets
    assert (
        (two.started, two.completed, two.connect_failed)
        == (one.started, one.completed, one.connect_failed)
        == (120, 120, 0)
    )
    assert (two.call_duration_s, two.carried_erlangs) == pytest.approx((one.call_duration_s, one.carried_erlangs))


def test_loads_are_calls_in_progress_on_average(tmp_path: Path) -> None:
    summary = build(tmp_path)
    assert summary.arriving is not None
    (one,) = summary.arriving.targets
    sessions = reports.load(tmp_path).sessions
    lasted_s = sessions["session_duration_ms"].to_numpy() / 1000

    assert one.duration_s == pytest.approx(summary.window.length_s - 1)
    assert one.call_duration_s == pytest.approx(lasted_s.mean())
    assert one.offered_erlangs == pytest.approx(lasted_s.sum() / one.duration_s)
    assert one.carried_erlangs == pytest.approx(one.offered_erlangs, rel=0.1)  # some began before the arrivals did
    assert "carried" in text(lines(summary)[1])


def test_a_load_that_ends_by_itself_is_offered_until_it_ends(tmp_path: Path) -> None:
    summary = build(tmp_path, arrivals=ARRIVALS | {"duration_s": 30.0, "per_s": None, "pattern": "calls.txt"})
    assert summary.arriving is not None

    assert summary.arriving.targets[0].duration_s == 30.0
    assert "Calls.txt." in text(section_html(sections.arriving(summary)))


def test_a_call_whose_first_turn_failed_waits_without_an_end(tmp_path: Path) -> None:
    build(tmp_path)
    sessions = reports.load(tmp_path).sessions
    sessions.loc[:9, ["first_reply_at_ns", "service_time_ms"]] = np.nan, np.nan
    sample = session_sample(sessions, "service_time")

    assert sample is not None
    assert (sample.failed, int(np.isinf(sample.values).sum())) == (10, 10)


def test_several_processes_that_blocked_calls_say_that_each_had_its_own_slots(tmp_path: Path) -> None:
    several = build(tmp_path / "several", blocked=3, workers=4)
    alone = build(tmp_path / "alone", blocked=3, workers=1)
    assert several.arriving is not None
    assert alone.arriving is not None

    assert divided(several.run, several.arriving).startswith("Each of the 4 processes has its share of the slots")
    assert divided(alone.run, alone.arriving) == ""


def test_think_times_stand_beside_the_load(tmp_path: Path) -> None:
    synthetic.write(tmp_path / "first", PLAN)
    scripts = [script | {"think_s": 12.0} for script in reports.load(tmp_path / "first").metadata["scripts"]]
    summary = build(tmp_path / "run", scripts=scripts)

    assert text(lines(summary)[1]).endswith("; callers think for 12 s of a call")


@pytest.mark.parametrize(
    ("per_s", "words"), [(2.0, "2/s"), (0.5, "30/min"), (1.0, "1/s"), (0.025, "1.5/min"), (1 / 3600, "1/h")]
)
def test_a_rate_is_told_in_the_largest_unit_that_makes_a_number_of_it(per_s: float, words: str) -> None:
    assert rate(per_s) == words
