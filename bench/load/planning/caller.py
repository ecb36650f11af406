"""What a task in Python can do in the session that it is: its steps are taken one after another.

A task is rehearsed once, without a service, so that its turns are known and its recordings are loaded before the first
session. In a session its steps are played as they come: see `StepPlayer` of `bench/load/playing/call.py`.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.observe.observation import TurnObservation
from bench.plan.steps import KINDS, Rules, Step, StepReader, is_turn
from bench.units import NS_PER_MS

MAX_REHEARSED = 100
"""So many steps are noted, for a task may go on for as long as its session does."""

Wavs = str | Path | Sequence[str | Path]


class SessionOver(BaseException):
    """Leaves a task whose session is over. No Exception, so that `except Exception` in the task lets it pass."""


class Caller:
    """Who does a task: each of these methods takes a step of the call under way."""

    _call: CallSteps | None = None
    """None between calls."""
    _copies: Sequence[Caller] = ()

    def is_leaving(self) -> bool:
        """Whether it is asked to go: its sessions end after the turn that is under way."""
        return False

    def doubles(self, arms: int) -> Sequence[Caller]:
        """The users who do this user's tasks, one in each arm: itself in the first."""
        self._copies = [*self._copies, *(copy.copy(self) for _ in range(arms - 1 - len(self._copies)))]
        return [self, *self._copies]

    def say(self, text: str, *, label: str = "", **options: Any) -> TakenTurn:
        """Take a turn in text. It goes on when this returns; who asks the turn what came of it waits for its end.

        `options`: `image`, a PNG or JPEG; `output`, `instructions`, `max_output_tokens` of this turn's answer;
        `expected_reply`; and `success`, as in a script, or a function of the turn, asked once that has ended well.
        """
        return self._take_turn("say", say=text, label=label, **options)

    def play(self, wavs: Wavs, *, label: str = "", **options: Any) -> TakenTurn:
        """Take a spoken turn: a WAV, or one of several. Paths are seen from the folder of the file with the task.

        `options`: `chunk_ms`, `paced`, `speech` ({"begin": …, "end": …}, in seconds), `words`, what is said in it, and
        what `say` takes for answers.
        """
        return self._take_turn("play", play=wavs, label=label, **options)

    def respond(self, *, label: str = "", **response: Any) -> TakenTurn:
        """Ask for an answer, without words of the caller's.

        `response`: `output`, `instructions`, `max_output_tokens`; `conversation`, `input` and `metadata`;
        `expected_reply` and `success`, as `say` has them.
        """
        return self._take_turn("respond", label=label, **response)

    def message(self, role: str, text: str, image: str | Path | None = None) -> None:
        """Let the last turn end, then add a message to the conversation, which asks for no answer.

        `role`: system, assistant or user; only the user's may have an image, a PNG or JPEG.
        """
        self._take("message", role=role, text=text, image=image)

    def send(self, event: Mapping[str, Any]) -> None:
        """Send an event in the words of the service, at once. It is no turn's, and nothing is waited for."""
        self._take("send", send=event)

    def interrupt(self, *, play: Wavs | None = None, label: str = "", **options: Any) -> TakenTurn | None:
        """Interrupt the reply to the last turn while it is played: by speaking, or, without `play`, by the client.

        `options`: `after` (seconds of the reply that were played), `share` or `word` (of its transcript) say when;
        `verify` has it checked that the service keeps nothing beyond what was heard; of what is said also what `play`
        takes. What is said is a turn.
        """
        return self._take("interrupt", play=play, label=label, **options)

    def sound(self, wav: str | Path, *, kind: str, **options: Any) -> None:
        """Let a sound be heard that is meant neither to interrupt a reply nor to get one.

        `kind`: `backchannel`, `noise` or `aside`; `options`: when in the reply to the last turn, as in `interrupt`; or
        `during="silence"`, once that was heard to its end.
        """
        self._take("sound", play=wav, kind=kind, **options)

    def pause(self, seconds: float | None = None, **drawn: Any) -> None:
        """Let the last turn end, then be silent: for so many seconds, or for as long as is drawn for each session.

        `drawn`: `median`, `sigma` and `most` of a log-normal distribution; or `file`, one of whose numbers is taken.
        """
        self._take("pause", pause=seconds, **drawn)

    def expect(self, event: str, within: float) -> None:
        """Wait for an event of the last turn, which fails where that does not come; one that came before counts.

        `event`: one of `bench.plan.steps.EXPECTED_EVENTS`. `within`: seconds, from when the step before was sent; after
        `play` from the end of the WAV, with the silence that it ends in; after another `expect` from when that was met.
        """
        self._take("expect", event=event, within=within)

    def _take_turn(self, verb: str, **given: Any) -> TakenTurn:
        turn = self._take(verb, **given)
        assert turn is not None, f"{verb} is a turn"
        return turn

    def _take(self, verb: str, **given: Any) -> TakenTurn | None:
        if self._call is None:
            raise UsageError(f"there is no session here: call {', '.join(kind.verb for kind in KINDS)} inside a @task")
        return self._call.take(verb, **given)


