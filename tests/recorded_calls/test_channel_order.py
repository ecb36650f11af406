"""The order of the channels of a call, as its transcript shows it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.base.errors import UsageError
from bench.recorded_calls.conversation import ChannelSound
from bench.recorded_calls.transcripts import Phrase, are_swapped, phrases
from tests.recorded_calls.composed import composed, words
from tests.recorded_calls.constructed import ConstructedCall
from tests.recorded_calls.imports import Imported, run_import, write_call

RATE_HZ = 8_000
NOON = 1_700_000_000.0
SPOKEN = [
    ("agent", 1.0, 4.9, "Hello, this is the bicycle shop. How can I help you today?"),
    ("caller", 6.0, 8.7, "Good morning. When do you open on Saturday?"),
    ("agent", 9.5, 13.5, "Sure. We open at nine in the morning and close at six in the evening."),
    ("caller", 15.1, 17.8, "And where is my parcel? It is number 4711."),
    (
        "agent",
        18.9,
        23.4,
        "Your parcel left our warehouse yesterday, and it should arrive tomorrow.",
    ),
    ("caller", 22.9, 24.9, "Then deliver it to my neighbour."),
    ("agent", 25.6, 29.6, "Okay, I have noted that. Is there anything else that I can do?"),
]
"""A call: (role, start and end in seconds, words). The caller once interrupts the agent."""


def sounds_of(role: str) -> list[ChannelSound]:
    return [
        ChannelSound(round(a * RATE_HZ), round(b * RATE_HZ), 0)
        for who, a, b, _ in SPOKEN
        if who == role
    ]


CALLER, AGENT = sounds_of("caller"), sounds_of("agent")


def listed(
    offset_s: float = 0.0, spoken: Sequence[tuple[str, float, float, str]] = SPOKEN
) -> list[dict[str, Any]]:
    return [
        {"role": who, "start": a + offset_s, "end": b + offset_s, "text": text}
        for who, a, b, text in spoken
    ]


def livekit(*, measured: bool) -> dict[str, Any]:
    """Return a session report. Without metrics, a message has only the time at which it was
    complete.
    """
    return {
        "chat_history": {
            "items": [
                {
                    "type": "message",
                    "role": {"caller": "user", "agent": "assistant"}[who],
                    "content": [text],
                    "created_at": NOON + b,
                    "metrics": (
                        {"started_speaking_at": NOON + a, "stopped_speaking_at": NOON + b}
                        if measured
                        else {}
                    ),
                }
                for who, a, b, text in SPOKEN
            ]
        }
    }


def pipecat(at: Callable[[str, float, float], float]) -> list[dict[str, Any]]:
    roles = {"caller": "user", "agent": "assistant"}
    return [
        {
            "role": roles[who],
            "content": text,
            "timestamp": datetime.fromtimestamp(NOON + at(who, a, b), UTC).isoformat(),
        }
        for who, a, b, text in SPOKEN
    ]


SHOWN: dict[str, Any] = {
    "list": listed(),
    "segments": {"segments": listed()},
    "clock 2 s late": listed(2),
    "clock 2 s early": listed(-2),
    "times of day": listed(NOON),
    "LiveKit": livekit(measured=True),
    "LiveKit without metrics": livekit(measured=False),
    "Pipecat, starts": pipecat(lambda _, a, __: a),
    "Pipecat, the caller's words after their end": pipecat(
        lambda who, a, b: a if who == "agent" else b + 0.4
    ),
    "half of the call": listed(spoken=SPOKEN[:4]),
    "words of a system": [*listed(), {"role": "system", "start": 6, "end": 9, "text": "Be brief."}],
}
NOT_SHOWN: dict[str, Any] = {
    "only the agent": listed(spoken=[entry for entry in SPOKEN if entry[0] == "agent"]),
    "only the caller": listed(spoken=[entry for entry in SPOKEN if entry[0] == "caller"]),
    "words in silence": listed(
        spoken=[("agent", 13.8, 14.6, "Hello?"), ("caller", 30.5, 31.0, "Yes?")]
    ),
    "channels": {
        "sentences": [
            {
                "media_channel": 1 + (who == "agent"),
                "start_time": a,
                "end_time": b,
                "transcript": text,
            }
            for who, a, b, text in SPOKEN
        ]
    },
}


def found(document: Any) -> list[Phrase]:
    return phrases(json.loads(json.dumps(document)))


@pytest.mark.parametrize("form", SHOWN)
def test_roles_in_the_other_channels_show_that_the_channels_are_swapped(form: str) -> None:
    assert are_swapped(found(SHOWN[form]), AGENT, CALLER, RATE_HZ)


@pytest.mark.parametrize("form", [*SHOWN, *NOT_SHOWN])
def test_channels_in_the_right_order_are_not_swapped(form: str) -> None:
    assert not are_swapped(found((SHOWN | NOT_SHOWN)[form]), CALLER, AGENT, RATE_HZ)


@pytest.mark.parametrize("form", NOT_SHOWN)
def test_a_transcript_without_evidence_of_both_roles_shows_nothing(form: str) -> None:
    assert not are_swapped(found(NOT_SHOWN[form]), AGENT, CALLER, RATE_HZ)


@pytest.mark.parametrize("seed", range(20))
def test_words_at_random_times_show_nothing(seed: int) -> None:
    random = np.random.default_rng(seed)
    spoken = [
        (who, start, start + random.uniform(0.5, 4), text)
        for who, _, _, text in SPOKEN
        for start in [random.uniform(0, 28)]
    ]
    assert not are_swapped(found(listed(spoken=spoken)), CALLER, AGENT, RATE_HZ)


def test_regular_turns_of_equal_length_show_nothing_if_the_clock_is_unknown() -> None:
    caller, agent = (
        [ChannelSound(at * RATE_HZ, (at + 2) * RATE_HZ, 0) for at in range(start, 40, 6)]
        for start in (1, 4)
    )
    spoken = [
        (who, sound.start / RATE_HZ, sound.end / RATE_HZ, "Yes, of course.")
        for who, sounds in (("caller", agent), ("agent", caller))
        for sound in sounds
    ]
    assert not are_swapped(found(listed(NOON, spoken)), caller, agent, RATE_HZ)


# The import.

TALK = composed(
    {2.5: words("not_today"), 9: words("late_parcel")}, {1: words("uh_huh"), 5: words("sure")}, 16
)
TURNS = [
    ("agent", 1.0, 1.6, "Yes?"),
    ("caller", 2.5, 4.3, "Not today, thank you."),
    ("agent", 5.0, 8.0, "Sure, I can do this for you, of course."),
    ("caller", 9.0, 12.5, "Where is the parcel that I ordered last week?"),
]


def test_an_import_refuses_swapped_channels_that_a_transcript_shows(tmp_path: Path) -> None:
    paths = [
        write_call(tmp_path / "calls" / "one.wav", TALK.agent, TALK.caller, RATE_HZ),
        write_call(tmp_path / "calls" / "two.wav", TALK.caller, TALK.agent, RATE_HZ),
    ]
    (tmp_path / "words").mkdir()
    for name in ("one", "two"):
        (tmp_path / "words" / f"{name}.json").write_text(json.dumps(listed(0.5, TURNS)))
    result = run_import(tmp_path, *paths, "--transcript", tmp_path / "words")

    assert result.status == 1
    assert result.err == [
        f"rtbench: {paths[0]}: the transcript shows that the channels are swapped (the agent's"
        " words are in channel 1, the caller's): add --caller 2, or --caller 1 if they are not"
    ]
    assert [row["session_id"] for row in result.rows("sessions")] == ["two"]


def import_swapped(
    scratch: Path, transcript: object, call: ConstructedCall, *words: str
) -> Imported:
    """Import a call whose agent is in the first channel."""
    (scratch / "words.json").write_text(json.dumps(transcript))
    path = write_call(scratch / "one.wav", call.agent, call.caller, RATE_HZ)
    return run_import(scratch, path, "--transcript", scratch / "words.json", *words)


def test_a_named_channel_is_imported_with_a_remark_that_is_counted(tmp_path: Path) -> None:
    result = import_swapped(tmp_path, listed(0.5, TURNS), TALK, "--caller", "1")

    assert result.status == 0
    assert result.out[0].endswith("words are in channel 1, the caller's): --caller 2 swaps them")
    notice = (
        "1 of 1 calls: the transcript shows that the channels are swapped (--caller 2 swaps them)."
    )
    assert notice in result.document["notices"]


def test_the_named_channel_of_a_transcript_gives_no_remark(tmp_path: Path) -> None:
    result = import_swapped(tmp_path, listed(0.5, TURNS), TALK, "--caller", "2")

    assert not [line for line in result.out if "swap" in line]


def test_swapped_channels_are_named_before_the_call_is_judged(tmp_path: Path) -> None:
    """In the wrong order, the agent may seem to answer nothing."""
    call = composed({2.5: words("not_today")}, {1: words("uh_huh")}, 6)

    with pytest.raises(UsageError, match="the transcript shows that the channels are swapped"):
        import_swapped(tmp_path, listed(0, TURNS[:2]), call)
