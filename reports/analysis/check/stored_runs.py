"""Relative thresholds against stored runs, which have the same scenario, target, and conditions
as the run.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from bench.base.errors import UsageError
from bench.files.sanitize import escape_control
from reports.analysis.check.baselines import (
    MAX_STORED_RUNS,
    StoredBaseline,
    baseline_folder,
    read_baselines,
    scenario_of,
)
from reports.analysis.check.named_baseline import Against, BaselineResults
from reports.analysis.check.relative import (
    mark_provisional,
    specs_of,
)
from reports.analysis.comparisons.comparison import drift_notices
from reports.analysis.summary.targets import FAIR
from reports.analysis.targets.compared_target import ComparedTarget, Targets
from reports.analysis.targets.conditions import conditions_of, differing_conditions
from reports.analysis.targets.fairness import throttled_cause, throttled_share
from reports.analysis.targets.named import identity_of_run
from reports.data.runs import run_id_of
from reports.engine.judge import STORED_RUNS, Judged
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.stored import BY_PARTS
from reports.metrics.thresholds import Threshold, near
from reports.results.value import Reason, Reasons
from reports.statistics.baselines import MIN_STORED_RUNS, RATE_RUN_SD, RUN_SD
from reports.statistics.bootstrap import seed_of
from reports.statistics.differences import Inference

ASSUMING = Inference(run_sd=RUN_SD, rate_run_sd=RATE_RUN_SD)


class ComparableRuns(NamedTuple):
    """The stored runs with which a target is compared, the newest first.

    - `differs` is how the newest stored run differs, if no stored run can be compared
    - `not_stored` is the reason why no run is stored, for example because none was saved yet
    - `notes` is notices on stored runs that were left out
    """

    runs: tuple[StoredBaseline, ...] = ()
    differs: Reasons = ()
    notes: Reasons = ()
    not_stored: Reason | None = None


def eligible(
    target: ComparedTarget, folder: Path, allowed: Sequence[str], stored_target: str
) -> ComparableRuns:
    """Return the runs in a folder with which a target is compared. `stored_target` is the target of
    these runs.

    `allowed` is the conditions that may differ. Raise UsageError if `stored_target` has another
    name than the target, and the folder has no runs of it.
    """
    scenario = scenario_of(target)
    files, left_out = without_duplicates(read_baselines(folder, scenario, stored_target))
    if not files and stored_target != target.name:
        known = sorted({file.baseline.target for file in read_baselines(folder, scenario)})
        raise UsageError(
            f"{folder} has no stored runs of {scenario}/{stored_target}{near(stored_target, known)}"
            f" it has runs of: {', '.join(known) or 'no target'}"
        )
    folder_text = escape_control(str(folder))
    itself = identity_of_run(target.run)
    stored = [
        file for file in files if (file.baseline.run_id, file.baseline.started_utc_ns) != itself
    ]
    if not stored:
        subfolder = escape_control(str(baseline_folder(folder, scenario, stored_target)))
        others = {(one.baseline.scenario, one.baseline.target) for one in read_baselines(folder)}
        known = sorted(escape_control("/".join(names)) for names in others)
        names = {"folder": subfolder, "baselines_dir": folder_text, "known": known}
        reason = Reason("only_checked_run_stored" if files else "no_run_stored", names)
        return ComparableRuns(notes=tuple(left_out), not_stored=reason)
    if len(stored) < len(files):
        left_out.append(
            Reason("checked_run_stored", {"baselines_dir": folder_text, "target": target.name})
        )
    runs, differs, unlike = _matching(target, stored, allowed)
    # then all are, because newer ones are preferred
    if runs and runs[0].baseline.schema < BY_PARTS:
        old = Reason(
            "stored_by_older_version", {"stored_runs": len(runs), "baselines_dir": folder_text}
        )
        return ComparableRuns(notes=(*left_out, *unlike), not_stored=old)
    return ComparableRuns(tuple(runs), tuple(differs), (*left_out, *unlike))


def without_duplicates(
    stored: Sequence[StoredBaseline],
) -> tuple[list[StoredBaseline], list[Reason]]:
    """Return each stored run once, and notices on the files that are ignored.

    A file is ignored if it repeats a run, or if it is not in the folder of its scenario and target.
    """
    unique: dict[tuple[str, str, str, int], StoredBaseline] = {}
    notices = []
    for file in stored:
        baseline = file.baseline
        path = escape_control(str(file.path))
        key = baseline.scenario, baseline.target, baseline.run_id, baseline.started_utc_ns
        if not file.in_place:
            notices.append(Reason("stored_elsewhere", {"path": path, "of": f"{key[0]}/{key[1]}"}))
        elif unique.setdefault(key, file) is not file:
            notices.append(Reason("stored_twice", {"path": path, "of": key[2]}))
    return list(unique.values()), notices


def _matching(
    target: ComparedTarget, stored: Sequence[StoredBaseline], allowed: Sequence[str]
) -> tuple[list[StoredBaseline], list[Reason], list[Reason]]:
    """Return the newest runs with the same conditions, how the newest run differs, and notices on
    the other runs.

    The newest run does not differ if any run can be compared.
    """
    now = conditions_of(target)
    differences = [
        differing_conditions(target.name, now, file.baseline.conditions, allowed) for file in stored
    ]
    throttled = [
        max((r.share for r in file.baseline.rates if r.name == "throttle_rate"), default=0)
        for file in stored
    ]
    same = [
        file
        for file, found, share in zip(stored, differences, throttled, strict=True)
        if not found and share <= FAIR
    ]
    recent = [file for file in same if file.baseline.schema >= BY_PARTS]
    has_old = len(recent) < len(same)
    same = recent or same
    if not same:
        names = {"target": target.name, "share": throttled[0], "run_id": stored[0].baseline.run_id}
        return [], differences[0] or [Reason("stored_run_throttled", names)], []
    out = len(stored) - len(same)
    seen = sorted({reason.numbers["condition"] for found in differences for reason in found})
    seen += ["throttle_rate"] if max(throttled) > FAIR else []
    seen += ["schema"] if has_old and out else []
    excluded = Reason(
        "stored_runs_excluded", {"runs": out, "target": target.name, "conditions": seen}
    )
    return same[:MAX_STORED_RUNS], [], [excluded] if out else []


def against_stored_runs(
    targets: Targets,
    base: Against,
    thresholds: Sequence[Threshold],
    allowed: Sequence[str],
) -> BaselineResults:
    """Compare each target with its stored runs.

    Raise UsageError for a threshold on values that stored runs do not have.

    The result of a target without stored runs is inconclusive, for example before the first run is
    saved.
    """
    names = [target.name for target in targets]
    results: list[Judged] = []
    causes: list[Reason] = []
    differs = list[Reason]()
    notes = list[Reason]()
    against = list[tuple[int, str]]()
    for target in targets:
        mine = [
            one for one in thresholds if one.margin is not None and one.target in ("", target.name)
        ]
        if thresholds and not mine:
            continue
        stored = eligible(target, base.folder, allowed, base.target or target.name)
        causes += [throttled_cause(target)] if throttled_share(target) > FAIR else []
        differs += stored.differs
        notes += stored.notes
        against += [(len(stored.runs), base.target or target.name)] if stored.runs else []
        results += [
            _result(source_text, target, spec, stored)
            for source_text, spec, _ in specs_of(mine, [target], names)
        ]
    notes += drift_notices(results)
    stored_runs = Reason("stored_runs", {"stored": against}) if against else None
    joined = BaselineResults(
        tuple(results), tuple(causes), tuple(differs), tuple(notes), stored_runs
    )
    return mark_provisional(joined, targets)


def _result(
    source_text: str, target: ComparedTarget, spec: MetricSpec, stored: ComparableRuns
) -> Judged:
    """Return the result of the comparison with stored runs.

    It is provisional if there are too few stored runs to estimate how much runs vary.
    """
    if spec.step:
        raise UsageError(
            f"{spec.name}: stored baselines have no values per step; use a run as the baseline"
        )
    runs = [file.baseline for file in stored.runs]
    seed = seed_of(run_id_of(target.run), *(run.run_id for run in runs))
    result = spec.statistic.against_stored(target, spec, runs, replace(ASSUMING, seed=seed))
    unfit = target.doubt(spec)
    difference = None if unfit else result.difference
    measured = result.counts[1].turns or target.unscored(spec)
    return Judged(
        spec=spec,
        target=target.name,
        targets=result.counts,
        threshold=source_text,
        difference=difference,
        unfit=stored.not_stored if stored.not_stored and measured else unfit,
        assumes=result.runs < MIN_STORED_RUNS,
        baseline=STORED_RUNS,
    )
