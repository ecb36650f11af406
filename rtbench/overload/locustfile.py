"""The Locust file of `rtbench overload`. The environment variable OVERLOAD has the attributes
of its classes.
"""

import json
import os
import sys
from pathlib import Path

from bench.base.errors import USAGE_STATUS
from bench.load.user import RealtimeUser
from rtbench.overload import OVERLOAD
from rtbench.overload.callers import OverloadShape, ProbeCaller

if OVERLOAD not in os.environ:  # a worker received this file from its master
    print("rtbench: start workers with a Locust file: rtbench docs overload", file=sys.stderr)
    sys.exit(USAGE_STATUS)

SETTINGS = json.loads(os.environ[OVERLOAD])
SCRIPT = Path(SETTINGS["probe"]["asks"])


class Named:
    """A caller in the scenario of the script."""

    @classmethod
    def scenario_name(cls) -> str:
        return SCRIPT.stem


class Caller(Named, RealtimeUser):
    """A caller of the load."""

    script = SCRIPT


class Probe(Named, ProbeCaller):
    """A probe caller."""

    locals().update(SETTINGS["probe"])


class Peak(OverloadShape):
    """The load."""

    locals().update(SETTINGS["peak"])
