"""The summary that `rtbench report` prints: at most so many columns, colour only where it is wanted."""

from __future__ import annotations

from collections.abc import Iterable

from reports.numbers import NBSP, count, moment, three
from reports.summary import drift
from reports.summary.events import ALL
from reports.summary.summary import Summary
from reports.summary.trust import trust
from reports.summary.verdict import Rule
from reports.text.columns import table
from reports.wording import remarks, words
from reports.wording.failings import second
from reports.wording.sentences import headline, heard

COLOURS = {"good": "32", "bad": "31", "warn": "33", "sim": "35", "bold": "1", "soft": "2"}
QUOTED = 3
SHOWN = 4
INCIDENTS = 3
INCIDENT_LINES = 2


def terminal(summary: Summary, width: int = 100, colour: bool = False, report: str = "") -> str:
    """The summary as text, some twenty lines. `report` is the path that its last line names, none where it is empty."""
    ink = _Ink(colour)
    parts = (_opening(summary, width, ink), _table(summary, width, ink), _closing(summary, width))
    lines = "\n\n".join(text for part in parts if (text := "\n".join(part))).split("\n")
    if report:
        lines.append(f"report      {report}")
    return "\n".join(lines).replace(NBSP, " ") + "\n"


class _Ink:
    """Wraps text in colour, or does not."""

    def __init__(self, colour: bool) -> None:
        self.colour = colour

    def __call__(self, text: str, code: str) -> str:
        return f"\x1b[{COLOURS.get(code, code)}m{text}\x1b[0m" if self.colour else text


def _opening(summary: Summary, width: int, ink: _Ink) -> Iterable[str]:
    verdict = summary.verdict
    style = "warn" if verdict.valid is None else "good" if verdict.valid else "bad"
    badges = [(f"{verdict.glyph} {verdict.word}", style)] + ([("◇ SIMULATED", "sim")] if summary.simulated else [])
    left = f"{summary.called}  {moment(summary.window.began_utc_ns)}  {words.lasted(summary)}".replace(NBSP, " ")
    right = "     ".join(text for text, _ in badges)
    inked = "     ".join(ink(text, code) for text, code in badges)
    if len(left) + 3 + len(right) <= width:
        yield left + " " * (width - len(left) - len(right)) + inked
    else:
        yield from (*_wrap(left, width), inked)
    yield from (ink(line, "bold") for line in _wrap(headline(summary), width))
    for rule in verdict.broken:
        yield from (ink(line, "bad") for line in _wrap(f"{words.rule_line(rule)} {words.rule_figure(rule)}", width))
        yield from _wrap(f"What to do: {words.remedy(rule)}" if rule.remedy else "", width)
    yield from _wrap(" ".join(filter(None, (summary.decided, heard(summary), second(summary)))), width)


def _wrap(text: str, width: int) -> Iterable[str]:
    """Lines of whole words; a no-break space holds a number and its unit together until the line is made.

    A word that is longer than a line is broken.
    """
    line = ""
    for word in (part for whole in text.split(" ") for part in _broken(whole, width)):
        if line and len(line) + 1 + len(word) > width:
            yield line
            line = word
        else:
            line = f"{line} {word}" if line else word
    if line:
        yield line


def _broken(word: str, width: int) -> list[str]:
    return [word[at : at + width] for at in range(0, max(1, len(word)), width)]


def _table(summary: Summary, width: int, ink: _Ink) -> Iterable[str]:
    return table(summary, width, ink) if sum(summary.outcomes.begun) else ()


def _closing(summary: Summary, width: int) -> Iterable[str]:
    yield from _named("throughput", remarks.throughput(summary), width)
    yield from _named("arms", _arms(summary), width)
    alone = len(summary.targets) == 1
    for row in [row for row in summary.breakdowns if row.step == ALL and alone][:SHOWN]:
        yield from _named("segments", [words.breakdown(row, summary)], width)
    yield from _named("drift", [said] if (said := drift.suspected(summary.drifts)) else [], width)
    yield from _named("detection", _detection(summary), width)
    yield from _named("outcomes", _outcomes(summary), width)
    for ending in summary.outcomes.quoted()[:QUOTED]:
        yield from _named("said", [f"{ending.outcome}: {ending.said}"], width)
    yield from _named("limits", [said] if (said := remarks.limits_in_all(summary.quota)) else [], width)
    for said in remarks.incidents(summary, INCIDENTS):
        yield from _cut(list(_named("incident", [said], width)), width)
    yield from _named("cost", _cost(summary), width)
    yield from _named("harness", _harness(summary), width)
    for notice in filter(None, (*summary.notices, summary.setup.chunks)):
        yield from _named("note", [notice], width)


def _cut(lines: list[str], width: int) -> list[str]:
    """The first lines of an incident, for there may be many."""
    kept = lines[:INCIDENT_LINES]
    return kept if len(lines) == len(kept) else [*kept[:-1], f"{kept[-1][: width - 1]}…"]


def _named(name: str, parts: list[str], width: int) -> Iterable[str]:
    """`name   a · b · c`, further lines under the first."""
    room = width - 12
    kept = [part.replace(" ", NBSP) if len(part) < min(60, room) else part for part in parts]
    lines = list(_wrap(" · ".join(kept), room))
    for row, line in enumerate(lines):
        yield f"{name if row == 0 else '':<12}{line}"


def _arms(summary: Summary) -> list[str]:
    """How they were interleaved, and how far apart they lie."""
    told = remarks.against(summary)
    interleaved = [summary.interleaving.sentence.rstrip(".")] if summary.interleaving else []
    return [*interleaved, *told, *(["no test was made: rtbench compare does"] if told and not summary.decided else [])]


def _cost(summary: Summary) -> list[str]:
    said = remarks.cost(summary.money)
    return [*said, "SIMULATED: what the same tokens would cost"] if said and summary.simulated else said


def _detection(summary: Summary) -> list[str]:
    """What the service's turn detection got wrong."""
    named = len(summary.targets) > 1
    return [f"{c.target}: {said}" if named else said for c in summary.counts[:SHOWN] for said in words.detection(c)]


def _outcomes(summary: Summary) -> list[str]:
    endings = [f"{ending.outcome} {count(sum(ending.counts))}" for ending in summary.outcomes.turns]
    shown = endings if len(endings) <= 5 else [*endings[:4], f"{len(endings) - 4} others"]
    lost = sum(summary.outcomes.lost)
    return shown + ([f"lost {count(lost)}"] if lost else [])


def _judged(rule: Rule) -> str:
    """stamp_error p99 of the first deltas 0.1 ms (limit 6.2 ms)."""
    which = [rule.note.partition(",")[0]] if rule.note.startswith("p99") else []
    limit = f"(limit {rule.written(rule.limit)})"
    return " ".join([rule.measure or rule.name, *which, rule.written(rule.figure), limit])


def _harness(summary: Summary) -> list[str]:
    said = [_judged(rule) for rule in summary.verdict.rules if rule.figure is not None]
    lag = [one for one in summary.harness if one.measure == "receive_lag"]
    return said + [f"receive_lag p99 {three(one.p99)}{NBSP}ms" for one in lag] + trust(summary.run)
