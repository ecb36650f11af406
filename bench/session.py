"""The playback of a session's script: what is sent when, and what the session waits for before.

Turn 1 begins after the service has greeted the session and accepted its settings, or at once if the start is pipelined.
Within a turn nothing waits for an acknowledgement, because some services send none.

If the service detects turns, the caller's microphone is open from the first turn until the session ends. It sends
silence while no one speaks. The caller listens to a reply to its end before the next turn. If the VAD took a pause for
the end of a turn, the session lets the service finish its response before the next turn.

A wait is a function that returns an instant; or None if the awaited event has come, or will not come. The session
sleeps until that instant, and calls the function again after each message. Events that end a wait go to the timeline,
and not to the wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench.observe import inputs
from bench.observe.session_facts import DESCRIPTIONS
from bench.observe.timeline import Timeline
from bench.observe.turn import LATE_TRANSCRIPT_NS, State
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
from bench.protocol.base import AwaitedEvent, ClientMessage
from bench.protocol.events import EventKind
from bench.protocol.settings import FunctionOutput
from bench.session_io import SessionIO, SessionListener
from bench.transport.interface import Transport
from bench.units import NEVER_NS, NS_PER_S

UNACKNOWLEDGED_NS = 2_000_000_000
"""The wait for the next acknowledgement of the history after the last one. Some services send none."""
Until = Callable[[Timeline, int], int | None]
"""A function that returns the end of a wait, from the timeline and the time; None if there is nothing to wait for."""


def turn_end(timeline: Timeline, _: int) -> int | None:
    """Return the next deadline while a turn is open, else None."""
    return None if timeline.turns.all_over else timeline.next_deadline_ns


def expected_events(timeline: Timeline, _: int) -> int | None:
    """Return the next deadline while the current turn lacks an event that the script expects, else None."""
    turn = timeline.turns.current
    return timeline.next_deadline_ns if turn is not None and turn.expected else None


def cue_for(cue: InterruptTrigger) -> Until:
    """Return a wait for the instant at which the reply is to be interrupted, or for the end of the turn."""

    def wait(timeline: Timeline, now_ns: int) -> int | None:
        turn = timeline.turns.interrupted
        if turn is None or turn.state is State.OVER:
            return None
        due_ns = turn.trigger_ns(cue)
        if due_ns is not None and due_ns <= now_ns:
            return None
        return min(due_ns or NEVER_NS, timeline.next_deadline_ns)

    return wait


def instant(at_ns: int) -> Until:
    """Return a wait for an instant, or for the session's end."""
    return lambda timeline, now_ns: None if timeline.over or now_ns >= at_ns else at_ns


def late_words(timeline: Timeline, now_ns: int) -> int | None:
    """Return the end of the wait for late events of turns: transcripts, acknowledgements of truncations."""
    if timeline.over:
        return None
    ended_ns = [t.instants["ended"] for t in timeline.turns.all if t.state is State.OVER and t.is_incomplete(now_ns)]
    return max(ended_ns) + LATE_TRANSCRIPT_NS if ended_ns else None


def cut_checks(timeline: Timeline, now_ns: int) -> int | None:
    """Return the end of the wait for pending checks of truncated replies, if the script requests such checks."""
    if timeline.over:
        return None
    pending = (t for t in timeline.turns.all if t.state is State.OVER and t.check and t.check.pending)
    until_ns = max((turn.instants["ended"] + LATE_TRANSCRIPT_NS for turn in pending), default=now_ns)
    return until_ns if until_ns > now_ns else None


def described(kind: EventKind) -> Until:
    """Return a wait for an event by which the service describes the session."""
    mark = DESCRIPTIONS[kind]
    return lambda timeline, _: None if timeline.over or mark in timeline.facts.instants else NEVER_NS


def history_acked(sent_ns: int) -> Until:
    """Return a wait for the acknowledgements of the whole history. It ends if none comes for UNACKNOWLEDGED_NS."""

    def wait(timeline: Timeline, _: int) -> int | None:
        facts = timeline.facts
        if timeline.over or not facts.history_left:
            return None
        return max(sent_ns, facts.history_acked_ns) + UNACKNOWLEDGED_NS

    return wait


def quiet(timeline: Timeline, _: int) -> int | None:
    """Return the end of the wait for pending work of the service: the limit `next_delta` after the last arrival."""
    if timeline.over or not timeline.owners.has_pending_work:
        return None
    return timeline.arrived_ns + int(timeline.limits.next_delta * NS_PER_S)


def at_most(wait: Until, longest_ns: int) -> Until:
    """Return the same wait with an instant at which it ends at the latest."""

    def shorter(timeline: Timeline, now_ns: int) -> int | None:
        until_ns = wait(timeline, now_ns)
        return None if until_ns is None else min(until_ns, longest_ns)

    return shorter


SLICE_NS = 250_000_000
"""The period at which a wait checks whether the run is ending."""


