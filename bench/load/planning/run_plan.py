"""The plan of a run: its scripts, targets and load, the number of its processes, and its
estimated cost.
"""

# `plan_run` does everything that can fail before anything costs money: it reads options, load model
# and scripts, resolves the targets, encodes all messages, estimates the cost, and limits the
# sessions. A run that starts has no invalid input left. The plan opens no resource and no
# connection.
#
# Each process makes the plan itself. Compiled scripts with their audio are large, and workers on
# other hosts have their own files. `identity` proves that the plans are equal: a worker with other
# scripts, targets or another version refuses the run.

from __future__ import annotations

import math
import os
import resource
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import msgspec

from bench.base.cpu import Priority, available_priority, core_count, niceness
from bench.base.errors import UsageError
from bench.base.installation import tool_version
from bench.load.planning.cost_estimate import (
    SessionCost,
    amount_text,
    below_estimate,
    estimate,
    estimate_text,
    session_cost,
)
from bench.load.planning.lacking import missing_features
from bench.load.planning.load_model import (
    CLOSED_LOOP,
    LoadModel,
    load_model_of,
    schedule_facts,
    with_scenario_defaults,
)
from bench.load.planning.locust_entries import check_entries
from bench.load.planning.run_options import Environment, Options
from bench.load.planning.workload import (
    Workload,
    load_scripts,
    longest_turn_s,
    mcp_tokens,
    script_facts,
    script_notices,
    target_facts,
    with_history,
    workloads_of_targets,
)
from bench.load.simulator_process import ADDRESS, with_simulator
from bench.plan.compiled_script import CompiledScript
from bench.plan.conversation import load_history
from bench.plan.script import Script
from bench.record.calibration import (
    AGENTS,
    FIRST_SESSIONS,
    GA,
    SessionKind,
    at_least,
    citation,
    state_folder,
)
from bench.record.provenance import named_host, opening_document
from bench.record.whole_run import share_text
from bench.target.price_table import PriceTable, load_price_table
from bench.target.target import Credential, Target
from bench.target.targets import resolve_targets
from bench.transport.ring.choice import chosen_reader
from bench.wire.addresses import is_loopback
from bench.wire.dialect import Peer

SIMULATOR = "rtbench_simulator"
"""The attribute of parsed options with the address of the simulator that the leader of the run
found or started."""
LONG_RUN_S = 600.0
"""The minimum run time in seconds for which a run has a warm-up by default."""
MIN_STEADY_S = 60.0
MAX_SHARE_OF_RUN = 0.5
"""The maximum length of a default warm-up, as a share of the run."""


