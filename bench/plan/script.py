"""A script: the turns of one session, as YAML and the files that it names, or built by Python. Format: docs/scripts.md.

Both go by one table of what is allowed, `fields.py`. An error of a file is a `ScriptError` that names the line and says
what is allowed; one of a call is a `UsageError` that names the key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from bench.errors import UsageError
from bench.limits import Limits
from bench.plan.audio import Pcm
from bench.plan.fields import (
    ADD_MESSAGE,
    EXPECT,
    HEARD,
    INTERRUPT,
    LIMITS,
    OF_NO_TURN,
    PAUSE,
    PLAY,
    RESPOND,
    SAY,
    SCRIPT,
    SEND_EVENT,
    SESSION,
    SETTINGS,
)
from bench.plan.functions import Function, declared
from bench.plan.rows import Rows, names_in, unknown_name
from bench.plan.think_times import RecordedTimes
from bench.plan.turns import (
    EXPECTED_EVENTS,
    AddMessage,
    AskTurn,
    DrawnPause,
    Expect,
    Interrupt,
    Pause,
    Script,
    ScriptTurn,
    SendEvent,
    Sound,
    Step,
    TextTurn,
    WavTurn,
    images_of,
    messages_of,
)
from bench.protocol.settings import SessionSettings
from bench.yaml_file import PlainValue, Value, parsed_yaml, read_text

__all__ = [
    "EXPECTED_EVENTS",
    "NOT_DRAWN",
    "AddMessage",
    "AskTurn",
    "DrawnPause",
    "Expect",
    "Interrupt",
    "Pause",
    "Rules",
    "Script",
    "ScriptTurn",
    "SendEvent",
    "Sound",
    "Step",
    "TextTurn",
    "WavTurn",
    "ask_turn",
    "build_script",
    "check_steps",
    "expect",
    "interrupt",
    "limits",
    "load_script",
    "message",
    "pause",
    "rules_of",
    "script_settings",
    "send",
    "session_settings",
    "sound",
    "text_turn",
    "unfilled_names",
    "wav_turn",
]

NOT_DRAWN: Mapping[str, Any] = {}
TEMPLATES = ("say", "text", "instructions", "expected_reply", "reply_contains")
"""The keys of texts in which variables are filled."""
SENT_AS_WRITTEN = ("extra", "send", "metadata")
OF_SPEECH = ("speech_started", "speech_stopped")
OF_AUDIO = (*OF_SPEECH, "committed")
OF_SPOKEN_ANSWER = ("audio_delta", "audio_done", "transcript_delta", "transcript_done")
OF_WRITTEN_ANSWER = ("text_delta",)
UNHEARD = "needs `turn_detection` in the session: without it the service hears nothing but what is committed"
UNTOLD = "during silence belongs to the turn after it, and none follows: add a `say`, `respond` or `play` behind it"
PLACES = {"event": ("expect", "event")}
"""Where in a step a key stands that is not its own."""
TWICE = "names a typed turn and a spoken one, whose waits count from different instants: give each a label of its own"
UNPACED = "must be true with turn detection, because audio that is sent all at once has no instant at which speech ends"


def load_script(path: Path) -> Script:
    """Read and check a script and the files that it names; a session then needs no file.

    Raises ScriptError for whatever is wrong with any of them.
    """
    text = read_text(path)
    root = parsed_yaml(path, text, "the script")
    script = _script(path, text, SCRIPT.read(root))
    steps = _items(root.within("steps"))
    for place, key, problem in _senseless(script):
        raise (steps[place].within(*PLACES.get(key, (key,))) or steps[place]).refuse(problem)
    _refuse_unknown_names(root, script.variables)
    return replace(script, written=root)


def build_script(path: Path, settings: Mapping[str, Any], steps: Iterable[Step], *, whole: bool = True) -> Script:
    """The script of a Python program in the file `path`, from whose folder other files are seen.

    `settings`: the keys of a script's file, without `steps`. `whole`: no other steps follow. Raises UsageError for what
    a file could not say either.
    """
    parts = script_settings(settings, path.parent)
    script = _script(path, read_text(path), {**parts, "steps": tuple(steps)})
    check_steps(script, whole=whole)
    for text in _texts(script):
        for problem in _unfillable(text, script.variables):
            raise UsageError(f"a text {problem}")
    return script


def script_settings(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Read those keys of a script's file that are given. Raises UsageError; paths are seen from `folder`."""
    return SETTINGS.read(PlainValue("the script", settings, folder))


