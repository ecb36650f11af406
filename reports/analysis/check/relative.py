"""Relative thresholds: the specs of the metrics to compare, the baseline, and the results.

If the baseline is a run, or a target of the same run, it is compared as in `reports.comparisons`. If it is stored runs,
they are compared as in `reports.analysis.check.stored_runs`.

A run of `--until-decided` stopped at a time that depended on its values. In such a run, a test of a fixed size would
find differences too often, so the interim analyses of the run decide. The verdicts are those of
`reports.analysis.sequential.decide`. Each has the interval and the corrected estimate of the analysis that decided it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from msgspec import structs

from bench.base.errors import UsageError
from bench.files.sanitize import escape_control
from bench.record.presence import is_folder, is_run
from reports.analysis.check.results import ThresholdResult, compared_result
from reports.analysis.comparisons.comparison import inference, measurements, notices_of, notices_of_comparison
from reports.analysis.metric_comparison import MeasuredDifference, add_verdicts, provisional
from reports.analysis.sequential.decide import decision_of
from reports.analysis.sequential.decision import Decision
from reports.analysis.sequential.plan import planned_thresholds
from reports.analysis.summary.drift import PoolDrift, drifts
from reports.analysis.targets.compared_target import ComparedTarget
from reports.analysis.targets.fairness import causes_of, deciding_checks, one_run, one_seed, refuse_other_definitions
from reports.analysis.targets.metric_specs import default_specs, lacking_notices, specs_of_thresholds
from reports.analysis.targets.named import (
    are_peers,
    filtered_by,
    matched_to_the_first,
    refuse_unknown,
    split_name,
    targets_of,
)
from reports.data import uncertainty
from reports.data.runs import RunFrames
from reports.formatting import join_words, plural
from reports.metrics.argument_names import option
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.thresholds import Threshold, near, quoted
from reports.results.reason import Reason, unique
from reports.statistics.differences import LEVEL
from reports.statistics.verdicts import Verdict
from reports.text.comparison_sentences import run_reasons
from reports.text.decision_sentences import analysis_place, decision_headline, made_text
from reports.text.reasons import reason_text
from reports.text.remarks import drift_suspected
from reports.text.verdicts import OWN_DRIFT_INTERIM, RUN_TO_RUN, margin
from reports.text.verdicts import metric_text as figure_name

ASSUMED = (
    "Provisional: fewer than five stored runs are too few to estimate run-to-run variation; a standard deviation of "
    f"{RUN_TO_RUN} was assumed."
)
STORE_FIVE = "Store five runs to estimate it."
DRIFTED_INTERIM = (
    "{}: provisional: one target drifted or had bursts, so parts of the run were counted, not pairs. If the true value "
    f"is exactly on the margin, {OWN_DRIFT_INTERIM}."
)
DRIFTED = (
    "{}Drift of the steady phase is {}. The values depend on the time of the measurement, so these verdicts are "
    "provisional."
)


@dataclass(frozen=True)
class BaselineResult:
    """The measured difference between a target of the run and its baseline, for one metric spec."""

    threshold_text: str
    measured: MeasuredDifference
    provisional: bool = False
    """True if the result depends on an assumption that more runs would make unnecessary."""
    not_stored: Reason | None = None
    """The reason why no baseline is stored yet. If it is set, the result is inconclusive, although the run has data."""
    baseline: str = "the stored runs"
    """The name of the baseline."""
    peers: bool = False
    """True if both targets are services, and neither is the baseline of the other."""

    @property
    def target(self) -> str:
        return self.measured.candidate


@dataclass(frozen=True)
class BaselineResults:
    """All results of the comparison with a baseline.

    - `results` is the results that have no verdicts yet
    - `items` is the results that have the verdicts of interim analyses; `sentence` and `decision` also describe them
    - `invalid_reasons` is the `causes` of `CheckResult`
    - `baseline_text` is the `baseline` of `CheckResult`
    - `differs` and `notices` are the same as in `CheckResult`
    - `compared_runs` is the folders of the runs whose own notices are already in `notices`
    """

    results: tuple[BaselineResult, ...] = ()
    invalid_reasons: tuple[Reason, ...] = ()
    differs: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    baseline_text: str = ""
    items: tuple[ThresholdResult, ...] = ()
    sentence: str = ""
    compared_runs: tuple[Path, ...] = ()
    decision: Decision | None = None


def specs_of(
    thresholds: Sequence[Threshold], targets: Sequence[ComparedTarget], candidates: Sequence[str]
) -> list[tuple[str, MetricSpec, str]]:
    """Return the metric specs of the relative thresholds, one for each stratum.

    Without thresholds, use the default gates.

    Each item of the list has the text of the threshold, the metric spec, and the name of the candidate, which is "" if
    the threshold is about all candidates. `candidates` is the names of all candidates. Raise UsageError for a threshold
    of a target that is not a candidate.
    """
    relative = [threshold for threshold in thresholds if threshold.margin is not None]
    for threshold in relative:
        if threshold.target and threshold.target not in candidates:
            what = f"{threshold.target} is not a candidate; the candidates are: {', '.join(candidates)}"
            raise UsageError(f"{threshold.source_text}: {what}")
    if thresholds:
        return [
            (threshold.source_text, spec, threshold.target)
            for threshold in relative
            for spec in specs_of_thresholds(threshold, threshold.spec, targets)
        ]
    defaults = []
    for spec in takewhile(lambda spec: spec.primary, default_specs(targets)):
        accepted = margin(spec, sign=True).replace("\u00a0", "")
        size = accepted.replace("points", "pt").replace("point", "pt")
        defaults.append((f"{spec.metric}: {spec.statistic.aggregate}<{size}", spec, ""))
    return defaults


def results_of(answers: Sequence[BaselineResult]) -> list[ThresholdResult]:
    """Return each result with its verdict. Holm's correction covers all results, even if their baselines differ."""
    level = next((difference.level for answer in answers if (difference := answer.measured.difference)), LEVEL)
    results = []
    findings = add_verdicts([answer.measured for answer in answers], "the baseline", level=level)
    for finding, answer in zip(findings, answers, strict=True):
        marked = provisional(finding) if answer.provisional else finding
        result = compared_result(answer.threshold_text, replace(marked, baseline=answer.baseline, peers=answer.peers))
        if answer.not_stored and marked.turns[1]:
            marked = replace(marked, verdict=Verdict("inconclusive", answer.not_stored))
            result = replace(result, result="inconclusive", reason=answer.not_stored, finding=marked)
        results.append(result)
    return results


