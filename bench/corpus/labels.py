"""The labels of recordings: a CSV with a row for each file, and the checks of all labels against
the audio.
"""

import locale
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from bench.base.errors import Mistakes, UsageError
from bench.base.suggestions import did_you_mean
from bench.files.safe_io import read_named
from bench.files.sanitize import excerpt
from bench.plan.random_choices import csv_rows, refusal, text_of
from bench.plan.recordings import RATE_HZ, Pcm, SpeechSpan, load_pcm

REQUIRED = ("file", "end_s")
OPTIONAL = ("start_s", "pauses_s", "language")
COLUMNS = (*REQUIRED, *OPTIONAL)
LANGUAGES = frozenset(
    code for name in locale.locale_alias if len(code := re.split("[_.@]", name)[0]) in (2, 3)
)
"""The ISO 639 codes of the languages that Python knows."""
NO_LANGUAGE = "turns"
"""The name of the group of recordings without a language."""
MAX_S = 1e6
ROUNDING_S = 0.01
"""The maximum time by which a label may be after the end of its file: labels are rounded."""
_PAUSE = re.compile(r"(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)")


class Label(NamedTuple):
    """The label of a recording, in seconds. `where` is its place, for errors. `start_s` is None if
    the start of the speech is to be detected.
    """

    where: str
    file: Path
    language: str
    end_s: float
    pauses_s: tuple[tuple[float, float], ...] = ()
    start_s: float | None = None


@dataclass(frozen=True)
class LabelledTurn:
    """A recording whose `speech` is that of its label. `after_s` is the time of sound that was
    detected after the labelled end.
    """

    file: Path
    language: str
    speech: SpeechSpan
    after_s: float


def read_csv(path: Path) -> list[Label]:
    """Read a CSV of labels. Raise UsageError with all mistakes in it, each with its line."""
    mistakes = Mistakes()
    labels = list[Label]()
    lines: dict[Path, int] = {}
    for number, row in csv_rows(path, text_of(path, read_named(path, (".csv",))), OPTIONAL):
        if not lines:
            _check_columns(path, row)
        with mistakes.gather():
            label = _label(path, number, row)
            first = lines.setdefault(label.file.resolve(), number)
            if first != number:
                raise refusal(
                    path,
                    number,
                    f"names the file of line {first} again: keep one row for each file",
                )
            labels.append(label)
    mistakes.refuse()
    if not labels:
        raise UsageError(f"{path}: has no row: write one for each recording, below the names")
    return labels


def _check_columns(path: Path, names: Iterable[str]) -> None:
    names = list(names)
    for name in names:
        if name not in COLUMNS:
            raise refusal(
                path,
                1,
                f"has the unknown column {excerpt(name)!r}{did_you_mean(name, COLUMNS)}"
                f" (allowed: {', '.join(COLUMNS)})",
            )
    for name in REQUIRED:
        if name not in names:
            raise refusal(path, 1, f"has no column {name}: add it")


def _label(path: Path, number: int, row: dict[str, str]) -> Label:
    def seconds(name: str, text: str) -> float:
        if not re.fullmatch(r"\d+(\.\d+)?", text):
            raise refusal(
                path, number, f"{name} must be seconds, as in 2.35, not {excerpt(text)!r}"
            )
        return float(text)

    pauses = list[tuple[float, float]]()
    for text in row.get("pauses_s", "").split():
        pause = _PAUSE.fullmatch(text)
        if pause is None:
            raise refusal(
                path,
                number,
                "pauses_s must be the start and the end of each pause, separated by spaces, as in"
                f" 0.82-1.31 2.4-2.95, not {excerpt(text)!r}",
            )
        pauses.append((float(pause[1]), float(pause[2])))
    language = row.get("language") or NO_LANGUAGE
    if language != NO_LANGUAGE and not is_language(language):
        raise refusal(
            path,
            number,
            f"language {excerpt(language)!r} is unknown: write an ISO 639 code, as in en or pt-BR",
        )
    start = row.get("start_s")
    return Label(
        f"{path}:{number}",
        path.parent / row["file"],
        language,
        seconds("end_s", row["end_s"]),
        tuple(pauses),
        seconds("start_s", start) if start else None,
    )


def is_language(text: str) -> bool:
    """Return whether a text is the code of a known language, with or without further parts."""
    code, *further = text.split("-")
    return code in LANGUAGES and all(re.fullmatch("[A-Za-z0-9]{2,8}", part) for part in further)


def checked(labels: Iterable[Label]) -> list[LabelledTurn]:
    """Return the recordings of labels. Raise UsageError with all labels that do not fit their
    audio.
    """
    mistakes = Mistakes()
    turns = list[LabelledTurn]()
    for label in labels:
        with mistakes.gather():
            turns.append(labelled_turn(label))
    mistakes.refuse()
    return turns


def labelled_turn(label: Label) -> LabelledTurn:
    """Return the recording of a label. Raise UsageError if the label does not fit the audio."""
    seconds = (label.end_s, label.start_s or 0.0, *chain.from_iterable(label.pauses_s))
    if not all(0 <= each <= MAX_S for each in seconds):  # nor NaN
        raise UsageError(f"{label.where}: a label is not from 0 to {MAX_S:,.0f} s")
    try:
        pcm = load_pcm(label.file)
    except UsageError as error:
        raise UsageError(f"{label.where}: {error}") from None
    speech = _speech(label, pcm)
    if problem := speech.problem(pcm):
        raise UsageError(f"{label.where}: the speech {problem}: write it in seconds of the file")
    return LabelledTurn(
        label.file, label.language, speech, max(0, pcm.speech.end - speech.end) / RATE_HZ
    )


def _speech(label: Label, pcm: Pcm) -> SpeechSpan:
    pauses = tuple((round(a * RATE_HZ), round(b * RATE_HZ)) for a, b in label.pauses_s)
    end = round(label.end_s * RATE_HZ)
    if pcm.samples < end <= pcm.samples + ROUNDING_S * RATE_HZ:
        end = pcm.samples
    if label.start_s is not None:
        return SpeechSpan(round(label.start_s * RATE_HZ), end, pauses)
    return SpeechSpan(min([pcm.speech.begin, *(begin for begin, _ in pauses)]), end, pauses)
