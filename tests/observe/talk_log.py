"""Reads and plays the conversations of `talks`, whose form `talks/README.md` describes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, get_args

import msgspec

from bench.base.units import NS_PER_MS
from bench.catalogue.metrics import CATALOGUE
from bench.observe import inputs
from bench.observe.inputs import Action, DeliverTurn, MeasureNetwork, ReportUsage
from bench.observe.observation import SessionObservation, TurnObservation
from bench.observe.timeline import Timeline
from bench.services.registry import DIALECTS
from bench.session import session as waits
from bench.wire.events import TokenUsage
from tests import helpers
from tests.helpers import Talk, at

FOLDER = Path(__file__).parent / "talks"
END_MS = 100_000_000
"""The instant of a line whose time is `end`."""
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
        elif word and word != "#":
            last = case.lines.pop()
            case.lines.append(last._replace(text=f"{last.text} {text.strip()}"))
    return {name: case for name, case in found.items() if not name.startswith("part ")}


def words_of(text: str) -> Iterator[tuple[str, str]]:
    """Yield (name, value) of each word; the name is empty if the word has none."""
    while text := text.lstrip():
        _, name, text = re.split(r"^((?:[a-z_.]+=)?)", text, maxsplit=1)
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


PARTS = {kind: part(kind, "delta", delta=delta) for kind, delta in DELTAS.items()}
PARTS |= {f"{kind}_done": part(kind, "done") for kind in DELTAS}
OWN = {each.__name__: each for each in (done, failed, item, input_delta)}


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


# The events of the client.


def chunk(talk: Talk, at_ms: float, size: int, **more: Any) -> None:
    talk.send(at_ms, "input_audio_buffer.append", audio_bytes=size, **more)


def expire(talk: Talk, at_ms: float) -> None:
    talk.timeline.expire(at(at_ms))


METHODS: dict[str, Callable[..., None]] = {
    "ask": Talk.ask,
    "begin": Talk.begin,
    "speech": Talk.begin_speech,
    "speech_end": Talk.end_speech,
    "send": Talk.send,
    "chunk": chunk,
    "transmitted": Talk.transmit,
    "expire": expire,
}
INPUTS = {str(each.__struct_config__.tag): each for each in get_args(inputs.AnyLogged)}


def act(talk: Talk, at_ms: float, text: str) -> None:
    """Apply an event of the client: a method of `Talk`, or an input by its name in event logs."""
    name, arguments, named = called(text)
    if "until_ms" in named:
        named["until_ns"] = at(named.pop("until_ms"))
    for key in [key for key in named if key.endswith("_ms") and key != "played_ms"]:
        named[f"{key.removesuffix('_ms')}_ns"] = round(named.pop(key) * NS_PER_MS)
    if name in METHODS:
        METHODS[name](talk, at_ms, *arguments, **named)
    else:
        fields = INPUTS[name].__struct_fields__
        instant = {"at_ns": at(at_ms)} if "at_ns" in fields else {}
        positional = zip((each for each in fields if each != "at_ns"), arguments, strict=False)
        talk.timeline.apply(INPUTS[name](**dict(positional), **named, **instant))


# Results.


def after_ms(ns: int) -> float:
    return (ns - at(0)) / NS_PER_MS


def in_ms(ns: int | None) -> float | None:
    return None if ns is None else ns / NS_PER_MS


def fact(observed: TurnObservation | SessionObservation, name: str) -> Any:
    """Return a value of an observation. Durations and instants are in ms."""
    group, _, key = name.partition(".")
    if group == "metrics":
        return in_ms(observed.metrics_ns().get(key))
    if group == "bound_ns":
        assert isinstance(observed, TurnObservation)
        return observed.bound_ns(CATALOGUE[key])
    if key:
        return getattr(observed, group).get(key)
    if hasattr(observed, name):
        return getattr(observed, name)
    if name.endswith("_ms"):
        return in_ms(getattr(observed, f"{name.removesuffix('_ms')}_ns"))
    return after_ms(observed.instants[name]) if name in observed.instants else None


QUESTIONS: dict[str, Callable[[Timeline], Any]] = {
    "all_over": lambda timeline: timeline.turns.are_all_over,
    "session_over": lambda timeline: timeline.is_over,
    "idle": lambda timeline: waits.until_service_idle(timeline, 0) is None,
    "awaits_event": lambda timeline: waits.until_expected_events(timeline, 0) is not None,
    "wakes": lambda timeline: after_ms(timeline.next_deadline_ns),
    "plays_until": lambda timeline: after_ms(timeline.playback_ends_ns),
}
SILENT = DeliverTurn | ReportUsage | MeasureNetwork
"""The actions that a line `actions` leaves out."""


def described(action: Action) -> str:
    return " ".join([type(action).__name__, *map(written, msgspec.structs.astuple(action))])


class Player:
    """A conversation that is played. `delivered` are the turns whose lines follow."""

    def __init__(self, case: Case) -> None:
        settings: dict[str, Any] = {name: value(word) for name, word in words_of(case.settings)}
        dialect = DIALECTS[settings.pop("dialect", "ga")]
        self.talk, self.delivered = Talk(dialect, **settings), list[TurnObservation]()
        for line in case.lines:
            if line.kind == "=":
                assert self.result(line) == line.text
            elif line.kind == ">":
                act(self.talk, line.at_ms, line.text)
            else:
                self.hear(line)
        assert self.delivered == [], "a turn was delivered that the log does not name"

    def hear(self, line: Line) -> None:
        for text in line.text.split(" | "):
            came = messages(self.talk, text)
            self.talk.hear(line.at_ms, *came, error_ns=line.error_ns, kernel=line.by_kernel)

    def result(self, line: Line) -> str:
        """Return what a line should be."""
        (_, subject), *others = words_of(line.text)
        names = [name for name, _ in others if name]
        match subject:
            case "turn":
                self.delivered = self.delivered or self.talk.take(line.at_ms)
                self.turn = self.delivered.pop(0)
                return listed(
                    f"turn {self.turn.turn} {self.turn.outcome}",
                    {name: fact(self.turn, name) for name in names},
                )
            case "session":
                session = self.talk.timeline.session()
                found = {name: fact(session, name) for name in names}
                return listed(f"session {session.outcome}".rstrip(), found)
            case "instants":
                return listed(
                    subject, {k: after_ms(v) for k, v in self.turn.instants.items()}, names
                )
            case "metrics":
                return listed(
                    subject, {k: in_ms(v) for k, v in self.turn.metrics_ns().items()}, names
                )
        return f"{subject} {self.answer(subject, line.at_ms)}"

    def answer(self, question: str, at_ms: float) -> str:
        """Return what is true of the session at this instant."""
        timeline = self.talk.timeline
        match question:
            case "turns":
                self.delivered += self.talk.take(at_ms)
                return "some" if self.delivered else "-"
            case "actions":
                due = helpers.due_actions(timeline, at(at_ms))
                self.delivered += [
                    each.turn for each in due if isinstance(each, inputs.DeliverTurn)
                ]
                shown = [each for each in due if not isinstance(each, SILENT)]
                return (
                    " | ".join(
                        " ".join(
                            [type(each).__name__, *map(written, msgspec.structs.astuple(each))]
                        )
                        for each in shown
                    )
                    or "-"
                )
            case "deadline":
                deadline = self.talk.deadline()
                return f"{written(after_ms(deadline[0]))} {deadline[1]}" if deadline else "-"
        return written(QUESTIONS[question](timeline))


def listed(head: str, found: dict[str, Any], order: list[str] | None = None) -> str:
    """Return a line of facts, those of `order` first."""
    first = {name: found[name] for name in order or () if name in found}
    return " ".join([head, *(f"{name}={written(fact)}" for name, fact in (first | found).items())])