@dataclass(frozen=True)
class RunPlan:
    """The plan of a run.

    `workloads` are by the target's label. `sessions` is the limit of sessions with each target, if
    any. `calibration` is this machine's for such sessions, as in run.json. `priority` is that of
    the processes that run sessions, if requested. `hosts_advice` are a master's notices about its
    workers' hosts. `mcp_tokens` are the access tokens of the scripts' MCP servers.
    `requested_users` are more than those of `concurrency` if there are fewer sessions.
    `run_time_s` is the longest duration of the run.
    """

    options: Options
    targets: tuple[Target, ...]
    workloads: Mapping[str, Workload]
    sessions: int | None
    prices: PriceTable
    concurrency: Concurrency
    calibration: dict[str, Any] | None
    warmup_s: float = 0.0
    priority: Priority | None = None
    load_model: LoadModel = CLOSED_LOOP
    hosts_advice: tuple[str, ...] = ()
    mcp_tokens: tuple[Credential, ...] = ()
    requested_users: int = 0
    run_time_s: float = math.inf

    @property
    def scripts(self) -> list[Script]:
        """The scripts of all targets, each with the settings that the sessions with its target
        use.
        """
        return [
            compiled_script.script
            for workload in self.workloads.values()
            for compiled_script in workload.values()
        ]

    @property
    def _compiled_scripts(self) -> list[CompiledScript]:
        """The scripts of all targets, each once."""
        distinct = {
            id(compiled): compiled
            for workload in self.workloads.values()
            for compiled in workload.values()
        }
        return list(distinct.values())

    @property
    def missing_features(self) -> list[dict[str, Any] | None]:
        """What turns and sessions lack, for each script of each target
        (`bench.load.planning.lacking`).
        """
        arrives = self.load_model.arrivals is not None
        return [missing_features(compiled, arrives=arrives) for compiled in self._compiled_scripts]

    def check_locust_entries(self) -> None:
        """Raise UsageError if `--locust-metrics` cannot be shown."""
        labels = [target.label for target in self.targets]
        check_entries(
            self.options.locust_metrics, self._compiled_scripts, self.missing_features, labels
        )

    @property
    def user_classes(self) -> set[Any]:
        return {user for workload in self.workloads.values() for user, _ in workload}

    @property
    def scenario(self) -> str:
        """The name of the run: the given one, or that of its only scenario, or else `bench`."""
        if self.options.name:
            return self.options.name
        scenarios = {user.scenario_name() for user in self.user_classes}
        return scenarios.pop() if len(scenarios) == 1 else "bench"

    @property
    def connect_rates(self) -> list[float | None]:
        """For each target, the maximum number of new connections per minute; None if there is no
        limit.
        """
        return per_minute_of(self.targets, self.options.connect_rate)

    @property
    def longest_turn_s(self) -> float:
        return longest_turn_s(self.scripts)

    @property
    def chunk_ms(self) -> float | None:
        """The duration of the shortest audio chunk, in ms; None if no audio is sent in chunks."""
        return min(
            (fact["chunk_ms"] for fact in script_facts(self.workloads) if fact["chunk_ms"]),
            default=None,
        )

    @property
    def kind(self) -> SessionKind:
        return kind_of(self.workloads, self.targets)

    @property
    def session_costs(self) -> list[SessionCost]:
        """The estimated cost of one session, for each target."""
        return session_costs(self.targets, self.workloads, self.prices)

    @property
    def notices(self) -> list[str]:
        """The notices before the run, with the cost, except of targets on this machine or agents
        without prices.
        """
        notices = list(
            dict.fromkeys(notice for target in self.targets for notice in target.notices)
        )
        if self.sessions is not None and self.options.requested_sessions is None:
            capped = f"sessions may cost money, so at most {self.sessions} are opened"
            notices.append(f"{capped}: add --yes for more")
        if (
            self.load_model.arrivals is None
            and self.sessions is not None
            and self.sessions < self.requested_users
        ):
            users = self.requested_users
            noun = "session" if self.sessions == 1 else "sessions"
            most = f"{self.sessions} {noun}: at most {self.sessions} of {users} users call"
            notices.append(
                f"{most}; to have {users} calls at a time, use --sessions {users} or more"
            )
        notices += script_notices(self.scripts)
        if any(
            not target.loopback and (target.prices or target.dialect.peer is Peer.SERVICE)
            for target in self.targets
        ):
            notices.append(estimate_text(self.session_costs, self.sessions))
        if below := below_estimate(self.options.budget_usd, self.session_costs, self.sessions):
            notices.append(below)
        notices += self.hosts_advice or process_advice(
            self.concurrency, self.calibration, core_count()
        )
        if self.priority and self.priority.hindrance:
            notices.append(f"--priority {self.priority.hindrance}: {self.priority.remedy}")
        return notices

    @property
    def identity(self) -> dict[str, Any]:
        """The version, scripts and targets of the run. They must be the same in all its
        processes.
        """
        return {
            "version": tool_version(),
            "scripts": {script.name: script.digest for script in self.scripts},
            "targets": [
                [target.label, target.public_url, msgspec.json.encode(target.session).decode()]
                for target in self.targets
            ],
        }

    def opening_document(
        self, run_id: str, started_utc_ns: int, settings: Mapping[str, Any], workers: int
    ) -> dict[str, Any]:
        """Return the content of run.json before the first session. `settings` are all parsed
        options.
        """
        arrivals = self.load_model.arrivals
        schedule = self.load_model.schedule
        usd = None if self.sessions is None else estimate(self.session_costs, self.sessions)
        document = opening_document(
            run_id,
            self.scenario,
            started_utc_ns,
            {**settings, **self.public_settings},
            [target_facts(*pair) for pair in zip(self.targets, self.connect_rates, strict=True)],
            script_facts(self.workloads),
            workers,
            self.notices,
        )
        return document | {
            "labels": dict(self.options.labels),
            "interleaved": len(self.targets) > 1,
            "warmup_s": self.warmup_s,
            "calibration": self.calibration,
            "concurrency": self.concurrency.users * self.concurrency.targets,
            "sessions_planned": min(
                (known for known in (self.sessions, self.load_model.calls) if known is not None),
                default=None,
            ),
            **({} if arrivals is None else {"arrivals": arrivals.facts(started_utc_ns, workers)}),
            **({} if schedule is None else {"stages": schedule_facts(schedule)}),
            **self._part_entries,
            "niceness": self._niceness,
            "reader": chosen_reader()._asdict(),
            "prices": {
                "as_of": self.prices.as_of,
                "name": self.prices.name,
                "models": {model: asdict(prices) for model, prices in self.prices.models.items()},
            },
            "budget_usd": self.options.budget_usd,
            "estimate_usd": None if usd is None else list(usd),
        }

    @property
    def _part_entries(self) -> dict[str, Any]:
        """The entries of run.json for a part of a run."""
        if not self.options.part_of:
            return {}
        whole = (
            {} if self.options.whole_run is None else {"whole_run": dict(self.options.whole_run)}
        )
        return {"part_of": self.options.part_of, "planned_load": self._load} | whole

    @property
    def _load(self) -> dict[str, float]:
        """The load of this run, as in `bench.record.whole_run`."""
        arrivals = self.load_model.arrivals
        limits = {
            "users": self.concurrency.users if arrivals is None else None,
            "sessions": self.options.requested_sessions,
            "max_concurrent": None if arrivals is None else arrivals.slots,
            "arrival_rate": None if arrivals is None else arrivals.per_s,
            "connect_rate": self.options.connect_rate or None,
            "budget": self.options.budget_usd,
        }
        return {name: value for name, value in limits.items() if value is not None}

    @property
    def part_text(self) -> str:
        """The share that this part takes of the whole run; "" if the run is not a part."""
        options = self.options
        return share_text(options.part_of, self._load, options.whole_run) if options.part_of else ""

    @property
    def host_facts(self) -> dict[str, Any]:
        """The facts about the machine of this process, as in the entry `hosts` of run.json."""
        return named_host() | {
            "calibration": self.calibration,
            "niceness": self._niceness,
            "reader": chosen_reader()._asdict(),
        }

    @property
    def _niceness(self) -> int:
        return self.priority.niceness if self.priority else niceness()

    @property
    def public_settings(self) -> dict[str, Any]:
        """The settings that may contain a secret, in a form without secrets, which may be
        stored.
        """
        first = self.targets[0]
        service_options = self.options.service_options
        return {
            "url": first.public_url if service_options.url else None,
            "proxy": (first.network_path.proxy_name or "none") if service_options.proxy else None,
        }


