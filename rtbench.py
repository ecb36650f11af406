"""What Locust files take from the tool: `from rtbench import RealtimeUser, script`.

The tool's package is called `bench`, and a file beside a Locust file may be, too: Locust puts that folder first on the
path. So the package is taken from where this file stands; a Locust file that is itself called `bench.py` is told so.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

HOME = Path(__file__).resolve().parent
NAME_TAKEN_STATUS = 2


def _claim(name: str) -> None:
    """Import a package of ours, whatever else the path has under its name; ends the process where that is loaded."""
    loaded = sys.modules.get(name)
    if loaded is None:
        sys.path.insert(0, str(HOME))
        try:
            loaded = importlib.import_module(name)
        finally:
            sys.path.remove(str(HOME))
    if not hasattr(loaded, "__path__"):
        print(f"rtbench: {loaded.__file__} has the name of the tool's own package: call it locustfile.py, or anything "
              f"but {name}.py", file=sys.stderr)  # fmt: skip
        sys.exit(NAME_TAKEN_STATUS)


_claim("bench")

from bench.load.user import RealtimeUser, script  # noqa: E402  # only now is it known to be ours

__all__ = ["RealtimeUser", "script"]
