"""Checks whether a service keeps nothing of a reply beyond where the client has cut it. Pure.

Once the service has said that it cut an item it is asked to show it (`conversation.item.retrieve`). What it shows must
hold no more audio than the caller has heard, and no words: truncating deletes the transcript, so that nothing stands in
the conversation that nobody heard (Realtime API reference, `conversation.item.truncate`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.protocol.audio import AudioFormat
from bench.protocol.events import Event, Kind
from bench.units import NS_PER_MS

STEP_NS = 50 * NS_PER_MS
"""How much longer the audio may be that is kept: one token of the assistant's, of which a second has 20."""


@dataclass(slots=True, eq=False)
class CutCheck:
    """The check of one reply, whose audio has this format."""

    audio: AudioFormat
    heard_ms: dict[str, int] = field(default_factory=dict)
    """Of each item that was to be cut how much of it was heard."""
    cut: set[str] = field(default_factory=set)
    """The items that the service says it has cut."""
    asked: set[str] = field(default_factory=set)
    """Those of them that it was asked to show."""
    right: set[str] = field(default_factory=set)
    """The items of which it has shown that nothing more is kept."""
    failed: bool = False
    """Whether an item was not cut, not shown, or holds more than was heard."""

    def happened(self, event: Event) -> None:
        """Take the service's word that it has cut an item, or what it keeps of one."""
        if event.item_id not in self.heard_ms:
            return
        if event.kind is Kind.TRUNCATED:
            self.cut.add(event.item_id)
        elif event.item_id in self.asked:
            self._shown(event)

    def _shown(self, event: Event) -> None:
        kept_ns = self.audio.duration_ns(event.payload_bytes)
        longest_ns = self.heard_ms[event.item_id] * NS_PER_MS + STEP_NS
        if event.text or event.payload_bytes < 0 or kept_ns > longest_ns:
            self.failed = True
        else:
            self.right.add(event.item_id)

    @property
    def unasked(self) -> Sequence[str]:
        """The items that the service is to be asked for now."""
        return sorted(self.cut - self.asked)

    @property
    def pending(self) -> bool:
        """Whether something is to come that decides."""
        return not self.failed and len(self.right) < len(self.heard_ms)

    def end(self) -> None:
        """Wait no longer: what did not come by now is not right."""
        self.failed = self.failed or self.pending

    @property
    def verdict(self) -> bool | None:
        """Whether nothing more is kept than was heard; None where nothing was to be cut, or nobody could wait."""
        if self.failed or not self.heard_ms:
            return False if self.failed else None
        return None if self.pending else True
