"""The path of an estimate over the looks at a run: decision → one figure for each gate; pure.

At a look with critical value c the bounds that decide are d ∓ T⁻¹(Φ(c))·SE, T of the look's degrees of freedom: a gate
is worse where the lower one lies beyond the margin, and passes where the upper one lies before it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import ndtr, stdtrit  # type: ignore[import-untyped, unused-ignore]

from reports.blocks import MARKS
from reports.finding_sentences import shown
from reports.looks.decision import Decision
from reports.looks.sequence import End, GateResult
from reports.numbers import NBSP, change, count, nice, three
from reports.page.svg import HALF, PixelScale, Plot, identity, linear_ticks
from reports.statistics.verdicts import Word
from reports.wording.verdicts import as_share, figure, margin, said, signed

APART = 14
"""Pixels between two ticks."""
REASONS: dict[End, str] = {
    "regressed": "A primary metric is worse than its margin allows.",
    "not_regressed": "No primary metric is worse than its margin allows.",
    "futility": "It had become unlikely that a further analysis would decide, so the run was stopped.",
    "final_analysis": "The final analysis was inconclusive.",
    "invalid": "By then its targets could no longer be compared, so nothing was decided.",
    "stopped_by_user": "The run was ended by hand; only bounds that were crossed by then count.",
    "pending": "The run goes on.",
    "no_analysis": "The run ended before its first interim analysis.",
}


@dataclass(frozen=True)
class LookStep:
    """What one look saw: the estimate and the bounds that decide, on the axis."""

    pairs: int
    d: float
    low: float
    high: float


@dataclass(frozen=True)
class EstimatePath:
    """A gate over the looks. Places are logs of a ratio, or percentage points; `planned`: pairs of all looks."""

    name: str
    rate: bool
    margin: float
    margin_text: str
    steps: tuple[LookStep, ...]
    planned: tuple[int, ...]
    word: Word
    shown: str
    """the verdict as screens show it"""
    reason: str
    at: int
    """pairs of the look that decided it"""
    corrected: float
    """the median-unbiased estimate; NaN where there is none"""

    def said(self, value: float) -> str:
        """+47 %, +1.2 points; open where it has no end."""
        if self.rate:
            return signed(as_share(value / 100, "points"), "points")
        return signed(as_share(value, "ratio"), "ratio")

    @property
    def line(self) -> str:
        """✕ regressed at 150 pairs: +47 %, corrected for the early stop +45 %; the margin is 20 %."""
        told = f"{MARKS[self.word].glyph} {self.shown}{f' ({self.reason})' if self.reason else ''}"
        found = next((step for step in self.steps if step.pairs == self.at), None)
        estimate = f": {self.said(found.d)}" if found else ""
        early = math.isfinite(self.corrected) and self.word != "inconclusive"
        better = f", corrected for the early stop {self.said(self.corrected)}" if early else ""
        return f"{told} at {count(self.at)}{NBSP}pairs{estimate}{better}; the margin is {self.margin_text}."


def paths(decision: Decision) -> list[EstimatePath]:
    """The gates that any look has an estimate of."""
    found = [_path(decision, at, ruling) for at, ruling in enumerate(decision.course.rulings)]
    return [path for path in found if path.steps]


def _path(decision: Decision, at: int, ruling: GateResult) -> EstimatePath:
    gate, looks = decision.gates[at], decision.course.looks
    scale, accepted = (100.0 if gate.kind == "rate" else 1.0), gate.margin
    seen = [(look, look.seen[at]) for look in looks if math.isfinite(look.seen[at].d)]
    beyond = [one.d - one.excess for _, one in seen if math.isfinite(one.excess)]
    agreed = accepted.points if gate.kind == "rate" else math.log1p(accepted.ratio)
    steps = []
    for look, one in seen:
        known = math.isfinite(one.se) and math.isfinite(one.df) and math.isfinite(look.c)
        reach = float(stdtrit(one.df, float(ndtr(look.c)))) * one.se if known else math.inf
        if not one.untested:
            steps.append(LookStep(look.pairs, scale * one.d, scale * (one.d - reach), scale * (one.d + reach)))
    return EstimatePath(
        name=figure(gate),
        rate=gate.kind == "rate",
        margin=scale * (beyond[-1] if beyond else agreed),
        margin_text=margin(accepted, gate.metric),
        steps=tuple(steps),
        planned=tuple(decision.plan.analyses),
        word=ruling.word,
        shown=shown(decision.findings[at]),
        reason=said(ruling.reason),
        at=looks[ruling.look].pairs,
        corrected=scale * ruling.corrected if math.isfinite(ruling.corrected) else math.nan,
    )


def end_reason(decision: Decision) -> str:
    """What ended the looks, in a sentence; and what is not in the verdict."""
    held, planned = decision.course.looks, decision.plan.analyses
    at = f"Stopped at analysis {len(held)} of {len(planned)}, at {count(decision.used)}{NBSP}pairs. " if held else ""
    at = "" if decision.course.reason == "pending" else at
    beyond = (
        f" {count(decision.after)} whole pairs after that analysis are not in the verdict." if decision.after else ""
    )
    return f"{at}{REASONS[decision.course.reason]}{beyond}"


def path(found: EstimatePath) -> Plot:
    """Estimates with the bounds that decide, look by look; the line of the margin; looks that were not needed."""
    plot = Plot(
        HALF,
        256,
        left=58,
        right=16,
        top=20,
        bottom=42,
        title=f"Estimate of {found.name} over the analyses",
        desc=f"Candidate against baseline at each analysis, with the bounds that decide. {found.line}",
    )
    low, high = path_ends(found)
    x = PixelScale(identity, 0.0, float(max(found.planned)), plot.x0, plot.x1)
    y = PixelScale(identity, low, high, plot.y0, plot.y1)
    named = [(0.0, "same", "zero"), (found.margin, "margin", "marginline")]
    for value, text in _ticks(found, low, high):
        if all(abs(y(value) - y(other)) >= APART for other, _, _ in named):
            named.append((value, text, "grid"))
    close = APART - abs(y(0.0) - y(found.margin))  # the two names would lie over each other
    aside = {"zero": close / 2, "marginline": -close / 2} if close > 0 else {}
    upwards = 1.0 if found.margin >= 0 else -1.0
    for value, text, cls in sorted(named, key=lambda one: one[2] != "grid"):
        plot.line(plot.x0, y(value), plot.x1, y(value), cls)
        plot.text(plot.x0 - 6, y(value) + 4 + upwards * aside.get(cls, 0.0), text, "tick", "end")
    # the sizes of looks that have room for their number, the last one before the others
    kept: list[float] = []
    for pairs in reversed(found.planned):
        if not kept or x(kept[-1]) - x(pairs) >= 3 * APART:
            kept.append(float(pairs))
    plot.x_axis(x, kept[::-1], count, "pairs")
    cls = f"v-{found.word.replace(' ', '-')}"
    plot.path([(x(step.pairs), y.clip(step.d)) for step in found.steps], "curve thin flow")
    rows = []
    for number, step in enumerate(found.steps, start=1):
        decided = step.pairs == found.at
        style = cls if decided else "v-equivalent"
        plot.line(x(step.pairs), y.clip(step.low), x(step.pairs), y.clip(step.high), f"ci {style}")
        plot.dot(x(step.pairs), y.clip(step.d), "circle", f"dotv {style}", 5.5 if decided else 4)
        bounds = f"{found.said(step.low)} to {found.said(step.high)}"
        rows.append(f"analysis {number}, {count(step.pairs)} pairs · {found.said(step.d)} ({bounds})")
    plot.readout([x(step.pairs) for step in found.steps], rows)
    return plot


def path_ends(found: EstimatePath) -> tuple[float, float]:
    """Where the axis ends: around estimates and margin, and the bounds as far as they are no wider than twice that."""
    core = [0.0, found.margin, *(step.d for step in found.steps)]
    span = max(max(core) - min(core), 1e-3)
    bounds = [end for step in found.steps for end in (step.low, step.high)]
    low = max(min([*core, *bounds]), min(core) - 2 * span)
    high = min(max([*core, *bounds]), max(core) + 2 * span)
    return low - 0.06 * (high - low), high + 0.12 * (high - low)


def _ticks(found: EstimatePath, low: float, high: float) -> list[tuple[float, str]]:
    """Round changes, but for "same"."""
    if found.rate:
        signed = [(value, value) for value in linear_ticks(low, high, 5)]
        return [(v, f"{'+' if v > 0 else '−'}{three(abs(v))}") for v, _ in signed if abs(v) > 1e-9]
    least, most = 100 * math.expm1(max(low, -3.0)), 100 * math.expm1(min(high, 3.0))
    step = nice((most - least) / 6)
    percents = [step * k for k in range(math.ceil(least / step), math.floor(most / step) + 1)]
    return [(math.log1p(p / 100), change(1 + p / 100)) for p in percents if abs(p) > 1e-9 and p > -100]
