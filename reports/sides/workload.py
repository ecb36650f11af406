"""What a run's document says of the work that an arm was given: what must be the same in a fair comparison; pure.

The workload is the scripts with their audio, pacing, turn detection and limits, how many sessions there were at once,
and how much of the beginning was cut as warm-up. Never part of it is what is compared: the target, its model and
region, the settings of a variant.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bench.limits import LONGEST_TURN_S
from reports.numbers import NONE

EXTRA = "extra"
"""Session settings that the tool passed on without knowing them: as JSON, in which no two of them look alike."""
FILLERS = "fillers"
"""What is spoken while callers wait: figures of the first sound are figures of it. No variant may differ in it."""
LIMITS = "limits"
OF_SCRIPTS = {
    "turns": "turns of a session",
    "output": "kind of output",
    "chunk_ms": "pacing, ms of a chunk",
    "turn_detection": "turn detection",
    "detection": "turn detection’s settings",
    "input_format": "input format",
    "output_format": "output format",
    EXTRA: "further session settings",
    FILLERS: "fillers (interim_response)",
    "jitter_buffer_ms": "jitter buffer, ms",
    "background_snr_db": "background noise, dB",
    "variables": "rows of variables",
    LIMITS: "limits, s",
}
"""What a document says of a script beside its digest, and its words."""
OF_VARIANTS = {
    "turn_detection": ("turn_detection", "detection"),
    "input_format": ("input_format",),
    "output_format": ("output_format",),
    "output": ("output",),
    EXTRA: (EXTRA,),
}
"""A setting that a variant has instead of its script’s → what then is no part of the workload."""
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
"""Options that shape how many sessions there are at once, and their words."""
OF_DEMAND = {"arrivals": "calls that arrive", "stages": "stages of sessions"}
"""What a document says where users do not call again and again, all the time as many."""
WARMUP = "warm-up, s"
DIGEST = 12
"""Letters of a digest that are shown."""


def workload(document: Mapping[str, Any], target: str) -> dict[str, str]:
    """What the arm of one target was given, in words; what a document does not say is left out.

    A run that says nothing of arrivals or stages has none: an open loop is never compared with a closed one in silence.
    """
    closed = dict.fromkeys(OF_DEMAND.values(), said(None))
    return {**scripts(document, target), **closed, **load(document, target), **warmup(document)}


def warmup(document: Mapping[str, Any]) -> dict[str, str]:
    """How much of a run’s beginning was cut; older runs do not say, and cut nothing."""
    return {WARMUP: said(document.get("warmup_s") or 0)}


def load(document: Mapping[str, Any], target: str) -> dict[str, str]:
    """How many sessions there were at once. An option that was not set is told as such."""
    settings, entry = document.get("settings") or {}, _entry(document, target)
    found = {words: said(settings.get(name)) for name, words in OF_LOAD.items() if settings}
    found |= {words: demand(document[key]) for key, words in OF_DEMAND.items() if document.get(key)}
    limit = {"connection starts a minute": said(entry["connects_per_min"])} if "connects_per_min" in entry else {}
    return found | limit


def demand(entry: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> str:
    """How calls arrive, or the stages of a load, in words; not when that was."""
    if not isinstance(entry, Mapping):
        return "; ".join(said(dict(stage)) for stage in entry)
    told = {key: value for key, value in entry.items() if key != "began_utc_ns"}
    return said(told | ({"stages": demand(told["stages"])} if told.get("stages") else {}))


def differing(arms: Sequence[Mapping[str, str]]) -> dict[str, tuple[str, ...]]:
    """What is not the same in all arms that say it: the text of each arm, a dash where it is not said."""
    names = dict.fromkeys(name for arm in arms for name in arm)
    apart = [name for name in names if len({arm[name] for arm in arms if name in arm}) > 1]
    return {name: tuple(arm.get(name, NONE) for arm in arms) for name in apart}


def _entry(document: Mapping[str, Any], target: str) -> Mapping[str, Any]:
    entries = [entry for entry in document.get("targets") or [] if isinstance(entry, dict)]
    return next((entry for entry in entries if entry.get("label") == target), {})


def scripts(document: Mapping[str, Any], target: str) -> dict[str, str]:
    """Each script as this target played it; documents of older runs do not tell targets apart."""
    scripts = [script for script in document.get("scripts") or [] if isinstance(script, dict)]
    mine = [script for script in scripts if script.get("target") in (None, target)]
    own = _entry(document, target).get("session") or {}
    varied = {key for setting in own for key in OF_VARIANTS.get(setting, ())}
    several = len(mine) > 1
    found = {"scripts": ", ".join(sorted(str(script.get("name")) for script in mine))} if mine else {}
    for script in mine:
        whose = f" of {script.get('name')}" if several else ""
        found[f"script and audio{whose}"] = str(script.get("digest") or "").removeprefix("sha256:")[:DIGEST]
        told = {key: script[key] for key in OF_SCRIPTS if key in script and key not in varied}
        found |= {f"{OF_SCRIPTS[key]}{whose}": _setting(key, value) for key, value in told.items()}
    return found


def _setting(key: str, value: object) -> str:
    if key == LIMITS and isinstance(value, Mapping):  # older runs have none of the whole turn
        value = {**value, "turn": value.get("turn", LONGEST_TURN_S)}
    return json.dumps(value, sort_keys=True) if key in (EXTRA, FILLERS) and value else said(value)


def said(value: object) -> str:
    """A setting in words: 10, 0.5, yes, “type server_vad, silence_duration_ms 500”; none where there is none."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(said(one) for one in value)
    if isinstance(value, dict):
        parts = (f"{key} {_setting(key, one)}" for key, one in sorted(value.items()) if one is not None)
        return ", ".join(parts) or "none"
    return str(value)
