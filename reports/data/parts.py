"""The parts of a run in time, such as the time before, in and after a peak of load. Each is valid
or invalid by itself.

A part is usable if the load generator made and measured it, by the rules of the validity of runs.
What is wrong in one part does not void the others. A part that has not begun, because the run ended
before, begins at infinity.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple, get_args
from weakref import WeakKeyDictionary

import numpy as np

from bench.base.units import NS_PER_S
from bench.catalogue.outcomes import is_own_limit
from bench.record import folder as files
from bench.record.document import RowCheck, TimestampCheck
from bench.record.metric_values import floats
from bench.record.validity import ValidityData, evaluate_checks
from bench.record.validity_data import metric_uncertainties
from reports.data.runs import RunFrames, stated_validity
from reports.data.turns import rows_of
from reports.results.value import Reason
from reports.statistics.counting import Floats, Integers

START = "start_utc_ns"
NOT_RUN = "not_run"
MAX_CPU = 0.9
"""The share of a core above which a process of the load generator is its own limit."""
STOOD_SHARE = 0.1
MAX_PART_NS = 60 * NS_PER_S
"""The longest time of which the load generator may stand still for STOOD_SHARE."""


class Parts(NamedTuple):
    """The names of the parts of a run, and the instants (ns, UTC) between which they are. The
    callers of the parts in `late` started too late.
    """

    names: tuple[str, ...]
    edges_ns: tuple[float, ...]
    late: tuple[str, ...] = ()

    def part_at(self, at_ns: Floats) -> Integers:
        """Return the index of the part in which each instant lies."""
        return np.searchsorted(self.edges_ns[1:-1], at_ns, "right")

    def problems(self, run: RunFrames, target: str) -> dict[str, str]:
        """Return why each part of a target cannot be used; "" if it can."""
        known = _KNOWN.setdefault(run, {})
        if (self, target) not in known:
            checks = stated_validity(run.metadata).checks
            failed = [check.name for check in checks if check.result == "fail"]
            of_all = next((name for name in failed if name not in get_args(RowCheck)), "")
            known[self, target] = {
                name: of_all or self._problem(run, target, name) for name in self.names
            }
        return known[self, target]

    def _problem(self, run: RunFrames, target: str, name: str) -> str:
        part = self.names.index(name)
        begin_ns, end_ns = self.edges_ns[part : part + 2]
        if np.isinf(begin_ns):
            return NOT_RUN
        if name in self.late:
            return "late"
        seconds = run.seconds
        ended_ns = (floats(seconds, "second") + 1) * NS_PER_S
        stood_ns = seconds["event_loop_delay_max_ns"].to_numpy(float, na_value=0.0)
        longest_ns = min(end_ns - begin_ns, MAX_PART_NS)
        in_part = (ended_ns > begin_ns) & (ended_ns - np.maximum(stood_ns, NS_PER_S) < end_ns)
        if stood_ns[in_part].max(initial=0.0) > STOOD_SHARE * longest_ns:
            return "blocked"
        if (seconds[in_part].groupby("worker")["cpu"].mean() > MAX_CPU).any():
            return "cpu"
        return next(iter(self._failed_checks(run, target, part)), "")

    def _failed_checks(self, run: RunFrames, target: str, part: int) -> list[str]:
        """Return the failed ones of `RowCheck`, made with the rows of a part only."""
        whole = files.row_reader(run.folder)

        def read(table: files.TableName, columns: list[str]) -> Any:
            rows = whole(table, [*columns, START])
            began_ns = rows[START].to_numpy().astype(float)
            return rows.filter(self.part_at(began_ns) == part).select(columns)

        mine = tuple(each for each in metric_uncertainties(read) if each.target == target)
        sessions = rows_of(run.sessions, target)
        ends = sessions["outcome"][self.part_at(floats(sessions, START)) == part]
        prevented = float(ends.astype(str).map(is_own_limit).mean()) if len(ends) else 0.0
        evidence = ValidityData(mine, None, None, None, None, paced_audio=False)
        validity = evaluate_checks(replace(evidence, prevented_share=prevented))
        return validity.reasons if validity.status == "invalid" else []


_KNOWN = WeakKeyDictionary[RunFrames, dict[tuple[Parts, str], dict[str, str]]]()
"""The problems that were found: each threshold needs them, and all timestamps are read for them."""


def unusable(
    problems: dict[str, str], parts: Iterable[str], *, is_count: bool = False
) -> Reason | None:
    """Return why a value of these parts cannot be used; None if it can. A count needs no
    timestamps.
    """
    for part in parts:
        cause = problems[part]
        if cause and not (is_count and cause in get_args(TimestampCheck)):
            of_part = {"part": part, "cause": cause}
            return Reason("part_not_run" if cause == NOT_RUN else "part_invalid", of_part)
    return None
