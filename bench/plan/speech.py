"""Where speech begins and ends in a recording, found once and offline, by energy relative to the recording itself.

Energy is that of windows of 20 ms, one every millisecond. The level of speech is the RMS of the loudest 5 % of the
windows that sound, so it does not depend on how much silence surrounds them; what is within 35 dB of it is speech.
The two edges are then found to the sample. No files, no wire.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WINDOW_MS = 20
DEPTH = 10 ** (35 / 10)
"""35 dB, as a ratio of energies."""
LOUDEST_SHARE = 0.05
CLICK_MS = 40
"""What sounds more briefly than this, with nothing else within FAR_MS, is a click and no speech."""
FAR_MS = 300
PAUSE_MS = 100
PAUSE_DEPTH = 10 ** (20 / 10)
"""A pause lies so far under the level of speech, 20 dB: what a detector may hear as silence."""

Windows = NDArray[np.intp]
"""Numbers of windows, ascending. Window n ends with millisecond n of the recording; the first ones begin before it."""


@dataclass(frozen=True)
class Speech:
    """Where speech is, in samples: `begin` is the first of it, `end` the one after its last."""

    begin: int
    end: int


def find_speech(samples: NDArray[np.int16], rate_hz: int) -> Speech:
    """The speech of a recording of one channel, from its first sound to its last, pauses included.

    Speech that comes within 1 ms of the recording's edge reaches it. A silent recording is taken for speech as a whole.
    """
    per_ms = rate_hz // 1_000
    power = samples.astype(np.float64) ** 2
    energies = _window_energies(power, per_ms)
    if not energies.any():
        return Speech(0, len(samples))
    floor = _level(energies[_sounding(energies, energies.max() / DEPTH)]) / DEPTH
    windows = _sounding(energies, floor)
    loud = np.flatnonzero(power >= floor)  # every window that sounds holds at least one
    begin = loud[np.searchsorted(loud, (windows[0] + 1 - WINDOW_MS) * per_ms)]
    end = loud[np.searchsorted(loud, (windows[-1] + 1) * per_ms) - 1] + 1
    return Speech(
        begin=0 if begin < per_ms else int(begin),
        end=len(samples) if end > len(samples) - per_ms else int(end),
    )


def last_stretch(samples: NDArray[np.int16], speech: Speech, rate_hz: int) -> Speech:
    """The end of some speech, from its last pause of 100 ms or more on; all of it where there is none."""
    per_ms = rate_hz // 1_000
    energies = _window_energies(samples[speech.begin : speech.end].astype(np.float64) ** 2, per_ms)
    loud = np.flatnonzero(energies >= _level(energies) / PAUSE_DEPTH)
    pauses = np.flatnonzero(np.diff(loud) > PAUSE_MS - WINDOW_MS)
    if not pauses.size:
        return speech
    return Speech(min(speech.begin + int(loud[pauses[-1] + 1]) * per_ms, speech.end - 1), speech.end)


def _window_energies(power: NDArray[np.float64], per_ms: int) -> NDArray[np.float64]:
    """The mean square of each window, by its number; outside of the recording is silence."""
    whole = np.append(power, np.zeros(-len(power) % per_ms))
    each_ms = whole.reshape(-1, per_ms).mean(axis=1)
    return np.convolve(each_ms, np.full(WINDOW_MS, 1 / WINDOW_MS))


def _level(energies: NDArray[np.float64]) -> float:
    """The mean energy of the loudest windows."""
    count = max(1, round(len(energies) * LOUDEST_SHARE))
    return float(np.sort(energies)[-count:].mean())


def _sounding(energies: NDArray[np.float64], floor: float) -> Windows:
    """The windows of at least this energy, without clicks; with them where there is nothing else."""
    windows = np.flatnonzero(energies >= floor)
    bursts = np.split(windows, np.flatnonzero(np.diff(windows) > FAR_MS - WINDOW_MS) + 1)
    longer = [burst for burst in bursts if len(burst) >= CLICK_MS + WINDOW_MS]
    return np.concatenate(longer) if longer else windows
