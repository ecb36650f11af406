"""Where the spread of a run comes from: between sessions or between the turns of one; pure.

One-way variance components by the analysis of variance, for sessions of n_g values with means x_g, N of them in all:

    v_t = ΣΣ(x − x_g)² / (N − G)     v_s = (Σ n_g (x_g − x̄)² / (G − 1) − v_t) / n₀     n₀ = (N − Σ n_g² / N) / (G − 1)

A negative v_s is 0. The components of a quantile are those of its influence values p − 1{x ≤ q}; the density that
belongs to them falls out of every ratio. A constant changes no variance, so 1{x > q} serves as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from reports.statistics.counting import packed
from reports.statistics.quantiles import Floats, Integers, Sample, estimates, quantile

DEFF_OF = (0.5, 0.95)


@dataclass(frozen=True)
class Components:
    """Variance between sessions, and between the turns of one; NaN where nothing can be said."""

    of_sessions: float
    of_turns: float

    @property
    def icc(self) -> float:
        """The share of the variance that lies between sessions."""
        whole = self.of_sessions + self.of_turns
        return self.of_sessions / whole if whole > 0 else math.nan


@dataclass(frozen=True)
class Spread:
    """What the size of a comparison hangs on; each report prints its own. NaN where there is too little to tell.

    `sigma`: sd of the log of successful waits; `icc`: the share of its square that lies between sessions; `deff50`,
    `deff95`: how much wider than independent turns the sessions make p50 and p95; `worth`: sessions by Kish.
    """

    sigma: float
    icc: float
    deff50: float
    deff95: float
    worth: float


def components(values: Floats, clusters: Integers) -> Components:
    """Of values, with the code of the session beside each."""
    code, groups = packed(clusters)
    many, n = np.bincount(code), values.size
    if groups < 2 or n <= groups:
        return Components(math.nan, math.nan)
    mean = np.bincount(code, values) / many
    of_turns = float(((values - mean[code]) ** 2).sum()) / (n - groups)
    between = float((many * (mean - values.mean()) ** 2).sum()) / (groups - 1)
    typical = (n - float((many.astype(np.float64) ** 2).sum()) / n) / (groups - 1)
    return Components(max(0.0, (between - of_turns) / typical), of_turns)


def components_at(sample: Sample, p: float) -> Components:
    """Of the p-quantile; endless values count as what they are, above it."""
    if not sample.n:
        return Components(math.nan, math.nan)
    return components((sample.values > quantile(sample.values, p)).astype(np.float64), sample.sessions)


def spread_of(sample: Sample) -> Spread:
    """The figures for planning that a run has to offer. Zeros and failures have no log, and are left out of it."""
    there = np.isfinite(sample.values) & (sample.values > 0)
    logs = np.log(sample.values[there])
    p50, p95 = estimates(sample, DEFF_OF)
    sigma = float(logs.std(ddof=1)) if logs.size > 1 else math.nan
    return Spread(sigma, components(logs, sample.sessions[there]).icc, p50.deff, p95.deff, p50.worth)


@dataclass(frozen=True)
class Price:
    """What a session of k turns costs, in any unit: `session` + `turn` · k + `history` · k (k − 1) / 2.

    `history`: what each turn adds to every later one, because the conversation so far is billed again.
    """

    session: float
    turn: float
    history: float = 0.0

    def of(self, turns: int) -> float:
        return self.session + self.turn * turns + self.history * turns * (turns - 1) / 2


def cheapest_turns(parts: Components, price: Price, most: int = 10) -> int | None:
    """Turns per session at which a figure costs least for its precision: (v_s + v_t / k) · price(k) is smallest.

    At most `most`; None where the components or the price are not known.
    """
    costs = [(parts.of_sessions + parts.of_turns / turns) * price.of(turns) for turns in range(1, most + 1)]
    if not all(math.isfinite(cost) and cost > 0 for cost in costs):
        return None
    return int(np.argmin(costs)) + 1
