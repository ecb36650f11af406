"""Relative thresholds against targets of the same run, or of another run, measured as `reports.comparisons` does.

A run of `--until-decided` stopped at a moment that its figures chose, and a test that takes its size as given finds
differences too often. So there its looks answer: the verdicts are those of `reports.looks.decide`, each with the
interval and the corrected estimate of the look that decided it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.errors import UsageError
from reports.comparisons.comparison import inference, matched_to_the_first, measurements, notices_of_comparison
from reports.comparisons.sentences import decision_alone, stop_of
from reports.finding import Arm, Finding
from reports.gate.by_limit import limit_estimate
from reports.gate.items import Item, compared_item, not_exact
from reports.gate.relative import BaselineAnswer, BaselineAnswers, OtherRun, SameRun, asked_of, mark_provisional
from reports.looks.decide import decision_of, leading, sides_of_pairs
from reports.looks.decision import Decision
from reports.looks.sequence import GateResult
from reports.numbers import listed, plural
from reports.question import Question
from reports.runs import RunFrames, load_for_report
from reports.sides.fairness import causes_of, checks_of, one_run, one_seed, refuse_other_definitions
from reports.sides.named import refuse_unknown
from reports.sides.side import Side, among, targets_of
from reports.statistics.differences import LEVEL, estimated
from reports.statistics.verdicts import DRIFTS, OWN_DRIFT_LOOKS, Reason, Verdict
from reports.thresholds import Threshold
from reports.wording.verdicts import figure as figure_name
from reports.wording.verdicts import scale_of


def against_targets(
    targets: Sequence[Side], base: SameRun, thresholds: Sequence[Threshold], level: float = LEVEL
) -> BaselineAnswers:
    """The other targets of an interleaved run against one of them."""
    (baseline,) = (side for side in targets if side.name == base.target)
    candidates = [side for side in targets if side is not baseline]
    return replace(
        _answers_of_comparison(baseline, candidates, thresholds, level), against=f"{base.target}, in the same run"
    )


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
        _answers_of_comparison(
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
    return mark_provisional(answers, targets, others)


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


def _known(run: RunFrames, others: Sequence[Side], partner: str) -> Side:
    refuse_unknown(run, partner)
    return next(other for other in others if other.name == partner)


def _answers_of_comparison(
    baseline: Side, candidates: Sequence[Side], thresholds: Sequence[Threshold], level: float
) -> BaselineAnswers:
    """Of one comparison. What is the fault of the run that is checked is said by the check itself."""
    sides = among([baseline, *candidates])
    names = [side.name for side in sides[1:]]
    asked = asked_of(thresholds, sides, names)
    refuse_other_definitions(sides)
    each, how = matched_to_the_first(sides), inference(sides, level)
    measured = measurements(each, list(dict.fromkeys(threshold.question for threshold in asked)), how)
    by_question = {(figure.question, figure.candidate): figure for figure in measured}
    answers = [
        BaselineAnswer(
            threshold.written,
            replace(by_question[threshold.question, side.label], candidate=side.name),
            provisional=not one_run(sides),
            baseline=baseline.name,
        )
        for threshold in asked
        for side in sides[1:]
        if threshold.target in ("", side.name)
    ]
    void = [cause.line for cause in causes_of(checks_of(sides)) if cause.folder != candidates[0].run.folder]
    runs = tuple(dict.fromkeys(side.run.folder for side in sides))
    return BaselineAnswers(tuple(answers), tuple(void), notices=notices_of_comparison(sides, measured), told=runs)


NO_ARM = Arm(0, 0, 0)


def was_planned(document: Mapping[str, Any]) -> bool:
    """Whether a run was started with looks."""
    return document.get("decision_plan") is not None


def by_looks(
    run: RunFrames, targets: Sequence[Side], base: SameRun, thresholds: Sequence[Threshold]
) -> BaselineAnswers:
    """What the looks say. `thresholds`: the relative ones that were given; none, or those of the plan.

    Raises UsageError where others are asked for, or another baseline than the plan's.
    """
    decision = decision_of(run, str(run.folder))
    _refuse_others(decision, base, thresholds, str(run.folder))
    notices: list[str] = []
    rulings = zip(decision.gates, decision.course.rulings, strict=False)
    drifting = [figure_name(gate) for gate, ruling in rulings if ruling.provisional]
    if drifting:
        counted = "so quarters of the run were counted, not its pairs"
        notices.append(f"{listed(drifting)}: provisional: {DRIFTS}, {counted}. On the margin {OWN_DRIFT_LOOKS}.")
    if decision.course.looks and decision.after:
        notices.append(f"Beyond that look {plural(decision.after, 'whole pair')} ended; the verdict leaves them out.")
    return BaselineAnswers(
        items=tuple(_items(decision)),
        sentence=decision_alone(decision),
        void=tuple(cause.line for cause in decision.invalid),
        notices=(
            *notices,
            *one_seed(among([side for name in decision.targets for side in targets if side.name == name])),
        ),
        against=f"{base.target}, in the same run, by its planned looks: {stop_of(decision)}",
    )


def _refuse_others(decision: Decision, base: SameRun, thresholds: Sequence[Threshold], run: str) -> None:
    """A plan answers what it was made for, and nothing else."""
    first, second = decision.targets
    if base.target != first:
        raise UsageError(f"the looks of {run} have {first} as the baseline, not {base.target}: leave --baseline out")
    planned = {_asked(threshold, second) for threshold in decision.plan.thresholds}
    given = {_asked(threshold, second): threshold for threshold in thresholds}
    remedy = f"leave --thresholds out, or keep limits alone in it; `rtbench decide {run}` shows the looks"
    for asked, threshold in given.items():
        if asked not in planned:
            raise UsageError(f"{threshold.written} is no gate of the looks that {run} was planned with: {remedy}")
    if given and (left := [t.written for t in decision.plan.thresholds if _asked(t, second) not in given]):
        raise UsageError(f"{run} was planned with the gate {left[0]}, which the thresholds lack: {remedy}")


def _asked(threshold: Threshold, candidate: str) -> tuple[Question, str]:
    """What a threshold asks: the only candidate may be named or not."""
    return threshold.question, "" if threshold.target == candidate else threshold.target


def _items(decision: Decision) -> Iterable[Item]:
    """One for each gate. Before the first look there are gates and no rulings."""
    rulings = decision.course.rulings
    no_look = Reason("no look", "pair", decision.plan.looks[0], (decision.pairs,))
    unseen = GateResult("inconclusive", no_look, -1, math.nan, -math.inf, math.inf, math.nan)
    ended = leading(decision.run.sessions, ended=decision.run.document.get("state") == "ended")
    for at, gate in enumerate(decision.gates):
        ruling = rulings[at] if rulings else unseen
        size = decision.course.looks[ruling.look].pairs if rulings else decision.pairs
        sides = sides_of_pairs(decision.run, decision.targets, ended[:size]) if size else ()
        item = compared_item(_written(decision, gate), _finding(decision, gate, ruling, sides))
        why = "; ".join(filter(None, (side.inexact(gate) for side in sides)))
        yield not_exact(item, why) if why else item


def _finding(decision: Decision, gate: Question, ruling: GateResult, sides: Sequence[Side]) -> Finding:
    """What a look ruled of a gate, beside the figures that both arms had by then."""
    figures = [limit_estimate(side, gate) for side in sides]
    there = bool(figures) and all(one.turns for one in figures)
    base, cand = (
        (Arm(one.turns, one.sessions, one.failed, one.reached) for one in figures) if figures else (NO_ARM, NO_ARM)
    )
    return Finding(
        gate,
        decision.targets[1],
        estimated(scale_of(gate), figures[0].value, figures[1].value, ruling.d, ruling.low, ruling.high)
        if there
        else None,
        Verdict(ruling.word, ruling.reason, ruling.provisional),
        (base, cand),
        look=ruling.look + 1 if ruling.look >= 0 else None,
        corrected=ruling.corrected,
    )


def _written(decision: Decision, gate: Question) -> str:
    """The threshold that a gate came from, as it was written; one gives several gates where turns begin variously."""
    of_traits = gate.stratum and gate.stratum._replace(origin="")
    asked = [replace(gate, stratum=stratum) for stratum in (gate.stratum, of_traits, None)]
    return next(one.written for one in decision.plan.thresholds if one.question in asked)
