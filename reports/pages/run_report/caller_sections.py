"""The page's sections on what a caller experiences: latency, audio, the network, and the slowest turns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from reports.analysis.summary.example_turns import ExampleTurn, SlowTurn, example_turns, example_turns_of_steps
from reports.analysis.summary.groups import GroupedLatency, same_grouping
from reports.analysis.summary.metrics import ALL, MetricSummary
from reports.analysis.summary.segments import Breakdown
from reports.analysis.summary.summary import Summary
from reports.analysis.summary.tools import ToolTurns
from reports.data.samples import FUNCTION_VOICE_TO_VOICE, VOICE_TO_VOICE
from reports.formatting import NONE, change, clock, count, format_number, format_utc_ms, ms, percent, plural
from reports.metrics.strata import Stratum
from reports.pages.run_report import bar_charts, charts, speech_timeline
from reports.pages.run_report.metric_tables import metrics, target_cell
from reports.render import blocks as b
from reports.render.markers import COLOURS
from reports.render.svg import HALF, WIDE, plot_figure
from reports.text import cells, groups, remarks, settings
from reports.text.breakdown import segment_title

REPLIES = ("stall_duration", "stall_count", "audio_speed", "transcript_first", "transcript_total", "transcript_lead")
DETECTED = ("end_of_turn_delay", "start_of_speech_delay", "input_transcript", "input_transcript_total", "vad_splits")
INTERRUPTED = (
    *("barge_in_yield", "barge_in_detection", "barge_in_last_audio", "barge_in_response_done", "barge_in_late_audio"),
    *("unplayed_audio", "overlap", "truncate_ack"),
)
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
SEGMENTS_MEAN = (
    "Each segment is named by the instant that ends it; the first starts at the end of speech. If an instant is "
    "missing, its two neighbours are one segment with both names."
)
UNPLACED = (
    "; its duration is measured, but its position is only in an event log, so without one it is shown in the middle"
)
TIMELINE = "Good turns. Time is measured from the last sample of speech. Bars show durations, not loudness."
LANES = "Upper lane, grey: the caller speaks. Amber: latency. Lower lane, coloured: the reply plays."
END_DETECTED = "Triangles: end-of-turn detection, first audio delta."
INSEPARABLE = (
    "Turn number and session age are inseparable in this run: later turns are older ones, so these plots cannot"
    " show which of the two matters."
)
BELOW_EACH = (
    "“Began”: time since the start of the run. Below each turn: its session in the files of this run, then the ids "
    "that the service assigned to the request that opened the session, the response, and the session. If the events of "
    "a session were recorded, its log is linked: rtbench replay shows each event."
)
BY_LOAD = (
    "{}: p50 (solid, with its 95 % interval over sessions) and p95 (dashed), by the number of calls of the same target "
    "that were in progress at the instant the turn’s latency is measured from, or, for turns that did not start, at "
    "the end of the session. Below: failed turns, and the number of turns at each level."
)
TOGETHER = (
    "If the load of a run only rises, later turns have more calls in progress: before you attribute latency to the "
    "load, compare with latency over time and by session age."
)
CONTEXT = (
    "The input tokens of a turn’s first response contain the whole conversation, including cached tokens. In a fixed "
    "script, a longer conversation is also a later step: compare with latency by step, or shuffle the steps."
)
NO_RISE = (
    "No target certainly fails more often in longer conversations. More sessions would make the intervals narrower."
)
SUPPORT = (
    "Give the service’s support these failed turns, with the region and the model of the deployment (section Targets). "
    "They have the shortest contexts from which turns fail more often."
)
NETWORK = ("network_rtt", "request_ack", "ttfa_minus_rtt", "retransmits")


BRIEF_ROWS = 4
"""The maximum number of lines of one kind that a terminal shows."""


def segments(summary: Summary) -> b.Section | None:
    """Return the section on the segments of voice_to_voice, with bars and a table; None if no segments are known."""
    rows, bands = [row for row in summary.breakdowns if len(row.segments) > 1], summary.bands
    if not rows:
        return None
    caption_text = ", in ms, over good turns; their sum is its mean."
    if any(segment.total_ns < 0 for row in rows for segment in row.segments):
        caption_text += " A negative segment, to the left: its events were received in another order."
        caption_text += " The line across such a bar marks the sum."
    caption_text += " Only the first bars are shown; the table has all." if len(rows) > bar_charts.MAX_ROWS else ""
    all_turns: list[b.Block] = [
        plot_figure(
            bar_charts.segment_bars(rows, summary.targets), ("Mean segments of ", b.Term(VOICE_TO_VOICE), caption_text)
        ),
        _table(summary, rows),
    ]
    notes = [n for n in (settings.packetisation(summary.setup), cells.COMPARABLE) if n]
    meanings: list[b.Block] = [b.Paragraph(text, "") for text in (SEGMENTS_MEAN, *notes)]
    displayed = all_turns
    if bands:  # typical and slow turns, and each bar in numbers
        slow = " and around p95 (p93.5 to p96.5)" if any(band.p > 0.5 for band in bands) else ""
        bands_text = f" of the good turns around its median (p45 to p55){slow}; their sum is the mean of these turns."
        plot, caption = (
            bar_charts.segment_bars(bands, summary.targets),
            ("Mean segments of ", b.Term(VOICE_TO_VOICE), bands_text),
        )
        around = plot_figure(plot, caption, stops=(), numbers=[_table(summary, bands, "around")])
        displayed = [around, b.Details("All turns, step by step", all_turns, style="gap")]
    blocks: list[b.Block] = [
        *displayed,
        *b.note(settings.contained(summary.setup)),
        b.Details("What the segments mean", meanings, style="note"),
    ]
    overall = [row for row in rows if row.step == ALL and len(summary.targets) == 1][:BRIEF_ROWS]
    brief = [block for row in overall for block in b.fact("breakdown", [cells.breakdown(row, summary)])]
    return b.Section("segments", "Latency breakdown", "Where does the latency come from?", blocks, brief=brief)


def _table(summary: Summary, rows: Sequence[Breakdown], head: str = "step") -> b.Table:
    """Return a table of mean segments in ms. A row is a step or, if `head` is `around`, a band of percentiles."""
    names = bar_charts.names_of(rows)
    heads: list[b.Head] = [head, b.Column("target", left=True), "turns", *names, "total, ms"]
    lines: list[b.Line] = []
    for row in rows:
        means = {segment_title(segment): format_number(segment.mean_ms) for segment in row.segments}
        title, target = cells.breakdown_title(row), target_cell(summary, row.target)
        parts = [means.get(name, NONE) for name in names]
        lines.append([title, target, count(row.turns), *parts, b.Strong(format_number(row.mean_ms))])
    return b.table(heads, lines, stacked=True)


def playback(summary: Summary) -> b.Section | None:
    """Return the section on playback of replies and on turn detection; None if neither was measured."""
    run, latencies = summary.run, summary.samples[VOICE_TO_VOICE]
    replies, callers, examples = _rows(summary, REPLIES), _rows(summary, DETECTED), example_turns(run, latencies)
    panes = [("heard-all", "all steps", _timeline(examples))] if examples else []
    for index, (step, step_examples) in enumerate(example_turns_of_steps(run, latencies).items() if examples else ()):
        panes.append((f"heard-{index}", step, _timeline(step_examples)))
    blocks: list[b.Block] = [b.Tabs(TIMELINE, panes)] if panes else []
    if replies or callers:
        stalled = _texts_by_target(
            summary, {c.target: [cells.stalled_cell(c.stalled, c.replies)] for c in summary.counts if c.replies}
        )
        gaps = [event_metric for event_metric in summary.events if event_metric.metric == "delta_gap"]
        blocks += b.line(f"{stalled}: the simulated player ran out of audio during the reply." if stalled else "")
        if replies:
            blocks += [
                b.Details("Metrics of replies", [metrics(summary, replies, gaps)], open=not examples, again=True)
            ]
        if callers:
            wrong = _texts_by_target(summary, {c.target: cells.detection(c) for c in summary.counts})
            vad = any(c.end_detected for c in summary.counts)
            right = "No turn was cut at a pause, and no end of speech was detected too early." if vad else ""
            blocks += [b.Heading("Turn detection"), b.Paragraph(f"{wrong}." if wrong else right)]
            blocks += [
                b.Details("Metrics of turn detection", [metrics(summary, callers)], open=not examples, again=True)
            ]
            blocks += b.note(settings.packetisation_note(summary.setup))
    named = len(summary.targets) > 1
    faults = [(counts.target, fault) for counts in summary.counts[:BRIEF_ROWS] for fault in cells.detection(counts)]
    brief = [
        *b.fact("detection", [f"{target}: {fault}" if named else fault for target, fault in faults]),
        *b.fact("note", [settings.packetisation_note(summary.setup)]),
    ]
    return b.Section("heard", "Audio playback", "What did the caller hear?", blocks, brief=brief) if blocks else None


def interruptions(summary: Summary) -> b.Section | None:
    """Return the section on interrupted replies, and on replies during a backchannel; None if there are none."""
    rows = _rows(summary, INTERRUPTED)
    question = "How soon does the reply stop when the caller interrupts?"
    brief = b.fact("interrupted", cells.medians(summary, ("barge_in_yield", "unplayed_audio")))
    blocks = [metrics(summary, rows)]
    return b.Section("interruptions", "Interruptions", question, blocks, brief=brief) if rows else None


def interrupts(summary: Summary) -> bool:
    """Return whether the run is about interruptions: in at least one turn of five, the caller interrupted the reply."""
    interrupted = sum(row_summary.planned for row_summary in _rows(summary, ("barge_in_yield",)))
    return 5 * interrupted >= summary.outcomes.started > 0


def tools(summary: Summary) -> b.Section | None:
    """Return the section on turns with function calls or delegated tasks; None if there are none."""
    if not summary.tools:
        return None
    failures = remarks.failed_mcp_calls(summary)
    whole = [row for row in summary.tools if row.step == ALL]
    shown = summary.tools if len(summary.tools) <= MAX_TOOL_ROWS else whole
    details = b.Details("All metrics of function calls", [metrics(summary, _rows(summary, CALLED))])
    notes = [*b.line("; ".join(failures)), *b.note(FILLER), *b.note(TOOLS)]
    blocks = [_tool_table(summary, summary.tools), *notes, details]
    mcp_calls = b.fact("MCP calls", [*cells.medians(summary, ("mcp_execution",)), *failures])
    brief = [_tool_table(summary, shown, f"Turns with tools, in ms. {FILLER}"), *mcp_calls]
    return b.Section("tools", "Turns with tools", "When do callers hear the answer?", blocks, brief=brief)


def _tool_table(summary: Summary, rows: Sequence[ToolTurns], caption: str = "In ms") -> b.Table:
    """Return a table with a row for each target, and below it a row for each of its steps."""
    deadline = ms(rows[0].in_time.deadline_ms)
    heads: list[b.Head] = [
        b.Column("target, step", min_width=12),
        b.Column("turns", leave_out=5),
        b.Column("first sound p50", shorten=4),
        b.Column("p95", shorten=3),
        b.Column("answer p50", shorten=6),
        b.Column("p95", shorten=6),
        b.Column("delegation to answer p50", shorten=1, leave_out=4),
        b.Column("silence p50", shorten=2),
        b.Column("p95", shorten=2, leave_out=8),
        b.Column("our functions p50", shorten=1, leave_out=3),
        b.Column("tasks per turn", leave_out=5),
        b.Column("fillers", shorten=2),
        b.Column(f"within {deadline}", shorten=6),
        b.Column("failed", shorten=1, leave_out=7),
    ]
    return b.table(heads, [_tool_row(summary, row) for row in rows], "tools", stacked=True, caption=caption)


def _tool_row(summary: Summary, row: ToolTurns) -> b.Row:
    target, whole = summary.targets.index(row.target), row.step == ALL
    name = b.Cell(row.title if whole else f"· {row.step}", target=target, marked=whole)
    quantiles = [
        cells.estimate_cell(getattr(latency, p), latency.n, latency.failed, "", uncertain=latency.uncertain is not None)
        for latency, ps in (
            (row.first_sound, ("p50", "p95")),
            (row.answer, ("p50", "p95")),
            (row.task_to_answer, ("p50",)),
            (row.longest_silence, ("p50", "p95")),
            (row.own_functions, ("p50",)),
        )
        for p in ps
    ]
    return b.make_row(
        [
            name,
            count(row.turns),
            *quantiles,
            format_number(row.tasks_per_turn),
            cells.share_cell(row.fillers),
            cells.share_cell(row.in_time),
            cells.failures(row),
        ],
        target=target,
    )


def _rows(summary: Summary, names: tuple[str, ...]) -> list[MetricSummary]:
    """Return the summaries of these metrics over all steps, in the order of `names`."""
    rows = [f for f in summary.metrics if f.step == ALL and f.metric in names]
    return sorted(rows, key=lambda f: names.index(f.metric))


def _texts_by_target(summary: Summary, texts_of_target: dict[str, list[str]]) -> str:
    """Return the texts of all targets as one text, such as `direct: 3 of 40 replies stalled (7.5 %); gateway: …`."""
    named = len(summary.targets) > 1
    parts = [
        f"{target}: {', '.join(words)}" if named else ", ".join(words)
        for target, words in texts_of_target.items()
        if words
    ]
    return "; ".join(parts)


def _timeline(examples: Sequence[ExampleTurn]) -> b.Figure:
    sentences = [LANES, *([END_DETECTED] if speech_timeline.has_triangles(examples) else [])]
    if any(example.asked_on_s > example.called_s for example in examples):
        sentences.append("Dark amber: functions run, ours or those of MCP servers.")
    if any(example.stall_s for example in examples):
        unplaced = UNPLACED if any(example.stall_s and not example.heard for example in examples) else ""
        sentences.append(f"Hatched red: the player ran out of audio, a gap for the caller{unplaced}.")
    if speech_timeline.breaks(examples):
        ends = f"The axis ends at {speech_timeline.MAX_TIMELINE_S:g} s"
        sentences.append(f"{ends}: a bar with two strokes continues to the time next to it.")
    logs = [(f" {cells.example_name(example)} ", _log(example.event_log)) for example in examples if example.event_log]
    named = [(" Event logs:" if not index else ",", *log) for index, log in enumerate(logs)]
    below = [b.ReadingGuide((" ".join(sentences), *named, "." if logs else ""))]
    stops = [speech_timeline.turn_numbers(example) for example in examples]
    return plot_figure(speech_timeline.speech(examples), stops=stops, below=below)


def along_session(summary: Summary) -> b.Section | None:
    """Return the section on latency by turn number and by session age; None if sessions are too short for both."""
    frames = _plottable(summary, "turn", "age")
    if not frames:
        return None
    banded = " with its 95 % interval" if len(summary.targets) <= COLOURS else ""
    tails = "; dashed: p95" if any(latency.tails for frame in frames for latency in frame) else ""
    alike = f"{INSEPARABLE} " if same_grouping(summary.turns, summary.run.sessions) else ""
    by_step = "In a fixed script, the turn number also determines the step: compare with latency by step."
    blocks = [*_lines(summary, frames), b.ReadingGuide(f"Solid: p50{banded}{tails}. {alike}{by_step}")]
    return b.Section("along", "Latency by turn number and session age", "Does latency change along a session?", blocks)


def context(summary: Summary) -> b.Section | None:
    """Return the section on latency by the number of tokens of the conversation.

    Return None if the conversations have similar lengths.
    """
    long = {frame[0].stratum for frame in _plottable(summary, "context")}
    frames = [frame for frame in _plottable(summary, "turn", "context") if frame[0].stratum in long]
    if not frames and not summary.slopes:
        return None
    rows = [*summary.slopes, *_rows(summary, ("cached_share",))]
    blocks = [
        *_lines(summary, frames),
        *b.line("; ".join(cells.slope_lines(summary))),
        *([b.Details("Data table", [metrics(summary, rows)], open=not frames, again=True)] if rows else []),
        *b.note(CONTEXT),
    ]
    question, brief = "How does latency grow with the conversation?", b.fact("slope", cells.slope_lines(summary))
    return b.Section("context", "Latency by conversation length", question, blocks, brief=brief)


def context_failures(summary: Summary) -> b.Section | None:
    """Return the section on failed turns by the number of tokens of the conversation.

    Return None if no turn failed, or if the conversations have similar lengths.
    """
    frames = [
        frame
        for frame in summary.latency_by("context")
        if any(group.failed_by_outcome for latency in frame for group in latency.all_groups)
    ]
    if not frames:
        return None
    blocks: list[b.Block] = [*b.line(groups.rising_failures(summary) or NO_RISE)]
    for frame in frames:
        title = cells.metric_title(frame[0].metric, frame[0].stratum)
        blocks += [b.Heading(title)] if len(frames) > 1 else []
        blocks += groups.failure_blocks(frame, summary.targets)
    blocks += _for_support(summary)
    lines = [
        f"{latency.label}: {groups.failures_line(latency)}"
        for frame in frames
        for latency in frame
        if any(group.failed_by_outcome for group in latency.all_groups)
    ]
    of_targets = {failure.target: failure for failure in reversed(summary.context_failures)}
    ids = [groups.failed_turn_text(failure) for failure in reversed(of_targets.values())]
    brief = [
        *(block for text in lines[:BRIEF_ROWS] for block in b.fact("by context", [text])),
        *(block for text in ids[:BRIEF_ROWS] for block in b.fact("for support", [text])),
    ]
    question = "Do longer conversations fail more often?"
    return b.Section("context-failures", "Failures by context length", question, blocks, brief=brief)


def _for_support(summary: Summary) -> list[b.Block]:
    """Return the failed turns to give to the service's support, with what else it needs; [] if there are none."""
    if not summary.context_failures:
        return []
    heads: list[b.Head] = [
        *("step, turn", b.Column("target", left=True), "input tokens", b.Column("outcome", left=True)),
        b.Column("start (UTC)", left=True),
    ]
    rows: list[b.Row | b.Line] = []
    for failure in summary.context_failures:
        tokens = f"{'≥ ' if failure.is_bound else ''}{count(failure.context_tokens)}"
        parts: b.Line = [f"{failure.step}, {failure.turn}", target_cell(summary, failure.target), tokens]
        parts += [b.Code(failure.outcome), format_utc_ms(failure.started_utc_ns)]
        named: list[tuple[str, b.Inline]] = [(name, b.Code(value)) for name, value in groups.ids_of(failure)]
        named += [("events", _log(failure.event_log))] if failure.event_log else []
        rows.append(b.make_row(parts, ids=named, target=summary.targets.index(failure.target)))
    return [b.Heading("For the service’s support"), b.Paragraph(SUPPORT), b.table(heads, rows, stacked=True)]


