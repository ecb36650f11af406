"""Computes how many sessions are open at a time and how many processes they need, and refuses what cannot be played."""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.errors import UsageError
from bench.load.planning.run_options import Environment
from bench.run.calibration import FIRST_SESSIONS, at_least
from bench.target.target import Target

MANY_SESSIONS = 20
SPARE_DESCRIPTORS = 128
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
        unknown = f"this machine is not calibrated for {here}: run `rtbench calibrate`"
        return [unknown] if concurrency.per_process > FIRST_SESSIONS else []
    if concurrency.per_process <= cited["sessions"]:
        return []
    changed = "".join(f", {change}" for change in cited.get("stale", ()))
    trusted = f"{at_least(cited.get('ended', ''))}{cited['sessions']:,} {cited['kind']} ones"
    beyond = f"{here} are more than this machine is trusted with: {trusted} (calibrated on {cited['date']}{changed})"
    return [f"{beyond}; {_needed(concurrency.processes_for(cited['sessions']), cores)}"]


def _needed(processes: int | None, cores: int) -> str:
    if processes is None:
        return f"no number of processes is enough for this load; {OFF}"
    if processes <= cores:
        return f"this load takes --processes {processes}; with fewer, {OFF}"
    machines = f"{-(-processes // cores)} machines with {cores} core{'s' * (cores > 1)} each"
    return f"this load takes {processes} processes, on {machines}; with fewer, {OFF}"


@dataclass(frozen=True)
class PlayingHost:
    """A host on which workers of a master play. `cited`: its calibration as run.json has it; None where it has none."""

    name: str
    workers: int
    cores: int
    cited: Mapping[str, Any] | None


def hosts_advice(concurrency: Concurrency, hosts: Sequence[PlayingHost]) -> list[str]:
    """The line before a run on several hosts: whether they carry the load together, by what each is trusted with."""
    here, on = concurrency.per_process, f"{len(hosts)} host{'s' * (len(hosts) > 1)}"
    load = f"{here:,} sessions in each of {sum(host.workers for host in hosts)} processes on {on}"
    beyond = [host for host in hosts if host.cited is not None and here > host.cited["sessions"]]
    unknown = [host.name for host in hosts if host.cited is None]
    crowded = [f"{host.name} has {host.cores} for {host.workers}" for host in hosts if host.workers > host.cores]
    said = []
    if beyond:
        trusted = ", ".join(f"{host.name} {host.cited['sessions']:,}" for host in beyond if host.cited is not None)
        said.append(f"more than they are trusted with ({trusted}); {OFF}: start more workers")
    if unknown:
        said.append(
            f"{', '.join(unknown)} {'is' if len(unknown) == 1 else 'are'} not calibrated: run `rtbench calibrate` there"
        )
    if crowded:
        said.append(f"too few cores: {', '.join(crowded)}")
    return [f"{load}: {'; '.join(said) or 'each is trusted with as many'}"]


def check_cost(targets: Iterable[Target], users: int, sessions: int | None, *, yes: bool) -> int | None:
    """How many sessions each arm may open, None for no limit: someone else's host gets 20 unless more are meant.

    Raises UsageError where more than that were asked for.
    """
    hosts = Counter(target.host for target in targets if not target.loopback)
    if not hosts or yes:
        return sessions
    host, arms = hosts.most_common(1)[0]
    if max(users, sessions or 0) * arms > MANY_SESSIONS:
        more = f"this opens more than {MANY_SESSIONS} sessions to {host}, which may cost money"
        raise UsageError(f"{more}: add --yes to allow it")
    return sessions or MANY_SESSIONS // arms


def check_shares(concurrency: Concurrency, sessions: int | None) -> None:
    """Every process needs a user and a session of its own, or it never has its part of them done."""
    processes = concurrency.processes
    if sessions is not None and processes > concurrency.users:
        raise UsageError(
            f"{processes} processes with --sessions need at least {processes} users and sessions: lower --processes"
        )


def check_descriptors(concurrency: Concurrency) -> None:
    """Raise the soft limit of file descriptors as far as needed. Raises UsageError beyond the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = concurrency.per_process + SPARE_DESCRIPTORS
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise UsageError(
            f"{concurrency.users} users need {needed} file descriptors in a process, and the limit is {hard}: "
            "raise it with `ulimit -n`, or spread the users with --processes"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
