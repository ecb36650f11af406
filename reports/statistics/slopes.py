"""How a value grows with another within a session, and how far the medians of two arms' slopes lie apart; pure.

The slope of a session is Theil's and Sen's: the median of the slopes between any two of its points, which a few
outliers do not move. An arm's figure is the median over its sessions, of which each has one value.

Slopes may be negative, so two arms differ by d = median_cand − median_base. A quantile keeps its rank under whatever
grows, so with any K > 0

    d = K · (log median(exp(s_cand / K)) − log median(exp(s_base / K)))

which is the difference of two quantiles as `differences` has it, with its intervals, tests of drift and verdicts.

After: Theil, "A rank-invariant method of linear and polynomial regression analysis" (1950); Sen, "Estimates of the
regression coefficient based on Kendall's tau" (1968).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from reports.statistics.counting import distinct
from reports.statistics.differences import Difference, Margin
from reports.statistics.ordered import waits_by_order
from reports.statistics.quantiles import Floats, Integers, Sample, quantile

POINTS = 4
"""A session of fewer has no slope."""
CELLS = 200_000
"""So many pairs of points are looked at together."""
K = 1_000.0
"""Of slopes in ms per 1,000 tokens; far more than they differ by."""


def theil_sen(x: Floats, y: Floats, sessions: Integers, span: float) -> Sample:
    """The slope of each session whose points span at least so much of x; ascending, with the session of each."""
    order = np.argsort(sessions, kind="stable")
    x, y, sessions = x[order], y[order], sessions[order]
    names, first, sizes = np.unique(sessions, return_index=True, return_counts=True)
    slopes = np.full(names.size, np.nan)
    for size in distinct(sizes[sizes >= POINTS]).tolist():
        alike = np.flatnonzero(sizes == size)
        one, other = np.triu_indices(size, 1)
        for begin in range(0, alike.size, step := max(1, CELLS // one.size)):
            part = alike[begin : begin + step]
            places = first[part][:, None] + np.arange(size)
            wide = np.ptp(x[places], axis=1) >= span
            part, places = part[wide], places[wide]
            with np.errstate(divide="ignore", invalid="ignore"):
                between = (y[places[:, other]] - y[places[:, one]]) / (x[places[:, other]] - x[places[:, one]])
            slopes[part] = np.nanmedian(np.where(np.isfinite(between), between, np.nan), axis=1)
    known = np.flatnonzero(~np.isnan(slopes))
    known = known[np.argsort(slopes[known], kind="stable")]
    return Sample(slopes[known], names[known])


def slope_differences(
    base: Sample, cand: Sample, asked: Sequence[tuple[float, Margin]], **how: Any
) -> list[Difference]:
    """Quantiles of slopes of the candidate against the baseline's, on the scale of slopes; margins count by `plus`.

    `how`: as of `waits_by_order`. Slopes do not spread from run to run by a share of themselves, so none is assumed.
    """
    grown = [replace(arm, values=np.exp(np.clip(arm.values / K, -500, 500))) for arm in (base, cand)]
    by_ratio = [(p, Margin(ratio=math.expm1(margin.plus / K))) for p, margin in asked]
    differences = waits_by_order(grown[0], grown[1], by_ratio, **how)
    return [
        _in_units(difference, quantile(base.values, p), quantile(cand.values, p))
        for difference, (p, _) in zip(differences, asked, strict=True)
    ]


def _in_units(difference: Difference, baseline: float, candidate: float) -> Difference:
    scaled = {
        name: K * getattr(difference, name)
        for name in ("d", "low", "high", "se", "worse_low", "worse_high", "better_low", "better_high")
    }
    return replace(difference, scale="slope", baseline=baseline, candidate=candidate, **scaled)
