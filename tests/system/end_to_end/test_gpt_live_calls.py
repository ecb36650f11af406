"""GPT-Live over WebRTC to the simulator: each refusal is one line, and the official SDK has the
same offers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.protocols.webrtc.description import accepted_answer
from bench.transport.interface import NetworkPath
from bench.transport.webrtc.call import WebRtcCall
from tests.helpers import resolve_target
from tests.simulator_process import Ready, quick_simulator, running_simulator
from tests.system.end_to_end.spoken_calls import play_call


@pytest.mark.parametrize(
    ("options", "session", "outcome", "detail"),
    [
        (("--key", "a-key-of-the-test"), {}, "connect_failed:401", "401: "),
        (("--fault", "http,status=503"), {}, "connect_failed:503", "503: "),
        (("--fault", "http,status=429"), {}, "throttled:handshake", "HTTP 429: "),
        (
            ("--fault", "bad_fingerprint"),
            {},
            "connect_failed:dtls",
            "does not have the fingerprint",
        ),
        ((), {"extra": {"client": 7, "unknown": 1}}, "connect_failed:400", "unknown"),
    ],
)
def test_a_call_that_is_not_connected_is_one_line(
    tmp_path: Path, options: tuple[str, ...], session: Mapping[str, Any], outcome: str, detail: str
) -> None:
    with running_simulator(*options) as simulator:
        target = resolve_target(
            {}, url=simulator.urls["gpt_live"], transport="webrtc", codec="PCMU"
        )
        replay = play_call(target, tmp_path, turn_detection="full_duplex", **session)

    assert replay.session.outcome == outcome
    assert detail in replay.session.detail
    assert "\n" not in replay.session.detail


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("live")
    with quick_simulator(folder, "--key", "a-live-key") as ready:
        yield ready


def test_the_official_sdk_creates_a_session_with_our_offer(simulator: Ready) -> None:
    # takes a second, and every worker imports this module
    from openai import BadRequestError, OpenAI

    client = OpenAI(
        api_key="a-live-key", base_url=f"http://127.0.0.1:{simulator.port}/v1", max_retries=0
    )
    call = WebRtcCall("127.0.0.1", "127.0.0.1", NetworkPath())
    transport: Any = {"type": "webrtc", "sdp": call.offer.decode()}
    session: Any = {"model": "gpt-live-1", "audio": {"output": {"voice": "cedar"}}}

    created = client.live.create(session=session, transport=transport)
    assert created.session.id
    assert created.transport.type == "webrtc"
    assert accepted_answer(call._local, created.transport.sdp.encode()).channel is not None
    wrong: Any
    for wrong in (session | {"audio": {"format": {"type": "audio/pcm", "rate": 24_000}}}, {}):
        with pytest.raises(BadRequestError):
            client.live.create(session=wrong, transport=transport)
    with pytest.raises(BadRequestError):
        client.live.create(session=session, transport={"type": "webrtc", "sdp": "v=0"})
    call.abort()
