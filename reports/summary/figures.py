"""The quantiles of samples, as every report shows them, and how a wait grows with the conversation.

The input of a turn's first response is all of the conversation so far; only measured good turns have a place there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from bench.measures import CATALOGUE
from reports.exactness import why
from reports.runs import RunFrames
from reports.samples import Sampled, session_sample
from reports.statistics.centre import theil_sen
from reports.statistics.counting import Floats
from reports.statistics.quantiles import Estimate, Sample, estimates, quantile
from reports.strata import NO_STRATUM, Stratum
from reports.summary.events import ALL, PS
from reports.turns import Flags, Pool, Turns, column_of

HEARD = "voice_to_voice"
"""What callers hear."""


@dataclass(frozen=True)
class Figures:
    """A measure of a target and step. Quantiles are of `n` values, `failed` ones among them as +inf if it is a wait.

    `lost`: those of the failed that were wanted and never begun. `reached`: the share of the `wanted` that has a value,
    NaN of nothing.
    """

    measure: str
    unit: str
    target: str
    stratum: Stratum
    """of which turns it is; without an origin where the measure does not tell origins apart"""
    label: str
    """the target, with what tells this stratum from others of the run"""
    step: str
    n: int
    failed: int
    lost: int
    censored: int
    wanted: int
    reached: float
    quantiles: tuple[Estimate, ...]
    successes: tuple[float, ...]
    """the same quantiles of good turns alone"""
    low: float
    high: float
    """smallest and largest good value"""
    inexact: str = ""
    """why it is not to be used; empty where it may"""

    def at(self, p: float) -> Estimate:
        return self.quantiles[PS.index(p)]


def figures(sample: Sample, measure: str, target: str, step: str = ALL, pool: Pool | None = None) -> Figures:
    """The quantiles of one sample; `pool` says which of the target's turns it is of."""
    good = sample.good
    low, high = (float(good[0]), float(good[-1])) if good.size else (np.nan, np.nan)
    stratum, label = (pool.stratum, pool.label) if pool else (NO_STRATUM, target)
    return Figures(
        measure=measure,
        unit=CATALOGUE[measure].unit,
        target=target,
        stratum=stratum,
        label=label,
        step=step,
        n=sample.n,
        failed=sample.failed,
        lost=sample.lost,
        censored=sample.censored,
        wanted=sample.wanted,
        reached=sample.reached,
        quantiles=tuple(estimates(sample, PS)),
        successes=tuple(quantile(good, p) for p in PS),
        low=low,
        high=high,
    )


def turn_figures(one: Sampled) -> Iterable[Figures]:
    """A measure of turns: of each of its pools, and of each step in there that has it."""
    for pool in one.pools():
        label, name = one.turns.targets[pool.target], one.measure.name
        yield figures(one.of(pool.target, pool.steps), name, label, pool=pool)
        for step, of_step in one.by_step(pool.target, pool.steps):
            yield figures(of_step, name, label, one.turns.steps[step], pool)


def session_figures(sessions: pd.DataFrame, targets: Sequence[str], names: Sequence[str]) -> Iterable[Figures]:
    """Measures of sessions, each of the targets that have it."""
    columns = list(dict.fromkeys([*map(column_of, names), "outcome_class", "turns_begun"]))
    measured, target = sessions[columns], sessions["target"]
    of_target = {label: measured[(target == label).to_numpy()] for label in targets}
    for name in names:
        for label, rows in of_target.items():
            sample = session_sample(rows, name)
            if sample is not None:
                yield figures(sample, name, label)


def with_mark(run: RunFrames, figures: Figures) -> Figures:
    """The same, with why they are not to be used where they are not exact in this run."""
    inexact = why(run.inexact, figures.target, figures.measure)
    return replace(figures, inexact=inexact) if inexact else figures


def main_measures(run: RunFrames, turns: Turns) -> dict[Stratum, str]:
    """For each stratum ttfa where there is audio, else ttft; voice_to_voice where nothing but what is heard is told.

    Where nothing succeeded, what the scripts asked for.
    """
    asked = {script.get("output") for script in run.document.get("scripts") or []}
    heard_alone = all(target.get("duplex") for target in run.document.get("targets") or [{}])
    unknown = HEARD if heard_alone else "ttft" if asked == {"text"} else "ttfa"
    return {
        stratum: next((name for name in ("ttfa", "ttft", HEARD) if _any(turns, name, place)), unknown)
        for place, stratum in enumerate(turns.strata)
    }


def _any(turns: Turns, measure: str, place: int) -> bool:
    """Whether any good turn of this stratum has the measure."""
    there = turns.good & ~np.isnan(turns.value(measure))
    return bool((turns.stratum[turns.step[there]] == place).any())


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
