"""The Locust file of `rtbench overload`. The environment variable OVERLOAD has the attributes
of its classes. If the callers are those of another Locust file, it imports this file.
"""

import json
import os
import sys
from pathlib import Path

from locust.util.load_locustfile import load_locustfile

from bench.base.errors import USAGE_STATUS
from bench.load.planning.command_line import LOCUST_SUFFIX
from bench.load.user import RealtimeUser
from rtbench.overload import OVERLOAD
from rtbench.overload.callers import OverloadShape, ProbeCaller, first_scripts

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
    callers, shapes = load_locustfile(str(FILE))
    if shapes:
        print(f"rtbench: {FILE} has its own load shape: use `rtbench run`", file=sys.stderr)
        sys.exit(USAGE_STATUS)
    asked = next(first_scripts(callers.values()), None)
    if asked is None:
        print(
            f"rtbench: {FILE} has no YAML script, whose first text or audio the probe callers could"
            " ask: name a script",
            file=sys.stderr,
        )
        sys.exit(USAGE_STATUS)
    globals().update(callers)
    SETTINGS["probe"]["asks"] = asked
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
