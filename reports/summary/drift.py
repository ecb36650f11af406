"""Whether waits drifted while the run went on: the first half of its measured phase against the second; pure.

A turn belongs to the half that it began in. Sessions are resampled, each with its turns of both halves, so it does not
matter whether sessions are short or go on across the middle. Drift is suspected where the 99 % interval of the ratio
of medians excludes 1 and the medians lie more than 5 % apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from reports.records import Rounded
from reports.samples import Sampled, Samples
from reports.statistics.counting import distinct, packed
from reports.statistics.differences import Inference, Margin, quantile_differences
from reports.statistics.quantiles import Sample
from reports.statistics.resample import Arms, seed_of
from reports.strata import Wait
from reports.turns import Flags, Pool

P = 0.5
LEVEL = 0.005
"""One-sided: an interval of 99 %."""
APART = 0.05
FLOOR = 20
"""Sessions that each half needs before anything is said."""
DRAWS, DRAWS_LEAST, WEIGHTS = 2000, 400, 20_000_000
"""Resamples; of a run with so many sessions that they would be more weights than this, fewer."""


class Drift(Wait, frozen=True):
    """Median of the second half of the measured phase over that of the first, with its 99 % interval; null: open."""

    suspected: bool
    ratio: Rounded
    low: Rounded
    high: Rounded


class PoolDrift(Drift, frozen=True, kw_only=True):
    """The same, with the label that tells it from others of the run."""

    label: str


def drifts(run_id: str, samples: Samples) -> Iterable[PoolDrift]:
    """Of each target and stratum by its main measure; nothing of one whose halves hold too few sessions."""
    turns = samples.turns
    began_ns = turns.column("start_utc_ns")
    if not began_ns.size:
        return
    late = began_ns > (began_ns.min() + began_ns.max()) / 2
    rng = np.random.default_rng(seed_of(run_id))
    for pool in turns.pools:
        one = samples[samples.mains[pool.stratum]]
        if (ratio := _ratio(one, pool, late, rng)) is not None:
            value, low, high = ratio
            of = one.measure.name, *pool.stratum, turns.targets[pool.target]
            yield PoolDrift(*of, is_suspected(value, low, high), value, low, high, label=pool.label)


def is_suspected(ratio: float, low: float, high: float) -> bool:
    return (low > 1 or high < 1) and abs(ratio - 1) > APART


def _ratio(one: Sampled, pool: Pool, late: Flags, rng: np.random.Generator) -> tuple[float, float, float] | None:
    """The median of the second half over that of the first, and its interval; open ends are 0 and inf."""
    values, index = one.part(pool.target, pool.steps)
    codes, sessions = packed(one.turns.session[index])
    second = late[index]
    first, last = (Sample(values[half], codes[half]) for half in (~second, second))
    if min(distinct(half.sessions).size for half in (first, last)) < FLOOR:
        return None
    draws = max(DRAWS_LEAST, min(DRAWS, WEIGHTS // sessions))
    arms = Arms(first, last, (sessions, sessions), paired=True)
    (found,) = quantile_differences(arms, [(P, Margin())], "lower", Inference(LEVEL, draws=draws, seed=rng))
    if not math.isfinite(found.d):
        return None
    return math.exp(found.d), math.exp(found.low), math.exp(found.high)
