"""`rtbench check`: the comparison of a run with thresholds and with a baseline. The result is
plain data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.base.errors import PASS_STATUS, OnInconclusive, ScriptError, UsageError
from bench.files.yaml_file import LocatedValue, PythonValue, read_yaml
from bench.record.document import INTERRUPTED
from reports.analysis.check.absolute import limit_results
from reports.analysis.check.named_baseline import BaselineResults, baseline_named
from reports.analysis.check.results import CheckResult, check_result
from reports.analysis.summary.run_validity import data_notes, invalid_reasons, validity_of
from reports.analysis.summary.targets import FAIR
from reports.analysis.targets.compared_target import ABSENT, ComparedTarget, Targets
from reports.analysis.targets.fairness import own_causes, throttled_cause, throttled_share
from reports.analysis.targets.metric_specs import instants_of
from reports.analysis.targets.named import targets_of
from reports.data.runs import RunFrames, labels_of, load_for_report, run_id_of, scripts_of
from reports.data.turns import measured_sessions
from reports.engine.judge import Judged
from reports.metrics import step_names
from reports.metrics.argument_names import option
from reports.metrics.statistic_types.of_parts import OF_PARTS
from reports.metrics.statistic_types.rate import Rate
from reports.metrics.thresholds import (
    Threshold,
    near,
    placed_thresholds,
    recorded,
    threshold_tables,
)
from reports.results.value import Reason
from reports.statistics.differences import Order
from reports.statistics.threshold_estimate import TAIL

if TYPE_CHECKING:
    from bench.record.document import AbortEntry
    from reports.analysis.check.abort import AbortAnalysis

ORDERS: tuple[Order, ...] = ("drift", "bursts")
SIMILAR = 0.75
"""The limit of effective sessions ÷ actual sessions. Below it, a notice reports that the sessions
have unequal lengths.
"""
FAILURES = "failure_rate"
THROTTLED = "throttle_rate"
OMITTED = 0.1
"""The maximum share of planned turns that did not start, if a check without a threshold on
failures is to pass."""


def check_of(
    run: Path | RunFrames,
    thresholds: Sequence[Threshold] = (),
    baseline: str | RunFrames | None = None,
    *,
    on_inconclusive: OnInconclusive = "fail",
    allow: Sequence[str] = (),
) -> CheckResult:
    """Check a run. Without `thresholds`, use the thresholds that are recorded with the run.

    If none are recorded, compare the default primary metrics with the baseline. Raise UsageError if
    there is nothing to check, if a relative threshold has no baseline, or if a target is unknown.
    """
    run = load_for_report(run) if isinstance(run, Path) else run
    targets = targets_of(run)
    unread = {} if thresholds else recorded(run.metadata).unread
    thresholds = thresholds or recorded(run.metadata).thresholds
    refuse_unknown_targets(thresholds, [target.name for target in targets])
    _refuse_unknown_steps(thresholds, run, targets)
    absolute = [threshold for threshold in thresholds if threshold.limit is not None]
    of_baseline = _against_baseline(run, targets, thresholds, baseline, allow)
    limits = [
        item
        for threshold in absolute
        for target in targets
        for item in map(_of_part, limit_results(threshold, target))
    ]
    stopping = _stopping_analysis(run)
    early = (
        {(item.threshold, item.target, item.spec): item for item in stopping.failed}
        if stopping
        else {}
    )
    limits = [early.get((item.threshold, item.target, item.spec), item) for item in limits]
    items = (*limits, *_with_verdicts(of_baseline.results), *of_baseline.items)
    causes = list(of_baseline.causes)
    working = _not_down(run, targets, limits)
    if (working or not targets) and (
        of_baseline.decision is None or of_baseline.decision.ended or absolute
    ):
        nothing = [] if targets else [Reason("no_turns_and_sessions")]
        own = own_causes(working) or invalid_reasons(run.metadata)
        # such thresholds depend on parts of the run, which are usable or not
        is_of_parts = bool(items) and all(item.spec.metric in OF_PARTS for item in items)
        if is_of_parts and validity_of(run.metadata).status == "invalid":
            own = ()
        causes = [*own, *nothing, *causes]
    causes += _throttled_reason(working, items)
    unguarded = _targets_without_failure_threshold(targets, items)
    alerts = [*_early_end(run)]
    others = [item for item in items if (item.threshold, item.target, item.spec) not in early]
    if stopping and stopping.reason and others:
        alerts.append(Reason("checked_until_stop", stopping.reason.numbers))
    alerts += [Reason("thresholds_not_read", {"thresholds": list(unread)})] if unread else []
    compared_runs = [target.run.folder for targets in of_baseline.compared for target in targets]
    # else it has those of the comparison
    has_own_notices = bool(targets) and run.folder not in compared_runs
    checked = partial(
        check_result,
        items,
        differs=of_baseline.differs,
        run_id=run_id_of(run),
        scenario=str(run.metadata.get("scenario") or run.folder_name),
        labels=labels_of(run.metadata),
        simulated=run.simulated,
        recorded=run.recorded,
        status=validity_of(run.metadata).status,
        run=run,
        against=of_baseline.against,
        compared=of_baseline.compared,
        notes=(
            *of_baseline.notes,
            *_instants_noted(thresholds, targets),
            *(
                []
                if causes
                else (*dependence(limits), *unequal_lengths(items), *failed_by_chance(limits))
            ),
        ),
        data_notes=(
            data_notes(run, targets[0].turns, measured_sessions(run), targets[0].outcomes.ignored)
            if has_own_notices
            else None
        ),
        on_inconclusive=on_inconclusive,
        rows=len(run.turns) + len(run.sessions),
        observed_s=round(min((target.observed_s for target in targets), default=0.0), 1),
        decision=of_baseline.decision,
        fails_first=stopping is not None or len(working) < len(targets),
    )
    failing = tuple(_not_started(target, targets) for target in unguarded)
    result = checked(causes=causes, alerts=(*alerts, *failing))
    omitted = [
        reason
        for reason in failing
        if reason.numbers["not_started"] / reason.numbers["planned"] > OMITTED
    ]
    return (
        checked(causes=omitted, alerts=tuple(alerts))
        if omitted and result.exit_status == PASS_STATUS
        else result
    )


def _stopping_analysis(run: RunFrames) -> AbortAnalysis | None:
    """Return the analysis that stopped a run, with the thresholds that failed by its bounds; None
    if none stopped it.
    """
    plan: AbortEntry | None = run.metadata.get("abort")
    if plan is None or plan["reason"] is None:
        return None
    from reports.analysis.check.abort import repeated_analysis

    return repeated_analysis(run, plan)


def _with_verdicts(results: Sequence[Judged]) -> list[Judged]:
    """Return the results of relative thresholds with their verdicts. Most checks have none, and
    need no module of comparisons.
    """
    if not results:
        return []
    from reports.analysis.check.relative import results_of

    return results_of(results)


def _early_end(run: RunFrames) -> Iterator[Reason]:
    """Yield a warning if the user or the service ended a run early."""
    if str(run.metadata.get("stop_reason") or "").startswith(INTERRUPTED):
        yield Reason("interrupted")
    if refused := run.metadata.get("refused"):
        yield Reason("run_refused", {"problem": str(refused)})


def _not_down(run: RunFrames, targets: Targets, limits: Sequence[Judged]) -> Targets:
    """Return the targets, without those that have no successful turn and fail a limit on a rate:
    that they have no latency, and the run perhaps no verdict, changes nothing about this.
    """
    status = validity_of(run.metadata).status
    if status == "invalid" or run.metadata.get("state") != "ended":
        return targets
    failing = {
        item.target
        for item in limits
        if item.result == "fail" and isinstance(item.spec.statistic, Rate)
    }
    return [
        target
        for target in targets
        if target.name not in failing
        or target.target == ABSENT
        or target.outcomes.targets[target.target].failure_rate < 1
    ]


def _of_part(item: Judged) -> Judged:
    """Return a result; not evaluated if a part of the run on which it depends is INVALID."""
    if item.reason is None or item.reason.code != "part_invalid":
        return item
    return replace(item, verdict=replace(item.verdict, name="not_evaluated"))


def _instants_noted(thresholds: Sequence[Threshold], targets: Targets) -> Iterable[Reason]:
    """Yield a notice on each threshold that is tested separately for several instants."""
    for threshold in thresholds:
        if instants := instants_of(threshold, targets):
            one = replace(threshold, measured_from=instants[0]).source_text
            yield Reason(
                "several_instants",
                {"threshold": threshold.source_text, "instants": instants, "one": one},
            )


def unequal_lengths(results: Sequence[Judged]) -> Iterable[Reason]:
    """Yield a notice on the metrics whose effective number of sessions is much smaller than the
    actual number.
    """
    found = list[dict[str, Any]]()
    for result in results:
        sizes = [(of.sessions, of.effective_sessions) for of in result.targets if of.sessions]
        sessions, effective = min(sizes, key=lambda size: size[1] / size[0], default=(0, 0.0))
        if result.result != "not_evaluated" and effective < SIMILAR * sessions:
            found.append(
                {"metric": result.title, "sessions": sessions, "effective_sessions": effective}
            )
    if found:
        yield Reason("unequal_lengths", {"metrics": found})


def failed_by_chance(limits: Sequence[Judged]) -> Iterable[Reason]:
    """Yield a notice if a limit failed and there are several: the probability that at least one
    fails by chance.
    """
    judged = [item for item in limits if item.result != "not_evaluated"]
    if len(judged) > 1 and any(item.result == "fail" for item in judged):
        yield Reason(
            "several_limits", {"limits": len(judged), "share": 1 - (1 - TAIL) ** len(judged)}
        )


def dependence(limits: Sequence[Judged]) -> Iterable[Reason]:
    """Yield a notice if values drifted or had bursts."""
    found = {}
    for order in ORDERS:
        affected = [
            item
            for item in limits
            if item.provisional and item.estimate and item.estimate.order == order
        ]
        if affected:
            found[order] = list(
                dict.fromkeys(f"{item.title} of {item.target}" for item in affected)
            )
    if found:
        yield Reason("dependent_sessions", {"values": found})


def _throttled_reason(targets: Targets, items: Sequence[Judged]) -> Iterable[Reason]:
    """Yield a reason why the run is invalid, for each checked target with more than 1 % of
    throttled turns.

    There is no reason for a target with a threshold on the throttle rate, because this threshold
    decides. There is none for a compared target either, because the comparison already has the
    reason.
    """
    judged, compared = (
        {item.target for item in items if item.relative == relative} for relative in (False, True)
    )
    decided = {item.target for item in items if not item.relative and item.spec.metric == THROTTLED}
    for target in targets:
        if "overload" in target.run.metadata:
            continue  # a service above its capacity is expected to refuse calls
        if target.name in judged - decided - compared and throttled_share(target) > FAIR:
            yield throttled_cause(target)


def refuse_unknown_targets(thresholds: Iterable[Threshold], names: Sequence[str]) -> None:
    """Raise UsageError for a threshold whose target is not in `names`. These are the targets of
    the run.
    """
    for threshold in thresholds:
        if threshold.target and threshold.target not in names:
            raise UsageError(
                f"{threshold.source_text}: the run has no target"
                f" {threshold.target}{near(threshold.target, names)} its targets are:"
                f" {', '.join(names) or 'none'}"
            )


def _refuse_unknown_steps(
    thresholds: Sequence[Threshold], run: RunFrames, targets: Targets
) -> None:
    """Raise UsageError for a threshold of an unknown step.

    The steps of a run are known from its turns. So no error is raised before every script has been
    played to its end once.
    """
    turns = targets[0].turns if targets else None
    sessions = measured_sessions(run)
    scripts = {str(script.get("name")) for script in scripts_of(run.metadata)}
    played = sessions["script"][
        (sessions["outcome"] == "ok").to_numpy() & ~sessions["renewed"].to_numpy(bool)
    ]
    if turns is None or not turns.steps or scripts - set(played.astype(str)):
        return
    for threshold in thresholds:
        if threshold.step and not turns.steps_named(threshold.step).any():
            step = threshold.step
            known = turns.own_names
            raise UsageError(
                f"{threshold.source_text}:"
                f" {step_names.refusal(step, known, f'no script of the run has a step {step}')}"
            )


def _without_baseline(problem: str) -> UsageError:
    return UsageError(
        f"{problem}name a baseline with {option('baseline', 'RUN')} or"
        f" {option('baseline', 'FOLDER')} (of `rtbench baseline save`), or run the baseline as the"
        " first of several --targets"
    )


def _against_baseline(
    run: RunFrames,
    targets: Targets,
    thresholds: Sequence[Threshold],
    baseline: str | RunFrames | None,
    allow: Sequence[str],
) -> BaselineResults:
    """Return the results of the comparison with the baseline. They are empty if no threshold
    needs a baseline.
    """
    named = str(baseline.folder) if isinstance(baseline, RunFrames) else baseline
    base = baseline_named(named, run.folder, run.metadata, [target.name for target in targets])
    relative_thresholds = [threshold for threshold in thresholds if threshold.margin is not None]
    if allow and (base is None or base.kind != "stored_runs"):
        raise UsageError(
            f"{option('allow-different')} {','.join(allow)} applies only to stored baselines:"
            f" remove it, or pass a folder of `rtbench baseline save` with {option('baseline')}"
        )
    if base is None:
        refuse_without_baseline(relative_thresholds)
        if not thresholds:
            unread = "; ".join(recorded(run.metadata).unread.values())
            file = option("thresholds", "FILE")
            if unread:
                raise _without_baseline(
                    f"nothing to check (this version cannot read {unread}): pass {file}, or "
                )
            raise _without_baseline(f"there is nothing to check: pass {file}, or ")
        return BaselineResults()
    if thresholds and not relative_thresholds:
        return BaselineResults(notes=(Reason("baseline_not_used"),) if baseline else ())
    if base.kind == "stored_runs":
        from reports.analysis.check.stored_runs import against_stored_runs

        return against_stored_runs(targets, base, thresholds, allow)
    from reports.analysis.check import relative
    from reports.analysis.sequential.plan import was_planned

    if base.kind == "other_run":
        other = baseline if isinstance(baseline, RunFrames) else load_for_report(base.folder)
        return relative.against_run(targets, base, thresholds, other)
    if was_planned(run.metadata):
        return relative.by_analyses(run, targets, base, relative_thresholds)
    return relative.against_targets(targets, base, thresholds)


def refuse_without_baseline(thresholds: Iterable[Threshold]) -> None:
    """Raise UsageError if a threshold is relative. It is called if there is no baseline."""
    for threshold in thresholds:
        if threshold.margin is not None:
            raise _without_baseline(
                f"{threshold.source_text} is relative, but there is no baseline: "
            )


def _targets_without_failure_threshold(
    targets: Targets, items: Sequence[Judged]
) -> list[ComparedTarget]:
    """Return the targets that have no threshold on failures, and fail too often to pass by their
    latency alone.

    A target without a result is the baseline of other targets. If these have a relative threshold
    on failures, the threshold also covers the baseline.
    """
    guarded = {item.target for item in items if item.spec.metric in (FAILURES, *OF_PARTS)}
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


def _not_started(target: ComparedTarget, targets: Targets) -> Reason:
    outcomes = target.outcomes.targets[target.target]
    counts = {
        "failed_or_not_started": outcomes.failed_or_not_started,
        "not_started": outcomes.turns_not_started,
        "sessions": sum(outcomes.sessions.values()),
    }
    return Reason(
        "not_started",
        counts
        | {
            "planned": outcomes.turns_planned,
            "target": target.name if len(targets) > 1 else None,
        },
    )


def planned_thresholds(request: Mapping[str, Any]) -> list[Threshold]:
    """Return the thresholds of a planned run.

    They are read before the run starts, so that a mistake in them costs no session. Those of
    `--thresholds` replace those of the scripts. `request` comes from the process that runs the
    load, which does not parse thresholds:

    - `given` is the values of `--thresholds`
    - `scripts` is the scripts that have their own thresholds. Each has its `name`, its `path` and,
      if it is a Python script, its `thresholds`.
    - `script_names` is the names of all scripts
    - `baseline` is the value of `--baseline`, or null
    - `targets` is the names of the targets, in their order
    - `lacking` is what the scripts can never measure (`reports.metrics.measurable`)

    Raise UsageError if a threshold cannot be read, if the run can never decide it, or if the
    baseline does not exist.
    """
    from reports.metrics.measurable import refuse_unmeasurable

    targets = request["targets"]
    baseline = request["baseline"]
    # the run has no folder yet, so no existing folder can be that of the run itself
    base = baseline_named(baseline, Path(), {"interleaved": len(targets) > 1}, targets)
    thresholds = []
    for path, table, script in _tables(request):
        try:
            for value, written in placed_thresholds(table):
                threshold = _of_script(written, script, request.get("script_names", ()))
                try:
                    refuse_unknown_targets([threshold], targets)
                    refuse_unmeasurable(threshold, request["lacking"])
                    if base is None:
                        refuse_without_baseline([threshold])
                except UsageError as error:
                    raise value.error(str(error)) from None
                thresholds.append(threshold)
        except UsageError as error:
            if path is None or isinstance(error, ScriptError):
                raise
            raise ScriptError(path, None, f"thresholds: {error}") from None
    return thresholds


def _of_script(threshold: Threshold, script: str, scripts: Sequence[str]) -> Threshold:
    """Return a threshold of a script. The step that it names is one of this script, also if
    others have such a step.
    """
    is_complete = any(threshold.step.startswith(f"{name}: ") for name in scripts)
    if not threshold.step or not script or len(set(scripts)) < 2 or is_complete:
        return threshold
    return replace(threshold, step=f"{script}: {threshold.step}")


def _tables(request: Mapping[str, Any]) -> Iterator[tuple[Path | None, LocatedValue, str]]:
    """Yield (file, table of thresholds, name of the script) of all thresholds.

    The file is None for a threshold on the command line. The name is "" for a table that is not in
    a script.
    """
    if request["given"]:
        yield from ((path, table, "") for path, table in threshold_tables(request["given"]))
        return
    for script in request["scripts"]:
        path = Path(script["path"])
        table = script["thresholds"]
        root = (
            read_yaml(path, "the script").nearest("thresholds")
            if table is None
            else PythonValue("thresholds", table)
        )
        yield path, root, script.get("name", "")
