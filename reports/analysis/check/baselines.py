"""Stored baselines, in files `<folder>/<scenario>/<target>/<run_id>.json` that are small enough for
git.

A baseline contains the quantiles of each metric and stratum, with the variance of their logs
between sessions, and between parts of the run. The variances are from a bootstrap whose seed is
made from the run. A baseline also contains the share of each rate with its variances, and the
conditions of the measurement.
"""

import hashlib
import json
import math
import re
from pathlib import Path
from typing import NamedTuple, cast

import msgspec
import numpy as np

from bench.base.errors import UsageError
from bench.catalogue.metrics import CATALOGUE, SLOPE
from bench.files import safe_io
from reports.analysis.summary.targets import FAIR
from reports.analysis.targets.compared_target import ComparedTarget
from reports.analysis.targets.conditions import conditions_of
from reports.analysis.targets.fairness import own_causes, throttled_cause, throttled_share
from reports.analysis.targets.metric_specs import by_stratum
from reports.data.runs import labels_of, part_of, run_id_of
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.rate_metrics import RATES
from reports.metrics.statistic_types.quantile import Quantile
from reports.metrics.statistic_types.rate import FAILURES, Rate
from reports.metrics.stored import PS, SCHEMA, Baseline, StoredQuantiles, StoredRate, by_code
from reports.metrics.strata import NO_STRATUM, Stratum
from reports.results.value import Reason
from reports.statistics.autocorrelation import (
    BATCHES,
    QUARTERS,
    log_variances_by_parts,
    with_sixths,
)
from reports.statistics.bootstrap import resampled_quantiles, seed_of, variance
from reports.statistics.quantiles import Sample, quantile

