"""The judgement of calibration steps. The conclusion is the load up to which a machine's values can
be trusted. Pure.

`rtbench.calibrate.load_search` chooses the loads.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from statistics import StatisticsError, linear_regression
from typing import Any

from bench.record.calibration import (
    EXACT_MS,
    GA,
    LIMIT_MS,
    SCHEMA_VERSION,
    Calibration,
    LoadStep,
    Outcome,
    TrustedLoad,
    kinds_of,
)
from bench.services.names import DialectName
from reports.results.value import Reason
from rtbench.calibrate.load_search import LoadGrid, LoadResult, highest_pass, lowest_fail, next_load
from rtbench_simulator.ground_truth_log import LATE_MS

LOAD_GENERATOR = ("receive_delay", "timestamp_uncertainty", "send_delay", "event_loop_delay")
"""The delays of the load generator that a calibration reports."""
FULL = 0.95
"""The CPU use, as a share of its cores, from which on a process is at its limit."""
OTHERS = 0.2
"""The CPU time, in cores, above which other programs on the cores of the run are the cause of a
failed step."""
FAILED_SHARE = 0.01
"""The maximum share of failed turns, and of turns without ground truth, which may contain the
turns above p99."""
OPEN_SHARE = 0.99
"""The share of the planned sessions that must be open during the whole step. A script lasts
longer than a step."""
# shows nothing about the load generator
DIED: tuple[Outcome, Reason] = ("simulator_late", Reason("simulator_died"))
CAUSES = {"simulator_late": "the simulator", "machine_busy": "other programs"}
"""A mapping from each outcome that prevents a verdict on a step to a description of its cause."""
MAX_SESSIONS_OPTION = "--max-sessions"
"""The option that ended the search if every load passed."""


def outcome_of(
    step: LoadStep, *, failed: Reason | None = None, workers: int = 1, died: bool = False
) -> tuple[Outcome, Reason | None]:
    """Return the outcome of a step, and why the step did not pass.

    - `failed` is the first validity check that failed in the step's run.
    - `workers` is the number of the simulator's processes, each on its own core.
    - `died` is True if a process of the simulator ended too early.

    If the simulator died or was late, the step shows nothing about the load generator. There is one
    exception: a load generator at its own limit slows the simulator, so the step fails. Other
    programs make values worse, never better. So a step that passes in spite of other programs
    passes, and a step that fails may fail because of them.
    """
    if died:
        return DIED
    late = _simulator(step, workers)
    wrong = _failure(step, failed)
    if wrong and step.cpu is not None and step.cpu >= FULL:
        return "fail", Reason("at_full_cpu", {"reason": wrong})
    if (late or wrong) and step.background is not None and step.background > OTHERS:
        return "machine_busy", Reason(
            "machine_busy", {"used": step.background, "reason": late or wrong}
        )
    if late:
        return "simulator_late", late
    return ("fail", wrong) if wrong else ("pass", None)


def _simulator(step: LoadStep, workers: int) -> Reason | None:
    """Return why the simulator's ground truth must not be used; None if it may be used."""
    if step.simulator_late_p99_ms is not None and step.simulator_late_p99_ms > LATE_MS:
        return Reason("simulator_late", {"p99_ms": step.simulator_late_p99_ms})
    if step.simulator_cpu is not None and step.simulator_cpu / workers >= FULL:
        return Reason("simulator_overloaded", {"used": step.simulator_cpu / workers})
    return Reason("no_truth") if not step.errors and step.unmatched else None


def _failure(step: LoadStep, failed: Reason | None) -> Reason | None:
    """Return how the load generator failed; None if it did not fail."""
    if step.open < OPEN_SHARE * step.sessions:
        return Reason("not_open", {"open": step.open, "sessions": step.sessions})
    if step.failed > FAILED_SHARE * step.turns:
        return Reason("turns_failed", {"failed": step.failed, "turns": step.turns})
    if not step.errors:
        return Reason("none_compared")
    if step.unmatched > FAILED_SHARE * step.turns:
        return Reason("not_compared", {"unmatched": step.unmatched, "turns": step.turns})
    if step.validity != "valid":
        return failed or Reason("no_verdict")
    metric, error = max(step.errors.items(), key=lambda item: item[1].p99)
    return (
        Reason("too_large_error", {"metric": metric, "p99_ms": error.p99})
        if error.p99 > LIMIT_MS
        else None
    )


