"""The endings of a session: errors of the service, the close of the connection, and failures. Pure.

An ending of the session also ends its open turns. An error may instead end one turn, or be counted only.
"""

from __future__ import annotations

from bench.base.units import NS_PER_S
from bench.catalogue.outcomes import (
    EXPECTED,
    HANG_UP,
    INAUDIBLE,
    NO_AUDIO,
    NO_MESSAGE,
    NO_PACKET,
    ONLY_TONES,
    SERVICE_REPORTED,
)
from bench.observe.attribution import Attributor
from bench.observe.inputs import ConnectionClosed
from bench.observe.pending_turns import STOPS_REPLY, PendingTurns
from bench.observe.reply_detector import ReplyDetector
from bench.observe.session_facts import SessionFacts
from bench.transport.interface import BAD_FRAME, TOO_LARGE
from bench.wire.audio import AudioFormat
from bench.wire.dialect import SESSION_PREFIX
from bench.wire.events import ErrorScope, ServiceFailure

ENDS_TURN = frozenset({ErrorScope.THROTTLED, ErrorScope.TURN_FAILED})
"""The effects of errors that end the open turn, even if the error names no message of the turn."""
UNEXPLAINED = ("timeout:", "closed:", EXPECTED)
"""The prefixes of outcomes that do not state their cause. An earlier error may be the cause."""


class SessionEndings:
    """The endings of one session.

    `renewable` is True if the call continues in another session when this session expires. `expiry` is the close code
    of an expired session, and a part of its reason; None if the service reports the expiry in no such way.
    """

    __slots__ = ("_expiry", "_facts", "_owners", "_renewable", "_turns", "last_error")

    def __init__(
        self,
        facts: SessionFacts,
        turns: PendingTurns,
        owners: Attributor,
        *,
        renewable: bool,
        expiry: tuple[int, str] | None,
    ) -> None:
        self._facts, self._turns, self._owners = facts, turns, owners
        self._renewable, self._expiry = renewable, expiry
        self.last_error: ServiceFailure | None = None
        """The last error since the last turn started that ended neither a turn nor the session."""

    def explain(self, outcome: str, detail: str) -> str:
        """Return the detail of an ending, with the last error before it if the outcome does not state its cause."""
        if self.last_error is None or not outcome.startswith(UNEXPLAINED):
            return detail
        return "; ".join(filter(None, (detail, SERVICE_REPORTED + self.last_error.detail)))

    def fail(self, outcome: str, at_ns: int, detail: str = "") -> None:
        detail = self.explain(outcome, detail)
        self._facts.end(outcome, at_ns, detail)
        for turn in self._turns.all:
            turn.end(outcome, at_ns, detail)

    def _expire(self, at_ns: int, detail: str) -> None:
        """End a session that reached its age limit. It has not failed if the call continues in another session."""
        if self._renewable and self._facts.is_ready:
            self._facts.end("renewed", at_ns, detail)  # the first outcome is final; open turns fail nevertheless
        self.fail("session_expired", at_ns, detail)

    def apply_error(self, failure: ServiceFailure, at_ns: int) -> None:
        """Apply an error. The error ends the session, ends the turn whose message it names, or is only counted."""
        cause, effect = failure.cause or "unknown", failure.effect
        if effect is ErrorScope.EXPIRED:
            self._expire(at_ns, failure.detail)
        elif effect is ErrorScope.FATAL:
            self.fail(f"failed:{cause}" if self._facts.is_ready else f"connect_failed:{cause}", at_ns, failure.detail)
        elif failure.event_id.startswith(SESSION_PREFIX):
            self.fail(f"failed:{cause}", at_ns, failure.detail)
        elif effect is ErrorScope.UNANSWERED and not failure.event_id and self._owners.service_responds:
            if (unanswered := self._owners.drop_answer()) is not None:
                unanswered.input_speech.answered += 1
            self._count(failure)
        elif failure.event_id.endswith(STOPS_REPLY):
            self._count(failure)
            self._turns.note_uncancelled(failure)
        else:
            self._apply_turn_error(failure, at_ns)

    def _apply_turn_error(self, failure: ServiceFailure, at_ns: int) -> None:
        """End the turn of an error. Drop the request or commit that the error answers, or doubt the request.

        An error belongs to the turn of the message that it names. An error without a message id ends the current turn
        if the effect of the error requires that.
        """
        if failure.event_id:
            named = (turn for turn in self._turns.open if failure.event_id.startswith(turn.plan.event_prefix))
            turn = next(named, None)
            self._owners.drop_event(failure.event_id)
        else:
            turn = self._turns.current if failure.effect in ENDS_TURN else None
            if turn is not None:
                self._owners.doubt(turn)
                self._owners.drop_commit(turn)
        if turn is None:
            self._count(failure)
        else:
            turn.end(_outcome(failure, "failed"), at_ns, failure.detail)

    def _count(self, failure: ServiceFailure) -> None:
        self._facts.service_errors += 1
        self.last_error = failure

    def close(self, closed: ConnectionClosed) -> None:
        """Apply the end of the connection. If the session has already ended, its outcome does not change."""
        code, at_ns, reason, facts = closed.code, closed.at_ns, closed.reason, self._facts
        is_hang_up = closed.ours and code not in (BAD_FRAME, TOO_LARGE)
        facts.is_closed = True
        if not is_hang_up:  # these columns have the words of a service that closes
            facts.close_code, facts.close_reason = code, reason
        if self._expiry and code == self._expiry[0] and self._expiry[1] in reason:
            self._expire(at_ns, reason)
        # a service that refuses a session reports an error and then closes the connection
        elif self.last_error and not facts.is_ready:
            self.fail(_outcome(self.last_error, "connect_failed"), at_ns, self.last_error.detail)
        elif code == BAD_FRAME:
            self.fail("protocol_error:frame", at_ns, reason)
        elif code == TOO_LARGE and closed.ours:
            self.fail("protocol_error:too_large", at_ns, reason)
        elif is_hang_up:
            self.fail(HANG_UP, at_ns, reason)
        else:
            self.fail(f"closed:{closed.cause or code}", at_ns, reason)


