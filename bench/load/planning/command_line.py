"""The command line of `rtbench run`, which contains scripts and Locust files, and the command
that repeats a run.
"""

# Words of the command line belong to three parties. Options of ours and of Locust are left to
# Locust's parser, which alone knows which word is a value of an option. A word that is a file, or
# looks like one, is a script or a Locust file. All other words may be names of user classes, which
# only Locust can check, after it has imported the files. So a mistyped file is recognized here only
# by its suffix, or if there is no Locust file whose class it could be.

import json
import os
import re
import shlex
import shutil
import sys
from argparse import Action
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.base.errors import UsageError
from bench.base.installation import EXAMPLES
from bench.base.suggestions import no_such_file
from bench.catalogue import reference_workload
from bench.files.yaml_file import YAML_SUFFIXES

SCRIPTS = "RTBENCH_SCRIPTS"
"""The environment variable that contains the paths of a run's YAML scripts, as a JSON list."""
OF_SCRIPTS = Path(__file__).parents[1] / "rtbench_scripts.py"
"""The Locust file that runs YAML scripts."""
LOCUST_SUFFIX = ".py"
FILE_SUFFIXES = (*YAML_SUFFIXES, LOCUST_SUFFIX)
EXAMPLE = "rtbench run mine.yaml -u 4 --sessions 50"
NO_FILE = f"name a script to run: {EXAMPLE} (`rtbench init` writes an example)"
MAX_NAMED = 3
TURN_TAKING = {
    "turn-taking": EXAMPLES / "scripts/turn_taking.yaml",
    "turn-taking-agent": EXAMPLES / "scripts/turn_taking_agent.yaml",
}
"""The scripts that come with the tool and have no default load, by their words."""
BUILT_IN = TURN_TAKING | {
    workload.word: EXAMPLES / workload.file for workload in reference_workload.WORKLOADS
}
"""The files that come with the tool and are run by a word, by this word."""
OF_OTHER_TOOLS = {
    **dict.fromkeys(("duration", "time-limit", "timelimit", "test-time", "d", "z"), "--run-time"),
    **dict.fromkeys(
        ("iterations", "iteration", "requests", "num-requests", "num", "amount", "calls", "n", "i"),
        "--sessions",
    ),
    **dict.fromkeys(
        ("vus", "virtual-users", "vusers", "clients", "threads", "num-threads", "workers"),
        "--users",
    ),
    **dict.fromkeys(("concurrency", "concurrent", "connections", "count", "c"), "--users"),
    **dict.fromkeys(
        ("rate", "rps", "qps", "requests-per-second", "overallRate", "q", "R"), "--arrival-rate"
    ),
    **dict.fromkeys(("max-vus", "max-workers", "max-connections", "maxVusers"), "--max-concurrent"),
    **dict.fromkeys(("hatch-rate", "ramp-up", "rampup", "ramp"), "--spawn-rate"),
    **dict.fromkeys(("out", "output", "results-folder", "o", "rf"), "--runs-dir"),
    **dict.fromkeys(("threshold", "ensure", "slo", "objective"), "--thresholds"),
}
"""Our options by those of k6, Artillery, wrk, vegeta, ab, hey, JMeter, Gatling, and old versions
of Locust."""
_SECRET_OPTION = re.compile(r"--(api-?|auth-?|access-?)?(key|token)(?![\w-])")
KEY_BY_VARIABLE = "put the key into a variable, and write --api-key-env with its name"
TIME = re.compile(
    r"(\d+ ?h(?:rs?|ours?)? ?)?(\d+ ?m(?:ins?|inutes?)? ?)?(\d+ ?s(?:ecs?|econds?)?)?",
    re.IGNORECASE,
)
"""A time, also with the blanks and the units that Locust does not accept."""
_WITH_VALUE = re.compile("(--[^=]+=|-[A-Za-z])(.+)")
"""An option in the same word as its value."""
SETS_LOAD = ("--arrival-rate", "--arrival-pattern", "--max-concurrent", "--stages")
"""The options after which a built-in file has no default number of users."""
NO_DEFAULTS: Mapping[str, int] = {}


class RunArguments(NamedTuple):
    """The parsed command line of `rtbench run`: its Locust files, followed by scripts; its other
    words, in order; and the values of options that are not given.
    """

    files: list[Path]
    others: list[str]
    defaults: Mapping[str, int] = NO_DEFAULTS


