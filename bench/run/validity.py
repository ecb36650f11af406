"""Judges whether the harness was the bottleneck: the rules that make a run invalid, their limits, and nothing else.

The verdict names each rule with its figure, its limit and the remedy. A rule that had nothing to judge has passed
`None`; a run without any measured turn is not judged at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from bench.measures import FIRST_DELTAS, HEADLINE, STARVED

STAMP_LIMIT_MS = 1.0
STAMP_SHARE = 0.01
"""(a) p99 of what a measure can be off: at most 1 ms, or 1 % of its median, for each target, measure and origin."""
HUB_LIMIT_MS = 5.0
HUB_SHARE = 0.05
"""(b) where stamps come from user space, p99 of the hub's delay: at most 5 ms, or 5 % of the least median wait for a
first delta."""
USER_STAMPS_SHARE = 0.01
CHUNK_SHARE = 0.1
"""(c) p99 of the send lag: at most a tenth of the chunk."""
START_LIMIT_MS = 5.0
START_SHARE = 0.05
"""(d) where calls arrive, p99 of the start lag: at most 5 ms, or 5 % of the median service time."""
MISSING_LIMIT_PERCENT = 1.0
"""(e) if parts of a merged run could not be read, workers were lost, or processes did not run when a limit ended: of so
many turns at most it is unknown how they ended."""

EARLY_LIMIT_PERCENT = 1.0
"""Replies that begin before their question has ended: of more, waits from the end of a question may be of another."""
EARLY_REPLIES: Final = "early_replies"

MORE_PROCESSES = "lower the load, free a core of the machine, or use more --processes"


@dataclass(frozen=True)
class Exactness:
    """Says how exact one measure of one target is: p99 of its bounds, and its median, in its unit; None: not known.

    Nothing is pooled, neither targets nor measures nor what turns count from: a slow one would lend a fast one its
    limit.
    """

    target: str
    measure: str
    bound_p99: float | None
    p50: float | None
    unit: str = "ms"
    host: str = ""
    """Host that these rows are of; empty for those of all hosts."""
    stamps_p99: float | None = None
    """The same by stamps alone, where how exactly a begin is found in the audio is a part of it."""
    measured_from: str = ""
    """What these turns count from, one of `bench.measures.ORIGINS`; empty where the measure does not tell it apart."""

    @property
    def limit(self) -> float:
        """How far it may be off: 1 % of the median, and of times 1 ms at least."""
        return max(STAMP_LIMIT_MS if self.unit != "×" else 0.0, STAMP_SHARE * abs(self.p50 or 0.0))

    @property
    def used(self) -> float:
        """The share of the limit that is used."""
        return math.inf if not self.limit else (self.bound_p99 or 0.0) / self.limit

    @property
    def exact(self) -> bool:
        """Whether it is within its limit; what is not known is not called wrong."""
        return self.bound_p99 is None or self.bound_p99 <= self.limit


@dataclass(frozen=True)
class EarlyReplies:
    """The share of a target's replies that began before their question had ended, and the waits that it spoils."""

    target: str
    percent: float
    measures: tuple[str, ...]


@dataclass(frozen=True)
class Rule:
    """A rule with its figure, its limit and whether that was kept."""

    rule: str
    name: str
    measure: str
    figure: float | None
    limit: float | None
    passed: bool | None
    note: str
    remedy: str
    unit: str = "ms"

    @property
    def used(self) -> float:
        """The share of the limit that is used."""
        return self.figure / self.limit if self.figure is not None and self.limit else 0.0


@dataclass(frozen=True)
class Evidence:
    """Holds what the rules look at, all in ms; None where there was nothing of the kind.

    `measures` are of the measured phase, by target; `user_stamps_share` is the share of turns whose stamps did not all
    come from the kernel, `chunk` the shortest paced chunk, `paced_audio` whether any was sent. `start_delay_p99` is of
    calls that arrived, and so is `service_time_p50`.
    """

    measures: tuple[Exactness, ...]
    user_stamps_share: float | None
    event_loop_delay_p99: float | None
    send_delay_p99: float | None
    chunk: float | None
    paced_audio: bool
    start_delay_p99: float | None = None
    service_time_p50: float | None = None
    host: str = ""
    """Host that these processes and rows are of; empty for those of all hosts."""
    missing_share: float | None = None
    """The share of turns that is missing at most, with parts that could not be merged or with workers that were lost.

    NaN where nobody knows; None: none is.
    """
    starved_share: float = 0.0
    """The share of measured turns whose outcome nobody knows, because their process did not run when a limit ended."""
    filled_by: str = ""
    """Programs that had the machine's cores, with what to do; empty where none had many of them, or nobody knows."""
    broken: tuple[Rule, ...] = ()
    """Rules that runs broke of which this one was merged."""
    early: tuple[EarlyReplies, ...] = ()
    """Targets of which some replies began too early."""
    refused: str = ""
    """What the user has to mend first, such as a worker of another version."""


