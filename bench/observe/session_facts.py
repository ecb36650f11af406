"""The facts of a session outside of its turns: instants, settings, counts and the outcome of the
session. Pure.

Some sounds of the caller need no reply: words to another person, a noise or a murmur. The script
plays such a sound while no reply is played and no turn is open, so a response that begins then has
no turn. The load generator plays this response nevertheless, because a caller would hear it. After
a long silence of its caller, the service may speak (the idle timeout). Such speech is not a reply
to a sound.

A planned interruption or sound does not take place if its cue never comes: the reply ends earlier,
or has no such words. An expectation takes place if its event arrives in time.
"""

# The timeline has one object for the turns (`pending_turns`), one for the owners of responses
# (`attribution`), and `SessionFacts` for what belongs to the session. It is an observation that
# grows. The columns that the owners and the planned events know are added when it is complete
# (`observation`).
#
# `end` decides the outcome once: the first terminal cause wins. A service may describe its session
# several times: the instants are those of the first description, and the settings those of the
# last.

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field, fields
from typing import Any

import msgspec

from bench.base.clock import Arrival
from bench.base.units import NS_PER_MS
from bench.catalogue.causes import Cause
from bench.catalogue.metrics import PLANNED_COLUMNS, PlannedEvent, awaited
from bench.catalogue.outcomes import SUCCESSFUL, WHOLE
from bench.observe.attribution import Attributor
from bench.observe.inputs import (
    Connected,
    ContinuesCall,
    HistoryStarted,
    ReplacedBySession,
    RtpMeasured,
    SessionStart,
)
from bench.observe.observation import SessionObservation, TurnObservation
from bench.observe.reply import Reply
from bench.observe.turn import PendingTurn, State
from bench.plan.turn_plan import SOUNDS, InterruptionKind
from bench.wire.connection import ASSUMED_START_NS, MatchedDelta
from bench.wire.dialect import SOUND
from bench.wire.events import EventKind, ServerEvent, TokenUsage


# An event counts as planned when the session comes to it in its script (`reach`), and as occurred
# when it takes place (`occur`). The difference is missed. What the end of the run prevented is
# withdrawn, because it is unknown whether it would have taken place. What the session never came
# to, because no connection opened or a turn before it failed, does not count: those turns are
# failed or not started, and no cue of the script could change that.
class PlannedEvents:
    """The planned events to which one session has come."""

    __slots__ = ("_awaited", "_occurred", "_reached")

    def __init__(self) -> None:
        self._reached = Counter[str]()
        self._occurred = Counter[str]()
        self._awaited: PlannedEvent | None = None
        """The interruption or sound whose cue is awaited; also that of the last missed cue."""

    def reach(self, event: PlannedEvent) -> None:
        """Count an event that the session has come to in its script."""
        self._reached[event] += 1

    def occur(self, event: PlannedEvent, number: int = 1) -> None:
        self._occurred[event] += number

    def await_cue(self, kind: InterruptionKind) -> None:
        """Count an interruption or sound whose cue the session now waits for."""
        self._awaited = "sounds" if kind in SOUNDS else "interruptions"
        self.reach(self._awaited)

    def begin_awaited(self) -> None:
        """Count the awaited interruption or sound, which has begun while the reply is played."""
        if self._awaited is not None:
            self.occur(self._awaited)
            self._awaited = None

    def withdraw(self, event: PlannedEvent, number: int) -> None:
        """Do not count events that the session has come to, because the end of the run prevented
        them.
        """
        self._reached[event] -= number

    def withdraw_awaited(self) -> None:
        """Do not count the awaited interruption or sound, which the end of the run prevented."""
        if self._awaited is not None:
            self.withdraw(self._awaited, 1)
            self._awaited = None

    def counts(self) -> dict[str, Any]:
        """Return the columns of planned and missed events."""
        columns: dict[str, Any] = {}
        for event, (planned_column, missed_column) in PLANNED_COLUMNS.items():
            columns[planned_column] = self._reached[event]
            columns[missed_column] = self._reached[event] - self._occurred[event]
        return columns


