"""The sentences at the top of a comparison: templates with numbers, never a judgement that code cannot make."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from reports.comparisons.comparison import Comparison
from reports.comparisons.forest_rows import (
    ONE_IN,
    few_cell,
    figure_value,
    finding_row,
    is_lower,
    is_time,
    range_of,
    row,
    size,
    which_turns,
)
from reports.finding import Finding
from reports.looks.decision import Decision, decision_sentence, look_place, signed_difference
from reports.numbers import NBSP, count, listed, three
from reports.statistics.differences import FAR
from reports.statistics.verdicts import NOT_AFTER_HOLM, Word
from reports.summary.trust import verdict_of
from reports.wording import validity, verdicts
from reports.wording.verdicts import NOTHING, figure, share

LOOKED = (
    "This run is judged by looks that were planned before it began; theirs is the verdict that counts. "
    "The figures below are of all its pairs, as one test would see them."
)
WORST: tuple[Word, ...] = ("regressed", "inconclusive", "improved", "not regressed", "equivalent")
"""In the order in which one of them speaks for several gated figures."""
HAPPENS = {"failures": "fail or are never begun", "throttled": "are throttled", "stalled": "stall"}
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
    found = {mine[0].candidate: word for word, mine in _worst_first(comparison.gated)}
    return [*found.items(), *((side.label, None) for side in comparison.sides[1:] if side.label not in found)]


def _worst_first(gated: Sequence[Finding]) -> list[tuple[Word | None, list[Finding]]]:
    """The gated figures of each candidate with their verdict, the worst candidate first."""
    found = [[f for f in gated if f.candidate == label] for label in dict.fromkeys(f.candidate for f in gated)]
    return [(overall(mine), mine) for mine in sorted(found, key=_rank)]


def verdict(comparison: Comparison) -> Word | None:
    """Of the whole comparison: that of the planned looks where there were any, else that of the worst candidate."""
    return decision_word(comparison.decision) if comparison.decision is not None else overall(comparison.gated)


def _rank(gated: Sequence[Finding]) -> tuple[int, float]:
    word = overall(gated)
    assert word is not None, "a candidate has a gated figure"
    reach = _reach(_speaker(gated))
    return WORST.index(word), reach if word == "improved" else -reach


def comparison_headline(comparison: Comparison) -> str:
    """The answer in a sentence: of several candidates that of the worst."""
    if comparison.unfair:
        return validity.do_not_use(comparison.causes)
    if comparison.decision is not None:
        return decision_alone(comparison.decision)
    return answer(comparison.gated)


def answer(gated: Sequence[Finding]) -> str:
    """What gated figures say together, in a sentence: of several candidates that of the worst."""
    word, mine = _worst_first(gated)[0] if gated else (None, [])
    if word is None:
        return "There is no verdict, because no figure was gated."
    return _opening(word, _speaker(mine), mine)


def comparison_second(comparison: Comparison) -> str:
    """What belongs to the headline: how sure it is, which other figures say so, what the other candidates did."""
    if comparison.unfair:
        return validity.remedies(comparison.causes)
    if comparison.decision is not None:
        return LOOKED
    if not comparison.gated:
        return ""
    (word, mine), *others = _worst_first(comparison.gated)
    told = _speaker(mine)
    parts = [_sure(told), *_beside(mine, told)]
    if word == "inconclusive":
        parts.append(settling([finding for finding in mine if finding.verdict.word == word]))
    parts += [f"{found[0].candidate}: {word}." for word, found in others if word]
    return " ".join(filter(None, parts))


def settling(open_: Sequence[Finding]) -> str:
    """How many sessions settle all of these: what the one takes that takes most, then each; or that none would."""
    finite = sorted((f for f in open_ if math.isfinite(f.needed)), key=lambda f: -f.needed)
    endless = [f for f in open_ if math.isinf(f.needed)]
    if any(f.verdict.provisional and f.difference and not f.difference.drifts for f in endless):
        return APART
    units = "pairs" if all(f.unit == "pair" for f in open_) else "sessions in each arm"
    most = [f"more than {count(FAR * max(f.sessions))}" for f in endless] + list(map(_about, finite))
    if not most:
        return ""
    names = [figure(f.question) for f in (*endless, *finite)]
    each = [f"{name} {many}" for name, many in zip(names[1:], most[1:], strict=True)]
    takes = listed([f"{names[0]} takes {most[0]}", *each])
    if endless:
        return f"More {units} will hardly settle it: {takes}."
    return f"It takes {most[0]} {units} to settle it{f': {takes}' if each else ''}."


def _about(finding: Finding) -> str:
    """about 370; at least 100, of what has too few turns to decide."""
    reason = finding.verdict.reason
    return f"{'at least' if reason and reason.kind == 'too few' else 'about'} {count(int(finding.needed))}"


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
            told = finding_row(mine[0], comparison)
            asked = replace(mine[0].question, step="")
            found.append(
                f"{mine[0].question.step} of {side.label}, {figure(asked)} {told.told}, margin {told.margin_text}: "
                f"{told.verdict}; the worst of {len(mine)} steps, by an interval as of one; not gated"
            )
    return found


def sentence(finding: Finding) -> str:
    """One finding in words, its verdict first."""
    word = finding.verdict.word
    rest = settling([finding]) if word == "inconclusive" and not finding.verdict.reason else _sure(finding)
    return " ".join(filter(None, (_opening(word, finding, [finding]), rest)))


def _opening(word: Word, finding: Finding, gated: Sequence[Finding]) -> str:
    """`finding` speaks for all that are gated."""
    told, name, label = row(finding, 1), figure(finding.question), finding.candidate
    if word == "regressed":
        return f"{label} regressed: {_now(finding, _more(finding))}."
    if word in ("not regressed", "equivalent") and finding.known == "worse":
        than = f"{label} is {told.known} than {finding.baseline}, but within the margin"
        return f"{than}: {name} differs by {told.told}, the margin is {told.margin_text}."
    if word == "not regressed":
        stays = f"which stays within the margin of {told.margin_text}"
        return f"{label} has not regressed: {name} differs by {told.told}, {stays}."
    if word == "equivalent":
        return f"{label} is equivalent: {name} differs by {told.told}; both ends lie within ±{told.margin_text}."
    if word == "improved":
        assert finding.difference is not None, "what improved has a difference"
        apart = f"{size(finding.difference.d, finding, longer=True)} than on {finding.baseline}"
        return f"{label} improved: {name} is {apart} ({told.interval})."
    reason, name = finding.verdict.reason, figure(finding.question)
    lead, rest = verdicts.parts(reason)
    if finding.known == "worse":
        after = " after Holm’s correction" if reason == NOT_AFTER_HOLM else f" ({rest})" if rest else ""
        now = _now(finding, range_of(finding, longer=False))
        worse = f"{finding.candidate} is {told.known} than {finding.baseline}: {now}"
        return f"{worse}; whether more than the margin of {told.margin_text} is open{after}."
    if reason and reason.kind == "none seen":
        passed = listed([figure(f.question) for f in gated if f.verdict.passes])
        passes = (
            f"{finding.candidate} passes on {passed}; its {name}" if passed else f"The {name} of {finding.candidate}"
        )
        return f"{passes} is open: {lead or rest}, and the margin is {told.margin_text}."
    inconclusive = f"Inconclusive on {finding.candidate}"
    if lead:
        return f"{inconclusive} ({lead}): {rest}."
    if finding.difference is None or math.isnan(finding.difference.d):
        if reason is not None and reason.kind == "not exact":
            return f"{inconclusive}: {name} is {rest}."
        absent = reason is not None and reason.kind in ("no turns", "no figure", "no ratio")
        return f"{inconclusive}: {rest}." if absent else f"{inconclusive}: {name}: {rest or 'cannot be told'}."
    may = f"{inconclusive}: {name} may be {range_of(finding)} and the margin is {told.margin_text}"
    return f"{may} ({rest})." if rest else f"{may}."


def _sure(finding: Finding) -> str:
    """How sure it is that a figure regressed."""
    found = finding.difference
    if found is None or finding.verdict.word != "regressed":
        return ""
    sure = f"With {three(100 * (1 - found.level))}{NBSP}% confidence it is at least"
    least = found.low if is_lower(finding.question) else found.high
    told = f"{sure} {size(least, finding, longer=True)}; the" if math.isfinite(least) else "The"
    return f"{told} margin is {row(finding, 1).margin_text}."


def _more(finding: Finding) -> str:
    """65 % more than on direct."""
    assert finding.difference is not None, "what regressed has a difference"
    return f"{size(finding.difference.d, finding)} than on {finding.baseline}"


def _now(finding: Finding, more: str) -> str:
    """one turn in twenty now takes longer than 2.64 s, 65 % more than on direct (ttfa p95)."""
    found, question = finding.difference, finding.question
    assert found is not None, "what became worse has a difference"
    if question.measure in HAPPENS:
        noun = "replies" if question.measure == "stalled" else "turns"
        return f"{share(found.candidate)}{NBSP}% of its {noun} {HAPPENS[question.measure]}, {more}"
    if question.p not in ONE_IN or not is_time(question):
        return f"{figure(question)} is {figure_value(found.candidate, question)}, {more}"
    which, several = which_turns(question)
    if math.isinf(found.candidate):
        was = f"on {finding.baseline} it was {figure_value(found.baseline, question)}"
        return f"{which} now {'fail' if several else 'fails'} ({figure(question)}; {was})"
    takes = "take" if several else "takes"
    return f"{which} now {takes} longer than {figure_value(found.candidate, question)}, {more} ({figure(question)})"


def _speaker(gated: Sequence[Finding]) -> Finding:
    """The finding that speaks for several: the farthest beyond its margin of those with the worst word.

    Of what is inconclusive first what is known to be worse, and last a rate of which none was seen.
    """
    word = overall(gated)
    return max((finding for finding in gated if finding.verdict.word == word), key=_telling)


def _telling(finding: Finding) -> tuple[bool, bool, float]:
    reason, undecided = finding.verdict.reason, finding.verdict.word == "inconclusive"
    unseen = reason is not None and reason.kind == "none seen"
    return not unseen, undecided and finding.known == "worse", _reach(finding)


def _reach(finding: Finding) -> float:
    """How far the bound that decided lies from the margin, as a multiple of it."""
    found, margin = finding.difference, finding.question.margin
    if found is None:
        return math.inf
    bound = {"regressed": found.worse_low, "improved": found.better_low}.get(finding.verdict.word, found.worse_high)
    accepted = {"points": margin.points, "slope": margin.plus, "ratio": math.log1p(margin.ratio)}[found.scale]
    return bound / max(accepted, 0.005)


def _beside(mine: Sequence[Finding], told: Finding) -> Iterable[str]:
    """Also regressed: ttfa p50 +57 %. Also open: …. Improved: …: the other gated figures, word by word."""
    for word in WORST:
        others = [finding for finding in mine if finding.verdict.word == word and finding is not told]
        if others:
            also = "Also " if word == told.verdict.word else ""
            lead = f"{also}{'open' if word == 'inconclusive' else word}"
            said = "; ".join(map(_open, others)) if word == "inconclusive" else ", ".join(map(_changed, others))
            yield f"{lead[:1].upper()}{lead[1:]}: {said}."


def _changed(finding: Finding) -> str:
    """ttfa p50 +57 %."""
    change = row(finding, 1).change
    return f"{figure(finding.question)}{f' {change}' if change != NOTHING else ''}"


def _open(finding: Finding) -> str:
    """ttfa p95, 10 to 23 % longer (margin 20 %); failure rate, with no failure in 100 sessions …: what is left open."""
    name, found, reason = figure(finding.question), finding.difference, finding.verdict.reason
    lead, rest = verdicts.parts(reason)
    if reason and reason.kind == "none seen":
        return f"{name}: {lead or rest}"
    if found is None or math.isnan(found.d) or few_cell(finding):
        return f"{name}: {lead or rest}" if lead or rest else name
    margin = f"margin {row(finding, 1).margin_text}"
    return f"{name}, {range_of(finding)} ({'; '.join(filter(None, (margin, verdicts.said(reason))))})"


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
