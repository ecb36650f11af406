"""The state of one open turn, and the one outcome that ends it. Pure."""

# A turn begins (`TurnStarted`) when the caller speaks or types; a greeting begins with the wait for
# the service. While the client sends, the turn is SENDING. After a request it is WAITING; after
# speech that a VAD must end, it is UNNOTICED until the service has detected that end. The first
# event of a reply makes it ANSWERING. A response that calls functions, and a task, make it CALLING,
# until the client has returned the outputs, and the next response continues the reply.
# If the script interrupts a complete reply, the turn is PLAYING until the reply has been played.
#
# Only one reply counts. A VAD may mistake a pause for the end of speech, and the service may answer
# it completely while the caller is still speaking. This reply is `dropped`: the next one counts,
# and has its own instants. A reply may consist of several responses.
#
# `turn_events` has all rules of the end. The turn ends with its last response (`_completion`: the
# calls, the required events, the kind of output and its sound are checked in this order), with a
# failed response (`_ending`), with its transcript if it gets no reply (`transcript_ending`), or at
# the first limit that expires (`deadline`): of the stage that its state names, of the response, or
# of the turn. The session ends it too (`SessionEndings`). The first cause wins: `PendingTurn.end`
# changes nothing after it. Then the turn waits for late events (`late_until_ns`), and
# `turn_observation` makes its row.
#
# Each part has its own rules: the caller's speech and its interruption of the reply (`caller`), the
# reply (`reply`), the calls (`tool_calls`), and the three records below.

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Literal

from bench.base.clock import Arrival, SendTime
from bench.catalogue.causes import Cause, Ending
from bench.catalogue.outcomes import CANCELLED_SPLIT, STARVED, SUCCESSFUL, parsed
from bench.observe.caller import (
    SPEECH_INSTANTS,
    InputSpeech,
    Interruption,
    SendTimestamps,
    TruncationCheck,
)
from bench.observe.inputs import Sent, Transmitted
from bench.observe.observation import Instants
from bench.observe.reply import REPLY_INSTANTS, Reply
from bench.observe.tool_calls import CALL_INSTANTS, Tasks, TurnFunctionCalls
from bench.plan.turn_plan import InterruptionKind, InterruptTrigger, TurnPlan
from bench.wire.connection import MatchedDelta, NetworkMeasured
from bench.wire.dialect import TurnSource
from bench.wire.events import EventKind, ServerEvent, TokenUsage

LATE_TRANSCRIPT_NS = 5_000_000_000
FADING_NS = 300_000_000
"""The time after a reply was stopped in which its last audio may arrive, because events have
another path."""
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


# as in `bench.wire.events`: every event looks at the state of its turn
SENDING = State.SENDING
UNNOTICED = State.UNNOTICED
WAITING = State.WAITING
ANSWERING = State.ANSWERING
CALLING = State.CALLING
PLAYING = State.PLAYING
OVER = State.OVER


ARRIVALS = SPEECH_INSTANTS | REPLY_INSTANTS | CALL_INSTANTS
TRANSCRIPTIONS = frozenset(
    {EventKind.INPUT_DELTA, EventKind.INPUT_TRANSCRIBED, EventKind.INPUT_NOT_TRANSCRIBED}
)
"""The events of the transcript of the caller's audio."""


@dataclass(slots=True, eq=False)
class TurnMessages:
    """The messages of one turn, with the uncertainty of their timestamps, and its network."""

    progress_ns: int = 0
    """The instant of the last received message, or of the last end of speech or request."""
    timestamp_uncertainty_max_ns: int = 0
    kernel_stamps: int = 0
    user_stamps: int = 0
    audio_bytes_sent: int = 0
    wire_bytes_sent: int = 0
    wire_bytes_received: int = 0
    events: int = 0
    unknown_events: int = 0
    late_chunks: int = 0
    network: NetworkMeasured | None = None
    retransmits: int | None = None

    def sent(self, wire_bytes: int, audio_bytes: int, *, late: int) -> None:
        """Count the bytes of sent messages, and the chunks among them that were late."""
        self.wire_bytes_sent += wire_bytes
        self.audio_bytes_sent += audio_bytes
        self.late_chunks += late

    def received(
        self, messages: int, last_ns: int, worst_error_ns: int, wire_bytes: int, kernel: bool
    ) -> None:
        """Count received messages. The last one arrived at `last_ns`."""
        self.events += messages
        if kernel:
            self.kernel_stamps += messages
        else:
            self.user_stamps += messages
        self.wire_bytes_received += wire_bytes
        if worst_error_ns > self.timestamp_uncertainty_max_ns:
            self.timestamp_uncertainty_max_ns = worst_error_ns
        if last_ns > self.progress_ns:
            self.progress_ns = last_ns


