"""Turns what a session sent and what came into observations: one of each turn, and one of the session.

Pure: it reads no clock and holds no socket, so it runs the same on live traffic, on a recorded log and in a test. Three
rules hold it together:

* Events belong to a turn by `response_id` and `item_id`; `ownership.py` says how.
* The first terminal cause wins: once a turn has an outcome, nothing changes it. A deadline that passed before an event
  arrived is a cause that came first.
* A transcription of the caller's audio may come late. It is attached for up to `LATE_TRANSCRIPT_NS` after the turn's
  end, while the next turn is under way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from bench.clock import Arrival, Handed
from bench.interruptions import Cue
from bench.limits import MOST_BYTES, MOST_EVENTS, MOST_RESPONSES, Limits
from bench.measures import FIRST_DELTAS
from bench.observe.deadlines import deadline
from bench.observe.ear import Ear
from bench.observe.inputs import (
    AnyInput,
    Begun,
    CallAnswered,
    Closed,
    Connected,
    Expected,
    Expired,
    Failed,
    Finished,
    GaveUp,
    HistoryBegun,
    Input,
    Interrupted,
    InterruptionAwaited,
    NetworkMeasured,
    Renewed,
    Renews,
    Sent,
    SilenceBroken,
    SilenceRestored,
    Taken,
    Transmitted,
)
from bench.observe.observation import SessionObservation, TurnObservation, model_of
from bench.observe.ownership import TRANSCRIPTIONS, Ownership
from bench.observe.turn import ARRIVALS, LATE_TRANSCRIPT_NS, State, Turn
from bench.observe.turn_view import all_instants, judged, observation
from bench.observe.watches import ConversationLength, SilenceWatch, begins_reply
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
    Work,
)
from bench.outcomes import EXPECTED, GOOD, SERVICE_SAID, TEXT_SESSION
from bench.plan.reference import Judge
from bench.protocol.audio import chosen
from bench.protocol.base import SESSION_PREFIX, Act, Dialect
from bench.protocol.events import DELTAS, WITH_AUDIO, Effect, Event, Failure, Kind, Usage
from bench.transport.base import BAD_FRAME, TOO_LARGE, Network
from bench.transport.received import DeltaArrival, Received
from bench.units import NS_PER_MS, NS_PER_S

UNKNOWN_NAMES = 50
AT_ONCE_BYTES = 1 << 26
"""More than deltas that are handed on together ever have: they are handed on after one read, or soon."""
NOT_KNOWN, NEVER = 0, 1 << 62
NO_JUDGES: dict[int, Judge] = {}
SESSION_INSTANTS: Mapping[Kind, str] = {
    Kind.SESSION_CREATED: "session_created",
    Kind.SESSION_UPDATED: "session_updated",
}
SESSION_KINDS = frozenset({*SESSION_INSTANTS, Kind.MALFORMED, Kind.ERROR})
"""Events that are the whole session's, whatever ids they have."""

UNTIMED = frozenset(
    {Kind.ITEM_ADDED, Kind.ITEM_DELETED, Kind.ITEM_RETRIEVED, Kind.NOTED, Kind.RATE_LIMITS, Kind.UNKNOWN}
)
"""Events that bring no deadline nearer, and at most put it off."""

ENDS_TURN = frozenset({Effect.THROTTLED, Effect.TURN_FAILED})
"""Effects of errors that end the turn under way also where they name no message of it."""
ENDS_SESSION = ("protocol:", "endless:")
"""How outcomes of a turn begin after which nothing of its session would be as it should."""
CANCEL_ID, TRUNCATE_ID, RETRIEVE_ID = "-cancel", "-truncate", "-retrieve"
STOPS_REPLY = (CANCEL_ID, TRUNCATE_ID, RETRIEVE_ID)
"""How ids of messages end that stop a turn's reply, or check that it was cut."""
KEPT = ("model",)
"""What a session has for its whole life, whether or not the service says so each time that it describes it."""
UNEXPLAINED = ("timeout:", "closed:", EXPECTED)
"""How outcomes begin that say nothing of their cause: an error that came before, and ended nothing, may be it."""


