"""`rtbench sample-size`: the number of sessions, the time, and the cost that are needed to detect a
change.

They are estimated from a pilot run.
"""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from bench.base.errors import UsageError
from bench.base.units import S_PER_MINUTE
from bench.catalogue.metrics import SLOPE
from bench.catalogue.metrics import Better as Direction
from bench.record.document import ValidityStatus
from bench.record.run_list import split_name
from reports.analysis.summary.cost import money_of
from reports.analysis.summary.run_validity import validity_of
from reports.analysis.summary.summary import period_of
from reports.analysis.targets.compared_target import ABSENT, ComparedTarget, Targets
from reports.analysis.targets.metric_specs import by_stratum, common_strata
from reports.analysis.targets.named import matched, refuse_unknown, targets_of
from reports.data.runs import RunFrames, load_for_report, run_id_of
from reports.data.samples import samples_of
from reports.data.turns import measured_sessions
from reports.formatting import breakable, plural
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.statistic_types.quantile import Quantile
from reports.metrics.statistic_types.rate import FAILURES
from reports.metrics.thresholds import metric_option, quoted
from reports.results.json_entries import ClosedJsonEntry, Number
from reports.statistics.bootstrap import seed_of
from reports.statistics.differences import LEVEL, Margin
from reports.statistics.power import (
    BETTER_SESSIONS,
    PRIMARY_METRICS,
    distance_of,
    variability_of,
)
from reports.statistics.quantiles import quantiles
from reports.statistics.verdicts import SESSIONS

_SHARE = re.compile(r"\+?\s*(\d+(?:\.\d+)?|\.\d+)\s*(%|pt)?")
TIMES_MARGIN = 2
EFFECT_POINTS = 0.03
"""The default effect to detect. For a rate it is EFFECT_POINTS, which is 3 points. For other
metrics it is TIMES_MARGIN times the margin.
"""


class PowerSpec(NamedTuple):
    """The planned test of one metric.

    `detect` is the true effect that the test detects with the probability `power`. It and `margin`
    are in points for a rate, and otherwise the share of an increase or, if more is better, of a
    decrease.
    """

    spec: MetricSpec
    detect: float
    margin: float
    power: float
    primary_metrics: int = PRIMARY_METRICS

    @property
    def level(self) -> float:
        """The type I error that Holm's correction allows for this metric if it is the first
        metric to be rejected.
        """
        return LEVEL / self.primary_metrics

    @property
    def effect(self) -> float:
        """The effect on the scale of a comparison: in points, or as a ratio. A decrease by s is
        1 / (1 − s) − 1.
        """
        return _compared(self.detect, self.spec)

    @property
    def distance(self) -> float:
        """The distance from the margin to the effect: a difference of rates, or of logs."""
        if self.spec.scale == "points":
            return self.detect - self.margin
        return distance_of(self.effect, self.spec.margin.ratio)


def power_spec(
    metric: str,
    detect: str | None,
    margin: str | None,
    power: float,
    primary_metrics: int = PRIMARY_METRICS,
) -> PowerSpec:
    """Parse the options of `rtbench sample-size`. Raise UsageError with the allowed values."""
    threshold_metric, statistic = metric_option(metric, "p95")
    if threshold_metric.unit == SLOPE:
        raise UsageError(
            f"{threshold_metric.name} is a slope, which has no sample size to plan for: plan for"
            " ttfa"
        )
    # for a statistic that cannot be planned, this raises even if a margin is given
    default = statistic.default_margin(threshold_metric.name)
    spec = MetricSpec(threshold_metric.name, statistic, default)
    is_rate = spec.scale == "points"
    is_decrease = spec.scale != "points" and spec.better == "higher"
    default_share = default.points if is_rate else default.ratio
    if is_decrease:
        default_share = round(1 - 1 / (1 + default.ratio), 12)
    accepted = _share(margin, "--margin") if margin else default_share
    effect = (
        _share(detect, "--detect")
        if detect
        else EFFECT_POINTS
        if is_rate
        else TIMES_MARGIN * accepted
    )
    if is_decrease and effect >= 1:
        raise UsageError(
            f"{spec.metric} is better if it is higher, so an effect is a decrease, which is below"
            f" 100 %, not {100 * effect:g} %: lower --detect or --margin"
        )
    if not effect > accepted:
        unit = "points" if is_rate else "%"
        raise UsageError(
            f"an effect of {100 * effect:g} {unit} must be larger than the margin of"
            f" {100 * accepted:g} {unit}: raise --detect or lower --margin"
        )
    if not 0.5 <= power < 1:
        raise UsageError(f"--power must be from 0.5 to 0.99, not {power:g}")
    if primary_metrics < 1:
        raise UsageError(
            f"--primary must be 1 or more, not {primary_metrics}: a check of one metric has 1"
        )
    compared = Margin(**{"points" if is_rate else "ratio": _compared(accepted, spec)})
    return PowerSpec(replace(spec, margin=compared), effect, accepted, power, primary_metrics)


