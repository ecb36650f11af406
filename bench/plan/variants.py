"""Puts a target's own session settings in the place of a script's: the same turns, with other settings. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from bench.errors import UsageError
from bench.plan.fields import SESSION
from bench.plan.rows import names_in, unknown_name
from bench.plan.script import Script, check_steps
from bench.protocol.settings import SessionSettings, TurnDetection, merged
from bench.yaml_file import PlainValue

DETECTION = "turn_detection"


def varied(script: Script, session: Mapping[str, Any], source: str) -> Script:
    """The script with these settings in the place of its own, as far as they are given; `source`: where they stand.

    Of `turn_detection` the given keys replace, as long as its type is the same; of `extra` always. Raises
    UsageError for what a script could not say, and where a step of the script makes no sense with them.
    """
    if not session:
        return script
    try:
        changed = replace(script, session=_settings(script.session, session), written=None)
        _refuse_misfits(changed)
    except UsageError as error:
        raise UsageError(f"{source}: {script.name}: {error}") from error
    return changed


def _settings(own: SessionSettings, given: Mapping[str, Any]) -> SessionSettings:
    given = dict(given)
    if isinstance(given.get(DETECTION), Mapping):
        given[DETECTION] = _detection(own.turn_detection, given[DETECTION])
    read = SESSION.read(PlainValue("session", given))
    settings = {name: getattr(read, name) for name in given} | {"extra": merged(own.extra, read.extra)}
    return msgspec.structs.replace(own, **settings)


def _detection(own: TurnDetection | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The given keys, and beside them the script's own where both are of the same type."""
    if own is None or given.get("type", own.type) != own.type:
        return dict(given)
    return own.given | dict(given)


def _refuse_misfits(script: Script) -> None:
    """Raise UsageError for steps and texts that were right with the script's own settings, and no longer are."""
    check_steps(script)
    if script.variables is not None and script.session.instructions:
        for name in sorted(names_in(script.session.instructions) - set(script.variables.names)):
            raise UsageError(f"instructions {unknown_name(name, script.variables.names)}")
