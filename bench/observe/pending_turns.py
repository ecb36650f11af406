"""The turns of a session that have started and are not yet delivered. Pure.

At most two turns are open: the current turn, and the turn whose reply the current turn interrupts.
All other turns have ended and wait for late events.
"""

# A turn is added when it starts, ends by an event or a deadline (`State.OVER`), is delivered when
# it awaits no late event, and is then removed. The list is in the order of the starts. `last`
# remains after the delivery: the session waits for the playback of its reply, and an event of the
# script may still refer to it.
#
# A turn that starts while another one is open interrupts its reply. The instants of the
# interruption belong to the row of the interrupted turn, and are taken from the speech of the new
# one (`mark_barge_in`).

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from bench.catalogue import outcomes
from bench.catalogue.timeouts import Timeouts
from bench.observe import inputs
from bench.observe.session_facts import PlannedEvents
from bench.observe.turn import ARRIVALS, PendingTurn, State, late_until_ns
from bench.observe.turn_events import Deadline, deadline, output_sent
from bench.observe.turn_observation import all_instants
from bench.wire.events import EventKind, ServiceFailure


class Cut(StrEnum):
    """The messages that stop a turn's reply, or check its truncation. Their ids end with these
    words.
    """

    CANCEL = "cancel"
    TRUNCATE = "truncate"
    RETRIEVE = "retrieve"


def cut_of(event_id: str) -> Cut | None:
    """Return which message that stops a reply has this id; None for other messages."""
    _, dash, word = event_id.rpartition("-")
    return Cut(word) if dash and word in _CUTS else None


_CUTS = frozenset(Cut)


