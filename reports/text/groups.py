"""The texts on groups of turns: a table of their latencies, and sentences on significant
differences.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from reports.analysis.summary.groups import GroupDifference, GroupedLatency, TurnGroup
from reports.analysis.summary.summary import Summary
from reports.formatting import NBSP, NONE, count, format_ms_list, join_words, ms, percent, plural
from reports.render.blocks import (
    Blocks,
    Cell,
    Column,
    Heads,
    Line,
    Paragraph,
    Row,
    Table,
    TextColumn,
    table,
)
from reports.results.value import Value
from reports.text.cells import estimate_cell, metric_title, share_interval
from reports.text.phrases import interval


class GroupWording(NamedTuple):
    """The texts for a key by which turns are grouped.

    - `head` is the title of a column.
    - `title` is the title of a figure.
    - `axis` is the title of its axis.
    - `one` is the name of a group, with the placeholder {}.
    """

    head: str
    title: str
    axis: str
    one: str = "{}"
    more: str = ""
    """The name of a group with a number above 1, if it differs from `one`: "calls" instead of
    "call"."""
    where: str = "with"
    """The preposition before the name of a group, such as "on" in: 412 ms on red."""

    def of(self, group: TurnGroup) -> str:
        """Return the name of a group, such as `turn 3` or `11–20 calls in progress`."""
        return (self.more if self.more and group.bin.end > 1 else self.one).format(group.bin.name)


OTHERWISE = {
    "turn": GroupWording("turn", "By turn number", "turn number in the session", "turn {}"),
    "age": GroupWording(
        "age of the session", "By session age", "age of the session at the turn’s start"
    ),
    "context": GroupWording(
        "input tokens", "By input tokens", "input tokens of the turn’s first response", "{} tokens"
    ),
    "calls": GroupWording(
        "calls in progress",
        "By calls in progress",
        "calls in progress",
        f"{{}}{NBSP}call in progress",
        f"{{}}{NBSP}calls in progress",
    ),
    "host": GroupWording("host", "By host", "host", where="on"),
    "region": GroupWording("region", "By region", "region", where="in"),
}


def key_text(by: str) -> GroupWording:
    """Return the texts for a key. If none are defined, they are the key itself."""
    return OTHERWISE.get(by, GroupWording(by, f"By {by}", by))


def latency_table(latencies: Sequence[GroupedLatency], targets: Sequence[str]) -> Table:
    """Return a table with one row per group. Latencies are in ms. All groups must have the same
    key and metric.
    """
    opening = any(group.unopened is not None for latency in latencies for group in latency.groups)
    heads = [
        TextColumn(key_text(latencies[0].by).head),
        TextColumn("target", leave_out=0 if len(latencies) > 1 else 1),
        Column("turns", leave_out=4),
        Column("sessions", leave_out=2),
        Column("p50", shorten=5, leave_out=6),
        Column("p95", shorten=5),
        Column("failed", shorten=1),
        Column("not opened", shorten=1, leave_out=3) if opening else None,
    ]
    rows: list[Row | Line] = []
    for latency, group in ((grouped, group) for grouped in latencies for group in grouped.groups):
        target = Cell(latency.target, target=targets.index(latency.target))
        quantiles = [
            estimate_cell(group.at(p), group.n, group.failed.events, "") for p in (0.5, 0.95)
        ]
        rows.append(
            [
                group.bin.name,
                target,
                count(group.turns),
                count(group.sessions),
                *quantiles,
                share_cell(group.failed, not_started_text(group)),
                None if group.unopened is None else share_cell(group.unopened),
            ]
        )
    return table(heads, rows)


def share_cell(rate: Value, more: str = "") -> Cell:
    """Return a cell with a share above its counts, such as `90 %` above `360 of 400, 320 not
    started`.
    """
    return Cell(percent(rate.events, rate.n), f"{count(rate.events)} of {count(rate.n)}{more}")


def interval_cell(rate: Value, more: str) -> Cell:
    """Return a cell with a share above its counts and its interval, such as `90 %` above `360 of
    400; 86 to 93 %`.
    """
    return share_cell(rate, f"; {share_interval(rate)}{more}" if rate.n else "")


def not_started_text(group: TurnGroup) -> str:
    """Return the number of turns of a group that did not start, such as `, 320 not started`; ""
    if all started.
    """
    return f", {count(group.lost)} not started" if group.lost else ""


RATES = {
    "failed": "turns failed",
    "unopened": "sessions did not open",
    "unmet": "planned turns failed or did not start",
}


def difference_text(difference: GroupDifference) -> str:
    """Return a difference of two groups as a text, such as `p95 of ttfa is 412 ms on red and
    1,830 ms on blue`.
    """
    wording = key_text(difference.of.by)
    if difference.of.compared == "below":
        fewer, share = (
            percent(group.failed.value, 1) for group in (difference.smaller, difference.larger)
        )
        high = (
            f"{wording.of(difference.larger)}"
            f"{' or more' if difference.larger.failed_at_bound else ''}"
        )
        return f"{share} of the turns failed {wording.where} {high} and {fewer} with fewer"
    low = f"{wording.where} {wording.of(difference.smaller)}"
    high = f"{wording.where} {difference.larger.bin.name}"
    if difference.what in ("p95", "p50"):
        p = 0.95 if difference.what == "p95" else 0.5
        times = format_ms_list(difference.smaller.at(p).value, difference.larger.at(p).value)
        return (
            f"{difference.what} of {difference.of.metric} is {times[0]} {low} and {times[1]} {high}"
        )
    first, second = (
        percent(getattr(group, difference.what).value, 1)
        for group in (difference.smaller, difference.larger)
    )
    has_not_started = difference.what == "failed" and (
        difference.smaller.lost or difference.larger.lost
    )
    return (
        f"{first} of the {RATES['unmet' if has_not_started else difference.what]} {low} and"
        f" {second} {high}"
    )


def description(group: TurnGroup) -> str:
    """Return the values of a group as a text. Example: `p50 480 ms (462 to 501 ms), p95 902 ms (…),
    240 turns of 24 sessions, 0.8 % failed`.
    """
    waits = []
    for estimate in filter(lambda of: of.has_interval, (group.p50, group.p95)):
        ends = interval(estimate.low, estimate.high, ms)
        value = "failed" if estimate.value == math.inf else f"{ms(estimate.value)} ({ends})"
        waits.append(f"{estimate.statistic} {value}")
    counted = f"{plural(group.turns, 'turn')} of {plural(group.sessions, 'session')}"
    parts = [
        *waits,
        counted,
        f"{percent(group.failed.events, group.failed.n)} failed{not_started_text(group)}",
    ]
    if group.unopened is not None and group.unopened.events:
        parts.append(
            f"{count(group.unopened.events)} of {count(group.unopened.n)} sessions did not open"
        )
    return ", ".join(parts)


def latency_blocks(latencies: Sequence[GroupedLatency], targets: Sequence[str]) -> Blocks:
    """Return the blocks for the latencies of groups: a title, a table, and a note on turns
    without a group.
    """
    what = (
        f"{metric_title(latencies[0].metric, latencies[0].stratum)}, in ms, with 95 %"
        " intervals over sessions."
    )
    unplaced = [Paragraph(text, "q gap")] if (text := ungrouped_text(latencies)) else []
    return [Paragraph(what, "q gap"), latency_table(latencies, targets), *unplaced]


FAILED_AT_BOUND = (
    "{} reported no input tokens: {} in the group of the last turn of the session that reported"
    " them, which is a lower bound."
)


def failure_blocks(latencies: Sequence[GroupedLatency], targets: Sequence[str]) -> Blocks:
    """Return a table of failed turns, with a row for each group and target, and a note on groups
    by a lower bound.
    """
    heads: Heads = [
        TextColumn(key_text(latencies[0].by).head),
        TextColumn("target", leave_out=0 if len(latencies) > 1 else 1),
        "turns",
        Column("sessions", leave_out=2),
        Column("failed", shorten=2),
        TextColumn("outcomes of the failed turns", style="wrap"),
        Column(f"p50 of {latencies[0].metric}, ms", shorten=1),
    ]
    rows: list[Row | Line] = []
    for latency, group in (
        (grouped, group) for grouped in latencies for group in grouped.all_groups
    ):
        target = Cell(latency.target, target=targets.index(latency.target))
        failed = interval_cell(group.failed, not_started_text(group))
        p50 = estimate_cell(group.p50, group.n, group.failed.events, "")
        outcomes = outcomes_text(group) or NONE
        rows.append(
            [
                group.bin.name,
                target,
                count(group.turns),
                count(group.sessions),
                failed,
                outcomes,
                p50,
            ]
        )
    at_bound = sum(group.failed_at_bound for latency in latencies for group in latency.all_groups)
    bound = FAILED_AT_BOUND.format(
        plural(at_bound, "failed turn"), "it is" if at_bound == 1 else "they are"
    )
    return [table(heads, rows), *([Paragraph(bound, "note")] if at_bound else [])]


def outcomes_text(group: TurnGroup) -> str:
    """Return the outcomes of the failed turns of a group, such as `closed:1006 12,
    failed:server_error 3`.
    """
    return ", ".join(
        f"{outcome} {count(number)}" for outcome, number in group.failed_by_outcome.items()
    )


def failures_line(latency: GroupedLatency) -> str:
    """Return the numbers of failed turns of all groups. Example: `0 of 80 to 2k, 12 of 40 2k to 4k
    (closed:1006 12), 3 of 20 unknown (closed:1006 3)`.
    """
    parts = []
    for group in latency.all_groups:
        outcomes = f" ({outcomes_text(group)})" if group.failed_by_outcome else ""
        parts.append(
            f"{group.bin.name}: {count(group.failed.events)} of {count(group.failed.n)}{outcomes}"
        )
    return ", ".join(parts)


def rising_failures(summary: Summary) -> str:
    """Return a sentence for each target that fails more often in longer conversations; "" if
    none does.
    """
    rising = [
        difference for difference in summary.group_differences if difference.of.compared == "below"
    ]
    several = (
        len({latency.label for latency in summary.grouped_latency if latency.by == "context"}) > 1
    )
    texts = (
        f"{f'{item.of.label}: ' if several else ''}{difference_text(item)}." for item in rising
    )
    return " ".join(texts)


def compared_blocks(summary: Summary, by: str) -> Blocks:
    """Return the blocks for the groups of a key; [] if the groups of this key are not compared."""
    pools = summary.latency_by(by)
    compared = any(latency.compared for latencies in pools for latency in latencies)
    return (
        [block for latencies in pools for block in latency_blocks(latencies, summary.targets)]
        if compared
        else []
    )


def ungrouped_text(latencies: Sequence[GroupedLatency]) -> str:
    """Return a note on turns that are in no group; "" if there are none. Example: `40 turns did not
    start and are in none of these groups (40 of west): …`.
    """
    parts = [(latency.unplaced, latency.target) for latency in latencies if latency.unplaced]
    if not parts:
        return ""
    total = sum(number for number, _ in parts)
    by_target = (
        f" ({join_words([f'{count(n)} of {target}' for n, target in parts])})"
        if len(latencies) > 1
        else ""
    )
    never = (
        f"{plural(total, 'turn')} did not start and {'is' if total == 1 else 'are'} in none of"
        f" these groups{by_target}"
    )
    return f"{never}: the {key_text(latencies[0].by).head} of a turn that did not start is unknown."
