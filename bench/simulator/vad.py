"""Finds where speech begins and ends in audio that comes in: by energy, in frames of 10 ms. Pure.

A frame is active where its level (RMS over the frame, in dB below full scale) reaches that of the threshold, which goes
from −62 dBFS at 0 to −22 dBFS at 1; so 0.5, the service's default, stands for −42 dBFS. Speech begins with the first of
three active frames in a row, and is told of once it has lasted for `least_ms`, shorter pauses included: what is over
before that was none. It has ended once `silence_ms` of frames came after the last active one.

Only frames are counted, no clock: a silence that is never sent is never heard, and the same audio gives the same
places however it was cut on its way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from bench.protocol.audio import Samples

FRAME_MS = 10
ONSET_FRAMES = 3
SOUND_GAP_MS = 200  # so long a silence ends what has not lasted long enough to be speech
QUIETEST_DBFS, DBFS_PER_THRESHOLD = -62.0, 40.0
FULL_SCALE = 32_768


def level_dbfs(threshold: float) -> float:
    """The level that a frame must reach to be active, for a threshold of 0 to 1."""
    return QUIETEST_DBFS + DBFS_PER_THRESHOLD * threshold


def active_frames(samples: Samples, frame_samples: int, threshold: float) -> list[bool]:
    """Whether each frame is active; `samples` are whole frames."""
    frames = samples.reshape(-1, frame_samples).astype(np.float64)
    energy = np.vecdot(frames, frames)  # sums of whole numbers below 2**53, so exact whatever their order
    wanted = frame_samples * (FULL_SCALE * 10 ** (level_dbfs(threshold) / 20)) ** 2
    flags: list[bool] = (energy >= wanted).tolist()
    return flags


class SpeechChange(NamedTuple):
    """Speech began or ended. `frame`: its first active frame, or its last; `heard`: how many frames told so."""

    began: bool
    frame: int
    heard: int


class Detector:
    """Follows one stream of frames; `silence_ms` is the silence that ends speech, and may be set at any time."""

    silence_ms = 0.0

    def __init__(self, least_ms: int = 0) -> None:
        self._least_ms = least_ms
        self.heard = 0  # frames, ever
        self.reset()

    def reset(self) -> None:
        """Forget the speech that is under way; the count of frames goes on."""
        self._speaking = False
        self._begin: int | None = None  # of what is speech, or may become it
        self._run = 0  # active frames in a row
        self._last = 0  # the last active frame

    def feed(self, active: Iterable[bool]) -> Iterator[SpeechChange]:
        """The changes in further frames, each at its frame: what is set after one counts for the frames behind it."""
        for loud in active:
            self.heard += 1
            if loud:
                self._run += 1
                self._last = self.heard - 1
                if not self._speaking and self._has_lasted():
                    self._speaking = True
                    yield SpeechChange(True, self._begin or 0, self.heard)
            else:
                self._run = 0
                silence_ms = (self.heard - 1 - self._last) * FRAME_MS
                if self._speaking and silence_ms >= self.silence_ms:
                    self._speaking, self._begin = False, None
                    yield SpeechChange(False, self._last, self.heard)
                elif not self._speaking and silence_ms >= SOUND_GAP_MS:
                    self._begin = None

    def _has_lasted(self) -> bool:
        """Whether the sound that goes on in this frame is speech by now."""
        if self._begin is None and self._run == ONSET_FRAMES:
            self._begin = self.heard - ONSET_FRAMES
        return self._begin is not None and (self.heard - self._begin) * FRAME_MS >= self._least_ms
