"""A comparison as plain data, computed once for compare.json, the terminal, the comment and the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Literal

import pandas as pd
from msgspec import Meta

from bench.errors import UsageError
from bench.untrusted.sanitize import escape_control
from reports.comparisons.measurements import Shift, measured, shift_of, step_changes
from reports.finding_rows import shares_of
from reports.finding_sentences import run_sd_sensitivity
from reports.formatting import NBSP, NONE, format_number, join_words, percent, plural
from reports.frames import COUNT, FLAG, NUMBER, TEXT, dtypes_of, frame_of, use
from reports.json_entries import ClosedJsonEntry, Count, about
from reports.metric_comparison import (
    RESULT_OF_STATUS,
    ExitStatus,
    MeasuredDifference,
    MetricComparison,
    add_verdicts,
    provisional,
)
from reports.metric_spec import MetricSpec
from reports.notebook import frame_html
from reports.runs import run_id_of
from reports.sequential.decide import decision_of
from reports.sequential.decision import Decision
from reports.sequential.plan import was_planned
from reports.statistic_types.rate import Rate
from reports.statistics.baselines import RATE_RUN_SD, RUN_SD
from reports.statistics.bootstrap import RESAMPLES, seed_of
from reports.statistics.differences import LEVEL, Inference
from reports.statistics.rates import any_event, newcombe
from reports.statistics.verdicts import OWN_DRIFT
from reports.strata import NO_STRATUM
from reports.targets.compared_target import ComparedTarget
from reports.targets.fairness import (
    FairnessCheckEntry,
    causes_of,
    checks_of,
    notices_on,
    one_run,
    refuse_other_definitions,
)
from reports.targets.metric_specs import by_stratum, default_specs
from reports.targets.named import are_peers, known_targets, matched_to_the_first
from reports.wording.notices import uncertain_line
from reports.wording.validity import InvalidReason
from reports.wording.verdicts import difference_interval, verdict_text

CHOSEN = (
    "{} was ended by interim analyses, so a test of a fixed size has a larger type I error than its confidence states; "
    "`rtbench check {}` shows the decision of the analyses."
)
NAME = "sessions with a failed turn"
FAILURES = MetricSpec("failure_rate", Rate())


def any_failure(each: Sequence[tuple[ComparedTarget, ComparedTarget]], level: float) -> list[FairnessCheckEntry]:
    """Return the shares of sessions with a failed turn, if there are any: a caller counts bad calls, not bad turns.

    `each`: the baseline with each candidate, whose text has the interval of the difference. Sessions are independent,
    so the share is binomial, and Newcombe's interval holds.
    """
    shares = [[any_event(side.counts(FAILURES)) for side in two] for two in each]
    if not any(one.value > 0 for two in shares for one in two):
        return []
    texts = [percent(one.value, 1) if one.clusters else NONE for one in (shares[0][0], *(other for _, other in shares))]
    for place, (one, other) in enumerate(shares, start=1):
        if one.clusters and other.clusters:
            texts[place] += f" ({difference_interval(*newcombe(one, other, level), 'points')} points)"
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
    (TEXT, ("run_id", "candidate", "title", "metric", "measured_from", "turn_type", "step")),
    (NUMBER, ("p",)),
    (TEXT, ("unit",)),
    (FLAG, ("primary",)),
    (TEXT, ("verdict",)),
    (FLAG, ("passes", "provisional", "published", "usable")),
    (TEXT, ("reason",)),
    (NUMBER, ("baseline", "value", "difference", "low", "high")),
    (TEXT, ("scale",)),
    (COUNT, ("baseline_turns", "turns", "baseline_sessions", "sessions", "baseline_failed", "failed", "more_sessions")),
)
"""The columns of a comparison's frame, with their dtypes."""


class Method(ClosedJsonEntry, frozen=True):
    """The method of the comparison, with all that is needed to compute it again."""

    design: Design
    unit: Annotated[Count, about("pairs, or sessions of the smaller target")]
    bootstrap_samples: Count
    seed: Count
    confidence: Annotated[
        float,
        Meta(gt=0.5, lt=1),
        about("of each one-sided bound that decides a verdict: its type I error is 1 − confidence"),
    ]
    holm: Annotated[Count, about("primary metrics in Holm's correction")]
    run_sd: Annotated[
        float, Meta(ge=0), about("assumed run-to-run standard deviation of latencies, on the log scale")
    ] = 0.0
    rate_run_sd: Annotated[float, Meta(ge=0), about("the same of rates, on the log odds scale")] = 0.0
    observed_s: Annotated[
        float,
        Meta(ge=0),
        about("seconds from the start of the first session to the end of the last; of targets, the shortest"),
    ] = 0.0

    def __post_init__(self) -> None:
        one_sided_alpha(self.confidence)  # msgspec only checks decoded values

    @property
    def level(self) -> float:
        """The one-sided type I error of each bound."""
        return one_sided_alpha(self.confidence)

    @property
    def interval(self) -> str:
        """The confidence of the interval whose ends are bounds at the level, such as 90 %."""
        return f"{format_number(100 * (1 - 2 * self.level))}{NBSP}%"


