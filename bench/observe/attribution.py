"""Maps ids of responses and items to the turn they belong to, and knows what the service has under way. Pure.

Nothing in `response.created` names what it answers, so a response answers the oldest request that was not answered or
refused yet, whether or not its turn is over; one that may have been refused counts until the next is sent. A request
is a `response.create`, or a commit by a VAD that starts responses by itself; one response answers all that a VAD has
committed of a turn before the response began. Responses out of band, which may be under way beside others, name their
request where the service gives its name back. An item belongs to the turn that was speaking when it was announced, or
that we committed; what a VAD hears while no spoken turn is open, after a turn was heard out, or after the idle
timeout, is nobody's, and so is the answer to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

from bench.observe.turn import ARRIVALS, Decision, PendingTurn, State
from bench.protocol.events import EventKind, ServerEvent
from bench.units import NS_PER_MS

ANNOUNCES_ITEM = frozenset({EventKind.SPEECH_STARTED, EventKind.COMMITTED, EventKind.IDLE_TIMEOUT})
TRANSCRIPTIONS = frozenset({EventKind.INPUT_TRANSCRIBED, EventKind.INPUT_NOT_TRANSCRIBED})


class Attribution(NamedTuple):
    """A claim on what came: whose it is, and what that decides, which whoever asked tells the turn.

    `turn` None: nobody's, or that of a turn that was handed out. `requests`: how many of its turn's a response answers.
    """

    turn: PendingTurn | None
    decides: Decision | None = None
    requests: int = 0


NOBODYS = Attribution(None)
Owners = dict[str, Attribution]
"""Id of a response or item → whose it is, of which nothing is decided any more."""


class PendingRequest(NamedTuple):
    """A request that a response is due for; `turn` None: for nobody's speech. `event_id`: of the message that asked."""

    turn: PendingTurn | None
    by_vad: bool
    event_id: str = ""
    out_of_band: bool = False


