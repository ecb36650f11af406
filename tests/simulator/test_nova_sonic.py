"""The simulated Amazon Nova Sonic on a virtual clock: its events, and its refusals."""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from bench.wire.addresses import HostPort
from rtbench_simulator.faults.kinds import read_line
from rtbench_simulator.profile import FunctionCalls, Profile
from rtbench_simulator.services.nova_sonic import line
from rtbench_simulator.services.nova_sonic.behaviour import NovaBehaviour
from rtbench_simulator.services.nova_sonic.line import PREFACE, SERVICE, NovaLine
from tests.simulator.builders import (
    AT_NS,
    SECOND,
    session_parts,
)
from tests.simulator.service_call import FIRST_AUDIO_MS, ServiceCall, quick

START: dict[str, Any] = {"sessionStart": {"inferenceConfiguration": {"maxTokens": 1024}}}
PROMPT: dict[str, Any] = {
    "promptStart": {
        "promptName": "p",
        "audioOutputConfiguration": {"sampleRateHertz": 24_000, "voiceId": "matthew"},
    }
}
LISTEN: dict[str, Any] = {
    "contentStart": {
        "promptName": "p",
        "contentName": "a",
        "type": "AUDIO",
        "role": "USER",
        "audioInputConfiguration": {"sampleRateHertz": 16_000},
    }
}
TOOL = {"toolSpec": {"name": "find_parcel", "inputSchema": {"json": '{"type": "object"}'}}}


class Call(ServiceCall):
    def __init__(self, profile: Profile | None = None, **prompt: Any) -> None:
        behaviour = NovaBehaviour(session_parts(profile or quick()))
        super().__init__(behaviour, START, {"promptStart": PROMPT["promptStart"] | prompt}, LISTEN)

    def send(self, message: Mapping[str, Any]) -> None:
        super().send({"event": message})

    def block(self, content: str, text: str, **start: Any) -> None:
        names = {"promptName": "p", "contentName": f"block-{self.now_ns}"}
        self.send({"contentStart": names | start})
        self.send({content: names | {"content": text}})
        self.send({"contentEnd": names})

    def type(self, text: str) -> None:
        self.block("textInput", text, type="TEXT", role="USER", interactive=True)

    def append(self, chunk: bytes) -> None:
        content = base64.b64encode(chunk).decode()
        self.send({"audioInput": {"promptName": "p", "contentName": "a", "content": content}})

    def of(self, name: str) -> list[Any]:
        decoded = (msgspec.json.decode(event.body) for event in self.events if event.body)
        return [body["event"][name] for body in decoded if name in body.get("event", {})]

    @property
    def ends(self) -> list[tuple[str, str]]:
        return [(end["type"], end["stopReason"]) for end in self.of("contentEnd")]


def test_a_typed_turn_is_planned_spoken_and_repeated() -> None:
    call = Call()
    call.type("Hello")
    call.pass_ms(20_000)

    blocks = {start["contentId"]: start for start in call.of("contentStart")}
    stages = [
        (blocks[text["contentId"]]["additionalModelFields"], text["content"])
        for text in call.of("textOutput")
    ]
    assert stages[0][0] == '{"generationStage": "SPECULATIVE"}'
    assert stages[-1][0] == '{"generationStage": "FINAL"}'
    assert " ".join(text for _, text in stages[:-1]) == stages[-1][1]
    sounds = [event for event in call.events if event.type == "audio.delta"]
    assert sum(event.audio_bytes for event in sounds) == sum(
        len(base64.b64decode(audio["content"])) for audio in call.of("audioOutput")
    )
    assert call.ends[-2:] == [("AUDIO", "END_TURN"), ("TEXT", "END_TURN")]
    assert len(call.of("completionStart")) == 1


def test_detected_speech_is_transcribed_counted_and_answered() -> None:
    call = Call()
    call.speak(600, 700)
    call.pass_ms(20_000)

    assert call.of("textOutput")[0]["role"] == "USER"
    (facts,) = (event.facts for event in call.events if event.facts)
    assert facts["speech_at_byte"] == 600 * 32
    first, *_, last = call.of("usageEvent")
    assert first["details"]["delta"]["input"]["speechTokens"] > 0
    assert last["details"]["delta"]["output"]["speechTokens"] > 0
    assert last["totalTokens"] == last["totalInputTokens"] + last["totalOutputTokens"]


