"""The detection of the start of sound in the items of replies that a service names. Pure.

The detector is that of streams (`bench.sound.onsets`), so that a click or another inaudible sound
is no start of a reply in any dialect. It is fed with the audio of an item until its sound begins.
Later audio is not decoded. Each delta that was searched gets the position of the start, so that a
log without audio gives the same replies.
"""

# Each audio delta of a searched item is decoded. This is the most expensive work on a delta, so it
# ends with the start of the sound, which most items have in their first deltas. From then on a
# delta is only counted, and the transport may match it without reading it (`Timeline.may_match`).
#
# The result is written into the event, in place of the audio. The timeline and the simulated player
# know only positions, so that a live session, and the replay of a log without audio, go the same
# way.

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.sound.onset_limits import BLOCK_MS, TONE
from bench.sound.onsets import HELD_NS, OnsetDetector, SoundChange
from bench.sound.steady_tone import SteadyTone
from bench.wire.audio import AudioFormat, Samples, SampleStream, end_of_audible
from bench.wire.connection import MatchedDelta
from bench.wire.events import (
    AUDIO_DELTA,
    AUDIO_DONE,
    RESPONSE_CREATED,
    RESPONSE_DONE,
    EventKind,
    ServerEvent,
    StrippedAudio,
    audio_payload,
)

MAX_ITEMS = 16
"""The maximum number of items that are searched at the same time. A service sends one after the
other."""
TONE_START_ERROR_NS = BLOCK_MS * NS_PER_MS
"""The maximum error of the start of a tone, which is that of its first loud block."""
SEARCHED_NS = (TONE.certain_blocks + 4) * BLOCK_MS * NS_PER_MS
FOLLOWED_NS = HELD_NS
"""The duration of a part of an item in which the detector searches, and of a part of a tone that
goes on. The former is just enough for the detector to be certain of a tone."""
CONSONANT_NS = 100 * NS_PER_MS
"""The duration below which a quiet start of an item is a consonant. No line and no room precedes
the voice of a model, so only a longer start may be a breath."""
ENDS = frozenset({EventKind.AUDIO_DONE, EventKind.RESPONSE_DONE})
"""The events after which an item has no more audio."""
SEARCHED = ENDS | {AUDIO_DELTA, EventKind.RESPONSE_CREATED}
"""The kinds of events that matter to the search."""
Key = tuple[str, str]


