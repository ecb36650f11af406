"""Calls over WebRTC with other implementations: aiortc, speech-to-speech, and the engine of
Chrome (wrtc).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest

from bench.base.clock import monotonic_ns
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.catalogue.timeouts import Timeouts
from bench.protocols.ice.stun import (
    StunAttribute,
    StunKind,
    build_message,
    mapped_address,
    parse_message,
)
from bench.protocols.rtp.rtp import CODECS
from bench.transport.interface import ConnectRequest, ConnectTimings, NetworkPath
from bench.transport.webrtc.call import WebRtcCall, open_webrtc
from bench.wire.addresses import HostPort
from bench.wire.audio import AudioFormat, audible_position
from bench.wire.connection import ReceivedMessage, RtpMeasured
from bench.wire.dialect import BinaryMessage
from tests.simulator_process import GUARD_S, ROOT, running_simulator

CALLS = 6
WAVE = np.tile(np.repeat(np.array([8_000, -8_000], np.int16), 10), 24)
"""20 ms of a loud square wave at 24 kHz."""
LIMITS = Timeouts(**dict.fromkeys(vars(Timeouts()), GUARD_S))


@contextmanager
def program(name: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", f"tests.system.transport.{name}", *arguments]
    environment = os.environ | {"WRTC_ALLOW_LOOPBACK": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def heard_by_both(call: WebRtcCall, audio: AudioFormat, *, reports: bool = True) -> str:
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


def echoes_of(call: WebRtcCall, texts: Sequence[str]) -> list[str]:
    """Send texts, and return the answers of the service to them."""
    came: list[str] = []

    def note(message: ReceivedMessage) -> bool:
        if not isinstance(message.data, BinaryMessage) and not message.data.endswith(b" connected"):
            came.append(message.data.decode())
        return len(came) == len(texts)

    for text in texts:
        receipt = call.send(text.encode())
        assert receipt is not None
        assert receipt.wire_bytes > len(text)
    while len(came) < len(texts):
        call.receive_until(monotonic_ns() + 1_000 * NS_PER_MS, note)
        assert call.closed is None
    return came


def ms_of(phases: ConnectTimings) -> dict[str, float]:
    start_ns = phases.instants["connect_start"]
    return {
        name: round((at_ns - start_ns) / NS_PER_MS, 1) for name, at_ns in phases.instants.items()
    }


@pytest.mark.parametrize(
    ("service", "package", "codec"),
    [
        *(("aiortc_service", "aiortc", codec) for codec in CODECS),
        *(("speech_to_speech_service", "speech_to_speech", codec) for codec in ("OPUS", "PCMU")),
    ],
)
def test_a_foreign_service_and_this_tool_hear_each_other(
    service: str, package: str, codec: str
) -> None:
    pytest.importorskip("aiortc", exc_type=ImportError)
    pytest.importorskip(package, exc_type=ImportError)
    reports = package == "aiortc"
    with program(service) as running:
        assert running.stdout is not None
        url = f"ws://127.0.0.1:{running.stdout.readline().strip()}/v1/realtime?model=any"
        path = NetworkPath(codecs=(codec,), offer="form" if reports else "sdp")
        for _ in range(CALLS):
            phases = ConnectTimings()
            call = open_webrtc(ConnectRequest(url, [], None, LIMITS, phases, path))
            report, measured = (
                heard_by_both(call, CODECS[codec].audio, reports=reports),
                call.network(),
            )
            if reports:
                texts = [str(number) * size for number, size in enumerate((1, 0, 60_000, 20))]
                assert echoes_of(call, texts) == [text * 3 for text in texts]
            call.close()

            print(ms_of(phases))
            assert report.endswith(" connected") or not reports
            assert isinstance(measured, RtpMeasured)
            assert measured.lost == 0
            order = [
                "connect_start",
                "dns_done",
                "tcp_done",
                "offer_answered",
                "ice_connected",
                "dtls_done",
                "opened",
            ]
            assert sorted(order, key=phases.instants.__getitem__) == order


@pytest.mark.parametrize("module", ["aiortc", "webrtc.aiortc"])
@pytest.mark.parametrize("codec", ["opus", "PCMU"])
def test_a_foreign_caller_speaks_with_the_simulator(module: str, codec: str) -> None:
    pytest.importorskip(module, exc_type=ImportError)
    with (
        running_simulator() as ready,
        program("aiortc_caller", module, ready.urls["openai"], codec, str(CALLS)) as caller,
    ):
        output, _ = caller.communicate()

    print(output)
    heard = [json.loads(line) for line in output.splitlines()]
    assert [each["call"] for each in heard] == list(range(CALLS))
    assert all(each["loud"] >= 20 and "connected" in each["instants_ms"] for each in heard)
    assert {(each["first"], each["received"]) for each in heard} == {("session.created", 200_000)}


@pytest.mark.parametrize(
    ("request_text", "code", "reason"),
    [(b"close", 1000, "data channel"), (b"stop", 1000, "SCTP ABORT")],
)
def test_the_end_that_a_foreign_service_causes_is_reported(
    request_text: bytes, code: int, reason: str
) -> None:
    pytest.importorskip("aiortc", exc_type=ImportError)
    with program("aiortc_service") as service:
        assert service.stdout is not None
        url = f"ws://127.0.0.1:{service.stdout.readline().strip()}/v1/realtime?model=any"
        call = open_webrtc(
            ConnectRequest(url, [], None, LIMITS, ConnectTimings(), NetworkPath(codecs=("PCMU",)))
        )
        call.send(request_text)
        until_ns = monotonic_ns() + GUARD_S * NS_PER_S
        while (closed := call.closed) is None and monotonic_ns() < until_ns:
            call.receive_until(until_ns, lambda message: False)
        call.close()

    assert closed is not None
    assert (closed.code, closed.ours) == (code, False)
    assert reason in closed.reason


def test_a_message_beyond_the_limit_of_a_foreign_service_is_not_sent() -> None:
    pytest.importorskip("aiortc", exc_type=ImportError)
    with program("aiortc_service") as service:
        assert service.stdout is not None
        url = f"ws://127.0.0.1:{service.stdout.readline().strip()}/v1/realtime?model=any"
        call = open_webrtc(
            ConnectRequest(url, [], None, LIMITS, ConnectTimings(), NetworkPath(codecs=("PCMU",)))
        )
        sent = call.send(bytes(300_000))
        call.receive_until(monotonic_ns(), lambda message: False)
        call.close()

    assert sent is None
    assert call.closed is not None
    assert call.closed.code == 1009
    assert "max-message-size" in call.closed.reason


TRANSACTION, KEY = bytes(range(12)), "a password of 22 chars"


def test_stun_messages_are_those_of_another_implementation() -> None:
    stun = pytest.importorskip("aioice.stun")
    theirs = stun.Message(
        stun.Method.BINDING,
        stun.Class.REQUEST,
        TRANSACTION,
        {"USERNAME": "one:two", "PRIORITY": 66_051},
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
