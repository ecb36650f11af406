"""The decision on a comparison run, from its folder. The run may still continue. The decision is a `Decision` and the
file decision.json.

No state is kept between analyses. Each analysis is computed again from the rows of the run, and the seed of its
resamples depends on the run's ID. So the result does not depend on who computes it, or when.

An analysis uses the first n pairs that started, and waits until all of them have ended. It does not use the first n
pairs that ended, because slow pairs are then still open, and would be missing. A pair gets its number when it starts,
so an analysis waits for all lower numbers. After the run has ended, a number without a session is a pair that never
started. Analyses use only the pairs before the first pair that lacks a session of one target, or that was interrupted
by the end of the run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from bench.base.errors import UsageError
from bench.record.document import INTERRUPTED
from reports.analysis.metric_comparison import MetricComparison
from reports.analysis.sequential.analysis import AnalysisSchedule, MetricDecision, run_analyses
from reports.analysis.sequential.decision import Decision, write_decision
from reports.analysis.sequential.plan import plan_of, refuse_other_targets
from reports.analysis.summary.run_validity import invalid_reasons
from reports.analysis.targets.clusters import ABSENT, by_pair
from reports.analysis.targets.compared_target import ComparedTarget, uncertain_reason
from reports.analysis.targets.fairness import TURNS, VALID, causes_of, deciding_checks
from reports.analysis.targets.metric_specs import specs_of_thresholds
from reports.analysis.targets.mix import ComparedTargets
from reports.analysis.targets.named import are_peers, known_targets
from reports.data import runs
from reports.data.runs import RunFrames, run_id_of
from reports.data.samples import samples_of
from reports.data.turns import measured_rows
from reports.metrics.metric_spec import MetricSpec, by_sample
from reports.results.reason import Reason
from reports.statistics.bootstrap import seed_of
from reports.statistics.counting import Integers
from reports.statistics.differences import Difference
from reports.statistics.interim import InterimStatistic, untestable
from reports.statistics.target_counts import NO_TURNS
from reports.statistics.verdicts import Verdict

AT_THE_END = (VALID, TURNS)
"""The checks that an interim analysis skips.

