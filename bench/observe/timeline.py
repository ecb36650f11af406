"""The conversion of sent and received messages to observations: one per turn, and one of the session.

The timeline is pure: it reads no clock and has no socket. So it gives the same result for live traffic, a recorded log
and a test. Four rules define it:

- Events belong to a turn by `response_id` and `item_id`, as `bench.observe.attribution` describes.
- The first terminal cause wins. When a turn has an outcome, the outcome does not change. If a deadline passed before an
event arrived, the deadline is the earlier cause.
- A transcription of the caller's audio may be late. It is attached to its turn for up to `LATE_TRANSCRIPT_NS` after the
turn's end, even while the next turn is open.
- A limit has expired only if the next message certainly arrived after the limit. If the process did not run meanwhile,
the arrival is uncertain and may really have been before the limit. Then the turn continues. If it later succeeds, its
outcome is `starved`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from bench.base.clock import Arrival, SendTime
from bench.base.units import NEVER_NS, NS_PER_S
from bench.catalogue.causes import INAUDIBLE, NO_AUDIO, NO_MESSAGE, NO_PACKET, NOTHING_AUDIBLE, ONLY_TONES, TEXT_SESSION
from bench.catalogue.outcomes import EXPECTED, HANG_UP, NO_MEDIA, NO_SOUND, WHOLE
from bench.catalogue.timeouts import MAX_BYTES, MAX_EVENTS, MAX_RESPONSES
from bench.observe import inputs, turn_events
from bench.observe.attribution import Attributor
from bench.observe.delegation import DELEGATED_OUTSIDE
from bench.observe.inputs import Action, AnyInput, Input, Sent, SessionStart
from bench.observe.mcp_calls import NOT_ENDED
from bench.observe.observation import SessionObservation, TurnObservation
from bench.observe.pending_turns import STOPS_REPLY, PendingTurns
from bench.observe.planned_events import PlannedEvents
from bench.observe.reply import Reply
from bench.observe.reply_detector import ReplyDetector, SplitSamples
from bench.observe.session_facts import AWAITED, ConversationLength, FalseReplyWatch, SessionFacts
from bench.observe.turn import TRANSCRIPTIONS, PendingTurn, State
from bench.observe.turn_observation import observation, task_success
from bench.plan.turn_plan import SuccessPredicate
from bench.transport.interface import BAD_FRAME, TOO_LARGE
from bench.wire.audio import AudioFormat, AudioFormatName, resolve_format
from bench.wire.dialect import SESSION_PREFIX, SOUND, Dialect, MessageKind, Peer
from bench.wire.events import DELTAS, WITH_AUDIO, ErrorScope, EventKind, ServerEvent, ServiceFailure, TokenUsage
from bench.wire.received import MatchedDelta, ReceivedMessage
from bench.wire.settings import ONLY_TRANSCRIPT

AT_ONCE_BYTES = 1 << 26
"""An upper limit for the bytes of deltas that are applied together.

