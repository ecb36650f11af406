"""Replies are real speech, divided into the blocks that the service sends (docs/protocol.md, "Audio")."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.services.openai.dialect import FORMATS
from bench.simulator.recorded_replies import (
    OPENING_SILENCE_MS,
    RATE_HZ,
    RecordedReply,
    block_tokens,
    build_reply,
    first_audible,
    fitting_tokens,
    load_replies,
    opening_with_silence,
)
from bench.wire.audio import AudioFormatName, Samples


def samples_of(reply: RecordedReply, name: AudioFormatName) -> Samples:
    """Return the samples that a client decodes from a reply."""
    return FORMATS[name].decode(b"".join(base64.b64decode(block.encoded[1:-1]) for block in reply.blocks[name]))


@pytest.mark.parametrize(
    ("seen_bytes", "deltas"),
    [(84_000, 7), (136_800, 11), (86_400, 7)],  # the three printed runs
)
def test_observed_lengths_are_split_into_the_observed_deltas(seen_bytes: int, deltas: int) -> None:
    sizes = [tokens * 2400 for tokens in block_tokens(seen_bytes // 2400)]

    assert fitting_tokens(seen_bytes // 2400) == seen_bytes // 2400
    assert sizes[:2] == [4800, 7200]
    assert sizes[2:-1] == [12_000] * (deltas - 3)
    assert sizes[-1] in (24_000, 26_400, 28_800)


@given(st.integers(0, 5000))
def test_each_length_is_extended_by_at_most_100_ms(tokens: int) -> None:
    fitting = fitting_tokens(tokens)
    sizes = block_tokens(fitting)

    assert fitting >= tokens
    assert fitting - tokens <= 2 or tokens < 15
    assert sum(sizes) == fitting
    assert sizes[:2] == [2, 3]
    assert sizes[-1] in (10, 11, 12)
    assert set(sizes[2:-1]) <= {5}


def test_each_recorded_reply_is_speech_after_its_own_silence() -> None:
    for reply, silence_ms in zip(load_replies(), OPENING_SILENCE_MS, strict=True):
        samples = samples_of(reply, "pcm16").astype(np.int32)

        assert first_audible(samples.astype(np.int16)) == silence_ms * RATE_HZ // 1000
        assert np.abs(samples).max() > 5000
        assert len(samples) * 2 == reply.audio_ms * 48


@pytest.mark.parametrize("name", FORMATS)
def test_a_reply_has_its_first_audible_byte_in_each_format(name: AudioFormatName) -> None:
    for reply in load_replies():
        samples = samples_of(reply, name)
        begins = np.cumsum([0, *(block.audio_bytes for block in reply.blocks[name])])

        (audible_bytes,) = [
            int(begin) + block.audible_byte
            for begin, block in zip(begins, reply.blocks[name], strict=False)
            if block.audible_byte is not None
        ]

        place = audible_bytes // FORMATS[name].sample_bytes
        assert abs(int(samples[place])) >= 104
        assert np.abs(samples[:place].astype(np.int32)).max(initial=0) < 104


@pytest.mark.parametrize(
    ("samples", "place"),
    [([], None), ([0, 103, -103], None), ([0, 104], 1), ([0, 0, -104, 500], 2), ([-32768], 0)],
)
def test_a_sample_is_audible_from_a_magnitude_of_104(samples: list[int], place: int | None) -> None:
    assert first_audible(np.array(samples, dtype=np.int16)) == place


def test_a_silent_reply_has_no_audible_byte() -> None:
    reply = build_reply("x", "x", opening_with_silence(np.zeros(RATE_HZ, dtype=np.int16), 75))

    assert {block.audible_byte for blocks in reply.blocks.values() for block in blocks} == {None}


def test_tokens_join_to_the_transcript() -> None:
    transcript = "Sure, I'll do that. At half past nine?"

    reply = build_reply("x", transcript, np.zeros(100, dtype=np.int16))

    assert reply.tokens[:4] == ("Sure", ",", " I'll", " do")
    assert "".join(reply.tokens) == transcript
