"""The display of a frame in a notebook: a headline and a small table. The macros of report pages
render it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from reports.formatting import count, format_number
from reports.render.blocks import (
    MARKS,
    Blocks,
    Cell,
    Column,
    Paragraph,
    Strong,
    make_row,
    note,
    table,
    with_marker,
)
from reports.render.html import environment

MAX_ROWS = 24


def frame_html(
    headline: str, frame: pd.DataFrame, columns: Sequence[str], notes: Sequence[str] = ()
) -> str:
    """Return the first rows of the frame as HTML. Only these columns are shown, without those
    that are empty.
    """
    displayed = frame[list(columns)].head(MAX_ROWS)
    displayed = displayed.loc[:, [bool(column.notna().any()) for _, column in displayed.items()]]
    texts = [not pd.api.types.is_numeric_dtype(column.dtype) for _, column in displayed.items()]
    heads = [
        Column(str(name).replace("_", " "), left=text)
        for name, text in zip(displayed, texts, strict=True)
    ]
    rows = [
        make_row([Cell(_text(value)) for value in row]) for row in displayed.itertuples(index=False)
    ]
    more = (
        f"{count(len(frame) - MAX_ROWS)} more rows in the frame." if len(frame) > MAX_ROWS else ""
    )
    blocks: Blocks = [Paragraph(Strong(headline))]
    blocks += [block for text in notes for block in note(text)]
    blocks += [table(heads, rows)] if rows else []
    rendered: Any = environment().get_template("blocks.html.j2").make_module({"defs": ()})
    return str(rendered.render([*blocks, *note(more)]))


def _text(value: object) -> str:
    if pd.isna(value):  # type: ignore[call-overload]
        return ""
    if isinstance(value, float):
        return format_number(value)
    return with_marker(value) if isinstance(value, str) and value in MARKS else str(value)