def judge(pooled: Evidence, *hosts: Evidence) -> dict[str, Any]:
    """Judge a run. Returns `{"valid": bool | None, "rules": [...], "inexact": [...]}`, as run.json holds the verdict.

    `pooled`: of the whole run; `hosts`: of each host, where there are several. A rule is kept where it is kept by the
    whole, by every host and by every part: nobody's bad stamps are pooled away.

    `inexact`: the measures that are not exact in this run; nothing is to be decided by them.
    """
    strata = (pooled, *hosts)
    rules = [_worst_rule(of_rule) for of_rule in zip(*map(_rules, strata), strict=True)]
    rules = [_worst_rule([rule, *(other for other in pooled.broken if other.rule == rule.rule)]) for rule in rules]
    rules += _complete(pooled)
    judged = any(measure.bound_p99 is not None for measure in _headline(pooled))
    unknown = any(
        (stratum.paced_audio and stratum.send_delay_p99 is None) or _of_unknown_bounds(stratum) for stratum in strata
    )
    valid = all(rule.passed is not False for rule in rules)
    return {
        "valid": valid if (judged and not unknown) or not valid else None,
        "rules": [asdict(rule) for rule in rules],
        "inexact": inexact((measure for stratum in strata for measure in stratum.measures), pooled.early),
    }


def _rules(evidence: Evidence) -> list[Rule]:
    rules = [_stamps(evidence), _hub(evidence), _sending(evidence), _starts(evidence)]
    if evidence.filled_by:  # less load of ours would not help
        rules = [replace(rule, remedy=evidence.filled_by) for rule in rules]
    return [
        replace(rule, note=", ".join(filter(None, (rule.note, f"on {evidence.host}")))) if evidence.host else rule
        for rule in rules
    ]


def _worst_rule(rules: Sequence[Rule]) -> Rule:
    """The one that was broken, else the one that comes nearest to its limit; the first of several."""
    return max(rules, key=lambda rule: (rule.passed is False, rule.passed is not None, rule.used))


def _complete(evidence: Evidence) -> list[Rule]:
    """The rule on turns of which nobody knows how they ended, if there are any: missing ones, and starved ones."""
    missing, starved = evidence.missing_share, evidence.starved_share
    if missing is None and not starved:
        return []
    share = (missing or 0.0) + starved
    known = not math.isnan(share)
    remedies = [
        *([_of_missing(evidence)] if missing is not None else []),
        *([MORE_PROCESSES] if starved else []),
    ]
    of_turns = "of all turns, at most" if missing is not None else f"of the turns ended as {STARVED}"
    return [
        Rule("e", "no part is missing", "turns", round(100 * share, 4) if known else None, MISSING_LIMIT_PERCENT,
             known and 100 * share <= MISSING_LIMIT_PERCENT,
             of_turns if known else "how much is missing is not known", "; ".join(remedies), "%")
    ]  # fmt: skip


def _of_missing(evidence: Evidence) -> str:
    """What to do about parts that are missing."""
    if evidence.refused:
        return f"{evidence.refused}; then run it again"
    return "merge what is missing once it is there, or run it again"


def inexact(measures: Iterable[Exactness], early: Iterable[EarlyReplies]) -> list[dict[str, Any]]:
    """Make run.json's entries for the measures of each target and host that are not exact, by their worst turns.

    Those that are not exact because replies began too early are among them, with that as their `reason`.
    """
    worst: dict[tuple[str, ...], Exactness] = {}
    for one in measures:
        key = (one.host, one.target, one.measure)
        if not one.exact and (key not in worst or one.used > worst[key].used):
            worst[key] = one
    spoilt = [
        {
            "target": one.target,
            "measure": measure,
            "figure": round(one.percent, 4),
            "limit": EARLY_LIMIT_PERCENT,
            "unit": "%",
            "reason": EARLY_REPLIES,
        }
        for one in early
        if one.percent > EARLY_LIMIT_PERCENT
        for measure in one.measures
    ]
    return [*spoilt, *(_entry(one) for one in worst.values())]


