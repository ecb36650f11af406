"""The simulated player: the instant at which the caller hears the reply, and the stalls of the
playback.
"""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.observe.reply import ItemPlayer
from bench.services.openai.dialect import FORMATS
from bench.sound.item_sounds import ItemSound
from bench.wire.audio import AudioFormat, AudioFormatName
from bench.wire.events import StrippedAudio
from tests.examples import thorough

MS = 1_000_000
AT_NS = 7_000 * MS
PCM = FORMATS["pcm16"]
FORMAT_NAMES = st.sampled_from(sorted(FORMATS))


def sound(
    silent_ms: float, loud_ms: float = 0, audio: AudioFormat = PCM, level: int = 5_000
) -> bytes:
    """Return the audio of a silence and of a sound after it: a buzz of 200 Hz."""
    samples = np.zeros(round(audio.rate_hz * (silent_ms + loud_ms) / 1_000), np.int16)
    loud = samples[round(audio.rate_hz * silent_ms / 1_000) :]
    loud[:] = np.where(np.arange(len(loud)) // (audio.rate_hz // 400) % 2, -level, level)
    return audio.encode(samples)


def played(
    *deltas: tuple[float, bytes], jitter_ms: float = 50, audio: AudioFormat = PCM
) -> ItemPlayer:
    """Return a player that has received a whole item. A delta is given by its arrival in ms and
    its audio.
    """
    player, search = ItemPlayer(audio, round(jitter_ms * MS), AT_NS), ItemSound(audio)
    for at_ms, data in deltas:
        player.add(AT_NS + round(at_ms * MS), len(data), search.add(data, with_end=False))
    player.sounds(search.end(), sum(len(data) for _, data in deltas))
    return player


def heard_ms(player: ItemPlayer) -> float | None:
    return None if player.first_audible_ns is None else (player.first_audible_ns - AT_NS) / MS


@pytest.mark.parametrize(
    ("deltas", "jitter_ms", "audible_ms", "end_ms", "stall_ms", "stall_count"),
    [
        pytest.param(
            [(0, sound(100)), (20, sound(75, 45))], 50, 225, 270, 0, 0, id="in the second delta"
        ),
        pytest.param(
            [(0, sound(0, 100)), (150, sound(0, 50))], 50, 50, 200, 0, 0, id="just in time"
        ),
        pytest.param(
            [(0, sound(0, 100)), (151, sound(0, 50))], 50, 50, 201, 1, 1, id="a millisecond late"
        ),
        pytest.param(
            [(0, sound(100)), (400, sound(10, 40))], 0, 410, 450, 300, 1, id="silent after a stall"
        ),
        pytest.param(
            [(0, sound(0, 10)), (90, sound(0, 20)), (100, sound(0, 10)), (160, sound(0, 10))],
            50,
            50,
            170,
            70,
            2,
            id="two stalls",
        ),
        pytest.param(
            [(0, sound(10)), (90, sound(0, 20)), (100, sound(0, 10)), (160, sound(0, 20))],
            50,
            90,
            180,
            70,
            2,
            id="audible after one of two stalls, and certain after the other",
        ),
        pytest.param(
            [(0, sound(100)), (10, sound(100))], 50, None, 250, 0, 0, id="nothing is audible"
        ),
        pytest.param(
            [(0, sound(50, 1) + sound(50)), (10, sound(40, 60))],
            50,
            191,
            251,
            0,
            0,
            id="after a click",
        ),
        pytest.param(
            [(0, sound(50, 1) + sound(50))], 50, None, 151, 0, 0, id="nothing but a click"
        ),
    ],
)
def test_the_player_computes_first_audible_sample_end_and_stalls(
    deltas: list[tuple[float, bytes]],
    jitter_ms: float,
    audible_ms: float | None,
    end_ms: float,
    stall_ms: float,
    stall_count: int,
) -> None:
    player = played(*deltas, jitter_ms=jitter_ms)

    assert heard_ms(player) == audible_ms
    assert ((player.ends_ns - AT_NS) / MS, player.stall_duration_ns / MS, player.stall_count) == (
        end_ms,
        stall_ms,
        stall_count,
    )


# Audio in deltas of any size, at any time.


@st.composite
def replies(draw: st.DrawFn) -> tuple[AudioFormatName, list[bytes]]:
    """Draw a reply, cut into any number of deltas. Each delta contains only whole samples."""
    name = draw(FORMAT_NAMES)
    audio = FORMATS[name]
    samples = sound(draw(st.integers(0, 60)), draw(st.sampled_from([0, 45, 80, 200])), audio)
    places = draw(st.lists(st.integers(0, len(samples) // audio.sample_bytes), max_size=8))
    edges = [0, *sorted(places), len(samples) // audio.sample_bytes]
    cut = [
        samples[a * audio.sample_bytes : b * audio.sample_bytes]
        for a, b in itertools.pairwise(edges)
    ]
    return name, [data for data in cut if data]


@thorough
@given(reply=replies(), jitter_ms=st.integers(0, 100))
def test_the_first_audible_instant_does_not_depend_on_how_audio_is_split(
    reply: tuple[AudioFormatName, list[bytes]], jitter_ms: int
) -> None:
    audio, deltas = FORMATS[reply[0]], reply[1]
    cut = played(*((0, data) for data in deltas), jitter_ms=jitter_ms, audio=audio)
    whole = played((0, b"".join(deltas)), jitter_ms=jitter_ms, audio=audio)

    assert (cut.first_audible_ns, cut.ends_ns) == (whole.first_audible_ns, whole.ends_ns)
    assert (cut.stall_count, cut.stall_duration_ns) == (0, 0)


@thorough
@given(
    reply=replies(),
    gaps_ms=st.lists(st.integers(0, 80), min_size=9, max_size=9),
    jitter_ms=st.integers(0, 60),
)
def test_playback_equals_that_of_a_player_that_handles_single_samples(
    reply: tuple[AudioFormatName, list[bytes]], gaps_ms: list[int], jitter_ms: int
) -> None:
    audio, deltas = FORMATS[reply[0]], reply[1]
    comes_ms = list(itertools.accumulate([0, *gaps_ms]))[: len(deltas)]
    player = played(*zip(comes_ms, deltas, strict=True), jitter_ms=jitter_ms, audio=audio)

    free_ns, heard_ns, silent_ns, ran_dry = Fraction(AT_NS + jitter_ms * MS), None, Fraction(0), 0
    for at_ms, data in zip(comes_ms, deltas, strict=True):
        late_ns = AT_NS + at_ms * MS - free_ns
        if late_ns > 0:
            free_ns, silent_ns, ran_dry = free_ns + late_ns, silent_ns + late_ns, ran_dry + 1
        for sample in audio.decode(data).tolist():
            heard_ns = free_ns if heard_ns is None and abs(sample) >= 104 else heard_ns
            free_ns += Fraction(1_000_000_000, audio.rate_hz)

    assert (player.first_audible_ns is None) == (heard_ns is None)
    assert heard_ns is None or 0 <= heard_ns - (player.first_audible_ns or 0) < 1
    assert 0 <= free_ns - player.ends_ns < 1
    assert 0 <= player.stall_duration_ns - silent_ns < max(1, ran_dry)
    assert player.stall_count == ran_dry


# The uncertainty of the player's results.

ARRIVED = st.lists(
    st.tuples(st.integers(0, 120), st.integers(0, 200), st.integers(0, 200)),
    min_size=1,
    max_size=12,
)
"""Three times in ms for each delta.

They are the time since the previous delta, the uncertainty of the arrival, and the maximum of its
actual error.
"""


@thorough
@given(ARRIVED, st.integers(0, 3), st.integers(0, 100))
def test_the_true_playback_is_within_the_uncertainties(
    arrived: list[tuple[int, int, int]], silent: int, jitter_ms: int
) -> None:
    measured: ItemPlayer | None = None
    true: ItemPlayer | None = None
    at_ns = true_ns = AT_NS
    for number, (gap_ms, error_ms, earlier_ms) in enumerate(arrived):
        at_ns += gap_ms * MS
        came_ns = at_ns - min(error_ms, earlier_ms) * MS
        true_ns = came_ns if true is None else max(true_ns, came_ns)
        measured = measured or ItemPlayer(PCM, jitter_ms * MS, at_ns, error_ms * MS)
        true = true or ItemPlayer(PCM, jitter_ms * MS, true_ns)
        payload = StrippedAudio(0 if number >= silent else None)
        measured.add(at_ns, 50 * 48, payload, error_ms * MS)
        true.add(true_ns, 50 * 48, payload)

    assert measured is not None
    assert true is not None
    assert (
        -measured.stall_duration_uncertainty_ns
        <= true.stall_duration_ns - measured.stall_duration_ns
        <= measured.stall_duration_uncertainty_ns
    )
    if measured.first_audible_ns is not None and true.first_audible_ns is not None:
        assert (
            0
            <= measured.first_audible_ns - true.first_audible_ns
            <= measured.audible_uncertainty_ns
        )
