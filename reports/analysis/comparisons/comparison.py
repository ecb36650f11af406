"""The comparison of targets: differences of all metrics with their verdicts, fairness checks,
and notices.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Annotated, Literal

from msgspec import Meta

from bench.base.errors import (
    FAIL_STATUS,
    INCONCLUSIVE_STATUS,
    INVALID_STATUS,
    PASS_STATUS,
    UsageError,
)
from bench.files.sanitize import escape_control
from reports.analysis.comparisons.measurements import (
    Shift,
    compared_rates,
    measured,
    shift_of,
    step_changes,
)
from reports.analysis.sequential.decide import Decision, decision_of
from reports.analysis.sequential.plan import was_planned
from reports.analysis.summary.turn_taking import compared_rates_of, events_of, has_pauses, of_pauses
from reports.analysis.targets.compared_target import ComparedTarget, Targets
from reports.analysis.targets.fairness import (
    FairnessCheck,
    causes_of,
    checks_of,
    notices_on,
    one_run,
    refuse_other_definitions,
)
from reports.analysis.targets.metric_specs import by_stratum, default_specs, lacking_notices
from reports.analysis.targets.named import are_peers, known_targets, matched_to_the_first
from reports.data.runs import run_id_of
from reports.engine.evaluate import ChosenTurns
from reports.engine.judge import Judged, add_verdicts
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.rate_metrics import RATES
from reports.metrics.statistic_types.rate import FAILURES
from reports.results.json_entries import ClosedJsonEntry, Count
from reports.results.value import BaselineFinding, Reason, Reasons, Subject, Value, VerdictStatus
from reports.statistics.baselines import RATE_RUN_SD, RUN_SD
from reports.statistics.bootstrap import RESAMPLES, seed_of
from reports.statistics.differences import LEVEL, Inference, is_large, tick_at
from reports.statistics.rates import any_event, newcombe


def any_failure(
    target_pairs: Sequence[tuple[ComparedTarget, ComparedTarget]], level: float
) -> list[FairnessCheck]:
    """Return a check for information, with the share of sessions that have a failed turn; [] if no
    session has one.

    It has these shares because a caller counts bad calls, not bad turns. Each item of
    `target_pairs` is the baseline and one candidate. The value of a candidate has the interval of
    its difference from the baseline. Sessions are independent, so the number of such sessions is
    binomial, and Newcombe's interval is valid.
    """
    shares = [[any_event(target.counts(FAILURES)) for target in pair] for pair in target_pairs]
    if not any(share.value > 0 for pair in shares for share in pair):
        return []
    of_targets = [shares[0][0]] + [candidate for _, candidate in shares]
    values: list[tuple[float, ...] | None] = [
        (share.value,) if share.clusters else None for share in of_targets
    ]
    for index, (base, candidate) in enumerate(shares, start=1):
        if base.clusters and candidate.clusters:
            values[index] = (candidate.value, *newcombe(base, candidate, level))
    return [FairnessCheck("sessions_with_failures", values, "informational")]


Design = Literal["pairs", "sessions"]


class Method(ClosedJsonEntry):
    """The method of the comparison, with all that is needed to compute it again."""

    design: Design
    unit: Count
    """pairs, or sessions of the smaller target"""
    bootstrap_samples: Count
    seed: Count
    confidence: Annotated[float, Meta(gt=0.5, lt=1)]
    """of each one-sided bound that decides a verdict: its type I error is 1 − confidence"""
    holm: Count
    """primary metrics in Holm's correction"""
    run_sd: Annotated[float, Meta(ge=0)] = 0.0
    """assumed run-to-run standard deviation of latencies, on the log scale"""
    rate_run_sd: Annotated[float, Meta(ge=0)] = 0.0
    """the same of rates, on the log odds scale"""
    observed_s: Annotated[float, Meta(ge=0)] = 0.0
    """seconds from the start of the first session to the end of the last; of targets, the
    shortest"""

    def __post_init__(self) -> None:
        one_sided_alpha(self.confidence)  # msgspec only checks decoded values

    @property
    def level(self) -> float:
        """The type I error of each bound, which is one-sided."""
        return one_sided_alpha(self.confidence)


