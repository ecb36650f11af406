"""Words of the caller that are recognized while audio is appended, by models that detect no turns. Pure.

The words are spoken at an even pace from the first active frame of the buffer, so their positions in the audio are
known exactly. The simulated recognition is in `caller_turns.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench.base.units import NS_PER_MS
from bench.simulator.conversation.input_audio import FRAME_MS, TICKS_PER_MS, StreamPosition, active_frames
from bench.wire.audio import AudioFormat

THRESHOLD = 0.5
DELAY_FACTORS = {"minimal": 0.5, "low": 0.75, "medium": 1.0, "high": 1.5, "xhigh": 2.0}
"""A mapping from the setting `delay` to the factor on the lag of deltas. The factors are assumptions."""


class SpokenWord(NamedTuple):
    """A word, the byte of the input audio at which it ends, and the instant at which a microphone had recorded it."""

    text: str
    to_byte: int
    spoken_ns: int


class StreamedWords:
    """The words of the audio in the buffer. `texts` are the words, each with its space; None to invent them."""

    def __init__(self, words_per_s: float, texts: Sequence[str] | None) -> None:
        self._ticks_per_word, self._texts = 1000 * TICKS_PER_MS / words_per_s, texts
        self._begin_tick: int | None = None  # start of the speech
        self.count = 0
        """The number of words that were spoken so far."""

    @property
    def transcript(self) -> str:
        """The transcript of the whole speech: the given words, or the invented ones so far."""
        words = [_invented(number) for number in range(1, self.count + 1)] if self._texts is None else self._texts
        return "".join(words).strip()

    @property
    def unspoken(self) -> Sequence[str]:
        """The given words after the last spoken one."""
        return () if self._texts is None else self._texts[self.count :]

    def append(self, audio: bytes, start: StreamPosition, format: AudioFormat, at_ns: int) -> Iterator[SpokenWord]:
        """Yield the words that end in the appended audio. `start` is its position, `at_ns` its arrival."""
        end = start.after(len(audio), format)
        if self._begin_tick is None:
            self._begin_tick = _first_active_tick(audio, start, format)
        while self._begin_tick is not None and (self._texts is None or self.count < len(self._texts)):
            word_tick = self._begin_tick + self._ticks_per_word * (self.count + 1)
            if word_tick > end.tick:
                return
            text = _invented(self.count + 1) if self._texts is None else self._texts[self.count]
            self.count += 1
            share = (word_tick - start.tick) / (end.tick - start.tick)
            before_ns = (end.tick - word_tick) / TICKS_PER_MS * NS_PER_MS
            yield SpokenWord(text, start.byte + round(share * len(audio)), at_ns - round(before_ns))


def _invented(number: int) -> str:
    return f"{' ' if number > 1 else ''}word{number}"


def _first_active_tick(audio: bytes, start: StreamPosition, format: AudioFormat) -> int | None:
    """Return the position of the first active frame; None if there is none."""
    frame_bytes = format.bytes_per_s * FRAME_MS // 1000
    whole = audio[: len(audio) // frame_bytes * frame_bytes]
    flags = active_frames(format.decode(whole), format.rate_hz * FRAME_MS // 1000, THRESHOLD) if whole else []
    return start.tick + flags.index(True) * FRAME_MS * TICKS_PER_MS if True in flags else None