Deltas that are applied together come from one read, or from a few reads.
"""
NOT_KNOWN = 0
NO_JUDGES: dict[int, SuccessPredicate] = {}
SESSION_KINDS = frozenset(
    {
        *AWAITED,
        EventKind.MCP_NOT_LISTED,
        EventKind.SESSION_CLOSED,
        EventKind.MALFORMED,
        EventKind.ERROR,
    }
)
"""The kinds of events that belong to the whole session, even if they have the ids of a turn."""

DETECTS_CALLER = frozenset({EventKind.SPEECH_STARTED, EventKind.CLEARED})
"""The events by which a service reports that it detects its caller's speech. When such an event arrives, a player
stops."""

UNTIMED = frozenset(
    {
        EventKind.ITEM_ADDED,
        EventKind.ITEM_DELETED,
        EventKind.ITEM_RETRIEVED,
        EventKind.NOTED,
        EventKind.RATE_LIMITS,
        EventKind.UNKNOWN,
    }
)
"""Events that never make a deadline earlier."""
DECISIVE = frozenset(
    (
        EventKind.INPUT_TRANSCRIBED,
        EventKind.INPUT_NOT_TRANSCRIBED,
        EventKind.SPEECH_STARTED,
        EventKind.CALL_DONE,
        EventKind.MCP_APPROVAL,
        EventKind.MCP_CALL_ENDED,
        EventKind.MCP_CALL_FAILED,
        EventKind.DELEGATED,
        EventKind.BACKEND_DONE,
        EventKind.RESPONSE_DONE,
        EventKind.TRUNCATED,
        EventKind.CLEARED,
        EventKind.MARKED,
    )
)
"""The events after which the session may have work to do although the turn continues."""

ENDS_TURN = frozenset({ErrorScope.THROTTLED, ErrorScope.TURN_FAILED})
"""The effects of errors that end the open turn, even if the error names no message of the turn."""
UNANSWERED = ("timeout:", EXPECTED)
"""The prefixes of outcomes that mean that an event did not arrive in time."""
NOT_RUN = "this process did not run when the limit ended (give it an idle core, or lower the load)"
NOT_ANSWERED = "the agent had not answered when the caller spoke again, or when the recording ended"
ENDS_SESSION = ("protocol_error:", "limit_exceeded:", "failed:delegation")
"""The prefixes of turn outcomes that also end the session, because later results of the session would be wrong."""


class Timeline:
    """The state machine of one session.

    `reply_format` is the format of the service's audio. The service may send audio before the first turn.
    """

    __slots__ = (
        "_delivered",
        "_detector",
        "_dialect",
        "_false_reply",
        "_first",
        "_format",
        "_length",
        "_max_bytes",
        "_max_events",
        "_received_counts",
        "_renewable",
        "_responses_left",
        "_split",
        "_wake_ns",
        "_watch",
        "arrived_ns",
        "facts",
        "limits",
        "owners",
        "turns",
    )  # fmt: skip

    def __init__(self, start: SessionStart, dialect: Dialect, *, reply_format: AudioFormatName | None = None) -> None:
        self.limits, self._dialect, self._renewable = start.timeouts, dialect, start.renewable
        self.facts = SessionFacts(start=start, announced=dialect.peer is Peer.SERVICE)
        self.turns = PendingTurns(PlannedEvents(start.planned_events))
        self.owners = Attributor(service_responds=start.service_responds)
        self._format = resolve_format(dialect.output_formats, reply_format)
        self._detector = (
            None
            if dialect.turn_source is not SOUND
            else ReplyDetector(self._format, start.reply_silence_ns, pauses=dialect.peer is Peer.AGENT)
        )
        self._split = SplitSamples()
        self._watch: FalseReplyWatch | None = None
        self._false_reply: bool | None = None
        """True if the service replied to a sound in silence since the last turn started; None if there was no sound."""
        self._length = ConversationLength()
        self._first = 0  # the number of the first turn
        self._received_counts = 0, 0, 0
        """(number of events, number of audio bytes, number of tones) received by the time the last reply or the
        caller's speech ended.
        """
        self.arrived_ns = start.start_ns
        self._wake_ns = NOT_KNOWN
        self._max_events, self._max_bytes, self._responses_left = MAX_EVENTS, MAX_BYTES, MAX_RESPONSES
        self._delivered: list[TurnObservation] = []  # not yet popped

    # Inputs of the session.

    def apply(self, session_input: AnyInput) -> None:
        """Apply an input: an action of the session, or an event other than a received message."""
        if (
            type(session_input) is not Sent
        ):  # the most frequent input; only requests and ends of speech make a deadline earlier
            self._wake_ns = NOT_KNOWN
        _NOTED[type(session_input)](self, session_input)

    def _start_turn(self, started: inputs.TurnStarted) -> None:
        plan, facts = started.plan, self.facts
        self._format = self._dialect.output_formats[plan.reply_format]
        turn = PendingTurn(plan, started.at_ns, self._format)
        # A sound in silence is not a turn and has no row. The replies to it are recorded with the next turn.
        turn.false_reply, self._false_reply = self._false_reply, None
        turn.may_have_filler = plan.fillers or self._dialect.fills_waits(facts.effective_settings)
        self.turns.start(turn)
        self._first = self._first or plan.number
        facts.turns_started += 1
        facts.last_error = None
        if plan.greeting:
            self._received_counts = self._counts
        self._max_events, self._max_bytes = facts.events + MAX_EVENTS, facts.wire_bytes_received + MAX_BYTES
        self._responses_left = MAX_RESPONSES

    def _start_sound(self, started: inputs.SoundStarted) -> None:
        self.turns.events.reach("sounds")
        self.turns.events.occur("sounds")
        self._watch = FalseReplyWatch(
            Reply(self._dialect.output_formats[started.reply_format], started.jitter_buffer_ns)
        )

    def _end_sound(self, _: inputs.SoundEnded) -> None:
        """Store for the next turn whether the service replied to the sound. Store nothing if the client requests all
        responses.
        """
        if self._watch is not None and self.owners.service_responds and not self._watch.is_unsent:
            self._false_reply = self._watch.replied or bool(self._false_reply)
        self._watch = None

    def _sent(self, sent: Sent) -> None:
        facts, turns = self.facts, self.turns
        facts.wire_bytes_sent += sent.wire_bytes
        facts.audio_bytes_sent += sent.audio_bytes
        message_kind = self._dialect.message_kinds.get(sent.name)
        if message_kind is MessageKind.SET_UP:
            facts.sent("update_sent", sent.at_ns, sent.uncertainty_ns)
            self._length.client_changed()
        is_request = message_kind is MessageKind.REQUEST
        # This input belongs to no turn, even if a turn is open.
        if sent.untracked:
            if is_request:
                self.owners.note_untracked_request(sent.untracked)
            return
        turn, interrupted = turns.current, turns.interrupted
        if message_kind is MessageKind.TRUNCATE and interrupted is not None and interrupted.interruption is not None:
            interrupted.interruption.truncate_sent(sent)
        elif message_kind is MessageKind.RETRIEVE:
            for check in (turn.check for turn in turns.all if turn.check is not None):
                if sent.item in check.played_ms:
                    check.requested.add(sent.item)
        if turn is None:
            return
        send_time = SendTime(sent.at_ns, sent.uncertainty_ns, sent.ticket)
        instants: Sequence[str] = ()
        if sent.instants:
            clock_ns = self._dialect.input_formats[turn.plan.speech_format].duration_ns(facts.audio_bytes_sent)
            instants = turn.input_speech.set_instants(sent.instants, send_time, clock_ns)
            turns.mark_barge_in(turn, instants)
            if self._detector is not None and ("speech_start" in instants or "barge_in" in instants):
                self._detector.caller_speaks(sent.at_ns)
        if message_kind is MessageKind.ITEM:
            turn.item_sent = send_time
        # without a reply, the commit requests the transcript
        asks = is_request or (message_kind is MessageKind.COMMIT and turn.output == ONLY_TRANSCRIPT)
        turn.count_sent(
            send_time, sent.wire_bytes, sent.audio_bytes, instants=instants, is_request=asks, late=sent.late
        )
        if asks or instants:
            self._wake_ns = NOT_KNOWN
        if "speech_end" in instants:
            self._received_counts = self._counts
        if is_request and self._detector is None:  # otherwise no response names the request that it answers
            self.owners.note_request(turn)
        elif message_kind is MessageKind.COMMIT:
            self.owners.committed(turn)

    def _not_sent(self, unsent: inputs.NotSent) -> None:
        if self._watch is not None:
            self._watch.is_unsent = True
        if (turn := self.turns.current) is not None:
            unsent_ns = self._dialect.input_formats[turn.plan.speech_format].duration_ns(unsent.audio_bytes)
            self.turns.note_unsent(turn, unsent.instants, unsent_ns, unsent.reason)

    # Received messages.

    def received(self, events: Sequence[ServerEvent], message: ReceivedMessage) -> None:
        """Apply a message that contains these events. Before, apply the deadlines that passed before its arrival."""
        _, arrival, wire_bytes = message
        at_ns, _, kernel = arrival
        # a quick test first: `_wake_ns` is NOT_KNOWN or the deadline
        if at_ns > self._wake_ns and at_ns > self.next_deadline_ns:
            # An arrival at the deadline is in time. Without a kernel timestamp, the message may have arrived at any
            # time.
            self._expire(at_ns - 1, at_ns - arrival.uncertainty_ns if kernel else 0)
        facts = self.facts
        facts.wire_bytes_received += wire_bytes
        facts.timestamp_fallbacks += not kernel
        self.arrived_ns = at_ns
        facts.events += len(events)
        if facts.events > self._max_events:
            self._fail("limit_exceeded:events", at_ns, f"over {MAX_EVENTS} events since the turn began")
        elif facts.wire_bytes_received > self._max_bytes:
            self._fail("limit_exceeded:bytes", at_ns, f"over {MAX_BYTES} bytes since the turn began")
        # Nearly every message has one event with whole samples.
        if (
            self._detector is not None
            or len(events) != 1
            or (events[0].payload_bytes & 1 and events[0].kind in WITH_AUDIO)
            or self._split.stream is not None
        ):
            events = self.detect_replies(events, arrival)
        if self._detector is not None:
            facts.audio_bytes_received += sum(
                max(0, event.payload_bytes) for event in events if event.kind in WITH_AUDIO
            )
            for event, event_arrival in self._detector.events_in(events, arrival):
                self._attribute(event, event_arrival, wire_bytes)
                wire_bytes = 0
            self._wake_ns = min(self._wake_ns, self._detector.over_ns)
            if self._detector.playout.overflow is not None:
                kind, limit = self._detector.playout.overflow
                self._fail(f"limit_exceeded:{kind}", at_ns, f"over {limit}")
            return
        for event in events:
            self._attribute(event, arrival, wire_bytes)
            wire_bytes = 0  # the bytes belong to the whole message, and count once

    def detect_replies(self, events: Sequence[ServerEvent], arrival: Arrival) -> Sequence[ServerEvent]:
        """Return a message's events.

        The positions of detected sound replace the audio of a continuous stream, and the audio of deltas with half
        samples.
        """
        if self._detector is None:
            return self._split.detect_replies(events, self._format)
        return self._detector.detect_replies(events, arrival)

    def received_deltas(self, deltas: Sequence[MatchedDelta]) -> None:
        """Apply deltas of the open turn's reply. The result is the same as if `received` applied each delta."""
        facts, turn, last_ns = self.facts, self.turns.current, deltas[-1].at_ns
        may_end = not self.turns.is_answering or last_ns > self.next_deadline_ns
        exceeds_limit = facts.events + len(deltas) > self._max_events
        # Apply the deltas one by one if a turn's end, a deadline or a limit may lie between two of them.
        if turn is None or may_end or exceeds_limit or self._max_bytes - facts.wire_bytes_received < AT_ONCE_BYTES:
            for event, at_ns, error_ns, _, payload_bytes, wire_bytes, _ in deltas:
                event = msgspec.structs.replace(event, payload_bytes=payload_bytes)
                # not `self.received`: a subclass logs its messages there, and has already logged these
                Timeline.received(self, (event,), ReceivedMessage(b"", Arrival(at_ns, error_ns), wire_bytes))
            return
        wire_bytes = turn.wire_bytes_received
        turn_events.received_deltas(turn, deltas)
        facts.wire_bytes_received += turn.wire_bytes_received - wire_bytes
        facts.events += len(deltas)
        self.arrived_ns = last_ns

    def may_match(self, event: ServerEvent) -> bool:
        """Return whether later deltas like `event` need only their arrival and length. `event` is the last received
        event.

        The result is True if the deltas belong to the current turn, the script requires no more events of the turn, and
        the turn's audio is already audible. The caller checks that the script looks for no word in the deltas.
        """
        turn = self.turns.last
        if turn is None or turn.turn_source is SOUND or not self.turns.is_answering:
            return False
        if event.payload_bytes <= 0:  # an empty delta begins no item, so later deltas may be of an unknown item
            return False
        if event.kind is EventKind.AUDIO_DELTA and not turn.reply.is_audible:
            return False
        return self.owners.attribute(event, turn).turn is turn

    def must_wake(self, events: Sequence[ServerEvent], until_ns: int, *, streaming: bool) -> bool:
        """Return whether a session that sleeps until the turn's end must wake up for these events.

        It must wake up after an event of `DECISIVE`, at the turn's end, or if a deadline is before `until_ns`. It must
        also wake up if the reply has begun or ceased to stream. `streaming` is whether the reply was streaming before.
        """
        for event in events:
            if event.kind in DECISIVE:
                return True
        turns = self.turns
        return turns.are_all_over or streaming is not turns.is_streaming or self.next_deadline_ns < until_ns

    def _session_event(self, event: ServerEvent, arrival: Arrival) -> None:
        if event.kind is EventKind.MALFORMED:
            self._fail("protocol_error:json", arrival.at_ns, event.reason)
        elif event.kind is EventKind.SESSION_CLOSED:
            self.facts.closed_by_service(event)
        elif event.kind is EventKind.MCP_LISTED:
            self.facts.mcp_listed(arrival)
        elif event.kind is EventKind.MCP_NOT_LISTED:
            server = self.facts.mcp_lists.get(event.item_id, "without a label")
            self._fail("failed:mcp_list_tools", arrival.at_ns, f"the tools of the MCP server {server} were not listed")
        elif event.kind is EventKind.ERROR:
            self._error(event.failure or ServiceFailure(), arrival.at_ns)
        else:
            self.facts.set_description(event, arrival)
            if event.session and self._dialect.fills_waits(event.session):
                for turn in self.turns.open:
                    turn.may_have_filler = True

    def _attribute(self, event: ServerEvent, arrival: Arrival, wire_bytes: int) -> None:
        kind, watch = event.kind, self._watch
        if kind in SESSION_KINDS:
            self._session_event(event, arrival)
            return
        if kind is EventKind.UNKNOWN:
            self.facts.count_unknown(event.name)
        # before the attribution, which makes the response known
        is_response_event = watch is not None and (kind is EventKind.RESPONSE_CREATED or kind in DELTAS)
        is_new = is_response_event and not self.owners.knows(event.response_id)
        # a reply in sound is detected some time after its first delta
        is_detected = self._detector is not None and event.response_id
        current = self.turns.current_at(arrival.at_ns) if is_detected else self.turns.current
        attribution = self.owners.attribute(event, current)
        turn = attribution.turn
        if attribution.decides is not None and turn is not None:
            turn.assign_request(event, attribution.decides, attribution.requests)
        if turn is None and watch is not None:
            watch.received(event, arrival, is_first=is_new)
        if kind not in DELTAS:
            self._on_event(event, arrival, turn)
            if kind not in UNTIMED:
                self._wake_ns = NOT_KNOWN
        # The tokens are counted before the turn applies the event: the event may end the turn, and tokens after its end
        # belong to no turn.
        response_id = event.response_id or event.backend_response_id
        if event.usage is not None and response_id not in self.facts.billed:
            self._bill(response_id, event.usage, turn)
        if kind in DETECTS_CALLER and self.turns.interrupted is not None:
            self.turns.interrupted.on_barge_in(arrival)
        if kind is EventKind.DELEGATED and turn is None and event.calls:
            self._fail("failed:delegation", arrival.at_ns, DELEGATED_OUTSIDE)
        elif event.other_dialect:
            self._fail("protocol_error:dialect", arrival.at_ns, f"{event.name} belongs to the other dialect")
        elif turn is None:
            return
        elif kind in TRANSCRIPTIONS and (turn.state is State.OVER or turn.output != ONLY_TRANSCRIPT):
            turn.note_transcript(event, arrival)
        elif kind is EventKind.TRUNCATED or kind is EventKind.ITEM_RETRIEVED:
            turn.on_truncation_event(event, arrival)
        elif turn.state is not State.OVER:
            self._open_turn_event(turn, event, arrival, wire_bytes)

    def _on_event(self, event: ServerEvent, arrival: Arrival, turn: PendingTurn | None) -> None:
        """Apply an event that is not a delta to the facts of the session.

        `turn` is the turn that owns the event; None if no turn owns it.
        """
        kind = event.kind
        if kind is EventKind.COMMITTED and turn is not None:
            turn.input_speech.commits += 1
        if self.owners.note(event, turn) and turn is not None:
            turn.input_speech.answered += 1
        if kind is EventKind.ITEM_ADDED:
            self.facts.item_added(event, arrival)
        elif kind is EventKind.ITEM_DELETED or kind is EventKind.TRUNCATED:
            self._length.client_changed()
        elif kind is EventKind.IDLE_TIMEOUT:
            played_ns = self.playback_ends_ns if self.turns.are_all_over else 0
            self.facts.idle_prompt_received(
                arrival, played_ns, self._dialect.idle_timeout_ms(self.facts.effective_settings)
            )
        elif kind is EventKind.RESPONSE_DONE:
            self._received_counts = self._counts
            self._responses_left -= 1
            if self._responses_left < 0:
                detail = f"over {MAX_RESPONSES} responses since the turn began"
                self._fail("limit_exceeded:responses", arrival.at_ns, detail)

    def _bill(self, response_id: str, usage: TokenUsage, turn: PendingTurn | None) -> None:
        """Add the tokens of a response to its open turn. Without an open turn, add them to the session.

        The tokens count even if the response does not count as the turn's reply.
        """
        facts = self.facts
        if response_id:
            facts.billed.add(response_id)
        facts.unpaid = usage if facts.unpaid is None else facts.unpaid + usage
        if turn is not None and turn.state is not State.OVER:
            turn.usage = usage if turn.usage is None else turn.usage + usage
            if turn.turn_source is SOUND:  # the tokens are those of a backend, not of the conversation
                return
            if turn.context is None and usage.input:
                turn.context = usage
            of_conversation = not turn.plan.out_of_band and response_id not in turn.fillers
            if of_conversation and self._length.answered(usage, instructed=turn.plan.instructed):
                turn.after_truncation = True
        else:
            facts.stray_usage = usage if facts.stray_usage is None else facts.stray_usage + usage

    def _open_turn_event(self, turn: PendingTurn, event: ServerEvent, arrival: Arrival, wire_bytes: int) -> None:
        """Apply an event to the open turn that owns it.

        A protocol error and an exceeded limit end the session. Every other ending ends only the turn.
        """
        before, between_items = turn.state, turn.is_between_items
        ending = turn_events.received(turn, event, arrival, wire_bytes)
        if ending is not None:
            outcome, detail = ending
            if outcome == "failed:no_audio":
                setting = self._dialect.text_only(self.facts.effective_settings)
                detail = f"{TEXT_SESSION}: {setting} of the service's session is without audio" if setting else ""
            if outcome.startswith(ENDS_SESSION):
                self._fail(outcome, arrival.at_ns, detail)
            turn.end(outcome, arrival.at_ns, detail)
        if turn.state is not before or (between_items and not turn.is_between_items):
            self._wake_ns = NOT_KNOWN

    def _error(self, failure: ServiceFailure, at_ns: int) -> None:
        """Apply an error. The error ends the session, ends the turn whose message it names, or is only counted."""
        cause, effect = failure.cause or "unknown", failure.effect
        if effect is ErrorScope.EXPIRED:
            self._expire_session(at_ns, failure.detail)
        elif effect is ErrorScope.FATAL:
            self._fail(f"failed:{cause}" if self.facts.is_ready else f"connect_failed:{cause}", at_ns, failure.detail)
        elif failure.event_id.startswith(SESSION_PREFIX):
            self._fail(f"failed:{cause}", at_ns, failure.detail)
        elif effect is ErrorScope.UNANSWERED and not failure.event_id and self.owners.service_responds:
            if (unanswered := self.owners.drop_answer()) is not None:
                unanswered.input_speech.answered += 1
            self.facts.count_error(failure)
        else:
            self._error_of_a_turn(failure, at_ns)

    def _error_of_a_turn(self, failure: ServiceFailure, at_ns: int) -> None:
        """Drop the request or commit that the error answers, or mark the request as doubtful. End the turn of the
        error.

        An error belongs to the turn of the message that it names. An error without a message id ends the current turn
        if the effect of the error requires that.
        """
        if failure.event_id.endswith(STOPS_REPLY):
            self.facts.count_error(failure)
            self.turns.note_uncancelled(failure)
            return
        if failure.event_id:
            named = (turn for turn in self.turns.open if failure.event_id.startswith(turn.plan.event_prefix))
            turn = next(named, None)
            self.owners.drop_event(failure.event_id)
        else:
            turn = self.turns.current if failure.effect in ENDS_TURN else None
            if turn is not None:
                self.owners.doubt(turn)
                self.owners.drop_commit(turn)
        if turn is None:
            self.facts.count_error(failure)
        else:
            throttled = failure.effect is ErrorScope.THROTTLED
            turn.end("throttled:error" if throttled else f"failed:{failure.cause or 'unknown'}", at_ns, failure.detail)

    # Endings.

    @property
    def next_deadline_ns(self) -> int:
        """An instant before which no deadline expires.

        It is computed again when a deadline is reached, or may have become earlier. Deltas, the most frequent events,
        only extend a deadline, so they cause no new computation.
        """
        if self._wake_ns == NOT_KNOWN:
            due = self.turns.next_timeout(self.limits)
            reply_over_ns = NEVER_NS if self._detector is None else self._detector.over_ns
            self._wake_ns = min(due[0] if due else NEVER_NS, reply_over_ns)
        return self._wake_ns

    @property
    def mark_due_ns(self) -> int:
        """The instant at which to report to the service that its next mark was played, if no message arrives before."""
        return NEVER_NS if self._detector is None else self._detector.playout.due_ns

    def expire(self, now_ns: int) -> None:
        """End the turns, and perhaps the session, that are due to end by `now_ns`."""
        if now_ns >= self.next_deadline_ns:
            self._wake_ns = NOT_KNOWN  # the deadline may have been extended
            if now_ns >= self.next_deadline_ns:
                self.apply(inputs.DeadlinePassed(now_ns))

    def _expire(self, now_ns: int, earliest_ns: int = NEVER_NS) -> None:
        """End the turn with the next deadline, if the deadline was due by `now_ns`. A timeout also ends the session.

        The turn ends at the instant of its deadline. `earliest_ns` is the earliest possible arrival of the next
        message. If that arrival may have been before the deadline, the message may have been in time: the turn is
        doubted and continues. If the message extends the deadline, it is never decided whether the message was in time.
        Otherwise the deadline is still due, and ends the turn after all messages that arrived by then.
        """
        self._wake_ns = NOT_KNOWN
        if self._detector is not None:
            for event, ended in self._detector.ended_by(now_ns):
                self._attribute(event, ended, 0)
        due = self.turns.next_timeout(self.limits)
        if due is None or now_ns < due[0]:
            return
        at_ns, outcome, detail, turn = due
        if detail.startswith(NOTHING_AUDIBLE):
            detail = f"{detail}: {self._inaudible(turn.format)}"
            if self._dialect.has_track and self._detector is not None and not self._detector.has_detected:
                outcome = NO_SOUND if self.facts.events else NO_MEDIA
        elif detail.startswith(NOT_ENDED):
            detail = f"{detail}: {turn.calls.mcp.unended_tools}"
        if at_ns >= earliest_ns and outcome.startswith(UNANSWERED):
            turn.doubted = f"{NOT_RUN}: it is not known whether {detail}"
        elif outcome.startswith("timeout:"):
            outcome, detail = turn.input_speech.unsent_ending or (outcome, detail)
            self._fail(outcome, at_ns, detail)
        else:
            turn.end(outcome, at_ns, self.facts.explain(outcome, detail))

    def _end_turn(self, ended: inputs.TurnEnded) -> None:
        if self._detector is not None:
            for event, arrival in self._detector.end_reply(ended.at_ns):
                self._attribute(event, arrival, 0)
        for turn in self.turns.open:
            turn.end("timeout:first_delta", ended.at_ns, NOT_ANSWERED)

    @property
    def _audio_received(self) -> int:
        """The number of decoded bytes of received audio.

        If the service is full-duplex, they are the bytes of the whole stream. Otherwise they are the bytes of all
        turns.
        """
        of_turns = 0 if self._detector is not None else sum(turn.audio_bytes_received for turn in self.turns.all)
        return self.facts.audio_bytes_received + of_turns

    @property
    def _counts(self) -> tuple[int, int, int]:
        return self.facts.events, self._audio_received, 0 if self._detector is None else self._detector.tones

    def _inaudible(self, format: AudioFormat) -> str:
        """Return a description of the audio that arrived while the caller waited for a reply, if no reply began."""
        pairs = zip(self._counts, self._received_counts, strict=True)
        messages, size, tones = (count - earlier for count, earlier in pairs)
        has_track = self._dialect.has_track
        if not messages:
            return NO_PACKET if has_track else NO_MESSAGE
        arrivals = f"{messages} {'packet' if has_track else 'message'}{'s' * (messages > 1)} came"
        if not size:
            return f"{arrivals}, {NO_AUDIO}"
        seconds = format.duration_ns(size) / NS_PER_S
        if tones:
            return f"{arrivals} with {seconds:.1f} s of audio, {ONLY_TONES} ({tones})"
        causes = f"silence, even noise, or another format than {format.name}"
        return f"{arrivals} with {seconds:.1f} s of audio, {INAUDIBLE} ({causes})"

    def _fail(self, outcome: str, at_ns: int, detail: str = "") -> None:
        detail = self.facts.explain(outcome, detail)
        self.facts.end(outcome, at_ns, detail)
        for turn in self.turns.all:
            turn.end(outcome, at_ns, detail)

    def _expire_session(self, at_ns: int, detail: str) -> None:
        """End a session that reached the service's age limit.

        If the call continues in another session, this session has not failed.
        """
        if self._renewable and self.facts.is_ready:
            self.facts.end("renewed", at_ns, detail)  # the first outcome is final; open turns fail nevertheless
        self._fail("session_expired", at_ns, detail)

    def _close(self, closed: inputs.ConnectionClosed) -> None:
        code, at_ns, reason = closed.code, closed.at_ns, closed.reason
        # a limit that certainly expired before the close is the earlier cause
        self._expire(at_ns - 1, at_ns - closed.uncertainty_ns)
        error = self.facts.last_error
        is_hang_up = closed.ours and code not in (BAD_FRAME, TOO_LARGE)
        self.facts.is_closed = True
        if not is_hang_up:  # these columns have the words of a service that closes
            self.facts.close_code, self.facts.close_reason = code, reason
        if (expiry := self._dialect.expiry) and code == expiry[0] and expiry[1] in reason:
            self._expire_session(at_ns, reason)
        # a service that refuses a session reports an error and then closes the connection
        elif error and not self.facts.is_ready:
            throttled = error.effect is ErrorScope.THROTTLED
            outcome = "throttled:error" if throttled else f"connect_failed:{error.cause or 'unknown'}"
            self._fail(outcome, at_ns, error.detail)
        elif code == BAD_FRAME:
            self._fail("protocol_error:frame", at_ns, reason)
        elif code == TOO_LARGE and closed.ours:
            self._fail("protocol_error:too_large", at_ns, reason)
        elif is_hang_up:
            self._fail(HANG_UP, at_ns, reason)
        else:
            self._fail(f"closed:{closed.cause or code}", at_ns, reason)

    # State of the session.

    @property
    def is_over(self) -> bool:
        """True if the session has its outcome. Nothing more may be sent."""
        return bool(self.facts.outcome)

    @property
    def playback_ends_ns(self) -> int:
        """The instant at which the player has played the last reply; 0 if there is no playback to wait for."""
        if self._watch is not None:
            return self._watch.reply.playback_ends_ns
        last = self.turns.last
        return last.reply.playback_ends_ns if last is not None and last.outcome in WHOLE else 0

    def session(self) -> SessionObservation:
        """Return the observation of the session. Call it after `pop_turns`, when the session has ended."""
        return self.facts.observation(self.owners.unattributed_commits, self.turns.events)

    # Actions of the session.

    def actions(
        self, now_ns: int, watermark_ns: int, judges: dict[int, SuccessPredicate] = NO_JUDGES
    ) -> Iterator[Action]:
        """Yield the actions that the session must do now. The inputs that one action causes affect the next actions.

        All messages that arrived by `watermark_ns` have been applied. `judges` has the same meaning as in `pop_turns`.
        """
        facts, turns = self.facts, self.turns
        self.expire(watermark_ns)  # not `now_ns`: the socket may contain an unread message that was in time
        if (usage := facts.unpaid) is not None:
            facts.unpaid = None
            yield inputs.ReportUsage(usage)
        if self._detector is not None and not self.is_over:
            for mark in self._detector.playout.played_by(now_ns):
                yield inputs.AcknowledgeMark(mark)
        if turns.interrupted is not None and not self.is_over:
            yield from turns.cuts()
        if len(turns.all) > 1 or (turns.all and turns.all[0].state is State.OVER):  # only the last of them can be open
            if turns.awaits_network and turns.are_all_over:
                yield inputs.MeasureNetwork()
            for turn_observation in self.pop_turns(now_ns, judges):
                yield inputs.DeliverTurn(turn_observation)
        turn = turns.current
        if turn is None or self.is_over:
            return
        if turn.wants_request(now_ns):
            yield inputs.RequestResponse()
        for number, request_id in turn.calls.mcp.pop_requested():
            yield inputs.ApproveMcpCall(request_id, f"{turn.plan.event_prefix}approval-{number}")
        if turn.calls.complete_calls or turn.calls.rounds:
            for call in turn.calls.pop_new_calls():
                yield inputs.CallFunction(call)
            if turn.wants_continuation:
                yield inputs.RequestContinuation()

    def pop_turns(self, now_ns: int, judges: dict[int, SuccessPredicate] = NO_JUDGES) -> list[TurnObservation]:
        """Return the turns that have ended and await no late event.

        `judges` maps turn numbers to the Python function that judges the turn. Each function runs once.
        """
        if done := self.turns.done(now_ns, session_over=self.is_over):
            # The delivery is an input like all others, so that the replay of a log delivers the same turns at the same
            # instants.
            answers = {turn.plan.number: task_success(turn, judges) for turn in done} if judges else {}
            tasks_done = {number: answer for number, answer in answers.items() if answer is not None}
            self.apply(inputs.TurnsDelivered(now_ns, [turn.plan.number for turn in done], tasks_done))
        return self.pop_delivered()

    def pop_delivered(self) -> list[TurnObservation]:
        """Return the turns that were delivered and that this method has not returned before."""
        delivered, self._delivered = self._delivered, []
        return delivered

    def _deliver(self, delivered: inputs.TurnsDelivered) -> None:
        for turn in [turn for turn in self.turns.all if turn.plan.number in delivered.turns]:
            self.turns.remove(turn, delivered.at_ns)
            self.owners.forget(turn)
            observed = observation(turn, delivered.tasks_done.get(turn.plan.number))
            self._delivered.append(observed)
            if self._detector is None:
                self.facts.audio_bytes_received += observed.audio_bytes_received
            self.facts.turn_ended(observed, first=observed.turn == self._first, greeting=turn.plan.greeting)

    def _connected(self, connected: inputs.Connected) -> None:
        self.facts.set_connection(connected)
        if self._detector is not None and connected.early_audio:
            self._detector.hear_early(connected.early_audio, connected.early_end_ns)

    def _measure_rtp(self, rtp: inputs.RtpMeasured) -> None:
        self.facts.measure_rtp(rtp)
        if rtp.without_audio:  # the turns that await this measurement have ended
            cause = f"{NO_PACKET}; in the call: {rtp.without_audio}"
            self.facts.detail = self.facts.detail.replace(NO_PACKET, cause)
            for turn in self.turns.all:
                turn.detail = turn.detail.replace(NO_PACKET, cause)
        if rtp.rtt_ns is not None and rtp.min_rtt_ns is not None:
            self.turns.measured(inputs.NetworkMeasured(rtp.rtt_ns, rtp.min_rtt_ns, None))


