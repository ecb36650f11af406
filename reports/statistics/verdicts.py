"""From differences to verdicts: floors, multiplicity, and the words; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Word = Literal["regressed", "improved", "equivalent", "not regressed", "inconclusive"]


@dataclass(frozen=True)
class Verdict:
    """`reason`: why it is inconclusive, such as "too few turns: p95 needs 400 in each arm", or "over the margin, not
    after Holm"; empty where the interval says it all. `provisional`: run-to-run spread was assumed, not known.
    """

    word: Word
    reason: str = ""
    provisional: bool = False
    more_sessions: int | None = None

    @property
    def passes(self) -> bool:
        """Whether a gate is kept: it did not get worse by more than the margin."""
        return self.word in ("improved", "equivalent", "not regressed")
