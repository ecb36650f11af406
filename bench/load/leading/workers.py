"""Divides runs between a master, which leads them and plays nothing, and its workers, which play.

A master makes the folder and hands the run to its workers with Locust's options, and a number to each. Workers on its
host write into its spool; those on others write into a folder of their own, and ship what stands there. All tell their
master each second how they stand.
"""

from __future__ import annotations

import math
import os
import shutil
import socket
from collections import defaultdict
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn, get_args

import gevent
import msgspec
from locust import runners

from bench.clock import monotonic_ns, utc_ns
from bench.cores import core_count
from bench.errors import USAGE_STATUS, UsageError
from bench.load.leading import lifeline
from bench.load.leading.clocks import EXCHANGES, ClockOffset, best, offset_of
from bench.load.leading.lead import Lead
from bench.load.leading.messages import (
    CHUNK,
    DONE,
    DRAIN,
    DRAINED,
    HERE,
    IGNORED,
    PING,
    PONG,
    RECEIPT,
    REFUSED,
    STANDING,
    STOP,
    Here,
    Pong,
    Shipped,
    StandingTold,
    listen,
)
from bench.load.leading.runs import DRAINING, LOOK_S, Runs
from bench.load.leading.shipping import Shipper
from bench.load.planning.concurrency import PlayingHost, hosts_advice
from bench.load.planning.environment import Environment
from bench.load.planning.options import worker_timeout_s
from bench.load.playing.arm import Arm, arms_of
from bench.load.playing.flusher import unwritable
from bench.load.playing.live import ALL_DONE, CUT_S
from bench.load.playing.place import Place
from bench.run import folder as files
from bench.run import spool
from bench.run.calibration import SessionKind, citation, state_folder
from bench.run.part import parts
from bench.run.provenance import host_name, tool_version
from bench.run.replica import BadChunkError, Replica, Source, new_key
from bench.target.tokens import Keyring, closed_on_failure
from bench.units import NS_PER_S

WORKERS_START_NS = 10 * NS_PER_S
WORKERS_CLOSE_S, WORKERS_BEGIN_S = 30.0, 5.0
"""So long after their last session the master waits for what its workers recorded; and for those on its host that have
not begun, who may be about to open sessions."""
LEAVE_S = CUT_S
"""So long before its master takes it for lost a worker leaves that hears nothing: by then it has ended."""
LAST_IS_MISSING = "the last worker went missing"
NOT_SENT = "(not sent: it may hold a password)"
"""Stands in the options that a master sends, for Locust's messages are open to whoever is on the way."""
MAY_HOLD_SECRETS = ("proxy", "url")