def check_steps(script: Script, *, whole: bool = True) -> None:
    """Raise UsageError, with the reason, for a step that makes no sense in its script. `whole`: no step follows."""
    for _, key, problem in _senseless(script, whole=whole):
        raise UsageError(f"{key} {problem}")


def unfilled_names(script: Script) -> list[str]:
    """The names in `${name}` of a script without variables, which are sent as they stand."""
    if script.variables is not None:
        return []
    return list(dict.fromkeys(name for text in _texts(script) for name in sorted(names_in(text))))


def text_turn(text: str, *, label: str, folder: Path = Path(), **options: Any) -> TextTurn:
    """Make a turn in text.

    `options`: `image`, seen from `folder`; `output`, `instructions`, `max_output_tokens` of this turn's reply;
    `expected_reply`, `success`.
    """
    return SAY.read(replace(_call("say", say=text, label=label, **options), base=folder))


def ask_turn(
    *,
    label: str,
    folder: Path = Path(),
    expected_reply: str | None = None,
    success: Mapping[str, Any] | None = None,
    **response: Any,
) -> AskTurn:
    """Make a turn without words: a reply is asked for, with whatever `respond` of a script may hold."""
    judged = {"expected_reply": expected_reply, "success": success}
    return RESPOND.read(replace(_call("respond", respond=_given(response), label=label, **judged), base=folder))


def message(role: str, text: str, image: str | Path | None = None, *, folder: Path = Path()) -> AddMessage:
    """Make a step that adds a message to the conversation. `image`: a file, seen from `folder`, and read at once."""
    call = _call("message", message=_given({"role": role, "text": text, "image": image}))
    return ADD_MESSAGE.read(replace(call, base=folder))


def send(event: Mapping[str, Any]) -> SendEvent:
    """Make a step that sends an event in the words of the service."""
    return SEND_EVENT.read(_call("send", send=event))


def wav_turn(
    paths: str | Path | Sequence[str | Path],
    *,
    label: str,
    folder: Path,
    chunk_ms: int | None = None,
    paced: bool | None = None,
    speech: Mapping[str, float] | None = None,
    **response: Any,
) -> WavTurn:
    """Make a turn of the caller's words as audio. The files are read at once: make turns before sessions run.

    `paths`: seen from `folder`; of several, each session plays one. `speech`: {begin, end} in seconds, of one WAV.
    `response`: as in `text_turn`.
    """
    call = _call("play", play=paths, label=label, chunk_ms=chunk_ms, paced=paced, speech=speech, **response)
    return PLAY.read(replace(call, base=folder))


def pause(seconds: float | None, drawn: Mapping[str, Any] = NOT_DRAWN, *, folder: Path = Path()) -> Pause | DrawnPause:
    """Make a step in which the caller is silent: for so many seconds, or for as long as is drawn for each session.

    `drawn`: `median`, `sigma` and `most` of a log-normal distribution; or `file`, seen from `folder`, and read at once.
    """
    if seconds is not None and drawn:
        raise UsageError(f"pause has seconds, and {', '.join(drawn)} to draw them by: give one of the two")
    call = _call("pause", pause=_given(drawn) if seconds is None else seconds)
    return PAUSE.read(replace(call, base=folder))


def interrupt(
    wavs: str | Path | Sequence[str | Path] | None, *, label: str, folder: Path, **options: Any
) -> Interrupt | WavTurn:
    """Make a step that interrupts the reply to the turn before: a turn of the caller's words, or the client's doing.

    `wavs`: seen from `folder`, and read at once; None: the client interrupts. `options`: `after` (seconds of the reply
    that were played), `share` or `word` (of its transcript) say when; `verify`: check what the service keeps; else as
    in `wav_turn`.
    """
    cue = {name: options.pop(name) for name in ("after", "share", "word", "verify") if name in options}
    call = _call("interrupt", interrupt=_given(cue | {"play": wavs}), label=label if wavs else None, **options)
    return INTERRUPT.read(replace(call, base=folder))


