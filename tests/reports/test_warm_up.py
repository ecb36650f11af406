"""Figures of the measured phase are those of the run without the rows of its warm-up; money and limits are whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import reports
from bench.run import folder as run_folder
from reports.blocks import Paragraph
from reports.numbers import NBSP
from reports.page.circumstances import health
from reports.runs import load_for_report
from reports.sides.fairness import notices_on
from reports.sides.side import sides_of
from reports.summary.summary import Summary, summarise
from reports.wording.remarks import auth_wait, interleaved
from tests.reports import synthetic
from tests.reports.synthetic import BEGAN_NS, MS, Plan

WARMUP_S = 100
PLAN = Plan(
    sessions=240, turns=5, targets=("sweden", "eastus2"), seconds=300, paired=True, usage=True, limited=True,
    warmup_s=WARMUP_S, auth_waits=7,
)  # fmt: skip
TABLES: tuple[run_folder.TableName, ...] = ("turns", "sessions", "seconds")
MEASURED_PHASE: dict[str, dict[str, Any]] = {"turns": {}, "sessions": {}, "seconds": {"phase": "measurement"}}


def cold(table: run_folder.TableName, row: dict[str, Any]) -> dict[str, Any]:
    """A row of the warm-up as such rows are: slow, busy."""
    if table == "seconds":
        return row | {"cpu": 0.99, "phase": "warmup"}
    if table == "turns":
        return row | {"uncertain_gaps": 9}
    later = [name for name in row if name.endswith("_at_ns") and row[name] is not None]
    return row | {name: 10 * row[name] for name in later}


def is_warm(table: run_folder.TableName, row: dict[str, Any]) -> bool:
    if table == "seconds":
        return bool(row["second"] < BEGAN_NS // 10**9 + WARMUP_S)
    return row["phase"] == "warmup"


def note(summary: Summary) -> str:
    """What the page says below the health of the harness."""
    last = health(summary).blocks[-1]
    assert isinstance(last, Paragraph)
    return str(last.text)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run, and the same one without the rows of its warm-up."""
    whole, measured = (tmp_path_factory.mktemp(name) for name in ("whole", "measured"))
    for folder in (whole, measured):
        synthetic.write(folder, PLAN, **synthetic.told(PLAN))
        for table in TABLES:
            path = folder / f"{table}.parquet"
            rows = pq.read_table(path).to_pylist()
            warm = [is_warm(table, row) for row in rows]
            assert 0 < sum(warm) < len(rows)
            rows = [
                cold(table, row) if cut else row | MEASURED_PHASE[table] for row, cut in zip(rows, warm, strict=True)
            ]
            kept = rows if folder == whole else [row for row, cut in zip(rows, warm, strict=True) if not cut]
            pq.write_table(pa.Table.from_pylist(kept, schema=run_folder.SCHEMAS[table]), path)
    return whole, measured


@pytest.fixture(scope="module")
def summaries(folders: tuple[Path, Path]) -> tuple[Summary, Summary]:
    whole, measured = (summarise(load_for_report(folder)) for folder in folders)
    return whole, measured


def test_phases_of_connecting_are_of_the_measured_phase(summaries: tuple[Summary, Summary]) -> None:
    whole, measured = summaries

    assert whole.connecting == measured.connecting


def test_waits_for_a_token_are_those_of_the_sessions_that_figures_are_of(summaries: tuple[Summary, Summary]) -> None:
    whole, measured = summaries

    assert auth_wait(whole) == auth_wait(measured) == ""
    assert int((whole.run.sessions["auth_wait_ns"] > 0).sum()) == PLAN.auth_waits


def test_a_wait_for_a_token_in_the_measured_phase_is_said(tmp_path: Path) -> None:
    summary = summarise(reports.load(synthetic.write(tmp_path, replace(PLAN, auth_waits=PLAN.sessions))))

    assert auth_wait(summary).startswith(f"{len(summary.sessions)} of {len(summary.sessions)}{NBSP}sessions waited")
    assert len(summary.sessions) < PLAN.sessions


def test_pairs_are_counted_as_they_are_compared(summaries: tuple[Summary, Summary], folders: tuple[Path, Path]) -> None:
    whole, measured = summaries
    sides = sides_of([folders[0]])

    assert whole.interleaving is not None
    assert whole.interleaving == measured.interleaving
    assert whole.interleaving.pairs == sides[0].sessions == len(whole.sessions) / 2
    assert interleaved(whole.interleaving) in notices_on(sides)
    assert whole.arms == measured.arms


def test_what_trust_is_put_in_is_of_the_measured_phase(summaries: tuple[Summary, Summary]) -> None:
    whole, measured = summaries

    assert "events of the whole run" in note(whole)
    assert note(whole).replace(" of the whole run", "") == note(measured)
    assert "Processor of the busiest worker: " in note(whole)
    assert "99" not in note(whole).partition("Processor")[2].partition(".")[0]


def test_throughput_is_of_the_measured_phase(summaries: tuple[Summary, Summary]) -> None:
    whole, measured = summaries

    told = [(rate.metric, rate.target, rate.total_bytes, rate.mean_bytes_per_s) for rate in whole.throughput]
    assert told == [(r.metric, r.target, r.total_bytes, r.mean_bytes_per_s) for r in measured.throughput]


def test_money_and_limits_count_the_whole_run(summaries: tuple[Summary, Summary]) -> None:
    whole, measured = summaries

    assert whole.money.usd > measured.money.usd
    assert whole.quota.throttled >= measured.quota.throttled
    assert sum(one.counts.sum() for one in whole.quota.targets) > sum(
        one.counts.sum() for one in measured.quota.targets
    )


def test_a_cut_second_says_nothing_of_the_busiest_worker(tmp_path: Path) -> None:
    path = synthetic.write(tmp_path, Plan()) / "seconds.parquet"
    *rows, last = pq.read_table(path).to_pylist()
    last |= {"duration_ns": 3 * MS, "cpu": 1.0}
    pq.write_table(pa.Table.from_pylist([*rows, last], schema=run_folder.SCHEMAS["seconds"]), path)

    assert "worker: 100" not in note(summarise(reports.load(tmp_path)))
