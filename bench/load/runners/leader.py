"""The role of a process that leads runs. It makes the folder of a run, shows the progress, and
closes the run.
"""

# A run of the leader has these steps. `open`, once: check options, find the simulator, plan,
# prepare the web UI, wait for workers. `_start`: sign in; make the folder, hold its lock, and write
# run.json, so that a killed run explains itself; then hand the run to the workers, or start
# sessions here. `_poll`, each second: collect progress, enforce the budget, consider analyses, draw
# the status line. `_finish`: complete run.json, and let children decide, check, report and upload.
#
# The order of the start matters: a refused sign-in or an invalid plan leaves no folder.

import atexit
import math
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import gevent
from locust import LoadTestShape
from locust.argument_parser import get_parser

from bench.base.clock import monotonic_ns, utc_ns
from bench.base.cpu import OtherPrograms
from bench.base.errors import (
    INTERRUPTED_STATUS,
    INVALID_STATUS,
    USAGE_STATUS,
    UsageError,
    closed_on_failure,
)
from bench.base.units import NS_PER_S
from bench.load.events.planned import EventPlan, check_times, planned_events
from bench.load.events.played import RunEvents
from bench.load.execution.live_run import POLL_S
from bench.load.execution.pairs import WorkerSlot
from bench.load.execution.target_state import target_states
from bench.load.lifecycle import SEARCH_ENDED, RunStarted, RunState, StopRequested
from bench.load.planning.command_line import repeating_command
from bench.load.planning.load_model import load_model_of, with_scenario_defaults
from bench.load.planning.locust_entries import NOT_STARTED
from bench.load.planning.run_options import (
    MAX_PAIRS,
    MOST_SEED,
    RUN_OPTIONS,
    Environment,
    Options,
    is_command,
)
from bench.load.planning.run_plan import SIMULATOR, RunPlan, check_two, named_simulator
from bench.load.planning.stages import LoadSchedule
from bench.load.runners import finalized_run
from bench.load.runners.abort_analyses import AbortAnalyses, abort_text
from bench.load.runners.evaluation import Evaluation
from bench.load.runners.interim_analyses import (
    InterimAnalyses,
    plan_text,
    scripts_of,
    sequential_plan,
)
from bench.load.runners.live_totals import TargetProgress
from bench.load.runners.monitor import RunMonitor, Telemetry, check_installed
from bench.load.runners.role import ProcessRole
from bench.load.runners.web_ui import (
    add_tabs,
    check_port,
    live_address,
    live_page,
    open_text,
    restrict_handlers,
    show_targets,
)
from bench.load.simulator_process import is_simulator, simulator_to_call
from bench.record import folder as files
from bench.record import presence
from bench.record.document import GIVEN_UP, INTERRUPTED, SequentialPlanEntry
from bench.record.spool import parts
from bench.record.upload import destination_of
from bench.record.whole_run import shares, users_of_part
from bench.target.target import Credential, redacted
from bench.target.tokens import Keyring

NAMES_SECRET = re.compile("key|token|secret|passw", re.IGNORECASE)
"""The names of environment variables whose values the output of a command must not show."""


class StagesShape(LoadTestShape):  # type: ignore[misc]  # Locust is not typed
    """A load shape that follows a schedule of sessions. It ends the run when the schedule ends."""

    def __init__(self, schedule: LoadSchedule) -> None:
        super().__init__()
        self._schedule = schedule

    def tick(self) -> tuple[int, float] | None:
        """Return (users, maximum of users that start or stop per second); None when the schedule
        has ended.
        """
        at_s = self.get_run_time()
        if at_s >= self._schedule.duration_s:
            return None
        return math.ceil(self._schedule.level(at_s)), max(1.0, self._schedule.peak)


@contextmanager
def held(shape: Any, start: gevent.Greenlet) -> Iterator[None]:
    """Let a load shape, if any, begin after the step that starts a run. Locust asks it before."""

    def tick() -> object:
        start.join()
        return shape.tick()

    if shape is not None:
        shape.tick = tick
    try:
        yield
    finally:
        if shape is not None:
            del shape.tick
            shape.reset_time()


MAX_SPAWNED_PER_S = 100
"""The maximum number of users that a process starts per second. If it were higher, Locust would
print a warning."""