class Session:
    """One session, from the open transport to its close. `ending()` returns whether no new turn may begin.

    `play` runs all of it. `open`, `perform` for each step, and `close` are its parts, for a caller that chooses the
    steps during the session.
    """

    def __init__(
        self,
        script: PreparedScript,
        transport: Transport,
        timeline: Timeline,
        listener: SessionListener,
        ending: Callable[[], bool],
    ) -> None:
        self._script, self._transport, self._timeline, self._ending = script, transport, timeline, ending
        self._line = SessionIO(script, transport, timeline, listener)

    def play(self) -> None:
        """Greet, play every step, wait for late transcripts, and close. The outcomes are in the timeline."""
        self.open()
        for step in self._script.steps:
            if not self.perform(step):
                break
        self.close()

    def open(self) -> None:
        """Set the session up as its dialect requires.

        Usually the service greets, receives the settings, and confirms them.
        """
        until_ns = self.now_ns + int(self._script.limits.session * NS_PER_S)
        for step in self._script.set_up:
            if self._timeline.over:
                break
            if isinstance(step, AwaitedEvent):
                if self._await_in_time(at_most(described(step.kind), until_ns)):
                    # the time that this process takes to continue extends the limit, because the service waits for it
                    until_ns += max(0, self.now_ns - self._timeline.arrived_ns)
                else:
                    detail = f"{step.name} was not received within the timeout `session`"
                    self._timeline.tell(inputs.SessionFailed("timeout:session", until_ns, detail))
            else:
                self._line.send(step)
        if self._script.history and not self._timeline.over:
            self._tell_history(self._script.history)
        if self._script.between:
            self._line.microphone.open(self.now_ns + self._script.phase_ns)

    @property
    def outputs(self) -> dict[str, FunctionOutput]:
        """The outputs of functions by the ids of their calls. A reader removes what it takes."""
        return self._line.functions.outputs

    @property
    def now_ns(self) -> int:
        """The time on the clock of the session's instants."""
        return self._transport.now_ns()

    def perform(self, step: PreparedStep) -> bool:
        """Play one step. Return False if the session is over, as it is when the run ends between turns.

        The end of a turn is not awaited here: the next step does so, unless it is a step within the turn.
        """
        if not step.within_turn:
            if step.plays_turn:
                self._rest()
            self.await_quiet(settled=step.plays_turn)
        if not self._timeline.over:
            HANDLERS[type(step)](self, step)
        return not self._timeline.over

    def await_quiet(self, *, settled: bool) -> None:
        """Wait until the open turn is over and its reply is played. `settled`: also until its pending work is done."""
        self._await(turn_end, for_turn=True)
        self._hear_out()
        if settled:
            self._settle()
            self._await_unless_ending(cut_checks)
        if self._ending() and not self._timeline.over:
            self._timeline.tell(inputs.SessionFailed("unfinished", self.now_ns, "the run ended"))

    def _rest(self) -> None:
        """Wait for the end of the last turn, and then for the delay that the service asked for."""
        self.await_quiet(settled=False)
        self._await_unless_ending(instant(self._line.asked_until_ns))

    def await_turn(self) -> None:
        """Wait until the last turn is over and complete. The microphone stays open."""
        self._await(turn_end, for_turn=True)
        self._await_unless_ending(late_words)
        self._line.run_actions()

    def close(self) -> None:
        """Wait for the end of the last turn and for late transcripts, and close."""
        self._await(turn_end, for_turn=True)
        self._await_unless_ending(late_words)
        if not self._timeline.over:
            self._timeline.tell(inputs.ScriptFinished(self.now_ns))
        self._line.run_actions()  # the session is over, so turns are delivered even if their transcripts are missing
        self._line.hang_up()

    def abandon(self, outcome: str, detail: str) -> None:
        """End the session early, without waiting: open turns get this outcome, and the connection is dropped."""
        self._timeline.tell(inputs.SessionFailed(outcome, self.now_ns, detail))
        self._line.run_actions()
        self._transport.abort()

    # Steps.

    def _tell_history(self, messages: Sequence[ClientMessage]) -> None:
        """Send the history. Wait for its acknowledgement, unless the start is pipelined."""
        self._timeline.tell(inputs.HistoryStarted(self.now_ns, len(messages)))
        for message in messages:
            self._line.send(message)
        if not self._script.pipelined:
            self._await_in_time(history_acked(self.now_ns))

    def _hear_out(self) -> None:
        """Wait, with an open microphone, until the reply has been played, because earlier speech would interrupt it."""
        if self._script.between:
            self._await_unless_ending(instant(self._timeline.playback_ends_ns))

    def _settle(self) -> None:
        """Wait for the service's pending work for turns that are over, and give it up if it takes too long."""
        longest_ns = self.now_ns + int(self._script.limits.response * NS_PER_S)
        if not self._await_unless_ending(at_most(quiet, longest_ns)):
            self._timeline.tell(inputs.StoppedWaiting())

    def say(self, turn: PreparedTurn) -> None:
        """Send a turn: its speech, each chunk when it is due, and then all else."""
        if turn.interrupts is not None and not self._await_cue("speech", turn.interrupts, verify=turn.verifies):
            self.await_quiet(settled=True)  # the reply was over before the cue
        if self._timeline.over:
            return
        if turn.speech:
            self._speak(turn)
        else:
            self._line.start_turn(turn)
        for message in (*turn.inputs, *((turn.request,) if turn.request and not turn.plan.vad else ())):
            if not self._timeline.turns.all_over:
                self._line.send(message)
        if turn.kind == "audio" and not turn.plan.vad:
            self._clear_input(turn)

    def _clear_input(self, turn: PreparedTurn) -> None:
        """Clear the service's input buffer after a turn that failed, so that its audio does not join the next turn."""
        if self._timeline.turns.all_over and not self._timeline.over:
            self._line.send(self._script.dialect.clear(f"{turn.plan.event_prefix}clear"))

    def _speak(self, turn: PreparedTurn) -> None:
        if not self._script.between:
            self._line.microphone.open(self.now_ns)
        self._line.start_turn(turn)
        self._await(self._line.speech_end, for_turn=True)
        self._line.microphone.stop_speech()  # unsent speech, if the turn is over before its speech

    def interrupt(self, interrupt: PreparedInterruption) -> None:
        """Interrupt the reply without speech, as a client's stop button does, unless the reply is over before."""
        if not self._await_cue("client", interrupt.cue, verify=interrupt.verify):
            return
        self._timeline.tell(inputs.ClientInterrupted(self.now_ns))
        self._line.run_actions()

    def sound(self, sound: PreparedSound) -> None:
        """Send a sound that is not a turn: at its cue in the reply, unless that is over before, or in silence."""
        if sound.cue is None:
            self._break_silence(sound)
        elif self._await_cue(sound.kind, sound.cue):
            self._murmur(sound)

    def _murmur(self, sound: PreparedSound) -> None:
        self._line.microphone.speak(sound.chunks, sound.between)
        self._await(self._line.sound_end)

    def _break_silence(self, sound: PreparedSound) -> None:
        """Send a sound that needs no reply, and play any reply of the service to it."""
        self.await_quiet(settled=True)
        if self._timeline.over:
            return
        reply_format = self._script.output_format.name
        self._timeline.tell(inputs.SoundStarted(reply_format, self._script.jitter_buffer_ns))
        self._murmur(sound)
        self._await_unless_ending(instant(self.now_ns + WATCH_NS))
        self._settle()
        self._hear_out()
        self._timeline.tell(inputs.SoundEnded())

    def _await_cue(self, kind: InterruptionKind, cue: InterruptTrigger, *, verify: bool = False) -> bool:
        """Wait until the reply is to be interrupted. Return False if it is over before."""
        self._timeline.tell(inputs.InterruptionAwaited(kind, verify))
        self._await(cue_for(cue))
        return self._timeline.turns.interruptible

    def pause(self, pause: PreparedPause) -> None:
        """Stay silent for the duration of the pause."""
        self._await_unless_ending(instant(self.now_ns + pause.duration_ns))

    def send_event(self, step: PreparedEvent) -> None:
        """Send a message without waiting for a response."""
        self._line.send(step.message)

    def expect(self, expected: PreparedExpectation) -> None:
        """Wait for the event that the script requires of the open turn. The turn fails if it comes too late."""
        until_ns = self.now_ns + int(expected.within_s * NS_PER_S)
        self._timeline.tell(inputs.EventExpected(expected.event, until_ns))
        self._await(expected_events)

    def _await(self, wait: Until, *, for_turn: bool = False) -> None:
        """Receive until the wait is over. `for_turn`: as for `SessionIO.listen`."""
        while (until_ns := wait(self._timeline, self.now_ns)) is not None:
            self._line.listen(until_ns, for_turn=for_turn)

    def _await_in_time(self, wait: Until, ending: Callable[[], bool] = lambda: False) -> bool:
        """Receive until the wait is over. Return False if its limit passes first.

        A limit has passed when all messages that arrived until then were handled. If the run is `ending`, return True
        at once, because between turns that loses no data.
        """
        while (until_ns := wait(self._timeline, self.now_ns)) is not None and not ending():
            if self._transport.heard_ns >= until_ns:
                return False
            self._line.listen(min(until_ns, self.now_ns + SLICE_NS))
        return True

    def _await_unless_ending(self, wait: Until) -> bool:
        return self._await_in_time(wait, self._ending)


HANDLERS: dict[type, Callable[[Session, Any], None]] = {
    PreparedTurn: Session.say,
    PreparedSound: Session.sound,
    PreparedInterruption: Session.interrupt,
    PreparedPause: Session.pause,
    PreparedExpectation: Session.expect,
    PreparedEvent: Session.send_event,
}
"""The method that plays a prepared step in an open session, by the type of the step.

Steps have no such method of their own: it would need the session's internals, and `plan` must prepare and price a
script without a session.
"""
