"""The random choices that differ between sessions of a script.

The choices depend only on the run's seed and the session's number. They are the recording that a
turn plays, the pause in its speech, the delay of a function call, and think times, which are the
caller's silences. A script's variables are the rows of a table. A session uses one row, whose
values replace the variables in the script's texts.
"""

# A session is identified by its number among the sessions of its script. Its choices depend on
# nothing else but the seed: not on the process that runs it, the target, or the other sessions. So
# the sessions of a pair have the same words and pauses, a run can be repeated, and one with more
# processes has the same sessions. Each kind of choice has a generator of its own. So another pause
# in a script does not change which recordings its sessions play.

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist, fmean

import numpy as np

from bench.base.errors import ScriptError, UsageError
from bench.base.units import NS_PER_S
from bench.files.safe_io import read_named
from bench.files.sanitize import excerpt
from bench.files.yaml_file import read_text

MAX_PAUSE_S = 3_600.0
"""The maximum duration of a pause in a script, in seconds. It applies to fixed pauses and to
random pauses."""
PAUSES = 2
DELAYS = 3
NAMES = 4
SPEECH_PAUSES = 5
PATIENCE = 6
RING = 7
SHARES = 8
"""Numbers that are appended to the seed, so that kinds of choices are independent.
`bench.load.execution.pairs` uses the number 1."""
GOLDEN_RATIO_STEP = (5**0.5 - 1) / 2
"""The step whose multiples, modulo 1, are evenly distributed for any count."""
_SECONDS = re.compile(r"([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class LogNormalTimes:
    """Think times with a log-normal distribution.

    `median_s` is the median of the think times. `sigma` is the standard deviation of their natural
    logarithm. A think time longer than `most_s` is reduced to `most_s`. It is not drawn again,
    because that would lower the median, and would change later draws of the session.
    """

    median_s: float
    sigma: float
    most_s: float = MAX_PAUSE_S

    @property
    def mean_s(self) -> float:
        """The expected value of the think times in seconds. It takes the limit `most_s` into
        account.
        """
        if self.sigma == 0:
            return self.median_s
        normal = NormalDist()
        max_z = math.log(self.most_s / self.median_s) / self.sigma
        below_s = self.median_s * math.exp(self.sigma**2 / 2) * normal.cdf(max_z - self.sigma)
        return below_s + self.most_s * normal.cdf(-max_z)

    def draw_s(self, generator: np.random.Generator) -> float:
        """Draw the duration of one pause, in seconds."""
        return min(self.median_s * math.exp(self.sigma * generator.standard_normal()), self.most_s)


@dataclass(frozen=True)
class RecordedTimes:
    """Think times from a file, with its SHA-256 in hex, drawn at random.

    In the file's order, sessions that start together would have neighbouring think times.
    """

    path: Path
    digest: str
    seconds: tuple[float, ...]

    @property
    def mean_s(self) -> float:
        """The mean of all think times in the file, in seconds."""
        return fmean(self.seconds)

    def draw_s(self, generator: np.random.Generator) -> float:
        """Draw the duration of one pause, in seconds."""
        return self.seconds[generator.integers(len(self.seconds))]


ThinkTime = LogNormalTimes | RecordedTimes


def load_think_times(path: Path) -> RecordedTimes:
    """Read a file of think times: a number of seconds on each line, except comments (`#`) and blank
    lines.

    Raise ScriptError with the line for anything else, and ScriptError for a file without a number.
    """
    text = read_text(path, (".txt",))
    seconds = tuple(_numbers(path, text))
    if not seconds:
        raise ScriptError(path, None, "has no line with a number of seconds")
    return RecordedTimes(path, hashlib.sha256(text.encode()).hexdigest(), seconds)


def _numbers(path: Path, text: str) -> Iterator[float]:
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        source_text = line.partition("#")[0].strip()
        if not source_text:
            continue
        if not _SECONDS.fullmatch(source_text) or float(source_text) > MAX_PAUSE_S:
            allowed = f"a number of seconds from 0 to {MAX_PAUSE_S:g}"
            raise ScriptError(path, number, f"must be {allowed}, not {excerpt(source_text)}")
        yield float(source_text)


class SessionChoices:
    """The random choices of session `number` (from 0, over all processes), drawn in the order of
    its steps.
    """

    def __init__(self, seed: int, number: int) -> None:
        self._seed = seed
        self.number = number
        self._speech_pauses = 0
        self._generators: dict[tuple[int, ...], np.random.Generator] = {}

    def recording(self) -> int:
        """Draw a number, modulo which a turn selects its recording. Draw one also for a turn
        without recordings.
        """
        return int(self._generator().integers(1 << 30))

    def speech_pause(self, count: int) -> int:
        """Return which of `count` pauses the speech of a turn has.

        Each `count` sessions use each pause once in this turn, in random order. Other turns of
        these sessions use the same order from other places. Thus few sessions use most pauses, and
        none of them much more often than others.
        """
        block, place = divmod(self.number, count)
        place += round(self._speech_pauses * GOLDEN_RATIO_STEP * count)
        self._speech_pauses += 1
        order = np.random.default_rng([self._seed, block, SPEECH_PAUSES]).permutation(count)
        return int(order[place % count])

    def pause_ns(self, length: ThinkTime) -> int:
        """Draw the duration of a pause in ns, from the distribution `length`."""
        return round(length.draw_s(self._generator(PAUSES)) * NS_PER_S)

    def delay_ns(self, delay: float | ThinkTime) -> int:
        """Return the delay of a function call in ns. `delay` is a time in seconds, or the
        distribution to draw from.
        """
        seconds = delay if isinstance(delay, float | int) else delay.draw_s(self._generator(DELAYS))
        return round(seconds * NS_PER_S)

    def patience_s(self, patience: float | ThinkTime) -> float:
        """Return the patience of the caller in seconds, or draw it from its distribution."""
        if isinstance(patience, float | int):
            return patience
        return round(patience.draw_s(self._generator(PATIENCE)), 3)

    def ring_ns(self, ring: float | ThinkTime) -> int:
        """Return how long a line rings, or draw it from its distribution."""
        seconds = ring if isinstance(ring, float | int) else ring.draw_s(self._generator(RING))
        return round(seconds * NS_PER_S)

    def share_of(self, shares: Mapping[str, float]) -> str:
        """Draw a name, with these chances. Any number of sessions has nearly these shares."""
        first = np.random.default_rng([self._seed, SHARES]).random()
        left = (first + self.number * GOLDEN_RATIO_STEP) % 1 * sum(shares.values())
        for name, share in shares.items():
            left -= share
            if left < 0:
                return name
        return next(name for name in reversed([*shares]) if shares[name])

    def one_of(self, names: Sequence[str]) -> str:
        """Draw a name, with equal chances. Of a single name, draw nothing."""
        return (
            names[0] if len(names) == 1 else names[int(self._generator(NAMES).integers(len(names)))]
        )

    def _generator(self, *stream: int) -> np.random.Generator:
        """Return the random generator for one kind of choices. It is created when it is first
        used.
        """
        if stream not in self._generators:
            self._generators[stream] = np.random.default_rng([self._seed, self.number, *stream])
        return self._generators[stream]


LISTED = 200
"""The maximum length, in characters, of a list of names in an error."""
_NAME = re.compile(r"[^${}]+")
_PLACE = re.compile(rf"(\$+)\{{({_NAME.pattern})\}}")


@dataclass(frozen=True)
class VariableRows:
    """The rows of a file of variables. All rows have the same names. `digest` is the SHA-256 of
    the file, in hex.
    """

    path: Path
    digest: str
    rows: tuple[Mapping[str, str], ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.rows[0])


def fill_variables(text: str, row: Mapping[str, str]) -> str:
    """Return a text with the values of each `${name}`. `$$` before a brace is `$`. Raise
    UsageError for other names.
    """

    def value(match: re.Match[str]) -> str:
        dollars, name = match.groups()
        if len(dollars) % 2 == 0:
            return f"{'$' * (len(dollars) // 2)}{{{name}}}"
        if name not in row:
            raise UsageError(unknown_name(name, row))
        return "$" * (len(dollars) // 2) + row[name]

    return _PLACE.sub(value, text)


def names_in(text: str) -> set[str]:
    """Return the names of the variables in a text."""
    return {name for dollars, name in _PLACE.findall(text) if len(dollars) % 2}


def unknown_name(name: str, names: Iterable[str]) -> str:
    """Return the error text for a `${name}` in a text, if `name` is not one of the variables
    `names`.
    """
    known = excerpt(", ".join(names), LISTED)
    name = excerpt(name)
    return (
        f"contains ${{{name}}}, but the variables are only {known} (for the literal text write"
        f" $${{{name}}})"
    )


def load_rows(path: Path) -> VariableRows:
    """Read the rows of a .csv file, whose first line has the names, or of a .jsonl file, whose
    lines are objects.

    Raise UsageError with the file if there is no row, and with file and line if a row lacks a
    value.
    """
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise UsageError(f"{path}: is not a .csv or .jsonl file, as variables must be")
    content = read_named(path, _READERS)
    rows = tuple(read(path, text_of(path, content)))
    if not rows:
        raise UsageError(f"{path}: has no row of variables")
    return VariableRows(path, hashlib.sha256(content).hexdigest(), rows)


def text_of(path: Path, content: bytes) -> str:
    """Return the text of a file. Raise UsageError, with the line, if it is not UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refusal(path, content.count(b"\n", 0, error.start) + 1, "is not UTF-8 text") from None


OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
"""What other programs write between the cells of a .csv file, each with its name."""


def csv_rows(
    path: Path, text: str, optional: Collection[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (number of its last line, values by name) of each row. Only `optional` names may have
    no value. Raise UsageError.
    """
    lines = _csv_lines(path, text)
    number, names = next(lines, (1, []))
    others = [mark for mark in OTHER_SEPARATORS if mark in "".join(names)]
    if others:
        shown = OTHER_SEPARATORS[others[0]]
        raise refusal(
            path,
            number,
            f"has the name {_quoted(''.join(names))}: separate cells by commas, not by {shown}",
        )
    _check_names(path, number, names)
    for number, cells in lines:
        if len(cells) != len(names):
            raise refusal(
                path, number, f"must have {len(names)} cells, one for each name, not {len(cells)}"
            )
        row = dict(zip(names, cells, strict=True))
        _checked_row(path, number, {name: row[name] for name in row if name not in optional})
        yield number, row


def _csv_lines(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of the last line, cells) of each row that is not empty."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        yield from (
            (reader.line_num, [cell.strip() for cell in cells]) for cells in reader if cells
        )
    except csv.Error as error:
        raise refusal(path, reader.line_num, f"is not CSV: {error}") from None


def _jsonl_rows(path: Path, text: str) -> Iterator[dict[str, str]]:
    names = None
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            row = _json_row(path, number, line)
            if names is None:
                names = list(row)
                _check_names(path, number, names)
            if row.keys() != set(names):
                raise refusal(
                    path,
                    number,
                    f"has the names {_listed(row)}, the first row has {_listed(names)}",
                )
            yield _checked_row(path, number, row)


def _json_row(path: Path, number: int, line: str) -> dict[str, str]:
    """Return the object on one line of a .jsonl file. Numbers stay as they are written in the
    file.
    """
    try:
        pairs = json.loads(
            line,
            object_pairs_hook=tuple,
            parse_int=str,
            parse_float=str,
            parse_constant=lambda name: [name],
        )
    except (ValueError, RecursionError):
        raise refusal(path, number, "is not JSON") from None
    # arrays are lists; a dict would have only one of two equal names
    if not isinstance(pairs, tuple):
        raise refusal(path, number, 'must be an object, as in {"name": "Ada"}')
    for name, value in pairs:
        if not isinstance(value, str):
            raise refusal(path, number, f"must have text or a number for {_quoted(name)}")
    _check_names(path, number, [name for name, _ in pairs])
    return {name: value.strip() for name, value in pairs}


def _check_names(path: Path, number: int, names: list[str]) -> None:
    if not names:
        raise refusal(path, number, "has no names")
    for name in names:
        if not _NAME.fullmatch(name) or not name.isprintable():
            raise refusal(
                path, number, f"has the name {_quoted(name)}; a name is text without $, {{ and }}"
            )
        if names.count(name) > 1:
            raise refusal(path, number, f"has the name {_quoted(name)} twice")


def _checked_row(path: Path, number: int, row: dict[str, str]) -> dict[str, str]:
    for name, value in row.items():
        if not value:
            raise refusal(path, number, f"has no value for {_quoted(name)}")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise refusal(
                path, number, f"must have Unicode text, without surrogates, for {_quoted(name)}"
            )
    return row


def refusal(path: Path, number: int, problem: str) -> UsageError:
    return UsageError(f"{path}:{number}: {problem}")


def _listed(names: Iterable[str]) -> str:
    return excerpt(", ".join(map(_quoted, names)), LISTED) or "none"


def _quoted(name: str) -> str:
    return repr(excerpt(name))


_READERS = {
    ".csv": lambda path, text: (row for _, row in csv_rows(path, text)),
    ".jsonl": _jsonl_rows,
}
