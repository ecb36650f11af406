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

import importlib
import sys
from collections.abc import Callable
from functools import partial
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.base.errors import RtbenchError, ScriptError, UsageError
    from bench.load.planning.tasks import Turn
    from reports.api.many import Runs, load, load_many
    from reports.api.run import Run
    from reports.api.verdicts import check, compare, trend
    from reports.statistics.quantiles import QuantileEstimate, Sample, quantiles
    from rtbench.locust_user import RealtimeUser, script
    from rtbench.overload.callers import OverloadShape, ProbeCaller

    __version__: str

__all__ = [
    "OverloadShape",
    "ProbeCaller",
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
    "reports.api.many": ("Runs", "load", "load_many"),
    "reports.api.run": ("Run",),
    "reports.api.verdicts": ("check", "compare", "trend"),
    "reports.statistics.quantiles": ("QuantileEstimate", "Sample", "quantiles"),
    "rtbench.locust_user": ("RealtimeUser", "script"),
    "rtbench.overload.callers": ("OverloadShape", "ProbeCaller"),
}
"""A mapping from a module to the public names in it."""
HOME = Path(__file__).resolve().parents[1]
PACKAGES = ("bench", "reports", "scenarios")
"""Our other packages, which are next to this one."""
UNUSABLE_STATUS = 2


class UnusableError(ImportError):
    """Another module has the name of one of our packages, or the system is Windows."""


def __getattr__(name: str) -> Any:
    """Import a public name at its first use. Raise UnusableError on Windows, or if another module
    has the name of our package.
    """
    if name == "__version__":
        globals()[name] = _imported("bench.base.installation").tool_version()
        return globals()[name]
    module_name = next(
        (module_name for module_name, names in EXPORTS.items() if name in names), None
    )
    if module_name is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if problem := _imported("bench.base.installation").windows_problem():
        raise _unusable(problem)
    value = globals()[name] = getattr(_imported(module_name), name)
    return value


def __dir__() -> list[str]:
    return sorted({"__version__", *__all__})


def name_problem(package: str) -> str:
    """Return the text about another module with the name of one of our packages; "" if there is
    none. Import the package if no module has its name yet, from our folder, and not by the path.
    """
    loaded = sys.modules.get(package)
    if loaded is None:
        spec = PathFinder.find_spec(package, [str(HOME)])
        assert spec is not None
        assert spec.loader is not None
        sys.modules[package] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[package])
    elif HOME / package not in (Path(path).resolve() for path in getattr(loaded, "__path__", ())):
        return taken_text(package, getattr(loaded, "__file__", None) or package)
    return ""


def taken_text(package: str, file: str) -> str:
    """Return the text about a file that has the name of one of our packages."""
    other = Path(file).name if Path(file).stem == package else package
    return (
        f"{file} has the name of a package of rtbench: rename it to locustfile.py, or to anything "
        f"but {other}"
    )


def _imported(module_name: str) -> Any:
    """Import a module of one of our packages. All of them import `bench`."""
    for package in dict.fromkeys(("bench", module_name.partition(".")[0])):
        if problem := name_problem(package):
            raise _unusable(problem)
    return importlib.import_module(module_name)


def _unusable(problem: str) -> UnusableError:
    """Return the error, of which a program that does not catch it prints one line."""
    sys.excepthook = partial(_print_line, sys.excepthook)
    return UnusableError(problem)


def _print_line(
    other: Callable[..., None], kind: type[BaseException], error: BaseException, trace: Any
) -> None:
    if not isinstance(error, UnusableError):
        other(kind, error, trace)
        return
    print(f"rtbench: {error}", file=sys.stderr)
    raise SystemExit(UNUSABLE_STATUS)
