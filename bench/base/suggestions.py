"""The name that a user probably meant by an unknown one: pieces of error messages."""

import difflib
import re
from collections.abc import Collection, Iterable
from pathlib import Path

OPTION_SIMILARITY = 0.75
"""The similarity from which one option, without its dashes, may be a misspelling of another:
options are many."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most similar to `name`; None if no name is similar enough."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean NAME?` with the most similar name; "" if no known name is similar."""
    similar = nearest(name, known)
    return "" if similar is None else f"; did you mean {similar}?"


def near_options(unknown: str, flags: Iterable[str]) -> list[str]:
    """Return the options of which an unknown option may be a misspelling, the most similar
    first.
    """
    names = {flag.lstrip("-"): flag for flag in flags if flag.startswith("--")}
    near = difflib.get_close_matches(unknown.lstrip("-"), list(names), cutoff=OPTION_SIMILARITY)
    return [names[name] for name in near]


_SCRIPT = re.compile(rb"^steps\s*:", re.MULTILINE)


def _is_script(path: Path) -> bool:
    return _SCRIPT.search(path.read_bytes()) is not None


def no_such_file(
    path: Path,
    suffixes: Collection[str],
    presets: Collection[str] = (),
    *,
    scripts: bool | None = None,
) -> str:
    """Return the problem with a file that does not exist, and the file or preset that was probably
    meant.

    `suffixes` are those of files that are possible here, such as `.wav`. `presets` are the names
    that the user may write instead of a file. `scripts` is whether YAML files must be scripts, or
    must be none; None if both are possible.
    """
    try:
        siblings = [
            entry.name
            for entry in path.parent.iterdir()
            if entry.suffix.lower() in suffixes
            and entry.is_file()
            and (scripts is None or entry.suffix == ".py" or _is_script(entry) == scripts)
        ]
    except (OSError, ValueError):  # no such folder, or a NUL in the name
        siblings = []
    similar = nearest(path.name, [*presets, *siblings])
    if similar is None:
        return "no such file"
    return (
        f"no such file; did you mean {similar if similar in presets else path.with_name(similar)}?"
    )
