"""The sections on what the caller hears: segments of the latency, playback, and interruptions."""

from collections.abc import Sequence

from reports.analysis.summary.example_turns import (
    ExampleTurn,
    example_turns,
    example_turns_of_steps,
)
from reports.analysis.summary.metrics import ALL
from reports.analysis.summary.segments import Breakdown
from reports.analysis.summary.summary import Summary
from reports.data.samples import VOICE_TO_VOICE
from reports.formatting import NONE, count, format_number
from reports.pages.run_report import bar_charts, speech_timeline
from reports.pages.run_report.metric_tables import (
    BRIEF_ROWS,
    TARGET,
    metrics,
    rows_of,
    target_cell,
    texts_by_target,
)
from reports.pages.run_report.sections.slowest import log_link
from reports.render import blocks as b
from reports.render.svg import plot_figure
from reports.results.value import by_subject
from reports.text import cells, settings
from reports.text.breakdown import segment_title

REPLIES = (
    "stall_duration",
    "stall_count",
    "audio_speed",
    "transcript_first",
    "transcript_total",
    "transcript_lead",
)
DETECTED = (
    "end_of_turn_delay",
    "start_of_speech_delay",
    "input_transcript",
    "input_transcript_total",
    "vad_splits",
)
INTERRUPTED = (
    "barge_in_yield",
    "barge_in_detection",
    "barge_in_last_audio",
    "barge_in_response_done",
    "barge_in_late_audio",
    "unplayed_audio",
    "overlap",
    "truncate_ack",
)
SEGMENTS_MEAN = (
    "Each segment is named by the instant that ends it; the first starts at the end of speech. If"
    " an instant is missing, its two neighbours are one segment with both names."
)
UNPLACED = (
    "; its duration is measured, but its position is only in an event log, so without one it is"
    " shown in the middle"
)
TIMELINE = (
    "Good turns. Time is measured from the last sample of speech. Bars show durations, not"
    " loudness."
)
LANES = (
    "Upper lane, grey: the caller speaks. Amber: latency. Lower lane, coloured: the reply plays."
)
END_DETECTED = "Triangles: end-of-turn detection, first audio delta."


def segments(summary: Summary) -> b.Section | None:
    """Return the section on the segments of voice_to_voice, with bars and a table; None if no
    segments are known.
    """
    rows = [row for row in summary.segments if len(row.segments) > 1]
    bands = summary.segments_around
    if not rows:
        return None
    caption_text = ", in ms, over good turns; their sum is its mean."
    if any(segment.total_ns < 0 for row in rows for segment in row.segments):
        caption_text += (
            " A negative segment, to the left: its events were received in another order."
        )
        caption_text += " The line across such a bar marks the sum."
    caption_text += (
        " Only the first bars are shown; the table has all."
        if len(rows) > bar_charts.MAX_ROWS
        else ""
    )
    all_turns: b.Blocks = [
        plot_figure(
            bar_charts.segment_bars(rows, summary.targets),
            ("Mean segments of ", b.Term(VOICE_TO_VOICE), caption_text),
        ),
        _table(summary, rows),
    ]
    notes = [n for n in (settings.packetisation(summary.playback), cells.COMPARABLE) if n]
    meanings: b.Blocks = [b.Paragraph(text, "") for text in (SEGMENTS_MEAN, *notes)]
    displayed = all_turns
    if bands:  # typical and slow turns, and each bar in numbers
        slow = " and around p95 (p93.5 to p96.5)" if any(band.p > 0.5 for band in bands) else ""
        bands_text = (
            f" of the good turns around its median (p45 to p55){slow}; their sum is the mean of"
            " these turns."
        )
        plot = bar_charts.segment_bars(bands, summary.targets)
        caption = ("Mean segments of ", b.Term(VOICE_TO_VOICE), bands_text)
        around = plot_figure(plot, caption, stops=(), numbers=[_table(summary, bands, "around")])
        displayed = [around, b.Details("All turns, step by step", all_turns, style="gap")]
    blocks: b.Blocks = [
        *displayed,
        *b.note(settings.contained(summary.playback)),
        b.Details("What the segments mean", meanings, style="note"),
    ]
    overall = [row for row in rows if row.step == ALL and len(summary.targets) == 1][:BRIEF_ROWS]
    brief = b.facts("breakdown", [cells.breakdown(row, summary) for row in overall])
    return b.Section(
        "segments", "Latency breakdown", "Where does the latency come from?", blocks, brief=brief
    )


def _table(summary: Summary, rows: Sequence[Breakdown], head: str = "step") -> b.Table:
    """Return a table of mean segments in ms. A row is a step or, if `head` is `around`, a band
    of percentiles.
    """
    names = bar_charts.names_of(rows)
    heads: b.Heads = [head, TARGET, "turns", *names, "total, ms"]
    lines: list[b.Line] = []
    for row in rows:
        means = {segment_title(segment): format_number(segment.mean_ms) for segment in row.segments}
        title = cells.breakdown_title(row)
        target = target_cell(summary, row.target)
        parts = [means.get(name, NONE) for name in names]
        lines.append(
            [title, target, count(row.turns), *parts, b.Strong(format_number(row.mean_ms))]
        )
    return b.table(heads, lines, stacked=True)