@dataclass(frozen=True)
class Comparison:
    """A comparison of targets. The first target is the baseline.

    `comparisons` is the results of all candidates, with primary metrics first.
    """

    targets: tuple[ComparedTarget, ...]
    comparisons: tuple[Judged, ...]
    checks: tuple[FairnessCheck, ...]
    method: Method
    notices: Reasons
    """What a reader should know before the values. The notices on each run are in its report."""
    decision: Decision | None = None
    """The decision of the run's interim analyses, if they were planned.

    If there is a decision, the verdict of the comparison is that of the analyses, and `comparisons`
    only adds information.
    """
    steps: tuple[Judged, ...] = ()
    """The comparisons of the p50 of each step. Each candidate has its worst step first.

    They are secondary. Holm's correction covers the steps of a candidate.
    """

    @property
    def simulated(self) -> bool:
        return any(target.simulated for target in self.targets)

    @property
    def recorded(self) -> bool:
        return any(target.run.recorded for target in self.targets)

    @property
    def failed_checks(self) -> tuple[FairnessCheck, ...]:
        """The failed checks, which make the comparison invalid."""
        return tuple(check for check in self.checks if check.result == "fail")

    @property
    def invalid_reasons(self) -> Reasons:
        """The reasons why the comparison is invalid, without duplicates."""
        return causes_of(self.checks)

    @property
    def primary(self) -> tuple[Judged, ...]:
        return tuple(compared for compared in self.comparisons if compared.spec.primary)

    @cached_property
    def shift(self) -> Shift | None:
        """The difference at each percentile of the main metric; None if no turn with this metric
        succeeded.
        """
        method = self.method
        how = Inference(
            method.level, method.run_sd, resamples=method.bootstrap_samples, seed=method.seed
        )
        return shift_of(self.targets, self.comparisons, how)

    @cached_property
    def pauses(self) -> tuple[Value, ...]:
        """The values of turns with a pause in the caller's speech, of each target."""
        chosen = (
            (one.turns, ChosenTurns(Subject(target=one.label), one.turn_mask))
            for one in self.targets
        )
        found = (
            of_pauses(turns, of, events_of(turns)) for turns, of in chosen if has_pauses(turns)
        )
        return tuple(chain.from_iterable(found))

    @cached_property
    def turn_taking(self) -> tuple[BaselineFinding, ...]:
        """The differences of the rates of turn-taking; none without pauses in the caller's
        speech.
        """
        how = Inference(self.method.level, rate_run_sd=self.method.rate_run_sd)
        if not any(has_pauses(target.turns) for target in self.targets):
            return ()
        return tuple(compared_rates(self.targets, compared_rates_of, how))

    @property
    def exit_status(self) -> VerdictStatus:
        """The exit status that `rtbench check` would have.

        It is 4 if the comparison is invalid, 1 if a primary metric regressed, 0 if all primary
        metrics pass, and otherwise 3 (inconclusive).
        """
        if self.failed_checks or not self.primary:
            return INVALID_STATUS
        if self.decision is not None:
            return self.decision.exit_status
        if any(compared.verdict.name == "regressed" for compared in self.primary):
            return FAIL_STATUS
        return (
            PASS_STATUS
            if all(compared.verdict.passes for compared in self.primary)
            else INCONCLUSIVE_STATUS
        )


CONFIDENCE = 1 - LEVEL


def one_sided_alpha(confidence: float) -> float:
    """Return the type I error of a one-sided bound with this confidence, such as 0.05 for 0.95.

    Raise UsageError unless 0.5 < confidence < 1.
    """
    if not 0.5 < confidence < 1:
        raise UsageError(f"confidence must be between 0.5 and 1, such as 0.95, not {confidence:g}")
    return round(1 - confidence, 12)  # 0.05 is not exact in binary