class Master(Lead):
    """The runs of a master."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._done: set[str] = set()
        """The workers whose sessions are done."""
        self._drained: set[str] = set()
        """The workers that were told to end, and have: who has recorded nothing by then will not."""
        self._here: dict[str, Here] = {}
        """The workers that can be told to quit, with what each said of its host."""
        self._members: dict[str, int] = {}
        """The workers of the run under way, with their numbers."""
        self._replicas: dict[int, Replica] = {}
        """Of the workers on other hosts what has come of their parts, by their numbers."""
        self._exchanges: dict[str, list[ClockOffset]] = defaultdict(list)
        """What was learnt of the workers' clocks."""
        self._disk_is_full, self._ignored_before = False, 0
        self._given = secret_options(environment.parsed_options)
        for kind, take in (
            (HERE, self._on_worker_here),
            (PONG, self._on_pong),
            (STOP, lambda _, data: self.request_stop(data["reason"])),
            (DONE, self._on_worker_done),
            (DRAINED, lambda client, _: self._drained.add(client)),
            (REFUSED, lambda _, data: self.refuse(data["problem"])),
            (STANDING, self._on_standing),
            (CHUNK, self._on_chunk),
        ):
            listen(environment.runner, kind, take)

    @property
    def _workers(self) -> int:
        return int(self._environment.runner.worker_count)

    def give_up(self) -> NoReturn:
        """Dismiss the workers of `--processes` first, which would else wait a minute for their master.

        One that Locust counts may still be starting: told to quit then, it would do so, go on starting, and never end.
        """
        runner, processes = self._environment.runner, self._environment.parsed_options.processes
        if processes:
            until_ns = monotonic_ns() + WORKERS_START_NS
            while len(self._here) < processes and monotonic_ns() < until_ns:
                gevent.sleep(0.05)
            runner.quit()
        super().give_up()

    def open(self) -> None:
        super().open()
        runners.HEARTBEAT_LIVENESS = math.ceil(self._planned.options.worker_timeout_s)  # of heartbeats, one a second
        self._await_workers()

    def _await_workers(self) -> None:
        """Wait for workers where Locust would give up on them. Raises UsageError where they do not come."""
        runner, parsed = self._environment.runner, self._environment.parsed_options
        wanted, longest_s = int(parsed.expect_workers or 0), parsed.expect_workers_max_wait
        if not longest_s:
            return
        until_ns = monotonic_ns() + int(longest_s * NS_PER_S)
        while len(runner.clients.ready) < wanted:
            if monotonic_ns() >= until_ns:
                came = f"{wanted} workers are expected, and {len(runner.clients.ready)} came in {longest_s} s"
                where = f"{parsed.master_bind_host}:{parsed.master_bind_port}"
                raise UsageError(f"{came} (--expect-workers-max-wait): can they reach this master, at {where}?")
            gevent.sleep(0.05)

    def _begin(self, keyring: Keyring) -> None:
        if advice := self._advice():
            self._planned = replace(self._planned, hosts_advice=advice)
        super()._begin(keyring)

    def _advice(self) -> tuple[str, ...]:
        """What to know of the hosts that play; nothing where all of them are this one."""
        plan = self._planned
        way = trust_key(plan.kind, tls=any(target.tls for target in plan.targets))
        facts = [self._here[client] for client in self._present() if client in self._here]
        names = sorted({str(fact["host"]) for fact in facts})
        if names == [host_name()]:
            return ()
        hosts = []
        for name in names:
            mine = [fact for fact in facts if fact["host"] == name]
            hosts.append(PlayingHost(name, len(mine), int(mine[0]["cores"]), mine[0]["trust"].get(way)))
        return tuple(hosts_advice(plan.concurrency, hosts))

    def _start(self) -> None:
        self._done, self._drained, self._members, self._replicas = set(), set(), {}, {}
        self._disk_is_full, self._ignored_before = False, IGNORED.count
        vars(self._environment.parsed_options).update(self._given)
        super()._start()

    def _let_play(self, folder: Path, place: Place, arms: list[Arm], keyring: Keyring) -> None:
        """Hand the run to the workers that are there: who comes later takes no part."""
        lifeline.hold(folder)
        keyring.close()  # its workers sign in themselves
        runner, parsed = self._environment.runner, self._environment.parsed_options
        present = sorted(self._present(), key=runner.get_worker_index)
        self._members = {client: number for number, client in enumerate(present)}
        clocks = {client: best(self._exchanges[client]) for client in present}
        hosts = {
            number: self._here[client]["host"] if client in self._here else ""
            for client, number in self._members.items()
        }
        remote = [{"worker": number, "host": host} for number, host in hosts.items() if host != host_name()]
        self._current.document["remote"] = remote
        files.write_document(folder, self._current.document)  # whoever closes the run has to know of them
        parsed.rtbench_run = {
            "run_id": folder.name,
            "folder": str(folder.resolve()),
            "place": asdict(place),
            "host": socket.gethostname(),
            "identity": self._identity,
            "members": self._members,
            "clocks": {client: list(offset) for client, offset in clocks.items() if offset is not None},
        }
        for name, public in self._planned.public_settings.items():
            if public is not None and getattr(parsed, name) != public:
                setattr(parsed, name, NOT_SENT)

    def _present(self) -> list[str]:
        """The workers that Locust hears of."""
        return [client.id for client in self._environment.runner.clients.all if client.state != "missing"]

    # What workers say.

    def _on_worker_here(self, client: str, data: Here) -> None:
        self._here.setdefault(client, data)  # the first: nobody else knew the worker's name by then
        self._ping(client)

    def _ping(self, client: str) -> None:
        self._environment.runner.send_message(PING, {"sent_ns": utc_ns()}, client)

    def _on_pong(self, client: str, data: Pong) -> None:
        exchanges = self._exchanges[client]
        exchanges.append(offset_of(*data["stamps_ns"], utc_ns()))
        if len(exchanges) < EXCHANGES:
            self._ping(client)

    def _on_worker_done(self, client: str, _: object) -> None:
        self._done.add(client)
        self._end_without_players()

    def _look(self) -> None:
        super()._look()
        if not self._current.ending:
            self._end_without_players()

    def _end_without_players(self) -> None:
        """End the run where no worker has anything left to play: some may have been lost since the last was done."""
        if self._done and self._done.issuperset(self._members.keys() & self._present()):
            self.request_stop(ALL_DONE)
        elif self._has_lost_all:
            self.request_stop(LAST_IS_MISSING)

    @property
    def _has_lost_all(self) -> bool:
        return bool(self._members) and self._members.keys().isdisjoint(self._present())

    def _on_standing(self, client: str, data: StandingTold) -> None:
        watch, number = self._current.watch, self._members.get(client)
        self._note_alive(client)
        if watch is not None and number is not None:
            watch.heard(number, data["standing"], data["held_s"])
            self._keep_budget(watch)

    def _on_chunk(self, client: str, data: Shipped) -> None:
        """Keep what a worker of this run recorded on another host, and say how much of it is here."""
        folder, number = self._current.folder, self._members.get(client)
        if folder is None or number is None or data["run_id"] != folder.name or not spool.is_kept(folder):
            return
        self._note_alive(client)
        if number not in self._replicas:
            self._replicas[number] = Replica(folder, number, self._here[client]["key"])
        try:
            receipt = self._replicas[number].take(data["chunk"])
        except BadChunkError:
            IGNORED.count += 1
        except OSError as error:
            self._disk_is_full = True
            self.refuse(unwritable(error))
        else:
            self._environment.runner.send_message(RECEIPT, msgspec.to_builtins(receipt), client)

    def _note_alive(self, client: str) -> None:
        """Take any word for a sign of life: on a slow link heartbeats come behind what is shipped."""
        node = self._environment.runner.clients.get(client)
        if node is not None:
            node.heartbeat = runners.HEARTBEAT_LIVENESS

    # The end.

    def _drain(self) -> None:
        with self._closing:
            if not self._current.ending and not self._current.stopped and self._has_lost_all:
                self._current.stopped = LAST_IS_MISSING  # as Locust has just found
                self.say(f"the run ends early: {LAST_IS_MISSING}")
            super()._drain()

    def _drain_sessions(self) -> None:
        """Tell the workers to end, and wait until each has flushed its last row, and shipped it."""
        folder = self._current.folder
        if folder is None or not spool.is_kept(folder):
            return
        watch = self._current.watch
        self._environment.runner.send_message(DRAIN, {"spent": watch is not None and watch.spent})
        began_ns = over_ns = monotonic_ns()
        longest_ns = int((self._longest_s + CUT_S) * NS_PER_S)
        while awaited := self._awaited(folder, (monotonic_ns() - began_ns) / NS_PER_S):
            if any(map(self._plays, awaited)):
                over_ns = min(monotonic_ns(), began_ns + longest_ns)
            if monotonic_ns() >= over_ns + int(WORKERS_CLOSE_S * NS_PER_S):
                named = ", ".join(map(str, sorted(awaited)))
                limit = f"{WORKERS_CLOSE_S:.0f} s after the last session (workers: {named})"
                self.say(f"not all records came within {limit}: what is missing is unknown, and counted as that")
                return
            gevent.sleep(0.1)

    def _awaited(self, folder: Path, waited_s: float) -> set[int]:
        """The workers of which something may still come, after so long a wait.

        Of those that share this disk it is who lives and has not flushed everything; and for a moment who has recorded
        nothing, and may be about to open sessions. Others ship it for as long as they are heard: who is lost has ended.
        """
        here, present = {part.worker: part for part in parts(folder)}, set(self._present())
        awaited = set()
        for client, number in self._members.items():
            part = here.get(number)
            if number in self._replicas:
                lacks = part is None or not part.facts.done
                awaits = client in present and lacks and (not self._disk_is_full or self._plays(number))
            elif part is None:
                awaits = client in present and waited_s < WORKERS_BEGIN_S
            else:
                awaits = part.unfinished
            if awaits and client not in self._drained:
                awaited.add(number)
        return awaited

    def _plays(self, number: int) -> bool:
        """Whether a worker has sessions open, by its last word."""
        told = None if self._current.watch is None else self._current.watch.told_by(number)
        return told is None or told.sessions_open > 0

    def _unheard(self, folder: Path) -> int:
        """Those on other hosts that were not told to end, or have not answered: who has, has recorded nothing."""
        here = {part.worker for part in parts(folder)}
        drained = set() if self._disk_is_full else self._drained & self._members.keys()
        idle = {self._members[client] for client in drained} - here
        document = self._current.document
        document["remote"] = [entry for entry in document.get("remote", []) if entry["worker"] not in idle]
        return sum(entry["worker"] not in here for entry in document["remote"])

    def _close_run(self) -> None:
        if self._current.folder is not None and (ignored := IGNORED.count - self._ignored_before):
            self._ignored_before = IGNORED.count
            notice = f"{ignored} messages on the master's port were no worker's, and were ignored: close it to others"
            self.say(notice)
            self._current.document["notices"] = [*self._current.document.get("notices", ()), f"{notice}."]
        super()._close_run()

    @property
    def _identity(self) -> dict[str, Any]:
        return identity_of(self._planned.identity)


