"""Stored baselines, in files `<folder>/<scenario>/<target>/<run_id>.json` that are small enough for git.

A baseline contains the quantiles of each metric and stratum, with the variance of their logs between sessions, and
between parts of the run. The variances are from a bootstrap whose seed is made from the run. A baseline also contains
the share of each rate with its variances, and the conditions of the measurement. This module also lists baselines as
text, or describes one with its run-to-run variation.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec
import numpy as np

from bench.base.errors import UsageError
from bench.catalogue.metrics import CATALOGUE, SLOPE
from bench.files import safe_io
from bench.files.safe_io import JsonError, read_json, save_text
from bench.files.sanitize import escape_control
from reports.analysis.summary.run_validity import invalid_reasons
from reports.analysis.summary.targets import FAIR
from reports.analysis.targets.compared_target import ComparedTarget
from reports.analysis.targets.conditions import conditions_of
from reports.analysis.targets.fairness import throttled_cause, throttled_share
from reports.analysis.targets.metric_specs import by_stratum
from reports.data.runs import labels_of, run_id_of
from reports.formatting import NBSP, NONE, count, format_number, format_utc, plural
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.rate_metrics import RATES
from reports.metrics.statistic_types.quantile import Quantile
from reports.metrics.statistic_types.rate import FAILURES, Rate
from reports.metrics.stored import PS, SCHEMA, Baseline, StoredQuantiles, StoredRate
from reports.metrics.strata import NO_STRATUM, Stratum
from reports.render.blocks import Block, Column, Fact, Line, Paragraph, make_row, note, table
from reports.statistics.autocorrelation import BATCHES, QUARTERS, log_variances_by_parts, with_sixths
from reports.statistics.baselines import MIN_STORED_RUNS
from reports.statistics.bootstrap import resampled_quantiles, seed_of, variance
from reports.statistics.quantiles import Sample, quantile
from reports.text.cells import INFINITE
from reports.text.reasons import reason_line

MAX_STORED_RUNS = 10
"""The maximum number of stored runs that form a baseline. If more are stored, the newest are used."""
RESAMPLES = 2_000
"""The number of resamples for estimating a variance. Estimating bounds would need more."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True)
class StoredBaseline:
    """A stored baseline, and the path of its file."""

    path: Path
    baseline: Baseline

    @property
    def in_place(self) -> bool:
        """True if the file is in the folder of its scenario and target. A copied file may be in another folder."""
        return self.path.parent.parts[-2:] == (safe(self.baseline.scenario), safe(self.baseline.target))


def baseline_of(target: ComparedTarget) -> Baseline:
    """Return the baseline to store for a target.

    Raise UsageError if its run is invalid, has no verdict, was throttled too often, or has no successful turn of the
    target.
    """
    document = target.run.metadata
    if causes := invalid_reasons(document):
        raise UsageError(f"{target.run.folder} cannot be a baseline: {reason_line(causes[0])}".replace(NBSP, " "))
    turns = int(target.turn_mask.sum())
    failures = target.counts(FAILURES)
    if not turns or failures[0].sum() == failures[1].sum():
        what = "none of its turns succeeded" if turns else "it has no turns"
        raise UsageError(f"{target.run.folder} cannot be a baseline of {target.name or 'any target'}: {what}")
    if throttled_share(target) > FAIR:
        raise UsageError(
            f"{target.run.folder} cannot be a baseline: {reason_line(throttled_cause(target))}".replace(NBSP, " ")
        )
    rates: list[StoredRate] = []
    for name in RATES:
        spec = MetricSpec(name, Rate())
        rate = with_sixths(target.counts(spec), words=bool(RATES[name].words_column))
        if rate.turns and not target.uncertain_reason(spec):
            variances = _rounded(rate.variance), _rounded(rate.by_sixths)
            rates.append(
                StoredRate(name, _five_digits(rate.value), variances[0], int(rate.turns), rate.clusters, variances[1])
            )
    quantiles: list[StoredQuantiles] = []
    rng = np.random.default_rng(seed_of(run_id_of(target.run), target.name))
    for metric in CATALOGUE.values():
        if metric.scope in ("turn", "session") and metric.unit != SLOPE:
            for spec in by_stratum(MetricSpec(metric.name, Quantile(0.5)), [target]):
                sample = target.sample(spec)
                if sample.succeeded.size and not target.uncertain_reason(spec):
                    quantiles.append(_stored(metric.name, spec.stratum or NO_STRATUM, sample, target.sessions, rng))
    return Baseline(
        SCHEMA, run_id_of(target.run), scenario_of(target), target.name, int(document.get("started_utc_ns") or 0),
        str((document.get("tool") or {}).get("version") or ""), True, target.run.simulated, target.sessions, turns, PS,
        conditions_of(target), tuple(quantiles), tuple(rates),
        labels_of(document),
    )  # fmt: skip


