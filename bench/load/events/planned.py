"""The events that a run plans, as `--event` states them: a name, a time, and perhaps a command."""

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from bench.base.errors import UsageError
from bench.load.planning.stages import A_SPAN, span_s

OPTION = "--event"
FORM = "NAME@TIME, such as deploy@60s, or 'NAME@TIME: COMMAND'"
NAME = re.compile(r"[A-Za-z][\w.-]{,39}", re.ASCII)
BEFORE = "before"
A_NAME = f"a letter, then up to 39 letters, digits, dots, dashes and underscores; not {BEFORE}"
HIDDEN_COMMAND = "COMMAND"
"""What run.json has instead of a command, which may contain a secret."""


class EventPlan(NamedTuple):
    """An event at `at_s` seconds after the load starts. Without a command it only marks an
    instant.
    """

    name: str
    at_s: float
    command: str = ""

    @property
    def public_text(self) -> str:
        """The event as an option, without its command."""
        return f"{self.name}@{self.at_s:g}s{f': {HIDDEN_COMMAND}' if self.command else ''}"


def planned_events(entries: Iterable[str] | None) -> tuple[EventPlan, ...]:
    """Return the events of these options in the order of their times. Raise UsageError."""
    events = sorted(map(_event, entries or ()), key=lambda event: event.at_s)
    for first, second in pairwise(events):
        if first.at_s == second.at_s:
            raise UsageError(
                f"{OPTION}: {first.name} and {second.name} are both at {first.at_s:g} s: use"
                " different times"
            )
    names = [event.name for event in events]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise UsageError(f"{OPTION}: two events are named {twice}: give each its own name")
    return tuple(events)


def check_name(name: str, where: str) -> None:
    """Raise UsageError if an event cannot have this name."""
    if not NAME.fullmatch(name) or name == BEFORE:
        raise UsageError(f"{where} needs a name ({A_NAME}), not {name!r:.60}")


def check_times(events: Iterable[EventPlan], warmup_s: float, run_time_s: float | None) -> None:
    """Raise UsageError if an event has no time before it, or is not in the run."""
    for name, at_s, _ in events:
        if at_s <= warmup_s:
            raise UsageError(
                f"{OPTION} {name}@{at_s:g}s is in the warm-up of {warmup_s:g} s, so nothing is"
                " measured before it: use a later time, or --warmup 0"
            )
        if run_time_s is not None and at_s >= run_time_s:
            raise UsageError(
                f"{OPTION} {name}@{at_s:g}s is not in the run, which ends after {run_time_s:g} s"
            )


def _event(text: str) -> EventPlan:
    head, colon, command = text.partition(":")
    name, at, time = (part.strip() for part in head.partition("@"))
    if not at or (colon and not command.strip()) or "\0" in command:
        raise UsageError(f"{OPTION} must be {FORM}, not {text!r:.100}")
    check_name(name, OPTION)
    at_s = span_s(time)
    if not at_s:
        raise UsageError(f"{OPTION} {name}@{time!r:.40} is not at {A_SPAN} after the start")
    return EventPlan(name, at_s, command.strip())
