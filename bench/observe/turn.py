"""The state of one open turn: what the client sent, and the one outcome that ends the turn. Pure.

`bench.observe.turn_events` applies received events.

Only one reply of a turn counts. The service's VAD may mistake a pause for the end of speech and
answer it completely while the caller is still speaking. That reply does not count. The next reply
counts and has its own instants. A reply may consist of several responses: a response that calls
functions is followed by another one. If the script interrupts the reply, the turn lasts until the
reply has been played.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Literal

from bench.base.clock import Arrival, SendTime
from bench.catalogue.causes import Cause, Ending
from bench.catalogue.outcomes import CANCELLED_SPLIT, STARVED, SUCCESSFUL, Family, parsed
from bench.observe.input_speech import SPEECH_INSTANTS, InputSpeech, SendTimestamps
from bench.observe.inputs import Sent, Transmitted
from bench.observe.observation import Instants
from bench.observe.reply import REPLY_INSTANTS, Reply
from bench.observe.spoken_answer import SpokenAnswer
from bench.observe.turn_parts import (
    CALL_INSTANTS,
    Delegations,
    Interruption,
    TruncationCheck,
    TurnFunctionCalls,
)
from bench.plan.turn_plan import InterruptionKind, InterruptTrigger, TurnPlan
from bench.wire.audio import AudioFormat
from bench.wire.connection import MatchedDelta, NetworkMeasured
from bench.wire.dialect import TurnSource
from bench.wire.events import EventKind, ServerEvent, TokenUsage
from bench.wire.settings import ONLY_TRANSCRIPT, Output

LATE_TRANSCRIPT_NS = 5_000_000_000
FADING_NS = 300_000_000
"""The time after a reply was stopped in which its last audio may arrive, because events have
another path."""
NOT_SENT = SendTime(0)
Decision = Literal["answers", "fills", "speaks"]
"""What the first event shows: a response answers, or fills while functions run; an item is the
turn's speech."""


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


ARRIVALS = SPEECH_INSTANTS | REPLY_INSTANTS | CALL_INSTANTS
TRANSCRIPTIONS = frozenset(
    {EventKind.INPUT_DELTA, EventKind.INPUT_TRANSCRIBED, EventKind.INPUT_NOT_TRANSCRIBED}
)
"""The events of the transcript of the caller's audio."""


