"""The reason why a result has no value, no verdict, or may not be used: a code with its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeVar

from msgspec import field

from reports.results.json_entries import ClosedJsonEntry, Known

Counted = Literal["session", "pair", "turn", "word"]
T = TypeVar("T")


class Reason(ClosedJsonEntry):
    """A reason. Programs read its code and its numbers, people read its text.
    `reports.text.reasons` has all codes, and writes the texts. Only documents contain a text.
    """

    code: str
    numbers: dict[str, Any] = field(default_factory=dict)
    """the numbers and names of the reason, by name"""
    text: Known = ""
    """the reason as a sentence"""

    @property
    def needed(self) -> int:
        """The required number of units; 0 if the reason requires none."""
        needed: int = self.numbers.get("needed") or 0
        return needed

    @property
    def there(self) -> int:
        """The existing number of units. If there are several targets, it is the smallest one."""
        there: int = min(self.numbers["there"])
        return there

    @property
    def unit(self) -> Counted:
        """The unit of `needed` and `there`."""
        unit: Counted = self.numbers.get("unit", "session")
        return unit


IN_FAILURES = Reason("in_failures")


def too_few(
    unit: Counted,
    needed: int,
    there: Sequence[int],
    targets: Sequence[str] = (),
    p: float | None = None,
) -> Reason:
    """Return the reason for a result that is based on too few of a unit. Each target needs
    `needed`. `there` is the existing number in each target; at least one of them is too small. `p`
    is the level of a quantile.
    """
    named = {"targets": list(targets)} if targets else {}
    level = {} if p is None else {"p": p}
    return Reason("too_few", {"unit": unit, "needed": needed, "there": list(there)} | named | level)


def too_few_to_print(unit: Counted, needed: int, there: int) -> Reason:
    """Return the reason why a value may not be printed. A verdict on it needs more of the unit
    than printing it.
    """
    return Reason("too_few_to_print", {"unit": unit, "needed": needed, "there": [there]})


def unique(reasons: Iterable[T]) -> list[T]:
    """Return each reason once, in the order of its first occurrence."""
    known = list[T]()
    for reason in reasons:
        known += [reason] if reason not in known else []
    return known