def mark_provisional(
    answers: BaselineResults, targets: Sequence[ComparedTarget], before: Sequence[ComparedTarget] = ()
) -> BaselineResults:
    """Mark the results that are provisional, and add a notice for each reason.

    `targets` is the targets of the checked run. `before` is the targets of the run that is the baseline; [] if the
    baseline is stored runs.
    """
    drifted, chosen = _drifts(targets), [*map(reason_text, notices_of(targets, None))]
    doubtful = {target.name for target in targets} if chosen else {drift.target for drift in drifted}
    assumed = [answer.measured for answer in answers.results if answer.provisional and answer.measured.difference]
    notices = [
        *answers.notices,
        *([f"{ASSUMED} {STORE_FIVE}"] if assumed else []),
        *_drifted(drifted, ""),
        *(_drifted(_drifts(before), f"{before[0].run.folder_name}: ") if before else []),
        *(f"{notice} The verdicts are provisional." for notice in chosen if notice not in answers.notices),
    ]
    marked = tuple(
        replace(answer, provisional=answer.provisional or answer.target in doubtful) for answer in answers.results
    )
    return replace(answers, results=marked, notices=tuple(notices))


def _drifts(targets: Sequence[ComparedTarget]) -> list[PoolDrift]:
    """Return the suspected drifts of the run of these targets."""
    return [drift for drift in drifts(targets[0].run, targets[0].samples) if drift.suspected] if targets else []


def _drifted(drifts: Sequence[PoolDrift], whose: str) -> Iterable[str]:
    if drifts:
        yield DRIFTED.format(whose, drift_suspected(drifts))


@dataclass(frozen=True)
class SameRunBaseline:
    """A baseline that is a target of the checked, interleaved run. The other targets are the candidates.

    `declared` is True if `--baseline` names the target.
    """

    target: str
    declared: bool = False


@dataclass(frozen=True)
class OtherRunBaseline:
    """A baseline that is another run, by its folder.

    `target` is the target in that run. If it is "", the baseline is the target with the candidate's name, or the only
    target.
    """

    folder: Path
    target: str = ""


@dataclass(frozen=True)
class StoredRunsBaseline:
    """A baseline that is stored runs, in a folder that `rtbench baseline save` wrote.

    `target` is the target of the stored runs. If it is "", this is the target with the candidate's name.
    """

    folder: Path
    target: str = ""


Against = SameRunBaseline | OtherRunBaseline | StoredRunsBaseline