def sound(wav: str | Path, kind: str, *, folder: Path, **options: Any) -> Sound:
    """Make a step in which something is heard that is meant neither to interrupt a reply nor to get one.

    `kind`: `backchannel`, `noise` or `aside`; `options`: when, as in `interrupt`, or `during` silence; `chunk_ms`.
    """
    call = _call("sound", sound=_given({"play": wav, "kind": kind} | options))
    return HEARD.read(replace(call, base=folder))


def expect(event: str, within_s: float) -> Expect:
    """Make a step that fails the turn before unless it gets this event, one of EXPECTED_EVENTS."""
    return EXPECT.read(_call("expect", expect={"event": event, "within": within_s}))


def session_settings(settings: Mapping[str, Any]) -> SessionSettings:
    """Read what stands under `session` in a script. Raises UsageError."""
    return SESSION.read(PlainValue("session", settings))


def limits(seconds: Mapping[str, float]) -> Limits:
    """Read what stands under `limits` in a script. Raises UsageError."""
    return LIMITS.read(PlainValue("limits", seconds))


def _call(name: str, **arguments: Any) -> PlainValue:
    """The table that a file would hold for such a step; a key whose argument is None is left out."""
    return PlainValue(name, _given(arguments))


def _given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in arguments.items() if value is not None}


def _script(path: Path, text: str, parts: Mapping[str, Any]) -> Script:
    functions = declared(parts.get("tools", {}))
    session = parts.get("session", SessionSettings())
    session = msgspec.structs.replace(session, tools=tuple(function.tool for function in functions))
    return Script(
        name=path.stem,
        path=path,
        digest=_digest(text, parts),
        **{
            "limits": Limits(),
            **{("renew_after_s" if key == "renew_after" else key): part for key, part in parts.items()},
            "session": session,
            "tools": functions,
        },
    )


def _digest(text: str, parts: Mapping[str, Any]) -> str:
    """SHA-256, hex, over what a script says and over each file that it names, in this order."""
    images = [image.digest for step in parts["steps"] for image in images_of(step)]
    history = [parts["history"].digest] if "history" in parts else []
    wavs = [pcm.digest for step in parts["steps"] for pcm in _recordings(step)]
    noise = [parts["background"].noise.digest] if "background" in parts else []
    rows = [parts["variables"].digest] if "variables" in parts else []
    pauses = [step.length for step in parts["steps"] if isinstance(step, DrawnPause)]
    times = [length.digest for length in pauses if isinstance(length, RecordedTimes)]
    files = wavs + noise + rows + times + images + history
    return hashlib.sha256(text.encode() + bytes.fromhex("".join(files))).hexdigest()


def _recordings(step: Step) -> tuple[Pcm, ...]:
    """The WAVs of a step."""
    if isinstance(step, Sound):
        return (step.audio,)
    return step.audio if isinstance(step, WavTurn) else ()


class Rules:
    """Judges the steps of a session, one after another, by what stands before them: for YAML, and for Python live."""

    def __init__(self, session: SessionSettings, functions: Iterable[Function]) -> None:
        self._session, self._known = session, {function.tool.name for function in functions}
        self._turn: ScriptTurn | None = None
        """The turn under way."""
        self._is_spoken: dict[str, bool] = {}
        """Of turns, by their labels."""

    def problems(self, step: Step) -> Iterator[tuple[str, str]]:
        """(its key, why) of whatever makes no sense in the next step."""
        hears, spoken = self._session.turn_detection is not None, isinstance(step, WavTurn)
        if step.within_turn and not isinstance(step, SendEvent):
            yield from _misplaced(step, self._turn, self._session)
        elif _is_in_silence(step) and not hears:
            yield "sound", UNHEARD
        if step.plays_turn and self._is_spoken.setdefault(step.label, spoken) is not spoken:
            yield "label", TWICE
        if isinstance(step, WavTurn) and hears and not step.paced:  # else the service's VAD notices no end of speech
            yield "paced", UNPACED
        for call in (step.plays_turn and step.calls) or ():
            if call.name not in self._known:  # such a call fails its turn
                yield "calls", f"names the function {call.name}, which `tools` has not"
        if step.plays_turn:
            self._turn = step
        elif not step.within_turn:
            self._turn = None


