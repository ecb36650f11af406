"""The command that starts a run once more: with the options in force, and none that may hold a secret."""

from __future__ import annotations

import json
import os
import shutil
import sys
from argparse import Action
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench.run.provenance import public_settings

COMMAND = "RTBENCH_COMMAND"
"""The variable in which a command that starts a run says, as a JSON list, how it was called itself."""
NOT_REPEATED = frozenset({"locustfile", "headless", "expect_workers", "part_of", "stop_timeout"})
"""Options that the words before them say, or that the tool sets."""
PUBLIC = frozenset({"name", "label"})
SCRIPTS = (".yaml", ".yml")


def repeating_command(
    values: Mapping[str, Any], actions: Iterable[Action], environ: Mapping[str, str], *, judged: bool
) -> list[str]:
    """The words of the command; none of a run that several commands or a web page started.

    `values`: the options in force, by the names of their actions, with the public forms of those that may hold a
    secret. `judged`: started by `rtbench run`.
    """
    if told := environ.get(COMMAND):
        return [str(word) for word in json.loads(told)]
    files = [name for name in str(values.get("locustfile") or "").split(",") if name]
    alone = not values.get("worker") and (not values.get("master") or values.get("processes"))
    if not (files and alone and values.get("headless")):
        return []
    judged = judged or any(name.endswith(SCRIPTS) for name in files)
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
