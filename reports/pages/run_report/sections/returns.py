"""The section on calls that came back after their connection was dropped."""

from collections.abc import Iterator

from reports.analysis.returns import AGAIN, ATTEMPTS, CONNECTING, GAP, RETURNED, UNKNOWN
from reports.analysis.summary.summary import Summary
from reports.formatting import count, format_number, ms
from reports.render import blocks as b
from reports.results.value import LEVEL_NAMES, TYPICAL_LEVELS, Value, ValuesOfSubject
from reports.text.cells import estimate_cell, rate_events, share_interval
from reports.text.returns import REASONS, of_targets, return_lines

QUESTION = "Did dropped calls come back, and what did their callers hear?"
MEANING = (
    "Came back: a session opened within the limits of `reconnect`, and was not dropped before a"
    " turn succeeded. Calls that had no time for it before the end of the run are in no share. Gap:"
    " from the last sound or message of the turn in progress, else from the drop, to the first"
    " reply after the return; infinite if the call gave up."
)
TIMES = {GAP: "gap", CONNECTING: "from the drop until connected"}


def returns(summary: Summary) -> b.Section | None:
    """Return the section; None if no call was dropped, or none had `reconnect`."""
    targets = of_targets(summary.returns)
    if not targets:
        return None
    columns = [dict(_rows(*values)) for values in targets.values()]
    table = b.table(["", *targets], [[name, *(of[name] for of in columns)] for name in columns[0]])
    lines = return_lines(summary.returns, named=summary.has_several_targets)
    brief = [*b.fact("dropped calls", lines)]
    return b.Section(
        "returns", "Calls that came back", QUESTION, [table, *b.note(MEANING)], brief=brief
    )


def _rows(row: ValuesOfSubject, reasons: dict[str, Value]) -> Iterator[tuple[str, b.Cell | str]]:
    share = row[RETURNED]
    yield "came back", b.Cell(rate_events(share), share_interval(share) if share.n else "")
    for reason, text in REASONS.items():
        yield f"gave up {text}", count(reasons[reason].n if reason in reasons else 0)
    yield "unknown: the run ended before", count(row[UNKNOWN].n)
    yield "attempts, mean", format_number(row[ATTEMPTS].value)
    for metric, name in TIMES.items():
        for level in TYPICAL_LEVELS:
            value = row[f"{metric} {LEVEL_NAMES[level]}"]
            yield (
                f"{name}, {LEVEL_NAMES[level]}, ms",
                estimate_cell(value, value.n, value.failed, "call"),
            )
        longest = row[f"{metric} max"]
        yield f"{name}, longest, ms", b.Cell(ms(longest.value), f"of {count(longest.n)}")
    yield "turns that began again", count(row[AGAIN].n)
