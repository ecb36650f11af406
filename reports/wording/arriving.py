"""What is said of calls that arrived: what was offered, what became of it, how long their callers waited first."""

from __future__ import annotations

from collections.abc import Iterable

from reports.numbers import NBSP, count, listed, ms, percent, plural, span, three
from reports.summary.offered import Arriving, Offered
from reports.summary.summary import Summary
from reports.wording.words import bound

WAITS = ("service_time", "response_time")
OWN_SLOTS = (
    "Each of the {0} processes has its share of the slots: a call may have been blocked in one while another had a "
    "free slot. Where the share of blocked calls matters, use one process, or more slots than are ever needed."
)


def rate(per_s: float) -> str:
    """2/s, 30/min, 4.5/h: in the largest unit that makes a number of it."""
    for size, name in ((1.0, "s"), (60.0, "min")):
        if per_s * size >= 0.995:
            return f"{three(per_s * size)}/{name}"
    return f"{three(per_s * 3600)}/h"


def counted(one: Offered) -> str:
    """39 calls arrived, 36 started, 3 blocked (7.7 %), 2 held, 1 refused, 33 completed."""
    parts = [f"{plural(one.offered, 'call')} arrived", f"{count(one.started)} started"]
    if one.blocked:
        parts.append(f"{count(one.blocked)} blocked ({percent(one.blocked, one.offered)})")
    counts = ((one.cut, "cut off before their start"), (one.held, "held"), (one.refused, "refused"))
    parts += [f"{count(number)} {word}" for number, word in counts if number]
    return ", ".join([*parts, f"{count(one.completed)} completed"])


def load(frame: Arriving, one: Offered) -> str:
    """Offered 4.1 erlangs (2.05/s of 2 s each), carried 3.8 on 6 slots; callers think for 12 s of a call."""
    offered = (
        f"offered {three(one.offered_erlangs)}{NBSP}erlangs ({rate(one.per_s)} of {three(one.call_s)}{NBSP}s each)"
    )
    carried = f"carried {three(one.carried_erlangs)} on {plural(one.slots, 'slot')}"
    thinking = [span(think_s) for think_s in frame.think_s if think_s]
    thought = f"; callers think for {listed(thinking)} of a call" if thinking else ""
    return f"{offered if one.call_s == one.call_s else rate(one.per_s)}, {carried}{thought}"


def asked(frame: Arriving) -> str:
    """poisson, 30/min asked for."""
    return frame.pattern if frame.per_s is None else f"{frame.pattern}, {rate(frame.per_s)} asked for"


def first_waits(summary: Summary, target: str) -> Iterable[str]:
    """service_time p50 198 ms, p95 380 ms; response_time …; of what may be published."""
    for figures in summary.connecting:
        if figures.measure in WAITS and figures.target == target:
            told = [
                f"p{e.p * 100:g} {bound(e)}{ms(e.told)}" for e in figures.quantiles if e.bounded and e.p in (0.5, 0.95)
            ]
            if told:
                yield f"{figures.measure} {', '.join(told)}"


def lines(summary: Summary) -> list[str]:
    """All of it in short, for a terminal."""
    frame = summary.arriving
    if frame is None:
        return []
    parts = [[counted(one), load(frame, one), *first_waits(summary, one.target)] for one in frame.targets]
    named = len(frame.targets) > 1
    return [f"{one.target}: {p}" if named else p for one, ps in zip(frame.targets, parts, strict=True) for p in ps]


def divided(frame: Arriving) -> str:
    """That several processes each had their own slots; empty where none was blocked, or there is one process."""
    blocked = any(one.blocked for one in frame.targets)
    return OWN_SLOTS.format(frame.workers) if blocked and frame.workers > 1 else ""
