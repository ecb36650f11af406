"""The Locust user. Each of its tasks is one session, and it runs one session after another.

from locust import task
from rtbench import RealtimeUser, script

class Caller(RealtimeUser):                     # one YAML script
    script = "scripts/text_turns.yaml"          # relative to the folder of this file

class Mixed(RealtimeUser):                      # several scripts, with Locust's weights
    tasks = {script("scripts/text_turns.yaml"): 3, script("scripts/voice_turns.yaml"): 1}

class Shopper(RealtimeUser):                    # or Python
    session = {"voice": "alloy", "turn_detection": "server_vad"}

    @task
    def order(self):
        self.text("Hello", name="greeting")
        self.expect("response_created", within=5)
        self.audio("audio/opening_hours.wav", name="hours")
"""

from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import gevent
from gevent import GreenletExit
from locust import User
from locust.user.task import LOCUST_STATE_STOPPING

from bench.base.clock import monotonic_ns
from bench.base.errors import UsageError
from bench.base.units import NS_PER_S
from bench.load.lifecycle import RunRefused
from bench.load.planning.load_model import IN_SCENARIO
from bench.load.planning.tasks import (
    Caller,
    SessionTask,
    as_sessions,
    at_its_line,
    file_of,
    is_locust_word,
    script,
)
from bench.load.runners.role import ProcessRole
from bench.plan.script import SETTINGS

__all__ = ["RealtimeUser", "script"]

IDLE_S = 0.1


class RealtimeUser(Caller, User):  # type: ignore[misc]  # Locust is not typed
    """One simulated caller. It runs one of its tasks, which is one session, pauses, and runs the
    next task.

    If a task is a method, it is rehearsed before the run, without a service and without `on_start`,
    so that its input is known and prepared. When its session has ended (refused, timed out, the run
    ends), the next step leaves the method. Use `pause` to wait: if a task sleeps in another way,
    its session sends and receives nothing meanwhile.

    Such a task has the settings of a script's file (`session`, `timeouts`, `tools`, …: see
    `bench.plan.script.Script`). They are class attributes with the same names.
    `timeouts` replaces those of YAML scripts, too.

    `arrival_rate`, `arrival_pattern`, `max_concurrent` and `stages` have the same effect as the
    options with these names. If an option is given, it has priority; see docs/load.md.

    A class with both a `script` and methods that are tasks runs both. The script has the weight of
    one task.

    In a run that compares targets, a user runs a session with each target at the same time. Each
    target has its own user, which runs the task: the first is the user itself, and the others are
    copies of it (`copy.copy`). A copy is made before its first session, and is kept. So each copy
    has its own attributes, but lists and dicts that were in an attribute before are shared.
    """

    abstract = True
    script: str | Path = ""
    """A YAML script. It replaces the tasks that the class inherits."""

    in_turn = False
    """True if all users of the class run its tasks in turn, so that a process runs each of them
    equally often.

    If each user chose at random, short tasks would run more often than long ones.
    """

    declared_tasks: tuple[Any, ...] = ()
    """All tasks of the class. The attribute `tasks` lacks those that the option `--tags`
    excludes."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if path := vars(cls).get("script"):
            inherited = {task for base in cls.__bases__ for task in getattr(base, "tasks", ())}
            cls.tasks = [script(path), *(task for task in cls.tasks if task not in inherited)]
        cls.tasks = as_sessions(cls.tasks)
        cls.declared_tasks = tuple(cls.tasks)
        cls._sessions_begun = count()

    @classmethod
    def scenario_name(cls) -> str:
        return file_of(cls).stem

    @classmethod
    def settings(cls) -> dict[str, Any]:
        return {key: value for key in SETTINGS.fields if (value := getattr(cls, key)) is not None}

    # Sessions.

    def run(self) -> None:
        """Run the user. Locust calls this. An error ends the run, because it would otherwise
        wait for this user.
        """
        self._copies = ()
        for name in ("on_start", "on_stop"):
            setattr(self, name, partial(self._guard, name, getattr(self, name)))
        super().run()

    def _guard(self, name: str, work: Callable[[], object]) -> None:
        try:
            work()
        except UsageError as error:
            self._give_up(error)
        except Exception as error:  # the user's code may raise anything
            if is_locust_word(error):
                raise
            problem = f"{name} fails: {type(error).__name__}: {error}"
            self._give_up(UsageError(problem).with_traceback(error.__traceback__))

    def _give_up(self, error: UsageError) -> NoReturn:
        """End this user and the run. Raise GreenletExit, because Locust shows all other
        exceptions with a traceback.
        """
        located_error = at_its_line(error, file_of(type(self)), type(self).__name__)
        self.environment.rtbench.apply(RunRefused(str(located_error)))
        raise GreenletExit

    def run_session(self, task: SessionTask) -> None:
        """Run one session with each target, all at the same time, and then pause."""
        role: ProcessRole = self.environment.rtbench
        live = role.live
        if live is None:
            self._sleep(IDLE_S)
            return
        if self.in_turn:
            task = self.tasks[next(self._sessions_begun) % len(self.tasks)]
        try:
            has_run = live.run_pair(type(self), task, self)
        except UsageError as error:
            self._give_up(error)
        except Exception:  # Locust shows it
            # without this pause, Locust continues at once after an error
            self._sleep(live.session_pause_s)
            raise
        self._sleep(live.session_pause_s if has_run else IDLE_S)

    def _sleep(self, seconds: float) -> None:
        """Wait for this time. Return early if the run is ending or the user must leave."""
        until_ns = monotonic_ns() + int(seconds * NS_PER_S)
        role: ProcessRole = self.environment.rtbench
        while (left_ns := until_ns - monotonic_ns()) > 0 and not self.is_leaving():
            if seconds > IDLE_S and (role.live is None or role.live.sessions.ending):
                return
            gevent.sleep(min(left_ns / NS_PER_S, IDLE_S))

    def stop(self, force: bool = False) -> bool:
        """Stop the user. Do nothing if it is already stopping, because two events can end a run
        at the same time.
        """
        return False if self.is_leaving() and not force else bool(super().stop(force))

    def is_leaving(self) -> bool:
        return bool(self._state == LOCUST_STATE_STOPPING)


for name in (*SETTINGS.fields, *IN_SCENARIO):
    setattr(RealtimeUser, name, None)
