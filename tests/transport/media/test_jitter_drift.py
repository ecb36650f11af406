"""Twenty minutes of a call between clocks with different rates, in a file of their own because
of their CPU time.
"""

from __future__ import annotations

import pytest

from bench.base.units import NS_PER_MS
from tests.transport.media.jitter_errors import EARLY_NS, SETTLED, errors, uniform
from tests.transport.media.path import Path


@pytest.mark.parametrize("drift_ppm", [200, -200])
def test_ten_minutes_of_drift_add_no_error(drift_ppm: int) -> None:
    """After 10 minutes, the clocks differ by 120 ms."""
    sent = 30_000
    path = Path(uniform, loss=0.01, drift_ppm=drift_ppm)
    frames, buffer, receiver = path.play(sent)
    measured = errors(path, frames)

    assert (buffer.counts.late, buffer.counts.resyncs) == (0, 0)
    assert buffer.counts.lost == receiver.lost
    assert all(-EARLY_NS <= error <= 2.5 * NS_PER_MS for error, _ in measured[SETTLED:])
    assert sent - len(frames) < 20
