"""Runs with several targets, hosts or regions: the facts of each of them, their differences, and pooled values."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import rtbench
from bench.record import folder as files
from bench.record.merging.merge import merge_runs
from reports.analysis.summary.group_keys import NOT_REPORTED
from reports.analysis.summary.groups import Group
from reports.analysis.summary.run_validity import data_notes
from reports.analysis.summary.summary import Summary, summarise
from reports.analysis.targets.clusters import by_session
from reports.analysis.targets.named import parse_targets
from reports.data.runs import load_for_report
from reports.data.turns import measured_turns
from reports.pages.run_report.document import summary_data
from reports.statistics.quantiles import quantile, sample
from reports.text import remarks
from reports.text.notices import notices, run_notices
from reports.text.reasons import reason_text
from reports.text.sentences import next_step
from reports.text.validity import accuracy_notes
from tests.reports import shared, synthetic
from tests.reports.edited import Row, edit, edited
from tests.reports.forms import run_text
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan

NBSP = "\u00a0"
TWO = Plan(sessions=240, turns=5, targets=("sweden", "eastus2"), seconds=300, paired=True)


def write(folder: Path, plan: Plan, *, everywhere: dict[str, Any] | None = None) -> None:
    """Write a run with the facts of all its targets. `everywhere` is added to the entry of each target."""
    synthetic.write(folder, plan, **synthetic.target_keys(plan, **(everywhere or {})))


def summary_of_targets(plan: Plan, *, everywhere: dict[str, Any] | None = None, **changes: Any) -> Summary:
    """Return the summary of a run of several targets. Tests share the folder of the run, so they must not change it.

    `changes` replace keys of run.json. `everywhere` is added to the entry of each target.
    """
    return summary_of(plan, **(synthetic.target_keys(plan, **(everywhere or {})) | changes))


def test_interleaved_sessions_are_counted_by_pair_and_block() -> None:
    found = summary_of_targets(TWO).interleaving

    assert found is not None
    assert (found.pairs, found.incomplete, found.blocks) == (120, 0, 2)
    assert found.max_start_gap_ms == pytest.approx(3)
    assert remarks.interleaved(found).replace(NBSP, " ") == (
        "Interleaved: 120 pairs; sessions of a pair started within 3 ms of each other."
    )


def test_a_renewed_session_does_not_count_for_the_start_gap_of_pairs(tmp_path: Path) -> None:
    write(tmp_path, TWO)
    table = pq.read_table(tmp_path / "sessions.parquet")
    first = table.slice(0, 1).to_pylist()[0]
    later = first | {"session_id": f"{first['session_id']}.2", "start_ns": first["start_ns"] + 3_600 * 10**9}
    pq.write_table(
        pa.concat_tables([table, pa.Table.from_pylist([later], schema=table.schema)]), tmp_path / "sessions.parquet"
    )

    assert summarise(load_for_report(tmp_path)).interleaving == summary_of_targets(TWO).interleaving


def test_incomplete_pairs_are_reported(tmp_path: Path) -> None:
    write(tmp_path, TWO)
    summary = edited(tmp_path, lambda index, row: row | ({"pair": 999} if index == 0 else {}), "sessions")

    assert summary.interleaving is not None
    assert (summary.interleaving.pairs, summary.interleaving.incomplete) == (119, 2)
    assert "2 more were incomplete" in remarks.interleaved(summary.interleaving)


def test_runs_of_one_target_and_older_runs_are_not_interleaved() -> None:
    assert summary_of_targets(Plan(paired=True)).interleaving is None
    assert summary_of_targets(Plan(targets=("a", "b"))).interleaving is None


def test_differences_are_those_of_the_published_quantiles() -> None:
    summary = summary_of_targets(TWO)
    first = summary.differences[0]
    medians = [answer.at(0.5).value for answer in summary.results]

    assert (first.metric, first.p, first.baseline) == ("ttfa", 0.5, TWO.targets[0])
    assert first.ratios == {TWO.targets[0]: 1.0, TWO.targets[1]: medians[1] / medians[0]}
    assert re.match(r"eastus2 against sweden: ttfa p50 \+\d+ %", remarks.baseline_text(summary)[0].replace(NBSP, " "))


def test_an_unpublished_quantile_has_no_difference() -> None:
    few = summary_of_targets(Plan(sessions=24, turns=1, targets=("a", "b")))

    assert {one.p for one in few.differences} == {0.5}


def test_an_invalid_run_shows_no_differences() -> None:
    summary = summary_of_targets(Plan(sessions=240, targets=("a", "b"), valid=False))

    assert summary.differences
    assert "against a" not in run_text(summary)
    assert not remarks.baseline_text(summary)
    assert "this report does not" not in next_step(summary)


def test_different_failure_rates_or_throttling_cause_a_notice(tmp_path: Path) -> None:
    write(tmp_path, TWO)
    throttled = {"outcome": "throttled:response"}
    unfair = edited(
        tmp_path, lambda _, row: row | (throttled if row["target"] == "eastus2" and row["pair"] < 6 else {})
    )

    assert not [notice for notice in notices(summary_of_targets(TWO)) if "arms" in notice]
    printed = " ".join(notices(unfair)).replace(NBSP, " ")
    assert "Failure rates of the targets differ by more than 1 point (sweden 0 % to eastus2 5 %)" in printed
    assert "More than 1 % of turns or sessions were throttled (eastus2 5 %)" in printed


def test_preview_settings_are_read(tmp_path: Path) -> None:
    write(tmp_path, TWO)
    preview = '{"voice": "ash", "turn_detection": null}'
    summary = edited(tmp_path, lambda _, row: row | {"effective_settings": preview}, "sessions")

    assert (summary.target_settings[0].voice, summary.target_settings[0].turn_detection) == ("ash", "none")


def test_compression_that_the_service_declined_is_reported(tmp_path: Path) -> None:
    write(tmp_path, TWO, everywhere={"deflate": True})
    summary = edited(tmp_path, lambda index, row: row | ({"response_headers": None} if index < 200 else {}), "sessions")

    (sweden, *_), (settings, *_) = summary.target_settings, summary_data(summary)["target_settings"]
    assert settings["compression"] == sweden.compression
    assert settings["compression"].replace(NBSP, " ") == "permessage-deflate in 20 of 120 sessions"


@pytest.mark.parametrize(("stored", "text"), [(True, "required"), (False, "none"), (None, "")])
def test_the_encryption_of_the_audio_is_a_setting_of_a_telephone(stored: bool | None, text: str) -> None:
    assert summary_of_targets(TWO, everywhere={"srtp": stored}).target_settings[0].srtp == text


PLAN = Plan(sessions=60, turns=6, kinds=("manual",), seconds=120)


Recorded = Callable[..., Summary]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Return a function that returns the summary of a run on several hosts. Each host has its own plan."""

    def summary(**plans: Plan) -> Summary:
        folder = tmp_path_factory.mktemp("hosts")
        parts = [synthetic.write(folder / name, replace(plan, host=name), run_id=name) for name, plan in plans.items()]
        merge_runs(parts, folder / "merged")
        return summarise(load_for_report(folder / "merged"))

    return summary


