"""Computes how many sessions are open at a time, and how many processes they need on this machine. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.load.planning.environment import Environment
from bench.run.calibration import FIRST_SESSIONS, at_least

OFF = "figures may be off by more than 1 ms and the run INVALID"
"""What happens to a process that gets more sessions than it is trusted with: the limit is that of a calibration."""


@dataclass(frozen=True)
class Concurrency:
    """How many users play at a time, each a session in each of so many arms, and how many processes share them."""

    users: int
    arms: int
    processes: int

    @property
    def per_process(self) -> int:
        """Sessions that the fullest process has open when all users are there: Locust deals users out evenly."""
        return -(-self.users // self.processes) * self.arms

    def processes_for(self, sessions: int) -> int | None:
        """The least number of processes of which none has more sessions open; None where one user has more."""
        users_each = sessions // self.arms
        return -(-self.users // users_each) if users_each else None


def concurrency(environment: Environment, users: int, *, sessions: int | None, arms: int) -> Concurrency:
    """The concurrency of a run of so many users that opens so many sessions in each arm, None for no limit.

    Locust's own options are there where it runs. A master has workers that were started by hand, too.
    """
    parsed, workers = environment.parsed_options, getattr(environment.runner, "worker_count", 0)
    options = (int(getattr(parsed, name, None) or 1) for name in ("processes", "expect_workers"))
    return Concurrency(users if sessions is None else min(users, sessions), arms, max(*options, workers))


def peak_users(parsed: Any, shape: Any) -> int:
    """The most users at a time: of a load shape its largest stage, where it has `stages` as Locust's examples do.

    What another shape will ask for is known to nobody before; then it is what --users says.
    """
    stages = getattr(shape, "stages", None) or ()
    of_stages = [stage.get("users") for stage in stages if isinstance(stage, Mapping)]
    return max((users for users in of_stages if isinstance(users, int)), default=int(parsed.num_users or 1))


def process_advice(concurrency: Concurrency, cited: Mapping[str, Any] | None, cores: int) -> list[str]:
    """The line before a run whose processes get more sessions than this machine is trusted with; none before others.

    `cited`: this machine's calibration as run.json has it, None where there is none; then the line asks for one where
    there are more sessions than a calibration begins with. `cores`: how many the run may use.
    """
    here = f"{concurrency.per_process:,} sessions in one process"
    if cited is None:
        unknown = f"{here}: `rtbench calibrate` finds out how many this machine can be trusted with"
        return [unknown] if concurrency.per_process > FIRST_SESSIONS else []
    if concurrency.per_process <= cited["sessions"]:
        return []
    changed = "".join(f", {change}" for change in cited.get("stale", ()))
    trusted = f"{at_least(cited.get('ended', ''))}{cited['sessions']:,} {cited['kind']} ones"
    beyond = f"{here} are more than this machine is trusted with: {trusted} (calibrated on {cited['date']}{changed})"
    return [f"{beyond}; {_needed(concurrency.processes_for(cited['sessions']), cores)}"]


def _needed(processes: int | None, cores: int) -> str:
    if processes is None:
        return f"no number of processes is enough; {OFF}"
    if processes <= cores:
        return f"--processes {processes} is enough; with fewer, {OFF}"
    machines = f"{-(-processes // cores)} such machines with {cores} core{'s' * (cores > 1)} each"
    return f"{processes} processes are enough, on {machines}; with fewer, {OFF}"
