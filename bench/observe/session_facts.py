"""Collects what is known of a session beside its turns: instants, settings, counts and its one outcome. Pure.

Words to somebody else, a noise or a murmur ask for no reply. They are heard while no reply is played and no turn is
under way, so whatever response begins is nobody's. It is played all the same, for the caller hears it. What the service
says because its caller is silent (its idle timeout) answers nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.clock import Arrival
from bench.metrics import EXPECTED, FIRST_DELTAS, GOOD, SERVICE_SAID, WHOLE
from bench.observe.inputs import Connected, ContinuesCall, HistoryStarted, ReplacedBySession, SessionStart
from bench.observe.observation import Instants, SessionObservation, TurnObservation, model_of
from bench.observe.reply import Reply
from bench.protocol.events import EventKind, ServerEvent, ServiceFailure, TokenUsage
from bench.transport.received import MatchedDelta
from bench.units import NS_PER_MS


@dataclass(slots=True, eq=False)
class FalseReplyWatch:
    """Watches for replies to one sound that asks for none. `reply`: what comes of them, as the caller hears it."""

    reply: Reply
    replied: bool = False
    _prompts: int = 0
    """How often the service said that the caller is silent, and has not spoken yet."""

    def received(self, event: ServerEvent, arrival: Arrival, *, begins: bool) -> None:
        """Take an event that is no turn's. `begins`: it is the first of its response."""
        if event.kind is EventKind.IDLE_TIMEOUT:
            self._prompts += 1
        elif begins and self._prompts:
            self._prompts -= 1
        elif begins:
            self.replied = True
        if event.kind is EventKind.AUDIO_DELTA and event.payload_bytes > 0:
            self.reply.received_deltas(
                [MatchedDelta(event, arrival.at_ns, arrival.error_ns, 0, event.payload_bytes, 0)]
            )


class ConversationLength:
    """The conversation of one session, by the input of its responses.

    A response reads all of the conversation that the service has kept, and the conversation grows. So where a response
    has fewer tokens of input than the one before it, and the client took nothing out, the service did: it truncates
    what no longer fits into its model's context (`truncation`, Realtime API reference).
    """

    def __init__(self) -> None:
        self._tokens: int | None = None  # of the response before; None where the next one's may be less all the same

    def client_changed(self) -> None:
        """Note that the client deleted something, or gave the session other settings: nobody knows how many tokens."""
        self._tokens = None

    def answered(self, usage: TokenUsage, *, instructed: bool) -> bool:
        """Return whether this response has fewer tokens of input than the one before: the service truncated.

        `instructed`: it had instructions of its own in the place of the session's.
        """
        if not usage.input:  # nothing was read, or nothing that can be told: it was cancelled before
            return False
        before, self._tokens = self._tokens, None if instructed else usage.input
        return before is not None and not instructed and usage.input < before


UNKNOWN_NAMES = 50
DESCRIPTIONS: Mapping[EventKind, str] = {
    EventKind.SESSION_CREATED: "session_created",
    EventKind.SESSION_UPDATED: "session_updated",
}
"""The events by which the service describes the session, and the instants that the first of each marks."""
KEPT = ("model",)
"""What a session has for its whole life, whether or not the service says so each time that it describes it."""
UNEXPLAINED = ("timeout:", "closed:", EXPECTED)
"""How outcomes begin that say nothing of their cause: an error that came before, and ended nothing, may be it."""


