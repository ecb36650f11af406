"""The dialect of GPT-Live: its messages, its features, and the settings that it refuses."""

from __future__ import annotations

from importlib import import_module
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from bench.base.clock import Arrival
from bench.base.errors import ScriptError
from bench.catalogue.timeouts import Timeouts
from bench.files.yaml_file import PythonValue
from bench.observe.inputs import Received, SessionStart
from bench.observe.timeline import Timeline
from bench.plan.script_keys import SESSION
from bench.plan.steps import (
    ExpectSettings,
    ExpectStep,
    InterruptSettings,
    InterruptStep,
    MessageStep,
)
from bench.plan.turns import Step
from bench.services.gpt_live.dialect import GPT_LIVE
from bench.services.gpt_live.track import LIVE_TRACKS
from bench.services.names import PAGES
from bench.services.registry import DIALECTS
from bench.wire.connection import ConnectionClosed, ReceivedMessage
from bench.wire.dialect import SOUND, BinaryMessage, ClientMessage
from bench.wire.events import EventKind
from bench.wire.service import CALL_FAILED
from bench.wire.settings import (
    FULL_DUPLEX,
    Message,
    SessionSettings,
    TurnDetection,
)
from tests.helpers import AT_NS, at, build_message, build_script, event_of, play, respond, say
from tests.observe.talk_log import SOUND_MS, Case, Line, Player

DUPLEX = TurnDetection(type=FULL_DUPLEX)
OF_OTHERS = ("session.input_audio.append", "transport.")
"""Prefixes of the names of server events that only additional connections of a session receive."""


def settings_of(given: Any) -> SessionSettings:
    """Read the value of `session` in a script."""
    return SESSION.read(PythonValue("session", given))


def sdk() -> Any:
    """Return the types of the official SDK. Their import takes a second, and every worker
    imports this module.
    """
    return import_module("openai.types.live")


def event_names() -> list[str]:
    union = get_args(get_args(sdk().ServerEvent)[0])
    return [name for kind in union for name in get_args(kind.model_fields["type"].annotation)]


def test_a_history_of_too_many_messages_is_refused() -> None:
    history = [Message(role="user", text="Hi.")] * 129
    refused = GPT_LIVE.unsupported_setting(
        msgspec.structs.replace(settings_of({"turn_detection": "full_duplex"}), history=history)
    )
    assert refused is not None
    assert refused.reason == "the history has 129 messages: GPT-Live accepts at most 128"


def test_an_offer_has_the_settings_of_the_official_sdk() -> None:
    """The call determines the format of the audio, so the settings have none."""
    given = {
        "turn_detection": "full_duplex",
        "voice": "cedar",
        "instructions": "Be brief.",
        "delegation": "client",
    }
    (start, _), (plain, _) = (
        LIVE_TRACKS.by_codec["OPUS"].setup_messages(settings_of(settings), "e1")
        for settings in (given, {"turn_detection": "full_duplex"})
    )

    assert isinstance(start, ClientMessage)
    assert isinstance(plain, ClientMessage)
    session = msgspec.json.decode(start.data)["session"]
    # what it lacks is left out
    assert TypeAdapter(sdk().MediaSessionConfigParam).validate_python(session) == session
    assert session == {
        "model": "gpt-live-1",
        "instructions": "Be brief.",
        "audio": {"output": {"voice": "cedar"}},
        "delegation": {"type": "client"},
    }
    assert msgspec.json.decode(plain.data)["session"] == {"model": "gpt-live-1"}


@pytest.mark.parametrize(
    "outcome", ["timeout:upgrade", "timeout:ice", "connect_failed:401", "throttled:handshake"]
)
def test_a_session_has_the_outcome_of_its_call(outcome: str) -> None:
    """A call with the other form of offer has the same outcome."""
    stage, _, code = outcome.partition(":")
    error = {"type": stage, "code": code, "message": "no answer to the offer within 3 s"}
    data = msgspec.json.encode({"type": CALL_FAILED, "error": error})
    timeline = Timeline(SessionStart(AT_NS, 1, Timeouts()), LIVE_TRACKS.by_codec["OPUS"])
    timeline.apply(
        Received(
            LIVE_TRACKS.by_codec["OPUS"].decode(data), ReceivedMessage(data, Arrival(at(1)), 0)
        )
    )
    timeline.apply(ConnectionClosed(1006, at(1)))

    session = timeline.session()
    assert (session.outcome, session.detail) == (outcome, "no answer to the offer within 3 s")


def test_the_sound_of_a_track_is_that_of_its_frames_also_in_a_log() -> None:
    frame = BinaryMessage(b"\x01\x02" * 480)
    logged = msgspec.json.encode({"binary": bytes(frame)})

    sounds = [event_of(each, LIVE_TRACKS.by_codec["OPUS"]) for each in (frame, logged)]
    assert {(each.kind, each.payload_bytes) for each in sounds} == {
        (EventKind.AUDIO_DELTA, len(frame))
    }
    assert sounds[0].payload == sounds[1].payload
    assert (
        event_of(
            LIVE_TRACKS.by_codec["OPUS"].without_audio(frame), LIVE_TRACKS.by_codec["OPUS"]
        ).payload_bytes
        == 0
    )


