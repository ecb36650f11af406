"""Simulates the player of a caller: what is heard of a reply, and when.

It starts a jitter buffer's length after an item's first audio delta and drains at the format's byte rate. Where a
delta comes after everything before it was played, the player was forced into silence (a stall) and goes on at once.
Audio is decoded only until the first audible sample is found.
"""

from __future__ import annotations

import msgspec

from bench.protocol.audio import UNREADABLE, AudioFormat, audible_sample
from bench.protocol.events import CutPayload


class Player:
    """Plays one item of a reply, after what is played before it until `busy_until_ns`."""

    def __init__(
        self,
        audio: AudioFormat,
        jitter_buffer_ns: int,
        first_audio_ns: int,
        error_ns: int = 0,
        busy_until_ns: int = 0,
    ) -> None:
        self._audio = audio
        self._first_error_ns = self._error_ns = error_ns
        self.began_ns = self._begins_ns = max(first_audio_ns + jitter_buffer_ns, busy_until_ns)
        """Since when it plays without a break; times are counted from there, so that nothing adds up by rounding."""
        self._bytes = self._bytes_before = 0  # since then, and before
        self.first_audible_ns: int | None = None
        self.audible_error_ns = error_ns
        """How much earlier it may really have been: as much as the delta since which it plays without a break. A later
        one that really came earlier moves nothing, for nobody waited for it."""
        self.stall_ns = self.stalls = 0

    @property
    def ends_ns(self) -> int:
        """The instant at which it has played everything that came so far."""
        return self._begins_ns + self._audio.duration_ns(self._bytes)

    @property
    def stall_error_ns(self) -> int:
        """How far `stall_ns` can be off: too little by what the first delta is, too much by what the last late one is.

        All stalls together are the most that any delta is behind the first one's schedule, and that delta stalled last.
        """
        return max(self._first_error_ns, self._error_ns)

    def played_ns(self, at_ns: int) -> int:
        """How much of what came by an instant has been played by then."""
        since_ns = min(self._audio.duration_ns(self._bytes), max(0, at_ns - self._begins_ns))
        return self._audio.duration_ns(self._bytes_before) + since_ns

    def played_at_ns(self, length_ns: int) -> int:
        """When so much has been played, of what came; an instant before a stall that is over may be told too late."""
        return self._begins_ns + max(0, length_ns - self._audio.duration_ns(self._bytes_before))

    def add(self, at_ns: int, audio_bytes: int, payload: msgspec.Raw | CutPayload, error_ns: int = 0) -> bool:
        """Play a delta that came at `at_ns`, or up to `error_ns` earlier; False where its payload cannot be decoded."""
        if at_ns > self.ends_ns:
            self.stall_ns += at_ns - self.ends_ns
            self.stalls += 1
            self._bytes_before += self._bytes
            self._begins_ns, self._bytes, self._error_ns = at_ns, 0, error_ns
        if self.first_audible_ns is None:
            sample = audible_sample(payload, self._audio)
            if sample == UNREADABLE:
                return False
            if sample is not None:
                before = self._bytes + sample * self._audio.sample_bytes
                self.first_audible_ns = self._begins_ns + self._audio.duration_ns(before)
                self.audible_error_ns = self._error_ns
        self._bytes += audio_bytes
        return True