@pytest.fixture(scope="module")
def different_hosts(recorded: Recorded) -> Summary:
    """Return the summary of a run on two hosts. Their median latencies are 600 ms and 900 ms."""
    return recorded(red=PLAN, blue=replace(PLAN, seed=8, median_ms=900.0))


def on_two_hosts(plan: Plan) -> Summary:
    """Return the summary of a run on two hosts. The first session was on one host, the next on the other, and so on."""
    run = load_for_report(synthetic.write(shared.folder(), plan, hosts=[{"name": "blue"}, {"name": "red"}]))
    recorded = dict(zip(run.sessions["session_id"], cycle(["red", "blue"]), strict=False))
    for frame in (run.turns, run.sessions):
        frame["host"] = frame["session_id"].astype(str).map(recorded).astype("category")
    return summarise(run)


def pooling(summary: Summary) -> list[str]:
    return [notice for notice in notices(summary) if "ooled over" in notice]


def waits_by_host(summary: Summary) -> tuple[Group, ...]:
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
    assert [(host.name, host.sessions, host.turns, host.workers) for host in different_hosts.hosts] == [
        ("blue", 60, 360, 1),
        ("red", 60, 360, 1),
    ]


def test_similar_hosts_are_pooled_without_a_notice() -> None:
    alike = [on_two_hosts(replace(PLAN, sessions=120, seed=n)) for n in range(3)]
    assert [pooling(summary) for summary in alike] == [[]] * 3
    assert [len(summary.hosts) for summary in alike] == [2] * 3


def test_a_host_with_more_failed_turns_is_named(recorded: Recorded) -> None:
    (notice,) = pooling(recorded(red=PLAN, blue=replace(PLAN, seed=8, failed=0.2)))
    assert "0 % of the turns failed on red and" in notice.replace("\N{NO-BREAK SPACE}", " ")


def test_sessions_of_several_hosts_are_ordered_by_utc(different_hosts: Summary) -> None:
    """The monotonic clocks of the hosts differ."""
    run = load_for_report(different_hosts.run.folder)
    mine = (run.sessions["host"] == "blue").to_numpy()
    run.sessions["start_ns"] = run.sessions["start_ns"].where(~mine, run.sessions["start_ns"] - 10**15)
    rows = by_session(run, measured_turns(run), 0).rows
    assert np.all(np.diff(run.sessions["start_utc_ns"].to_numpy(dtype=np.int64)[rows]) >= 0)
    assert len(set(run.sessions["host"].iloc[rows[:10]])) == 2


