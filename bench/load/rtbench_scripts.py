"""The Locust file of `rtbench run` for YAML scripts, whose paths are in the environment.

Locust loads it as a module of this name, in addition to a user's own.
"""

import json
import os
import sys
from pathlib import Path
from typing import ClassVar

from bench.errors import USAGE_STATUS
from bench.load.planning.command_line import SCRIPTS, scenario_of
from bench.load.user import RealtimeUser, script

if SCRIPTS not in os.environ:  # a worker received this file from its master
    print("rtbench: this run uses YAML scripts: start each worker with `rtbench run FILE --worker`", file=sys.stderr)
    sys.exit(USAGE_STATUS)

PATHS = tuple(Path(path) for path in json.loads(os.environ[SCRIPTS]))


class ScriptCaller(RealtimeUser):
    """A caller who runs the scripts, all equally often."""

    tasks: ClassVar = [script(path) for path in PATHS]

    @classmethod
    def scenario_name(cls) -> str:
        return scenario_of(PATHS)
