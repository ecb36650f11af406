"""Plays the sessions of this folder, whose form `README.md` describes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import msgspec

from bench.catalogue.timeouts import Timeouts
from bench.files.yaml_file import PythonValue
from bench.plan.compiled_script import CompiledScript
from bench.plan.conversation import History
from bench.plan.script import Script
from bench.plan.script_keys import SESSION
from bench.plan.steps import (
    ExpectSettings,
    ExpectStep,
    InterruptSettings,
    InterruptStep,
    MessageStep,
    PauseStep,
    SendStep,
)
from bench.plan.turn_plan import InterruptTrigger, TurnReference
from bench.plan.turns import Step
from bench.services.registry import DIALECTS, user_service
from bench.transport.fast.reader import COMPILED
from bench.wire.dialect import BinaryMessage, Dialect
from tests import helpers
from tests.helpers import MS, build_message, closing, respond, say
from tests.memory_transport import MatchingTransport, MemoryTransport, PeerAnswer
from tests.observe import talk_log
from tests.observe.talk_log import Case, at_path, called, fact, listed, value, words_of, written
from tests.services.message_log import FOLDER as MESSAGES
from tests.services.talk import LOUD, LOUD_PCM, Talk, parcels, speak

FOLDER = Path(__file__).parent
SOUND = re.compile(rb'"[\w+/=]{400,}"')
SILENCE = b'"AAAA'


def interrupt(after_ms: float = 0, *, spoken: bool = False, text: str = "") -> InterruptStep:
    """Return an interruption `after_ms` after the first sound of the reply, or at a word, by
    speech or by the client.
    """
    cue = InterruptTrigger(text=text) if text else InterruptTrigger(after_ns=round(after_ms * MS))
    audio, name = (speak().audio, "barge_in") if spoken else ((), "")
    return InterruptStep(InterruptSettings(audio=audio, cue=cue), name=name)


STEPS: dict[str, Callable[..., Step]] = {
    "say": say,
    "respond": respond,
    "play": helpers.play,
    "speak": speak,
    "interrupt": interrupt,
    "pause": PauseStep,
    "send": SendStep,
    "message": lambda text, role="user": MessageStep(build_message(text, role)),
    "expect": lambda event, within: ExpectStep(ExpectSettings(event, within)),
}


def step_of(text: str) -> Step:
    """Return the step of a line. `reference` and `transcript` are those of its turn."""
    name, arguments, named = called(text)
    changes = {key: named.pop(key) for key in ("reference", "transcript") if key in named}
    if "reference" in changes:
        given = changes["reference"]
        contains = tuple(given.pop("contains", ()))
        changes["reference"] = TurnReference(**given, contains=contains)
    if "transcript" in changes:
        changes["transcript"] = (changes["transcript"],)
    if "input" in named:
        named["input"] = tuple(map(build_message, named["input"]))
    step = STEPS[name](*arguments, **named)
    return replace(cast("Any", step), **changes) if changes else step


def compiled(steps: Iterable[Step], given: dict[str, Any]) -> CompiledScript:
    """Return a script with these steps. `given` has the words of a line `session`."""
    tools = tuple(replace(parcels(), **function) for function in given.pop("functions", ()))
    settings = SESSION.read(PythonValue("session", given.pop("session", {})))
    before = tuple(map(build_message, given.pop("history", ())))
    script = Script(
        name="talk",
        path=Path("talk.yaml"),
        digest="d1",
        session=msgspec.structs.replace(settings, tools=tuple(each.tool for each in tools)),
        timeouts=Timeouts(**given.pop("timeouts", {})),
        steps=tuple(steps),
        tools=tools,
        history=History(Path("h.jsonl"), "d2", before) if before else None,
        **{key: given.pop(key) for key in ("pipelined",) if key in given},
    )
    return CompiledScript(script, dialect_named(given.pop("dialect", "ga")))


def dialect_named(name: str) -> Dialect:
    """Return the dialect of this tool with a name, or that of a protocol file of the tests."""
    return DIALECTS[name] if name in DIALECTS else user_service(MESSAGES / f"{name}.yaml").dialect


def has(message: bytes, key: str) -> bool:
    """Return whether a message has a key, or a value, with this text; `sound` is audio that is
    no silence.
    """
    if key == "sound":
        is_silent = not any(message) if isinstance(message, BinaryMessage) else SILENCE in message
        return not is_silent and (isinstance(message, BinaryMessage) or bool(SOUND.search(message)))
    return not isinstance(message, BinaryMessage) and f'"{key}"'.encode() in message


def name_of(message: bytes) -> str:
    """Return the name of a client message."""
    if isinstance(message, BinaryMessage):
        return "audio"
    body = msgspec.json.decode(message)
    body = body[-1] if isinstance(body, list) else body
    body = body.get("realtimeInput", body.get("event", body))
    return str(body["type"]) if "type" in body else next(iter(body))


@dataclass
class Answer:
    """The messages with which a service answers each message, or the next one, that has `key`.
    `count` is which of them.
    """

    key: str
    count: int
    is_repeated: bool
    texts: list[tuple[float, str]] = field(default_factory=list)


class Peer:
    """The service of a case: its greeting, and its answers to messages of the client."""

    def __init__(self, case: Case, dialect: str) -> None:
        self.words: Any = _Words(dialect_named(dialect))
        self.heard, self.answered = Counter[str](), Counter[str]()
        greeting = Answer("", 0, is_repeated=False)
        self.answers = [greeting]
        for line in case.lines:
            word, _, others = line.text.partition(" ")
            if line.kind == "<" and word in {"on", "each"}:
                key, count = re.findall(r"^(.+?)(?: (\d+))?$", others)[0]
                self.answers.append(Answer(key, int(count or 1), word == "each"))
            elif line.kind == "<":
                self.answers[-1].texts.append((line.at_ms, line.text))
        self.greeting = list(self.said(self.answers.pop(0)))

    def __call__(self, message: bytes) -> Iterator[PeerAnswer]:
        answer = next((each for each in self.answers if has(message, each.key)), None)
        if answer is None:
            return
        self.heard[answer.key] += 1
        if self.heard[answer.key] < answer.count:
            return
        self.heard[answer.key] = 0
        self.answered[answer.key] += 1
        if not answer.is_repeated:
            self.answers.remove(answer)
        yield from self.said(answer)

    def said(self, answer: Answer) -> Iterator[PeerAnswer]:
        """Yield each message of an answer with its delay."""
        for at_ms, text in answer.texts:
            begun = re.match(r"every (\d+) ", text)
            at_ns, gap_ns = round(at_ms * MS), int(begun[1]) * MS if begun else 0
            for part in text[begun.end() if begun else 0 :].split(" | "):
                times = re.match(r"(\d+) times ", part)
                for _ in range(int(times[1]) if times else 1):
                    for message in self._messages(answer.key, part[times.end() if times else 0 :]):
                        yield at_ns, message
                        at_ns += gap_ns

    def _messages(self, key: str, text: str) -> list[Any]:
        text = text.replace("LOUD", LOUD).replace("{n}", str(self.answered[key]))
        if text == "binary":
            return [BinaryMessage(LOUD_PCM)]
        if text.startswith("{"):
            return [msgspec.json.encode(value(text))]
        if text.startswith("closed "):
            return [closing(0, *called(text)[1])[1]]
        return talk_log.messages(self.words, text)


@dataclass
class _Words:
    """What the words of a service need of a talk."""

    dialect: Any


class Player:
    """A session that is played. Its replay, and a connection that matches deltas, have the same
    turns.
    """

    def __init__(self, case: Case, folder: Path, given: dict[str, Any]) -> None:
        ends_ms, dialect = given.pop("ends_ms", None), given.get("dialect", "ga")
        script = compiled([step_of(line.text) for line in case.lines if line.kind == ">"], given)
        assert not given, f"unknown settings: {given}"

        def played(transport: type[MemoryTransport]) -> Talk:
            peer = Peer(case, dialect)
            return Talk(folder, script, peer, peer.greeting, ends_ms=ends_ms, transport=transport)

        matching = played(MatchingTransport)
        self.matched = cast("MatchingTransport", matching.transport).matched
        self.talk = played(MemoryTransport)
        assert matching.turns == self.talk.turns
        self.sent = [
            (at_ns, name_of(data), data)
            for at_ns, data in self.talk.transport.sent
            if name_of(data) not in {"audio", "audioInput"} or has(data, "sound")
        ]
        named = set[int]()
        for line in case.lines:
            if line.kind == "=":
                found = self.result(line.text, named)
                assert found == line.text, f"{found}, not {line.text}"
        assert named == {turn.turn for turn in self.talk.turns}, "the log does not name each turn"

    def result(self, text: str, named: set[int]) -> str:
        """Return what a line should be. Add the turns that it names to `named`."""
        subject, asked, facts = called(text)
        ordered = sorted(self.talk.turns, key=lambda turn: turn.turn)
        names, turns = list(facts), {turn.turn: turn for turn in ordered}
        match subject:
            case "turn" if asked[0] in turns:
                turn = turns[asked[0]]
                named.add(turn.turn)
                head = f"turn {turn.turn} {turn.outcome}"
                return listed(head, {name: fact(turn, name) for name in names}, names)
            case "turns":
                named |= set(turns)
                return " ".join(["turns", *([turn.outcome for turn in turns.values()] or ["-"])])
            case "session":
                session = self.talk.session
                head = f"session {session.outcome}"
                return listed(head, {name: fact(session, name) for name in names}, names)
            case "matched":
                enough = self.matched >= asked[0] or not COMPILED
                return text if enough else f"matched {self.matched}"
            case "sent":
                return " ".join(["sent", *(name for _, name, _ in self.sent)])
            case "sent_at":
                at_ms = (talk_log.after_ms(at) for at, _, data in self.sent if has(data, asked[0]))
                return " ".join(["sent_at", asked[0], *(map(written, at_ms))])
            case "message":
                number = asked[1] if len(asked) > 1 else 1
                found = [data for _, name, data in self.sent if name == asked[0]][number - 1]
                body = msgspec.json.decode(found)
                head = " ".join(map(str, ["message", *asked]))
                return listed(head, {name: at_path(body, name) for name in names}, names)
        return "nothing"


def play(case: Case, folder: Path) -> None:
    """Play a session in each of its dialects."""
    given = {name: value(word) for name, word in words_of(case.settings)}
    dialects = given.pop("dialect", "ga")
    for dialect in dialects if isinstance(dialects, list) else [dialects]:
        Player(case, folder, given | {"dialect": dialect})
