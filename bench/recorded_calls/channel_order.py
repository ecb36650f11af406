"""The order of the channels of a recorded call, as the words of its transcript show it. Pure.

A transcript with roles shows which channel is the caller's: the caller's words lie in it, and the agent's words lie in
the other one. The clock of a transcript may differ from that of the recording, and some frameworks state only one time
for each message. So the words of both roles are compared with the sounds of both channels at each offset, and nothing
is concluded if both orders of the channels agree about equally.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.recorded_calls.sounds import ChannelSound
from bench.recorded_calls.transcripts import MIN_EPOCH_S, Phrase

STEPS_PER_S = 20
"""The resolution with which words are compared with sounds."""
MAX_OFFSET_S = 3
"""The maximum offset of times that are positions in the call. Times of day may have any offset."""
MIN_AGREEMENT, MIN_DISTANCE = 0.5, 0.25
"""The minimum agreement of swapped channels with the words, and its minimum distance to that of the other order."""


def are_swapped(
    found: Sequence[Phrase], caller: Sequence[ChannelSound], agent: Sequence[ChannelSound], rate_hz: int
) -> bool:
    """Return whether the words of both roles lie in the channel of the other role.

    The agreement of a role is the share of the time of its words in which its channel sounds, minus the share in which
    the other channel sounds. The agreement of a call is the smaller one of both roles, at the best offset.
    """
    spoken = [phrase for phrase in found if phrase.role is not None]
    if len({phrase.role for phrase in spoken}) < 2:
        return False
    both = (*caller, *agent)
    sounding = np.zeros(max(sound.end for sound in both) * STEPS_PER_S // rate_hz + 1)
    for sounds, sign in ((caller, 1), (agent, -1)):
        for sound in sounds:
            sounding[sound.start * STEPS_PER_S // rate_hz : sound.end * STEPS_PER_S // rate_hz + 1] += sign
    letters = sum(len(phrase.text) for phrase in spoken)
    letter_s = sum(sound.end - sound.start for sound in both) / rate_hz / letters
    callers, agents = (
        [_agreements(spoken, role, sounding, letter_s, ends=ends) for ends in (False, True)]
        for role in ("caller", "agent")
    )
    pairs = [(of_caller, -of_agent) for of_caller, of_agent in product(callers, agents)]
    right = max(float(np.minimum(*pair).max()) for pair in pairs)
    swapped = max(float(np.minimum(-pair[0], -pair[1]).max()) for pair in pairs)
    return swapped >= max(MIN_AGREEMENT, right + MIN_DISTANCE)


def _agreements(
    spoken: Sequence[Phrase],
    role: Literal["caller", "agent"],
    sounding: NDArray[np.float64],
    letter_s: float,
    *,
    ends: bool,
) -> NDArray[np.float64]:
    """Return the agreement of the words of a role with the caller's channel, at each offset.

    `letter_s` is the mean duration of a letter. It gives the duration of words of which one time is known: their start,
    or their end if `ends` is True.
    """
    first_s, limit = min(phrase.start_s for phrase in spoken), len(sounding)
    is_time_of_day = first_s >= MIN_EPOCH_S
    origin_s = first_s if is_time_of_day else 0.0
    said = np.zeros(2 * limit)
    for phrase in spoken:
        if phrase.role == role:
            start_s, end_s = phrase.start_s - origin_s, phrase.end_s - origin_s
            if start_s == end_s:
                length_s = len(phrase.text) * letter_s
                start_s, end_s = (start_s - length_s, end_s) if ends else (start_s, end_s + length_s)
            said[max(0, round(start_s * STEPS_PER_S)) : max(0, round(end_s * STEPS_PER_S))] = 1
    size = 4 * limit
    spectrum = np.fft.rfft(sounding, size) * np.fft.rfft(said, size).conj()
    products: NDArray[np.float64] = np.fft.irfft(spectrum, size) / max(1.0, said.sum())
    if is_time_of_day:
        return products
    reach = MAX_OFFSET_S * STEPS_PER_S
    return np.concatenate([products[: reach + 1], products[-reach:]])
