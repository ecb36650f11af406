"""What is counted beside the measures of replies and of the network, per target; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from reports.turns import Turns

CANCELLED_SPLIT = "cancelled:turn_detected"
"""The service answered a pause and cancelled the answer; the turn is over before its second commit."""


@dataclass(frozen=True)
class Counts:
    """Of one target's measured turns: how they sounded, what turn detection did, what TCP sent again."""

    target: str
    replies: int
    """good turns whose reply the simulated player played"""
    stalled: int
    """of these, those that fell silent within the reply"""
    noticed: int
    """turns in which the service noticed an end of speech, whatever became of them"""
    early: int
    """of these, those in which it did so before the caller had ended: turn_detection is negative"""
    split: int
    """turns that the service cut in two or more"""
    splits: int
    """commits beyond the first, of all turns"""
    watched: int
    """turns of which the kernel told its retransmissions"""
    resent: int
    """TCP segments of ours that were sent again"""
    with_resent: int
    """turns in which any were"""

    @property
    def any(self) -> bool:
        return bool(self.replies or self.noticed or self.split or self.watched)


def counts_of(turns: Turns) -> tuple[Counts, ...]:
    """One for each target."""
    return tuple(_counts(turns))


def _counts(turns: Turns) -> Iterable[Counts]:
    good, stalls = turns.good, turns.value("stalls")
    by_a_sound = turns.column("false_yield") > 0
    cancelled = (turns.frame["outcome"] == CANCELLED_SPLIT).to_numpy()[turns.rows] & ~by_a_sound
    detection, splits, resent = (turns.value(name) for name in ("turn_detection", "vad_splits", "retransmits"))
    for index, label in enumerate(turns.targets):
        mine = turns.target == index
        yield Counts(
            target=label,
            replies=int((mine & good & ~np.isnan(stalls)).sum()),
            stalled=int((mine & good & (stalls > 0)).sum()),
            noticed=int((mine & ~np.isnan(detection)).sum()),
            early=int((mine & (detection < 0)).sum()),
            split=int((mine & (cancelled | (splits > 0))).sum()),
            splits=int(np.nansum(splits[mine])),
            watched=int((mine & ~np.isnan(resent)).sum()),
            resent=int(np.nansum(resent[mine])),
            with_resent=int((mine & (resent > 0)).sum()),
        )
