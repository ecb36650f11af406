"""Writes a calibration for a terminal: a line of each step as it comes, and the table of all; at most 100 columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.calibrate.conclude import few_turns
from bench.load_search import SHOWN, row
from bench.run.calibration import LoadStep, SessionKind, Spread
from reports.numbers import NONE, count, plural, three
from reports.statistics.quantiles import floor

STEP = (("sessions", 10), ("events/s", 10), ("turns", 8), ("error p50", 11), ("p99", 8), ("p99.9", 8), ("max", 8),
        ("recv lag", 10), ("stamp", 8), ("send lag", 10), ("CPU", 6))  # fmt: skip
"""Heads of a step's line; the lags and the stamps' errors are p99. All times in ms."""
MEASURE = (("sessions", 10), ("n", 9), ("p50", 10), ("p99", 10), ("p99.9", 10), ("max", 10))
NAME = 30


def heads(kind: SessionKind) -> list[str]:
    """The heads of the columns above the lines of a kind's steps."""
    return [f"{kind} sessions; times in ms, lags and stamp errors p99", row((head for head, _ in STEP), STEP)]


def step_lines(step: LoadStep) -> list[str]:
    """The lines of one load: its figures, and why it is not good."""
    worst = max(step.errors.values(), key=lambda spread: spread.p99, default=None)
    own = [
        three(step.harness[name].p99) if name in step.harness else NONE
        for name in ("receive_lag", "stamp_error", "send_lag")
    ]
    cpu = NONE if step.cpu is None else f"{step.cpu:.0%}"
    cells = [count(step.sessions), count(step.events_per_s), count(step.turns), *_quantiles(worst), *own, cpu]
    return [SHOWN[step.outcome][0] + row(cells, STEP)[1:], *(f"    {note}" for note in notes(step))]


def notes(step: LoadStep) -> list[str]:
    """The notes on a step: why it is not good, and what its figures lack."""
    left_out = f"{plural(step.unjoined, 'turn')} could not be compared" if step.unjoined else ""
    return [note for note in (step.why, few_turns(step), left_out) if note]


def error_lines(steps: Sequence[LoadStep]) -> Iterable[str]:
    """How wrong each measure was at each load, and the instants that it is made of."""
    yield f"{'|figure − truth|, ms':<{NAME}}" + row((head for head, _ in MEASURE), MEASURE)
    for kind in dict.fromkeys(step.kind for step in steps):
        of_kind = sorted((step for step in steps if step.kind == kind), key=lambda step: step.sessions)
        for measure in dict.fromkeys(name for step in of_kind for name in step.errors):
            for place, step in enumerate(step for step in of_kind if measure in step.errors):
                name = f"{kind}: {measure}" if not place else ""
                spread = step.errors[measure]
                yield f"{name:<{NAME}}" + row([count(step.sessions), count(spread.n), *_quantiles(spread)], MEASURE)


def _quantiles(spread: Spread | None) -> list[str]:
    return [NONE] * 4 if spread is None else quantiles(spread)


def quantiles(spread: Spread) -> list[str]:
    """p50, p99, p99.9 and the largest; p99.9 of as many values as carry it."""
    p999 = spread.p999 if spread.n >= floor(0.999) else None
    return [three(value) for value in (spread.p50, spread.p99, p999, spread.high)]
