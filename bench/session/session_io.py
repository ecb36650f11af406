"""The input and output of one session: it sends and receives messages, and executes the actions of
the timeline.

The session sleeps in `SessionIO.receive_until`. Meanwhile the event loop passes each message to
`_on_message`, and calls `send_due` to send the microphone's chunks. The timeline determines the
actions, and the session determines what is sent next.
"""

# All inputs reach the timeline by `Timeline.apply`, but not all of them at once. Frequent inputs
# wait in `_waiting`: chunks that were sent, and unless the session awaits a moment of a reply,
# sound of a stream, and frames of a track. `_settle` applies those that wait, sorted by their
# instants. It runs before any other input is applied, before a turn begins, before the session
# wakes, and as soon as `MANY` wait or the first has waited for `DEFERRED_NS`. `Timeline.apply`
# gives the same result for several inputs as for each in turn, so no row depends on what waited.
# An event log needs the content of each input, so a session with a log lets none wait.
#
# A call sends up to fifty frames of sound per second, and most of them decide nothing. Applied
# together, they take a third of the time. Only a message whose only event is sound may wait. Its
# instant is that of its arrival, so waiting changes no metric. The session pays for it with a later
# reaction, of at most `DEFERRED_NS`.
#
# The session wakes only if it may have to decide something, because a wake-up costs more than the
# decoding of a message. `_on_message`, `on_deltas` and `send_due` run in the event loop, and return
# True if it must wake. Then the deadlines expire, the due actions are taken, and each action may
# make others due (`run_actions`).
#
# The latency of a turn may begin with a message of ours. Such a message is sent with a ticket
# (`_is_stamped`), because the kernel reports its timestamp later. The timestamps are fetched before
# each message is handled and before actions are taken, so that a turn has the timestamp when it is
# delivered.

from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Protocol

import msgspec

from bench.base.units import NEVER_NS, NS_PER_S
from bench.catalogue.timeouts import MAX_HOLD_NS
from bench.observe import inputs
from bench.observe.inputs import Action, FrequentInput, Received, received_sound, split
from bench.observe.observation import TurnObservation
from bench.observe.timeline import Timeline
from bench.plan.functions import FunctionRunner
from bench.plan.prepared import PreparedScript, PreparedTurn
from bench.plan.turn_plan import SuccessPredicate
from bench.session.meetings import Meeting
from bench.transport.fast.sending import Microphone, PlainChunks
from bench.transport.interface import Transport
from bench.wire.connection import MatchedDelta, ReceivedMessage, SendReceipt, SentChunk, is_late
from bench.wire.dialect import SOUND, BinaryMessage, ClientMessage, MessageKind, decoder_of
from bench.wire.events import DELTAS, EventKind, ServerEvent, TokenUsage, audio_payload
from bench.wire.settings import ONLY_TRANSCRIPT

APPEND = MessageKind.APPEND
SET_UP = MessageKind.SET_UP
"""The kinds with which every message is compared, because access to a member of an enumeration
is slow."""
AT_NS = attrgetter("at_ns")
DEFERRED_NS = 80_000_000
MANY = 16
"""The time for which received sound waits, and the number of inputs that wait."""
DECISIVE = frozenset(
    (
        EventKind.INPUT_TRANSCRIBED,
        EventKind.INPUT_NOT_TRANSCRIBED,
        EventKind.SPEECH_STARTED,
        EventKind.CALL_DONE,
        EventKind.MCP_APPROVAL,
        EventKind.MCP_CALL_ENDED,
        EventKind.MCP_CALL_FAILED,
        EventKind.TASK_ADDED,
        EventKind.WORK_DONE,
        EventKind.RESPONSE_DONE,
        EventKind.TRUNCATED,
        EventKind.CLEARED,
        EventKind.MARKED,
    )
)
"""The events after which the session may have work to do although the turn continues."""


