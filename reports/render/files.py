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


def write_page(page: Page, json: str, paths: PagePaths, what: str) -> PagePaths:
    """Write the three files, each atomically. Raise UsageError, which names `what`, if their
    folder is not writable.
    """
    texts = render_html(page), render_markdown(page), json
    try:
        paths.html.parent.mkdir(parents=True, exist_ok=True)
        for path, content in zip(paths, texts, strict=True):
            replace_text(path, content)
    except OSError as error:
        raise UsageError(
            f"{what} cannot be written to {paths.html.parent}: {error.strerror}"
        ) from None
    return paths
