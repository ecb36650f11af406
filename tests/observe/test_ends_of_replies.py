"""The end of a reply: exact if silence follows the voice at once, otherwise with a bound that
reaches back to it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.base.units import NS_PER_MS
from bench.plan.recordings import FULL_SCALE
from bench.record.event_log import EventLog
from bench.record.replay import replay_log
from bench.wire.audio import Samples
from bench.wire.codec_errors import CODECS, LOSSLESS
from tests.observe.agent_calls import FORMATS, Call
from tools.benchmarks.onsets import FRAME_MS, found, voices

BEFORE_MS, VOICE_MS, NOISE_MS = 300, 1_200, 300


def reply(rate_hz: int, quieter_db: float | None, noise_ms: int = NOISE_MS) -> Samples:
    """Return a reply between silences. Its voice ends hard, or with noise that is so much
    quieter than the voice.
    """

    def silence(milliseconds: int) -> np.ndarray:
        return np.zeros(rate_hz * milliseconds // 1_000)

    recorded = voices(rate_hz)[1] * FULL_SCALE
    loud = np.flatnonzero(np.abs(recorded) > 4_000)
    end = loud[loud > rate_hz * VOICE_MS // 1_000][0] + 1
    voice = recorded[end - rate_hz * VOICE_MS // 1_000 : end]
    noise = silence(noise_ms)
    if quieter_db is not None:
        rms = np.sqrt(np.mean(voice**2))
        noise = np.random.default_rng(2).normal(0, rms * 10 ** (-quieter_db / 20), len(noise))
    return np.rint(np.concatenate((silence(BEFORE_MS), voice, noise, silence(3_000)))).astype(
        np.int16
    )


@pytest.mark.parametrize("dialect", FORMATS)
def test_the_end_of_a_reply_that_ends_hard_is_exact(dialect: str) -> None:
    call = Call(dialect)
    end = call.heard(call.hear(reply(call.audio.rate_hz, None), 20), "last_audible")
    assert abs(end.after_ms - BEFORE_MS - VOICE_MS) < 1, end
    # only the codec may have moved it
    assert end.bound_ms == call.audio.codec_errors.end_ns / NS_PER_MS


@pytest.mark.parametrize("dialect", FORMATS)
def test_only_opus_adds_the_errors_of_a_codec_to_the_bounds_of_a_reply(dialect: str) -> None:
    call = Call(dialect)
    samples = reply(call.audio.rate_hz, None)
    turn = call.hear(samples, 20)
    errors = CODECS["opus"] if dialect.endswith("webrtc") else LOSSLESS

    received = call.audio.decode(call.audio.encode(samples))
    own_ns = found(received, call.audio.rate_hz)[0].start_error_ns
    assert turn.onset_uncertainty_ns == own_ns + errors.start_ns
    assert turn.uncertainties_ns["last_audible"] == errors.end_ns


@pytest.mark.parametrize("dialect", FORMATS)
@pytest.mark.parametrize("quieter_db", [15, 20, 25, 30])
def test_the_bound_of_the_end_covers_the_voice_before_quiet_noise(
    dialect: str, quieter_db: float
) -> None:
    call = Call(dialect)
    end = call.heard(call.hear(reply(call.audio.rate_hz, quieter_db), 20), "last_audible")
    assert abs(end.after_ms - BEFORE_MS - VOICE_MS) <= end.bound_ms, end
    assert end.bound_ms > 0


@pytest.mark.parametrize("quieter_db", [15, 25])
def test_the_bound_also_covers_the_voice_if_the_agent_stops_sending_after_the_noise(
    quieter_db: float,
) -> None:
    """The silence that decides the end of the sound is then never sent."""
    samples = reply(8_000, quieter_db)[: 8 * (BEFORE_MS + VOICE_MS + NOISE_MS + 60)]
    at_s = np.arange(8 * NOISE_MS) / 8_000  # steady noise would end the sound
    noise = slice(8 * (BEFORE_MS + VOICE_MS), 8 * (BEFORE_MS + VOICE_MS + NOISE_MS))
    samples[noise] = samples[noise] * (1 + 0.9 * np.sin(2 * np.pi * 8 * at_s))
    call = Call()
    end = call.heard(call.hear(samples, 20), "last_audible")
    assert abs(end.after_ms - BEFORE_MS - VOICE_MS) <= end.bound_ms, end


def test_the_end_of_a_reply_that_stops_with_its_voice_is_exact() -> None:
    call = Call()
    end = call.heard(
        call.hear(reply(8_000, None)[: 8 * (BEFORE_MS + VOICE_MS)], 20), "last_audible"
    )
    assert abs(end.after_ms - BEFORE_MS - VOICE_MS) < 1, end
    assert end.bound_ms == 0


@pytest.mark.parametrize("dialect", ["pcm", "acs", "sip", "webrtc"])
@pytest.mark.parametrize(
    ("gap_ms", "cut_ms"), [(0, 0.5), (0, 4.5), (1_000.6, 0), (1_002.5, 3), (1_004.9, 0)]
)
def test_the_end_of_a_reply_that_fills_no_block_is_exact(
    dialect: str, gap_ms: float, cut_ms: float
) -> None:
    """A packet of silence, and silence that was not sent, precede the reply. Nothing follows it."""
    call = Call(dialect)
    per_ms = call.audio.rate_hz // 1_000
    samples = reply(call.audio.rate_hz, None, 0)[: (BEFORE_MS + VOICE_MS) * per_ms]
    samples = samples[(BEFORE_MS - FRAME_MS) * per_ms + int(cut_ms * per_ms) :]
    late_ms = dict.fromkeys(range(1, len(samples)), gap_ms)
    end = call.heard(call.hear(samples, 20, late_ms=late_ms), "last_audible")

    assert end.after_ms == pytest.approx(FRAME_MS + VOICE_MS - cut_ms + gap_ms, abs=0.2)


def test_the_uncertainty_of_the_end_is_not_that_of_the_start() -> None:
    call = Call()
    turn = call.hear(reply(8_000, 20, noise_ms=100), 20)
    assert call.heard(turn).bound_ms < 1
    assert call.heard(turn, "last_audible").bound_ms >= 100


def test_the_end_of_a_reply_is_that_of_its_last_sound() -> None:
    """The noise after the first sound does not make the end of the second one uncertain."""
    first, second = (
        reply(8_000, 20, noise_ms=100)[: 8 * (BEFORE_MS + VOICE_MS + 100)],
        reply(8_000, None),
    )
    call = Call()
    end = call.heard(call.hear(np.concatenate((first, second)), 20), "last_audible")
    assert abs(end.after_ms - len(first) / 8 - BEFORE_MS - VOICE_MS) < 1, end
    assert end.bound_ms == 0


def test_noise_after_an_interrupted_reply_makes_its_silence_uncertain() -> None:
    call = Call()
    samples = reply(8_000, 20)
    turn = call.hear(samples, 20, interrupted_after=8 * (BEFORE_MS + VOICE_MS // 2))
    end = call.heard(turn, "barge_in_silent")
    assert turn.outcome == "interrupted"
    assert abs(end.after_ms - BEFORE_MS - VOICE_MS) <= end.bound_ms, end
    assert end.bound_ms > 0


@pytest.mark.parametrize("record_audio", [False, True])
def test_the_replay_of_a_reply_with_an_uncertain_end_is_the_same(
    tmp_path: Path, record_audio: bool
) -> None:
    path = tmp_path / "log.jsonl"
    log = EventLog(path, hide=str, record_audio=record_audio)
    turn = Call(log=log).hear(reply(8_000, 20), 20)
    log.close()

    assert replay_log(path).turns == (turn,)
    assert turn.uncertainties_ns["last_audible"] > 0
