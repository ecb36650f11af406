"""Reads the command line of `rtbench run`, which names scripts and Locust files, and repeats the command of a run."""

from __future__ import annotations

import json
import os
import shutil
import sys
from argparse import Action
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.errors import UsageError
from bench.run.provenance import public_settings

SCRIPTS = "RTBENCH_SCRIPTS"
"""The variable that holds the paths of the YAML scripts of a run, as a JSON list."""
OF_SCRIPTS = Path(__file__).parents[1] / "rtbench_scripts.py"
"""The Locust file that plays them."""
SCRIPT_SUFFIXES, LOCUST_SUFFIX = (".yaml", ".yml"), ".py"
EXAMPLE = "rtbench run mine.yaml -u 4 --sessions 40"
NO_FILE = f"name a script to run: {EXAMPLE} (`rtbench init` writes one to begin with)"
MOST_NAMED = 3


class RunWords(NamedTuple):
    """The command line of `rtbench run`: Locust files, then scripts; and the words that are no files, in order."""

    files: list[Path]
    others: list[str]


def run_words(words: Sequence[str], free: Collection[int]) -> RunWords:
    """Read a command line. `free`: the places of the words that are no options and no values of options.

    A free word that looks like no file, and is none, is left to Locust: it may be the name of a class of users.
    Raises UsageError if no file is named, or one cannot be run.
    """
    for word in words:
        if word == "--locustfile" or word.startswith(("--locustfile=", "-f")):
            raise UsageError(f"rtbench run takes files without -f: {EXAMPLE}")
    suffixes = (*SCRIPT_SUFFIXES, LOCUST_SUFFIX)
    named = {place: Path(words[place]) for place in sorted(free) if not words[place].startswith("-")}
    files = {place: path for place, path in named.items() if path.suffix in suffixes or path.exists()}
    if not files:
        unknown = next(iter(named), None)
        raise UsageError(NO_FILE if unknown is None else f"{words[unknown]}: no such file; {NO_FILE}")
    for path in files.values():
        if not path.exists():
            raise UsageError(f"{path}: no such file")
        if path.is_dir():
            raise UsageError(f"{path} is a folder: name the scripts in it, such as {path / 'mine.yaml'}")
        if path.suffix not in suffixes:
            raise UsageError(f"{path} is no script: the name of a script ends in .yaml, that of a Locust file in .py")
    ordered = sorted(dict.fromkeys(files.values()), key=lambda path: path.suffix in SCRIPT_SUFFIXES)
    return RunWords(ordered, [word for place, word in enumerate(words) if place not in files])


def locust_files(*paths: Path) -> tuple[str, dict[str, str]]:
    """Return what `locust -f` takes to play these scripts and Locust files, and the variables that go with it."""
    scripts = [str(path.resolve()) for path in paths if path.suffix in SCRIPT_SUFFIXES]
    files = [path for path in paths if path.suffix not in SCRIPT_SUFFIXES] + [OF_SCRIPTS] * bool(scripts)
    return ",".join(map(str, files)), ({SCRIPTS: json.dumps(scripts)} if scripts else {})


def scenario_of(scripts: Sequence[Path]) -> str:
    """The name of a run of these scripts."""
    names = [path.stem for path in scripts]
    if len(names) > MOST_NAMED:
        names = [*names[: MOST_NAMED - 1], f"{len(names) - MOST_NAMED + 1}_more"]
    return "_and_".join(names)


# The command that starts a run once more: with the options in force, and none that may hold a secret.

COMMAND = "RTBENCH_COMMAND"
"""The variable in which a command that starts a run says, as a JSON list, how it was called itself."""
NOT_REPEATED = frozenset({"locustfile", "headless", "expect_workers", "part_of", "stop_timeout"})
"""Options that the words before them say, or that the tool sets."""
PUBLIC = frozenset({"name", "label"})


def repeating_command(
    values: Mapping[str, Any], actions: Iterable[Action], environ: Mapping[str, str], *, judged: bool
) -> list[str]:
    """The words of the command; none of a run that several commands or a web page started.

    `values`: the options in force, secret ones in their public forms. `judged`: started by `rtbench run`.
    """
    if told := environ.get(COMMAND):
        return [str(word) for word in json.loads(told)]
    files = [name for name in str(values.get("locustfile") or "").split(",") if name]
    alone = not values.get("worker") and (not values.get("master") or values.get("processes"))
    if not (files and alone and values.get("headless")):
        return []
    judged = judged or any(name.endswith(SCRIPT_SUFFIXES) for name in files)
    begin = ["run", *files] if judged else ["-f", ",".join(files), "--headless"]
    words = [program("rtbench" if judged else "locust"), *begin]
    kept = {**public_settings(values), **{name: values[name] for name in PUBLIC if values.get(name)}}
    for action in actions:
        flag = next((flag for flag in action.option_strings if flag.startswith("--")), "")
        value = kept.get(action.dest)
        if not flag or value is None or action.dest in NOT_REPEATED or value == action.default:
            continue
        if action.nargs == 0:
            words.append(flag)
        elif isinstance(value, list | tuple):
            repeated = [[str(each)] for each in value] if action.nargs is None else [[str(each) for each in value]]
            words.extend(word for each in repeated for word in (flag, *each))
        else:
            words += [flag, f"{value:g}" if isinstance(value, float) else str(value)]
    return words


def program(name: str) -> str:
    """How a program of this installation is called from here: by its name if the shell finds it, else by its path."""
    path = Path(sys.executable).with_name(name)
    if shutil.which(name) or not path.exists():
        return name
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