def session_costs(
    targets: Iterable[Target], workloads: Mapping[str, Workload], prices: PriceTable
) -> list[SessionCost]:
    """Return the estimated cost of one session, for each target."""
    scripts = {
        label: list(
            {compiled.script.name: compiled.script for compiled in workload.values()}.values()
        )
        for label, workload in workloads.items()
    }
    return [
        session_cost(target, scripts[target.label], prices.models, prices.as_of)
        for target in targets
    ]


def kind_of(workloads: Mapping[str, Workload], targets: Sequence[Target]) -> SessionKind:
    """Return the kind of the run's sessions: an agent's dialect, or `voice` if any script sends
    audio, or `text`.
    """
    spoken = any(fact["chunk_ms"] for fact in script_facts(workloads))
    calls = (kind for target in targets for kind in AGENTS if target.dialect.name == kind)
    return next(calls, "voice" if spoken else "text")


def check_two(targets: Sequence[Target]) -> None:
    """Raise UsageError if the number of targets is not two."""
    if len(targets) != 2:
        labels = ", ".join(target.label for target in targets)
        raise UsageError(
            f"--until-decided compares two targets, but this run has {labels}: name two with"
            " --targets A,B"
        )


def named_simulator(parsed: Any) -> str:
    """Return the address of the simulator that the run's leader, or a parent command, found."""
    return getattr(parsed, SIMULATOR, None) or os.environ[ADDRESS]


