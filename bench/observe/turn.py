"""The state of one open turn: its sent and received events, and the one outcome that ends it. Pure.

Only one reply of a turn counts. The service's VAD may mistake a pause for the end of speech and answer it completely
while the caller is still speaking. That reply does not count. The next reply counts and has its own instants. A reply
may consist of several responses: a response that calls functions is followed by another one. If the script interrupts
the reply, the turn lasts until the reply has been played.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Literal

from bench.base.clock import Arrival, SendTime
from bench.catalogue.metrics import EXPECTED, STARVED, SUCCESSFUL
from bench.catalogue.timeouts import MAX_ITEMS
from bench.observe.delegation import DELEGATION_KINDS, NO_FUNCTIONS, NOT_DONE, Delegations
from bench.observe.input_speech import SPEECH_INSTANTS, InputSpeech, SendTimestamps
from bench.observe.inputs import Transmitted
from bench.observe.mcp_calls import MCP_KINDS, tool_name
from bench.observe.observation import Instants
from bench.observe.reply import REPLY_INSTANTS, Reply
from bench.observe.spoken_answer import SpokenAnswer
from bench.observe.turn_parts import CALL_INSTANTS, Interruption, TruncationCheck, TurnFunctionCalls
from bench.plan.turn_plan import InterruptionKind, InterruptTrigger, TurnPlan
from bench.wire.audio import AudioFormat
from bench.wire.connection import NetworkMeasured
from bench.wire.dialect import SOUND, TurnSource
from bench.wire.events import DELTAS, ErrorScope, EventKind, McpItem, ServerEvent, ServiceFailure, TokenUsage
from bench.wire.received import MatchedDelta
from bench.wire.settings import ONLY_TRANSCRIPT, Output

LATE_TRANSCRIPT_NS = 5_000_000_000
NOT_SENT = SendTime(0)
Decision = Literal["answers", "fills", "speaks"]
"""The meaning of the first event of a response or an item.

- `answers`: the response answers its turn.
- `fills`: the response is a filler while functions run.
- `speaks`: the item is the turn's speech.
"""
Ending = tuple[str, str]


class State(Enum):
    __hash__ = object.__hash__  # as in `EventKind`

    SENDING = auto()
    """The caller speaks or types."""
    UNNOTICED = auto()
    """The caller's speech has ended, and the service has not detected the end."""
    WAITING = auto()
    ANSWERING = auto()
    CALLING = auto()
    """The service has called functions and waits for their outputs, or it executes MCP calls."""
    PLAYING = auto()
    """The reply is complete. The script may interrupt it while it is played."""
    OVER = auto()


REPLYING = DELTAS | CALL_INSTANTS.keys() | MCP_KINDS

# A mapping: state → kind of event → next state. Events that are not listed change nothing. Sending response.create
# changes SENDING to WAITING. The end of speech changes SENDING to UNNOTICED if the service has a VAD. An outcome
# changes every state to OVER.
NEXT_STATE: dict[State, dict[EventKind, State]] = {
    State.UNNOTICED: {EventKind.SPEECH_STOPPED: State.WAITING} | dict.fromkeys(REPLYING, State.ANSWERING),
    State.WAITING: {EventKind.SPEECH_STARTED: State.UNNOTICED} | dict.fromkeys(REPLYING, State.ANSWERING),
}

ITEM_EDGES = frozenset({EventKind.OUTPUT_ADDED, EventKind.OUTPUT_DONE, EventKind.CALL_ADDED, EventKind.MCP_CALL_ADDED})
WHOLE_TEXTS = frozenset({EventKind.TEXT_DONE, EventKind.TRANSCRIPT_DONE})
ARRIVALS = SPEECH_INSTANTS | REPLY_INSTANTS | CALL_INSTANTS
TRANSCRIPTIONS = frozenset({EventKind.INPUT_DELTA, EventKind.INPUT_TRANSCRIBED, EventKind.INPUT_NOT_TRANSCRIBED})
"""The events of the transcript of the caller's audio."""


