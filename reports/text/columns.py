"""The table of the answer in so many columns of a terminal: what does not fit is left out, whole figures at a time."""

from __future__ import annotations

from collections.abc import Iterable

from reports.blocks import Cell, Inline, Row, row_of
from reports.numbers import count, three
from reports.summary.places import By
from reports.summary.summary import CallerWait, Summary
from reports.text.lines import Grid
from reports.wording import groups, words

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


GROUP_LAYOUTS = ((0, 2, 3, 4, 5, 6, 7), (0, 2, 4, 5, 6, 7), (0, 2, 4, 5, 6), (0, 4, 5, 6), (0, 5, 6))


def waits_by(summary: Summary, by: By) -> Iterable[Grid]:
    """Groups of turns in rows under the pool that they are of; nothing where the key says nothing of the run."""
    pools = [waits for of in summary.waits_by(by) for waits in of]
    rows: list[Row] = []
    for place, one in enumerate(pools):
        table = groups.waits_table([one], summary.targets)
        rows += [] if place else [row_of([_headed(column.head) for column in table.columns], "soft")]
        named = [one.target] if len(summary.targets) > 1 else []
        rows.append(row_of([Cell(", ".join([groups.caption(one), *named, "ms"]), style="soft")]))
        rows += [Row(tuple(map(_group_cell, range(len(row.cells)), row.cells))) for row in table.rows]
    if pools:
        width = len(rows[0].cells)
        yield Grid(rows, (0,), [[at for at in layout if at < width] for layout in GROUP_LAYOUTS], indent="  ")


def _headed(head: Inline) -> Inline:
    return f"{head} (95 %)" if head in ("p50", "p95") else head


def _group_cell(place: int, cell: Cell) -> Cell:
    """A figure with its interval in one cell; why there is none has no room here."""
    text = str(cell.text)
    if place not in (groups.P50, groups.P95) or not text[:1].isdigit():
        return Cell(text)
    return Cell(f"{text} ({str(cell.below).replace(' – ', '–')})")
