"""Relative thresholds against stored runs of the same scenario and target, under the same conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.errors import UsageError
from bench.untrusted.sanitize import escape_control
from reports.check.baselines import MAX_STORED_RUNS, StoredBaseline, baseline_folder, read_baselines, scenario_of
from reports.check.relative import BaselineResult, BaselineResults, StoredRunsBaseline, mark_provisional, specs_of
from reports.formatting import NBSP, join_words, plural
from reports.metric_comparison import MeasuredDifference
from reports.metric_spec import MetricSpec
from reports.runs import run_id_of
from reports.statistics.baselines import MIN_STORED_RUNS, RATE_RUN_SD, RUN_SD
from reports.statistics.bootstrap import seed_of
from reports.statistics.differences import Inference
from reports.summary.targets import FAIR
from reports.targets.compared_target import ComparedTarget
from reports.targets.conditions import conditions_of, differing_conditions
from reports.targets.fairness import throttled_cause, throttled_share
from reports.targets.named import identity_of_run
from reports.thresholds import Threshold, near
from reports.wording.validity import InvalidReason

ASSUMING = Inference(run_sd=RUN_SD, rate_run_sd=RATE_RUN_SD)


@dataclass(frozen=True)
class ComparableRuns:
    """The stored runs that a target is compared with, the newest first.

    - `differs`: the differing conditions because of which there are no runs
    - `unstored`: why no run is stored yet, such as before the first saved run
    - `notices`: notices on runs that were left out
    """

    runs: tuple[StoredBaseline, ...] = ()
    differs: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    not_stored: str = ""


def eligible(side: ComparedTarget, folder: Path, allowed: Sequence[str], target: str) -> ComparableRuns:
    """Return the baseline from a folder of stored runs. `allowed`: conditions that may differ.

    `target`: the target of the stored runs. Raise UsageError for an unknown one.
    """
    files, left_out = without_duplicates(read_baselines(folder, scenario_of(side), target))
    if not files and target != side.name:
        known = sorted({one.baseline.target for one in read_baselines(folder, scenario_of(side))})
        raise UsageError(
            f"{folder} has no stored runs of {scenario_of(side)}/{target}{near(target, known)} "
            f"it has runs of: {', '.join(known) or 'no target'}"
        )
    kept = escape_control(str(folder))
    stored = [one for one in files if (one.baseline.run_id, one.baseline.started_utc_ns) != identity_of_run(side.run)]
    itself = f"The checked run is itself stored in {kept}: it is excluded from the baseline of {side.name}."
    notices = [*left_out, *([itself] if len(stored) < len(files) else [])]
    if not stored:
        place = escape_control(str(baseline_folder(folder, scenario_of(side), target)))
        none, what = f"no run is stored in {place} yet", "one"
        if files:
            none, what = f"the only run stored in {place} is the checked run", "another"
        unstored = f"{none}: save {what} with `rtbench baseline save RUN --baselines-dir {kept}`"
        return ComparableRuns(notices=tuple(notices), not_stored=unstored)
    runs, differs, unlike = _matching(side, stored, allowed)
    return ComparableRuns(tuple(runs), tuple(differs), (*notices, *unlike))


def without_duplicates(stored: Sequence[StoredBaseline]) -> tuple[list[StoredBaseline], list[str]]:
    """Return each run once, from files in the folder of their scenario and target, and notices on the other files."""
    kept: dict[tuple[str, str, str, int], StoredBaseline] = {}
    notices = []
    for one in stored:
        baseline = one.baseline
        of = baseline.scenario, baseline.target, baseline.run_id, baseline.started_utc_ns
        path = escape_control(str(one.path))
        if not one.in_place:
            notices.append(f"{path} belongs to {of[0]}/{of[1]}, not to its folder: ignored.")
        elif kept.setdefault(of, one) is not one:
            notices.append(f"{path} belongs to {of[2]}, which is stored already: ignored, because a run counts once.")
    return list(kept.values()), notices


def _matching(
    side: ComparedTarget, stored: Sequence[StoredBaseline], allowed: Sequence[str]
) -> tuple[list[StoredBaseline], list[str], list[str]]:
    """Return the newest runs with equal conditions, the differences if none are, and notices on those left out."""
    now = conditions_of(side)
    apart = [differing_conditions(now, one.baseline.conditions, allowed) for one in stored]
    limited = [any(rate.name == "throttle_rate" and rate.share > FAIR for rate in one.baseline.rates) for one in stored]
    same = [one for one, lines, bad in zip(stored, apart, limited, strict=True) if not lines and not bad]
    if not same:
        throttled = f"more than 1{NBSP}% of the turns of {stored[0].baseline.run_id} were throttled"
        return [], list(apart[0].values()) or [throttled], []
    out = len(stored) - len(same)
    seen = sorted({name for lines in apart for name in lines})
    seen += ["throttle_rate"] if any(limited) else []
    left_out = [f"{plural(out, 'stored run')} of {side.name} excluded because of: {join_words(seen)}."] if out else []
    return same[:MAX_STORED_RUNS], [], left_out


def against_stored_runs(
    sides: Sequence[ComparedTarget],
    base: StoredRunsBaseline,
    thresholds: Sequence[Threshold],
    allowed: Sequence[str] = (),
) -> BaselineResults:
    """Compare each target with its stored runs. Raise UsageError for a threshold on values that they do not have.

    A target without stored runs, as before the first saved run, is inconclusive.
    """
    names = [side.name for side in sides]
    answers: list[BaselineResult] = []
    causes: list[InvalidReason] = []
    differs, notices, against = list[str](), list[str](), list[str]()
    for side in sides:
        mine = [one for one in thresholds if one.margin is not None and one.target in ("", side.name)]
        if thresholds and not mine:
            continue
        stored = eligible(side, base.folder, allowed, base.target or side.name)
        causes += [throttled_cause(side)] if throttled_share(side) > FAIR else []
        differs += [f"{side.name}: {line}" for line in stored.differs]
        notices += stored.notices
        against += [f"{plural(len(stored.runs), 'stored run')} of {base.target or side.name}"] if stored.runs else []
        answers += [_result(written, side, question, stored) for written, question, _ in specs_of(mine, [side], names)]
    answered = BaselineResults(tuple(answers), tuple(causes), tuple(differs), tuple(notices), join_words(against))
    return mark_provisional(answered, sides)


def _result(written: str, side: ComparedTarget, question: MetricSpec, stored: ComparableRuns) -> BaselineResult:
    """Return the result against stored runs; provisional if they are too few to estimate the run-to-run variation."""
    if question.step:
        raise UsageError(f"{question.name}: stored baselines have no values per step; use a run as the baseline")
    runs = [one.baseline for one in stored.runs]
    rng = np.random.default_rng(seed_of(run_id_of(side.run), *(one.run_id for one in runs)))
    found = question.statistic.against_stored(side, question, runs, rng, ASSUMING)
    unfit = side.uncertainty_text(question)
    measured = MeasuredDifference(question, side.name, None if unfit else found.difference, found.counts, unfit)
    return BaselineResult(written, measured, provisional=found.runs < MIN_STORED_RUNS, not_stored=stored.not_stored)
