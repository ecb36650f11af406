"""The aggregates that figures draw: they hold every turn once, and no more."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

import reports
from bench.run import folder as run_folder
from reports.runs import second_frame
from reports.summary.curves import CURVE, PUBLISHED, connecting, curves, flows
from reports.summary.over_time import DOTS, bin_length, over_time
from reports.summary.summary import Summary, summarise
from tests.reports import synthetic
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan


def test_curves_pass_through_the_percentiles_that_tables_name() -> None:
    summary = summary_of(Plan(sessions=100, turns=10, targets=("a", "b"), failed=0.03))
    found = curves(summary.samples["ttfa"], summary.turns.pools)

    assert set(PUBLISHED) <= {float(p) for p in CURVE}
    for curve, answer in zip(found, summary.answers, strict=True):
        assert (curve.n, curve.failed) == (answer.figures.n, answer.figures.failed)
        named = {e.p: e for e in curve.points}
        assert all(named[e.p] == e for e in answer.figures.quantiles if e.p in named)
        assert [e.value for e in curve.points] == sorted(e.value for e in curve.points)


@pytest.mark.parametrize("sessions", [40, 200])
def test_the_run_over_time_holds_every_turn_once(sessions: int) -> None:
    summary = summary_of(Plan(sessions=sessions, turns=10, failed=0.05, seconds=200, warmup_s=30, abandoned=5))
    frame = over_time(summary)
    assert frame is not None
    (panel,) = frame.panels

    every = sessions * 10 - 5
    assert sum(bin_.turns for bin_ in panel.bins) == every
    failed = sum(bin_.failed for bin_ in panel.bins)
    drawn = int(panel.cells.sum()) if panel.dots is None else panel.dots[0].size
    assert (panel.dots is None) == (every > DOTS)
    assert drawn == every - failed
    assert (panel.turns, panel.failed) == (summary.answers[0].figures.n, summary.answers[0].figures.failed)
    assert panel.turns < every


def test_bins_are_wide_enough_for_what_is_drawn_in_them() -> None:
    assert bin_length(1380, 2000) == 60
    assert bin_length(30, 40) == 5
    assert bin_length(3600, 1_000_000) == 60
    assert bin_length(86_400, 1_000_000) == 1800


def test_a_quantile_of_few_turns_is_not_drawn() -> None:
    frame = over_time(summary_of(Plan(sessions=40, seconds=60)))
    assert frame is not None

    for bin_ in frame.panels[0].bins:
        assert math.isnan(bin_.p50) == (bin_.turns < 4)
        assert math.isnan(bin_.p95) == (bin_.turns < 80)


def test_a_run_without_values_has_nothing_to_draw() -> None:
    assert over_time(summary_of(Plan(sessions=0, refused=2))) is None


def test_phases_of_connecting_add_up() -> None:
    summary = summary_of(Plan(sessions=240, turns=1, targets=("a", "b")))
    frame, stacks = summary.run.sessions, connecting(summary)

    assert [(stack.target, stack.p) for stack in stacks] == [("a", 0.5), ("b", 0.5), ("a", 0.95), ("b", 0.95)]
    whole = (frame["session_ready_ms"] + frame["session_update_ms"])[frame["target"] == "a"]
    for stack in stacks[::2]:
        assert sum(stack.parts) == pytest.approx(np.quantile(whole, stack.p), rel=0.05)


def test_few_sessions_have_no_slow_start() -> None:
    assert [stack.p for stack in connecting(summary_of(Plan(refused=2)))] == [0.5]


def test_flows_keep_all_bytes_of_a_short_run() -> None:
    summary = summary_of(Plan(targets=("a", "b")))
    audio, wire = flows(summary)

    assert (audio.kind, wire.kind) == ("audio", "wire")
    assert audio.received.sum() == summary.run.seconds["audio_bytes_received"].sum()
    assert wire.sent.sum() == summary.run.seconds["wire_bytes_sent"].sum()


def seconds_of(lengths_s: list[dict[int, float]], bytes_per_s: list[int] | None = None) -> Summary:
    """A run whose seconds were recorded for so long by each worker, at such rates."""
    rates = bytes_per_s or [1_000] * len(lengths_s)
    plain = summary_of(Plan())
    known = synthetic.rows(Plan())["seconds"].to_pylist()[0]
    rows = [
        known
        | {"second": synthetic.BEGAN_NS // 10**9 + second, "worker": worker, "duration_ns": int(length_s * 1e9)}
        | {
            f"{kind}_bytes_{way}": int(rates[second] * length_s)
            for kind in ("audio", "wire")
            for way in ("sent", "received")
        }
        for second, lengths in enumerate(lengths_s)
        for worker, length_s in lengths.items()
    ]
    seconds = second_frame(pa.Table.from_pylist(rows, schema=run_folder.SCHEMAS["seconds"]))
    return replace(plain, run=replace(plain.run, seconds=seconds))


@pytest.mark.parametrize(("last_s", "last_bytes_per_s"), [(0.01, 0), (0.3, 0), (0.3, 9_000), (0.7, 1_000)])
@pytest.mark.parametrize("length", [20, 605])
def test_a_second_that_was_cut_is_neither_a_drop_of_throughput_nor_a_peak(
    length: int, last_s: float, last_bytes_per_s: int
) -> None:
    """In seconds, and in bins of several."""
    lengths = [{0: 1.0}] * length + [{0: last_s}]
    for flow in flows(seconds_of(lengths, [1_000] * length + [last_bytes_per_s])):
        assert flow.sent == pytest.approx(1_000, rel=0.01)
        assert flow.received == pytest.approx(1_000, rel=0.01)


WEIGHED: dict[str, tuple[list[dict[int, float]], list[int] | None, list[float]]] = {
    # (how long each worker recorded in each second; at which rates, 1,000 bytes a second at first; the last flows)
    "a second that was cut weighs as much of its bin as it lasted":
        ([{0: 1.0}] * 601 + [{0: 0.5}], [1_000] * 601 + [4_000], [(1_000 + 0.5 * 4_000) / 1.5]),
    "a worker that ends within a second counts for as long as it lasted":
        ([{0: 1.0, 1: 1.0}] * 9 + [{0: 1.0, 1: 0.25}], None, [2_000.0] * 9 + [1_250.0]),
    "a worker that was held up tells of all the time that it was":
        ([{0: 1.0, 1: 2.5}, {0: 1.0, 1: 1.0}], None, [2_000] * 2),
    "a run shorter than half a second has its rate": ([{0: 0.25}], None, [1_000]),
}  # fmt: skip


@pytest.mark.parametrize(("lengths_s", "rates", "last"), WEIGHED.values(), ids=WEIGHED)
def test_a_flow_is_of_the_time_that_was_recorded(
    lengths_s: list[dict[int, float]], rates: list[int] | None, last: list[float]
) -> None:
    (_, wire) = flows(seconds_of(lengths_s, rates))

    assert wire.sent[-len(last) :].tolist() == pytest.approx(last)
    assert len(wire.sent) == len(last) or len(lengths_s) > 600


def test_text_has_no_flow_of_audio() -> None:
    assert [flow.kind for flow in flows(summary_of(Plan(text=True)))] == ["wire"]


def test_the_slowest_turns_have_the_services_names() -> None:
    summary = summary_of(Plan(sessions=30, failed=0.1))
    turns = reports.load(summary.run.folder).turns
    found = summary.slowest

    good = turns[turns["outcome"] == "ok"].nlargest(8, "voice_to_voice_ms")
    assert [slow.value_ms for slow in found] == good["voice_to_voice_ms"].tolist()
    assert [slow.response for slow in found] == good["response_id"].tolist()
    assert [slow.service_session for slow in found] == good["service_session_id"].tolist()
    assert all(slow.request.endswith("-34d6") and slow.region == "Sweden Central" for slow in found)
    assert [slow.ttfa_ms for slow in found] == good["ttfa_ms"].tolist()
    assert [slow.network_rtt_ms for slow in found] == good["network_rtt_ms"].tolist()
    assert [slow.retransmits for slow in found] == good["retransmits"].tolist()


def test_a_slow_turn_names_the_log_of_its_session() -> None:
    found = summary_of(Plan(sessions=2)).slowest

    assert {(slow.session, slow.event_log) for slow in found} == {("s00000", "events/s00000.jsonl"), ("s00001", "")}


def test_of_each_step_and_target_the_slowest_turns_are_told_with_their_rows() -> None:
    summary = summary_of(Plan(sessions=40, turns=10, targets=("a", "b"), failed=0.1))
    turns = reports.load(summary.run.folder).turns.query("outcome == 'ok'")
    found = summary.slowest_of_steps

    assert len(found) == 3 * 2 * 5
    for (target, step), mine in turns.groupby(["target", "step"], observed=True):
        told = [slow for slow in found if (slow.target, slow.step) == (target, step)]
        assert [slow.value_ms for slow in told] == mine["voice_to_voice_ms"].nlargest(3).tolist()
    row = turns.set_index(["session_id", "turn"]).loc[(found[0].session, found[0].turn)].to_dict()
    told_row = dict(found[0].row)
    assert int(told_row["first_audio_at_ns"]) == row["first_audio_at_ns"]
    assert told_row["step"] == found[0].step
    assert "nan" not in told_row.values()
    assert "<NA>" not in told_row.values()


def test_of_more_steps_fewer_turns_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    run = summary_of(Plan()).run
    for most, each in ((12, 3), (11, 2), (4, 1), (3, 0)):
        monkeypatch.setattr("reports.summary.single_turns.OF_STEPS", most)
        assert len(summarise(run).slowest_of_steps) == each * 4


def test_slow_turns_of_different_origins_are_not_ranked_together() -> None:
    found = summary_of(Plan(sessions=20, kinds=("vad", "typed"))).slowest

    assert [slow.stratum.measured_from for slow in found] == ["request_sent"] * 8 + ["speech_end"] * 8
    assert all(math.isnan(slow.voice_to_voice_ms) for slow in found[:8])


def test_turns_that_callers_hear_are_ranked_by_that_and_the_others_by_their_main_metric() -> None:
    """Typed turns and spoken ones with response.create count from one origin."""
    found = summary_of(Plan(sessions=20, kinds=("manual", "typed"))).slowest

    assert [slow.metric for slow in found] == ["voice_to_voice"] * 8 + ["ttfa"] * 8
    assert {math.isnan(slow.voice_to_voice_ms) for slow in found[8:]} == {True}


def test_one_bin_alone_is_no_line() -> None:
    frame = over_time(summary_of(Plan(sessions=20, seconds=60)))
    assert frame is not None
    (panel,) = frame.panels
    known = [bin_ for bin_ in panel.bins if not math.isnan(bin_.p50)]

    assert panel.line("p50") == [(bin_.begin_s, bin_.p50) for bin_ in known]
    assert replace(panel, bins=tuple(known[:1])).line("p50") == []


def test_origins_have_panels_and_curves_apart() -> None:
    summary = summary_of(Plan(sessions=20, turns=4, kinds=("vad", "typed"), warmup_s=6))
    frame = over_time(summary)
    assert frame is not None

    assert [panel.label for panel in frame.panels] == [pool.label for pool in summary.turns.pools]
    assert [panel.turns for panel in frame.panels] == [answer.turns for answer in summary.answers]
    assert sum(bin_.turns for panel in frame.panels for bin_ in panel.bins) == 80
    assert [curve.n for curve in curves(summary.samples["ttfa"], summary.turns.pools)] == [
        answer.figures.n for answer in summary.answers
    ]