MAX_STORED_RUNS = 10
"""The maximum number of stored runs that form a baseline. If more are stored, the newest are
used."""
RESAMPLES = 2_000
"""The number of resamples for estimating a variance. Estimating bounds would need more."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


class StoredBaseline(NamedTuple):
    """A stored baseline, and the path of its file."""

    path: Path
    baseline: Baseline

    @property
    def in_place(self) -> bool:
        """True if the file is in the folder of its scenario and target. A copied file may be in
        another folder.
        """
        return self.path.parent.parts[-2:] == (
            safe(self.baseline.scenario),
            safe(self.baseline.target),
        )


def unfit_reason(target: ComparedTarget) -> Reason | None:
    """Return the reason why a target cannot be a baseline; None if it can.

    Its run is invalid, has no verdict, was throttled too often, or has no successful turn of the
    target.
    """
    failed, turns = target.counts(FAILURES)
    causes = list(own_causes([target]))
    causes += (
        [Reason("no_turn_succeeded", {"target": target.name})]
        if failed.sum() == turns.sum()
        else []
    )
    causes += [throttled_cause(target)] if throttled_share(target) > FAIR else []
    return next(iter(causes), None)


def baseline_of(target: ComparedTarget) -> Baseline:
    """Return the baseline to store for a target. `unfit_reason` states whether the target can be
    a baseline.
    """
    document = target.run.metadata
    rng = np.random.default_rng(seed_of(run_id_of(target.run), target.name))
    rates: list[StoredRate] = []
    for name in RATES:
        spec = MetricSpec(name, Rate())
        rate = with_sixths(target.counts(spec), words=bool(RATES[name].words_column))
        if rate.turns and not target.doubt(spec):
            share, variance, by_sixths = map(_rounded, (rate.value, rate.variance, rate.by_sixths))
            rates.append(
                StoredRate(name, share or 0.0, variance, int(rate.turns), rate.clusters, by_sixths)
            )
    quantiles: list[StoredQuantiles] = []
    for metric in CATALOGUE.values():
        if metric.scope in ("turn", "session") and metric.unit != SLOPE:
            for spec in by_stratum(MetricSpec(metric.name, Quantile(0.5)), [target]):
                sample = target.sample(spec)
                if sample.succeeded.size and not target.doubt(spec):
                    quantiles.append(
                        _stored(
                            metric.name, spec.stratum or NO_STRATUM, sample, target.sessions, rng
                        )
                    )
    return Baseline(
        SCHEMA,
        run_id_of(target.run),
        scenario_of(target),
        target.name,
        int(document.get("started_utc_ns") or 0),
        str(part_of(document, "tool").get("version") or ""),
        True,
        target.run.simulated,
        target.sessions,
        int(target.turn_mask.sum()),
        PS,
        conditions_of(target),
        tuple(quantiles),
        tuple(rates),
        labels_of(document),
    )


def scenario_of(target: ComparedTarget) -> str:
    return str(target.run.metadata.get("scenario") or "run")


def _stored(
    metric: str, stratum: Stratum, sample: Sample, clusters: int, rng: np.random.Generator
) -> StoredQuantiles:
    resampled = resampled_quantiles(sample, PS, clusters=clusters, draws=RESAMPLES, rng=rng)
    by_parts = [
        log_variances_by_parts(sample, PS, clusters, parts, RESAMPLES, rng)
        for parts in (QUARTERS, BATCHES)
    ]
    values = [quantile(sample.values, p) for p in PS]
    variances = [variance(np.log(column[column > 0])) for column in resampled.T]
    of_values, of_variances, *of_parts = (
        tuple(map(_rounded, row)) for row in (values, variances, *by_parts)
    )
    infinite = tuple(round(float(np.isinf(column).mean()), 4) for column in resampled.T)
    return StoredQuantiles(
        metric,
        stratum.measured_from,
        sample.n,
        sample.failed,
        int(np.unique(sample.sessions).size),
        of_values,
        of_variances,
        infinite,
        stratum.turn_type,
        *of_parts,
    )


def _rounded(value: float) -> float | None:
    """Return a value rounded to five digits, which are enough for a later check; None if it is
    not finite.
    """
    return float(f"{value:.5g}") if math.isfinite(value) else None


def save(baseline: Baseline, folder: Path) -> Path:
    """Write the baseline to its file and return the path. Raise UsageError if the file cannot be
    written.
    """
    path = (
        baseline_folder(folder, baseline.scenario, baseline.target)
        / f"{safe(baseline.run_id)}.json"
    )
    safe_io.save_text(path, as_text(baseline))
    return path


def as_text(baseline: Baseline) -> str:
    """Return a baseline as JSON.

    Each metric, each rate, and each other value is a line, so that a diff shows which changed.
    """
    data = msgspec.to_builtins(baseline)
    rows = {
        name: [json.dumps(row, ensure_ascii=False) for row in data.pop(name)]
        for name in ("quantiles", "rates")
    }
    head = [
        f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}"
        for key, value in data.items()
    ]
    lists = [
        f'  "{name}": [\n    ' + ",\n    ".join(lines) + "\n  ]" for name, lines in rows.items()
    ]
    return "{\n" + ",\n".join([*head, *lists]) + "\n}\n"


def safe(name: str) -> str:
    """Return a name that is safe for a file or folder. If this changes the name, a hash keeps it
    unique.
    """
    safe_name = _UNSAFE.sub("-", name)[:80]
    safe_name = "-" + safe_name[1:] if safe_name.startswith(".") else safe_name
    if safe_name == name and name:
        return name
    return f"{safe_name or 'unnamed'}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def baseline_folder(folder: Path, scenario: str, target: str) -> Path:
    """Return the folder of the baselines of a scenario and target."""
    return folder / safe(scenario) / safe(target)


def read_baselines(
    folder: Path, scenario: str | None = None, target: str | None = None
) -> list[StoredBaseline]:
    """Return stored baselines, the newest first. If `scenario` or `target` is given, return only
    its baselines.

    Raise UsageError for a file that is invalid or was written by a newer version.
    """
    pattern = "/".join("*" if name is None else safe(name) for name in (scenario, target))
    stored = [
        StoredBaseline(path, read_file(path)) for path in sorted(folder.glob(f"{pattern}/*.json"))
    ]
    return sorted(
        stored, key=lambda one: (one.baseline.started_utc_ns, one.baseline.run_id), reverse=True
    )


def read_file(path: Path) -> Baseline:
    """Return one stored baseline. Raise UsageError if its file is invalid or was written by a
    newer version.
    """
    try:
        content = safe_io.read_file(path)
        schema = safe_io.read_json(content).get("schema")
        if isinstance(schema, int) and schema > SCHEMA:
            raise UsageError(
                f"{path} was written by a newer rtbench (schema {schema}); upgrade to read it"
            )
        return by_code(cast(Baseline, safe_io.read_json(content, Baseline)))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (safe_io.JsonError, AttributeError) as error:
        raise UsageError(f"{path} is not a stored baseline: {error}") from None
