"""The sentences at the top of a comparison: templates with numbers, never a judgement that code cannot make."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from reports.comparisons.comparison import Comparison
from reports.comparisons.forest_rows import (
    ONE_IN,
    ForestRow,
    figure_value,
    finding_row,
    is_lower,
    is_time,
    range_of,
    size,
    which_turns,
)
from reports.finding import Finding
from reports.looks.decision import Decision, decision_sentence, look_place, signed_difference
from reports.numbers import NBSP, count, three
from reports.statistics.verdicts import NOT_AFTER_HOLM, Word
from reports.summary.verdict import verdict_of
from reports.wording import validity, verdicts
from reports.wording.verdicts import NOTHING, figure, share

LOOKED = (
    "This run is judged by looks that were planned before it began; theirs is the verdict that counts. "
    "The figures below are of all its pairs, as one test would see them."
)
WORST: tuple[Word, ...] = ("regressed", "inconclusive", "improved", "not regressed", "equivalent")
"""In the order in which one of them speaks for several gated figures."""
HAPPENS = {"failures": "fail or are never begun", "throttled": "are throttled", "stalled": "stall"}
NEAR = "It lies so near the margin that no sensible number of sessions would settle it."
APART = "More sessions would not settle it, because two runs differ by themselves: play both in one run (--targets)."
PROVISIONAL = (
    "Provisional: two runs of one unchanged service differ by themselves, and {} of run-to-run spread was assumed for "
    "that. Play both in one run (--targets A,B), or store five baselines, to know instead of to assume."
)


def overall(gated: Sequence[Finding]) -> Word | None:
    """The verdict on several gated figures together; None of none."""
    words = {finding.verdict.word for finding in gated}
    return next((word for word in WORST if word in words), None)


def candidates(comparison: Comparison) -> list[tuple[str, Word | None]]:
    """Each candidate with its verdict, the worst first; among equals by how far one lies beyond its margin."""
    if comparison.decision is not None:
        return [(comparison.sides[1].label, decision_word(comparison.decision))]
    found = [(side.label, gated_of(comparison, side.label)) for side in comparison.sides[1:]]
    ranked = sorted((_rank(gated), place) for place, (_, gated) in enumerate(found))
    return [(found[place][0], overall(found[place][1])) for _, place in ranked]


def verdict(comparison: Comparison) -> Word | None:
    """Of the whole comparison: that of the planned looks where there were any, else that of the worst candidate."""
    return decision_word(comparison.decision) if comparison.decision is not None else overall(comparison.gated)


def _rank(gated: Sequence[Finding]) -> tuple[int, float]:
    word = overall(gated)
    if word is None:
        return len(WORST), 0.0
    reach = _reach(_speaker(gated))
    return WORST.index(word), reach if word == "improved" else -reach


def gated_of(comparison: Comparison, label: str) -> list[Finding]:
    """The gated findings of one candidate."""
    return [finding for finding in comparison.gated if finding.candidate == label]


def comparison_headline(comparison: Comparison) -> str:
    """The answer in a sentence: of several candidates that of the worst."""
    if comparison.unfair:
        return validity.do_not_use(comparison.causes)
    if comparison.decision is not None:
        return decision_alone(comparison.decision)
    label, word = candidates(comparison)[0]
    if word is None:
        return "There is no verdict, because no figure was gated."
    return _opening(word, label, _speaker(gated_of(comparison, label)), comparison)


def comparison_second(comparison: Comparison) -> str:
    """What belongs to the headline: how sure it is, which other figures say so, what the other candidates did."""
    if comparison.unfair:
        return validity.remedies(comparison.causes)
    if comparison.decision is not None:
        return LOOKED
    first, *others = candidates(comparison)
    if first[1] is None:
        return ""
    mine = gated_of(comparison, first[0])
    told = _speaker(mine)
    parts = [_rest(told, comparison), *_beside(mine, told, comparison)]
    parts += [f"{label}: {word}." for label, word in others if word]
    return " ".join(filter(None, parts))


def unusable_word(comparison: Comparison) -> str:
    """INVALID, NOT JUDGED: of a candidate's run that is; else INVALID COMPARISON."""
    found = [verdict_of(side.run.document) for side in comparison.sides[1:]]
    unfit = next((one for one in found if not one.valid), found[0])
    return validity.run_word(unfit.word, usable=False)


