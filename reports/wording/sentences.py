"""The sentences at the top of a report: templates with numbers, never a judgement that code cannot make."""

from __future__ import annotations

import math

from reports.numbers import count, listed, plural, together, usd
from reports.strata import ORIGINS, STARTED_BY
from reports.summary.summary import HEARD, CallerWait, Summary
from reports.summary.verdict import taken_by_warm_up
from reports.wording import failings, words

WAITS = {
    "speech_end": "Callers wait {0} from the end of their speech for the first {1} of the reply (median)",
    "requested": "The first {1} of the reply comes {0} after response.create (median)",
}
"""By origin: what counts from a request is no caller's wait, for the caller had ended before."""


def headline(summary: Summary) -> str:
    """The answer in a sentence; of several targets also those that gave none."""
    if summary.verdict.valid is False:
        return f"Do not use these figures: {words.cause(summary)}."
    if not sum(summary.outcomes.begun):
        return _no_turns(summary)
    lost = [summary.targets[place] for place in failings.hopeless(summary)]
    begun = [answer for answer in summary.answers if answer.turns and answer.target not in lost]
    parts = [[answer for answer in begun if answer.stratum == stratum] for stratum in summary.turns.strata]
    several = sum(map(bool, parts)) > 1
    said = [_beside(summary, begun, part) or _answered(summary, part, several=several) for part in parts if part]
    lacking = *_without_median(begun), *failings.never_begun(summary), *failings.lacking(summary)
    return " ".join([*said, *(f"{lack}." for lack in lacking)])


def _answered(summary: Summary, begun: list[CallerWait], *, several: bool) -> str:
    """The sentence of the turns of one stratum; of several strata it is short, for the table says more."""
    told, named = [answer for answer in begun if answer.figures.at(0.5).bounded], len(summary.targets) > 1
    if told:
        return f"{_waits(told, named)}." if several else _waits_and_tail(told, named)
    where = [answer.target for answer in begun] if len(begun) < len(summary.targets) else []
    return _untold(begun, begun[0].stratum.turns if several else "turns", f" on {listed(where)}" if where else "")


def _beside(summary: Summary, begun: list[CallerWait], part: list[CallerWait]) -> str:
    """With function calls it is 1.7 s: turns with traits, of which the plain ones are told; empty of all others."""
    stratum = part[0].stratum
    plain = [answer for answer in begun if answer.stratum == stratum._replace(traits="")]
    told = [answer for answer in part if answer.figures.at(0.5).bounded]
    if not (stratum.traits and told and any(answer.figures.at(0.5).bounded for answer in plain)):
        return ""
    which = f"{stratum.traits_words[:1].upper()}{stratum.traits_words[1:]}{',' if ',' in stratum.traits_words else ''}"
    return f"{which} it is {_medians(told, len(summary.targets) > 1)}."


def _without_median(begun: list[CallerWait]) -> list[str]:
    """On b 27 of 30 turns failed: too many for a median. Of the targets that have none where another has one."""
    told = {answer.target for answer in begun if answer.figures.at(0.5).bounded}
    lacking = dict.fromkeys(answer.target for answer in begun if told and answer.target not in told)
    return [f"On {name} {_no_median([a for a in begun if a.target == name])}" for name in lacking]


def _no_median(mine: list[CallerWait]) -> str:
    """27 of 30 turns failed: too many for a median; 12 turns of 3 sessions are too few for a median (1 failed)."""
    unmet, wanted = sum(answer.unmet for answer in mine), sum(answer.wanted for answer in mine)
    if any(answer.figures.at(0.5).status == "failed share" for answer in mine):
        return f"{count(unmet)} of {plural(wanted, 'turn')} failed: too many for a median"
    turns, sessions = sum(answer.turns for answer in mine), max(answer.sessions for answer in mine)
    few = f"{plural(turns, 'turn')} of {plural(sessions, 'session')} {'is' if turns == 1 else 'are'} too few"
    return f"{few} for a median{f' ({count(unmet)} of {count(wanted)} wanted failed)' if unmet else ''}"


