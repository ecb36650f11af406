"""Plays a session's script over a transport and tells a timeline what it sent and what came: the only loop there is.

It is single-threaded: it either waits for messages or sends one that is due. Turn 1 begins once the service has greeted
the session and taken its settings, or, where the start is pipelined, at once; within a turn nothing waits for an
acknowledgement, for some services send none.

Where the service detects turns, the caller's microphone is open from the first turn on until the session ends: it sends
silence while nobody speaks, the caller listens to a reply to its end before speaking again, and a VAD that took a pause
for the end of a turn is let finish before the next one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from bench.interruptions import WATCH_NS, Cue, InterruptionKind
from bench.limits import LONGEST_HOLD_NS
from bench.observe import inputs, waits
from bench.observe.observation import TurnObservation
from bench.observe.ownership import TRANSCRIPTIONS
from bench.observe.session_facts import SESSION_INSTANTS
from bench.observe.timeline import UNTIMED, Timeline
from bench.observe.work import (
    AskForResponse,
    CallFunction,
    Cancel,
    GoOn,
    HandOut,
    MeasureNetwork,
    Pay,
    Retrieve,
    Truncate,
)
from bench.plan.functions import CallHandler
from bench.plan.microphone import Microphone
from bench.plan.prepared import (
    OutgoingMessage,
    PreparedEvent,
    PreparedExpectation,
    PreparedInterruption,
    PreparedPause,
    PreparedScript,
    PreparedSound,
    PreparedStep,
    PreparedTurn,
)
from bench.plan.reference import Judge
from bench.protocol.base import Act, Awaited
from bench.protocol.events import DELTAS, Event, Kind, Usage
from bench.protocol.messages import FunctionOutput
from bench.transport.base import SendReceipt, Transport
from bench.transport.received import DeltaArrival, Received
from bench.units import NS_PER_S

SLICE_NS = 250_000_000
"""How long a pause waits before it asks again whether the run is ending."""
FAR_NS = 3_600_000_000_000
UNACKNOWLEDGED_NS = 2_000_000_000
"""How long the history is waited for after its last acknowledgement: some services send none."""
DECISIVE = TRANSCRIPTIONS | {Kind.SPEECH_STARTED, Kind.CALL_DONE, Kind.RESPONSE_DONE, Kind.TRUNCATED}
"""Events after which there may be something to do though the turn goes on."""
LATE_SHARE = 10
"""A chunk is late when it leaves later than this part of its own length."""


class Listener(Protocol):
    """Hears what happens in a session while it goes on."""

    def received(self, events: Sequence[Event], message: Received, handled_ns: int) -> None:
        """A message was handled, and the events in it."""

    def received_deltas(self, deltas: Sequence[DeltaArrival]) -> None:
        """Deltas were handled that were matched."""

    def sent(self, wire_bytes: int, audio_bytes: int, lag_ns: int | None) -> None:
        """A message was handed to the kernel, `lag_ns` after it was due where it was paced."""

    def turn_began(self) -> None:
        """A turn has begun."""

    def turn_ended(self, turn: TurnObservation) -> None:
        """A turn is over and awaits nothing more."""

    def paid(self, usage: Usage) -> None:
        """Responses are done that told these tokens; whatever they belong to, each is told once."""

    def may_ask(self) -> bool:
        """Whether the turn under way may take another response: not once the run's money is spent."""