@dataclass(frozen=True)
class Comparison:
    """A comparison. The first target is the baseline.

    `findings`: the results of each candidate, primary metrics first.
    """

    targets: tuple[ComparedTarget, ...]
    findings: tuple[MetricComparison, ...]
    checks: tuple[FairnessCheckEntry, ...]
    method: Method
    notices: tuple[str, ...]
    simulated: bool
    decision: Decision | None = None
    """The decision of planned interim analyses.

    If there is one, the verdict is that of the analyses, and the findings are additional.
    """
    at_twice_the_run_sd: str = ""
    """For two runs, the verdicts at twice the assumed run-to-run variation."""
    steps: tuple[MetricComparison, ...] = ()
    """The p50 of each step, for each candidate with the worst step first.

    They are not primary; Holm's correction is over the steps.
    """

    @property
    def failed_checks(self) -> tuple[FairnessCheckEntry, ...]:
        """The failed checks, which make the comparison invalid."""
        return tuple(check for check in self.checks if check.result == "fail")

    @property
    def invalid_reasons(self) -> tuple[InvalidReason, ...]:
        """The reasons that it is invalid, without duplicates, each about the target that it concerns."""
        return causes_of(self.checks)

    @property
    def primary(self) -> tuple[MetricComparison, ...]:
        return tuple(finding for finding in self.findings if finding.question.primary)

    @cached_property
    def shift(self) -> Shift | None:
        """The percentiles at which the targets differ, for the main metric; None if it has no successful turn."""
        method = self.method
        how = Inference(method.level, method.run_sd, resamples=method.bootstrap_samples, seed=method.seed)
        return shift_of(self.targets, self.findings, how)

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each finding, primary metrics first, then for the p50 of each step.

        `scale` determines `difference`, `low` and `high`: for a ratio they are shares of the baseline (0.2 is +20 %),
        for points shares, for a slope in the unit of the metric; NaN for an open end. If the comparison is not fair,
        `usable` is false and `verdict` is `not_evaluated`. `run_id` is that of the candidate.
        """
        texts = [cause.text for cause in self.invalid_reasons] or [check.name for check in self.failed_checks]
        invalid = "; ".join(texts).replace(NBSP, " ")
        run_ids = {side.label: run_id_of(side.run) for side in self.targets}
        rows = []
        for one in (*self.findings, *self.steps):
            question, verdict, found = one.question, one.verdict, one.published
            asked = question.name, question.metric, *(question.stratum or NO_STRATUM), question.step
            judged, passes = ("not_evaluated", False) if invalid else (verdict.name, verdict.passes)
            values = (
                *(run_ids[one.candidate], one.candidate, *asked, question.p, question.unit),
                *(question.primary, judged, passes, verdict.provisional),
                *use(verdict_text(verdict.reason), published=found is not None, invalid=invalid).values(),
                *((found.baseline, found.candidate, *shares_of(found)) if found else [None] * 5),
                *(question.scale, *one.turns, *one.sessions, *one.failed, verdict.more_sessions),
            )
            rows.append(dict(zip(DTYPES, values, strict=True)))
        return frame_of(rows, DTYPES)

    def __repr__(self) -> str:
        """Return a summary: Comparison(east:b against west:b: inconclusive, 18 metrics)."""
        base, *candidates = (side.label for side in self.targets)
        counted = plural(len(self.findings), "metric").replace(NBSP, " ")
        return f"Comparison({join_words(candidates)} against {base}: {RESULT_OF_STATUS[self.exit_status]}, {counted})"

    def _repr_html_(self) -> str:
        columns = ("title", "candidate", "verdict", "baseline", "value", "unit", "difference", "low", "high", "reason")
        return frame_html(repr(self), self.to_frame(), columns, [cause.line for cause in self.invalid_reasons])

    @property
    def exit_status(self) -> ExitStatus:
        """The exit status of `rtbench check`: 4 invalid, 1 regressed, 3 inconclusive, 0 all primary metrics pass."""
        if self.failed_checks or not self.primary:
            return 4
        if self.decision is not None:
            return self.decision.exit_status
        if any(finding.verdict.name == "regressed" for finding in self.primary):
            return 1
        return 0 if all(finding.verdict.passes for finding in self.primary) else 3


CONFIDENCE = 1 - LEVEL


def one_sided_alpha(confidence: float) -> float:
    """Return the one-sided error of bounds: 0.05 for 0.95. Raise UsageError unless 0.5 < confidence < 1."""
    if not 0.5 < confidence < 1:
        raise UsageError(f"confidence must be between 0.5 and 1, such as 0.95, not {confidence:g}")
    return round(1 - confidence, 12)  # 0.05 is not exact in binary


def compare_targets(
    sides: Sequence[ComparedTarget],
    questions: Sequence[MetricSpec] | None = None,
    *,
    confidence: float = CONFIDENCE,
    draws: int = RESAMPLES,
    run_sd: float | None = None,
) -> Comparison:
    """Compare each candidate with the first target; by default, use `default_specs`.

    `run_sd`: the run-to-run sd of a log quantile; by default 0 within one run, and RUN_SD between two runs, whose
    verdicts are provisional. A third target does not affect the comparison of a candidate with the baseline; only
    Holm's correction is over all candidates. Raise UsageError if metrics have different definitions in the runs.
    """
    level = one_sided_alpha(confidence)
    refuse_other_definitions(sides)
    decision = decision_on(sides) if questions is None else None
    every = default_specs(sides) if questions is None else questions
    asked = list(dict.fromkeys(one for question in every for one in by_stratum(question, sides)))
    how = inference(sides, level, draws, run_sd)
    each = matched_to_the_first(sides)
    main = next((one for one in asked if one.primary and one.p is not None), None) if questions is None else None
    figures = sorted(measurements(each, asked, how), key=lambda one: not one.question.primary)
    findings = add_verdicts(figures, sides[0].label, level=level)
    names, base = {side.label: side.name for side in sides}, sides[0]
    if one_run(sides):
        findings = [replace(one, peers=are_peers(base.run, base.name, names[one.candidate])) for one in findings]
    tested = [one for one in figures if one.question.primary and one.difference and not one.floor(base.label)]
    return Comparison(
        targets=tuple(sides),
        findings=tuple(findings if one_run(sides) else map(provisional, findings)),
        checks=(*checks_of(sides), *any_failure(each, level)),
        method=Method(
            design="pairs" if all(base.paired for base, _ in each) else "sessions",
            unit=min(side.sessions for two in each for side in two),
            bootstrap_samples=draws,
            seed=seed_of(run_id_of(base.run)),
            confidence=confidence,
            holm=len(tested),
            run_sd=how.run_sd,
            rate_run_sd=how.rate_run_sd,
            observed_s=round(min(side.observed_s for side in sides), 1),
        ),
        notices=notices_of_comparison(sides, figures, decision),
        simulated=any(side.simulated for side in sides),
        decision=decision,
        at_twice_the_run_sd="" if one_run(sides) else run_sd_sensitivity(figures, level),
        steps=tuple(one for two in each for one in step_changes(*two, main, how)) if main else (),
    )


def inference(
    sides: Sequence[ComparedTarget], level: float = LEVEL, draws: int = RESAMPLES, run_sd: float | None = None
) -> Inference:
    """Return the settings of the intervals of these targets, with the seed of the baseline's run."""
    assumed = (0.0, 0.0) if one_run(sides) else (RUN_SD, RATE_RUN_SD)
    spread = assumed[0] if run_sd is None else run_sd
    return Inference(level, spread, assumed[1], draws, seed_of(run_id_of(sides[0].run)))


