"""One test run in one process: its arms, its recorder, and the pairs of sessions that its users play.

Made when Locust starts a test and closed when it stops one; a master makes the run's folder and closes the run, a
worker plays and records, a single process does both.
"""

from __future__ import annotations

import gc
import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import gevent
from gevent.lock import BoundedSemaphore
from greenlet import greenlet

from bench.clock import monotonic_ns
from bench.errors import ConnectError
from bench.load.planning.options import Options
from bench.load.planning.plays import Play
from bench.load.planning.stage import OnStage
from bench.load.planning.tasks import SessionTask
from bench.load.playing import dashboard
from bench.load.playing.arm import HOPELESS, Arm
from bench.load.playing.pacer import SECOND_NS
from bench.load.playing.pairs import Pair, block_of, earliest_ns, is_sampled, order, phase_of
from bench.load.playing.sessions import Cut, Playing, Sessions
from bench.load.playing.spending import Spending, over_budget, unknown_price
from bench.load.playing.standing import Progress, Standing
from bench.load.playing.upkeep import TICK_S, Upkeep
from bench.observe.observation import SessionObservation, reason
from bench.plain import printable
from bench.run.histograms import MEASURED
from bench.run.recorder import Labels, Recorder
from bench.run.spool import Spool
from bench.target.tokens import Keyring
from bench.transport.tcp import warm_up

POLL_S = 0.05
CUT_S = 5.0
ALL_DONE = "all sessions are done"
NEW_OBJECTS = 20_000
"""So many make the garbage collector look for cycles, 30 times as seldom as by itself: each look stops everybody."""


class Start(NamedTuple):
    """A pair's start: when it was meant to be, and by which instant the pacers know it, which may be later."""

    intended_ns: int
    taken_ns: int


class Caller(OnStage, Protocol):
    """A user, as sessions see it."""

    def is_leaving(self) -> bool:
        """Whether it is asked to go: its sessions end after the turn that is under way."""

    def doubles(self, arms: int) -> Sequence[OnStage]:
        """Who does this user's task in each arm."""


