"""The section on turns with function calls or delegated tasks."""

from collections import Counter
from collections.abc import Mapping

from bench.files.sanitize import excerpt
from reports.analysis.summary.summary import Summary
from reports.data.samples import FUNCTION_VOICE_TO_VOICE, VOICE_TO_VOICE
from reports.data.uncertainty import uncertain_reason
from reports.formatting import count, format_number, ms, plural
from reports.metrics.statistic_types.rate import Within
from reports.pages.run_report.metric_tables import metrics, rows_of
from reports.render import blocks as b
from reports.results.value import Subject, ValuesOfSubject, by_subject
from reports.text import cells
from reports.text.groups import share_cell

CALLED = (
    "function_call_added",
    "function_call_done",
    "function_execution",
    "mcp_execution",
    "function_answer_ttfa",
    "function_call_to_answer",
    "function_voice_to_voice",
    "function_voice_to_voice_minus_execution",
    "dead_air",
)
FILLER = (
    "The first sound may be a filler: words that the service says before it has the result (“let me"
    " check that”). The answer is the first sound after the last result."
)
TOOLS = (
    "First sound: ",
    b.Term(VOICE_TO_VOICE),
    ". Answer: ",
    b.Term(FUNCTION_VOICE_TO_VOICE),
    ". Delegation to ",
    "answer: ",
    b.Term("function_call_to_answer"),
    ", from the first function call or delegated task. Silence: ",
    b.Term("dead_air"),
    ", the longest before a sound. Our functions: ",
    b.Term("function_execution"),
    ". Tasks: ",
    (
        "delegated tasks, or responses that called functions. Fillers: successful turns with a"
        " sound before the answer. Within the deadline: turns that failed or did not start are"
        " late."
    ),
)
MAX_TOOL_ROWS = 12
"""The maximum number of rows of turns with tools that a terminal shows. With more, it leaves out
the steps."""


def tools(summary: Summary) -> b.Section | None:
    """Return the section on turns with function calls or delegated tasks; None if there are
    none.
    """
    rows = by_subject(summary.tools)
    if not rows:
        return None
    failures = failed_mcp_calls(summary)
    whole = {subject: row for subject, row in rows.items() if not subject.step}
    shown = rows if len(rows) <= MAX_TOOL_ROWS else whole
    details = b.Details(
        "All metrics of function calls", [metrics(summary, rows_of(summary, CALLED))]
    )
    notes = [*b.line("; ".join(failures)), *b.note(FILLER), *b.note(TOOLS)]
    blocks = [_tool_table(summary, rows), *notes, details]
    mcp_calls = b.fact("MCP calls", [*cells.medians(summary, ("mcp_execution",)), *failures])
    brief = [_tool_table(summary, shown, f"Turns with tools, in ms. {FILLER}"), *mcp_calls]
    return b.Section(
        "tools", "Turns with tools", "When do callers hear the answer?", blocks, brief=brief
    )


LATENCIES = (
    (b.Column("first sound p50", shorten=4), f"{VOICE_TO_VOICE} p50"),
    (b.Column("p95", shorten=3), f"{VOICE_TO_VOICE} p95"),
    (b.Column("answer p50", shorten=6), f"{FUNCTION_VOICE_TO_VOICE} p50"),
    (b.Column("p95", shorten=6), f"{FUNCTION_VOICE_TO_VOICE} p95"),
    (b.Column("delegation to answer p50", shorten=1, leave_out=4), "function_call_to_answer p50"),
    (b.Column("silence p50", shorten=2), "dead_air p50"),
    (b.Column("p95", shorten=2, leave_out=8), "dead_air p95"),
    (b.Column("our functions p50", shorten=1, leave_out=3), "function_execution p50"),
)
"""The columns of latencies: the value that each has."""


def _tool_table(
    summary: Summary, rows: Mapping[Subject, ValuesOfSubject], caption: str = "In ms"
) -> b.Table:
    """Return a table with a row for each target, and below it a row for each of its steps."""
    values = (value for row in rows.values() for value in row.values())
    within = next(of for value in values if (of := Within.read(value.statistic)))
    latencies = [column for column, _ in LATENCIES]
    heads = [
        b.Column("target, step", inline=True),
        b.Column("turns", leave_out=5),
        *latencies,
        b.Column("tasks per turn", leave_out=5),
        b.Column("fillers", shorten=2),
        b.Column(f"within {ms(within.deadline)}", shorten=6),
        b.Column("failed", shorten=1, leave_out=7),
    ]
    lines = [_tool_row(summary, subject, row, within) for subject, row in rows.items()]
    return b.table(heads, lines, "tools", stacked=True, caption=caption)


def _tool_row(summary: Summary, subject: Subject, row: ValuesOfSubject, within: Within) -> b.Row:
    target = summary.targets.index(subject.target)
    uncertain = summary.run.uncertain_metrics
    name = b.Cell(
        f"· {subject.step}" if subject.step else subject.title,
        target=target,
        marked=not subject.step,
    )
    parts: b.Line = [name, count(row["turns"].n)]
    for value in (row[name] for _, name in LATENCIES):
        is_uncertain = uncertain_reason(uncertain, value.target, value.metric) is not None
        parts.append(cells.estimate_cell(value, value.n, value.failed, "", uncertain=is_uncertain))
    parts.append(format_number(row["delegations"].value))
    shares = row["preamble_rate"], row[f"{FUNCTION_VOICE_TO_VOICE} {within.aggregate}"]
    return b.make_row(
        [*parts, *map(cells.share_cell, shares), share_cell(row["failure_rate"])], target=target
    )


NAMED_ERRORS = 3
"""The maximum number of errors of MCP calls that are named."""
ERROR_CHARACTERS = 100


def failed_mcp_calls(summary: Summary) -> list[str]:
    """Return the number of measured turns with a failed MCP call, and the most frequent errors; []
    if none failed. Example: `3 of 40 turns with MCP calls had a failed call`, `docs.search:
    http_error 503: Busy (2)`.
    """
    frame = summary.run.turns
    failed = frame.loc[frame["measured"], "mcp_call_failed"].dropna()
    failures = sum(map(bool, failed))
    if not failures:
        return []
    errors = Counter(frame.loc[frame["measured"], "mcp_error"].dropna())
    turns = f"{count(failures)} of {plural(len(failed), 'turn')} with MCP calls had a failed call"
    return [
        turns,
        *(
            f"{excerpt(error, ERROR_CHARACTERS)} ({n:,})"
            for error, n in errors.most_common(NAMED_ERRORS)
        ),
    ]
