"""Replies are real speech, divided into the blocks that the service sends (docs/protocol.md,
"Audio").
"""

from __future__ import annotations

import base64

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bench.services.openai.dialect import FORMATS
from bench.wire.audio import AudioFormatName, Samples
from rtbench_simulator.recorded_replies import (
    OPENING_SILENCE_MS,
    RATE_HZ,
    RecordedReply,
    block_tokens,
    first_audible,
    fitting_tokens,
    load_replies,
)


def samples_of(reply: RecordedReply, name: AudioFormatName) -> Samples:
    """Return the samples that a client decodes from a reply."""
    return FORMATS[name].decode(
        b"".join(base64.b64decode(block.encoded[1:-1]) for block in reply.blocks[name])
    )


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