def plan_run(
    environment: Environment, find_simulator: Callable[[Any], str] = named_simulator
) -> RunPlan:
    """Read the scripts, resolve the targets, prepare all messages, and return the plan of the run.

    The simulator of `--simulator` is found, or started, after the options and the scripts are read.
    Raise RtbenchError if there is a problem that the user must fix.
    """
    parsed = with_scenario_defaults(environment.parsed_options, environment.user_classes)
    options = Options.of(parsed)
    load_model = load_model_of(options, parsed, environment.user_classes)
    scripts = load_scripts(environment.user_classes, environment)
    if options.history:
        scripts = with_history(scripts, load_history(options.history))
    service_options = options.service_options
    if service_options.simulator:
        address = find_simulator(environment.parsed_options)
        service_options = with_simulator(service_options, address, scripts.values())
    targets = tuple(resolve_targets(os.environ, service_options))
    if options.until_decided:
        check_two(targets)
    workloads = workloads_of_targets(scripts, targets)
    users = load_model.users or peak_users(parsed, environment.shape_class)
    prices = load_price_table(options.service_options.price_file)
    # before anything is opened, and with the estimate in the error
    sessions = check_cost(
        targets,
        users,
        options.requested_sessions,
        session_costs(targets, workloads, prices),
        yes=options.yes,
    )
    if options.yes:
        targets = tuple(
            replace(target, network_path=replace(target.network_path, may_leave=True))
            for target in targets
        )
    tls = any(target.tls for target in targets)
    has_media = any(target.link.has_media for target in targets)  # no calibration has such calls
    dialects = {target.dialect.name for target in targets}
    return RunPlan(
        options,
        targets,
        workloads,
        sessions,
        prices,
        concurrency(environment, users, sessions=sessions, targets=len(targets)),
        (
            None
            if has_media
            else citation(
                state_folder(os.environ),
                kind_of(workloads, targets),
                tls=tls,
                dialect=dialects.pop() if len(dialects) == 1 else GA,
            )
        ),
        _warmup_s(environment, load_model, options, targets, workloads),
        available_priority() if options.priority else None,
        load_model,
        mcp_tokens=mcp_tokens(scripts.values(), os.environ),
        requested_users=users,
        run_time_s=load_model.duration_s or getattr(parsed, "run_time", None) or math.inf,
    )


def _warmup_s(
    environment: Environment,
    load_model: LoadModel,
    options: Options,
    targets: Sequence[Target],
    workloads: Mapping[str, Workload],
) -> float:
    """Return the warm-up in seconds, by default 0 if the load changes. Raise UsageError if the
    run is not longer.
    """
    parsed = environment.parsed_options
    duration_s = load_model.duration_s or (
        None if environment.shape_class else getattr(parsed, "run_time", None)
    )
    if options.warmup_s and duration_s and options.warmup_s >= duration_s:
        raise UsageError(
            f"--warmup {options.warmup_s:g} s leaves nothing to measure, because the run lasts only"
            f" {duration_s:g} s"
        )
    ramp_s = 0.0
    if load_model.arrivals is None:
        rates = per_minute_of(targets, options.connect_rate)
        ramp_s = ramp_up_s(
            int(parsed.num_users or 1), float(getattr(parsed, "spawn_rate", None) or 1), rates
        )
    longest_s = session_s(
        compiled.script for workload in workloads.values() for compiled in workload.values()
    )
    return warmup_s(options.warmup_s, None if load_model.changes else duration_s, ramp_s, longest_s)


# The warm-up is a fixed period, the same for all targets and processes. Sessions that start in it
# are excluded. In model runs of ten minutes with a slow start, steady-state detectors did no
# better, and they excluded different periods for the targets of a comparison.


def warmup_s(
    explicit_s: float | None, run_time_s: float | None, ramp_up_s: float, session_s: float
) -> float:
    """Return the warm-up in seconds: `explicit_s` if given; by default, only a run of known, long
    duration has one.

    This lasts as long as the ramp-up and one session, at least a minute, and at most half of the
    run.
    """
    if explicit_s is not None:
        return explicit_s
    if run_time_s is None or run_time_s < LONG_RUN_S:
        return 0.0
    return min(max(MIN_STEADY_S, ramp_up_s + session_s), MAX_SHARE_OF_RUN * run_time_s)


def ramp_up_s(users: int, spawn_rate: float, per_minute: Iterable[float | None]) -> float:
    """Return the seconds until each user has opened a session. `per_minute` is as in
    `per_minute_of`.
    """
    paced = max((users * 60 / rate for rate in per_minute if rate), default=0.0)
    return max(users / spawn_rate, paced)


