"""The conditions under which a target was measured, from the run's document. Some of them are the
workload.

Two targets can be compared only if their workload is the same: the scripts with their audio,
pacing, turn detection and limits, the number of concurrent sessions, and the length of the warm-up.
Properties that a comparison is about are never part of the workload: the target, its model and
region, and the settings of a variant. A stored baseline contains only runs under the same
conditions, including the workload. The user may allow some conditions to differ.

A condition has a code. For a setting, it is the key in the run's document, such as `chunk_ms`. If
the target played several scripts, the codes of their settings contain the name of the script, such
as `chunk_ms:talk`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bench.base.errors import UsageError
from bench.catalogue.metrics import DEFINITIONS_VERSION
from reports.analysis.summary.targets import TargetFacts, facts_of_targets
from reports.analysis.targets.compared_target import ComparedTarget
from reports.data.runs import Document, part_of, scripts_of, target_entries
from reports.formatting import NONE
from reports.metrics.argument_names import option
from reports.metrics.thresholds import near, quoted
from reports.results.value import Reason

EXTRA = "extra"
"""The key of session settings that the tool sends without knowing their meaning.

Their text is JSON. So different settings always have different texts.
"""
FILLERS = "fillers"
"""The key of the settings for fillers: speech that fills the time while callers wait.

With fillers, the latency of the first sound is that of the filler. So variants may not differ in
this setting.
"""
OF_SCRIPTS = (
    "turns",
    "output",
    "chunk_ms",
    "turn_detection",
    "turn_detection_settings",
    "input_format",
    "output_format",
    EXTRA,
    FILLERS,
    "jitter_buffer_ms",
    "reply_silence_ms",
    "answer_min_ms",
    "background_snr_db",
    "variables",
    "timeouts",
)
"""The keys of a script's settings in a document. The digest of the script is not included."""
OF_ONSET_DETECTION = ("reply_silence_ms", "answer_min_ms")
"""The keys of settings that only targets without turn events have. For other targets they are null,
and no condition.
"""
OF_VARIANTS = {
    "turn_detection": ("turn_detection", "turn_detection_settings"),
    "input_format": ("input_format",),
    "output_format": ("output_format",),
    "output": ("output",),
    EXTRA: (EXTRA,),
}
"""The settings that a variant can replace. For each, the keys that are then not part of the
workload."""
OF_LOAD = (
    "num_users",
    "spawn_rate",
    "session_pause",
    "processes",
    "profile",
    "user_classes",
    "equal_weights",
    "tags",
    "exclude_tags",
)
"""The options that determine the number of concurrent sessions."""
OF_DEMAND = ("arrivals", "stages")
"""The keys of a document for load other than a constant number of users."""
WARMUP = "warmup_s"
DIGEST = 12
"""The number of characters of a digest that are printed."""


def workload(document: Document, target: str) -> dict[str, str]:
    """Return the workload of one target, as texts. A setting that the document does not contain is
    left out.

    If a run has no arrivals or no stages, their text is "none". So an open loop differs from a
    closed loop.
    """
    closed = dict.fromkeys(OF_DEMAND, setting_text(None))
    return {
        **scripts(document, target),
        **closed,
        **load_conditions(document, target),
        **warmup(document),
    }


def warmup(document: Document) -> dict[str, str]:
    """Return the length of the warm-up as a condition."""
    return {WARMUP: setting_text(document.get(WARMUP) or 0)}


def load_conditions(document: Document, target: str) -> dict[str, str]:
    """Return the conditions that determine the number of concurrent sessions, as texts.

    An option without a value is "none".
    """
    settings = part_of(document, "settings")
    entry = _entry(document, target)
    conditions = {name: setting_text(settings.get(name)) for name in OF_LOAD if settings}
    conditions |= {key: demand(document[key]) for key in OF_DEMAND if document.get(key)}
    if "connect_rate" in entry:
        conditions["connect_rate"] = setting_text(entry["connect_rate"])
    return conditions


