"""The Locust file of `rtbench overload`. The environment variable OVERLOAD has the attributes
of its classes. If the callers are those of another Locust file, it imports this file.
"""

import json
import os
import sys
from pathlib import Path

from bench.base.errors import USAGE_STATUS, UsageError
from bench.load.planning.command_line import LOCUST_SUFFIX
from bench.load.user import RealtimeUser
from rtbench.overload import OVERLOAD
from rtbench.overload.callers import OverloadShape, ProbeCaller, callers_of

if OVERLOAD not in os.environ:  # a worker received this file from its master
    print("rtbench: start workers with a Locust file: rtbench docs overload", file=sys.stderr)
    sys.exit(USAGE_STATUS)

SETTINGS = json.loads(os.environ[OVERLOAD])
FILE = Path(SETTINGS["probe"]["asks"])


class Named:
    """A caller in the scenario of the file."""

    @classmethod
    def scenario_name(cls) -> str:
        return FILE.stem


if FILE.suffix == LOCUST_SUFFIX:
    try:
        callers, SETTINGS["probe"]["asks"] = callers_of(FILE)
    except UsageError as error:
        print(f"rtbench: {error}", file=sys.stderr)
        sys.exit(USAGE_STATUS)
    globals().update(callers)
else:

    class Caller(Named, RealtimeUser):
        """A caller of the load."""

        script = FILE


class Probe(Named, ProbeCaller):
    """A probe caller."""

    locals().update(SETTINGS["probe"])


class Peak(OverloadShape):
    """The load."""

    locals().update(SETTINGS["peak"])