def test_every_event_of_the_official_sdk_is_known_except_those_of_other_connections() -> None:
    unknown = [
        name
        for name in event_names()
        if {event.kind for event in GPT_LIVE.decode(msgspec.json.encode({"type": name}))}
        == {EventKind.UNKNOWN}
    ]

    assert unknown == [name for name in event_names() if name.startswith(OF_OTHERS)]


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (
            say(),
            (
                "step 2 is a text turn, which GPT-Live does not support: use a recording instead"
                " (`audio`)"
            ),
        ),
        (
            respond(),
            (
                "step 2 requests an answer without new input, which GPT-Live does not support:"
                " remove it"
            ),
        ),
        (
            MessageStep(build_message("I am.")),
            "step 2 adds a message to the conversation, which GPT-Live does not",
        ),
        (
            InterruptStep(InterruptSettings()),
            "step 2 interrupts a reply, which GPT-Live does not support",
        ),
        (
            ExpectStep(ExpectSettings("audio_delta", 1)),
            "step 2 expects an event, which GPT-Live does not support",
        ),
    ],
)
def test_steps_that_gpt_live_does_not_support_are_refused(step: Step, words: str) -> None:
    with pytest.raises(ScriptError) as refused:
        build_script(play(), step, dialect=GPT_LIVE, turn_detection=DUPLEX)
    assert words in str(refused.value)


def test_other_dialects_refuse_settings_specific_to_gpt_live() -> None:
    for name, dialect in DIALECTS.items():
        if name in PAGES:
            continue
        if dialect.turn_source is not SOUND and "model" not in dialect.setting_keys.session:
            for settings in ({"turn_detection": "full_duplex"}, {"model": "gpt-live-1"}):
                refused = dialect.unsupported_setting(settings_of(settings))
                assert refused is not None
                assert "needs the GPT-Live dialect" in refused.reason
                offers_agents = (
                    "--dialect twilio, acs or pcm for the URL of an agent" in refused.reason
                )
                assert offers_agents == ("turn_detection" in settings)


@given(
    name=st.deferred(lambda: st.sampled_from([*event_names(), "x"])),
    fields=st.dictionaries(
        st.sampled_from(["delta", "session", "error", "reason"]),
        st.none()
        | st.integers()
        | st.text(max_size=9)
        | st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
    ),
)
def test_no_event_raises_for_any_values_of_its_fields(name: str, fields: dict[str, Any]) -> None:
    message = msgspec.json.encode({"type": name} | fields)

    assert GPT_LIVE.decode(message)
    assert [event.kind for event in GPT_LIVE.decode(GPT_LIVE.without_audio(message))] == [
        event.kind for event in GPT_LIVE.decode(message)
    ]


STEPS_OF_TASKS = (
    "< delegated client d1",
    "< delegated responses d1",
    '< backend created response={"id":"r1"}',
    '< backend output_item.done item={"type":"function_call","call_id":"c1","name":"weather"}',
    '< backend output_item.added item={"type":"message"}',
    '< backend completed response={"id":"r1"}',
    "> send session.commentary.append",
    "> call d1",
    '< {"type":"session.commentary.appended","client_event_id":"turn-1-output-1"}',
    "> send response.item.create",
    "> call c1",
    "> send response.create",
    "< sound #",
    "< sound .",
    f"< sound {22 * '.'}",
)


@given(st.lists(st.sampled_from(STEPS_OF_TASKS), max_size=30))
def test_any_order_of_events_gives_at_most_one_answer_after_the_speech(steps: list[str]) -> None:
    opening = (
        '< {"type":"session.started","session":{"id":"live_1"}}',
        "> begin vad=yes service_responds=yes functions=yes",
        '> send session.input_audio.append instants={"speech_start":100000000,"speech_end":0}',
    )
    lines, at_ms = list[Line](), 200
    for step in (*opening, *steps, f"< sound {30 * '.'}"):
        lines.append(Line(at_ms, 0, True, *step.split(" ", 1)))
        lines.append(Line(at_ms, 0, True, ">", "expire"))
        at_ms += SOUND_MS * len(step.removeprefix("< sound ")) if "sound" in step else 0
    lines.append(Line(at_ms + 1_000_000, 0, True, ">", "expire"))
    talk = Player(Case("dialect=gpt-live ready=no service_responds=yes", lines)).talk

    turn = talk.only()
    answer = turn.instants.get("function_audible")
    assert answer is None or answer >= max(
        turn.instants["speech_end"], turn.instants.get("function_call_added", 0)
    )
    if turn.outcome == "ok":
        assert answer is None or turn.turn_type == "function_calls"
