"""Follows what a turn may hold beside its words: calls of functions, and how its reply is interrupted. Pure.

A response that calls functions is followed by another one, which goes on with the reply: the client asks for it once it
has handed over what the functions returned. There may be several such rounds; instants are those of the first.

A reply is interrupted while it is played by speech, the client or a mere sound. A client that is told that its caller
speaks (`speech_started`) stops its player; one that interrupts by itself stops it at once. What had been played by then
is what the caller has heard. Definitions: τ-voice (arXiv 2603.13686), whose yield latency and rates these are, and
Full-Duplex-Bench v1.5 (arXiv 2507.23159).

Once the service has said that it cut an item it is asked to show it (`conversation.item.retrieve`). What it shows must
hold no more audio than the caller has heard, and no words: truncating deletes the transcript, so that nothing stands in
the conversation that nobody heard (Realtime API reference, `conversation.item.truncate`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.clock import Arrival
from bench.observe.inputs import Sent
from bench.observe.observation import Instants
from bench.plan.turn_plan import SOUNDS, InterruptionKind
from bench.protocol.audio import AudioFormat
from bench.protocol.events import EventKind, FunctionCall, ServerEvent
from bench.timeouts import MOST_CALLS, MOST_ROUNDS
from bench.units import NS_PER_MS, NS_PER_S

CALL_INSTANTS = {EventKind.CALL_ADDED: "function_call_added", EventKind.CALL_DONE: "function_call_done"}


@dataclass(slots=True, eq=False)
class TurnFunctionCalls(Instants):
    """The function calls of one turn. `expected`: how often the script expects each; None where it does not say."""

    expected: Mapping[str, int] | None = None
    whole: dict[str, FunctionCall] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """What function each call is of, where that was told before its arguments."""
    rounds: int = 0
    """How many responses that called functions are done."""
    of_rounds: int = 0
    """How many calls those made."""
    made: set[str] = field(default_factory=set)
    """Calls that somebody was told to make, by their ids: some may be of a response that does not count."""
    returned: set[str] = field(default_factory=set)
    """Calls of which what they returned was handed over."""
    own_ns: int = 0
    """How long the functions took, from the last call of a round to the last output handed over."""
    last_done_ns: int = 0
    last_output_ns: int = 0
    wrong: str = ""

    def happened(self, event: ServerEvent, arrival: Arrival) -> None:
        for call in event.calls:
            if event.kind is EventKind.CALL_ADDED:
                self.names[call.call_id] = call.name
            else:
                self._complete(call, arrival)
        instant = CALL_INSTANTS[event.kind]
        if not self.rounds and (event.kind is EventKind.CALL_DONE or instant not in self.instants):
            self.arrived(instant, arrival)

    def _complete(self, call: FunctionCall, arrival: Arrival) -> None:
        name = call.name or self.names.get(call.call_id, "")
        self.whole.setdefault(call.call_id, FunctionCall(call.call_id, name, call.arguments))
        self.last_done_ns = arrival.at_ns

    def end_response(self, event: ServerEvent, arrival: Arrival) -> bool:
        """Take the end of a response; whether it called functions, so that another one is to come."""
        for call in event.calls:
            if call.call_id not in self.whole:  # of a service that sends no events of calls
                self._complete(call, arrival)
                if not self.rounds:
                    self.arrived("function_call_done", arrival)
        if len(self.whole) == self.of_rounds:
            return False
        self.of_rounds, self.rounds = len(self.whole), self.rounds + 1
        return True

    @property
    def endless(self) -> str:
        """What there is too much of; "" where there is not."""
        if self.rounds > MOST_ROUNDS:
            return f"over {MOST_ROUNDS} responses in a row that called functions"
        return f"over {MOST_CALLS} calls of functions" if len(self.whole) > MOST_CALLS else ""

    def forget_response(self) -> None:
        for call_id in list(self.whole)[self.of_rounds :]:
            del self.whole[call_id]
        if not self.rounds:
            self.instants.clear()
            self.errors_ns.clear()

    def take_unmade(self) -> list[FunctionCall]:
        """The calls that are to be made, each once."""
        unmade = [call for call_id, call in self.whole.items() if call_id not in self.made]
        self.made.update(call.call_id for call in unmade)
        return unmade

    def answered(self, call_id: str, at_ns: int, wrong: str) -> None:
        """Note that what a function returned was handed over, and what was wrong with its call."""
        self.wrong = self.wrong or wrong
        if call_id in self.whole:  # else it is of a response that does not count, and nothing waits for it
            self.last_output_ns = at_ns
            self.returned.add(call_id)

    @property
    def all_answered(self) -> bool:
        return self.whole.keys() <= self.returned

    def problem(self) -> str:
        """What is wrong with the calls of a turn that is over; "" where nothing is."""
        if self.wrong or self.expected is None:
            return self.wrong
        missing = Counter(self.expected) - Counter(call.name for call in self.whole.values())
        return f"the script expects a call of {next(iter(missing))}, and none came" if missing else ""


STEP_NS = 50 * NS_PER_MS
"""How much longer the audio may be that is kept: one token of the assistant's, of which a second has 20."""


