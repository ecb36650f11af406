"""The Python API of a run in `rtbench`, with the values that reports print. `docs/api.md` describes
it.

import rtbench
run = rtbench.load("runs/20261120T091400Z-voice_turns")
run.quantiles("ttfa", p=[0.5, 0.95])
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.base.errors import UsageError, see
from bench.catalogue.metrics import CATALOGUE
from bench.catalogue.other_names import meant_metric
from bench.record.document import ValidityStatus
from reports.analysis.summary.metrics import SLOPES, slope_sample
from reports.analysis.summary.run_validity import validity_of
from reports.analysis.summary.summary import Summary, summarise
from reports.api import tables
from reports.api.arguments import metrics_with_names, quantile_levels
from reports.api.frames import concat, frame_of
from reports.api.selection import (
    RowFilter,
    Selection,
    Where,
    columns_of,
    rows_not_started,
    selected,
    selected_turns,
    target_names,
)
from reports.data import runs
from reports.data.samples import (
    OF_SAMPLE,
    Events,
    MetricSamples,
    rate_counts,
    rate_unit,
    samples_of,
    session_sample,
)
from reports.data.turns import TurnArrays, column_of, measured_sessions, target_labels
from reports.metrics.rate_metrics import OF_TURNS, RATES
from reports.metrics.strata import NO_STRATUM, Stratum
from reports.render.blocks import source_marks, with_marker
from reports.render.notebook import frame_html
from reports.results.value import LEVELS
from reports.statistics.counting import Flags, split
from reports.statistics.quantiles import NO_VALUES, Sample, quantiles, settled


class _Group(NamedTuple):
    """The turns or sessions from which one value is computed. `keys` is its labels, without
    target and stratum.
    """

    target: str
    stratum: Stratum
    keys: Mapping[str, Any]
    sample: Sample


class Run(runs.RunFrames):
    """A loaded run, with methods for the values that its report prints."""

    def sample(self, metric: str, *, where: Where | None = None, **values: object) -> Sample:
        """Return the values from which the quantiles of a metric are computed, each with its
        session.

        They are in the unit of the metric. Rows are selected as in `quantiles`. Raise UsageError if
        the rows belong to several targets or to several strata, because their values must not be
        pooled.
        """
        (name,) = metrics_with_names((metric,))
        groups = list(self._groups(name, (), RowFilter(where, values)))
        if len(groups) > 1:
            labels = [
                {"target": group.target, **tables.labels_of(name, group.stratum)}
                for group in groups
            ]
            listed = "; ".join(", ".join(filter(None, of_group.values())) for of_group in labels)
            first = ", ".join(f"{column}={value!r}" for column, value in labels[0].items() if value)
            raise UsageError(
                f"{metric} has several samples, which must not be pooled: {listed}. Select one:"
                f" {first}"
            )
        return groups[0].sample if groups else NO_VALUES

    @property
    def validity(self) -> ValidityStatus:
        """The verdict on whether the values of the run may be used: `valid`, `invalid` or
        `no_verdict`.
        """
        return validity_of(self.metadata).status

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of the targets, in the order of the run."""
        return target_labels(self)

    def quantiles(
        self,
        metric: str | Sequence[str],
        *,
        p: float | Sequence[float] = LEVELS,
        by: str | Sequence[str] = (),
        where: Where | None = None,
        **values: object,
    ) -> pd.DataFrame:
        """Return quantiles of metrics of turns or sessions, with their 95 % intervals, as in the
        report.

        The frame has a row for each quantile. Each target, each stratum, and each combination of
        values in the columns `by` has its own quantiles. `where` selects rows. It is a query, a
        mask, or a function that makes a mask from a frame, which includes turns that did not start.
        `values` also selects rows: target="direct" or step=["greeting", "order"], for example, are
        the values that a column may have. A selection without rows is an error.

        `value`, `low` and `high` are in `unit`. They are NaN if the report prints n/a because there
        are too few turns or sessions: `status` contains which of the two, and `required` the number
        needed. `value` is inf if the quantile is among failed turns. An end of ±inf is unbounded.
        `published` is True unless the value is NaN. `usable` is True if the value is published, the
        run is valid, and the metric is not uncertain; otherwise `reason` contains the reason. Raise
        UsageError for invalid arguments.
        """
        ps = quantile_levels(p)
        columns = columns_of(by)
        chosen = RowFilter(where, values)
        frames = []
        for name in metrics_with_names(metric):
            rows = [
                tables.quantile_row(
                    self,
                    name,
                    group.target,
                    group.stratum,
                    group.keys,
                    group.sample,
                    settled(estimate, group.sample),
                )
                for group in self._groups(name, columns, chosen)
                for estimate in quantiles(group.sample, ps)
            ]
            labelled = self.sessions if tables.is_of_sessions(name) else self.turns
            labels = tables.dtypes_of_labels(labelled, (*tables.STRATUM, *columns))
            frames.append(frame_of(rows, labels | tables.QUANTILE))
        return concat(frames)

    def rates(
        self, *, by: str | Sequence[str] = (), where: Where | None = None, **values: object
    ) -> pd.DataFrame:
        """Return rates, which are shares of turns or of words, with their 95 % intervals over
        sessions.

        The frame has a row for each rate, each target, and each combination of values in the
        columns `by`. `by`, `where` and `values` are as in `quantiles`. Turns of all strata are
        pooled, as in the report; to separate them, `by` may contain `measured_from` and
        `turn_type`. `value`, `low` and `high` are shares. They are NaN if the report prints n/a.
        """
        turns = self._turns
        columns = columns_of(by)
        absent = rows_not_started(self, turns, ("target", "session_id"))
        chosen = selected_turns(self, turns, columns, RowFilter(where, values))
        codes = pd.Series(turns.session_of_row, index=self.sessions["session_id"].astype(str))
        started = np.array([turns.target, chosen.of_row, turns.session])
        at_target = pd.Categorical(absent["target"], turns.targets).codes
        of_absent = codes[absent["session_id"].astype(str)]
        not_started = np.array([at_target, chosen.of_not_started, of_absent], int)
        rows = []
        for name in OF_TURNS:
            events = rate_counts(turns, name)
            labels = started
            if name == "failure_rate":  # each turn that did not start counts as failed
                others = (np.ones(len(absent)), np.ones(len(absent)), np.zeros(len(absent)))
                events = Events(*map(np.append, events, others))
                labels = np.hstack([started, not_started])
            target, group, session = labels
            selected_rows = np.flatnonzero(events.counted & (group >= 0))
            for _, same in split((target * len(chosen.keys) + group)[selected_rows]):
                at = selected_rows[same]
                unit = rate_unit(turns, name, at)
                label = turns.targets[target[at[0]]]
                row = tables.rate_row(self, name, label, events.of(at), session[at], unit)
                rows.append(_keys(chosen, group[at[0]]) | row)
        return frame_of(
            rows, tables.dtypes_of_labels(self.turns, ("run_id", "target", *columns)) | tables.RATE
        )

    def summary(self) -> pd.DataFrame:
        """Return the quantiles of all metrics of turns and sessions in the report, over all
        steps and for each step.
        """
        return tables.summary_frame(self._summary)

    def outcomes(self) -> pd.DataFrame:
        """Return the number of turns and sessions by target and outcome. `not_started` is an
        outcome of turns.
        """
        return tables.outcome_frame(self._summary)

    def cost(self) -> pd.DataFrame:
        """Return the cost of the turns and sessions of each target, with the warm-up; NaN without a
        price.

        If `simulated` is true, nothing was billed.
        """
        return tables.cost_frame(self._summary)

    def distributions(self, *, p: float | Sequence[float] = LEVELS) -> pd.DataFrame:
        """Return the quantiles of metrics that have histograms, but no value for each turn or
        session.

        These are metrics of events, metrics of the load generator, and bytes per second or session.
        A metric of the load generator also has quantiles over all targets together, for which
        `target` is missing.
        """
        return tables.distribution_frame(self, target_labels(self), quantile_levels(p))

    @property
    def measured_turns(self) -> pd.DataFrame:
        """The rows of `turns` in the measured phase, without the warm-up. They have the same
        index as in `turns`.
        """
        measured = self.turns["measured"]
        return self.turns if measured.all() else self.turns[measured]

    def _repr_html_(self) -> str:
        """Return the main metrics of each target as an HTML table."""
        frame = self.quantiles(list(dict.fromkeys(self._samples.mains.values())))
        columns = (
            "target",
            "measured_from",
            "turn_type",
            "metric",
            "n",
            "p",
            "value",
            "low",
            "high",
            "unit",
            "reason",
        )
        verdict = with_marker(validity_of(self.metadata).title)
        marks = source_marks(simulated=self.simulated, recorded=self.recorded)
        return frame_html(" · ".join((repr(self), verdict, *marks)), frame, columns)

    @cached_property
    def uncertainty(self) -> pd.DataFrame:
        """The uncertainty of each instant in ns, with a row for each row of `turns`. It is read at
        the first access.

        The time of an arrival may really be earlier by `<instant>_uncertainty_ns`, and the time of
        a send may be later by it. `stall_duration_uncertainty_ns` is the uncertainty of the turn's
        stalls. An unknown value is missing. Raises UsageError if a file cannot be read.
        """
        return runs.bounds_of(self)

    @cached_property
    def _samples(self) -> MetricSamples:
        return samples_of(self)

    @cached_property
    def _summary(self) -> Summary:
        return summarise(self)

    @property
    def _turns(self) -> TurnArrays:
        return self._samples.turns

    def _groups(self, name: str, by: Sequence[str], where: RowFilter) -> Iterable[_Group]:
        """Yield the groups of a metric. Raise UsageError if turns and sessions do not have the
        metric.
        """
        scope = CATALOGUE[name].scope if name in CATALOGUE else ""
        if scope == "turn" or name in SLOPES:
            return self._of_turns(name, by, where)
        if scope == "session" and column_of(name) in self.sessions.columns:
            return self._of_sessions(name, by, where)
        if name in RATES:
            raise UsageError(f"{name!r} is a rate, which has no quantiles: use run.rates()")
        if name in CATALOGUE:
            raise UsageError(
                f"{name!r} is not a metric of turns or sessions: use run.distributions()"
            )
        raise UsageError(
            f"{name!r} is not a metric{meant_metric(name, CATALOGUE)} {see('metrics')} lists them"
        )

    def _of_turns(self, name: str, by: Sequence[str], where: RowFilter) -> Iterable[_Group]:
        turns = self._turns
        others = [column for column in by if column != "step"]
        chosen = selected_turns(self, turns, others, where)
        if name in SLOPES:
            if "step" in by:
                raise UsageError(f"{name} belongs to whole conversations: it has no steps")
            yield from self._slopes(name, chosen)
            return
        metric_sample = self._samples[name]
        names_of_steps = np.array([turns.row_labels[label][1] for label in turns.steps], object)
        for pool in metric_sample.pools():
            keys_and_steps: list[tuple[dict[str, Any], Flags]] = [({}, pool.steps)]
            if "step" in by:
                applying = pool.steps & metric_sample.applies[pool.target]
                names = dict.fromkeys(names_of_steps[applying])
                keys_and_steps = [
                    ({"step": label}, applying & (names_of_steps == label)) for label in names
                ]
            for step, steps in keys_and_steps:
                sample_of_group = dict(
                    metric_sample.by_group(pool.target, steps, chosen.of_row, chosen.of_not_started)
                )
                for group in [0] if chosen.every else sample_of_group:
                    keys = step | _keys(chosen, group)
                    yield _Group(
                        turns.targets[pool.target],
                        pool.stratum,
                        keys,
                        sample_of_group.get(group, NO_VALUES),
                    )

    def _slopes(self, name: str, chosen: Selection) -> Iterable[_Group]:
        """Yield the slopes of the main metric for each pool and group in which a session grows
        enough.
        """
        turns = self._turns
        samples = self._samples
        for pool in turns.pools:
            latencies = samples[samples.mains[pool.stratum]]
            for group in range(len(chosen.keys)):
                in_group = chosen.of_row[latencies.index] == group
                of_group = replace(
                    latencies, values=latencies.values[in_group], index=latencies.index[in_group]
                )
                sample = slope_sample(of_group, pool.target, pool.steps, name)
                if sample.n:
                    yield _Group(
                        turns.targets[pool.target], pool.stratum, _keys(chosen, group), sample
                    )

    def _of_sessions(self, name: str, by: Sequence[str], where: RowFilter) -> Iterable[_Group]:
        sessions = measured_sessions(self)
        known = {"target": [*target_labels(self), *target_names(self)]}
        chosen = selected(sessions, sessions.iloc[:0], by, where, known)
        for target in target_labels(self):
            at_target = (sessions["target"] == target).to_numpy()
            of_target = sessions.loc[at_target, [column_of(name), *OF_SAMPLE]]
            groups = chosen.of_row[at_target]
            for group in np.unique(groups[groups >= 0]):
                if (sample := session_sample(of_target, name, groups == group)) is not None:
                    yield _Group(target, NO_STRATUM, _keys(chosen, group), sample)


def _keys(chosen: Selection, group: int) -> dict[str, Any]:
    """Return the label of a group in each column."""
    return {str(name): column.iloc[group] for name, column in chosen.keys.items()}


def load_run(folder: Path | str, *, all_columns: bool = True) -> Run:
    """Return the run in a folder. Raise UsageError if the folder is no run, or its files cannot
    be read.
    """
    return Run(**vars(runs.load_frames(folder, all_columns=all_columns)))
