"""The dialects of agents behind Twilio, behind Azure Communication Services and on a plain
WebSocket.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.errors import ScriptError
from bench.catalogue.outcomes import AGENT_DIALECTS
from bench.plan.compiled_script import CompiledScript
from bench.plan.script import load_script
from bench.record.rows import clean
from bench.services.agents import ACS, AGENTS, PCM, TWILIO
from bench.services.registry import DIALECTS
from bench.wire.dialect import SOUND, BinaryMessage, Dialect
from bench.wire.events import EventKind
from bench.wire.settings import FULL_DUPLEX, SessionSettings, TurnDetection
from tests.helpers import event_of
from tests.simulator_process import AUDIO

DUPLEX = TurnDetection(type=FULL_DUPLEX)
CALL_ID = "0123456789abcdef0123456789abcdef"
STREAM = f"MZ{CALL_ID}"


def test_remedies_name_dialects_of_agents() -> None:
    names = re.findall(r"\w+", AGENT_DIALECTS.replace(" or ", " "))

    assert set(names) < {agent.name for agent in AGENTS}


@given(
    name=st.text()
    | st.lists(st.sampled_from(["{number}", "{uuid}", "\\", '"', "\0", "ä"])).map("".join)
)
def test_a_returned_mark_has_the_name_that_the_agent_gave_it(name: str) -> None:
    event = event_of(
        msgspec.json.encode({"event": "mark", "streamSid": STREAM, "mark": {"name": name}}), TWILIO
    )
    words = TWILIO.codec(CALL_ID)
    mark = words.acknowledge(event)

    assert json.loads(words.encode(mark.kind, mark.data))["mark"]["name"] == name


@pytest.mark.parametrize("name", ["media", "mark", "clear"])
@pytest.mark.parametrize(
    "of", [{}, {"streamSid": "MZ1"}, {"streamSid": f"CA{CALL_ID}"}, {"stream_sid": STREAM}]
)
def test_messages_of_another_stream_are_dropped_and_counted(name: str, of: dict[str, str]) -> None:
    words = TWILIO.codec(CALL_ID)
    (mine,) = words.decode(TWILIO.decode(msgspec.json.encode({"event": name, "streamSid": STREAM})))
    (other,) = words.decode(TWILIO.decode(msgspec.json.encode({"event": name} | of)))

    assert mine.kind in (EventKind.AUDIO_DELTA, EventKind.MARKED, EventKind.CLEARED)
    assert (other.kind, other.name) == (EventKind.UNKNOWN, f"{name} of another stream")


@pytest.mark.parametrize("cue", [{"after_share": 0.5}, {"after_text": "parcel"}])
@pytest.mark.parametrize("dialect", [TWILIO, ACS, PCM])
def test_a_cue_that_an_agent_does_not_report_is_refused(
    dialect: Dialect, cue: dict[str, Any], tmp_path: Path
) -> None:
    """The midpoint of an agent's reply is known only after the reply, and its text is never known.

    So the trigger would do nothing.
    """
    path, wav = tmp_path / "talk.yaml", AUDIO / "late_parcel.wav"
    steps = [{"audio": str(wav)}, {"interrupt": {"audio": str(wav), **cue}}]
    path.write_text(json.dumps({"session": {"turn_detection": "full_duplex"}, "steps": steps}))

    with pytest.raises(
        ScriptError, match=r"which an agent does not report: use `after`, in seconds"
    ) as refused:
        CompiledScript(load_script(path), dialect)
    assert "\n" not in str(refused.value)


def test_the_time_of_acs_audio_has_hours() -> None:
    audio, words = ACS.append(bytes(640), "e"), ACS.codec(CALL_ID)
    *_, late = (words.encode(audio.kind, audio.data) for _ in range(3_000 * 61 + 2))

    assert json.loads(late)["audioData"]["timestamp"] == "1970-01-01T01:01:00.020Z"


def test_the_upgrade_identifies_the_acs_call() -> None:
    assert [name for name, _ in ACS.upgrade_headers] == [
        "x-ms-call-connection-id",
        "x-ms-call-correlation-id",
    ]


@given(message=st.binary(max_size=400) | st.binary(max_size=400).map(BinaryMessage))
def test_any_pcm_message_is_decoded_and_its_log_gives_the_same_event(message: bytes) -> None:
    event = event_of(message, PCM)
    if event.kind is EventKind.MALFORMED:
        return
    whole, cut = (
        event_of(bytes(clean(stored, str)), PCM) for stored in (message, PCM.without_audio(message))
    )

    assert whole == event
    assert cut.kind is event.kind


def test_a_log_contains_binary_audio_as_base64() -> None:
    assert json.loads(bytes(clean(BinaryMessage(b"\x00\x01"), str))) == {
        "binary": base64.b64encode(b"\x00\x01").decode()
    }


# The events that each dialect decodes from messages.


def test_a_text_may_arrive_in_a_binary_frame_if_the_dialect_states_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = b'{"event": "mark", "streamSid": "%s", "mark": {"name": "said-1"}}' % STREAM.encode()
    monkeypatch.setattr(TWILIO, "has_binary_texts", True)

    assert event_of(BinaryMessage(text), TWILIO) == event_of(text, TWILIO)
    assert event_of(BinaryMessage(b"\xff" * 160), TWILIO).kind is EventKind.MALFORMED


@pytest.mark.parametrize(
    ("dialect", "key", "kinds", "holders", "inner"),
    [
        (
            TWILIO,
            "event",
            ["media", "mark", "clear", "x"],
            ["media", "mark", "streamSid"],
            ["payload", "name"],
        ),
        (
            ACS,
            "kind",
            ["AudioData", "StopAudio", "x"],
            ["audioData", "AudioData", "stopAudio"],
            ["data", "Data"],
        ),
    ],
)
@given(data=st.data())
def test_a_log_without_audio_gives_the_same_events(
    dialect: Dialect,
    key: str,
    kinds: list[str],
    holders: list[str],
    inner: list[str],
    data: st.DataObject,
) -> None:
    fields_of = (
        st.none()
        | st.text(max_size=9)
        | st.dictionaries(st.sampled_from(inner), st.text(max_size=8))
    )
    fields = data.draw(st.dictionaries(st.sampled_from(holders), fields_of))
    message = msgspec.json.encode({key: data.draw(st.sampled_from(kinds))} | fields)
    event = event_of(message, dialect)
    if event.kind is not EventKind.MALFORMED:
        assert event_of(dialect.without_audio(message), dialect).kind is event.kind


@pytest.mark.parametrize(
    "dialect",
    [each for each in DIALECTS.values() if each.turn_source is SOUND],
    ids=lambda each: each.name,
)
def test_a_call_has_the_default_formats_of_its_dialect(dialect: Dialect) -> None:
    """Decoded Opus has errors of its own in its format, which is otherwise that of the caller's
    audio.
    """
    assert dialect.unsupported_setting(SessionSettings(turn_detection=DUPLEX)) is None
