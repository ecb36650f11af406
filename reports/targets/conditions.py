"""The conditions of a target's measurement, from the run's document: the workload, and all others.

A fair comparison needs the same workload: the scripts with their audio, pacing, turn detection and limits, the number
of concurrent sessions, and the length of the warm-up. The compared properties are never part of it: the target, its
model and region, and the settings of a variant. A stored baseline only has runs under the same conditions, including
the workload, except for those that the user allows to differ.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bench.errors import UsageError
from bench.metrics import DEFINITIONS_VERSION
from reports.formatting import NONE
from reports.summary.targets import TargetFacts, facts_of_targets
from reports.targets.compared_target import ComparedTarget
from reports.thresholds import near, quoted

EXTRA = "extra"
"""The key of session settings that the tool passed on without knowing them.

Their text is JSON, so that different settings have different texts.
"""
FILLERS = "fillers"
"""The key of speech that fills the time while callers wait.

With such speech, latencies of the first sound are those of the filler, so variants may not differ in it.
"""
TIMEOUTS = "timeouts"
OF_SCRIPTS = {
    "turns": "turns of a session",
    "output": "kind of output",
    "chunk_ms": "pacing, ms of a chunk",
    "turn_detection": "turn detection",
    "turn_detection_settings": "turn detection’s settings",
    "input_format": "input format",
    "output_format": "output format",
    EXTRA: "further session settings",
    FILLERS: "fillers (interim_response)",
    "jitter_buffer_ms": "jitter buffer, ms",
    "reply_silence_ms": "silence that ends a reply, ms",
    "answer_min_ms": "minimum duration of an answer, ms",
    "background_snr_db": "background noise, dB",
    "variables": "rows of variables",
    TIMEOUTS: "timeouts, s",
}
"""The settings of a script in a document, except the script's digest, and their texts."""
OF_VARIANTS = {
    "turn_detection": ("turn_detection", "turn_detection_settings"),
    "input_format": ("input_format",),
    "output_format": ("output_format",),
    "output": ("output",),
    EXTRA: (EXTRA,),
}
"""For each setting that a variant can replace, the keys that are then not part of the workload."""
OF_LOAD = {
    "num_users": "users",
    "spawn_rate": "users started a second",
    "session_pause": "pause between a user’s sessions, s",
    "processes": "processes",
    "profile": "load profile",
    "user_classes": "user classes",
    "equal_weights": "equal weights",
    "tags": "tags",
    "exclude_tags": "tags left out",
}
"""Options that determine the number of concurrent sessions, and their texts."""
OF_DEMAND = {"arrivals": "calls that arrive", "stages": "stages of sessions"}
"""Keys of a document for load other than a constant number of users, and their texts."""
WARMUP = "warm-up, s"
DIGEST = 12
"""The number of printed characters of a digest."""


def workload(document: Mapping[str, Any], target: str) -> dict[str, str]:
    """Return the workload of one target as texts. Settings that the document does not contain are left out.

    If the document of a run has no arrivals or no stages, their text is "none", so that an open loop differs from a
    closed one.
    """
    closed = dict.fromkeys(OF_DEMAND.values(), setting_text(None))
    return {**scripts(document, target), **closed, **load_conditions(document, target), **warmup(document)}