def by_load(summary: Summary) -> b.Section | None:
    """Return the section on latency and failures by the number of calls in progress; None if it did not change."""
    frames = summary.latency_by("calls")
    figures = []
    for frame in frames:
        read = BY_LOAD.format(cells.metric_title(frame[0].metric, frame[0].stratum))
        numbers = groups.latency_blocks(frame, summary.targets)
        figures.append(plot_figure(charts.latency_lines(frame, WIDE), read, stops=(), numbers=numbers))
    blocks: list[b.Block] = [*figures, *b.note(TOGETHER)]
    question, brief = "Does latency depend on the load?", groups.compared_blocks(summary, "calls")
    return b.Section("load", "Latency by concurrency", question, blocks, brief=brief) if figures else None


PLOTTED = ("turn", "age", "context", "calls", "host")
"""The keys of groups that have a separate section, with figures or with hosts."""


def by_others(summary: Summary) -> Iterable[b.Section]:
    """Yield a section for each key of groups that is not in PLOTTED. It has a table for each stratum."""
    for by in dict.fromkeys(latency.by for latency in summary.grouped_latency if latency.by not in PLOTTED):
        blocks = [block for frame in summary.latency_by(by) for block in groups.latency_blocks(frame, summary.targets)]
        key = groups.key_text(by)
        question, brief = f"Does latency depend on the {key.head}?", groups.compared_blocks(summary, by)
        yield b.Section(by, f"Latency by {key.head}", question, blocks, brief=brief)


