"""The removal of the agent's echo from the caller's channel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.base.errors import UsageError
from bench.plan import audio_files, recordings
from bench.recorded_calls import channels, echoes_and_tones
from bench.recorded_calls.conversation import sounds
from bench.recorded_calls.echoes_and_tones import echo_paths, without_echo
from tests.recorded_calls.constructed import Conditions, ConstructedCall, constructed_call
from tests.recorded_calls.imports import found_utterances, recording

CONDITIONS = Conditions(rate_hz=8_000)


@pytest.mark.parametrize(
    "conditions",
    [CONDITIONS, replace(CONDITIONS, snr_db=20), replace(CONDITIONS, overlaps=True), Conditions(g711=True, snr_db=35)],
    ids=str,
)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_call_without_an_echo_has_none(conditions: Conditions, seed: int) -> None:
    call = constructed_call(seed, conditions, turns=3)

    assert echo_paths(call.caller, call.agent, call.rate_hz) == (None, None)


@pytest.mark.parametrize("echo_db", [-15.0, -30.0])
@pytest.mark.parametrize("snr_db", [None, 35.0])
def test_an_echo_is_removed_and_its_level_is_reported(echo_db: float, snr_db: float | None, tmp_path: Path) -> None:
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
    assert [sound.start for sound in after] == pytest.approx([sound.start for sound in before], abs=400)
    assert "interruption" in clean.kinds


def swapped(call: ConstructedCall) -> ConstructedCall:
    return replace(call, caller=call.agent, agent=call.caller)


def test_an_echo_in_the_second_channel_refuses_swapped_channels(tmp_path: Path) -> None:
    call = swapped(constructed_call(4, replace(CONDITIONS, echo_db=-20), turns=3))

    with pytest.raises(UsageError, match=r"an echo \(-(19|20|21) dB\), so .* swapped: add --caller 2, or --caller 1"):
        recording(call, tmp_path)
    with pytest.raises(UsageError, match=r"the agent's channel contains the caller's voice \(-(19|20|21) dB\)"):
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
    """The samples of the cleaned channel may differ by the rounding of 1 in 32,768; the sounds are equal."""
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
