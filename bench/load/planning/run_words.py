"""Reads the command line of `rtbench run`: tells scripts and Locust files from the words that are for Locust."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError

SCRIPTS = "RTBENCH_SCRIPTS"
"""The variable that holds the paths of the YAML scripts of a run, as a JSON list."""
OF_SCRIPTS = Path(__file__).parents[1] / "rtbench_scripts.py"
"""The Locust file that plays them."""
SCRIPT_SUFFIXES, LOCUST_SUFFIX = (".yaml", ".yml"), ".py"
EXAMPLE = "rtbench run mine.yaml -u 4 --sessions 40"
NO_FILE = f"name a script to run: {EXAMPLE} (`rtbench init` writes one to begin with)"
MOST_NAMED = 3


@dataclass(frozen=True)
class RunWords:
    """The command line of `rtbench run`. `others`: the words that are no files, in their order."""

    scripts: tuple[Path, ...]
    locust_files: tuple[Path, ...]
    others: tuple[str, ...]


def run_words(words: Sequence[str], free: Collection[int]) -> RunWords:
    """Read a command line. `free`: the places of the words that are no options and no values of options.

    A free word that looks like no file, and is none, is left to Locust: it may be the name of a class of users.
    Raises UsageError where no file is named, or one that cannot be played.
    """
    for word in words:
        if word == "--locustfile" or word.startswith(("--locustfile=", "-f")):
            raise UsageError(f"rtbench run takes files without -f: {EXAMPLE}")
    files = {place: Path(words[place]) for place in sorted(free) if _is_file(words[place])}
    if not files:
        unknown = [words[place] for place in sorted(free) if not words[place].startswith("-")]
        raise UsageError(f"{unknown[0]}: no such file; {NO_FILE}" if unknown else NO_FILE)
    for path in files.values():
        _check(path)
    paths = list(dict.fromkeys(files.values()))
    return RunWords(
        scripts=tuple(path for path in paths if path.suffix in SCRIPT_SUFFIXES),
        locust_files=tuple(path for path in paths if path.suffix == LOCUST_SUFFIX),
        others=tuple(word for place, word in enumerate(words) if place not in files),
    )


def _is_file(word: str) -> bool:
    if word.startswith("-"):
        return False
    path = Path(word)
    return path.suffix in (*SCRIPT_SUFFIXES, LOCUST_SUFFIX) or path.exists()


def _check(path: Path) -> None:
    """Raise UsageError for a path that cannot be played."""
    if not path.exists():
        raise UsageError(f"{path}: no such file")
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name the scripts in it, such as {path / 'mine.yaml'}")
    if path.suffix not in (*SCRIPT_SUFFIXES, LOCUST_SUFFIX):
        raise UsageError(f"{path} is no script: the name of a script ends in .yaml, that of a Locust file in .py")


def locust_files(scripts: Iterable[Path], files: Iterable[Path]) -> tuple[str, dict[str, str]]:
    """Return what `locust -f` takes to play these files, and the variables that go with it."""
    paths = [str(path.resolve()) for path in scripts]
    named = ",".join(map(str, (*files, *([OF_SCRIPTS] if paths else []))))
    return named, ({SCRIPTS: json.dumps(paths)} if paths else {})


def locust_file(path: Path) -> tuple[str, dict[str, str]]:
    """The same of one file, which may be either."""
    return locust_files([path], []) if path.suffix in SCRIPT_SUFFIXES else locust_files([], [path])


def scenario_of(scripts: Sequence[Path]) -> str:
    """The name of a run of these scripts."""
    names = [path.stem for path in scripts]
    if len(names) > MOST_NAMED:
        names = [*names[: MOST_NAMED - 1], f"{len(names) - MOST_NAMED + 1}_more"]
    return "_and_".join(names)