def measurements(
    each: Sequence[tuple[ComparedTarget, ComparedTarget]], asked: Sequence[MetricSpec], how: Inference
) -> list[MeasuredDifference]:
    """Return the result of each metric spec for each candidate."""
    return [one for base, side in each for one in measured(base, side, asked, how)]


def notices_of_comparison(
    sides: Sequence[ComparedTarget], measured: Sequence[MeasuredDifference], decision: Decision | None = None
) -> tuple[str, ...]:
    """Return the notices to read before the values."""
    primary = {one.question.metric for one in measured if one.question.primary}
    runs = {id(side.run): side for side in sides}.values()
    uncertain = [
        f"{'' if one_run(sides) else f'{side.label}: '}{line}"
        for side in runs
        if (line := uncertain_line(side.run, primary))
    ]
    return (*notices_on(sides), *uncertain, *drift_notices(measured), *notices_of(sides, decision))


def drift_notices(measured: Sequence[MeasuredDifference]) -> Iterable[str]:
    """Yield a notice on the primary metrics that drifted, or had bursts, on one target.

    For secondary metrics, the reason of the verdict shows it.
    """
    unit = "pairs" if all(one.unit == "pair" for one in measured) else "sessions"
    several = len({one.candidate for one in measured}) > 1
    for order, text in (("drift", DRIFTING), ("bursts", BURSTING)):
        found = [one for one in measured if one.question.primary and one.difference and one.difference.order == order]
        if names := dict.fromkeys(
            f"{one.question.metric} of {one.candidate}" if several else one.question.metric for one in found
        ):
            yield text.format(join_words(list(names)), unit)


def decision_on(sides: Sequence[ComparedTarget]) -> Decision | None:
    """Return the decision of the run, if these are all its targets in its order; None otherwise, or without a plan.

    Raise UsageError if the plan cannot be followed.
    """
    run = sides[0].run
    if not one_run(sides) or not was_planned(run.metadata) or not run.metadata.get("interleaved"):
        return None
    if [side.name for side in sides] != list(known_targets(run)):
        return None
    return decision_of(run, str(run.folder))


def notices_of(sides: Sequence[ComparedTarget], decision: Decision | None) -> list[str]:
    """Return a notice for each run that interim analyses ended, unless their decision is used."""
    if decision is not None:
        return []
    folders = dict.fromkeys(side.run.folder for side in sides if was_planned(side.run.metadata))
    return [CHOSEN.format(escape_control(folder.name), escape_control(str(folder))) for folder in folders]