def test_speech_interrupts_a_reply_and_only_a_text_states_it() -> None:
    call = Call()
    call.type("Hello")
    call.pass_ms(FIRST_AUDIO_MS + 100)
    call.speak(600, 700)
    call.pass_ms(20_000)

    interrupted = call.ends.index(("TEXT", "INTERRUPTED"))
    assert call.ends[interrupted - 1] == ("AUDIO", "END_TURN")
    texts = [text["content"] for text in call.of("textOutput")]
    assert texts.count('{ "interrupted" : true }') == 1
    assert {event.response_id for event in call.events if event.type == "audio.delta"} == {
        "reply-1",
        "reply-2",
    }


def test_a_tool_is_called_and_its_result_answered() -> None:
    call = Call(quick(functions=FunctionCalls()), toolConfiguration={"tools": [TOOL]})
    call.type("Where is it?")
    call.pass_ms(5_000)
    assert call.ends[-1] == ("TOOL", "TOOL_USE")
    (used,) = call.of("toolUse")
    assert used["toolName"] == "find_parcel"
    configuration = {"toolUseId": used["toolUseId"], "type": "TEXT"}
    call.block("toolResult", "{}", type="TOOL", toolResultInputConfiguration=configuration)
    call.pass_ms(20_000)

    assert call.ends[-1] == ("TEXT", "END_TURN")


@pytest.mark.parametrize(
    "events",
    [
        [PROMPT],
        [START, START],
        [START, LISTEN],
        [START, PROMPT, PROMPT],
        [START, PROMPT, LISTEN, LISTEN],
        [START, PROMPT, {"audioInput": {"promptName": "p", "contentName": "a", "content": ""}}],
        [START, PROMPT, {"other": {"promptName": "p"}}],
        [{}],
    ],
)
def test_a_refusal_is_an_exception_that_ends_the_session(events: list[dict[str, Any]]) -> None:
    behaviour = NovaBehaviour(session_parts(quick()))
    behaviour.open(AT_NS)
    for event in events:
        behaviour.receive_text(msgspec.json.encode({"event": event}), AT_NS)
    *_, last = behaviour.due(AT_NS + SECOND)

    assert msgspec.json.decode(last.body)["exception"]["type"] == "validationException"
    assert last.close is not None
    assert behaviour.next_due_ns() is None


def test_no_event_precedes_the_response() -> None:
    behaviour = NovaBehaviour(session_parts(quick()))
    behaviour.open(AT_NS)
    behaviour.receive_text(msgspec.json.encode({"event": PROMPT}), AT_NS)

    assert [event.type for event in behaviour.due(AT_NS + SECOND)] == [
        "opened",
        "validationException",
    ]


def test_the_end_of_a_session_ends_its_stream() -> None:
    call = Call()
    call.send({"promptEnd": {"promptName": "p"}})
    call.send({"sessionEnd": {}})
    call.pass_ms(10)

    assert call.of("completionEnd")
    assert call.events[-1].close is not None


@pytest.mark.parametrize("fault", ["error", "failed", "drip", "other_dialect", "close,at=speech"])
def test_a_fault_that_the_service_lacks_refuses_the_connection(fault: str) -> None:
    assert SERVICE.lacks(read_line(fault))


def test_a_fault_that_the_service_has_is_accepted() -> None:
    assert not SERVICE.lacks(read_line("close,at=done"))


def test_a_simulator_that_started_without_its_packages_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, f"{line.__package__}.connection", None)
    server: Any = SimpleNamespace(config=SimpleNamespace(tls=None))
    sent = list[bytes]()
    stream: Any = SimpleNamespace(write=sent.append)
    NovaLine(server, ("127.0.0.1", 0), 1).connect(PREFACE, HostPort("127.0.0.1", 1), stream)

    assert b"".join(sent).endswith(b"install rtbench[aws], and restart the simulator")
