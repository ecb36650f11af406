"""A comparison of targets as plain data.

It is computed once for compare.json, the terminal, the comment, and the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Literal

import pandas as pd
from msgspec import Meta

from bench.base.errors import FAIL_STATUS, INCONCLUSIVE_STATUS, INVALID_STATUS, PASS_STATUS, UsageError
from bench.files.sanitize import escape_control
from reports.analysis.comparisons.measurements import Shift, measured, shift_of, step_changes
from reports.analysis.metric_comparison import MeasuredDifference, MetricComparison, add_verdicts, provisional
from reports.analysis.sequential.decide import decision_of
from reports.analysis.sequential.decision import Decision
from reports.analysis.sequential.plan import was_planned
from reports.analysis.targets.compared_target import ComparedTarget
from reports.analysis.targets.fairness import (
    FairnessCheckEntry,
    causes_of,
    checks_of,
    notices_on,
    one_run,
    refuse_other_definitions,
)
from reports.analysis.targets.metric_specs import by_stratum, default_specs, lacking_notices
from reports.analysis.targets.named import are_peers, known_targets, matched_to_the_first
from reports.data.frames import COUNT, FLAG, NUMBER, REASON, TEXT, dtypes_of, frame_of
from reports.data.runs import run_id_of
from reports.formatting import NBSP, NONE, format_number, join_words, percent, plural
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.statistic_types.rate import Rate
from reports.metrics.strata import NO_LABELS
from reports.render.notebook import frame_html
from reports.results.json_entries import ClosedJsonEntry, Count, described
from reports.results.reason import Reason
from reports.results.verdict import RESULT_OF_STATUS, VerdictStatus
from reports.statistics.baselines import RATE_RUN_SD, RUN_SD
from reports.statistics.bootstrap import RESAMPLES, seed_of
from reports.statistics.differences import LEVEL, Inference
from reports.statistics.rates import any_event, newcombe
from reports.statistics.ticks import is_large, tick_at
from reports.text.finding_rows import shares_of
from reports.text.notices import uncertain_line
from reports.text.reasons import OWN_DRIFT, reason_line, use
from reports.text.verdicts import difference_interval, metric_text

CHOSEN = (
    "{} was ended by interim analyses, so a test of a fixed size has a larger type I error than its confidence states; "
    "`rtbench check {}` shows the decision of the analyses."
)
NAME = "sessions with a failed turn"
FAILURES = MetricSpec("failure_rate", Rate())


def any_failure(
    target_pairs: Sequence[tuple[ComparedTarget, ComparedTarget]], level: float
) -> list[FairnessCheckEntry]:
    """Return a row for information, with the share of sessions that have a failed turn; [] if no session has one.

    The row shows these shares because a caller counts bad calls, not bad turns. Each item of `target_pairs` is the
    baseline and one candidate. The text of a candidate has the interval of its difference from the baseline. Sessions
    are independent, so the number of such sessions is binomial, and Newcombe's interval is valid.
    """
    shares = [[any_event(target.counts(FAILURES)) for target in pair] for pair in target_pairs]
    if not any(share.value > 0 for pair in shares for share in pair):
        return []
    of_targets = (shares[0][0], *(candidate for _, candidate in shares))
    texts = [percent(share.value, 1) if share.clusters else NONE for share in of_targets]
    for index, (base, candidate) in enumerate(shares, start=1):
        if base.clusters and candidate.clusters:
            texts[index] += f" ({difference_interval(*newcombe(base, candidate, level), 'points')} points)"
    return [FairnessCheckEntry(NAME, tuple(texts), "informational")]


Design = Literal["pairs", "sessions"]

DRIFTING = (
    "Latency of one target drifted ({0}): neighbouring {1} are autocorrelated. Quarters of the run are resampled, and "
    f"these verdicts are provisional: if the true value is exactly on the margin, {OWN_DRIFT}. A longer run reduces "
    "this error. In 1 of 20 metrics without drift, drift is found by chance."
)
BURSTING = (
    "Failures or slow turns of one target occurred in bursts ({0}). Sixths of the run are counted, not {1}, and these "
    "verdicts are provisional: the run may have missed rarer bursts. A longer run is more reliable. In 1 of 30 "
    "metrics without bursts, bursts are found by chance."
)
DTYPES = dtypes_of(
    (TEXT, ("run_id", "candidate", "title", "metric", "measured_from", "turn_type", "script", "step")),
    (NUMBER, ("p",)),
    (TEXT, ("unit",)),
    (FLAG, ("primary",)),
    (TEXT, ("verdict",)),
    (FLAG, ("passes", "provisional", "published", "usable")),
    (TEXT, REASON),
    (NUMBER, ("baseline", "value", "difference", "low", "high")),
    (TEXT, ("scale",)),
    (COUNT, ("baseline_turns", "turns", "baseline_sessions", "sessions", "baseline_failed", "failed", "more_sessions")),
)
"""The columns of a comparison's frame, with their dtypes."""


