"""The texts for the segments of voice_to_voice."""

from bench.catalogue.metrics import VAD_SEGMENTS
from reports.analysis.summary.segments import COMPLETE, Segment

STOPPED = VAD_SEGMENTS[1]
AUDIBLE = VAD_SEGMENTS[-1]
SEGMENT_TEXTS = dict(
    zip(
        VAD_SEGMENTS,
        (
            "end of speech",
            "end-of-turn detection (VAD)",
            "audio commit",
            "response request",
            "response creation",
            "first audio delta",
            "leading silence + jitter buffer",
        ),
        strict=True,
    )
)
"""The name of each segment. The key is the instant at which the segment ends."""


def segment_title(segment: Segment) -> str:
    """Return the title of a segment. If an instant in it is missing, the title has the names of
    both ends.
    """
    title = SEGMENT_TEXTS[segment.end]
    is_whole = (segment.begin, segment.end) in COMPLETE
    return title if is_whole else f"{SEGMENT_TEXTS[segment.begin]} → {title}"
