"""Hostile telephones against whole processes: a run whose agents misbehave, and a simulator whose
callers do.

The callers of the simulator may also use WebRTC.
"""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from bench.catalogue.timeouts import Timeouts
from bench.files.sanitize import escape_control
from bench.protocols.ice.ice import IceLogin
from bench.protocols.sip.messages import write_message
from bench.record.folder import read_table
from bench.transport.interface import ConnectRequest, ConnectTimings, NetworkPath
from bench.transport.sip.telephone import TelephoneCall, open_call
from bench.transport.webrtc.call import WebRtcCall, open_webrtc
from tests.attack.cases import WORKS
from tests.examples import trials
from tests.simulator_process import AUDIO, GUARD_S, Ready, quick_simulator
from tests.system.end_to_end.locust_process import rtbench
from tests.transport.sip import hostile_answers as answers
from tests.transport.sip import hostile_media as media
from tests.transport.sip import hostile_requests as requests
from tests.transport.sip.hostile_line import LOOPBACK, Behaviour, HostilePeer, hostile_line
from tests.transport.sip.signalling_pieces import PIECES, VALID
from tools.fuzz.damage import damaged_bytes
from tools.fuzz.webrtc import stun_message

SCRIPT = (
    f"session: {{turn_detection: full_duplex}}\nsteps:\n  - audio: {AUDIO / 'order_number.wav'}\n"
)
DATAGRAMS = trials(6_000, 50_000)
MAX_GROWTH_MIB = 6 + 1e-3 * DATAGRAMS
LEFT_OUT = ("a call whose", "both sides", "a peer whose", "nonce", "challenge", "CANCEL")


def hangs_up_after(behave: Behaviour) -> Behaviour:
    def ended(peer: HostilePeer) -> None:
        behave(peer)
        peer.ask(200, "BYE")

    return ended


def behaviours() -> list[Behaviour]:
    """Return the behaviours that need no wait and no credentials. Peers that answer hang up at
    the end.
    """
    cases = [
        (case.steps[0], case.outcome)
        for name, case in (answers.CASES | requests.CASES).items()
        if not any(word in name for word in LEFT_OUT) and not case.outcome.startswith("timeout")
    ]
    answered = [
        *media.CASES.values(),
        *(behave for behave, outcome in cases if outcome == WORKS[0]),
    ]
    refused = [behave for behave, outcome in cases if outcome.startswith("connect_failed")]
    return [*map(hangs_up_after, answered), *refused]


def test_a_run_whose_agents_all_misbehave_has_a_row_of_each_call_and_no_traceback(
    tmp_path: Path,
) -> None:
    cases = behaviours()
    (tmp_path / "call.yaml").write_text(SCRIPT, encoding="utf-8")
    with hostile_line(*cases) as line:
        # each user calls once, because a user whose call failed waits before the next call
        load = ("-u", len(cases), "--sessions", len(cases), "--spawn-rate", 50)
        result = rtbench(
            "run", "call.yaml", *load, "--url", line.url, "--name", "hostile", cwd=tmp_path
        )
    output = result.stdout + result.stderr
    assert "Traceback" not in output
    assert result.returncode in (0, 1, 3, 4), output
    (folder,) = (tmp_path / "runs").iterdir()
    sessions = read_table(folder, "sessions").to_pandas()
    assert len(sessions) == len(cases)
    assert sessions["outcome"].notna().all()
    for line_of_output in output.splitlines():
        assert "\u202e" not in line_of_output
        assert "\x9b" not in line_of_output
    texts = [
        text for column in sessions for text in sessions[column].dropna() if isinstance(text, str)
    ]
    assert any("\\u202e" in text for text in texts)
    assert all(text == escape_control(text) for text in texts)


def dial(ready: Ready, kind: str) -> TelephoneCall | WebRtcCall:
    limits = Timeouts(tcp=GUARD_S, upgrade=GUARD_S)
    name, open_ = ("openai", open_webrtc) if kind == "webrtc" else ("agent_sip", open_call)
    return open_(
        ConnectRequest(ready.urls[name], (), None, limits, ConnectTimings(), NetworkPath())
    )


def media_port(call: TelephoneCall | WebRtcCall) -> int | None:
    if isinstance(call, TelephoneCall):
        assert call.track.media is not None
        return call.track.media.peer.port
    facts = call.facts()
    assert facts is not None
    return facts.peer.port


def memory_mib(ready: Ready) -> int:
    (pid,) = ready.pids
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    assert found is not None
    return int(found[1]) // 1024


@pytest.mark.parametrize("kind", ["signalling", "media", "webrtc"])
def test_a_simulator_survives_random_datagrams(tmp_path: Path, kind: str) -> None:
    random = Random(kind)
    with quick_simulator(tmp_path) as ready:
        call = dial(ready, kind)
        port = ready.port if kind == "signalling" else media_port(call)
        first_mib = memory_mib(ready)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for number in range(DATAGRAMS):
                sock.sendto(datagram(random, kind), (LOOPBACK, port))
                if number % 50 == 49:
                    wait_until_read(sock, ready.port, number)
        call.close()
        dial(ready, kind).close()
        growth_mib = memory_mib(ready) - first_mib

    assert "Traceback" not in ready.output
    assert growth_mib <= MAX_GROWTH_MIB


def wait_until_read(sock: socket.socket, port: int, number: int) -> None:
    """Wait until the simulator answers a request, so that the datagrams before it are read, and
    not dropped.
    """
    sock.settimeout(1)
    branch = f"z9hG4bKread{number}"
    request = write_message(
        "OPTIONS sip:agent@h SIP/2.0",
        [
            ("Via", f"SIP/2.0/UDP {LOOPBACK};rport;branch={branch}"),
            ("From", "<sip:a@b>;tag=x"),
            ("To", "<sip:c@d>"),
            ("Call-ID", branch),
            ("CSeq", "1 OPTIONS"),
        ],
    )
    for _ in range(int(GUARD_S)):
        sock.sendto(request, (LOOPBACK, port))
        with suppress(TimeoutError):
            while branch.encode() not in sock.recv(65_535):
                pass
            return
    raise AssertionError("the simulator does not answer")


def datagram(random: Random, kind: str) -> bytes:
    if kind == "webrtc":
        login = IceLogin("a", "b" * 22)
        data = random.choice(
            (stun_message(random, login, login, b""), b"\x16\xfe\xfd" + bytes(20), b"\x80" * 172)
        )
        return damaged_bytes(random, data)
    if kind == "media":
        head = b"\x80" + random.choice((b"\x00", b"\x65", b"\x0d", b"\x88")) + random.randbytes(10)
        return damaged_bytes(random, head + b"\x11" * random.choice((0, 1, 160, 480)))
    if random.random() < 0.2:
        return random.randbytes(random.randint(0, 400))
    return damaged_bytes(random, random.choice(VALID), tuple(PIECES))
