"""Follows a turn's speech and its request: when they left this machine, and what the service has heard of them. Pure.

Our own clock is read before a send call, and a process can lose its core between the two; the kernel's stamp has no
such error. The instants that a message marks move from the one to the other, whenever the stamp comes.

A service's VAD may take a pause for the end. Whether it has heard more than up to the last pause is judged on the
session's clock of input audio, on which both sides count the same samples; only where it does not say how far it has
heard, by when it said so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.clock import Arrival, SendTime
from bench.observe.inputs import Transmitted
from bench.observe.observation import Instants
from bench.protocol.events import EventKind, ServerEvent
from bench.units import NEVER_NS, NS_PER_MS
from bench.untrusted.values import LONGEST_TEXT


@dataclass(slots=True, eq=False)
class SendTimestamps:
    """The transmit stamps of one turn."""

    sends: int = 0
    departures: dict[int, tuple[int, Sequence[str]]] = field(default_factory=dict)
    """ticket → the clock before the send call, and the instants that its message marks"""
    stamped: set[int] = field(default_factory=set)
    """Tickets of which the kernel has said when the message left."""

    def note(self, handed: SendTime, marks: Sequence[str]) -> None:
        self.sends += 1
        if handed.ticket:
            self.departures[handed.ticket] = handed.at_ns, marks

    def transmitted(self, stamp: Transmitted) -> tuple[Sequence[str], int]:
        """(the instants that a stamp moves, how many ns later they are by it); none where it tells nothing new.

        A segment that is sent again is stamped again: the first stamp counts. One from before the send call cannot be:
        the wall clock was stepped.
        """
        handed_ns, marks = self.departures.get(stamp.ticket, (NEVER_NS, ()))
        if stamp.acknowledged or stamp.ticket in self.stamped or stamp.at_ns < handed_ns:
            return (), 0
        self.stamped.add(stamp.ticket)
        return marks, stamp.at_ns - handed_ns

    def acknowledged(self, stamp: Transmitted) -> Sequence[str]:
        """The instants of the message that a stamp acknowledges, where it is known when that left."""
        return self.departures[stamp.ticket][1] if stamp.acknowledged and stamp.ticket in self.stamped else ()


UNHEARD_NS = 1_000_000_000
"""Time after the end of speech from which on a VAD that has not noticed the rest of it will not do so any more."""

# kind of event → the instant that its arrival marks: of the beginning the first, of all others the last
SPEECH_INSTANTS = {
    EventKind.SPEECH_STARTED: "speech_started",
    EventKind.SPEECH_STOPPED: "speech_stopped",
    EventKind.COMMITTED: "committed",
    EventKind.INPUT_TRANSCRIBED: "input_transcribed",
}


@dataclass(slots=True, eq=False)
class InputSpeech(Instants):
    """What the service has heard of one turn; the fields without a default are `TurnPlan`'s (`trailing_silence_ns`)."""

    vad: bool
    tail_ns: int
    clock_ns: dict[str, int] = field(default_factory=dict)
    """Where the speech begins and ends on the session's clock of input audio."""
    heard_to_ns: int | None = None
    """How far the service had heard, on that clock, when it said last that speech stopped; None: it does not say."""
    open: bool = False
    """Whether the service hears speech and has not said that it stopped."""
    uncommitted: bool = False
    """Whether the service has heard more than it has committed."""
    commits: int = 0
    answered: int = 0
    """Commits that the service has answered, with a response or with its refusal."""
    committed_item: str = ""
    """The item that the instants `committed` and `input_transcribed` are of."""
    transcripts: int = 0
    """How many commits' transcriptions came, or failed."""
    failed_transcripts: int = 0
    text: str = ""

    def mark_moments(self, moments: Mapping[str, int], handed: SendTime, clock_ns: int) -> list[str]:
        """Mark the moments of speech in a message, each so many ns before it was due; return those that are new.

        `clock_ns`: how much audio the session has sent with this message.
        """
        marks = [instant for instant in moments if instant not in self.instants]
        for instant in marks:
            self.sent(instant, handed.at_ns - moments[instant], handed.width_ns)
            self.clock_ns[instant] = clock_ns - moments[instant]
        return marks

    def unmark(self, instant: str) -> tuple[int, int]:
        """Take back an instant that is not the turn's own. Returns when it was, and its width."""
        del self.clock_ns[instant]
        return self.instants.pop(instant), self.widths_ns.pop(instant)

    def happened(self, event: ServerEvent, arrival: Arrival) -> None:
        kind = event.kind
        instant = SPEECH_INSTANTS[kind]
        if kind is not EventKind.SPEECH_STARTED or instant not in self.instants:
            self.arrived(instant, arrival)
        if kind is EventKind.SPEECH_STARTED:
            self.open = self.uncommitted = True
        elif kind is EventKind.SPEECH_STOPPED:
            self.open = False
            self.heard_to_ns = None if event.audio_ms is None else event.audio_ms * NS_PER_MS
        elif kind is EventKind.COMMITTED:
            self.uncommitted, self.committed_item = False, event.item_id
            self.instants.pop("input_transcribed", None)  # that was of what was committed before

    def transcribed(self, event: ServerEvent, arrival: Arrival) -> None:
        self.transcripts += 1
        self.failed_transcripts += event.kind is EventKind.INPUT_NOT_TRANSCRIBED
        if event.kind is EventKind.INPUT_TRANSCRIBED:
            self.text = f"{self.text} {event.text}".strip()[:LONGEST_TEXT]
            if self.committed_item in ("", event.item_id):
                self.arrived("input_transcribed", arrival)

    @property
    def words(self) -> str | None:
        """The caller's words; None where not all that was committed has been transcribed."""
        whole = self.transcripts >= max(1, self.commits) and not self.failed_transcripts
        return self.text if whole else None

    @property
    def spoken(self) -> bool:
        return not self.vad or "speech_end" in self.instants

    @property
    def noticed(self) -> bool:
        """Whether the VAD has noticed an end of speech, and hears nothing more."""
        return self.vad and "speech_stopped" in self.instants and not self.open

    @property
    def finished(self) -> bool:
        """Whether the VAD has heard to the end of the caller's speech, not just to a pause, and committed all of it."""
        if not self.noticed or "speech_end" not in self.instants or not self.commits or self.uncommitted:
            return False
        if self.heard_to_ns is None or self.heard_to_ns < self.clock_ns.get("speech_start", 0):  # or by another clock
            return self.instants["speech_stopped"] >= self.instants["speech_end"]
        return self.heard_to_ns >= self.clock_ns["speech_end"] - self.tail_ns

    def all_committed(self, now_ns: int) -> bool:
        """Whether the service has committed all that it will ever hear."""
        if self.finished:
            return True
        waited = self.spoken and now_ns >= self.instants["speech_end"] + UNHEARD_NS
        return waited and self.commits > 0 and not self.uncommitted

    def fully_answered(self, now_ns: int) -> bool:
        """Whether a response that is done now answers all that was said."""
        if not self.commits:  # a service that announces no commits
            return self.spoken and not self.open
        return self.all_committed(now_ns) and self.answered >= self.commits

    def await_rest(self) -> None:
        """Wait for the rest: a pause was answered. Where nothing of the rest has been noticed, forget the pause."""
        if self.answered >= self.commits and not self.uncommitted:
            self.instants.pop("speech_stopped", None)
            self.instants.pop("committed", None)
