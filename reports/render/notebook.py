"""The display of a frame in a notebook: a headline and a small table."""

from collections.abc import Sequence
from html import escape

import pandas as pd

from reports.formatting import format_number

MAX_ROWS = 24


def frame_html(
    headline: str, frame: pd.DataFrame, columns: Sequence[str], notes: Sequence[str] = ()
) -> str:
    """Return the first and the last rows of the frame as HTML. Only these columns are shown,
    without those that are empty.
    """
    displayed = frame[list(columns)].dropna(axis="columns", how="all")
    displayed.columns = displayed.columns.str.replace("_", " ")
    texts = displayed.astype(object).where(displayed.notna(), "")
    paragraphs = [f"<b>{escape(headline)}</b>", *map(escape, notes)]
    table = texts.to_html(index=False, float_format=format_number, max_rows=MAX_ROWS, border=0)
    return "".join([f"<p>{text}</p>" for text in paragraphs] + [table] * (not texts.empty))
