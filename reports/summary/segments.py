"""Where the wait of spoken turns comes from: the segments of voice_to_voice, which add up to it exactly; pure.

Means are taken, for means of segments add up to the mean of the whole and quantiles do not. Sums are integer ns: a
mean is divided out once, when it is shown. Turns in which the same instants happened stand together, so each segment of
a breakdown is that of all its turns; an instant that did not happen has merged its two neighbours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Annotated

import numpy as np
from msgspec import field

from bench.measures import MANUAL_SEGMENTS, SEGMENT_NAMES, VAD_SEGMENTS, segments
from bench.units import NS_PER_MS
from reports.schemas.document import Count, Record, Rounded, about
from reports.statistics.counting import Floats, Integers
from reports.statistics.quantiles import quantile
from reports.strata import Traits
from reports.summary.events import ALL
from reports.turns import Turns

BANDS = ((0.5, 0.05, 10), (0.95, 0.015, 100))
"""(percentile, how far to either side, turns that it takes at least): whose segments are told together."""
SELF_STARTED = tuple(name for name in VAD_SEGMENTS if name != "requested")
"""The instants of a VAD turn whose response the service starts itself."""
WHOLE = {pair for chain in (VAD_SEGMENTS, SELF_STARTED, MANUAL_SEGMENTS) for pair in pairwise(chain)}
"""The ends of segments that nothing is missing from."""


class Segment(Record, frozen=True):
    """From one instant to the next; the sum over all turns of the breakdown, negative where the order was another."""

    begin: str = field(name="from")
    end: str = field(name="to")
    name: Annotated[str, about("by its end; where an instant between is missing by both: noticed → first delta")]
    total_ns: int
    mean_ms: Rounded


class Breakdown(Record, frozen=True):
    """The segments of the good turns of one target, traits and step (or all) in which the same instants happened: sums
    add up exactly.
    """

    target: str
    step: str
    traits: Traits
    turns: Count
    total_ns: Annotated[int, about("voice_to_voice, summed over the turns")]
    mean_ms: Rounded
    segments: tuple[Segment, ...]

    @property
    def noticed(self) -> bool:
        """Whether the service noticed the end of speech; else nobody but the script knew of it."""
        return self.segments[0].end == "speech_stopped"

    @property
    def whole(self) -> bool:
        """Whether no instant is missing."""
        return all((segment.begin, segment.end) in WHOLE for segment in self.segments)


class Band(Breakdown, frozen=True, kw_only=True):
    """The same of the turns around a percentile of voice_to_voice."""

    p: float


def _whole(target: str, step: str, traits: str, turns: int, sums: Iterable[tuple[str, str, int]]) -> Breakdown:
    """A breakdown of so many turns, from each segment's instants and its sum."""
    parts = tuple(Segment(begin, end, _name(begin, end), ns, ns / turns / NS_PER_MS) for begin, end, ns in sums)
    total_ns = sum(part.total_ns for part in parts)
    return Breakdown(target, step, traits, turns, total_ns, total_ns / turns / NS_PER_MS, parts)


def _name(begin: str, end: str) -> str:
    return SEGMENT_NAMES[end] if (begin, end) in WHOLE else f"{SEGMENT_NAMES[begin]} → {SEGMENT_NAMES[end]}"


def breakdowns(turns: Turns) -> tuple[Breakdown, ...]:
    """For each target all steps together, then step by step where there are several."""
    instants_ns = _instants_ns(turns)
    pieces = [_breakdown(turns, instants_ns, *piece) for piece in _pieces(turns, instants_ns)]
    found: list[Breakdown] = []
    for target in turns.targets:
        mine = [piece for piece in pieces if piece.target == target]
        found += [*_together(mine), *(mine if len({piece.step for piece in mine}) > 1 else [])]
    return tuple(found)


