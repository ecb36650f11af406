"""What a target's run was made under: a stored baseline is a baseline of runs under the same conditions alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bench.errors import UsageError
from bench.measures import DEFINITIONS_VERSION
from reports.sides.side import Side
from reports.sides.workload import EXTRA, FILLERS, OF_SCRIPTS, WARMUP, load, said, scripts, warmup
from reports.summary.arms import arms_of
from reports.thresholds.grammar import near, quoted

OWN = ("service", "model", "region", "API version", "voice", "client version", "simulated", "definitions")
"""Conditions with a group of their own; the others are words of a workload, such as `users`."""
SETTINGS = "settings of the target"
"""Of a variant: what it has instead of its script's."""
FIXED = ("simulated", "definitions", "fillers")
"""Runs that differ in these are no two runs of one thing, whoever allows it."""
ALLOWABLE = (
    *("service", "model", "region", "api_version", "voice", "client_version"),
    *("scripts", "pacing", "concurrency", "warmup"),
)
PACING = ("pacing", "jitter buffer")
"""How words of a script begin that say how audio is sent and played."""
UNKNOWN = "not known"


def conditions_of(side: Side) -> dict[str, str]:
    """A text for each condition of a target's run, the workload's among them; empty where the run does not tell."""
    document = side.run.document
    facts = arms_of(document, side.session_rows, [side.name])[0].facts
    return conditions(document, side.name, facts, simulated=side.run.simulated)


def conditions(
    document: Mapping[str, Any], target: str, facts: Mapping[str, str], *, simulated: bool
) -> dict[str, str]:
    """The same from a run's document; `facts`: what sessions were told of model, region and voice."""
    entry: Mapping[str, Any] = next((one for one in document.get("targets") or [] if one.get("label") == target), {})
    own = entry.get("session")
    return {
        "service": str(entry.get("service") or ""),
        "model": facts["model"],
        "region": facts["region"],
        "API version": _api_version(entry),
        "voice": facts["voice"],
        "client version": str((document.get("tool") or {}).get("version") or ""),
        "simulated": "yes" if simulated else "no",
        "definitions": str(document.get("definitions") or DEFINITIONS_VERSION),
        **({SETTINGS: said(own)} if own else {}),
        **_without_unset(scripts(document, target)),
        **warmup(document),
        **{f"load: {words}": text for words, text in load(document, target).items()},
    }


def _without_unset(told: Mapping[str, str]) -> dict[str, str]:
    """A script's conditions as baselines store them: those of before say nothing of some, and set none."""
    later = (OF_SCRIPTS[EXTRA], OF_SCRIPTS[FILLERS])
    return {words: text for words, text in told.items() if text != "none" or not words.startswith(later)}


def differing(now: Mapping[str, str], then: Mapping[str, str], allowed: Sequence[str] = ()) -> dict[str, str]:
    """What differs and may not, by name: model: gpt-realtime-2 here, gpt-realtime in the baseline (--allow model)."""
    return {
        (
            name := key.removeprefix("load: ")
        ): f"{name}: {now.get(key) or UNKNOWN} here, {then.get(key) or UNKNOWN} in the baseline"
        + ("" if group_of(key) in FIXED else f" (--allow {group_of(key)})")
        for key in dict.fromkeys([*now, *then])
        if group_of(key) not in allowed and now.get(key, "") != then.get(key, "")
    }


def group_of(key: str) -> str:
    """What `--allow` calls a condition."""
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
    """`model,region` as names. Raises UsageError for what is no condition, or may not differ."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name in FIXED:
            raise UsageError(f"--allow {name}: runs that differ in it cannot be compared; save a new baseline")
        if name not in ALLOWABLE:
            raise UsageError(
                f"--allow {quoted(name)} is unknown{near(name, ALLOWABLE)} allowed: {', '.join(ALLOWABLE)}"
            )
    return names


def _api_version(entry: Mapping[str, Any]) -> str:
    """The dated version of a preview address; else the dialect."""
    asked = parse_qs(urlsplit(str(entry.get("url") or "")).query).get("api-version")
    return asked[0] if asked else str(entry.get("dialect") or "")
