"""Finds where sound begins and ends in a stream that never stops, noise or music behind it included. Pure.

Energy is that of blocks of 5 ms, after a filter that takes rumble away. What lies behind the voice is the level that a
fifth of the last 3 s does not exceed; sound is what stands 6 dB above it for 40 of 80 ms, and holds an audible sample
(`bench.metrics.AUDIBLE`). It begins with the block in which the energy rose, in a quiet stream with its first audible
sample. It ends with the last block that stands 5 dB above what was behind it when it began, once nothing did for
`PAUSE_NS`. All of it is made of integers, so it depends neither on how the stream is cut nor on the machine.

What a stream begins with, loud and steady, may be a sound or lie behind one. It is a sound if it is a tone
(`is_tone`), or if it stops within `SETTLED` blocks: before the stream was silence. All else lies behind the
voice. A tone that is held is a sound as long as it lasts, and never lies behind another one.

How far a begin can be off depends on how far the sound stands out: `ERRORS_NS`, from `make benchmark PARTS=onsets`
(docs/accuracy.md). A sound of a stream that did not begin steadily may have begun with it. A voice behind the
agent's is sound like any other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np

from bench.metrics import AUDIBLE
from bench.protocol.audio import Samples, measured_blocks
from bench.units import NS_PER_MS

BLOCK_MS = 5
PAUSE_NS = 200 * NS_PER_MS
"""Silence that parts two sounds: longer than within a word."""
SMOOTHED = 4
"""Blocks, the last ones, of which the mean is a block's level."""
RISE, FALL, EDGE = (16, 4), (12, 4), (7, 4)
"""Above what is behind it, as ratios of energies: what begins a sound, what goes on with it, and its first blocks."""
WINDOW, LOUD = 16, 8
"""A sound has so many loud blocks among its first ones."""
REACH = 24
"""Blocks before the one that is loud in which its begin may lie."""
UNKNOWN = 40
"""Blocks after which what is behind the voice is known at the begin of a stream."""
SETTLED = 120
"""Blocks after which what a stream began with is judged again: by then it may have stopped."""
VARIED = 12
"""A stream that begins with a voice has in that time levels of such a ratio; one that begins with noise has not."""
STEADY = 4
"""What is behind a voice has levels of no such ratio in that time; where there are, the voice may be among them."""
EARLY = 200
"""Blocks of a stream within which a sound may be the second word of a voice that began with it."""
GROUP, GROUPS = 10, 60
"""Blocks of a group, of which the mean is kept, and how many are: 3 s."""
HELD = 7
"""Groups of one level after which a sound may be a tone that is held."""
SAME, NEARLY_SAME = (103, 100), (5, 4)
"""Ratios of energies within which the level of a tone stays: in its first groups, and later.

Music, too, hardly changes in its first groups."""
RECHECKED = 20
"""Groups of a held tone of which one is looked at."""
KEPT = 2 * GROUP
"""Blocks of which the samples are kept, before those that came last: a group that is looked at may end a group ago."""
STREAMED = 16
"""Groups of noise in a row by which it is known to be sent all the time: no reply ends with so many."""
FIFTH = 5
FAINT = AUDIBLE * AUDIBLE // 32
"""The energy at which what is behind a voice is heard by nobody, whatever peaks it has."""
HUSHED = 16
"""Energy of digital silence, dither and rounding: before it the first audible sample is exact."""
ERRORS_NS = ((500, 45 * NS_PER_MS), (32, 100 * NS_PER_MS), (16, 345 * NS_PER_MS), (0, 1_540 * NS_PER_MS))
"""(how many times its background the loudest 50 ms of a sound have, how far its begin is off at most), loudest first:
27, 15, 12 and 0 dB. Thousands of begins of each, with noise, a room and music behind voices, were off by less."""


What = Literal["begins", "sounds", "ends"]


class SoundChange(NamedTuple):
    """A mark in a stream: sound begins, goes on or has ended at a sample, so many before the end of what was heard.

    `back` of a sound that goes on, or has ended: up to where it is heard. `error_ns`: how far its begin can be off.
    """

    what: What
    back: int
    error_ns: int


Block = tuple[int, int, int, int]
"""A block's energy and level, and the places of its first audible sample and behind its last one; -1 for none."""
NO_BLOCK: Block = (0, 0, -1, -1)
NOTHING: tuple[()] = ()
Known = Iterable[tuple[What, int]]
"""What is known by a block, and the sample at which it is."""


