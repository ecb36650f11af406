"""The page's sections on metrics, with figures and tables. They compute no values."""

from __future__ import annotations

from collections.abc import Iterable

from bench.base.units import byte_unit
from bench.catalogue.metrics import CATALOGUE
from reports.analysis.summary.distributions import MIN_TURNS, PUBLISHED, curves, histogram_of
from reports.analysis.summary.load import call_bins
from reports.analysis.summary.metrics import ALL, SLOPES
from reports.analysis.summary.outcomes import OutcomeCount
from reports.analysis.summary.over_time import OverTime, over_time, steps_over_time
from reports.analysis.summary.summary import Summary
from reports.data.samples import VOICE_TO_VOICE
from reports.data.turns import Pool
from reports.formatting import (
    NONE,
    clock,
    count,
    format_duration,
    format_number,
    join_words,
    ms,
    percent,
    plural,
    quantity,
)
from reports.metrics.rate_metrics import MIN_RATE_UNITS, RATES
from reports.metrics.strata import Stratum
from reports.pages.run_report import bar_charts, charts, time_panels
from reports.pages.run_report.metric_tables import metrics, quantile_cells, target_cell
from reports.pages.run_report.telephone_sections import PACKETS, SETUP, is_of_calls
from reports.render import blocks as b
from reports.render.markers import COLOURS
from reports.render.svg import plot_figure
from reports.text import cells, remarks
from reports.text.cells import interval
from reports.text.sentences import remedy
from reports.text.validity import ending_text, remedy_line

READ_ACROSS = "How to read it: 95 % of the turns were faster than the curve at p95."
OF_CALLS = (
    "greeting",
    "answer_to_greeting",
    "session_duration",
    "service_time",
    "response_time",
    "renewal_gap",
    "idle_prompt",
    *SLOPES,
)
"""The metrics of sessions that are not about connecting."""
OF_WEBSOCKETS = ("connect_upgrade", "session_ready")
"""The metrics of connecting that repeat `connect_total` for a telephone call."""
CARRIED = ("rate", b.Column("target", left=True), "total", "mean", "p50 of seconds", "peak", "p50 of sessions", "max")


def percentile_curves(summary: Summary) -> b.Section | None:
    """Return the section on latency percentiles; None if no metric has enough turns for a curve.

    It has a pane with curves for each metric that has enough.
    """
    panes = []
    for name, pools, key, title in _panes(summary):
        plotted = curves(summary.samples[name], pools)
        if any(curve.n - curve.failed >= MIN_TURNS for curve in plotted):
            by_p = [(curve, {e.p: e for e in curve.points}) for curve in plotted]
            rows: list[b.Line] = []
            for p in (p for p in PUBLISHED if any(p in points for _, points in by_p)):
                quantiles_of = (
                    cells.estimate_cell(points[p], curve.n, curve.failed) if p in points else NONE
                    for curve, points in by_p
                )
                rows.append([f"p{p * 100:g}", *quantiles_of])
            numbers = [b.table(["percentile", *(f"{curve.target}, ms" for curve in plotted)], rows)]
            panes.append((key, title, plot_figure(charts.percentiles(plotted, title), stops=(), numbers=numbers)))
    if not panes:
        return None
    banded = "Shaded: 95 % interval." if len(summary.targets) <= COLOURS else "95 % intervals are in the table."
    meets = "Beyond the point where a curve meets the red band, all turns failed or did not start."
    failed = meets if summary.outcomes.failed_or_not_started else ""
    read = (READ_ACROSS, banded, failed, "Dotted: too few turns or sessions.")
    question = "What is the latency of most turns, and of the slowest?"
    return b.Section("spread", "Latency percentiles", question, [b.Tabs(" ".join(filter(None, read)), panes)])


def distributions(summary: Summary) -> b.Section | None:
    """Return the section with a histogram of voice_to_voice and of each main metric; None if there is no histogram."""
    panes = []
    for name, pools, key, title in _panes(summary):
        if name in {VOICE_TO_VOICE, *summary.mains.values()} and (frame := histogram_of(summary.samples[name], pools)):
            panes.append((f"hist-{key}", title, plot_figure(bar_charts.histogram(frame, title))))
    if not panes:
        return None
    read = "Each bar or step: the share of turns in a range of latencies. Dotted: p50 and p95, if published."
    if summary.outcomes.failed_or_not_started:
        read += " Turns that failed or did not start have no latency: their bar is on the right."
    return b.Section("distribution", "Latency distribution", "How are latencies distributed?", [b.Tabs(read, panes)])


