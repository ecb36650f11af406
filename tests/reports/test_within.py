"""Shares of turns by a deadline: `within(2000)`, in thresholds, comparisons, sample sizes and
interim analyses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.base.errors import UsageError
from reports.analysis.check.check import check_of
from reports.analysis.sample_size import power_spec, sample_size
from reports.analysis.sequential.decide import decision_of
from reports.analysis.sequential.plan import plan_analyses
from reports.analysis.targets.named import parse_targets, targets_of
from reports.analysis.trends.trend import trend_spec
from reports.data.runs import load_for_report
from reports.engine.judge import finding_of
from reports.formatting import NBSP
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.statistic_types.rate import Within, estimate_rate
from reports.metrics.thresholds import by_metric, parse, parse_all
from reports.pages.sample_size import sample_size_blocks
from reports.render.terminal import render_lines
from reports.statistics.differences import Inference, Margin
from reports.text.check_sentences import why
from reports.text.metric_sentences import sentence
from reports.text.reasons import reason_text
from rtbench.capacity.level_evaluation import violations
from rtbench.capacity.load_thresholds import allowed_share
from tests.reports import synthetic
from tests.reports.comparisons.build import quick, targets
from tests.reports.edited import Row, edit
from tests.reports.planned import planned
from tests.reports.synthetic import MS, Plan

DEADLINE = 2_000
PAIRED = Plan(sessions=120, turns=5, targets=("before", "after"), paired=True)


def answered(
    folder: Path, plan: Plan, late: Mapping[str, int], every: int = 10, **document: Any
) -> Path:
    """Write a run in which the first `late` of every `every` turns of a target are answered after
    2.5 s.

    All other turns are answered after exactly 2 s. Failed turns keep having no answer.
    """
    synthetic.write(folder, plan, **{"interleaved": plan.paired} | document)
    turns = dict.fromkeys(plan.targets, 0)

    def change(_: int, row: Row) -> Row:
        target, ended = row["target"], row["outcome"] == "ok"
        turns[target] += ended
        answer_ms = 2_500 if (turns[target] - 1) % every < late.get(target, 0) else DEADLINE
        at_ns = row["speech_end_at_ns"] + answer_ms * MS if ended else None
        return row | {"first_audible_at_ns": at_ns}

    return edit(folder, "turns", change)


def share_of(folder: Path, metric: str = "voice_to_voice", deadline: float = DEADLINE) -> list[int]:
    """Return the number of turns by the deadline, and the number of all turns that count."""
    (side,) = targets_of(load_for_report(folder))
    return [
        int(part.sum()) for part in side.in_time(MetricSpec(metric, Within(deadline)), deadline)
    ]


def result_of(folder: Path, text: str) -> Any:
    """Return the result of a threshold on `voice_to_voice`."""
    (result,) = check_of(folder, [parse("voice_to_voice", text)]).thresholds
    return result


@pytest.mark.parametrize("text", ["within(2000)>0.95", "within(2s)>95%", "within( 2000ms ) > .95"])
def test_a_deadline_is_in_ms_or_has_a_unit(text: str) -> None:
    threshold = parse("function_voice_to_voice", text)

    assert (threshold.statistic, threshold.limit, threshold.p) == (Within(2_000), 0.95, None)
    assert threshold.about.name == "function_voice_to_voice within 2,000 ms"
    assert threshold.statistic.aggregate == "within(2000)"


def test_a_stored_threshold_is_read_again() -> None:
    written = [parse("voice_to_voice{step:greeting}", "within(2s)>=95%")]

    assert parse_all(by_metric(written)) == written


def test_a_turn_exactly_at_the_deadline_is_in_time(tmp_path: Path) -> None:
    folder = answered(tmp_path, Plan(sessions=20, turns=10), {"sim": 3})

    assert share_of(folder) == [140, 200]
    assert share_of(folder, deadline=1_999.9) == [0, 200]
    assert share_of(folder, deadline=2_500) == [200, 200]


def test_turns_that_failed_or_did_not_start_are_late(tmp_path: Path) -> None:
    plan = Plan(sessions=20, turns=10, failed=0.1, refused=2, abandoned=3)
    folder = answered(tmp_path, plan, {})
    outcomes = load_for_report(folder).turns["outcome"].astype(str)
    failed = int((~outcomes.isin(["ok", "unfinished"])).sum())

    assert failed > 0
    assert share_of(folder) == [200 - 3 - failed, 200 - 3 + 2 * 10]


def test_a_failed_turn_is_late_even_if_the_metric_is_no_latency(tmp_path: Path) -> None:
    plan = Plan(sessions=20, turns=10, failed=0.1, refused=2)
    folder = synthetic.write(tmp_path, plan)
    edit(
        folder,
        "turns",
        lambda _, row: row | {"dead_air_ns": 700 * MS if row["outcome"] == "ok" else None},
    )
    good = int((load_for_report(folder).turns["outcome"].astype(str) == "ok").sum())

    assert share_of(folder, "dead_air", deadline=700) == [good, 220]
    assert share_of(folder, "dead_air", deadline=699) == [0, 220]


def test_a_metric_of_sessions_has_the_share_of_sessions() -> None:
    (side,) = targets(Plan(sessions=40, turns=1, refused=10))
    never, always = (
        side.in_time(MetricSpec("connect_total", Within(d)), d) for d in (0.001, 3_600_000)
    )

    assert [int(part.sum()) for part in never] == [0, 50]
    assert [int(part.sum()) for part in always] == [40, 50]


@pytest.mark.parametrize(
    ("late", "sessions", "result"), [(0, 60, "pass"), (1, 60, "fail"), (0, 50, "inconclusive")]
)
def test_a_limit_on_a_share_is_decided_as_that_of_a_rate(
    tmp_path: Path, late: int, sessions: int, result: str
) -> None:
    found = result_of(
        answered(tmp_path, Plan(sessions=sessions, turns=10), {"sim": late}), "within(2000)>0.95"
    )
    twin = estimate_rate((np.full(sessions, 10.0 - late), np.full(sessions, 10.0)), "higher")

    assert found.result == result
    assert (found.estimate.value, found.estimate.lower, found.estimate.upper) == (
        twin.value,
        twin.lower,
        twin.upper,
    )


def test_a_share_without_a_late_turn_names_the_sessions_that_would_decide_it(
    tmp_path: Path,
) -> None:
    found = result_of(answered(tmp_path, Plan(sessions=50, turns=10), {}), "within(2000)>0.95")

    assert (
        why(found).replace(NBSP, " ")
        == "with no late turn in 50 sessions the lower bound is 94.2 %: about 59 sessions are"
        " needed"
    )


def test_a_share_of_few_turns_is_two_counts(tmp_path: Path) -> None:
    found = result_of(answered(tmp_path, Plan(sessions=9, turns=1), {"sim": 2}), "within(2000)>0.5")

    assert why(found) == "too few turns to decide: 7 of 9; a rate needs 10 turns"


def test_the_share_of_an_uncertain_metric_is_inconclusive(tmp_path: Path) -> None:
    plan = Plan(sessions=60, turns=10, inexact=("voice_to_voice",))
    found = result_of(answered(tmp_path, plan, {}), "within(2000)>0.5")

    assert (found.result, found.reason.code) == ("inconclusive", "uncertain")


@pytest.mark.parametrize(("margin", "verdict"), [(0.05, "regressed"), (0.2, "equivalent")])
def test_the_shares_of_two_targets_differ_in_points(
    tmp_path: Path, margin: float, verdict: str
) -> None:
    sides = parse_targets([answered(tmp_path, PAIRED, {"after": 1})])
    (found,) = quick(
        sides, specs=[MetricSpec("voice_to_voice", Within(DEADLINE), Margin(points=margin), True)]
    ).comparisons

    assert found.difference is not None
    assert (found.difference.baseline, found.difference.candidate) == (1.0, 0.9)
    assert (found.difference.scale, found.difference.d) == ("points", pytest.approx(-0.1))
    assert (found.verdict.name, found.direction) == (verdict, "worse")


def test_several_deadlines_of_one_metric_are_compared_separately(tmp_path: Path) -> None:
    sides = parse_targets([answered(tmp_path, PAIRED, {"after": 1})])
    asked = [
        MetricSpec("voice_to_voice", Within(d), Margin(points=0.05), True)
        for d in (DEADLINE, 2_500)
    ]
    all_compared = quick(sides, specs=asked).comparisons

    assert [round(f.difference.d, 6) for f in all_compared if f.difference] == [-0.1, 0]
    assert [finding_of(f).value.statistic for f in all_compared] == ["within(2000)", "within(2500)"]
    assert [finding_of(f).title for f in all_compared] == [
        "voice_to_voice within 2,000 ms",
        "voice_to_voice within 2,500 ms",
    ]


def test_a_regressed_share_is_one_sentence(tmp_path: Path) -> None:
    found = result_of(answered(tmp_path, PAIRED, {"after": 1}), "within(2000)>-5pt")

    assert (
        sentence(found).replace(NBSP, " ")
        == "after is worse than before: voice_to_voice within 2,000 ms is 90.0 %, 10.0 points less"
        " than on before. With 95 % confidence it is at least 7.82 points less; the margin is 5"
        " points."
    )


def test_a_stored_baseline_has_no_share(tmp_path: Path) -> None:
    (side,) = targets(Plan(sessions=30, turns=5))
    spec = parse("ttfa", "within(800)>-1pt").spec

    with pytest.raises(UsageError, match="stored baselines contain no shares by a deadline"):
        spec.statistic.against_stored(side, spec, [], Inference())


@pytest.mark.parametrize(("late", "result"), [({}, "not_regressed"), ({"after": 1}, "regressed")])
def test_interim_analyses_decide_a_share(tmp_path: Path, late: dict[str, int], result: str) -> None:
    plan = planned({"voice_to_voice": ["within(2000)>-5pt"]})
    folder = answered(tmp_path, replace(PAIRED, sessions=240), late, sequential_plan=plan)

    assert decision_of(load_for_report(folder)).end == result


def test_a_plan_that_cannot_pass_names_the_pairs_that_can(tmp_path: Path) -> None:
    file = tmp_path / "ci.yaml"
    file.write_text("ttfa: within(800)>-1pt\n", encoding="utf-8")
    request = {
        "thresholds": [str(file)],
        "targets": ["a", "b"],
        "scripts": [],
        "pairs": 100,
        "every": 50,
        "metric": "",
    }
    _, (reason,) = plan_analyses(request)
    notice = reason_text(reason).replace("\u00a0", " ")

    assert "cannot pass with 100 pairs, because with no late turn in 100 pairs" in notice.replace(
        "sessions", "pairs"
    )


def test_a_sample_size_is_planned_as_that_of_a_rate(tmp_path: Path) -> None:
    folder = answered(tmp_path, PAIRED, {"before": 1, "after": 1})
    size = sample_size(folder, power_spec("voice_to_voice:within2000", None, None, 0.9))
    answer = render_lines(sample_size_blocks(size), width=200)

    assert (size.kind, size.deadline_ms, size.sessions_to_pass) == ("within", DEADLINE, 299)
    assert "to detect −3 points with a margin of 1 point" in answer
    assert "to pass, none late" in answer


def test_a_trend_has_no_shares() -> None:
    with pytest.raises(UsageError, match="is not in the summaries of runs"):
        trend_spec("ttfa:within(800)")


def test_a_threshold_may_be_a_share_by_a_deadline(tmp_path: Path) -> None:
    threshold = parse("voice_to_voice", "within(2s)>90%")
    (side,) = targets_of(
        load_for_report(answered(tmp_path, Plan(sessions=20, turns=10, failed=0.05), {"sim": 3}))
    )
    late, turns = (int(part.sum()) for part in violations(side, threshold))
    twin = violations(side, parse("voice_to_voice", "p(90)<=2s"))

    assert allowed_share(threshold) == pytest.approx(0.1)
    assert (late, turns) == tuple(int(part.sum()) for part in twin)
