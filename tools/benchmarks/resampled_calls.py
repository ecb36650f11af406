"""Intervals of quantiles on resampled real calls (docs/statistics.md).

The CSV has a row for each turn: `platform`, `run`, `call`, `response_ms`, `outcome`. Whole calls of
a platform are drawn with replacement. The truth is the quantile of all turns of all calls of this
platform. The CSV is that of openbenchmarks-labs/voice-agent-latency, and is not a part of this
repository:

    CALLS=turns.csv make benchmark PARTS=profiles
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reports.statistics.quantiles import QuantileEstimate, quantile, quantiles, sample

RESAMPLES, SIZES, PS = 2_000, (20, 50, 100), (0.5, 0.9, 0.95)
MIN_COVERED = 0.94
Floats = npt.NDArray[np.float64]
Calls = Sequence[Floats]


def read_calls(path: Path) -> dict[str, Calls]:
    """Return the published latencies in ms of each call, by platform."""
    calls: dict[str, dict[tuple[str, str], list[float]]] = defaultdict(lambda: defaultdict(list))
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["outcome"] == "ok":
                calls[row["platform"]][row["run"], row["call"]].append(float(row["response_ms"]))
    return {
        platform: [np.array(turns) for turns in of.values()]
        for platform, of in sorted(calls.items())
    }


@dataclass
class Cell:
    """The intervals of a quantile in all resamples of one size."""

    truth: float
    printed: int = 0
    covered: int = 0
    widths: list[float] = field(default_factory=list)
    """Widths of intervals with two ends, as shares of the true value."""
    effects: list[float] = field(default_factory=list)

    def add(self, estimate: QuantileEstimate) -> None:
        if not estimate.has_interval:
            return
        self.printed += 1
        self.covered += estimate.low <= self.truth <= estimate.high
        self.effects.append(estimate.deff)
        if math.isfinite(width := estimate.high - estimate.low):
            self.widths.append(width / self.truth)

    @property
    def met(self) -> bool:
        return not self.printed or self.covered / self.printed >= MIN_COVERED

    def __str__(self) -> str:
        if not self.printed:
            return f"{'0%':>9}"
        width = f"{np.mean(self.widths):.1%}" if self.widths else "-"
        share = f"{self.covered / self.printed:.1%}"
        return f"{self.printed / RESAMPLES:>9.0%}{share:>8}{width:>7}{np.mean(self.effects):>6.2f}"


def cells_of(calls: Calls, size: int, rng: np.random.Generator) -> list[Cell]:
    """Return a cell for each quantile, from resamples of `size` calls."""
    turns = np.sort(np.concatenate(calls))
    cells = [Cell(quantile(turns, p)) for p in PS]
    for _ in range(RESAMPLES):
        drawn = [calls[number] for number in rng.integers(len(calls), size=size)]
        sessions = np.repeat(np.arange(size), [call.size for call in drawn])
        for cell, estimate in zip(
            cells, quantiles(sample(np.concatenate(drawn), sessions), PS), strict=True
        ):
            cell.add(estimate)
    return cells


def main(path: Path) -> bool:
    """Print the coverage of each cell, the mean width of its intervals, and their mean design
    effect.
    """
    met = True
    print(
        f"{RESAMPLES:,} resamples of whole calls: printed 95 % intervals that cover the value of"
        " all calls"
    )
    print(
        f"  {'platform':<12}{'calls':>6}{'quantile':>9}{'printed':>9}{'covers':>8}"
        f"{'width':>7}"
        f"{'deff':>6}"
    )
    for platform, calls in read_calls(path).items():
        for size in SIZES:
            rng = np.random.default_rng([size, *platform.encode()])
            for p, cell in zip(PS, cells_of(calls, size, rng), strict=True):
                met &= cell.met
                note = "" if cell.met else "  goal NOT met"
                print(f"  {platform:<12}{size:>6}{f'p{p * 100:g}':>9}{cell}{note}", flush=True)
    return met
