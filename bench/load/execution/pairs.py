"""Numbers and orders the sessions of a process at its slot in a run: permuted pairs, one session of each arm. Pure.

The sessions of a pair begin together, and differ in nothing but what is compared: its number says their recordings,
their variables and their order. A run of one target has pairs of one.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from bench.run.folder import BLOCK_NS
from bench.run.histograms import MEASURED, WARMUP
from bench.units import NS_PER_S

ORDERS = 1
"""One more word of the seed, so that orders and choices of recordings are drawn independently."""


@dataclass(frozen=True)
class WorkerSlot:
    """Holds which worker this process is: its number `worker`, from 0, of so many `workers`.

    The run began at `started_utc_ns`, which is `began_ns` of CLOCK_MONOTONIC, the clock that its processes share. Pairs
    that start within `warmup_s` after it are not measured. `ahead_ns`: by how much the UTC of this host is ahead of the
    master's, which can be wrong by `ahead_error_ns`; None where nobody has compared them.
    """

    started_utc_ns: int
    began_ns: int
    warmup_s: float = 0.0
    worker: int = 0
    workers: int = 1
    ahead_ns: int = 0
    ahead_error_ns: int | None = None

    def numbered(self, number: int) -> int:
        """Turn a number from 0 in this process into one over all processes, which take turns."""
        return number * self.workers + self.worker

    def share(self, sessions: int) -> int:
        """Return how many of these sessions are this worker's."""
        return sessions // self.workers + (self.worker % self.workers < sessions % self.workers)


@dataclass(frozen=True)
class Pair:
    """A pair of sessions.

    `number`: from 0, over all processes; `of_script`: the same, of those pairs that play its script.

    `block`: of two minutes, by when the pair started; so is `phase`. `intended_ns`: when it was meant to start.
    `called_ns`: when the call arrived that it is; None where its user called without being asked to.
    """

    number: int
    of_script: int
    block: int
    phase: str
    intended_ns: int
    called_ns: int | None = None


class PairCounter:
    """Numbers the pairs that a process starts, all of them and those of each script."""

    def __init__(self, slot: WorkerSlot) -> None:
        self._slot = slot
        self._started: Counter[str] = Counter()

    def next(self, script: str, intended_ns: int, now_ns: int, called_ns: int | None = None) -> Pair:
        """The pair that plays a script and starts now: its number chooses its variables and its recordings."""
        slot = self._slot
        number, of_script = self._started.total(), self._started[script]
        self._started[script] += 1
        return Pair(
            slot.numbered(number),
            slot.numbered(of_script),
            block_of(now_ns, slot.began_ns),
            phase_of(now_ns, slot.began_ns, slot.warmup_s),
            intended_ns,
            called_ns,
        )


def order(arms: int, seed: int, pair: int) -> tuple[int, ...]:
    """Draw the order in which the arms of a pair start: each is as likely as any other."""
    return tuple(np.random.default_rng([seed, pair, ORDERS]).permutation(arms).tolist()) if arms > 1 else (0,)


def block_of(start_ns: int, began_ns: int) -> int:
    """The block of a pair that started so long after the run began, by a clock that nobody sets."""
    return max(0, start_ns - began_ns) // BLOCK_NS


def phase_of(start_ns: int, began_ns: int, warmup_s: float) -> str:
    """The phase of a pair that started so long after the run began, by a clock that nobody sets."""
    return WARMUP if start_ns - began_ns < warmup_s * NS_PER_S else MEASURED


def is_sampled(number: int, share: Fraction) -> bool:
    """Whether pair `number` (from 0) is one of a share of all, evenly spread; the first one is, of any share."""
    return math.ceil((number + 1) * share) > math.ceil(number * share)
