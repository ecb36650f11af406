"""The page of the reference workload: a table for each form, and the targets that are not listed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.catalogue.metrics import CATALOGUE
from bench.catalogue.reference_workload import VERSION, WORKLOADS, Form
from reports.analysis.reference.listing import (
    LEVELS,
    METRICS,
    PublishedMetric,
    ReferenceDocument,
    ReferenceRow,
    UnlistedTarget,
)
from reports.analysis.summary.run_validity import TITLES
from reports.analysis.targets.conditions import DIGEST
from reports.formatting import count, format_utc, percent, plural
from reports.metrics.rate_metrics import RATES
from reports.render import blocks as b
from reports.text.cells import FAILED_TURNS, interval, quantile_cell
from reports.text.reasons import reasons_text

CHECK_COMMAND = "sha256sum histograms.hlog run.json *.parquet | sha256sum"
TITLE_OF_FORM: dict[Form, str] = {
    "spoken": "Spoken: the caller speaks, and the service detects the end of each turn",
    "typed": "Typed: the caller sends text, and the service answers with audio",
}
READING = (
    "Times in ms, with 95 % intervals over sessions. The table does not compare: `rtbench compare` tests whether two "
    "runs differ by more than chance. Rows with different loads, regions or dates were measured under different "
    "conditions."
)
DEFINED = {
    "tool answer": "The answer of turns in which the service called a function. Each function takes 300 ms, which the "
    "time includes.",
    "raw data": "The folder of the run, with the first characters of the digest of its raw files.",
    "reference workload": "Five scripts that represent what voice services are asked. A table has only runs with the "
    "pinned digests of these scripts.",
    "validity": "Only VALID runs are listed: the load generator was accurate enough, and no data are missing.",
}
"""The terms that the page defines, and their definitions."""


def reference_page(document: ReferenceDocument) -> b.Page:
    """Return the page with one table for each form."""
    listed, not_listed = document.listed, document.not_listed
    forms = [workload.form for workload in WORKLOADS if any(row.form == workload.form for row in listed)]
    tables = [block for form in forms for block in _form(form, [row for row in listed if row.form == form])]
    names = list(dict.fromkeys(metric.metric for row in listed for metric in row.metrics))
    rates = {"failure_rate": RATES["failure_rate"].sentence} if listed else {}
    defined = {name: CATALOGUE[name].sentence for name in names} | rates | DEFINED
    total = len(listed) + len(not_listed)
    badge = b.Badge("ok", "✓", f"{len(listed)} LISTED", "") if listed else b.Badge("no", "✕", "NOTHING LISTED", "")
    headline = f"{len(listed)} of {plural(total, 'target')} {'is' if len(listed) == 1 else 'are'} listed"
    is_simulated = any(row.simulated for row in listed)
    return b.Page(
        title=f"Reference workload, version {VERSION} · {headline}",
        badges=[badge, *([b.SIMULATED] if listed and all(row.simulated for row in listed) else [])],
        notes=f"reference workload, version {VERSION}",
        headline=headline,
        lead=b.note(b.coded(READING)) if listed else [],
        answer=tables,
        sections=[
            *([_not_listed(not_listed)] if not_listed else []),
            *([_raw_data(listed)] if listed else []),
            b.Section("how", "Definitions", "What do the words mean?", [b.Definitions(list(defined.items()))]),
        ],
        definitions=defined,
        footer=(
            b.MEASURED_AGAINST if is_simulated else "",
            "The same values are in ",
            b.Code("reference.json"),
            f". {FAILED_TURNS} All times UTC.",
        ),
    )


def _form(form: Form, rows: Sequence[ReferenceRow]) -> Iterable[b.Block]:
    """Yield the heading and the table of one form. On a narrow terminal, columns are left out."""
    columns: list[b.Head] = [
        b.Column("target", left=True, min_width=12),
        *(column for number, metric in enumerate(METRICS[form]) for column in _metric_columns(metric, main=not number)),
        b.Column("failed turns", shorten=1, leave_out=4),
    ]
    yield b.Heading(TITLE_OF_FORM[form])
    yield b.table(columns, [_row(row) for row in rows], stacked=True)


def _metric_columns(metric: PublishedMetric, *, main: bool) -> Iterable[b.Column]:
    """Yield the two columns of a metric. A terminal shows those of the main metric longest."""
    p50, p95 = (f"{metric.title} p{100 * level:g}" for level in LEVELS)
    yield b.Column(p50, below=metric.name, shorten=7 if main else 0, leave_out=0 if main else 2)
    yield b.Column(p95, below=metric.name, shorten=7 if main else 3, leave_out=0 if main else 6)


def _row(row: ReferenceRow) -> b.Row:
    simulated = f"{b.SIMULATED.marker} {b.SIMULATED.text}" if row.simulated else ""
    bounds = interval(row.failure_rate_low, row.failure_rate_high, lambda share: percent(share, 1), " – ")
    facts: dict[str, b.Inline] = {
        "validity": b.with_marker(TITLES[row.validity]),
        "region": row.region,
        "dialect": row.dialect,
        "address": row.address,
        "settings": row.settings,
        "started": format_utc(row.started_utc_ns),
        "load": f"{row.load}, {plural(row.sessions, 'session')}",
        "workload": f"version {row.workload_version}",
        "rtbench": row.tool_version,
        "raw data": (b.WebLink(row.run_id, row.link), " ", b.Code(row.digest[:DIGEST])),
    }
    return b.make_row(
        [
            b.Cell(row.target, " · ".join(filter(None, (simulated, row.model))), brief=simulated[:1]),
            *(quantile_cell(metric, level) for metric in row.metrics for level in LEVELS),
            b.Cell(percent(row.failure_rate, 1), f"{bounds}, {count(row.turns_failed)} of {count(row.turns_planned)}"),
        ],
        ids=[(name, fact) for name, fact in facts.items() if fact],
    )


def _raw_data(rows: Sequence[ReferenceRow]) -> b.Section:
    """Return the digest of each run, with the command that computes it."""
    runs = {row.run_id: row for row in rows}.values()
    lines = [(b.WebLink(row.run_id, row.link), ": ", b.Code(row.digest)) for row in runs]
    return b.Section(
        "raw-data",
        "Raw data",
        "How can I check these values?",
        [
            b.Paragraph("In the folder of a run, this command prints the digest of its raw data:", "note"),
            b.Command("digest", CHECK_COMMAND),
            b.Paragraph(
                b.coded(
                    "Then `rtbench reference RUN` makes the row from the folder, and `rtbench report RUN` all "
                    "other values."
                ),
                "note",
            ),
            b.Bullets(lines),
        ],
    )


def _not_listed(rows: Sequence[UnlistedTarget]) -> b.Section:
    lines = [_line(row) for row in rows]
    return b.Section(
        "not-listed",
        "Not listed",
        "Which targets are missing from the table, and why?",
        [b.Bullets(lines)],
        brief=[b.Fact("not listed", [line], "warn") for line in lines],
    )


def _line(row: UnlistedTarget) -> str:
    """Return the target and all reasons on one line."""
    what_to_do = f" (to list it: {'; '.join(row.remedies)})" if row.remedies else ""
    return f"{f'{row.target} of ' if row.target else ''}{row.run_id}: {reasons_text(row.reasons)}{what_to_do}"
