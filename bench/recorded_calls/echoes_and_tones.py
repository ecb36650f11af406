"""The removal of what is no speech from a channel: telephone tones, and the echo of the other
channel. Pure.

The detector of sounds finds the tones that are alone (`bench.sound.tones`): ring tones, busy
tones, and the beeps of a recorder. These beeps have one frequency and one duration, so they are
also found over speech. They are subtracted.

A telephone's loudspeaker is near its microphone, so the caller's channel may contain the agent's
voice. The impulse response of the echo's path is estimated from the spectra of both channels,
averaged over the whole call (Wiener filter), also without the blocks in which the near channel is
too loud for an echo. It is convolved with the far channel, which gives the expected echo, and the
expected echo is subtracted. A block in which less remains than was expected is no sound of the near
channel.

A piece of the channel's background replaces both, because silence would look like a change of the
background. It never replaces a quieter block. A call of two hours would fill the memory, so the
changed samples are in a temporary file.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from bench.catalogue.metrics import AUDIBLE
from bench.plan.audio_files import BLOCK_SAMPLES
from bench.plan.recordings import SampleSequence, mean_squares
from bench.sound.onset_limits import BLOCK_MS, SILENCE_ENERGY
from bench.sound.tones import Tone
from bench.wire.audio import Samples

MIN_BEEP_S = 0.1
MAX_BEEP_S = 0.7
MAX_TONE_S = 30.0
"""The maximum duration of a tone that is removed. A longer one is like hold music."""
SAME_HZ = 2.0
"""The maximum difference of the frequencies of the beeps of one recorder."""
MIN_ALONE = 2
"""The minimum number of beeps that are alone, in both channels, from which beeps over speech are
searched."""
PURE = 0.02
"""The maximum share of a beep's energy that one sine does not explain."""
HOP_S = 0.005
LEVEL = 0.4
PHASE = 0.7
"""The maximum difference of each quarter of a beep over speech: relative amplitude; phase in
radians."""
MARGIN_S = 0.06
FAINT = 4
"""The maximum ratio of the energy of a block, if it has only the rest of a beep, to the energy
of `Beep.rest`."""
MIN_REST = 1e-4
"""The minimum of `Beep.rest` here: phase and amplitude have errors, too."""
NEARLY = 1 / 100
"""The maximum ratio of the energy that remains to the energy of the beep, if only the beep was
audible."""
FADE = 2
FADED = 1 / 4
"""The number of blocks at the edges of a beep, and the maximum ratio of their energies to the
energy of the beep."""
BACKGROUND_S = 0.2
QUIET = 10

Floats = NDArray[np.float64]


class StoredSamples:
    """Samples in a nameless temporary file, which ends with its last use. Raises OSError if it
    cannot be written.
    """

    def __init__(self, blocks: Iterable[Samples] = ()) -> None:
        self._file, name = tempfile.mkstemp(prefix="rtbench-")
        weakref.finalize(self, os.close, self._file)
        os.unlink(name)
        self._length = 0
        for block in blocks:
            self.append(block)

    def append(self, samples: Samples) -> None:
        data = samples.astype(np.int16).tobytes()
        while data:
            data = data[os.write(self._file, data) :]
        self._length += len(samples)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, part: slice, /) -> Samples:
        start, stop, _ = part.indices(self._length)
        size = np.dtype(np.int16).itemsize
        return np.frombuffer(
            os.pread(self._file, max(0, stop - start) * size, start * size), np.int16
        )


# Tones. A beep of a recorder is always the same, so two of them that stand alone give its
# frequency, length and level (`_beeps`). With these it is found over speech, as the places at which
# a sine of this frequency has the same amplitude and phase in all four quarters (`_found`), which
# no voice has. What is subtracted is a sine with the phase of that place, and what remains of
# blocks that had only the beep is replaced by background.
class Beep(NamedTuple):
    """The beep of a recorder. `length` is in samples. `rest` is the share of its energy that is
    no sine.
    """

    hz: float
    amplitude: float
    length: int
    rest: float


