"""Plays a session's script: what is said when, and what is waited for before it.

Turn 1 begins once the service has greeted the session and taken its settings, or, where the start is pipelined, at
once; within a turn nothing waits for an acknowledgement, for some services send none.

Where the service detects turns, the caller's microphone is open from the first turn on until the session ends: it sends
silence while nobody speaks, the caller listens to a reply to its end before speaking again, and a VAD that took a pause
for the end of a turn is let finish before the next one.

What it waits for is a function that gives an instant, or None where it is there, or will not come. The session sleeps
until then, and asks again after whatever came; what ends a wait is told to the timeline, not to it.
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
"""How long the history is waited for after its last acknowledgement: some services send none."""
Until = Callable[[Timeline, int], int | None]
"""Until when something is waited for, given what is known, and what time it is."""


def turn_end(timeline: Timeline, _: int) -> int | None:
    """The end of the turns that are under way."""
    return None if timeline.turns.all_over else timeline.wake_ns


def expected_events(timeline: Timeline, _: int) -> int | None:
    """All events that the script insists on in the current turn, or that turn's end."""
    turn = timeline.turns.current
    return timeline.wake_ns if turn is not None and turn.expected else None


def cue_for(cue: InterruptTrigger) -> Until:
    """The instant at which the reply is to be interrupted, or the reply's end."""

    def wait(timeline: Timeline, now_ns: int) -> int | None:
        turn = timeline.turns.interrupted
        if turn is None or turn.state is State.OVER:
            return None
        due_ns = turn.cue_ns(cue)
        if due_ns is not None and due_ns <= now_ns:
            return None
        return min(due_ns or NEVER_NS, timeline.wake_ns)

    return wait


def instant(at_ns: int) -> Until:
    """An instant, or the session's end."""
    return lambda timeline, now_ns: None if timeline.over or now_ns >= at_ns else at_ns


def late_words(timeline: Timeline, now_ns: int) -> int | None:
    """Whatever may still come of turns that are over: transcripts, words of truncations."""
    if timeline.over:
        return None
    ended_ns = [t.instants["ended"] for t in timeline.turns.all if t.state is State.OVER and t.awaits_more(now_ns)]
    return max(ended_ns) + LATE_TRANSCRIPT_NS if ended_ns else None


def cut_checks(timeline: Timeline, now_ns: int) -> int | None:
    """What the service keeps of cut replies, where the script has that checked."""
    if timeline.over:
        return None
    pending = (t for t in timeline.turns.all if t.state is State.OVER and t.check and t.check.pending)
    until_ns = max((turn.instants["ended"] + LATE_TRANSCRIPT_NS for turn in pending), default=now_ns)
    return until_ns if until_ns > now_ns else None


def described(kind: EventKind) -> Until:
    """An event by which the service describes the session."""
    mark = DESCRIPTIONS[kind]
    return lambda timeline, _: None if timeline.over or mark in timeline.facts.instants else NEVER_NS


def history_acked(sent_ns: int) -> Until:
    """The acknowledgement of all messages that were said before, or of none for a while since they were sent."""

    def wait(timeline: Timeline, _: int) -> int | None:
        facts = timeline.facts
        if timeline.over or not facts.history_left:
            return None
        return max(sent_ns, facts.history_acked_ns) + UNACKNOWLEDGED_NS

    return wait


def quiet(timeline: Timeline, _: int) -> int | None:
    """What the service has under way: for so long as it takes between two deltas, from when something came last."""
    if timeline.over or not timeline.owners.busy:
        return None
    return timeline.arrived_ns + int(timeline.limits.next_delta * NS_PER_S)


def at_most(wait: Until, longest_ns: int) -> Until:
    """The same, and no later than an instant."""

    def shorter(timeline: Timeline, now_ns: int) -> int | None:
        until_ns = wait(timeline, now_ns)
        return None if until_ns is None else min(until_ns, longest_ns)

    return shorter


