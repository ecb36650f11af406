"""The endings of a session, and why a reply that never began is missing. Pure.

An ending of the session (an error of the service, the close of the connection, a failure) also ends
its open turns. An error may instead end one turn, or be counted only.
"""

# An error ends as little as possible. It ends the session if its effect is on the session, or if it
# names a message of the set-up. It ends a turn if it names one of its messages, or if its effect is
# on the open turn. A message that only stops a reply may come too late, so an error about it ends
# nothing.
#
# All other errors are counted, and the last one is remembered until the next turn starts. If a turn
# then times out, or the connection is closed, this error is probably the cause: it becomes a part
# of the detail (`explain`). It decides the outcome only before the session is ready, because a
# service refuses a session with an error and a close.

from __future__ import annotations

from dataclasses import dataclass

from bench.base.units import NS_PER_S
from bench.catalogue import outcomes
from bench.catalogue.causes import Cause, Code, Ending, in_words
from bench.observe import inputs
from bench.observe.attribution import Attributor
from bench.observe.pending_turns import PendingTurns, cut_of
from bench.observe.reply_detector import ReplyDetector
from bench.observe.session_facts import SessionFacts
from bench.observe.turn import PendingTurn
from bench.observe.turn_events import failure_ending
from bench.transport.interface import BAD_FRAME, TOO_LARGE, TRY_AGAIN_LATER
from bench.wire.audio import AudioFormat
from bench.wire.dialect import is_session_event
from bench.wire.events import ErrorScope, ServiceFailure

MIN_IDLE_NS = 10 * NS_PER_S
"""The minimum time without a message before the end of a connection that the detail of the end
states.

Devices on the way end idle connections after 20 s or more.
"""


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
            facts.close_code = code
            facts.close_reason = reason
        # The order is that of the most specific cause. An expired session is closed with a code
        # that has other meanings, and a refused one with any code, after an error that has the
        # reason.
        is_expiry = self.expiry and code == self.expiry[0] and self.expiry[1] in reason
        if is_expiry or (facts.is_expiring and not closed.ours):
            self._expire(at_ns, cause)
        # a gateway accepts the connection before it knows that the service refuses it (HTTP 429)
        elif code == TRY_AGAIN_LATER and not facts.is_ready and not closed.ours:
            self.fail("throttled:handshake", at_ns, cause)
        # a service that refuses a session reports an error and then closes the connection
        elif self.last_error and not facts.is_ready:
            outcome, refusal = _ending(self.last_error, "connect_failed")
            self.fail(outcome, at_ns, refusal)
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
