"""Error rates of `latency_slope` (docs/decisions/0049), on simulated latencies that grow with the
conversation.

The simulated latencies are log-normal. One third of their variance is between sessions, a few turns
are slow, and the slope differs from session to session. The interval of a target's median must
cover the truth in 95 % of the runs, and each bound of a difference may be wrong in 5 %.
"""

from __future__ import annotations

import math

import numpy as np

from reports.statistics.arms import TwoSamples
from reports.statistics.differences import Difference, Inference, Margin
from reports.statistics.quantiles import Sample, quantiles
from reports.statistics.typical_change import slope_differences, theil_sen

SEEDS = (20261101, 20261102, 20261103)
RUNS, DRAWS = 500, 1000
SESSIONS, TURNS = (20, 50, 200), 12
SIGMA, ICC, SLOW = 0.35, 0.3, 0.03
SLOPE, BETWEEN = 20.0, 15.0
"""The true slope and its standard deviation between sessions, in ms per 1,000 tokens."""
GROWN_K = 0.7
"""The mean number of tokens that a turn adds, in thousands. The numbers are uniform within ±50 %
of the mean."""
MARGIN = Margin(plus=10.0)
MIN_HELD, MAX_WRONG = 0.93, 0.07


def main() -> bool:
    print(f"slopes: {RUNS} runs per seed, {TURNS} turns per session, truth {SLOPE:g} ms/1k tokens")
    print(
        "  sessions   interval covers  regressed: unchanged   on the margin   passes on the margin "
        "  finds +30 ms"
    )
    met = True
    for sessions in SESSIONS:
        shares = np.mean([of_seed(seed, sessions) for seed in SEEDS], axis=0)
        covered, alike, on, passed, detected = shares
        is_met = covered >= MIN_HELD and max(alike, on, passed) <= MAX_WRONG
        met &= bool(is_met)
        cells = f"{covered:>16.1%} {alike:>21.1%} {on:>15.1%} {passed:>22.1%} {detected:>14.1%}"
        print(f"  {sessions:>8} {cells}{'' if is_met else '  goal NOT met'}", flush=True)
    return met


def of_seed(seed: int, sessions: int) -> tuple[float, ...]:
    """Return five shares of the runs of one seed.

    In these runs: the interval covers the truth; an equal candidate is called worse; a candidate on
    the margin is called worse; a candidate on the margin passes; a slope of +30 ms is detected.
    """
    rng, right = np.random.default_rng([seed, sessions]), np.zeros(5)
    for _ in range(RUNS):
        base, alike, on, steep = (
            target_sample(rng, sessions, SLOPE + more) for more in (0.0, 0.0, MARGIN.plus, 30.0)
        )
        (middle,) = quantiles(base, [0.5])
        against = [
            compared(base, alike, Margin(), rng),
            *(compared(base, cand, MARGIN, rng) for cand in (on, steep)),
        ]
        right += [
            middle.low <= SLOPE <= middle.high,
            against[0].worse.low > 0,
            against[1].worse.low > 0,
            against[1].worse.high < 0,
            against[2].worse.low > 0,
        ]
    return tuple(right / RUNS)


def target_sample(rng: np.random.Generator, sessions: int, slope: float) -> Sample:
    """Return the slopes of the sessions of one target."""
    shape = sessions, TURNS
    at_k = np.cumsum(GROWN_K * rng.uniform(0.5, 1.5, shape), axis=1)
    level = rng.normal(0, 1, (sessions, 1))
    waits = 600 * np.exp(
        SIGMA * (math.sqrt(ICC) * level + math.sqrt(1 - ICC) * rng.normal(0, 1, shape))
    )
    waits += (rng.random(shape) < SLOW) * rng.uniform(1_000, 5_000, shape)
    waits += at_k * rng.normal(slope, BETWEEN, (sessions, 1))
    return theil_sen(at_k.ravel(), waits.ravel(), np.repeat(np.arange(sessions), TURNS), 1.0)


def compared(base: Sample, cand: Sample, margin: Margin, rng: np.random.Generator) -> Difference:
    targets = TwoSamples(
        base, cand, (int(base.sessions.max()) + 1, int(cand.sessions.max()) + 1), paired=False
    )
    (difference,) = slope_differences(
        targets, [(0.5, margin)], "lower", Inference(resamples=DRAWS, seed=rng)
    )
    return difference


if __name__ == "__main__":
    print("all goals met" if main() else "a goal was NOT met")