class ItemSound:
    """The search for the start of sound in one item. Before its first delta is silence.

    In a tone that goes on, only the tone is followed. If it changes, its last part is searched
    again, with what follows. The parts are at fixed positions of the item, so that the result does
    not depend on the deltas.
    """

    def __init__(self, audio: AudioFormat) -> None:
        self._stream = SampleStream(audio)
        self.samples = 0
        """The number of samples in the last delta."""
        self._restart()

    def _restart(self) -> None:
        self._received = 0
        """The number of samples in the item."""
        self._onsets = self._detector()
        self._tone: SteadyTone | None = None
        """The tone that goes on; None if the detector searches."""
        self._tone_start: int | None = None
        """The first sample of the first tone that went on."""
        self._known: Samples = np.zeros(0, np.int16)
        """The part in which the tone was found."""
        self._last_part = self._known
        self._begin_part()

    def _detector(self) -> OnsetDetector:
        return OnsetDetector(self._stream.audio.rate_hz, after_silence=True)

    def _begin_part(self) -> None:
        self._part: list[Samples] = []
        """The samples of the part that is not complete."""
        duration_ns = SEARCHED_NS if self._tone is None else FOLLOWED_NS
        self._missing = duration_ns * self._stream.audio.rate_hz // NS_PER_S
        """The number of samples that this part lacks."""

    @property
    def is_in_tone(self) -> bool:
        """True if a tone goes on."""
        return self._tone is not None

    def add(self, data: bytes, *, with_end: bool) -> StrippedAudio:
        """Return the start of the sound, if it becomes known with this delta. `with_end`: also the
        end of its sound.

        If a delta ends in the middle of a sample, the sample belongs to the next delta.
        """
        samples = self._stream.samples(data)
        self.samples = len(samples)
        self._received += self.samples
        until = end_of_audible(samples) if with_end else None
        if (begins := self._search(samples)) is None:
            return StrippedAudio(until=until)
        return StrippedAudio(self.samples - begins.back, until, _start_error_ns(begins))

    def end(self) -> StrippedAudio:
        """Return the start of the sound, relative to the end of the item. Its last sound may be
        short, or a tone.
        """
        if not self._received:
            return StrippedAudio()
        begins = self._search_rest()
        tones = self._onsets.tones
        start = tones[0].start if tones and self._tone_start is None else self._tone_start
        received = self._received
        self._restart()
        if begins is not None:
            return StrippedAudio(-begins.back, error_ns=_start_error_ns(begins))
        if start is not None:
            return StrippedAudio(start - received, error_ns=TONE_START_ERROR_NS)
        return StrippedAudio()

    def _search(self, samples: Samples) -> SoundChange | None:
        while len(samples):
            part, samples = samples[: self._missing], samples[self._missing :]
            self._part.append(part)
            self._missing -= len(part)
            begins = self._onsets.start_in(part) if self._tone is None else None
            if begins is None and not self._missing:
                begins = self._end_part()
            if begins is not None:
                return begins._replace(back=begins.back + len(samples))
        return None

    def _end_part(self) -> SoundChange | None:
        """Follow the tone in a complete part; search in the part if the tone has changed."""
        begins = None
        part = np.concatenate(self._part)
        if self._tone is not None:
            begins = self._follow(part)
        elif self._onsets.is_in_tone:
            self._tone = SteadyTone.found_in(part, self._stream.audio.rate_hz)
            self._known = part
            if self._tone is not None and self._tone_start is None:
                self._tone_start = self._onsets.tones[0].start
        self._last_part = part
        self._begin_part()
        return begins

    def _follow(self, samples: Samples) -> SoundChange | None:
        """Search in the last part and in the samples after it if these change the tone."""
        assert self._tone is not None, "a tone is followed"
        if self._tone.goes_on(samples):
            return None
        # The detector is certain of any tone after so much of it, if the noise in it permits.
        leads = (
            np.tile(self._known, 2),
            self._tone.pure(TONE.changing_blocks * BLOCK_MS * NS_PER_MS),
        )
        self._tone = None
        for lead in leads:
            self._onsets = self._detector()
            if self._onsets.start_in(lead) is None:
                break
        return self._onsets.start_in(np.concatenate((self._last_part, samples)))

    def _search_rest(self) -> SoundChange | None:
        """Search in the end of the item."""
        if self._tone is not None:
            rest = np.concatenate((self._last_part[:0], *self._part))
            if (begins := self._follow(rest)) is not None or self._tone is not None:
                return begins
        # the detector decides after at most this audio; silence in place of it decides now
        silence = np.zeros(HELD_NS * self._stream.audio.rate_hz // NS_PER_S, np.int16)
        begins = self._onsets.start_in(silence)
        return None if begins is None else begins._replace(back=begins.back - len(silence))


def _start_error_ns(change: SoundChange) -> int:
    return change.uncertainty_ns if change.uncertainty_ns >= CONSONANT_NS else 0


class ItemSounds:
    """The items of a session whose sound has not begun. With `with_ends`, the ends of their
    sound are searched, too.
    """

    def __init__(self, *, with_ends: bool) -> None:
        self._with_ends = with_ends
        self._items: dict[Key, ItemSound | None] = {}
        """The search in each item, by response and item; None if its sound has begun."""

    def detect_replies(
        self, events: Sequence[ServerEvent], audio: AudioFormat
    ) -> Sequence[ServerEvent]:
        """Return a message's events. Where an item is searched, the position of its sound replaces
        the audio.

        The start of a sound that only the end of its item decides is a part of the event of this
        end. If this message also has the last delta of the item, it is a part of the delta: the
        message of a log has one position.
        """
        if len(events) == 1:
            (event,) = events
            if event.kind is AUDIO_DELTA:
                return (self._searched(event, audio),)
            if not self._items:
                return events
        found = list(events)
        last = {}
        for place, event in enumerate(events):
            if event.kind is AUDIO_DELTA:
                found[place] = self._searched(event, audio)
                last[event.response_id, event.item_id] = place
            elif event.kind is AUDIO_DONE:
                self._decide((event.response_id, event.item_id), place, found, last)
            elif event.kind is RESPONSE_DONE:
                items = [
                    key
                    for key in self._items
                    if key[0] in ("", event.response_id) or not event.response_id
                ]
                if items:
                    self._decide(items[-1], place, found, last)
                self._forget(items)
            elif event.kind is RESPONSE_CREATED:  # late audio of a response without an id is over
                self._forget([key for key in self._items if not key[0]])
        return found

    @property
    def are_searched(self) -> bool:
        """True if there is an item whose sound has not begun."""
        return any([item is not None for item in self._items.values()])

    def is_in_tone(self, event: ServerEvent) -> bool:
        """Return whether the item of a delta is a tone so far, and no end of its sound is searched.
        The search in its later deltas need not be at once.
        """
        item = self._items.get((event.response_id, event.item_id))
        return item is not None and item.is_in_tone and not self._with_ends

    def continued(self, delta: MatchedDelta) -> ServerEvent | None:
        """Return the event of a matched delta with its audio, if the sound of its item begins;
        None if it does not.
        """
        event = delta.event
        key = (event.response_id, event.item_id)
        if (item := self._items.get(key)) is None:
            return None
        sound = item.add(delta.data, with_end=False)
        if sound.audible is None:
            return None
        self._items[key] = None
        return msgspec.structs.replace(event, payload_bytes=delta.payload_bytes, payload=sound)

    def _searched(self, event: ServerEvent, audio: AudioFormat) -> ServerEvent:
        key = (event.response_id, event.item_id)
        raw = event.payload
        if event.payload_bytes <= 0 or isinstance(raw, StrippedAudio) or not len(raw):
            return event
        item = self._items[key] if key in self._items else self._begin(key, audio)
        if item is None:  # its sound has begun, as in most messages
            return event
        data = audio_payload(raw)
        if data is None:
            return msgspec.structs.replace(event, payload_bytes=-1)
        sound = item.add(data, with_end=self._with_ends)
        if sound.audible is not None:
            self._items[key] = None
        return msgspec.structs.replace(event, payload=sound)

    def _begin(self, key: Key, audio: AudioFormat) -> ItemSound:
        """Return the search in a new item."""
        if len(self._items) >= MAX_ITEMS:
            # a service that never ends its items must not fill the memory: the oldest search ends
            del self._items[next(iter(self._items))]
        item = self._items[key] = ItemSound(audio)
        return item

    def _decide(
        self, key: Key, place: int, found: list[ServerEvent], last: Mapping[Key, int]
    ) -> None:
        """Decide whether the item that ends with the event at `place` has sound, if that is not
        known yet.
        """
        item = self._items.get(key)
        sound = StrippedAudio() if item is None else item.end()
        if item is None or sound.audible is None:
            return
        self._items[key] = None
        delta = found[last[key]].payload if key in last else None
        if isinstance(delta, StrippedAudio):
            place = last[key]
            sound = msgspec.structs.replace(
                sound, audible=item.samples + sound.audible, until=delta.until
            )
        found[place] = msgspec.structs.replace(found[place], payload=sound)

    def _forget(self, items: Iterable[Key]) -> None:
        for key in items:
            del self._items[key]
