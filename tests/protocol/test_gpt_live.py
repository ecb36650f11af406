"""The dialect of GPT-Live: its messages, its features, and the settings that it refuses."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.live import ServerEvent, SessionStartEvent

from bench.clock import Arrival
from bench.errors import ScriptError
from bench.observe import inputs
from bench.observe.inputs import SessionStart
from bench.observe.timeline import Timeline
from bench.plan.script_keys import SESSION
from bench.plan.steps import ExpectSettings, ExpectStep, InterruptSettings, InterruptStep, MessageStep
from bench.plan.turns import Step
from bench.protocol.base import AwaitedEvent, ClientMessage
from bench.protocol.dialects import DIALECTS
from bench.protocol.events import ErrorScope, EventKind
from bench.protocol.gpt_live import GPT_LIVE
from bench.protocol.settings import FULL_DUPLEX, SessionSettings, TurnDetection
from bench.remedies import remedy_of
from bench.timeouts import Timeouts
from bench.transport.received import ReceivedMessage
from bench.yaml_file import PythonValue
from tests.helpers import AT_NS, at, build_message, build_script, build_turn, event_of, play, respond, say

DUPLEX = TurnDetection(type=FULL_DUPLEX)
OF_OTHERS = ("session.input_audio.append", "transport.")
"""Prefixes of the names of server events that only additional connections of a session receive."""


def settings_of(given: Any) -> SessionSettings:
    """Read the value of `session` in a script."""
    return SESSION.read(PythonValue("session", given))


def event_names() -> list[str]:
    union = get_args(get_args(ServerEvent)[0])
    return [name for kind in union for name in get_args(kind.model_fields["type"].annotation)]


def test_a_session_is_started_with_the_messages_of_the_official_sdk() -> None:
    settings = settings_of(
        {"turn_detection": "full_duplex", "model": "gpt-live-1.1", "voice": "cedar", "instructions": "Be brief.",
         "input_format": "g711_ulaw", "output_format": "g711_ulaw", "extra": {"store": False}}
    )  # fmt: skip
    start, awaited = GPT_LIVE.setup_messages(settings, "e1")

    assert isinstance(start, ClientMessage)
    body = msgspec.json.decode(start.data)
    assert SessionStartEvent.model_validate(body, strict=True).to_dict() == body
    assert body["session"] == {
        "model": "gpt-live-1.1",
        "instructions": "Be brief.",
        "audio": {"format": {"type": "audio/pcmu", "rate": 8_000}, "output": {"voice": "cedar"}},
        "store": False,
    }
    assert awaited == AwaitedEvent(EventKind.SESSION_UPDATED, "session.started")


@pytest.mark.parametrize("name", event_names())
def test_every_event_of_the_official_sdk_is_known_except_those_of_other_connections(name: str) -> None:
    kinds = {event.kind for event in GPT_LIVE.decode(msgspec.json.encode({"type": name}))}

    assert (kinds == {EventKind.UNKNOWN}) == name.startswith(OF_OTHERS)


@pytest.mark.parametrize(
    ("reason", "kind", "effect"),
    [
        ("close_requested", EventKind.NOTED, None),
        ("expired", EventKind.ERROR, ErrorScope.EXPIRED),
        ("content", EventKind.ERROR, ErrorScope.FATAL),
        ("connection_lost", EventKind.ERROR, ErrorScope.FATAL),
    ],
)
def test_the_end_of_a_session_has_its_reason(reason: str, kind: EventKind, effect: ErrorScope | None) -> None:
    event = event_of(msgspec.json.encode({"type": "session.closed", "reason": reason}), GPT_LIVE)

    assert (event.kind, event.failure and event.failure.effect) == (kind, effect)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "turn_detection must be full_duplex: GPT-Live decides by itself when to speak"),
        ({"turn_detection": "server_vad"}, "turn_detection must be full_duplex"),
        ({"turn_detection": "full_duplex", "output": "text"}, "output must be audio"),
        ({"turn_detection": "full_duplex", "temperature": 0.8}, "temperature is not a setting of GPT-Live: remove it"),
        ({"turn_detection": "full_duplex", "voice": {"type": "openai", "name": "x"}}, "voice must be the name"),
        ({"turn_detection": "full_duplex", "input_format": "g711_ulaw"}, "output_format must equal input_format"),
        ({"turn_detection": "full_duplex", "input_format": "pcm16@48000"}, "input_format must be one of pcm16,"),
        ({"turn_detection": "full_duplex", "extra": {"model": "x"}}, "extra must not set model"),
        ({"turn_detection": "full_duplex", "extra": {"delegation": {"type": "responses", "responses": {}}}},
         "extra must not set delegation to responses: the tokens of that backend are not counted, so its cost is "
         "neither in"),
        ({"turn_detection": "full_duplex", "extra": {"delegation": {"type": "decisions"}}},
         "extra must not set delegation to decisions: the tokens of that backend"),
        ({"turn_detection": "full_duplex", "extra": {"triggers": [{"type": "decisions"}]}},
         "extra must not set triggers: the tokens of that backend"),
    ],
)  # fmt: skip
def test_settings_that_gpt_live_does_not_support_are_refused(settings: dict[str, Any], words: str) -> None:
    refused = GPT_LIVE.unsupported_setting(settings_of(settings))

    assert refused is not None
    assert refused.reason.startswith(words)


def test_a_session_may_delegate_to_its_client() -> None:
    extra = {"delegation": {"type": "client", "acknowledgement_delay_ms": 400}, "triggers": []}

    assert GPT_LIVE.unsupported_setting(settings_of({"turn_detection": "full_duplex", "extra": extra})) is None


def test_an_update_that_delegates_to_a_backend_is_refused() -> None:
    update = {"type": "session.update", "session": {"delegation": {"type": "responses"}}}
    settings = settings_of({"turn_detection": "full_duplex"})

    assert GPT_LIVE.unsupported_event(update, settings).startswith("must not set delegation to responses: the tokens")
    assert GPT_LIVE.unsupported_event({"type": "session.update", "session": {"delegation": None}}, settings) == ""


@pytest.mark.parametrize(
    ("delegation", "words"),
    [
        ({"id": "d1", "target": "client", "type": "delegation"}, "(to: client), and this tool does not do tasks"),
        ({"id": "d1", "target": "responses", "type": "delegation"}, "(to: responses), and its tokens are not counted"),
        ([], "(to: unknown), and its tokens are not counted"),
    ],
)
def test_a_turn_with_a_delegation_fails_and_its_detail_explains_it(delegation: object, words: str) -> None:
    timeline = Timeline(SessionStart(AT_NS, 2, Timeouts(), service_responds=True), GPT_LIVE)
    started = msgspec.json.encode({"type": "session.started", "session": {"id": "live_1"}})
    delegated = msgspec.json.encode({"type": "session.delegation.created", "delegation": delegation, "offset_ms": 5})
    timeline.received(GPT_LIVE.decode(started), ReceivedMessage(started, Arrival(at(5)), len(started)))
    timeline.apply(inputs.TurnStarted(at(10), build_turn(has_turn_events=False, vad=True, service_responds=True)))
    timeline.received(GPT_LIVE.decode(delegated), ReceivedMessage(delegated, Arrival(at(20)), len(delegated)))
    (turn,) = timeline.pop_turns(at(40))

    assert (turn.outcome, timeline.session().outcome) == ("failed:delegation", "failed:delegation")
    assert turn.detail.startswith("delegation: the service delegated a task")
    assert words in turn.detail
    assert "delegates nothing" in remedy_of(turn.outcome, turn.detail)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (say(), "step 2 is a text turn, which GPT-Live does not support: use a recording instead (`audio`)"),
        (respond(), "step 2 requests an answer without new input, which GPT-Live does not support: remove it"),
        (
            MessageStep(build_message("I am.")),
            "step 2 adds a message to the conversation, which GPT-Live does not",
        ),
        (InterruptStep(InterruptSettings()), "step 2 interrupts a reply, which GPT-Live does not support"),
        (ExpectStep(ExpectSettings("audio_delta", 1)), "step 2 expects an event, which GPT-Live does not support"),
    ],
)
def test_steps_that_gpt_live_does_not_support_are_refused(step: Step, words: str) -> None:
    with pytest.raises(ScriptError) as refused:
        build_script(play(), step, dialect=GPT_LIVE, turn_detection=DUPLEX)
    assert words in str(refused.value)


def test_other_dialects_refuse_settings_specific_to_gpt_live() -> None:
    for dialect in DIALECTS.values():
        if dialect.has_turn_events:
            for settings in ({"turn_detection": "full_duplex"}, {"model": "gpt-live-1"}):
                refused = dialect.unsupported_setting(settings_of(settings))
                assert refused is not None
                assert "needs the GPT-Live dialect" in refused.reason


@given(name=st.sampled_from([*event_names(), "x"]), fields=st.dictionaries(
    st.sampled_from(["delta", "session", "error", "reason"]), st.none() | st.integers() | st.text(max_size=9)
    | st.dictionaries(st.text(max_size=5), st.integers(), max_size=2)
))  # fmt: skip
def test_no_event_raises_for_any_values_of_its_fields(name: str, fields: dict[str, Any]) -> None:
    message = msgspec.json.encode({"type": name} | fields)

    assert GPT_LIVE.decode(message)
    assert [event.kind for event in GPT_LIVE.decode(GPT_LIVE.without_audio(message))] == [
        event.kind for event in GPT_LIVE.decode(message)
    ]