@dataclass(slots=True, eq=False)
class PendingTurn(Instants):
    """An open turn. Its speech and its reply, whose audio has this `format`, have their own
    instants.
    """

    plan: TurnPlan
    start_ns: int
    format: AudioFormat
    turn_source: TurnSource
    plays_on: bool = False
    """True if the service plays its replies in real time, so the client cannot stop them."""
    is_track: bool = False
    output: Output = field(init=False)
    input_speech: InputSpeech = field(init=False)
    reply: Reply = field(init=False)
    calls: TurnFunctionCalls = field(init=False)
    delegations: Delegations = field(init=False)
    item_sent: SendTime = NOT_SENT
    """The instants of sending the last item: a function output, or the result of a delegated
    task."""
    has_ended_answer: bool = False
    """True if an answer to a delegated task was completely spoken before the backend had ended."""
    interruption: Interruption | None = None
    passed_sound: bool | None = None
    """False if an earlier sound of the script did not stop the reply; None if there was no
    earlier sound."""
    interrupts: Interruption | None = None
    """The interruption of the previous turn's reply by this turn's speech; None if this turn
    interrupts nothing."""
    sending: SendTimestamps = field(default_factory=SendTimestamps)
    state: State = State.SENDING
    outcome: str = ""
    causes: tuple[Cause, ...] = ()
    response_id: str = ""
    """The id of the first response of the reply. Replies in `dropped` do not count."""
    answer_response_id: str = ""
    """The id of the last response of the reply. Replies in `dropped` do not count."""
    billed_response_id: str = ""
    """The id of the last response of the turn whose tokens were reported."""
    item_id: str = ""
    is_between_items: bool = False
    """True if an item is complete or announced without a delta after it. A function call has no
    deltas."""
    dropped: list[Reply] = field(default_factory=list)
    """The replies to pauses in the caller's speech. These replies do not count."""
    transmit_delay_ns: int | None = None
    undetected_ns: int = 0
    awaited_ns: int = 0
    """The instant from which the service must act. Deadlines before this instant expire at this
    instant."""
    input_complete_ns: int = 0
    """The instant of the last input or request before the reply to the whole turn; 0 if it is
    not sent yet."""
    doubted: Cause | None = None
    """The limit that may have expired before an event arrived, after which the turn continued; None
    if none. It is uncertain whether the limit had expired, because this process did not run at that
    time."""
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
    """True if the service replied to an earlier sound that needs no reply; None if there was no
    such sound."""
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
        self.output = self.plan.output
        self.delegations = Delegations(self.plan.delegates)
        self.input_speech = InputSpeech(
            self.plan.vad, self.plan.end_tolerance_ns, self.output == ONLY_TRANSCRIPT
        )
        self.reply = self.new_reply()
        self.calls = TurnFunctionCalls(self.plan.expected_calls)
        if self.plan.greeting:
            self.state = State.WAITING
            self.undetected_ns = self.start_ns
            self.input_complete_ns = self.start_ns

    def new_reply(self) -> Reply:
        is_searched = self.plan.answer_min_ns or self.delegations.are_possible
        answer = SpokenAnswer(self.plan.answer_min_ns) if is_searched else None
        return Reply(
            self.format,
            self.plan.jitter_buffer_ns,
            answer,
            plays_on=self.plays_on,
            is_track=self.is_track,
        )

    def end(self, outcome: str, at_ns: int, *causes: Cause) -> None:
        """End the turn, if it is open. Unsent speech is the cause if there is any; a doubted
        success is `starved`.
        """
        if self.state is not State.OVER:
            unsent = self.input_speech.unsent_ending
            if unsent is not None and (
                outcome in SUCCESSFUL or parsed(outcome).family is Family.TIMEOUT
            ):
                outcome = unsent.outcome
                causes = (unsent.cause,)
            if self.doubted is not None and outcome in SUCCESSFUL:
                outcome = STARVED
                causes = (self.doubted,)
            self.state = State.OVER
            self.outcome = outcome
            self.causes = causes
            # the timestamp of a doubted event may be after its limit
            self.instants["ended"] = max(at_ns, self.progress_ns)
            _note_silence(self)

    @property
    def audio_bytes_received(self) -> int:
        """The decoded bytes of received audio, including replies that do not count."""
        return sum(reply.audio_bytes for reply in (*self.dropped, self.reply))

    @property
    def check(self) -> TruncationCheck | None:
        """The check of what the service keeps of the truncated reply; None if the script
        requests no check.
        """
        return self.interruption.check if self.interruption is not None else None

    @property
    def may_name_item(self) -> bool:
        """True if the service may transcribe the turn's speech before it announces the commit of
        the speech.
        """
        if self.turn_source is TurnSource.REPLIES:  # it announces no commits
            return self.plan.transcription_due
        is_uncommitted = self.state is State.SENDING or self.output == ONLY_TRANSCRIPT
        return self.plan.transcription_due and not self.plan.vad and is_uncommitted

    # Sent events.

    def count_sent(
        self, sent: Sent, send_time: SendTime, *, instants: Sequence[str], is_request: bool
    ) -> None:
        """Count a sent message with these instants of speech. `is_request`: it requests a
        response.
        """
        self.count_bytes(sent.wire_bytes, sent.audio_bytes, late=sent.late)
        if self.state is State.OVER:
            return
        ends_speech = "speech_end" in instants
        if ends_speech:
            self.sending.add(send_time, instants)
        if is_request:
            self._on_request_sent(send_time)
        elif self.plan.vad and ends_speech:
            self.undetected_ns = self.input_speech.instants["speech_end"]
            self.awaited_ns = send_time.at_ns
            self.input_complete_ns = self.undetected_ns
            self.progress_ns = max(self.progress_ns, send_time.at_ns)
            self.state = self.state_after_speech()

    def count_bytes(self, wire_bytes: int, audio_bytes: int, *, late: int) -> None:
        """Count the bytes of sent messages, and the chunks among them that were late."""
        self.wire_bytes_sent += wire_bytes
        self.audio_bytes_sent += audio_bytes
        self.late_chunks += late

    def _on_request_sent(self, send_time: SendTime) -> None:
        """Record the request of the turn's first response, or of the response that follows the
        function outputs.
        """
        if self.state is State.CALLING:
            self.instants["answer_request_sent"] = send_time.at_ns
            self.widths_ns["answer_request_sent"] = send_time.width_ns
            self.calls.end_round()
        elif "request_sent" not in self.instants:
            self.sent("request_sent", send_time.at_ns, send_time.width_ns)
            self.sending.add(send_time, ("request_sent",))
        self.progress_ns = send_time.at_ns
        self.state = State.WAITING
        self.input_complete_ns = self.input_complete_ns or send_time.at_ns
        # the request is for the backend, and the caller waits for its result
        if self.delegations.are_possible:
            self.state = State.CALLING
            self.delegations.hand_over(send_time.at_ns)

    @property
    def is_delegated(self) -> bool:
        """True if the service has delegated a task, even if it has only reported a call of the
        backend.
        """
        return self.delegations.are_possible and bool(self.delegations.count or self.calls.rounds)

    @property
    def wants_continuation(self) -> bool:
        """True if the service waits for the client's request of the next response, and would accept
        it.

        The service accepts no request while a response is in progress, while a function call is
        unanswered, or while an MCP call runs.
        """
        if self.state is not State.CALLING or self.filler or self.delegations.awaits_backend:
            return False
        return self.calls.are_all_answered and self.calls.is_request_due

    def state_after_speech(self) -> State:
        """Return the state after the caller's speech, which may be a later one if a VAD took a
        pause for the end.
        """
        if self.reply.has_started:
            return State.ANSWERING
        return State.WAITING if self.is_speech_end_detected else State.UNNOTICED

    @property
    def is_speech_end_detected(self) -> bool:
        """True if the service has detected an end of the caller's speech, or need not send such
        events.
        """
        return self.input_speech.is_end_detected or self.turn_source is not TurnSource.EVENTS

    def transmitted(self, timestamp: Transmitted) -> None:
        """Apply the timestamp of a message, unless the message is another turn's, or too old."""
        if self.state is State.OVER and timestamp.at_ns > self.instants["ended"]:
            return
        instants, late_ns = self.sending.transmitted(timestamp)
        if "request_sent" in instants:
            self.instants["request_sent"] += late_ns
            self.widths_ns["request_sent"] = 0
            self.transmit_delay_ns = late_ns
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
        """The event id of the turn's last response request. After function calls it ends with
        the request's number.
        """
        first = self.plan.request_event_id
        return f"{first}-{self.calls.rounds + 1}" if self.calls.rounds else first

    def assign_request(self, event: ServerEvent, decides: Decision, requests: int) -> None:
        """Apply the meaning of a response's or item's first event. The response answers
        `requests` requests.
        """
        if decides == "speaks":
            self.item_id = event.item_id
        elif decides == "fills":
            self.fillers.add(event.response_id)
            self.filler = event.response_id
        else:
            self.input_speech.answered += requests
            if self.turn_source is TurnSource.REPLIES:  # it need not report the end of the speech
                self.input_speech.open = False
            self.answer_response_id = event.response_id
            if not self.calls.rounds:
                self.response_id = event.response_id

    @property
    def is_streaming(self) -> bool:
        """True if the first delta of each kind in the reply has arrived, and the reply's audio is
        audible.

        The reply that is detected in sound has no deltas of a transcript.
        """
        if self.plan.wants_audio:
            has_words = (
                self.turn_source is TurnSource.SOUND
                or EventKind.TRANSCRIPT_DELTA in self.reply.deltas
            )
            return self.reply.is_audible and has_words
        return EventKind.TEXT_DELTA in self.reply.deltas

    def wants_request(self, now_ns: int) -> bool:
        """Return whether the service has committed all of the speech and leaves the response
        request to the client.
        """
        client_requests = (
            self.plan.vad and not self.plan.service_responds and self.output != ONLY_TRANSCRIPT
        )
        return (
            client_requests
            and "request_sent" not in self.instants
            and self.input_speech.all_committed(now_ns)
        )

    @property
    def transcribed_ns(self) -> int | None:
        """The instant from which on a turn without a reply is over; None if its transcript is
        not complete.
        """
        is_sent = self.state in (State.UNNOTICED, State.WAITING, State.ANSWERING)
        transcribed_ns = self.input_speech.transcribed_ns() if is_sent else None
        return None if transcribed_ns is None else max(transcribed_ns, self.awaited_ns)

    @property
    def is_interrupted(self) -> bool:
        return self.interruption is not None and self.interruption.has_begun

    @property
    def is_early(self) -> bool:
        """True if playback of the reply began before the caller's speech ended."""
        start_ns = self.reply.playback_starts_ns
        speech_end_ns = self.input_speech.instants.get("speech_end")
        return start_ns is not None and (speech_end_ns is None or start_ns < speech_end_ns)

    # Interruptions.

    def await_interruption(self, kind: InterruptionKind, *, verify: bool) -> None:
        """Prepare for the script's interruption or sound. One that must stop the reply is not
        replaced later.
        """
        if self.state is State.OVER or (
            self.interruption is not None and self.interruption.is_wanted
        ):
            return
        if self.interruption is not None:
            self.passed_sound = self.interruption.false_yield
        self.interruption = Interruption(
            kind, check=TruncationCheck(self.format) if verify else None
        )

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
        # otherwise the service has detected the end of the previous speech
        if interruption.has_begun:
            interruption.on_detected(arrival, plays_on=self.plays_on)
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
        if not self.plays_on:
            self.reply.stopped_ns = at_ns
        if self.state is State.PLAYING:
            self.end(self.stopped_ending.outcome, at_ns)

    @property
    def stopped_ending(self) -> Ending:
        """The ending of a turn with a reply that was stopped before it was completely played."""
        must_stop = self.interruption is not None and self.interruption.is_wanted
        return Ending("interrupted" if must_stop else CANCELLED_SPLIT)

    def on_truncation_event(self, event: ServerEvent, arrival: Arrival) -> None:
        """Apply a report that an item of the reply was truncated, or a report of the item's
        remaining content.
        """
        if self.interruption is not None:
            self.interruption.on_truncation_event(event, arrival)

    def note_transcript(self, event: ServerEvent, arrival: Arrival) -> None:
        """Record a transcription of the caller's audio, or its failure. Ignore it if it is too
        late.
        """
        if self.state is State.OVER and arrival.at_ns >= late_until_ns(self):
            return
        self.input_speech.transcribed(event, arrival)

    def is_incomplete(self, now_ns: int) -> bool:
        """Return whether this ended turn may still receive a transcript, its tokens, audio, or a
        truncation report.
        """
        return now_ns < late_until_ns(self) and (_is_fading(self, now_ns) or _awaits_events(self))


