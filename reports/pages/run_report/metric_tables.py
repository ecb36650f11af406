"""Tables of metrics, and of failed turns and sessions with their IDs for the service's support, and
other parts that several sections of a report use.
"""

from collections.abc import Iterable, Sequence

from reports.analysis.summary.failures import FailureEntry
from reports.analysis.summary.metrics import ALL, HistogramSummary, MetricSummary
from reports.analysis.summary.summary import Summary
from reports.formatting import NBSP, NONE, count, format_number, format_utc_ms
from reports.render.blocks import (
    Cell,
    Code,
    Head,
    Inline,
    Line,
    Link,
    Table,
    Term,
    TextColumn,
    make_row,
    table,
)
from reports.results.value import LEVEL_NAMES, LEVELS
from reports.text import cells

TARGET = TextColumn("target")
"""The column of the cells that `target_cell` returns."""
METRICS: list[Head] = ["metric", TARGET, *LEVEL_NAMES.values(), "max"]
METRICS += ["planned", "completed", "unfinished"]

BRIEF_ROWS = 4
"""The maximum number of lines of one kind that a terminal shows."""


def metrics(
    summary: Summary, rows: Sequence[MetricSummary], events: Sequence[HistogramSummary] = ()
) -> Table:
    """Return a table with a row for each metric of turns or sessions, then a row for each metric
    of events.
    """
    lines: list[Line] = []
    for row in rows:
        since = cells.measured_from_text(row.metric, row.stratum)
        head = Cell(Term(row.metric), f"{row.unit},{since}" if since else row.unit)
        target = target_cell(summary, row.target, cells.row_target(row))
        lines.append([head, target, *quantile_cells(row), count(row.unfinished)])
    for event in events:
        counted = ((event.negative, "negative"), (event.out_of_range, "out of range"))
        more = ", ".join(f"{count(n)} {word}" for n, word in counted if n) or NONE
        head = Cell(Term(event.metric), f"{event.unit}, every event")
        lines.append(
            [
                head,
                target_cell(summary, event.target),
                *quantiles(event),
                count(event.n),
                Cell(more, columns=2),
            ]
        )
    return table(METRICS, lines, "quantiles")


def quantiles(row: HistogramSummary) -> list[Inline]:
    """Return the quantiles and the maximum as texts."""
    return [*map(format_number, (*row.quantiles, row.largest))]


def quantile_cells(row: MetricSummary) -> Line:
    """Return cells with the quantiles, the maximum, the number of planned turns, and the share
    that completed.
    """
    return [
        *(cells.quantile_cell(row, p, "") for p in LEVELS),
        format_number(row.largest),
        count(row.planned),
        cells.completed_share(row),
    ]


def target_cell(summary: Summary, target: str, text: str = "", *, marked: bool = False) -> Cell:
    """Return a cell in the colour of a target. It has the name of the target, or the given text. If
    `marked`, it also has the marker of the target.
    """
    index = summary.targets.index(target) if target in summary.targets else 0
    return Cell(text or target, target=index, marked=marked)


def rows_of(summary: Summary, names: tuple[str, ...]) -> list[MetricSummary]:
    """Return the summaries of these metrics over all steps, in the order of `names`."""
    rows = [row for row in summary.turn_metrics if row.step == ALL and row.metric in names]
    return sorted(rows, key=lambda row: names.index(row.metric))


def texts_by_target(summary: Summary, texts_of_target: dict[str, list[str]]) -> str:
    """Return the texts of all targets as one text, such as `direct: 3 of 40 replies stalled (7.5
    %); gateway: …`.
    """
    parts = [
        f"{target}: {', '.join(words)}" if summary.has_several_targets else ", ".join(words)
        for target, words in texts_of_target.items()
        if words
    ]
    return "; ".join(parts)


UNKNOWN = "unknown"


def instant(utc_ns: int | None) -> str:
    """Return an instant in UTC with its milliseconds."""
    return UNKNOWN if utc_ns is None else format_utc_ms(utc_ns)


def tokens_text(entry: FailureEntry) -> str:
    """Return the input tokens of a failed turn, such as `9,400` or `≥ 13,900` for a lower bound."""
    if entry.context_tokens is None:
        return NONE
    return f"{f'≥{NBSP}' if entry.is_bound else ''}{count(entry.context_tokens)}"


def failure_table(entries: Sequence[FailureEntry], targets: Sequence[str]) -> Table:
    """Return a table with a row for each failure: its instant, its codes, its error as received,
    and its IDs.
    """
    several = len(targets) > 1
    heads = [
        TextColumn("outcome", below="failed at (UTC)"),
        TARGET if several else None,
        TextColumn("step, turn"),
        "input tokens",
        "HTTP",
        "close code",
    ]
    rows = []
    for entry in entries:
        index = targets.index(entry.target)
        parts = [
            Cell(Code(entry.outcome), instant(entry.failed_utc_ns)),
            Cell(entry.target, target=index) if several else None,
            f"{entry.step}, {entry.turn}" if entry.scope == "turn" else "session",
            tokens_text(entry),
            *(
                NONE if code is None else str(code)
                for code in (entry.http_status, entry.close_code)
            ),
        ]
        rows.append(make_row(parts, ids=list(_ids(entry)), target=index))
    return table(heads, rows, stacked=True, style="slow")


def _ids(entry: FailureEntry) -> Iterable[tuple[str, Inline]]:
    """Yield the error of a failure as received, and its IDs. An ID that the service did not send
    is `unknown`.
    """
    if entry.message:
        cut = " (cut: only its first characters were stored)" if entry.message_is_cut else ""
        yield "error", (Code(entry.message), cut)
    if entry.close_reason and entry.close_reason != entry.message:
        yield "close reason", Code(entry.close_reason)
    yield "started", Code(format_utc_ms(entry.started_utc_ns))
    names: dict[str, list[str]] = {}
    for name, value in entry.headers.items():
        names.setdefault(value, []).append(name)
    ids = {"our session": entry.session, "service’s session": entry.service_session}
    ids |= {"response": entry.response} if entry.scope == "turn" else {}
    ids |= {
        name: of
        for name, of in (("request", entry.request), ("region", entry.region))
        if of not in names
    }
    ids |= {", ".join(of_value): value for value, of_value in names.items()}
    for name, value in ids.items():
        yield name, Code(value) if value else UNKNOWN
    if entry.event_log:
        yield "events", Link(Code(entry.event_log), entry.event_log)


def failure_text(entry: FailureEntry) -> str:
    """Return a failure as a text of a terminal: the outcome, the instant, the most important
    IDs, and the error.
    """
    ids = (
        ("request", entry.request),
        ("service’s session", entry.service_session),
        ("response", entry.response),
        ("our session", entry.session),
    )
    tokens = "" if entry.context_tokens is None else f", {tokens_text(entry)} input tokens"
    named = ", ".join(f"{name} {value}" for name, value in ids if value)
    error = f"; {entry.message}" if entry.message else ""
    return (
        f"{entry.outcome} of {entry.target} at {instant(entry.failed_utc_ns)}{tokens}:"
        f" {named}{error}"
    )