def warmup(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the length of the warm-up, which is not measured."""
    return {WARMUP: setting_text(document.get("warmup_s") or 0)}


def load_conditions(document: Mapping[str, Any], target: str) -> dict[str, str]:
    """Return the conditions that determine the number of concurrent sessions. An option that was not set is "none"."""
    settings, entry = document.get("settings") or {}, _entry(document, target)
    conditions = {text: setting_text(settings.get(name)) for name, text in OF_LOAD.items() if settings}
    conditions |= {text: demand(document[key]) for key, text in OF_DEMAND.items() if document.get(key)}
    if "connect_rate" in entry:
        conditions["connection starts a minute"] = setting_text(entry["connect_rate"])
    return conditions


def demand(entry: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> str:
    """Return the arrivals of calls, or the stages of a load, as a text.

    The text does not contain their start time.
    """
    if not isinstance(entry, Mapping):
        return "; ".join(setting_text(dict(stage)) for stage in entry)
    settings = {key: value for key, value in entry.items() if key != "started_utc_ns"}
    return setting_text(settings | ({"stages": demand(settings["stages"])} if settings.get("stages") else {}))


def differing_between(targets: Sequence[Mapping[str, str]]) -> dict[str, tuple[str, ...]]:
    """Return the conditions that differ between targets.

    Each has one text per target, a dash if the target lacks it. `targets`: the conditions of each target.
    """
    names = dict.fromkeys(name for conditions in targets for name in conditions)
    differing = (name for name in names if len({conditions[name] for conditions in targets if name in conditions}) > 1)
    return {name: tuple(conditions.get(name, NONE) for conditions in targets) for name in differing}


def _entry(document: Mapping[str, Any], target: str) -> Mapping[str, Any]:
    entries = [entry for entry in document.get("targets") or [] if isinstance(entry, dict)]
    return next((entry for entry in entries if entry.get("name") == target), {})


def scripts(document: Mapping[str, Any], target: str) -> dict[str, str]:
    """Return the settings of each script that this target played."""
    scripts = [script for script in document.get("scripts") or [] if isinstance(script, dict)]
    mine = [script for script in scripts if script["target"] == target]
    own = _entry(document, target).get("session") or {}
    varied = {key for setting in own for key in OF_VARIANTS.get(setting, ())}
    conditions = {"scripts": ", ".join(sorted(str(script.get("name")) for script in mine))} if mine else {}
    for script in mine:
        whose = f" of {script.get('name')}" if len(mine) > 1 else ""
        conditions[f"script and audio{whose}"] = str(script.get("digest") or "").removeprefix("sha256:")[:DIGEST]
        settings = {key: script[key] for key in OF_SCRIPTS if key in script and key not in varied}
        conditions |= {f"{OF_SCRIPTS[key]}{whose}": _setting(key, value) for key, value in settings.items()}
    return conditions


def _setting(key: str, value: object) -> str:
    return json.dumps(value, sort_keys=True) if key in (EXTRA, FILLERS) and value else setting_text(value)


def setting_text(value: object) -> str:
    """Return a setting as text: `10`, `0.5`, `yes`, `type server_vad, silence_duration_ms 500`; `none` for None."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(setting_text(item) for item in value)
    if isinstance(value, dict):
        parts = (f"{key} {_setting(key, item)}" for key, item in sorted(value.items()) if item is not None)
        return ", ".join(parts) or "none"
    return str(value)


OWN = ("service", "model", "region", "API version", "voice", "client version", "simulated", "definitions")
"""The conditions with a group of their own.

All other conditions are settings of a workload, such as `users`.
"""
SETTINGS = "settings of the target"
"""The condition with the settings of a variant, which replace settings of its script."""
FIXED = ("simulated", "definitions", "fillers")
"""The conditions that must be equal. The user cannot allow them to differ."""
ALLOWABLE = (
    *("service", "model", "region", "api_version", "voice", "client_version"),
    *("scripts", "pacing", "concurrency", "warmup"),
)
PACING = ("pacing", "jitter buffer")
"""Prefixes of the conditions that affect when audio is sent and played."""
UNKNOWN = "unknown"


def conditions_of(target: ComparedTarget) -> dict[str, str]:
    """Return a text for each condition of a target's run, including the workload.

    The result is empty if the conditions are unknown.
    """
    document = target.run.metadata
    facts = facts_of_targets(document, target.session_rows, [target.name])[0]
    return conditions_in(document, target.name, facts, simulated=target.run.simulated)


def conditions_in(document: Mapping[str, Any], target: str, facts: TargetFacts, *, simulated: bool) -> dict[str, str]:
    """Return the conditions from a run's document. `facts`: settings of its sessions, such as the voice."""
    entry = _entry(document, target)
    own = entry.get("session")
    versions = parse_qs(urlsplit(str(entry.get("url") or "")).query).get("api-version")
    # older stored baselines lack these conditions, because no run set them at that time
    later, played = (OF_SCRIPTS[EXTRA], OF_SCRIPTS[FILLERS]), scripts(document, target)
    return {
        "service": str(entry.get("service") or ""),
        "model": facts.model or "",
        "region": facts.region or "",
        "API version": versions[0] if versions else str(entry.get("dialect") or ""),
        "voice": facts.voice or "",
        "client version": str((document.get("tool") or {}).get("version") or ""),
        "simulated": "yes" if simulated else "no",
        "definitions": str(document.get("definitions_version") or DEFINITIONS_VERSION),
        **({SETTINGS: setting_text(own)} if own else {}),
        **{name: text for name, text in played.items() if text != "none" or not name.startswith(later)},
        **warmup(document),
        **{f"load: {name}": text for name, text in load_conditions(document, target).items()},
    }


def differing_conditions(
    now: Mapping[str, str], then: Mapping[str, str], allowed: Sequence[str] = ()
) -> dict[str, str]:
    """Return a text for each condition that differs between a run (`now`) and a baseline (`then`) and may not differ.

    Example: `model: gpt-realtime-2 in this run, gpt-realtime in the baseline (…)`.
    """
    texts = {}
    for key in dict.fromkeys([*now, *then]):
        name, group = key.removeprefix("load: "), group_of(key)
        if group not in allowed and now.get(key, "") != then.get(key, ""):
            option = "" if group in FIXED else f" (--allow-different {group})"
            texts[name] = (
                f"{name}: {now.get(key) or UNKNOWN} in this run, {then.get(key) or UNKNOWN} in the baseline{option}"
            )
    return texts


def group_of(key: str) -> str:
    """Return the name by which `--allow-different` refers to a condition."""
    if key in OWN:
        return key.lower().replace(" ", "_")
    if key.startswith("load: "):
        return "concurrency"
    if key == WARMUP:
        return "warmup"
    if key.startswith(OF_SCRIPTS[FILLERS]):
        return "fillers"
    return "pacing" if key.startswith(PACING) else "scripts"


def allowed(text: str) -> tuple[str, ...]:
    """Return the conditions in a text such as `model,region`.

    Raise UsageError for an unknown condition, or for one that may not differ.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name in FIXED:
            raise UsageError(
                f"--allow-different {name}: runs that differ in it cannot be compared; save a new baseline"
            )
        if name not in ALLOWABLE:
            what = f"{quoted(name)} is unknown{near(name, ALLOWABLE)}"
            raise UsageError(f"--allow-different {what} allowed: {', '.join(ALLOWABLE)}")
    return names
