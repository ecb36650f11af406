"""A script: the content of one session, from YAML and the files that it names, or from Python.

docs/scripts.md describes the format. `python -m bench.plan.script` prints the JSON Schema for
editors (`make schema`). YAML and Python have the same table of keys, the fields of `Script`, whose
values `script_keys.py` and `steps.py` read. An error is a `ScriptError` with the line, or, in a
Python call, a `UsageError` with the key.
"""

# A script is read in this order: the keys, by the validators of their fields; the texts with
# variables; then the rules of steps, each with the settings and the turn before it. Errors of the
# first two are gathered, so that a user sees all of them at once. The rules follow only if there
# are none, because they need complete values. What a dialect cannot express is checked later, when
# the script is compiled for a target.
#
# The digest covers everything that the sessions of a script send, and nothing else. Runs with equal
# digests had the same workload, and only these can be merged or compared without a notice.

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from bench.base.errors import Mistakes, UsageError
from bench.catalogue.timeouts import REPLY_SILENCE_MS, Timeouts
from bench.files.validation import (
    Boolean,
    MapOf,
    Number,
    OrStruct,
    Schema,
    StructOf,
    field_key,
    struct_of,
)
from bench.files.yaml_file import LocatedValue, PythonValue, YamlValue, parsed_yaml, read_text
from bench.plan.callee import CalleeSettings
from bench.plan.conversation import History
from bench.plan.functions import ScriptFunction
from bench.plan.random_choices import (
    MAX_PAUSE_S,
    RecordedTimes,
    ThinkTime,
    VariableRows,
    names_in,
    unknown_name,
)
from bench.plan.reconnect import RECONNECT, Reconnect
from bench.plan.recordings import BackgroundNoise
from bench.plan.script_keys import (
    BACKGROUND_NOISE,
    DRAWN,
    HISTORY,
    MCP_SERVERS,
    ROWS,
    SECONDS,
    SESSION,
    THRESHOLDS,
    TIMEOUTS,
    TOOLS,
)
from bench.plan.steps import (
    NO_TURN_AFTER,
    PauseStep,
    StepReader,
    StepRules,
    StepsValidator,
    is_turn,
    with_pauses,
)
from bench.plan.synthesizer import SYNTHESIZER, SpeechSource, Synthesizer
from bench.plan.turn_plan import NO_REFERENCE
from bench.plan.turns import CALLS, ScriptTurn, Step, undeclared
from bench.wire.dialect import Feature
from bench.wire.settings import ONLY_TRANSCRIPT, REPLY_SETTINGS, McpServer, SessionSettings, merged

TEMPLATES = ("text", "instructions", "expected_reply", "reply_contains")
"""The keys whose texts may contain variables."""
DETECTION = "turn_detection"
SENT_AS_WRITTEN = ("extra", "send", "metadata")
JUDGED = "thresholds"
STEPS = "steps"
PAUSES = MapOf(".*", Number(0, MAX_PAUSE_S, "of seconds"))
"""Other pauses of a script, by the name of the step."""

