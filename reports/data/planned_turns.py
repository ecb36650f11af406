"""The turns that the scripts of a run plan, as its document has them. Pure.

They determine the step of a turn that did not start, and what a turn measures if no turn of its
step succeeded.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bench.record.document import PlannedTurnEntry
from reports.metrics.strata import MEASURED_FROM_TEXTS


class TurnOfScript(NamedTuple):
    """A planned turn of the script of one target. `number` is its number in the call, from 1."""

    target: int
    script: str
    number: int
    label: str
    """The label of its step. If the run has several scripts, it includes the name of the script."""
    measured_from: int
    """The index of an instant of MEASURED_FROM_TEXTS."""
    is_greeting: bool


def planned_turns(
    document: Mapping[str, Any], targets: Sequence[str], started: Sequence[str]
) -> Iterator[TurnOfScript]:
    """Yield the planned turns of the targets. `started` is the scripts that started turns. If it is
    only one, its labels do not include its name.
    """
    instants = list(MEASURED_FROM_TEXTS)
    for script in document.get("scripts") or []:
        if script.get("target") not in targets:
            continue
        turns: Sequence[PlannedTurnEntry] = script.get("plan") or []
        name = str(script.get("name"))
        target = targets.index(script["target"])
        for number, turn in enumerate(turns, start=1):
            label = turn["step"] if list(started) == [name] else f"{name}: {turn['step']}"
            measured_from = instants.index(turn["measured_from"])
            yield TurnOfScript(target, name, number, label, measured_from, turn["greeting"])


def expected_greetings(document: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return the metric `greeting` with each target at which a script waits for a greeting."""
    scripts = document.get("scripts") or []
    return {
        ("greeting", str(script.get("target")))
        for script in scripts
        if any(turn["greeting"] for turn in script.get("plan") or [])
    }