def run_arguments(words: Sequence[str], free: Collection[int]) -> RunArguments:
    """Parse a command line. `free` are the positions of words that are neither options nor values
    of options.

    A free word is a file if such a file exists, or if it has the suffix of a script or Locust file.
    Other free words are left to Locust, because they may be names of user classes. The words
    BUILT_IN are files that come with the tool. Raise UsageError if there is no file, or if a file
    cannot be run.
    """
    for word in words:
        if word == "--locustfile" or word.startswith(("--locustfile=", "-f")):
            raise UsageError(f"rtbench run takes files without -f: {EXAMPLE}")
        # Locust reads it as -r ate
        if re.match("-[A-Za-z]{2}", word) and (meant := option_of_other_tool(word)):
            raise UsageError(
                f"unrecognized arguments: {word}; did you mean {meant}? see rtbench run --help"
            )
    built_in = [position for position in free if words[position] in BUILT_IN]
    paths = {
        position: BUILT_IN.get(words[position], Path(words[position]))
        for position in sorted(free)
        if not words[position].startswith("-")
    }
    files = {
        position: path
        for position, path in paths.items()
        if path.suffix in FILE_SUFFIXES or path.exists()
    }
    if not files:
        unknown = next(iter(paths), None)
        if unknown is None:
            raise UsageError(NO_FILE)
        problem = no_such_file(paths[unknown], FILE_SUFFIXES, BUILT_IN, scripts=True)
        raise UsageError(
            f"{words[unknown]}: {problem}{'' if problem.endswith('?') else f'; {NO_FILE}'}"
        )
    refuse_other_files(files.values())
    has_classes = any(path.suffix == LOCUST_SUFFIX for path in files.values())
    # otherwise a word may be a value
    is_known = not any(words[position].startswith("-") for position in free)
    if is_known and (
        problem := _stray_word(words, [place for place in paths if place not in files], has_classes)
    ):
        raise UsageError(problem)
    ordered = sorted(dict.fromkeys(files.values()), key=lambda path: path.suffix in YAML_SUFFIXES)
    others = [word for position, word in enumerate(words) if position not in files]
    if not built_in or all(words[position] in TURN_TAKING for position in built_in):
        return RunArguments(ordered, others)
    if len(ordered) > 1:
        raise UsageError(
            f"{words[min(built_in)]} is a complete workload: run it without other files"
        )
    load = {"num_users": reference_workload.USERS, "sessions": reference_workload.SESSIONS}
    if any(word.startswith(SETS_LOAD) for word in others):
        del load["num_users"]
    return RunArguments(ordered, others, load)


def named_files(words: Iterable[str]) -> list[Path]:
    """Return the scripts and Locust files that words name: their paths, or words of BUILT_IN. Raise
    UsageError if one cannot be run.
    """
    paths = [BUILT_IN.get(word, Path(word)) for word in words]
    refuse_other_files(paths)
    return paths


def refuse_other_files(paths: Iterable[Path]) -> None:
    """Raise UsageError if one of the paths is not a script or a Locust file."""
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path}: {no_such_file(path, FILE_SUFFIXES, BUILT_IN, scripts=True)}")
        if path.is_dir():
            raise UsageError(f"{path} is a folder: name scripts, such as {path / 'mine.yaml'}")
        if path.suffix not in FILE_SUFFIXES:
            raise UsageError(
                f"{path} is not a script or a Locust file: use a file that ends in .yaml or .py"
            )


def secret_option(text: str) -> str:
    """Return the problem with an option for a key, which no command has; "" if `text` contains
    none.
    """
    option = _SECRET_OPTION.search(text)
    return (
        f"{option[0]} does not exist, because other users see a command line: {KEY_BY_VARIABLE}"
        if option
        else ""
    )


def option_of_other_tool(word: str) -> str | None:
    """Return our option for one of another tool, such as `--vus=5` or `-c5`; None if there is
    none.
    """
    name = re.sub(r"^(-[A-Za-z])\d.*", r"\1", word).lstrip("-").partition("=")[0]
    return OF_OTHER_TOOLS.get(name)


