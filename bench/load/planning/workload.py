"""The workload of a run: the scripts that the users of a Locust file run, and their entries in
run.json.
"""

# A script is read once (`Script`), and then compiled for each target, because targets differ in
# dialect and settings. Targets with the same dialect and settings share the compiled messages. So
# the memory of the audio does not grow with the number of targets.

import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec

from bench.base.errors import ScriptError, UsageError
from bench.base.units import NS_PER_MS
from bench.files.values import get_object, object_in
from bench.load.planning.tasks import SessionTask, of_class, recorded_steps, script_path, tasks_of
from bench.plan.compiled_script import CompiledScript
from bench.plan.conversation import History
from bench.plan.prepared import CHUNK_MS, PreparedEvent, PreparedScript, PreparedTurn
from bench.plan.script import (
    Script,
    Task,
    load_script,
    script_settings,
    unfilled_names,
    with_target_settings,
)
from bench.record.document import PlannedTurnEntry
from bench.target.target import Auth, Credential, EntraSignIn, Target, variable_secret
from bench.wire.dialect import SOUND, ClientMessage, Dialect, MessageKind, protocol_fact
from bench.wire.settings import ONLY_TRANSCRIPT, comparable

SPARE_S = 5.0
NO_SETTINGS: Mapping[str, Any] = {}


Scripts = Mapping[tuple[Any, SessionTask], Script]
Workload = Mapping[tuple[Any, SessionTask], CompiledScript]
"""The compiled script of each user class and task. `Scripts` contains them before they are
compiled."""


def drop_classes_without_tasks(environment: Any) -> list[str]:
    """Apply `--tags` and `--exclude-tags`. Remove classes without a task, whose users would fail
    without end.

    Return a notice for each of them. Raise UsageError if no class is left.
    """
    logging.disable(logging.WARNING)  # Locust would warn that such a user fails
    try:
        environment._filter_tasks_by_tags()
    finally:
        logging.disable(logging.NOTSET)
    declared = environment.available_user_tasks or {}
    idle = [
        user
        for user in environment.user_classes
        if not user.tasks and (getattr(user, "declared_tasks", None) or declared.get(user.__name__))
    ]
    if not idle:
        return []
    chosen = {
        "--tags": environment.parsed_options.tags,
        "--exclude-tags": environment.parsed_options.exclude_tags,
    }
    options = " and ".join(f"{flag} {' '.join(tags)}" for flag, tags in chosen.items() if tags)
    environment.user_classes = [user for user in environment.user_classes if user not in idle]
    if not environment.user_classes:
        raise UsageError(
            f"{options} leaves no task in {', '.join(user.__name__ for user in idle)}: no call can"
            " start"
        )
    return [f"{user.__name__} gets no users, because {options} leaves it no task" for user in idle]


def load_scripts(user_classes: Iterable[Any], environment: object = None) -> Scripts:
    """Return the script of each task of the realtime users. A user made for `environment` rehearses
    methods.

    Raise ScriptError if a script is invalid, and UsageError if two have the same name, which
    identifies them in rows.
    """
    loaded = {}
    scripts = {}
    for user in user_classes:
        if not hasattr(user, "run_session"):
            continue  # a plain Locust user in the same file
        tasks = tasks_of(user)
        settings = dict(user.settings())
        timeouts = settings.pop("timeouts", None)
        setting_names = ", ".join(settings)
        if setting_names and all(isinstance(task.does, Path) for task in tasks):
            raise UsageError(
                f"{user.__name__} sets {setting_names}, which belongs in its YAML scripts: move it"
                " there"
            )
        for task in tasks:
            if isinstance(task.does, Path):
                path = script_path(user, task, task.does)
                key = path, repr(timeouts)
                if key not in loaded:
                    loaded[key] = _with_timeouts(load_script(path), user, timeouts)
                scripts[user, task] = loaded[key]
            else:
                name = user.__name__ if len(tasks) == 1 else f"{user.__name__}.{task.does.__name__}"
                scripts[user, task] = _recorded_script(user, name, task.does, environment)
    seen: dict[str, Script] = {}
    for script in scripts.values():
        other = seen.setdefault(script.name, script)
        if other is not script and other.path == script.path:
            raise UsageError(
                f"{script.path} has different timeouts in two classes, and reports cannot"
                " distinguish them: give both classes the same timeouts, or a copy of the file"
            )
        if other is not script:
            both = f"{other.path} and {script.path} have the same name, {script.name}"
            raise UsageError(f"{both}. Reports cannot distinguish them: rename one")
    return scripts


