"""Relative thresholds against targets of the same run, or of another run, measured as `reports.comparisons` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.errors import UsageError
from reports.comparisons.comparison import matched_to_the_first, measurements, notices_of_comparison, resampling
from reports.gate.relative import BaselineAnswer, BaselineAnswers, OtherRun, SameRun, asked_of, doubted
from reports.runs import Run, load_for_report
from reports.sides.fairness import causes_of, checks_of, one_run, refuse_other_definitions
from reports.sides.named import refuse_unknown
from reports.sides.side import Side, among, targets_of
from reports.statistics.differences import LEVEL
from reports.thresholds.grammar import Threshold


def against_targets(
    targets: Sequence[Side], base: SameRun, thresholds: Sequence[Threshold], level: float = LEVEL
) -> BaselineAnswers:
    """The other targets of an interleaved run against one of them."""
    (baseline,) = (side for side in targets if side.name == base.target)
    candidates = [side for side in targets if side is not baseline]
    return replace(_answers(baseline, candidates, thresholds, level), against=f"{base.target}, in the same run")


def against_run(
    targets: Sequence[Side],
    base: OtherRun,
    thresholds: Sequence[Threshold],
    level: float = LEVEL,
) -> BaselineAnswers:
    """Each target against the one of the same label in another run, or against its only one."""
    other = load_for_report(base.folder)
    others = targets_of(other)
    partners: dict[str, list[Side]] = {}
    for side in targets:
        if not thresholds or any(t.margin is not None and t.target in ("", side.name) for t in thresholds):
            partners.setdefault(_partner(base, side.name, [other.name for other in others]), []).append(side)
    parts = [
        _answers(
            _known(other, others, partner),
            mine,
            [t for t in thresholds if not t.target or t.target in [side.name for side in mine]],
            level,
        )
        for partner, mine in partners.items()
    ]
    answers = BaselineAnswers(
        answers=tuple(answer for part in parts for answer in part.answers),
        void=tuple(dict.fromkeys(line for part in parts for line in part.void)),
        notices=tuple(dict.fromkeys(line for part in parts for line in part.notices)),
        told=tuple(dict.fromkeys(folder for part in parts for folder in part.told)),
        against=f"{', '.join(partners)} of {base.folder.name}",
    )
    return doubted(answers, targets, others)


def _partner(base: OtherRun, target: str, known: Sequence[str]) -> str:
    """The target of the baseline's run that a candidate is held against."""
    if base.target:
        return base.target
    if target in known:
        return target
    if len(known) == 1:
        return known[0]
    raise UsageError(
        f"{base.folder} has no target {target}: say which one is the baseline, "
        + " or ".join(f"{base.folder}:{name}" for name in known or ["TARGET"])
    )


def _known(run: Run, others: Sequence[Side], partner: str) -> Side:
    refuse_unknown(run, partner)
    return next(other for other in others if other.name == partner)


def _answers(
    baseline: Side, candidates: Sequence[Side], thresholds: Sequence[Threshold], level: float
) -> BaselineAnswers:
    """Of one comparison. What is the fault of the run that is checked is said by the check itself."""
    sides = among([baseline, *candidates])
    names = [side.name for side in sides[1:]]
    asked = asked_of(thresholds, sides, names)
    refuse_other_definitions(sides)
    each, how = matched_to_the_first(sides), resampling(sides, level)
    measured = measurements(each, list(dict.fromkeys(threshold.question for threshold in asked)), how)
    by_question = {(figure.question, figure.candidate): figure for figure in measured}
    answers = [
        BaselineAnswer(
            threshold.written,
            replace(by_question[threshold.question, side.label], candidate=side.name),
            provisional=not one_run(sides),
        )
        for threshold in asked
        for side in sides[1:]
        if threshold.target in ("", side.name)
    ]
    void = [cause.line for cause in causes_of(checks_of(sides)) if cause.folder != candidates[0].run.folder]
    runs = tuple(dict.fromkeys(side.run.folder for side in sides))
    return BaselineAnswers(tuple(answers), tuple(void), notices=notices_of_comparison(sides, measured), told=runs)
