"""Follows the function calls of a turn: when they came, what answering them took, and whether they were right. Pure.

A response that calls functions is followed by another one, which goes on with the reply: the client asks for it once
it has handed over what the functions returned. There may be several such rounds; instants are those of the first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.clock import Arrival
from bench.limits import MOST_CALLS, MOST_ROUNDS
from bench.protocol.events import Event, FunctionCall, Kind

CALL_INSTANTS = {Kind.CALL_ADDED: "call_named", Kind.CALL_DONE: "call_done"}


@dataclass(slots=True, eq=False)
class Calls:
    """The function calls of one turn. `expected`: how often the script expects each; None where it does not say."""

    expected: Mapping[str, int] | None = None
    instants: dict[str, int] = field(default_factory=dict)
    errors_ns: dict[str, int] = field(default_factory=dict)
    whole: dict[str, FunctionCall] = field(default_factory=dict)
    """The calls whose arguments are whole, by their ids."""
    names: dict[str, str] = field(default_factory=dict)
    """What function each call is of, where that was told before its arguments."""
    rounds: int = 0
    """How many responses that called functions are done."""
    of_rounds: int = 0
    """How many calls those made."""
    made: set[str] = field(default_factory=set)
    """Calls that somebody was told to make, by their ids: some may be of a response that does not count."""
    returned: set[str] = field(default_factory=set)
    """Calls of which what they returned was handed over."""
    own_ns: int = 0
    """How long the functions took, from the last call of a round to the last output handed over."""
    last_done_ns: int = 0
    last_output_ns: int = 0
    wrong: str = ""
    """What is wrong with the first call that is."""

    def happened(self, event: Event, arrival: Arrival) -> None:
        """Take an event of a call."""
        for call in event.calls:
            if event.kind is Kind.CALL_ADDED:
                self.names[call.call_id] = call.name
            else:
                self._complete(call, arrival)
        instant = CALL_INSTANTS[event.kind]
        if not self.rounds and (event.kind is Kind.CALL_DONE or instant not in self.instants):
            self.instants[instant], self.errors_ns[instant] = arrival.at_ns, arrival.error_ns

    def _complete(self, call: FunctionCall, arrival: Arrival) -> None:
        name = call.name or self.names.get(call.call_id, "")
        self.whole.setdefault(call.call_id, FunctionCall(call.call_id, name, call.arguments))
        self.last_done_ns = arrival.at_ns

    def end_response(self, event: Event, arrival: Arrival) -> bool:
        """Take the end of a response; whether it called functions, so that another one is to come."""
        for call in event.calls:
            if call.call_id not in self.whole:  # of a service that sends no events of calls
                self._complete(call, arrival)
                if not self.rounds:
                    self.instants["call_done"], self.errors_ns["call_done"] = arrival.at_ns, arrival.error_ns
        if len(self.whole) == self.of_rounds:
            return False
        self.of_rounds, self.rounds = len(self.whole), self.rounds + 1
        return True

    @property
    def endless(self) -> str:
        """What there is too much of; "" where there is not."""
        if self.rounds > MOST_ROUNDS:
            return f"over {MOST_ROUNDS} responses in a row that called functions"
        return f"over {MOST_CALLS} calls of functions" if len(self.whole) > MOST_CALLS else ""

    def forget_response(self) -> None:
        """Forget the calls of a response that does not count."""
        for call_id in list(self.whole)[self.of_rounds :]:
            del self.whole[call_id]
        if not self.rounds:
            self.instants.clear()
            self.errors_ns.clear()

    def take_unmade(self) -> list[FunctionCall]:
        """The calls that are to be made, each once."""
        unmade = [call for call_id, call in self.whole.items() if call_id not in self.made]
        self.made.update(call.call_id for call in unmade)
        return unmade

    def answered(self, call_id: str, at_ns: int, wrong: str) -> None:
        """Note that what a function returned was handed over, and what was wrong with its call."""
        self.wrong = self.wrong or wrong
        if call_id in self.whole:  # else it is of a response that does not count, and nothing waits for it
            self.last_output_ns = at_ns
            self.returned.add(call_id)

    @property
    def all_answered(self) -> bool:
        """Whether the outputs of all calls were handed over."""
        return self.whole.keys() <= self.returned

    def asked_on(self) -> None:
        """Note that the response was asked for that goes on from what the functions returned."""
        self.own_ns += max(0, self.last_output_ns - self.last_done_ns)

    def problem(self) -> str:
        """What is wrong with the calls of a turn that is over; "" where nothing is."""
        if self.wrong or self.expected is None:
            return self.wrong
        missing = Counter(self.expected) - Counter(call.name for call in self.whole.values())
        return f"the script expects a call of {next(iter(missing))}, and none came" if missing else ""
