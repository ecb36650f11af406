"""Collects what is known of a session beside its turns: instants, settings, counts and its one outcome. Pure.

Words to somebody else, a noise or a murmur ask for no reply. They are heard while no reply is played and no turn is
under way, so whatever response begins is nobody's. It is played all the same, for the caller hears it. What the service
says because its caller is silent (its idle timeout) answers nothing.

The input of a response is all of the conversation that the service has kept, and the conversation grows. So where a
response has fewer tokens of input than the one before it, and the client took nothing out, the service did: it
truncates what no longer fits into its model's context (`truncation`, Realtime API reference).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from bench.clock import Arrival
from bench.metrics import EXPECTED, FIRST_DELTAS, GOOD, SERVICE_SAID, WHOLE
from bench.observe.inputs import Connected, HistoryBegun, SessionStart
from bench.observe.observation import SessionObservation, TurnObservation, model_of
from bench.observe.reply import Reply
from bench.protocol.audio import AudioFormat
from bench.protocol.events import DELTAS, Event, Failure, Kind, Usage
from bench.transport.received import DeltaArrival
from bench.units import NS_PER_MS


def begins_reply(event: Event) -> bool:
    """Whether a response is known to be under way by such an event, if none of it came before."""
    return event.kind is Kind.RESPONSE_CREATED or event.kind in DELTAS


class SilenceWatch:
    """Watches for replies to sounds that ask for none, one sound at a time."""

    __slots__ = ("_prompts", "_replied", "_reply", "false_reply", "watching")

    def __init__(self) -> None:
        self.watching = False
        """Whether a sound is heard that asks for no reply, or is waited for what is replied to it."""
        self._reply: Reply | None = None
        self._replied = False
        self._prompts = 0
        """How often the service said that the caller is silent, and has not spoken yet."""
        self.false_reply: bool | None = None
        """Whether the service replied to a sound since the last turn began; None where none was watched."""

    def begin(self, audio: AudioFormat, jitter_buffer_ns: int) -> None:
        """Watch the sound that is about to be heard. `audio`: the format of replies, played behind a jitter buffer."""
        self.watching, self._replied, self._prompts = True, False, 0
        self._reply = Reply(audio, jitter_buffer_ns)

    def end(self, *, service_responds: bool) -> None:
        """Keep what came of it for the turn that follows; a client that asks for all replies gets no others."""
        if self.watching and service_responds:
            self.false_reply = self._replied or bool(self.false_reply)
        self.watching, self._reply = False, None

    def received(self, event: Event, arrival: Arrival, *, begins: bool) -> None:
        """Take an event that is no turn's. `begins`: it is the first of its response."""
        if event.kind is Kind.IDLE_TIMEOUT:
            self._prompts += 1
        elif begins and self._prompts:
            self._prompts -= 1
        elif begins:
            self._replied = True
        if event.kind is Kind.AUDIO_DELTA and event.payload_bytes > 0 and self._reply is not None:
            self._reply.received_deltas(
                [DeltaArrival(event, arrival.at_ns, arrival.error_ns, 0, event.payload_bytes, 0)]
            )

    @property
    def playback_ends_ns(self) -> int:
        """When the caller has heard all that came so far; 0 where nothing came."""
        return 0 if self._reply is None else self._reply.playback_ends_ns


class ConversationLength:
    """The conversation of one session, by the input of its responses."""

    def __init__(self) -> None:
        self._tokens: int | None = None  # of the response before; None where the next one's may be less all the same

    def client_changed(self) -> None:
        """Note that the client deleted something, or gave the session other settings: nobody knows how many tokens."""
        self._tokens = None

    def answered(self, usage: Usage, *, instructed: bool) -> bool:
        """Take the tokens of a response; whether the service shortened the conversation since the one before.

        `instructed`: the response had instructions of its own in the place of the session's.
        """
        if not usage.input:  # nothing was read, or nothing that can be told: it was cancelled before
            return False
        before, self._tokens = self._tokens, None if instructed else usage.input
        return before is not None and not instructed and usage.input < before


