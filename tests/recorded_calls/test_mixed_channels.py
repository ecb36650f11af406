"""Recordings whose channels a lossy codec mixed, which are refused with the codec as the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from bench.base.errors import UsageError
from bench.recorded_calls.channels import RecordedCall, read_call
from tests.recorded_calls.composed import RATE_HZ, composed, measured, words

Floats = NDArray[np.float64]
FRAME = RATE_HZ // 50
WAIT_MS = 900


def talk() -> Floats:
    """Return the channels of a call of two turns, each answered after 0.9 s, as frames × 2."""
    caller, agent, at_s = {}, {}, 0.4
    for question, answer in (("opening_hours", "weather"), ("late_parcel", "order")):
        caller[at_s] = words(question)
        at_s += len(words(question)) / RATE_HZ + WAIT_MS / 1_000
        agent[at_s] = words(answer)
        at_s += len(words(answer)) / RATE_HZ + 1.1
    call = composed(caller, agent, at_s)
    return np.stack([call.caller, call.agent], axis=1) / 32_768


CALL = talk()


def read(
    folder: Path, frames: Floats, name: str = "call.wav", source: str | None = None
) -> RecordedCall:
    soundfile.write(folder / name, np.clip(frames, -1, 1), RATE_HZ)
    return read_call(folder / name, "auto", source)


def mixed(into_caller: Floats, into_agent: Floats) -> Floats:
    """Return the call with a part of each channel in the other one. The gains have a value for
    each frame of 20 ms.
    """
    caller, agent = CALL.T
    gains = [np.repeat(gain, FRAME)[: len(CALL)] for gain in (into_caller, into_agent)]
    return np.stack([caller + gains[0] * agent, agent + gains[1] * caller], axis=1)


def gains(lowest_db: float, highest_db: float) -> Floats:
    """Return random gains, one for each frame of 20 ms, which change about five times per
    second.
    """
    random = np.random.default_rng(4)
    levels_db = np.repeat(random.uniform(lowest_db, highest_db, len(CALL)), 10)[
        : len(CALL) // FRAME + 1
    ]
    return np.asarray(10 ** (levels_db / 20))


NONE = np.zeros(len(CALL) // FRAME + 1)


@pytest.mark.parametrize("share", [0.99, 0.985, 0.98, 0.975, 0.96])
def test_an_opus_file_in_two_channels_is_measured_or_refused_with_its_bitrate(
    share: float, tmp_path: Path
) -> None:
    """`share` states the bitrate of libsndfile, here from 12 to 28 kbit/s."""
    path = tmp_path / "call.opus"
    soundfile.write(path, CALL, RATE_HZ, format="OGG", subtype="OPUS", compression_level=share)
    try:
        turns = measured(read_call(path, "auto"), tmp_path).turns
    except UsageError as error:
        assert "opus at " in str(error)
        assert "kbit/s mixed them (its stereo coding)" in str(
            error
        ) or "kbit/s stored one channel" in str(error)
        assert "--caller" not in str(error)
    else:
        assert [turn.outcome for turn in turns] == ["ok", "ok"]
        waits = [
            (turn.instants["first_audible"] - turn.instants["speech_end"]) / 1e6 for turn in turns
        ]
        assert waits == pytest.approx([WAIT_MS] * 2, abs=45)


def test_the_recommended_bitrate_of_opus_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "call.opus"
    soundfile.write(path, CALL, RATE_HZ, format="OGG", subtype="OPUS", compression_level=0.885)

    assert 60 < path.stat().st_size * 8 / (len(CALL) / RATE_HZ) / 1_000 < 68
    assert [turn.outcome for turn in measured(read_call(path, "auto"), tmp_path).turns] == [
        "ok",
        "ok",
    ]


@pytest.mark.parametrize(("lowest_db", "highest_db"), [(-4, -1), (-15, -5), (-30, -20), (-21, -21)])
def test_channels_that_contain_each_other_without_a_delay_are_refused(
    lowest_db: float, highest_db: float, tmp_path: Path
) -> None:
    both = gains(lowest_db, highest_db)

    with pytest.raises(
        UsageError,
        match=r"without a delay: as the stereo coding of a lossy codec mixes them, .* 64 kbit/s$",
    ):
        read(tmp_path, mixed(both, both))


def test_a_codec_that_mixes_in_one_direction_is_known_by_its_changing_gain(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"speex mixed them \(its stereo coding\)"):
        read(tmp_path, mixed(gains(-24, -2), NONE), "call.speex.wav")


def test_an_echo_with_a_constant_gain_is_no_mixing(tmp_path: Path) -> None:
    (remark,) = read(tmp_path, mixed(gains(-15, -15), NONE)).remarks

    assert remark.text.endswith("which was removed (-15 dB)")


def test_the_noise_of_a_codec_that_follows_the_other_voice_refuses_the_call(tmp_path: Path) -> None:
    """A codec that codes sum and difference adds noise to both channels, in each frame about 20
    dB below the voice.
    """
    levels = np.sqrt(
        (CALL[: len(CALL) // FRAME * FRAME].reshape(-1, FRAME, 2) ** 2).mean(axis=1)
    ).max(axis=1)
    noise = (
        np.random.default_rng(5).normal(0, 0.1, CALL.shape)
        * np.repeat(np.append(levels, 0), FRAME)[: len(CALL), np.newaxis]
    )

    with pytest.raises(UsageError, match=r"wma mixed them .* or both with at least 128 kbit/s$"):
        read(tmp_path, CALL + noise, source="wma")


def test_noise_and_beeps_in_both_channels_are_no_mixing(tmp_path: Path) -> None:
    frames = CALL + np.random.default_rng(6).normal(0, 0.002, CALL.shape)
    beep = 0.2 * np.sin(2 * np.pi * 1_400 * np.arange(RATE_HZ // 4) / RATE_HZ)
    for start in (0, len(CALL) - RATE_HZ // 2):
        frames[start : start + len(beep)] += beep[:, np.newaxis]

    assert len(measured(read(tmp_path, frames, source="wma"), tmp_path).turns) == 2