def _outcome(failure: ServiceFailure, kind: str) -> str:
    return "throttled:error" if failure.effect is ErrorScope.THROTTLED else f"{kind}:{failure.cause or 'unknown'}"


class UnansweredAudio:
    """The messages, audio and tones that arrived after the last reply or the caller's speech ended, and are no reply.

    `detector` is None if the service names its replies. `has_track` is True if the audio arrives in packets.
    """

    __slots__ = ("_before", "_detector", "_facts", "_has_track", "_turns")

    def __init__(
        self, facts: SessionFacts, turns: PendingTurns, detector: ReplyDetector | None, *, has_track: bool
    ) -> None:
        self._facts, self._turns, self._detector, self._has_track = facts, turns, detector, has_track
        self._before = 0, 0, 0

    def restart(self) -> None:
        """Count from now on, because the caller's speech or a reply has ended."""
        self._before = self._received

    @property
    def _received(self) -> tuple[int, int, int]:
        """The (number of events, number of decoded bytes of audio, number of tones) of the session.

        If the service is full-duplex, the bytes are those of the whole stream. Otherwise they are those of all turns.
        """
        audio_bytes = self._facts.audio_bytes_received
        if self._detector is not None:
            return self._facts.events, audio_bytes, self._detector.tones
        return self._facts.events, audio_bytes + sum(turn.audio_bytes_received for turn in self._turns.all), 0

    def description(self, audio: AudioFormat) -> str:
        """Return the text for the detail of a turn whose reply never began. `audio` is the format of the reply."""
        messages, size, tones = (count - earlier for count, earlier in zip(self._received, self._before, strict=True))
        if not messages:
            return NO_PACKET if self._has_track else NO_MESSAGE
        arrivals = f"{messages} {'packet' if self._has_track else 'message'}{'s' * (messages > 1)} came"
        if not size:
            return f"{arrivals}, {NO_AUDIO}"
        seconds = audio.duration_ns(size) / NS_PER_S
        if tones:
            return f"{arrivals} with {seconds:.1f} s of audio, {ONLY_TONES} ({tones})"
        causes = f"silence, even noise, or another format than {audio.name}"
        return f"{arrivals} with {seconds:.1f} s of audio, {INAUDIBLE} ({causes})"
