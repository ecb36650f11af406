"""The buffer of audio that the service plays to its caller in real time, in frames of 20 ms. Pure.

Frame n has the samples that are due before its end, so each sample leaves up to 20 ms after it is
due, as in an encoder that needs a whole frame. Without audio, the samples are silence.

With Opus, a response begins with a frame. So its packets are the same in all calls, and are encoded
once.
"""

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.wire.audio import G711_ULAW, AudioFormat
from rtbench_simulator.recorded_replies import audible_byte

FRAME_MS = 20
FRAME_NS = FRAME_MS * NS_PER_MS


class OutputFrame(NamedTuple):
    """A frame. `response_id` is the response of its audio; "" if it is silence.

    `audible_byte` is the offset of the first sample that is audible after decoding; None if there
    is none. `started` and `stopped` are the responses whose audio begins, and has ended, in the
    frame.
    """

    due_ns: int
    audio: bytes
    response_id: str
    audible_byte: int | None
    started: tuple[str, ...]
    stopped: tuple[str, ...]


@dataclass(slots=True)
class _Piece:
    """A piece of audio, whose first byte is at the position `start` of the stream."""

    response_id: str
    start: int
    audio: bytes

    @property
    def end(self) -> int:
        return self.start + len(self.audio)


# The deltas of a response come faster than real time, and a caller hears them in real time: this
# buffer is the difference. Positions count bytes of the stream since the call began, so the frame
# in which a sample leaves follows from its position. `output_audio_buffer.started` and `stopped`
# belong to the frames in which the audio of a response begins and ends, and not to its deltas.
class OutputBuffer:
    """The buffer of one call, whose stream begins at an instant. A codec delays its audio by
    `delay_ns`.
    """

    def __init__(self, start_ns: int, audio: AudioFormat = G711_ULAW, delay_ns: int = 0) -> None:
        self._start_ns = start_ns
        self._audio = audio
        self._frame_bytes = audio.bytes_per_s * FRAME_MS // 1_000
        self._step = self._frame_bytes if delay_ns else audio.sample_bytes
        """The unit of the positions at which audio may begin. All positions are in bytes."""
        self._silence = audio.encode(np.zeros(audio.rate_hz * FRAME_MS // 1_000, np.int16))
        self._delayed = self._silence[: delay_ns * audio.rate_hz // NS_PER_S * audio.sample_bytes]
        """The audio of the last frame that is decoded with the next one."""
        self._frames = 0
        self._pieces: deque[_Piece] = deque()
        self._begun: dict[str, None] = {}
        """The responses whose audio has begun and has not ended."""
        self._finished = set[str]()
        """The responses of which no more audio follows."""

    @property
    def next_ns(self) -> int:
        """The instant at which the next frame leaves."""
        return self._start_ns + (self._frames + 1) * FRAME_NS

    def add(self, response_id: str, audio: bytes, due_ns: int) -> None:
        """Add audio that is due at an instant. It follows the audio that waits."""
        position = (
            (due_ns - self._start_ns) * self._audio.rate_hz // NS_PER_S * self._audio.sample_bytes
        )
        waiting = self._pieces[-1].end if self._pieces else 0
        start = max(position, self._frames * self._frame_bytes)
        self._pieces.append(
            _Piece(response_id, max(waiting, -(-start // self._step) * self._step), audio)
        )

    def finish(self, response_id: str) -> None:
        """Record that no more audio of a response follows."""
        self._finished.add(response_id)

    def clear(self) -> tuple[str, ...]:
        """Drop the audio that waits. Return the responses whose audio has begun, and that end by
        this.
        """
        begun = tuple(self._begun)
        self._pieces.clear()
        self._begun.clear()
        return begun

    def pop_frame(self) -> OutputFrame:
        """Return the next frame."""
        due_ns = self.next_ns
        first = self._frames * self._frame_bytes
        self._frames += 1
        end = first + self._frame_bytes
        audio = bytearray(self._silence)
        response_id = ""
        started = list[str]()
        for piece in self._pieces:
            if piece.start >= end:
                break
            inside = slice(max(0, first - piece.start), end - piece.start)
            at = max(0, piece.start - first)
            samples = piece.audio[inside]
            audio[at : at + len(samples)] = samples
            response_id = response_id or piece.response_id
            if piece.response_id not in self._begun:
                self._begun[piece.response_id] = None
                started.append(piece.response_id)
        while self._pieces and self._pieces[0].end <= end:
            self._pieces.popleft()
        waiting = {piece.response_id for piece in self._pieces}
        stopped = tuple(
            each for each in self._begun if each in self._finished and each not in waiting
        )
        for each in stopped:
            del self._begun[each]
        # What a listener decodes from this frame: a codec with a delay moves the end of a frame
        # into the next.
        decoded = self._delayed + bytes(audio)
        self._delayed = decoded[self._frame_bytes :]
        audible = audible_byte(decoded[: self._frame_bytes], self._audio) if response_id else None
        return OutputFrame(due_ns, bytes(audio), response_id, audible, tuple(started), stopped)
