"""Tones that a stream begins with or that are held: they are sound, and lie behind no voice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.clock import Arrival
from bench.observe.onsets import BLOCK_MS, GROUP
from bench.observe.reply_detector import SILENCE_NS, ReplyDetector
from bench.observe.tones import is_tone
from bench.plan.recordings import to_pcm16
from bench.protocol.audio import G711_ALAW, G711_ULAW, PCM16, PCM16_8K, PCM16_16K, PCM16_48K, AudioFormat, Samples
from bench.protocol.base import Binary
from bench.protocol.events import Kind
from bench.protocol.pcm import PCM
from benchmarks import onsets as known
from tests.helpers import AT_NS, MS
from tests.observe.test_greeting import called, hear
from tests.observe.test_onsets import marks

FORMATS = (G711_ULAW, G711_ALAW, PCM16_8K, PCM16_16K, PCM16, PCM16_48K)
TONES_HZ = {
    "440 Hz": (440,), "a beep": (1_000,), "a fax": (2_100,), "busy": (425,), "dialing": (350, 440),
    "ringing": (400, 450), "the key 1": (697, 1_209), "the key D": (941, 1_633),
}  # fmt: skip
FRAME_MS = 20
QUIET_MS = 1_500
"""Silence behind a sound, by which it is known that it is over."""


def tone(format: AudioFormat, length_ms: float, *tones_hz: float, level: float = 0.1) -> np.ndarray:
    at_s = np.arange(round(format.rate_hz * length_ms / 1_000)) / format.rate_hz
    return level / len(tones_hz) * sum((np.sin(2 * np.pi * hz * at_s) for hz in tones_hz), np.zeros(len(at_s)))


def silence(format: AudioFormat, length_ms: float) -> np.ndarray:
    return np.zeros(round(format.rate_hz * length_ms / 1_000))


def coded(format: AudioFormat, *parts: np.ndarray) -> Samples:
    """What is heard of sounds one after the other."""
    return format.decode(format.encode(to_pcm16(np.concatenate(parts).astype(np.float32))))


def edges_ms(format: AudioFormat, *parts: np.ndarray) -> list[tuple[str, int]]:
    """Where sound begins and ends in a stream, in whole milliseconds."""
    found = marks(coded(format, *parts), rate_hz=format.rate_hz)
    return [(what, round(sample * 1_000 / format.rate_hz)) for what, sample in found]


def behind(name: str, level_db: float, format: AudioFormat, seed: int, length_ms: int) -> np.ndarray:
    """What lies behind voices, from anywhere in it on."""
    rng, count = np.random.default_rng(seed), format.rate_hz * length_ms // 1_000
    level = float(np.mean([known.rms(each) for each in known.voices(format.rate_hz)]))
    begin = int(rng.integers(count))
    return known.noise(name, level_db, 2 * count, format.rate_hz, level, rng)[begin : begin + count]


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
@pytest.mark.parametrize("name", TONES_HZ)
def test_a_tone_that_a_stream_begins_with_is_heard_from_its_first_sample_on_as_long_as_it_is_held(
    name: str, format: AudioFormat
) -> None:
    held = tone(format, 8_000, *TONES_HZ[name])

    assert edges_ms(format, held, silence(format, QUIET_MS)) == [("begins", 0), ("ends", 8_000)]


@pytest.mark.parametrize(
    ("kind", "length_ms"),
    [*(("tone", length_ms) for length_ms in range(45, 800, 35)), *(("noise", ms) for ms in range(45, 550, 35))],
)
def test_whatever_a_stream_begins_with_is_a_sound_if_it_stops(kind: str, length_ms: int) -> None:
    """Noise that stops later may have been behind a voice that never spoke."""
    noise = np.random.default_rng(1).normal(0, 0.05, PCM16_8K.rate_hz * length_ms // 1_000)
    sound = tone(PCM16_8K, length_ms, 1_000) if kind == "tone" else noise
    (_, begin), (_, end) = edges_ms(PCM16_8K, sound, silence(PCM16_8K, QUIET_MS))

    assert (begin, abs(end - length_ms) <= 1) == (0, True)


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
@pytest.mark.parametrize("ahead_ms", [0, 1_000])
@pytest.mark.parametrize("pause_ms", [300, 1_000])
def test_what_follows_a_tone_that_was_held_is_heard(pause_ms: int, ahead_ms: int, format: AudioFormat) -> None:
    said = known.voices(format.rate_hz)[3]
    quiet = [silence(format, ms) for ms in (ahead_ms, pause_ms, QUIET_MS)]
    found = edges_ms(format, quiet[0], tone(format, 6_000, 440), quiet[1], said, quiet[2])

    end_ms = ahead_ms + 6_000
    assert found[:3] == [("begins", ahead_ms), ("ends", end_ms), ("begins", end_ms + pause_ms)]


def test_a_tone_above_noise_is_a_sound_as_long_as_it_is_held() -> None:
    noise = np.random.default_rng(1).normal(0, 0.002, 8_000 * 9)
    held = np.concatenate([silence(PCM16_8K, 1_000), tone(PCM16_8K, 6_000, 700), silence(PCM16_8K, 2_000)])
    (_, begin), (_, end) = edges_ms(PCM16_8K, held + noise)

    assert (abs(begin - 1_000) <= 5, abs(end - 7_000) <= 50) == (True, True)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("level_db", [20, 10])
@pytest.mark.parametrize("name", ["white noise", "pink noise", "a room", "music"])
def test_what_lies_behind_a_voice_from_the_first_sample_on_is_no_tone(name: str, level_db: float, seed: int) -> None:
    for format in (G711_ULAW, PCM16):
        assert edges_ms(format, behind(name, level_db, format, seed, 2_000)) == []


@given(
    parts=st.lists(
        st.tuples(st.sampled_from([0, 440, 697, 1_000]), st.integers(1, 900), st.sampled_from([0.002, 0.02, 0.1])),
        min_size=1, max_size=6,
    ),
    shares=st.lists(st.floats(0, 1), max_size=40),
)  # fmt: skip
def test_how_a_stream_of_tones_is_cut_changes_nothing(parts: list[tuple[int, int, float]], shares: list[float]) -> None:
    stream = coded(PCM16_8K, *(tone(PCM16_8K, length_ms, hz, level=level) for hz, length_ms, level in parts))

    assert marks(stream, [int(share * len(stream)) for share in shares]) == marks(stream)


@pytest.mark.parametrize("name", TONES_HZ)
def test_a_tone_is_told_from_noise_by_50_ms(name: str) -> None:
    count = 8 * GROUP * BLOCK_MS
    noise = [behind(*each, PCM16_8K, seed, 50) for each in known.BEHIND[1:] for seed in range(5) if each[0] != "music"]

    assert is_tone(coded(G711_ULAW, tone(G711_ULAW, 50, *TONES_HZ[name])))
    assert not any(is_tone(coded(G711_ULAW, each[:count])) for each in noise)
    assert not is_tone(np.zeros(count, np.int16))


def replies(detector: ReplyDetector, came: Iterable[tuple[int, Samples]]) -> list[tuple[Kind, int]]:
    """The first delta of each reply, by its arrival, and its end, as ms at which they are."""
    found = list[tuple[Kind, int]]()
    for at_ms, samples in came:
        arrival = Arrival(AT_NS + at_ms * MS)
        found += [(event.kind, came.at_ns) for event, came in detector.ended_by(arrival.at_ns)]
        events = detector.listened(PCM.decode(Binary(PCM16_8K.encode(samples))), arrival)
        found += [(event.kind, came.at_ns) for event, came in detector.events_in(events, arrival) if event.response_id]
    kept = {Kind.AUDIO_DELTA, Kind.RESPONSE_DONE}
    told = [(kind, (at_ns - AT_NS) // MS) for kind, at_ns in found if kind in kept]
    return [each for place, each in enumerate(told) if place == 0 or each[0] is not told[place - 1][0]]


def frames(samples: Samples, begin_ms: int = 0) -> Sequence[tuple[int, Samples]]:
    size = 8 * FRAME_MS
    return [(begin_ms + number * FRAME_MS, samples[number * size :][:size]) for number in range(len(samples) // size)]


@pytest.mark.parametrize("length_ms", [200, 400, 1_000, 5_000])
def test_an_agent_that_beeps_and_then_sends_nothing_has_replied(length_ms: int) -> None:
    """And what it says later is another reply."""
    beep, later_ms = coded(PCM16_8K, tone(PCM16_8K, length_ms, 1_000)), length_ms + 3_000
    said = coded(PCM16_8K, known.voices(8_000)[3][:8_000])
    found = replies(ReplyDetector(PCM16_8K, SILENCE_NS, pauses=True), [*frames(beep), *frames(said, later_ms)])
    assert [kind for kind, _ in found] == [Kind.AUDIO_DELTA, Kind.RESPONSE_DONE, Kind.AUDIO_DELTA]
    assert (found[0][1], found[2][1]) == (0, later_ms)


def test_a_greeting_that_is_a_tone_is_timed_by_its_first_sample() -> None:
    timeline = called()
    beep = coded(G711_ULAW, tone(G711_ULAW, 5_000, 440), silence(G711_ULAW, 2 * QUIET_MS))
    hear(timeline, beep)
    (turn,) = timeline.take(AT_NS + 60_000 * MS)

    assert turn.outcome == "ok"
    assert turn.errors_ns["first_audible"] == 0


def test_a_service_of_which_nothing_but_steady_noise_is_heard_is_said_to_send_that() -> None:
    timeline = called()
    noise = np.random.default_rng(1).normal(0, 0.05, 8_000 * 31)
    hear(timeline, coded(G711_ULAW, noise))
    timeline.expire(AT_NS + 60_000 * MS)
    (turn,) = timeline.take(AT_NS + 60_000 * MS)

    assert turn.outcome == "timeout:first_delta"
    assert turn.detail.startswith("nothing audible came within the limit first_delta of 30 s")
    assert "even noise" in turn.detail
