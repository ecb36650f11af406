"""`rtbench check`: a run against thresholds and a baseline, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.errors import UsageError
from reports.compare.sides import Side
from reports.gate.against import OtherRun, SameRun, StoredRuns, baseline_of
from reports.gate.by_decision import by_looks, was_planned
from reports.gate.by_run import against_run, against_targets
from reports.gate.by_stored import against_stored_runs
from reports.gate.gated import near
from reports.gate.items import Checked, Item, OnInconclusive, limited
from reports.gate.one_arm import figures, targets_of
from reports.gate.relative import Answers, items_of
from reports.gate.thresholds import Threshold
from reports.runs import Run, load
from reports.statistics.differences import LEVEL
from reports.summary.notices import notices
from reports.summary.verdict import verdict_of
from reports.turns import measured
from reports.wording import words

REMEDY = (
    "name a baseline: --baseline RUN, or a folder of `rtbench baseline save`; or run the baseline as the first of "
    "several --targets, in pairs"
)

UNUSED = "No threshold is relative, so the baseline was not used; leave out --thresholds for the default gates."


def checked(
    folder: Path,
    thresholds: Sequence[Threshold] = (),
    baseline: str | None = None,
    *,
    on_inconclusive: OnInconclusive = "fail",
    allow: Sequence[str] = (),
    level: float = LEVEL,
) -> Checked:
    """Check a run. Without thresholds the default gates are held against the baseline.

    Raises UsageError where nothing is asked, a relative threshold has no baseline, or a target is unknown.
    """
    run = load(folder, everything=False)
    sides = targets_of(run)
    _refuse_unknown_targets(thresholds, sides)
    absolute = [threshold for threshold in thresholds if threshold.limit is not None]
    answers = _answers(run, sides, thresholds, baseline, allow, level)
    items = [item for threshold in absolute for side in sides for item in _limited(threshold, side)]
    return Checked(
        run_id=str(run.document.get("run_id") or folder.name),
        scenario=str(run.document.get("scenario") or folder.name),
        simulated=run.simulated,
        verdict=verdict_of(run.document).word,
        items=(*items, *items_of(answers.answers), *answers.items),
        void=(*_invalid(run), *_empty(sides), *answers.void),
        differs=answers.differs,
        notices=(*answers.notices, *_notices(run, sides, answers.notices)),
        against=answers.against,
        on_inconclusive=on_inconclusive,
    )


def _refuse_unknown_targets(thresholds: Sequence[Threshold], sides: Sequence[Side]) -> None:
    names = [side.name for side in sides]
    for threshold in thresholds:
        if threshold.target and threshold.target not in names:
            raise UsageError(
                f"{threshold.written}: the run has no target {threshold.target}{near(threshold.target, names)} "
                f"it has {', '.join(names) or 'none at all'}"
            )


def _limited(threshold: Threshold, side: Side) -> list[Item]:
    """An absolute threshold on a target; one for each origin."""
    if threshold.target not in ("", side.name):
        return []
    found = [limited(threshold, side.name, question, figure) for question, figure in figures(side, threshold)]
    steps = side.turns.steps
    if threshold.step and threshold.step not in steps:
        reason = f"no turn of a step {threshold.step} was measured{near(threshold.step, steps)} there are: "
        return [replace(item, reason=reason + (", ".join(steps) or "none")) for item in found]
    return found


def _answers(
    run: Run,
    sides: Sequence[Side],
    thresholds: Sequence[Threshold],
    baseline: str | None,
    allow: Sequence[str],
    level: float,
) -> Answers:
    """What the baseline says; nothing where it is not asked."""
    names = [side.name for side in sides]
    base = baseline_of(baseline, run.folder, run.document, names)
    relative = [threshold for threshold in thresholds if threshold.margin is not None]
    if base is None and relative:
        raise UsageError(f"{relative[0].written} is relative, and there is no baseline: {REMEDY}")
    if base is None and not thresholds:
        raise UsageError(f"there is nothing to check: give --thresholds FILE, or {REMEDY}")
    if thresholds and not relative:
        return Answers(notices=(UNUSED,) if baseline else ())
    match base:
        case SameRun() if was_planned(run.document):
            return by_looks(run, base, relative)
        case SameRun():
            return against_targets(run, names, base, thresholds, level)
        case OtherRun():
            return against_run(run, names, base, thresholds, level)
        case StoredRuns():
            return against_stored_runs(sides, base.folder, thresholds, allow, level)
    return Answers()


def _invalid(run: Run) -> list[str]:
    """Why the run's figures may not be used."""
    verdict = verdict_of(run.document)
    if verdict.valid:
        return []
    if verdict.valid is None:
        return [f"the run was not judged: {verdict.reason}"]
    return [
        " ".join(filter(None, (words.rule_line(rule), words.rule_figure(rule), words.remedy(rule))))
        for rule in verdict.broken
    ] or [f"the run is invalid: {verdict.reason}"]


def _notices(run: Run, sides: Sequence[Side], said: Sequence[str]) -> list[str]:
    """What to read before the run's figures, where a comparison has not said it."""
    if not sides:
        return []
    found = notices(run, sides[0].turns, run.sessions.iloc[measured(run.sessions)])
    return [notice for notice in found if not any(other.endswith(notice) for other in said)]


def _empty(sides: Sequence[Side]) -> list[str]:
    """A run without data is never green, nor is one of whose targets one has none."""
    if not sides:
        return ["the run has no turns and no sessions"]
    return [f"{side.name or 'the run'} has no turns: nothing was measured" for side in sides if not side.here.any()]
