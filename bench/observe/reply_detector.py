"""The detection of replies in a continuous audio stream, and their conversion to events of the
timeline. Pure.
"""

# A full-duplex service streams audio even when it does not speak, and names neither responses nor
# turns. A reply begins with the delta in which sound begins (`bench.sound.onsets`). A reply ends
# when the deltas without sound after it add up to the silence that ends a reply. If the service
# stops sending instead, the reply ends when nothing has been played for the same time. The detector
# creates an id for the response and for its item. It does not pass on a delta until it knows
# whether sound begins in the delta. The result depends only on the sound in each delta and on the
# arrival of the delta. `detect_replies` stores in each delta the positions of its sound, so that a
# log without audio gives the same replies.
#
# A telephony provider puts all audio of an agent into one queue and plays it without a break. If
# the agent requests it (`clear`), the provider drops all audio that it has not played. An agent can
# mark a position in the queue. When the audio before the mark was played, or was dropped, the
# provider reports this to the agent (Twilio, Media Streams, "mark" and "clear").

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from bench.base.clock import Arrival
from bench.base.units import NEVER_NS, NS_PER_MS, NS_PER_S
from bench.catalogue.timeouts import MAX_HOLD_NS
from bench.files.values import MAX_TEXT_CHARACTERS
from bench.sound.blocks import continue_sounds
from bench.sound.early_sound import Change, EarlySound
from bench.sound.onset_limits import BLOCK_MS, RISE
from bench.sound.onsets import HELD_NS, PAUSE_NS, OnsetDetector, SoundChange
from bench.wire.audio import AudioFormat, Samples, SampleStream, expansion
from bench.wire.connection import MatchedDelta
from bench.wire.events import (
    EventKind,
    PlayoutPosition,
    ServerEvent,
    StrippedAudio,
    audio_payload,
    delta_text,
)

MAX_MARKERS = 1_000
"""The maximum number of pending marks. It allows one mark for each word of several minutes of
speech."""
GAP_NS = 100 * NS_PER_MS
"""The minimum time without audio that counts as silence that was not sent. A shorter time is a
delay on the network."""
LATE_NS = 200 * NS_PER_MS
"""The maximum time from the connection to the start of a stream. If the first audio is later,
silence precedes it."""


class PlaybackTime(NamedTuple):
    """The latest playback time of a delta without jitter buffer, and how much earlier it may
    really be.
    """

    at_ns: int
    uncertainty_ns: int


