"""Plays a level of a search as a run of its own, looks at it while it goes on, and judges it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from bench.capacity.document import LevelOutcome, SearchPlan
from bench.capacity.judge import answer_of, is_futile
from bench.capacity.ladder import Answer, NextLevel
from bench.capacity.level import (
    blocked,
    complete,
    draining,
    failures_of,
    in_progress,
    limits_left,
    missed,
    seen,
    shares_of,
    side_of,
    usd_of,
    wait_of,
    worst_bounds,
)
from bench.capacity.play import ENDLESS_NS, LevelTask, Locust, PlayedLevel, play, worker_count
from bench.capacity.search import AFTER_RAMP_S, FUTILE_FROM, LOOKS, LevelBudget, least_ramp_s, look_errors
from bench.capacity.slo import Slo
from bench.clock import monotonic_ns
from bench.cores import core_count
from bench.errors import UsageError
from bench.load.planning.concurrency import Concurrency, process_advice
from bench.units import NS_PER_S
from reports.samples import ALWAYS
from reports.sides.side import Side

BLOCKED_SHARE = 0.01
"""A level with a larger share of blocked calls did not deliver its nominal load."""

TIME_OVER = "the search's time was over before this level's run was closed"
STAMPS = "a"
"""The rule of validity by which stamps are exact."""
CARRIED_SHARE = 0.9
"""Where the service held starts back, a level holds only if this share of its calls is in progress on average."""


@dataclass(frozen=True)
class Search:
    """What is searched for, and how its levels are played. `max_sessions`: of calls that arrive, the slots.

    `connects_per_min`: how many connections may start in a minute; None for no limit. `until_ns`: when the search is
    over, on CLOCK_MONOTONIC.
    """

    plan: SearchPlan
    slos: Sequence[Slo]
    locust: Locust
    max_sessions: int | None = None
    connects_per_min: float | None = None
    until_ns: int = ENDLESS_NS


def level_of(search: Search, number: int, step: NextLevel, given: LevelBudget) -> LevelOutcome:
    """Play a level as a run of its own, and judge it. Raises UsageError where the first run was refused."""
    began_ns = monotonic_ns()
    warm_s = _ramp_s(search, step, given) + AFTER_RAMP_S
    if warm_s > given.load_s / 2:
        return _silent(step, given, "generator", _too_slow(step, given, warm_s))
    try:
        level = _played(search, number, step, given, warm_s)
    except UsageError as error:
        if number == 1:
            raise
        level = _silent(step, given, "crashed", str(error))
    return msgspec.structs.replace(level, length_s=(monotonic_ns() - began_ns) / NS_PER_S)


def _played(search: Search, number: int, step: NextLevel, given: LevelBudget, warm_s: float) -> LevelOutcome:
    parts = [(part * given.load_s - warm_s) / (given.load_s - warm_s) for part in LOOKS]
    callers = step.load if search.plan.by == "sessions" else math.inf
    looking = _Looking(search.slos, look_errors(given.error), parts, callers, step.hold)
    name = f"{number:02d}-{'hold' if step.hold else 'level'}-{step.load}"
    ramp_s = warm_s - AFTER_RAMP_S
    task = LevelTask(name, step.load, given.load_s, ramp_s, search.max_sessions, given.budget_usd)
    run = play(search.locust, task, looking.is_clear, search.until_ns)
    if run.died:
        if monotonic_ns() >= search.until_ns:
            return _silent(step, given, "undecided", TIME_OVER, run.folder.name)
        return _silent(step, given, "crashed", run.died, run.folder.name)
    return _judged(search, step, given, run, looking)


def _silent(step: NextLevel, given: LevelBudget, answer: Answer, why: str, run: str = "") -> LevelOutcome:
    """A level that says nothing of the service."""
    return LevelOutcome(step.load, step.hold, answer, why, run, 0.0, given.error)


def _too_slow(step: NextLevel, given: LevelBudget, warm_s: float) -> str:
    return (
        f"{step.load:,} calls take {warm_s:.0f} s to connect at this rate of connections, and the level has "
        f"{given.load_s:.0f} s: give the search a longer --time, or `-- --connect-rate N`"
    )


def _ramp_s(search: Search, step: NextLevel, given: LevelBudget) -> float:
    """Until all users have connected."""
    paced = step.load * 60 / search.connects_per_min if search.connects_per_min and search.plan.by == "sessions" else 0
    return max(least_ramp_s(given.load_s), paced)


@dataclass
class _Looking:
    """Looks at a level while it goes on. `answer`: what they came to; None where that is seen at its end.

    `parts`: of the measured time that is over at each look, below 0 in the warm-up. A hold is ended by a break alone.
    """

    slos: Sequence[Slo]
    errors: Sequence[float]
    parts: Sequence[float]
    callers: float
    hold: bool
    answer: Answer | None = None

    def is_clear(self, folder: Path, number: int) -> bool:
        """Whether the level may end after a look: its answer is clear, or none is to be expected."""
        shown, allowed = seen(folder, self.slos), [slo.allowed for slo in self.slos]
        answer = answer_of(shown.complete, shown.known, allowed, self.errors[number], self.callers)
        if answer == "breaks" or (answer == "holds" and not self.hold and not _drains(side_of(folder))):
            self.answer = answer
        elif not self.hold and self.parts[number] >= FUTILE_FROM:
            futile = is_futile(shown.complete, shown.known, allowed, self.parts[number], self.errors[-1], self.callers)
            self.answer = "undecided" if futile else None
        return self.answer is not None


def _judged(search: Search, step: NextLevel, given: LevelBudget, run: PlayedLevel, looking: _Looking) -> LevelOutcome:
    """A level whose run has come to its end."""
    side = side_of(run.folder)
    document, slos = side.run.document, search.slos
    error = looking.errors[-1 if looking.answer is None else run.looks - 1]
    every = [missed(side, slo) for slo in slos]
    shown = [missed(replace(side, clusters=complete(side)), slo) for slo in slos] if run.cut else every
    answer = looking.answer or answer_of(shown, every, [slo.allowed for slo in slos], error, looking.callers)
    calls, blocked_calls = in_progress(side.run), blocked(side.run)
    arrived = blocked_calls + len(side.run.sessions)
    sure = _is_sure(answer, side, slos, error, looking.callers)
    ours = _ours(document, step.load if search.plan.by == "sessions" else round(calls or 0), sure=sure)
    if not ours and answer != "breaks" and blocked_calls > BLOCKED_SHARE * arrived:
        ours = f"{blocked_calls:,} of {arrived:,} calls found no free slot: give more by --max-sessions"
    held = _held_back(document, side.name, step, calls) if search.plan.by == "sessions" and answer == "holds" else ""
    held = held or (_drains(side) if answer == "holds" else "")
    if held:
        answer = "undecided"
    main = next(iter(side.mains.values()), ALWAYS)
    wait_p50, wait_p95 = wait_of(side, search.plan.measure or main)
    return LevelOutcome(
        load=step.load,
        hold=step.hold,
        answer="generator" if ours else answer,
        why=ours or held,
        run=run.folder.name,
        length_s=0.0,
        error=given.error,
        sessions=side.sessions,
        turns=int(side.here.sum()),
        in_progress=calls,
        shares=shares_of(side, slos, error, looking.callers),
        wait_p50=wait_p50,
        wait_p95=wait_p95,
        failures=failures_of(side),
        limits_left=limits_left(side.run, side.name),
        blocked=blocked_calls,
        simulated=side.simulated,
        workers=worker_count(document),
        usd=usd_of(side.run, side.name),
    )


def _held_back(document: Any, target: str, step: NextLevel, calls: float | None) -> str:
    """Why a level was not the load that it was to be, as the service asked for waits; "" where it was."""
    held_s = float((document.get("holds") or {}).get(target) or 0.0)
    if not held_s or calls is None or calls >= CARRIED_SHARE * step.load:
        return ""
    return (
        f"the service held starts back for {held_s:.0f} s because of its quota: only {calls:.0f} calls were in progress"
    )


def _drains(side: Side) -> str:
    """Why a level that went well says nothing of the time after it: a limit is being used up; "" where none is."""
    found = draining(side.run, side.name)
    if found is None:
        return ""
    limit, left_s = found
    return f"the service's limit of {limit} was being used up: at this pace nothing is left of it in {left_s:.0f} s"


def _is_sure(answer: Answer, side: Side, slos: Sequence[Slo], error: float, callers: float) -> bool:
    """Whether the answer is the same however far the stamps were off."""
    if answer not in ("holds", "breaks"):
        return True
    way = 1 if answer == "holds" else -1
    moved = [missed(side, slo, way * off) for slo, off in zip(slos, worst_bounds(side.run.folder, slos), strict=True)]
    return answer_of(moved, moved, [slo.allowed for slo in slos], error, callers) == answer


def _ours(document: Any, calls: int, *, sure: bool) -> str:
    """Why a run says nothing of the service, and what it takes; "" where it does.

    `sure`: the answer does not hang on how exact the stamps are.
    """
    concurrency = Concurrency(calls, 1, worker_count(document))
    rules = (document.get("verdict") or {}).get("rules") or []
    broken = [rule for rule in rules if rule["passed"] is False and not (sure and rule["rule"] == STAMPS)]
    if broken:
        rule = broken[0]
        return (
            f"INVALID: {rule['measure']} was {rule['figure']:.3g} {rule['unit']} (limit {rule['limit']:.3g}) with "
            f"{concurrency.per_process:,} calls in a process; "
            f"give the machine idle cores, and the search `-- --processes {2 * concurrency.processes}` or more"
        )
    cited = document.get("calibration")
    return "" if cited is None or cited.get("ended") else "".join(process_advice(concurrency, cited, core_count()))
