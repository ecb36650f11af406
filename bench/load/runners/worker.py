"""The worker. It executes its part of a run that a master hands over, and reports its progress to
the master.

On the master's host, it writes into the run's spool. On another host, it writes into a folder of
its own, and sends the files of this folder to the master.
"""

# `connected_workers.py` lists the messages in their order. A worker plans the run itself, with its
# own files and secrets, and refuses it if the plan differs from the master's. On another host, it
# records into a folder of its own, as a run of one process does. The folder is removed only when
# the master has acknowledged all of its data. If the master disappears, the worker ends its
# sessions at once, because their cost is not counted any more, and its data stays readable.

import math
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gevent
from locust import runners

from bench.base.clock import monotonic_ns, utc_ns
from bench.base.errors import USAGE_STATUS, RtbenchError, UsageError, closed_on_failure
from bench.load.execution.live_run import ABORT_WAIT_S, unwritable
from bench.load.execution.pairs import WorkerSlot
from bench.load.execution.target_state import target_states
from bench.load.lifecycle import MasterLost, RunRefused, RunStarted, StopRequested
from bench.load.planning.run_options import Environment, worker_timeout_s
from bench.load.runners import messages, worker_link
from bench.load.runners.role import LOOK_S, ProcessRole
from bench.load.runners.worker_link import PartSender
from bench.record import folder as files
from bench.record import spool
from bench.record.provenance import host_name
from bench.record.replica import PartSource, new_key

LEAVE_S = ABORT_WAIT_S
"""The seconds by which a worker without messages ends before its master considers it missing."""

WITHOUT_RUN_S = 30.0
"""The seconds for which a worker of `--processes` waits, after a signal, for a run or for the
request to quit.

Usually one of them comes at once. Only a worker whose master has ended without a word waits so
long.
"""


