"""How a run stands, of all its processes together: on the screen, and against its budget."""

from __future__ import annotations

from collections.abc import Callable

from bench.clock import monotonic_ns
from bench.load.pacer import SECOND_NS
from bench.load.planned import Planned
from bench.load.spending import over_budget
from bench.load.standing import Standing, Tally
from bench.load.view import Moment, View, left_s, phase


class Watch:
    """Of the process that leads a run. `view`: None where somebody else shows how it goes.

    `wanted`: how many users there are to be; `stop` ends the run, with the reason.
    """

    def __init__(
        self,
        planned: Planned,
        view: View | None,
        *,
        run_time_s: float | None,
        wanted: Callable[[], int],
        stop: Callable[[str], None],
    ) -> None:
        self._planned, self._view, self._run_time_s = planned, view, run_time_s
        self._wanted, self._stop = wanted, stop
        self._tally = Tally(planned.chunk_ms)
        self._held_s: dict[int, dict[str, float]] = {}
        self._began_ns = monotonic_ns()

    def heard(self, worker: int, standing: Standing, held_s: dict[str, float]) -> None:
        """What a process reports."""
        self._tally.add(worker, standing)
        self._held_s[worker] = held_s

    def keep_budget(self) -> None:
        """End the run where its processes have spent its budget together."""
        if spent := over_budget(self._planned.options.budget_usd, self._tally.total.usd):
            self._stop(spent)

    def show(self, ending: str = "") -> None:
        """Draw the line where it is due. `ending`: see `view.phase`."""
        if self._view is not None:
            self._view.show(self._tally, self._moment(ending), monotonic_ns())

    def _moment(self, ending: str) -> Moment:
        total, arms = self._tally.total, len(self._planned.targets)
        sessions = None if self._planned.sessions is None else self._planned.sessions * arms
        elapsed_s = (monotonic_ns() - self._began_ns) / SECOND_NS
        return Moment(
            phase(total, ending),
            elapsed_s,
            None if ending else left_s(elapsed_s, self._run_time_s, sessions, total.sessions_done),
            self._wanted() * arms,
            self._planned.options.budget_usd,
        )

    @property
    def held_s(self) -> dict[str, float]:
        """For how long starts were held back in the process in which it was longest, by the arm's label."""
        held: dict[str, float] = {}
        for each in self._held_s.values():
            held |= {label: max(held_s, held.get(label, 0.0)) for label, held_s in each.items()}
        return held