def baseline_named(text: str | None, run: Path, document: dict[str, Any], targets: Sequence[str]) -> Against | None:
    """Return the baseline that `--baseline` names. Raise UsageError if nothing has that name.

    If `text` is None, it is the first of `targets` if there are several and they are interleaved, otherwise None.
    """
    several = bool(document.get("interleaved")) and len(targets) > 1
    if text is None:
        return SameRunBaseline(targets[0]) if several else None
    folder, target = split_name(text)
    if not is_folder(folder):
        if several and text in targets:
            return SameRunBaseline(text, declared=True)
        raise UsageError(
            f"{option('baseline', quoted(text))} is not a run, a folder of stored baselines, or a target of an "
            f"interleaved run{near(text, targets) if several else ';'} allowed: RUN, RUN:TARGET, a folder of `rtbench "
            "baseline save`, FOLDER:TARGET (before the first run, create the folder: mkdir -p FOLDER)"
            f"{f', {chr(44).join(targets)}' if several else ''}"
        )
    if is_run(folder):
        if folder.resolve() == run.resolve():
            if several and target and target in targets:
                return SameRunBaseline(target, declared=True)
            reason = f"its targets are {', '.join(targets)}" if several else "its targets did not run in pairs"
            raise UsageError(f"{option('baseline', quoted(text))} is the checked run itself, and {reason}")
        return OtherRunBaseline(folder, target or "")
    return StoredRunsBaseline(folder, target or "")


def against_targets(
    targets: Sequence[ComparedTarget], base: SameRunBaseline, thresholds: Sequence[Threshold]
) -> BaselineResults:
    """Compare one target of an interleaved run, the baseline, with each of the other targets."""
    (baseline,) = (target for target in targets if target.name == base.target)
    results = _results_of_comparison(baseline, [target for target in targets if target is not baseline], thresholds)
    answers = tuple(
        replace(answer, peers=not base.declared and are_peers(baseline.run, base.target, answer.target))
        for answer in results.results
    )
    return replace(results, results=answers, baseline_text=f"{base.target}, in the same run")


def against_run(
    targets: Sequence[ComparedTarget], base: OtherRunBaseline, thresholds: Sequence[Threshold], other: RunFrames
) -> BaselineResults:
    """Compare each target with the target of the same name in another run, or with the only target of the other run."""
    others = targets_of(other)
    partners: dict[str, list[ComparedTarget]] = {}
    for target in targets:
        if not thresholds or any(t.margin is not None and t.target in ("", target.name) for t in thresholds):
            partners.setdefault(_partner(base, target.name, [other.name for other in others]), []).append(target)
    results = []
    for partner, mine in partners.items():
        refuse_unknown(other, partner)
        about = ["", *(target.name for target in mine)]
        baseline = next(target for target in others if target.name == partner)
        results.append(
            _results_of_comparison(baseline, mine, [threshold for threshold in thresholds if threshold.target in about])
        )
    answers = BaselineResults(
        results=tuple(answer for result in results for answer in result.results),
        invalid_reasons=tuple(unique(cause for result in results for cause in result.invalid_reasons)),
        notices=tuple(dict.fromkeys(line for result in results for line in result.notices)),
        compared_runs=tuple(dict.fromkeys(folder for result in results for folder in result.compared_runs)),
        baseline_text=f"{', '.join(partners)} of {escape_control(base.folder.name)}",
    )
    return mark_provisional(answers, targets, others)


def _partner(base: OtherRunBaseline, target: str, known: Sequence[str]) -> str:
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
    baseline: ComparedTarget, candidates: Sequence[ComparedTarget], thresholds: Sequence[Threshold]
) -> BaselineResults:
    """Return the results of one comparison.

    The reasons why the checked run is invalid are not included, because the check itself reports them.
    """
    targets = filtered_by([baseline, *candidates])
    names = [target.name for target in targets[1:]]
    specs = specs_of(thresholds, targets, names)
    refuse_other_definitions(targets)
    target_pairs, how = matched_to_the_first(targets), inference(targets, LEVEL)
    differences = measurements(target_pairs, list(dict.fromkeys(spec for _, spec, _ in specs)), how)
    by_spec = {(measurement.spec, measurement.candidate): measurement for measurement in differences}
    answers = [
        BaselineResult(
            source_text,
            replace(by_spec[spec, target.label], candidate=target.name),
            provisional=not one_run(targets),
            baseline=baseline.name,
        )
        for source_text, spec, candidate in specs
        for target in targets[1:]
        if candidate in ("", target.name)
    ]
    own = causes_of(deciding_checks(candidates))
    causes = [cause for cause in causes_of(deciding_checks(targets)) if cause not in own]
    runs = tuple(dict.fromkeys(target.run.folder for target in targets))
    lacking = () if thresholds else lacking_notices(targets)
    primary = {measurement.spec.metric for measurement in differences if measurement.spec.primary}
    reasons = [*notices_of_comparison(targets, differences), *run_reasons(targets, primary), *lacking]
    notices = tuple(map(reason_text, reasons))
    return BaselineResults(tuple(answers), tuple(causes), notices=notices, compared_runs=runs)


