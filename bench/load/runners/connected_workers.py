"""The workers of a master. The master hands each run to those that are connected.

Each worker gets Locust's options and a number. Workers on this host write into the run's spool.
Workers on other hosts send their data to the master. All workers report their progress once a
second.
"""

# The master and a worker of it exchange these messages, in this order:
#
#    worker → master   HERE       facts about its host, and the key that seals its chunks
#    both              PING, PONG several times, for the offset of the clocks
#    master → worker   Locust's options, with the run, its members and their numbers
#    worker → master   PROGRESS   once a second
#    both              CHUNK, RECEIPT   from other hosts: the recorded files, piece by piece
#    worker → master   STOP, REFUSED    requests to end the run
#    master → worker   DRAIN      no further turns; the worker ends open ones, and sends the rest
#    worker → master   DRAINED    no more data will come
#
# A worker may disappear at any of these steps. Then the run continues with the others, and ends
# when none is left. What the missing worker recorded stays in the spool, and
# `record.missing_workers` bounds what is unknown. A worker that connects late takes part in the
# next run.

import contextlib
import math
import socket
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

import gevent
import msgspec
from locust import runners

from bench.base.clock import monotonic_ns, utc_ns
from bench.base.errors import UsageError
from bench.base.units import NS_PER_S
from bench.load.execution.live_run import ABORT_WAIT_S, unwritable
from bench.load.execution.pairs import WorkerSlot
from bench.load.execution.progress import ProgressReport
from bench.load.lifecycle import ALL_DONE, RunRefused, RunState, StopRequested
from bench.load.planning.run_plan import WorkerHost, hosts_advice
from bench.load.runners import messages
from bench.load.runners.leader import Leader
from bench.load.runners.messages import PartMessage, Pong, WorkerHello
from bench.load.runners.role import Workers
from bench.load.runners.worker_link import EXCHANGES, ClockOffset, best, offset_of
from bench.record import folder as files
from bench.record import spool
from bench.record.provenance import host_name
from bench.record.replica import BadChunkError, PartReplica
from bench.record.spool import parts

WORKERS_START_NS = 10 * NS_PER_S
WORKERS_BEGIN_S = 5.0
"""The seconds for which the master waits, at the end, for local workers without data, which may
open sessions."""


