"""The panels of the forest plot. A panel is the rows that share an axis. Pure.

Ratios have two panels: one for metrics of which less is better, and one for metrics of which more is better. Rates,
whose differences are percentage points, have two such panels too. Slopes have one panel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bench.catalogue.metrics import SLOPE
from reports.analysis.comparisons.comparison import Comparison
from reports.analysis.metric_comparison import MetricComparison
from reports.formatting import NBSP, format_number
from reports.metrics.metric_spec import MetricSpec
from reports.statistics.differences import LEVEL, Scale
from reports.text.finding_rows import FindingRow, is_lower, row

Axis = Literal["lower", "higher", "points", "more points", "slope"]
TITLES: dict[Axis, str] = {
    "lower": "Latencies, in percent",
    "higher": "Metrics of which more is better, in percent",
    "points": "Rates, in percentage points",
    "more points": "Rates of which more is better, in percentage points",
    "slope": f"Growth of latency with the conversation, in {SLOPE}",
}
LINEAR: tuple[Axis, ...] = ("points", "more points", "slope")
HIGHER: tuple[Axis, ...] = ("higher", "more points")


@dataclass(frozen=True)
class ForestPanel:
    """The rows that share an axis. They are in the order of the findings, grouped by candidate.

    `colours` are the colours of the targets.
    """

    axis: Axis
    rows: tuple[FindingRow, ...]
    level: float = LEVEL
    colours: Mapping[str, int] = field(default_factory=dict)

    @property
    def interval(self) -> str:
        """The confidence of the two-sided interval between the one-sided bounds, such as 90 %."""
        return f"{format_number(100 * (1 - 2 * self.level))}{NBSP}%"

    @property
    def title(self) -> str:
        return TITLES[self.axis]


def colours_of(comparison: Comparison) -> dict[str, int]:
    """Return the colour of each target: its number among the targets."""
    return {target.label: index for index, target in enumerate(comparison.targets)}


def panels(comparison: Comparison) -> tuple[ForestPanel, ...]:
    """Return the panels of a comparison. Panels without rows are left out."""
    colours = colours_of(comparison)
    findings = sorted(comparison.findings, key=lambda finding: colours.get(finding.candidate, 0))
    level = comparison.method.level
    rows = [finding_row(finding, comparison) for finding in findings]
    by_axis = {axis: tuple(r for r in rows if axis_of(r.finding.question) == axis) for axis in TITLES}
    return tuple(ForestPanel(axis, mine, level, colours) for axis, mine in by_axis.items() if mine)


def axis_of(spec: MetricSpec) -> Axis:
    """Return the axis on which a metric spec is plotted."""
    axes: dict[Scale, tuple[Axis, Axis]] = {
        "points": ("points", "more points"),
        "ratio": ("lower", "higher"),
        "slope": ("slope", "slope"),
    }
    return axes[spec.scale][not is_lower(spec)]


def finding_row(finding: MetricComparison, comparison: Comparison) -> FindingRow:
    """Return a finding of the comparison as a row of texts. The row has no verdict if the comparison is not fair."""
    return row(finding, usable=not comparison.failed_checks)
