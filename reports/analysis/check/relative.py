"""Relative thresholds: the specs of the metrics to compare, the baseline, and the results.

If the baseline is a run, or a target of the same run, it is compared as in
`reports.analysis.comparisons`. If it is stored runs, they are compared as in
`reports.analysis.check.stored_runs`.

A run of `--until-decided` stopped at a time that depended on its values. In such a run, a test of a
fixed size would find differences too often, so the interim analyses of the run decide. The verdicts
are those of `reports.analysis.sequential.decide`. Each has the interval and the corrected estimate
of the analysis that decided it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import takewhile

from msgspec import structs

from bench.base.errors import UsageError
from bench.files.sanitize import escape_control
from reports.analysis.check.named_baseline import Against, BaselineResults
from reports.analysis.comparisons.comparison import (
    inference,
    measurements,
    notices_of,
    notices_of_comparison,
)
from reports.analysis.sequential.decide import Decision, decision_of
from reports.analysis.sequential.plan import planned_thresholds
from reports.analysis.summary.drift import Drift, drifts
from reports.analysis.targets.compared_target import ComparedTarget, Targets
from reports.analysis.targets.fairness import (
    causes_of,
    deciding_checks,
    one_run,
    one_seed,
    refuse_other_definitions,
)
from reports.analysis.targets.metric_specs import (
    default_specs,
    lacking_notices,
    specs_of_thresholds,
)
from reports.analysis.targets.named import (
    are_peers,
    filtered_by,
    matched_to_the_first,
    refuse_unknown,
    targets_of,
)
from reports.data import uncertainty
from reports.data.runs import RunFrames
from reports.engine.judge import NO_VALUE, Judged, add_verdicts
from reports.formatting import NBSP
from reports.metrics.argument_names import option
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.thresholds import Threshold
from reports.results.value import Reason, unique
from reports.statistics.differences import LEVEL
from reports.statistics.verdicts import Verdict


def specs_of(
    thresholds: Sequence[Threshold], targets: Targets, candidates: Sequence[str]
) -> list[tuple[str, MetricSpec, str]]:
    """Return the metric specs of the relative thresholds, one for each stratum.

    Without thresholds, use the default primary metrics.

    Each item of the list has the text of the threshold, the metric spec, and the name of the
    candidate, which is "" if the threshold is about all candidates. `candidates` is the names of
    all candidates. Raise UsageError for a threshold of a target that is not a candidate.
    """
    if not thresholds:
        primary = takewhile(lambda spec: spec.primary, default_specs(targets))
        return [
            (f"{spec.metric}: {spec.statistic.aggregate}<{_size(spec)}", spec, "")
            for spec in primary
        ]
    relative = [threshold for threshold in thresholds if threshold.margin is not None]
    for threshold in relative:
        if threshold.target and threshold.target not in candidates:
            raise UsageError(
                f"{threshold.source_text}: {threshold.target} is not a candidate; the candidates"
                f" are: {', '.join(candidates)}"
            )
    return [
        (threshold.source_text, spec, threshold.target)
        for threshold in relative
        for spec in specs_of_thresholds(threshold, threshold.spec, targets)
    ]


def _size(spec: MetricSpec) -> str:
    """Return the margin of a spec in the syntax of thresholds."""
    return (
        spec.margin_text(sign=True).replace(NBSP, "").replace("points", "pt").replace("point", "pt")
    )


def results_of(measured: Sequence[Judged]) -> list[Judged]:
    """Return each result with its verdict. Holm's correction covers all results, even if their
    baselines differ.
    """
    level = next((one.difference.level for one in measured if one.difference), LEVEL)
    return [*map(evaluated, add_verdicts(measured, "the baseline", level=level))]


def evaluated(result: Judged) -> Judged:
    """Return the result of a relative threshold. It is `not_evaluated` if a target has no value
    of the metric.
    """
    if result.difference or result.unfit:
        return result
    return replace(result, verdict=replace(result.verdict, reason=NO_VALUE))


def mark_provisional(
    results: BaselineResults,
    targets: Targets,
    before: Targets = (),
) -> BaselineResults:
    """Mark the results that are provisional, and add a notice for each reason.

    `targets` is the targets of the checked run. `before` is the targets of the run that is the
    baseline; [] if the baseline is stored runs.
    """
    drifted = _drifts(targets)
    chosen = notices_of(targets, None)
    doubtful = (
        {target.name for target in targets} if chosen else {drift.target for drift in drifted}
    )
    assumed = any(one.assumes and one.difference for one in results.results)
    notes = [*results.notes, *([Reason("run_sd_assumed")] if assumed else [])]
    for run, of in (("", drifted), (before[0].run.folder_name if before else "", _drifts(before))):
        notes += [Reason("steady_phase_drifted", {"run": run, "drifts": of})] if of else []
    notes += [
        Reason("provisional", {"reason": notice})
        for notice in chosen
        if notice not in results.notes
    ]
    marked = tuple(
        replace(one, assumes=one.assumes or one.target in doubtful) for one in results.results
    )
    return replace(results, results=marked, notes=tuple(notes))


def _drifts(targets: Targets) -> list[Drift]:
    """Return the suspected drifts of the run of these targets."""
    return (
        [drift for drift in drifts(targets[0].run, targets[0].samples) if drift.suspected]
        if targets
        else []
    )


def against_targets(
    targets: Targets, base: Against, thresholds: Sequence[Threshold]
) -> BaselineResults:
    """Compare one target of an interleaved run, the baseline, with each of the other targets."""
    (baseline,) = (target for target in targets if target.name == base.target)
    results = _results_of_comparison(
        baseline, [target for target in targets if target is not baseline], thresholds
    )
    marked = tuple(
        replace(one, peers=not base.declared and are_peers(baseline.run, base.target, one.target))
        for one in results.results
    )
    return replace(
        results, results=marked, against=Reason("target_of_run", {"target": base.target})
    )


def against_run(
    targets: Targets,
    base: Against,
    thresholds: Sequence[Threshold],
    other: RunFrames,
) -> BaselineResults:
    """Compare each target with the target of the same name in another run, or with the only
    target of the other run.
    """
    others = targets_of(other)
    partners: dict[str, list[ComparedTarget]] = {}
    for target in targets:
        if not thresholds or any(
            t.margin is not None and t.target in ("", target.name) for t in thresholds
        ):
            partners.setdefault(
                _partner(base, target.name, [other.name for other in others]), []
            ).append(target)
    results = []
    for partner, mine in partners.items():
        refuse_unknown(other, partner)
        about = ["", *(target.name for target in mine)]
        baseline = next(target for target in others if target.name == partner)
        results.append(
            _results_of_comparison(
                baseline, mine, [threshold for threshold in thresholds if threshold.target in about]
            )
        )
    joined = BaselineResults(
        results=tuple(one for result in results for one in result.results),
        causes=tuple(unique(cause for result in results for cause in result.causes)),
        notes=tuple(unique(note for result in results for note in result.notes)),
        compared=tuple(targets for result in results for targets in result.compared),
        against=Reason(
            "other_run", {"targets": list(partners), "run": escape_control(base.folder.name)}
        ),
    )
    return mark_provisional(joined, targets, others)


def _partner(base: Against, target: str, known: Sequence[str]) -> str:
    """Return the name of the target in the baseline's run with which a candidate is compared."""
    if base.target:
        return base.target
    if target in known:
        return target
    if len(known) == 1:
        return known[0]
    raise UsageError(
        f"{base.folder} has no target {target}: choose the baseline: "
        + " or ".join(f"{base.folder}:{name}" for name in known or ["TARGET"])
    )


