"""Judges the steps of a calibration, and concludes up to which load a machine's figures can be trusted; pure.

`rtbench.load_search` chooses the loads. A step that is not good gives no verdict, so it is played once more: noise
makes figures worse, never better. If the second is not good either, the search stays below that load.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from statistics import StatisticsError, linear_regression
from typing import Any

from bench.run.calibration import (
    EXACT_MS,
    KINDS,
    LIMIT_MS,
    SCHEMA_VERSION,
    Calibration,
    LoadStep,
    Outcome,
    SessionKind,
    TrustedLoad,
    at_least,
)
from bench.simulator.ground_truth_log import LATE_MS
from bench.target.options import AgentName
from reports.statistics.quantiles import turns_to_publish
from rtbench.load_search import Bracket, LevelResult, LoadGrid, bracket_of, next_level

FULL = 0.95
"""The share of its cores from which on a process has no time left."""
OTHERS = 0.2
"""What other programs may take of the cores in use, in cores, before they are blamed for a step that is not good."""
FAILED_SHARE = 0.01
"""Share of turns without a known truth, most of them failed, from which on p99 lies among them."""
OPEN_SHARE = 0.99
"""Share of the wanted sessions that must be open all the time: no script ends within a step."""
DIED: tuple[Outcome, str] = ("simulator_late", "the simulator died")
"""Outcome of a step whose simulator died, which judges nobody."""
CAUSES = {"simulator_late": "the simulator", "machine_busy": "other programs"}
"""What kept a step from being judged."""
MOST = "--max-sessions"
"""What ended the steps where every load was good."""


def outcome_of(step: LoadStep, *, failed: str = "", workers: int = 1, died: bool = False) -> tuple[Outcome, str]:
    """(outcome, why it is not good) of a step by its figures.

    `failed`: the first rule of validity that its run did not keep; `workers`: the simulator's processes, each on a
    core of its own; `died`: whether one of them ended before it was told to.

    A simulator that died or was late judges nobody, unless the harness was at its own limit: then it slows its peer.
    Other programs make figures worse, never better: what is good beside them is good, what is not may be their doing.
    """
    if died:
        return DIED
    late, wrong = _simulator(step, workers), _wrong(step, failed)
    if wrong and step.cpu is not None and step.cpu >= FULL:
        return "fail", f"{wrong}; the load generator had no time left"
    if (late or wrong) and step.background is not None and step.background > OTHERS:
        return "machine_busy", f"other programs took {step.background:.0%} of a core ({late or wrong})"
    if late:
        return "simulator_late", late
    return ("fail", wrong) if wrong else ("pass", "")


def _simulator(step: LoadStep, workers: int) -> str:
    """Why the simulator's truth is not to be used."""
    if step.simulator_late_p99_ms is not None and step.simulator_late_p99_ms > LATE_MS:
        return f"the simulator was late: p99 {step.simulator_late_p99_ms:.2g} ms"
    if step.simulator_cpu is not None and step.simulator_cpu / workers >= FULL:
        return f"the simulator had no time left: {step.simulator_cpu / workers:.0%} of its cores"
    if not step.errors and step.unmatched:
        return "the simulator could not tell the truth of any turn"
    return ""


def _wrong(step: LoadStep, failed: str) -> str:
    """Say what is not good about the harness."""
    if step.open < OPEN_SHARE * step.sessions:
        return f"only {step.open} of {step.sessions} sessions were open"
    if step.failed > FAILED_SHARE * step.turns:
        return f"{step.failed} of {step.turns} turns failed or did not start"
    if not step.errors:
        return "no turn could be compared with the truth"
    if step.unmatched > FAILED_SHARE * step.turns:
        return f"{step.unmatched} of {step.turns} turns could not be compared with the truth"
    if step.validity != "valid":
        return failed or "the run has no verdict"
    metric, error = max(step.errors.items(), key=lambda one: one[1].p99)
    return f"{metric} wrong by {error.p99:.2g} ms" if error.p99 > LIMIT_MS else ""


def calibration_of(
    steps: Sequence[LoadStep],
    machine: Mapping[str, Any],
    date_utc: str,
    *,
    tls: bool,
    quick: bool = False,
    agent: AgentName | None = None,
) -> Calibration:
    """Conclude from steps of every kind. A kind of which no step could be judged is not in it.

    `agent`: how it was called, where it was an agent.
    """
    kinds = (agent,) if agent else KINDS
    by_kind = {kind: [step for step in steps if step.kind == kind] for kind in kinds}
    ended = {kind: cause for kind, of in by_kind.items() if (cause := _cause(of))}
    trusted = {kind: _trusted(of, has_passed) for kind, of in by_kind.items()}
    return Calibration(
        schema=SCHEMA_VERSION,
        date_utc=date_utc,
        machine=dict(machine),
        tls=tls,
        trusted={kind: found for kind, found in trusted.items() if found.sessions or kind not in ended},
        exact={kind: _trusted(of, is_exact) for kind, of in by_kind.items()},
        ended=ended,
        steps=list(steps),
        quick=quick,
        agent=agent,
    )


def is_exact(step: LoadStep) -> bool:
    """Whether even the metric that is most wrong is within 100 µs (p99), of a step that was good."""
    return has_passed(step) and step.worst_p99_ms is not None and step.worst_p99_ms <= EXACT_MS


