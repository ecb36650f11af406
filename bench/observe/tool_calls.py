"""The function calls of a turn, the calls of MCP servers' tools, and tasks. Pure."""

# A response that calls functions is followed by another one that continues the reply. The client
# requests it after it has sent the function outputs. There may be several such rounds; the instants
# are those of the first round.
#
# Calls of MCP servers' tools belong to the same rounds, but the service executes them. A response
# that makes them ends when their arguments are complete, or when they have ended. In both cases the
# client requests the next response, which reads the results: "After the response is done and all of
# its MCP calls have finished, send another `response.create` event" (OpenAI's guide "Realtime with
# tools"). The client approves a call if the script says so.
#
# A service may speak while a task is done. A turn with tasks waits for the results of all of them,
# and then for the answer: the first sound that begins after the service has the last result. Sound
# before it is a filler ("let me check that"; `spoken_answer.py`). A task is for the client, which
# returns its result, or for the service, which may call the client's functions in one or several
# responses. It does not speak these responses.

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from bench.base.clock import Arrival, SendTime
from bench.catalogue.causes import Ending, in_words
from bench.catalogue.timeouts import MAX_CALLS, MAX_ROUNDS
from bench.observe.observation import Instants
from bench.wire.events import TASK_ADDED, EventKind, FunctionCall, McpItem, ServerEvent

TOO_MANY_CALLS = "limit_exceeded:calls"
NOT_SENT = SendTime(0)
MCP_INSTANTS = {
    EventKind.MCP_CALL_STARTED: "mcp_call_started",
    EventKind.MCP_CALL_ENDED: "mcp_call_ended",
    EventKind.MCP_CALL_FAILED: "mcp_call_ended",
}
"""A mapping from the kind of an event of a call to the instant of the first such event in a
turn."""
MCP_KINDS = MCP_INSTANTS.keys() | {EventKind.MCP_CALL_ADDED, EventKind.MCP_CALL_DONE}


@dataclass(slots=True, eq=False)
class McpCalls(Instants):
    items: dict[str, McpItem] = field(default_factory=dict)
    unended: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    changed_ns: int = 0
    """The instant of the last event of a call. The limit of an unended call counts from there."""
    execution_ns: int = 0
    """The time in which calls were executed. Time in which several of them were executed counts
    once."""
    _forgotten: set[str] = field(default_factory=set)
    _running: set[str] = field(default_factory=set)
    _running_since_ns: int = 0
    _requested: list[str] = field(default_factory=list)
    _approvals: set[str] = field(default_factory=set)

    def on_event(self, event: ServerEvent, arrival: Arrival) -> None:
        kind = event.kind
        item_id = event.item_id
        if item_id in self._forgotten:
            return
        self.changed_ns = arrival.at_ns
        if item_id not in self.items:
            self.items[item_id] = event.mcp or McpItem("")
            self.unended.add(item_id)
        if (instant := MCP_INSTANTS.get(kind)) is not None and instant not in self.instants:
            self.arrived(instant, arrival)
        if kind is EventKind.MCP_CALL_STARTED:
            if not self._running:
                self._running_since_ns = arrival.at_ns
            self._running.add(item_id)
        elif kind in MCP_INSTANTS and item_id in self.unended:
            self.unended.remove(item_id)
            if kind is EventKind.MCP_CALL_FAILED:
                self.failed.add(item_id)
            if item_id in self._running:
                self._running.remove(item_id)
                self.execution_ns += 0 if self._running else arrival.at_ns - self._running_since_ns

    def on_item_done(self, event: ServerEvent) -> None:
        """Apply the report of a complete call. It has the error of a failed call."""
        if event.mcp is not None and event.item_id in self.items:
            self.items[event.item_id] = event.mcp

    def forget(self, first: int) -> None:
        """Forget all calls except the `first`. They belong to a response that does not count."""
        for item_id in list(self.items)[first:]:
            del self.items[item_id]
            self._forgotten.add(item_id)
            for item_ids in (self.unended, self.failed, self._running):
                item_ids.discard(item_id)

    def request_approval(self, item_id: str) -> None:
        if item_id not in self._approvals:
            self._approvals.add(item_id)
            self._requested.append(item_id)

    def pop_requested(self) -> list[tuple[int, str]]:
        """Return (number in the turn, id) of each request for an approval that is not answered
        yet.
        """
        if not self._requested:
            return []
        first = len(self._approvals) - len(self._requested) + 1
        requested = self._requested
        self._requested = []
        return list(enumerate(requested, first))

    @property
    def count(self) -> int:
        """The number of calls, or of requests for approvals, if there are more of them."""
        return max(len(self.items), len(self._approvals))

    @property
    def unended_tools(self) -> str:
        return ", ".join(sorted({tool_name(self.items[item_id]) for item_id in self.unended}))

    @property
    def error_text(self) -> str:
        """The first failed call with its error; "" if no call has failed."""
        item = next((item for item_id, item in self.items.items() if item_id in self.failed), None)
        return "" if item is None else ": ".join(filter(None, (tool_name(item), item.error)))