def _with_timeouts(script: Script, user: Any, timeouts: Mapping[str, float] | None) -> Script:
    if timeouts is None:
        return script
    try:
        settings = script_settings({"timeouts": timeouts}, script.path.parent)
        replaced = settings["timeouts"]
        text = f"{script.digest} {replaced}"
        return replace(script, timeouts=replaced, digest=hashlib.sha256(text.encode()).hexdigest())
    except UsageError as error:
        raise of_class(user, str(error)) from error


def _recorded_script(user: Any, name: str, method: Task, environment: object) -> Script:
    try:
        return recorded_steps(name, method, lambda: user(environment), user.settings())
    except ScriptError:
        raise
    except UsageError as error:
        raise of_class(user, str(error)) from error


def with_history(scripts: Scripts, history: History) -> Scripts:
    """Return the scripts, but with `history` in place of their own histories."""
    changed: dict[str, Script] = {}
    for script in scripts.values():
        digest = hashlib.sha256(bytes.fromhex(script.digest + history.digest)).hexdigest()
        changed.setdefault(script.name, replace(script, history=history, digest=digest))
    return {key: changed[script.name] for key, script in scripts.items()}


def workloads_of_targets(scripts: Scripts, targets: Iterable[Target]) -> dict[str, Workload]:
    """Prepare each target's workload, by its label. Raise UsageError if a script does not suit a
    target's settings.

    If a target prescribes the duration of a chunk, all others have it too, unless the script sets
    another. A longer chunk delays the end of speech, so the targets could not be compared.
    """
    targets = list(targets)
    prescribed_ms = (
        target.dialect.frame_ms for target in targets if target.dialect.frame_ms is not None
    )
    chunk_ms = min(prescribed_ms, default=CHUNK_MS)
    prepared = {}
    workloads = {}
    for target in targets:
        key = target.dialect, msgspec.json.encode(target.script_settings)
        if key not in prepared:
            settings = target.script_settings, target.settings_source
            prepared[key] = encode_workload(scripts, target.dialect, *settings, chunk_ms=chunk_ms)
        workloads[target.label] = prepared[key]
        for compiled in prepared[key].values():
            if mismatch := target.session_mismatch(compiled.script.session.output):
                raise UsageError(f"{compiled.script.name}: {mismatch}")
    return workloads


def encode_workload(
    scripts: Scripts,
    dialect: Dialect,
    session: Mapping[str, Any] = NO_SETTINGS,
    source: str = "",
    *,
    chunk_ms: int = CHUNK_MS,
) -> Workload:
    """Prepare the messages of every script. Raise UsageError if a script does not suit the
    settings.

    `session` are settings that replace those of the scripts, and come from `source`, for errors.
    """
    prepared = {}
    for (user, _), script in scripts.items():
        if script.name not in prepared:
            prepared[script.name] = _prepared(user, script, dialect, session, source, chunk_ms)
    return {key: prepared[script.name] for key, script in scripts.items()}


def _prepared(
    user: type,
    script: Script,
    dialect: Dialect,
    session: Mapping[str, Any],
    source: str,
    chunk_ms: int,
) -> CompiledScript:
    try:
        return CompiledScript(with_target_settings(script, session, source), dialect, chunk_ms)
    except ScriptError as error:
        if session:
            raise UsageError(f"{source}: {script.name}: {error.error_text}") from error
        raise error if script.task is None else of_class(user, error.error_text) from error


def mcp_tokens(scripts: Iterable[Script], environ: Mapping[str, str]) -> tuple[Credential, ...]:
    """Return the access tokens of the MCP servers of all scripts. Raise UsageError if a variable
    is not set.
    """
    tokens = {
        server.authorization_env: variable_secret(
            server.authorization_env,
            environ,
            f"{script.name}: mcp_servers.{server.label}.authorization_env",
            "access token",
        )
        for script in scripts
        for server in script.mcp_servers
        if server.authorization_env is not None
    }
    return tuple(tokens.values())


def longest_turn_s(scripts: Iterable[Script]) -> float:
    """Return the maximum seconds of an open turn, by recordings and timeouts: the longest wait
    at the end of a run.
    """
    longest_s = (
        max((pcm.seconds for turn in script.turns for pcm in turn.recordings), default=0.0)
        + script.timeouts.turn
        for script in scripts
    )
    return max(longest_s, default=0.0) + SPARE_S


def script_notices(played: Iterable[Script]) -> list[str]:
    """Return the notices about the scripts that are shown before the results."""
    scripts = {script.name: script for script in played}.values()
    unfilled = (
        f"{script.name}: text contains ${{{name}}}, but the script has no variables: it is sent"
        " unchanged"
        for script in scripts
        for name in unfilled_names(script)
    )
    unchecked = (
        f"{script.name}: `transcript` cannot be checked, because session.input_transcription is"
        " not set"
        for script in scripts
        if script.session.input_transcription is None
        and any(turn.transcript for turn in script.turns)
    )
    return [*unfilled, *unchecked]


