"""Capacity searches of services with a known breaking point (docs/decisions/0044-capacity.md).

The services are models in memory: they allow hundreds of searches in a minute. The queue is a
machine repair model. Its breaking point is computed from a simulation of its events at every load.
"""

from __future__ import annotations

import copy
import heapq
import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from typing import NamedTuple

import numpy as np

from bench.base.units import NS_PER_S
from reports.statistics.counting import Floats
from reports.statistics.rates import PerCluster
from rtbench.capacity.conclusion import contradiction_of
from rtbench.capacity.search import LevelBudget, LevelEntry, min_ramp_s, results_of
from rtbench.load_search import Bracket, NextLevel, bracket_of
from rtbench_simulator.delay import LogNormal
from tests.capacity.models import (
    ModelService,
    PhasedService,
    Service,
    build_plan,
    level_result,
    searched,
)

SEEDS, QUEUE_SEEDS = 500, 200
MAX_LEVEL = 256

SERVERS, SERVICE_MS, THINK_S, THINK_SIGMA = 4, LogNormal(250, 400), 1.0, 0.5
ALLOWED, LIMIT_MS = 0.2, 600.0
TURNS = 100_000


def knee(breaking_point: float) -> Callable[[int], float]:
    """Return violation probabilities that grow smoothly with the load."""
    return lambda load: min(0.9, 0.002 + 0.048 * (load / breaking_point) ** 4)


def cliff(breaking_point: int) -> Callable[[int], float]:
    """Return violation probabilities at which all calls above a limit fail."""
    return lambda load: max(0.0, (load - breaking_point) / load)


def slope(breaking_point: float) -> Callable[[int], float]:
    """Return violation probabilities of 3 % or more at any load.

    So no level passes or fails clearly within a short time.
    """
    return lambda load: min(0.9, 0.03 + 0.02 * load / breaking_point)


def power(breaking_point: float, exponent: float) -> Callable[[int], float]:
    """Return violation probabilities that grow slowly or steeply with the load."""
    return lambda load: min(0.9, 0.05 * (load / breaking_point) ** exponent)


MODELS: dict[str, Service] = {
    "knee at 20": ModelService(knee(20.5)),
    "knee at 90": ModelService(knee(90.5)),
    "knee at 50, sessions much alike": ModelService(knee(50.5), alike=0.6),
    "knee at 60, calls of a minute": ModelService(knee(60.5), session_s=60),
    "cliff at 12": ModelService(cliff(12)),
    "cliff at 37": ModelService(cliff(37)),
    "slope through 60": ModelService(slope(60.5)),
    "steep at 60": ModelService(power(60.5, 6)),
    "knee at 50, long sessions alike": ModelService(knee(50.5), session_s=60, turns=40, alike=0.5),
    "square at 40, slow minutes": PhasedService(power(40.5, 2), sd=0.6, memory_s=60),
    "square at 40, slow phases of 5 min": PhasedService(power(40.5, 2), sd=1.0, memory_s=300),
}


@dataclass(frozen=True)
class QueueService:
    """Callers who pause, send a request, and wait for one of SERVERS servers.

    A session has two turns, and their latencies are correlated.
    """

    def edge(self, most: int) -> int:
        """Return the highest load at which the share of slow turns is allowed."""
        return bisect_left(
            range(1, 64),
            True,
            key=lambda load: bool(np.mean(waits_of_callers(load) >= LIMIT_MS) > ALLOWED),
        )

    def level(
        self, rng: np.random.Generator, number: int, step: NextLevel, given: LevelBudget
    ) -> LevelEntry:
        """Run a level; turns in flight at its end are completed."""
        ramp_s = min_ramp_s(given.load_s)
        starts_s = rng.uniform(0.0, ramp_s, step.load)
        asks = [
            (float(start_s) + thought_s(rng), caller) for caller, start_s in enumerate(starts_s)
        ]
        turns = sorted(
            served(rng, asks, lambda done_s, _: done_s + thought_s(rng), until_s=given.load_s),
            key=by_caller,
        )
        sessions = [
            pair
            for _, of in groupby(turns, by_caller)
            for pair in in_pairs(list(of))
            if pair[0].at_s > ramp_s
        ]
        sessions.sort(key=lambda pair: pair[0].at_s)

        def seen(after_s: float) -> tuple[PerCluster, PerCluster]:
            at_s = math.inf if after_s == given.load_s - ramp_s else after_s + ramp_s
            complete = list(
                takewhile(
                    lambda pair: pair[-1].done_s <= at_s and (len(pair) == 2 or at_s == math.inf),
                    sessions,
                )
            )
            return counted(complete, at_s), counted(sessions, at_s)

        return level_result(step, given, ALLOWED, seen)


def by_caller(turn: ServedTurn) -> int:
    return turn.caller


def in_pairs(turns: list[ServedTurn]) -> list[list[ServedTurn]]:
    """Return the turns of a caller as sessions of two turns."""
    return [turns[first : first + 2] for first in range(0, len(turns), 2)]


def counted(sessions: Sequence[Sequence[ServedTurn]], at_s: float) -> PerCluster:
    """Return the number of late turns and the number of turns for each session.

    Only turns that were completed by `at_s` are counted. A session without such turns is left out.
    """
    done = [
        [turn.wait_ms >= LIMIT_MS for turn in session if turn.done_s <= at_s]
        for session in sessions
    ]
    with_turns = [late for late in done if late]
    return np.array([sum(late) for late in with_turns], float), np.array(
        [len(late) for late in with_turns], float
    )


