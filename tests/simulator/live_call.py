"""A call with the simulated GPT-Live on a virtual clock. Every event in both directions has the
types of the SDK.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import msgspec
from pydantic import TypeAdapter

from bench.services.full_duplex import AUDIO_DELTA
from rtbench_simulator.profile import DelegationSettings, FunctionCalls, Profile, quiet_profile
from rtbench_simulator.server_events import OutgoingEvent
from rtbench_simulator.services.gpt_live.behaviour import GptLiveBehaviour
from rtbench_simulator.simulated_session import EventReceipt
from tests.simulator.builders import AT_NS, MS, constant, function, session_parts, silence, sound

CHUNK_MS = 100
SPEECH_MS = 600
FIRST_AUDIO_MS, BACKEND_MS, ANSWER_MS = 300, 1000, 400
TOOLS: list[dict[str, Any]] = [function("find_parcel", number={"type": "string"})]
BACKEND: dict[str, Any] = {"model": "gpt-5.5", "instructions": "Find parcels.", "tools": TOOLS}
CLIENT_MODE: dict[str, Any] = {"type": "client"}
RESPONSES_MODE: dict[str, Any] = {"type": "responses", "responses": BACKEND}


@cache
def _adapter(direction: str) -> TypeAdapter[Any]:
    # takes a second, and every worker imports this module
    from openai.types.live.client_event import ClientEvent
    from openai.types.live.server_event import ServerEvent
    from openai.types.responses import ResponseStreamEvent

    kinds: Mapping[str, Any] = {
        "in": ClientEvent,
        "out": ServerEvent,
        "nested": ResponseStreamEvent,
    }
    return TypeAdapter(kinds[direction])


def assert_live(events: list[dict[str, Any]]) -> None:
    """Assert that each event has the type of the SDK, and no field that the SDK does not know."""
    for event in events:
        of_backend = [("nested", event["event"])] if "event" in event else []
        for direction, part in (("out", event), *of_backend):
            typed = _adapter(direction).validate_python(part, strict=True)
            assert typed.type == part["type"]
            assert not typed.model_extra


def live_profile(
    *, delegates: float = 1, functions: dict[str, Any] | None = None, **delegation: Any
) -> Profile:
    """Return a profile with constant delays, which delegates every turn."""
    delays = replace(quiet_profile().delays, first_audio=constant(FIRST_AUDIO_MS))
    settings = {"backend_ms": constant(BACKEND_MS), "answer_ms": constant(ANSWER_MS)}
    return replace(
        quiet_profile(),
        delays=delays,
        delegates=delegates,
        functions=FunctionCalls(**functions or {}),
        delegation=DelegationSettings(**settings | delegation),
    )


class LiveCall:
    """A call that sends audio in real time, and receives all events when they are due.

    `events` are the decoded server events, and `sent` the same as the simulator sent them. `typed`
    counts the events that were checked by the SDK's types, by their direction.
    """

    def __init__(self, profile: Profile | None = None, seed: int = 1, **session: Any) -> None:
        self.profile = profile or live_profile()
        self.behaviour = GptLiveBehaviour(session_parts(self.profile, seed=seed))
        self.now_ns = AT_NS
        self.events: list[dict[str, Any]] = []
        self.sent: list[OutgoingEvent] = []
        self.typed = {"in": 0, "out": 0, "nested": 0}
        self.behaviour.open(AT_NS)
        self.send("session.start", session={"model": "gpt-live-1", **session})
        self.pass_ms(100)

    def send(self, name: str, **fields: Any) -> EventReceipt:
        """Send a valid event."""
        event = {"type": name, "event_id": f"client_{self.typed['in']}", **fields}
        assert _adapter("in").validate_python(event, strict=True).type == name
        self.typed["in"] += 1
        return self.behaviour.receive(event, self.now_ns)

    def pass_ms(self, duration_ms: int) -> None:
        """Let time pass, without audio."""
        until_ns = self.now_ns + duration_ms * MS
        while (due_ns := self.behaviour.next_due_ns()) is not None and due_ns <= until_ns:
            self.now_ns = max(self.now_ns, due_ns)
            for sent in self.behaviour.due(self.now_ns):
                self.receive(sent)
        self.now_ns = until_ns

    def hear(self, audio: bytes) -> None:
        for begin in range(0, len(audio), 48 * CHUNK_MS):
            self.pass_ms(CHUNK_MS)
            chunk = audio[begin : begin + 48 * CHUNK_MS]
            self.send("session.input_audio.append", audio=base64.b64encode(chunk).decode())
            self.pass_ms(0)

    def silent_ms(self, duration_ms: int) -> None:
        self.hear(base64.b64decode(silence(duration_ms)))

    def speak(self, silence_ms: int = 1000) -> None:
        """Speak for `SPEECH_MS`, and then be silent."""
        self.hear(sound(SPEECH_MS, silence_ms))

    def receive(self, sent: OutgoingEvent) -> None:
        """Receive an event, and check its types."""
        event = msgspec.json.decode(sent.body)
        assert_live([event])
        assert event["type"] == sent.type
        assert event.get("event", {}).get("type") == sent.nested
        self.typed["out"] += 1
        self.typed["nested"] += bool(sent.nested)
        self.sent.append(sent)
        self.events.append(event)

    # Results

    def all_of(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == name]

    def one(self, name: str) -> dict[str, Any]:
        (event,) = self.all_of(name)
        return event

    def nested(self, name: str = "") -> list[dict[str, Any]]:
        """Return the events of the backend whose type ends with `name`."""
        nested = [event["event"] for event in self.all_of("response.event")]
        return [event for event in nested if event["type"].endswith(name)]

    def calls(self) -> list[dict[str, Any]]:
        """Return all complete function calls of the backend."""
        items = [event["item"] for event in self.nested("output_item.done")]
        return [item for item in items if item["type"] == "function_call"]

    def answer_calls(self, *calls: dict[str, Any]) -> None:
        for call in calls:
            item = {
                "type": "function_call_output",
                "call_id": call["call_id"],
                "output": "It is on its way.",
            }
            self.send("response.item.create", item=item)

    def speech(self) -> list[tuple[int, str]]:
        """Return (number of the first slice, kind) of each utterance."""
        deltas = [sent for sent in self.sent if sent.type == AUDIO_DELTA]
        begun: dict[int, tuple[int, str]] = {}
        for number, sent in enumerate(deltas):
            if sent.utterance is not None:
                begun.setdefault(sent.utterance, (number, (sent.facts or {})["utterance"]))
        return list(begun.values())

    def kinds(self) -> list[str]:
        return [kind for _, kind in self.speech()]

    @property
    def errors(self) -> list[tuple[str, str | None]]:
        """The code and the parameter of each error."""
        return [(event["error"]["code"], event["error"]["param"]) for event in self.all_of("error")]

    @property
    def delegation_id(self) -> str:
        """The id of the last delegation."""
        return str(self.all_of("session.delegation.created")[-1]["delegation"]["id"])
