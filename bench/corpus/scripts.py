"""The scripts of labelled recordings: one for each language. Each session plays one turn, because
an early reply to a turn may continue into the next one.
"""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os.path import relpath
from pathlib import Path
from typing import Any

from bench.base.errors import UsageError
from bench.corpus.labels import Label, LabelledTurn, checked, read_csv
from bench.files.yaml_file import yaml_text
from bench.plan.recordings import RATE_HZ

CHUNK_MS = 20
STEP = "turn"
PARQUET = ".parquet"
MAX_RECORDINGS = 300
"""The maximum number of recordings of all scripts. Each process has them in memory: ten seconds are
0.5 MB, and 0.6 MB more for each setting of a sweep."""
AFTER_S = 0.5
"""The time of sound after the labelled end from which a label is in doubt."""


@dataclass(frozen=True)
class Corpus:
    """The scripts of an import, with the recordings of each. `left_out` has the number of
    recordings that no script plays, by the reason.
    """

    scripts: dict[Path, Sequence[LabelledTurn]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def doubtful(self) -> list[LabelledTurn]:
        """The recordings with sound after the labelled end."""
        return [turn for turns in self.scripts.values() for turn in turns if turn.after_s > AFTER_S]


def import_corpus(path: Path, folder: Path, session: Mapping[str, Any]) -> Corpus:
    """Write a script for each language of labelled recordings into `folder`. Raise UsageError.

    `path` is a CSV, a Parquet file, or a folder with either. `session` has the settings of the
    sessions.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(
            f"{folder} has files: name a new folder, as in rtbench init corpus --labels"
        )
    try:
        return _imported(path, folder, session)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _imported(path: Path, folder: Path, session: Mapping[str, Any]) -> Corpus:
    corpus = Corpus()
    languages: dict[str, list[Label]] = {}
    for label in _labels(path, folder, corpus.left_out):
        languages.setdefault(label.language, []).append(label)
    limit = MAX_RECORDINGS // max(1, len(languages))
    chosen = {language: _evenly(labels, limit) for language, labels in languages.items()}
    for language, labels in languages.items():
        if rest := len(labels) - len(chosen[language]):
            corpus.left_out[f"more than {limit} in {language}"] = rest
    turns = checked(label for labels in chosen.values() for label in labels)
    for language in chosen:
        own = [turn for turn in turns if turn.language == language]
        corpus.scripts[_written(folder, language, own, path, session)] = own
    if not corpus.scripts:
        raise UsageError(f"{path}: has no turn that can be played")
    return corpus


def _labels(path: Path, folder: Path, left_out: Counter[str]) -> Iterable[Label]:
    files = [path]
    if path.is_dir():
        kinds = (sorted(path.glob(f"*{suffix}")) for suffix in (".csv", PARQUET))
        files = next(filter(None, kinds), [])
        if not files or (len(files) > 1 and files[0].suffix != PARQUET):
            raise UsageError(
                f"{path}: has {'several CSV files' if files else 'no CSV file'}: name the one with"
                " the labels, or the Parquet files of eot-bench or TurnBench"
            )
    for file in files:
        if file.suffix == PARQUET:
            from bench.corpus.parquet import read_parquet

            yield from read_parquet(file, folder, left_out)
        else:
            yield from read_csv(file)


def _evenly(labels: Sequence[Label], limit: int) -> list[Label]:
    """Return at most `limit` labels, from all parts of the list."""
    count = min(limit, len(labels))
    return [labels[number * len(labels) // count] for number in range(count)]


def _written(
    folder: Path,
    language: str,
    turns: Sequence[LabelledTurn],
    labels: Path,
    session: Mapping[str, Any],
) -> Path:
    path = folder / f"{language}.yaml"
    step = {
        "audio": [relpath(turn.file, folder) for turn in turns],
        "speech": [_speech(turn) for turn in turns],
        "name": STEP,
        "chunk_ms": CHUNK_MS,
    }
    text = f"# The turns of {labels.name} in {language}, as rtbench init --labels found them\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(
            text + yaml_text({"session": dict(session), "steps": [step]}), encoding="utf-8"
        )
    except OSError as error:
        problem = f"{path} cannot be written: {error.strerror}"
        raise UsageError(f"{problem}; name another folder") from None
    return path


def _speech(turn: LabelledTurn) -> dict[str, Any]:
    speech = turn.speech
    ends = {"start": speech.begin, "end": speech.end}
    pauses = [[_seconds(end) for end in pause] for pause in speech.pauses]
    return {name: _seconds(end) for name, end in ends.items()} | (
        {"pauses": pauses} if pauses else {}
    )


def _seconds(samples: int) -> float:
    """Return a position to the microsecond, which is the same sample when it is read again."""
    return samples * 1_000_000 // RATE_HZ / 1_000_000