def _panes(summary: Summary) -> Iterable[tuple[str, list[Pool], str, str]]:
    """Yield (metric, pools, key, title) for each plotted metric and stratum.

    If voice_to_voice has medians, it is first.
    """
    has_medians = any(answer.at(0.5).has_interval for answer in summary.voice_to_voice)

    def sort_key(name: str) -> tuple[bool, bool, bool]:
        return not (has_medians and name == VOICE_TO_VOICE), name != summary.main, name not in summary.mains.values()

    for name in sorted(summary.plotted, key=sort_key):
        pools = list(summary.samples[name].pools())
        strata = list(dict.fromkeys(pool.stratum for pool in pools))
        for stratum in strata:
            which = (
                stratum.measured_from_text
                if CATALOGUE[name].begin == "measured_from"
                else f"of {stratum.turns_text(strata)}"
            )
            title = f"{name} {which}" if len(strata) > 1 or CATALOGUE[name].begin == "measured_from" else name
            yield name, [p for p in pools if p.stratum == stratum], f"{name}-{stratum.key}".replace("+", "-"), title


def time(summary: Summary) -> b.Section | None:
    """Return the section on latency over time; None if there are no values."""
    frame = over_time(summary)
    if frame is None:
        return None
    question = "Did latency change during the run?" if frame.is_plottable else "When did turns fail?"
    drift = remarks.drift_text(summary.drifts)
    below = b.note((b.Term("drift"), f": {drift}")) if drift else []
    figure = plot_figure(time_panels.time_panels(frame), " ".join(filter(None, _reading(summary, frame))), below=below)
    brief = b.fact("drift", [remarks.drift_suspected(summary.drifts)])
    return b.Section("time", "Latency over time", question, [figure], brief=brief)


def _reading(summary: Summary, frame: OverTime) -> Iterable[str]:
    titles = dict.fromkeys(cells.row_title(answer) for answer in summary.answers if answer.turns)
    yield f"{join_words(list(titles))}."
    if (slow := frame.slowest) is not None:
        where = f" on {slow.label}" if len(frame.panels) > 1 else ""
        at = clock(slow.begin_s, long=frame.duration_s > 180)
        length = format_duration(frame.bin_s)
        yield f"Slowest {length}: from {at}{where}, p50 by step {slow.ratio:.1f} times that of the run."
    if frame.is_plottable:
        dotted = all(panel.dots is not None for panel in frame.panels)
        yield "Dots: turns, at their start." if dotted else "Shade: number of turns."
        if any(panel.line("p50") for panel in frame.panels):
            tail = ", dashed: p95" if any(panel.line("p95") for panel in frame.panels) else ""
            yield f"Solid line: p50 of each {format_duration(frame.bin_s)}{tail}."
    not_started = sum(panel.not_started for panel in frame.panels)
    if any(panel.failed for panel in frame.panels):
        shaded = any(panel.failures_s.size > time_panels.MAX_TICKS for panel in frame.panels)
        yield f"Red: {'share of failed turns' if shaded else 'failed turns'}."
    if not_started:
        yield f"{plural(not_started, 'turn')} did not start: shown as failed turns at the end of their session."


def steps(summary: Summary) -> b.Section | None:
    """Return the section with figures and tables of the steps, by stratum; None if there is only one step."""
    parts = [block for stratum in summary.turns.strata for block in _steps(summary, stratum)]
    step_names = {f.step for stratum in summary.turns.strata for f in cells.steps_of(summary, stratum)}
    return b.Section("steps", "Latency by step", "Which step is slow?", parts) if len(step_names) > 1 else None


