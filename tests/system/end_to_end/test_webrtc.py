"""Calls over WebRTC to the simulator: an interrupted reply is silent at the instant of the ground
truth, and what cannot be connected is explained.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.base.units import NS_PER_MS
from bench.catalogue.causes import ConnectError
from bench.catalogue.timeouts import Timeouts
from bench.transport.interface import ConnectRequest, ConnectTimings, NetworkPath
from bench.transport.webrtc.call import WebRtcCall, open_webrtc
from rtbench_simulator.services.webrtc.output_buffer import FRAME_NS
from tests.simulator_process import QUICK, running_simulator
from tests.system.end_to_end.played_calls import BARGE_IN, NUMBER, play, script
from tests.telephone_truth import JITTER_BUFFER_NS, SAMPLE_NS, packets_of

PATHS = {"clean": "", "lossy": "rtp: {loss: 0.01, jitter_ms: 20, reorder: 0.02, duplicate: 0.02}\n"}
"""The keys of the profile for each network path."""
NARROW = {"narrow": "transport: webrtc, codec: PCMU"}


@pytest.mark.parametrize(("path", "generation_speed"), [("clean", 100), ("lossy", 1)])
def test_an_interrupted_reply_is_silent_when_its_last_sample_was_played(
    tmp_path: Path, path: str, generation_speed: int
) -> None:
    """A slow response is cancelled; a fast one was complete, and only its audio is dropped.

    The calls have PCMU, because a frame of Opus also has sound of the frame before it.
    """
    profile = QUICK.replace(
        "speech_started: {p50: 1, p95: 2}", "speech_started: {p50: 100, p95: 150}"
    )
    profile = profile.replace("generation_speed: 100", f"generation_speed: {generation_speed}")
    (tmp_path / "late.yaml").write_text(profile + PATHS[path], encoding="utf-8")
    truth = str(tmp_path / "truth.jsonl")
    steps = script(NUMBER, BARGE_IN, session="turn_detection: server_vad")
    with running_simulator(
        "--profile", str(tmp_path / "late.yaml"), "--ground-truth", truth
    ) as ready:
        run = play(tmp_path, steps, ready.urls["openai"], 4, NARROW)
    sent = packets_of(run.truth)
    sessions = run.sessions.set_index("session_id")["service_session_id"]
    calls = run.turns.query("turn == 1")
    lags_ms = []
    for row in (
        SimpleNamespace(**{str(name): value for name, value in row.items()})
        for row in calls.to_dict("records")
    ):
        packets = [packet for packet in sent[sessions[row.session_id]] if not packet.get("dropped")]
        fastest_ns = min(
            packet["send_end_ns"] - packet["due_ns"] - packet.get("delay_ns", 0)
            for packet in packets
        )
        audible = (
            p
            for p in packets
            if p["response"] == row.response_id and p.get("audible_at_byte") is not None
        )
        last = max(audible, key=lambda packet: packet["due_ns"])
        # by its clock, if its path has jitter
        start_ns = last["due_ns"] + fastest_ns + JITTER_BUFFER_NS
        arrives_ns = last["send_end_ns"] - last.get("delay_ns", 0) + JITTER_BUFFER_NS
        silent_ns = row.start_ns + row.barge_in_silent_at_ns
        bound_ns = row.barge_in_silent_uncertainty_ns + NS_PER_MS
        assert start_ns + last["audible_at_byte"] * SAMPLE_NS - bound_ns <= silent_ns
        assert silent_ns <= arrives_ns + FRAME_NS + bound_ns
        lags_ms.append((row.barge_in_silent_at_ns - row.barge_in_detected_at_ns) / NS_PER_MS)

    assert set(calls["outcome"]) == {"interrupted"}
    # the player of the caller still has audio when the service reports the speech
    assert min(lags_ms) > 0


LIMITS = Timeouts(upgrade=3.0)


@pytest.mark.parametrize(
    ("fault", "outcome", "detail"),
    [
        ("http,status=503", "connect_failed:503", "503"),
        ("dead_candidate", "timeout:ice", "no candidate of the peer answered"),
        ("no_dtls", "timeout:dtls", "the DTLS handshake did not end"),
        ("bad_fingerprint", "connect_failed:dtls", "does not have the fingerprint"),
    ],
)
def test_a_call_that_is_not_connected_states_the_step_that_failed(
    fault: str, outcome: str, detail: str
) -> None:
    with (
        running_simulator("--fault", fault) as ready,
        pytest.raises(ConnectError, match=detail) as caught,
    ):
        call(ready.urls["openai"])

    assert caught.value.outcome == outcome


def call(url: str, *headers: tuple[str, str]) -> WebRtcCall:
    return open_webrtc(
        ConnectRequest(url, [*headers], None, LIMITS, ConnectTimings(), NetworkPath())
    )


def test_a_key_is_sent_with_the_offer() -> None:
    with running_simulator("--key", "a-key-of-the-test") as ready:
        with pytest.raises(ConnectError) as caught:
            call(ready.urls["openai"], ("Authorization", "Bearer another"))
        call(ready.urls["openai"], ("Authorization", "Bearer a-key-of-the-test")).close()

    assert caught.value.outcome == "connect_failed:401"
