"""The texts of calls that came back after their connection was dropped."""

from collections.abc import Iterable

from reports.analysis.returns import AGAIN, GAP, RETURNED, UNKNOWN
from reports.formatting import count, format_duration, join_present, plural
from reports.results.value import Value, ValuesOfSubject, by_subject
from reports.text.cells import share_interval

REASONS = {
    "attempts": "after all attempts",
    "within": "after the time for it",
    "refused": "because the service refused them for good",
}
"""Why calls gave up."""


def of_targets(values: Iterable[Value]) -> dict[str, tuple[ValuesOfSubject, dict[str, Value]]]:
    """Return the values of each target, and how many calls gave up, by reason."""
    targets: dict[str, tuple[ValuesOfSubject, dict[str, Value]]] = {}
    for subject, row in by_subject(values).items():
        found, reasons = targets.setdefault(subject.target, ({}, {}))
        if subject.group:
            reasons[subject.part] = row[RETURNED]
        else:
            found.update(row)
    return targets


def returned_text(row: ValuesOfSubject) -> str:
    """Return how many calls came back, with the interval of their share, and the longest gap."""
    value = row[RETURNED]
    unknown = row[UNKNOWN].n
    shares = share_interval(value)
    back = f"{count(value.events)} of {count(value.n)} dropped calls came back ({shares})"
    longest = row[f"{GAP} max"]
    return join_present(
        "; ",
        back if value.n else "no dropped call had the time to come back",
        f"{count(unknown)} more had not when the run ended" if unknown else "",
        f"the longest gap was {format_duration(longest.value / 1000)}" if longest.n else "",
        f"{plural(row[AGAIN].n, 'turn')} began again" if row[AGAIN].n else "",
    )


def return_lines(values: Iterable[Value], *, named: bool) -> list[str]:
    """Return a line for each target. `named` adds the target."""
    return [
        f"{f'{target}: ' if named else ''}{returned_text(row)}"
        for target, (row, _) in of_targets(values).items()
    ]
