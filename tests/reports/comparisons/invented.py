"""Invented comparisons for tests of the page. They have every verdict and every scale of a
difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.base.errors import INCONCLUSIVE_STATUS
from bench.record.document import SequentialPlanEntry
from reports.analysis.comparisons.comparison import Comparison, Method
from reports.analysis.sequential.analysis import (
    AnalysisEntry,
    AnalyzedMetricEntry,
    End,
    analyzed,
    judged_pairs,
)
from reports.analysis.sequential.decide import STATUSES, Decision, is_decided
from reports.analysis.targets.compared_target import ComparedTarget
from reports.analysis.targets.fairness import FairnessCheck
from reports.analysis.targets.named import parse_targets
from reports.engine.judge import Judged
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.statistic_types.mean import Mean
from reports.metrics.statistic_types.quantile import Quantile
from reports.metrics.statistic_types.rate import Rate
from reports.results.value import IN_FAILURES, RESULT_OF_STATUS, Reason, VerdictName, too_few
from reports.statistics.differences import Difference, Margin, OneSidedBounds
from reports.statistics.group_sequential import InterimStatistic, by_se
from reports.statistics.threshold_estimate import of_equal_sessions
from reports.statistics.verdicts import NOT_AFTER_HOLM, Verdict
from tests.reports import synthetic
from tests.reports.synthetic import Plan


def ratio(
    base: float, candidate: float, low: float, high: float, margin: float = 0.2
) -> Difference:
    """Return a difference on the ratio scale. `low` and `high` are the two ends of its interval,
    as ratios.
    """
    d, a, b, m = (
        math.log(x) if x < math.inf else math.inf for x in (candidate / base, low, high, 1 + margin)
    )
    return Difference(
        "ratio",
        base,
        candidate,
        d,
        a,
        b,
        0.05,
        99,
        OneSidedBounds(a - m, b - m, 0.01),
        OneSidedBounds(-m - b, p=0.9),
    )


def points(
    base: float, candidate: float, low: float, high: float, margin: float = 0.01
) -> Difference:
    """Return a difference of two rates. `low` and `high` are the two ends of its interval, as
    differences of rates.
    """
    d = candidate - base
    worse, better = OneSidedBounds(low - margin, high - margin, 0.5), OneSidedBounds(-1, p=0.5)
    return Difference("points", base, candidate, d, low, high, 0.01, 99, worse, better)


def compared(
    metric: str,
    p: float | None,
    word: VerdictName,
    difference: Difference | None,
    *,
    primary: bool = False,
    candidate: str = "gateway",
    margin: Margin | None = None,
    reason: Reason | None = None,
    more: int | None = None,
    **asked: Any,
) -> Judged:
    """Return the comparison of the quantile `p` of a metric.

    If `p` is None, it is for a rate, or for the mean of the metric.
    """
    rate = difference is not None and difference.scale == "points"
    statistic = Rate() if rate else Mean() if p is None else Quantile(p)
    accepted = margin or (Margin(points=0.01) if rate else Margin(0.2))
    question = MetricSpec(metric, statistic, accepted, primary, **asked)
    counts = of_equal_sessions(2000, 200, 22), of_equal_sessions(2000, 200, 11)
    verdict = Verdict(word, reason, False, more)
    return Judged(
        spec=question,
        target=candidate,
        difference=difference,
        targets=counts,
        cluster="pair",
        verdict=verdict,
        baseline="direct",
    )


def all_compared(candidate: str = "gateway") -> tuple[Judged, ...]:
    """Return comparisons that have every verdict and every scale. Those of primary metrics come
    first.
    """
    endless = Difference(
        "ratio",
        600,
        math.inf,
        math.inf,
        0.2,
        math.inf,
        0.1,
        9,
        OneSidedBounds(0.1, math.inf, 0.2),
        OneSidedBounds(-1, p=0.9),
    )
    few = too_few("turn", 2_000, (1_200, 1_200), p=0.99)
    made = [
        ("ttfa", 0.95, "regressed", ratio(1600, 2640, 1.47, 1.87), {"primary": True}),
        ("ttfa", 0.5, "equivalent", ratio(1030, 1020, 0.97, 1.01), {"primary": True}),
        (
            "failure_rate",
            None,
            "not_regressed",
            points(0.011, 0.0055, -0.0115, 0.0005),
            {"primary": True},
        ),
        ("ttfa", 0.9, "inconclusive", ratio(1180, 1330, 1.05, 1.29), {"more": 260}),
        ("ttfa", 0.99, "inconclusive", ratio(1180, 6330, 0.5, 30), {"reason": few}),
        (
            "response_total",
            0.5,
            "inconclusive",
            ratio(2520, 3480, 1.21, 1.49),
            {"reason": NOT_AFTER_HOLM},
        ),
        ("connect_total", 0.5, "improved", ratio(324, 243, 0.71, 0.79), {}),
        ("input_transcript", 0.95, "inconclusive", endless, {"reason": IN_FAILURES}),
        ("audio_speed", None, "not_regressed", ratio(3.1, 3.0, 0.95, 1.02), {}),
        ("session_ready", 0.5, "inconclusive", None, {"reason": too_few("session", 20, (8, 8))}),
    ]
    return tuple(
        compared(m, p, word, d, candidate=candidate, **more)  # type: ignore[arg-type]
        for m, p, word, d, more in made
    )


CHECKS = (
    FairnessCheck("run_valid", ["valid", "valid"], "pass"),
    FairnessCheck("throttled", [0.0, 0.001], "pass"),
    FairnessCheck("what differs", ["gateway 1.8.4", "gateway 1.9.0"], "informational"),
)
LATE = {"value": 14.2, "limit": 10.0, "unit": "ms", "note": "", "remedy": "run with --processes 2"}
CAUSE = Reason("send_delay", LATE | {"status": "invalid", "labels": []})
UNFAIR = FairnessCheck("run_valid", ["valid", "invalid"], "fail", [CAUSE])


@cache
def invented_targets(
    *targets: str, sessions: int = 60, **changes: Any
) -> tuple[ComparedTarget, ...]:
    """Return the targets of an invented interleaved run. The first target is the baseline."""
    plan = Plan(
        sessions=sessions * len(targets), turns=10, targets=targets, paired=True, seconds=600
    )
    plan = replace(plan, **({"failed": 0.01} | changes))
    with TemporaryDirectory() as folder:
        return parse_targets([synthetic.write(Path(folder) / "invented", plan, interleaved=True)])


def comparison(
    *candidates: str, checks: tuple[FairnessCheck, ...] = CHECKS, **changes: Any
) -> Comparison:
    """Return a comparison of the targets of an invented run. Its comparisons are those of
    `all_compared`.
    """
    named = candidates or ("gateway",)
    found = sorted(
        (f for name in named for f in all_compared(name)), key=lambda f: not f.spec.primary
    )
    parts: dict[str, Any] = {
        "targets": invented_targets("direct", *named),
        "comparisons": tuple(found),
        "checks": checks,
        "method": Method("pairs", 60, 10_000, 7, 0.95, 3),
        "notices": (),
    }
    return Comparison(**(parts | changes))


LOOKS = (50, 100, 150, 200, 250)
PRIMARY = (
    MetricSpec("ttfa", Quantile(0.95), Margin(0.2), primary=True),
    MetricSpec("failure_rate", Rate(), Margin(points=0.01), primary=True),
)


def decided(spec: MetricSpec, verdict: VerdictName, analysis: int, *numbers: float) -> Judged:
    """Return the decision on a metric. `numbers` are the difference, both bounds, and the
    corrected estimate.
    """
    d, low, high, corrected = numbers
    difference = Difference(spec.scale, math.nan, math.nan, d, low, high)
    return judged_pairs(spec, Verdict(verdict), difference, analysis=analysis, corrected=corrected)


RULINGS = (
    decided(
        PRIMARY[0], "regressed", 3, math.log(1.47), math.log(1.21), math.log(1.7), math.log(1.45)
    ),
    decided(PRIMARY[1], "not_regressed", 2, 0.001, -0.005, 0.007, 0.001),
)


def analysis_at(
    k: int, *seen: InterimStatistic | AnalyzedMetricEntry, c: float | None = None
) -> AnalysisEntry:
    """Return the interim analysis number `k`. The first one has the number 0."""
    both = seen or (
        by_se(math.log(1.4 + k / 30), math.log(1.4 + k / 30) - math.log(1.2), 0.05, 49.0),
        by_se(0.001, -0.009, 0.003, 49.0),
    )
    metrics = tuple(
        one if isinstance(one, AnalyzedMetricEntry) else analyzed(spec.name, one)
        for spec, one in zip(PRIMARY, both, strict=True)
    )
    return AnalysisEntry(
        LOOKS[k], LOOKS[k] / 250, 2.5 - k / 4 if c is None else c, 3.0, metrics, 2.0 * LOOKS[k]
    )


def decision(
    reason: End = "regressed",
    analyses: tuple[AnalysisEntry, ...] | None = None,
    rulings: tuple[Judged, ...] = RULINGS,
    pairs: int = 157,
) -> Decision:
    """Return the decision of a run with a quantile and a rate as primary metrics.

    The run ended at its third interim analysis.
    """
    done = tuple(map(analysis_at, range(3))) if analyses is None else analyses
    used, status = done[-1].pairs if done else 0, STATUSES.get(reason, INCONCLUSIVE_STATUS)
    ruled = rulings if done else ()
    plan = SequentialPlanEntry(
        pairs=250,
        analyses=[*LOOKS],
        primary_metrics={"ttfa": ["p(95)<+20%"], "failure_rate": ["rate<+1pt"]},
        alpha=0.05,
        spending="a t^2",
        bootstrap_samples=300,
    )
    return Decision(
        run=invented_targets("direct", "gateway")[0].run,
        run_id="invented",
        baseline="direct",
        candidate="gateway",
        simulated=True,
        ended=True,
        stopped=reason != "pending",
        result=RESULT_OF_STATUS[status],
        exit_status=status,
        headline="",
        end=reason,
        invalid=[],
        stop_reason="",
        analyses_made=len(done),
        pairs=used,
        pairs_after=pairs - used,
        plan=plan,
        seed=7,
        analyses=done,
        primary_metrics=(),
        stopped_by_analysis=is_decided(reason, ())
        and reason not in ("final_analysis", "stopped_by_user"),
        comparisons=tuple(map(_found, ruled)),
    )


def _found(ruling: Judged) -> Judged:
    """Return the comparison of a decided metric. The baseline's value is 1.6 s, or 1 % of the
    turns.
    """
    assert ruling.difference is not None
    is_rate, d = ruling.spec.kind == "rate", ruling.difference.d
    base = 0.01 if is_rate else 1600.0
    return replace(
        ruling,
        target="gateway",
        difference=replace(
            ruling.difference, baseline=base, candidate=base + d if is_rate else base * math.exp(d)
        ),
        targets=(of_equal_sessions(2000, 200, 22), of_equal_sessions(2000, 200, 11)),
        baseline="direct",
        peers=True,
    )


PAGES: dict[str, Callable[[], dict[str, Any]]] = {
    "verdicts": lambda: {},
    "invalid": lambda: {"checks": (UNFAIR, *CHECKS[1:])},
    "nothing": lambda: {"comparisons": (), "checks": ()},
    "no primary metric": lambda: {"comparisons": all_compared()[3:]},
    "rates alone": lambda: {
        "comparisons": (
            compared("failure_rate", None, "equivalent", points(0, 0, 0, 0), primary=True),
        )
    },
    "few turns": lambda: {"targets": invented_targets("direct", "gateway", sessions=2)},
    "all failed": lambda: {"targets": invented_targets("direct", "gateway", failed=1.0)},
    "notices": lambda: {
        "notices": (Reason("incomplete_pairs", {"there": [2]}),),
        "targets": invented_targets("direct", "gateway", simulated=False),
    },
}
"""The changes to the displayed comparison for each type of page."""
