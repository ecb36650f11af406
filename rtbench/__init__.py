"""The public API: Locust users, runs, comparisons and checks of runs, and errors.

    from rtbench import RealtimeUser, script        # in a Locust file

    import rtbench                                  # in a notebook
    run = rtbench.load("runs/20261120T091400Z-voice_turns")

A name is imported at its first use. The users need Locust, which patches the standard library. The
runs need pandas. Users do not need pandas, and runs do not need Locust.

The code behind the names is in the packages `bench` and `reports`. The folder of a Locust file or a
notebook is first on the path, and may contain a module of the same name. So these packages are
imported from the parent folder of this package. If another module with such a name is already
loaded, an error reports it. To install the packages below `rtbench` (`package-dir`) was tried: mypy
does not accept it, and a checkout would have `bench` twice.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.base.errors import RtbenchError, ScriptError, UsageError
    from bench.load.planning.tasks import Turn
    from bench.load.user import RealtimeUser, script
    from reports.api.many import Runs, load, load_many
    from reports.api.run import Run
    from reports.api.verdicts import check, compare, trend
    from reports.statistics.quantiles import QuantileEstimate, Sample, quantiles

    __version__: str

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
]

EXPORTS = {
    "bench.base.errors": ("RtbenchError", "ScriptError", "UsageError"),
    "bench.load.planning.tasks": ("Turn",),
    "bench.load.user": ("RealtimeUser", "script"),
    "reports.api.many": ("Runs", "load", "load_many"),
    "reports.api.run": ("Run",),
    "reports.api.verdicts": ("check", "compare", "trend"),
    "reports.statistics.quantiles": ("QuantileEstimate", "Sample", "quantiles"),
}
"""A mapping from a module to the public names in it."""
HOME = Path(__file__).resolve().parents[1]
NAME_TAKEN_STATUS = 2


def __getattr__(name: str) -> Any:
    """Import a public name at its first use. Exit on Windows, or if another module has the name
    of our package.
    """
    if name == "__version__":
        _claim("bench")
        globals()[name] = importlib.import_module("bench.base.installation").tool_version()
        return globals()[name]
    module_name = next(
        (module_name for module_name, names in EXPORTS.items() if name in names), None
    )
    if module_name is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _claim("bench")
    importlib.import_module("bench.base.installation").refuse_windows()
    _claim(module_name.partition(".")[0])
    value = globals()[name] = getattr(importlib.import_module(module_name), name)
    return value


def __dir__() -> list[str]:
    return sorted({"__version__", *__all__})


def _claim(name: str) -> None:
    """Import one of our packages. Exit the process if another module of this name is already
    loaded.
    """
    loaded = sys.modules.get(name)
    if loaded is None:
        sys.path.insert(0, str(HOME))
        try:
            loaded = importlib.import_module(name)
        finally:
            sys.path.remove(str(HOME))
    if HOME / name not in (Path(path).resolve() for path in getattr(loaded, "__path__", ())):
        file = getattr(loaded, "__file__", None) or name
        print(
            f"rtbench: {file} has the name of a package of rtbench: rename it to locustfile.py, or"
            f" to anything but {Path(file).name if Path(file).stem == name else name}",
            file=sys.stderr,
        )
        sys.exit(NAME_TAKEN_STATUS)
