"""Follows a turn under way: what was sent and what came, its state, and the one outcome that ends it. Pure.

A turn has one reply that counts. Where the service's VAD takes a pause for the end of speech and answers it to the end,
while the caller is still speaking, that answer is not the turn's: the next one is, with instants of its own. A reply
may take several responses: one that calls functions is followed by another. Where the script is to interrupt the reply,
the turn lasts until that has been played.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Literal

from bench.clock import Arrival, SendTime
from bench.metrics import EXPECTED, GOOD, STARVED
from bench.observe.input_speech import SPEECH_INSTANTS, InputSpeech, SendTimestamps
from bench.observe.inputs import Transmitted
from bench.observe.observation import Instants
from bench.observe.reply import REPLY_INSTANTS, Reply
from bench.observe.turn_parts import CALL_INSTANTS, Interruption, TruncationCheck, TurnFunctionCalls
from bench.plan.turn_plan import InterruptionKind, InterruptTrigger, TurnPlan
from bench.protocol.audio import AudioFormat
from bench.protocol.events import DELTAS, ErrorScope, EventKind, ServerEvent, ServiceFailure, TokenUsage
from bench.timeouts import MOST_ITEMS
from bench.transport.interface import TcpInfo
from bench.transport.received import MatchedDelta

LATE_TRANSCRIPT_NS = 5_000_000_000
Decision = Literal["answers", "fills", "speaks"]
"""What the first event of a response or item decides: a response is its turn's, or is said while functions run, and
answers nothing; an item is the turn's speech."""
Ending = tuple[str, str]


class State(Enum):
    __hash__ = object.__hash__  # as that of `EventKind` and `Dialect`

    SENDING = auto()
    """The caller is speaking, or typing."""
    UNNOTICED = auto()
    """The caller's speech is over, and the service has not noticed."""
    WAITING = auto()
    ANSWERING = auto()
    CALLING = auto()
    """The service has called functions, and waits for what they return."""
    PLAYING = auto()
    """The reply is there, and the script may interrupt it as long as it is played."""
    OVER = auto()


REPLYING = DELTAS | CALL_INSTANTS.keys()

# state → kind of event → next state. What is not listed changes nothing. Sending response.create turns SENDING into
# WAITING, the end of speech before a service with VAD turns it into UNNOTICED, and an outcome turns every state into
# OVER.
NEXT_STATE: dict[State, dict[EventKind, State]] = {
    State.UNNOTICED: {EventKind.SPEECH_STOPPED: State.WAITING} | dict.fromkeys(REPLYING, State.ANSWERING),
    State.WAITING: {EventKind.SPEECH_STARTED: State.UNNOTICED} | dict.fromkeys(REPLYING, State.ANSWERING),
}

ITEM_EDGES = frozenset({EventKind.OUTPUT_ADDED, EventKind.OUTPUT_DONE, EventKind.CALL_ADDED})
WHOLE_TEXTS = frozenset({EventKind.TEXT_DONE, EventKind.TRANSCRIPT_DONE})
ARRIVALS = SPEECH_INSTANTS | REPLY_INSTANTS | CALL_INSTANTS


