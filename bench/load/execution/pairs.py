"""The pairs of a process: their numbers, and the order in which the sessions of a pair start. Pure.

A pair is one session with each target. The sessions of a pair start together, in random order. They
differ only in their target: the number of the pair determines their recordings, their variables and
their order. In a run with one target, a pair is one session.
"""

import math
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from bench.base.units import NS_PER_S
from bench.record.folder import BLOCK_NS
from bench.record.histograms import MEASURED, WARMUP

ORDERS = 1
"""A component of the seed. With it, the orders of sessions are independent of the choices of
recordings."""


@dataclass(frozen=True)
class WorkerSlot:
    """The position of a process in a run. `worker` is its number, from 0. `workers` is the number
    of processes.

    `started_utc_ns` is the start of the run in UTC. `started_ns` is the same instant on
    CLOCK_MONOTONIC, which is one clock for all processes of a host. Pairs that start in the first
    `warmup_s` are not measured. `ahead_ns` is how much later this host's UTC is than the master's.
    `ahead_uncertainty_ns` is the uncertainty of `ahead_ns`; None if the clocks were not compared.
    """

    started_utc_ns: int
    started_ns: int
    warmup_s: float = 0.0
    worker: int = 0
    workers: int = 1
    ahead_ns: int = 0
    ahead_uncertainty_ns: int | None = None

    def numbered(self, number: int) -> int:
        """Convert a number from 0 that is unique in this process into a number that is unique over
        all processes.

        The processes take turns: if there are three, the numbers of process 0 are 0, 3, 6, ….
        """
        return number * self.workers + self.worker

    def share(self, sessions: int) -> int:
        """Return how many of `sessions` sessions this worker must run."""
        return sessions // self.workers + (self.worker % self.workers < sessions % self.workers)


@dataclass(frozen=True)
class Pair:
    """A pair of sessions.

    `number` is the number of the pair, from 0, over all processes. `of_script` is its number among
    the pairs of the same script. `block` (of two minutes) and `phase` are determined by the start
    of the pair. `intended_ns` is the intended start. `called_ns` is the instant at which the call
    arrived; None in a closed loop.
    """

    number: int
    of_script: int
    block: int
    phase: str
    intended_ns: int
    called_ns: int | None = None


class PairCounter:
    """A counter that numbers the pairs of a process, both in total and per script."""

    def __init__(self, slot: WorkerSlot) -> None:
        self._slot = slot
        self._started: Counter[str] = Counter()

    def next(
        self, script: str, intended_ns: int, now_ns: int, called_ns: int | None = None
    ) -> Pair:
        """Return the next pair, which runs `script` and starts now."""
        slot = self._slot
        number = self._started.total()
        of_script = self._started[script]
        self._started[script] += 1
        return Pair(
            slot.numbered(number),
            slot.numbered(of_script),
            block_of(now_ns, slot.started_ns),
            phase_of(now_ns, slot.started_ns, slot.warmup_s),
            intended_ns,
            called_ns,
        )


# If one target always started first, the others would always meet a busier process and network. A
# random order makes this a part of the noise of both, and the seed makes it repeatable.
def order(targets: int, seed: int, pair: int) -> tuple[int, ...]:
    """Draw the order in which the sessions of a pair start, as indexes of targets. All orders are
    equally likely.

    `targets` is the number of targets. `pair` is the number of the pair.
    """
    return (
        tuple(np.random.default_rng([seed, pair, ORDERS]).permutation(targets).tolist())
        if targets > 1
        else (0,)
    )


def block_of(start_ns: int, run_start_ns: int) -> int:
    """Return the number of the block in which a pair started. Both instants are of the same
    monotonic clock.
    """
    return max(0, start_ns - run_start_ns) // BLOCK_NS


def phase_of(start_ns: int, run_start_ns: int, warmup_s: float) -> str:
    """Return the phase in which a pair started: warm-up or measurement. Both instants are of one
    monotonic clock.
    """
    return WARMUP if start_ns - run_start_ns < warmup_s * NS_PER_S else MEASURED


def is_sampled(number: int, share: Fraction) -> bool:
    """Return whether the pair `number` (from 0) belongs to a sample of all pairs. The sample is
    evenly spaced.

    `share` is the share of all pairs that the sample contains. If it is above 0, the sample
    contains the first pair.
    """
    return math.ceil((number + 1) * share) > math.ceil(number * share)