def _results_of_comparison(
    baseline: ComparedTarget, candidates: Targets, thresholds: Sequence[Threshold]
) -> BaselineResults:
    """Return the results of one comparison.

    The reasons why the checked run is invalid are not included, because the check itself reports
    them.
    """
    targets = filtered_by([baseline, *candidates])
    specs = specs_of(thresholds, targets, [target.name for target in targets[1:]])
    refuse_other_definitions(targets)
    target_pairs = matched_to_the_first(targets)
    how = inference(targets, LEVEL)
    differences = measurements(target_pairs, list(dict.fromkeys(spec for _, spec, _ in specs)), how)
    by_spec = {(measured.spec, measured.target): measured for measured in differences}
    is_provisional = not one_run(targets)
    results = tuple(
        replace(
            by_spec[spec, target.label],
            target=target.name,
            threshold=source_text,
            assumes=is_provisional,
            baseline=baseline.name,
        )
        for source_text, spec, candidate in specs
        for target in targets[1:]
        if candidate in ("", target.name)
    )
    own = causes_of(deciding_checks(candidates))
    causes = tuple(cause for cause in causes_of(deciding_checks(targets)) if cause not in own)
    notes = (
        *notices_of_comparison(targets, differences),
        *(() if thresholds else lacking_notices(targets)),
    )
    return BaselineResults(results, causes, notes=notes, compared=(tuple(targets),))


