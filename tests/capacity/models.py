"""Models of services whose breaking point is known, and simulated searches at these models that
take no time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import msgspec
import numpy as np

from reports.metrics.thresholds import Threshold, requested_thresholds
from reports.results.value import Finding, Result, Value
from reports.statistics.counting import Floats
from reports.statistics.group_sequential import spending
from reports.statistics.rates import PerCluster
from rtbench.capacity.load_thresholds import (
    GIVEN_UP,
    GIVEN_UP_LAST,
    analysis_result,
    is_futile,
    violation_share,
)
from rtbench.capacity.search import (
    ANALYSES,
    AROUND_S,
    ERROR,
    FUTILE_FROM,
    VIOLATIONS,
    LevelBudget,
    LevelEntry,
    SearchPlan,
    grid_of,
    min_ramp_s,
    run_levels,
    unknown,
)
from rtbench.load_search import NextLevel, levels_left

ALLOWED = 0.05
"""The maximum share of turns that may violate the threshold."""


def threshold_of(text: str) -> Threshold:
    """Return the threshold that is written in one line."""
    return requested_thresholds([text])[0]


def build_plan(
    first: int = 1, most: int = 256, time_s: float = 1800.0, **changes: object
) -> SearchPlan:
    plan = SearchPlan(
        "concurrency", ["ttfa: p(95)<800"], "ttfa", first, most, 0.1, ERROR, time_s, None, 0, None
    )
    changed = msgspec.structs.replace(plan, **changes)
    return msgspec.structs.replace(changed, max_levels=levels_left(grid_of(changed), []))


def build_share(
    value: float = 0.5,
    *,
    threshold: str = "ttfa: p(95)<800",
    slow: int = 50,
    failed: int = 0,
    turns: int = 100,
    **more: object,
) -> Finding:
    share = msgspec.structs.replace(
        unknown(VIOLATIONS, "rate"),
        value=value,
        low=value * 0.8,
        high=min(1.0, value * 1.2),
        n=turns,
        sessions=20,
        count=slow + failed,
        failed=failed,
        **{"deff": 1.0} | more,
    )
    return Finding(threshold=threshold, value=share, operator="<", limit=ALLOWED)


def build_latency(value: float, low: float, high: float) -> Value:
    return msgspec.structs.replace(unknown("ttfa", "p50"), value=value, low=low, high=high)


def build_level(
    load: int, answer: Result, *, hold: bool = False, duration_s: float = 60.0, **more: object
) -> LevelEntry:
    level = LevelEntry(load, hold, answer, None, f"run-{load}", duration_s, 0.001, call_s=0.0)
    return msgspec.structs.replace(level, **more)


class Service(Protocol):
    """A service at which a search can run levels."""

    def edge(self, most: int) -> int:
        """Return the highest load up to `most` that passes; 0 if no load passes."""

    def level(
        self, rng: np.random.Generator, number: int, step: NextLevel, given: LevelBudget
    ) -> LevelEntry:
        """Run a level and return its result."""


@dataclass(frozen=True)
class ModelService:
    """A service at which each turn violates the threshold with probability `missed(load)`.

    A session has `turns` turns and lasts `session_s`. `alike` is the correlation of the turns of a
    session.
    """

    missed: Callable[[int], float]
    session_s: float = 10.0
    turns: int = 5
    alike: float = 0.2

    def edge(self, most: int) -> int:
        """Try each load; return the highest one that passes, or 0 if none passes."""
        return max((load for load in range(1, most + 1) if self.missed(load) <= ALLOWED), default=0)

    def level(
        self, rng: np.random.Generator, number: int, step: NextLevel, given: LevelBudget
    ) -> LevelEntry:
        """Run a level. At an interim analysis, the last `load` sessions that began are still
        open.
        """
        measured_s = given.load_s - min_ramp_s(given.load_s)
        missed = self._missed(rng, step.load, int(step.load * measured_s / self.session_s))

        shown = share_of(missed, self.turns, self.session_s, step.load, measured_s)
        return msgspec.structs.replace(
            level_result(step, given, ALLOWED, shown), call_s=self.session_s
        )

    def _missed(self, rng: np.random.Generator, load: int, sessions: int) -> Floats:
        p, weight = self.missed(load), 1 / self.alike - 1
        if p in (0.0, 1.0):
            return np.full(sessions, p * self.turns)
        return rng.binomial(self.turns, rng.beta(p * weight, (1 - p) * weight, sessions)).astype(
            np.float64
        )


@dataclass
class PhasedService:
    """A service with slow minutes. The probability of a violation drifts over time, in the same way
    for all callers.

    The logarithm of the probability is an Ornstein-Uhlenbeck process with standard deviation `sd`
    and time constant `memory_s`. The long-run mean of the probability is `missed(load)`. The
    process continues from level to level, so each search needs its own instance of this class.
    """

    missed: Callable[[int], float]
    sd: float
    memory_s: float
    session_s: float = 10.0
    turns: int = 5
    at_s: float = 0.0
    path: list[float] = field(default_factory=list)

    def edge(self, most: int) -> int:
        return ModelService(self.missed).edge(most)

    def level(
        self, rng: np.random.Generator, number: int, step: NextLevel, given: LevelBudget
    ) -> LevelEntry:
        """Run a level. At an interim analysis, the last `load` sessions that began are still
        open.
        """
        ramp_s = min_ramp_s(given.load_s)
        measured_s = given.load_s - ramp_s
        begins_s = (
            np.arange(int(step.load * measured_s / self.session_s)) * self.session_s / step.load
        )
        factors = self._factors(rng, self.at_s + ramp_s + begins_s)
        missed = rng.binomial(self.turns, np.minimum(0.9, self.missed(step.load) * factors)).astype(
            np.float64
        )

        shown = share_of(missed, self.turns, self.session_s, step.load, measured_s)
        level = level_result(step, given, ALLOWED, shown)
        self.at_s += level.duration_s
        return level

    def _factors(self, rng: np.random.Generator, at_s: Floats) -> Floats:
        """Return the factor by which the probability of a violation differs from its long-run mean
        at each instant.

        The factor changes once per second.
        """
        kept = math.exp(-1 / self.memory_s)
        last = int(at_s.max(initial=0.0)) + 1
        while len(self.path) <= last:
            before = self.path[-1] if self.path else rng.normal(0, self.sd)
            self.path.append(kept * before + rng.normal(0, self.sd * math.sqrt(1 - kept**2)))
        logs: Floats = np.array(self.path)[at_s.astype(np.int64)]
        return np.exp(logs - self.sd**2 / 2)


def share_of(
    missed: Floats, turns: int, session_s: float, callers: int, measured_s: float
) -> Callable[[float], tuple[PerCluster, PerCluster]]:
    """Return a function that an interim analysis calls with its time after the ramp.

    The function returns the violations of all complete sessions, and the violations of all sessions
    that have begun. `missed` is the number of violations of each session. The last `callers`
    sessions that have begun are not complete until the level ends.
    """

    def shown(after_s: float) -> tuple[PerCluster, PerCluster]:
        begun = int(callers * after_s / session_s)
        ended = begun if after_s == measured_s else max(0, begun - callers)
        complete, known = (
            (missed[:count], np.full(missed[:count].size, float(turns))) for count in (ended, begun)
        )
        return complete, known

    return shown


def level_result(
    step: NextLevel,
    given: LevelBudget,
    allowed: float,
    shown: Callable[[float], tuple[PerCluster, PerCluster]],
) -> LevelEntry:
    """Run the interim analyses of a level and return the level's result.

    `shown` is the function that `share_of` returns.
    """
    ramp_s, errors = min_ramp_s(given.load_s), spending(ANALYSES, given.error)
    measured_s = given.load_s - ramp_s
    answer: Result = "inconclusive"
    for part, error in zip(ANALYSES, errors, strict=True):
        after_s = measured_s if part == 1 else max(0.0, part * given.load_s - ramp_s)
        complete, known = shown(after_s)
        answer = analysis_result([complete], [known], [allowed], error, step.load)
        if answer == "fail" or (answer == "pass" and not (step.confirmation_run and part < 1)):
            break
        over = after_s / measured_s
        doubt = GIVEN_UP_LAST if step.last else GIVEN_UP
        given_up = 0 < over < 1 and is_futile(
            [complete], [known], [allowed], over, errors[-1], step.load, doubt
        )
        if over >= FUTILE_FROM and given_up and not step.confirmation_run:
            break
    length_s = part * given.load_s + AROUND_S
    share = violation_share("model", known, error, 1, step.load)
    return build_level(
        step.load,
        answer,
        hold=step.confirmation_run,
        duration_s=length_s,
        error=given.error,
        violations=[Finding(threshold="ttfa: p(95)<800", value=share, operator="<", limit=allowed)],
        sessions=share.sessions,
    )


def searched(plan: SearchPlan, service: Service, seed: int) -> list[LevelEntry]:
    """Run a search at the service and return the levels of the search."""
    levels: list[LevelEntry] = []
    for _ in run_levels(plan, levels, partial(service.level, np.random.default_rng(seed))):
        pass
    return levels
