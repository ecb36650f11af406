"""Calls that no dialog of `dialogs` describes: their settings and secrets, a flood, and requests
before any dialog.
"""

from __future__ import annotations

import pytest

from bench.protocols.sip.call import SipCall
from bench.protocols.sip.call_record import CallState
from bench.protocols.sip.digest import DigestLogin
from tests.transport.sip.scripted_peer import ScriptedPeer, call_settings, tokens

LOGIN = DigestLogin("alice", "correct horse")


def test_the_password_is_in_no_text_of_the_call() -> None:
    peer = ScriptedPeer(login=LOGIN)

    assert "correct horse" not in repr(peer.call.settings)
    assert "alice" not in repr(LOGIN)
    assert not any(b"correct horse" in message.data for message in peer.outgoing)


@pytest.mark.parametrize(
    "changes",
    [{"headers": (("X", "a\r\nY: b"),)}, {"product": "a\nb"}, {"caller": "<sip:a@b>\r\nX: y"}],
)
def test_a_setting_that_would_begin_another_header_is_an_error(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="valid"):
        ScriptedPeer(**changes)


def test_a_call_that_was_hung_up_before_its_start_ends_without_a_message() -> None:
    call = SipCall(call_settings(), tokens())
    call.hang_up(5)

    assert call.pop_messages() == []
    assert call.state is CallState.ENDED


def test_a_flood_of_requests_is_limited_and_bye_still_ends_the_call() -> None:
    peer = ScriptedPeer().answered()
    for _ in range(1_005):
        peer.request("OPTIONS")
    codes = peer.take()

    assert (codes.count("200"), codes.count("503")) == (1_000, 5)
    assert peer.call.dropped["requests"] == 5
    peer.request("BYE")
    assert peer.call.state is CallState.ENDED
    assert len(peer.call._transactions._servers) <= 64


@pytest.mark.parametrize(
    ("method", "code"), [("INVITE", 482), ("OPTIONS", 200), ("INFO", 481), ("REFER", 405)]
)
def test_a_request_before_any_dialog_gets_the_response_of_the_standard(
    method: str, code: int
) -> None:
    peer = ScriptedPeer()
    data = peer.outgoing[0].data
    to = peer.parsed[0].first("To").encode()
    whole = data.partition(b"\r\n\r\n")[0].replace(b"From: ", b"From: <sip:x@y>;tag=z\r\nX-From: ")
    whole = whole.replace(b"INVITE", method.encode()).replace(b"Content-Length", b"X-Length")
    assert to in whole
    peer.deliver(whole.replace(b"branch=", b"branch=other") + b"\r\n\r\n")

    assert peer.take() == ["INVITE", str(code)]
