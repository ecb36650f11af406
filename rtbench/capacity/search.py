"""A search: it runs the ramps, then the levels that verify their range, and concludes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from msgspec import Struct

from bench.base.clock import monotonic_ns
from bench.base.errors import UsageError
from bench.base.units import NS_PER_S
from bench.record import folder as files
from reports.analysis.summary.segments import breakdowns
from reports.analysis.targets.compared_target import ComparedTarget
from reports.data.runs import detail_of, scripts_of
from reports.engine.evaluate import quantile_values
from reports.metrics.statistic_types.rate import FAILURES
from reports.metrics.thresholds import Threshold, requested_thresholds
from reports.results.value import LimitFinding, Reason, Subject, Value
from reports.statistics.crossing import TurnsByLoad, is_rarer_at_low_loads, joined
from reports.statistics.quantiles import sample
from reports.text.breakdown import SEGMENT_TEXTS, STOPPED, segment_title
from reports.text.verdicts import limit_in_unit
from rtbench.capacity.conclusion import conclude
from rtbench.capacity.document import VIOLATIONS, CapacityDocument, Ended, LevelEntry
from rtbench.capacity.level_evaluation import (
    VALUES_ALPHA,
    SearchConfig,
    check_opened,
    commonest_end,
    evaluate_level,
    generator_fault,
    median_call_s,
    specs_of,
    target_of,
    usd_of,
)
from rtbench.capacity.level_run import LevelTask, run_level
from rtbench.capacity.load_thresholds import ShareBounds, allowed_share, violation_share
from rtbench.capacity.ramp import (
    Band,
    Estimate,
    Ramp,
    answer,
    bands,
    estimate_of,
    fails_at_first,
    first_ramp,
    is_crossed,
    lowest,
    ramps_s,
    second_ramp,
)
from rtbench.capacity.turns import turns_by_load
from rtbench.capacity.verification import AROUND_S, level_within, next_load

(FAILURE_RATE,) = requested_thresholds([f"{FAILURES.metric}: rate<1%"])
"""A threshold that each turn violates which failed or did not start."""
START_S = 6.0
"""The time from the start of a ramp's process to its first call."""
DRAIN_S = 4.0
ENOUGH_CALLS = 5
"""The number of successful calls without any value of a threshold's metric, after which the calls
are taken to have none."""
CLEAR_DRAIN_S = 0.5
"""The same after a clear answer, which open turns do not change: between two signals."""
Show = Callable[[Sequence[TurnsByLoad], Sequence[float], float], None]
"""A function that shows the turns by load so far, for each threshold, with its allowed share, and
the highest load of the ramp in progress; infinite at its end.
"""


