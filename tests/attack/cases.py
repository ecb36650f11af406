"""The form of a hostile case, which all tables of them have, and what each case must satisfy.

    [section]

    the name of the case
        what the peer does
        what it does next
        the outcome, and a part of its text

A line of what it does is a verb and the rest of its line. Texts are escaped as in Python, `x{9}`
and `(xyz){9}` are repetitions.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from bench.files.sanitize import escape_control
from tests.simulator_process import GUARD_S, LONGER_S

CASE = re.compile(r"^([^#\s[].*)\n((?:    .+\n)+)    (\S+) ?(.*)$", re.MULTILINE)
WORD = re.compile(r"(?:(\w+)=)?(?:'([^']*)'|(\S+))")
MAX_TEXT_CHARACTERS = 1_000
WORKS = "goes", ""
"""The outcome and the text of a call that works after all that its peer has done."""
HostT = TypeVar("HostT", bound="HostileHost")


class HostileCase(NamedTuple):
    """What a peer does, as its verbs return it, the outcome, and a part of the text of this
    outcome.
    """

    steps: list[Any]
    outcome: str
    detail: str


def unescaped_text(text: str) -> str:
    """Return a text of a table, whose characters are at most those of Latin-1 or escaped."""
    for repeated in (r"\(([^()]*)\)\{(\d+)\}", r"(\\x..|[^\\])\{(\d+)\}"):
        text = re.sub(repeated, lambda found: found[1] * int(found[2]), text)
    return text.encode("ascii").decode("unicode_escape")


def unescaped(text: str) -> bytes:
    """Return the bytes of a message of a table."""
    return unescaped_text(text).encode("latin-1")


def hostile_cases(
    table: Path, section: str, verbs: Mapping[str, Callable[[str], Any]]
) -> dict[str, HostileCase]:
    """Return the cases of a section by their names. `verbs` are functions of the rest of a line."""
    text = table.read_text(encoding="utf-8").partition(f"[{section}]\n")[2]
    found = dict[str, HostileCase]()
    for name, lines, outcome, detail in CASE.findall(re.split(r"^\[", text, flags=re.MULTILINE)[0]):
        steps = [line.strip().partition(" ") for line in lines.splitlines()]
        found[name] = HostileCase([verbs[verb](rest) for verb, _, rest in steps], outcome, detail)
    return found


def worded(act: Callable[..., Any]) -> Callable[[str], Any]:
    """Return the verb whose words are the arguments of a function: numbers, 'texts', name=value,
    and names that are true.
    """

    def called(words: str) -> Any:
        texts, named = list[Any](), dict[str, Any]()
        for key, quoted, bare in WORD.findall(words):
            value = int(bare) if bare.isdigit() else bare or unescaped_text(quoted)
            if key:
                named[key] = value
            elif bare and not bare.isdigit() and bare.islower():
                named[bare] = True
            else:
                texts.append(value)
        return act(*texts, **named)

    return called


def by_name(*acts: Callable[..., Any]) -> dict[str, Callable[[str], Any]]:
    """Return the verbs of functions of their words, by the names of the functions."""
    return {act.__name__: worded(act) for act in acts}


def plain(*acts: Callable[..., Any]) -> dict[str, Callable[[str], Any]]:
    """Return the verbs without words: what a peer does, by the names of the functions."""
    return {act.__name__: lambda _, act=act: act for act in acts}  # type: ignore[misc]


# The peers, and their calls.


class PeerEndsError(Exception):
    """The end of the test, for the thread of a peer."""


class HostileHost:
    """The threads of hostile peers. The first error of a thread is the error of the test, except
    one of `ignored`.
    """

    ignored: tuple[type[BaseException], ...] = (PeerEndsError,)

    def __init__(self) -> None:
        self.ends = threading.Event()
        self._errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def start(self, work: Callable[[], object]) -> None:
        def guarded() -> None:
            try:
                work()
            except self.ignored:
                pass
            except BaseException as error:
                self._errors.append(error)

        self._threads.append(threading.Thread(target=guarded, daemon=True))
        self._threads[-1].start()

    def close(self) -> None:
        """Let the threads end, and close the sockets."""
        self.ends.set()
        for thread in self._threads:
            thread.join(GUARD_S)

    def check(self) -> None:
        for error in self._errors:
            raise error


@contextmanager
def serving(host: HostT) -> Iterator[HostT]:
    try:
        yield host
    finally:
        host.close()
    host.check()


def assert_safe(*texts: str) -> None:
    for text in texts:
        assert text == escape_control(text)
        assert len(text) <= MAX_TEXT_CHARACTERS


def assert_outcome(case: HostileCase, call: Callable[[float], tuple[str, str]]) -> None:
    """Call a peer, and check the outcome and its text. `call` gets a limit in s: a short one if the
    case is a timeout, and longer ones if a busy machine was too slow for it.
    """
    for limit_s in LONGER_S if case.outcome.startswith("timeout") else (GUARD_S,):
        outcome, text = call(limit_s)
        if outcome == case.outcome:
            break
    assert (outcome, text) == (case.outcome, text)
    assert case.detail in text
    assert_safe(text)
