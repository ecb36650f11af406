"""Defines the Locust user: each of its tasks is one session, and it plays session after session.

from locust import task
from rtbench import RealtimeUser, script

class Caller(RealtimeUser):                     # one YAML script
    script = "scripts/text_turns.yaml"          # seen from this file's folder

class Mixed(RealtimeUser):                      # several, with Locust's weights
    tasks = {script("scripts/text_turns.yaml"): 3, script("scripts/voice_turns.yaml"): 1}

class Shopper(RealtimeUser):                    # or Python
    session = {"voice": "alloy", "turn_detection": "server_vad"}

    @task
    def order(self):
        self.text("Hello", name="greeting")
        self.expect("response_created", within=5)
        self.audio("audio/opening_hours.wav", name="hours")
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import gevent
from gevent import GreenletExit
from locust import User
from locust.user.task import LOCUST_STATE_STOPPING

from bench.clock import monotonic_ns
from bench.errors import UsageError
from bench.load.lifecycle import RunRefused
from bench.load.planning.load_model import IN_SCENARIO
from bench.load.planning.tasks import Caller, SessionTask, as_sessions, at_its_line, file_of, is_locust_word, script
from bench.load.runners import locust_events
from bench.load.runners.role import ProcessRole
from bench.plan.script import SETTINGS
from bench.units import NS_PER_S

__all__ = ["RealtimeUser", "script"]

IDLE_S = 0.1


class RealtimeUser(Caller, User):  # type: ignore[misc]  # Locust is not typed
    """One simulated caller. It does one of its tasks, which is one session, pauses, and does the next.

    A task that is a method is rehearsed before the run, without a service and without `on_start`: what it says then is
    known and prepared. When its session is over (refused, timed out, the run ends) the next step leaves the method.
    Wait with `pause`: while a task sleeps by itself, its session sends and receives nothing.

    What a script's file says beside its steps (`session`, `timeouts`, `tools`, …: the keys of
    `bench.plan.script.Script`) is for such tasks an attribute of the class, of the same name.

    `arrival_rate`, `arrival_pattern`, `max_concurrent` and `stages` do what the options of the same names do. The
    options win; see docs/load.md.

    A class that has both a `script` and methods that are tasks plays both, the script with the weight of one task.

    In a run that compares targets a user plays a session at each of them, at once. Its task is then done by as many
    users: itself, and a copy (`copy.copy`) for each further target, made at its first session and kept. So attributes
    that a task sets are each copy's own; what a list or a dict among them holds is shared.
    """

    abstract = True
    script: ClassVar[str | Path] = ""
    """A YAML script that is played, instead of the tasks that the class inherits."""

    declared_tasks: ClassVar[tuple[Any, ...]] = ()
    """All tasks of the class, for Locust takes those out of `tasks` that `--tags` leaves out."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if path := vars(cls).get("script"):
            inherited = {task for base in cls.__bases__ for task in getattr(base, "tasks", ())}
            cls.tasks = [script(path), *(task for task in cls.tasks if task not in inherited)]
        cls.tasks = as_sessions(cls.tasks)
        cls.declared_tasks = tuple(cls.tasks)

    @classmethod
    def scenario_name(cls) -> str:
        return file_of(cls).stem

    @classmethod
    def settings(cls) -> dict[str, Any]:
        return {key: value for key in SETTINGS.fields if (value := getattr(cls, key)) is not None}

    # Session after session.

    def run(self) -> None:
        """Live as a user, as Locust asks. What fails ends the run, which else would wait for this user."""
        self._copies = ()
        for name in ("on_start", "on_stop"):
            setattr(self, name, partial(self._guard, name, getattr(self, name)))
        super().run()

    def _guard(self, name: str, work: Callable[[], object]) -> None:
        try:
            work()
        except UsageError as error:
            self._give_up(error)
        except Exception as error:  # it is the user's code, which may raise anything
            if is_locust_word(error):
                raise
            problem = f"{name} fails: {type(error).__name__}: {error}"
            self._give_up(UsageError(problem).with_traceback(error.__traceback__))

    def _give_up(self, error: UsageError) -> NoReturn:
        """Leave the user, and have the run ended. Of all exceptions Locust lets this one pass without a traceback."""
        named = at_its_line(error, file_of(type(self)), type(self).__name__)
        self.environment.rtbench.tell(RunRefused(str(named)))
        raise GreenletExit

    def play_session(self, task: SessionTask) -> None:
        """Play one session in each arm, at once, and pause after them."""
        role: ProcessRole = self.environment.rtbench
        live = role.live
        if live is None:
            self._rest(IDLE_S)
            return
        try:
            played = live.run_pair(type(self), task, self)
        except UsageError as error:
            self._give_up(error)
        except Exception:  # whatever it is, Locust shows it
            self._rest(live.session_pause_s)  # and goes on at once after an error
            raise
        self._rest(live.session_pause_s if played else IDLE_S)

    def _rest(self, seconds: float) -> None:
        """Wait, but not for a run that is ending or a user who is asked to go."""
        until_ns = monotonic_ns() + int(seconds * NS_PER_S)
        role: ProcessRole = self.environment.rtbench
        while (left_ns := until_ns - monotonic_ns()) > 0 and not self.is_leaving():
            if seconds > IDLE_S and (role.live is None or role.live.sessions.ending):
                return
            gevent.sleep(min(left_ns / NS_PER_S, IDLE_S))

    def stop(self, force: bool = False) -> bool:
        """Stop, as Locust asks, unless that goes on already: a run's end may come from two sides at once."""
        return False if self.is_leaving() and not force else bool(super().stop(force))

    def is_leaving(self) -> bool:
        return bool(self._state == LOCUST_STATE_STOPPING)


locust_events.register()
for name in (*SETTINGS.fields, *IN_SCENARIO):
    setattr(RealtimeUser, name, None)  # nothing is said
