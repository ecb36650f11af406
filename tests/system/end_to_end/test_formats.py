"""Audio at the rates that services take arrives as long and as fast as it was spoken, which the simulator checks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import gevent
import pytest

from bench.plan.recordings import RATE_HZ, load_pcm
from bench.probe import probe_target, wav_script
from bench.protocol.audio import AudioFormat, AudioFormatName
from bench.protocol.openai import RATED_FORMATS
from bench.protocol.voice_live import VOICE_LIVE
from bench.run.replay import Replayed, replay_log
from bench.simulator.conversation.input_audio import FRAME_MS
from bench.simulator.truth import read_truth
from bench.simulator.voice import RecordedReply, load_replies
from bench.target.target import Target
from tests.helpers import resolve_target
from tests.played_session import GUARD_S, hang_guard
from tests.simulator_process import ROOT, quick_simulator

WAV = ROOT / "scenarios" / "audio" / "late_parcel.wav"
EDGE_MS = 2 * FRAME_MS
"""How far an edge that the simulator hears may lie from the one that was found offline."""
LEAD_MS = 100
"""The chunk of silence that an open microphone is recording when the caller begins to speak."""
NAMES: tuple[AudioFormatName, ...] = get_args(AudioFormatName)
Kind = tuple[str, AudioFormatName]
"""A service that the simulator stands in for, and a format."""
KINDS: list[Kind] = [("ga", name) for name in NAMES] + [("voice_live", name) for name in VOICE_LIVE.input_formats]
SPEECH = ("input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped")


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from hang_guard(monkeypatch)


def called(target: Target, folder: Path, **session: Any) -> Replayed:
    """A call that says the WAV, with the service finding its end."""
    folder.mkdir(exist_ok=True)
    log = folder / "call.jsonl"
    script = wav_script(target, WAV, {"turn_detection": "server_vad", **session})
    probe_target(target, script, log, record_audio=False)
    return replay_log(log)


def all_called(folder: Path, kinds: Iterable[Kind], more: str = "", **session: Any) -> dict[Kind, Call]:
    """A call of each kind, all at once; the simulator has ended, so that its log is whole."""
    truth = folder / "truth.jsonl"
    with quick_simulator(folder, "--ground-truth", str(truth), more=more) as simulator:
        talks = {}
        for service, name in kinds:
            target = resolve_target({}, url=simulator.urls[service])
            how = {"input_format": name, "output_format": name, **session}
            talks[service, name] = gevent.spawn(called, target, folder / f"{service}-{name}", **how)
        told = {kind: talk.get(timeout=GUARD_S) for kind, talk in talks.items()}
    lines = list(read_truth(truth))
    return {
        kind: Call(
            RATED_FORMATS[kind[1]], call, [x for x in lines if x.get("session") == call.session.service_session_id]
        )
        for kind, call in told.items()
    }


@dataclass(frozen=True)
class Call:
    """A call in one format, both ways, and what the simulator has sent and heard in it."""

    format: AudioFormat
    told: Replayed
    truth: list[dict[str, Any]]

    @property
    def heard_ms(self) -> list[float]:
        """Where speech begins and ends in what the simulator was sent, on the caller's clock."""
        places = [line["speech_at_byte"] for line in self.truth if line["type"] in SPEECH]
        return [place * 1000 / self.format.bytes_per_s for place in places]

    @property
    def replied_ms(self) -> int:
        """How long the recording lasts that the simulator has replied with, whatever it was sent as."""
        size = sum(line.get("audio_bytes", 0) for line in self.truth)
        lengths = {size_in(reply, self.format.name): reply.audio_ms for reply in load_replies()}
        return lengths[size]


def spoken_ms() -> list[float]:
    """Where speech begins and ends for the caller."""
    speech = load_pcm(WAV).speech
    return [LEAD_MS + edge * 1000 / RATE_HZ for edge in (speech.begin, speech.end)]


def size_in(reply: RecordedReply, name: AudioFormatName) -> int:
    return sum(block.audio_bytes for block in reply.blocks[name])


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, Call]:
    """A call in each format of each service."""
    folder = tmp_path_factory.mktemp("simulator")
    return all_called(folder, KINDS, f"formats: [{', '.join(NAMES)}]\n")


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_audio_arrives_at_the_length_and_speed_at_which_it_was_spoken(kind: Kind, calls: dict[Kind, Call]) -> None:
    call = calls[kind]

    (turn,) = call.told.turns
    assert turn.outcome == "ok"
    assert call.heard_ms == pytest.approx(spoken_ms(), abs=EDGE_MS)
    assert turn.audio_bytes_received * 1000 == call.replied_ms * call.format.bytes_per_s


def test_a_service_that_takes_another_rate_alone_refuses_what_it_would_misread(tmp_path: Path) -> None:
    with quick_simulator(tmp_path, more="formats: pcm16@16000\n") as simulator:
        target = resolve_target({}, url=simulator.urls["ga"])
        misfit = called(target, tmp_path)
        fit = called(target, tmp_path, input_format="pcm16@16000", output_format="pcm16@16000")

    assert misfit.session.outcome != "ok"
    assert "rate" in misfit.session.detail
    assert [turn.outcome for turn in fit.turns] == ["ok"]
