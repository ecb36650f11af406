"""Keeps the session's stream of input audio: what was ever appended, what of it waits for a commit, where speech is.

Speech is found by energy, in frames of 10 ms. A frame is active where its level (RMS over the frame, in dB below full
scale) reaches that of the threshold, which goes from −62 dBFS at 0 to −22 dBFS at 1; so 0.5, the service's default,
stands for −42 dBFS. Speech begins with the first of three active frames in a row, and is told of once it has lasted for
`min_speech_ms`, shorter pauses included: what is over before that was none. It has ended once `silence_ms` of frames
came after the last active one. Only frames are counted, no clock: a silence that is never sent is never heard, and the
same audio gives the same places however it was cut on its way. Pure.

Bytes are read in the format of the moment they came in, so the session's audio clock counts ticks that are whole for
a byte of every format: 96 a millisecond.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bench.protocol.audio import AudioFormat, Samples
from bench.simulator.session.effective import InputSettings

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


TICKS_PER_MS = 96


class StreamPosition(NamedTuple):
    """A place in the stream: bytes, and ticks of the audio clock, from the session's beginning."""

    byte: int
    tick: int

    def after(self, size: int, format: AudioFormat) -> StreamPosition:
        return StreamPosition(self.byte + size, self.tick + size * (TICKS_PER_MS * 1000 // format.bytes_per_s))


class SpeechEdge(NamedTuple):
    """Speech began or ended in what was just appended.

    `byte` is the first byte of its first active frame, or the one after its last. On the audio clock, `begin_ms` is
    where it began, and `heard_ms` how far the audio had been heard when that showed: at an end, behind the silence.
    """

    began: bool
    byte: int
    begin_ms: int
    heard_ms: int


class InputAudio:
    """`silence_ms` is the silence that ends speech; a change counts from the next frame on."""

    silence_ms = 0.0
    _format: AudioFormat | None  # that of the last frame
    _begin: StreamPosition | None  # of what is speech, or may become it

    def __init__(self, min_speech_ms: int = 0) -> None:
        self._min_speech_ms = min_speech_ms
        self.end = StreamPosition(0, 0)
        self._buffer_begin = self._heard = self.end  # up to where it was heard when speech last began or ended
        self._forget()

    @property
    def buffered_ms(self) -> float:
        return (self.end.tick - self._buffer_begin.tick) / TICKS_PER_MS

    @property
    def clock_ms(self) -> int:
        return self.end.tick // TICKS_PER_MS

    def empty(self) -> None:
        """Forget the audio that waits for a commit, and speech that is under way."""
        self._buffer_begin = self.end
        self._forget()

    def take_heard(self) -> None:
        """What was heard up to the last end of speech does not wait for a commit any more."""
        self._buffer_begin = self._heard

    def append(self, audio: bytes, heard: InputSettings) -> Iterator[SpeechEdge]:
        """Take `audio` in; where turns are detected, what is heard in it, step by step."""
        before, self.end = self.end, self.end.after(len(audio), heard.format)
        if heard.detection is None:
            self._forget()
            return
        if self._format is not heard.format:
            self._format, self._rest, self._frame_end = heard.format, b"", before
        waiting, frame_samples = self._rest + audio, heard.format.rate_hz * FRAME_MS // 1000
        frame_bytes = heard.format.bytes_per_s * FRAME_MS // 1000
        whole = len(waiting) // frame_bytes * frame_bytes
        self._rest = waiting[whole:]
        samples = heard.format.decode(waiting[:whole])
        for active in active_frames(samples, frame_samples, heard.detection.threshold):
            frame, self._frame_end = self._frame_end, self._frame_end.after(frame_bytes, heard.format)
            edge = self._active_edge(frame) if active else self._quiet_edge()
            if edge:
                self._heard = self._frame_end
                yield edge

    def _forget(self) -> None:
        self._format = self._begin = None
        self._rest = b""  # less than a frame, that waits for the next append
        self._frame_end = self._run_begin = self._active_end = self.end
        self._run = self._quiet = 0  # active frames in a row, and others
        self._frames = 0  # since then
        self._speaking = False

    def _active_edge(self, frame: StreamPosition) -> SpeechEdge | None:
        """Whether speech begins with an active frame."""
        self._run += 1
        self._frames += 1
        self._run_begin = frame if self._run == 1 else self._run_begin
        self._quiet, self._active_end = 0, self._frame_end
        if self._begin is None and self._run == ONSET_FRAMES:
            self._begin, self._frames = self._run_begin, ONSET_FRAMES
        if self._speaking or self._begin is None or self._frames * FRAME_MS < self._min_speech_ms:
            return None
        self._speaking = True
        return self._edge(True, self._begin, self._begin)

    def _quiet_edge(self) -> SpeechEdge | None:
        """Whether speech ends with a frame that is not active."""
        self._run = 0
        self._quiet += 1
        self._frames += 1
        begin, was_speaking = self._begin, self._speaking
        if begin is None or self._quiet * FRAME_MS < (self.silence_ms if was_speaking else SOUND_GAP_MS):
            return None
        self._speaking, self._begin = False, None
        return self._edge(False, self._active_end, begin) if was_speaking else None

    def _edge(self, began: bool, place: StreamPosition, begin: StreamPosition) -> SpeechEdge:
        heard_ms = self._frame_end.tick // TICKS_PER_MS
        return SpeechEdge(began, place.byte, begin.tick // TICKS_PER_MS, heard_ms)
