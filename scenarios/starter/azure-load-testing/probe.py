"""Calls to the simulator on this engine. The labels of the run are facts about the engine."""

import json
import os
import platform
import subprocess
import sys
import time
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

from locust import events

from scenarios.voice_turns import VoiceCaller

__all__ = ["VoiceCaller"]
LONGEST = 200
"""The maximum number of characters of a label."""


def output_of(*words: str) -> str:
    """Run a command of rtbench, and return what it prints."""
    ended = subprocess.run([sys.executable, "-m", "rtbench.cli.app", *words], capture_output=True, text=True)
    return ended.stdout if ended.stdout.strip() else ended.stderr


def installation() -> dict[str, str]:
    """Return the size of the installed packages, the time that unpacking took, and the age of the first process."""
    files = [Path(str(file.locate())) for package in distributions() for file in package.files or ()]
    found = [path.stat() for path in files if path.is_file()]
    recent_s = [status.st_ctime for status in found if status.st_ctime > time.time() - 3600]
    return {
        "installed_mb": f"{sum(status.st_size for status in found) / 1e6:.0f}",
        "unpacked_in_s": f"{max(recent_s) - min(recent_s):.0f}" if recent_s else "unknown: over an hour ago",
        "container_age_s": f"{time.time() - Path('/proc/1').stat().st_ctime:.0f}",
    }


@cache  # a parser is made several times
def labels() -> list[str]:
    """Print the facts about this engine. Return those that label the run."""
    checks = json.loads(output_of("doctor", "--offline", "--json"))["machine"]
    by_name = {check["name"]: f"{check['result']}: {check['message']}" for check in checks}
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6
    facts = {
        "python": f"{platform.python_version()} {platform.machine()} {platform.libc_ver()[1]}",
        "cores": f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}",
        "memory_mb": f"{memory_mb:.0f}",
        **installation(),
        "kernel_timestamps": by_name.pop("kernel timestamps"),
        "clock": by_name.pop("clock"),
        "calibration": output_of("calibrate", "--quick").strip().splitlines()[-1],
        "users": os.environ.get("LOCUST_USERS", "none"),
    }
    print("\n".join(f"{name}: {value}" for name, value in (facts | by_name).items()), flush=True)
    return [f"{name}={' '.join(value.split())[:LONGEST]}" for name, value in facts.items()]


@events.init_command_line_parser.add_listener
def set_labels(parser, **_):
    """Make the facts about this engine the labels of the run."""
    parser.set_defaults(label=labels())
