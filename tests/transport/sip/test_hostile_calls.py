"""Hostile telephones: each call has a stated result, and nothing else happens."""

from __future__ import annotations

import socket

import pytest

from tests.attack.cases import WORKS, HostileCase
from tests.transport.sip import hostile_answers as answers
from tests.transport.sip import hostile_media as media
from tests.transport.sip import hostile_requests as requests
from tests.transport.sip.hostile_answers import LOGIN
from tests.transport.sip.hostile_check import check
from tests.transport.sip.hostile_line import LOOPBACK, Behaviour


def works(behave: Behaviour) -> HostileCase:
    return HostileCase([behave], *WORKS)


@pytest.mark.parametrize("name", answers.CASES)
def test_a_hostile_answer_has_one_stated_result(name: str) -> None:
    line = check(answers.CASES[name], LOGIN)

    assert not any(b"correct horse" in data for data in line.heard)


def test_an_answer_at_an_address_that_hears_nothing_is_hung_up_in_a_bounded_time() -> None:
    """The acknowledgement goes to the contact. The peer repeats its answer, because it hears
    none.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dead:
        dead.bind((LOOPBACK, 0))
        contact = f"<sip:x@{LOOPBACK}:{dead.getsockname()[1]}>"
        check(works(lambda peer: peer.send(peer.ok(contact=contact))))


@pytest.mark.parametrize("name", media.CASES)
def test_a_call_still_plays_the_frames_of_its_peer_after(name: str) -> None:
    check(works(media.CASES[name]))


@pytest.mark.parametrize("name", media.WIDE_CASES)
def test_a_wideband_call_still_plays_the_frames_of_its_peer_after(name: str) -> None:
    check(works(media.WIDE_CASES[name]), codecs=("OPUS", "G722", "PCMU", "PCMA"))


@pytest.mark.parametrize("name", requests.CASES)
def test_a_hostile_peer_of_a_call_has_one_stated_result(name: str) -> None:
    line = check(requests.CASES[name], LOGIN)

    assert not any(b"correct horse" in data for data in line.heard)
    assert all(LOOPBACK.encode() in data for data in line.heard)