def playback(summary: Summary) -> b.Section | None:
    """Return the section on playback of replies and on turn detection; None if neither was
    measured.
    """
    run = summary.run
    latencies = summary.samples[VOICE_TO_VOICE]
    replies = rows_of(summary, REPLIES)
    callers = rows_of(summary, DETECTED)
    examples = example_turns(run, latencies)
    of_steps = example_turns_of_steps(run, latencies).items() if examples else ()
    blocks = [
        *(b.line(TIMELINE) if examples else []),
        *([_timeline(examples)] if examples else []),
        *b.others("Each step", ((step, _timeline(turns)) for step, turns in of_steps)),
    ]
    detected = {
        subject.target: cells.detection(row) for subject, row in by_subject(summary.counts).items()
    }
    if replies or callers:
        stalled = texts_by_target(
            summary,
            {
                value.target: [cells.stalled_cell(value.events, value.n)]
                for value in summary.counts
                if value.metric == "stall_rate" and value.n
            },
        )
        gaps = [
            event_metric
            for event_metric in summary.event_metrics
            if event_metric.metric == "delta_gap"
        ]
        blocks += b.line(f"{stalled}: {cells.LATE_AUDIO}." if stalled else "")
        if replies:
            blocks += [
                b.Details(
                    "Metrics of replies",
                    [metrics(summary, replies, gaps)],
                    open=not examples,
                    again=True,
                )
            ]
        if callers:
            wrong = texts_by_target(summary, detected)
            vad = any(value.metric == "end_detected_early" and value.n for value in summary.counts)
            right = (
                "No turn was cut off before the caller had finished, and no end of speech was"
                " detected too early."
                if vad
                else ""
            )
            blocks += [b.Heading("Turn detection"), b.Paragraph(f"{wrong}." if wrong else right)]
            blocks += [
                b.Details(
                    "Metrics of turn detection",
                    [metrics(summary, callers)],
                    open=not examples,
                    again=True,
                )
            ]
            blocks += b.note(settings.packetisation_note(summary.playback))
    named = summary.has_several_targets
    faults = [
        (target, fault) for target, faults in [*detected.items()][:BRIEF_ROWS] for fault in faults
    ]
    brief = [
        *b.fact(
            "detection", [f"{target}: {fault}" if named else fault for target, fault in faults]
        ),
        *b.fact("note", [settings.packetisation_note(summary.playback)]),
    ]
    return (
        b.Section("heard", "Audio playback", "What did the caller hear?", blocks, brief=brief)
        if blocks
        else None
    )


def interruptions(summary: Summary) -> b.Section | None:
    """Return the section on interrupted replies, and on replies during a backchannel; None if
    there are none.
    """
    rows = rows_of(summary, INTERRUPTED)
    question = "How soon does the reply stop when the caller interrupts?"
    brief = b.fact("interrupted", cells.medians(summary, ("barge_in_yield", "unplayed_audio")))
    blocks = [metrics(summary, rows)]
    return (
        b.Section("interruptions", "Interruptions", question, blocks, brief=brief) if rows else None
    )


def interrupts(summary: Summary) -> bool:
    """Return whether the run is about interruptions: in at least one turn of five, the caller
    interrupted the reply.
    """
    interrupted = sum(row.planned for row in rows_of(summary, ("barge_in_yield",)))
    return 5 * interrupted >= summary.endings.started > 0


def _timeline(examples: Sequence[ExampleTurn]) -> b.Figure:
    sentences = [LANES, *([END_DETECTED] if speech_timeline.has_triangles(examples) else [])]
    if any(example.asked_on_s > example.called_s for example in examples):
        sentences.append("Dark amber: functions run, ours or those of MCP servers.")
    if any(example.stall_s for example in examples):
        unplaced = (
            UNPLACED if any(example.stall_s and not example.heard for example in examples) else ""
        )
        sentences.append(
            f"Hatched red: the player ran out of audio, a gap for the caller{unplaced}."
        )
    if speech_timeline.breaks(examples):
        ends = f"The axis ends at {speech_timeline.MAX_TIMELINE_S:g} s"
        sentences.append(f"{ends}: a bar with two strokes continues to the time next to it.")
    logged = [example for example in examples if example.event_log]
    logs = [(f" {cells.example_name(example)} ", log_link(example.event_log)) for example in logged]
    named = [(" Event logs:" if not index else ",", *log) for index, log in enumerate(logs)]
    below = [b.ReadingGuide((" ".join(sentences), *named, "." if logs else ""))]
    stops = [speech_timeline.turn_numbers(example) for example in examples]
    return plot_figure(speech_timeline.speech(examples), stops=stops, below=below)
