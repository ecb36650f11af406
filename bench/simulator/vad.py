"""Finds where speech begins and ends in audio that comes in: by energy, in frames of 10 ms. Pure.

A frame is active where its level (RMS over the frame, in dB below full scale) reaches that of the threshold, which goes
from −62 dBFS at 0 to −22 dBFS at 1; so 0.5, the service's default, stands for −42 dBFS. Speech begins with the first of
three active frames in a row. It has ended once `silence_ms` of frames came after the last active one.

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

    def __init__(self) -> None:
        self.heard = 0  # frames, ever
        self.reset()

    def reset(self) -> None:
        """Forget the speech that is under way; the count of frames goes on."""
        self._speaking = False
        self._run = 0  # active frames in a row
        self._last = 0  # the last active frame

    def feed(self, active: Iterable[bool]) -> Iterator[SpeechChange]:
        """The changes in further frames, each at its frame: what is set after one counts for the frames behind it."""
        for loud in active:
            self.heard += 1
            if loud:
                self._run += 1
                self._last = self.heard - 1
                if self._run == ONSET_FRAMES and not self._speaking:
                    self._speaking = True
                    yield SpeechChange(True, self.heard - ONSET_FRAMES, self.heard)
            else:
                self._run = 0
                if self._speaking and (self.heard - 1 - self._last) * FRAME_MS >= self.silence_ms:
                    self._speaking = False
                    yield SpeechChange(False, self._last, self.heard)
