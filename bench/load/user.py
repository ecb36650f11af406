"""The Locust user: a subclass names a script, and each of its users plays session after session of it.

from bench.load.user import RealtimeUser

class Caller(RealtimeUser):
    script = "scripts/text_turns.yaml"      # beside this file, or an absolute path
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import ClassVar

import gevent
from locust import User, task
from locust.user.task import LOCUST_STATE_STOPPING

from bench.clock import monotonic_ns
from bench.errors import UsageError
from bench.load import runner  # registers our options and listeners with Locust

IDLE_S = 0.1


class RealtimeUser(User):  # type: ignore[misc]  # Locust is not typed
    """One simulated caller. It opens a session, plays the script, closes, pauses, and opens the next."""

    abstract = True
    script: ClassVar[str | Path] = ""
    """The YAML script: a path relative to the file that defines the class, or an absolute one."""

    @classmethod
    def script_path(cls) -> Path:
        if not cls.script:
            raise UsageError(f'{cls.__name__} in {inspect.getfile(cls)} has no script: give it script = "FILE.yaml"')
        return (Path(inspect.getfile(cls)).parent / cls.script).resolve()

    @classmethod
    def scenario_name(cls) -> str:
        """The name of the file that defines the class."""
        return Path(inspect.getfile(cls)).stem

    @task  # type: ignore[untyped-decorator]
    def session(self) -> None:
        """One session, and the pause after it."""
        runs: runner.Runs = self.environment.rtbench
        live = runs.live
        played = live is not None and live.play_session(runs.play_of(type(self)), self._is_leaving)
        self._pause(live.pause_s if live is not None and played else IDLE_S)

    def _pause(self, seconds: float) -> None:
        """Wait, but not for a run that is ending or a user who is asked to go."""
        until_ns = monotonic_ns() + int(seconds * 1e9)
        runs: runner.Runs = self.environment.rtbench
        while (left_ns := until_ns - monotonic_ns()) > 0 and not self._is_leaving():
            if seconds > IDLE_S and (runs.live is None or runs.live.ending):
                return
            gevent.sleep(min(left_ns / 1e9, IDLE_S))

    def _is_leaving(self) -> bool:
        return bool(self._state == LOCUST_STATE_STOPPING)
