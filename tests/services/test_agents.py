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
from bench.services.pages.dialect import PageDialect
from bench.services.registry import DIALECTS
from bench.wire.audio import G711_ULAW, AudioFormatName
from bench.wire.dialect import SOUND, BinaryMessage, ClientMessage, Dialect, MessageKind
from bench.wire.events import EventKind, audio_payload
from bench.wire.settings import FULL_DUPLEX, SessionSettings, TurnDetection
from tests.helpers import event_of
from tests.simulator_process import AUDIO

DUPLEX = TurnDetection(type=FULL_DUPLEX)
CALL_ID = "0123456789abcdef0123456789abcdef"
STREAM = f"MZ{CALL_ID}"
LOUD = base64.b64encode(b"\x00" * 160).decode()


def written_by(
    *messages: ClientMessage | None, dialect: PageDialect = TWILIO
) -> list[dict[str, Any]]:
    """Return these messages as one call sends them in this order."""
    words = dialect.codec(CALL_ID)
    return [
        json.loads(words.encode(message.kind, message.data))
        for message in messages
        if message is not None
    ]


def opening(**extra: Any) -> list[ClientMessage]:
    steps = TWILIO.setup_messages(SessionSettings(turn_detection=DUPLEX, extra=extra), "e")
    return [step for step in steps if isinstance(step, ClientMessage)]


def test_remedies_name_dialects_of_agents() -> None:
    names = re.findall(r"\w+", AGENT_DIALECTS.replace(" or ", " "))

    assert set(names) < {agent.name for agent in AGENTS}


def test_a_stream_is_opened_as_twilio_opens_it() -> None:
    connected, start = written_by(*opening(number="+15550100", call="{uuid}"))

    assert connected == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    assert start == {
        "event": "start",
        "sequenceNumber": "1",
        "start": {
            "accountSid": "AC" + "0" * 32,
            "callSid": f"CA{CALL_ID}",
            "streamSid": STREAM,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"number": "+15550100", "call": CALL_ID},
        },
        "streamSid": STREAM,
    }


def test_media_messages_are_numbered_and_have_the_time_of_their_audio() -> None:
    audio = [TWILIO.append(bytes([number]) * 160, "e") for number in range(3)]
    *_, first, second, key, third = written_by(
        *opening(), *audio[:2], TWILIO.raw({"type": "dtmf", "digit": "5"}, "e"), audio[2]
    )

    assert [message["sequenceNumber"] for message in (first, second, key, third)] == [
        "2",
        "3",
        "4",
        "5",
    ]
    assert [message["media"]["chunk"] for message in (first, second, third)] == ["1", "2", "3"]
    assert [message["media"]["timestamp"] for message in (first, second, third)] == [
        "0",
        "20",
        "40",
    ]
    assert base64.b64decode(third["media"]["payload"]) == b"\x02" * 160
    assert {message["streamSid"] for message in (first, second, key, third)} == {STREAM}
    assert key["dtmf"] == {"track": "inbound_track", "digit": "5"}


def test_marks_are_returned_and_a_call_ends_with_stop() -> None:
    words = TWILIO.codec(CALL_ID)
    mark, stop = written_by(words.acknowledge("said-1"), words.goodbye())

    assert (mark["event"], mark["mark"], mark["streamSid"]) == ("mark", {"name": "said-1"}, STREAM)
    assert (stop["event"], stop["stop"]["callSid"]) == ("stop", f"CA{CALL_ID}")


@given(
    name=st.text()
    | st.lists(st.sampled_from(["{number}", "{uuid}", "\\", '"', "\0", "ä"])).map("".join)
)
def test_a_returned_mark_has_the_name_that_the_agent_gave_it(name: str) -> None:
    event = event_of(
        msgspec.json.encode({"event": "mark", "streamSid": STREAM, "mark": {"name": name}}), TWILIO
    )
    (returned,) = written_by(TWILIO.codec(CALL_ID).acknowledge(event.text))

    assert returned["mark"]["name"] == name


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


def test_twilio_audio_is_counted_and_its_payload_is_unchanged() -> None:
    event = event_of(msgspec.json.encode({"event": "media", "media": {"payload": LOUD}}), TWILIO)

    assert event.payload_bytes == 160
    assert isinstance(event.payload, msgspec.Raw)
    assert audio_payload(event.payload) == b"\x00" * 160


@pytest.mark.parametrize("payload", ["abc", "!!!!", 5, {}, []])
def test_audio_that_is_no_base64_is_unreadable(payload: Any) -> None:
    event = event_of(msgspec.json.encode({"event": "media", "media": {"payload": payload}}), TWILIO)

    assert event.kind is EventKind.AUDIO_DELTA
    assert event.payload_bytes < 0 or audio_payload(msgspec.Raw(event.payload)) is None  # type: ignore[arg-type]


def test_a_parameter_is_not_replaced_by_the_sequence_number() -> None:
    _, start = written_by(*opening(number="{number}"))

    assert (start["sequenceNumber"], start["start"]["customParameters"]) == (
        "1",
        {"number": "{number}"},
    )


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


