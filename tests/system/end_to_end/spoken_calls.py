"""Calls that send a recording, and the times at which the simulator detected its speech."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.plan.recordings import RATE_HZ, load_pcm
from bench.probe import probe_target, script_of
from bench.record.replay import ReplayedSession, replay_log
from bench.simulator.conversation.input_audio import FRAME_MS
from bench.target.target import Target
from bench.wire.audio import AudioFormat
from tests.simulator_process import ROOT

WAV = ROOT / "scenarios" / "audio" / "late_parcel.wav"
EDGE_MS = 2 * FRAME_MS
"""The maximum distance between a start or end of speech that the simulator detected and the one that was found offline.
"""
LEAD_MS = 100
"""The length of the chunk of silence that an open microphone is recording when the caller begins to speak."""
SPEECH = ("input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped")


@dataclass(frozen=True)
class Call:
    """A call that uses one audio format in both directions, and the messages that the simulator sent and received."""

    format: AudioFormat
    replay: ReplayedSession
    truth: list[dict[str, Any]]

    @property
    def heard_ms(self) -> list[float]:
        """The starts and ends of speech that the simulator detected, in ms on the caller's clock."""
        places = [line["speech_at_byte"] for line in self.truth if line["type"] in SPEECH]
        return [place * 1000 / self.format.bytes_per_s for place in places]


def play_call(target: Target, folder: Path, **session: Any) -> ReplayedSession:
    """Run a call that sends the WAV file. The service detects the end of the speech."""
    folder.mkdir(exist_ok=True)
    log = folder / "call.jsonl"
    script = script_of(target, WAV, {"turn_detection": "server_vad", **session})
    probe_target(target, script, log, record_audio=False)
    return replay_log(log)


def spoken_ms() -> list[float]:
    """Return the start and end of speech, in ms on the caller's clock."""
    speech = load_pcm(WAV).speech
    return [LEAD_MS + edge * 1000 / RATE_HZ for edge in (speech.begin, speech.end)]
