"""The turns of a session that have started and are not yet delivered, and the endings of the
session, which also end its open turns. Pure.

At most two turns are open: the current turn, and the turn whose reply the current turn interrupts.
All other turns have ended and wait for late events.

An ending of the session is an error of the service, the close of the connection, or a failure. An
error may instead end one turn, or be counted only.
"""

# A turn is added when it starts, ends by an event or a deadline (`OVER`), is delivered when
# it awaits no late event, and is then removed. The list is in the order of the starts. `last`
# remains after the delivery: the session waits for the playback of its reply, and an event of the
# script may still refer to it.
#
# A turn that starts while another one is open interrupts its reply. The instants of the
# interruption belong to the row of the interrupted turn, and are taken from the speech of the new
# one (`mark_barge_in`).

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from bench.base.units import NS_PER_S
from bench.catalogue import outcomes
from bench.catalogue.causes import Cause, Code, Ending, in_words
from bench.catalogue.refusals import HANDSHAKE, limit_outcome
from bench.catalogue.timeouts import Timeouts
from bench.observe import inputs
from bench.observe.attribution import Attributor
from bench.observe.callee import is_answered
from bench.observe.reply_detector import ReplyDetector
from bench.observe.session_facts import PlannedEvents, SessionFacts
from bench.observe.turn import ANSWERING, ARRIVALS, OVER, PendingTurn, late_until_ns
from bench.observe.turn_events import Deadline, deadline, failure_ending, output_sent
from bench.observe.turn_observation import all_instants
from bench.plan.turn_plan import MAILBOX, PERSONS
from bench.wire.audio import AudioFormat
from bench.wire.connection import BAD_FRAME, NORMAL, TOO_LARGE, TRY_AGAIN_LATER
from bench.wire.dialect import is_session_event
from bench.wire.events import ErrorScope, EventKind, ServiceFailure

MIN_IDLE_NS = 10 * NS_PER_S
"""The minimum time without a message before the end of a connection that the detail of the end
states.

Devices on the way end idle connections after 20 s or more.
"""


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
        return None if turn is None or turn.state is OVER else turn

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
        return [turn for turn in self.all if turn.state is not OVER]

    @property
    def is_interruptible(self) -> bool:
        """True if the turn whose reply the script interrupts is still open."""
        return self.interrupted is not None and self.interrupted.state is not OVER

    @property
    def is_last_over(self) -> bool:
        """True if the last turn that is not delivered has ended."""
        return bool(self.all) and self.all[-1].state is OVER

    @property
    def are_all_over(self) -> bool:
        return self.current is None and not self.is_interruptible

    @property
    def is_answering(self) -> bool:
        """True if the current turn's reply has begun, no other item of it is expected, and the
        script requires no further event.
        """
        turn = self.last
        return (
            turn is not None
            and turn.state is ANSWERING
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
        first = None
        for turn in self.all:
            if turn.state is not OVER:
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
            if t.state is OVER
            and (session_over or not (t.is_incomplete(now_ns) or self._awaits_verdict(t)))
        ]

    def _awaits_verdict(self, turn: PendingTurn) -> bool:
        """Return whether it is not yet known whom the agent takes the person of a turn for."""
        return turn.plan.callee in PERSONS and not self.is_answered_after(turn)

    def is_answered_after(self, turn: PendingTurn) -> bool:
        """Return whether the agent has answered a turn after this one."""
        later = (*self.all, *([self.last] if self.last else []))
        return any(is_answered(t) for t in later if t.plan.number > turn.plan.number)

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
            if turn.check is not None and turn.state is OVER:
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
        elif turn is not None and turn.state is not OVER:
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


# The endings of a session.
#
# An error ends as little as possible. It ends the session if its effect is on the session, or if it
# names a message of the set-up. It ends a turn if it names one of its messages, or if its effect is
# on the open turn. A message that only stops a reply may come too late, so an error about it ends
# nothing.
#
# All other errors are counted, and the last one is remembered until the next turn starts. If a turn
# then times out, or the connection is closed, this error is probably the cause: it becomes a part
# of the detail (`explain`). It decides the outcome only before the session is ready, because a
# service refuses a session with an error and a close.


def _states_cause(outcome: str) -> bool:
    """Return whether an outcome states its cause. Otherwise an earlier error may be the cause."""
    parts = outcomes.parsed(outcome)
    return not parts.is_overdue and parts.family is not outcomes.Family.CLOSED


