"""The numbers and the order of the sessions of a process. Sessions are in pairs, one with each target, in random order.
Pure.

The sessions of a pair start together, and differ only in what is compared: the pair's number determines their
recordings, their variables and their order. In a run with one target, a pair is one session.
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
"""A component of the seed, so that orders and choices of recordings are drawn independently."""


@dataclass(frozen=True)
class WorkerSlot:
    """The position of this process in a run: its number `worker`, from 0, of `workers` processes.

    The run started at `started_utc_ns`. On CLOCK_MONOTONIC, which the processes of a host share, this was `started_ns`.
    Pairs that start within `warmup_s` after it are not measured. `ahead_ns`: how far this host's UTC is ahead of the
    master's. `ahead_uncertainty_ns`: the uncertainty of `ahead_ns`; None if the clocks were not compared.
    """

    started_utc_ns: int
    started_ns: int
    warmup_s: float = 0.0
    worker: int = 0
    workers: int = 1
    ahead_ns: int = 0
    ahead_uncertainty_ns: int | None = None

    def numbered(self, number: int) -> int:
        """Convert a number from 0 in this process into a number over all processes.

        Consecutive numbers over all processes belong to the processes in turn.
        """
        return number * self.workers + self.worker

    def share(self, sessions: int) -> int:
        """Return this worker's share of a number of sessions."""
        return sessions // self.workers + (self.worker % self.workers < sessions % self.workers)


@dataclass(frozen=True)
class Pair:
    """A pair of sessions.

    `number`: the number of the pair over all processes, from 0. `of_script`: its number among the pairs of its script.
    `block` (of two minutes) and `phase` depend on the start of the pair. `intended_ns`: the intended start.
    `called_ns`: the instant at which its call arrived; None in a closed loop.
    """

    number: int
    of_script: int
    block: int
    phase: str
    intended_ns: int
    called_ns: int | None = None


class PairCounter:
    """The counter that numbers the pairs that a process starts, in total and per script."""

    def __init__(self, slot: WorkerSlot) -> None:
        self._slot = slot
        self._started: Counter[str] = Counter()

    def next(self, script: str, intended_ns: int, now_ns: int, called_ns: int | None = None) -> Pair:
        """Return the pair that runs a script and starts now. Its number determines its variables and recordings."""
        slot = self._slot
        number, of_script = self._started.total(), self._started[script]
        self._started[script] += 1
        return Pair(
            slot.numbered(number),
            slot.numbered(of_script),
            block_of(now_ns, slot.started_ns),
            phase_of(now_ns, slot.started_ns, slot.warmup_s),
            intended_ns,
            called_ns,
        )


def order(targets: int, seed: int, pair: int) -> tuple[int, ...]:
    """Draw the order in which the sessions of a pair start, as numbers of targets. All orders are equally likely.

    `targets`: the number of targets. `pair`: the number of the pair.
    """
    return tuple(np.random.default_rng([seed, pair, ORDERS]).permutation(targets).tolist()) if targets > 1 else (0,)


def block_of(start_ns: int, run_start_ns: int) -> int:
    """Return the block of a pair, by its start after the start of the run, on a monotonic clock."""
    return max(0, start_ns - run_start_ns) // BLOCK_NS


def phase_of(start_ns: int, run_start_ns: int, warmup_s: float) -> str:
    """Return whether a pair is in the warm-up or measured, by its start after that of the run, on a monotonic clock."""
    return WARMUP if start_ns - run_start_ns < warmup_s * NS_PER_S else MEASURED


def is_sampled(number: int, share: Fraction) -> bool:
    """Return whether pair `number` (from 0) belongs to a share of all pairs, evenly spaced.

    The first pair belongs to any share above 0.
    """
    return math.ceil((number + 1) * share) > math.ceil(number * share)