def script_facts(workloads: Mapping[str, Workload]) -> list[dict[str, Any]]:
    """Return the entries of the scripts in run.json: one for each script of each target."""
    played = {
        (label, user.scenario_name(), compiled_script.script.name): compiled_script
        for label, workload in workloads.items()
        for (user, _), compiled_script in workload.items()
    }
    return [
        facts_of_script(label, scenario, compiled_script)
        for (label, scenario, _), compiled_script in played.items()
    ]


def facts_of_script(target: str, scenario: str, compiled_script: CompiledScript) -> dict[str, Any]:
    """Return the entry of one script in run.json."""
    script = compiled_script.script
    first = compiled_script.prepare_session(0, 0)
    session = script.session
    full_duplex = compiled_script.dialect.turn_source is SOUND
    detection = session.turn_detection
    return {
        "target": target,
        "name": script.name,
        "scenario": scenario,
        "digest": script.digest,
        "dialect": compiled_script.dialect.name,
        "turns": script.turns_planned,
        "plan": None if script.turns_planned is None else list(map(_planned, first.turns)),
        "think_s": None if script.turns_planned is None else round(script.think_s, 3),
        "chunk_ms": min(
            (turn.chunk_ns // NS_PER_MS for turn in first.turns if turn.chunk_ns), default=None
        ),
        "output": _output(first),
        "turn_detection": detection.type if detection else "none",
        "turn_detection_settings": detection.explicit if detection else None,
        "input_format": first.input_format.name,
        "output_format": first.output_format.name,
        "extra": session.extra,
        "requested_settings": _requested(first, is_complete=script.turns_planned is not None),
        "fillers": compiled_script.dialect.fillers(session),
        "jitter_buffer_ms": script.jitter_buffer_ms,
        "reply_silence_ms": script.reply_silence_ms if full_duplex else None,
        "answer_min_ms": script.answer_min_ms if full_duplex else None,
        "recorded_call": script.recorded_call,
        "background_snr_db": script.background_noise.snr_db if script.background_noise else None,
        "variables": len(script.variables.rows) if script.variables else None,
        "timeouts": asdict(script.timeouts),
    }


def _requested(script: PreparedScript, *, is_complete: bool) -> dict[str, Any]:
    """Return the settings that the service should confirm; {} if later steps may change them."""
    sent = {step.message.name for step in script.steps if isinstance(step, PreparedEvent)}
    kinds = map(script.dialect.message_kinds.get, sent)
    if not is_complete or MessageKind.SET_UP in kinds:
        return {}
    set_up = (
        object_in(msgspec.Raw(message.data))  # of some services, a list
        for message in script.setup_messages
        if isinstance(message, ClientMessage) and message.kind is MessageKind.SET_UP
    )
    return comparable(next((get_object(fields, "session") for fields in set_up), {}))


def _planned(turn: PreparedTurn) -> PlannedTurnEntry:
    return {
        "step": turn.plan.step,
        "measured_from": "request_sent" if turn.request else "speech_end",
        "greeting": turn.plan.greeting,
    }


def _output(script: PreparedScript) -> str:
    """Return the output of a session: audio if any reply is audio."""
    if script.settings.output == ONLY_TRANSCRIPT:
        return script.settings.output
    return "audio" if any(turn.plan.wants_audio for turn in script.turns) else "text"


def target_facts(target: Target, per_minute: float | None) -> dict[str, Any]:
    """Return the entry of a target in run.json, without secrets. `per_minute` limits new
    connections, if given.
    """
    network = target.network_path.network
    return {
        "name": target.label,
        "url": target.public_url,
        "dialect": target.dialect.name,
        "full_duplex": target.dialect.turn_source is SOUND,
        "service": target.service,
        "loopback": target.loopback,
        "region": target.region,
        "auth": _auth_fact(target.auth),
        "proxy": target.network_path.proxy_name,
        "address": target.network_path.address,
        "deflate": target.network_path.deflate,
        "srtp": target.network_path.srtp if target.link.has_media else None,
        "connect_rate": per_minute,
        "prices": asdict(target.prices) if target.prices else None,
        "model": target.model,
        "variant_of": target.variant_of,
        "varied": dict(target.varied),
        "session": (
            dict(target.session) | ({} if network is None else {"network": network.settings})
        ),
        **protocol_fact(target.dialect),
    }


def _auth_fact(auth: Auth) -> str | None:
    """Return the kind of sign-in, as a value of the option `--auth`."""
    if isinstance(auth, EntraSignIn):
        return "entra" if auth.kind == "default" else auth.kind
    return None if auth is None else "basic" if auth.scheme == "Basic" else "key"
