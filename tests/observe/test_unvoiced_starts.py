"""Replies that begin unvoiced, such as with an s. The detector finds them up to 0.6 s after they
begin.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from bench.base.clock import Arrival
from bench.catalogue.timeouts import Timeouts
from bench.observe import inputs
from bench.observe.inputs import SessionStart
from bench.observe.observation import TurnObservation
from bench.plan.recordings import to_pcm16
from bench.plan.turn_plan import TurnPlan
from bench.record.event_log import EventLog, LoggedTimeline
from bench.record.replay import replay_log
from bench.services.gpt_live.dialect import GPT_LIVE
from bench.wire.audio import G711_ULAW
from bench.wire.connection import ReceivedMessage
from tests.helpers import AT_NS, MS, after_ms, at, live_audio
from tools.benchmarks import onsets as known

FRAME_MS = 20
SILENCE_MS = 1_000
"""The silence that ends a reply."""
FIRST_MS, VOICE_MS, UNVOICED_MS = 1_600, 600, 200
"""The start of the first reply, the duration of each voice, and that of the noise before the
second one."""
FIRST_TURN = 0, 800
"""The start and the end of the caller's first speech, in ms."""


def call_audio(*parts: tuple[str, int]) -> np.ndarray:
    """Return an agent's audio of these parts, each of a kind and a duration in ms, up to 9 s."""
    noise = np.random.default_rng(1).standard_normal(8_000) * 0.01  # −40 dBFS
    sound = {"rest": np.zeros(8_000 * 9), "noise": noise, "voice": known.voices(8_000)[0]}
    joined = np.concatenate([sound[kind][: 8 * ms] for kind, ms in (*parts, ("rest", 9_000))])
    return joined[: 8_000 * 9]


def deltas(audio: np.ndarray) -> Iterator[tuple[int, bytes]]:
    """Yield each frame of an agent's audio as (its arrival in ms, message)."""
    data = G711_ULAW.encode(to_pcm16(audio.astype(np.float32)))
    for at_ms in range(FRAME_MS, len(data) // 8, FRAME_MS):
        yield at_ms, live_audio(data[8 * (at_ms - FRAME_MS) : 8 * at_ms])


def heard(
    log: Path, audio: np.ndarray, spoken_ms: Sequence[tuple[int, int]]
) -> list[TurnObservation]:
    """Return the turns of a call with this audio of the agent. `spoken_ms` is when the caller
    speaks in each turn.

    A replay of the call's log must give the same turns.
    """
    start = SessionStart(
        AT_NS, len(spoken_ms), Timeouts(), service_responds=True, reply_silence_ns=SILENCE_MS * MS
    )
    event_log = EventLog(log, hide=lambda text: text, record_audio=False)
    about = {"dialect": GPT_LIVE.name, "output_format": "g711_ulaw"}
    timeline = LoggedTimeline(start, GPT_LIVE, log=event_log, about=about)
    turns, number = list[TurnObservation](), 0
    for at_ms, body in deltas(audio):
        if number < len(spoken_ms) and at_ms > spoken_ms[number][0]:
            names = zip(("speech_start", "speech_end"), spoken_ms[number], strict=True)
            number += 1
            plan = TurnPlan(
                number,
                "",
                f"turn-{number}-",
                f"turn-{number}-request",
                vad=True,
                speech_format="g711_ulaw",
                reply_format="g711_ulaw",
            )
            timeline.apply(inputs.TurnStarted(at(spoken_ms[number - 1][0]), plan))
            for instant, ms in names:
                timeline.apply(
                    inputs.Sent("session.input_audio.append", at(ms), 9, instants={instant: 0})
                )
        timeline.apply(
            inputs.Received(
                GPT_LIVE.decode(body), ReceivedMessage(body, Arrival(at(at_ms)), len(body))
            )
        )
        turns += timeline.pop_turns(at(at_ms))
    timeline.apply(inputs.ScriptFinished(at(9_000)))
    event_log.close()
    assert list(replay_log(log).turns) == turns
    return turns


@pytest.mark.parametrize("pause_ms", [600, 850, 960])
def test_a_reply_that_continues_unvoiced_after_a_short_pause_is_one_reply(
    pause_ms: int, tmp_path: Path
) -> None:
    said = (
        ("rest", FIRST_MS),
        ("voice", VOICE_MS),
        ("rest", pause_ms),
        ("noise", UNVOICED_MS),
        ("voice", VOICE_MS),
    )

    (turn,) = heard(tmp_path / "log.jsonl", call_audio(*said), [FIRST_TURN])

    ends_ms = FIRST_MS + 2 * VOICE_MS + pause_ms + UNVOICED_MS
    assert after_ms(turn, "last_audible") == pytest.approx(ends_ms, abs=200)


@pytest.mark.parametrize("later_ms", [30, 100, 190])
def test_a_sound_that_began_before_the_caller_spoke_is_not_the_answer(
    later_ms: int, tmp_path: Path
) -> None:
    """The first reply is over. Another one begins unvoiced, and the caller speaks before it is
    detected.
    """
    began_ms = FIRST_MS + VOICE_MS + 1_500
    speech = began_ms + later_ms, began_ms + later_ms + 800
    answer_ms = 6_000
    said = (
        ("rest", FIRST_MS),
        ("voice", VOICE_MS),
        ("rest", 1_500),
        ("noise", UNVOICED_MS),
        ("voice", VOICE_MS),
    )
    rest = "rest", answer_ms - began_ms - UNVOICED_MS - VOICE_MS
    audio = call_audio(*said, rest, ("voice", VOICE_MS))

    turns = heard(tmp_path / "log.jsonl", audio, [FIRST_TURN, speech])

    assert [turn.outcome for turn in turns] == ["ok", "ok"]
    assert after_ms(turns[1], "first_audible") == pytest.approx(answer_ms, abs=100)
