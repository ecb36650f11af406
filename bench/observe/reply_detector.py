"""Finds replies in audio that comes all the time, and tells of them in the events that a timeline knows. Pure.

A full-duplex service streams audio whether or not it speaks, and names neither responses nor turns. A reply begins
where sound does (`bench.observe.onsets`), with the delta that holds it, and is over once deltas without any make up
the silence that ends a reply, or, of a service that falls silent by sending nothing, once nothing was played for so
long; what it is made of has an id of our own. Deltas are held back for as long as it takes to know that sound begins in
them. The result follows from what is heard in each delta, and from when it came: `listened` puts the first into the
delta, so that a log that keeps that and no audio gives the same replies.

A provider of telephony puts all that an agent sends into one queue, plays it without a break, drops what is left of it
where the agent says so (`clear`), and tells the agent when a place that it has marked was played, or dropped with the
rest (Twilio, Media Streams, "mark" and "clear").
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from bench.clock import Arrival
from bench.observe.onsets import BLOCK_MS, PAUSE_NS, WINDOW, OnsetDetector
from bench.protocol.audio import UNREADABLE, AudioFormat, SampleStream, audible_place
from bench.protocol.events import EventKind, PlayoutPosition, ServerEvent, StrippedAudio, audio_payload, said
from bench.timeouts import LONGEST_HOLD_NS
from bench.units import NEVER_NS, NS_PER_MS, NS_PER_S
from bench.untrusted.values import LONGEST_TEXT

MOST_MARKS = 1_000
"""Marks that may wait at a time: one for each word of minutes of speech."""
GAP_NS = 100 * NS_PER_MS
"""Time without any audio from which on it is silence that was not sent; less is a delay on the way."""


class PlaybackTime(NamedTuple):
    """When a delta is heard, but for the jitter buffer, at the latest; by the stamps up to `error_ns` earlier."""

    at_ns: int
    error_ns: int


class PlayoutQueue:
    """The queue of what the caller's end of a line plays.

    `until_ns`: when all that came by now will have been played; 0 before anything came.

    Audio that comes up to `GAP_NS` after the queue ran dry was delayed on the way, and nothing behind it is heard later
    for that. After twice as long a gap the stream begins anew, and all behind it is heard later by the whole gap. In
    between it is heard later by a part of the gap, so that no instant depends on which side of a limit a stamp is.

    What comes next is due at the largest of the instants that single arrivals give, each of which depends on its own
    stamp and on when the queue was empty, again a maximum. So the error of an instant is at most three times that of
    one stamp, however many deltas came before.
    """

    def __init__(self) -> None:
        self.until_ns = 0
        self.overflow: tuple[str, str] | None = None
        """The kind of which more waited than may, and in words how much."""
        self._earliest_until_ns = 0
        """What `until_ns` is if all stamps are as early as they may be."""
        self._due_ns = 0, 0
        """When what comes next is heard, if it comes in time: at the earliest, and at the latest."""
        self._waiting: deque[tuple[int, str]] = deque()
        self._played: deque[str] = deque()

    def play(self, at_ns: int, duration_ns: int, error_ns: int = 0) -> PlaybackTime:
        """Put audio behind the rest that came at `at_ns`, or up to `error_ns` earlier."""
        earliest_at_ns = at_ns - error_ns
        # the longer the gap before it, the less of it is a delay: the latest instant has the longest gap
        earliest_ns = max(self._due_ns[0], earliest_at_ns - _delay_ns(earliest_at_ns - self.until_ns))
        latest_ns = max(self._due_ns[1], at_ns - _delay_ns(at_ns - self._earliest_until_ns))
        self._due_ns = earliest_ns + duration_ns, latest_ns + duration_ns
        self._earliest_until_ns = max(self._earliest_until_ns, earliest_at_ns) + duration_ns
        self.until_ns = max(self.until_ns, at_ns) + duration_ns
        if self.until_ns > at_ns + LONGEST_HOLD_NS:
            self.overflow = "audio", f"{LONGEST_HOLD_NS // NS_PER_S} s of audio are queued for playback"
        heard_ns = max(at_ns, latest_ns)
        return PlaybackTime(heard_ns, heard_ns - max(earliest_at_ns, earliest_ns))

    def mark(self, at_ns: int, name: str) -> None:
        self._pass(at_ns)
        self._waiting.append((max(at_ns, self.until_ns), name))
        if len(self._waiting) > MOST_MARKS:
            self.overflow = "marks", f"{MOST_MARKS} marks wait for what was not played yet"

    def clear(self, at_ns: int, error_ns: int = 0) -> None:
        """Drop what was not played by now, or by up to `error_ns` earlier; marks in it count as played."""
        self.until_ns = min(self.until_ns, at_ns)
        self._earliest_until_ns = min(self._earliest_until_ns, at_ns - error_ns)
        self._due_ns = min(self._due_ns[0], at_ns - error_ns), min(self._due_ns[1], at_ns)
        self._pass(NEVER_NS)

    @property
    def due_ns(self) -> int:
        """When the next mark was played."""
        if self._played:
            return 0
        return self._waiting[0][0] if self._waiting else NEVER_NS

    def played_by(self, now_ns: int) -> list[str]:
        self._pass(now_ns)
        played, self._played = self._played, deque()
        return list(played)

    def _pass(self, now_ns: int) -> None:
        while self._waiting and self._waiting[0][0] <= now_ns:
            self._played.append(self._waiting.popleft()[1])


def _delay_ns(gap_ns: int) -> int:
    """Return how much of the lateness of audio that comes so long after the queue ran dry is a delay on the way."""
    return min(GAP_NS, max(0, 2 * GAP_NS - gap_ns))


SILENCE_NS = 800 * NS_PER_MS
"""Silence that ends a reply once the caller has spoken since it began: what comes then may be the answer to that.

