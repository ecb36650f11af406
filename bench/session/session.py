"""The playback of a session's script: when each message is sent, and what the session waits for
before it.

Turn 1 begins after the service has greeted the session and accepted its settings, or at once if the
start is pipelined. Within a turn nothing waits for an acknowledgement, because some services send
none.

If the service detects turns, the caller's microphone is open from the first turn until the session
ends. It sends silence while no one speaks. The caller listens to a reply to its end before the next
turn. If the VAD took a pause for the end of a turn, the session lets the service finish its
response before the next turn.

A wait is a function that returns an instant, or None if the awaited event has come or will not
come. The session sleeps until that instant, and calls the function again after each message. Events
that end a wait go to the timeline, and not to the wait.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.base.units import NEVER_NS, NS_PER_S
from bench.observe import inputs
from bench.observe.session_facts import AWAITED
from bench.observe.timeline import Timeline
from bench.observe.turn import PendingTurn, State, late_until_ns
from bench.plan.prepared import (
    PreparedEvent,
    PreparedExpectation,
    PreparedInterruption,
    PreparedPause,
    PreparedScript,
    PreparedSound,
    PreparedStep,
    PreparedTurn,
)
from bench.plan.turn_plan import WATCH_NS, InterruptionKind, InterruptTrigger
from bench.session.meetings import LIMIT_NS, POLL_NS
from bench.session.session_io import SessionIO, SessionListener
from bench.transport.interface import Transport, next_slot_ns
from bench.wire.dialect import SESSION_PREFIX, AwaitedEvent
from bench.wire.events import EventKind
from bench.wire.settings import FunctionOutput

HISTORY_ACK_TIMEOUT_NS = 2_000_000_000
"""The maximum wait for the next acknowledgement of the history. Some services send none."""
CLOSE_TIMEOUT_NS = 5_000_000_000
"""The maximum wait for the report of the session's end, without which the billed duration is
unknown."""
WaitCondition = Callable[[Timeline, int], int | None]
"""A function that returns the end of a wait, from the timeline and the time; None if there is
nothing to wait for."""


# Wait conditions. Each reads the state of the timeline, and none remembers a message. So a wait
# that begins after its event has arrived is over at once, and no wake-up can be missed.
def until_turns_end(timeline: Timeline, _: int) -> int | None:
    """Return the next deadline while a turn is open, else None."""
    return None if timeline.turns.are_all_over else timeline.next_deadline_ns


def until_expected_events(timeline: Timeline, _: int) -> int | None:
    """Return the next deadline while the current turn lacks an event that the script expects,
    else None.
    """
    turn = timeline.turns.current
    return timeline.next_deadline_ns if turn is not None and turn.waits.expected else None


def until_trigger(trigger: InterruptTrigger) -> WaitCondition:
    """Return a wait for the instant at which the reply is to be interrupted, or for the end of
    the turn.
    """

    def wait(timeline: Timeline, now_ns: int) -> int | None:
        turn = timeline.turns.interrupted
        if turn is None or turn.state is State.OVER:
            return None
        due_ns = turn.trigger_ns(trigger)
        if due_ns is not None and due_ns <= now_ns:
            return None
        return min(due_ns or NEVER_NS, timeline.next_deadline_ns)

    return wait


def until_instant(at_ns: int) -> WaitCondition:
    """Return a wait for an instant, or for the session's end."""
    return lambda timeline, now_ns: None if timeline.is_over or now_ns >= at_ns else at_ns


def _until_late(
    timeline: Timeline, now_ns: int, awaits: Callable[[PendingTurn], object]
) -> int | None:
    """Return the end of the wait for late events of ended turns: transcripts, acknowledgements
    of truncations.
    """
    over = (turn for turn in timeline.turns.all if turn.state is State.OVER and awaits(turn))
    until_ns = max((late_until_ns(turn) for turn in over), default=now_ns)
    return None if timeline.is_over or until_ns <= now_ns else until_ns


def until_late_transcripts(timeline: Timeline, now_ns: int) -> int | None:
    return _until_late(timeline, now_ns, lambda turn: turn.is_incomplete(now_ns))


def until_truncations_verified(timeline: Timeline, now_ns: int) -> int | None:
    return _until_late(timeline, now_ns, lambda turn: turn.check and turn.check.is_pending)


def until_session_event(kind: EventKind) -> WaitCondition:
    instant = AWAITED[kind]
    return lambda timeline, _: (
        None if timeline.is_over or instant in timeline.facts.instants else NEVER_NS
    )


