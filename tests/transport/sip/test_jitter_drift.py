"""An hour of a call between two clocks with different rates. It has a file of its own because of its CPU time."""

from __future__ import annotations

import pytest

from bench.units import NS_PER_MS
from tests.transport.sip.path import Path
from tests.transport.sip.test_jitter_accuracy import EARLY_NS, SETTLED, errors, uniform


@pytest.mark.parametrize("drift_ppm", [200, -200])
def test_an_hour_of_drift_adds_no_error(drift_ppm: int) -> None:
    """After an hour, the clocks differ by 720 ms."""
    frames_per_hour = 180_000
    path = Path(uniform, loss=0.01, drift_ppm=drift_ppm)
    frames, buffer, receiver = path.play(frames_per_hour)
    measured = errors(path, frames)

    assert (buffer.counts.late, buffer.counts.resyncs) == (0, 0)
    assert buffer.counts.lost == receiver.counts.lost
    assert all(-EARLY_NS <= error <= 2.5 * NS_PER_MS for error, _ in measured[SETTLED:])
    assert frames_per_hour - len(frames) < 20