class Timeline:
    """The state machine of one session, from the start of connecting on.

    `wanted` is the number of turns that its script has; `service_responds`: the service's VAD starts responses;
    `intended_ns`: when the session was meant to start, None where nobody had planned it; `called_ns`: when the call
    arrived that it is, None where none did; `renewable`: its call goes on in another one once it is as old as one may
    be.
    """

    __slots__ = (
        "_arrived_ns", "_awaits_network", "_begun", "_billed", "_caller_time_ns", "_close_code",
        "_close_reason", "_detail", "_dialect", "_ear", "_ended", "_errors", "_errors_ns", "_events",
        "_fallbacks", "_false_reply", "_first", "_good", "_headers", "_idle_prompts", "_instants",
        "_interrupted", "_last", "_last_error", "_length", "_most_bytes", "_most_events", "_outcome",
        "_owners", "_received_audio", "_received_wire", "_renewable", "_renewed", "_responses_left",
        "_retransmits", "_retrieves", "_sent_audio", "_sent_wire", "_service_session_id", "_settings",
        "_start_ns", "_stray_usage", "_taken", "_token_wait_ns", "_turns", "_unknown", "_unpaid", "_wake_ns",
        "_wanted", "_watch", "_widths_ns", "history_left", "limits",
    )  # fmt: skip

    def __init__(
        self,
        start_ns: int,
        wanted: int,
        limits: Limits,
        dialect: Dialect,
        *,
        service_responds: bool = False,
        intended_ns: int | None = None,
        called_ns: int | None = None,
        renewable: bool = False,
    ) -> None:
        self._start_ns, self._wanted, self.limits, self._dialect = start_ns, wanted, limits, dialect
        self._owners = Ownership(service_responds=service_responds)
        self._ear = Ear(chosen(dialect.output_formats, None)) if dialect.duplex else None
        planned = {"called": called_ns, "intended_start": intended_ns}
        self._instants: dict[str, int] = {name: at_ns for name, at_ns in planned.items() if at_ns is not None}
        self._instants["connect_start"] = start_ns
        self._errors_ns: dict[str, int] = {}
        self._widths_ns: dict[str, int] = {}
        self._turns: list[Turn] = []  # begun and not handed out: the current one, and those that await a transcript
        self._last: Turn | None = None
        self._interrupted: Turn | None = None  # that of which the reply is to be interrupted, or was last
        self._watch: SilenceWatch | None = None  # while something is heard that asks for no reply, and replies to it
        self._false_reply: bool | None = None  # whether there was any since the last turn began
        self._awaits_network = False
        """Whether nobody has said yet what the way to the peer was like when the last turn ended."""
        self._unpaid: Usage | None = None
        """The tokens of responses since somebody took them, to pay for them."""
        self.history_left = 0
        """How many messages that were said before the first turn the service has not taken yet."""
        self._idle_prompts = self._first = self._retrieves = 0
        self._renewable, self._renewed = renewable, False
        self._arrived_ns = start_ns
        self._wake_ns = NOT_KNOWN
        self._begun = self._ended = self._good = 0
        self._outcome = self._detail = ""
        self._service_session_id = ""
        self._settings: Mapping[str, Any] = {}
        self._headers: Mapping[str, str] = {}
        self._token_wait_ns = 0
        self._caller_time_ns: int | None = None
        self._close_code: int | None = None
        self._close_reason = ""
        self._sent_audio = self._sent_wire = self._received_audio = self._received_wire = 0
        self._events = self._errors = self._fallbacks = self._retransmits = 0
        self._most_events, self._most_bytes, self._responses_left = MOST_EVENTS, MOST_BYTES, MOST_RESPONSES
        self._unknown: Counter[str] = Counter()
        self._last_error: Failure | None = None  # of those that ended nothing, since the last turn began
        self._billed: set[str] = set()  # responses whose tokens were told
        self._length = ConversationLength()
        self._stray_usage: Usage | None = None
        self._taken: list[TurnObservation] = []  # handed out, and not yet fetched

    # What the session did.

    def tell(self, noted: AnyInput) -> None:
        """Take note of what the session did, or of what happened to it, messages excepted."""
        if type(noted) is not Sent:  # which is told most often: few of them bring a deadline nearer
            self._wake_ns = NOT_KNOWN
        _NOTED[type(noted)](self, noted)

    def _connected(self, connected: Connected) -> None:
        self._instants["connect_start"] = self._start_ns + connected.token_wait_ns
        self._instants.update(connected.instants)
        self._errors_ns.update(connected.errors_ns)
        self._headers, self._token_wait_ns = connected.headers, connected.token_wait_ns

    def _begin(self, begun: Begun) -> None:
        plan, before = begun.plan, self._current()
        self._last = Turn(plan, begun.at_ns, self._dialect.output_formats[plan.reply_format])
        if self._ear is not None:
            self._ear.audio = self._last.format
        if before is not None:  # the caller speaks while its reply is played
            self._last.interrupts = before.interruption
        self._last.false_reply, self._false_reply = self._false_reply, None
        self._last.may_be_filled = plan.fillers or self._dialect.fills_waits(self._settings)
        self._turns.append(self._last)
        self._first = self._first or plan.number
        self._begun += 1
        self._most_events, self._most_bytes = self._events + MOST_EVENTS, self._received_wire + MOST_BYTES
        self._responses_left = MOST_RESPONSES
        self._last_error = None
        self._awaits_network = True

    def _sent(self, sent: Sent) -> None:
        self._sent_wire += sent.wire_bytes
        self._sent_audio += sent.audio_bytes
        act = self._dialect.acts.get(sent.name)
        if act is Act.SET_UP:
            self._instants.setdefault("update_sent", sent.at_ns)
            self._widths_ns.setdefault("update_sent", sent.width_ns)
            self._length.client_changed()
        asks = act is Act.REQUEST
        if sent.aside:
            if asks:
                self._owners.asked_aside(sent.aside)
            return
        turn = self._current()
        interruption = self._interrupted.interruption if self._interrupted is not None else None
        if act is Act.TRUNCATE and interruption is not None:
            interruption.truncate_sent(Handed(sent.at_ns, sent.width_ns), sent.item, sent.heard_ms)
        elif act is Act.RETRIEVE:
            for check in (turn.check for turn in self._turns if turn.check is not None):
                if sent.item in check.heard_ms:
                    check.asked.add(sent.item)
        if turn is None:
            return
        handed = Handed(sent.at_ns, sent.width_ns, sent.ticket)
        marks: Sequence[str] = ()
        if sent.moments:
            clock_ns = self._dialect.input_formats[turn.plan.speech_format].duration_ns(self._sent_audio)
            marks = turn.hearing.mark_moments(sent.moments, handed, clock_ns)
            self._mark_barge_in(turn, marks)
        turn.sent(handed, sent.wire_bytes, sent.audio_bytes, marks=marks, asks=asks, late=sent.late)
        if asks or marks:
            self._wake_ns = NOT_KNOWN
        if asks:
            self._owners.asked(turn)
        elif act is Act.COMMIT:
            self._owners.committed(turn)

    def _renews(self, renews: Renews) -> None:
        if renews.heard_ns is not None:
            self._instants["heard_before"] = renews.heard_ns

    def _note_renewed(self, _: Renewed) -> None:
        self._wanted, self._renewed = self._begun, True

    def _history_begun(self, begun: HistoryBegun) -> None:
        self._instants["history_begun"], self.history_left = begun.at_ns, begun.messages

    def _mark_barge_in(self, turn: Turn, marks: Sequence[str]) -> None:
        """Mark from when to when the caller interrupts the reply that is played, or a sound is heard during it."""
        hearing = turn.hearing
        if turn.interrupts is not None:
            if "speech_begin" in marks:
                turn.interrupts.began(hearing.instants["speech_begin"], hearing.widths_ns["speech_begin"])
            if "speech_end" in marks:
                turn.interrupts.spoken_ns = hearing.instants["speech_end"]
        if turn.interruption is not None:
            if "barge_in" in marks:
                turn.interruption.began(*hearing.unmark("barge_in"))
            if "sound_end" in marks:
                turn.interruption.spoken_ns, _ = hearing.unmark("sound_end")

    def _await_interruption(self, awaited: InterruptionAwaited) -> None:
        self._interrupted = self._current()
        if self._interrupted is not None:
            self._interrupted.await_interruption(awaited.kind, verify=awaited.verify)

    def _interrupt(self, interrupted: Interrupted) -> None:
        if self._interrupted is not None:
            self._interrupted.interrupt(interrupted.at_ns)

    def _break_silence(self, broken: SilenceBroken) -> None:
        self._watch = SilenceWatch(self._dialect.output_formats[broken.reply_format], broken.jitter_buffer_ns)

    def _restore_silence(self, _: SilenceRestored) -> None:
        """Keep what came of the watch for the turn that follows; a client that asks for all replies gets no others."""
        if self._watch is not None and self._owners.service_responds:
            self._false_reply = self._watch.replied or bool(self._false_reply)
        self._watch = None

    def _call_answered(self, answered: CallAnswered) -> None:
        if self._last is not None:
            self._last.calls.answered(answered.call_id, answered.at_ns, answered.wrong)

    def _transmitted(self, stamp: Transmitted) -> None:
        for turn in self._turns:
            turn.transmitted(stamp)

    def _expect(self, expected: Expected) -> None:
        kind, turn = Kind[expected.kind.upper()], self._current()
        if turn is not None and ARRIVALS[kind] not in all_instants(turn):
            turn.expected[kind] = expected.until_ns

    def _measured(self, network: NetworkMeasured) -> None:
        self._awaits_network = False
        if self._last is not None:
            self._last.network = Network(network.rtt_ns, network.min_rtt_ns, network.retransmits, network.scope)
            self._last.retransmits = network.retransmits - self._retransmits
            self._retransmits = network.retransmits

    # What came.

    def received(self, events: Sequence[Event], message: Received) -> None:
        """Take a message that arrived, with these events in it, after the deadlines that passed before it did."""
        _, arrival, wire_bytes = message
        at_ns, _, kernel = arrival
        if at_ns > self._wake_ns and at_ns > self.wake_ns:  # the first is NOT_KNOWN or the second, and quicker
            self._expire(at_ns - 1)  # what arrives at the deadline itself is in time
        self._received_wire += wire_bytes
        self._fallbacks += not kernel
        self._arrived_ns = at_ns
        self._events += len(events)
        if self._events > self._most_events:
            self._fail("endless:events", at_ns, f"over {MOST_EVENTS} events since the turn began")
        elif self._received_wire > self._most_bytes:
            self._fail("endless:bytes", at_ns, f"over {MOST_BYTES} bytes since the turn began")
        if self._ear is not None:
            self._received_audio += sum(max(0, event.payload_bytes) for event in events if event.kind in WITH_AUDIO)
            events = self._ear.heard_in(events)
        for event in events:
            if event.kind in SESSION_KINDS:
                self._session_event(event, arrival)
            else:
                self._turn_event(event, arrival, wire_bytes)
            wire_bytes = 0  # they are the message's, and counted once

    def received_deltas(self, deltas: Sequence[DeltaArrival]) -> None:
        """Take deltas of the reply under way, as `received` does one after another."""
        turn, last_ns = self._current(), deltas[-1].at_ns
        alone = not self.answering or last_ns > self.wake_ns
        many = self._events + len(deltas) > self._most_events
        if turn is None or alone or many or self._most_bytes - self._received_wire < AT_ONCE_BYTES:
            for event, at_ns, error_ns, _, payload_bytes, wire_bytes, _ in deltas:
                event = msgspec.structs.replace(event, payload_bytes=payload_bytes)
                # not self's, which may write down what it is told: that was done before
                Timeline.received(self, (event,), Received(b"", Arrival(at_ns, error_ns), wire_bytes))
            return
        wire_bytes, audio_bytes = turn.wire_bytes_received, turn.audio_bytes_received
        turn.received_deltas(deltas)
        self._received_wire += turn.wire_bytes_received - wire_bytes
        self._received_audio += turn.audio_bytes_received - audio_bytes
        self._events += len(deltas)
        self._arrived_ns = last_ns

    def may_take(self, event: Event) -> bool:
        """Whether deltas like this one, which came last, may be matched.

        They are the current turn's, nothing more is awaited of them, and audio can be heard already.
        """
        turn = self._last
        if turn is None or turn.plan.duplex or not (self.answering and turn.hears(event.kind)):
            return False
        return self._owners.turn_of(event, turn) is turn

    def _session_event(self, event: Event, arrival: Arrival) -> None:
        if event.kind is Kind.MALFORMED:
            self._fail("protocol:json", arrival.at_ns, event.reason)
        elif event.kind is Kind.ERROR:
            self._error(event.failure or Failure(), arrival.at_ns)
        else:
            self._described(event, arrival)

    def _described(self, event: Event, arrival: Arrival) -> None:
        """Note the session as the service describes it, which has greeted it or taken its settings."""
        instant = SESSION_INSTANTS[event.kind]
        self._instants.setdefault(instant, arrival.at_ns)
        self._errors_ns.setdefault(instant, arrival.error_ns)
        if event.session:
            kept = {name: self._settings[name] for name in KEPT if name in self._settings and name not in event.session}
            self._settings = kept | event.session if kept else event.session
            self._service_session_id = self._service_session_id or event.session_id
            if self._dialect.fills_waits(event.session):
                for turn in self._open_turns():
                    turn.may_be_filled = True

    def _turn_event(self, event: Event, arrival: Arrival, wire_bytes: int) -> None:
        kind = event.kind
        if kind is Kind.UNKNOWN:
            self._count_unknown(event.name)
        is_new = self._watch is not None and begins_reply(event) and not self._owners.knows(event.response_id)
        turn = self._owners.turn_of(event, self._current())
        if self._watch is not None and turn is None:
            self._watch.received(event, arrival, begins=is_new)
        if kind not in DELTAS:
            self._owners.note(event, turn)
            if kind in COUNTED:
                COUNTED[kind](self, arrival)
            if kind not in UNTIMED:
                self._wake_ns = NOT_KNOWN
            elif kind is Kind.ITEM_DELETED:
                self._length.client_changed()
        if event.usage is not None and event.response_id not in self._billed:
            self._bill(event.response_id, event.usage, turn)
        if kind is Kind.SPEECH_STARTED and self._interrupted is not None:
            self._interrupted.hear_barge_in(arrival)
        if event.foreign:
            self._fail("protocol:dialect", arrival.at_ns, f"{event.name} belongs to the other dialect")
        elif turn is None:
            return
        elif kind in TRANSCRIPTIONS:
            turn.note_transcript(event, arrival)
        elif kind is Kind.TRUNCATED or kind is Kind.ITEM_RETRIEVED:
            self._word_of_cut(turn, event, arrival)
        elif turn.state is not State.OVER:
            self._open_turn_event(turn, event, arrival, wire_bytes)

    def _word_of_cut(self, turn: Turn, event: Event, arrival: Arrival) -> None:
        """Take the service's word that it has cut an item of a reply, or what it keeps of it."""
        interruption = turn.interruption
        if event.kind is Kind.TRUNCATED:
            self._length.client_changed()
            if interruption is not None:
                interruption.truncated(arrival)
        if turn.check is not None:
            turn.check.happened(event)

    def _note_history(self, arrival: Arrival) -> None:
        """Note that the service has taken one more message of the history: items are added in the order of sending."""
        if not self.history_left:
            return
        self.history_left -= 1
        if not self.history_left:
            self._instants["history_taken"], self._errors_ns["history_taken"] = arrival.at_ns, arrival.error_ns

    def _note_idle_prompt(self, arrival: Arrival) -> None:
        """Count that the service speaks up by itself; of the first time note when it did so, and when that was due."""
        self._idle_prompts += 1
        played_ns, timeout_ms = self.playback_ends_ns, self._dialect.idle_timeout_ms(self._settings)
        if self._idle_prompts == 1 and self.turn_over and played_ns and timeout_ms is not None:
            self._instants["idle_due"] = played_ns + timeout_ms * NS_PER_MS
            self._instants["idle_prompted"], self._errors_ns["idle_prompted"] = arrival.at_ns, arrival.error_ns

    def _count_response(self, arrival: Arrival) -> None:
        """Count a response that is done, whosesoever it is."""
        self._responses_left -= 1
        if self._responses_left < 0:
            self._fail("endless:responses", arrival.at_ns, f"over {MOST_RESPONSES} responses since the turn began")

    def _bill(self, response_id: str, usage: Usage, turn: Turn | None) -> None:
        """Add the tokens of a response to its turn while that is open, else to the session's own.

        Tokens of an answer that does not count are the turn's, too. A response that is done twice is paid for once.
        """
        if response_id:
            self._billed.add(response_id)
        self._unpaid = usage if self._unpaid is None else self._unpaid + usage
        if turn is not None and turn.state is not State.OVER:
            turn.billed(usage)
            of_conversation = not turn.plan.out_of_band and response_id not in turn.fillers
            if of_conversation and self._length.answered(usage, instructed=turn.plan.instructed):
                turn.after_truncation = True
        else:
            self._stray_usage = usage if self._stray_usage is None else self._stray_usage + usage

    def _open_turn_event(self, turn: Turn, event: Event, arrival: Arrival, wire_bytes: int) -> None:
        """Pass an event to its open turn. A breach of the protocol ends the session; all other ends are the turn's."""
        before = turn.state
        if event.kind is Kind.AUDIO_DELTA and event.payload_bytes > 0 and self._ear is None:
            self._received_audio += event.payload_bytes
        ending = turn.received(event, arrival, wire_bytes)
        if turn.state is not before:
            self._wake_ns = NOT_KNOWN
        if ending is None:
            return
        outcome, detail = ending
        if outcome == "failed:no_audio":
            setting = self._dialect.text_only(self._settings)
            detail = f"{TEXT_SESSION}: {setting} of the service's session is without audio" if setting else ""
        if outcome.startswith(ENDS_SESSION):
            self._fail(outcome, arrival.at_ns, detail)
        turn.end(outcome, arrival.at_ns, detail)
        self._wake_ns = NOT_KNOWN

    def _error(self, failure: Failure, at_ns: int) -> None:
        """Take an error: fatal to the session, to the turn whose message it names, or only counted."""
        cause, effect = failure.cause or "unknown", failure.effect
        if effect is Effect.EXPIRED:
            self._expire_session(at_ns, failure.detail)
        elif effect is Effect.FATAL:
            self._fail(f"failed:{cause}" if self.ready else f"refused:{cause}", at_ns, failure.detail)
        elif failure.event_id.startswith(SESSION_PREFIX):
            self._fail(f"failed:{cause}", at_ns, failure.detail)
        elif effect is Effect.UNANSWERED and not failure.event_id and self._owners.service_responds:
            self._owners.drop_answer()
            self._count_error(failure)
        else:
            self._error_of_a_turn(failure, at_ns)

    def _error_of_a_turn(self, failure: Failure, at_ns: int) -> None:
        """Drop the request or commit that the error answers, or doubt them, and end the open turn that it is of.

        That is the one whose message it names, or by its effect the current one. What stops a reply may come too late,
        which harms nobody.
        """
        if failure.event_id.endswith(STOPS_REPLY):
            self._not_stopped(failure)
            return
        if failure.event_id:
            named = (turn for turn in self._open_turns() if failure.event_id.startswith(turn.plan.event_prefix))
            turn = next(named, None)
            self._owners.drop_event(failure.event_id)
        else:
            turn = self._current() if failure.effect in ENDS_TURN else None
            if turn is not None:
                self._owners.doubt(turn)
                self._owners.drop_commit(turn)
        if turn is None:
            self._count_error(failure)
        else:
            throttled = failure.effect is Effect.THROTTLED
            turn.end("throttled:error" if throttled else f"failed:{failure.cause or 'unknown'}", at_ns, failure.detail)

    def _not_stopped(self, failure: Failure) -> None:
        """Count an error that says that a reply was not stopped, or not cut."""
        self._count_error(failure)
        for turn in self._turns:
            if turn.interruption is None or not failure.event_id.startswith(turn.plan.event_prefix):
                continue
            if failure.event_id.endswith(TRUNCATE_ID):
                turn.interruption.uncut -= 1
            if turn.check is not None and not failure.event_id.endswith(CANCEL_ID):
                turn.check.failed = True

    def _count_error(self, failure: Failure) -> None:
        self._errors += 1
        self._last_error = failure

    def _count_unknown(self, name: str) -> None:
        known = name in self._unknown or len(self._unknown) < UNKNOWN_NAMES
        self._unknown[name if known else "other"] += 1

    # What ends things.

    def deadline(self) -> tuple[int, str, str] | None:
        """(instant, outcome, detail) of what ends an open turn if nothing comes; None while nothing is due."""
        return min(filter(None, (deadline(turn, self.limits) for turn in self._open_turns())), default=None)

    def _open_turns(self) -> list[Turn]:
        """The current turn, and the one whose reply that interrupts."""
        return [turn for turn in self._turns if turn.state is not State.OVER]

    @property
    def wake_ns(self) -> int:
        """The instant until which nothing is due. What comes may put the deadline off; `expire` looks anew."""
        if self._wake_ns == NOT_KNOWN:
            due = self.deadline()
            self._wake_ns = due[0] if due else NEVER
        return self._wake_ns

    @property
    def answering(self) -> bool:
        """Whether the current turn's reply has begun, and the script insists on nothing more of it."""
        turn = self._last
        return turn is not None and turn.state is State.ANSWERING and not turn.expected

    @property
    def goes_on(self) -> bool:
        """Whether the first deltas of the current turn's reply came: only its end is awaited."""
        turn = self._last
        return turn is not None and self.answering and turn.goes_on

    def expire(self, now_ns: int) -> None:
        """Tell the timeline that it is `now_ns`, where something is due by then."""
        if now_ns < self._wake_ns:
            return
        self._wake_ns = NOT_KNOWN
        if now_ns >= self.wake_ns:
            self.tell(Expired(now_ns))

    def _expire(self, now_ns: int) -> None:
        """End what is due by `now_ns`, at the instant at which it was due. A timeout ends the session, too."""
        self._wake_ns = NOT_KNOWN
        due = self.deadline()
        if due is None or now_ns < due[0]:
            return
        at_ns, outcome, detail = due
        if outcome.startswith("timeout:"):
            self._fail(outcome, at_ns, detail)
        else:
            turn = next(turn for turn in self._open_turns() if deadline(turn, self.limits) == due)
            turn.end(outcome, at_ns, self._explained(outcome, detail))

    def _fail(self, outcome: str, at_ns: int, detail: str = "") -> None:
        detail = self._explained(outcome, detail)
        if not self._outcome:
            self._outcome, self._detail = outcome, detail
            self._instants.setdefault("ended", at_ns)
        self._wake_ns = NOT_KNOWN
        for turn in self._turns:
            turn.end(outcome, at_ns, detail)

    def _expire_session(self, at_ns: int, detail: str) -> None:
        """End the session, which the service lets become no older: no failure, where its call was to outlive it."""
        if self._renewable and self.ready and not self._outcome:
            self._outcome, self._detail = "outlived", detail
            self._instants.setdefault("ended", at_ns)
        self._fail("expired", at_ns, detail)

    def _explained(self, outcome: str, detail: str) -> str:
        """The detail of an end, with the error that came before it where the end says nothing of its cause."""
        if self._last_error is None or not outcome.startswith(UNEXPLAINED):
            return detail
        return "; ".join(filter(None, (detail, SERVICE_SAID + self._last_error.detail)))

    def _close(self, closed: Closed) -> None:
        code, at_ns, reason = closed.code, closed.at_ns, closed.reason
        self._expire(at_ns - 1)
        self._close_code, self._close_reason = code, reason
        if self._dialect.is_expiry(code, reason):
            self._expire_session(at_ns, reason)
        elif self._last_error and not self.ready:
            error = self._last_error
            throttled = error.effect is Effect.THROTTLED
            outcome = "throttled:error" if throttled else f"refused:{error.cause or 'unknown'}"
            self._fail(outcome, at_ns, error.detail)
        elif code == BAD_FRAME:
            self._fail("protocol:frame", at_ns, reason)
        elif code == TOO_LARGE and closed.ours:
            self._fail("protocol:too_large", at_ns, reason)
        else:
            self._fail(f"closed:{code}", at_ns, reason)

    def _finish(self, finished: Finished) -> None:
        if not self._outcome:
            self._outcome = "ok"
            self._instants.setdefault("ended", finished.at_ns)

    # What is known.

    @property
    def ready(self) -> bool:
        """Whether the service has greeted the session and taken its settings."""
        return "session_updated" in self._instants

    @property
    def model(self) -> str | None:
        """The model, as the service names it; None where it does not."""
        return model_of(self._settings)

    @property
    def over(self) -> bool:
        """Whether the session has its outcome; nothing more is to be sent."""
        return bool(self._outcome)

    @property
    def outlived(self) -> bool:
        """Whether the service ended the session because it was as old as one may be, and its call goes on."""
        return self._outcome == "outlived"

    @property
    def heard_ns(self) -> int | None:
        """The instant at which the player has played what came of the last turn's reply; None where nothing did."""
        return self._last.reply.playback_ends_ns or None if self._last is not None else None

    @property
    def start_ns(self) -> int:
        """When connecting began, or the wait for a token before it."""
        return self._start_ns

    @property
    def turns_begun(self) -> int:
        """How many turns were begun."""
        return self._begun

    @property
    def turn_over(self) -> bool:
        """Whether no turn is open."""
        return self._current() is None and (self._interrupted is None or self._interrupted.state is State.OVER)

    # What is to be done.

    def work(self, now_ns: int, heard_ns: int, judges: dict[int, Judge] = NO_JUDGES) -> Iterator[Work]:
        """What the session has to do now, one after another: what is told of one decides on those behind it.

        `heard_ns`: all that arrived by then was told. `judges`: as of `take`.
        """
        self.expire(heard_ns)
        if (usage := self._unpaid) is not None:
            self._unpaid = None
            yield Pay(usage)
        if self._interrupted is not None and not self.over:
            yield from self._cuts(self._interrupted)
        if self.holds_ended:
            if self._awaits_network and self.turn_over:
                yield MeasureNetwork()
            for ended in self.take(now_ns, judges):
                yield HandOut(ended)
        turn = self._current()
        if turn is None or self.over:
            return
        if turn.wants_request(now_ns):
            yield AskForResponse()
        if turn.calls.whole:
            for call in turn.calls.take_unmade():
                yield CallFunction(call)
            if turn.state is State.CALLING and turn.calls.all_answered and not turn.filler:
                yield GoOn()  # and not before: no request is taken while a response is under way

    def _cuts(self, turn: Turn) -> Iterator[Work]:
        """What the service is to be told of a reply that was stopped, and to be asked of those that it has cut."""
        interruption, prefix = turn.interruption, turn.plan.event_prefix
        if interruption is not None and interruption.uncancelled:
            interruption.uncancelled = False
            yield Cancel(f"{prefix}cancel")
        if interruption is not None and interruption.is_untold:
            for number, (item_id, heard_ms) in enumerate(turn.reply.cuts(), 1):
                yield Truncate(item_id, heard_ms, f"{prefix}{number}-truncate")
        for cut in [turn for turn in self._turns if turn.check is not None and turn.state is State.OVER]:
            for item_id in cut.check.unasked if cut.check is not None else ():
                self._retrieves += 1
                yield Retrieve(item_id, f"{cut.plan.event_prefix}{self._retrieves}-retrieve")

    def awaits_output(self, call_id: str) -> bool:
        """Whether what a call returns is to be handed over: its turn is under way."""
        turn = self._current()
        return turn is not None and call_id in turn.calls.made

    # Interruptions.

    @property
    def interruptible(self) -> bool:
        """Whether the reply that is to be interrupted is still being made, or played."""
        return self._interrupted is not None and self._interrupted.state is not State.OVER

    def interruption_due_ns(self, cue: Cue) -> int | None:
        """When the reply is to be interrupted; None where that is not known yet."""
        turn = self._interrupted
        return None if turn is None else turn.cue_ns(cue)

    def checks_until_ns(self, now_ns: int) -> int | None:
        """The instant until which it is awaited what the service keeps of cut replies; None where nothing is."""
        pending = (turn for turn in self._turns if turn.state is State.OVER and turn.check and turn.check.pending)
        until_ns = max((turn.instants["ended"] + LATE_TRANSCRIPT_NS for turn in pending), default=now_ns)
        return until_ns if until_ns > now_ns else None

    @property
    def holds_ended(self) -> bool:
        """Whether there are turns that are over and were not handed out."""
        turns = self._turns  # only the last of them can be open
        return len(turns) > 1 or (bool(turns) and turns[0].state is State.OVER)

    @property
    def missing_expectation(self) -> bool:
        """Whether the current turn has not got all that its script insists on."""
        turn = self._current()
        return turn is not None and bool(turn.expected)

    @property
    def quiet_by_ns(self) -> int | None:
        """The instant until which more is awaited of what the service has under way; None where that is nothing."""
        if not self._owners.busy:
            return None
        return self._arrived_ns + int(self.limits.next_delta * NS_PER_S)

    @property
    def playback_ends_ns(self) -> int:
        """The instant at which the player has played what was replied last; 0 where there is nothing to hear out."""
        if self._watch is not None:
            return self._watch.playback_ends_ns
        return self._last.reply.playback_ends_ns if self._last is not None and self._last.outcome in GOOD else 0

    def reached(self, instant: str) -> bool:
        """Whether an instant of the session has happened."""
        return instant in self._instants

    def _current(self) -> Turn | None:
        turn = self._last
        return None if turn is None or turn.state is State.OVER else turn

    def late_due_ns(self, now_ns: int) -> int | None:
        """The instant until which something late of some turn is awaited; None where nothing is."""
        ended_ns = [t.instants["ended"] for t in self._turns if t.state is State.OVER and t.awaits_more(now_ns)]
        return max(ended_ns) + LATE_TRANSCRIPT_NS if ended_ns else None

    def take(self, now_ns: int, judges: dict[int, Judge] = NO_JUDGES) -> list[TurnObservation]:
        """The turns that are over and await nothing more; each is handed out once.

        `judges`: of some turns, by number, who says whether they have done their task; who is asked is taken out.
        """
        if done := self._done(now_ns):
            answers = {turn.plan.number: judged(turn, judges) for turn in done} if judges else {}
            self.tell(Taken(now_ns, {number: answer for number, answer in answers.items() if answer is not None}))
        return self.handed_out()

    def handed_out(self) -> list[TurnObservation]:
        """The turns that `Taken` handed out, each once."""
        taken, self._taken = self._taken, []
        return taken

    def _done(self, now_ns: int) -> list[Turn]:
        all_over = self.over
        return [t for t in self._turns if t.state is State.OVER and (all_over or not t.awaits_more(now_ns))]

    def _hand_out(self, taken: Taken) -> None:
        for turn in self._done(taken.at_ns):
            self._turns.remove(turn)
            self._owners.forget(turn)
            self._ended += 1
            self._good += turn.outcome in GOOD
            if turn.check is not None and taken.at_ns >= turn.instants["ended"] + LATE_TRANSCRIPT_NS:
                turn.check.end()
            observed = observation(turn, taken.tasks_done.get(turn.plan.number))
            self._taken.append(observed)
            if observed.turn == self._first:
                self._note_first_reply(observed)

    def _note_first_reply(self, turn: TurnObservation) -> None:
        """Note what the caller waited for first, where it came: the first delta of the reply to the first turn."""
        reply = next((name for name in FIRST_DELTAS if name in turn.instants), None)
        if turn.outcome not in GOOD or reply is None or turn.origin is None or not self.ready:
            return
        self._instants["first_reply"] = turn.instants[reply]
        self._errors_ns["first_reply"] = turn.errors_ns.get(reply, 0)
        if (audible_ns := turn.instants.get("first_audible")) is not None:
            self._instants["first_audible"] = audible_ns
            self._errors_ns["first_audible"] = turn.errors_ns.get("first_audible", 0)
        ready_ns = max(self._instants["session_updated"], self._instants.get("history_taken", 0))
        caller_ns = turn.instants[turn.origin] - ready_ns
        self._caller_time_ns = max(0, caller_ns)  # a pipelined turn may be asked for before the session is ready

    def session(self) -> SessionObservation:
        """The session's own observation; call it after `take`, once the session is over."""
        return SessionObservation(
            outcome=self._outcome,
            detail=self._detail,
            start_ns=self._start_ns,
            instants=self._instants,
            errors_ns=self._errors_ns,
            widths_ns=self._widths_ns,
            service_session_id=self._service_session_id,
            renewed=self._renewed,
            turns_wanted=max(self._wanted, self._begun),
            turns_begun=self._begun,
            turns_ended=self._ended,
            turns_good=self._good,
            audio_bytes_sent=self._sent_audio,
            audio_bytes_received=self._received_audio,
            wire_bytes_sent=self._sent_wire,
            wire_bytes_received=self._received_wire,
            events=self._events,
            unknown_events=dict(self._unknown),
            service_errors=self._errors,
            stamp_fallbacks=self._fallbacks,
            stray_commits=self._owners.stray_commits,
            idle_prompts=self._idle_prompts,
            stray_usage=self._stray_usage,
            close_code=self._close_code,
            close_reason=self._close_reason,
            token_wait_ns=self._token_wait_ns,
            caller_time_ns=self._caller_time_ns,
            headers=self._headers,
            effective_settings=self._settings,
        )


