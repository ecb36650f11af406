"""An item's figures in words: its value, its interval or difference, its limit; pure."""

from __future__ import annotations

from bench.measures import SLOPE
from reports.gate.items import Item
from reports.numbers import NBSP, NONE, count, percent, three
from reports.statistics.differences import Scale
from reports.wording.differences import TIMEOUT, interval, share, signed


def written(item: Item, value: float | None) -> str:
    """A figure in its unit: 640 ms, 1.20 %, 1.31 ×."""
    if value is None:
        return "–"
    if item.unit == "share":
        return f"{share(value)}{NBSP}%"
    return three(value) if item.unit == "n" else f"{three(value)}{NBSP}{item.unit}"


def value_text(item: Item) -> str:
    """The figure, or > timeout where it lies among the failures."""
    if item.needs and _without_figure(item):
        return few_text(item)
    return TIMEOUT if item.among_failures else written(item, item.value)


def reached_text(item: Item) -> str:
    """71.2 %: the share of what was wanted that has the figure; a dash where it is not one of a wait."""
    return NONE if item.reached is None else percent(item.reached, 1)


def few_text(item: Item) -> str:
    """n/a (440 turns; needs 500), n/a (20 sessions; needs 40)."""
    return f"n/a ({count(item.too_few or 0)} {item.lacks}; needs {count(item.needs or 0)})"


def _without_figure(item: Item) -> bool:
    """Whether it is the target itself that has too few of them, and not its baseline."""
    return (item.sessions if item.lacks == "sessions" else item.turns) < (item.needs or 0)


def interval_text(item: Item) -> str:
    """590 to 690 ms; +4 % (−3 to +12 %); an open end is ∞. What lies in the failed share is > timeout."""
    if item.needs:
        return "–" if _without_figure(item) else few_text(item)
    if item.word == "no data" or (item.relative and not _any_figure(item)):
        return "–"
    if item.low_endless:
        return TIMEOUT
    if item.relative and item.baseline == 0 and item.value and scale_of(item) == "ratio":
        return "no ratio to 0"
    if not item.relative:
        low, high = ("∞" if one is None else written(item, one).partition(NBSP)[0] for one in (item.low, item.high))
        low = low if item.low is not None else "−∞"
        unit = written(item, 1.0).partition(NBSP)[2]
        return f"{low} to {high}{NBSP}{unit}".rstrip(NBSP)
    apart = TIMEOUT if item.among_failures and item.baseline is not None else "–"
    apart = apart if item.difference is None else signed(item.difference, scale_of(item))
    return f"{apart} ({interval(item.low, item.high, scale_of(item))})"


def _any_figure(item: Item) -> bool:
    return any(figure is not None for figure in (item.baseline, item.difference, item.low, item.high))


def corrected_text(item: Item) -> str:
    """+45 %: the difference without what stopping early adds; empty where no look decided."""
    return "" if item.corrected is None else signed(item.corrected, scale_of(item))


def scale_of(item: Item) -> Scale:
    """How its differences are told."""
    scales: dict[str, Scale] = {"share": "points", SLOPE: "slope"}
    return scales.get(item.unit, "ratio")


def limit_text(item: Item) -> str:
    """The limit with its sign as it was written: < 800 ms; the margin of a relative one."""
    if item.relative:
        return item.margin
    sign = {"<=": "≤", ">=": "≥"}.get(item.sign, item.sign)
    limit = f"{three(100 * item.limit)}{NBSP}%" if item.unit == "share" and item.limit else written(item, item.limit)
    return f"{sign}{NBSP}{limit}"