def main() -> None:
    """Print how often the interval contains the breaking point, the interval's width, and the
    time of the searches.
    """
    plan = build_plan(most=MAX_LEVEL)
    print(f"at most {plan.time_s / 60:.0f} min, {plan.max_levels} levels and a confirmation run")
    heads = (
        f"{'service':<36}{'n':>5}{'covers':>9}{'SE':>6}{'alone':>9}{'agree':>8}"
        f"{'A/B':>8}"
        f"{'both ends':>11}"
    )
    print(f"{heads}{'width':>8}{'confirmed':>11}{'min':>6}{'over':>6}")
    for name, service in MODELS.items():
        of_service(name, service, SEEDS)
    of_service("a queue before four servers", QueueService(), QUEUE_SEEDS)


def of_service(name: str, service: Service, seeds: int) -> None:
    """Print one line for the searches at one service.

    The column `alone` is the share of searches whose levels enclose the breaking point if
    contradictions are ignored. The column `agree` is the share of searches whose levels do not
    contradict one another.
    """
    plan, breaking_point = build_plan(most=MAX_LEVEL), service.edge(MAX_LEVEL)
    searches = [searched(plan, copy.deepcopy(service), seed) for seed in range(seeds)]
    alone = [bracket_of(results_of(levels)) for levels in searches]
    agree = [contradiction_of(levels) is None for levels in searches]
    brackets = [
        bracket if agreed else Bracket() for bracket, agreed in zip(alone, agree, strict=True)
    ]
    covering = float(np.mean([covers(interval, breaking_point) for interval in brackets]))
    width = [
        interval.lowest_fail / interval.highest_pass
        for interval in brackets
        if interval.highest_pass and interval.lowest_fail
    ]
    spent_s = [sum(level.duration_s for level in levels) for levels in searches]
    confirmed = [
        any(level.confirmation_run and level.result == "pass" for level in levels)
        for levels in searches
    ]
    pairs = list(zip(brackets[::2], brackets[1::2], strict=True))
    print(
        f"{name:<36}{seeds:>5}{covering:>9.1%}{math.sqrt(covering * (1 - covering) / seeds):>6.1%}"
        f"{np.mean([covers(interval, breaking_point) for interval in alone]):>9.1%}"
        f"{np.mean(agree):>8.1%}"
        f"{np.mean([overlap(*pair) for pair in pairs]):>8.1%}"
        f"{len(width) / seeds:>11.0%}{np.median(width) if width else math.nan:>8.2f}"
        f"{np.mean(confirmed):>11.0%}{np.median(spent_s) / 60:>6.0f}"
        f"{sum(time_s > plan.time_s + 1e-6 for time_s in spent_s):>6}",
        flush=True,
    )


def covers(bracket: Bracket, breaking_point: int) -> bool:
    """Return whether the interval that a search found contains the breaking point."""
    return bracket.highest_pass <= breaking_point and (
        bracket.lowest_fail is None or breaking_point < bracket.lowest_fail
    )


def overlap(first: Bracket, second: Bracket) -> bool:
    """Return whether two intervals for the same breaking point can both be right."""
    return max(first.highest_pass, second.highest_pass) < min(
        first.lowest_fail or math.inf, second.lowest_fail or math.inf
    )


def waits_of_callers(callers: int) -> Floats:
    """Return the latencies in ms of callers who think, ask, and wait for a server. The first
    tenth of the turns is omitted.
    """
    rng, asks = np.random.default_rng(callers), [(0.0, number) for number in range(callers)]
    turns = served(rng, asks, lambda done_s, _: done_s + thought_s(rng))
    waits_ms = [turn.wait_ms for turn in turns]
    return np.array(waits_ms[len(waits_ms) // 10 :])


def thought_s(rng: np.random.Generator) -> float:
    return float(THINK_S * np.exp(THINK_SIGMA * rng.standard_normal()))


class ServedTurn(NamedTuple):
    """A turn: its caller, and the times of its request and its completion."""

    caller: int
    at_s: float
    done_s: float

    @property
    def wait_ms(self) -> float:
        return (self.done_s - self.at_s) * 1000


def served(
    rng: np.random.Generator,
    asks: Sequence[tuple[float, int]],
    again: Callable[[float, int], float | None],
    until_s: float = math.inf,
) -> Iterator[ServedTurn]:
    """Yield the turns of SERVERS servers, first come, first served.

    `asks`: (time in s, caller number) of first requests; `again`: the time of a caller's next
    request, None if there is none.
    """
    due, free = list(asks), [0.0] * SERVERS
    heapq.heapify(due)
    for _ in range(TURNS):
        if not due or due[0][0] > until_s:
            return
        at_s, number = heapq.heappop(due)
        done_s = max(at_s, free[0]) + SERVICE_MS.draw_ns(rng) / NS_PER_S
        heapq.heapreplace(free, done_s)
        yield ServedTurn(number, at_s, done_s)
        if (next_s := again(done_s, number)) is not None:
            heapq.heappush(due, (next_s, number))
