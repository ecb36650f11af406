"""Deepgram's Voice Agent over a real socket: the values equal the simulator's log, and a wrong
key is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.base.units import NS_PER_MS
from bench.simulator.ground_truth_log import read_truth
from bench.wire.audio import G711_ULAW, PCM16
from tests.helpers import resolve_target
from tests.played_session import hang_guard
from tests.simulator_process import quick_simulator
from tests.system.end_to_end.spoken_calls import STALLED_NS, Call, play_call

JITTER_NS = 50 * NS_PER_MS
KEY = "a-key-of-deepgram"


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from hang_guard(monkeypatch)


@pytest.fixture(scope="module", params=[PCM16, G711_ULAW], ids=lambda format: format.name)
def call(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Call:
    folder, format = tmp_path_factory.mktemp("simulator"), request.param
    truth = folder / "truth.jsonl"
    with quick_simulator(folder, "--ground-truth", str(truth), "--key", KEY) as simulator:
        environ = {"DEEPGRAM_API_KEY": KEY}
        target = resolve_target(
            environ, url=simulator.urls["deepgram"], api_key_env="DEEPGRAM_API_KEY"
        )
        formats = {"input_format": format.name, "output_format": format.name}
        reported = play_call(target, folder / "call", input_transcription="nova-3", **formats)
        assert KEY not in (folder / "call" / "call.jsonl").read_text()
    known = [
        line
        for line in read_truth(truth)
        if line.get("session") == reported.session.service_session_id
    ]
    return Call(format, reported, known)


def first(call: Call, name: str) -> dict[str, Any]:
    return next(line for line in call.truth if line["type"] == name)


def test_the_instants_of_the_reply_are_those_of_the_simulator(call: Call) -> None:
    (turn,) = call.replay.turns
    assert turn.outcome == "ok", turn.detail
    for instant, name in (
        ("speech_started", "UserStartedSpeaking"),
        ("first_audio", "audio.delta"),
        ("response_done", "AgentAudioDone"),
    ):
        line, error_ns = first(call, name), turn.uncertainties_ns.get(instant, 0)
        # it arrives after it was sent; a loaded kernel may deliver it later than the send call
        # returns
        latest_ns = line["send_end_ns"] + error_ns + STALLED_NS
        assert line["send_start_ns"] <= turn.instants[instant] <= latest_ns, instant
    sounds = [line for line in call.truth if line["type"] == "audio.delta"]
    assert turn.audio_bytes_received == sum(line["audio_bytes"] for line in sounds)
    before = sounds[
        : next(n for n, line in enumerate(sounds) if line["audible_at_byte"] is not None)
    ]
    audible = sounds[len(before)]["audible_at_byte"] + sum(line["audio_bytes"] for line in before)
    expected_ns = turn.instants["first_audio"] + JITTER_NS + call.format.duration_ns(audible)
    assert turn.instants["first_audible"] == expected_ns


def test_the_words_of_both_speakers_are_those_of_the_simulator(call: Call) -> None:
    (turn,) = call.replay.turns

    assert turn.input_text.startswith("(simulated transcript of")
    assert turn.reply_text
    assert turn.usage is None, "the service bills minutes"


def test_a_wrong_key_is_refused_without_a_trace(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, "--key", KEY) as simulator:
        environ = {"DEEPGRAM_API_KEY": "another-key"}
        target = resolve_target(
            environ, url=simulator.urls["deepgram"], api_key_env="DEEPGRAM_API_KEY"
        )
        session = play_call(target, tmp_path / "call").session

    assert session.outcome == "connect_failed:401"
    assert all("another-key" not in path.read_text() for path in (tmp_path / "call").iterdir())
