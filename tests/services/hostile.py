"""Servers that break every rule, for tests of dialects with messages of their own."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bench.wire.dialect import BinaryMessage
from tests.attack.cases import unescaped
from tests.examples import some
from tests.helpers import MS, S, closing, say
from tests.memory_transport import PeerAnswer
from tests.observe.talk_log import cases
from tests.services.talk import Talk, interrupted_by_speech, speak
from tests.sessions.session_log import FOLDER, Peer, compiled, has, name_of

SEEDS = some([range(first, first + 20) for first in range(0, 200, 20)], 3)
"""The seeds of the hostile servers: a test plays several."""
LONGEST_S = 600
"""The longest time that a session may need, on its virtual clock."""
TABLE = Path(__file__).with_name("hostile_messages.txt").read_text(encoding="utf-8")


def hostile_messages(service: str) -> list[bytes]:
    """Return the messages of the table that no service has, and those of a service."""
    found = list[bytes]()
    for section in ("any", service):
        lines = TABLE.partition(f"[{section}]\n")[2].partition("\n\n")[0].splitlines()
        for form, _, text in (line.partition(" ") for line in lines):
            data = unescaped(text)
            found.append(BinaryMessage(data) if form == "binary" else data)
    return found


def hostile_server(
    seed: int,
    messages: Sequence[bytes],
    reply: Sequence[PeerAnswer],
    set_up: Callable[[bytes], Iterable[PeerAnswer]],
    is_audio: Callable[[bytes], bool],
) -> Callable[[bytes], Iterable[PeerAnswer]]:
    """Return a server that answers with hostile messages, among them a part of a good reply.

    `set_up` yields the answer to a message that sets up the session, which is usually sent.
    """
    rng, left = random.Random(seed), 400

    def hostile() -> Iterable[PeerAnswer]:
        nonlocal left
        for number in range(min(left, rng.randrange(1, 30))):
            left -= 1
            chosen = seed % len(messages) if number == 0 else rng.randrange(len(messages))
            yield rng.randrange(2_000) * MS, messages[chosen]
        if rng.random() < 0.5:
            yield from reply
        if rng.random() < 0.1:
            yield closing(
                rng.randrange(5_000) * MS,
                rng.choice([1000, 1002, 1007, 1008, 1011]),
                "why" * rng.randrange(9),
            )

    def answer(message: bytes) -> Iterable[PeerAnswer]:
        if rng.random() < 0.95:
            yield from set_up(message)
        if rng.random() < (0.02 if is_audio(message) else 1):
            yield from hostile()

    return answer


class HostileService:
    """A service that breaks the rules by the messages of its table, among those of its log.

    In the first session of the log, the first answer confirms the settings, if the service does
    that, and the last one is a good reply.
    """

    def __init__(self, name: str) -> None:
        log = FOLDER / f"{name.replace('-', '_')}.log"
        peers = [Peer(case, name) for case in cases(log).values()]
        said = [each for peer in peers for answer in peer.answers for _, each in peer.said(answer)]
        self.name, self.greeting = name, peers[0].greeting
        self._first, self._last = peers[0].answers[0], peers[0].answers[-1]
        self._said = peers[0].said
        known = [each for each in said if isinstance(each, bytes)]
        self.messages = [*hostile_messages(name), *dict.fromkeys(known)]

    def play(self, seeds: range, tmp_path: Path) -> None:
        """Play a session for each seed. Each ends with an outcome, in bounded time."""
        detection = {"turn_detection": "server_vad", "input_transcription": "any"}
        reply = list(self._said(self._last))
        for seed in seeds:
            folder = tmp_path / str(seed)
            folder.mkdir()
            steps = [(say(), say("again")), (speak(), say()), interrupted_by_speech(100)][seed % 3]
            given = {"dialect": self.name, "session": detection, "functions": [{}]}
            peer = hostile_server(seed, self.messages, reply, self._answer, is_audio)
            ended = Talk(folder, compiled(steps, given), peer, self.greeting if seed % 20 else ())

            assert ended.session.outcome
            assert all(turn.outcome for turn in ended.turns)
            assert ended.transport.now_ns() - 1_000 * S < LONGEST_S * S
            assert (folder / "log.jsonl").read_bytes().count(b"\n") > 1

    def _answer(self, sent: bytes) -> Iterable[PeerAnswer]:
        if self._first is not self._last and has(sent, self._first.key):
            yield from self._said(self._first)


def is_audio(sent: bytes) -> bool:
    return name_of(sent) in {"audio", "audioInput"}
