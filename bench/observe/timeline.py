"""The conversion of sent and received messages to observations: one per turn, and one of the
session.

The timeline is pure: it reads no clock and has no socket. So it gives the same result for live
traffic, a recorded log and a test. Four rules define it:

- Events belong to a turn by `response_id` and `item_id`, as `bench.observe.attribution` describes.
- The first terminal cause wins. When a turn has an outcome, the outcome does not change. If a
  deadline passed before an event arrived, the deadline is the earlier cause.
- A transcription of the caller's audio may be late. It is attached to its turn for up to
  `LATE_TRANSCRIPT_NS` after the turn's end, even while the next turn is open.
- A limit has expired only if the next message certainly arrived after the limit. If the process did
  not run meanwhile, the arrival is uncertain and may really have been before the limit. Then the
  turn continues. If it later succeeds, its outcome is `starved`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from bench.base.clock import Arrival, SendTime
from bench.base.units import NEVER_NS, NS_PER_S
from bench.catalogue.causes import Cause, Code, changed, decoded, in_words
from bench.catalogue.outcomes import (
    NO_MEDIA,
    NO_REPLY,
    NO_SOUND,
    UNDONE_TASK,
    WHOLE,
    parsed,
)
from bench.catalogue.timeouts import MAX_BYTES, MAX_EVENTS, MAX_RESPONSES
from bench.observe import inputs, turn_events
from bench.observe.attribution import Attributor, PendingRequest
from bench.observe.callee import words_in
from bench.observe.inputs import Action, AnyInput, Received, Sent, SessionStart, split
from bench.observe.observation import SessionObservation, TurnObservation
from bench.observe.pending_turns import PendingTurns, SessionEndings, UnansweredAudio
from bench.observe.reply import Reply
from bench.observe.reply_detector import PlayoutQueue, ReplyDetector
from bench.observe.session_facts import AWAITED, FalseReplies, PlannedEvents, SessionFacts
from bench.observe.spoken_answer import SpokenAnswer
from bench.observe.tool_calls import Tasks
from bench.observe.turn import (
    OVER,
    TRANSCRIPTIONS,
    PendingTurn,
    hear_late,
    request_continuation,
)
from bench.observe.turn_observation import observation, task_success, without_packets
from bench.plan.turn_plan import PERSONS, SuccessPredicate
from bench.sound.item_sounds import SEARCHED, ItemSounds
from bench.sound.marks import MarkDetector
from bench.wire.audio import AudioFormatName, resolve_format
from bench.wire.connection import NORMAL, MatchedDelta, ReceivedMessage, SentChunk, is_late
from bench.wire.dialect import SOUND, Dialect, MessageKind, TurnSource
from bench.wire.events import (
    AUDIO_DELTA,
    COMMITTED,
    DELTAS,
    IDLE_TIMEOUT,
    ITEM_ADDED,
    ITEM_DELETED,
    ITEM_RETRIEVED,
    NOTED,
    RESPONSE_CREATED,
    RESPONSE_DONE,
    TASK_ADDED,
    TRUNCATED,
    UNKNOWN,
    WITH_AUDIO,
    EventKind,
    ServerEvent,
    ServiceFailure,
)
from bench.wire.settings import text_at

HUNG_UP = f"closed:{NORMAL}"
"""The outcome of a call that the agent ended."""
AT_ONCE_BYTES = 1 << 26
"""An upper limit for the bytes of deltas that are applied together, from one read or a few
reads."""
NOT_KNOWN = 0
NO_JUDGES: dict[int, SuccessPredicate] = {}
SESSION_KINDS = frozenset(
    {
        *AWAITED,
        EventKind.MCP_NOT_LISTED,
        EventKind.SESSION_CLOSED,
        EventKind.GOING_AWAY,
        EventKind.RESUMABLE,
        EventKind.PAUSED,
        EventKind.RESUMED,
        EventKind.MALFORMED,
        EventKind.ERROR,
    }
)
"""The kinds of events that belong to the whole session, even if they have the ids of a turn."""

DETECTS_CALLER = frozenset({EventKind.SPEECH_STARTED, EventKind.CLEARED})
"""The events that report the caller's speech. A player stops when such an event arrives."""

UNTIMED = frozenset(
    {
        EventKind.ITEM_ADDED,
        EventKind.ITEM_DELETED,
        EventKind.ITEM_RETRIEVED,
        EventKind.NOTED,
        EventKind.RATE_LIMITS,
        EventKind.UNKNOWN,
        EventKind.AUDIO_DONE,
        EventKind.TEXT_DONE,
        EventKind.TRANSCRIPT_DONE,
    }
)
"""Events that make a deadline earlier only if a change of the turn shows it."""

KEEPS_DEADLINE = frozenset({SentChunk, MatchedDelta, Received, Sent})
"""The inputs that make a deadline earlier only if their handler says so."""


