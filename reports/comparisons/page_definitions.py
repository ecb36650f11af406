"""The end of compare.html: what its words mean, and how its figures were computed."""

from __future__ import annotations

from reports.comparisons.comparison import Comparison, Design
from reports.comparisons.forest_rows import definition
from reports.numbers import NBSP, count, listed, plural, three

VERDICTS = {
    "regressed": "The whole interval lies beyond the margin, on the bad side.",
    "not regressed": "The interval ends before the margin: it did not get worse by more than is accepted.",
    "equivalent": "Both ends of the interval lie within the margin, on the bad side and on the good one.",
    "improved": "The whole interval lies beyond the margin, on the good side.",
    "inconclusive": "None of these: the interval contains the margin, or there are too few turns. That is no pass.",
}
WORDS = {
    "margin": "How much worse is still accepted. It is agreed before the run: a share of the baseline’s figure, "
    "for rates percentage points.",
    "provisional": "The spread from run to run was assumed, not known, because too few runs of the baseline are "
    "stored; or an arm drifts by itself, and the run is too short to know how far.",
    "Holm": "Several gated figures are several chances of a false alarm. For “regressed” the surest one must hold at "
    "the level divided by their number, the next at the level divided by one less, and so on.",
    "failed turns": "Counted as endlessly slow in every percentile of a wait. "
    "Turns cut by the end of the run are left out, and counted.",
}
RESAMPLED: dict[Design, str] = {
    "pairs": "pairs of sessions that began together, one of each arm, are resampled together",
    "sessions": "whole sessions are resampled, in each arm by itself",
}
UNITS: dict[Design, str] = {"pairs": "pairs", "sessions": "sessions"}


def definitions(comparison: Comparison) -> dict[str, str]:
    """Of the figures, the verdicts and the method, in this order."""
    method = comparison.method
    measures = dict.fromkeys(finding.question.measure for finding in comparison.findings)
    two, one = (f"{three(100 * (1 - k * method.level))}{NBSP}%" for k in (2, 1))
    said = {name: definition(name) for name in measures if definition(name)}
    interval = (
        f"{two}, so that each end alone is a bound at {one}. {RESAMPLED[method.design].capitalize()}; quantiles and "
        "means are compared by the log of their ratio, shown as a percentage, and rates by their difference."
    )
    spread = {}
    if method.run_sd:
        assumed = f"{three(100 * method.run_sd)}{NBSP}%"
        spread = {"run-to-run spread": f"{assumed} of spread between runs of one unchanged service was added."}
    return said | VERDICTS | {"interval": interval} | WORDS | spread


def method(comparison: Comparison) -> str:
    """Seed 7, 10,000 resamples of pairs, level 5 % one-sided, Holm over 3 gated figures."""
    method = comparison.method
    parts = [
        f"Seed {method.seed}",
        f"{count(method.draws)} resamples of {UNITS[method.design]} ({count(method.unit)})",
        f"level {three(100 * method.level)}{NBSP}% one-sided",
        f"Holm over {plural(method.holm, 'gated figure')}",
    ]
    versions = {str(side.run.document.get("definitions") or "") for side in comparison.sides} - {""}
    defined = f" Definitions of measures: version {listed(sorted(versions))}." if versions else ""
    return f"{', '.join(parts)}.{defined}"
