"""The decision on a comparison run, which may still continue. It is the content of decision.json,
which has the plan, the statistics of every analysis, and the result. With these, the result can be
computed again.

No state is kept between analyses. Each analysis is computed again from the rows of the run, and the
seed of its resamples depends on the run's ID. So the result does not depend on who computes it, or
when.

An analysis uses the first n pairs that started, and waits until all of them have ended. It does not
use the first n pairs that ended, because slow pairs are then still open, and would be missing. A
pair gets its number when it starts, so an analysis waits for all lower numbers. After the run has
ended, a number without a session is a pair that never started. Analyses use only the pairs before
the first pair that lacks a session of one target, or that was interrupted by the end of the run.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Literal

import numpy as np
import pandas as pd
from msgspec import structs

from bench.base.errors import (
    FAIL_STATUS,
    INCONCLUSIVE_STATUS,
    INVALID_STATUS,
    PASS_STATUS,
    UsageError,
)
from bench.record.document import GIVEN_UP, INTERRUPTED, SequentialPlanEntry
from bench.record.metric_values import floats
from reports.analysis.sequential.analysis import (
    AnalysisEntry,
    AnalysisSchedule,
    End,
    SequentialResult,
    judged_pairs,
    run_analyses,
)
from reports.analysis.sequential.plan import plan_of, planned_thresholds, refuse_other_targets
from reports.analysis.summary.run_validity import invalid_reasons
from reports.analysis.targets.compared_target import (
    ABSENT,
    ComparedTarget,
    Targets,
    by_pair,
    doubt,
)
from reports.analysis.targets.fairness import causes_of, deciding_checks
from reports.analysis.targets.metric_specs import specs_of_thresholds
from reports.analysis.targets.mix import ComparedTargets
from reports.analysis.targets.named import are_peers, known_targets
from reports.data.runs import Document, RunFrames, part_of, run_id_of
from reports.data.samples import samples_of
from reports.data.turns import measured_rows
from reports.engine.judge import Judged
from reports.metrics.metric_spec import MetricSpec, by_sample
from reports.metrics.thresholds import Threshold
from reports.results.json_entries import Known
from reports.results.value import (
    RESULT_OF_STATUS,
    BaselineFinding,
    Conclusion,
    Reason,
    Reasons,
    VerdictName,
    VerdictStatus,
    unique,
)
from reports.statistics.bootstrap import seed_of
from reports.statistics.counting import Integers
from reports.statistics.differences import Difference, Inference
from reports.statistics.group_sequential import InterimStatistic, untestable
from reports.statistics.threshold_estimate import NO_TURNS
from reports.statistics.verdicts import Verdict

STATUSES: dict[End, VerdictStatus] = {"not_regressed": PASS_STATUS, "regressed": FAIL_STATUS}
BY_ANALYSIS = "interim_analysis"
"""The `stop_reason` of a run that an interim analysis ended."""


class DecisionDocument(Conclusion, forbid_unknown_fields=True, kw_only=True):
    """The plan of a comparison that may end early, the statistics of every analysis, and the
    result.

    The differences of analyses are logs of ratios, and points for rates (0.01 is one percentage
    point).
    """

    schema: Literal[5] = 5
    run_id: str
    baseline: str
    candidate: str
    simulated: bool
    ended: bool
    """true if the run has ended"""
    stopped: bool
    """true if no further analysis will be made"""
    end: End
    """why no further analysis follows"""
    invalid: list[Reason]
    """why the targets may not be compared; empty if they may"""
    sentence: str = ""
    """the headline, and what ended the run"""
    stop_reason: Known
    """why the run ended, or interim_analysis; null if it continues, or if that is unknown"""
    stopped_by_analysis: bool
    """true if an interim analysis stopped the run"""
    analyses_made: int | None
    """those that took place; `analyses` may have more; null if unknown"""
    pairs: int
    """in the verdict"""
    pairs_after: int
    """complete pairs that are not in the verdict"""
    plan: SequentialPlanEntry
    seed: int
    analyses: tuple[AnalysisEntry, ...]
    primary_metrics: tuple[BaselineFinding, ...]

    @property
    def is_decided_by_analysis(self) -> bool:
        """True if an interim analysis gave the result. Something else may have ended the run."""
        return is_decided(self.end, self.invalid)

    @property
    def verdict(self) -> VerdictName:
        """The verdict of all primary metrics together."""
        return (
            self.end if self.end == "regressed" or self.end == "not_regressed" else "inconclusive"
        )

    @property
    def pairs_ended(self) -> int:
        """The number of measured pairs before the first pair that has not ended."""
        return self.pairs + self.pairs_after


def is_decided(end: End, invalid: object) -> bool:
    """Return whether an interim analysis gave the result. `invalid` is false if the targets may
    be compared.
    """
    return end == "invalid" if invalid else end not in ("pending", "no_analysis")


class Decision(DecisionDocument, kw_only=True, eq=False):
    """The decision, with the run and what its pages show in addition.

    `comparisons` has the comparison of both targets for each primary metric, with the values at the
    analysis that decided it.
    """

    run: RunFrames
    comparisons: tuple[Judged, ...]


AT_THE_END = ("run_valid", "turns")
"""The checks that an interim analysis skips.