_NOTED: Mapping[type[Input], Callable[[Timeline, Any], None]] = {
    inputs.Connected: Timeline._connected,
    inputs.TurnStarted: Timeline._start_turn,
    Sent: Timeline._sent,
    inputs.NotSent: Timeline._not_sent,
    inputs.HistoryStarted: lambda timeline, history: timeline.facts.history_start(history),
    inputs.ContinuesCall: lambda timeline, continuation: timeline.facts.renews(continuation),
    inputs.ReplacedBySession: lambda timeline, renewed: timeline.facts.renewed_by(renewed),
    inputs.Transmitted: lambda timeline, timestamp: timeline.turns.transmitted(timestamp),
    inputs.EventExpected: lambda timeline, expected: timeline.turns.expect(expected),
    inputs.InterruptionAwaited: lambda timeline, awaited: timeline.turns.await_interruption(awaited),
    inputs.ClientInterrupted: lambda timeline, interrupted: timeline.turns.interrupt(interrupted),
    inputs.SoundStarted: Timeline._start_sound,
    inputs.SoundEnded: Timeline._end_sound,
    inputs.FunctionOutputSent: lambda timeline, answered: timeline.turns.answer_call(answered),
    inputs.NetworkMeasured: lambda timeline, network: timeline.turns.measured(network),
    inputs.RtpMeasured: Timeline._measure_rtp,
    inputs.DeadlinePassed: lambda timeline, expired: timeline._expire(expired.at_ns),
    inputs.TurnEnded: Timeline._end_turn,
    inputs.StoppedWaiting: lambda timeline, _: timeline.owners.give_up(),
    inputs.SessionFailed: lambda timeline, failed: timeline._fail(failed.outcome, failed.at_ns, failed.detail),
    inputs.ConnectionClosed: Timeline._close,
    inputs.ScriptFinished: lambda timeline, finished: timeline.facts.end("ok", finished.at_ns),
    inputs.TurnsDelivered: Timeline._deliver,
}