def late_until_ns(turn: PendingTurn) -> int:
    """Return the instant until which an ended turn may receive late events. Its tokens may
    follow the playback.
    """
    ended_ns = turn.instants["ended"]
    if turn.plays_on and not _awaits_events(turn):
        return ended_ns + FADING_NS
    return (
        max(ended_ns, turn.reply.playback_ends_ns) if _awaits_usage(turn) else ended_ns
    ) + LATE_TRANSCRIPT_NS


def _awaits_events(turn: PendingTurn) -> bool:
    """Return whether a transcript, the tokens, or a truncation report of an ended turn has not
    arrived.
    """
    if _awaits_usage(turn):
        return True
    is_truncating = turn.interruption is not None and turn.interruption.unconfirmed_truncations > 0
    if is_truncating or (turn.check and turn.check.is_pending):
        return True
    due = turn.plan.transcription_due and turn.audio_bytes_sent > 0
    return due and not turn.input_speech.is_transcribed


def hear_late(turn: PendingTurn, event: ServerEvent, arrival: Arrival) -> None:
    """Play the last audio of a reply that was stopped, which arrives after the report of the
    stop.
    """
    if _is_fading(turn, arrival.at_ns):
        turn.reply.received_deltas((MatchedDelta(event, *arrival[:2], 0, event.payload_bytes, 0),))
        _note_silence(turn)


def _is_fading(turn: PendingTurn, now_ns: int) -> bool:
    """Return whether the last audio of a reply that was stopped may still arrive."""
    is_stopped = (
        turn.plays_on and turn.interruption is not None and turn.interruption.stopped_ns is not None
    )
    return is_stopped and now_ns < turn.instants["ended"] + FADING_NS


def _note_silence(turn: PendingTurn) -> None:
    """Record the silence after a reply that was stopped, if only the service could stop it."""
    if turn.plays_on and turn.interruption is not None and turn.reply.heard_until is not None:
        turn.interruption.on_last_sound(turn.reply.heard_until)


def _awaits_usage(turn: PendingTurn) -> bool:
    """Return whether the service reports the tokens of the last response after its end, and has
    not done so yet.
    """
    return turn.plan.usage_follows and turn.billed_response_id != turn.answer_response_id


def request_continuation(turn: PendingTurn) -> None:
    """Record that the function output that was just sent also requests the next response."""
    turn._on_request_sent(turn.item_sent)
