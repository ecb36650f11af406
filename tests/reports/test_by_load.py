"""Latencies and failures as functions of the calls in progress, and the report on the calls that
arrived.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec import structs

import rtbench
from bench.record import folder as run_folder
from bench.record.document import SCHEMA_VERSION
from bench.record.folder import SCHEMAS, TableName
from bench.record.histograms import Histograms
from bench.record.spool import path_of, rows_of
from reports.analysis.summary.group_keys import MIN_LEVEL_TURNS, merged
from reports.analysis.summary.groups import (
    GroupDifference,
    GroupedLatency,
    TurnGroup,
    group_differences,
    latency_by,
)
from reports.analysis.summary.load import call_bins
from reports.analysis.summary.summary import Summary, summarise
from reports.data.runs import RunFrames, load_for_report, second_frame, session_frame, turn_frame
from reports.data.samples import samples_of, session_sample
from reports.pages.run_report.sections import arrivals as load
from reports.pages.run_report.sections.arrivals import by_load as section
from reports.text.remarks import rate
from tests.examples import trials
from tests.reports import synthetic
from tests.reports.edited import Row, edit, edited
from tests.reports.forms import section_html
from tests.reports.shared import summary_of
from tests.reports.synthetic import BEGAN_NS, Plan

RISING = Plan(
    turns=6,
    targets=("direct", "gateway"),
    failed=0.02,
    seconds=240,
    stages=((60, 5), (60, 15), (60, 25), (60, 40)),
)
SLOWER = replace(RISING, slower=1 / 39)


def counted(summary: Summary, target: str) -> list[int]:
    """Return, for each turn of a target, the number of calls in progress when the measurement of
    the turn starts.
    """
    run = rtbench.load(summary.run.folder)
    calls, turns = (frame[frame["target"] == target] for frame in (run.sessions, run.turns))
    starts_ns = calls["start_utc_ns"].to_numpy(dtype=np.int64)
    ends_ns = starts_ns + calls["ended_at_ns"].to_numpy(dtype=np.int64)
    at_ns = (turns["start_utc_ns"] + turns["measured_from_at_ns"].fillna(0)).to_numpy(
        dtype=np.int64
    )
    return [int(((starts_ns <= at) & (ends_ns > at)).sum()) for at in at_ns]


def by_load(summary: Summary) -> list[GroupedLatency]:
    return [waits for of in summary.latency_by("calls") for waits in of]


def only(summary: Summary) -> GroupedLatency:
    (found,) = by_load(summary)
    return found


def test_each_turn_is_assigned_to_the_calls_in_progress_at_its_start() -> None:
    summary = summary_of(RISING)

    assert [one.label for one in by_load(summary)] == ["direct", "gateway"]
    for one, answer in zip(by_load(summary), summary.results, strict=True):
        calls = np.array(counted(summary, one.label))
        turns = [
            int(((calls >= level.bin.start) & (calls <= level.bin.end)).sum())
            for level in one.groups
        ]
        assert [level.turns for level in one.groups] == turns
        assert sum(turns) == answer.turns
        assert sum(level.n for level in one.groups) == answer.n
        assert sum(level.failed.events for level in one.groups) == answer.failed


@pytest.mark.parametrize(
    ("turns", "ranges"),
    [
        ([MIN_LEVEL_TURNS, MIN_LEVEL_TURNS], [(0, 0), (1, 1)]),
        ([MIN_LEVEL_TURNS - 1, 1, MIN_LEVEL_TURNS], [(0, 1), (2, 2)]),
        ([MIN_LEVEL_TURNS, 0, 0, MIN_LEVEL_TURNS], [(0, 0), (3, 3)]),
        ([2 * MIN_LEVEL_TURNS, 5, 4, 3 * MIN_LEVEL_TURNS], [(0, 2), (3, 3)]),
        ([0, 5, 0, MIN_LEVEL_TURNS, 0], [(1, 3)]),
        ([], []),
    ],
)
def test_load_levels_with_few_turns_are_merged_with_their_neighbours(
    turns: list[int], ranges: list[tuple[int, int]]
) -> None:
    assert list(merged(np.array(turns, dtype=np.int64))) == ranges


def levels_of(plan: Plan) -> tuple[list[GroupedLatency], tuple[GroupDifference, ...]]:
    """Return the latencies by load in the report of this run, and the levels that differ
    significantly.

    The report is computed without files.
    """
    tables = synthetic.rows(plan)
    frames = (
        turn_frame(tables["turns"]),
        session_frame(tables["sessions"]),
        second_frame(tables["seconds"]),
    )
    run = RunFrames(Path(), {"state": "ended"}, *frames, Histograms(), finalized=True)
    latencies, differing = latency_by(run, samples_of(run))
    return [latency for latency in latencies if latency.by == "calls"], differing


def test_false_alarms_are_rare() -> None:
    ramp = Plan(turns=6, seconds=120, failed=0.02, stages=tuple((12, 2 * n) for n in range(1, 11)))
    runs = [levels_of(replace(ramp, seed=seed)) for seed in range(trials(20, 40))]

    assert all(waits for waits, _ in runs)
    assert sum(bool(differing) for _, differing in runs) <= len(runs) / 20


def two(few: TurnGroup, many: TurnGroup) -> list[GroupDifference]:
    return list(group_differences(by_load(summary_of(SLOWER))[0]._replace(groups=(few, many))))


def test_small_differences_between_load_levels_cause_no_notice() -> None:
    one = by_load(summary_of(SLOWER))[0]
    few, many = one.groups[0], one.groups[-1]
    near = replace(many, p50=few.p50, p95=few.p95, failed=few.failed, unopened=few.unopened)

    def moved(ratio: float) -> list[GroupDifference]:
        value, high = few.p50.value * ratio, few.p50.high
        ends = (high + 1e-6, high * 2) if ratio > 1 else (0.0, few.p50.low - 1e-6)
        return two(
            few, replace(near, p50=structs.replace(few.p50, value=value, low=ends[0], high=ends[1]))
        )

    assert moved(1.09) == []
    assert [found.what for found in moved(1.11)] == ["p50"]
    (found,) = moved(0.8)
    assert found.smaller.bin == near.bin


def test_sessions_that_did_not_open_are_assigned_to_the_load_at_their_start() -> None:
    summary = summary_of(replace(RISING, targets=("direct",), refused=4))
    unopened = [rate for level in only(summary).groups if (rate := level.unopened) is not None]

    assert [rate.count for rate in unopened] == [4] + [0] * (len(unopened) - 1)
    assert sum(rate.n for rate in unopened) == len(summary.sessions)
    assert "sessions that did not open" in str(section(summary))
    assert "sessions that did not open" not in str(section(summary_of(RISING)))


def test_calls_of_the_warm_up_count_as_in_progress_but_not_as_results() -> None:
    summary = summary_of(replace(RISING, warmup_s=130.0))
    rows = rtbench.load(summary.run.folder).turns.query("target == 'direct'")
    calls = np.array(counted(summary, "direct"))[rows["measured"].to_numpy()]

    turns = [
        ((calls >= level.bin.start) & (calls <= level.bin.end)).sum()
        for level in by_load(summary)[0].groups
    ]
    assert [level.turns for level in by_load(summary)[0].groups] == turns
    assert sum(turns) < len(rows)


def test_a_call_cut_by_a_kill_counts_as_in_progress_from_its_first_turn(tmp_path: Path) -> None:
    plan = replace(RISING, targets=("direct",))
    tables = dict(synthetic.rows(plan))
    sessions = tables["sessions"].num_rows - 40
    # the sessions of the last users had not ended
    tables["sessions"] = tables["sessions"].slice(0, sessions)
    cut, whole = only(summarise(load_for_report(killed(tmp_path, tables)))), only(summary_of(plan))

    assert cut.groups[-1].bin.name == whole.groups[-1].bin.name == "36–40"
    assert cut.groups[-1].turns == pytest.approx(whole.groups[-1].turns, rel=0.1)


def killed(folder: Path, tables: dict[TableName, pa.Table]) -> Path:
    """Write the folder of a killed run whose spool contains these rows."""
    (folder / "spool").mkdir()
    for name, table in tables.items():
        with pa.ipc.new_stream(path_of(folder, 0, rows_of(name)), SCHEMAS[name]) as stream:
            stream.write_table(table)
    document = {
        "schema": SCHEMA_VERSION,
        "run_id": "killed",
        "started_utc_ns": synthetic.BEGAN_NS,
        "state": "running",
    }
    run_folder.write_document(folder, document)
    return folder


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
    """Return the summary of an open-loop run.

    Each call starts 40 ms after it arrives. `blocked` further calls arrive, but never start.
    """
    synthetic.write(folder, plan, **{"arrivals": ARRIVALS} | changes)
    called = {"call_arrival_at_ns": -40_000_000, "connect_start_at_ns": 0, "auth_wait_ns": 0}
    begun = called | {"intended_start_at_ns": -3_000_000}
    answered = {"first_reply_at_ns": 900_000_000, "caller_time_ns": 400_000_000}
    edit(
        folder,
        "sessions",
        lambda _, row: row | begun | (answered if row["outcome"] == "ok" else {}),
    )
    began = pq.read_table(
        folder / "sessions.parquet", columns=["target", "start_utc_ns"]
    ).to_pylist()
    calls = Counter((row["target"], row["start_utc_ns"] // 10**9) for row in began)
    middle = pq.read_metadata(folder / "seconds.parquet").num_rows // 2

    def counted(place: int, row: Row) -> Row:
        mine, extra = calls[row["target"], row["second"]], blocked if place == middle else 0
        return row | {
            "calls_offered": mine + extra,
            "calls_blocked": extra,
            "calls_delayed": min(1, mine),
        }

    return edited(folder, counted, "seconds")


def text(words: str) -> str:
    return " ".join(words.replace(NBSP, " ").split())


def test_arrived_calls_are_counted_by_their_outcome(tmp_path: Path) -> None:
    summary = build(tmp_path, Plan(sessions=120, turns=2, seconds=100, refused=5), blocked=9)
    assert summary.arrivals is not None
    (one,) = summary.arrivals.targets

    assert (one.offered, one.blocked, one.started, one.connect_failed) == (
        one.started + 9,
        9,
        125,
        5,
    )
    assert one.completed == 120
    bins = call_bins(summary.run)
    assert (bins.calls.sum(), bins.blocked.sum()) == (one.offered, 9)
    assert one.start_delay_p50_ms == pytest.approx(3.0)
    printed = text(load.arrivals(summary, summary.arrivals)[0])
    assert printed.startswith("134 calls arrived, 125 started, 9 blocked (6.7 %), ")
    assert printed.endswith("5 failed to connect, 120 completed")


def test_erlangs_are_mean_calls_in_progress(tmp_path: Path) -> None:
    summary = build(tmp_path)
    assert summary.arrivals is not None
    (one,) = summary.arrivals.targets
    sessions = rtbench.load(tmp_path).sessions
    lasted_s = sessions["session_duration_ms"].to_numpy() / 1000

    assert one.duration_s == pytest.approx(summary.duration_s - 1)
    assert one.call_duration_s == pytest.approx(lasted_s.mean())
    assert one.offered_erlangs == pytest.approx(lasted_s.sum() / one.duration_s)
    # some calls began before the first arrival
    assert one.carried_erlangs == pytest.approx(one.offered_erlangs, rel=0.1)
    assert "carried" in text(load.arrivals(summary, summary.arrivals)[1])


def test_a_load_that_ends_by_itself_is_offered_until_its_end(tmp_path: Path) -> None:
    summary = build(
        tmp_path, arrivals=ARRIVALS | {"duration_s": 30.0, "per_s": None, "pattern": "calls.txt"}
    )
    assert summary.arrivals is not None

    assert summary.arrivals.targets[0].duration_s == 30.0
    assert "Calls.txt." in text(section_html(load.arriving(summary)))


def test_a_call_whose_first_turn_failed_counts_as_infinite_service_time(tmp_path: Path) -> None:
    build(tmp_path)
    sessions = rtbench.load(tmp_path).sessions
    sessions.loc[:9, ["first_reply_at_ns", "service_time_ms"]] = np.nan, np.nan
    sample = session_sample(sessions, "service_time")

    assert sample is not None
    assert (sample.failed, int(np.isinf(sample.values).sum())) == (10, 10)


def test_think_times_are_printed_with_the_load(tmp_path: Path) -> None:
    synthetic.write(tmp_path / "first", PLAN)
    scripts = [
        script | {"think_s": 12.0}
        for script in rtbench.load(tmp_path / "first").metadata["scripts"]
    ]
    summary = build(tmp_path / "run", scripts=scripts)
    assert summary.arrivals

    assert text(load.arrivals(summary, summary.arrivals)[1]).endswith(
        "; callers pause for 12 s per call"
    )


@pytest.mark.parametrize(
    ("per_s", "words"),
    [(2.0, "2/s"), (0.5, "30/min"), (1.0, "1/s"), (0.025, "1.5/min"), (1 / 3600, "1/h")],
)
def test_a_rate_is_printed_in_the_largest_unit_that_gives_at_least_one(
    per_s: float, words: str
) -> None:
    assert rate(per_s) == words
