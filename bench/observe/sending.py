"""What the kernel says of those of a turn's messages whose sending counts: the request, and the end of speech. Pure.

Our own clock is read before a send call, and a process can lose its core between the two; the kernel's stamp has no
such error. The instants that a message marks move from the one to the other, whenever the stamp comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.clock import Handed
from bench.observe.inputs import Transmitted
from bench.observe.observation import stamp_source


@dataclass(slots=True)
class Departure:
    """A message that was sent stamped: the clock before its send call, and the instants that it marks."""

    handed_ns: int
    marks: Sequence[str]
    left: bool = False
    """The kernel has said when."""


@dataclass(slots=True, eq=False)
class Sending:
    """Of one turn."""

    sends: int = 0
    kernel_stamps: int = 0
    departures: dict[int, Departure] = field(default_factory=dict)
    """By ticket."""

    def sent(self, handed: Handed, marks: Sequence[str]) -> None:
        """A message was handed over that marks these instants."""
        self.sends += 1
        if handed.ticket:
            self.departures[handed.ticket] = Departure(handed.at_ns, marks)

    def left(self, told: Transmitted) -> tuple[Sequence[str], int]:
        """The instants that a stamp moves, and how many ns later they are by it; none, where it tells nothing new.

        A segment that is sent again is stamped again: the first stamp counts. One from before the send call cannot be:
        the wall clock was stepped.
        """
        departure = self.departures.get(told.ticket)
        if departure is None or told.acknowledged or departure.left or told.at_ns < departure.handed_ns:
            return (), 0
        departure.left = True
        self.kernel_stamps += 1
        return departure.marks, told.at_ns - departure.handed_ns

    def acknowledged(self, told: Transmitted) -> Sequence[str]:
        """The instants that a message marks whose leaving is known, and which this acknowledges."""
        departure = self.departures.get(told.ticket)
        return departure.marks if departure is not None and departure.left and told.acknowledged else ()

    @property
    def source(self) -> str | None:
        """Where these instants come from; None where there are none."""
        return stamp_source(self.kernel_stamps, self.sends - self.kernel_stamps)
