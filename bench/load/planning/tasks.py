"""Reads the tasks of a realtime user: each is one session, of a YAML script or of a method that says what is done.

Nothing here imports Locust: to it, a task is anything that can be called with a user, has a name, and may have tags.

A method takes the steps of its session one after another, by the methods of `Caller`. It is rehearsed once, without a
service, so that its turns are known and its recordings are loaded before the first session. In a session its steps are
played as they come: see `StepPlayer` of `bench/load/execution/call.py`.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import inspect
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.errors import ScriptError, UsageError
from bench.observe.observation import TurnObservation
from bench.plan.script import JUDGED, Script, Task, build_script, script_settings, session_of
from bench.plan.steps import KINDS, StepReader, StepRules, is_turn
from bench.plan.turns import Step
from bench.units import NS_PER_MS

MAX_REHEARSED = 100
"""Most steps that are noted, for a task may go on for as long as its session does."""

Wavs = str | Path | Sequence[str | Path]


class SessionTask:
    """A task that is one session. `does`: the path of a script, or what a user does in the session."""

    def __init__(self, does: Path | Task) -> None:
        self.does = does
        if isinstance(does, Path):
            self.__name__ = does.stem
        else:
            functools.update_wrapper(self, does)  # its name, its weight and its tags

    def __call__(self, user: Any) -> None:
        """Play the session of the task, as Locust calls it."""
        user.play_session(self)


def script(path: str | Path) -> SessionTask:
    """The task to play a YAML script, for `tasks`. The path is seen from the file of the class that has the task."""
    return SessionTask(Path(path))


def as_sessions(tasks: Iterable[Any]) -> list[Any]:
    """Tasks as Locust has collected them, each function among them as a session. TaskSets are left: see `tasks_of`."""
    sessions: dict[Any, SessionTask] = {}
    return [
        task if isinstance(task, SessionTask | type) else sessions.setdefault(task, SessionTask(task)) for task in tasks
    ]


def tasks_of(user_class: Any) -> list[SessionTask]:
    """The different sessions of a realtime user's class. Raises UsageError where there is none, or another task."""
    where = f"{user_class.__name__} in {inspect.getfile(user_class)}"
    tasks = list(dict.fromkeys(user_class.declared_tasks))
    if any(isinstance(task, type) for task in tasks):
        raise UsageError(f"{where} has a TaskSet: each task of a RealtimeUser is one session, so make it a method")
    if not tasks:
        raise UsageError(f'{where} has nothing to play: give it script = "FILE.yaml", or a method that is a @task')
    return tasks


def script_path(user_class: type, task: SessionTask, path: Path) -> Path:
    """Return the path of a script, relative to the file of the class that defines the task."""
    owners = [base for base in user_class.__mro__ if task in getattr(base, "declared_tasks", ())]
    return (Path(inspect.getfile(owners[-1])).parent / path).resolve()


def rehearsed(name: str, method: Task, user: Callable[[], Caller], settings: Mapping[str, Any]) -> Script:
    """The script that a task comes to. `user` makes one; `settings`: the keys of a script's file, without `steps`.

    `digest` is that of the file of the method, of the settings, and of every file that they name. Raises ScriptError
    for what a YAML script could not say either, and for a task that fails; UsageError for settings of that kind.
    """
    path = file_of(method)
    reader = StepReader(path.parent)
    rehearsal = TaskRecorder(reader, StepRules(session_of(script_settings(settings, path.parent))))
    try:
        run_task(user(), method, rehearsal)
    except UsageError as error:
        raise at_its_line(error, path, name) from error
    except Exception as error:  # it is the user's code, which may raise anything
        problem = f"{name} fails in its rehearsal, without a service: {type(error).__name__}: {error}"
        raise ScriptError(path, _line(error, path), problem) from error
    if not any(step.plays_turn for step in rehearsal.steps):
        line = inspect.unwrap(method).__code__.co_firstlineno
        raise ScriptError(path, line, f"{name} has no turn: it needs a text, audio, request_response or wait_for")
    try:
        built = build_script(path, settings, rehearsal.steps, whole=rehearsal.whole)
    except UsageError as error:
        raise ScriptError(path, None, f"{name}: {error}") from error
    played = {key: value for key, value in settings.items() if key != JUDGED}
    digest = hashlib.sha256(f"{built.digest} {played!r}".encode()).hexdigest()
    return replace(built, name=name, digest=digest, task=method, reader=reader)