def _no_turns(summary: Summary) -> str:
    sessions = sum(summary.outcomes.opened)
    if taken := taken_by_warm_up(summary.run.document):
        return f"Nothing was measured: {taken}."
    if not sessions:
        return "This run holds no turns and no sessions."
    ends = [f"{count(sum(ending.counts))} × {ending.outcome}" for ending in summary.outcomes.sessions]
    return f"No turn was begun: {plural(sessions, 'session')} ended as {listed(ends)}."


def _waits(told: list[CallerWait], named: bool, *beside: float) -> str:
    """The medians, by target where the run has several; in a unit that suits the values said beside them as well."""
    stratum, kind = told[0].stratum, words.KINDS[told[0].figures.measure]
    apart = f", {stratum.traits_words}" if stratum.traits else ""
    return WAITS[stratum.origin].format(_medians(told, named, *beside), kind) + apart


def _medians(told: list[CallerWait], named: bool, *beside: float) -> str:
    shown = _ends(told)
    times = together(*map(_median, shown), *beside)
    medians = [_marked(time, a, 0.5, named=named) for time, a in zip(times, shown, strict=False)]
    return _spread(medians, len(told))


def _waits_and_tail(told: list[CallerWait], named: bool) -> str:
    """The medians with p95; where it may not be told the slowest turn, if the run has one target."""
    shown = _ends(told)
    medians = [_median(answer) for answer in shown]
    if all(answer.figures.at(0.95).bounded for answer in shown):
        tails = [_tail(answer) for answer in shown]
        times = together(*medians, *tails)[len(shown) :]
        longer = [_marked(time, a, 0.95, named=named) for time, a in zip(times, shown, strict=True)]
        return f"{_waits(told, named, *tails)}; one turn in twenty takes longer than {listed(longer)} (p95)."
    if named:
        return f"{_waits(told, named)}."
    slowest, which = (
        told[0].figures.high,
        "that succeeded" if told[0].figures.failed else f"of {plural(told[0].turns, 'turn')}",
    )
    took = together(*medians, slowest)[-1]
    return f"{_waits(told, named, slowest)}; the slowest {which} took {took}."


def _ends(told: list[CallerWait]) -> list[CallerWait]:
    """Up to three answers; of more the fastest and the slowest."""
    return told if len(told) <= 3 else [min(told, key=_median), max(told, key=_median)]


def _spread(times: list[str], many: int) -> str:
    """Up to three by name; of more the shortest and the longest."""
    return listed(times) if many <= 3 else f"from {times[0]} to {times[1]}"


def heard(summary: Summary) -> str:
    """When callers hear the reply; empty where no turn was spoken, or none of these medians may be published."""
    told = [answer for answer in summary.heard if answer.figures.at(0.5).bounded]
    if not told or summary.verdict.valid is False:
        return ""
    shown = _ends(told)
    times = together(*(_median(answer) for answer in shown))
    named = [
        f"{words.bound(answer.figures.at(0.5))}{time}{_whose(answer, summary)}"
        for time, answer in zip(times, shown, strict=True)
    ]
    waited = f"Callers hear the reply {_spread(named, len(told))} after the end of their speech"
    return f"{waited} (median {HEARD}, {summary.setup.player})."


def _whose(answer: CallerWait, summary: Summary) -> str:
    """on direct, in VAD turns: as much as tells it from the others."""
    apart = answer.label.removeprefix(answer.target)
    by_origin = STARTED_BY[answer.stratum.origin] in apart
    stratum = answer.stratum if by_origin else answer.stratum._replace(origin="")
    on = f" on {answer.target}" if len(summary.targets) > 1 else ""
    return f"{on} in {stratum.turns}" if apart else on


def _median(answer: CallerWait) -> float:
    return answer.figures.at(0.5).told


def _marked(time: str, answer: CallerWait, p: float, *, named: bool) -> str:
    """482 ms, ≥ 1.2 s on direct."""
    return f"{words.bound(answer.figures.at(p))}{time}{f' on {answer.target}' if named else ''}"