Task = Callable[[Any], object]
"""A Python function that performs a user's actions in one session."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """The content of one session.

    `digest` is the SHA-256, in hex, over the script's file and all other files that it names. The
    digest excludes thresholds, because they do not change the sessions.

    A field that `field_key` declares is a key of a script's file. Except for `steps`, Python
    classes of tasks have it, too.
    """

    name: str
    path: Path
    digest: str
    session: SessionSettings = field_key(
        SESSION, "Sent once, as session.update.", absent=SessionSettings()
    )
    timeouts: Timeouts = field_key(
        TIMEOUTS, "The timeout of each stage, in seconds.", absent=Timeouts()
    )
    variables: VariableRows | None = field_key(
        ROWS, "A .csv or .jsonl file. Each session takes one of its rows for ${name} in its texts."
    )
    background_noise: BackgroundNoise | None = field_key(
        BACKGROUND_NOISE, "Noise behind the caller's voice."
    )
    caller_marks: bool = field_key(
        Boolean(),
        "Two quiet tones in the speech of each call, by which an echo of another call is heard.",
        False,
    )
    tools: tuple[ScriptFunction, ...] = field_key(
        TOOLS, "Functions that the service may call, with their results.", absent=()
    )
    mcp_servers: tuple[McpServer, ...] = field_key(
        MCP_SERVERS, "MCP servers whose tools the service may call. GA only.", absent=()
    )
    synthesizer: Synthesizer | None = field_key(
        SYNTHESIZER,
        "A command or a service that makes WAVs of the texts to `say`: see rtbench validate"
        " --synthesize.",
    )
    jitter_buffer_ms: float = field_key(
        Number(0, 2_000),
        "Audio that the simulated player buffers before it plays (jitter buffer).",
        50.0,
    )
    reply_silence_ms: float = field_key(
        Number(300, 30_000),
        "Silence that ends a reply, for services without an event for its end (agents, GPT-Live).",
        float(REPLY_SILENCE_MS),
    )
    answer_min_ms: float = field_key(
        Number(0, 60_000),
        "For the same services: sound of at least this length is the answer, shorter sound a"
        " filler; 0: no distinction.",
        0.0,
    )
    history: History | None = field_key(
        HISTORY, "A .jsonl file of messages that precede the first turn."
    )
    pipelined: bool = field_key(
        Boolean(), "Send the settings and the first turn before session.created is received.", False
    )
    renew_after: float | None = field_key(
        SECONDS,
        "The age at which the call continues in a new session, also if the service ends the old one"
        " before.",
    )
    reconnect: Reconnect | None = field_key(
        RECONNECT, "How a call connects again if its connection is dropped, as clients do."
    )
    patience: float | ThinkTime = field_key(
        OrStruct(SECONDS, DRAWN),
        "Seconds without an audible reply after which the caller hangs up, or a distribution from"
        " which each call draws.",
        0.0,
    )
    callee: CalleeSettings | None = field_key(
        struct_of(CalleeSettings, nulls=False),
        "Who answers the calls that the agent makes (`dial` of the target).",
    )
    recorded_call: bool = field_key(
        Boolean(),
        "The script plays the caller of a recorded call. rtbench runs import writes this key.",
        False,
    )
    thresholds: Mapping[str, tuple[str, ...]] | None = field_key(
        THRESHOLDS, "Thresholds of a run, as in a file of --thresholds."
    )
    steps: tuple[Step, ...] = field_key(
        StepsValidator(), "What the caller does, in this order.", required=True
    )
    task: Task | None = field(default=None, repr=False, compare=False)
    """The task of a script in Python, which runs the steps in a session. `steps` are those of
    its rehearsal."""
    reader: StepReader = field(
        default_factory=lambda: StepReader(Path()), repr=False, compare=False
    )
    """A reader of the steps of the task."""
    is_complete: bool = True
    """False if the rehearsal of an endless task has taken only some of a session's steps."""
    written: LocatedValue | None = field(default=None, repr=False, compare=False)
    """The content of the script's file, with positions for errors that depend on the dialect;
    None in Python."""

    @property
    def turns(self) -> tuple[ScriptTurn, ...]:
        """The steps that are turns."""
        return tuple(step for step in self.steps if is_turn(step))

    @property
    def turns_planned(self) -> int | None:
        """The number of turns of a session; None if the task of the script runs as long as the
        session.
        """
        return len(self.turns) if self.is_complete else None

    @property
    def compares_words(self) -> bool:
        """True if words are compared with those of a reference or of a cue."""
        has_reference = any(
            turn.reference != NO_REFERENCE or turn.expected_words for turn in self.turns
        )
        return has_reference or any(Feature.CUE in step.features() for step in self.steps)

    @property
    def think_s(self) -> float:
        """The sum of the caller's pauses in one session, in seconds. A random pause counts with
        its mean.
        """
        return sum(step.think_s for step in self.steps)

    @property
    def lasts_s(self) -> float:
        """The maximum duration of the caller's speech and pauses in a session, in seconds.
        Replies are not included.
        """
        return sum(step.lasts_s for step in self.steps)


SCRIPT: StructOf[dict[str, Any]] = StructOf(struct_of(Script, nulls=False).fields, dict)
SETTINGS = replace(
    SCRIPT, fields={name: entry for name, entry in SCRIPT.fields.items() if name != "steps"}
)
"""The settings that a Python class of tasks may have: all keys of a script except `steps`."""