def demand(entry: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> str:
    """Return the arrivals of calls, or the stages of a load, as a text. Their start time is left
    out.
    """
    if not isinstance(entry, Mapping):
        return "; ".join(setting_text(dict(stage)) for stage in entry)
    settings = {key: value for key, value in entry.items() if key != "started_utc_ns"}
    return setting_text(
        settings | ({"stages": demand(settings["stages"])} if settings.get("stages") else {})
    )


def differing_between(targets: Sequence[Mapping[str, str]]) -> dict[str, tuple[str, ...]]:
    """Return the conditions that differ between targets. `targets` has the conditions of each
    target.

    Each condition has one text per target. The text is a dash if the target lacks the condition.
    """
    codes = dict.fromkeys(code for conditions in targets for code in conditions)
    differing = (
        code
        for code in codes
        if len({conditions[code] for conditions in targets if code in conditions}) > 1
    )
    return {code: tuple(conditions.get(code, NONE) for conditions in targets) for code in differing}


def _entry(document: Document, target: str) -> Mapping[str, Any]:
    return target_entries(document).get(target, {})


def scripts(document: Document, target: str) -> dict[str, str]:
    """Return the settings of each script that the target played, as texts.

    Settings that a variant replaces are left out. So is the format of audio if the service does not
    have PCM16, the format of the Realtime API: then it is a property of the service, which a
    comparison is about.
    """
    from bench.services.registry import dialect_of, own_formats

    mine = [script for script in scripts_of(document) if script["target"] == target]
    own = _entry(document, target).get("session") or {}
    varied = {key for setting in own for key in OF_VARIANTS.get(setting, ())}
    varied |= own_formats(dialect_of(_entry(document, target)))
    conditions = (
        {"scripts": ", ".join(sorted(str(script.get("name")) for script in mine))} if mine else {}
    )
    for script in mine:
        of_script = f":{script.get('name')}" if len(mine) > 1 else ""
        conditions[f"digest{of_script}"] = str(script.get("digest") or "").removeprefix("sha256:")[
            :DIGEST
        ]
        unused = {key for key in OF_ONSET_DETECTION if script.get(key) is None}
        settings = {
            key: script[key] for key in OF_SCRIPTS if key in script and key not in varied | unused
        }
        conditions |= {f"{key}{of_script}": _setting(key, value) for key, value in settings.items()}
    return conditions


def _setting(key: str, value: object) -> str:
    return (
        json.dumps(value, sort_keys=True)
        if key in (EXTRA, FILLERS) and value
        else setting_text(value)
    )


def setting_text(value: object) -> str:
    """Return a setting as text: `10`, `0.5`, `yes`, or `silence_duration_ms 500, type
    server_vad`. None is `none`.
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(setting_text(item) for item in value)
    if isinstance(value, dict):
        parts = (
            f"{key} {_setting(key, item)}"
            for key, item in sorted(value.items())
            if item is not None
        )
        return ", ".join(parts) or "none"
    return str(value)


OF_TARGET = ("service", "model", "region", "api_version", "voice", "client_version")
"""The conditions that a user allows to differ one by one. All others are settings of a workload,
such as `num_users`.
"""
FIXED = ("simulated", "definitions", FILLERS)
"""The conditions that must be equal: the user cannot allow them to differ."""
ALLOWABLE = (*OF_TARGET, "scripts", "pacing", "concurrency", "warmup")
GROUPS = {
    **{code: code for code in (*OF_TARGET, *FIXED)},
    # they affect when audio is sent and played
    **dict.fromkeys(("chunk_ms", "jitter_buffer_ms"), "pacing"),
    **dict.fromkeys((*OF_LOAD, *OF_DEMAND, "connect_rate"), "concurrency"),
    WARMUP: "warmup",
}
"""The group of each condition. All others belong to the group `scripts`, also the settings of a
variant (`session`)."""


def conditions_of(target: ComparedTarget) -> dict[str, str]:
    """Return the conditions of a target's run, including the workload, as texts."""
    document = target.run.metadata
    facts = facts_of_targets(document, target.session_rows, [target.name])[0]
    return conditions_in(document, target.name, facts, simulated=target.run.simulated)


def conditions_in(
    document: Document, target: str, facts: TargetFacts, *, simulated: bool | None
) -> dict[str, str]:
    """Return the conditions in a run's document, as texts.

    `facts` has settings of the target's sessions, such as the voice. `simulated` is None if it is
    unknown.
    """
    entry = _entry(document, target)
    own = entry.get("session")
    versions = parse_qs(urlsplit(str(entry.get("url") or "")).query).get("api-version")
    # older stored baselines lack these conditions, because no run set them at that time
    later = (EXTRA, FILLERS)
    played = scripts(document, target)
    return {
        "service": str(entry.get("service") or ""),
        "model": facts.model or "",
        "region": facts.region or "",
        "api_version": versions[0] if versions else str(entry.get("dialect") or ""),
        "voice": facts.voice or "",
        "client_version": str(part_of(document, "tool").get("version") or ""),
        "simulated": "" if simulated is None else "yes" if simulated else "no",
        "definitions": str(document.get("definitions_version") or DEFINITIONS_VERSION),
        **({"session": setting_text(own)} if own else {}),
        **{
            code: text
            for code, text in played.items()
            if text != "none" or _setting_of(code) not in later
        },
        **warmup(document),
        **load_conditions(document, target),
    }


def differing_conditions(
    target: str, now: Mapping[str, str], then: Mapping[str, str], allowed: Sequence[str] = ()
) -> list[Reason]:
    """Return a reason for each condition in which a run of a target differs from a baseline,
    although it may not.

    `now` has the conditions of the run, `then` those of the baseline, and `allowed` the groups of
    conditions that may differ. Example: `model: gpt-realtime-2 in this run, gpt-realtime in the
    baseline (…)`.
    """
    reasons = []
    for code in dict.fromkeys([*now, *then]):
        group = group_of(code)
        if group not in allowed and now.get(code, "") != then.get(code, ""):
            # a closed loop has no arrivals
            absent = setting_text(None) if code in OF_DEMAND else None
            values = {"this_run": now.get(code) or absent, "baseline": then.get(code) or absent}
            allow = {"allow": None if group in FIXED else group}
            reasons.append(
                Reason("condition_differs", {"target": target, "condition": code} | values | allow)
            )
    return reasons


def _setting_of(code: str) -> str:
    """Return the code without the name of a script."""
    return code.partition(":")[0]


def group_of(code: str) -> str:
    """Return the name of the group to which a condition belongs. `--allow-different` takes these
    names.
    """
    return GROUPS.get(_setting_of(code), "scripts")


def allowed(text: str) -> tuple[str, ...]:
    """Return the names in a text such as `model,region`, the value of `--allow-different`.

    Raise UsageError if a name is unknown, or if its conditions may not differ.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name in FIXED:
            raise UsageError(
                f"{option('allow-different')} {name}: runs that differ in it cannot be compared;"
                " save a new baseline"
            )
        if name not in ALLOWABLE:
            similar = near(GROUPS.get(_setting_of(name), name), ALLOWABLE)
            raise UsageError(
                f"{option('allow-different', f'{quoted(name)} is unknown{similar}')} allowed:"
                f" {', '.join(ALLOWABLE)}"
            )
    return names