def calibration_of(
    steps: Sequence[LoadStep],
    machine: Mapping[str, Any],
    date_utc: str,
    *,
    tls: bool,
    quick: bool = False,
    dialect: DialectName = GA,
) -> Calibration:
    """Return the calibration that follows from the steps. A kind is not in `trusted` if no step
    of it has a verdict.
    """
    by_kind = {kind: [step for step in steps if step.kind == kind] for kind in kinds_of(dialect)}
    ended = {kind: cause for kind, kind_steps in by_kind.items() if (cause := _cause(kind_steps))}
    trusted = {kind: _trusted(kind_steps, has_passed) for kind, kind_steps in by_kind.items()}
    return Calibration(
        schema=SCHEMA_VERSION,
        date_utc=date_utc,
        machine=dict(machine),
        tls=tls,
        trusted={
            kind: load for kind, load in trusted.items() if load.sessions or kind not in ended
        },
        exact={kind: _trusted(kind_steps, is_exact) for kind, kind_steps in by_kind.items()},
        ended=ended,
        steps=list(steps),
        quick=quick,
        dialect=dialect,
    )


def is_exact(step: LoadStep) -> bool:
    """Return whether a step passed, and the error of each metric is at most 100 µs (p99)."""
    return has_passed(step) and step.worst_p99_ms is not None and step.worst_p99_ms <= EXACT_MS


def _trusted(steps: Sequence[LoadStep], passes: Callable[[LoadStep], bool]) -> TrustedLoad:
    """Return the highest load that passes and is lower than all loads that failed."""
    highest = highest_pass(_results(steps, passes))
    rates = [step.events_per_s for step in steps if step.sessions == highest]
    return TrustedLoad(highest, round(rates[-1], 1) if rates else 0.0)


def _results(steps: Sequence[LoadStep], passes: Callable[[LoadStep], bool]) -> list[LoadResult]:
    """Return the result of each load. If a load was tried twice, the last try counts."""
    last = {step.sessions: passes(step) for step in steps}
    return [LoadResult(load, passed) for load, passed in last.items()]


def _cause(steps: Sequence[LoadStep]) -> str:
    """Return what ended the search for a kind of session; "" if the load generator ended it."""
    if not steps:
        return "an interruption"
    limit = lowest_fail(_results(steps, has_passed))
    results = [step.result for step in steps if step.sessions == limit]
    return CAUSES.get(results[-1], "") if results else MAX_SESSIONS_OPTION


def is_concluded(calibration: Calibration) -> bool:
    """Return whether there is a conclusion for every kind of session."""
    return set(calibration.trusted) == set(calibration.kinds)


def is_coarse(calibration: Calibration) -> bool:
    """Return whether a calibration is coarse: it was quick, or --max-sessions ended it."""
    return calibration.quick or MAX_SESSIONS_OPTION in calibration.ended.values()


def bytes_per_session(steps: Sequence[LoadStep]) -> float | None:
    """Return how much the peak memory grows with each session (least squares); None if there is
    only one load.
    """
    peaks = [(step.sessions, step.rss_bytes) for step in steps if step.rss_bytes is not None]
    with suppress(StatisticsError):
        return linear_regression(
            [sessions for sessions, _ in peaks], [rss for _, rss in peaks]
        ).slope
    return None


def has_passed(step: LoadStep) -> bool:
    return step.result == "pass"


def result_of(step: LoadStep) -> LoadResult:
    return LoadResult(step.sessions, has_passed(step))


def max_duration(grid: LoadGrid, seconds: Callable[[int], float]) -> float:
    """Return the maximum duration, in seconds, of a search on a machine that supports at least the
    first load.

    `seconds` returns the duration of a step with a number of sessions.
    """
    first = min(grid.first, grid.max)
    return max(
        _duration(grid, capacity, seconds)
        for capacity in range(first, grid.max + 1, max(1, first // 4))
    )


def _duration(grid: LoadGrid, capacity: int, seconds: Callable[[int], float]) -> float:
    """Return the duration, in seconds, of a search on a machine that supports exactly `capacity`
    sessions.
    """
    results: list[LoadResult] = []
    while (load := next_load(grid, results)) is not None:
        results.append(LoadResult(load, load <= capacity))
    return sum(seconds(result.load) for result in results)