def _plottable(summary: Summary, *keys: str) -> list[list[GroupedLatency]]:
    """Return the latencies of each key and stratum, if a target has a median for at least two groups."""
    frames = (frame for key in keys for frame in summary.latency_by(key))
    return [frame for frame in frames if any(len(latency.published) > 1 for latency in frame)]


def _lines(summary: Summary, frames: Sequence[Sequence[GroupedLatency]]) -> list[b.Block]:
    """Return a heading and figures for each stratum. The figures are next to each other."""
    blocks: list[b.Block] = []
    for stratum in summary.turns.strata:
        stratum_frames = [frame for frame in frames if frame[0].stratum == stratum]
        width = HALF if len(stratum_frames) > 1 else WIDE
        if stratum_frames:
            blocks += [b.Heading(cells.metric_title(summary.mains[stratum], stratum))]
            blocks += [
                b.SideBySide(
                    [plot_figure(charts.latency_lines(frame, width), _caption(frame)) for frame in stratum_frames]
                )
            ]
    return blocks


def _caption(frame: Sequence[GroupedLatency]) -> b.Inline:
    """Return a caption and notes for a figure.

    Example: `By turn number. p50 of turn 10 against turn 1: direct −3 %, gateway +4 %.`
    """
    change_text, first_and_last = (
        "",
        {
            latency.target: (latency.published[0], latency.published[-1])
            for latency in frame
            if len(latency.published) > 1
        },
    )
    ends = {(first.bin, last.bin) for first, last in first_and_last.values()}
    if len(ends) == 1:
        first, last = (bin_.name for bin_ in next(iter(ends)))
        places = {"turn": f"turn {last} against turn {first}", "age": f"turns at {last} against {first}"}
        where = places.get(frame[0].by, f"turns of {last} tokens against {first}")
        named = len(frame) > 1
        changes = [
            f"{f'{target} ' if named else ''}{change(late.p50.value / early.p50.value)}"
            for target, (early, late) in first_and_last.items()
        ]
        change_text = f"p50 of {where}: {', '.join(changes)}."
    because = "; they become fewer, and only long sessions remain"
    thinned = f" Below the axis: turns{because if frame[0].by != 'context' else ''}."
    thinned_text = thinned if any(latency.thinned for latency in frame) else ""
    unplaced = f" {ungrouped}" if (ungrouped := groups.ungrouped_text(frame)) else ""
    return (b.Strong(f"{groups.key_text(frame[0].by).title}."), f" {change_text}", thinned_text, unplaced)


