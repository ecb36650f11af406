"""A check for a terminal: verdict, badges, warnings, a line for each threshold, what to know, then the exit code."""

from __future__ import annotations

from collections.abc import Iterable

from reports.blocks import Cell, Paragraph, Row, row_of
from reports.gate.items import Checked, Grade, Item
from reports.gate.sentences import badges, beside, ending, glyph, headline, is_judged, mark, reason
from reports.gate.written import interval_text, limit_text, value_text
from reports.numbers import shortened
from reports.text.lines import Grid, Named, Part, pour

STYLES: dict[Grade, str] = {"passed": "good", "failed": "bad", "unsure": "warn", "void": "bad"}
NAMES = 44
"""Letters of a figure with its target."""
NAME, VALUE, INTERVAL, LIMIT, VERDICT = range(5)
LAYOUTS = (NAME, VALUE, INTERVAL, LIMIT, VERDICT), (VALUE, INTERVAL, LIMIT, VERDICT)


def terminal(checked: Checked, width: int = 100, colour: bool = False) -> str:
    """The check as text."""
    table = [_table(checked)] if checked.items else []
    return pour((_opening(checked), table, _closing(checked)), width, colour)


def _opening(checked: Checked) -> Iterable[Part]:
    yield Named(glyph(checked), [headline(checked)], "bold", indent=2)
    against = [f"against {checked.against}"] if checked.against else []
    yield Paragraph(" · ".join([*badges(checked), checked.called, checked.run_id, *against]))
    for warning in checked.warnings:
        yield Named("!", [warning], "warn bold", indent=2)


def _table(checked: Checked) -> Grid:
    several = len({item.target for item in checked.items}) > 1
    return Grid([_row(item, checked, several) for item in checked.items], (NAME, VERDICT), LAYOUTS, indent="  ")


def _row(item: Item, checked: Checked, several: bool) -> Row:
    name = f"{item.target}: {item.figure}" if several else item.figure
    judged = is_judged(item, checked)
    verdict = Cell(mark(item, checked), reason(item) if judged else "", style=STYLES[item.grade] if judged else "soft")
    return row_of([shortened(name, NAMES), value_text(item), interval_text(item), limit_text(item), verdict])


def _closing(checked: Checked) -> Iterable[Part]:
    for remark in beside(checked):
        yield Named("note:", [remark], indent=6)
    yield Paragraph(ending(checked))
