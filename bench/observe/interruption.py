"""The interruption of a reply, and the check of its truncation. Pure."""

# Speech, the client, or a sound that needs no reply can interrupt a reply during its playback. If
# the service reports that its caller speaks (`speech_started`), the client stops its player. A
# client that interrupts without the service stops the player at once. The caller has heard what was
# played by then. If the service plays its replies itself, only the service can stop them: then the
# silence begins after the last audible sample. Definitions: τ-voice (arXiv 2603.13686) for the
# yield latency and the rates, and Full-Duplex-Bench v1.5 (arXiv 2507.23159).
#
# After the service has reported the truncation of an item, the client requests the item
# (`conversation.item.retrieve`). The item must contain no more audio than the caller has heard, and
# no text: a truncation deletes the transcript, so that the conversation has no text that the caller
# has not heard (Realtime API reference, `conversation.item.truncate`).

from __future__ import annotations

from dataclasses import dataclass, field

from bench.base.clock import Arrival
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.observe.inputs import Sent
from bench.observe.observation import Instants
from bench.plan.turn_plan import SOUNDS, InterruptionKind
from bench.wire.audio import AudioFormat
from bench.wire.events import EventKind, ServerEvent

STEP_NS = 50 * NS_PER_MS
"""The tolerance for the audio that the service keeps: one audio token of the assistant (1/20 s)."""


@dataclass(slots=True, eq=False)
class TruncationCheck:
    """The check that the service truncated one reply. `audio` is the reply's audio format."""

    audio: AudioFormat
    played_ms: dict[str, int] = field(default_factory=dict)
    """The playback position, in ms, at which each item must be truncated."""
    truncated: set[str] = field(default_factory=set)
    requested: set[str] = field(default_factory=set)
    right: set[str] = field(default_factory=set)
    """The ids of the items of which the service keeps no more than the caller has heard."""
    failed: bool = False
    """True if an item was not truncated, was not returned, or contains more than the caller has
    heard."""

    def on_event(self, event: ServerEvent) -> None:
        if event.item_id not in self.played_ms:
            return
        if event.kind is EventKind.TRUNCATED:
            self.truncated.add(event.item_id)
        elif event.item_id in self.requested:
            stored_ns = self.audio.duration_ns(event.payload_bytes)
            longest_ns = self.played_ms[event.item_id] * NS_PER_MS + STEP_NS
            if event.text or event.payload_bytes < 0 or stored_ns > longest_ns:
                self.failed = True
            else:
                self.right.add(event.item_id)

    @property
    def is_pending(self) -> bool:
        return not self.failed and len(self.right) < len(self.played_ms)

    @property
    def verdict(self) -> bool | None:
        """True if the service keeps only what was heard; None if it truncated nothing, or the
        wait was too short.
        """
        if self.failed:
            return False
        return True if self.played_ms and not self.is_pending else None


YIELD_NS = 2 * NS_PER_S
FALSE_YIELD_NS = NS_PER_S
"""Two limits: the time from a barge-in to silence, and the time in which a stop counts as caused
by a sound."""


