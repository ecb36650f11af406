"""Computes how many connections each arm of a run may start in a minute. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bench.target.target import Target


def per_minute_of(targets: Sequence[Target], connect_rate: float | None) -> list[float | None]:
    """How many connections each arm may start in a minute; None for no limit.

    Arms that call the same deployment share its rate, for they share its quota.
    """
    sharing = Counter(_deployment(target) for target in targets)
    rates = [target.connects_per_min if connect_rate is None else connect_rate for target in targets]
    return [rate / sharing[_deployment(target)] if rate else None for target, rate in zip(targets, rates, strict=True)]


def _deployment(target: Target) -> tuple[str, int, str | None]:
    return target.host, target.port, target.model
