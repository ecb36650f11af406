"""Conversion of samples to bytes and back, as ITU-T G.711 and little-endian PCM define it."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from bench.catalogue.metrics import AUDIBLE
from bench.services.openai.dialect import FORMATS, RATED_FORMATS
from bench.wire.audio import (
    PCM16,
    PCM16_16K,
    AudioFormatName,
    Samples,
    alaw,
    audible_position,
    by_name,
    resolve_format,
    ulaw,
)
from reports.analysis.summary.example_turns import BYTES_PER_S
from tests.examples import thorough

NARROW: tuple[tuple[AudioFormatName, str], ...] = (("g711_ulaw", "ULAW"), ("g711_alaw", "ALAW"))
EVERY_CODE = bytes(range(256))
EVERY_SAMPLE = np.arange(-32768, 32768, dtype=np.int32).astype(np.int16)


@pytest.mark.parametrize(
    ("encode", "silence", "loudest", "table"),
    [
        (ulaw, 0xFF, (0x80, 0x00), {1000: 0xCE, -1000: 0x4E}),
        (alaw, 0xD5, (0xAA, 0x2A), {1000: 0xFA, -1000: 0x7A}),
    ],
)
def test_g711_has_the_codes_of_its_standard(
    encode: Callable[[Samples], bytes],
    silence: int,
    loudest: tuple[int, int],
    table: dict[int, int],
) -> None:
    samples = np.array([0, 32767, -32768, *table], dtype=np.int16)

    assert encode(samples) == bytes([silence, *loudest, *table.values()])


@pytest.mark.parametrize(("name", "subtype"), NARROW)
def test_g711_decoding_equals_that_of_libsndfile(name: AudioFormatName, subtype: str) -> None:
    theirs, _ = soundfile.read(
        BytesIO(EVERY_CODE),
        dtype="int16",
        samplerate=8000,
        channels=1,
        subtype=subtype,
        format="RAW",
    )

    assert FORMATS[name].decode(EVERY_CODE).tolist() == theirs.tolist()


@pytest.mark.parametrize(("name", "subtype"), NARROW)
def test_g711_encoding_equals_that_of_libsndfile(name: AudioFormatName, subtype: str) -> None:
    file = BytesIO()
    soundfile.write(file, EVERY_SAMPLE, 8000, subtype=subtype, format="RAW")

    assert FORMATS[name].encode(EVERY_SAMPLE) == file.getvalue()


@pytest.mark.parametrize("name", ["g711_ulaw", "g711_alaw"])
def test_the_error_of_a_g711_sample_is_at_most_half_a_step(name: AudioFormatName) -> None:
    # µ-law clips louder samples
    samples = EVERY_SAMPLE[np.abs(EVERY_SAMPLE.astype(np.int32)) <= 32_635]
    steps = np.unique(FORMATS[name].decode(EVERY_CODE)).astype(np.int32)
    gaps = np.diff(steps)

    decoded = FORMATS[name].decode(FORMATS[name].encode(samples)).astype(np.int32)

    place = np.searchsorted(steps, decoded)
    widest = np.maximum(gaps[np.maximum(place - 1, 0)], gaps[np.minimum(place, len(gaps) - 1)])
    # 8: the encoder first drops the lowest bits of a sample
    assert (np.abs(decoded - samples) <= widest / 2 + 8).all()


@pytest.mark.parametrize(("name", "other_zero"), [("g711_ulaw", {0x7F: 0xFF}), ("g711_alaw", {})])
def test_decoding_and_encoding_a_g711_code_gives_the_same_code(
    name: AudioFormatName, other_zero: dict[int, int]
) -> None:
    again = FORMATS[name].encode(FORMATS[name].decode(EVERY_CODE))

    assert list(again) == [other_zero.get(code, code) for code in EVERY_CODE]


@thorough
@given(st.binary(max_size=64))
def test_pcm_bytes_round_trip_except_an_incomplete_last_sample(audio: bytes) -> None:
    pcm = FORMATS["pcm16"]

    assert pcm.encode(pcm.decode(audio)) == audio[: len(audio) // 2 * 2]


@pytest.mark.parametrize(("name", "a_second"), BYTES_PER_S.items())
def test_one_second_has_the_bytes_that_the_protocol_defines(
    name: AudioFormatName, a_second: int
) -> None:
    assert RATED_FORMATS[name].bytes_per_s == a_second
    assert RATED_FORMATS[name].duration_ns(a_second) == 1_000_000_000


def test_every_format_has_its_bytes_per_second() -> None:
    assert set(BYTES_PER_S) == set(RATED_FORMATS)


def test_the_default_format_is_the_first_one() -> None:
    formats = by_name(PCM16_16K, PCM16)

    assert resolve_format(formats, None) is PCM16_16K
    assert resolve_format(formats, "pcm16") is PCM16


PCM, ULAW = FORMATS["pcm16"], FORMATS["g711_ulaw"]


@pytest.mark.parametrize(
    ("samples", "place"),
    [
        ([0, AUDIBLE - 1, 1 - AUDIBLE, AUDIBLE], 3),
        ([0, -AUDIBLE, 0], 1),
        ([-32_768], 0),
        ([32_767, 0], 0),
        ([AUDIBLE - 1] * 50, None),
        ([], None),
    ],
)
def test_a_sample_is_audible_from_50_db_below_full_scale_on(
    samples: list[int], place: int | None
) -> None:
    data = np.array(samples, "<i2").tobytes()

    assert audible_position(PCM.decode(data)) == place
    assert round(20 * np.log10(AUDIBLE / 32_768), 1) == -50.0


def test_in_g711_the_decoded_sample_decides_whether_it_is_audible() -> None:
    data = ULAW.encode(np.array([0, 90, 200, -3_000], np.int16))

    assert audible_position(ULAW.decode(data)) == 2
    assert audible_position(PCM.decode(data)) == 0  # read as PCM, the first bytes are loud
