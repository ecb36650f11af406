"""`rtbench check`: the comparison of a run with thresholds and with a baseline. The result is plain data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from bench.base.errors import PASS_STATUS, UsageError
from bench.record.document import INTERRUPTED
from reports.analysis.check import relative
from reports.analysis.check.absolute import limit_results
from reports.analysis.check.relative import BaselineResults
from reports.analysis.check.results import CheckResult, OnInconclusive, ThresholdResult
from reports.analysis.check.stored_runs import against_stored_runs
from reports.analysis.sequential.plan import was_planned
from reports.analysis.summary.run_validity import data_notes, invalid_reasons, validity_of
from reports.analysis.summary.targets import FAIR
from reports.analysis.targets.clusters import ABSENT
from reports.analysis.targets.compared_target import ComparedTarget
from reports.analysis.targets.fairness import own_causes, throttled_cause, throttled_share
from reports.analysis.targets.metric_specs import instants_of
from reports.analysis.targets.named import targets_of
from reports.data.runs import RunFrames, labels_of, load_for_report, run_id_of
from reports.data.turns import measured_sessions
from reports.formatting import join_words
from reports.metrics import step_names
from reports.metrics.argument_names import option
from reports.metrics.strata import MEASURED_FROM_PHRASES
from reports.metrics.thresholds import Threshold, near, recorded, unread_notice
from reports.results.reason import Reason, unique
from reports.statistics.differences import Order
from reports.statistics.threshold_estimate import TAIL
from reports.text.finding_sentences import answer
from reports.text.notices import run_notices, uncertain_line
from reports.text.reasons import reason_text, unequal_reason
from reports.text.verdicts import OWN_DRIFT

DEPENDENCE: dict[Order, str] = {
    "drift": "{} drifted during the run",
    "bursts": "{} had bursts during the run, which are slow or failed sessions that follow each other",
}
"""For each type of autocorrelation, a clause with the names of the values in which it was found."""
PROVISIONAL = (
    "Neighbouring sessions are autocorrelated, so parts of the run are counted instead of sessions, and these verdicts "
    f"are provisional: if the true value is exactly at the limit, {OWN_DRIFT}. A longer run reduces this error."
)
UNEQUAL = (
    "Sessions of unequal length count as fewer: {}. Bounds are widened accordingly. If long sessions are also slower, "
    "they can still be too narrow: the type I error is up to 13 %, not 5 %."
)
SIMILAR = 0.75
"""The limit of effective sessions ÷ actual sessions. Below it, a notice reports that the sessions have unequal lengths.
"""
FAMILY = (
    "Each of the {} limits is tested by itself, with a type I error of 5 %. If all true values were exactly at the "
    "limits, at least one would fail by chance in 5 to {:.0f} % of runs, less often the more they are correlated."
)
FAILURES, THROTTLED = "failure_rate", "throttle_rate"
OMITTED = 0.1
"""The maximum share of planned turns that did not start, if a check without a threshold on failures is to pass."""
INTERRUPTED_RUN = (
    "the run was interrupted before its planned end: the verdict covers the turns until then, and is biased if the run "
    "was interrupted because of its results"
)
"""The warning for a run that a signal ended. If such a run passes, this does not cover the complete plan."""
UNUSED = 'No threshold is relative, so the baseline was not used: add one, such as ttfa: "p(95)<+20%".'


def check_of(
    run: Path | RunFrames,
    thresholds: Sequence[Threshold] = (),
    baseline: str | RunFrames | None = None,
    *,
    on_inconclusive: OnInconclusive = "fail",
    allow: Sequence[str] = (),
) -> CheckResult:
    """Check a run. Without `thresholds`, use the thresholds that are recorded with the run.

    If none are recorded, use default gates against the baseline. Raise UsageError if there is nothing to check, if a
    relative threshold has no baseline, or if a target is unknown.
    """
    run = load_for_report(run) if isinstance(run, Path) else run
    targets = targets_of(run)
    unread = "" if thresholds else unread_notice(run.metadata)
    thresholds = thresholds or recorded(run.metadata)[0]
    refuse_unknown_targets(thresholds, [target.name for target in targets])
    _refuse_unknown_steps(thresholds, run, targets)
    absolute = [threshold for threshold in thresholds if threshold.limit is not None]
    answers = _results(run, targets, thresholds, baseline, allow)
    limits = [item for threshold in absolute for target in targets for item in limit_results(threshold, target)]
    compared = relative.results_of(answers.results)
    undecided = answers.decision is not None and not answers.decision.ended and not absolute
    causes = list(answers.invalid_reasons)
    if not undecided:
        nothing = [] if targets else [Reason("no_turns_and_sessions")]
        unusable = own_causes(targets) or invalid_reasons(run.metadata)
        causes = [*unusable, *nothing, *causes]
    items = (*limits, *compared, *answers.items)
    causes += _throttled_reason(targets, items)
    findings = [item.finding for item in compared if item.finding]
    stored = findings and not any(result.not_stored for result in answers.results)
    unguarded = _targets_without_failure_threshold(targets, items)
    interrupted = str(run.metadata.get("stop_reason") or "").startswith(INTERRUPTED)
    warnings = (*((INTERRUPTED_RUN,) if interrupted else ()), *filter(None, [unread]))
    notices: Iterable[str] = ()
    if targets and run.folder not in answers.compared_runs:  # the comparison already contains the notices of this run
        notices = run_notices(run, data_notes(run, targets[0].turns, measured_sessions(run)))
    instant_notices = [
        f"{threshold.source_text} is tested {join_words([MEASURED_FROM_PHRASES[instant] for instant in instants])}; "
        f"to test only one of them, write `{replace(threshold, measured_from=instants[0]).source_text}`."
        for threshold in thresholds
        if (instants := instants_of(threshold, targets))
    ]
    checked = CheckResult(
        run_id=run_id_of(run),
        scenario=str(run.metadata.get("scenario") or run.folder_name),
        simulated=run.simulated,
        recorded=run.recorded,
        validity=validity_of(run.metadata).status,
        thresholds=items,
        causes=tuple(unique(causes)),
        differs=answers.differs,
        notices=(
            *answers.notices,
            *instant_notices,
            *((*dependence_notice(limits), *unequal_lengths(items), *failed_by_chance(limits)) if not causes else ()),
            *(notice for notice in notices if notice != unread_notice(run.metadata)),
            *filter(None, [uncertain_line(run, {item.metric for item in items if not item.relative})]),
        ),
        baseline=answers.baseline_text,
        baseline_sentence=answer(findings) if stored else answers.sentence,
        on_inconclusive=on_inconclusive,
        labels=labels_of(run.metadata),
        observed_s=round(min((target.observed_s for target in targets), default=0.0), 1),
        decision=answers.decision,
        warnings=(*warnings, *(reason_text(_not_started(target, targets)) for target in unguarded)),
    )
    omitted = tuple(
        _not_started(target, targets)
        for target in unguarded
        if (of := target.outcomes.targets[target.target]).turns_not_started / of.turns_planned > OMITTED
    )
    fails = omitted and checked.exit_status == PASS_STATUS
    return replace(checked, causes=omitted, warnings=warnings) if fails else checked


def unequal_lengths(results: Sequence[ThresholdResult]) -> Iterable[str]:
    """Yield a notice on the metrics whose effective number of sessions is much smaller than the actual number."""
    texts: dict[str, None] = {}
    for result in results:
        of_targets = result.finding.targets if result.finding else (result.counts,)
        counts = min(
            (counts for counts in of_targets if counts and counts.sessions),
            key=lambda counts: counts.effective_sessions / counts.sessions,
            default=None,
        )
        if counts and result.result != "not_evaluated" and counts.effective_sessions < SIMILAR * counts.sessions:
            texts[f"{unequal_reason(counts.sessions, counts.effective_sessions)} for {result.title}"] = None
    if texts:
        yield UNEQUAL.format("; ".join(texts))


def failed_by_chance(limits: Sequence[ThresholdResult]) -> Iterable[str]:
    """Yield a notice if a limit failed and there are several: the probability that at least one fails by chance."""
    judged = [item for item in limits if item.result != "not_evaluated"]
    if len(judged) > 1 and any(item.result == "fail" for item in judged):
        yield FAMILY.format(len(judged), 100 * (1 - (1 - TAIL) ** len(judged)))


def dependence_notice(limits: Sequence[ThresholdResult]) -> list[str]:
    """Return a notice on the values that drifted and on those that had bursts; [] if there are none."""
    clauses = []
    for order, text in DEPENDENCE.items():
        affected = [item for item in limits if item.provisional and item.estimate and item.estimate.order == order]
        if names := list(dict.fromkeys(f"{item.title} of {item.target}" for item in affected)):
            clauses.append(text.format(join_words(names)))
    return [f"{'; '.join(clauses)}. {PROVISIONAL}"] if clauses else []


def _throttled_reason(targets: Sequence[ComparedTarget], items: Sequence[ThresholdResult]) -> Iterable[Reason]:
    """Yield a reason why the run is invalid, for each checked target with more than 1 % of throttled turns.

    There is no reason for a target with a threshold on the throttle rate, because this threshold decides. There is none
    for a compared target either, because the comparison already has the reason.
    """
    judged, compared = ({item.target for item in items if item.relative == relative} for relative in (False, True))
    decided = {item.target for item in items if not item.relative and item.metric == THROTTLED}
    for target in targets:
        if target.name in judged - decided - compared and throttled_share(target) > FAIR:
            yield throttled_cause(target)


def refuse_unknown_targets(thresholds: Iterable[Threshold], names: Sequence[str]) -> None:
    """Raise UsageError for a threshold whose target is not in `names`. These are the targets of the run."""
    for threshold in thresholds:
        if threshold.target and threshold.target not in names:
            raise UsageError(
                f"{threshold.source_text}: the run has no target {threshold.target}{near(threshold.target, names)} "
                f"its targets are: {', '.join(names) or 'none'}"
            )


def _refuse_unknown_steps(thresholds: Sequence[Threshold], run: RunFrames, targets: Sequence[ComparedTarget]) -> None:
    """Raise UsageError for a threshold of an unknown step.

    The steps of a run are known from its turns. So no error is raised before every script has been played to its end
    once.
    """
    turns, sessions = targets[0].turns if targets else None, measured_sessions(run)
    scripts = {str(script.get("name")) for script in run.metadata.get("scripts") or []}
    played = sessions["script"][(sessions["outcome"] == "ok").to_numpy() & ~sessions["renewed"].to_numpy(dtype=bool)]
    if turns is None or not turns.steps or scripts - set(played.astype(str)):
        return
    for threshold in thresholds:
        if threshold.step and not turns.steps_named(threshold.step).any():
            absent = f"no script of the run has a step {threshold.step}"
            raise UsageError(f"{threshold.source_text}: {step_names.refusal(threshold.step, turns.own_names, absent)}")


def _remedy() -> str:
    folder = f"{option('baseline', 'FOLDER')} (of `rtbench baseline save`)"
    first = "run the baseline as the first of several --targets"
    return f"name a baseline with {option('baseline', 'RUN')} or {folder}, or {first}"


def _results(
    run: RunFrames,
    targets: Sequence[ComparedTarget],
    thresholds: Sequence[Threshold],
    baseline: str | RunFrames | None,
    allow: Sequence[str],
) -> BaselineResults:
    """Return the results of the comparison with the baseline. They are empty if no threshold needs a baseline."""
    named = str(baseline.folder) if isinstance(baseline, RunFrames) else baseline
    base = relative.baseline_named(named, run.folder, run.metadata, [target.name for target in targets])
    relative_thresholds = [threshold for threshold in thresholds if threshold.margin is not None]
    if allow and not isinstance(base, relative.StoredRunsBaseline):
        raise UsageError(
            f"{option('allow-different')} {','.join(allow)} applies only to stored baselines: remove it, or pass a "
            f"folder of `rtbench baseline save` with {option('baseline')}"
        )
    if base is None:
        refuse_without_baseline(relative_thresholds)
        if not thresholds:
            unread = "; ".join(recorded(run.metadata)[1].values())
            reason = f" (this version cannot read the recorded thresholds: {unread})" if unread else ""
            raise UsageError(f"there is nothing to check: pass {option('thresholds', 'FILE')}, or {_remedy()}{reason}")
    if thresholds and not relative_thresholds:
        return BaselineResults(notices=(UNUSED,) if baseline else ())
    match base:
        case relative.SameRunBaseline() if was_planned(run.metadata):
            return relative.by_analyses(run, targets, base, relative_thresholds)
        case relative.SameRunBaseline():
            return relative.against_targets(targets, base, thresholds)
        case relative.OtherRunBaseline():
            other = baseline if isinstance(baseline, RunFrames) else load_for_report(base.folder)
            return relative.against_run(targets, base, thresholds, other)
        case relative.StoredRunsBaseline():
            return against_stored_runs(targets, base, thresholds, allow)
    return BaselineResults()


def refuse_without_baseline(thresholds: Iterable[Threshold]) -> None:
    """Raise UsageError if a threshold is relative. It is called if there is no baseline."""
    for threshold in thresholds:
        if threshold.margin is not None:
            raise UsageError(f"{threshold.source_text} is relative, but there is no baseline: {_remedy()}")


def _targets_without_failure_threshold(
    targets: Sequence[ComparedTarget], items: Sequence[ThresholdResult]
) -> list[ComparedTarget]:
    """Return the targets that have no threshold on failures, and fail too often to pass by their latency alone.

    A target without a result is the baseline of other targets. If these have a relative threshold on failures, the
    threshold also covers the baseline.
    """
    guarded = {item.target for item in items if item.metric == FAILURES}
    compared = any(item.relative for item in items if item.target in guarded)
    checked = {item.target for item in items}
    about = checked - guarded if compared else {target.name for target in targets} - guarded
    return [
        target
        for target in targets
        if target.name in about
        and target.target != ABSENT
        and target.outcomes.targets[target.target].failure_rate > FAIR
    ]


def _not_started(target: ComparedTarget, targets: Sequence[ComparedTarget]) -> Reason:
    outcomes = target.outcomes.targets[target.target]
    counts = {"failed_or_not_started": outcomes.failed_or_not_started, "not_started": outcomes.turns_not_started}
    return Reason("not_started", counts | {
        "planned": outcomes.turns_planned, "target": target.name if len(targets) > 1 else None
    })  # fmt: skip