def assumption(comparison: Comparison) -> str:
    """What was assumed where two runs were compared; empty where nothing was, and where there is no verdict at all."""
    assumed = comparison.method.run_sd and any(finding.verdict.provisional for finding in comparison.findings)
    if comparison.unfair or not assumed:
        return ""
    return PROVISIONAL.format(f"{three(100 * comparison.method.run_sd)}{NBSP}%")


def worst_steps(comparison: Comparison) -> list[str]:
    """Of each candidate the step that is likeliest to be worse: its name, its difference, its verdict."""
    found = []
    for side in comparison.sides[1:]:
        mine = [finding for finding in comparison.steps if finding.candidate == side.label]
        if mine:
            told = _row(mine[0], comparison)
            asked = replace(mine[0].question, step="")
            found.append(
                f"{mine[0].question.step} of {side.label}, {figure(asked)} {told.told}, margin {told.margin_text}: "
                f"{told.verdict}; the worst of {len(mine)} steps, not gated"
            )
    return found


def sentence(finding: Finding, comparison: Comparison) -> str:
    """One finding in words, its verdict first."""
    said = _opening(finding.verdict.word, finding.candidate, finding, comparison)
    return " ".join(filter(None, (said, _rest(finding, comparison))))


def _opening(word: Word, label: str, finding: Finding, comparison: Comparison) -> str:
    told, name = _row(finding, comparison), figure(finding.question)
    if word == "regressed":
        return f"{label} regressed: {_now(finding, comparison)}."
    if word == "not regressed":
        stays = f"which stays within the margin of {told.margin_text}"
        return f"{label} has not regressed: {name} differs by {told.told}, {stays}."
    if word == "equivalent":
        return f"{label} is equivalent: {name} differs by {told.told}; both ends lie within ±{told.margin_text}."
    if word == "improved":
        return f"{label} improved: {name} is {_apart(finding, comparison)}."
    return f"Inconclusive on {label}{_undecided(finding, told)}."


def _undecided(finding: Finding, told: ForestRow) -> str:
    """` (too few turns): p95 needs 400…`, `: ttfa p90 may be 5 to 19 % longer and the margin is 10 %`."""
    reason, name = finding.verdict.reason, figure(finding.question)
    lead, rest = verdicts.parts(reason)
    if lead:
        return f" ({lead}): {rest}"
    if finding.difference is None or math.isnan(finding.difference.d):
        if reason is not None and reason.kind == "not exact":
            return f": {name} is {rest}"
        absent = reason is not None and reason.kind in ("no turns", "no figure", "no ratio")
        return f": {rest}" if absent else f": {name}: {rest or 'cannot be told'}"
    if reason == NOT_AFTER_HOLM:
        return (
            f": {name} is {range_of(finding)}, over the margin of {told.margin_text}, but not after Holm’s correction"
        )
    may = f"{name} may be {range_of(finding)} and the margin is {told.margin_text}"
    return f": {may} ({rest})" if rest else f": {may}"


def _rest(finding: Finding, comparison: Comparison) -> str:
    """How sure it is, or what would settle it."""
    verdict, found = finding.verdict, finding.difference
    if found is None:
        return ""
    margin = _row(finding, comparison).margin_text
    if verdict.word == "regressed":
        sure = f"With {three(100 * (1 - comparison.method.level))}{NBSP}% confidence it is at least"
        least = found.low if is_lower(finding.question) else found.high
        told = f"{sure} {size(least, finding, longer=True)}; the" if math.isfinite(least) else "The"
        return f"{told} margin is {margin}."
    if verdict.word != "inconclusive" or verdict.reason:
        return ""
    if verdict.more_sessions:
        paired = comparison.method.design == "pairs"
        unit, where = ("pair", "") if paired else ("session", " in each arm")
        units = unit if verdict.more_sessions == 1 else f"{unit}s"
        return f"About {count(verdict.more_sessions)} more {units}{where} would settle it."
    return APART if comparison.method.run_sd else NEAR


