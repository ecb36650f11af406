"""The reply to one turn: its items and deltas, its closing events, and the playback of its audio.
Pure.
"""

# A reply may have several items, in one response or in several: a preamble, and then the answer.
# Gaps, stalls and speed are measured within items, because no audio is due between items.
#
# The simulated player starts after an item's first audio delta and the length of the jitter buffer.
# It plays at the format's byte rate. If a delta arrives after all earlier audio was played, the
# player was silent (a stall) and continues at once.

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from bench.base.clock import Arrival
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.catalogue.words import HeardText
from bench.files.values import MAX_TEXT_CHARACTERS
from bench.observe.observation import Instants
from bench.observe.reply_detector import SILENCE_NS
from bench.observe.spoken_answer import SpokenAnswer
from bench.sound.onsets import PAUSE_NS
from bench.wire.audio import AudioFormat, audible_end
from bench.wire.connection import MatchedDelta
from bench.wire.events import (
    ANSWER,
    AUDIO_DELTA,
    COMMENTARY,
    EMPTY,
    EventKind,
    FunctionCall,
    PlayoutPosition,
    ServerEvent,
    StrippedAudio,
    delta_text,
)


class ItemPlayer:
    """The player of one item of a reply. It starts when earlier audio has been played, at
    `busy_until_ns` or later.
    """

    late_ns = 0
    """How much later the last audio is played than by the schedule of the first delta, without a
    stall."""

    def __init__(
        self,
        audio: AudioFormat,
        jitter_buffer_ns: int,
        first_audio_ns: int,
        error_ns: int = 0,
        busy_until_ns: int = 0,
    ) -> None:
        self._audio = audio
        self._first_uncertainty_ns = error_ns
        self.uncertainty_ns = error_ns
        """The uncertainty of the arrival of the delta that started the playback since the last
        stall."""
        self.started_ns = self._start_ns = max(first_audio_ns + jitter_buffer_ns, busy_until_ns)
        """The start of playback, and of playback since the last stall, so that rounding errors
        do not add up."""
        self.ends_ns = self._start_ns
        """The instant at which the player has played all received audio."""
        # bytes played in the continuous playback, and before it
        self._bytes = self._bytes_before = 0
        self._begun: list[tuple[int, int, int]] = [(0, self._start_ns, error_ns)]
        """Where and when each continuous playback began, until the start of the sound is known: its
        first byte, its start, and its uncertainty."""
        self.first_audible_ns: int | None = None
        self.audible_uncertainty_ns = error_ns
        """The uncertainty of `first_audible_ns` that follows from timestamps: `uncertainty_ns` of
        its playback.

        A later delta may really have arrived earlier. It does not move `first_audible_ns`, because
        the player did not wait for that delta.
        """
        self.onset_uncertainty_ns = 0
        """The uncertainty of the start of the sound within the audio."""
        self.stall_duration_ns = self.stall_count = 0

    @property
    def stall_duration_uncertainty_ns(self) -> int:
        """The uncertainty of `stall_duration_ns`.

        The duration may be too short by the uncertainty of the first delta, and too long by the
        uncertainty of the last late delta. The reason: the total of all stalls is the largest delay
        of any delta behind the first one's schedule, and that delta caused the last stall.
        """
        return max(self._first_uncertainty_ns, self.uncertainty_ns)

    def played_ns(self, at_ns: int) -> int:
        """Return the duration of received audio that has been played by an instant."""
        since_ns = min(self._audio.duration_ns(self._bytes), max(0, at_ns - self._start_ns))
        return self._audio.duration_ns(self._bytes_before) + since_ns

    def played_at_ns(self, length_ns: int) -> int:
        """Return when this duration has been played; perhaps too late if that was before an
        ended stall.
        """
        return self._start_ns + max(0, length_ns - self._audio.duration_ns(self._bytes_before))

    def add(
        self, at_ns: int, audio_bytes: int, payload: msgspec.Raw | StrippedAudio, error_ns: int = 0
    ) -> None:
        """Play a delta that arrived at `at_ns`, or up to `error_ns` earlier."""
        # The player is as simple as possible. Players that stretch audio over a gap hide the gap,
        # each in its own way.
        if at_ns > self.ends_ns:
            self.stall_duration_ns += at_ns - self.ends_ns
            self.stall_count += 1
            self._bytes_before += self._bytes
            self._bytes = 0
            self._start_ns = at_ns
            self.uncertainty_ns = error_ns
            if self.first_audible_ns is None:
                self._begun.append((self._bytes_before, at_ns, error_ns))
        received = self._bytes_before + self._bytes
        self._bytes += audio_bytes
        self.ends_ns = self._start_ns + self._audio.duration_ns(self._bytes)
        if self.first_audible_ns is None and isinstance(payload, StrippedAudio):
            self.sounds(payload, received)

    def sounds(self, sound: StrippedAudio, received: int) -> None:
        """Set the start of the sound, if it is known and was played. Its position is relative to
        `received` bytes.
        """
        if sound.audible is None or self.first_audible_ns is not None:
            return
        # If the first half of a sample is in the previous delta, the sample begins there.
        first = max(
            0,
            received
            - received % self._audio.sample_bytes
            + sound.audible * self._audio.sample_bytes,
        )
        if first >= self._bytes_before + self._bytes:
            return
        begun, start_ns, uncertainty_ns = self._begun.pop()
        while begun > first + self._audio.sample_bytes - 1:
            begun, start_ns, uncertainty_ns = self._begun.pop()
        self.first_audible_ns = start_ns + self._audio.duration_ns(max(0, first - begun))
        self.audible_uncertainty_ns = uncertainty_ns
        self.onset_uncertainty_ns = sound.error_ns + self._audio.codec_errors.start_ns
        self._begun.clear()


