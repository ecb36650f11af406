"""Gemini Live over a real socket: the values equal the simulator's log, and a wrong key is
refused without a trace.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.base.units import NS_PER_MS
from bench.plan.recordings import load_pcm
from bench.simulator.conversation.input_audio import FRAME_MS
from bench.simulator.ground_truth_log import read_truth
from bench.wire.audio import PCM16, PCM16_16K
from tests.helpers import resolve_target
from tests.played_session import hang_guard
from tests.simulator_process import quick_simulator
from tests.system.end_to_end.spoken_calls import STALLED_NS, WAV, Call, play_call

EDGE_MS = 2 * FRAME_MS
"""The maximum distance between the end of speech that the simulator detected and the one that
was found offline."""
JITTER_NS = 50 * NS_PER_MS
KEY = "a-key-of-google"


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from hang_guard(monkeypatch)


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Call:
    folder = tmp_path_factory.mktemp("simulator")
    truth = folder / "truth.jsonl"
    with quick_simulator(folder, "--ground-truth", str(truth), "--key", KEY) as simulator:
        url, key = simulator.urls["gemini"], {"GEMINI_API_KEY": KEY}
        target = resolve_target(key, url=url, api_key_env="GEMINI_API_KEY")
        reported = play_call(target, folder / "call", input_transcription="any")
        assert KEY not in (folder / "call" / "call.jsonl").read_text()
    known = [
        line
        for line in read_truth(truth)
        if line.get("session") == reported.session.service_session_id
    ]
    return Call(PCM16_16K, reported, known)


def first(call: Call, name: str) -> dict[str, Any]:
    return next(line for line in call.truth if line["type"] == name)


def test_the_instants_of_the_reply_are_those_of_the_simulator(call: Call) -> None:
    (turn,) = call.replay.turns
    assert turn.outcome == "ok", turn.detail
    for instant, name in (
        ("first_audio", "audio.delta"),
        ("first_transcript", "transcript.delta"),
        ("response_done", "generationComplete"),
    ):
        line, error_ns = first(call, name), turn.uncertainties_ns.get(instant, 0)
        # it arrives after it was sent; the send call may return later than that
        assert (
            line["send_start_ns"]
            <= turn.instants[instant]
            <= line["send_end_ns"] + error_ns + STALLED_NS
        )
    sounds = [line for line in call.truth if line["type"] == "audio.delta"]
    assert turn.audio_bytes_received == sum(line["audio_bytes"] for line in sounds)
    before = sounds[
        : next(n for n, line in enumerate(sounds) if line["audible_at_byte"] is not None)
    ]
    audible = sounds[len(before)]["audible_at_byte"] + sum(line["audio_bytes"] for line in before)
    expected_ns = turn.instants["first_audio"] + JITTER_NS + PCM16.duration_ns(audible)
    assert turn.instants["first_audible"] == expected_ns


def test_the_simulator_heard_the_speech_where_it_is(call: Call) -> None:
    pcm = load_pcm(WAV)
    ended = next(line["speech_at_byte"] for line in call.truth if line.get("speech_at_byte"))
    begun = next(line for line in call.truth if line.get("to_byte"))["from_byte"]

    speech_ms = (ended - begun) * 1000 / PCM16_16K.bytes_per_s
    # turns begin at a chunk of 100 ms
    assert abs(speech_ms % 100 - pcm.speech.end / 24 % 100) <= EDGE_MS


def test_the_words_and_the_tokens_of_both_speakers_are_those_of_the_simulator(call: Call) -> None:
    (turn,) = call.replay.turns

    assert turn.input_text.startswith("(simulated transcript of")
    assert turn.reply_text
    assert turn.usage is not None
    assert turn.usage.audio_in > 0
    assert turn.usage.audio_out > 0


def test_a_wrong_key_is_refused_with_the_words_of_the_service(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, "--key", KEY) as simulator:
        environ = {"GEMINI_API_KEY": "another-key"}
        target = resolve_target(environ, url=simulator.urls["gemini"], api_key_env="GEMINI_API_KEY")
        session = play_call(target, tmp_path / "call").session

    assert session.outcome == "closed:1007"
    assert session.detail.startswith("API key not valid")
    assert all("another-key" not in path.read_text() for path in (tmp_path / "call").iterdir())