def compare_targets(
    targets: Targets,
    specs: Sequence[MetricSpec] | None = None,
    *,
    confidence: float = CONFIDENCE,
    draws: int = RESAMPLES,
) -> Comparison:
    """Compare each candidate with the first target. If `specs` is None, use the metric specs of
    `default_specs`.

    The verdicts on targets of several runs are provisional, because the deviation between runs is
    assumed. A third target does not affect the comparison of another candidate with the
    baseline, except that Holm's correction covers all candidates. Raise UsageError if metrics have
    different definitions in the runs.
    """
    level = one_sided_alpha(confidence)
    refuse_other_definitions(targets)
    is_default = specs is None
    base = targets[0]
    decision = decision_on(targets) if is_default else None
    chosen = default_specs(targets) if specs is None else specs
    stratum_specs = list(
        dict.fromkeys(spec for pooled in chosen for spec in by_stratum(pooled, targets))
    )
    how = inference(targets, level, draws)
    target_pairs = matched_to_the_first(targets)
    is_one_run = one_run(targets)
    peers = {
        target.label: is_one_run and are_peers(base.run, base.name, target.name)
        for target in targets
    }
    differences = [
        replace(measured, peers=peers[measured.target], assumes=not is_one_run)
        for measured in sorted(
            measurements(target_pairs, stratum_specs, how), key=lambda one: not one.spec.primary
        )
    ]
    comparisons = add_verdicts(differences, base.label, level=level)
    main = next(
        (spec for spec in stratum_specs if is_default and spec.primary and spec.p is not None), None
    )
    return Comparison(
        targets=tuple(targets),
        comparisons=tuple(comparisons),
        checks=(*checks_of(targets), *any_failure(target_pairs, level)),
        method=Method(
            design="pairs" if all(first.paired for first, _ in target_pairs) else "sessions",
            unit=min(target.sessions for pair in target_pairs for target in pair),
            bootstrap_samples=draws,
            seed=seed_of(run_id_of(base.run)),
            confidence=confidence,
            holm=sum(
                one.spec.primary and bool(one.difference) and not one.floor(base.label)
                for one in differences
            ),
            run_sd=how.run_sd,
            rate_run_sd=how.rate_run_sd,
            observed_s=round(min(target.observed_s for target in targets), 1),
        ),
        notices=(
            *notices_of_comparison(targets, differences, decision),
            *(lacking_notices(targets) if is_default else ()),
        ),
        decision=decision,
        steps=(
            tuple(compared for pair in target_pairs for compared in step_changes(*pair, main, how))
            if main
            else ()
        ),
    )


def inference(targets: Targets, level: float, draws: int = RESAMPLES) -> Inference:
    """Return the settings by which intervals of these targets are computed.

    The seed depends on the baseline's run ID.
    """
    assumed = (0.0, 0.0) if one_run(targets) else (RUN_SD, RATE_RUN_SD)
    return Inference(level, *assumed, draws, seed_of(run_id_of(targets[0].run)))


def measurements(
    target_pairs: Sequence[tuple[ComparedTarget, ComparedTarget]],
    specs: Sequence[MetricSpec],
    how: Inference,
) -> list[Judged]:
    """Return the difference of each metric spec for each pair of (baseline, candidate)."""
    return [
        difference
        for base, candidate in target_pairs
        for difference in measured(base, candidate, specs, how)
    ]


def notices_of_comparison(
    targets: Targets,
    differences: Sequence[Judged],
    decision: Decision | None = None,
) -> Reasons:
    """Return the notices that a reader should see before the values."""
    return (
        *notices_on(targets),
        *widened_notices(differences),
        *length_notices(differences),
        *tick_notices(targets, differences),
        *drift_notices(differences),
        *notices_of(targets, decision),
    )