class CallSteps(ABC):
    """Takes the steps of one call, one after another. A turn without a label is called `turn_<number>`."""

    def __init__(self, reader: StepReader, rules: Rules) -> None:
        self._reader, self._rules = reader, rules
        self.turns = 0
        """How many turns were taken."""

    def take(self, verb: str, *, label: str = "", success: Any = None, **given: Any) -> TakenTurn | None:
        """Take a step, and return it where it is a turn. Raises UsageError for what a script could not say."""
        judge = partial(_judged, success) if callable(success) else None
        step = self._reader.read(verb, label=label or None, success=None if judge else success, **given)
        turn = None
        if is_turn(step):
            self.turns += 1
            step, turn = replace(step, label=label or f"turn_{self.turns}", judge=judge), self.taken_turn()
        for key, problem in self._rules.problems(step):
            raise UsageError(f"{key} {problem}")
        self.play(step)
        return turn

    @abstractmethod
    def play(self, step: Step) -> None:
        """Play a step. Raises SessionOver where none is wanted any more."""

    @abstractmethod
    def taken_turn(self) -> TakenTurn:
        """Make what a task may ask after the turn that it takes now."""


def _judged(success: Callable[[TakenTurn], object], turn: TurnObservation) -> object:
    return success(TakenTurn(turn.turn, observation=turn))


class Rehearsal(CallSteps):
    """Notes the steps of a task, without a session."""

    def __init__(self, reader: StepReader, rules: Rules) -> None:
        super().__init__(reader, rules)
        self.steps: list[Step] = []

    @property
    def whole(self) -> bool:
        """Whether the task came to its end."""
        return len(self.steps) < MAX_REHEARSED

    def play(self, step: Step) -> None:
        self.steps.append(step)
        if not self.whole:
            raise SessionOver

    def taken_turn(self) -> TakenTurn:
        return TakenTurn(self.turns)


def act(user: Caller, task: Callable[[Any], object], call: CallSteps) -> Exception | None:
    """Let a user do a task, until it is done or the session is over.

    Returns the task's word to Locust (StopUser, RescheduleTask, …) where it has one; what else it raises passes.
    """
    user._call = call
    try:
        task(user)
    except SessionOver:
        return None
    except Exception as error:
        if is_locust_word(error):  # it waits until the session is closed
            return error
        raise
    finally:
        user._call = None
    return None


def is_locust_word(error: Exception) -> bool:
    """Whether an exception is what a user has to say to Locust (StopUser, RescheduleTask, …), and no fault."""
    return type(error).__module__ == "locust.exception"


class TakenTurn:
    """A turn that a task took. It goes on while the task does; whoever asks what came of it waits for its end.

    `number`: of the turn in its session, from 1. `wait`: for its end; None in a rehearsal, in which nobody answers.
    """

    def __init__(
        self, number: int, wait: Callable[[], None] | None = None, observation: TurnObservation | None = None
    ) -> None:
        self.number = number
        self._wait, self._observation = wait, observation

    def hear(self, turn: TurnObservation) -> None:
        """Take what came of the turn."""
        self._observation = turn

    @property
    def outcome(self) -> str:
        """How it ended: `ok`, or one of the outcomes of docs/measures.md. In a rehearsal it is `ok`."""
        turn = self._over()
        return "ok" if turn is None else turn.outcome

    @property
    def said(self) -> str:
        """The words of the caller's speech, where the session transcribes it; "" where not, and in a rehearsal."""
        turn = self._over()
        return "" if turn is None else turn.input_text

    @property
    def replied(self) -> str:
        """The words of the reply; "" in a rehearsal."""
        turn = self._over()
        return "" if turn is None else turn.reply_text

    @property
    def measures(self) -> Mapping[str, float]:
        """The turn's measures that are times, in ms, by their names; none in a rehearsal."""
        turn = self._over()
        return {} if turn is None else {name: ns / NS_PER_MS for name, ns in turn.measures_ns().items()}

    def _over(self) -> TurnObservation | None:
        """Wait for its end. None in a rehearsal."""
        if self._observation is None and self._wait is not None:
            self._wait()
        return self._observation
