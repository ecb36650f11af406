"""The part of a reply that a probe records."""

from __future__ import annotations

import base64

import msgspec
import pytest

from bench.base.clock import Arrival
from bench.probe import ReplyAudioListener
from bench.services.openai.dialect import GA
from bench.wire.connection import MatchedDelta, ReceivedMessage
from bench.wire.events import EMPTY
from tests.helpers import AT_NS, delta


@pytest.mark.parametrize("matched", [False, True])
def test_a_probe_stores_the_audio_of_matched_and_of_decoded_deltas(matched: bool) -> None:
    reply, parts = ReplyAudioListener(GA), [b"\x01\x02" * 300, b"\x03\x04" * 600]
    for part in parts:
        data = delta(GA, "audio", "r1", base64.b64encode(part).decode())
        events = GA.decode(data)
        if matched:
            like_it = msgspec.structs.replace(events[0], payload=EMPTY, payload_bytes=0)
            reply.received_deltas([MatchedDelta(like_it, AT_NS, 0, 0, len(part), len(data), data)])
        else:
            reply.received(events, ReceivedMessage(data, Arrival(AT_NS), len(data)), AT_NS)

    assert reply.audio("r1") == b"".join(parts)
