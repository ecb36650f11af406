"""The section on the slowest turns."""

import math
from collections.abc import Sequence

from bench.base.units import NS_PER_S
from reports.analysis.summary.example_turns import SlowTurnEntry
from reports.analysis.summary.summary import Summary
from reports.data.samples import VOICE_TO_VOICE
from reports.formatting import clock, count, format_utc_ms, ms
from reports.metrics.strata import Stratum
from reports.pages.run_report.metric_tables import TARGET, target_cell
from reports.render import blocks as b

BELOW_EACH = (
    "“Began”: time since the start of the run. Below each turn: its session in the files of this"
    " run, then the ids that the service assigned to the request that opened the session, the"
    " response, and the session. If the events of a session were recorded, its log is linked:"
    " rtbench runs replay shows each event."
)


def slowest(summary: Summary) -> b.Section | None:
    """Return the section on the slowest successful turns; None if there are none. It has a table of
    all steps for each stratum and metric, and a table for each step.
    """
    blocks: b.Blocks = []
    for stratum, metric in dict.fromkeys((slow.stratum, slow.metric) for slow in summary.slowest):
        strata = {slow.stratum for slow in summary.slowest if slow.metric == metric}
        of_turns = f" of {stratum.turns_text(strata)}" if len(strata) > 1 else ""
        before, after = (
            (of_turns, "") if metric == VOICE_TO_VOICE else ("", f" {stratum.measured_from_text}")
        )
        caption = (
            f"Good turns{before} by ",
            b.Term(metric),
            f"{after}.",
            "" if blocks else f" {BELOW_EACH}",
        )
        of_run, of_steps = (
            [slow for slow in turns if (slow.stratum, slow.metric) == (stratum, metric)]
            for turns in (summary.slowest, summary.slowest_of_steps)
        )
        steps = [
            step for step in summary.turns.steps if any(slow.step == step for slow in of_steps)
        ]
        by_step = (
            (step, [slow for slow in of_steps if slow.step == step])
            for step in (steps if len(steps) > 1 else ())
        )
        body: b.Blocks = [
            b.Paragraph(caption),
            _slow_table(summary, stratum, metric, of_run),
            *b.others(
                "Each step",
                ((step, _slow_table(summary, stratum, metric, rows)) for step, rows in by_step),
            ),
        ]
        blocks += [b.Details(f"The slowest by {metric}{before}{after}", body)] if blocks else body
    return (
        b.Section("slow", "Slowest turns", "Which turns were the slowest?", blocks)
        if blocks
        else None
    )


def _slow_table(
    summary: Summary, stratum: Stratum, metric: str, rows: Sequence[SlowTurnEntry]
) -> b.Table:
    targets = summary.has_several_targets
    is_voice_to_voice = metric == VOICE_TO_VOICE
    network = any(not math.isnan(slow.network_rtt_ms) for slow in rows)
    heads = [
        "step, turn",
        TARGET if targets else None,
        metric,
        f"ttfa {stratum.measured_from_text}" if is_voice_to_voice else None,
        "response created after",
        "network_rtt" if network else None,
        "began",
    ]
    lines: list[b.Row | b.Line] = []
    for slow in rows:
        target_index = summary.targets.index(slow.target)
        resent = f"{count(slow.retransmits)} retransmitted" if slow.retransmits else ""
        parts: b.Line = [
            f"{slow.step}, {slow.turn}",
            target_cell(summary, slow.target) if targets else None,
            b.Strong(ms(slow.value_ms)),
            ms(slow.ttfa_ms) if is_voice_to_voice else None,
            ms(slow.created_ms),
            b.Cell(ms(slow.network_rtt_ms), resent) if network else None,
            clock(slow.at_s, long=summary.duration_s > 180),
        ]
        started = format_utc_ms(summary.started_utc_ns + round(slow.at_s * NS_PER_S))
        ids = (
            ("started", started),
            ("session", slow.session),
            ("request", slow.request),
            ("response", slow.response),
            ("the service’s session", slow.service_session),
            ("region", slow.region),
        )
        named: list[tuple[str, b.Inline]] = [(name, b.Code(value)) for name, value in ids if value]
        named += [("events", log_link(slow.event_log))] if slow.event_log else []
        lines.append(b.make_row(parts, ids=named, target=target_index))
    return b.table(heads, lines, stacked=True, style="slow")


def log_link(path: str) -> b.Link:
    return b.Link(b.Code(path), path)
