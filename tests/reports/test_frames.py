"""The aggregates that figures draw: they hold every turn once, and no more."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import reports
from reports.page.calls import along as section
from reports.page.charts import wait_lines
from reports.statistics.quantiles import lack
from reports.summary.curves import CURVE, PUBLISHED, curves
from reports.summary.groups import Waits, one_thing
from reports.summary.over_time import DOTS, bin_length, over_time, steps_over_time
from reports.summary.summary import Summary, summarise
from tests.reports.shared import page_of, summary_of
from tests.reports.synthetic import STEPS, Plan


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


def test_turns_that_callers_hear_are_ranked_by_that_and_the_others_by_their_main_metric() -> None:
    """Typed turns and spoken ones with response.create count from one origin."""
    found = summary_of(Plan(sessions=20, kinds=("manual", "typed"))).slowest

    assert [slow.metric for slow in found] == ["voice_to_voice"] * 8 + ["ttfa"] * 8
    assert {math.isnan(slow.voice_to_voice_ms) for slow in found[8:]} == {True}


TWO = Plan(sessions=120, turns=10, targets=("a", "b"), seconds=600, warmup_s=40)


def test_each_step_has_the_median_of_each_bin_on_each_target() -> None:
    summary = summary_of(TWO)
    frame = steps_over_time(summary, summary.turns.strata[0])
    assert frame is not None
    turns = reports.load(summary.run.folder).turns
    at_s = (turns["start_utc_ns"] - summary.window.started_utc_ns) / 1e9

    assert set(frame.steps) == set(STEPS)
    assert {(course.step, course.target) for course in frame.courses} == {(step, t) for step in STEPS for t in (0, 1)}
    for course in frame.courses:
        mine = (turns["step"] == course.step) & (turns["target"] == summary.targets[course.target])
        for bin_ in course.bins:
            inside = mine & (at_s >= bin_.begin_s) & (at_s < bin_.begin_s + frame.bin_s)
            waits = np.sort(turns.loc[inside, "ttfa_ms"])
            assert bin_.turns == inside.sum()
            assert bin_.p50 == waits[math.ceil(inside.sum() / 2) - 1]


def test_a_bin_of_few_turns_has_no_median_and_a_run_of_few_bins_no_figure() -> None:
    summary = summary_of(Plan(sessions=3))

    assert steps_over_time(summary, summary.turns.strata[0]) is None
    assert "Each step over time" not in page_of(Plan(sessions=3))
    assert "Each step over time" not in page_of(Plan(sessions=0))


LONG = Plan(sessions=60, turns=14, targets=("direct", "gateway"), failed=0.02, seconds=200)


def waits(summary: Summary, by: str, measured_from: str = "speech_end") -> list[Waits]:
    return next(of for of in summary.waits_by(by) if of[0].stratum.measured_from == measured_from)


@pytest.mark.parametrize("by", ["turn", "age"])
def test_each_turn_stands_in_one_place(by: str) -> None:
    summary = summary_of(LONG)

    for one, answer in zip(waits(summary, by), summary.answers, strict=True):
        assert sum(group.n for group in one.groups) == answer.figures.n
        assert sum(group.turns for group in one.groups) == answer.turns
        assert sum(group.failed.count for group in one.groups) == answer.figures.failed
        assert [group.place for group in one.groups] == list(one.places)


def test_turns_after_the_tenth_stand_together() -> None:
    first = waits(summary_of(LONG), "turn")[0]

    assert [place.name for place in first.places] == [*map(str, range(1, 11)), "11+"]
    assert [group.n for group in first.groups] == [30] * 10 + [4 * 30]


def test_a_fixed_script_makes_one_thing_of_both() -> None:
    fixed, alone = summary_of(LONG), summary_of(Plan(sessions=20, turns=1))

    assert one_thing(fixed.turns, fixed.run.sessions)
    assert not one_thing(alone.turns, alone.run.sessions)
    assert "show which of the two matters" not in str(section(alone))
    assert "show which of the two matters" in str(section(fixed))


def test_places_that_hold_half_as_many_turns_are_counted_below_the_axis() -> None:
    (first, *others) = waits(summary_of(replace(LONG, turns=10)), "turn")
    fewer = tuple(replace(group, n=12, turns=12) if group.place.name == "10" else group for group in first.groups)
    thinned = replace(first, groups=fewer)

    assert not first.thinned
    assert ">turns<" not in wait_lines([first, *others], 524).svg()
    assert thinned.thinned
    drawn = wait_lines([thinned, *others], 524).svg()
    assert drawn.count(">turns<") == 2
    assert ">12<" in drawn


def test_a_figure_of_a_group_needs_what_one_of_all_turns_needs() -> None:
    for group in waits(summary_of(LONG), "turn")[0].groups:
        for p in (0.5, 0.95):
            assert group.told(p) == (lack(p, group.n, group.sessions) is None)


def test_a_session_of_one_turn_has_no_course() -> None:
    summary = summary_of(Plan(sessions=40, turns=1))

    assert [len(one.groups) for one in waits(summary, "turn")] == [1]
    assert section(summary) is None