def tool_name(item: McpItem) -> str:
    """Return the name of a tool with the label of its server, such as `docs.search`."""
    return ".".join(filter(None, (item.server, item.tool))) or "a tool without a name"


CALL_INSTANTS = {
    EventKind.CALL_ADDED: "function_call_added",
    EventKind.CALL_DONE: "function_call_done",
}
MCP_CALL_INSTANTS = {
    EventKind.MCP_CALL_ADDED: "function_call_added",
    EventKind.MCP_CALL_DONE: "function_call_done",
}
COMPLETE = frozenset({EventKind.CALL_DONE, EventKind.MCP_CALL_DONE})
"""The kinds of events after which the arguments of a call are complete."""


@dataclass(slots=True, eq=False)
class TurnFunctionCalls(Instants):
    """The function calls of one turn. `expected` is the required number for each function, if
    the script sets it.
    """

    expected: Mapping[str, int] | None = None
    complete_calls: dict[str, FunctionCall] = field(default_factory=dict)
    mcp: McpCalls = field(default_factory=McpCalls)
    names: dict[str, str] = field(default_factory=dict)
    """The function of each call, by the id of the call. It is set if the service reported it
    before the arguments."""
    rounds: int = 0
    """The number of ended responses that called functions."""
    of_rounds: int = 0
    """The number of function calls in the responses that `rounds` counts."""
    mcp_of_rounds: int = 0
    """The number of MCP calls in these responses."""
    made: set[str] = field(default_factory=set)
    """The ids of the calls that were returned for execution. Some may belong to a response that
    does not count."""
    returned: set[str] = field(default_factory=set)
    """The ids of the calls whose outputs were sent."""
    own_ns: int = 0
    """The time of the functions, summed over rounds, each from its last call to its last sent
    output."""
    last_done_ns: int = 0
    last_output_ns: int = 0
    item_sent: SendTime = NOT_SENT
    """The instants of sending the last item: a function output, or the result of a task."""
    is_request_due: bool = False
    """True if the client must request the next response: an output was sent, or the last
    response made MCP calls."""
    wrong: str = ""

    def on_event(self, event: ServerEvent, arrival: Arrival) -> None:
        for call in event.calls:
            if event.kind is EventKind.CALL_ADDED:
                self.names[call.call_id] = call.name
            else:
                self._complete(call, arrival)
        self._set_instant(CALL_INSTANTS[event.kind], event.kind, arrival)

    def on_mcp_event(self, event: ServerEvent, arrival: Arrival) -> None:
        self.mcp.on_event(event, arrival)
        if event.kind in MCP_CALL_INSTANTS:
            self._set_instant(MCP_CALL_INSTANTS[event.kind], event.kind, arrival)

    def _set_instant(self, instant: str, kind: EventKind, arrival: Arrival) -> None:
        if not self.rounds and (kind in COMPLETE or instant not in self.instants):
            self.arrived(instant, arrival)

    def _complete(self, call: FunctionCall, arrival: Arrival) -> None:
        name = call.name or self.names.get(call.call_id, "")
        self.complete_calls.setdefault(call.call_id, msgspec.structs.replace(call, name=name))
        self.last_done_ns = arrival.at_ns
        if not self.rounds:
            self.arrived("function_call_done", arrival)

    def on_task(self, event: ServerEvent, arrival: Arrival) -> None:
        """Apply the start of a task. A task for the client counts as a round, because no response
        contains it.
        """
        if "function_call_added" not in self.instants:
            self.arrived("function_call_added", arrival)
        for call in event.calls:
            self._complete(call, arrival)
            self.of_rounds = len(self.complete_calls)
            self.rounds = self.rounds + 1

    def end_response(self, event: ServerEvent, arrival: Arrival) -> bool:
        """Apply the end of a response. Return whether it made calls, so that another response
        follows.
        """
        for call in event.calls:
            if call.call_id not in self.complete_calls:  # the service sent no events of this call
                self._complete(call, arrival)
        functions = len(self.complete_calls)
        mcp_calls = len(self.mcp.items)
        if (functions, mcp_calls) == (self.of_rounds, self.mcp_of_rounds):
            return False
        self.is_request_due |= mcp_calls > self.mcp_of_rounds
        self.of_rounds = functions
        self.mcp_of_rounds = mcp_calls
        self.rounds = self.rounds + 1
        return True

    @property
    def exceeded_limit(self) -> Ending | None:
        """The ending of a turn that has exceeded a limit on calls or rounds; None if it has
        exceeded none.
        """
        if self.rounds > MAX_ROUNDS:
            return Ending(
                TOO_MANY_CALLS,
                in_words(f"over {MAX_ROUNDS} responses in a row that called functions"),
            )
        if len(self.complete_calls) + self.mcp.count > MAX_CALLS:
            return Ending(TOO_MANY_CALLS, in_words(f"over {MAX_CALLS} calls of functions"))
        return None

    def forget_response(self) -> None:
        for call_id in list(self.complete_calls)[self.of_rounds :]:
            del self.complete_calls[call_id]
        self.mcp.forget(self.mcp_of_rounds)
        if not self.rounds:
            self.instants.clear()
            self.uncertainties_ns.clear()

    def pop_new_calls(self) -> list[FunctionCall]:
        """Return the calls to make now. Each call is returned once."""
        new_calls = [
            call for call_id, call in self.complete_calls.items() if call_id not in self.made
        ]
        self.made.update(call.call_id for call in new_calls)
        return new_calls

    def on_output_sent(self, call_id: str, at_ns: int, wrong: str) -> None:
        """Record that a function output was sent. `wrong` is the error in its call; "" if there
        is none.
        """
        self.wrong = self.wrong or wrong
        # otherwise the call is of a response that does not count, and the turn does not wait for
        # its output
        if call_id in self.complete_calls:
            self.last_output_ns = at_ns
            self.returned.add(call_id)
            self.is_request_due |= not self.complete_calls[call_id].is_task

    def end_round(self) -> None:
        """Count the time from the last call to its output, after which the service continues."""
        self.own_ns += max(0, self.last_output_ns - self.last_done_ns)
        self.last_done_ns = self.last_output_ns = 0  # a round of MCP calls has no outputs
        self.is_request_due = False

    @property
    def are_all_answered(self) -> bool:
        """True if all outputs were sent, and the service has executed all MCP calls."""
        return self.complete_calls.keys() <= self.returned and not self.mcp.unended

    def error_text(self) -> str:
        """Return the error in the calls of a turn that has ended; "" if there is none."""
        if self.wrong or self.expected is None:
            return self.wrong
        if any(call.is_task for call in self.complete_calls.values()):
            return ""  # the client does the expected calls for the task
        missing = Counter(self.expected) - Counter(
            call.name for call in self.complete_calls.values()
        )
        return (
            f"the script expects a call of {next(iter(missing))}, and none came" if missing else ""
        )