@dataclass(slots=True, eq=False)
class SessionEndings:
    """The endings of one session.

    `renewable` is True if the call continues in another session when this session expires. `expiry`
    is the close code of an expired session, and a part of its reason; None if the service reports
    the expiry in no such way.
    """

    facts: SessionFacts
    turns: PendingTurns
    owners: Attributor
    renewable: bool
    expiry: tuple[int, str] | None
    last_error: ServiceFailure | None = None
    """The last error since the last turn started that ended neither a turn nor the session."""

    def explain(self, outcome: str, *causes: Cause) -> tuple[Cause, ...]:
        """Return the causes of an ending, with the last error before it if the outcome does not
        state its cause.
        """
        if self.last_error is None or _states_cause(outcome):
            return causes
        return *causes, Cause(Code.SERVICE_REPORTED, {"text": self.last_error.detail})

    def fail(self, outcome: str, at_ns: int, *causes: Cause) -> None:
        causes = self.explain(outcome, *causes)
        self.facts.end(outcome, at_ns, *causes)
        for turn in self.turns.all:
            turn.end(outcome, at_ns, *causes)

    def _expire(self, at_ns: int, cause: Cause) -> None:
        """End a session that reached its age limit. It has not failed if the call continues in
        another session.
        """
        if self.renewable and self.facts.is_ready:
            # the first outcome is final; open turns fail nevertheless
            self.facts.end("renewed", at_ns, cause)
        self.fail(outcomes.EXPIRED, at_ns, cause)

    def apply_error(self, failure: ServiceFailure, at_ns: int) -> None:
        """Apply an error. The error ends the session, ends the turn whose message it names, or
        is only counted.
        """
        code = failure.cause or "unknown"
        effect = failure.effect
        cause = in_words(failure.detail)
        if effect is ErrorScope.EXPIRED:
            self._expire(at_ns, cause)
        elif effect is ErrorScope.FATAL:
            self.fail(
                f"failed:{code}" if self.facts.is_ready else f"connect_failed:{code}", at_ns, cause
            )
        elif effect is ErrorScope.UNCONNECTED:
            self.fail(f"{failure.type}:{code}", at_ns, in_words(failure.message))
        elif is_session_event(failure.event_id):
            self.fail(f"failed:{code}", at_ns, cause)
        elif effect is ErrorScope.UNANSWERED and not failure.event_id:
            self._apply_refusal(failure, at_ns)
        elif cut_of(failure.event_id) is not None:
            self._count(failure)
            self.turns.note_uncancelled(failure)
        else:
            self._apply_turn_error(failure, at_ns)

    def _apply_refusal(self, failure: ServiceFailure, at_ns: int) -> None:
        """Apply the refusal of a response that names no message: another response is in progress.

        The service has refused the answer to the last commit of its VAD. If it owes none, it has
        refused the request of the current turn.
        """
        turn = self.turns.current
        owners = self.owners
        if owners.service_responds and (unanswered := owners.drop_answer()) is not None:
            unanswered.input_speech.answered += 1
        elif turn is not None and owners.awaits_response(turn):
            owners.doubt(turn)
            self._end_turn(turn, failure, at_ns)
            return
        self._count(failure)

    def _apply_turn_error(self, failure: ServiceFailure, at_ns: int) -> None:
        """End the turn of an error. Drop the request or commit that the error answers, or doubt the
        request.

        An error belongs to the turn of the message that it names. An error without a message id
        ends the current turn if a limit was reached, or if its effect is that the turn has failed.
        """
        if failure.event_id:
            named = (turn for turn in self.turns.open if turn.plan.owns(failure.event_id))
            turn = next(named, None)
            self.owners.drop_event(failure.event_id)
        else:
            ends_turn = failure.effect in (ErrorScope.THROTTLED, ErrorScope.TURN_FAILED)
            turn = self.turns.current if ends_turn else None
            if turn is not None:
                self.owners.doubt(turn)
                self.owners.drop_commit(turn)
        if turn is None:
            self._count(failure)
        else:
            self._end_turn(turn, failure, at_ns)

    def _end_turn(self, turn: PendingTurn, failure: ServiceFailure, at_ns: int) -> None:
        outcome, cause = _ending(failure, "failed")
        turn.end(outcome, at_ns, cause)

    def _count(self, failure: ServiceFailure) -> None:
        self.facts.service_errors += 1
        self.last_error = failure

    def close(self, closed: inputs.ConnectionClosed, last_message_ns: int) -> None:
        """Apply the end of the connection. If the session has already ended, its outcome does not
        change.

        The last message was sent or received at `last_message_ns`.
        """
        code = closed.code
        at_ns = closed.at_ns
        reason = closed.reason
        facts = self.facts
        cause = in_words(reason)
        # of frames that cannot be read, this side closes the connection, but the service is the
        # cause
        is_hang_up = closed.ours and code not in (BAD_FRAME, TOO_LARGE)
        facts.is_closed = True
        if not is_hang_up:  # these columns have the words of a service that closes
            facts.close_code = code or None
            facts.close_reason = reason
        # The order is that of the most specific cause. An expired session is closed with a code
        # that has other meanings, and a refused one with any code, after an error that has the
        # reason.
        is_expiry = self.expiry and code == self.expiry[0] and self.expiry[1] in reason
        if is_expiry or (facts.is_expiring and not closed.ours):
            self._expire(at_ns, cause)
        # a gateway accepts the connection before it knows that the service refuses it (HTTP 429)
        elif not closed.ours and (limit := self._limit(code, reason)):
            self.fail(limit, at_ns, cause)
        # a service that refuses a session reports an error and then closes the connection
        elif self.last_error and not facts.is_ready:
            outcome, refusal = _ending(self.last_error, "connect_failed")
            limit = "" if outcomes.is_throttled(outcome) else limit_outcome(self.last_error.detail)
            self.fail(limit or outcome, at_ns, refusal)
        elif code == NORMAL and not closed.ours and self._is_mailbox:  # as after a message
            facts.end("ok", at_ns)
            for turn in self.turns.all:
                turn.end("ok", at_ns)
        elif code == BAD_FRAME:
            self.fail("protocol_error:frame", at_ns, cause)
        elif code == TOO_LARGE and closed.ours:
            self.fail("protocol_error:too_large", at_ns, cause)
        elif is_hang_up:
            self.fail(outcomes.HANG_UP, at_ns, cause)
        else:
            idle_ns = at_ns - closed.uncertainty_ns - last_message_ns
            idle = Cause(Code.IDLE_BEFORE, {"idle_s": idle_ns // NS_PER_S})
            self.fail(
                f"closed:{closed.cause or code}", at_ns, cause, *[idle] * (idle_ns >= MIN_IDLE_NS)
            )

    @property
    def _is_mailbox(self) -> bool:
        turn = self.turns.current
        return turn is not None and turn.plan.callee == MAILBOX

    def _limit(self, code: int, reason: str) -> str:
        """Return the outcome of a session that the service closes because of a limit; "" if neither
        code nor reason names one.
        """
        is_ready = self.facts.is_ready
        refused = HANDSHAKE if code == TRY_AGAIN_LATER and not is_ready else ""
        return limit_outcome(reason, is_ready=is_ready) or refused


def _ending(failure: ServiceFailure, kind: str) -> Ending:
    return failure_ending(failure, f"{kind}:{failure.cause or 'unknown'}", "error")


@dataclass(slots=True, eq=False)
class UnansweredAudio:
    """The messages, audio and tones that arrived after the last reply or the caller's speech ended,
    and are no reply.

    `detector` is None if the service names its replies. `has_track` is True if the audio arrives in
    packets.
    """

    facts: SessionFacts
    turns: PendingTurns
    detector: ReplyDetector | None
    has_track: bool
    _before: tuple[int, int, int] = (0, 0, 0)

    def restart(self) -> None:
        """Count from now on, because the caller's speech or a reply has ended."""
        self._before = self._received

    @property
    def _received(self) -> tuple[int, int, int]:
        """The (number of events, number of decoded bytes of audio, number of tones) of the session.

        If the service is full-duplex, the bytes are those of the whole stream. Otherwise they are
        those of all turns.
        """
        audio_bytes = self.facts.audio_bytes_received
        if self.detector is not None:
            return self.facts.events, audio_bytes, self.detector.tones
        return (
            self.facts.events,
            audio_bytes + sum(turn.audio_bytes_received for turn in self.turns.all),
            0,
        )

    def cause(self, audio: AudioFormat) -> Cause:
        """Return why nothing audible was received of a reply that never began. `audio` is the
        format of the reply.
        """
        # the causes are ordered by how far the audio came, because each step has another remedy
        messages, size, tones = (
            count - earlier for count, earlier in zip(self._received, self._before, strict=True)
        )
        if not messages:
            return Cause(Code.NO_PACKET if self.has_track else Code.NO_MESSAGE)
        arrivals = f"{messages} {'packet' if self.has_track else 'message'}{'s' * (messages > 1)}"
        if not size:
            return Cause(Code.NO_AUDIO, {"arrivals": arrivals})
        numbers = {"arrivals": arrivals, "audio_s": audio.duration_ns(size) / NS_PER_S}
        if tones:
            return Cause(Code.ONLY_TONES, numbers | {"tones": tones})
        return Cause(Code.INAUDIBLE, numbers | {"format": audio.name})
