"""Writes what run.json says of the arms of a run and of what is played there, before the first session. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from bench.load.planning.plays import Plays
from bench.plan.repertoire import Repertoire
from bench.plan.script import Script, unfilled_names
from bench.target.target import Auth, Entra, Target
from bench.units import NS_PER_MS


def script_notices(played: Iterable[Script]) -> list[str]:
    """What to know of the scripts before the figures are read."""
    scripts = {script.name: script for script in played}.values()
    unfilled = (
        f"{script.name}: text contains ${{{name}}} and the script has no variables: it is sent as it stands"
        for script in scripts
        for name in unfilled_names(script)
    )
    unheard = (
        f"{script.name}: `words` cannot be checked, because session.input_transcription is not set"
        for script in scripts
        if script.session.input_transcription is None and any(turn.words for turn in script.turns)
    )
    return [*unfilled, *unheard]


def script_facts(arms: Mapping[str, Plays]) -> list[dict[str, Any]]:
    """What run.json says of the scripts, of each as it is played in each arm, by the arm's label."""
    return list(
        {
            (label, user.scenario_name(), each.script.name): {"target": label} | _facts(user.scenario_name(), each)
            for label, plays in arms.items()
            for (user, _), each in plays.items()
        }.values()
    )


def _facts(scenario: str, repertoire: Repertoire) -> dict[str, Any]:
    script, session = repertoire.script, repertoire.script.session
    first = repertoire.session(0, 0)
    return {
        "name": script.name,
        "scenario": scenario,
        "digest": script.digest,
        "dialect": repertoire.dialect.name,
        "turns": script.turns_wanted,
        "think_s": None if script.turns_wanted is None else round(script.think_s, 3),
        "chunk_ms": min((turn.chunk_ns // NS_PER_MS for turn in first.turns if turn.chunk_ns), default=None),
        "output": "audio" if any(turn.wants_audio for turn in first.turns) else "text",
        "turn_detection": session.turn_detection.type if session.turn_detection else "none",
        "detection": session.turn_detection.given if session.turn_detection else None,
        "input_format": first.input_format.name,
        "output_format": first.output_format.name,
        "extra": session.extra,
        "fillers": repertoire.dialect.fillers(session),
        "jitter_buffer_ms": script.jitter_buffer_ms,
        "background_snr_db": script.background.snr_db if script.background else None,
        "variables": len(script.variables.rows) if script.variables else None,
        "limits": asdict(script.limits),
    }


def target_facts(target: Target, per_minute: float | None) -> dict[str, Any]:
    """What run.json says of a target: nothing secret. `per_minute`: how many connections may start, None for any."""
    return {
        "label": target.label,
        "url": target.public_url,
        "dialect": target.dialect.name,
        "service": target.service,
        "loopback": target.loopback,
        "region": target.region,
        "auth": _auth_fact(target.auth),
        "proxy": target.way.proxy.public if target.way.proxy else None,
        "address": target.way.address,
        "deflate": target.way.deflate,
        "connects_per_min": per_minute,
        "prices": asdict(target.prices) if target.prices else None,
        "model": target.model,
        "variant_of": target.variant_of,
        "session": dict(target.session),
    }


def _auth_fact(auth: Auth) -> str | None:
    """As `--auth` calls it."""
    if isinstance(auth, Entra):
        return "entra" if auth.kind == "default" else auth.kind
    return None if auth is None else auth.scheme.lower() if auth.scheme == "Basic" else "key"
