"""The session's stream of input audio: all appended audio, the buffer that is not committed yet,
and the speech in it.

Speech is detected by energy, in frames of 10 ms. A frame is active if its level (RMS over the
frame, in dB below full scale) reaches the level of the threshold. That level is −62 dBFS for the
threshold 0, −42 dBFS for 0.5 (the service's default), and −22 dBFS for 1. Speech begins with the
first of three consecutive active frames. It is reported when it has lasted `min_speech_ms`,
including short pauses. A sound that ends earlier is not speech. Speech ends when `silence_ms` of
frames follow its last active frame. Only frames are counted, not time. So silence that is not sent
is not detected, and the same audio gives the same positions, however it is split into messages.
Pure.

Bytes are decoded in the format that is set when they arrive, and the format may change. So the unit
of the session's audio clock is a tick. The duration of a byte of every format is a whole number of
ticks, with 96 ticks per millisecond.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from bench.wire.audio import AudioFormat, Samples
from rtbench_simulator.session.effective import InputSettings

FRAME_MS = 10
ONSET_FRAMES = 3
SOUND_GAP_MS = 200  # silence that ends a sound which is too short to be speech
# The scale of the threshold is an assumption: the services document its range, and no levels.
QUIETEST_DBFS = -62.0
DBFS_PER_THRESHOLD = 40.0
FULL_SCALE = 32_768


def level_dbfs(threshold: float) -> float:
    """Return the lowest level of an active frame in dBFS, for a threshold from 0 to 1."""
    return QUIETEST_DBFS + DBFS_PER_THRESHOLD * threshold


def active_frames(samples: Samples, frame_samples: int, threshold: float) -> list[bool]:
    """Return, for each frame, whether it is active. `samples` has only complete frames."""
    frames = samples.reshape(-1, frame_samples).astype(float)
    # the sums are of integers below 2**53, so they are exact in any order
    energy = np.vecdot(frames, frames)
    flags: list[bool] = (energy >= _min_energy(frame_samples, threshold)).tolist()
    return flags


@lru_cache
def _min_energy(frame_samples: int, threshold: float) -> float:
    return float(frame_samples * (FULL_SCALE * 10 ** (level_dbfs(threshold) / 20)) ** 2)


TICKS_PER_MS = 96


class StreamPosition(NamedTuple):
    """A position in the stream, from the start of the session: bytes, and ticks of the audio
    clock.
    """

    byte: int
    tick: int

    def after(self, size: int, format: AudioFormat) -> StreamPosition:
        return StreamPosition(
            self.byte + size, self.tick + size * (TICKS_PER_MS * 1000 // format.bytes_per_s)
        )


class SpeechEdge(NamedTuple):
    """The start or the end of speech in the audio that was just appended.

    `byte` is the first byte of the speech's first active frame, or the byte after its last active
    frame. `begin_ms`, `end_ms` and `heard_ms` are on the audio clock. `begin_ms` is the start of
    the speech, and `end_ms` the end of its last active frame so far. `heard_ms` is the end of the
    frame in which the edge was detected; the end of speech is detected after the silence.
    `is_cut_in` is True if the speech goes on, because the service has ended it.
    """

    began: bool
    byte: int
    begin_ms: int
    end_ms: int
    heard_ms: int
    is_cut_in: bool = False


# The frames pass four states:
#
# silence ──ONSET_FRAMES active──▶ sound ──min_speech_ms──▶ speech ──silence_ms──▶ silence
#                                   └──SOUND_GAP_MS without an active frame──▶ silence, ignored
#
# `_begin` is None in silence, and `_speaking` is True in speech. A frame may span two appends, so
# the rest of an append waits in `_rest`; it has the format in which it arrived, and is dropped if
# that changes.
class InputAudio:
    """The input audio of one session.

    `silence_ms` is the silence that ends speech. `cut_in_ms` is the duration after which the
    service ends speech that goes on; None if it does not. A change of both applies to the next
    frame. `min_speech_ms` is the duration from which a sound is speech. A change applies to the
    next sound. `sounds` counts the sounds that have begun.
    """

    silence_ms = 0.0
    cut_in_ms: float | None = None
    _format: AudioFormat | None  # of the last frame
    _begin: StreamPosition | None  # of speech, or of a sound that may become speech

    def __init__(self, min_speech_ms: int = 0) -> None:
        self.min_speech_ms = self._min_ms = min_speech_ms  # of the next sound, of the current sound
        self.sounds = 0
        self._ignored: list[int] = []
        self.end = StreamPosition(0, 0)
        # position of detection at the last start or end of speech
        self._buffer_begin = self._received_bytes = self.end
        self._forget()

    @property
    def buffered_ms(self) -> float:
        return (self.end.tick - self._buffer_begin.tick) / TICKS_PER_MS

    @property
    def clock_ms(self) -> int:
        return self.end.tick // TICKS_PER_MS

    def empty(self) -> None:
        """Discard the audio that is not committed. Also forget speech that has not ended."""
        self._buffer_begin = self.end
        self._forget()

    def take_ignored(self) -> Sequence[int]:
        """Return the `min_speech_ms` of each sound that has ended as no speech, since the last
        call.
        """
        if not self._ignored:
            return ()
        ignored = self._ignored
        self._ignored = []
        return ignored

    def mark_committed(self) -> None:
        """Remove the audio up to the last end of speech from the buffer, because it was
        committed.
        """
        self._buffer_begin = self._received_bytes

    def append(self, audio: bytes, settings: InputSettings) -> Iterator[SpeechEdge]:
        """Append `audio`. If turn detection is on, yield the starts and ends of speech in the
        audio.
        """
        before = self.end
        self.end = self.end.after(len(audio), settings.format)
        if settings.detection is None:
            self._forget()
            return
        if self._format is not settings.format:
            self._format = settings.format
            self._rest = b""
            self._frame_end = before
        buffered = self._rest + audio
        frame_samples = settings.format.rate_hz * FRAME_MS // 1000
        frame_bytes = settings.format.bytes_per_s * FRAME_MS // 1000
        complete_bytes = len(buffered) // frame_bytes * frame_bytes
        self._rest = buffered[complete_bytes:]
        samples = settings.format.decode(buffered[:complete_bytes])
        flags = active_frames(samples, frame_samples, settings.detection.threshold)
        if flags and self._begin is None and True not in flags:  # for speed
            self._run = 0
            self._quiet += len(flags)
            self._frames += len(flags)
            self._frame_end = self._frame_end.after(complete_bytes, settings.format)
            return
        for active in flags:
            frame = self._frame_end
            self._frame_end = StreamPosition(
                frame.byte + frame_bytes, frame.tick + FRAME_MS * TICKS_PER_MS
            )
            speech = self._active_edge(frame) if active else self._end_edge()
            if speech:
                self._received_bytes = self._frame_end
                yield speech

    def _forget(self) -> None:
        self._format = self._begin = None
        self._rest = b""  # less than a frame, for the next append
        self._frame_end = self._run_begin = self._active_end = self.end
        self._run = self._quiet = 0  # consecutive active and inactive frames
        self._frames = 0  # since `_begin`
        self._speaking = False

    def _active_edge(self, frame: StreamPosition) -> SpeechEdge | None:
        """Count an active frame. Return the start of speech if it is detected now."""
        self._run += 1
        self._frames += 1
        self._run_begin = frame if self._run == 1 else self._run_begin
        self._quiet = 0
        self._active_end = self._frame_end
        if self._begin is None and self._run == ONSET_FRAMES:
            self._begin = self._run_begin
            self._frames = ONSET_FRAMES
            self.sounds = self.sounds + 1
            self._min_ms = self.min_speech_ms
        if self._begin is None:
            return None
        if self._speaking:
            return self._cut_in(self._begin)
        if self._frames * FRAME_MS < self._min_ms:
            return None
        self._speaking = True
        return self._edge(True, self._begin, self._begin)

    def _cut_in(self, start: StreamPosition) -> SpeechEdge | None:
        """Return the end of speech that goes on, if the service ends it now. The rest is a new
        sound.
        """
        if self.cut_in_ms is None or self._frames * FRAME_MS < self.cut_in_ms:
            return None
        self.cut_in_ms = None
        self._speaking = False
        self._begin = None
        self._run = 0
        return self._edge(False, self._active_end, start)._replace(is_cut_in=True)

    def _end_edge(self) -> SpeechEdge | None:
        """Count an inactive frame. Return the end of speech if it is detected now."""
        self._run = 0
        self._quiet += 1
        self._frames += 1
        start = self._begin
        was_speaking = self._speaking
        if start is None or self._quiet * FRAME_MS < (
            self.silence_ms if was_speaking else SOUND_GAP_MS
        ):
            return None
        self._speaking = False
        self._begin = None
        if was_speaking:
            return self._edge(False, self._active_end, start)
        self._ignored.append(self._min_ms)
        return None

    def _edge(self, began: bool, position: StreamPosition, start: StreamPosition) -> SpeechEdge:
        detected_ms = self._frame_end.tick // TICKS_PER_MS
        begin_ms = start.tick // TICKS_PER_MS
        end_ms = self._active_end.tick // TICKS_PER_MS
        return SpeechEdge(began, position.byte, begin_ms, end_ms, detected_ms)
