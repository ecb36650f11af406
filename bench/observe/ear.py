"""Finds replies in audio that comes all the time, and tells of them in the events that a timeline knows. Pure.

A full-duplex service streams audio whether or not it speaks, and names neither responses nor turns. A reply begins with
the delta that holds an audible sample (`bench.protocol.audio`) after silence, and is over once deltas without any
make up `SILENCE_NS`; what it is made of has an id of our own. The result follows from the order of the deltas alone, so
a log that says of each delta where it is audible gives the same replies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from bench.protocol.audio import UNREADABLE, AudioFormat, audible_sample
from bench.protocol.events import CutPayload, Event, Kind, said
from bench.protocol.untrusted import LONGEST_TEXT

SILENCE_NS = 800_000_000
"""Silence that ends a reply: pauses within speech are shorter. Adapters of GPT-Live begin with the same length."""


class Ear:
    """Hears one session's audio, in `audio`'s format."""

    def __init__(self, audio: AudioFormat) -> None:
        self.audio = audio
        self._replies = 0
        self._speaking = False
        self._silent_ns = 0
        self._words = ""

    def heard_in(self, events: Iterable[Event]) -> list[Event]:
        """What the events of a message come to; those that the service did not send have no name."""
        return [heard for event in events for heard in self._heard(event)]

    def _heard(self, event: Event) -> Sequence[Event]:
        if event.kind is Kind.TRANSCRIPT_DELTA:
            self._words = (self._words + said(event.payload))[:LONGEST_TEXT]
            return (Event(Kind.NOTED, event.name),)
        if event.kind is not Kind.AUDIO_DELTA or event.payload_bytes == 0:
            return (event,)
        audible = audible_sample(event.payload, self.audio)
        if event.payload_bytes < 0 or audible == UNREADABLE:
            return (event,)
        if audible is None and not self._speaking:
            return (Event(Kind.NOTED, event.name),)
        return self._spoken(event, audible)

    def _spoken(self, event: Event, audible: int | None) -> Sequence[Event]:
        """A delta of a reply, and the end of that where it is over."""
        if not self._speaking:
            self._replies += 1
            self._speaking = True
        self._silent_ns = 0 if audible is not None else self._silent_ns + self.audio.duration_ns(event.payload_bytes)
        name = f"heard-{self._replies}"
        of_reply = msgspec.structs.replace(event, response_id=name, item_id=name, payload=CutPayload(audible))
        if self._silent_ns < SILENCE_NS:
            return (of_reply,)
        self._speaking, words, self._words = False, self._words.strip(), ""
        return (
            of_reply,
            Event(Kind.TRANSCRIPT_DONE, "", name, name, text=words),
            Event(Kind.RESPONSE_DONE, "", name, status="completed"),
        )