TASK_KINDS = frozenset(
    {
        EventKind.TASK_ADDED,
        EventKind.WORK_STARTED,
        EventKind.WORK_DONE,
        EventKind.RESULT_ACCEPTED,
    }
)


@dataclass(slots=True, eq=False)
class Tasks:
    """The tasks of one turn, and the responses of the service for them. `count` is the number of
    tasks.
    """

    are_possible: bool = False
    """True if the service may do tasks. Then a request is for a response that it does not speak."""
    count: int = 0
    changed_ns: int = 0
    """The instant of the last task, request or start of a response, from which the limit of the
    responses counts."""
    result_ns: int = 0
    """The instant at which the last open task got its result; 0 while a task is open."""
    has_ended_answer: bool = False
    """True if an answer was completely spoken before the service had ended its responses."""
    _pending: int = 0
    _requested: int = 0
    """The number of responses that the client has requested and that must still start."""

    @property
    def awaits_service(self) -> bool:
        """True if a response of the service is in progress or must still start."""
        return self._pending + self._requested > 0

    def request(self, at_ns: int) -> None:
        """Record a request of the client."""
        self._requested += 1
        self.changed_ns = at_ns

    def on_event(self, event: ServerEvent, at_ns: int) -> None:
        """Apply an event of a task, or of a response for it."""
        # the start of a response that ends now may be unreported
        has_begun = event.pending > self._pending - (event.kind is EventKind.WORK_DONE)
        self._pending = event.pending
        if event.kind is TASK_ADDED:
            self.count += 1
        elif has_begun:
            self._requested = max(0, self._requested - 1)
        if has_begun or event.kind is EventKind.WORK_STARTED:
            self.changed_ns = at_ns
