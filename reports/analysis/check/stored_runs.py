"""Relative thresholds against stored runs, which have the same scenario, target, and conditions as the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.base.errors import UsageError
from bench.files.sanitize import escape_control
from reports.analysis.check.baselines import (
    MAX_STORED_RUNS,
    StoredBaseline,
    baseline_folder,
    read_baselines,
    scenario_of,
)
from reports.analysis.check.relative import (
    BaselineResult,
    BaselineResults,
    StoredRunsBaseline,
    mark_provisional,
    specs_of,
)
from reports.analysis.comparisons.comparison import drift_notices
from reports.analysis.metric_comparison import MeasuredDifference
from reports.analysis.summary.targets import FAIR
from reports.analysis.targets.compared_target import ComparedTarget
from reports.analysis.targets.conditions import conditions_of, differing_conditions
from reports.analysis.targets.fairness import throttled_cause, throttled_share
from reports.analysis.targets.named import identity_of_run
from reports.data.runs import run_id_of
from reports.formatting import NBSP, join_words, plural
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.stored import BY_PARTS
from reports.metrics.thresholds import Threshold, near
from reports.results.reason import Reason
from reports.statistics.baselines import MIN_STORED_RUNS, RATE_RUN_SD, RUN_SD
from reports.statistics.bootstrap import seed_of
from reports.statistics.differences import Inference
from reports.text.reasons import reason_text

ASSUMING = Inference(run_sd=RUN_SD, rate_run_sd=RATE_RUN_SD)


@dataclass(frozen=True)
class ComparableRuns:
    """The stored runs with which a target is compared, the newest first.

    - `differs` is the conditions in which the newest stored run differs, if no stored run can be compared
    - `not_stored` is the reason why no run is stored, for example because none was saved yet
    - `notices` is notices on stored runs that were left out
    """

    runs: tuple[StoredBaseline, ...] = ()
    differs: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    not_stored: Reason | None = None


def eligible(target: ComparedTarget, folder: Path, allowed: Sequence[str], stored_target: str) -> ComparableRuns:
    """Return the runs in a folder with which a target is compared. `stored_target` is the target of these runs.

    `allowed` is the conditions that may differ. Raise UsageError if `stored_target` has another name than the target,
    and the folder has no runs of it.
    """
    files, left_out = without_duplicates(read_baselines(folder, scenario_of(target), stored_target))
    if not files and stored_target != target.name:
        known = sorted({file.baseline.target for file in read_baselines(folder, scenario_of(target))})
        raise UsageError(
            f"{folder} has no stored runs of {scenario_of(target)}/{stored_target}{near(stored_target, known)} "
            f"it has runs of: {', '.join(known) or 'no target'}"
        )
    folder_text = escape_control(str(folder))
    stored = [
        file for file in files if (file.baseline.run_id, file.baseline.started_utc_ns) != identity_of_run(target.run)
    ]
    if not stored:
        subfolder = escape_control(str(baseline_folder(folder, scenario_of(target), stored_target)))
        names = {"folder": subfolder, "baselines_dir": folder_text}
        reason = Reason("only_checked_run_stored" if files else "no_run_stored", names)
        return ComparableRuns(notices=tuple(left_out), not_stored=reason)
    itself = f"The checked run is itself stored in {folder_text}: it is excluded from the baseline of {target.name}."
    notices = [*left_out, *([itself] if len(stored) < len(files) else [])]
    runs, differs, unlike = _matching(target, stored, allowed)
    if runs and runs[0].baseline.schema < BY_PARTS:  # then all are, because newer ones are preferred
        old = Reason("stored_by_older_version", {"stored_runs": len(runs), "baselines_dir": folder_text})
        return ComparableRuns(notices=(*notices, *unlike), not_stored=old)
    return ComparableRuns(tuple(runs), tuple(differs), (*notices, *unlike))


def without_duplicates(stored: Sequence[StoredBaseline]) -> tuple[list[StoredBaseline], list[str]]:
    """Return each stored run once, and notices on the files that are ignored.

    A file is ignored if it repeats a run, or if it is not in the folder of its scenario and target.
    """
    unique: dict[tuple[str, str, str, int], StoredBaseline] = {}
    notices = []
    for file in stored:
        baseline = file.baseline
        key = baseline.scenario, baseline.target, baseline.run_id, baseline.started_utc_ns
        path = escape_control(str(file.path))
        if not file.in_place:
            notices.append(f"{path} belongs to {key[0]}/{key[1]}, not to its folder: ignored.")
        elif unique.setdefault(key, file) is not file:
            notices.append(f"{path} belongs to {key[2]}, which is stored already: ignored, because a run counts once.")
    return list(unique.values()), notices


def _matching(
    target: ComparedTarget, stored: Sequence[StoredBaseline], allowed: Sequence[str]
) -> tuple[list[StoredBaseline], list[str], list[str]]:
    """Return the newest runs with the same conditions, the differing conditions, and notices on the other runs.

    The differing conditions are those of the newest run. They are empty if any run can be compared.
    """
    now = conditions_of(target)
    differences = [differing_conditions(now, file.baseline.conditions, allowed) for file in stored]
    limited = [
        any(rate.name == "throttle_rate" and rate.share > FAIR for rate in file.baseline.rates) for file in stored
    ]
    same = [file for file, lines, bad in zip(stored, differences, limited, strict=True) if not lines and not bad]
    recent = [file for file in same if file.baseline.schema >= BY_PARTS]
    has_old, same = len(recent) < len(same), recent or same
    if not same:
        throttled = f"more than 1{NBSP}% of the turns of {stored[0].baseline.run_id} were throttled"
        return [], list(differences[0].values()) or [throttled], []
    out = len(stored) - len(same)
    seen = sorted({name for lines in differences for name in lines})
    seen += ["throttle_rate"] if any(limited) else []
    seen += ["an older file format"] if has_old and out else []
    left_out = [f"{plural(out, 'stored run')} of {target.name} excluded because of: {join_words(seen)}."] if out else []
    return same[:MAX_STORED_RUNS], [], left_out


def against_stored_runs(
    targets: Sequence[ComparedTarget],
    base: StoredRunsBaseline,
    thresholds: Sequence[Threshold],
    allowed: Sequence[str] = (),
) -> BaselineResults:
    """Compare each target with its stored runs.

    Raise UsageError for a threshold on values that stored runs do not have.

    The result of a target without stored runs is inconclusive, for example before the first run is saved.
    """
    names = [target.name for target in targets]
    answers: list[BaselineResult] = []
    causes: list[Reason] = []
    differs, notices, against = list[str](), list[str](), list[str]()
    for target in targets:
        mine = [
            threshold
            for threshold in thresholds
            if threshold.margin is not None and threshold.target in ("", target.name)
        ]
        if thresholds and not mine:
            continue
        stored = eligible(target, base.folder, allowed, base.target or target.name)
        causes += [throttled_cause(target)] if throttled_share(target) > FAIR else []
        differs += [f"{target.name}: {line}" for line in stored.differs]
        notices += stored.notices
        against += [f"{plural(len(stored.runs), 'stored run')} of {base.target or target.name}"] if stored.runs else []
        answers += [
            _result(source_text, target, spec, stored) for source_text, spec, _ in specs_of(mine, [target], names)
        ]
    notices += map(reason_text, drift_notices([answer.measured for answer in answers]))
    answered = BaselineResults(tuple(answers), tuple(causes), tuple(differs), tuple(notices), join_words(against))
    return mark_provisional(answered, targets)


def _result(source_text: str, target: ComparedTarget, spec: MetricSpec, stored: ComparableRuns) -> BaselineResult:
    """Return the result of the comparison with stored runs.

    It is provisional if there are too few stored runs to estimate how much runs vary.
    """
    if spec.step:
        raise UsageError(f"{spec.name}: stored baselines have no values per step; use a run as the baseline")
    runs = [file.baseline for file in stored.runs]
    rng = np.random.default_rng(seed_of(run_id_of(target.run), *(run.run_id for run in runs)))
    result = spec.statistic.against_stored(target, spec, runs, rng, ASSUMING)
    unfit = target.uncertain_reason(spec)
    measured = MeasuredDifference(spec, target.name, None if unfit else result.difference, result.counts, unfit)
    return BaselineResult(
        source_text, measured, provisional=result.runs < MIN_STORED_RUNS, not_stored=stored.not_stored
    )