def scenario_of(target: ComparedTarget) -> str:
    return str(target.run.metadata.get("scenario") or "run")


def _stored(metric: str, stratum: Stratum, sample: Sample, clusters: int, rng: np.random.Generator) -> StoredQuantiles:
    values = [quantile(sample.values, p) for p in PS]
    resampled = resampled_quantiles(sample, PS, clusters=clusters, draws=RESAMPLES, rng=rng)
    by_parts = [log_variances_by_parts(sample, PS, clusters, parts, RESAMPLES, rng) for parts in (QUARTERS, BATCHES)]
    return StoredQuantiles(
        metric,
        stratum.measured_from,
        sample.n,
        sample.failed,
        int(np.unique(sample.sessions).size),
        tuple(_rounded(value) for value in values),
        tuple(_rounded(variance(np.log(column[column > 0]))) for column in resampled.T),
        tuple(round(float(np.isinf(column).mean()), 4) for column in resampled.T),
        stratum.turn_type,
        *(tuple(map(_rounded, variances)) for variances in by_parts),
    )


def _rounded(value: float) -> float | None:
    return _five_digits(value) if math.isfinite(value) else None


def _five_digits(value: float) -> float:
    """Return a value rounded to five digits, which are enough for a later check."""
    return float(f"{value:.5g}")


def save(baseline: Baseline, folder: Path) -> Path:
    """Write the baseline to its file and return the path. Raise UsageError if the file cannot be written."""
    path = baseline_folder(folder, baseline.scenario, baseline.target) / f"{safe(baseline.run_id)}.json"
    save_text(path, as_text(baseline))
    return path


def as_text(baseline: Baseline) -> str:
    """Return a baseline as JSON.

    Each metric, each rate, and each other value is a line, so that a diff shows which changed.
    """
    data = msgspec.to_builtins(baseline)
    rows = {name: [json.dumps(row, ensure_ascii=False) for row in data.pop(name)] for name in ("quantiles", "rates")}
    head = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in data.items()]
    lists = [f'  "{name}": [\n    ' + ",\n    ".join(lines) + "\n  ]" for name, lines in rows.items()]
    return "{\n" + ",\n".join([*head, *lists]) + "\n}\n"


def safe(name: str) -> str:
    """Return a name that is safe for a file or folder. If this changes the name, a hash keeps it unique."""
    safe_name = _UNSAFE.sub("-", name)[:80]
    safe_name = "-" + safe_name[1:] if safe_name.startswith(".") else safe_name
    if safe_name == name and name:
        return name
    return f"{safe_name or 'unnamed'}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def baseline_folder(folder: Path, scenario: str, target: str) -> Path:
    """Return the folder of the baselines of a scenario and target."""
    return folder / safe(scenario) / safe(target)


def read_baselines(folder: Path, scenario: str | None = None, target: str | None = None) -> list[StoredBaseline]:
    """Return stored baselines, the newest first. If `scenario` or `target` is given, return only its baselines.

    Raise UsageError for a file that is invalid or was written by a newer version.
    """
    pattern = "/".join("*" if name is None else safe(name) for name in (scenario, target))
    stored = [StoredBaseline(path, read_file(path)) for path in sorted(folder.glob(f"{pattern}/*.json"))]
    return sorted(stored, key=lambda one: (one.baseline.started_utc_ns, one.baseline.run_id), reverse=True)


def read_file(path: Path) -> Baseline:
    """Return one stored baseline. Raise UsageError if its file is invalid or was written by a newer version."""
    try:
        content = safe_io.read_file(path)
        schema = read_json(content).get("schema")
        if isinstance(schema, int) and schema > SCHEMA:
            raise UsageError(f"{path} was written by a newer rtbench (schema {schema}); upgrade to read it")
        return cast(Baseline, read_json(content, Baseline))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (JsonError, AttributeError) as error:
        raise UsageError(f"{path} is not a stored baseline: {error}") from None


LISTED = (0.5, 0.95)
PROVISIONAL = f"provisional: at least {MIN_STORED_RUNS} runs are needed to estimate run-to-run variation"


