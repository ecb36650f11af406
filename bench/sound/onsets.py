"""The detection of the start and end of sound in a continuous stream, also with noise or music in
the background. Pure.
"""

# Energy is measured in blocks of 5 ms, after a high-pass filter. The energy of the background is
# the 20th percentile of the levels of the last 3 s. A sound is at least 6 dB above the background
# for 40 of its first 80 ms, and contains an audible sample (`bench.catalogue.metrics.AUDIBLE`). It
# starts with the block in which the energy rose. In a quiet stream, it starts with its first
# audible sample. The background at the start of the sound determines its end: a block belongs to
# the sound if it is 5 dB above that background. The sound ends if no such block follows for
# `PAUSE_NS`. Its end is the last such block. All arithmetic is in integers, so the result depends
# neither on the packets of the stream nor on the machine.
#
# The filter makes white noise louder, and voices quieter. In such noise, the energy without the
# filter counts, too, after a gain that makes the noise equally loud (`Blocks._level_of`).
#
# A loud and steady start of a stream may be a sound or background. It is no background if it is a
# tone (`is_tone`), or if it stops within `BACKGROUND.settled_blocks`.
#
# Noise may begin or change before a sound, as that of a line or of a noise gate does. A sound that
# is not voiced (`bench.sound.tones`) is therefore not reported until it is. A quiet hum of the
# mains is not voiced. If `LEAD` steady blocks precede its voiced part, they are background. A sound
# without any voiced part for `BACKGROUND.settled_blocks` is background if it is steady, and
# otherwise a sound. A quiet one that is over before is a breath: it is a sound only if a voice
# follows within `PAUSE_NS`. Steady noise after a voice ends the sound. A voice is no background:
# while a sound lasts, the background becomes louder only after 12 s without a quiet group.
#
# A telephone tone (`bench.sound.tones`) is neither a sound nor background. If the start of a
# sound may be a tone, the detector waits until the tone ends, or until it has lasted for
# `TONE.certain_blocks`. If the sound then turns out to be a voice, its start is still the instant
# at which the energy rose. In a tone, a voice starts with the first block that is no
# tone; the noise of a line after it is judged like noise at any time.
#
# `bench.sound.onset_bounds` has the uncertainties. No voice starts before its stream. If a loud
# start of a stream is voiced and its level changes, the sound began with the stream. If the start
# is not steady, a sound may have started with the stream. If a second voice is in the background of
# the agent's voice, it is detected like any other sound.

from collections.abc import Iterable
from typing import Literal, NamedTuple

from bench.base.units import NS_PER_MS
from bench.catalogue.metrics import AUDIBLE
from bench.sound.block_rules import CONTINUED, LEFT, TAKEN, is_continued, is_loud
from bench.sound.blocks import end_of_even, is_even
from bench.sound.onset_bounds import CLEAR, REMEMBERED, RETAINED, BoundedSound
from bench.sound.onset_limits import (
    BACKGROUND,
    BLOCK_MS,
    FAINT_ENERGY,
    GROUP_BLOCKS,
    RISE,
    SILENCE_ENERGY,
    SMOOTHED_BLOCKS,
    TONE,
)
from bench.sound.tones import Tone, is_pure, is_tone, noise_energy
from bench.wire.audio import Samples

PAUSE_NS = 200 * NS_PER_MS
"""The silence that separates two sounds. It is longer than the silence within a word."""
EDGE = (7, 4)
"""The minimum ratio of energy to the background, as (numerator, denominator), for the first blocks
of a sound, before its first loud block."""
REACH = 24
"""The maximum number of blocks by which a sound may start before its first loud block."""
VARIED = 12
"""The ratio of the highest to the lowest level in `BACKGROUND.first_blocks` that a voice may
exceed, and noise does not."""
EARLY = 200
"""A sound that starts in these first blocks may be the second word of a voice from the stream's
start."""
RECENT = 16
"""The number of blocks that are checked while a tone lasts."""
SILENT = 8
"""The number of quiet blocks that end a tone."""
VOICE_AT_TONE_ERROR_NS = (RECENT + GROUP_BLOCKS) * BLOCK_MS * NS_PER_MS
"""The maximum error of the start of a voice in a tone, and of the end of a voice before one."""
LEAD = 50
"""The minimum number of even blocks before a voice that are noise, and no unvoiced consonant of
the voice."""
HELD_NS = 800 * NS_PER_MS
"""The maximum audio between the start of a sound and its detection, which takes longest if it is
not voiced."""
What = Literal["begins", "sounds", "ends"]