@dataclass(slots=True, eq=False)
class TruncationCheck:
    """The check of one reply, whose audio has this format."""

    audio: AudioFormat
    heard_ms: dict[str, int] = field(default_factory=dict)
    """How much was heard of each item that was to be cut."""
    cut: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    right: set[str] = field(default_factory=set)
    """The items of which it has shown that nothing more is kept."""
    failed: bool = False
    """Whether an item was not cut, not shown, or holds more than was heard."""

    def happened(self, event: ServerEvent) -> None:
        if event.item_id not in self.heard_ms:
            return
        if event.kind is EventKind.TRUNCATED:
            self.cut.add(event.item_id)
        elif event.item_id in self.asked:
            kept_ns = self.audio.duration_ns(event.payload_bytes)
            longest_ns = self.heard_ms[event.item_id] * NS_PER_MS + STEP_NS
            if event.text or event.payload_bytes < 0 or kept_ns > longest_ns:
                self.failed = True
            else:
                self.right.add(event.item_id)

    @property
    def pending(self) -> bool:
        """Whether something is to come that decides."""
        return not self.failed and len(self.right) < len(self.heard_ms)

    @property
    def verdict(self) -> bool | None:
        """Whether nothing more is kept than was heard; None where nothing was to be cut, or nobody could wait."""
        if self.failed:
            return False
        return True if self.heard_ms and not self.pending else None


YIELD_NS, FALSE_YIELD_NS = 2 * NS_PER_S, NS_PER_S
"""How soon a reply that was interrupted must be silent, and how soon one that stops was stopped by a sound."""


@dataclass(slots=True, eq=False)
class Interruption(Instants):
    """An interruption that the script wants, of the reply to one turn."""

    kind: InterruptionKind
    stopped_ns: int | None = None
    spoken_ns: int | None = None
    """When all was said that interrupts."""
    cancelled: bool = False
    """Whether the service ended the response because of it."""
    uncancelled: bool = False
    """Whether the client has stopped the player, and its response goes on that is to be cancelled."""
    uncut: int = 0
    """How many items were truncated, and the service has not said so."""
    check: TruncationCheck | None = None
    """Whether the service keeps nothing beyond the cut; None where the script does not ask."""

    @property
    def is_wanted(self) -> bool:
        """Whether the reply is to stop."""
        return self.kind not in SOUNDS

    def noticed(self, arrival: Arrival) -> None:
        """Take the service's word that its caller speaks, by which the player is stopped."""
        for instant in ("barge_in_detected", "barge_in_silent"):
            self.arrived(instant, arrival)
        self.stopped_ns = arrival.at_ns

    def truncate_sent(self, sent: Sent) -> None:
        self.uncut += 1
        if self.check is not None:
            self.check.heard_ms[sent.item] = sent.played_ms
        self.sent("truncate_sent", sent.at_ns, sent.uncertainty_ns)

    def take_word_of_cut(self, event: ServerEvent, arrival: Arrival) -> None:
        if event.kind is EventKind.TRUNCATED:
            self.uncut -= 1
            self.arrived("truncated", arrival)
        if self.check is not None:
            self.check.happened(event)

    def played_out(self, at_ns: int) -> None:
        """Note that the reply was played to its end: where it went on for long, the caller waited for that silence."""
        began_ns = self.instants.get("barge_in")
        if self.kind == "speech" and self.stopped_ns is None and began_ns is not None and at_ns - began_ns > YIELD_NS:
            self.arrived("barge_in_silent", Arrival(at_ns))

    def fell_quiet(self, at_ns: int, last_sound: Arrival) -> None:
        """Note when a reply fell silent whose service does not say whether it was stopped, or over by itself."""
        began_ns = self.instants.get("barge_in")
        if self.kind != "speech" or self.stopped_ns is not None or began_ns is None or at_ns <= began_ns:
            return
        self.arrived("barge_in_silent", Arrival(at_ns, last_sound.error_ns))
        self.stopped_ns = at_ns
        if last_sound.at_ns > began_ns:
            self.arrived("barge_in_last_audio", last_sound)

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
        """Time from its begin to the silence of the player; None where that ran out by itself."""
        silent_ns, began_ns = map(self.instants.get, ("barge_in_silent", "barge_in"))
        return None if silent_ns is None or began_ns is None else silent_ns - began_ns
