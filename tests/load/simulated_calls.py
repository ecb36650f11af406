"""Calls on a virtual clock, with the behaviour of the simulator."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from bench.load.execution.call import Call
from bench.load.execution.session_registry import RunListener
from bench.observe.inputs import SessionStart
from bench.observe.observation import SessionObservation, TurnObservation
from bench.observe.timeline import Timeline
from bench.plan.prepared import PreparedScript
from bench.services.openai.dialect import GA
from bench.session.session import Session
from bench.wire.connection import ConnectionClosed
from rtbench_simulator.profile import Profile, quiet_profile
from tests.helpers import Listening, error
from tests.memory_transport import PeerAnswer, VirtualClock
from tests.talking import START_NS, PatientTransport, Simulator, decoded

NEVER = 1 << 62
PROFILE = replace(quiet_profile(), generation_speed=2.0)
LIMIT = "Your session hit the maximum duration of 60 minutes."


class CappedAgent(Simulator):
    """A simulator that ends its session after `cap_ns`."""

    def __init__(self, profile: Profile, seed: int, at_ns: int, cap_ns: int) -> None:
        super().__init__(GA, profile, seed, at_ns)
        self._ends_ns = at_ns + cap_ns

    def next_due_ns(self) -> int | None:
        return (
            min(self._ends_ns, due_ns)
            if (due_ns := super().next_due_ns()) is not None
            else self._ends_ns
        )

    def say(self, now_ns: int) -> Iterable[PeerAnswer]:
        if now_ns < self._ends_ns:
            yield from super().say(now_ns)
        elif self._ends_ns < NEVER:
            ends_ns, self._ends_ns = self._ends_ns, NEVER
            yield ends_ns, error("session_expired", words=LIMIT)
            yield ends_ns, ConnectionClosed(1001, 0, LIMIT)


class SessionObserver(Listening):
    """A listener that records the results and events of one session of a call."""

    opened = ended = 0
    refusal = None

    def __init__(self, timeline: Timeline) -> None:
        super().__init__()
        self.timeline = timeline

    def on_opened(self) -> None:
        self.opened += 1

    def session_ended(self) -> None:
        self.ended += 1


class SimulatedCall(Call):
    """A call with a new simulated service for each session. The service ends its session after
    `cap_ns`.
    """

    def __init__(
        self,
        script: PreparedScript,
        cap_ns: int = NEVER >> 1,
        ends_ns: int = NEVER,
        seed: int = 1,
        profile: Profile = PROFILE,
    ) -> None:
        assignment = SimpleNamespace(script=script, seed=seed, pair=SimpleNamespace(number=0))
        super().__init__(cast(Any, None), cast(Any, assignment))
        self.script, self._cap_ns, self._ends_ns, self._seed = script, cap_ns, ends_ns, seed
        self._profile = profile
        self.clock = VirtualClock(START_NS)
        self.observers: list[SessionObserver] = []
        """One observer for each session, with the session's results."""
        self.services: list[Simulator] = []
        self.histories: list[int] = []
        self.place_ns = 0
        """The instant at which the next session may start."""

    def talk(self) -> None:
        """Run the call from its beginning to its end."""
        self.start()
        if self.connect():
            if self.open():
                for step in self.script.steps:
                    if not self.run_step(step):
                        break
                self.finish()
            if self._session is not None:
                self._session.close()
        self.end()

    def start_session(self, number: int, turns_started: int) -> RunListener:
        assert number == len(self.observers) + 1
        script, wanted = self.script, len(self.script.turns) - turns_started
        responds, renewable = script.service_responds, script.renewable
        start = SessionStart(
            self.clock.now_ns, wanted, script.limits, responds, renewable=renewable
        )
        timeline = Timeline(start, script.dialect)
        self.observers.append(SessionObserver(timeline))
        return cast(Any, self.observers[-1])

    def has_step(self, *, waits: bool, from_ns: int = 0, until_ns: int = NEVER) -> bool:
        place_ns = max(self.place_ns, from_ns)
        if waits and not self.is_ending():
            self.clock.now_ns = max(self.clock.now_ns, place_ns)
        has_time = self.clock.now_ns <= until_ns and not self.is_ending()
        return self.clock.now_ns >= place_ns and has_time

    def connect(self) -> bool:
        listener, script = self._listener, self._script
        self.services.append(
            CappedAgent(
                self._profile, self._seed + len(self.observers), self.clock.now_ns, self._cap_ns
            )
        )
        self.histories.append(len(script.history))
        transport = PatientTransport(self.services[-1], self.clock)
        self._session = Session(script, transport, listener.timeline, listener, self.is_ending)
        return True

    def is_ending(self) -> bool:
        return self.clock.now_ns > START_NS + self._ends_ns

    # The results.

    @property
    def sessions(self) -> list[SessionObservation]:
        return [observer.timeline.session() for observer in self.observers]

    @property
    def turns_of_sessions(self) -> list[list[TurnObservation]]:
        return [sorted(observer.turns, key=lambda turn: turn.turn) for observer in self.observers]

    @property
    def turns(self) -> list[TurnObservation]:
        return [turn for turns in self.turns_of_sessions for turn in turns]

    def history_received_by(self, session: int) -> list[tuple[str, ...]]:
        """Return the items of the history that this session sent to its service before its first
        turn.
        """
        events = [event for _, event in self.services[session].heard]
        items = [event["item"] for event in events if event["event_id"] == "session-message"]
        return [item_facts(item) for item in items[: self.histories[session]]]

    def replied(self, session: int) -> list[tuple[str, ...]]:
        """Return the items that the service of a session has output. Each function call is
        followed by its result.
        """
        received = [event["item"] for _, event in self.services[session].heard if "item" in event]
        returned = {
            item["call_id"]: item_facts(item)
            for item in received
            if item["type"] == "function_call_output"
        }
        sent = [decoded(message.body) for message in self.services[session].said]
        items = [
            item
            for event in sent
            if event["type"] == "response.done"
            for item in event["response"]["output"]
        ]
        behind = [
            [item_facts(item), *([returned[item["call_id"]]] if "call_id" in item else [])]
            for item in items
        ]
        return [item for pair in behind for item in pair]


def item_facts(item: Any) -> tuple[str, ...]:
    """Return the facts of a conversation item.

    These are (role, text) of a message, (name, call ID, arguments) of a function call, or (call ID,
    output) of its result.
    """
    if item["type"] == "message":
        (part,) = item["content"]
        return item["role"], part.get("text") or part["transcript"]
    return tuple(item[key] for key in ("name", "call_id", "arguments", "output") if key in item)