def list_baselines(stored: Sequence[StoredBaseline]) -> Iterable[Block]:
    """Yield a line for each scenario and target.

    It has the number of stored runs, the time of the newest, and a note if verdicts would be provisional.
    """
    groups: dict[str, list[StoredBaseline]] = {}
    for item in stored:
        groups.setdefault(escape_control(f"{item.baseline.scenario}/{item.baseline.target}"), []).append(item)
    size = max(map(len, groups))
    for name, runs in sorted(groups.items()):
        warning = f"; {PROVISIONAL}" if len(runs) < MIN_STORED_RUNS else ""
        newest = format_utc(runs[0].baseline.started_utc_ns)
        yield Fact(name, [f"{plural(len(runs), 'run')}, newest {newest}{warning}"], indent=size + 2)


def describe_baselines(stored: Sequence[StoredBaseline]) -> list[list[Block]]:
    """Return blocks that describe the stored runs of a target: a table of the runs, and a table of the metrics.

    For each metric, the table has the newest value, the standard deviation between runs, and the one within a run.
    """
    runs = [stored_baseline.baseline for stored_baseline in stored[:MAX_STORED_RUNS]]
    rows = [
        make_row(
            [run.run_id, format_utc(run.started_utc_ns), count(run.turns), count(run.sessions)],
            more=note(" · ".join(f"{key} {value}" for key, value in run.labels.items())),
        )
        for run in runs
    ]
    older, is_provisional = len(stored) - MAX_STORED_RUNS, len(runs) < MIN_STORED_RUNS
    assumed = f"{plural(len(runs), 'run')}, {PROVISIONAL}; until then, a standard deviation of 5{NBSP}% is assumed."
    return [
        [Paragraph(f"{runs[0].scenario}/{runs[0].target}{'  ◇ SIMULATED' if runs[0].simulated else ''}", "bold")],
        [
            table([Column("run", min_width=20), "began", "turns", "sessions"], rows),
            *note(
                f"  and {count(older)} older; only the newest {MAX_STORED_RUNS} are the baseline" if older > 0 else ""
            ),
        ],
        [table([Column("metric", min_width=20), "newest", "between runs", "within a run"], _displayed_values(runs))],
        note(assumed if is_provisional else ""),
    ]


def _displayed_values(runs: Sequence[Baseline]) -> Iterable[Line]:
    """Yield a row for each metric, such as `ttfa p95   1,410   ±2.1 %   ±3.4 %`.

    The row has the newest value, the standard deviation between runs, and the standard deviation within a run. For a
    quantile, both are standard deviations of its log. For a rate, they are in points. Quantiles of 0 are left out.
    """
    for row in runs[0].quantiles:
        key = row.metric, row.stratum
        same_metric = [other for run in runs for other in run.quantiles if (other.metric, other.stratum) == key]
        for p in LISTED:
            index = PS.index(p)
            newest = row.values[index]
            logs = [
                math.log(value)
                for quantiles in same_metric
                if (value := quantiles.values[index]) is not None and value > 0
            ]
            within = [value for quantiles in same_metric if (value := quantiles.variances[index]) is not None]
            name = " ".join(filter(None, [row.metric, f"p{p * 100:g}", row.stratum.key]))
            unit = CATALOGUE[row.metric].unit
            value_text = INFINITE if newest is None else f"{format_number(newest)}{'' if unit == 'n' else NBSP + unit}"
            if newest != 0:
                yield [name, value_text, *_run_to_run(logs, within, "%")]
    for rate in runs[0].rates:
        rates = [other for run in runs for other in run.rates if other.name == rate.name]
        within = [other.variance for other in rates if other.variance is not None]
        shares = [other.share for other in rates]
        yield [rate.name, f"{format_number(100 * rate.share)}{NBSP}%", *_run_to_run(shares, within, "points")]


def _run_to_run(values: Sequence[float], within: Sequence[float], unit: str) -> list[str]:
    """Return the standard deviation between runs and the one within a run as texts; a dash for an unknown one.

    `values` is the values of the runs. `within` is their variances within a run.
    """
    between = float(np.std(values, ddof=1)) if len(values) > 1 else None
    inside = math.sqrt(float(np.mean(within))) if within else None
    return [
        NONE if sd is None else f"±{format_number(float(f'{100 * sd:.2g}'))}{NBSP}{unit}" for sd in (between, inside)
    ]
