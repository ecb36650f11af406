"""Runs in Python: what `import reports` offers, over what reports are made of. `docs/api.md` describes it.

import reports
run = reports.load("runs/20261120T091400Z-voice_turns")
run.quantiles("ttfa", by=("target", "step"))
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench.errors import UsageError
from bench.measures import CATALOGUE
from reports import runs
from reports.summary.context import SLOPES, slopes
from reports.summary.events import ALL
from reports.summary.figures import Figures, main_measures, sample_of, session_figures, turn_figures, with_marks
from reports.turns import column_of, measured, target_labels, turns_of

BY: tuple[tuple[str, ...], ...] = (("target",), ("target", "step"))
"""What quantiles may be told apart by; strata are apart always."""
ROW = {
    **dict.fromkeys(("target", "origin", "traits", "step"), "category"),
    **dict.fromkeys(("n", "failed", "censored"), "Int64"),
    **dict.fromkeys(("p", "value", "low", "high"), "float64"),
    **{"unit": "category", "status": "category", "needs": "Int64", "inexact": "string[pyarrow]"},
}
"""The columns of a frame of quantiles, with their dtypes."""


class Run(runs.Run):
    """A run as it was read, with the figures that its report prints."""

    def quantiles(self, measure: str, by: str | Sequence[str] = "target") -> pd.DataFrame:
        """p50, p90, p95 and p99 of a measure of turns or sessions with their 95 % intervals, a row each.

        `value`, `low` and `high` are in `unit`. They are NaN where the report prints n/a, for too few turns or
        sessions: `status` says which, `needs` how many it takes; `value` is inf where the quantile lies among failed
        turns; an end of ±inf is open. What is printed and not to be used has the status `inexact` (`inexact` says why)
        or, of a run that is not VALID by its verdict, `invalid`. Raises UsageError.
        """
        labels = (by,) if isinstance(by, str) else tuple(by)
        if labels not in BY:
            raise UsageError(f"quantiles by {labels!r} are not offered: by {' or '.join(map(repr, BY))}")
        by_step = "step" in labels
        figures = [one for one in with_marks(self, self._figures(measure)) if (one.step == ALL) != by_step]
        invalid = (self.document.get("verdict") or {}).get("valid") is False
        rows = [row for one in figures for row in _rows(one, invalid=invalid)]
        frame = pd.DataFrame(rows, columns=list(ROW)).astype(ROW)
        return frame if by_step else frame.drop(columns="step")

    def _figures(self, name: str) -> Iterable[Figures]:
        scope = CATALOGUE[name].scope if name in CATALOGUE else ""
        if scope == "turn":
            turns = turns_of(self)
            return turn_figures(sample_of(turns, name, main_measures(self, turns)))
        if name in SLOPES:
            turns = turns_of(self)
            mains = main_measures(self, turns)
            samples = {main: sample_of(turns, main, mains) for main in mains.values()}
            return [one for one in slopes(turns, samples, mains) if one.measure == name]
        if scope == "session" and column_of(name) in self.sessions.columns:
            return session_figures(self.sessions.iloc[measured(self.sessions)], target_labels(self), [name])
        raise UsageError(f"{name!r} is no measure of turns or sessions that rows have: see docs/measures.md")


def _rows(figures: Figures, *, invalid: bool) -> Iterable[dict[str, Any]]:
    unusable = "inexact" if figures.inexact else "invalid" if invalid else ""
    for estimate in figures.quantiles:
        known = estimate.bounded or estimate.status == "failed share"
        ends = (estimate.low, estimate.high) if estimate.bounded else (None, None)
        yield {
            "target": figures.target,
            "origin": figures.stratum.origin or None,
            "traits": figures.stratum.traits or None,
            "step": figures.step,
            "n": figures.n,
            "failed": figures.failed,
            "lost": figures.lost,
            "censored": figures.censored,
            "p": estimate.p,
            "value": estimate.value if known else None,
            "low": ends[0],
            "high": ends[1],
            "unit": figures.unit,
            "status": (unusable if estimate.bounded else "") or estimate.status,
            "needs": estimate.needs or None,
            "inexact": figures.inexact,
        }


def load(path: Path | str, *, everything: bool = True) -> Run:
    """The run in a folder; `everything=False` reads of the turns only what a report needs: three fifths of the memory.

    Raises UsageError where the folder is no run, or its files cannot be read.
    """
    return Run(**vars(runs.load(path, everything=everything)))
