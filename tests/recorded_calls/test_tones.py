"""The beeps of a recorder and ring tones change neither the turns of a recorded call nor its
latencies.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.recorded_calls.channels import RecordedCall, read_call
from bench.recorded_calls.conversation import conversation
from bench.wire.audio import G711_ULAW, Samples
from tests.recorded_calls.constructed import Conditions, ConstructedCall, constructed_call

RATE_HZ = 8_000
CALL = constructed_call(3, Conditions(g711=True), turns=3)
EXACT_MS = 6


def beep(seconds: float, hertz: float = 1_400, level: float = 4_000) -> np.ndarray:
    wave = level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)
    fade = np.linspace(0, 1, 40)
    wave[:40] *= fade
    wave[-40:] *= fade[::-1]
    return wave


def mixed(samples: Samples, tone: np.ndarray, *at_s: float) -> np.ndarray:
    result = samples.astype(np.float64)
    for second in at_s:
        start = round(second * RATE_HZ)
        result[start : start + len(tone)] += tone[: len(result) - start]
    return result


def read(folder: Path, caller: np.ndarray, agent: np.ndarray) -> RecordedCall:
    pair = [
        G711_ULAW.decode(G711_ULAW.encode(np.rint(samples).astype(np.int16)))
        for samples in (caller, agent)
    ]
    soundfile.write(folder / "call.wav", np.stack(pair, axis=1), RATE_HZ, subtype="PCM_16")
    return read_call(folder / "call.wav", "auto")


def assert_same_turns(
    call: RecordedCall, truth: ConstructedCall, tolerance_ms: float = EXACT_MS
) -> None:
    talk = conversation(call.caller_sounds, call.agent_sounds, RATE_HZ, len(call.agent))
    assert [utterance.kind for utterance in talk.utterances] == truth.kinds
    assert talk.greets
    starts_s = [utterance.start / RATE_HZ for utterance in talk.utterances]
    ends_s = [utterance.end / RATE_HZ for utterance in talk.utterances]
    replies_s = [
        next(sound.start for sound in call.agent_sounds if sound.start > utterance.end) / RATE_HZ
        for utterance in talk.utterances
    ]
    assert starts_s == pytest.approx(truth.starts_s, abs=0.03)
    # the end of a sound is later than that of speech by what is 30 dB lower
    assert ends_s == pytest.approx(truth.ends_s, abs=0.05)
    expected = [end + wait / 1_000 for end, wait in zip(truth.ends_s, truth.waits_ms, strict=True)]
    assert replies_s == pytest.approx(expected, abs=tolerance_ms / 1_000)


@pytest.mark.parametrize("channels", ["both", "caller", "agent"])
@pytest.mark.parametrize("offset_s", [-0.2, -0.05, 0.1, 0.6])
def test_the_beeps_of_a_recorder_are_no_speech_also_over_speech(
    channels: str, offset_s: float, tmp_path: Path
) -> None:
    """The beeps are at the starts and the ends of speech, and in silence."""
    reply_s = CALL.ends_s[0] + CALL.waits_ms[0] / 1_000
    places = (
        0.05,
        CALL.ends_s[0] + offset_s,
        reply_s + offset_s + 2,
        CALL.ends_s[1] + offset_s,
        len(CALL.agent) / 8_000 - 0.5,
    )
    caller = mixed(CALL.caller, beep(0.35), *(places if channels != "agent" else ()))
    agent = mixed(CALL.agent, beep(0.35), *(places if channels != "caller" else ()))
    call = read(tmp_path, caller, agent)

    assert_same_turns(call, CALL)
    (remark,) = call.remarks
    assert "tones" in remark.text
    number = {"both": "5 in the caller's channel, 5", "caller": "5 in the caller's channel, 0"}
    assert number.get(channels, "0 in the caller's channel, 5") in remark.text


@pytest.mark.parametrize("tones_hz", [(440, 480), (425,), (400, 450)])
def test_a_ring_tone_before_the_answer_is_no_pause_of_a_reply(
    tones_hz: tuple[int, ...], tmp_path: Path
) -> None:
    lead = np.zeros(6 * RATE_HZ)
    ring = mixed(
        lead.astype(np.int16),
        np.sum([beep(1, hertz, 2_000) for hertz in tones_hz], axis=0),
        0.5,
        4.0,
    )
    call = read(tmp_path, np.concatenate([lead, CALL.caller]), np.concatenate([ring, CALL.agent]))
    talk = conversation(call.caller_sounds, call.agent_sounds, RATE_HZ, len(call.agent))

    assert talk.reply_silence_s == 1.5
    assert call.agent_sounds[0].start > 6 * RATE_HZ
    assert "2 in the agent's" in call.remarks[0].text


def test_a_phone_key_of_the_caller_is_a_turn(tmp_path: Path) -> None:
    """The agent answers the key."""
    key = beep(0.2, 770) + beep(0.2, 1_336)
    at_s = len(CALL.caller) / RATE_HZ + 0.5
    longer = np.zeros(4 * RATE_HZ, np.int16)
    caller = mixed(np.concatenate([CALL.caller, longer]), key, at_s)
    call = read(tmp_path, caller, np.concatenate([CALL.agent, longer]))
    assert call.caller_sounds[-1].start / RATE_HZ == pytest.approx(at_s, abs=0.01)
