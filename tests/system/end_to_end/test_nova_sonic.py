"""Amazon Nova Sonic over a real socket, with HTTP/2 and signatures: the values equal the
simulator's log, and wrong credentials are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("h2")
pytest.importorskip("botocore")

from bench.base.units import NS_PER_MS
from bench.simulator.ground_truth_log import read_truth
from bench.transport.event_stream import signing
from bench.wire.audio import PCM16, PCM16_16K
from tests.helpers import resolve_target
from tests.played_session import hang_guard
from tests.simulator_process import quick_simulator
from tests.system.end_to_end.spoken_calls import STALLED_NS, Call, play_call

JITTER_NS = 50 * NS_PER_MS
KEY = "a-secret-access-key"
TOKEN = "a-session-token-that-is-long"


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from hang_guard(monkeypatch)


@pytest.fixture(scope="module", autouse=True)
def credentials() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        patch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
        patch.setenv("AWS_SESSION_TOKEN", TOKEN)
        signing._found.cache_clear()
        signing._session.cache_clear()
        yield
    signing._found.cache_clear()
    signing._session.cache_clear()


@pytest.fixture(scope="module", params=[False, True], ids=["http", "https"])
def call(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Call:
    folder = tmp_path_factory.mktemp("simulator")
    truth = folder / "truth.jsonl"
    tls = ("--tls",) if request.param else ()
    with quick_simulator(folder, "--ground-truth", str(truth), "--key", KEY, *tls) as simulator:
        ca = {"ca_file": simulator.ca} if simulator.ca else {}
        target = resolve_target({}, url=simulator.urls["nova_sonic"], **ca)
        reported = play_call(target, folder / "call", input_transcription="any")
        log = (folder / "call" / "call.jsonl").read_text()
        assert KEY not in log
        assert TOKEN not in log
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
        ("response_done", "contentEnd.END_TURN"),
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
    expected_ns = turn.instants["first_audio"] + JITTER_NS + PCM16.duration_ns(audible)
    assert turn.instants["first_audible"] == expected_ns


def test_the_words_and_the_tokens_are_those_of_the_simulator(call: Call) -> None:
    (turn,) = call.replay.turns

    assert turn.input_text.startswith("(simulated transcript of")
    assert turn.reply_text
    assert turn.usage is not None
    assert turn.usage.audio_in > 0
    assert turn.usage.audio_out > 0


def test_wrong_credentials_are_refused_without_a_trace(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, "--key", "another-secret-key") as simulator:
        target = resolve_target({}, url=simulator.urls["nova_sonic"])
        session = play_call(target, tmp_path / "call").session

    assert session.outcome == "connect_failed:403"
    files = [path for path in (tmp_path / "call").iterdir() if path.is_file()]
    assert not any(secret in path.read_text() for path in files for secret in (KEY, TOKEN))