class PlayoutQueue:
    """The playout queue at the caller's end of the line.

    `until_ns` is when the received audio will have been played; 0 before any audio.

    Audio that arrives up to `GAP_NS` after the queue ran empty was delayed on the network. It does
    not delay the playback of later audio. After a gap of at least twice `GAP_NS`, the stream starts
    again, and all later audio is played later by the whole gap. If the gap is between the two
    limits, the later audio is delayed by a part of the gap. So a timestamp close to a limit cannot
    change an instant by a step.

    The playback time of the next audio is the maximum of one value for each arrival. This value
    depends on the timestamp of the arrival and on when the queue was empty, and the latter is also
    a maximum. Errors do not add up in a maximum. So the error of an instant is at most three times
    the error of one timestamp, for any number of earlier deltas.

    In a track (`is_track`), the jitter buffer has determined the instant at which each piece of
    audio is played. So there, no audio waits for earlier audio.
    """

    def __init__(self, *, is_track: bool = False) -> None:
        self.is_track = is_track
        self.until_ns = 0
        self.overflow: tuple[str, str] | None = None
        """The exceeded limit, as (kind of queued items, description of the limit); None if no
        limit is exceeded."""
        self._earliest_until_ns = 0
        """The value of `until_ns` if all timestamps are as early as possible."""
        self._due_ns = 0, 0
        """(earliest, latest) playback time of the next audio, if that audio arrives in time."""
        self._waiting: deque[tuple[int, ServerEvent]] = deque()
        self._played: deque[ServerEvent] = deque()

    def play(self, at_ns: int, duration_ns: int, error_ns: int = 0) -> PlaybackTime:
        """Queue audio that arrived at `at_ns`, or up to `error_ns` earlier. Return the playback
        time of the audio.
        """
        if self.is_track:
            self.until_ns = max(self.until_ns, at_ns + duration_ns)
            return PlaybackTime(at_ns, error_ns)
        earliest_at_ns = at_ns - error_ns
        # The longer a gap is, the smaller is its part that counts as network delay. The latest
        # instant has the longest gap.
        earliest_ns = max(
            self._due_ns[0], earliest_at_ns - _delay_ns(earliest_at_ns - self.until_ns)
        )
        latest_ns = max(self._due_ns[1], at_ns - _delay_ns(at_ns - self._earliest_until_ns))
        self._due_ns = earliest_ns + duration_ns, latest_ns + duration_ns
        self._earliest_until_ns = max(self._earliest_until_ns, earliest_at_ns) + duration_ns
        self.until_ns = max(self.until_ns, at_ns) + duration_ns
        if self.until_ns > at_ns + MAX_HOLD_NS:
            self.overflow = "audio", f"{MAX_HOLD_NS // NS_PER_S} s of audio are queued for playback"
        playback_ns = max(at_ns, latest_ns)
        return PlaybackTime(playback_ns, playback_ns - max(earliest_at_ns, earliest_ns))

    def mark(self, at_ns: int, event: ServerEvent) -> None:
        self._pass(at_ns)
        self._waiting.append((max(at_ns, self.until_ns), event))
        if len(self._waiting) > MAX_MARKERS:
            self.overflow = "marks", f"{MAX_MARKERS} marks wait for what was not played yet"

    def clear(self, at_ns: int, error_ns: int = 0) -> None:
        """Drop the unplayed audio at a `clear`, which may be `error_ns` earlier. Its marks count
        as played.
        """
        self.until_ns = min(self.until_ns, at_ns)
        self._earliest_until_ns = min(self._earliest_until_ns, at_ns - error_ns)
        self._due_ns = min(self._due_ns[0], at_ns - error_ns), min(self._due_ns[1], at_ns)
        self._pass(NEVER_NS)

    @property
    def due_ns(self) -> int:
        """The instant of the next mark; 0 if one was played and not reported, `NEVER_NS` if
        there is none.
        """
        if self._played:
            return 0
        return self._waiting[0][0] if self._waiting else NEVER_NS

    def played_by(self, now_ns: int) -> list[ServerEvent]:
        self._pass(now_ns)
        played = self._played
        self._played = deque()
        return list(played)

    def _pass(self, now_ns: int) -> None:
        while self._waiting and self._waiting[0][0] <= now_ns:
            self._played.append(self._waiting.popleft()[1])


def _delay_ns(gap_ns: int) -> int:
    """Return the maximum network delay after a gap. The longer the gap, the more of it is unsent
    silence.
    """
    return min(GAP_NS, max(0, 2 * GAP_NS - gap_ns))


SILENCE_NS = 800 * NS_PER_MS
"""The silence that ends a reply the caller has spoken into. It is longer than pauses within
speech."""
CAUGHT = "turn_detected"
"""The status reason of a reply that the caller's speech cancels, as in the Realtime API."""
MAX_GAP_S = 3
"""The maximum silence that is passed to the onset detector. A longer silence would have the same
effect."""
KNOWN_NS = RISE.window_blocks * BLOCK_MS * NS_PER_MS
"""The audio that the detector needs to detect a voiced sound. Until an unvoiced one is detected,
it is pending."""


class HeldDelta(NamedTuple):
    """A delta without sound at its arrival. `end` is its end in the stream in samples, `playing`
    its playback.
    """

    event: ServerEvent
    arrival: Arrival
    end: int
    playing: PlaybackTime