def test_only_single_dtmf_keys_can_be_sent_to_a_phone_agent() -> None:
    settings = SessionSettings(turn_detection=DUPLEX)

    assert TWILIO.unsupported_event({"type": "dtmf", "digit": "#"}, settings) == ""
    assert "press a key with" in TWILIO.unsupported_event({"type": "dtmf", "digit": "12"}, settings)
    assert "press a key with" in TWILIO.unsupported_event({"type": "clear"}, settings)


def test_custom_parameters_are_strings_and_audio_is_mu_law() -> None:
    number = TWILIO.unsupported_setting(
        SessionSettings(turn_detection=DUPLEX, extra={"retries": 3})
    )
    rate = TWILIO.unsupported_setting(SessionSettings(turn_detection=DUPLEX, input_format="pcm16"))

    assert number is not None
    assert number.setting == ("extra", "retries")
    assert rate is not None
    assert rate.reason == "input_format must be one of g711_ulaw, not pcm16"
    assert (TWILIO.frame_ms, next(iter(TWILIO.input_formats.values()))) == (20, G711_ULAW)
    assert TWILIO.message_kinds["media"] is MessageKind.APPEND


SAID = base64.b64encode(b"\x01\x02" * 320).decode()


@pytest.mark.parametrize(("name", "rate", "length"), [(None, 16_000, 640), ("pcm16", 24_000, 960)])
def test_the_first_acs_message_describes_the_audio_format(
    name: AudioFormatName | None, rate: int, length: int
) -> None:
    settings = SessionSettings(turn_detection=DUPLEX, input_format=name, output_format=name)
    assert ACS.unsupported_setting(settings) is None
    (metadata,) = ACS.setup_messages(settings, "e")

    assert isinstance(metadata, ClientMessage)
    metadata_body = {
        "subscriptionId": CALL_ID,
        "encoding": "PCM",
        "sampleRate": rate,
        "channels": 1,
        "length": length,
    }
    assert written_by(metadata, dialect=ACS) == [
        {"kind": "AudioMetadata", "audioMetadata": metadata_body}
    ]


def test_acs_audio_has_its_time_and_whether_it_is_silence() -> None:
    audio = [ACS.append(bytes(640), "e"), ACS.append(b"\x01" * 640, "e")]
    words = ACS.codec(CALL_ID)
    written = [
        words.encode(message.kind, message.data) for message in (*audio, *[audio[0]] * 3_000 * 61)
    ]
    silent, loud, late = (json.loads(written[place]) for place in (0, 1, -1))

    assert (silent["kind"], silent["audioData"]["silent"], loud["audioData"]["silent"]) == (
        "AudioData",
        True,
        False,
    )
    assert loud["audioData"]["timestamp"] == "1970-01-01T00:00:00.020Z"
    assert late["audioData"]["timestamp"] == "1970-01-01T01:01:00.020Z"
    assert base64.b64decode(loud["audioData"]["data"]) == b"\x01" * 640


def test_a_dtmf_key_is_sent_to_acs() -> None:
    assert written_by(ACS.raw({"type": "dtmf", "digit": "*"}, "e"), dialect=ACS) == [
        {"kind": "DtmfData", "dtmfData": {"data": "*"}}
    ]


def test_the_upgrade_identifies_the_acs_call() -> None:
    assert [name for name, _ in ACS.upgrade_headers] == [
        "x-ms-call-connection-id",
        "x-ms-call-correlation-id",
    ]


@pytest.mark.parametrize("keys", [("kind", "audioData", "data"), ("Kind", "AudioData", "Data")])
def test_acs_audio_is_found_with_camel_and_pascal_case_keys(keys: tuple[str, str, str]) -> None:
    kind, outer, inner = keys
    event = event_of(msgspec.json.encode({kind: "AudioData", outer: {inner: SAID}}), ACS)

    assert event.payload_bytes == 640
    assert isinstance(event.payload, msgspec.Raw)
    assert audio_payload(event.payload) == b"\x01\x02" * 320


def test_pcm_audio_is_sent_and_received_unchanged() -> None:
    sent = PCM.append(b"\x01\x02\x03\x04", "e")
    came = event_of(BinaryMessage(b"\x05\x06\x07\x08"), PCM)

    assert (type(sent.data), sent.data) == (BinaryMessage, b"\x01\x02\x03\x04")
    assert (came.kind, came.payload_bytes) == (EventKind.AUDIO_DELTA, 4)
    assert isinstance(came.payload, msgspec.Raw)
    assert audio_payload(came.payload) == b"\x05\x06\x07\x08"


def test_the_pcm_dialect_first_sends_only_the_script_s_message() -> None:
    assert PCM.setup_messages(SessionSettings(turn_detection=DUPLEX), "e") == ()
    settings = SessionSettings(turn_detection=DUPLEX, extra={"id": "call-{uuid}", "rate": 16_000})
    (first,) = PCM.setup_messages(settings, "e")

    assert isinstance(first, ClientMessage)
    written = PCM.codec("c0ffee").encode(first.kind, first.data)
    assert json.loads(written) == {"id": "call-c0ffee", "rate": 16_000}


def test_pcm_audio_that_contains_a_placeholder_is_unchanged() -> None:
    sent = PCM.append(b"..{uuid}", "e")

    assert PCM.codec("c0ffee").encode(sent.kind, sent.data) is sent.data


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