class Attributor:
    """Knows which turn owns each response and item. `service_responds`: the service's VAD starts responses."""

    def __init__(self, *, service_responds: bool) -> None:
        self.service_responds = service_responds
        self._by_response: Owners = {}
        self._by_item: Owners = {}
        self._names: dict[PendingTurn, list[tuple[Owners, str]]] = {}
        self._committing: list[PendingTurn] = []  # those whose commit, by us, was not acknowledged yet
        self._stray_items: set[str] = set()
        self._unanswered: list[PendingRequest] = []
        self._doubted: list[PendingRequest] = []  # of these: those that may have been refused
        self._under_way: set[str] = set()  # responses that are not done, items of speech that are not committed
        self.unattributed_commits = 0

    def asked(self, turn: PendingTurn) -> None:
        """Note that a turn's `response.create` was sent."""
        self._expect(PendingRequest(turn, False, turn.request_event_id, turn.plan.out_of_band))

    def asked_aside(self, event_id: str) -> None:
        """Note that the script asked for a response that is no turn's."""
        self._expect(PendingRequest(None, by_vad=False, event_id=event_id))

    def _expect(self, request: PendingRequest) -> None:
        """Expect a response, and no longer one that is in doubt: it would have come."""
        if self._doubted:
            self._unanswered = [waiting for waiting in self._unanswered if waiting not in self._doubted]
            self._doubted = []
        self._unanswered.append(request)

    def doubt(self, turn: PendingTurn) -> None:
        """Note that an error that names nothing may have refused what this turn asked for, or not.

        A response that still comes is the turn's; the next request is sent once it has, or none is waited for any more.
        """
        self._doubted = [request for request in self._unanswered if request.turn is turn]

    def knows(self, response_id: str) -> bool:
        return response_id in self._by_response

    def committed(self, turn: PendingTurn) -> None:
        """Note that a turn's `input_audio_buffer.commit` was sent."""
        self._committing.append(turn)

    def claim(self, event: ServerEvent, current: PendingTurn | None) -> Attribution:
        """The owner of an event, by its ids, and what it decides; `current` is the turn that is open."""
        if response_id := event.response_id:
            return self._by_response.get(response_id) or self._adopt(event, current)
        if event.item_id:
            return self._claim_of_item(event, current)
        return Attribution(current) if event.kind in ARRIVALS else NOBODYS  # a server that leaves ids out

    def _adopt(self, event: ServerEvent, current: PendingTurn | None) -> Attribution:
        """Give a response that is seen for the first time to the request that it names, or to the oldest."""
        claim = NOBODYS
        # the surest first: what was asked for, then what a service says meanwhile, then what a VAD begins by itself
        if self._unanswered:
            turn, requests = self._take_request(event.request)
            claim = Attribution(turn, "answers", requests)
        elif current is not None and current.state is State.CALLING:
            # nobody asked for it: what was asked for is answered, and the client has not asked to go on
            claim = Attribution(current, "fills")
        elif current is not None and self.service_responds and current.speech_noticed:
            claim = Attribution(current, "answers", 1)  # the service does not announce its commit, or does so later
        self._own(self._by_response, event.response_id, claim.turn)
        return claim

    def _take_request(self, event_id: str) -> tuple[PendingTurn | None, int]:
        """Take off the named request, else the oldest in band, else the oldest: (its turn, how many are answered)."""
        named = (place for place, request in enumerate(self._unanswered) if event_id and request.event_id == event_id)
        in_band = (place for place, request in enumerate(self._unanswered) if not request.out_of_band)
        place = next(chain(named, in_band), 0)
        request, end = self._unanswered[place], place + 1
        # where a VAD committed one turn's speech in several parts, one response answers those that stand together
        while request.by_vad and self._unanswered[end : end + 1] == [request]:
            end += 1
        del self._unanswered[place:end]
        return request.turn, end - place

    def _own(self, owners: Owners, name: str, turn: PendingTurn | None) -> None:
        owners[name] = Attribution(turn)
        if turn is not None:
            self._names.setdefault(turn, []).append((owners, name))

    def _claim_of_item(self, event: ServerEvent, current: PendingTurn | None) -> Attribution:
        if (
            event.kind is EventKind.SPEECH_STOPPED
            and event.item_id in self._stray_items
            and _reaches_into(event, current)
        ):
            self._stray_items.remove(event.item_id)  # a noise that the caller's speech went on from
            return self._spoken_by(current, event.item_id)
        if event.item_id in self._by_item:
            return self._by_item[event.item_id]
        if event.kind in ANNOUNCES_ITEM:
            return self._announced(event, current)
        return NOBODYS if event.kind in TRANSCRIPTIONS else Attribution(current)

    def _announced(self, event: ServerEvent, current: PendingTurn | None) -> Attribution:
        """Claim an item that the service speaks of for the first time."""
        if current is not None and current.plan.vad and _may_speak(event, current):
            return self._spoken_by(current, event.item_id)
        # acknowledged in the order in which they were sent, with ids that only the service knows
        if event.kind is EventKind.COMMITTED and self._committing:
            return self._spoken_by(self._committing.pop(0), event.item_id)
        self._stray_items.add(event.item_id)
        self._own(self._by_item, event.item_id, None)
        return NOBODYS

    def _spoken_by(self, turn: PendingTurn | None, item_id: str) -> Attribution:
        self._own(self._by_item, item_id, turn)
        return Attribution(turn, "speaks")

    def note(self, event: ServerEvent, turn: PendingTurn | None) -> bool:
        """Note what the service has under way, by an event that is no delta and the turn that it belongs to.

        True where a response is done that nobody saw begin, and answers a request of the turn's.
        """
        if event.response_id and event.item_id and event.item_id not in self._by_item:
            self._own(self._by_item, event.item_id, turn)  # a part of the response
        if event.kind is EventKind.RESPONSE_CREATED:
            self._under_way.add(event.response_id)
        elif event.kind is EventKind.RESPONSE_DONE:
            self._under_way.discard(event.response_id)
            if event.response_id:
                return False
            # a server that leaves ids out
            return self._drop(request for request in self._unanswered if request.turn is turn) is not None
        elif event.kind is EventKind.SPEECH_STARTED:
            self._under_way.add(event.item_id)
        elif event.kind is EventKind.COMMITTED:
            self._under_way.discard(event.item_id)
            self.unattributed_commits += event.item_id in self._stray_items
            answered = turn is not None and turn.hearing.answered >= turn.hearing.commits  # the response came first
            if self.service_responds and not answered:
                self._expect(PendingRequest(turn, by_vad=True))
        return False

    def _drop(self, requests: Iterable[PendingRequest]) -> PendingRequest | None:
        """Drop the first of these requests: no response to it will come. None if there is none."""
        request = next(iter(requests), None)
        if request is not None:
            self._unanswered.remove(request)
        return request

    def drop_commit(self, turn: PendingTurn) -> None:
        if turn in self._committing:
            self._committing.remove(turn)

    def drop_event(self, event_id: str) -> None:
        """Drop what the client event of this id asked for, whether or not its turn is over: it was not taken."""
        self._drop(request for request in self._unanswered if request.event_id == event_id)
        committing = next((turn for turn in self._committing if event_id.startswith(turn.plan.event_prefix)), None)
        if committing is not None:
            self.drop_commit(committing)

    def drop_answer(self) -> PendingTurn | None:
        """Drop the answer to the last commit: the service will not give one. Returns the turn that it was of."""
        # its word comes right behind the commit that it will not answer, which is the last one
        request = self._drop(request for request in reversed(self._unanswered) if request.by_vad)
        return None if request is None else request.turn

    @property
    def busy(self) -> bool:
        return bool(self._under_way or self._unanswered)

    def give_up(self) -> None:
        """Forget what is under way: it belongs to turns that are over, and is waited for no longer."""
        self._under_way.clear()
        if self.service_responds:
            self._unanswered.clear()

    def forget(self, turn: PendingTurn) -> None:
        """Forget a turn that was handed out: what comes late of it is nobody's."""
        for owners, name in self._names.pop(turn, ()):
            # not removed: an id that nobody knows is given to the turn that is open
            owners[name] = NOBODYS


def _may_speak(event: ServerEvent, turn: PendingTurn) -> bool:
    """Whether what is announced can be this open turn's speech, and not a sound behind it."""
    if event.kind is EventKind.IDLE_TIMEOUT or turn.hearing.finished:
        return False
    ends_ns = turn.hearing.clock_ns.get("speech_end")
    if event.kind is not EventKind.SPEECH_STARTED or event.audio_ms is None or ends_ns is None:
        return True
    # by the count of samples, which is one on both sides; a sound behind the speech is not the turn's
    return event.audio_ms * NS_PER_MS < ends_ns


def _reaches_into(event: ServerEvent, turn: PendingTurn | None) -> bool:
    """Whether speech that stopped now, and began before this turn, is the turn's speech as well."""
    if turn is None or not turn.plan.vad or event.audio_ms is None or turn.hearing.commits:
        return False
    begins_ns = turn.hearing.clock_ns.get("speech_start")
    return begins_ns is not None and event.audio_ms * NS_PER_MS > begins_ns