class ReplyDetector:
    """The reply detector of one session, for audio in the format `audio`.

    `silence_ns` is the silence that ends a reply. `pauses` is True if the service may stop sending
    when it is silent. `is_track` is True if the audio is a track of packets.
    """

    def __init__(
        self, audio: AudioFormat, silence_ns: int, *, pauses: bool = False, is_track: bool = False
    ) -> None:
        self._silence_ns = silence_ns
        self._pauses = pauses
        self.playout = PlayoutQueue(is_track=is_track)
        self.audio = audio
        self.expansion = expansion(audio)
        self._stream = SampleStream(audio)
        self._onsets = OnsetDetector(audio.rate_hz)
        self._early: EarlySound | None = None
        self._connected_ns: int | None = None
        """The instant from which the service may send audio; None if it is not known."""
        self._has_begun = False
        """True if audio has arrived since the answer."""
        self._known_tones = 0
        self.tones = 0
        """The number of tones that were received. A tone is no reply."""
        self._end = 0
        """The number of received samples, including unsent silence."""
        self._last = 0
        """The position in the stream, in samples, at which the last sound of the reply ended."""
        self._held: deque[HeldDelta] = deque()
        self._replies = 0
        self._reply_id = ""
        """The id of the last reply, and of its item."""
        self._speaking = False
        self._cut = False
        """True after a clear. Sound without a pause still belongs to the cleared reply: it was
        sent before."""
        self._dropped = False
        """True if audio of the reply was cleared or came after it, so the service has cancelled
        the reply."""
        self._pending: int | None = None
        """The position in the stream, in samples, of a sound that is not certain yet; None if
        there is none."""
        self._began_ns = self._caller_ns = 0
        """The arrival of the last reply's first delta, and the last start of the caller's
        speech."""
        self._words = ""

    @property
    def has_detected(self) -> bool:
        return self._replies > 0

    def hear_early(self, data: bytes, end_ns: int) -> None:
        """Process the audio before the answer of a telephone call, which ended at `end_ns`. No
        reply begins in it.
        """
        found = self._onsets.add(self.audio.decode(data))
        changes = [(what, -back, error_ns) for what, back, error_ns in found]
        self._early = EarlySound(changes, self.audio.rate_hz, end_ns)
        self._known_tones = len(self._onsets.tones)

    def connected(self, at_ns: int) -> None:
        """Record that the service may send audio from this instant on."""
        self._connected_ns = at_ns

    def caller_speaks(self, at_ns: int) -> None:
        """Record that the caller starts to speak, during a reply or after it."""
        self._caller_ns = at_ns

    def detect_replies(
        self, events: Sequence[ServerEvent], arrival: Arrival
    ) -> Sequence[ServerEvent]:
        """Return the events of a message. In the audio events, the positions of the detected sound
        replace the audio.

        An event that already contains the positions does not change. If a message ends in the
        middle of a sample, that sample counts with the message that completes it, because the line
        plays the bytes in sequence. `clear` also drops the half sample.
        """
        return [self._detect_replies(event, arrival) for event in events]

    def _detect_replies(self, event: ServerEvent, arrival: Arrival) -> ServerEvent:
        if event.kind is EventKind.CLEARED:
            self._onsets.drop()
            self._stream.rest = b""
        raw = event.payload
        if (
            event.kind is not EventKind.AUDIO_DELTA
            or event.payload_bytes <= 0
            or isinstance(raw, StrippedAudio)
        ):
            return event
        data = audio_payload(raw)
        if data is None:
            return msgspec.structs.replace(event, payload_bytes=-1)
        return self._detected(event, data, arrival)

    def _detected(self, event: ServerEvent, data: bytes, arrival: Arrival) -> ServerEvent:
        """Return an event with the positions of the sound in its audio."""
        changes = []
        if not self._has_begun:
            self._begin(arrival)
        if unsent := self._unsent(arrival):
            silence = np.zeros(min(unsent, MAX_GAP_S * self.audio.rate_hz), np.int16)
            found = self._onsets.add(silence, sent=False)
            if unsent * NS_PER_S < self._silence_ns * self.audio.rate_hz:
                begins = bool(found) and found[0].what == "begins"
                known = (change for change in found if begins or change.what == "ends")
                changes = [(what, -back, uncertainty_ns) for what, back, uncertainty_ns in known]
        samples = self._stream.samples(data)
        changes += self._changes(samples)
        if self._early is not None:
            changes = self._early.without(changes, len(samples))
            self._early = None if self._early.is_over else self._early
        return self._with_sound(event, changes, len(samples))

    def _begin(self, arrival: Arrival) -> None:
        """Begin the stream with its first audio. A service that has sent nothing until then was
        silent.
        """
        self._has_begun = True
        if self._early is not None:
            gap_ns = min(arrival.at_ns - self._early.end_ns, MAX_GAP_S * NS_PER_S)
            if gap_ns >= GAP_NS:
                silence = np.zeros(gap_ns * self.audio.rate_hz // NS_PER_S, np.int16)
                self._early.without(self._changes(silence, sent=False), len(silence))
        elif (
            self._connected_ns is not None
            and arrival.at_ns - arrival.uncertainty_ns > self._connected_ns + LATE_NS
        ):
            self._onsets = OnsetDetector(self.audio.rate_hz, after_silence=True)

    def _with_sound(
        self, event: ServerEvent, changes: Iterable[Change], samples: int
    ) -> ServerEvent:
        """Return an event with the positions of the sound in its samples."""
        known_tones = self._known_tones
        self._known_tones = len(self._onsets.tones)
        audible = until = None
        error_ns = end_error_ns = 0
        for what, position, uncertainty_ns in changes:
            if what == "ends":
                end_error_ns = uncertainty_ns
                continue
            error_ns = uncertainty_ns
            end_error_ns = 0
            if what == "begins" and audible is None:
                audible = position
            elif what == "sounds":
                audible = min(0, position) if audible is None else audible
                until = position
                end_error_ns = self._onsets.fading_ns
        size = samples * self.audio.sample_bytes
        back = self._onsets.pending
        tones = max(0, self._known_tones - known_tones)
        pending = None if back is None else samples - back
        payload = StrippedAudio(
            audible, until, error_ns, tones=tones, pending=pending, end_error_ns=end_error_ns
        )
        return msgspec.structs.replace(event, payload_bytes=size, payload=payload)

    def _changes(self, samples: Samples, *, sent: bool = True) -> list[Change]:
        """Return the changes that these samples reveal, with positions relative to the first
        sample.
        """
        return self._in_samples(self._onsets.add(samples, sent=sent), len(samples))

    def _in_samples(self, changes: Sequence[SoundChange], count: int) -> list[Change]:
        """Return the changes in the last `count` samples, with positions relative to the first."""
        return [
            (what, count - back, error_ns)
            for what, back, error_ns in (*changes, *self._onsets.rest())
        ]

    def _unsent(self, arrival: Arrival) -> int:
        """Return how much silence, in samples, the service has not sent before a delta that
        arrives now.
        """
        played_ns = self.playout.until_ns
        silent_ns = arrival.at_ns - played_ns
        return (
            silent_ns * self.audio.rate_hz // NS_PER_S if played_ns and silent_ns >= GAP_NS else 0
        )

    def events_in(
        self, events: Iterable[ServerEvent], arrival: Arrival
    ) -> Iterator[tuple[ServerEvent, Arrival]]:
        """Yield the timeline's events for those of `detect_replies`, with arrivals. Added events
        have no name.
        """
        for event in events:
            if event.kind is EventKind.TRANSCRIPT_DELTA:
                self._words = (self._words + delta_text(event.payload))[:MAX_TEXT_CHARACTERS]
                yield ServerEvent(EventKind.NOTED, event.name), arrival
            elif (
                event.kind is EventKind.AUDIO_DELTA
                and event.payload_bytes > 0
                and isinstance(sound := event.payload, StrippedAudio)
            ):
                yield from self._on_change(event, sound, arrival)
            elif event.kind is EventKind.MARKED:
                self.playout.mark(arrival.at_ns, event)
                yield ServerEvent(EventKind.NOTED, event.name), arrival
            elif event.kind is EventKind.CLEARED:
                yield from self._cleared(event, arrival)
            else:
                yield event, arrival

    @property
    def reply_id(self) -> str:
        """The id of the current reply and of its item; "" between two replies."""
        return self._reply_id if self._speaking else ""

    def continued(
        self, sounds: Sequence[MatchedDelta], until_ns: int
    ) -> tuple[list[MatchedDelta], ServerEvent | None]:
        """Detect and apply the sound in deltas, until a reply may begin or end, or a delta is later
        than `until_ns`.

        Return the applied deltas, and the event of the next one, which only `events_in` applies;
        None if all were applied. Their events are those of the reply, or between two replies of
        none.
        """
        continued: list[MatchedDelta] = []
        if not self._has_begun:
            self._begin(Arrival(sounds[0].at_ns, sounds[0].uncertainty_ns))
        while True:
            limits = until_ns, GAP_NS, MAX_HOLD_NS, KNOWN_NS, HELD_NS, HeldDelta, PlaybackTime
            skimmed = continue_sounds(self, sounds, limits, continued)
            if len(continued) == len(sounds):
                return continued, None
            template, at_ns, error_ns, lag_ns, size, wire_bytes, data = sounds[len(continued)]
            arrival = Arrival(at_ns, error_ns)
            if skimmed is None:
                event = self._detected(template, data, arrival)
            else:
                samples = size // self.audio.sample_bytes
                event = self._with_sound(
                    template, self._in_samples(self._onsets.changes(skimmed), samples), samples
                )
            sound = event.payload
            assert isinstance(sound, StrippedAudio), "the sound was detected"
            # the listener must get the size that was received
            if (
                at_ns > until_ns
                or event.payload_bytes != size
                or self._is_change(sound, size, arrival)
            ):
                return continued, event
            event = self._continue(event, sound, arrival)
            continued.append(MatchedDelta(event, at_ns, error_ns, lag_ns, size, wire_bytes))

    def _is_change(self, sound: StrippedAudio, size: int, arrival: Arrival) -> bool:
        """Return whether a reply may begin or end with this sound of `size` bytes, or before it."""
        is_silent = sound.audible is None or sound.until is None
        if self._cut or not (self._speaking or is_silent) or self._unsent(arrival):
            return True
        until_ns = max(self.playout.until_ns, arrival.at_ns) + self.audio.duration_ns(size)
        if until_ns > arrival.at_ns + MAX_HOLD_NS:
            return True
        start = self._end
        end = start + size // self.audio.sample_bytes
        if not is_silent:
            return self._is_paused(start + (sound.audible or 0))
        return self._is_over_by(end, None if sound.pending is None else start + sound.pending)

    def _continue(self, event: ServerEvent, sound: StrippedAudio, arrival: Arrival) -> ServerEvent:
        """Apply sound with which no reply begins or ends. Return the event as one of the reply,
        if there is one.
        """
        self.tones += sound.tones
        start = self._end
        size = event.payload_bytes
        playing = self.playout.play(
            arrival.at_ns, self.audio.duration_ns(size), arrival.uncertainty_ns
        )
        self._end += size // self.audio.sample_bytes
        self._pending = None if sound.pending is None else start + sound.pending
        if sound.audible is None or sound.until is None:
            self._hold(HeldDelta(event, arrival, self._end, playing), self._end - start)
        else:
            self._last = start + sound.until
            self._held.clear()
        return self._of_reply(event) if self._speaking else event

    def _hold(self, delta: HeldDelta, samples: int) -> None:
        """Store a delta without sound, in which a sound may turn out to have begun. Forget those
        that are too old.
        """
        if samples:
            self._held.append(delta)
            old = self._end - HELD_NS * self.audio.rate_hz // NS_PER_S
            while self._held[0].end < old:
                self._held.popleft()

    def _on_change(
        self, event: ServerEvent, sound: StrippedAudio, arrival: Arrival
    ) -> Iterator[tuple[ServerEvent, Arrival]]:
        if not self._is_change(sound, event.payload_bytes, arrival):
            continued = self._continue(event, sound, arrival)
            yield continued if self._speaking else ServerEvent(EventKind.NOTED, event.name), arrival
            return
        self.tones += sound.tones
        samples = event.payload_bytes // self.audio.sample_bytes
        unsent = self._unsent(arrival)
        duration_ns = self.audio.duration_ns(event.payload_bytes)
        playing = self.playout.play(arrival.at_ns, duration_ns, arrival.uncertainty_ns)
        self._end += unsent
        self._pending = None if unsent else self._pending
        # ends the reply before this delta, which may start the next reply
        if unsent and self._is_over:
            yield from self._ending(arrival)
        self._end += samples
        self._pending = None if sound.pending is None else self._end - samples + sound.pending
        # The end of a sound may become known in the next delta, which then contains no sound. If
        # the reply with the sound is over, the delta must not begin another reply.
        if (
            sound.audible is None
            or sound.until is None
            or (not self._speaking and sound.until <= sound.audible)
        ):
            self._hold(HeldDelta(event, arrival, self._end, playing), samples)
            is_of_reply = self._speaking and not self._cut
            yield (
                self._of_reply(event) if is_of_reply else ServerEvent(EventKind.NOTED, event.name),
                arrival,
            )
            if self._is_over:
                yield from self._ending(arrival)
            return
        start = self._end - samples + sound.audible
        if self._speaking and self._is_paused(start):
            yield from self._ending(arrival)
        self._last = self._end - samples + sound.until
        if not self._speaking:
            yield from self._start_reply(
                HeldDelta(event, arrival, self._end, playing), sound, start
            )
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
        """True if a reply has begun, and no sound that is detected later can belong to it."""
        return self._is_over_by(self._end, self._pending)

    def _is_over_by(self, end: int, pending: int | None) -> bool:
        """Return `_is_over` of the stream up to `end`, with this pending sound."""
        return (
            self._speaking
            and not self._may_continue(pending)
            and self._samples_ns(end - self._last) >= self._pause_ns + KNOWN_NS
        )

    def _is_paused(self, start: int) -> bool:
        """Return whether a sound that begins at the sample `start` is no part of the reply
        before it.
        """
        return (start - self._last) * NS_PER_S >= self._pause_ns * self.audio.rate_hz

    def _may_continue(self, pending: int | None) -> bool:
        """Return whether a sound that is not certain yet would belong to the reply."""
        return pending is not None and self._samples_ns(pending - self._last) < self._pause_ns

    @property
    def _pause_ns(self) -> int:
        if self._cut:
            return PAUSE_NS
        return (
            min(SILENCE_NS, self._silence_ns)
            if self._caller_ns > self._began_ns
            else self._silence_ns
        )

    def _samples_ns(self, samples: int) -> int:
        return self.audio.duration_ns(samples * self.audio.sample_bytes)

    @property
    def over_ns(self) -> int:
        """The end of the current reply if no more of it arrives; `NEVER_NS` if only audio can
        end it.
        """
        if not (self._pauses and self._speaking):
            return NEVER_NS
        silent_ns = (
            0 if self._may_continue(self._pending) else self._samples_ns(self._end - self._last)
        )
        return self.playout.until_ns + self._pause_ns + KNOWN_NS - silent_ns

    def ended_by(self, now_ns: int) -> Iterator[tuple[ServerEvent, Arrival]]:
        if (over_ns := self.over_ns) <= now_ns:
            yield from self._ending(Arrival(over_ns))

    def end_reply(self, at_ns: int) -> Iterator[tuple[ServerEvent, Arrival]]:
        """End the current reply before its silence has lasted long enough."""
        if self._speaking:
            yield from self._ending(Arrival(at_ns))

    def _cleared(
        self, event: ServerEvent, arrival: Arrival
    ) -> Iterator[tuple[ServerEvent, Arrival]]:
        """Apply a `clear`: drop the audio of the reply that is not played yet.

        If all audio of the reply was played before, end the reply. If its playback ended less than
        `PAUSE_NS` ago, do not end it yet, because more audio of the reply may follow.
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

    def _start_reply(
        self, last: HeldDelta, sound: StrippedAudio, start: int
    ) -> Iterator[tuple[ServerEvent, Arrival]]:
        """Yield a reply's first deltas: the stored ones from its start, and `last`, in which it
        was detected.
        """
        self._replies += 1
        self._reply_id = f"heard-{self._replies}"
        self._speaking = True
        audible = max(0, sound.audible or 0)
        known = StrippedAudio(audible, sound.until, sound.error_ns, end_error_ns=sound.end_error_ns)
        first = next((held for held in self._held if held.end > start), last)
        position = self._position(first, last, start, sound.error_ns) if self._pauses else None
        deltas = [
            *self._held_sound(start, sound),
            (self._of_reply(last.event, known), last.arrival),
        ]
        self._began_ns = deltas[0][1].at_ns
        for number, (event, arrival) in enumerate(deltas):
            if number == 0 and isinstance(event.payload, StrippedAudio):
                event = msgspec.structs.replace(
                    event, payload=msgspec.structs.replace(event.payload, place=position)
                )
            yield event, arrival

    def _position(
        self, first: HeldDelta, last: HeldDelta, start: int, error_ns: int
    ) -> PlayoutPosition:
        """Return the position of a reply's first delta in the playout queue.

        The start of the reply may be wrong by `error_ns`, so the reply may really begin in another
        delta. `uneven_ns` of the result covers all deltas in which the reply may begin.
        """
        margin = error_ns * self.audio.rate_hz // NS_PER_S
        # The playback time of each delta in which the reply may begin, minus its time in the
        # stream.
        offsets_ns = [
            held.playing.at_ns - self._start_of(held) * NS_PER_S // self.audio.rate_hz
            for held in (first, *self._held, last)
            if held is first
            or (held.end > start - margin and self._start_of(held) <= start + margin)
        ]
        uneven_ns = max(offsets_ns) - min(offsets_ns)
        playback_ns, error_ns = first.playing
        return PlayoutPosition(playback_ns - first.arrival.at_ns, error_ns, uneven_ns)

    def _start_of(self, held: HeldDelta) -> int:
        return held.end - held.event.payload_bytes // self.audio.sample_bytes

    def _held_sound(
        self, start: int, sound: StrippedAudio
    ) -> Iterator[tuple[ServerEvent, Arrival]]:
        """Yield the stored deltas that contain a sound which begins at the sample `start`."""
        for held in self._held:
            if held.end > start:
                audible = max(0, start - self._start_of(held))
                size = held.event.payload_bytes // self.audio.sample_bytes
                yield (
                    self._of_reply(held.event, StrippedAudio(audible, size, sound.error_ns)),
                    held.arrival,
                )

    def _of_reply(self, event: ServerEvent, sound: StrippedAudio | None = None) -> ServerEvent:
        name = self._reply_id
        payload = event.payload if sound is None else sound
        return msgspec.structs.replace(event, response_id=name, item_id=name, payload=payload)

    def _ending(self, arrival: Arrival) -> Iterator[tuple[ServerEvent, Arrival]]:
        name = self._reply_id
        words = self._words.strip()
        status, reason = ("cancelled", CAUGHT) if self._dropped else ("completed", "")
        self._speaking = self._cut = self._dropped = False
        self._words = ""
        yield ServerEvent(EventKind.TRANSCRIPT_DONE, "", name, name, text=words), arrival
        yield ServerEvent(EventKind.RESPONSE_DONE, "", name, status=status, reason=reason), arrival
