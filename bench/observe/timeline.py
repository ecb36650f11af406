"""The state machine of a session: what was sent and what came, in; one observation per turn and one per session, out.

Pure: it reads no clock and holds no socket, so it runs the same on live traffic, on a recorded log and in a test. Three
rules hold it together:

* Events belong to a turn by `response_id` and `item_id`. A `response.created` answers the oldest `response.create` that
  was not answered or refused yet, whether or not its turn is over; nothing else is matched by order.
* The first terminal cause wins: once a turn has an outcome, nothing changes it. A deadline that passed before an event
  arrived is a cause that came first.
* A transcription of the caller's audio may come late. It is attached for up to `LATE_TRANSCRIPT_NS` after the turn's
  end, while the next turn is under way.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from bench.clock import Arrival, Handed
from bench.measures import GOOD, Limits
from bench.observe.observation import SessionObservation, TurnObservation
from bench.protocol.events import DELTAS, Event, Failure, Kind, Usage

LATE_TRANSCRIPT_NS = 5_000_000_000
EXACT_GAP_NS = 1_000_000
UNKNOWN_NAMES = 50
SECOND_NS = 1_000_000_000
SESSION_UPDATE_ID = "session-update"
"""The client event id of the session's one session.update."""

FATAL_CODES = frozenset(
    {"beta_api_shape_disabled", "invalid_api_key", "missing_model", "invalid_model", "model_not_found"}
)
THROTTLED_CODES = frozenset({"rate_limit_exceeded", "insufficient_quota"})
TURN_CODES = THROTTLED_CODES | {"server_error", "inference_not_authorized_error"}
"""These end the turn that is under way also where the error names no event of it."""
BAD_FRAME = 1002


class State(Enum):
    """How far a turn is."""

    SENDING = auto()
    WAITING = auto()
    ANSWERING = auto()
    OVER = auto()


# state → kind of event → next state. A kind that is not listed changes nothing; an outcome ends every state in OVER.
NEXT_STATE = {
    State.SENDING: {},
    State.WAITING: dict.fromkeys(DELTAS, State.ANSWERING),
    State.ANSWERING: {},
    State.OVER: {},
}

# kind of event → the instant that its first arrival marks
FIRST_ARRIVAL = {
    Kind.SPEECH_STARTED: "speech_started",
    Kind.SPEECH_STOPPED: "speech_stopped",
    Kind.COMMITTED: "committed",
    Kind.RESPONSE_CREATED: "response_created",
    Kind.TEXT_DELTA: "first_text",
    Kind.AUDIO_DELTA: "first_audio",
    Kind.TRANSCRIPT_DELTA: "first_transcript",
    Kind.AUDIO_DONE: "audio_done",
    Kind.TRANSCRIPT_DONE: "transcript_done",
    Kind.RESPONSE_DONE: "response_done",
    Kind.INPUT_TRANSCRIBED: "input_transcribed",
}


@dataclass(frozen=True, slots=True)
class TurnPlan:
    """What must be known of a turn to observe it. All of its client event ids begin with `event_prefix`."""

    number: int
    step: str
    event_prefix: str
    request_event_id: str
    wants_audio: bool = True
    transcription_due: bool = False


