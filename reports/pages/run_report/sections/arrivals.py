"""The sections on load: open-loop arrivals, concurrency, and rate limits."""

import numpy as np

from reports.analysis.summary.load import ArrivalSummary, OfferedLoad, RateLimitSeries, call_bins
from reports.analysis.summary.summary import Summary
from reports.data.runs import RunFrames
from reports.formatting import (
    NBSP,
    NONE,
    count,
    format_duration,
    format_number,
    join_words,
    ms,
    percent,
    plural,
)
from reports.pages.run_report import charts, time_panels
from reports.pages.run_report.metric_tables import metrics, target_cell
from reports.render import blocks as b
from reports.render.svg import plot_figure
from reports.statistics.quantiles import quantile
from reports.text import cells, groups, phrases, remarks
from reports.text.cells import open_end_sign
from reports.text.remarks import rate

BY_LOAD = (
    "{}: p50 (solid, with its 95 % interval over sessions) and p95 (dashed), by the number of calls"
    " of the same target that were in progress at the instant the turn’s latency is measured from,"
    " or, for turns that did not start, at the end of the session. Below: failed turns, and the"
    " number of turns at each level."
)
TOGETHER = (
    "If the load of a run only rises, later turns have more calls in progress: before you attribute"
    " latency to the load, compare with latency over time and by session age."
)


def by_load(summary: Summary) -> b.Section | None:
    """Return the section on latency and failures by the number of calls in progress; None if it
    did not change.
    """
    frames = summary.latency_by("calls")
    plots = []
    for frame in frames:
        read = BY_LOAD.format(cells.metric_title(frame[0].metric, frame[0].stratum))
        numbers = groups.latency_blocks(frame, summary.targets)
        plots.append(plot_figure(charts.latency_lines(frame), read, stops=(), numbers=numbers))
    blocks = [*plots, *b.note(TOGETHER)]
    question = "Does latency depend on the load?"
    brief = groups.compared_blocks(summary, "calls")
    return (
        b.Section("load", "Latency by concurrency", question, blocks, brief=brief)
        if plots
        else None
    )


def rate_limits(summary: Summary) -> b.Section | None:
    """Return the section on rate limits; None if no turn was throttled and the service reported
    no limit.
    """
    limits = summary.throttling
    if not limits.any:
        return None
    plots = []
    interval_text = f"in each {format_duration(limits.bin_s)}"
    if limits.is_plottable:
        lines = (
            "Lines: the minimum share of a limit that the service reported as remaining "
            f"{interval_text}; tokens solid, requests dashed."
        )
        read = [lines] if any(target.remaining for target in limits.targets) else []
        counted = any(target.counts.any() for target in limits.targets)
        read += [f"Red: throttled turns and sessions {interval_text}."] if counted else []
        plots = [
            plot_figure(
                time_panels.limit_panels(limits), " ".join([*read, "Warm-up is shown too."])
            )
        ]
    rows: list[b.Line] = []
    for throttling in limits.targets:
        min_shares = {limit: percent(share, 1) for limit, share in throttling.min_remaining.items()}
        counts = map(
            count,
            (
                throttling.throttled_turns,
                throttling.throttled_sessions,
                throttling.retry_after_count,
            ),
        )
        waits = (
            ms(1000 * wait) if throttling.waits_s else NONE
            for wait in (throttling.retry_after_p50_s, throttling.retry_after_max_s)
        )
        delays = format_number(throttling.start_delay_s), count(throttling.calls_backed_off)
        remained = (min_shares.get(limit, NONE) for limit in ("tokens", "requests"))
        rows.append(
            [
                target_cell(summary, throttling.target, marked=True),
                *counts,
                *waits,
                *delays,
                *remained,
            ]
        )
    totals_text = limits_in_all(limits)
    what = b.Paragraph(phrases.as_sentence(totals_text) or "Nothing was throttled.")
    brief = b.fact("rate limits", [totals_text])
    blocks: b.Blocks = [what, *plots, b.table(LIMITS, rows)]
    return b.Section(
        "limits", "Rate limits", "Did the service limit the rate?", blocks, brief=brief
    )


LIMITS = (
    "target",
    "throttled turns",
    "throttled sessions",
    "Retry-After count",
    "p50",
    "max",
    "starts delayed, s",
    "calls delayed after failed calls",
    "min tokens remaining",
    "min requests remaining",
)
ARRIVED = (
    "target",
    "offered",
    "blocked",
    "not started",
    "delayed",
    "started",
    "failed to connect",
    "completed",
    "erlangs offered",
    "carried",
    "max concurrent",
    "mean call duration, s",
    "start_delay p50, ms",
    "p99",
)
READING_ARRIVALS = (
    "Calls that arrived in each bin; red: calls blocked because all slots were busy. service_time"
    " is measured from the start of a call, response_time from its arrival; both exclude the"
    " caller’s speech and pauses."
)


