"""The loader of the compiled modules, which are optional: without a compiler, each has an
interpreted twin.

A module that offers the names of a compiled one imports them only for the type checker, whose types
are in the `.pyi` file next to the `.pyx` file, and otherwise takes them from `twin`.
`tests/test_twins.py` compares each pair.
"""

# The modules that are compiled run for each message or sample. The interpreted twin has the same
# results, and takes several times as long. It lets the tool run where no compiler is, and it is
# what the compiled one is tested against. Nothing else may ask whether a module is compiled.

from importlib import import_module
from types import ModuleType


def compiled_module(name: str) -> ModuleType | None:
    """Return a compiled module; None if it is not installed. Raise ModuleNotFoundError if it
    imports a missing one.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name != name:
            raise
        return None


def twin(name: str, interpreted: str) -> ModuleType:
    """Return a compiled module, or the interpreted module with the same names if the compiled
    one is not installed.
    """
    return compiled_module(name) or import_module(interpreted)
