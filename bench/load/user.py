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

from bench.load import runner  # registers our options and listeners with Locust


class RealtimeUser(User):  # type: ignore[misc]  # Locust is not typed
    """One simulated caller. It opens a session, plays the script, closes, pauses, and opens the next."""

    abstract = True
    script: ClassVar[str | Path] = ""
    """The YAML script: a path relative to the file that defines the class, or an absolute one."""

    @classmethod
    def script_path(cls) -> Path:
        return (Path(inspect.getfile(cls)).parent / cls.script).resolve()

    @classmethod
    def scenario_name(cls) -> str:
        """The name of the file that defines the class."""
        return Path(inspect.getfile(cls)).stem

    @task  # type: ignore[untyped-decorator]
    def session(self) -> None:
        """One session, and the pause after it."""
        runs: runner.Runs = self.environment.rtbench
        if runs.live is not None:
            runs.live.play_session(runs.play_of(type(self)))
            gevent.sleep(runs.live.pause_s)
        else:
            gevent.sleep(0.1)