class Worker(ProcessRole):
    """The role of a worker. Its users run sessions."""

    _leads = False

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        parsed = environment.parsed_options
        self._assigned = messages.secret_options(parsed)
        self._yes = bool(getattr(parsed, "yes", False))
        """True if this process has the option --yes, so that a master may make it open many
        sessions."""
        self._number = 0
        self._shares = True
        """The number of this worker in the run. `_shares` is True if this worker writes into its
        master's folder."""
        self._ended_run = ""
        """The run that the master let drain last. It may do this before it hands the run over."""
        self._part_sender: PartSender | None = None
        """The sender of this worker's data; None if this worker writes into its master's folder."""
        self._master = worker_link.MasterLiveness()
        runner = environment.runner
        runner.register_message(messages.DRAIN, self._on_master_drain, concurrent=True)
        runner.register_message(messages.RECEIPT, self._on_receipt)
        runner.register_message(messages.PING, self._on_ping)
        self._key = new_key()
        runner.send_message(messages.HERE, messages.host_facts() | {"key": self._key})

    def open(self) -> None:
        """Start to watch the master. Everything else starts when the master starts a run."""
        self._master.patience_s = worker_timeout_s(self.parsed) - LEAVE_S
        # otherwise Locust would wait for open turns first
        runners.MASTER_HEARTBEAT_TIMEOUT = math.inf
        self._environment.events.heartbeat_received.add_listener(
            lambda **_: self._master.on_message()
        )
        self._watching = gevent.spawn(self._watch_master)
        if worker_link.HELD.is_forked:
            worker_link.HELD.on_signal = lambda: gevent.spawn(self._leave_without_run)
            gevent.spawn(worker_link.HELD.hold)  # again when Locust has set its own handlers
            if worker_link.HELD.is_held:
                worker_link.HELD.on_signal()

    def _leave_without_run(self) -> None:
        """End this worker after a signal, unless its master starts a run, which then ends as the
        master decides.
        """
        before = self.run
        gevent.sleep(WITHOUT_RUN_S)
        if self.run is before:
            self.runner.quit()

    def on_quitting(self, **arguments: Any) -> None:
        self._watching.kill(block=False)
        self.parsed.json = False  # its master prints the JSON, perhaps to the same stdout
        super().on_quitting(**arguments)

    def _start(self) -> None:
        self._part_sender = None
        assignment = self.parsed.rtbench_run
        if assignment is None:
            return  # its master could not start the run, and has reported it
        if assignment["run_id"] == self._ended_run:
            return
        if self.runner.client_id not in assignment["members"]:
            self.say(
                "this worker connected after the start of the run, so it is not part of this run"
            )
            return
        self._number = assignment["members"][self.runner.client_id]
        self._shares = spool.is_reached(Path(assignment["folder"]), assignment["host"])
        try:
            self._join_run(assignment)
        except (
            RtbenchError,
            OSError,
        ) as error:  # ends the run for all processes: it is not the requested run
            problem = unwritable(error) if isinstance(error, OSError) else str(error)
            where = "" if self._shares else f" (worker {self._number}, on {host_name()})"
            raise RtbenchError(f"{problem}{where}") from error

    def _join_run(self, assignment: dict[str, Any]) -> None:
        """Join the run that the master hands over. Raise UsageError if this worker cannot
        execute it.
        """
        # the options are the master's now
        self._master.patience_s = worker_timeout_s(self.parsed) - LEAVE_S
        worker_link.outlive_parent()  # recorded data must reach the disk
        self._use_own_secrets()
        if not self._shares:
            self.parsed.yes = self._yes
        self.prepare()
        own_identity = self.planned.identity
        master_identity = assignment["identity"]
        if master_identity["version"] != own_identity["version"]:
            versions = (
                f"this worker has rtbench {own_identity['version']}, but its master has"
                f" {master_identity['version']}"
            )
            raise UsageError(f"{versions}: install the same version on both")
        if master_identity != own_identity:
            raise UsageError(
                "this worker has other scripts or targets than its master, so it cannot join the"
                " run: use the same files on both"
            )
        folder = Path(assignment["folder"])
        keyring = self._signed_in()
        if keyring is None:
            return
        self.apply(RunStarted())
        if self._shares and not (
            spool.is_stored(folder) and files.read_document(folder)["state"] == "running"
        ):
            # after the master closes the run, further data would be in none of its files
            keyring.close()
            return
        with closed_on_failure(keyring):
            slot = self._slot(assignment)
            self.run.folder = folder if self._shares else self._own_folder(assignment, slot)
            self._master.tie(folder if self._shares else None)
            states = target_states(self.planned, keyring, slot)
            self._go_live(self.run.folder, slot, states, keyring, run_id=assignment["run_id"])

    def _use_own_secrets(self) -> None:
        """Set the options that the master does not send to this process's values. Raise
        UsageError if it has none.
        """
        for name in messages.MAY_HOLD_SECRETS:
            if getattr(self.parsed, name, None) == messages.NOT_SENT:
                if not self._assigned[name]:
                    raise UsageError(
                        f"set --{name} on this worker as well: it may contain a password, so the"
                        " master does not send it"
                    )
                setattr(self.parsed, name, self._assigned[name])

    def _slot(self, assignment: dict[str, Any]) -> WorkerSlot:
        """Return the position of this worker in the run, by its own clocks. CLOCK_MONOTONIC
        differs between hosts.
        """
        slot_fields = assignment["slot"] | {"worker": self._number}
        if self._shares:
            return WorkerSlot(**slot_fields)
        ahead_ns, uncertainty_ns = assignment["clocks"].get(self.runner.client_id, (0, None))
        since_ns = utc_ns() - ahead_ns - slot_fields["started_utc_ns"]
        clock = {"ahead_ns": ahead_ns, "ahead_uncertainty_ns": uncertainty_ns}
        return WorkerSlot(**slot_fields | {"started_ns": monotonic_ns() - since_ns} | clock)

    def _own_folder(self, assignment: dict[str, Any], slot: WorkerSlot) -> Path:
        """Make a folder for this worker's data, which `rtbench runs merge` can read. Start to send
        it to the master.
        """
        plan = self.planned
        send = self.runner.send_message
        run_id = assignment["run_id"]
        folder = files.create(
            plan.options.runs_dir, f"{plan.scenario}-worker-{self._number}", slot.started_utc_ns
        )
        document = plan.opening_document(
            run_id, slot.started_utc_ns, vars(self.parsed), slot.workers
        )
        files.write_document(folder, document)
        source = PartSource(folder, self._number, self._key)
        self._part_sender = PartSender(
            source, lambda chunk: send(messages.CHUNK, {"run_id": run_id, "chunk": chunk})
        )
        return folder

    # During the run.

    def _on_receipt(self, msg: Any, **_: Any) -> None:
        self._master.on_message()
        if self._part_sender is not None:
            self._part_sender.receipt(msg.data)

    def _on_ping(self, msg: Any, **_: Any) -> None:
        self.runner.send_message(messages.PONG, [msg.data["sent_ns"], utc_ns(), utc_ns()])

    def _poll(self) -> None:
        if (live := self.run.live) is not None:
            self.runner.send_message(messages.PROGRESS, asdict(live.progress_report()))

    def _ask_master(self, request: StopRequested | RunRefused) -> None:
        kind = messages.REFUSED if isinstance(request, RunRefused) else messages.STOP
        self.runner.send_message(kind, asdict(request))

    def _watch_master(self) -> None:
        """Check once a second whether the master is missing. If it is, end this worker."""
        while not self._master.is_lost():
            gevent.sleep(LOOK_S)
        gevent.sleep(LOOK_S)  # the request to quit may have been its last message
        run = self.run
        self._environment.stop_timeout = ABORT_WAIT_S
        if self._part_sender is not None:
            self._part_sender.give_up()
        subject = "this worker"
        where = ""
        if run.live is not None and run.folder is not None:
            subject = f"worker {self._number}"
            if self._part_sender is None:
                data_text = (
                    f"its data is in {run.folder}, and `rtbench report {run.folder}` makes its"
                    " report"
                )
                where = (
                    f"; {data_text if run.folder.exists() else f'{run.folder} no longer exists'}"
                )
            self.apply(MasterLost())
        self.say(f"{subject} ends, because its master is missing{where}")
        self.runner.quit()

    # The end.

    def _on_master_drain(self, msg: Any, **_: Any) -> None:
        self._ended_run = msg.data["run_id"]
        self._end_run(spent=msg.data["spent"])
        self.runner.send_message(messages.DRAINED, {})

    def _finish(self, folder: Path) -> None:
        """Send the remaining data to the master. If all data arrived, remove this worker's
        folder.
        """
        if self._part_sender is None:
            return
        # receipts arrive meanwhile
        arrived = self._part_sender.finish(messages.WORKERS_CLOSE_S - LEAVE_S)
        self._part_sender = None
        if arrived:
            shutil.rmtree(folder, ignore_errors=True)
            return
        self._environment.process_exit_code = USAGE_STATUS
        self.say(
            f"the master has only a part of the data of worker {self._number}; all of it is in"
            f" {folder}: add it with rtbench runs merge"
        )

    def on_test_stop(self, **_: Any) -> None:
        super().on_test_stop()
        # a worker would sleep for that time before it is ready again
        self._environment.stop_timeout = 0
