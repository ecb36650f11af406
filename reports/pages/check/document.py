"""The files of a check. `FORMATS` has each format in which a check can be written."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from bench.base.errors import UsageError
from bench.files.safe_io import save_text
from bench.record.presence import is_run
from reports.analysis.check.results import CheckDocument, CheckResult
from reports.metrics.thresholds import near, quoted
from reports.pages.check.report import with_sentences
from reports.pages.thresholds import CHECK_FILE
from reports.render.blocks import Page
from reports.render.markdown import render_markdown
from reports.results.json_entries import narrowed, text_of
from reports.text.reasons import document_data


def check_data(checked: CheckResult) -> dict[str, Any]:
    """Return the document check.json as lists, dictionaries, strings and numbers."""
    return document_data(narrowed(CheckDocument, with_sentences(checked)), findings=("findings",))


class CheckFormat(NamedTuple):
    """A format of a check.

    `text` returns the content of the file, given the check and its page. `refusal` returns that
    after a user error, which prevented the check; None if there is no file then.
    """

    text: Callable[[CheckResult, Page], str]
    refusal: Callable[[str], str] | None = None


def _junit(checked: CheckResult, _: Page) -> str:
    from reports.pages.check.junit import junit_xml

    return junit_xml(checked)


def _junit_refusal(error: str) -> str:
    from reports.pages.check.junit import junit_refusal

    return junit_refusal(error)


FORMATS = {
    "json": CheckFormat(lambda checked, _: text_of(check_data(checked))),
    "junit": CheckFormat(_junit, _junit_refusal),
    "markdown": CheckFormat(lambda _, page: render_markdown(page)),
}
IN_RUN = {"json": CHECK_FILE, "markdown": "check.md"}
"""The formats that are always written, with their files in the folder of the run."""


def requested_files(options: Iterable[str]) -> list[tuple[CheckFormat, Path]]:
    """Return the format and the path of each `FORMAT=FILE`. Raise UsageError for a format that
    does not exist.
    """
    files = []
    for option in options:
        name, _, path = option.partition("=")
        if name not in FORMATS or not path:
            raise UsageError(
                f"--write {quoted(option)} is not FORMAT=FILE{near(name, FORMATS)} formats:"
                f" {', '.join(FORMATS)}"
            )
        files.append((FORMATS[name], Path(path)))
    return files


def write_check(checked: CheckResult, page: Page, folder: Path) -> Path:
    """Write check.json and check.md, each atomically. Return the path of check.md.

    If the run has a decision, write decision.json again.

    Raise UsageError if a file cannot be written.
    """
    if checked.decision:
        from reports.pages.comparisons.interim import write_decision

        write_decision(checked.decision, folder)
    for name, file in IN_RUN.items():
        save_text(folder / file, FORMATS[name].text(checked, page))
    return folder / IN_RUN["markdown"]


def write_refusal(form: CheckFormat, path: Path, error: str) -> None:
    """Write the user error that prevented the check, or remove the file of an earlier check.

    The earlier results could be mistaken for those of the refused check. Raise UsageError if this
    is not possible.
    """
    if form.refusal is not None:
        save_text(path, form.refusal(error))
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as cause:
        raise UsageError(
            f"{path}, written by an earlier check, cannot be removed: {cause.strerror}"
        ) from None


def files_of(folder: Path) -> list[tuple[CheckFormat, Path]]:
    """Return the format and the path of each file of a run's check; [] if the folder is not that
    of a run.
    """
    try:
        return (
            [(FORMATS[name], folder / file) for name, file in IN_RUN.items()]
            if is_run(folder)
            else []
        )
    except UsageError:
        return []  # the check was refused because of the same folder


def append_summary(page: Page, path: Path) -> None:
    """Append the comment (check.md) to the summary of a GitHub step, after the text that other
    steps wrote.
    """
    try:
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(render_markdown(page) + "\n")
    except OSError as error:
        raise UsageError(
            f"GITHUB_STEP_SUMMARY {path} cannot be written: {error.strerror}"
        ) from None
