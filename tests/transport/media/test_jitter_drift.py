"""Long calls between clocks with different rates, in a file of their own because of their CPU
time.
"""

from __future__ import annotations

import pytest

from bench.base.units import NS_PER_MS
from tests.examples import trials
from tests.transport.media.jitter_errors import EARLY_NS, SETTLED, errors, uniform
from tests.transport.media.path import Path

HOURS = [(seed, drift_ppm, 60) for seed in range(1, 16) for drift_ppm in (50, -50)]


@pytest.mark.parametrize(
    ("seed", "drift_ppm", "minutes"), [(1, 200, 10), (1, -200, 10), *HOURS[: trials(0, 30)]]
)
def test_drift_adds_no_error(seed: int, drift_ppm: int, minutes: int) -> None:
    """At the end, the clocks differ by 120 and 180 ms."""
    sent = minutes * 3_000
    path = Path(uniform, loss=0.01, drift_ppm=drift_ppm, seed=seed)
    frames, buffer, receiver = path.play(sent)
    measured = errors(path, frames)

    assert (buffer.counts.late, buffer.counts.resyncs) == (0, 0)
    assert buffer.counts.lost == receiver.lost
    assert all(-EARLY_NS <= error <= 2.5 * NS_PER_MS for error, _ in measured[SETTLED:])
    assert sent - len(frames) < 20