@dataclass(slots=True, eq=False)
class Responses:
    """The ids and tokens of a turn's responses. A reply in `dropped` sets no ids."""

    first_id: str = ""
    """The id of the first response of the reply."""
    last_id: str = ""
    billed_id: str = ""
    """The id of the last response of the turn whose tokens were reported."""
    usage: TokenUsage | None = None
    context: TokenUsage | None = None
    """The usage of the first response that reported its input tokens."""
    fillers: set[str] = field(default_factory=set)
    """The ids of responses without a request, which the service sends while functions run."""
    filler: str = ""
    """The id of the filler response in progress; "" if there is none."""
    may_have_filler: bool = False
    after_truncation: bool = False
    """True if the service had truncated the conversation before this turn."""

    def bill(self, response_id: str, usage: TokenUsage) -> None:
        self.usage = usage if self.usage is None else self.usage + usage
        self.billed_id = response_id


@dataclass(slots=True, eq=False)
class Waits:
    """What a turn waits for: the instants from which its limits count, and required events."""

    undetected_ns: int = 0
    """The instant from which the service must detect the end of the speech."""
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
    met: int = 0
    """The number of required events that have arrived in time, after the script required them."""


@dataclass(slots=True, eq=False)
class PendingTurn(Instants):
    """An open turn. Its parts have their own instants."""

    plan: TurnPlan
    start_ns: int
    turn_source: TurnSource
    reply: Reply
    state: State = State.SENDING
    outcome: str = ""
    causes: tuple[Cause, ...] = ()
    input_speech: InputSpeech = field(init=False)
    sending: SendTimestamps = field(default_factory=SendTimestamps)
    dropped: list[Reply] = field(default_factory=list)
    """The replies to pauses in the caller's speech. These replies do not count."""
    is_between_items: bool = False
    """True if an item is announced without a delta after it, or if another item is expected: after
    one without deltas, such as a function call, and after a commentary."""
    is_item_complete: bool = False
    """True if the service has ended the last item of the reply, so that only response.done is
    missing."""
    responses: Responses = field(default_factory=Responses)
    calls: TurnFunctionCalls = field(init=False)
    tasks: Tasks = field(default_factory=Tasks)
    interruption: Interruption | None = None
    interrupts: Interruption | None = None
    """The interruption of the previous turn's reply by this turn's speech; None if this turn
    interrupts nothing."""
    false_reply: bool | None = None
    """True if the service replied to an earlier sound that needs no reply; None if there was no
    such sound."""
    patience_ns: int | None = None
    """The time without an audible reply after which the caller hangs up; None if it does not."""
    is_wake_up: bool = False
    """True if the service was in standby when the turn began, or woke up in it."""
    caller_mark: int | None = None
    crossed_audio: bool | None = None
    """Whether the caller has heard the mark of another call; None if no mark was heard."""
    taken_for_mailbox: bool | None = None
    """Whether the agent took the person of this turn for a mailbox; None if that is unknown."""
    is_judged: bool = False
    """True if a Python function judges the turn. The judgement is unknown if the function raises an
    exception."""
    waits: Waits = field(default_factory=Waits)
    messages: TurnMessages = field(default_factory=TurnMessages)

    def __post_init__(self) -> None:
        plan = self.plan
        self.input_speech = InputSpeech(plan.vad, plan.end_tolerance_ns, not plan.has_reply)
        self.calls = TurnFunctionCalls(plan.expected_calls)
        if plan.greeting:
            self.state = WAITING
            self.waits.undetected_ns = self.start_ns
            self.waits.input_complete_ns = self.start_ns

    def end(self, outcome: str, at_ns: int, *causes: Cause) -> None:
        """End the turn, if it is open. Unsent speech is the cause if there is any; a doubted
        success is `starved`.
        """
        if self.state is not OVER:
            unsent = self.input_speech.unsent_ending
            if unsent is not None and (outcome in SUCCESSFUL or parsed(outcome).is_timeout):
                outcome = unsent.outcome
                causes = (unsent.cause,)
            if self.waits.doubted is not None and outcome in SUCCESSFUL:
                outcome = STARVED
                causes = (self.waits.doubted,)
            self.state = OVER
            self.outcome = outcome
            self.causes = causes
            # the timestamp of a doubted event may be after its limit
            self.instants["ended"] = max(at_ns, self.messages.progress_ns)
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
        is_uncommitted = self.state is SENDING or not self.plan.has_reply
        return self.plan.transcription_due and not self.plan.vad and is_uncommitted

    # Sent events.

    def count_sent(
        self, sent: Sent, send_time: SendTime, *, instants: Sequence[str], is_request: bool
    ) -> None:
        """Count a sent message with these instants of speech. `is_request`: it requests a
        response.
        """
        self.messages.sent(sent.wire_bytes, sent.audio_bytes, late=sent.late)
        if self.state is OVER:
            return
        ends_speech = "speech_end" in instants
        if ends_speech:
            self.sending.add(send_time, instants)
        if is_request:
            self._on_request_sent(send_time)
        elif self.plan.vad and ends_speech:
            self.waits.undetected_ns = self.input_speech.instants["speech_end"]
            self.waits.awaited_ns = send_time.at_ns
            self.waits.input_complete_ns = self.waits.undetected_ns
            self.messages.progress_ns = max(self.messages.progress_ns, send_time.at_ns)
            self.state = self.state_after_speech()

    def _on_request_sent(self, send_time: SendTime) -> None:
        """Record the request of the turn's first response, or of the response that follows the
        function outputs.
        """
        if self.state is CALLING:
            self.set_continuation(send_time)
            self.calls.end_round()
        elif "request_sent" not in self.instants:
            self.sent("request_sent", send_time.at_ns, send_time.width_ns)
            self.sending.add(send_time, ("request_sent",))
        self.messages.progress_ns = send_time.at_ns
        self.state = WAITING
        self.waits.input_complete_ns = self.waits.input_complete_ns or send_time.at_ns
        if self.tasks.are_possible:  # the caller waits for the result of the response
            self.state = CALLING
            self.tasks.request(send_time.at_ns)

    def set_continuation(self, send_time: SendTime) -> None:
        """Set the instant from which the service continues the reply. The last one counts."""
        self.instants["answer_request_sent"] = send_time.at_ns
        self.widths_ns["answer_request_sent"] = send_time.width_ns

    @property
    def has_tasks(self) -> bool:
        """True if a task was reported, or only a call for it."""
        return self.tasks.are_possible and bool(self.tasks.count or self.calls.rounds)

    @property
    def wants_continuation(self) -> bool:
        """True if the service waits for the client's request of the next response, and would accept
        it.

        The service accepts no request while a response is in progress, while a function call is
        unanswered, or while an MCP call runs.
        """
        if self.state is not CALLING or self.responses.filler or self.tasks.awaits_service:
            return False
        return self.calls.are_all_answered and self.calls.is_request_due

    def state_after_speech(self) -> State:
        """Return the state after the caller's speech, which may be a later one if a VAD took a
        pause for the end.
        """
        if self.reply.has_started:
            return ANSWERING
        return WAITING if self.is_speech_end_detected else UNNOTICED

    @property
    def is_speech_end_detected(self) -> bool:
        """True if the service has detected an end of the caller's speech, or need not send such
        events.
        """
        return self.input_speech.is_end_detected or self.turn_source is not TurnSource.EVENTS

    def transmitted(self, timestamp: Transmitted) -> None:
        """Apply the timestamp of a message, unless the message is another turn's, or too old."""
        if self.state is OVER and timestamp.at_ns > self.instants["ended"]:
            return
        instants, late_ns = self.sending.transmitted(timestamp)
        if "request_sent" in instants:
            self.instants["request_sent"] += late_ns
            self.widths_ns["request_sent"] = 0
            self.sending.transmit_delay_ns = late_ns
        elif instants:
            # the limit counts from the end of speech, which the timestamp moves
            if self.waits.undetected_ns == self.input_speech.instants["speech_end"]:
                self.waits.undetected_ns += late_ns
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
            self.input_speech.item_id = event.item_id
        elif decides == "fills":
            self.responses.fillers.add(event.response_id)
            self.responses.filler = event.response_id
        else:
            self.input_speech.answered += requests
            if self.turn_source is TurnSource.REPLIES:  # it need not report the end of the speech
                self.input_speech.open = False
            self.responses.last_id = event.response_id
            if not self.calls.rounds:
                self.responses.first_id = event.response_id

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
        plan = self.plan
        return (
            plan.vad
            and plan.has_reply
            and not plan.service_responds
            and "request_sent" not in self.instants
            and self.input_speech.all_committed(now_ns)
        )

    @property
    def transcribed_ns(self) -> int | None:
        """The instant from which on a turn without a reply is over; None if its transcript is
        not complete.
        """
        is_sent = self.state in (UNNOTICED, WAITING, ANSWERING)
        transcribed_ns = self.input_speech.transcribed_ns() if is_sent else None
        return None if transcribed_ns is None else max(transcribed_ns, self.waits.awaited_ns)

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
        if self.state is OVER or (self.interruption is not None and self.interruption.is_wanted):
            return
        passed_sound = None if self.interruption is None else self.interruption.false_yield
        check = TruncationCheck(self.reply.audio) if verify else None
        self.interruption = Interruption(kind, check=check, passed_sound=passed_sound)

    def interrupt(self, at_ns: int) -> None:
        """Record that the client itself interrupts the reply, and stop the player."""
        if self.interruption is not None and self.state is not OVER:
            self.interruption.sent("barge_in", at_ns, 0)
            self.interruption.stopped_ns = at_ns
            self.interruption.uncancelled = self.state is not PLAYING
            self._stop(at_ns)

    def on_barge_in(self, arrival: Arrival) -> None:
        """Stop the player, because the service detects its caller's speech."""
        interruption = self.interruption
        if interruption is None or interruption.stopped_ns is not None or self.state is OVER:
            return
        # otherwise the service has detected the end of the previous speech
        if interruption.has_begun:
            interruption.on_detected(arrival, plays_on=self.reply.plays_on)
            self._stop(arrival.at_ns)

    def trigger_ns(self, trigger: InterruptTrigger) -> int | None:
        """Return the instant at which to interrupt the reply; None while it is unknown."""
        reply = self.reply
        if trigger.text:
            return self.messages.progress_ns if reply.heard().contains(trigger.text) else None
        if trigger.share is None:
            return reply.played_at_ns(trigger.after_ns)
        if self.state is not PLAYING and "audio_done" not in reply.instants:
            return None
        return reply.played_at_ns(int(trigger.share * reply.received_ns))

    def _stop(self, at_ns: int) -> None:
        if not self.reply.plays_on:
            self.reply.stopped_ns = at_ns
        if self.state is PLAYING:
            self.end(self.stopped_ending.outcome, at_ns)

    @property
    def stopped_ending(self) -> Ending:
        """The ending of a turn with a reply that was stopped before it was completely played."""
        must_stop = self.interruption is not None and self.interruption.is_wanted
        return Ending("interrupted" if must_stop else CANCELLED_SPLIT)

    def on_truncation_event(self, event: ServerEvent, arrival: Arrival) -> None:
        if self.interruption is not None:
            self.interruption.on_truncation_event(event, arrival)

    def note_transcript(self, event: ServerEvent, arrival: Arrival) -> None:
        """Record a transcription of the caller's audio, or its failure. Ignore it if it is too
        late.
        """
        if self.state is OVER and arrival.at_ns >= late_until_ns(self):
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
    if turn.reply.plays_on and not _awaits_events(turn):
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
    due = turn.plan.transcription_due and turn.messages.audio_bytes_sent > 0
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
        turn.reply.plays_on
        and turn.interruption is not None
        and turn.interruption.stopped_ns is not None
    )
    return is_stopped and now_ns < turn.instants["ended"] + FADING_NS


def _note_silence(turn: PendingTurn) -> None:
    """Record the silence after a reply that was stopped, if only the service could stop it."""
    if turn.reply.plays_on and turn.interruption is not None and turn.reply.heard_until is not None:
        turn.interruption.on_last_sound(turn.reply.heard_until)


def _awaits_usage(turn: PendingTurn) -> bool:
    """Return whether the service reports the tokens of the last response after its end, and has
    not done so yet.
    """
    return turn.plan.usage_follows and turn.responses.billed_id != turn.responses.last_id


def request_continuation(turn: PendingTurn) -> None:
    """Record that the function output that was just sent also requests the next response."""
    turn._on_request_sent(turn.calls.item_sent)