class WithoutTones(NamedTuple):
    """A channel without tones. `tones` is their number. `removed` are the stretches that differ,
    in samples.
    """

    samples: SampleSequence
    tones: int
    removed: Sequence[tuple[int, int]]


def without_tones(
    caller: SampleSequence, agent: SampleSequence, tones: Sequence[Sequence[Tone]], rate_hz: int
) -> tuple[WithoutTones, WithoutTones]:
    """Return both channels without tones. `tones` are those of each channel that are alone.

    In the agent's channel, only the beeps of a recorder are removed: the detector of replies
    ignores the other tones, and knows its errors next to them.
    """
    kinds = _beeps((caller, agent), tones, rate_hz)
    return _without(caller, kinds, tones[0], rate_hz, all_tones=True), _without(
        agent, kinds, tones[1], rate_hz
    )


def _without(
    samples: SampleSequence,
    kinds: Sequence[Beep],
    alone: Sequence[Tone],
    rate_hz: int,
    *,
    all_tones: bool = False,
) -> WithoutTones:
    pieces = [found for beep in kinds for found in _found(samples, beep, rate_hz)]
    margin = round(HOP_S * rate_hz)
    beeps = [(start, start + len(piece)) for start, piece in pieces]
    others = [
        tone
        for tone in alone
        if not any(start < tone.end and tone.start < end for start, end in beeps)
    ]
    for tone in others if all_tones else ():
        if tone.end - tone.start <= MAX_TONE_S * rate_hz:
            start = max(0, tone.start - margin)
            end = min(len(samples), tone.end + margin)
            pieces.append((start, _background(samples, start, end, rate_hz)))
    removed = [(start, start + len(piece)) for start, piece in pieces]
    cleaned = StoredSamples(_replaced(samples, pieces)) if pieces else samples
    return WithoutTones(cleaned, len(beeps) + len(others), removed)


def _beeps(
    channels: Sequence[SampleSequence], tones: Sequence[Sequence[Tone]], rate_hz: int
) -> list[Beep]:
    """Return the kinds of beeps that occur several times."""
    kinds = list[list[Beep]]()
    for samples, alone in zip(channels, tones, strict=True):
        for tone in alone:
            beep = _beep(samples, tone, rate_hz)
            if beep is None:
                continue
            same = (kind for kind in kinds if abs(kind[0].hz - beep.hz) <= SAME_HZ)
            if (kind := next(same, None)) is None:
                kinds.append(kind := [])
            kind.append(beep)
    return [
        # the others may begin or end in speech
        Beep(hz, amplitude, max(beep.length for beep in kind), rest)
        for kind in kinds
        if len(kind) >= MIN_ALONE
        for hz, amplitude, _, rest in [np.median(kind, axis=0).tolist()]
    ]


def _beep(samples: SampleSequence, tone: Tone, rate_hz: int) -> Beep | None:
    """Return the sine of a tone; None if the tone is no beep."""
    length = tone.end - tone.start
    if not MIN_BEEP_S * rate_hz <= length <= MAX_BEEP_S * rate_hz:
        return None
    edge = length // 6
    wide = samples[tone.start + edge : tone.end - edge].astype(float)
    size = 1 << (8 * len(wide)).bit_length()
    hz = float(np.abs(np.fft.rfft(wide * np.hanning(len(wide)), size)).argmax()) * rate_hz / size
    half = len(wide) // 2
    for _ in range(2):  # the phases of both halves give the frequency
        first = _phasor(wide[:half], hz, rate_hz, 0)
        second = _phasor(wide[half : 2 * half], hz, rate_hz, half)
        hz += float(np.angle(second / first)) / (2 * np.pi) * rate_hz / half
    phasor = _phasor(wide, hz, rate_hz, 0)
    rest = wide - _sine(phasor, hz, rate_hz, 0, len(wide))
    share = float(rest @ rest) / float(wide @ wide)
    return Beep(hz, abs(phasor), length, share) if share <= PURE else None


def _phasor(wide: Floats, hz: float, rate_hz: int, at: int) -> complex:
    """Return the amplitude and the phase of a sine in the samples, which begin at the position
    `at`.
    """
    angles = 2 * np.pi * hz / rate_hz * np.arange(at, at + len(wide))
    return 2 * complex((wide * np.exp(-1j * angles)).mean()) if len(wide) else 0j