def _steps(summary: Summary, stratum: Stratum) -> Iterable[b.Block]:
    rows = cells.steps_of(summary, stratum)
    of_steps = ((step, [f for f in rows if f.step == step]) for step in summary.turns.steps)
    groups = [(step, [(summary.targets.index(f.target), f) for f in group]) for step, group in of_steps if group]
    if not groups:
        return
    published = any(e.has_interval for f in rows for e in f.quantiles)
    caption = cells.slowest_step(summary, stratum)
    heads = ("step", b.Column("target", left=True), "p50, ms", "p90", "p95", "p99", "max", "turns planned", "completed")
    summaries = (f for _, group in groups for _, f in group)
    numbers = [b.table(heads, [[f.step, target_cell(summary, f.target), *quantile_cells(f)] for f in summaries])]
    yield b.Heading(cells.row_title(rows[0]))
    if published:
        plot = bar_charts.step_bars(groups, summary.mains[stratum])
        yield plot_figure(plot, f"{caption} Bars: 95 % intervals over sessions.", stops=(), numbers=numbers)
    else:
        yield b.Figure("", caption, numbers=numbers)
    if frame := steps_over_time(summary, stratum):
        description = f"p50 of the turns that began within each {format_duration(frame.bin_s)}, all steps on one scale."
        if summary.outcomes.not_started:
            description += " A turn that did not start counts as failed at the end of its session."
        yield b.Details("Each step over time", [plot_figure(time_panels.step_panels(frame), description)], open=True)


def other_metrics(summary: Summary) -> b.Section | None:
    """Return the section on all metrics except those of connecting, over all steps together.

    Return None if no turn or session has such a metric.
    """
    summaries = [f for f in (*summary.metrics, *summary.connect_phases, *summary.slopes) if f.step == ALL]
    of_turns = [f for f in summaries if CATALOGUE[f.metric].scope == "turn" or f.metric in OF_CALLS]
    of_events = [event_metric for event_metric in summary.events if CATALOGUE[event_metric.metric].scope == "event"]
    if not of_turns:
        return None
    names, counted = {f.metric for f in of_turns}, {event_metric.metric for event_metric in of_events}
    parts = [f"{count(len(names))} of turns and sessions"]
    parts += [f"{count(len(counted))} of every event"] if counted else []
    text = (
        f"{plural(len(names | counted), 'metric')}: {join_words(parts)}, separately for each target and start instant."
    )
    blocks: list[b.Block] = [b.Paragraph(text), b.Details("All metrics", [metrics(summary, of_turns, of_events)])]
    return b.Section("all", "All metrics", "What was measured?", blocks)


def rates(summary: Summary) -> b.Section | None:
    """Return the section on rates, which are computed from columns of turns, and on the shares by a deadline.

    The deadlines are those of the run's thresholds. Return None if no turn counts for any rate.
    """
    if not summary.rates and not summary.within:
        return None
    heads = ("rate", b.Column("target", left=True), "share", "counted", "sessions", b.Column("better", left=True))
    rows: list[b.Line] = []
    for rate in summary.rates:
        value_cells: b.Line = [cells.rate_cell(rate), cells.rate_events(rate), count(rate.sessions)]
        better = {"lower": "less", "higher": "more", "neither": NONE}[RATES[rate.rate].better]
        rows.append([b.Term(rate.rate), target_cell(summary, rate.target), *value_cells, better])
    for share in summary.within:
        value_cells = [cells.rate_cell(share), cells.rate_events(share), count(share.sessions)]
        name: b.Inline = (b.Term(share.metric), cells.deadline_title(share).removeprefix(share.metric))
        rows.append([name, target_cell(summary, share.target, share.title), *value_cells, "more"])
    all_published = all(rate.published for rate in summary.rates) and all(of.published for of in summary.within)
    few_note = "" if all_published else f" For fewer than {MIN_RATE_UNITS} turns, only counts are shown."
    population = "all turns"
    if any(RATES[rate.rate].words_column for rate in summary.rates):
        population += (
            "; a word error rate is per word, or per character of scripts without spaces, and can exceed 100 %"
        )
    blocks = [b.table(heads, rows), *b.note(f"Shares with 95 % intervals over sessions, of {population}.{few_note}")]
    brief = b.fact("rates", cells.rate_lines(summary))
    return b.Section("rates", "Rates", "How often did each of these happen?", blocks, brief=brief)


ENDINGS, QUOTED, REMEDIES = 5, 3, 2
"""The maximum numbers of outcomes, of messages, and of remedies that a terminal shows."""


