"""Realtime translation: the first audible sample and the lag of the text equal the truth, and the
official SDK completes a session with the simulator.
"""

from __future__ import annotations

import asyncio
import base64
import statistics
import wave
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from bench.base.units import NS_PER_MS
from bench.plan.recordings import load_pcm
from bench.probe import probe_target, script_of
from bench.record.replay import WireTransfer, replay_log
from bench.services.full_duplex import AUDIO_DELTA, TRANSCRIPT_DELTA
from bench.services.translation.dialect import APPEND
from bench.wire.audio import PCM16
from bench.wire.events import EventKind, delta_text
from rtbench_simulator.ground_truth_log import read_truth
from tests.helpers import resolve_target
from tests.played_session import GUARD_S
from tests.simulator_process import ROOT, Ready, quick_simulator
from tests.system.end_to_end.spoken_calls import Call

pytestmark = pytest.mark.usefixtures("hang_guard")

PARCEL = load_pcm(ROOT / "scenarios" / "audio" / "late_parcel.wav").data
SEGMENT = PARCEL + bytes(12_000) + PARCEL
"""One segment of over 3 s: then the lag of its text is known."""
JITTER_NS = 50 * NS_PER_MS
GAP_NS = 100 * NS_PER_MS
SETTINGS: dict[str, Any] = {
    "turn_detection": "full_duplex",
    "input_transcription": "gpt-realtime-whisper",
    "extra": {"audio": {"output": {"language": "es"}}},
}


def translated_calls(folder: Path, count: int = 1) -> list[Call]:
    """Translate the segment in some calls; return them with the simulator's log of each."""
    truth = folder / "truth.jsonl"
    calls = []
    wav = folder / "segment.wav"
    with wave.open(str(wav), "wb") as file:
        file.setparams((1, 2, 24_000, 0, "NONE", ""))
        file.writeframes(SEGMENT)
    with quick_simulator(folder, "--ground-truth", str(truth)) as simulator:
        target = resolve_target({}, url=simulator.urls["translation"])
        for number in range(count):
            log = folder / f"call_{number}.jsonl"
            probe_target(target, script_of(target, wav, SETTINGS), log, record_audio=False)
            calls.append(replay_log(log))
    known = list(read_truth(truth))
    return [
        Call(
            PCM16,
            reported,
            [line for line in known if line.get("session") == reported.session.service_session_id],
        )
        for reported in calls
    ]


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Call:
    (call,) = translated_calls(tmp_path_factory.mktemp("translation"))
    return call


def lines(call: Call, name: str) -> list[dict[str, Any]]:
    return [line for line in call.truth if line["type"] == name]


def passages(call: Call, name: str) -> list[WireTransfer]:
    return [passage for passage in call.replay.passages if passage.name == name]


def true_first_audible_ns(call: Call, came_ns: Sequence[int]) -> int:
    """Return when the translation is heard. `came_ns` are the instants of the deltas. Late audio
    delays later audio only after a gap of over 100 ms (docs/decisions/0069-duplex-servers.md).
    """
    due_ns = played_ns = came_ns[0]
    for line, at_ns in zip(lines(call, AUDIO_DELTA), came_ns, strict=False):
        gap_ns = at_ns - played_ns
        due_ns = max(due_ns, at_ns - min(GAP_NS, max(0, 2 * GAP_NS - gap_ns)))
        if line["audible_at_byte"] is not None:
            return max(at_ns, due_ns) + JITTER_NS + PCM16.duration_ns(line["audible_at_byte"])
        due_ns += PCM16.duration_ns(line["audio_bytes"])
        played_ns = max(played_ns, at_ns) + PCM16.duration_ns(line["audio_bytes"])
    raise AssertionError("nothing was audible")


def true_lags_ns(call: Call, came_ns: Sequence[int], start_ns: int, end_ns: int) -> list[int]:
    """Return the lag of each delta with words (docs/decisions/0003-instants.md)."""
    texts = [
        delta_text(passage.event.payload)
        for passage in passages(call, TRANSCRIPT_DELTA)
        if passage.event is not None and passage.event.kind is EventKind.TRANSCRIPT_DELTA
    ]
    sizes = [len("".join(text.split())) for text in texts]
    spoken_ns = [
        start_ns + (end_ns - start_ns) * received // sum(sizes) for received in accumulate(sizes)
    ]
    return [
        at_ns - spoken
        for at_ns, spoken, size in zip(came_ns, spoken_ns, sizes, strict=True)
        if size
    ]


def test_the_translation_is_measured_as_it_was_sent(call: Call) -> None:
    (turn,) = call.replay.turns
    assert (turn.outcome, call.replay.session.outcome) == ("ok", "ok"), turn.detail

    came_ns = [passage.at_ns for passage in passages(call, AUDIO_DELTA)]
    assert turn.instants["first_audible"] == true_first_audible_ns(call, came_ns)
    heard_ns = turn.instants["first_audible"] - turn.instants["speech_end"]
    assert turn.metrics_ns()["voice_to_voice"] == heard_ns > 0
    # one message has two events: the words of the reply, and those of the speech
    words_ns = [
        passage.at_ns
        for passage in passages(call, TRANSCRIPT_DELTA)
        if passage.event is not None and passage.event.kind is EventKind.TRANSCRIPT_DELTA
    ]
    lags_ns = true_lags_ns(
        call, words_ns, turn.instants["speech_start"], turn.instants["speech_end"]
    )
    assert turn.transcript_lag_ns == pytest.approx(statistics.median(lags_ns), abs=2)
    assert turn.transcript_lag_max_ns == pytest.approx(max(lags_ns), abs=2)
    assert turn.reply_text


def test_the_simulator_bills_the_audio_that_it_received(call: Call) -> None:
    *_, last = lines(call, APPEND)

    assert call.replay.session.billed_ns == PCM16.duration_ns(last["to_byte"])


async def interpreted(simulator: Ready, audio: bytes) -> list[Any]:
    """Translate audio with the official SDK; return its events."""
    from openai import AsyncOpenAI  # takes a second, and every worker imports this module

    events: list[Any] = []
    client = AsyncOpenAI(
        api_key="any", base_url=f"http://127.0.0.1:{simulator.port}/v1", max_retries=0
    )
    async with client.realtime.translations.connect(model="gpt-realtime-translate") as connection:
        events.append(await connection.recv())
        await connection.session.update(session={"audio": {"output": {"language": "es"}}})
        events.append(await connection.recv())
        for begin in range(0, len(audio), 9_600):
            piece = base64.b64encode(audio[begin : begin + 9_600]).decode()
            await connection.session.input_audio_buffer.append(audio=piece)
        await connection.session.close()
        while events[-1].type != "session.closed":
            events.append(await connection.recv())
    return events


def test_the_sdk_completes_a_translation(tmp_path: Path) -> None:
    audio = SEGMENT + bytes(48_000)
    with quick_simulator(tmp_path) as simulator:
        created, updated, *events = asyncio.run(
            asyncio.wait_for(interpreted(simulator, audio), GUARD_S)
        )

    assert (created.type, updated.type) == ("session.created", "session.updated")
    assert (updated.session.type, updated.session.audio.output.language) == ("translation", "es")
    assert {event.type for event in events} == {
        AUDIO_DELTA,
        TRANSCRIPT_DELTA,
        "session.closed",
    }
    sound = b"".join(base64.b64decode(event.delta) for event in events if event.type == AUDIO_DELTA)
    assert any(sound)
    for event in events:
        type(event).model_validate(event.to_dict(), strict=True)
