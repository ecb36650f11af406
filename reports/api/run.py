"""Runs in Python: what `rtbench` offers, over what reports are made of. `docs/api.md` describes it.

import rtbench
run = rtbench.load("runs/20261120T091400Z-voice_turns")
run.quantiles("ttfa", p=[0.5, 0.95])
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.errors import UsageError
from bench.manual import see
from bench.metrics import CATALOGUE
from reports import runs
from reports.api.arguments import given_run, metric_named, quantile_levels
from reports.api.selection import RowFilter, Selection, Where, columns_of, lost_rows, selected, selected_turns
from reports.exactness import why
from reports.frames import COUNT, NUMBER, TEXT, USE, dtypes_of, frame_of, use
from reports.question import NO_STRATUM, RATES, TRIALS, Stratum
from reports.runs import run_id_of
from reports.samples import OF_SAMPLE, Samples, rate_counts, samples_of, session_sample
from reports.statistics.counting import Floats, Integers, distinct, split
from reports.statistics.quantiles import CONFIDENCE, NOTHING, Sample, quantiles
from reports.summary.figures import PS, SLOPES, ratio_in, slope_sample
from reports.summary.trust import validity_of
from reports.thresholds import near
from reports.turns import Turns, column_of, measured_sessions, target_labels
from reports.wording.validity import verdict_reason

STRATUM = ("run_id", "target", "measured_from", "turn_type")
"""The labels of every quantile: values that differ in any of them are never pooled."""
QUANTILE = dtypes_of(
    (TEXT, ("metric",)),
    (COUNT, ("n", "failed", "not_started", "unfinished")),
    (NUMBER, ("p", "value", "low", "high")),
    (TEXT, ("unit",)),
) | USE | dtypes_of((TEXT, ("status",)), (COUNT, ("required",)))  # fmt: skip
"""The columns of a frame of quantiles, behind those of labels, with their dtypes."""
RATE = dtypes_of(
    (TEXT, ("rate",)),
    (COUNT, ("count", "total")),
    (TEXT, ("unit",)),
    (COUNT, ("sessions",)),
    (NUMBER, ("value", "low", "high")),
) | USE | dtypes_of((TEXT, ("status",)), (COUNT, ("required",)))  # fmt: skip
"""The same of a frame of rates."""


class _Group(NamedTuple):
    """The turns, or sessions, of one figure. `keys`: what else tells them apart from others."""

    target: str
    stratum: Stratum
    keys: Mapping[str, Any]
    sample: Sample


class Run(runs.RunFrames):
    """A run as it was read, with the figures that its report prints."""

    def sample(self, metric: str, *, where: Where | None = None, **values: object) -> Sample:
        """The values of a metric that its quantiles are made of, in the metric's unit, each with its session.

        Rows are selected as in `quantiles`. Raises UsageError if they must not be pooled: turns of several targets, or
        of several strata.
        """
        groups = list(self._groups(metric_named(metric), (), RowFilter(where, values)))
        if len(groups) > 1:
            each = "; ".join(", ".join(filter(None, (one.target, *one.stratum))) for one in groups)
            of = {"target": groups[0].target, **groups[0].stratum._asdict()}
            one = ", ".join(f"{name}={value!r}" for name, value in of.items() if value)
            raise UsageError(f"{metric} has several samples, which are not to be pooled: {each}. Select one: {one}")
        return groups[0].sample if groups else NOTHING

    def quantiles(
        self,
        metric: str,
        *,
        p: float | Sequence[float] = PS,
        by: str | Sequence[str] = (),
        where: Where | None = None,
        **values: object,
    ) -> pd.DataFrame:
        """Quantiles of a metric of turns or sessions with their 95 % intervals, a row each, as the report prints them.

        Each target, each stratum, and each group of the columns `by` has its rows. `where` is a query, a mask, or a
        function that makes a mask of the frame, which includes turns that did not start; `values` are values of
        columns, such as target="direct" or step=["greeting", "order"].

        `value`, `low` and `high` are in `unit`. They are NaN where the report prints n/a, for too few turns or
        sessions: `status` says which, `required` how many it takes. `value` is inf if the quantile lies among failed
        turns; an end of ±inf is unbounded. A value is `published` unless it is NaN, and `usable` unless the run is
        invalid or the metric uncertain; `reason` says why not. Raises UsageError.
        """
        name, ps, columns = metric_named(metric), quantile_levels(p), columns_of(by)
        rows = [
            row
            for group in self._groups(name, columns, RowFilter(where, values))
            for row in self._rows(group, name, ps)
        ]
        of_sessions = name not in SLOPES and CATALOGUE[name].scope == "session"
        labels = _labels_of(self.sessions if of_sessions else self.turns, (*STRATUM, *columns))
        return frame_of(rows, labels | QUANTILE)

    def rates(self, *, by: str | Sequence[str] = (), where: Where | None = None, **values: object) -> pd.DataFrame:
        """Shares of turns, or of words, with their 95 % intervals over sessions, a row for each rate and target.

        `by`, `where` and `values` are those of `quantiles`. Turns of all strata are pooled, as in the report; `by` may
        name `measured_from` and `turn_type`. `value`, `low` and `high` are shares, NaN where the report prints n/a.
        """
        turns, columns = self._turns, columns_of(by)
        lost = lost_rows(self, turns, ("target", "session_id"))
        chosen = selected_turns(self, turns, columns, RowFilter(where, values))
        codes = pd.Series(turns.session_of_row, index=self.sessions["session_id"].astype(str))
        begun = np.array([turns.target, chosen.of_row, turns.session])
        at_target = pd.Categorical(lost["target"], turns.targets).codes
        never = np.array([at_target, chosen.of_lost, codes[lost["session_id"].astype(str)]], dtype=np.int64)
        rows = []
        for name in RATES:
            counts, places = np.array(rate_counts(turns, name)), begun
            if name == "failure_rate":  # each of those never begun is one that failed
                counts, places = np.hstack([counts, np.ones((2, len(lost)))]), np.hstack([begun, never])
            (events, of), (target, group, session) = counts, places
            kept = np.flatnonzero(~np.isnan(of) & (group >= 0))
            for _, same in split((target * len(chosen.keys) + group)[kept]):
                at = kept[same]
                label = turns.targets[target[at[0]]]
                figure = self._rate(name, label, events[at], of[at], session[at])
                rows.append({"run_id": run_id_of(self), "target": label, **_keys(chosen, group[at[0]])} | figure)
        return frame_of(rows, _labels_of(self.turns, ("run_id", "target", *columns)) | RATE)

    @property
    def measured_turns(self) -> pd.DataFrame:
        """The rows of `turns` without those of the warm-up, by their index."""
        measured = self.turns["measured"]
        return self.turns if measured.all() else self.turns[measured]

    @cached_property
    def uncertainty(self) -> pd.DataFrame:
        """How far each instant of a turn can be off, in ns: a row for each of `turns`, in their order, read when asked.

        `<instant>_uncertainty_ns`: how much earlier an arrival, or later a send, may really have been;
        `stall_duration_uncertainty_ns` of its stalls. Missing if unknown. Raises UsageError where it cannot be read.
        """
        return runs.bounds_of(self)

    @cached_property
    def _samples(self) -> Samples:
        return samples_of(self)

    @property
    def _turns(self) -> Turns:
        return self._samples.turns

    def _rate(self, name: str, target: str, events: Floats, of: Floats, sessions: Integers) -> dict[str, Any]:
        share, rate = ratio_in(events, of, sessions, CONFIDENCE), RATES[name]
        few = bool(rate.column) and share.total < TRIALS
        value, low, high = (np.nan,) * 3 if few else (share.share, share.low, share.high)
        return {
            "rate": name,
            "count": share.count,
            "total": share.total,
            "unit": rate.trials,
            "sessions": distinct(sessions).size,
            "value": value,
            "low": low,
            "high": high,
            "status": f"too_few_{rate.trials}" if few else "reported",
            "required": TRIALS if few else None,
            **self._use(target, name, f"needs {TRIALS:,} {rate.trials}" if few else ""),
        }

    def _use(self, target: str, metric: str, missing: str) -> dict[str, Any]:
        """The columns of USE of a value. `missing`: why there is none; empty if there is one."""
        invalid = "; ".join(filter(None, (self._invalid, why(self.inexact, target, metric))))
        return use(missing, published=not missing, invalid=invalid)

    @property
    def _invalid(self) -> str:
        validity = validity_of(self.metadata)
        return f"the run is INVALID: {verdict_reason(validity)}" if validity.status == "invalid" else ""

    def _groups(self, name: str, by: Sequence[str], where: RowFilter) -> Iterable[_Group]:
        """Raises UsageError where rows do not have the metric."""
        scope = CATALOGUE[name].scope if name in CATALOGUE else ""
        if scope == "turn" or name in SLOPES:
            return self._of_turns(name, by, where)
        if scope == "session" and column_of(name) in self.sessions.columns:
            return self._of_sessions(name, by, where)
        if name in RATES:
            raise UsageError(f"{name!r} is a rate, which has no quantiles: run.rates() has it")
        if name in CATALOGUE:
            raise UsageError(f"{name!r} is no metric of turns or sessions: run.histograms has what there is of it")
        raise UsageError(f"{name!r} is no metric{near(name, CATALOGUE)} {see('metrics')} lists them")

    def _of_turns(self, name: str, by: Sequence[str], where: RowFilter) -> Iterable[_Group]:
        turns = self._turns
        others = [column for column in by if column != "step"]
        chosen = selected_turns(self, turns, others, where)
        if name in SLOPES:
            if "step" in by:
                raise UsageError(f"{name} is of whole conversations: it has no steps")
            yield from self._slopes(name, chosen)
            return
        one = self._samples[name]
        for pool in one.pools():
            of_steps = [pool.steps]
            if "step" in by:
                places = np.flatnonzero(pool.steps & one.applies[pool.target])
                of_steps = [np.arange(len(turns.steps)) == place for place in places]
            for steps in of_steps:
                step = {"step": turns.steps[int(np.flatnonzero(steps)[0])]} if "step" in by else {}
                found = dict(one.by_group(pool.target, steps, chosen.of_row, chosen.of_lost))
                for group in [0] if chosen.every else found:
                    keys = step | _keys(chosen, group)
                    yield _Group(turns.targets[pool.target], pool.stratum, keys, found.get(group, NOTHING))

    def _slopes(self, name: str, chosen: Selection) -> Iterable[_Group]:
        """Of each pool by its main metric; nothing of one without a session whose conversation grows enough."""
        turns, samples = self._turns, self._samples
        for pool in turns.pools:
            waits = samples[samples.mains[pool.stratum]]
            for group in range(len(chosen.keys)):
                mine = chosen.of_row[waits.index] == group
                sample = slope_sample(
                    replace(waits, values=waits.values[mine], index=waits.index[mine]), pool.target, pool.steps, name
                )
                if sample.n:
                    yield _Group(turns.targets[pool.target], pool.stratum, _keys(chosen, group), sample)

    def _of_sessions(self, name: str, by: Sequence[str], where: RowFilter) -> Iterable[_Group]:
        sessions = measured_sessions(self)
        chosen = selected(sessions, sessions.iloc[:0], by, where)
        for target in target_labels(self):
            mine = (sessions["target"] == target).to_numpy()
            of_target, groups = sessions.loc[mine, [column_of(name), *OF_SAMPLE]], chosen.of_row[mine]
            for group in np.unique(groups[groups >= 0]):
                if (sample := session_sample(of_target, name, groups == group)) is not None:
                    yield _Group(target, NO_STRATUM, _keys(chosen, group), sample)

    def _rows(self, group: _Group, metric: str, ps: Sequence[float]) -> Iterable[dict[str, Any]]:
        sample = group.sample
        for estimate in quantiles(sample, ps):
            known = estimate.bounded or estimate.status == "in_failures"
            missing = f"needs {estimate.required:,} {estimate.status.removeprefix('too_few_')}"
            yield {
                "run_id": run_id_of(self),
                "target": group.target,
                "measured_from": group.stratum.measured_from or None,
                "turn_type": group.stratum.turn_type or None,
                **group.keys,
                "metric": metric,
                "n": sample.n,
                "failed": sample.failed,
                "not_started": sample.not_started,
                "unfinished": sample.unfinished,
                "p": estimate.p,
                "value": estimate.value if known else None,
                "low": estimate.low if estimate.bounded else None,
                "high": estimate.high if estimate.bounded else None,
                "unit": CATALOGUE[metric].unit,
                **self._use(group.target, metric, "" if known else missing),
                "status": estimate.status,
                "required": estimate.required or None,
            }


def _keys(chosen: Selection, group: int) -> dict[str, Any]:
    """What tells a group apart, by column."""
    return {str(name): column.iloc[group] for name, column in chosen.keys.items()}


def _labels_of(frame: pd.DataFrame, names: Sequence[str]) -> dict[str, Any]:
    """The dtypes of labels: those of the columns of the frame, and texts of categories."""
    texts = {name for name in names if name in STRATUM or isinstance(frame.dtypes[name], pd.CategoricalDtype)}
    return {name: TEXT if name in texts else frame.dtypes[name] for name in names}


def load(path: Path | str, *, all_columns: bool = True) -> Run:
    """The run in a folder; `all_columns=False` reads of the turns only what a report needs: four fifths of the memory.

    Raises UsageError where the folder is no run, or its files cannot be read.
    """
    given = given_run(path)
    folder = given if isinstance(given, str) else given.folder
    return Run(**vars(runs.load_frames(folder, all_columns=all_columns)))
