"""One run in plain data: what the terminal, report.md, summary.json and report.html say, computed once.

Times are in ms, rates in B/s. Quantiles of turns and sessions come from rows, those of events from histograms.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bench.measures import CATALOGUE
from reports.events import ALL, HARNESS, Distribution, Throughput, events, pooled, throughput
from reports.outcomes import Outcomes, outcomes_of
from reports.runs import Run
from reports.samples import GOOD, Sampled, Turns, measured, sampled, session_sample, turns_of
from reports.statistics import Estimate, Sample, estimates, quantile
from reports.verdict import Verdict, verdict_of

PS = (0.5, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Figures:
    """A measure of a target and step. Quantiles are of `n` values, `failed` ones among them as +inf if it is a wait."""

    measure: str
    unit: str
    target: str
    step: str
    n: int
    failed: int
    censored: int
    quantiles: tuple[Estimate, ...]
    successes: tuple[float, ...]
    """the same quantiles of good turns alone"""
    low: float
    high: float
    """smallest and largest good value"""

    def at(self, p: float) -> Estimate:
        return self.quantiles[PS.index(p)]


@dataclass(frozen=True)
class Answer:
    """What a caller of one target waits for."""

    target: str
    turns: int
    sessions: int
    figures: Figures


@dataclass(frozen=True)
class Window:
    """When the run was; seconds."""

    began_utc_ns: int
    length_s: float
    warmup_s: float
    """the part before the first measured turn, where there was a warm-up"""

    @property
    def measured_from_s(self) -> int:
        """The first second (UTC, since 1970) of the measured phase."""
        return (self.began_utc_ns + int(self.warmup_s * 1e9)) // 10**9

    @property
    def measured_s(self) -> float:
        return max(0.0, self.length_s - self.warmup_s)


@dataclass(frozen=True)
class Summary:
    """One run. `turns` and `samples` are kept for the figures and are no part of summary.json."""

    run: Run
    turns: Turns
    samples: dict[str, Sampled]
    window: Window
    main: str
    answers: tuple[Answer, ...]
    measures: tuple[Figures, ...]
    connecting: tuple[Figures, ...]
    events: tuple[Distribution, ...]
    harness: tuple[Distribution, ...]
    throughput: tuple[Throughput, ...]
    outcomes: Outcomes
    verdict: Verdict
    notices: tuple[str, ...]

    @property
    def targets(self) -> tuple[str, ...]:
        return self.turns.targets

    @property
    def simulated(self) -> bool:
        return self.run.simulated

    @cached_property
    def scenario(self) -> str:
        return str(self.run.document.get("scenario") or self.run.document.get("run_id") or self.run.folder.name)


def summarise(run: Run) -> Summary:
    """Everything that is said of a run. Raises UsageError where its turns cannot be pooled."""
    turns = turns_of(run)
    main = main_measure(run, turns)
    samples = {name: sampled(turns, name, main) for name in _of_turns(run)}
    samples = {name: one for name, one in samples.items() if one.applies.any() or name == main}
    window, sessions = window_of(run, turns), _measured_sessions(run)
    return Summary(
        run=run,
        turns=turns,
        samples=samples,
        window=window,
        main=main,
        answers=tuple(_answer(turns, sessions, samples[main], index) for index in range(len(turns.targets))),
        measures=tuple(_turn_figures(turns, samples)),
        connecting=tuple(_session_figures(turns.targets, sessions)),
        events=tuple(events(run, turns.targets)),
        harness=tuple(one for name in HARNESS if (one := pooled(run, name)).n),
        throughput=tuple(throughput(run, turns.targets, window.measured_from_s)),
        outcomes=outcomes_of(turns, sessions),
        verdict=verdict_of(run.document),
        notices=tuple(_notices(run, turns)),
    )


def main_measure(run: Run, turns: Turns) -> str:
    """ttfa where there is audio, else ttft; where nothing succeeded, what the scripts asked for."""
    for name in ("ttfa", "ttft"):
        if (~np.isnan(turns.value(name)) & (turns.kind == GOOD)).any():
            return name
    asked = {script.get("output") for script in run.document.get("scripts") or []}
    return "ttft" if asked == {"text"} else "ttfa"


def _of_turns(run: Run) -> list[str]:
    columns = set(run.turns.columns)
    return [m.name for m in CATALOGUE.values() if m.scope == "turn" and {f"{m.name}_ms", m.name} & columns]


def _measured_sessions(run: Run) -> pd.DataFrame:
    return run.sessions.iloc[measured(run.sessions)]


def window_of(run: Run, turns: Turns) -> Window:
    """From the document; where a killed run's says no end, up to the last second that was written."""
    began = int(run.document.get("began_utc_ns") or _earliest(run))
    ended = run.document.get("ended_utc_ns") or _latest(run, began)
    warm = 0.0
    if turns.rows.size and turns.rows.size < len(run.turns):
        sessions = _measured_sessions(run)
        first = int((sessions if len(sessions) else run.turns.iloc[turns.rows])["start_utc_ns"].min())
        warm = (first - began) / 1e9 if (run.turns["phase"] == "warmup").any() else 0.0
    return Window(began, max(0.0, (int(ended) - began) / 1e9), max(0.0, warm))


