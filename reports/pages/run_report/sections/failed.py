"""The section on failed turns and sessions."""

from reports.analysis.summary.summary import Summary
from reports.formatting import count, plural
from reports.pages.run_report.metric_tables import failure_table
from reports.render import blocks as b

ONLY_FAILED = "rtbench report --only failed"
AS_RECEIVED = (
    "Errors are the texts that the service sent, as received: the code and the message of the body,"
    " on one line, with control characters escaped. If a connection broke, they are those of our"
    " operating system. Possible credentials are replaced by ***."
)


def failed(summary: Summary) -> b.Section | None:
    """Return the section with an example of each kind of failure; None if there was none."""
    return _section(summary, are_all_shown=False)


def all_failed(summary: Summary) -> b.Section | None:
    """Return the same section with all listed failures."""
    return _section(summary, are_all_shown=True)


def _section(summary: Summary, *, are_all_shown: bool) -> b.Section | None:
    listed = summary.failures
    if not listed.total:
        return None
    blocks: b.Blocks = [
        b.Paragraph(AS_RECEIVED),
        b.Heading(
            f"An example of each kind ({count(len(listed.examples))} of {count(listed.kinds)})"
        ),
        failure_table(listed.examples, summary.targets),
    ]
    shown = listed.listed if are_all_shown else listed.examples
    if others := shown[len(listed.examples) :]:
        title = f"{plural(len(others), 'more failure')}, by time"
        blocks += [b.Details(title, [failure_table(others, summary.targets)])]
    if not_shown := listed.total - len(shown):
        lists: b.Inline = "" if are_all_shown else (b.Code(ONLY_FAILED), " lists others, ")
        more: b.Inline = (
            f"{plural(not_shown, 'more failure')} of {count(listed.total)} are not listed: ",
            lists,
            b.Code("rtbench runs export"),
            " writes all rows (turns.csv, sessions.csv).",
        )
        blocks += [b.Paragraph(more)]
    return b.Section("failed", "Failed turns and sessions", "Which requests failed?", blocks)
