"""The section on turns with function calls or delegated tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bench.files.sanitize import excerpt
from reports.analysis.summary.metrics import ALL
from reports.analysis.summary.summary import Summary
from reports.analysis.summary.tools import ToolLatency, ToolTurns
from reports.data.samples import FUNCTION_VOICE_TO_VOICE, VOICE_TO_VOICE
from reports.formatting import count, format_number, ms, plural
from reports.pages.run_report.metric_tables import metrics, rows_of
from reports.render import blocks as b
from reports.text import cells

CALLED = (
    *("function_call_added", "function_call_done", "function_execution", "mcp_execution", "function_answer_ttfa"),
    *("function_call_to_answer", "function_voice_to_voice", "function_voice_to_voice_minus_execution", "dead_air"),
)
FILLER = (
    "The first sound may be a filler: words that the service says before it has the result (“let me check that”). The "
    "answer is the first sound after the last result."
)
TOOLS: b.Inline = (
    *("First sound: ", b.Term(VOICE_TO_VOICE), ". Answer: ", b.Term(FUNCTION_VOICE_TO_VOICE), ". Delegation to "),
    *("answer: ", b.Term("function_call_to_answer"), ", from the first function call or delegated task. Silence: "),
    *(b.Term("dead_air"), ", the longest before a sound. Our functions: ", b.Term("function_execution"), ". Tasks: "),
    "delegated tasks, or responses that called functions. Fillers: successful turns with a sound before the answer. "
    "Within the deadline: turns that failed or did not start are late.",
)
MAX_TOOL_ROWS = 12
"""The maximum number of rows of turns with tools that a terminal shows. With more, it leaves out the steps."""


def tools(summary: Summary) -> b.Section | None:
    """Return the section on turns with function calls or delegated tasks; None if there are none."""
    if not summary.tools:
        return None
    failures = failed_mcp_calls(summary)
    whole = [row for row in summary.tools if row.step == ALL]
    shown = summary.tools if len(summary.tools) <= MAX_TOOL_ROWS else whole
    details = b.Details("All metrics of function calls", [metrics(summary, rows_of(summary, CALLED))])
    notes = [*b.line("; ".join(failures)), *b.note(FILLER), *b.note(TOOLS)]
    blocks = [_tool_table(summary, summary.tools), *notes, details]
    mcp_calls = b.fact("MCP calls", [*cells.medians(summary, ("mcp_execution",)), *failures])
    brief = [_tool_table(summary, shown, f"Turns with tools, in ms. {FILLER}"), *mcp_calls]
    return b.Section("tools", "Turns with tools", "When do callers hear the answer?", blocks, brief=brief)


LATENCIES = (
    (b.Column("first sound p50", shorten=4), "first_sound", "p50"),
    (b.Column("p95", shorten=3), "first_sound", "p95"),
    (b.Column("answer p50", shorten=6), "answer", "p50"),
    (b.Column("p95", shorten=6), "answer", "p95"),
    (b.Column("delegation to answer p50", shorten=1, leave_out=4), "task_to_answer", "p50"),
    (b.Column("silence p50", shorten=2), "longest_silence", "p50"),
    (b.Column("p95", shorten=2, leave_out=8), "longest_silence", "p95"),
    (b.Column("our functions p50", shorten=1, leave_out=3), "own_functions", "p50"),
)
"""The columns of latencies: the field of `ToolTurns`, and its quantile."""


def _tool_table(summary: Summary, rows: Sequence[ToolTurns], caption: str = "In ms") -> b.Table:
    """Return a table with a row for each target, and below it a row for each of its steps."""
    heads: list[b.Head] = [
        b.Column("target, step", min_width=12),
        b.Column("turns", leave_out=5),
        *(column for column, *_ in LATENCIES),
        b.Column("tasks per turn", leave_out=5),
        b.Column("fillers", shorten=2),
        b.Column(f"within {ms(rows[0].in_time.deadline_ms)}", shorten=6),
        b.Column("failed", shorten=1, leave_out=7),
    ]
    return b.table(heads, [_tool_row(summary, row) for row in rows], "tools", stacked=True, caption=caption)


def _tool_row(summary: Summary, row: ToolTurns) -> b.Row:
    target, whole = summary.targets.index(row.target), row.step == ALL
    name = b.Cell(row.title if whole else f"· {row.step}", target=target, marked=whole)
    parts: b.Line = [name, count(row.turns)]
    for _, field, p in LATENCIES:
        latency: ToolLatency = getattr(row, field)
        estimate, uncertain = getattr(latency, p), latency.uncertain is not None
        parts.append(cells.estimate_cell(estimate, latency.n, latency.failed, "", uncertain=uncertain))
    shares = cells.share_cell(row.fillers), cells.share_cell(row.in_time), cells.failures(row)
    return b.make_row([*parts, format_number(row.tasks_per_turn), *shares], target=target)


NAMED_ERRORS = 3
"""The maximum number of errors of MCP calls that are named."""
ERROR_CHARACTERS = 100


def failed_mcp_calls(summary: Summary) -> list[str]:
    """Return the number of measured turns with a failed MCP call, and the most frequent errors; [] if none failed.
    Example: `3 of 40 turns with MCP calls had a failed call`, `docs.search: http_error 503: Busy (2)`.
    """
    frame = summary.run.turns
    failed = frame.loc[frame["measured"], "mcp_call_failed"].dropna()
    failures = sum(map(bool, failed))
    if not failures:
        return []
    errors = Counter(frame.loc[frame["measured"], "mcp_error"].dropna())
    turns = f"{count(failures)} of {plural(len(failed), 'turn')} with MCP calls had a failed call"
    return [turns, *(f"{excerpt(error, ERROR_CHARACTERS)} ({n:,})" for error, n in errors.most_common(NAMED_ERRORS))]
