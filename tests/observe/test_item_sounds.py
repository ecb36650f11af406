"""The start of sound in replies that a service names, and turns in whose reply nothing is
audible.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.clock import Arrival
from bench.catalogue.outcomes import outcome_class, remedy_of
from bench.catalogue.timeouts import Timeouts
from bench.observe import inputs
from bench.observe.inputs import SessionStart
from bench.observe.observation import TurnObservation
from bench.plan.turn_plan import TurnPlan
from bench.record.event_log import EventLog, LoggedTimeline
from bench.record.replay import replay_log
from bench.services.openai.dialect import GA
from bench.sound.item_sounds import MAX_ITEMS, ItemSound, ItemSounds
from bench.wire.audio import ALL_FORMATS, PCM16, AudioFormat, AudioFormatName, Samples
from bench.wire.connection import MatchedDelta, ReceivedMessage
from bench.wire.events import EventKind, ServerEvent, StrippedAudio
from tests.helpers import (
    AT_NS,
    MS,
    REALTIME,
    SILENCE,
    Talk,
    after_ms,
    at,
    created,
    delta,
    done,
    message,
    part_done,
)

JITTER_MS = TurnPlan(1, "", "", "").jitter_buffer_ns / MS
CREATED = b'{"type":"response.created","response":{"id":"r","status":"in_progress"}}'
DONE = b'{"type":"response.done","response":{"id":"r","status":"completed","output":[]}}'
NARROW: list[AudioFormatName] = ["pcm16", "g711_ulaw", "g711_alaw"]
RIFF = struct.pack(
    "<4sI8sIHHIIHH4sI", b"RIFF", 36, b"WAVEfmt ", 16, 1, 1, 24_000, 48_000, 2, 16, b"data", 0
)
"""The header of a WAV file."""


def buzz(
    silent_ms: float,
    loud_ms: float,
    audio: AudioFormat = PCM16,
    after_ms: float = 0,
    level: int = 9_000,
) -> bytes:
    """Return silence, a buzz of 200 Hz, and silence."""
    begin, end, length = (
        round(audio.rate_hz * ms / 1_000)
        for ms in (silent_ms, silent_ms + loud_ms, silent_ms + loud_ms + after_ms)
    )
    samples = np.where(np.arange(length) // (audio.rate_hz // 400) % 2, -level, level).astype(
        np.int16
    )
    samples[:begin] = samples[end:] = 0
    return audio.encode(samples)


def delta_of(data: bytes, item: str = "i") -> bytes:
    payload = base64.b64encode(data).decode()
    return message("response.output_audio.delta", response_id="r", item_id=item, delta=payload)


class LoggedTalk:
    """A turn of a session that requests audio in this format, and logs its events."""

    def __init__(
        self, log: Path, name: AudioFormatName = "pcm16", *, record_audio: bool = False
    ) -> None:
        self.path, self.log = log, EventLog(log, hide=lambda text: text, record_audio=record_audio)
        about: dict[str, Any] = {"dialect": "ga", "output_format": name}
        start = SessionStart(AT_NS, 1, Timeouts(), service_responds=False)
        self.timeline = LoggedTimeline(start, GA, log=self.log, about=about)
        self.timeline.apply(
            inputs.TurnStarted(
                at(0), TurnPlan(1, "", "turn-1-", "turn-1-request", reply_format=name)
            )
        )
        self.timeline.apply(inputs.Sent("response.create", at(0), 9))
        self.receive(10, CREATED)

    def receive(self, at_ms: float, data: bytes) -> None:
        self.timeline.apply(
            inputs.Received(GA.decode(data), ReceivedMessage(data, Arrival(at(at_ms)), len(data)))
        )

    def end(self, at_ms: float = 60) -> TurnObservation:
        """End the reply. Return the turn, which the replay of the log gives, too."""
        self.receive(at_ms, DONE)
        (turn,) = self.timeline.pop_turns(at(60_000))
        self.timeline.apply(inputs.ScriptFinished(at(60_000)))
        self.log.close()
        assert list(replay_log(self.path).turns) == [turn]
        return turn


def replied(
    log: Path,
    pieces: Sequence[bytes],
    name: AudioFormatName = "pcm16",
    *,
    record_audio: bool = False,
) -> TurnObservation:
    """Return the turn of a reply whose deltas arrive from 20 ms on, one each millisecond."""
    talk = LoggedTalk(log, name, record_audio=record_audio)
    for number, piece in enumerate(pieces):
        talk.receive(20 + number, delta_of(piece))
    return talk.end(20 + len(pieces))


def audible_ms(turn: TurnObservation) -> float | None:
    """Return the instant in the reply's audio from which it is audible; None if it is not."""
    heard_ms = after_ms(turn, "first_audible") if "first_audible" in turn.instants else None
    return None if heard_ms is None else heard_ms - 20 - JITTER_MS


