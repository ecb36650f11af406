"""What is to be run, and whether it may: the scripts of a locustfile's users, and checks before the first session."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.plan.frames import PreparedScript, prepare
from bench.plan.script import load_script
from bench.target.endpoint import Target

MANY_SESSIONS = 20
SPARE_DESCRIPTORS = 128
SPARE_S = 5.0


@dataclass(frozen=True)
class Play:
    """What the users of one class play."""

    scenario: str
    script: PreparedScript


def prepared_plays(user_classes: Iterable[type], target: Target) -> dict[str, Play]:
    """What each realtime user plays, by the name of its class; every script is prepared once.

    Raises ScriptError, and UsageError where two different scripts have one name, for rows know a script by its name.
    """
    prepared: dict[Path, PreparedScript] = {}
    plays = {}
    for user in user_classes:
        if (path := getattr(user, "script_path", None)) is None:
            continue  # a user of plain Locust in the same file
        script_path = path()
        if script_path not in prepared:
            prepared[script_path] = prepare(load_script(script_path), target.dialect)
        plays[user.__name__] = Play(user.scenario_name(), prepared[script_path])  # type: ignore[attr-defined]
    _refuse_namesakes(prepared)
    return plays


def _refuse_namesakes(prepared: Mapping[Path, PreparedScript]) -> None:
    seen: dict[str, Path] = {}
    for path, script in prepared.items():
        if script.name in seen:
            raise UsageError(f"{seen[script.name]} and {path} have one name and would be reported as one: rename one")
        seen[script.name] = path


def check_cost(target: Target, users: int, sessions: int | None, *, yes: bool) -> int | None:
    """How many sessions may be opened, None for no limit: someone else's host gets 20 unless that many are meant.

    Raises UsageError where more than that were asked for.
    """
    if target.loopback or yes:
        return sessions
    if max(users, sessions or 0) > MANY_SESSIONS:
        more = f"this opens more than {MANY_SESSIONS} sessions to {target.host}, which may cost money"
        raise UsageError(f"{more}: add --yes if that is meant")
    return sessions or MANY_SESSIONS


def check_shares(users: int, sessions: int | None, processes: int) -> None:
    """Every process needs a user and a session of its own, or it never has its part of them done."""
    if sessions is not None and processes > min(users, sessions):
        raise UsageError(f"--processes {processes} with --sessions needs at least {processes} users and sessions")


def check_descriptors(users: int, processes: int) -> None:
    """Raise the soft limit of file descriptors as far as needed. Raises UsageError beyond the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = -(-users // processes) + SPARE_DESCRIPTORS
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise UsageError(
            f"{users} users need {needed} file descriptors in a process, and the limit is {hard}: "
            "raise it with `ulimit -n`, or spread the users with --processes"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def check_port(host: str, port: int) -> None:
    """Whether Locust's web UI can listen there, which it would else say in thirty lines. Raises UsageError."""
    try:
        with socket.create_server(("" if host == "*" else host, port)):
            pass
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise UsageError(f"the web UI cannot listen on port {port}: {why}; choose --web-port") from None


def longest_turn_s(plays: Mapping[str, Play]) -> float:
    """How long a turn that is under way may take at most, by its speech and its own limits."""
    longest = 0.0
    for play in plays.values():
        limits = play.script.limits
        speech_ns = max((m.due_ns or 0 for turn in play.script.turns for m in turn.inputs), default=0)
        longest = max(longest, speech_ns / 1e9 + limits.first_delta + limits.done)
    return longest + SPARE_S


def script_facts(plays: Mapping[str, Play]) -> list[dict[str, Any]]:
    """What run.json says of the scripts."""
    return [
        {
            "name": play.script.name,
            "scenario": play.scenario,
            "digest": play.script.digest,
            "dialect": play.script.dialect.value,
            "turns": len(play.script.turns),
            "chunk_ms": min((t.chunk_ns // 1_000_000 for t in play.script.turns if t.chunk_ns), default=None),
            "output": "audio" if any(turn.wants_audio for turn in play.script.turns) else "text",
            "limits": asdict(play.script.limits),
        }
        for play in plays.values()
    ]


def target_facts(target: Target) -> dict[str, Any]:
    """What run.json says of a target: nothing secret."""
    return {
        "label": target.label,
        "url": target.public_url,
        "dialect": target.dialect.value,
        "service": target.service,
        "loopback": target.loopback,
    }
