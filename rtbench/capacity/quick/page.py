"""The display of a quick search in a terminal: a line for each band of loads, and a status line."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from bench.base.standard_streams import StatusLine
from reports.formatting import (
    NBSP,
    NONE,
    count,
    format_duration,
    format_number,
    percent,
    plural,
)
from reports.metrics.thresholds import Threshold
from reports.statistics.counting import Floats
from reports.statistics.crossing import CONFIDENCE, TurnsByLoad, crossing_of
from rtbench.capacity.page import opening_lines
from rtbench.capacity.quick.ramp import Band, bands, quantiles_of
from rtbench.capacity.search import SearchPlan
from rtbench.load_search import head_row, row

LIMIT_AT = 24
"""The column of the limit in the row of dots of a band, which ends at 1.5 times the limit."""
AGAIN = "    again, slowly, through the loads near this estimate; the turns of both ramps count:"
COLUMNS = (("calls", 11), ("turns", 8), ("p50", 8), ("", 8), ("violations", 15))


def opening(plan: SearchPlan, folder: str, costs: Sequence[str]) -> list[str]:
    purpose = (
        f"ramps up from {count(plan.first)} to at most {count(plan.max)} concurrent calls, in at"
        f" most {format_duration(plan.time_s)}, for a rough estimate of the load at which"
        f" {' or '.join(plan.thresholds)} fails"
    )
    return opening_lines([purpose, *costs], folder)


class Curve:
    """The curve of a threshold over the load, while it is measured. A line is printed when its
    loads are passed.
    """

    def __init__(
        self, threshold: Threshold, line: StatusLine, echo: Callable[[str], object]
    ) -> None:
        self.line = line
        self._threshold = threshold
        self._echo = echo
        self._p = threshold.p or 0.95
        self._turns = dict[int, int]()
        """The printed number of turns by the highest load of a band."""
        self._printed = 0
        """The highest load that is printed for this ramp."""
        self._begins = False
        """True after a ramp, until the next one begins."""

    def show(self, every: Sequence[TurnsByLoad], allowed: Sequence[float], load: float) -> None:
        """Print the bands below a load, and draw the estimate so far. The load is infinite at
        the end of a ramp.
        """
        turns = every[0]
        if self._begins and load:
            self._begins = False
            self._printed = 0 if math.isinf(load) else int(load) - 1  # it begins at this load
            self.line.clear()
            self._echo(AGAIN)
        for band in bands(turns):
            inside = band.turns(turns)
            is_new = band.last > self._printed and inside.n > self._turns.get(band.last, 0)
            if band.last < load and is_new:
                self._print(inside, band)
        if math.isinf(load):
            self._begins = bool(self._turns)
        elif self.line.in_place and turns.n:
            crossing = crossing_of(turns, allowed[0])
            interval = f"{percent(CONFIDENCE, 1)} interval"
            ends = f"{crossing.low:.0f} to {crossing.high:.0f}"
            so_far = f"about {crossing.median:.0f} ({interval} {ends})"
            state = so_far if crossing.below > 0.5 else "not crossed yet"
            self.line.draw(f"{count(load)} calls · {plural(turns.n, 'turn')} · {state}")

    def _print(self, inside: TurnsByLoad, band: Band) -> None:
        self.line.clear()
        if not self._turns:
            heads = [*COLUMNS[:3], (f"p{100 * self._p:g}", COLUMNS[3][1]), COLUMNS[4]]
            self._echo(f"\n{head_row(heads)}   turns, limit {self._threshold.source_text}")
        self._turns[band.last] = inside.n
        self._printed = band.last
        cells = [
            band.name,
            count(inside.n),
            *(_value(each.value) for each in quantiles_of(inside, [0.5, self._p])),
            f"{inside.violated.sum():.0f} of {inside.n}",
        ]
        self._echo(f"{row(cells, COLUMNS)}   {self._dots(inside.value)}".rstrip())

    def _dots(self, values: Floats) -> str:
        """Return a dot at each value, and a mark at the limit: bands have too few turns for most
        percentiles.
        """
        limit = self._threshold.limit
        known = values[~np.isnan(values)]
        if not known.size or not limit or self._threshold.about.scale == "points":
            return ""
        dots = [" "] * round(1.5 * LIMIT_AT)
        for place in np.minimum(LIMIT_AT * known / limit, len(dots) - 1).astype(int):
            dots[place] = "●"
        dots.insert(LIMIT_AT, "│")
        return "".join(dots)


def _value(value: float) -> str:
    if math.isnan(value):
        return NONE
    return format_number(value).replace(NBSP, " ") if math.isfinite(value) else "failed"
