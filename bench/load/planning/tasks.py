"""The tasks of a realtime user. Each task is one session. It runs a YAML script, or a method of the
user's class.

This module does not import Locust. For Locust, a task is a callable that takes a user, has a name,
and may have tags.

A method runs the steps of its session one after another: it calls methods of `Caller`. The method
is rehearsed once before the run, without a service, so that its turns are known and its recordings
are loaded before the first session. In a session, each step runs when the method calls it: see
`StepRunner` in `bench/load/execution/call.py`.
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

from bench.base.errors import ScriptError, UsageError
from bench.base.units import NS_PER_MS
from bench.observe.observation import TurnObservation
from bench.plan.script import JUDGED, Script, Task, build_script, script_settings, session_of
from bench.plan.steps import KINDS, StepReader, StepRules, is_turn
from bench.plan.synthesizer import SpeechSource
from bench.plan.turns import Step

MAX_RECORDED_STEPS = 100
"""The maximum number of steps that a rehearsal records. It is limited because a task may run
steps without end."""

Wav = str | Path | Mapping[str, str]
"""The path of a WAV, or a text to say: `{"say": "Hello"}`."""
Wavs = Wav | Sequence[Wav]


class SessionTask:
    """A task. One run of it is one session. `does` is the path of a script, or a method of the
    user's class.
    """

    def __init__(self, does: Path | Task) -> None:
        self.does = does
        if isinstance(does, Path):
            self.__name__ = does.stem
        else:
            functools.update_wrapper(self, does)  # copies its name, weight and tags

    def __call__(self, user: Any) -> None:
        """Run a session of this task. Locust calls this method."""
        user.run_session(self)


def script(path: str | Path) -> SessionTask:
    """Return a task that runs a YAML script, for `tasks` of a user class, relative to the folder
    of its file.
    """
    return SessionTask(Path(path))


def as_sessions(tasks: Iterable[Any]) -> list[Any]:
    """Make each function that Locust collected a `SessionTask`. A TaskSet stays, because
    `tasks_of` refuses it.
    """
    sessions: dict[Any, SessionTask] = {}
    return [
        (
            task
            if isinstance(task, SessionTask | type)
            else sessions.setdefault(task, SessionTask(task))
        )
        for task in tasks
    ]


def tasks_of(user_class: Any) -> list[SessionTask]:
    """Return the tasks of a user class, each once, without those that `--tags` excludes. Raise
    UsageError if none.
    """
    where = f"{user_class.__name__} in {inspect.getfile(user_class)}"
    tasks = [task for task in dict.fromkeys(user_class.declared_tasks) if task in user_class.tasks]
    if any(isinstance(task, type) for task in tasks):
        raise UsageError(
            f"{where} has a TaskSet: each task of a RealtimeUser is one session, so make it a"
            " method"
        )
    if not tasks:
        raise UsageError(f'{where} has no task: set script = "FILE.yaml", or add a @task method')
    return tasks


def script_path(user_class: type, task: SessionTask, path: Path) -> Path:
    """Return the absolute path of a script. A relative path starts at the folder of the class
    that defines the task.
    """
    owners = [base for base in user_class.__mro__ if task in getattr(base, "declared_tasks", ())]
    return (Path(inspect.getfile(owners[-1])).parent / path).resolve()


def recorded_steps(
    name: str, method: Task, user: Callable[[], Caller], settings: Mapping[str, Any]
) -> Script:
    """Rehearse a task, and return a script that contains its steps.

    `user` is a function that makes a user. `settings` are the keys of a script's file, without
    `steps`. The digest of the script covers the file of the method, the settings, and all files
    that these name. Raise ScriptError if the task fails, or has a step that is not allowed in a
    YAML script. Raise UsageError if a setting is not allowed in a YAML script.
    """
    path = file_of(method)
    parts = script_settings(settings, path.parent)
    reader = StepReader(path.parent, SpeechSource(path, parts.get("synthesizer")))
    rehearsal = TaskRecorder(reader, StepRules(session_of(parts)))
    try:
        run_task(user(), method, rehearsal)
    except UsageError as error:
        raise at_its_line(error, path, name) from error
    except Exception as error:  # the user's code may raise anything
        problem = (
            f"{name} fails in its rehearsal (a dry run without a service): {type(error).__name__}:"
            f" {error}"
        )
        raise ScriptError(path, _line(error, path), problem) from error
    if not any(step.is_turn for step in rehearsal.steps):
        line = inspect.unwrap(method).__code__.co_firstlineno
        raise ScriptError(
            path, line, f"{name} has no turn: it needs a text, audio, request_response or wait_for"
        )
    try:
        built = build_script(path, settings, rehearsal.steps, is_complete=rehearsal.is_complete)
    except UsageError as error:
        raise ScriptError(path, None, f"{name}: {error}") from error
    run_settings = {key: value for key, value in settings.items() if key != JUDGED}
    digest = hashlib.sha256(f"{built.digest} {run_settings!r}".encode()).hexdigest()
    return replace(built, name=name, digest=digest, task=method, reader=reader)


def file_of(definition: Any) -> Path:
    """Return the file that defines a class or method. Decorators of a method have no effect."""
    return Path(inspect.getfile(inspect.unwrap(definition))).resolve()


def at_its_line(error: UsageError, path: Path, name: str) -> ScriptError:
    """Convert an error in the user's code to a ScriptError, which states the line of the file
    that caused the error.
    """
    return ScriptError(path, _line(error, path), f"{name}: {error}")


def of_class(user_class: Any, problem: str) -> ScriptError:
    """Convert a problem with a class to a ScriptError, which states the first line of the class
    if that is known.
    """
    try:
        line = inspect.getsourcelines(user_class)[1]
    except OSError:  # a class without source code
        line = None
    return ScriptError(file_of(user_class), line, f"{user_class.__name__}: {problem}")


def _line(error: BaseException, path: Path) -> int | None:
    """Return the number of the innermost line of this file in the error's traceback; None if
    there is no such line.
    """
    frames = traceback.extract_tb(error.__traceback__)
    return next(
        (frame.lineno for frame in reversed(frames) if Path(frame.filename).resolve() == path), None
    )


# The steps of a method, in its session.


class SessionEnded(BaseException):
    """An exception that ends a task when its session has ended. `except Exception` in the task
    does not catch it.
    """


class Caller:
    """The caller who runs a task.

    The method `text` and the public methods after it run one step of the current call.
    """

    _call: CallSteps | None = None
    """The steps of the current call; None if there is no call."""
    _copies: Sequence[Caller] = ()

    def is_leaving(self) -> bool:
        """Return whether the user must leave. If so, its sessions end after the open turn."""
        return False

    def doubles(self, target_count: int) -> Sequence[Caller]:
        """Return the user who runs this user's tasks with each target: this user itself, and
        copies of it.
        """
        self._copies = [
            *self._copies,
            *(copy.copy(self) for _ in range(target_count - 1 - len(self._copies))),
        ]
        return [self, *self._copies]

    def text(self, text: str, *, name: str = "", **options: Any) -> Turn:
        """Run a text turn. The turn may still be open when this method returns. Reading its results
        waits for its end.

        `options` are `image`, a PNG or JPEG; `output`, `instructions` and `max_output_tokens` for
        the response of this turn; `expected_reply`; and `success`. `success` is a condition as in a
        script, or a function that gets the turn; it is called if the turn succeeded.
        """
        return self._take_turn("text", text=text, name=name, **options)

    def audio(self, wavs: Wavs, *, name: str = "", **options: Any) -> Turn:
        """Run a voice turn with a WAV, or with one of several. Relative paths start at the folder
        of the task's file.

        Instead of a path, `{"say": "Hello"}` is a text; the class needs `synthesizer`, and `rtbench
        synthesize FILE` makes the WAV.

        `options` are `chunk_ms`; `paced`; `speech` ({"start": …, "end": …}, in seconds);
        `transcript`, the spoken text; and the options of `text` about the response.
        """
        return self._take_turn("audio", audio=wavs, name=name, **options)

    def request_response(self, *, name: str = "", **response: Any) -> Turn:
        """Request a response without new input from the caller.

        `response` are `output`, `instructions`, `max_output_tokens`, `conversation`, `input`,
        `metadata`, `expected_reply` and `success`, as in `text` and in a script.
        """
        return self._take_turn("request_response", name=name, **response)

    def wait_for(self, what: str = "greeting", *, name: str = "", **options: Any) -> Turn:
        """Wait until the service has greeted its caller without a request. This must be the first
        turn of a call.

        `options` are `expected_reply` and `success`, as in `text`.
        """
        return self._take_turn("wait_for", wait_for=what, name=name, **options)

    def message(self, role: str, text: str, image: str | Path | None = None) -> None:
        """Wait until the last turn has ended, and then add a message to the conversation. This
        requests no response.

        `role` is system, assistant or user. Only a message of the user may have an image, which is
        a PNG or JPEG.
        """
        self._take("message", role=role, text=text, image=image)

    def send(self, event: Mapping[str, Any]) -> None:
        """Send an event in the service's own format, at once, and wait for no response. It
        belongs to no turn.
        """
        self._take("send", send=event)

    def interrupt(
        self, *, audio: Wavs | None = None, name: str = "", **options: Any
    ) -> Turn | None:
        """Interrupt the reply to the last turn while it is played.

        If `audio` is given, the caller speaks. Otherwise the client interrupts the reply. One of
        three options sets the instant: `after` is the seconds of the reply that were played,
        `after_share` is the share of the reply that was played, and `after_text` is a text in the
        reply's transcript. `verify_truncation` checks that the service keeps only what was played.
        An interruption by speech is a turn, and also has the options of `audio`.
        """
        return self._take("interrupt", audio=audio, name=name, **options)

    def sound(self, wav: Wav, *, kind: str, **options: Any) -> None:
        """Play a sound that should neither interrupt a reply nor get a reply.

        `kind` is `backchannel`, `noise` or `talking_to_others`. `options` set the instant. It is in
        the reply to the last turn, as in `interrupt`; or, with `during="silence"`, it is after the
        reply has been played to its end.
        """
        self._take("sound", audio=wav, kind=kind, **options)

    def pause(self, seconds: float | None = None, **distribution: Any) -> None:
        """Wait until the last turn has ended, and then be silent: for `seconds`, or for a random
        time.

        A random time is drawn for each session. `distribution` are either `median`, `sigma` and
        `max` of a log-normal distribution, or `file`, a file of numbers, one of which is drawn.
        """
        self._take("pause", pause=seconds, **distribution)

    def expect(self, event: str, within: float) -> None:
        """Wait for an event of the last turn. If it is not received in time, the turn fails.

        An earlier event counts, too. `event` is one of `bench.plan.steps.EXPECTED_EVENTS`. `within`
        is the limit in seconds. The limit starts when the previous step was sent; after `audio`, at
        the end of the WAV, including its trailing silence; after another `expect`, at the event for
        which that step waited.
        """
        self._take("expect", event=event, within=within)

    def _take_turn(self, verb: str, **options: Any) -> Turn:
        turn = self._take(verb, **options)
        assert turn is not None, f"{verb} is a turn"
        return turn

    def _take(self, verb: str, **options: Any) -> Turn | None:
        if self._call is None:
            raise UsageError(
                f"there is no session here: call {', '.join(kind.verb for kind in KINDS)} inside a"
                " @task"
            )
        return self._call.run_or_record(verb, **options)


# The same method of a task runs twice: in its rehearsal, with `TaskRecorder`, and in each session,
# with `StepRunner`. Both read and check each step by the rules of scripts, so a step that a script
# may not have fails in the rehearsal, with the line of the user's file.
class CallSteps(ABC):
    """The base class of the two ways to process the steps of a task: to run them in a session, or
    to record them.

    The steps of a call are processed one after another. A turn without a name gets the name
    `turn_<number>`.
    """

    def __init__(self, reader: StepReader, rules: StepRules) -> None:
        self._reader = reader
        self._rules = rules
        self.turns = 0
        """The number of turns that have started."""

    def run_or_record(
        self, verb: str, *, name: str = "", success: Any = None, **options: Any
    ) -> Turn | None:
        """Run or record a step. Return its turn, if any. Raise UsageError if the step is not
        allowed in a script.
        """
        judge = (
            (lambda turn: success(Turn(turn.turn, observation=turn))) if callable(success) else None
        )
        step = self._reader.read(
            verb, name=name or None, success=None if judge else success, **options
        )
        turn = None
        if is_turn(step):
            self.turns += 1
            step = replace(step, name=name or f"turn_{self.turns}", judge=judge)
            turn = self.taken_turn()
        for key, problem in self._rules.problems(step):
            raise UsageError(f"{key} {problem}")
        self.run(step)
        return turn

    @abstractmethod
    def run(self, step: Step) -> None:
        """Run or record a step. Raise SessionEnded if the session accepts no more steps."""

    @abstractmethod
    def taken_turn(self) -> Turn:
        """Return the object from which a task reads the results of the turn that starts now."""


class TaskRecorder(CallSteps):
    """A recorder of the steps of a task in its rehearsal, without a session."""

    def __init__(self, reader: StepReader, rules: StepRules) -> None:
        super().__init__(reader, rules)
        self.steps: list[Step] = []

    @property
    def is_complete(self) -> bool:
        """True if the task ended after fewer than MAX_RECORDED_STEPS steps."""
        return len(self.steps) < MAX_RECORDED_STEPS

    def run(self, step: Step) -> None:
        self.steps.append(step)
        if not self.is_complete:
            raise SessionEnded

    def taken_turn(self) -> Turn:
        return Turn(self.turns)


def run_task(user: Caller, task: Callable[[Any], object], call: CallSteps) -> Exception | None:
    """Run a user's task until it or its session has ended. Return its exception for Locust
    (StopUser, …), if any.
    """
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
    """Return whether an exception is a message to Locust (StopUser, RescheduleTask, …), and no
    error.
    """
    return type(error).__module__ == "locust.exception"


class Turn:
    """A turn of a task. It may still be open while the task continues. Reading its results waits
    for its end.

    `number` is its number in the session, from 1. `wait` waits for its end; None in a rehearsal,
    without replies.
    """

    def __init__(
        self,
        number: int,
        wait: Callable[[], None] | None = None,
        observation: TurnObservation | None = None,
    ) -> None:
        self.number = number
        self._wait = wait
        self._observation = observation

    def set_observation(self, turn: TurnObservation) -> None:
        """Set the turn's observation, from which the results are read."""
        self._observation = turn

    @property
    def outcome(self) -> str:
        """The outcome of the turn: `ok`, or another outcome of docs/metrics.md. In a rehearsal,
        it is `ok`.
        """
        return turn.outcome if (turn := self._over()) else "ok"

    @property
    def input_text(self) -> str:
        """The transcript of the caller's speech; "" in a rehearsal, or if the session does not
        transcribe speech.
        """
        return turn.input_text if (turn := self._over()) else ""

    @property
    def reply_text(self) -> str:
        """The text of the reply. In a rehearsal, it is ""."""
        return turn.reply_text if (turn := self._over()) else ""

    @property
    def metrics(self) -> Mapping[str, float]:
        """The turn's metrics that are durations, in ms, by name. In a rehearsal, there are none."""
        times_ns = turn.metrics_ns() if (turn := self._over()) else {}
        return {name: ns / NS_PER_MS for name, ns in times_ns.items()}

    def _over(self) -> TurnObservation | None:
        """Wait until the turn has ended. Return its observation; None in a rehearsal."""
        if self._observation is None and self._wait is not None:
            self._wait()
        return self._observation
