"""The tasks of a realtime user. Each task is one session, of a YAML script or of a method that runs its steps.

Nothing here imports Locust. To Locust, a task is a callable that takes a user, has a name, and may have tags.

A method runs the steps of its session one after another, with the methods of `Caller`. It is rehearsed once, without a
service, so that its turns are known and its recordings are loaded before the first session. In a session, its steps run
as the method makes them: see `StepRunner` in `bench/load/execution/call.py`.
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

MAX_RECORDED_STEPS = 100
"""The maximum number of recorded steps, because a task may continue as long as its session does."""

Wavs = str | Path | Sequence[str | Path]


class SessionTask:
    """A task that is one session. `does`: the path of a script, or a method of the user's class."""

    def __init__(self, does: Path | Task) -> None:
        self.does = does
        if isinstance(does, Path):
            self.__name__ = does.stem
        else:
            functools.update_wrapper(self, does)  # copies its name, weight and tags

    def __call__(self, user: Any) -> None:
        """Run the session of the task. Locust calls this."""
        user.run_session(self)


def script(path: str | Path) -> SessionTask:
    """Return a task, for `tasks`, that runs a YAML script.

    A relative path starts at the folder of the class that has the task.
    """
    return SessionTask(Path(path))


def as_sessions(tasks: Iterable[Any]) -> list[Any]:
    """Return the tasks that Locust collected, each function as a session. A TaskSet stays as it is: see `tasks_of`."""
    sessions: dict[Any, SessionTask] = {}
    return [
        task if isinstance(task, SessionTask | type) else sessions.setdefault(task, SessionTask(task)) for task in tasks
    ]


def tasks_of(user_class: Any) -> list[SessionTask]:
    """Return the distinct sessions of a realtime user's class. Raises UsageError if it has none or has a TaskSet."""
    where = f"{user_class.__name__} in {inspect.getfile(user_class)}"
    tasks = list(dict.fromkeys(user_class.declared_tasks))
    if any(isinstance(task, type) for task in tasks):
        raise UsageError(f"{where} has a TaskSet: each task of a RealtimeUser is one session, so make it a method")
    if not tasks:
        raise UsageError(f'{where} has no task: set script = "FILE.yaml", or add a @task method')
    return tasks


def script_path(user_class: type, task: SessionTask, path: Path) -> Path:
    """Return the path of a script, relative to the file of the class that defines the task."""
    owners = [base for base in user_class.__mro__ if task in getattr(base, "declared_tasks", ())]
    return (Path(inspect.getfile(owners[-1])).parent / path).resolve()


def recorded_steps(name: str, method: Task, user: Callable[[], Caller], settings: Mapping[str, Any]) -> Script:
    """Rehearse a task and return the script of its steps.

    `user`: a function that makes a user. `settings`: the keys of a script's file, without `steps`. The digest of the
    script covers the file of the method, the settings, and every file that they name. Raises ScriptError for steps that
    a YAML script does not allow, and for a task that fails; UsageError for settings that a YAML script does not allow.
    """
    path = file_of(method)
    reader = StepReader(path.parent)
    rehearsal = TaskRecorder(reader, StepRules(session_of(script_settings(settings, path.parent))))
    try:
        run_task(user(), method, rehearsal)
    except UsageError as error:
        raise at_its_line(error, path, name) from error
    except Exception as error:  # the user's code may raise anything
        problem = f"{name} fails in its rehearsal (a dry run without a service): {type(error).__name__}: {error}"
        raise ScriptError(path, _line(error, path), problem) from error
    if not any(step.is_turn for step in rehearsal.steps):
        line = inspect.unwrap(method).__code__.co_firstlineno
        raise ScriptError(path, line, f"{name} has no turn: it needs a text, audio, request_response or wait_for")
    try:
        built = build_script(path, settings, rehearsal.steps, is_complete=rehearsal.is_complete)
    except UsageError as error:
        raise ScriptError(path, None, f"{name}: {error}") from error
    run_settings = {key: value for key, value in settings.items() if key != JUDGED}
    digest = hashlib.sha256(f"{built.digest} {run_settings!r}".encode()).hexdigest()
    return replace(built, name=name, digest=digest, task=method, reader=reader)


def file_of(definition: Any) -> Path:
    """Return the file that defines a class or a method, even if it is decorated."""
    return Path(inspect.getfile(inspect.unwrap(definition))).resolve()


def at_its_line(error: UsageError, path: Path, name: str) -> ScriptError:
    """Return an error of the user's code as a ScriptError, with the line of the file that caused it."""
    return ScriptError(path, _line(error, path), f"{name}: {error}")


