"""A slow common drift of delays: a stationary Gaussian process with exponential autocorrelation (Ornstein-Uhlenbeck).

It is a pure function of the instant and the seed, and CLOCK_MONOTONIC is one clock for all processes of a host: two
simulators with the same seed drift together.

The process is summed from cosines of random phase whose frequencies follow its spectrum, which is Cauchy's with scale
1 / time constant. They are drawn one from each of equal shares of the spectrum, so each seed's own drift has about the
autocorrelation that the mean over all seeds has exactly. Source: M. Shinozuka, G. Deodatis, "Simulation of stochastic
processes by spectral representation", Applied Mechanics Reviews 44 (1991).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bench.units import NS_PER_S

WAVES = 256


@dataclass(frozen=True)
class DelayDrift:
    """`sd` of the logarithm of the delays; after `time_constant_s` its autocorrelation has fallen to 1/e."""

    sd: float
    time_constant_s: float
    seed: int

    def factor(self, at_ns: int) -> float:
        """What delays are multiplied by at an instant of CLOCK_MONOTONIC: its logarithm is the process."""
        rates, phases = self._waves
        waves = np.cos(rates * (at_ns / NS_PER_S) + phases)
        return float(np.exp(self.sd * np.sqrt(2 / WAVES) * waves.sum()))

    @cached_property
    def _waves(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Angular frequencies per second, and phases."""
        rng = np.random.default_rng(self.seed)
        shares = (np.arange(WAVES) + rng.random(WAVES)) / WAVES
        return np.tan(np.pi * (shares - 0.5)) / self.time_constant_s, rng.uniform(0, 2 * np.pi, WAVES)
