"""The Locust file with which `rtbench run` runs YAML scripts. The environment variable SCRIPTS
contains their paths.

Locust loads this file as a module named `rtbench_scripts`, in addition to the user's own Locust
files.
"""

import json
import os
import sys
from pathlib import Path
from typing import ClassVar

from bench.base.errors import USAGE_STATUS
from bench.load.planning.command_line import SCRIPTS, scenario_of
from bench.load.user import RealtimeUser, script

if SCRIPTS not in os.environ:  # a worker received this file from its master
    print(
        "rtbench: this run uses YAML scripts: start each worker with `rtbench run FILE --worker`",
        file=sys.stderr,
    )
    sys.exit(USAGE_STATUS)

PATHS = tuple(Path(path) for path in json.loads(os.environ[SCRIPTS]))


class ScriptCaller(RealtimeUser):
    """A caller who runs all scripts, each equally often."""

    tasks: ClassVar = [script(path) for path in PATHS]

    @classmethod
    def scenario_name(cls) -> str:
        return scenario_of(PATHS)