def of_class(user_class: Any, problem: str) -> ScriptError:
    """Return a problem of a class as a ScriptError, with the first line of the class if it is known."""
    try:
        line = inspect.getsourcelines(user_class)[1]
    except OSError:  # a class without source code
        line = None
    return ScriptError(file_of(user_class), line, f"{user_class.__name__}: {problem}")


def _line(error: BaseException, path: Path) -> int | None:
    """Return the innermost line of the file in the traceback of an error; None if the file is not in it."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno for frame in reversed(frames) if Path(frame.filename).resolve() == path), None)


# The steps of a method, in its session.


class SessionEnded(BaseException):
    """The signal that leaves a task whose session is over. `except Exception` in the task does not catch it."""


class Caller:
    """The caller who runs a task. Each public method from `text` on runs a step of the current call."""

    _call: CallSteps | None = None
    """None between calls."""
    _copies: Sequence[Caller] = ()

    def is_leaving(self) -> bool:
        """Return whether the user must stop. Its sessions then end after the open turn."""
        return False

    def doubles(self, target_count: int) -> Sequence[Caller]:
        """Return the users who run this user's tasks, one per target.

        The user itself runs the tasks with the first target, and copies of it run them with the others.
        """
        self._copies = [*self._copies, *(copy.copy(self) for _ in range(target_count - 1 - len(self._copies)))]
        return [self, *self._copies]

    def text(self, text: str, *, name: str = "", **options: Any) -> Turn:
        """Run a text turn. The turn is still open when this returns; reading its results waits for its end.

        `options`: `image`, a PNG or JPEG; `output`, `instructions` and `max_output_tokens` of this turn's response;
        `expected_reply`; and `success`, as in a script or as a function of the turn, which is called if the turn ended
        well.
        """
        return self._take_turn("text", text=text, name=name, **options)

    def audio(self, wavs: Wavs, *, name: str = "", **options: Any) -> Turn:
        """Run a voice turn with a WAV, or with one of several. Relative paths start at the folder of the task's file.

        `options`: `chunk_ms`, `paced`, `speech` ({"start": …, "end": …}, in seconds), `transcript` (the spoken text),
        and the options of `text` for responses.
        """
        return self._take_turn("audio", audio=wavs, name=name, **options)

    def request_response(self, *, name: str = "", **response: Any) -> Turn:
        """Request a response without new input.

        `response`: `output`, `instructions`, `max_output_tokens`; `conversation`, `input` and `metadata`;
        `expected_reply` and `success`, as in `text`.
        """
        return self._take_turn("request_response", name=name, **response)

    def wait_for(self, what: str = "greeting", *, name: str = "", **options: Any) -> Turn:
        """Wait, as the first turn of a call, until the service has greeted its caller without a request.

        `options`: `expected_reply` and `success`, as in `text`.
        """
        return self._take_turn("wait_for", wait_for=what, name=name, **options)

    def message(self, role: str, text: str, image: str | Path | None = None) -> None:
        """Wait until the last turn ends, then add a message to the conversation, without requesting a response.

        `role`: system, assistant or user. Only a user's message may have an image, a PNG or JPEG.
        """
        self._take("message", role=role, text=text, image=image)

    def send(self, event: Mapping[str, Any]) -> None:
        """Send an event in the service's own format, at once. It belongs to no turn, and nothing is waited for."""
        self._take("send", send=event)

    def interrupt(self, *, audio: Wavs | None = None, name: str = "", **options: Any) -> Turn | None:
        """Interrupt the reply to the last turn during its playback: by speech, or, without `audio`, by the client.

        `options`: `after` (seconds of the reply that were played), `after_share` or `after_text` (of its transcript)
        set the instant. `verify_truncation` checks that the service keeps nothing beyond what was played. Speech takes
        the options of `audio`, too, and is a turn.
        """
        return self._take("interrupt", audio=audio, name=name, **options)

    def sound(self, wav: str | Path, *, kind: str, **options: Any) -> None:
        """Play a sound that should neither interrupt a reply nor get one.

        `kind`: `backchannel`, `noise` or `talking_to_others`. `options`: the instant in the reply to the last turn, as
        in `interrupt`; or `during="silence"`, after the reply has been played to its end.
        """
        self._take("sound", audio=wav, kind=kind, **options)

    def pause(self, seconds: float | None = None, **distribution: Any) -> None:
        """Wait until the last turn ends, then be silent: for `seconds`, or for a time that is drawn for each session.

        `distribution`: `median`, `sigma` and `max` of a log-normal distribution; or `file`, a file of numbers, of which
        one is chosen.
        """
        self._take("pause", pause=seconds, **distribution)

    def expect(self, event: str, within: float) -> None:
        """Wait for an event of the last turn. The turn fails if the event does not come; an earlier event counts.

        `event`: one of `bench.plan.steps.EXPECTED_EVENTS`. `within`: seconds from when the previous step was sent;
        after `audio`, from the end of the WAV including its trailing silence; after another `expect`, from its event.
        """
        self._take("expect", event=event, within=within)

    def _take_turn(self, verb: str, **options: Any) -> Turn:
        turn = self._take(verb, **options)
        assert turn is not None, f"{verb} is a turn"
        return turn

    def _take(self, verb: str, **options: Any) -> Turn | None:
        if self._call is None:
            raise UsageError(f"there is no session here: call {', '.join(kind.verb for kind in KINDS)} inside a @task")
        return self._call.run_or_record(verb, **options)