class TrackPlayer(ItemPlayer):
    """The player of a reply in a track of packets.

    A delta is a frame, whose instant the jitter buffer of the track has determined
    (`bench.protocols.rtp.jitter`). So it is played `jitter_buffer_ns` after its own instant, and
    how late other frames are does not move it. Only stalls are those of a player that starts with
    the first frame. Each frame begins a continuous playback: `_start_ns` is what the start would be
    if all frames had the delay of the last one, and `uncertainty_ns` is that of the last frame.
    """

    def __init__(
        self, audio: AudioFormat, jitter_buffer_ns: int, first_audio_ns: int, error_ns: int = 0
    ) -> None:
        super().__init__(audio, jitter_buffer_ns, first_audio_ns, error_ns)
        self._jitter_buffer_ns = jitter_buffer_ns
        self._stall_uncertainty_ns = error_ns
        self._empty_ns = self._start_ns
        """The instant from which the player stalls, by the schedule of the first frame."""
        self._length_ns = 0
        """The duration of the continuous playback."""
        self._frame_bytes = self._frame_ns = 0
        """The size of the last frame, and its duration: nearly all frames of a track have the
        same."""

    @property
    def stall_duration_uncertainty_ns(self) -> int:
        return max(self._first_uncertainty_ns, self._stall_uncertainty_ns)

    def add(
        self, at_ns: int, audio_bytes: int, payload: msgspec.Raw | StrippedAudio, error_ns: int = 0
    ) -> None:
        if at_ns > self._empty_ns:
            self.stall_duration_ns += at_ns - self._empty_ns
            self.stall_count += 1
            self._bytes_before += self._bytes
            self._bytes = self._length_ns = 0
            self._empty_ns = at_ns
            self._stall_uncertainty_ns = error_ns
        if audio_bytes != self._frame_bytes:
            self._frame_bytes, self._frame_ns = audio_bytes, self._audio.duration_ns(audio_bytes)
        self._empty_ns += self._frame_ns
        played_ns = at_ns + self._jitter_buffer_ns
        self._start_ns = played_ns - self._length_ns
        self.uncertainty_ns = error_ns
        received = self._bytes_before + self._bytes
        self._bytes += audio_bytes
        self._length_ns = self._audio.duration_ns(self._bytes)
        self.ends_ns = self._start_ns + self._length_ns
        self.late_ns = self.ends_ns - self._empty_ns
        if self.first_audible_ns is None:
            self._begun.append((received, played_ns, error_ns))
            if isinstance(payload, StrippedAudio):
                self.sounds(payload, received)


EXACT_GAP_NS = 1_000_000

