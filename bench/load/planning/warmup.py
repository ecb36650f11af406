"""Computes the warm-up: how much of a run's beginning is kept apart from its figures. Pure.

A fixed cut by the start of the session, the same in all arms and processes. In model runs of ten minutes with a slow
start, detectors of the steady state did no better, and cut the arms of a comparison differently.
"""

from __future__ import annotations

from collections.abc import Iterable

from bench.plan.script import Script

LONG_RUN_S = 600.0
"""From such a length on a run has a warm-up by default."""
LEAST_S = 60.0
MOST_OF_RUN = 0.5
"""A default never takes more of the run than this share."""


def warmup_s(given_s: float | None, run_time_s: float | None, ramp_up_s: float, session_s: float) -> float:
    """Seconds that are cut: what was asked for, else of a long run the ramp-up and one session, a minute at least.

    `run_time_s`: how long the run will last, None where that is not known; then nothing is cut by default.
    """
    if given_s is not None:
        return given_s
    if run_time_s is None or run_time_s < LONG_RUN_S:
        return 0.0
    return min(max(LEAST_S, ramp_up_s + session_s), MOST_OF_RUN * run_time_s)


def ramp_up_s(users: int, spawn_rate: float, per_minute: Iterable[float | None]) -> float:
    """Until all users are there and each has opened a session. `per_minute`: the arms' connections; None for any."""
    paced = max((users * 60 / rate for rate in per_minute if rate), default=0.0)
    return max(users / spawn_rate, paced)


def session_s(scripts: Iterable[Script]) -> float:
    """How long the longest session takes without replies, which are not known before: the caller's speech and pauses.

    Pauses that are drawn count by their mean; sounds during silence with the wait for a reply to them.
    """
    return max((script.lasts_s for script in scripts), default=0.0)
