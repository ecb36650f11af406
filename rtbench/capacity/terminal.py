"""The display of a search in a terminal of 100 columns: a line for each part of the ramps and each
level, and a status line.
"""

import math
import textwrap
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
from reports.text.phrases import as_sentence
from rtbench.capacity.document import CapacityDocument, LevelEntry, SearchPlan
from rtbench.capacity.ramp import Band, bands, quantiles_of, ramps_s
from rtbench.capacity.text import headline_parts, percents, reason_text, result_text
from rtbench.capacity.verification import MAX_LEVELS, min_level_s
from rtbench.load_display import head_row, row

WIDTH = 100
LIMIT_AT = 24
"""The column of the limit in the row of dots of a band, which ends at 1.5 times the limit."""
AGAIN = "    again, slowly, through the loads near this estimate; the turns of both ramps count:"
COLUMNS = (("calls", 11), ("turns", 8), ("p50", 8), ("", 8), ("violations", 15))


def opening(plan: SearchPlan, folder: str, costs: Sequence[str]) -> list[str]:
    """Return what is printed before a search."""
    lines = [
        f"ramps up from {count(plan.first)} to at most {count(plan.max)} concurrent calls, in at"
        f" most {format_duration(ramps_s(plan))}, for a rough estimate of the load at which"
        f" {' or '.join(plan.thresholds)} fails"
    ]
    if plan.verify:
        levels = f"up to {MAX_LEVELS} levels at its ends"
        if plan.required:
            levels = f"a level of {count(plan.required)}"
        least_s = min_level_s(plan.required or plan.max, plan.call_s)
        lines.append(
            f"then verifies it by {levels}, of {format_duration(least_s)} or more, in at most"
            f" {format_duration(plan.time_s)} altogether; any of their results is wrong in at most"
            f" {plan.error:.0%} of searches"
        )
    lines += costs
    return [
        *(line for text in lines for line in wrapped(text)),
        f"the report will be {folder}/capacity.html",
    ]


def level_heads() -> str:
    """Return the line above the lines of levels."""
    heads = [*COLUMNS[:3], ("p95", COLUMNS[3][1]), COLUMNS[4]]
    return f"\n{head_row(heads)}   result: share of violations"


def level_lines(level: LevelEntry) -> list[str]:
    """Return the lines of a level: its values, the share of its worst threshold, and its reason."""
    worst = max(level.violations, key=lambda share: share.value.high / share.limit, default=None)
    violations = NONE
    result = result_text(level)
    if worst is not None and worst.value.n:
        value = worst.value
        violations = f"{count(value.events)} of {count(value.n)}"
        result += f": {percents(value.low)} to {percents(value.high)} %"
        result += f", limit {percents(worst.limit)} %"
    waits = [_value(wait.value) for wait in (level.latency_p50, level.latency_p95)]
    cells = [count(level.load), count(level.turns), *waits, violations]
    line = f"{row(cells, COLUMNS)}   {result}".replace(NBSP, " ")
    return [line, *wrapped(reason_text(level.why), "    ")]


def closing_lines(capacity: CapacityDocument) -> list[str]:
    """Return the lines of the result: the answer, then the notes."""
    lines = wrapped(as_sentence("; ".join(headline_parts(capacity))))
    for note in capacity.notes:
        lines += wrapped(reason_text(note), "  ", first="· ")
    return lines


def wrapped(text: str, indent: str = "", first: str = "") -> list[str]:
    return textwrap.wrap(
        text.replace(NBSP, " "),
        WIDTH,
        initial_indent=first or indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


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
