"""Random delays, from distributions that a profile gives in milliseconds. Each distribution has a
class and keys.

    450                                  constant
    {p50: 450, p95: 900}                 log-normal, by its median and 95th percentile
    {p50: 450, p95: 900, p99: 1500}      the same up to p95, with another tail beyond it
    {mean: 500, shape: 4}                gamma, by its mean and shape
    {quantiles: [300, 420, 450, 2600]}   measured values at equal shares, interpolated linearly
    {mixture: [{share: 0.98, p50: 450, p95: 900}, {share: 0.02, p50: 4000, p95: 6000}]}

`DelayDrift` multiplies the delays of responses by a slowly varying factor.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.files.validation import (
    Converted,
    Field,
    Integer,
    InvalidCombinationError,
    ListOf,
    Number,
    OneKeyOf,
    OrStruct,
    StructOf,
    Validator,
    field_key,
)

NORMAL_P95 = 1.6448536269514722  # 95th percentile of the standard normal distribution
NORMAL_P99 = 2.3263478740408408
MAX_MS = 600_000


class Delay(ABC):
    """A distribution of delays."""

    @abstractmethod
    def draw_ms(self, rng: np.random.Generator) -> float:
        """Return one random delay, in ms."""

    def draw_ns(self, rng: np.random.Generator) -> int:
        """Return one random delay, in ns."""
        return int(self.draw_ms(rng) * NS_PER_MS)

    @abstractmethod
    def scaled(self, factor: float) -> Delay:
        """Return a delay whose quantiles are those of this delay, multiplied by `factor`."""

    def median_ms(self) -> float:
        """Return the median, in ms. It is estimated from random delays, with a standard error of
        about 1 %.
        """
        # A fixed seed: the same profile has the same median in each process.
        rng = np.random.default_rng(0)
        return float(np.median([self.draw_ms(rng) for _ in range(MEDIAN_DRAWS)]))

    def with_median(self, p50_ms: float) -> Delay:
        """Return the delay with another median. The ratios of the quantiles stay the same."""
        return self.scaled(p50_ms / self.median_ms())


MEDIAN_DRAWS = 10_001
MILLISECONDS = Number(0.001, MAX_MS)


@dataclass(frozen=True)
class LogNormal(Delay):
    """A log-normal delay, by its median and 95th percentile. If p95 equals p50, the delay is
    constant.

    With p99, the delay is log-normal in two pieces: the logarithm of its quantile is a linear
    function of the quantile of the standard normal distribution, with one slope up to p95 and
    another one beyond. So the three quantiles are exact, each tail may be lighter or heavier than a
    log-normal's, and all moments are finite. Without p99 the slope is the same everywhere.
    """

    p50_ms: float
    p95_ms: float
    p99_ms: float | None = None

    def draw_ms(self, rng: np.random.Generator) -> float:
        normal = rng.standard_normal()
        sigma = math.log(self.p95_ms / self.p50_ms) / NORMAL_P95
        # Both pieces use the same normal number, so a profile with p99 draws what one without p99
        # draws.
        if self.p99_ms is None or normal <= NORMAL_P95:
            return self.p50_ms * math.exp(sigma * normal)
        tail_sigma = math.log(self.p99_ms / self.p95_ms) / (NORMAL_P99 - NORMAL_P95)
        return self.p95_ms * math.exp(tail_sigma * (normal - NORMAL_P95))

    def scaled(self, factor: float) -> LogNormal:
        return LogNormal(
            self.p50_ms * factor,
            self.p95_ms * factor,
            None if self.p99_ms is None else self.p99_ms * factor,
        )

    def median_ms(self) -> float:
        return self.p50_ms


@dataclass(frozen=True)
class Gamma(Delay):
    """A gamma-distributed delay.

    With shape 1, the distribution is exponential. With a large shape, it is nearly normal.
    """

    mean_ms: float
    shape: float

    def draw_ms(self, rng: np.random.Generator) -> float:
        return float(rng.gamma(self.shape, self.mean_ms / self.shape))

    def scaled(self, factor: float) -> Gamma:
        return Gamma(self.mean_ms * factor, self.shape)


@dataclass(frozen=True)
class Empirical(Delay):
    """A delay given by its quantiles at equal shares, from minimum to maximum, with linear
    interpolation.
    """

    quantiles_ms: tuple[float, ...]

    def draw_ms(self, rng: np.random.Generator) -> float:
        position, fraction = divmod(rng.random() * (len(self.quantiles_ms) - 1), 1.0)
        below = self.quantiles_ms[int(position)]
        above = self.quantiles_ms[int(position) + 1]
        return below + fraction * (above - below)

    def scaled(self, factor: float) -> Empirical:
        return Empirical(tuple(quantile_ms * factor for quantile_ms in self.quantiles_ms))


@dataclass(frozen=True)
class Mixture(Delay):
    """A mixture of delays. Each is drawn with the probability `share`. The shares are normalized
    to a sum of 1.
    """

    parts: tuple[tuple[float, Delay], ...]

    def draw_ms(self, rng: np.random.Generator) -> float:
        # One number selects the part, and further ones are drawn only by this part.
        remaining = rng.random() * sum(share for share, _ in self.parts)
        for share, delay in self.parts[:-1]:
            remaining -= share
            if remaining < 0:
                return delay.draw_ms(rng)
        return self.parts[-1][1].draw_ms(rng)

    def scaled(self, factor: float) -> Mixture:
        return Mixture(tuple((share, delay.scaled(factor)) for share, delay in self.parts))


def _log_normal(p50: float, p95: float, p99: float | None = None) -> LogNormal:
    if p95 < p50:
        raise InvalidCombinationError("p95", f"must not be below p50 ({p50:g})")
    if p99 is not None and p99 < p95:
        raise InvalidCombinationError("p99", f"must not be below p95 ({p95:g})")
    return LogNormal(p50, p95, p99)


def _empirical(quantiles: tuple[float, ...]) -> Empirical:
    if len(quantiles) < 2 or list(quantiles) != sorted(quantiles):
        raise InvalidCombinationError(
            "quantiles", "must be two values or more, none less than the one before it"
        )
    return Empirical(quantiles)


def _mixture(mixture: tuple[tuple[float, Delay], ...]) -> Mixture:
    if not sum(share for share, _ in mixture):
        raise InvalidCombinationError("mixture", "must have a part with a share above 0")
    return Mixture(mixture)


def _table(build: Callable[..., Any], **keys: tuple[Validator[Any], str]) -> StructOf[Any]:
    return StructOf(
        {key: Field(shape, note, required=True) for key, (shape, note) in keys.items()}, build
    )


SIMPLE: dict[str, StructOf[Delay]] = {
    "p50": StructOf(
        {
            "p50": Field(
                MILLISECONDS, "Milliseconds; half of the delays are shorter.", required=True
            ),
            "p95": Field(MILLISECONDS, "Milliseconds; one in twenty is longer.", required=True),
            "p99": Field(
                MILLISECONDS, "Milliseconds; one in a hundred is longer. Without it: log-normal."
            ),
        },
        _log_normal,
    ),
    "mean": _table(
        lambda mean, shape: Gamma(mean, shape),
        mean=(MILLISECONDS, "Milliseconds."),
        shape=(Number(0.01, 10_000), "Below 1: more variable than an exponential distribution."),
    ),
    "quantiles": _table(
        _empirical,
        quantiles=(
            ListOf(MILLISECONDS),
            "Milliseconds: quantiles at equal shares, in ascending order.",
        ),
    ),
}
"""The validators of all distributions except mixtures, by the key that identifies the
distribution."""


def _shared(table: StructOf[Delay]) -> StructOf[tuple[float, Delay]]:
    """Return a validator of a distribution that is a part of a mixture. It has the additional
    key `share`.
    """
    share = {"share": Field(Number(0, 1), "Share of the cases.", required=True)}
    return StructOf(share | dict(table.fields), lambda share, **keys: (share, table.build(**keys)))


PARTS = ListOf(OneKeyOf({key: _shared(table) for key, table in SIMPLE.items()}))
DELAY: Validator[Delay] = OrStruct(
    Converted(MILLISECONDS, lambda value, constant_ms: LogNormal(constant_ms, constant_ms)),
    OneKeyOf(SIMPLE | {"mixture": _table(_mixture, mixture=(PARTS, "Its parts."))}),
)
"""The validator of a delay in a profile."""


WAVES = 256


@dataclass(frozen=True)
class DelayDrift:
    """A slow drift of delays: a stationary Gaussian process with exponential autocorrelation
    (Ornstein-Uhlenbeck).

    `sd` is the standard deviation of the logarithm of the factor. After `time_constant_s` the
    autocorrelation is 1/e. The factor is a pure function of the instant and the seed. All processes
    of a host share the clock CLOCK_MONOTONIC, so two simulators with the same seed drift together.

    The process is a sum of cosines with random phases. Their frequencies follow the spectrum of the
    process, a Cauchy distribution with the scale 1 / time constant. The spectrum is divided into
    equal shares, and one frequency is drawn from each share. So the autocorrelation of each seed is
    approximately exponential, and the mean over all seeds is exactly exponential. Source: M.
    Shinozuka, G. Deodatis, "Simulation of stochastic processes by spectral representation", Applied
    Mechanics Reviews 44 (1991).
    """

    sd: float = field_key(Number(0, 2), "Standard deviation of the logarithm.", required=True)
    time_constant_s: float = field_key(
        Number(0.001, 1_000_000), "Time in which the autocorrelation falls to 1/e.", required=True
    )
    seed: int = field_key(Integer(0, 1 << 32), "Seed of the random generator.", required=True)

    def factor(self, at_ns: int) -> float:
        """Return the factor on delays at an instant of CLOCK_MONOTONIC. The logarithm of the
        factor is the process.
        """
        rates, phases = self._waves
        waves = np.cos(rates * (at_ns / NS_PER_S) + phases)
        # A cosine with a random phase has the variance 1/2, so the sum has the variance 1.
        return float(np.exp(self.sd * np.sqrt(2 / WAVES) * waves.sum()))

    @cached_property
    def _waves(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The angular frequencies in radians per second, and the phases."""
        rng = np.random.default_rng(self.seed)
        shares = (np.arange(WAVES) + rng.random(WAVES)) / WAVES
        # The quantile function of the Cauchy distribution, at one random share of each interval.
        return np.tan(np.pi * (shares - 0.5)) / self.time_constant_s, rng.uniform(
            0, 2 * np.pi, WAVES
        )
