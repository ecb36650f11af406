"""The drift is a stationary Gaussian process with exponential autocorrelation, and a function of instant and seed."""

from __future__ import annotations

import subprocess
import sys

from bench.simulator.delay import DelayDrift
from tests.simulator_process import ROOT

LOOK = (
    "from bench.simulator.delay import DelayDrift; d = DelayDrift(0.3, 20.0, 7);"
    " print(*(d.factor(s * 10**9).hex() for s in {}))"
)


def test_it_is_the_same_function_in_another_process() -> None:
    seconds = [0, 1, 12_345, 10_000_000]
    drift = DelayDrift(0.3, 20.0, 7)

    other = subprocess.run(
        [sys.executable, "-c", LOOK.format(seconds)], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert other.stdout.split() == [drift.factor(second * 10**9).hex() for second in seconds]