def test_pairs_of_several_hosts_are_compared_as_pairs(recorded: Recorded) -> None:
    paired = replace(PLAN, targets=("direct", "gateway"), paired=True)
    folder = recorded(red=paired, blue=replace(paired, seed=8)).run.folder
    files.write_document(folder, files.read_document(folder) | {"interleaved": True})
    sides = parse_targets([f"{folder}:direct", f"{folder}:gateway"])
    assert [(side.paired, side.sessions) for side in sides] == [(True, 60), (True, 60)]


def test_an_uncertain_metric_names_its_host(tmp_path: Path) -> None:
    entry = {"target": "sim", "metric": "ttfa", "value": 31.0, "limit": 20.0, "unit": "ms", "host": "red"}
    verdict = {"status": "valid", "uncertain_metrics": [entry]}
    summary = summarise(load_for_report(synthetic.write(tmp_path / "run", PLAN, validity=verdict)))
    assert reason_text(summary.results[0].uncertain).endswith("on red")
    assert [one.host for one in summary.run.uncertain_metrics] == ["red"]


def test_a_sentence_that_begins_with_a_host_keeps_its_case(tmp_path: Path) -> None:
    cited = {"sessions": 0, "events_per_s": 0, "kind": "voice", "date": "2026-11-20", "stale": [], "ended": ""}
    hosts = [{"name": name, "calibration": cited} for name in ("inworld", "throttled-eu")]
    folder = synthetic.write(tmp_path / "run", PLAN, hosts=hosts)
    lines = accuracy_notes(summarise(load_for_report(folder)))

    assert all(line.startswith(("inworld: ", "throttled-eu: ")) for line in lines)


def test_a_large_clock_offset_causes_a_notice(tmp_path: Path) -> None:
    hosts = [
        {"name": "red", "workers": 1, "clock_offset_ns": -90_000_000_000, "clock_offset_uncertainty_ns": 1_000_000},
        {"name": "blue", "workers": 1, "clock_offset_ns": 30_000_000, "clock_offset_uncertainty_ns": 1_000_000},
    ]
    plain = summary_of(PLAN)
    of_hosts = replace(plain.run, metadata=plain.run.metadata | {"hosts": hosts})
    (notice,) = [
        n for n in run_notices(of_hosts, data_notes(of_hosts, plain.turns, plain.run.sessions)) if "clock" in n
    ]
    assert " ".join(notice.split()).startswith("The clock of red was 90 s behind that of the leader")


PLAN_OF_REGIONS = Plan(sessions=120, turns=6, kinds=("manual",), seconds=120)


SLOWER_NS = 400_000_000


def region_of(session: str) -> str | None:
    """Return Sweden for every third session. The service reported no region for the first session."""
    number = int(session.removeprefix("s"))
    return None if number == 0 else "Sweden Central" if number % 3 == 0 else "East US 2"


@pytest.fixture(scope="module")
def answered_by_two_regions(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    """Return the summary of a run in which two regions answered.

    Sweden Central answered a third of the sessions, and is 400 ms slower than the other region.
    """

    def told(_: int, session: Row) -> Row:
        return session | {"region": region_of(session["session_id"])}

    def slower(_: int, turn: Row) -> Row:
        late = SLOWER_NS if region_of(turn["session_id"]) == "Sweden Central" else 0
        there = ("first_audio_at_ns", "first_audible_at_ns", "last_audio_at_ns", "response_done_at_ns", "ended_at_ns")
        return turn | {name: turn[name] + late for name in there if turn[name] is not None}

    folder = synthetic.write(tmp_path_factory.mktemp("regions") / "run", PLAN_OF_REGIONS)
    return edited(edit(folder, "sessions", told), slower)


def test_each_region_has_its_own_latencies_and_every_turn_is_in_one(answered_by_two_regions: Summary) -> None:
    ((waits,),) = answered_by_two_regions.latency_by("region")

    assert [group.bin.name for group in waits.groups] == ["East US 2", "Sweden Central", NOT_REPORTED]
    assert sum(group.turns for group in waits.groups) == PLAN_OF_REGIONS.sessions * PLAN_OF_REGIONS.turns
    east, sweden, _ = waits.groups
    assert 350 < sweden.p50.value - east.p50.value < 450


def test_a_target_with_one_region_has_no_breakdown_by_region() -> None:
    assert not summary_of(PLAN_OF_REGIONS).latency_by("region")
