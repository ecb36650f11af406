"""The turn-taking of compared targets: the cut-off pause of each, and the differences of their shares. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np

from reports.analysis.summary.metrics import ShareEstimate, share_of
from reports.analysis.summary.turn_taking import (
    EVENTS,
    EventsOfTurns,
    PauseLadder,
    TurnEvent,
    events_of,
    has_pauses,
    ladder_of,
)
from reports.analysis.targets.compared_target import ComparedTarget
from reports.analysis.targets.named import matched_to_the_first
from reports.data.turns import Flags
from reports.metrics.metric_spec import POINTS
from reports.metrics.rate_metrics import MIN_RATE_UNITS
from reports.results.json_entries import ClosedJsonEntry, Known, Rounded, described
from reports.statistics.autocorrelation import rate_by_order
from reports.statistics.differences import Better, Inference, Margin
from reports.statistics.quantiles import CONFIDENCE
from reports.statistics.rates import ClusterTotals

ALL_PAUSES = ""
"""The name of all steps with a pause in the caller's speech."""


class ShareDifference(ClosedJsonEntry, frozen=True, kw_only=True):
    """The shares of an event in the turns of one step with the baseline and with a candidate, and their difference."""

    candidate: str
    step: Annotated[Known, described("null: all turns with a pause of a set length")]
    event: TurnEvent
    baseline_share: ShareEstimate
    candidate_share: ShareEstimate
    difference: Annotated[
        Rounded,
        described(
            f"candidate − baseline: 0.2 is 20 points; null if a target has fewer than {MIN_RATE_UNITS} such turns"
        ),
    ]
    low: Annotated[Rounded, described("one-sided bound of the difference; null if it is unbounded")]
    high: Rounded


class ComparedTurnTaking(ClosedJsonEntry, frozen=True):
    """The turn-taking of each target, and its differences from the baseline; empty without pauses in speech."""

    ladders: tuple[PauseLadder, ...]
    shares: tuple[ShareDifference, ...]


def compared_turn_taking(targets: Sequence[ComparedTarget], how: Inference) -> ComparedTurnTaking:
    """Return the turn-taking of the targets. The first one is the baseline. Each event has the rule of other rates."""
    runs = {id(target.turns): target.turns for target in targets}
    if not any(map(has_pauses, runs.values())):
        return ComparedTurnTaking((), ())
    events = {key: events_of(turns) for key, turns in runs.items()}
    ladders = (ladder_of(one.turns, one.turn_mask, one.label, events[id(one.turns)]) for one in targets)
    return ComparedTurnTaking(
        tuple(filter(None, ladders)),
        tuple(
            row
            for base, cand in matched_to_the_first(targets)
            for row in _differences(base, cand, (events[id(base.turns)], events[id(cand.turns)]), how)
        ),
    )


def _differences(
    base: ComparedTarget, cand: ComparedTarget, events: tuple[EventsOfTurns, EventsOfTurns], how: Inference
) -> Iterator[ShareDifference]:
    for step in (ALL_PAUSES, *dict.fromkeys((*base.turns.labels, *cand.turns.labels))):
        chosen = _turns_of(base, step), _turns_of(cand, step)
        for event in EVENTS if step else EVENTS[:1]:
            of_base, of_cand = (
                target.sums(values[event], np.ones(turns.size), turns)
                for target, values, turns in zip((base, cand), events, chosen, strict=True)
            )
            if of_base[1].any() or of_cand[1].any():
                yield _difference(ClusterTotals(of_base, of_cand, base.paired), cand.label, step, event, how)


def _difference(totals: ClusterTotals, candidate: str, step: str, event: TurnEvent, how: Inference) -> ShareDifference:
    shares = share_of(totals.base, CONFIDENCE), share_of(totals.cand, CONFIDENCE)
    difference: tuple[float | None, ...] = (None, None, None)
    if min(share.total for share in shares) >= MIN_RATE_UNITS:
        better: Better = "higher" if event == "yielded" else "lower"
        difference = rate_by_order(totals, Margin(points=POINTS), better, how).shares
    d, low, high = (math.nan if end is None else end for end in difference)
    return ShareDifference(
        candidate=candidate, step=step, event=event, baseline_share=shares[0], candidate_share=shares[1],
        difference=d, low=low, high=high,
    )  # fmt: skip


def _turns_of(target: ComparedTarget, step: str) -> Flags:
    turns = target.turns
    mask: Flags = turns.steps_named(step)[turns.step] if step else ~np.isnan(turns.column("speech_pause_ns"))
    return mask