def file_of(made: Any) -> Path:
    """The file in which a class stands, or a method, whatever decorates it."""
    return Path(inspect.getfile(inspect.unwrap(made))).resolve()


def at_its_line(error: UsageError, path: Path, name: str) -> ScriptError:
    """An error of a task, or of what else a user does, where it arose in a file."""
    return ScriptError(path, _line(error, path), f"{name}: {error}")


def of_class(user_class: Any, problem: str) -> ScriptError:
    """A problem of a class, at its first line where that is known."""
    try:
        line = inspect.getsourcelines(user_class)[1]
    except OSError:  # a class that was not written as one
        line = None
    return ScriptError(file_of(user_class), line, f"{user_class.__name__}: {problem}")


def _line(error: BaseException, path: Path) -> int | None:
    """The line of the file in which an error arose, or that called what raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno for frame in reversed(frames) if Path(frame.filename).resolve() == path), None)


# What a method does in the session that it is.


class SessionEnded(BaseException):
    """Leaves a task whose session is over. No Exception, so that `except Exception` in the task lets it pass."""


class Caller:
    """The caller who does a task: each of these methods takes a step of the call under way."""

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

    def text(self, text: str, *, name: str = "", **options: Any) -> Turn:
        """Take a text turn. It goes on when this returns; who asks the turn what came of it waits for its end.

        `options`: `image`, a PNG or JPEG; `output`, `instructions`, `max_output_tokens` of this turn's answer;
        `expected_reply`; and `success`, as in a script, or a function of the turn, asked once that has ended well.
        """
        return self._take_turn("text", text=text, name=name, **options)

    def audio(self, wavs: Wavs, *, name: str = "", **options: Any) -> Turn:
        """Take a voice turn: a WAV, or one of several. Paths are seen from the folder of the file with the task.

        `options`: `chunk_ms`, `paced`, `speech` ({"start": …, "end": …}, in seconds), `transcript`, what is said in
        it, and what `text` takes for answers.
        """
        return self._take_turn("audio", audio=wavs, name=name, **options)

    def request_response(self, *, name: str = "", **response: Any) -> Turn:
        """Request a response without new input.

        `response`: `output`, `instructions`, `max_output_tokens`; `conversation`, `input` and `metadata`;
        `expected_reply` and `success`, as `text` has them.
        """
        return self._take_turn("request_response", name=name, **response)

    def wait_for(self, what: str = "greeting", *, name: str = "", **options: Any) -> Turn:
        """Wait, as the first turn of a call, until the service has greeted its caller, whom nobody asked to.

        `options`: `expected_reply` and `success`, as `text` has them.
        """
        return self._take_turn("wait_for", wait_for=what, name=name, **options)

    def message(self, role: str, text: str, image: str | Path | None = None) -> None:
        """Let the last turn end, then add a message to the conversation, which asks for no answer.

        `role`: system, assistant or user; only the user's may have an image, a PNG or JPEG.
        """
        self._take("message", role=role, text=text, image=image)

    def send(self, event: Mapping[str, Any]) -> None:
        """Send an event in the words of the service, at once. It is no turn's, and nothing is waited for."""
        self._take("send", send=event)

    def interrupt(self, *, audio: Wavs | None = None, name: str = "", **options: Any) -> Turn | None:
        """Interrupt the reply to the last turn while it is played: by speaking, or, without `audio`, by the client.

        `options`: `after` (seconds of the reply that were played), `after_share` or `after_text` (of its
        transcript) say when; `verify_truncation` checks that the service keeps nothing beyond what was heard; of what
        is said also what `audio` takes. What is said is a turn.
        """
        return self._take("interrupt", audio=audio, name=name, **options)

    def sound(self, wav: str | Path, *, kind: str, **options: Any) -> None:
        """Let a sound be heard that is meant neither to interrupt a reply nor to get one.

        `kind`: `backchannel`, `noise` or `talking_to_others`; `options`: when in the reply to the last turn, as in
        `interrupt`; or `during="silence"`, once that was heard to its end.
        """
        self._take("sound", audio=wav, kind=kind, **options)

    def pause(self, seconds: float | None = None, **drawn: Any) -> None:
        """Let the last turn end, then be silent: for so many seconds, or for as long as is drawn for each session.

        `drawn`: `median`, `sigma` and `max` of a log-normal distribution; or `file`, one of whose numbers is taken.
        """
        self._take("pause", pause=seconds, **drawn)

    def expect(self, event: str, within: float) -> None:
        """Wait for an event of the last turn, which fails where that does not come; one that came before counts.

        `event`: one of `bench.plan.steps.EXPECTED_EVENTS`. `within`: seconds, from when the step before was sent; after
        `audio` from the end of the WAV, with the silence that it ends in; after another `expect` from when that was
        met.
        """
        self._take("expect", event=event, within=within)

    def _take_turn(self, verb: str, **given: Any) -> Turn:
        turn = self._take(verb, **given)
        assert turn is not None, f"{verb} is a turn"
        return turn

    def _take(self, verb: str, **given: Any) -> Turn | None:
        if self._call is None:
            raise UsageError(f"there is no session here: call {', '.join(kind.verb for kind in KINDS)} inside a @task")
        return self._call.take(verb, **given)