def load_script(path: Path) -> Script:
    """Read and check a script and its files, so that a session needs no file. Raise ScriptError."""
    text = read_text(path)
    root = parsed_yaml(path, text, "the script")
    synthesizer = root.within("synthesizer")
    # each text to say needs it
    source = SpeechSource(path, SYNTHESIZER.read(synthesizer) if synthesizer else None)
    root = replace(root, context=source)
    mistakes = Mistakes()
    parts = SCRIPT.gather(root, mistakes)
    if "variables" in parts:
        for value in _templates(root):
            for problem in _unfillable(str(value.content()), parts["variables"]):
                mistakes.errors.append(value.refuse(problem))
    # otherwise the rules of steps find these
    if mistakes.errors and isinstance(_content(root), dict):
        mistakes.errors += _undeclared(root)
    mistakes.refuse()
    script = _script(path, _without_thresholds(root, text), parts)
    steps = _items(root.within("steps"))
    for number, key, problem in _impossible_steps(script):
        step = steps[number]
        verb = script.steps[number].verb
        mistakes.errors.append((step.within(key) or step.within(verb, key) or step).refuse(problem))
    mistakes.refuse()
    return replace(script, written=root)


def build_script(
    path: Path, settings: Mapping[str, Any], steps: Iterable[Step], *, is_complete: bool = True
) -> Script:
    """Return the script of the Python program in the file `path`. Relative paths start in the
    folder of that file.

    `settings` are the keys of a script's file, without `steps`. `is_complete` is True if a session
    has no further steps. Raise UsageError for anything that would also be an error in a file.
    """
    parts = script_settings(settings, path.parent)
    script = replace(
        _script(path, read_text(path), {**parts, "steps": tuple(steps)}), is_complete=is_complete
    )
    check_steps(script)
    for text in _texts(script):
        for problem in _unfillable(text, script.variables):
            raise UsageError(f"a text {problem}")
    return script