class Search(Struct):
    """A search.

    - `measured` has, for each ramp, what `turns_by_load` returns for each threshold.
    - `faults` has the reason why a ramp shows nothing about the service, None if it does. The ramps
      without a fault are used; if there are none, all are used, but only to choose the loads of the
      second ramp.
    - `live` is the same as `measured`, of the ramp in progress. `folder` is its folder, once it was
      analysed.
    """

    config: SearchConfig
    show: Show
    targets: list[ComparedTarget] = []
    measured: list[list[list[TurnsByLoad]]] = []
    live: list[list[list[TurnsByLoad]]] = []
    faults: list[Reason | None] = []
    levels: list[LevelEntry] = []
    usd: float = 0.0
    folder: Path | None = None
    ended: Ended = "complete"

    def run(self) -> Iterator[LevelEntry | None]:
        """Run the search. Yield None after each ramp, and each level. KeyboardInterrupt propagates,
        after the run in progress has ended.
        """
        plan = self.config.plan
        self._ramp(1, first_ramp(plan.first, plan.max, ramps_s(plan), plan.call_s))
        yield None
        if (ramp := self._second_ramp()) is not None:
            self._ramp(2, ramp)
            yield None
        if plan.verify:
            yield from self._verify()

    def _second_ramp(self) -> Ramp | None:
        estimate = self.estimate()
        if estimate is None or estimate.fails_at_first or self._is_spent():
            return None
        left_s = _left_s(self.config.ramps_until_ns) - AROUND_S - START_S
        return second_ramp(estimate.crossing, self.config.plan.max, left_s)

    def _verify(self) -> Iterator[LevelEntry]:
        """Play the levels at the ends of the range of the ramps, and yield each."""
        plan = self.config.plan
        reason = self._answer()
        if not _is_worth_verifying(reason):
            return
        low, high = reason.numbers["low"], reason.numbers["high"] or reason.numbers["top"]
        calls_s = [median_call_s(target.run) for target in self.targets]
        call_s = min((each for each in calls_s if each is not None), default=plan.call_s)
        while (load := next_load(plan, low, high, self.levels)) is not None:
            left_s = _left_s(self.config.until_ns)
            level = level_within(plan, load, self.levels, left_s, call_s, self._budget_usd())
            if level is None or self._is_spent():
                self.ended = "time" if level is None else "budget"
                return
            number = len(self.targets) + len(self.levels) + 1
            self.levels.append(evaluate_level(self.config, number, level))
            self.usd += self.levels[-1].usd or 0.0
            yield self.levels[-1]
        last = self.levels[-1]
        if last.result == "not_evaluated":
            self.ended = "crashed" if last.crashed else "load_generator"

    def estimate(self) -> Estimate | None:
        """Return the answer of the threshold that is crossed first; None if no turn ended."""
        estimates = [
            estimate_of(
                threshold.source_text,
                self._turns(index),
                self.config.plan.first,
                allowed_share(threshold),
            )
            for index, threshold in enumerate(self.config.thresholds)
        ]
        known = [estimate for estimate in estimates if estimate is not None]
        is_unknown = not known or (self.targets and self._lacks_values(self.targets[0]))
        return None if is_unknown else lowest(known)

    def _lacks_values(self, target: ComparedTarget) -> bool:
        """Return whether successful calls have no value of a threshold's metric. Then only turns
        that failed, or that the end of the run cut, count, which show nothing about it.
        """
        calls = int((target.run.sessions["outcome_class"] == "success").sum())
        return calls >= ENOUGH_CALLS and any(
            threshold.statistic.is_monotone
            and not any(
                np.isfinite(target.sample(spec).values).any()
                for spec in specs_of(target, threshold)
            )
            for threshold in self.config.thresholds
        )

    def _budget_usd(self) -> float | None:
        """Return the money that is left; None if there is no limit."""
        budget_usd = self.config.plan.budget_usd
        return None if budget_usd is None else budget_usd - self.usd

    def _is_spent(self) -> bool:
        left_usd = self._budget_usd()
        return left_usd is not None and left_usd <= 0

    def _turns(self, index: int) -> list[TurnsByLoad]:
        """Return the turns of all ramps for a threshold, as measured, and moved by their
        uncertainty, which those of the ramp in progress are not.
        """
        measured = [ramp for _, ramp in self._used()]
        versions = zip(*(ramp[index] for ramp in (*measured, *self.live)), strict=False)
        return [joined(each) for each in versions] or [joined([])]

    def _used(self) -> list[tuple[ComparedTarget, list[list[TurnsByLoad]]]]:
        """Return the target of each used ramp, with what was measured."""
        ramps = [*zip(self.targets, self.measured, strict=True)]
        fit = [ramp for ramp, fault in zip(ramps, self.faults, strict=True) if fault is None]
        return fit or ramps

    def _so_far(self) -> list[TurnsByLoad]:
        return [self._turns(index)[0] for index in range(len(self.config.thresholds))]

    def _ramp(self, number: int, ramp: Ramp) -> None:
        search = self.config
        stages = search.locust.runs / f"ramp-{number}.yaml"
        stages.write_text(ramp.yaml, encoding="utf-8")
        task = LevelTask(
            f"{number:02d}-ramp-{ramp.top}",
            ramp.top,
            ramp.duration_s,
            0.0,
            self._budget_usd(),
            stages=stages,
            analyses=ramp.analyses,
            drain_s=DRAIN_S,
            clear_drain_s=CLEAR_DRAIN_S,
        )
        try:
            run = run_level(
                search.locust, task, self._may_end, search.ramps_until_ns, search.until_ns
            )
        except KeyboardInterrupt:
            if self.live and self.folder is not None:
                with suppress(UsageError):  # what was measured until then counts
                    self._count(self.folder, is_late=False)
            self.live = []
            raise
        is_late = bool(run.died) and monotonic_ns() >= search.until_ns
        if run.died and not is_late:
            if files.read_document(run.folder).get("refused"):
                check_opened(target_of(run.folder).run)
            raise UsageError(f"{run.folder} ended early: {run.died}")
        self._count(run.folder, is_late=is_late)
        self.show(self._so_far(), self._allowed, math.inf)

    def _count(self, folder: Path, *, is_late: bool) -> None:
        """Take what the ramp in a folder measured."""
        target = target_of(folder)
        check_opened(target.run)
        self.targets.append(target)
        self.usd += usd_of(target.run, target.name) or 0.0
        calls = int(_active(target).max()) if len(target.run.seconds) else 0
        fault = (
            Reason("time_over")
            if is_late
            else generator_fault(target.run.metadata, calls, sure=True)
        )
        self.faults.append(fault)
        self.measured.append(
            [turns_by_load(target, threshold) for threshold in self.config.thresholds]
        )
        self.live = []

    @property
    def _allowed(self) -> list[float]:
        return [allowed_share(threshold) for threshold in self.config.thresholds]

    def _may_end(self, folder: Path, number: int) -> bool:
        """Show the turns so far. Return whether the ramp may end: the first load violates a
        threshold, or the first ramp has crossed one.
        """
        self.folder = folder
        target = target_of(folder)
        first = self.config.plan.first
        live = [
            turns_by_load(target, threshold, uncertain=False, first=first)
            for threshold in self.config.thresholds
        ]
        self.live = [live]
        so_far = self._so_far()
        self.show(so_far, self._allowed, float(live[0][0].load.max(initial=0)))
        return self._lacks_values(target) or any(
            fails_at_first(turns, first, allowed)
            or (not self.measured and is_crossed(turns, first, allowed))
            for turns, allowed in zip(so_far, self._allowed, strict=True)
        )

    def document(self, *, interrupted: bool, **about: str) -> CapacityDocument:
        """Return the result of the search so far. The user ended it if `interrupted`."""
        reason = self._answer()
        ended: Ended = "interrupted" if interrupted else self.ended
        notes = list[Reason]()
        if reason.code == "unknown":
            ended = "load_generator"
        else:
            notes = [
                Reason("ramp_silent", {"number": number, "reason": fault})
                for number, fault in zip(("first", "second"), self.faults, strict=False)
                if fault is not None
            ]
        if not self.config.plan.verify and _is_worth_verifying(reason):
            notes.append(Reason("verify"))
        plan, curve = self.config.plan, self._curve()
        return conclude(plan, reason, curve, self.levels, ended=ended, notes=notes, **about)

    def _answer(self) -> Reason:
        """Return the answer of the ramps."""
        estimate = self.estimate()
        if self.faults and all(self.faults):
            # a run that ends too late may do so because the load generator is at its limit
            known = [fault for fault in self.faults if fault and fault.code != "time_over"]
            return Reason("unknown", {"reason": (known or self.faults)[-1]})
        if estimate is None:
            return Reason("no_turns")
        return answer(estimate, self._about(estimate))

    def _about(self, estimate: Estimate) -> dict[str, Any]:
        """Return the title and the limit of the threshold, and why it is violated."""
        index, threshold = next(
            (index, threshold)
            for index, threshold in enumerate(self.config.thresholds)
            if threshold.source_text == estimate.threshold
        )
        turns = self._turns(index)[0]
        spec = threshold.about
        aggregate = (
            threshold.statistic.title(threshold.metric).removeprefix(threshold.metric).strip()
        )
        texts = {
            "title": (
                f"{aggregate} of {threshold.metric}" if aggregate else f"the {threshold.metric}"
            ),
            "limit": limit_in_unit(spec, threshold.limit or 0.0),
        }
        lowest = turns.where(turns.load <= self.config.plan.first)
        late_ms = lowest.value[(lowest.violated > 0) & np.isfinite(lowest.value)]
        fastest_ms = float(late_ms.min()) if late_ms.size else None
        violated = int(lowest.violated.sum())
        counts = {"turns": lowest.n, "violated": violated, "fastest_ms": fastest_ms}
        failed = turns.violated * np.isinf(turns.value)
        cause: dict[str, Any] = {}
        if 2 * failed.sum() > turns.violated.sum():
            cause = {"failed": self._failure()}
            if np.ptp(turns.load) and not is_rarer_at_low_loads(turns, failed):
                p = threshold.statistic.p
                answered = 1 - failed.sum() / turns.n
                cause["at_all_loads"] = {
                    "failed": int(failed.sum()),
                    "turns": turns.n,
                    "p": None if p is None else math.floor(100 * p * answered) / 100,
                }
        elif threshold.statistic.is_monotone and spec.unit == "ms":
            cause = {"part": self._part()}
        return {**texts, "at_first": counts, **cause}

    def _failure(self) -> str:
        """Return the most frequent outcome of sessions that failed, with the service's words."""
        for frame in (self.targets[-1].run.sessions, self.targets[-1].run.turns):
            failed = frame[frame["outcome_class"] == "failed"]
            if len(failed):
                outcome, cause = commonest_end(failed)
                return ": ".join(filter(None, (outcome, detail_of(cause))))
        return "for several reasons"

    def _part(self) -> dict[str, Any] | None:
        """Return the largest segment of the latency of most turns of the last ramp; None if it
        is unknown.
        """
        target = self.targets[-1]
        rows = [
            row
            for row in breakdowns(target.turns)
            if row.target == target.name and len(row.segments) > 1
        ]
        if not rows:
            return None
        segments = max(rows, key=lambda row: row.turns).segments
        segment = max(segments, key=lambda segment: segment.mean_ms)
        silences = [
            (script.get("session", {}).get("turn_detection") or {}).get("silence_duration_ms")
            for script in scripts_of(target.run.metadata)
        ]
        is_vad = segment_title(segment) == SEGMENT_TEXTS[STOPPED]
        silence_ms = silences[0] if is_vad and len(silences) == 1 else None
        return {
            "name": segment_title(segment),
            "mean_ms": segment.mean_ms,
            "silence_ms": silence_ms,
        }

    def _curve(self) -> list[LevelEntry]:
        """Return an entry for each band of loads, with the turns of all ramps."""
        if not self.measured:
            return []
        turns = self._so_far()
        failures = joined(
            [turns_by_load(target, FAILURE_RATE, uncertain=False)[0] for target, _ in self._used()]
        )
        return [self._part_of_ramps(band, turns, failures) for band in bands(turns[0])]

    def _part_of_ramps(
        self, band: Band, turns: Sequence[TurnsByLoad], failures: TurnsByLoad
    ) -> LevelEntry:
        inside = [band.turns(each) for each in turns]
        main = inside[0].where(~np.isnan(inside[0].value))
        metric = self.config.plan.metric
        target = self.targets[0]
        subject = Subject(target=target.name)
        of_band = sample(main.value, main.session)
        p50, p95 = quantile_values(subject, metric, of_band, [0.5, 0.95], 1 - VALUES_ALPHA)
        seconds = [_active(target) for target in self.targets]
        shares = [
            _share(target.name, *each) for each in zip(inside, self.config.thresholds, strict=True)
        ]
        runs = [used.run.folder.name for used, ramp in self._used() if band.turns(ramp[0][0]).n]
        return LevelEntry(
            first=band.first,
            load=int(inside[0].load.max()),
            run=", ".join(runs),
            duration_s=float(
                sum(active.between(band.first, band.last).sum() for active in seconds)
            ),
            sessions=int(np.unique(inside[0].session).size),
            turns=inside[0].n,
            violations=shares,
            latency_p50=p50,
            latency_p95=p95,
            failure_rate=_rate(target.name, band.turns(failures), FAILURES.metric),
            simulated=target.simulated,
        )


