"""Watches whether a service replies to what asks for no reply: words to somebody else, a noise, a murmur. Pure.

They are heard while no reply is played and no turn is under way, so whatever response begins is nobody's. It is played
all the same, for the caller hears it. What the service says because its caller is silent (its idle timeout) answers
nothing.
"""

from __future__ import annotations

from bench.clock import Arrival
from bench.observe.reply import Reply
from bench.protocol.audio import AudioFormat
from bench.protocol.events import DELTAS, Event, Kind


def begins_reply(event: Event) -> bool:
    """Whether a response is known to be under way by such an event, if none of it came before."""
    return event.kind is Kind.RESPONSE_CREATED or event.kind in DELTAS


class SilenceWatch:
    """The watch over one sound. `audio`: the format of replies, which are played behind a jitter buffer."""

    def __init__(self, audio: AudioFormat, jitter_buffer_ns: int) -> None:
        self._reply = Reply(audio, jitter_buffer_ns)
        self._prompts = 0
        """How often the service said that the caller is silent, and has not spoken yet."""
        self.replied = False
        """Whether it has replied."""

    def received(self, event: Event, arrival: Arrival, *, begins: bool) -> None:
        """Take an event that is no turn's. `begins`: it is the first of its response."""
        if event.kind is Kind.IDLE_TIMEOUT:
            self._prompts += 1
        elif begins and self._prompts:
            self._prompts -= 1
        elif begins:
            self.replied = True
        if event.kind is Kind.AUDIO_DELTA and event.payload_bytes > 0:
            self._reply.delta(event, arrival)

    @property
    def playback_ends_ns(self) -> int:
        """When the caller has heard all that came so far; 0 where nothing came."""
        return self._reply.playback_ends_ns
