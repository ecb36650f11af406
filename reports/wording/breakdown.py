"""The texts for the segments of voice_to_voice: their titles, and a sentence on the largest part of the latency."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bench.catalogue.metrics import VAD_SEGMENTS
from reports.formatting import format_ms_list, join_words, ms
from reports.summary.metrics import ALL
from reports.summary.run_validity import distinct_values
from reports.summary.segments import COMPLETE, Breakdown, Segment
from reports.summary.summary import MainResult, Summary


class SegmentText(NamedTuple):
    """The texts for a segment.

    - `title` is the name in tables and legends.
    - `text` is the name in a sentence.
    - `until` is the name in a sentence if the segment begins earlier, because an instant is missing.
    """

    title: str
    text: str
    until: str


SPEECH_END, STOPPED, *_, AUDIBLE = VAD_SEGMENTS
VAD = "end-of-turn detection (VAD)"
SEGMENT_TEXTS = dict(zip(VAD_SEGMENTS, (
    SegmentText("end of speech", "", ""),
    SegmentText(VAD, VAD, "the time until the end of the turn is detected"),
    SegmentText("audio commit", "the audio commit", "the time until the audio is committed"),
    SegmentText("response request", "the response request", "the time until the response is requested"),
    SegmentText("response creation", "response creation", "the time until the response is created"),
    SegmentText("first audio delta", "the generation of the first audio by the service",
                 "the time until the first audio delta"),
    SegmentText("leading silence + jitter buffer", "leading silence and the jitter buffer",
                 "the time until the first audible sample"),
), strict=True))  # fmt: skip
"""The texts for each segment. The key is the instant at which the segment ends."""
SILENCE = "silence_duration_ms"


def segment_title(segment: Segment) -> str:
    """Return the title of a segment. If an instant in it is missing, the title has the names of both ends."""
    title = SEGMENT_TEXTS[segment.end].title
    return title if _is_whole(segment) else f"{SEGMENT_TEXTS[segment.begin].title} → {title}"


def _is_whole(segment: Segment) -> bool:
    return (segment.begin, segment.end) in COMPLETE


class LatencyPart(NamedTuple):
    """A part of the latency: its size in ms, and its name."""

    size_ms: float
    what: str


def largest_part(summary: Summary, answers: Sequence[MainResult]) -> str:
    """Return a sentence such as `The largest part of the median, 500 ms, is your silence_duration_ms.`.

    Return "" if the largest part is unknown on a target, or if it is not the same part on all targets.
    """
    parts = [_largest(summary, answer) for answer in answers]
    known = [part for part in parts if part]
    if not known or len(known) < len(parts) or len({part.what for part in known}) > 1:
        return ""
    sizes, what = format_ms_list(*(part.size_ms for part in known)), known[0].what
    if len(set(sizes)) == 1:
        return f"The largest part of the median, {sizes[0]}, is {what}."
    sizes_by_target = [f"{size} on {answer.target}" for size, answer in zip(sizes, answers, strict=True)]
    return f"The largest part of the median is {what}: {join_words(sizes_by_target)}."


def _largest(summary: Summary, answer: MainResult) -> LatencyPart | None:
    """Return the largest part of the latency in the typical turns of one target; None if the parts are unknown."""
    rows: Sequence[Breakdown] = [band for band in summary.bands if band.p == 0.5]
    rows = [*_of(rows, answer)] or [*_of([row for row in summary.breakdowns if row.step == ALL], answer)]
    row = max(rows, key=lambda row: row.turns, default=None)
    if row is None or len(row.segments) < 2:
        return None
    # The value that the target's scripts set; unknown if a script leaves it to the service, or two scripts differ.
    scripts = [script for script in summary.run.metadata.get("scripts") or [] if isinstance(script, dict)]
    own_settings = [
        script.get("turn_detection_settings") for script in scripts if script.get("target") in (None, answer.target)
    ]
    detections = [
        detection for detection in own_settings if isinstance(detection, dict) and detection in summary.setup.detections
    ]
    values = distinct_values(detections, SILENCE)
    are_explicit = all(
        detection.get("type") == "server_vad" and detection.get(SILENCE) is not None for detection in detections
    )
    silence_ms = values[0] if len(values) == 1 and are_explicit else None
    parts = (part for segment in row.segments for part in _parts(segment, silence_ms))
    return max(parts, key=lambda part: part.size_ms)


def _of(rows: Iterable[Breakdown], answer: MainResult) -> Iterable[Breakdown]:
    """Yield the breakdowns that belong to the turns of an answer.

    If a target has several strata, only breakdowns that fit the answer's `measured_from` are included.
    """
    stratum, several = answer.stratum, answer.title != answer.target
    for row in rows:
        same = (row.target, row.turn_type) == (answer.target, stratum.turn_type)
        if same and (
            not several or not stratum.measured_from or row.has_end_detection == (stratum.measured_from == SPEECH_END)
        ):
            yield row


def _parts(segment: Segment, silence_ms: float | None) -> Iterable[LatencyPart]:
    """Yield the parts of a segment. Most segments are one part.

    End-of-turn detection is divided into two parts, if it is known: `silence_ms`, and the rest.
    """
    if segment.end == STOPPED and silence_ms is not None and segment.mean_ms >= silence_ms:
        yield LatencyPart(silence_ms, f"your {SILENCE}")
        yield LatencyPart(segment.mean_ms - silence_ms, f"{VAD} after the {ms(silence_ms)} of {SILENCE}")
    else:
        words = SEGMENT_TEXTS[segment.end]
        yield LatencyPart(segment.mean_ms, words.text if _is_whole(segment) else words.until)
