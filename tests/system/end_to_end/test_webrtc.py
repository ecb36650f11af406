"""Calls over WebRTC to the simulator: the values equal its ground truth, and what cannot be
connected is explained.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from bench.base.units import NS_PER_MS
from bench.catalogue.causes import ConnectError
from bench.catalogue.timeouts import Timeouts
from bench.record.folder import read_table
from bench.transport.interface import ConnectRequest, ConnectTimings, NetworkPath
from bench.transport.webrtc.call import open_webrtc
from rtbench_simulator.ground_truth_log import read_truth
from rtbench_simulator.services.webrtc.output_buffer import FRAME_NS
from tests.simulator_process import AUDIO, QUICK, running_simulator
from tests.system.end_to_end.locust_process import ENDS_WELL, rtbench
from tests.telephone_truth import JITTER_BUFFER_NS, SAMPLE_NS, STOPPED, packets_of, reply_starts

SCRIPT = f"""
session: {{turn_detection: server_vad}}
steps:
  - audio: {AUDIO / "order_number.wav"}
    name: number
  - text: Thank you.
    name: thanks
  - audio: {AUDIO / "order_number.wav"}
    name: again
"""
INTERRUPTED = f"""
session: {{turn_detection: server_vad}}
steps:
  - audio: {AUDIO / "order_number.wav"}
    name: number
  - interrupt: {{audio: {AUDIO / "order_number.wav"}, after: 0.5}}
    name: but
"""
TARGETS = """
targets:
  messages: {{url: "{url}"}}
  calls: {{url: "{url}", transport: webrtc}}
  narrow: {{url: "{url}", transport: webrtc, codec: PCMU}}
"""
PATHS = {"clean": "", "lossy": "rtp: {loss: 0.01, jitter_ms: 20, reorder: 0.02, duplicate: 0.02}\n"}
"""The keys of the profile for each network path."""
PAIRS, SPOKEN, TURNS = 4, 2, 3
Folders = Callable[[str], Path]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Return a function that returns a folder with a run of pairs over a network path, and the
    ground truth.
    """
    targets = {"clean": ("messages", "calls", "narrow"), "lossy": ("calls",)}
    return cache(
        lambda path: played(tmp_path_factory.mktemp("webrtc"), QUICK + PATHS[path], *targets[path])
    )


def played(folder: Path, profile: str, *targets: str, script: str = SCRIPT) -> Path:
    (folder / "quick.yaml").write_text(profile, encoding="utf-8")
    (folder / "call.yaml").write_text(script, encoding="utf-8")
    options = (
        "--profile",
        str(folder / "quick.yaml"),
        "--ground-truth",
        str(folder / "truth.jsonl"),
    )
    with running_simulator(*options) as ready:
        (folder / "targets.yaml").write_text(
            TARGETS.format(url=ready.urls["openai"]), encoding="utf-8"
        )
        load = ("-u", PAIRS * len(targets), "--sessions", PAIRS)
        result = rtbench(
            "run", "call.yaml", *load, "--targets", ",".join(targets), "--name", "calls", cwd=folder
        )
        assert result.returncode in ENDS_WELL, result.stderr
    return folder


def turns_of(folder: Path) -> pd.DataFrame:
    (run,) = (folder / "runs").iterdir()
    return read_table(run, "turns").to_pandas()


def test_one_run_compares_both_transports(folders: Folders) -> None:
    turns = turns_of(folders("clean"))

    assert turns.groupby("target").size().to_dict() == dict.fromkeys(
        ("calls", "messages", "narrow"), PAIRS * TURNS
    )
    assert set(turns["outcome"]) == {"ok"}
    by_target = turns.set_index("target")
    assert by_target["first_audible_at_ns"].notna().all()
    assert by_target.loc["messages", "first_audio_at_ns"].notna().all()
    # packets of silence come first
    assert by_target.loc[["calls", "narrow"], "first_audio_at_ns"].isna().all()
    assert (by_target["response_id"] != "").all()
    assert (by_target["output_audio_tokens"] > 0).all()


@pytest.mark.parametrize("path", list(PATHS))
def test_the_first_audible_sample_is_that_of_the_ground_truth(folders: Folders, path: str) -> None:
    folder = folders(path)
    (run,) = (folder / "runs").iterdir()
    replies = [reply for reply in reply_starts(run, folder / "truth.jsonl") if reply.has_truth]
    if not replies:
        pytest.skip(STOPPED)

    assert not [reply for reply in replies if reply.is_beyond_bound]
    if path == "clean":
        assert np.median([abs(reply.error_ns) for reply in replies]) <= NS_PER_MS


def test_an_event_of_the_data_channel_has_the_timestamp_of_its_packet(folders: Folders) -> None:
    folder = folders("lossy")
    events = [
        line
        for line in read_truth(folder / "truth.jsonl")
        if line.get("type") == "response.created"
    ]
    created = {line["response"]: line["send_start_ns"] for line in events}
    turns = turns_of(folder)
    delays_ns = (
        turns["start_ns"] + turns["response_created_at_ns"] - turns["response_id"].map(created)
    )

    assert len(delays_ns) == PAIRS * TURNS
    assert delays_ns.min() >= 0
    assert delays_ns.median() < NS_PER_MS


def test_the_packets_of_each_call_are_counted(folders: Folders) -> None:
    (run,) = (folders("lossy") / "runs").iterdir()
    sessions = read_table(run, "sessions").to_pandas()

    assert (sessions["outcome"] == "ok").all()
    assert (sessions["rtp_expected"] > 100).all()
    assert sessions["rtp_lost"].sum() > 0


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
    folder = played(tmp_path, profile + PATHS[path], "narrow", script=INTERRUPTED)
    (run,) = (folder / "runs").iterdir()
    sent = packets_of(read_truth(folder / "truth.jsonl"))
    sessions = read_table(run, "sessions").to_pandas().set_index("session_id")["service_session_id"]
    calls = turns_of(folder).query("turn == 1")
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
        open_webrtc(
            ConnectRequest(ready.urls["openai"], [], None, LIMITS, ConnectTimings(), NetworkPath())
        )

    assert caught.value.outcome == outcome


def test_a_key_is_sent_with_the_offer(tmp_path: Path) -> None:
    with running_simulator("--key", "a-key-of-the-test") as ready:
        url, timings = ready.urls["openai"], ConnectTimings()
        with pytest.raises(ConnectError) as caught:
            open_webrtc(
                ConnectRequest(
                    url, [("Authorization", "Bearer another")], None, LIMITS, timings, NetworkPath()
                )
            )
        call = open_webrtc(
            ConnectRequest(
                url,
                [("Authorization", "Bearer a-key-of-the-test")],
                None,
                LIMITS,
                timings,
                NetworkPath(),
            )
        )
        call.close()

    assert caught.value.outcome == "connect_failed:401"
