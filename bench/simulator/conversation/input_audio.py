"""Keeps the session's stream of input audio: what was ever appended, what of it waits for a commit, where speech is.

Speech is found by energy, in frames of 10 ms. A frame is active where its level (RMS over the frame, in dB below full
scale) reaches that of the threshold, which goes from −62 dBFS at 0 to −22 dBFS at 1; so 0.5, the service's default,
stands for −42 dBFS. Speech begins with the first of three active frames in a row, and is told of once it has lasted for
`least_ms`, shorter pauses included: what is over before that was none. It has ended once `silence_ms` of frames came
after the last active one. Only frames are counted, no clock: a silence that is never sent is never heard, and the same
audio gives the same places however it was cut on its way. Pure.

Bytes are read in the format of the moment they came in, so the session's audio clock counts ticks that are whole for
a byte of every format: 96 a millisecond.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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


TICKS_PER_MS = 96


def ticks_per_byte(format: AudioFormat) -> int:
    return TICKS_PER_MS * 1000 // format.bytes_per_s


class StreamPlace(NamedTuple):
    """A place in the stream: bytes, and ticks of the audio clock, from the session's beginning."""

    byte: int
    tick: int

    def after(self, size: int, format: AudioFormat) -> StreamPlace:
        return StreamPlace(self.byte + size, self.tick + size * ticks_per_byte(format))


class SpeechEdge(NamedTuple):
    """Speech began or ended in what was just appended.

    `byte` is the first byte of its first active frame, or the one after its last. On the audio clock, `begin_ms` is
    where it began, and `heard_ms` how far the audio had been heard when that showed: at an end, behind the silence.
    """

    began: bool
    byte: int
    begin_ms: int
    heard_ms: int


class _Stretch(NamedTuple):
    """Frames of one format that follow one another without a gap, from number `frame` on, which lies at `place`."""

    frame: int
    place: StreamPlace
    format: AudioFormat

    @property
    def frame_bytes(self) -> int:
        return self.format.bytes_per_s * FRAME_MS // 1000

    def place_of(self, frame: int) -> StreamPlace:
        return self.place.after((frame - self.frame) * self.frame_bytes, self.format)


class InputAudio:
    def __init__(self, min_speech_ms: int = 0) -> None:
        self.end = StreamPlace(0, 0)
        self._buffer_begin = self._heard = self.end  # up to where it was heard when speech last began or ended
        self._begin_ms = 0  # of the speech under way
        self._detector = Detector(min_speech_ms)
        self._stretches: list[_Stretch] = []
        self._rest = b""  # less than a frame, that waits for the next append

    @property
    def buffered_ms(self) -> float:
        return (self.end.tick - self._buffer_begin.tick) / TICKS_PER_MS

    @property
    def clock_ms(self) -> int:
        return self.end.tick // TICKS_PER_MS

    def set_silence(self, silence_ms: float) -> None:
        """How much silence ends speech, from the next frame on."""
        self._detector.silence_ms = silence_ms

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
        if not self._stretches or self._stretches[-1].format is not heard.format:
            self._stretches.append(_Stretch(self._detector.heard, before, heard.format))
            self._rest = b""
        waiting, frame_bytes = self._rest + audio, self._stretches[-1].frame_bytes
        whole = len(waiting) // frame_bytes * frame_bytes
        frames, self._rest = waiting[:whole], waiting[whole:]
        if frames:
            samples, frame_samples = heard.format.decode(frames), heard.format.rate_hz * FRAME_MS // 1000
            active = active_frames(samples, frame_samples, heard.detection.threshold)
            yield from map(self._speech, self._detector.feed(active))

    def _forget(self) -> None:
        self._detector.reset()
        self._stretches.clear()
        self._rest = b""

    def _speech(self, change: SpeechChange) -> SpeechEdge:
        stretch = next(stretch for stretch in reversed(self._stretches) if stretch.frame <= change.frame)
        place = stretch.place_of(change.frame if change.began else change.frame + 1)
        self._heard = self._stretches[-1].place_of(change.heard)
        if change.began:
            self._begin_ms = place.tick // TICKS_PER_MS
        return SpeechEdge(change.began, place.byte, self._begin_ms, self._heard.tick // TICKS_PER_MS)