SLICE_NS = 250_000_000
"""How long a pause waits before it asks again whether the run is ending."""


class Session:
    """One session, from the open transport to its close. `ending()` says that no new turn shall begin.

    `play` does all of it; `open`, `perform` for each step, and `close` are its parts, for whoever decides on the way.
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
        """Greet, play every step, wait for late transcriptions, close. The outcomes are the timeline's."""
        self.open()
        for step in self._script.steps:
            if not self.perform(step):
                break
        self.close()

    def open(self) -> None:
        """Set the session up as its dialect says: mostly the service greets, is told the settings, and takes them."""
        until_ns = self.now_ns + int(self._script.limits.session * NS_PER_S)
        for step in self._script.set_up:
            if self._timeline.over:
                break
            if isinstance(step, AwaitedEvent):
                if self._await_in_time(at_most(described(step.kind), until_ns)):
                    # the time that this process takes to go on is added to the limit: the service waits for that
                    until_ns += max(0, self.now_ns - self._timeline.arrived_ns)
                else:
                    detail = f"{step.name} did not come within the limit session"
                    self._timeline.tell(inputs.SessionFailed("timeout:session", until_ns, detail))
            else:
                self._line.send(step)
        if self._script.history and not self._timeline.over:
            self._tell_history(self._script.history)
        if self._script.between:
            self._line.microphone.open(self.now_ns + self._script.phase_ns)

    @property
    def outputs(self) -> dict[str, FunctionOutput]:
        """What functions returned, by the ids of their calls, until somebody takes it out."""
        return self._line.functions.outputs

    @property
    def now_ns(self) -> int:
        """The time by the clock that its instants are of."""
        return self._transport.now_ns()

    def perform(self, step: PreparedStep) -> bool:
        """Play one step. A turn is said, and not waited for: the next step does that, unless it expects something.

        False where the session is over, or the run is ending.
        """
        if not step.within_turn:
            if step.plays_turn:
                self._rest()
            self.await_quiet(settled=step.plays_turn)
        if not self._timeline.over:
            HANDLERS[type(step)](self, step)
        return not self._timeline.over

    def await_quiet(self, *, settled: bool) -> None:
        """Wait until the turn under way is over and heard; `settled`: and whatever the service still does for it."""
        self._await(turn_end, for_turn=True)
        self._hear_out()
        if settled:
            self._settle()
            self._await_unless_ending(cut_checks)
        if self._ending() and not self._timeline.over:
            self._timeline.tell(inputs.SessionFailed("unfinished", self.now_ns, "the run ended"))

    def _rest(self) -> None:
        """Let the last turn end, for it may be asked to wait then, and wait for so long; the microphone goes on."""
        self.await_quiet(settled=False)
        self._await_unless_ending(instant(self._line.asked_until_ns))

    def await_turn(self) -> None:
        """Wait until the last turn is over and awaits nothing more; the microphone goes on meanwhile."""
        self._await(turn_end, for_turn=True)
        self._await_unless_ending(late_words)
        self._line.do_work()

    def close(self) -> None:
        """Let the last turn end, wait for late transcriptions, close."""
        self._await(turn_end, for_turn=True)
        self._await_unless_ending(late_words)
        if not self._timeline.over:
            self._timeline.tell(inputs.ScriptFinished(self.now_ns))
        self._line.do_work()  # with the session over, turns that still awaited words are handed out
        self._line.hang_up()

    def abandon(self, outcome: str, detail: str) -> None:
        """Cut the session short: what is in flight ends with this outcome, the connection is dropped, nothing waits."""
        self._timeline.tell(inputs.SessionFailed(outcome, self.now_ns, detail))
        self._line.do_work()
        self._transport.abort()

    # Steps.

    def _tell_history(self, messages: Sequence[ClientMessage]) -> None:
        """Put what was said before into the conversation, and let the service take it, unless nothing is waited for."""
        self._timeline.tell(inputs.HistoryStarted(self.now_ns, len(messages)))
        for message in messages:
            self._line.send(message)
        if not self._script.pipelined:
            self._await_in_time(history_acked(self.now_ns))

    def _hear_out(self) -> None:
        """Wait, with an open microphone, until the reply has been played: speaking earlier would interrupt it."""
        if self._script.between:
            self._await_unless_ending(instant(self._timeline.playback_ends_ns))

    def _settle(self) -> None:
        """Let the service finish what it has under way for turns that are over, or give it up."""
        longest_ns = self.now_ns + int(self._script.limits.response * NS_PER_S)
        if not self._await_unless_ending(at_most(quiet, longest_ns)):
            self._timeline.tell(inputs.StoppedWaiting())

    def say(self, turn: PreparedTurn) -> None:
        """Send a turn: its speech, each chunk when it is due; then the rest."""
        if turn.interrupts is not None and not self._await_cue("speech", turn.interrupts, verify=turn.verifies):
            self.await_quiet(settled=True)  # the reply was over before
        if self._timeline.over:
            return
        if turn.speech:
            self._speak(turn)
        else:
            self._line.take_turn(turn)
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
        self._line.take_turn(turn)
        self._await(self._line.speech_end, for_turn=True)
        self._line.microphone.hush()  # the rest of it, where the turn is over before all of it is said

    def interrupt(self, interrupt: PreparedInterruption) -> None:
        """Interrupt the reply that is played, as a client does by itself, unless it is over before."""
        if not self._await_cue("client", interrupt.cue, verify=interrupt.verify):
            return
        self._timeline.tell(inputs.ClientInterrupted(self.now_ns))
        self._line.do_work()

    def sound(self, sound: PreparedSound) -> None:
        """Let a sound be heard: while the reply is played, unless that is over before, or in silence."""
        if sound.cue is None:
            self._break_silence(sound)
        elif self._await_cue(sound.kind, sound.cue):
            self._murmur(sound)

    def _murmur(self, sound: PreparedSound) -> None:
        self._line.microphone.speak(sound.chunks, sound.between)
        self._await(self._line.sound_end)

    def _break_silence(self, sound: PreparedSound) -> None:
        """Let a sound be heard that asks for no reply, and whatever the service replies."""
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
        """Wait until the reply is to be interrupted; False where it is over before."""
        self._timeline.tell(inputs.InterruptionAwaited(kind, verify))
        self._await(cue_for(cue))
        return self._timeline.turns.interruptible

    def pause(self, pause: PreparedPause) -> None:
        """Say nothing for as long as the pause lasts."""
        self._await_unless_ending(instant(self.now_ns + pause.duration_ns))

    def send_event(self, step: PreparedEvent) -> None:
        """Send a message of which nothing is waited for."""
        self._line.send(step.message)

    def expect(self, expected: PreparedExpectation) -> None:
        """Wait for the event that the script requires of the turn under way, which fails where it comes too late."""
        until_ns = self.now_ns + int(expected.within_s * NS_PER_S)
        self._timeline.tell(inputs.EventExpected(expected.event, until_ns))
        self._await(expected_events)

    def _await(self, wait: Until, *, for_turn: bool = False) -> None:
        """Listen until what is waited for is there, or will not come. `for_turn`: as of `Line.listen`."""
        while (until_ns := wait(self._timeline, self.now_ns)) is not None:
            self._line.listen(until_ns, for_turn=for_turn)

    def _await_in_time(self, wait: Until, ending: Callable[[], bool] = lambda: False) -> bool:
        """Listen until what is waited for is there; False where all was heard by then, and it was not among it.

        Where the run is `ending` it is not waited for: between turns nothing is lost by that.
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
"""The function that plays a prepared step in an open session, by the kind of the step.

Steps do not play themselves: they would need the session's internals, and `plan` must prepare and price a script
without a session.
"""