@dataclass(slots=True, eq=False)
class FalseReplies:
    """The replies of a service to the script's sounds that need none. They are recorded with the
    next turn.
    """

    events: PlannedEvents
    owners: Attributor
    reply: Reply | None = None
    """The audio of the replies to the current sound, as the caller hears it; None between
    sounds."""
    is_unsent: bool = False
    """True if audio of the caller was not sent meanwhile, so that the service may not have
    received the sound."""
    _is_answered: bool = False
    _prompts: int = 0
    """The number of reported idle timeouts for which the service has not spoken yet."""
    _replied: bool | None = None
    """True if the service replied to a sound since the last turn started; None if there was
    no sound."""

    def start(self, reply: Reply) -> None:
        """Apply the start of a sound. `reply` gets the audio of the replies to it."""
        self.events.reach("sounds")
        self.events.occur("sounds")
        self.reply = reply
        self.is_unsent = False
        self._is_answered = False
        self._prompts = 0

    def end(self) -> None:
        """Apply the end of the sound. Store nothing if the client requests all responses."""
        if self.reply is not None and self.owners.service_responds and not self.is_unsent:
            self._replied = self._is_answered or bool(self._replied)
        self.reply = None

    def pop(self) -> bool | None:
        """Return whether the service replied to a sound since the last call; None if there was
        no sound.
        """
        replied = self._replied
        self._replied = None
        return replied

    def received(self, event: ServerEvent, arrival: Arrival, *, is_first: bool) -> None:
        """Apply an event that belongs to no turn. `is_first` is True if it is the first event of
        its response.
        """
        if event.kind is EventKind.IDLE_TIMEOUT:
            self._prompts += 1
        # each idle timeout is followed by one response, which is no answer to the sound
        elif is_first and self._prompts:
            self._prompts -= 1
        elif is_first:
            self._is_answered = True
        if (
            self.reply is not None
            and event.kind is EventKind.AUDIO_DELTA
            and event.payload_bytes > 0
        ):
            delta = MatchedDelta(
                event, arrival.at_ns, arrival.uncertainty_ns, 0, event.payload_bytes, 0
            )
            self.reply.received_deltas([delta])


class ConversationLength:
    """The length of one session's conversation, from the input tokens of its responses.

    The input of a response is the whole conversation that the service keeps, and the conversation
    grows. If a response has fewer input tokens than the previous response, and the client removed
    nothing, the service has truncated the conversation. The service does this when the conversation
    no longer fits into its model's context (`truncation`, Realtime API reference).
    """

    def __init__(self) -> None:
        # input tokens of the previous response; None if the next response may have fewer without a
        # truncation
        self._tokens: int | None = None

    def client_changed(self) -> None:
        """Record that the client deleted an item or changed the settings, which makes the number
        of tokens unknown.
        """
        self._tokens = None

    def answered(self, usage: TokenUsage, *, instructed: bool) -> bool:
        """Return whether the service has truncated the conversation.

        The service has truncated it if this response has fewer input tokens than the previous
        response. `instructed` is True if this response had its own instructions in place of the
        session's.
        """
        if not usage.input:  # no input, or none reported: the response was cancelled before
            return False
        previous = self._tokens
        self._tokens = None if instructed else usage.input
        return previous is not None and not instructed and usage.input < previous


# The peer chooses the names of unknown events and the ids of lists, so their numbers are limited.
UNKNOWN_NAMES = 50
DESCRIPTIONS: Mapping[EventKind, str] = {
    EventKind.SESSION_CREATED: "session_created",
    EventKind.SESSION_UPDATED: "session_updated",
}
"""A mapping from an event in which the service describes the session to the instant at which it
first arrived."""
AWAITED: Mapping[EventKind, str] = {**DESCRIPTIONS, EventKind.MCP_LISTED: "mcp_listed"}
"""A mapping from an event for which the set-up waits to the instant at which the wait ends."""
STARTS = ("first_audible", "answer_audible", "function_audible")
"""The instants that may be the start of the same sound."""
CONSTANT_SETTINGS = ("model",)
"""Settings that never change during a session. They are stored even if a later description omits
them."""


