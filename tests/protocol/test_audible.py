"""The first audible sample of a delta, found in C or in Python: the same one."""

from __future__ import annotations

import base64

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.metrics import AUDIBLE
from bench.protocol.audio import UNREADABLE, audible_sample, decoded_audible
from bench.protocol.openai import FORMATS
from tests.examples import thorough
from tests.observe.test_playback import raw

PCM, ULAW = FORMATS["pcm16"], FORMATS["g711_ulaw"]
QUIET = st.integers(1 - AUDIBLE, AUDIBLE - 1)
SOUND = st.lists(QUIET | st.sampled_from([AUDIBLE, -AUDIBLE, 32_767, -32_768]), max_size=40).map(
    lambda samples: base64.b64encode(np.array(samples, "<i2").tobytes())
)
BYTES = st.binary(max_size=12).map(base64.b64encode)
TEXT = st.lists(st.sampled_from(b"ABz09+/=-_ \xe9"), max_size=12).map(bytes)


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
def test_a_sample_is_audible_from_50_db_below_full_scale_on(samples: list[int], place: int | None) -> None:
    data = np.array(samples, "<i2").tobytes()

    assert audible_sample(raw(data), PCM) == place
    assert round(20 * np.log10(AUDIBLE / 32_768), 1) == -50.0


def test_in_g711_it_is_the_decoded_sample_that_counts() -> None:
    data = ULAW.encode(np.array([0, 90, 200, -3_000], np.int16))

    assert audible_sample(raw(data), ULAW) == 2
    assert audible_sample(raw(data), PCM) == 0  # the same bytes read as PCM are loud at once


@thorough
@given(SOUND | BYTES | TEXT)
@example(b"b0/B====")
@example(b"1bAA/Aa0=")
def test_what_is_found_in_c_is_what_is_found_in_python(text: bytes) -> None:
    payload = msgspec.Raw(b'"' + text + b'"')

    assert audible_sample(payload, PCM) == decoded_audible(payload, PCM)


@pytest.mark.parametrize("text", [b"", b"7", b'""', b"null", b"{}", b"[]"])
def test_what_is_no_text_is_judged_alike(text: bytes) -> None:
    payload = msgspec.Raw(text)

    assert audible_sample(payload, PCM) == decoded_audible(payload, PCM)
    assert audible_sample(payload, PCM) in (None, UNREADABLE)
