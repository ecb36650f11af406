"""The removal of the agent's echo from the caller's channel."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.errors import UsageError
from bench.base.units import NS_PER_MS
from bench.observe.observation import TurnObservation
from bench.plan import audio_files, recordings
from bench.plan.recordings import FULL_SCALE, mean_squares
from bench.recorded_calls import channels, echoes_and_tones
from bench.recorded_calls.conversation import sounds
from bench.recorded_calls.echoes_and_tones import echo_paths, without_echo
from tests.examples import some
from tests.recorded_calls.composed import RATE_HZ, composed, measured, words
from tests.recorded_calls.constructed import Conditions, ConstructedCall, constructed_call
from tests.recorded_calls.imports import found_utterances, recording

CONDITIONS = Conditions(rate_hz=8_000)


@pytest.mark.parametrize(
    "conditions",
    [
        CONDITIONS,
        replace(CONDITIONS, snr_db=20),
        replace(CONDITIONS, overlaps=True),
        Conditions(g711=True, snr_db=35),
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", some([1, 2], 1))
def test_a_call_without_an_echo_has_none(conditions: Conditions, seed: int) -> None:
    call = constructed_call(seed, conditions, turns=3)

    assert echo_paths(call.caller, call.agent, call.rate_hz) == (None, None)


@pytest.mark.parametrize("echo_db", [-15.0, -30.0])
@pytest.mark.parametrize("snr_db", [None, 35.0])
def test_an_echo_is_removed_and_its_level_is_reported(
    echo_db: float, snr_db: float | None, tmp_path: Path
) -> None:
    conditions = replace(CONDITIONS, snr_db=snr_db, echo_db=echo_db)
    call = constructed_call(4, conditions, turns=3)
    clean = constructed_call(4, replace(conditions, echo_db=None), turns=3)

    path, _ = echo_paths(call.caller, call.agent, call.rate_hz)
    assert path is not None
    assert path.level_db == pytest.approx(echo_db, abs=1.5)
    read = recording(call, tmp_path)
    _, utterances = found_utterances(read)

    assert [recorded.utterance.kind for recorded in utterances] == clean.kinds
    starts_s = [recorded.speech.start / call.rate_hz for recorded in utterances]
    assert starts_s == pytest.approx(clean.starts_s, abs=0.05)
    (remark,) = read.remarks
    assert f"which was removed ({round(path.level_db)} dB)" in remark.text


def test_speech_over_an_echo_remains() -> None:
    conditions = Conditions(rate_hz=8_000, overlaps=True)
    clean = constructed_call(1, conditions, turns=3)
    call = constructed_call(1, replace(conditions, echo_db=-20), turns=3)
    path, _ = echo_paths(call.caller, call.agent, call.rate_hz)
    assert path is not None

    left = np.concatenate(list(without_echo(call.caller, call.agent, call.rate_hz, path)))

    before, after = (sounds(samples, call.rate_hz) for samples in (clean.caller, left))
    assert [sound.start for sound in after] == pytest.approx(
        [sound.start for sound in before], abs=400
    )
    assert "interruption" in clean.kinds


def short_talk(
    echo_db: float | None, *, in_agent: bool = False, noise_dbfs: float | None = None
) -> ConstructedCall:
    """Return a greeting, a question, and its answer after 0.7 s. One channel has an echo of the
    other, 130 ms later.
    """
    hello, question, answer = words("hello"), words("not_today"), words("appointment")
    asked = len(hello) + round(1.2 * RATE_HZ)
    answered = asked + len(question) + round(0.7 * RATE_HZ)
    seconds = (answered + len(answer)) / RATE_HZ + 1
    agent_words = {0.3: hello, 0.3 + answered / RATE_HZ: answer}
    call = composed({0.3 + asked / RATE_HZ: question}, agent_words, seconds)
    channels = {"caller": call.caller.astype(float), "agent": call.agent.astype(float)}
    near, far = ("agent", "caller") if in_agent else ("caller", "agent")
    if echo_db is not None:
        late = round(0.13 * RATE_HZ)
        channels[near][late:] += channels[far][:-late] * 10 ** (echo_db / 20)
    if noise_dbfs is not None:
        random = np.random.default_rng(3)
        for channel in channels.values():
            channel += random.normal(0, FULL_SCALE * 10 ** (noise_dbfs / 20), len(channel))
    pcm = {
        name: np.clip(np.rint(channel), -32_768, 32_767).astype(np.int16)
        for name, channel in channels.items()
    }
    return replace(call, **pcm)


ECHOES = [(-36.0, None), (-4.0, -64.0), (-24.0, -78.0)]
"""Levels of an echo in dB, and levels of noise in both channels."""


@pytest.mark.parametrize(
    ("echo_db", "noise_dbfs", "offset"),
    [(*echo, 0) for echo in ECHOES] + [(-12.0, None, 900), (-36.0, None, 900)],
)
def test_an_echo_in_a_call_of_one_turn_is_removed_also_from_a_channel_with_an_offset(
    echo_db: float, noise_dbfs: float | None, offset: int, tmp_path: Path
) -> None:
    call = short_talk(echo_db, noise_dbfs=noise_dbfs)
    caller = np.clip(call.caller + offset, -32_768, 32_767).astype(np.int16)
    read = recording(replace(call, caller=caller), tmp_path)
    turn = measured(read, tmp_path).turns[1]

    (remark,) = read.remarks
    assert remark.kind == "the caller's channel contained the agent's voice, which was removed"
    assert (turn.step, turn.outcome) == ("turn-1", "ok")
    tolerance_ms = 1 if noise_dbfs is None else 40
    assert waited_ms(turn) == pytest.approx(clean_ms(), abs=tolerance_ms)


@cache
def clean_ms(noise_dbfs: float | None = None) -> float:
    """Return how long the caller waits in the short talk without an echo, at half its level."""
    call = halved(short_talk(None, noise_dbfs=noise_dbfs))
    with TemporaryDirectory() as folder:
        read = recording(call, Path(folder))
        assert not read.remarks
        return waited_ms(measured(read, Path(folder)).turns[1])


def halved(call: ConstructedCall) -> ConstructedCall:
    return replace(call, caller=call.caller // 2, agent=call.agent // 2)


@pytest.mark.parametrize("offsets", [(400, 400), (1_500, 1_500), (700, -900), (0, 2_000)])
@pytest.mark.parametrize("noise_dbfs", [None, -64.0])
def test_an_offset_in_both_channels_is_no_echo(
    offsets: tuple[int, int], noise_dbfs: float | None, tmp_path: Path
) -> None:
    call = halved(short_talk(None, noise_dbfs=noise_dbfs))  # so that no sample is clipped
    caller, agent = (
        channel + np.int16(offset)
        for channel, offset in zip((call.caller, call.agent), offsets, strict=True)
    )
    read = recording(replace(call, caller=caller, agent=agent), tmp_path)

    assert [remark.text for remark in read.remarks] == []
    turn = measured(read, tmp_path).turns[1]
    assert waited_ms(turn) == pytest.approx(clean_ms(noise_dbfs), abs=1)


def waited_ms(turn: TurnObservation) -> float:
    return (turn.instants["first_audible"] - turn.instants["speech_end"]) / NS_PER_MS


@pytest.mark.parametrize(("echo_db", "noise_dbfs"), ECHOES)
def test_an_echo_in_the_agents_channel_of_one_turn_refuses_the_call(
    echo_db: float, noise_dbfs: float | None, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=rf"contains the caller's voice \({round(echo_db)} dB\)"):
        recording(short_talk(echo_db, in_agent=True, noise_dbfs=noise_dbfs), tmp_path, "1")


@pytest.mark.parametrize("noise_dbfs", [None, -64.0])
def test_a_call_of_one_turn_without_an_echo_has_none(noise_dbfs: float | None) -> None:
    call = short_talk(None, noise_dbfs=noise_dbfs)

    assert echo_paths(call.caller, call.agent, RATE_HZ) == (None, None)


@pytest.mark.parametrize("seed", [3])
def test_an_echo_is_found_if_the_caller_often_interrupts(seed: int) -> None:
    call = constructed_call(seed, Conditions(rate_hz=8_000, overlaps=True, echo_db=-33), turns=3)
    path, _ = echo_paths(call.caller, call.agent, call.rate_hz)

    assert path is not None
    assert path.level_db == pytest.approx(-33, abs=2)


@given(
    echo_db=st.floats(-45, -3), noise=st.sampled_from([0.0, 0.3, 3.0, 60.0]), seed=st.integers(0, 9)
)
def test_the_removal_of_an_echo_makes_no_block_louder(
    echo_db: float, noise: float, seed: int
) -> None:
    """The only background of a channel of digital silence is digital silence, however loud its
    voice is.
    """
    call = short_talk(echo_db)
    random = np.random.default_rng(seed)
    near = np.clip(
        np.rint(call.caller + random.normal(0, noise, len(call.caller))), -32_768, 32_767
    ).astype(np.int16)
    path, _ = echo_paths(near, call.agent, RATE_HZ)
    if path is None:
        return
    left = np.concatenate(list(without_echo(near, call.agent, RATE_HZ, path)))

    before, after = (np.sqrt(mean_squares(samples, 40)) for samples in (near, left))
    assert (after <= before + 1).all(), "1: the rounding of samples"


def swapped(call: ConstructedCall) -> ConstructedCall:
    return replace(call, caller=call.agent, agent=call.caller)


def test_an_echo_in_the_second_channel_refuses_swapped_channels(tmp_path: Path) -> None:
    call = swapped(constructed_call(4, replace(CONDITIONS, echo_db=-20), turns=3))

    with pytest.raises(
        UsageError,
        match=r"an echo \(-(19|20|21) dB\), so .* swapped: add --caller 2, or --caller 1",
    ):
        recording(call, tmp_path)
    with pytest.raises(
        UsageError, match=r"the agent's channel contains the caller's voice \(-(19|20|21) dB\)"
    ):
        recording(call, tmp_path, "1")
    assert recording(call, tmp_path, "2").remarks[0].kind.endswith("which was removed")


def test_a_channel_that_is_too_short_or_silent_has_no_echo() -> None:
    call = constructed_call(4, replace(CONDITIONS, echo_db=-20), turns=1)
    silent = np.zeros(len(call.agent), np.int16)

    assert echo_paths(call.caller[:8_000], call.agent[:8_000], 8_000) == (None, None)
    assert echo_paths(call.caller, silent, 8_000) == (None, None)
    assert echo_paths(silent, call.agent, 8_000) == (None, None)


def test_an_echo_without_a_quiet_background_is_replaced_by_silence() -> None:
    """The agent speaks all the time, so no part of the caller's channel is without an echo."""
    call = constructed_call(4, CONDITIONS, turns=1)
    words = call.agent[np.abs(call.agent) > 0]
    agent = np.tile(words, 4)
    caller = np.roll(agent, 800) // 4
    path, _ = echo_paths(caller, agent, 8_000)
    assert path is not None

    left = np.concatenate(list(without_echo(caller, agent, 8_000, path)))

    assert np.abs(left[8_000:]).max() < np.abs(caller).max() / 8


@pytest.mark.parametrize(("samples", "seconds"), [(1_999, 1), (77_777, 3), (1 << 22, 60)])
def test_a_call_does_not_depend_on_the_parts_in_which_it_is_processed(
    tmp_path: Path, samples: int, seconds: int
) -> None:
    """The samples of the cleaned channel may differ by the rounding of 1 in 32,768; the sounds
    are equal.
    """
    call = constructed_call(4, replace(CONDITIONS, echo_db=-20), turns=1)
    whole = recording(call, tmp_path)
    with pytest.MonkeyPatch.context() as patched:
        for module in (audio_files, channels, recordings):
            patched.setattr(module, "BLOCK_SAMPLES", samples)
        patched.setattr(echoes_and_tones, "PART_S", seconds)
        parts = recording(call, tmp_path)

    assert np.array_equal(whole.agent[:], parts.agent[:])
    assert np.abs(whole.caller[:].astype(int) - parts.caller[:]).max() <= 1
    assert (whole.caller_sounds, whole.agent_sounds) == (parts.caller_sounds, parts.agent_sounds)
    assert whole.remarks == parts.remarks
