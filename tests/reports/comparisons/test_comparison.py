"""Complete comparisons: their metrics, verdicts and steps, and runs that were ended by interim
analyses.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bench.base.errors import UsageError
from reports.analysis.check.check import check_of
from reports.analysis.comparisons.comparison import Comparison, measurements
from reports.analysis.targets.named import filtered_by, matched_to_the_first, parse_targets
from reports.engine.judge import Judged
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.statistic_types.quantile import Quantile, margin_of
from reports.metrics.statistic_types.rate import Rate
from reports.pages.comparisons import document
from reports.pages.comparisons.page import comparison_page
from reports.statistics.baselines import RUN_SD
from reports.statistics.differences import LEVEL, Inference, Margin
from reports.text.decision_sentences import decision_headline
from tests.reports.comparisons.build import DRAWS, quick, run, targets, two
from tests.reports.comparisons.invented import PRIMARY as DECIDED_METRICS
from tests.reports.edited import Row, edit, waiting
from tests.reports.forms import comparison_notices, comparison_text
from tests.reports.planned import LOOSE, TIGHT, UNDECIDED, planned
from tests.reports.planned import TWO as DECIDED_TWO
from tests.reports.shared import folder as shared_folder
from tests.reports.synthetic import Plan
from tools.schemas import schemas

RUN = Plan(sessions=60, turns=10)
PAIRED = Plan(sessions=120, turns=10, targets=("west", "east"), paired=True)
TTFA = MetricSpec("ttfa", Quantile(0.5), margin_of(0.5), primary=True)
FAILURES = MetricSpec("failure_rate", Rate(), Margin(points=0.01), primary=True)
SPECS = [TTFA, replace(TTFA, statistic=Quantile(0.95), margin=margin_of(0.95)), FAILURES]


def of(comparison: Comparison, name: str, candidate: str = "") -> Judged:
    return next(
        compared
        for compared in comparison.comparisons
        if compared.spec.name == name and compared.target == (candidate or compared.target)
    )


SLOW = replace(RUN, median_ms=1200)
NAMES = ("ttfa p50", "ttfa p95", "failure_rate")
JUDGED: dict[str, tuple[Plan, Plan, list[MetricSpec] | None, dict[str, str], int]] = {
    # (first run, second run, metric specs, verdicts on primary metrics, exit status)
    "a target that is twice as slow has regressed": (
        RUN,
        SLOW,
        None,
        dict(zip(NAMES, ("regressed", "regressed", "inconclusive"), strict=True)),
        1,
    ),
    "a target that is twice as fast has improved": (
        SLOW,
        replace(RUN, seed=8),
        SPECS,
        dict(zip(NAMES, ("improved", "improved", "inconclusive"), strict=True)),
        3,
    ),
    "a target with only failed turns has regressed": (
        RUN,
        replace(RUN, failed=1.0),
        SPECS,
        dict.fromkeys(NAMES, "regressed"),
        4,
    ),
    "two targets without turns are invalid": (
        Plan(sessions=0),
        Plan(sessions=0, seed=8),
        SPECS,
        dict.fromkeys(NAMES, "inconclusive"),
        4,
    ),
    "a primary metric without values does not pass": (
        RUN,
        replace(RUN, kinds=("manual",)),
        [TTFA],
        {"ttfa p50": "inconclusive"},
        4,
    ),
    "a comparison without primary metrics does not pass": (RUN, replace(RUN, seed=8), [], {}, 4),
    "a primary metric of an unknown step does not pass": (
        RUN,
        replace(RUN, seed=8),
        [replace(TTFA, step="none")],
        {"ttfa none p50": "inconclusive"},
        3,
    ),
}


@pytest.mark.parametrize(
    ("first", "second", "asked", "words", "status"), JUDGED.values(), ids=JUDGED
)
def test_two_runs_have_verdicts_and_an_exit_status(
    first: Plan, second: Plan, asked: list[MetricSpec] | None, words: dict[str, str], status: int
) -> None:
    comparison = quick(two(first, second), **({} if asked is None else {"specs": asked}))

    assert {compared.spec.name: compared.verdict.name for compared in comparison.primary} == words
    assert comparison.exit_status == status


def test_a_comparison_of_two_runs_is_provisional_with_an_assumed_run_to_run_variation() -> None:
    sides = two(RUN)
    comparison = quick(sides)
    known = Inference(LEVEL, resamples=DRAWS, seed=comparison.method.seed)
    (without,) = measurements(matched_to_the_first(sides), [TTFA], known)
    wide, narrow = of(comparison, "ttfa p50").difference, without.difference

    assert comparison.method.run_sd == RUN_SD
    assert all(compared.verdict.provisional for compared in comparison.comparisons)
    assert wide is not None
    assert narrow is not None
    assert wide.high - wide.low > narrow.high - narrow.low


def test_each_candidate_is_compared_with_the_first_target_and_holm_corrects_over_all() -> None:
    comparison = quick(targets(Plan(sessions=180, turns=10, targets=("a", "b", "c"), paired=True)))

    assert [compared.target for compared in comparison.primary] == ["b"] * 3 + ["c"] * 3
    assert comparison.method.holm == 6
    primary = [compared.spec.primary for compared in comparison.comparisons]
    assert primary == sorted(primary, reverse=True)


def test_pairs_without_the_third_target_still_count_for_the_second(tmp_path: Path) -> None:
    folder = run(tmp_path, Plan(sessions=180, turns=5, targets=("a", "b", "c"), paired=True))
    edit(
        tmp_path,
        "sessions",
        lambda _, row: None if row["target"] == "c" and row["pair"] % 2 else row,
    )
    sides = parse_targets([folder])
    alone, together = quick(filtered_by(sides[:2]), specs=[TTFA]), quick(sides, specs=SPECS)

    assert [compared.each("sessions") for compared in together.primary] == [[60, 60]] * 3 + [
        [30, 30]
    ] * 3
    assert of(together, "ttfa p50").difference == of(alone, "ttfa p50").difference
    assert (together.method.design, together.method.unit) == ("pairs", 30)


def test_a_comparison_is_reproducible_and_independent_of_other_metrics() -> None:
    sides = two(RUN)
    first, again, alone = quick(sides), quick(sides), quick(sides, specs=[TTFA])

    assert repr(first.comparisons) == repr(again.comparisons)  # NaN is not equal to itself
    assert alone.comparisons[0].difference == of(first, "ttfa p50").difference
    assert alone.method.seed == first.method.seed


def test_a_metric_that_is_neither_better_nor_worse_is_refused() -> None:
    with pytest.raises(UsageError, match="session_duration cannot be compared"):
        quick(two(RUN), specs=[replace(TTFA, metric="session_duration")])


def test_a_drift_of_one_target_is_detected_and_makes_verdicts_provisional(tmp_path: Path) -> None:
    run(tmp_path, PAIRED)
    late = {f"s{at:05d}": round(3e6 * at) for at in range(1, 120, 2)}
    edit(tmp_path, "turns", lambda _, row: _later(row, late.get(row["session_id"], 0)))
    calm, own = (
        quick(sides, specs=[TTFA, FAILURES])
        for sides in (targets(PAIRED), parse_targets([tmp_path]))
    )

    assert not of(calm, "ttfa p50").verdict.provisional
    assert of(own, "ttfa p50").verdict.provisional
    assert not of(own, "failure_rate").verdict.provisional
    assert any(
        notice.startswith("Latency of one target drifted (ttfa")
        for notice in comparison_notices(own)
    )
    assert not any("drifted" in notice for notice in comparison_notices(calm))


def _later(row: Row, by_ns: int) -> Row:
    first = row["first_audio_at_ns"]
    return row | {"first_audio_at_ns": None if first is None else first + by_ns}


TWO = Plan(sessions=160, turns=4, targets=("west", "east"), paired=True)


@cache
def plain() -> Comparison:
    return quick(targets(TWO))


@cache
def slowed(times: float, step: str = "") -> Comparison:
    """Return a comparison after the latencies of target `east` in one step were multiplied by
    `times`.

    If `step` is empty, the latencies of all steps were multiplied.
    """
    made = run(shared_folder() / "run", TWO)
    waiting(
        Path(made),
        lambda row: times if row["target"] == "east" and step in ("", row["step"]) else 1.0,
    )
    return quick(parse_targets([made]))


def test_the_slowed_step_is_the_worst_step_and_is_named() -> None:
    names = [one.spec.step for one in plain().steps]
    slow = names[-1]
    found = slowed(2.0, slow)

    assert [found.steps[0].spec.step, found.steps[0].verdict.name] == [slow, "regressed"]
    assert {one.spec.step for one in found.steps} == set(names)
    assert not any(one.spec.primary for one in found.steps)
    assert f"worst step {slow} of east, ttfa p50 +" in " ".join(comparison_text(found).split())
    assert (
        "✕ regressed (secondary; the worst of 4 steps, with an interval that is not corrected for"
        " this choice)" in " ".join(comparison_text(found).split())
    )


def test_two_runs_and_one_step_scripts_have_no_typical_change_and_no_worst_step() -> None:
    two_runs = quick(two(Plan(sessions=30, turns=4)))
    short = quick(targets(replace(TWO, turns=1)))

    for found in (two_runs, short):
        assert found.steps == ()
        assert not any(one.spec.kind == "typical_change" for one in found.comparisons)
        assert "worst step" not in comparison_text(found)


SHORT = replace(DECIDED_TWO, sessions=60)


def run_of(
    folder: Path, primary: dict[str, list[str]], plan: Plan = DECIDED_TWO, **document: Any
) -> str:
    return run(folder, plan, sequential_plan=planned(primary), **document)


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return quick(parse_targets([run_of(tmp_path_factory.mktemp("tight") / "run", TIGHT)]))


@pytest.mark.parametrize(("primary", "status"), [(LOOSE, 0), (TIGHT, 1), (UNDECIDED, 3)])
def test_the_decision_of_interim_analyses_is_the_status_of_compare_and_check(
    tmp_path: Path, tight: Comparison, primary: Any, status: int
) -> None:
    found = tight if primary is TIGHT else quick(parse_targets([run_of(tmp_path / "run", primary)]))
    decision = found.decision

    assert decision is not None
    assert found.exit_status == decision.exit_status == check_of(decision.run).exit_status == status
    assert decision_headline(decision).replace("\u00a0", " ") in " ".join(
        comparison_text(found, 200).split()
    )


def test_the_file_and_the_page_contain_the_decision(tight: Comparison, tmp_path: Path) -> None:
    paths = document.write_comparison(tight, comparison_page(tight), tmp_path)
    data = json.loads(paths.json.read_text(encoding="utf-8"))

    jsonschema.validate(data, schemas()["compare"])
    assert (data["result"], data["verdicts"]) == ("fail", {"west": "regressed"})
    assert (
        data["sequential"]["exit_status"],
        data["sequential"]["analyses"],
        data["sequential"]["analysis"],
    ) == (
        1,
        3,
        2,
    )
    assert data["headline"].startswith(
        "west is slower than east: half of the turns take longer than "
    )
    assert "When was it decided?" in paths.html.read_text(encoding="utf-8")


def test_pairs_that_the_end_of_the_run_cut_are_counted(tmp_path: Path) -> None:
    folder = Path(run(tmp_path / "run", SHORT))
    whole = quick(targets(SHORT), specs=DECIDED_METRICS)
    edit(
        folder, "sessions", lambda at, row: row | {"outcome": "unfinished"} if at < 3 else row
    )  # both sessions of one pair, and one session of another pair

    assert not any("cut by the end" in notice for notice in comparison_notices(whole))
    assert any(
        notice.startswith("2\u00a0pairs of the 30 were cut by the end of the run")
        for notice in comparison_notices(quick(parse_targets([folder]), specs=DECIDED_METRICS))
    )


def test_interim_analyses_are_ignored_with_a_notice_if_the_targets_are_swapped(
    tight: Comparison,
) -> None:
    found = quick(filtered_by(tight.targets[::-1]))

    assert found.decision is None
    assert any("was ended by interim analyses" in notice for notice in comparison_notices(found))


def test_failure_rates_are_compared_in_percentage_points() -> None:
    sides = two(RUN, Plan(sessions=60, turns=10, failed=0.2))
    compared = of(quick(sides, specs=[FAILURES]), "failure_rate")

    assert compared.verdict.name == "regressed"
    assert compared.difference is not None
    assert compared.difference.scale == "points"
    assert compared.difference.d == pytest.approx(compared.counts.failed / compared.counts.turns)