@dataclass(slots=True, eq=False)
class PendingTurn(Instants):
    """A turn under way. `format`: of its reply's audio.

    Its instants are those of the turn itself; what was heard of it, and its reply, have their own.
    """

    plan: TurnPlan
    start_ns: int
    format: AudioFormat
    hearing: InputSpeech = field(init=False)
    reply: Reply = field(init=False)
    calls: TurnFunctionCalls = field(init=False)
    interruption: Interruption | None = None
    passed_sound: bool | None = None
    """Whether a sound that was heard before that has stopped the reply: it has not; None where there was none."""
    interrupts: Interruption | None = None
    """The interruption of the turn before, which this turn's speech is."""
    sending: SendTimestamps = field(default_factory=SendTimestamps)
    state: State = State.SENDING
    outcome: str = ""
    detail: str = ""
    response_id: str = ""
    """The first response that counts."""
    answer_response_id: str = ""
    """The last response that counts."""
    item_id: str = ""
    between_items: bool = False
    """Whether an item of the reply is whole, or was announced, and no delta of it came: a call has none."""
    dropped: list[Reply] = field(default_factory=list)
    """Replies to pauses in the caller's speech, which do not count."""
    transmit_delay_ns: int | None = None
    unnoticed_ns: int = 0
    awaited_ns: int = 0
    """Since when it is the service's turn; what was due before is overdue from then on."""
    said_ns: int = 0
    """When all was said, or asked for, to which the whole turn is the answer; 0 before."""
    doubted: str = ""
    """Which limit may have passed before what the turn went on by: nobody knows, for this process did not run."""
    expected: dict[EventKind, int] = field(default_factory=dict)
    """Events that the script insists on, each with the instant by which it must have come."""
    progress_ns: int = 0
    worst_error_ns: int = 0
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
    """Usage of the first response that told what it read."""
    false_reply: bool | None = None
    """Whether the service replied, before it, to what asks for no reply; None where nothing was heard."""
    fillers: set[str] = field(default_factory=set)
    """Responses that nobody asked for, which the service gives while functions run."""
    filler: str = ""
    """The one of them that is under way."""
    may_be_filled: bool = False
    after_truncation: bool = False
    """Whether the service had shortened the conversation before it."""
    network: TcpInfo | None = None
    retransmits: int | None = None

    def __post_init__(self) -> None:
        self.hearing = InputSpeech(self.plan.vad, self.plan.trailing_silence_ns)
        self.reply = self._new_reply()
        self.calls = TurnFunctionCalls(self.plan.expected_calls)
        if self.plan.greeting:
            self.state, self.unnoticed_ns, self.said_ns = State.WAITING, self.start_ns, self.start_ns

    def _new_reply(self) -> Reply:
        return Reply(self.format, self.plan.jitter_buffer_ns, self.plan.answer_min_ns)

    def end(self, outcome: str, at_ns: int, detail: str = "") -> None:
        """End the turn, unless it has ended before; one that would end well and is `doubted` is starved."""
        if self.state is not State.OVER:
            if self.doubted and outcome in GOOD:
                outcome, detail = STARVED, self.doubted
            self.state, self.outcome, self.detail = State.OVER, outcome, detail
            self.instants["ended"] = max(at_ns, self.progress_ns)  # what is doubted may be stamped behind its limit

    @property
    def audio_bytes_received(self) -> int:
        """Decoded bytes of audio that came, also of replies that do not count."""
        return sum(reply.audio_bytes for reply in (*self.dropped, self.reply))

    @property
    def check(self) -> TruncationCheck | None:
        """The check of what the service keeps of its reply, which was cut; None where the script wants none."""
        return self.interruption.check if self.interruption is not None else None

    # What was sent.

    def count_sent(
        self, handed: SendTime, wire_bytes: int, audio_bytes: int, *, marks: Sequence[str], asks: bool, late: bool
    ) -> None:
        """Count a message that was handed to the kernel; it `marks` instants of speech, `asks` for the response."""
        self.wire_bytes_sent += wire_bytes
        self.audio_bytes_sent += audio_bytes
        self.late_chunks += late
        if self.state is State.OVER:
            return
        ends_speech = "speech_end" in marks
        if ends_speech:
            self.sending.note(handed, marks)
        if asks:
            self._asked(handed)
        elif self.plan.vad and ends_speech:
            self.unnoticed_ns, self.awaited_ns = self.hearing.instants["speech_end"], handed.at_ns
            self.said_ns = self.unnoticed_ns
            self.progress_ns = max(self.progress_ns, handed.at_ns)
            self.state = self._state_after_speech()

    def _asked(self, handed: SendTime) -> None:
        """Note that a response was asked for: the turn's, or the one after its functions have returned."""
        if self.state is State.CALLING:
            self.instants["answer_request_sent"] = handed.at_ns
            self.widths_ns["answer_request_sent"] = handed.width_ns
            self.calls.own_ns += max(0, self.calls.last_output_ns - self.calls.last_done_ns)
        elif "request_sent" not in self.instants:
            self.sent("request_sent", handed.at_ns, handed.width_ns)
            self.sending.note(handed, ("request_sent",))
        self.progress_ns, self.state = handed.at_ns, State.WAITING
        self.said_ns = self.said_ns or handed.at_ns

    def _state_after_speech(self) -> State:
        """The state once the caller's speech is over: a VAD that took a pause for the end may be far ahead by then."""
        return State.ANSWERING if self.reply.begun else State.WAITING if self.speech_noticed else State.UNNOTICED

    @property
    def speech_noticed(self) -> bool:
        """Whether the service has noticed an end of the caller's speech, or does not tell."""
        return self.hearing.noticed or not self.plan.has_turn_events

    def transmitted(self, stamp: Transmitted) -> None:
        """Take the kernel's word when a message left, or was acknowledged; it may be another turn's, or too late."""
        if self.state is State.OVER and stamp.at_ns > self.instants["ended"]:
            return
        marks, late_ns = self.sending.transmitted(stamp)
        if "request_sent" in marks:
            self.instants["request_sent"] += late_ns
            self.widths_ns["request_sent"], self.transmit_delay_ns = 0, late_ns
        elif marks:
            # the limit counts from the end of speech, which moves
            if self.unnoticed_ns == self.hearing.instants["speech_end"]:
                self.unnoticed_ns += late_ns
            for instant in marks:
                self.hearing.instants[instant] += late_ns
                self.hearing.widths_ns[instant] = 0
        if "request_sent" in self.sending.acknowledged(stamp):
            self.instants.setdefault("request_acked", stamp.at_ns)

    @property
    def request_event_id(self) -> str:
        """The id of the last message that asked for a response of this turn; of those after calls with its number."""
        first = self.plan.request_event_id
        return f"{first}-{self.calls.rounds + 1}" if self.calls.rounds else first

    def claimed(self, event: ServerEvent, decides: Decision, requests: int) -> None:
        """Take what the first event of a response or item decides. `requests`: how many a response answers."""
        if decides == "speaks":
            self.item_id = event.item_id
        elif decides == "fills":
            self.fillers.add(event.response_id)
            self.filler = event.response_id
        else:
            self.hearing.answered += requests
            self.answer_response_id = event.response_id
            if not self.calls.rounds:
                self.response_id = event.response_id

    @property
    def streaming(self) -> bool:
        """Whether the first delta of each kind that the reply is made of came, and its audio can be heard."""
        if self.plan.wants_audio:
            return self.reply.audible and EventKind.TRANSCRIPT_DELTA in self.reply.deltas
        return EventKind.TEXT_DELTA in self.reply.deltas

    def wants_request(self, now_ns: int) -> bool:
        """Whether the service has committed the caller's speech and leaves asking for the response to the client."""
        asks = self.plan.vad and not self.plan.service_responds and "request_sent" not in self.instants
        return asks and self.hearing.all_committed(now_ns)

    # What came.

    def received(self, event: ServerEvent, arrival: Arrival, wire_bytes: int) -> Ending | None:
        """Count an event of this open turn, mark its instant, move on; outcome and detail where it ends the turn."""
        (at_ns, error_ns, kernel), kind = arrival, event.kind
        sent = event.name != "" or self.plan.has_turn_events  # else it was found in the audio
        self._count(sent, at_ns, error_ns, wire_bytes, kernel)
        if kind in DELTAS:
            if not event.payload_bytes:  # neither sound nor words: it is no first delta of anything
                return None
            return self._deltas((MatchedDelta(event, at_ns, error_ns, 0, event.payload_bytes, wire_bytes),))
        ending = self._happened(event, arrival)
        self.unknown_events += kind is EventKind.UNKNOWN
        if kind in ITEM_EDGES:
            self.between_items = True
        self._advance(kind)
        return ending

    def received_deltas(self, deltas: Sequence[MatchedDelta]) -> None:
        """Count deltas of this open turn's reply, which goes on, as `received` does one after another."""
        worst_error_ns = max([delta.error_ns for delta in deltas])
        wire_bytes = sum([delta.wire_bytes for delta in deltas])
        self._count(len(deltas), deltas[-1].at_ns, worst_error_ns, wire_bytes, True)
        self._deltas(deltas)

    def _count(self, messages: int, last_ns: int, worst_error_ns: int, wire_bytes: int, kernel: bool) -> None:
        """Count messages that came, the last of them at `last_ns`."""
        self.events += messages
        if kernel:
            self.kernel_stamps += messages
        else:
            self.user_stamps += messages
        self.wire_bytes_received += wire_bytes
        if worst_error_ns > self.worst_error_ns:
            self.worst_error_ns = worst_error_ns
        if last_ns > self.progress_ns:
            self.progress_ns = last_ns

    def _deltas(self, deltas: Sequence[MatchedDelta]) -> Ending | None:
        """Take one delta that was decoded, or several that were matched: these have a length and no payload."""
        self.between_items = False
        if self.expected or self.state is not State.ANSWERING:
            for delta in deltas:
                self._advance(delta.event.kind)
        if not self.reply.received_deltas(deltas):
            return "protocol_error:base64", f"the payload of {deltas[-1].event.name} is not base64"
        if len(self.reply.items) > MOST_ITEMS:  # cues, and all that is observed, go through them one by one
            return "limit_exceeded:items", f"over {MOST_ITEMS} items with audio in one reply"
        if not self.plan.has_turn_events:
            self.reply.sounded(deltas[-1])
        return None

    def _advance(self, kind: EventKind) -> None:
        """Move to the state that follows an event; one that the script insists on has come."""
        if self.expected:
            self.expected.pop(kind, None)
        if self.state in NEXT_STATE:
            self.state = NEXT_STATE[self.state].get(kind, self.state)

    def _happened(self, event: ServerEvent, arrival: Arrival) -> Ending | None:
        kind, at_ns = event.kind, arrival.at_ns
        if kind in REPLY_INSTANTS:
            self.reply.happened(event, arrival)
        elif kind in SPEECH_INSTANTS:
            # it hears the caller go on: the limit within which it must notice the end counts from here
            if kind is EventKind.SPEECH_STARTED and self.state is not State.UNNOTICED:
                self.unnoticed_ns = at_ns
            self.hearing.happened(event, arrival)
        elif kind in CALL_INSTANTS:
            self.calls.happened(event, arrival)
            self.reply.add_calls(self.calls.whole.values())
            if endless := self.calls.endless:
                return "limit_exceeded:calls", endless
        elif kind is EventKind.OUTPUT_ADDED and event.phase:
            self.reply.phases[event.item_id] = event.phase
        if event.text and kind in WHOLE_TEXTS:
            self.reply.add_text(event.text, event.item_id)
        if kind is EventKind.RESPONSE_DONE and event.response_id in self.fillers:
            self.filler = ""
            self.reply.await_another()
            return None
        return self._ending(event, arrival) if kind is EventKind.RESPONSE_DONE else None

    def _ending(self, event: ServerEvent, arrival: Arrival) -> Ending | None:
        """How a turn ends whose response is done; None where another one is to come."""
        failure = event.failure or ServiceFailure()
        if event.status == "completed":
            return self._completion(event, arrival)
        # the caller went on after a pause, which the service had answered, and it gave way: its answer is still to come
        gave_way = event.status == "cancelled" and self.plan.vad and not self._is_interrupted
        if gave_way and not self.plan.has_turn_events and self._began_early:
            self._await_next_reply(arrival.at_ns)
            return None
        if self.interruption is not None and self.interruption.is_wanted and event.status == "cancelled":
            self.interruption.cancelled = True
            if self.reply.late_until_ns:
                instants = self.interruption.instants  # it was heard after the service had said that it was stopped
                instants["barge_in_silent"] = max(self.reply.falls_silent_ns, instants.get("barge_in_silent", 0))
            return "interrupted", ""
        if event.status in ("cancelled", "incomplete"):
            return f"{event.status}:{event.reason or 'unknown'}", ""
        if not failure.cause and event.status not in ("", "failed"):
            return "failed:unknown_status", f"the status of the response is {event.status}"
        throttled = failure.effect is ErrorScope.THROTTLED
        return "throttled:response" if throttled else f"failed:{failure.cause or 'unknown'}", failure.detail

    def _completion(self, event: ServerEvent, arrival: Arrival) -> Ending | None:
        """How a turn ends whose response was completed: well, if with the kind of output that was asked for."""
        at_ns = arrival.at_ns
        service_responds = self.plan.vad and self.plan.service_responds
        # a VAD may take a pause for the end and answer it to the end: that reply is not the turn's, the next one is
        if not (self.hearing.fully_answered(at_ns) if service_responds else self.hearing.spoken):
            self._await_next_reply(at_ns)
            return None
        if self.plan.answer_min_ns and not self._is_interrupted and self._lacks_answer(at_ns):
            return None
        # before it is asked for what the turn is to bring: a response that calls functions need not say anything
        if self.calls.end_response(event, arrival):
            self.reply.add_calls(self.calls.whole.values())
            self.reply.await_another()
            if endless := self.calls.endless:
                return "limit_exceeded:calls", endless
            self.state = State.CALLING
            return None
        if problem := self.calls.problem():
            return "wrong_function_call", problem
        if self.expected:
            return failed_expectation(next(iter(self.expected)))
        # audio that is paid for and never came was spelt in a way that this dialect does not know
        if self.plan.wants_audio and EventKind.AUDIO_DELTA not in self.reply.deltas:
            return ("protocol_error:dialect" if event.usage and event.usage.audio_out else "failed:no_audio"), ""
        if not self.plan.wants_audio and EventKind.TEXT_DELTA not in self.reply.deltas:
            return "failed:no_text", ""
        if self.interruption is not None and self.reply.last_sound is not None:
            self.interruption.fell_quiet(self.reply.falls_silent_ns, self.reply.last_sound)
        if self.interruption is not None and self.interruption.stopped_ns is not None:
            return self._stopped
        if self.interruption is None or self.reply.playback_ends_ns <= at_ns:
            return "ok", ""
        self.state = State.PLAYING  # it ends, at the latest, when all is played
        return None

    def _lacks_answer(self, at_ns: int) -> bool:
        """Whether the reply, which is over, was of fillers alone: then the caller waits for more."""
        said_ns = self.hearing.instants.get("speech_end", 0)
        # sounds that began before answer nothing that was said by then
        self.reply.answers = [answer for answer in self.reply.answers if answer.at_ns >= said_ns]
        if self.reply.answers:
            return False
        if self._began_early:
            self._await_next_reply(at_ns)
        else:
            self.reply.await_another()
            self.state = State.WAITING
        return True

    @property
    def _is_interrupted(self) -> bool:
        return self.interruption is not None and "barge_in" in self.interruption.instants

    @property
    def _began_early(self) -> bool:
        """Whether the reply began before the caller had said everything."""
        begun_ns, ended_ns = self.reply.playback_begins_ns, self.hearing.instants.get("speech_end")
        return begun_ns is not None and (ended_ns is None or begun_ns < ended_ns)

    def _await_next_reply(self, at_ns: int) -> None:
        self.hearing.await_rest()
        self.calls.forget_response()
        self.dropped.append(self.reply)
        self.reply, self.awaited_ns = self._new_reply(), at_ns
        self.state = self._state_after_speech() if self.hearing.spoken else State.SENDING

    # Interruptions.

    def await_interruption(self, kind: InterruptionKind, *, verify: bool) -> None:
        """The script will interrupt the reply, or let a sound be heard; an interruption that was wanted stays."""
        if self.state is State.OVER or (self.interruption is not None and self.interruption.is_wanted):
            return
        if self.interruption is not None:
            self.passed_sound = self.interruption.false_yield
        self.interruption = Interruption(kind, check=TruncationCheck(self.format) if verify else None)

    def interrupt(self, at_ns: int) -> None:
        """Stop the player, as the client does that interrupts the reply by itself."""
        if self.interruption is not None and self.state is not State.OVER:
            self.interruption.sent("barge_in", at_ns, 0)
            self.interruption.stopped_ns = at_ns
            self.interruption.uncancelled = self.state is not State.PLAYING
            self._stop(at_ns)

    def hear_barge_in(self, arrival: Arrival) -> None:
        """Stop the player, for the service hears its caller."""
        interruption = self.interruption
        if interruption is None or interruption.stopped_ns is not None or self.state is State.OVER:
            return
        if "barge_in" not in interruption.instants:  # it is the end of the speech before that it hears
            return
        interruption.noticed(arrival)
        self._stop(arrival.at_ns)

    def cue_ns(self, cue: InterruptTrigger) -> int | None:
        """When the reply is to be interrupted; None where nobody knows yet."""
        reply = self.reply
        if cue.word:
            return self.progress_ns if cue.word.casefold() in reply.words() else None
        if cue.share is None:
            return reply.played_at_ns(cue.after_ns)
        if self.state is not State.PLAYING and "audio_done" not in reply.instants:
            return None
        return reply.played_at_ns(int(cue.share * reply.received_ns))

    def _stop(self, at_ns: int) -> None:
        self.reply.stopped_ns = at_ns
        if self.state is State.PLAYING:
            self.end(self._stopped[0], at_ns)

    @property
    def _stopped(self) -> Ending:
        """How a turn ends whose reply was there, and was stopped before it had been played."""
        wanted = self.interruption is not None and self.interruption.is_wanted
        return ("interrupted", "") if wanted else ("cancelled:turn_detected", "")

    def take_word_of_cut(self, event: ServerEvent, arrival: Arrival) -> None:
        """Take the service's word that it has cut an item of the reply, or what it keeps of it."""
        if self.interruption is not None:
            self.interruption.take_word_of_cut(event, arrival)

    def note_transcript(self, event: ServerEvent, arrival: Arrival) -> None:
        """Take a transcription of the caller's audio that came, or failed; one that is too late is left out."""
        if self.state is State.OVER and arrival.at_ns >= self.instants["ended"] + LATE_TRANSCRIPT_NS:
            return
        self.hearing.transcribed(event, arrival)

    def awaits_more(self, now_ns: int) -> bool:
        """Whether something may still come of this turn, which is over: a transcript, or word of a truncation."""
        if now_ns >= self.instants["ended"] + LATE_TRANSCRIPT_NS:
            return False
        if self.interruption is not None and (self.interruption.uncut > 0 or (self.check and self.check.pending)):
            return True
        due = self.plan.transcription_due and self.audio_bytes_sent > 0
        return due and self.hearing.transcripts < max(1, self.hearing.commits)


def failed_expectation(kind: EventKind) -> Ending:
    event = kind.name.lower()
    return EXPECTED + event, f"the script expects {event}, and it did not come in time"
