"""The table of the answer in so many columns of a terminal: what does not fit is left out, whole figures at a time."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import starmap

from reports.blocks import Cell, Row, row_of
from reports.numbers import count, percent, three
from reports.summary.by_load import Level
from reports.summary.hosts import HostWait
from reports.summary.summary import CallerWait, Summary
from reports.text.lines import Grid
from reports.wording import words

NAME_LEAST, NAME_MOST = 9, 14
"""Letters of a label beside its figures."""
MARK = 2
"""Letters of a target's mark."""


def _interval(answer: CallerWait, p: float) -> str:
    """A quantile with its interval, or why there is none."""
    estimate, shown = answer.figures.at(p), words.cell(answer.figures, p).figure
    if estimate.published:
        return f"{shown} ({words.interval(estimate).replace(' ', '')})"
    if not answer.figures.n:
        return f"{shown} (no turn)"
    reasons = {
        "too few turns": f" (needs {count(estimate.needs)})",
        "too few sessions": f" (needs {count(estimate.needs)} sessions)",
        "open": " (open)",
    }
    return shown + reasons.get(estimate.status, "")


HEADS = ("", "turns", "p50 (95 %)", "p50", "p95 (95 %)", "p95", "p99", "max", "failed", "failed")
NAME, TURNS, P50_WIDE, P50, P95_WIDE, P95, P99, HIGH, FAILED, SHARE = range(len(HEADS))
LAYOUTS = (
    (NAME, TURNS, P50_WIDE, P95_WIDE, P99, HIGH, FAILED),
    (NAME, TURNS, P50_WIDE, P95_WIDE, P99, HIGH, SHARE),
    (NAME, TURNS, P50_WIDE, P95, P99, HIGH, SHARE),
    (NAME, TURNS, P50_WIDE, P95, P99, SHARE),
    (NAME, TURNS, P50_WIDE, P95, SHARE),
    (NAME, P50_WIDE, P95, SHARE),
    (NAME, P50, P95, SHARE),
    (NAME, P50, SHARE),
)
"""From the widest to the narrowest. What failed stays, for no figure may be read without it."""


def answers(summary: Summary) -> Grid:
    """Targets in rows under the measure that they are of."""
    rows = [row_of(list(HEADS), "soft")]
    for group in words.tables(summary):
        rows.append(row_of([Cell(f"{words.about(group)}, ms", style="soft")]))
        rows += [Row(tuple(_cells(answer, words.row_name(answer, group), summary))) for answer in group]
    return Grid(rows, (NAME,), LAYOUTS, indent="  ", most=MARK + NAME_MOST)


def _cells(answer: CallerWait, name: str, summary: Summary) -> Iterable[Cell]:
    target = summary.targets.index(answer.target)
    yield Cell(name.ljust(NAME_LEAST), target=target, marked=True)
    p50, p95, p99 = (words.cell(answer.figures, p).figure for p in (0.5, 0.95, 0.99))
    failures = words.failures(answer)
    figures = (count(answer.turns), _interval(answer, 0.5), p50, _interval(answer, 0.95), p95, p99)
    yield from map(Cell, (*figures, three(answer.figures.high), "  ".join(reversed(failures)), failures.figure))


LOAD_HEADS = ("calls in progress", "turns", "p50 (95 %)", "p95 (95 %)", "failed", "not opened")
LOAD_LAYOUTS = ((0, 1, 2, 3, 4, 5), (0, 1, 2, 3, 4), (0, 2, 3, 4), (0, 2, 4))


def by_load(summary: Summary) -> Iterable[Grid]:
    """Levels of calls in progress in rows under the pool that they are of; nothing where the load did not change."""
    rows = [row_of(list(LOAD_HEADS), "soft")]
    for one in summary.by_load:
        named = [one.label] if len(summary.by_load) > 1 else []
        rows.append(row_of([Cell(", ".join([words.counted(one.measure, one.stratum), *named, "ms"]), style="soft")]))
        rows += [Row(tuple(map(Cell, _level(level)))) for level in one.levels]
    if summary.by_load:
        yield Grid(rows, (0,), LOAD_LAYOUTS, indent="  ")


def _level(level: Level) -> Iterable[str]:
    yield from (level.name, count(level.turns))
    yield from starmap(_with_interval, words.level_cells(level))
    yield percent(level.failed.count, level.failed.of)
    yield f"{count(level.unopened.count)} of {count(level.unopened.of)}"


def _with_interval(figure: str, below: str) -> str:
    """A figure and what stands below it on a page, in one cell; why there is none has no room here."""
    return figure if figure.startswith(("n/a", "≥", "≤")) else f"{figure} ({below.replace(' ', '')})"


HOST_HEADS = ("host", "sessions", "turns", "p50 (95 %)", "p95 (95 %)", "failed")
HOST_LAYOUTS = ((0, 1, 2, 3, 4, 5), (0, 2, 3, 4, 5), (0, 2, 4, 5), (0, 4, 5))


def by_host(summary: Summary) -> Iterable[Grid]:
    """Hosts in rows under the pool that they recorded; nothing where one host recorded all."""
    rows = [row_of(list(HOST_HEADS), "soft")]
    for waits in zip(*(host.waits for host in summary.hosts), strict=True):
        rows.append(row_of([Cell(words.waits_of(waits[0], summary), style="soft")]))
        rows += [Row(tuple(map(Cell, _on_host(wait)))) for wait in waits]
    if summary.hosts:
        yield Grid(rows, (0,), HOST_LAYOUTS, indent="  ")


def _on_host(wait: HostWait) -> Iterable[str]:
    yield from (wait.host, count(wait.sessions), count(wait.turns))
    yield from starmap(_with_interval, words.host_cells(wait))
    yield percent(wait.failed.count, wait.failed.of)
