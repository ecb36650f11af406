"""A load that changes during a run: stages as in k6, read from a YAML file.

    start: 0/min                        # default: 0
    stages:
      - {duration: 2m, target: 60/min}  # a ramp from the current level to the target
      - {duration: 10m, target: 60/min} # a constant load
      - {duration: 0s, target: 300/min} # a step

All targets of a file are rates of calls that arrive, or all are whole numbers of open sessions.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Literal, NamedTuple

from bench.files.validation import Field, OneOrMore, Schema, StructOf, Validator
from bench.files.yaml_file import LocatedValue, read_yaml

MAX_PER_S = 10_000.0
MAX_SESSIONS = 1_000_000
PER_S = {"s": 1.0, "min": 60.0, "h": 3600.0}
RATE = r"(\d+(?:\.\d+)?) ?/ ?(s|min|h)"
RATES = "an arrival rate, such as 30/min, 2/s or 100/h"

SPAN = r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?"
A_SPAN = "a time such as 90, 90s, 2m or 1m30s"

LoadKind = Literal["arrivals", "sessions"]


class LoadLevel(NamedTuple):
    """A level of load. `value` is in calls per second, or in open sessions, as `kind` states."""

    kind: LoadKind
    value: float


class LoadStage(NamedTuple):
    """A stage of a schedule. During the stage, the level changes linearly to `target`."""

    duration_s: float
    target: float


@dataclass(frozen=True)
class LoadSchedule:
    """A load that begins at the level `start`, and continues with the stages. Levels are in the
    unit of `kind`.
    """

    kind: LoadKind
    start: float
    stages: tuple[LoadStage, ...]

    @property
    def duration_s(self) -> float:
        return sum(stage.duration_s for stage in self.stages)

    @property
    def peak(self) -> float:
        return max(self.start, *(stage.target for stage in self.stages))

    def parts(self) -> Iterator[tuple[float, float, float, float]]:
        """Yield each stage as (start in seconds, duration in seconds, level at its start, level
        at its end).
        """
        starts_s = accumulate((stage.duration_s for stage in self.stages), initial=0.0)
        level = self.start
        for start_s, stage in zip(starts_s, self.stages, strict=False):
            yield start_s, stage.duration_s, level, stage.target
            level = stage.target

    def level(self, at_s: float) -> float:
        """Return the level at `at_s` seconds after the start; after the last stage, its target."""
        level = self.start
        for start_s, duration_s, first, last in self.parts():
            if at_s < start_s:
                break
            ended = at_s >= start_s + duration_s
            level = last if ended else first + (last - first) * (at_s - start_s) / duration_s
        return level


def rate_per_s(text: str) -> float | None:
    """Convert a text such as `30/min` to calls per second. Return None if it is no rate, or
    exceeds MAX_PER_S.
    """
    match = re.fullmatch(RATE, text.strip(), re.ASCII)
    per_s = float(match[1]) / PER_S[match[2]] if match else -1.0
    return per_s if 0 <= per_s <= MAX_PER_S else None


def span_s(text: str) -> float | None:
    """Convert a text such as `1m30s` to seconds. Return None if it is no duration."""
    match = re.fullmatch(SPAN, text, re.ASCII)
    if not text or match is None:
        return None
    hours, minutes, seconds = (float(number or 0) for number in match.groups())
    return 3600 * hours + 60 * minutes + seconds


class LevelValidator(Validator[LoadLevel]):
    """A rate of calls, or a whole number of open sessions."""

    def read(self, value: LocatedValue) -> LoadLevel:
        content = value.content()
        if (
            isinstance(content, int)
            and not isinstance(content, bool)
            and 0 <= content <= MAX_SESSIONS
        ):
            return LoadLevel("sessions", content)
        per_s = rate_per_s(content) if isinstance(content, str) else None
        if per_s is None:
            raise value.type_error(f"{RATES}, or a whole number of sessions")
        return LoadLevel("arrivals", per_s)

    def schema(self) -> Schema:
        sessions = {"type": "integer", "minimum": 0, "maximum": MAX_SESSIONS}
        return {"oneOf": [sessions, {"type": "string", "pattern": f"^{RATE}$"}]}


class DurationValidator(Validator[float]):
    def read(self, value: LocatedValue) -> float:
        content = value.content()
        number = isinstance(content, int | float) and not isinstance(content, bool)
        seconds = span_s(str(content)) if number or isinstance(content, str) else None
        if seconds is None:
            raise value.type_error(A_SPAN)
        return seconds

    def schema(self) -> Schema:
        return {"oneOf": [{"type": "number", "minimum": 0}, {"type": "string"}]}


STAGE: StructOf[tuple[float, LoadLevel]] = StructOf(
    {
        "duration": Field(
            DurationValidator(),
            "The time until the target is reached, such as 90s or 2m; 0s: a step.",
            True,
        ),
        "target": Field(
            LevelValidator(),
            "An arrival rate, such as 30/min, or a whole number of sessions.",
            True,
        ),
    },
    lambda duration, target: (duration, target),
)
FILE: StructOf[tuple[LoadLevel, tuple[tuple[float, LoadLevel], ...]]] = StructOf(
    {
        "start": Field(LevelValidator(), "The load at the start; default: none."),
        "stages": Field(
            OneOrMore(STAGE), "The stages, in order; the run ends after the last.", True
        ),
    },
    lambda stages, start=None: (start or LoadLevel("sessions", 0), stages),
)


def load_schedule(path: Path) -> LoadSchedule:
    """Read a load schedule from a file. Raise ScriptError with the line if the file is invalid."""
    value = read_yaml(path, "the file")
    start, stages = FILE.read(value)
    levels = [start] + [target for _, target in stages]
    kinds = {level.kind for level in levels if level.value or level.kind == "arrivals"} or {
        "sessions"
    }
    if len(kinds) > 1:
        raise value.refuse(
            "must have either arrival rates, such as 30/min, or numbers of sessions, not both"
        )
    staged = tuple(LoadStage(duration_s, target.value) for duration_s, target in stages)
    schedule = LoadSchedule(kinds.pop(), start.value, staged)
    if not schedule.duration_s:
        raise value.refuse("has a total duration of 0: set the duration of a stage")
    if not schedule.peak:
        raise value.refuse("has only stages with load 0: set the target of a stage")
    return schedule
