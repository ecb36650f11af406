"""Targets of a comparison: their names on the command line, their samples and clusters, and
unequal shares of steps.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rtbench
from bench.base.errors import UsageError
from bench.catalogue.outcomes import is_throttled
from reports.analysis.comparisons.measurements import measured
from reports.analysis.summary.summary import summarise
from reports.analysis.targets.fairness import checks_of
from reports.analysis.targets.mix import ComparedTargets, changed_shares
from reports.analysis.targets.named import parse_targets, target_titles
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.statistic_types.mean import Mean
from reports.metrics.statistic_types.quantile import Quantile, margin_of
from reports.metrics.statistic_types.rate import Rate
from reports.statistics.differences import Inference, Margin
from rtbench.cli.verdicts import check
from tests.reports.comparisons.build import DRAWS, PAIRED, RUN, quick, run, targets, two
from tests.reports.edited import edit
from tests.reports.forms import comparison_notices, target_notices, written
from tests.reports.shared import frames_of
from tests.reports.synthetic import STEPS, Plan

FAILURES = MetricSpec("failure_rate", Rate(), Margin(points=0.01))


FAILING = Plan(sessions=12, turns=5, failed=0.2)


def metric_of(metric: str = "ttfa", p: float = 0.95, **more: Any) -> MetricSpec:
    return MetricSpec(metric, Quantile(p), margin_of(p), **more)


@pytest.mark.parametrize("plan", [replace(FAILING, failed=0.0), FAILING])
def test_a_sample_equals_that_of_the_report_with_clusters_from_zero(plan: Plan) -> None:
    side = targets(plan)[0]
    reported = next(answer for answer in summarise(side.run).results)
    found = side.sample(metric_of())

    assert (found.n, found.failed) == (reported.n, reported.failed)
    assert (np.diff(found.values[: found.succeeded.size]) >= 0).all()
    assert np.isinf(found.values).sum() == found.failed
    assert set(found.sessions) == set(range(12))
    assert side.clusters.count == 12


def test_each_value_keeps_its_session() -> None:
    side = targets(RUN)[0]
    found = side.sample(metric_of())
    of_session = rtbench.load(side.run.folder).turns.groupby("session_id", observed=True)["ttfa_ms"]
    names = side.session_rows["session_id"].astype(str).tolist()

    for cluster, name in enumerate(names):
        mine = of_session.get_group(name).dropna().to_numpy()
        np.testing.assert_array_equal(np.sort(mine), found.values[found.sessions == cluster])


def test_the_clusters_of_an_interleaved_run_are_its_pairs() -> None:
    west, east = targets(PAIRED)
    found = east.sample(metric_of())
    pair_of = east.run.sessions.set_index("session_id")["pair"]
    turns = rtbench.load(east.run.folder).turns
    frame = turns[turns["target"] == "east"]
    expected = {
        float(ms): int(pair_of[name])
        for ms, name in zip(frame["ttfa_ms"], frame["session_id"], strict=True)
    }

    assert west.paired
    assert west.clusters.count == east.clusters.count == 40
    np.testing.assert_array_equal(west.clusters.pairs, np.arange(40))
    assert [expected[value] for value in found.values.tolist()] == found.sessions.tolist()


def test_only_complete_pairs_count(tmp_path: Path) -> None:
    folder = run(tmp_path, PAIRED)
    # west of pair 0, east of pair 1
    edit(tmp_path, "sessions", lambda index, row: None if index in (0, 3) else row)
    west, east = parse_targets([folder])

    for side in (west, east):
        assert (side.clusters.count, side.clusters.cut, side.sessions) == (38, 2, 38)
        assert side.clusters.pairs is not None
        assert side.clusters.pairs[0] == 2
        assert side.sample(metric_of()).n == side.counts(FAILURES)[1].sum() == 38 * 5
        assert side.sample(metric_of("connect_total")).n == 38


def test_the_failure_rate_counts_failed_and_not_started_turns_of_planned_ones() -> None:
    side = targets(Plan(sessions=20, turns=5, failed=0.2, refused=3))[0]
    outcomes = summarise(side.run).endings
    events, wanted = side.counts(FAILURES)

    assert events.sum() == outcomes.failed_or_not_started
    assert wanted.sum() == outcomes.planned
    refused = side.clusters.of_row[(side.session_rows["turns_started"] == 0).to_numpy()]
    assert events[refused].tolist() == wanted[refused].tolist() == [5, 5, 5]
    assert (events <= wanted).all()


def test_stall_rate_counts_played_replies_and_throttle_rate_ended_turns() -> None:
    side = targets(Plan(sessions=40, turns=5, failed=0.3, abandoned=10))[0]
    (reported,) = (value for value in summarise(side.run).counts if value.metric == "stall_rate")
    stalled, replies = side.counts(MetricSpec("stall_rate", Rate(), Margin(points=0.01)))
    throttled, ended = side.counts(MetricSpec("throttle_rate", Rate(), Margin(points=0.01)))
    outcomes = side.run.turns["outcome"].astype(str)

    assert (stalled.sum(), replies.sum()) == (reported.count, reported.n)
    assert throttled.sum() == outcomes.map(is_throttled).sum() > 0
    assert ended.sum() == 190


def test_the_totals_of_a_mean_are_sums_over_successful_turns_by_cluster() -> None:
    side = targets(Plan(sessions=40, turns=5, targets=("west", "east"), failed=0.2, paired=True))[1]
    totals, numbers = side.totals(MetricSpec("audio_speed", Mean(), Margin(ratio=0.1)))
    good = side.run.turns[
        (side.run.turns["target"] == "east") & (side.run.turns["outcome"] == "ok")
    ]["audio_speed"]

    assert numbers.size == totals.size == 20
    assert numbers.sum() == good.notna().sum()
    assert totals.sum() == pytest.approx(good.sum())


MIXED_OF_MIXES = Plan(sessions=150, turns=10, mix=(0.0, 0.0, 0.4, 0.0, 0.6), failed=0.01)


MORE_SLOW = replace(MIXED_OF_MIXES, mix=(0.0, 0.0, 0.6, 0.0, 0.4), seed=8)


P50 = MetricSpec("ttfa", Quantile(0.5), Margin(ratio=0.1))


def test_a_candidate_with_more_turns_of_a_slow_step_has_not_regressed() -> None:
    base, cand = two(MIXED_OF_MIXES, MORE_SLOW)
    (found,) = measured(base, cand, [P50], Inference(resamples=DRAWS))
    assert found.difference is not None

    plain = cand.sample(P50)
    assert plain.succeeded[plain.n // 2] > 1.15 * found.difference.baseline
    assert abs(found.difference.d) < 0.05
    assert found.difference.low < 0 < found.difference.high


def test_different_shares_of_steps_cause_a_notice() -> None:
    sides = two(MIXED_OF_MIXES, MORE_SLOW)
    step, checks = STEPS[2], written(checks_of(sides))

    assert [check.name for check in checks if check.name.startswith("same")] == ["same scripts"]
    assert next(check.texts for check in checks if check.name == "shares of steps") == [
        f"{step} 40.1\u00a0%",
        f"{step} 62.3\u00a0%",
    ]
    (notice,) = (notice for notice in target_notices(sides) if "shares" in notice)
    assert notice.startswith(
        f"The shares of steps differ: {step} has 40.1\u00a0% of the turns of sim (one) and"
        " 62.3\u00a0% of the turns of sim (other)."
    )
    assert notice in comparison_notices(quick(sides))


def test_shares_that_differ_by_chance_are_weighted_without_a_notice() -> None:
    base, cand = two(MIXED_OF_MIXES, replace(MIXED_OF_MIXES, seed=11))

    assert changed_shares(base, cand) == []
    assert ComparedTargets(base, cand).targets(P50).steps is not None


def test_the_step_of_each_value_is_assigned_correctly() -> None:
    """The steps have different latencies, so each latency shows its step."""
    base, cand = two(replace(MIXED_OF_MIXES, refused=5), MORE_SLOW)
    samples = base.sample(P50), cand.sample(P50)
    samples_of_both = ComparedTargets(base, cand).targets(P50)
    assert samples_of_both.steps is not None

    for side, sample, steps in zip((base, cand), samples, samples_of_both.steps, strict=True):
        of_step = side.sample(replace(P50, step=STEPS[2]))
        slow = steps[sample.values == of_step.values[0]][0]
        assert sample.values[steps == slow].tolist() == of_step.values.tolist()


SMALL = Plan(sessions=4, turns=2)


def test_a_run_without_target_names_can_be_compared(tmp_path: Path) -> None:
    empty = run(tmp_path / "nothing", Plan(sessions=0), targets=[])

    assert [side.label for side in parse_targets([run(tmp_path / "a", SMALL), empty])] == [
        "sim",
        "nothing",
    ]


NAMED_REFUSED: dict[str, tuple[list[str], str]] = {
    # (targets, error). PAIR has the targets west and east, ONE and OTHER have one target, COPY is a
    # copy of ONE.
    "an unknown target, with those there are": (
        ["PAIR:west", "PAIR:north"],
        "has no target north: its targets are: west, east",
    ),
    "one run of one target": (["ONE"], "has one target, sim: add a second run"),
    "one target alone": (["PAIR:west"], "a comparison needs two targets"),
    "a run of several targets among several runs": (
        ["PAIR", "OTHER"],
        "choose one: .*/pair:west or .*/pair:east",
    ),
    "a target that is named twice": (["ONE", "ONE/"], "is named 2 times"),
    "a copy": (
        ["ONE", "COPY"],
        r"copy is a copy of .*: both are the run one; a run cannot be compared with",
    ),
}


@pytest.mark.parametrize(("named", "message"), NAMED_REFUSED.values(), ids=NAMED_REFUSED)
def test_an_impossible_comparison_is_refused(
    tmp_path: Path, named: list[str], message: str
) -> None:
    for name, plan in (("PAIR", PAIRED), ("ONE", SMALL), ("OTHER", SMALL)):
        if any(side.startswith(name) for side in named):
            run(tmp_path / name.lower(), plan)
    if "COPY" in named:
        shutil.copytree(tmp_path / "one", tmp_path / "copy")
    with pytest.raises(UsageError, match=message):
        parse_targets(
            [
                re.sub("^[A-Z]+", lambda place: str(tmp_path / place[0].lower()), side)
                for side in named
            ]
        )


TITLES: dict[str, tuple[list[str], list[str]]] = {
    # (folders of runs with the same target, labels of the targets)
    "runs of different scripts have the name of the script": (
        ["20261126T030231Z-quickstart", "20261126T031210Z-agent"],
        ["sim (quickstart)", "sim (agent)"],
    ),
    "runs of the same script have the time of day": (
        ["20261126T031210Z-agent", "20261127T031219Z-agent"],
        ["sim (03:12:10)", "sim (03:12:19)"],
    ),
    "runs at the same time of day have the whole name": (
        ["20261126T031210Z-agent", "20261127T031210Z-agent"],
        ["sim (20261126T031210Z-agent)", "sim (20261127T031210Z-agent)"],
    ),
    "if one name has another form, all runs have the whole name": (
        ["20261126T031210Z-agent", "friday"],
        ["sim (20261126T031210Z-agent)", "sim (friday)"],
    ),
    "runs with the same name have their path": (
        ["/a/20261126T031210Z-agent", "/b/20261126T031210Z-agent"],
        ["sim (/a/20261126T031210Z-agent)", "sim (/b/20261126T031210Z-agent)"],
    ),
}


@pytest.mark.parametrize(("folders", "labels"), TITLES.values(), ids=TITLES)
def test_labels_of_the_same_target_have_a_short_part_that_differs(
    folders: list[str], labels: list[str]
) -> None:
    frames = frames_of(SMALL)

    assert (
        target_titles([(replace(frames, folder=Path(name)), "sim") for name in folders]) == labels
    )


@pytest.mark.parametrize(
    ("names", "labels"), [(("today", "night"), ["today", "night"]), (("one", "one"), ["a", "b"])]
)
def test_runs_of_one_target_are_called_by_their_names(
    names: tuple[str, str], labels: list[str]
) -> None:
    runs = [
        frames_of(Plan(targets=(target,)), scenario=name)
        for target, name in zip("ab", names, strict=True)
    ]

    assert target_titles([(run, target) for run, target in zip(runs, "ab", strict=True)]) == labels


@pytest.mark.parametrize(
    "written",
    ["runs/a", "./runs/a", "runs/a/", "runs//a", "runs/../runs/a", "linked/a"],
    ids=lambda name: name,
)
def test_a_target_is_found_for_any_spelling_of_its_run_s_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    run(tmp_path / "runs" / "a", PAIRED)
    (tmp_path / "linked").symlink_to(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)

    assert [side.name for side in parse_targets([f"{written}:west", f"{written}:east"])] == [
        "west",
        "east",
    ]
    with pytest.raises(UsageError, match=r"write ttfa{target:west} in the thresholds"):
        check(f"{written}:west")