def trust_key(kind: SessionKind, *, tls: bool) -> str:
    """Which sessions a calibration is about, as workers say it."""
    return f"{kind}, {'TLS' if tls else 'plain'}"


def host_facts() -> dict[str, Any]:
    """What a worker says of its host before any run: its cores, and what it is trusted with."""
    folder = state_folder(os.environ)
    ways = [(kind, tls) for kind in get_args(SessionKind) for tls in (False, True)]
    trust = {trust_key(kind, tls=tls): citation(folder, kind, tls=tls) for kind, tls in ways}
    return {"host": host_name(), "cores": core_count(), "trust": trust}


def secret_options(parsed: Any) -> dict[str, Any]:
    """The options that may hold a password, as this process was given them."""
    return {name: getattr(parsed, name, None) for name in MAY_HOLD_SECRETS}


def identity_of(played: dict[str, Any]) -> dict[str, Any]:
    """What a worker must have in common with its master. `played`: the scripts and targets."""
    return played | {"version": tool_version()}


def _is_under_way(folder: Path) -> bool:
    """Whether a run is not over yet: what is recorded once its master closes it would be in no file of it."""
    return spool.is_kept(folder) and files.read_document(folder)["state"] == "running"


class Worker(Runs):
    """The runs of a worker: its users play."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        parsed = environment.parsed_options
        self._given = secret_options(parsed)
        self._yes = bool(getattr(parsed, "yes", False))
        """Whether this process was told so itself: a master alone makes no machine open many sessions at others."""
        self._number = 0
        self._shipper: Shipper | None = None
        """Of a worker on another host than its master."""
        self._master = lifeline.Lifeline()
        runner = environment.runner
        runner.register_message(DRAIN, self._on_master_drain, concurrent=True)
        runner.register_message(RECEIPT, self._on_receipt)
        runner.register_message(PING, self._on_ping)
        self._key = new_key()
        runner.send_message(HERE, host_facts() | {"key": self._key})

    def open(self) -> None:
        """See that the master lives; all else that is to be done it says."""
        self._master.patience_s = worker_timeout_s(self._environment.parsed_options) - LEAVE_S
        runners.MASTER_HEARTBEAT_TIMEOUT = math.inf  # Locust would let turns in flight end first
        self._environment.events.heartbeat_received.add_listener(lambda **_: self._master.heard())
        self._watching = gevent.spawn(self._watch_master)

    def on_quitting(self, **words: Any) -> None:
        self._watching.kill(block=False)
        super().on_quitting(**words)

    def _start(self) -> None:
        self._shipper = None
        handed, runner = self._environment.parsed_options.rtbench_run, self._environment.runner
        if handed is None:
            return  # its master could not start the run, and has said so
        if runner.client_id not in handed["members"]:
            self.say("this worker came after the run had begun: it takes no part in it")
            return
        self._number = handed["members"][runner.client_id]
        shares = spool.is_reached(Path(handed["folder"]), handed["host"])
        try:
            self._take_part(handed, shares=shares)
        except UsageError as error:  # its master could: without this worker the run is not what was asked for
            self.refuse(str(error) if shares else f"{error} (worker {self._number}, on {host_name()})")

    def _take_part(self, handed: dict[str, Any], *, shares: bool) -> None:
        """Go live in a run as its master hands it over. Raises UsageError for what stands against that here."""
        self._master.patience_s = worker_timeout_s(self._environment.parsed_options) - LEAVE_S  # as its master has it
        lifeline.outlive_parent()  # what is recorded must reach the disk
        self._take_own_secrets()
        if not shares:
            self._environment.parsed_options.yes = self._yes
        self.prepare()
        self._check_identity(handed["identity"])
        folder, keyring = Path(handed["folder"]), self._signed_in()
        if shares and not _is_under_way(folder):
            keyring.close()
            return
        with closed_on_failure(keyring):
            place = self._place(handed, shares=shares)
            self._current.folder = folder if shares else self._own_folder(handed, place)
            self._master.tie(folder if shares else None)
            arms = arms_of(self._planned, keyring, place)
            self._go_live(self._current.folder, place, arms, keyring, run_id=handed["run_id"])

    def _take_own_secrets(self) -> None:
        """Take from this process's own options what its master does not send. Raises UsageError where they lack it."""
        parsed = self._environment.parsed_options
        for name in MAY_HOLD_SECRETS:
            if getattr(parsed, name, None) == NOT_SENT:
                if not self._given[name]:
                    raise UsageError(
                        f"give --{name} to this worker as well: it may hold a password, so the master does not send it"
                    )
                setattr(parsed, name, self._given[name])

    def _check_identity(self, handed: dict[str, Any]) -> None:
        mine = identity_of(self._planned.identity)
        if handed["version"] != mine["version"]:
            versions = f"this worker is rtbench {mine['version']}, and its master is {handed['version']}"
            raise UsageError(f"{versions}: install the same version on both")
        if handed != mine:
            raise UsageError("this worker has other scripts or other targets than its master: it takes no part")

    def _place(self, handed: dict[str, Any], *, shares: bool) -> Place:
        """This worker's place, by its own clocks: on another host CLOCK_MONOTONIC is another."""
        given = handed["place"] | {"worker": self._number}
        if shares:
            return Place(**given)
        ahead_ns, error_ns = handed["clocks"].get(self._environment.runner.client_id, (0, None))
        since_ns = utc_ns() - ahead_ns - given["began_utc_ns"]
        clock = {"ahead_ns": ahead_ns, "ahead_error_ns": error_ns}
        return Place(**given | {"began_ns": monotonic_ns() - since_ns} | clock)

    def _own_folder(self, handed: dict[str, Any], place: Place) -> Path:
        """Make a folder for what is recorded here, which `rtbench merge` can read, and ship it from now on."""
        plan = self._planned
        folder = files.create(plan.options.runs, f"{plan.scenario}-worker-{self._number}", place.began_utc_ns)
        settings = vars(self._environment.parsed_options)
        document = plan.opening_document(handed["run_id"], place.began_utc_ns, settings, place.workers)
        files.write_document(folder, document)
        self._shipper = Shipper(Source(folder, self._number, self._key), self._send_chunk(handed["run_id"]))
        return folder

    def _send_chunk(self, run_id: str) -> Any:
        send = self._environment.runner.send_message
        return lambda chunk: send(CHUNK, {"run_id": run_id, "chunk": chunk})

    # While it goes on.

    def _on_receipt(self, msg: Any, **_: Any) -> None:
        self._master.heard()
        if self._shipper is not None:
            self._shipper.receipt(msg.data)

    def _on_ping(self, msg: Any, **_: Any) -> None:
        stamps_ns = [msg.data["sent_ns"], utc_ns()]
        self._environment.runner.send_message(PONG, {"stamps_ns": [*stamps_ns, utc_ns()]})

    def _look(self) -> None:
        live = self._current.live
        if live is not None:
            report = {"standing": asdict(live.standing()), "held_s": live.held_s()}
            self._environment.runner.send_message(STANDING, report)

    def _watch_master(self) -> None:
        """Look after the master, each second, from the beginning of this process to its end."""
        while not self._master.is_cut():
            gevent.sleep(LOOK_S)
        gevent.sleep(LOOK_S)  # it may have sent its word to quit as the last thing that it did
        self._leave()

    def _leave(self) -> None:
        """End without a master, and abandon what is in flight: it costs money that nobody counts."""
        current, folder = self._current, self._current.folder
        current.hurried = True
        self._environment.stop_timeout = CUT_S
        if self._shipper is not None:
            self._shipper.give_up()
        named, where = "this worker", ""
        if current.live is not None and folder is not None:
            named = f"worker {self._number}"
            if self._shipper is None:
                kept = f"its data is in {folder}: rtbench report {folder}"
                where = f"; {kept if folder.exists() else f'{folder} is gone too'}"
            current.ending = current.ending or DRAINING
            if not current.live.closed:
                self._environment.process_exit_code = USAGE_STATUS
        self.say(f"{named} ends, because it lost its master{where}")
        self._environment.runner.quit()

    def request_stop(self, reason: str) -> None:
        self._environment.runner.send_message(DONE if reason == ALL_DONE else STOP, {"reason": reason})

    def refuse(self, problem: str) -> None:
        self._environment.runner.send_message(REFUSED, {"problem": problem})

    # The end.

    def _on_master_drain(self, msg: Any, **_: Any) -> None:
        if self._current.live is not None and msg.data["spent"]:
            self._current.live.spent = True
        self._drain()
        self._finish()
        self._environment.runner.send_message(DRAINED, {})

    def _finish(self) -> None:
        with self._closing:
            super()._finish()
            self._end_shipping()

    def _end_shipping(self) -> None:
        """Ship the rest; what the master has got is removed here, and what it has not stays."""
        shipper, folder = self._shipper, self._current.folder
        if shipper is None or folder is None:
            return
        arrived = shipper.finish(WORKERS_CLOSE_S - LEAVE_S)  # receipts come meanwhile
        self._shipper = None
        if arrived:
            shutil.rmtree(folder, ignore_errors=True)
            return
        self._environment.process_exit_code = USAGE_STATUS
        self.say(
            f"the master lacks a part of the data of worker {self._number}; it is in {folder}: add it by rtbench merge"
        )

    def on_test_stop(self, **_: Any) -> None:
        super().on_test_stop()
        self._environment.stop_timeout = 0  # a worker sleeps for so long before it is ready again

    @property
    def _headless(self) -> bool:
        return True
