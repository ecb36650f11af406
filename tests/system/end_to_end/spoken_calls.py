"""Calls that send a recording, and the times at which the simulator detected its speech."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.base.units import NS_PER_MS
from bench.probe import probe_target, script_of
from bench.record.replay import ReplayedSession, replay_log
from bench.target.target import Target
from bench.wire.audio import AudioFormat
from tests.simulator_process import ROOT

WAV = ROOT / "scenarios" / "audio" / "late_parcel.wav"
STALLED_NS = 500 * NS_PER_MS
"""The maximum time for which a loaded kernel does not deliver a message. The events are further
apart."""
SPEECH = ("input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped")


@dataclass(frozen=True)
class Call:
    """A call that uses one audio format in both directions, and the messages that the simulator
    sent and received.
    """

    format: AudioFormat
    replay: ReplayedSession
    truth: list[dict[str, Any]]

    @property
    def heard_ms(self) -> list[float]:
        """The starts and ends of speech that the simulator detected, in ms on the caller's
        clock.
        """
        places = [line["speech_at_byte"] for line in self.truth if line["type"] in SPEECH]
        return [place * 1000 / self.format.bytes_per_s for place in places]


def play_call(target: Target, folder: Path, **session: Any) -> ReplayedSession:
    """Run a call that sends the WAV file. The service detects the end of the speech."""
    folder.mkdir(exist_ok=True)
    log = folder / "call.jsonl"
    script = script_of(target, WAV, {"turn_detection": "server_vad", **session})
    probe_target(target, script, log, record_audio=False)
    return replay_log(log)
