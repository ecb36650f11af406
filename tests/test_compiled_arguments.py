"""Compiled functions refuse None where they need bytes or an object of their own. They would
read its memory.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("bench.transport._datagrams", reason="this machine has no compiled code")

from bench.base.clock import SendTime
from bench.protocols.call_media import CallMedia
from bench.protocols.rtp._packets import AudioPackets, UsualPackets, send_frame
from bench.protocols.rtp.rtp import StreamNumbers
from bench.sound._blocks import continue_sounds
from bench.transport._datagrams import DatagramWriter
from bench.transport.fast._compiled import Decrypter, TemplateMatcher
from bench.transport.fast._sending import Microphone, PlainChunks
from bench.wire._audible import certain_lines, expanded
from tests.transport.media.path import PLAIN

Call = Callable[..., object]
TLS: Any = SimpleNamespace(do_handshake=int)
INCOMING: Any = SimpleNamespace(write=len, read=bytes)
UNUSED: Any = None


def media() -> CallMedia:
    return CallMedia(PLAIN, StreamNumbers(1, 2, 3), "a@b", 0, 0, lambda: 0.5)


def usual(*lists: Any) -> object:
    datagrams, frames, deltas = lists
    return media().usual.take(datagrams, 0, 0, 0, frames, deltas, None)


def sent(data: Any) -> object:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return DatagramWriter(sock).send(data, ("127.0.0.1", 9))


def write_nothing(*_: object) -> SendTime:
    return SendTime(0)


def add(*texts: Any) -> object:
    matcher: Any = TemplateMatcher()
    return matcher.add(None, *texts, True)


NEEDED: dict[str, tuple[Call, list[Any]]] = {
    # a function of the needed values, and these
    "DatagramWriter.send": (sent, [b"data"]),
    "TemplateMatcher.add": (add, [b"head", b"middle", b"tail"]),
    "TemplateMatcher.match": (lambda data: TemplateMatcher().match(data, 0, 0, True), [b"data"]),
    "Decrypter.shake_hands": (
        lambda data: Decrypter(TLS, INCOMING, UNUSED).shake_hands(data),
        [b"data"],
    ),
    "PlainChunks": (
        lambda microphone, sent: PlainChunks(microphone, UNUSED, sent, 1),
        [Microphone(), []],
    ),
    "UsualPackets.take": (usual, [[], [], []]),
    "send_frame": (
        lambda packets, audio: send_frame(packets, write_nothing, UNUSED, UNUSED, audio),
        [media().audio_packets, b"\xd5" * 160],
    ),
    "AudioPackets.next": (lambda audio: media().audio_packets.next(audio), [b"\xd5" * 160]),
    "continue_sounds": (
        lambda sounds, continued: continue_sounds(None, sounds, None, continued),
        [[], []],
    ),
    "certain_lines": (
        lambda window: certain_lines(np.zeros(0, np.int16), window, 1_024, 4, 38, 460, 3, 0.1),
        [b""],
    ),
    "expanded": (lambda table: expanded(b"\0", table), [bytes(512)]),
}


def test_the_packets_of_a_call_are_compiled() -> None:
    assert (type(media().usual), type(media().audio_packets)) == (UsualPackets, AudioPackets)


@pytest.mark.parametrize(
    ("call", "values", "place"),
    [
        pytest.param(call, values, place, id=f"{name}-{place}")
        for name, (call, values) in NEEDED.items()
        for place in range(len(values))
    ],
)
def test_a_compiled_function_refuses_none(call: Call, values: list[Any], place: int) -> None:
    with pytest.raises(TypeError, match=r"None"):
        call(*values[:place], None, *values[place + 1 :])


@pytest.mark.parametrize("name", [name for name in NEEDED if name != "continue_sounds"])
def test_it_accepts_what_it_needs(name: str) -> None:
    call, values = NEEDED[name]
    call(*values)
