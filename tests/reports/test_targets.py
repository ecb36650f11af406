"""Runs with several targets, hosts or regions: the facts of each of them, their differences, and
pooled values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import rtbench
from bench.record import folder as files
from bench.record.merging.merge import merge_runs
from reports.analysis.summary.groups import TurnGroup
from reports.analysis.summary.run_validity import data_notes
from reports.analysis.summary.summary import Summary, summarise
from reports.analysis.targets.named import parse_targets
from reports.data.runs import load_for_report
from reports.pages.run_report.document import summary_data
from reports.statistics.quantiles import quantile, sample
from reports.text import remarks
from reports.text.notices import notices, run_notices
from reports.text.validity import accuracy_notes
from tests.reports import synthetic
from tests.reports.edited import edited
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan

NBSP = "\u00a0"
TWO = Plan(sessions=240, turns=5, targets=("sweden", "eastus2"), seconds=300, paired=True)


def write(folder: Path, plan: Plan, *, everywhere: dict[str, Any] | None = None) -> None:
    """Write a run with the facts of all its targets. `everywhere` is added to the entry of each
    target.
    """
    synthetic.write(folder, plan, **synthetic.target_keys(plan, **(everywhere or {})))


def summary_of_targets(
    plan: Plan, *, everywhere: dict[str, Any] | None = None, **changes: Any
) -> Summary:
    """Return the summary of a run of several targets. Tests share the folder of the run, so they
    must not change it.

    `changes` replace keys of run.json. `everywhere` is added to the entry of each target.
    """
    return summary_of(plan, **(synthetic.target_keys(plan, **(everywhere or {})) | changes))


def test_interleaved_sessions_are_counted_by_pair_and_block() -> None:
    found = summary_of_targets(TWO).interleaving

    assert found is not None
    assert (found.pairs, found.incomplete, found.blocks) == (120, 0, 2)
    assert found.max_start_gap_ms == pytest.approx(3)
    assert (
        remarks.interleaved(found).replace(NBSP, " ")
        == "Interleaved: 120 pairs; sessions of a pair started within 3 ms of each other."
    )


def test_different_failure_rates_or_throttling_cause_a_notice(tmp_path: Path) -> None:
    write(tmp_path, TWO)
    throttled = {"outcome": "throttled:response"}
    unfair = edited(
        tmp_path,
        lambda _, row: row | (throttled if row["target"] == "eastus2" and row["pair"] < 6 else {}),
    )

    assert not [notice for notice in notices(summary_of_targets(TWO)) if "arms" in notice]
    printed = " ".join(notices(unfair)).replace(NBSP, " ")
    assert (
        "Failure rates of the targets differ by more than 1 point (sweden 0 % to eastus2 5 %)"
        in printed
    )
    assert "More than 1 % of turns or sessions were throttled (eastus2 5 %)" in printed


def test_preview_settings_are_read(tmp_path: Path) -> None:
    write(tmp_path, TWO)
    preview = '{"voice": "ash", "turn_detection": null}'
    summary = edited(tmp_path, lambda _, row: row | {"effective_settings": preview}, "sessions")

    assert (summary.target_settings[0].voice, summary.target_settings[0].turn_detection) == (
        "ash",
        "none",
    )


def test_compression_that_the_service_declined_is_reported(tmp_path: Path) -> None:
    write(tmp_path, TWO, everywhere={"deflate": True})
    summary = edited(
        tmp_path,
        lambda index, row: row | ({"response_headers": None} if index < 200 else {}),
        "sessions",
    )

    (sweden, *_), (settings, *_) = summary.target_settings, summary_data(summary)["target_settings"]
    assert settings["compression"] == sweden.compression
    assert settings["compression"].replace(NBSP, " ") == "permessage-deflate in 20 of 120 sessions"


PLAN = Plan(sessions=60, turns=6, kinds=("manual",), seconds=120)


Recorded = Callable[..., Summary]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Return a function that returns the summary of a run on several hosts. Each host has its
    own plan.
    """

    def summary(**plans: Plan) -> Summary:
        folder = tmp_path_factory.mktemp("hosts")
        parts = [
            synthetic.write(folder / name, replace(plan, host=name), run_id=name)
            for name, plan in plans.items()
        ]
        merge_runs(parts, folder / "merged")
        return summarise(load_for_report(folder / "merged"))

    return summary