def _entry(exactness: Exactness) -> dict[str, Any]:
    """An entry of run.json; a figure without an end is null."""
    bound = exactness.bound_p99
    if bound is not None and not math.isfinite(bound):
        bound = None
    return {
        "target": exactness.target,
        "measure": exactness.measure,
        "figure": None if bound is None else round(bound, 4),
        "limit": round(exactness.limit, 4),
        "unit": exactness.unit,
    } | ({"host": exactness.host} if exactness.host else {})


def _headline(evidence: Evidence) -> list[Exactness]:
    return [exactness for exactness in evidence.measures if exactness.measure in HEADLINE]


def _of_unknown_bounds(evidence: Evidence) -> list[str]:
    """The headline measures of which nobody can say how exact they are."""
    unknown = (one for one in _headline(evidence) if one.bound_p99 is None and one.p50 is not None)
    return list(dict.fromkeys(one.measure for one in unknown))


def _stamps(evidence: Evidence) -> Rule:
    headline = _headline(evidence)
    stamped = (one if one.stamps_p99 is None else replace(one, bound_p99=one.stamps_p99) for one in headline)
    known = [measure for measure in stamped if measure.bound_p99 is not None]
    worst = max(known, key=lambda measure: measure.used, default=Exactness("", "", None, None))
    of_target = f", of {worst.target}" if len({one.target for one in evidence.measures}) > 1 else ""
    since = (
        f" from {worst.measured_from}"
        if len({one.measured_from for one in known if one.measure == worst.measure}) > 1
        else ""
    )
    figure, absent = worst.bound_p99, "no turn got a first delta"
    if worst.exact and (unknown := _of_unknown_bounds(evidence)):
        figure, absent = None, f"unknown: how far {', '.join(unknown)} can be off, of more than 1 % of its turns"
    return _rule("a", "stamps are exact", "timestamp_uncertainty", figure, worst.limit,
                 note=f"{worst.measure}{since}{of_target}",
                 absent=absent, remedy=MORE_PROCESSES)  # fmt: skip


def _hub(evidence: Evidence) -> Rule:
    waits = [wait.p50 for wait in evidence.measures if wait.measure in FIRST_DELTAS.values() and wait.p50 is not None]
    fastest = min(waits, default=0.0)
    limit = max(HUB_LIMIT_MS, HUB_SHARE * fastest)
    needed = evidence.user_stamps_share is not None and evidence.user_stamps_share > USER_STAMPS_SHARE
    return _rule("b", "process keeps up", "event_loop_delay", evidence.event_loop_delay_p99 if needed else None, limit,
                 note="", absent="not needed: timestamps are the kernel's", remedy=MORE_PROCESSES)  # fmt: skip


def _sending(evidence: Evidence) -> Rule:
    limit = None if evidence.chunk is None else CHUNK_SHARE * evidence.chunk
    absent = (
        "unknown: the run was killed before its first counts" if evidence.paced_audio else "no paced audio was sent"
    )
    return _rule("c", "audio leaves on time", "send_delay", evidence.send_delay_p99 if limit else None, limit,
                 note="a tenth of a chunk", absent=absent, remedy=MORE_PROCESSES)  # fmt: skip


def _starts(evidence: Evidence) -> Rule:
    limit = max(START_LIMIT_MS, START_SHARE * (evidence.service_time_p50 or 0.0))
    figure = evidence.start_delay_p99
    return _rule("d", "sessions start on time", "start_delay", figure, None if figure is None else limit,
                 note="open-loop arrivals", absent="closed loop: a session starts when its user is free",
                 remedy=MORE_PROCESSES)  # fmt: skip


def _rule(
    rule: str,
    name: str,
    measure: str,
    figure: float | None,
    limit: float | None,
    *,
    note: str,
    absent: str,
    remedy: str,
) -> Rule:
    if figure is None or limit is None or math.isnan(figure):
        return Rule(rule, name, measure, None, limit, None, absent, remedy)
    return Rule(rule, name, measure, round(figure, 4), round(limit, 4), figure <= limit, note, remedy)
