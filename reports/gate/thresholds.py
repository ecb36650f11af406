"""Thresholds as k6 users write them, and relative ones: text → `Threshold`.

ttfa: ["p(95)<800", "med<500"]             against a limit, in the unit of the measure
failures: ["rate<0.01"]
ttfa: ["p(95)<+20%", "p(95)<+20% and +30ms"]   against the baseline
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reports.compare.question import Kind, Question
from reports.statistics.differences import Margin


@dataclass(frozen=True)
class Threshold:
    """One line of a thresholds file. `limit`: absolute, in the unit of the measure; None where it is relative."""

    text: str
    measure: str
    kind: Kind
    p: float | None
    sign: Literal["<", "<=", ">", ">="]
    limit: float | None
    margin: Margin | None
    step: str = ""
    target: str = ""

    @property
    def question(self) -> Question:
        """What a relative threshold asks of a comparison."""
        assert self.margin is not None, f"{self.text} is absolute"
        return Question(self.measure, self.kind, self.margin, self.p, gated=True, step=self.step)


def parse(measure: str, text: str) -> Threshold:
    """One threshold. `measure` may have a filter: `ttfa{step:greeting}`. Raises UsageError saying what is allowed."""
    raise NotImplementedError


def read(path: Path) -> tuple[Threshold, ...]:
    """A YAML file of thresholds. Raises UsageError with file, line and what is allowed."""
    raise NotImplementedError
