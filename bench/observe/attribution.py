"""The attribution of responses and items to turns by their ids, and the service's pending work.
Pure.
"""

# A response answers the request that it names: the request has its event id as metadata, and the
# service may return the metadata. If the service returns metadata in a session, a response without
# a name answers no request that has one. Else a response answers the oldest request that is neither
# answered nor refused, even if the turn of the request has ended. A request that the service may
# have refused also counts, until the next request is sent.
#
# A request is a `response.create`, or a commit by a VAD that starts responses. If a VAD commits a
# turn's speech in several parts, one response answers all parts that were committed before the
# response began. Out-of-band responses may run at the same time as other responses.
#
# A service may begin a response that nothing requested. Such a response is counted. If a session
# has one, and the service did not name the answer of a turn, that answer may be the response that
# nothing requested.
#
# An item belongs to the turn that was speaking when the service announced the item, or to the turn
# that the client committed. Speech that a VAD detects belongs to no turn in three cases: no turn
# with a VAD is open, all speech of the open turn is already detected, or the speech follows the
# idle timeout. The response to such speech has no turn either.

from collections import Counter
from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

from bench.base.units import NS_PER_MS
from bench.observe.tool_calls import TASK_KINDS
from bench.observe.turn import ARRIVALS, CALLING, TRANSCRIPTIONS, Decision, PendingTurn
from bench.wire.dialect import SOUND
from bench.wire.events import (
    COMMITTED,
    IDLE_TIMEOUT,
    RESPONSE_CREATED,
    RESPONSE_DONE,
    SPEECH_STARTED,
    EventKind,
    ServerEvent,
)

ANNOUNCES_ITEM = frozenset({EventKind.SPEECH_STARTED, EventKind.COMMITTED, EventKind.IDLE_TIMEOUT})


class Attribution(NamedTuple):
    """The owner of an event, and the decision that follows from the event. The caller applies the
    decision to the turn.

    `turn` is the turn that owns the event; None if no turn owns it, or if that turn was delivered.
    If the event begins a response, `requests` is the number of the turn's requests that the
    response answers.
    """

    turn: PendingTurn | None
    decides: Decision | None = None
    requests: int = 0


UNATTRIBUTED = Attribution(None)
Owners = dict[str, Attribution]
"""A mapping from the id of a response or item to its owner. The `decides` of these owners is
None."""


class PendingRequest(NamedTuple):
    """A request. `turn` is None if it is outside of any turn. `event_id` is that of the requesting
    client event.

    `is_named` is True if the request has its event id as metadata.
    """

    turn: PendingTurn | None
    by_vad: bool
    event_id: str = ""
    out_of_band: bool = False
    is_named: bool = False


class AnsweredRequest(NamedTuple):
    """A request that a response answers. `number` is the number of its requests: a VAD may
    commit speech in parts.
    """

    turn: PendingTurn | None
    number: int


