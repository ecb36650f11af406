"""Replies are real speech, cut into the blocks that the service sends (protocol.md §7)."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.simulator.voice import RATE_HZ, alaw, block_tokens, build_reply, fitting_tokens, load_replies, ulaw


@pytest.mark.parametrize(
    ("seen_bytes", "deltas"),
    [(84_000, 7), (136_800, 11), (86_400, 7)],  # the three printed runs
)
def test_a_length_that_was_seen_is_cut_as_it_was_seen(seen_bytes: int, deltas: int) -> None:
    sizes = [tokens * 2400 for tokens in block_tokens(seen_bytes // 2400)]

    assert fitting_tokens(seen_bytes // 2400) == seen_bytes // 2400
    assert sizes[:2] == [4800, 7200]
    assert sizes[2:-1] == [12_000] * (deltas - 3)
    assert sizes[-1] in (24_000, 26_400, 28_800)


@given(st.integers(0, 5000))
def test_every_length_fits_with_at_most_100_ms_more(tokens: int) -> None:
    fitting = fitting_tokens(tokens)
    sizes = block_tokens(fitting)

    assert fitting >= tokens
    assert fitting - tokens <= 2 or tokens < 15
    assert sum(sizes) == fitting
    assert sizes[:2] == [2, 3]
    assert sizes[-1] in (10, 11, 12)
    assert set(sizes[2:-1]) <= {5}


def test_the_recorded_replies_are_speech_behind_a_short_silence() -> None:
    for reply in load_replies():
        audio = b"".join(base64.b64decode(block.encoded[1:-1]) for block in reply.blocks["pcm16"])
        samples = np.frombuffer(audio, dtype="<i2").astype(np.int32)
        first_sound_ms = int(np.argmax(np.abs(samples) > 300)) / RATE_HZ * 1000

        assert 75 <= first_sound_ms <= 340
        assert np.abs(samples).max() > 5000
        assert len(audio) == reply.audio_ms * 48


def test_words_join_to_the_transcript() -> None:
    transcript = "Sure, I'll do that. At half past nine?"

    reply = build_reply("x", transcript, np.zeros(100, dtype=np.int16))

    assert reply.tokens[:4] == ("Sure", ",", " I'll", " do")
    assert "".join(reply.tokens) == transcript


@pytest.mark.parametrize(
    ("encode", "silence", "loudest", "table"),
    [
        (ulaw, 0xFF, (0x80, 0x00), {1000: 0xCE, -1000: 0x4E}),
        (alaw, 0xD5, (0xAA, 0x2A), {1000: 0xFA, -1000: 0x7A}),
    ],
)
def test_g711_has_the_codes_of_its_standard(
    encode: object, silence: int, loudest: tuple[int, int], table: dict[int, int]
) -> None:
    assert callable(encode)
    samples = np.array([0, 32767, -32768, *table], dtype=np.int16)

    assert encode(samples) == bytes([silence, *loudest, *table.values()])


def test_a_g711_reply_lasts_as_long_as_its_pcm() -> None:
    reply = build_reply("x", "x", np.zeros(RATE_HZ * 3, dtype=np.int16))

    for blocks in reply.blocks.values():
        assert sum(block.audio_ms for block in blocks) == reply.audio_ms
        assert all(len(base64.b64decode(block.encoded[1:-1])) == block.audio_bytes for block in blocks)