class Timeline:
    """The state machine of a session. `reply_format` is the format of audio that may come before
    the first turn.
    """

    __slots__ = (
        "_delivered",
        "_detector",
        "_dialect",
        "_endings",
        "_false_replies",
        "_first",
        "_format",
        "_items",
        "_max_bytes",
        "_max_events",
        "_responses_left",
        "_unanswered",
        "_wake_ns",
        "arrived_ns",
        "facts",
        "limits",
        "marks",
        "owners",
        "playout",
        "turns",
    )

    def __init__(
        self, start: SessionStart, dialect: Dialect, *, reply_format: AudioFormatName | None = None
    ) -> None:
        self.limits = start.timeouts
        self._dialect = dialect
        self.facts = SessionFacts(
            start=start, announced_by=dialect.announced_by, has_backend=dialect.has_tasks
        )
        truncates = MessageKind.TRUNCATE in dialect.message_kinds.values()
        self.turns = PendingTurns(PlannedEvents(), truncates=truncates)
        self.owners = Attributor(
            service_responds=start.service_responds,
            announces_commits=dialect.turn_source is not TurnSource.REPLIES,
            reports_responses=dialect.turn_source is TurnSource.EVENTS,
        )
        self._format = resolve_format(dialect.output_formats, reply_format)
        self._detector: ReplyDetector | None = None
        if dialect.turn_source is SOUND:
            self._detector = ReplyDetector(
                self._format,
                start.reply_silence_ns,
                pauses=dialect.pauses,
                is_track=dialect.has_track,
            )
        self._items = ItemSounds(with_ends=dialect.has_track)
        self.playout = PlayoutQueue() if self._detector is None else self._detector.playout
        """The caller's playout queue; empty if the service names its replies."""
        self.marks: MarkDetector | None = None
        """The marks in what the caller hears, if the calls have marks. The session passes all
        received audio to it."""
        self._false_replies = FalseReplies(self.turns.events, self.owners)
        self._unanswered = UnansweredAudio(
            self.facts, self.turns, self._detector, has_track=dialect.has_track
        )
        self._endings = SessionEndings(
            self.facts, self.turns, self.owners, renewable=start.renewable, expiry=dialect.expiry
        )
        self._first = 0  # the number of the first turn
        self.arrived_ns = start.start_ns
        self._wake_ns = NOT_KNOWN
        self._max_events = MAX_EVENTS
        self._max_bytes = MAX_BYTES
        self._responses_left = MAX_RESPONSES
        self._delivered: list[TurnObservation] = []  # not yet popped

    # Inputs of the session.

    def apply(self, *batch: AnyInput) -> None:
        """Apply inputs in their order. The result is that of one call for each of them.

        Nearly all inputs are chunks, deltas and silent frames with which nothing begins or ends.
        Several of them are applied at once, in a third of the time, and all others one by one.
        """
        if len(batch) > 1 and self._apply_at_once(batch):
            return
        for each in batch:
            kind = type(each)
            if kind not in KEEPS_DEADLINE:
                self._wake_ns = NOT_KNOWN
            _HANDLERS[kind](self, each)

    def _apply_at_once(self, batch: Sequence[AnyInput]) -> bool:
        """Apply frequent inputs at once. Return False, and apply none, if a turn's end, a deadline
        or a limit may lie between two of them.
        """
        chunks, deltas, messages = split(batch)
        if chunks is batch:
            self._count_sent(chunks)
            return True
        if len(chunks) + len(deltas) + len(messages) < len(batch):
            return False
        if self._detector is not None:
            if not messages:
                self._apply_sound(batch, chunks, deltas)
            return not messages
        if messages and not self._are_silent(messages):
            return False
        if deltas and (self._items.are_searched or not self._is_more(deltas)):
            return False
        if chunks:
            self._count_sent(chunks)
        self._count_silence(messages)
        if deltas:
            self._continue_reply(deltas)
        return True

    def _start_turn(self, started: inputs.TurnStarted) -> None:
        plan = started.plan
        facts = self.facts
        self._format = self._dialect.output_formats[plan.reply_format]
        is_track = self._dialect.has_track
        plays_on = is_track and self._dialect.turn_source is not SOUND
        tasks = Tasks(self._dialect.has_tasks)
        is_searched = plan.answer_min_ns or tasks.are_possible
        answer = SpokenAnswer(plan.answer_min_ns) if is_searched else None
        reply = Reply(
            self._format, plan.jitter_buffer_ns, answer, plays_on=plays_on, is_track=is_track
        )
        turn = PendingTurn(plan, started.at_ns, self._dialect.turn_source, reply, tasks=tasks)
        # A sound in silence is not a turn and has no row. The replies to it are recorded with the
        # next turn.
        turn.false_reply = self._false_replies.pop()
        turn.patience_ns = round(self.limits.patience * NS_PER_S) or None
        turn.is_wake_up = facts.is_paused
        turn.responses.may_have_filler = plan.fillers or self._dialect.fills_waits(
            facts.effective_settings
        )
        self.turns.start(turn)
        self._first = self._first or plan.number
        if plan.mark is not None and self.marks is None:
            self.marks = MarkDetector(plan.mark, self._format)
        facts.turns_started += 1
        self._endings.last_error = None
        if plan.greeting:
            self._unanswered.restart()
        self._max_events = facts.events + MAX_EVENTS
        self._max_bytes = facts.wire_bytes_received + MAX_BYTES
        self._responses_left = MAX_RESPONSES

    def _sent(self, sent: Sent) -> None:
        facts = self.facts
        turns = self.turns
        facts.wire_bytes_sent += sent.wire_bytes
        facts.audio_bytes_sent += sent.audio_bytes
        facts.last_sent_ns = sent.at_ns
        message_kind = self._dialect.message_kinds.get(sent.name)
        if message_kind is MessageKind.SET_UP:
            facts.sent("update_sent", sent.at_ns, sent.uncertainty_ns)
            self.facts.length.client_changed()
        is_request = message_kind is MessageKind.REQUEST
        # This input belongs to no turn, even if a turn is open.
        if sent.untracked:
            if is_request:
                self.owners.expect(PendingRequest(None, by_vad=False, event_id=sent.untracked))
            return
        turn = turns.current
        interrupted = turns.interrupted
        if (
            message_kind is MessageKind.TRUNCATE
            and interrupted is not None
            and interrupted.interruption is not None
        ):
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
            clock_ns = self._dialect.input_formats[turn.plan.speech_format].duration_ns(
                facts.audio_bytes_sent
            )
            instants = turn.input_speech.set_instants(sent.instants, send_time, clock_ns)
            turns.mark_barge_in(turn, instants)
            if self._detector is not None and (
                "speech_start" in instants or "barge_in" in instants
            ):
                self._detector.caller_speaks(sent.at_ns)
        if message_kind is MessageKind.ITEM:
            turn.calls.item_sent = send_time
        # without a reply, the commit requests the transcript
        asks = is_request or (message_kind is MessageKind.COMMIT and not turn.plan.has_reply)
        turn.count_sent(sent, send_time, instants=instants, is_request=asks)
        if asks or instants:
            self._wake_ns = NOT_KNOWN
        if "speech_end" in instants:
            self._unanswered.restart()
        # otherwise no response names the request that it answers
        if is_request and self._detector is None:
            plan = turn.plan
            request = PendingRequest(
                turn, False, turn.request_event_id, plan.out_of_band, plan.names_requests
            )
            self.owners.expect(request)
        elif message_kind is MessageKind.COMMIT:
            self.owners.committed(turn)

    def _count_sent(self, chunks: Sequence[SentChunk]) -> None:
        _, wire, audio, lags_ns, durations_ns = zip(*chunks, strict=True)
        wire_bytes = sum(wire)
        audio_bytes = sum(audio)
        self.facts.wire_bytes_sent += wire_bytes
        self.facts.audio_bytes_sent += audio_bytes
        self.facts.last_sent_ns = chunks[-1].at_ns
        turn = self.turns.last
        if turn is not None and turn.state is not OVER:
            late = 0
            if is_late(max(lags_ns), min(durations_ns)):
                late = sum([is_late(chunk.lag_ns, chunk.duration_ns) for chunk in chunks])
            turn.messages.sent(wire_bytes, audio_bytes, late=late)

    def _not_sent(self, unsent: inputs.NotSent) -> None:
        self._false_replies.is_unsent = True
        if (turn := self.turns.current) is not None:
            unsent_ns = self._dialect.input_formats[turn.plan.speech_format].duration_ns(
                unsent.audio_bytes
            )
            self.turns.note_unsent(turn, unsent, unsent_ns)

    # Received messages.

    def _received(self, received: Received) -> None:
        """Apply a message. Before, apply the deadlines that passed before its arrival."""
        events = received.events
        _, arrival, wire_bytes = received.message
        at_ns, _, kernel = arrival
        # a quick test first: `_wake_ns` is NOT_KNOWN or the deadline
        if at_ns > self._wake_ns and at_ns > self.next_deadline_ns:
            # An arrival at the deadline is in time. Without a kernel timestamp, the message may
            # have arrived at any time.
            self._expire(at_ns - 1, at_ns - arrival.uncertainty_ns if kernel else 0)
        facts = self.facts
        facts.wire_bytes_received += wire_bytes
        facts.timestamp_fallbacks += not kernel
        self.arrived_ns = at_ns
        facts.events += len(events)
        if facts.events > self._max_events:
            self._endings.fail(
                "limit_exceeded:events",
                at_ns,
                in_words(f"over {MAX_EVENTS} events since the turn began"),
            )
        elif facts.wire_bytes_received > self._max_bytes:
            self._endings.fail(
                "limit_exceeded:bytes",
                at_ns,
                in_words(f"over {MAX_BYTES} bytes since the turn began"),
            )
        # Nearly every message has one event.
        if self._detector is not None or len(events) != 1 or events[0].kind in SEARCHED:
            events = self._detect_replies(events, arrival)
        if self._detector is not None:
            for event in events:
                if event.payload_bytes > 0 and event.kind in WITH_AUDIO:
                    facts.audio_bytes_received += event.payload_bytes
            for event, event_arrival in self._detector.events_in(events, arrival):
                self._attribute(event, event_arrival, wire_bytes)
                wire_bytes = 0
            self._wake_ns = min(self._wake_ns, self._detector.over_ns)
            if self.playout.overflow is not None:
                kind, limit = self.playout.overflow
                self._endings.fail(f"limit_exceeded:{kind}", at_ns, in_words(f"over {limit}"))
            return
        for event in events:
            self._attribute(event, arrival, wire_bytes)
            wire_bytes = 0  # the bytes belong to the whole message, and count once

    def _detect_replies(
        self, events: Sequence[ServerEvent], arrival: Arrival
    ) -> Sequence[ServerEvent]:
        """Return a message's events. Positions of sound replace audio that was searched for the
        start of a reply.
        """
        if self._detector is None:
            return self._items.detect_replies(events, self._format)
        return self._detector.detect_replies(events, arrival)

    def _apply_sound(
        self,
        batch: Sequence[AnyInput],
        chunks: Sequence[SentChunk],
        sounds: Sequence[MatchedDelta],
    ) -> None:
        """Apply a batch of chunks and sound: at once until a reply may begin or end. Its delta is
        applied like a message, with the positions of its sound, which is searched once.
        """
        while sounds:
            applied, event = self._continue_sound(sounds)
            if event is None:
                break
            other = sounds[applied]
            place = next(place for place, each in enumerate(batch) if each is other)
            earlier, _, _ = split(batch[:place])
            if earlier:
                self._count_sent(earlier)
            self._received(_as_received(event, other))
            batch = batch[place + 1 :]
            chunks, sounds, _ = split(batch)
        if chunks:
            self._count_sent(chunks)

    def _continue_sound(self, sounds: Sequence[MatchedDelta]) -> tuple[int, ServerEvent | None]:
        """Apply received sound, each delta of which is the only event of a message, until a reply
        may begin or end.

        Return the number of applied deltas, and the event of the next one with the positions of
        its sound, which only `_received` can apply; None if all were applied.
        """
        facts = self.facts
        detector = self._detector
        assert detector is not None, "the dialect has no sound to detect"
        wire_bytes = audio_bytes = 0
        for sound in sounds:
            wire_bytes += sound.wire_bytes
            audio_bytes += sound.payload_bytes
        reply_id = detector.reply_id
        exceeds_limit = (
            facts.events + len(sounds) > self._max_events
            or facts.wire_bytes_received + wire_bytes > self._max_bytes
        )
        is_other = self._false_replies.reply is not None or (
            reply_id != "" and not self._is_answered_by(reply_id)
        )
        until_ns = 0 if exceeds_limit or is_other else self.next_deadline_ns
        continued, event = detector.continued([*sounds], until_ns)
        if continued:
            for sound in sounds[len(continued) :]:
                wire_bytes -= sound.wire_bytes
                audio_bytes -= sound.payload_bytes
            facts.wire_bytes_received += wire_bytes
            facts.audio_bytes_received += audio_bytes
            facts.events += len(continued)
            self.arrived_ns = continued[-1].at_ns
            if continued[0].event.response_id and (turn := self.turns.last) is not None:
                turn_events.received_deltas(turn, continued)
        return len(continued), event

    def _is_answered_by(self, reply_id: str) -> bool:
        """Return whether more audio of a reply changes only the reply of the turn that started
        last.
        """
        turn = self.turns.last
        if turn is None or turn.reply.item_id != reply_id or not self.turns.is_answering:
            return False
        return self.owners.owner_of(reply_id) is turn

    def _delta(self, delta: MatchedDelta) -> None:
        deltas = (delta,)
        if self._detector is not None:
            self._apply_sound(deltas, (), deltas)
        elif delta.has_audio and (event := self._items.continued(delta)) is not None:
            self._received(_as_received(event, delta))
        elif self._is_more(deltas):
            self._continue_reply(deltas)
        else:
            event = msgspec.structs.replace(delta.event, payload_bytes=delta.payload_bytes)
            self._received(_as_received(event, delta))

    def _is_more(self, deltas: Sequence[MatchedDelta]) -> bool:
        """Return whether deltas only continue the open turn's reply, before the next deadline and
        within the limits.
        """
        facts = self.facts
        return (
            self.turns.is_answering
            and deltas[-1].at_ns <= self.next_deadline_ns
            and facts.events + len(deltas) <= self._max_events
            and self._max_bytes - facts.wire_bytes_received >= AT_ONCE_BYTES
        )

    def _continue_reply(self, deltas: Sequence[MatchedDelta]) -> None:
        facts = self.facts
        turn = self.turns.last
        assert turn is not None, "its reply is continued"
        wire_bytes = turn.messages.wire_bytes_received
        turn_events.received_deltas(turn, deltas)
        facts.wire_bytes_received += turn.messages.wire_bytes_received - wire_bytes
        facts.events += len(deltas)
        self.arrived_ns = max(self.arrived_ns, deltas[-1].at_ns)

    def _are_silent(self, frames: Sequence[Received]) -> bool:
        """Return whether messages have no events, and arrived before the next deadline."""
        return (
            frames[-1].message.arrival.at_ns <= self.next_deadline_ns
            and self._max_bytes - self.facts.wire_bytes_received >= AT_ONCE_BYTES
            and not any([frame.events for frame in frames])
        )

    def _count_silence(self, frames: Sequence[Received]) -> None:
        facts = self.facts
        for frame in frames:
            _, (at_ns, _, kernel), wire_bytes = frame.message
            facts.wire_bytes_received += wire_bytes
            facts.timestamp_fallbacks += not kernel
            self.arrived_ns = at_ns

    def may_match(self, event: ServerEvent) -> bool:
        """Return whether later deltas like `event` need only their arrival and length. `event` is
        the last received event.

        The result is True if the deltas belong to the current turn, the script requires no more
        events of the turn, and the turn's audio is already audible. The caller checks that the
        script looks for no word in the deltas.
        """
        turn = self.turns.last
        if turn is None or turn.turn_source is SOUND or not self.turns.is_answering:
            return False
        # an empty delta begins no item, so later deltas may be of an unknown item
        if event.payload_bytes <= 0:
            return False
        if event.kind is AUDIO_DELTA and (
            self.marks is not None or not (turn.reply.is_audible or self.needs_audio(event))
        ):
            return False
        # the words of a matched delta are not kept, and may have to be scored
        if event.kind is not AUDIO_DELTA and turn.plan.reference.is_of_reply:
            return False
        return self.owners.attribute(event, turn).turn is turn

    def needs_audio(self, event: ServerEvent) -> bool:
        """Return whether `may_match` allows later deltas like `event` only with their audio."""
        return self._items.is_in_tone(event)

    def _session_event(self, event: ServerEvent, arrival: Arrival) -> None:
        if event.kind is EventKind.MALFORMED:
            self._endings.fail("protocol_error:json", arrival.at_ns, in_words(event.reason))
        elif event.kind is EventKind.SESSION_CLOSED:
            facts = self.facts
            facts.billed_ns = event.billed_ns
            facts.paused_ns = event.paused_ns
            facts.is_closed = True
        elif event.kind is EventKind.GOING_AWAY:
            self.facts.is_expiring = True
        elif event.kind is EventKind.RESUMABLE:
            self.facts.resumption = event.text
        elif event.kind in (EventKind.PAUSED, EventKind.RESUMED):
            self.facts.is_paused = event.kind is EventKind.PAUSED
            if self.turns.last is not None:
                self.turns.last.is_wake_up |= not self.facts.is_paused
        elif event.kind is EventKind.MCP_LISTED:
            self.facts.mcp_listed(arrival)
        elif event.kind is EventKind.MCP_NOT_LISTED:
            server = self.facts.mcp_lists.get(event.item_id, "without a label")
            self._endings.fail(
                "failed:mcp_list_tools",
                arrival.at_ns,
                Cause(Code.TOOLS_NOT_LISTED, {"server": server}),
            )
        elif event.kind is EventKind.ERROR:
            self._endings.apply_error(event.failure or ServiceFailure(), arrival.at_ns)
        else:
            facts = self.facts
            facts.set_description(event, arrival)
            facts.backend_model = text_at(self._dialect.backend_model, facts.effective_settings)
            self._note_connection()
            if event.session and self._dialect.fills_waits(event.session):
                for turn in self.turns.open:
                    turn.responses.may_have_filler = True

    def _attribute(self, event: ServerEvent, arrival: Arrival, wire_bytes: int) -> None:
        kind = event.kind
        is_watched = self._false_replies.reply is not None
        if kind in SESSION_KINDS:
            self._session_event(event, arrival)
            return
        if kind is UNKNOWN:
            self.facts.count_unknown(event.name)
        # before the attribution, which makes the response known
        is_response_event = is_watched and (kind is RESPONSE_CREATED or kind in DELTAS)
        is_new = is_response_event and not self.owners.knows(event.response_id)
        # a reply in sound is detected some time after its first delta
        is_detected = self._detector is not None and event.response_id
        current = self.turns.current_at(arrival.at_ns) if is_detected else self.turns.current
        if (
            current is None
            and kind in TRANSCRIPTIONS
            and self._dialect.turn_source is TurnSource.REPLIES
        ):
            current = self.turns.last  # no commit names the turn of a late transcript
        attribution = self.owners.attribute(event, current)
        turn = attribution.turn
        if attribution.decides is not None and turn is not None:
            turn.assign_request(event, attribution.decides, attribution.requests)
        if turn is None and is_watched:
            self._false_replies.received(event, arrival, is_first=is_new)
        if kind not in DELTAS:
            self._on_event(event, arrival, turn)
            if kind not in UNTIMED:
                self._wake_ns = NOT_KNOWN
        # The tokens are counted before the turn applies the event: the event may end the turn, and
        # tokens after its end belong to no turn.
        response_id = event.response_id
        if event.usage is not None and response_id not in self.facts.billed:
            # tokens of no response are those of the turn in which they are reported
            is_of_response = response_id != "" or kind is not NOTED
            owner = turn if is_of_response else current
            self.facts.bill(response_id, event.usage, owner, is_of_response=is_of_response)
        if kind in DETECTS_CALLER and self.turns.interrupted is not None:
            self.turns.interrupted.on_barge_in(arrival)
        if kind is TASK_ADDED and turn is None and event.calls:
            self._endings.fail(UNDONE_TASK, arrival.at_ns, Cause(Code.DELEGATED_OUTSIDE))
        elif event.other_dialect:
            cause = in_words(f"{event.name} belongs to the other dialect")
            self._endings.fail("protocol_error:dialect", arrival.at_ns, cause)
        elif kind is AUDIO_DELTA and (turn is None or turn.state is OVER):
            self._hear_outside(turn, event, arrival)
        elif turn is None:
            return
        elif kind in TRANSCRIPTIONS and (turn.state is OVER or turn.plan.has_reply):
            turn.note_transcript(event, arrival)
        elif kind is TRUNCATED or kind is ITEM_RETRIEVED:
            turn.on_truncation_event(event, arrival)
        elif turn.state is not OVER:
            self._open_turn_event(turn, event, arrival, wire_bytes)

    def _hear_outside(self, turn: PendingTurn | None, event: ServerEvent, arrival: Arrival) -> None:
        """Apply audio that belongs to no open turn. Count it if the service had already ended its
        response.

        A player plays such audio. In a track, audio arrives after the events about it.
        """
        if turn is not None:
            hear_late(turn, event, arrival)
        is_in_events = self._detector is None and not self._dialect.has_track
        if is_in_events and event.payload_bytes > 0 and self.owners.is_done(event.response_id):
            self.facts.audio_after_end_ns += self._format.duration_ns(event.payload_bytes)
            self.facts.audio_bytes_received += event.payload_bytes

    def _on_event(self, event: ServerEvent, arrival: Arrival, turn: PendingTurn | None) -> None:
        """Apply an event that is not a delta to the facts of the session. `turn` is the owner of
        the event, if any.
        """
        kind = event.kind
        if kind is COMMITTED and turn is not None:
            turn.input_speech.commits += 1
        if self.owners.note(event, turn) and turn is not None:
            turn.input_speech.answered += 1
        if kind is ITEM_ADDED:
            self.facts.item_added(event, arrival)
        elif kind is ITEM_DELETED or kind is TRUNCATED:
            self.facts.length.client_changed()
        elif kind is IDLE_TIMEOUT:
            played_ns = self.playback_ends_ns if self.turns.are_all_over else 0
            timeout_ms = self._dialect.idle_timeout_ms(self.facts.effective_settings)
            self.facts.idle_prompt_received(arrival, played_ns, timeout_ms)
        elif kind is RESPONSE_DONE:
            self._unanswered.restart()
            self._responses_left -= 1
            if self._responses_left < 0:
                cause = in_words(f"over {MAX_RESPONSES} responses since the turn began")
                self._endings.fail("limit_exceeded:responses", arrival.at_ns, cause)

    def _open_turn_event(
        self, turn: PendingTurn, event: ServerEvent, arrival: Arrival, wire_bytes: int
    ) -> None:
        """Apply an event to its open turn. Protocol errors and exceeded limits also end the
        session.
        """
        before = turn.state
        between_items = turn.is_between_items
        created_ns = turn.reply.created_ns
        ending = turn_events.received(turn, event, arrival, wire_bytes)
        if ending is not None:
            outcome, cause = ending
            if outcome == turn_events.NO_REPLY_AUDIO:
                setting = self._dialect.text_only(self.facts.effective_settings)
                cause = Cause(Code.TEXT_SESSION, {"setting": setting}) if setting else cause
            if parsed(outcome).ends_session:
                self._endings.fail(outcome, arrival.at_ns, cause)
            turn.end(outcome, arrival.at_ns, cause)
        if event.kind is RESPONSE_DONE:  # its calls may already be answered
            self._continue(turn)
        if (
            turn.state is not before
            or (between_items and not turn.is_between_items)
            or turn.reply.created_ns != created_ns
        ):
            self._wake_ns = NOT_KNOWN

    def _answer_call(self, answered: inputs.FunctionOutputSent) -> None:
        self.turns.answer_call(answered)
        self._continue(self.turns.current)

    def _continue(self, turn: PendingTurn | None) -> None:
        """Expect the rest of a reply whose calls are answered, if the service continues by
        itself.
        """
        if self._dialect.continues_calls and turn is not None and turn.wants_continuation:
            request_continuation(turn)
            self.owners.expect(PendingRequest(turn, False))

    # Endings.

    @property
    def next_deadline_ns(self) -> int:
        """An instant before which no deadline expires.

        It is computed again when a deadline is reached, or may have become earlier. Deltas, the
        most frequent events, only extend a deadline, so they cause no new computation.
        """
        if self._wake_ns == NOT_KNOWN:
            due = self.turns.next_timeout(self.limits)
            reply_over_ns = NEVER_NS if self._detector is None else self._detector.over_ns
            self._wake_ns = min(due[0][0] if due else NEVER_NS, reply_over_ns)
        return self._wake_ns

    def expire(self, now_ns: int) -> None:
        """End the turns, and perhaps the session, that are due to end by `now_ns`."""
        if now_ns >= self.next_deadline_ns:
            self._wake_ns = NOT_KNOWN  # the deadline may have been extended
            if now_ns >= self.next_deadline_ns:
                self.apply(inputs.DeadlinePassed(now_ns))

    def _expire(self, now_ns: int, earliest_ns: int = NEVER_NS) -> None:
        """End the turn with the next deadline, if the deadline was due by `now_ns`. A timeout also
        ends the session.

        The turn ends at the instant of its deadline. `earliest_ns` is the earliest possible arrival
        of the next message. If that arrival may have been before the deadline, the message may have
        been in time: the turn is doubted and continues. If the message extends the deadline, it is
        never decided whether the message was in time. Otherwise the deadline is still due, and ends
        the turn after all messages that arrived by then.
        """
        self._wake_ns = NOT_KNOWN
        if self._detector is not None:
            for event, ended in self._detector.ended_by(now_ns):
                self._attribute(event, ended, 0)
        due = self.turns.next_timeout(self.limits)
        if due is None or now_ns < due[0][0]:
            return
        (at_ns, outcome, cause), turn = due
        if cause.code is Code.NOTHING_AUDIBLE:
            cause = cause.because(self._unanswered.cause(turn.reply.audio))
            if (
                self._dialect.has_track
                and self._detector is not None
                and not self._detector.has_detected
            ):
                outcome = NO_SOUND if self.facts.events else NO_MEDIA
        elif cause.code is Code.CALL_NOT_ENDED:
            cause = cause.because(in_words(turn.calls.mcp.unended_tools))
        elif cause.code is Code.NO_END and turn.is_item_complete:
            audio_s = turn.reply.received_ns / NS_PER_S
            received = f"{audio_s:.1f} s of audio" if turn.plan.wants_audio else "text"
            cause = cause.because(Cause(Code.REPLY_COMPLETE, {"received": received}))
        if at_ns >= earliest_ns and parsed(outcome).is_overdue:
            turn.waits.doubted = Cause(Code.NOT_RUN, {"doubted": cause})
        elif parsed(outcome).is_timeout:
            outcome, cause = turn.input_speech.unsent_ending or (outcome, cause)
            self._endings.fail(outcome, at_ns, cause)
        else:
            turn.end(outcome, at_ns, *self._endings.explain(outcome, cause))

    def _end_turn(self, ended: inputs.TurnEnded) -> None:
        if self._detector is not None:
            for event, arrival in self._detector.end_reply(ended.at_ns):
                self._attribute(event, arrival, 0)
        for turn in self.turns.open:
            turn.end(NO_REPLY, ended.at_ns, Cause(Code.NOT_ANSWERED))

    def _close(self, closed: inputs.ConnectionClosed) -> None:
        # a limit that certainly expired before the close is the earlier cause
        self._expire(closed.at_ns - 1, closed.at_ns - closed.uncertainty_ns)
        self._endings.close(closed, max(self.arrived_ns, self.facts.last_sent_ns))

    # State of the session.

    @property
    def is_over(self) -> bool:
        """True if the session has its outcome. Nothing more may be sent."""
        return bool(self.facts.outcome)

    @property
    def playback_ends_ns(self) -> int:
        """The instant at which the player has played the last reply; 0 if there is no playback
        to wait for.
        """
        if self._false_replies.reply is not None:
            return self._false_replies.reply.playback_ends_ns
        last = self.turns.last
        return last.reply.playback_ends_ns if last is not None and last.outcome in WHOLE else 0

    def session(self) -> SessionObservation:
        """Return the observation of the session. Call it after `pop_turns`, when the session has
        ended.
        """
        return self.facts.observation(self.owners, self.turns.events)

    # What the session must do.

    def due_actions(
        self, now_ns: int, judges: dict[int, SuccessPredicate] = NO_JUDGES
    ) -> Iterator[Sequence[Action]]:
        """Yield lists of the actions that are due. Execute all actions of a list before the next
        one is taken. `judges` has the same meaning as in `pop_turns`.

        The inputs that an execution causes (a sent message, a measurement, the end of the
        connection) are applied between two lists. Actions of one list do not depend on each other's
        inputs.
        """
        facts = self.facts
        turns = self.turns
        if (usage := facts.unpaid) is not None:
            facts.unpaid = None
            yield [inputs.ReportUsage(usage)]
        if self.playout.due_ns <= now_ns and not self.is_over:
            yield [inputs.AcknowledgeMark(mark) for mark in self.playout.played_by(now_ns)]
        if turns.interrupted is not None and not self.is_over:
            yield turns.cuts()
        # a turn is delivered after the network was measured for it
        if turns.awaits_network and turns.is_last_over and turns.are_all_over:
            yield [inputs.MeasureNetwork()]
        if turns.all and (len(turns.all) > 1 or turns.is_last_over):
            yield [inputs.DeliverTurn(turn) for turn in self.pop_turns(now_ns, judges)]
        turn = None if self.is_over else turns.current
        if turn is None:
            return
        if turn.wants_request(now_ns):
            yield [inputs.RequestResponse()]
        if requested := turn.calls.mcp.pop_requested():
            prefix = turn.plan.event_prefix
            yield [
                inputs.ApproveMcpCall(request_id, f"{prefix}approval-{number}")
                for number, request_id in requested
            ]
        if turn.calls.complete_calls:
            yield [inputs.CallFunction(call) for call in turn.calls.pop_new_calls()]
        # the response that continues a reply is requested after the outputs were sent
        if turn.wants_continuation:
            yield [inputs.RequestContinuation()]

    # Delivery of turns.

    def pop_turns(
        self, now_ns: int, judges: dict[int, SuccessPredicate] = NO_JUDGES
    ) -> list[TurnObservation]:
        """Return the turns to deliver. `judges` maps turn numbers to functions, each of which
        runs once.
        """
        if done := self.turns.done(now_ns, session_over=self.is_over):
            # The delivery is an input like all others, so that the replay of a log delivers the
            # same turns at the same instants.
            answers = (
                {turn.plan.number: task_success(turn, judges) for turn in done} if judges else {}
            )
            tasks_done = {
                number: answer for number, answer in answers.items() if answer is not None
            }
            self.apply(
                inputs.TurnsDelivered(
                    now_ns,
                    [turn.plan.number for turn in done],
                    tasks_done,
                    None if self.marks is None else self.marks.is_crossed,
                )
            )
        return self.pop_delivered()

    def pop_delivered(self) -> list[TurnObservation]:
        """Return the turns that were delivered and that this method has not returned before."""
        delivered = self._delivered
        self._delivered = []
        return delivered

    def open_turns(self, now_ns: int) -> list[TurnObservation]:
        """Return the turns that are not delivered yet, as they are now: open ones as unfinished."""
        shown = []
        for turn in self.turns.all:
            observed = observation(turn)
            if turn.state is not OVER:
                instants = {**observed.instants, "ended": now_ns}
                observed = msgspec.structs.replace(
                    observed, outcome="unfinished", instants=instants
                )
            shown.append(observed)
        return shown

    def _deliver(self, delivered: inputs.TurnsDelivered) -> None:
        for turn in [turn for turn in self.turns.all if turn.plan.number in delivered.turns]:
            self.turns.remove(turn, delivered.at_ns)
            self.owners.forget(turn)
            if self.marks is not None:
                turn.caller_mark, turn.crossed_audio = self.marks.own, delivered.is_crossed
            if turn.plan.callee in PERSONS:
                is_taken = not self.turns.is_answered_after(turn)
                is_known = not is_taken or self.facts.outcome == HUNG_UP
                turn.taken_for_mailbox = is_taken if is_known else None
            observed = observation(turn, delivered.tasks_done.get(turn.plan.number))
            if self._dialect.has_track and self._detector is None:
                observed = without_packets(observed)
            self._delivered.append(self.facts.with_bound(observed))
            if self._detector is None:
                self.facts.audio_bytes_received += observed.audio_bytes_received
            self.facts.turn_ended(
                observed, first=observed.turn == self._first, greeting=turn.plan.greeting
            )
            if turn.plan.callee and (words := next(words_in(turn), None)):
                self.facts.heard_first(words.start, words.onset_ns)

    def _connected(self, connected: inputs.Connected) -> None:
        self.facts.set_connection(connected)
        self._note_connection()
        if self._detector is not None and connected.early_audio:
            self._detector.hear_early(connected.early_audio, connected.early_end_ns)

    def _note_connection(self) -> None:
        if self._detector is not None and (at_ns := self.facts.connected_ns) is not None:
            self._detector.connected(at_ns)

    def _measure_rtp(self, rtp: inputs.RtpMeasured) -> None:
        self.facts.measure_rtp(rtp)
        if rtp.without_audio:  # the turns that await this measurement have ended
            known = Cause(Code.PACKETS_WITHOUT_AUDIO, {"packets": rtp.without_audio})
            self.facts.causes = changed(self.facts.causes, Code.NO_PACKET, known)
            for turn in self.turns.all:
                turn.causes = changed(turn.causes, Code.NO_PACKET, known)
        if rtp.rtt_ns is not None and rtp.min_rtt_ns is not None:
            self.turns.measured(inputs.NetworkMeasured(rtp.rtt_ns, rtp.min_rtt_ns, None))


