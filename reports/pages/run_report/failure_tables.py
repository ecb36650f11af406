"""Tables of failed turns and sessions with their IDs, for the service's support."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reports.analysis.summary.failures import FailureEntry
from reports.formatting import NBSP, NONE, count, format_utc_ms
from reports.pages.run_report.metric_tables import TARGET
from reports.render import blocks as b

UNKNOWN = "unknown"


def instant(utc_ns: int | None) -> str:
    """Return an instant in UTC with its milliseconds."""
    return UNKNOWN if utc_ns is None else format_utc_ms(utc_ns)


def tokens_text(entry: FailureEntry) -> str:
    """Return the input tokens of a failed turn, such as `9,400` or `≥ 13,900` for a lower bound."""
    if entry.context_tokens is None:
        return NONE
    return f"{f'≥{NBSP}' if entry.is_bound else ''}{count(entry.context_tokens)}"


def failure_table(entries: Sequence[FailureEntry], targets: Sequence[str]) -> b.Table:
    """Return a table with a row for each failure: its instant, its codes, its error as received,
    and its IDs.
    """
    several = len(targets) > 1
    heads: b.Heads = [
        b.Column("outcome", left=True, below="failed at (UTC)"),
        *([TARGET] if several else []),
        b.Column("step, turn", left=True),
        "input tokens",
        "HTTP",
        "close code",
    ]
    rows = []
    for entry in entries:
        index = targets.index(entry.target)
        parts: b.Line = [
            b.Cell(b.Code(entry.outcome), instant(entry.failed_utc_ns)),
            *([b.Cell(entry.target, target=index)] if several else []),
            f"{entry.step}, {entry.turn}" if entry.scope == "turn" else "session",
            tokens_text(entry),
            *(
                NONE if code is None else str(code)
                for code in (entry.http_status, entry.close_code)
            ),
        ]
        rows.append(b.make_row(parts, ids=list(_ids(entry)), target=index))
    return b.table(heads, rows, stacked=True, style="slow")


def _ids(entry: FailureEntry) -> Iterable[tuple[str, b.Inline]]:
    """Yield the error of a failure as received, and its IDs. An ID that the service did not send
    is `unknown`.
    """
    if entry.message:
        cut = " (cut: only its first characters were stored)" if entry.message_is_cut else ""
        yield "error", (b.Code(entry.message), cut)
    if entry.close_reason and entry.close_reason != entry.message:
        yield "close reason", b.Code(entry.close_reason)
    yield "started", b.Code(format_utc_ms(entry.started_utc_ns))
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
        yield name, b.Code(value) if value else UNKNOWN
    if entry.event_log:
        yield "events", b.Link(b.Code(entry.event_log), entry.event_log)


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