def _is_worth_verifying(answer: Reason) -> bool:
    """Return whether levels can add to the answer of the ramps. More calls cannot pass a threshold
    that turns violate because they fail at all loads.
    """
    return answer.code in ("crossed", "not_crossed") and "at_all_loads" not in answer.numbers


def _left_s(until_ns: int) -> float:
    return (until_ns - monotonic_ns()) / NS_PER_S


def _active(target: ComparedTarget) -> pd.Series[float]:
    """Return the number of open sessions by second."""
    return target.run.seconds.groupby("second")["sessions_active"].sum()


def _rate(target: str, turns: TurnsByLoad, metric: str) -> Value:
    """Return the share of turns that violated a threshold, with its 95 % interval."""
    _, session = np.unique(turns.session, return_inverse=True)
    missed, trials = (
        np.bincount(session, of).astype(float) for of in (turns.violated, turns.trials)
    )
    return violation_share(
        target, (missed, trials), ShareBounds(VALUES_ALPHA / 2, math.inf), metric
    )


def _share(target: str, turns: TurnsByLoad, threshold: Threshold) -> LimitFinding:
    """Return the share of turns that violated a threshold, which is no verdict, against the
    allowed share.
    """
    failed = int((turns.violated * np.isinf(turns.value)).sum())
    return LimitFinding(
        threshold=threshold.source_text,
        value=msgspec.structs.replace(_rate(target, turns, VIOLATIONS), failed=failed),
        operator="<",
        limit=allowed_share(threshold),
        result="inconclusive",
    )