def by_analyses(
    run: RunFrames,
    targets: Targets,
    base: Against,
    thresholds: Sequence[Threshold],
) -> BaselineResults:
    """Return the results of the interim analyses. `thresholds` is the user's relative thresholds;
    [] means the plan's.

    Raise UsageError if the thresholds or the baseline differ from those of the plan.
    """
    decision = decision_of(run, str(run.folder))
    if base.declared:
        declared = tuple(replace(compared, peers=False) for compared in decision.comparisons)
        decision = structs.replace(decision, comparisons=declared)
    _refuse_others(decision, base, thresholds, str(run.folder))
    drifting = [one.title for one in decision.comparisons if one.verdict.provisional]
    notes = [Reason("drift_in_analyses", {"metrics": drifting})] if drifting else []
    if decision.is_decided_by_analysis and decision.pairs_after:
        notes.append(Reason("pairs_after_analysis", {"pairs": decision.pairs_after}))
    named = [
        target
        for name in (decision.baseline, decision.candidate)
        for target in targets
        if target.name == name
    ]
    notes += one_seed(filtered_by(named))
    return BaselineResults(
        items=tuple(_items(decision)),
        causes=tuple(decision.invalid),
        notes=tuple(notes),
        against=Reason("interim_analyses", {"target": base.target}),
        decision=decision,
    )


def _refuse_others(
    decision: Decision, base: Against, thresholds: Sequence[Threshold], run: str
) -> None:
    """Raise UsageError if the baseline or the thresholds differ from those of the plan."""
    first = decision.baseline
    second = decision.candidate
    thresholds_of_plan = planned_thresholds(decision.plan)
    if base.target != first:
        raise UsageError(
            f"{first} is the baseline of the interim analyses of {run}, not {base.target}: remove"
            f" {option('baseline')}"
        )
    planned = {_requested(threshold, second) for threshold in thresholds_of_plan}
    requested = {_requested(threshold, second): threshold for threshold in thresholds}
    for key, threshold in requested.items():
        if key not in planned:
            raise _refusal(
                f"{threshold.source_text} is not a primary metric of the interim analyses of {run}"
            )
    left = [t.source_text for t in thresholds_of_plan if _requested(t, second) not in requested]
    if requested and left:
        raise _refusal(
            f"the interim analyses of {run} decide {left[0]}, which is missing from the thresholds"
        )


def _refusal(problem: str) -> UsageError:
    return UsageError(
        f"{problem}: remove {option('thresholds')}, or all relative ones from its file"
    )


def _requested(threshold: Threshold, candidate: str) -> tuple[MetricSpec, str]:
    """Return the metric spec and the target of a threshold. The target is "" if it is the only
    candidate.
    """
    return threshold.spec, "" if threshold.target == candidate else threshold.target


def _items(decision: Decision) -> Iterable[Judged]:
    """Yield a result for each primary metric. Before the first analysis, it is not evaluated."""
    for comparison in decision.comparisons:
        primary = comparison.spec
        of_turn_type = primary.stratum and primary.stratum._replace(measured_from="")
        # a threshold has several metrics if turns are measured from several instants
        specs = [
            replace(primary, stratum=stratum) for stratum in (primary.stratum, of_turn_type, None)
        ]
        source_text = next(
            threshold.source_text
            for threshold in planned_thresholds(decision.plan)
            if threshold.spec in specs
            and threshold.measured_from
            in (
                "",
                primary.stratum.measured_from if primary.stratum else "",
            )
        )
        of_targets = (
            (
                uncertainty.uncertain_reason(
                    decision.run.uncertain_metrics, target, primary.metric
                ),
                "",
            )
            for target in (decision.baseline, decision.candidate)
        )
        if decision.pairs_ended and (uncertain := uncertainty.joint_reason(of_targets)):
            verdict = Verdict("inconclusive", uncertain)
            comparison = replace(
                comparison, unfit=uncertain, difference=None, verdict=verdict, corrected=math.nan
            )
        yield evaluated(replace(comparison, threshold=source_text))
