"""Calls with SRTP on real sockets, and the refusals if the two sides do not agree on the
encryption.
"""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from bench.catalogue.causes import in_words
from bench.catalogue.outcomes import remedy_of
from bench.protocols.rtp.rtp import HEADER_BYTES
from bench.protocols.rtp.srtp import SUITES, TAG_BYTES, SrtpKey, new_keys
from bench.protocols.sdp.offer_answer import answer_to
from bench.protocols.sip import called_party
from bench.services.telephone import REMEDIES
from bench.transport.interface import NetworkPath
from tests.transport.sip.phone_line import FRAME, dial, line, receive, refused

SECURE = NetworkPath(srtp=True)


def keys() -> tuple[SrtpKey, ...]:
    return new_keys(secrets.token_bytes)


@pytest.mark.parametrize("suite", SUITES)
def test_a_call_carries_encrypted_audio_in_both_directions(suite: str) -> None:
    with line(keys=tuple(key for key in keys() if key.suite == suite)) as called:
        call, _ = dial(called, path=SECURE)
        size = HEADER_BYTES + len(FRAME) + TAG_BYTES[suite]  # type: ignore[index]
        receipts = [call.send(FRAME) for _ in range(3)]
        messages = receive(call, lambda found: len(found) == 3)

        assert [message.data for message in messages] == [FRAME] * 3
        assert [receipt and receipt.wire_bytes for receipt in receipts] == [size] * 3
        assert [message.wire_bytes for message in messages] == [size] * 3
        assert [data[HEADER_BYTES:] for data in called.heard] == [FRAME] * 3
        call.close()
        called.wait_for_request(b"BYE")


def test_an_agent_without_srtp_refuses_an_encrypted_call_and_the_remedy_names_the_setting() -> None:
    with line() as called:
        error = refused(called, path=SECURE)

        assert error.outcome == "connect_failed:488"
        assert "`srtp: none`" in remedy_of(error.outcome, [in_words(error.detail)], REMEDIES)


@pytest.mark.parametrize(
    ("path", "old", "new", "detail", "remedy"),
    [
        (NetworkPath(), b"RTP/AVP", b"RTP/SAVP", "the peer requires SRTP", "`srtp: required`"),
        (NetworkPath(), b"RTP/AVP", b"UDP/TLS/RTP/SAVP", "the peer requires DTLS-SRTP", "SDES"),
        (SECURE, b"RTP/SAVP", b"RTP/AVP", "the peer does not use SRTP", "`srtp: none`"),
        (
            SECURE,
            b"a=crypto:1",
            b"a=crypto:2",
            "the peer has no SRTP key that is supported",
            "AES_CM_128",
        ),
    ],
)
def test_an_answer_with_another_encryption_ends_the_call_and_the_remedy_names_the_setting(
    monkeypatch: pytest.MonkeyPatch,
    path: NetworkPath,
    old: bytes,
    new: bytes,
    detail: str,
    remedy: str,
) -> None:
    def changed(*arguments: Any) -> Any:
        body, media = answer_to(*arguments)
        return body.replace(old, new), media

    monkeypatch.setattr(called_party, "answer_to", changed)
    with line(keys=keys()) as called:
        error = refused(called, path=path)

        assert error.outcome == "connect_failed:media"
        assert error.detail.endswith(detail)
        assert remedy in remedy_of(error.outcome, [in_words(error.detail)], REMEDIES)
        called.wait_for_request(b"BYE")