@dataclass(slots=True, eq=False)
class Interruption(Instants):
    kind: InterruptionKind
    stopped_ns: int | None = None
    spoken_ns: int | None = None
    """The instant at which the interrupting speech ended."""
    cancelled: bool = False
    """True if the service ended the response because of the interruption."""
    uncancelled: bool = False
    """True if the client has stopped the player and still has to cancel the response."""
    unconfirmed_truncations: int = 0
    """The number of truncated items that the service has not confirmed."""
    check: TruncationCheck | None = None
    """The check that the service keeps nothing beyond the truncation; None if the script does
    not request it."""
    passed_sound: bool | None = None
    """False if an earlier sound of the script did not stop the reply; None if there was no
    earlier sound."""

    @property
    def is_wanted(self) -> bool:
        """True if the reply must stop."""
        return self.kind not in SOUNDS

    @property
    def has_begun(self) -> bool:
        """True if the speech, the sound or the client's interruption began while the reply was
        played.
        """
        return "barge_in" in self.instants

    def on_detected(self, arrival: Arrival, *, plays_on: bool) -> None:
        """Record the service's report that its caller speaks. The report stops the player,
        unless it `plays_on`.
        """
        self.arrived("barge_in_detected", arrival)
        if not plays_on:
            self.arrived("barge_in_silent", arrival)
        self.stopped_ns = arrival.at_ns

    def on_last_sound(self, heard_until: Arrival) -> None:
        """Record the end of the last sound of a reply that only the service could stop."""
        if self.kind == "speech" and self.stopped_ns is not None:
            silent_ns = max(heard_until.at_ns, self.instants["barge_in"])
            self.arrived("barge_in_silent", Arrival(silent_ns, heard_until.uncertainty_ns))

    def truncate_sent(self, sent: Sent) -> None:
        self.unconfirmed_truncations += 1
        if self.check is not None:
            self.check.played_ms[sent.item] = sent.played_ms
        self.sent("truncate_sent", sent.at_ns, sent.uncertainty_ns)

    def on_truncation_event(self, event: ServerEvent, arrival: Arrival) -> None:
        """Apply a report that an item of the reply was truncated, or a report of the item's
        remaining content.
        """
        if event.kind is EventKind.TRUNCATED:
            self.unconfirmed_truncations -= 1
            self.arrived("truncated", arrival)
        if self.check is not None:
            self.check.on_event(event)

    def on_played_out(self, at_ns: int) -> None:
        """Record the end of playback. After the limit for speech, it is also the instant of
        silence.
        """
        barge_in_ns = self.instants.get("barge_in")
        is_late = barge_in_ns is not None and at_ns - barge_in_ns > YIELD_NS
        if self.kind == "speech" and self.stopped_ns is None and is_late:
            self.arrived("barge_in_silent", Arrival(at_ns))

    def on_late_silence(self, silent_from: Arrival) -> None:
        """Record the end of audio that was played after the service had reported the stop."""
        if silent_from.at_ns > self.instants.get("barge_in_silent", 0):
            self.arrived("barge_in_silent", silent_from)

    def on_silence(self, silent_from: Arrival, last_sound: Arrival) -> None:
        """Record that a reply ended, for a service that does not report whether the reply was
        stopped or complete.
        """
        barge_in_ns = self.instants.get("barge_in")
        at_ns = silent_from.at_ns
        if (
            self.kind != "speech"
            or self.stopped_ns is not None
            or barge_in_ns is None
            or at_ns <= barge_in_ns
        ):
            return
        self.arrived("barge_in_silent", silent_from)
        self.stopped_ns = at_ns
        if last_sound.at_ns > barge_in_ns:
            self.arrived("barge_in_last_audio", last_sound)

    @property
    def has_yielded(self) -> bool | None:
        """True if the player was silent in time; None without speech, or if the reply ended
        normally by then.
        """
        latency_ns = self._latency_ns if self.kind == "speech" else None
        return None if latency_ns is None else latency_ns <= YIELD_NS

    @property
    def false_yield(self) -> bool | None:
        """True if a sound stopped the reply; None if this is no sound, or if it came after the
        reply.
        """
        if self.is_wanted or not self.has_begun:
            return None
        return self._latency_ns is not None and self._latency_ns <= FALSE_YIELD_NS

    @property
    def false_yield_of_sounds(self) -> bool | None:
        """`false_yield`, or that of the sound before if this one has none."""
        return self.passed_sound if self.false_yield is None else self.false_yield

    @property
    def _latency_ns(self) -> int | None:
        """The time from the start of the interruption to the player's silence; None if either is
        missing.
        """
        silent_ns, barge_in_ns = map(self.instants.get, ("barge_in_silent", "barge_in"))
        return None if silent_ns is None or barge_in_ns is None else silent_ns - barge_in_ns