def _untold(begun: list[CallerWait], noun: str, where: str) -> str:
    """Why there is no median, and what there is."""
    turns, failed = sum(a.figures.n for a in begun), sum(a.figures.failed for a in begun)
    if failed and failed == turns:
        return f"All {noun}{where} failed: {count(failed)} of {count(turns)}."
    if any(a.figures.at(0.5).status == "failed share" for a in begun):
        return f"Half of the {noun}{where} or more failed: {count(failed)} of {count(turns)}."
    good = [end for a in begun for end in (a.figures.low, a.figures.high) if math.isfinite(end)]
    if not good:
        if sum(answer.wanted - answer.unmet for answer in begun):
            return f"Of the {noun}{where} that ended well the service does not tell when their first output came."
        cut = count(sum(a.turns for a in begun))
        return f"None of the {noun}{where} came to an end: {cut} were cut by the end of the run."
    sessions, figures = sum(a.sessions for a in begun), begun[0].figures
    took = " to ".join(dict.fromkeys(together(min(good), max(good))))
    came = f"first {words.KINDS[figures.measure]} came {took} after {ORIGINS[figures.stratum.origin]}"
    apart, of = figures.stratum.traits_words, f"of {plural(sessions, 'session')}{where}"
    which = f"{plural(turns, 'turn')} {apart}, {of}," if apart else f"{plural(turns, 'turn')} {of}"
    return f"{which} cannot carry a median with its interval; {'its' if turns == 1 else 'their'} {came}."


def essentials(summary: Summary) -> str:
    """✓ VALID · ttfa p50 482 ms, p95 902 ms · 412 turns, 3 failed · 1.32 USD: the run in one line."""
    spent = [usd(summary.money.usd)] if not math.isnan(summary.money.usd) else []
    if summary.verdict.valid is False:
        told = [f"do not use these figures: {words.cause(summary)}"]
    else:
        told = _alone(summary.answers[0]) if len(summary.answers) == 1 else _tails(summary)
    return " · ".join([*words.badges(summary), *told, *_counted(summary), *spent])


def _counted(summary: Summary) -> list[str]:
    """412 turns, 3 failed, after the targets without a good one; 10 sessions refused:401, 40 turns lost."""
    found = summary.outcomes
    if taken_by_warm_up(summary.run.document):
        return ["nothing was measured"]
    if not sum(found.begun) and found.sessions:
        ends = [f"{plural(sum(ending.counts), 'session')} {ending.outcome}" for ending in found.sessions]
        return [*ends, *([f"{plural(sum(found.lost), 'turn')} lost"] if sum(found.lost) else [])]
    failed = f"{failings.of_wanted(summary)} wanted" if sum(found.lost) else count(sum(found.failed))
    return [*failings.lacking(summary), f"{plural(sum(found.begun), 'turn')}, {failed} failed"]


def _alone(answer: CallerWait) -> list[str]:
    """ttfa p50 482 ms, p95 902 ms: what may be published of it."""
    told = [estimate for p in (0.5, 0.95) if (estimate := answer.figures.at(p)).bounded]
    times = together(*(estimate.told for estimate in told)) if told else []
    said = [f"p{estimate.p * 100:g} {words.bound(estimate)}{time}" for estimate, time in zip(told, times, strict=True)]
    return [f"{answer.figures.measure} {', '.join(said)}"] if said else []


def _tails(summary: Summary) -> list[str]:
    """ttfa p95 902 ms on direct and 941 ms on gateway; of more than two the least and the largest.

    Of several strata each says what it counts from, and one target is not named.
    """
    said, named = [], len(summary.targets) > 1
    for stratum in summary.turns.strata:
        told = [a for a in summary.answers if a.stratum == stratum and a.figures.at(0.95).bounded]
        if told:
            ends = told if len(told) < 3 else [min(told, key=_tail), max(told, key=_tail)]
            times = together(*map(_tail, ends))
            parts = [_marked(time, a, 0.95, named=named) for time, a in zip(times, ends, strict=True)]
            since = words.since(told[0].figures.measure, stratum) if len(summary.turns.strata) > 1 else ""
            joined = " to ".join(parts) if len(told) > 2 else listed(parts)
            said.append(f"{told[0].figures.measure}{since} p95 {joined}")
    return said


def _tail(answer: CallerWait) -> float:
    return answer.figures.at(0.95).told