def until_history_acked(sent_ns: int) -> WaitCondition:
    """Return a wait for the acknowledgements of the history, each within HISTORY_ACK_TIMEOUT_NS."""

    def wait(timeline: Timeline, _: int) -> int | None:
        facts = timeline.facts
        if timeline.is_over or not facts.history_left:
            return None
        return max(sent_ns, facts.history_acked_ns) + HISTORY_ACK_TIMEOUT_NS

    return wait


def until_service_idle(timeline: Timeline, _: int) -> int | None:
    """Return the end of the wait for pending work of the service: the last arrival plus the
    limit `next_delta`.
    """
    if timeline.is_over or not timeline.owners.has_pending_work:
        return None
    return timeline.arrived_ns + int(timeline.limits.next_delta * NS_PER_S)


def with_deadline(wait: WaitCondition, deadline_ns: int) -> WaitCondition:
    """Return the same wait, but with an end at `deadline_ns` at the latest."""

    def shorter(timeline: Timeline, now_ns: int) -> int | None:
        until_ns = wait(timeline, now_ns)
        return None if until_ns is None else min(until_ns, deadline_ns)

    return shorter


ENDING_POLL_NS = 250_000_000
"""The period at which a wait checks whether the run is ending."""


class Session:
    """One session, from the open transport to its close. `ending()` returns whether no new turn may
    begin.

    `run` plays all of the session. A caller that chooses the steps during the session uses `open`,
    `run_step` for each step, and `close` instead.
    """

    def __init__(
        self,
        script: PreparedScript,
        transport: Transport,
        timeline: Timeline,
        listener: SessionListener,
        ending: Callable[[], bool],
    ) -> None:
        self._script = script
        self._transport = transport
        self._timeline = timeline
        self._ending = ending
        self._listener = listener
        self._io = SessionIO(script, transport, timeline, listener)

    def run(self) -> None:
        """Greet, play every step, wait for late transcripts, and close. The outcomes are in the
        timeline.
        """
        self.open()
        for step in self._script.steps:
            if not self.run_step(step):
                break
        self.close()

    def open(self) -> None:
        """Set the session up: usually the service greets, receives the settings, and confirms
        them.
        """
        until_ns = self.now_ns + int(self._script.limits.session * NS_PER_S)
        for step in self._script.setup_messages:
            if self._timeline.is_over:
                break
            if isinstance(step, AwaitedEvent):
                if self._wait_in_time(with_deadline(until_session_event(step.kind), until_ns)):
                    # the time that this process takes to continue extends the limit, because the
                    # service waits for it
                    until_ns += max(0, self.now_ns - self._timeline.arrived_ns)
                else:
                    detail = f"{step.name} was not received within the timeout `session`"
                    self._timeline.apply(inputs.SessionFailed("timeout:session", until_ns, detail))
            else:
                self._io.send(step)
        if (history := self._script.history) and not self._timeline.is_over:
            self._timeline.apply(inputs.HistoryStarted(self.now_ns, len(history)))
            for message in history:
                self._io.send(message)
            if not self._script.pipelined:
                self._wait_in_time(until_history_acked(self.now_ns))
        if self._script.silence_chunks:
            self._io.microphone.open(next_slot_ns(self.now_ns + self._script.phase_ns))

    @property
    def function_outputs(self) -> dict[str, FunctionOutput]:
        """The outputs of functions by the ids of their calls. A reader removes what it takes."""
        return self._io.functions.outputs

    @property
    def now_ns(self) -> int:
        """The time on the clock of the session's instants."""
        return self._transport.now_ns()

    def run_step(self, step: PreparedStep) -> bool:
        """Play one step; the next one awaits the end of its turn. Return False if the session is
        over.
        """
        if not step.within_turn:
            # The pause for which the service asked is known only after the last turn was delivered,
            # so this waits for the turn, then for the pause. In the pause the service may have
            # begun to speak, so idleness is checked again.
            if step.is_turn:
                self.wait_until_idle(settled=False)
                self._wait_unless_ending(until_instant(self._io.retry_after_ns))
            self.wait_until_idle(settled=step.is_turn)
        if not self._timeline.is_over:
            HANDLERS[type(step)](self, step)
        return not self._timeline.is_over

    def wait_until_idle(self, *, settled: bool) -> None:
        """Wait until the open turn is over and played, and if `settled`, until the service has
        no pending work.
        """
        self._wait(until_turns_end, for_turn=True)
        self._wait_for_playback()
        if settled:
            self._wait_for_service()
            self._wait_unless_ending(until_truncations_verified)
        if self._ending() and not self._timeline.is_over:
            self._timeline.apply(inputs.SessionFailed("unfinished", self.now_ns, "the run ended"))

    def wait_for_turn(self) -> None:
        """Wait until the last turn is over and complete. The microphone stays open."""
        self._wait(until_turns_end, for_turn=True)
        self._wait_unless_ending(until_late_transcripts)
        self._io.run_actions()

    def close(self) -> None:
        """Wait for the last turn and late transcripts, end the session if the dialect has a
        message, and close.
        """
        self._wait(until_turns_end, for_turn=True)
        self._wait_unless_ending(until_late_transcripts)
        if not self._timeline.is_over:
            self._timeline.apply(inputs.ScriptFinished(self.now_ns))
        # the session is over, so turns are delivered even if their transcripts are missing
        self._io.run_actions()
        message = self._script.dialect.close(f"{SESSION_PREFIX}close")
        facts = self._timeline.facts
        # then wait for the billed duration
        if message is not None and facts.is_ready and not facts.is_closed:
            self._io.send(message)
            until_ns = self.now_ns + CLOSE_TIMEOUT_NS
            self._wait_in_time(lambda timeline, _: None if timeline.facts.is_closed else until_ns)
        self._io.close()

    def abort(self, outcome: str, detail: str) -> None:
        """End the session early, without waiting: open turns get this outcome, and the
        connection is dropped.
        """
        self._timeline.apply(inputs.SessionFailed(outcome, self.now_ns, detail))
        self.drop()

    def drop(self) -> None:
        """Deliver the turns of a session that is over, and drop its connection without waiting."""
        self._io.run_actions()
        self._transport.abort()

    # Steps.

    def _wait_for_playback(self) -> None:
        """Wait, with an open microphone, until the reply has been played, because earlier speech
        would interrupt it.
        """
        if self._script.silence_chunks:
            self._wait_unless_ending(until_instant(self._timeline.playback_ends_ns))

    def _wait_for_service(self) -> None:
        """Wait for the service's pending work for turns that are over. If it takes too long,
        wait no longer.
        """
        deadline_ns = self.now_ns + int(self._script.limits.response * NS_PER_S)
        if not self._wait_unless_ending(with_deadline(until_service_idle, deadline_ns)):
            self._timeline.apply(inputs.StoppedWaiting())

    def send_turn(self, turn: PreparedTurn) -> None:
        """Send a turn: first its speech, each chunk when it is due, and then all other messages."""
        if turn.interrupts is not None and not self._wait_for_trigger(
            "speech", turn.interrupts, verify=turn.verifies
        ):
            self.wait_until_idle(settled=True)  # the reply was over before the cue
        begin_ns = self._wait_for_callers(turn) if turn.together else next_slot_ns(self.now_ns)
        if self._timeline.is_over:
            return
        if turn.speech:
            if not self._script.silence_chunks:
                if turn.opening is not None:
                    self._io.send(turn.opening)
                self._io.microphone.open(begin_ns)
            self._io.start_turn(turn)
            # speech and silence are sent by the event loop meanwhile
            self._wait(self._io.until_speech_sent, for_turn=True)
            # unsent speech, if the turn is over before its speech
            self._io.microphone.stop_speech()
        else:
            self._io.start_turn(turn)
        for message in (
            *turn.inputs,
            *((turn.request,) if turn.request and not turn.plan.vad else ()),
        ):
            if not self._timeline.turns.are_all_over:
                self._io.send(message)
        failed = self._timeline.turns.are_all_over and not self._timeline.is_over
        # so that its audio does not join the next turn
        if failed and turn.kind == "audio" and not turn.plan.vad:
            clear = self._script.dialect.clear(f"{turn.plan.event_prefix}clear")
            if clear is not None:
                self._io.send(clear)

    def _wait_for_callers(self, turn: PreparedTurn) -> int:
        """Wait for the other callers of a turn. Return when to begin it, so that all end their
        input together.

        An open microphone begins the turn with the next chunk, so the wait ends within the chunk
        before it. A telephony provider prescribes the instants of all chunks, so the ends of such
        callers differ by up to a chunk.
        """
        meeting = self._listener.meet(turn, self.now_ns)
        limit_ns = self.now_ns + LIMIT_NS
        chunk_ns = (turn.chunk_ns or 0) if self._script.silence_chunks else 0
        aligns = chunk_ns > 0 and self._script.dialect.frame_ms is None

        def wait(timeline: Timeline, now_ns: int) -> int | None:
            if timeline.is_over:
                return None
            if meeting.end_ns is None:
                return now_ns + POLL_NS if now_ns < limit_ns else None
            begin_ns = meeting.end_ns - turn.speech_ns
            if aligns:  # only the first call moves the microphone
                self._io.microphone.align(begin_ns)
            until_ns = begin_ns - chunk_ns // 2
            return None if now_ns >= until_ns else until_ns

        try:
            self._wait_unless_ending(wait)
        finally:  # also if the user is stopped, so that the others do not count it
            if meeting.end_ns is None:
                meeting.waiting -= 1
        if meeting.end_ns is not None:
            return meeting.end_ns - turn.speech_ns
        if not self._timeline.is_over:
            ended = (
                f"only {meeting.waiting + 1} of {meeting.size} callers came to the step"
                f" {turn.plan.step}"
            )
            self._timeline.apply(inputs.SessionFailed("unfinished", self.now_ns, ended))
        return self.now_ns

    def interrupt(self, interrupt: PreparedInterruption) -> None:
        """Interrupt the reply without speech, as a client's stop button does, unless the reply
        is over before.
        """
        if not self._wait_for_trigger("client", interrupt.trigger, verify=interrupt.verify):
            return
        self._timeline.apply(inputs.ClientInterrupted(self.now_ns))
        self._io.run_actions()

    def send_sound(self, sound: PreparedSound) -> None:
        """Send a sound in silence, or at its trigger in the reply, unless the reply is over
        before.
        """
        if sound.trigger is None:
            self._send_sound_in_silence(sound)
        elif self._wait_for_trigger(sound.kind, sound.trigger):
            self._stream_sound(sound)

    def _stream_sound(self, sound: PreparedSound) -> None:
        self._io.microphone.speak(sound.chunks, sound.silence_chunks)
        self._wait(self._io.until_sound_sent)

    def _send_sound_in_silence(self, sound: PreparedSound) -> None:
        """Send a sound that needs no reply, and play any reply of the service to it."""
        self.wait_until_idle(settled=True)
        if self._timeline.is_over:
            return
        reply_format = self._script.output_format.name
        self._timeline.apply(inputs.SoundStarted(reply_format, self._script.jitter_buffer_ns))
        self._stream_sound(sound)
        self._wait_unless_ending(until_instant(self.now_ns + WATCH_NS))
        self._wait_for_service()
        self._wait_for_playback()
        self._timeline.apply(inputs.SoundEnded())

    def _wait_for_trigger(
        self, kind: InterruptionKind, trigger: InterruptTrigger, *, verify: bool = False
    ) -> bool:
        """Wait until the reply is to be interrupted. Return False if the reply is over before."""
        self._timeline.apply(inputs.InterruptionAwaited(kind, verify))
        self._wait(until_trigger(trigger))
        return self._timeline.turns.is_interruptible

    def pause(self, pause: PreparedPause) -> None:
        self._wait_unless_ending(until_instant(self.now_ns + pause.duration_ns))

    def send_event(self, step: PreparedEvent) -> None:
        self._io.send(step.message)

    def wait_for_event(self, expected: PreparedExpectation) -> None:
        """Wait for the event that the script requires of the open turn. The turn fails if it
        comes too late.
        """
        until_ns = self.now_ns + int(expected.within_s * NS_PER_S)
        self._timeline.apply(inputs.EventExpected(expected.event, until_ns))
        self._wait(until_expected_events)

    def _wait(self, wait: WaitCondition, *, for_turn: bool = False) -> None:
        """Receive until the wait is over. `for_turn` has the same meaning as for
        `SessionIO.receive_until`.
        """
        while (until_ns := wait(self._timeline, self.now_ns)) is not None:
            self._io.receive_until(until_ns, for_turn=for_turn)

    def _wait_in_time(
        self, wait: WaitCondition, ending: Callable[[], bool] = lambda: False
    ) -> bool:
        """Receive until the wait is over, which no sound ends. Return False if its limit passes
        first.

        A limit has passed when all messages that arrived until then were handled. If the run is
        `ending`, return True at once, because between turns that loses no data.
        """
        while (until_ns := wait(self._timeline, self.now_ns)) is not None and not ending():
            if self._transport.watermark_ns >= until_ns:
                return False
            poll_ns = min(until_ns, self.now_ns + ENDING_POLL_NS)
            self._io.receive_until(poll_ns, for_sound=False)
        return True

    def _wait_unless_ending(self, wait: WaitCondition) -> bool:
        return self._wait_in_time(wait, self._ending)


HANDLERS: dict[type, Callable[[Session, Any], None]] = {
    PreparedTurn: Session.send_turn,
    PreparedSound: Session.send_sound,
    PreparedInterruption: Session.interrupt,
    PreparedPause: Session.pause,
    PreparedExpectation: Session.wait_for_event,
    PreparedEvent: Session.send_event,
}
"""The method that plays a prepared step in an open session, by the type of the step.

Steps have no such method of their own: it would need the session's internals, and `plan` must
prepare and price a script without a session.
"""