def by_analyses(
    run: RunFrames, targets: Sequence[ComparedTarget], base: SameRunBaseline, thresholds: Sequence[Threshold]
) -> BaselineResults:
    """Return the results of the interim analyses. `thresholds` is the user's relative thresholds; [] means the plan's.

    Raise UsageError if the thresholds or the baseline differ from those of the plan.
    """
    decision = decision_of(run, str(run.folder))
    if base.declared:
        declared = tuple(replace(compared, peers=False) for compared in decision.comparisons)
        decision = structs.replace(decision, comparisons=declared)
    _refuse_others(decision, base, thresholds, str(run.folder))
    stopped = made_text(decision) or "their number is unknown"
    if not decision.analyses:
        stopped = "none was made"
    elif decision.is_decided_by_analysis or not decision.ended:
        stopped = f"{'stopped at' if decision.stopped_by_analysis else 'the last one is'} {analysis_place(decision)}"
    both = zip(decision.specs, decision.primary_metrics, strict=False)
    drifting = [figure_name(spec) for spec, decided in both if decided.provisional]
    notices = [DRIFTED_INTERIM.format(join_words(drifting))] if drifting else []
    if decision.is_decided_by_analysis and (after := decision.pairs_after):
        notices.append(f"{plural(after, 'complete pair')} ended after that analysis; the verdict excludes them.")
    named = [target for name in (decision.baseline, decision.candidate) for target in targets if target.name == name]
    notices += map(reason_text, one_seed(filtered_by(named)))
    return BaselineResults(
        items=tuple(_items(decision)),
        sentence=decision_headline(decision),
        invalid_reasons=tuple(decision.invalid),
        notices=tuple(notices),
        baseline_text=f"{base.target}, in the same run, by its interim analyses: {stopped}",
        decision=decision,
    )


def _refuse_others(decision: Decision, base: SameRunBaseline, thresholds: Sequence[Threshold], run: str) -> None:
    """Raise UsageError if the baseline or the thresholds differ from those of the plan."""
    first, second = decision.baseline, decision.candidate
    thresholds_of_plan = planned_thresholds(decision.plan)
    if base.target != first:
        raise UsageError(
            f"{first} is the baseline of the interim analyses of {run}, not {base.target}: remove {option('baseline')}"
        )
    planned = {_requested(threshold, second) for threshold in thresholds_of_plan}
    requested = {_requested(threshold, second): threshold for threshold in thresholds}
    remedy = f"remove {option('thresholds')}, or all relative ones from its file"
    for key, threshold in requested.items():
        if key not in planned:
            raise UsageError(
                f"{threshold.source_text} is not a primary metric of the interim analyses of {run}: {remedy}"
            )
    if requested and (left := [t.source_text for t in thresholds_of_plan if _requested(t, second) not in requested]):
        raise UsageError(
            f"the interim analyses of {run} decide {left[0]}, which is missing from the thresholds: {remedy}"
        )


def _requested(threshold: Threshold, candidate: str) -> tuple[MetricSpec, str]:
    """Return the metric spec and the target of a threshold. The target is "" if it is the only candidate."""
    return threshold.spec, "" if threshold.target == candidate else threshold.target


def _items(decision: Decision) -> Iterable[ThresholdResult]:
    """Yield a result for each gate. Before the first analysis, a gate is not evaluated."""
    for gate, finding in zip(decision.specs, decision.comparisons, strict=True):
        of_turn_type = gate.stratum and gate.stratum._replace(measured_from="")
        # a threshold has several gates if turns are measured from several instants
        specs = [replace(gate, stratum=stratum) for stratum in (gate.stratum, of_turn_type, None)]
        source_text = next(
            threshold.source_text
            for threshold in planned_thresholds(decision.plan)
            if threshold.spec in specs
            and threshold.measured_from in ("", gate.stratum.measured_from if gate.stratum else "")
        )
        of_targets = (
            (uncertainty.uncertain_reason(decision.run.uncertain_metrics, target, gate.metric), "")
            for target in (decision.baseline, decision.candidate)
        )
        if decision.pairs_ended and (uncertain := uncertainty.joint_reason(of_targets)):
            undecided = Verdict("inconclusive", uncertain)
            finding = replace(finding, uncertain=uncertain, difference=None, verdict=undecided, corrected=math.nan)
        yield compared_result(source_text, finding)