class CallSteps(ABC):
    """The base of the two ways in which a task's steps are processed: run in a session, or recorded.

    The steps of a call are processed one after another. A turn without a name is called `turn_<number>`.
    """

    def __init__(self, reader: StepReader, rules: StepRules) -> None:
        self._reader, self._rules = reader, rules
        self.turns = 0
        """The number of turns so far."""

    def run_or_record(self, verb: str, *, name: str = "", success: Any = None, **options: Any) -> Turn | None:
        """Run or record a step. Return its turn if the step is a turn.

        Raises UsageError for a step that a script does not allow.
        """
        judge = (lambda turn: success(Turn(turn.turn, observation=turn))) if callable(success) else None
        step = self._reader.read(verb, name=name or None, success=None if judge else success, **options)
        turn = None
        if is_turn(step):
            self.turns += 1
            step, turn = replace(step, name=name or f"turn_{self.turns}", judge=judge), self.taken_turn()
        for key, problem in self._rules.problems(step):
            raise UsageError(f"{key} {problem}")
        self.run(step)
        return turn

    @abstractmethod
    def run(self, step: Step) -> None:
        """Run or record a step. Raises SessionEnded if the session accepts no more steps."""

    @abstractmethod
    def taken_turn(self) -> Turn:
        """Return the object with which a task reads the results of the turn that it starts now."""


class TaskRecorder(CallSteps):
    """The recorder of a task's steps in a rehearsal, without a session."""

    def __init__(self, reader: StepReader, rules: StepRules) -> None:
        super().__init__(reader, rules)
        self.steps: list[Step] = []

    @property
    def is_complete(self) -> bool:
        """True if the task has reached its end within MAX_RECORDED_STEPS steps."""
        return len(self.steps) < MAX_RECORDED_STEPS

    def run(self, step: Step) -> None:
        self.steps.append(step)
        if not self.is_complete:
            raise SessionEnded

    def taken_turn(self) -> Turn:
        return Turn(self.turns)


def run_task(user: Caller, task: Callable[[Any], object], call: CallSteps) -> Exception | None:
    """Run a user's task until it or the session ends. Return the task's exception for Locust (StopUser, …), if any."""
    user._call = call
    try:
        task(user)
    except SessionEnded:
        return None
    except Exception as error:  # Locust's exceptions for this have no common base
        if is_locust_word(error):  # the exception is raised again after the session is closed
            return error
        raise
    finally:
        user._call = None
    return None


def is_locust_word(error: Exception) -> bool:
    """Return whether an exception is a request of the user to Locust (StopUser, RescheduleTask, …), and not a fault."""
    return type(error).__module__ == "locust.exception"


class Turn:
    """A turn of a task. It may still be open while the task continues; reading its results waits for its end.

    `number`: the number of the turn in its session, from 1. `wait` waits for the end of the turn. It is None in a
    rehearsal, which has no replies.
    """

    def __init__(
        self, number: int, wait: Callable[[], None] | None = None, observation: TurnObservation | None = None
    ) -> None:
        self.number = number
        self._wait, self._observation = wait, observation

    def set_observation(self, turn: TurnObservation) -> None:
        """Set the results of the turn."""
        self._observation = turn

    @property
    def outcome(self) -> str:
        """The outcome: `ok`, or one of the other outcomes of docs/metrics.md. In a rehearsal it is `ok`."""
        return turn.outcome if (turn := self._over()) else "ok"

    @property
    def input_text(self) -> str:
        """The transcript of the caller's speech; "" if the session does not transcribe it, and in a rehearsal."""
        return turn.input_text if (turn := self._over()) else ""

    @property
    def reply_text(self) -> str:
        """The text of the reply; "" in a rehearsal."""
        return turn.reply_text if (turn := self._over()) else ""

    @property
    def metrics(self) -> Mapping[str, float]:
        """The turn's metrics that are durations, in ms, by name; empty in a rehearsal."""
        times_ns = turn.metrics_ns() if (turn := self._over()) else {}
        return {name: ns / NS_PER_MS for name, ns in times_ns.items()}

    def _over(self) -> TurnObservation | None:
        """Wait for the turn's end. Return its observation, or None in a rehearsal."""
        if self._observation is None and self._wait is not None:
            self._wait()
        return self._observation