@dataclass(slots=True, eq=False)
class SessionFacts(SessionObservation):
    """The growing observation of one session, and what decides its later values."""

    start: InitVar[SessionStart] = field(kw_only=True)
    announced_by: Sequence[EventKind] = field(kw_only=True)
    """`announced_by` of the dialect."""
    greeting_frame_ns: int = 0
    """The uncertainty of the frame with which the greeting starts, at its arrival."""
    greeting_onset_ns: int = 0
    """The uncertainty of the greeting's start within the audio."""
    is_closed: bool = False
    """True if the service has ended the session, or the connection is closed."""
    resumption: str = ""
    """The last handle with which another session can continue this one; "" if the service has
    sent none."""
    is_expiring: bool = False
    """True if the service has announced that it will close the connection."""
    is_paused: bool = False
    """True if the service is in standby."""
    last_sent_ns: int = 0
    """The instant at which the last message was sent; 0 if there is none."""
    history_left: int = 0
    """The number of history messages that the service has not acknowledged yet."""
    history_acked_ns: int = 0
    """The instant of the last acknowledgement of a history message; 0 if there is none."""
    mcp_unlisted: int = 0
    """The number of MCP servers whose tools are not listed yet."""
    mcp_lists: dict[str, str] = field(default_factory=dict)
    """The label of the MCP server of each list of tools, by the id of the list."""
    billed: set[str] = field(default_factory=set)
    """The ids of responses whose tokens were already counted."""
    unpaid: TokenUsage | None = None
    """The tokens of ended responses that no `ReportUsage` action contains yet."""
    length: ConversationLength = field(default_factory=ConversationLength)
    has_backend: bool = False
    """True if the tokens are those of a backend, which reads and writes text."""
    has_spoken: bool = False
    """True if a response of a turn had audio."""

    def __post_init__(self, start: SessionStart) -> None:
        self.start_ns = start.start_ns
        self.turns_planned = start.planned
        self.callee = start.callee
        self.mcp_unlisted = start.mcp_servers
        planned = {"call_arrival": start.called_ns, "intended_start": start.intended_ns}
        self.instants |= {name: at_ns for name, at_ns in planned.items() if at_ns is not None}
        self.instants["connect_start"] = start.start_ns

    @property
    def is_ready(self) -> bool:
        """True if the service has accepted the session and its settings."""
        return "session_updated" in self.instants

    @property
    def connected_ns(self) -> int | None:
        """The instant from which the service may send audio: it has answered the call, or has
        described the session.
        """
        return max(
            (self.instants[name] for name in DESCRIPTIONS.values() if name in self.instants),
            default=None,
        )

    def end(self, outcome: str, at_ns: int, *causes: Cause) -> None:
        """End the session, unless it has already ended: the first terminal cause wins."""
        if not self.outcome:
            self.outcome = outcome
            self.causes = causes
            self.instants.setdefault("ended", at_ns)

    def set_connection(self, connected: Connected) -> None:
        self.instants["connect_start"] = self.start_ns + connected.auth_wait_ns
        self.instants.update(connected.instants)
        self.uncertainties_ns.update(connected.uncertainties_ns)
        # many agents confirm no settings: their answer opens the session, and makes it ready
        if not self.announced_by and (open_ns := connected.instants.get("opened")) is not None:
            error_ns = connected.uncertainties_ns.get("opened", 0)
            for instant in DESCRIPTIONS.values():
                self.arrived(instant, Arrival(open_ns, error_ns))
        self.headers = connected.headers
        self.auth_wait_ns = connected.auth_wait_ns
        self.service_session_id = connected.call_id

    def set_description(self, event: ServerEvent, arrival: Arrival) -> None:
        is_last = event.kind in self.announced_by[-1:]
        for instant in DESCRIPTIONS.values() if is_last else (DESCRIPTIONS[event.kind],):
            self.instants.setdefault(instant, arrival.at_ns)
            self.uncertainties_ns.setdefault(instant, arrival.uncertainty_ns)
        if event.session:
            previous = self.effective_settings
            changed = event.session
            constants = {
                name: previous[name]
                for name in CONSTANT_SETTINGS
                if name in previous and name not in changed
            }
            self.effective_settings = constants | event.session if constants else event.session
        self.service_session_id = self.service_session_id or event.session_id

    def measure_rtp(self, rtp: RtpMeasured) -> None:
        self.rtp = rtp
        self._bound_greeting()

    def history_start(self, history: HistoryStarted) -> None:
        self.instants["history_start"] = history.at_ns
        self.history_left = history.messages

    def item_added(self, event: ServerEvent, arrival: Arrival) -> None:
        """Record the acknowledgement of a history message. The service adds the items in the order
        in which they were sent.

        Items of MCP servers are the service's own. A list of tools names its server.
        """
        if event.mcp is not None:
            if not event.mcp.tool and len(self.mcp_lists) < UNKNOWN_NAMES:
                self.mcp_lists[event.item_id] = event.mcp.server
        elif self.history_left:
            self.history_left -= 1
            self.history_acked_ns = arrival.at_ns
            if not self.history_left:
                self.arrived("history_acked", arrival)

    def mcp_listed(self, arrival: Arrival) -> None:
        """Record that the service has the tools of an MCP server. The instant is that of the
        last server.
        """
        self.mcp_unlisted -= 1
        if not self.mcp_unlisted:
            self.arrived("mcp_listed", arrival)

    def idle_prompt_received(
        self, arrival: Arrival, played_ns: int, timeout_ms: int | None
    ) -> None:
        """Count an idle timeout, after which the service speaks. For the first one, record when it
        arrived and when it was due.

        The idle timeout is due `timeout_ms` after `played_ns`, the end of the last reply's
        playback. `played_ns` is 0 if there was no reply, or if a turn is open.
        """
        self.idle_prompts += 1
        if self.idle_prompts == 1 and played_ns and timeout_ms is not None:
            self.instants["idle_prompt_due"] = played_ns + timeout_ms * NS_PER_MS
            self.arrived("idle_prompt_received", arrival)

    def renews(self, continuation: ContinuesCall) -> None:
        if continuation.attempt:
            self.attempt = continuation.attempt
            self.turns_repeated = continuation.repeated
            self.instants["dropped"] = continuation.dropped_ns
            self.instants["last_heard"] = continuation.heard_ns
        if continuation.previous_reply_end_ns is not None:
            self.instants["previous_reply_end"] = continuation.previous_reply_end_ns

    def renewed_by(self, _: ReplacedBySession) -> None:
        """Record that another session replaces this one and runs the remaining turns."""
        self.turns_planned = self.turns_started
        self.renewed = True
        self.gave_up = ""

    def count_unknown(self, name: str) -> None:
        """Count an unknown event. After `UNKNOWN_NAMES` different names, all new names count as
        "other".
        """
        known = name in self.unknown_events or len(self.unknown_events) < UNKNOWN_NAMES
        self.unknown_events[name if known else "other"] += 1

    def bill(
        self,
        response_id: str,
        usage: TokenUsage,
        turn: PendingTurn | None,
        *,
        is_of_response: bool = True,
    ) -> None:
        """Add the tokens of a response, even of one that does not count, to its turn, else to the
        session. If not `is_of_response`, they are also not the conversation that a response read.

        The turn is open, or its tokens follow its end.
        """
        usage = self._without_certain_text(usage, turn)
        if response_id:
            self.billed.add(response_id)
        self.unpaid = usage if self.unpaid is None else self.unpaid + usage
        # an ended turn does not wait for tokens, unless its service always reports them later
        if turn is None or (turn.state is State.OVER and not turn.plan.usage_follows):
            self.stray_usage = usage if self.stray_usage is None else self.stray_usage + usage
            return
        responses = turn.responses
        responses.bill(response_id, usage)
        # the tokens of a backend are not those of the conversation
        if turn.turn_source is SOUND or not is_of_response:
            return
        if responses.context is None and usage.input:
            responses.context = usage
        of_conversation = not turn.plan.out_of_band and response_id not in responses.fillers
        if of_conversation and self.length.answered(usage, instructed=turn.plan.instructed):
            responses.after_truncation = True

    def _without_certain_text(self, usage: TokenUsage, turn: PendingTurn | None) -> TokenUsage:
        """Return a usage in which only those tokens are without a kind that may be audio.

        Tokens of a backend are text. The input may have audio if the caller or the service has
        spoken before.
        """
        may_read = self.audio_bytes_sent > 0 or self.has_spoken
        may_speak = self.has_spoken
        if turn is not None:
            may_speak = turn.audio_bytes_received > 0
            self.has_spoken |= may_speak
        if not (usage.kindless_in or usage.kindless_out):
            return usage
        return msgspec.structs.replace(
            usage,
            kindless_in=usage.kindless_in if may_read and not self.has_backend else 0,
            kindless_out=usage.kindless_out if may_speak and not self.has_backend else 0,
        )

    def turn_ended(self, turn: TurnObservation, *, first: bool, greeting: bool) -> None:
        """Count a turn: the session's `first` one, or one with a `greeting`, in which the
        service spoke first.
        """
        self.turns_ended += 1
        self.turns_succeeded += turn.outcome in SUCCESSFUL
        if turn.outcome not in WHOLE:
            return
        if self.attempt is not None and "heard_again" not in self.instants:
            audible = "first_audible" in turn.instants
            self._copy("heard_again", turn, "first_audible" if audible else "first_text")
        if first:
            self._note_first_reply(turn)
        if greeting and "first_audible" in turn.instants:
            error_ns = turn.uncertainties_ns.get("first_audible", 0)
            start = Arrival(turn.instants["first_audible"], error_ns)
            self.heard_first(start, turn.onset_uncertainty_ns or 0)

    def heard_first(self, start: Arrival, onset_ns: int) -> None:
        """Record the first words of a service that speaks first. `onset_ns` is the part of the
        start's uncertainty that is that of the sound.
        """
        self.instants["greeting_audible"] = start.at_ns
        self.greeting_onset_ns = onset_ns
        self.greeting_frame_ns = start.uncertainty_ns - onset_ns
        self._bound_greeting()

    # The first packets of a track have an assumed uncertainty, because nothing is known yet about
    # the delay of its packets. Each measurement of RTP replaces the assumption by what all packets
    # until then show. So these bounds are computed again with each measurement, and for a turn when
    # it is delivered.
    def _bound_greeting(self) -> None:
        """Set the uncertainty of the greeting's start."""
        if "greeting_audible" in self.instants:
            bound_ns = self._frame_bound_ns(self.greeting_frame_ns)
            self.uncertainties_ns["greeting_audible"] = bound_ns + self.greeting_onset_ns

    def _frame_bound_ns(self, frame_ns: int) -> int:
        """Return the uncertainty of a frame. Later packets bound the first frames of a track."""
        if self.rtp is None or frame_ns < ASSUMED_START_NS:
            return frame_ns
        more_ns = 0 if self.rtp.starts_on_arrival else frame_ns - ASSUMED_START_NS
        return self.rtp.start_uncertainty_ns + more_ns

    def with_bound(self, turn: TurnObservation) -> TurnObservation:
        """Return a turn with the uncertainty of its reply's start, by the packets until the last
        measurement.

        The first packet of a stream says nothing about its own delay, which may be longer than the
        assumed one.
        """
        start_ns = turn.uncertainties_ns.get("first_audible", 0)
        onset_ns = turn.onset_uncertainty_ns or 0
        bound_ns = self._frame_bound_ns(start_ns - onset_ns) + onset_ns
        if bound_ns == start_ns:
            return turn
        at_ns = turn.instants["first_audible"]
        bounds_ns = {name: bound_ns for name in STARTS if turn.instants.get(name) == at_ns}
        return msgspec.structs.replace(
            turn, uncertainties_ns={**turn.uncertainties_ns, **bounds_ns}
        )

    def _copy(self, instant: str, turn: TurnObservation, name: str) -> None:
        if name in turn.instants:
            self.arrived(instant, Arrival(turn.instants[name], turn.uncertainties_ns.get(name, 0)))

    def _note_first_reply(self, turn: TurnObservation) -> None:
        """Record the first delta of the reply to the first turn, if it arrived."""
        first = awaited(turn.instants)
        if first is None or turn.measured_from is None or not self.is_ready:
            return
        self._copy("first_reply", turn, first[0])
        self._copy("first_audible", turn, "first_audible")
        ready_ns = max(
            self.instants.get(name, 0)
            for name in ("session_updated", "mcp_listed", "history_acked")
        )
        # a pipelined turn may be requested before the session is ready
        self.caller_time_ns = max(0, turn.instants[turn.measured_from] - ready_ns)

    def observation(self, owners: Attributor, events: PlannedEvents) -> SessionObservation:
        """Return the session's observation. It is complete once the session has ended."""
        observed = {name: getattr(self, name) for name in OBSERVED} | events.counts()
        observed |= {name: getattr(owners, name) for name in OF_OWNERS}
        unrepeated = max(0, self.turns_repeated - self.turns_started)
        observed["turns_repeated"] = self.turns_repeated - unrepeated
        # a task in Python may start turns that no plan has
        observed["turns_planned"] = max(self.turns_planned - unrepeated, self.turns_started)
        return SessionObservation(**observed)


OF_OWNERS = ("unattributed_commits", "unrequested_responses", "answers_uncertain")
"""The fields of a session's observation that its `Attributor` knows."""
OBSERVED = tuple(observed.name for observed in fields(SessionObservation))
