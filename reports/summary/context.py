"""How a wait grows with the conversation that the service answers from, by its tokens of input; pure.

The input of a turn's first response is all of the conversation so far. Only measured good turns have a place here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from reports.samples import Sampled
from reports.statistics.centre import theil_sen
from reports.statistics.counting import Floats
from reports.statistics.quantiles import Sample
from reports.strata import Stratum
from reports.summary.figures import Figures, figures
from reports.turns import Flags, Turns

SLOPES = {"latency_slope": False, "latency_slope_uncached": True}
"""Slopes by the tokens of input, and by those that were not cached."""
SPAN_K = 1.0
"""Thousands of tokens that a session must span: a slope of fewer would be drawn out beyond what was seen."""


def thousands_of_tokens(turns: Turns, *, uncached: bool = False) -> Floats:
    """The context of each turn in thousands of tokens; NaN where it is not known."""
    tokens = turns.column("context_tokens")
    return (tokens - turns.column("context_cached_tokens") if uncached else tokens) / 1000


def slope_sample(waits: Sampled, target: int, steps: Flags, name: str) -> Sample:
    """The slope of each session of a target, in ms per 1,000 tokens, by the good turns of these steps."""
    values, index = waits.part(target, steps)
    at_k = thousands_of_tokens(waits.turns, uncached=SLOPES[name])[index]
    known = np.isfinite(values) & ~np.isnan(at_k)
    return theil_sen(at_k[known], values[known], waits.turns.session[index[known]], SPAN_K)


def slopes(turns: Turns, samples: Mapping[str, Sampled], mains: Mapping[Stratum, str]) -> Iterable[Figures]:
    """Of each pool by its main measure; nothing of one without a session whose conversation grows enough."""
    if np.isnan(turns.column("context_tokens")).all():
        return
    for pool in turns.pools:
        for name in SLOPES:
            sample = slope_sample(samples[mains[pool.stratum]], pool.target, pool.steps, name)
            if sample.n:
                yield figures(sample, name, turns.targets[pool.target], pool=pool)
