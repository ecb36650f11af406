"""How many sessions and turns a quantile takes before it is told: live views and reports hold to the same; pure.

A quantile is published by the design of a run and not by its outcome, for one that came out short would else be the one
that is told. It takes six sessions as Kish counts them (2^−6 < 2.5 %), and a tail as many as bound it where turns of
one are half alike, n / (1 + (Σn_g²/n − 1)/2) ≥ 3.6 / (1−p), and 5 turns beyond.
"""

from __future__ import annotations

import math

BEYOND = 5
"""Turns that must lie beyond a quantile that is not the median before it is published: n(1−p) ≥ 5."""
ALIKE, INDEPENDENT = 0.5, 3.6
"""The correlation inside a session that is taken for a tail to be published, and the independent turns beyond it that
bound a quantile: p^n ≤ 2.5 % at n(1−p) ≈ 3.7."""
LEAST_SESSIONS = 6
"""Sessions, as Kish counts them, below which the largest of their medians bounds none: 2^−6 < 2.5 %."""


def sessions_to_publish(p: float, turns: float, sessions: float, worth: float) -> int:
    """Sessions that a quantile takes, of a design with so many turns and sessions, `worth` so many as Kish counts."""
    times = LEAST_SESSIONS / worth
    if p != 0.5:
        tail, independent = min(p, 1 - p), turns / (1 + ALIKE * (turns / worth - 1))
        times = max(times, INDEPENDENT / tail / independent, BEYOND / tail / turns)
    return math.ceil(sessions * times - 1e-9)
