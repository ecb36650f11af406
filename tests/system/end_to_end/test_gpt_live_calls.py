"""GPT-Live over WebRTC to the simulator: values equal its ground truth, and the official SDK has
the same offers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.base.units import NS_PER_MS
from bench.protocols.webrtc.description import accepted_answer
from bench.record.folder import read_table
from bench.transport.interface import NetworkPath
from bench.transport.webrtc.call import WebRtcCall
from tests.helpers import resolve_target
from tests.simulator_process import Ready, quick_simulator, running_simulator
from tests.system.end_to_end.locust_process import ENDS_WELL, rtbench
from tests.system.end_to_end.spoken_calls import WAV, play_call
from tests.telephone_truth import STOPPED, reply_starts

SCRIPT = f"""
session: {{turn_detection: full_duplex, voice: cedar}}
steps:
  - audio: {WAV}
    name: parcel
  - audio: {WAV}
    name: again
"""
TARGETS = """
targets:
  messages: {{url: "{url}"}}
  calls: {{url: "{url}", transport: webrtc}}
  narrow: {{url: "{url}", transport: webrtc, codec: PCMU}}
"""
CALLS = 2


def test_one_run_compares_both_transports_of_gpt_live(tmp_path: Path) -> None:
    (tmp_path / "call.yaml").write_text(SCRIPT, encoding="utf-8")
    truth = tmp_path / "truth.jsonl"
    with quick_simulator(tmp_path, "--ground-truth", str(truth)) as simulator:
        (tmp_path / "targets.yaml").write_text(
            TARGETS.format(url=simulator.urls["gpt_live"]), encoding="utf-8"
        )
        load = ("-u", 3 * CALLS, "--sessions", CALLS)
        result = rtbench(
            "run", "call.yaml", *load, "--targets", "messages,calls,narrow", cwd=tmp_path
        )
    assert result.returncode in ENDS_WELL, result.stderr
    (run,) = (tmp_path / "runs").iterdir()

    turns = read_table(run, "turns").to_pandas()
    assert turns.groupby("target").size().to_dict() == dict.fromkeys(
        ("calls", "messages", "narrow"), 2 * CALLS
    )
    assert set(turns["outcome"]) == {"ok"}
    assert turns["first_audible_at_ns"].notna().all()
    sessions = read_table(run, "sessions").to_pandas().set_index("target")
    assert set(sessions["outcome"]) == {"ok"}
    assert (sessions["session_updated_at_ns"] > sessions["update_sent_at_ns"]).all()
    assert (sessions.loc[["calls", "narrow"], "rtp_expected"] > 100).all()
    billed_ns = sessions["billed_ns"].dropna()  # a service on a busy machine may report it too late
    assert len(billed_ns)
    assert (billed_ns > 0).all()
    replies = [reply for reply in reply_starts(run, truth) if reply.has_truth]
    if not replies:
        pytest.skip(STOPPED)
    assert not [reply for reply in replies if reply.is_beyond_bound]
    assert np.median([abs(reply.error_ns) for reply in replies]) <= NS_PER_MS


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