@dataclass(slots=True, eq=False)
class PendingTurn(Instants):
    """An open turn. `format` is the audio format of its reply.

    `instants` contains the instants of the turn itself. The caller's speech (`input_speech`) and the reply have their
    own instants.
    """

    plan: TurnPlan
    start_ns: int
    format: AudioFormat
    turn_source: TurnSource = field(init=False)
    output: Output = field(init=False)
    input_speech: InputSpeech = field(init=False)
    reply: Reply = field(init=False)
    calls: TurnFunctionCalls = field(init=False)
    delegations: Delegations = field(init=False)
    item_sent: SendTime = NOT_SENT
    """The instants of sending the last item: a function output, or the result of a delegated task."""
    has_ended_answer: bool = False
    """True if an answer to a delegated task was completely spoken before the backend had ended."""
    interruption: Interruption | None = None
    passed_sound: bool | None = None
    """False if an earlier sound of the script did not stop the reply; None if there was no earlier sound."""
    interrupts: Interruption | None = None
    """The interruption of the previous turn's reply by this turn's speech; None if this turn interrupts nothing."""
    sending: SendTimestamps = field(default_factory=SendTimestamps)
    state: State = State.SENDING
    outcome: str = ""
    detail: str = ""
    response_id: str = ""
    """The id of the first response of the reply. Replies in `dropped` do not count."""
    answer_response_id: str = ""
    """The id of the last response of the reply. Replies in `dropped` do not count."""
    item_id: str = ""
    is_between_items: bool = False
    """True if an item of the reply is complete or announced, and no delta has followed.

    A function call has no deltas.
    """
    dropped: list[Reply] = field(default_factory=list)
    """The replies to pauses in the caller's speech. These replies do not count."""
    transmit_delay_ns: int | None = None
    undetected_ns: int = 0
    awaited_ns: int = 0
    """The instant from which the service must act. Deadlines before this instant expire at this instant."""
    input_complete_ns: int = 0
    """The instant of the last input or request before the reply to the whole turn; 0 if it is not sent yet."""
    doubted: str = ""
    """The name of a limit that may have expired before an event arrived, after which the turn continued; "" if none.

    It is uncertain whether the limit had expired, because this process did not run at that time.
    """
    expected: dict[EventKind, int] = field(default_factory=dict)
    """The events that the script requires, each with the latest instant of its arrival."""
    met_expectations: int = 0
    """The number of required events that have arrived in time, after the script required them."""
    progress_ns: int = 0
    max_uncertainty_ns: int = 0
    kernel_stamps: int = 0
    user_stamps: int = 0
    audio_bytes_sent: int = 0
    wire_bytes_sent: int = 0
    wire_bytes_received: int = 0
    events: int = 0
    unknown_events: int = 0
    late_chunks: int = 0
    usage: TokenUsage | None = None
    context: TokenUsage | None = None
    """The usage of the first response that reported its input tokens."""
    false_reply: bool | None = None
    """True if the service replied, before this turn, to a sound that needs no reply; None if no such sound was played.
    """
    fillers: set[str] = field(default_factory=set)
    """The ids of responses without a request, which the service sends while functions run."""
    filler: str = ""
    """The id of the filler response in progress; "" if there is none."""
    may_have_filler: bool = False
    after_truncation: bool = False
    """True if the service had truncated the conversation before this turn."""
    network: NetworkMeasured | None = None
    retransmits: int | None = None

    def __post_init__(self) -> None:
        self.turn_source, self.output = self.plan.turn_source, self.plan.output
        self.delegations = Delegations(self.plan.delegates)
        self.input_speech = InputSpeech(self.plan.vad, self.plan.end_tolerance_ns, self.output == ONLY_TRANSCRIPT)
        self.reply = self._new_reply()
        self.calls = TurnFunctionCalls(self.plan.expected_calls)
        if self.plan.greeting:
            self.state, self.undetected_ns, self.input_complete_ns = State.WAITING, self.start_ns, self.start_ns

    def _new_reply(self) -> Reply:
        is_searched = self.plan.answer_min_ns or self.delegations.are_possible
        answer = SpokenAnswer(self.plan.answer_min_ns) if is_searched else None
        return Reply(self.format, self.plan.jitter_buffer_ns, answer)

    def end(self, outcome: str, at_ns: int, detail: str = "") -> None:
        """End the turn, unless it has already ended. If the turn is `doubted`, a success becomes `starved`.

        If the caller's speech was not sent, this is the cause of the ending.
        """
        if self.state is not State.OVER:
            unsent = self.input_speech.unsent_ending
            if unsent is not None and (outcome in SUCCESSFUL or outcome.startswith("timeout:")):
                outcome, detail = unsent
            if self.doubted and outcome in SUCCESSFUL:
                outcome, detail = STARVED, self.doubted
            self.state, self.outcome, self.detail = State.OVER, outcome, detail
            # the timestamp of a doubted event may be after its limit
            self.instants["ended"] = max(at_ns, self.progress_ns)

    @property
    def audio_bytes_received(self) -> int:
        """The decoded bytes of received audio, including replies that do not count."""
        return sum(reply.audio_bytes for reply in (*self.dropped, self.reply))

    @property
    def check(self) -> TruncationCheck | None:
        """The check of what the service keeps of the truncated reply; None if the script requests no check."""
        return self.interruption.check if self.interruption is not None else None

    @property
    def may_name_item(self) -> bool:
        """True if the service may transcribe the turn's speech before it announces the commit of the speech."""
        is_uncommitted = self.state is State.SENDING or self.output == ONLY_TRANSCRIPT
        return self.plan.transcription_due and not self.plan.vad and is_uncommitted

    # Sent events.

    def count_sent(
        self,
        send_time: SendTime,
        wire_bytes: int,
        audio_bytes: int,
        *,
        instants: Sequence[str],
        is_request: bool,
        late: bool,
    ) -> None:
        """Count a message that the kernel accepted.

        `instants` are the instants of speech in the message. `is_request` is True if the message requests a response.
        """
        self.wire_bytes_sent += wire_bytes
        self.audio_bytes_sent += audio_bytes
        self.late_chunks += late
        if self.state is State.OVER:
            return
        ends_speech = "speech_end" in instants
        if ends_speech:
            self.sending.add(send_time, instants)
        if is_request:
            self._on_request_sent(send_time)
        elif self.plan.vad and ends_speech:
            self.undetected_ns, self.awaited_ns = self.input_speech.instants["speech_end"], send_time.at_ns
            self.input_complete_ns = self.undetected_ns
            self.progress_ns = max(self.progress_ns, send_time.at_ns)
            self.state = self._state_after_speech()

    def _on_request_sent(self, send_time: SendTime) -> None:
        """Record the request of the turn's first response, or of the response that follows the function outputs."""
        if self.state is State.CALLING:
            self.instants["answer_request_sent"] = send_time.at_ns
            self.widths_ns["answer_request_sent"] = send_time.width_ns
            self.calls.end_round()
        elif "request_sent" not in self.instants:
            self.sent("request_sent", send_time.at_ns, send_time.width_ns)
            self.sending.add(send_time, ("request_sent",))
        self.progress_ns, self.state = send_time.at_ns, State.WAITING
        self.input_complete_ns = self.input_complete_ns or send_time.at_ns
        if self.delegations.are_possible:  # the request is for the backend, and the caller waits for its result
            self.state = State.CALLING
            self.delegations.hand_over(send_time.at_ns)

    def on_output_sent(self, call_id: str, at_ns: int, error: str) -> None:
        """Record that the output of a call, or the result of a delegated task, was sent."""
        self.calls.on_output_sent(call_id, at_ns, error)
        if self.state is State.CALLING and self.delegations.are_possible and not self.calls.is_request_due:
            self.instants["answer_request_sent"] = self.item_sent.at_ns
            self.widths_ns["answer_request_sent"] = self.item_sent.width_ns
            if self.calls.are_all_answered:
                self.calls.end_round()
            self._check_result(self.item_sent.at_ns)

    @property
    def is_delegated(self) -> bool:
        """True if the service has delegated a task, even if it has only reported a call of the backend."""
        return self.delegations.are_possible and bool(self.delegations.count or self.calls.rounds)

    @property
    def wants_continuation(self) -> bool:
        """True if the service waits for the client's request of the next response, and would accept it.

        The service accepts no request while a response is in progress, while a function call is unanswered, or while an
        MCP call runs.
        """
        is_idle = not self.filler and not self.delegations.awaits_backend
        return self.state is State.CALLING and self.calls.are_all_answered and self.calls.is_request_due and is_idle

    def _state_after_speech(self) -> State:
        """Return the state after the caller's speech.

        If a VAD has mistaken a pause for the end, the turn may already be in a later state.
        """
        return (
            State.ANSWERING
            if self.reply.has_started
            else State.WAITING
            if self.is_speech_end_detected
            else State.UNNOTICED
        )

    @property
    def is_speech_end_detected(self) -> bool:
        """True if the service has detected an end of the caller's speech, or sends no such events."""
        return self.input_speech.is_end_detected or self.turn_source is SOUND

    def transmitted(self, timestamp: Transmitted) -> None:
        """Apply the kernel's timestamp of a sent or acknowledged message.

        Ignore it if the message is another turn's, or too old.
        """
        if self.state is State.OVER and timestamp.at_ns > self.instants["ended"]:
            return
        instants, late_ns = self.sending.transmitted(timestamp)
        if "request_sent" in instants:
            self.instants["request_sent"] += late_ns
            self.widths_ns["request_sent"], self.transmit_delay_ns = 0, late_ns
        elif instants:
            # the limit counts from the end of speech, which the timestamp moves
            if self.undetected_ns == self.input_speech.instants["speech_end"]:
                self.undetected_ns += late_ns
            for instant in instants:
                self.input_speech.instants[instant] += late_ns
                self.input_speech.widths_ns[instant] = 0
        if "request_sent" in self.sending.acknowledged(timestamp):
            self.instants.setdefault("request_acked", timestamp.at_ns)

    @property
    def request_event_id(self) -> str:
        """The event id of the turn's last response request. After function calls it ends with the request's number."""
        first = self.plan.request_event_id
        return f"{first}-{self.calls.rounds + 1}" if self.calls.rounds else first

    def assign_request(self, event: ServerEvent, decides: Decision, requests: int) -> None:
        """Apply `decides`, the meaning of the first event of a response or item.

        A response answers `requests` requests of the turn.
        """
        if decides == "speaks":
            self.item_id = event.item_id
        elif decides == "fills":
            self.fillers.add(event.response_id)
            self.filler = event.response_id
        else:
            self.input_speech.answered += requests
            self.answer_response_id = event.response_id
            if not self.calls.rounds:
                self.response_id = event.response_id

    @property
    def is_streaming(self) -> bool:
        """True if the first delta of each kind in the reply has arrived, and the reply's audio is audible."""
        if self.plan.wants_audio:
            return self.reply.is_audible and EventKind.TRANSCRIPT_DELTA in self.reply.deltas
        return EventKind.TEXT_DELTA in self.reply.deltas

    def wants_request(self, now_ns: int) -> bool:
        """Return whether the service has committed all of the speech and leaves the response request to the client."""
        client_requests = self.plan.vad and not self.plan.service_responds and self.output != ONLY_TRANSCRIPT
        return client_requests and "request_sent" not in self.instants and self.input_speech.all_committed(now_ns)

    # Received events.

    def received(self, event: ServerEvent, arrival: Arrival, wire_bytes: int) -> Ending | None:
        """Apply an event of this open turn: update counts, instants and state.

        Return (outcome, detail) if it ends the turn.
        """
        (at_ns, error_ns, kernel), kind = arrival, event.kind
        sent = event.name != "" or self.turn_source is not SOUND  # otherwise the event was detected in the audio
        self._count(sent, at_ns, error_ns, wire_bytes, kernel)
        if kind in DELTAS:
            if not event.payload_bytes:  # neither audio nor text, so it is not the first delta
                return None
            return self._deltas((MatchedDelta(event, at_ns, error_ns, 0, event.payload_bytes, wire_bytes),))
        ending = self._on_event(event, arrival)
        self.unknown_events += kind is EventKind.UNKNOWN
        if kind in ITEM_EDGES:
            self.is_between_items = True
        self._advance(kind)
        return ending

    def received_deltas(self, deltas: Sequence[MatchedDelta]) -> None:
        """Count deltas of this open turn's unfinished reply. The effect is that of `received` for each of them."""
        worst_error_ns = max([delta.uncertainty_ns for delta in deltas])
        wire_bytes = sum([delta.wire_bytes for delta in deltas])
        self._count(len(deltas), deltas[-1].at_ns, worst_error_ns, wire_bytes, True)
        self._deltas(deltas)

    def _count(self, messages: int, last_ns: int, worst_error_ns: int, wire_bytes: int, kernel: bool) -> None:
        """Count received messages. The last one arrived at `last_ns`."""
        self.events += messages
        if kernel:
            self.kernel_stamps += messages
        else:
            self.user_stamps += messages
        self.wire_bytes_received += wire_bytes
        if worst_error_ns > self.max_uncertainty_ns:
            self.max_uncertainty_ns = worst_error_ns
        if last_ns > self.progress_ns:
            self.progress_ns = last_ns

    def _deltas(self, deltas: Sequence[MatchedDelta]) -> Ending | None:
        """Apply one decoded delta, or several matched deltas, which have a length and no payload."""
        self.is_between_items = False
        if self.expected or self.state is not State.ANSWERING:
            for delta in deltas:
                self._advance(delta.event.kind)
        if not self.reply.received_deltas(deltas):
            return "protocol_error:base64", f"the payload of {deltas[-1].event.name} is not base64"
        if len(self.reply.items) > MAX_ITEMS:  # triggers and observations iterate over all items
            return "limit_exceeded:items", f"over {MAX_ITEMS} items with audio in one reply"
        if self.turn_source is SOUND:
            self.reply.on_sound(deltas[-1])
        return None

    def _advance(self, kind: EventKind) -> None:
        """Change to the state after an event. Remove the event from the events that the script requires."""
        if self.expected and self.expected.pop(kind, None) is not None:
            self.met_expectations += 1
        if self.state in NEXT_STATE:
            self.state = NEXT_STATE[self.state].get(kind, self.state)

    def _on_event(self, event: ServerEvent, arrival: Arrival) -> Ending | None:
        kind, at_ns = event.kind, arrival.at_ns
        if kind in TRANSCRIPTIONS:
            self.note_transcript(event, arrival)
            if kind is EventKind.INPUT_DELTA and self.state is State.WAITING:
                self.state = State.ANSWERING
        elif kind in REPLY_INSTANTS:
            self.reply.on_event(event, arrival)
        elif kind in SPEECH_INSTANTS:
            # The service detects that the caller continues. From here, the limit for detecting the end counts again.
            if kind is EventKind.SPEECH_STARTED and self.state is not State.UNNOTICED:
                self.undetected_ns = at_ns
            self.input_speech.on_event(event, arrival)
        elif kind in CALL_INSTANTS:
            self.calls.on_event(event, arrival)
            self.reply.add_calls(self.calls.complete_calls.values())
            if exceeded_limit := self.calls.exceeded_limit:
                return "limit_exceeded:calls", exceeded_limit
            if self.delegations.are_possible:  # the text before the call was no result
                self._await_result()
        elif kind in MCP_KINDS or kind is EventKind.MCP_APPROVAL:
            return self._on_mcp_event(event, arrival)
        elif kind is EventKind.OUTPUT_DONE and event.mcp is not None:
            self.calls.mcp.on_item_done(event)
        elif kind in DELEGATION_KINDS:
            return self._on_delegation_event(event, arrival)
        elif kind is EventKind.OUTPUT_ADDED and event.phase:
            self.reply.phases[event.item_id] = event.phase
        if event.text and kind in WHOLE_TEXTS:
            self.reply.add_text(event.text, event.item_id)
        if kind is EventKind.RESPONSE_DONE and event.response_id in self.fillers:
            self.filler = ""
            self.reply.await_another()
            return None
        if self.output == ONLY_TRANSCRIPT:
            transcribed_ns = self.transcribed_ns
            return self.transcript_ending() if transcribed_ns is not None and transcribed_ns <= at_ns else None
        return self._ending(event, arrival) if kind is EventKind.RESPONSE_DONE else None

    def _on_mcp_event(self, event: ServerEvent, arrival: Arrival) -> Ending | None:
        if event.kind is not EventKind.MCP_APPROVAL:
            self.calls.on_mcp_event(event, arrival)
        elif event.mcp is not None and (self.plan.mcp_servers or {}).get(event.mcp.server):
            self.calls.mcp.request_approval(event.item_id)
        else:
            tool = tool_name(event.mcp or McpItem(""))
            return "failed:mcp_approval", f"the service asks for the approval of a call of {tool}"
        exceeded_limit = self.calls.exceeded_limit
        return ("limit_exceeded:calls", exceeded_limit) if exceeded_limit else None

    def _on_delegation_event(self, event: ServerEvent, arrival: Arrival) -> Ending | None:
        kind, at_ns = event.kind, arrival.at_ns
        if kind is EventKind.DELEGATED:
            if event.calls and not self.plan.functions:
                return "failed:delegation", NO_FUNCTIONS
            self.delegations.on_delegated(event, at_ns)
            self.calls.on_delegated(event, arrival)
            self._await_result()
        elif kind is EventKind.BACKEND_STARTED:
            self.delegations.on_started(event.backend_response_id, at_ns)
            self._await_result()
        elif kind is EventKind.RESULT_ACCEPTED:
            is_ours = event.request.startswith(self.plan.event_prefix) and self.delegations.result_ns > 0
            if is_ours or (not event.request and self.delegations.awaits_backend):
                self._spoken_answer.expect(at_ns)
        else:
            return self._on_backend_done(event, arrival)
        return None

    def _on_backend_done(self, event: ServerEvent, arrival: Arrival) -> Ending | None:
        """Return the ending of the turn if the backend failed, or if the answer has already been spoken."""
        if event.status != "completed":
            failure = event.failure or ServiceFailure(code=event.reason)
            return f"failed:backend_{event.status}", f"{NOT_DONE}: {failure.detail}"
        self.delegations.on_done(event.backend_response_id, arrival.at_ns)
        if self.calls.end_response(event, arrival):
            self.reply.add_calls(self.calls.complete_calls.values())
            if endless := self.calls.exceeded_limit:
                return "limit_exceeded:calls", endless
        return self._check_result(arrival.at_ns)

    @property
    def _spoken_answer(self) -> SpokenAnswer:
        assert self.reply.spoken_answer is not None, "the plan does not search for an answer"
        return self.reply.spoken_answer

    def _await_result(self) -> None:
        """Wait for the result of a delegated task. Meanwhile the service may say fillers."""
        self.state, self.has_ended_answer = State.CALLING, False
        self._spoken_answer.await_result()

    def _check_result(self, at_ns: int) -> Ending | None:
        """Wait for the answer, if the service now has the results of all delegated tasks.

        Return the ending of the turn if the answer was spoken before its backend had ended.
        """
        if self.delegations.awaits_backend or self.calls.is_request_due or not self.calls.are_all_answered:
            return None
        self.delegations.result_ns = at_ns
        if self._spoken_answer.awaits_result:
            self._spoken_answer.expect(at_ns)
        self.state = State.ANSWERING if self._spoken_answer.has_begun else State.WAITING
        return ("ok", "") if self.has_ended_answer else None

    @property
    def transcribed_ns(self) -> int | None:
        """The instant from which on a turn without a reply is over; None if its transcript is not complete."""
        is_sent = self.state in (State.UNNOTICED, State.WAITING, State.ANSWERING)
        transcribed_ns = self.input_speech.transcribed_ns() if is_sent else None
        return None if transcribed_ns is None else max(transcribed_ns, self.awaited_ns)

    def transcript_ending(self) -> Ending:
        """Return (outcome, detail) of a turn without a reply, whose transcript is complete or has failed."""
        words = self.input_speech.words
        if words.failure is not None:
            throttled = words.failure.effect is ErrorScope.THROTTLED
            return "throttled:transcription" if throttled else "failed:transcription", words.failure.detail
        if self.expected:
            return failed_expectation(next(iter(self.expected)))
        return ("ok", "") if words.text else ("failed:no_transcript", "the transcript has no words")

    def _ending(self, event: ServerEvent, arrival: Arrival) -> Ending | None:
        """Return (outcome, detail) of the turn when its response is done; None if another response follows."""
        failure = event.failure or ServiceFailure()
        if event.status == "completed":
            return self._completion(event, arrival)
        # The caller continued after a pause that the service had answered, and the service cancelled that response. The
        # turn's response follows.
        has_yielded = event.status == "cancelled" and self.plan.vad and not self._is_interrupted
        if has_yielded and self.turn_source is SOUND and self._is_early:
            self._await_next_reply(arrival.at_ns)
            return None
        if self.interruption is not None and self.interruption.is_wanted and event.status == "cancelled":
            self.interruption.cancelled = True
            if self.reply.late_until_ns:
                instants = self.interruption.instants  # audio was played after the service had reported the stop
                instants["barge_in_silent"] = max(self.reply.silent_from_ns, instants.get("barge_in_silent", 0))
            return "interrupted", ""
        if event.status in ("cancelled", "incomplete"):
            return f"{event.status}:{event.reason or 'unknown'}", ""
        if not failure.cause and event.status not in ("", "failed"):
            return "failed:unknown_status", f"the status of the response is {event.status}"
        throttled = failure.effect is ErrorScope.THROTTLED
        return "throttled:response" if throttled else f"failed:{failure.cause or 'unknown'}", failure.detail

    def _completion(self, event: ServerEvent, arrival: Arrival) -> Ending | None:
        """Return (outcome, detail) of the turn when its response is completed.

        The turn ends well only if the response has the requested kind of output.
        """
        at_ns = arrival.at_ns
        service_responds = self.plan.vad and self.plan.service_responds
        # A VAD may mistake a pause for the end and answer it completely. That reply does not count; the next one does.
        if not (self.input_speech.fully_answered(at_ns) if service_responds else self.input_speech.is_speech_sent):
            self._await_next_reply(at_ns)
            return None
        distinguishes = self.plan.answer_min_ns or self.is_delegated
        if distinguishes and not self._is_interrupted and self._lacks_answer(at_ns):
            return None
        # The function calls are checked before the output, because a response that calls functions need not contain
        # speech.
        if self.calls.end_response(event, arrival):
            self.reply.add_calls(self.calls.complete_calls.values())
            self.reply.await_another()
            if exceeded_limit := self.calls.exceeded_limit:
                return "limit_exceeded:calls", exceeded_limit
            self.state = State.CALLING
            return None
        if problem := self.calls.error_text():
            return "wrong_function_call", problem
        if self.expected:
            return failed_expectation(next(iter(self.expected)))
        # If audio is billed and none was decoded, this dialect does not know the service's event names.
        if self.plan.wants_audio and EventKind.AUDIO_DELTA not in self.reply.deltas:
            return ("protocol_error:dialect" if event.usage and event.usage.audio_out else "failed:no_audio"), ""
        if not self.plan.wants_audio and EventKind.TEXT_DELTA not in self.reply.deltas:
            return "failed:no_text", ""
        if self.interruption is not None and self.reply.last_sound is not None:
            self.interruption.on_silence(self.reply.silent_from_ns, self.reply.last_sound)
        if self.interruption is not None and self.interruption.stopped_ns is not None:
            return self._stopped_ending
        if self.interruption is None or self.reply.playback_ends_ns <= at_ns:
            return "ok", ""
        self.state = State.PLAYING  # the turn ends at the latest when the reply is played
        return None

    def _lacks_answer(self, at_ns: int) -> bool:
        """Return whether the ended reply contains only fillers. If it does, the caller continues to wait."""
        if self.state is State.CALLING:
            self.reply.await_another()
            self.has_ended_answer = self._spoken_answer.has_begun
            return True
        speech_end_ns = self.input_speech.instants.get("speech_end", 0)
        self._spoken_answer.end_sound()
        self._spoken_answer.reject_before(speech_end_ns)
        if self._spoken_answer.has_begun:
            return False
        if self._is_early:
            self._await_next_reply(at_ns)
        else:
            self.reply.await_another()
            self.state = State.WAITING
        return True

    @property
    def _is_interrupted(self) -> bool:
        return self.interruption is not None and self.interruption.has_begun

    @property
    def _is_early(self) -> bool:
        """True if playback of the reply began before the caller's speech ended."""
        start_ns, speech_end_ns = self.reply.playback_starts_ns, self.input_speech.instants.get("speech_end")
        return start_ns is not None and (speech_end_ns is None or start_ns < speech_end_ns)

    def _await_next_reply(self, at_ns: int) -> None:
        self.input_speech.await_rest()
        self.calls.forget_response()
        self.dropped.append(self.reply)
        self.reply, self.awaited_ns = self._new_reply(), at_ns
        self.state = self._state_after_speech() if self.input_speech.is_speech_sent else State.SENDING

    # Interruptions.

    def await_interruption(self, kind: InterruptionKind, *, verify: bool) -> None:
        """Prepare for the script's interruption of the reply, or for the script's sound during the reply.

        An interruption that must stop the reply is not replaced by a later one.
        """
        if self.state is State.OVER or (self.interruption is not None and self.interruption.is_wanted):
            return
        if self.interruption is not None:
            self.passed_sound = self.interruption.false_yield
        self.interruption = Interruption(kind, check=TruncationCheck(self.format) if verify else None)

    def interrupt(self, at_ns: int) -> None:
        """Record that the client itself interrupts the reply, and stop the player."""
        if self.interruption is not None and self.state is not State.OVER:
            self.interruption.sent("barge_in", at_ns, 0)
            self.interruption.stopped_ns = at_ns
            self.interruption.uncancelled = self.state is not State.PLAYING
            self._stop(at_ns)

    def on_barge_in(self, arrival: Arrival) -> None:
        """Stop the player, because the service detects its caller's speech."""
        interruption = self.interruption
        if interruption is None or interruption.stopped_ns is not None or self.state is State.OVER:
            return
        if not interruption.has_begun:  # the service has detected the end of the previous speech
            return
        interruption.on_detected(arrival)
        self._stop(arrival.at_ns)

    def trigger_ns(self, trigger: InterruptTrigger) -> int | None:
        """Return the instant at which to interrupt the reply; None while it is unknown."""
        reply = self.reply
        if trigger.text:
            return self.progress_ns if reply.heard().contains(trigger.text) else None
        if trigger.share is None:
            return reply.played_at_ns(trigger.after_ns)
        if self.state is not State.PLAYING and "audio_done" not in reply.instants:
            return None
        return reply.played_at_ns(int(trigger.share * reply.received_ns))

    def _stop(self, at_ns: int) -> None:
        self.reply.stopped_ns = at_ns
        if self.state is State.PLAYING:
            self.end(self._stopped_ending[0], at_ns)

    @property
    def _stopped_ending(self) -> Ending:
        """The ending of a turn with a reply that was stopped before it was completely played."""
        must_stop = self.interruption is not None and self.interruption.is_wanted
        return ("interrupted", "") if must_stop else ("cancelled:turn_detected", "")

    def on_truncation_event(self, event: ServerEvent, arrival: Arrival) -> None:
        """Apply a report that an item of the reply was truncated, or a report of the item's remaining content."""
        if self.interruption is not None:
            self.interruption.on_truncation_event(event, arrival)

    def note_transcript(self, event: ServerEvent, arrival: Arrival) -> None:
        """Record a transcription of the caller's audio, or its failure. Ignore it if it is too late."""
        if self.state is State.OVER and arrival.at_ns >= self.instants["ended"] + LATE_TRANSCRIPT_NS:
            return
        self.input_speech.transcribed(event, arrival)

    def is_incomplete(self, now_ns: int) -> bool:
        """Return whether this ended turn may still receive a transcript or a truncation report."""
        if now_ns >= self.instants["ended"] + LATE_TRANSCRIPT_NS:
            return False
        if self.interruption is not None and (
            self.interruption.unconfirmed_truncations > 0 or (self.check and self.check.is_pending)
        ):
            return True
        due = self.plan.transcription_due and self.audio_bytes_sent > 0
        return due and not self.input_speech.is_transcribed


def failed_expectation(kind: EventKind) -> Ending:
    event = kind.name.lower()
    return EXPECTED + event, f"the script expects {event}, and it did not come in time"
