"""The section on calls that came back after their connection was dropped."""

from bench.catalogue.metrics import CATALOGUE
from reports.analysis.summary.metrics import GAVE_UP, RETURNED
from reports.analysis.summary.summary import Summary
from reports.formatting import count, format_duration, join_present
from reports.pages.run_report.metric_tables import TARGET, metrics, target_cell
from reports.render import blocks as b
from reports.text import cells

QUESTION = "Did dropped calls come back, and what did their callers hear?"
MEANING = (
    "Came back: a session opened within the limits of `reconnect`, and was not dropped before a"
    " turn succeeded. Not scored: the run ended before. A call that gave up has an infinite gap."
)
REASONS = {"attempts": "all attempts failed", "within": "too late", "refused": "refused for good"}
"""Why calls gave up."""


def returns(summary: Summary) -> b.Section | None:
    """Return the section; None if no call was dropped, or none had `reconnect`."""
    shares = [rate for rate in summary.rates if rate.metric == RETURNED]
    if not shares:
        return None
    rows = [row for row in summary.session_metrics if CATALOGUE[row.metric].due == "dropped"]
    counts = {(value.target, value.metric): value.n for value in summary.counts}
    lines: list[b.Line] = [
        [
            target_cell(summary, share.target),
            cells.share_cell(share),
            *(count(counts.get((share.target, f"{GAVE_UP}_{why}"), 0)) for why in REASONS),
        ]
        for share in shares
    ]
    longest = {row.target: row.largest for row in rows if row.metric == "return_gap"}
    brief = [
        join_present(
            "; ",
            f"{f'{share.target}: ' if summary.has_several_targets else ''}{count(share.events)} of"
            f" {count(share.n)} came back",
            cells.not_scored(share.unscored),
            f"longest gap {format_duration(longest[share.target] / 1000)}" if share.events else "",
        )
        for share in shares
    ]
    blocks = [
        b.table([TARGET, "came back", *REASONS.values()], lines),
        metrics(summary, rows),
        *b.note(MEANING),
    ]
    brief_blocks = b.fact("dropped calls", brief)
    return b.Section("returns", "Calls that came back", QUESTION, blocks, brief=brief_blocks)
