"""The rows of the table of all clients."""

from __future__ import annotations

from tools.benchmarks.peers.figures import Cannot, Figures

Outcome = Figures | Cannot
HEADER = (
    "sessions",
    "client",
    "error p50",
    "p99",
    "p99.9 ms",
    "CPU µs/event",
    "events/s",
    "MB received",
    "ttfa reported",
    "ttfa true, ms",
    "simulator late",
    "other programs",
)
"""The columns of the table.

The error is arrival − send timestamp. The times to first audio are p50 · p99. The lateness of the
simulator is a p99 in ms. The use by other programs is a share of the client's core.
"""
LATE = "not used"


def cells(sessions: int, client: str, outcome: Outcome) -> tuple[str, ...]:
    """Return one row."""
    if isinstance(outcome, Cannot):
        return (str(sessions), client, reason(outcome), *[""] * (len(HEADER) - 3))
    late = f"{outcome.simulator_late_ms:.2f}"
    return (
        str(sessions),
        client,
        *map(milliseconds, outcome.error_ms),
        f"{outcome.cpu_us_per_event:.1f}",
        f"{outcome.events_per_s:,.0f}",
        f"{outcome.wire_bytes / 1e6:,.3f}",
        " · ".join(f"{value:.1f}" for value in outcome.reported_ttfa_ms),
        " · ".join(f"{value:.1f}" for value in outcome.true_ttfa_ms),
        late if outcome.usable else f"{late} ({LATE})",
        f"{outcome.others_share:.0%}",
    )


def reason(outcome: Cannot) -> str:
    late = f"; {LATE}: the simulator was late, p99 {outcome.simulator_late_ms:.2f} ms"
    return f"cannot: {outcome.why}{'' if outcome.usable else late}"


def milliseconds(value: float) -> str:
    """Format with three significant digits or fewer: 0.023, 1.45, 812."""
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:.0f}"
