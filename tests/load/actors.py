"""Stand-ins for Locust's users. Tests use them because the import of Locust's users patches the
standard library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import soundfile

from bench.load.planning.tasks import Caller, SessionTask, as_sessions


class Actor(Caller):
    """A stand-in for a realtime user. Its tasks and settings are class attributes."""

    declared_tasks: ClassVar[tuple[Any, ...]] = ()
    tasks: ClassVar[Sequence[Any]] = ()
    given: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, environment: object = None) -> None:
        return

    @classmethod
    def settings(cls) -> Mapping[str, Any]:
        return cls.given

    @classmethod
    def scenario_name(cls) -> str:
        return "scenario"

    def run_session(self, task: SessionTask) -> None:
        raise AssertionError("nothing is played here")


def actor(name: str, *tasks: Any, **given: Any) -> type[Actor]:
    """Return a class of stand-ins that has these tasks and settings."""
    sessions = as_sessions(tasks)
    return type(
        name, (Actor,), {"declared_tasks": tuple(sessions), "tasks": sessions, "given": given}
    )


def tone(path: Path, seconds: float = 0.3, hertz: float = 440.0) -> Path:
    """Write a WAV file that contains a tone. All checks accept the tone as speech."""
    samples = np.sin(2 * np.pi * hertz * np.arange(int(24_000 * seconds)) / 24_000)
    soundfile.write(path, samples * 0.5, 24_000, subtype="PCM_16")
    return path
