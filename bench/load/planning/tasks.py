"""Reads the tasks of a realtime user: each is one session, of a YAML script or of a method that says what is done.

Nothing here imports Locust: to it, a task is anything that can be called with a user, has a name, and may have tags.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.errors import ScriptError, UsageError
from bench.load.planning.caller import Caller, Rehearsal, act
from bench.plan.script import Script, Task, build_script, script_settings, session_of
from bench.plan.steps import Rules, StepReader


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
    """Where a script is: seen from the file of the class, or of the base class from which it has the task."""
    owners = [base for base in user_class.__mro__ if task in getattr(base, "declared_tasks", ())]
    return (Path(inspect.getfile(owners[-1])).parent / path).resolve()


def script_name(user_class: type, method: Task, tasks: int) -> str:
    """The name of a script that is written in Python: the class's, and the method's where the class has more tasks."""
    return user_class.__name__ if tasks == 1 else f"{user_class.__name__}.{method.__name__}"


def rehearsed(name: str, method: Task, user: Callable[[], Caller], settings: Mapping[str, Any]) -> Script:
    """The script that a task comes to. `user` makes one; `settings`: the keys of a script's file, without `steps`.

    `digest` is that of the file of the method, of the settings, and of every file that they name. Raises ScriptError
    for what a YAML script could not say either, and for a task that fails; UsageError for settings of that kind.
    """
    path = file_of(method)
    reader = StepReader(path.parent)
    rehearsal = Rehearsal(reader, Rules(session_of(script_settings(settings, path.parent))))
    try:
        act(user(), method, rehearsal)
    except UsageError as error:
        raise at_its_line(error, path, name) from error
    except Exception as error:  # it is the user's code, which may raise anything
        problem = f"{name} fails in its rehearsal, without a service: {type(error).__name__}: {error}"
        raise ScriptError(path, _line(error, path), problem) from error
    if not any(step.plays_turn for step in rehearsal.steps):
        raise ScriptError(path, _first_line(method), f"{name} has no turn: it needs a say, play or respond")
    try:
        built = build_script(path, settings, rehearsal.steps, whole=rehearsal.whole)
    except UsageError as error:
        raise ScriptError(path, None, f"{name}: {error}") from error
    digest = hashlib.sha256(f"{built.digest} {settings!r}".encode()).hexdigest()
    return replace(built, name=name, digest=digest, task=method, reader=reader)


def file_of(method: Task) -> Path:
    """The file in which a method stands, whatever decorates it."""
    return Path(inspect.getfile(inspect.unwrap(method))).resolve()


def at_its_line(error: UsageError, path: Path, name: str) -> ScriptError:
    """An error of a task, or of what else a user does, where it arose in a file."""
    return ScriptError(path, _line(error, path), f"{name}: {error}")


def of_class(user_class: Any, problem: str) -> ScriptError:
    """A problem of a class, at its first line where that is known."""
    try:
        line = inspect.getsourcelines(user_class)[1]
    except OSError:  # a class that was not written as one
        line = None
    return ScriptError(class_file(user_class), line, f"{user_class.__name__}: {problem}")


def class_file(user_class: type) -> Path:
    """The file in which a class stands."""
    return Path(inspect.getfile(user_class)).resolve()


def _first_line(method: Task) -> int:
    return int(inspect.unwrap(method).__code__.co_firstlineno)


def _line(error: BaseException, path: Path) -> int | None:
    """The line of the file in which an error arose, or that called what raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno for frame in reversed(frames) if Path(frame.filename).resolve() == path), None)
