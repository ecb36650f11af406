"""Reads service level objectives as users write them: `ttfa p(95)<800`, `failed<1%`; pure.

`p(95)<800` is the statement that at most 5 % of turns take 800 ms or longer, or fail. So every objective is a share of
turns (of sessions, for measures of sessions) that must not be exceeded, and shares have intervals by session.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bench.errors import UsageError
from reports.question import RATES
from reports.thresholds.gated import quoted
from reports.thresholds.grammar import SIGNS, Threshold, parse

_PARTS = re.compile(r"\s*(\w+(?!\w)(?:\{[^{}]*\})?)\s*(.+)", re.ASCII | re.DOTALL)
EXAMPLES = '"ttfa p(95)<800" or "failed<1%"'
SHORT = {"failed": "failures"}
"""How rates may be called beside their own names."""


@dataclass(frozen=True)
class Slo:
    """An objective, as it was written. `allowed`: the share of turns that may miss it, above 0 and below 1."""

    written: str
    threshold: Threshold
    allowed: float


def slo_of(text: str) -> Slo:
    """Read one objective. Raises UsageError for what cannot be asked of one run of one target."""
    match = _PARTS.fullmatch(text)
    if match is None:
        raise UsageError(f"--slo {quoted(text)} is no objective: write {EXAMPLES}")
    measure, rest = SHORT.get(match[1], match[1]), match[2].strip()
    if measure.partition("{")[0] in RATES and rest.startswith(tuple(SIGNS)):
        rest = f"rate{rest}"
    try:
        threshold = parse(measure, rest)
    except UsageError as error:
        raise UsageError(f"--slo {quoted(text)}: {error}") from None
    return Slo(" ".join(text.split()), threshold, _allowed(threshold, text))


def _allowed(threshold: Threshold, text: str) -> float:
    if threshold.margin is not None:
        raise UsageError(f"--slo {quoted(text)} is relative, and there is no baseline here: write a limit, {EXAMPLES}")
    if threshold.target:
        raise UsageError(f"--slo {quoted(text)} names a target, but the search has only one: leave it out")
    if threshold.kind == "mean":
        raise UsageError(
            f"--slo {quoted(text)} is about a mean, which is no share of turns: write a quantile or a rate"
        )
    if threshold.p is None:
        assert threshold.limit is not None, "it is not relative"
        if not 0 < threshold.limit < 1:
            raise UsageError(f"--slo {quoted(text)}: no run can show that; the limit must lie between 0% and 100%")
        return threshold.limit if threshold.sign in ("<", "<=") else 1 - threshold.limit
    return threshold.p if threshold.sign in (">", ">=") else round(1 - threshold.p, 9)
