"""Works out what asks for sessions in a run: users who call again and again, or calls that arrive."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.load.planning.arrivals import PATTERNS, POISSON, Arrivals, Pattern, Recorded, load_recorded, pattern_of
from bench.load.planning.options import Options
from bench.load.planning.stages import LoadCourse, load_course
from bench.load.planning.tasks import class_file

IN_SCENARIO = ("arrivals", "arrival_pattern", "max_sessions", "stages")
"""The options that a class of users may have as attributes."""


@dataclass(frozen=True)
class Demand:
    """Holds the load model: an open loop of `arrivals`, or a closed loop, whose users may follow a `course`."""

    arrivals: Arrivals | None = None
    course: LoadCourse | None = None

    @property
    def length_s(self) -> float | None:
        """How long it lasts by itself; None where that has no end."""
        if self.arrivals is not None:
            return self.arrivals.length_s
        return None if self.course is None else self.course.length_s

    @property
    def users(self) -> int | None:
        """The most users that it needs; None where --users says so."""
        if self.arrivals is not None:
            return self.arrivals.slots
        return None if self.course is None else round(self.course.peak)

    @property
    def changes(self) -> bool:
        """Whether it is meant to change while the run goes on."""
        return self.course is not None or (self.arrivals is not None and self.arrivals.course is not None)


CLOSED_LOOP = Demand()
"""Users who call again and again, as many as --users says."""


def asked(parsed: Any, user_classes: Collection[Any]) -> Namespace:
    """Complete the parsed options by what the scenario says: the attributes IN_SCENARIO of the classes of its users.

    What is given on the command line wins. Paths are seen from the file of the class. Raises UsageError where classes
    say different things.
    """
    said: dict[str, Any] = {}
    for user in user_classes:
        for name in IN_SCENARIO:
            if value := getattr(user, name, None):
                value = _seen_from(user, name, value)
                if said.setdefault(name, value) != value:
                    raise UsageError(f"classes of users have different `{name}`: {said[name]} and {value}")
    if parsed.arrivals or parsed.stages:
        said = {name: value for name, value in said.items() if name not in ("arrivals", "stages")}
    return Namespace(**vars(parsed) | {name: value for name, value in said.items() if not getattr(parsed, name)})


def _seen_from(user: Any, name: str, value: Any) -> Any:
    """A value of a class, which is a path where it names a file."""
    is_path = name == "stages" or (name == "arrival_pattern" and pattern_of(str(value)) is None)
    return str(class_file(user).parent / str(value)) if is_path else value


def demand_of(options: Options, parsed: Any, user_classes: Collection[Any]) -> Demand:
    """Read what the options name. `parsed`: Locust's own, `num_users` and `run_time`, which may be None.

    Raises UsageError for what cannot be, or does not go together.
    """
    course = load_course(options.stages) if options.stages else None
    if course is not None and getattr(parsed, "run_time", None):
        raise UsageError(f"{options.stages} says how long the run lasts, {course.length_s:g} s: leave --run-time out")
    recorded = _recorded(options)
    if recorded is not None and (options.arrivals_per_s or course is not None):
        also = "--arrivals" if options.arrivals_per_s else "--stages"
        raise UsageError(f"--arrival-pattern {recorded.path} says when each call arrives: leave {also} out")
    if options.arrivals_per_s is None and recorded is None and (course is None or course.kind == "sessions"):
        return _closed_loop(options, course, parsed)
    _refuse_several(user_classes)
    pattern = pattern_of(options.arrival_pattern or POISSON) or Pattern(POISSON)
    slots = _slots(options, parsed)
    return Demand(Arrivals(options.seed, slots, pattern, options.arrivals_per_s, course, recorded))


def _slots(options: Options, parsed: Any) -> int:
    """How many calls may be in progress. In the web UI the number of users says so."""
    users = getattr(parsed, "num_users", None)
    slots = options.max_sessions or (None if getattr(parsed, "headless", True) else users)
    if slots is None:
        raise UsageError("calls that arrive need --max-sessions N: how many may be in progress before one is blocked")
    if users not in (None, slots):
        raise UsageError(
            f"--users {users} contradicts --max-sessions {slots}: leave --users out: with arrivals, "
            "--max-sessions sets how many calls may be in progress"
        )
    return slots


def _closed_loop(options: Options, course: LoadCourse | None, parsed: Any) -> Demand:
    """Users who call again and again. Raises UsageError for what is about arrivals."""
    if options.max_sessions is not None:
        raise UsageError("--max-sessions needs calls that arrive: add --arrivals 30/min, or use --users N instead")
    if options.arrival_pattern is not None:
        raise UsageError("--arrival-pattern needs calls that arrive: add --arrivals 30/min")
    users = getattr(parsed, "num_users", None)
    if course is not None and users not in (None, round(course.peak)):
        raise UsageError(f"--users {users} contradicts --stages, which set the number of sessions: leave --users out")
    return Demand(course=course)


def _recorded(options: Options) -> Recorded | None:
    """The instants of a file, where the pattern names one."""
    given = options.arrival_pattern
    if given is None or pattern_of(given) is not None:
        return None
    if not Path(given).exists():
        raise UsageError(f"--arrival-pattern must be {PATTERNS}, and there is no file {given:.200}")
    return load_recorded(Path(given))


def _refuse_several(user_classes: Collection[Any]) -> None:
    """Locust deals classes out as it likes, so that a call might find no user of its class in its process."""
    names = sorted(user.__name__ for user in user_classes)
    if len(names) > 1:
        raise UsageError(
            f"calls that arrive need one class of users, and these are {', '.join(names)}: name one of them, or "
            "give one all scripts as its `tasks`, with weights"
        )