def cut(data: bytes, size: int, moved: Sequence[int] = ()) -> list[bytes]:
    """Cut the bytes into pieces of `size` bytes. `moved` has the bytes by which the end of each
    piece is moved.
    """
    ends = [
        min(len(data), end + (moved[number % len(moved)] if moved else 0))
        for number, end in enumerate(range(size, len(data), size))
    ]
    return [data[begin:end] for begin, end in pairwise([0, *ends, len(data)])]


@given(moved=st.lists(st.sampled_from([-1, 0, 1]), max_size=8), record_audio=st.booleans())
def test_deltas_of_an_odd_size_do_not_change_the_start_of_the_sound(
    moved: list[int], record_audio: bool, tmp_path_factory: Any
) -> None:
    talk = LoggedTalk(tmp_path_factory.mktemp("log") / "s.jsonl", record_audio=record_audio)
    for item in ("first", "second"):
        data = buzz(300 if item == "first" else 50, 400, after_ms=100)
        for number, piece in enumerate(cut(data, 4_800, moved)):
            talk.receive(20 + number, delta_of(piece, item))
    turn = talk.end()

    assert audible_ms(turn) == 300
    assert turn.received_audio_ns == (300 + 400 + 100 + 50 + 400 + 100) * MS


CASES: dict[str, tuple[Callable[[AudioFormat], bytes], float | None]] = {
    "at once": (lambda audio: buzz(0, 300, audio), 0),
    "after silence": (lambda audio: buzz(500, 300, audio), 500),
    "only the last 100 ms": (lambda audio: buzz(900, 100, audio), 900),
    "only the last 45 ms": (lambda audio: buzz(900, 45, audio), 900),
    "a short word and silence": (lambda audio: buzz(100, 90, audio, after_ms=300), 100),
    "a tone": (lambda audio: tone(audio, 440, 300, 700), 300),
    "a click in the silence before it": (
        lambda audio: buzz(200, 1, audio) + buzz(299, 300, audio),
        500,
    ),
    "bytes of a header before it": (
        lambda audio: RIFF[:10] + buzz(500 - ms_of(10, audio), 300, audio),
        500,
    ),
    "a trailer after silence": (
        lambda audio: buzz(0, 0, audio, after_ms=800) + b"LIST\x1a\x00\x00\x00",
        None,
    ),
    "silence": (lambda audio: buzz(0, 0, audio, after_ms=800), None),
    "a click": (lambda audio: buzz(300, 1.5, audio, after_ms=300), None),
    "a step to an offset": (
        lambda audio: audio.encode(np.full(audio.rate_hz, 200, np.int16)),
        None,
    ),
    "dither": (lambda audio: audio.encode(noise(audio.rate_hz, 1)), None),
    "quiet noise": (lambda audio: audio.encode(noise(audio.rate_hz, 300)), None),
    "a faint voice": (lambda audio: buzz(100, 700, audio, level=60), None),
}


