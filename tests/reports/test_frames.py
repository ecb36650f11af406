"""The data that the figures show: curves, the run over time, segments, and distributions of
latencies.
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rtbench
from bench.catalogue.metrics import VAD_SEGMENTS, segments
from bench.record.folder import SCHEMAS
from bench.record.histograms import Histograms
from reports.analysis.summary.distributions import CURVE, PUBLISHED, curves
from reports.analysis.summary.groups import GroupedLatency
from reports.analysis.summary.metrics import ALL
from reports.analysis.summary.over_time import DOTS, over_time, steps_over_time
from reports.analysis.summary.segments import Breakdown, breakdowns, percentile_bands
from reports.analysis.summary.summary import Summary
from reports.data.runs import RunFrames, session_frame, turn_frame
from reports.data.turns import measured_turns
from reports.pages.run_report.bar_charts import segment_bars as draw
from reports.pages.run_report.sections import latency
from reports.text.cells import breakdown_title
from tests.reports import synthetic
from tests.reports.shared import summary_of
from tests.reports.synthetic import STEPS, Plan


def test_curves_contain_the_percentiles_of_the_tables() -> None:
    summary = summary_of(Plan(sessions=100, turns=10, targets=("a", "b"), failed=0.03))
    found = curves(summary.samples["ttfa"], summary.turns.pools)

    assert set(PUBLISHED) <= {float(p) for p in CURVE}
    for curve, answer in zip(found, summary.results, strict=True):
        assert (curve.n, curve.failed) == (answer.n, answer.failed)
        named = {e.p: e for e in curve.points}
        shown = [e for e in answer.quantiles if e.p in named and e.has_interval]
        assert shown
        assert all(named[e.p] == e for e in shown)
        assert [e.value for e in curve.points] == sorted(e.value for e in curve.points)


@pytest.mark.parametrize("sessions", [40, 200])
def test_the_plot_over_time_contains_every_turn_once(sessions: int) -> None:
    summary = summary_of(
        Plan(sessions=sessions, turns=10, failed=0.05, seconds=200, warmup_s=30, abandoned=5)
    )
    frame = over_time(summary)
    assert frame is not None
    (panel,) = frame.panels

    every = sessions * 10 - 5
    assert sum(bin_.turns for bin_ in panel.bins) == every
    failed = sum(bin_.failed for bin_ in panel.bins)
    drawn = int(panel.cells.sum()) if panel.dots is None else panel.dots[0].size
    assert (panel.dots is None) == (every > DOTS)
    assert drawn == every - failed
    assert (panel.turns, panel.failed) == (summary.results[0].n, summary.results[0].failed)
    assert panel.turns < every


def test_the_slowest_turns_have_the_service_s_ids() -> None:
    summary = summary_of(Plan(sessions=30, failed=0.1))
    turns = rtbench.load(summary.run.folder).turns
    found = summary.slowest

    good = turns[turns["outcome"] == "ok"].nlargest(8, "voice_to_voice_ms")
    assert [slow.value_ms for slow in found] == good["voice_to_voice_ms"].tolist()
    assert [slow.response for slow in found] == good["response_id"].tolist()
    assert [slow.service_session for slow in found] == good["service_session_id"].tolist()
    assert all(slow.request.endswith("-34d6") and slow.region == "Sweden Central" for slow in found)
    assert [slow.ttfa_ms for slow in found] == good["ttfa_ms"].tolist()
    assert [slow.network_rtt_ms for slow in found] == good["network_rtt_ms"].tolist()
    assert [slow.retransmits for slow in found] == good["retransmits"].tolist()


def test_the_slowest_turns_of_each_step_and_target_are_listed() -> None:
    summary = summary_of(Plan(sessions=40, turns=10, targets=("a", "b"), failed=0.1))
    turns = rtbench.load(summary.run.folder).turns.query("outcome == 'ok'")
    found = summary.slowest_of_steps

    assert len(found) == 3 * 2 * 5
    for (target, step), mine in turns.groupby(["target", "step"], observed=True):
        listed = [slow for slow in found if (slow.target, slow.step) == (target, step)]
        assert [slow.value_ms for slow in listed] == mine["voice_to_voice_ms"].nlargest(3).tolist()


TWO = Plan(sessions=120, turns=10, targets=("a", "b"), seconds=600, warmup_s=40)


def test_each_step_has_the_median_of_each_time_bin_and_target() -> None:
    summary = summary_of(TWO)
    frame = steps_over_time(summary, summary.turns.strata[0])
    assert frame is not None
    turns = rtbench.load(summary.run.folder).turns
    at_s = (turns["start_utc_ns"] - summary.started_utc_ns) / 1e9

    assert set(frame.steps) == set(STEPS)
    assert {(course.step, course.target) for course in frame.series} == {
        (step, t) for step in STEPS for t in (0, 1)
    }
    for course in frame.series:
        mine = (turns["step"] == course.step) & (turns["target"] == summary.targets[course.target])
        for bin_ in course.bins:
            inside = mine & (at_s >= bin_.begin_s) & (at_s < bin_.begin_s + frame.bin_s)
            waits = np.sort(turns.loc[inside, "ttfa_ms"])
            assert bin_.turns == inside.sum()
            assert bin_.p50 == waits[math.ceil(inside.sum() / 2) - 1]


def waits(summary: Summary, by: str, measured_from: str = "speech_end") -> list[GroupedLatency]:
    return next(of for of in summary.latency_by(by) if of[0].stratum.measured_from == measured_from)


VAD = {
    "speech_end": 1_000_000_001,
    "speech_stopped": 1_300_000_000,
    "committed": 1_300_500_000,
    "response_created": 1_340_000_003,
    "first_audio": 1_700_000_000,
    "first_audible": 1_900_000_007,
}
MANUAL = {name: at for name, at in VAD.items() if name != "speech_stopped"} | {
    "request_sent": 1_001_000_000
}


def breakdowns_of(*turns: dict[str, int], outcome: str = "ok") -> list[Breakdown]:
    """Return the breakdowns, over all steps, of turns with these instants.

    Turns that have a request belong to another step than turns without a request.
    """
    rows: list[dict[str, Any]] = [
        {"session_id": "s", "target": "t", "outcome": outcome, "turn": n + 1}
        | {"step": "asked", "measured_from": "request_sent"}
        | ({} if "request_sent" in instants else {"step": "hello", "measured_from": "speech_end"})
        | {f"{name}_at_ns": at for name, at in instants.items()}
        for n, instants in enumerate(turns)
    ]
    frame = turn_frame(pa.Table.from_pylist(rows, schema=SCHEMAS["turns"]))
    no_sessions = session_frame(SCHEMAS["sessions"].empty_table())
    found = breakdowns(
        measured_turns(RunFrames(Path(), {}, frame, no_sessions, no_sessions, Histograms(), True))
    )
    return [row for row in found if row.step == ALL]


def means(row: Breakdown) -> list[tuple[str, float]]:
    return [(segment.name, segment.mean_ms) for segment in row.segments]


def test_the_commit_is_no_segment_of_a_manual_turn() -> None:
    with_commit, without = (
        breakdowns_of(MANUAL),
        breakdowns_of({n: at for n, at in MANUAL.items() if n != "commit"}),
    )

    assert with_commit == without
    assert [name for name, _ in means(with_commit[0])] == [
        "request",
        "response_creation",
        "audio_generation",
        "playback_start",
    ]


def test_a_missing_instant_merges_two_segments_under_both_names() -> None:
    (row,) = breakdowns_of({name: at for name, at in VAD.items() if name != "committed"})

    assert means(row)[1] == (
        "end_of_turn_delay → response_creation",
        (1_340_000_003 - 1_300_000_000) / 1e6,
    )
    assert row.total_ns == 900_000_006
    assert breakdown_title(row).endswith("(incomplete)")


def test_turns_with_different_instants_have_separate_breakdowns() -> None:
    rows = breakdowns_of(
        VAD, VAD, {name: at for name, at in VAD.items() if name != "committed"}, MANUAL
    )

    assert [row.turns for row in rows] == [2, 1, 1]
    assert [row.has_end_detection for row in rows] == [True, True, False]


def test_a_negative_segment_is_kept_and_drawn_to_the_left() -> None:
    (row,) = breakdowns_of(VAD | {"speech_stopped": 900_000_000})
    plot = draw([row], ["t"])

    assert means(row)[0] == ("end_of_turn_delay", -100.000001)
    assert row.total_ns == 900_000_006
    assert any("end-of-turn detection (VAD): −100" in part for part in plot.parts)
    assert sum('class="zero"' in part for part in plot.parts) == 2


@given(
    st.lists(
        st.tuples(
            st.fixed_dictionaries(
                {name: st.integers(0, 2**52) for name in ("speech_end", "first_audible")}
            ),
            st.dictionaries(st.sampled_from(VAD_SEGMENTS[1:-1]), st.integers(0, 2**52)),
        ).map(lambda pair: pair[0] | pair[1]),
        min_size=1,
        max_size=12,
    )
)
def test_segments_add_up_to_the_nanosecond(turns: list[dict[str, int]]) -> None:
    rows = breakdowns_of(*turns)
    found: Counter[tuple[str, str]] = Counter()
    for row in rows:
        for segment in row.segments:
            found[segment.begin, segment.end] += segment.total_ns
    expected: Counter[tuple[str, str]] = Counter()
    for begin, end, length_ns in (segment for turn in turns for segment in segments(turn)):
        expected[begin, end] += length_ns

    assert found == expected
    waits_ns = [wait for turn in turns if (wait := turn["first_audible"] - turn["speech_end"]) >= 0]
    assert sum(row.turns for row in rows) == len(waits_ns)
    assert sum(row.total_ns for row in rows) == sum(waits_ns)


@pytest.mark.parametrize("kinds", [("vad",), ("manual",), ("vad", "typed", "manual")])
def test_the_means_of_segments_add_up_to_the_mean_of_voice_to_voice(
    tmp_path: Path, kinds: tuple[str, ...]
) -> None:
    run = rtbench.load(
        synthetic.write(
            tmp_path, Plan(sessions=40, turns=5, targets=("a", "b"), kinds=kinds, failed=0.1)
        )
    )
    rows, good = list(breakdowns(measured_turns(run))), run.turns[run.turns["outcome"] == "ok"]
    instants = [f"{name}_at_ns" for name in ("speech_end", "speech_stopped", "first_audible")]
    spoken = good.loc[
        good["voice_to_voice_ms"].notna(), ["target", "step", "voice_to_voice_ms", *instants]
    ]

    assert sum(row.turns for row in rows if row.step == ALL) == len(spoken)
    for row in rows:
        mine = spoken[spoken["target"] == row.target]
        mine = mine[mine["speech_stopped_at_ns"].notna() == row.has_end_detection]
        mine = mine if row.step == ALL else mine[mine["step"] == row.step]
        exact = int((mine["first_audible_at_ns"] - mine["speech_end_at_ns"]).sum())
        assert (row.turns, row.total_ns) == (len(mine), exact)
        assert row.mean_ms == pytest.approx(float(np.mean(mine["voice_to_voice_ms"])))


def test_segments_of_typical_and_slow_turns_add_up_to_their_own_mean(tmp_path: Path) -> None:
    run = rtbench.load(
        synthetic.write(
            tmp_path, Plan(sessions=80, turns=10, targets=("direct", "gateway"), failed=0.03)
        )
    )
    good = run.turns[run.turns["outcome_class"] == "success"]
    found = percentile_bands(measured_turns(run))

    assert [(band.p, band.target) for band in found] == [
        *product((0.5, 0.95), ("direct", "gateway"))
    ]
    for band in found:
        waits = good.loc[good["target"] == band.target, "voice_to_voice_ms"]
        half = 0.05 if band.p == 0.5 else 0.015
        ends = waits.quantile([band.p - half, band.p + half], interpolation="higher")
        near = waits[waits.between(*ends)]
        assert band.mean_ms == pytest.approx(near.mean(), rel=0.02)
        assert band.turns == pytest.approx(2 * half * len(waits), abs=2)
        assert sum(segment.mean_ms for segment in band.segments) == pytest.approx(band.mean_ms)


def test_too_few_turns_have_no_histogram() -> None:
    summary = summary_of(Plan(sessions=1, turns=2))

    assert latency.histograms(summary) == []
    assert [title for title, _ in latency.histograms(summary_of(Plan()))] == [
        "voice_to_voice",
        "ttfa from end of speech",
    ]