def _compared(share: float, spec: MetricSpec) -> float:
    """Return a share as a user writes it on the scale on which the metric is compared."""
    return 1 / (1 - share) - 1 if spec.scale != "points" and spec.better == "higher" else share


def _share(text: str, option: str) -> float:
    """Parse the value of an option as a share, such as 20%, 3pt, or 0.2."""
    match = _SHARE.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{option} {quoted(text)} is not a share: write 20% (for rates, 3% is three percentage"
            " points)"
        )
    number = float(match[1]) / (100 if match[2] else 1)
    if not match[2] and number > 1:
        raise UsageError(f"{option} {quoted(text)} is more than 100%: write {text}% or 0.{text}")
    return number


class SampleSize(ClosedJsonEntry):
    """The planned sample size. A value is null if the pilot has no value for it."""

    schema: Literal[3]
    pilot: str
    validity: ValidityStatus
    """of the pilot"""
    simulated: bool
    """whether the pilot is a run against the simulator"""
    targets: list[str]
    title: str
    metric: str
    kind: str
    """quantile, rate or within"""
    p: float | None
    deadline_ms: float | None
    """of within, the share of turns that have the metric by a deadline"""
    better: Direction
    """of the metric: if higher, the effect and the margin are decreases"""
    detect: float
    margin: float
    power: float
    alpha: float
    primary_metrics: int
    """primary metrics of the check, which share the error level (Holm)"""
    paired: bool
    pilot_sessions: int
    sessions: int
    """of each target; pairs if the pilot has pairs"""
    sessions_single_metric: int
    """the number for a single primary metric"""
    sessions_to_pass: int | None
    """of a rate: sessions per target needed to pass with the margin if no turn fails"""
    seconds: Number
    """duration of a run of both targets at once, at the session rate of the pilot"""
    usd: Number
    """of both targets"""
    power_of_pilot: Number
    """power with the sessions of the pilot"""
    turns_per_session: Number
    sessions_per_min: Number
    """session rate of the pilot; pairs if it has pairs"""
    usd_per_session: Number
    """of one session on each target"""
    sigma: Number
    icc: Number
    deff_p50: Number
    deff_p95: Number


def sample_size(pilot: str | Path, spec: PowerSpec) -> SampleSize:
    """Return the sample size of a comparison. `pilot` is its pilot run, as `RUN` or `RUN:TARGET`.

    Raise UsageError if there is no such run, or if it has fewer than 20 sessions or does not have
    the metric.
    """
    folder, target = split_name(pilot)
    return sample_size_of(load_for_report(folder), spec, target, str(pilot))