def outcomes(summary: Summary) -> b.Section | None:
    """Return the section on the outcomes of turns and sessions; None if no turn started and no session opened."""
    run_outcomes = summary.outcomes
    if not run_outcomes.opened and not run_outcomes.started:
        return None
    targets = run_outcomes.targets
    opened = " and ".join(count(target.sessions_started) for target in targets)
    rates = [percent(target.failure_rate, 1) if target.turns_planned else NONE for target in targets]
    sums = [
        ("started, total", [count(target.turns_started) for target in targets], "every turn has one outcome"),
        ("failed, total", [count(target.turns_failed) for target in targets], ""),
        (
            "not started",
            [count(target.turns_not_started) for target in targets],
            "planned, but their session had ended",
        ),
        ("failure_rate", rates, "(failed + not started) ÷ planned, excluding unfinished and starved turns"),
        ("sessions with any failure", [count(target.sessions_with_failure) for target in targets], f"of {opened}"),
    ]
    heads: list[b.Head] = ["outcome", *summary.targets, b.Column("meaning", left=True, style="narrowout")]
    sum_rows = [
        b.make_row([name, *n, meaning], "" if index else "sum") for index, (name, n, meaning) in enumerate(sums)
    ]
    started = f"{plural(run_outcomes.started, 'turn')} started in the measured phase, one outcome each"
    table = b.table(heads, [*map(_ending, run_outcomes.turns), *sum_rows])
    blocks: list[b.Block] = [b.Paragraph(f"{started}; {count(run_outcomes.not_started)} not started."), table]
    if run_outcomes.sessions:
        blocks += [b.Heading("Session outcomes"), b.table(heads, [*map(_ending, run_outcomes.sessions)])]
    remedies = run_outcomes.remedies()
    if remedies:
        blocks += [b.Heading("What to do"), b.Bullets([b.coded(remedy_line(remedy)) for remedy in remedies])]
    endings = [f"{ending.outcome} {count(sum(ending.counts))}" for ending in run_outcomes.turns]
    listed = endings if len(endings) <= ENDINGS else [*endings[: ENDINGS - 1], f"{len(endings) - ENDINGS + 1} others"]
    not_started = [f"not started {count(run_outcomes.not_started)}"] if run_outcomes.not_started else []
    messages = [f"{ending.outcome}: {ending.message}" for ending in run_outcomes.quoted()[:QUOTED]]
    advice = map(remedy_line, remedies[bool(remedy(summary)) : REMEDIES])  # the first may already be in the lead
    brief = [
        *b.fact("outcomes", [*listed, *not_started]),
        *(block for text in messages for block in b.fact("message", [text])),
        *(block for text in advice for block in b.fact("what to do", [b.coded(text)])),
    ]
    return b.Section("outcomes", "Turn outcomes", "How did the turns end?", blocks, brief=brief)


def _ending(ending: OutcomeCount) -> b.Row:
    return b.make_row([b.Code(ending.outcome), *(count(n) for n in ending.counts), ending_text(ending)])


def connect(summary: Summary) -> b.Section | None:
    """Return the section on how long connecting takes; None if no session opened."""
    shown_there = {*SETUP, *PACKETS, *PACKETS.values(), *OF_WEBSOCKETS}
    rows = [
        f
        for f in summary.connect_phases
        if f.metric not in OF_CALLS
        and (f.metric != "auth_wait" or f.high)
        and not (f.metric in shown_there and is_of_calls(summary, f))
    ]
    if not rows:
        return None
    phases = ("connect_dns", "connect_tcp", "connect_tls", "connect_upgrade")
    totals, parts = ([f for f in rows if (f.metric in phases) == of_phase] for of_phase in (False, True))
    ready = [row for row in rows if row.metric == "session_ready" and row.at(0.5).has_interval]
    named = len({row.target for row in rows}) > 1
    medians = [(f"{row.target} " if named else "", row.at(0.5)) for row in ready]
    p50s = ", ".join(f"{target}{cells.open_end_sign(median)}{ms(median.reported_value)}" for target, median in medians)
    blocks = [
        *b.line(f"From the start of connecting to session.created, p50: {p50s}." if p50s else ""),
        *b.line(remarks.auth_wait(summary)),
        *([b.Details("Data table", [metrics(summary, totals)], open=True)] if totals else []),
        *([b.Details("Phases", [metrics(summary, parts)])] if parts else []),
    ]
    return b.Section("connect", "Connecting", "How long does connecting take?", blocks)