def network(summary: Summary) -> b.Section | None:
    """Return the section on the network between the load generator and the service.

    Return None if the kernel reported no round trips.
    """
    rows = _rows(summary, NETWORK)
    if not any(row.metric == "network_rtt" for row in rows):
        return None
    resent: dict[str, list[str]] = {}
    for c in summary.counts:
        if c.turns_with_tcp_info:
            again = f"{plural(c.retransmits, 'TCP segment')} retransmitted in {count(c.turns_with_retransmits)} of"
            nothing = "nothing was retransmitted in"
            resent[c.target] = [f"{again if c.retransmits else nothing} {plural(c.turns_with_tcp_info, 'turn')}"]
    sent = _texts_by_target(summary, resent)
    sent = f"{sent}." if sent and len(summary.targets) > 1 else cells.as_sentence(sent)
    shares = []  # the shares of ttfa, from the p50 of both metrics
    for target in summary.targets:
        target_rows = [f for f in rows if f.target == target and f.at(0.5).has_interval]
        names = ("network_rtt", "ttfa_minus_rtt")
        rtt, remainder = (
            next((f.at(0.5).reported_value for f in target_rows if f.metric == name), 0.0) for name in names
        )
        if rtt and remainder:
            named = f" on {target}" if len(summary.targets) > 1 else ""
            shares.append(f"{ms(rtt)}{named}, {percent(rtt, rtt + remainder)} of ttfa")
    share = f"The p50 of network_rtt is {'; '.join(shares)}." if shares else ""
    text = " ".join(filter(None, (share, remarks.round_trips(summary), sent)))
    blocks: list[b.Block] = [
        b.Paragraph(text),
        b.Details("Network metrics", [metrics(summary, rows)], open=True, again=True),
    ]
    return b.Section("network", "Network", "How much of the latency is the network?", blocks)


