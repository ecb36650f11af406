"""Hostile telephones: each call has a stated result, and nothing else happens."""

from __future__ import annotations

import socket

import pytest

from tests.transport.sip import hostile_answers as answers
from tests.transport.sip import hostile_descriptions as descriptions
from tests.transport.sip import hostile_media as media
from tests.transport.sip import hostile_requests as requests
from tests.transport.sip.hostile_answers import GOES, LOGIN
from tests.transport.sip.hostile_check import Goes, check
from tests.transport.sip.hostile_line import LOOPBACK


@pytest.mark.parametrize("name", answers.CASES)
def test_a_hostile_answer_has_one_stated_result(name: str) -> None:
    behave, expected = answers.CASES[name]
    line = check(behave, expected, LOGIN)

    assert not any(b"correct horse" in data for data in line.heard)


def test_an_answer_at_an_address_that_hears_nothing_is_hung_up_in_a_bounded_time() -> None:
    """The acknowledgement goes to the contact. The peer repeats its answer, because it hears
    none.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dead:
        dead.bind((LOOPBACK, 0))
        contact = f"<sip:x@{LOOPBACK}:{dead.getsockname()[1]}>"
        check(lambda peer: peer.send(peer.ok(contact=contact)), GOES)


@pytest.mark.parametrize("name", descriptions.CASES)
def test_a_hostile_description_or_address_has_one_stated_result(name: str) -> None:
    behave, expected = descriptions.CASES[name]
    check(behave, expected)


@pytest.mark.parametrize("name", media.CASES)
def test_a_call_still_plays_the_frames_of_its_peer_after(name: str) -> None:
    check(media.CASES[name], Goes())


@pytest.mark.parametrize("name", requests.CASES)
def test_a_hostile_peer_of_a_call_has_one_stated_result(name: str) -> None:
    behave, expected = requests.CASES[name]
    line = check(behave, expected, LOGIN)

    assert not any(b"correct horse" in data for data in line.heard)
    assert all(LOOPBACK.encode() in data for data in line.heard)