COUNTED: Mapping[Kind, Callable[[Timeline, Arrival], None]] = {
    Kind.ITEM_ADDED: Timeline._note_history,
    Kind.IDLE_TIMEOUT: Timeline._note_idle_prompt,
    Kind.RESPONSE_DONE: Timeline._count_response,
}
"""Events that are counted whosesoever they are."""
_NOTED: Mapping[type[Input], Callable[[Timeline, Any], None]] = {
    Connected: Timeline._connected,
    Begun: Timeline._begin,
    Sent: Timeline._sent,
    HistoryBegun: Timeline._history_begun,
    Renews: Timeline._renews,
    Renewed: Timeline._note_renewed,
    Transmitted: Timeline._transmitted,
    Expected: Timeline._expect,
    InterruptionAwaited: Timeline._await_interruption,
    Interrupted: Timeline._interrupt,
    SilenceBroken: Timeline._break_silence,
    SilenceRestored: Timeline._restore_silence,
    CallAnswered: Timeline._call_answered,
    NetworkMeasured: Timeline._measured,
    Expired: lambda timeline, expired: timeline._expire(expired.at_ns),
    GaveUp: lambda timeline, _: timeline._owners.give_up(),
    Failed: lambda timeline, failed: timeline._fail(failed.outcome, failed.at_ns, failed.detail),
    Closed: Timeline._close,
    Finished: Timeline._finish,
    Taken: Timeline._hand_out,
}
"""What a timeline does with each input."""
