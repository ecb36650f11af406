"""Calls that this tool answers: usual and hostile callers, each with one stated result."""

from __future__ import annotations

import socket

import gevent
import pytest

from bench.catalogue.timeouts import Timeouts
from tests.attack.cases import WORKS, HostileCase
from tests.examples import some
from tests.transport.sip import hostile_media as media
from tests.transport.sip.hostile_callers import CASES, MEDIA, calling, check
from tests.transport.sip.hostile_line import HostilePeer
from tests.transport.sip.waiting_line import answered, free_port, result


def without_audio(caller: HostilePeer) -> None:
    caller.answer()
    caller.wait_for("BYE")


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_caller_has_one_stated_result(name: str) -> None:
    check(CASES[name])


@pytest.mark.parametrize("name", some([*MEDIA], 10))
def test_a_call_still_plays_the_frames_of_its_caller_after(name: str) -> None:
    check(HostileCase([MEDIA[name]], *WORKS))


@pytest.mark.parametrize("name", media.WIDE_CASES)
def test_a_wideband_call_still_plays_the_frames_of_its_caller_after(name: str) -> None:
    check(HostileCase([media.WIDE_CASES[name]], *WORKS), ("OPUS", "G722", "PCMU", "PCMA"))


def is_refused(caller: HostilePeer) -> None:
    caller.wait_for(486, lambda: caller.send(caller.ok()))


def test_a_call_without_a_free_line_is_refused_as_busy_and_counted_by_the_next_one() -> None:
    port = free_port()
    with calling(HostilePeer.answer, port):
        call = answered(port)
        with calling(is_refused, port) as line:
            while not any(b" 486 " in data for data in line.heard):
                gevent.sleep(0.01)
        assert [measured.calls_without_line for _ in range(2) if (measured := call.network())] == [
            1,
            1,
        ]
        call.close()


def test_a_busy_line_is_busy() -> None:
    port = free_port()
    with calling(is_refused, port):
        assert result(port, is_busy=True) == "busy"


def test_a_line_without_a_call_ends_in_time() -> None:
    assert result(free_port(), Timeouts(upgrade=0.05)) == "timeout:upgrade"


def test_audio_of_a_stranger_goes_to_no_session_and_the_agent_gets_that_of_the_line() -> None:
    port = free_port()
    with calling(without_audio, port):
        call = answered(port)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"\x80\0", call.track.rtp.address)
            stranger.sendto(b"not rtp", call.track.rtp.address)
            call._read_all()
        packets = call.network()
        assert packets is not None
        assert packets.expected == 0
        call.close()
        assert call.closed is None or call.closed.ours