def script_settings(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Read some of the keys of a script's file. Paths are relative to `folder`. Raise UsageError
    for invalid values.
    """
    return SETTINGS.read(PythonValue("the script", settings, folder))


def session_of(parts: Mapping[str, Any]) -> SessionSettings:
    """Return the settings of a session. They contain the functions and MCP servers that the
    script declares.
    """
    session: SessionSettings = parts.get("session", SessionSettings())
    functions = tuple(function.tool for function in parts.get("tools", ()))
    return msgspec.structs.replace(
        session, tools=functions, mcp_servers=parts.get("mcp_servers", ())
    )


def check_steps(script: Script) -> None:
    """Raise UsageError, with the reason, if a step of a script is impossible."""
    for _, key, problem in _impossible_steps(script):
        raise UsageError(f"{key} {problem}")


def with_target_settings(script: Script, session: Mapping[str, Any], source: str) -> Script:
    """Return a script with the same turns, in which the settings of a target replace those of the
    script.

    If the target only transcribes, the script's settings of replies are dropped.

    `source` is the origin of the target's settings, for errors. In `turn_detection`, the keys of
    target and script are merged if both have the same type. The keys in `extra` are always merged.
    Raise UsageError for invalid settings, and for settings with which a step of the script is
    impossible.
    """
    if not session:
        return script
    try:
        own = script.session
        target_settings = dict(session)
        pauses = PAUSES.read(PythonValue(STEPS, target_settings.pop(STEPS, {})))
        if pauses and script.task is not None:
            raise UsageError("steps are those of YAML scripts, and this one is in Python")
        script_detection = own.turn_detection
        target_detection = target_settings.get(DETECTION)
        if (
            isinstance(target_detection, Mapping)
            and script_detection is not None
            and target_detection.get("type", script_detection.type) == script_detection.type
        ):
            target_settings[DETECTION] = script_detection.explicit | dict(
                target_detection
            )  # the script's own keys are meaningless for another type
        parsed = SESSION.read(PythonValue("session", target_settings))
        settings = {name: getattr(parsed, name) for name in target_settings} | {
            "extra": merged(own.extra, parsed.extra)
        }
        # the script's settings of replies have no effect
        if parsed.output == ONLY_TRANSCRIPT != own.output:
            settings = dict.fromkeys(REPLY_SETTINGS) | settings
        changed = replace(
            script,
            session=msgspec.structs.replace(own, **settings),
            steps=with_pauses(script.steps, pauses),
            written=None,
        )
        check_steps(changed)
        if changed.variables is not None and changed.session.instructions:
            for problem in _unfillable(changed.session.instructions, changed.variables):
                raise UsageError(f"instructions {problem}")
    except UsageError as error:
        raise UsageError(f"{source}: {script.name}: {error}") from error
    return changed


def unfilled_names(script: Script) -> list[str]:
    """Return each name that occurs as `${name}` in a script without variables. Such texts are
    sent unchanged.
    """
    if script.variables is not None:
        return []
    return list(dict.fromkeys(name for text in _texts(script) for name in sorted(names_in(text))))


def _script(path: Path, text: str, parts: Mapping[str, Any]) -> Script:
    return Script(
        name=path.stem,
        path=path,
        digest=_digest(text, parts),
        **{**parts, "session": session_of(parts)},
    )


def _without_thresholds(root: YamlValue, text: str) -> str:
    """Return the text of a script's file without the key `thresholds`."""
    thresholds = root.within(JUDGED)
    if not isinstance(thresholds, YamlValue):
        return text
    before = text[: thresholds.mark.start_mark.index]
    after = text[thresholds.node.end_mark.index :].lstrip()
    return before + after if after else before.rstrip() + "\n"


def _digest(text: str, parts: Mapping[str, Any]) -> str:
    """Return the SHA-256, in hex, over a script's text and the files that it names."""
    images = [image.digest for step in parts["steps"] for image in step.images]
    history = [parts["history"].digest] if "history" in parts else []
    wavs = [pcm.digest for step in parts["steps"] for pcm in step.recordings]
    noise = [parts["background_noise"].noise.digest] if "background_noise" in parts else []
    rows = [parts["variables"].digest] if "variables" in parts else []
    pauses = [step.pause for step in parts["steps"] if isinstance(step, PauseStep)]
    times = [pause.digest for pause in pauses if isinstance(pause, RecordedTimes)]
    greetings = [pcm.digest for pcm in parts["callee"].greeting] if "callee" in parts else []
    files = wavs + greetings + noise + rows + times + images + history
    return hashlib.sha256(text.encode() + bytes.fromhex("".join(files))).hexdigest()


def _undeclared(root: LocatedValue) -> Iterator[UsageError]:
    """Yield an error for each expected function call whose function is not declared by the
    script.
    """
    for step in _items(root.within("steps")):
        with contextlib.suppress(UsageError):  # an unreadable value has an error of its own
            tools = root.within("tools")
            content = tools.content() if tools else None
            declared = content if isinstance(content, dict) else {}
            if value := step.within("expected_calls"):
                for call in CALLS.read(value):
                    if call.name not in declared:
                        yield value.refuse(undeclared(call.name))


def _impossible_steps(script: Script) -> Iterator[tuple[int, str, str]]:
    """Yield (index from 0, key, reason) for each step that is impossible in the script."""
    rules = StepRules(script.session)
    for number, step in enumerate(script.steps):
        for key, problem in rules.problems(step):
            yield number, key, problem
        if (
            script.is_complete
            and step.is_before_turn
            and not any(later.is_turn for later in script.steps[number:])
        ):
            yield number, step.verb, NO_TURN_AFTER
    if script.callee and (problem := script.callee.problem(len(script.turns), script.steps[0])):
        yield 0, script.steps[0].verb, f"`callee` {problem}"


def _unfillable(text: str, variables: VariableRows | None) -> Iterator[str]:
    """Yield an error text for each `${name}` in a text, if `name` is not one of the variables."""
    if variables is not None:
        for name in sorted(names_in(text) - set(variables.names)):
            yield unknown_name(name, variables.names)


def _texts(script: Script) -> Iterator[str]:
    """Yield every text that may contain variables."""
    texts = (text for step in script.steps for text in step.texts)
    yield from filter(None, (script.session.instructions, *texts))


def _templates(value: LocatedValue) -> Iterator[LocatedValue]:
    """Yield the located value of every text in a script's file that may contain variables."""
    content = _content(value)
    for inner in content.values() if isinstance(content, dict) else _items(value):
        if inner.name in TEMPLATES:
            yield from _items(inner) or [inner]
        elif inner.name not in SENT_AS_WRITTEN:
            yield from _templates(inner)


def _items(value: LocatedValue | None) -> list[LocatedValue]:
    content = _content(value) if value else None
    return content if isinstance(content, list) else []


def _content(value: LocatedValue) -> object:
    """Return the content of a value. Return None if it cannot be read; this error is reported
    elsewhere.
    """
    try:
        return value.content()
    except UsageError:
        return None


def script_schema() -> Schema:
    """Return the JSON Schema (draft 2020-12) of the keys that `script_keys.py` and `steps.py`
    declare.
    """
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A script of Realtime Bench",
    }
    return head | SCRIPT.schema()


if __name__ == "__main__":
    print(json.dumps(script_schema(), indent=2))