@dataclass(slots=True, eq=False)
class PendingTurns:
    """The turns of one session. `truncates` is True if the client reports where it has stopped a
    reply.
    """

    events: PlannedEvents
    truncates: bool = True
    all: list[PendingTurn] = field(default_factory=list)
    last: PendingTurn | None = None
    """The turn that started last, also after its delivery."""
    interrupted: PendingTurn | None = None
    """The turn whose reply will be interrupted, or was interrupted last."""
    awaits_network: bool = False
    """True if the network has not been measured since the last turn started."""
    _retransmits: int = 0
    _retrieves: int = 0
    """The number of sent requests for a truncated item."""

    def start(self, turn: PendingTurn) -> None:
        """Add a turn that starts. If the previous turn is open, the new turn interrupts its
        reply.
        """
        if (previous := self.current) is not None:
            turn.interrupts = previous.interruption
        self.last = turn
        self.all.append(turn)
        self.awaits_network = True

    @property
    def current(self) -> PendingTurn | None:
        """The turn that started last, if it is open; otherwise None."""
        turn = self.last
        return None if turn is None or turn.state is State.OVER else turn

    def current_at(self, at_ns: int) -> PendingTurn | None:
        """Return the open turn that started last before an instant. A greeting may start before
        its turn.
        """
        turn = self.current
        if turn is None or turn.start_ns <= at_ns or turn.plan.greeting:
            return turn
        return next((turn for turn in reversed(self.open) if turn.start_ns <= at_ns), None)

    @property
    def open(self) -> list[PendingTurn]:
        """The open turns: the current turn, and the turn whose reply the current turn
        interrupts.
        """
        return [turn for turn in self.all if turn.state is not State.OVER]

    @property
    def is_interruptible(self) -> bool:
        """True if the turn whose reply the script interrupts is still open."""
        return self.interrupted is not None and self.interrupted.state is not State.OVER

    @property
    def are_all_over(self) -> bool:
        return self.current is None and not self.is_interruptible

    @property
    def is_answering(self) -> bool:
        """True if an item of the current turn's reply is incomplete, and the script requires no
        further event.
        """
        turn = self.last
        return (
            turn is not None
            and turn.state is State.ANSWERING
            and not turn.is_between_items
            and not turn.waits.expected
        )

    @property
    def is_streaming(self) -> bool:
        """True if the first deltas of the current turn's reply have arrived, and only its end is
        awaited.
        """
        turn = self.last
        return turn is not None and self.is_answering and turn.is_streaming

    def awaits_output(self, call_id: str) -> bool:
        """Return whether the client must still send the output of a call: if the current turn
        made it.
        """
        turn = self.current
        return turn is not None and call_id in turn.calls.made

    @property
    def played_until_ns(self) -> int | None:
        """The instant at which the received audio of the last turn's reply has been played; None
        without audio.
        """
        return self.last.reply.playback_ends_ns or None if self.last is not None else None

    def next_timeout(self, limits: Timeouts) -> tuple[Deadline, PendingTurn] | None:
        """Return the earliest deadline of the open turns, with its turn; None without one."""
        first: tuple[Deadline, PendingTurn] | None = None
        for turn in self.all:
            if turn.state is not State.OVER:
                due = deadline(turn, limits)
                # equal deadlines are ordered by their outcomes, because causes have no order
                if due is not None and (first is None or due[:2] < first[0][:2]):
                    first = due, turn
        return first

    def done(self, now_ns: int, *, session_over: bool) -> list[PendingTurn]:
        """Return the ended turns that await no late event; after the session's end, all of them."""
        return [
            t
            for t in self.all
            if t.state is State.OVER and (session_over or not t.is_incomplete(now_ns))
        ]

    # An id of these messages begins with the prefix of its turn, and ends with a word of `Cut`. An
    # error that names such an id ends no turn: the reply may have ended by itself before the
    # service received the message.
    def cuts(self) -> list[inputs.Action]:
        """Return the messages that cancel and truncate a stopped reply, and those that retrieve
        truncated items.
        """
        found: list[inputs.Action] = []
        stopped_turn = self.interrupted
        if stopped_turn is not None and stopped_turn.interruption is not None and self.truncates:
            interruption = stopped_turn.interruption
            prefix = stopped_turn.plan.event_prefix
            if interruption.uncancelled:
                interruption.uncancelled = False
                found.append(inputs.CancelResponse(f"{prefix}{Cut.CANCEL}"))
            if interruption.stopped_ns is not None and "truncate_sent" not in interruption.instants:
                for number, (item_id, played_ms) in enumerate(stopped_turn.reply.cuts(), 1):
                    found.append(
                        inputs.TruncateItem(item_id, played_ms, f"{prefix}{number}-{Cut.TRUNCATE}")
                    )
        for turn in self.all:
            if turn.check is not None and turn.state is State.OVER:
                for item_id in sorted(turn.check.truncated - turn.check.requested):
                    self._retrieves += 1
                    found.append(
                        inputs.RetrieveItem(
                            item_id, f"{turn.plan.event_prefix}{self._retrieves}-{Cut.RETRIEVE}"
                        )
                    )
        return found

    def remove(self, turn: PendingTurn, at_ns: int) -> None:
        """Remove a delivered turn. After the wait for late events, missing events fail the check
        of its truncation.
        """
        self.all.remove(turn)
        self.events.occur("expectations", turn.waits.met)
        if outcomes.outcome_class(turn.outcome) == "unfinished":
            self.events.withdraw("expectations", len(turn.waits.expected))
            if turn is self.interrupted:
                self.events.withdraw_awaited()
        if turn.check is not None and at_ns >= late_until_ns(turn):
            turn.check.failed |= turn.check.is_pending  # missing events count as failures

    # Inputs of the session.

    def await_interruption(self, awaited: inputs.InterruptionAwaited) -> None:
        """Prepare the current turn's reply for an interruption, or for a sound during the reply."""
        self.interrupted = self.current
        self.events.await_cue(awaited.kind)
        if self.interrupted is not None:
            self.interrupted.await_interruption(awaited.kind, verify=awaited.verify_truncation)

    def interrupt(self, interrupted: inputs.ClientInterrupted) -> None:
        if self.interrupted is not None and self.is_interruptible:
            self.events.begin_awaited()
            self.interrupted.interrupt(interrupted.at_ns)

    def answer_call(self, answered: inputs.FunctionOutputSent) -> None:
        if self.last is not None:
            output_sent(self.last, answered.call_id, answered.at_ns, answered.wrong)

    def transmitted(self, timestamp: inputs.Transmitted) -> None:
        for turn in self.all:
            turn.transmitted(timestamp)

    def expect(self, expected: inputs.EventExpected) -> None:
        """Record that the script requires an event of the last turn. If that turn is over, the
        event is missed.
        """
        kind = EventKind[expected.kind.upper()]
        turn = self.last
        self.events.reach("expectations")
        if turn is not None and ARRIVALS[kind] in all_instants(turn).instants:
            self.events.occur("expectations")
        elif turn is not None and turn.state is not State.OVER:
            turn.waits.expected[kind] = expected.until_ns

    def measured(self, network: inputs.NetworkMeasured) -> None:
        self.awaits_network = False
        if self.last is not None:
            messages = self.last.messages
            messages.network = network
            # the kernel counts from the start of the connection
            if network.retransmits is not None:
                messages.retransmits = network.retransmits - self._retransmits
                self._retransmits = network.retransmits

    def mark_barge_in(self, turn: PendingTurn, instants: Sequence[str]) -> None:
        """Record the edges of an interruption, or of a sound during a reply, from the new
        instants of the speech.
        """
        input_speech = turn.input_speech
        if turn.interrupts is not None:
            if "speech_start" in instants and self.is_interruptible:
                self.events.begin_awaited()
                start_ns = input_speech.instants["speech_start"]
                width_ns = input_speech.widths_ns["speech_start"]
                turn.interrupts.sent("barge_in", start_ns, width_ns)
            if "speech_end" in instants:
                turn.interrupts.spoken_ns = input_speech.instants["speech_end"]
        if turn.interruption is not None:
            if "barge_in" in instants:
                self.events.begin_awaited()
                turn.interruption.sent("barge_in", *input_speech.clear_instants("barge_in"))
            if "sound_end" in instants:
                turn.interruption.spoken_ns, _ = input_speech.clear_instants("sound_end")

    # A service cannot answer what it did not receive. So a turn that then gets no reply has an
    # outcome of its own (`InputSpeech.unsent_ending`), which blames the hold or this machine.
    # Without the end of the speech, or a part of an interruption, no value is known, however short
    # the missing part is.
    def note_unsent(self, turn: PendingTurn, unsent: inputs.NotSent, unsent_ns: int) -> None:
        """Record unsent audio of the caller for the turns whose values depend on it. It lasts
        `unsent_ns`.
        """
        speech = turn.input_speech.instants
        sound = turn.interruption
        cause = unsent.reason
        ends_speech = "speech_end" in unsent.instants
        ends_sound = "sound_end" in unsent.instants
        if "speech_start" in speech and (ends_speech or "speech_end" not in speech):
            turn.input_speech.note_unsent(unsent_ns, cause, is_essential=ends_speech)
            if turn.interrupts is not None and self.interrupted is not None:
                self.interrupted.input_speech.note_unsent(unsent_ns, cause, is_essential=True)
        elif (
            sound is not None
            and "barge_in" in sound.instants
            and (ends_sound or sound.spoken_ns is None)
        ):
            turn.input_speech.note_unsent(unsent_ns, cause, is_essential=True)

    def note_uncancelled(self, failure: ServiceFailure) -> None:
        """Apply an error to a cancel, truncate or retrieve, which only came too late and so ends
        no turn.
        """
        cut = cut_of(failure.event_id)
        for turn in self.all:
            if turn.interruption is None or not turn.plan.owns(failure.event_id):
                continue
            if cut is Cut.TRUNCATE:
                turn.interruption.unconfirmed_truncations -= 1
            if turn.check is not None and cut is not Cut.CANCEL:
                turn.check.failed = True
