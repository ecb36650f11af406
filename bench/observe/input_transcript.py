"""The transcript of one turn's speech: its segments, its deltas, and how far the deltas lag behind the speech. Pure.

A turn has one segment for each commit. The transcript has the segments in the order of their commits, whatever the
order in which they are transcribed. A segment counts once, even if its transcript arrives twice.

Deltas contain no positions in the audio. The lag therefore assumes that the words are spoken at an even pace: the share
of the final text that was received is the share of the speech that is transcribed.
"""

from __future__ import annotations

import statistics
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bench.base.clock import Arrival
from bench.base.units import NS_PER_S
from bench.files.values import MAX_TEXT_CHARACTERS
from bench.wire.events import EventKind, ServerEvent, ServiceFailure

MIN_SPEECH_NS = 3 * NS_PER_S
"""The duration of speech from which the lag is computed. In shorter speech the pace is not even."""
MIN_DELTAS = 5
"""The number of deltas from which the lag is computed."""
MAX_DELTAS = 16_384
"""The maximum number of deltas of a turn that are stored. If there are more, the lag is unknown."""
MAX_UNEQUAL_SHARE = 0.1
"""The maximum difference between the deltas' characters and the final text's, as a share of the latter.

With a larger difference, the deltas are not parts of the final text, and the lag is unknown.
"""


class TranscriptLag(NamedTuple):
    """The lags of a turn's deltas: their median and maximum, and by how much each may really have been less, in ns.

    Each lag is between itself and itself minus its uncertainty. Therefore the median is between the medians of both,
    and the maximum between the maxima.
    """

    median_ns: int
    max_ns: int
    median_uncertainty_ns: int
    max_uncertainty_ns: int


def character_count(text: str) -> int:
    """Return the number of characters without white space, which deltas and final texts may have differently."""
    return len("".join(text.split()))


def lags_ns(
    received: Sequence[int], arrivals_ns: Sequence[int], total: int, speech_start_ns: int, speech_end_ns: int
) -> list[int]:
    """Return the lag of each delta: its arrival minus the instant at which its last word was spoken.

    `received` are the characters of all deltas up to and including each one. `total` are the characters of the final
    text. The last word is spoken at the share `received` ÷ `total` of the speech.
    """
    speech_ns = speech_end_ns - speech_start_ns
    return [
        at_ns - speech_start_ns - speech_ns * min(characters, total) // total
        for characters, at_ns in zip(received, arrivals_ns, strict=True)
    ]


@dataclass(slots=True, eq=False)
class InputTranscript:
    """The transcript of one turn's speech, as far as it has arrived."""

    deltas: int = 0
    """The number of deltas with text."""
    failure: ServiceFailure | None = None
    """The first failure of a transcription; None if none has failed."""
    failed: int = 0
    _segments: dict[str, str] = field(default_factory=dict)
    """The texts by the ids of the items, in the order of the commits."""
    _ended: set[str] = field(default_factory=set)
    """The ids of the items whose transcription has arrived or failed."""
    _room: int = MAX_TEXT_CHARACTERS
    _received: array[int] = field(default_factory=lambda: array("q"))
    _arrivals_ns: array[int] = field(default_factory=lambda: array("q"))
    _uncertainties_ns: array[int] = field(default_factory=lambda: array("q"))
    _characters: int = 0

    @property
    def ended(self) -> int:
        """The number of segments whose transcription has arrived or failed."""
        return len(self._ended)

    @property
    def text(self) -> str:
        """The segments that have arrived, joined by spaces."""
        return " ".join(filter(None, self._segments.values()))

    def add_segment(self, item_id: str) -> None:
        """Add a segment that the service has committed."""
        self._segments.setdefault(item_id, "")

    def add_delta(self, event: ServerEvent, arrival: Arrival) -> bool:
        """Add a part of the transcript. Return True if it is the first one with text."""
        characters = character_count(event.text)
        if not characters:
            return False
        self.deltas += 1
        self._characters += characters
        if self.deltas <= MAX_DELTAS:
            self._received.append(self._characters)
            self._arrivals_ns.append(arrival.at_ns)
            self._uncertainties_ns.append(arrival.uncertainty_ns)
        return self.deltas == 1

    def end_segment(self, event: ServerEvent) -> bool:
        """Add the transcript of a segment, or its failure. Return False if the segment has already ended."""
        item_id = event.item_id or f"\0{len(self._ended)}"  # from a server that omits ids
        if item_id in self._ended:
            return False
        self._ended.add(item_id)
        if event.kind is EventKind.INPUT_NOT_TRANSCRIBED:
            self.failed += 1
            self.failure = self.failure or event.failure or ServiceFailure()
            return True
        text = event.text.strip()[: self._room]
        self._room -= len(text)
        self._segments[item_id] = text
        return True

    def lag(self, speech_start_ns: int, speech_end_ns: int, width_ns: int) -> TranscriptLag | None:
        """Return the lag; None if it is unknown. The speech may really have been sent `width_ns` later."""
        total = character_count(self.text)
        if speech_end_ns - speech_start_ns < MIN_SPEECH_NS or not MIN_DELTAS <= self.deltas <= MAX_DELTAS:
            return None
        if self.failed or not total or abs(self._characters - total) > MAX_UNEQUAL_SHARE * total:
            return None
        lags = lags_ns(self._received, self._arrivals_ns, total, speech_start_ns, speech_end_ns)
        least = [lag_ns - error_ns for lag_ns, error_ns in zip(lags, self._uncertainties_ns, strict=True)]
        median_ns, max_ns = round(statistics.median(lags)), max(lags)
        return TranscriptLag(
            median_ns, max_ns, median_ns - round(statistics.median(least)) + width_ns, max_ns - max(least) + width_ns
        )
