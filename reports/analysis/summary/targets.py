"""Facts about the targets of a run: their settings, their interleaving, and the ratios of their
quantiles.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.base.units import NS_PER_MS
from bench.files.safe_io import JsonError, read_json
from bench.files.sanitize import escape_control
from reports.data.runs import Document, target_entries
from reports.data.turns import rows_of
from reports.formatting import count, excerpt, join_words, plural
from reports.metrics.strata import Stratum, Traits
from reports.results.json_entries import Count, JsonEntry, Known, Rounded
from reports.results.value import TYPICAL_LEVELS

if TYPE_CHECKING:
    from reports.analysis.summary.metrics import MetricSummary

FAIR = 0.01
"""The limit for a fair comparison: the maximum difference of failure rates, and the maximum
throttled share."""
DEFLATE = "permessage-deflate"
SEEN = 200
"""The maximum number of a target's sessions whose effective settings are read."""
OF_FACTS = ["effective_settings", "model", "region", "opened_at_ns", "response_headers"]
OF_PAIRS = ["pair", "target", "block", "start_ns", "session_ready_ms", "outcome_class"]
"""The columns of sessions that `interleaving_of` needs. To read all sixty columns takes ten
times as long."""


class TargetFacts(JsonEntry, kw_only=True):
    """The settings of one target or variant, as texts; null if the run does not contain them."""

    target: str
    address: Known | None = None
    dialect: Known | None = None
    model: Known | None = None
    region: Known | None = None
    sign_in: Known | None = None
    proxy: Known | None = None
    compression: Known | None = None
    srtp: Known | None = None
    voice: Known | None = None
    turn_detection: Known | None = None
    variant_settings: Known | None = None


class Interleaving(JsonEntry):
    """The sessions of all targets that started together."""

    targets: Count
    pairs: Count
    """complete ones: with a session of each target"""
    incomplete: Count
    """those without"""
    blocks: Count
    not_opened: Count
    """complete pairs of which a session never opened"""
    max_start_gap_ms: float
    """the longest time between the first and the last start in a pair"""


class TargetsQuantile(JsonEntry):
    """A quantile that several targets report, relative to that of the first target, which is the
    baseline.
    """

    metric: str
    measured_from: Known
    turn_type: Traits
    p: float
    baseline: str
    ratios: dict[str, Rounded]

    @property
    def stratum(self) -> Stratum:
        return Stratum(self.measured_from, self.turn_type)

    @property
    def others(self) -> list[tuple[str, float]]:
        """The targets other than the baseline, each with its ratio to the baseline."""
        return [(target, ratio) for target, ratio in self.ratios.items() if target != self.baseline]


def called_by_telephone(document: Document) -> set[str]:
    """Return the names of the targets of a run that are called by telephone. `document` is the
    content of run.json.
    """
    from bench.services.registry import dialect_of

    entries = target_entries(document)
    return {name for name, entry in entries.items() if dialect_of(entry).has_track}


def facts_of_targets(
    document: Document, sessions: pd.DataFrame, targets: Sequence[str]
) -> tuple[TargetFacts, ...]:
    """Return the settings of each target, from the run's document and from the rows of its
    sessions.
    """
    known = target_entries(document)
    facts_by_target = {label: rows_of(sessions[["target", *OF_FACTS]], label) for label in targets}
    return tuple(
        _facts_of(label, known.get(label, {}), facts_by_target[label]) for label in targets
    )