def session_s(scripts: Iterable[Script]) -> float:
    """Return the seconds of speech and (mean) pauses in the longest session, with waits before
    sounds in silence.
    """
    return max((script.lasts_s for script in scripts), default=0.0)


def per_minute_of(targets: Sequence[Target], connect_rate: float | None) -> list[float | None]:
    """Return each target's maximum of new connections per minute, if any. Targets of one
    deployment share it.
    """
    deployments = [(target.host, target.port, target.model) for target in targets]
    sharing = Counter(deployments)
    rates = [
        target.connects_per_min if connect_rate is None else connect_rate for target in targets
    ]
    return [
        rate / sharing[deployment] if rate else None
        for rate, deployment in zip(rates, deployments, strict=True)
    ]


MANY_SESSIONS = 20
SPARE_DESCRIPTORS = 128
OFF = "values may have errors over 1 ms, and the run may be INVALID"
"""A text about what happens if a process has more sessions than the calibration allows."""


@dataclass(frozen=True)
class Concurrency:
    """The numbers of concurrent users, of targets, with each of which a user has a session, and
    of processes.
    """

    users: int
    targets: int
    processes: int

    @property
    def per_process(self) -> int:
        """The maximum number of open sessions in a process. Locust divides the users evenly
        among the processes.
        """
        return -(-self.users // self.processes) * self.targets

    def processes_for(self, sessions: int) -> int | None:
        """Return how many processes have at most `sessions` sessions each; None if a single user
        has more.
        """
        users_per_process = sessions // self.targets
        return -(-self.users // users_per_process) if users_per_process else None


def concurrency(
    environment: Environment, users: int, *, sessions: int | None, targets: int
) -> Concurrency:
    """Return the concurrency of a run of `users`, at most `sessions`, if given. Workers started
    by hand count, too.
    """
    parsed = environment.parsed_options
    workers = getattr(environment.runner, "worker_count", 0)
    options = (int(getattr(parsed, name, None) or 1) for name in ("processes", "expect_workers"))
    return Concurrency(
        users if sessions is None else min(users, sessions), targets, max(*options, workers)
    )


def peak_users(parsed: Any, shape: Any) -> int:
    """Return the peak number of users: of the shape's `stages`, if as in Locust's examples, or
    else of --users.
    """
    stages = getattr(shape, "stages", None) or ()
    of_stages = [stage.get("users") for stage in stages if isinstance(stage, Mapping)]
    return max(
        (users for users in of_stages if isinstance(users, int)), default=int(parsed.num_users or 1)
    )


def process_advice(
    concurrency: Concurrency, cited: Mapping[str, Any] | None, cores: int
) -> list[str]:
    """Return a notice if a process has more sessions than this machine is calibrated for
    (`cited`); otherwise [].
    """
    load_text = f"{concurrency.per_process:,} sessions in one process"
    if cited is None:
        unknown = f"this machine is not calibrated for {load_text}: run `rtbench calibrate`"
        return [unknown] if concurrency.per_process > FIRST_SESSIONS else []
    if concurrency.per_process <= cited["sessions"]:
        return []
    changed = "".join(f", {change}" for change in cited.get("stale", ()))
    trusted = f"{at_least(cited.get('ended', ''))}{cited['sessions']:,} {cited['kind']} sessions"
    beyond = (
        f"{load_text} are more than this machine is calibrated for: {trusted} (on"
        f" {cited['date']}{changed})"
    )
    processes = concurrency.processes_for(cited["sessions"])
    if processes is None:
        return [f"{beyond}; no number of processes is enough for this load; {OFF}"]
    machines = f"{-(-processes // cores)} machines with {cores} core{'s' * (cores > 1)} each"
    needed = (
        f"--processes {processes}"
        if processes <= cores
        else f"{processes} processes, on {machines}"
    )
    return [f"{beyond}; this load needs {needed}; with fewer, {OFF}"]


@dataclass(frozen=True)
class WorkerHost:
    """A host on which a master has workers, with its calibration as in run.json, if any."""

    name: str
    workers: int
    cores: int
    cited: Mapping[str, Any] | None


def hosts_advice(concurrency: Concurrency, hosts: Sequence[WorkerHost]) -> list[str]:
    """Return a notice whether the hosts of a run can carry its load, according to their
    calibrations.
    """
    per_process = concurrency.per_process
    hosts_text = f"{len(hosts)} host{'s' * (len(hosts) > 1)}"
    load = (
        f"{per_process:,} sessions in each of {sum(host.workers for host in hosts)} processes on"
        f" {hosts_text}"
    )
    beyond = [
        host for host in hosts if host.cited is not None and per_process > host.cited["sessions"]
    ]
    unknown = [host.name for host in hosts if host.cited is None]
    crowded = [
        f"{host.name} has {host.cores} for {host.workers} workers"
        for host in hosts
        if host.workers > host.cores
    ]
    problems = []
    if beyond:
        trusted = ", ".join(
            f"{host.name} {host.cited['sessions']:,}" for host in beyond if host.cited is not None
        )
        problems.append(f"more than they are calibrated for ({trusted}); {OFF}: start more workers")
    if unknown:
        are = "is" if len(unknown) == 1 else "are"
        problems.append(f"{', '.join(unknown)} {are} not calibrated: run `rtbench calibrate` there")
    if crowded:
        problems.append(f"too few cores: {', '.join(crowded)}")
    return [f"{load}: {'; '.join(problems) or 'each host is calibrated for this load'}"]


def check_cost(
    targets: Iterable[Target],
    users: int,
    sessions: int | None,
    costs: Collection[SessionCost],
    *,
    yes: bool,
) -> int | None:
    """Return the limit of sessions with each target, if any. Without `yes`, a remote host gets at
    most 20 in total.

    Raise UsageError, with the estimated cost, if more are requested. `costs`: those of a session
    with each target.
    """
    far = [target for target in targets if not target.loopback]
    hosts = Counter(target.far_host if is_loopback(target.host) else target.host for target in far)
    if not hosts or yes:
        return sessions
    host, target_count = hosts.most_common(1)[0]
    if max(users, sessions or 0) * target_count > MANY_SESSIONS:
        more = f"this opens more than {MANY_SESSIONS} sessions to {host}, which may cost money"
        raise UsageError(f"{more} ({amount_text(costs, sessions)}): add --yes to allow it")
    return sessions or MANY_SESSIONS // target_count


def check_shares(concurrency: Concurrency, sessions: int | None) -> None:
    """Raise UsageError if a process would get no user or no session. Such a process would never
    finish its share.
    """
    processes = concurrency.processes
    if sessions is not None and processes > concurrency.users:
        needs = f"need at least {processes} users and sessions"
        raise UsageError(f"{processes} processes with --sessions {needs}: lower --processes")


def check_meetings(concurrency: Concurrency, scripts: Iterable[Script]) -> None:
    """Raise UsageError if a process has too few users for a turn that callers end together."""
    users = concurrency.users // concurrency.processes
    for script in scripts:
        for turn in script.turns:
            if turn.together > users:
                raise UsageError(
                    f"{script.name}: the step {turn.name} needs {turn.together} callers"
                    f" (`together`), but a process has {users} users: add -u"
                    f" {turn.together * concurrency.processes}, or lower --processes"
                )


def check_ports(concurrency: Concurrency, targets: Sequence[Target], option: str) -> None:
    """Raise UsageError if there are fewer pairs of ports for RTP than concurrent calls, which
    `option` sets.
    """
    ranges = Counter(target.network_path.rtp_ports for target in targets if target.link.has_media)
    for ports, count in ranges.items():
        if len(ports) < concurrency.users * count:
            raise UsageError(
                f"the ports from {ports.start} to {ports[-1] + 1} are for {len(ports)} calls at the"
                f" same time, but the run has up to {concurrency.users * count}: use more ports"
                f" (--rtp-ports), or lower {option}"
            )


def check_descriptors(concurrency: Concurrency, targets: Sequence[Target]) -> None:
    """Raise the soft limit on file descriptors to what the run needs. Raise UsageError if the
    hard limit is too low.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    per_session = max(target.link.sockets for target in targets)
    needed = concurrency.per_process * per_session + SPARE_DESCRIPTORS
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise UsageError(
            f"{concurrency.users} users need {needed} file descriptors per process, but the limit"
            f" is {hard}: raise it with `ulimit -n`, or distribute the users with --processes"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