@dataclass(slots=True, eq=False)
class SessionFacts(Instants):
    """The facts of one session. Fields that `SessionObservation` has as well go into it as they are."""

    start: SessionStart
    start_ns: int = field(init=False)
    turns_planned: int = field(init=False)
    announced: bool = True
    """Whether the service says that the session is open."""
    outcome: str = ""
    detail: str = ""
    renewed: bool = False
    service_session_id: str = ""
    effective_settings: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    auth_wait_ns: int = 0
    caller_time_ns: int | None = None
    close_code: int | None = None
    close_reason: str = ""
    turns_started: int = 0
    turns_ended: int = 0
    turns_succeeded: int = 0
    audio_bytes_sent: int = 0
    audio_bytes_received: int = 0
    wire_bytes_sent: int = 0
    wire_bytes_received: int = 0
    events: int = 0
    service_errors: int = 0
    timestamp_fallbacks: int = 0
    idle_prompts: int = 0
    history_left: int = 0
    """How many messages that were said before the first turn the service has not taken yet."""
    history_acked_ns: int = 0
    """When it took the last one that it has taken; 0 where it has taken none."""
    unknown_events: Counter[str] = field(default_factory=Counter)
    last_error: ServiceFailure | None = None
    """The last of those errors that ended nothing, since the last turn began."""
    billed: set[str] = field(default_factory=set)
    """The responses whose tokens were told."""
    unpaid: TokenUsage | None = None
    """The tokens of responses since somebody took them, to pay for them."""
    stray_usage: TokenUsage | None = None

    def __post_init__(self) -> None:
        start = self.start
        self.start_ns, self.turns_planned = start.start_ns, start.planned
        planned = {"call_arrival": start.called_ns, "intended_start": start.intended_ns}
        self.instants |= {name: at_ns for name, at_ns in planned.items() if at_ns is not None}
        self.instants["connect_start"] = start.start_ns

    @property
    def ready(self) -> bool:
        """Whether the service has greeted the session and taken its settings."""
        return "session_updated" in self.instants

    @property
    def model(self) -> str | None:
        return model_of(self.effective_settings)

    def end(self, outcome: str, at_ns: int, detail: str = "") -> None:
        """End the session, unless it has ended before: the first terminal cause wins."""
        if not self.outcome:
            self.outcome, self.detail = outcome, detail
            self.instants.setdefault("ended", at_ns)

    def explained(self, outcome: str, detail: str) -> str:
        """The detail of an end, with the error that came before it where the end says nothing of its cause."""
        if self.last_error is None or not outcome.startswith(UNEXPLAINED):
            return detail
        return "; ".join(filter(None, (detail, SERVICE_SAID + self.last_error.detail)))

    def connected(self, connected: Connected) -> None:
        self.instants["connect_start"] = self.start_ns + connected.auth_wait_ns
        self.instants.update(connected.instants)
        self.errors_ns.update(connected.uncertainties_ns)
        if not self.announced and (open_ns := connected.instants.get("opened")) is not None:
            error_ns = connected.uncertainties_ns.get("opened", 0)
            for instant in DESCRIPTIONS.values():
                self.arrived(instant, Arrival(open_ns, error_ns))
        self.headers, self.auth_wait_ns = connected.headers, connected.auth_wait_ns
        self.service_session_id = connected.call_id

    def described(self, event: ServerEvent, arrival: Arrival) -> None:
        """Note the session as the service describes it, which has greeted it or taken its settings."""
        instant = DESCRIPTIONS[event.kind]
        self.instants.setdefault(instant, arrival.at_ns)
        self.errors_ns.setdefault(instant, arrival.error_ns)
        if event.session:
            before = self.effective_settings
            kept = {name: before[name] for name in KEPT if name in before and name not in event.session}
            self.effective_settings = kept | event.session if kept else event.session
            self.service_session_id = self.service_session_id or event.session_id

    def history_start(self, begun: HistoryStarted) -> None:
        self.instants["history_start"], self.history_left = begun.at_ns, begun.messages

    def item_added(self, arrival: Arrival) -> None:
        """Note that the service has taken one more message of the history: items are added in the order of sending."""
        if self.history_left:
            self.history_left -= 1
            self.history_acked_ns = arrival.at_ns
            if not self.history_left:
                self.arrived("history_acked", arrival)

    def idle_prompt_received(self, arrival: Arrival, played_ns: int, timeout_ms: int | None) -> None:
        """Count that the service speaks up by itself; of the first time note when it did so, and when that was due.

        That is `timeout_ms` after the last reply was played; 0 where nothing was played, or a turn is under way.
        """
        self.idle_prompts += 1
        if self.idle_prompts == 1 and played_ns and timeout_ms is not None:
            self.instants["idle_prompt_due"] = played_ns + timeout_ms * NS_PER_MS
            self.arrived("idle_prompt_received", arrival)

    def renews(self, renews: ContinuesCall) -> None:
        if renews.previous_reply_end_ns is not None:
            self.instants["previous_reply_end"] = renews.previous_reply_end_ns

    def renewed_by(self, _: ReplacedBySession) -> None:
        """Note that another session takes this one's place, and plays the turns that are left."""
        self.turns_planned, self.renewed = self.turns_started, True

    def count_unknown(self, name: str) -> None:
        """Count an event that nobody knows; of more than so many names the rest is one."""
        known = name in self.unknown_events or len(self.unknown_events) < UNKNOWN_NAMES
        self.unknown_events[name if known else "other"] += 1

    def count_error(self, failure: ServiceFailure) -> None:
        self.service_errors += 1
        self.last_error = failure

    def turn_ended(self, turn: TurnObservation, *, first: bool, greeting: bool) -> None:
        """Count a turn that was delivered. `first`: of the session's turns; `greeting`: the service spoke first."""
        self.turns_ended += 1
        self.turns_succeeded += turn.outcome in GOOD
        if turn.outcome not in WHOLE:
            return
        if first:
            self._note_first_reply(turn)
        if greeting:
            self._copy("greeting_audible", turn, "first_audible")

    def _copy(self, instant: str, turn: TurnObservation, name: str) -> None:
        if name in turn.instants:
            self.arrived(instant, Arrival(turn.instants[name], turn.errors_ns.get(name, 0)))

    def _note_first_reply(self, turn: TurnObservation) -> None:
        """Note what the caller waited for first, where it came: the first delta of the reply to the first turn."""
        reply = next((name for name in FIRST_DELTAS if name in turn.instants), None)
        if reply is None or turn.measured_from is None or not self.ready:
            return
        self._copy("first_reply", turn, reply)
        self._copy("first_audible", turn, "first_audible")
        ready_ns = max(self.instants["session_updated"], self.instants.get("history_acked", 0))
        # a pipelined turn may be asked for before the session is ready
        self.caller_time_ns = max(0, turn.instants[turn.measured_from] - ready_ns)

    def observation(self, unattributed_commits: int) -> SessionObservation:
        """Return what is known of the session; once it is over, that is all."""
        return SessionObservation(
            **{name: getattr(self, name) for name in OBSERVED},
            turns_planned=max(self.turns_planned, self.turns_started),
            unknown_events=dict(self.unknown_events),
            unattributed_commits=unattributed_commits,
        )


OBSERVED = set(SessionObservation.__struct_fields__) - {"turns_planned", "unknown_events", "unattributed_commits"}