class Leader(ProcessRole):
    """The role of a process that leads runs. Its users run the sessions, unless it has workers."""

    def __init__(self, environment: Environment, evaluation: Evaluation) -> None:
        super().__init__(environment)
        self._evaluation = evaluation
        self._ran = False
        self._opened_ns = 0
        self._decision: SequentialPlanEntry | None = None
        self._thresholds = finalized_run.RunThresholds({}, None)
        self._check_options: list[str] | None = None
        parsed = environment.parsed_options
        # the URL may contain a signature, and options are sent to workers
        self._upload = parsed.upload
        parsed.upload = None
        # so may a command
        self._event_texts, parsed.event = parsed.event, None

    # The plan of the run.

    def open(self) -> None:
        if self._upload:
            destination_of(self._upload, "--upload")
        if self.parsed.telemetry:
            check_installed()
        parsed = self.parsed
        if parsed.live:
            self.say(f"live page, read-only: {live_address(parsed)}")
        if is_command(parsed) and parsed.spawn_rate is None:
            parsed.spawn_rate = min(parsed.num_users or 1, MAX_SPAWNED_PER_S)
        self._refuse_host()
        self._take_share()
        self.prepare()
        plan = self.planned
        check_times(
            planned_events(self._event_texts),
            plan.warmup_s,
            parsed.run_time or plan.load_model.duration_s,
        )
        ends = (
            plan.options.requested_sessions
            or plan.options.budget_usd
            or plan.load_model.duration_s
            or parsed.run_time
        )
        # only a signal ends it
        if is_command(parsed) and not ends and self._environment.shape_class is None:
            raise UsageError(
                "this run has no end: add --sessions 50 (total calls) or -t 2m (duration)"
            )
        self._set_users()
        web_ui = live_page(self._environment) if parsed.live else self._environment.web_ui
        if not parsed.headless:  # the web UI starts after this
            check_port(parsed.web_host, parsed.web_port)
        if web_ui is not None:
            if self._all_realtime:
                show_targets(web_ui, self._targets_text)
            restrict_handlers(web_ui, vars(parsed), self._check, read_only=parsed.live)
            add_tabs(
                web_ui, parsed.web_base_path, self._targets, self._report, read_only=parsed.live
            )
            if parsed.live:
                web_ui.start()
            elif opened := open_text(web_ui):
                self.say(opened)
        self.workers.open()
        self._opened_ns = monotonic_ns()

    def _take_share(self) -> None:
        """Make this run an equal part of `--whole-run`, with random numbers of its own. Raise
        UsageError.
        """
        parsed = self.parsed
        if parsed.part_of and parsed.seed == RUN_OPTIONS["seed"].more["default"]:
            # with a common seed, calls of all parts arrive together
            parsed.seed = str(secrets.randbelow(MOST_SEED))
        whole = RUN_OPTIONS["whole_run"].of(parsed)
        if whole is None:
            return
        for name, share in shares(whole).items():
            if getattr(parsed, name) not in (None, ""):
                flag = "--" + name.replace("_", "-")
                raise UsageError(
                    f"{flag} and --whole-run both limit this part: omit {flag}, or omit it in"
                    " --whole-run"
                )
            setattr(parsed, name, f"{share:.9f}/s" if name == "arrival_rate" else str(share))
        parsed.num_users = users_of_part(whole, parsed.num_users)

    @property
    def _all_realtime(self) -> bool:
        """True if no class is a plain Locust user, which uses Locust's host."""
        return all(hasattr(user, "run_session") for user in self._environment.user_classes)

    def _refuse_host(self) -> None:
        """Raise UsageError if Locust's host is set: the service would be another one than the
        user expects.
        """
        named = [
            user
            for user in self._environment.user_classes
            if hasattr(user, "run_session") and user.host
        ]
        what = f"`host` of {named[0].__name__}" if named else "--host (or LOCUST_HOST)"
        if named or (self.parsed.host and self._all_realtime):
            raise UsageError(
                f"{what} names no service here: use --url URL, --targets with the names in"
                " targets.yaml, or --simulator"
            )

    def _find_simulator(self, parsed: Any) -> str:
        """Find or start the simulator of this process's runs. It ends with this process."""
        if getattr(parsed, SIMULATOR, None) is None:
            called = ExitStack()
            atexit.register(called.close)
            simulator = called.enter_context(
                simulator_to_call(parsed.simulator_profile, self._evaluation.command)
            )
            setattr(parsed, SIMULATOR, simulator.address)
            if simulator.notice:
                self.say(simulator.notice)
        return named_simulator(parsed)

    @cached_property
    def _simulators(self) -> frozenset[str]:
        """The labels of the targets on this machine that are simulators. They are asked once."""
        return frozenset(target.label for target in self.planned.targets if is_simulator(target))

    def _targets_text(self) -> str:
        """Return the targets with their URLs, as the web UI shows them, also before the first
        call.
        """
        simulated = {
            target.target for target in self._targets() if target.simulated
        } | self._simulators
        texts = (
            f"{target.public_url}{' (SIMULATED)' if target.label in simulated else ''}"
            for target in self.planned.targets
        )
        return ", ".join(texts)

    def _set_users(self) -> None:
        """Make Locust start the number of users that the load model requires, or follow its
        schedule.
        """
        load_model = self.planned.load_model
        if load_model.users is None:
            return
        if load_model.schedule is not None and self._environment.shape_class is not None:
            raise UsageError(
                "--stages and the load shape of the Locust file both set the number of sessions:"
                " omit one of them"
            )
        self.parsed.num_users = load_model.users
        if load_model.schedule is not None:
            self._environment.shape_class = shape = StagesShape(load_model.schedule)
            shape.runner = self.runner
        else:
            self.parsed.spawn_rate = min(
                load_model.users, MAX_SPAWNED_PER_S * self.planned.concurrency.processes
            )

    def _plan(self) -> RunPlan:
        plan = super()._plan()
        self._decision = None
        self._thresholds = finalized_run.read_thresholds(self._evaluation, plan, self.parsed)
        self._check_options = finalized_run.check_options(self.parsed, self._thresholds)
        if plan.options.until_decided:
            pairs = plan.sessions or MAX_PAIRS
            self._decision = sequential_plan(
                self._evaluation,
                plan.options,
                pairs,
                scripts_of(plan.workloads),
                lacking=plan.missing_features,
                thresholds=self._thresholds.by_metric,
            )
        return plan

    def _check(self, parsed: Any) -> None:
        """Raise UsageError if the options of a run are invalid. The run would have the targets
        of this process.
        """
        classes = self._environment.user_classes
        parsed = with_scenario_defaults(parsed, classes)
        options = Options.of(parsed)
        load_model_of(options, parsed, classes)
        if options.until_decided:
            check_two(self.planned.targets)

    # The start.

    def _start(self) -> None:
        self.workers.begin()
        self.parsed.rtbench_run = None  # what workers get if the run does not start
        if self._ran or not self._headless:  # a later run of this process may have other options
            self.prepare()
        self._ran = True
        # before the folder is made, so that a refused sign-in leaves none
        with held(self._environment.shape_class, gevent.getcurrent()):
            keyring = self._signed_in()
            if keyring is not None:
                with closed_on_failure(keyring):
                    self._start_load(keyring)

    def _start_load(self, keyring: Keyring) -> None:
        self.planned = replace(self.planned, hosts_advice=self.workers.advice())
        slot = WorkerSlot(
            utc_ns(), monotonic_ns(), self.planned.warmup_s, workers=self.workers.count
        )
        states = target_states(self.planned, keyring, slot)
        folder = files.create(
            self.planned.options.runs_dir, self.planned.scenario, slot.started_utc_ns
        )
        presence.hold(folder)
        settings = vars(self.parsed)
        document = self.planned.opening_document(
            folder.name, slot.started_utc_ns, settings, slot.workers
        )
        if self._decision is not None:
            document["sequential_plan"] = dict(self._decision)
        if self._thresholds.by_metric:
            document["thresholds"] = self._thresholds.by_metric
        if (abort := self._thresholds.abort) is not None:
            document["abort"] = abort | {"sessions": self.planned.sessions}
        events = planned_events(self._event_texts)
        public_events = [event.public_text for event in events] or None
        public_options = settings | self.planned.public_settings | {"event": public_events}
        actions = get_parser(default_config_files=[])._actions
        if command := repeating_command(
            public_options, actions, os.environ, judged=is_command(self.parsed)
        ):
            document["command"] = command
        files.write_document(folder, document)
        self.run.document = document
        self.run.folder = folder
        played = self._new_events(events, folder, keyring)
        self.run.closing.callback(played.close)
        self.apply(RunStarted())
        decided = (
            ()
            if self._decision is None
            else (plan_text(self._decision), *self._decision.get("notices", ()))
        )
        self.run.monitor = self._new_monitor(folder)
        stopping = () if abort is None else (abort_text(abort, has_end=self.run.monitor.has_end),)
        for line in (
            *filter(None, [self.planned.part_text]),
            *self.planned.notices,
            *decided,
            *stopping,
        ):
            self.say(line)
        if self.workers.hand_over(folder, slot):
            keyring.close()  # the workers sign in themselves
        else:
            self._go_live(folder, slot, states, keyring)
        played.begin(slot.started_ns)

    def _new_events(self, events: Sequence[EventPlan], folder: Path, keyring: Keyring) -> RunEvents:
        def changed(entries: list[dict[str, Any]]) -> None:
            self.run.document["events"] = entries
            files.write_document(folder, self.run.document)

        named = [Credential(*item) for item in os.environ.items() if NAMES_SECRET.search(item[0])]

        def hide(text: str) -> str:
            return redacted(keyring.redact(text), named)

        return RunEvents(events, changed=changed, say=self.say, hide=hide)

    def _new_monitor(self, folder: Path) -> RunMonitor:
        def stop(reason: str) -> None:
            self.apply(StopRequested(reason))

        plan = self._decision
        abort = self.run.document.get("abort")
        return RunMonitor(
            self.planned,
            self.screen,
            run_time_s=self.parsed.run_time or self.planned.load_model.duration_s,
            analyses=(
                None
                if plan is None
                else InterimAnalyses(
                    folder,
                    plan["analyses"],
                    stop=stop,
                    give_up=lambda cause: stop(GIVEN_UP + cause),
                    say=self.say,
                    command=self._evaluation.of_comparison("analyse"),
                )
            ),
            aborts=None
            if abort is None
            else AbortAnalyses(
                folder,
                abort,
                stop=stop,
                say=self.say,
                command=self._evaluation.of_thresholds("analyse"),
            ),
            # the CPU time of workers is not that of other programs
            others=OtherPrograms() if self.workers.are_here else None,
            telemetry=(
                Telemetry(folder.name, self.planned, self.say) if self.parsed.telemetry else None
            ),
        )

    # During the run.

    def _poll(self) -> None:
        monitor = self.run.monitor
        if monitor is not None:
            if (live := self.run.live) is not None:
                monitor.on_report(0, live.progress_report())
            self.enforce_budget(monitor)
            monitor.poll(self.run.state)
        self.workers.poll()

    def _targets(self) -> list[TargetProgress]:
        """Return the progress of each target in the current run, or else in the last run."""
        return [] if self.run.monitor is None else self.run.monitor.targets

    def _report(self) -> Path | None:
        """Return the report page of the last run; None if it has not been made yet."""
        page = self.run.folder and self.run.folder / "report.html"
        return page if page and self.run.summary and page.exists() else None

    def enforce_budget(self, monitor: RunMonitor) -> None:
        if self.run.state is RunState.RUNNING and (reason := monitor.over_budget()):
            self.apply(StopRequested(reason, spent=True))

    # The end.

    def on_test_stopping(self, **arguments: Any) -> None:
        run_time_s = self.parsed.run_time
        open_s = (monotonic_ns() - self._opened_ns) / NS_PER_S
        is_over = self._ends_itself and bool(run_time_s) and open_s >= run_time_s
        if is_over and self._environment.shape_class is None:
            self._wait_for_run_time()
        super().on_test_stopping(**arguments)

    def _wait_for_run_time(self) -> None:
        """Wait until the run has had its run time, or ends. Locust measures the time from before
        the start, which takes seconds on a busy machine.
        """
        run = self.run
        while run.state is RunState.SIGNING_IN or (
            run.state is RunState.RUNNING and run.monitor is not None and run.monitor.has_time_left
        ):
            gevent.sleep(POLL_S)

    def on_test_stop(self, **arguments: Any) -> None:
        super().on_test_stop(**arguments)
        if self._ends_itself:
            gevent.spawn_later(0 if self._headless else self.parsed.autoquit, self._quit)

    def on_quit(self, exit_code: int = 0, **arguments: Any) -> None:
        """Print the summary, then why the run fails although it is VALID: by Locust's status."""
        super().on_quit(**arguments)
        is_own = self._environment.process_exit_code is None
        if not (is_own and exit_code and is_command(self.parsed) and self.run.monitor):
            return
        total = self.run.monitor.totals.total
        counts = {
            "turns failed": total.turns_failed,
            "connects failed": total.sessions_refused,
            "calls ended before their last turn": sum(
                error.occurrences
                for error in self.runner.errors.values()
                if error.name == NOT_STARTED
            ),
        }
        failed = ", ".join(f"{name}: {number:,}" for name, number in counts.items() if number)
        self.say(
            f"exit status {exit_code}: {failed or 'requests failed'}; `--exit-code-on-error 0`"
            " ignores them"
        )

    def _quit(self) -> None:
        """End the process. Locust alone would not end it if all workers are missing, but wait
        for another worker.
        """
        self.runner.quit()
        if self._environment.web_ui is not None:
            self._environment.web_ui.stop()

    def _finish(self, folder: Path) -> None:
        run = self.run
        reason = self.run.lifecycle.reason
        if notice := self.workers.notice():
            self.say(notice)
            run.document["notices"] = [*run.document.get("notices", ()), f"{notice}."]
        self._poll()
        run.closing.close()
        if run.monitor is not None:
            run.monitor.close()
            self._record_delays(run.monitor)
            if (analyses := run.monitor.analyses_made(reason)) is not None:
                run.document["interim_analyses"] = analyses
            if run.monitor.aborts is not None:
                run.document["abort"] = run.monitor.aborts.entry(reason)
        self._record_absent_workers(folder)
        if run.lifecycle.problem:
            run.document["refused"] = run.lifecycle.problem
        if reason.startswith(GIVEN_UP):
            run.document["aborted_because"] = reason.removeprefix(GIVEN_UP)
        judged = reason != INTERRUPTED and self._environment.process_exit_code != USAGE_STATUS
        stopped = reason or "its time was over, or its users were stopped"
        closed = finalized_run.finalize_run(
            self._evaluation, folder, run.document, stopped, self._check_options if judged else None
        )
        run.summary = closed.summary
        if closed.error and not folder.exists():
            self.say(f"the run folder {folder} no longer exists: no report can be made")
        elif closed.error:
            self.say(closed.error)
            if finalized_run.holds_rows(folder):
                self.say(
                    f"the recorded data is in {folder}; when the problem is solved, or on another"
                    f" machine with a copy of the folder, run `rtbench report {folder}`"
                )
            else:
                self.say(f"no row of a turn or session was saved in {folder}")
        status = closed.status
        if reason == INTERRUPTED and status not in (USAGE_STATUS, INVALID_STATUS):
            status = INTERRUPTED_STATUS
        if status == USAGE_STATUS or self._environment.process_exit_code is None:
            self._environment.process_exit_code = status
        if self._check_options is not None and not judged:
            self.say(
                "thresholds were not checked, because the run was not completed; to check its"
                f" turns so far, run `rtbench check {folder}`"
            )
        if self._upload and folder.exists():
            try:
                for line in finalized_run.upload_run(
                    self._evaluation, folder, self._upload
                ).splitlines():
                    self.say(line)
            except UsageError as error:
                self.say(str(error))
                # on a line of its own, which is not truncated
                self.say(f"to try again: rtbench runs upload {folder} URL")
                self._environment.process_exit_code = USAGE_STATUS

    def _record_delays(self, monitor: RunMonitor) -> None:
        """Print and store how long the service delayed starts. Print how many calls waited after
        refused calls.
        """
        total = monitor.totals.total
        if held_s := total.held_s:
            longest = ", ".join(f"{label} {seconds:.1f} s" for label, seconds in held_s.items())
            is_own = total.own_delays > 0
            reason = "after throttled requests" if is_own else "at the request of the service"
            self.say(f"starts were delayed {reason}: {longest} in total")
            self.run.document["start_delays_s"] = held_s
        if calls := total.calls_backed_off:  # the rows of seconds contain their number
            self.say(f"{calls} calls were delayed after calls that failed (back-off)")

    def _record_absent_workers(self, folder: Path) -> None:
        """Print the number of workers that never started. Without them, the run is not the
        requested run.

        Do nothing if an error was printed before, or the user or a search interrupted the run.
        """
        workers = int(self.run.document["workers"])
        silent = self.workers.silent(folder)
        absent = workers - sum(part.has_started for part in parts(folder)) - silent
        self.workers.record_idle(folder)
        if self.run.lifecycle.reason in (INTERRUPTED, SEARCH_ENDED):
            return
        if absent and self._environment.process_exit_code != USAGE_STATUS:
            self.say(
                f"the run ended before {absent} of its {workers} workers started; these opened no"
                " session"
            )
            self._environment.process_exit_code = USAGE_STATUS