def rules_of(settings: Mapping[str, Any], folder: Path) -> Rules:
    """The rules of a session of such settings; as in `build_script`."""
    parts = script_settings(settings, folder)
    return Rules(parts.get("session", SessionSettings()), declared(parts.get("tools", {})))


def _senseless(script: Script, *, whole: bool = True) -> Iterator[tuple[int, str, str]]:
    """(its place, its key, why) of each step that makes no sense in its script. `whole`: no step follows the last."""
    rules = Rules(script.session, script.tools)
    for place, step in enumerate(script.steps):
        for key, problem in rules.problems(step):
            yield place, key, problem
        if whole and _is_in_silence(step) and not any(later.plays_turn for later in script.steps[place:]):
            yield place, "sound", UNTOLD


def _is_in_silence(step: Step) -> bool:
    return isinstance(step, Sound) and not step.within_turn


def _misplaced(step: Step, turn: ScriptTurn | None, session: SessionSettings) -> Iterator[tuple[str, str]]:
    """(key, why) where a step that belongs to a turn makes no sense in this one."""
    key = "expect" if isinstance(step, Expect) else "sound" if isinstance(step, Sound) else "interrupt"
    if turn is None:
        yield key, OF_NO_TURN
    elif isinstance(step, Expect):
        if problem := _unmeetable(step.event, turn, session):
            yield "event", problem
    elif not isinstance(step, Interrupt | Sound | WavTurn):
        return
    elif (turn.response.output or session.output) == "text":
        yield key, "needs a reply that is played, and the turn before asks for text"
    elif not isinstance(step, Interrupt) and session.turn_detection is None:
        yield key, UNHEARD


def _unmeetable(event: str, turn: ScriptTurn, session: SessionSettings) -> str:
    """The reason why a turn can never get an event; "" where it can."""
    output = turn.response.output or session.output
    reasons = (
        (event in OF_AUDIO and not isinstance(turn, WavTurn), "has no audio"),
        (event in OF_SPEECH and session.turn_detection is None, "is ended by this tool: there is no turn detection"),
        (event in OF_SPOKEN_ANSWER and output == "text", "asks for an answer in text"),
        (event in OF_WRITTEN_ANSWER and output == "audio", "asks for audio, whose words come as transcript_delta"),
    )
    return next((f"{event} can never come: the turn before it {why}" for holds, why in reasons if holds), "")


def _refuse_unknown_names(root: Value, variables: Rows | None) -> None:
    for value in _templates(root):
        for problem in _unfillable(str(value.content()), variables):
            raise value.refuse(problem)


def _unfillable(text: str, variables: Rows | None) -> Iterator[str]:
    """The problem of each name in a text that the variables do not have."""
    if variables is not None:
        for name in sorted(names_in(text) - set(variables.names)):
            yield unknown_name(name, variables.names)


def _texts(script: Script) -> Iterator[str]:
    """Every text in which variables are filled."""
    written = (turn.text for turn in script.turns if isinstance(turn, TextTurn))
    asked = (turn.response.instructions for turn in script.turns)
    messages = (message.text for step in script.steps for message in messages_of(step))
    expected = (text for turn in script.turns for text in (turn.reference.reply, *turn.reference.contains))
    yield from filter(None, (script.session.instructions, *written, *asked, *messages, *expected))


def _templates(value: Value) -> Iterator[Value]:
    """Every text in which variables are filled, of a script that was read."""
    content = value.content()
    for inner in content.values() if isinstance(content, dict) else _items(value):
        if inner.name in TEMPLATES:
            yield from _items(inner) or [inner]
        elif inner.name not in SENT_AS_WRITTEN:
            yield from _templates(inner)


def _items(value: Value | None) -> list[Value]:
    content = value.content() if value else None
    return content if isinstance(content, list) else []