# kind of event → the instant of its arrival: the first one for opening events, the last one for
# closing events
REPLY_INSTANTS = {
    EventKind.RESPONSE_CREATED: "response_created",
    EventKind.TEXT_DELTA: "first_text",
    EventKind.AUDIO_DELTA: "first_audio",
    EventKind.TRANSCRIPT_DELTA: "first_transcript",
    EventKind.AUDIO_DONE: "audio_done",
    EventKind.TRANSCRIPT_DONE: "transcript_done",
    EventKind.RESPONSE_DONE: "response_done",
}
ENDS_TEXT = frozenset({EventKind.TRANSCRIPT_DONE, EventKind.RESPONSE_DONE})
"""The events after which no delta continues the last word of the transcript."""
TEXTS = frozenset({EventKind.TEXT_DELTA, EventKind.TRANSCRIPT_DELTA})
WORD_END = msgspec.Raw(b'" "')
CLOSING = frozenset({EventKind.AUDIO_DONE, EventKind.TRANSCRIPT_DONE, EventKind.RESPONSE_DONE})


@dataclass(slots=True, eq=False)
class ItemAudio:
    player: ItemPlayer
    first: Arrival
    first_bytes: int
    last_ns: int
    last_uncertainty_ns: int
    bytes: int = 0


@dataclass(slots=True, eq=False)
class Reply(Instants):
    """A reply in the format `audio`, which is played with a jitter buffer.

    `spoken_answer` is the search for the answer among the sounds of the reply. It is None if events
    mark the answer, or if answers are not distinguished from fillers.
    """

    audio: AudioFormat
    jitter_buffer_ns: int
    spoken_answer: SpokenAnswer | None = None
    deltas: Counter[EventKind] = field(default_factory=Counter)
    text: str = ""
    answer_text: str = ""
    """The text of the last item that is not commentary. Its id is `answer_id`."""
    answer_id: str = ""
    _heard: HeardText = field(default_factory=lambda: HeardText(MAX_TEXT_CHARACTERS))
    """The decoded part of the transcript."""
    unread: list[msgspec.Raw | StrippedAudio] = field(default_factory=list)
    """The transcript deltas that are not decoded. They are needed only if a script looks for a
    word."""
    unread_bytes: int = 0
    _unwritten: str = ""
    """The decoded words of deltas that no whole text has followed yet."""
    _written: int = 0
    """The number of deltas in `unread` that a whole text has followed."""
    parts: list[str | FunctionCall] = field(default_factory=list)
    """The texts and function calls, in the order in which they were completed."""
    calls: int = 0
    """The number of function calls in `parts`."""
    items: dict[str, ItemAudio] = field(default_factory=dict)
    """The items with audio, by id, in the order of their first audio."""
    item: ItemAudio | None = None
    """The item of the last received audio."""
    item_id: str = ""
    others_end_ns: int = 0
    """The instant at which the received audio of the other items has been played."""
    phases: dict[str, str] = field(default_factory=dict)
    """The phase of each item that has one: commentary or answer."""
    created_ns: int | None = None
    """The creation of the response in progress; its first event if the service does not report
    the creation."""
    earlier_items: int = 0
    """The number of items with audio before the request of the response in progress."""
    gaps_ns: list[int] = field(default_factory=list)
    uncertain_gaps: int = 0
    stopped_ns: int | None = None
    late_bytes: int = 0
    """The bytes of audio that arrived after the stop."""
    silent_ns: int = 0
    """The end of playback of the last detected sound, if replies are detected in the audio."""
    _scheduled_end_ns: int = 0
    """The same by the schedule of the first frame, if the audio is a track."""
    late_until_ns: int = 0
    """The end of playback of the last sound that arrived after the stop, if only the service
    stops the player."""
    longest_pause_ns: int = 0
    """The longest silence between two detected sounds."""
    start_uncertainty_ns: int = 0
    """The uncertainty of the start of the first sound, in addition to those of the timestamps
    and of the codec."""
    uneven_ns: int = 0
    """The part of `start_uncertainty_ns` that late deltas near the start cause."""
    last_sound: Arrival | None = None
    """The arrival of the last delta with sound."""
    end_uncertainty_ns: int = 0
    """The uncertainty of the end of the last sound, in addition to those of the timestamps and
    of the codec."""
    plays_on: bool = False
    """True if the service plays the reply in real time, so the client cannot stop it."""
    is_track: bool = False
    """True if the audio is a track of packets, so each delta is played at its own instant."""
    heard_until: Arrival | None = None
    """The end of playback of the last audible sample; None if there is none. It is only known if
    `plays_on` is True."""

    @property
    def has_started(self) -> bool:
        return bool(self.deltas)

    def successor(self) -> Reply:
        """Return the empty reply that counts in place of this one."""
        found = self.spoken_answer
        answer = None if found is None else SpokenAnswer(found.min_ns)
        return Reply(
            self.audio,
            self.jitter_buffer_ns,
            answer,
            plays_on=self.plays_on,
            is_track=self.is_track,
        )

    def await_another(self) -> None:
        self.created_ns, self.earlier_items = None, len(self.items)

    def received_deltas(self, deltas: Iterable[MatchedDelta], *, is_heard: bool = False) -> bool:
        """Apply deltas that are not empty. Return False if the audio of one delta is not base64.

        `is_heard` is True if replies are detected in the audio.

        The event of a matched delta has no payload. The payload is not needed, because the delta's
        item is already audible, and the script does not look for a word in the delta.
        """
        counts = self.deltas
        for delta in deltas:
            event, at_ns, error_ns, _, payload_bytes, _, _ = delta
            kind = event.kind
            if payload_bytes < 0:
                return False
            if kind not in counts:
                instant = REPLY_INSTANTS[kind]
                self.instants[instant] = at_ns
                self.uncertainties_ns[instant] = error_ns
            if self.created_ns is None:
                self.created_ns = at_ns
            counts[kind] += 1
            if kind is AUDIO_DELTA:
                self._add_audio(event, payload_bytes, at_ns, error_ns)
                if is_heard:
                    self._on_sound(delta)
            elif event.payload is not EMPTY:
                self.unread.append(event.payload)
                self.unread_bytes += event.payload_bytes
                if self.unread_bytes > MAX_TEXT_CHARACTERS:
                    self.heard()
        return True

    def _on_sound(self, delta: MatchedDelta) -> None:
        """Apply the sound that was detected in the last delta."""
        event, at_ns, error_ns, _, payload_bytes, _, _ = delta
        sound = event.payload
        if not isinstance(sound, StrippedAudio) or self.item is None:
            return
        if sound.until is None or sound.audible is None:
            self.end_uncertainty_ns = sound.end_error_ns or self.end_uncertainty_ns
            return
        self.end_uncertainty_ns = sound.end_error_ns
        first = self.last_sound is None
        self.last_sound = Arrival(at_ns, error_ns)
        if first and sound.place is not None:
            self.uneven_ns = sound.place.uneven_ns
        if self.stopped_ns is not None:
            start_ns = at_ns + self.jitter_buffer_ns
            if not self.is_track:
                start_ns = max(start_ns, self.late_until_ns)
            self.late_until_ns = start_ns + sound.until * NS_PER_S // self.audio.rate_hz
        else:
            player = self.item.player
            rate_hz = self.audio.rate_hz
            start_ns = player.ends_ns - self.audio.duration_ns(payload_bytes)
            audible_ns = start_ns + sound.audible * NS_PER_S // rate_hz
            self.silent_ns = start_ns + sound.until * NS_PER_S // rate_hz
            # a late frame is no pause: the player's buffer hides it
            late_ns = player.late_ns
            gap_ns = 0 if first else audible_ns - late_ns - self._scheduled_end_ns
            self._scheduled_end_ns = self.silent_ns - late_ns
            if gap_ns > self.longest_pause_ns:
                self.longest_pause_ns = gap_ns
            if self.spoken_answer is not None:
                uneven_ns = self.uneven_ns if sound.place is None else sound.place.uneven_ns
                onset_ns = sound.error_ns + self.audio.codec_errors.start_ns
                sound_error_ns = player.uncertainty_ns + onset_ns + uneven_ns
                self.spoken_answer.on_sound(
                    audible_ns, self.silent_ns, sound_error_ns, at_ns, gap_ns
                )
        if self.longest_pause_ns < PAUSE_NS:  # no second sound, whose start has another uncertainty
            self.start_uncertainty_ns = sound.error_ns + self.uneven_ns

    def on_event(self, event: ServerEvent, arrival: Arrival) -> None:
        kind = event.kind
        instant = REPLY_INSTANTS[kind]
        if kind in CLOSING or instant not in self.instants:
            self.arrived(instant, arrival)
        if self.created_ns is None:
            self.created_ns = arrival.at_ns
        item = self.items.get(event.item_id, self.item)
        if isinstance(event.payload, StrippedAudio) and item is not None:
            item.player.sounds(event.payload, item.bytes)
        if kind in ENDS_TEXT:
            self.unread.append(WORD_END)

    def heard(self) -> HeardText:
        """Return the transcript that was received. It is limited to its last
        `MAX_TEXT_CHARACTERS` characters.
        """
        self._unwritten = self._unwritten_words()
        self._heard.add("".join(map(delta_text, self.unread)))
        self.unread.clear()
        self.unread_bytes = self._written = 0
        return self._heard

    def _unwritten_words(self) -> str:
        words = "".join(map(delta_text, self.unread[self._written :]))
        return (self._unwritten + words)[:MAX_TEXT_CHARACTERS]

    def add_text(self, text: str, item_id: str, *, is_scored: bool) -> None:
        """Add the whole text of an item. If it is blank, and the words of the reply are scored, its
        text is that of its deltas, because the caller received them. Otherwise matched deltas may
        have no words.
        """
        if is_scored and not text.strip():
            text = self._unwritten_words().strip()
        self._unwritten = ""
        self._written = len(self.unread)
        if not text:
            return
        if not self.deltas.keys() & TEXTS:  # the service sends no deltas of its texts
            self.heard().add(f"{text} ")
        if words := text[: MAX_TEXT_CHARACTERS - len(self.text)]:
            self.parts.append(words)
        self.text = _joined(self.text, text)
        if self.phases.get(item_id) != COMMENTARY:
            self.answer_text = _joined(self.answer_text if item_id == self.answer_id else "", text)
            self.answer_id = item_id

    def add_calls(self, calls: Iterable[FunctionCall]) -> None:
        """Add the new function calls. `calls` are all calls of the turn, including those that
        were added before.
        """
        new = list(calls)[self.calls :]
        self.parts += new
        self.calls += len(new)

    def _add_audio(self, event: ServerEvent, payload_bytes: int, at_ns: int, error_ns: int) -> None:
        """Add the audio of a delta to its item and play it."""
        item = self.item
        payload = event.payload
        if item is None or event.item_id != self.item_id:
            position = payload.place if isinstance(payload, StrippedAudio) else None
            item = self._next_item(event.item_id, payload_bytes, Arrival(at_ns, error_ns), position)
        if self.stopped_ns is not None:
            if isinstance(payload, StrippedAudio):
                item.player.sounds(payload, item.bytes)
            self.late_bytes += payload_bytes
            item.bytes += payload_bytes
            item.last_ns = at_ns
            item.last_uncertainty_ns = error_ns
            return
        if item.bytes:
            # A gap is exact if both of its ends are. Other gaps are only counted.
            if error_ns <= EXACT_GAP_NS and item.last_uncertainty_ns <= EXACT_GAP_NS:
                self.gaps_ns.append(at_ns - item.last_ns)
            else:
                self.uncertain_gaps += 1
        item.bytes += payload_bytes
        item.last_ns = at_ns
        item.last_uncertainty_ns = error_ns
        item.player.add(at_ns, payload_bytes, payload, error_ns)
        if self.plays_on and (end := audible_end(payload, self.audio)) is not None:
            start_ns = item.player.ends_ns - self.audio.duration_ns(payload_bytes)
            uncertainty_ns = max(item.player.uncertainty_ns, error_ns)
            end_ns = start_ns + end * NS_PER_S // self.audio.rate_hz
            self.heard_until = Arrival(end_ns, uncertainty_ns + self.audio.codec_errors.end_ns)

    def _next_item(
        self, item_id: str, payload_bytes: int, first: Arrival, position: PlayoutPosition | None
    ) -> ItemAudio:
        """Return the item with this id. It is played at its `position`, or after the items
        before it.
        """
        if self.item is not None:
            self.others_end_ns = max(self.others_end_ns, self.item.player.ends_ns)
        item = self.items.get(item_id)
        if item is None:
            delay_ns, error_ns = (0, first.uncertainty_ns) if position is None else position[:2]
            playback_ns = first.at_ns + delay_ns
            if self.is_track:
                player: ItemPlayer = TrackPlayer(
                    self.audio, self.jitter_buffer_ns, playback_ns, error_ns
                )
            else:
                busy_until_ns = self.playback_ends_ns
                player = ItemPlayer(
                    self.audio, self.jitter_buffer_ns, playback_ns, error_ns, busy_until_ns
                )
            item = ItemAudio(player, first, payload_bytes, *first[:2])
            self.items[item_id] = item
        self.item = item
        self.item_id = item_id
        return item

    # Playback.

    def cuts(self) -> list[tuple[str, int]]:
        """Return (item, played ms) of each item that was not completely played. The milliseconds
        are rounded down.
        """
        stopped_ns = self.stopped_ns or 0
        played = [
            (name, item.bytes, item.player.played_ns(stopped_ns))
            for name, item in self.items.items()
        ]
        return [
            (name, ns // NS_PER_MS)
            for name, size, ns in played
            if ns < self.audio.duration_ns(size)
        ]

    def played_at_ns(self, length_ns: int) -> int | None:
        """Return when this duration of the reply has been played; None if not enough audio has
        arrived.

        A service that plays replies itself sends silence before them: it counts from the first
        audible sample.
        """
        if self.plays_on:
            audible = first_audible(item.player for item in self.items.values())
            at_ns = self.playback_ends_ns if audible is None else audible.at_ns + length_ns
            return None if audible is None or at_ns > self.playback_ends_ns else at_ns
        for item in self.items.values():
            received_ns = self.audio.duration_ns(item.bytes)
            if length_ns <= received_ns:
                return item.player.played_at_ns(length_ns)
            length_ns -= received_ns
        return None

    @property
    def audio_bytes(self) -> int:
        return sum(item.bytes for item in self.items.values())

    @property
    def received_ns(self) -> int:
        return sum(self.audio.duration_ns(item.bytes) for item in self.items.values())

    @property
    def late_ns(self) -> int:
        return self.audio.duration_ns(self.late_bytes)

    @property
    def unplayed_ns(self) -> int:
        stopped_ns = self.playback_ends_ns
        played_ns = sum(item.player.played_ns(stopped_ns) for item in self.items.values())
        return self.received_ns - played_ns - (self.late_ns if self.late_until_ns else 0)

    @property
    def playback_starts_ns(self) -> int | None:
        """The instant at which the player starts; None if no audio arrived."""
        return next((item.player.started_ns for item in self.items.values()), None)

    @property
    def playback_ends_ns(self) -> int:
        """The instant at which the player has played all received audio, or was stopped; 0 if no
        audio arrived.
        """
        ends_ns = 0 if self.item is None else max(self.others_end_ns, self.item.player.ends_ns)
        return ends_ns if self.stopped_ns is None else min(ends_ns, self.stopped_ns)

    @property
    def silent_from(self) -> Arrival:
        """The end of the last sound if the audio stream continues after the reply; otherwise the
        end of playback.
        """
        if self.heard_until is not None:
            return self.heard_until
        error_ns = 0 if self.last_sound is None else self.last_sound.uncertainty_ns
        end_error_ns = error_ns + self.end_uncertainty_ns + self.audio.codec_errors.end_ns
        if self.late_until_ns:
            return Arrival(self.late_until_ns, end_error_ns)
        if self.last_sound is not None and self.playback_ends_ns - self.silent_ns >= SILENCE_NS:
            return Arrival(self.silent_ns, end_error_ns)
        return Arrival(self.playback_ends_ns, error_ns)

    def longest_silence_ns(self, since_ns: int) -> int:
        """Return the longest silence after an instant: before the first item, or between two
        items.
        """
        longest_ns = 0
        silent_ns = since_ns
        for item in self.items.values():
            audible_ns = item.player.first_audible_ns or item.player.started_ns
            longest_ns = max(longest_ns, audible_ns - silent_ns)
            silent_ns = item.player.ends_ns
        return longest_ns

    @property
    def first_audible_ns(self) -> int | None:
        """The instant of the first audible sample; None if nothing is audible yet."""
        player = first_heard(item.player for item in self.items.values())
        return None if player is None else player.first_audible_ns

    @property
    def is_audible(self) -> bool:
        """True if the item of the last received audio is already audible."""
        return self.item is not None and self.item.player.first_audible_ns is not None

    @property
    def is_inaudible(self) -> bool:
        """True if nothing is audible in the audio of the last response, or of all if that
        response has no audio.
        """
        items = list(self.items.values())
        return all(
            item.player.first_audible_ns is None for item in items[self.earlier_items :] or items
        )

    @property
    def onset_uncertainty_ns(self) -> int | None:
        """The uncertainty of the start of the first sound within the audio; None if there is no
        sound.
        """
        if self.last_sound is not None:
            return self.start_uncertainty_ns + self.audio.codec_errors.start_ns
        player = first_heard(item.player for item in self.items.values())
        return None if player is None else player.onset_uncertainty_ns

    @property
    def answer(self) -> ItemAudio | None:
        """The answer: the last response's first item with phase ANSWER, else its last item that
        is no COMMENTARY.
        """
        items = list(self.items.items())[self.earlier_items :]
        if not self.phases:
            return items[-1][1] if items else None
        answers = (item for item_id, item in items if self.phases.get(item_id) == ANSWER)
        others = (
            item for item_id, item in reversed(items) if self.phases.get(item_id) != COMMENTARY
        )
        return next(answers, None) or next(others, None)

    @property
    def preamble(self) -> bool | None:
        """True if audio came before the answer. None if there is no audio, or no sound is long
        enough for an answer.
        """
        if self.spoken_answer is not None:
            return (
                None if self.spoken_answer.sound is None else not self.spoken_answer.sound.is_first
            )
        return self.answer is not next(iter(self.items.values())) if self.items else None

    def audio_instants(self) -> dict[str, Arrival | None]:
        """Return the instants of the audio, each with how much earlier it may really have been;
        None if unknown.
        """
        if self.item is None:
            return {}
        instants: dict[str, Arrival | None] = {
            "last_audio": Arrival(self.item.last_ns, self.item.last_uncertainty_ns)
        }
        if self.last_sound is not None:
            last_audible_ns = self.late_until_ns or self.silent_ns
            error_ns = (
                self.last_sound.uncertainty_ns if self.is_track else self.item.player.uncertainty_ns
            )
            error_ns += self.end_uncertainty_ns + self.audio.codec_errors.end_ns
            instants["last_audible"] = Arrival(last_audible_ns, error_ns)
        player = first_heard(item.player for item in self.items.values())
        onset_ns = self.onset_uncertainty_ns
        if player is not None and player.first_audible_ns is not None and onset_ns is not None:
            instants["first_audible"] = Arrival(
                player.first_audible_ns, player.audible_uncertainty_ns + onset_ns
            )
        if self.spoken_answer is not None:
            if (sound := self.spoken_answer.sound) is not None:
                instants["answer_audible"] = Arrival(sound.at_ns, sound.uncertainty_ns)
        elif (answer := self.answer) is not None:
            instants["answer_audio"] = answer.first
            instants["answer_audible"] = first_audible([answer.player])
        return instants

    @property
    def audio_speed(self) -> float | None:
        """The seconds of audio that arrived per second. The first delta of each item is not
        counted.

        The time of an item is from its first delta to its last. None if no item has a second delta.
        """
        duration_ns = sum(item.last_ns - item.first.at_ns for item in self.items.values())
        if duration_ns <= 0:
            return None
        after_first = sum(item.bytes - item.first_bytes for item in self.items.values())
        return after_first / self.audio.bytes_per_s / (duration_ns / NS_PER_S)


def first_audible(players: Iterable[ItemPlayer]) -> Arrival | None:
    """Return the playback time of the start of the first sound; None if all is silent."""
    player = first_heard(players)
    if player is None or player.first_audible_ns is None:
        return None
    return Arrival(
        player.first_audible_ns, player.audible_uncertainty_ns + player.onset_uncertainty_ns
    )


def first_heard(players: Iterable[ItemPlayer]) -> ItemPlayer | None:
    """Return the player of the first item with sound."""
    for player in players:
        if player.first_audible_ns is not None:
            return player
    return None


def _joined(text: str, addition: str) -> str:
    return f"{text} {addition}".strip()[:MAX_TEXT_CHARACTERS]
