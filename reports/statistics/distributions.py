"""Functions of distributions, by SciPy's names. SciPy is imported at the first call, because not
every verdict needs one of them.
"""

import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from types import ModuleType
from typing import Any

PACKAGE = "scipy.special"


@cache
def compiled_functions() -> ModuleType | None:
    """Return the module of SciPy's compiled functions; None if this SciPy has no such module.

    Its package would import all modules of NumPy, and documents of the functions for other arrays,
    which takes a tenth of a second. So the package is empty while the functions are imported.
    """
    import scipy

    if PACKAGE in sys.modules:
        return None
    spec = PathFinder.find_spec(PACKAGE, scipy.__path__)
    assert spec is not None
    sys.modules[PACKAGE] = module_from_spec(spec)
    try:
        return import_module(f"{PACKAGE}._ufuncs")
    except ImportError:
        return None
    finally:
        del sys.modules[PACKAGE]


def _function(name: str) -> Callable[..., Any]:
    def value(*arguments: Any) -> Any:
        function = getattr(compiled_functions(), name, None)
        return (function or getattr(import_module(PACKAGE), name))(*arguments)

    return value


bdtrc = _function("bdtrc")
betaincinv = _function("betaincinv")
chdtrc = _function("chdtrc")
expit = _function("expit")
fdtrc = _function("fdtrc")
logit = _function("logit")
nctdtr = _function("nctdtr")
ndtr = _function("ndtr")
ndtri = _function("ndtri")
stdtr = _function("stdtr")
stdtrit = _function("stdtrit")