VALID: the load generator is checked after the run has ended. TURNS: further turns may still be recorded.
"""


def analyse_pairs(folder: Path) -> Decision:
    """Return the decision on a run, which may still continue. Write it to decision.json.

    Raise UsageError if the folder is not a run, if the run was started without a plan, or if the folder is not
    writable.
    """
    decision = decision_of(runs.load_for_report(folder), str(folder))
    write_decision(decision, folder)
    return decision


def decision_of(run: RunFrames, named: str = "the run") -> Decision:
    """Return the decision on a loaded run. `named` is the name of the run in error messages."""
    plan = plan_of(run.metadata, named)
    known = known_targets(run)
    if len(known) != TARGETS or not run.metadata.get("interleaved"):
        raise UsageError(
            f"{named} is not an interleaved run of two targets, which interim analyses need (targets: {len(known)})"
        )
    targets = known[0], known[1]
    ended = run.metadata.get("state") in ("ended", "killed")
    pairs = leading(run.sessions, ended=run.metadata.get("state") == "ended")

    @cache
    def first(pair_count: int) -> tuple[ComparedTarget, ...]:
        return targets_of_pairs(run, targets, pairs[:pair_count])

    refuse_other_targets(plan.thresholds, targets)
    size = int(pairs.size)
    first_targets = first(min(plan.analyses[0], size))  # the strata of these pairs are used at every analysis
    gates = tuple(
        spec
        for threshold in plan.thresholds
        for spec in (
            specs_of_thresholds(threshold, threshold.question, first_targets) if first_targets else [threshold.question]
        )
    )
    seed = seed_of(run_id_of(run))
    complete = sum(planned <= size for planned in plan.analyses)

    schedule = AnalysisSchedule(plan.pairs, plan.analyses, len(gates), plan.alpha)

    def statistics_of(pair_count: int) -> list[InterimStatistic]:
        """Return the statistics of all gates after `pair_count` pairs.

        All quantiles of one metric use the same resamples.
        """
        compared_targets, rng = first(pair_count), np.random.default_rng([seed, pair_count])
        error = schedule.dependence_error(pair_count)
        by_spec: dict[MetricSpec, InterimStatistic] = {}
        for group in by_sample(gates):
            if unfit := uncertain_reason(compared_targets, group[0]):
                statistics = [untestable(unfit)] * len(group)
            else:
                statistics = group[0].statistic.interim(
                    ComparedTargets(*compared_targets), group, plan.bootstrap_samples, rng, error
                )
            by_spec |= dict(zip(group, statistics, strict=True))
        return [by_spec[gate] for gate in gates]

    def unfit(pair_count: int) -> tuple[Reason, ...]:
        return causes_of(check for check in deciding_checks(first(pair_count)) if check.name not in AT_THE_END)

    result = run_analyses(schedule, statistics_of, complete, end_of(run.metadata), unfit=unfit)
    invalid: tuple[Reason, ...] = ()
    if result.reason == "invalid":
        invalid = unfit(result.analyses[-1].pairs)
    elif ended and not size:
        no_data = (Reason("no_pair_ended"),)
        invalid = tuple(invalid_reasons(run.metadata)) or no_data
    elif ended:
        # this was decided during the run; a later verdict does not change it
        abort_reason = run.metadata.get("aborted_because")
        aborted = (Reason("aborted", {"because": str(abort_reason)}),) if abort_reason else ()
        invalid = causes_of(deciding_checks(first(size))) or aborted
    too_early = Reason("no_analysis", {"unit": "pair", "needed": plan.analyses[0], "there": [size]})
    unseen = MetricDecision("inconclusive", too_early, -1, math.nan, -math.inf, math.inf, math.nan)
    findings = [
        _finding(
            run, targets, gate, ruling, first(result.analyses[ruling.analysis].pairs if result.decisions else size)
        )
        for gate, ruling in zip(gates, result.decisions or [unseen] * len(gates), strict=True)
    ]
    seconds = tuple(max(target.observed_s for target in first(analysis.pairs)) for analysis in result.analyses)
    return Decision(run, targets, plan, gates, result, size, seed, ended, invalid, tuple(findings), seconds)


def _finding(
    run: RunFrames,
    targets: tuple[str, str],
    gate: MetricSpec,
    ruling: MetricDecision,
    compared_targets: Sequence[ComparedTarget],
) -> MetricComparison:
    """Return the comparison of both targets for one gate, with the decision `ruling`.

    `compared_targets` are both targets, restricted to the pairs of the analysis that decided the gate.
    """
    base, candidate = [gate.statistic.value(target, gate) for target in compared_targets] or [math.nan] * TARGETS
    base_counts, counts = [gate.statistic.counts(target, gate) for target in compared_targets] or [NO_TURNS] * TARGETS
    has_turns = base_counts.turns > 0 and counts.turns > 0
    return MetricComparison(
        gate,
        targets[1],
        Difference(gate.scale, base, candidate, ruling.d, ruling.low, ruling.high) if has_turns else None,
        (base_counts, counts),
        unit="pair",
        verdict=Verdict(ruling.verdict, ruling.reason, ruling.provisional),
        analysis=ruling.analysis + 1 if ruling.analysis >= 0 else None,
        corrected=ruling.corrected,
        baseline=targets[0],
        peers=are_peers(run, *targets),
    )


def end_of(document: dict[str, Any]) -> Literal["", "by hand", "blind"]:
    """Return the `end` that `run_analyses` takes, from the run's document.

    It is unknown why a killed run ended, so the result is then "by hand".
    """
    if document.get("state") not in ("ended", "killed"):
        return ""
    return "by hand" if document["state"] == "killed" or document.get("stop_reason") == INTERRUPTED else "blind"


TARGETS = 2


def leading(sessions: pd.DataFrame, *, ended: bool) -> Integers:
    """Return the numbers of the measured pairs before the first pair that has not ended, ascending.

    `ended` is True if the run ended normally. Then a number without a row is a pair that never started; it is skipped.
    """
    numbered = sessions["pair"].notna().to_numpy()
    is_measured = np.zeros(len(sessions), dtype=bool)
    is_measured[measured_rows(sessions)] = True
    is_unfinished = (sessions["outcome_class"] == "unfinished").to_numpy() & ended
    number = sessions["pair"].to_numpy(dtype=np.float64)[numbered].astype(np.int64)
    frame = pd.DataFrame(
        {"target": sessions["target"].to_numpy(dtype=object)[numbered], "cut": is_unfinished[numbered]}
    )
    over = ~sessions["renewed"].to_numpy(dtype=bool)[numbered]  # a call continues if another session replaced this one
    targets_over = frame["target"].where(over).groupby(number).nunique()
    is_complete = (targets_over == TARGETS) & ~frame.groupby(number)["cut"].any()
    known = is_complete.index.to_numpy(dtype=np.int64)
    if not known.size:
        return known
    pair_numbers = known if ended else np.arange(int(known.max()) + 2)
    complete = is_complete.reindex(pair_numbers, fill_value=False).to_numpy()
    stop = int(np.argmin(complete)) if not complete.all() else complete.size
    return pair_numbers[:stop][np.isin(pair_numbers[:stop], number[is_measured[numbered]])]


def targets_of_pairs(run: RunFrames, targets: tuple[str, str], pairs: Integers) -> tuple[ComparedTarget, ...]:
    """Return both targets of a run, the baseline first, restricted to these pairs. Return () if there are no pairs."""
    if not pairs.size:
        return ()
    rows = run.sessions["pair"].isin(pairs).to_numpy()
    sessions = run.sessions[rows].reset_index(drop=True)
    is_included = run.turns["session_id"].isin(set(sessions["session_id"])).to_numpy()
    subset = replace(run, sessions=sessions, turns=run.turns[is_included].reset_index(drop=True))
    samples = samples_of(subset)
    turns = samples.turns
    indices = [turns.targets.index(name) if name in turns.targets else ABSENT for name in targets]
    clusters = by_pair(subset, turns, indices)
    assert clusters is not None, "each of these pairs has a session of each target"
    return tuple(
        ComparedTarget(subset, samples, index, name, name, target_clusters)
        for name, index, target_clusters in zip(targets, indices, clusters, strict=True)
    )