def slowest(summary: Summary) -> b.Section | None:
    """Return the section on the slowest successful turns; None if there are none.

    It has a table of all steps for each stratum and metric, and a table for each step.
    """
    blocks: list[b.Block] = []
    for index, (stratum, metric) in enumerate(dict.fromkeys((slow.stratum, slow.metric) for slow in summary.slowest)):
        strata = {slow.stratum for slow in summary.slowest if slow.metric == metric}
        of_turns = f" of {stratum.turns_text(strata)}" if len(strata) > 1 else ""
        before, after = (of_turns, "") if metric == VOICE_TO_VOICE else ("", f" {stratum.measured_from_text}")
        caption = (f"Good turns{before} by ", b.Term(metric), f"{after}.", "" if blocks else f" {BELOW_EACH}")
        of_run, of_steps = (
            [slow for slow in turns if (slow.stratum, slow.metric) == (stratum, metric)]
            for turns in (summary.slowest, summary.slowest_of_steps)
        )
        steps = [step for step in summary.turns.steps if any(slow.step == step for slow in of_steps)]
        panes = [("all", "all steps", of_run)]  # then one for each step
        for at, step in enumerate(steps if len(steps) > 1 else ()):
            panes.append((str(at), step, [slow for slow in of_steps if slow.step == step]))
        tables = ((name, title, _slow_table(summary, stratum, metric, rows)) for name, title, rows in panes)
        figures = [(f"slow-{index}-{name}", title, b.Figure("", below=[table])) for name, title, table in tables]
        body = b.Tabs(caption, figures)
        blocks += [b.Details(f"The slowest by {metric}{before}{after}", [body])] if blocks else [body]
    return b.Section("slow", "Slowest turns", "Which turns were the slowest?", blocks) if blocks else None