@dataclass(slots=True)
class _Turn:
    """A turn under way."""

    plan: TurnPlan
    start_ns: int
    state: State = State.SENDING
    outcome: str = ""
    detail: str = ""
    instants: dict[str, int] = field(default_factory=dict)
    response_id: str = ""
    item_id: str = ""
    requested_width_ns: int | None = None
    transcript_settled: bool = False
    progress_ns: int = 0
    first_delta_error_ns: int | None = None
    first_audio_error_ns: int | None = None
    worst_error_ns: int = 0
    last_audio_error_ns: int = 0
    kernel_stamps: int = 0
    user_stamps: int = 0
    audio_bytes_sent: int = 0
    audio_bytes_received: int = 0
    first_audio_bytes: int = 0
    wire_bytes_sent: int = 0
    wire_bytes_received: int = 0
    events: int = 0
    deltas: Counter[Kind] = field(default_factory=Counter)
    unknown_events: int = 0
    late_chunks: int = 0
    gaps_ns: list[int] = field(default_factory=list)
    inexact_gaps: int = 0
    usage: Usage | None = None

    def mark(self, instant: str, at_ns: int) -> None:
        self.instants.setdefault(instant, at_ns)

    def end(self, outcome: str, at_ns: int, detail: str = "") -> None:
        """The first terminal cause wins."""
        if self.state is not State.OVER:
            self.state, self.outcome, self.detail = State.OVER, outcome, detail
            self.mark("ended", at_ns)

    def note_transcript(self, kind: Kind, at_ns: int) -> None:
        """A transcription of the caller's audio came, or failed; too late is as good as never."""
        if self.state is not State.OVER or at_ns < self.instants["ended"] + LATE_TRANSCRIPT_NS:
            self.transcript_settled = True
            if kind is Kind.INPUT_TRANSCRIBED:
                self.mark("input_transcribed", at_ns)

    def awaits_transcript(self, now_ns: int) -> bool:
        if not self.plan.transcription_due or not self.audio_bytes_sent or self.transcript_settled:
            return False
        return now_ns < self.instants["ended"] + LATE_TRANSCRIPT_NS

    def observation(self) -> TurnObservation:
        error_ns = self.first_delta_error_ns if self.first_audio_error_ns is None else self.first_audio_error_ns
        return TurnObservation(
            turn=self.plan.number,
            step=self.plan.step,
            outcome=self.outcome,
            detail=self.detail,
            start_ns=self.start_ns,
            instants=self.instants,
            response_id=self.response_id,
            item_id=self.item_id,
            requested_width_ns=self.requested_width_ns,
            stamp_error_ns=error_ns,
            stamp_error_max_ns=self.worst_error_ns,
            kernel_stamps=self.kernel_stamps,
            user_stamps=self.user_stamps,
            audio_bytes_sent=self.audio_bytes_sent,
            audio_bytes_received=self.audio_bytes_received,
            first_audio_bytes=self.first_audio_bytes,
            wire_bytes_sent=self.wire_bytes_sent,
            wire_bytes_received=self.wire_bytes_received,
            events=self.events,
            audio_deltas=self.deltas[Kind.AUDIO_DELTA],
            text_deltas=self.deltas[Kind.TEXT_DELTA],
            transcript_deltas=self.deltas[Kind.TRANSCRIPT_DELTA],
            unknown_events=self.unknown_events,
            late_chunks=self.late_chunks,
            gaps_ns=tuple(self.gaps_ns),
            inexact_gaps=self.inexact_gaps,
            usage=self.usage,
        )


