"""What went wrong, in sentences: turns that failed, and turns that were wanted and never begun."""

from __future__ import annotations

from collections.abc import Sequence

from reports.numbers import count, listed, percent, plural
from reports.summary.arms import FAIR
from reports.summary.outcomes import Ending
from reports.summary.summary import Summary
from reports.wording import words

NO_VERDICT = "Not judged: {}. So it is not known whether the load generator kept up."
NAMED = 3
"""So many targets are named one by one in a sentence."""


def of_wanted(summary: Summary) -> str:
    """45 of 86: the turns that failed or were never begun, and those that were wanted."""
    return f"{count(sum(summary.outcomes.unmet))} of {count(sum(summary.outcomes.wanted))}"


def second(summary: Summary) -> str:
    """What went wrong, in numbers."""
    outcomes = summary.outcomes
    begun, wanted, cut = (sum(n) for n in (outcomes.begun, outcomes.wanted, outcomes.censored))
    if not begun:
        return ""
    said = [_unmet_in_all(summary) if sum(outcomes.lost) else _failed(summary)] if wanted else []
    replies, silent = (sum(getattr(c, name) for c in summary.counts) for name in ("replies", "stalled"))
    if silent:
        said.append(f"{count(silent)} of {words.replies(replies)} stalled while playing ({percent(silent, replies)}).")
    if cut:
        said.append(f"{count(cut)} {'was' if cut == 1 else 'were'} cut by the end of the run and left out.")
    if summary.verdict.valid is None:
        said.append(NO_VERDICT.format(summary.verdict.reason))
    return " ".join(said)


def way_out(summary: Summary) -> str:
    """What to do about the commonest failure, where most of what was wanted failed."""
    remedies, outcomes = summary.outcomes.remedies(), summary.outcomes
    mostly = 2 * sum(outcomes.unmet) > sum(outcomes.wanted)
    return f"What to do about {remedies[0].line}." if remedies and mostly else ""


def _failed(summary: Summary) -> str:
    """How many failed where none was lost, unless the headline has said it, and how."""
    failed, ended = sum(summary.outcomes.failed), sum(summary.outcomes.wanted)
    if not failed:
        return "The turn did not fail." if ended == 1 else f"None of the {plural(ended, 'turn')} failed."
    told = summary.verdict.valid is not False and all(
        answer.figures.at(0.5).status == "failed share" for answer in summary.answers if answer.turns
    )
    most, several = _mostly(_failures(summary))
    if told:
        return f"{'Most often' if several else 'Each'} {most}."
    often = "most often " if several else ""
    where = _shared(summary, summary.outcomes.failed)
    return f"{count(failed)} of {plural(ended, 'turn')} failed ({percent(failed, ended)}{where}), {often}{most}."


def _shared(summary: Summary, numbers: Sequence[int]) -> str:
    """How they lie among several targets: `; 6 of 24 on quick`, `; 4 of 24 on a and 2 of 24 on b`."""
    rows = zip(summary.targets, numbers, summary.outcomes.wanted, strict=True)
    mine = [f"{count(n)} of {count(wanted)} on {target}" for target, n, wanted in rows if n]
    several = len(summary.targets) > 1
    return f"; {listed(mine)}" if several and len(mine) <= NAMED else ""


def _unmet_in_all(summary: Summary) -> str:
    """45 of 86 turns wanted failed (52.3 %): 45 never begun, their sessions ended as throttled:handshake; …."""
    found = summary.outcomes
    unmet, wanted, failed, lost = (sum(n) for n in (found.unmet, found.wanted, found.failed, found.lost))
    parts = [_lost(summary, lost)]
    if failed:
        most, several = _mostly(_failures(summary))
        parts.insert(0, f"{count(failed)} of those begun{', most often' if several else ''} {most}")
    elif wanted > lost:
        parts.append(f"none of the {count(wanted - lost)} begun failed")
    where = _shared(summary, found.unmet)
    return f"{of_wanted(summary)} turns wanted failed ({percent(unmet, wanted)}{where}): {'; '.join(parts)}."


def _lost(summary: Summary, lost: int) -> str:
    most, several = _mostly(list(summary.outcomes.losses))
    whose = "its session" if lost == 1 else "their sessions"
    return f"{count(lost)} never begun, {whose} ended {'most often ' if several else ''}{most}"


def _failures(summary: Summary) -> list[Ending]:
    return [ending for ending in summary.outcomes.turns if ending.kind == "failed"]


def _mostly(endings: list[Ending]) -> tuple[str, bool]:
    """How most turns ended, `as closed:1006 (17)`, and whether others ended in another way."""
    most, several = max(endings, key=lambda ending: sum(ending.counts)), len(endings) > 1
    return f"as {most.outcome} ({count(sum(most.counts))})" if several else f"as {most.outcome}", several


def hopeless(summary: Summary) -> list[int]:
    """The places of those targets, of several, all of whose turns failed or were never begun."""
    found, places = summary.outcomes, range(len(summary.targets))
    bad = [i for i in places if found.wanted[i] and found.unmet[i] == found.wanted[i] and not found.censored[i]]
    return bad if len(places) > 1 else []


def never_begun(summary: Summary) -> list[str]:
    """29 % of the turns wanted were never begun: of the targets that have a good one, where that is more than 1 %."""
    found, bad = summary.outcomes, hopeless(summary)
    places = [place for place in range(len(summary.targets)) if place not in bad]
    lost, wanted = (sum(numbers[place] for place in places) for numbers in (found.lost, found.wanted))
    return [f"{percent(lost, wanted)} of the turns wanted were never begun"] if lost > FAIR * wanted else []


def lacking(summary: Summary) -> list[str]:
    """dead: none of its 9 turns was begun (refused:tcp): the targets, of several, that have no good turn."""
    found = summary.outcomes
    places: dict[tuple[bool, bool, str], list[int]] = {}
    for place in hopeless(summary):
        kind = (found.begun[place] > 0, found.lost[place] > 0, _commonest_end(summary, place))
        places.setdefault(kind, []).append(place)
    return [_lack(summary, mine, *kind) for kind, mine in places.items()]


def _lack(summary: Summary, places: list[int], begun: bool, lost: bool, end: str) -> str:
    names, its = listed([summary.targets[place] for place in places]), "its" if len(places) == 1 else "their"
    turns = sum(summary.outcomes.wanted[place] for place in places)
    if turns == 1:
        return f"{names}: its only turn {'failed' if begun else 'was never begun'} ({end})"
    if not begun:
        return f"{names}: none of {its} {plural(turns, 'turn')} was begun ({end})"
    never = sum(summary.outcomes.lost[place] for place in places)
    beside = f", {count(never)} of them never begun" if lost else ""
    return f"{names}: all of {its} {plural(turns, 'turn')} failed{beside} ({end})"


def _commonest_end(summary: Summary, place: int) -> str:
    """How most of a target's failed turns ended; where none was begun, the sessions of its lost ones."""
    found = summary.outcomes
    failed = [ending for ending in found.turns if ending.kind == "failed" and ending.counts[place]]
    return max(failed or found.losses, key=lambda ending: ending.counts[place]).outcome
