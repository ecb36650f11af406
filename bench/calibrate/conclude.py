"""Concludes from the steps up to which load a machine's figures can be trusted, and says so; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from bench.calibrate.ladder import UNJUDGED, StepEnd, bounds_of, too_much
from bench.run.calibration import EXACT_MS, SCHEMA_VERSION, Calibration, LoadStep, SessionKind, Trusted, at_least
from reports.statistics.quantiles import floor

KINDS: tuple[SessionKind, ...] = get_args(SessionKind)
CAUSES = {"late": "the simulator", "busy": "other programs"}
"""What kept a step from being judged."""
MOST = "--most"
"""What ended the steps where every load was good."""


def conclude(
    steps: Sequence[LoadStep], machine: Mapping[str, Any], date_utc: str, *, tls: bool, quick: bool = False
) -> Calibration:
    """Conclude from steps of every kind. A kind of which no step could be judged is not in it."""
    by_kind = {kind: [step for step in steps if step.kind == kind] for kind in KINDS}
    ended = {kind: cause for kind, of in by_kind.items() if (cause := _cause(of))}
    trusted = {kind: _trusted(of, _found(of)) for kind, of in by_kind.items()}
    return Calibration(
        schema=SCHEMA_VERSION,
        date_utc=date_utc,
        machine=dict(machine),
        tls=tls,
        trusted={kind: found for kind, found in trusted.items() if found.sessions or kind not in ended},
        exact={kind: _trusted(of, _exact(of)) for kind, of in by_kind.items()},
        ended=ended,
        steps=list(steps),
        quick=quick,
    )


def _found(steps: Iterable[LoadStep]) -> list[StepEnd]:
    return [StepEnd(step.sessions, step.outcome) for step in steps]


def _exact(steps: Iterable[LoadStep]) -> list[StepEnd]:
    """The largest exact load: as `_trusted`, with the narrower limit."""
    return [StepEnd(step.sessions, step.outcome if is_exact(step) else "bad") for step in steps]


def is_exact(step: LoadStep) -> bool:
    """Whether even the measure that is most wrong is within 100 µs (p99)."""
    return step.worst_p99_ms is not None and step.worst_p99_ms <= EXACT_MS


def _trusted(steps: Sequence[LoadStep], found: Sequence[StepEnd]) -> Trusted:
    most = bounds_of(found).good
    rates = [step.events_per_s for step in steps if step.sessions == most]
    return Trusted(most, round(rates[-1], 1) if rates else 0.0)


def _cause(steps: Sequence[LoadStep]) -> str:
    """Say what ended the ladder of a kind, where the harness did not; "" where it did."""
    found = _found(steps)
    end = too_much(found)
    return CAUSES.get(end.outcome, "") if end is not None else MOST if found else "an interruption"


def is_concluded(calibration: Calibration) -> bool:
    """Whether every kind of session was judged at some load."""
    return set(calibration.trusted) == set(KINDS)


def closing(calibration: Calibration) -> list[str]:
    """The last lines: the result of each kind, and the answer in the last one."""
    lines = [_of_kind(calibration, kind) for kind in KINDS if kind in calibration.trusted]
    if not is_concluded(calibration):
        unknown = [kind for kind in KINDS if kind not in calibration.trusted]
        causes = " and ".join(dict.fromkeys(calibration.ended[kind] for kind in unknown))
        return [*lines, f"no conclusion for {' and '.join(unknown)} sessions: {causes} set the limit"]
    if calibration.quick:
        lines.append(
            "this is a first idea: few loads were tried, each for a short time; leave --quick out to narrow it down"
        )
    exact = min(found.sessions for found in calibration.exact.values())
    return [*lines, f"errors are within 100 µs (p99) up to {exact:,} sessions per process", _answer(calibration)]


def _of_kind(calibration: Calibration, kind: SessionKind) -> str:
    """`listening: within 1 ms up to 700 sessions (17,900 events/s), within 100 µs up to 400; 96 kB a session`."""
    trusted, exact = calibration.trusted[kind], calibration.exact[kind]
    steps = [step for step in calibration.steps if step.kind == kind]
    memory = bytes_per_session(steps)
    few = next((few_turns(step) for step in reversed(steps) if step.sessions == trusted.sessions), "")
    return (
        f"{kind}: within 1 ms up to {at_least(calibration.ended.get(kind, ''))}{trusted.sessions:,} sessions "
        f"({trusted.events_per_s:,.0f} events/s), within 100 µs up to {exact.sessions:,}"
        + (f"; {memory / 1000:,.0f} kB a session" if memory else "")
        + (f"; {few}" if few else "")
    )


def few_turns(step: LoadStep) -> str:
    """`p99 of 127 turns` where they are fewer than p99 needs; "" where they are not, or there is none."""
    return f"p99 of {step.fewest:,} turns" if 0 < step.fewest < floor(0.99) else ""


def _answer(calibration: Calibration) -> str:
    kind, least = min(calibration.trusted.items(), key=lambda pair: (pair[1].sessions, pair[0] in calibration.ended))
    if cause := calibration.ended.get(kind):
        return (
            f"trust this machine up to {at_least(cause)}{least.sessions:,} sessions per process; "
            f"{cause}, not the harness, ended the calibration"
        )
    return f"trust this machine up to {least.sessions:,} sessions per process"


def is_coarse(calibration: Calibration) -> bool:
    """Whether a fuller calibration of the same machine says more."""
    return calibration.quick or MOST in calibration.ended.values()


def bytes_per_session(steps: Sequence[LoadStep]) -> float | None:
    """The slope of the peaks of memory over the sessions, by least squares; None of a single load."""
    points = [(step.sessions, step.rss_bytes) for step in steps if step.rss_bytes is not None]
    count = len(points)
    mean = sum(sessions for sessions, _ in points) / count if count else 0.0
    square = sum((sessions - mean) ** 2 for sessions, _ in points)
    return sum((sessions - mean) * rss for sessions, rss in points) / square if square else None


def judged(steps: Iterable[LoadStep]) -> list[LoadStep]:
    """The steps that say something of the harness."""
    return [step for step in steps if step.outcome not in UNJUDGED]