class Method(ClosedJsonEntry, frozen=True):
    """The method of the comparison, with all that is needed to compute it again."""

    design: Design
    unit: Annotated[Count, described("pairs, or sessions of the smaller target")]
    bootstrap_samples: Count
    seed: Count
    confidence: Annotated[
        float,
        Meta(gt=0.5, lt=1),
        described("of each one-sided bound that decides a verdict: its type I error is 1 − confidence"),
    ]
    holm: Annotated[Count, described("primary metrics in Holm's correction")]
    run_sd: Annotated[
        float, Meta(ge=0), described("assumed run-to-run standard deviation of latencies, on the log scale")
    ] = 0.0
    rate_run_sd: Annotated[float, Meta(ge=0), described("the same of rates, on the log odds scale")] = 0.0
    observed_s: Annotated[
        float,
        Meta(ge=0),
        described("seconds from the start of the first session to the end of the last; of targets, the shortest"),
    ] = 0.0

    def __post_init__(self) -> None:
        one_sided_alpha(self.confidence)  # msgspec only checks decoded values

    @property
    def level(self) -> float:
        """The type I error of each bound, which is one-sided."""
        return one_sided_alpha(self.confidence)

    @property
    def interval(self) -> str:
        """The confidence of the two-sided interval between the one-sided bounds, such as 90 %."""
        return f"{format_number(100 * (1 - 2 * self.level))}{NBSP}%"


