"""Gathers what users are to play, the scripts of a locustfile, and checks before the first session that it may be."""

from __future__ import annotations

import hashlib
import os
import resource
import socket
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from bench.errors import ScriptError, UsageError
from bench.load.planning.concurrency import Concurrency
from bench.load.planning.tasks import (
    SessionTask,
    of_class,
    rehearsed,
    script_name,
    script_path,
    tasks_of,
)
from bench.plan.messages import History
from bench.plan.repertoire import Repertoire
from bench.plan.script import Script, Task, load_script
from bench.plan.variants import varied
from bench.protocol.base import Dialect
from bench.target.target import Target

MANY_SESSIONS = 20
SPARE_DESCRIPTORS = 128
SPARE_S = 5.0
NO_SETTINGS: Mapping[str, Any] = {}


Scripts = Mapping[tuple[Any, SessionTask], Script]
Plays = Mapping[tuple[Any, SessionTask], Repertoire]
"""Both by the class of the users and the task."""


def loaded_scripts(user_classes: Iterable[Any], environment: object = None) -> Scripts:
    """What each realtime user is to play. Every script is read once; methods are rehearsed by users of the environment.

    Raises ScriptError, and UsageError where two different scripts have one name, for rows know a script by its name.
    """
    loaded: dict[Path, Script] = {}
    scripts = {}
    for user in user_classes:
        if not hasattr(user, "play_session"):
            continue  # a user of plain Locust in the same file
        tasks = tasks_of(user)
        _refuse_idle_settings(user, tasks)
        for task in tasks:
            if isinstance(task.does, Path):
                path = script_path(user, task, task.does)
                if path not in loaded:
                    loaded[path] = load_script(path)
                scripts[user, task] = loaded[path]
            else:
                scripts[user, task] = _rehearsed(user, script_name(user, task.does, len(tasks)), task.does, environment)
    _refuse_namesakes(scripts.values())
    return scripts


def _rehearsed(user: Any, name: str, method: Task, environment: object) -> Script:
    try:
        return rehearsed(name, method, lambda: user(environment), user.settings())
    except ScriptError:
        raise
    except UsageError as error:
        raise of_class(user, str(error)) from error


def with_history(scripts: Scripts, history: History) -> Scripts:
    """The same with this history in the place of what the scripts say was said before."""
    changed: dict[str, Script] = {}
    for script in scripts.values():
        digest = hashlib.sha256(bytes.fromhex(script.digest + history.digest)).hexdigest()
        changed.setdefault(script.name, replace(script, history=history, digest=digest))
    return {key: changed[script.name] for key, script in scripts.items()}


def plays_of_arms(scripts: Scripts, targets: Iterable[Target]) -> dict[str, Plays]:
    """What is played at each target, by its label; prepared once for those where it is the same.

    Raises UsageError for settings that the dialect lacks, and for a variant's that do not go with a script.
    """
    prepared: dict[tuple[Dialect, bytes], Plays] = {}
    arms = {}
    for target in targets:
        key = target.dialect, msgspec.json.encode(target.session)
        if key not in prepared:
            prepared[key] = prepared_plays(scripts, target.dialect, target.session, target.session_source)
        arms[target.label] = prepared[key]
    return arms


def prepared_plays(
    scripts: Scripts, dialect: Dialect, session: Mapping[str, Any] = NO_SETTINGS, source: str = ""
) -> Plays:
    """Every script's messages, once for all who play it. `session`: settings instead of the scripts' own.

    Raises UsageError as above; `source` says where such settings stand.
    """
    prepared: dict[str, Repertoire] = {}
    for (user, _), script in scripts.items():
        if script.name not in prepared:
            prepared[script.name] = _prepared(user, script, dialect, session, source)
    return {key: prepared[script.name] for key, script in scripts.items()}


def _prepared(user: type, script: Script, dialect: Dialect, session: Mapping[str, Any], source: str) -> Repertoire:
    try:
        return Repertoire(varied(script, session, source), dialect)
    except ScriptError as error:
        if session:
            raise UsageError(f"{source}: {script.name}: {error.problem}") from error
        raise error if script.task is None else of_class(user, error.problem) from error


def _refuse_idle_settings(user: Any, tasks: Iterable[SessionTask]) -> None:
    given = ", ".join(user.settings())
    if given and all(isinstance(task.does, Path) for task in tasks):
        raise UsageError(f"{user.__name__} sets {given}, which belongs in its YAML scripts: move it there")


def _refuse_namesakes(scripts: Iterable[Script]) -> None:
    seen: dict[str, Script] = {}
    for script in scripts:
        other = seen.setdefault(script.name, script)
        if other is not script:
            both = f"{other.path} and {script.path} have the same name"
            raise UsageError(f"{both}, {script.name}, and would be reported as one: rename one")


def check_cost(targets: Iterable[Target], users: int, sessions: int | None, *, yes: bool) -> int | None:
    """How many sessions each arm may open, None for no limit: someone else's host gets 20 unless more are meant.

    Raises UsageError where more than that were asked for.
    """
    hosts = Counter(target.host for target in targets if not target.loopback)
    if not hosts or yes:
        return sessions
    host, arms = hosts.most_common(1)[0]
    if max(users, sessions or 0) * arms > MANY_SESSIONS:
        more = f"this opens more than {MANY_SESSIONS} sessions to {host}, which may cost money"
        raise UsageError(f"{more}: add --yes to allow it")
    return sessions or MANY_SESSIONS // arms


def check_shares(concurrency: Concurrency, sessions: int | None) -> None:
    """Every process needs a user and a session of its own, or it never has its part of them done."""
    processes = concurrency.processes
    if sessions is not None and processes > concurrency.users:
        raise UsageError(
            f"{processes} processes with --sessions need at least {processes} users and sessions: lower --processes"
        )


def check_descriptors(concurrency: Concurrency) -> None:
    """Raise the soft limit of file descriptors as far as needed. Raises UsageError beyond the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = concurrency.per_process + SPARE_DESCRIPTORS
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise UsageError(
            f"{concurrency.users} users need {needed} file descriptors in a process, and the limit is {hard}: "
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


def longest_turn_s(scripts: Iterable[Script]) -> float:
    """How long a turn under way may take at most, by its speech and its limit: a run's end waits no longer for it."""
    longest = 0.0
    for script in scripts:
        speech_s = max((pcm.seconds for turn in script.turns for pcm in turn.recordings), default=0.0)
        longest = max(longest, speech_s + script.limits.turn)
    return longest + SPARE_S