class OnsetDetector:
    """The sound in one stream of samples."""

    def __init__(self, rate_hz: int) -> None:
        self._size = rate_hz * BLOCK_MS // 1_000
        self._lag = max(1, rate_hz // 8_000)  # at every rate the filter is that of 8 kHz
        self._pause = PAUSE_NS // (BLOCK_MS * NS_PER_MS)
        self._left: Samples = np.zeros(0, np.int16)
        self._kept = KEPT * self._size
        self._heard: Samples = np.zeros(self._kept, np.int16)
        """The samples of the blocks that came last, with those before them."""
        self._heard_end = 0
        self._number = 0
        """The number of the next block."""
        self._energies = (0, 0, 0)
        self._blocks: deque[Block] = deque(maxlen=SETTLED)
        self._group = 0
        self._groups: deque[int] = deque(maxlen=GROUPS)
        self._behind: int | None = None
        """The energy behind the voice; None while nobody knows."""
        self._first_level = 0
        """The energy that the stream began with, if it can be heard and is taken for what is behind the voice."""
        self._level = self._same = 0
        """The energy of the first group of a sound that stays at its level, and how many groups did."""
        self._tone = False
        self._sent = True
        self._noise = 0
        """Groups of noise since the last sound, or silence, that was sent."""
        self._streams = False
        """Whether what is behind the voice is sent all the time: where nothing comes, that is late, and no silence."""
        self._begins: int | None = None
        """The first loud block of what may become a sound."""
        self._loud = 0
        self._sounding = False
        self._behind_sound = self._peak = 0
        """The energy behind the sound when it began, and that of its loudest group."""
        self._unsteady = False
        """Whether the stream may have begun with a voice."""
        self._early_ns = 0
        """How long after such a stream a sound began early in it, or one that this one goes on from."""
        self._quiet = 0
        """Blocks since it was heard last."""
        self._last = 0
        """The sample up to which it is heard."""

    def hear(self, samples: Samples, *, sent: bool = True) -> list[SoundChange]:
        """Take the next samples, which were `sent`, or stand for silence that was not; return what they make known."""
        self._sent = sent
        marks: list[SoundChange] = []
        end = self._number * self._size + len(self._left) + len(samples)
        for block in self._cut(samples):
            for what, sample in self._take(*block):
                if marks and marks[-1].what == what == "sounds":
                    marks.pop()
                marks.append(SoundChange(what, end - sample, self._error_ns))
        return marks

    def drop(self) -> None:
        """Forget the sound that goes on: what was left of it will not be heard, so what comes is not its end."""
        self._sounding, self._begins, self._energies = False, None, (0, 0, 0)

    def _cut(self, samples: Samples) -> Iterable[tuple[int, int, int]]:
        """As `measured_blocks`, of each block that is whole by now."""
        stream = np.concatenate((self._left, samples)) if len(self._left) else samples
        whole = len(stream) - len(stream) % self._size
        self._left = stream[whole:]
        if not whole:
            return ()
        kept = self._kept
        self._heard = heard = np.concatenate((self._heard[-kept:], stream[:whole]))
        self._heard_end += whole
        return measured_blocks(heard[kept - self._lag :], self._lag, self._size)

    def _take(self, energy: int, first: int, last: int) -> Known:
        number, self._number = self._number, self._number + 1
        earlier = self._energies
        level = (energy + earlier[0] + earlier[1] + earlier[2]) // SMOOTHED
        self._energies = (energy, earlier[0], earlier[1])
        self._blocks.append((energy, level, first, last))
        self._group += energy
        if self._number % GROUP == 0:
            self._end_group()
        if self._number == SETTLED and self._first_level and not self._last and not self._sounding:
            return self._look_again()
        if self._behind is not None:
            if self._sounding or self._begins is not None:
                return self._judge(number)
            if first >= 0 and level * RISE[1] > RISE[0] * self._behind:  # heard by itself, and above what is behind it
                self._begins, self._loud = number, 1
        elif self._number == UNKNOWN:
            return self._look_back()
        return NOTHING

    def _look_back(self) -> Known:
        """What is behind the voice is known by now, and what sounds so far."""
        levels = [level for _, level, _, _ in list(self._blocks)[SMOOTHED - 1 :]]
        least, most = min(levels), max(levels)
        if least < HUSHED:
            self._behind = least
        else:
            # a voice may be among them, and is found late then: bounds of the first second reach back to the begin
            self._unsteady = most > STEADY * least
            self._behind = min(self._groups) if most > VARIED * least else sum(self._groups) // len(self._groups)
            self._first_level = self._behind if most <= VARIED * least and self._behind >= FAINT else 0
            if self._first_level and self._is_tone(UNKNOWN // GROUP, SAME):
                self._began_from(0)
        for number in range(self._number):
            yield from self._judge(number)

    def _look_again(self) -> Known:
        """Find the sound that a stream began with: it has stopped by now, or is a tone."""
        quietest = min(level for _, level, _, _ in list(self._blocks)[UNKNOWN:])
        if self._first_level > VARIED * quietest:
            self._began_from(quietest)
        elif self._is_tone(SETTLED // GROUP - 1, NEARLY_SAME):
            self._began_from(0)
        else:
            return
        for number in range(self._number):
            yield from self._judge(number)

    def _began_from(self, behind: int) -> None:
        """Take this energy for what was behind the voice before the stream began, and for so long that it still is."""
        self._behind, self._first_level, self._begins = behind, 0, None
        self._groups.extend([behind] * GROUPS)

    def _is_tone(self, groups: int, ratio: tuple[int, int]) -> bool:
        """Whether the stream began with a tone: so many groups of one level, but for the first, the last one a tone."""
        levels = list(self._groups)[1:groups]
        same = max(levels) * ratio[1] <= min(levels) * ratio[0]
        return same and is_tone(self._samples((groups - 1) * GROUP))

    def _samples(self, block: int) -> Samples:
        """The samples of a group that begins with this block, as if they were of 8 kHz."""
        begin = len(self._heard) + block * self._size - self._heard_end
        return self._heard[begin : begin + GROUP * self._size : self._lag]

    def _end_group(self) -> None:
        mean, self._group = self._group // GROUP, 0
        if not self._is_background(mean):
            return
        if self._sounding:
            self._peak = max(self._peak, mean)
            if self._holds_tone(mean):
                return
        self._groups.append(mean)
        if self._behind is None:
            return
        ranked = sorted(self._groups)
        self._behind = ranked[len(ranked) // FIFTH]
        # where nothing was as quiet as before the sound for 3 s, what is behind it has become louder
        if ranked[0] > max(self._behind_sound * FALL[0] // FALL[1], FAINT):
            self._behind_sound = self._behind

    def _holds_tone(self, mean: int) -> bool:
        low, high = sorted((mean, self._level))
        if high * NEARLY_SAME[1] > low * NEARLY_SAME[0]:
            self._level, self._same, self._tone = mean, 1, False
            return False
        self._same += 1
        if self._same >= HELD and (self._same - HELD) % RECHECKED == 0:
            self._tone = is_tone(self._samples(self._number - GROUP))
        return self._tone

    def _is_background(self, mean: int) -> bool:
        """Whether a group tells what is behind the voice: silence that was not sent does not where noise is sent."""
        if not self._sent:
            return not self._streams
        if self._sounding or mean < HUSHED:
            self._noise = 0
            self._streams = self._streams and self._sounding
        else:
            self._noise += 1
            self._streams = self._streams or self._noise >= STREAMED
        return True

    def _judge(self, number: int) -> Known:
        if self._sounding:
            if self._goes_on(number):
                self._quiet, self._last = 0, number * self._size + self._at(number)[3]
                yield "sounds", self._last
                return
            self._quiet += 1
            if self._quiet >= self._pause:
                self._sounding = False
                yield "ends", self._last
            return
        loud = self._is_loud(number)
        if self._begins is None:
            if loud:
                self._begins, self._loud = number, 1
            return
        self._loud += loud
        if number - self._begins + 1 < WINDOW:
            return
        if self._loud >= LOUD:
            yield from self._begin(self._begins, number)
            return
        later = range(self._begins + 1, number + 1)  # a click; perhaps what comes behind it is none
        self._begins = next((each for each in later if self._is_loud(each)), None)
        if self._begins is not None:
            self._loud = sum(self._is_loud(each) for each in range(self._begins, number + 1))

    def _begin(self, begins: int, number: int) -> Known:
        """A sound is known by now, which began before block `begins` where the energy rose slowly."""
        behind = self._behind or 0
        for earlier in range(begins - 1, max(begins - REACH, 0) - 1, -1):
            two = self._at(earlier)[0] + self._at(earlier - 1)[0]
            if self._at(earlier)[2] < 0 or 2 * EDGE[0] * behind >= two * EDGE[1]:
                break
            begins = earlier
        self._sounding, self._begins, self._behind_sound = True, None, behind
        self._level = self._same = 0
        self._tone = False
        if begins * self._size - self._last >= EARLY * self._size:
            self._early_ns = 0
        elif self._unsteady and begins < EARLY:
            self._early_ns = self._early_ns or begins * BLOCK_MS * NS_PER_MS
        self._peak = max(self._at(each)[1] for each in range(begins, number + 1))
        yield "begins", begins * self._size + (max(0, self._at(begins)[2]) if behind < FAINT else 0)
        heard = next((each for each in range(number, begins - 1, -1) if self._goes_on(each)), begins)
        self._quiet, self._last = number - heard, heard * self._size + max(0, self._at(heard)[3])
        yield "sounds", self._last

    def _is_loud(self, number: int) -> bool:
        _, level, first, _ = self._at(number)
        return first >= 0 and level * RISE[1] > RISE[0] * (self._behind or 0)

    def _goes_on(self, number: int) -> bool:
        _, level, _, last = self._at(number)
        return last >= 0 and level * FALL[1] > FALL[0] * self._behind_sound

    def _at(self, number: int) -> Block:
        place = number - self._number
        return self._blocks[place] if number >= 0 and -len(self._blocks) <= place < 0 else NO_BLOCK

    @property
    def _error_ns(self) -> int:
        if self._behind_sound < HUSHED:
            return self._early_ns
        error_ns = next(error_ns for times, error_ns in ERRORS_NS if self._peak >= times * self._behind_sound)
        return max(error_ns, self._early_ns)


# A tone, a sum of a few sines, can be predicted from the samples before it, noise cannot. Each sample is predicted as
# the best weighted sum of those before it, which leaves only the rounding of up to ORDER / 2 sines. White and pink
# noise, and a room, leave more than a fiftieth of their energy. Voices and music may leave as little as tones for a
# while, but their level changes, which is looked at first. The sums are of integers, and the rest is calculated in one
# order, so the answer does not depend on the machine.
ORDER = 16
"""Samples from which the next one is predicted: two for each sine."""
GAIN = 50
"""How many times the energy that cannot be predicted a tone has."""
ROUNDING = 1 / 12
"""The energy of the rounding of a sample, without which a pure tone has more than one best prediction."""


def is_tone(samples: Samples) -> bool:
    """Return whether 50 ms at 8 kHz are a tone; a direct current is none, for it is not heard."""
    count = len(samples) - ORDER
    wide = samples.astype(np.int64)
    wide -= int(wide.sum()) // len(wide)
    shifted = np.array([wide[ORDER - step :][:count] for step in range(ORDER + 1)])
    (energy, *wanted), *products = (shifted @ shifted.T).tolist()
    if energy <= GAIN * count * ROUNDING:
        return False
    return bool(_unpredicted([row[1:] for row in products], wanted, energy, count * ROUNDING) * GAIN < energy)


def _unpredicted(products: list[list[int]], wanted: list[int], energy: float, rounding: float) -> float:
    """Return what the best prediction leaves of the energy, by Cholesky's decomposition of the normal equations."""
    rows, solved = list[list[float]](), list[float]()
    for place, given in enumerate(products):
        row = list[float]()
        for before, earlier in enumerate(rows):
            known = sum(mine * other for mine, other in zip(row, earlier, strict=False))
            row.append((given[before] - known) / earlier[before])
        diagonal = given[place] + rounding - sum(value * value for value in row)
        if diagonal <= 0:  # nothing is left that this sample could tell
            diagonal = rounding
        row.append(float(diagonal**0.5))
        rows.append(row)
        known = sum(value * answer for value, answer in zip(row, solved, strict=False))
        solved.append((wanted[place] - known) / row[place])
    return energy - sum(value * value for value in solved)