def sample_size_of(run: RunFrames, spec: PowerSpec, target: str | None, named: str) -> SampleSize:
    """Return the sample size, with a loaded run or one of its targets as the pilot.

    `named` is the name of the run as the user wrote it, for errors.
    """
    targets = _pilot_targets(run, target)
    base = targets[0]
    sessions = targets[0].sessions
    if sessions < SESSIONS:
        there = breakable(plural(sessions, "pair" if len(targets) == 2 else "session"))
        raise UsageError(
            f"{named} has {there}: a pilot needs at least {SESSIONS}, better {BETTER_SESSIONS}"
        )
    metric_spec = by_stratum(spec.spec, targets)[0]
    if any(compared_target.uncertain_reason(metric_spec) for compared_target in targets):
        raise UsageError(
            f"{named}: {metric_spec.name} is uncertain in this run (`rtbench report {run.folder}`"
            " states why): use a run on an idle machine as the pilot"
        )
    rng = np.random.default_rng(seed_of(run_id_of(run)))
    pilot = metric_spec.statistic.pilot(targets, metric_spec, spec.effect, rng)
    if not math.isfinite(pilot.variance):
        raise UsageError(
            f"{named} has no {metric_spec.name} to plan with: too few turns have this metric, or"
            " too many failed"
        )
    latency = metric_spec
    if metric_spec.scale == "points":  # for a rate, the variability of the main metric is reported
        stratum = next(iter(common_strata([base])), None)
        latency = MetricSpec(
            base.main_metrics[stratum] if stratum else "ttfa", Quantile(0.5), stratum=stratum
        )
    sample = base.sample(latency)
    variability = variability_of(sample)
    p50, p95 = quantiles(sample, (0.5, 0.95))
    minimum = metric_spec.statistic.min_sessions(base, metric_spec)
    needed = max(minimum, pilot.needed(spec.distance, spec.power, spec.level))
    measured_s = period_of(run, base.turns, measured_sessions(run)).measured_s
    per_min = sessions / measured_s * S_PER_MINUTE if measured_s > 0 else math.nan
    costs = {
        cost.target: cost.usd_per_session for cost in money_of(run, base.turns.targets).targets
    }
    # with only one target, twice the cost of its session
    session_usd = sum(costs.get(of.name, math.nan) for of in targets) * (2 / len(targets))
    return SampleSize(
        title=metric_spec.title,
        metric=metric_spec.metric,
        kind=metric_spec.kind,
        p=metric_spec.p,
        better=metric_spec.better,
        detect=spec.detect,
        margin=spec.margin,
        power=spec.power,
        primary_metrics=spec.primary_metrics,
        sigma=variability.sigma,
        icc=variability.icc,
        schema=3,
        pilot=run_id_of(run),
        validity=validity_of(run.metadata).status,
        simulated=bool(run.metadata.get("simulated")),
        targets=[compared_target.name for compared_target in targets],
        deadline_ms=metric_spec.statistic.deadline_ms,
        alpha=LEVEL,
        paired=len(targets) == 2,
        pilot_sessions=pilot.sessions,
        sessions=needed,
        sessions_single_metric=max(minimum, pilot.needed(spec.distance, spec.power)),
        sessions_to_pass=metric_spec.statistic.sessions_to_pass(metric_spec.margin, LEVEL) or None,
        seconds=needed * (S_PER_MINUTE / per_min if per_min else math.nan),
        usd=needed * session_usd,
        power_of_pilot=pilot.power(pilot.sessions, spec.distance, spec.level),
        turns_per_session=float(base.counts(FAILURES)[1].sum()) / sessions,
        sessions_per_min=per_min,
        usd_per_session=session_usd,
        deff_p50=p50.deff,
        deff_p95=p95.deff,
    )


def _pilot_targets(run: RunFrames, target: str | None) -> Targets:
    """Return the targets of the pilot: both targets of an interleaved run with two targets, if
    `target` is None.

    For other runs, return the named target or the only target.
    """
    if target is not None:
        refuse_unknown(run, target)
    targets = [
        compared_target
        for compared_target in targets_of(run)
        if target in (None, compared_target.name)
    ]
    if len(targets) == 2 and (pairs := matched(*targets))[0].paired:
        return pairs
    if len(targets) > 1:
        choices = " or ".join(f"{run.folder}:{compared_target.name}" for compared_target in targets)
        raise UsageError(f"{run.folder} has {len(targets)} targets; choose one: {choices}")
    return targets or [ComparedTarget(run, samples_of(run), ABSENT, "")]