def tone(
    audio: AudioFormat, hz: float, silent_ms: int, loud_ms: int, level: float = 8_000
) -> bytes:
    at_s = np.arange(audio.rate_hz * loud_ms // 1_000) / audio.rate_hz
    sines = (level * np.cos(2 * np.pi * hz * at_s)).astype(np.int16)
    return audio.encode(
        np.concatenate([np.zeros(audio.rate_hz * silent_ms // 1_000, np.int16), sines])
    )


def noise(count: int, level: int) -> Samples:
    return np.random.default_rng(1).integers(-level, level + 1, count).astype(np.int16)


def ms_of(size: int, audio: AudioFormat) -> float:
    return audio.duration_ns(size) / MS


@pytest.mark.parametrize("case", CASES)
def test_the_reply_starts_with_its_sound_and_a_reply_without_sound_fails(
    case: str, tmp_path: Path
) -> None:
    sound, start_ms = CASES[case]
    for name, delta_ms in product(NARROW, (20, 100, 5_000)):
        audio = ALL_FORMATS[name]
        pieces = cut(sound(audio), audio.bytes_per_s * delta_ms // 1_000)
        turn = replied(tmp_path / f"{name}-{delta_ms}.jsonl", pieces, name)

        assert turn.outcome == ("ok" if start_ms is not None else "failed:inaudible")
        assert audible_ms(turn) == (None if start_ms is None else pytest.approx(start_ms, abs=1))
        assert ("answer_audible" in turn.instants) is (start_ms is not None)


@pytest.mark.parametrize("delta_ms", [100, 200])
def test_the_header_of_a_file_in_each_delta_is_no_sound(delta_ms: int, tmp_path: Path) -> None:
    pieces = [RIFF + piece for piece in cut(buzz(500, 600), 48 * delta_ms)]
    headers_ms = (500 // delta_ms + 1) * len(RIFF) / 48

    assert audible_ms(replied(tmp_path / "s.jsonl", pieces)) == pytest.approx(
        500 + headers_ms, abs=1
    )


@given(
    seed=st.integers(0, 99),
    tone_ms=st.sampled_from([0, 0, 900, 2_300]),
    noise_ms=st.integers(0, 400),
    shares=st.lists(st.floats(0, 1), max_size=20).map(sorted),
)
def test_any_deltas_of_an_item_give_the_same_start_and_uncertainty(
    seed: int, tone_ms: int, noise_ms: int, shares: list[float]
) -> None:
    noise = np.random.default_rng(seed).normal(0, 200, 24 * noise_ms).astype(np.int16)
    data = tone(PCM16, 1_000, 0, tone_ms) + PCM16.encode(noise) + buzz(0, 900)
    found = list[tuple[int, int]]()
    for cuts in ([], [int(share * len(data)) for share in shares]):
        item = ItemSound(PCM16)
        start = 0
        for begin, end in pairwise([0, *cuts, len(data)]):
            sound = item.add(data[begin:end], with_end=False)
            if sound.audible is not None:
                found.append((start + sound.audible, sound.error_ns))
                break
            start += item.samples

    assert len(found) == 2
    assert found[0] == found[1]


SECOND = {
    "nothing": b"",
    "a pause": bytes(48 * 700),
    "the same tone at another phase": tone(PCM16, 1_000, 0, 1_490)[500:],
    "the same tone after a pause": tone(PCM16, 1_000, 600, 1_500),
    "another tone": tone(PCM16, 800, 0, 1_500),
    "a fainter tone": tone(PCM16, 1_000, 0, 1_500, level=1_500),
}


@pytest.mark.parametrize("second", SECOND)
def test_a_voice_after_a_long_tone_starts_within_its_uncertainty(second: str) -> None:
    for tone_ms, level in product((300, 1_210, 1_630, 4_170), (600, 6_000)):
        before = tone(PCM16, 1_000, 0, tone_ms) + SECOND[second]
        pieces = cut(before + buzz(0, 900, level=level), 48 * 250)
        item = ItemSound(PCM16)
        sounds = [item.add(piece, with_end=False) for piece in pieces]
        found = [
            (250 * number + sound.audible / 24, sound.error_ns / MS)
            for number, sound in enumerate(sounds)
            if sound.audible is not None
        ]

        start_ms, error_ms = found[0]
        assert start_ms == pytest.approx(len(before) / 48, abs=error_ms + 1)


def test_a_tone_that_goes_on_is_not_searched_and_is_the_sound_of_its_item() -> None:
    items = ItemSounds(with_ends=False)
    template = ServerEvent(EventKind.AUDIO_DELTA, "", "r", "i")
    pieces = cut(tone(PCM16, 1_000, 50, 5_000), 48 * 250)
    for piece in pieces[:4]:
        delta = msgspec.structs.replace(
            template, payload_bytes=len(piece), payload=payload_of(piece)
        )
        items.detect_replies([delta], PCM16)
    assert items.is_in_tone(template)
    for piece in pieces[4:]:
        matched = MatchedDelta(template, AT_NS, 0, 0, len(piece), len(piece), piece)
        assert items.continued(matched) is None

    (end,) = items.detect_replies([ServerEvent(EventKind.AUDIO_DONE, "", "r", "i")], PCM16)
    assert isinstance(end.payload, StrippedAudio)
    assert end.payload.audible == -24 * 5_000


def test_the_uncertainty_of_a_start_in_noise_is_a_part_of_that_of_the_instant(
    tmp_path: Path,
) -> None:
    samples = np.frombuffer(buzz(0, 900, level=6_000), "<i2").copy()
    samples[: 24 * 500] = 0
    turn = replied(
        tmp_path / "s.jsonl", cut(PCM16.encode(samples + noise(len(samples), 200)), 4_800)
    )

    assert turn.outcome == "ok"
    assert (turn.onset_uncertainty_ns or 0) > MS
    assert turn.uncertainties_ns["first_audible"] == turn.onset_uncertainty_ns
    assert abs((audible_ms(turn) or 0) - 500) <= (turn.onset_uncertainty_ns or 0) / MS


def test_after_digital_silence_the_start_is_exact(tmp_path: Path) -> None:
    turn = replied(tmp_path / "s.jsonl", cut(buzz(500, 300), 4_800))

    assert (turn.onset_uncertainty_ns, turn.uncertainties_ns["first_audible"]) == (0, 0)


def test_a_sound_that_becomes_certain_after_a_stall_was_played_before_it(tmp_path: Path) -> None:
    talk = LoggedTalk(tmp_path / "s.jsonl")
    whole = buzz(50, 250)
    for at_ms, piece in zip((20, 900), cut(whole, 48 * 90), strict=False):
        talk.receive(at_ms, delta_of(piece))
    turn = talk.end(2_000)

    assert audible_ms(turn) == 50
    assert turn.stall_count == 1


def test_what_the_end_of_an_item_decides_is_in_the_log_of_a_message_that_also_has_its_audio(
    tmp_path: Path,
) -> None:
    items = ItemSounds(with_ends=False)
    audio = ServerEvent(EventKind.AUDIO_DELTA, "", "r", "i", 48 * 90, payload_of(buzz(45, 45)))
    end = ServerEvent(EventKind.AUDIO_DONE, "", "r", "i")
    found, ended = items.detect_replies([audio, end], PCM16)
    assert isinstance(found.payload, StrippedAudio)
    assert (found.payload.audible, ended) == (24 * 45, end)


def payload_of(data: bytes) -> Any:
    (event,) = GA.decode(delta_of(data))
    return event.payload


def test_after_its_start_the_audio_of_an_item_is_not_decoded() -> None:
    items = ItemSounds(with_ends=False)
    events = [
        ServerEvent(EventKind.AUDIO_DELTA, "", "r", "i", 4_800, payload_of(buzz(0, 100)))
        for _ in range(3)
    ]
    first, second, third = (items.detect_replies([event], PCM16)[0] for event in events)

    assert isinstance(first.payload, StrippedAudio)
    assert second is events[1]
    assert third is events[2]


def test_items_of_a_service_that_names_endless_new_ones_are_forgotten() -> None:
    items = ItemSounds(with_ends=False)
    payload = payload_of(buzz(20, 0))
    for number in range(3 * MAX_ITEMS):
        items.detect_replies(
            [ServerEvent(EventKind.AUDIO_DELTA, "", "r", f"i{number}", 960, payload)], PCM16
        )
        assert len(items._items) <= MAX_ITEMS
    items.detect_replies([ServerEvent(EventKind.RESPONSE_DONE, "", "r")], PCM16)
    assert not items._items


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("abc", "no padding"),
        ("QUJD\nREVG", "line breaks"),
        ("QUJD\r\nREU=\n", "line breaks"),
        ("QUJD\nREV", "line breaks and no padding"),
        ("QU-_", "the alphabet of URLs"),
        ("Q-V", "no padding and the alphabet of URLs"),
        ("a*c=", ""),
        ("=AAA", ""),
        ("QUJé", ""),
    ],
)
def test_audio_that_is_not_base64_ends_the_session_with_its_form(text: str, form: str) -> None:
    talk = Talk()
    talk.ask(0)
    talk.hear(10, created("r1"), delta(GA, "audio", "r1", text))

    turn = talk.only()
    what = "the payload of response.output_audio.delta is not base64"
    assert turn.outcome == "protocol_error:base64"
    assert turn.detail == (f"{what}: it has {form}" if form else what)
    remedy = remedy_of(turn.outcome, turn.causes)
    assert ("RFC 4648" in remedy) is bool(form)
    assert "URL:" not in remedy


# What is requested audio.


@pytest.mark.parametrize("dialect", REALTIME.values(), ids=REALTIME)
def test_in_every_dialect_a_silent_reply_is_no_success(dialect: Any) -> None:
    talk = Talk(dialect)
    talk.ask(0)
    talk.hear(
        10, created("r1"), delta(dialect, "audio", "r1", SILENCE), part_done(dialect, "audio", "r1")
    )
    talk.hear(20, done("r1"))

    assert talk.only().outcome == "failed:inaudible"


def test_a_silent_reply_is_a_failure_with_a_remedy() -> None:
    assert outcome_class("failed:inaudible") == "failed"
    assert "output_format" in remedy_of("failed:inaudible")


def test_late_audio_of_a_service_without_ids_does_not_hide_the_sound_of_its_next_reply() -> None:
    items = ItemSounds(with_ends=False)
    audio = ServerEvent(
        EventKind.AUDIO_DELTA, payload_bytes=4_800, payload=payload_of(buzz(0, 100))
    )
    for event in (
        audio,
        ServerEvent(EventKind.RESPONSE_DONE),
        audio,
        ServerEvent(EventKind.RESPONSE_CREATED),
    ):
        items.detect_replies([event], PCM16)
    (found,) = items.detect_replies([audio], PCM16)

    assert found.payload == StrippedAudio(0)