def widened_notices(differences: Sequence[Judged]) -> Iterable[Reason]:
    """Yield notices on the metrics whose bounds allow for the uncertainty of their values, and on
    those whose bounds allow for any value of unscored turns. The notices on each run name rates.
    """
    by_errors: dict[str, dict[str, None]] = {}
    unscored: dict[str, Reason] = {}
    for one in differences:
        for note in one.notes:
            if note.code == "widened":
                by_errors.setdefault(note.numbers["errors"], {})[one.spec.metric] = None
            elif one.spec.metric not in RATES:
                unscored[one.spec.metric] = note
    for errors, metrics in by_errors.items():
        yield Reason("widened", {"metrics": list(metrics), "errors": errors})
    for metric, note in unscored.items():
        yield Reason("unscored", note.numbers | {"metric": metric})


def length_notices(differences: Sequence[Judged]) -> Iterable[Reason]:
    """Yield a notice on the primary metrics whose change depends on the length of sessions."""
    changes = (
        one
        for one in differences
        if one.spec.primary and one.difference and one.difference.by_length
    )
    if metrics := dict.fromkeys(one.spec.metric for one in changes):
        yield Reason("by_length", {"metrics": list(metrics)})


def tick_notices(targets: Targets, differences: Sequence[Judged]) -> Iterable[Reason]:
    """Yield a notice on each primary latency whose values have ticks that are a large share of
    its margin.
    """
    by_label = {target.label: target for target in targets}
    known = set()
    for one in differences:
        spec = one.spec
        difference = one.difference
        is_latency = spec.scale == "ratio" and spec.unit == "ms"
        if spec in known or not (
            spec.primary and is_latency and spec.p and difference and difference.baseline > 0
        ):
            continue
        both = (targets[0], by_label.get(one.target, targets[0]))
        tick = max(tick_at(target.sample(spec), spec.p) for target in both)
        if is_large(tick, difference.baseline, spec.margin):
            known.add(spec)
            margin_ms = max(spec.margin.ratio * difference.baseline, spec.margin.plus)
            yield Reason(
                "coarse_ticks",
                {
                    "metric": spec.name,
                    "statistic": spec.statistic.aggregate,
                    "ratio": spec.margin.ratio,
                    "tick_ms": tick,
                    "margin_ms": margin_ms,
                },
            )


def drift_notices(differences: Sequence[Judged]) -> Iterable[Reason]:
    """Yield notices on the primary metrics that drifted, or that had bursts, on one target.

    For secondary metrics there is no notice, because the reason of their verdict shows it.
    """
    unit = "pair" if all(one.cluster == "pair" for one in differences) else "session"
    several = len({one.target for one in differences}) > 1
    primary = [one for one in differences if one.spec.primary and one.difference]
    for order in ("drift", "bursts"):
        affected = (one for one in primary if one.difference and one.difference.order == order)
        names = dict.fromkeys((one.spec.metric, one.target if several else "") for one in affected)
        if names:
            numbers = {"metrics": [list(name) for name in names], "unit": unit}
            yield Reason("metrics_drifted" if order == "drift" else "metrics_had_bursts", numbers)


def decision_on(targets: Targets) -> Decision | None:
    """Return the decision of the run's interim analyses; None if the run planned none.

    It is also None unless `targets` is all targets of one run, in the order of the run. Raise
    UsageError if the plan of the analyses cannot be followed.
    """
    run = targets[0].run
    if not one_run(targets) or not was_planned(run.metadata) or not run.metadata.get("interleaved"):
        return None
    if [target.name for target in targets] != list(known_targets(run)):
        return None
    return decision_of(run, str(run.folder))


def notices_of(targets: Targets, decision: Decision | None) -> list[Reason]:
    """Return a notice for each run that its interim analyses ended, unless their `decision` is
    used.
    """
    if decision is not None:
        return []
    folders = dict.fromkeys(
        target.run.folder for target in targets if was_planned(target.run.metadata)
    )
    return [
        Reason(
            "ended_by_analyses",
            {"run": escape_control(folder.name), "folder": escape_control(str(folder))},
        )
        for folder in folders
    ]
