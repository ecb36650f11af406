"""Watches a session beside its turns: what the service says unasked, and whether it shortens the conversation. Pure.

Words to somebody else, a noise or a murmur ask for no reply. They are heard while no reply is played and no turn is
under way, so whatever response begins is nobody's. It is played all the same, for the caller hears it. What the service
says because its caller is silent (its idle timeout) answers nothing.

The input of a response is all of the conversation that the service has kept, and the conversation grows. So where a
response has fewer tokens of input than the one before it, and the client took nothing out, the service did: it
truncates what no longer fits into its model's context (`truncation`, Realtime API reference).
"""

from __future__ import annotations

from bench.clock import Arrival
from bench.observe.reply import Reply
from bench.protocol.audio import AudioFormat
from bench.protocol.events import DELTAS, Event, Kind, Usage


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


class ConversationLength:
    """The conversation of one session, by the input of its responses."""

    def __init__(self) -> None:
        self._tokens: int | None = None  # of the response before; None where the next one's may be less all the same

    def client_changed(self) -> None:
        """Note that the client deleted something, or gave the session other settings: nobody knows how many tokens."""
        self._tokens = None

    def answered(self, usage: Usage, *, instructed: bool) -> bool:
        """Take the tokens of a response; whether the service shortened the conversation since the one before.

        `instructed`: the response had instructions of its own in the place of the session's.
        """
        if not usage.input:  # nothing was read, or nothing that can be told: it was cancelled before
            return False
        before, self._tokens = self._tokens, None if instructed else usage.input
        return before is not None and not instructed and usage.input < before