def _earliest(run: Run) -> int:
    return min((int(frame["start_utc_ns"].min()) for frame in (run.turns, run.sessions) if len(frame)), default=0)


def _latest(run: Run, began: int) -> int:
    seconds = [(int(run.seconds["second"].max()) + 1) * 10**9] if len(run.seconds) else []
    starts = [int(frame["start_utc_ns"].max()) for frame in (run.turns, run.sessions) if len(frame)]
    return max([began, *seconds, *starts])


def figures(sample: Sample, measure: str, target: str, step: str = ALL) -> Figures:
    """The quantiles of one sample."""
    good = sample.good
    ends = (float(good[0]), float(good[-1])) if good.size else (np.nan, np.nan)
    successes = tuple(quantile(good, p) for p in PS)
    counted = sample.n, sample.failed, sample.censored
    unit = CATALOGUE[measure].unit
    return Figures(measure, unit, target, step, *counted, tuple(estimates(sample, PS)), successes, *ends)


def _answer(turns: Turns, sessions: pd.DataFrame, main: Sampled, target: int) -> Answer:
    label = turns.targets[target]
    opened = int((sessions["target"] == label).sum()) if len(sessions) else 0
    played = np.unique(turns.session[turns.target == target]).size
    begun = int((turns.target == target).sum())
    return Answer(label, begun, max(opened, played), figures(main.of(target), main.measure.name, label))


def _turn_figures(turns: Turns, samples: dict[str, Sampled]) -> Iterable[Figures]:
    for name, one in samples.items():
        for index, label in enumerate(turns.targets):
            if one.applies[index].any():
                yield figures(one.of(index), name, label)
                for place in np.flatnonzero(one.applies[index]):
                    yield figures(one.of(index, int(place)), name, label, turns.steps[int(place)])


def _session_figures(targets: Sequence[str], sessions: pd.DataFrame) -> Iterable[Figures]:
    for measure in CATALOGUE.values():
        for label in targets if measure.scope == "session" else ():
            sample = session_sample(sessions[(sessions["target"] == label).to_numpy()], measure.name)
            if sample is not None:
                yield figures(sample, measure.name, label)


def _notices(run: Run, turns: Turns) -> Iterable[str]:
    yield from (str(notice) for notice in run.document.get("notices") or [])
    yield from _missing(run, run.document.get("totals") or {})
    if run.document.get("state") == "running" and not run.closed:
        yield "This run is under way: its figures are of what has been written by now."
    elif not run.closed or run.document.get("state") == "killed":
        yield "This run did not end cleanly: its figures are of what had been written by then."
    if turns.apart:
        steps = ", ".join(turns.apart)
        yield f"Steps {steps} count from another origin than most turns; only their own figures hold them."
    left_out = len(run.turns) - turns.rows.size
    if left_out:
        yield f"{left_out:,} turns of warm-up and cool-down are left out."


def _missing(run: Run, totals: dict[str, Any]) -> Iterable[str]:
    begun = totals.get("turns_begun")
    if isinstance(begun, int) and begun > len(run.turns):
        yield f"{begun:,} turns were begun and {len(run.turns):,} rows were written: how the others ended is unknown."
    fallbacks = totals.get("stamp_fallbacks")
    if fallbacks:
        yield f"{fallbacks:,} events had no usable kernel stamp and were stamped by this process."