class SessionListener(Protocol):
    """The callbacks of a session. For mypy, a method without a statement is abstract, hence the
    `return`s.
    """

    def received(
        self, events: Sequence[ServerEvent], message: ReceivedMessage, handled_ns: int
    ) -> None:
        """Receive a message and its events, after they were handled."""

    def received_deltas(self, deltas: Sequence[MatchedDelta]) -> None:
        return

    def sent(self, wire_bytes: int, audio_bytes: int, lags_ns: Sequence[int | None]) -> None:
        """Note that messages were sent. `lags_ns` is how late each was; None if it is not paced."""
        return

    def turn_started(self) -> None:
        return

    def turn_ended(self, turn: TurnObservation) -> None:
        return

    def usage_reported(self, usage: TokenUsage) -> None:
        """Receive the tokens of finished responses. Each response is reported once, and may
        belong to no turn.
        """
        return

    def may_request(self) -> bool:
        """Return whether the open turn may request another response; False after the run's
        budget is used up.
        """
        return True

    def meet(self, turn: PreparedTurn, now_ns: int) -> Meeting:
        """Join the meeting of the callers who end this turn together. A caller without others
        meets no one.
        """
        return Meeting(1, 1, end_ns=now_ns + turn.speech_ns)


class SessionIO:
    """The I/O of one session over an open transport. It sends the microphone's chunks while it
    receives.
    """

    on_streaming: Callable[[bool], object] = bool
    """A function of the transport that is called when `streaming` changes during a wait."""
    _defers = False
    """True if sound and frames may wait."""
    _early: list[ReceivedMessage] | None = None
    """Before the first turn, the messages that were read with one for which the session must wake,
    until it sleeps again; None if none did. They may be the greeting of a turn that the session
    begins when it wakes."""

    def __init__(
        self,
        script: PreparedScript,
        transport: Transport,
        timeline: Timeline,
        listener: SessionListener,
    ) -> None:
        self._script = script
        self._transport = transport
        self._timeline = timeline
        self._listener = listener
        self._decode = decoder_of(script.dialect)
        self._keeps_words = script.dialect.session_decoder is not None
        """True if the decoder may collect the words of a reply from its deltas."""
        codec = script.dialect.codec
        self._codec = None if codec is None else codec(transport.handshake.call_id)
        self.microphone = Microphone(script.silence_chunks)
        self.functions = FunctionRunner(script.functions, script.choices)
        self._is_unanswered = script.settings.output == ONLY_TRANSCRIPT
        self._asks_late = bool(script.silence_chunks) and not (
            script.service_responds or self._is_unanswered
        )
        """True if the client requests the response after the VAD, which starts none, has
        committed the speech."""
        self._turn: PreparedTurn | None = None
        """The last turn that was started."""
        self._judges: dict[int, SuccessPredicate] = {}
        """Functions, by the numbers of turns, that decide whether a turn has done its task."""
        self._opening: ClientMessage | None = None
        """The first chunk of the last turn that was started, until it is sent."""
        self.streaming = False
        """True if only the end of a reply is awaited."""
        self._wake_ns = 0
        """The instant at which the session wakes if no message wakes it earlier."""
        self._for_turn = False
        """True if the session sleeps until the turn's end."""
        self._matches = False
        """True if no later step within the turn depends on the content of deltas, so that deltas
        may be matched."""
        self._offered: tuple[ClientMessage, int] | None = None
        """The chunk that could not be sent without waiting, and the instant at which it was due."""
        self.retry_after_ns = 0
        """The instant before which no turn may begin, because the service asked for a pause."""
        self._waiting: list[FrequentInput] = []
        """The inputs that the timeline and the listener have not received yet: sent chunks,
        received sound, and received frames of a track next to events."""
        self._since_ns = NEVER_NS
        """The arrival of the first received input that waits."""
        self._is_woken = False
        """True if an input that waited, and is applied now, wakes the session."""
        self._is_logged = transport.keeps_texts
        """True if a log gets each input at once."""
        self._may_defer = script.dialect.turn_source is SOUND and not self._is_logged
        self._defers_frames = script.dialect.has_track and not (self._may_defer or self._is_logged)
        # the frames of a track have nothing that differs by call
        encode = None if self._codec is None or script.dialect.has_track else self._codec.encode
        is_plain = not (self._is_logged or self._asks_late)
        self.plain = PlainChunks(self.microphone, encode, self._waiting, MANY) if is_plain else None
        self._binary_sound = script.dialect.binary_sound
        self._ticket = 0
        """The ticket of the last message that was sent with a timestamp; 0 if its
        acknowledgement was reported."""

    # The current turn.

    def start_turn(self, turn: PreparedTurn) -> None:
        """Begin a turn: a spoken turn when its first chunk is sent, any other at once."""
        self._turn = turn
        if turn.judge is not None:
            self._judges[turn.plan.number] = turn.judge
        if turn.speech:
            self.microphone.speak(turn.speech, turn.silence_chunks)
            self._open_with(turn.speech[0])
        else:
            self._start(turn)

    def _open_with(self, chunk: ClientMessage | None) -> None:
        self._opening = chunk
        if self.plain is not None:
            self.plain.paused = chunk is not None

    def until_sound_sent(self, timeline: Timeline, _: int) -> int | None:
        """Return the next deadline while the microphone has speech to record, else None. This is
        a WaitCondition.
        """
        return (
            timeline.next_deadline_ns if self.microphone.speaking and not timeline.is_over else None
        )

    def until_speech_sent(self, timeline: Timeline, now_ns: int) -> int | None:
        """Return the next deadline while the microphone has speech of an open turn to record,
        else None.
        """
        is_over = self._opening is None and timeline.turns.are_all_over
        return None if is_over else self.until_sound_sent(timeline, now_ns)

    def _start(self, turn: PreparedTurn) -> None:
        self._settle()
        self.functions.start(turn.calls, turn.response, turn.plan.event_prefix)
        self._timeline.apply(inputs.TurnStarted(self._transport.now_ns(), turn.plan))
        self._listener.turn_started()

    # Input and output.

    def send(self, message: ClientMessage) -> None:
        """Send a message. If the connection is gone, report that to the timeline instead."""
        self._record_sent(
            message, self._transport.send(self._encode(message), stamped=self._is_stamped(message))
        )

    def _encode(self, message: ClientMessage) -> bytes:
        data = (
            message.data if self._codec is None else self._codec.encode(message.kind, message.data)
        )
        if message.kind is SET_UP and (fill := self._transport.fill) is not None:
            return fill(data)
        return data

    def _is_stamped(self, message: ClientMessage) -> bool:
        """Return whether the kernel's timestamp of a message is needed. Without replies, the
        commit is the request.
        """
        is_request = message.kind is MessageKind.REQUEST or (
            message.kind is MessageKind.COMMIT and self._is_unanswered
        )
        return is_request or "speech_end" in message.instants

    def close(self) -> None:
        """Send a goodbye message, if the dialect has one, and close the connection."""
        self._hear_all_early()
        goodbye = None if self._codec is None else self._codec.goodbye()
        if goodbye is not None and self._transport.closed is None:
            # only `close` waits for a peer that reads nothing
            sent = self._transport.try_send(self._encode(goodbye))
            if sent is not None:
                self._record_sent(goodbye, sent)
        self._transport.close()

    def _record_sent(
        self, message: ClientMessage, sent: SendReceipt | None, due_ns: int | None = None
    ) -> None:
        """Report a sent message, or the connection's end if it was not sent. `due_ns` is None if
        it is not paced.
        """
        self._settle()
        if sent is None:
            self._record_close()
            return
        handed, wire_bytes, unsent, delay_ns = sent
        if unsent and message.audio_bytes:
            self._record_sent(replace(message, audio_bytes=0), sent, due_ns)
            self._timeline.apply(inputs.NotSent(message.audio_bytes, unsent, message.instants))
            return
        at_ns, width_ns, ticket = handed
        lag_ns = None if due_ns is None else at_ns - due_ns
        late = lag_ns is not None and is_late(lag_ns, message.duration_ns or 0)
        instants = message.instants
        if delay_ns is not None and "speech_end" in instants:
            instants = {**instants, "speech_left": instants["speech_end"] - delay_ns}
        self._timeline.apply(
            inputs.Sent(
                message.name,
                at_ns,
                wire_bytes,
                width_ns,
                ticket,
                message.audio_bytes,
                instants,
                late,
                untracked=message.untracked,
                item=message.item,
                played_ms=message.played_ms,
            )
        )
        self._listener.sent(wire_bytes, message.audio_bytes, (lag_ns,))
        if ticket:
            self._ticket = ticket
            self._record_transmitted()

    def _record_transmitted(self) -> None:
        """Report the kernel's transmit timestamps that are available now."""
        for timestamp in self._transport.transmitted():
            self._timeline.apply(timestamp)
            if timestamp.acknowledged and timestamp.ticket == self._ticket:
                self._ticket = 0

    @property
    def due_ns(self) -> int | None:
        """The instant at which the microphone's next chunk is due; None if there is none, or one
        is being sent.
        """
        return None if self._offered is not None else self.microphone.due_ns

    def send_due(self) -> bool:
        """Send the microphone's chunks that are due, without waiting. Return True if the session
        must wake.
        """
        microphone = self.microphone
        # `plain` has added the chunks that it sent to `_waiting`
        sent = bool(self._waiting)
        opening = self._opening
        now_ns = self._transport.now_ns
        if self.plain is not None and self.plain.offered is not None:
            self._offered = self.plain.offered
            self.plain.offered = None
            return True
        if self.plain is not None and self.plain.refused is not None:
            refused = self.plain.refused
            self.plain.refused = None
            self._record_sent(*refused)
        if self._settle_if_many():
            return True
        was_speaking = microphone.speaking
        while (
            (due_ns := microphone.due_ns) is not None
            and self._offered is None
            and now_ns() >= due_ns
        ):
            if self._transport.closed is not None:
                return True
            self._try_send(*microphone.pop_due())
            if self._is_woken or self._asks_late or self._offered is not None:
                return True
            # deltas of the last reply may no longer be matched
            if microphone.speaking is not was_speaking or self._opening is not opening:
                return True
            sent = True
        return sent and self._timeline.next_deadline_ns < self._wake_ns

    def _try_send(self, message: ClientMessage, due_ns: int) -> None:
        """Send a chunk, or as much of it as is possible without waiting."""
        if message is self._opening and self._turn is not None:
            self._open_with(None)
            # before the send, because no instant of a turn may precede its start
            self._start(self._turn)
        data = (
            message.data if self._codec is None else self._codec.encode(message.kind, message.data)
        )
        receipt = self._transport.try_send(data, stamped="speech_end" in message.instants)
        if receipt is None:
            self._offered = message, due_ns
        elif message.instants or receipt.unsent or self._is_logged:
            self._record_sent(message, receipt, due_ns)
        else:
            (at_ns, _, _), wire_bytes, _, _ = receipt
            lag_ns = at_ns - due_ns
            audio_bytes = message.audio_bytes
            duration_ns = message.duration_ns or 0
            self._waiting.append(SentChunk(at_ns, wire_bytes, audio_bytes, lag_ns, duration_ns))
            self._settle_if_many()

    def receive_until(
        self, until_ns: int, *, for_turn: bool = False, for_sound: bool = True
    ) -> None:
        """Sleep until an instant, or a message that needs a decision. `for_turn`: only the
        turn's end is awaited. `for_sound`: the wait may end at a moment of a reply.
        """
        timeline = self._timeline
        # The first delta makes the deadline earlier: `next_delta` counts from it. A session that
        # sleeps no longer than that need not wake for it.
        far_ns = self._transport.now_ns() + int(timeline.limits.next_delta * NS_PER_S)
        until_ns = min(until_ns, self.functions.due_ns, timeline.playout.due_ns, far_ns)
        self._wake_ns = until_ns
        self._is_woken = False
        self._for_turn = for_turn and not self._asks_late
        self._defers = self._for_turn or not (for_sound or self._asks_late)
        # a step after speech, an `expect` or a cue may wait for a word of the reply, or for a
        # length of it
        self._matches = for_turn and not self.microphone.speaking
        self.streaming = self._matches and timeline.turns.is_streaming
        # a chunk that is due now may have results, to which the session must react before it sleeps
        if not (self._hear_early() or self.send_due()):
            reply = self if self._matches or (self._may_defer and self._defers) else None
            try:
                self._transport.receive_until(until_ns, self._on_message, reply, self)
            finally:
                self._settle()
        # The order matters: what was sent before the connection ended is reported before its end,
        # and what ends a turn is reported before the next actions are determined.
        if self._offered is not None:  # wait until the rest of the chunk is handed over
            message, due_ns = self._offered
            self._offered = None
            self._record_sent(message, self._transport.flush(), due_ns)
        self._record_close()
        self._send_answers()
        self._send_function_outputs()
        self.run_actions()

    @property
    def has_begun(self) -> bool:
        """True if deltas may continue the last reply."""
        return self._may_defer or self._timeline.turns.is_answering

    def on_deltas(self, deltas: Sequence[MatchedDelta]) -> bool:
        if self._may_defer:
            return self._settle(deltas)
        if self._keeps_words:
            for delta in deltas:
                if delta.event.kind is not EventKind.AUDIO_DELTA:
                    self._decode(delta.data)
        self._timeline.apply(*deltas)
        self._listener.received_deltas(deltas)
        return False

    def _on_message(self, message: ReceivedMessage) -> bool:
        """Handle a message. Return False if the session need not wake."""
        if self._early is not None:
            self._early.append(message)
            return True
        # first, because the time at which the request left changes the instant from which this
        # message is measured
        if self._ticket:
            self._record_transmitted()
        defers = self._may_defer and self._defers and message.arrival.is_kernel
        if defers and self._binary_sound is not None and type(message.data) is BinaryMessage:
            events: Sequence[ServerEvent] = (self._binary_sound,)
        else:
            events = self._decode(message.data)
            if self._codec is not None:
                events = self._codec.decode(events)
        handled_ns = self._transport.handled_ns()
        if defers and (sound := received_sound(events, message, handled_ns)) is not None:
            # from now on the transport recognizes messages like this one without decoding them
            if not events[0].text:  # numbered audio may be dropped
                self._transport.add_template(message, events[0], is_sound=True)
            return self._defer(sound, sound.at_ns)
        received = Received(events, message, handled_ns)
        if (
            self._defers_frames
            and self._defers
            and message.arrival.is_kernel
            and type(message.data) is BinaryMessage
        ):
            if not events:
                return self._defer(received, message.arrival.at_ns)
            event = events[0]
            if self._matches and self._timeline.may_match(event):
                _, (at_ns, error_ns, _), wire_bytes = message
                lag_ns = handled_ns - at_ns
                size = event.payload_bytes
                delta = MatchedDelta(event, at_ns, error_ns, lag_ns, size, wire_bytes)
                return self._defer(delta, at_ns)
        is_woken = self._settle()
        has_answers = self._codec is not None and bool(self._codec.answers)
        must_wake = self._apply(received) or is_woken or has_answers
        if must_wake and self._turn is None:
            self._early = []
        return must_wake

    def _hear_early(self) -> bool:
        """Handle the messages that were read early. Return True if the session must wake."""
        early, self._early = self._early, None
        return any([self._on_message(message) for message in early or ()])

    def _hear_all_early(self) -> None:
        """Handle the messages that were read early, also behind others for which the session must
        wake: it sleeps no more.
        """
        while self._hear_early():
            pass

    def _defer(self, received: MatchedDelta | Received, at_ns: int) -> bool:
        """Let a received input wait. Apply all that wait if they are many, or if the first is old.
        Return True if the session must wake.
        """
        self._waiting.append(received)
        if at_ns < self._since_ns:
            self._since_ns = at_ns
        return (at_ns - self._since_ns >= DEFERRED_NS or len(self._waiting) >= MANY) and (
            self._settle()
        )

    def _settle_if_many(self) -> bool:
        return len(self._waiting) >= MANY and self._settle()

    def _settle(self, deltas: Sequence[MatchedDelta] = ()) -> bool:
        """Apply the inputs that wait, and deltas of the transport. Return True if the session must
        wake.
        """
        if self._may_defer:
            # the transport has matched these, but has not passed them on
            deltas = [*deltas, *self._transport.take_deltas()]
        if not (self._waiting or deltas):
            return False
        waiting = self._waiting[:]
        self._waiting.clear()  # not replaced, because `plain` adds to this list
        self._timeline.apply(*sorted([*deltas, *waiting], key=AT_NS) if deltas else waiting)
        chunks, sounds, frames = split(waiting)
        if chunks:
            _, wire, audio, lags_ns, _ = zip(*chunks, strict=True)
            self._listener.sent(sum(wire), sum(audio), lags_ns)
        for received in (deltas, sounds):
            if received:
                if self._timeline.marks is not None:
                    self._timeline.marks.add(b"".join(delta.data for delta in received))
                self._listener.received_deltas(received)
        for frame in frames:
            self._listener.received(frame.events, frame.message, frame.handled_ns)
        is_received = bool(deltas) or self._since_ns < NEVER_NS
        self._since_ns = NEVER_NS
        is_woken = is_received and self._is_wake_due()
        self._is_woken |= is_woken
        return is_woken

    def _apply(self, received: Received) -> bool:
        """Apply a message to the timeline. Return True if the session must wake."""
        timeline = self._timeline
        events = received.events
        message = received.message
        timeline.apply(received)
        if timeline.marks is not None:
            for event in events:
                if event.kind is EventKind.AUDIO_DELTA and isinstance(event.payload, msgspec.Raw):
                    timeline.marks.add(audio_payload(event.payload) or b"")
        self._listener.received(events, message, received.handled_ns)
        # A wake-up costs more than decoding a message. Therefore a session that waits for the
        # turn's end wakes only if it must: after an event of `DECISIVE`, or for a deadline.
        is_decisive = not self._for_turn
        for event in events:
            if event.kind in DELTAS:
                if self._matches and timeline.may_match(event):
                    is_text = event.kind is not EventKind.AUDIO_DELTA
                    self._transport.add_template(
                        message,
                        event,
                        is_sound=not is_text and timeline.needs_audio(event),
                        keeps_text=is_text and self._keeps_words,
                    )
            elif event.kind in DECISIVE:
                is_decisive = True
        return is_decisive or self._is_wake_due()

    def _is_wake_due(self) -> bool:
        turns = self._timeline.turns
        is_streaming = self._matches and turns.is_streaming
        if is_streaming is not self.streaming:
            self.streaming = is_streaming
            self.on_streaming(is_streaming)
        return turns.are_all_over or self._timeline.next_deadline_ns < self._wake_ns

    def _record_close(self) -> None:
        if self._transport.closed is not None:
            self._hear_all_early()
            self._timeline.apply(self._transport.closed)

    # Actions of the timeline.

    def run_actions(self) -> None:
        if self._ticket:  # first, because a delivered turn does not change any more
            self._record_transmitted()
        now_ns = self._transport.now_ns()
        # not `now_ns`: the socket may contain an unread message that was in time
        self._timeline.expire(self._transport.watermark_ns)
        for actions in self._timeline.due_actions(now_ns, self._judges):
            for action in actions:
                self._execute(action)

    def _execute(self, action: Action) -> None:
        dialect = self._script.dialect
        match action:
            case inputs.ReportUsage(usage):
                self._listener.usage_reported(usage)
            case inputs.AcknowledgeMark(mark):
                if (
                    self._codec is not None
                    and (report := self._codec.acknowledge(mark)) is not None
                ):
                    self.send(report)
            case inputs.CancelResponse(event_id):
                self.send(dialect.cancel(event_id))
            case inputs.TruncateItem(item_id, played_ms, event_id):
                message = dialect.truncate(item_id, played_ms, event_id)
                self.send(replace(message, item=item_id, played_ms=played_ms))
            case inputs.RetrieveItem(item_id, event_id):
                self.send(replace(dialect.retrieve(item_id, event_id), item=item_id))
            case inputs.ApproveMcpCall(request_id, event_id):
                self.send(dialect.mcp_approval(request_id, event_id))
            case inputs.MeasureNetwork():
                if (network := self._transport.network()) is not None:
                    self._timeline.apply(network)
            case inputs.DeliverTurn(turn):
                self._listener.turn_ended(turn)
                if turn.retry_after_ns is not None:
                    wait_ns = min(turn.retry_after_ns, MAX_HOLD_NS)
                    self.retry_after_ns = max(self.retry_after_ns, turn.instants["ended"] + wait_ns)
            case inputs.RequestResponse():
                if self._turn is not None and self._turn.request is not None:
                    self.send(self._turn.request)
            case inputs.CallFunction(call):
                self.functions.call(call, self._transport.now_ns())
                self._send_function_outputs()
            case inputs.RequestContinuation() if self._listener.may_request():
                self.send(dialect.request(*self.functions.next_request()))
            case inputs.RequestContinuation():
                now_ns = self._transport.now_ns()
                self._timeline.apply(
                    inputs.SessionFailed("unfinished", now_ns, "the run's budget is spent")
                )

    def _send_answers(self) -> None:
        """Send what the call must answer at once, unless it is over."""
        if self._codec is None or not self._codec.answers:
            return
        answers = self._codec.answers[:]
        self._codec.answers.clear()
        for answer in answers:
            if not self._timeline.is_over:
                self.send(answer)

    def _send_function_outputs(self) -> None:
        """Send the outputs that functions have returned by now. Drop those for turns that are
        over.
        """
        now_ns = self._transport.now_ns()
        if self.functions.due_ns > now_ns:
            return
        for result in self.functions.returned(now_ns):
            if self._timeline.turns.awaits_output(result.output.call_id):
                event_id = f"{self.functions.prefix}output-{result.number}"
                self.send(self._script.dialect.function_output(result.output, event_id))
                output_sent = inputs.FunctionOutputSent(
                    result.output.call_id, self._transport.now_ns(), result.error
                )
                self._timeline.apply(output_sent)