def _as_received(event: ServerEvent, delta: MatchedDelta) -> Received:
    """Return the message that a delta stands for. `event` is the event in it."""
    arrival = Arrival(delta.at_ns, delta.uncertainty_ns)
    return Received((event,), ReceivedMessage(b"", arrival, delta.wire_bytes))


_HANDLERS: Mapping[type, Callable[[Timeline, Any], None]] = {
    Received: Timeline._received,
    MatchedDelta: Timeline._delta,
    SentChunk: lambda timeline, chunk: timeline._count_sent((chunk,)),
    inputs.Connected: Timeline._connected,
    inputs.TurnStarted: Timeline._start_turn,
    Sent: Timeline._sent,
    inputs.NotSent: Timeline._not_sent,
    inputs.HistoryStarted: lambda timeline, history: timeline.facts.history_start(history),
    inputs.ContinuesCall: lambda timeline, continuation: timeline.facts.renews(continuation),
    inputs.ReplacedBySession: lambda timeline, renewed: timeline.facts.renewed_by(renewed),
    inputs.NotContinued: lambda timeline, end: setattr(timeline.facts, "gave_up", end.reason),
    inputs.Transmitted: lambda timeline, timestamp: timeline.turns.transmitted(timestamp),
    inputs.EventExpected: lambda timeline, expected: timeline.turns.expect(expected),
    inputs.InterruptionAwaited: lambda timeline, awaited: timeline.turns.await_interruption(
        awaited
    ),
    inputs.ClientInterrupted: lambda timeline, interrupted: timeline.turns.interrupt(interrupted),
    inputs.SoundStarted: lambda timeline, started: timeline._false_replies.start(
        Reply(
            timeline._dialect.output_formats[started.reply_format],
            started.jitter_buffer_ns,
            is_track=timeline._dialect.has_track,
        )
    ),
    inputs.SoundEnded: lambda timeline, _: timeline._false_replies.end(),
    inputs.FunctionOutputSent: Timeline._answer_call,
    inputs.NetworkMeasured: lambda timeline, network: timeline.turns.measured(network),
    inputs.RtpMeasured: Timeline._measure_rtp,
    inputs.DeadlinePassed: lambda timeline, expired: timeline._expire(expired.at_ns),
    inputs.TurnEnded: Timeline._end_turn,
    inputs.StoppedWaiting: lambda timeline, _: timeline.owners.give_up(),
    inputs.SessionFailed: lambda timeline, failed: timeline._endings.fail(
        failed.outcome, failed.at_ns, *decoded(failed.cause)
    ),
    inputs.ConnectionClosed: Timeline._close,
    inputs.ScriptFinished: lambda timeline, finished: timeline.facts.end("ok", finished.at_ns),
    inputs.TurnsDelivered: Timeline._deliver,
}
