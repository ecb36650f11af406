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
JITTER_NS = 50 * NS_PER_MS
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

    def check_instants(self, reply: AudioFormat, **names: str) -> None:
        """Check the instants of the only turn against the messages with these names, and its
        audio, in the format `reply`, against the audio that was sent.
        """
        (turn,) = self.replay.turns
        assert turn.outcome == "ok", turn.detail
        for instant, name in names.items():
            line = next(line for line in self.truth if line["type"] == name)
            # it arrives after it was sent; a loaded kernel may deliver it later than the send call
            # returns
            error_ns = turn.uncertainties_ns.get(instant, 0) + STALLED_NS
            latest_ns = line["send_end_ns"] + error_ns
            assert line["send_start_ns"] <= turn.instants[instant] <= latest_ns, instant
        sounds = [line for line in self.truth if line["type"] == "audio.delta"]
        assert turn.audio_bytes_received == sum(line["audio_bytes"] for line in sounds)
        first = next(n for n, line in enumerate(sounds) if line["audible_at_byte"] is not None)
        before = sum(line["audio_bytes"] for line in sounds[:first])
        audible_ns = reply.duration_ns(before + sounds[first]["audible_at_byte"])
        assert turn.instants["first_audible"] == (
            turn.instants["first_audio"] + JITTER_NS + audible_ns
        )

    def check_words(self, *, has_tokens: bool) -> None:
        """Check that both speakers have words, and tokens if the service counts these."""
        (turn,) = self.replay.turns
        assert turn.input_text.startswith("(simulated transcript of")
        assert turn.reply_text
        assert (turn.usage is not None) is has_tokens
        assert turn.usage is None or min(turn.usage.audio_in, turn.usage.audio_out) > 0


def play_call(target: Target, folder: Path, **session: Any) -> ReplayedSession:
    """Run a call that sends the WAV file. The service detects the end of the speech."""
    folder.mkdir(exist_ok=True)
    log = folder / "call.jsonl"
    script = script_of(target, WAV, {"turn_detection": "server_vad", **session})
    probe_target(target, script, log, record_audio=False)
    return replay_log(log)
