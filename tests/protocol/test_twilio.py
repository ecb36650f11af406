"""The dialect of agents behind Twilio: what is said to them, and what they say."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import ScriptError
from bench.plan.repertoire import Repertoire
from bench.plan.script import load_script
from bench.protocol.acs import ACS
from bench.protocol.audio import G711_ULAW
from bench.protocol.base import Act, Binary, ClientMessage, Dialect, Provider
from bench.protocol.events import Kind, audio_payload
from bench.protocol.pcm import PCM
from bench.protocol.settings import FULL_DUPLEX, SessionSettings, TurnDetection
from bench.protocol.twilio import TWILIO
from tests.helpers import event_of

AUDIO = Path(__file__).parents[2] / "scenarios" / "audio"
DUPLEX = TurnDetection(type=FULL_DUPLEX)
PROVIDER = cast("Provider", TWILIO.provider)
CALL_ID = "0123456789abcdef0123456789abcdef"
STREAM = f"MZ{CALL_ID}"
LOUD = base64.b64encode(b"\x00" * 160).decode()


def said(*messages: ClientMessage | None) -> list[dict[str, Any]]:
    """Messages as one call says them, in this order."""
    words = PROVIDER.words(CALL_ID)
    return [json.loads(words.written(message.act, message.data)) for message in messages if message is not None]


def opening(**extra: Any) -> list[ClientMessage]:
    steps = TWILIO.set_up(SessionSettings(turn_detection=DUPLEX, extra=extra), "e")
    return [step for step in steps if isinstance(step, ClientMessage)]


def test_a_stream_is_opened_as_twilio_does() -> None:
    connected, start = said(*opening(number="+15550100", call="{uuid}"))

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


def test_audio_is_numbered_and_says_when_it_was_spoken() -> None:
    audio = [TWILIO.append(bytes([number]) * 160, "e") for number in range(3)]
    *_, first, second, key, third = said(
        *opening(), *audio[:2], TWILIO.raw({"type": "dtmf", "digit": "5"}, "e"), audio[2]
    )

    assert [message["sequenceNumber"] for message in (first, second, key, third)] == ["2", "3", "4", "5"]
    assert [message["media"]["chunk"] for message in (first, second, third)] == ["1", "2", "3"]
    assert [message["media"]["timestamp"] for message in (first, second, third)] == ["0", "20", "40"]
    assert base64.b64decode(third["media"]["payload"]) == b"\x02" * 160
    assert {message["streamSid"] for message in (first, second, key, third)} == {STREAM}
    assert key["dtmf"] == {"track": "inbound_track", "digit": "5"}


def test_marks_come_back_and_a_call_ends_with_stop() -> None:
    words = PROVIDER.words(CALL_ID)
    mark, stop = said(words.played("said-1"), words.goodbye())

    assert (mark["event"], mark["mark"], mark["streamSid"]) == ("mark", {"name": "said-1"}, STREAM)
    assert (stop["event"], stop["stop"]["callSid"]) == ("stop", f"CA{CALL_ID}")


@given(name=st.text() | st.lists(st.sampled_from(["{number}", "{uuid}", "\\", '"', "\0", "ä"])).map("".join))
def test_a_mark_has_the_name_that_the_agent_gave_it(name: str) -> None:
    event = event_of(msgspec.json.encode({"event": "mark", "streamSid": STREAM, "mark": {"name": name}}), TWILIO)
    (told,) = said(PROVIDER.words(CALL_ID).played(event.text))

    assert told["mark"]["name"] == name


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ({"event": "media", "streamSid": STREAM, "media": {"payload": LOUD}}, Kind.AUDIO_DELTA),
        ({"event": "mark", "streamSid": STREAM, "mark": {"name": "said-1"}}, Kind.MARKED),
        ({"event": "clear", "streamSid": STREAM}, Kind.CLEARED),
        ({"event": "media"}, Kind.AUDIO_DELTA),
        ({"event": "media", "media": None}, Kind.AUDIO_DELTA),
        ({"event": "mark"}, Kind.MARKED),
        ({"event": "restart"}, Kind.UNKNOWN),
        ({}, Kind.UNKNOWN),
        ({"event": 1}, Kind.MALFORMED),
        ({"event": "media", "media": LOUD}, Kind.MALFORMED),
    ],
)
def test_each_message_of_an_agent_is_one_event(message: dict[str, Any], kind: Kind) -> None:
    assert event_of(msgspec.json.encode(message), TWILIO).kind is kind


@pytest.mark.parametrize("name", ["media", "mark", "clear"])
@pytest.mark.parametrize("of", [{}, {"streamSid": "MZ1"}, {"streamSid": f"CA{CALL_ID}"}, {"stream_sid": STREAM}])
def test_what_is_not_of_its_call_s_stream_is_dropped_and_counted_by_that_name(name: str, of: dict[str, str]) -> None:
    words = PROVIDER.words(CALL_ID)
    (mine,) = words.heard(TWILIO.decode(msgspec.json.encode({"event": name, "streamSid": STREAM})))
    (other,) = words.heard(TWILIO.decode(msgspec.json.encode({"event": name} | of)))

    assert mine.kind in (Kind.AUDIO_DELTA, Kind.MARKED, Kind.CLEARED)
    assert (other.kind, other.name) == (Kind.UNKNOWN, f"{name} of another stream")


def test_audio_is_counted_and_kept_as_it_came() -> None:
    event = event_of(msgspec.json.encode({"event": "media", "media": {"payload": LOUD}}), TWILIO)

    assert event.payload_bytes == 160
    assert isinstance(event.payload, msgspec.Raw)
    assert audio_payload(event.payload) == b"\x00" * 160


@pytest.mark.parametrize("payload", ["abc", "!!!!", 5, {}, []])
def test_audio_that_is_no_base64_is_told(payload: Any) -> None:
    event = event_of(msgspec.json.encode({"event": "media", "media": {"payload": payload}}), TWILIO)

    assert event.kind is Kind.AUDIO_DELTA
    assert event.payload_bytes < 0 or audio_payload(msgspec.Raw(event.payload)) is None  # type: ignore[arg-type]


def test_binary_messages_are_none_of_twilio_s() -> None:
    event = event_of(Binary(b"\x00" * 160), TWILIO)

    assert (event.kind, event.reason) == (Kind.MALFORMED, "a binary message came, but only text is expected")


@given(message=st.binary(max_size=300))
def test_nothing_that_comes_raises(message: bytes) -> None:
    assert TWILIO.decode(message)


@given(
    name=st.sampled_from(["media", "mark", "clear", "x"]),
    fields=st.dictionaries(
        st.sampled_from(["media", "mark", "streamSid"]),
        st.none() | st.text(max_size=9) | st.dictionaries(st.sampled_from(["payload", "name"]), st.text(max_size=8)),
    ),
)
def test_a_log_without_audio_tells_the_same(name: str, fields: dict[str, Any]) -> None:
    message = msgspec.json.encode({"event": name} | fields)
    (event,) = TWILIO.decode(message)
    if event.kind is not Kind.MALFORMED:
        assert event_of(TWILIO.without_audio(message), TWILIO).kind is event.kind


def test_a_parameter_is_never_numbered() -> None:
    _, start = said(*opening(number="{number}"))

    assert (start["sequenceNumber"], start["start"]["customParameters"]) == ("1", {"number": "{number}"})


@pytest.mark.parametrize("cue", [{"after_share": 0.5}, {"after_text": "parcel"}])
@pytest.mark.parametrize("dialect", [TWILIO, ACS, PCM])
def test_what_nobody_hears_is_no_cue(dialect: Dialect, cue: dict[str, Any], tmp_path: Path) -> None:
    """Half of a reply is known once it is over, and its words never are: it would be let end, and nobody told."""
    path, wav = tmp_path / "talk.yaml", AUDIO / "late_parcel.wav"
    steps = [{"audio": str(wav)}, {"interrupt": {"audio": str(wav), **cue}}]
    path.write_text(json.dumps({"session": {"turn_detection": "full_duplex"}, "steps": steps}))

    with pytest.raises(ScriptError, match=r"which an agent does not report: give `after`, in seconds") as refused:
        Repertoire(load_script(path), dialect)
    assert "\n" not in str(refused.value)


def test_what_a_phone_cannot_say_is_refused() -> None:
    settings = SessionSettings(turn_detection=DUPLEX)

    assert TWILIO.refuses_event({"type": "dtmf", "digit": "#"}, settings) == ""
    assert "press a key with" in TWILIO.refuses_event({"type": "dtmf", "digit": "12"}, settings)
    assert "press a key with" in TWILIO.refuses_event({"type": "clear"}, settings)


def test_custom_parameters_are_texts_and_audio_is_mu_law() -> None:
    number = TWILIO.refuses(SessionSettings(turn_detection=DUPLEX, extra={"retries": 3}))
    rate = TWILIO.refuses(SessionSettings(turn_detection=DUPLEX, input_format="pcm16"))

    assert number is not None
    assert number.setting == ("extra", "retries")
    assert rate is not None
    assert rate.problem == "input_format must be one of g711_ulaw, not pcm16"
    assert (PROVIDER.frame_ms, next(iter(TWILIO.input_formats.values()))) == (20, G711_ULAW)
    assert TWILIO.acts["media"] is Act.APPEND
