"""Follows one reply: its deltas and closing events, and what a player makes of its audio. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import msgspec

from bench.clock import Arrival
from bench.observe.playback import Player
from bench.protocol.audio import AudioFormat
from bench.protocol.events import EMPTY, CutPayload, Event, Kind
from bench.protocol.lengths import LONGEST_TEXT
from bench.units import NS_PER_S

EXACT_GAP_NS = 1_000_000

# kind of event → the instant that its first arrival marks
REPLY_INSTANTS = {
    Kind.RESPONSE_CREATED: "response_created",
    Kind.TEXT_DELTA: "first_text",
    Kind.AUDIO_DELTA: "first_audio",
    Kind.TRANSCRIPT_DELTA: "first_transcript",
    Kind.AUDIO_DONE: "audio_done",
    Kind.TRANSCRIPT_DONE: "transcript_done",
    Kind.RESPONSE_DONE: "response_done",
}


@dataclass(slots=True, eq=False)
class Reply:
    """A reply in `audio`'s format, played behind a jitter buffer."""

    audio: AudioFormat
    jitter_buffer_ns: int
    instants: dict[str, int] = field(default_factory=dict)
    deltas: Counter[Kind] = field(default_factory=Counter)
    text: str = ""
    player: Player | None = None
    errors_ns: dict[str, int] = field(default_factory=dict)
    """How much earlier each instant may really have been; of `last_audio`: `last_audio_error_ns`."""
    last_audio_error_ns: int = 0
    audio_bytes: int = 0
    first_audio_bytes: int = 0
    gaps_ns: list[int] = field(default_factory=list)
    inexact_gaps: int = 0

    @property
    def begun(self) -> bool:
        """Whether any delta came."""
        return bool(self.deltas)

    @property
    def begun_ns(self) -> int | None:
        """When it was created, or, of a service that does not say so, when anything of it came; None before."""
        return self.instants.get("response_created") or min(self.instants.values(), default=None)

    def delta(self, event: Event, arrival: Arrival) -> bool:
        """Take a delta with a payload; False where its audio cannot be decoded."""
        kind, deltas = event.kind, self.deltas
        if kind not in deltas:
            instant = REPLY_INSTANTS[kind]
            self.instants[instant], self.errors_ns[instant] = arrival.at_ns, arrival.error_ns
        deltas[kind] += 1
        if kind is not Kind.AUDIO_DELTA:
            return True
        if self.player is None:
            self.player = Player(self.audio, self.jitter_buffer_ns, arrival.at_ns, arrival.error_ns)
            self.first_audio_bytes = event.payload_bytes
        return self._audio(self.player, event.payload_bytes, event.payload, arrival.at_ns, arrival.error_ns)

    def another(self, kind: Kind, payload_bytes: int, at_ns: int, error_ns: int) -> None:
        """Take a delta that is not the first of its kind; its audio, where it is any, comes after an audible sample."""
        self.deltas[kind] += 1
        if kind is Kind.AUDIO_DELTA and self.player is not None:
            self._audio(self.player, payload_bytes, EMPTY, at_ns, error_ns)

    def happened(self, event: Event, arrival: Arrival) -> None:
        """Mark the instant of any other event of the reply."""
        instant = REPLY_INSTANTS[event.kind]
        self.instants.setdefault(instant, arrival.at_ns)
        self.errors_ns.setdefault(instant, arrival.error_ns)

    def add_text(self, text: str) -> None:
        """Add a part of the reply's words, of text or of a transcript."""
        self.text = f"{self.text} {text}".strip()[:LONGEST_TEXT]

    def _audio(
        self, player: Player, payload_bytes: int, payload: msgspec.Raw | CutPayload, at_ns: int, error_ns: int
    ) -> bool:
        last_ns = self.instants.get("last_audio")
        if last_ns is not None:
            if error_ns <= EXACT_GAP_NS and self.last_audio_error_ns <= EXACT_GAP_NS:
                self.gaps_ns.append(at_ns - last_ns)
            else:
                self.inexact_gaps += 1
        self.audio_bytes += payload_bytes
        self.instants["last_audio"], self.last_audio_error_ns = at_ns, error_ns
        return player.add(at_ns, payload_bytes, payload, error_ns)

    def all_instants(self) -> dict[str, int]:
        """The reply's instants, with that of the first audible sample as the player has it."""
        audible_ns = self.player.first_audible_ns if self.player else None
        return self.instants if audible_ns is None else self.instants | {"first_audible": audible_ns}

    def all_errors_ns(self) -> dict[str, int]:
        """How much earlier each of `all_instants` may really have been."""
        if self.player is None:
            return self.errors_ns
        errors_ns = self.errors_ns | {"last_audio": self.last_audio_error_ns}
        if self.player.first_audible_ns is not None:
            errors_ns["first_audible"] = self.player.audible_error_ns
        return errors_ns

    @property
    def audio_speed(self) -> float | None:
        """Seconds of audio received after the first delta, per second from first to last; None under two deltas."""
        first_ns, last_ns = self.instants.get("first_audio"), self.instants.get("last_audio")
        if first_ns is None or last_ns is None or last_ns <= first_ns:
            return None
        audio_s = (self.audio_bytes - self.first_audio_bytes) / self.audio.bytes_per_s
        return audio_s / ((last_ns - first_ns) / NS_PER_S)
