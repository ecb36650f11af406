"""Waits and failures by calls in progress: each turn at its load, levels that are not thin, when a notice is due."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import reports
from bench.run import folder as run_folder
from bench.run.document import SCHEMA_VERSION
from bench.run.folder import SCHEMAS, TableName
from bench.run.part import rows_of
from bench.run.spool import path_of
from benchmarks.by_load import CHANGING, levels_of
from reports.page.calls import by_load as section
from reports.runs import load_for_report
from reports.summary.figures import Rate
from reports.summary.groups import THIN, Apart, Group, Place, Waits, apart, merged
from reports.summary.summary import Summary, summarise
from reports.wording.notices import pooled_notices
from tests.examples import trials
from tests.reports import synthetic
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan

RISING = Plan(
    turns=6, targets=("direct", "gateway"), failed=0.02, seconds=240, stages=((60, 5), (60, 15), (60, 25), (60, 40))
)
SLOWER = replace(RISING, slower=1 / 39)
CONSTANT = Plan(turns=6, seconds=120, stages=((120, 20),))


def counted(summary: Summary, target: str) -> list[int]:
    """Calls in progress at the origin of each turn of a target, one by one."""
    run = reports.load(summary.run.folder)
    calls, turns = (frame[frame["target"] == target] for frame in (run.sessions, run.turns))
    starts_ns = calls["start_utc_ns"].to_numpy(dtype=np.int64)
    ends_ns = starts_ns + calls["ended_at_ns"].to_numpy(dtype=np.int64)
    at_ns = (turns["start_utc_ns"] + turns["measured_from_at_ns"].fillna(0)).to_numpy(dtype=np.int64)
    return [int(((starts_ns <= at) & (ends_ns > at)).sum()) for at in at_ns]


def by_load(summary: Summary) -> list[Waits]:
    return [waits for of in summary.waits_by("calls") for waits in of]


def only(summary: Summary) -> Waits:
    (found,) = by_load(summary)
    return found


def test_each_turn_stands_at_the_calls_that_were_in_progress() -> None:
    summary = summary_of(RISING)

    assert [one.label for one in by_load(summary)] == ["direct", "gateway"]
    for one, answer in zip(by_load(summary), summary.answers, strict=True):
        calls = np.array(counted(summary, one.label))
        turns = [int(((calls >= level.place.low) & (calls <= level.place.high)).sum()) for level in one.groups]
        assert [level.turns for level in one.groups] == turns
        assert sum(turns) == answer.turns
        assert sum(level.n for level in one.groups) == answer.figures.n
        assert sum(level.failed.count for level in one.groups) == answer.failed


@pytest.mark.parametrize(
    ("turns", "ranges"),
    [
        ([THIN, THIN], [(0, 0), (1, 1)]),
        ([THIN - 1, 1, THIN], [(0, 1), (2, 2)]),
        ([THIN, 0, 0, THIN], [(0, 0), (3, 3)]),
        ([2 * THIN, 5, 4, 3 * THIN], [(0, 2), (3, 3)]),
        ([3 * THIN, 5, 4, 2 * THIN], [(0, 0), (1, 3)]),
        ([0, 5, 0, THIN, 0], [(1, 3)]),
        ([5, 5, 5], [(0, 2)]),
        ([], []),
    ],
)
def test_thin_places_stand_with_their_neighbours(turns: list[int], ranges: list[tuple[int, int]]) -> None:
    assert list(merged(np.array(turns, dtype=np.int64))) == ranges


@pytest.mark.parametrize("held", [True, False], ids=["one level", "two levels"])
def test_a_load_that_was_meant_to_change_is_told_by_its_levels_whatever_came_of_it(held: bool) -> None:
    stages = [{"duration_s": 60.0, "from": 20.0 if held else 0.0, "to": 20.0}]
    ramped = replace(CONSTANT, stages=((30, 8), (90, 20)))
    told = by_load(summary_of(ramped, stages=stages))

    assert by_load(summary_of(ramped)) == []
    assert bool(told) is not held


def test_false_alarms_are_rare() -> None:
    runs = [levels_of(CHANGING[0].plan(seed)) for seed in range(trials(20, 40))]

    assert all(waits for waits, _ in runs)
    assert sum(bool(differing) for _, differing in runs) <= len(runs) / 20


def two(few: Group, many: Group) -> list[Apart]:
    return list(apart(replace(by_load(summary_of(SLOWER))[0], groups=(few, many))))


def test_what_lies_near_together_is_no_notice_however_sure() -> None:
    one = by_load(summary_of(SLOWER))[0]
    few, many = one.groups[0], one.groups[-1]
    near = replace(many, p50=few.p50, p95=few.p95, failed=few.failed, unopened=few.unopened)

    def moved(ratio: float) -> list[Apart]:
        value, high = few.p50.value * ratio, few.p50.high
        ends = (high + 1e-6, high * 2) if ratio > 1 else (0.0, few.p50.low - 1e-6)
        return two(few, replace(near, p50=replace(few.p50, value=value, low=ends[0], high=ends[1])))

    assert moved(1.09) == []
    assert [found.what for found in moved(1.11)] == ["p50"]
    (found,) = moved(0.8)
    assert found.low.place == near.place


def test_failures_and_refusals_that_come_with_the_load_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    summary = summary_of(RISING)
    one = by_load(summary)[0]
    none, many = Rate(0, 28, 0.0, 0.0, 0.1), Rate(30, 100, 0.3, 0.2, 0.4)
    few = replace(one.groups[0], failed=Rate(1, 200, 0.005, 0.0, 0.03), unopened=none)
    last = replace(few, place=Place("36–40", 38, 36, 40), failed=Rate(120, 1000, 0.12, 0.1, 0.14), unopened=many)
    found = tuple(apart(replace(one, groups=(few, last))))
    monkeypatch.setattr(Summary, "apart", found)
    monkeypatch.setattr(Summary, "waits", (one,))
    (notice,) = pooled_notices(summary)

    assert notice.replace("\xa0", " ") == (
        "0.5 % of the turns failed with 1–10 calls in progress and 12 % with 36–40; "
        "0 % of the sessions did not open with 1–10 calls in progress and 30 % with 36–40: "
        "results of the whole run pool both."
    )


def test_sessions_that_did_not_open_stand_at_the_load_that_they_met() -> None:
    summary = summary_of(replace(RISING, targets=("direct",), refused=4))
    unopened = [rate for level in only(summary).groups if (rate := level.unopened) is not None]

    assert [rate.count for rate in unopened] == [4] + [0] * (len(unopened) - 1)
    assert sum(rate.total for rate in unopened) == len(summary.sessions)
    assert "sessions that did not open" in str(section(summary))
    assert "sessions that did not open" not in str(section(summary_of(RISING)))


def test_calls_of_the_warm_up_are_in_progress_and_not_told() -> None:
    summary = summary_of(replace(RISING, warmup_s=130.0))
    rows = reports.load(summary.run.folder).turns.query("target == 'direct'")
    calls = np.array(counted(summary, "direct"))[rows["measured"].to_numpy()]

    turns = [((calls >= level.place.low) & (calls <= level.place.high)).sum() for level in by_load(summary)[0].groups]
    assert [level.turns for level in by_load(summary)[0].groups] == turns
    assert sum(turns) < len(rows)


def test_a_call_that_a_kill_cut_goes_on_from_its_first_turn(tmp_path: Path) -> None:
    plan = replace(RISING, targets=("direct",))
    tables = dict(synthetic.rows(plan))
    sessions = tables["sessions"].num_rows - 40
    tables["sessions"] = tables["sessions"].slice(0, sessions)  # those of the last users had not ended yet
    cut, whole = only(summarise(load_for_report(killed(tmp_path, tables)))), only(summary_of(plan))

    assert cut.groups[-1].place.name == whole.groups[-1].place.name == "36–40"
    assert cut.groups[-1].turns == pytest.approx(whole.groups[-1].turns, rel=0.1)


def killed(folder: Path, tables: dict[TableName, pa.Table]) -> Path:
    """The folder of a killed run with these rows in its spool."""
    (folder / "spool").mkdir()
    for name, table in tables.items():
        with pa.ipc.new_stream(path_of(folder, 0, rows_of(name)), SCHEMAS[name]) as stream:
            stream.write_table(table)
    document = {"schema": SCHEMA_VERSION, "run_id": "killed", "started_utc_ns": synthetic.BEGAN_NS, "state": "running"}
    run_folder.write_document(folder, document)
    return folder