def _trusted(steps: Sequence[LoadStep], is_good: Callable[[LoadStep], bool]) -> TrustedLoad:
    """Return the largest load below all that were not good."""
    most = _bracket(steps, is_good).highest_pass
    rates = [step.events_per_s for step in steps if step.sessions == most]
    return TrustedLoad(most, round(rates[-1], 1) if rates else 0.0)


def _bracket(steps: Sequence[LoadStep], is_good: Callable[[LoadStep], bool]) -> Bracket:
    """Return what steps show; the last try of each load counts."""
    last = {step.sessions: is_good(step) for step in steps}
    return bracket_of(LevelResult(load, "pass" if good else "fail") for load, good in last.items())


def _cause(steps: Sequence[LoadStep]) -> str:
    """Return what ended the search of a kind, if the load generator did not; "" if it did."""
    if not steps:
        return "an interruption"
    limit = _bracket(steps, has_passed).lowest_fail
    results = [step.result for step in steps if step.sessions == limit]
    return CAUSES.get(results[-1], "") if results else MOST


def is_concluded(calibration: Calibration) -> bool:
    """Whether every kind of session was judged at some load."""
    return set(calibration.trusted) == set(calibration.kinds)


def conclusions(calibration: Calibration) -> list[str]:
    """The last lines: the result of each kind, and the answer in the last one."""
    lines = [_of_kind(calibration, kind) for kind in calibration.kinds if kind in calibration.trusted]
    if not is_concluded(calibration):
        unknown = [kind for kind in calibration.kinds if kind not in calibration.trusted]
        causes = " and ".join(dict.fromkeys(calibration.ended[kind] for kind in unknown))
        return [*lines, f"no conclusion for {' and '.join(unknown)} sessions: {causes} set the limit"]
    if calibration.quick:
        lines.append(
            "this is a first idea: few loads were tried, each for a short time; leave --quick out to narrow it down"
        )
    exact = min(found.sessions for found in calibration.exact.values())
    return [*lines, f"errors are within 100 µs (p99) up to {exact:,} sessions per process", _answer(calibration)]


def _of_kind(calibration: Calibration, kind: SessionKind) -> str:
    """`text: within 1 ms up to 700 sessions (17,900 events/s), within 100 µs up to 400; 96 kB a session`."""
    trusted, exact = calibration.trusted[kind], calibration.exact[kind]
    steps = [step for step in calibration.steps if step.kind == kind]
    memory = bytes_per_session(steps)
    few = next((few_turns(step) for step in reversed(steps) if step.sessions == trusted.sessions), "")
    return (
        f"{kind}: within 1 ms up to {at_least(calibration.ended.get(kind, ''))}{trusted.sessions:,} sessions "
        f"({trusted.events_per_s:,.0f} events/s), within 100 µs up to {exact.sessions:,}"
        + (f"; {memory / 1000:,.0f} kB a session" if memory and memory >= 1000 else "")
        + (f"; {few}" if few else "")
    )


def few_turns(step: LoadStep) -> str:
    """`p99 of 127 turns` where they are fewer than p99 needs; "" where they are not, or there is none."""
    return f"p99 of {step.fewest:,} turns" if 0 < step.fewest < turns_to_publish(0.99) else ""


def _answer(calibration: Calibration) -> str:
    kind, least = min(calibration.trusted.items(), key=lambda pair: (pair[1].sessions, pair[0] in calibration.ended))
    if cause := calibration.ended.get(kind):
        return (
            f"trust this machine up to {at_least(cause)}{least.sessions:,} sessions per process; "
            f"{cause}, not the load generator, ended the calibration"
        )
    return f"trust this machine up to {least.sessions:,} sessions per process"


def is_coarse(calibration: Calibration) -> bool:
    """Whether a fuller calibration of the same machine says more."""
    return calibration.quick or MOST in calibration.ended.values()


def bytes_per_session(steps: Sequence[LoadStep]) -> float | None:
    """The slope of the peaks of memory over the sessions, by least squares; None of a single load."""
    peaks = [(step.sessions, step.rss_bytes) for step in steps if step.rss_bytes is not None]
    with suppress(StatisticsError):
        return linear_regression([sessions for sessions, _ in peaks], [rss for _, rss in peaks]).slope
    return None


def has_passed(step: LoadStep) -> bool:
    """Return whether a step was good."""
    return step.result == "pass"


def result_of(step: LoadStep) -> LevelResult:
    """Return the result of a step, as the search takes it."""
    return LevelResult(step.sessions, "pass" if has_passed(step) else None)


def longest(grid: LoadGrid, seconds: Callable[[int], float]) -> float:
    """Return the seconds that a search takes at most on a machine that carries its first load.

    `seconds`: the length of a step of so many sessions.
    """
    first = min(grid.first, grid.max)
    return max(_length(grid, capacity, seconds) for capacity in range(first, grid.max + 1, max(1, first // 4)))


def _length(grid: LoadGrid, capacity: int, seconds: Callable[[int], float]) -> float:
    """Return the seconds that a search takes on a machine that carries exactly this many sessions."""
    results: list[LevelResult] = []
    while (step := next_level(grid, results)) is not None and not step.confirmation_run:
        results.append(LevelResult(step.load, "pass" if step.load <= capacity else None))
    return sum(seconds(result.load) for result in results)
