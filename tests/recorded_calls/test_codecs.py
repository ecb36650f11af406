"""Recordings with a lossy codec: its errors are part of the bounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.base.errors import UsageError
from bench.base.units import NS_PER_MS
from bench.recorded_calls.channels import lossy_codec, read_call
from bench.wire.codec_errors import CODECS
from tests.recorded_calls.composed import measured
from tests.recorded_calls.constructed import FULL_SCALE, Conditions, constructed_call
from tests.recorded_calls.imports import run_import, write_call

RATE_HZ = 16_000
SOFT_EDGES_MS = 250
"""The maximum bound of the voices, which begin with a nasal or a breathy consonant, and fade."""
CALL = constructed_call(3, Conditions(rate_hz=RATE_HZ), turns=3)
SAMPLES = np.stack([CALL.caller, CALL.agent], axis=1) / FULL_SCALE


def encoded(folder: Path, form: str, subtype: str, name: str, level: float | None = None) -> Path:
    path = folder / name
    soundfile.write(path, SAMPLES, RATE_HZ, format=form, subtype=subtype, compression_level=level)
    return path


def decoded_mp3(folder: Path, name: str) -> Path:
    """Return a WAV that was made from an MP3 of the lowest quality."""
    samples, rate_hz = soundfile.read(
        encoded(folder, "MP3", "MPEG_LAYER_III", "call.mp3", level=0.99), dtype="int16"
    )
    soundfile.write(folder / name, samples, rate_hz)
    return folder / name


def errors_and_bounds_ms(
    path: Path, folder: Path, source: str | None = None
) -> list[tuple[float, float]]:
    turns = measured(read_call(path, "auto", source), folder).turns
    spoken = [turn for turn in turns if {"speech_end", "first_audible"} <= turn.instants.keys()]
    return [
        (
            (turn.instants["first_audible"] - turn.instants["speech_end"]) / NS_PER_MS - wait_ms,
            (turn.uncertainties_ns["first_audible"] + turn.widths_ns["speech_end"]) / NS_PER_MS,
        )
        for turn, wait_ms in zip(spoken, CALL.waits_ms, strict=True)
    ]


@pytest.mark.parametrize(
    ("form", "subtype", "name"),
    [
        ("OGG", "VORBIS", "call.ogg"),
        ("OGG", "OPUS", "call.opus"),
        ("WAV", "IMA_ADPCM", "call.wav"),
        ("WAV", "MS_ADPCM", "call.wav"),
    ],
)
def test_the_codec_of_the_samples_is_part_of_the_bound(
    tmp_path: Path, form: str, subtype: str, name: str
) -> None:
    for error_ms, bound_ms in errors_and_bounds_ms(
        encoded(tmp_path, form, subtype, name), tmp_path
    ):
        assert abs(error_ms) <= bound_ms


def test_the_name_of_a_converted_file_states_its_codec(tmp_path: Path) -> None:
    found = errors_and_bounds_ms(decoded_mp3(tmp_path, "call.mp3.wav"), tmp_path)

    assert max(abs(error_ms) for error_ms, _ in found) > 1
    assert all(abs(error_ms) <= bound_ms for error_ms, bound_ms in found)


def test_the_source_of_a_recording_may_be_stated(tmp_path: Path) -> None:
    path = decoded_mp3(tmp_path, "call.wav")

    assert all(
        abs(error_ms) <= bound_ms
        for error_ms, bound_ms in errors_and_bounds_ms(path, tmp_path, "mp3")
    )


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ULAW", "ALAW"])
def test_a_recording_without_loss_has_only_the_bound_of_its_sounds(
    tmp_path: Path, subtype: str
) -> None:
    for error_ms, bound_ms in errors_and_bounds_ms(
        encoded(tmp_path, "WAV", subtype, "call.wav"), tmp_path
    ):
        assert bound_ms <= SOFT_EDGES_MS
        assert abs(error_ms) <= 0.2


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("call.mp3.wav", "mp3"),
        ("call.M4A.flac", "aac"),
        ("call.webm.wav", "opus"),
        ("call.ogg.wav", "vorbis"),
        ("call.wav", None),
        ("mp3.wav", None),
        ("call.2024.wav", None),
        (".mp3.wav", None),
    ],
)
def test_a_name_states_a_codec_before_its_suffix(name: str, codec: str | None) -> None:
    assert lossy_codec(Path(name), "PCM_16") == codec


def test_each_codec_has_errors() -> None:
    assert all(errors.end_ns > 0 and errors.start_ns > 0 for errors in CODECS.values())


def test_an_import_counts_the_lossy_calls(tmp_path: Path) -> None:
    paths = [
        write_call(tmp_path / name, CALL.caller, CALL.agent, RATE_HZ)
        for name in ("one.wav", "two.mp3.wav")
    ]
    result = run_import(tmp_path, *paths)

    text = (
        "the recording is lossy (mp3), which moves starts and ends of speech; the bounds include it"
    )
    assert result.out[0] == f"{paths[1]}: {text}"
    assert f"1 of 2 calls: {text}." in result.document["notices"]


def test_an_unknown_source_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    path = write_call(tmp_path / "one.wav", CALL.caller, CALL.agent, RATE_HZ)
    with pytest.raises(
        UsageError, match=r"--source 'flac' is no lossy codec; known are mp3, aac, vorbis"
    ):
        run_import(tmp_path, path, "--source", "flac")
