"""Watches a run, all of its processes together: shows how it stands, keeps its budget, holds its looks."""

from __future__ import annotations

from collections.abc import Callable

from bench.clock import monotonic_ns
from bench.load.leading.looks import Looks
from bench.load.leading.tally import Tally, TargetStanding
from bench.load.leading.telemetry import Telemetry
from bench.load.leading.terminal import Moment, TerminalView, left_s, phase
from bench.load.planning.planned import Planned
from bench.load.playing.progress import ProgressReport
from bench.load.playing.spending import over_budget
from bench.units import NS_PER_S

LAST_S = 1.0
"""A run that is ended so shortly before its time is over has had its time."""
SAMPLE_NS = 5 * NS_PER_S


class Monitor:
    """Watches from the process that leads a run. `view`: None where somebody else shows how it goes.

    `wanted`: how many users there are to be; `stop` ends the run, with the reason. `looks`: None where none are
    planned. `telemetry`: None where no metrics are sent.
    """

    def __init__(
        self,
        planned: Planned,
        view: TerminalView | None,
        *,
        run_time_s: float | None,
        wanted: Callable[[], int],
        stop: Callable[[str], None],
        looks: Looks | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._planned, self._view, self._run_time_s = planned, view, run_time_s
        self._wanted, self._stop, self._looks, self._telemetry = wanted, stop, looks, telemetry
        self._tally = Tally(planned.chunk_ms)
        self._held_s: dict[int, dict[str, float]] = {}
        self._began_ns = self._sampled_ns = monotonic_ns()
        self._targets: list[TargetStanding] = []
        self._targets_ns = 0
        self.spent = False
        """Whether the budget is."""

    def heard(self, worker: int, standing: ProgressReport, held_s: dict[str, float]) -> None:
        """Add a process's report."""
        self._tally.add(worker, standing, monotonic_ns())
        self._held_s[worker] = held_s
        if self._telemetry is not None:
            self._telemetry.tell(worker, standing)

    def told_by(self, worker: int) -> ProgressReport | None:
        """A process's last report, None where it made none."""
        return self._tally.last(worker)

    def keep_budget(self) -> None:
        """End the run where its processes have spent its budget together."""
        if why := over_budget(self._planned.options.budget_usd, self._tally.total.usd):
            self.spent = True
            self._stop(why)

    def keep_looks(self) -> None:
        """Look at the comparison where that is due; asked once a second."""
        if self._looks is not None:
            total = self._tally.total
            self._looks.consider(total.pairs_done, total.turns_stamped, self._tally.late())

    def close(self) -> None:
        """End looking, for the run is decided once all of it is there, and have metrics sent that are left."""
        if self._looks is not None:
            self._looks.end()
        if self._telemetry is not None:
            self._telemetry.close()

    @property
    def is_early(self) -> bool:
        """Whether the run was to go on: by its run time, or by its sessions where it has no run time."""
        if self._run_time_s is not None:
            return self._elapsed_s < self._run_time_s - LAST_S
        return self._sessions is not None and self._tally.total.sessions_over < self._sessions

    @property
    def targets(self) -> list[TargetStanding]:
        """How each target stands; made once a second at most, however many ask."""
        now_ns = monotonic_ns()
        if now_ns >= self._targets_ns + NS_PER_S:
            self._targets, self._targets_ns = self._tally.targets(now_ns), now_ns
        return self._targets

    def sample(self) -> None:
        """Note, where that is due, how long callers waited of late; asked once a second."""
        now_ns = monotonic_ns()
        if now_ns >= self._sampled_ns + SAMPLE_NS:
            self._sampled_ns = now_ns
            self._tally.sample()
            if self._telemetry is not None:
                self._telemetry.tell_harness(late=bool(self._tally.late()))

    def show(self, ending: str = "") -> None:
        """Draw the line where it is due. `ending`: see `terminal.phase`."""
        if self._view is None:
            return
        total, elapsed_s = self._tally.total, self._elapsed_s
        moment = Moment(
            phase(total, ending, warm_up=elapsed_s < self._planned.warmup_s),
            elapsed_s,
            None if ending else left_s(elapsed_s, self._run_time_s, self._sessions, total.sessions_over),
            self._wanted() * len(self._planned.targets),
            self._planned.options.budget_usd,
            self._looks.standing if self._looks is not None else None,
        )
        self._view.show(self._tally, moment, monotonic_ns())

    @property
    def _elapsed_s(self) -> float:
        return (monotonic_ns() - self._began_ns) / NS_PER_S

    @property
    def _sessions(self) -> int | None:
        """The planned sessions of all targets together."""
        return None if self._planned.sessions is None else self._planned.sessions * len(self._planned.targets)

    @property
    def held_s(self) -> dict[str, float]:
        """For how long starts were held back in the process in which it was longest, by the arm's label."""
        held: dict[str, float] = {}
        for each in self._held_s.values():
            held |= {label: max(held_s, held.get(label, 0.0)) for label, held_s in each.items()}
        return held