def arriving(summary: Summary) -> b.Section | None:
    """Return the section on the offered load, and on latency from the arrival of a call; None in
    a closed loop.
    """
    frame = summary.arrivals
    if frame is None:
        return None
    waits = [f for f in summary.connect_phases if f.metric in DELAYS]
    loads = list[str]()
    arrived = list[b.Line]()
    for target in frame.targets:
        name = f"{target.target}: " if len(frame.targets) > 1 else ""
        loads.append(name + phrases.as_sentence(offered_load(frame, target)))
        blocked = (
            f"{count(target.blocked)} ({percent(target.blocked, target.offered)})"
            if target.blocked
            else "0"
        )
        counts = map(
            count,
            (
                target.not_started,
                target.delayed,
                target.started,
                target.connect_failed,
                target.completed,
            ),
        )
        erlangs = map(format_number, (target.offered_erlangs, target.carried_erlangs))
        times = map(
            format_number,
            (target.call_duration_s, target.start_delay_p50_ms, target.start_delay_p99_ms),
        )
        name_cell = target_cell(summary, target.target, marked=True)
        arrived.append(
            [
                name_cell,
                count(target.offered),
                blocked,
                *counts,
                *erlangs,
                count(target.max_concurrent),
                *times,
            ]
        )
    blocks = [
        *b.line(" ".join([phrases.as_sentence(remarks.requested_load(frame)), *loads])),
        plot_figure(time_panels.arrivals(call_bins(summary.run)), READING_ARRIVALS),
        b.table(ARRIVED, arrived),
        *([metrics(summary, waits)] if waits else []),
        *b.note(divided(summary.run, frame)),
    ]
    return b.Section(
        "calls",
        "Open-loop arrivals",
        "What load was offered, and how much was carried?",
        blocks,
        brief=b.fact("calls", arrivals(summary, frame)),
    )


def limits_in_all(quota: RateLimitSeries) -> str:
    """Return a text on the rate limits of all targets together. Example: `3 turns throttled,
    Retry-After received 4 times (…), …`.
    """
    waits_s = sorted(wait for target in quota.targets for wait in target.waits_s)
    delay_s = sum(target.start_delay_s for target in quota.targets if target.start_delay_s > 0)
    turns, sessions, backed_off = (
        sum(getattr(target, name) for target in quota.targets)
        for name in ("throttled_turns", "throttled_sessions", "calls_backed_off")
    )
    counted = [plural(n, noun) for n, noun in ((turns, "turn"), (sessions, "session")) if n]
    parts = [f"{join_words(counted)} throttled"] if counted else []
    if waits_s:
        times = f"{count(len(waits_s))} times" if len(waits_s) > 1 else "once"
        median = quantile(np.array(waits_s), 0.5)
        parts.append(
            f"Retry-After received {times} (p50 {ms(1000 * median)}, longest"
            f" {ms(1000 * waits_s[-1])})"
        )
    if delay_s > 0:
        parts.append(f"starts delayed by {format_duration(delay_s)} in total")
    if backed_off > 0:
        parts.append(f"{plural(int(backed_off), 'call')} delayed after failed calls")
    return ", ".join(parts)


DELAYS = {
    "service_time": "connecting and first reply",
    "response_time": "the same, from the arrival",
}
OWN_SLOTS = (
    "Each of the {0} processes has its own slots: a call may have been blocked in one while another"
    " had a free slot. If the share of blocked calls matters, use one process, or more slots than"
    " the load needs."
)


def calls_counted(load: OfferedLoad) -> str:
    """Return the numbers of calls as a text. Example: `39 calls arrived, 36 started, 3 blocked (7.7
    %), 2 delayed, 1 failed to connect, 33 completed`.
    """
    parts = [f"{plural(load.offered, 'call')} arrived", f"{count(load.started)} started"]
    if load.blocked:
        parts.append(f"{count(load.blocked)} blocked ({percent(load.blocked, load.offered)})")
    counts = (
        (load.not_started, "not started"),
        (load.delayed, "delayed"),
        (load.connect_failed, "failed to connect"),
    )
    parts += [f"{count(number)} {word}" for number, word in counts if number]
    return ", ".join([*parts, f"{count(load.completed)} completed"])


def offered_load(frame: ArrivalSummary, load: OfferedLoad) -> str:
    """Return the offered and the carried load of a target as a text. Example: `offered 4.1 erlangs
    (2.05/s, calls of 2 s), carried 3.8 on 6 slots; callers pause for 12 s per call`.
    """
    calls = f"{rate(load.per_s)}, calls of {format_number(load.call_duration_s)}{NBSP}s"
    offered = f"offered {format_number(load.offered_erlangs)}{NBSP}erlangs ({calls})"
    carried = (
        f"carried {format_number(load.carried_erlangs)} on {plural(load.max_concurrent, 'slot')}"
    )
    thinking = [format_duration(think_s) for think_s in frame.think_s if think_s]
    pauses = f"; callers pause for {join_words(thinking)} per call" if thinking else ""
    return (
        f"{offered if load.call_duration_s == load.call_duration_s else rate(load.per_s)},"
        f" {carried}{pauses}"
    )


def arrivals(summary: Summary, frame: ArrivalSummary) -> list[str]:
    """Return lines for each target: the numbers of calls, the load, and the latencies that are
    measured from arrival. An example of the latter is `service_time (connecting and first reply)
    p50 198 ms`.
    """
    lines = []
    for load in frame.targets:
        texts = [calls_counted(load), offered_load(frame, load)]
        for row in (
            f for f in summary.connect_phases if f.metric in DELAYS and f.target == load.target
        ):
            estimates = [e for e in map(row.at, (0.5, 0.95)) if e.has_interval]
            percentiles = [
                f"p{e.p * 100:g} {open_end_sign(e)}{ms(e.reported_value)}" for e in estimates
            ]
            texts += (
                [f"{row.metric} ({DELAYS[row.metric]}) {', '.join(percentiles)}"]
                if percentiles
                else []
            )
        lines += [f"{load.target}: {text}" if len(frame.targets) > 1 else text for text in texts]
    return lines


def divided(run: RunFrames, frame: ArrivalSummary) -> str:
    """Return a note that each process has its own slots; "" if no call was blocked, or if there
    is only one process.
    """
    workers = int(run.metadata.get("workers") or 1)
    blocked = any(load.blocked for load in frame.targets)
    return OWN_SLOTS.format(workers) if blocked and workers > 1 else ""
