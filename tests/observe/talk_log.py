"""Reads and plays the conversations of `talks`, whose form `talks/README.md` describes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, get_args

import msgspec
import numpy as np

from bench.base.units import NS_PER_MS
from bench.catalogue.columns import SESSION_INSTANTS, TURN_INSTANTS
from bench.catalogue.metrics import CATALOGUE
from bench.catalogue.outcomes import remedy_of
from bench.observe import inputs
from bench.observe.inputs import Action, DeliverTurn, MeasureNetwork, ReportUsage
from bench.observe.observation import SessionObservation, TurnObservation
from bench.observe.timeline import Timeline
from bench.plan.turn_plan import InterruptTrigger
from bench.services.registry import DIALECTS
from bench.session import session as waits
from bench.wire.audio import AudioFormat
from bench.wire.connection import SentChunk
from bench.wire.dialect import BinaryMessage
from bench.wire.events import TokenUsage
from tests import helpers
from tests.helpers import Talk, at

FOLDER = Path(__file__).parent / "talks"
END_MS = 100_000_000
"""The instant of a line whose time is `end`."""
SOUND_MS, FRAME_MS = 100, 20
"""The durations of a delta that a character of `sound` stands for, and of a frame."""
NS = {"ms": NS_PER_MS, "ns": 1}
CONSTANTS = {"yes": True, "no": False, "-": None}
LINE = re.compile(
    r" +(?P<at>[\d.]+|end)?(?:~(?P<error>\d+)(?P<unit>ms|ns))?(?P<user>~user)?"
    r" +(?P<kind>[<>=]) (?P<text>.*)"
)


class Line(NamedTuple):
    """An event of the service (`<`), an event of the client (`>`), or a result (`=`)."""

    at_ms: float
    error_ns: int
    by_kernel: bool
    kind: str
    text: str


@dataclass
class Case:
    """A conversation, with the settings of its session."""

    settings: str = ""
    lines: list[Line] = field(default_factory=list)


def cases(path: Path) -> dict[str, Case]:
    """Return the conversations of a file by name."""
    found, case, at_ms = dict[str, Case](), Case(), 0.0
    for text in path.read_text(encoding="utf-8").splitlines():
        word, _, others = text.strip().partition(" ")
        if text and text == text.lstrip() and word != "#":
            case, at_ms = Case(), 0.0
            found[text] = case
        elif word == "session":
            case.settings = others
        elif word == "part":
            part = found[text.strip()]
            case.settings = case.settings or part.settings
            case.lines += part.lines
            at_ms = case.lines[-1].at_ms
        elif line := LINE.fullmatch(text):
            if line["at"]:
                at_ms = END_MS if line["at"] == "end" else float(line["at"])
            error_ns = int(line["error"] or 0) * NS[line["unit"] or "ns"]
            case.lines.append(Line(at_ms, error_ns, not line["user"], line["kind"], line["text"]))
        elif word and word != "#" and not case.lines:
            case.settings = f"{case.settings} {text.strip()}"
        elif word and word != "#":
            last = case.lines.pop()
            case.lines.append(last._replace(text=f"{last.text} {text.strip()}"))
    return {name: case for name, case in found.items() if not name.startswith("part ")}


def words_of(text: str) -> Iterator[tuple[str, str]]:
    """Yield (name, value) of each word; the name is empty if the word has none."""
    while text := text.lstrip():
        _, name, text = re.split(r"^((?:[a-z_][\w.]*=)?)", text, maxsplit=1)
        if text[:1] in {"{", "[", '"'}:
            _, end = json.JSONDecoder().raw_decode(text)
        else:
            end = (text + " ").index(" ")
        yield name.removesuffix("="), text[:end]
        text = text[end:]


def value(word: str) -> Any:
    """Return what a word of a log means."""
    if word in CONSTANTS:
        return CONSTANTS[word]
    try:
        return json.loads(word)
    except ValueError:
        return word


def written(found: Any) -> str:
    """Return how a log writes a value."""
    for word, constant in CONSTANTS.items():
        if found is constant:
            return word
    found, is_usage = msgspec.to_builtins(found), isinstance(found, TokenUsage)
    if is_usage:
        found = {kind: count for kind, count in found.items() if count}
    if isinstance(found, str) and re.fullmatch(r"[^\s\"{\[=]+", found) and value(found) == found:
        return found
    whole = isinstance(found, float) and found.is_integer()
    return json.dumps(int(found) if whole else found, ensure_ascii=False, separators=(",", ":"))


def called(text: str) -> tuple[str, list[Any], dict[str, Any]]:
    """Return the first word of an event, its arguments, and its named arguments."""
    (_, first), *others = words_of(text)
    named = {name: value(word) for name, word in others if name}
    return first, [value(word) for name, word in others if not name], named


def at_path(found: Any, path: str) -> Any:
    """Return the value at a path of keys and numbers; None if there is none."""
    for key in path.split("."):
        try:
            found = found[int(key) if isinstance(found, list) else key]
        except (KeyError, IndexError, TypeError):
            return None
    return found


# The messages of the service.


def part(kind: str, state: str, **fields: Any) -> Callable[..., bytes]:
    """Return the function that makes the message of a part of a reply."""

    def make(
        talk: Talk, response_id: str | None, delta: Any = None, *, item: str = "", **more: Any
    ) -> bytes:
        name = f"{helpers.FAMILIES[talk.dialect][kind]}.{state}"
        ids = {"response_id": response_id, "item_id": item or f"item_of_{response_id}"}
        if state == "delta" and delta is None:
            delta = fields["delta"]
        elif kind == "audio":
            delta = helpers.base64_of(delta) if isinstance(delta, int) else SOUNDS.get(delta, delta)
        more |= {"delta": delta} if state == "delta" else {}
        return helpers.message(name, **ids if response_id else {}, **more)

    return make


SOUNDS = {"silence": helpers.SILENCE}
DELTAS = {"audio": helpers.LOUD, "text": "word ", "transcript": "word "}


def done(
    response_id: str, status: str = "completed", *, audio_out: int | None = None, **more: Any
) -> bytes:
    usage = {} if audio_out is None else {"usage": helpers.usage(audio_out=audio_out)}
    return helpers.done(response_id, status, **usage | more)


def failed(response_id: str, code: str | None, type_: str = "server_error") -> bytes:
    error = {"type": type_, "code": code, "message": "No."}
    return helpers.done(response_id, "failed", type="failed", error=error)


def item(state: str, response_id: str, item_id: str, **fields: Any) -> bytes:
    described = {"id": item_id, "type": "message"} | fields
    return helpers.message(f"response.output_item.{state}", response_id=response_id, item=described)


def input_delta(item_id: str, text: str) -> bytes:
    name = "conversation.item.input_audio_transcription.delta"
    return helpers.message(name, item_id=item_id, content_index=0, delta=text)


def truncated(item_id: str) -> bytes:
    fields = {"item_id": item_id, "content_index": 0, "audio_end_ms": 0}
    return helpers.message("conversation.item.truncated", **fields)


def retrieved(
    audio: Any, *, transcript: str | None = None, item: str = "item_a", **more: Any
) -> bytes:
    """Return an item as the service stores it. `audio` is its duration in ms, or something else."""
    if type(audio) is int:
        audio = helpers.base64_of(48 * audio)
    content = {"type": "output_audio", "audio": audio, "transcript": transcript} | more
    described = {"id": item, "type": "message", "content": [content]}
    return helpers.message("conversation.item.retrieved", item=described)


def delegated(target: str, task: str, **more: Any) -> bytes:
    described = {"id": task, "target": target, "type": "delegation"} | more
    return helpers.message("session.delegation.created", delegation=described)


def backend(event: str, **fields: Any) -> bytes:
    return helpers.message("response.event", event={"type": f"response.{event}"} | fields)


PARTS = {kind: part(kind, "delta", delta=delta) for kind, delta in DELTAS.items()}
PARTS |= {f"{kind}_done": part(kind, "done") for kind in DELTAS}
OWN = {
    each.__name__: each
    for each in (done, failed, item, input_delta, truncated, retrieved, delegated, backend)
}


def messages(talk: Talk, text: str) -> list[bytes]:
    """Return the messages that a line of the service names."""
    if text.startswith("{"):
        described = value(text)
        return [helpers.message(described.pop("type"), **described)]
    if text.startswith("raw "):
        return [text.removeprefix("raw ").encode()]
    name, arguments, named = called(text)
    if name == "reply":
        return helpers.reply(talk.dialect, *arguments, **named)
    if name in PARTS:
        return [PARTS[name](talk, *arguments, **named)]
    make: Callable[..., bytes] = OWN[name] if name in OWN else getattr(helpers, name)
    return [make(*arguments, **named)]


def frames(format: AudioFormat, kind: str, ms: int, level: int = 3_000) -> Iterator[bytes]:
    """Yield the frames of an agent's audio: `silence`, `noise`, a `tone`, or a `voice` without a
    pause.
    """
    places = np.arange(format.rate_hz * ms // 1_000)
    if kind == "voice":
        loud = 1 + 5 / 6 * np.sin(places / (format.rate_hz * FRAME_MS / 1_000 * 3))
        samples = level * loud * np.sin(2 * np.pi * 220 * places / format.rate_hz)
    elif kind == "tone":
        samples = level * np.sin(2 * np.pi * 425 * places / format.rate_hz)
    else:
        samples = np.random.default_rng(1).uniform(-level, level, len(places)) * (kind == "noise")
    size = format.rate_hz * FRAME_MS // 1_000
    for begin in range(0, len(samples), size):
        yield BinaryMessage(format.encode(samples[begin : begin + size].astype(np.int16)))


# The events of the client.


def chunk(talk: Talk, at_ms: float, size: int, **more: Any) -> None:
    talk.send(at_ms, "input_audio_buffer.append", audio_bytes=size, **more)


def paced_chunk(talk: Talk, at_ms: float, size: int) -> None:
    """Apply a chunk that the event loop sent."""
    talk.timeline.apply(SentChunk(at(at_ms), size, size, 0, size))


def expire(talk: Talk, at_ms: float) -> None:
    talk.timeline.expire(at(at_ms))


METHODS: dict[str, Callable[..., None]] = {
    "ask": Talk.ask,
    "begin": Talk.begin,
    "speech": Talk.begin_speech,
    "speech_end": Talk.end_speech,
    "send": Talk.send,
    "chunk": chunk,
    "paced_chunk": paced_chunk,
    "transmitted": Talk.transmit,
    "expire": expire,
}
INPUTS = {str(each.__struct_config__.tag): each for each in get_args(inputs.AnyLogged)}


def in_ns(given: dict[str, Any]) -> dict[str, Any]:
    """Return arguments in ns. `until_ms` is an instant, all others are durations."""
    named = dict(given)
    if "until_ms" in named:
        named["until_ns"] = at(named.pop("until_ms"))
    for key in [key for key in named if key.endswith("_ms") and key != "played_ms"]:
        named[f"{key.removesuffix('_ms')}_ns"] = round(named.pop(key) * NS_PER_MS)
    return named


def act(talk: Talk, at_ms: float, text: str) -> None:
    """Apply an event of the client: a method of `Talk`, or an input by its name in event logs."""
    name, arguments, given = called(text)
    named = in_ns(given)
    if name in METHODS:
        METHODS[name](talk, at_ms, *arguments, **named)
    else:
        fields = INPUTS[name].__struct_fields__
        instant = {"at_ns": at(at_ms)} if "at_ns" in fields else {}
        positional = zip((each for each in fields if each != "at_ns"), arguments, strict=False)
        talk.timeline.apply(INPUTS[name](**dict(positional), **named, **instant))


# Results.


def after_ms(ns: int | None) -> float | None:
    return None if ns is None else (ns - at(0)) / NS_PER_MS


def in_ms(ns: int | None) -> float | None:
    return None if ns is None else ns / NS_PER_MS


def fact(observed: TurnObservation | SessionObservation, name: str) -> Any:
    """Return a value of an observation. Durations and instants are in ms."""
    group, _, key = name.partition(".")
    if group == "metrics":
        return in_ms(observed.metrics_ns().get(CATALOGUE[key].name))
    if group == "bound_ns":
        assert isinstance(observed, TurnObservation)
        return observed.bound_ns(CATALOGUE[key])
    if key:
        return getattr(observed, group).get(key)
    if hasattr(observed, name):
        return getattr(observed, name)
    if name.endswith("_ms"):
        return in_ms(getattr(observed, f"{name.removesuffix('_ms')}_ns"))
    assert name in {*TURN_INSTANTS, *SESSION_INSTANTS}, f"there is no instant {name}"
    return after_ms(observed.instants[name]) if name in observed.instants else None


def described(action: Action) -> str:
    return " ".join([type(action).__name__, *map(written, msgspec.structs.astuple(action))])


def listed(head: str, found: dict[str, Any], order: list[str]) -> str:
    """Return a line of facts, those of `order` first."""
    first = {name: found[name] for name in order if name in found}
    return " ".join([head, *(f"{name}={written(fact)}" for name, fact in (first | found).items())])


QUESTIONS: dict[str, Callable[[Timeline, int], Any]] = {
    "all_over": lambda timeline, _: timeline.turns.are_all_over,
    "session_over": lambda timeline, _: timeline.is_over,
    "idle": lambda timeline, _: waits.until_service_idle(timeline, 0) is None,
    "awaits_event": lambda timeline, _: waits.until_expected_events(timeline, 0) is not None,
    "verified_by": lambda timeline, ns: after_ms(waits.until_truncations_verified(timeline, ns)),
    "history_left": lambda timeline, _: timeline.facts.history_left,
    "wakes": lambda timeline, _: after_ms(timeline.next_deadline_ns),
    "plays_until": lambda timeline, _: after_ms(timeline.playback_ends_ns),
}
SILENT = DeliverTurn | ReportUsage | MeasureNetwork
"""The actions that a line `actions` leaves out."""


class Player:
    """A conversation that is played. `delivered` are the turns whose lines follow, `turn` is that
    of the last line, and `observed` this turn or a session.
    """

    def __init__(self, case: Case) -> None:
        settings: dict[str, Any] = {name: value(word) for name, word in words_of(case.settings)}
        dialect = DIALECTS[settings.pop("dialect", "ga")]
        self.talk, self.delivered = Talk(dialect, **settings), list[TurnObservation]()
        self.observed: TurnObservation | SessionObservation = self.talk.timeline.session()
        for line in case.lines:
            if line.kind == "=":
                found = self.result(line)
                assert found == line.text, f"at {line.at_ms:g} ms: {found}, not {line.text}"
            elif line.kind == ">":
                act(self.talk, line.at_ms, line.text)
            else:
                self.hear(line)
        assert self.delivered == [], "a turn was delivered that the log does not name"

    def hear(self, line: Line) -> None:
        if line.text.startswith("sound "):
            for number, mark in enumerate(line.text.removeprefix("sound "), 1):
                delta = helpers.LOUD if mark == "#" else helpers.SILENCE
                data = helpers.message("session.output_audio.delta", delta=delta)
                self.talk.hear(line.at_ms + SOUND_MS * number, data)
            return
        if line.text.startswith("frames "):
            _, sound, named = called(line.text)
            for number, data in enumerate(frames(self.talk.format, *sound)):
                at_ms = line.at_ms + named.get("apart", FRAME_MS) * number
                self.talk.hear(at_ms, data, error_ns=line.error_ns)
            return
        for text in line.text.split(" | "):
            came = messages(self.talk, text)
            self.talk.hear(line.at_ms, *came, error_ns=line.error_ns, kernel=line.by_kernel)

    def result(self, line: Line) -> str:
        """Return what a line should be."""
        timeline = self.talk.timeline
        subject, asked, facts = called(line.text)
        names = list(facts)
        match subject:
            case "turn":
                self.delivered = self.delivered or self.talk.take(line.at_ms)
                self.turn = self.delivered.pop(0)
                self.observed = self.turn
                head = f"turn {self.turn.turn} {self.turn.outcome}"
                return listed(head, {name: fact(self.turn, name) for name in names}, names)
            case "session":
                self.observed = session = timeline.session()
                head = f"session {session.outcome}".rstrip()
                return listed(head, {name: fact(session, name) for name in names}, names)
            case "instants":
                instants = {name: after_ms(ns) for name, ns in self.turn.instants.items()}
                return listed(subject, instants, names)
            case "metrics":
                metrics = {name: in_ms(ns) for name, ns in self.turn.metrics_ns().items()}
                return listed(subject, metrics, names)
            case "turns":
                self.delivered += self.talk.take(line.at_ms)
                return f"turns {'some' if self.delivered else '-'}"
            case "actions" | "first_actions":
                lists = timeline.due_actions(at(line.at_ms))
                due = next(lists) if subject == "first_actions" else list(chain(*lists))
                self.delivered += [each.turn for each in due if isinstance(each, DeliverTurn)]
                shown = [described(each) for each in due if not isinstance(each, SILENT)]
                return f"{subject} {' | '.join(shown) or '-'}"
            case "deadline":
                deadline = self.talk.deadline()
                due_ms = written(deadline and after_ms(deadline[0]))
                return f"deadline {due_ms} {deadline[1]}" if deadline else "deadline -"
            case "remedy":
                remedy = remedy_of(self.observed.outcome, self.observed.causes)
                return f"remedy {written(asked[0] if asked[0] in remedy else remedy)}"
            case "cue":
                assert timeline.turns.interrupted is not None
                trigger = InterruptTrigger(**in_ns({k: v for k, v in facts.items() if k != "at"}))
                found = {"at": after_ms(timeline.turns.interrupted.trigger_ns(trigger))}
                return listed(subject, facts | found, names)
        return f"{subject} {written(QUESTIONS[subject](timeline, at(line.at_ms)))}"
