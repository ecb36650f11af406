"""The segments of voice_to_voice. Each segment is the time from one instant to the next.

Their values are sums in ns, and means, so they add up exactly to the total. Quantiles would not add
up. Turns that have the same instants are in one breakdown. If an instant is missing, the segments
before and after it are one segment.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from msgspec import field
from msgspec.structs import replace

from bench.base.units import NS_PER_MS
from bench.catalogue.metrics import MANUAL_SEGMENTS, SEGMENT_NAMES, VAD_SEGMENTS, segments
from reports.analysis.summary.metrics import ALL
from reports.data.turns import TurnArrays
from reports.metrics.strata import Traits
from reports.results.json_entries import Count, JsonEntry, Rounded
from reports.statistics.counting import Integers
from reports.statistics.quantiles import quantile

BANDS = ((0.5, 0.05, 10), (0.95, 0.015, 100))
"""The percentile bands whose segments are reported: the percentile, the half-width of the band, and
the minimum number of turns."""
SELF_STARTED = tuple(name for name in VAD_SEGMENTS if name != "request_sent")
"""The instants of a VAD turn in which the service starts the response, not the script."""
COMPLETE = {
    pair for chain in (VAD_SEGMENTS, SELF_STARTED, MANUAL_SEGMENTS) for pair in pairwise(chain)
}


class Segment(JsonEntry):
    """The time from one instant to the next, summed over a breakdown's turns; negative if the
    instants are reversed.
    """

    begin: str = field(name="from")
    end: str = field(name="to")
    name: str
    """by its end; if an instant between is missing, by both ends: noticed → first delta"""
    total_ns: int
    mean_ms: Rounded


class Breakdown(JsonEntry):
    """The segments of the successful turns of one target, turn type and step (or all steps) with
    the same instants. The sums of the segments add up exactly to the total.
    """

    target: str
    step: str
    turn_type: Traits
    turns: Count
    total_ns: int
    """voice_to_voice, summed over the turns"""
    mean_ms: Rounded
    segments: tuple[Segment, ...]
    p: Rounded = math.nan
    """of the turns around this percentile of voice_to_voice; null for all turns"""

    @property
    def has_end_detection(self) -> bool:
        """True if the service detected the end of speech. Otherwise, only the script knew it."""
        return self.segments[0].end == "speech_stopped"

    @property
    def is_complete(self) -> bool:
        return all((segment.begin, segment.end) in COMPLETE for segment in self.segments)


def _whole(
    target: str, step: str, turn_type: str, turns: int, sums: Iterable[tuple[str, str, int]]
) -> Breakdown:
    """Return the breakdown of a number of turns. `sums` has the first instant, the last instant,
    and the sum in ns of each segment.
    """
    segment_entries = []
    for start, end, ns in sums:
        name = (
            SEGMENT_NAMES[end]
            if (start, end) in COMPLETE
            else f"{SEGMENT_NAMES[start]} → {SEGMENT_NAMES[end]}"
        )
        segment_entries.append(Segment(start, end, name, ns, ns / turns / NS_PER_MS))
    total_ns = sum(segment.total_ns for segment in segment_entries)
    return Breakdown(
        target,
        step,
        turn_type,
        turns,
        total_ns,
        total_ns / turns / NS_PER_MS,
        tuple(segment_entries),
    )


class SegmentPattern(NamedTuple):
    """The successful turns of one target and step that have the same instants.

    - `pattern` has one bit for each instant of VAD_SEGMENTS. The bit is set if the turns have this
      instant.
    - `places` are the indices of the turns.
    """

    target: int
    step: int
    pattern: int
    places: Integers


def breakdowns(turns: TurnArrays) -> tuple[Breakdown, ...]:
    """Return the breakdowns of each target: for all steps together, and for each step if there
    are several.
    """
    pieces = _summed(turns, list(_segments(turns)))
    result: list[Breakdown] = []
    for target in turns.targets:
        mine = [piece for piece in pieces if piece.target == target]
        result += [*_together(mine), *(mine if len({piece.step for piece in mine}) > 1 else [])]
    return tuple(result)


def percentile_bands(turns: TurnArrays) -> tuple[Breakdown, ...]:
    """Return breakdowns of the turns around the percentiles in BANDS. There is one for each
    percentile and each group of turns with the same target, turn type, and instants.
    """
    groups: dict[tuple[int, str, int], list[SegmentPattern]] = {}
    for piece in _segments(turns):
        turn_type = turns.strata[turns.stratum[piece.step]].turn_type
        groups.setdefault((piece.target, turn_type, piece.pattern), []).append(piece)
    waits_ns = turns.instant(VAD_SEGMENTS[-1]) - turns.instant(VAD_SEGMENTS[0])
    near: list[tuple[float, SegmentPattern]] = []
    for pieces in groups.values():
        places = np.concatenate([piece.places for piece in pieces])
        waited_ns = waits_ns[places]
        ascending = np.sort(waited_ns)
        for p, half, min_turns in BANDS:
            if places.size >= min_turns:
                low = quantile(ascending, p - half)
                high = quantile(ascending, p + half)
                near.append(
                    (p, pieces[0]._replace(places=places[(waited_ns >= low) & (waited_ns <= high)]))
                )
    near.sort(key=lambda band: (band[0], band[1].target))
    return tuple(
        replace(breakdown, step=ALL, p=p)
        for (p, _), breakdown in zip(
            near, _summed(turns, [piece for _, piece in near]), strict=True
        )
    )


def _segments(turns: TurnArrays) -> Iterable[SegmentPattern]:
    """Yield the turns of each target and step, grouped by the instants that they have. Instants are
    read one after another, because each needs 8 MB for a million turns.
    """
    pattern = np.zeros(turns.rows.size, np.uint8)
    for bit, name in enumerate(VAD_SEGMENTS):
        pattern |= (~np.isnan(turns.instant(name))).view(np.uint8) << np.uint8(bit)
    stopped, committed = (
        np.uint8(1 << VAD_SEGMENTS.index(name)) for name in ("speech_stopped", "committed")
    )
    # if the script commits, the commit is no step of the service
    pattern[pattern & stopped == 0] &= ~committed
    # otherwise the turn has no latency
    answered = turns.instant(VAD_SEGMENTS[-1]) >= turns.instant(VAD_SEGMENTS[0])
    places = np.flatnonzero(turns.succeeded & answered)
    steps = len(turns.steps)
    patterns = 1 << len(VAD_SEGMENTS)
    kinds, kind = np.unique(
        turns.group[places] * patterns + patterns - 1 - pattern[places], return_inverse=True
    )
    for index, key in enumerate(kinds.tolist()):
        group, inverted = divmod(key, patterns)
        yield SegmentPattern(
            group // steps, group % steps, patterns - 1 - inverted, places[kind == index]
        )


def _summed(turns: TurnArrays, pieces: Sequence[SegmentPattern]) -> list[Breakdown]:
    """Return the breakdown of each group of turns. Instants are read and added up one after
    another.
    """
    sums: list[dict[str, int]] = [{} for _ in pieces]
    for bit, name in enumerate(VAD_SEGMENTS):
        at_ns = turns.instant(name)
        for piece, instant_sums in zip(pieces, sums, strict=True):
            if piece.pattern >> bit & 1:
                instant_sums[name] = int(at_ns[piece.places].astype(int).sum())
    result = []
    for piece, instant_sums in zip(pieces, sums, strict=True):
        turn_type = turns.strata[turns.stratum[piece.step]].turn_type
        names = turns.targets[piece.target], turns.steps[piece.step], turn_type
        result.append(_whole(*names, piece.places.size, segments(instant_sums)))
    return result


def _together(pieces: list[Breakdown]) -> Iterable[Breakdown]:
    """Yield breakdowns over all steps. Breakdowns with the same turn type and the same instants
    are added up.
    """
    kinds = dict.fromkeys((piece.turn_type, _chain(piece)) for piece in pieces)
    for turn_type, chain in kinds:
        mine = [piece for piece in pieces if (piece.turn_type, _chain(piece)) == (turn_type, chain)]
        sums: Counter[tuple[str, str]] = Counter()
        for piece in mine:
            for segment in piece.segments:
                sums[segment.begin, segment.end] += segment.total_ns
        added = ((start, end, sums[start, end]) for start, end in chain)
        yield _whole(mine[0].target, ALL, turn_type, sum(piece.turns for piece in mine), added)


def _chain(piece: Breakdown) -> tuple[tuple[str, str], ...]:
    return tuple((segment.begin, segment.end) for segment in piece.segments)
