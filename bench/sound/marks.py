"""The mark of a call: two quiet tones in the caller's speech, by which its audio is recognized when
it comes back. Pure.

The tones lie above most of the energy of a voice, and pass through a telephone line. They are
searched in windows that separate neighbouring tones, also if packets of a window are lost. A tone
counts by the logarithm of its power relative to the median of its neighbourhood. A mark is heard if
both tones have a mean of `FOUND` in a segment of windows.
"""

# A voice seldom has energy at one frequency for a second. Two marks share no tone, so the tones of
# two mixed calls are no third mark. In quiet audio, a codec adds combinations of the tones, which
# are as far apart as tones are; so a tone counts only near the level of the strongest one.
#
# Among recorded voices without a mark, the highest mean is 1.4. With one, the lowest is 2.7, after
# each codec and with 5 % loss, if the speech lasts a second.

from functools import cache

import numpy as np
from numpy.typing import NDArray

from bench.wire.audio import AudioFormat, Samples, SampleStream

COUNT = 61
"""The number of marks, which are counted from 1."""
FIRST_HZ, STEP_HZ = 2_040, 10
"""The lowest tone, and the distance of two tones."""
LEVEL_DB = -22.0
"""The level of each tone: of its amplitude, relative to the RMS of the speech."""
WINDOW_MS, HOP_MS, SEGMENT = 400, 200, 5
"""The duration of a window, the time between two, and the number of windows of a segment."""
FOUND, MAX_UNDER = 2.0, 4.0
"""The mean from which on a tone is heard, and the maximum by which its background is assumed to be
below the strongest tone. Both are logarithms of powers."""
BLOCKS = 8
"""The number of neighbourhoods of the tones."""
FIRST, SECOND = np.arange(COUNT), COUNT + np.arange(COUNT) * 23 % COUNT
"""The tones of each mark, in another order."""


def marked(speech: NDArray[np.float32], mark: int, rate_hz: int) -> NDArray[np.float32]:
    """Return speech with a mark."""
    level = np.sqrt(np.mean(speech.astype(float) ** 2)) * 10 ** (LEVEL_DB / 20)
    at_s = np.arange(len(speech)) / rate_hz
    tones = FIRST_HZ + STEP_HZ * np.array([[FIRST[mark - 1]], [SECOND[mark - 1]]])
    return np.asarray(speech + level * np.sin(2 * np.pi * tones * at_s).sum(axis=0), np.float32)


class MarkDetector:
    """The marks in the audio that the caller with the mark `own` hears."""

    def __init__(self, own: int, audio: AudioFormat) -> None:
        self.own = own
        self._stream = SampleStream(audio)
        self._size = audio.rate_hz * WINDOW_MS // 1_000
        self._rest: Samples = np.zeros(0, np.int16)
        self._last = np.zeros((SEGMENT, 2 * COUNT))
        self._heard = set[int]()

    @property
    def is_crossed(self) -> bool | None:
        """Whether the mark of another call was heard; None if no mark was."""
        return bool(self._heard - {self.own}) if self._heard else None

    def add(self, data: bytes) -> None:
        """Search the next audio."""
        samples = np.concatenate((self._rest, self._stream.samples(data)))
        while len(samples) >= self._size:
            self._search(samples[: self._size])
            samples = samples[self._size * HOP_MS // WINDOW_MS :]
        self._rest = samples

    def _search(self, window: Samples) -> None:
        step = STEP_HZ * WINDOW_MS // 1_000
        start = FIRST_HZ * WINDOW_MS // 1_000
        spectrum = np.fft.rfft(window * _taper(self._size))[start : start + 2 * COUNT * step]
        powers = spectrum.real**2 + spectrum.imag**2 + 1
        tones = powers[::step]
        behind = np.median(powers.reshape(BLOCKS, -1), axis=1).repeat(len(powers) // BLOCKS)[::step]
        behind = np.maximum(behind, tones.max() / np.exp(MAX_UNDER))
        self._last = np.vstack((self._last[1:], np.log(tones / behind)))
        means = self._last.mean(axis=0)
        found = np.flatnonzero(np.minimum(means[FIRST], means[SECOND]) >= FOUND) + 1
        self._heard.update(found.tolist())


@cache
def _taper(points: int) -> NDArray[np.float64]:
    return np.hanning(points)
