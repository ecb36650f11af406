"""The results of a check, as a page shows them, and the check that is stored in the folder of a
run.
"""

import json
from functools import partial
from typing import Any

from msgspec import Struct, structs

from bench.base.errors import UsageError
from bench.files.safe_io import read_file, read_json
from reports.analysis.check.results import SCHEMA, WITHOUT_KINDS, CheckDocument, by_threshold
from reports.data.runs import RunFrames
from reports.formatting import NBSP
from reports.render import blocks as b
from reports.results.json_entries import read_document
from reports.results.value import Finding, FindingTexts, LimitFinding
from reports.text.comparison_rows import NO_VERDICT, NOT_JUDGED

CHECK_FILE = "check.json"
ROWS_SHOWN = 10
"""The maximum number of thresholds that a comment shows without folding."""


def stored_check(run: RunFrames) -> CheckDocument | None:
    """Return the check in check.json; None if there is none, or if it does not cover the rows of
    the run.

    A run that was checked while it was in progress has more rows at its end.
    """
    try:
        content = read_file(run.folder / CHECK_FILE)
        document = read_document(with_kinds(content), CheckDocument)
    except (OSError, ValueError, UsageError):
        return None
    has_all_rows = document.rows == len(run.turns) + len(run.sessions)
    return document if has_all_rows and document.schema in (WITHOUT_KINDS, SCHEMA) else None


class Findings(Struct):
    """The part of a check.json that depends on its schema."""

    schema: int
    findings: list[dict[str, Any]]


def with_kinds(check: bytes) -> bytes:
    """Return a check.json with the `kind` of each finding, which files of schema WITHOUT_KINDS
    lack.
    """
    known = read_json(check, Findings)
    if known.schema != WITHOUT_KINDS:
        return check
    for finding in known.findings:
        finding["kind"] = "limit" if "limit" in finding else "baseline"
    return json.dumps(read_json(check) | {"findings": known.findings}).encode()


def threshold_table(checked: CheckDocument, caption: str = "") -> b.Table:
    """Return a table with a row for each threshold and target, the worst result first.

    If a threshold has results for several types of turns, they are below its row.
    """
    results = checked.findings
    several = len({finding.value.target for finding in results}) > 1
    relative = any(not isinstance(finding, LimitFinding) for finding in results)
    judged = any(map(_is_judged, results))
    heads = [
        b.TextColumn("metric"),
        b.TextColumn("target") if several else None,
        b.Column("baseline", leave_out=1) if relative else None,
        "value",
        b.Column("interval", leave_out=3),
        "limit",
        b.Column("distance to limit", leave_out=2) if judged else None,
        b.TextColumn("verdict"),
    ]
    row = partial(_row, several=several, relative=relative, judged=judged)
    rows = list[b.Row]()
    for mine in by_threshold(results):
        rows += (
            [row(mine[0], over=len(mine)), *(row(one, below=True) for one in mine)]
            if mine[1:]
            else [row(mine[0])]
        )
    return b.table(heads, rows, stacked=True, caption=caption, shown=ROWS_SHOWN)


def _texts(result: Finding) -> FindingTexts:
    return result.texts or FindingTexts()


def _is_judged(result: Finding) -> bool:
    """Return whether the result counts: the run is valid, and a comparison is fair."""
    return _texts(result).verdict != NO_VERDICT or result.result == "not_evaluated"


def _row(
    result: Finding,
    *,
    several: bool,
    relative: bool,
    judged: bool,
    over: int = 0,
    below: bool = False,
) -> b.Row:
    """Return the row of a result: its own one, that of a threshold over several results, or one
    `below` that.
    """
    texts = _texts(result)
    is_judged = _is_judged(result)
    if over:
        verdict = result.result.replace("_", " ") if is_judged else texts.verdict
        texts = FindingTexts(limit=texts.limit, verdict=verdict, value=f"{over} types of turns")
    title = result.value.name if over else result.title
    if below:
        title = f"· {title.removeprefix(result.value.name).strip()}"
        texts = structs.replace(texts, limit="")
    values = [*([texts.baseline] if relative else []), texts.value, texts.interval]
    cells = [
        b.Cell(title),
        b.Cell(result.value.target) if several else None,
        *(
            b.Cell(value.replace(" ", NBSP), style="" if is_judged else "struck")
            for value in values
        ),
        b.Cell(texts.limit.replace(" ", NBSP)),
        b.Cell(texts.distance) if judged else None,
        _verdict(result, texts) if is_judged else b.Cell(NOT_JUDGED, style="soft-ink"),
    ]
    return b.make_row(cells, more=b.note(texts.reason))


def _verdict(result: Finding, texts: FindingTexts) -> b.Cell:
    marker = b.MARKS[result.result].marker
    style = b.MARKS[result.result].colour
    verdict = texts.verdict
    text = b.Strong(verdict) if result.result in ("fail", "not_evaluated") else verdict
    return b.Cell((f"{marker} ", text), below=texts.reason, brief="", style=f"{style}-ink")