def around(turns: Turns) -> tuple[Band, ...]:
    """The good turns around p50 (p45 to p55) and p95 (p93.5 to p96.5) of voice_to_voice, of each target.

    Traits stand apart, and turns in which other instants happened, as in `breakdowns`. Empty where there are too few.
    """
    groups: dict[tuple[int, str, tuple[tuple[str, str], ...]], list[tuple[int, int, int, Integers]]] = {}
    instants_ns = _instants_ns(turns)
    for target, step, pattern, places in _pieces(turns, instants_ns):
        piece = _breakdown(turns, instants_ns, target, step, pattern, places)
        groups.setdefault((target, piece.traits, _chain(piece)), []).append((target, step, pattern, places))
    found = []
    for pieces in groups.values():
        places, (target, step, pattern, _) = np.concatenate([piece[3] for piece in pieces]), pieces[0]
        waited_ns = instants_ns["first_audible"][places] - instants_ns["speech_end"][places]
        ascending = np.sort(waited_ns)
        for p, half, least in BANDS:
            if places.size >= least:
                ends = quantile(ascending, p - half), quantile(ascending, p + half)
                near = places[(waited_ns >= ends[0]) & (waited_ns <= ends[1])]
                found.append((target, _around(_breakdown(turns, instants_ns, target, step, pattern, near), p)))
    return tuple(band for _, band in sorted(found, key=lambda one: (one[1].p, one[0])))


def _around(one: Breakdown, p: float) -> Band:
    return Band(one.target, ALL, one.traits, one.turns, one.total_ns, one.mean_ms, one.segments, p=p)


def _instants_ns(turns: Turns) -> Mapping[str, Floats]:
    """The ends of segments of each turn, NaN where they did not happen."""
    return {name: turns.instant(name) for name in VAD_SEGMENTS}


def _pieces(turns: Turns, instants_ns: Mapping[str, Floats]) -> Iterable[tuple[int, int, int, Integers]]:
    """(target, step, which instants happened, places of the turns), in the order of targets and steps."""
    there = {name: ~np.isnan(at_ns) for name, at_ns in instants_ns.items()}
    there["committed"] &= there["speech_stopped"]  # what the script commits is no step of the service's
    whole = turns.good & there[VAD_SEGMENTS[0]] & there[VAD_SEGMENTS[-1]]
    bits = np.packbits(np.stack(list(there.values())), axis=0, bitorder="little")[0]
    places = np.flatnonzero(whole)
    steps, patterns = len(turns.steps), 1 << len(there)
    kinds, kind = np.unique(turns.group[places] * patterns + patterns - 1 - bits[places], return_inverse=True)
    for index, key in enumerate(kinds):
        group, rest = divmod(int(key), patterns)
        yield group // steps, group % steps, patterns - 1 - rest, places[kind == index]


def _breakdown(
    turns: Turns, instants_ns: Mapping[str, Floats], target: int, step: int, pattern: int, places: Integers
) -> Breakdown:
    happened = [name for place, name in enumerate(VAD_SEGMENTS) if pattern >> place & 1]
    sums = {name: int(instants_ns[name][places].astype(np.int64).sum()) for name in happened}
    traits = turns.strata[turns.stratum[step]].traits
    return _whole(turns.targets[target], turns.steps[step], traits, int(places.size), segments(sums))


def _together(pieces: list[Breakdown]) -> Iterable[Breakdown]:
    """The same instants of all steps whose turns have the same traits, added up."""
    kinds = dict.fromkeys((piece.traits, _chain(piece)) for piece in pieces)
    for traits, chain in kinds:
        mine = [piece for piece in pieces if (piece.traits, _chain(piece)) == (traits, chain)]
        sums: Counter[tuple[str, str]] = Counter()
        for piece in mine:
            for segment in piece.segments:
                sums[segment.begin, segment.end] += segment.total_ns
        added = ((begin, end, sums[begin, end]) for begin, end in chain)
        yield _whole(mine[0].target, ALL, traits, sum(piece.turns for piece in mine), added)


def _chain(piece: Breakdown) -> tuple[tuple[str, str], ...]:
    return tuple((segment.begin, segment.end) for segment in piece.segments)