Pauses within speech are shorter."""
CAUGHT = "turn_detected"
"""Why a reply is cancelled that its caller speaks into, in the words of the Realtime API."""
LONGEST_GAP_S = 3
"""Silence of which more tells nothing more."""
KNOWN_NS = WINDOW * BLOCK_MS * NS_PER_MS
"""Audio from a begin on by which it is known."""
HELD_NS = 700 * NS_PER_MS
"""Audio that may lie behind a begin that becomes known: more at the begin of a stream than later."""


class HeldDelta(NamedTuple):
    """A delta in which no sound was known, the sample of the stream with which it ends, and when it is heard."""

    event: ServerEvent
    arrival: Arrival
    end: int
    playing: PlaybackTime


class ReplyDetector:
    """Hears one session's audio, in `audio`'s format.

    `silence_ns`: the silence that ends a reply. `pauses`: the service may fall silent by sending nothing.
    """

    def __init__(self, audio: AudioFormat, silence_ns: int, *, pauses: bool = False) -> None:
        self._silence_ns, self._pauses = silence_ns, pauses
        self.playout = PlayoutQueue()
        self.audio = audio
        self._stream = SampleStream(audio)
        self._onsets = OnsetDetector(audio.rate_hz)
        self._end = 0
        """Samples that came, with those of silence that were not sent."""
        self._last = 0
        """The sample up to which the reply was heard."""
        self._held: deque[HeldDelta] = deque()
        self._replies = 0
        self._speaking = False
        self._cut = False
        """Whether the service has dropped what was left of the reply: what goes on with no pause was under way."""
        self._dropped = False
        """Whether any of it was left, or goes on: the service has taken it back."""
        self._caller_spoke = False
        self._words = ""

    def caller_speaks(self) -> None:
        """Note that the caller begins to speak, before the reply is over or after it."""
        self._caller_spoke = self._speaking

    def listened(self, events: Sequence[ServerEvent], arrival: Arrival) -> Sequence[ServerEvent]:
        """Return the events of a message with what is heard in audio in its place; those that have it already stay.

        Half a sample at the end of a message counts with the message that brings the rest, as in a line that plays
        the bytes one after the other. What `clear` drops includes it.
        """
        return [self._listened(event, arrival) for event in events]

    def _listened(self, event: ServerEvent, arrival: Arrival) -> ServerEvent:
        if event.kind is EventKind.CLEARED:
            self._onsets.drop()
            self._stream.rest = b""
        if (
            event.kind is not EventKind.AUDIO_DELTA
            or event.payload_bytes <= 0
            or isinstance(event.payload, StrippedAudio)
        ):
            return event
        data = audio_payload(event.payload)
        if data is None:
            return event
        marks = []
        if unsent := self._unsent(arrival):
            silence = np.zeros(min(unsent, LONGEST_GAP_S * self.audio.rate_hz), np.int16)
            passed = self._onsets.hear(silence, sent=False)
            if passed and passed[0].what == "begins" and unsent * NS_PER_S < self._silence_ns * self.audio.rate_hz:
                marks = [(what, -back, off_ns) for what, back, off_ns in passed]
        samples = self._stream.samples(data)
        marks += [(what, len(samples) - back, off_ns) for what, back, off_ns in self._onsets.hear(samples)]
        audible = until = None
        error_ns = 0
        for what, place, off_ns in marks:
            error_ns = off_ns
            if what == "begins" and audible is None:
                audible = place
            elif what == "sounds":
                audible, until = 0 if audible is None else audible, place
        size = len(samples) * self.audio.sample_bytes
        return msgspec.structs.replace(event, payload_bytes=size, payload=StrippedAudio(audible, until, error_ns))

    def _unsent(self, arrival: Arrival) -> int:
        """How many samples of silence were not sent before a delta that comes now."""
        played_ns = self.playout.until_ns
        silent_ns = arrival.at_ns - played_ns
        return silent_ns * self.audio.rate_hz // NS_PER_S if played_ns and silent_ns >= GAP_NS else 0

    def events_in(self, events: Iterable[ServerEvent], arrival: Arrival) -> Iterator[tuple[ServerEvent, Arrival]]:
        """What `listened` events come to, each with its own arrival; those that were not sent have no name."""
        for event in events:
            if event.kind is EventKind.TRANSCRIPT_DELTA:
                self._words = (self._words + said(event.payload))[:LONGEST_TEXT]
                yield ServerEvent(EventKind.NOTED, event.name), arrival
            elif (
                event.kind is EventKind.AUDIO_DELTA
                and event.payload_bytes > 0
                and isinstance(sound := event.payload, StrippedAudio)
                and (sound.audible != UNREADABLE or sound.until is not None)
            ):
                yield from self._heard(event, sound, arrival)
            elif event.kind is EventKind.MARKED:
                self.playout.mark(arrival.at_ns, event.text)
                yield ServerEvent(EventKind.NOTED, event.name), arrival
            elif event.kind is EventKind.CLEARED:
                yield from self._cleared(event, arrival)
            else:
                yield event, arrival

    def _heard(
        self, event: ServerEvent, sound: StrippedAudio, arrival: Arrival
    ) -> Iterator[tuple[ServerEvent, Arrival]]:
        samples, rate_hz = event.payload_bytes // self.audio.sample_bytes, self.audio.rate_hz
        unsent = self._unsent(arrival)
        duration_ns = self.audio.duration_ns(event.payload_bytes)
        playing = self.playout.play(arrival.at_ns, duration_ns, arrival.error_ns)
        self._end += unsent
        # before this delta, which may begin the next one
        if unsent and self._is_over:
            yield from self._ending(arrival)
        self._end += samples
        if sound.audible is None or sound.until is None:
            if samples:
                self._hold(HeldDelta(event, arrival, self._end, playing))
            is_of_reply = self._speaking and not self._cut
            yield self._of_reply(event) if is_of_reply else ServerEvent(EventKind.NOTED, event.name), arrival
            if self._is_over:
                yield from self._ending(arrival)
            return
        begins = self._end - samples + sound.audible
        if self._speaking and (begins - self._last) * NS_PER_S >= self._pause_ns * rate_hz:
            yield from self._ending(arrival)
        self._last = self._end - samples + sound.until
        if not self._speaking:
            yield from self._begin_reply(HeldDelta(event, arrival, self._end, playing), sound, begins)
        else:
            if self._cut:  # with the pause before it
                self._dropped = True
                ahead = (held for held in self._held if held.end <= begins)
                yield from ((self._of_reply(held.event), held.arrival) for held in ahead)
                yield from self._held_sound(begins, sound)
            yield self._of_reply(event), arrival
        self._held.clear()

    @property
    def _is_over(self) -> bool:
        """Whether no sound that is known later can be of the reply that is heard."""
        return self._speaking and self._silent_ns >= self._pause_ns + KNOWN_NS

    @property
    def _pause_ns(self) -> int:
        """Silence that ends the reply that is heard."""
        if self._cut:
            return PAUSE_NS
        return min(SILENCE_NS, self._silence_ns) if self._caller_spoke else self._silence_ns

    @property
    def _silent_ns(self) -> int:
        """How long the silence is that the reply ends in, as far as that came."""
        return self.audio.duration_ns((self._end - self._last) * self.audio.sample_bytes)

    @property
    def over_ns(self) -> int:
        """When the reply that is played is over if nothing more of it comes."""
        if not (self._pauses and self._speaking):
            return NEVER_NS
        return self.playout.until_ns + self._pause_ns + KNOWN_NS - self._silent_ns

    def ended_by(self, now_ns: int) -> Iterator[tuple[ServerEvent, Arrival]]:
        if (over_ns := self.over_ns) <= now_ns:
            yield from self._ending(Arrival(over_ns))

    def _cleared(self, event: ServerEvent, arrival: Arrival) -> Iterator[tuple[ServerEvent, Arrival]]:
        """What is left of a reply is dropped; one that was played to its end is over before, unless more comes soon."""
        if arrival.at_ns < self.playout.until_ns:
            self._cut = self._dropped = self._speaking
            self._last = self._end
            self._held.clear()
        elif self._speaking and arrival.at_ns < self.playout.until_ns + PAUSE_NS:
            self._cut = True
        elif self._speaking and not self._cut:
            yield from self._ending(arrival)
        self.playout.clear(arrival.at_ns, arrival.error_ns)
        yield event, arrival

    def _begin_reply(self, last: HeldDelta, sound: StrippedAudio, begins: int) -> Iterator[tuple[ServerEvent, Arrival]]:
        """The first deltas of a reply, from the one in which it begins up to the `last`, by which that is known."""
        self._replies += 1
        self._speaking = True
        known = StrippedAudio(max(0, sound.audible or 0), sound.until, sound.error_ns)
        first = next((held for held in self._held if held.end > begins), last)
        place = self._place(first, last, begins, sound.error_ns) if self._pauses else None
        deltas = [*self._held_sound(begins, sound), (self._of_reply(last.event, known), last.arrival)]
        for number, (event, arrival) in enumerate(deltas):
            if number == 0 and isinstance(event.payload, StrippedAudio):
                event = msgspec.structs.replace(event, payload=msgspec.structs.replace(event.payload, place=place))
            yield event, arrival

    def _place(self, first: HeldDelta, last: HeldDelta, begins: int, error_ns: int) -> PlayoutPosition:
        """Where the first delta of a reply stands in the line; with those in which the reply may really begin."""
        off = error_ns * self.audio.rate_hz // NS_PER_S
        near = [
            held for held in (*self._held, last) if held.end > begins - off and self._begin_of(held) <= begins + off
        ]
        # how much later each is heard than what the stream began with, but for the time up to it in the stream
        rate_hz = self.audio.rate_hz
        late_ns = [held.playing.at_ns - self._begin_of(held) * NS_PER_S // rate_hz for held in (first, *near)]
        uneven_ns = max(late_ns) - min(late_ns)
        heard_ns, error_ns = first.playing
        return PlayoutPosition(heard_ns - first.arrival.at_ns, error_ns, uneven_ns)

    def _begin_of(self, held: HeldDelta) -> int:
        return held.end - held.event.payload_bytes // self.audio.sample_bytes

    def _held_sound(self, begins: int, sound: StrippedAudio) -> Iterator[tuple[ServerEvent, Arrival]]:
        """The deltas in which a sound turns out to be, which begins at a sample."""
        for held in self._held:
            if held.end > begins:
                place = max(0, begins - self._begin_of(held))
                size = held.event.payload_bytes // self.audio.sample_bytes
                yield self._of_reply(held.event, StrippedAudio(place, size, sound.error_ns)), held.arrival

    def _hold(self, held: HeldDelta) -> None:
        self._held.append(held)
        old = self._end - HELD_NS * self.audio.rate_hz // NS_PER_S
        while self._held[0].end < old:
            self._held.popleft()

    def _of_reply(self, event: ServerEvent, sound: StrippedAudio | None = None) -> ServerEvent:
        name = f"heard-{self._replies}"
        return msgspec.structs.replace(
            event, response_id=name, item_id=name, payload=event.payload if sound is None else sound
        )

    def _ending(self, arrival: Arrival) -> Iterator[tuple[ServerEvent, Arrival]]:
        name, words = f"heard-{self._replies}", self._words.strip()
        status, reason = ("cancelled", CAUGHT) if self._dropped else ("completed", "")
        self._speaking = self._cut = self._dropped = self._caller_spoke = False
        self._words = ""
        yield ServerEvent(EventKind.TRANSCRIPT_DONE, "", name, name, text=words), arrival
        yield ServerEvent(EventKind.RESPONSE_DONE, "", name, status=status, reason=reason), arrival


class SplitSamples:
    """Finds what is audible in deltas that begin or end within a sample, of services that name the items of a reply.

    A player plays the bytes of an item one after the other, so half a sample waits for the delta that brings the rest.
    Read alone, each delta behind an odd number of bytes is noise. Sizes stay as they came: they add up to the item's.
    """

    def __init__(self) -> None:
        self._item_id = ""
        self.stream: SampleStream | None = None
        """The audio of that item; None while no sample is half."""

    def listened(self, events: Sequence[ServerEvent], audio: AudioFormat) -> Sequence[ServerEvent]:
        """Return the events of a message; a delta that is not made of whole samples says where it is audible."""
        audio_events = (event for event in events if event.kind is EventKind.AUDIO_DELTA)
        if not any(self.stream is not None or event.payload_bytes % audio.sample_bytes for event in audio_events):
            return events
        return [self._listened(event, audio) if event.kind is EventKind.AUDIO_DELTA else event for event in events]

    def _listened(self, event: ServerEvent, audio: AudioFormat) -> ServerEvent:
        if isinstance(event.payload, StrippedAudio) or event.payload_bytes <= 0:
            return event
        stream = self.stream if self.stream is not None and event.item_id == self._item_id else SampleStream(audio)
        data = audio_payload(event.payload)
        if data is None:
            return event
        place = audible_place(stream.samples(data))
        self._item_id, self.stream = event.item_id, stream if stream.rest else None
        return msgspec.structs.replace(event, payload=StrippedAudio(place))