class CallSteps(ABC):
    """Takes the steps of one call, one after another. A turn without a name is called `turn_<number>`."""

    def __init__(self, reader: StepReader, rules: StepRules) -> None:
        self._reader, self._rules = reader, rules
        self.turns = 0
        """How many turns were taken."""

    def take(self, verb: str, *, name: str = "", success: Any = None, **given: Any) -> Turn | None:
        """Take a step, and return it where it is a turn. Raises UsageError for what a script could not say."""
        judge = (lambda turn: success(Turn(turn.turn, observation=turn))) if callable(success) else None
        step = self._reader.read(verb, name=name or None, success=None if judge else success, **given)
        turn = None
        if is_turn(step):
            self.turns += 1
            step, turn = replace(step, name=name or f"turn_{self.turns}", judge=judge), self.taken_turn()
        for key, problem in self._rules.problems(step):
            raise UsageError(f"{key} {problem}")
        self.play(step)
        return turn

    @abstractmethod
    def play(self, step: Step) -> None:
        """Play a step. Raises SessionOver where none is wanted any more."""

    @abstractmethod
    def taken_turn(self) -> Turn:
        """Make what a task may ask after the turn that it takes now."""


class TaskRecorder(CallSteps):
    """Notes the steps of a task, without a session."""

    def __init__(self, reader: StepReader, rules: StepRules) -> None:
        super().__init__(reader, rules)
        self.steps: list[Step] = []

    @property
    def whole(self) -> bool:
        """Whether the task came to its end."""
        return len(self.steps) < MAX_REHEARSED

    def play(self, step: Step) -> None:
        self.steps.append(step)
        if not self.whole:
            raise SessionEnded

    def taken_turn(self) -> Turn:
        return Turn(self.turns)


def run_task(user: Caller, task: Callable[[Any], object], call: CallSteps) -> Exception | None:
    """Let a user do a task until it or the session is over. Returns the task's word to Locust (StopUser, …), if any."""
    user._call = call
    try:
        task(user)
    except SessionEnded:
        return None
    except Exception as error:  # Locust's words have no base of their own
        if is_locust_word(error):  # it waits until the session is closed
            return error
        raise
    finally:
        user._call = None
    return None


def is_locust_word(error: Exception) -> bool:
    """Whether an exception is what a user has to say to Locust (StopUser, RescheduleTask, …), and no fault."""
    return type(error).__module__ == "locust.exception"


class Turn:
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
        """How it ended: `ok`, or one of the outcomes of docs/metrics.md. In a rehearsal it is `ok`."""
        return turn.outcome if (turn := self._over()) else "ok"

    @property
    def input_text(self) -> str:
        """The words of the caller's speech, where the session transcribes it; "" where not, and in a rehearsal."""
        return turn.input_text if (turn := self._over()) else ""

    @property
    def reply_text(self) -> str:
        """The words of the reply; "" in a rehearsal."""
        return turn.reply_text if (turn := self._over()) else ""

    @property
    def metrics(self) -> Mapping[str, float]:
        """The turn's metrics that are times, in ms, by their names; none in a rehearsal."""
        times_ns = turn.metrics_ns() if (turn := self._over()) else {}
        return {name: ns / NS_PER_MS for name, ns in times_ns.items()}

    def _over(self) -> TurnObservation | None:
        """Wait for its end. None in a rehearsal."""
        if self._observation is None and self._wait is not None:
            self._wait()
        return self._observation
