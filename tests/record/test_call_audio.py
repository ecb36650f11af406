"""The audio of a logged session, as a call in two channels."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from bench.base.errors import UsageError
from bench.observe import inputs
from bench.plan.recordings import Channels
from bench.record.call_audio import call_audio
from bench.services.agents import ACS, PCM, TWILIO
from bench.services.openai.dialect import GA
from bench.services.openai.preview import PREVIEW
from bench.wire.audio import ALL_FORMATS, AudioFormatName, Samples
from bench.wire.dialect import BinaryMessage, Dialect
from tests.command_line import call, call_or_raise
from tests.helpers import at, build_script, message, play, say
from tests.record.call_logs import LEVEL, MakeDelta, Session, openai_delta, sound
from tests.record.logged import logged


def acs_delta(data: bytes) -> bytes:
    return json.dumps(
        {"kind": "AudioData", "audioData": {"data": base64.b64encode(data).decode()}}
    ).encode()


def twilio_delta(data: bytes) -> bytes:
    return json.dumps(
        {
            "event": "media",
            "streamSid": "MZ0",
            "media": {"payload": base64.b64encode(data).decode()},
        }
    ).encode()


AGENTS: dict[str, tuple[Dialect, AudioFormatName, MakeDelta, bytes]] = {
    "acs": (ACS, "pcm16@16000", acs_delta, b'{"kind":"StopAudio","stopAudio":{}}'),
    "twilio": (TWILIO, "g711_ulaw", twilio_delta, b'{"event":"clear","streamSid":"MZ0"}'),
    "pcm": (PCM, "pcm16@8000", BinaryMessage, b'{"action":"clear"}'),
}


def spans(channels: Channels, channel: int) -> list[tuple[float, float, int]]:
    """Return (start ms, end ms, level) of each part of a channel with the same level that is not
    silent.
    """
    return list(_spans(channels.samples[:, channel], channels.rate_hz))


def _spans(samples: Samples, rate_hz: int) -> Iterator[tuple[float, float, int]]:
    levels = np.rint(samples / 1_000).astype(int) * 1_000
    edges = np.flatnonzero(np.diff(levels, prepend=0, append=0))
    for start, end in pairwise(edges):
        if levels[start]:
            yield start * 1_000 / rate_hz, end * 1_000 / rate_hz, int(levels[start])


@pytest.mark.parametrize("agent", AGENTS)
def test_the_audio_of_an_agent_waits_in_a_queue_which_a_clear_empties(
    agent: str, tmp_path: Path
) -> None:
    dialect, format, make_delta, clear = AGENTS[agent]
    session = Session(tmp_path / "s.jsonl", dialect, format)
    session.begin(0)
    session.say(100, 100)
    session.hear(500, make_delta(session.encoded(200)), make_delta(session.encoded(300, 4_000)))
    session.hear(800, clear)
    session.hear(900, make_delta(session.encoded(100, 6_000)))
    channels = session.finish(2_000)

    assert spans(channels, 1) == [(500, 700, LEVEL), (700, 800, 4_000), (900, 1_000, 6_000)]


@pytest.mark.parametrize("agent", AGENTS)
def test_the_jitter_buffer_delays_the_audio_of_an_agent(agent: str, tmp_path: Path) -> None:
    dialect, format, make_delta, _ = AGENTS[agent]
    session = Session(tmp_path / "s.jsonl", dialect, format)
    session.begin(0, jitter_buffer_ms=60)
    session.say(100, 100)
    session.hear(500, make_delta(session.encoded(200)), make_delta(session.encoded(100)))

    assert spans(session.finish(2_000), 1) == [(560, 860, LEVEL)]


@pytest.mark.parametrize("by", ["service", "client"])
def test_an_interruption_drops_what_was_not_played_and_what_arrives_later(
    by: str, tmp_path: Path
) -> None:
    session = Session(tmp_path / "s.jsonl", GA, "pcm16")
    old, new = openai_delta("i1"), openai_delta("i2")
    session.begin(0)
    session.say(100, 100)
    session.hear(500, old(session.encoded(1_000)))
    if by == "service":
        session.hear(
            800, message("input_audio_buffer.speech_started", item_id="u2", audio_start_ms=700)
        )
    else:
        session.timeline.apply(inputs.ClientInterrupted(at(800)))
    session.hear(850, old(session.encoded(500)))
    session.hear(1_200, new(session.encoded(100, 4_000)))

    assert spans(session.finish(3_000), 1) == [(500, 800, LEVEL), (1_200, 1_300, 4_000)]


def test_a_delta_may_end_in_the_middle_of_a_sample(tmp_path: Path) -> None:
    session = Session(tmp_path / "s.jsonl", GA, "pcm16")
    first, second = openai_delta("i1"), openai_delta("i2")
    audio = session.encoded(100, 0x3A98)
    session.begin(0)
    session.say(100, 100)
    session.hear(
        500, first(audio[:1_001]), first(audio[1_001:3_333]), first(audio[3_333:]), first(audio[:1])
    )
    session.hear(700, second(audio))

    assert spans(session.finish(2_000), 1) == [(500, 600, 15_000), (700, 800, 15_000)]


def test_channels_of_different_rates_get_the_higher_one(tmp_path: Path) -> None:
    session = Session(tmp_path / "s.jsonl", GA, "g711_ulaw", output_format="pcm16")
    session.begin(0)
    session.say(200, 200)
    session.hear(
        500,
        openai_delta("i1")(ALL_FORMATS["pcm16"].encode(sound(ALL_FORMATS["pcm16"], 100, LEVEL))),
    )
    channels = session.finish(1_000)

    assert channels.rate_hz == 24_000
    assert channels.samples[2_400, 0] == pytest.approx(LEVEL, rel=0.05)
    assert spans(channels, 1) == [(500, 600, LEVEL)]


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    # (changes of a session, its end in ms, error)
    "no audio": (
        {"record_audio": False},
        1_000,
        "contains no audio: record it with --record-audio",
    ),
    "no format": (
        {"input_format": "mp3"},
        1_000,
        r"s\.jsonl:1: this line does not state the input_format",
    ),
    "many hours": ({}, 5 * 3_600_000, r"lasts 5\.0 hours, the maximum of --wav is 4"),
}


@pytest.mark.parametrize(("changes", "end_ms", "error"), REFUSED.values(), ids=REFUSED)
def test_a_log_without_the_audio_of_a_call_is_refused(
    tmp_path: Path, changes: dict[str, Any], end_ms: int, error: str
) -> None:
    session = Session(tmp_path / "s.jsonl", GA, "pcm16", **changes)
    session.begin(0)
    session.say(100, 100)
    session.hear(500, openai_delta("i1")(session.encoded(100)))

    with pytest.raises(UsageError, match=error):
        session.finish(end_ms)


def test_messages_whose_audio_is_unreadable_or_was_too_long_are_left_out(tmp_path: Path) -> None:
    session = Session(tmp_path / "s.jsonl", GA, "pcm16")
    session.begin(0)
    session.say(100, 100)
    session.timeline.apply(inputs.Sent("input_audio_buffer.append", at(200), 9, audio_bytes=4_800))
    session.hear(
        500, message("response.output_audio.delta", response_id="r1", item_id="i1", delta="%%%")
    )
    session.hear(600, openai_delta("i1")(b""), openai_delta("i1")(session.encoded(100)))
    channels = session.finish(1_000)

    assert spans(channels, 0) == [(0, 100, LEVEL)]
    assert spans(channels, 1) == [(600, 700, LEVEL)]


@pytest.mark.parametrize("dialect", [GA, PREVIEW], ids=lambda dialect: str(dialect.name))
def test_replay_writes_the_call_of_a_session(dialect: Dialect, tmp_path: Path) -> None:
    log, wav = tmp_path / "s.jsonl", tmp_path / "call.wav"
    logged(log, build_script(play(250), play(250), dialect=dialect), record_audio=True)

    found = call("runs", "replay", log, "--wav", wav)

    assert found.exit_code == 0, found.output
    assert found.output.startswith(
        f"{wav}: channel 1 is the caller, and channel 2 is what the caller heard\n"
    )
    (written, rate_hz), heard = soundfile.read(wav, dtype="int16"), call_audio(log)
    assert rate_hz == heard.rate_hz
    assert written.shape[1] == 2
    assert np.array_equal(written, heard.samples)


def test_replay_refuses_a_log_without_audio_and_a_folder_that_does_not_exist(
    tmp_path: Path,
) -> None:
    log = tmp_path / "s.jsonl"
    logged(log, build_script(say("hello")))

    with pytest.raises(UsageError, match="contains no audio"):
        call_or_raise("runs", "replay", log, "--wav", tmp_path / "call.wav")
    with pytest.raises(UsageError, match="--wav"):
        call_or_raise("runs", "replay", log, "--wav", tmp_path / "missing" / "call.wav")
    assert not (tmp_path / "call.wav").exists()