def flow(summary: Summary) -> b.Section | None:
    """Return the section on the bytes sent and received; None if there were none."""
    compression = [block for text in remarks.compression(summary) for block in b.note(text)]
    parts = []
    for kind, what in (
        ("audio", "decoded audio"),
        ("wire", "RTP packets" if summary.only_telephone else "WebSocket frames"),
    ):
        sent, received = (
            sum(rate.total_bytes for rate in summary.throughput if rate.metric == f"{kind}_{direction}")
            for direction in ("sent", "received")
        )
        parts += [f"{quantity(sent)} of {what} sent, {quantity(received)} received"] if sent or received else []
    text = "; ".join(parts)
    volume = b.line(f"{text}, over the measured phase." if text else "")
    blocks = [*volume, *_carried(summary), *compression]
    return b.Section("flow", "Throughput", "How much was sent and received?", blocks) if summary.throughput else None


def _carried(summary: Summary) -> list[b.Block]:
    """Return a table of the bytes in total, and of their rates over the run and over each session."""
    rates = [rate for rate in summary.throughput if rate.total_bytes]
    if not rates:
        return []
    size, unit = byte_unit(max(rate.mean_bytes_per_s for rate in rates) / 10)
    of_sessions: dict[tuple[str, str], b.Line] = {}
    for row in summary.carried:
        median = row.at(0.5)
        ends = interval(median.low / size, median.high / size, format_number, " – ")
        interval_cell = b.Cell(f"{cells.open_end_sign(median)}{format_number(median.reported_value / size)}", ends)
        cell = interval_cell if median.has_interval else cells.quantile_cell(row, 0.5, "")
        of_sessions[row.metric, row.target] = [cell, format_number(row.high / size)]
    rows: list[b.Row | b.Line] = []
    for rate in rates:
        target = target_cell(summary, rate.target)
        over_run = (rate.mean_bytes_per_s, rate.per_second.p50, rate.per_second.high)
        of_run = [quantity(rate.total_bytes), *(format_number(value / size) for value in over_run)]
        rows.append([b.Term(rate.metric), target, *of_run, *of_sessions.get((rate.metric, rate.target), (NONE, NONE))])
    note_text = (
        f"Rates in {unit}/s. Peak: the target’s busiest second. Sessions: over their length, with 95 % intervals."
    )
    return [b.table(CARRIED, rows), *b.note(note_text)]


ARRIVED = (
    *("target", "offered", "blocked", "not started", "delayed", "started", "failed to connect", "completed"),
    *("erlangs offered", "carried", "max concurrent", "mean call duration, s", "start_delay p50, ms", "p99"),
)
READING_ARRIVALS = (
    "Calls that arrived in each bin; red: calls blocked because all slots were busy. service_time is measured from "
    "the start of a call, response_time from its arrival; both exclude the caller’s speech and pauses."
)


def arriving(summary: Summary) -> b.Section | None:
    """Return the section on the offered load, and on latency from the arrival of a call; None in a closed loop."""
    frame = summary.arrivals
    if frame is None:
        return None
    waits = [f for f in summary.connect_phases if f.metric in remarks.DELAYS]
    loads, arrived = list[str](), list[b.Line]()
    for target in frame.targets:
        name = f"{target.target}: " if len(frame.targets) > 1 else ""
        loads.append(name + cells.as_sentence(remarks.offered_load(frame, target)))
        blocked = f"{count(target.blocked)} ({percent(target.blocked, target.offered)})" if target.blocked else "0"
        counts = map(
            count, (target.not_started, target.delayed, target.started, target.connect_failed, target.completed)
        )
        erlangs = map(format_number, (target.offered_erlangs, target.carried_erlangs))
        times = map(format_number, (target.call_duration_s, target.start_delay_p50_ms, target.start_delay_p99_ms))
        name_cell = target_cell(summary, target.target, marked=True)
        arrived.append(
            [name_cell, count(target.offered), blocked, *counts, *erlangs, count(target.max_concurrent), *times]
        )
    blocks: list[b.Block] = [
        *b.line(" ".join([cells.as_sentence(remarks.requested_load(frame)), *loads])),
        plot_figure(time_panels.arrivals(call_bins(summary.run)), READING_ARRIVALS),
        b.table(ARRIVED, arrived),
        *([metrics(summary, waits)] if waits else []),
        *b.note(remarks.divided(summary.run, frame)),
    ]
    brief = b.fact("calls", remarks.arrivals(summary, frame))
    return b.Section(
        "calls", "Open-loop arrivals", "What load was offered, and how much was carried?", blocks, brief=brief
    )