@dataclass(frozen=True)
class Comparison:
    """A comparison of targets. The first target is the baseline.

    `findings` is the results of all candidates, with primary metrics first.
    """

    targets: tuple[ComparedTarget, ...]
    findings: tuple[MetricComparison, ...]
    checks: tuple[FairnessCheckEntry, ...]
    method: Method
    notices: tuple[str, ...]
    simulated: bool
    recorded: bool
    decision: Decision | None = None
    """The decision of the run's interim analyses, if they were planned.

    If there is a decision, the verdict of the comparison is that of the analyses, and `findings` only adds information.
    """
    steps: tuple[MetricComparison, ...] = ()
    """The comparisons of the p50 of each step. Each candidate has its worst step first.

    They are secondary. Holm's correction covers the steps of a candidate.
    """

    @property
    def failed_checks(self) -> tuple[FairnessCheckEntry, ...]:
        """The failed checks, which make the comparison invalid."""
        return tuple(check for check in self.checks if check.result == "fail")

    @property
    def invalid_reasons(self) -> tuple[Reason, ...]:
        """The reasons why the comparison is invalid, without duplicates."""
        return causes_of(self.checks)

    @property
    def primary(self) -> tuple[MetricComparison, ...]:
        return tuple(finding for finding in self.findings if finding.question.primary)

    @cached_property
    def shift(self) -> Shift | None:
        """The difference at each percentile of the main metric; None if no turn with this metric succeeded."""
        method = self.method
        how = Inference(method.level, method.run_sd, resamples=method.bootstrap_samples, seed=method.seed)
        return shift_of(self.targets, self.findings, how)

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each finding, with primary metrics first, then a row for the p50 of each step.

        The column `scale` determines the unit of `difference`, `low` and `high`. If it is `ratio`, they are shares of
        the baseline's value (0.2 is +20 %). If it is `points`, they are differences of shares (0.2 is 20 points). If it
        is `slope`, they are in the unit of the metric. An unbounded end is NaN. If the comparison is not fair, `usable`
        is false and `verdict` is `not_evaluated`. `run_id` is the ID of the candidate's run.
        """
        invalid = self.invalid_reasons
        run_ids = {target.label: run_id_of(target.run) for target in self.targets}
        of_steps = {name: labels for target in self.targets for name, labels in target.turns.row_labels.items()}
        rows = []
        for finding in (*self.findings, *self.steps):
            spec, verdict, difference = finding.question, finding.verdict, finding.published
            labels = NO_LABELS if spec.stratum is None else spec.stratum.labels
            spec_values = spec.name, spec.metric, *labels.values(), *of_steps.get(spec.step, (None, spec.step))
            verdict_name, passes = ("not_evaluated", False) if self.failed_checks else (verdict.name, verdict.passes)
            values = (
                *(run_ids[finding.candidate], finding.candidate, *spec_values, spec.p, spec.unit),
                *(spec.primary, verdict_name, passes, verdict.provisional),
                *use(verdict.reason, published=difference is not None, invalid=invalid).values(),
                *((difference.baseline, difference.candidate, *shares_of(difference)) if difference else [None] * 5),
                *(spec.scale, *finding.turns, *finding.sessions, *finding.failed, verdict.more_sessions),
            )
            rows.append(dict(zip(DTYPES, values, strict=True)))
        return frame_of(rows, DTYPES)

    def __repr__(self) -> str:
        """Return a summary: Comparison(east:b against west:b: inconclusive, 18 metrics)."""
        base, *candidates = (target.label for target in self.targets)
        counted = plural(len(self.findings), "metric").replace(NBSP, " ")
        return f"Comparison({join_words(candidates)} against {base}: {RESULT_OF_STATUS[self.exit_status]}, {counted})"

    def _repr_html_(self) -> str:
        columns = (
            "title",
            "candidate",
            "verdict",
            "baseline",
            "value",
            "unit",
            "difference",
            "low",
            "high",
            "reason_text",
        )
        return frame_html(repr(self), self.to_frame(), columns, [*map(reason_line, self.invalid_reasons)])

    @property
    def exit_status(self) -> VerdictStatus:
        """The exit status that `rtbench check` would have.

        It is 4 if the comparison is invalid, 1 if a primary metric regressed, 0 if all primary metrics pass, and
        otherwise 3 (inconclusive).
        """
        if self.failed_checks or not self.primary:
            return INVALID_STATUS
        if self.decision is not None:
            return self.decision.exit_status
        if any(finding.verdict.name == "regressed" for finding in self.primary):
            return FAIL_STATUS
        return PASS_STATUS if all(finding.verdict.passes for finding in self.primary) else INCONCLUSIVE_STATUS


CONFIDENCE = 1 - LEVEL


def one_sided_alpha(confidence: float) -> float:
    """Return the type I error of a one-sided bound with this confidence, such as 0.05 for 0.95.

    Raise UsageError unless 0.5 < confidence < 1.
    """
    if not 0.5 < confidence < 1:
        raise UsageError(f"confidence must be between 0.5 and 1, such as 0.95, not {confidence:g}")
    return round(1 - confidence, 12)  # 0.05 is not exact in binary


def compare_targets(
    targets: Sequence[ComparedTarget],
    specs: Sequence[MetricSpec] | None = None,
    *,
    confidence: float = CONFIDENCE,
    draws: int = RESAMPLES,
    run_sd: float | None = None,
) -> Comparison:
    """Compare each candidate with the first target. If `specs` is None, use the metric specs of `default_specs`.

    `run_sd` is the standard deviation of a log quantile between runs. If it is None, it is 0 for targets of one run and
    RUN_SD otherwise. The verdicts on targets of several runs are provisional. A third target does not affect the
    comparison of another candidate with the baseline, except that Holm's correction covers all candidates. Raise
    UsageError if metrics have different definitions in the runs.
    """
    level = one_sided_alpha(confidence)
    refuse_other_definitions(targets)
    decision = decision_on(targets) if specs is None else None
    chosen = default_specs(targets) if specs is None else specs
    stratum_specs = list(dict.fromkeys(spec for pooled in chosen for spec in by_stratum(pooled, targets)))
    how = inference(targets, level, draws, run_sd)
    target_pairs = matched_to_the_first(targets)
    main = (
        next((spec for spec in stratum_specs if spec.primary and spec.p is not None), None) if specs is None else None
    )
    differences = sorted(
        measurements(target_pairs, stratum_specs, how), key=lambda measurement: not measurement.question.primary
    )
    findings = add_verdicts(differences, targets[0].label, level=level)
    names, base = {target.label: target.name for target in targets}, targets[0]
    if one_run(targets):
        findings = [
            replace(finding, peers=are_peers(base.run, base.name, names[finding.candidate])) for finding in findings
        ]
    tested = [
        measurement
        for measurement in differences
        if measurement.question.primary and measurement.difference and not measurement.floor(base.label)
    ]
    return Comparison(
        targets=tuple(targets),
        findings=tuple(findings if one_run(targets) else map(provisional, findings)),
        checks=(*checks_of(targets), *any_failure(target_pairs, level)),
        method=Method(
            design="pairs" if all(base.paired for base, _ in target_pairs) else "sessions",
            unit=min(target.sessions for pair in target_pairs for target in pair),
            bootstrap_samples=draws,
            seed=seed_of(run_id_of(base.run)),
            confidence=confidence,
            holm=len(tested),
            run_sd=how.run_sd,
            rate_run_sd=how.rate_run_sd,
            observed_s=round(min(target.observed_s for target in targets), 1),
        ),
        notices=(
            *notices_of_comparison(targets, differences, decision),
            *(lacking_notices(targets) if specs is None else ()),
        ),
        simulated=any(target.simulated for target in targets),
        recorded=any(target.run.recorded for target in targets),
        decision=decision,
        steps=tuple(finding for pair in target_pairs for finding in step_changes(*pair, main, how)) if main else (),
    )


def inference(
    targets: Sequence[ComparedTarget], level: float = LEVEL, draws: int = RESAMPLES, run_sd: float | None = None
) -> Inference:
    """Return the settings by which intervals of these targets are computed.

    The seed depends on the baseline's run ID.
    """
    assumed = (0.0, 0.0) if one_run(targets) else (RUN_SD, RATE_RUN_SD)
    latency_run_sd = assumed[0] if run_sd is None else run_sd
    return Inference(level, latency_run_sd, assumed[1], draws, seed_of(run_id_of(targets[0].run)))


def measurements(
    target_pairs: Sequence[tuple[ComparedTarget, ComparedTarget]], specs: Sequence[MetricSpec], how: Inference
) -> list[MeasuredDifference]:
    """Return the difference of each metric spec for each candidate.

    An item of `target_pairs` is (baseline, candidate).
    """
    return [difference for base, candidate in target_pairs for difference in measured(base, candidate, specs, how)]


def notices_of_comparison(
    targets: Sequence[ComparedTarget], differences: Sequence[MeasuredDifference], decision: Decision | None = None
) -> tuple[str, ...]:
    """Return the notices that a reader should see before the values."""
    primary = {measurement.question.metric for measurement in differences if measurement.question.primary}
    runs = {id(target.run): target for target in targets}.values()
    uncertain = [
        f"{'' if one_run(targets) else f'{target.label}: '}{line}"
        for target in runs
        if (line := uncertain_line(target.run, primary))
    ]
    return (
        *notices_on(targets),
        *uncertain,
        *widened_notices(differences),
        *length_notices(differences),
        *tick_notices(targets, differences),
        *drift_notices(differences),
        *notices_of(targets, decision),
    )


def widened_notices(differences: Sequence[MeasuredDifference]) -> Iterable[str]:
    """Yield notices on the metrics whose bounds allow for the uncertainty of their values."""
    by_amount: dict[str, list[str]] = {}
    for widened_by, metric in dict.fromkeys((m.widened_by, m.question.metric) for m in differences if m.widened_by):
        by_amount.setdefault(widened_by, []).append(metric)
    for widened_by, metrics in by_amount.items():
        yield f"Intervals of {join_words(metrics)} allow for the uncertainty of each value: {widened_by}."


def length_notices(differences: Sequence[MeasuredDifference]) -> Iterable[str]:
    """Yield a notice on the primary metrics whose change depends on the length of sessions."""
    measurements = (one for one in differences if one.question.primary and one.difference and one.difference.by_length)
    if metrics := dict.fromkeys(measurement.question.metric for measurement in measurements):
        yield (
            f"The change of {join_words(list(metrics))} differs between long and short sessions, and a few sessions "
            "contain many of the turns: the bound in the direction of the long sessions "
            "allows for an unseen session."
        )


def tick_notices(targets: Sequence[ComparedTarget], differences: Sequence[MeasuredDifference]) -> Iterable[str]:
    """Yield a notice on each primary latency whose values have ticks that are a large share of its margin."""
    by_label, known = {target.label: target for target in targets}, set()
    for one in differences:
        spec, difference = one.question, one.difference
        is_latency = spec.scale == "ratio" and spec.unit == "ms"
        if spec in known or not (spec.primary and is_latency and spec.p and difference and difference.baseline > 0):
            continue
        both = (targets[0], by_label.get(one.candidate, targets[0]))
        tick = max(tick_at(target.sample(spec), spec.p) for target in both)
        if is_large(tick, difference.baseline, spec.margin):
            known.add(spec)
            margin_ms = max(spec.margin.ratio * difference.baseline, spec.margin.plus)
            yield (
                f"{metric_text(spec)} has steps of {format_number(tick)}{NBSP}ms, and its margin is "
                f"{format_number(margin_ms)}{NBSP}ms: a change below a step may exceed it. Allow a step, too: "
                f"{spec.statistic.aggregate}<+{format_number(100 * spec.margin.ratio)}% and "
                f"+{format_number(tick)}ms."
            )


def drift_notices(differences: Sequence[MeasuredDifference]) -> Iterable[str]:
    """Yield notices on the primary metrics that drifted, or that had bursts, on one target.

    For secondary metrics there is no notice, because the reason of their verdict shows it.
    """
    unit = "pairs" if all(measurement.unit == "pair" for measurement in differences) else "sessions"
    several = len({measurement.candidate for measurement in differences}) > 1
    for order, text in (("drift", DRIFTING), ("bursts", BURSTING)):
        affected = [
            measurement
            for measurement in differences
            if measurement.question.primary and measurement.difference and measurement.difference.order == order
        ]
        if names := dict.fromkeys(
            f"{measurement.question.metric} of {measurement.candidate}" if several else measurement.question.metric
            for measurement in affected
        ):
            yield text.format(join_words(list(names)), unit)


def decision_on(targets: Sequence[ComparedTarget]) -> Decision | None:
    """Return the decision of the run's interim analyses; None if the run planned none.

    It is also None unless `targets` is all targets of one run, in the order of the run. Raise UsageError if the plan of
    the analyses cannot be followed.
    """
    run = targets[0].run
    if not one_run(targets) or not was_planned(run.metadata) or not run.metadata.get("interleaved"):
        return None
    if [target.name for target in targets] != list(known_targets(run)):
        return None
    return decision_of(run, str(run.folder))


def notices_of(targets: Sequence[ComparedTarget], decision: Decision | None) -> list[str]:
    """Return a notice for each run that was ended by its interim analyses.

    There is none if their `decision` is used.
    """
    if decision is not None:
        return []
    folders = dict.fromkeys(target.run.folder for target in targets if was_planned(target.run.metadata))
    return [CHOSEN.format(escape_control(folder.name), escape_control(str(folder))) for folder in folders]