def _slow_table(summary: Summary, stratum: Stratum, metric: str, rows: Sequence[SlowTurn]) -> b.Table:
    targets, is_voice_to_voice = len(summary.targets) > 1, metric == VOICE_TO_VOICE
    network = any(not math.isnan(slow.network_rtt_ms) for slow in rows)
    heads: list[b.Head] = ["step, turn", *([b.Column("target", left=True)] if targets else []), metric]
    heads += [f"ttfa {stratum.measured_from_text}"] if is_voice_to_voice else []
    heads += ["response created after", *(["network_rtt"] if network else []), "began"]
    lines: list[b.Row | b.Line] = []
    for slow in rows:
        target_index = summary.targets.index(slow.target)
        resent = f"{count(slow.retransmits)} retransmitted" if slow.retransmits else ""
        parts: b.Line = [f"{slow.step}, {slow.turn}"]
        parts += [target_cell(summary, slow.target)] if targets else []
        parts += [b.Strong(ms(slow.value_ms)), *([ms(slow.ttfa_ms)] if is_voice_to_voice else []), ms(slow.created_ms)]
        parts += [b.Cell(ms(slow.network_rtt_ms), resent)] if network else []
        parts.append(clock(slow.at_s, long=summary.window.duration_s > 180))
        row = b.Details("its row in turns.parquet", [b.Definitions(slow.row, linked=False)], style="row")
        ids = (
            *(("session", slow.session), ("request", slow.request), ("response", slow.response)),
            *(("the service’s session", slow.service_session), ("region", slow.region)),
        )
        named: list[tuple[str, b.Inline]] = [(name, b.Code(value)) for name, value in ids if value]
        named += [("events", _log(slow.event_log))] if slow.event_log else []
        lines.append(b.make_row(parts, ids=named, target=target_index, more=[row]))
    return b.table(heads, lines, stacked=True, style="slow")


def _log(path: str) -> b.Link:
    return b.Link(b.Code(path), path)
