"""The detection of replies in a continuous audio stream, and their conversion to events of the timeline. Pure.

A full-duplex service streams audio even when it does not speak, and names neither responses nor turns. A reply begins
with the delta in which sound begins (`bench.observe.onsets`). It ends when deltas without sound add up to the silence
that ends a reply. If the service stops sending instead, the reply ends after the same time without playback. The
detector creates an id for the response and for its item. It does not pass on a delta until it is known whether sound
begins in it. The result depends only on the sound in each delta and on the arrival of the delta. `detect_replies`
stores the sound in the delta, so that a log without audio gives the same replies.

A telephony provider puts all audio of an agent into one queue and plays it without a break. If the agent requests it
(`clear`), the provider drops the rest of the queue. An agent can mark a position in the queue. The provider reports to
the agent when the audio before the mark was played, or was dropped with the rest (Twilio, Media Streams, "mark" and
"clear").
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from bench.clock import Arrival
from bench.observe.onsets import BLOCK_MS, PAUSE_NS, WINDOW, OnsetDetector
from bench.protocol.audio import UNREADABLE, AudioFormat, SampleStream, audible_position
from bench.protocol.events import EventKind, PlayoutPosition, ServerEvent, StrippedAudio, audio_payload, delta_text
from bench.timeouts import MAX_HOLD_NS
from bench.units import NEVER_NS, NS_PER_MS, NS_PER_S
from bench.untrusted.values import MAX_TEXT_CHARACTERS

MAX_MARKERS = 1_000
"""The maximum number of pending marks: one for each word of several minutes of speech."""
GAP_NS = 100 * NS_PER_MS
"""The minimum time without audio that counts as silence that was not sent. A shorter time is a delay on the network."""


class PlaybackTime(NamedTuple):
    """The latest playback time of a delta, without the jitter buffer.

    The real time may be up to `uncertainty_ns` earlier.
    """

    at_ns: int
    uncertainty_ns: int


class PlayoutQueue:
    """The playout queue at the caller's end of the line.

    `until_ns` is when the received audio will have been played; 0 before any audio.

    Audio that arrives up to `GAP_NS` after the queue ran empty was delayed on the network. It does not delay the
    playback of later audio. After a gap of at least twice `GAP_NS`, the stream starts again, and all later audio is
    played later by the whole gap. Between the two limits, the later audio is delayed by a part of the gap. So a
    timestamp close to a limit cannot change an instant by a step.

    The due time of the next audio is a maximum over all arrivals. The term of each arrival depends on its timestamp and
    on when the queue was empty, which is also a maximum. So the error of an instant is at most three times the error of
    one timestamp, for any number of earlier deltas.
    """

    def __init__(self) -> None:
        self.until_ns = 0
        self.overflow: tuple[str, str] | None = None
        """The description of the exceeded limit: the kind of queued items, and the limit.

        None if no limit is exceeded.
        """
        self._earliest_until_ns = 0
        """The value of `until_ns` if all timestamps are as early as possible."""
        self._due_ns = 0, 0
        """The earliest and latest playback time of the next audio, if it arrives in time."""
        self._waiting: deque[tuple[int, str]] = deque()
        self._played: deque[str] = deque()

    def play(self, at_ns: int, duration_ns: int, error_ns: int = 0) -> PlaybackTime:
        """Queue audio that arrived at `at_ns`, or up to `error_ns` earlier. Return the playback time of the audio."""
        earliest_at_ns = at_ns - error_ns
        # The longer a gap is, the smaller is its part that counts as network delay. The latest instant has the longest
        # gap.
        earliest_ns = max(self._due_ns[0], earliest_at_ns - _delay_ns(earliest_at_ns - self.until_ns))
        latest_ns = max(self._due_ns[1], at_ns - _delay_ns(at_ns - self._earliest_until_ns))
        self._due_ns = earliest_ns + duration_ns, latest_ns + duration_ns
        self._earliest_until_ns = max(self._earliest_until_ns, earliest_at_ns) + duration_ns
        self.until_ns = max(self.until_ns, at_ns) + duration_ns
        if self.until_ns > at_ns + MAX_HOLD_NS:
            self.overflow = "audio", f"{MAX_HOLD_NS // NS_PER_S} s of audio are queued for playback"
        playback_ns = max(at_ns, latest_ns)
        return PlaybackTime(playback_ns, playback_ns - max(earliest_at_ns, earliest_ns))

    def mark(self, at_ns: int, name: str) -> None:
        self._pass(at_ns)
        self._waiting.append((max(at_ns, self.until_ns), name))
        if len(self._waiting) > MAX_MARKERS:
            self.overflow = "marks", f"{MAX_MARKERS} marks wait for what was not played yet"

    def clear(self, at_ns: int, error_ns: int = 0) -> None:
        """Drop the audio that was not played by `at_ns`, or by up to `error_ns` earlier.

        The marks in it count as played.
        """
        self.until_ns = min(self.until_ns, at_ns)
        self._earliest_until_ns = min(self._earliest_until_ns, at_ns - error_ns)
        self._due_ns = min(self._due_ns[0], at_ns - error_ns), min(self._due_ns[1], at_ns)
        self._pass(NEVER_NS)

    @property
    def due_ns(self) -> int:
        """The instant at which the next mark is played; 0 if a mark was played and is not reported yet."""
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
    """Return the part of a gap in the queue that counts as network delay."""
    return min(GAP_NS, max(0, 2 * GAP_NS - gap_ns))


SILENCE_NS = 800 * NS_PER_MS
"""The silence that ends a reply if the caller has spoken since the reply began. Pauses within speech are shorter.

