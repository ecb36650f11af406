"""Takes the steps of a task that is written in Python; in a rehearsal they are recorded.

A task is rehearsed once, without a service, so that its turns are known and its recordings are loaded before the first
session. In a session its steps are played as they come: see `bench.load.playing.step_player`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from bench.errors import UsageError
from bench.load.planning.taken import TakenTurn, over_turn, rehearsed_turn
from bench.observe.observation import TurnObservation
from bench.plan.reference import Judge
from bench.plan.script import (
    NOT_DRAWN,
    Rules,
    ask_turn,
    expect,
    interrupt,
    message,
    pause,
    send,
    sound,
    text_turn,
    wav_turn,
)
from bench.plan.turns import DrawnPause, Interrupt, Pause, ScriptTurn, Sound, Step, WavTurn

MAX_REHEARSED = 100
"""So many steps are noted, for a task may go on for as long as its session does."""
UNNAMED = "turn"

Wavs = str | Path | Sequence[str | Path]


class SessionOver(BaseException):
    """Leaves a task whose session is over. No Exception, so that `except Exception` in the task lets it pass."""


class Recordings:
    """What a task takes from files, each read once: spoken turns, and think times. Paths are seen from `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._turns: dict[str, WavTurn] = {}
        self._pauses: dict[str, Pause | DrawnPause] = {}
        self._interruptions: dict[str, Interrupt | WavTurn] = {}
        self._sounds: dict[str, Sound] = {}

    def turn(self, wavs: Wavs, **options: Any) -> WavTurn:
        """Make a turn by `bench.plan.script.wav_turn`. Raises UsageError for what a script could not say."""
        key = repr((wavs, sorted(options.items())))
        if key not in self._turns:
            self._turns[key] = wav_turn(wavs, folder=self.folder, **options)
        return self._turns[key]

    def interruption(self, wavs: Wavs | None, **options: Any) -> Interrupt | WavTurn:
        """Make a step by `bench.plan.script.interrupt`. Raises UsageError for what a script could not say."""
        key = repr(("interrupt", wavs, sorted(options.items())))
        if key not in self._interruptions:
            self._interruptions[key] = interrupt(wavs, folder=self.folder, **options)
        return self._interruptions[key]

    def sound(self, wav: str | Path, kind: str, **options: Any) -> Sound:
        """Make a step by `bench.plan.script.sound`. Raises UsageError for what a script could not say."""
        key = repr((wav, kind, sorted(options.items())))
        if key not in self._sounds:
            self._sounds[key] = sound(wav, kind, folder=self.folder, **options)
        return self._sounds[key]

    def pause(self, seconds: float | None, drawn: Mapping[str, Any]) -> Pause | DrawnPause:
        """Make a pause by `bench.plan.script.pause`. Raises UsageError for what a script could not say."""
        if "file" not in drawn:
            return pause(seconds, drawn)
        key = repr((seconds, sorted(drawn.items())))
        if key not in self._pauses:
            self._pauses[key] = pause(seconds, drawn, folder=self.folder)
        return self._pauses[key]


class Stage(ABC):
    """Takes the steps of one session, one after another. A turn without a label is called `turn_<number>`.

    Every step raises UsageError for what a script could not say.
    """

    def __init__(self, recordings: Recordings, rules: Rules) -> None:
        self._recordings, self._rules = recordings, rules
        self.turns = 0

    def say(self, text: str, label: str, options: Mapping[str, Any]) -> TakenTurn:
        """Take a turn in text."""
        judge, said = judge_in(options)
        turn = text_turn(text, label=label or UNNAMED, folder=self._recordings.folder, **said)
        return self._take(replace(turn, judge=judge), label)

    def respond(self, label: str, response: Mapping[str, Any]) -> TakenTurn:
        """Take a turn without words."""
        judge, said = judge_in(response)
        turn = ask_turn(label=label or UNNAMED, folder=self._recordings.folder, **said)
        return self._take(replace(turn, judge=judge), label)

    def play(self, wavs: Wavs, label: str, options: Mapping[str, Any]) -> TakenTurn:
        """Take a spoken turn."""
        judge, said = judge_in(options)
        return self._take(replace(self._recordings.turn(wavs, label=label or UNNAMED, **said), judge=judge), label)

    def message(self, role: str, text: str, image: str | Path | None) -> None:
        """Take a message that joins the conversation."""
        self._begin(message(role, text, image, folder=self._recordings.folder))

    def send(self, event: Mapping[str, Any]) -> None:
        """Take an event in the words of the service."""
        self._begin(send(event))

    def pause(self, seconds: float | None, drawn: Mapping[str, Any] = NOT_DRAWN) -> None:
        """Take a silence, of so many seconds or of as many as are drawn."""
        self._begin(self._recordings.pause(seconds, drawn))

    def expect(self, event: str, within_s: float) -> None:
        """Take an event that the last turn must get."""
        self._begin(expect(event, within_s))

    def interrupt(self, wavs: Wavs | None, label: str, options: Mapping[str, Any]) -> TakenTurn | None:
        """Take an interruption of the reply to the last turn: a turn of the caller's words, or the client's doing."""
        step = self._recordings.interruption(wavs, label=label or UNNAMED, **options)
        if isinstance(step, WavTurn):
            return self._take(step, label)
        self._begin(step)
        return None

    def sound(self, wav: str | Path, kind: str, options: Mapping[str, Any]) -> None:
        """Take a sound that is meant neither to interrupt a reply nor to get one."""
        self._begin(self._recordings.sound(wav, kind, **options))

    def _take(self, turn: ScriptTurn, label: str) -> TakenTurn:
        self.turns += 1
        taken = self.taken_turn()
        self._begin(turn if label else replace(turn, label=f"turn_{self.turns}"))
        return taken

    def _begin(self, step: Step) -> None:
        for key, problem in self._rules.problems(step):
            raise UsageError(f"{key} {problem}")
        self.perform(step)

    @abstractmethod
    def perform(self, step: Step) -> None:
        """Take a step. Raises SessionOver where none is wanted any more."""

    @abstractmethod
    def taken_turn(self) -> TakenTurn:
        """Make what a task may ask after the turn that it takes now."""


def judge_in(options: Mapping[str, Any]) -> tuple[Judge | None, dict[str, Any]]:
    """Part a function that judges a turn from its other options; None where a script could say what success is."""
    success = options.get("success")
    if not callable(success):
        return None, dict(options)
    return partial(_judged, success), {name: value for name, value in options.items() if name != "success"}


def _judged(success: Callable[[TakenTurn], object], turn: TurnObservation) -> object:
    return success(over_turn(turn))


class StepRecorder(Stage):
    """Records the steps of a rehearsal."""

    def __init__(self, recordings: Recordings, rules: Rules) -> None:
        super().__init__(recordings, rules)
        self.steps: list[Step] = []

    @property
    def whole(self) -> bool:
        """Whether the task came to its end."""
        return len(self.steps) < MAX_REHEARSED

    def perform(self, step: Step) -> None:
        self.steps.append(step)
        if len(self.steps) >= MAX_REHEARSED:
            raise SessionOver

    def taken_turn(self) -> TakenTurn:
        return rehearsed_turn(self.turns)


class OnStage(Protocol):
    """A user whose steps go to its stage; None between sessions."""

    stage: Stage | None


def act(user: OnStage, task: Callable[[Any], object], stage: Stage) -> Exception | None:
    """Let a user do a task on a stage, until it is done or the session is over.

    Returns the task's word to Locust (StopUser, RescheduleTask, …) where it has one; what else it raises passes.
    """
    user.stage = stage
    try:
        task(user)
    except SessionOver:
        return None
    except Exception as error:
        if is_locust_word(error):  # it waits until the session is closed
            return error
        raise
    finally:
        user.stage = None
    return None


def is_locust_word(error: Exception) -> bool:
    """Whether an exception is what a user has to say to Locust (StopUser, RescheduleTask, …), and no fault."""
    return type(error).__module__ == "locust.exception"