UNKNOWN_NAMES = 50
DESCRIPTIONS: Mapping[Kind, str] = {
    Kind.SESSION_CREATED: "session_created",
    Kind.SESSION_UPDATED: "session_updated",
}
"""The events by which the service describes the session, and the instants that the first of each marks."""
KEPT = ("model",)
"""What a session has for its whole life, whether or not the service says so each time that it describes it."""
UNEXPLAINED = ("timeout:", "closed:", EXPECTED)
"""How outcomes begin that say nothing of their cause: an error that came before, and ended nothing, may be it."""


class SessionFacts:
    """The facts of one session. `turns_planned`: the number of turns that its script has."""

    __slots__ = (
        "announced",
        "audio_received",
        "audio_sent",
        "auth_wait_ns",
        "billed",
        "caller_time_ns",
        "close_code",
        "close_reason",
        "detail",
        "errors",
        "errors_ns",
        "events",
        "fallbacks",
        "headers",
        "history_acked_ns",
        "history_left",
        "idle_prompts",
        "instants",
        "last_error",
        "outcome",
        "renewed",
        "service_session_id",
        "settings",
        "start_ns",
        "stray_usage",
        "turns_ended",
        "turns_planned",
        "turns_started",
        "turns_succeeded",
        "unknown",
        "unpaid",
        "widths_ns",
        "wire_received",
        "wire_sent",
    )  # fmt: skip

    def __init__(self, start: SessionStart) -> None:
        self.start_ns, self.turns_planned = start.start_ns, start.planned
        planned = {"call_arrival": start.called_ns, "intended_start": start.intended_ns}
        self.instants = {name: at_ns for name, at_ns in planned.items() if at_ns is not None}
        self.instants["connect_start"] = start.start_ns
        self.errors_ns: dict[str, int] = {}
        self.widths_ns: dict[str, int] = {}
        self.announced = True
        """Whether the service says that the session is open."""
        self.outcome = self.detail = ""
        self.renewed = False
        self.service_session_id = ""
        self.settings: Mapping[str, Any] = {}
        self.headers: Mapping[str, str] = {}
        self.auth_wait_ns = 0
        self.caller_time_ns: int | None = None
        self.close_code: int | None = None
        self.close_reason = ""
        self.turns_started = self.turns_ended = self.turns_succeeded = 0
        self.audio_sent = self.wire_sent = self.audio_received = self.wire_received = 0
        self.events = self.errors = self.fallbacks = self.idle_prompts = 0
        self.history_left = 0
        """How many messages that were said before the first turn the service has not taken yet."""
        self.history_acked_ns = 0
        """When it took the last one that it has taken; 0 where it has taken none."""
        self.unknown: Counter[str] = Counter()
        self.last_error: Failure | None = None
        """The last of those errors that ended nothing, since the last turn began."""
        self.billed: set[str] = set()
        """The responses whose tokens were told."""
        self.unpaid: Usage | None = None
        """The tokens of responses since somebody took them, to pay for them."""
        self.stray_usage: Usage | None = None

    @property
    def ready(self) -> bool:
        """Whether the service has greeted the session and taken its settings."""
        return "session_updated" in self.instants

    @property
    def model(self) -> str | None:
        """The model, as the service names it; None where it does not."""
        return model_of(self.settings)

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

    def arrived(self, instant: str, arrival: Arrival) -> None:
        """Mark an instant by what arrived."""
        self.instants[instant], self.errors_ns[instant] = arrival.at_ns, arrival.error_ns

    def connected(self, connected: Connected) -> None:
        """Note how connecting went."""
        self.instants["connect_start"] = self.start_ns + connected.auth_wait_ns
        self.instants.update(connected.instants)
        self.errors_ns.update(connected.uncertainties_ns)
        if not self.announced and (open_ns := connected.instants.get("opened")) is not None:
            error_ns = connected.uncertainties_ns.get("opened", 0)
            for instant in DESCRIPTIONS.values():
                self.instants[instant], self.errors_ns[instant] = open_ns, error_ns
        self.headers, self.auth_wait_ns = connected.headers, connected.auth_wait_ns
        self.service_session_id = connected.call_id

    def described(self, event: Event, arrival: Arrival) -> None:
        """Note the session as the service describes it, which has greeted it or taken its settings."""
        instant = DESCRIPTIONS[event.kind]
        self.instants.setdefault(instant, arrival.at_ns)
        self.errors_ns.setdefault(instant, arrival.error_ns)
        if event.session:
            kept = {name: self.settings[name] for name in KEPT if name in self.settings and name not in event.session}
            self.settings = kept | event.session if kept else event.session
            self.service_session_id = self.service_session_id or event.session_id

    def set_up(self, at_ns: int, width_ns: int) -> None:
        """Note that settings were sent, of which the first count."""
        self.instants.setdefault("update_sent", at_ns)
        self.widths_ns.setdefault("update_sent", width_ns)

    def history_start(self, begun: HistoryBegun) -> None:
        """Note that so many messages are about to be sent that were said before."""
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

    def renews(self, heard_ns: int | None) -> None:
        """Note that the session takes another one's place, whose last reply was heard to its end at this instant."""
        if heard_ns is not None:
            self.instants["previous_reply_end"] = heard_ns

    def renewed_by(self) -> None:
        """Note that another session takes this one's place, and plays the turns that are left."""
        self.turns_planned, self.renewed = self.turns_started, True

    def count_unknown(self, name: str) -> None:
        """Count an event that nobody knows; of more than so many names the rest is one."""
        known = name in self.unknown or len(self.unknown) < UNKNOWN_NAMES
        self.unknown[name if known else "other"] += 1

    def count_error(self, failure: Failure) -> None:
        """Count an error that ended nothing."""
        self.errors += 1
        self.last_error = failure

    def turn_ended(self, turn: TurnObservation, *, first: bool) -> None:
        """Count a turn that was handed out. `first`: of the session's turns."""
        self.turns_ended += 1
        self.turns_succeeded += turn.outcome in GOOD
        if first:
            self._note_first_reply(turn)

    def greeted(self, turn: TurnObservation) -> None:
        """Note when the caller heard the service greet, in a turn that was handed out."""
        if turn.outcome in WHOLE and "first_audible" in turn.instants:
            self.arrived(
                "greeting_audible", Arrival(turn.instants["first_audible"], turn.errors_ns.get("first_audible", 0))
            )

    def _note_first_reply(self, turn: TurnObservation) -> None:
        """Note what the caller waited for first, where it came: the first delta of the reply to the first turn."""
        reply = next((name for name in FIRST_DELTAS if name in turn.instants), None)
        if turn.outcome not in WHOLE or reply is None or turn.measured_from is None or not self.ready:
            return
        self.instants["first_reply"] = turn.instants[reply]
        self.errors_ns["first_reply"] = turn.errors_ns.get(reply, 0)
        if (audible_ns := turn.instants.get("first_audible")) is not None:
            self.instants["first_audible"] = audible_ns
            self.errors_ns["first_audible"] = turn.errors_ns.get("first_audible", 0)
        ready_ns = max(self.instants["session_updated"], self.instants.get("history_acked", 0))
        caller_ns = turn.instants[turn.measured_from] - ready_ns
        self.caller_time_ns = max(0, caller_ns)  # a pipelined turn may be asked for before the session is ready

    def observation(self, unattributed_commits: int) -> SessionObservation:
        """What is known of the session; once it is over, that is all."""
        return SessionObservation(
            outcome=self.outcome,
            detail=self.detail,
            start_ns=self.start_ns,
            instants=self.instants,
            errors_ns=self.errors_ns,
            widths_ns=self.widths_ns,
            service_session_id=self.service_session_id,
            renewed=self.renewed,
            turns_planned=max(self.turns_planned, self.turns_started),
            turns_started=self.turns_started,
            turns_ended=self.turns_ended,
            turns_succeeded=self.turns_succeeded,
            audio_bytes_sent=self.audio_sent,
            audio_bytes_received=self.audio_received,
            wire_bytes_sent=self.wire_sent,
            wire_bytes_received=self.wire_received,
            events=self.events,
            unknown_events=dict(self.unknown),
            service_errors=self.errors,
            timestamp_fallbacks=self.fallbacks,
            unattributed_commits=unattributed_commits,
            idle_prompts=self.idle_prompts,
            stray_usage=self.stray_usage,
            close_code=self.close_code,
            close_reason=self.close_reason,
            auth_wait_ns=self.auth_wait_ns,
            caller_time_ns=self.caller_time_ns,
            headers=self.headers,
            effective_settings=self.settings,
        )