Audio after this silence may answer the caller, so it belongs to the next reply.
"""
CAUGHT = "turn_detected"
"""The status reason of a reply that the caller's speech cancels, as in the Realtime API."""
MAX_GAP_S = 3
"""The maximum silence that is passed to the onset detector. A longer silence has the same effect."""
KNOWN_NS = WINDOW * BLOCK_MS * NS_PER_MS
"""The audio that the onset detector needs after the start of a sound to detect it."""
HELD_NS = 700 * NS_PER_MS
"""The maximum audio between the start of a sound and its detection. It is longest at the start of a stream."""


class HeldDelta(NamedTuple):
    """A delta without detected sound.

    `end` is the position of its last sample in the stream. `playing` is its playback time.
    """

    event: ServerEvent
    arrival: Arrival
    end: int
    playing: PlaybackTime


class ReplyDetector:
    """The reply detector of one session, for audio in the format `audio`.

    `silence_ns` is the silence that ends a reply. `pauses` is True if the service may stop sending instead of sending
    silence.
    """

    def __init__(self, audio: AudioFormat, silence_ns: int, *, pauses: bool = False) -> None:
        self._silence_ns, self._pauses = silence_ns, pauses
        self.playout = PlayoutQueue()
        self.audio = audio
        self._stream = SampleStream(audio)
        self._onsets = OnsetDetector(audio.rate_hz)
        self._end = 0
        """The number of received samples, including unsent silence."""
        self._last = 0
        """The last audible sample of the reply."""
        self._held: deque[HeldDelta] = deque()
        self._replies = 0
        self._speaking = False
        self._cut = False
        """True if the service has cleared the rest of the reply.

        Sound that follows without a pause belongs to the cleared reply: the service sent it before the clear.
        """
        self._dropped = False
        """True if audio of the reply was cleared, or arrived after the clear.

        The service has then cancelled the reply.
        """
        self._caller_spoke = False
        self._words = ""

    def caller_speaks(self) -> None:
        """Record that the caller starts to speak, during the reply or after it."""
        self._caller_spoke = self._speaking

    def detect_replies(self, events: Sequence[ServerEvent], arrival: Arrival) -> Sequence[ServerEvent]:
        """Return the events of a message. The detected sound replaces the audio.

        Events that already contain the detected sound do not change. If a message ends within a sample, that sample
        counts with the message that completes it, because the line plays the bytes in sequence. `clear` also drops the
        half sample.
        """
        return [self._detect_replies(event, arrival) for event in events]

    def _detect_replies(self, event: ServerEvent, arrival: Arrival) -> ServerEvent:
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
        changes = []
        if unsent := self._unsent(arrival):
            silence = np.zeros(min(unsent, MAX_GAP_S * self.audio.rate_hz), np.int16)
            silence_changes = self._onsets.add(silence, sent=False)
            if (
                silence_changes
                and silence_changes[0].what == "begins"
                and unsent * NS_PER_S < self._silence_ns * self.audio.rate_hz
            ):
                changes = [(what, -back, uncertainty_ns) for what, back, uncertainty_ns in silence_changes]
        samples = self._stream.samples(data)
        changes += [
            (what, len(samples) - back, uncertainty_ns) for what, back, uncertainty_ns in self._onsets.add(samples)
        ]
        audible = until = None
        error_ns = 0
        for what, position, uncertainty_ns in changes:
            error_ns = uncertainty_ns
            if what == "begins" and audible is None:
                audible = position
            elif what == "sounds":
                audible, until = 0 if audible is None else audible, position
        size = len(samples) * self.audio.sample_bytes
        return msgspec.structs.replace(event, payload_bytes=size, payload=StrippedAudio(audible, until, error_ns))

    def _unsent(self, arrival: Arrival) -> int:
        """Return the number of samples of silence that were not sent before a delta that arrives now."""
        played_ns = self.playout.until_ns
        silent_ns = arrival.at_ns - played_ns
        return silent_ns * self.audio.rate_hz // NS_PER_S if played_ns and silent_ns >= GAP_NS else 0

    def events_in(self, events: Iterable[ServerEvent], arrival: Arrival) -> Iterator[tuple[ServerEvent, Arrival]]:
        """Yield the timeline's events for the events that `detect_replies` returned, each with its arrival.

        Derived events have no name.
        """
        for event in events:
            if event.kind is EventKind.TRANSCRIPT_DELTA:
                self._words = (self._words + delta_text(event.payload))[:MAX_TEXT_CHARACTERS]
                yield ServerEvent(EventKind.NOTED, event.name), arrival
            elif (
                event.kind is EventKind.AUDIO_DELTA
                and event.payload_bytes > 0
                and isinstance(sound := event.payload, StrippedAudio)
                and (sound.audible != UNREADABLE or sound.until is not None)
            ):
                yield from self._on_change(event, sound, arrival)
            elif event.kind is EventKind.MARKED:
                self.playout.mark(arrival.at_ns, event.text)
                yield ServerEvent(EventKind.NOTED, event.name), arrival
            elif event.kind is EventKind.CLEARED:
                yield from self._cleared(event, arrival)
            else:
                yield event, arrival

    def _on_change(
        self, event: ServerEvent, sound: StrippedAudio, arrival: Arrival
    ) -> Iterator[tuple[ServerEvent, Arrival]]:
        samples, rate_hz = event.payload_bytes // self.audio.sample_bytes, self.audio.rate_hz
        unsent = self._unsent(arrival)
        duration_ns = self.audio.duration_ns(event.payload_bytes)
        playing = self.playout.play(arrival.at_ns, duration_ns, arrival.uncertainty_ns)
        self._end += unsent
        # ends the reply before this delta, which may start the next reply
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
        start = self._end - samples + sound.audible
        if self._speaking and (start - self._last) * NS_PER_S >= self._pause_ns * rate_hz:
            yield from self._ending(arrival)
        self._last = self._end - samples + sound.until
        if not self._speaking:
            yield from self._start_reply(HeldDelta(event, arrival, self._end, playing), sound, start)
        else:
            if self._cut:  # with the pause before it
                self._dropped = True
                earlier = (held for held in self._held if held.end <= start)
                yield from ((self._of_reply(held.event), held.arrival) for held in earlier)
                yield from self._held_sound(start, sound)
            yield self._of_reply(event), arrival
        self._held.clear()

    @property
    def _is_over(self) -> bool:
        """True if no sound that is detected later can belong to the current reply."""
        return self._speaking and self._silent_ns >= self._pause_ns + KNOWN_NS

    @property
    def _pause_ns(self) -> int:
        """The silence that ends the current reply."""
        if self._cut:
            return PAUSE_NS
        return min(SILENCE_NS, self._silence_ns) if self._caller_spoke else self._silence_ns

    @property
    def _silent_ns(self) -> int:
        """The duration of the received silence at the end of the reply."""
        return self.audio.duration_ns((self._end - self._last) * self.audio.sample_bytes)

    @property
    def over_ns(self) -> int:
        """The instant at which the current reply ends if no more of it arrives."""
        if not (self._pauses and self._speaking):
            return NEVER_NS
        return self.playout.until_ns + self._pause_ns + KNOWN_NS - self._silent_ns

    def ended_by(self, now_ns: int) -> Iterator[tuple[ServerEvent, Arrival]]:
        if (over_ns := self.over_ns) <= now_ns:
            yield from self._ending(Arrival(over_ns))

    def _cleared(self, event: ServerEvent, arrival: Arrival) -> Iterator[tuple[ServerEvent, Arrival]]:
        """Drop the rest of a reply.

        A reply that was completely played has ended before the clear, unless more audio of the reply follows soon.
        """
        if arrival.at_ns < self.playout.until_ns:
            self._cut = self._dropped = self._speaking
            self._last = self._end
            self._held.clear()
        elif self._speaking and arrival.at_ns < self.playout.until_ns + PAUSE_NS:
            self._cut = True
        elif self._speaking and not self._cut:
            yield from self._ending(arrival)
        self.playout.clear(arrival.at_ns, arrival.uncertainty_ns)
        yield event, arrival

    def _start_reply(self, last: HeldDelta, sound: StrippedAudio, start: int) -> Iterator[tuple[ServerEvent, Arrival]]:
        """Yield the first deltas of a reply.

        They are the deltas from the one in which the reply begins to `last`, in which the reply was detected.
        """
        self._replies += 1
        self._speaking = True
        known = StrippedAudio(max(0, sound.audible or 0), sound.until, sound.error_ns)
        first = next((held for held in self._held if held.end > start), last)
        position = self._position(first, last, start, sound.error_ns) if self._pauses else None
        deltas = [*self._held_sound(start, sound), (self._of_reply(last.event, known), last.arrival)]
        for number, (event, arrival) in enumerate(deltas):
            if number == 0 and isinstance(event.payload, StrippedAudio):
                event = msgspec.structs.replace(event, payload=msgspec.structs.replace(event.payload, place=position))
            yield event, arrival

    def _position(self, first: HeldDelta, last: HeldDelta, start: int, error_ns: int) -> PlayoutPosition:
        """Return the position of a reply's first delta in the queue.

        `uneven_ns` covers all deltas in which the reply may really begin.
        """
        margin = error_ns * self.audio.rate_hz // NS_PER_S
        candidates = [
            held for held in (*self._held, last) if held.end > start - margin and self._start_of(held) <= start + margin
        ]
        # The playback time of each delta, minus its time in the stream.
        rate_hz = self.audio.rate_hz
        offsets_ns = [held.playing.at_ns - self._start_of(held) * NS_PER_S // rate_hz for held in (first, *candidates)]
        uneven_ns = max(offsets_ns) - min(offsets_ns)
        playback_ns, error_ns = first.playing
        return PlayoutPosition(playback_ns - first.arrival.at_ns, error_ns, uneven_ns)

    def _start_of(self, held: HeldDelta) -> int:
        return held.end - held.event.payload_bytes // self.audio.sample_bytes

    def _held_sound(self, start: int, sound: StrippedAudio) -> Iterator[tuple[ServerEvent, Arrival]]:
        """Yield the stored deltas that contain a sound.

        The sound begins at the sample `start` and was detected late.
        """
        for held in self._held:
            if held.end > start:
                audible = max(0, start - self._start_of(held))
                size = held.event.payload_bytes // self.audio.sample_bytes
                yield self._of_reply(held.event, StrippedAudio(audible, size, sound.error_ns)), held.arrival

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
    """The audible samples of deltas that begin or end within a sample, for services that name the items of a reply.

    A player plays the bytes of an item in sequence, so half a sample waits for the delta that completes it. If a delta
    after an odd number of bytes were decoded alone, the result would be noise. The sizes of deltas do not change,
    because their sum must be the size of the item.
    """

    def __init__(self) -> None:
        self._item_id = ""
        self.stream: SampleStream | None = None
        """The audio of the item with a half sample; None if no half sample waits."""

    def detect_replies(self, events: Sequence[ServerEvent], audio: AudioFormat) -> Sequence[ServerEvent]:
        """Return the events of a message. The first audible sample replaces the payload of deltas with half samples."""
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
        position = audible_position(stream.samples(data))
        self._item_id, self.stream = event.item_id, stream if stream.rest else None
        return msgspec.structs.replace(event, payload=StrippedAudio(position))