class SoundChange(NamedTuple):
    """A change in a stream: a sound begins, continues or has ended.

    `back` is the position of the change, in samples before the end of the received samples. If a
    sound continues or has ended, the position is the end of its last audible sample.
    `uncertainty_ns` is the uncertainty of the sound's end if it has ended, and otherwise that of
    its start, which may change while the sound continues.
    """

    what: What
    back: int
    uncertainty_ns: int


NOTHING = ()
Known = Iterable[tuple[What, int]]
"""The changes that become known with a block. Each entry is (type of change, number of the
sample at which it is)."""


class SuspectedTone:
    """A sound that may be a tone. `start` is its first loud block."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.changed: int | None = None
        """The last block of the last check, if that check found no tone; otherwise None."""
        self.is_certain = self.is_melody = False


class OnsetDetector(BoundedSound):
    """The detector of sound in one stream of samples. With `keys_count`, a phone key is a sound.

    With `after_silence`, digital silence precedes the stream, so that no start of the stream is
    background.
    """

    __slots__ = (  # an object with more than 30 attributes is slow without it
        "_after_tone",
        "_end_error_ns",
        "_faint",
        "_first_level",
        "_keys_count",
        "_unsteady",
        "tones",
    )

    def __init__(
        self, rate_hz: int, *, keys_count: bool = False, after_silence: bool = False
    ) -> None:
        super().__init__(
            rate_hz,
            BACKGROUND.settled_blocks + REACH + RISE.window_blocks,
            BACKGROUND.settled_blocks + RETAINED,
            PAUSE_NS // (BLOCK_MS * NS_PER_MS),
        )
        self.tones = list[Tone]()
        """The tones that have ended, or that are certain. The end of the last one may still
        move."""
        self._keys_count = keys_count
        self._suspect: SuspectedTone | None = None
        """What suggests that the possible sound is a tone; None if nothing does."""
        self._first_level = 0
        """The energy at the start of the stream, if this start is audible and counts as
        background; otherwise 0."""
        self._loud = 0
        """The number of loud blocks of the possible sound."""
        self._unsteady = False
        """True if the stream may have started with a voice."""
        self._end_error_ns = 0
        """The uncertainty of the last end."""
        self._after_tone: int | None = None
        """The first loud block after a tone that ended without a pause."""
        self._faint: tuple[int, int] | None = None
        """The first and the last block of the last quiet and unvoiced sound, which may be the
        start of the next one."""
        if after_silence:
            self._began_from(0)

    def add(self, samples: Samples, *, sent: bool = True) -> list[SoundChange]:
        """Return the changes in the next samples. `sent` is False for silence that the service
        did not send.
        """
        self._sent = sent
        self._receive(samples)
        return self.changes(self._skim())

    def start_in(self, samples: Samples) -> SoundChange | None:
        """Return the start of a sound that becomes known in the next samples; None if none does.

        The samples after the block that makes it known are not searched.
        """
        self._sent = True
        self._receive(samples)
        while (skimmed := self._skim()) & LEFT:
            decided = self._decide(self._number - 1) if skimmed & TAKEN else self._pop()
            for what, sample in decided:
                if what == "begins":
                    return SoundChange(what, self._total - sample, self._uncertainty_ns)
        return None

    def changes(self, skimmed: int) -> list[SoundChange]:
        """Return the changes in received samples. `skimmed` is the result of `_skim` for them."""
        changes: list[SoundChange] = []
        while skimmed:
            if skimmed & CONTINUED:
                self._note(changes, "sounds", self._last)
            if not skimmed & LEFT:
                break
            for what, sample in self._decide(self._number - 1) if skimmed & TAKEN else self._pop():
                self._note(changes, what, sample)
            skimmed = self._skim()
        return changes

    def rest(self) -> list[SoundChange]:
        """Return the change in the received samples that fill no block, as if silence followed."""
        end = self._end_in_rest()
        if end <= self._last:
            return []
        return [SoundChange("sounds", self._total - end, self._uncertainty_ns)]

    def _note(self, changes: list[SoundChange], what: What, sample: int) -> None:
        if changes and changes[-1].what == what == "sounds":
            changes.pop()
        error_ns = self._end_error_ns if what == "ends" else self._uncertainty_ns
        changes.append(SoundChange(what, self._total - sample, error_ns))

    @property
    def pending(self) -> int | None:
        """The start of an uncertain sound, in samples before the end of the received samples;
        None if there is none.
        """
        if self._onset is None or (self._suspect is not None and self._suspect.is_certain):
            return None
        return self._total - self._onset * self._size

    @property
    def is_in_tone(self) -> bool:
        """True if the last received sound is certainly a tone."""
        suspect = self._suspect
        return suspect is not None and suspect.is_certain and suspect.changed is None

    def drop(self) -> None:
        """Forget the current sound, whose rest will not be played. Its end is not reported."""
        self._sounding = False
        self._onset = None
        self._suspect = None
        self._forget_levels()

    def _pop(self) -> Known:
        """Take the next block. Return the changes that become known with it."""
        number = self._number
        self._take()
        if self._number % GROUP_BLOCKS == 0:
            self._end_group()
            is_due = self._sounding and self._same > 0 == self._same % TONE.following_groups
            if is_due and self._is_pure(number - TONE.certain_blocks, number):
                return self._end_before_tone(number)
        if (
            self._number == BACKGROUND.settled_blocks
            and self._first_level
            and not self._last
            and not self._sounding
        ):
            return self._search_again()
        if self._behind is None:
            return self._search_back() if self._number == BACKGROUND.first_blocks else NOTHING
        return self._decide(number)

    def _decide(self, number: int) -> Known:
        """Return the changes that the block `number` makes known. It is the last one, and the
        background is known.
        """
        if self._sounding or self._onset is not None:
            return self._classify(number)
        if self._is_loud(number):
            self._onset = number
            self._loud = 1
        return NOTHING

    def _search_back(self) -> Known:
        """Determine the background from the `BACKGROUND.first_blocks`, and yield the changes in
        these blocks.
        """
        levels = self._levels(SMOOTHED_BLOCKS - 1, BACKGROUND.first_blocks - 1)
        min_level = min(levels)
        max_level = max(levels)
        if min_level < SILENCE_ENERGY:
            self._behind = min_level
        elif self._is_pure(0, BACKGROUND.first_blocks - 1):
            self._began_from(noise_energy(self._samples(1, BACKGROUND.first_blocks - 2)))
        elif (
            max_level > CLEAR
            and not is_even(levels, BACKGROUND.even_ratio)
            and self._begins_voiced()
        ):
            self._began_from(0)
        else:
            # A voice may be among these blocks and is then detected late. Its uncertainty in the
            # first second reaches back to the start.
            self._unsteady = (
                max_level > BACKGROUND.steady_ratio * min_level or self._begins_voiced()
            )
            is_varied = max_level > VARIED * min_level
            groups = self._group_levels()
            self._behind = min(groups) if is_varied else sum(groups) // len(groups)
            self._first_level = 0 if is_varied or self._behind < FAINT_ENERGY else self._behind
            if self._first_level and self._is_tone(
                BACKGROUND.first_blocks // GROUP_BLOCKS, TONE.first_same_ratio
            ):
                self._began_from(0)
        for number in range(self._number):
            yield from self._classify(number)

    def _begins_voiced(self) -> bool:
        """Return whether a part of the first blocks of the stream is voiced, and no hum."""
        return not self._is_hum(0, BACKGROUND.first_blocks - 1) and any(
            self._are_voiced(first)
            for first in range(
                0,
                BACKGROUND.first_blocks - GROUP_BLOCKS + 1,
                RISE.check_blocks,
            )
        )

    def _search_again(self) -> Known:
        """Yield the changes since a start of the stream that is a sound: it has stopped by now,
        or is a tone.
        """
        quietest = min(self._levels(BACKGROUND.first_blocks, BACKGROUND.settled_blocks - 1))
        if self._first_level > VARIED * quietest:
            self._began_from(quietest)
        elif self._is_tone(BACKGROUND.settled_blocks // GROUP_BLOCKS - 1, TONE.same_ratio):
            self._began_from(0)
        else:
            return
        for number in range(self._number):
            yield from self._classify(number)

    def _began_from(self, behind: int) -> None:
        """Use this energy as the background before the stream. Store it for all groups, so that
        it remains.
        """
        self._behind = behind
        self._first_level = 0
        self._onset = None
        self._suspect = None
        self.tones.clear()
        self._fill_groups(behind)

    def _is_tone(self, groups: int, ratio: tuple[int, int]) -> bool:
        """Return whether the first groups of the stream are a tone.

        All groups after the first one must have the same level: the ratio of their energies is at
        most `ratio`. The last group must be a tone.
        """
        levels = self._group_levels()[1:groups]
        if len(levels) < groups - 1:  # a tone began later
            return False
        last = groups * GROUP_BLOCKS - 1
        return (
            is_even(levels, ratio)
            and is_tone(self._samples(last + 1 - GROUP_BLOCKS))
            and not self._is_hum(0, last)
        )

    def _is_pure(self, start: int, end: int) -> bool:
        """Return whether the loud blocks from `start` to `end`, without the first one and the
        last one, are a tone.
        """
        limit = self._loud_energy
        while start < end and self._at(start)[0] <= limit:
            start += 1
        while start < end and self._at(end)[0] <= limit:
            end -= 1
        return is_pure(self._samples(start + 1, end - start - 1), keys_count=self._keys_count)

    def _end_group(self) -> None:
        mean = self._group // GROUP_BLOCKS
        self._group = 0
        self._follow_loudness(mean)
        if self._suspect is not None:
            self._noise = 0
            return
        if not self._is_background(mean):
            return
        if self._sounding:
            self._peak = max(self._peak, mean)
            if self._number <= self._revised and self._is_louder():
                self._update_error()
            if self._holds_tone(mean):
                return
            if self._quiet < 2 * GROUP_BLOCKS and mean * BACKGROUND.plateau_ratio < self._peak:
                self._end_in_noise()
        self._add_group(mean)

    def _is_louder(self) -> bool:
        """Return whether the last group contains a block that may change the uncertainty of the
        sound's start.
        """
        return max(self._powers(self._number - GROUP_BLOCKS, self._number - 1)) > self._unheard

    def _holds_tone(self, mean: int) -> bool:
        low, high = sorted((mean, self._level))
        if high * TONE.same_ratio[1] > low * TONE.same_ratio[0]:
            self._level = mean
            self._same = 1
            self._tone = False
            return False
        self._same += 1
        if (
            self._same >= TONE.held_groups
            and (self._same - TONE.held_groups) % TONE.recheck_groups == 0
        ):
            self._tone = is_tone(self._samples(self._number - GROUP_BLOCKS))
        return self._tone

    def _settle(self, first: int, last: int) -> int:
        """Use the mean energy of these blocks as the background from now on, and return it."""
        self._behind = sum(self._at(number)[0] for number in range(first, last + 1)) // (
            last + 1 - first
        )
        self._noise_energy = self._noise_power = 0
        self._fill_groups(self._behind)
        return self._behind

    def _end_in_noise(self) -> None:
        """If steady noise has followed the sound, move the end of the sound back to the start of
        the noise.
        """
        last = self._number - 1
        levels = self._levels(last - BACKGROUND.plateau_blocks + 1, last)
        if not is_even(levels, BACKGROUND.even_ratio) or (
            self._are_voiced(last - GROUP_BLOCKS + 1)
            and not self._is_hum(last - BACKGROUND.plateau_blocks + 1, last)
        ):
            return
        level = self._behind_sound = self._settle(last - BACKGROUND.plateau_blocks + 1, last)
        first = last - BACKGROUND.plateau_blocks
        while (
            first >= 0
            and level
            < BACKGROUND.steady_ratio * self._at(first)[1]
            < BACKGROUND.steady_ratio * BACKGROUND.steady_ratio * level
        ):
            first -= 1
        self._last = (first + 1) * self._size
        self._quiet = last - first
        self._moved = True

    def _is_background(self, mean: int) -> bool:
        """Return whether the last group shows the background. Unsent silence does not if the
        service sends noise.
        """
        if not self._sent:
            return not self._streams
        if self._sounding or mean < SILENCE_ENERGY:
            self._noise = 0
            self._streams = self._streams and self._sounding
        else:
            self._noise += 1
            self._streams = self._streams or self._noise >= BACKGROUND.streamed_groups
        return True

    def _classify(self, number: int) -> Known:
        if self._sounding:
            if self._continues(number):
                self._sound_until(number * self._size + self._at(number)[3])
                yield "sounds", self._last
                return
            self._quiet += 1
            if self._moved:
                self._moved = False
                yield "sounds", self._last
            if self._quiet >= self._pause:
                self._sounding = False
                self._end_error_ns = self._error_of_end(number)
                yield "ends", self._last
            return
        loud = self._is_loud(number)
        if self._onset is None:
            if loud:
                self._onset = number
                self._loud = 1
            return
        if self._suspect is not None:
            yield from self._follow_tone(self._suspect, number, is_loud=loud)
            return
        self._loud += loud
        if number - self._onset + 1 < RISE.window_blocks:
            return
        if self._loud >= RISE.loud_blocks:
            if (number - self._onset + 1 - RISE.window_blocks) % RISE.check_blocks:
                return
            if self._is_pure(self._onset, number):
                last = next(
                    (block for block in range(number, self._onset - 1, -1) if self._is_loud(block)),
                    None,
                )
                if last is None:  # the background has risen since
                    self._onset = None
                else:
                    self._suspect_tone(self._onset, last)
            else:
                yield from self._start_if_voiced(self._onset, number)
            return
        self._search_from(self._onset + 1, number)  # a click; a sound may still follow it

    def _search_from(self, first: int, number: int) -> None:
        """Search for the start of a possible sound in the blocks from `first` to `number`."""
        loud = [block for block in range(first, number + 1) if self._is_loud(block)]
        self._onset, self._loud = (loud[0], len(loud)) if loud else (None, 0)

    def _start_if_voiced(self, start: int, number: int) -> Known:
        """Start a sound if it is voiced or over. Noise before its voiced part becomes the
        background.
        """
        voiced = number + 1 - GROUP_BLOCKS
        waits = number - start + 1 > RISE.window_blocks
        if max(self._levels(voiced, number)) > CLEAR or self._is_voiced(start, number):
            noise = self._last_noise(start, voiced) if waits else None
        elif max(self._levels(number - SILENT + 1, number)) * EDGE[1] <= EDGE[0] * (
            self._behind or 0
        ):
            if self._loud >= RISE.window_blocks:  # more than a click
                self._faint = start, number - SILENT
            self._onset = None
            return
        elif number - start + 1 < BACKGROUND.settled_blocks:
            return
        else:
            noise = self._last_noise(start, number)
        if noise is None:
            yield from self._start_sound(start, number)
            return
        self._settle(noise - LEAD + 1, noise)
        self._search_from(noise + 1, number)

    def _is_voiced(self, start: int, number: int) -> bool:
        """Return whether the last blocks of a quiet sound are voiced, and no hum. Noise is voiced,
        by chance, for shorter than a voice.
        """
        if not self._are_voiced(number + 1 - GROUP_BLOCKS):
            return False
        is_voiced = self._are_voiced(max(start, number + 1 - 2 * GROUP_BLOCKS), 2 * GROUP_BLOCKS)
        return is_voiced and not self._is_hum(start, number)

    def _last_noise(self, start: int, end: int) -> int | None:
        """Return the end of the last `LEAD` steady blocks from `start` to `end`; None if there
        are none.
        """
        first = start + SMOOTHED_BLOCKS - 1
        end_of_noise = end_of_even(self._levels(first, end), LEAD, BACKGROUND.even_ratio)
        return None if end_of_noise is None else first - 1 + end_of_noise

    def _suspect_tone(self, start: int, last: int) -> SuspectedTone:
        """Suspect that the sound from the block `start` to the block `last` is a tone."""
        self._suspect = SuspectedTone(start)
        self._tone_last = self._tone_checked = last
        return self._suspect

    def _follow_tone(self, tone: SuspectedTone, number: int, *, is_loud: bool) -> Known:
        if is_loud:
            self._tone_last = number
        elif number - self._tone_last >= SILENT:
            first = max(tone.start, self._tone_last - TONE.certain_blocks)
            if tone.is_certain or (not tone.is_melody and self._is_pure(first, self._tone_last)):
                self._note_tone(tone)
                self._suspect = self._onset = None
            else:  # a vowel whose pitch changes is a melody, too
                error_ns = (number - tone.start) * BLOCK_MS * NS_PER_MS if tone.is_melody else 0
                yield from self._start_sound(tone.start, number, error_ns)
            return
        if number - self._tone_checked < GROUP_BLOCKS:
            return
        self._tone_checked = number
        first = number - RECENT + 1 if tone.changed is None else tone.changed
        if self._is_pure(max(first, tone.start), number):
            tone.is_melody |= tone.changed is not None
            tone.changed = None
            length = number - tone.start + 1
            if not tone.is_certain and length >= TONE.certain_blocks:
                tone.is_certain = length >= TONE.changing_blocks or self._is_pure(
                    number - TONE.certain_blocks + 1, number
                )
            if tone.is_certain:
                self._note_tone(tone)
        elif tone.changed is None:
            tone.changed = number
        elif tone.is_certain:  # a voice follows, or the noise of a line
            self._suspect = None
            self._search_from(self._voice_in(tone.changed, number), number)
            self._after_tone = self._onset
        else:
            yield from self._start_sound(
                tone.start, number, (number - tone.start) * BLOCK_MS * NS_PER_MS
            )

    def _note_tone(self, tone: SuspectedTone) -> None:
        loud = (
            block
            for block in range(self._tone_last, tone.start, -1)
            if self._at(block)[0] > self._loud_energy
        )
        found = Tone(tone.start * self._size, (next(loud, tone.start) + 1) * self._size)
        if self.tones and self.tones[-1].start == found.start:
            self.tones.pop()
        self.tones.append(found)

    def _voice_in(self, changed: int, number: int) -> int:
        """Return the first block of a voice in a tone: after the first quiet block, if there is
        one.
        """
        first = changed - GROUP_BLOCKS
        loud = [self._at(block)[0] > self._loud_energy for block in range(first, number + 1)]
        quiet = loud.index(False) if False in loud else 0
        return first + (loud.index(True, quiet) if True in loud[quiet:] else 0)

    @property
    def _loud_energy(self) -> int:
        return RISE.ratio[0] * (self._behind or 0) // RISE.ratio[1]

    def _end_before_tone(self, number: int) -> Known:
        """End the sound, because a tone has followed it without a pause. Yield its end."""
        start = number - TONE.certain_blocks
        level = self._at(start + 1)[1]
        while (
            start > number - TONE.certain_blocks - 3 * GROUP_BLOCKS
            and level < 2 * self._at(start - 1)[1] < 4 * level
        ):
            start -= 1
        start -= SMOOTHED_BLOCKS - 1  # the level rises slowly
        last = next(
            (
                block
                for block in range(start - 1, start - BACKGROUND.settled_blocks, -1)
                if self._continues(block)
            ),
            start,
        )
        self._last = min(self._last, last * self._size + max(0, self._at(last)[3]))
        self._sounding = False
        self._onset = start
        tone = self._suspect_tone(start, number)
        tone.is_certain = True
        self._note_tone(tone)
        self._end_error_ns = VOICE_AT_TONE_ERROR_NS
        yield "ends", self._last

    def _start_sound(self, start: int, number: int, tone_error_ns: int = 0) -> Known:
        """Yield the changes of a detected sound: that it begins, and that it continues up to the
        block `number`.

        The sound begins before the block `start` if the energy rose slowly. `tone_error_ns` is the
        uncertainty that a tone before the sound causes.
        """
        if start == self._after_tone:
            tone_error_ns = VOICE_AT_TONE_ERROR_NS
        loud = start
        behind = self._behind or 0
        self._peak = max(self._levels(start, number))
        for earlier in () if tone_error_ns else range(start - 1, max(start - REACH, 0) - 1, -1):
            pair_energy = self._at(earlier)[0] + self._at(earlier - 1)[0]
            if self._at(earlier)[2] < 0 or 2 * EDGE[0] * behind >= pair_energy * EDGE[1]:
                break
            start = earlier
        # the energy did not rise here: the background is louder than `behind`
        self._lead_ns = REACH * BLOCK_MS * NS_PER_MS if loud - start == REACH else 0
        faint = self._faint
        self._faint = None
        if faint is not None and start - faint[1] < self._pause and number - faint[0] < REMEMBERED:
            start = faint[0]
        self._sounding = True
        self._onset = None
        self._suspect = None
        start, offset = self._first_audible(start) if behind < FAINT_ENERGY else (start, 0)
        begin = start * self._size + offset
        self._level = self._same = 0
        self._tone = False
        if tone_error_ns:
            self._early_ns = tone_error_ns
        elif start * self._size - self._last >= EARLY * self._size:
            self._early_ns = 0
        elif self._unsteady and start < EARLY:
            self._early_ns = self._early_ns or -(-begin * BLOCK_MS * NS_PER_MS // self._size)
        self._begin(start, offset, behind)
        yield "begins", begin
        last_audible = next(
            (block for block in range(number, start - 1, -1) if self._continues(block)), start
        )
        self._sound_until(last_audible * self._size + max(0, self._at(last_audible)[3]))
        self._quiet = number - last_audible
        yield "sounds", self._last

    def _first_audible(self, start: int) -> tuple[int, int]:
        """Return the first audible sample of a sound whose first loud block is `start`, as (block,
        position in the block).

        Without deep noise, the first samples of a sound are quieter. They count if they alone are
        audible in the block before, and none in the 50 ms before that block: there is no deep
        noise.
        """
        loud = start, max(0, self._at(start)[2])
        before = self._samples(start - GROUP_BLOCKS - 1, GROUP_BLOCKS + 1).astype(int)
        count = self._size // self._lag
        if len(before) < (GROUP_BLOCKS + 1) * count:
            return loud
        is_audible = abs(before - int(before[:-count].mean())) >= AUDIBLE
        if is_audible[:-count].any() or not is_audible[-count:].any():
            return loud
        return start - 1, int(is_audible[-count:].argmax()) * self._lag

    def _is_loud(self, number: int) -> bool:
        _, level, first, _, _ = self._at(number)
        return is_loud(level, first, self._behind or 0)

    def _continues(self, number: int) -> bool:
        _, level, _, last, _ = self._at(number)
        return is_continued(level, last, self._behind_sound)