def _sine(phasor: complex, hz: float, rate_hz: int, at: int, count: int) -> Floats:
    angles = 2 * np.pi * hz / rate_hz * np.arange(at, at + count)
    return np.real(phasor * np.exp(1j * angles))


def _found(samples: SampleSequence, beep: Beep, rate_hz: int) -> Iterator[tuple[int, Samples]]:
    """Yield (position, samples without the beep) of each beep, alone or over speech."""
    hop = round(HOP_S * rate_hz)
    blocks = beep.length // hop
    quarter = max(1, blocks // 4)
    starts = range(0, len(samples), BLOCK_SAMPLES // hop * hop)
    phasors = np.concatenate([_hops(samples, start, beep.hz, rate_hz, hop) for start in starts])
    sums = np.concatenate(([0], np.cumsum(phasors)))
    count = len(sums) - 4 * quarter
    if count <= 0:
        return
    quarters = [
        (sums[(n + 1) * quarter :][:count] - sums[n * quarter :][:count]) / quarter
        for n in range(4)
    ]
    whole = np.mean(quarters, axis=0)
    fits = (np.abs(np.abs(whole) - beep.amplitude) <= LEVEL * beep.amplitude) & np.all(
        [np.abs(part - whole) <= PHASE * np.abs(whole) for part in quarters], axis=0
    )
    scores = np.where(fits, np.abs(whole), 0)
    while scores[peak := int(scores.argmax())] > 0:
        scores[max(0, peak - blocks) : peak + blocks] = 0
        yield _subtracted(samples, beep, peak * hop, rate_hz)


def _hops(
    samples: SampleSequence, start: int, hz: float, rate_hz: int, hop: int
) -> NDArray[np.complex128]:
    wide = samples[start : start + BLOCK_SAMPLES // hop * hop].astype(float)
    wide = wide[: len(wide) // hop * hop]
    angles = 2 * np.pi * (hz / rate_hz * np.arange(start, start + len(wide)) % 1)
    return np.asarray(2 * (wide * np.exp(-1j * angles)).reshape(-1, hop).mean(axis=1))


def _subtracted(
    samples: SampleSequence, beep: Beep, start: int, rate_hz: int
) -> tuple[int, Samples]:
    """Subtract a beep near the position `start`. Its edges are those with which the least energy
    remains.
    """
    margin = round(MARGIN_S * rate_hz)
    first = max(0, start - margin)
    wide = samples[first : start + beep.length + margin].astype(float)
    middle = slice(start - first + beep.length // 8, start - first + beep.length - beep.length // 8)
    phasor = _phasor(wide[middle], beep.hz, rate_hz, first + middle.start)
    sine = _sine(phasor, beep.hz, rate_hz, first, len(wide))
    gains = np.concatenate(([0], np.cumsum(sine * (2 * wide - sine))))
    half = len(wide) // 2
    begin = int(gains[:half].argmin())
    end = half + int(gains[half:].argmax())
    size = round(HOP_S * rate_hz)
    energy = abs(phasor) ** 2 / 2
    places = range(max(0, begin - FADE * size), min(end + FADE * size, len(wide)), size)
    edges = begin + FADE * size, end - FADE * size
    rest = wide - sine
    alone = [
        at
        for at in places
        if edges[0] <= at < edges[1] and _energy(rest[at : at + size]) <= NEARLY * energy
    ]
    # a part of the beep is before or after the speech, and shows its phase and amplitude better
    if alone:
        shown = np.concatenate([np.arange(at, at + size) for at in alone])
        angles = 2 * np.pi * beep.hz / rate_hz * np.arange(len(wide))
        waves = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        sine = waves @ np.linalg.lstsq(waves[shown], wide[shown], rcond=None)[0]
    wide[begin:end] -= sine[begin:end]
    quiet = _background(samples, first, first + len(wide), rate_hz)
    for at in places:
        part = slice(at, at + size)
        limit = FAINT * max(beep.rest, MIN_REST) if edges[0] <= at < edges[1] else FADED
        if _energy(wide[part]) <= energy * limit:
            wide[part] = quiet[part]
    return first, np.clip(np.rint(wide), -32_768, 32_767).astype(np.int16)


def _energy(wide: Floats) -> float:
    return float((wide**2).mean())


def _background(samples: SampleSequence, start: int, end: int, rate_hz: int) -> Samples:
    """Return the nearest `BACKGROUND_S` without a voice: at most `QUIET` times as loud as the
    quietest around.
    """
    size = round(BACKGROUND_S * rate_hz)
    around = (*range(start - 15 * size, start, size), *range(end, end + 15 * size, size))
    firsts = sorted(around, key=lambda at: abs(at - start))
    parts = [samples[at : at + size] for at in firsts if 0 <= at <= len(samples) - size]
    if not parts:
        return np.zeros(end - start, np.int16)
    energies = [_energy(part.astype(float)) for part in parts]
    limit = QUIET * max(1, min(energies))
    nearest = next(part for part, energy in zip(parts, energies, strict=True) if energy <= limit)
    return np.resize(nearest, end - start)


def _replaced(samples: SampleSequence, pieces: Sequence[tuple[int, Samples]]) -> Iterator[Samples]:
    for start in range(0, len(samples), BLOCK_SAMPLES):
        block = samples[start : start + BLOCK_SAMPLES].copy()
        for at, piece in pieces:
            first = max(at, start)
            last = min(at + len(piece), start + len(block))
            if first < last:
                block[first - start : last - start] = piece[first - at : last - at]
        yield block


WINDOW_S = 2.048
PART_S = 20
"""The duration of the parts in which a call is processed."""
MAX_DELAY_S = 0.6
"""The maximum delay of an echo. The recording of a telephony provider has the round trip to the
telephone."""
REACH_S = 0.064
"""The duration of the impulse response before and after its largest value."""
OWN_MS = 40
"""The duration of the blocks in which the near channel's own voice is searched."""
LOUDEST_ECHOES = (10 ** (30 / 10), 10 ** (-5 / 10), 10 ** (-25 / 10))
"""The maximum energy of an echo for each estimate of its path, relative to the far channel just
before it. Louder blocks are the near channel's own voice, and are left out."""
SIGNIFICANT = (25.0, 0.95), (8.0, 0.5)
"""The evidence of an echo: (minimum ratio of the largest value of an impulse response to its median
magnitude, maximum share of the energy that remains without the echo, in half of the blocks with a
loud echo).

The ratio increases with the length of the call, and finds an echo below noise. The share does not
depend on the length, and finds an echo that is louder than the noise, as each echo is that counts
as a sound. In 454 calls of real voices, of one to three turns and without an echo, the share was at
least 1.1 wherever the ratio was 8 or more."""
LOUD = 10 ** (-10 / 10)
"""The minimum energy of a block of the expected echo that is loud, relative to the loudest
block."""
AROUND_BLOCKS = 6
"""The number of blocks before and after a block whose expected echo also counts. Rooms and
codecs widen an echo."""
REMAINS = 0.5
"""The minimum ratio of the energy that remains to the energy of the expected echo, if the block
is a sound."""
QUIET_BLOCKS = 40
"""The number of blocks of the background that replaces an echo."""


# Echoes. A path is estimated three times, each time without the blocks in which the near channel is
# too loud to be an echo of a certain level (`LOUDEST_ECHOES`): own speech is noise for the
# estimate. The estimate that explains most is used (`_echo_path`). If each channel seems to have an
# echo of the other one, only the louder one counts.
class EchoPath(NamedTuple):
    """The path of an echo. `response` is its impulse response, which starts `delay` samples
    after the sound.
    """

    response: NDArray[np.float64]
    delay: int

    @property
    def level_db(self) -> float:
        """The level of the echo, relative to the far channel."""
        return float(10 * np.log10((self.response**2).sum()))


def echo_paths(
    near: SampleSequence, far: SampleSequence, rate_hz: int
) -> tuple[EchoPath | None, EchoPath | None]:
    """Return (path to near, path to far), None if inaudible. Two echoes of each other count as
    one.
    """
    to_near = _echo_path(near, far, rate_hz)
    to_far = _echo_path(far, near, rate_hz)
    if to_near is not None and to_far is not None:
        return (to_near, None) if to_near.level_db >= to_far.level_db else (None, to_far)
    return to_near, to_far


def _echo_path(near: SampleSequence, far: SampleSequence, rate_hz: int) -> EchoPath | None:
    """Return the path by which the far channel is audible in the near channel; None if it is not
    audible.
    """
    best = None
    least = np.inf
    for response in _responses(near, far, rate_hz):
        magnitudes = np.abs(response)
        peak = int(magnitudes.argmax())
        usual = float(np.median(magnitudes))
        if magnitudes[peak] <= SIGNIFICANT[-1][0] * usual:
            continue
        reach = round(REACH_S * rate_hz)
        first = max(0, peak - reach)
        kept = response[first : peak + reach].copy()
        kept[np.abs(kept) < 4 * usual] = 0.0
        path = EchoPath(kept, first)
        energies = _energies(near, far, rate_hz, path)
        if energies.peak < AUDIBLE:
            continue
        share = _unexplained(energies)
        is_echo = any(
            magnitudes[peak] > ratio * usual and share < limit for ratio, limit in SIGNIFICANT
        )
        if is_echo and share < least:
            best = path
            least = share
    return best


def _responses(
    near: SampleSequence, far: SampleSequence, rate_hz: int
) -> Iterator[NDArray[np.float64]]:
    """Yield an estimate of the impulse response from far to near for each of `LOUDEST_ECHOES`
    (Wiener filter).
    """
    size = round(WINDOW_S * rate_hz)
    taper = np.hanning(size)
    block = rate_hz * OWN_MS // 1_000
    energies = mean_squares(near, block)
    reach = round((MAX_DELAY_S + REACH_S) * 1_000 / OWN_MS)
    heard = maximum_filter1d(
        mean_squares(far, block), reach + 1, mode="constant", origin=reach // 2
    )
    # the last block is incomplete
    own = [np.append(energies > loudest * heard, True) for loudest in LOUDEST_ECHOES]
    cross = np.zeros((len(own), size // 2 + 1), np.complex128)
    power = np.zeros(size // 2 + 1)
    for start in range(0, len(far) - size + 1, size // 2):
        far_spectrum = np.fft.rfft(far[start : start + size] * taper)
        power += np.abs(far_spectrum) ** 2
        tapered = near[start : start + size] * taper
        spectrum = np.fft.rfft(tapered)
        first = start // block
        last = (start + size - 1) // block + 1
        for sums, voice in zip(cross, own, strict=True):
            if not voice[first:last].any():
                sums += spectrum * far_spectrum.conj()
            elif not voice[first:last].all():
                silent = np.repeat(voice[first:last], block)[start - first * block :][:size]
                sums += np.fft.rfft(np.where(silent, 0.0, tapered)) * far_spectrum.conj()
    if power.any():
        for sums in cross:
            yield np.fft.irfft(sums / (power + power.mean() * 1e-3), size)[
                : round(MAX_DELAY_S * rate_hz)
            ]


class _Energies(NamedTuple):
    """The mean energies of the blocks of the near channel, of the expected echo, and of the channel
    without it.

    `peak` is the largest amplitude of the expected echo.
    """

    near: NDArray[np.float64]
    expected: NDArray[np.float64]
    cleaned: NDArray[np.float64]
    peak: float

    @property
    def left(self) -> NDArray[np.float64]:
        """The energies of the blocks of which the echo is subtracted, unless a block is quieter
        with it.
        """
        return np.minimum(self.near, self.cleaned)


def _energies(near: SampleSequence, far: SampleSequence, rate_hz: int, path: EchoPath) -> _Energies:
    size = rate_hz * BLOCK_MS // 1_000
    peak = 0.0
    parts = list[list[NDArray[np.float64]]]()
    for start in range(0, len(near) - size + 1, PART_S * rate_hz):
        stop = min(start + PART_S * rate_hz, len(near) // size * size)
        samples = near[start:stop].astype(float)
        expected = _expected(far, path, start, stop)
        peak = max(peak, float(np.abs(expected).max()))
        signals = (samples, expected, samples - expected)
        parts.append([(signal.reshape(-1, size) ** 2).mean(axis=1) for signal in signals])
    before, echo, after = map(np.concatenate, zip(*parts, strict=True))
    return _Energies(before, echo, after, peak)


def _unexplained(energies: _Energies) -> float:
    """Return the share of the energy that remains without the expected echo, in half of the
    blocks where it is loud.
    """
    expected = energies.expected
    if not expected.any():  # the echo of the last sound would be after the end
        return np.inf
    loud = expected >= LOUD * expected.max()
    return float(
        np.median(energies.cleaned[loud] / np.maximum(energies.near[loud], SILENCE_ENERGY))
    )


def _expected(far: SampleSequence, path: EchoPath, start: int, stop: int) -> NDArray[np.float64]:
    """Return the far channel, convolved with the response of the path (overlap-save).

    `scipy.signal` has this function, but its import takes a second.
    """
    count, length = stop - start, len(path.response)
    needed = count + length - 1
    source = far[max(0, stop - path.delay - needed) : max(0, stop - path.delay)].astype(float)
    size = 8 << (length - 1).bit_length()
    padded = np.pad(source, (needed - len(source), size))
    step = size - length + 1
    windows = sliding_window_view(padded, size)[:count:step]
    products = np.fft.rfft(windows) * np.fft.rfft(path.response, size)
    expected: NDArray[np.float64] = np.fft.irfft(products, size)[:, length - 1 :].ravel()[:count]
    return expected


def without_echo(
    near: SampleSequence, far: SampleSequence, rate_hz: int, path: EchoPath
) -> Iterator[Samples]:
    """Yield the near channel without the echo of the far channel, in parts. No block becomes
    louder.
    """
    energies = _energies(near, far, rate_hz, path)
    size = rate_hz * BLOCK_MS // 1_000
    is_quieter = energies.cleaned < energies.near

    def cleaned(start: int, stop: int) -> Samples:
        samples = near[start:stop].astype(np.float64)
        first = start // size
        subtracted = is_quieter[first : first + len(samples) // size]
        echo = _expected(far, path, start, stop)[: len(subtracted) * size].reshape(-1, size)
        samples[: echo.size] -= np.where(subtracted[:, np.newaxis], echo, 0.0).ravel()
        return np.clip(np.rint(samples), -32_768, 32_767).astype(np.int16)

    # the largest energy around
    expected = maximum_filter1d(energies.expected, 2 * AROUND_BLOCKS + 1, mode="constant")
    is_echo = energies.cleaned < REMAINS * expected
    quietest = _quietest(energies.left, ~is_echo | (energies.left <= SILENCE_ENERGY))
    background = np.zeros(QUIET_BLOCKS * size, np.int16)
    levels = np.zeros(QUIET_BLOCKS)
    if quietest is not None:
        blocks = slice(quietest, quietest + QUIET_BLOCKS)
        background = cleaned(blocks.start * size, blocks.stop * size)
        levels = energies.left[blocks]
    for start in range(0, len(near), PART_S * rate_hz):
        part = cleaned(start, min(start + PART_S * rate_hz, len(near)))
        first = start // size
        for block in np.flatnonzero(is_echo[first : first + len(part) // size]):
            other = (first + block) % QUIET_BLOCKS
            if levels[other] <= energies.near[first + block]:
                part[block * size : (block + 1) * size] = background[
                    other * size : (other + 1) * size
                ]
        yield part


def _quietest(energies: NDArray[np.float64], usable: NDArray[np.bool_]) -> int | None:
    """Return the first block of the quietest `QUIET_BLOCKS` in which no echo is expected; None
    if there are none.
    """
    starts = range(0, len(usable) - QUIET_BLOCKS, QUIET_BLOCKS // 2)
    quiet = (start for start in starts if usable[start : start + QUIET_BLOCKS].all())
    return min(
        quiet, key=lambda start: float(energies[start : start + QUIET_BLOCKS].sum()), default=None
    )
