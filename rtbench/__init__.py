"""All that users of the tool import: Locust users, runs, what is concluded of them, and errors.

    from rtbench import RealtimeUser, script        # in a Locust file

    import rtbench                                  # in a notebook
    run = rtbench.load("runs/20261120T091400Z-voice_turns")

A name is imported when it is asked for: users bring Locust, which patches the standard library, runs bring pandas, and
neither needs the other.

The packages behind the names are `bench` and `reports`. A file beside a Locust file or a notebook may be called so,
too, and its folder comes first on the path. So they are taken from where this package stands; who has loaded another
one of the name is told so. To install them below `rtbench` (`package-dir`) was tried: mypy does not accept it, and a
checkout would have `bench` twice, with different classes.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.errors import RtbenchError, ScriptError, UsageError
    from bench.load.planning.tasks import Turn
    from bench.load.user import RealtimeUser, script
    from reports.api.many import Runs, load_many
    from reports.api.run import Run, load
    from reports.api.verdicts import check, compare, trend
    from reports.statistics.quantiles import QuantileEstimate, Sample, quantiles

__all__ = [
    "QuantileEstimate",
    "RealtimeUser",
    "RtbenchError",
    "Run",
    "Runs",
    "Sample",
    "ScriptError",
    "Turn",
    "UsageError",
    "check",
    "compare",
    "load",
    "load_many",
    "quantiles",
    "script",
    "trend",
]  # fmt: skip

EXPORTS = {
    "bench.errors": ("RtbenchError", "ScriptError", "UsageError"),
    "bench.load.planning.tasks": ("Turn",),
    "bench.load.user": ("RealtimeUser", "script"),
    "reports.api.many": ("Runs", "load_many"),
    "reports.api.run": ("Run", "load"),
    "reports.api.verdicts": ("check", "compare", "trend"),
    "reports.statistics.quantiles": ("QuantileEstimate", "Sample", "quantiles"),
}
"""The modules that the names come from."""
HOME = Path(__file__).resolve().parents[1]
NAME_TAKEN_STATUS = 2


def __getattr__(name: str) -> Any:
    """Imports what is asked for; ends the process on Windows, and where a module of the user's has a name of ours."""
    place = next((place for place, names in EXPORTS.items() if name in names), None)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _claim("bench")
    importlib.import_module("bench.installation").refuse_windows()
    _claim(place.partition(".")[0])
    found = globals()[name] = getattr(importlib.import_module(place), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _claim(name: str) -> None:
    """Import a package of ours, whatever else the path has under its name."""
    loaded = sys.modules.get(name)
    if loaded is None:
        sys.path.insert(0, str(HOME))
        try:
            loaded = importlib.import_module(name)
        finally:
            sys.path.remove(str(HOME))
    if HOME / name not in (Path(path).resolve() for path in getattr(loaded, "__path__", ())):
        file = getattr(loaded, "__file__", None) or name
        print(f"rtbench: {file} has the name of the tool's own package: call it locustfile.py, or anything "
              f"but {Path(file).name if Path(file).stem == name else name}", file=sys.stderr)  # fmt: skip
        sys.exit(NAME_TAKEN_STATUS)