def _facts_of(label: str, entry: Mapping[str, Any], sessions: pd.DataFrame) -> TargetFacts:
    from bench.services.registry import dialect_of

    reported = sessions["effective_settings"].dropna()
    settings = [
        parsed_settings(str(text)) for text in reported.iloc[:: max(1, -(-len(reported) // SEEN))]
    ]
    headers = sessions.loc[sessions["opened_at_ns"].notna(), "response_headers"]
    compressed = headers.str.contains(DEFLATE, regex=False, na=False).sum()
    partly = f"{DEFLATE} in {count(compressed)} of {plural(len(headers), 'session')}"
    taken = partly if compressed < len(headers) else DEFLATE
    voices = [
        _inside(session_settings, "audio", "output", "voice") or session_settings.get("voice") or ""
        for session_settings in settings
    ]
    named = [str(v.get("name") or v.get("id") or v if isinstance(v, dict) else v) for v in voices]
    own = _flat(entry.get("session") or {})
    address = str(entry.get("url") or "")
    facts = {
        "address": f"{address} at {entry['address']}" if entry.get("address") else address,
        "dialect": str(entry.get("dialect") or ""),
        "model": join_words(_labels(sessions["model"])) or str(entry.get("model") or ""),
        "region": join_words(_labels(sessions["region"])) or str(entry.get("region") or ""),
        "sign_in": _reported(entry, "auth"),
        "proxy": _reported(entry, "proxy"),
        "compression": (
            ""
            if "deflate" not in entry or dialect_of(entry).has_track
            else taken
            if entry["deflate"]
            else "none"
        ),
        "srtp": "" if entry.get("srtp") is None else "required" if entry["srtp"] else "none",
        "voice": join_words(list(dict.fromkeys(filter(None, named)))),
        "turn_detection": "; ".join(dict.fromkeys(filter(None, map(_detection, settings)))),
        "variant_settings": ", ".join(
            f"{name} {excerpt(value, 60)}" for name, value in own.items()
        ),
    }
    return TargetFacts(target=label, **{name: escape_control(fact) for name, fact in facts.items()})


def _labels(column: pd.Series[Any]) -> list[str]:
    return [str(label) for label, n in Counter(column.dropna()).most_common() if label]


def parsed_settings(text: str) -> dict[str, Any]:
    """Return the settings in a stored text; {} if it is no JSON object."""
    try:
        value = read_json(text, numbers=False)
    except JsonError:
        return {}
    return value if isinstance(value, dict) else {}


def transcription_model(text: str) -> str:
    """Return the transcription model in a session's settings; empty if there is none.

    `text` is JSON in either dialect.

    """
    settings = parsed_settings(text)
    transcription = _inside(settings, "audio", "input", "transcription") or _inside(
        settings, "input_audio_transcription"
    )
    return str(_inside(transcription, "model") or "")


def _inside(settings: Any, *names: str) -> Any:
    for name in names:
        settings = settings.get(name) if isinstance(settings, dict) else None
    return settings


def _detection(settings: dict[str, Any]) -> str:
    """Return the turn detection of a session as a text such as "server_vad, threshold 0.5,
    silence_duration_ms 500".
    """
    nested = _inside(settings, "audio", "input")
    holder = nested if isinstance(nested, dict) and "turn_detection" in nested else settings
    if "turn_detection" not in holder:
        return ""
    detection = holder["turn_detection"]
    if not isinstance(detection, dict):
        return "none"
    others = [f"{key} {value}" for key, value in _flat(detection).items() if key != "type"]
    return ", ".join([str(detection.get("type") or ""), *others])


def _flat(value: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Return nested settings as a flat dictionary with keys such as `turn_detection.type`.

    Settings whose value is null are left out.
    """
    flat: dict[str, str] = {}
    for key, entry in value.items():
        if isinstance(entry, dict):
            flat |= _flat(entry, f"{before}{key}.")
        elif entry is not None:
            flat[f"{before}{key}"] = entry if isinstance(entry, str) else json.dumps(entry)
    return flat


def _reported(entry: Mapping[str, Any], key: str) -> str:
    """Return a value in the document as text: "none" if the value is empty, and "" if the key is
    missing.
    """
    return str(entry[key] or "none") if key in entry else ""


def interleaving_of(
    document: Document, sessions: pd.DataFrame, target_count: int
) -> Interleaving | None:
    """Return facts on the pairs of a run. Return None if the sessions of its targets did not
    start together.
    """
    if not document.get("interleaved") or target_count < 2 or sessions["pair"].isna().all():
        return None
    paired = sessions[OF_PAIRS][sessions["pair"].notna().to_numpy()]
    # the start of each call is that of its first session
    calls_ns = paired.groupby(["pair", "target"], observed=True)["start_ns"].min()
    members = calls_ns.groupby(level="pair").size()
    complete = members[members == target_count].index
    start_ns = calls_ns.groupby(level="pair").agg(["min", "max"]).loc[complete]
    max_start_gap_ms = (
        float((start_ns["max"] - start_ns["min"]).max()) / NS_PER_MS if len(complete) else 0.0
    )
    not_opened = paired.loc[
        paired["session_ready_ms"].isna() & (paired["outcome_class"] == "failed"), "pair"
    ]
    blocks = int(paired["block"].nunique())
    unopened = int(complete.isin(not_opened).sum())
    return Interleaving(
        target_count,
        len(complete),
        len(members) - len(complete),
        blocks,
        unopened,
        max_start_gap_ms,
    )


def quantiles_of_targets(results: Iterable[MetricSummary]) -> Iterable[TargetsQuantile]:
    """Yield p50 and p95 of several targets, relative to the baseline. Quantiles are compared only
    within a metric and stratum. A quantile is left out if fewer than two targets report it.
    """
    groups: dict[tuple[str, Stratum], list[MetricSummary]] = {}
    for result in results:
        groups.setdefault((result.metric, result.stratum), []).append(result)
    for (metric, stratum), group in groups.items():
        for p in TYPICAL_LEVELS:
            values = {
                summary.target: summary.at(p).value
                for summary in group
                if summary.at(p).reported and summary.at(p).value > 0
            }
            if len(values) > 1:
                baseline = next(iter(values))
                ratios = {target: value / values[baseline] for target, value in values.items()}
                yield TargetsQuantile(metric, *stratum, p, baseline, ratios)