def _stray_word(words: Sequence[str], stray: Sequence[int], has_classes: bool) -> str:
    """Return the problem with the first free word that is no file, nor a class of a Locust file; ""
    if there is none.

    The word may be a part of a value that contains a blank.
    """
    for position in stray:
        word = words[position]
        value = words[position - 1]
        option = f"{words[position - 2]} "
        follows = (
            position > 1
            and option.startswith("-")
            and "=" not in option
            and not value.startswith("-")
        )
        if position and (joined := _WITH_VALUE.fullmatch(value)):
            option, value = joined.groups()
            follows = True
        rest = [words[place] for place in stray if place >= position]
        for count in range(len(rest) * follows, 0, -1):
            written = " ".join((value, *rest[:count]))
            if TIME.fullmatch(written):
                time = re.sub(r"(\d+) ?([hms])[a-z]* ?", r"\1\2", written.lower())
                return f"{option}{written}: write the time without a blank, as in {option}{time}"
        if not has_classes:
            quoted = (
                f"; if it belongs to {option.strip('= ')}, write"
                f" {option}{shlex.quote(' '.join((value, *rest)))}"
            )
            return f"{word}: no such file{quoted if follows else ''}"
    return ""


def locust_files(*paths: Path) -> tuple[str, dict[str, str]]:
    """Return the value of `locust -f` that runs these scripts and Locust files, and the
    variables that it needs.
    """
    scripts = [str(path.resolve()) for path in paths if path.suffix in YAML_SUFFIXES]
    files = [path for path in paths if path.suffix not in YAML_SUFFIXES] + [OF_SCRIPTS] * bool(
        scripts
    )
    return ",".join(map(str, files)), ({SCRIPTS: json.dumps(scripts)} if scripts else {})


def scenario_of(scripts: Sequence[Path]) -> str:
    names = [path.stem for path in scripts]
    if len(names) > MAX_NAMED:
        names = [*names[: MAX_NAMED - 1], f"{len(names) - MAX_NAMED + 1}_more"]
    return "_and_".join(names)


# The command that repeats a run, with the options in force and without those that may contain a
# secret.

COMMAND = "RTBENCH_COMMAND"
"""The variable with the words, as a JSON list, of a command that starts a run in a process of
its own."""
OF_LOAD_MODEL = frozenset({"num_users", "spawn_rate"})
"""The options that the tool sets itself if one of `SETS_LOAD` is given."""
NOT_REPEATED = frozenset(
    {"locustfile", "headless", "expect_workers", "part_of", "whole_run", "stop_timeout"}
)
"""The options that the first words of the repeating command imply, or that the tool itself sets."""
PUBLIC = frozenset({"name", "label", "event"})


def repeating_command(
    values: Mapping[str, Any],
    actions: Iterable[Action],
    environ: Mapping[str, str],
    *,
    judged: bool,
) -> list[str]:
    """Return the words of the command that repeats a run.

    Return no words if the run was started from a web page, or by several commands. `values` are the
    options of the run, with secrets in their public forms. `judged` is True if `rtbench run`
    started the run.
    """
    if command_json := environ.get(COMMAND):
        return [str(word) for word in json.loads(command_json)]
    files = [name for name in str(values.get("locustfile") or "").split(",") if name]
    alone = not values.get("worker") and (not values.get("master") or values.get("processes"))
    if not (files and alone and values.get("headless")):
        return []
    judged = judged or any(name.endswith(YAML_SUFFIXES) for name in files)
    named = {str(path): word for word, path in BUILT_IN.items()}
    start_words = (
        ["run", *(named.get(name, name) for name in files)]
        if judged
        else ["-f", ",".join(files), "--headless"]
    )
    words = [program("rtbench" if judged else "locust"), *start_words]
    derived = (
        OF_LOAD_MODEL
        if any(values.get(flag[2:].replace("-", "_")) for flag in SETS_LOAD)
        else frozenset()
    )
    from bench.record.provenance import public_settings

    public_values = {
        **public_settings(values),
        **{name: values[name] for name in PUBLIC if values.get(name)},
    }
    for action in actions:
        flag = next((flag for flag in action.option_strings if flag.startswith("--")), "")
        value = public_values.get(action.dest)
        if (
            not flag
            or value is None
            or action.dest in NOT_REPEATED | derived
            or value == action.default
        ):
            continue
        if action.nargs == 0:
            words.append(flag)
        elif isinstance(value, list | tuple):
            repeated = (
                [[str(item)] for item in value]
                if action.nargs is None
                else [[str(item) for item in value]]
            )
            words.extend(word for values_of_flag in repeated for word in (flag, *values_of_flag))
        else:
            words += [flag, f"{value:g}" if isinstance(value, float) else str(value)]
    return words


def program(name: str) -> str:
    """Return the word that starts a program of this installation: its name if the shell finds
    it, or else its path.
    """
    path = Path(sys.executable).with_name(name)
    if shutil.which(name) or not path.exists():
        return name
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