class LiveRun:
    """The sessions of one process, a worker of so many `workers`: what they come to goes into its `spool`.

    `stop` asks whoever drives the test to end it, with the reason; `refuse`, because the user must mend something.
    The run began at `began_utc_ns`, which is `began_ns` of CLOCK_MONOTONIC, the clock that its processes share: pairs
    that start within `warmup_s` after it are not measured.
    """

    def __init__(
        self,
        spool: Spool,
        workers: int,
        began_utc_ns: int,
        began_ns: int,
        arms: Sequence[Arm],
        options: Options,
        keyring: Keyring,
        spending: Spending,
        *,
        sessions: int | None,
        warmup_s: float = 0.0,
        fire: dashboard.Fire,
        stop: Callable[[str], None],
        refuse: Callable[[str], None],
    ) -> None:
        self.arms, self._options, self._keyring, self._spending = arms, options, keyring, spending
        self._worker, self._workers = spool.worker, workers
        self._began_ns, self._warmup_s = began_ns, warmup_s
        self._recorder = Recorder(
            spool,
            began_utc_ns,
            hide=keyring.hide,
            transcripts=options.transcripts,
            warm_until_ns=began_ns + int(warmup_s * SECOND_NS),
        )
        self._progress = Progress(spending)
        self._sessions = Sessions(spool, self._recorder, options, self._progress, self, hide=keyring.hide, fire=fire)
        self._left, self._stop, self._refuse = sessions, stop, refuse
        self.ending = self.closed = False
        self._open = self._started = 0
        self._door = BoundedSemaphore()
        """Held by the pair that is the next to start."""
        self._due_ns = 0
        """When it may."""
        self._played: Counter[str] = Counter()
        _warm_up()
        self._upkeep = Upkeep(self._recorder, stop)
        if sessions == 0:
            self._stop(ALL_DONE)

    # Pairs.

    def play_pair(self, user: type, task: SessionTask, caller: Caller) -> bool:
        """Play a session in each arm, together; False where the run is ending or its sessions are spent.

        Raises what a task has to say to Locust, or a fault.
        """
        if not self._take_pair():
            return False
        self._open += 1
        try:
            start = self._await_start()
            if start is not None:
                self._play_started(start, user, task, caller)
        finally:
            self._open -= 1
            if self._left == 0 and not self._open:
                self._stop(ALL_DONE)
        return True

    def _take_pair(self) -> bool:
        if self.ending or self._left == 0:
            return False
        if self._left is not None:
            self._left -= 1
        return True

    def _await_start(self) -> Start | None:
        """Wait until a pair may start, in the order in which they come; None where the run ended meanwhile.

        It is meant to start when it is asked for, or as soon after that as the pacers let it: what it then waits for
        the pairs before it and for the processor is no intention.
        """
        asked_ns, pacers = monotonic_ns(), [arm.pacer for arm in self.arms]
        with self._door:
            due_ns = monotonic_ns()
            while not self.ending:
                if any(pacer.on_trial for pacer in pacers):
                    gevent.sleep(POLL_S)
                    asked_ns = due_ns = monotonic_ns()
                    continue
                intended_ns, due_ns = earliest_ns(pacers, asked_ns), earliest_ns(pacers, due_ns)
                if self._may_start(due_ns):
                    return Start(intended_ns, due_ns)
        return None

    def _may_start(self, due_ns: int) -> bool:
        """Take the start if it is due, else wait a little: meanwhile a service may ask for a longer wait."""
        if due_ns > monotonic_ns():
            self._sleep_until(due_ns)
            return False
        for arm in self.arms:
            arm.pacer.take(due_ns)
        return True

    def _sleep_until(self, due_ns: int) -> None:
        """For a while at most: the run may end meanwhile."""
        self._due_ns = due_ns
        try:
            gevent.sleep(min(max(0, due_ns - monotonic_ns()) / SECOND_NS, TICK_S))
        finally:
            self._due_ns = 0

    def _play_started(self, start: Start, user: type, task: SessionTask, caller: Caller) -> None:
        try:
            pair = self._next_pair(self.arms[0].plays[user, task], start.intended_ns)
            playings = self._prepared(pair, user, task, caller)
            try:
                self._play_together(playings)
            finally:
                self._progress.pair_ended(measured=pair.phase == MEASURED)
        finally:
            for arm in self.arms:
                arm.pacer.ended(start.taken_ns)

    def _prepared(self, pair: Pair, user: type, task: SessionTask, caller: Caller) -> list[Playing]:
        """The sessions of a pair, in the order in which they are to start."""
        plays = [arm.plays[user, task] for arm in self.arms]
        actors = caller.doubles(len(self.arms))
        return [
            self._sessions.prepared(
                self.arms[place],
                plays[place],
                pair,
                self._labels(self.arms[place], plays[place], pair, place),
                actors[place],
                caller.is_leaving,
            )
            for place in order(len(self.arms), self._options.seed, pair.number)
        ]

    def _next_pair(self, play: Play, intended_ns: int) -> Pair:
        """Number the pair that starts now: by its number among those of its script it takes its variables and WAVs."""
        started, played = self._started, self._played[play.script.name]
        self._started += 1
        self._played[play.script.name] += 1
        now_ns, began_ns = monotonic_ns(), self._began_ns
        return Pair(
            started * self._workers + self._worker,
            played * self._workers + self._worker,
            block_of(now_ns, began_ns),
            phase_of(now_ns, began_ns, self._warmup_s),
            intended_ns,
        )

    def _labels(self, arm: Arm, play: Play, pair: Pair, place: int) -> Labels:
        started = pair.number // self._workers * len(self.arms) + place
        return Labels(
            session_id=f"w{self._worker}-{started:06d}",
            target=arm.label,
            scenario=play.scenario,
            script=play.script.name,
            arm=arm.label if len(self.arms) > 1 else None,
            block=pair.block,
            pair=pair.number,
            phase=pair.phase,
            event_log=is_sampled(pair.number, self._options.record_events),
        )

    def _play_together(self, playings: Sequence[Playing]) -> None:
        """Begin sessions one right after the other, and wait for all of them; a lone one needs no greenlet."""
        if len(playings) == 1:
            words = [playings[0]()]
        else:
            beside = [gevent.spawn(playing) for playing in playings]  # the hub begins them in this order
            try:
                words = [session.get() for session in beside]
            finally:
                gevent.killall(beside, block=False)  # of a user who was taken away
        for word in words:
            if isinstance(word, Exception):
                raise word

    # What comes of them.

    def turn_ended(self) -> None:
        """The run ends where its money is spent, or where nobody can say how much of it is."""
        budget_usd = self._options.budget_usd
        if budget_usd is None or self.ending:
            return
        if self._spending.unpriced:
            self._refuse(unknown_price(self._spending))
        elif spent := over_budget(budget_usd, self._spending.usd):
            self.ending = True
            self._stop(spent)

    def session_ended(self, arm: Arm, session: SessionObservation) -> ConnectError | None:
        """A session is over; returns why it did not open, where it failed to."""
        hopeless = arm.hopeless
        if not arm.note(session, monotonic_ns()):
            return None
        hide = self._keyring.hide  # a code of the service's is in the outcome, too
        error = ConnectError(hide(session.outcome), printable(hide(reason(session.outcome, session.detail))))
        if arm.hopeless and not hopeless:
            where = f" to {arm.label}" if len(self.arms) > 1 else ""
            self._stop(f"{HOPELESS} sessions{where} failed to open and none succeeded; the last: {error}")
        return error

    def incident(self, kind: str, text: str) -> None:
        """Something happened beside the sessions."""
        self._recorder.incident(kind, text)

    def standing(self) -> Standing:
        """How it stands, since the last time that somebody asked."""
        now_ns = monotonic_ns()
        waiting_ns = max(0, self._due_ns - now_ns)
        return self._progress.standing(
            self._recorder.histograms,
            waiting_s=waiting_ns / SECOND_NS,
            tokenless=self._keyring.waiting,
            simulated=self._recorder.simulated,
        )

    def held_s(self) -> dict[str, float]:
        """For how long starts were held back so far, by what the services asked for; by the arm's label."""
        now_ns = monotonic_ns()
        held = {arm.label: arm.pacer.held_ns(now_ns) / SECOND_NS for arm in self.arms}
        return {label: round(held_s, 1) for label, held_s in held.items() if held_s}

    # The end.

    @property
    def active(self) -> int:
        return len(self._sessions.active)

    def drain(self, longest_s: float, hurry: Callable[[], bool]) -> None:
        """No new turns; wait for those in flight, `longest_s` at most, then cut the rest."""
        self.ending = True
        until_ns = monotonic_ns() + int(longest_s * SECOND_NS)
        while self.active and not hurry() and monotonic_ns() < until_ns:
            gevent.sleep(POLL_S)
        for session in list(self._sessions.active):  # gevent.kill would take a user for dead, and Locust with it
            gevent.get_hub().loop.run_callback(greenlet.throw, session, Cut)
        until_ns = monotonic_ns() + int(CUT_S * SECOND_NS)
        while self.active and monotonic_ns() < until_ns:
            gevent.sleep(POLL_S)

    @property
    def problem(self) -> str | None:
        """What kept the run from being recorded."""
        return self._upkeep.problem

    def close(self) -> None:
        """The last rows and counts."""
        if not self.closed:
            self.closed = True
            self._keyring.close()
            self._upkeep.close()


def _warm_up() -> None:
    """Pay now for what would hold sessions up: the resolver's thread, the modules' sources, a look for garbage."""
    warm_up()
    inspect.stack()  # Locust does so when a run stops: the first time it reads every module's source, for 30 ms
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS)