class Attributor:
    """The owners of a session's responses and items. `service_responds`: the service's VAD starts
    responses.

    `announces_commits` is True if a commit follows each begin of speech. `reports_responses` is
    True if the service reports each new response.
    """

    def __init__(
        self,
        *,
        service_responds: bool,
        announces_commits: bool = True,
        reports_responses: bool = True,
    ) -> None:
        self.service_responds = service_responds
        self._announces_commits = announces_commits
        self._reports_responses = reports_responses
        self._by_response: Owners = {}
        self._by_item: Owners = {}
        self._names: dict[PendingTurn, list[tuple[Owners, str]]] = {}
        # turns with a commit by us that is not acknowledged yet
        self._committing: list[PendingTurn] = []
        self._stray_items: set[str] = set()
        self._unanswered: list[PendingRequest] = []
        # requests of `_unanswered` that the service may have refused
        self._doubted: list[PendingRequest] = []
        self._done: set[str] = set()  # ids of responses
        # ids of responses that are not done, and of uncommitted speech items
        self._under_way: set[str] = set()
        self._returns_names = False
        """True if a response of this session has named its request."""
        self._forgotten = 0
        """The number of requests that were dropped although a response to them may still arrive."""
        self._early: Counter[PendingTurn | None] = Counter()
        """The number of each turn's responses that began before the service announced the commit
        that they answer."""
        self._has_guessed = self._has_commits = False
        """True if a turn has a response that does not name its request; True if the service has
        announced a commit."""
        self._unrequested = self.unattributed_commits = 0

    @property
    def unrequested_responses(self) -> int | None:
        """The number of responses that nothing requested; None if the service does not report
        what requested them.
        """
        if not self._reports_responses or (self.service_responds and not self._has_commits):
            return None
        return self._unrequested

    @property
    def answers_uncertain(self) -> bool:
        """True if the answer of a turn may be a response that nothing requested."""
        return self._has_guessed and bool(self.unrequested_responses)

    def expect(self, request: PendingRequest) -> None:
        """Add a sent request. Drop doubted requests: a response to them would have arrived by
        now.
        """
        if self._doubted:
            self._unanswered = [
                pending for pending in self._unanswered if pending not in self._doubted
            ]
            self._doubted = []
        self._unanswered.append(request)

    def doubt(self, turn: PendingTurn) -> None:
        """Record that an error without an event id may have refused this turn's request.

        If a response to the request still arrives, the response belongs to the turn. The client
        sends its next request only after that response, or after the wait for that response has
        ended.
        """
        self._doubted = [request for request in self._unanswered if request.turn is turn]

    def awaits_response(self, turn: PendingTurn) -> bool:
        """Return whether the client has requested a response in this turn that has not begun."""
        return any(request.turn is turn and not request.by_vad for request in self._unanswered)

    def knows(self, response_id: str) -> bool:
        return response_id in self._by_response

    def is_done(self, response_id: str) -> bool:
        return response_id in self._done

    def owner_of(self, response_id: str) -> PendingTurn | None:
        """Return the turn that owns a response; None if the response is unknown, or if no turn
        owns it.
        """
        return self._by_response.get(response_id, UNATTRIBUTED).turn

    def committed(self, turn: PendingTurn) -> None:
        """Record that a turn's `input_audio_buffer.commit` was sent."""
        self._committing.append(turn)

    def attribute(self, event: ServerEvent, current: PendingTurn | None) -> Attribution:
        """Return the owner of an event, which is known from the ids of the event, and the decision
        that follows from the event.

        `current` is the turn that started last; None if that turn has ended.
        """
        if response_id := event.response_id:
            return self._by_response.get(response_id) or self._adopt(event, current)
        if event.item_id:
            return self._claim_of_item(event, current)
        # a server that omits ids, or a task
        return (
            Attribution(current)
            if event.kind in ARRIVALS or event.kind in TASK_KINDS
            else UNATTRIBUTED
        )

    def _adopt(self, event: ServerEvent, current: PendingTurn | None) -> Attribution:
        """Store and return the owner of a new response.

        If the response answers a pending request, `_take_request` returns it. Otherwise it may be a
        filler of the current turn, or a response that the VAD started before the service announced
        the commit.
        """
        attribution = UNATTRIBUTED
        # In order of certainty: requested responses, fillers, then responses that a VAD starts.
        answered = self._take_request(event)
        if answered is not None:
            attribution = Attribution(answered.turn, "answers", answered.number)
            self._has_guessed |= answered.turn is not None and not event.request
        elif current is not None and current.state is CALLING and current.turn_source is not SOUND:
            # There is no request for it: all requests are answered, and the client has not
            # requested the continuation.
            attribution = Attribution(current, "fills")
            if not current.responses.may_have_filler:
                self._count_unrequested()
                self._has_guessed = True
        elif current is not None and self.service_responds and current.is_speech_end_detected:
            # the service announces its commit later, or never
            attribution = Attribution(current, "answers", 1)
            self._has_guessed = True
            self._early[current] += 1
        else:
            self._early[None] += self.service_responds
            self._count_unrequested()
        self._own(self._by_response, event.response_id, attribution.turn)
        return attribution

    def _count_unrequested(self) -> None:
        if self._forgotten:
            self._forgotten -= 1
        else:
            self._unrequested += 1

    def _take_request(self, event: ServerEvent) -> AnsweredRequest | None:
        """Remove and return the request that a response answers; None if it answers no pending
        request.

        `event` is the first event of the response. If the response names no request, remove the
        oldest in-band request. If there is no in-band request, remove the oldest request.
        """
        self._returns_names |= event.request != ""
        may_name = event.kind is RESPONSE_CREATED or event.kind is RESPONSE_DONE
        candidates = list(enumerate(self._unanswered))
        if event.request:
            candidates = [entry for entry in candidates if entry[1].event_id == event.request]
        elif self._returns_names and may_name:
            candidates = [entry for entry in candidates if not entry[1].is_named]
        in_band = (entry for entry in candidates if not entry[1].out_of_band)
        taken = next(chain(in_band, candidates), None)
        if taken is None:
            return None
        index, request = taken
        end = index + 1
        # If a VAD committed one turn's speech in several parts, one response answers all
        # consecutive parts.
        while request.by_vad and self._unanswered[end : end + 1] == [request]:
            end += 1
        del self._unanswered[index:end]
        return AnsweredRequest(request.turn, end - index)

    def _own(self, owners: Owners, name: str, turn: PendingTurn | None) -> None:
        owners[name] = Attribution(turn)
        if turn is not None:
            self._names.setdefault(turn, []).append((owners, name))

    def _claim_of_item(self, event: ServerEvent, current: PendingTurn | None) -> Attribution:
        is_stray = event.kind is EventKind.SPEECH_STOPPED and event.item_id in self._stray_items
        if is_stray and _reaches_into(event, current):
            # a noise that continued into the caller's speech
            self._stray_items.remove(event.item_id)
            return self._item_owner(current, event.item_id)
        if event.item_id in self._by_item:
            attribution = self._by_item[event.item_id]
            if event.kind is COMMITTED and attribution.turn is not None:
                self.drop_commit(attribution.turn)  # its deltas came before its commit
            return attribution
        if event.kind in ANNOUNCES_ITEM:
            return self._announced(event, current)
        if event.kind not in TRANSCRIPTIONS:
            return Attribution(current)
        # A model that transcribes while the caller speaks names the item before it is committed.
        if current is not None and current.may_name_item:
            return self._item_owner(current, event.item_id)
        return UNATTRIBUTED

    def _announced(self, event: ServerEvent, current: PendingTurn | None) -> Attribution:
        if current is not None and current.plan.vad and _may_speak(event, current):
            return self._item_owner(current, event.item_id)
        # The service acknowledges commits in the order of sending, with ids of its own.
        if event.kind is COMMITTED and self._committing:
            return self._item_owner(self._committing.pop(0), event.item_id)
        self._stray_items.add(event.item_id)
        self._own(self._by_item, event.item_id, None)
        return UNATTRIBUTED

    def _item_owner(self, turn: PendingTurn | None, item_id: str) -> Attribution:
        self._own(self._by_item, item_id, turn)
        return Attribution(turn, "speaks")

    def note(self, event: ServerEvent, turn: PendingTurn | None) -> bool:
        """Update the service's pending work. `event` is not a delta, and `turn` is the owner of the
        event.

        Return True if the event ends a response without ids, and the response answers a request of
        the turn.
        """
        if event.response_id and event.item_id and event.item_id not in self._by_item:
            self._own(self._by_item, event.item_id, turn)  # a part of the response
        if event.kind is RESPONSE_CREATED:
            self._under_way.add(event.response_id)
        elif event.kind is RESPONSE_DONE:
            self._under_way.discard(event.response_id)
            if event.response_id:
                self._done.add(event.response_id)
                return False
            # a server that omits ids
            return (
                self._drop(request for request in self._unanswered if request.turn is turn)
                is not None
            )
        elif event.kind is SPEECH_STARTED and self._announces_commits:
            self._under_way.add(event.item_id)
        elif event.kind is COMMITTED:
            self._has_commits = True
            self._under_way.discard(event.item_id)
            self.unattributed_commits += event.item_id in self._stray_items
            # the response may have come first
            answered = turn is not None and turn.input_speech.answered >= turn.input_speech.commits
            if self._early[turn]:
                self._early[turn] -= 1
                self._unrequested -= turn is None
            if self.service_responds and not answered:
                self.expect(PendingRequest(turn, by_vad=True))
        return False

    def _drop(self, requests: Iterable[PendingRequest]) -> PendingRequest | None:
        """Drop and return the first of these requests, to which no response will arrive; None if
        there is none.
        """
        request = next(iter(requests), None)
        if request is not None:
            self._unanswered.remove(request)
        return request

    def drop_commit(self, turn: PendingTurn) -> None:
        if turn in self._committing:
            self._committing.remove(turn)

    def drop_event(self, event_id: str) -> None:
        """Drop the request or commit of a client event that the service refused, even if its
        turn has ended.
        """
        self._drop(request for request in self._unanswered if request.event_id == event_id)
        committing = next((turn for turn in self._committing if turn.plan.owns(event_id)), None)
        if committing is not None:
            self.drop_commit(committing)

    def drop_answer(self) -> PendingTurn | None:
        """Drop the request of the VAD's last commit, which the service refused. Return its turn,
        if any.
        """
        # The service sends this refusal directly after the commit that it refuses, so it refuses
        # the last commit.
        request = self._drop(request for request in reversed(self._unanswered) if request.by_vad)
        return None if request is None else request.turn

    @property
    def has_pending_work(self) -> bool:
        return bool(self._under_way or self._unanswered)

    def give_up(self) -> None:
        """Forget the service's pending work, so that no wait for it continues. It belongs to
        ended turns.
        """
        self._under_way.clear()
        if self.service_responds:
            self._forgotten += len(self._unanswered)
            self._unanswered.clear()

    def forget(self, turn: PendingTurn) -> None:
        """Forget a delivered turn. Its later events have no owner."""
        if turn.input_speech.commits:  # otherwise the service announces no commits
            self._unrequested += self._early[turn]
        del self._early[turn]
        for owners, name in self._names.pop(turn, ()):
            # The id is not removed, because an unknown id is attributed to the open turn.
            owners[name] = UNATTRIBUTED


def _may_speak(event: ServerEvent, turn: PendingTurn) -> bool:
    """Return whether an item that the service announces can be the open turn's speech, and not a
    later sound.
    """
    if event.kind is IDLE_TIMEOUT or turn.input_speech.is_finished:
        return False
    end_ns = turn.input_speech.clock_ns.get("speech_end")
    if event.kind is not SPEECH_STARTED or event.audio_ms is None or end_ns is None:
        return True
    # The client and the service count the same samples. A sound after the end of the speech does
    # not belong to the turn.
    return event.audio_ms * NS_PER_MS < end_ns


def _reaches_into(event: ServerEvent, turn: PendingTurn | None) -> bool:
    """Return whether earlier speech, whose end `event` reports, includes the turn's speech."""
    if turn is None or not turn.plan.vad or event.audio_ms is None or turn.input_speech.commits:
        return False
    start_ns = turn.input_speech.clock_ns.get("speech_start")
    return start_ns is not None and event.audio_ms * NS_PER_MS > start_ns
