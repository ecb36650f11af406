"""What the service limited, and what it said remained; pure. The whole run counts, warm-up too.

Instants are seconds since the run began.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.outcomes import is_throttled
from bench.run.measured import floats
from bench.units import NS_PER_S
from reports.numbers import time_step
from reports.runs import RunFrames
from reports.statistics.counting import Floats, Integers

BINS = 90
LIMITS = ("tokens", "requests")
OF_SECOND = ["second", "target", "throttled", *(f"{name}_{end}" for name in LIMITS for end in ("remaining", "limit"))]
"""Columns of the seconds that are told here."""


@dataclass(frozen=True)
class Remaining:
    """The least share of a limit that remained, bin by bin where it was told."""

    limit: str
    at_s: Floats
    share: Floats


@dataclass(frozen=True)
class Throttling:
    """One target's limits over the run."""

    target: str
    turns: int
    """turns that ended as throttled"""
    sessions: int
    waits_s: tuple[float, ...]
    """the waits that the service asked for, ascending"""
    held_s: float
    """how long starts were held for it, NaN where the run does not say"""
    counts: Floats
    """throttled turns and sessions, by bin"""
    remaining: tuple[Remaining, ...]

    @property
    def any(self) -> bool:
        return bool(self.turns or self.sessions or self.waits_s or self.remaining or self.held_s > 0)


@dataclass(frozen=True)
class Quota:
    """The limits of a run's targets; bins begin at 0 and are of one length."""

    targets: tuple[Throttling, ...]
    bin_s: float
    length_s: float

    @property
    def throttled(self) -> int:
        return sum(one.turns + one.sessions for one in self.targets)

    @property
    def any(self) -> bool:
        return any(one.any for one in self.targets)

    @property
    def drawable(self) -> bool:
        return any(one.counts.any() or one.remaining for one in self.targets)


def quota_of(run: RunFrames, targets: Sequence[str], began_utc_ns: int, length_s: float) -> Quota:
    """Counts from rows, their course and what remained from the seconds."""
    seconds = run.seconds[OF_SECOND]
    at_s = seconds["second"].to_numpy(dtype=np.float64) - began_utc_ns / NS_PER_S
    length_s = max(length_s, float(at_s.max(initial=0.0)) + 1, 1.0)
    bin_s = time_step(length_s, BINS)
    place = np.maximum(at_s // bin_s, 0).astype(np.int64)
    bins = int(length_s // bin_s) + 1
    found = []
    for label in targets:
        mine = (seconds["target"] == label).to_numpy()
        found.append(_throttling(run, label, seconds[mine], place[mine], bins, bin_s))
    return Quota(tuple(found), bin_s, length_s)


def _throttling(
    run: RunFrames, label: str, seconds: pd.DataFrame, place: Integers, bins: int, bin_s: float
) -> Throttling:
    (turns, turn_waits), (sessions, session_waits) = (_limited(frame, label) for frame in (run.turns, run.sessions))
    waits = np.concatenate([turn_waits, session_waits])
    holds = run.document.get("holds")
    held = holds.get(label) if isinstance(holds, dict) else None
    throttled = np.nan_to_num(seconds["throttled"].to_numpy(dtype=np.float64))
    return Throttling(
        label,
        turns,
        sessions,
        tuple(float(wait) for wait in np.sort(waits) / NS_PER_S),
        float(held) if isinstance(held, int | float) else float("nan"),
        np.bincount(place, throttled, bins).astype(np.float64),
        tuple(_remaining(seconds, place, bins, bin_s)),
    )


def _limited(frame: pd.DataFrame, label: str) -> tuple[int, Floats]:
    """How many rows of a target were throttled, and the waits that it was asked for; ns."""
    mine, outcome = (frame["target"] == label).to_numpy(), frame["outcome"].cat
    throttled = np.array([*(is_throttled(str(name)) for name in outcome.categories), False])
    waits = floats(frame, "retry_after_ns")[mine]
    return int(throttled[outcome.codes.to_numpy()[mine]].sum()), waits[~np.isnan(waits)]


def _remaining(seconds: pd.DataFrame, place: Integers, bins: int, bin_s: float) -> Iterable[Remaining]:
    for limit in LIMITS:
        with np.errstate(divide="ignore", invalid="ignore"):
            share = floats(seconds, f"{limit}_remaining") / floats(seconds, f"{limit}_limit")
        least = np.full(bins, np.inf)
        np.minimum.at(least, place[np.isfinite(share)], share[np.isfinite(share)])
        if (told := np.flatnonzero(least < np.inf)).size:
            yield Remaining(limit, (told.astype(np.float64) + 0.5) * bin_s, np.clip(least[told], 0.0, 1.0))
