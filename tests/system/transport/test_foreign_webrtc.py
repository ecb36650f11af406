"""Calls over WebRTC with other implementations: aiortc, speech-to-speech, and the engine of Chrome (wrtc)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from bench.base.clock import monotonic_ns
from bench.base.units import NS_PER_MS
from bench.catalogue.timeouts import Timeouts
from bench.transport.interface import ConnectTimings, HostPort, NetworkPath
from bench.transport.media.rtp import CODECS
from bench.transport.messages_with_media import MessagesWithMedia
from bench.transport.webrtc.call import open_webrtc
from bench.transport.webrtc.stun import StunAttribute, StunKind, build_message, mapped_address, parse_message
from bench.wire.audio import AudioFormat, audible_position
from bench.wire.connection import ReceivedMessage, RtpMeasured
from bench.wire.dialect import BinaryMessage
from tests.simulator_process import ROOT, running_simulator

CALLS = 20
WAVE = np.tile(np.repeat(np.array([8_000, -8_000], np.int16), 10), 24)
"""20 ms of a loud square wave at 24 kHz."""
LIMITS = Timeouts(**dict.fromkeys(vars(Timeouts()), 60.0))


@contextmanager
def program(name: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", f"tests.system.transport.{name}", *arguments]
    environment = os.environ | {"WRTC_ALLOW_LOOPBACK": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def heard_by_both(call: MessagesWithMedia, audio: AudioFormat, *, reports: bool = True) -> str:
    """Speak until both sides have heard five loud frames. Return the last report of the service.

    A service that does not report only makes sound when it hears some.
    """
    heard, report = 0, "" if reports else "5"
    loud = BinaryMessage(audio.encode(WAVE[: audio.rate_hz // 50]))

    def note(message: ReceivedMessage) -> bool:
        nonlocal heard, report
        if isinstance(message.data, BinaryMessage):
            heard += audible_position(audio.decode(message.data)) is not None
        elif reports:
            report = message.data.decode()
        return False

    while heard < 5 or not report or int(report.split()[0]) < 5:
        call.send(loud)
        if reports:
            call.send(b"report")
        call.receive_until(monotonic_ns() + 20 * NS_PER_MS, note)
        assert call.closed is None
    return report


def ms_of(phases: ConnectTimings) -> dict[str, float]:
    start_ns = phases.instants["connect_start"]
    return {name: round((at_ns - start_ns) / NS_PER_MS, 1) for name, at_ns in phases.instants.items()}


@pytest.mark.parametrize(
    ("service", "package", "codec"),
    [
        *(("aiortc_service", "aiortc", codec) for codec in CODECS),
        *(("speech_to_speech_service", "speech_to_speech", codec) for codec in ("OPUS", "PCMU")),
    ],
)
def test_a_foreign_service_and_this_tool_hear_each_other(service: str, package: str, codec: str) -> None:
    pytest.importorskip("aiortc", exc_type=ImportError)
    pytest.importorskip(package, exc_type=ImportError)
    reports = package == "aiortc"
    with program(service) as running:
        assert running.stdout is not None
        url = f"ws://127.0.0.1:{running.stdout.readline().strip()}/v1/realtime?model=any"
        path = NetworkPath(codecs=(codec,), offer="form" if reports else "sdp")
        for _ in range(CALLS):
            phases = ConnectTimings()
            call = open_webrtc(url, [], None, LIMITS, phases, path)
            report, measured = heard_by_both(call, CODECS[codec].audio, reports=reports), call.network()
            call.close()

            print(ms_of(phases))
            assert report.endswith(" connected") or not reports
            assert isinstance(measured, RtpMeasured)
            assert measured.lost == 0
            order = ["connect_start", "dns_done", "tcp_done", "offer_answered", "ice_connected", "dtls_done", "opened"]
            assert sorted(order, key=phases.instants.__getitem__) == order


@pytest.mark.parametrize("module", ["aiortc", "webrtc.aiortc"])
@pytest.mark.parametrize("codec", ["opus", "PCMU"])
def test_a_foreign_caller_speaks_with_the_simulator(module: str, codec: str) -> None:
    pytest.importorskip(module, exc_type=ImportError)
    with (
        running_simulator() as ready,
        program("aiortc_caller", module, ready.urls["openai"], codec, str(CALLS)) as (caller),
    ):
        output, _ = caller.communicate()

    print(output)
    heard = [json.loads(line) for line in output.splitlines()]
    assert [each["call"] for each in heard] == list(range(CALLS))
    assert all(each["loud"] >= 20 and "connected" in each["instants_ms"] for each in heard)


TRANSACTION, KEY = bytes(range(12)), "a password of 22 chars"


def test_stun_messages_are_those_of_another_implementation() -> None:
    stun = pytest.importorskip("aioice.stun")
    theirs = stun.Message(
        stun.Method.BINDING, stun.Class.REQUEST, TRANSACTION, {"USERNAME": "one:two", "PRIORITY": 66_051}
    )
    theirs.attributes["USE-CANDIDATE"] = None
    theirs.add_message_integrity(KEY.encode())
    theirs.add_fingerprint()

    attributes: dict[int, bytes] = {
        StunAttribute.USERNAME: b"one:two",
        StunAttribute.PRIORITY: b"\0\1\2\3",
        StunAttribute.USE_CANDIDATE: b"",
    }
    assert bytes(theirs) == build_message(StunKind.REQUEST, TRANSACTION, attributes, KEY)
    answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, TRANSACTION)
    answer.attributes["XOR-MAPPED-ADDRESS"] = ("2001:db8::7", 4_000)
    answer.add_message_integrity(KEY.encode())
    answer.add_fingerprint()
    read = parse_message(bytes(answer))
    assert read is not None
    assert read.is_authentic(KEY)
    found = mapped_address(read.attributes[StunAttribute.XOR_MAPPED_ADDRESS], TRANSACTION)
    assert found == HostPort("2001:db8::7", 4_000)