@pytest.fixture(scope="module")
def different_hosts(recorded: Recorded) -> Summary:
    """Return the summary of a run on two hosts. Their median latencies are 600 ms and 900 ms."""
    return recorded(red=PLAN, blue=replace(PLAN, seed=8, median_ms=900.0))


def pooling(summary: Summary) -> list[str]:
    return [notice for notice in notices(summary) if "ooled over" in notice]


def waits_by_host(summary: Summary) -> tuple[TurnGroup, ...]:
    ((waits,),) = summary.latency_by("host")
    assert waits.metric == "ttfa"
    return waits.groups


def test_each_host_has_the_values_of_its_own_rows(different_hosts: Summary) -> None:
    turns = rtbench.load(different_hosts.run.folder).turns
    for host in different_hosts.hosts:
        mine = turns[(turns["host"] == host.name) & (turns["outcome_class"] == "success")]
        (wait,) = (group for group in waits_by_host(different_hosts) if group.bin.name == host.name)
        values = sample(mine["ttfa_ms"].to_numpy(), mine["turn"].to_numpy(dtype="int64")).values
        assert (wait.turns, wait.sessions, wait.n) == (360, 60, 360)
        assert wait.p50.value == pytest.approx(quantile(values, 0.5))
        assert wait.p50.low < wait.p50.value < wait.p50.high
    assert [
        (host.name, host.sessions, host.turns, host.workers) for host in different_hosts.hosts
    ] == [
        ("blue", 60, 360, 1),
        ("red", 60, 360, 1),
    ]


def test_a_host_with_more_failed_turns_is_named(recorded: Recorded) -> None:
    (notice,) = pooling(recorded(red=PLAN, blue=replace(PLAN, seed=8, failed=0.2)))
    assert "0 % of the turns failed on red and" in notice.replace("\N{NO-BREAK SPACE}", " ")


def test_pairs_of_several_hosts_are_compared_as_pairs(recorded: Recorded) -> None:
    paired = replace(PLAN, targets=("direct", "gateway"), paired=True)
    folder = recorded(red=paired, blue=replace(paired, seed=8)).run.folder
    files.write_document(folder, files.read_document(folder) | {"interleaved": True})
    sides = parse_targets([f"{folder}:direct", f"{folder}:gateway"])
    assert [(side.paired, side.sessions) for side in sides] == [(True, 60), (True, 60)]


def test_a_sentence_that_begins_with_a_host_keeps_its_case(tmp_path: Path) -> None:
    cited = {
        "sessions": 0,
        "events_per_s": 0,
        "kind": "voice",
        "date": "2026-11-20",
        "stale": [],
        "ended": "",
    }
    hosts = [{"name": name, "calibration": cited} for name in ("inworld", "throttled-eu")]
    folder = synthetic.write(tmp_path / "run", PLAN, hosts=hosts)
    lines = accuracy_notes(summarise(load_for_report(folder)))

    assert all(line.startswith(("inworld: ", "throttled-eu: ")) for line in lines)


def test_a_large_clock_offset_causes_a_notice(tmp_path: Path) -> None:
    hosts = [
        {
            "name": "red",
            "workers": 1,
            "clock_offset_ns": -90_000_000_000,
            "clock_offset_uncertainty_ns": 1_000_000,
        },
        {
            "name": "blue",
            "workers": 1,
            "clock_offset_ns": 30_000_000,
            "clock_offset_uncertainty_ns": 1_000_000,
        },
    ]
    plain = summary_of(PLAN)
    of_hosts = replace(plain.run, metadata=plain.run.metadata | {"hosts": hosts})
    (notice,) = [
        n
        for n in run_notices(of_hosts, data_notes(of_hosts, plain.turns, plain.run.sessions, ()))
        if "clock" in n
    ]
    assert " ".join(notice.split()).startswith(
        "The clock of red was 90 s behind that of the leader"
    )