class ConnectedWorkers(Workers):
    """The workers that are connected to a master. They run the sessions, and the master runs
    none itself.
    """

    are_here = False

    def __init__(self, leader: Leader) -> None:
        self._leader = leader
        self._runner = leader.runner
        self._done: set[str] = set()
        """The workers that have run all their sessions."""
        self._drained: set[str] = set()
        """The workers that have finished draining, and so will record no more data."""
        self._hellos: dict[str, WorkerHello] = {}
        """The first message of each worker that can receive a request to quit."""
        self._members: dict[str, int] = {}
        """The numbers of the workers of the current run, by the worker's id."""
        self._replicas: dict[int, PartReplica] = {}
        """The data received from workers on other hosts, by the worker's number."""
        self._exchanges: dict[str, list[ClockOffset]] = defaultdict(list)
        """The clock offsets that were measured for each worker."""
        self._disk_is_full = False
        self._ignored_before = 0
        self._given = messages.secret_options(leader.parsed)
        for kind, on_message in (
            (messages.HERE, self._on_worker_here),
            (messages.PONG, self._on_pong),
            (messages.STOP, self._on_stop_requested),
            (messages.DRAINED, lambda client, _: self._drained.add(client)),
            (messages.REFUSED, lambda _, refused: leader.apply(refused)),
            (messages.PROGRESS, self._on_progress),
            (messages.CHUNK, self._on_chunk),
        ):
            messages.subscribe(leader.runner, kind, on_message)

    @property
    def count(self) -> int:
        return int(self._runner.worker_count)

    def dismiss(self) -> None:
        """End the workers of `--processes`.

        Otherwise they would wait a minute for the master. Before that, wait until these workers can
        receive a request to quit. If a worker that is still starting received it, the worker would
        quit, but continue to start, and never end.
        """
        processes = self._leader.parsed.processes
        if processes:
            until_ns = monotonic_ns() + WORKERS_START_NS
            while len(self._hellos) < processes and monotonic_ns() < until_ns:
                gevent.sleep(0.05)
            self._runner.quit()

    def open(self) -> None:
        """Wait for the expected workers, if Locust limits this wait. Raise UsageError if they
        are late.
        """
        parsed = self._leader.parsed
        timeout_s = self._leader.planned.options.worker_timeout_s
        runners.HEARTBEAT_LIVENESS = math.ceil(timeout_s)  # in heartbeats, one per second
        for client in self._present():  # a worker that connected before has Locust's own limit, 3 s
            self._set_alive(client)
        expected = int(parsed.expect_workers or 0)
        longest_s = parsed.expect_workers_max_wait
        if not longest_s:
            return
        until_ns = monotonic_ns() + int(longest_s * NS_PER_S)
        while len(self._runner.clients.ready) < expected:
            if monotonic_ns() >= until_ns:
                came = (
                    f"only {len(self._runner.clients.ready)} of {expected} expected workers"
                    f" connected within {longest_s} s"
                )
                where = f"{parsed.master_bind_host}:{parsed.master_bind_port}"
                raise UsageError(
                    f"{came} (--expect-workers-max-wait): can they reach this master, at {where}?"
                )
            gevent.sleep(0.05)

    def advice(self) -> tuple[str, ...]:
        """Return the notices about the hosts of the workers; none if all workers are on this
        host.
        """
        plan = self._leader.planned
        by_name = defaultdict[str, list[WorkerHello]](list)
        key = messages.trust_key(plan.kind, tls=any(target.tls for target in plan.targets))
        for client in self._present():
            if client in self._hellos:
                by_name[self._hellos[client]["host"]].append(self._hellos[client])
        if list(by_name) == [host_name()]:
            return ()
        hosts = [
            WorkerHost(name, len(facts), facts[0]["cores"], facts[0]["trust"].get(key))
            for name, facts in sorted(by_name.items())
        ]
        return tuple(hosts_advice(plan.concurrency, hosts))

    def begin(self) -> None:
        self._done = set()
        self._drained = set()
        self._members = {}
        self._replicas = {}
        self._disk_is_full = False
        self._ignored_before = messages.IGNORED.count
        vars(self._leader.parsed).update(self._given)

    def hand_over(self, folder: Path, slot: WorkerSlot) -> bool:
        """Hand the run to the connected workers. Workers that connect later do not take part in
        it.
        """
        parsed = self._leader.parsed
        planned = self._leader.planned
        document = self._leader.run.document
        present = sorted(self._present(), key=self._runner.get_worker_index)
        self._members = {client: number for number, client in enumerate(present)}
        clocks = {client: best(self._exchanges[client]) for client in present}
        hosts = [
            self._hellos[client]["host"] if client in self._hellos else "" for client in present
        ]
        remote = [
            {"worker": number, "host": host}
            for number, host in enumerate(hosts)
            if host != host_name()
        ]
        document["remote"] = remote
        files.write_document(folder, document)  # the process that closes the run needs their list
        parsed.rtbench_run = {
            "run_id": folder.name,
            "folder": str(folder.resolve()),
            "slot": asdict(slot),
            "host": socket.gethostname(),
            "identity": planned.identity,
            "members": self._members,
            "clocks": {
                client: list(offset) for client, offset in clocks.items() if offset is not None
            },
        }
        for name, public in planned.public_settings.items():
            if public is not None and getattr(parsed, name) != public:
                setattr(parsed, name, messages.NOT_SENT)
        return True

    def _present(self) -> list[str]:
        """Return the ids of the workers that are not missing."""
        return [client.id for client in self._runner.clients.all if client.state != "missing"]

    # Messages of workers.

    def _on_worker_here(self, client: str, data: WorkerHello) -> None:
        # only the first message counts: at that time, only the worker knew its ID
        self._hellos.setdefault(client, data)
        self._ping(client)

    def _ping(self, client: str) -> None:
        self._runner.send_message(messages.PING, {"sent_ns": utc_ns()}, client)

    def _on_pong(self, client: str, stamps_ns: Pong) -> None:
        exchanges = self._exchanges[client]
        exchanges.append(offset_of(*stamps_ns, utc_ns()))
        if len(exchanges) < EXCHANGES:
            self._ping(client)

    def _on_stop_requested(self, client: str, request: StopRequested) -> None:
        if request.reason == ALL_DONE:  # its share of the sessions
            self._done.add(client)
            self._end_without_workers()
        else:
            self._leader.apply(request)

    def poll(self) -> None:
        if self._leader.run.state is RunState.RUNNING:
            self._end_without_workers()

    def _end_without_workers(self) -> None:
        """End the run if no worker has sessions left. A worker may become missing after all
        others have finished.
        """
        if self._done and self._done.issuperset(self._members.keys() & self._present()):
            self._leader.apply(StopRequested(ALL_DONE))
        elif reason := self.stop_reason:
            self._leader.apply(StopRequested(reason))

    @property
    def stop_reason(self) -> str:
        has_lost_all = self._members and self._members.keys().isdisjoint(self._present())
        return "the last worker went missing" if has_lost_all else ""

    def _on_progress(self, client: str, report: ProgressReport) -> None:
        monitor = self._leader.run.monitor
        number = self._members.get(client)
        self._set_alive(client)
        if monitor is not None and number is not None:
            monitor.on_report(number, report)
            self._leader.enforce_budget(monitor)

    def _on_chunk(self, client: str, data: PartMessage) -> None:
        """Store a chunk of data that a worker on another host recorded in this run. Reply how
        much data has arrived.
        """
        folder = self._leader.run.folder
        number = self._members.get(client)
        if (
            folder is None
            or number is None
            or data["run_id"] != folder.name
            or not spool.is_stored(folder)
        ):
            return
        self._set_alive(client)
        if number not in self._replicas:
            self._replicas[number] = PartReplica(folder, number, self._hellos[client]["key"])
        try:
            receipt = self._replicas[number].receive(data["chunk"])
        except BadChunkError:
            messages.IGNORED.count += 1
        except OSError as error:
            self._disk_is_full = True
            self._leader.apply(RunRefused(unwritable(error)))
        else:
            self._runner.send_message(messages.RECEIPT, msgspec.to_builtins(receipt), client)

    def _set_alive(self, client: str) -> None:
        """Record that a worker is alive, at any message: on a slow link, heartbeats wait behind
        recorded data.
        """
        node = self._runner.clients.get(client)
        if node is not None:
            node.heartbeat = runners.HEARTBEAT_LIVENESS

    # The end.

    def drain(self) -> None:
        """Ask the workers to end. Wait until each has written all rows, and sent them if it is
        on another host.
        """
        leader = self._leader
        folder = self._leader.run.folder
        if folder is None or not spool.is_stored(folder):
            return
        request = {"run_id": folder.name, "spent": leader.run.lifecycle.is_spent}
        self._runner.send_message(messages.DRAIN, request)
        start_ns = over_ns = monotonic_ns()
        longest_ns = int((leader.longest_s + ABORT_WAIT_S) * NS_PER_S)
        while awaited := self._awaited(folder, (monotonic_ns() - start_ns) / NS_PER_S):
            if any(map(self._plays, awaited)):
                over_ns = min(monotonic_ns(), start_ns + longest_ns)
            if monotonic_ns() >= over_ns + int(messages.WORKERS_CLOSE_S * NS_PER_S):
                numbers = ", ".join(map(str, sorted(awaited)))
                limit = (
                    f"{messages.WORKERS_CLOSE_S:.0f} s after the last session (workers: {numbers})"
                )
                leader.say(
                    f"not all records were received within {limit}: missing records are counted as"
                    " unknown"
                )
                return
            gevent.sleep(0.1)

    def _awaited(self, folder: Path, waited_s: float) -> set[int]:
        """Return the numbers of the workers from which data may still come, after the master has
        waited for `waited_s`.

        They are: workers on this host that are alive and have not written everything; in the first
        seconds, also those without data, which may be about to open sessions; workers on other
        hosts, as long as they are connected.
        """
        recorded = {part.worker: part for part in parts(folder)}
        present = set(self._present())
        awaited = set()
        for client, number in self._members.items():
            part = recorded.get(number)
            if number in self._replicas:
                is_complete = part is not None and part.facts.done
                awaits = (
                    client in present
                    and not is_complete
                    and (not self._disk_is_full or self._plays(number))
                )
            elif part is None:
                awaits = client in present and waited_s < WORKERS_BEGIN_S
            else:
                awaits = part.is_unfinished
            if awaits and client not in self._drained:
                awaited.add(number)
        return awaited

    def _plays(self, number: int) -> bool:
        """Return whether a worker has open sessions, according to its last report; True if it
        has not reported.
        """
        monitor = self._leader.run.monitor
        report = None if monitor is None else monitor.totals.last(number)
        return report is None or report.sessions_open > 0

    def silent(self, folder: Path) -> int:
        """Return the number of workers on other hosts that sent no data and have not confirmed that
        they have drained.

        One that has confirmed this has recorded nothing, and is removed from `remote` in run.json.
        """
        recorded = {part.worker for part in parts(folder)}
        drained = set() if self._disk_is_full else self._drained & self._members.keys()
        idle = {self._members[client] for client in drained} - recorded
        document = self._leader.run.document
        document["remote"] = [
            entry for entry in document.get("remote", []) if entry["worker"] not in idle
        ]
        return sum(entry["worker"] not in recorded for entry in document["remote"])

    def record_idle(self, folder: Path) -> None:
        if not spool.is_stored(folder):
            return
        recorded = {part.worker for part in parts(folder)}
        drained = {self._members[client] for client in self._drained & self._members.keys()}
        # a worker on this host records into this folder, before its first session
        remote = {entry["worker"] for entry in self._leader.run.document.get("remote", ())}
        gone = {self._members[client] for client in self._members.keys() - self._present()}
        with contextlib.suppress(OSError):  # the disk is full: the workers count as missing
            for number in (drained | (gone - remote)) - recorded:
                spool.store_empty(folder, number)

    def notice(self) -> str:
        ignored = messages.IGNORED.count - self._ignored_before
        self._ignored_before = messages.IGNORED.count
        if not ignored:
            return ""
        return (
            f"ignored {ignored} messages on the master's port that did not come from workers:"
            " restrict access to the port"
        )
