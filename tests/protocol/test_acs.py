"""The dialect of agents behind Azure Communication Services: what is said to them, and what they say."""

from __future__ import annotations

import base64
import json
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.protocol.acs import ACS
from bench.protocol.audio import AudioFormatName
from bench.protocol.base import Binary, ClientMessage, Provider
from bench.protocol.events import Kind, audio_payload
from bench.protocol.settings import FULL_DUPLEX, SessionSettings, TurnDetection
from tests.helpers import event_of

DUPLEX = TurnDetection(type=FULL_DUPLEX)
PROVIDER = cast("Provider", ACS.provider)
CALL_ID = "0123456789abcdef0123456789abcdef"
AUDIO = base64.b64encode(b"\x01\x02" * 320).decode()


def said(*messages: ClientMessage) -> list[dict[str, Any]]:
    """Messages as one call says them, in this order."""
    words = PROVIDER.words(CALL_ID)
    return [json.loads(words.written(message.act, message.data)) for message in messages]


@pytest.mark.parametrize(("name", "rate", "length"), [(None, 16_000, 640), ("pcm16", 24_000, 960)])
def test_the_first_message_says_what_the_audio_is(name: AudioFormatName | None, rate: int, length: int) -> None:
    settings = SessionSettings(turn_detection=DUPLEX, input_format=name, output_format=name)
    assert ACS.refuses(settings) is None
    (metadata,) = ACS.set_up(settings, "e")

    assert isinstance(metadata, ClientMessage)
    told = {"subscriptionId": CALL_ID, "encoding": "PCM", "sampleRate": rate, "channels": 1, "length": length}
    assert said(metadata) == [{"kind": "AudioMetadata", "audioMetadata": told}]


def test_audio_says_when_it_was_spoken_and_whether_it_is_silence() -> None:
    audio = [ACS.append(bytes(640), "e"), ACS.append(b"\x01" * 640, "e")]
    words = PROVIDER.words(CALL_ID)
    written = [words.written(message.act, message.data) for message in (*audio, *[audio[0]] * 3_000 * 61)]
    silent, loud, late = (json.loads(written[place]) for place in (0, 1, -1))

    assert (silent["kind"], silent["audioData"]["silent"], loud["audioData"]["silent"]) == ("AudioData", True, False)
    assert loud["audioData"]["timestamp"] == "1970-01-01T00:00:00.020Z"
    assert late["audioData"]["timestamp"] == "1970-01-01T01:01:00.020Z"
    assert base64.b64decode(loud["audioData"]["data"]) == b"\x01" * 640


def test_a_key_is_pressed() -> None:
    assert said(ACS.raw({"type": "dtmf", "digit": "*"}, "e")) == [{"kind": "DtmfData", "dtmfData": {"data": "*"}}]


def test_the_upgrade_names_the_call() -> None:
    assert [name for name, _ in PROVIDER.headers] == ["x-ms-call-connection-id", "x-ms-call-correlation-id"]


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ({"kind": "AudioData", "audioData": {"data": AUDIO}}, Kind.AUDIO_DELTA),
        ({"Kind": "AudioData", "AudioData": {"Data": AUDIO}, "StopAudio": None}, Kind.AUDIO_DELTA),
        ({"kind": "AudioData", "audioData": {"data": AUDIO}, "stopAudio": None}, Kind.AUDIO_DELTA),
        ({"kind": "StopAudio", "audioData": None, "stopAudio": {}}, Kind.CLEARED),
        ({"Kind": "StopAudio", "AudioData": None, "StopAudio": {}}, Kind.CLEARED),
        ({"kind": "audioData", "audioData": {"data": AUDIO, "isSilent": False}, "stopAudio": {}}, Kind.AUDIO_DELTA),
        ({"kind": "stopAudio", "stopAudio": {}}, Kind.CLEARED),
        ({"kind": "AudioData"}, Kind.AUDIO_DELTA),
        ({"kind": "Mark"}, Kind.UNKNOWN),
        ({}, Kind.UNKNOWN),
        ({"kind": 1}, Kind.MALFORMED),
        ({"kind": "AudioData", "audioData": AUDIO}, Kind.MALFORMED),
    ],
)
def test_each_message_of_an_agent_is_one_event(message: dict[str, Any], kind: Kind) -> None:
    assert event_of(msgspec.json.encode(message), ACS).kind is kind


@pytest.mark.parametrize("keys", [("kind", "audioData", "data"), ("Kind", "AudioData", "Data")])
def test_audio_is_found_however_its_keys_are_written(keys: tuple[str, str, str]) -> None:
    kind, outer, inner = keys
    event = event_of(msgspec.json.encode({kind: "AudioData", outer: {inner: AUDIO}}), ACS)

    assert event.payload_bytes == 640
    assert isinstance(event.payload, msgspec.Raw)
    assert audio_payload(event.payload) == b"\x01\x02" * 320


def test_binary_messages_are_none_of_azure_s() -> None:
    assert event_of(Binary(bytes(640)), ACS).kind is Kind.MALFORMED


@given(message=st.binary(max_size=300))
def test_nothing_that_comes_raises(message: bytes) -> None:
    assert ACS.decode(message)


@given(
    kind=st.sampled_from(["AudioData", "StopAudio", "x"]),
    fields=st.dictionaries(
        st.sampled_from(["audioData", "AudioData", "stopAudio"]),
        st.none() | st.text(max_size=9) | st.dictionaries(st.sampled_from(["data", "Data"]), st.text(max_size=8)),
    ),
)
def test_a_log_without_audio_tells_the_same(kind: str, fields: dict[str, Any]) -> None:
    message = msgspec.json.encode({"kind": kind} | fields)
    (event,) = ACS.decode(message)
    if event.kind is not Kind.MALFORMED:
        assert event_of(ACS.without_audio(message), ACS).kind is event.kind


def test_one_rate_holds_for_both_ways() -> None:
    settings = SessionSettings(turn_detection=DUPLEX, input_format="pcm16", output_format="pcm16@16000")
    refused = ACS.refuses(settings)

    assert refused is not None
    assert refused.problem.startswith("output_format must be input_format")
