"""How many of a script's interruptions, sounds and expectations took place."""

from __future__ import annotations

import pytest

from bench.observe.session_facts import PlannedEvents
from bench.plan.steps import (
    InterruptSettings,
    InterruptStep,
    SoundSettings,
    SoundStep,
)
from bench.plan.turn_plan import InterruptTrigger
from bench.plan.turns import Step
from tests.helpers import MS, say
from tests.talking import VAD, converse, recording, sound, speak

LATE = InterruptTrigger(after_ns=60_000 * MS)
UNSPOKEN = InterruptTrigger(text="nowhere")
MURMUR = recording(sound(20, 300, 20))


def murmur(cue: InterruptTrigger | None = None) -> SoundStep:
    return SoundStep(SoundSettings(audio=MURMUR, kind="noise", cue=cue))


def counts(steps: tuple[Step, ...]) -> dict[str, tuple[int | None, int | None]]:
    """Return (planned, missed) of each kind of planned event in a conversation with the
    simulator.
    """
    session = converse(speak(30, 1_500), *steps, turn_detection=VAD).session
    return {
        "interruptions": (session.interruptions_planned, session.interruptions_missed),
        "sounds": (session.sounds_planned, session.sounds_missed),
        "expectations": (session.expectations_planned, session.expectations_missed),
    }


@pytest.mark.parametrize(
    ("steps", "interruptions", "sounds"),
    [
        ((InterruptStep(InterruptSettings(cue=LATE)),), (1, 1), (0, 0)),
        ((InterruptStep(InterruptSettings(cue=UNSPOKEN)),), (1, 1), (0, 0)),
        ((InterruptStep(InterruptSettings()),), (1, 0), (0, 0)),
        ((InterruptStep(InterruptSettings(audio=(MURMUR,), cue=LATE)),), (1, 1), (0, 0)),
        ((InterruptStep(InterruptSettings(audio=(MURMUR,))),), (1, 0), (0, 0)),
        (
            (InterruptStep(InterruptSettings()), InterruptStep(InterruptSettings(cue=LATE))),
            (2, 1),
            (0, 0),
        ),
        ((murmur(LATE),), (0, 0), (1, 1)),
        ((murmur(), murmur(LATE), InterruptStep(InterruptSettings(cue=LATE))), (1, 1), (2, 1)),
        (
            (SoundStep(SoundSettings(audio=MURMUR, kind="noise", during="silence")), say()),
            (0, 0),
            (1, 0),
        ),
    ],
)
def test_an_interruption_or_a_sound_whose_cue_never_comes_is_counted_as_missed(
    steps: tuple[Step, ...], interruptions: tuple[int, int], sounds: tuple[int, int]
) -> None:
    assert counts(steps) == {
        "interruptions": interruptions,
        "sounds": sounds,
        "expectations": (0, 0),
    }


def test_the_end_of_the_run_is_no_missed_cue() -> None:
    events = PlannedEvents()
    events.await_cue("speech")
    events.withdraw_awaited()

    assert events.counts()["interruptions_planned"] == 0
