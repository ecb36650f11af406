"""The dialect of agents on a plain WebSocket: audio in binary messages, JSON beside it."""

from __future__ import annotations

import base64
import json
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.protocol.base import Binary, ClientMessage, Provider
from bench.protocol.events import Kind, audio_payload
from bench.protocol.pcm import PCM
from bench.protocol.settings import FULL_DUPLEX, SessionSettings, TurnDetection
from bench.run.rows import clean
from tests.helpers import event_of

DUPLEX = TurnDetection(type=FULL_DUPLEX)
PROVIDER = cast("Provider", PCM.provider)


def test_audio_goes_out_and_comes_as_it_is() -> None:
    sent = PCM.append(b"\x01\x02\x03\x04", "e")
    came = event_of(Binary(b"\x05\x06\x07\x08"), PCM)

    assert (type(sent.data), sent.data) == (Binary, b"\x01\x02\x03\x04")
    assert (came.kind, came.payload_bytes) == (Kind.AUDIO_DELTA, 4)
    assert isinstance(came.payload, msgspec.Raw)
    assert audio_payload(came.payload) == b"\x05\x06\x07\x08"


def test_nothing_is_said_first_but_what_the_script_wants() -> None:
    assert PCM.set_up(SessionSettings(turn_detection=DUPLEX), "e") == ()
    (first,) = PCM.set_up(SessionSettings(turn_detection=DUPLEX, extra={"id": "call-{uuid}", "rate": 16_000}), "e")

    assert isinstance(first, ClientMessage)
    written = PROVIDER.words("c0ffee").written(first.act, first.data)
    assert json.loads(written) == {"id": "call-c0ffee", "rate": 16_000}


def test_audio_that_happens_to_hold_the_name_of_the_call_stays_as_it_is() -> None:
    sent = PCM.append(b"..{uuid}", "e")

    assert PROVIDER.words("c0ffee").written(sent.act, sent.data) is sent.data


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (b'{"type": "transcript", "text": "Hello"}', Kind.NOTED),
        (b"{}", Kind.NOTED),
        (b'{"action": "clear"}', Kind.CLEARED),
        (b'{"event": "clear", "stream_id": "s"}', Kind.CLEARED),
        (b'{"type": "clear"}', Kind.CLEARED),
        (b'{"type": "clear_cache", "event": {"clear": 1}, "action": ["clear"]}', Kind.NOTED),
        (Binary(b""), Kind.AUDIO_DELTA),
        (Binary(b"\x00"), Kind.AUDIO_DELTA),
        (b"ready", Kind.MALFORMED),
        (b"[1, 2]", Kind.MALFORMED),
        (b"", Kind.MALFORMED),
        (b"\xff\xfe", Kind.MALFORMED),
        (b"[" * 100_000, Kind.MALFORMED),
    ],
)
def test_each_message_of_an_agent_is_one_event(message: bytes, kind: Kind) -> None:
    assert event_of(message, PCM).kind is kind


@pytest.mark.parametrize("name", ["input_format", "output_format"])
def test_each_way_has_a_format_of_its_own(name: str) -> None:
    settings: Any = {name: "g711_ulaw"}

    assert PCM.refuses(SessionSettings(turn_detection=DUPLEX, **settings)) is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "turn_detection must be full_duplex: an agent hears its caller all the time"),
        ({"turn_detection": DUPLEX, "instructions": "Be brief."}, "instructions is no setting of an agent on a plain"),
        ({"turn_detection": DUPLEX, "output": "text"}, "output must be audio"),
    ],
)
def test_it_refuses_settings_that_no_agent_is_told(settings: dict[str, Any], words: str) -> None:
    refused = PCM.refuses(SessionSettings(**settings))

    assert refused is not None
    assert refused.problem.startswith(words)


@given(message=st.binary(max_size=400) | st.binary(max_size=400).map(Binary))
def test_nothing_that_comes_raises_and_a_log_tells_the_same(message: bytes) -> None:
    event = event_of(message, PCM)
    if event.kind is Kind.MALFORMED:
        return
    whole, cut = (event_of(bytes(clean(kept, str)), PCM) for kept in (message, PCM.without_audio(message)))

    assert whole == event
    assert cut.kind is event.kind


def test_a_log_has_audio_in_base64() -> None:
    assert json.loads(bytes(clean(Binary(b"\x00\x01"), str))) == {"binary": base64.b64encode(b"\x00\x01").decode()}