class Session:
    """One session, from the open transport to its close. `ending()` says that no new turn shall begin.

    `play` does all of it; `open`, `perform` for each step, and `close` are its parts, for whoever decides on the way.
    """

    def __init__(
        self,
        script: PreparedScript,
        transport: Transport,
        timeline: Timeline,
        listener: Listener,
        ending: Callable[[], bool],
    ) -> None:
        self._script, self._transport, self._timeline = script, transport, timeline
        self._decode = script.dialect.decode
        self._listener, self._ending = listener, ending
        self._microphone = Microphone(script.between)
        self._asks_late = bool(script.between) and not script.service_responds
        """Whether the response is asked for once a VAD that starts none has committed all of the speech."""
        self._turn: PreparedTurn | None = None
        """The last turn that was said."""
        self._judges: dict[int, Judge] = {}
        """Judges of turns, by their numbers: each says whether its turn has done its task."""
        self._opening: OutgoingMessage | None = None
        """The first chunk of that turn, until it is sent."""
        self.streaming = False
        """Whether only the end of a reply is awaited."""
        self._wakes_ns = 0
        """The instant until which it sleeps now, if nothing comes by which something is to decide."""
        self._for_turn = False
        """Whether it sleeps until the turn's end."""
        self._offered: tuple[OutgoingMessage, int] | None = None
        """The chunk that could not be sent without waiting, and when it was due."""
        self._functions = CallHandler(script.functions, script.choices)
        self._asked_until_ns = 0
        """The instant until which the service asked for no further turn."""
        self._ticket = 0
        """The ticket of the last message that was sent stamped, until the kernel says that it was acknowledged."""

    def play(self) -> None:
        """Greet, play every step, wait for late transcriptions, close. The outcomes are the timeline's."""
        self.open()
        for step in self._script.steps:
            if not self.perform(step):
                break
        self.close()

    def open(self) -> None:
        """Set the session up as its dialect says: mostly the service greets, is told the settings, and takes them."""
        until_ns = self._transport.now_ns() + int(self._script.limits.session * NS_PER_S)
        for step in self._script.set_up:
            if self._timeline.over:
                break
            if isinstance(step, Awaited):
                self._listen_for(step, until_ns)
            else:
                self._send(step)
        if self._script.history and not self._timeline.over:
            self._tell_history(self._script.history)
        if self._script.between:
            self._microphone.open(self._transport.now_ns() + self._script.phase_ns)

    @property
    def outputs(self) -> dict[str, FunctionOutput]:
        """What functions returned, by the ids of their calls, until somebody takes it out."""
        return self._functions.outputs

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
        self._await(waits.turn_end, for_turn=True)
        self._hear_out()
        if settled:
            self._settle()
            self._await_unless_ending(waits.cut_checks)
        if self._ending() and not self._timeline.over:
            self._timeline.tell(inputs.Failed("abandoned", self._transport.now_ns(), "the run ended"))

    def _rest(self) -> None:
        """Let the last turn end, for it may be asked to wait then, and wait for so long; the microphone goes on."""
        self.await_quiet(settled=False)
        self._await_unless_ending(waits.instant(self._asked_until_ns))

    def await_turn(self) -> None:
        """Wait until the last turn is over and awaits nothing more; the microphone goes on meanwhile."""
        self._await(waits.turn_end, for_turn=True)
        self._await_unless_ending(waits.late_words)
        self._do_work()

    def close(self) -> None:
        """Let the last turn end, wait for late transcriptions, close."""
        self._await(waits.turn_end, for_turn=True)
        self._await_unless_ending(waits.late_words)
        if not self._timeline.over:
            self._timeline.tell(inputs.Finished(self._transport.now_ns()))
        self._do_work()
        self._transport.close()

    def abandon(self, outcome: str, detail: str) -> None:
        """Cut the session short: what is in flight ends with this outcome, the connection is dropped, nothing waits."""
        self._timeline.tell(inputs.Failed(outcome, self._transport.now_ns(), detail))
        self._do_work()
        self._transport.abort()

    # Steps.

    def _listen_for(self, awaited: Awaited, until_ns: int) -> None:
        instant = SESSION_INSTANTS[awaited.kind]
        while instant not in self._timeline.facts.instants and not self._timeline.over:
            if self._transport.heard_ns >= until_ns:
                detail = f"{awaited.name} did not come within the limit session"
                self._timeline.tell(inputs.Failed("timeout:session", until_ns, detail))
                return
            self._listen(until_ns)

    def _tell_history(self, messages: Sequence[OutgoingMessage]) -> None:
        """Put what was said before into the conversation, and let the service take it, unless nothing is waited for."""
        self._timeline.tell(inputs.HistoryBegun(self._transport.now_ns(), len(messages)))
        for message in messages:
            self._send(message)
        if self._script.pipelined:
            return
        facts = self._timeline.facts
        left, until_ns = len(messages), self._transport.now_ns() + UNACKNOWLEDGED_NS
        while facts.history_left and not self._timeline.over and self._transport.heard_ns < until_ns:
            self._listen(until_ns)
            if facts.history_left < left:
                left, until_ns = facts.history_left, self._transport.now_ns() + UNACKNOWLEDGED_NS

    def _hear_out(self) -> None:
        """Wait, with an open microphone, until the reply has been played: speaking earlier would interrupt it."""
        if self._script.between:
            self._await_unless_ending(waits.instant(self._timeline.playback_ends_ns))

    def _settle(self) -> None:
        """Let the service finish what it has under way for turns that are over, or give it up."""
        longest_ns = self._transport.now_ns() + int(self._script.limits.done * NS_PER_S)
        while (quiet_ns := self._timeline.quiet_by_ns) is not None and not self._timeline.over and not self._ending():
            until_ns = min(quiet_ns, longest_ns)
            if self._transport.heard_ns >= until_ns:
                self._timeline.tell(inputs.GaveUp())
                return
            self._listen(min(until_ns, self._transport.now_ns() + SLICE_NS))

    def say(self, turn: PreparedTurn) -> None:
        """Send a turn: its speech, each chunk when it is due; then the rest."""
        if turn.interrupts is not None and not self._await_cue("speech", turn.interrupts, verify=turn.verifies):
            self.await_quiet(settled=True)  # the reply was over before
        if self._timeline.over:
            return
        self._turn = turn
        if turn.judge is not None:
            self._judges[turn.number] = turn.judge
        if turn.speech:
            self._speak(turn)
        else:
            self._begin(turn)
        for message in (*turn.inputs, *((turn.request,) if turn.request and not turn.vad else ())):
            if not self._timeline.turn_over:
                self._send(message)
        if turn.kind == "audio" and not turn.vad:
            self._clear_rest(turn)

    def _clear_rest(self, turn: PreparedTurn) -> None:
        """Have the service forget the audio of a broken turn, which would else be the next one's."""
        if self._timeline.turn_over and not self._timeline.over:
            self._send(OutgoingMessage(*self._script.dialect.clear(f"{turn.event_prefix}clear")))

    def _speak(self, turn: PreparedTurn) -> None:
        if not self._script.between:
            self._microphone.open(self._transport.now_ns())
        self._microphone.speak(turn.speech, turn.between)
        self._opening = turn.speech[0]
        while self._microphone.speaking:
            self._listen(self._timeline.wake_ns, for_turn=True)
            if self._timeline.over or (self._begun and self._timeline.turn_over):
                self._microphone.hush()

    @property
    def _begun(self) -> bool:
        """Whether the first chunk of what is being said has left."""
        return self._opening is None

    def interrupt(self, interrupt: PreparedInterruption) -> None:
        """Interrupt the reply that is played, as a client does by itself, unless it is over before."""
        if not self._await_cue("client", interrupt.cue, verify=interrupt.verify):
            return
        self._timeline.tell(inputs.Interrupted(self._transport.now_ns()))
        self._do_work()

    def sound(self, sound: PreparedSound) -> None:
        """Let a sound be heard: while the reply is played, unless that is over before, or in silence."""
        if sound.cue is None:
            self._break_silence(sound)
        elif self._await_cue(sound.kind, sound.cue):
            self._murmur(sound)

    def _murmur(self, sound: PreparedSound) -> None:
        self._microphone.speak(sound.chunks, sound.between)
        while self._microphone.speaking and not self._timeline.over:
            self._listen(self._timeline.wake_ns)

    def _break_silence(self, sound: PreparedSound) -> None:
        """Let a sound be heard that asks for no reply, and whatever the service replies."""
        self.await_quiet(settled=True)
        if self._timeline.over:
            return
        reply_format = self._script.output_format.name
        self._timeline.tell(inputs.SilenceBroken(reply_format, self._script.jitter_buffer_ns))
        self._murmur(sound)
        self._await_unless_ending(waits.instant(self._transport.now_ns() + WATCH_NS))
        self._settle()
        self._hear_out()
        self._timeline.tell(inputs.SilenceRestored())

    def _await_cue(self, kind: InterruptionKind, cue: Cue, *, verify: bool = False) -> bool:
        """Wait until the reply is to be interrupted; False where it is over before."""
        self._timeline.tell(inputs.InterruptionAwaited(kind, verify))
        self._await(waits.cue_for(cue))
        return self._timeline.turns.interruptible

    def _begin(self, turn: PreparedTurn) -> None:
        plan = inputs.TurnPlan(
            number=turn.number,
            step=turn.label,
            event_prefix=turn.event_prefix,
            request_event_id=turn.request_event_id,
            wants_audio=turn.wants_audio,
            transcription_due=self._script.settings.input_transcription is not None and turn.kind == "audio",
            vad=turn.vad,
            service_responds=turn.vad and turn.request is None,
            tail_ns=turn.tail_ns,
            audio=turn.audio,
            speech_format=self._script.input_format.name,
            reply_format=self._script.output_format.name,
            jitter_buffer_ns=self._script.jitter_buffer_ns,
            out_of_band=turn.out_of_band,
            functions=bool(self._script.settings.tools),
            expected_calls=None if turn.calls is None else Counter(call.name for call in turn.calls),
            reference=turn.reference,
            instructed=turn.instructed,
            fillers=self._script.dialect.fillers(self._script.settings) is not None,
            duplex=self._script.dialect.duplex,
        )
        self._functions.begin(turn.calls, turn.response, turn.event_prefix)
        self._timeline.tell(inputs.Begun(self._transport.now_ns(), plan))
        self._listener.turn_began()

    def pause(self, pause: PreparedPause) -> None:
        """Say nothing for as long as the pause lasts."""
        self._await_unless_ending(waits.instant(self._transport.now_ns() + pause.duration_ns))

    def send_event(self, step: PreparedEvent) -> None:
        """Send a message of which nothing is waited for."""
        self._send(step.message)

    def expect(self, expected: PreparedExpectation) -> None:
        """Wait for what the turn under way must get; it fails where that does not come."""
        until_ns = self._transport.now_ns() + int(expected.within_s * NS_PER_S)
        self._timeline.tell(inputs.Expected(expected.event, until_ns))
        self._await(waits.expected_events)

    def _await(self, wait: waits.Until, *, for_turn: bool = False) -> None:
        """Listen until what is waited for is there, or will not come. `for_turn`: as of `_listen`."""
        while (until_ns := wait(self._timeline, self._transport.now_ns())) is not None:
            self._listen(until_ns, for_turn=for_turn)

    def _await_unless_ending(self, wait: waits.Until) -> None:
        """The same, unless the run ends before: between turns nothing is lost by that."""
        while not self._ending() and (until_ns := wait(self._timeline, self._transport.now_ns())) is not None:
            self._listen(min(until_ns, self._transport.now_ns() + SLICE_NS))

    # In and out.

    def _send(self, message: OutgoingMessage) -> None:
        self._note_sent(message, self._transport.send(message.data, stamped=_is_stamped(message)))

    def _note_sent(self, message: OutgoingMessage, sent: SendReceipt | None, due_ns: int | None = None) -> None:
        """Tell of a message that was handed to the kernel, or of the connection's end, by which it was not.

        `due_ns`: when it was due, where it was paced.
        """
        if sent is None:
            self._notice_close()
            return
        lag_ns = None if due_ns is None else sent.handed.at_ns - due_ns
        late = lag_ns is not None and lag_ns * LATE_SHARE > (message.duration_ns or 0)
        at_ns, width_ns, ticket = sent.handed
        self._timeline.tell(
            inputs.Sent(
                message.name,
                at_ns,
                sent.wire_bytes,
                width_ns,
                ticket,
                message.audio_bytes,
                message.moments,
                late,
                aside=message.aside,
                item=message.item,
                heard_ms=message.heard_ms,
            )
        )
        self._listener.sent(sent.wire_bytes, message.audio_bytes, lag_ns)
        if ticket:
            self._ticket = ticket
            self._note_transmitted()

    def _note_transmitted(self) -> None:
        """Pass on the kernel's transmit stamps that have come by now."""
        for stamp in self._transport.transmitted():
            self._timeline.tell(inputs.Transmitted(*stamp))
            if stamp.acknowledged and stamp.ticket == self._ticket:
                self._ticket = 0

    @property
    def due_ns(self) -> int | None:
        """When the microphone's next chunk is due; None where there is none, or one that was not handed over."""
        return None if self._offered is not None else self._microphone.due_ns

    def send_due(self) -> bool:
        """Send the microphone's chunks that are due, without waiting; True where the session must look at it."""
        speaking, sent, begun = self._microphone.speaking, False, self._begun
        while (due_ns := self.due_ns) is not None and self._transport.now_ns() >= due_ns:
            if self._transport.closed is not None:
                return True
            self._offer(*self._microphone.take())
            if self._offered is not None or self._asks_late or self._microphone.speaking is not speaking:
                return True
            if self._begun is not begun:  # no reply is listened to in passing any more
                return True
            sent = True
        return sent and self._timeline.wake_ns < self._wakes_ns

    def _offer(self, message: OutgoingMessage, due_ns: int) -> None:
        """Send a chunk, as much of it as can be sent without waiting."""
        if message is self._opening and self._turn is not None:
            self._opening = None
            self._begin(self._turn)
        receipt = self._transport.offer(message.data, stamped=_is_stamped(message))
        if receipt is None:
            self._offered = message, due_ns
        else:
            self._note_sent(message, receipt, due_ns)

    def _finish_offered(self) -> None:
        """Wait until the chunk that was offered is handed over."""
        if self._offered is not None:
            (message, due_ns), self._offered = self._offered, None
            self._note_sent(message, self._transport.finish(), due_ns)

    def _listen(self, until_ns: int, *, for_turn: bool = False) -> None:
        """Sleep until an instant, or until a message came by which something is to decide; the microphone goes on.

        `for_turn`: only the turn's end is waited for.
        """
        until_ns = min(until_ns, self._functions.due_ns, self._transport.now_ns() + FAR_NS)
        self.streaming, self._wakes_ns = self._timeline.turns.goes_on, until_ns
        self._for_turn = for_turn and not self._asks_late
        if not self.send_due():
            reply = self if self._timeline.turns.answering else None
            self._transport.listen(until_ns, self._take, reply, self)
        self._finish_offered()
        self._notice_close()
        self._hand_over_outputs()
        self._do_work()

    def take_deltas(self, deltas: Sequence[DeltaArrival]) -> None:
        """Tell of deltas of the reply that is listened to."""
        self._timeline.received_deltas(deltas)
        self._listener.received_deltas(deltas)

    def _take(self, message: Received) -> bool:
        """Handle a message; False where the session need not know of it."""
        if self._ticket:
            self._note_transmitted()
        events = self._decode(message.data)
        timeline = self._timeline
        timeline.received(events, message)
        self._listener.received(events, message, self._transport.now_ns())
        decides, moves = not self._for_turn, False
        for event in events:
            kind = event.kind
            if kind in DELTAS and timeline.may_take(event):
                self._transport.learn(message, event)
            decides |= kind in DECISIVE
            moves |= kind not in UNTIMED
        if decides or timeline.turn_over:
            return True
        return moves and (self.streaming is not timeline.turns.goes_on or timeline.wake_ns < self._wakes_ns)

    def _notice_close(self) -> None:
        if self._transport.closed is not None:
            code, reason, at_ns, ours = self._transport.closed
            self._timeline.tell(inputs.Closed(code, at_ns, reason, ours=ours))

    # What the timeline has to be done.

    def _do_work(self) -> None:
        """Do what is to be done now."""
        if self._ticket:
            self._note_transmitted()
        for work in self._timeline.work(self._transport.now_ns(), self._transport.heard_ns, self._judges):
            WORK[type(work)](self, work)

    def _pay(self, work: Pay) -> None:
        self._listener.paid(work.usage)

    def _cancel(self, work: Cancel) -> None:
        self._send(OutgoingMessage(*self._script.dialect.cancel(work.event_id)))

    def _truncate(self, work: Truncate) -> None:
        message = self._script.dialect.truncate(work.item_id, work.heard_ms, work.event_id)
        self._send(OutgoingMessage(*message, item=work.item_id, heard_ms=work.heard_ms))

    def _retrieve(self, work: Retrieve) -> None:
        self._send(OutgoingMessage(*self._script.dialect.retrieve(work.item_id, work.event_id), item=work.item_id))

    def _measure(self, _: MeasureNetwork) -> None:
        network = self._transport.network()
        if network is not None:
            self._timeline.tell(inputs.NetworkMeasured(*network))

    def _hand_out(self, work: HandOut) -> None:
        turn = work.turn
        self._listener.turn_ended(turn)
        if turn.retry_after_ns is not None:
            asked_ns = min(turn.retry_after_ns, LONGEST_HOLD_NS)
            self._asked_until_ns = max(self._asked_until_ns, turn.instants["ended"] + asked_ns)

    def _request(self, _: AskForResponse) -> None:
        if self._turn is not None and self._turn.request is not None:
            self._send(self._turn.request)

    def _call(self, work: CallFunction) -> None:
        self._functions.call(work.call, self._transport.now_ns())
        self._hand_over_outputs()

    def _hand_over_outputs(self) -> None:
        """Hand over what functions have returned by now; what belongs to a turn that is over, nobody awaits."""
        now_ns = self._transport.now_ns()
        if self._functions.due_ns > now_ns:
            return
        for returned in self._functions.returned(now_ns):
            if self._timeline.awaits_output(returned.said.call_id):
                event_id = f"{self._functions.prefix}output-{returned.number}"
                self._send(OutgoingMessage(*self._script.dialect.function_output(returned.said, event_id)))
                answered = inputs.CallAnswered(returned.said.call_id, self._transport.now_ns(), returned.wrong)
                self._timeline.tell(answered)

    def _go_on(self, _: GoOn) -> None:
        if self._listener.may_ask():
            self._send(OutgoingMessage(*self._script.dialect.request(*self._functions.next_request())))
        else:
            self._timeline.tell(inputs.Failed("abandoned", self._transport.now_ns(), "the run's money is spent"))


def _is_stamped(message: OutgoingMessage) -> bool:
    return message.act is Act.REQUEST or "speech_end" in message.moments


HANDLERS: dict[type, Callable[[Session, Any], None]] = {
    PreparedTurn: Session.say,
    PreparedSound: Session.sound,
    PreparedInterruption: Session.interrupt,
    PreparedPause: Session.pause,
    PreparedExpectation: Session.expect,
    PreparedEvent: Session.send_event,
}
"""What plays a prepared step in an open session, by the kind of the step."""
WORK: dict[type, Callable[[Session, Any], None]] = {
    Pay: Session._pay,
    Cancel: Session._cancel,
    Truncate: Session._truncate,
    Retrieve: Session._retrieve,
    MeasureNetwork: Session._measure,
    HandOut: Session._hand_out,
    AskForResponse: Session._request,
    CallFunction: Session._call,
    GoOn: Session._go_on,
}
"""What does the work that a timeline has."""
