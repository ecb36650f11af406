"""What a user asks of `rtbench size`: text → a question with an effect to find; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bench.errors import UsageError
from bench.measures import SLOPE
from reports.question import POINTS, Question
from reports.statistics.differences import Margin
from reports.statistics.power import GATES, LEVEL, distance_of
from reports.statistics.shares import sessions_without
from reports.thresholds.gated import gated, quoted

_SHARE = re.compile(r"\+?\s*(\d+(?:\.\d+)?|\.\d+)\s*(%|pt)?")
EFFECT, MARGIN, EFFECT_POINTS = 0.2, 0.1, 0.03
"""Where the user says nothing; of rates, 3 points against 1."""


@dataclass(frozen=True)
class SizeQuestion:
    """`effect`: how much worse the candidate truly is, to be found with this power, as one of so many gates."""

    question: Question
    effect: float
    margin: float
    power: float
    gates: int = GATES

    @property
    def level(self) -> float:
        """The error that this gate has after Holm, were it the first to turn red."""
        return LEVEL / self.gates

    @property
    def is_rate(self) -> bool:
        return self.question.kind == "rate"

    @property
    def distance(self) -> float:
        """From the margin to the effect: of logs, or of rates."""
        return self.effect - self.margin if self.is_rate else distance_of(self.effect, self.margin)

    @property
    def sessions_to_pass(self) -> int | None:
        """Of a rate: sessions in each arm without which it cannot pass, though none fails; None of other figures."""
        return sessions_without(self.margin, LEVEL) if self.is_rate else None


def asked(measure: str, detect: str | None, margin: str | None, power: float, gates: int = GATES) -> SizeQuestion:
    """Raises UsageError that says what is allowed."""
    name, _, aggregate = measure.partition(":")
    of = gated(name.strip())
    if of.unit == SLOPE:
        raise UsageError(f"{name} is a slope, and has no size to plan for: plan for ttfa")
    rate = of.unit == "share"
    effect = share(detect, "--detect") if detect else EFFECT_POINTS if rate else EFFECT
    accepted = share(margin, "--margin") if margin else POINTS if rate else MARGIN
    if not effect > accepted:
        raise UsageError(
            f"an effect of {_said(effect, rate)} is not above the margin of {_said(accepted, rate)}: "
            "no number of sessions would call it worse; raise --detect or lower --margin"
        )
    if not 0.5 <= power < 1:
        raise UsageError(f"--power {power:g} is no power: choose one from 0.5 to 0.99")
    if gates < 1:
        raise UsageError(f"--gates {gates} is no number of gates: a check of one figure has 1")
    if rate:
        if aggregate not in ("", "rate"):
            raise UsageError(f"{name} is a rate: write --measure {name}")
        return SizeQuestion(Question(name, "rate", Margin(points=accepted)), effect, accepted, power, gates)
    of_quantile = Question(name, "quantile", Margin(ratio=accepted), _quantile(name, aggregate))
    return SizeQuestion(of_quantile, effect, accepted, power, gates)


def share(text: str, option: str) -> float:
    """20%, 3pt, 0.2 → 0.2, 0.03, 0.2."""
    match = _SHARE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{option} {quoted(text)} is no share: write 20% (of rates, 3% is three percentage points)")
    number = float(match[1]) / (100 if match[2] else 1)
    if not match[2] and number > 1:
        raise UsageError(f"{option} {quoted(text)} is more than everything: write {text}% or 0.{text}")
    return number


def _quantile(name: str, aggregate: str) -> float:
    match = re.fullmatch(r"p\(?(\d+(?:\.\d+)?)\)?|med", aggregate or "p95")
    p = 0.5 if aggregate == "med" else float(match[1]) / 100 if match else 0.0
    if not 0 < p < 1:
        raise UsageError(f"{quoted(aggregate)} is no quantile: write --measure {name}:p95")
    return p


def _said(value: float, rate: bool) -> str:
    return f"{100 * value:g} {'points' if rate else '%'}"