run_valid: the load generator is checked after the run has ended. turns: further turns may still be
recorded.
"""


def decision_of(run: RunFrames, named: str = "the run") -> Decision:
    """Return the decision on a loaded run. `named` is the name of the run in error messages.

    Raise UsageError if the run was started without a plan, or if the plan cannot be followed.
    """
    plan = plan_of(run.metadata, named)
    known = known_targets(run)
    if len(known) != TARGETS or not run.metadata.get("interleaved"):
        raise UsageError(
            f"{named} is not an interleaved run of two targets, which interim analyses need"
            f" (targets: {len(known)})"
        )
    targets = (known[0], known[1])
    sizes = tuple(plan["analyses"])
    pairs = leading(run.sessions, ended=run.metadata.get("state") == "ended")

    @cache
    def first(pair_count: int) -> tuple[ComparedTarget, ...]:
        return targets_of_pairs(run, targets, pairs[:pair_count])

    thresholds = planned_thresholds(plan)
    refuse_other_targets(thresholds, targets)
    size = int(pairs.size)
    # their strata are used at every analysis
    specs = primary_specs(thresholds, first(min(sizes[0], size)))
    seed = seed_of(run_id_of(run))
    schedule = AnalysisSchedule(plan["pairs"], sizes, specs, plan["alpha"])

    def statistics_of(pair_count: int) -> list[InterimStatistic]:
        rng = np.random.default_rng([seed, pair_count])
        how = Inference(resamples=plan["bootstrap_samples"], seed=rng)
        error = schedule.dependence_error(pair_count)
        return interim_statistics(first(pair_count), specs, how, error)

    def unfit(pair_count: int) -> Reasons:
        return causes_of(
            check for check in deciding_checks(first(pair_count)) if check.code not in AT_THE_END
        )

    complete = sum(planned <= size for planned in sizes)
    result = run_analyses(schedule, statistics_of, complete, end_of(run.metadata), unfit=unfit)
    ended = run.metadata.get("state") in ("ended", "killed")
    invalid = unfit(result.analyses[-1].pairs) if result.reason == "invalid" else ()
    if ended and result.reason != "invalid":
        # this was decided during the run; a later verdict does not change it
        aborted = run.metadata.get("aborted_because")
        at_end = (Reason("aborted", {"because": str(aborted)}),) if aborted else ()
        unusable = tuple(invalid_reasons(run.metadata)) or (Reason("no_pair_ended"),)
        invalid = (causes_of(deciding_checks(first(size))) or at_end) if size else unusable
    too_early = Reason("no_analysis", {"unit": "pair", "needed": sizes[0], "there": [size]})
    undecided = Verdict("inconclusive", too_early)
    comparisons = [
        _compared(run, judged, first(sizes[judged.analysis - 1] if judged.analysis else size))
        for judged in result.decisions
        or [judged_pairs(spec, undecided, Difference(spec.scale, *NO_VALUES)) for spec in specs]
    ]
    observed_s = [
        max(target.observed_s for target in first(analysis.pairs)) for analysis in result.analyses
    ]
    used = result.analyses[-1].pairs if result.analyses else 0
    status = INVALID_STATUS if invalid else STATUSES.get(result.reason, INCONCLUSIVE_STATUS)
    return Decision(
        run=run,
        run_id=run_id_of(run),
        baseline=targets[0],
        candidate=targets[1],
        simulated=run.simulated,
        ended=ended,
        stopped=result.stopped or bool(invalid),
        result=RESULT_OF_STATUS[status],
        exit_status=status,
        headline="",
        end=result.reason,
        invalid=unique(invalid),
        stop_reason=_stop_reason(run.metadata),
        stopped_by_analysis=_stopped_by_analysis(
            run.metadata, result.reason, invalid, open_pairs=sizes[-1] - used if ended else 0
        ),
        analyses_made=_analyses_made(run.metadata, result, invalid, ended=ended),
        pairs=used,
        pairs_after=size - used,
        plan=plan,
        seed=seed,
        analyses=tuple(
            structs.replace(analysis, observed_s=seconds)
            for analysis, seconds in zip(result.analyses, observed_s, strict=True)
        ),
        primary_metrics=(),
        comparisons=tuple(comparisons),
    )


def primary_specs(thresholds: Iterable[Threshold], targets: Targets) -> tuple[MetricSpec, ...]:
    """Return the specs of the primary metrics: one for each stratum that the targets have."""
    return tuple(
        spec
        for threshold in thresholds
        for spec in (
            specs_of_thresholds(threshold, threshold.spec, targets) if targets else [threshold.spec]
        )
    )


def interim_statistics(
    targets: Targets,
    specs: Sequence[MetricSpec],
    inference: Inference,
    error: float,
) -> list[InterimStatistic]:
    """Return the statistics of all primary metrics. All quantiles of one metric use the same
    resamples.
    """
    by_spec: dict[MetricSpec, InterimStatistic] = {}
    for group in by_sample(specs):
        if unfit := doubt(targets, group[0]):
            statistics = [untestable(unfit)] * len(group)
        else:
            statistics = group[0].statistic.interim(
                ComparedTargets(*targets), group, inference, error
            )
        by_spec |= dict(zip(group, statistics, strict=True))
    return [by_spec[spec] for spec in specs]


NO_VALUES = (math.nan, math.nan, math.nan, -math.inf, math.inf)


def _compared(run: RunFrames, judged: Judged, targets: Targets) -> Judged:
    """Return a primary metric with the values of the targets at the analysis that decided, or
    now if none did.
    """
    known = known_targets(run)
    spec = judged.spec
    base, candidate = [spec.statistic.value(target, spec) for target in targets] or [
        math.nan
    ] * TARGETS
    base_counts, counts = [spec.statistic.counts(target, spec) for target in targets] or [
        NO_TURNS
    ] * TARGETS
    difference = judged.difference if base_counts.turns and counts.turns else None
    return replace(
        judged,
        target=known[1],
        targets=(base_counts, counts),
        difference=difference and replace(difference, baseline=base, candidate=candidate),
        baseline=known[0],
        peers=are_peers(run, known[0], known[1]),
    )


def _stop_reason(document: Document) -> str:
    """Return why the run ended; "" if it continues, or if that is unknown."""
    during = document.get("interim_analyses")
    if during is not None and during["stopped"]:
        return BY_ANALYSIS
    return str(document.get("stop_reason") or "").removeprefix(GIVEN_UP).rstrip(".")


def _stopped_by_analysis(document: Document, end: End, invalid: object, open_pairs: int) -> bool:
    """Return whether an interim analysis gave the result and ended the run, or was the final one of
    all planned pairs.

    `open_pairs` is the number of planned pairs that the last analysis did not use; 0 if the run
    continues.
    """
    if not is_decided(end, invalid):
        return False
    if not open_pairs:
        return True
    if (during := document.get("interim_analyses")) is not None:
        return bool(during["stopped"])
    ended_otherwise = document.get("aborted_because") or document.get("stop_reason") == INTERRUPTED
    return end not in ("final_analysis", "stopped_by_user") and not ended_otherwise


def _analyses_made(
    document: Document, result: SequentialResult, invalid: object, *, ended: bool
) -> int | None:
    """Return the number of analyses that took place; None if it is unknown.

    After an early end, the data may be enough for analyses that were not made during the run. If
    the run is invalid, and no analysis decided that, they do not count.
    """
    if not ended or is_decided(result.reason, invalid) or not invalid:
        return len(result.analyses)
    during = document.get("interim_analyses")
    return None if during is None else min(len(result.analyses), during["made"])


def end_of(document: dict[str, Any]) -> Literal["", "by hand", "blind"]:
    """Return the `end` that `run_analyses` takes, from the run's document.

    It is unknown why a killed run ended, so the result is then "by hand".
    """
    if document.get("state") not in ("ended", "killed"):
        return ""
    is_by_data = document["state"] == "killed" or part_of(document, "abort").get("reason")
    return "by hand" if is_by_data or document.get("stop_reason") == INTERRUPTED else "blind"


TARGETS = 2


def leading(sessions: pd.DataFrame, *, ended: bool, targets: int = TARGETS) -> Integers:
    """Return the numbers of the measured pairs before the first pair that has not ended, ascending.

    A pair has a session with each of the `targets`.

    `ended` is True if the run ended normally. Then a number without a row is a pair that never
    started; it is skipped.
    """
    numbered = sessions["pair"].notna().to_numpy()
    is_measured = np.zeros(len(sessions), bool)
    is_measured[measured_rows(sessions)] = True
    is_unfinished = (sessions["outcome_class"] == "unfinished").to_numpy() & ended
    number = floats(sessions, "pair")[numbered].astype(int)
    frame = pd.DataFrame(
        {
            "target": sessions["target"].to_numpy(object)[numbered],
            "cut": is_unfinished[numbered],
        }
    )
    # a call continues if another session replaced this one
    over = ~sessions["renewed"].to_numpy(bool)[numbered]
    targets_over = frame["target"].where(over).groupby(number).nunique()
    is_complete = (targets_over == targets) & ~frame.groupby(number)["cut"].any()
    known = is_complete.index.to_numpy(int)
    if not known.size:
        return known
    pair_numbers = known if ended else np.arange(int(known.max()) + 2)
    complete = is_complete.reindex(pair_numbers, fill_value=False).to_numpy()
    stop = int(np.argmin(complete)) if not complete.all() else complete.size
    return pair_numbers[:stop][np.isin(pair_numbers[:stop], number[is_measured[numbered]])]


def run_of_pairs(run: RunFrames, pairs: Integers) -> RunFrames:
    """Return a run with only the rows of these pairs."""
    rows = run.sessions["pair"].isin(pairs).to_numpy()
    sessions = run.sessions[rows].reset_index(drop=True)
    is_included = run.turns["session_id"].isin(set(sessions["session_id"])).to_numpy()
    return replace(run, sessions=sessions, turns=run.turns[is_included].reset_index(drop=True))


def targets_of_pairs(
    run: RunFrames, targets: tuple[str, str], pairs: Integers
) -> tuple[ComparedTarget, ...]:
    """Return both targets of a run, the baseline first, restricted to these pairs. Return () if
    there are no pairs.
    """
    if not pairs.size:
        return ()
    subset = run_of_pairs(run, pairs)
    samples = samples_of(subset)
    turns = samples.turns
    indices = [turns.targets.index(name) if name in turns.targets else ABSENT for name in targets]
    clusters = by_pair(subset, turns, indices)
    assert clusters is not None  # each of these pairs has a session of each target
    return tuple(
        ComparedTarget(subset, samples, index, name, name, target_clusters)
        for name, index, target_clusters in zip(targets, indices, clusters, strict=True)
    )
