"""The figures of a report as files that need no page: SVG, or PNG for slides and chats."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from reports.analysis.summary.summary import summarise
from reports.data.export import ExportedFile, output_folder, write_file
from reports.data.runs import load_for_report
from reports.pages.run_report.report import run_page
from reports.pages.thresholds import stored_check
from reports.render import blocks as b
from reports.render.picture import Text, png_of, sheet
from reports.render.terminal import essentials, plain_text

PictureFormat = Literal["svg", "png"]


class NamedFigure(NamedTuple):
    """A figure with its name, which is its anchor in the page, and its texts."""

    name: str
    title: str
    caption: b.Inline
    svg: str
    guide: b.Inline


def export_figures(
    folder: Path, form: PictureFormat, out: Path | None = None, *, force: bool = False
) -> list[ExportedFile]:
    """Write each figure of a run's report into the folder `out`, by default the folder `export` of
    the run. Raise UsageError as `export_tables`, and if a PNG cannot be rendered without fonts.
    """
    run = load_for_report(folder)
    page = run_page(summarise(run), stored_check(run))
    pictures = {f"{figure.name}.{form}": picture(page, figure) for figure in figures(page)}
    out_folder = output_folder(folder, out, list(pictures), force=force)
    return [
        ExportedFile(path, write_file(folder, path, partial(_write, svg, form)), "bytes")
        for name, svg in pictures.items()
        for path in [out_folder / name]
    ]


def _write(svg: str, form: PictureFormat, path: Path) -> int:
    return path.write_bytes(png_of(svg) if form == "png" else svg.encode())


def figures(page: b.Page) -> Iterator[NamedFigure]:
    """Yield the figures of a page in their order. `render/templates/blocks.html.j2` names them in
    the same way.
    """
    for section in (b.Section("answer", page.headline, "", page.answer or ()), *page.sections):
        for count, (title, figure) in enumerate(_drawn(section.blocks), 1):
            if figure.svg:
                shown = f"{section.heading}: {title}" if title else section.heading
                guides = [block.text for block in figure.below if isinstance(block, b.ReadingGuide)]
                yield NamedFigure(
                    f"{section.anchor}-{count}", shown, figure.caption, figure.svg, tuple(guides)
                )


def _drawn(blocks: Iterable[b.Block]) -> Iterator[tuple[str, b.Figure]]:
    """Yield each figure with the heading above it in a fold, or ""."""
    title = ""
    for block in blocks:
        match block:
            case b.Heading(title):
                pass
            case b.Figure():
                yield title, block
                yield from _drawn(block.below)
            case b.Details(blocks=inner):
                yield from _drawn(inner)
            case _:
                pass


def picture(page: b.Page, figure: NamedFigure) -> str:
    """Return a figure as an SVG document: its title, its caption, and the run that it is from, with
    the verdict on the run.
    """
    caption, guide = plain_text(figure.caption), plain_text(figure.guide)
    verdict = page.badges[0]
    invalid = f"{verdict.marker} {verdict.text}: do not use these values"
    return sheet(
        [
            *([Text(invalid, "answer")] if verdict.style == b.BAD.badge else []),
            Text(figure.title, "answer"),
            *([Text(caption, "more")] if caption else []),
            figure.svg,
            *([Text(guide, "about")] if guide else []),
            Text(essentials(page), "about"),
        ]
    )
