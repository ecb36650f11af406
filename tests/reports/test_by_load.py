"""Waits and failures by calls in progress: each turn at its load, levels that are not thin, when a notice is due."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import reports
from bench.run import folder as run_folder
from bench.run.folder import SCHEMAS, TableName
from bench.run.part import rows_of
from bench.run.spool import path_of
from reports.page import levels
from reports.page.calls import by_load as section
from reports.runs import load_for_report
from reports.statistics.quantiles import quantile
from reports.summary.by_load import THIN, ByLoad, merged, misleading
from reports.summary.rates import Rate
from reports.summary.summary import Summary, summarise
from reports.text.document import as_data
from reports.text.markdown import markdown
from reports.text.terminal import terminal
from tests.benchmark.by_load import CHANGING, levels_of
from tests.reports import synthetic
from tests.reports.shared import page_of, summary_of
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
    at_ns = (turns["start_utc_ns"] + turns["origin_at_ns"].fillna(0)).to_numpy(dtype=np.int64)
    return [int(((starts_ns <= at) & (ends_ns > at)).sum()) for at in at_ns]


def pooling(summary: Summary) -> list[str]:
    """The notices that one figure misleads."""
    return [notice for notice in summary.notices if "pool both" in notice]


def only(summary: Summary) -> ByLoad:
    (found,) = summary.by_load
    return found


def test_each_turn_stands_at_the_calls_that_were_in_progress() -> None:
    summary = summary_of(RISING)

    assert [one.label for one in summary.by_load] == ["direct", "gateway"]
    for one, answer in zip(summary.by_load, summary.answers, strict=True):
        calls = np.array(counted(summary, one.label))
        turns = [int(((calls >= level.least) & (calls <= level.most)).sum()) for level in one.levels]
        assert [level.turns for level in one.levels] == turns
        assert sum(turns) == answer.turns
        assert sum(level.n for level in one.levels) == answer.figures.n
        assert sum(level.failed.count for level in one.levels) == answer.failed


def test_a_level_has_the_median_and_the_failures_of_its_turns() -> None:
    summary = summary_of(RISING)
    rows = reports.load(summary.run.folder).turns
    rows = rows[rows["target"] == "gateway"].assign(calls=counted(summary, "gateway"))
    level = summary.by_load[1].levels[-1]
    here = rows[rows["calls"].between(level.least, level.most)]
    waits = np.where(here["outcome_class"] == "failed", np.inf, here["ttfa_ms"])

    assert level.p50.value == quantile(np.sort(waits), 0.5)
    assert level.failed.count == np.isinf(waits).sum()
    assert level.failed.low < level.failed.value < level.failed.high
    assert level.sessions == here["session_id"].nunique()


def test_levels_are_few_round_and_not_thin() -> None:
    one = summary_of(RISING).by_load[0]

    assert [level.name for level in one.levels] == ["1–10", "11–20", "21–35", "36–40"]
    assert min(level.turns for level in one.levels) >= THIN


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


def test_a_constant_load_says_nothing() -> None:
    summary = summary_of(CONSTANT)

    assert summary.by_load == ()
    assert section(summary) is None
    assert as_data(summary)["by_load"] == []
    assert not any("calls in progress" in text for text in (terminal(summary), markdown(summary), page_of(CONSTANT)))


@pytest.mark.parametrize("held", [True, False], ids=["one level", "two levels"])
def test_a_load_that_was_meant_to_change_is_told_by_its_levels_whatever_came_of_it(held: bool) -> None:
    stages = [{"duration_s": 60.0, "from": 20.0 if held else 0.0, "to": 20.0}]
    ramped = replace(CONSTANT, stages=((30, 8), (90, 20)))
    told = summary_of(ramped, stages=stages).by_load

    assert summary_of(ramped).by_load == ()
    assert bool(told) is not held


def test_a_wait_that_grows_with_the_load_is_told_with_both_ends() -> None:
    notices = pooling(summary_of(SLOWER))

    assert [notice.partition(":")[0] for notice in notices] == ["direct", "gateway"]
    for notice, one in zip(notices, summary_of(SLOWER).by_load, strict=True):
        few, many = (f"{level.p50.value / 1000:.2f}\xa0s" for level in (one.levels[0], one.levels[-1]))
        assert f"p50 of ttfa is {few} with 1–10\xa0calls in progress and {many} with 36–40" in notice
        assert notice.replace("\xa0", " ") in " ".join(terminal(summary_of(SLOWER)).split())


def test_of_one_target_it_goes_without_a_name() -> None:
    (notice,) = pooling(summary_of(replace(SLOWER, targets=("direct",))))

    assert notice.startswith("p50 of ttfa is ")


def test_a_wait_that_stays_as_it_is_is_told_without_a_notice() -> None:
    assert pooling(summary_of(RISING)) == []


def test_false_alarms_are_rare() -> None:
    runs = [levels_of(CHANGING[0].plan(seed)) for seed in range(40)]

    assert all(runs)
    assert sum(any(misleading(run)) for run in runs) <= 2


def test_what_lies_near_together_is_no_notice_however_sure() -> None:
    one = summary_of(SLOWER).by_load[0]
    few, many = one.ends
    near = replace(many, p50=few.p50, p95=few.p95, failed=few.failed, unopened=few.unopened)

    def ends(ratio: float) -> list[str]:
        p50 = replace(few.p50, value=few.p50.value * ratio, low=few.p50.high + 1e-6, high=few.p50.high * 2)
        return list(misleading([replace(one, ends=(few, replace(near, p50=p50, p95=few.p95)))]))

    assert ends(1.09) == []
    assert len(ends(1.11)) == 1
    assert len(ends(0.8)) == 1


def test_failures_and_refusals_that_come_with_the_load_are_told() -> None:
    one = summary_of(RISING).by_load[0]
    few = replace(one.ends[0], failed=Rate(1, 200, 0.005, 0.0, 0.03))
    many = replace(
        few, least=36, most=40, failed=Rate(120, 1000, 0.12, 0.1, 0.14), unopened=Rate(30, 100, 0.3, 0.2, 0.4)
    )
    (notice,) = misleading([replace(one, ends=(few, many))])

    assert notice.replace("\xa0", " ") == (
        "0.5 % of the turns failed with 1–10 calls in progress and 12 % with 36–40; "
        "0 % of the sessions did not open with 1–10 calls in progress and 30 % with 36–40: "
        "the figures of the whole run pool both."
    )


def test_sessions_that_did_not_open_stand_at_the_load_that_they_met() -> None:
    summary = summary_of(replace(RISING, targets=("direct",), refused=4))
    unopened = [level.unopened for level in only(summary).levels]

    assert [rate.count for rate in unopened] == [4] + [0] * (len(unopened) - 1)
    assert sum(rate.of for rate in unopened) == len(summary.sessions)
    assert "sessions that did not open" in str(section(summary))
    assert "sessions that did not open" not in str(section(summary_of(RISING)))


def test_calls_of_the_warm_up_are_in_progress_and_not_told() -> None:
    summary = summary_of(replace(RISING, warmup_s=130.0))
    rows = reports.load(summary.run.folder).turns.query("target == 'direct'")
    calls = np.array(counted(summary, "direct"))[rows["measured"].to_numpy()]

    turns = [((calls >= level.least) & (calls <= level.most)).sum() for level in summary.by_load[0].levels]
    assert [level.turns for level in summary.by_load[0].levels] == turns
    assert sum(turns) < len(rows)


def test_a_call_that_a_kill_cut_goes_on_from_its_first_turn(tmp_path: Path) -> None:
    plan = replace(RISING, targets=("direct",))
    tables = dict(synthetic.rows(plan))
    sessions = tables["sessions"].num_rows - 40
    tables["sessions"] = tables["sessions"].slice(0, sessions)  # those of the last users had not ended yet
    cut, whole = only(summarise(load_for_report(killed(tmp_path, tables)))), only(summary_of(plan))

    assert cut.levels[-1].name == whole.levels[-1].name == "36–40"
    assert cut.levels[-1].turns == pytest.approx(whole.levels[-1].turns, rel=0.1)


def killed(folder: Path, tables: dict[TableName, pa.Table]) -> Path:
    """The folder of a killed run with these rows in its spool."""
    (folder / "spool").mkdir()
    for name, table in tables.items():
        with pa.ipc.new_stream(path_of(folder, 0, rows_of(name)), SCHEMAS[name]) as stream:
            stream.write_table(table)
    document = {"schema": 1, "run_id": "killed", "began_utc_ns": synthetic.BEGAN_NS, "state": "running"}
    run_folder.write_document(folder, document)
    return folder


def test_origins_are_told_apart() -> None:
    summary = summary_of(replace(RISING, targets=("direct",), kinds=("vad", "typed")))

    assert [one.stratum for one in summary.by_load] == list(summary.turns.strata)
    assert [sum(level.turns for level in one.levels) for one in summary.by_load] == [a.turns for a in summary.answers]


def test_every_level_can_be_read_out() -> None:
    stops = levels.levels(summary_of(RISING).by_load).stops

    assert stops is not None
    texts = stops["t"]
    assert isinstance(texts, list)
    assert len(texts) == len(summary_of(RISING).by_load[0].levels)
    assert texts[-1].startswith("36–40\xa0calls in progress · direct p50 ")
    assert all("direct" in text and "gateway" in text and "failed" in text for text in texts)


def test_every_form_has_a_row_for_each_level() -> None:
    summary = summary_of(RISING)
    rows = as_data(summary)["by_load"]
    names = [level.name for one in summary.by_load for level in one.levels]

    assert [f"{row['calls_from']}–{row['calls_to']}" for row in rows] == names
    for text in (terminal(summary), markdown(summary)):
        assert re.findall(r"^(?:\| |  )(\d+–\d+) ", text, re.MULTILINE) == names


def test_a_p95_is_told_where_four_turns_lie_beyond_it() -> None:
    summary = summary_of(replace(RISING, stages=((20, 5), (60, 15), (60, 40)), targets=("direct",)))
    rows = as_data(summary)["by_load"]

    assert [row["p95"]["value"] is not None for row in rows] == [row["n"] >= 80 for row in rows]
    assert {row["p95"]["published"] for row in rows} == {True, False}
