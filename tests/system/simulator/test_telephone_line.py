"""The telephone line of the simulator's process refuses calls, lets them ring, and lets callers
sign in.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import resource
import socket
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TypeVar

import pytest

from bench.base.clock import monotonic_ns
from bench.base.units import NS_PER_MS
from bench.catalogue.causes import ConnectError
from bench.catalogue.timeouts import Timeouts
from bench.protocols.sip.messages import SipRequest, SipResponse, parse_message, write_message
from bench.transport.datagrams import media_sockets, udp_socket
from bench.transport.interface import ConnectRequest, ConnectTimings, NetworkPath
from bench.transport.sip.telephone import TelephoneCall, open_call
from bench.transport.tls import tls_context
from rtbench_simulator.ground_truth_log import read_truth
from rtbench_simulator.services.registry import SERVICES
from rtbench_simulator.services.telephone.agent import RTP_PORTS
from rtbench_simulator.services.telephone.call_faults import INTO_WORD_NS
from rtbench_simulator.serving.credentials import Authenticator
from rtbench_simulator.serving.server import Server, listen
from rtbench_simulator.serving.service import ServerConfig, ServerWorker
from tests.simulator.builders import REPLY, build_profile
from tests.simulator_process import GUARD_S, Ready, quick_simulator

Message = TypeVar("Message", SipRequest, SipResponse)


class PlainCaller:
    """A caller with plain sockets, whose Contact names a host."""

    def __init__(self, url: str) -> None:
        host, port = url.rpartition("@")[2].split(":")
        self._agent, self._url = (host, int(port)), url
        self.signals = udp_socket("127.0.0.1")
        # the agent sends RTCP to the port after RTP's
        (self.first_rtp, *first), (self.second_rtp, *second) = (
            media_sockets("127.0.0.1", RTP_PORTS) for _ in range(2)
        )
        self.sockets = (self.signals, self.first_rtp, *first, self.second_rtp, *second)
        for sock in self.sockets:
            sock.settimeout(GUARD_S)
        self._own_port = self.signals.getsockname()[1]
        self._to, self._cseq = f"<{url}>", 0

    def invite(
        self,
        rtp: socket.socket,
        *,
        codec: int = 0,
        direction: str = "sendrecv",
        responses_before_ack: int = 1,
    ) -> int:
        """Send INVITE, also in the call. Acknowledge the response, and return its code."""
        self._cseq += 1
        body = (
            f"v=0\r\no=- 1 {self._cseq} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {rtp.getsockname()[1]} RTP/AVP {codec}\r\na={direction}\r\n"
        ).encode()
        self._send("INVITE", f"i{self._cseq}", body)
        for _ in range(responses_before_ack):
            while (response := self.receive(SipResponse)).code < 200 or response.cseq != self._cseq:
                pass
        self._to = response.first("To")
        self.acknowledge(response.code)
        return response.code

    def acknowledge(self, code: int) -> None:
        # the ACK of a refusal belongs to the transaction of INVITE
        self._send("ACK", f"a{self._cseq}" if code < 300 else f"i{self._cseq}")

    def _send(self, method: str, branch: str, body: bytes = b"") -> None:
        headers = [
            ("Via", f"SIP/2.0/UDP 127.0.0.1:{self._own_port};branch=z9hG4bK{branch}"),
            ("From", "<sip:caller@localhost>;tag=from"),
            ("To", self._to),
            ("Call-ID", "plain"),
            ("CSeq", f"{self._cseq} {method}"),
            ("Contact", f"<sip:caller@localhost:{self._own_port}>"),
            *([("Content-Type", "application/sdp")] if body else []),
        ]
        self.signals.sendto(
            write_message(f"{method} {self._url} SIP/2.0", headers, body), self._agent
        )

    def receive(self, kind: type[Message]) -> Message:
        """Return the next request or response."""
        while not isinstance(message := parse_message(self.signals.recv(65_535)), kind):
            pass
        return message


@pytest.fixture
def caller_of(request: pytest.FixtureRequest) -> Callable[[Ready], PlainCaller]:
    def new_caller(ready: Ready) -> PlainCaller:
        caller = PlainCaller(ready.urls["agent_sip"])
        for sock in caller.sockets:
            request.addfinalizer(sock.close)
        return caller

    return new_caller


KEY = "secret-of-this-test"
ENOUGH = Timeouts(tcp=GUARD_S, upgrade=GUARD_S)


def dial(ready: Ready, *headers: tuple[str, str], limits: Timeouts = ENOUGH) -> TelephoneCall:
    return open_call(
        ConnectRequest(
            ready.urls["agent_sip"], headers, None, limits, ConnectTimings(), NetworkPath()
        )
    )


@pytest.mark.parametrize(
    ("fault", "outcome", "detail", "retry_after"),
    [
        ("sip", "connect_failed:486", "SIP 486 Busy Here", None),
        ("sip,status=603", "connect_failed:603", "SIP 603 Decline", None),
        (
            "sip,status=503,retry_after_s=3",
            "throttled:handshake",
            "SIP 503 Service Unavailable",
            "3",
        ),
        ("throttled", "throttled:handshake", "SIP 503 Service Unavailable", "2"),
        ("forbidden", "connect_failed:403", "SIP 403 Forbidden", None),
    ],
)
def test_a_fault_refuses_a_call_and_is_in_the_truth(
    tmp_path: Path, fault: str, outcome: str, detail: str, retry_after: str | None
) -> None:
    truth = tmp_path / "truth.jsonl"
    options = ("--fault", fault, "--ground-truth", str(truth))
    with quick_simulator(tmp_path, *options) as ready, pytest.raises(ConnectError) as caught:
        dial(ready)

    headers = caught.value.headers
    assert (caught.value.outcome, caught.value.detail, headers.get("retry-after")) == (
        outcome,
        detail,
        retry_after,
    )
    assert (headers["x-rtbench-simulator"], headers["server"]) == ("1", "rtbench-simulate")
    assert headers["x-request-id"]
    assert "0 sessions, 1 refused, 1 faults" in ready.output
    assert [line.get("direction") for line in read_truth(truth)].count("refused") == 1


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_the_line_is_called_over_tcp_and_tls_too(tmp_path: Path, transport: str) -> None:
    with quick_simulator(tmp_path, *(["--tls"] if transport == "tls" else [])) as ready:
        url = (
            ready.urls["agent_sips"]
            if transport == "tls"
            else f"{ready.urls['agent_sip']};transport=tcp"
        )
        context = tls_context(ready.ca) if transport == "tls" else None
        for _ in range(2):
            open_call(
                ConnectRequest(url, (), context, ENOUGH, ConnectTimings(), NetworkPath())
            ).close()

    assert "SIMULATED: 2 sessions" in ready.output


def test_a_call_is_answered_when_its_set_up_is_over(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, more="rtp: {set_up_ms: 300}\n") as ready:
        begun_ns = monotonic_ns()
        dial(ready).close()
        took_ns = monotonic_ns() - begun_ns

    assert took_ns >= 300 * NS_PER_MS


def test_a_process_that_can_open_no_further_socket_refuses_calls(tmp_path: Path) -> None:
    with quick_simulator(tmp_path) as ready:
        (pid,) = ready.pids
        _, most = limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        highest = max(map(int, os.listdir(f"/proc/{pid}/fd")))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1, most))
        with pytest.raises(ConnectError) as caught:
            dial(ready)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        dial(ready).close()

    assert (caught.value.outcome, caught.value.headers["retry-after"]) == (
        "throttled:handshake",
        "1",
    )
    assert "Traceback" not in ready.output


def test_with_a_key_a_caller_signs_in_as_agent(tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    with quick_simulator(tmp_path, "--key", KEY, "--ground-truth", str(truth)) as ready:
        with pytest.raises(ConnectError) as caught:
            dial(ready)
        login = base64.b64encode(f"agent:{KEY}".encode()).decode()
        dial(ready, ("Authorization", f"Basic {login}")).close()

    assert (caught.value.outcome, caught.value.headers["x-rtbench-simulator"]) == (
        "connect_failed:401",
        "1",
    )
    assert KEY not in truth.read_text() + ready.output + json.dumps(caught.value.headers)


def test_the_agent_follows_the_address_that_a_reinvite_names_and_keeps_its_codec(
    tmp_path: Path, caller_of: Callable[[Ready], PlainCaller]
) -> None:
    with quick_simulator(tmp_path) as ready:
        caller = caller_of(ready)
        assert caller.invite(caller.first_rtp) == 200
        assert caller.first_rtp.recv(2_000)[1] & 0x7F == 0
        assert caller.invite(caller.first_rtp, codec=8) == 488
        assert caller.invite(caller.second_rtp) == 200
        assert caller.second_rtp.recv(2_000)[1] & 0x7F == 0


def test_the_agent_sends_no_audio_before_the_ack(
    tmp_path: Path, caller_of: Callable[[Ready], PlainCaller]
) -> None:
    with quick_simulator(tmp_path) as ready:
        caller = caller_of(ready)
        acknowledge = caller.acknowledge
        caller.acknowledge = lambda *values: caller.first_rtp.setblocking(False)  # type: ignore[method-assign]
        caller.invite(caller.first_rtp, responses_before_ack=2)
        with pytest.raises(BlockingIOError):
            caller.first_rtp.recv(2_000)
        caller.first_rtp.settimeout(GUARD_S)
        acknowledge(200)
        assert caller.first_rtp.recv(2_000)


@pytest.mark.parametrize(("direction", "is_sent"), [("sendrecv", True), ("sendonly", False)])
def test_the_agent_sends_no_audio_while_its_caller_holds_the_call(
    tmp_path: Path, caller_of: Callable[[Ready], PlainCaller], direction: str, is_sent: bool
) -> None:
    with quick_simulator(tmp_path, "--fault", "close,at=next_delta") as ready:
        caller = caller_of(ready)
        caller.invite(caller.first_rtp, direction=direction)
        assert caller.receive(SipRequest).method == "BYE"  # within a word of the greeting

    caller.first_rtp.setblocking(False)
    with nullcontext() if is_sent else pytest.raises(BlockingIOError):
        caller.first_rtp.recv(2_000)


@pytest.mark.parametrize("fault", ["close", "reset"])
def test_an_agent_that_was_stopped_sends_what_was_due_before_its_end(
    tmp_path: Path, caller_of: Callable[[Ready], PlainCaller], fault: str
) -> None:
    stop = ("--fault", "freeze,duration_s=1,at=first_delta")
    with quick_simulator(tmp_path, *stop, "--fault", f"{fault},at=next_delta") as ready:
        caller = caller_of(ready)
        caller.invite(caller.first_rtp)
        for _ in range(INTO_WORD_NS // (20 * NS_PER_MS)):
            caller.first_rtp.recv(2_000)


def test_a_simulator_with_a_call_is_not_idle() -> None:
    """Otherwise it would collect garbage during the call, and its audio would be late."""

    async def run() -> list[bool]:
        listener = listen("127.0.0.1", 0)
        config = ServerConfig(build_profile(), [REPLY], 1, Authenticator(), services=SERVICES)
        server = Server(config, listener, asyncio.get_running_loop(), ServerWorker(0, 1, 0))
        caller = PlainCaller(f"sip:agent@127.0.0.1:{listener.getsockname()[1]}")
        was_idle = [server.is_idle]
        assert await asyncio.to_thread(caller.invite, caller.first_rtp) == 200
        was_idle.append(server.is_idle)
        await server.stop()
        for sock in caller.sockets:
            sock.close()
        return was_idle

    assert asyncio.run(asyncio.wait_for(run(), GUARD_S)) == [True, False]
