"""Finds what is audible in deltas that begin or end within a sample, of services that name the items of a reply. Pure.

A player plays the bytes of an item one after the other, so half a sample waits for the delta that brings the rest. Read
alone, each delta behind an odd number of bytes is noise. Sizes stay as they came: they add up to the item's.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bench.protocol.audio import AudioFormat, SampleStream, audible_place
from bench.protocol.events import CutPayload, Event, Kind, audio_payload


class SplitSamples:
    """The sample that the last delta of an item left half."""

    def __init__(self) -> None:
        self._item_id = ""
        self.stream: SampleStream | None = None
        """The audio of that item; None while no sample is half."""

    def listened(self, events: Sequence[Event], audio: AudioFormat) -> Sequence[Event]:
        """Return the events of a message; a delta that is not made of whole samples says where it is audible."""
        audio_events = (event for event in events if event.kind is Kind.AUDIO_DELTA)
        if not any(self.stream is not None or event.payload_bytes % audio.sample_bytes for event in audio_events):
            return events
        return [self._listened(event, audio) if event.kind is Kind.AUDIO_DELTA else event for event in events]

    def _listened(self, event: Event, audio: AudioFormat) -> Event:
        if isinstance(event.payload, CutPayload) or event.payload_bytes <= 0:
            return event
        stream = self.stream if self.stream is not None and event.item_id == self._item_id else SampleStream(audio)
        data = audio_payload(event.payload)
        if data is None:
            return event
        place = audible_place(stream.samples(data))
        self._item_id, self.stream = event.item_id, stream if stream.rest else None
        return msgspec.structs.replace(event, payload=CutPayload(place))
