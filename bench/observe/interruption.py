"""Follows how a reply is interrupted while it is played: by speech, by the client, or by a mere sound. Pure.

A client that is told that its caller speaks (`speech_started`) stops its player; one that interrupts by itself stops it
at once. What had been played by then is what the caller has heard. Definitions: τ-voice (arXiv 2603.13686), whose yield
latency and rates these are, and Full-Duplex-Bench v1.5 (arXiv 2507.23159).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.clock import Arrival, Handed
from bench.interruptions import SOUNDS, InterruptionKind
from bench.observe.cut_check import CutCheck
from bench.units import NS_PER_S

YIELD_NS, FALSE_YIELD_NS = 2 * NS_PER_S, NS_PER_S
"""So soon a reply must be silent that was interrupted, and so soon one that stops was stopped by a sound."""


@dataclass(slots=True, eq=False)
class Interruption:
    """An interruption that the script wants, of the reply to one turn."""

    kind: InterruptionKind
    instants: dict[str, int] = field(default_factory=dict)
    errors_ns: dict[str, int] = field(default_factory=dict)
    widths_ns: dict[str, int] = field(default_factory=dict)
    stopped_ns: int | None = None
    """When the player was stopped."""
    spoken_ns: int | None = None
    """When all was said that interrupts."""
    cancelled: bool = False
    """Whether the service ended the response because of it."""
    uncut: int = 0
    """How many items were truncated, and the service has not said so."""
    check: CutCheck | None = None
    """Whether the service keeps nothing beyond the cut; None where the script does not ask."""

    @property
    def is_wanted(self) -> bool:
        """Whether the reply is to stop."""
        return self.kind not in SOUNDS

    def began(self, at_ns: int, width_ns: int) -> None:
        """Mark when the caller, or the client, began to interrupt."""
        if "barge_in" not in self.instants:
            self.instants["barge_in"], self.widths_ns["barge_in"] = at_ns, width_ns

    def noticed(self, arrival: Arrival) -> None:
        """Take the service's word that its caller speaks, by which the player is stopped."""
        for instant in ("barge_in_heard", "silent"):
            self.instants[instant], self.errors_ns[instant] = arrival.at_ns, arrival.error_ns
        self.stopped_ns = arrival.at_ns

    def truncate_sent(self, handed: Handed, item_id: str, heard_ms: int) -> None:
        """Note that the service was told that so many ms of an item were heard."""
        self.uncut += 1
        if self.check is not None:
            self.check.heard_ms[item_id] = heard_ms
        self.instants.setdefault("truncate_sent", handed.at_ns)
        self.widths_ns.setdefault("truncate_sent", handed.width_ns)

    def truncated(self, arrival: Arrival) -> None:
        """Take the service's word that it has cut an item."""
        self.uncut -= 1
        self.instants["truncated"], self.errors_ns["truncated"] = arrival.at_ns, arrival.error_ns

    @property
    def awaits_word(self) -> bool:
        """Whether the service has not said that it cut an item, or has not shown what it keeps of it."""
        return self.uncut > 0 or (self.check is not None and self.check.pending)

    def played_out(self, at_ns: int) -> None:
        """Note that the reply was played to its end: where it went on for long, the caller waited for that silence."""
        began_ns = self.instants.get("barge_in")
        if self.kind == "speech" and self.stopped_ns is None and began_ns is not None and at_ns - began_ns > YIELD_NS:
            self.instants["silent"], self.errors_ns["silent"] = at_ns, 0

    @property
    def yielded(self) -> bool | None:
        """Whether the player was silent in time; None of what was no interruption by speech, or came too late."""
        took_ns = self._took_ns if self.kind == "speech" else None
        return None if took_ns is None else took_ns <= YIELD_NS

    @property
    def false_yield(self) -> bool | None:
        """Whether a sound stopped the reply; None of what was no sound, or came too late."""
        if self.is_wanted or "barge_in" not in self.instants:
            return None
        return self._took_ns is not None and self._took_ns <= FALSE_YIELD_NS

    @property
    def _took_ns(self) -> int | None:
        """From its begin to the silence of the player; None where that ran out by itself."""
        silent_ns, began_ns = self.instants.get("silent"), self.instants.get("barge_in")
        return None if silent_ns is None or began_ns is None else silent_ns - began_ns
