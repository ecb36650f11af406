"""Hostile services over WebRTC: each call has a stated outcome in a bounded time, and no packet
goes elsewhere.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.base.clock import monotonic_ns
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.catalogue.causes import ConnectError
from bench.catalogue.timeouts import Timeouts
from bench.protocols.ice import ice
from bench.protocols.rtp.jitter import MAX_STANDSTILL_PACKETS
from bench.protocols.rtp.rtp import CODECS, OPUS
from bench.protocols.rtp.srtp import MAX_SOURCES
from bench.record.folder import read_table
from bench.transport.datagrams import DatagramSocket
from bench.transport.interface import ConnectRequest, ConnectTimings, NetworkPath
from bench.transport.webrtc.call import WebRtcCall, open_webrtc
from bench.wire.audio import audible_position
from bench.wire.connection import ReceivedMessage
from bench.wire.dialect import BinaryMessage
from tests.attack.cases import WORKS, HostileCase, assert_outcome
from tests.simulator_process import GUARD_S
from tests.system.attack.hostile_webrtc import LOOPBACK, Behaviour, hostile_peer
from tests.system.attack.webrtc_behaviours import CASES
from tests.system.end_to_end.locust_process import rtbench

CODEC_KEYS = {"PCMU": "PCMU", OPUS: "opus"}
FRAMES, MAX_CHECKS, MAX_HELD_FRAMES = 3, 100, 10_000
"""The number of loud frames after which a call works, and the maximum numbers of packets without a
connection, and of frames that wait for the session."""


def behaviour_of(case: HostileCase) -> Behaviour:
    return Behaviour(**{name: value for fields in case.steps for name, value in fields.items()})


def listened(call: WebRtcCall, behaviour: Behaviour, *, ends: bool) -> tuple[str, str]:
    """Listen until the call works, or ends. Return its outcome and the reason of its end."""
    heard, format_ = 0, CODECS[behaviour.codec].audio
    start_ns = monotonic_ns()

    def note(message: ReceivedMessage) -> bool:
        nonlocal heard
        if isinstance(message.data, BinaryMessage):
            heard += audible_position(format_.decode(message.data)) is not None
        return heard >= FRAMES

    while (
        monotonic_ns() < start_ns + NS_PER_S // 5
        if behaviour.is_silent and not ends
        else heard < FRAMES
    ) and call.closed is None:
        call.send(
            BinaryMessage(
                format_.encode(format_.decode(bytes(format_.rate_hz // 50 * format_.sample_bytes)))
            )
        )
        call.receive_until(monotonic_ns() + 20 * NS_PER_MS, note)
        assert monotonic_ns() < start_ns + GUARD_S * NS_PER_S, "the call neither works nor ends"
        assert_bounded(call)
    closed = call.closed
    call.close()
    return WORKS if closed is None else ("ends", closed.reason)


def assert_bounded(call: WebRtcCall) -> None:
    peer, track = call._peer, call.track
    assert peer is not None
    assert track.media is not None
    assert len(peer.ignored) <= 4
    assert len(peer._early) <= 16
    assert len(peer._ice._requests) <= MAX_CHECKS  # type: ignore[union-attr]
    assert len(track.media._encryption._sources) <= MAX_SOURCES
    assert len(track.media.buffer._waiting) <= MAX_STANDSTILL_PACKETS + 1
    assert len(track.frames) <= MAX_HELD_FRAMES


@pytest.mark.parametrize("name", CASES)
def test_a_call_to_a_hostile_service_has_one_stated_outcome(
    name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    case = CASES[name]
    behaviour, ends = behaviour_of(case), case.outcome == "ends"
    if ends:
        behaviour = replace(behaviour, is_silent=True)
    sent: list[tuple[Any, ...]] = []
    # not those of earlier telephone calls, which may still retransmit BYE
    sockets: list[DatagramSocket] = []
    create, send = DatagramSocket.__init__, DatagramSocket.send

    def created(self: DatagramSocket, *args: Any, **options: Any) -> None:
        sockets.append(self)
        create(self, *args, **options)

    def recorded(self: DatagramSocket, data: bytes, destination: Any) -> Any:
        if any(each is self for each in sockets):
            sent.append(tuple(destination[:2]))
        return send(self, data, destination)

    monkeypatch.setattr(DatagramSocket, "__init__", created)
    monkeypatch.setattr(DatagramSocket, "send", recorded)
    if "consent" in name:
        monkeypatch.setattr(ice, "CONSENT_NS", 20 * NS_PER_MS)
        monkeypatch.setattr(ice, "CONSENT_LIMIT_NS", 300 * NS_PER_MS)
    path = NetworkPath(codecs=(behaviour.codec,), offer="sdp", max_message_mib=1)
    given = set[tuple[str, int]]()

    def call(limit_s: float) -> tuple[str, str]:
        sent.clear()
        limits = Timeouts(upgrade=6 * limit_s)
        with hostile_peer(behaviour) as peer:
            try:
                call = open_webrtc(
                    ConnectRequest(peer.url, [], None, limits, ConnectTimings(), path)
                )
            except ConnectError as error:
                assert len(sent) <= MAX_CHECKS
                return error.outcome, error.detail
            else:
                return listened(call, behaviour, ends=ends)
            finally:
                given.update(peer.given)

    assert_outcome(case, call)
    assert "Traceback" not in capfd.readouterr().err
    assert set(sent) <= {address for address in given if address[0] == LOOPBACK}


def test_a_run_of_hostile_services_has_a_row_of_each_call_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "call.yaml").write_text("steps: [{text: Hello.}]\n", encoding="utf-8")
    names = {f"t{number}": behaviour_of(case) for number, case in enumerate([*CASES.values()][::3])}
    with ExitStack() as stack:
        urls = {
            name: stack.enter_context(hostile_peer(behaviour)).url
            for name, behaviour in names.items()
        }
        lines = (
            f'  {name}: {{url: "{url}", transport: webrtc, offer: sdp, codec:'
            f" {CODEC_KEYS[names[name].codec]}}}"
            for name, url in urls.items()
        )
        (tmp_path / "targets.yaml").write_text("\n".join(["targets:", *lines]), encoding="utf-8")
        load = ("-u", len(urls), "--sessions", 1, "--spawn-rate", 50, "--targets", ",".join(urls))
        result = rtbench("run", "call.yaml", *load, "--name", "hostile", cwd=tmp_path)
    output = result.stdout + result.stderr
    assert "Traceback" not in output
    assert result.returncode in (0, 1, 3, 4), output
    (folder,) = (tmp_path / "runs").iterdir()
    sessions = read_table(folder, "sessions").to_pandas()
    assert len(sessions) == len(urls)
    assert sessions["outcome"].nunique() > 5
    assert sessions["outcome"].notna().all()
