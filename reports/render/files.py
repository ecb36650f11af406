"""The writing of the files of a page: HTML, Markdown, and JSON for programs."""

from pathlib import Path
from typing import NamedTuple

from bench.base.errors import UsageError
from bench.files.safe_io import replace_text
from reports.render.blocks import Page
from reports.render.html import render_html
from reports.render.markdown import render_markdown


class PagePaths(NamedTuple):
    """The paths of the files of a page."""

    html: Path
    markdown: Path
    json: Path


def write_page(page: Page, json: str, html: Path, what: str, data_file: str = "") -> PagePaths:
    """Write the files, each atomically. Raise UsageError, which names `what`, if their folder is
    not writable. The file of the data has the name of the page, or `data_file`. If `json` is "",
    it is not written.
    """
    data = html.with_name(data_file) if data_file else html.with_suffix(".json")
    paths = PagePaths(html, html.with_suffix(".md"), data)
    texts = render_html(page), render_markdown(page), json
    try:
        html.parent.mkdir(parents=True, exist_ok=True)
        for path, content in zip(paths, texts, strict=True):
            if content:
                replace_text(path, content)
    except OSError as error:
        raise UsageError(f"{what} cannot be written to {html.parent}: {error.strerror}") from None
    return paths