class Timeline:
    """One session, from the start of connecting on. `wanted` is the number of turns that its script has."""

    def __init__(self, start_ns: int, wanted: int, limits: Limits) -> None:
        self._start_ns, self._wanted, self.limits = start_ns, wanted, limits
        self._instants: dict[str, int] = {"connect_start": start_ns}
        self._turns: list[_Turn] = []  # begun and not handed out: the current one, and those that await a transcript
        self._by_response: dict[str, _Turn] = {}
        self._finished: set[str] = set()  # responses of turns that were handed out: what comes late of them is nobody's
        self._unanswered: deque[_Turn] = deque()
        self._begun = self._ended = self._good = 0
        self._outcome = self._detail = ""
        self._service_session_id = ""
        self._settings: Mapping[str, Any] = {}
        self._headers: Mapping[str, str] = {}
        self._close_code: int | None = None
        self._close_reason = ""
        self._sent_audio = self._sent_wire = self._received_audio = self._received_wire = 0
        self._events = self._errors = self._fallbacks = 0
        self._unknown: Counter[str] = Counter()
        self._last_error: tuple[str, str] | None = None

    # What the session did.

    def connected(self, instants: Mapping[str, int], headers: Mapping[str, str]) -> None:
        """The upgrade is done: its phases, and the service's response headers."""
        self._instants.update(instants)
        self._headers = headers

    def begin(self, plan: TurnPlan, at_ns: int) -> None:
        """A turn begins: `at_ns` is read before its first send."""
        self._turns.append(_Turn(plan, at_ns))
        self._begun += 1

    def sent(self, name: str, handed: Handed, *, wire_bytes: int, audio_bytes: int = 0, late: bool = False) -> None:
        """A client event of the current turn, or of the session where no turn is open, was handed to the kernel."""
        self._sent_wire += wire_bytes
        self._sent_audio += audio_bytes
        if name == "session.update":
            self._instants.setdefault("update_sent", handed.at_ns)
        turn = self._current()
        if turn is None:
            return
        turn.wire_bytes_sent += wire_bytes
        turn.audio_bytes_sent += audio_bytes
        turn.late_chunks += late
        if name == "response.create":
            turn.mark("requested", handed.at_ns)
            turn.requested_width_ns = handed.width_ns
            turn.progress_ns = handed.at_ns
            turn.state = State.WAITING
            self._unanswered.append(turn)

    # What came.

    def received(self, event: Event, arrival: Arrival, wire_bytes: int) -> None:
        """An event arrived. Deadlines that passed before it did are taken first."""
        self.expire(arrival.at_ns - 1)  # what arrives at the deadline itself is in time
        self._events += 1
        self._received_wire += wire_bytes
        self._fallbacks += not arrival.kernel
        if event.kind is Kind.MALFORMED:
            self.fail("protocol:json", arrival.at_ns, event.reason)
        elif event.kind is Kind.ERROR:
            self._error(event.failure or Failure(), arrival.at_ns)
        elif event.kind in (Kind.SESSION_CREATED, Kind.SESSION_UPDATED):
            self._session_event(event, arrival.at_ns)
        else:
            self._turn_event(event, arrival, wire_bytes)

    def _session_event(self, event: Event, at_ns: int) -> None:
        created = event.kind is Kind.SESSION_CREATED
        self._instants.setdefault("session_created" if created else "session_updated", at_ns)
        if event.session:
            self._settings = event.session
            self._service_session_id = self._service_session_id or str(event.session.get("id") or "")

    def _turn_event(self, event: Event, arrival: Arrival, wire_bytes: int) -> None:
        if event.kind is Kind.UNKNOWN:
            self._count_unknown(event.name)
        turn = self._turn_of(event)
        if event.foreign:
            self.fail("protocol:dialect", arrival.at_ns, f"{event.name} belongs to the other dialect")
        elif turn is None:
            return
        elif event.kind in (Kind.INPUT_TRANSCRIBED, Kind.INPUT_NOT_TRANSCRIBED):
            turn.note_transcript(event.kind, arrival.at_ns)
        elif turn.state is not State.OVER:
            self._note(turn, event, arrival, wire_bytes)

    def _note(self, turn: _Turn, event: Event, arrival: Arrival, wire_bytes: int) -> None:
        """An event of an open turn: counts, instants, the next state, and its end."""
        kind = event.kind
        turn.events += 1
        turn.wire_bytes_received += wire_bytes
        turn.unknown_events += kind is Kind.UNKNOWN
        turn.kernel_stamps += arrival.kernel
        turn.user_stamps += not arrival.kernel
        turn.worst_error_ns = max(turn.worst_error_ns, arrival.error_ns)
        turn.progress_ns = max(turn.progress_ns, arrival.at_ns)
        if kind in DELTAS:
            self._delta(turn, event, arrival)
        elif kind in FIRST_ARRIVAL:
            turn.mark(FIRST_ARRIVAL[kind], arrival.at_ns)
        if kind is Kind.RESPONSE_DONE:
            turn.usage = event.usage
            outcome, detail = _ending(turn, event)
            if outcome.startswith("protocol:"):
                self.fail(outcome, arrival.at_ns, detail)
            turn.end(outcome, arrival.at_ns, detail)

    def _delta(self, turn: _Turn, event: Event, arrival: Arrival) -> None:
        if event.payload_bytes < 0:
            self.fail("protocol:base64", arrival.at_ns, f"the payload of {event.name} is not base64")
            return
        if event.payload_bytes == 0:
            return
        if event.kind is Kind.AUDIO_DELTA:
            self._audio_delta(turn, event.payload_bytes, arrival)
        if turn.first_delta_error_ns is None:
            turn.first_delta_error_ns = arrival.error_ns
        turn.deltas[event.kind] += 1
        turn.mark(FIRST_ARRIVAL[event.kind], arrival.at_ns)
        turn.state = NEXT_STATE[turn.state].get(event.kind, turn.state)

    def _audio_delta(self, turn: _Turn, audio_bytes: int, arrival: Arrival) -> None:
        self._received_audio += audio_bytes
        turn.audio_bytes_received += audio_bytes
        before_ns = turn.instants.get("last_audio")
        if before_ns is None:
            turn.first_audio_error_ns, turn.first_audio_bytes = arrival.error_ns, audio_bytes
        elif max(arrival.error_ns, turn.last_audio_error_ns) <= EXACT_GAP_NS:
            turn.gaps_ns.append(arrival.at_ns - before_ns)
        else:
            turn.inexact_gaps += 1
        turn.instants["last_audio"], turn.last_audio_error_ns = arrival.at_ns, arrival.error_ns

    def _turn_of(self, event: Event) -> _Turn | None:
        """The turn that an event belongs to, by its ids."""
        if event.response_id:
            if event.response_id in self._finished:
                return None
            return self._by_response.get(event.response_id) or self._adopt(event.response_id)
        if event.item_id:
            return self._turn_of_item(event)
        return self._current() if event.kind in FIRST_ARRIVAL else None  # a server that leaves ids out

    def _adopt(self, response_id: str) -> _Turn | None:
        """A response that is seen for the first time answers the oldest request without one."""
        if not self._unanswered:
            return None
        turn = self._unanswered.popleft()
        turn.response_id = response_id
        self._by_response[response_id] = turn
        return turn

    def _turn_of_item(self, event: Event) -> _Turn | None:
        for turn in self._turns:
            if turn.item_id == event.item_id:
                return turn
        current = self._current()
        if event.kind is Kind.COMMITTED and current is not None and not current.item_id:
            current.item_id = event.item_id
        return None if event.kind in (Kind.INPUT_TRANSCRIBED, Kind.INPUT_NOT_TRANSCRIBED) else current

    def _error(self, failure: Failure, at_ns: int) -> None:
        """An `error` event: fatal to the session, to the turn whose event it names, or only counted."""
        code = failure.code or failure.type or "unknown"
        detail = f"{code}: {failure.message}" if failure.message else code
        if code == "session_expired":
            self.fail("expired", at_ns, detail)
        elif code in FATAL_CODES:
            self.fail(f"failed:{code}" if self.ready else f"refused:{code}", at_ns, detail)
        elif failure.event_id == SESSION_UPDATE_ID:
            self.fail(f"failed:{code}", at_ns, detail)
        elif turn := self._turn_of_error(code, failure.event_id):
            if turn in self._unanswered and failure.event_id == turn.plan.request_event_id:
                self._unanswered.remove(turn)
            turn.end("throttled:error" if code in THROTTLED_CODES else f"failed:{code}", at_ns, detail)
        else:
            self._errors += 1
            self._last_error = (code, detail)

    def _turn_of_error(self, code: str, event_id: str) -> _Turn | None:
        """The open turn that an error ends: the one whose event it names, or the current one for some codes."""
        if not event_id:
            return self._current() if code in TURN_CODES else None
        named = (turn for turn in self._turns if event_id.startswith(turn.plan.event_prefix))
        return next((turn for turn in named if turn.state is not State.OVER), None)

    def _count_unknown(self, name: str) -> None:
        known = name in self._unknown or len(self._unknown) < UNKNOWN_NAMES
        self._unknown[name if known else "other"] += 1

    # What ends things.

    def deadline(self) -> tuple[int, str] | None:
        """(instant, stage) at which the current turn times out, None while nothing is due."""
        turn = self._current()
        if turn is None or turn.state is State.SENDING:
            return None
        limits = self.limits
        if turn.state is State.WAITING:
            stage = (turn.instants["requested"] + int(limits.first_delta * SECOND_NS), "first_delta")
        else:
            stage = (turn.progress_ns + int(limits.next_delta * SECOND_NS), "next_delta")
        created = turn.instants.get("response_created")
        return stage if created is None else min(stage, (created + int(limits.done * SECOND_NS), "done"))

    def expire(self, now_ns: int) -> None:
        """Time out what is due by `now_ns`, at the instant at which it was due."""
        due = self.deadline()
        if due is not None and now_ns >= due[0]:
            self.fail(f"timeout:{due[1]}", due[0], f"nothing came within the limit {due[1]}")

    def fail(self, outcome: str, at_ns: int, detail: str = "") -> None:
        """The session ends, and with it every open turn, unless something else ended it before."""
        if not self._outcome:
            self._outcome, self._detail = outcome, detail
            self._instants.setdefault("ended", at_ns)
        for turn in self._turns:
            turn.end(outcome, at_ns, detail)

    def closed(self, code: int, reason: str, at_ns: int) -> None:
        """The connection is gone, whoever closed it. OpenAI refuses by an error and a close after the upgrade."""
        self._close_code, self._close_reason = code, reason
        if code == 1001 and "maximum duration" in reason:
            self.fail("expired", at_ns, reason)
        elif self._last_error and not self.ready:
            self.fail(f"refused:{self._last_error[0]}", at_ns, self._last_error[1])
        elif code == BAD_FRAME:
            self.fail("protocol:frame", at_ns, reason)
        else:
            self.fail(f"closed:{code}", at_ns, reason)

    def finish(self, at_ns: int) -> None:
        """The script was played to its end and we close."""
        if not self._outcome:
            self._outcome = "ok"
            self._instants.setdefault("ended", at_ns)

    # What is known.

    @property
    def ready(self) -> bool:
        """The service has greeted the session and taken its settings."""
        return "session_updated" in self._instants

    @property
    def over(self) -> bool:
        """The session has its outcome; nothing more is to be sent."""
        return bool(self._outcome)

    @property
    def turn_over(self) -> bool:
        return self._current() is None

    def reached(self, instant: str) -> bool:
        """Whether an instant of the session has happened."""
        return instant in self._instants

    @property
    def session_id(self) -> str:
        return self._service_session_id

    def _current(self) -> _Turn | None:
        turn = self._turns[-1] if self._turns else None
        return None if turn is None or turn.state is State.OVER else turn

    def transcript_due_ns(self, now_ns: int) -> int | None:
        """Until when a late transcription of some turn is awaited; None where none is."""
        due = [t.instants["ended"] for t in self._turns if t.state is State.OVER and t.awaits_transcript(now_ns)]
        return max(due) + LATE_TRANSCRIPT_NS if due else None

    def take(self, now_ns: int) -> list[TurnObservation]:
        """The turns that are over and await nothing more; each is handed out once."""
        all_over = self.over
        done = [t for t in self._turns if t.state is State.OVER and (all_over or not t.awaits_transcript(now_ns))]
        for turn in done:
            self._turns.remove(turn)
            self._by_response.pop(turn.response_id, None)
            self._finished.add(turn.response_id)
            self._ended += 1
            self._good += turn.outcome in GOOD
        return [turn.observation() for turn in done]

    def session(self) -> SessionObservation:
        """The session's own observation; call it after `take`, once the session is over."""
        return SessionObservation(
            outcome=self._outcome,
            detail=self._detail,
            start_ns=self._start_ns,
            instants=self._instants,
            service_session_id=self._service_session_id,
            turns_wanted=self._wanted,
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
            close_code=self._close_code,
            close_reason=self._close_reason,
            headers=self._headers,
            effective_settings=self._settings,
        )


def _ending(turn: _Turn, event: Event) -> tuple[str, str]:
    """Outcome and detail of a turn whose response is done."""
    failure = event.failure or Failure()
    if event.status == "completed":
        return _completion(turn), ""
    if event.status in ("cancelled", "incomplete"):
        return f"{event.status}:{event.reason or 'unknown'}", ""
    code = failure.code or failure.type or (event.status if event.status != "failed" else "") or "unknown"
    outcome = "throttled:response" if code in THROTTLED_CODES else f"failed:{code}"
    return outcome, f"{code}: {failure.message}" if failure.message else code


def _completion(turn: _Turn) -> str:
    """Completed: with the kind of output that was asked for, or it does not count as success."""
    if turn.plan.wants_audio and not turn.deltas[Kind.AUDIO_DELTA]:
        return "protocol:dialect" if turn.usage and turn.usage.audio_out else "failed:no_audio"
    if not turn.plan.wants_audio and not turn.deltas[Kind.TEXT_DELTA]:
        return "failed:no_text"
    return "ok"