def _now(finding: Finding, comparison: Comparison) -> str:
    """one turn in twenty now takes longer than 2.64 s, 65 % more than on direct (ttfa p95)."""
    found, question, base = finding.difference, finding.question, comparison.sides[0].label
    assert found is not None, "what regressed has a difference"
    more = f"{size(found.d, finding)} than on {base}"
    if question.measure in HAPPENS:
        noun = "replies" if question.measure == "stalled" else "turns"
        return f"{share(found.candidate)}{NBSP}% of its {noun} {HAPPENS[question.measure]}, {more}"
    if question.p not in ONE_IN or not is_time(question):
        return f"{figure(question)} is {figure_value(found.candidate, question)}, {more}"
    which, several = which_turns(question)
    if math.isinf(found.candidate):
        was = f"on {base} it was {figure_value(found.baseline, question)}"
        return f"{which} now {'fail' if several else 'fails'} ({figure(question)}; {was})"
    takes = "take" if several else "takes"
    return f"{which} now {takes} longer than {figure_value(found.candidate, question)}, {more} ({figure(question)})"


def _apart(finding: Finding, comparison: Comparison) -> str:
    """25 % shorter than on direct (20 to 29 %)."""
    found = finding.difference
    assert found is not None, "what improved has a difference"
    told = _row(finding, comparison)
    return f"{size(found.d, finding, longer=True)} than on {comparison.sides[0].label} ({told.interval})"


def _row(finding: Finding, comparison: Comparison) -> ForestRow:
    return finding_row(finding, comparison)


def _speaker(gated: Sequence[Finding]) -> Finding:
    """The finding that speaks for several: the farthest beyond its margin of those with the worst word."""
    word = overall(gated)
    return max((finding for finding in gated if finding.verdict.word == word), key=_reach)


def _reach(finding: Finding) -> float:
    """How far the bound that decided lies from the margin, as a multiple of it."""
    found, margin = finding.difference, finding.question.margin
    if found is None:
        return math.inf
    bound = {"regressed": found.worse_low, "improved": found.better_low}.get(finding.verdict.word, found.worse_high)
    accepted = {"points": margin.points, "slope": margin.plus, "ratio": math.log1p(margin.ratio)}[found.scale]
    return bound / max(accepted, 0.005)


def _beside(mine: Sequence[Finding], told: Finding, comparison: Comparison) -> Iterable[str]:
    """Also regressed: ttfa p50 +57 %. Improved: …: the other gated figures, word by word."""
    for word in WORST:
        others = [_row(f, comparison) for f in mine if f.verdict.word == word and f is not told]
        if others:
            also = "Also " if word == told.verdict.word else ""
            said = [
                f"{figure(one.finding.question)}{f' {one.change}' if one.change != NOTHING else ''}" for one in others
            ]
            lead = f"{also}{word}"
            yield f"{lead[:1].upper()}{lead[1:]}: {', '.join(said)}."


def decision_word(decision: Decision) -> Word:
    """The verdict of all gates together."""
    reason = decision.course.reason
    if reason == "regressed" or reason == "not regressed":
        return reason
    return "inconclusive"


def decision_alone(decision: Decision) -> str:
    """Its sentence as it stands alone: with a capital letter, unless it begins with the candidate's name."""
    text, named = decision_sentence(decision), decision.course.reason in ("regressed", "not regressed")
    return f"{text if named and not decision.invalid else text[:1].upper() + text[1:]}."


def brief(decision: Decision) -> str:
    """gateway regressed: ttfa p50 +44 %, ttfa p95 +50 %: the figures that say so, and nothing of how surely.

    The whole sentence where none of them has a difference.
    """
    word = decision_word(decision)
    rulings = zip(decision.gates, decision.course.rulings, strict=bool(decision.course.rulings))
    figures = [
        f"{figure(gate)} {signed_difference(gate, ruling.d)}"
        for gate, ruling in rulings
        if ruling.word == word and not math.isnan(ruling.d)
    ]
    if not figures or decision.invalid:
        return decision_alone(decision)
    begins = {
        "regressed": f"{decision.targets[1]} regressed",
        "not regressed": f"{decision.targets[1]} has not regressed",
    }
    return f"{begins.get(word, 'Inconclusive')}: {', '.join(figures)}."


def stop_of(decision: Decision) -> str:
    """stopped at look 3 of 10, 150 pairs."""
    return f"stopped at {look_place(decision)}" if decision.course.looks else "no look was held"
