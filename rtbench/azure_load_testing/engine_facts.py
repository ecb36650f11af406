"""The facts about an engine on which a run depends, and which the documents of a load-testing
service may not state.
"""

import json
import os
import platform
import subprocess
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

from bench.base.clock import utc_ns
from bench.base.cpu import allowed_cores
from bench.base.installation import child_environment, python_command
from bench.base.units import NS_PER_S

MAX_LABEL = 200
"""The maximum number of characters of a label."""
RECENT_S = 3600.0
"""The maximum age in seconds of files that belong to the installation for this run."""


def _output_of(*words: str) -> str:
    """Run a command of rtbench, and return what it prints."""
    ended = subprocess.run(
        python_command("rtbench.cli.app", *words),
        env=child_environment(os.environ),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return ended.stdout if ended.stdout.strip() else ended.stderr


def _installation() -> dict[str, str]:
    """Return the size of the installed packages, the time that unpacking took, and the age of
    the first process.
    """
    files = [
        Path(str(file.locate())) for package in distributions() for file in package.files or ()
    ]
    now_s = utc_ns() / NS_PER_S
    found = [path.stat() for path in files if path.is_file()]
    recent_s = [status.st_ctime for status in found if status.st_ctime > now_s - RECENT_S]
    return {
        "installed_mb": f"{sum(status.st_size for status in found) / 1e6:.0f}",
        "unpacked_in_s": (
            f"{max(recent_s) - min(recent_s):.0f}" if recent_s else "unknown: over an hour ago"
        ),
        "container_age_s": f"{now_s - Path('/proc/1').stat().st_ctime:.0f}",
    }


@cache  # a parser is made several times
def labels() -> list[str]:
    """Print the facts about this engine. Return those that label the run."""
    checks = json.loads(_output_of("doctor", "--offline", "--json"))["machine"]
    by_name = {check["name"]: f"{check['result']}: {check['message']}" for check in checks}
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6
    facts = {
        "python": f"{platform.python_version()} {platform.machine()} {platform.libc_ver()[1]}",
        "cores": f"{len(allowed_cores())} of {os.cpu_count()}",
        "memory_mb": f"{memory_mb:.0f}",
        **_installation(),
        "kernel_timestamps": by_name.pop("kernel timestamps"),
        "clock": by_name.pop("clock"),
        "calibration": _output_of("calibrate", "--quick").strip().splitlines()[-1],
        "users": os.environ.get("LOCUST_USERS", "none"),
    }
    print("\n".join(f"{name}: {value}" for name, value in (facts | by_name).items()), flush=True)
    return [f"{name}={' '.join(value.split())[:MAX_LABEL]}" for name, value in facts.items()]
