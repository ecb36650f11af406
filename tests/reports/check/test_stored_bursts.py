"""Runs whose failures or slow turns come in bursts, compared with stored runs; and stored runs
of older versions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from reports.analysis.check.baselines import baseline_of, save
from reports.analysis.check.check import check_of
from reports.analysis.check.results import CheckResult
from reports.analysis.targets.named import targets_of
from reports.data.runs import load_for_report
from reports.metrics.stored import BY_PARTS
from reports.statistics.autocorrelation import with_sixths
from reports.statistics.baselines import rate_against_stored, vary_by_parts
from reports.statistics.differences import Inference, Margin
from reports.statistics.rates import PerCluster
from reports.text.check_sentences import against_text, explanations, notices, why
from tests.reports.check.examples import ENOUGH, run, thresholds
from tests.reports.edited import Row, edit

PLAN = replace(ENOUGH, sessions=80, seconds=240, failed=0.0)
PRIMARY = thresholds("failure_rate: rate<+1pt", "ttfa: p(95)<+20%")


def failing(folder: Path, seed: int, outages_s: Sequence[tuple[int, int]]) -> Path:
    """Write a run whose turns fail if they start in an outage. Return the folder of the run."""
    run(folder, replace(PLAN, seed=seed))
    began_ns = (
        pq.read_table(folder / "turns.parquet", columns=["start_ns"])["start_ns"].to_numpy().min()
    )

    def change(_: int, row: Row) -> Row:
        at_s = (row["start_ns"] - began_ns) / 1e9
        is_failed = any(first <= at_s < last for first, last in outages_s)
        return row | {"outcome": "closed:1006", "first_audio_at_ns": None} if is_failed else row

    return edit(folder, "turns", change)


def store(folder: Path, runs: Sequence[Sequence[tuple[int, int]]]) -> Path:
    for number, outages_s in enumerate(runs):
        path = failing(folder / f"night-{number}", 100 + number, outages_s)
        save(baseline_of(targets_of(load_for_report(path))[0]), folder / "baselines")
    return folder / "baselines"


def checked(folder: Path, baseline: Path, outages_s: Sequence[tuple[int, int]]) -> CheckResult:
    return check_of(load_for_report(failing(folder / "now", 9, outages_s)), PRIMARY, str(baseline))


def test_bursts_of_failures_do_not_regress_against_stored_runs(tmp_path: Path) -> None:
    found = checked(tmp_path, store(tmp_path, [[(100, 112)], []]), [(60, 80), (130, 150)])

    assert {item.result for item in found.thresholds} == {"inconclusive"}
    differences = [item.difference for item in found.thresholds]
    assert {difference.order for difference in differences if difference} == {"bursts"}
    assert any(
        "occurred in bursts (failure_rate and ttfa)" in notice for notice in explanations(found)
    )
    assert not any("no verdict would change" in notice for notice in explanations(found))


def test_bursts_of_the_stored_runs_alone_are_found_too(tmp_path: Path) -> None:
    """A run in which no burst occurred is no evidence that the service has none."""
    found = checked(tmp_path, store(tmp_path, [[(100, 120)], [(30, 60)]]), [])

    assert {item.result for item in found.thresholds} == {"inconclusive"}
    assert all(item.provisional for item in found.thresholds)


def as_of_an_older_version(path: Path) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    data["schema"] = BY_PARTS - 1
    for row in (*data["quantiles"], *data["rates"]):
        for key in ("by_quarters", "by_sixths"):
            row.pop(key, None)
    path.write_text(json.dumps(data), encoding="utf-8")


def test_stored_runs_of_an_older_version_give_no_verdict_and_name_the_remedy(
    tmp_path: Path,
) -> None:
    baseline = store(tmp_path, [[], []])
    first, second = sorted(baseline.rglob("*.json"))
    as_of_an_older_version(first)
    newer = checked(tmp_path, baseline, [])
    as_of_an_older_version(second)
    older = checked(tmp_path, baseline, [])

    assert against_text(newer) == "1\u00a0stored run of sim"
    assert notices(newer)[0] == "1\u00a0stored run of sim excluded because of: file format."
    assert {item.result for item in older.thresholds} == {"inconclusive"}
    assert older.exit_status == 3
    assert f"save the run again with `rtbench baseline save RUN --baselines-dir {baseline}`" in (
        why(older.thresholds[0])
    )


def rates(*starts: int, sessions: int = 300) -> list[PerCluster]:
    """Return runs with 12 sessions in a row whose turns fail. `starts` is the first of these
    sessions, −1 for none.
    """
    code = np.arange(sessions)
    return [
        (
            np.where((code >= start) & (code < start + 12) & (start >= 0), 10.0, 0.0),
            np.full(sessions, 10.0, np.float64),
        )
        for start in starts
    ]


def test_an_unchanged_service_with_bursts_neither_regresses_nor_passes() -> None:
    runs = [with_sixths(totals) for totals in rates(40, -1, 200, 130)]
    for candidate in range(4):
        others = [run for number, run in enumerate(runs) if number != candidate]
        assert vary_by_parts([(other.variance, other.by_sixths) for other in others], "bursts")
        found = rate_against_stored(
            runs[candidate], others, Margin(), inference=Inference(), bursts=True
        )
        usual = rate_against_stored(runs[candidate], others, Margin(), inference=Inference())

        assert found.worse.low < 0 < found.worse.high
        assert found.high - found.low > 1.5 * (usual.high - usual.low)
