"""Keeps the kernel's transmit stamps of a turn's request and of its end of speech. Pure.

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
    stamped: bool = False
    """Whether the kernel has said when it left."""


@dataclass(slots=True, eq=False)
class Sending:
    """The transmit stamps of one turn."""

    sends: int = 0
    kernel_stamps: int = 0
    departures: dict[int, Departure] = field(default_factory=dict)
    """ticket → departure"""

    def sent(self, handed: Handed, marks: Sequence[str]) -> None:
        """Note a message that was handed to the kernel and marks these instants."""
        self.sends += 1
        if handed.ticket:
            self.departures[handed.ticket] = Departure(handed.at_ns, marks)

    def transmitted(self, stamp: Transmitted) -> tuple[Sequence[str], int]:
        """(the instants that a stamp moves, how many ns later they are by it); none where it tells nothing new.

        A segment that is sent again is stamped again: the first stamp counts. One from before the send call cannot be:
        the wall clock was stepped.
        """
        departure = self.departures.get(stamp.ticket)
        if departure is None or stamp.acknowledged or departure.stamped or stamp.at_ns < departure.handed_ns:
            return (), 0
        departure.stamped = True
        self.kernel_stamps += 1
        return departure.marks, stamp.at_ns - departure.handed_ns

    def acknowledged(self, stamp: Transmitted) -> Sequence[str]:
        """The instants of the message that a stamp acknowledges, where it is known when that left."""
        departure = self.departures.get(stamp.ticket)
        return departure.marks if departure is not None and departure.stamped and stamp.acknowledged else ()

    @property
    def source(self) -> str | None:
        """`kernel`, `user` or `mixed`: where the instants of sends come from; None where there are none."""
        return stamp_source(self.kernel_stamps, self.sends - self.kernel_stamps)
