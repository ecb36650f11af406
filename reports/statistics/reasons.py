"""Why nothing is decided by a figure, as a kind and its numbers; `reports.wording.reasons` says it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "too few", "unequal", "no turns", "no figure", "no ratio", "not exact", "failed share",
    "failed share, decides", "after Holm", "drifts",
    "none seen", "not positive", "would stay", "no look",
]  # fmt: skip
Counted = Literal["session", "pair", "turn"]


@dataclass(frozen=True)
class Reason:
    """What a kind needs is given, and nothing else.

    `needed` of a `unit` where an arm has fewer: `there`, in each of `arms` where they are named; `p`: of a quantile.
    `worth`: what sessions of unequal length count as. `measure`, `upper` and `needed`: of a rate of which none was seen
    in `there` sessions, and that may still be up to `upper`. `text`: why a figure is not exact.
    """

    kind: Kind
    unit: Counted = "session"
    needed: int = 0
    there: tuple[int, ...] = ()
    arms: tuple[str, ...] = ()
    p: float | None = None
    worth: float = 0.0
    measure: str = ""
    upper: float = 0.0
    text: str = ""


NOT_AFTER_HOLM = Reason("after Holm")
FAILED_SHARE = Reason("failed share")
DRIFTING = Reason("drifts")


def too_few(
    unit: Counted, needed: int, there: Sequence[int], arms: Sequence[str] = (), p: float | None = None
) -> Reason:
    """Of those that are needed in each arm."""
    return Reason("too few", unit, needed, tuple(there), tuple(arms), p)
